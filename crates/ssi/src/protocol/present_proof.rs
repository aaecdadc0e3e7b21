//! A proof from prover to verifier.
//!
//! ```text
//! prover                                          verifier
//!   propose ------- propose-presentation ------->   Proposed
//!   Proposed                                           | request_for
//!   Requested <----- request-presentation --------   Requested  (request: begins here, too)
//!      | present                                       |
//!   Presented ---------- presentation ----------->   Presented
//!      |                                               | the caller verifies, then conclude(proof) or reject
//!   Done     <--------------- ack ----------------   Concluded(proof)
//!
//! verifier: Requested --propose--> Proposed: the prover may want to be asked otherwise.
//! any unfinished state --expire, problem report, decline / reject--> Abandoned
//! ```
//! **An ack authorizes nothing.** Other agents send one after a false proof, too. What a verifier learned is the value
//! of the type `P` that its caller made by verifying and puts into [`Verifier::conclude`]; nothing in a message can
//! make one. What a prover learns from an ack is that the exchange ended.
//!
//! A request with an end is refused after it, on both sides.
//!
//! Source: Aries RFCs 0454 (version 2.0), 0771 (AnonCreds formats).

use super::content::{
    Formatted, flag, optional_text, read_formats, read_some_formats, with_formats, with_some_formats,
    with_text,
};
use super::notification::{self, AckStatus};
use super::problem_report::{self, ProblemReport};
use super::side::side;
use super::{Abandonment, Conversation, Family, Illegal, Incoming, in_time};
use crate::didcomm::{Channel, Message, MessageId, MessageType};
use eroam_domain::time::UnixMillis;

/// The format of a request for an AnonCreds proof, and of a proposal of one.
pub const ANONCREDS_REQUEST: &str = "anoncreds/proof-request@v1.0";
/// The format of an AnonCreds proof.
pub const ANONCREDS_PROOF: &str = "anoncreds/proof@v1.0";

/// What a prover would like to show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proposal {
    /// For people.
    pub comment: Option<String>,
    /// What, in [`ANONCREDS_REQUEST`] and the like; may be empty.
    pub proposals: Vec<Formatted>,
}

/// What a verifier asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// For people.
    pub comment: Option<String>,
    /// Whether the verifier says when it is done.
    pub will_confirm: bool,
    /// What is asked, in [`ANONCREDS_REQUEST`] and the like.
    pub requests: Vec<Formatted>,
}

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Send it over the connection.
    Send(Message),
    /// Verifier: answer with [`Verifier::request_for`] or [`Verifier::reject`].
    Proposed(Proposal),
    /// Prover: answer with [`Prover::present`] or [`Prover::decline`].
    Requested(Request),
    /// Verifier: verify it, in [`ANONCREDS_PROOF`] and the like; then [`Verifier::conclude`] or [`Verifier::reject`].
    Presented(Vec<Formatted>),
    /// Prover: the verifier has nothing more to say. Whether it was convinced, it does not say.
    Ended,
    /// Nothing more will come.
    Abandoned(Abandonment),
}

/// The side that shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Prover {
    /// It asked to be asked.
    Proposed(Conversation),
    /// It was asked.
    Requested {
        /// Connection and thread.
        conversation: Conversation,
        /// What is asked.
        request: Box<Request>,
        /// Until when.
        expires: Option<UnixMillis>,
    },
    /// It has shown, and the verifier said that it will confirm.
    Presented(Conversation),
    /// The exchange ended.
    Done(Conversation),
    /// It ended early.
    Abandoned(Abandonment),
}

/// The side that asks. `P` is what its caller makes of a presentation by verifying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verifier<P> {
    /// Somebody would like to be asked.
    Proposed(Conversation),
    /// It asked.
    Requested {
        /// Connection and thread.
        conversation: Conversation,
        /// Whether the prover is told when it is done.
        will_confirm: bool,
    },
    /// A presentation came, and is being verified.
    Presented {
        /// Connection and thread.
        conversation: Conversation,
        /// Whether the prover is told when it is done.
        will_confirm: bool,
    },
    /// The caller has verified it.
    Concluded {
        /// Connection and thread.
        conversation: Conversation,
        /// What the caller made of it.
        proof: P,
    },
    /// Nothing was proven.
    Abandoned(Abandonment),
}

/// A message of the protocol.
enum Content {
    Propose(Proposal),
    Request(Request),
    Presentation(Vec<Formatted>),
    Ack(AckStatus),
    Problem(ProblemReport),
}

impl Content {
    const fn name(&self) -> &'static str {
        match self {
            Self::Propose(_) => "propose-presentation",
            Self::Request(_) => "request-presentation",
            Self::Presentation(_) => "presentation",
            Self::Ack(_) => "ack",
            Self::Problem(_) => "problem report",
        }
    }

    fn read(message: &Message) -> Result<Self, Illegal> {
        let family = Family::of(message.kind())?;
        if message.kind().is_problem_report()
            && [Family::PresentProof, Family::ProblemReport].contains(&family)
        {
            return Ok(Self::Problem(problem_report::read(message)?));
        }
        let comment = || optional_text(message, "comment");
        match (family, message.kind().name()) {
            (Family::PresentProof, "propose-presentation") => {
                let proposals = read_formats(message, "proposals~attach")?;
                Ok(Self::Propose(Proposal { comment: comment()?, proposals }))
            }
            (Family::PresentProof, "request-presentation") => {
                let requests = read_some_formats(message, "request_presentations~attach")?;
                let will_confirm = flag(message, "will_confirm")?;
                Ok(Self::Request(Request { comment: comment()?, will_confirm, requests }))
            }
            (Family::PresentProof, "presentation") => {
                Ok(Self::Presentation(read_some_formats(message, "presentations~attach")?))
            }
            (Family::PresentProof, "ack") => Ok(Self::Ack(notification::read(message)?)),
            _ => Err(Illegal::Unsupported { found: message.kind().clone() }),
        }
    }
}

fn kind(name: &str) -> MessageType {
    Family::PresentProof.message(name)
}

fn write_request(message: Message, request: &Request, deadline: UnixMillis) -> Result<Message, Illegal> {
    let message = with_text(message, "comment", request.comment.as_deref());
    let message = message.with("will_confirm", request.will_confirm).expiring(deadline);
    with_some_formats(message, "request_presentations~attach", &request.requests)
}

/// The message with which a side ends it.
fn report(conversation: &Conversation, id: MessageId, why: &str) -> Message {
    problem_report::write(kind("problem-report"), id, conversation.thread(), "abandoned", why)
}

side!(Prover, decline);

impl Prover {
    /// Asks to be asked. `id` becomes the thread.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] for more formats than are read.
    pub fn propose(
        channel: Channel,
        proposal: &Proposal,
        id: MessageId,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let message = Message::new(kind("propose-presentation"), id.clone());
        let message = with_text(message, "comment", proposal.comment.as_deref());
        let message = with_formats(message, "proposals~attach", &proposal.proposals)?;
        Ok((Self::Proposed(Conversation { channel, thread: id, deadline }), vec![Effect::Send(message)]))
    }

    /// Takes a request that begins a thread.
    ///
    /// # Errors
    /// [`Illegal`].
    pub fn requested(
        incoming: &Incoming,
        now: UnixMillis,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        match Content::read(incoming.message())? {
            Content::Request(request) => {
                Ok(Self::with_request(Conversation::begin(incoming, now, deadline)?, request, incoming))
            }
            other => Err(Illegal::OutOfOrder { state: "not begun", event: other.name() }),
        }
    }

    fn with_request(
        conversation: Conversation,
        request: Request,
        incoming: &Incoming,
    ) -> (Self, Vec<Effect>) {
        let expires = incoming.message().expires();
        let state = Self::Requested { conversation, request: Box::new(request.clone()), expires };
        (state, vec![Effect::Requested(request)])
    }

    /// Takes a message of this connection.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn handle(&self, incoming: &Incoming, now: UnixMillis) -> Result<(Self, Vec<Effect>), Illegal> {
        let (conversation, content) = self.admit(incoming, now)?;
        match (self, content) {
            (Self::Proposed(_), Content::Request(request)) => {
                Ok(Self::with_request(conversation, request, incoming))
            }
            (Self::Presented(_), Content::Ack(AckStatus::Pending)) => Ok((self.clone(), Vec::new())),
            (Self::Presented(_), Content::Ack(_)) => Ok((Self::Done(conversation), vec![Effect::Ended])),
            (_, Content::Problem(report)) => Ok(Self::abandoned(Abandonment::Reported(report))),
            (_, other) => self.out_of_order(other.name()),
        }
    }

    /// Shows what was asked for, in [`ANONCREDS_PROOF`] and the like.
    ///
    /// # Errors
    /// [`Illegal`], among them that the request expired; the state stays.
    pub fn present(
        &self,
        presentations: &[Formatted],
        id: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Requested { conversation, request, expires } = self else {
            return self.out_of_order("present");
        };
        in_time(Some(conversation.deadline), now)?;
        in_time(*expires, now)?;
        let message = conversation.answer(kind("presentation"), id);
        let message = with_some_formats(message, "presentations~attach", presentations)?;
        let mut effects = vec![Effect::Send(message)];
        let conversation = conversation.clone();
        if request.will_confirm {
            return Ok((Self::Presented(conversation), effects));
        }
        effects.push(Effect::Ended);
        Ok((Self::Done(conversation), effects))
    }

    /// Connection and thread, while it lasts.
    #[must_use]
    pub const fn unfinished(&self) -> Option<&Conversation> {
        match self {
            Self::Proposed(conversation)
            | Self::Requested { conversation, .. }
            | Self::Presented(conversation) => Some(conversation),
            Self::Done(_) | Self::Abandoned(_) => None,
        }
    }

    /// Its state, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "proposed",
            Self::Requested { .. } => "requested",
            Self::Presented(_) => "presented",
            Self::Done(_) => "done",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

side!(Verifier<P>, reject);

impl<P> Verifier<P> {
    /// Asks. `id` becomes the thread; the request ends with the deadline, and says so.
    ///
    /// # Errors
    /// [`Illegal::Malformed`] without a format, or with more than are read.
    pub fn request(
        channel: Channel,
        request: &Request,
        id: MessageId,
        deadline: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let message =
            write_request(Message::new(kind("request-presentation"), id.clone()), request, deadline)?;
        let conversation = Conversation { channel, thread: id, deadline };
        Ok((
            Self::Requested { conversation, will_confirm: request.will_confirm },
            vec![Effect::Send(message)],
        ))
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

    /// Takes a message of this connection. It cannot conclude anything.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn handle(&self, incoming: &Incoming, now: UnixMillis) -> Result<(Self, Vec<Effect>), Illegal> {
        let (conversation, content) = self.admit(incoming, now)?;
        match (self, content) {
            (Self::Requested { .. }, Content::Propose(proposal)) => {
                Ok((Self::Proposed(conversation), vec![Effect::Proposed(proposal)]))
            }
            (Self::Requested { will_confirm, .. }, Content::Presentation(presentations)) => {
                let state = Self::Presented { conversation, will_confirm: *will_confirm };
                Ok((state, vec![Effect::Presented(presentations)]))
            }
            (_, Content::Problem(report)) => Ok(Self::abandoned(Abandonment::Reported(report))),
            (_, other) => self.out_of_order(other.name()),
        }
    }

    /// Answers a proposal with a request.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn request_for(
        &self,
        request: &Request,
        id: MessageId,
        now: UnixMillis,
    ) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Proposed(conversation) = self else { return self.out_of_order("request") };
        in_time(Some(conversation.deadline), now)?;
        let message = conversation.answer(kind("request-presentation"), id);
        let message = write_request(message, request, conversation.deadline)?;
        let state =
            Self::Requested { conversation: conversation.clone(), will_confirm: request.will_confirm };
        Ok((state, vec![Effect::Send(message)]))
    }

    /// Ends it with what the caller made of the presentation by verifying it. The prover is told that it ended, if
    /// that was promised.
    ///
    /// # Errors
    /// [`Illegal`]; the state stays.
    pub fn conclude(&self, proof: P, id: MessageId, now: UnixMillis) -> Result<(Self, Vec<Effect>), Illegal> {
        let Self::Presented { conversation, will_confirm } = self else {
            return self.out_of_order("conclude");
        };
        in_time(Some(conversation.deadline), now)?;
        let ack = || Effect::Send(notification::write(kind("ack"), id, conversation.thread()));
        let effects = will_confirm.then(ack).into_iter().collect();
        Ok((Self::Concluded { conversation: conversation.clone(), proof }, effects))
    }

    /// Connection and thread, while it lasts.
    #[must_use]
    pub const fn unfinished(&self) -> Option<&Conversation> {
        match self {
            Self::Proposed(conversation)
            | Self::Requested { conversation, .. }
            | Self::Presented { conversation, .. } => Some(conversation),
            Self::Concluded { .. } | Self::Abandoned(_) => None,
        }
    }

    /// Its state, for people.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Proposed(_) => "proposed",
            Self::Requested { .. } => "requested",
            Self::Presented { .. } => "presented",
            Self::Concluded { .. } => "concluded",
            Self::Abandoned(_) => "abandoned",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, channel, channel_of, id, incoming, judge, over};
    use super::*;
    use serde_json::json;

    /// Only verifying makes one.
    #[derive(Clone, Debug, PartialEq)]
    struct Verified;

    type OurVerifier = Verifier<Verified>;

    fn formatted(format: &str) -> Vec<Formatted> {
        vec![Formatted { format: format.to_owned(), content: b"{}".to_vec() }]
    }

    fn proposal() -> Proposal {
        Proposal { comment: None, proposals: formatted(ANONCREDS_REQUEST) }
    }

    fn request(will_confirm: bool) -> Request {
        Request { comment: Some("zone".to_owned()), will_confirm, requests: formatted(ANONCREDS_REQUEST) }
    }

    fn sent(effects: &[Effect]) -> Message {
        effects
            .iter()
            .find_map(|e| if let Effect::Send(message) = e { Some(message.clone()) } else { None })
            .unwrap()
    }

    struct Run {
        provers: Vec<Prover>,
        verifiers: Vec<OurVerifier>,
        messages: Vec<(&'static str, Message)>,
    }

    fn run() -> Run {
        let deadline = at(100);
        let (prover_proposed, effects) = Prover::propose(channel(), &proposal(), id("t"), deadline).unwrap();
        let propose = sent(&effects);
        let (verifier_proposed, effects) = OurVerifier::proposed(&over(&propose), at(1), deadline).unwrap();
        assert_eq!(effects, [Effect::Proposed(proposal())]);
        let (verifier_requested, effects) =
            verifier_proposed.request_for(&request(true), id("r"), at(2)).unwrap();
        let request_message = sent(&effects);
        let (prover_requested, effects) = prover_proposed.handle(&over(&request_message), at(3)).unwrap();
        assert_eq!(effects, [Effect::Requested(request(true))]);
        let (prover_presented, effects) =
            prover_requested.present(&formatted(ANONCREDS_PROOF), id("p"), at(4)).unwrap();
        let presentation = sent(&effects);
        let (verifier_presented, effects) = verifier_requested.handle(&over(&presentation), at(5)).unwrap();
        assert_eq!(effects, [Effect::Presented(formatted(ANONCREDS_PROOF))]);
        let (concluded, effects) = verifier_presented.conclude(Verified, id("a"), at(6)).unwrap();
        let ack = sent(&effects);
        let (prover_done, effects) = prover_presented.handle(&over(&ack), at(7)).unwrap();
        assert_eq!(effects, [Effect::Ended]);
        let problem = sent(&prover_requested.decline("no", id("x")).unwrap().1);
        let general = problem_report::write(
            Family::ProblemReport.message("problem-report"),
            id("g"),
            &id("t"),
            "x",
            "y",
        );
        let foreign = Message::new(Family::IssueCredential.message("ack"), id("f"))
            .on_thread(id("t"))
            .with("status", "OK");
        Run {
            provers: vec![
                prover_proposed,
                prover_requested,
                prover_presented,
                prover_done,
                Prover::Abandoned(Abandonment::Declined),
            ],
            verifiers: vec![
                verifier_proposed,
                verifier_requested,
                verifier_presented,
                concluded,
                Verifier::Abandoned(Abandonment::Declined),
            ],
            messages: vec![
                ("propose", propose),
                ("request", request_message),
                ("presentation", presentation),
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
        let prover_takes = |state: &str| match state {
            "proposed" => vec!["request", "problem", "general"],
            "requested" => vec!["problem", "general"],
            "presented" => vec!["ack", "problem", "general"],
            _ => vec![],
        };
        let verifier_takes = |state: &str| match state {
            "requested" => vec!["propose", "presentation", "problem", "general"],
            "proposed" | "presented" => vec!["problem", "general"],
            _ => vec![],
        };
        for (name, message) in &run.messages {
            for state in &run.provers {
                let result = state.handle(&over(message), at(9));
                judge(result, state.name(), name, &prover_takes(state.name()));
            }
            for state in &run.verifiers {
                let result = state.handle(&over(message), at(9));
                // No message concludes.
                assert!(!matches!(result, Ok((Verifier::Concluded { .. }, _))), "{} {name}", state.name());
                judge(result, state.name(), name, &verifier_takes(state.name()));
            }
            let begins = [
                Prover::requested(&over(message), at(9), at(100)).is_ok(),
                OurVerifier::proposed(&over(message), at(9), at(100)).is_ok(),
            ];
            assert_eq!(begins, [false, *name == "propose"], "{name}");
        }
    }

    #[test]
    fn illegal_commands_are_refused() {
        let run = run();
        for state in &run.provers {
            let possible = [
                state.present(&formatted(ANONCREDS_PROOF), id("x"), at(9)).is_ok(),
                state.decline("", id("x")).is_ok(),
            ];
            let expected = match state.name() {
                "requested" => [true, true],
                "proposed" | "presented" => [false, true],
                _ => [false; 2],
            };
            assert_eq!(possible, expected, "{}", state.name());
        }
        for state in &run.verifiers {
            let possible = [
                state.request_for(&request(true), id("x"), at(9)).is_ok(),
                state.conclude(Verified, id("x"), at(9)).is_ok(),
                state.reject("", id("x")).is_ok(),
            ];
            let expected = match state.name() {
                "proposed" => [true, false, true],
                "requested" => [false, false, true],
                "presented" => [false, true, true],
                _ => [false; 3],
            };
            assert_eq!(possible, expected, "{}", state.name());
        }
    }

    #[test]
    fn an_ack_has_nothing_in_it_that_could_be_a_permission() {
        let ack = run().messages[3].1.to_value();
        assert_eq!(
            ack,
            json!({"@type": "https://didcomm.org/present-proof/2.0/ack", "@id": "a", "~thread": {"thid": "t"},
                "status": "OK"})
        );
        // Its status does not tell the prover's caller anything either.
        let presented = run().provers[2].clone();
        let with = |status: &str| over(&run().messages[3].1.clone().with("status", status));
        let (ok, fail) =
            (presented.handle(&with("OK"), at(9)).unwrap(), presented.handle(&with("FAIL"), at(9)).unwrap());
        assert_eq!(ok, fail);
        assert_eq!(presented.handle(&with("PENDING"), at(9)).unwrap(), (presented.clone(), vec![]));
    }

    #[test]
    fn a_request_is_refused_after_its_end_on_both_sides() {
        let (verifier, effects) = OurVerifier::request(channel(), &request(false), id("r"), at(50)).unwrap();
        let asked = sent(&effects);
        assert_eq!(asked.expires(), Some(at(50)));
        assert!(matches!(Prover::requested(&over(&asked), at(51), at(100)), Err(Illegal::Expired { .. })));
        let (prover, _) = Prover::requested(&over(&asked), at(49), at(100)).unwrap();
        let late = prover.present(&formatted(ANONCREDS_PROOF), id("p"), at(51));
        assert!(matches!(late, Err(Illegal::Expired { .. })));
        let (done, effects) = prover.present(&formatted(ANONCREDS_PROOF), id("p"), at(50)).unwrap();
        assert!(matches!((done.name(), &effects[..]), ("done", [Effect::Send(_), Effect::Ended])));
        let presentation = over(&sent(&effects));
        assert!(matches!(verifier.handle(&presentation, at(51)), Err(Illegal::Expired { .. })));
        let (presented, _) = verifier.handle(&presentation, at(50)).unwrap();
        assert!(matches!(presented.conclude(Verified, id("a"), at(51)), Err(Illegal::Expired { .. })));
        // Without a promise to confirm, nothing is sent.
        let (concluded, effects) = presented.conclude(Verified, id("a"), at(50)).unwrap();
        assert!(effects.is_empty());
        assert!(matches!(concluded, Verifier::Concluded { proof: Verified, .. }));
    }

    #[test]
    fn messages_of_other_threads_and_connections_are_refused() {
        let run = run();
        let (requested, presentation) = (&run.verifiers[1], &run.messages[2].1);
        let other_thread = over(&presentation.clone().on_thread(id("other")));
        assert!(matches!(requested.handle(&other_thread, at(9)), Err(Illegal::WrongThread { .. })));
        for (ours, theirs) in [(1, 3), (3, 2)] {
            let other = incoming(channel_of(ours, theirs), presentation.clone());
            assert!(matches!(requested.handle(&other, at(9)), Err(Illegal::WrongConnection)));
        }
    }

    #[test]
    fn what_nobody_ends_is_ended_by_time() {
        let run = run();
        for state in &run.provers {
            assert!(state.expire(at(100)).is_none());
            assert_eq!(state.expire(at(101)).is_some(), state.unfinished().is_some(), "{}", state.name());
        }
        for state in &run.verifiers {
            assert!(state.expire(at(100)).is_none());
            assert_eq!(state.expire(at(101)).is_some(), state.unfinished().is_some(), "{}", state.name());
        }
    }

    #[test]
    fn malformed_content_is_refused() {
        let (_, effects) = OurVerifier::request(channel(), &request(true), id("r"), at(50)).unwrap();
        let ask = |name: &str, value: serde_json::Value| {
            Prover::requested(&over(&sent(&effects).with(name, value)), at(1), at(100)).unwrap_err()
        };
        assert!(matches!(ask("will_confirm", json!("yes")), Illegal::Malformed("will_confirm")));
        assert!(matches!(ask("request_presentations~attach", json!([])), Illegal::Malformed(_)));
        assert!(matches!(ask("formats", json!([])), Illegal::Malformed(_)));
        let link = json!([{"@id": "anoncreds", "data": {"links": ["https://a"]}}]);
        assert!(matches!(ask("request_presentations~attach", link), Illegal::Attachment(_)));
    }
}
