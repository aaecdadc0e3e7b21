//! How well a forecaster does: rolling origins, each hour forecast from what was known `horizon` hours before it, with
//! models that had seen no more either; beside it what the simplest rules would have said.

use crate::clock::{Instants, LoadClock};
use crate::features::Horizon;
use crate::forecaster::Forecaster;
use crate::hour::{DAY, UtcHour, WEEK};
use crate::seasonal::SeasonalRule;
use crate::series::LoadSeries;
use jiff::civil::date;
use serde::Serialize;
use std::collections::BTreeSet;

/// Hours that are scored together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fold {
    /// What tables call it.
    pub name: String,
    /// The first hour.
    pub from: UtcHour,
    /// The hour after the last.
    pub until: UtcHour,
}

/// The quarters of a local year; `None` outside the years 1970 to 9998.
#[must_use]
pub fn quarters(clock: &LoadClock, year: i16) -> Option<[Fold; 4]> {
    let start = |quarter: i8| {
        let (year, month) = if quarter == 4 { (year.checked_add(1)?, 1) } else { (year, 1 + 3 * quarter) };
        let second = match clock.instants(date(year, month, 1).at(0, 0, 0, 0)) {
            Instants::One(at) | Instants::Two(at, _) => at,
            Instants::None => return None,
        };
        UtcHour::new(second.div_euclid(3_600))
    };
    if !(1970..=9998).contains(&year) {
        return None;
    }
    let fold = |quarter: i8| {
        let name = format!("{year}Q{}", quarter + 1);
        Some(Fold { name, from: start(quarter)?, until: start(quarter + 1)? })
    };
    Some([fold(0)?, fold(1)?, fold(2)?, fold(3)?])
}

/// Errors over some hours. A percentage is of the actual load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Score {
    /// Which hours.
    pub fold: String,
    /// How many hours were scored.
    pub hours: u64,
    /// How many of them the model could not forecast, so that the seasonal rule did.
    pub degraded_hours: u64,
    /// How many hours have no load of their own, or nobody could forecast; they are not scored.
    pub unscored_hours: u64,
    /// Mean absolute error of the forecaster.
    pub mape_percent: f64,
    /// That of the last known load.
    pub persistence_percent: f64,
    /// That of the load of the same hour a day before.
    pub day_ago_percent: f64,
    /// That of the load of the same hour a week before.
    pub week_ago_percent: f64,
    /// That of the seasonal rule.
    pub seasonal_percent: f64,
    /// How often the band held the load; `None` if there never was a band.
    pub coverage_percent: Option<f64>,
    /// Mean width of the band, of the forecast.
    pub band_width_percent: Option<f64>,
}

/// Sums behind a [`Score`].
#[derive(Default)]
struct Tally {
    hours: u64,
    degraded: u64,
    unscored: u64,
    /// In the order of [`Outcome::errors`].
    errors: [Mean; 5],
    covered: Mean,
    width: Mean,
}

#[derive(Clone, Copy, Default)]
struct Mean {
    sum: f64,
    count: u64,
}

impl Mean {
    fn add(&mut self, value: f64) {
        self.sum += value;
        self.count += 1;
    }

    fn percent(self) -> Option<f64> {
        (self.count > 0).then(|| self.sum * 100.0 / self.count as f64)
    }
}

impl Tally {
    fn add(&mut self, outcome: Option<&Outcome>) {
        let Some(outcome) = outcome else {
            self.unscored += 1;
            return;
        };
        self.hours += 1;
        self.degraded += u64::from(outcome.degraded);
        for (mean, error) in self.errors.iter_mut().zip(outcome.errors) {
            if let Some(error) = error {
                mean.add(error);
            }
        }
        if let Some((held, width)) = outcome.band {
            self.covered.add(if held { 1.0 } else { 0.0 });
            self.width.add(width);
        }
    }

    fn score(self, fold: String) -> Score {
        let [mape, persistence, day_ago, week_ago, seasonal] =
            self.errors.map(|mean| mean.percent().unwrap_or(f64::NAN));
        Score {
            fold,
            hours: self.hours,
            degraded_hours: self.degraded,
            unscored_hours: self.unscored,
            mape_percent: mape,
            persistence_percent: persistence,
            day_ago_percent: day_ago,
            week_ago_percent: week_ago,
            seasonal_percent: seasonal,
            coverage_percent: self.covered.percent(),
            band_width_percent: self.width.percent(),
        }
    }
}

/// Scores a forecaster that has learned nothing yet, fold by fold, in time order; the last score is of all of them.
/// It learns the whole series as it goes. Hours in `unscored` count for nobody, because their loads were interpolated.
#[must_use]
pub fn backtest(
    forecaster: &mut dyn Forecaster,
    series: &LoadSeries,
    horizon: Horizon,
    folds: &[Fold],
    unscored: &BTreeSet<UtcHour>,
) -> Vec<Score> {
    let mut scores = Vec::new();
    let mut all = Tally::default();
    for fold in folds {
        let mut tally = Tally::default();
        for target in (0..fold.until.since(fold.from)).filter_map(|n| fold.from.plus(n)) {
            let outcome =
                if unscored.contains(&target) { None } else { judge(forecaster, series, target, horizon) };
            tally.add(outcome.as_ref());
            all.add(outcome.as_ref());
        }
        scores.push(tally.score(fold.name.clone()));
    }
    scores.push(all.score("all".to_owned()));
    scores
}

/// What became of one hour.
struct Outcome {
    /// Absolute errors as shares of the load: of the forecaster, persistence, a day ago, a week ago, the seasonal rule.
    errors: [Option<f64>; 5],
    degraded: bool,
    /// Whether the band held the load, and its width as a share of the forecast.
    band: Option<(bool, f64)>,
}

fn judge(
    forecaster: &mut dyn Forecaster,
    series: &LoadSeries,
    target: UtcHour,
    horizon: Horizon,
) -> Option<Outcome> {
    let origin = target.plus(1 - horizon.hours())?;
    let actual = series.before(target.plus(1)?).kw(target).filter(|kw| *kw > 0.0)?;
    forecaster.learn(series, origin);
    let seasonal = SeasonalRule.load_kw(series, origin, target);
    let predicted = forecaster.predict(series, target, horizon);
    let forecast = predicted.map(|p| p.load_kw).or(seasonal)?;
    let past = series.before(origin);
    let lag = |hours: i64| past.kw(target.plus(-hours)?);
    let said = [Some(forecast), lag(horizon.hours()), lag(DAY), lag(WEEK), seasonal];
    let band = predicted.and_then(|p| p.band_kw);
    Some(Outcome {
        errors: said.map(|said| said.map(|kw| (kw / actual - 1.0).abs())),
        degraded: predicted.is_none(),
        band: band.map(|(low, high)| ((low..=high).contains(&actual), (high - low) / forecast)),
    })
}
