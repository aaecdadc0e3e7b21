//! What a forecaster is, and a forecast made with one: whole kilowatts for each UTC hour, with a band, the reason
//! where the model could not be used, and a digest of everything that it follows from.
//!
//! ```text
//! model knows the hour's lags -> plausible? -> model
//!      late, missing, absurd -> seasonal rule, and the hour says why -> nothing known at all: an error
//! ```
//! Floats end here: loads are rounded to the nearest kilowatt, halves up, the band outwards.

use crate::features::Horizon;
use crate::hour::{UtcHour, WEEK};
use crate::seasonal::SeasonalRule;
use crate::series::LoadSeries;
use borsh::BorshSerialize;
use eroam_domain::codec::Digest;
use serde::Serialize;

/// A load that a model expects.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Prediction {
    /// Kilowatts, mean of the hour.
    pub load_kw: f64,
    /// Where nine of ten loads lie, in kilowatts, lower end first; `None` while too few errors are known.
    pub band_kw: Option<(f64, f64)>,
}

/// A model of a load: learns a growing series in order, and predicts single hours. It knows nothing of files, clocks
/// on the wall and prices, so that one can stand in for another.
pub trait Forecaster {
    /// Names the model and its version; part of its digest.
    fn name(&self) -> &str;

    /// Learns the hours before `until` that it has not learned yet. The same hours in other portions lead to the same
    /// model, bit by bit.
    fn learn(&mut self, series: &LoadSeries, until: UtcHour);

    /// The load of `target` from loads up to `horizon` hours before it; `None` where they do not suffice.
    fn predict(&self, series: &LoadSeries, target: UtcHour, horizon: Horizon) -> Option<Prediction>;

    /// SHA-256 over everything that predictions follow from, apart from the series.
    fn digest(&self) -> Digest;

    /// How many hours of loads without a gap it must have learned to predict all that can be asked of it.
    fn hours_needed(&self) -> i64 {
        0
    }
}

/// Why an hour was not forecast by the model, but by the seasonal rule or, where it has learned too little, from the last
/// load.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case", tag = "reason")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Degraded {
    #[error("the last known load is {hours} hours old, and the model looks a day ahead")]
    Late { hours: i64 },
    #[error(
        "{known_hours} hours of loads are known, and the model needs {needed_hours}: the hours next to the last load repeat \
         it, the others follow the seasonal rule"
    )]
    ShortHistory { known_hours: i64, needed_hours: i64 },
    #[error("loads that the model needs are missing, or it has not learned enough yet")]
    Missing,
    #[error("the load of {kw} kW in the hour {hour} of 1970 cannot be")]
    Absurd { hour: i64, kw: u64 },
    #[error("the model says something that cannot be: the load is too far from that of the last week")]
    Implausible,
}

/// The forecast of one hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ForecastHour {
    /// The hour, counted from 1970.
    pub hour: i64,
    /// The expected load in kilowatts.
    pub load_kw: u32,
    /// Where nine of ten loads lie, in kilowatts, lower end first; `None` while too few errors are known.
    pub band_kw: Option<(u32, u32)>,
    /// Why it is not the model's, if it is not.
    pub degraded: Option<Degraded>,
}

/// A forecast of consecutive hours.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Forecast {
    /// The hours, in order, from the origin on.
    pub hours: Vec<ForecastHour>,
    /// How many hours before the origin have no load yet: 0 for a feed that is in time.
    pub late_hours: i64,
    /// What the model is.
    pub model: Digest,
    /// The loads that it was shown.
    pub data_window: Digest,
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ForecastError {
    #[error(
        "no load of the same hour of a day or week before {hour} is known: there is nothing to forecast from. \
         {known_hours} hours of loads are known; {needed_hours} in a row are enough, and the 24 before the forecast are for \
         its first day"
    )]
    NoHistory { hour: UtcHour, known_hours: i64, needed_hours: i64 },
    #[error("a forecast is of 1 to {HOURS_AHEAD_MAX} hours before the end of the year 9999, not {asked}")]
    Length { asked: usize },
    #[error("a load of {hour} is beyond 4294967295 kW")]
    TooLarge { hour: UtcHour },
}

/// The longest forecast: a week, of which the seasonal rule has all but the first day.
pub const HOURS_AHEAD_MAX: usize = 168;
/// What of a series is digested as the data window: all that a forecast reads itself.
pub const DATA_WINDOW_HOURS: i64 = 9 * WEEK;

/// How old the newest load may be before the model is not asked; it needs them within a day.
const HORIZON_MAX: i64 = 24;
/// A load of the last day that is above this many times the mean of the weeks before, or below this part, is absurd.
const ABSURD_TIMES: f64 = 4.0;

/// Forecasts `hours` hours from `origin` on, with loads before `origin` alone.
///
/// The model must have learned before. Where the newest loads are late, it looks further ahead instead, as far as it
/// can.
///
/// # Errors
/// [`ForecastError`].
pub fn forecast(
    model: &dyn Forecaster,
    fallback: &SeasonalRule,
    series: &LoadSeries,
    origin: UtcHour,
    hours: usize,
) -> Result<Forecast, ForecastError> {
    let length = ForecastError::Length { asked: hours };
    if !(1..=HOURS_AHEAD_MAX).contains(&hours) {
        return Err(length);
    }
    let last_known = series.last_known(origin);
    let late_hours = last_known.map_or(i64::MAX, |last| origin.since(last) - 1);
    let absurd = last_known.and_then(|last| absurd(series, last));
    let (known_hours, needed_hours) = (series.known_hours(origin), model.hours_needed());
    let short = || Degraded::ShortHistory { known_hours, needed_hours };
    let is_short = known_hours < needed_hours;
    let mut forecast = Forecast {
        hours: Vec::with_capacity(hours),
        late_hours,
        model: model.digest(),
        data_window: data_window(series, origin),
    };
    let mut band = None;
    for step in 0..hours {
        let target = origin.plus(step as i64).ok_or(length)?;
        let by_model = match &absurd {
            Some(absurd) => Err(absurd.clone()),
            None => predict(model, series, target, last_known),
        };
        let (prediction, degraded) = match by_model {
            // Without a band no expert has won yet.
            Ok(prediction) => (prediction, (is_short && prediction.band_kw.is_none()).then(short)),
            Err(degraded) => {
                let degraded = if is_short && degraded == Degraded::Missing { short() } else { degraded };
                let load_kw = fallback.load_kw(series, origin, target);
                let needed_hours = needed_hours.max(WEEK);
                let none = ForecastError::NoHistory { hour: target, known_hours, needed_hours };
                let load_kw = load_kw.ok_or(none)?;
                let width = *band.get_or_insert_with(|| fallback.band(series, origin));
                let band_kw = width.map(|w: f64| (load_kw * (1.0 - w).max(0.0), load_kw * (1.0 + w)));
                (Prediction { load_kw, band_kw }, Some(degraded))
            }
        };
        forecast.hours.push(rounded(target, prediction, degraded)?);
    }
    Ok(forecast)
}

fn predict(
    model: &dyn Forecaster,
    series: &LoadSeries,
    target: UtcHour,
    last_known: Option<UtcHour>,
) -> Result<Prediction, Degraded> {
    let last_known = last_known.ok_or(Degraded::Missing)?;
    let ahead = target.since(last_known);
    let horizon = u8::try_from(ahead).ok().and_then(Horizon::new);
    let horizon = horizon.ok_or(Degraded::Late { hours: ahead.max(HORIZON_MAX) })?;
    let prediction = model.predict(series, target, horizon).ok_or(Degraded::Missing)?;
    let end = last_known.plus(1).ok_or(Degraded::Missing)?;
    let usual = series.before(end).mean_kw(end, WEEK, 1).ok_or(Degraded::Missing)?;
    let share = prediction.load_kw / usual;
    // Also refuses what is not a number.
    let plausible = share > 1.0 / ABSURD_TIMES && share < ABSURD_TIMES;
    if plausible { Ok(prediction) } else { Err(Degraded::Implausible) }
}

/// The newest load of the last known day that is too far from the mean of the four weeks before that day.
fn absurd(series: &LoadSeries, last_known: UtcHour) -> Option<Degraded> {
    let day = last_known.plus(-23)?;
    let usual = series.before(day).mean_kw(day, 4 * WEEK, 24)?;
    let past = series.before(last_known.plus(1)?);
    (0..HORIZON_MAX).filter_map(|back| last_known.plus(-back)).find_map(|hour| {
        let kw = past.kw(hour)?;
        let usual = kw < usual * ABSURD_TIMES && kw * ABSURD_TIMES > usual;
        (!usual).then_some(Degraded::Absurd { hour: hour.get(), kw: kw as u64 })
    })
}

fn rounded(
    target: UtcHour,
    prediction: Prediction,
    degraded: Option<Degraded>,
) -> Result<ForecastHour, ForecastError> {
    let whole = |kw: f64| {
        let fits = (0.0..=f64::from(u32::MAX)).contains(&kw);
        fits.then_some(kw as u32).ok_or(ForecastError::TooLarge { hour: target })
    };
    let load_kw = whole(prediction.load_kw.round())?;
    let band_kw = match prediction.band_kw {
        Some((low, high)) => Some((whole(low.max(0.0).floor())?, whole(high.ceil())?)),
        None => None,
    };
    Ok(ForecastHour { hour: target.get(), load_kw, band_kw, degraded })
}

/// SHA-256 over the loads of the last weeks before `origin`, and of what else is known then.
#[must_use]
pub fn data_window(series: &LoadSeries, origin: UtcHour) -> Digest {
    let window = -DATA_WINDOW_HOURS..0;
    let hours = || window.clone().map(|back| origin.plus(back));
    let past = series.before(origin);
    let loads: Vec<Option<u64>> =
        hours().map(|hour| past.watts(hour?).map(eroam_domain::quantity::Watts::get)).collect();
    // Forecasts of the weather reach a day further.
    let with_day = || (-DATA_WINDOW_HOURS..HORIZON_MAX).map(|back| origin.plus(back));
    let influences: Vec<Vec<Option<u64>>> = series
        .exogenous()
        .iter()
        .map(|e| with_day().map(|hour| e.known_at(hour?, origin).map(f64::to_bits)).collect())
        .collect();
    Digest::of_value("eroam/forecast/data-window/1", &(origin.get(), loads, influences))
}

/// What is digested of an hour: the count from 1970, load and band in kilowatts, whether it is not the model's.
#[derive(BorshSerialize)]
struct CanonicalHour {
    hour: i64,
    load_kw: u32,
    band_kw: Option<(u32, u32)>,
    seasonal: bool,
}

impl Forecast {
    /// SHA-256 over model, data window and values: what an attestation carries, so that whoever has model and data
    /// can show that the forecast was made from them.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let canonical = |h: &ForecastHour| CanonicalHour {
            hour: h.hour,
            load_kw: h.load_kw,
            band_kw: h.band_kw,
            seasonal: h.degraded.is_some(),
        };
        let hours: Vec<CanonicalHour> = self.hours.iter().map(canonical).collect();
        Digest::of_value("eroam/forecast/1", &(self.model.0, self.data_window.0, hours))
    }

    /// Whether any hour is not the model's.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.hours.iter().any(|h| h.degraded.is_some())
    }
}
