//! Single rows of a load that is still growing: as strict as for a whole file, one at a time.
//!
//! What can be said of a row alone is said here: its time, its number. Whether an hour repeats or contradicts another,
//! or a load cannot be, needs all rows and is [`super::read`]'s question.

use super::columns::{Columns, LoadUnit};
use super::finding::SeriesFault;
use super::plausible::LOAD_WATTS_MAX;
use super::read::{ReadError, ReadOptions, delimiter};
use super::row::{RowTime, parse_number, parse_time, shown};
use crate::clock::{Instants, LoadClock};
use crate::hour::UtcHour;
use eroam_domain::quantity::Watts;

/// A load of an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The hour.
    pub hour: UtcHour,
    /// Its mean load.
    pub load: Watts,
}

/// Reads the rows of a file whose first line is known.
pub struct SampleReader {
    columns: Columns,
    clock: LoadClock,
    delimiter: u8,
}

impl SampleReader {
    /// By the first line of a file, as [`super::read::read_series`] takes it.
    ///
    /// # Errors
    /// [`ReadError`] for columns or a unit that neither the line nor `options` tell.
    pub fn from_first_line(line: &str, options: &ReadOptions) -> Result<Self, ReadError> {
        let line = line.strip_prefix('\u{feff}').unwrap_or(line);
        let delimiter = delimiter(line);
        let first = record(line, delimiter)?.ok_or(ReadError::Empty)?;
        Ok(Self { columns: Columns::find(&first, options)?, clock: options.clock.clone(), delimiter })
    }

    /// Whether the first line is a header, and no row.
    #[must_use]
    pub const fn has_header(&self) -> bool {
        self.columns.header
    }

    /// A row. An hour that the clock shows twice is taken for the first: a feed that writes offsets tells them apart.
    ///
    /// # Errors
    /// [`SeriesFault`].
    pub fn row(&self, line: &str) -> Result<Sample, SeriesFault> {
        let unreadable = || SeriesFault::UnreadableTime { found: shown(line) };
        let fields = record(line, self.delimiter).ok().flatten().ok_or_else(unreadable)?;
        let (Some(time), Some(load)) = (fields.get(self.columns.time), fields.get(self.columns.load)) else {
            return Err(SeriesFault::ShortRow { found: fields.len(), expected: self.columns.width() });
        };
        let hour = hour(time, &self.clock)?;
        Ok(Sample { hour, load: watts(load, self.columns.unit, self.delimiter)? })
    }
}

/// The fields of a line; `None` for one that has none.
fn record(line: &str, delimiter: u8) -> Result<Option<csv::StringRecord>, csv::Error> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(line.as_bytes());
    reader.records().next().transpose()
}

/// The UTC hour that a time starts.
///
/// # Errors
/// [`SeriesFault`].
pub fn hour(text: &str, clock: &LoadClock) -> Result<UtcHour, SeriesFault> {
    let unreadable = || SeriesFault::UnreadableTime { found: shown(text) };
    let off_the_hour = || SeriesFault::NotOnTheHour { found: shown(text) };
    let seconds = match parse_time(text).ok_or_else(unreadable)? {
        RowTime::Instant(seconds) => {
            let offset = i64::from(clock.offset_s(seconds.saturating_mul(1_000)));
            // An hour of the local clock may start at half past an hour of UTC.
            if seconds.rem_euclid(3_600) != 0 && (seconds + offset).rem_euclid(3_600) != 0 {
                return Err(off_the_hour());
            }
            seconds
        }
        RowTime::Local(local) => {
            if (local.minute(), local.second(), local.subsec_nanosecond()) != (0, 0, 0) {
                return Err(off_the_hour());
            }
            match clock.instants(local) {
                Instants::One(at) | Instants::Two(at, _) => at,
                Instants::None => {
                    return Err(SeriesFault::SkippedLocalTime {
                        found: shown(text),
                        clock: clock.to_string(),
                    });
                }
            }
        }
    };
    UtcHour::new(seconds.div_euclid(3_600)).ok_or_else(unreadable)
}

/// The load that a number in a unit means, to the nearest watt.
///
/// # Errors
/// [`SeriesFault`], also for zero, which a grid never has, and for more than any grid has.
fn watts(text: &str, unit: LoadUnit, delimiter: u8) -> Result<Watts, SeriesFault> {
    if text.trim().is_empty() {
        return Err(SeriesFault::Empty);
    }
    let number =
        parse_number(text, delimiter).ok_or_else(|| SeriesFault::NotANumber { found: shown(text) })?;
    load(number, unit).map_err(|fault| match fault {
        SeriesFault::Negative { .. } => SeriesFault::Negative { found: shown(text) },
        other => other,
    })
}

/// The load that a number in a unit means, to the nearest watt.
///
/// # Errors
/// [`SeriesFault`], also for zero, which a grid never has, and for more than any grid has.
pub fn load(number: f64, unit: LoadUnit) -> Result<Watts, SeriesFault> {
    if !number.is_finite() {
        return Err(SeriesFault::NotANumber { found: shown(&number.to_string()) });
    }
    if number < 0.0 {
        return Err(SeriesFault::Negative { found: shown(&number.to_string()) });
    }
    let watts = (number * unit.watts()).round();
    if watts < 1.0 {
        return Err(SeriesFault::Zeros { hours: 1 });
    }
    if watts > LOAD_WATTS_MAX as f64 {
        return Err(SeriesFault::Absurd { hours: 1, found: (watts / 1_000.0) as u64, usual: 0 });
    }
    Ok(Watts::new(watts as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(first: &str) -> SampleReader {
        SampleReader::from_first_line(first, &ReadOptions::new("Europe/Berlin".parse().unwrap())).unwrap()
    }

    #[test]
    fn rows_are_read_as_in_a_whole_file() {
        let utc = |text: &str| hour(text, &LoadClock::utc()).unwrap();
        for (first, row, at, watts) in [
            ("time,load_mw", "2024-07-01 12:00,3.5", "2024-07-01T10:00Z", 3_500_000),
            ("time,load_mw", "2024-07-01T12:00Z,3.5", "2024-07-01T12:00Z", 3_500_000),
            ("Zeit;kW", "01.07.2024 12:00;3,5", "2024-07-01T10:00Z", 3_500),
        ] {
            let sample = reader(first).row(row).unwrap();
            assert_eq!((sample.hour, sample.load.get()), (utc(at), watts), "{row}");
        }
        assert!(reader("time,kw").has_header());
    }

    #[test]
    fn rows_that_cannot_be_used_say_why() {
        let of = |row| reader("time,load_mw").row(row).unwrap_err().to_string();
        for (row, want) in [
            ("2024-07-01 12:00", "1 fields"),
            ("yesterday,3", "no date"),
            ("2024-07-01 12:30,3", "does not start an hour"),
            ("2024-03-31 02:00,3", "skipped by the clock"),
            ("2024-07-01 12:00,", "empty"),
            ("2024-07-01 12:00,n/a", "no number"),
            ("2024-07-01 12:00,-3", "negative"),
            ("2024-07-01 12:00,0", "zero"),
            ("2024-07-01 12:00,99999999999", "cannot be"),
            ("", "no date"),
        ] {
            assert!(of(row).contains(want), "{row}: {}", of(row));
        }
    }

    #[test]
    fn a_first_line_without_columns_or_unit_is_refused() {
        let options = ReadOptions::new(LoadClock::utc());
        let refused = |line| SampleReader::from_first_line(line, &options).err().map(|e| e.to_string());
        assert!(refused("a,b,c").is_some_and(|e| e.contains("no column")));
        assert!(refused("time,load").is_some_and(|e| e.contains("unit")));
        assert!(refused("").is_some());
    }
}
