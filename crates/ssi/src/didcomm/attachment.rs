//! Data within a message, and signatures over it.
//!
//! ```text
//! {"@id", "mime-type", "data": {"base64": padded base64  or  "json": value,
//!                               "jws": {"header": {"kid"}, "protected", "signature"}}}
//! ```
//! `base64` is written padded; what a signature covers is the *unpadded base64url* text of the same bytes. Links are
//! refused: nothing is fetched.
//!
//! Source: Aries RFC 0017; RFC 7515 (JWS), RFC 8037 (EdDSA).

use super::{MessageId, SigningKey};
use crate::did::{KeyError, VerificationKey, base64url};
use crate::json;
use serde_json::{Map, Value, json};

/// The longest text of a signature's protected header.
const PROTECTED_BYTES_MAX: usize = 4096;
/// The longest media type.
const MIME_TYPE_BYTES_MAX: usize = 128;

/// Why an attachment is not taken.
#[derive(Debug, thiserror::Error)]
pub enum AttachmentError {
    /// A part is missing, or not what it must be.
    #[error("{0} of an attachment is missing or malformed")]
    Malformed(&'static str),
    /// The data lies elsewhere.
    #[error("an attachment that is a link")]
    Link,
    /// It must be signed and is not.
    #[error("an attachment that is not signed")]
    NotSigned,
    /// Another kind of signature.
    #[error("a signature other than one of EdDSA with Ed25519")]
    Algorithm,
    /// The key that is named is not used.
    #[error("the key of a signature")]
    Key(#[from] KeyError),
    /// The key is named twice, differently.
    #[error("a signature that names two keys")]
    TwoKeys,
    /// The signature is not that of the data.
    #[error("a signature that does not match")]
    Signature,
}

/// Data within a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Attachment {
    id: Option<MessageId>,
    mime_type: Option<String>,
    data: Data,
    jws: Option<Map<String, Value>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Data {
    Base64(Vec<u8>),
    Json(Value),
}

impl Attachment {
    /// Bytes, written as base64.
    #[must_use]
    pub fn bytes(id: MessageId, mime_type: &str, bytes: Vec<u8>) -> Self {
        Self { id: Some(id), mime_type: Some(mime_type.to_owned()), data: Data::Base64(bytes), jws: None }
    }

    /// JSON, written as it is.
    #[must_use]
    pub fn json(id: MessageId, value: Value) -> Self {
        Self {
            id: Some(id),
            mime_type: Some("application/json".to_owned()),
            data: Data::Json(value),
            jws: None,
        }
    }

    /// Bytes with a signature, which names the key as `did:key`.
    #[must_use]
    pub fn signed(id: MessageId, mime_type: &str, bytes: Vec<u8>, key: &SigningKey) -> Self {
        let public = key.verification_key();
        let kid = public.to_did_key().to_string();
        let x = base64url::encode(public.as_bytes());
        let protected = json!({"alg": "EdDSA", "jwk": {"kty": "OKP", "crv": "Ed25519", "x": x, "kid": kid}});
        let protected = base64url::encode(protected.to_string().as_bytes());
        let signature = key.sign(format!("{protected}.{}", base64url::encode(&bytes)).as_bytes());
        let jws = json!({"header": {"kid": kid}, "protected": protected, "signature": base64url::encode(&signature)});
        let jws = jws.as_object().cloned();
        Self { id: Some(id), mime_type: Some(mime_type.to_owned()), data: Data::Base64(bytes), jws }
    }

    /// Reads an attachment.
    ///
    /// # Errors
    /// [`AttachmentError`]; a signature is only checked by [`Self::verify`].
    pub fn from_value(value: &Value) -> Result<Self, AttachmentError> {
        let object = value.as_object().ok_or(AttachmentError::Malformed("the object"))?;
        let id = match object.get("@id") {
            None => None,
            Some(id) => {
                Some(id.as_str().and_then(MessageId::parse).ok_or(AttachmentError::Malformed("@id"))?)
            }
        };
        let mime_type = match object.get("mime-type") {
            None | Some(Value::Null) => None,
            Some(mime) => {
                let mime = mime.as_str().filter(|mime| mime.len() <= MIME_TYPE_BYTES_MAX);
                Some(mime.ok_or(AttachmentError::Malformed("mime-type"))?.to_owned())
            }
        };
        let data = object.get("data").and_then(Value::as_object).ok_or(AttachmentError::Malformed("data"))?;
        let jws = match data.get("jws") {
            None => None,
            Some(jws) => Some(jws.as_object().ok_or(AttachmentError::Malformed("jws"))?.clone()),
        };
        let data = match (data.get("base64"), data.get("json"), data.get("links")) {
            (Some(text), None, None) => {
                let bytes = text.as_str().and_then(base64url::decode_any);
                Data::Base64(bytes.ok_or(AttachmentError::Malformed("base64"))?)
            }
            (None, Some(value), None) => Data::Json(value.clone()),
            (None, None, Some(_)) => return Err(AttachmentError::Link),
            _ => return Err(AttachmentError::Malformed("exactly one of base64 and json")),
        };
        Ok(Self { id, mime_type, data, jws })
    }

    /// The attachment as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut data = Map::new();
        match &self.data {
            Data::Base64(bytes) => data.insert("base64".to_owned(), base64url::encode_padded(bytes).into()),
            Data::Json(value) => data.insert("json".to_owned(), value.clone()),
        };
        if let Some(jws) = &self.jws {
            data.insert("jws".to_owned(), jws.clone().into());
        }
        let mut object = Map::new();
        if let Some(id) = &self.id {
            object.insert("@id".to_owned(), id.as_str().into());
        }
        if let Some(mime_type) = &self.mime_type {
            object.insert("mime-type".to_owned(), mime_type.as_str().into());
        }
        object.insert("data".to_owned(), data.into());
        Value::Object(object)
    }

    /// How the message refers to it.
    #[must_use]
    pub const fn id(&self) -> Option<&MessageId> {
        self.id.as_ref()
    }

    /// Its data, whoever wrote it. JSON is written anew.
    #[must_use]
    pub fn content(&self) -> Vec<u8> {
        match &self.data {
            Data::Base64(bytes) => bytes.clone(),
            Data::Json(value) => value.to_string().into_bytes(),
        }
    }

    /// Its data and the key that signed them. Whose key that may be, the caller says.
    ///
    /// # Errors
    /// [`AttachmentError`].
    pub fn verify(&self) -> Result<(&[u8], VerificationKey), AttachmentError> {
        let jws = self.jws.as_ref().ok_or(AttachmentError::NotSigned)?;
        let Data::Base64(bytes) = &self.data else { return Err(AttachmentError::Malformed("base64")) };
        if jws.contains_key("signatures") {
            return Err(AttachmentError::Malformed("one signature"));
        }
        let text = |name: &'static str| {
            jws.get(name).and_then(Value::as_str).ok_or(AttachmentError::Malformed(name))
        };
        let protected_text = text("protected")?;
        let protected =
            base64url::decode(protected_text).and_then(|bytes| json::value(&bytes, PROTECTED_BYTES_MAX).ok());
        let protected = protected.ok_or(AttachmentError::Malformed("protected"))?;
        // What must be understood and is not known.
        if protected.get("alg").and_then(Value::as_str) != Some("EdDSA") || protected.get("crit").is_some() {
            return Err(AttachmentError::Algorithm);
        }
        let key = signer(&protected, jws.get("header"))?;
        let signature =
            base64url::decode(text("signature")?).and_then(|bytes| <[u8; 64]>::try_from(bytes).ok());
        let signature = signature.ok_or(AttachmentError::Malformed("signature"))?;
        let signed = format!("{protected_text}.{}", base64url::encode(bytes));
        if key.verifies(signed.as_bytes(), &signature) {
            Ok((bytes, key))
        } else {
            Err(AttachmentError::Signature)
        }
    }
}

/// The key that is named, as a JSON Web Key or `did:key`, in as many places as it likes as long as it is the same.
fn signer(protected: &Value, header: Option<&Value>) -> Result<VerificationKey, AttachmentError> {
    let mut keys = Vec::new();
    let jwk = protected.get("jwk");
    if let Some(jwk) = jwk {
        let member = |name: &str| jwk.get(name).and_then(Value::as_str);
        if (member("kty"), member("crv")) != (Some("OKP"), Some("Ed25519")) {
            return Err(AttachmentError::Algorithm);
        }
        let x = member("x").and_then(base64url::decode).and_then(|bytes| <[u8; 32]>::try_from(bytes).ok());
        keys.push(VerificationKey::from_bytes(&x.ok_or(AttachmentError::Malformed("x"))?)?);
    }
    for place in [jwk, Some(protected), header].into_iter().flatten() {
        if let Some(kid) = place.get("kid") {
            let kid = kid.as_str().ok_or(AttachmentError::Malformed("kid"))?;
            keys.push(VerificationKey::from_did_key(kid)?);
        }
    }
    let first = *keys.first().ok_or(AttachmentError::Malformed("jwk"))?;
    if keys.iter().all(|key| *key == first) { Ok(first) } else { Err(AttachmentError::TwoKeys) }
}

impl std::fmt::Debug for Attachment {
    /// Not what it says, which may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Attachment")
            .field("id", &self.id)
            .field("signed", &self.jws.is_some())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    fn id() -> MessageId {
        MessageId::parse("a1").unwrap()
    }

    fn signed() -> Value {
        Attachment::signed(id(), "text/string", b"did:peer:2.V".to_vec(), &key(1)).to_value()
    }

    #[test]
    fn a_signed_attachment_names_its_signer() {
        let read = Attachment::from_value(&signed()).unwrap();
        let (content, signer) = read.verify().unwrap();
        assert_eq!((content, signer), (b"did:peer:2.V".as_slice(), key(1).verification_key()));
        assert!(signed()["data"]["base64"].as_str().unwrap().len().is_multiple_of(4));
    }

    #[test]
    fn json_and_base64_are_read_and_links_are_not() {
        let read = |data: Value| Attachment::from_value(&json!({"@id": "a1", "data": data}));
        assert_eq!(read(json!({"json": {"b": 1}})).unwrap().content(), br#"{"b":1}"#);
        for text in ["+/8=", "-_8", "+/8"] {
            assert_eq!(read(json!({"base64": text})).unwrap().content(), [0xfb, 0xff]);
        }
        assert!(matches!(read(json!({"links": ["https://a"]})), Err(AttachmentError::Link)));
        for data in [
            json!({}),
            json!({"base64": "aa", "json": 1}),
            json!({"base64": "a"}),
            json!({"base64": 1}),
            json!(1),
        ] {
            assert!(matches!(read(data.clone()), Err(AttachmentError::Malformed(_))), "{data}");
        }
    }

    #[test]
    fn signatures_that_are_not_what_they_say_are_refused() {
        let change = |pointer: &str, value: Value| {
            let mut attachment = signed();
            *attachment.pointer_mut(pointer).unwrap() = value;
            Attachment::from_value(&attachment).unwrap().verify().unwrap_err().to_string()
        };
        let protected = |protected: Value| base64url::encode(protected.to_string().as_bytes());
        let (ours, other) = (key(1).verification_key(), key(2).verification_key());
        let jwk = |key: &VerificationKey| json!({"kty": "OKP", "crv": "Ed25519", "x": base64url::encode(key.as_bytes())});
        let table = [
            ("/data/base64", json!("ZGlk"), "does not match"),
            ("/data/jws/signature", json!(base64url::encode(&[0; 64])), "does not match"),
            ("/data/jws/signature", json!(base64url::encode(&[0; 63])), "signature of an attachment"),
            ("/data/jws/header/kid", json!(other.to_did_key().as_str()), "two keys"),
            ("/data/jws/header/kid", json!(1), "kid"),
            (
                "/data/jws/protected",
                json!(protected(json!({"alg": "none", "jwk": jwk(&ours)}))),
                "other than",
            ),
            (
                "/data/jws/protected",
                json!(protected(json!({"alg": "EdDSA", "crit": [], "jwk": jwk(&ours)}))),
                "other than",
            ),
            (
                "/data/jws/protected",
                json!(protected(json!({"alg": "EdDSA", "jwk": jwk(&other)}))),
                "two keys",
            ),
            (
                "/data/jws/protected",
                json!(protected(json!({"alg": "EdDSA", "jwk": {"kty": "EC"}}))),
                "other than",
            ),
            ("/data/jws/protected", json!(protected(json!({"alg": "EdDSA", "a": 1}))), "does not match"),
            ("/data/jws/protected", json!("!"), "protected"),
            ("/data/jws", json!({"signatures": []}), "one signature"),
            ("/data/jws", json!({}), "protected"),
        ];
        for (pointer, value, expected) in table {
            let error = change(pointer, value.clone());
            assert!(error.contains(expected), "{pointer} {value}: {error}");
        }
        let unsigned = Attachment::bytes(id(), "text/string", b"a".to_vec());
        assert!(matches!(unsigned.verify(), Err(AttachmentError::NotSigned)));
    }
}
