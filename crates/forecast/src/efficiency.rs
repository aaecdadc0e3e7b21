//! Decision efficiency: how close prices that follow a forecast come to prices that know the load.
//!
//! ```text
//! eta = 1 - sum(E |q - q*|) / sum(E q*)
//! ```
//! `q` is what the agreed rule asks for a kilowatt-hour at the forecast load, `q*` the same rule at the actual load, `E`
//! the energy that sessions take in the hour. It is our definition: paper A shows an efficiency of decision making
//! that rises from 95.3 to 97.86 % (its figure 6) without saying what it is a share of, so the two are not the same
//! metric. What the same rule reaches without a forecast stands beside it always.
//!
//! Everything is fixed before scoring: an hour is priced from what was known `horizon` hours before it, from a cold
//! start, and the model is solved again weekly. An hour that nobody can forecast yet is priced by the static rule.

mod demand;
mod interval;
mod rule;

pub use demand::{SessionShape, hourly_energy};
pub use interval::{SplitMix64, ci95};
pub use rule::study_rule;

use crate::clock::LoadClock;
use crate::features::Horizon;
use crate::forecaster::Forecaster;
use crate::hour::{UtcHour, WEEK};
use crate::seasonal::SeasonalRule;
use crate::series::LoadSeries;
use eroam_domain::agreement::{DynamicRule, Knot};
use eroam_domain::pricing::{HourForecast, PriceError};
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

/// The first epoch of the summary, counted from 1: a year has gone by, so the capacity is from the past too.
pub const SUMMARY_EPOCH: usize = 53;

/// What one week amounts to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Epoch {
    /// Its number, from 1.
    pub epoch: usize,
    /// Hours priced.
    pub hours: u64,
    /// Hours without a forecast by the model.
    pub degraded_hours: u64,
    /// Efficiency of prices that follow the forecast.
    pub efficiency_percent: f64,
    /// Efficiency of the best static rule.
    pub static_percent: f64,
    /// Efficiency of prices that follow the last known load.
    pub persistence_percent: f64,
    /// Efficiency of prices that know the load: 100 by definition.
    pub oracle_percent: f64,
    /// Efficiency after the true-up of hours whose load left the agreed band.
    pub after_true_up_percent: f64,
    /// How often the 90 % band held the load; `None` before there is a band.
    pub coverage_percent: Option<f64>,
    /// How often the forecast is between the same two knots of the rule as the load.
    pub class_accuracy_percent: f64,
    /// On how many of the days the forecast's highest hour is the load's.
    pub peak_hour_hits_percent: f64,
    #[serde(skip)]
    sums: Sums,
}

/// What weeks add up to; amounts in millionths times watt-hours per kilowatt-hour, which cancels.
#[derive(Clone, Debug, Default, PartialEq)]
struct Sums {
    ideal: f64,
    /// Of the forecast, the static rule, persistence, and the forecast after the true-up.
    lost: [f64; 4],
    covered: (u64, u64),
    class: (u64, u64),
    peak: (u64, u64),
    hours: u64,
    degraded: u64,
}

/// The study of one grid zone at one horizon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Study {
    /// How far ahead prices are made, in hours.
    pub horizon_hours: i64,
    /// Efficiency of prices that follow the forecast, over the epochs from [`SUMMARY_EPOCH`] on, as all below.
    pub efficiency_percent: f64,
    /// Where it lies in 95 of 100 resamplings of whole weeks.
    pub ci95: (f64, f64),
    /// Efficiency of the best static rule: the time-of-use rate with the constant surcharge that does best in
    /// hindsight over these epochs.
    pub static_percent: f64,
    /// That constant surcharge.
    pub static_surcharge_bps: i32,
    /// Efficiency of prices that follow the last known load.
    pub persistence_percent: f64,
    /// 100 by definition.
    pub oracle_percent: f64,
    /// Efficiency after the true-up.
    pub after_true_up_percent: f64,
    /// How often the 90 % band held the load; `None` if there never was one.
    pub coverage_percent: Option<f64>,
    /// How often the forecast is between the same two knots as the load.
    pub class_accuracy_percent: f64,
    /// On how many of the days the forecast's highest hour is the load's.
    pub peak_hour_hits_percent: f64,
    /// A row for each week from the cold start on.
    pub epochs: Vec<Epoch>,
}

/// Why a study cannot be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StudyError {
    #[error("the series has {weeks} whole weeks, and the study needs more than {SUMMARY_EPOCH}")]
    TooShort { weeks: usize },
    #[error("a load cannot be priced")]
    Price(#[from] PriceError),
    #[error("no session takes energy in an hour with a load from epoch {SUMMARY_EPOCH} on")]
    NoEnergy,
}

/// What a study is about.
#[derive(Clone, Debug)]
pub struct Setting<'s> {
    /// The loads.
    pub series: &'s LoadSeries,
    /// The local clock of the grid, in which time of use and days are counted.
    pub clock: &'s LoadClock,
    /// The agreed rule.
    pub rule: &'s DynamicRule,
    /// Energy that sessions take in an hour, in thousandths of a watt-hour.
    pub energy: &'s BTreeMap<UtcHour, u64>,
    /// How far ahead prices are made.
    pub horizon: Horizon,
}

/// One hour with everything that is asked about it.
struct Hour {
    energy: f64,
    /// Millionths per kWh at the actual load.
    ideal: i64,
    forecast: i64,
    persistence: i64,
    trued_up: i64,
    degraded: bool,
    covered: Option<bool>,
    same_class: bool,
    /// The local date, as days since 1970.
    day: i64,
    actual_kw: f64,
    forecast_kw: Option<f64>,
    hour: UtcHour,
    time_of_use_bps: u32,
}

/// The capacity that is paired with a load where none is agreed: 1.02 times the largest load of the first 52 weeks, in
/// kilowatts, rounded up.
#[must_use]
pub fn paired_capacity_kw(series: &LoadSeries) -> Option<u32> {
    let year = series.load().iter().take(52 * WEEK as usize);
    let largest_watts = year.flatten().map(|watts| watts.get()).max()?;
    let watts = largest_watts.checked_mul(102)?.div_ceil(100);
    u32::try_from(watts.div_ceil(1_000)).ok().filter(|kw| *kw > 0)
}

/// Makes the study with a forecaster that has learned nothing yet.
///
/// # Errors
/// [`StudyError`].
pub fn study(forecaster: &mut dyn Forecaster, setting: &Setting<'_>) -> Result<Study, StudyError> {
    let weeks = setting.series.load().len() / WEEK as usize;
    if weeks <= SUMMARY_EPOCH {
        return Err(StudyError::TooShort { weeks });
    }
    let mut epochs: Vec<Vec<Hour>> = Vec::with_capacity(weeks);
    for week in 0..weeks as i64 {
        let hours = (0..WEEK).filter_map(|h| setting.series.first().plus(week * WEEK + h));
        let judged = hours.filter_map(|hour| judge(forecaster, setting, hour).transpose());
        epochs.push(judged.collect::<Result<_, _>>()?);
    }
    let summary = epochs.get(SUMMARY_EPOCH - 1..).unwrap_or(&[]);
    let (static_surcharge_bps, flat) = best_static(setting, summary)?;
    let rows: Vec<Epoch> =
        (1..).zip(&epochs).map(|(number, hours)| Epoch::of(number, Sums::of(hours, &flat))).collect();
    let weekly: Vec<&Sums> = rows.iter().skip(SUMMARY_EPOCH - 1).map(|row| &row.sums).collect();
    let total = weekly.iter().fold(Sums::default(), |total, week| total.plus(week));
    if total.ideal <= 0.0 {
        return Err(StudyError::NoEnergy);
    }
    let pairs: Vec<(f64, f64)> = weekly.iter().map(|week| (week.lost[0], week.ideal)).collect();
    let (low, high) = ci95(&pairs);
    let whole = Epoch::of(0, total);
    Ok(Study {
        horizon_hours: setting.horizon.hours(),
        efficiency_percent: whole.efficiency_percent,
        ci95: (100.0 - high * 100.0, 100.0 - low * 100.0),
        static_percent: whole.static_percent,
        static_surcharge_bps,
        persistence_percent: whole.persistence_percent,
        oracle_percent: whole.oracle_percent,
        after_true_up_percent: whole.after_true_up_percent,
        coverage_percent: whole.coverage_percent,
        class_accuracy_percent: whole.class_accuracy_percent,
        peak_hour_hits_percent: whole.peak_hour_hits_percent,
        epochs: rows,
    })
}

/// Prices an hour in every way; `None` where the actual load is not known, so that nothing can be compared.
fn judge(
    forecaster: &mut dyn Forecaster,
    setting: &Setting<'_>,
    hour: UtcHour,
) -> Result<Option<Hour>, PriceError> {
    let Setting { series, clock, rule, energy, horizon } = setting;
    let Some(origin) = hour.plus(1 - horizon.hours()) else { return Ok(None) };
    let Some(actual) = series.at(hour) else { return Ok(None) };
    let actual_kw = actual.get() as f64 / 1_000.0;
    forecaster.learn(series, origin);
    let predicted = forecaster.predict(series, hour, *horizon);
    let forecast_kw = predicted.map(|p| p.load_kw).or_else(|| SeasonalRule.load_kw(series, origin, hour));
    let local = clock.local_clock(hour);
    let rate = |kw: f64| rule.rate(hour.get(), &local, HourForecast::of_load(whole_kw(kw)));
    let without = static_rule(rule, 0).rate(hour.get(), &local, HourForecast::of_load(0))?.micros_per_kwh;
    let priced = |kw: Option<f64>| kw.map_or(Ok(without), |kw| rate(kw).map(|r| r.micros_per_kwh));
    let ideal = rate(actual_kw)?;
    let forecast = priced(forecast_kw)?;
    let last_known = series.before(origin).kw(hour.plus(-horizon.hours()).unwrap_or(hour));
    // As agreements say it: outside the band, in basis points of the forecast, the actual load's rate is due.
    let band = f64::from(rule.band_bps.get()) / 10_000.0;
    let left = forecast_kw.is_some_and(|kw| (kw - actual_kw).abs() > band * kw);
    let class = |kw: f64| {
        let utilisation = u64::from(whole_kw(kw)) * 10_000 / u64::from(rule.capacity_kw.max(1));
        rule.knots.iter().filter(|knot| u64::from(knot.utilisation_bps) <= utilisation).count()
    };
    Ok(Some(Hour {
        energy: energy.get(&hour).map_or(0.0, |milli_wh| *milli_wh as f64 / 1_000.0),
        ideal: ideal.micros_per_kwh,
        forecast,
        persistence: priced(last_known)?,
        trued_up: if left { ideal.micros_per_kwh } else { forecast },
        degraded: predicted.is_none(),
        covered: predicted.and_then(|p| p.band_kw).map(|(low, high)| (low..=high).contains(&actual_kw)),
        same_class: forecast_kw.is_some_and(|kw| class(kw) == class(actual_kw)),
        day: local.at(hour.start()).date.days(),
        actual_kw,
        forecast_kw,
        hour,
        time_of_use_bps: rule.time_of_use_at(local.at(hour.start())).get(),
    }))
}

/// To the nearest kilowatt, as forecasts are attested.
fn whole_kw(kw: f64) -> u32 {
    kw.round().clamp(0.0, f64::from(u32::MAX)) as u32
}

/// The rule with a constant surcharge instead of its curve.
fn static_rule(rule: &DynamicRule, surcharge_bps: i32) -> DynamicRule {
    let knots = vec![Knot { utilisation_bps: 0, surcharge_bps }];
    DynamicRule { knots, ..rule.clone() }
}

/// The constant surcharge, to 50 basis points, that loses least over these weeks, and the rates under it.
fn best_static(setting: &Setting<'_>, weeks: &[Vec<Hour>]) -> Result<(i32, StaticRates), PriceError> {
    let ends = setting.rule.knots.iter().map(|knot| knot.surcharge_bps);
    let (low, high) = (ends.clone().min().unwrap_or(0), ends.max().unwrap_or(0));
    let mut best: Option<(f64, i32, StaticRates)> = None;
    for surcharge in (low..=high).step_by(50) {
        let rates = StaticRates::of(setting, surcharge, weeks)?;
        let charged = weeks.iter().flatten().filter(|h| h.energy > 0.0);
        let lost = charged.fold(0.0, |sum, h| sum + h.energy * (rates.at(h) - h.ideal).abs() as f64);
        if best.as_ref().is_none_or(|(least, ..)| lost < *least) {
            best = Some((lost, surcharge, rates));
        }
    }
    match best {
        Some((_, surcharge, rates)) => Ok((surcharge, rates)),
        None => Ok((0, StaticRates::of(setting, 0, weeks)?)),
    }
}

/// What a static rule asks, by the factor of its time of use: an hour of each is priced once, since nothing else
/// distinguishes hours.
struct StaticRates(BTreeMap<u32, i64>);

impl StaticRates {
    fn of(setting: &Setting<'_>, surcharge_bps: i32, weeks: &[Vec<Hour>]) -> Result<Self, PriceError> {
        let rule = static_rule(setting.rule, surcharge_bps);
        let mut rates = BTreeMap::new();
        for hour in weeks.iter().flatten() {
            if let Entry::Vacant(vacant) = rates.entry(hour.time_of_use_bps) {
                let clock = setting.clock.local_clock(hour.hour);
                vacant.insert(rule.rate(hour.hour.get(), &clock, HourForecast::of_load(0))?.micros_per_kwh);
            }
        }
        Ok(Self(rates))
    }

    /// The rate of an hour; what it would be for a time of use that was not among those weeks does not matter there.
    fn at(&self, hour: &Hour) -> i64 {
        self.0.get(&hour.time_of_use_bps).copied().unwrap_or(hour.ideal)
    }
}

impl Sums {
    fn of(hours: &[Hour], flat: &StaticRates) -> Self {
        let mut sums = Self::default();
        let mut days: BTreeMap<i64, Vec<&Hour>> = BTreeMap::new();
        for hour in hours {
            sums.ideal += hour.energy * hour.ideal as f64;
            let rates = [hour.forecast, flat.at(hour), hour.persistence, hour.trued_up];
            for (lost, rate) in sums.lost.iter_mut().zip(rates) {
                *lost += hour.energy * (rate - hour.ideal).abs() as f64;
            }
            if let Some(covered) = hour.covered {
                count(&mut sums.covered, covered);
            }
            count(&mut sums.class, hour.same_class);
            sums.hours += 1;
            sums.degraded += u64::from(hour.degraded);
            days.entry(hour.day).or_default().push(hour);
        }
        // Days that the week cuts have no peak of their own; a day of daylight saving has 23 hours.
        for day in days.values().filter(|day| day.len() >= 23) {
            let highest = |kw: fn(&Hour) -> f64| {
                let best = day.iter().max_by(|a, b| kw(a).total_cmp(&kw(b)));
                best.map(|hour| hour.hour)
            };
            let hit = highest(|h| h.actual_kw) == highest(|h| h.forecast_kw.unwrap_or(0.0));
            count(&mut sums.peak, hit);
        }
        sums
    }

    fn plus(&self, other: &Self) -> Self {
        let add = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        let mut lost = self.lost;
        lost.iter_mut().zip(other.lost).for_each(|(sum, more)| *sum += more);
        Self {
            ideal: self.ideal + other.ideal,
            lost,
            covered: add(self.covered, other.covered),
            class: add(self.class, other.class),
            peak: add(self.peak, other.peak),
            hours: self.hours + other.hours,
            degraded: self.degraded + other.degraded,
        }
    }
}

/// Hits, and of how many.
fn count(counted: &mut (u64, u64), hit: bool) {
    counted.0 += u64::from(hit);
    counted.1 += 1;
}

fn percent((hits, of): (u64, u64)) -> Option<f64> {
    (of > 0).then(|| hits as f64 * 100.0 / of as f64)
}

impl Epoch {
    fn of(epoch: usize, sums: Sums) -> Self {
        // A week without energy loses nothing.
        let eta = |lost: f64| if sums.ideal > 0.0 { (1.0 - lost / sums.ideal) * 100.0 } else { 100.0 };
        let [forecast, fixed, persistence, trued_up] = sums.lost.map(eta);
        Self {
            epoch,
            hours: sums.hours,
            degraded_hours: sums.degraded,
            efficiency_percent: forecast,
            static_percent: fixed,
            persistence_percent: persistence,
            oracle_percent: 100.0,
            after_true_up_percent: trued_up,
            coverage_percent: percent(sums.covered),
            class_accuracy_percent: percent(sums.class).unwrap_or(0.0),
            peak_hour_hits_percent: percent(sums.peak).unwrap_or(0.0),
            sums,
        }
    }
}
