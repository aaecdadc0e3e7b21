//! Who forecasts: the expert that erred least lately, with a band from its own errors.

use super::expert::{EXPERTS, Expert};
use crate::conformal;
use crate::hour::{DAY, WEEK};
use std::collections::VecDeque;
use std::fmt;

/// Hours over which the champion is chosen.
const CHAMPION_HOURS: usize = 4 * WEEK as usize;
/// Hours over which the width of the band is chosen.
const BAND_HOURS: usize = 8 * WEEK as usize;
/// The last of them, whose errors weigh more: they are more like those to come.
const RECENT_HOURS: usize = 2 * WEEK as usize;
/// How often an error of those hours counts.
const RECENT_WEIGHT: usize = 3;
/// Hours over which its coverage is counted.
const COVERAGE_HOURS: usize = WEEK as usize;
/// Hours that an expert must have forecast to be the champion.
const SCORED_MIN: usize = DAY as usize;
/// Hours below which a coverage says nothing.
const COVERAGE_MIN: usize = 3 * DAY as usize;
/// A band that is to cover 90 % of the hours and covers less than this has lost touch.
const COVERAGE_PERCENT_MIN: f64 = 80.0;

/// A sign that the load no longer behaves as it did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Drift {
    /// Another expert errs less than the one that forecast until now.
    ChampionChanged {
        /// It forecast until now.
        from: Expert,
        /// It forecasts from now on.
        to: Expert,
    },
    /// The band covered too few hours of the last week.
    CoverageDropped {
        /// The share that it covered.
        percent: f64,
    },
}

impl fmt::Display for Drift {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ChampionChanged { from, to } => write!(f, "{to} forecasts instead of {from}"),
            Self::CoverageDropped { percent } => {
                write!(f, "the band held {percent:.0} % of the last week's hours")
            }
        }
    }
}

/// The errors of the experts at one horizon, and what follows from them.
#[derive(Clone, Debug, Default)]
pub(super) struct Contest {
    /// `[hour][expert]`, `load / forecast - 1`, oldest first; not a number where an expert had no forecast.
    errors: VecDeque<Option<[f64; EXPERTS]>>,
    /// Whether the band of its time held the load, `[hour]`, oldest first.
    covered: VecDeque<Option<bool>>,
    champion: Option<Expert>,
    previous: Option<Expert>,
    width: Option<f64>,
}

impl Contest {
    pub(super) fn champion(&self) -> Option<Expert> {
        self.champion
    }

    /// Half the width of the band, as a share of the forecast.
    pub(super) fn width(&self) -> Option<f64> {
        self.width
    }

    /// Notes the errors of the next hour, or that there are none.
    pub(super) fn note(&mut self, errors: Option<[f64; EXPERTS]>) {
        let of_champion = |errors: [f64; EXPERTS]| Some(errors[usize::from(self.champion?.index())]);
        let error = errors.and_then(of_champion).filter(|e| e.is_finite());
        let covered = self.width.and_then(|width| Some(error?.abs() <= width));
        keep(&mut self.covered, covered, COVERAGE_HOURS);
        keep(&mut self.errors, errors, BAND_HOURS);
    }

    /// Chooses champion and band anew.
    pub(super) fn choose(&mut self) {
        self.previous = self.champion;
        let recent = self.errors.len().saturating_sub(CHAMPION_HOURS);
        let mut best: Option<(f64, Expert)> = None;
        for expert in Expert::all() {
            let errors: Vec<f64> = self.errors_of(expert, recent).collect();
            if errors.len() < SCORED_MIN {
                continue;
            }
            let mean = errors.iter().fold(0.0, |sum, e| sum + e) / errors.len() as f64;
            if best.is_none_or(|(least, _)| mean < least) {
                best = Some((mean, expert));
            }
        }
        self.champion = best.map(|(_, expert)| expert);
        self.width = self.champion.and_then(|expert| self.width_for(expert));
    }

    /// Half the width of a band from the errors of an expert.
    fn width_for(&self, expert: Expert) -> Option<f64> {
        let mut errors: Vec<f64> = self.errors_of(expert, 0).collect();
        let recent = self.errors.len().saturating_sub(RECENT_HOURS);
        for _ in 1..RECENT_WEIGHT {
            errors.extend(self.errors_of(expert, recent));
        }
        conformal::width(errors)
    }

    /// Absolute errors of an expert, from the `skipped`-th noted hour on.
    fn errors_of(&self, expert: Expert, skipped: usize) -> impl Iterator<Item = f64> + '_ {
        let index = usize::from(expert.index());
        let errors = self.errors.iter().skip(skipped).flatten();
        errors.map(move |errors| errors[index].abs()).filter(|e| e.is_finite())
    }

    pub(super) fn drift(&self) -> Vec<Drift> {
        let mut drift = Vec::new();
        if let (Some(from), Some(to)) = (self.previous, self.champion)
            && from != to
        {
            drift.push(Drift::ChampionChanged { from, to });
        }
        let known = self.covered.iter().flatten().count();
        let held = self.covered.iter().flatten().filter(|held| **held).count();
        let percent = held as f64 * 100.0 / known.max(1) as f64;
        if known >= COVERAGE_MIN && percent < COVERAGE_PERCENT_MIN {
            drift.push(Drift::CoverageDropped { percent });
        }
        drift
    }
}

fn keep<T>(queue: &mut VecDeque<T>, value: T, length: usize) {
    if queue.len() >= length {
        queue.pop_front();
    }
    queue.push_back(value);
}
