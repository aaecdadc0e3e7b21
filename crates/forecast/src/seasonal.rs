//! The rule that is left when a model cannot be used: an hour is like the same hour of the last four weeks.
//!
//! The median of them, so that a single absurd load moves nothing. In the first week of a series, the same hour of the
//! days before takes their place.

use crate::conformal;
use crate::features::Horizon;
use crate::forecaster::{Forecaster, Prediction};
use crate::hour::{DAY, UtcHour, WEEK};
use crate::series::LoadSeries;
use eroam_domain::codec::Digest;

/// How many weeks the median is of.
const WEEKS: usize = 4;
/// How many weeks back such loads are looked for.
const WEEKS_BACK_MAX: i64 = 53;
/// How many days back, where no week is known.
const DAYS_BACK_MAX: i64 = 6;
/// Hours over which the rule's own errors are counted for its band.
const BAND_HOURS: i64 = 8 * WEEK;

/// The seasonal rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeasonalRule;

impl SeasonalRule {
    /// The load of `target` in kilowatts, from loads before `origin`; `None` if the same hour is known neither of a
    /// week within a year nor of a day within a week.
    #[must_use]
    pub fn load_kw(&self, series: &LoadSeries, origin: UtcHour, target: UtcHour) -> Option<f64> {
        let past = series.before(origin);
        let known = |steps: i64, hours: i64| -> Vec<f64> {
            (1..=steps).filter_map(|n| past.kw(target.plus(-n * hours)?)).take(WEEKS).collect()
        };
        median(known(WEEKS_BACK_MAX, WEEK)).or_else(|| median(known(DAYS_BACK_MAX, DAY)))
    }

    /// Half the width of its band, as a share of the forecast: what nine of ten of its errors over the last eight
    /// weeks before `origin` were within, a day ahead.
    #[must_use]
    pub fn band(&self, series: &LoadSeries, origin: UtcHour) -> Option<f64> {
        let past = series.before(origin);
        let error = |back: i64| {
            let hour = origin.plus(-back)?;
            let forecast = self.load_kw(series, hour.plus(1 - Horizon::MAX.hours())?, hour)?;
            (forecast > 0.0).then_some((past.kw(hour)? / forecast - 1.0).abs())
        };
        conformal::width((1..=BAND_HOURS).filter_map(error).collect())
    }
}

/// The middle one, or the mean of the two in the middle.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    let lower = if values.len() % 2 == 1 { upper } else { *values.get(middle.checked_sub(1)?)? };
    Some((lower + upper) / 2.0)
}

impl Forecaster for SeasonalRule {
    fn name(&self) -> &str {
        "seasonal-rule/1"
    }

    fn learn(&mut self, _series: &LoadSeries, _until: UtcHour) {}

    fn predict(&self, series: &LoadSeries, target: UtcHour, horizon: Horizon) -> Option<Prediction> {
        let origin = target.plus(1 - horizon.hours())?;
        let load_kw = self.load_kw(series, origin, target)?;
        Some(Prediction { load_kw, band_kw: None })
    }

    fn digest(&self) -> Digest {
        Digest::of_parts("eroam/forecast/model/1", &[self.name().as_bytes()])
    }
}
