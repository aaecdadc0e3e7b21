//! Secrets at rest: everything that a holder or an issuer must keep, in one encrypted file.
//!
//! ```text
//! passphrase --Argon2id(salt, cost)--> key --XChaCha20-Poly1305(nonce; header as associated data)--> the file
//!
//! offset  0  magic "eroam\0\0v"     8  version     9  role: 1 holder, 2 issuer
//!        10  memory, KiB  u32      14  passes u32  18  lanes u32      (little-endian)
//!        22  salt         16 B     38  nonce 24 B  62  ciphertext and tag
//! ```
//! A [`Vault`] keeps the key, so that a save costs no Argon2id; each save has a nonce of its own, and 24 random bytes
//! never repeat. Cost and version are bounded before anything is computed, since whoever can write the file can write
//! those. What version 1 wrote is read; version 2 has one more shelf for holders, and what is saved is of version 2. Which
//! role the secrets have is in the header: an issuer's file does not open as a wallet.
//!
//! Who keeps more than fits one file keeps records elsewhere, sealed with a [`RecordsKey`] that lies in the vault.
//!
//! Bytes in, bytes out: this compiles for browsers. [`file`](mod@file) is for machines that have files.
//!
//! What it does not do: it keeps no older versions, so that who can write the file can bring back an older one whole;
//! it does not normalise what is typed, so a passphrase has to be typed in the same Unicode form; it does not lock
//! memory, so what the system swaps out is the system's matter.
//!
//! Source: RFC 9106 (Argon2id), draft-irtf-cfrg-xchacha.

mod cost;
mod error;
#[cfg(not(target_arch = "wasm32"))]
pub mod file;
mod issuer_secrets;
mod passphrase;
mod records_key;
#[cfg(not(target_arch = "wasm32"))]
mod rekey;
mod shelf;
mod vault;
mod wallet;

pub use cost::Cost;
pub use error::{ContentError, VaultError};
pub use issuer_secrets::IssuerSecrets;
pub use passphrase::Passphrase;
pub use records_key::{RECORD_OVERHEAD, RecordsKey};
#[cfg(not(target_arch = "wasm32"))]
pub use rekey::{RekeyError, change_passphrase};
pub use shelf::{ENTRIES_MAX, LABEL_BYTES_MAX};
pub use vault::{
    HEADER_BYTES, HolderVault, IssuerVault, Role, Secrets, VAULT_BYTES_MAX, VERSION, VERSION_OLDEST, Vault,
};
pub use wallet::Wallet;
