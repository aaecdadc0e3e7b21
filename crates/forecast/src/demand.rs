//! How much a station will be used in each hour of the week: energy, and vehicles that are plugged in.
//!
//! ```text
//! sessions -> hours of each station -> profile of the week, of each station and of all -> shrunk together
//!                                  \-> the four weeks that were kept back: how far off it was -> band
//! ```
//! A station of which little is known is expected to be like all others: its mean of each hour of the week counts by
//! the weeks that it was seen, the others' profile at the station's own level by [`PRIOR_WEEKS`], and the level itself
//! is drawn to the others' by [`LEVEL_PRIOR_WEEKS`]. Demand of a station is sparse, most hours have none, so the mean is
//! what is expected of many such hours, and its spread grows with its square root, as that of a number of arrivals
//! does.
//!
//! What it deliberately does not do: it does not say who will come, nor whether a single hour will be free. A station
//! that was closed counts as one that nobody wanted.
//!
//! Source: empirical Bayes with a gamma prior for a Poisson mean (Robbins 1956), whose posterior mean is this weighted
//! mean; the band is split-conformal ([`crate::conformal`]) on errors over the square root of the mean.

mod history;
mod score;

pub use history::{DemandError, DemandHistory, StationHours, StationSession, VALUES_MAX};
pub use score::{DemandScore, backtest};

use crate::clock::LoadClock;
use crate::conformal;
use crate::hour::{DAY, UtcHour, WEEK};
use serde::Serialize;
use std::collections::BTreeMap;

/// Hours of a week.
pub const CELLS: usize = 168;
/// The others' profile counts like so many weeks of the station's own.
pub const PRIOR_WEEKS: f64 = 8.0;
/// The others' level counts like so many weeks of the station's own.
pub const LEVEL_PRIOR_WEEKS: f64 = 1.0;
/// So much of the past says what is usual: half a year, so that seasons and closures are forgotten.
pub const FIT_WEEKS: i64 = 26;
/// The weeks before the end whose errors make the band.
const BAND_WEEKS: i64 = 4;
/// Added to a mean under the root: an hour that never saw anybody still can.
const SPREAD_FLOOR: f64 = 0.02;

/// What is forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Energy of the hour in kilowatt-hours.
    EnergyKwh,
    /// Vehicles plugged in, mean over the hour.
    Plugged,
}

/// What is expected of an hour at a station, in the unit of its [`Quantity`].
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Expected {
    /// The mean of such hours.
    pub mean: f64,
    /// Where nine of ten hours lie, lower end first; `None` while too few errors are known.
    pub band: Option<(f64, f64)>,
}

/// What is known of a station.
#[derive(Clone, Debug, PartialEq)]
struct StationProfile {
    /// `[hour of the week]`, Monday 0 h first, local clock.
    mean: [f64; CELLS],
    /// Weeks that it was seen within the fit.
    weeks: f64,
}

/// The model of a set of stations.
#[derive(Clone, Debug)]
pub struct DemandModel {
    clock: LoadClock,
    stations: BTreeMap<String, StationProfile>,
    /// Errors over the root of the mean: nine of ten are below.
    width: Option<f64>,
}

impl DemandModel {
    /// Learns the hours before `until`.
    #[must_use]
    pub fn fit(history: &DemandHistory, clock: &LoadClock, quantity: Quantity, until: UtcHour) -> Self {
        let mut model = Self { clock: clock.clone(), stations: BTreeMap::new(), width: None };
        if let Some(earlier) = until.plus(-BAND_WEEKS * WEEK) {
            model.stations = profiles(history, clock, quantity, earlier);
            model.width = conformal::width(model.errors(history, quantity, earlier, until));
        }
        model.stations = profiles(history, clock, quantity, until);
        model
    }

    /// The stations that are known, with how many weeks each was seen.
    pub fn stations(&self) -> impl Iterator<Item = (&str, f64)> {
        self.stations.iter().map(|(name, profile)| (name.as_str(), profile.weeks))
    }

    /// What is expected of an hour; `None` for a station that was not seen.
    #[must_use]
    pub fn predict(&self, station: &str, hour: UtcHour) -> Option<Expected> {
        let mean = self.stations.get(station)?.mean[cell(&self.clock, hour)];
        let band = self.width.map(|width| {
            let half = width * spread(mean);
            ((mean - half).max(0.0), mean + half)
        });
        Some(Expected { mean, band })
    }

    /// Absolute errors over the root of the mean, of all stations and hours from `from` on.
    fn errors(&self, history: &DemandHistory, quantity: Quantity, from: UtcHour, until: UtcHour) -> Vec<f64> {
        let mut errors = Vec::new();
        for (name, profile) in &self.stations {
            let Some(station) = history.station(name) else { continue };
            for (hour, value) in history.hours(station, quantity, from, until) {
                let mean = profile.mean[cell(&self.clock, hour)];
                errors.push((value - mean).abs() / spread(mean));
            }
        }
        errors
    }
}

fn spread(mean: f64) -> f64 {
    (mean + SPREAD_FLOOR).sqrt()
}

/// The hour of the week that the local clock shows, from 0 for Monday 0 h.
fn cell(clock: &LoadClock, hour: UtcHour) -> usize {
    let local = clock.at(hour);
    (local.weekday * DAY as usize + local.hour_of_day) % CELLS
}

/// Sums and counts of each hour of the week.
struct Cells {
    sum: [f64; CELLS],
    count: [f64; CELLS],
}

impl Cells {
    fn mean(&self, at: usize) -> f64 {
        if self.count[at] > 0.0 { self.sum[at] / self.count[at] } else { 0.0 }
    }

    /// The mean of an hour of whatever time.
    fn level(&self) -> f64 {
        let count: f64 = self.count.iter().sum();
        if count > 0.0 { self.sum.iter().sum::<f64>() / count } else { 0.0 }
    }
}

fn cells<'h>(
    history: &'h DemandHistory,
    clock: &LoadClock,
    quantity: Quantity,
    until: UtcHour,
) -> BTreeMap<&'h str, Cells> {
    let from = until.plus(-FIT_WEEKS * WEEK).unwrap_or(history.first());
    let mut by_station = BTreeMap::new();
    for (name, station) in history.stations() {
        let mut cells = Cells { sum: [0.0; CELLS], count: [0.0; CELLS] };
        for (hour, value) in history.hours(station, quantity, from, until) {
            let at = cell(clock, hour);
            cells.sum[at] += value;
            cells.count[at] += 1.0;
        }
        if cells.count.iter().any(|count| *count > 0.0) {
            by_station.insert(name, cells);
        }
    }
    by_station
}

fn profiles(
    history: &DemandHistory,
    clock: &LoadClock,
    quantity: Quantity,
    until: UtcHour,
) -> BTreeMap<String, StationProfile> {
    let stations = cells(history, clock, quantity, until);
    let mut all = Cells { sum: [0.0; CELLS], count: [0.0; CELLS] };
    for cells in stations.values() {
        for at in 0..CELLS {
            all.sum[at] += cells.sum[at];
            all.count[at] += cells.count[at];
        }
    }
    let common = all.level();
    let shape = |at: usize| if common > 0.0 { all.mean(at) / common } else { 0.0 };
    let shrunk = |(name, cells): (&str, &Cells)| {
        let weeks = cells.count.iter().sum::<f64>() / CELLS as f64;
        let level = (cells.level() * weeks + common * LEVEL_PRIOR_WEEKS) / (weeks + LEVEL_PRIOR_WEEKS);
        let mean = std::array::from_fn(|at| {
            (cells.sum[at] + PRIOR_WEEKS * level * shape(at)) / (cells.count[at] + PRIOR_WEEKS)
        });
        (name.to_owned(), StationProfile { mean, weeks })
    };
    stations.iter().map(|(name, cells)| (*name, cells)).map(shrunk).collect()
}

#[cfg(test)]
mod tests;
