//! Proofs that the state has a value under a key, or none.
//!
//! Source: `commonware-storage` 2026.10.0, `qmdb::current::ordered` over an MMR, chunks of [`CHUNK_BYTES`] bytes, keys
//! and values of variable size: `proof::constant::{KeyValueProof, ExclusionProof}` are what is read here,
//! `current::proof::RangeProof::reconstruct_root` what is computed. Those modules need the engine's runtime, so the
//! part that verifies one operation is written again here, over the crate's own Merkle proofs.
//!
//! The state is a log of operations, each of which names the next key. A bit map says which operations are still in
//! force; its chunks of 256 bits are hashed into the nodes of the log's tree that stand above as many operations
//! ("grafted"):
//!
//! ```text
//! state root = SHA-256(root of the log, grafted root [, bits in the last chunk, digest of the last chunk])
//! ```

use crate::trust::{FinalityError, FinalityProof, FinalizedHeader, Trust};
use commonware_codec::varint::UInt;
use commonware_codec::{Copying, Encode as _, Error as CodecError, Read as _, ReadExt as _};
use commonware_cryptography::{Hasher as _, Sha256, sha256};
use commonware_storage::merkle::hasher::{Hasher, Standard};
use commonware_storage::merkle::{Bagging, Family as _, Graftable as _};
use commonware_storage::mmr::{self, Location, Position};
use commonware_utils::range::contains_cyclic;
use eroam_domain::codec::Digest;
use eroam_ledger::state as ledger;
pub use eroam_ledger::state::VALUE_BYTES_MAX;

/// The greatest size in bytes of a key of the state as it is stored.
pub const KEY_BYTES_MAX: usize = PREFIX_BYTES + ledger::KEY_BYTES_MAX;
/// The size in bytes of a chunk of the bit map. With the smallest one proofs are smallest.
pub const CHUNK_BYTES: usize = 32;
/// The greatest size of an encoded proof in bytes: a proof that a key is absent carries the value of the key before.
pub const PROOF_BYTES_MAX: usize = VALUE_BYTES_MAX + 8 * 1024;

/// What is put before a key.
const PREFIX_BYTES: usize = 8;
/// A chunk stands above so many operations, as a power of two.
const GRAFTING_HEIGHT: u32 = (CHUNK_BYTES * 8).trailing_zeros();
/// A chunk's bits, so a chunk's operations.
const CHUNK_BITS: u64 = 1 << GRAFTING_HEIGHT;

/// So many bytes at the end of a key are kept as they are in front of it.
const ORDERED_BYTES: usize = 2;

/// Under which bytes a state key is stored. The engine's database looks at the first eight bytes, so that these should
/// differ: six of the SHA-256 of the key without its last two bytes, and those two.
///
/// Keys that differ in their last bytes alone are neighbours thereby: records that an operator numbers, the days of an
/// EVSE. A new key costs its neighbour another operation, since that names the next one; of many new keys side by side
/// only the first has an old neighbour, which would otherwise be anywhere in the log.
#[must_use]
pub fn stored_key(state_key: &[u8]) -> Vec<u8> {
    let (group, last) = state_key.split_at(state_key.len().saturating_sub(ORDERED_BYTES));
    let Digest(hash) = Digest::of(group);
    let spread = hash.iter().take(PREFIX_BYTES.saturating_sub(last.len()));
    spread.chain(last).chain(state_key).copied().collect()
}

/// Why a proof of the state proves nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StateProofError {
    /// Larger than [`PROOF_BYTES_MAX`].
    #[error("a proof of {0} bytes is larger than {PROOF_BYTES_MAX}")]
    TooLarge(usize),
    /// Longer than a key can be.
    #[error("a key of {0} bytes is longer than {max}", max = ledger::KEY_BYTES_MAX)]
    KeyTooLong(usize),
    /// Longer than a value can be.
    #[error("a value of {0} bytes is longer than {VALUE_BYTES_MAX}")]
    ValueTooLong(usize),
    /// Not the bytes of a proof.
    #[error("the bytes are no proof: {0}")]
    Malformed(String),
    /// The operation was overwritten or deleted later.
    #[error("the proof's operation {0} is no longer in force")]
    Inactive(u64),
    /// The last chunk of the bit map is missing, superfluous or another.
    #[error("the proof's last chunk does not fit its {0} operations")]
    WrongLastChunk(u64),
    /// The parts do not fit together.
    #[error("the proof has no path from operation {0} to a root: {1}")]
    BadPath(u64, String),
    /// The keys that the proof names lie elsewhere.
    #[error("the proof's two keys do not enclose the key")]
    NotEnclosed,
    /// Made for another block, or altered.
    #[error("the proof leads to root {found}, the header has {expected}")]
    WrongRoot {
        /// In the header.
        expected: Digest,
        /// Computed.
        found: Digest,
    },
    /// As [`Self::WrongRoot`], for the log.
    #[error("the proof names the log's root {found}, the header {expected}")]
    WrongOperationsRoot {
        /// In the header.
        expected: Digest,
        /// In the proof.
        found: Digest,
    },
    /// The block is not finalized.
    #[error("the block that the proof is for is not shown to be final")]
    Finality(#[from] FinalityError),
}

/// A proof that an operation is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
struct OperationProof {
    /// Where it stands in the log.
    location: Location,
    /// The chunk of the bit map with its bit.
    chunk: [u8; CHUNK_BYTES],
    path: mmr::Proof<sha256::Digest>,
    /// The digest of the last chunk, if that is not full.
    last_chunk: Option<sha256::Digest>,
    operations: sha256::Digest,
}

impl OperationProof {
    fn read(bytes: &mut Copying<'_>) -> Result<Self, CodecError> {
        let location = Location::read(bytes)?;
        let chunk = <[u8; CHUNK_BYTES]>::read(bytes)?;
        let path = mmr::Proof::read_cfg(bytes, &mmr::MAX_PROOF_DIGESTS_PER_ELEMENT)?;
        let last_chunk = Option::<sha256::Digest>::read(bytes)?;
        let operations = sha256::Digest::read(bytes)?;
        Ok(Self { location, chunk, path, last_chunk, operations })
    }

    /// Checks that `operation` is in force at the end of the block.
    fn verify(&self, operation: &[u8], header: &FinalizedHeader) -> Result<(), StateProofError> {
        let header = header.header();
        let (location, leaves) = (self.location.as_u64(), self.path.leaves.as_u64());
        let (chunk, bit) = (location / CHUNK_BITS, location % CHUNK_BITS);
        let in_force = self.chunk.iter().flat_map(|byte| (0..8).map(move |n| byte >> n & 1 == 1));
        if !in_force.zip(0..).any(|(is_set, n)| is_set && n == bit) {
            return Err(StateProofError::Inactive(location));
        }
        let (full_chunks, bits) = (leaves / CHUNK_BITS, leaves % CHUNK_BITS);
        let digest = |bytes: &[u8]| Sha256::hash(&[bytes]);
        let fits = match &self.last_chunk {
            None => bits == 0,
            Some(last) => bits != 0 && (chunk != full_chunks || *last == digest(&self.chunk)),
        };
        if !fits {
            return Err(StateProofError::WrongLastChunk(leaves));
        }
        let hasher = Grafted { chunk: &self.chunk, index: chunk };
        let grafted = self
            .path
            .reconstruct_root(&hasher, &[operation], self.location)
            .map_err(|e| StateProofError::BadPath(location, e.to_string()))?;
        let root = match &self.last_chunk {
            None => Sha256::hash(&[&self.operations, &grafted]),
            Some(last) => Sha256::hash(&[&self.operations, &grafted, &bits.to_be_bytes(), last]),
        };
        let (expected, found) = (header.state, own_digest(root));
        if found != expected {
            return Err(StateProofError::WrongRoot { expected, found });
        }
        let (expected, found) = (header.operations, own_digest(self.operations));
        if found != expected {
            return Err(StateProofError::WrongOperationsRoot { expected, found });
        }
        Ok(())
    }
}

fn own_digest(digest: sha256::Digest) -> Digest {
    Digest(digest.as_ref().try_into().unwrap_or_default())
}

/// Hashes nodes as the engine does, and the chunk of the bit map into the node above its operations.
///
/// Source: `qmdb::current::grafting::Verifier`. In an MMR every full chunk has such a node at once.
#[derive(Clone)]
struct Grafted<'a> {
    chunk: &'a [u8; CHUNK_BYTES],
    index: u64,
}

impl Grafted<'_> {
    const PLAIN: Standard<Sha256> = Standard::new(Bagging::BackwardFold);
}

impl Hasher<mmr::Family> for Grafted<'_> {
    type Digest = sha256::Digest;

    fn hash(&self, parts: &[&[u8]]) -> sha256::Digest {
        Sha256::hash(parts)
    }

    fn root_bagging(&self) -> Bagging {
        Self::PLAIN.root_bagging()
    }

    fn node_digest(&self, at: Position, left: &sha256::Digest, right: &sha256::Digest) -> sha256::Digest {
        let plain = Hasher::<mmr::Family>::node_digest(&Self::PLAIN, at, left, right);
        if mmr::Family::pos_to_height(at) != GRAFTING_HEIGHT {
            return plain;
        }
        // A chunk of zeros would leave its node as it is, but this one has the operation's bit.
        let first = mmr::Family::leftmost_leaf(at, GRAFTING_HEIGHT).as_u64();
        if first / CHUNK_BITS == self.index { Sha256::hash(&[self.chunk, &plain]) } else { plain }
    }

    fn node_digest_pair(
        &self,
        [a, b]: [(Position, &sha256::Digest, &sha256::Digest); 2],
    ) -> (sha256::Digest, sha256::Digest) {
        (self.node_digest(a.0, a.1, a.2), self.node_digest(b.0, b.1, b.2))
    }
}

/// The first byte of an operation that sets a value. Source: `qmdb::any::operation`.
const UPDATE: u8 = 0xd2;
/// The first byte of an operation that ends a batch.
const COMMIT: u8 = 0xd3;

/// An operation that sets a value: the key, the value, the next key in the order of bytes.
fn update(key: &[u8], value: &[u8], next: &[u8]) -> Vec<u8> {
    let mut bytes = vec![UPDATE];
    for part in [key, value, next] {
        put(&mut bytes, part);
    }
    bytes
}

fn put(bytes: &mut Vec<u8>, part: &[u8]) {
    bytes.extend_from_slice(&UInt(u64::try_from(part.len()).unwrap_or(u64::MAX)).encode());
    bytes.extend_from_slice(part);
}

fn take(bytes: &mut Copying<'_>, max: usize) -> Result<Vec<u8>, CodecError> {
    Vec::<u8>::read_cfg(bytes, &((0..=max).into(), ()))
}

fn decode<T>(
    bytes: &[u8],
    read: impl FnOnce(&mut Copying<'_>) -> Result<T, CodecError>,
) -> Result<T, StateProofError> {
    if bytes.len() > PROOF_BYTES_MAX {
        return Err(StateProofError::TooLarge(bytes.len()));
    }
    let mut rest = Copying(bytes);
    let value = read(&mut rest).and_then(|value| match rest.0.len() {
        0 => Ok(value),
        more => Err(CodecError::ExtraData(more)),
    });
    value.map_err(|e| StateProofError::Malformed(e.to_string()))
}

fn stored(state_key: &[u8]) -> Result<Vec<u8>, StateProofError> {
    if state_key.len() > ledger::KEY_BYTES_MAX {
        return Err(StateProofError::KeyTooLong(state_key.len()));
    }
    Ok(stored_key(state_key))
}

/// A proof that the state has a value under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inclusion {
    operation: OperationProof,
    next: Vec<u8>,
}

impl Inclusion {
    /// Reads the engine's `KeyValueProof`. Its bytes are the only ones it has.
    ///
    /// # Errors
    /// [`StateProofError::TooLarge`], [`StateProofError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StateProofError> {
        decode(bytes, |bytes| {
            let operation = OperationProof::read(bytes)?;
            Ok(Self { operation, next: take(bytes, KEY_BYTES_MAX)? })
        })
    }

    /// Checks that `state_key` has `value` in the state after the block.
    ///
    /// # Errors
    /// [`StateProofError`].
    pub fn verify(
        &self,
        header: &FinalizedHeader,
        state_key: &[u8],
        value: &[u8],
    ) -> Result<(), StateProofError> {
        if value.len() > VALUE_BYTES_MAX {
            return Err(StateProofError::ValueTooLong(value.len()));
        }
        self.operation.verify(&update(&stored(state_key)?, value, &self.next), header)
    }
}

/// A proof that the state has nothing under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exclusion {
    operation: OperationProof,
    around: Around,
}

/// What shows that a key is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Around {
    /// The key before it, whose next key comes after it. The last key is followed by the first.
    Keys { key: Vec<u8>, value: Vec<u8>, next: Vec<u8> },
    /// The state is empty: the last batch, with what was noted at its end, has nothing before it that is in force.
    Nothing { note: Option<Vec<u8>> },
}

impl Exclusion {
    /// Reads the engine's `ExclusionProof`. Its bytes are the only ones it has.
    ///
    /// # Errors
    /// [`StateProofError::TooLarge`], [`StateProofError::Malformed`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StateProofError> {
        decode(bytes, |bytes| {
            let kind = u8::read(bytes)?;
            let operation = OperationProof::read(bytes)?;
            let around = match kind {
                0 => Around::Keys {
                    key: take(bytes, KEY_BYTES_MAX)?,
                    value: take(bytes, VALUE_BYTES_MAX)?,
                    next: take(bytes, KEY_BYTES_MAX)?,
                },
                1 if bool::read(bytes)? => Around::Nothing { note: Some(take(bytes, VALUE_BYTES_MAX)?) },
                1 => Around::Nothing { note: None },
                other => return Err(CodecError::InvalidEnum(other)),
            };
            Ok(Self { operation, around })
        })
    }

    /// Checks that `state_key` has no value in the state after the block.
    ///
    /// # Errors
    /// [`StateProofError`].
    pub fn verify(&self, header: &FinalizedHeader, state_key: &[u8]) -> Result<(), StateProofError> {
        let wanted = stored(state_key)?;
        let operation = match &self.around {
            Around::Keys { key, value, next } => {
                if *key == wanted || !contains_cyclic(key..next, &&wanted) {
                    return Err(StateProofError::NotEnclosed);
                }
                update(key, value, next)
            }
            Around::Nothing { note } => {
                let mut bytes = vec![COMMIT, u8::from(note.is_some())];
                if let Some(note) = note {
                    put(&mut bytes, note);
                }
                // Of an empty state the first operation that is needed is the last one there is: itself.
                bytes.extend_from_slice(&self.operation.location.encode());
                bytes
            }
        };
        self.operation.verify(&operation, header)
    }
}

/// A proof about one key of the state, with everything that it takes to check it, as it travels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateProof {
    /// The block after which the state is looked at.
    pub finality: FinalityProof,
    /// The canonical bytes of the [`eroam_ledger::state::StateKey`].
    pub key: Vec<u8>,
    /// The canonical bytes of the value; `None`: there is none.
    pub value: Option<Vec<u8>>,
    /// The bytes of an [`Inclusion`] or, without a value, of an [`Exclusion`].
    pub proof: Vec<u8>,
}

impl StateProof {
    /// Checks block and proof.
    ///
    /// # Errors
    /// [`StateProofError`].
    pub fn verify(&self, trust: &Trust) -> Result<VerifiedEntry, StateProofError> {
        let header = self.finality.verify(trust)?;
        match &self.value {
            Some(value) => Inclusion::decode(&self.proof)?.verify(&header, &self.key, value)?,
            None => Exclusion::decode(&self.proof)?.verify(&header, &self.key)?,
        }
        Ok(VerifiedEntry { header, key: self.key.clone(), value: self.value.clone() })
    }
}

/// What the state has under a key after a block that is final.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedEntry {
    header: FinalizedHeader,
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl VerifiedEntry {
    /// The block.
    #[must_use]
    pub const fn header(&self) -> &FinalizedHeader {
        &self.header
    }

    /// The canonical bytes of the key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The canonical bytes of the value; `None`: there is none.
    #[must_use]
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_stored_key_is_the_start_of_a_hash_the_last_bytes_and_the_key() {
        // SHA-256("abc") as FIPS 180-4 gives it.
        let abc = [0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea];
        assert_eq!(stored_key(b"abcde"), [&abc[..6], b"de", b"abcde"].concat());
        // SHA-256 of nothing, from the same place.
        let nothing = [0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14];
        assert_eq!(stored_key(b""), nothing);
        assert_eq!(stored_key(b"a"), [&nothing[..7], b"a", b"a"].concat());
        assert_eq!(stored_key(b"ab"), [&nothing[..6], b"ab", b"ab"].concat());
        assert_eq!(stored_key(&[0; ledger::KEY_BYTES_MAX]).len(), KEY_BYTES_MAX);
    }

    #[test]
    fn keys_that_an_operator_numbers_are_neighbours() {
        let stored: Vec<_> = (0..200).map(|n| stored_key(format!("session-{n:06}").as_bytes())).collect();
        let mut sorted = stored.clone();
        sorted.sort();
        let next =
            |key: &Vec<u8>| sorted.iter().position(|other| other == key).and_then(|at| sorted.get(at + 1));
        let beside = stored.iter().zip(stored.iter().skip(1)).filter(|(key, after)| next(key) == Some(after));
        // Two groups of a hundred.
        assert!(beside.count() >= 198);
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = Inclusion::decode(&bytes);
            let _ = Exclusion::decode(&bytes);
        }
    }
}
