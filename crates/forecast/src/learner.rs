//! The model: an online ridge regression for each horizon, beside simple rules that it must beat.
//!
//! ```text
//! each hour:  experts predict -> the load comes -> their errors are noted -> the row is learned
//! each day:   champion = expert with the least error over four weeks; band from its errors over eight
//! each week:  the regressions are solved again
//! ```
//! Hours, days and weeks are counted from the first hour of the series, and nothing depends on how the hours came in
//! portions: solving is left out where nothing that is kept could depend on it.
//!
//! Nothing of an hour is known before it is over: a forecast `h` hours ahead uses regressions that were solved, and
//! errors that were known, `h` hours ahead too.

mod contest;
mod expert;

pub use contest::Drift;
pub use expert::Expert;

use crate::clock::LoadClock;
use crate::features::{CELLS, COLUMNS, Features, Horizon, columns, features};
use crate::forecaster::{Forecaster, Prediction};
use crate::hour::{DAY, UtcHour, WEEK};
use crate::ridge::{Coefficients, NormalEquations};
use crate::series::LoadSeries;
use contest::Contest;
use eroam_domain::codec::Digest;
use expert::{CELL_PENALTIES, COMMON_PENALTIES, EXPERTS};

/// Weeks before the end of what is learned in which errors are noted: eight for the band, one for its coverage, and
/// one in which the band of that week's first day was chosen.
const NOTED_WEEKS: i64 = 10;
/// Rows below which a regression is not solved: less than three days say nothing about a day.
const ROWS_MIN: u64 = 72;

/// With so many hours without a gap a day is forecast by the model: the oldest lags lie a week and a day before the
/// origin's day, and an expert must have shown itself on a day's hours.
pub const HOURS_NEEDED: i64 = 10 * DAY;
/// As far as the last known load is a forecast while nothing better is known.
const UNTRAINED_HOURS_MAX: i64 = 4;

/// The model of one grid zone.
#[derive(Clone, Debug)]
pub struct Learner {
    clock: LoadClock,
    models: Vec<HorizonModel>,
    /// The first hour of the series and the hour after the last that was learned.
    learned: Option<(UtcHour, UtcHour)>,
    digest: Digest,
}

/// The model of one horizon.
#[derive(Clone, Debug)]
struct HorizonModel {
    horizon: Horizon,
    equations: NormalEquations,
    /// The newest solution, and the hour before whose loads it was solved.
    newest: Option<Solution>,
    /// The one before it, which a forecast from before that hour uses.
    previous: Option<Solution>,
    contest: Contest,
}

#[derive(Clone, Debug)]
struct Solution {
    origin: UtcHour,
    /// `[expert]`, regressions only.
    coefficients: Vec<Coefficients>,
    /// SHA-256 over the bits of the coefficients.
    digest: Digest,
}

impl Learner {
    /// A model that has learned nothing, for the horizons that will be asked of it. Local hours, weekdays and months
    /// are those of `clock`.
    #[must_use]
    pub fn new(clock: LoadClock, horizons: impl IntoIterator<Item = Horizon>) -> Self {
        let mut learner = Self {
            clock,
            models: horizons.into_iter().map(|horizon| HorizonModel::new(horizon, COLUMNS)).collect(),
            learned: None,
            digest: Digest([0; 32]),
        };
        learner.digest = learner.fresh_digest();
        learner
    }

    /// The expert that forecasts at a horizon.
    #[must_use]
    pub fn champion(&self, horizon: Horizon) -> Option<Expert> {
        self.models.iter().find(|m| m.horizon == horizon)?.contest.champion()
    }

    /// Signs that the load no longer behaves as it did, of the last day learned.
    #[must_use]
    pub fn drift(&self) -> Vec<(Horizon, Drift)> {
        let of_model =
            |m: &HorizonModel| m.contest.drift().into_iter().map(|d| (m.horizon, d)).collect::<Vec<_>>();
        self.models.iter().flat_map(of_model).collect()
    }

    fn fresh_digest(&self) -> Digest {
        let learned = self.learned.map(|(first, until)| (first.get(), until.get()));
        let models: Vec<_> = self.models.iter().map(HorizonModel::canonical).collect();
        let of = (self.name().to_owned(), self.clock.to_string(), learned, models);
        Digest::of_value("eroam/forecast/model/1", &of)
    }
}

impl Forecaster for Learner {
    fn name(&self) -> &str {
        "online-ridge/1"
    }

    fn learn(&mut self, series: &LoadSeries, until: UtcHour) {
        let until = until.min(series.end());
        // Another series, or one with other influences: what was learned does not fit it.
        let fits = |m: &HorizonModel| m.equations.columns() == columns(series);
        let same = self.learned.filter(|(first, _)| *first == series.first() && self.models.iter().all(fits));
        let (first, from) = same.unwrap_or((series.first(), series.first()));
        if from >= until {
            return;
        }
        for model in &mut self.models {
            model.learn(series, &self.clock, first, from, until);
        }
        self.learned = Some((first, until));
        self.digest = self.fresh_digest();
    }

    fn predict(&self, series: &LoadSeries, target: UtcHour, horizon: Horizon) -> Option<Prediction> {
        let model = self.models.iter().find(|m| m.horizon == horizon)?;
        let Some(champion) = model.contest.champion() else {
            // Nobody has won yet. Within a few hours a load changes less than from one day to another.
            let last_known = series.at(target.plus(-horizon.hours())?)?;
            let load_kw = last_known.get() as f64 / 1_000.0;
            return (horizon.hours() <= UNTRAINED_HOURS_MAX).then_some(Prediction { load_kw, band_kw: None });
        };
        let features = features(series, &self.clock, target, horizon)?;
        if features.row.common.len() != model.equations.columns() {
            return None;
        }
        let coefficients = model.newest.as_ref().map_or(&[][..], |s| &s.coefficients);
        let load_kw = champion.load_kw(&features, coefficients)?;
        let band_kw = model.contest.width().map(|w| (load_kw * (1.0 - w).max(0.0), load_kw * (1.0 + w)));
        Some(Prediction { load_kw, band_kw })
    }

    fn digest(&self) -> Digest {
        self.digest
    }

    fn hours_needed(&self) -> i64 {
        HOURS_NEEDED
    }
}

impl HorizonModel {
    fn new(horizon: Horizon, columns: usize) -> Self {
        Self {
            horizon,
            equations: NormalEquations::new(columns, CELLS),
            newest: None,
            previous: None,
            contest: Contest::default(),
        }
    }

    fn learn(
        &mut self,
        series: &LoadSeries,
        clock: &LoadClock,
        first: UtcHour,
        from: UtcHour,
        until: UtcHour,
    ) {
        if from == first {
            *self = Self::new(self.horizon, columns(series));
        }
        // What happened before is forgotten by then, so it need not have happened.
        let noted_from = until.since(first) - NOTED_WEEKS * WEEK;
        for at in from.since(first)..=until.since(first) {
            let Some(hour) = first.plus(at) else { break };
            if at > 0 && at % WEEK == 0 && hour > from && at + 2 * WEEK > noted_from {
                self.solve(hour);
            }
            if at > 0 && at % DAY == 0 && hour > from {
                self.contest.choose();
            }
            if hour == until {
                break;
            }
            self.learn_hour(series, clock, hour, at >= noted_from);
        }
    }

    fn learn_hour(&mut self, series: &LoadSeries, clock: &LoadClock, hour: UtcHour, noted: bool) {
        let load = series.at(hour).filter(|load| !load.is_zero());
        let known = load.and_then(|load| Some((load, features(series, clock, hour, self.horizon)?)));
        let Some((load, features)) = known else {
            self.contest.note(None);
            return;
        };
        let load_kw = load.get() as f64 / 1_000.0;
        let errors = noted.then(|| self.errors(&features, hour, load_kw));
        self.contest.note(errors);
        self.equations.learn(&features.row, load_kw / features.scale_kw - 1.0);
    }

    /// The errors of the experts as they were when the hour had to be forecast: `load / forecast - 1`.
    fn errors(&self, features: &Features, hour: UtcHour, load_kw: f64) -> [f64; EXPERTS] {
        let origin = hour.plus(1 - self.horizon.hours());
        let in_time = |s: &&Solution| origin.is_some_and(|origin| s.origin <= origin);
        let solution = self.newest.iter().chain(&self.previous).find(in_time);
        let coefficients = solution.map_or(&[][..], |s| &s.coefficients);
        Expert::all().map(|expert| match expert.load_kw(features, coefficients) {
            Some(forecast) if forecast > 0.0 => load_kw / forecast - 1.0,
            Some(_) | None => f64::NAN,
        })
    }

    fn solve(&mut self, origin: UtcHour) {
        if self.equations.rows() < ROWS_MIN {
            return;
        }
        let solved = CELL_PENALTIES.iter().map(|cells| self.equations.solve(*cells, &COMMON_PENALTIES));
        // Without a solution the older one stays, and its errors decide whether it is still used.
        if let Ok(solved) = solved.collect::<Result<Vec<_>, _>>() {
            let newest = Solution::new(origin, solved.into_iter().flatten().collect());
            self.previous = self.newest.replace(newest);
        }
    }

    /// Horizon, champion, bits of the width of the band, and what the coefficients are.
    fn canonical(&self) -> (i64, Option<u8>, Option<u64>, Option<[u8; 32]>) {
        let champion = self.contest.champion().map(Expert::index);
        let solution = self.newest.as_ref().map(|s| s.digest.0);
        (self.horizon.hours(), champion, self.contest.width().map(f64::to_bits), solution)
    }
}

impl Solution {
    fn new(origin: UtcHour, coefficients: Vec<Coefficients>) -> Self {
        let bits = |c: &Coefficients| c.common.iter().chain(&c.cells).map(|x| x.to_bits()).collect();
        let all: Vec<Vec<u64>> = coefficients.iter().map(bits).collect();
        let digest = Digest::of_value("eroam/forecast/coefficients/1", &all);
        Self { origin, coefficients, digest }
    }
}
