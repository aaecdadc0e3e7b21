use super::*;
use eroam_domain::codec::Digest;
use eroam_domain::time::{LocalClock, UtcOffset};
use proptest::prelude::*;
use std::convert::Infallible;

/// 2026-11-22T10:00:00Z.
const START: i64 = 1_795_341_600_000;
/// 0.40 a kilowatt-hour, in millionths for each thousandth of a watt-hour.
const PER_KWH: i64 = 400_000;

fn at(second: i64) -> UnixMillis {
    UnixMillis::new(START + second * 1_000).unwrap()
}

fn wh(wh: u64) -> WattHours {
    WattHours::from_wh(wh).unwrap()
}

/// A session of stretches: how many seconds, how many thousandths of a watt-hour, and whether the vehicle charged.
fn session(stretches: &[(i64, u64, bool)]) -> Consumption {
    let (mut second, mut energy, mut periods) = (0, WattHours::ZERO, Vec::new());
    for (seconds, milli_wh, charges) in stretches {
        let lasts = DurationMs::from_secs(u64::try_from(*seconds).unwrap()).unwrap();
        let (charging, parking) =
            if *charges { (lasts, DurationMs::ZERO) } else { (DurationMs::ZERO, lasts) };
        let delivered = WattHours::from_milli_wh(*milli_wh);
        periods.push(ChargingPeriod {
            start: at(second),
            energy: delivered,
            charging,
            parking,
            reservation: DurationMs::ZERO,
            power: None,
            current: None,
        });
        (second, energy) = (second + seconds, energy.checked_add(delivered).unwrap());
    }
    let readings = Digest::of(b"readings");
    Consumption { start: at(0), end: at(second), clock: LocalClock::UTC, periods, energy, readings }
}

fn all() -> Allowed {
    Allowed { energy: WattHours::from_milli_wh(u64::MAX), until: None, amount: i64::MAX }
}

/// Energy at [`PER_KWH`], a fee, and each hour of parking.
fn price(session: &Consumption, fee: i64, parking: i64) -> i64 {
    let energy = i128::from(session.energy.milli_wh()) * i128::from(PER_KWH) / 1_000_000;
    let parked: u64 = session.periods.iter().map(|period| period.parking.millis()).sum();
    let parked = i128::from(parked) * i128::from(parking) / 3_600_000;
    i64::try_from(energy + parked).unwrap() + fee
}

fn billed(metered: &Consumption, allowed: Allowed, fee: i64, parking: i64) -> Billable {
    let due = |session: &Consumption| Ok::<_, Infallible>(Some(price(session, fee, parking)));
    billable(metered, allowed, due).unwrap()
}

fn session_of(billable: Billable) -> Consumption {
    match billable {
        Billable::Session(session) => session,
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_is_within_every_limit_is_billed_as_it_was_metered() {
    let metered = session(&[(900, 2_500_000, true), (600, 0, false), (900, 2_500_000, true)]);
    let exactly = Allowed { energy: wh(5_000), until: Some(at(2_400)), amount: 2_000_000 };
    for allowed in [all(), exactly] {
        assert_eq!(billed(&metered, allowed, 0, 0), Billable::Session(metered.clone()));
    }
}

#[test]
fn a_session_is_billed_up_to_the_first_limit_that_it_reached() {
    // 10 kW, a pause, 10 kW.
    let metered = session(&[(900, 2_500_000, true), (600, 0, false), (900, 2_500_000, true)]);
    let energy = |wh_max| Allowed { energy: wh(wh_max), ..all() };
    let until = |second| Allowed { until: Some(at(second)), ..all() };
    let amount = |amount| Allowed { amount, ..all() };
    // Which limit; the end in seconds, the energy in thousandths of a watt-hour, and how many periods are left.
    let table = [
        ("energy in the last period", energy(4_997), 2_398_920, 4_997_000, 3),
        ("energy in the first", energy(1_000), 360_000, 1_000_000, 1),
        ("energy at the end of the first: nobody pays for the pause", energy(2_500), 900_000, 2_500_000, 1),
        ("no energy", energy(0), 0, 0, 1),
        ("time in the first period", until(90), 90_000, 250_000, 1),
        ("time in the pause", until(1_000), 1_000_000, 2_500_000, 2),
        ("time at the end of the pause", until(1_500), 1_500_000, 2_500_000, 2),
        ("time before the begin", until(-5), 0, 0, 1),
        ("money in the first period", amount(400_000), 360_000, 1_000_000, 1),
        ("money in the last", amount(1_998_800), 2_398_920, 4_997_000, 3),
        ("no money, and nothing is due at first", amount(0), 0, 0, 1),
        (
            "energy before time and money",
            Allowed { energy: wh(100), until: Some(at(90)), amount: 400_000 },
            36_000,
            100_000,
            1,
        ),
        (
            "money before energy and time",
            Allowed { energy: wh(1_000), until: Some(at(360)), amount: 40_000 },
            36_000,
            100_000,
            1,
        ),
    ];
    for (what, allowed, end_ms, milli_wh, periods) in table {
        let found = session_of(billed(&metered, allowed, 0, 0));
        let off = found.end.get() - START - end_ms;
        // A price is a whole millionth, of which there are some in a millisecond.
        assert!((0..=1).contains(&off), "{what}: {off} ms off");
        let more = found.energy.milli_wh() - milli_wh;
        assert!(more <= 2, "{what}: {more} thousandths off");
        assert_eq!(found.periods.len(), periods, "{what}");
        assert_eq!((found.start, found.readings), (metered.start, metered.readings), "{what}");
    }
}

#[test]
fn a_fee_that_alone_is_above_what_was_allowed_leaves_nothing_to_bill() {
    let metered = session(&[(900, 2_500_000, true)]);
    let allowed = |amount| Allowed { amount, ..all() };
    assert_eq!(billed(&metered, allowed(999_999), 1_000_000, 0), Billable::Nothing { due: 1_000_000 });
    let found = session_of(billed(&metered, allowed(1_000_000), 1_000_000, 0));
    assert!(found.energy.milli_wh() <= 2, "{found:?}");
}

#[test]
fn what_has_no_price_is_neither_free_nor_allowed() {
    let metered = session(&[(900, 2_500_000, true)]);
    let unpriced = billable(&metered, all(), |_| Ok::<_, Infallible>(None)).unwrap();
    assert_eq!(unpriced, Billable::Unpriced);
    // Known for all of it alone: the part has no price.
    let whole = |session: &Consumption| Ok::<_, Infallible>((*session == metered).then_some(2));
    let found = billable(&metered, Allowed { amount: 1, ..all() }, whole).unwrap();
    assert_eq!(found, Billable::Unpriced);
    let failed = billable(&metered, all(), |_| Err("the ledger is away"));
    assert_eq!(failed, Err("the ledger is away"));
}

#[test]
fn a_record_that_is_no_beginning_of_its_readings_is_found() {
    let metered = session(&[(900, 2_500_000, true), (600, 0, false), (900, 2_500_000, true)]);
    assert_eq!(left_out(&metered, &metered), Ok(WattHours::ZERO));
    let part = up_to_time(&metered, at(1_950));
    assert_eq!(left_out(&part, &metered), Ok(WattHours::from_milli_wh(1_250_000)));
    let with = |change: &dyn Fn(&mut Consumption)| {
        let mut changed = part.clone();
        change(&mut changed);
        left_out(&changed, &metered)
    };
    let more = |energy: &mut WattHours| *energy = energy.checked_add(WattHours::from_milli_wh(1)).unwrap();
    let table: [(&str, Result<WattHours, NotABeginning>, NotABeginning); 10] = [
        ("other readings", with(&|c| c.readings = Digest::ZERO), NotABeginning::Readings),
        (
            "an earlier begin",
            with(&|c| c.start = at(-1)),
            NotABeginning::Start { expected: at(0), found: at(-1) },
        ),
        (
            "a later end",
            with(&|c| c.end = at(2_401)),
            NotABeginning::End { expected: at(2_400), found: at(2_401) },
        ),
        (
            "another clock",
            with(&|c| c.clock = LocalClock::fixed(UtcOffset::new(3_600).unwrap())),
            NotABeginning::Clock,
        ),
        ("a longer first period", with(&|c| more(&mut c.periods[0].energy)), NotABeginning::Period(0)),
        ("a shorter first period", with(&|c| c.periods[0].energy = wh(2_000)), NotABeginning::Period(0)),
        ("a pause that was charged", with(&|c| more(&mut c.periods[1].energy)), NotABeginning::Period(1)),
        ("more than the last was", with(&|c| c.periods[2].energy = wh(2_501)), NotABeginning::Period(2)),
        ("one more period", with(&|c| c.periods.push(c.periods[2])), NotABeginning::Period(2)),
        ("more energy than its periods", with(&|c| more(&mut c.energy)), NotABeginning::Energy),
    ];
    for (what, found, expected) in table {
        assert_eq!(found, Err(expected), "{what}");
    }
    let mut short = metered.clone();
    short.periods.pop();
    assert_eq!(
        left_out(&short, &metered),
        Err(NotABeginning::Period(2)),
        "to the end, without the last period"
    );
}

proptest! {
    /// Whatever was metered and allowed: what is billed is the beginning of the one and within the other, and less than a
    /// millisecond of the session more would have been too much.
    #[test]
    fn the_bill_is_a_beginning_of_the_session_within_every_limit(
        stretches in prop::collection::vec((1i64..3_600, 0u64..20_000_000, any::<bool>()), 1..40),
        energy_max in prop_oneof![Just(u64::MAX), 0u64..200_000_000],
        until in prop::option::of(-100i64..80_000),
        amount in prop_oneof![Just(i64::MAX), 0i64..60_000_000],
        fee in 0i64..3_000_000,
        parking in 0i64..10_000_000,
    ) {
        let stretches: Vec<_> =
            stretches.into_iter().map(|(s, e, charges)| (s, if charges { e } else { 0 }, charges)).collect();
        let metered = session(&stretches);
        let until = until.map(at);
        let allowed = Allowed { energy: WattHours::from_milli_wh(energy_max), until, amount };
        let found = match billed(&metered, allowed, fee, parking) {
            Billable::Session(found) => found,
            Billable::Nothing { due } => {
                prop_assert!(due == fee && fee > amount);
                return Ok(());
            }
            Billable::Unpriced => panic!("it has a price"),
        };
        prop_assert!(found.energy <= allowed.energy);
        prop_assert!(until.is_none_or(|until| found.end <= until.max(metered.start)));
        prop_assert!(price(&found, fee, parking) <= amount);

        let rest = left_out(&found, &metered).unwrap();
        prop_assert_eq!(found.energy.checked_add(rest), Some(metered.energy));
        let ends = found.periods.iter().skip(1).map(|p| p.start).chain([found.end]);
        for (period, end) in found.periods.iter().zip(ends) {
            let lasts = end.since(period.start).unwrap();
            prop_assert!(period.charging.checked_add(period.parking).unwrap() <= lasts);
            prop_assert!(period.energy.is_zero() || !lasts.is_zero());
        }

        // As much as there is: one millisecond more passes a limit.
        if found.end < metered.end && found.energy < allowed.energy && until.is_none_or(|u| found.end < u) {
            let more = up_to_time(&metered, found.end.checked_add(DurationMs::from_millis(1)).unwrap());
            prop_assert!(price(&more, fee, parking) > amount || more.energy > allowed.energy, "{found:?}");
        }
    }
}
