//! A series of hourly loads, and what was found wrong with the file that it came from.

pub mod columns;
mod daylight;
pub mod finding;
mod gaps;
mod plausible;
pub mod read;
mod row;
pub mod sample;
#[cfg(test)]
mod tests;

pub use plausible::LOAD_WATTS_MAX;

use crate::exogenous::Exogenous;
use crate::hour::UtcHour;
use eroam_domain::quantity::Watts;

/// The longest series: more than a century.
pub const HOURS_MAX: usize = 1_000_000;

/// Mean load of each UTC hour from `first` on, one value an hour, with holes where nothing is known.
#[derive(Clone, Debug, PartialEq)]
pub struct LoadSeries {
    first: UtcHour,
    load: Vec<Option<Watts>>,
    /// `[hour + 1]`: watts of all known hours before, so that the mean of any stretch is exact.
    sums: Vec<u128>,
    /// `[hour + 1]`: how many hours before are known.
    counts: Vec<u32>,
    exogenous: Vec<Exogenous>,
}

impl LoadSeries {
    /// A series of `load`, `[hour]`, from `first` on; `None` beyond [`HOURS_MAX`] or the year 9999.
    #[must_use]
    pub fn new(first: UtcHour, load: Vec<Option<Watts>>) -> Option<Self> {
        first.plus(i64::try_from(load.len()).ok()?)?;
        let mut series =
            Self { first, load: Vec::new(), sums: vec![0], counts: vec![0], exogenous: Vec::new() };
        load.into_iter().try_for_each(|value| series.push(value))?;
        Some(series)
    }

    /// The same with other influences beside it.
    #[must_use]
    pub fn with_exogenous(self, exogenous: Vec<Exogenous>) -> Self {
        Self { exogenous, ..self }
    }

    /// The other influences.
    #[must_use]
    pub fn exogenous(&self) -> &[Exogenous] {
        &self.exogenous
    }

    /// Adds the load of the next hour, or a hole; `None` beyond [`HOURS_MAX`].
    pub fn push(&mut self, value: Option<Watts>) -> Option<()> {
        if self.load.len() >= HOURS_MAX {
            return None;
        }
        let (sum, count) = (*self.sums.last()?, *self.counts.last()?);
        self.sums.push(sum.checked_add(value.map_or(0, |w| u128::from(w.get())))?);
        self.counts.push(count + u32::from(value.is_some()));
        self.load.push(value);
        Some(())
    }

    /// The first hour.
    #[must_use]
    pub const fn first(&self) -> UtcHour {
        self.first
    }

    /// The hour after the last.
    #[must_use]
    pub fn end(&self) -> UtcHour {
        // The constructor saw to it that the hour exists.
        self.first.plus(self.load.len() as i64).unwrap_or(self.first)
    }

    /// The loads, `[hour]`, from the first hour on.
    #[must_use]
    pub fn load(&self) -> &[Option<Watts>] {
        &self.load
    }

    /// The load of an hour.
    #[must_use]
    pub fn at(&self, hour: UtcHour) -> Option<Watts> {
        let index = usize::try_from(hour.since(self.first)).ok()?;
        self.load.get(index).copied().flatten()
    }

    /// The newest hour before `origin` that has a load.
    #[must_use]
    pub fn last_known(&self, origin: UtcHour) -> Option<UtcHour> {
        let past = self.before(origin);
        let index = self.load.get(..past.known)?.iter().rposition(Option::is_some)?;
        self.first.plus(index as i64)
    }

    /// How many hours before `origin` have a load.
    #[must_use]
    pub fn known_hours(&self, origin: UtcHour) -> i64 {
        let past = self.before(origin).known;
        self.counts.get(past).map_or(0, |known| i64::from(*known))
    }

    /// What was known before `hour`.
    #[must_use]
    pub fn before(&self, hour: UtcHour) -> Past<'_> {
        let known = hour.since(self.first).clamp(0, self.load.len() as i64);
        Past { series: self, known: known as usize }
    }
}

/// A series up to an hour: nothing that is later can be asked of it.
#[derive(Clone, Copy, Debug)]
pub struct Past<'s> {
    series: &'s LoadSeries,
    /// How many hours of the series are visible.
    known: usize,
}

impl Past<'_> {
    /// The hour after the last visible one.
    #[must_use]
    pub fn end(&self) -> UtcHour {
        self.series.first.plus(self.known as i64).unwrap_or(self.series.first)
    }

    /// The load of an hour, if it is visible and known.
    #[must_use]
    pub fn watts(&self, hour: UtcHour) -> Option<Watts> {
        let index = usize::try_from(hour.since(self.series.first)).ok()?;
        *self.series.load[..self.known].get(index)?
    }

    /// The same in kilowatts.
    #[must_use]
    pub fn kw(&self, hour: UtcHour) -> Option<f64> {
        self.watts(hour).map(|watts| watts.get() as f64 / 1_000.0)
    }

    /// The mean of the `hours` hours that end before `end`, in kilowatts, if at least `hours_min` are known.
    #[must_use]
    pub fn mean_kw(&self, end: UtcHour, hours: i64, hours_min: u32) -> Option<f64> {
        let to = usize::try_from(end.since(self.series.first)).ok()?;
        let from = to.saturating_sub(usize::try_from(hours).ok()?);
        if to > self.known {
            return None;
        }
        let count = self.series.counts[to] - self.series.counts[from];
        let sum = self.series.sums[to] - self.series.sums[from];
        (count >= hours_min.max(1)).then(|| sum as f64 / (f64::from(count) * 1_000.0))
    }
}
