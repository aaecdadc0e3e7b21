//! Problem reports: what went wrong, as a code for programs and a sentence for people.
//!
//! A report is the sender's word, and never answered by another one.
//!
//! Source: Aries RFC 0035.

use super::{Family, Illegal, Incoming};
use crate::didcomm::{Message, MessageId, MessageType};
use serde_json::{Value, json};

/// The longest code that is read; a longer one is cut.
const CODE_CHARS_MAX: usize = 128;
/// The longest sentence that is read; a longer one is cut.
const TEXT_CHARS_MAX: usize = 1024;

/// What the other side says went wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProblemReport {
    /// For programs.
    pub code: String,
    /// For people, in English if there is English.
    pub text: Option<String>,
}

/// Reads a report of any protocol. Whatever is in it, it is a report: missing parts are empty, control characters
/// are left out.
///
/// # Errors
/// [`Illegal::Unsupported`] when the message is none.
pub fn read(message: &Message) -> Result<ProblemReport, Illegal> {
    if !message.kind().is_problem_report() {
        return Err(Illegal::Unsupported { found: message.kind().clone() });
    }
    let clean =
        |text: &str, max: usize| text.chars().filter(|c| !c.is_control()).take(max).collect::<String>();
    let body = message.body();
    let description = body.get("description").and_then(Value::as_object);
    let code =
        description.and_then(|d| d.get("code")).or_else(|| body.get("problem-code")).and_then(Value::as_str);
    let sentence = description.and_then(|d| {
        let others = || d.iter().find(|(name, _)| *name != "code").map(|(_, text)| text);
        d.get("en").or_else(others)
    });
    let sentence = sentence.or_else(|| body.get("explain")).and_then(Value::as_str);
    Ok(ProblemReport {
        code: clean(code.unwrap_or_default(), CODE_CHARS_MAX),
        text: sentence.map(|text| clean(text, TEXT_CHARS_MAX)),
    })
}

/// A report about a thread.
pub(crate) fn write(kind: MessageType, id: MessageId, thread: &MessageId, code: &str, text: &str) -> Message {
    Message::new(kind, id).on_thread(thread.clone()).with("description", json!({"code": code, "en": text}))
}

/// Tells the other side of a connection, on no thread of its, that nothing more will come.
#[must_use]
pub fn farewell(id: MessageId, text: &str) -> Message {
    let kind = Family::ProblemReport.message("problem-report");
    write(kind, id.clone(), &id, "abandoned", text)
}

/// The code for a message that came too late, by the clock of whoever refuses it.
pub const EXPIRED: &str = "expired";

/// What to answer to a message that was refused; `None` where nothing is answered: to problem reports, to
/// acknowledgements, and to whoever is not of the connection.
#[must_use]
pub fn answer(incoming: &Incoming, refused: &Illegal, id: MessageId) -> Option<Message> {
    let message = incoming.message();
    let kind = message.kind();
    if kind.is_problem_report() || kind.name() == "ack" || matches!(refused, Illegal::WrongConnection) {
        return None;
    }
    let (code, text) = match refused {
        Illegal::Unsupported { .. } => ("unsupported-message-type", "This message is not spoken here."),
        Illegal::OutOfOrder { .. } => ("message-out-of-order", "This message was not expected now."),
        Illegal::WrongThread { .. } => ("unknown-thread", "This thread is not known here."),
        Illegal::Expired { .. } => (EXPIRED, "This message came too late."),
        _ => ("message-not-accepted", "This message was not accepted."),
    };
    // What was wrong in detail stays here: it would help whoever tries what passes.
    Some(write(Family::ProblemReport.message("problem-report"), id, message.thread(), code, text))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{came, id};
    use super::*;

    #[test]
    fn reports_of_all_shapes_are_read() {
        let read_body = |body: Value| {
            let mut message =
                json!({"@type": "https://didcomm.org/report-problem/1.0/problem-report", "@id": "1"});
            message.as_object_mut().unwrap().extend(body.as_object().unwrap().clone());
            let report = read(came(&message).message()).unwrap();
            (report.code, report.text)
        };
        let some = |text: &str| Some(text.to_owned());
        let table = [
            (json!({"description": {"code": "a", "en": "b", "de": "c"}}), "a", some("b")),
            (json!({"description": {"code": "a", "de": "c"}}), "a", some("c")),
            (json!({"problem-code": "a", "explain": "b"}), "a", some("b")),
            (json!({"description": "text"}), "", None),
            (json!({}), "", None),
            (json!({"description": {"code": "a\u{1b}[31m", "en": "\n"}}), "a[31m", some("")),
        ];
        for (body, code, text) in table {
            assert_eq!(read_body(body.clone()), (code.to_owned(), text), "{body}");
        }
        let long = read_body(json!({"description": {"code": "a".repeat(999), "en": "b".repeat(9999)}}));
        assert_eq!((long.0.len(), long.1.unwrap().len()), (128, 1024));
    }

    #[test]
    fn a_refusal_is_answered_but_never_a_report_or_an_ack() {
        let kind = |text: &str| came(&json!({"@type": text, "@id": "9", "~thread": {"thid": "8"}}));
        let unknown = kind("https://didcomm.org/teleport/1.0/beam");
        let refused = Family::of(unknown.message().kind()).unwrap_err();
        let report = answer(&unknown, &refused, id("10")).unwrap();
        assert_eq!(report.thread().as_str(), "8");
        assert_eq!(read(&report).unwrap().code, "unsupported-message-type");
        assert!(answer(&unknown, &Illegal::WrongConnection, id("10")).is_none());
        for silent in [
            "https://didcomm.org/teleport/1.0/problem-report",
            "https://didcomm.org/didexchange/1.1/problem_report",
            "https://didcomm.org/report-problem/1.0/problem-report",
            "https://didcomm.org/notification/1.0/ack",
        ] {
            assert!(answer(&kind(silent), &refused, id("10")).is_none(), "{silent}");
        }
        assert!(read(unknown.message()).is_err());
    }
}
