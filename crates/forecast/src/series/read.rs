//! Reads hourly loads from CSV. What can be used is used, whatever else is there is listed.
//!
//! ```text
//! text -> delimiter, columns -> rows -> instants (clock.rs) -> hours: repeated, contradicting, out of order
//!      -> values that cannot be (plausible.rs) -> short gaps interpolated, long ones left (gaps.rs)
//! ```
//! No value is invented: a number that cannot be is dropped, never corrected, and only a gap of a few hours between
//! two known ones is interpolated, which is stated. An interpolated hour has been computed from the hour after it.

use super::columns::{ColumnChoice, Columns, LoadUnit};
use super::daylight::Daylight;
use super::finding::{Finding, Lines, SeriesFault};
use super::row::{RowTime, parse_number, parse_time, shown};
use super::{HOURS_MAX, LoadSeries, gaps, plausible};
use crate::clock::{Instants, LoadClock};
use crate::exogenous::{Exogenous, ExogenousKind};
use crate::hour::UtcHour;
use eroam_domain::quantity::Watts;
use std::collections::BTreeMap;
use std::io::Read;

/// The greatest file: a century of hours in wide rows.
pub const FILE_BYTES_MAX: u64 = 256 * 1024 * 1024;
/// The longest gap that is interpolated if the caller does not say: what a restart of a meter or of a feed takes.
pub const GAP_HOURS_FILLED: u64 = 3;

/// How to read a file.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    /// What the times mean that carry no offset of their own.
    pub clock: LoadClock,
    /// The column of times.
    pub time: ColumnChoice,
    /// The column of loads.
    pub load: ColumnChoice,
    /// The unit of loads; `None` for the one that the header names.
    pub unit: Option<LoadUnit>,
    /// Columns of other influences.
    pub exogenous: Vec<(ColumnChoice, ExogenousKind)>,
    /// Gaps of up to this many hours are interpolated; 0 for none.
    pub gap_hours_filled: u64,
}

impl ReadOptions {
    /// Columns and unit as the header tells, nothing but the load.
    #[must_use]
    pub fn new(clock: LoadClock) -> Self {
        Self {
            clock,
            time: ColumnChoice::Detect,
            load: ColumnChoice::Detect,
            unit: None,
            exogenous: Vec::new(),
            gap_hours_filled: GAP_HOURS_FILLED,
        }
    }
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ReadError {
    #[error("the file cannot be read")]
    Io(#[from] std::io::Error),
    #[error("the file is larger than {FILE_BYTES_MAX} bytes")]
    TooLarge,
    #[error("the file is not UTF-8 text")]
    NotUtf8,
    #[error("the file is empty")]
    Empty,
    #[error("the CSV is broken")]
    Csv(#[from] csv::Error),
    #[error("no column for `{wanted}` among: {found}; name it, or give its number")]
    NoColumn { wanted: String, found: String },
    #[error("the unit of `{column}` is unknown: W, kW or MW must be in the header or be given")]
    UnknownUnit { column: String },
    #[error("no row has a load that can be used; of {findings} findings the first: {first}")]
    NoUsableRow { findings: usize, first: String },
    #[error("{off} of {rows} rows do not start an hour: the series is not hourly")]
    NotHourly { off: usize, rows: usize },
    #[error("the rows span {hours} hours, more than {HOURS_MAX}: a date is wrong")]
    TooLong { hours: i64 },
}

/// What a file holds.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The loads.
    pub series: LoadSeries,
    /// Everything that is wrong, by line.
    pub findings: Vec<Finding>,
    /// Rows of the file, without its header.
    pub rows: u64,
    /// Hours with a load of their own.
    pub read: u64,
    /// Hours with an interpolated load, in order.
    pub interpolated: Vec<UtcHour>,
    /// Hours between the first and the last that have no load.
    pub holes: u64,
}

impl Reading {
    /// Whether the times themselves are in doubt.
    #[must_use]
    pub fn doubts_the_clock(&self) -> bool {
        self.findings.iter().any(|f| f.fault.doubts_the_clock())
    }
}

/// A load with the line that it comes from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Placed {
    pub(super) line: u64,
    pub(super) load: Option<Watts>,
}

/// Hours of a file, with what was found so far.
#[derive(Default)]
pub(super) struct Hours {
    pub(super) placed: BTreeMap<UtcHour, Placed>,
    pub(super) findings: Vec<Finding>,
    exogenous: Vec<BTreeMap<UtcHour, f64>>,
}

impl Hours {
    pub(super) fn find(&mut self, lines: Lines, fault: SeriesFault) {
        self.findings.push(Finding { lines, fault });
    }
}

/// Reads a series.
///
/// # Errors
/// [`ReadError`], where nothing can be used. Everything else is among the findings.
pub fn read_series(input: impl Read, options: &ReadOptions) -> Result<Reading, ReadError> {
    let mut bytes = Vec::new();
    input.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(ReadError::TooLarge);
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| ReadError::NotUtf8)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let delimiter = delimiter(text);
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text.as_bytes());
    let mut records = reader.records();
    let first = records.next().ok_or(ReadError::Empty)??;
    let columns = Columns::find(&first, options)?;
    let mut rows = Rows {
        columns: &columns,
        options,
        delimiter,
        hours: Hours { exogenous: vec![BTreeMap::new(); columns.exogenous.len()], ..Hours::default() },
        daylight: Daylight::default(),
        last: None,
        off_the_hour: 0,
        rows: 0,
    };
    if !columns.header {
        rows.take(&first);
    }
    for record in records {
        rows.take(&record?);
    }
    rows.finish()
}

/// The delimiter that the first line has most of.
pub(super) fn delimiter(text: &str) -> u8 {
    let line = text.lines().next().unwrap_or("");
    let count = |d: u8| line.bytes().filter(|b| *b == d).count();
    // The last of equals wins, so the comma is tried last.
    [b'\t', b';', b','].into_iter().max_by_key(|d| count(*d)).unwrap_or(b',')
}

/// Goes through the rows of a file.
struct Rows<'o> {
    columns: &'o Columns,
    options: &'o ReadOptions,
    delimiter: u8,
    hours: Hours,
    daylight: Daylight,
    last: Option<UtcHour>,
    off_the_hour: usize,
    rows: u64,
}

impl Rows<'_> {
    fn take(&mut self, record: &csv::StringRecord) {
        let line = record.position().map_or(0, csv::Position::line);
        self.rows += 1;
        if let Err(fault) = self.place(record, line) {
            self.hours.find(Lines::one(line), fault);
        }
    }

    fn place(&mut self, record: &csv::StringRecord, line: u64) -> Result<(), SeriesFault> {
        let (Some(time), Some(load)) = (record.get(self.columns.time), record.get(self.columns.load)) else {
            return Err(SeriesFault::ShortRow { found: record.len(), expected: self.columns.width() });
        };
        let hour = self.hour(time, line)?;
        for (values, (at, _, name)) in self.hours.exogenous.iter_mut().zip(&self.columns.exogenous) {
            let text = record.get(*at).unwrap_or("");
            match parse_number(text, self.delimiter) {
                Some(value) => _ = values.insert(hour, value),
                None if text.trim().is_empty() => {}
                None => {
                    let fault = SeriesFault::ExogenousNotANumber { column: name.clone(), found: shown(text) };
                    self.hours.findings.push(Finding { lines: Lines::one(line), fault });
                }
            }
        }
        let load = match self.watts(load) {
            Ok(load) => Some(load),
            Err(fault) => {
                self.hours.find(Lines::one(line), fault);
                None
            }
        };
        if let Some(before) = self.hours.placed.get_mut(&hour) {
            if before.load == load {
                return Err(SeriesFault::Repeated { hour });
            }
            before.load = None;
            return Err(SeriesFault::Contradiction { hour });
        }
        self.hours.placed.insert(hour, Placed { line, load });
        if self.last.is_some_and(|last| hour < last) {
            return Err(SeriesFault::OutOfOrder { hour });
        }
        self.last = Some(hour);
        Ok(())
    }

    /// The UTC hour of a row's time.
    fn hour(&mut self, text: &str, line: u64) -> Result<UtcHour, SeriesFault> {
        let unreadable = || SeriesFault::UnreadableTime { found: shown(text) };
        let clock = &self.options.clock;
        let seconds = match parse_time(text).ok_or_else(unreadable)? {
            RowTime::Instant(seconds) => {
                let offset = i64::from(clock.offset_s(seconds.saturating_mul(1_000)));
                // An hour of the local clock may start at half past an hour of UTC.
                if seconds.rem_euclid(3_600) != 0 && (seconds + offset).rem_euclid(3_600) != 0 {
                    self.off_the_hour += 1;
                    return Err(SeriesFault::NotOnTheHour { found: shown(text) });
                }
                seconds
            }
            RowTime::Local(local) => {
                if (local.minute(), local.second(), local.subsec_nanosecond()) != (0, 0, 0) {
                    self.off_the_hour += 1;
                    return Err(SeriesFault::NotOnTheHour { found: shown(text) });
                }
                self.daylight.saw(local, line);
                match clock.instants(local) {
                    Instants::One(at) => at,
                    Instants::Two(first, second) => {
                        let hour = UtcHour::new(first.div_euclid(3_600)).ok_or_else(unreadable)?;
                        let again = self.hours.placed.contains_key(&hour) && self.daylight.times(local) == 2;
                        if again { second } else { first }
                    }
                    Instants::None => {
                        let clock = clock.to_string();
                        return Err(SeriesFault::SkippedLocalTime { found: shown(text), clock });
                    }
                }
            }
        };
        UtcHour::new(seconds.div_euclid(3_600)).ok_or_else(unreadable)
    }

    fn watts(&self, text: &str) -> Result<Watts, SeriesFault> {
        if text.trim().is_empty() {
            return Err(SeriesFault::Empty);
        }
        let number = parse_number(text, self.delimiter);
        let number = number.ok_or_else(|| SeriesFault::NotANumber { found: shown(text) })?;
        if number < 0.0 {
            return Err(SeriesFault::Negative { found: shown(text) });
        }
        // At most 18 digits and a million watts: far below 2^63 after the limit. Rounded to the nearest watt.
        let watts = (number * self.columns.unit.watts()).round().min(1e18);
        Ok(Watts::new(watts as u64))
    }

    fn finish(self) -> Result<Reading, ReadError> {
        let Self { columns, options, mut hours, daylight, off_the_hour, rows, .. } = self;
        if off_the_hour as u64 * 2 > rows {
            return Err(ReadError::NotHourly { off: off_the_hour, rows: rows as usize });
        }
        daylight.judge(&options.clock, &mut hours);
        plausible::drop_what_cannot_be(&mut hours);
        let nothing = |hours: &Hours| ReadError::NoUsableRow {
            findings: hours.findings.len(),
            first: hours.findings.first().map_or_else(|| "there are no rows".to_owned(), Finding::to_string),
        };
        // Holes at the ends are no gaps: there is nothing beside them.
        let mut known = hours.placed.iter().filter(|(_, p)| p.load.is_some()).map(|(hour, _)| *hour);
        let first = known.next().ok_or_else(|| nothing(&hours))?;
        let last = known.next_back().unwrap_or(first);
        let length = last.since(first) + 1;
        if length > HOURS_MAX as i64 {
            return Err(ReadError::TooLong { hours: length });
        }
        let mut load: Vec<Option<Watts>> = (0..length)
            .map(|n| first.plus(n).and_then(|hour| hours.placed.get(&hour)).and_then(|p| p.load))
            .collect();
        let read = load.iter().flatten().count() as u64;
        let interpolated = gaps::fill(first, &mut load, options.gap_hours_filled, &mut hours);
        let holes = load.iter().filter(|value| value.is_none()).count() as u64;
        hours.findings.sort_by_key(|finding| finding.lines);
        let exogenous = columns
            .exogenous
            .iter()
            .zip(hours.exogenous)
            .filter_map(|((_, kind, _), values)| Exogenous::from_hours(*kind, &values))
            .collect();
        let series = LoadSeries::new(first, load).ok_or(ReadError::TooLong { hours: length })?;
        let series = series.with_exogenous(exogenous);
        Ok(Reading { series, findings: hours.findings, rows, read, interpolated, holes })
    }
}
