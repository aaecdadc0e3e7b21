//! Data that are late, missing or absurd: the seasonal rule stands in, and the forecast says why.

use crate::synthetic::{clock, first, loads_kw, series_of};
use eroam_domain::codec::Digest;
use eroam_domain::quantity::Watts;
use eroam_forecast::features::Horizon;
use eroam_forecast::forecaster::{
    Degraded, Forecast, ForecastError, Forecaster, HOURS_AHEAD_MAX, Prediction, forecast,
};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::learner::{HOURS_NEEDED, Learner};
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::LoadSeries;

const HOURS: usize = 6 * 168;

fn origin() -> UtcHour {
    first().plus(HOURS as i64).unwrap()
}

/// A forecast of a day from `loads`, of which all before the origin are learned.
fn day_ahead(loads: &[f64]) -> Forecast {
    let series = series_of(loads);
    let mut learner = Learner::new(clock(), Horizon::all());
    learner.learn(&series, origin());
    forecast(&learner, &SeasonalRule, &series, origin(), 24).unwrap()
}

fn reasons(forecast: &Forecast) -> Vec<Option<Degraded>> {
    forecast.hours.iter().map(|h| h.degraded.clone()).collect()
}

#[test]
fn a_feed_in_time_is_forecast_by_the_model() {
    let forecast = day_ahead(&loads_kw(HOURS, 1));
    assert_eq!((reasons(&forecast), forecast.late_hours), (vec![None; 24], 0));
    let hours: Vec<i64> = forecast.hours.iter().map(|h| h.hour).collect();
    assert_eq!(hours, (origin().get()..origin().get() + 24).collect::<Vec<_>>());
}

#[test]
fn late_data_are_bridged_as_far_as_the_model_looks() {
    let forecast = day_ahead(&loads_kw(HOURS - 5, 1));
    assert_eq!(forecast.late_hours, 5);
    let (model, rule) = forecast.hours.split_at(19);
    assert!(model.iter().all(|h| h.degraded.is_none()));
    let late: Vec<_> = rule.iter().filter_map(|h| h.degraded.clone()).collect();
    assert_eq!(late, (25..30).map(|hours| Degraded::Late { hours }).collect::<Vec<_>>());
}

#[test]
fn a_feed_that_is_lost_leaves_the_seasonal_rule_with_its_band() {
    let loads = loads_kw(HOURS - 30, 1);
    let forecast = day_ahead(&loads);
    assert!(reasons(&forecast).iter().all(|r| matches!(r, Some(Degraded::Late { .. }))));
    let series = series_of(&loads);
    for hour in &forecast.hours {
        let expected = SeasonalRule.load_kw(&series, origin(), UtcHour::new(hour.hour).unwrap()).unwrap();
        assert_eq!(f64::from(hour.load_kw), expected.round());
        let (low, high) = hour.band_kw.unwrap();
        assert!(low < hour.load_kw && hour.load_kw < high);
    }
}

#[test]
fn a_hole_degrades_the_hours_that_need_it() {
    let mut loads = loads_kw(HOURS, 1);
    loads[HOURS - 20..HOURS - 14].fill(f64::NAN);
    let forecast = day_ahead(&loads);
    let missing = reasons(&forecast).iter().filter(|r| **r == Some(Degraded::Missing)).count();
    assert!(missing > 6, "{:?}", reasons(&forecast));
    assert_eq!(missing, reasons(&forecast).iter().flatten().count());
}

#[test]
fn absurd_loads_are_not_believed() {
    let mut good = loads_kw(HOURS, 1);
    let usual = day_ahead(&good);
    for factor in [1_000.0, 0.001, 0.0, 5.0] {
        let kept = good[HOURS - 3];
        good[HOURS - 3] *= factor;
        let forecast = day_ahead(&good);
        let hour = origin().get() - 3;
        let kw = (kept * factor) as u64;
        assert_eq!(reasons(&forecast), vec![Some(Degraded::Absurd { hour, kw }); 24], "{factor}");
        for (found, usual) in forecast.hours.iter().zip(&usual.hours) {
            let share = f64::from(found.load_kw) / f64::from(usual.load_kw);
            assert!((0.7..1.4).contains(&share), "{factor}: {share}");
        }
        good[HOURS - 3] = kept;
    }
}

/// A model that says something wild.
struct Wild(f64);

impl Forecaster for Wild {
    fn name(&self) -> &str {
        "wild/1"
    }

    fn learn(&mut self, _: &LoadSeries, _: UtcHour) {}

    fn predict(&self, _: &LoadSeries, _: UtcHour, _: Horizon) -> Option<Prediction> {
        Some(Prediction { load_kw: self.0, band_kw: None })
    }

    fn digest(&self) -> Digest {
        Digest::of(self.name().as_bytes())
    }
}

#[test]
fn a_model_that_says_what_cannot_be_is_overruled() {
    let series = series_of(&loads_kw(HOURS, 1));
    for wild in [f64::NAN, f64::INFINITY, -1.0, 0.0, 1e30] {
        let forecast = forecast(&Wild(wild), &SeasonalRule, &series, origin(), 3).unwrap();
        assert_eq!(reasons(&forecast), vec![Some(Degraded::Implausible); 3], "{wild}");
    }
}

#[test]
fn a_model_that_has_not_learned_enough_repeats_the_last_load_for_a_few_hours_and_is_not_asked_further() {
    let loads = loads_kw(100, 1);
    let series = series_of(&loads);
    let mut learner = Learner::new(clock(), Horizon::all());
    learner.learn(&series, series.end());
    let forecast = forecast(&learner, &SeasonalRule, &series, series.end(), 24).unwrap();
    let (near, far) = forecast.hours.split_at(4);
    let last = loads[99] as u32;
    assert!(near.iter().all(|h| h.load_kw.abs_diff(last) <= 1 && h.band_kw.is_none()));
    for hour in far {
        let expected = SeasonalRule.load_kw(&series, series.end(), UtcHour::new(hour.hour).unwrap());
        assert_eq!(f64::from(hour.load_kw), expected.unwrap().round());
    }
    let short = Degraded::ShortHistory { known_hours: 100, needed_hours: HOURS_NEEDED };
    assert_eq!(reasons(&forecast), vec![Some(short); 24], "none of it is the model's");
}

#[test]
fn a_model_says_truly_how_many_hours_it_needs() {
    let by_model = |hours: i64| {
        let series = series_of(&loads_kw(usize::try_from(hours).unwrap(), 1));
        let mut learner = Learner::new(clock(), Horizon::all());
        learner.learn(&series, series.end());
        let all: Vec<_> = Horizon::all()
            .map(|horizon| {
                let target = series.end().plus(horizon.hours() - 1).unwrap();
                learner.champion(horizon).is_some() && learner.predict(&series, target, horizon).is_some()
            })
            .collect();
        all.iter().all(|predicted| *predicted)
    };
    for hours in HOURS_NEEDED..HOURS_NEEDED + 24 {
        assert!(by_model(hours), "{hours}");
    }
    assert!(!by_model(HOURS_NEEDED - 1));
}

#[test]
fn without_any_history_there_is_no_forecast() {
    let learner = Learner::new(clock(), Horizon::all());
    for loads in [vec![], vec![None; 500], vec![Some(Watts::new(1_000_000)); 5]] {
        let series = LoadSeries::new(first(), loads).unwrap();
        let found = forecast(&learner, &SeasonalRule, &series, series.end(), 24);
        let known = series.load().iter().flatten().count() as i64;
        let Err(ForecastError::NoHistory { known_hours, needed_hours, .. }) = found else {
            panic!("{found:?}")
        };
        assert_eq!((known_hours, needed_hours), (known, HOURS_NEEDED));
    }
    let series = series_of(&loads_kw(HOURS, 1));
    for asked in [0, HOURS_AHEAD_MAX + 1] {
        let found = forecast(&learner, &SeasonalRule, &series, series.end(), asked);
        assert_eq!(found, Err(ForecastError::Length { asked }));
    }
}

#[test]
fn a_load_beyond_the_ledgers_range_is_an_error() {
    let series = LoadSeries::new(first(), vec![Some(Watts::new(5_000_000_000_000_000)); HOURS]).unwrap();
    let found = forecast(&SeasonalRule, &SeasonalRule, &series, origin(), 1);
    assert_eq!(found, Err(ForecastError::TooLarge { hour: origin() }));
}
