//! The study of decision efficiency on loads that are made up.

use crate::synthetic::{clock, first, loads_kw, series, series_of};
use eroam_domain::codec::Digest;
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_forecast::efficiency::{
    SessionShape, Setting, Study, StudyError, hourly_energy, paired_capacity_kw, study, study_rule,
};
use eroam_forecast::features::Horizon;
use eroam_forecast::forecaster::{Forecaster, Prediction};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::learner::Learner;
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::LoadSeries;
use std::collections::BTreeMap;

const WEEK: usize = 168;

/// Ten kilowatt-hours in every hour.
fn steady(hours: usize) -> BTreeMap<UtcHour, u64> {
    (0..hours).filter_map(|n| Some((first().plus(n as i64)?, 10_000_000))).collect()
}

fn made(
    forecaster: &mut dyn Forecaster,
    series: &LoadSeries,
    energy: &BTreeMap<UtcHour, u64>,
) -> Result<Study, StudyError> {
    let rule = study_rule(paired_capacity_kw(series).unwrap()).unwrap();
    let horizon = Horizon::new(1).unwrap();
    study(forecaster, &Setting { series, clock: &clock(), rule: &rule, energy, horizon })
}

/// Knows what comes.
struct Oracle;

impl Forecaster for Oracle {
    fn name(&self) -> &str {
        "oracle"
    }

    fn learn(&mut self, _: &LoadSeries, _: UtcHour) {}

    fn predict(&self, series: &LoadSeries, target: UtcHour, _: Horizon) -> Option<Prediction> {
        let load_kw = series.at(target)?.get() as f64 / 1_000.0;
        Some(Prediction { load_kw, band_kw: Some((load_kw, load_kw)) })
    }

    fn digest(&self) -> Digest {
        Digest([0; 32])
    }
}

#[test]
fn prices_that_know_the_load_lose_nothing() {
    let series = series(60 * WEEK, 4);
    let study = made(&mut Oracle, &series, &steady(60 * WEEK)).unwrap();
    assert_eq!((study.efficiency_percent, study.ci95), (100.0, (100.0, 100.0)));
    assert_eq!((study.class_accuracy_percent, study.peak_hour_hits_percent), (100.0, 100.0));
    assert_eq!(study.coverage_percent, Some(100.0));
    assert!(study.static_percent < 95.0 && study.persistence_percent < 99.0, "{study:?}");
    assert_eq!(study.epochs.len(), 60);
    assert!(study.epochs.iter().all(|e| e.efficiency_percent == 100.0 && e.hours == 168));
}

#[test]
fn a_model_does_better_than_rules_and_worse_than_knowing() {
    let series = series(60 * WEEK, 4);
    let mut learner = Learner::new(clock(), Horizon::all().take(1));
    let model = made(&mut learner, &series, &steady(60 * WEEK)).unwrap();
    let seasonal = made(&mut SeasonalRule, &series, &steady(60 * WEEK)).unwrap();
    assert!(model.efficiency_percent < 100.0);
    assert!(model.efficiency_percent > model.persistence_percent);
    assert!(model.efficiency_percent > seasonal.efficiency_percent);
    assert_eq!(model.static_percent, seasonal.static_percent);
    assert_eq!(seasonal.coverage_percent, None);
}

#[test]
fn hours_without_a_load_are_not_compared() {
    let mut loads = loads_kw(60 * WEEK, 4);
    loads[55 * WEEK..55 * WEEK + 50].fill(f64::NAN);
    let study = made(&mut Oracle, &series_of(&loads), &steady(60 * WEEK)).unwrap();
    assert_eq!(study.epochs[55].hours, 118);
    assert_eq!(study.efficiency_percent, 100.0);
}

#[test]
fn a_study_of_nothing_is_an_error() {
    let short = series(53 * WEEK, 4);
    let found = made(&mut Oracle, &short, &steady(53 * WEEK));
    assert_eq!(found, Err(StudyError::TooShort { weeks: 53 }));
    let found = made(&mut Oracle, &series(60 * WEEK, 4), &steady(10 * WEEK));
    assert_eq!(found, Err(StudyError::NoEnergy));
}

#[test]
fn the_paired_capacity_is_of_the_first_year_alone() {
    let mut loads = vec![1_000.0; 60 * WEEK];
    loads[52 * WEEK - 1] = 2_000.0;
    loads[52 * WEEK] = 9_000.0;
    assert_eq!(paired_capacity_kw(&series_of(&loads)), Some(2_040));
    assert_eq!(study_rule(2_040).map(|rule| rule.capacity_kw), Some(2_040));
    assert_eq!(study_rule(0), None);
}

#[test]
fn sessions_take_their_energy_from_the_hour_of_their_arrival() {
    let from = first();
    let until = from.plus(72).unwrap();
    let hour = |h: u64| DurationMs::from_secs(h * 3_600).unwrap();
    let place = |shape, seed| hourly_energy(&[shape], 2, Watts::new(7_000), &clock(), from, until, seed);
    let long = SessionShape { arrival_hour: 9, energy: WattHours::from_wh(16_000).unwrap(), dwell: hour(8) };
    // Two sessions a day for three days, 7 kW each: seven, seven and two kilowatt-hours.
    let placed = place(long, 1);
    let expected = (0..3)
        .flat_map(|day| [(9, 14_000_000), (10, 14_000_000), (11, 4_000_000)].map(|(h, e)| (24 * day + h, e)));
    let expected: BTreeMap<UtcHour, u64> =
        expected.filter_map(|(h, milli_wh)| Some((from.plus(h)?, milli_wh))).collect();
    assert_eq!(placed, expected);
    let short = SessionShape { dwell: hour(1), ..long };
    assert_eq!(place(short, 1).values().sum::<u64>(), 6 * 7_000_000, "who leaves early takes less");

    let shapes = [long, SessionShape { arrival_hour: 20, ..long }];
    let drawn = |seed| hourly_energy(&shapes, 40, Watts::new(7_000), &clock(), from, until, seed);
    assert_eq!(drawn(7), drawn(7));
    assert_ne!(drawn(7), drawn(8));
    assert_eq!(drawn(7).values().sum::<u64>(), 120 * 16_000_000);
}
