//! Demand of made-up stations, whose habits are known.

use super::*;
use eroam_domain::quantity::WattHours;
use eroam_domain::time::UnixMillis;

const HOUR_MS: i64 = 3_600_000;
/// 2024-01-01T00:00Z, a Monday.
const FIRST: i64 = 473_352;

fn at(hour: i64, minutes: i64) -> UnixMillis {
    UnixMillis::new(hour * HOUR_MS + minutes * 60_000).unwrap()
}

fn hour(hour: i64) -> UtcHour {
    UtcHour::new(hour).unwrap()
}

/// From a minute of an hour on, charging for `charging` and plugged in for `plugged` minutes.
fn session(station: &str, from: (i64, i64), charging: i64, plugged: i64, wh: u64) -> StationSession {
    let start = at(from.0, from.1);
    StationSession {
        station: station.into(),
        start,
        charging_end: UnixMillis::new(start.get() + charging * 60_000).unwrap(),
        end: UnixMillis::new(start.get() + plugged * 60_000).unwrap(),
        energy: WattHours::from_wh(wh).unwrap(),
    }
}

/// Every working day from 9 to 11 h, 10 kWh, for so many weeks from week `from` on.
fn commuter(station: &str, from: i64, weeks: i64, wh: u64) -> Vec<StationSession> {
    let days = (from * 7..(from + weeks) * 7).filter(|day| day % 7 < 5);
    days.map(|day| session(station, (FIRST + day * 24 + 9, 0), 120, 120, wh)).collect()
}

fn history(sessions: &[Vec<StationSession>]) -> DemandHistory {
    DemandHistory::of(&sessions.concat()).unwrap()
}

fn fit(history: &DemandHistory, quantity: Quantity) -> DemandModel {
    DemandModel::fit(history, &LoadClock::utc(), quantity, history.end())
}

#[test]
fn energy_and_presence_are_spread_over_their_hours() {
    let sessions = [session("a", (FIRST, 30), 90, 150, 9_000), session("a", (FIRST + 1, 0), 30, 60, 1_000)];
    let history = DemandHistory::of(&sessions).unwrap();
    let station = history.station("a").unwrap();
    let values = |quantity| -> Vec<f64> {
        let hours = history.hours(station, quantity, history.first(), history.end());
        hours.map(|(_, value)| (value * 1e6).round() / 1e6).collect()
    };
    assert_eq!(values(Quantity::EnergyKwh), [3.0, 7.0, 0.0, 0.0]);
    assert_eq!(values(Quantity::Plugged), [0.5, 2.0, 1.0, 0.0]);
    assert_eq!(station.sessions(), 2);
}

#[test]
fn a_station_with_a_long_history_is_expected_to_go_on_with_its_habits() {
    let history = history(&[commuter("work", 0, 26, 10_000), commuter("other", 0, 26, 2_000)]);
    let model = fit(&history, Quantity::EnergyKwh);
    let monday = history.end().get().div_euclid(168) * 168 + FIRST.rem_euclid(168) + 168;
    let mean = |station, at: i64| model.predict(station, hour(at)).unwrap().mean;
    let (busy, night) = (mean("work", monday + 9), mean("work", monday + 3));
    assert!((busy - 5.0).abs() < 0.3, "{busy}");
    assert!(night < 0.01, "{night}");
    assert!(mean("work", monday + 5 * 24 + 9) < 0.01, "Saturday");
    assert!(mean("other", monday + 9) < 1.2);
    assert_eq!(model.predict("nowhere", hour(monday)), None);
}

#[test]
fn a_new_station_is_drawn_to_what_the_others_do() {
    let new = vec![session("new", (FIRST + 26 * 168 - 30, 0), 60, 60, 8_000)];
    let history = history(&[commuter("a", 0, 26, 10_000), commuter("b", 0, 26, 10_000), new]);
    let model = fit(&history, Quantity::EnergyKwh);
    let weeks: Vec<(&str, f64)> = model.stations().collect();
    assert!(weeks[2].0 == "new" && weeks[2].1 < 0.2, "{weeks:?}");
    let monday = FIRST + 27 * 168;
    let mean = |at: i64| model.predict("new", hour(at)).unwrap().mean;
    // Nobody was ever there at that time, but it is like the others.
    assert!(mean(monday + 9) > 2.0, "{}", mean(monday + 9));
    assert!(mean(monday + 3) < 0.1, "{}", mean(monday + 3));
}

#[test]
fn the_local_clock_makes_the_week() {
    let berlin: LoadClock = "Europe/Berlin".parse().unwrap();
    // 9 h local: 8 h UTC in winter, 7 h in summer.
    let sessions: Vec<StationSession> = (0..182)
        .filter_map(|day| {
            let midnight = FIRST + day * 24;
            let summer = day >= 90;
            (day % 7 < 5).then(|| session("a", (midnight + if summer { 7 } else { 8 }, 0), 60, 60, 6_000))
        })
        .collect();
    let history = DemandHistory::of(&sessions).unwrap();
    let model = DemandModel::fit(&history, &berlin, Quantity::EnergyKwh, history.end());
    let monday = FIRST + 26 * 168;
    let mean = |at: i64| model.predict("a", hour(at)).unwrap().mean;
    assert!(mean(monday + 7) > 5.0 && mean(monday + 8) < 0.5, "{} {}", mean(monday + 7), mean(monday + 8));
}

#[test]
fn it_is_better_than_the_mean_and_than_last_week_where_there_is_a_habit_and_chance() {
    // Every third working day nobody comes, by a rule that no hour of the week knows.
    let mut sessions = [commuter("a", 0, 52, 10_000), commuter("b", 0, 52, 7_000)].concat();
    sessions.retain(|s| (s.start.get() / HOUR_MS * 7_919) % 10 > 2);
    let history = DemandHistory::of(&sessions).unwrap();
    let score = backtest(&history, &LoadClock::utc(), Quantity::EnergyKwh, 24).unwrap();
    assert_eq!(score.folds, 6);
    assert!(score.model_rmse < 0.9 * score.mean_rmse, "{score:?}");
    assert!(score.model_rmse < 0.9 * score.last_week_rmse, "{score:?}");
    assert!(score.coverage_percent.is_some_and(|c| c > 85.0), "{score:?}");
    let short = history_of_weeks(6);
    assert_eq!(backtest(&short, &LoadClock::utc(), Quantity::EnergyKwh, 24), None);
}

fn history_of_weeks(weeks: i64) -> DemandHistory {
    history(&[commuter("a", 0, weeks, 10_000)])
}

#[test]
fn nothing_of_the_scored_weeks_is_learned() {
    let all = history_of_weeks(30);
    let cut = FIRST + 20 * 168;
    let (mut early, mut late) = (commuter("a", 0, 20, 10_000), commuter("a", 20, 10, 10_000));
    // Another future.
    late.iter_mut().for_each(|s| s.energy = WattHours::from_wh(1).unwrap());
    early.append(&mut late);
    let other = DemandHistory::of(&early).unwrap();
    let model = |history| DemandModel::fit(history, &LoadClock::utc(), Quantity::EnergyKwh, hour(cut));
    let monday = hour(cut + 9);
    assert_eq!(model(&all).predict("a", monday), model(&other).predict("a", monday));
}

#[test]
fn sessions_that_make_no_history_are_refused_with_a_reason() {
    assert_eq!(DemandHistory::of(&[]), Err(DemandError::NoSession));
    let backwards = StationSession { end: at(FIRST, 0), ..session("a", (FIRST, 30), 0, 0, 1) };
    let refused = DemandHistory::of(&[backwards]).unwrap_err().to_string();
    assert!(refused.contains("`a`") && refused.contains("end before they start"), "{refused}");
    let far = |n: i64| session(&format!("s{n}"), (n * 10_000, 0), 1, 1, 1);
    let many: Vec<StationSession> = (1..7_000).map(far).collect();
    let refused = DemandHistory::of(&many).unwrap_err();
    assert!(matches!(refused, DemandError::TooMuch { .. }), "{refused}");
}

#[test]
fn the_same_sessions_in_another_order_give_the_same_bits() {
    let sessions = [commuter("a", 0, 20, 10_000), commuter("b", 3, 17, 3_333)].concat();
    let reversed: Vec<StationSession> = sessions.iter().rev().cloned().collect();
    let of = |sessions: &[StationSession]| {
        let history = DemandHistory::of(sessions).unwrap();
        let model = fit(&history, Quantity::EnergyKwh);
        let next = history.end().get();
        (next..next + 168).map(|at| model.predict("b", hour(at)).unwrap().mean.to_bits()).collect::<Vec<_>>()
    };
    assert_eq!(of(&sessions), of(&reversed));
}
