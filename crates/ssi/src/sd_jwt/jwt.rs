//! Signed JSON in compact form, with one algorithm.

use super::error::JwtError;
use super::key::{SigningKey, VerifyingKey, base64url_strict};
use super::limits::HEADER_BYTES_MAX;
use crate::did::base64url;
use serde_json::{Map, Value, json};

/// A JWT whose header is as it must be; nothing else is known yet.
pub(super) struct Jwt<'a> {
    header: Map<String, Value>,
    /// Header and payload as they were signed.
    signed: &'a str,
    payload: &'a str,
    signature: [u8; 64],
}

impl<'a> Jwt<'a> {
    /// Takes a JWT apart and checks its header.
    pub(super) fn parse(text: &'a str, bytes_max: usize, typ: &'static str) -> Result<Self, JwtError> {
        if text.len() > bytes_max {
            return Err(JwtError::TooLarge { found: text.len(), max: bytes_max });
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(JwtError::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(JwtError::Parts)?;
        if payload.contains('.') {
            return Err(JwtError::Parts);
        }
        let header = object("header", header, HEADER_BYTES_MAX)?;
        if header.get("alg") != Some(&Value::from("ES256")) {
            return Err(JwtError::Algorithm);
        }
        if header.contains_key("crit") {
            return Err(JwtError::Critical);
        }
        if header.get("typ") != Some(&Value::from(typ)) {
            return Err(JwtError::Type { expected: typ });
        }
        let signature = base64url_strict(signature).ok_or(JwtError::Base64 { part: "signature" })?;
        let signature = <[u8; 64]>::try_from(signature).map_err(|_| JwtError::SignatureForm)?;
        if p256::ecdsa::Signature::from_slice(&signature).is_err() {
            return Err(JwtError::SignatureForm);
        }
        Ok(Self { header, signed, payload, signature })
    }

    /// Which of the signer's keys, if it says so.
    pub(super) fn key_id(&self) -> Option<&str> {
        self.header.get("kid").and_then(Value::as_str)
    }

    /// The payload, once the signature holds.
    pub(super) fn verify(&self, key: &VerifyingKey) -> Result<Map<String, Value>, JwtError> {
        if !key.verifies(self.signed.as_bytes(), &self.signature) {
            return Err(JwtError::Signature);
        }
        self.unverified_payload()
    }

    /// The payload as somebody claims it.
    pub(super) fn unverified_payload(&self) -> Result<Map<String, Value>, JwtError> {
        object("payload", self.payload, usize::MAX)
    }
}

fn object(part: &'static str, text: &str, bytes_max: usize) -> Result<Map<String, Value>, JwtError> {
    let bytes = base64url_strict(text).ok_or(JwtError::Base64 { part })?;
    match crate::json::value(&bytes, bytes_max).map_err(|source| JwtError::Json { part, source })? {
        Value::Object(object) => Ok(object),
        _ => Err(JwtError::NotObject { part }),
    }
}

/// Signs.
pub(super) fn sign(typ: &str, key_id: Option<&str>, payload: &Value, key: &SigningKey) -> String {
    let mut header = json!({ "alg": "ES256", "typ": typ });
    if let (Some(key_id), Value::Object(header)) = (key_id, &mut header) {
        header.insert("kid".to_owned(), key_id.into());
    }
    let encode = |value: &Value| base64url::encode(value.to_string().as_bytes());
    let signed = format!("{}.{}", encode(&header), encode(payload));
    let signature = base64url::encode(&key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}
