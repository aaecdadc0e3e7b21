//! Parts that messages of several protocols have: texts with limits, and attachments of a named format.

use super::Illegal;
use crate::didcomm::{Attachment, Message, MessageId};
use serde_json::{Value, json};

/// The most formats that a message offers the same content in.
pub const FORMATS_MAX: usize = 8;
/// The longest name of a format.
const FORMAT_BYTES_MAX: usize = 128;
/// The longest comment and the like.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;

/// Content of a named format, such as `anoncreds/proof-request@v1.0`.
#[derive(Clone, PartialEq, Eq)]
pub struct Formatted {
    /// The format.
    pub format: String,
    /// The content, not looked into here.
    pub content: Vec<u8>,
}

impl std::fmt::Debug for Formatted {
    /// Not the content, which may be a credential.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Formatted({:?}, {} bytes)", self.format, self.content.len())
    }
}

/// The content of the one attachment of this format.
#[must_use]
pub fn find_format<'a>(formatted: &'a [Formatted], format: &str) -> Option<&'a [u8]> {
    formatted.iter().find(|item| item.format == format).map(|item| item.content.as_slice())
}

/// A text that may be missing; `null` is a missing one.
pub(crate) fn optional_text(message: &Message, name: &'static str) -> Result<Option<String>, Illegal> {
    match message.body().get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) if text.len() <= TEXT_BYTES_MAX => Ok(Some(text.clone())),
        Some(_) => Err(Illegal::Malformed(name)),
    }
}

/// Yes or no; missing is no.
pub(crate) fn flag(message: &Message, name: &'static str) -> Result<bool, Illegal> {
    match message.body().get(name) {
        None | Some(Value::Null) => Ok(false),
        Some(value) => value.as_bool().ok_or(Illegal::Malformed(name)),
    }
}

/// The message with a text, if there is one.
pub(crate) fn with_text(message: Message, name: &str, text: Option<&str>) -> Message {
    match text {
        Some(text) => message.with(name, text),
        None => message,
    }
}

/// Reads `formats` and the attachments that they name, each exactly once. A message without any is read as such.
pub(crate) fn read_formats(message: &Message, attachments: &'static str) -> Result<Vec<Formatted>, Illegal> {
    let list = |name: &'static str| match message.body().get(name) {
        None => Ok([].as_slice()),
        Some(Value::Array(items)) if items.len() <= FORMATS_MAX => Ok(items.as_slice()),
        Some(_) => Err(Illegal::Malformed(name)),
    };
    let mut attached = Vec::new();
    for attachment in list(attachments)? {
        attached.push(Attachment::from_value(attachment)?);
    }
    let mut read: Vec<Formatted> = Vec::new();
    for format in list("formats")? {
        let member = |name: &str| format.get(name).and_then(Value::as_str);
        let name = member("format").filter(|name| (1..=FORMAT_BYTES_MAX).contains(&name.len()));
        let (Some(name), Some(id)) = (name, member("attach_id")) else {
            return Err(Illegal::Malformed("formats"));
        };
        let at =
            attached.iter().position(|attachment| attachment.id().is_some_and(|found| found.as_str() == id));
        let attachment = attached.swap_remove(at.ok_or(Illegal::Malformed("attach_id"))?);
        if read.iter().any(|item| item.format == name) {
            return Err(Illegal::Malformed("formats"));
        }
        read.push(Formatted { format: name.to_owned(), content: attachment.content() });
    }
    if attached.is_empty() { Ok(read) } else { Err(Illegal::Malformed(attachments)) }
}

/// Reads `formats`, of which there must be one at least.
pub(crate) fn read_some_formats(
    message: &Message,
    attachments: &'static str,
) -> Result<Vec<Formatted>, Illegal> {
    let read = read_formats(message, attachments)?;
    if read.is_empty() { Err(Illegal::Malformed(attachments)) } else { Ok(read) }
}

/// The message with content in formats. An attachment is named after the family of its format, as agents do.
pub(crate) fn with_formats(
    message: Message,
    attachments: &'static str,
    formatted: &[Formatted],
) -> Result<Message, Illegal> {
    if formatted.len() > FORMATS_MAX {
        return Err(Illegal::Malformed("formats"));
    }
    let (mut formats, mut attached) = (Vec::new(), Vec::<Attachment>::new());
    for item in formatted {
        let family = item.format.split('/').next().unwrap_or_default();
        let taken = |id: &MessageId| attached.iter().any(|attachment| attachment.id() == Some(id));
        let id = MessageId::parse(family).filter(|id| !taken(id));
        let id = id.or_else(|| MessageId::parse(&format!("attachment-{}", attached.len())));
        let id = id.ok_or(Illegal::Malformed("formats"))?;
        formats.push(json!({"attach_id": id.as_str(), "format": item.format}));
        attached.push(Attachment::bytes(id, "application/json", item.content.clone()));
    }
    let attached = attached.iter().map(Attachment::to_value).collect::<Vec<_>>();
    Ok(message.with("formats", formats).with(attachments, attached))
}

/// As [`with_formats`], of which there must be one at least.
pub(crate) fn with_some_formats(
    message: Message,
    attachments: &'static str,
    formatted: &[Formatted],
) -> Result<Message, Illegal> {
    if formatted.is_empty() {
        return Err(Illegal::Malformed("formats"));
    }
    with_formats(message, attachments, formatted)
}

#[cfg(test)]
mod tests {
    use super::super::tests::came;
    use super::*;

    #[test]
    fn formats_and_attachments_must_name_each_other() {
        let attachment = |id: &str| json!({"@id": id, "data": {"base64": "e30="}});
        let read = |formats: Value, attached: Value| {
            let message =
                came(&json!({"@type": "https://didcomm.org/a/1.0/b", "@id": "1", "formats": formats,
                "x~attach": attached}));
            read_some_formats(message.message(), "x~attach")
        };
        let one = json!([{"attach_id": "a", "format": "f"}]);
        let read_one = read(one.clone(), json!([attachment("a")])).unwrap();
        assert_eq!(find_format(&read_one, "f"), Some(b"{}".as_slice()));
        assert_eq!(find_format(&read_one, "g"), None);
        let malformed = [
            (json!([]), json!([])),
            (one.clone(), json!([])),
            (one.clone(), json!([attachment("b")])),
            (one.clone(), json!([attachment("a"), attachment("b")])),
            (
                json!([{"attach_id": "a", "format": "f"}, {"attach_id": "a", "format": "g"}]),
                json!([attachment("a")]),
            ),
            (
                json!([{"attach_id": "a", "format": "f"}, {"attach_id": "b", "format": "f"}]),
                json!([attachment("a"), attachment("b")]),
            ),
            (json!([{"attach_id": "a"}]), json!([attachment("a")])),
            (json!({}), json!([attachment("a")])),
            (one, json!(vec![attachment("a"); 9])),
        ];
        for (formats, attached) in malformed {
            assert!(
                matches!(read(formats.clone(), attached.clone()), Err(Illegal::Malformed(_))),
                "{formats} {attached}"
            );
        }
    }

    #[test]
    fn what_is_written_is_read_back_also_with_two_formats_of_a_family() {
        let formatted = ["anoncreds/a@v1.0", "anoncreds/b@v1.0", "ä"]
            .map(|format| Formatted { format: format.to_owned(), content: b"x".to_vec() });
        let kind = super::super::Family::PresentProof.message("x");
        let message = Message::new(kind, MessageId::parse("1").unwrap());
        let message = with_formats(message, "x~attach", &formatted).unwrap();
        assert_eq!(read_formats(&message, "x~attach").unwrap(), formatted);
        assert_eq!(message.body()["formats"][0]["attach_id"], "anoncreds");
    }
}
