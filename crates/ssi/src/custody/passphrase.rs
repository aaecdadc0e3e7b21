//! What opens a vault.

use super::error::VaultError;
use std::fmt;
use zeroize::Zeroizing;

/// A passphrase. Wiped from memory when it is dropped; never printed.
pub struct Passphrase(Zeroizing<String>);

impl Passphrase {
    /// Bytes of a passphrase, at most.
    pub const BYTES_MAX: usize = 1024;

    /// A passphrase as it was typed.
    ///
    /// # Errors
    /// [`VaultError::Passphrase`] when it is empty or too long. Whether it is a good one is not judged.
    pub fn new(text: Zeroizing<String>) -> Result<Self, VaultError> {
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(VaultError::Passphrase);
        }
        Ok(Self(text))
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase")
    }
}
