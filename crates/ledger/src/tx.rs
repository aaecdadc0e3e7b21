//! Transactions and the signed envelope they travel in.

use crate::{
    agreement::AgreementTx, cdr::CdrTx, membership::MembershipTx, settlement::SettlementTx, tariff::TariffTx,
};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use eroam_domain::codec::{self, Digest};
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;

/// The envelope format. A change of any transaction's bytes is a new version.
pub const VERSION: u8 = 1;
/// The greatest size of an encoded envelope in bytes.
pub const ENVELOPE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// The greatest number of items in a batch transaction.
pub const BATCH_MAX: usize = 256;
/// Lanes let one member's independent senders keep their own sequences.
pub const LANES_MAX: u16 = 16;

/// An Ed25519 public key as stored on the ledger.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, BorshSerialize, BorshDeserialize)]
pub struct PublicKey(pub [u8; 32]);

impl PublicKey {
    /// The public half of `key`.
    #[must_use]
    pub fn of(key: &SigningKey) -> Self {
        Self(key.verifying_key().to_bytes())
    }

    /// Whether `signature` over `message` is this key's. A malformed or weak key verifies nothing.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

/// What a member asks the consortium to do, by family.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum Tx {
    /// Organisations and their keys.
    Membership(MembershipTx),
    /// Who roams with whom.
    Agreement(AgreementTx),
    /// Prices of operators.
    Tariff(TariffTx),
    /// Charge detail records.
    Cdr(CdrTx),
    /// Money.
    Settlement(SettlementTx),
}

/// A transaction with everything that is signed.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Envelope {
    /// [`VERSION`].
    pub version: u8,
    /// The network: SHA-256 of its genesis.
    pub network: Digest,
    /// Who asks.
    pub member: PartyId,
    /// Which of the member's keys signed, from 0.
    pub key: u32,
    /// The sender's lane, below [`LANES_MAX`].
    pub lane: u16,
    /// The lane's next number, from 0.
    pub sequence: u64,
    /// Worthless from this block time on.
    pub expires_at: UnixMillis,
    /// What is asked.
    pub tx: Tx,
}

/// An envelope with a signature that nobody has checked yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedEnvelope {
    bytes: Vec<u8>,
    envelope: Envelope,
    signature: [u8; 64],
}

/// Why bytes are no envelope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// More than [`ENVELOPE_BYTES_MAX`].
    #[error("an envelope of {0} bytes is larger than {ENVELOPE_BYTES_MAX}: send fewer items in a batch")]
    TooLarge(usize),
    /// Shorter than a signature.
    #[error("an envelope of {0} bytes is too short to carry a signature")]
    TooShort(usize),
    /// Not the canonical bytes of an envelope.
    #[error("the bytes are no envelope: {0}")]
    Malformed(String),
}

/// What is signed: a digest of the envelope's canonical bytes under a separator of its own.
fn signing_digest(bytes: &[u8]) -> Digest {
    Digest::of_parts("eroam/envelope/1", &[bytes])
}

impl Envelope {
    /// Signs the envelope.
    #[must_use]
    pub fn sign(self, key: &SigningKey) -> SignedEnvelope {
        let mut bytes = codec::to_bytes(&self);
        let signature = key.sign(&signing_digest(&bytes).0).to_bytes();
        bytes.extend_from_slice(&signature);
        SignedEnvelope { bytes, envelope: self, signature }
    }
}

impl SignedEnvelope {
    /// Reads an envelope from its bytes: canonical bytes of [`Envelope`], then 64 bytes of signature.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: Vec<u8>) -> Result<Self, DecodeError> {
        if bytes.len() > ENVELOPE_BYTES_MAX {
            return Err(DecodeError::TooLarge(bytes.len()));
        }
        let (body, signature) = bytes.split_last_chunk::<64>().ok_or(DecodeError::TooShort(bytes.len()))?;
        let envelope = codec::from_bytes(body).map_err(DecodeError::Malformed)?;
        let signature = *signature;
        Ok(Self { envelope, signature, bytes })
    }

    /// The bytes that travel and are archived.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What is claimed; the signature may be wrong.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.envelope
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of(&self.bytes)
    }

    /// Checks the signature. Expensive, and independent of the state but for the key: engines may run it in parallel.
    #[must_use]
    pub fn verify(&self, key: &PublicKey) -> Option<VerifiedEnvelope<'_>> {
        let body = self.bytes.split_last_chunk::<64>().map(|(body, _)| body)?;
        key.verifies(&signing_digest(body).0, &self.signature)
            .then_some(VerifiedEnvelope { signed: self, key: *key })
    }
}

/// An envelope whose signature is that of [`Self::key`]; whether that is the member's current key is for
/// [`crate::execute`] to see.
#[derive(Clone, Copy, Debug)]
pub struct VerifiedEnvelope<'a> {
    signed: &'a SignedEnvelope,
    key: PublicKey,
}

impl VerifiedEnvelope<'_> {
    /// The key that signed.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }

    /// The envelope.
    #[must_use]
    pub const fn envelope(&self) -> &Envelope {
        &self.signed.envelope
    }
}

/// The number of items in a transaction: those of a batch, otherwise one.
#[must_use]
pub fn item_count(tx: &Tx) -> usize {
    match tx {
        Tx::Cdr(CdrTx::RecordCdrs(cdrs)) => cdrs.len(),
        Tx::Settlement(SettlementTx::ReserveCredit(items)) => items.len(),
        _ => 1,
    }
}
