//! The secret that the organisation's own software shows before it may publish.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eroam_domain::codec::Digest;
use std::fmt;
use std::path::{Path, PathBuf};

/// The shortest secret in bytes.
pub const SECRET_BYTES_MIN: usize = 16;
/// The longest secret in bytes.
pub const SECRET_BYTES_MAX: usize = 512;

/// Why there is no secret.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// Too short to be one, or too long for a header.
    #[error("a secret of {found} bytes, {SECRET_BYTES_MIN} to {SECRET_BYTES_MAX} are expected")]
    Length {
        /// Its length.
        found: usize,
    },
    /// Characters that no header carries.
    #[error("a secret has printable ASCII characters without spaces")]
    Characters,
    /// The file cannot be read.
    #[error("the secret cannot be read from {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A secret, of which only the hash is kept.
#[derive(Clone)]
pub struct Secret(Digest);

impl Secret {
    /// A secret of [`SECRET_BYTES_MIN`] to [`SECRET_BYTES_MAX`] printable characters.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn new(text: &str) -> Result<Self, SecretError> {
        if !(SECRET_BYTES_MIN..=SECRET_BYTES_MAX).contains(&text.len()) {
            return Err(SecretError::Length { found: text.len() });
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(SecretError::Characters);
        }
        Ok(Self(Digest::of(text.as_bytes())))
    }

    /// The secret in a file, without the white space around it.
    ///
    /// # Errors
    /// [`SecretError`].
    pub fn read(path: &Path) -> Result<Self, SecretError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| SecretError::File { path: path.to_owned(), source })?;
        Self::new(text.trim())
    }

    /// Compares in a time that does not depend on where the two differ.
    fn is(&self, shown: &[u8]) -> bool {
        let shown = Digest::of(shown);
        let pairs = self.0.0.iter().zip(&shown.0);
        std::hint::black_box(pairs.fold(0, |difference, (a, b)| difference | (a ^ b))) == 0
    }

    /// Whether a request shows it: as bearer, or as the password of anybody. The latter is what software sends that
    /// can only be given a URL with a user in it.
    pub(crate) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let Some(value) = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()) else {
            return false;
        };
        let Some((scheme, shown)) = value.split_once(' ') else { return false };
        if scheme.eq_ignore_ascii_case("bearer") {
            return self.is(shown.trim().as_bytes());
        }
        let decoded = STANDARD.decode(shown.trim()).unwrap_or_default();
        let password = decoded.iter().position(|byte| *byte == b':').and_then(|at| decoded.get(at + 1..));
        scheme.eq_ignore_ascii_case("basic") && password.is_some_and(|password| self.is(password))
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
