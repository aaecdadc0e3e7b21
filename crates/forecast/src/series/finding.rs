//! What was found wrong with a file of loads: where, what became of it, and what its owner can do.

use crate::hour::UtcHour;
use serde::Serialize;
use std::fmt;

/// Lines of a file, counted from 1, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Lines {
    /// The first.
    pub first: u64,
    /// The last.
    pub last: u64,
}

impl Lines {
    /// A single line.
    #[must_use]
    pub const fn one(line: u64) -> Self {
        Self { first: line, last: line }
    }
}

impl fmt::Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self { first, last } if first == last => write!(f, "line {first}"),
            Self { first, last } => write!(f, "lines {first} to {last}"),
        }
    }
}

/// One thing that is wrong, or that was done about something wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where. For hours that have no line, the lines before and after them.
    pub lines: Lines,
    /// What.
    pub fault: SeriesFault,
}

/// What is wrong, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum SeriesFault {
    #[error("the row has {found} fields where the columns need {expected}; it is left out")]
    ShortRow { found: usize, expected: usize },
    #[error("`{found}` is no date and time; the row is left out")]
    UnreadableTime { found: String },
    #[error("`{found}` does not start an hour; the row is left out")]
    NotOnTheHour { found: String },
    #[error("`{found}` is skipped by the clock {clock}, which is set forward over it; the row is left out")]
    SkippedLocalTime { found: String, clock: String },
    #[error(
        "`{found}` comes once, but the clock {clock} shows it twice; it is taken for the first, the second is a gap"
    )]
    RepeatedHourOnce { found: String, clock: String },
    #[error("`{found}` is no number; the hour has no load")]
    NotANumber { found: String },
    #[error("the load is empty; the hour has none")]
    Empty,
    #[error("a load of {found} is negative; the hour has none")]
    Negative { found: String },
    #[error("{hours} hours of a load of zero, which a grid never has; they have none")]
    Zeros { hours: u64 },
    #[error("{hours} hours of the very same load, as from a meter that is stuck; they have none")]
    Stuck { hours: u64 },
    #[error("{hours} hours of about a thousand times the usual load ({found} kW); they have none")]
    ThousandTimes { hours: u64, found: u64 },
    #[error("{hours} hours of about a thousandth of the usual load ({found} kW); they have none")]
    Thousandth { hours: u64, found: u64 },
    #[error(
        "{hours} hours of a load that cannot be, such as {found} kW where {usual} kW are usual; they have none"
    )]
    Absurd { hours: u64, found: u64, usual: u64 },
    #[error("the hour {hour} has come before with the same load; the row is left out")]
    Repeated { hour: UtcHour },
    #[error("the hour {hour} has come before with another load; which is right is unknown, so it has none")]
    Contradiction { hour: UtcHour },
    #[error("the hour {hour} comes after a later one; it is put in its place")]
    OutOfOrder { hour: UtcHour },
    #[error("{hours} hours from {from} on have no load; they are interpolated between their neighbours")]
    Interpolated { from: UtcHour, hours: u64 },
    #[error("{hours} hours from {from} on have no load, too many to interpolate; they stay empty")]
    Hole { from: UtcHour, hours: u64 },
    #[error(
        "{hours} hours from {from} on have no load: {} or more of whole months; they stay empty", .hours / 672
    )]
    MissingMonth { from: UtcHour, hours: u64 },
    #[error(
        "the file's clock does not fit {clock}: of {forward} hours that it skips {present} have a row, of {back} that \
         it shows twice {once} come once"
    )]
    ClockWithoutDaylightSaving { clock: String, forward: u32, present: u32, back: u32, once: u32 },
    #[error(
        "the file's clock is not {clock}: `{skipped}` is missing as if a clock were set forward, `{doubled}` comes \
         twice as if it were set back; {fits}"
    )]
    OtherDaylightSaving { clock: String, skipped: String, doubled: String, fits: String },
    #[error("column `{column}`: `{found}` is no number; the hour is without it")]
    ExogenousNotANumber { column: String, found: String },
}

impl SeriesFault {
    /// What the file's owner can do about it.
    #[must_use]
    pub const fn remedy(&self) -> &'static str {
        match self {
            Self::ShortRow { .. } => "complete the row, or check the delimiter and the quotes before it",
            Self::UnreadableTime { .. } => {
                "write yyyy-mm-dd hh:mm, with an offset or Z where the file mixes clocks, or name the time column"
            }
            Self::NotOnTheHour { .. } => "average the readings of each hour and date them to its start",
            Self::SkippedLocalTime { .. } => {
                "remove the row if the hour was filled in; else name the right clock"
            }
            Self::RepeatedHourOnce { .. } => {
                "export in UTC or with offsets, so that both hours can be told apart"
            }
            Self::NotANumber { .. } | Self::ExogenousNotANumber { .. } => {
                "leave the field empty where nothing is known; write numbers without units or thousands separators"
            }
            Self::Empty | Self::Hole { .. } | Self::MissingMonth { .. } => {
                "ask the source for the missing hours; forecasts that need them fall back to the seasonal rule"
            }
            Self::Negative { .. } => "export consumption, not the balance with generation or trade",
            Self::Zeros { .. } => "leave hours without a reading empty instead of writing zero",
            Self::Stuck { .. } => "check the meter or the feed in these hours",
            Self::ThousandTimes { .. } | Self::Thousandth { .. } => {
                "check the unit of these rows (kW for MW, or the other way round) and write all rows in one unit"
            }
            Self::Absurd { .. } => "check the rows against the source",
            Self::Repeated { .. } => "remove one of the rows",
            Self::Contradiction { .. } => {
                "keep the row that is right; if a clock was set back, name its zone"
            }
            Self::OutOfOrder { .. } => "sort the file by time",
            Self::Interpolated { .. } => "nothing, unless the source has the hours",
            Self::ClockWithoutDaylightSaving { .. } => {
                "if the clock keeps one offset all year, name that offset; if the file was smoothed over the changes, \
                 go on: the filled hours are left out"
            }
            Self::OtherDaylightSaving { .. } => "name the zone of the file's clock",
        }
    }

    /// Whether it puts every hour of the file in doubt, not only its own.
    #[must_use]
    pub const fn doubts_the_clock(&self) -> bool {
        matches!(self, Self::ClockWithoutDaylightSaving { .. } | Self::OtherDaylightSaving { .. })
    }
}

impl fmt::Display for Finding {
    /// Place, fault and remedy in a line.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} (remedy: {})", self.lines, self.fault, self.fault.remedy())
    }
}

impl Serialize for Finding {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = serializer.serialize_struct("Finding", 4)?;
        fields.serialize_field("first_line", &self.lines.first)?;
        fields.serialize_field("last_line", &self.lines.last)?;
        fields.serialize_field("fault", &self.fault.to_string())?;
        fields.serialize_field("remedy", self.fault.remedy())?;
        fields.end()
    }
}
