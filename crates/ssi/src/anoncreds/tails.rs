//! Tails files: the points from which a holder computes that it is not revoked.
//!
//! Two bytes of version, then a point of 128 bytes for each of 0 to 2 * `maxCredNum`. The points carry no proof: a
//! changed one yields proofs that do not verify, or, chosen by an issuer for one holder, proofs that only fail for
//! that holder. So a file is used only if its hash is the one that the registry's definition, the same for
//! everybody, names.

use super::error::AnonCredsError;
use super::registry::RevocationRegistryDefinition;
use anoncreds_clsignatures as cl;
use sha2::{Digest, Sha256};
use std::io::Write;

/// The version of the format.
const VERSION: [u8; 2] = [0, 2];

/// The length of the tails file of a registry of `size` places.
pub(super) fn length(size: u32) -> usize {
    let points = usize::try_from(size).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1);
    points.saturating_mul(cl::Tail::BYTES_REPR_SIZE).saturating_add(VERSION.len())
}

/// A tails file whose hash was checked.
#[derive(Clone)]
pub struct Tails {
    bytes: Vec<u8>,
    hash: String,
}

impl Tails {
    /// Opens the tails file of a registry.
    ///
    /// # Errors
    /// [`AnonCredsError::Tails`] when the length, the version or the hash is another.
    pub fn open(bytes: Vec<u8>, registry: &RevocationRegistryDefinition) -> Result<Self, AnonCredsError> {
        if bytes.len() != length(registry.size()) {
            return Err(AnonCredsError::Tails("of another length"));
        }
        if !bytes.starts_with(&VERSION) {
            return Err(AnonCredsError::Tails("of another version"));
        }
        let hash = bs58::encode(Sha256::digest(&bytes)).into_string();
        if hash != registry.tails_hash() {
            return Err(AnonCredsError::Tails("of another hash"));
        }
        Ok(Self { bytes, hash })
    }

    /// The whole file, as it may be kept or handed on.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Checks that this is the file of a registry.
    pub(super) fn belongs_to(&self, registry: &RevocationRegistryDefinition) -> Result<(), AnonCredsError> {
        AnonCredsError::same("tails hash", registry.tails_hash(), &self.hash)
    }
}

impl std::fmt::Debug for Tails {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tails").field("hash", &self.hash).field("bytes", &self.bytes.len()).finish()
    }
}

impl cl::RevocationTailsAccessor for Tails {
    fn access_tail(&self, index: u32, accessor: &mut dyn FnMut(&cl::Tail)) -> Result<(), cl::Error> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let start = index.saturating_mul(cl::Tail::BYTES_REPR_SIZE).saturating_add(VERSION.len());
        let end = start.saturating_add(cl::Tail::BYTES_REPR_SIZE);
        // Outside the file this is empty, which the library refuses.
        accessor(&cl::Tail::from_bytes(self.bytes.get(start..end).unwrap_or_default())?);
        Ok(())
    }
}

/// Writes a tails file and gives its hash in base58.
pub(super) fn write(
    generator: &mut cl::RevocationTailsGenerator,
    to: &mut dyn Write,
) -> Result<String, AnonCredsError> {
    let mut hash = Sha256::new();
    let mut put = |bytes: &[u8]| {
        hash.update(bytes);
        to.write_all(bytes).map_err(AnonCredsError::TailsNotWritten)
    };
    put(&VERSION)?;
    while let Some(tail) = generator.try_next().map_err(AnonCredsError::library("a tail"))? {
        put(&tail.to_bytes().map_err(AnonCredsError::library("a tail"))?)?;
    }
    Ok(bs58::encode(hash.finalize()).into_string())
}
