//! Acknowledgements: a message arrived, or what it asked for was done.
//!
//! An acknowledgement has nothing in it but a status. Nothing may be allowed because of one: agents acknowledge
//! presentations that they found to be false.
//!
//! Source: Aries RFCs 0015 (acks) and 0317 (please ack).

use super::{Family, Illegal};
use crate::didcomm::{Message, MessageId, MessageType};
use serde_json::Value;

/// What an acknowledgement says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AckStatus {
    /// Done, or arrived.
    Ok,
    /// Not yet: another acknowledgement will come.
    Pending,
    /// Not done.
    Fail,
}

/// Reads the status of an acknowledgement, general or of a protocol that adopted them.
///
/// # Errors
/// [`Illegal::Malformed`].
pub fn read(message: &Message) -> Result<AckStatus, Illegal> {
    match message.body().get("status").and_then(Value::as_str) {
        Some("OK") => Ok(AckStatus::Ok),
        Some("PENDING") => Ok(AckStatus::Pending),
        Some("FAIL") => Ok(AckStatus::Fail),
        _ => Err(Illegal::Malformed("status")),
    }
}

/// An acknowledgement of what a thread asked for.
pub(crate) fn write(kind: MessageType, id: MessageId, thread: &MessageId) -> Message {
    Message::new(kind, id).on_thread(thread.clone()).with("status", "OK")
}

/// The acknowledgement that the sender of a message asked for on its arrival; `None` when it did not, and for
/// acknowledgements and problem reports. To be sent once the message was not refused.
#[must_use]
pub fn of_receipt(message: &Message, id: MessageId) -> Option<Message> {
    let wanted = message.please_ack().is_some_and(|please| please.receipt);
    let silent = message.kind().is_problem_report() || message.kind().name() == "ack";
    (wanted && !silent).then(|| write(Family::Notification.message("ack"), id, message.thread()))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{came, id};
    use super::*;
    use serde_json::json;

    #[test]
    fn only_the_three_statuses_are_read() {
        let status = |status: Value| {
            read(came(&json!({"@type": "https://didcomm.org/notification/1.0/ack", "@id": "1", "status": status})).message())
        };
        assert_eq!(status(json!("OK")).unwrap(), AckStatus::Ok);
        assert_eq!(status(json!("PENDING")).unwrap(), AckStatus::Pending);
        assert_eq!(status(json!("FAIL")).unwrap(), AckStatus::Fail);
        for other in [json!("ok"), json!(true), Value::Null] {
            assert!(matches!(status(other), Err(Illegal::Malformed("status"))));
        }
    }

    #[test]
    fn a_receipt_is_sent_where_it_was_asked_for() {
        let message = |kind: &str, on: Value| {
            came(
                &json!({"@type": format!("https://didcomm.org/{kind}"), "@id": "1", "~please_ack": {"on": on}}),
            )
        };
        let asked = message("basicmessage/1.0/message", json!(["RECEIPT"]));
        let ack = of_receipt(asked.message(), id("2")).unwrap();
        assert_eq!((ack.thread().as_str(), read(&ack).unwrap()), ("1", AckStatus::Ok));
        assert!(
            of_receipt(message("basicmessage/1.0/message", json!(["OUTCOME"])).message(), id("2")).is_none()
        );
        assert!(of_receipt(message("notification/1.0/ack", json!(["RECEIPT"])).message(), id("2")).is_none());
    }
}
