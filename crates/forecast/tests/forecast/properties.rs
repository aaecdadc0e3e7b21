//! What holds for any series.

use crate::synthetic::{clock, first, loads_kw, series, series_of};
use eroam_forecast::backtest::{Fold, backtest};
use eroam_forecast::exogenous::{Exogenous, ExogenousKind, ExogenousQuantity, Timing};
use eroam_forecast::features::{COLUMNS, Horizon, features};
use eroam_forecast::forecaster::{Forecaster, forecast};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::learner::{Drift, Expert, Learner};
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::LoadSeries;
use proptest::prelude::*;
use std::collections::BTreeSet;

const WEEK: usize = 168;

fn horizon(hours: u8) -> Horizon {
    Horizon::new(hours).unwrap()
}

fn hour(n: usize) -> UtcHour {
    first().plus(n as i64).unwrap()
}

fn temperature(timing: Timing, hours: usize) -> Exogenous {
    let values = loads_kw(hours, 99).iter().map(|kw| Some(kw / 60_000.0)).collect();
    Exogenous::new(ExogenousKind { quantity: ExogenousQuantity::Temperature, timing }, first(), values)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn features_of_an_hour_are_those_of_the_series_cut_off_where_it_is_forecast(
        seed in any::<u64>(), at in 200usize..600, ahead in 1u8..=24,
    ) {
        let loads = loads_kw(700, seed);
        let whole = series_of(&loads).with_exogenous(vec![temperature(Timing::Observed, 700)]);
        let origin = at + 1 - usize::from(ahead);
        let cut = series_of(&loads[..origin]).with_exogenous(vec![temperature(Timing::Observed, origin)]);
        let of_whole = features(&whole, &clock(), hour(at), horizon(ahead));
        prop_assert!(of_whole.is_some() || at < 194 + usize::from(ahead));
        prop_assert_eq!(&of_whole, &features(&cut, &clock(), hour(at), horizon(ahead)));
        // An hour less is missed, so the test would notice a lag that is not there.
        let less = series_of(&loads[..origin - 1]);
        prop_assert_eq!(None, features(&less, &clock(), hour(at), horizon(ahead)));
    }

    #[test]
    fn forecasts_do_not_depend_on_later_loads(seed in any::<u64>(), cut in 900usize..1_400) {
        let loads = loads_kw(1_500, seed);
        let mut other = loads.clone();
        other[cut..].iter_mut().for_each(|kw| *kw *= 1.7);
        let made = |loads: &[f64]| {
            let series = series_of(loads);
            let mut learner = Learner::new(clock(), [1, 7, 24].map(horizon));
            learner.learn(&series, hour(cut));
            forecast(&learner, &SeasonalRule, &series, hour(cut), 30).unwrap()
        };
        prop_assert_eq!(made(&loads), made(&other));
        prop_assert_eq!(made(&loads), made(&loads[..cut]));
    }

    #[test]
    fn portions_of_learning_make_no_difference(seed in any::<u64>(), cuts in prop::collection::vec(1usize..2_600, 0..6)) {
        let series = series(2_600, seed);
        let learned = |cuts: &[usize]| {
            let mut learner = Learner::new(clock(), [1, 24].map(horizon));
            cuts.iter().for_each(|cut| learner.learn(&series, hour(*cut)));
            learner.learn(&series, hour(2_600));
            (learner.digest(), learner.predict(&series, hour(2_600), horizon(1)), learner.drift())
        };
        prop_assert_eq!(learned(&cuts), learned(&[]));
    }
}

#[test]
fn the_same_series_gives_the_same_bits() {
    let made = || {
        let series = series(9 * WEEK, 3);
        let mut learner = Learner::new(clock(), Horizon::all());
        learner.learn(&series, series.end());
        let forecast = forecast(&learner, &SeasonalRule, &series, series.end(), 24).unwrap();
        (forecast.digest(), forecast)
    };
    assert_eq!(made(), made());
    let (_, forecast) = made();
    assert!(!forecast.is_degraded());
    assert!(
        forecast
            .hours
            .iter()
            .all(|h| h.band_kw.is_some_and(|(low, high)| low < h.load_kw && h.load_kw < high))
    );
}

/// The digest of that forecast, on any machine and at any optimisation. Whoever changes it on purpose changes the name
/// of the model, too: attestations of the old one could not be checked any more.
const GOLDEN: &str = "2b586d879609cb2ddbddc9078d7703929677d5a2f50409b2b73d6a594d6d7842";

#[test]
fn the_bits_are_those_of_every_other_machine() {
    let series = series(9 * WEEK, 3);
    let mut learner = Learner::new(clock(), Horizon::all());
    learner.learn(&series, series.end());
    let forecast = forecast(&learner, &SeasonalRule, &series, series.end(), 24).unwrap();
    assert_eq!((learner.name(), forecast.digest().to_string().as_str()), ("online-ridge/1", GOLDEN));
}

#[test]
fn a_series_with_other_columns_is_learned_anew() {
    let plain = series(4 * WEEK, 3);
    let warm = plain.clone().with_exogenous(vec![temperature(Timing::Forecast, 5 * WEEK)]);
    let mut learner = Learner::new(clock(), [horizon(1)]);
    learner.learn(&plain, plain.end());
    assert!(learner.predict(&plain, plain.end(), horizon(1)).is_some());
    assert_eq!(learner.predict(&warm, plain.end(), horizon(1)), None, "it has not learned from the weather");
    // The hours are the same, but not their columns.
    learner.learn(&warm, warm.end());
    let mut fresh = Learner::new(clock(), [horizon(1)]);
    fresh.learn(&warm, warm.end());
    assert_eq!(learner.digest(), fresh.digest());
    assert!(learner.predict(&warm, warm.end(), horizon(1)).is_some());
}

#[test]
fn the_digest_covers_model_data_and_values() {
    let series = series(6 * WEEK, 3);
    let mut learner = Learner::new(clock(), Horizon::all());
    learner.learn(&series, series.end());
    let base = forecast(&learner, &SeasonalRule, &series, series.end(), 24).unwrap();
    let mut digests = BTreeSet::from([base.digest().to_string()]);
    let mut value = base.clone();
    value.hours[3].load_kw += 1;
    let mut band = base.clone();
    band.hours[3].band_kw = None;
    let mut utc = Learner::new("UTC".parse().unwrap(), Horizon::all());
    utc.learn(&series, series.end());
    let mut more = series.clone();
    more.push(series.load()[0]).unwrap();
    let others = [
        value,
        band,
        forecast(&utc, &SeasonalRule, &series, series.end(), 24).unwrap(),
        forecast(&learner, &SeasonalRule, &more, more.end(), 24).unwrap(),
        forecast(&SeasonalRule, &SeasonalRule, &series, series.end(), 24).unwrap(),
    ];
    for other in others {
        assert!(digests.insert(other.digest().to_string()), "{other:?} has the digest of another");
    }
    assert_eq!(base.model, learner.digest());
}

#[test]
fn a_row_has_the_columns_that_it_says() {
    let plain = series(500, 1);
    let rows =
        |series: &LoadSeries| features(series, &clock(), hour(450), horizon(5)).unwrap().row.common.len();
    assert_eq!(rows(&plain), COLUMNS);
    let warm = plain.with_exogenous(vec![temperature(Timing::Forecast, 600)]);
    assert_eq!(rows(&warm), COLUMNS + 5);
}

#[test]
fn the_band_covers_nine_of_ten_hours_of_a_load_that_keeps_its_habits() {
    let series = series(40 * WEEK, 11);
    let fold = Fold { name: "late".to_owned(), from: hour(14 * WEEK), until: series.end() };
    for ahead in [1, 24] {
        let mut learner = Learner::new(clock(), [horizon(ahead)]);
        let scores =
            backtest(&mut learner, &series, horizon(ahead), std::slice::from_ref(&fold), &BTreeSet::new());
        let coverage = scores[0].coverage_percent.unwrap();
        assert!((88.0..=92.0).contains(&coverage), "{ahead} h: {coverage}");
        assert!(scores[0].mape_percent < scores[0].persistence_percent.min(scores[0].week_ago_percent));
        assert_eq!((scores[0].hours, scores[0].degraded_hours), (26 * WEEK as u64, 0));
        assert_eq!(scores[0].mape_percent, scores[1].mape_percent, "one fold is all of them");
    }
}

#[test]
fn another_forecaster_can_stand_in() {
    let series = series(10 * WEEK, 5);
    let fold = Fold { name: "last".to_owned(), from: hour(5 * WEEK), until: series.end() };
    let mut rule: Box<dyn Forecaster> = Box::new(SeasonalRule);
    let score = &backtest(rule.as_mut(), &series, horizon(24), &[fold], &BTreeSet::new())[0];
    assert_eq!(score.mape_percent, score.seasonal_percent);
    assert_eq!(score.coverage_percent, None, "the rule alone has no band");
}

#[test]
fn weather_that_moves_the_load_makes_forecasts_better() {
    let mut loads = loads_kw(30 * WEEK, 21);
    let warmth = temperature(Timing::Forecast, loads.len());
    for (n, load) in loads.iter_mut().enumerate() {
        *load *= 1.0 + 0.1 * (warmth.at(hour(n)).unwrap() - 20.0).max(0.0);
    }
    let blind = series_of(&loads);
    let seeing = blind.clone().with_exogenous(vec![warmth]);
    let error = |series: &LoadSeries| {
        let fold = Fold { name: "late".to_owned(), from: hour(12 * WEEK), until: series.end() };
        let mut learner = Learner::new(clock(), [horizon(24)]);
        backtest(&mut learner, series, horizon(24), &[fold], &BTreeSet::new())[0].mape_percent
    };
    let (without, with) = (error(&blind), error(&seeing));
    assert!(with < without * 0.8, "{with} is hardly better than {without}");
}

#[test]
fn a_load_that_changes_its_habits_is_noticed() {
    let mut loads = loads_kw(24 * WEEK, 8);
    // From here on the days are upside down.
    for load in &mut loads[20 * WEEK..] {
        *load = 2_200_000.0 - *load;
    }
    let series = series_of(&loads);
    let mut learner = Learner::new(clock(), [horizon(24)]);
    learner.learn(&series, hour(20 * WEEK));
    assert_eq!(learner.drift(), []);
    assert!(matches!(learner.champion(horizon(24)), Some(Expert::Ridge(_))));
    let mut signs = Vec::new();
    for day in 1..=21 {
        learner.learn(&series, hour(20 * WEEK + day * 24));
        signs.extend(learner.drift());
    }
    assert!(signs.iter().any(|(_, s)| matches!(s, Drift::CoverageDropped { percent } if *percent < 80.0)));
    assert!(signs.iter().any(|(_, s)| matches!(s, Drift::ChampionChanged { .. })), "{signs:?}");
}
