//! What comes in: samples are taken, or refused with the reason, and what was taken is durable.

use super::journal::{Entered, Journal, JournalError};
use super::status::Problem;
use super::watched::{Watched, WatchedError};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::hour::UtcHour;
use eroam_forecast::series::columns::LoadUnit;
use eroam_forecast::series::finding::SeriesFault;
use eroam_forecast::series::read::ReadOptions;
use eroam_forecast::series::sample::{self, Sample};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};

/// So many refused rows are kept in sight, the newest.
const PROBLEMS_KEPT: usize = 100;
/// So far a sender's clock may be ahead of ours.
const CLOCK_TOLERANCE: DurationMs = DurationMs::from_millis(120_000);
const HOUR_MS: u64 = 3_600_000;

/// A sample as it is pushed: the start of its hour with `Z` or an offset, and its mean load in exactly one unit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// Such as `2026-01-01T05:00:00Z`.
    pub time: String,
    /// In watts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub w: Option<f64>,
    /// In kilowatts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kw: Option<f64>,
    /// In megawatts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mw: Option<f64>,
}

/// Why a sample is not taken.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum WrongSample {
    /// Its time or its number.
    #[error("{}", remedied(.0))]
    Fault(SeriesFault),
    /// Its clock cannot be known.
    #[error("`{0}` has no offset: end it with Z, or with an offset such as +01:00")]
    NoOffset(String),
    /// No unit, or several.
    #[error("{0} of `w`, `kw` and `mw` are given: give exactly one")]
    Unit(usize),
    /// It is of the future.
    #[error("the hour {0} is not over: send its load when it is, or correct the time")]
    NotOver(UtcHour),
}

impl From<SeriesFault> for WrongSample {
    fn from(fault: SeriesFault) -> Self {
        Self::Fault(fault)
    }
}

/// A fault and what would help.
pub(super) fn remedied(fault: &SeriesFault) -> String {
    format!("{fault} (remedy: {})", fault.remedy())
}

/// What became of samples that were sent together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Taken {
    /// How many are new.
    pub new: usize,
    /// How many came before with the same load.
    pub repeated: usize,
    /// How many contradict what came before: their hours have no load, since nobody knows which is right.
    pub contradicting: usize,
    /// Those that were refused, by their place in the request, from 0.
    pub refused: Vec<Refused>,
}

/// A sample that was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Its place in the request, from 0.
    pub index: usize,
    /// Why, and what would help.
    pub reason: String,
}

impl Row {
    /// The sample, if it is one at `now`.
    ///
    /// # Errors
    /// [`WrongSample`].
    pub fn sample(&self, now: UnixMillis) -> Result<Sample, WrongSample> {
        let hour = self.hour()?;
        let given: Vec<(f64, LoadUnit)> =
            [(self.w, LoadUnit::Watt), (self.kw, LoadUnit::Kilowatt), (self.mw, LoadUnit::Megawatt)]
                .into_iter()
                .filter_map(|(number, unit)| Some((number?, unit)))
                .collect();
        let [(number, unit)] = given[..] else { return Err(WrongSample::Unit(given.len())) };
        let load = sample::load(number, unit)?;
        in_time(Sample { hour, load }, now)
    }

    /// Whatever the clock, an instant is an instant; a time that means two is none.
    fn hour(&self) -> Result<UtcHour, WrongSample> {
        let as_utc = sample::hour(&self.time, &LoadClock::utc())?;
        let elsewhere: Result<LoadClock, _> = "+01:00".parse();
        let same = elsewhere.is_ok_and(|clock| sample::hour(&self.time, &clock) == Ok(as_utc));
        if same { Ok(as_utc) } else { Err(WrongSample::NoOffset(self.time.chars().take(40).collect())) }
    }
}

/// A sample whose hour is over.
fn in_time(sample: Sample, now: UnixMillis) -> Result<Sample, WrongSample> {
    let over = sample.hour.start().checked_add(DurationMs::from_millis(HOUR_MS));
    let latest = now.checked_add(CLOCK_TOLERANCE).unwrap_or(now);
    match over {
        Some(over) if over <= latest => Ok(sample),
        _ => Err(WrongSample::NotOver(sample.hour)),
    }
}

/// The samples of one zone.
pub struct Inbox {
    journal: Journal,
    watched: Option<Watched>,
    problems: VecDeque<Problem>,
}

impl Inbox {
    /// The inbox of a state directory, and the CSV that is watched, with how it is read.
    ///
    /// # Errors
    /// [`JournalError`].
    pub fn open(directory: &Path, watch: Option<(PathBuf, ReadOptions)>) -> Result<Self, JournalError> {
        let journal = Journal::open(directory)?;
        let watched = watch.map(|(path, options)| Watched::new(path, directory, options));
        Ok(Self { journal, watched, problems: VecDeque::new() })
    }

    /// Takes what was pushed.
    ///
    /// # Errors
    /// [`JournalError`]: then nothing was taken.
    pub fn push(&mut self, rows: &[Row], now: UnixMillis) -> Result<Taken, JournalError> {
        let (mut samples, mut taken) = (Vec::with_capacity(rows.len()), Taken::default());
        for (index, row) in rows.iter().enumerate() {
            match row.sample(now) {
                Ok(sample) => samples.push(sample),
                Err(wrong) => taken.refused.push(Refused { index, reason: wrong.to_string() }),
            }
        }
        self.enter(&samples, &mut taken)?;
        for Refused { reason, .. } in &taken.refused {
            self.problem(Problem { line: None, at: now, reason: reason.clone() });
        }
        Ok(taken)
    }

    fn enter(&mut self, samples: &[Sample], taken: &mut Taken) -> Result<(), JournalError> {
        for entered in self.journal.enter(samples)? {
            match entered {
                Entered::New => taken.new += 1,
                Entered::Repeated => taken.repeated += 1,
                Entered::Contradicts => taken.contradicting += 1,
            }
        }
        Ok(())
    }

    /// Looks for new lines in the watched file. What can be used is taken, the rest is listed.
    ///
    /// # Errors
    /// [`WatchedError`], or the journal's inside `Ok`.
    pub fn poll(&mut self, now: UnixMillis) -> Result<Result<Taken, JournalError>, WatchedError> {
        let mut taken = Taken::default();
        let Some(watched) = &self.watched else { return Ok(Ok(taken)) };
        let mut new = watched.new_lines()?;
        let mut samples = Vec::with_capacity(new.samples.len());
        for (line, sample) in std::mem::take(&mut new.samples) {
            match in_time(sample, now) {
                Ok(sample) => samples.push(sample),
                Err(wrong) => new.refused.push((line, wrong.to_string())),
            }
        }
        if let Err(error) = self.enter(&samples, &mut taken) {
            return Ok(Err(error));
        }
        new.refused.sort_by_key(|(line, _)| *line);
        for (line, reason) in &new.refused {
            self.problem(Problem { line: Some(*line), at: now, reason: reason.clone() });
        }
        if let Some(watched) = &mut self.watched {
            watched.done(new)?;
        }
        Ok(Ok(taken))
    }

    pub(super) fn problem(&mut self, problem: Problem) {
        if self.problems.back().is_some_and(|last| last.reason == problem.reason && last.line == problem.line)
        {
            return;
        }
        if self.problems.len() >= PROBLEMS_KEPT {
            self.problems.pop_front();
        }
        self.problems.push_back(problem);
    }

    /// The rows that were refused lately, the newest last.
    pub(super) fn problems(&self) -> Vec<Problem> {
        self.problems.iter().cloned().collect()
    }

    /// The samples, as a CSV that `eroam forecast` reads.
    #[must_use]
    pub fn csv(&self) -> &str {
        self.journal.text()
    }

    /// How many hours have a sample.
    #[must_use]
    pub fn hours(&self) -> usize {
        self.journal.hours()
    }

    /// The newest hour that has one.
    #[must_use]
    pub fn last(&self) -> Option<UtcHour> {
        self.journal.last()
    }
}
