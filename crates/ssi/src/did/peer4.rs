//! did:peer:4: an identifier that carries a whole document, and a short form that is its hash.
//!
//! ```text
//! long   did:peer:4<hash>:<document>     short  did:peer:4<hash>
//! ```
//! Both name the same subject; after the first message agents use the short form.
//!
//! Source: the Peer DID Method Specification, "Generating a did:peer:4".

use super::{Did, DidError, Document, DocumentError};
use crate::json;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What precedes JSON in the encoded document (multicodec `json`, 0x0200 as varint).
const JSON: [u8; 2] = [0x80, 0x04];
/// What precedes the hash (multihash: SHA-256, 32 bytes).
const SHA256: [u8; 2] = [0x12, 0x20];

/// The long form of a document without `id`, whose references are relative.
///
/// # Errors
/// [`DidError`] when the document does not fit, or would not be read.
pub fn create(document: &Value) -> Result<Did, DidError> {
    let encoded = encode(&[&JSON, document.to_string().as_bytes()].concat());
    let did = Did::parse(&format!("did:peer:4{}:{encoded}", hash(&encoded)))?;
    resolve(&did)?;
    Ok(did)
}

/// The document within the long form, whose hash is checked.
///
/// # Errors
/// [`DidError::ShortForm`] for the short form; else what is wrong.
pub fn resolve(did: &Did) -> Result<Document, DidError> {
    let (expected, encoded) = split(did)?;
    let encoded = encoded.ok_or(DidError::ShortForm)?;
    if hash(encoded) != expected {
        return Err(DidError::HashMismatch);
    }
    let malformed = DidError::Malformed { part: "the document of did:peer:4" };
    let bytes = encoded.strip_prefix('z').and_then(|text| bs58::decode(text).into_vec().ok());
    let document = bytes.as_deref().and_then(|bytes| bytes.strip_prefix(&JSON)).ok_or(malformed)?;
    let document = json::value(document, document.len()).map_err(DocumentError::Json)?;
    if document.get("id").is_some() {
        // The hash of a document cannot be within it.
        return Err(DocumentError::Malformed("a document that names itself, which").into());
    }
    Ok(Document::from_value(&document, did.clone())?)
}

/// The short form of either form; `None` for other methods.
#[must_use]
pub fn short_form(did: &Did) -> Option<Did> {
    let (hash, _) = split(did).ok()?;
    Some(Did::trusted(format!("did:peer:4{hash}")))
}

/// The hash and, in the long form, the encoded document.
fn split(did: &Did) -> Result<(&str, Option<&str>), DidError> {
    let rest = did.as_str().strip_prefix("did:peer:4").ok_or(DidError::Malformed { part: "did:peer:4" })?;
    let (hash, document) =
        rest.split_once(':').map_or((rest, None), |(hash, document)| (hash, Some(document)));
    let proper = hash
        .strip_prefix('z')
        .filter(|text| text.len() < 64)
        .and_then(|text| bs58::decode(text).into_vec().ok());
    let proper = proper.is_some_and(|bytes| bytes.strip_prefix(&SHA256).is_some_and(|rest| rest.len() == 32));
    if proper { Ok((hash, document)) } else { Err(DidError::Malformed { part: "the hash of did:peer:4" }) }
}

fn hash(encoded: &str) -> String {
    encode(&[SHA256.as_slice(), Sha256::digest(encoded.as_bytes()).as_slice()].concat())
}

fn encode(bytes: &[u8]) -> String {
    format!("z{}", bs58::encode(bytes).into_string())
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;
    use serde_json::json;

    fn document() -> Value {
        json!({"@context": ["https://www.w3.org/ns/did/v1"],
            "verificationMethod": [{"id": "#key-0", "type": "Multikey", "publicKeyMultibase": key(1).to_multikey()}],
            "authentication": ["#key-0"],
            "service": [{"id": "#didcomm-0", "type": "did-communication", "priority": 0, "recipientKeys": ["#key-0"],
                "routingKeys": [], "accept": ["didcomm/aip1"], "serviceEndpoint": "http://127.0.0.1:9002"}]})
    }

    #[test]
    fn the_long_form_carries_its_document_and_the_short_form_names_it() {
        let long = create(&document()).unwrap();
        let resolved = super::super::resolve(&long).unwrap();
        assert_eq!(resolved.target().unwrap().recipient(), &key(1));
        let short = short_form(&long).unwrap();
        assert!(long.as_str().starts_with(&format!("{short}:z")));
        assert_eq!(short_form(&short), Some(short.clone()));
        assert!(matches!(resolve(&short), Err(DidError::ShortForm)));
        assert_eq!(short_form(&Did::parse("did:web:a").unwrap()), None);
    }

    #[test]
    fn another_document_than_the_hash_names_is_refused() {
        let (one, mut other) = (create(&document()).unwrap(), document());
        other["service"][0]["serviceEndpoint"] = json!("http://127.0.0.1:6666");
        let other = create(&other).unwrap();
        let swapped = format!("{}:{}", short_form(&one).unwrap(), other.as_str().rsplit_once(':').unwrap().1);
        assert!(matches!(resolve(&Did::parse(&swapped).unwrap()), Err(DidError::HashMismatch)));
    }

    #[test]
    fn malformed_identifiers_are_refused() {
        let of = |bytes: &[u8]| {
            let encoded = encode(bytes);
            resolve(&Did::parse(&format!("did:peer:4{}:{encoded}", hash(&encoded))).unwrap()).unwrap_err()
        };
        assert!(matches!(of(b"{}"), DidError::Malformed { .. }));
        assert!(matches!(of(&[&JSON, b"{".as_slice()].concat()), DidError::Document(DocumentError::Json(_))));
        assert!(matches!(
            of(&[&JSON, br#"{"id":"did:web:a"}"#.as_slice()].concat()),
            DidError::Document(DocumentError::Malformed(_))
        ));
        for text in ["did:peer:4", "did:peer:4zQm", "did:peer:4abc:z", "did:peer:4z1111"] {
            let malformed = Did::parse(text).and_then(|did| resolve(&did));
            assert!(matches!(malformed, Err(DidError::Malformed { .. })), "{text}");
        }
    }
}
