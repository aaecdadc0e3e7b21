//! A contract that was signed elsewhere, on paper or with a service for it: the driver brings the file to the registration,
//! what both sides sign names its hash, and the provider keeps the file. What it says is for people; nothing here reads it.
//!
//! Source: paper B, section 4.3.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eroam_domain::codec::Digest;
use serde::{Deserialize, Serialize};

/// The longest file in bytes: several scanned pages, and no more than a provider wants to keep of whoever registers.
pub const ATTACHED_BYTES_MAX: usize = 1 << 20;
/// So many bytes it takes in a registration: base64 writes three bytes as four characters.
pub(super) const ATTACHED_TEXT_MAX: usize = ATTACHED_BYTES_MAX.div_ceil(3) * 4;

/// Why a file is no contract that can be attached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AttachedError {
    /// There is nothing in it.
    #[error("the attached contract is empty: attach the file that was signed")]
    Empty,
    /// It is too long.
    #[error("the attached contract has more than {ATTACHED_BYTES_MAX} bytes: attach a smaller file")]
    TooLong,
    /// It did not come as it is sent.
    #[error("the attached contract is not in base64: enrol again with a newer program")]
    NotBase64,
    /// It is another file.
    #[error(
        "the attached contract is not the one that was signed: its SHA-256 is {found}, and {named} was signed: attach the file \
         that belongs to it"
    )]
    OtherFile {
        /// What was signed.
        named: Digest,
        /// That of the file.
        found: Digest,
    },
}

/// The file with the hash that is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AttachedContract {
    /// SHA-256 of the file: what `sha256sum` prints.
    pub sha256: Digest,
    /// The file in base64.
    file: String,
}

impl AttachedContract {
    /// That of a file.
    ///
    /// # Errors
    /// [`AttachedError::Empty`], [`AttachedError::TooLong`].
    pub fn of(file: &[u8]) -> Result<Self, AttachedError> {
        check_length(file.len())?;
        Ok(Self { sha256: Digest::of(file), file: STANDARD.encode(file) })
    }

    /// The file, if it is the one whose hash is named.
    ///
    /// # Errors
    /// [`AttachedError`].
    pub fn file(&self) -> Result<Vec<u8>, AttachedError> {
        if self.file.len() > ATTACHED_TEXT_MAX {
            return Err(AttachedError::TooLong);
        }
        let file = STANDARD.decode(&self.file).map_err(|_| AttachedError::NotBase64)?;
        check_length(file.len())?;
        let found = Digest::of(&file);
        if found == self.sha256 {
            Ok(file)
        } else {
            Err(AttachedError::OtherFile { named: self.sha256, found })
        }
    }
}

fn check_length(bytes: usize) -> Result<(), AttachedError> {
    match bytes {
        0 => Err(AttachedError::Empty),
        1..=ATTACHED_BYTES_MAX => Ok(()),
        _ => Err(AttachedError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_file_has_from_one_byte_to_a_mebibyte() {
        assert_eq!(AttachedContract::of(b""), Err(AttachedError::Empty));
        let longest = vec![7; ATTACHED_BYTES_MAX];
        assert_eq!(AttachedContract::of(&longest).unwrap().file(), Ok(longest));
        assert_eq!(AttachedContract::of(&[7; ATTACHED_BYTES_MAX + 1]), Err(AttachedError::TooLong));
    }

    #[test]
    fn a_file_that_is_not_what_was_signed_is_refused() {
        let signed = AttachedContract::of(b"abc").unwrap();
        // FIPS 180-2, appendix B.1.
        let hash = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(signed.sha256.to_string(), hash);
        let with = |file: &str| AttachedContract { file: file.to_owned(), ..signed.clone() }.file();
        let (named, found) = (signed.sha256, Digest::of(b"abd"));
        for (file, refusal) in [
            ("YWJk".to_owned(), AttachedError::OtherFile { named, found }),
            (String::new(), AttachedError::Empty),
            ("YWJ".to_owned(), AttachedError::NotBase64),
            ("Y W J k".to_owned(), AttachedError::NotBase64),
            (STANDARD.encode(vec![7; ATTACHED_BYTES_MAX + 1]), AttachedError::TooLong),
            ("A".repeat(ATTACHED_TEXT_MAX + 4), AttachedError::TooLong),
        ] {
            assert_eq!(with(&file), Err(refusal));
        }
    }

    proptest! {
        #[test]
        fn a_file_is_the_same_after_its_way(file in proptest::collection::vec(any::<u8>(), 1..300)) {
            let sent = serde_json::to_vec(&AttachedContract::of(&file).unwrap()).unwrap();
            let came: AttachedContract = serde_json::from_slice(&sent).unwrap();
            prop_assert_eq!(came.file(), Ok(file));
        }
    }
}
