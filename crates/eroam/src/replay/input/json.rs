//! Sessions in JSON: splits a document into items as it streams by, then gives each to its format.
//!
//! Accepted documents: an array of items, an object with items in `data` (OCPI response) or `_items` (ACN-Data web
//! download), one item, several of these in a row, and JSON lines. Splitting looks at brackets and strings only, so an
//! item that is wrong inside costs no other item, and a document cut in the middle gives the items before the cut.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::row::{Draft, Fault, FaultKind, Position, ROW, Rows, shorten};
use super::table::check_encoding;
use super::text::{MAX_ROW_BYTES, Source};
use super::{FileReport, Format, ReadError, acn, ocpi};

/// Members whose value holds the items of an enclosing object.
const ENVELOPE_MEMBERS: [&[u8]; 2] = [b"data", b"_items"];
/// Bytes kept of a member's name: enough to tell the names above.
const MEMBER_BYTES_MAX: usize = 8;

/// The items of a JSON document.
pub(super) struct Items<'a> {
    source: Source<'a>,
    level: Level,
    /// Items met so far.
    count: u64,
    /// The current item's text.
    text: Vec<u8>,
}

/// Where the next byte of the document stands.
enum Level {
    /// Between documents.
    Top,
    /// Between the items of an array; in an envelope, its other members follow.
    Array { in_envelope: bool },
    /// After the items of an envelope, inside its object.
    EnvelopeRest,
    /// At the beginning of a line of JSON lines.
    Line,
}

/// What comes next in a document.
enum Piece {
    /// A complete item; its text is in the buffer.
    Item { at: Position, offset: u64, overlong: bool },
    /// The text ends inside an item or before a closing bracket.
    Cut { line: u64 },
    /// Nothing more.
    End,
}

/// How a value ended.
enum Value {
    Complete {
        overlong: bool,
    },
    Cut,
    /// It was an envelope; the next byte is its array or object of items.
    Envelope,
}

impl<'a> Items<'a> {
    pub(super) fn new(source: Source<'a>) -> Self {
        Self { source, level: Level::Top, count: 0, text: Vec::new() }
    }

    /// Reads all items. The first item that shows a known format decides for the file.
    pub(super) fn read(mut self) -> Result<FileReport, ReadError> {
        let file = self.source.file().clone();
        let mut rows = Rows::new(file.clone());
        let mut format = None;
        let mut first = None;
        let (line, stop) = loop {
            match self.next() {
                Piece::Item { .. } if rows.full() => {
                    let line = self.source.line();
                    break (line, Some(rows.too_many_rejected(line)));
                }
                Piece::Item { at, offset, overlong } => {
                    first.get_or_insert_with(|| shorten(&String::from_utf8_lossy(&self.text)));
                    let item = item_text(&self.text, offset, overlong);
                    match format.map_or_else(|| recognise(item.clone()), |format| Ok(Some(format))) {
                        Ok(Some(known)) => {
                            format = Some(known);
                            rows.add(at, known, item.and_then(|text| draft(known, text)));
                        }
                        Ok(None) => rows.add_unknown(at, &Fault::new(ROW, FaultKind::NotASession)),
                        Err(fault) => rows.add_unknown(at, &fault),
                    }
                }
                Piece::Cut { line } => {
                    let cut = ReadError::JsonCut { file: file.to_string(), line };
                    break (line, Some(self.source.take_stop().unwrap_or(cut)));
                }
                Piece::End => break (self.source.line(), self.source.take_stop()),
            }
        };
        match (format, stop, first) {
            (Some(format), stop, _) => rows.finish(format, line, stop),
            (None, Some(stop), _) => Err(stop),
            (None, None, Some(found)) => Err(ReadError::UnknownFormat { file: file.to_string(), found }),
            (None, None, None) => Err(ReadError::Empty { file: file.to_string() }),
        }
    }

    fn next(&mut self) -> Piece {
        loop {
            match self.level {
                Level::Top => {
                    self.source.skip_whitespace();
                    match self.source.peek() {
                        None => return Piece::End,
                        Some(b'[') => {
                            self.source.bump();
                            self.level = Level::Array { in_envelope: false };
                        }
                        Some(_) => {
                            if let Some(piece) = self.item(true) {
                                return piece;
                            }
                        }
                    }
                }
                Level::Array { in_envelope } => {
                    while self.source.peek().is_some_and(|byte| byte.is_ascii_whitespace() || byte == b',') {
                        self.source.bump();
                    }
                    match self.source.peek() {
                        Some(b']') => {
                            self.source.bump();
                            self.level = if in_envelope { Level::EnvelopeRest } else { Level::Top };
                        }
                        Some(_) => {
                            if let Some(piece) = self.item(false) {
                                return piece;
                            }
                        }
                        None => return self.cut(self.source.line()),
                    }
                }
                Level::EnvelopeRest => {
                    self.level = Level::Top;
                    self.text.clear();
                    if matches!(self.nested(1, false), Value::Cut) {
                        return self.cut(self.source.line());
                    }
                }
                Level::Line => return self.line_item(),
            }
        }
    }

    /// Reads the value at hand as an item; none if it turned out to be an envelope.
    fn item(&mut self, document: bool) -> Option<Piece> {
        let (line, offset) = (self.source.line(), self.source.offset());
        self.text.clear();
        match self.value(document) {
            Value::Complete { overlong } => {
                let alone_on_line = document && self.source.line() == line;
                self.count += 1;
                let at = Position { line, item: Some(self.count) };
                if alone_on_line && self.count == 1 {
                    self.source.skip_whitespace();
                    if self.source.line() > line && self.source.peek().is_some() {
                        self.level = Level::Line;
                    }
                }
                let item = if matches!(self.level, Level::Line) { None } else { at.item };
                Some(Piece::Item { at: Position { line, item }, offset, overlong })
            }
            Value::Cut => Some(self.cut(line)),
            Value::Envelope => {
                self.level = Level::EnvelopeRest;
                if self.source.peek() == Some(b'[') {
                    self.source.bump();
                    self.level = Level::Array { in_envelope: true };
                    return None;
                }
                self.item(false)
            }
        }
    }

    fn line_item(&mut self) -> Piece {
        while let Some(line) = self.source.read_line(&mut self.text) {
            if line.cut {
                return Piece::Cut { line: line.number };
            }
            if !self.text.trim_ascii().is_empty() {
                let at = Position { line: line.number, item: None };
                return Piece::Item { at, offset: line.offset, overlong: line.overlong };
            }
        }
        Piece::End
    }

    fn cut(&mut self, line: u64) -> Piece {
        self.level = Level::Top;
        Piece::Cut { line }
    }

    /// Reads one value of any kind into the buffer. Always takes at least one byte.
    fn value(&mut self, document: bool) -> Value {
        match self.source.peek() {
            Some(b'{' | b'[' | b'"') => self.nested(0, document),
            _ => {
                while let Some(byte) = self.source.bump() {
                    self.text.push(byte);
                    let ends = |next: u8| next.is_ascii_whitespace() || b",[]{}\"".contains(&next);
                    if self.source.peek().is_some_and(ends) || self.text.len() > MAX_ROW_BYTES {
                        break;
                    }
                }
                Value::Complete { overlong: false }
            }
        }
    }

    /// Reads on until `depth` open brackets, and those opened on the way, are closed. With `document`, stops at the
    /// items of an envelope.
    fn nested(&mut self, mut depth: usize, document: bool) -> Value {
        let mut overlong = false;
        // The last string at depth one, begun with its quote: a member's name if a colon follows.
        let mut name: Vec<u8> = Vec::new();
        while let Some(byte) = self.source.bump() {
            overlong |= !self.keep(byte);
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                b'"' => {
                    name.clear();
                    if !self.string(&mut name, &mut overlong) {
                        return Value::Cut;
                    }
                }
                b':' if document && depth == 1 && ENVELOPE_MEMBERS.contains(&name.as_slice()) => {
                    self.source.skip_whitespace();
                    if matches!(self.source.peek(), Some(b'[' | b'{')) {
                        return Value::Envelope;
                    }
                }
                _ => {}
            }
            if depth == 0 {
                return Value::Complete { overlong };
            }
        }
        Value::Cut
    }

    /// Reads a string after its opening quote; false if the text ends in it. `start` gets its first bytes.
    fn string(&mut self, start: &mut Vec<u8>, overlong: &mut bool) -> bool {
        let mut escaped = false;
        while let Some(byte) = self.source.bump() {
            *overlong |= !self.keep(byte);
            match byte {
                b'"' if !escaped => return true,
                _ if start.len() < MEMBER_BYTES_MAX => start.push(byte),
                _ => {}
            }
            escaped = byte == b'\\' && !escaped;
        }
        false
    }

    /// Adds a byte to the item's text; false if it is full.
    fn keep(&mut self, byte: u8) -> bool {
        let room = self.text.len() < MAX_ROW_BYTES;
        if room {
            self.text.push(byte);
        }
        room
    }
}

/// Any field that tells a format.
#[derive(Deserialize)]
struct Markers {
    #[serde(rename = "connectionTime")]
    connection_time: Option<IgnoredAny>,
    #[serde(rename = "kWhDelivered")]
    kwh_delivered: Option<IgnoredAny>,
    cdr_token: Option<IgnoredAny>,
    cdr_location: Option<IgnoredAny>,
    total_energy: Option<IgnoredAny>,
}

fn item_text(text: &[u8], offset: u64, overlong: bool) -> Result<&str, Fault> {
    if overlong {
        return Err(Fault::new(ROW, FaultKind::RowTooLong));
    }
    check_encoding(text, offset)
}

fn recognise(item: Result<&str, Fault>) -> Result<Option<Format>, Fault> {
    let markers: Markers = parse(item?)?;
    Ok(if markers.connection_time.is_some() || markers.kwh_delivered.is_some() {
        Some(Format::Acn)
    } else if markers.cdr_token.is_some() || markers.cdr_location.is_some() || markers.total_energy.is_some()
    {
        Some(Format::OcpiCdr)
    } else {
        None
    })
}

fn draft(format: Format, text: &str) -> Result<Draft, Fault> {
    match format {
        Format::Acn => acn::read(text),
        _ => ocpi::read(text),
    }
}

/// Parses an item.
pub(super) fn parse<'t, T: Deserialize<'t>>(text: &'t str) -> Result<T, Fault> {
    if !text.trim_start().starts_with('{') {
        return Err(Fault::new(ROW, FaultKind::NotAnObject));
    }
    serde_json::from_str(text).map_err(|error| {
        // Line and column count from the item's beginning and would mislead.
        let text = error.to_string();
        let detail = text.split(" at line ").next().unwrap_or_default().to_string();
        Fault::new(ROW, FaultKind::NotJson { detail })
    })
}

/// The text of a string or number exactly as written; none if absent, null or blank.
pub(super) fn text<'t>(
    field: &'static str,
    raw: Option<&'t RawValue>,
) -> Result<Option<Cow<'t, str>>, Fault> {
    let Some(raw) = raw.map(RawValue::get) else { return Ok(None) };
    let text = match raw.as_bytes().first() {
        Some(b'"') => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        Some(b'-' | b'0'..=b'9') => Some(Cow::Borrowed(raw)),
        Some(b'n') => return Ok(None),
        _ => None,
    };
    let text = text.ok_or(Fault::new(field, FaultKind::WrongType { expected: "a text or number" }))?;
    Ok(if text.trim().is_empty() { None } else { Some(text) })
}

/// As [`text`], but absence is a fault.
pub(super) fn required<'t>(field: &'static str, raw: Option<&'t RawValue>) -> Result<Cow<'t, str>, Fault> {
    text(field, raw)?.ok_or(Fault::new(field, FaultKind::Missing))
}
