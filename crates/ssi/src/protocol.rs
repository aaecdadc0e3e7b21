//! What agents say to each other, and when: pure state machines over messages.
//!
//! - [`out_of_band`]: invitations, and links with them.
//! - [`did_exchange`]: from an invitation to a connection.
//! - [`issue_credential`], [`present_proof`]: credentials and what is shown of them.
//! - [`charging`], [`questions`]: our own, of a charge, and of one question and one answer.
//! - [`basic_message`], [`notification`], [`problem_report`], [`discover_features`].
//!
//! ```text
//! bytes --unpack--> Opened --Incoming::read--> Incoming --Family::of--> whose machine
//!                                                 |                        |
//!                                           ReplayWindow        state.handle(&incoming, now ..)
//!                                                                          |
//!                              Err(Illegal): the state stays;   Ok((next state, effects)): keep the state,
//!                              problem_report::answer           then do what the effects say, in their order
//! ```
//! A machine knows its connection and its thread, and refuses messages of others, messages that come twice, too early
//! or too late. Nothing is sent, stored or looked up here. Time comes in as `now`; a state that nobody ended is ended
//! by `expire(now)`. Ids of answers come in too, so that a run can be repeated exactly. What credentials and proofs
//! say is checked elsewhere: their bytes pass through.
//!
//! Source: Aries RFCs 0003 (protocols and versions), 0008 (threads); each module names its own.

pub mod basic_message;
pub mod charging;
mod content;
pub mod did_exchange;
pub mod discover_features;
pub mod issue_credential;
pub mod notification;
pub mod out_of_band;
pub mod present_proof;
pub mod problem_report;
pub mod questions;
mod side;
pub mod station_registration;

pub use content::{FORMATS_MAX, Formatted, find_format};
pub use problem_report::ProblemReport;

use crate::did::{Did, DidError, Target, VerificationKey};
use crate::didcomm::message::DIDCOMM_ORG;
use crate::didcomm::{
    AttachmentError, Channel, Message, MessageError, MessageId, MessageType, Opened, SigningKey, Version,
};
use eroam_domain::time::UnixMillis;

/// Why what was in an envelope is not given to a protocol.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveError {
    /// Nobody says that they sent it.
    #[error("an anonymous message")]
    Anonymous,
    /// Any of the other recipients could have written it in the sender's name.
    #[error("a message to {recipients} keys, any of whose holders could have written it")]
    Shared {
        /// To how many.
        recipients: usize,
    },
    /// Not a message.
    #[error("what was in an envelope")]
    Message(#[from] MessageError),
}

/// A message whose sender is certain: it came in an authenticated envelope for one recipient.
#[derive(Clone, Debug)]
pub struct Incoming {
    message: Message,
    channel: Channel,
}

impl Incoming {
    /// Reads what was in an envelope.
    ///
    /// # Errors
    /// [`ReceiveError`].
    pub fn read(opened: &Opened) -> Result<Self, ReceiveError> {
        let theirs = opened.sender.ok_or(ReceiveError::Anonymous)?;
        if opened.recipients != 1 {
            return Err(ReceiveError::Shared { recipients: opened.recipients });
        }
        let message = Message::parse(&opened.plaintext)?;
        Ok(Self { message, channel: Channel { ours: opened.recipient, theirs } })
    }

    /// The message.
    #[must_use]
    pub const fn message(&self) -> &Message {
        &self.message
    }

    /// Whose it is, and to which of our keys.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        self.channel
    }
}

/// A message to send before there is a connection to name: from which key, and where to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    /// What to send.
    pub message: Message,
    /// The key to seal it with.
    pub sender: VerificationKey,
    /// Where to.
    pub target: Target,
}

/// Why a message or a command was refused. The state stays what it was.
#[derive(Debug, thiserror::Error)]
pub enum Illegal {
    /// No protocol, version or message that is spoken here.
    #[error("{found} is not spoken here")]
    Unsupported {
        /// Its type.
        found: MessageType,
    },
    /// Not what may come in this state: too early, too late, or again.
    #[error("{event} is not possible when {state}")]
    OutOfOrder {
        /// The state.
        state: &'static str,
        /// The message or command.
        event: &'static str,
    },
    /// From another agent, or to another key of ours.
    #[error("a message of another connection")]
    WrongConnection,
    /// Of another thread.
    #[error("a message of the thread {found}, expected {expected}")]
    WrongThread {
        /// The thread of this state.
        expected: MessageId,
        /// The message's.
        found: MessageId,
    },
    /// The message, the request that it answers or the whole exchange came to its end before.
    #[error("too late: it was {now}, possible until {until}")]
    Expired {
        /// Until when.
        until: UnixMillis,
        /// The time.
        now: UnixMillis,
    },
    /// A part is missing, too long, or not what it must be.
    #[error("{0} is missing or malformed")]
    Malformed(&'static str),
    /// An attachment is not taken.
    #[error("an attachment")]
    Attachment(#[from] AttachmentError),
    /// An identifier is not taken.
    #[error("an identifier")]
    Did(#[from] DidError),
    /// The identifier names no place to send to.
    #[error("{0} has no service of the type did-communication")]
    NoService(Did),
    /// The key that sent the message is not one of the identifier's.
    #[error("the sender's key does not belong to {0}")]
    ForeignKey(Did),
    /// The identifier was not signed by the key of the invitation.
    #[error("{0} is not signed by the key of the invitation")]
    NotTheInviter(Did),
    /// The key that was given is not the one of the invitation.
    #[error("another key than that of the invitation")]
    WrongKey,
    /// The invitation does not offer what is spoken here.
    #[error("the invitation offers no {0}")]
    NotOffered(&'static str),
}

/// The protocols that are spoken here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// [`out_of_band`]
    OutOfBand,
    /// [`did_exchange`]
    DidExchange,
    /// [`issue_credential`]
    IssueCredential,
    /// [`present_proof`]
    PresentProof,
    /// [`basic_message`]
    BasicMessage,
    /// [`notification`]
    Notification,
    /// [`problem_report`]
    ProblemReport,
    /// [`discover_features`]
    DiscoverFeatures,
    /// [`discover_features`], the first version
    DiscoverFeaturesOld,
}

impl Family {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::OutOfBand,
        Self::DidExchange,
        Self::IssueCredential,
        Self::PresentProof,
        Self::BasicMessage,
        Self::Notification,
        Self::ProblemReport,
        Self::DiscoverFeatures,
        Self::DiscoverFeaturesOld,
    ];

    /// Its name, and the version that is spoken. Higher minor versions are taken for this one, lower ones refused.
    #[must_use]
    pub const fn spoken(self) -> (&'static str, Version) {
        let (name, major, minor) = match self {
            Self::OutOfBand => ("out-of-band", 1, 1),
            Self::DidExchange => ("didexchange", 1, 1),
            Self::IssueCredential => ("issue-credential", 2, 0),
            Self::PresentProof => ("present-proof", 2, 0),
            Self::BasicMessage => ("basicmessage", 1, 0),
            Self::Notification => ("notification", 1, 0),
            Self::ProblemReport => ("report-problem", 1, 0),
            Self::DiscoverFeatures => ("discover-features", 2, 0),
            Self::DiscoverFeaturesOld => ("discover-features", 1, 0),
        };
        (name, Version { major, minor })
    }

    /// The protocol of a message.
    ///
    /// # Errors
    /// [`Illegal::Unsupported`].
    pub fn of(kind: &MessageType) -> Result<Self, Illegal> {
        // Some agents send general problem reports under the name of the other general protocol.
        if kind.is("notification", 1, "problem-report") {
            return Ok(Self::ProblemReport);
        }
        let spoken = |family: &Self| {
            let (name, version) = family.spoken();
            kind.doc_uri() == DIDCOMM_ORG
                && kind.protocol() == name
                && kind.version().major == version.major
                && kind.version().minor >= version.minor
        };
        Self::ALL.into_iter().find(spoken).ok_or_else(|| Illegal::Unsupported { found: kind.clone() })
    }

    /// `https://didcomm.org/present-proof/2.0`
    #[must_use]
    pub fn uri(self) -> String {
        let (name, version) = self.spoken();
        format!("{DIDCOMM_ORG}{name}/{version}")
    }

    /// The type of a message of this protocol.
    pub(crate) fn message(self, name: &str) -> MessageType {
        let (protocol, version) = self.spoken();
        MessageType::community(protocol, version.major, version.minor, name)
    }
}

/// The connection and the thread of an exchange, and until when it must have ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    channel: Channel,
    thread: MessageId,
    deadline: UnixMillis,
}

impl Conversation {
    /// A conversation that was begun before and kept.
    #[must_use]
    pub const fn new(channel: Channel, thread: MessageId, deadline: UnixMillis) -> Self {
        Self { channel, thread, deadline }
    }

    /// The conversation that this message begins.
    fn begin(incoming: &Incoming, now: UnixMillis, deadline: UnixMillis) -> Result<Self, Illegal> {
        let message = &incoming.message;
        if !message.begins_thread() {
            let (expected, found) = (message.id().clone(), message.thread().clone());
            return Err(Illegal::WrongThread { expected, found });
        }
        in_time(message.expires(), now)?;
        Ok(Self { channel: incoming.channel, thread: message.id().clone(), deadline })
    }

    /// Whether the message belongs to the conversation, and is in time.
    fn admit(&self, incoming: &Incoming, now: UnixMillis) -> Result<(), Illegal> {
        if incoming.channel != self.channel {
            return Err(Illegal::WrongConnection);
        }
        let found = incoming.message.thread();
        if *found != self.thread {
            return Err(Illegal::WrongThread { expected: self.thread.clone(), found: found.clone() });
        }
        in_time(Some(self.deadline), now)?;
        in_time(incoming.message.expires(), now)
    }

    /// An answer within it.
    fn answer(&self, kind: MessageType, id: MessageId) -> Message {
        Message::new(kind, id).on_thread(self.thread.clone())
    }

    /// Its connection.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        self.channel
    }

    /// Its thread: the id of the message that began it.
    #[must_use]
    pub const fn thread(&self) -> &MessageId {
        &self.thread
    }

    /// Until when it must have ended.
    #[must_use]
    pub const fn deadline(&self) -> UnixMillis {
        self.deadline
    }
}

/// Why an exchange ended before its aim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Abandonment {
    /// Its deadline passed.
    TimedOut,
    /// The other side reported a problem.
    Reported(ProblemReport),
    /// This side would not go on.
    Declined,
}

/// The last instant is still in time.
fn in_time(until: Option<UnixMillis>, now: UnixMillis) -> Result<(), Illegal> {
    match until {
        Some(until) if now > until => Err(Illegal::Expired { until, now }),
        _ => Ok(()),
    }
}

/// Seals what a handshake sends.
///
/// # Errors
/// [`Illegal::WrongKey`] unless `key` is the one that the message is sent with; else the packing's.
pub fn seal(
    outgoing: &Outgoing,
    key: &SigningKey,
    rng: &mut impl crate::didcomm::CryptoRngCore,
) -> Result<Vec<u8>, SealError> {
    if key.verification_key() != outgoing.sender {
        return Err(SealError::WrongKey);
    }
    Ok(crate::didcomm::seal(&outgoing.message, &outgoing.target, key, rng)?)
}

/// Why a message of a handshake was not sealed.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// Another key than the one that it is sent with.
    #[error("another key than the one that the message is sent with")]
    WrongKey,
    /// Packing failed.
    #[error("packing")]
    Pack(#[from] crate::didcomm::PackError),
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::Value;

    /// The key of a seed.
    pub(crate) fn signing_key(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32])
    }

    /// We are 1, they are 2.
    pub(crate) fn channel() -> Channel {
        channel_of(1, 2)
    }

    pub(crate) fn channel_of(ours: u8, theirs: u8) -> Channel {
        Channel { ours: signing_key(ours).verification_key(), theirs: signing_key(theirs).verification_key() }
    }

    pub(crate) fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    pub(crate) fn id(text: &str) -> MessageId {
        MessageId::parse(text).unwrap()
    }

    /// A message as it comes over a connection.
    pub(crate) fn incoming(channel: Channel, message: Message) -> Incoming {
        Incoming { message, channel }
    }

    /// A message of JSON as it comes over our connection.
    pub(crate) fn came(value: &Value) -> Incoming {
        incoming(channel(), Message::parse(value.to_string().as_bytes()).unwrap())
    }

    /// What the other side sends: the same keys, seen from there.
    pub(crate) fn over(message: &Message) -> Incoming {
        incoming(channel(), Message::parse(&message.to_bytes()).unwrap())
    }

    /// Whether what became of a message `name` in a state is right, where the state takes those of `takes`.
    #[track_caller]
    pub(crate) fn judge<T>(result: Result<T, Illegal>, state: &str, name: &str, takes: &[&str]) {
        match result {
            Ok(_) => assert!(takes.contains(&name), "{state} takes {name}"),
            Err(Illegal::Unsupported { .. }) => assert_eq!(name, "foreign", "{state}"),
            Err(Illegal::OutOfOrder { .. }) => assert!(!takes.contains(&name), "{state} refuses {name}"),
            Err(other) => panic!("{state} {name}: {other}"),
        }
    }

    #[test]
    fn the_protocol_of_a_message_is_found_by_name_and_major_version() {
        let of = |text: &str| Family::of(&MessageType::parse(text).unwrap());
        for family in Family::ALL {
            assert_eq!(of(&format!("{}/x", family.uri())).unwrap(), family);
        }
        assert_eq!(of("https://didcomm.org/didexchange/1.7/request").unwrap(), Family::DidExchange);
        assert_eq!(of("https://didcomm.org/notification/1.0/problem-report").unwrap(), Family::ProblemReport);
        let old = of("did:sov:BzCbsNYhMrjHiqZDTUASHg;spec/basicmessage/1.0/message");
        assert_eq!(old.unwrap(), Family::BasicMessage);
        for other in [
            "https://didcomm.org/didexchange/1.0/request",
            "https://didcomm.org/didexchange/2.0/request",
            "https://didcomm.org/issue-credential/1.1/offer-credential",
            "https://didcomm.org/present-proof/3.0/presentation",
            "https://didcomm.org/connections/1.0/invitation",
            "https://other.example/present-proof/2.0/presentation",
        ] {
            assert!(matches!(of(other), Err(Illegal::Unsupported { .. })), "{other}");
        }
    }

    #[test]
    fn only_authenticated_messages_for_one_recipient_are_read() {
        let opened = |sender, recipients, plaintext: &[u8]| Opened {
            plaintext: plaintext.to_vec().into(),
            recipient: channel().ours,
            sender,
            recipients,
        };
        let message = br#"{"@type":"https://didcomm.org/a/1.0/b","@id":"1"}"#;
        let theirs = Some(channel().theirs);
        assert_eq!(Incoming::read(&opened(theirs, 1, message)).unwrap().channel(), channel());
        assert!(matches!(Incoming::read(&opened(None, 1, message)), Err(ReceiveError::Anonymous)));
        let shared = Incoming::read(&opened(theirs, 2, message));
        assert!(matches!(shared, Err(ReceiveError::Shared { recipients: 2 })));
        assert!(matches!(Incoming::read(&opened(theirs, 1, b"{}")), Err(ReceiveError::Message(_))));
    }
}
