//! Secrets that a program is given: in files that nobody else reads, or in the environment. None has a default.

use ed25519_dalek::SigningKey;
use eroam_ssi::custody::{Passphrase, VaultError};
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

/// Where the passphrase can be instead of in a file.
pub const PASSPHRASE: &str = "EROAM_PASSPHRASE";

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    /// The file cannot be read.
    #[error("the secret in {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Others on this machine can read it.
    #[error("{} is open to others (mode {mode:03o}): make it 600", path.display())]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// It is no key.
    #[error("{} holds no key: 64 hexadecimal digits are expected", .0.display())]
    NoKey(PathBuf),
    /// There is none.
    #[error("there is no passphrase: name a file as passphrase_file, or set {PASSPHRASE}")]
    NoPassphrase,
    /// It is none.
    #[error("the passphrase cannot be used")]
    Passphrase(#[from] VaultError),
}

/// The text of a file that nobody else can read, without the white space around it.
pub(super) fn read(path: &Path) -> Result<Zeroizing<String>, SecretFileError> {
    let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
    let mut file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        // Of the file that is read, whatever is put in its place meanwhile.
        let mode = file.metadata().map_err(failed)?.permissions().mode() & 0o777;
        if mode & 0o077 != 0 {
            return Err(SecretFileError::Exposed { path: path.to_owned(), mode });
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.read_to_string(&mut text).map_err(failed)?;
    Ok(Zeroizing::new(text.trim().to_owned()))
}

/// The passphrase in a file, or in the environment.
///
/// # Errors
/// [`SecretFileError`].
pub fn passphrase(file: Option<&Path>) -> Result<Passphrase, SecretFileError> {
    let text = match file {
        Some(file) => read(file)?,
        None => Zeroizing::new(std::env::var(PASSPHRASE).map_err(|_| SecretFileError::NoPassphrase)?),
    };
    Ok(Passphrase::new(text)?)
}

/// The Ed25519 key in a file: its seed in hexadecimal.
///
/// # Errors
/// [`SecretFileError`].
pub fn signing_key(file: &Path) -> Result<SigningKey, SecretFileError> {
    let text = read(file)?;
    let mut seed = Zeroizing::new([0u8; 32]);
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(SecretFileError::NoKey(file.to_owned()));
    }
    for (byte, pair) in seed.iter_mut().zip(text.as_bytes().chunks(2)) {
        let pair = std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        *byte = pair.ok_or_else(|| SecretFileError::NoKey(file.to_owned()))?;
    }
    Ok(SigningKey::from_bytes(&seed))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_key_is_sixty_four_digits_in_a_file_of_ones_own() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let write = |text: &str, mode: u32| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        };
        write(&format!("{}\n", "0a".repeat(32)), 0o600);
        assert_eq!(signing_key(&path).unwrap().to_bytes(), [10; 32]);
        write(&"0a".repeat(32), 0o640);
        assert!(matches!(signing_key(&path), Err(SecretFileError::Exposed { mode: 0o640, .. })));
        for wrong in ["", "0a", &"0g".repeat(32), &"0a".repeat(33), &"é".repeat(32)] {
            write(wrong, 0o600);
            assert!(matches!(signing_key(&path), Err(SecretFileError::NoKey(_))), "{wrong}");
        }
        assert!(matches!(signing_key(&directory.path().join("none")), Err(SecretFileError::Read { .. })));
    }
}
