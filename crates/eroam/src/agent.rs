//! An agent of one organisation or device on the network: an inbox for DIDComm envelopes over HTTP, and a way to send.
//!
//! What a message may do is decided by the state machines of [`eroam_ssi::protocol`]; here envelopes are opened, replays
//! are dropped, questions about what is spoken are answered, and unknown protocols are refused with a problem report.
//! Everything else waits for whoever asks with [`Agent::receive`].
//!
//! ```text
//! HTTP POST -> open with one of our keys -> authenticated? -> seen before? -> known protocol? -> waits for its taker
//! ```
//! An envelope is answered 202 as soon as it is opened; what becomes of its message is said by messages. Its methods
//! wait, so they must not be called from a thread of an asynchronous runtime.
//!
//! What it deliberately does not do: decide which hosts an endpoint may name. A process that must not be led to
//! addresses inside its own network has to run behind a proxy that refuses them.
//!
//! Source: Aries RFC 0025 (HTTP transport).

mod inbox;
pub mod kept;
mod mail;
pub mod reach;

use crate::clock::{in_time, now};
use crate::http_client::answered_within;
use crate::server::ServeError;
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::time::UnixMillis;
use eroam_ssi::did::{self, Did, DidError, Document, Endpoint, VerificationKey};
use eroam_ssi::didcomm::envelope::PackError;
use eroam_ssi::didcomm::{MEDIA_TYPE, Message, MessageId, OsRng, SigningKey, seal};
use eroam_ssi::protocol::did_exchange::{self, Connection, Ours, Requester, Responder};
use eroam_ssi::protocol::out_of_band::{Invitation, InvitationService};
use eroam_ssi::protocol::{
    self, Family, Illegal, Incoming, Outgoing, SealError, discover_features, problem_report,
};
use inbox::{Inbox, Shared};
use reach::Reach;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long an agent waits for another's HTTP server at most.
const SEND_WITHIN: Duration = Duration::from_secs(20);
/// So long an agent waits for a step of another, if nothing else is said.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// What went wrong between two agents.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// The inbox cannot listen.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// Nothing came in time.
    #[error("no {wanted} came within {} s", .within.as_secs())]
    Silence {
        /// What was waited for.
        wanted: String,
        /// How long.
        within: Duration,
    },
    /// The inbox has stopped.
    #[error("the agent's inbox has stopped")]
    Stopped,
    /// The message cannot be sent.
    #[error("the agent at {endpoint} cannot be reached, or does not take the message: {reason}")]
    Unreachable {
        /// Where it was sent.
        endpoint: String,
        /// What the transport said.
        reason: String,
    },
    /// The message cannot be sealed.
    #[error("the message cannot be sealed")]
    Pack(#[from] PackError),
    /// The message of a handshake cannot be sealed.
    #[error("the message cannot be sealed")]
    Seal(#[from] SealError),
    /// A message or a step that the protocol does not allow.
    #[error(transparent)]
    Illegal(#[from] Illegal),
    /// Our own identifier cannot be made.
    #[error("no identifier can be made for the endpoint")]
    Did(#[from] DidError),
    /// The other side ended the exchange.
    #[error("the other side ended it: {0}")]
    Abandoned(String),
    /// The key is not one of ours.
    #[error("the connection's key is not one of this agent's")]
    ForeignKey,
    /// What was kept is no connection or invitation of an agent.
    #[error("a connection or an invitation that was kept cannot be used: {0}")]
    Kept(String),
}

/// The keys of an agent, by their public half.
type Keys = HashMap<VerificationKey, Arc<SigningKey>>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the agents of this process have sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Presentations that were shown.
    pub presentations: u64,
    /// Credentials that were issued.
    pub credentials: u64,
    /// Messages besides handshakes, credentials and what belongs to presentations.
    pub others: u64,
    /// All messages.
    pub all: u64,
    /// How long all of them took to be sealed and taken by the other side.
    pub sending: Duration,
    /// How long presentations took, from the request to the last byte, as who asked saw it.
    pub presenting: Duration,
}

/// Counters behind [`traffic`]: of the process, since agents come and go.
#[derive(Default)]
struct Counters {
    presentations: AtomicU64,
    credentials: AtomicU64,
    others: AtomicU64,
    all: AtomicU64,
    sending_us: AtomicU64,
    presenting_us: AtomicU64,
}

static COUNTERS: Counters = Counters {
    presentations: AtomicU64::new(0),
    credentials: AtomicU64::new(0),
    others: AtomicU64::new(0),
    all: AtomicU64::new(0),
    sending_us: AtomicU64::new(0),
    presenting_us: AtomicU64::new(0),
};

fn add(counter: &AtomicU64, duration: Duration) {
    counter.fetch_add(u64::try_from(duration.as_micros()).unwrap_or(0), Ordering::Relaxed);
}

/// What the agents of this process have sent so far.
#[must_use]
pub fn traffic() -> Traffic {
    let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    Traffic {
        presentations: get(&COUNTERS.presentations),
        credentials: get(&COUNTERS.credentials),
        others: get(&COUNTERS.others),
        all: get(&COUNTERS.all),
        sending: Duration::from_micros(get(&COUNTERS.sending_us)),
        presenting: Duration::from_micros(get(&COUNTERS.presenting_us)),
    }
}

/// Counts a credential that was issued.
pub fn count_credential() {
    COUNTERS.credentials.fetch_add(1, Ordering::Relaxed);
}

/// Counts a presentation that was asked for and came within `took`.
pub fn count_presentation(took: Duration) {
    COUNTERS.presentations.fetch_add(1, Ordering::Relaxed);
    add(&COUNTERS.presenting_us, took);
}

impl Traffic {
    /// What was sent since `before`.
    #[must_use]
    pub const fn since(&self, before: &Self) -> Self {
        Self {
            presentations: self.presentations.saturating_sub(before.presentations),
            credentials: self.credentials.saturating_sub(before.credentials),
            others: self.others.saturating_sub(before.others),
            all: self.all.saturating_sub(before.all),
            sending: self.sending.saturating_sub(before.sending),
            presenting: self.presenting.saturating_sub(before.presenting),
        }
    }

    /// How long a message took.
    #[must_use]
    pub fn mean_message(&self) -> Duration {
        u32::try_from(self.all).ok().and_then(|all| self.sending.checked_div(all)).unwrap_or_default()
    }
}

/// An agent that listens. Dropping it closes its inbox.
pub struct Agent {
    label: String,
    endpoint: Endpoint,
    shared: Arc<Shared>,
    /// Closed when this is dropped.
    inbox: Inbox,
    /// Protocols that its user speaks besides those of [`Family`], as `https://…/charging/1.0`.
    own: Vec<String>,
    http: ureq::Agent,
    /// So long the other side may take for a step.
    patience: Duration,
}

impl Agent {
    /// Listens on `address` (port 0: any that is free) and is reached there. `label` is what it calls itself.
    ///
    /// # Errors
    /// [`AgentError::Serve`].
    pub fn start(label: &str, address: SocketAddr) -> Result<Self, AgentError> {
        Self::start_reached(label, &address.into())
    }

    /// As [`Agent::start`], where others may reach it elsewhere than where it listens.
    ///
    /// # Errors
    /// [`AgentError::Serve`].
    pub fn start_reached(label: &str, reach: &Reach) -> Result<Self, AgentError> {
        let shared = Arc::new(Shared::default());
        let inbox = Inbox::start(reach.listen(), &shared)?;
        let (http, patience) = (sending_within(SEND_WITHIN), PATIENCE);
        let endpoint = reach.endpoint(inbox.address()).ok_or(AgentError::Stopped)?;
        Ok(Self { label: label.to_owned(), endpoint, shared, inbox, own: Vec::new(), http, patience })
    }

    /// Waits for a step of another no longer than so.
    #[must_use]
    pub fn patient_for(self, patience: Duration) -> Self {
        Self { http: sending_within(patience.min(SEND_WITHIN)), patience, ..self }
    }

    /// So long the other side may take for a step.
    #[must_use]
    pub const fn patience(&self) -> Duration {
        self.patience
    }

    /// Lets messages of a protocol through that is not one of [`Family`]: its URI up to the version.
    #[must_use]
    pub fn speaking(mut self, protocol: &str) -> Self {
        self.own.push(protocol.to_owned());
        self
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.inbox.address()
    }

    /// Where others send to.
    #[must_use]
    pub const fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// A new key and its `did:peer:2`, for one connection.
    ///
    /// # Errors
    /// [`AgentError::Did`].
    pub fn new_identity(&self) -> Result<Ours, AgentError> {
        let key = SigningKey::generate(&mut OsRng);
        let ours = Ours::peer(key.verification_key(), &self.endpoint, &[])?;
        lock(&self.shared.keys).insert(key.verification_key(), Arc::new(key));
        Ok(ours)
    }

    /// How many keys it answers to: those of invitations that are out and of connections that have not ended.
    #[must_use]
    pub fn identities(&self) -> usize {
        lock(&self.shared.keys).len()
    }

    fn key(&self, public: &VerificationKey) -> Result<Arc<SigningKey>, AgentError> {
        lock(&self.shared.keys).get(public).cloned().ok_or(AgentError::ForeignKey)
    }

    /// An invitation with a key of its own, and the state that waits for its requests until `deadline`.
    ///
    /// # Errors
    /// [`AgentError::Did`].
    pub fn invite(&self, deadline: UnixMillis) -> Result<(Invitation, Responder), AgentError> {
        let ours = self.new_identity()?;
        let service = InvitationService::Did(ours.did().clone());
        let invitation = Invitation::new(new_id(), Some(&self.label), service);
        let responder = Responder::invited(&invitation, *ours.key(), deadline);
        Ok((invitation, responder))
    }

    /// Waits for somebody who was invited, under a new identity of ours.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn accept(
        &self,
        invitation: &Invitation,
        invited: &Responder,
        within: Duration,
    ) -> Result<Connection, AgentError> {
        let request = self.knocked(invitation, invited, within)?;
        self.let_in(invited, &request, within)
    }

    /// Waits until somebody who was invited asks to connect. Whoever expects many lets each in from a thread of its own, so
    /// that nobody waits for one who asks and then is silent.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn knocked(
        &self,
        invitation: &Invitation,
        invited: &Responder,
        within: Duration,
    ) -> Result<Incoming, AgentError> {
        let Responder::Invited { key, .. } = invited else {
            return Err(Illegal::OutOfOrder { state: invited.name(), event: "accept" }.into());
        };
        self.receive("request to connect", within, |incoming| {
            incoming.channel().ours == *key
                && incoming.message().kind().name() == "request"
                && incoming.message().parent_thread() == Some(invitation.id())
        })
    }

    /// Answers a request to connect, under a new identity of ours, and waits until the connection is made.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn let_in(
        &self,
        invited: &Responder,
        request: &Incoming,
        within: Duration,
    ) -> Result<Connection, AgentError> {
        let Responder::Invited { key, .. } = invited else {
            return Err(Illegal::OutOfOrder { state: invited.name(), event: "accept" }.into());
        };
        let (requested, _) = self.answering(request, invited.handle(request, now(), did::resolve))?;
        let ours = self.new_identity()?;
        let mine = *ours.key();
        self.unless_it_fails(mine, || {
            let (responded, effects) = requested.respond(ours, &*self.key(key)?, new_id(), now())?;
            self.handshake(&effects)?;
            let thread = request.message().thread().clone();
            let complete = self.receive("end of the connecting", within, |incoming| {
                incoming.message().thread() == &thread && incoming.message().kind().name() != "request"
            })?;
            let handled = responded.handle(&complete, now(), did::resolve);
            let (completed, _) = self.answering(&complete, handled)?;
            match completed {
                Responder::Completed(connection) => Ok(self.known(*connection)),
                other => Err(AgentError::Abandoned(other.name().to_owned())),
            }
        })
    }

    /// Forgets a key that was made for a connection which did not come about.
    fn unless_it_fails(
        &self,
        key: VerificationKey,
        connect: impl FnOnce() -> Result<Connection, AgentError>,
    ) -> Result<Connection, AgentError> {
        let connected = connect();
        if connected.is_err() {
            lock(&self.shared.keys).remove(&key);
        }
        connected
    }

    /// Ends an invitation on this side: its key is gone, and who still answers it is refused.
    pub fn end_invitation(&self, invited: &Responder) {
        if let Responder::Invited { key, .. } = invited {
            lock(&self.shared.keys).remove(key);
        }
    }

    /// Ends a connection on this side: its key, and what has come and nobody took, are gone, and what still comes is
    /// refused. Whoever talks to many once has to, or what they said too late fills the inbox.
    pub fn forget(&self, connection: &Connection) {
        let channel = connection.channel();
        lock(&self.shared.connections).remove(&channel);
        lock(&self.shared.keys).remove(&channel.ours);
        self.shared.forget(&channel);
    }

    /// Takes no more mail: whoever sends learns at once that nobody is there, and whoever waits here waits no longer.
    pub fn close(&self) {
        self.shared.close(true);
    }

    /// Takes mail again.
    pub fn open(&self) {
        self.shared.close(false);
    }

    /// Answers an invitation, under a new identity of ours, and waits until the connection is made.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn connect(&self, invitation: &Invitation, within: Duration) -> Result<Connection, AgentError> {
        let (ours, deadline) = (self.new_identity()?, in_time(within));
        let mine = *ours.key();
        self.unless_it_fails(mine, || {
            let (requester, effects) =
                Requester::start(invitation, ours, &self.label, new_id(), deadline, did::resolve)?;
            let Requester::Requested { request, .. } = &requester else { return Err(AgentError::Stopped) };
            self.handshake(&effects)?;
            let response = self.receive("answer to the request to connect", within, |incoming| {
                incoming.message().thread() == request
            })?;
            let handled = requester.handle(&response, now(), new_id(), did::resolve);
            let (completed, effects) = self.answering(&response, handled)?;
            self.handshake(&effects)?;
            match completed {
                Requester::Completed(connection) => Ok(self.known(*connection)),
                other => Err(AgentError::Abandoned(other.name().to_owned())),
            }
        })
    }

    fn known(&self, connection: Connection) -> Connection {
        lock(&self.shared.connections).insert(connection.channel(), connection.clone());
        connection
    }

    /// Sends what a handshake wants to send.
    fn handshake(&self, effects: &[did_exchange::Effect]) -> Result<(), AgentError> {
        for effect in effects {
            if let did_exchange::Effect::Send(outgoing) = effect {
                self.send_outgoing(outgoing)?;
            }
        }
        Ok(())
    }

    fn send_outgoing(&self, outgoing: &Outgoing) -> Result<(), AgentError> {
        let key = self.key(&outgoing.sender)?;
        let envelope = protocol::seal(outgoing, &key, &mut OsRng)?;
        self.post(outgoing.target.endpoint(), &envelope)
    }

    /// Sends a message over a connection.
    ///
    /// # Errors
    /// [`AgentError`].
    pub fn send(&self, connection: &Connection, message: &Message) -> Result<(), AgentError> {
        let begun = Instant::now();
        let key = self.key(connection.ours().key())?;
        let envelope = seal(message, connection.target(), &key, &mut OsRng)?;
        self.post(connection.target().endpoint(), &envelope)?;
        add(&COUNTERS.sending_us, begun.elapsed());
        COUNTERS.all.fetch_add(1, Ordering::Relaxed);
        let of_credentials =
            matches!(Family::of(message.kind()), Ok(Family::PresentProof | Family::IssueCredential));
        if !of_credentials {
            COUNTERS.others.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Signs with our key of a connection.
    ///
    /// # Errors
    /// [`AgentError::ForeignKey`].
    pub fn sign(&self, connection: &Connection, digest: &Digest) -> Result<SignatureBytes, AgentError> {
        Ok(SignatureBytes(self.key(connection.ours().key())?.sign(&digest.0)))
    }

    fn post(&self, endpoint: &Endpoint, envelope: &[u8]) -> Result<(), AgentError> {
        let sent = self.http.post(endpoint.as_str()).header("Content-Type", MEDIA_TYPE).send(envelope);
        let unreachable = |error: ureq::Error| AgentError::Unreachable {
            endpoint: endpoint.as_str().to_owned(),
            reason: error.to_string(),
        };
        sent.map(drop).map_err(unreachable)
    }

    /// The next message that `wanted` takes; others stay and wait for theirs. `what` it is, for the error. Several threads
    /// may wait, each for its own.
    ///
    /// # Errors
    /// [`AgentError::Silence`].
    pub fn receive(
        &self,
        what: &str,
        within: Duration,
        wanted: impl Fn(&Incoming) -> bool,
    ) -> Result<Incoming, AgentError> {
        let until = Instant::now() + within;
        let mut mail = self.shared.mail();
        loop {
            while let Some(letter) = mail.next_new() {
                drop(mail);
                let is_kept = self.admit(letter.incoming());
                mail = self.shared.mail();
                if is_kept {
                    mail.keep(letter);
                    self.shared.notify();
                }
            }
            if let Some(taken) = mail.take(&wanted) {
                return Ok(taken);
            }
            if self.shared.is_closed() {
                return Err(AgentError::Stopped);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(AgentError::Silence { wanted: what.to_owned(), within });
            }
            mail = self.shared.wait(mail, left);
        }
    }

    /// Answers what everybody answers; says whether it is for somebody else.
    fn admit(&self, incoming: &Incoming) -> bool {
        let kind = incoming.message().kind();
        let is_own = self.own.iter().any(|uri| kind.to_string().starts_with(&format!("{uri}/")));
        let answer = match Family::of(kind) {
            _ if is_own => None,
            Err(illegal) => Some(problem_report::answer(incoming, &illegal, new_id())),
            Ok(Family::DiscoverFeatures | Family::DiscoverFeaturesOld) if kind.name().starts_with("quer") => {
                let own: Vec<&str> = self.own.iter().map(String::as_str).collect();
                Some(discover_features::answer(incoming, &own, new_id()).ok())
            }
            Ok(_) => None,
        };
        let Some(answer) = answer else { return true };
        let connection = lock(&self.shared.connections).get(&incoming.channel()).cloned();
        match (answer, connection) {
            (Some(message), Some(connection)) => {
                if let Err(error) = self.send(&connection, &message) {
                    tracing::debug!(%error, "agent.answer");
                }
            }
            (Some(message), None) => self.reply(incoming, &message),
            (None, _) => {}
        }
        false
    }

    /// The next message of a connection, on a thread if one is named.
    ///
    /// # Errors
    /// As [`Self::receive`].
    pub fn receive_from(
        &self,
        connection: &Connection,
        thread: Option<&MessageId>,
        within: Duration,
    ) -> Result<Incoming, AgentError> {
        self.receive("message of the connection", within, |incoming| {
            incoming.channel() == connection.channel()
                && thread.is_none_or(|thread| incoming.message().thread() == thread)
        })
    }

    /// Passes on what a state machine made of a message; tells the other side if it made nothing of it.
    fn answering<T>(&self, incoming: &Incoming, handled: Result<T, Illegal>) -> Result<T, AgentError> {
        if let Err(illegal) = &handled
            && let Some(report) = problem_report::answer(incoming, illegal, new_id())
        {
            self.reply(incoming, &report);
        }
        Ok(handled?)
    }

    /// Answers somebody who has no connection yet, if their key says where they are. Best effort.
    fn reply(&self, incoming: &Incoming, message: &Message) {
        let did = incoming.message().body().get("did").and_then(serde_json::Value::as_str);
        let document = did.and_then(|did| Did::parse(did).ok()).and_then(|did| did::resolve(&did).ok());
        let theirs = incoming.channel().theirs;
        let target = document.filter(|document: &Document| document.has_key(&theirs));
        let Some(target) = target.and_then(|document| document.target().cloned()) else { return };
        let outgoing = Outgoing { message: message.clone(), sender: incoming.channel().ours, target };
        if let Err(error) = self.send_outgoing(&outgoing) {
            tracing::debug!(%error, "agent.reply");
        }
    }

    /// As a state machine of a connection is driven: its refusal goes to the other side as a problem report.
    ///
    /// # Errors
    /// [`AgentError::Illegal`].
    pub fn drive<T>(
        &self,
        connection: &Connection,
        incoming: &Incoming,
        handled: Result<T, Illegal>,
    ) -> Result<T, AgentError> {
        if let Err(illegal) = &handled
            && let Some(report) = problem_report::answer(incoming, illegal, new_id())
        {
            self.send(connection, &report)?;
        }
        Ok(handled?)
    }
}

/// What sends, and waits so long for a server to take it.
fn sending_within(within: Duration) -> ureq::Agent {
    ureq::Agent::new_with_config(answered_within(within).http_status_as_error(true).build())
}

/// A fresh id for a message.
#[must_use]
pub fn new_id() -> MessageId {
    MessageId::random(&mut OsRng)
}
