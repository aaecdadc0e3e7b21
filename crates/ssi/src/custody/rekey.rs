//! Another passphrase for a vault that is open.

use super::file::{FileError, VaultFile};
use super::{Cost, Passphrase, Secrets, Vault, VaultError};
use crate::didcomm::CryptoRngCore;

/// Why a vault keeps its passphrase.
#[derive(Debug, thiserror::Error)]
pub enum RekeyError {
    /// It cannot be sealed with the new one.
    #[error("it cannot be sealed with the new passphrase; the old one stays")]
    Vault(#[from] VaultError),
    /// The file cannot be replaced.
    #[error("the file cannot be replaced; the old passphrase stays")]
    File(#[from] FileError),
}

/// Seals `secrets` with another passphrase, sees that this opens them, and then puts them in the place of what is in `file`:
/// until the new vault is on the disk, whole, the old one is there. Copies that were made before open with the old passphrase.
///
/// # Errors
/// [`RekeyError`]; the file is as before.
pub fn change_passphrase<S: Secrets>(
    file: &mut VaultFile,
    secrets: &S,
    new: &Passphrase,
    cost: Cost,
    rng: &mut impl CryptoRngCore,
) -> Result<Vault<S>, RekeyError> {
    let vault = Vault::create(new, cost, rng)?;
    let sealed = vault.seal(secrets, rng)?;
    Vault::<S>::open(&sealed, new)?;
    file.replace(&sealed)?;
    Ok(vault)
}
