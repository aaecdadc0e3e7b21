//! The rule by which a session's records may be billed.

use super::{ClockState, Mark, MeterPublicKey, Reading, Record, RecordError, VerifiedRecord, VerifyError};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::UnixMillis;
use std::collections::BTreeMap;

/// The greatest number of records of a session: one each minute for a day.
pub const RECORDS_MAX: usize = 1_440;

/// Why a session's records are not billed, in the order in which it is looked for. Records count from zero.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SessionFault {
    /// There is none.
    #[error("there is no record")]
    Empty,
    /// There are more than anybody reads.
    #[error("there are {found} records: at most {RECORDS_MAX} are read")]
    TooMany {
        /// So many.
        found: usize,
    },
    /// One is no record.
    #[error("record {index} cannot be read")]
    Record {
        /// Which.
        index: usize,
        /// Why.
        #[source]
        source: RecordError,
    },
    /// One is not believed.
    #[error("record {index} is not verified")]
    Signature {
        /// Which.
        index: usize,
        /// Why.
        #[source]
        source: VerifyError,
    },
    /// It does not say which meter it is from.
    #[error("record {index} names no meter")]
    NoMeter {
        /// Which.
        index: usize,
    },
    /// It is from another meter than the first.
    #[error("record {index} comes from the meter {found}, the first from {expected}")]
    OtherMeter {
        /// Which.
        index: usize,
        /// The first record's.
        expected: String,
        /// Its own.
        found: String,
    },
    /// One was removed, repeated, or put elsewhere.
    #[error("record {index} does not carry the page after that of the record before it")]
    Page {
        /// Which.
        index: usize,
    },
    /// The meter was not well.
    #[error("record {index} has a reading of a meter that was not well")]
    MeterState {
        /// Which.
        index: usize,
    },
    /// Energy or time cannot be used.
    #[error("record {index} has a reading that is marked as not to be billed")]
    Flagged {
        /// Which.
        index: usize,
    },
    /// A reading has no time.
    #[error("record {index} has a reading without a time")]
    NoTime {
        /// Which.
        index: usize,
    },
    /// A reading is older than the one before it.
    #[error("record {index} has a reading that is older than the one before it")]
    TimeBackwards {
        /// Which.
        index: usize,
    },
    /// A register showed less than before.
    #[error("the register {register} counted backwards in record {index}")]
    MeterBackwards {
        /// Which.
        index: usize,
        /// Of which register.
        register: String,
    },
    /// The first reading does not begin, or a later one does.
    #[error("the first reading must be the only one that begins the session")]
    Begin,
    /// The last reading does not end, or an earlier one does.
    #[error("the last record must be the only one that ends the session")]
    End,
    /// No register counts energy from the begin to the end.
    #[error("no register of energy was read at the begin and at the end")]
    NoRegister,
    /// More than one does, and nothing says which counts.
    #[error("more than one register of delivered energy was read, so which to bill is unknown")]
    AmbiguousRegister,
}

/// A reading of the register that is billed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sample {
    /// When.
    pub at: UnixMillis,
    /// How far that can be trusted.
    pub clock: ClockState,
    /// What it means.
    pub mark: Option<Mark>,
    /// What the register showed.
    pub register: WattHours,
}

/// What lies between two readings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// From when.
    pub start: UnixMillis,
    /// How long.
    pub duration: DurationMs,
    /// What was delivered.
    pub energy: WattHours,
    /// Whether the vehicle was charging: not after a reading that says that the session is suspended.
    pub is_charging: bool,
}

/// The records of a session that may be billed: signed by one meter, complete, and going forward.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MeteredSession {
    meter: String,
    pages: (u64, u64),
    end_mark: Mark,
    samples: Vec<Sample>,
    energy: WattHours,
}

impl MeteredSession {
    /// Reads one record a line, verifies each with the meter's key, and judges them together.
    ///
    /// # Errors
    /// The first [`SessionFault`].
    pub fn read(text: &str, key: &MeterPublicKey) -> Result<Self, SessionFault> {
        let lines: Vec<&str> =
            text.lines().filter(|line| !line.trim().is_empty()).take(RECORDS_MAX + 1).collect();
        if lines.len() > RECORDS_MAX {
            return Err(SessionFault::TooMany { found: text.lines().count() });
        }
        let verified = lines.into_iter().enumerate().map(|(index, line)| {
            let record = Record::parse(line).map_err(|source| SessionFault::Record { index, source })?;
            record.verify(key).map_err(|source| SessionFault::Signature { index, source })
        });
        Self::from_records(&verified.collect::<Result<Vec<_>, _>>()?)
    }

    /// Judges the records of a session, in their order.
    ///
    /// # Errors
    /// The first [`SessionFault`].
    pub fn from_records(records: &[VerifiedRecord]) -> Result<Self, SessionFault> {
        let records: Vec<&Record> = records.iter().map(VerifiedRecord::record).collect();
        if records.len() > RECORDS_MAX {
            return Err(SessionFault::TooMany { found: records.len() });
        }
        let meter = one_meter(&records)?;
        let pages = continuous_pages(&records)?;
        every_reading_is_sound(&records)?;
        let end_mark = one_begin_and_end(&records)?;
        let samples = billed_register(&records)?;
        let ([first, ..], [.., last]) = (samples.as_slice(), samples.as_slice()) else {
            return Err(SessionFault::NoRegister);
        };
        // Registers were seen not to go backwards, so the difference exists.
        let energy = last.register.checked_sub(first.register).ok_or(SessionFault::NoRegister)?;
        Ok(Self { meter, pages, end_mark, energy, samples })
    }

    /// The serial number of the meter.
    #[must_use]
    pub fn meter(&self) -> &str {
        &self.meter
    }

    /// The first and the last page.
    #[must_use]
    pub const fn pages(&self) -> (u64, u64) {
        self.pages
    }

    /// How it ended.
    #[must_use]
    pub const fn end_mark(&self) -> Mark {
        self.end_mark
    }

    /// The readings of the billed register, at least two, oldest first.
    #[must_use]
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// What was delivered.
    #[must_use]
    pub const fn energy(&self) -> WattHours {
        self.energy
    }

    /// When it began.
    #[must_use]
    pub fn start(&self) -> UnixMillis {
        self.samples.first().map_or(UnixMillis::EPOCH, |s| s.at)
    }

    /// When it ended.
    #[must_use]
    pub fn end(&self) -> UnixMillis {
        self.samples.last().map_or(UnixMillis::EPOCH, |s| s.at)
    }

    /// The least trustworthy clock of all readings: time may be billed if it measures time.
    #[must_use]
    pub fn clock(&self) -> ClockState {
        self.samples.iter().map(|s| s.clock).min().unwrap_or(ClockState::Unknown)
    }

    /// What lies between the readings: [`spans`].
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        spans(&self.samples)
    }
}

/// What lies between readings of one register that go forward, in their order; together they hold all energy, unless no
/// time passed at all. Readings of one instant are one.
#[must_use]
pub fn spans(samples: &[Sample]) -> Vec<Span> {
    let mut spans: Vec<Span> = Vec::new();
    let Some(mut from) = samples.first().copied() else { return spans };
    for to in samples.iter().skip(1) {
        let duration = to.at.since(from.at).unwrap_or(DurationMs::ZERO);
        if duration.is_zero() {
            // What was counted in no time belongs to what comes next; what the later reading says holds.
            from.mark = to.mark;
            continue;
        }
        spans.push(Span {
            start: from.at,
            duration,
            energy: to.register.checked_sub(from.register).unwrap_or(WattHours::ZERO),
            is_charging: from.mark != Some(Mark::Suspended),
        });
        from = *to;
    }
    // Nothing comes after the end: what was counted at its instant belongs to what came before.
    let rest = samples.last().and_then(|end| end.register.checked_sub(from.register));
    if let (Some(last), Some(rest)) = (spans.last_mut(), rest) {
        last.energy = last.energy.checked_add(rest).unwrap_or(last.energy);
    }
    spans
}

fn one_meter(records: &[&Record]) -> Result<String, SessionFault> {
    let first = records.first().ok_or(SessionFault::Empty)?;
    let expected = first.meter().ok_or(SessionFault::NoMeter { index: 0 })?;
    for (index, record) in records.iter().enumerate() {
        let found = record.meter().ok_or(SessionFault::NoMeter { index })?;
        if found != expected {
            let (expected, found) = (expected.to_owned(), found.to_owned());
            return Err(SessionFault::OtherMeter { index, expected, found });
        }
    }
    Ok(expected.to_owned())
}

fn continuous_pages(records: &[&Record]) -> Result<(u64, u64), SessionFault> {
    let page = |index: usize, record: &Record| record.page().ok_or(SessionFault::Page { index });
    let first = page(0, records.first().ok_or(SessionFault::Empty)?)?;
    let mut last = first;
    for (index, record) in records.iter().enumerate().skip(1) {
        let found = page(index, record)?;
        if Some(found) != last.checked_add(1) {
            return Err(SessionFault::Page { index });
        }
        last = found;
    }
    Ok((first, last))
}

/// State, flags, time and direction, reading by reading.
fn every_reading_is_sound(records: &[&Record]) -> Result<(), SessionFault> {
    let mut latest = None;
    let mut registers: BTreeMap<&str, WattHours> = BTreeMap::new();
    for (index, record) in records.iter().enumerate() {
        for reading in record.readings() {
            if !reading.is_meter_ok {
                return Err(SessionFault::MeterState { index });
            }
            if reading.has_error || reading.mark == Some(Mark::Exception) {
                return Err(SessionFault::Flagged { index });
            }
            let at = reading.at.ok_or(SessionFault::NoTime { index })?;
            if latest.is_some_and(|latest| at < latest) {
                return Err(SessionFault::TimeBackwards { index });
            }
            latest = Some(at);
            if let (Some(register), Some(energy)) = (reading.register.as_deref(), reading.energy)
                && registers.insert(register, energy).is_some_and(|before| energy < before)
            {
                return Err(SessionFault::MeterBackwards { index, register: register.to_owned() });
            }
        }
    }
    Ok(())
}

/// Marks count by record: the registers of one record begin and end together.
fn one_begin_and_end(records: &[&Record]) -> Result<Mark, SessionFault> {
    let readings = || records.iter().enumerate().flat_map(|(i, r)| r.readings().iter().map(move |x| (i, x)));
    let (first_mark, last_mark) =
        (readings().next().and_then(|(_, r)| r.mark), readings().last().and_then(|(_, r)| r.mark));
    let last_index = records.len().saturating_sub(1);
    let begins_elsewhere = readings()
        .skip_while(|(i, r)| *i == 0 && r.mark == Some(Mark::Begin))
        .any(|(_, r)| r.mark == Some(Mark::Begin));
    if first_mark != Some(Mark::Begin) || begins_elsewhere {
        return Err(SessionFault::Begin);
    }
    let ends_elsewhere = readings().any(|(i, r)| r.mark.is_some_and(Mark::is_end) && i != last_index);
    match last_mark {
        // Within a record, all that begins stands before all that ends.
        Some(mark) if mark.is_end() && !ends_elsewhere => {
            let mut ended = false;
            for (_, reading) in readings() {
                let is_end = reading.mark.is_some_and(Mark::is_end);
                if ended && !is_end {
                    return Err(SessionFault::End);
                }
                ended |= is_end;
            }
            Ok(mark)
        }
        _ => Err(SessionFault::End),
    }
}

/// The readings of the one register that counts what was delivered, from its begin to its end.
fn billed_register(records: &[&Record]) -> Result<Vec<Sample>, SessionFault> {
    let mut registers: BTreeMap<&str, Vec<Sample>> = BTreeMap::new();
    for reading in records.iter().flat_map(|r| r.readings()) {
        let Reading { register, energy, at, is_import: Some(true), .. } = reading else { continue };
        if let (Some(register), Some(energy), Some(at)) = (register.as_deref(), *energy, *at) {
            let sample = Sample { at, clock: reading.clock, mark: reading.mark, register: energy };
            registers.entry(register).or_default().push(sample);
        }
    }
    let complete = |samples: &Vec<Sample>| {
        samples.first().is_some_and(|s| s.mark == Some(Mark::Begin))
            && samples.last().is_some_and(|s| s.mark.is_some_and(Mark::is_end))
    };
    let mut complete = registers.into_values().filter(complete);
    let found = complete.next().ok_or(SessionFault::NoRegister)?;
    if complete.next().is_some() { Err(SessionFault::AmbiguousRegister) } else { Ok(found) }
}
