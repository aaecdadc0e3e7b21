//! A message: its type, its id, its thread, and what its protocol says.
//!
//! Decorators that are understood: `~thread` (`thid`, `pthid`), `~timing.expires_time`, `~please_ack`,
//! `~transport.return_route`. Others are kept and passed over.
//!
//! Source: Aries RFCs 0003 (types and versions), 0008 (threads), 0011 (decorators), 0032 (timing), 0092 (transport),
//! 0217 (ids), 0317 (please ack), 0348 (the old prefix of types).

use super::timestamp::parse_timestamp;
use super::{CryptoRngCore, envelope::ENVELOPE_BYTES_MAX};
use crate::json::{self, JsonError};
use eroam_domain::time::UnixMillis;
use serde_json::{Map, Value, json};
use std::fmt;

/// What precedes the types of community protocols.
pub const DIDCOMM_ORG: &str = "https://didcomm.org/";
/// What preceded them once: the same protocols.
const OLD_PREFIX: &str = "did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/";
/// The longest id.
const ID_BYTES_MAX: usize = 128;
/// The longest type.
const TYPE_BYTES_MAX: usize = 256;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum MessageError {
    /// Not JSON that is read.
    #[error("the JSON of a message")]
    Json(#[from] JsonError),
    /// Not an object.
    #[error("a message that is no object")]
    NotAnObject,
    /// `@type` is missing or not of the form of a type.
    #[error("@type is missing or malformed")]
    Type,
    /// `@id` is missing or not of the form of an id.
    #[error("@id is missing or malformed")]
    Id,
    /// A decorator that is understood is not of its form.
    #[error("the decorator {0} is malformed")]
    Decorator(&'static str),
}

/// The id of a message or a thread: 1 to 128 letters, digits and `-_./:`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(Box<str>);

impl MessageId {
    /// Reads an id.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let proper = |b: u8| b.is_ascii_alphanumeric() || b"-_./:".contains(&b);
        ((1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(proper)).then(|| Self(text.into()))
    }

    /// A new id: a random UUID.
    pub fn random(rng: &mut impl CryptoRngCore) -> Self {
        let mut bytes = [0; 16];
        rng.fill_bytes(&mut bytes);
        let mut bits = u128::from_be_bytes(bytes);
        // RFC 9562: version 4, variant 10.
        bits = bits & !(0xf << 76) | (4 << 76);
        bits = bits & !(0b11 << 62) | (0b10 << 62);
        let hex = format!("{bits:032x}");
        let part = |from: usize, to: usize| hex.get(from..to).unwrap_or_default();
        let text =
            format!("{}-{}-{}-{}-{}", part(0, 8), part(8, 12), part(12, 16), part(16, 20), part(20, 32));
        Self(text.into())
    }

    /// The id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageId({})", self.0)
    }
}

/// The version of a protocol. Minor versions of one major version understand each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// Another one is another protocol.
    pub major: u16,
    /// A higher one adds what may be passed over.
    pub minor: u16,
}

impl Version {
    fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| {
            let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
            plain.then(|| text.parse().ok())?
        };
        let (major, minor) = text.split_once('.')?;
        Some(Self { major: number(major)?, minor: number(minor)? })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The type of a message: `https://didcomm.org/present-proof/2.0/presentation`. The old prefix of community protocols
/// is read as the new one.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageType {
    doc_uri: Box<str>,
    protocol: Box<str>,
    version: Version,
    name: Box<str>,
}

impl MessageType {
    /// Reads a type.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() > TYPE_BYTES_MAX || !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let (family, name) = text.rsplit_once('/')?;
        let (family, version) = family.rsplit_once('/')?;
        let at = family.rfind('/').map_or(0, |at| at.saturating_add(1));
        let (doc_uri, protocol) = family.split_at_checked(at)?;
        let proper = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
        };
        let doc_uri = if doc_uri == OLD_PREFIX { DIDCOMM_ORG } else { doc_uri };
        let version = Version::parse(version)?;
        (proper(protocol) && proper(name) && !doc_uri.is_empty()).then(|| Self {
            doc_uri: doc_uri.into(),
            protocol: protocol.into(),
            version,
            name: name.into(),
        })
    }

    /// A message of a community protocol.
    pub(crate) fn community(protocol: &str, major: u16, minor: u16, name: &str) -> Self {
        Self {
            doc_uri: DIDCOMM_ORG.into(),
            protocol: protocol.into(),
            version: Version { major, minor },
            name: name.into(),
        }
    }

    /// Whether it is that message of that community protocol, in any minor version.
    #[must_use]
    pub fn is(&self, protocol: &str, major: u16, name: &str) -> bool {
        &*self.doc_uri == DIDCOMM_ORG
            && &*self.protocol == protocol
            && self.version.major == major
            && &*self.name == name
    }

    /// Where the protocol is documented, with the slash at its end.
    #[must_use]
    pub fn doc_uri(&self) -> &str {
        &self.doc_uri
    }

    /// The protocol: `present-proof`.
    #[must_use]
    pub fn protocol(&self) -> &str {
        &self.protocol
    }

    /// The version of the protocol.
    #[must_use]
    pub const fn version(&self) -> Version {
        self.version
    }

    /// Which message of the protocol: `presentation`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it reports a problem: no problem report ever answers it.
    #[must_use]
    pub fn is_problem_report(&self) -> bool {
        matches!(&*self.name, "problem-report" | "problem_report")
    }
}

impl fmt::Display for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}/{}/{}", self.doc_uri, self.protocol, self.version, self.name)
    }
}

impl fmt::Debug for MessageType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MessageType({self})")
    }
}

/// Which answer the sender wants (`~transport.return_route`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReturnRoute {
    /// Answers go to its endpoint.
    None,
    /// All messages for it go into the answer of this transport.
    All,
    /// Those of one thread do.
    Thread,
}

/// What the sender wants to be told (`~please_ack.on`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PleaseAck {
    /// That the message arrived.
    pub receipt: bool,
    /// What came of it.
    pub outcome: bool,
}

/// A message whose form was checked. What it says about its sender is the sender's word.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    kind: MessageType,
    id: MessageId,
    thid: Option<MessageId>,
    pthid: Option<MessageId>,
    expires: Option<UnixMillis>,
    /// Everything but `@type`, `@id` and `~thread`.
    body: Map<String, Value>,
}

impl Message {
    /// A message with nothing in it.
    #[must_use]
    pub fn new(kind: MessageType, id: MessageId) -> Self {
        Self { kind, id, thid: None, pthid: None, expires: None, body: Map::new() }
    }

    /// The message as one of the thread that the message `thid` began.
    #[must_use]
    pub fn on_thread(mut self, thid: MessageId) -> Self {
        self.thid = Some(thid);
        self
    }

    /// The message as one of a thread below the thread `pthid`.
    #[must_use]
    pub fn below_thread(mut self, pthid: MessageId) -> Self {
        self.pthid = Some(pthid);
        self
    }

    /// The message with another member in it.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.body.insert(name.to_owned(), value.into());
        self
    }

    /// The message as one that is refused after `at`.
    #[must_use]
    pub fn expiring(mut self, at: UnixMillis) -> Self {
        self.expires = Some(at);
        self.with("~timing", json!({"expires_time": at.to_string()}))
    }

    /// Reads a message of at most [`ENVELOPE_BYTES_MAX`].
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, MessageError> {
        Self::from_value(json::value(bytes, ENVELOPE_BYTES_MAX)?)
    }

    /// Takes JSON that was read for a message.
    ///
    /// # Errors
    /// [`MessageError`].
    pub fn from_value(value: Value) -> Result<Self, MessageError> {
        let Value::Object(mut body) = value else { return Err(MessageError::NotAnObject) };
        let text = |value: Option<Value>| match value {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let kind = text(body.remove("@type"))
            .and_then(|text| MessageType::parse(&text))
            .ok_or(MessageError::Type)?;
        let id = text(body.remove("@id")).and_then(|text| MessageId::parse(&text)).ok_or(MessageError::Id)?;
        let (thid, pthid) = match body.remove("~thread") {
            None | Some(Value::Null) => (None, None),
            Some(Value::Object(thread)) => {
                let member = |name: &str| match thread.get(name) {
                    None | Some(Value::Null) => Ok(None),
                    Some(id) => id
                        .as_str()
                        .and_then(MessageId::parse)
                        .map(Some)
                        .ok_or(MessageError::Decorator("~thread")),
                };
                (member("thid")?, member("pthid")?)
            }
            Some(_) => return Err(MessageError::Decorator("~thread")),
        };
        // A time that cannot be read is not the same as no limit.
        let expires = match body.get("~timing") {
            None => None,
            Some(Value::Object(timing)) => match timing.get("expires_time") {
                None => None,
                Some(at) => {
                    Some(at.as_str().and_then(parse_timestamp).ok_or(MessageError::Decorator("~timing"))?)
                }
            },
            Some(_) => return Err(MessageError::Decorator("~timing")),
        };
        let message = Self { kind, id, thid, pthid, expires, body };
        message.read_please_ack()?;
        message.read_return_route()?;
        Ok(message)
    }

    /// The message as JSON.
    #[must_use]
    pub fn to_value(&self) -> Value {
        let mut object = self.body.clone();
        object.insert("@type".to_owned(), self.kind.to_string().into());
        object.insert("@id".to_owned(), self.id.as_str().into());
        let mut thread = Map::new();
        let mut member = |name: &str, id: &Option<MessageId>| {
            if let Some(id) = id {
                thread.insert(name.to_owned(), id.as_str().into());
            }
        };
        member("thid", &self.thid);
        member("pthid", &self.pthid);
        if !thread.is_empty() {
            object.insert("~thread".to_owned(), thread.into());
        }
        Value::Object(object)
    }

    /// The message as bytes of JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        self.to_value().to_string().into_bytes()
    }

    /// Its type.
    #[must_use]
    pub const fn kind(&self) -> &MessageType {
        &self.kind
    }

    /// Its id.
    #[must_use]
    pub const fn id(&self) -> &MessageId {
        &self.id
    }

    /// Its thread: the id of the message that began it, which may be itself.
    #[must_use]
    pub fn thread(&self) -> &MessageId {
        self.thid.as_ref().unwrap_or(&self.id)
    }

    /// Whether it begins its thread.
    #[must_use]
    pub fn begins_thread(&self) -> bool {
        self.thid.as_ref().is_none_or(|thid| *thid == self.id)
    }

    /// The thread above its own: for an answer to an invitation, the invitation.
    #[must_use]
    pub const fn parent_thread(&self) -> Option<&MessageId> {
        self.pthid.as_ref()
    }

    /// After which instant it is refused.
    #[must_use]
    pub const fn expires(&self) -> Option<UnixMillis> {
        self.expires
    }

    /// What its sender wants to be told.
    #[must_use]
    pub fn please_ack(&self) -> Option<PleaseAck> {
        self.read_please_ack().ok().flatten()
    }

    /// Where its sender wants answers.
    #[must_use]
    pub fn return_route(&self) -> ReturnRoute {
        self.read_return_route().unwrap_or(ReturnRoute::None)
    }

    /// Its members, without `@type`, `@id` and `~thread`.
    #[must_use]
    pub const fn body(&self) -> &Map<String, Value> {
        &self.body
    }

    fn read_please_ack(&self) -> Result<Option<PleaseAck>, MessageError> {
        const MALFORMED: MessageError = MessageError::Decorator("~please_ack");
        let decorator = match self.body.get("~please_ack") {
            None => return Ok(None),
            Some(decorator) => decorator.as_object().ok_or(MALFORMED)?,
        };
        let Some(on) = decorator.get("on") else {
            // An empty decorator asks for the outcome.
            return Ok(Some(PleaseAck { receipt: false, outcome: true }));
        };
        let on = on.as_array().filter(|on| on.len() <= 8).ok_or(MALFORMED)?;
        let has = |what: &str| {
            on.iter().any(|item| item.as_str().is_some_and(|item| item.eq_ignore_ascii_case(what)))
        };
        Ok(Some(PleaseAck { receipt: has("receipt"), outcome: has("outcome") }))
    }

    fn read_return_route(&self) -> Result<ReturnRoute, MessageError> {
        const MALFORMED: MessageError = MessageError::Decorator("~transport");
        let decorator = match self.body.get("~transport") {
            None => return Ok(ReturnRoute::None),
            Some(decorator) => decorator.as_object().ok_or(MALFORMED)?,
        };
        match decorator.get("return_route").map(Value::as_str) {
            None | Some(Some("none")) => Ok(ReturnRoute::None),
            Some(Some("all")) => Ok(ReturnRoute::All),
            Some(Some("thread")) => Ok(ReturnRoute::Thread),
            Some(_) => Err(MALFORMED),
        }
    }
}

impl fmt::Debug for Message {
    /// Its type, id and thread. What it says may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .field("thread", self.thread())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(value: &Value) -> Result<Message, MessageError> {
        Message::parse(value.to_string().as_bytes())
    }

    fn with(name: &str, value: Value) -> Value {
        let mut message = json!({"@type": "https://didcomm.org/a/1.0/b", "@id": "1"});
        message[name] = value;
        message
    }

    #[test]
    fn types_are_read_in_both_spellings_of_the_prefix() {
        let new = MessageType::parse("https://didcomm.org/present-proof/2.0/presentation").unwrap();
        let old =
            MessageType::parse("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/present-proof/2.0/presentation").unwrap();
        assert_eq!(new, old);
        assert!(new.is("present-proof", 2, "presentation") && !new.is("present-proof", 1, "presentation"));
        assert_eq!(new.to_string(), "https://didcomm.org/present-proof/2.0/presentation");
        let own = MessageType::parse("https://eroam.example/x/charging/1.12/quote").unwrap();
        assert_eq!(
            (own.doc_uri(), own.protocol(), own.name()),
            ("https://eroam.example/x/", "charging", "quote")
        );
        assert_eq!(own.version(), Version { major: 1, minor: 12 });
        assert!(!MessageType::parse("https://other.example/present-proof/2.0/ack").unwrap().is(
            "present-proof",
            2,
            "ack"
        ));
    }

    #[test]
    fn malformed_types_are_refused() {
        for text in [
            "",
            "ack",
            "a/1.0/b",
            "https://didcomm.org/a/1/b",
            "https://didcomm.org/a/1.0.0/b",
            "https://didcomm.org/a/01.0/b",
            "https://didcomm.org/a/1.0/",
            "https://didcomm.org//1.0/b",
            "https://didcomm.org/a/1.0/b c",
            "https://didcomm.org/A/1.0/b",
            "https://didcomm.org/a/70000.0/b",
            "https://didcomm.org/a/1.-0/b",
        ] {
            assert_eq!(MessageType::parse(text), None, "{text}");
        }
        assert_eq!(MessageType::parse(&format!("https://didcomm.org/{}/1.0/b", "a".repeat(300))), None);
    }

    #[test]
    fn malformed_messages_are_refused() {
        let table = [
            (json!([]), "no object"),
            (json!({"@id": "1"}), "@type"),
            (with("@type", json!(1)), "@type"),
            (with("@id", json!("")), "@id"),
            (with("@id", json!("a b")), "@id"),
            (with("@id", json!("a".repeat(129))), "@id"),
            (with("~thread", json!([])), "~thread"),
            (with("~thread", json!({"thid": 1})), "~thread"),
            (with("~thread", json!({"pthid": ""})), "~thread"),
            (with("~timing", json!({"expires_time": "soon"})), "~timing"),
            (with("~timing", json!({"expires_time": null})), "~timing"),
            (with("~timing", json!(1)), "~timing"),
            (with("~please_ack", json!({"on": "OUTCOME"})), "~please_ack"),
            (with("~transport", json!({"return_route": "some"})), "~transport"),
        ];
        for (value, expected) in table {
            let error = read(&value).unwrap_err().to_string();
            assert!(error.contains(expected), "{value}: {error}");
        }
        let twice = br#"{"@type":"https://didcomm.org/a/1.0/b","@id":"1","@id":"2"}"#;
        assert!(matches!(Message::parse(twice), Err(MessageError::Json(_))));
    }

    #[test]
    fn decorators_are_understood_and_kept() {
        let message = read(&json!({"@type": "https://didcomm.org/a/1.0/b", "@id": "1", "~thread": {"thid": "0", "pthid": "p",
            "sender_order": 3}, "~timing": {"expires_time": "2026-11-21 21:35:52Z"}, "~please_ack": {"on": ["RECEIPT"]},
            "~transport": {"return_route": "all"}, "~unknown": [1]})).unwrap();
        assert_eq!((message.thread().as_str(), message.parent_thread().unwrap().as_str()), ("0", "p"));
        assert_eq!(message.expires().unwrap().to_string(), "2026-11-21T21:35:52Z");
        assert_eq!(message.please_ack(), Some(PleaseAck { receipt: true, outcome: false }));
        assert_eq!(message.return_route(), ReturnRoute::All);
        assert!(!message.begins_thread());
        assert_eq!(message.to_value()["~unknown"], json!([1]));
        let empty = read(&with("~thread", json!({}))).unwrap();
        assert!(empty.begins_thread());
        assert_eq!(empty.thread().as_str(), "1");
        assert!(read(&with("~please_ack", json!({}))).unwrap().please_ack().unwrap().outcome);
    }

    #[test]
    fn random_ids_are_uuids_of_version_4() {
        let id = MessageId::random(&mut super::super::OsRng).to_string();
        assert_eq!(id.len(), 36);
        assert_eq!(id.as_bytes()[14], b'4');
        assert!(b"89ab".contains(&id.as_bytes()[19]), "{id}");
        assert!(MessageId::parse(&id).is_some());
    }

    #[test]
    fn debug_output_does_not_show_what_a_message_says() {
        let message = read(&with("content", json!("secret"))).unwrap();
        assert!(!format!("{message:?}").contains("secret"));
    }

    proptest! {
        #[test]
        fn arbitrary_members_never_panic_and_are_written_back(name in "(@id|@type|~thread|~timing|~please_ack|~transport|x)",
            value in r#"(1|null|"[a-z/:.0-9]{0,30}"|\{"(thid|expires_time|on|return_route)":("[a-z0-9:.Z -]{0,20}"|\[\]|\[1\])\})"#) {
            let value: Value = serde_json::from_str(&value).unwrap();
            if let Ok(message) = read(&with(&name, value)) {
                prop_assert_eq!(Message::parse(&message.to_bytes()).unwrap(), message);
            }
        }
    }
}
