//! Sessions in a CSV table: recognises the format by the header and reads the rows one by one.
//!
//! A row takes one line; a quoted field that runs over several lines is rejected, so that a quote never closed costs
//! one row and not the rest of the file. None of the formats writes such fields.

use std::io::{Cursor, SeekFrom};

use csv::{ReaderBuilder, StringRecord};

use super::clock::Zone;
use super::row::{Draft, Fault, FaultKind, Position, ROW, Rows, shorten};
use super::text::{Line, Source};
use super::{FileReport, Format, ReadError, boulder, trondheim, workplace};

/// How a format lays out its table.
pub(super) struct Layout {
    pub(super) format: Format,
    /// The columns needed, named as in the header; the row's reader addresses them by position in this list.
    pub(super) columns: &'static [&'static str],
    /// IANA name of the zone whose offsets the sessions get.
    pub(super) zone: &'static str,
    pub(super) read: fn(&Row<'_>, &Zone) -> Result<Draft, Fault>,
}

static LAYOUTS: [&Layout; 3] = [&trondheim::LAYOUT, &workplace::LAYOUT, &boulder::LAYOUT];
const SEPARATORS: [u8; 3] = [b';', b',', b'\t'];
/// Fewer columns in common than this are chance.
const MIN_COMMON_COLUMNS: usize = 3;
/// Columns of daily totals, as Santa Barbara County publishes them.
const DAILY_COLUMNS: [&str; 2] = ["Day", "Started Sessions"];

/// A row of a table.
pub(super) struct Row<'a> {
    layout: &'static Layout,
    /// For every column of the layout its position in the record.
    positions: &'a [usize],
    record: &'a StringRecord,
}

impl Row<'_> {
    /// A column's name in the header.
    pub(super) fn name(&self, column: usize) -> &'static str {
        self.layout.columns.get(column).copied().unwrap_or(ROW)
    }

    /// A column's text; none if it is blank or `NA`.
    pub(super) fn text(&self, column: usize) -> Option<&str> {
        let text = self.record.get(*self.positions.get(column)?)?.trim();
        (!text.is_empty() && text != "NA").then_some(text)
    }

    /// A column's text, or the fault that it has none.
    pub(super) fn required(&self, column: usize) -> Result<&str, Fault> {
        self.text(column).ok_or(Fault::new(self.name(column), FaultKind::Missing))
    }

    /// A column's text as its own string.
    pub(super) fn owned(&self, column: usize) -> Option<String> {
        self.text(column).map(str::to_string)
    }
}

/// Reads a table whose header is the next line of `source`.
pub(super) fn read(mut source: Source<'_>) -> Result<FileReport, ReadError> {
    let mut header = Header::read(&mut source)?;
    let layout = header.layout;
    let zone = Zone::named(layout.zone).ok_or_else(|| ReadError::TimeZoneData {
        file: source.file().to_string(),
        zone: layout.zone.to_string(),
    })?;
    let mut rows = Rows::new(source.file().clone());
    let mut buffer = Vec::new();
    let mut record = StringRecord::new();
    let mut cut_line = None;
    while let Some(line) = source.read_line(&mut buffer) {
        if line.cut {
            cut_line = Some(line.number);
            break;
        }
        if buffer.trim_ascii().is_empty() {
            continue;
        }
        if rows.full() {
            let stop = rows.too_many_rejected(line.number);
            return rows.finish(layout.format, line.number, Some(stop));
        }
        let draft = header.split(&buffer, line, &mut record).and_then(|()| {
            (layout.read)(&Row { layout, positions: &header.positions, record: &record }, &zone)
        });
        rows.add(Position { line: line.number, item: None }, layout.format, draft);
    }
    let line = cut_line.unwrap_or(source.line());
    rows.finish(layout.format, line, source.take_stop())
}

struct Header {
    layout: &'static Layout,
    splitter: Splitter,
    width: usize,
    positions: Vec<usize>,
}

impl Header {
    fn read(source: &mut Source<'_>) -> Result<Self, ReadError> {
        let file = source.file().to_string();
        let mut buffer = Vec::new();
        let Some(line) = source.read_line(&mut buffer) else { return Err(ReadError::Empty { file }) };
        if line.cut
            && let Some(stop) = source.take_stop()
        {
            return Err(stop);
        }
        let text = std::str::from_utf8(&buffer).map_err(|error| ReadError::NotUtf8 {
            file: file.clone(),
            line: line.number,
            byte: line.offset + error.valid_up_to() as u64,
        })?;
        let unknown = || ReadError::UnknownFormat { file: file.clone(), found: shorten(text) };
        if line.overlong {
            return Err(unknown());
        }
        let count = |separator: &u8| buffer.iter().filter(|byte| *byte == separator).count();
        let separator = SEPARATORS.into_iter().max_by_key(count).unwrap_or(b',');
        let mut record = StringRecord::new();
        let mut splitter = Splitter::new(separator);
        splitter.split(&buffer, &mut record).map_err(|_| unknown())?;
        let names: Vec<&str> = record.iter().map(str::trim).collect();
        let position = |column: &&str| names.iter().position(|name| name == column);
        let common = |layout: &Layout| layout.columns.iter().filter_map(position).count();
        let layout = LAYOUTS.into_iter().max_by_key(|layout| common(layout)).ok_or_else(unknown)?;
        if DAILY_COLUMNS.iter().all(|column| names.contains(column)) {
            return Err(ReadError::DailyTotals { file });
        }
        if common(layout) < MIN_COMMON_COLUMNS {
            return Err(unknown());
        }
        let missing = layout.columns.iter().filter(|column| position(column).is_none());
        let missing: Vec<String> = missing.map(ToString::to_string).collect();
        if !missing.is_empty() {
            return Err(ReadError::MissingColumns { file, format: layout.format, missing });
        }
        let positions = layout.columns.iter().filter_map(position).collect();
        Ok(Self { layout, splitter, width: names.len(), positions })
    }

    fn split(&mut self, buffer: &[u8], line: Line, record: &mut StringRecord) -> Result<(), Fault> {
        let fault = |kind| Fault::new(ROW, kind);
        if line.overlong {
            return Err(fault(FaultKind::RowTooLong));
        }
        check_encoding(buffer, line.offset)?;
        if buffer.iter().filter(|byte| **byte == b'"').count() % 2 == 1 {
            return Err(fault(FaultKind::UnclosedQuote));
        }
        if self.splitter.split(buffer, record).is_err() || record.len() != self.width {
            return Err(fault(FaultKind::FieldCount { found: record.len(), expected: self.width }));
        }
        Ok(())
    }
}

/// The text of a row, or the fault with the offset of its first wrong byte; `offset` is where the row begins.
pub(super) fn check_encoding(row: &[u8], offset: u64) -> Result<&str, Fault> {
    std::str::from_utf8(row).map_err(|error| {
        Fault::new(ROW, FaultKind::WrongEncoding { byte: offset + error.valid_up_to() as u64 })
    })
}

/// Splits single lines into fields. One CSV reader serves all lines, since making one costs more than a line.
struct Splitter(csv::Reader<Cursor<Vec<u8>>>);

impl Splitter {
    fn new(separator: u8) -> Self {
        let reader = ReaderBuilder::new()
            .has_headers(false)
            .flexible(true)
            .delimiter(separator)
            .from_reader(Cursor::default());
        Self(reader)
    }

    fn split(&mut self, line: &[u8], record: &mut StringRecord) -> Result<(), csv::Error> {
        let text = self.0.get_mut().get_mut();
        text.clear();
        text.extend_from_slice(line);
        self.0.seek_raw(SeekFrom::Start(0), csv::Position::new())?;
        self.0.read_record(record).map(|_| ())
    }
}
