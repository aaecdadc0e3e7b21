//! How good forecasts of demand are: on weeks that were not learned, beside the simplest rules.

use super::{DemandHistory, DemandModel, Quantity};
use crate::clock::LoadClock;
use crate::hour::{UtcHour, WEEK};
use serde::Serialize;

/// A fold: so many weeks are forecast at once, as for planning a month.
const FOLD_WEEKS: i64 = 4;
/// Nothing is scored before so many weeks are known.
const LEARN_WEEKS_MIN: i64 = 8;

/// Errors over all stations and scored hours, in the unit of the quantity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct DemandScore {
    /// What was forecast.
    pub quantity: Quantity,
    /// How many spans of four weeks were scored, each learned from what was before it alone.
    pub folds: u32,
    /// Station-hours.
    pub hours: u64,
    /// The mean of what came.
    pub mean: f64,
    /// Root of the mean squared error: the mean is the best forecast by it, also where most hours are empty.
    pub model_rmse: f64,
    /// The same of the station's mean over the same past, whatever the hour.
    pub mean_rmse: f64,
    /// The same of the last known week's same hour.
    pub last_week_rmse: f64,
    /// Mean absolute error of the model.
    pub model_mae: f64,
    /// The same of the station's mean.
    pub mean_mae: f64,
    /// The same of the last known week.
    pub last_week_mae: f64,
    /// How many of the hours for which there was a band lay in it.
    pub coverage_percent: Option<f64>,
}

#[derive(Default)]
struct Errors {
    squared: f64,
    absolute: f64,
}

impl Errors {
    fn add(&mut self, error: f64) {
        self.squared += error * error;
        self.absolute += error.abs();
    }
}

/// Forecasts the last `weeks` weeks in folds of four, each from what was before it; `None` where the history is too short
/// for a single fold.
#[must_use]
pub fn backtest(
    history: &DemandHistory,
    clock: &LoadClock,
    quantity: Quantity,
    weeks: u16,
) -> Option<DemandScore> {
    let fold = FOLD_WEEKS * WEEK;
    let learnable = history.first().plus(LEARN_WEEKS_MIN * WEEK)?;
    let mut from = history.end().plus(-(i64::from(weeks) / FOLD_WEEKS).max(1) * fold)?;
    while from < learnable {
        from = from.plus(fold)?;
    }
    let (mut model_errors, mut mean_errors, mut week_errors) =
        (Errors::default(), Errors::default(), Errors::default());
    let (mut folds, mut hours, mut sum, mut banded, mut covered) = (0, 0u64, 0.0, 0u64, 0u64);
    while let Some(until) = from.plus(fold).filter(|until| *until <= history.end()) {
        let model = DemandModel::fit(history, clock, quantity, from);
        for (name, station) in history.stations() {
            let Some(mean) = station_mean(history, name, quantity, from) else { continue };
            for (hour, value) in history.hours(station, quantity, from, until) {
                let Some(expected) = model.predict(name, hour) else { continue };
                model_errors.add(value - expected.mean);
                mean_errors.add(value - mean);
                // The last week before the fold; a station that is younger had nothing then.
                let back = hour.since(from).div_euclid(WEEK) + 1;
                let week_ago = hour.plus(-back * WEEK).and_then(|hour| station.at(quantity, hour));
                week_errors.add(value - week_ago.unwrap_or(0.0));
                if let Some((low, high)) = expected.band {
                    banded += 1;
                    covered += u64::from((low..=high).contains(&value));
                }
                sum += value;
                hours += 1;
            }
        }
        folds += 1;
        from = until;
    }
    let count = hours as f64;
    let rmse = |errors: &Errors| (errors.squared / count).sqrt();
    (hours > 0).then(|| DemandScore {
        quantity,
        folds,
        hours,
        mean: sum / count,
        model_rmse: rmse(&model_errors),
        mean_rmse: rmse(&mean_errors),
        last_week_rmse: rmse(&week_errors),
        model_mae: model_errors.absolute / count,
        mean_mae: mean_errors.absolute / count,
        last_week_mae: week_errors.absolute / count,
        coverage_percent: (banded > 0).then(|| 100.0 * covered as f64 / banded as f64),
    })
}

/// The station's mean over the past that the model sees.
fn station_mean(history: &DemandHistory, name: &str, quantity: Quantity, until: UtcHour) -> Option<f64> {
    let from = until.plus(-super::FIT_WEEKS * WEEK).unwrap_or(history.first());
    let station = history.station(name)?;
    let (mut sum, mut count) = (0.0, 0.0);
    for (_, value) in history.hours(station, quantity, from, until) {
        sum += value;
        count += 1.0;
    }
    (count > 0.0).then(|| sum / count)
}
