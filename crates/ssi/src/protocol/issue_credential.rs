//! A credential from issuer to holder.
//!
//! ```text
//! holder                                         issuer
//!   propose  ------- propose-credential ------->   Proposed
//!   Proposed                                          | offer_for
//!   Offered  <------- offer-credential ----------   Offered   (offer: begins here, too)
//!      | request                                      |
//!   Requested ------ request-credential -------->  Requested
//!      |                                              | issue
//!   Received <------- issue-credential ----------   Issued
//!      | accept                                       |
//!   Done     ---------------- ack -------------->   Done
//!
//! Offered --propose--> Proposed: the holder may ask for another offer.
//! any unfinished state --expire, problem report, decline--> Abandoned
//! ```
//! The content of offers, requests and credentials passes through. The holder must compare the credential with the
//! offer's preview and check its signature **before** it calls [`Holder::accept`].
//!
//! Source: Aries RFCs 0453 (version 2.0), 0771 (AnonCreds formats).

use super::content::{
    Formatted, optional_text, read_formats, read_some_formats, with_formats, with_some_formats, with_text,
};
use super::notification::{self, AckStatus};
use super::problem_report::{self, ProblemReport};
use super::side::side;
use super::{Abandonment, Conversation, Family, Illegal, Incoming, in_time};
use crate::didcomm::{Channel, Message, MessageId};
use eroam_domain::time::UnixMillis;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// The format of an offer of an AnonCreds credential.
pub const ANONCREDS_OFFER: &str = "anoncreds/credential-offer@v1.0";
/// The format of a request for one.
pub const ANONCREDS_REQUEST: &str = "anoncreds/credential-request@v1.0";
/// The format of one.
pub const ANONCREDS_CREDENTIAL: &str = "anoncreds/credential@v1.0";
/// The format in which a holder proposes one.
pub const ANONCREDS_FILTER: &str = "anoncreds/credential-filter@v1.0";

/// The most attributes of a preview.
pub const ATTRIBUTES_MAX: usize = 128;
/// The longest name of an attribute.
const NAME_BYTES_MAX: usize = 256;
/// The longest value of an attribute.
const VALUE_BYTES_MAX: usize = 64 * 1024;

/// The attributes that a credential will have, by name in the order of the message.
#[derive(Clone, PartialEq, Eq)]
pub struct Preview {
    attributes: Vec<(String, String)>,
}

impl Preview {
    /// A preview.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] for a name twice, and for more or longer ones than are read.
    pub fn new(attributes: Vec<(String, String)>) -> Result<Self, Illegal> {
        let names: BTreeSet<_> = attributes.iter().map(|(name, _)| name).collect();
        let fits = |(name, value): &(String, String)| {
            (1..=NAME_BYTES_MAX).contains(&name.len()) && value.len() <= VALUE_BYTES_MAX
        };
        let proper = names.len() == attributes.len()
            && (1..=ATTRIBUTES_MAX).contains(&attributes.len())
            && attributes.iter().all(fits);
        if proper { Ok(Self { attributes }) } else { Err(Illegal::Malformed("credential_preview")) }
    }

    /// Names and values.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }

    fn to_value(&self) -> Value {
        let attributes = self.attributes.iter().map(|(name, value)| json!({"name": name, "value": value}));
        json!({"@type": Family::IssueCredential.message("credential-preview").to_string(),
            "attributes": attributes.collect::<Vec<_>>()})
    }

    fn read(message: &Message) -> Result<Option<Self>, Illegal> {
        const MALFORMED: Illegal = Illegal::Malformed("credential_preview");
        let preview = match message.body().get("credential_preview") {
            None | Some(Value::Null) => return Ok(None),
            Some(preview) => preview,
        };
        let list =
            preview.get("attributes").and_then(Value::as_array).filter(|list| list.len() <= ATTRIBUTES_MAX);
        let attributes = list.ok_or(MALFORMED)?.iter().map(|attribute| {
            // A value with a media type is base64 of something else than text; no credential here has any.
            if attribute.get("mime-type").is_some_and(|mime| !mime.is_null()) {
                return Err(MALFORMED);
            }
            let text =
                |name: &str| attribute.get(name).and_then(Value::as_str).map(str::to_owned).ok_or(MALFORMED);
            Ok((text("name")?, text("value")?))
        });
        Self::new(attributes.collect::<Result<_, _>>()?).map(Some)
    }
}

impl std::fmt::Debug for Preview {
    /// Not the values, which are somebody's data.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.attributes.iter().map(|(name, _)| name)).finish()
    }
}

/// What a holder would like to have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// For people.
    pub comment: Option<String>,
    /// The attributes.
    pub preview: Option<Preview>,
    /// Which credential, in [`ANONCREDS_FILTER`] and the like; may be empty.
    pub filters: Vec<Formatted>,
}

/// What an issuer offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// For people.
    pub comment: Option<String>,
    /// The attributes.
    pub preview: Preview,
    /// The offer, in [`ANONCREDS_OFFER`] and the like.
    pub offers: Vec<Formatted>,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it over the connection.
    Send(Message),
    /// Issuer: answer with [`Issuer::offer_for`] or [`Issuer::decline`].
    Proposed(Proposal),
    /// Holder: answer with [`Holder::request`], [`Holder::counter`] or [`Holder::decline`].
    Offered(Offer),
    /// Issuer: the request, in [`ANONCREDS_REQUEST`] and the like; answer with [`Issuer::issue`] or
    /// [`Issuer::decline`].
    Requested(Vec<Formatted>),
    /// Holder: the credential, in [`ANONCREDS_CREDENTIAL`] and the like. Check it, store it, then [`Holder::accept`];
    /// else [`Holder::decline`].
    Issued(Vec<Formatted>),
    /// Issuer: the holder says that it has the credential.
    Acknowledged,
    /// Nothing more will come.
    Abandoned(Abandonment),
}

/// The side that gets the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Holder {
    /// It asked for an offer.
    Proposed(Conversation),
    /// It has an offer.
    Offered {
        /// Connection and thread.
        conversation: Conversation,
        /// The offer: the credential must be the one that it promises.
        offer: Box<Offer>,
        /// Until when the offer holds.
        expires: Option<UnixMillis>,
    },
    /// It asked for the credential.
    Requested {
        /// Connection and thread.
        conversation: Conversation,
        /// The offer that was taken.
        offer: Box<Offer>,
    },
    /// A credential came, and is being checked.
    Received {
        /// Connection and thread.
        conversation: Conversation,
        /// The offer that was taken.
        offer: Box<Offer>,
    },
    /// It has the credential.
    Done(Conversation),
    /// It has none.
    Abandoned(Abandonment),
}

/// The side that gives the credential.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Issuer {
    /// Somebody asked for an offer.
    Proposed(Conversation),
    /// An offer is out.
    Offered(Conversation),
    /// The credential was asked for.
    Requested(Conversation),
    /// It was sent.
    Issued(Conversation),
    /// The holder says that it has it.
    Done(Conversation),
    /// It ended before that. The holder may have the credential all the same, if it was sent.
    Abandoned(Abandonment),
}

/// A message of the protocol.
enum Content {
    Propose(Proposal),
    Offer(Offer),
    Request(Vec<Formatted>),
    Issue(Vec<Formatted>),
    Ack(AckStatus),
    Problem(ProblemReport),
}

impl Content {
    const fn name(&self) -> &'static str {
        match self {
            Self::Propose(_) => "propose-credential",
            Self::Offer(_) => "offer-credential",
            Self::Request(_) => "request-credential",
            Self::Issue(_) => "issue-credential",
            Self::Ack(_) => "ack",
            Self::Problem(_) => "problem report",
        }
    }

    fn read(message: &Message) -> Result<Self, Illegal> {
        let family = Family::of(message.kind())?;
        if message.kind().is_problem_report()
            && [Family::IssueCredential, Family::ProblemReport].contains(&family)
        {
            return Ok(Self::Problem(problem_report::read(message)?));
        }
        let comment = || optional_text(message, "comment");
        match (family, message.kind().name()) {
            (Family::IssueCredential, "propose-credential") => {
                let (preview, filters) = (Preview::read(message)?, read_formats(message, "filters~attach")?);
                Ok(Self::Propose(Proposal { comment: comment()?, preview, filters }))
            }
            (Family::IssueCredential, "offer-credential") => {
                let preview = Preview::read(message)?.ok_or(Illegal::Malformed("credential_preview"))?;
                let offers = read_some_formats(message, "offers~attach")?;
                Ok(Self::Offer(Offer { comment: comment()?, preview, offers }))
            }
            (Family::IssueCredential, "request-credential") => {
                Ok(Self::Request(read_some_formats(message, "requests~attach")?))
            }
            (Family::IssueCredential, "issue-credential") => {
                Ok(Self::Issue(read_some_formats(message, "credentials~attach")?))
            }
            (Family::IssueCredential, "ack") => Ok(Self::Ack(notification::read(message)?)),
            _ => Err(Illegal::Unsupported { found: message.kind().clone() }),
        }
    }
}

fn write_proposal(message: Message, proposal: &Proposal) -> Result<Message, Illegal> {
    let message = with_text(message, "comment", proposal.comment.as_deref());
    let message = match &proposal.preview {
        Some(preview) => message.with("credential_preview", preview.to_value()),
        None => message,
    };
    with_formats(message, "filters~attach", &proposal.filters)
}

fn write_offer(message: Message, offer: &Offer) -> Result<Message, Illegal> {
    let message = with_text(message, "comment", offer.comment.as_deref());
    let message = message.with("credential_preview", offer.preview.to_value());
    with_some_formats(message, "offers~attach", &offer.offers)
}

fn kind(name: &str) -> crate::didcomm::MessageType {
    Family::IssueCredential.message(name)
}

/// The message with which a side ends it.
fn report(conversation: &Conversation, id: MessageId, why: &str) -> Message {
    problem_report::write(kind("problem-report"), id, conversation.thread(), "issuance-abandoned", why)
}

side!(Holder, decline);

impl Holder {
    /// Asks for an offer. `id` becomes the thread.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] for more formats than are read.
    pub fn propose(
        channel: Channel,
        proposal: &Proposal,
        id: MessageId,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let message = write_proposal(Message::new(kind("propose-credential"), id.clone()), proposal)?;
        let conversation = Conversation { channel, thread: id, deadline };
        Ok((Self::Proposed(conversation), vec![Effect::Send(message)]))
    }

    /// Takes an offer that begins a thread.
    ///
    /// # Errors
    /// [`Illegal`].
    pub fn offered(
        incoming: &Incoming,
        now: UnixMillis,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        match Content::read(incoming.message())? {
            Content::Offer(offer) => {
                let conversation = Conversation::begin(incoming, now, deadline)?;
                Ok(Self::with_offer(conversation, offer, incoming))
            }
            other => Err(Illegal::OutOfOrder { state: "not begun", event: other.name() }),
        }
    }

    fn with_offer(conversation: Conversation, offer: Offer, incoming: &Incoming) -> (Self, Vec<Effect>) {
        let expires = incoming.message().expires();
        let state = Self::Offered { conversation, offer: Box::new(offer.clone()), expires };
        (state, vec![Effect::Offered(offer)])
    }

    /// Takes a message of this connection.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn handle(&self, incoming: &Incoming, now: UnixMillis) -> Result<(Self, Vec<Effect>), Illegal> {
        let (conversation, content) = self.admit(incoming, now)?;
        match (self, content) {
            (Self::Proposed(_), Content::Offer(offer)) => Ok(Self::with_offer(conversation, offer, incoming)),
            (Self::Requested { offer, .. }, Content::Issue(credentials)) => {
                let state = Self::Received { conversation, offer: offer.clone() };
                Ok((state, vec![Effect::Issued(credentials)]))
            }
            (_, Content::Problem(report)) => Ok(Self::abandoned(Abandonment::Reported(report))),
            (_, other) => self.out_of_order(other.name()),
        }
    }

    /// Asks for the credential that is offered, in [`ANONCREDS_REQUEST`] and the like.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn request(
        &self,
        requests: &[Formatted],
        id: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Offered { conversation, offer, expires } = self else {
            return self.out_of_order("request");
        };
        in_time(Some(conversation.deadline), now)?;
        in_time(*expires, now)?;
        let message = conversation.answer(kind("request-credential"), id);
        let message = with_some_formats(message, "requests~attach", requests)?;
        let state = Self::Requested { conversation: conversation.clone(), offer: offer.clone() };
        Ok((state, vec![Effect::Send(message)]))
    }

    /// Asks for another offer instead.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn counter(
        &self,
        proposal: &Proposal,
        id: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Offered { conversation, .. } = self else { return self.out_of_order("propose") };
        in_time(Some(conversation.deadline), now)?;
        let message = write_proposal(conversation.answer(kind("propose-credential"), id), proposal)?;
        Ok((Self::Proposed(conversation.clone()), vec![Effect::Send(message)]))
    }

    /// Says that the credential was checked and stored.
    ///
    /// # Errors
    /// [`Illegal::OutOfOrder`] unless one came.
    pub fn accept(&self, id: MessageId) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Received { conversation, .. } = self else { return self.out_of_order("accept") };
        let message = notification::write(kind("ack"), id, conversation.thread());
        Ok((Self::Done(conversation.clone()), vec![Effect::Send(message)]))
    }

    /// Connection and thread, while it lasts.
    #[must_use]
    pub const fn unfinished(&self) -> Option<&Conversation> {
        match self {
            Self::Proposed(conversation)
            | Self::Offered { conversation, .. }
            | Self::Requested { conversation, .. }
            | Self::Received { conversation, .. } => Some(conversation),
            Self::Done(_) | Self::Abandoned(_) => None,
        }
    }

    /// The offer that was taken, or that waits for an answer.
    #[must_use]
    pub fn offer(&self) -> Option<&Offer> {
        match self {
            Self::Offered { offer, .. } | Self::Requested { offer, .. } | Self::Received { offer, .. } => {
                Some(offer)
            }
            _ => None,
        }
    }

    /// Its state, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "proposed",
            Self::Offered { .. } => "offered",
            Self::Requested { .. } => "requested",
            Self::Received { .. } => "received",
            Self::Done(_) => "done",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

side!(Issuer, decline);

impl Issuer {
    /// Offers a credential. `id` becomes the thread; the offer holds until the deadline.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] without a format, or with more than are read.
    pub fn offer(
        channel: Channel,
        offer: &Offer,
        id: MessageId,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let message =
            write_offer(Message::new(kind("offer-credential"), id.clone()), offer)?.expiring(deadline);
        Ok((Self::Offered(Conversation { channel, thread: id, deadline }), vec![Effect::Send(message)]))
    }

    /// Takes a proposal that begins a thread.
    ///
    /// # Errors
    /// [`Illegal`].
    pub fn proposed(
        incoming: &Incoming,
        now: UnixMillis,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        match Content::read(incoming.message())? {
            Content::Propose(proposal) => {
                let conversation = Conversation::begin(incoming, now, deadline)?;
                Ok((Self::Proposed(conversation), vec![Effect::Proposed(proposal)]))
            }
            other => Err(Illegal::OutOfOrder { state: "not begun", event: other.name() }),
        }
    }

    /// Takes a message of this connection.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn handle(&self, incoming: &Incoming, now: UnixMillis) -> Result<(Self, Vec<Effect>), Illegal> {
        let (conversation, content) = self.admit(incoming, now)?;
        match (self, content) {
            (Self::Offered(_), Content::Propose(proposal)) => {
                Ok((Self::Proposed(conversation), vec![Effect::Proposed(proposal)]))
            }
            (Self::Offered(_), Content::Request(requests)) => {
                Ok((Self::Requested(conversation), vec![Effect::Requested(requests)]))
            }
            (Self::Issued(_), Content::Ack(AckStatus::Ok)) => {
                Ok((Self::Done(conversation), vec![Effect::Acknowledged]))
            }
            (Self::Issued(_), Content::Ack(AckStatus::Pending)) => Ok((self.clone(), Vec::new())),
            (Self::Issued(_), Content::Ack(AckStatus::Fail)) => {
                Ok(Self::abandoned(Abandonment::Reported(ProblemReport {
                    code: "ack-fail".to_owned(),
                    text: None,
                })))
            }
            (_, Content::Problem(report)) => Ok(Self::abandoned(Abandonment::Reported(report))),
            (_, other) => self.out_of_order(other.name()),
        }
    }

    /// Answers a proposal with an offer.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn offer_for(
        &self,
        offer: &Offer,
        id: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Proposed(conversation) = self else { return self.out_of_order("offer") };
        in_time(Some(conversation.deadline), now)?;
        let message = write_offer(conversation.answer(kind("offer-credential"), id), offer)?;
        let message = message.expiring(conversation.deadline);
        Ok((Self::Offered(conversation.clone()), vec![Effect::Send(message)]))
    }

    /// Sends the credential that was asked for, in [`ANONCREDS_CREDENTIAL`] and the like.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn issue(
        &self,
        credentials: &[Formatted],
        id: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Requested(conversation) = self else { return self.out_of_order("issue") };
        in_time(Some(conversation.deadline), now)?;
        let message = conversation.answer(kind("issue-credential"), id);
        let message = with_some_formats(message, "credentials~attach", credentials)?;
        Ok((Self::Issued(conversation.clone()), vec![Effect::Send(message)]))
    }

    /// Connection and thread, while it lasts.
    #[must_use]
    pub const fn unfinished(&self) -> Option<&Conversation> {
        match self {
            Self::Proposed(conversation)
            | Self::Offered(conversation)
            | Self::Requested(conversation)
            | Self::Issued(conversation) => Some(conversation),
            Self::Done(_) | Self::Abandoned(_) => None,
        }
    }

    /// Its state, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "proposed",
            Self::Offered(_) => "offered",
            Self::Requested(_) => "requested",
            Self::Issued(_) => "issued",
            Self::Done(_) => "done",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::content::find_format;
    use super::super::tests::{at, channel, channel_of, id, incoming, judge, over};
    use super::*;

    fn formatted(format: &str) -> Vec<Formatted> {
        vec![Formatted { format: format.to_owned(), content: format!("content of {format}").into_bytes() }]
    }

    fn preview() -> Preview {
        Preview::new(vec![
            ("zone".to_owned(), "A,B".to_owned()),
            ("expiry".to_owned(), "20301231".to_owned()),
        ])
        .unwrap()
    }

    fn proposal() -> Proposal {
        Proposal {
            comment: Some("hello".to_owned()),
            preview: Some(preview()),
            filters: formatted(ANONCREDS_FILTER),
        }
    }

    fn offer() -> Offer {
        Offer { comment: None, preview: preview(), offers: formatted(ANONCREDS_OFFER) }
    }

    fn sent(effects: &[Effect]) -> Message {
        effects
            .iter()
            .find_map(|e| if let Effect::Send(message) = e { Some(message.clone()) } else { None })
            .unwrap()
    }

    /// Every state of both sides of one exchange, and every message of it.
    struct Run {
        holders: Vec<Holder>,
        issuers: Vec<Issuer>,
        messages: Vec<(&'static str, Message)>,
    }

    fn run() -> Run {
        let (thread, deadline) = (id("t"), at(100));
        let (holder_proposed, effects) = Holder::propose(channel(), &proposal(), thread, deadline).unwrap();
        let propose = sent(&effects);
        let (issuer_proposed, effects) = Issuer::proposed(&over(&propose), at(1), deadline).unwrap();
        assert_eq!(effects, [Effect::Proposed(proposal())]);
        let (issuer_offered, effects) = issuer_proposed.offer_for(&offer(), id("o"), at(2)).unwrap();
        let offer_message = sent(&effects);
        let (holder_offered, effects) = holder_proposed.handle(&over(&offer_message), at(3)).unwrap();
        assert_eq!(effects, [Effect::Offered(offer())]);
        let (holder_requested, effects) =
            holder_offered.request(&formatted(ANONCREDS_REQUEST), id("r"), at(4)).unwrap();
        let request = sent(&effects);
        let (issuer_requested, effects) = issuer_offered.handle(&over(&request), at(5)).unwrap();
        assert_eq!(effects, [Effect::Requested(formatted(ANONCREDS_REQUEST))]);
        let (issued, effects) =
            issuer_requested.issue(&formatted(ANONCREDS_CREDENTIAL), id("i"), at(6)).unwrap();
        let issue = sent(&effects);
        let (received, effects) = holder_requested.handle(&over(&issue), at(7)).unwrap();
        let [Effect::Issued(credentials)] = &effects[..] else { panic!() };
        assert_eq!(
            find_format(credentials, ANONCREDS_CREDENTIAL),
            Some(&b"content of anoncreds/credential@v1.0"[..])
        );
        let (holder_done, effects) = received.accept(id("a")).unwrap();
        let ack = sent(&effects);
        let (issuer_done, effects) = issued.handle(&over(&ack), at(8)).unwrap();
        assert_eq!(effects, [Effect::Acknowledged]);
        let problem = sent(&holder_offered.decline("no", id("p")).unwrap().1);
        let general = problem_report::write(
            Family::ProblemReport.message("problem-report"),
            id("g"),
            &id("t"),
            "x",
            "y",
        );
        let foreign = Message::new(Family::PresentProof.message("ack"), id("f"))
            .on_thread(id("t"))
            .with("status", "OK");
        let abandoned = Abandonment::TimedOut;
        Run {
            holders: vec![
                holder_proposed,
                holder_offered,
                holder_requested,
                received,
                holder_done,
                Holder::Abandoned(abandoned.clone()),
            ],
            issuers: vec![
                issuer_proposed,
                issuer_offered,
                issuer_requested,
                issued,
                issuer_done,
                Issuer::Abandoned(abandoned),
            ],
            messages: vec![
                ("propose", propose),
                ("offer", offer_message),
                ("request", request),
                ("issue", issue),
                ("ack", ack),
                ("problem", problem),
                ("general", general),
                ("foreign", foreign),
            ],
        }
    }

    #[test]
    fn illegal_moves_are_refused() {
        let run = run();
        let holder_takes = |state: &str| match state {
            "proposed" => vec!["offer", "problem", "general"],
            "requested" => vec!["issue", "problem", "general"],
            "offered" | "received" => vec!["problem", "general"],
            _ => vec![],
        };
        let issuer_takes = |state: &str| match state {
            "offered" => vec!["propose", "request", "problem", "general"],
            "issued" => vec!["ack", "problem", "general"],
            "proposed" | "requested" => vec!["problem", "general"],
            _ => vec![],
        };
        for (name, message) in &run.messages {
            for state in &run.holders {
                let result = state.handle(&over(message), at(9));
                judge(result, state.name(), name, &holder_takes(state.name()));
            }
            for state in &run.issuers {
                let result = state.handle(&over(message), at(9));
                judge(result, state.name(), name, &issuer_takes(state.name()));
            }
            let begins = [
                Holder::offered(&over(message), at(9), at(100)).is_ok(),
                Issuer::proposed(&over(message), at(9), at(100)).is_ok(),
            ];
            // The offer of this run is on the proposal's thread, so it begins nothing.
            assert_eq!(begins, [false, *name == "propose"], "{name}");
        }
    }

    #[test]
    fn illegal_commands_are_refused() {
        let run = run();
        for state in &run.holders {
            let possible = [
                state.request(&formatted(ANONCREDS_REQUEST), id("x"), at(9)).is_ok(),
                state.counter(&proposal(), id("x"), at(9)).is_ok(),
                state.accept(id("x")).is_ok(),
                state.decline("", id("x")).is_ok(),
            ];
            let expected = match state.name() {
                "offered" => [true, true, false, true],
                "received" => [false, false, true, true],
                "proposed" | "requested" => [false, false, false, true],
                _ => [false; 4],
            };
            assert_eq!(possible, expected, "{}", state.name());
        }
        for state in &run.issuers {
            let possible = [
                state.offer_for(&offer(), id("x"), at(9)).is_ok(),
                state.issue(&formatted(ANONCREDS_CREDENTIAL), id("x"), at(9)).is_ok(),
                state.decline("", id("x")).is_ok(),
            ];
            let expected = match state.name() {
                "proposed" => [true, false, true],
                "requested" => [false, true, true],
                "offered" | "issued" => [false, false, true],
                _ => [false; 3],
            };
            assert_eq!(possible, expected, "{}", state.name());
        }
    }

    #[test]
    fn messages_of_other_threads_and_connections_and_late_ones_are_refused() {
        let run = run();
        let (requested, issue) = (&run.holders[2], &run.messages[3].1);
        let (issued, ack) = (&run.issuers[3], &run.messages[4].1);
        let other_thread = over(&issue.clone().on_thread(id("other")));
        assert!(matches!(requested.handle(&other_thread, at(9)), Err(Illegal::WrongThread { .. })));
        for (ours, theirs) in [(1, 3), (3, 2)] {
            let other = incoming(channel_of(ours, theirs), issue.clone());
            assert!(matches!(requested.handle(&other, at(9)), Err(Illegal::WrongConnection)));
            let other = incoming(channel_of(ours, theirs), ack.clone());
            assert!(matches!(issued.handle(&other, at(9)), Err(Illegal::WrongConnection)));
        }
        assert!(matches!(requested.handle(&over(issue), at(101)), Err(Illegal::Expired { .. })));
        let expired = over(&issue.clone().expiring(at(5)));
        assert!(matches!(requested.handle(&expired, at(9)), Err(Illegal::Expired { .. })));
    }

    #[test]
    fn an_offer_begins_a_thread_and_holds_until_it_expires() {
        let (_, effects) = Issuer::offer(channel(), &offer(), id("o"), at(50)).unwrap();
        let message = sent(&effects);
        let (offered, _) = Holder::offered(&over(&message), at(1), at(100)).unwrap();
        assert_eq!(offered.offer(), Some(&offer()));
        assert_eq!(offered.unfinished().unwrap().thread(), &id("o"));
        let late = offered.request(&formatted(ANONCREDS_REQUEST), id("r"), at(51));
        assert!(matches!(late, Err(Illegal::Expired { .. })));
        assert!(matches!(Holder::offered(&over(&message), at(51), at(100)), Err(Illegal::Expired { .. })));
        let answer = over(&message.on_thread(id("other")));
        assert!(matches!(Holder::offered(&answer, at(1), at(100)), Err(Illegal::WrongThread { .. })));
    }

    #[test]
    fn what_nobody_ends_is_ended_by_time_and_reports_end_it() {
        let run = run();
        for state in &run.holders {
            assert!(state.expire(at(100)).is_none());
            assert_eq!(state.expire(at(101)).is_some(), state.unfinished().is_some(), "{}", state.name());
        }
        for state in &run.issuers {
            assert!(state.expire(at(100)).is_none());
            assert_eq!(state.expire(at(101)).is_some(), state.unfinished().is_some(), "{}", state.name());
        }
        let (state, effects) = run.issuers[1].handle(&over(&run.messages[5].1), at(9)).unwrap();
        let Issuer::Abandoned(Abandonment::Reported(report)) = &state else { panic!() };
        assert_eq!((report.code.as_str(), report.text.as_deref()), ("issuance-abandoned", Some("no")));
        assert_eq!(effects.len(), 1);
    }

    #[test]
    fn an_ack_may_say_not_yet_or_no() {
        let issued = run().issuers[3].clone();
        let ack = |status: &str| over(&run().messages[4].1.clone().with("status", status));
        assert_eq!(issued.handle(&ack("PENDING"), at(9)).unwrap(), (issued.clone(), vec![]));
        assert_eq!(issued.handle(&ack("FAIL"), at(9)).unwrap().0.name(), "abandoned");
        assert!(matches!(issued.handle(&ack("MAYBE"), at(9)), Err(Illegal::Malformed("status"))));
    }

    #[test]
    fn malformed_content_is_refused() {
        let offer_with = |name: &str, value: Value| {
            let (_, effects) = Issuer::offer(channel(), &offer(), id("o"), at(50)).unwrap();
            Holder::offered(&over(&sent(&effects).with(name, value)), at(1), at(100)).unwrap_err()
        };
        let attribute = json!({"name": "a", "value": "b"});
        let previews = [
            Value::Null,
            json!({}),
            json!({"attributes": []}),
            json!({"attributes": [{"name": "a"}]}),
            json!({"attributes": [{"name": "a", "value": 1}]}),
            json!({"attributes": [{"name": "", "value": "b"}]}),
            json!({"attributes": [attribute, attribute]}),
            json!({"attributes": [{"name": "a", "value": "b", "mime-type": "image/png"}]}),
        ];
        for preview in previews {
            let error = offer_with("credential_preview", preview.clone());
            assert!(matches!(error, Illegal::Malformed("credential_preview")), "{preview}");
        }
        assert!(matches!(offer_with("offers~attach", json!([])), Illegal::Malformed(_)));
        assert!(matches!(offer_with("comment", json!(1)), Illegal::Malformed("comment")));
        let no_formats = Issuer::offer(channel(), &Offer { offers: vec![], ..offer() }, id("o"), at(1));
        assert!(matches!(no_formats, Err(Illegal::Malformed("formats"))));
    }
}
