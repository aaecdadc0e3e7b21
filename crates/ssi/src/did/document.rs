//! What an identifier resolves to: keys that sign for it, and where its envelopes go.
//!
//! Of a W3C DID document only that is kept: Ed25519 keys and services of the type `did-communication`. Other keys
//! and services are passed over, malformed ones of those kinds are refused.
//!
//! Source: W3C DID Core 1.0; Aries RFC 0067 (`did-communication`); W3C Controlled Identifiers (Multikey).

use super::key::{ED25519, multikey_bytes};
use super::{Did, DidError, KeyError, VerificationKey};
use crate::json::{self, JsonError};
use serde_json::{Map, Value, json};
use std::fmt;

/// The most keys a document has.
pub const KEYS_MAX: usize = 16;
/// The most services a document has.
pub const SERVICES_MAX: usize = 8;
/// The most keys a service names, of each kind.
const SERVICE_KEYS_MAX: usize = 8;
/// The longest document that is read.
const DOCUMENT_BYTES_MAX: usize = 16 * 1024;
/// The longest endpoint.
const ENDPOINT_BYTES_MAX: usize = 1024;
/// The longest name of a key or a service within its document.
const FRAGMENT_BYTES_MAX: usize = 128;
/// The type of the services that are kept.
pub(crate) const DID_COMMUNICATION: &str = "did-communication";

/// Why JSON is not a document that is used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON that is read.
    #[error("the JSON of a document")]
    Json(#[from] JsonError),
    /// A part is missing, too long, or not of the form that it must have.
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    /// More of something than is read.
    #[error("more than {max} {what}")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are read.
        max: usize,
    },
    /// A service names a key that the document does not have, or that is no Ed25519 key.
    #[error("a service names the key {0:?}, which is not an Ed25519 key of the document")]
    UnknownKey(String),
    /// Two keys or two services of one name.
    #[error("the name {0:?} twice")]
    Duplicate(String),
    /// A key is not used.
    #[error("a key")]
    Key(#[from] KeyError),
    /// The document is about another identifier.
    #[error("a document of {found}, expected {expected}")]
    OtherSubject {
        /// Whose document was looked for.
        expected: Did,
        /// Whose it is.
        found: Did,
    },
    /// The first key of the document is not the one that the identifier was made of.
    #[error("the first key does not match the identifier {0}")]
    KeyMismatch(Did),
}

/// Where envelopes are sent: an `http`, `https`, `ws` or `wss` URL.
///
/// Only the form is checked. Whoever connects decides which hosts may be reached: the text comes from strangers.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Endpoint(Box<str>);

impl Endpoint {
    /// Reads an endpoint; `None` when it is not a URL of those schemes, names a user, or is longer than 1024 bytes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let proper = ["http", "https", "ws", "wss"].contains(&scheme)
            && text.len() <= ENDPOINT_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_graphic() && !br#""<>\^`{|}"#.contains(&b))
            && !authority.is_empty()
            && !authority.contains('@');
        proper.then(|| Self(text.into()))
    }

    /// The URL.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({})", self.0)
    }
}

/// A service of the type `did-communication`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Its name within the document, without `#`.
    fragment: String,
    /// The lower, the sooner it is used.
    priority: i64,
    target: Target,
}

/// Where and for whom an envelope is packed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    endpoint: Endpoint,
    recipient: VerificationKey,
    routing_keys: Vec<VerificationKey>,
}

impl Target {
    /// A target; `None` with more than eight routing keys.
    #[must_use]
    pub fn new(
        endpoint: Endpoint,
        recipient: VerificationKey,
        routing_keys: Vec<VerificationKey>,
    ) -> Option<Self> {
        (routing_keys.len() <= SERVICE_KEYS_MAX).then_some(Self { endpoint, recipient, routing_keys })
    }

    /// Where the envelope goes.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Who opens it in the end.
    #[must_use]
    pub const fn recipient(&self) -> &VerificationKey {
        &self.recipient
    }

    /// Who opens a layer on the way, the one nearest to the recipient first.
    #[must_use]
    pub fn routing_keys(&self) -> &[VerificationKey] {
        &self.routing_keys
    }
}

impl Service {
    /// A service of this name and priority.
    pub(crate) fn new(fragment: String, priority: i64, target: Target) -> Self {
        Self { fragment, priority, target }
    }

    /// Reads a service of the type `did-communication`; `None` for other types. Names may be the abbreviations of
    /// did:peer:2. `key` finds an Ed25519 key by its name within the document.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub(crate) fn read(
        service: &Value,
        subject: &Did,
        number: usize,
        key: impl Fn(&str) -> Option<VerificationKey>,
    ) -> Result<Option<Self>, DocumentError> {
        let service = service.as_object().ok_or(DocumentError::Malformed("a service"))?;
        let kind = abbreviated(service, "type", "t")?.and_then(Value::as_str);
        match kind {
            Some(DID_COMMUNICATION) => {}
            Some(_) => return Ok(None),
            None => return Err(DocumentError::Malformed("the type of a service")),
        }
        let fragment = match service.get("id") {
            None if number == 0 => "service".to_owned(),
            None => format!("service-{number}"),
            Some(id) => id
                .as_str()
                .and_then(|id| fragment_of(id, subject))
                .ok_or(DocumentError::Malformed("the id of a service"))?
                .to_owned(),
        };
        let priority = match service.get("priority") {
            None => 0,
            Some(priority) => {
                priority.as_i64().ok_or(DocumentError::Malformed("the priority of a service"))?
            }
        };
        let endpoint = match abbreviated(service, "serviceEndpoint", "s")? {
            Some(Value::Object(inner)) => inner.get("uri"),
            other => other,
        };
        let endpoint = endpoint
            .and_then(Value::as_str)
            .and_then(Endpoint::parse)
            .ok_or(DocumentError::Malformed("the endpoint of a service"))?;
        let recipients = texts(service.get("recipientKeys"), "recipientKeys")?;
        let recipients = recipients.into_iter().map(|name| {
            if name.starts_with("did:key:") {
                return Ok(VerificationKey::from_did_key(name)?);
            }
            let found = fragment_of(name, subject).and_then(&key);
            found.ok_or_else(|| DocumentError::UnknownKey(name.to_owned()))
        });
        // The first is used; the others are read so that nothing malformed passes.
        let recipients = recipients.collect::<Result<Vec<_>, DocumentError>>()?;
        let recipient = *recipients.first().ok_or(DocumentError::Malformed("recipientKeys"))?;
        let routing_keys = texts(abbreviated(service, "routingKeys", "r")?, "routingKeys")?;
        let routing_keys = routing_keys.into_iter().map(|name| {
            if name.starts_with("did:key:") {
                VerificationKey::from_did_key(name)
            } else {
                VerificationKey::from_base58(name)
            }
        });
        let routing_keys = routing_keys.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Self { fragment, priority, target: Target { endpoint, recipient, routing_keys } }))
    }

    /// Its name within the document, without `#`.
    #[must_use]
    pub fn fragment(&self) -> &str {
        &self.fragment
    }

    /// Where and for whom envelopes are packed.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }
}

/// The keys and services of an identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    id: Did,
    /// By name within the document, without `#`, in the order of the document.
    keys: Vec<(String, VerificationKey)>,
    services: Vec<Service>,
}

impl Document {
    /// A document with keys named `key-1`, `key-2` .. and at most one service, `didcomm-0`, for the first of them.
    ///
    /// # Errors
    /// [`DocumentError`]: no keys, too many, one of them twice.
    pub fn new(
        id: Did,
        keys: &[VerificationKey],
        endpoint: Option<(Endpoint, Vec<VerificationKey>)>,
    ) -> Result<Self, DocumentError> {
        let first = *keys.first().ok_or(DocumentError::Malformed("a key"))?;
        let named =
            keys.iter().enumerate().map(|(n, key)| (format!("key-{}", n.saturating_add(1)), *key)).collect();
        let service = endpoint.map(|(endpoint, routing_keys)| {
            let target = Target::new(endpoint, first, routing_keys);
            let too_many = DocumentError::TooMany { what: "routing keys", max: SERVICE_KEYS_MAX };
            Ok::<_, DocumentError>(Service::new("didcomm-0".to_owned(), 0, target.ok_or(too_many)?))
        });
        Self::assemble(id, named, service.transpose()?.into_iter().collect())
    }

    /// The document of a `did:key`: the key, and no service.
    pub(crate) fn of_key(id: Did, key: VerificationKey) -> Self {
        Self { id, keys: vec![(key.to_multikey(), key)], services: Vec::new() }
    }

    /// A document of parts that were read.
    pub(crate) fn assemble(
        id: Did,
        keys: Vec<(String, VerificationKey)>,
        services: Vec<Service>,
    ) -> Result<Self, DocumentError> {
        if keys.len() > KEYS_MAX {
            return Err(DocumentError::TooMany { what: "keys", max: KEYS_MAX });
        }
        if services.len() > SERVICES_MAX {
            return Err(DocumentError::TooMany { what: "services", max: SERVICES_MAX });
        }
        let names = keys.iter().map(|(name, _)| name).chain(services.iter().map(|service| &service.fragment));
        let mut seen = std::collections::BTreeSet::new();
        for name in names {
            if !seen.insert(name) {
                return Err(DocumentError::Duplicate(name.clone()));
            }
        }
        let mut seen = std::collections::BTreeSet::new();
        if let Some((name, _)) = keys.iter().find(|(_, key)| !seen.insert(key)) {
            return Err(DocumentError::Duplicate(name.clone()));
        }
        Ok(Self { id, keys, services })
    }

    /// Reads a W3C DID document.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, DocumentError> {
        let value = json::value(bytes, DOCUMENT_BYTES_MAX)?;
        let id = value.get("id").and_then(Value::as_str).and_then(|id| Did::parse(id).ok());
        Self::from_value(&value, id.ok_or(DocumentError::Malformed("id"))?)
    }

    /// Reads a W3C DID document about `id`, whatever it says itself about whom it is.
    pub(crate) fn from_value(document: &Value, id: Did) -> Result<Self, DocumentError> {
        let list = |name: &'static str, what: &'static str, max: usize| match document.get(name) {
            None => Ok([].as_slice()),
            Some(Value::Array(items)) if items.len() <= max => Ok(items.as_slice()),
            Some(Value::Array(_)) => Err(DocumentError::TooMany { what, max }),
            Some(_) => Err(DocumentError::Malformed(name)),
        };
        // Methods may stand in the list, or where a relationship names them.
        let mut methods = list("verificationMethod", "keys", KEYS_MAX)?.iter().collect::<Vec<_>>();
        for relationship in ["authentication", "assertionMethod"] {
            methods.extend(list(relationship, "keys", KEYS_MAX)?.iter().filter(|method| method.is_object()));
        }
        let mut keys = Vec::new();
        for method in methods {
            if let Some(key) = read_method(method, &id)? {
                keys.push(key);
            }
        }
        let find = |name: &str| keys.iter().find(|(fragment, _)| fragment == name).map(|(_, key)| *key);
        let mut services = Vec::new();
        for (number, service) in list("service", "services", SERVICES_MAX)?.iter().enumerate() {
            services.extend(Service::read(service, &id, number, find)?);
        }
        Self::assemble(id, keys, services)
    }

    /// The document as W3C DID Core writes it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let absolute = |fragment: &str| format!("{}#{fragment}", self.id);
        let methods = self.keys.iter().map(|(fragment, key)| {
            json!({"id": absolute(fragment), "type": "Multikey", "controller": self.id.as_str(),
                "publicKeyMultibase": key.to_multikey()})
        });
        let names = self.keys.iter().map(|(fragment, _)| absolute(fragment)).collect::<Vec<_>>();
        let mut document = Map::new();
        document.insert(
            "@context".to_owned(),
            json!(["https://www.w3.org/ns/did/v1", "https://w3id.org/security/multikey/v1"]),
        );
        document.insert("id".to_owned(), self.id.as_str().into());
        document.insert("verificationMethod".to_owned(), methods.collect());
        document.insert("authentication".to_owned(), names.clone().into());
        document.insert("assertionMethod".to_owned(), names.into());
        let services = self.services.iter().map(|service| {
            let target = &service.target;
            let recipient = self.keys.iter().find(|(_, key)| *key == target.recipient);
            let recipient =
                recipient.map_or_else(|| target.recipient.to_did_key_reference(), |(name, _)| absolute(name));
            let routing = target.routing_keys.iter().map(VerificationKey::to_did_key_reference);
            json!({"id": absolute(&service.fragment), "type": DID_COMMUNICATION, "priority": service.priority,
                "recipientKeys": [recipient], "routingKeys": routing.collect::<Vec<_>>(),
                "accept": ["didcomm/aip2;env=rfc19"], "serviceEndpoint": target.endpoint.as_str()})
        });
        let services: Value = services.collect();
        if !self.services.is_empty() {
            document.insert("service".to_owned(), services);
        }
        Value::Object(document)
    }

    /// Whose document it is.
    #[must_use]
    pub const fn id(&self) -> &Did {
        &self.id
    }

    /// Its Ed25519 keys by name, in the order of the document.
    pub fn keys(&self) -> impl Iterator<Item = (&str, &VerificationKey)> {
        self.keys.iter().map(|(name, key)| (name.as_str(), key))
    }

    /// Its services, in the order of the document.
    #[must_use]
    pub fn services(&self) -> &[Service] {
        &self.services
    }

    /// Whether envelopes that this key sends come from the subject: one of its keys, or the one its service names.
    #[must_use]
    pub fn has_key(&self, key: &VerificationKey) -> bool {
        self.keys.iter().any(|(_, own)| own == key)
            || self.services.iter().any(|service| service.target.recipient == *key)
    }

    /// Where envelopes go: the service of the lowest priority number, the first of equals.
    #[must_use]
    pub fn target(&self) -> Option<&Target> {
        self.services.iter().min_by_key(|service| service.priority).map(Service::target)
    }
}

/// The name and key of a verification method; `None` for keys of other kinds.
fn read_method(method: &Value, subject: &Did) -> Result<Option<(String, VerificationKey)>, DocumentError> {
    let name = method.get("id").and_then(Value::as_str).and_then(|id| fragment_of(id, subject));
    let name = name.ok_or(DocumentError::Malformed("the id of a verification method"))?.to_owned();
    let kind = method.get("type").and_then(Value::as_str);
    let multibase = match method.get("publicKeyMultibase") {
        None => None,
        Some(text) => Some(text.as_str().ok_or(DocumentError::Malformed("publicKeyMultibase"))?),
    };
    match (kind, multibase) {
        (Some("Multikey" | "Ed25519VerificationKey2020"), Some(text)) => {
            // Keys of other kinds are passed over, Ed25519 keys must be proper ones.
            let ed25519 = multikey_bytes(ED25519, text);
            Ok(ed25519.map(|bytes| VerificationKey::from_bytes(&bytes)).transpose()?.map(|key| (name, key)))
        }
        (Some("Ed25519VerificationKey2018"), _) => {
            let text = method.get("publicKeyBase58").and_then(Value::as_str);
            let text = text.ok_or(DocumentError::Malformed("publicKeyBase58"))?;
            Ok(Some((name, VerificationKey::from_base58(text)?)))
        }
        (Some(_), _) => Ok(None),
        (None, _) => Err(DocumentError::Malformed("the type of a verification method")),
    }
}

/// The fragment of `#name`, `did:..#name` of this subject, or the bare `name` that some agents write.
fn fragment_of<'a>(reference: &'a str, subject: &Did) -> Option<&'a str> {
    let fragment = match reference.split_once('#') {
        Some(("", fragment)) => fragment,
        Some((did, fragment)) => (did == subject.as_str()).then_some(fragment)?,
        None => reference,
    };
    let proper = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    ((1..=FRAGMENT_BYTES_MAX).contains(&fragment.len()) && fragment.bytes().all(proper)).then_some(fragment)
}

/// The member of either name; both at once is refused.
fn abbreviated<'a>(
    object: &'a Map<String, Value>,
    name: &'static str,
    short: &'static str,
) -> Result<Option<&'a Value>, DocumentError> {
    match (object.get(name), object.get(short)) {
        (Some(_), Some(_)) => Err(DocumentError::Malformed(name)),
        (long, short) => Ok(long.or(short)),
    }
}

/// A list of texts; a missing one is empty.
fn texts<'a>(value: Option<&'a Value>, name: &'static str) -> Result<Vec<&'a str>, DocumentError> {
    let items = match value {
        None => return Ok(Vec::new()),
        Some(value) => value.as_array().ok_or(DocumentError::Malformed(name))?,
    };
    if items.len() > SERVICE_KEYS_MAX {
        return Err(DocumentError::TooMany { what: name, max: SERVICE_KEYS_MAX });
    }
    items.iter().map(|item| item.as_str().ok_or(DocumentError::Malformed(name))).collect()
}

impl From<DidError> for DocumentError {
    fn from(_: DidError) -> Self {
        Self::Malformed("an identifier")
    }
}

#[cfg(test)]
mod tests {
    use super::super::key::tests::key;
    use super::*;

    fn did() -> Did {
        Did::parse("did:web:a.example").unwrap()
    }

    fn full() -> Document {
        let endpoint = Endpoint::parse("https://a.example/inbox").unwrap();
        Document::new(did(), &[key(1), key(2)], Some((endpoint, vec![key(3)]))).unwrap()
    }

    #[test]
    fn a_document_is_read_back() {
        let document = full();
        let read = Document::from_json(document.to_json().to_string().as_bytes()).unwrap();
        assert_eq!(read, document);
        assert_eq!(read.target().unwrap().recipient(), &key(1));
        assert_eq!(read.target().unwrap().routing_keys(), [key(3)]);
        assert!(read.has_key(&key(2)) && !read.has_key(&key(3)));
    }

    #[test]
    fn the_service_of_the_lowest_priority_is_used() {
        let mut json = full().to_json();
        let mut other = json["service"][0].clone();
        other["id"] = json!("#second");
        other["priority"] = json!(-1);
        other["serviceEndpoint"] = json!({"uri": "wss://b.example"});
        json["service"].as_array_mut().unwrap().push(other);
        json["service"].as_array_mut().unwrap().push(json!({"id": "#web", "type": "LinkedDomains"}));
        let read = Document::from_json(json.to_string().as_bytes()).unwrap();
        assert_eq!(read.services().len(), 2);
        assert_eq!(read.target().unwrap().endpoint().as_str(), "wss://b.example");
    }

    #[test]
    fn malformed_documents_are_refused() {
        let broken = |path: &str, value: Value| {
            let mut json = full().to_json();
            *json.pointer_mut(path).unwrap() = value;
            Document::from_json(json.to_string().as_bytes()).unwrap_err().to_string()
        };
        let x25519 = super::super::key::multikey(super::super::key::X25519, &[9; 32]);
        let table = [
            ("/id", json!("a.example"), "id is missing or malformed"),
            ("/verificationMethod", json!({}), "verificationMethod is missing or malformed"),
            ("/verificationMethod/0/id", json!("did:web:b.example#key-1"), "the id of a verification method"),
            ("/verificationMethod/0/type", Value::Null, "the type of a verification method"),
            ("/verificationMethod/0/publicKeyMultibase", json!(x25519), "which is not an Ed25519 key"),
            ("/verificationMethod/0/publicKeyMultibase", json!(1), "publicKeyMultibase"),
            ("/verificationMethod/1/id", json!("#key-1"), r#"the name "key-1" twice"#),
            ("/verificationMethod/1/publicKeyMultibase", json!(key(1).to_multikey()), "twice"),
            ("/service/0/type", json!(1), "the type of a service"),
            ("/service/0/id", json!("#"), "the id of a service"),
            ("/service/0/id", json!("#key-1"), "twice"),
            ("/service/0/priority", json!("0"), "the priority of a service"),
            ("/service/0/serviceEndpoint", json!("ftp://a.example"), "the endpoint of a service"),
            ("/service/0/serviceEndpoint", json!("https://user@a.example"), "the endpoint of a service"),
            ("/service/0/serviceEndpoint", json!("https:///a"), "the endpoint of a service"),
            ("/service/0/serviceEndpoint", json!("https://a b"), "the endpoint of a service"),
            ("/service/0/recipientKeys", json!([]), "recipientKeys"),
            ("/service/0/recipientKeys", json!(["#key-9"]), r##""#key-9""##),
            ("/service/0/recipientKeys", json!(vec!["#key-1"; 9]), "more than 8 recipientKeys"),
            ("/service/0/routingKeys", json!(["did:key:z1"]), "a key"),
        ];
        for (path, value, expected) in table {
            let found = broken(path, value.clone());
            assert!(found.contains(expected), "{path} {value}: {found}");
        }
    }

    #[test]
    fn old_kinds_of_keys_are_read_and_other_kinds_passed_over() {
        let document = json!({"id": "did:web:a.example", "verificationMethod": [
            {"id": "#a", "type": "Ed25519VerificationKey2018", "publicKeyBase58": key(1).to_string()},
            {"id": "#b", "type": "X25519KeyAgreementKey2020", "publicKeyMultibase": "z6LS"},
        ], "authentication": ["#a", {"id": "#c", "type": "Ed25519VerificationKey2020",
            "publicKeyMultibase": key(2).to_multikey()}]});
        let read = Document::from_json(document.to_string().as_bytes()).unwrap();
        assert_eq!(read.keys().collect::<Vec<_>>(), [("a", &key(1)), ("c", &key(2))]);
    }
}
