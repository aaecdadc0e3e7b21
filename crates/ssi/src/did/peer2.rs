//! did:peer:2: an identifier that lists its keys and services.
//!
//! ```text
//! did:peer:2 .V<Ed25519> .E<X25519> .S<base64url of a service, or of a list of them>
//! ```
//! Keys are named `#key-1`, `#key-2` .. in their order. What is created here has one key of each kind, the second the
//! same holder's as the first, and one service of the type `did-communication`: agents refuse `DIDCommMessaging`
//! alone.
//!
//! Source: the Peer DID Method Specification, "Generating a did:peer:2".

use super::document::{DID_COMMUNICATION, DocumentError, Service};
use super::key::{ED25519, X25519, multikey, multikey_bytes};
use super::{Did, DidError, Document, Endpoint, KEYS_MAX, SERVICES_MAX, VerificationKey, base64url};
use crate::json;
use serde_json::Value;

/// The most bytes of one element's services.
const SERVICE_BYTES_MAX: usize = 3072;

/// A new identifier of the holder of `key`, reached at `endpoint` through the holders of `routing_keys`, the nearest
/// to the recipient first.
///
/// # Errors
/// [`DidError::TooLong`] when all of that does not fit.
pub fn create(
    key: &VerificationKey,
    endpoint: &Endpoint,
    routing_keys: &[VerificationKey],
) -> Result<Did, DidError> {
    /// The members in the order in which agents write them.
    #[derive(serde::Serialize)]
    struct Abbreviated<'a> {
        id: &'a str,
        t: &'a str,
        priority: i64,
        #[serde(rename = "recipientKeys")]
        recipient_keys: [&'a str; 1],
        r: Vec<String>,
        s: &'a str,
    }
    let service = Abbreviated {
        id: "#didcomm-0",
        t: DID_COMMUNICATION,
        priority: 0,
        recipient_keys: ["#key-1"],
        r: routing_keys.iter().map(VerificationKey::to_did_key_reference).collect(),
        s: endpoint.as_str(),
    };
    let service = serde_json::to_vec(&service).map_err(|_| DidError::Malformed { part: "the service" })?;
    let agreement = key.agreement_bytes().ok_or(super::KeyError::OffCurve)?;
    let did = format!(
        "did:peer:2.V{}.E{}.S{}",
        key.to_multikey(),
        multikey(X25519, &agreement),
        base64url::encode(&service)
    );
    let did = Did::parse(&did)?;
    // What is created must be what others will read.
    resolve(&did)?;
    Ok(did)
}

/// The document within an identifier of the form `did:peer:2`.
///
/// # Errors
/// [`DidError`].
pub fn resolve(did: &Did) -> Result<Document, DidError> {
    const ELEMENT: DidError = DidError::Malformed { part: "an element of did:peer:2" };
    let elements = did.as_str().strip_prefix("did:peer:2.").ok_or(ELEMENT)?;
    // Every key has a number; those that are not Ed25519 keys to authenticate with have no entry.
    let mut count = 0_usize;
    let mut keys: Vec<(String, VerificationKey)> = Vec::new();
    let mut services: Vec<Value> = Vec::new();
    for element in elements.split('.') {
        let (purpose, content) = element.split_at_checked(1).ok_or(ELEMENT)?;
        match purpose {
            "V" | "E" | "A" | "D" | "I" => {
                count = count.saturating_add(1);
                if count > KEYS_MAX {
                    return Err(DocumentError::TooMany { what: "keys", max: KEYS_MAX }.into());
                }
                let (ed25519, x25519) = (multikey_bytes(ED25519, content), multikey_bytes(X25519, content));
                match (purpose, ed25519, x25519) {
                    ("V", Some(bytes), _) => {
                        keys.push((format!("key-{count}"), VerificationKey::from_bytes(&bytes)?));
                    }
                    ("E", _, None) | ("V", None, _) => {
                        return Err(DidError::Malformed { part: "a key of did:peer:2" });
                    }
                    _ => {}
                }
            }
            "S" => {
                let bytes = base64url::decode(content)
                    .ok_or(DidError::Malformed { part: "a service of did:peer:2" })?;
                match json::value(&bytes, SERVICE_BYTES_MAX).map_err(DocumentError::Json)? {
                    Value::Array(list) => services.extend(list),
                    service => services.push(service),
                }
            }
            _ => return Err(ELEMENT),
        }
    }
    if services.len() > SERVICES_MAX {
        return Err(DocumentError::TooMany { what: "services", max: SERVICES_MAX }.into());
    }
    let find = |name: &str| keys.iter().find(|(fragment, _)| fragment == name).map(|(_, key)| *key);
    // Services without a name are numbered among themselves.
    let (mut unnamed, mut read) = (0_usize, Vec::new());
    for service in &services {
        read.extend(Service::read(service, did, unnamed, find)?);
        if service.get("id").is_none() {
            unnamed = unnamed.saturating_add(1);
        }
    }
    Ok(Document::assemble(did.clone(), keys, read)?)
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn endpoint() -> Endpoint {
        Endpoint::parse("https://a.example/inbox").unwrap()
    }

    /// An identifier of key 1 with these services.
    fn with_services(services: &Value) -> Result<Document, DidError> {
        let service = base64url::encode(services.to_string().as_bytes());
        let x25519 = multikey(X25519, &key(1).agreement_bytes().unwrap());
        resolve(&Did::parse(&format!("did:peer:2.V{}.E{x25519}.S{service}", key(1).to_multikey()))?)
    }

    #[test]
    fn what_is_created_is_resolved() {
        let did = create(&key(1), &endpoint(), &[key(2), key(3)]).unwrap();
        let document = super::super::resolve(&did).unwrap();
        let target = document.target().unwrap();
        assert_eq!((target.recipient(), target.endpoint()), (&key(1), &endpoint()));
        assert_eq!(target.routing_keys(), [key(2), key(3)]);
        assert_eq!(document.keys().collect::<Vec<_>>(), [("key-1", &key(1))]);
        let too_many = create(&key(1), &endpoint(), &[key(2); 9]).unwrap_err();
        assert!(matches!(too_many, DidError::Document(DocumentError::TooMany { .. })));
    }

    #[test]
    fn full_and_abbreviated_names_lists_and_did_keys_are_read() {
        let did_key = key(2).to_did_key();
        let table = [
            (
                json!({"id": "#s", "type": "did-communication", "serviceEndpoint": "http://a", "recipientKeys": ["#key-1"],
                "routingKeys": [key(3).to_string()]}),
                key(1),
            ),
            (json!({"t": "did-communication", "s": "http://a", "recipientKeys": [did_key.as_str()]}), key(2)),
            (
                json!({"t": "did-communication", "s": {"uri": "http://a", "a": ["didcomm/aip1"]},
                "recipientKeys": ["key-1"]}),
                key(1),
            ),
            (
                json!([{"t": "dm", "s": {"uri": "http://b"}}, {"t": "did-communication", "s": "http://a",
                "recipientKeys": ["#key-1"]}, {"t": "did-communication", "s": "http://c", "priority": 1,
                "recipientKeys": ["#key-1"]}]),
                key(1),
            ),
        ];
        for (services, recipient) in table {
            let document = with_services(&services).unwrap();
            let target = document.target().unwrap();
            assert_eq!(
                (target.recipient(), target.endpoint().as_str()),
                (&recipient, "http://a"),
                "{services}"
            );
        }
        // Such an identifier is proper, but nobody of DIDComm v1 is reached there.
        assert!(with_services(&json!({"t": "dm", "s": {"uri": "http://b"}})).unwrap().target().is_none());
    }

    #[test]
    fn malformed_identifiers_are_refused() {
        let (ed25519, x25519) = (key(1).to_multikey(), multikey(X25519, &[9; 32]));
        let low_order = multikey(ED25519, &{
            let mut bytes = [0; 32];
            bytes[0] = 1;
            bytes
        });
        let table = [
            ("did:peer:2".to_owned(), "an element"),
            (format!("did:peer:2.V{ed25519}."), "not of the form"),
            (format!("did:peer:2..V{ed25519}"), "an element"),
            (format!("did:peer:2.X{ed25519}"), "an element"),
            (format!("did:peer:2.V{x25519}"), "a key of did:peer:2"),
            (format!("did:peer:2.E{ed25519}"), "a key of did:peer:2"),
            (format!("did:peer:2.V{low_order}"), "a key of the identifier"),
            (format!("did:peer:2.V{ed25519}.V{ed25519}"), "the document"),
            (format!("did:peer:2.V{ed25519}.S!"), "not of the form"),
            (format!("did:peer:2.V{ed25519}.SA"), "a service of did:peer:2"),
            (format!("did:peer:2.V{ed25519}.S{}", base64url::encode(b"{\"t\":1,\"t\":1}")), "the document"),
            (format!("did:peer:2{}", format!(".E{x25519}").repeat(17)), "the document"),
        ];
        for (text, expected) in table {
            let error = Did::parse(&text).and_then(|did| resolve(&did));
            let dot = text.ends_with('.');
            let error = error.unwrap_err().to_string();
            assert!(error.contains(expected) || (dot && error.contains("an element")), "{text}: {error}");
        }
        let service = |service: Value| with_services(&service).unwrap_err();
        let long = json!({"t": "did-communication", "type": "did-communication", "s": "http://a"});
        assert!(matches!(service(long), DidError::Document(DocumentError::Malformed("type"))));
        let key_2 = json!({"t": "did-communication", "s": "http://a", "recipientKeys": ["#key-2"]});
        assert!(matches!(service(key_2), DidError::Document(DocumentError::UnknownKey(_))));
        let nobody = json!({"t": "did-communication", "s": "http://a"});
        assert!(matches!(service(nobody), DidError::Document(DocumentError::Malformed("recipientKeys"))));
    }

    proptest! {
        #[test]
        fn mutated_identifiers_never_panic(at in 0_usize..400, with in "[ -~]{0,3}") {
            let mut text = create(&key(1), &endpoint(), &[key(2)]).unwrap().to_string();
            let at = at % text.len();
            text.replace_range(at..(at + 1), &with);
            if let Ok(did) = Did::parse(&text) {
                let _ = super::super::resolve(&did);
            }
        }
    }
}
