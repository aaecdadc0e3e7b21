//! What is shown or held back: salt, name and value, and the text that they are hashed as.

use super::error::SdJwtError;
use super::key::base64url_strict;
use super::limits::{DISCLOSURE_BYTES_MAX, DISCLOSURES_MAX, SD_JWT_BYTES_MAX};
use crate::did::base64url;
use crate::didcomm::CryptoRngCore;
use serde_json::{Value, json};

/// One disclosure.
#[derive(Clone)]
pub(super) struct Disclosure {
    /// As it travels: the digest is over this text.
    pub(super) text: String,
    pub(super) digest: String,
    /// `None` for an element of an array.
    pub(super) name: Option<String>,
    pub(super) value: Value,
}

impl Disclosure {
    /// Hides a value under a fresh salt of 128 bits.
    pub(super) fn hide(name: Option<&str>, value: Value, rng: &mut impl CryptoRngCore) -> Self {
        let mut salt = [0; 16];
        rng.fill_bytes(&mut salt);
        let salt = base64url::encode(&salt);
        let array = name.map_or_else(|| json!([salt, value]), |name| json!([salt, name, value]));
        let text = base64url::encode(array.to_string().as_bytes());
        let digest = super::digest(&text);
        Self { text, digest, name: name.map(str::to_owned), value }
    }

    fn read(text: &str, index: usize) -> Result<Self, SdJwtError> {
        if text.len() > DISCLOSURE_BYTES_MAX {
            return Err(SdJwtError::DisclosureTooLarge { index });
        }
        let bytes = base64url_strict(text).ok_or(SdJwtError::DisclosureBase64 { index })?;
        let array = crate::json::value(&bytes, DISCLOSURE_BYTES_MAX)
            .map_err(|source| SdJwtError::DisclosureJson { index, source })?;
        let Value::Array(mut array) = array else { return Err(SdJwtError::DisclosureForm { index }) };
        let value = array.pop();
        let (name, value) = match (array.as_slice(), value) {
            ([Value::String(_)], Some(value)) => (None, value),
            ([Value::String(_), Value::String(name)], Some(value)) => (Some(name.clone()), value),
            _ => return Err(SdJwtError::DisclosureForm { index }),
        };
        Ok(Self { text: text.to_owned(), digest: super::digest(text), name, value })
    }
}

/// The parts of a credential or presentation.
pub(super) struct Parts<'a> {
    pub(super) jwt: &'a str,
    pub(super) disclosures: Vec<Disclosure>,
    /// Up to and with the last `~`: what a key binding is over.
    pub(super) bound: &'a str,
    pub(super) key_binding: Option<&'a str>,
}

impl<'a> Parts<'a> {
    /// Takes a text apart (RFC 9901, section 4).
    pub(super) fn split(text: &'a str) -> Result<Self, SdJwtError> {
        if text.len() > SD_JWT_BYTES_MAX {
            return Err(SdJwtError::TooLarge { found: text.len() });
        }
        let (jwt, rest) = text.split_once('~').ok_or(SdJwtError::Form)?;
        let (disclosures, key_binding) = rest.rsplit_once('~').map_or(("", rest), |(all, last)| (all, last));
        let bound_len = text.len().checked_sub(key_binding.len()).ok_or(SdJwtError::Form)?;
        let bound = text.get(..bound_len).ok_or(SdJwtError::Form)?;
        let texts: Vec<&str> = if bound.len() <= jwt.len().saturating_add(1) {
            Vec::new()
        } else {
            disclosures.split('~').collect()
        };
        if texts.len() > DISCLOSURES_MAX {
            return Err(SdJwtError::TooManyDisclosures { found: texts.len() });
        }
        let disclosures = texts
            .iter()
            .enumerate()
            .map(|(index, text)| Disclosure::read(text, index))
            .collect::<Result<_, _>>()?;
        let key_binding = (!key_binding.is_empty()).then_some(key_binding);
        Ok(Self { jwt, disclosures, bound, key_binding })
    }
}
