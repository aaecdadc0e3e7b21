//! What validators sign together: the certificate that finalizes a block.
//!
//! Source: `commonware-consensus` 2026.10.0, `simplex::types::Finalization` with `simplex::scheme::ed25519`; the
//! signatures are those of `commonware-cryptography`, whose rules (ZIP 215) are the engine's. `ed25519-dalek`'s are
//! stricter: a validator could sign so that the engine takes its vote and a light client does not.
//!
//! ```text
//! epoch, view, parent view   varints    the proposal: what each validator signs,
//! payload                    32 bytes   after the namespace and its length
//! validators                 u64        their number, the length of the bit map in bits
//! bit map                    bytes      who voted, in the order of their keys
//! votes                      varint     their number, then 64 bytes for each
//! ```

use commonware_codec::varint::UInt;
use commonware_codec::{Copying, Error as CodecError, Read as _, ReadExt as _};
use commonware_cryptography::Verifier as _;
use commonware_cryptography::ed25519::{self, certificate::Certificate as Votes};
use commonware_utils::{Faults as _, N3f1};
use eroam_domain::codec::Digest;
use eroam_ledger::genesis::VALIDATORS_MAX;
use eroam_ledger::tx::PublicKey;

/// The greatest size of a certificate in bytes: [`VALIDATORS_MAX`] votes and what they are about.
pub const CERTIFICATE_BYTES_MAX: usize = 8 * 1024;

/// What the votes of a network's validators are signed under, besides the kind of the vote: they mean nothing in any
/// other network.
#[must_use]
pub fn consensus_namespace(network: &Digest) -> Vec<u8> {
    [b"eroam/consensus/1/", network.0.as_slice()].concat()
}

/// Source: `commonware-consensus` 2026.10.0, `simplex::scheme`, `FINALIZE_SUFFIX`.
fn finalize_namespace(network: &Digest) -> Vec<u8> {
    let mut namespace = consensus_namespace(network);
    namespace.extend_from_slice(b"_FINALIZE");
    namespace
}

/// The validators of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validators {
    /// In the order of their bytes, which is the order of the bits in a certificate.
    keys: Vec<ed25519::PublicKey>,
}

/// Why keys are no set of validators.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValidatorsError {
    /// None, or too many.
    #[error("a network has 1 to {VALIDATORS_MAX} validators, not {0}")]
    Count(usize),
    /// The same key twice.
    #[error("two validators have the key {}", Digest(.0.0))]
    Duplicate(PublicKey),
    /// Not a point of the curve.
    #[error("the validator key {} is no Ed25519 key", Digest(.0.0))]
    Malformed(PublicKey),
}

impl Validators {
    /// A set of validators, in any order.
    ///
    /// # Errors
    /// [`ValidatorsError`].
    pub fn new(keys: impl IntoIterator<Item = PublicKey>) -> Result<Self, ValidatorsError> {
        let mut keys: Vec<PublicKey> = keys.into_iter().collect();
        if keys.is_empty() || keys.len() > VALIDATORS_MAX {
            return Err(ValidatorsError::Count(keys.len()));
        }
        keys.sort_unstable();
        if let Some([twice, _]) = keys.array_windows().find(|[a, b]| a == b) {
            return Err(ValidatorsError::Duplicate(*twice));
        }
        let point = |key: &PublicKey| {
            ed25519::PublicKey::read(&mut Copying(&key.0)).map_err(|_| ValidatorsError::Malformed(*key))
        };
        Ok(Self { keys: keys.iter().map(point).collect::<Result<_, _>>()? })
    }

    /// How many there are.
    #[must_use]
    pub const fn count(&self) -> usize {
        self.keys.len()
    }

    /// So many votes finalize a block: more than two thirds.
    #[must_use]
    pub fn quorum(&self) -> usize {
        // The engine's own rule. It panics on an empty set, which there is none of.
        usize::try_from(N3f1::quorum(self.keys.len())).unwrap_or(usize::MAX)
    }
}

/// A certificate whose votes nobody has checked yet.
#[derive(Clone, Debug)]
pub struct Certificate {
    finalized: Finalized,
    /// The bytes of the proposal: what is signed.
    message: Vec<u8>,
    votes: Votes,
}

/// What a certificate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finalized {
    /// The epoch.
    pub epoch: u64,
    /// The view of the epoch.
    pub view: u64,
    /// The view of the parent.
    pub parent_view: u64,
    /// The digest of the block.
    pub payload: Digest,
}

/// Why a certificate is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Larger than [`CERTIFICATE_BYTES_MAX`].
    #[error("a certificate of {0} bytes is larger than {CERTIFICATE_BYTES_MAX}")]
    TooLarge(usize),
    /// Not the bytes of a certificate.
    #[error("the bytes are no certificate: {0}")]
    Malformed(String),
    /// Made for another set.
    #[error("the certificate is of {found} validators, the epoch has {expected}")]
    Validators {
        /// In the trusted set.
        expected: usize,
        /// In the certificate.
        found: usize,
    },
    /// No quorum.
    #[error("the certificate has {found} votes, {required} are required")]
    TooFewVotes {
        /// The quorum.
        required: usize,
        /// In the certificate.
        found: usize,
    },
    /// Not the validator's signature, or under another network's namespace.
    #[error("the vote of validator {} is not its signature of this block in this network", Digest(.0.0))]
    BadVote(PublicKey),
}

impl Certificate {
    /// Reads a certificate. Its bytes are the only ones it has.
    ///
    /// # Errors
    /// [`CertificateError::TooLarge`], [`CertificateError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, CertificateError> {
        if bytes.len() > CERTIFICATE_BYTES_MAX {
            return Err(CertificateError::TooLarge(bytes.len()));
        }
        Self::read(bytes).map_err(|e| CertificateError::Malformed(e.to_string()))
    }

    fn read(bytes: &[u8]) -> Result<Self, CodecError> {
        let mut rest = Copying(bytes);
        let epoch = UInt::<u64>::read(&mut rest)?.0;
        let view = UInt::<u64>::read(&mut rest)?.0;
        let parent_view = UInt::<u64>::read(&mut rest)?.0;
        let payload = Digest(<[u8; 32]>::read(&mut rest)?);
        let message = bytes.strip_suffix(rest.0).unwrap_or_default().to_vec();
        let votes = Votes::read_cfg(&mut rest, &VALIDATORS_MAX)?;
        if !rest.0.is_empty() {
            return Err(CodecError::ExtraData(rest.0.len()));
        }
        Ok(Self { finalized: Finalized { epoch, view, parent_view, payload }, message, votes })
    }

    /// The epoch that it says it is of: whose validators must have signed.
    #[must_use]
    pub const fn epoch(&self) -> u64 {
        self.finalized.epoch
    }

    /// How many validators it says voted.
    #[must_use]
    pub fn votes(&self) -> usize {
        self.votes.signers.count()
    }

    /// Checks the votes.
    ///
    /// # Errors
    /// [`CertificateError`].
    pub fn verify(&self, network: &Digest, validators: &Validators) -> Result<Finalized, CertificateError> {
        let (expected, found) = (validators.count(), self.votes.signers.len());
        if found != expected {
            return Err(CertificateError::Validators { expected, found });
        }
        let (required, found) = (validators.quorum(), self.votes.signers.count());
        if found < required || found != self.votes.signatures.len() {
            return Err(CertificateError::TooFewVotes { required, found });
        }
        let namespace = finalize_namespace(network);
        for (signer, vote) in self.votes.signers.iter().zip(&self.votes.signatures) {
            let signer = usize::try_from(signer.get()).ok().and_then(|place| validators.keys.get(place));
            let signer = signer.ok_or(CertificateError::Validators { expected, found })?;
            if !vote.get().is_some_and(|vote| signer.verify(&namespace, &self.message, vote)) {
                return Err(CertificateError::BadVote(own_key(signer)));
            }
        }
        Ok(self.finalized)
    }
}

fn own_key(key: &ed25519::PublicKey) -> PublicKey {
    PublicKey(key.as_ref().try_into().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The encoding of the curve's base point: a key that anybody could have.
    fn key(last: u8) -> PublicKey {
        let mut bytes = [0x66; 32];
        (bytes[0], bytes[31]) = (0x58, last);
        PublicKey(bytes)
    }

    #[test]
    fn the_namespace_is_that_of_version_1() {
        let namespace = consensus_namespace(&Digest([7; 32]));
        assert_eq!(namespace, [b"eroam/consensus/1/".as_slice(), &[7; 32]].concat());
    }

    #[test]
    fn validators_are_refused_when_none_too_many_twice_or_no_keys() {
        let [one, other] = [key(0x66), key(0xe6)];
        assert_eq!(Validators::new([]), Err(ValidatorsError::Count(0)));
        assert_eq!(
            Validators::new([one; VALIDATORS_MAX + 1]),
            Err(ValidatorsError::Count(VALIDATORS_MAX + 1))
        );
        assert_eq!(Validators::new([one, other, one]), Err(ValidatorsError::Duplicate(one)));
        let no_key = PublicKey([2; 32]);
        assert_eq!(Validators::new([one, no_key]), Err(ValidatorsError::Malformed(no_key)));
        assert_eq!(Validators::new([one, other]), Validators::new([other, one]));
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let validators = Validators::new([key(0x66)]).unwrap();
            if let Ok(certificate) = Certificate::decode(&bytes) {
                prop_assert!(certificate.verify(&Digest::ZERO, &validators).is_err());
            }
        }
    }
}
