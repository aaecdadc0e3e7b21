//! Sessions cut into periods.

use super::*;
use crate::pricing::plan::{EvenSession, PlanError, periods};
use proptest::prelude::*;

fn even(start: &str, charging: u64, idle: u64, energy: WattHours) -> EvenSession {
    let start = at(start);
    let charging_end = start.checked_add(mins(charging)).unwrap();
    EvenSession { start, charging_end, end: charging_end.checked_add(mins(idle)).unwrap(), energy }
}

fn energy_only(restrictions: &[Restrictions]) -> Tariff {
    let elements: Vec<_> =
        restrictions.iter().map(|r| element(*r, &[component(Dimension::Energy, 250_000, 1)])).collect();
    tariff(&elements)
}

/// Starts of the periods, as the UTC clock shows them.
fn cuts(session: &EvenSession, tariff: &Tariff, clock: &LocalClock) -> Vec<String> {
    let planned = periods(session, tariff, clock).unwrap();
    planned.iter().map(|p| p.start.to_string()[11..16].to_owned()).collect()
}

#[test]
fn a_session_is_cut_where_charging_ends() {
    let session = even("2021-05-05T12:00:00Z", 90, 30, wh(9_000));
    let planned = periods(&session, &energy_only(&[NONE]), &LocalClock::UTC).unwrap();
    let (charged, parked) = (charging(mins(90), wh(9_000)), parking(mins(30)));
    let start = session.start;
    assert_eq!(
        planned,
        [ChargingPeriod { start, ..charged }, ChargingPeriod { start: session.charging_end, ..parked }]
    );
    // Nothing is left to park, or nothing is charged at all.
    assert_eq!(
        periods(&even("2021-05-05T12:00:00Z", 90, 0, wh(1)), &energy_only(&[NONE]), &LocalClock::UTC)
            .unwrap()
            .len(),
        1
    );
    let idle = even("2021-05-05T12:00:00Z", 0, 30, WattHours::ZERO);
    assert_eq!(
        periods(&idle, &energy_only(&[NONE]), &LocalClock::UTC).unwrap(),
        [ChargingPeriod { start, ..parked }]
    );
}

#[test]
fn a_session_is_cut_where_a_restriction_begins_or_ends() {
    let t = |h, m| TimeOfDay::new(h, m);
    let session = even("2021-05-05T20:30:00Z", 120, 300, wh(12_000));
    let plus_two = LocalClock::fixed(UtcOffset::new(7_200).unwrap());
    for (name, restrictions, want) in [
        (
            "time of use, local 23:00",
            Restrictions { start_time: t(23, 0), end_time: t(6, 0), ..NONE },
            vec!["20:30", "21:00", "22:30"],
        ),
        (
            "days change at local midnight",
            Restrictions { day_of_week: Some([Weekday::Thursday].into_iter().collect()), ..NONE },
            vec!["20:30", "22:00", "22:30"],
        ),
        (
            "dates change at local midnight",
            Restrictions { end_date: "2021-05-06".parse().ok(), ..NONE },
            vec!["20:30", "22:00", "22:30"],
        ),
        (
            "4 kWh after 40 minutes",
            Restrictions { min_energy: Some(wh(4_000)), ..NONE },
            vec!["20:30", "21:10", "22:30"],
        ),
        (
            "more energy than there is",
            Restrictions { min_energy: Some(wh(12_000)), ..NONE },
            vec!["20:30", "22:30"],
        ),
        (
            "45 to 150 minutes",
            Restrictions { min_duration: Some(mins(45)), max_duration: Some(mins(150)), ..NONE },
            vec!["20:30", "21:15", "22:30", "23:00"],
        ),
        (
            "power cuts nothing",
            Restrictions { min_power: Some(Watts::new(1)), ..NONE },
            vec!["20:30", "22:30"],
        ),
    ] {
        assert_eq!(cuts(&session, &energy_only(&[restrictions]), &plus_two), want, "{name}");
    }
}

#[test]
fn a_threshold_of_energy_splits_the_energy_there() {
    let session = even("2021-05-05T12:00:00Z", 120, 0, wh(12_000));
    let tariff = energy_only(&[Restrictions { max_energy: Some(wh(4_000)), ..NONE }, NONE]);
    let planned = periods(&session, &tariff, &LocalClock::UTC).unwrap();
    assert_eq!(planned.iter().map(|p| p.energy).collect::<Vec<_>>(), [wh(4_000), wh(8_000)]);
    let priced = price(&inputs(&tariff, &planned, session.end)).unwrap();
    assert_eq!((energy_element(&priced, 0), energy_element(&priced, 1)), (Some(0), Some(1)));
}

#[test]
fn a_threshold_that_falls_between_two_milliseconds_has_been_passed_where_it_cuts() {
    // 10 kWh in 7 hours: 1 kWh is delivered after 42 minutes, 3 kWh + 1 mWh between two milliseconds.
    let session = even("2021-05-05T12:00:00Z", 420, 0, wh(10_000));
    let threshold = WattHours::from_milli_wh(3_000_001);
    let tariff = energy_only(&[Restrictions { max_energy: Some(threshold), ..NONE }, NONE]);
    let planned = periods(&session, &tariff, &LocalClock::UTC).unwrap();
    assert!(planned[0].energy >= threshold);
    let priced = price(&inputs(&tariff, &planned, session.end)).unwrap();
    assert_eq!((energy_element(&priced, 0), energy_element(&priced, 1)), (Some(0), Some(1)));
}

#[test]
fn the_clock_may_change_during_a_session() {
    let oslo = |change: &str, before, after| LocalClock {
        offset: UtcOffset::new(before).unwrap(),
        change: Some((at(change), UtcOffset::new(after).unwrap())),
    };
    let from = |h, m| energy_only(&[Restrictions { start_time: TimeOfDay::new(h, m), ..NONE }, NONE]);
    // Autumn: 02:30 comes twice. Spring: 02:30 never comes, the clock jumps past it.
    let autumn = oslo("2021-10-31T01:00:00Z", 7_200, 3_600);
    let night = even("2021-10-31T00:00:00Z", 180, 0, wh(3_000));
    assert_eq!(cuts(&night, &from(2, 30), &autumn), ["00:00", "00:30", "01:00", "01:30"]);
    let spring = oslo("2021-03-28T01:00:00Z", 3_600, 7_200);
    let night = even("2021-03-28T00:00:00Z", 180, 0, wh(3_000));
    assert_eq!(cuts(&night, &from(2, 30), &spring), ["00:00", "01:00"]);
    assert_eq!(cuts(&night, &from(4, 0), &spring), ["00:00", "01:00", "02:00"]);
    // The jump starts the window, and the price follows.
    let tariff = from(2, 30);
    let planned = periods(&night, &tariff, &spring).unwrap();
    let priced = price(&PricingInputs { clock: spring, ..inputs(&tariff, &planned, night.end) }).unwrap();
    assert_eq!((energy_element(&priced, 0), energy_element(&priced, 1)), (Some(1), Some(0)));
}

#[test]
fn sessions_that_cannot_be_are_refused() {
    let free = energy_only(&[NONE]);
    let session = even("2021-05-05T12:00:00Z", 60, 60, wh(1));
    let cases = [
        (EvenSession { end: session.start, ..session }, PlanError::OutOfOrder),
        (
            EvenSession { charging_end: session.start.checked_sub(secs(1)).unwrap(), ..session },
            PlanError::OutOfOrder,
        ),
        (EvenSession { charging_end: session.start, ..session }, PlanError::EnergyWithoutTime),
    ];
    for (session, want) in cases {
        assert_eq!(periods(&session, &free, &LocalClock::UTC), Err(want));
    }
    let daily = energy_only(&[Restrictions { start_time: TimeOfDay::new(12, 0), ..NONE }, NONE]);
    let years = even("2021-05-05T12:00:00Z", 3 * 366 * 1_440, 0, wh(1));
    assert_eq!(periods(&years, &daily, &LocalClock::UTC), Err(PlanError::TooManyPeriods));
}

prop_compose! {
    fn arb_session()(
        start in 1_600_000_000_000i64..1_700_000_000_000,
        charging in 1u64..200_000_000,
        idle in 0u64..200_000_000,
        milli_wh in 0u64..200_000_000,
    ) -> EvenSession {
        let start = UnixMillis::new(start).unwrap();
        let charging_end = start.checked_add(DurationMs::from_millis(charging)).unwrap();
        let end = charging_end.checked_add(DurationMs::from_millis(idle)).unwrap();
        EvenSession { start, charging_end, end, energy: WattHours::from_milli_wh(milli_wh) }
    }
}

prop_compose! {
    fn arb_restrictions()(
        times in proptest::option::of((0u16..24, 0u16..60, 0u16..24, 0u16..60)),
        min_energy in proptest::option::of(0u64..200_000_000),
        min_duration in proptest::option::of(0u64..300_000),
        day in proptest::option::of(0usize..7),
    ) -> Restrictions {
        Restrictions {
            start_time: times.and_then(|(h, m, _, _)| TimeOfDay::new(h, m)),
            end_time: times.and_then(|(_, _, h, m)| TimeOfDay::new(h, m)),
            min_energy: min_energy.map(WattHours::from_milli_wh),
            min_duration: min_duration.and_then(DurationMs::from_secs),
            day_of_week: day.map(|d| [Weekday::ALL[d]].into_iter().collect()),
            ..NONE
        }
    }
}

prop_compose! {
    fn arb_clock()(before in -43_200i32..43_200, after in -43_200i32..43_200, change in 1_600_000_000_000i64..1_700_000_000_000)
    -> LocalClock {
        let after = UtcOffset::new(after).unwrap();
        LocalClock { offset: UtcOffset::new(before).unwrap(), change: UnixMillis::new(change).map(|at| (at, after)) }
    }
}

proptest! {
    #[test]
    fn energy_and_time_are_conserved(
        session in arb_session(),
        restrictions in proptest::collection::vec(arb_restrictions(), 1..4),
        clock in arb_clock(),
    ) {
        let planned = periods(&session, &energy_only(&restrictions), &clock).unwrap();
        prop_assert_eq!(planned[0].start, session.start);
        prop_assert!(planned.is_sorted_by(|a, b| a.start < b.start));
        prop_assert_eq!(planned.iter().map(|p| p.energy.milli_wh()).sum::<u64>(), session.energy.milli_wh());
        let ends = planned.iter().skip(1).map(|p| p.start).chain([session.end]);
        for (period, end) in planned.iter().zip(ends) {
            let used = period.charging.checked_add(period.parking).unwrap();
            prop_assert_eq!(end.since(period.start), Some(used));
            prop_assert!(period.charging.is_zero() || period.parking.is_zero());
            prop_assert!(period.energy.is_zero() || !period.charging.is_zero());
        }
        let charged = planned.iter().map(|p| p.charging.millis()).sum::<u64>();
        prop_assert_eq!(Some(DurationMs::from_millis(charged)), session.charging_end.since(session.start));
    }

    #[test]
    fn a_planned_session_costs_what_its_totals_cost(
        session in arb_session(),
        per_kwh in 0i64..2_000_000,
        per_hour in 0i64..20_000_000,
        parked in 0i64..20_000_000,
        flat in 0i64..5_000_000,
    ) {
        let tariff = tariff(&[element(NONE, &[
            component(Dimension::Energy, per_kwh, 0),
            component(Dimension::Time, per_hour, 0),
            component(Dimension::ParkingTime, parked, 0),
            component(Dimension::Flat, flat, 0),
        ])]);
        let planned = periods(&session, &tariff, &LocalClock::UTC).unwrap();
        let total = price(&inputs(&tariff, &planned, session.end)).unwrap().total.excl_vat;
        let ms = |from: UnixMillis, to: UnixMillis| i64::try_from(to.since(from).unwrap().millis()).unwrap();
        let energy = i64::try_from(session.energy.milli_wh()).unwrap();
        let want = per_kwh * energy / 1_000_000
            + per_hour * ms(session.start, session.charging_end) / 3_600_000
            + parked * ms(session.charging_end, session.end) / 3_600_000
            + flat;
        prop_assert_eq!(total, want);
    }

    #[test]
    fn cuts_alone_change_no_price(session in arb_session(), restrictions in arb_restrictions(), clock in arb_clock()) {
        // The same price inside and outside the restriction: only the rounding down of each line may differ.
        let energy = [component(Dimension::Energy, 300_000, 0)];
        let cut = tariff(&[element(restrictions, &energy), element(NONE, &energy)]);
        let whole = tariff(&[element(NONE, &energy)]);
        let planned = periods(&session, &cut, &clock).unwrap();
        let with_cuts = price(&PricingInputs { clock, ..inputs(&cut, &planned, session.end) }).unwrap().total.excl_vat;
        let without = price(&inputs(&whole, &periods(&session, &whole, &clock).unwrap(), session.end)).unwrap().total.excl_vat;
        prop_assert!((0..=i64::try_from(planned.len()).unwrap()).contains(&(without - with_cuts)));
    }

    #[test]
    fn every_period_is_priced_by_one_element_throughout(
        session in arb_session(),
        restrictions in arb_restrictions(),
        clock in arb_clock(),
        share in 0u64..1_000,
    ) {
        // Cutting a period once more anywhere must not select another element for the second part.
        let energy = [component(Dimension::Time, 1_000_000, 0), component(Dimension::ParkingTime, 1_000_000, 0)];
        let tariff = tariff(&[element(restrictions, &energy), element(NONE, &energy)]);
        let planned = periods(&session, &tariff, &clock).unwrap();
        let elements = |periods: &[ChargingPeriod]| -> Vec<u16> {
            let priced = price(&PricingInputs { clock, ..inputs(&tariff, periods, session.end) }).unwrap();
            priced.lines.iter().filter_map(|l| match l.rule { LineRule::Tariff { element, .. } => Some(element), _ => None }).collect()
        };
        let last = *planned.last().unwrap();
        let span = session.end.since(last.start).unwrap().millis();
        let head = span * share / 1_000;
        if head == 0 {
            return Ok(());
        }
        let part = |p: ChargingPeriod, start, ms, energy| {
            let ms = DurationMs::from_millis(ms);
            if p.charging.is_zero() { ChargingPeriod { start, parking: ms, energy, ..p } } else { ChargingPeriod { start, charging: ms, energy, ..p } }
        };
        let mut finer = planned.clone();
        finer.pop();
        finer.push(part(last, last.start, head, last.energy));
        finer.push(part(last, last.start.checked_add(DurationMs::from_millis(head)).unwrap(), span - head, WattHours::ZERO));
        let (coarse, fine) = (elements(&planned), elements(&finer));
        prop_assert_eq!(coarse.last(), fine.last());
    }
}
