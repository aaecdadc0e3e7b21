//! An issuer's key that was made before, in files: `definition.json`, `secret.json`, `key_correctness.json`.

use super::ProgramError;
use super::secrets;
use crate::charging::issuer::IssuerKey;
use std::path::Path;
use zeroize::Zeroizing;

/// An issuer's key that was made before.
pub(super) struct GivenKey {
    definition: Vec<u8>,
    secret: Zeroizing<String>,
    correctness: Vec<u8>,
}

impl GivenKey {
    /// Reads it. Whoever can read the secret can issue in the issuer's name, so nobody else may.
    ///
    /// # Errors
    /// [`ProgramError::Io`]; [`ProgramError::Secret`], also for a secret that others on this machine can read.
    pub(super) fn read(directory: &Path) -> Result<Self, ProgramError> {
        let file = |name: &str| {
            let path = directory.join(name);
            std::fs::read(&path).map_err(ProgramError::io(format!("{} cannot be read", path.display())))
        };
        Ok(Self {
            definition: file("definition.json")?,
            secret: secrets::read(&directory.join("secret.json"))?,
            correctness: file("key_correctness.json")?,
        })
    }

    /// As an issuer takes it.
    pub(super) fn key(&self) -> IssuerKey<'_> {
        let Self { definition, secret, correctness } = self;
        IssuerKey::Given { definition, secret: secret.as_bytes(), correctness }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_secret_that_others_can_read_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["definition.json", "secret.json", "key_correctness.json"] {
            std::fs::write(path(name), name).unwrap();
        }
        for (mode, is_taken) in [(0o600, true), (0o400, true), (0o640, false), (0o604, false), (0o620, false)]
        {
            let permissions = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(path("secret.json"), permissions).unwrap();
            match GivenKey::read(directory.path()) {
                Ok(given) => assert!(is_taken && given.secret.as_str() == "secret.json", "{mode:o}"),
                Err(error) => {
                    let said = error.to_string();
                    assert!(
                        !is_taken && said.contains("secret.json") && said.contains("make it 600"),
                        "{said}"
                    );
                }
            }
        }
        std::fs::remove_file(path("secret.json")).unwrap();
        let missing = GivenKey::read(directory.path()).map(drop).unwrap_err().to_string();
        assert!(missing.contains("secret.json cannot be read"), "{missing}");
    }
}
