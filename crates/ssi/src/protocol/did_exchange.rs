//! From an invitation to a connection: both sides learn an identifier of the other, and that its key is theirs.
//!
//! ```text
//! requester                                             responder
//!     start                                                Invited
//!       |  ------------------ request (did) -----------------> |  handle
//!   Requested                                              Requested
//!       |  <-- response (did, signed by the invitation's key) - |  respond
//!       |                                                  Responded
//!       |  ------------------- complete ---------------------> |  handle
//!   Completed                                              Completed
//!
//! any unfinished state --expire, problem report, decline--> Abandoned
//! ```
//! What is checked, beyond the order: the request names the invitation and comes from a key of its identifier; the
//! response comes from a key of its identifier, and that identifier is signed by the key of the invitation, always.
//! The responder may keep the invitation's identifier or name a new one. Identifiers carry their documents
//! (`did:peer:2`, `did:peer:4`) or are resolved by the caller; attached documents are not read.
//!
//! Other agents answer a bad request with silence: deadlines are part of the protocol.
//!
//! Source: Aries RFCs 0023 (version 1.1) and 0434.

use super::out_of_band::Invitation;
use super::problem_report::{self, ProblemReport};
use super::{Abandonment, Family, Illegal, Incoming, Outgoing, in_time};
use crate::did::{self, Did, DidError, Document, Endpoint, Target, VerificationKey};
use crate::didcomm::{Attachment, Channel, Message, MessageId, SigningKey};
use crate::protocol::content::optional_text;
use eroam_domain::time::UnixMillis;
use serde_json::Value;

/// Our identifier in a connection, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ours {
    did: Did,
    key: VerificationKey,
}

impl Ours {
    /// A new `did:peer:2` of this key.
    ///
    /// # Errors
    /// [`DidError::TooLong`].
    pub fn peer(
        key: VerificationKey,
        endpoint: &Endpoint,
        routing_keys: &[VerificationKey],
    ) -> Result<Self, DidError> {
        Ok(Self { did: did::peer2::create(&key, endpoint, routing_keys)?, key })
    }

    /// An identifier of ours with one of the keys of its document.
    ///
    /// # Errors
    /// [`Illegal::ForeignKey`] when the document does not have that key.
    pub fn of(document: &Document, key: VerificationKey) -> Result<Self, Illegal> {
        let did = document.id().clone();
        if document.has_key(&key) { Ok(Self { did, key }) } else { Err(Illegal::ForeignKey(did)) }
    }

    /// The identifier.
    #[must_use]
    pub const fn did(&self) -> &Did {
        &self.did
    }

    /// The key that messages are sent with, and that opens the answers.
    #[must_use]
    pub const fn key(&self) -> &VerificationKey {
        &self.key
    }
}

/// A connection: both sides have shown their keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connection {
    ours: Ours,
    theirs: Did,
    their_key: VerificationKey,
    target: Target,
    label: Option<String>,
    thread: MessageId,
}

impl Connection {
    /// A connection that was made before and kept: its parts, and the document of their identifier.
    ///
    /// # Errors
    /// [`Illegal::ForeignKey`] when the document does not have their key, [`Illegal::NoService`] when it leads nowhere.
    pub fn restore(
        ours: Ours,
        document: &Document,
        their_key: VerificationKey,
        label: Option<String>,
        thread: MessageId,
    ) -> Result<Self, Illegal> {
        let theirs = document.id().clone();
        if !document.has_key(&their_key) {
            return Err(Illegal::ForeignKey(theirs));
        }
        let target = document.target().cloned().ok_or_else(|| Illegal::NoService(theirs.clone()))?;
        Ok(Self { ours, theirs, their_key, target, label, thread })
    }

    /// Our identifier.
    #[must_use]
    pub const fn ours(&self) -> &Ours {
        &self.ours
    }

    /// Their identifier. That of `did:peer:4` is the long form.
    #[must_use]
    pub const fn theirs(&self) -> &Did {
        &self.theirs
    }

    /// Where messages for them go.
    #[must_use]
    pub const fn target(&self) -> &Target {
        &self.target
    }

    /// What they call themselves: their word alone.
    #[must_use]
    pub fn label(&self) -> Option<&str> {
        self.label.as_deref()
    }

    /// The thread of the exchange.
    #[must_use]
    pub const fn thread(&self) -> &MessageId {
        &self.thread
    }

    /// The keys that every message of the connection names.
    #[must_use]
    pub const fn channel(&self) -> Channel {
        Channel { ours: self.ours.key, theirs: self.their_key }
    }
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Seal it with the key that it names, and send it.
    Send(Box<Outgoing>),
    /// Somebody wants to connect: answer with [`Responder::respond`] or [`Responder::decline`].
    Requested {
        /// Their identifier.
        did: Did,
        /// What they call themselves: their word alone.
        label: Option<String>,
    },
    /// Keep the connection.
    Connected(Box<Connection>),
    /// Nothing more will come.
    Abandoned(Abandonment),
}

/// The side that was invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Requester {
    /// The request was sent.
    Requested {
        /// The thread: the request's id.
        request: MessageId,
        /// The invitation's id.
        invitation: MessageId,
        /// The key that must sign the response, and where the invitation led.
        inviter: Target,
        /// What the invitation calls the inviter.
        label: Option<String>,
        /// Our identifier.
        ours: Ours,
        /// Until when the response must be there.
        deadline: UnixMillis,
    },
    /// The connection is made.
    Completed(Box<Connection>),
    /// It is not.
    Abandoned(Abandonment),
}

/// The side that invited.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Responder {
    /// An invitation is out. Of an invitation for many this state is kept, and copied for each request.
    Invited {
        /// The invitation's id.
        invitation: MessageId,
        /// Its key.
        key: VerificationKey,
        /// Until when requests are taken.
        deadline: UnixMillis,
    },
    /// A request came.
    Requested {
        /// What was learned from it.
        request: Box<Request>,
        /// Until when the exchange must end.
        deadline: UnixMillis,
    },
    /// The response was sent.
    Responded {
        /// The connection that it will be.
        connection: Box<Connection>,
        /// The invitation's id.
        invitation: MessageId,
        /// Until when the exchange must end.
        deadline: UnixMillis,
    },
    /// The connection is made.
    Completed(Box<Connection>),
    /// It is not.
    Abandoned(Abandonment),
}

/// A request that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    thread: MessageId,
    invitation: MessageId,
    invitation_key: VerificationKey,
    did: Did,
    sender: VerificationKey,
    target: Target,
    label: Option<String>,
}

/// A message of the protocol.
enum Content {
    Request { did: Did, label: Option<String> },
    Response { did: Did, rotate: Attachment },
    Complete,
    Problem(ProblemReport),
}

impl Content {
    const fn name(&self) -> &'static str {
        match self {
            Self::Request { .. } => "request",
            Self::Response { .. } => "response",
            Self::Complete => "complete",
            Self::Problem(_) => "problem report",
        }
    }

    fn read(message: &Message) -> Result<Self, Illegal> {
        let family = Family::of(message.kind())?;
        if message.kind().is_problem_report()
            && [Family::DidExchange, Family::ProblemReport].contains(&family)
        {
            return Ok(Self::Problem(problem_report::read(message)?));
        }
        let did = || {
            let did = message.body().get("did").and_then(Value::as_str).ok_or(Illegal::Malformed("did"))?;
            Ok::<_, Illegal>(Did::parse(did)?)
        };
        match (family, message.kind().name()) {
            (Family::DidExchange, "request") => {
                Ok(Self::Request { did: did()?, label: optional_text(message, "label")? })
            }
            (Family::DidExchange, "response") => {
                let rotate =
                    message.body().get("did_rotate~attach").ok_or(Illegal::Malformed("did_rotate~attach"))?;
                Ok(Self::Response { did: did()?, rotate: Attachment::from_value(rotate)? })
            }
            (Family::DidExchange, "complete") => Ok(Self::Complete),
            _ => Err(Illegal::Unsupported { found: message.kind().clone() }),
        }
    }
}

impl Requester {
    /// Answers an invitation: sends a request with a new identifier of ours. `request` is its id.
    ///
    /// # Errors
    /// [`Illegal`] when the invitation offers no DID exchange, or leads nowhere.
    pub fn start(
        invitation: &Invitation,
        ours: Ours,
        label: &str,
        request: MessageId,
        deadline: UnixMillis,
        resolve: impl Fn(&Did) -> Result<Document, DidError>,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        if !invitation.offers_did_exchange() {
            return Err(Illegal::NotOffered("DID exchange that is spoken here"));
        }
        let inviter = invitation.target(resolve)?;
        let message = Message::new(Family::DidExchange.message("request"), request.clone())
            .on_thread(request.clone())
            .below_thread(invitation.id().clone())
            .with("label", label)
            .with("did", ours.did.as_str());
        let send = Outgoing { message, sender: ours.key, target: inviter.clone() };
        let invitation_id = invitation.id().clone();
        let label = invitation.label().map(str::to_owned);
        let state = Self::Requested { request, invitation: invitation_id, inviter, label, ours, deadline };
        Ok((state, vec![Effect::Send(Box::new(send))]))
    }

    /// Takes a message of this thread. `answer` is the id of what is sent then. `resolve` finds the document of their
    /// identifier.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn handle(
        &self,
        incoming: &Incoming,
        now: UnixMillis,
        answer: MessageId,
        resolve: impl Fn(&Did) -> Result<Document, DidError>,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let message = incoming.message();
        let content = Content::read(message)?;
        let Self::Requested { request, invitation, inviter, label, ours, deadline } = self else {
            return Err(Illegal::OutOfOrder { state: self.name(), event: content.name() });
        };
        of_exchange(incoming, &ours.key, request, invitation)?;
        in_time(Some(*deadline), now)?;
        in_time(message.expires(), now)?;
        match content {
            Content::Response { did, rotate } => {
                let (signed, signer) = rotate.verify()?;
                if signed != did.as_str().as_bytes() || signer != *inviter.recipient() {
                    return Err(Illegal::NotTheInviter(did));
                }
                let (document, target) = target_of(&did, &resolve)?;
                let their_key = incoming.channel().theirs;
                if !document.has_key(&their_key) {
                    return Err(Illegal::ForeignKey(did));
                }
                let complete = Message::new(Family::DidExchange.message("complete"), answer)
                    .on_thread(request.clone())
                    .below_thread(invitation.clone());
                let send = Outgoing { message: complete, sender: ours.key, target: target.clone() };
                let (ours, label, thread) = (ours.clone(), label.clone(), request.clone());
                let connection = Box::new(Connection { ours, theirs: did, their_key, target, label, thread });
                let effects = vec![Effect::Send(Box::new(send)), Effect::Connected(connection.clone())];
                Ok((Self::Completed(connection), effects))
            }
            Content::Problem(report) if incoming.channel().theirs == *inviter.recipient() => {
                let abandoned = Abandonment::Reported(report);
                Ok((Self::Abandoned(abandoned.clone()), vec![Effect::Abandoned(abandoned)]))
            }
            // Only who holds the invitation's key may end it.
            Content::Problem(_) => Err(Illegal::WrongConnection),
            other => Err(Illegal::OutOfOrder { state: self.name(), event: other.name() }),
        }
    }

    /// What time does: `None` while the state stays.
    #[must_use]
    pub fn expire(&self, now: UnixMillis) -> Option<(Self, Vec<Effect>)> {
        match self {
            Self::Requested { deadline, .. } if now > *deadline => {
                Some((Self::Abandoned(Abandonment::TimedOut), vec![Effect::Abandoned(Abandonment::TimedOut)]))
            }
            _ => None,
        }
    }

    /// Its state, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Requested { .. } => "requested",
            Self::Completed(_) => "completed",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

impl Responder {
    /// Waits for answers to an invitation that this side made, whose key is `key`.
    #[must_use]
    pub fn invited(invitation: &Invitation, key: VerificationKey, deadline: UnixMillis) -> Self {
        Self::Invited { invitation: invitation.id().clone(), key, deadline }
    }

    /// Takes a message. `resolve` finds the document of their identifier.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn handle(
        &self,
        incoming: &Incoming,
        now: UnixMillis,
        resolve: impl Fn(&Did) -> Result<Document, DidError>,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let message = incoming.message();
        let content = Content::read(message)?;
        let channel = incoming.channel();
        let out_of_order = |event| Err(Illegal::OutOfOrder { state: self.name(), event });
        match (self, content) {
            (Self::Invited { invitation, key, deadline }, Content::Request { did, label }) => {
                if channel.ours != *key {
                    return Err(Illegal::WrongConnection);
                }
                let parent = message.parent_thread().ok_or(Illegal::Malformed("pthid"))?;
                if parent != invitation || !message.begins_thread() {
                    return Err(Illegal::WrongThread { expected: invitation.clone(), found: parent.clone() });
                }
                in_time(Some(*deadline), now)?;
                in_time(message.expires(), now)?;
                let (document, target) = target_of(&did, &resolve)?;
                if !document.has_key(&channel.theirs) {
                    return Err(Illegal::ForeignKey(did));
                }
                let (thread, invitation) = (message.id().clone(), invitation.clone());
                let effect = Effect::Requested { did: did.clone(), label: label.clone() };
                let sender = channel.theirs;
                let request =
                    Request { thread, invitation, invitation_key: *key, did, sender, target, label };
                Ok((Self::Requested { request: Box::new(request), deadline: *deadline }, vec![effect]))
            }
            (Self::Responded { connection, invitation, deadline }, content) => {
                if channel != connection.channel() {
                    return Err(Illegal::WrongConnection);
                }
                of_exchange(incoming, &connection.ours.key, &connection.thread, invitation)?;
                in_time(Some(*deadline), now)?;
                in_time(message.expires(), now)?;
                match content {
                    Content::Complete => {
                        Ok((Self::Completed(connection.clone()), vec![Effect::Connected(connection.clone())]))
                    }
                    Content::Problem(report) => Ok(Self::abandoned(Abandonment::Reported(report))),
                    other => out_of_order(other.name()),
                }
            }
            (Self::Requested { request, deadline }, Content::Problem(report)) => {
                if channel != (Channel { ours: request.invitation_key, theirs: request.sender }) {
                    return Err(Illegal::WrongConnection);
                }
                of_exchange(incoming, &request.invitation_key, &request.thread, &request.invitation)?;
                in_time(Some(*deadline), now)?;
                Ok(Self::abandoned(Abandonment::Reported(report)))
            }
            (_, content) => out_of_order(content.name()),
        }
    }

    /// Answers a request with `ours`: the invitation's identifier, or a new one. `invitation_key` signs for it;
    /// `response` is the id of the message.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn respond(
        &self,
        ours: Ours,
        invitation_key: &SigningKey,
        response: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Requested { request, deadline } = self else {
            return Err(Illegal::OutOfOrder { state: self.name(), event: "respond" });
        };
        in_time(Some(*deadline), now)?;
        if invitation_key.verification_key() != request.invitation_key {
            return Err(Illegal::WrongKey);
        }
        let bytes = ours.did.as_str().as_bytes().to_vec();
        let rotate = Attachment::signed(response.clone(), "text/string", bytes, invitation_key);
        let message = Message::new(Family::DidExchange.message("response"), response)
            .on_thread(request.thread.clone())
            .below_thread(request.invitation.clone())
            .with("did", ours.did.as_str())
            .with("did_rotate~attach", rotate.to_value());
        let send = Outgoing { message, sender: ours.key, target: request.target.clone() };
        let Request { thread, invitation, did, sender, target, label, .. } = (**request).clone();
        let connection = Connection { ours, theirs: did, their_key: sender, target, label, thread };
        let state = Self::Responded { connection: Box::new(connection), invitation, deadline: *deadline };
        Ok((state, vec![Effect::Send(Box::new(send))]))
    }

    /// Refuses a request. `report` is the id of the message that says so.
    ///
    /// # Errors
    /// [`Illegal::OutOfOrder`] unless a request waits for its answer.
    pub fn decline(&self, report: MessageId) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Requested { request, .. } = self else {
            return Err(Illegal::OutOfOrder { state: self.name(), event: "decline" });
        };
        let kind = Family::DidExchange.message("problem_report");
        let message =
            problem_report::write(kind, report, &request.thread, "request_not_accepted", "Not accepted.")
                .below_thread(request.invitation.clone());
        let send = Outgoing { message, sender: request.invitation_key, target: request.target.clone() };
        let (state, mut effects) = Self::abandoned(Abandonment::Declined);
        effects.insert(0, Effect::Send(Box::new(send)));
        Ok((state, effects))
    }

    /// What time does: `None` while the state stays.
    #[must_use]
    pub fn expire(&self, now: UnixMillis) -> Option<(Self, Vec<Effect>)> {
        match self {
            Self::Invited { deadline, .. }
            | Self::Requested { deadline, .. }
            | Self::Responded { deadline, .. }
                if now > *deadline =>
            {
                Some(Self::abandoned(Abandonment::TimedOut))
            }
            _ => None,
        }
    }

    /// Its state, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Invited { .. } => "invited",
            Self::Requested { .. } => "requested",
            Self::Responded { .. } => "responded",
            Self::Completed(_) => "completed",
            Self::Abandoned(_) => "abandoned",
        }
    }

    fn abandoned(why: Abandonment) -> (Self, Vec<Effect>) {
        (Self::Abandoned(why.clone()), vec![Effect::Abandoned(why)])
    }
}

/// Whether a message was sent to our key, on the thread of the request, and names no other invitation.
fn of_exchange(
    incoming: &Incoming,
    ours: &VerificationKey,
    request: &MessageId,
    invitation: &MessageId,
) -> Result<(), Illegal> {
    if incoming.channel().ours != *ours {
        return Err(Illegal::WrongConnection);
    }
    let wrong = |expected: &MessageId, found: &MessageId| Illegal::WrongThread {
        expected: expected.clone(),
        found: found.clone(),
    };
    let thread = incoming.message().thread();
    if thread != request {
        return Err(wrong(request, thread));
    }
    match incoming.message().parent_thread() {
        Some(parent) if parent != invitation => Err(wrong(invitation, parent)),
        _ => Ok(()),
    }
}

/// The document of an identifier, and where its envelopes go.
pub(super) fn target_of(
    did: &Did,
    resolve: &impl Fn(&Did) -> Result<Document, DidError>,
) -> Result<(Document, Target), Illegal> {
    let document = resolve(did)?;
    let target = document.target().cloned().ok_or_else(|| Illegal::NoService(did.clone()))?;
    Ok((document, target))
}

#[cfg(test)]
mod tests {
    use super::super::out_of_band::InvitationService;
    use super::super::tests::{at, channel_of, id, incoming, signing_key};
    use super::*;
    use crate::did::resolve;
    use serde_json::json;

    /// Seeds of the keys: the invitation's, the responder's new one, the requester's.
    const INVITER: u8 = 11;
    const RESPONDER: u8 = 12;
    const REQUESTER: u8 = 13;

    fn ours(seed: u8) -> Ours {
        let endpoint = Endpoint::parse(&format!("https://agent-{seed}.example/")).unwrap();
        Ours::peer(signing_key(seed).verification_key(), &endpoint, &[]).unwrap()
    }

    fn invitation() -> Invitation {
        Invitation::new(
            id("invitation"),
            Some("station"),
            InvitationService::Did(ours(INVITER).did().clone()),
        )
    }

    fn requester() -> (Requester, Message) {
        let (state, effects) =
            Requester::start(&invitation(), ours(REQUESTER), "wallet", id("request"), at(100), resolve)
                .unwrap();
        (state, sent(&effects).message.clone())
    }

    fn invited() -> Responder {
        Responder::invited(&invitation(), signing_key(INVITER).verification_key(), at(100))
    }

    /// The responder after the request, and after its response.
    fn responders(answering: u8) -> (Responder, Responder, Message) {
        let request = incoming(channel_of(INVITER, REQUESTER), requester().1);
        let (requested, effects) = invited().handle(&request, at(1), resolve).unwrap();
        assert!(matches!(&effects[..], [Effect::Requested { label: Some(label), .. }] if label == "wallet"));
        let (responded, effects) =
            requested.respond(ours(answering), &signing_key(INVITER), id("response"), at(2)).unwrap();
        (requested, responded, sent(&effects).message.clone())
    }

    fn sent(effects: &[Effect]) -> &Outgoing {
        effects
            .iter()
            .find_map(|effect| if let Effect::Send(send) = effect { Some(send) } else { None })
            .unwrap()
    }

    fn complete() -> Message {
        Message::new(Family::DidExchange.message("complete"), id("complete"))
            .on_thread(id("request"))
            .below_thread(id("invitation"))
    }

    fn problem() -> Message {
        problem_report::write(
            Family::DidExchange.message("problem_report"),
            id("problem"),
            &id("request"),
            "no",
            "no",
        )
    }

    #[test]
    fn a_connection_is_made_with_a_new_identifier_or_the_invitations() {
        for answering in [RESPONDER, INVITER] {
            let (state, _) = requester();
            let (_, responded, response) = responders(answering);
            let response = incoming(channel_of(REQUESTER, answering), response);
            let (completed, effects) = state.handle(&response, at(3), id("complete"), resolve).unwrap();
            let send = sent(&effects);
            assert_eq!(send.message, complete());
            assert_eq!(send.target.endpoint().as_str(), format!("https://agent-{answering}.example/"));
            let (Requester::Completed(mine), [_, Effect::Connected(told)]) = (completed, &effects[..]) else {
                panic!()
            };
            assert_eq!((mine.channel(), mine.label()), (channel_of(REQUESTER, answering), Some("station")));
            assert_eq!(mine, *told);
            let document = resolve(mine.theirs()).unwrap();
            let (label, thread) = (mine.label().map(str::to_owned), mine.thread().clone());
            let restore = |key: u8| {
                let key = signing_key(key).verification_key();
                Connection::restore(mine.ours().clone(), &document, key, label.clone(), thread.clone())
            };
            assert_eq!(restore(answering).unwrap(), *mine);
            assert!(matches!(restore(40), Err(Illegal::ForeignKey(_))));
            let complete = incoming(channel_of(answering, REQUESTER), complete());
            let (completed, effects) = responded.handle(&complete, at(4), resolve).unwrap();
            let Responder::Completed(theirs) = completed else { panic!() };
            assert_eq!(theirs.channel(), channel_of(answering, REQUESTER));
            assert_eq!(theirs.theirs(), mine.ours().did());
            assert!(matches!(&effects[..], [Effect::Connected(_)]));
        }
    }

    #[test]
    fn a_requester_with_a_did_peer_4_is_taken() {
        let key = signing_key(REQUESTER).verification_key().to_multikey();
        let document = json!({"verificationMethod": [{"id": "#key-0", "type": "Multikey", "publicKeyMultibase": key}],
            "service": [{"id": "#s", "type": "did-communication", "recipientKeys": ["#key-0"],
                "serviceEndpoint": "http://127.0.0.1:9002"}]});
        let did = did::peer4::create(&document).unwrap();
        let request = requester().1.with("did", did.as_str());
        let request = incoming(channel_of(INVITER, REQUESTER), request);
        let (state, _) = invited().handle(&request, at(1), resolve).unwrap();
        let (_, effects) = state.respond(ours(RESPONDER), &signing_key(INVITER), id("r"), at(2)).unwrap();
        assert_eq!(sent(&effects).target.endpoint().as_str(), "http://127.0.0.1:9002");
    }

    /// Every message in every state: only those named are taken.
    #[test]
    fn illegal_moves_are_refused() {
        let messages = |answering: u8| {
            let request = requester().1;
            let (_, _, response) = responders(answering);
            let foreign = Message::new(Family::PresentProof.message("ack"), id("x")).on_thread(id("request"));
            [
                ("request", request),
                ("response", response),
                ("complete", complete()),
                ("problem", problem()),
                ("foreign", foreign),
            ]
        };
        let (requested, _) = requester();
        let response = incoming(channel_of(REQUESTER, INVITER), responders(INVITER).2);
        let completed = requested.handle(&response, at(3), id("c"), resolve).unwrap().0;
        let states = [
            (requested, &["response", "problem"][..]),
            (completed, &[]),
            (Requester::Abandoned(Abandonment::TimedOut), &[]),
        ];
        for (state, allowed) in states {
            for (name, message) in messages(INVITER) {
                let result =
                    state.handle(&incoming(channel_of(REQUESTER, INVITER), message), at(3), id("c"), resolve);
                match result {
                    Ok(_) => assert!(allowed.contains(&name), "{} takes {name}", state.name()),
                    Err(Illegal::Unsupported { .. }) => assert_eq!(name, "foreign"),
                    Err(Illegal::OutOfOrder { .. }) => {
                        assert!(!allowed.contains(&name), "{} {name}", state.name())
                    }
                    Err(other) => panic!("{} {name}: {other}", state.name()),
                }
            }
        }
        let (requested, responded, _) = responders(INVITER);
        let completed = responded
            .handle(&incoming(channel_of(INVITER, REQUESTER), complete()), at(3), resolve)
            .unwrap()
            .0;
        let states = [
            (invited(), &["request"][..]),
            (requested, &["problem"]),
            (responded, &["complete", "problem"]),
            (completed, &[]),
            (Responder::Abandoned(Abandonment::Declined), &[]),
        ];
        for (state, allowed) in states {
            for (name, message) in messages(INVITER) {
                let result = state.handle(&incoming(channel_of(INVITER, REQUESTER), message), at(3), resolve);
                match result {
                    Ok(_) => assert!(allowed.contains(&name), "{} takes {name}", state.name()),
                    Err(Illegal::Unsupported { .. }) => assert_eq!(name, "foreign"),
                    Err(Illegal::OutOfOrder { .. }) => {
                        assert!(!allowed.contains(&name), "{} {name}", state.name())
                    }
                    Err(other) => panic!("{} {name}: {other}", state.name()),
                }
            }
            let commands = [
                state.respond(ours(RESPONDER), &signing_key(INVITER), id("r"), at(3)).is_ok(),
                state.decline(id("r")).is_ok(),
            ];
            assert_eq!(commands, [state.name() == "requested"; 2], "{}", state.name());
        }
    }

    #[test]
    fn a_response_must_be_signed_by_the_invitations_key_and_sent_by_its_own() {
        let (state, _) = requester();
        let (_, _, response) = responders(RESPONDER);
        let handle = |message: &Message, from: u8, to: u8| {
            state
                .handle(&incoming(channel_of(to, from), message.clone()), at(3), id("c"), resolve)
                .unwrap_err()
        };
        let signed = |did: &Ours, by: u8| {
            let bytes = did.did().as_str().as_bytes().to_vec();
            Attachment::signed(id("a"), "text/string", bytes, &signing_key(by)).to_value()
        };
        let with = |name: &str, value: Value| response.clone().with(name, value);
        let rotate = "did_rotate~attach";
        let by_another = handle(&with(rotate, signed(&ours(RESPONDER), RESPONDER)), RESPONDER, REQUESTER);
        assert!(matches!(by_another, Illegal::NotTheInviter(_)));
        let for_another = handle(&with(rotate, signed(&ours(INVITER), INVITER)), RESPONDER, REQUESTER);
        assert!(matches!(for_another, Illegal::NotTheInviter(_)));
        let other_did = handle(&with("did", json!(ours(40).did().as_str())), 40, REQUESTER);
        assert!(matches!(other_did, Illegal::NotTheInviter(_)));
        assert!(matches!(handle(&response, INVITER, REQUESTER), Illegal::ForeignKey(_)));
        assert!(matches!(handle(&response, RESPONDER, 40), Illegal::WrongConnection));
        let mut unsigned = response.to_value();
        unsigned.as_object_mut().unwrap().remove(rotate);
        let unsigned = Message::from_value(unsigned).unwrap();
        assert!(matches!(handle(&unsigned, RESPONDER, REQUESTER), Illegal::Malformed("did_rotate~attach")));
        let plain = Attachment::bytes(id("a"), "text/string", b"x".to_vec()).to_value();
        assert!(matches!(handle(&with(rotate, plain), RESPONDER, REQUESTER), Illegal::Attachment(_)));
        let other_thread = response.clone().on_thread(id("other"));
        assert!(matches!(handle(&other_thread, RESPONDER, REQUESTER), Illegal::WrongThread { .. }));
        let other_invitation = response.clone().below_thread(id("other"));
        assert!(matches!(handle(&other_invitation, RESPONDER, REQUESTER), Illegal::WrongThread { .. }));
        assert!(matches!(handle(&problem(), 40, REQUESTER), Illegal::WrongConnection));
        let web = with("did", json!("did:web:a")).with(rotate, {
            Attachment::signed(id("a"), "text/string", b"did:web:a".to_vec(), &signing_key(INVITER))
                .to_value()
        });
        assert!(matches!(handle(&web, RESPONDER, REQUESTER), Illegal::Did(_)));
    }

    #[test]
    fn a_request_must_answer_the_invitation_and_be_sent_by_its_own_key() {
        let request = requester().1;
        let handle = |message: Message, from: u8, to: u8| {
            invited().handle(&incoming(channel_of(to, from), message), at(1), resolve).unwrap_err()
        };
        assert!(matches!(handle(request.clone(), 40, INVITER), Illegal::ForeignKey(_)));
        assert!(matches!(handle(request.clone(), REQUESTER, 40), Illegal::WrongConnection));
        let other = request.clone().below_thread(id("other"));
        assert!(matches!(handle(other, REQUESTER, INVITER), Illegal::WrongThread { .. }));
        let orphan =
            Message::new(request.kind().clone(), id("request")).with("did", request.body()["did"].clone());
        assert!(matches!(handle(orphan, REQUESTER, INVITER), Illegal::Malformed("pthid")));
        assert!(matches!(
            handle(request.clone().with("did", 1), REQUESTER, INVITER),
            Illegal::Malformed("did")
        ));
        let no_service = signing_key(REQUESTER).verification_key().to_did_key();
        let nowhere = request.clone().with("did", no_service.as_str());
        assert!(matches!(handle(nowhere, REQUESTER, INVITER), Illegal::NoService(_)));
        assert!(matches!(handle(request.expiring(at(0)), REQUESTER, INVITER), Illegal::Expired { .. }));
        let (requested, responded, _) = responders(RESPONDER);
        let wrong_key = requested.respond(ours(RESPONDER), &signing_key(RESPONDER), id("r"), at(2));
        assert!(matches!(wrong_key, Err(Illegal::WrongKey)));
        let stranger = responded.handle(&incoming(channel_of(RESPONDER, 40), complete()), at(3), resolve);
        assert!(matches!(stranger, Err(Illegal::WrongConnection)));
    }

    #[test]
    fn what_nobody_ends_is_ended_by_time() {
        let (state, _) = requester();
        let (requested, responded, response) = responders(RESPONDER);
        assert!(state.expire(at(100)).is_none());
        let late = incoming(channel_of(REQUESTER, RESPONDER), response);
        let refused = state.handle(&late, at(101), id("c"), resolve);
        assert!(matches!(refused, Err(Illegal::Expired { .. })));
        let (ended, effects) = state.expire(at(101)).unwrap();
        assert_eq!((ended.name(), effects), ("abandoned", vec![Effect::Abandoned(Abandonment::TimedOut)]));
        assert!(ended.expire(at(102)).is_none());
        for state in [invited(), requested, responded] {
            assert!(state.expire(at(100)).is_none());
            assert_eq!(state.expire(at(101)).unwrap().0, Responder::Abandoned(Abandonment::TimedOut));
        }
    }

    #[test]
    fn an_invitation_without_a_did_exchange_is_not_answered() {
        let mut message = invitation().to_message().to_value();
        message["handshake_protocols"] = json!(["https://didcomm.org/connections/1.0"]);
        let invitation = Invitation::parse(message.to_string().as_bytes()).unwrap();
        let started = Requester::start(&invitation, ours(REQUESTER), "w", id("r"), at(1), resolve);
        assert!(matches!(started, Err(Illegal::NotOffered(_))));
    }
}
