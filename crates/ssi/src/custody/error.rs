//! Why a vault does not open, and why something in it is not what it should be. None of these texts repeats a secret.

use super::passphrase::Passphrase;
use super::shelf::{ENTRIES_MAX, LABEL_BYTES_MAX};
use super::vault::{HEADER_BYTES, Role, VAULT_BYTES_MAX, VERSION, VERSION_OLDEST};
use crate::anoncreds::AnonCredsError;
use crate::sd_jwt::{KeyError, SdJwtError};

/// Why a vault is not made or does not open.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// The passphrase is empty or too long.
    #[error("a passphrase has 1 to {} bytes", Passphrase::BYTES_MAX)]
    Passphrase,
    /// The cost is out of bounds.
    #[error("{what}: {found}, from {min} to {max} are accepted")]
    Cost {
        /// Which part of it.
        what: &'static str,
        /// How much.
        found: u32,
        /// The least.
        min: u32,
        /// The most.
        max: u32,
    },
    /// The machine does not have the memory for the key.
    #[error("no memory to derive the key")]
    Memory,
    /// The machine gives no randomness.
    #[error("no randomness")]
    Randomness,
    /// Less than a header and a tag.
    #[error("{found} bytes, a vault has more than {HEADER_BYTES}")]
    Truncated {
        /// How many bytes there are.
        found: usize,
    },
    /// More bytes than are read or written.
    #[error("{found} bytes, at most {VAULT_BYTES_MAX} are read and written")]
    TooLarge {
        /// How many bytes there are.
        found: usize,
    },
    /// Something else.
    #[error("not a vault")]
    Magic,
    /// Of another version of this program.
    #[error("a vault of version {found}, this program reads {VERSION_OLDEST} to {VERSION}")]
    Version {
        /// Which.
        found: u8,
    },
    /// A vault for somebody else's secrets.
    #[error("a vault of role {found}, the one asked for is {expected}")]
    Role {
        /// Which was asked for.
        expected: Role,
        /// The number of what it is.
        found: u8,
    },
    /// The passphrase is wrong or the file was changed; nobody can tell which.
    #[error("wrong passphrase, or the vault was changed")]
    Sealed,
    /// It opens and holds something else than it should.
    #[error("the vault's content")]
    Content(#[source] ContentError),
}

/// Why something in a vault is not what it should be.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The content ends within something.
    #[error("it ends too early")]
    Truncated,
    /// Something is left over.
    #[error("something is left over")]
    Trailing,
    /// Labels are not in order, or one is there twice.
    #[error("labels out of order")]
    Order,
    /// A label is empty or too long, or not text.
    #[error("a label has 1 to {LABEL_BYTES_MAX} bytes of UTF-8")]
    Label,
    /// More of one kind than are kept.
    #[error("at most {ENTRIES_MAX} of one kind are kept")]
    Full,
    /// A signing key of another length.
    #[error("a signing key of another length")]
    Seed,
    /// A part of an AnonCreds credential.
    #[error("anoncreds")]
    AnonCreds(#[source] AnonCredsError),
    /// An SD-JWT.
    #[error("sd-jwt")]
    SdJwt(#[source] SdJwtError),
    /// A P-256 key.
    #[error("a P-256 key")]
    Key(#[source] KeyError),
}
