//! From the values of a row to a session: the checks that every format shares, and the collection of what passed and
//! what did not.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::clock::Zone;
use super::decimal::{NotDecimal, scaled};
use super::{FileReport, Format, InputSession, ReadError, Rejected, SourceRef};

/// Most energy of one session, thousandths of a watt-hour: 1000 kWh, beyond the battery of any road vehicle.
pub const MAX_ENERGY_MILLI_WH: u64 = 1_000_000_000;
/// Highest mean power over the plugged time, thousandths of a watt: 1 MW.
pub const MAX_MEAN_POWER_MILLI_W: u128 = 1_000_000_000;
/// Longest session, milliseconds: 60 days.
pub const MAX_SESSION_MS: i64 = 60 * 24 * MS_PER_HOUR;
/// Longest user, station or session id, bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// Most rejected rows listed for one file; reading stops there.
pub const MAX_REJECTED: usize = 100_000;
/// First year in which a session may start; charging records are younger.
pub const FIRST_YEAR: i16 = 2000;
/// Last year in which a session may start.
pub const LAST_YEAR: i16 = 2099;

const MS_PER_HOUR: i64 = 3_600_000;
/// A clock that shows minutes hides sessions shorter than this.
const CLOCK_MINUTE: SignedDuration = SignedDuration::from_secs(60);
/// Decimal places from kilowatt-hours to thousandths of a watt-hour.
const KWH_SCALE: u32 = 6;

/// The field name of a fault that concerns the row as a whole.
pub(super) const ROW: &str = "row";

/// What is wrong with a row, and in which field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    field: &'static str,
    kind: FaultKind,
}

impl Fault {
    pub(super) fn new(field: &'static str, kind: FaultKind) -> Self {
        Self { field, kind }
    }
}

/// The rules a row can break. `Display` is the reason, [`FaultKind::remedy`] the way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum FaultKind {
    #[error("is missing or empty")]
    Missing,
    #[error("is longer than {MAX_NAME_BYTES} bytes")]
    NameTooLong,
    #[error("`{found}` is not a date of the form {form}")]
    NotADate { found: String, form: &'static str },
    #[error("`{found}` does not exist in {zone}: the clock was set forward over it")]
    SkippedLocalTime { found: String, zone: String },
    #[error("`{found}` is not a known time zone")]
    UnknownTimeZone { found: String, accepted: &'static str },
    #[error("year {found} is outside {FIRST_YEAR} to {LAST_YEAR}")]
    ImplausibleYear { found: i16 },
    #[error("the end {end} is before the start {start}")]
    EndBeforeStart { start: Timestamp, end: Timestamp },
    #[error("the session lasts {hours} hours, more than 60 days")]
    TooLong { hours: i64 },
    #[error("`{found}` is not a duration of the form {form}")]
    NotADuration { found: String, form: &'static str },
    #[error("`{found}` is not a decimal number")]
    NotANumber { found: String },
    #[error("the energy {found} kWh is negative")]
    NegativeEnergy { found: String },
    #[error("the energy {found} kWh is more than {} kWh", MAX_ENERGY_MILLI_WH / 1_000_000)]
    AbsurdEnergy { found: String },
    #[error("the mean power {kilowatts} kW over the plugged time is more than {} kW", MAX_MEAN_POWER_MILLI_W / 1_000_000)]
    AbsurdPower { kilowatts: u128 },
    #[error("there is energy but start and end are the same instant")]
    EnergyWithoutTime,
    #[error("credits an earlier record and tells no session of its own")]
    CreditCdr,
    #[error("is not UTF-8 text (byte {byte} of the file)")]
    WrongEncoding { byte: u64 },
    #[error("has {found} fields where the header has {expected}")]
    FieldCount { found: usize, expected: usize },
    #[error("a quoted field is not closed on its line")]
    UnclosedQuote,
    #[error("is longer than {} bytes", super::MAX_ROW_BYTES)]
    RowTooLong,
    #[error("is not valid JSON: {detail}")]
    NotJson { detail: String },
    #[error("is not a JSON object")]
    NotAnObject,
    #[error("has none of the fields of a session")]
    NotASession,
    #[error("is not {expected}")]
    WrongType { expected: &'static str },
    #[error("is a duplicate of {of}")]
    Duplicate { of: String },
    #[error("the file is cut off or broken here and cannot be read further")]
    CutOff,
}

impl FaultKind {
    fn remedy(&self) -> String {
        match self {
            Self::Missing => "give a value".into(),
            Self::NameTooLong => "shorten it".into(),
            Self::NotADate { form, .. } => format!("write it as {form}"),
            Self::SkippedLocalTime { .. } => "correct the hour, or export the file in UTC".into(),
            Self::UnknownTimeZone { accepted, .. } => format!("use {accepted}"),
            Self::ImplausibleYear { .. } => "correct the year".into(),
            Self::EndBeforeStart { .. } => "correct the start or the end".into(),
            Self::TooLong { .. } => "correct the start or the end, or split the session".into(),
            Self::NotADuration { form, .. } => format!("write it as {form}"),
            Self::NotANumber { .. } => "write digits with at most one decimal mark, without unit".into(),
            Self::NegativeEnergy { .. } => "correct the energy, or remove a reversal".into(),
            Self::AbsurdEnergy { .. } => "check the unit: energy is read in kWh".into(),
            Self::AbsurdPower { .. } => "correct the start, the end or the energy".into(),
            Self::EnergyWithoutTime => "give the end with seconds".into(),
            Self::CreditCdr => "remove it and the record it credits".into(),
            Self::WrongEncoding { .. } => "save the file as UTF-8".into(),
            Self::FieldCount { .. } => "quote fields that contain the separator".into(),
            Self::UnclosedQuote => "close the quote; a row takes one line".into(),
            Self::RowTooLong => "check for a missing line end or bracket".into(),
            Self::NotJson { .. } => "correct the JSON".into(),
            Self::NotAnObject => "give one object per session".into(),
            Self::NotASession => format!("give {} or {} objects", Format::Acn, Format::OcpiCdr),
            Self::WrongType { expected } => format!("give {expected}"),
            Self::Duplicate { .. } => "remove one of them".into(),
            Self::CutOff => "correct this row, or export or download the file again".into(),
        }
    }
}

/// How a format names the fields that the shared checks speak of.
#[derive(Debug)]
pub(super) struct FieldNames {
    pub(super) id: &'static str,
    pub(super) user: &'static str,
    pub(super) station: &'static str,
    pub(super) start: &'static str,
    pub(super) end: &'static str,
    pub(super) energy: &'static str,
}

/// A row's values, parsed but not yet checked against each other.
pub(super) struct Draft {
    pub(super) names: &'static FieldNames,
    pub(super) id: Option<String>,
    pub(super) user: Option<String>,
    pub(super) station: Option<String>,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    /// When energy stopped flowing; none or before the start if the file does not know.
    pub(super) charging_end: Option<Timestamp>,
    /// The file's own duration, for formats whose clock shows minutes only.
    pub(super) duration: Option<SignedDuration>,
    pub(super) energy_milli_wh: u64,
    pub(super) zone: Zone,
}

/// Where a row begins.
#[derive(Clone, Copy, Debug)]
pub(super) struct Position {
    pub(super) line: u64,
    pub(super) item: Option<u64>,
}

/// What was collected from a file so far.
pub(super) struct Rows {
    file: Arc<str>,
    read: u64,
    sessions: Vec<InputSession>,
    rejected: Vec<Rejected>,
    /// Hash of a session's content to its index; the next free hash on collision. Only looked up, never iterated.
    seen: HashMap<u64, usize>,
}

impl Rows {
    pub(super) fn new(file: Arc<str>) -> Self {
        Self { file, read: 0, sessions: Vec::new(), rejected: Vec::new(), seen: HashMap::new() }
    }

    /// Whether another rejection would exceed [`MAX_REJECTED`].
    pub(super) fn full(&self) -> bool {
        self.rejected.len() >= MAX_REJECTED
    }

    /// Adds a complete row, as session or as rejection.
    pub(super) fn add(&mut self, at: Position, format: Format, row: Result<Draft, Fault>) {
        self.read += 1;
        let source = SourceRef { file: Arc::clone(&self.file), line: at.line, item: at.item, format };
        let session = row.and_then(|draft| draft.check(source)).and_then(|session| self.check_new(session));
        match session {
            Ok(session) => self.sessions.push(session),
            Err(fault) => self.list(at, &fault),
        }
    }

    /// Adds a complete row that is none of any known format.
    pub(super) fn add_unknown(&mut self, at: Position, fault: &Fault) {
        self.read += 1;
        self.list(at, fault);
    }

    /// Ends the collection. `stop` says why reading ended early, if it did, and `line` where.
    pub(super) fn finish(
        mut self,
        format: Format,
        line: u64,
        stop: Option<ReadError>,
    ) -> Result<FileReport, ReadError> {
        match &stop {
            Some(ReadError::TooLarge { file, limit_bytes }) => {
                return Err(ReadError::TooLarge { file: file.clone(), limit_bytes: *limit_bytes });
            }
            None | Some(ReadError::TooManyRejected { .. }) => {}
            Some(_) => self.list(Position { line, item: None }, &Fault::new(ROW, FaultKind::CutOff)),
        }
        Ok(FileReport {
            file: self.file.to_string(),
            format,
            rows_read: self.read,
            sessions: self.sessions,
            rejected: self.rejected,
            error: stop,
        })
    }

    /// The error that ends a file with too many bad rows.
    pub(super) fn too_many_rejected(&self, line: u64) -> ReadError {
        ReadError::TooManyRejected { file: self.file.to_string(), line, limit: MAX_REJECTED }
    }

    fn list(&mut self, at: Position, fault: &Fault) {
        self.rejected.push(Rejected {
            file: self.file.to_string(),
            line: at.line,
            item: at.item,
            field: fault.field.to_string(),
            reason: fault.kind.to_string(),
            remedy: fault.kind.remedy(),
        });
    }

    /// A session is a duplicate if everything that identifies it, its id included, is the same: rows that differ only
    /// in their id are real (Boulder has short failed attempts in the same minute on two ports).
    fn check_new(&mut self, session: InputSession) -> Result<InputSession, Fault> {
        let mut hasher = DefaultHasher::new();
        identity(&session).hash(&mut hasher);
        let mut hash = hasher.finish();
        while let Some(index) = self.seen.get(&hash) {
            if let Some(first) =
                self.sessions.get(*index).filter(|first| identity(first) == identity(&session))
            {
                let SourceRef { line, item, .. } = first.source;
                let of = item.map_or(format!("line {line}"), |item| format!("item {item}, line {line}"));
                return Err(Fault::new(ROW, FaultKind::Duplicate { of }));
            }
            hash = hash.wrapping_add(1);
        }
        self.seen.insert(hash, self.sessions.len());
        Ok(session)
    }
}

fn identity(session: &InputSession) -> impl Hash + PartialEq + '_ {
    (
        (&session.id, &session.user, &session.station),
        (session.start_ms, session.end_ms, session.energy_milli_wh),
    )
}

impl Draft {
    /// The checks every format shares, in this order; the first that fails is the reason.
    fn check(self, source: SourceRef) -> Result<InputSession, Fault> {
        let names = self.names;
        let station = self.station.ok_or(Fault::new(names.station, FaultKind::Missing))?;
        check_length(names.station, Some(&station))?;
        check_length(names.user, self.user.as_deref())?;
        check_length(names.id, self.id.as_deref())?;
        let start = self.start;
        let year = self.zone.year(start);
        if !(FIRST_YEAR..=LAST_YEAR).contains(&year) {
            return Err(Fault::new(names.start, FaultKind::ImplausibleYear { found: year }));
        }
        if self.end < start {
            return Err(Fault::new(names.end, FaultKind::EndBeforeStart { start, end: self.end }));
        }
        let end = seconds_within_the_minute(start, self.end, self.duration);
        let (start_ms, end_ms) = (start.as_millisecond(), end.as_millisecond());
        let plugged_ms = end_ms - start_ms;
        if plugged_ms > MAX_SESSION_MS {
            return Err(Fault::new(names.end, FaultKind::TooLong { hours: plugged_ms / MS_PER_HOUR }));
        }
        check_power(self.energy_milli_wh, plugged_ms).map_err(|kind| Fault::new(names.energy, kind))?;
        // Energy needs time to flow: an end of charging that leaves none says nothing.
        let believed = |at: &Timestamp| *at > start || (*at == start && self.energy_milli_wh == 0);
        let charging_end = self.charging_end.filter(believed).unwrap_or(end).min(end);
        Ok(InputSession {
            source,
            id: self.id,
            user: self.user,
            station,
            port: 1,
            start_ms,
            charging_end_ms: charging_end.as_millisecond(),
            end_ms,
            energy_milli_wh: self.energy_milli_wh,
            offset_start_s: self.zone.offset_s(start),
            offset_change: self
                .zone
                .change_within(start, end)
                .map(|(at, offset_s)| (at.as_millisecond(), offset_s)),
        })
    }
}

/// Reads an energy in kilowatt-hours as thousandths of a watt-hour.
pub(super) fn energy_milli_wh(field: &'static str, text: &str, mark: char) -> Result<u64, Fault> {
    let found = || shorten(text);
    let kind = match scaled(text, mark, KWH_SCALE) {
        Ok(energy) if energy <= MAX_ENERGY_MILLI_WH => return Ok(energy),
        Ok(_) | Err(NotDecimal::TooLarge) => FaultKind::AbsurdEnergy { found: found() },
        Err(NotDecimal::Negative) => FaultKind::NegativeEnergy { found: found() },
        Err(NotDecimal::Malformed) => FaultKind::NotANumber { found: found() },
    };
    Err(Fault::new(field, kind))
}

/// Enough of a value to find it again.
pub(super) fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 60;
    match text.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", text.get(..end).unwrap_or_default()),
        None => text.to_string(),
    }
}

fn check_length(field: &'static str, name: Option<&str>) -> Result<(), Fault> {
    match name {
        Some(name) if name.len() > MAX_NAME_BYTES => Err(Fault::new(field, FaultKind::NameTooLong)),
        _ => Ok(()),
    }
}

/// A clock of minutes shows one time for both ends of a session of seconds; the file's own duration tells how long it
/// was. Of the real files this keeps 16 rows of Trondheim and 10 of Boulder with energy, all of 13 to 56 s. A duration
/// that contradicts the clock is not believed.
fn seconds_within_the_minute(
    start: Timestamp,
    end: Timestamp,
    duration: Option<SignedDuration>,
) -> Timestamp {
    duration
        .filter(|duration| start == end && duration.is_positive() && *duration < CLOCK_MINUTE)
        .and_then(|duration| start.checked_add(duration).ok())
        .unwrap_or(end)
}

fn check_power(energy_milli_wh: u64, plugged_ms: i64) -> Result<(), FaultKind> {
    if energy_milli_wh == 0 {
        return Ok(());
    }
    let plugged_ms = u128::from(plugged_ms.unsigned_abs());
    let power_milli_w =
        (u128::from(energy_milli_wh) * u128::from(MS_PER_HOUR.unsigned_abs())).checked_div(plugged_ms);
    match power_milli_w {
        None => Err(FaultKind::EnergyWithoutTime),
        Some(power) if power > MAX_MEAN_POWER_MILLI_W => {
            Err(FaultKind::AbsurdPower { kilowatts: power / 1_000_000 })
        }
        Some(_) => Ok(()),
    }
}
