//! Transactions and the signed envelope they travel in.

use crate::{
    agreement::AgreementTx, cdr::CdrTx, forecast::ForecastTx, membership::MembershipTx, registry::RegistryTx,
    settlement::SettlementTx, tariff::TariffTx, voucher::VoucherTx,
};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use eroam_domain::codec::{self, Digest};
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

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

    /// Whether it can verify anything: it is a point of the curve, and not one of the weak ones.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        VerifyingKey::from_bytes(&self.0).is_ok_and(|key| !key.is_weak())
    }

    /// Whether `signature` over `message` is this key's. A malformed or weak key verifies nothing.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8; 64]) -> bool {
        VerifyingKey::from_bytes(&self.0)
            .is_ok_and(|key| key.verify_strict(message, &Signature::from_bytes(signature)).is_ok())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        codec::write_hex(f, &self.0)
    }
}

impl FromStr for PublicKey {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bytes = s.parse::<Digest>().map_err(|_| {
            let beginning: String = s.chars().take(70).collect();
            format!("`{beginning}` is no Ed25519 public key: 64 hexadecimal digits are expected")
        })?;
        Ok(Self(bytes.0))
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <Cow<'de, str> as Deserialize<'de>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What a member asks the consortium to do, by family.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[allow(clippy::large_enum_variant, reason = "an envelope holds one, and envelopes are shared, not moved")]
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
    /// What verifiers of credentials need.
    Registry(RegistryTx),
    /// One-use promises to pay.
    Voucher(VoucherTx),
    /// The load of the grid.
    Forecast(ForecastTx),
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
    /// Of the bytes; asked for again and again.
    digest: Digest,
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
        SignedEnvelope { digest: Digest::of(&bytes), bytes, envelope: self, signature }
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
        Ok(Self { envelope, signature, digest: Digest::of(&bytes), bytes })
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
    pub const fn digest(&self) -> Digest {
        self.digest
    }

    /// As [`Self::verify`], for an envelope that waits: its signature need not be checked again.
    #[must_use]
    pub fn check(self: Arc<Self>, key: &PublicKey) -> Option<CheckedEnvelope> {
        self.verify(key).is_some().then_some(CheckedEnvelope { signed: self, key: *key })
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

/// A [`VerifiedEnvelope`] that owns its envelope. Cheap to clone.
#[derive(Clone, Debug)]
pub struct CheckedEnvelope {
    signed: Arc<SignedEnvelope>,
    key: PublicKey,
}

impl CheckedEnvelope {
    /// The proof that [`crate::execute::execute_verified`] asks for.
    #[must_use]
    pub fn as_verified(&self) -> VerifiedEnvelope<'_> {
        VerifiedEnvelope { signed: &self.signed, key: self.key }
    }

    /// The envelope with its signature.
    #[must_use]
    pub const fn signed(&self) -> &Arc<SignedEnvelope> {
        &self.signed
    }

    /// The key that signed.
    #[must_use]
    pub const fn key(&self) -> PublicKey {
        self.key
    }
}

/// The number of items in a transaction: those of a batch, otherwise one.
#[must_use]
pub fn item_count(tx: &Tx) -> usize {
    match tx {
        Tx::Cdr(CdrTx::RecordCdrs(cdrs) | CdrTx::TrueUp(cdrs)) => cdrs.len(),
        Tx::Settlement(SettlementTx::ReserveCredit(items)) => items.len(),
        Tx::Voucher(VoucherTx::Reserve(items)) => items.len(),
        Tx::Voucher(VoucherTx::Refund(items)) => items.len(),
        Tx::Voucher(VoucherTx::Block(items)) => items.len(),
        _ => 1,
    }
}
