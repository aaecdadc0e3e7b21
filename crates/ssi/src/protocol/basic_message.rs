//! Texts for people.
//!
//! Source: Aries RFC 0095.

use super::{Family, Illegal};
use crate::didcomm::{Message, MessageId, parse_timestamp};
use eroam_domain::time::UnixMillis;
use serde_json::{Value, json};

/// The longest text that is read.
pub const CONTENT_BYTES_MAX: usize = 16 * 1024;

/// A text, as its sender says it.
#[derive(Clone, PartialEq, Eq)]
pub struct BasicMessage {
    /// The text.
    pub content: String,
    /// When it was written.
    pub sent_time: UnixMillis,
    /// Its language.
    pub locale: Option<String>,
}

impl std::fmt::Debug for BasicMessage {
    /// Not what it says.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "BasicMessage({} bytes, {})", self.content.len(), self.sent_time)
    }
}

/// Writes a text.
#[must_use]
pub fn write(text: &BasicMessage, id: MessageId) -> Message {
    let message = Message::new(Family::BasicMessage.message("message"), id)
        .with("sent_time", text.sent_time.to_string())
        .with("content", text.content.as_str());
    match &text.locale {
        Some(locale) => message.with("~l10n", json!({"locale": locale})),
        None => message,
    }
}

/// Reads a text.
///
/// # Errors
/// [`Illegal`] for other messages and malformed ones.
pub fn read(message: &Message) -> Result<BasicMessage, Illegal> {
    if Family::of(message.kind())? != Family::BasicMessage || message.kind().name() != "message" {
        return Err(Illegal::Unsupported { found: message.kind().clone() });
    }
    let text = |name: &str| message.body().get(name).and_then(Value::as_str);
    let content = text("content")
        .filter(|text| text.len() <= CONTENT_BYTES_MAX)
        .ok_or(Illegal::Malformed("content"))?;
    let sent_time = text("sent_time").and_then(parse_timestamp).ok_or(Illegal::Malformed("sent_time"))?;
    let locale = message.body().get("~l10n").and_then(|l10n| l10n.get("locale")).and_then(Value::as_str);
    let locale = locale.filter(|locale| locale.len() <= 32);
    Ok(BasicMessage { content: content.to_owned(), sent_time, locale: locale.map(str::to_owned) })
}

#[cfg(test)]
mod tests {
    use super::super::tests::{at, came, id};
    use super::*;

    #[test]
    fn a_text_is_read_back() {
        let text =
            BasicMessage {
                content: "Grüße".to_owned(), sent_time: at(1_500), locale: Some("de".to_owned())
            };
        assert_eq!(read(&write(&text, id("1"))).unwrap(), text);
        assert!(!format!("{text:?}").contains("Grüße"));
    }

    #[test]
    fn malformed_texts_are_refused() {
        let message = |name: &str, content: Value, time: Value| {
            let kind = format!("https://didcomm.org/basicmessage/1.0/{name}");
            read(came(&json!({"@type": kind, "@id": "1", "content": content, "sent_time": time})).message())
        };
        let time = json!("2026-11-21T21:35:52.358292Z");
        assert!(message("message", json!("a"), time.clone()).is_ok());
        assert!(matches!(message("other", json!("a"), time.clone()), Err(Illegal::Unsupported { .. })));
        assert!(matches!(message("message", json!(1), time.clone()), Err(Illegal::Malformed("content"))));
        let long = json!("a".repeat(CONTENT_BYTES_MAX + 1));
        assert!(matches!(message("message", long, time), Err(Illegal::Malformed("content"))));
        assert!(matches!(message("message", json!("a"), json!("now")), Err(Illegal::Malformed("sent_time"))));
    }
}
