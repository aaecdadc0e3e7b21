//! Records that cannot be true: each rule's cases, what honest records never do, and the way from a finding to the
//! ledger.

use super::world::*;
use crate::anomalies::{
    AnomalyCase, AnomalyEvidence, AnomalyRules, CaseState, EnergyBasis, Finding, History, Known, Occupied,
    PatternOf, RecordName, Same, SecondMeter, SecondMeterKind, Sighting, look,
};
use crate::gateway::{SecondMeterResult, evidence_digest};
use crate::sessions::Consumption;
use eroam_domain::cdr::{
    AgreementRef, Cdr, CdrStatus, ChargingPeriod, EvsePseudonym, Payer, Range, TariffRef,
};
use eroam_domain::codec::{Digest, ShortText, SignatureBytes, from_bytes};
use eroam_domain::money::Price;
use eroam_domain::quantity::{BasisPoints, DurationMs, Watts};
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::query;
use eroam_ledger::tx::Tx;
use proptest::prelude::*;

const RULES: AnomalyRules = AnomalyRules::DEFAULT;

/// A record of `minutes` minutes and some seconds, all charging, at EVSE number `evse`.
fn cdr(id: &str, evse: u8, start: UnixMillis, minutes: u64, energy_wh: u64) -> Cdr {
    let lasting = minutes * MINUTE + 7_000;
    let period = ChargingPeriod {
        start,
        energy: wh(energy_wh),
        charging: DurationMs::from_millis(lasting),
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    Cdr {
        id: ShortText::new(id).unwrap(),
        session: Digest::of(id.as_bytes()),
        agreement: AgreementRef { id: Digest::ZERO, version: 1 },
        tariff: TariffRef { id: TariffId::new("DAY").unwrap(), version: 1 },
        evse: EvsePseudonym([evse; 16]),
        zone: ShortText::new("PT-N").unwrap(),
        accepted_at: start,
        start,
        end: later(start, lasting),
        clock: LocalClock::UTC,
        periods: vec![period],
        energy: wh(energy_wh),
        attestation: None,
        price: Price::ZERO,
        currency: eur(),
        quote: Digest::ZERO,
        readings: Digest::of(id.as_bytes()),
        acceptance: SignatureBytes([0; 64]),
        payer: Payer::Contract { commitment: Digest::ZERO },
    }
}

const KNOWN: Known =
    Known { agreed_power: Watts::new(22_000), rating: None, customer: None, places: 1, second_meter: None };

fn who() -> Digest {
    Digest::of(b"who")
}

fn findings(known: &Known, cdr: &Cdr, history: &History) -> Vec<Finding> {
    look(&RULES, known, cdr, &Sighting::of(glp(), cdr), history)
}

fn seen(records: &[(&Cdr, Option<Digest>)]) -> History {
    let mut history = History::default();
    for (cdr, customer) in records {
        history.add(Sighting { customer: *customer, ..Sighting::of(glp(), cdr) });
    }
    history
}

fn name(id: &str) -> RecordName {
    RecordName { operator: glp(), cdr: ShortText::new(id).unwrap() }
}

/// So many honest hours at EVSE 1, one a day, of 9 to 11 kWh.
fn usual(count: u64) -> History {
    let mut history = History::default();
    for n in 0..count {
        let cdr = cdr(&format!("u{n}"), 1, later(start(), n * DAY), 59, 9_000 + n * 37 % 2_000);
        history.add(Sighting::of(glp(), &cdr));
    }
    history
}

#[test]
fn more_power_than_can_be_is_found() {
    let at = start();
    let with_power = |watts| {
        let mut cdr = cdr("r", 1, at, 60, 10_000);
        cdr.periods[0].power = Some(Range { min: Watts::ZERO, max: Watts::new(watts) });
        cdr
    };
    let rated = Known { rating: Some(Watts::new(11_000)), ..KNOWN };
    for (what, known, cdr, found) in [
        ("the agreement's power", KNOWN, cdr("r", 1, at, 60, 22_000), false),
        ("a tenth above it", KNOWN, cdr("r", 1, at, 60, 24_200), false),
        ("a quarter above it", KNOWN, cdr("r", 1, at, 60, 27_500), true),
        ("above the EVSE's own rating", rated, cdr("r", 1, at, 60, 14_000), true),
        ("within both", rated, cdr("r", 1, at, 60, 11_500), false),
        ("stated, within", KNOWN, with_power(24_000), false),
        ("stated, above", KNOWN, with_power(43_000), true),
        ("much in no time but the tolerance", KNOWN, cdr("r", 1, at, 0, 400), false),
        ("too much for the tolerance", KNOWN, cdr("r", 1, at, 0, 500), true),
    ] {
        let power: Vec<_> = findings(&known, &cdr, &History::default())
            .into_iter()
            .filter(|f| matches!(f, Finding::ImpossiblePower { .. }))
            .collect();
        assert_eq!(!power.is_empty(), found, "{what}: {power:?}");
    }
}

#[test]
fn the_numbers_of_a_finding_are_those_that_were_compared() {
    let cdr = cdr("r", 1, start(), 60, 30_000);
    let found = findings(&KNOWN, &cdr, &History::default());
    let [Finding::ImpossiblePower { period: 0, found, possible }] = found[..] else { panic!("{found:?}") };
    assert_eq!((found.get(), possible.get()), (29_941, 24_200));
    let said = findings(&KNOWN, &cdr, &History::default())[0].to_string();
    assert_eq!(said, "period 0 has 29941 W, and at most 24200 W are possible");
}

#[test]
fn energy_without_time_or_power_is_found() {
    let at = start();
    let mut parked = cdr("r", 1, at, 60, 5_000);
    parked.periods[0].parking = std::mem::replace(&mut parked.periods[0].charging, DurationMs::ZERO);
    let mut weak = cdr("r", 1, at, 60, 5_000);
    weak.periods[0].power = Some(Range { min: Watts::ZERO, max: Watts::new(3_700) });
    let mut strong = weak.clone();
    strong.periods[0].power = Some(Range { min: Watts::ZERO, max: Watts::new(5_000) });
    let rated = Known { rating: Some(Watts::new(11_000)), agreed_power: Watts::new(43_000), ..KNOWN };
    let strong_evse = Known { rating: Some(Watts::new(22_000)), ..rated };
    let basis_of = |known: &Known, cdr: &Cdr, history: &History| {
        findings(known, cdr, history).into_iter().find_map(|f| match f {
            Finding::EnergyAgainstTime { basis, .. } => Some(basis),
            _ => None,
        })
    };
    let basis = |cdr: &Cdr, history: &History| basis_of(&rated, cdr, history);
    let none = History::default();
    assert_eq!(basis(&parked, &none), Some(EnergyBasis::NoChargingTime));
    assert_eq!(basis(&weak, &none), Some(EnergyBasis::StatedPower));
    assert_eq!(basis(&strong, &none), None);
    // What an EVSE can give is known after fifty records, and not before.
    let late = later(at, 400 * DAY);
    let (honest, padded) = (cdr("r", 1, late, 59, 11_500), cdr("r", 1, late, 59, 14_300));
    assert_eq!(basis(&padded, &usual(49)), None);
    assert_eq!(basis(&padded, &usual(60)), Some(EnergyBasis::PowerSeenBefore));
    assert_eq!(basis(&honest, &usual(60)), None);
    // Slow vehicles say nothing of an EVSE that can give twice as much.
    assert_eq!(basis_of(&strong_evse, &padded, &usual(60)), None);
    assert_eq!(basis_of(&KNOWN, &padded, &usual(60)), None, "nobody knows the rating");
    // Another EVSE's records say nothing of this one.
    assert_eq!(basis(&cdr("r", 2, late, 59, 14_300), &usual(60)), None);
}

#[test]
fn a_replay_is_found_and_the_original_named() {
    let at = start();
    let original = cdr("first", 1, at, 59, 10_123);
    let history = seen(&[(&original, None)]);
    let same = |cdr: &Cdr| {
        findings(&KNOWN, cdr, &history).into_iter().find_map(|f| match f {
            Finding::Replay { of, same } => Some((of, same)),
            _ => None,
        })
    };
    let copy = |evse, days| cdr("second", evse, later(at, days * DAY), 59, 10_123);
    let mut readings = cdr("second", 2, later(at, DAY), 30, 4_000);
    readings.readings = original.readings;
    assert_eq!(same(&readings), Some((name("first"), Same::Readings)));
    assert_eq!(same(&copy(2, 0)), Some((name("first"), Same::Periods)));
    assert_eq!(same(&copy(1, 3)), Some((name("first"), Same::Shape)));
    // The record itself is no copy of itself.
    assert_eq!(same(&original), None);
    // What is the same by chance: nothing delivered, little delivered, coarse numbers.
    for (minutes, energy) in [(59, 0), (59, 400)] {
        let (a, b) = (cdr("a", 1, at, minutes, energy), cdr("b", 1, later(at, DAY), minutes, energy));
        assert_eq!(findings(&KNOWN, &b, &seen(&[(&a, None)])), [], "{energy} Wh");
    }
    let (a, b) = (cdr("a", 1, at, 59, 10_100), cdr("b", 1, later(at, DAY), 59, 10_100));
    assert_eq!(findings(&KNOWN, &b, &seen(&[(&a, None)])), [], "steps of 100 Wh");
}

#[test]
fn two_places_at_once_are_found() {
    let at = start();
    let first = cdr("first", 1, at, 60, 10_001);
    let history = seen(&[(&first, Some(who()))]);
    let other = Digest::of(b"other");
    let minutes = |n| later(at, n * MINUTE);
    for (what, cdr, customer, places, want) in [
        ("same EVSE", cdr("r", 1, minutes(30), 60, 9_001), None, 1, Some(Occupied::Evse)),
        ("same EVSE, after it", cdr("r", 1, minutes(61), 60, 9_001), None, 1, None),
        ("same EVSE, clocks apart", cdr("r", 1, minutes(59), 60, 9_001), None, 1, None),
        ("same customer", cdr("r", 2, minutes(30), 60, 9_001), Some(who()), 1, Some(Occupied::Customer)),
        ("around it", cdr("r", 2, at, 600, 9_001), Some(who()), 1, Some(Occupied::Customer)),
        (
            "before it",
            cdr("r", 2, at.checked_sub(DurationMs::from_millis(HOUR)).unwrap(), 50, 9_001),
            Some(who()),
            1,
            None,
        ),
        ("another customer", cdr("r", 2, minutes(30), 60, 9_001), Some(other), 1, None),
        ("nobody knows who", cdr("r", 2, minutes(30), 60, 9_001), None, 1, None),
        ("a second card", cdr("r", 2, minutes(30), 60, 9_001), Some(who()), 2, None),
    ] {
        let known = Known { customer, places, ..KNOWN };
        let found = findings(&known, &cdr, &history);
        match want {
            None => assert_eq!(found, [], "{what}"),
            Some(want) => {
                let [Finding::Overlap { with, of, .. }] = &found[..] else { panic!("{what}: {found:?}") };
                assert_eq!((with, *of), (&name("first"), want), "{what}");
            }
        }
    }
}

#[test]
fn a_second_meter_that_counted_less_is_believed_within_its_tolerance() {
    let cdr = cdr("r", 1, start(), 59, 10_000);
    for (kind, energy, found) in [
        (SecondMeterKind::Attested, 10_000, false),
        (SecondMeterKind::Attested, 9_600, false),
        (SecondMeterKind::Attested, 9_400, true),
        (SecondMeterKind::Attested, 12_000, false),
        (SecondMeterKind::Vehicle, 8_100, false),
        (SecondMeterKind::Vehicle, 7_700, true),
        (SecondMeterKind::Attested, 0, true),
    ] {
        let second_meter = Some(SecondMeter { kind, energy: wh(energy) });
        let known = Known { second_meter, ..KNOWN };
        let any = !findings(&known, &cdr, &History::default()).is_empty();
        assert_eq!(any, found, "{kind:?} {energy}");
    }
}

#[test]
fn a_sudden_change_is_a_notice_and_a_contest_where_that_is_wanted() {
    let at = later(start(), 400 * DAY);
    let fast = cdr("r", 1, at, 59, 21_001);
    let found = findings(&KNOWN, &fast, &usual(40));
    let [Finding::SuddenChange { records: 40, of: PatternOf::Evse, .. }] = found[..] else {
        panic!("{found:?}")
    };
    assert!(!RULES.contest(&found));
    assert!(AnomalyRules { contest_sudden_change: true, ..RULES }.contest(&found));
    assert_eq!(findings(&KNOWN, &fast, &usual(19)), [], "too few to know");
    assert_eq!(findings(&KNOWN, &cdr("r", 1, at, 59, 11_501), &usual(40)), [], "usual");
    // An EVSE of which little is known is compared with its operator's others.
    let found = findings(&KNOWN, &cdr("r", 2, at, 59, 21_001), &usual(40));
    let [Finding::SuddenChange { of: PatternOf::Operator, .. }] = found[..] else { panic!("{found:?}") };
}

/// The lasting change that is found of an hour of so much energy, after the history.
fn change(rules: &AnomalyRules, history: &History, id: &str, energy_wh: u64) -> Option<Finding> {
    let fast = cdr(id, 1, later(start(), 400 * DAY), 59, energy_wh);
    let found = look(rules, &KNOWN, &fast, &Sighting::of(glp(), &fast), history);
    found.into_iter().find(|finding| matches!(finding, Finding::LastingChange { .. }))
}

/// The usual hours of EVSE 1, and after them one of each of these energies, `n0`, `n1` and so on.
fn usual_and(count: u64, energies_wh: &[u64]) -> History {
    let mut history = usual(count);
    for (n, energy) in energies_wh.iter().enumerate() {
        let cdr = cdr(&format!("n{n}"), 1, later(start(), (200 + n as u64) * DAY), 59, *energy);
        history.add(Sighting::of(glp(), &cdr));
    }
    history
}

/// A change is seen in five records.
const FIVE: AnomalyRules = AnomalyRules { change_records: 5, ..RULES };

#[test]
fn a_change_that_lasts_over_five_records_is_contested_and_a_shorter_one_is_not() {
    let fast = [15_001, 15_401, 14_902, 16_003];
    let found = change(&FIVE, &usual_and(40, &fast), "r", 15_101).unwrap();
    assert!(FIVE.contest(std::slice::from_ref(&found)) && !found.is_hard());
    let said = "it is one of 5 records in a row of the EVSE with a mean power of 15326 W (median), and of 9885 W in the 40 \
                before: above these in 100 % of all pairs";
    assert_eq!(found.to_string(), said);
    let Finding::LastingChange { run, records: 40, above, .. } = found else { panic!("{found:?}") };
    assert_eq!(run, ["n0", "n1", "n2", "n3", "r"].map(name), "in the order in which they came");
    assert_eq!(above, BasisPoints::WHOLE);
    for (what, rules, history, energy) in [
        ("four of them", FIVE, usual_and(40, &fast[1..]), 15_101),
        ("a slow one among them", FIVE, usual_and(40, &[15_001, 9_000, 14_902, 16_003]), 15_101),
        ("this one is slow", FIVE, usual_and(40, &fast), 9_500),
        ("within the margin", FIVE, usual_and(40, &[11_200; 4]), 11_200),
        ("too few before", FIVE, usual_and(19, &fast), 15_101),
        ("turned off", AnomalyRules { change_records: 0, ..FIVE }, usual_and(40, &fast), 15_101),
        ("no pattern wanted", AnomalyRules { pattern_records_min: 0, ..FIVE }, usual_and(40, &fast), 15_101),
        ("more wanted", AnomalyRules { change_records: 6, ..FIVE }, usual_and(40, &fast), 15_101),
    ] {
        assert_eq!(change(&rules, &history, "r", energy), None, "{what}");
    }
    // The record itself, when it is looked at again, is no sixth.
    let mut history = usual_and(40, &fast);
    let again = cdr("r", 1, later(start(), 400 * DAY), 59, 15_101);
    history.add(Sighting::of(glp(), &again));
    assert_eq!(change(&FIVE, &history, "r", 15_101), None);
}

#[test]
fn a_change_that_stays_is_the_pattern_after_fourteen_records() {
    let mut history = usual(64);
    let mut found = Vec::new();
    for n in 0..40 {
        let id = format!("n{n}");
        found.push(change(&RULES, &history, &id, 15_001 + n).is_some());
        let cdr = cdr(&id, 1, later(start(), (200 + n) * DAY), 59, 15_001 + n);
        history.add(Sighting::of(glp(), &cdr));
    }
    let first = found.iter().position(|found| *found);
    let last = found.iter().rposition(|found| *found);
    assert_eq!((first, last), (Some(7), Some(13)), "{found:?}");
}

#[test]
fn what_was_flagged_does_not_become_usual() {
    let mut history = usual(60);
    let at = |n| later(start(), (400 + n) * DAY);
    for n in 0..30 {
        let padded = cdr(&format!("p{n}"), 1, at(n), 59, 11_900 + n);
        let found = findings(&Known { rating: Some(Watts::new(11_000)), ..KNOWN }, &padded, &history);
        assert!(found.iter().any(Finding::is_hard), "{n}: {found:?}");
        history.add(Sighting { flagged: true, ..Sighting::of(glp(), &padded) });
    }
}

#[test]
fn what_is_old_is_forgotten() {
    let old = cdr("first", 1, start(), 59, 10_123);
    let mut history = seen(&[(&old, Some(who()))]);
    let copy = cdr("second", 1, later(start(), DAY), 59, 10_123);
    assert_eq!(findings(&KNOWN, &copy, &history).len(), 1);
    history.forget_before(old.end);
    assert_eq!(history.len(), 1);
    history.forget_before(later(old.end, 1));
    assert!(history.is_empty());
    assert_eq!(findings(&KNOWN, &copy, &history), []);
}

proptest! {
    /// Honest sessions, one after another at each EVSE and by each customer, within the rating, trip no hard rule.
    #[test]
    fn honest_sessions_trip_no_hard_rule(
        sessions in prop::collection::vec((0u8..4, 0u8..6, 1u64..600, 500u64..22_000, 0u64..MINUTE), 1..150),
    ) {
        let mut history = History::default();
        // The highest power of each EVSE is known from the beginning, as from its first busy weeks.
        for evse in 0..4 {
            let cdr = cdr(&format!("w{evse}"), evse, start(), 120, 44_000);
            history.add(Sighting::of(glp(), &cdr));
        }
        let mut free_at = later(start(), DAY);
        for (n, (evse, customer, minutes, watts, odd)) in sessions.into_iter().enumerate() {
            let milli_wh = watts * 1_000 * minutes / 60 + odd;
            let mut cdr = cdr(&format!("s{n}"), evse, free_at, minutes, 1);
            let energy = eroam_domain::quantity::WattHours::from_milli_wh(milli_wh);
            cdr.energy = energy;
            cdr.periods[0].energy = energy;
            prop_assert_eq!(cdr.check(), Ok(()));
            let customer = Some(Digest::of(&[customer]));
            let vehicle = SecondMeter {
                kind: SecondMeterKind::Vehicle,
                energy: eroam_domain::quantity::WattHours::from_milli_wh(milli_wh - milli_wh / 6),
            };
            let known =
                Known { customer, rating: Some(Watts::new(22_000)), second_meter: Some(vehicle), ..KNOWN };
            let found = findings(&known, &cdr, &history);
            prop_assert!(!found.iter().any(Finding::is_hard), "{:?}", found);
            history.add(Sighting { customer, ..Sighting::of(glp(), &cdr) });
            free_at = cdr.end;
        }
    }
}

/// A world in which EDP looks at what it is charged for.
fn watching() -> World {
    let mut world = World::new();
    world.org(edp()).set_anomaly_rules(Some(RULES));
    world
}

/// A whole charge with a card, of which the station says `consumption`.
fn charge_as(
    world: &mut World,
    session: &str,
    evse: &str,
    driver: &str,
    consumption: impl FnOnce(UnixMillis) -> Consumption,
) {
    quoted(&world.swipe(session, evse, driver));
    assert!(is_power_on(&world.accept(session)));
    let consumption = consumption(world.now);
    world.wait(HOUR);
    assert_eq!(world.consumed(session, consumption), []);
}

fn case(world: &mut World, operator: eroam_domain::ids::PartyId, id: &str) -> Option<AnomalyCase> {
    let name = RecordName { operator, cdr: ShortText::new(id).unwrap() };
    world.org(edp()).anomaly(&name).unwrap()
}

fn contests(world: &World) -> usize {
    let of = |tx: &Tx| matches!(tx, Tx::Cdr(CdrTx::Contest { .. }));
    world.ledger.blocks.iter().filter(|(envelope, _)| of(&envelope.envelope().tx)).count()
}

#[test]
fn a_replayed_record_is_contested_with_evidence_and_stays_booked() {
    let mut world = watching();
    charge_as(&mut world, "s1", AT_GLP, ANA, |at| hour_of(at, 10_001));
    assert_eq!(contests(&world), 0);
    // The same readings again, of another hour.
    charge_as(&mut world, "s2", AT_GLP, GIL, |at| hour_of(at, 11_001));
    let case = case(&mut world, glp(), "s2").unwrap();
    assert_eq!(case.state, CaseState::Contested);
    let first = RecordName { operator: glp(), cdr: ShortText::new("s1").unwrap() };
    assert_eq!(case.findings, [Finding::Replay { of: first, same: Same::Readings }]);
    let booked = query::cdr(&world.ledger, glp(), &case.name.cdr).unwrap().unwrap();
    let CdrStatus::Contested { evidence, .. } = booked.status else { panic!("{:?}", booked.status) };
    assert_eq!(evidence, evidence_digest(&case.evidence));
    // Whoever has the evidence has the record, and comes to the same.
    let evidence: AnomalyEvidence = from_bytes(&case.evidence).unwrap();
    assert_eq!((evidence.cdr.digest(), evidence.findings), (booked.digest, case.findings));
    assert_eq!((world.ledger.recorded(), contests(&world)), (2, 1), "nothing is dropped");
    assert_eq!(world.bill_lines(edp()).len(), 2);
}

#[test]
fn a_record_is_contested_once() {
    let mut world = watching();
    let unlike = |at, wh| Consumption { readings: Digest::of(b"other"), ..hour_of(at, wh) };
    charge_as(&mut world, "s1", AT_GLP, ANA, |at| hour_of(at, 10_001));
    charge_as(&mut world, "s2", AT_GLP, GIL, |at| hour_of(at, 11_001));
    world.replay_blocks();
    world.drive();
    world.resume(edp());
    world.drive();
    assert_eq!(contests(&world), 1);
    // Something else is found of it later: it is kept beside the contest.
    let booked = world.ledger.blocks.iter().find_map(|(envelope, _)| match &envelope.envelope().tx {
        Tx::Cdr(CdrTx::RecordCdrs(cdrs)) => cdrs.iter().find(|cdr| cdr.id.as_str() == "s2").cloned(),
        _ => None,
    });
    let booked = booked.unwrap();
    let second = SecondMeter { kind: SecondMeterKind::Attested, energy: wh(8_000) };
    world
        .call(edp(), |gateway, ledger| {
            gateway.second_meter(ledger, glp(), &booked, second).map(|()| Vec::new())
        })
        .unwrap();
    world.drive();
    let found = case(&mut world, glp(), "s2").unwrap();
    assert_eq!((found.state, found.findings.len(), contests(&world)), (CaseState::Contested, 2, 1));
    charge_as(&mut world, "s3", AT_GLP, PIA, |at| unlike(at, 12_001));
    assert_eq!(case(&mut world, glp(), "s3"), None);
}

#[test]
fn a_second_meter_that_is_read_later_is_compared_and_contested_by_itself() {
    let mut world = watching();
    charge_as(&mut world, "s1", AT_GLP, ANA, |at| hour_of(at, 10_001));
    charge_as(&mut world, "s2", AT_GLP, GIL, |at| Consumption {
        readings: Digest::of(b"other"),
        ..hour_of(at, 11_001)
    });
    world.drive();
    let read = |world: &mut World, id: &str, energy| {
        let name = RecordName { operator: glp(), cdr: ShortText::new(id).unwrap() };
        let second = SecondMeter { kind: SecondMeterKind::Attested, energy: wh(energy) };
        let mut result = None;
        world
            .call(edp(), |gateway, ledger| {
                result = Some(gateway.second_meter_read(ledger, &name, second)?);
                Ok(Vec::new())
            })
            .unwrap();
        world.drive();
        result.unwrap()
    };
    assert_eq!(read(&mut world, "s9", 1), SecondMeterResult::UnknownRecord);
    assert_eq!(read(&mut world, "s1", 10_000), SecondMeterResult::Agrees);
    assert_eq!((case(&mut world, glp(), "s1"), contests(&world)), (None, 0));
    assert_eq!(read(&mut world, "s2", 8_000), SecondMeterResult::Above { case: CaseState::Waiting });
    // The same file again finds the same, and contests nothing twice.
    assert_eq!(read(&mut world, "s2", 8_000), SecondMeterResult::Above { case: CaseState::Contested });
    assert_eq!(contests(&world), 1);
    let case = case(&mut world, glp(), "s2").unwrap();
    let evidence: AnomalyEvidence = from_bytes(&case.evidence).unwrap();
    let booked = query::cdr(&world.ledger, glp(), &case.name.cdr).unwrap().unwrap();
    assert_eq!((evidence.cdr.digest(), evidence.findings), (booked.digest, case.findings));
    assert_eq!((world.ledger.recorded(), world.bill_lines(edp()).len()), (2, 2), "nothing is dropped");
}

#[test]
fn a_customer_in_two_places_is_found_when_the_report_says_who_it_was() {
    let mut world = watching();
    for (session, evse) in [("s1", AT_GLP), ("s2", AT_IBE)] {
        quoted(&world.swipe(session, evse, ANA));
        assert!(is_power_on(&world.accept(session)));
    }
    let at = world.now;
    world.wait(HOUR);
    for (session, energy) in [("s1", 10_001), ("s2", 8_001)] {
        let readings = Digest::of(session.as_bytes());
        assert_eq!(world.consumed(session, Consumption { readings, ..hour_of(at, energy) }), []);
    }
    let case = case(&mut world, ibe(), "s2").unwrap();
    assert_eq!(case.state, CaseState::Contested);
    let [Finding::Overlap { with, of: Occupied::Customer, overlap }] = &case.findings[..] else {
        panic!("{:?}", case.findings)
    };
    assert_eq!((with, overlap.millis()), (&name("s1"), HOUR));
}

/// The home utility crashes at its `point`-th opportunity after the second driver stops; gives whether there was one.
fn contested_despite_a_crash(point: usize) -> bool {
    let mut world = watching();
    charge_as(&mut world, "s1", AT_GLP, ANA, |at| hour_of(at, 10_001));
    quoted(&world.swipe("s2", AT_GLP, GIL));
    assert!(is_power_on(&world.accept("s2")));
    let consumption = hour_of(world.now, 11_001);
    world.wait(HOUR);
    let point = world.points[&edp()] + point;
    world.crash = Some(Crash { party: edp(), point });
    world.consumed("s2", consumption);
    let crashed = world.crash.take().is_none();
    // It starts again with its rules, and is shown the blocks that it may have missed.
    world.org(edp()).set_anomaly_rules(Some(RULES));
    world.replay_blocks();
    world.resume(glp());
    world.resume(edp());
    world.drive();
    let case = case(&mut world, glp(), "s2").unwrap();
    assert_eq!(case.state, CaseState::Contested, "after a crash at {point}");
    let booked = query::cdr(&world.ledger, glp(), &case.name.cdr).unwrap().unwrap();
    let CdrStatus::Contested { evidence, .. } = booked.status else { panic!("{:?}", booked.status) };
    assert_eq!(evidence, evidence_digest(&case.evidence), "after a crash at {point}");
    crashed
}

#[test]
fn a_contest_survives_a_crash_at_any_point() {
    let crashes = (1..).take_while(|point| contested_despite_a_crash(*point)).count();
    assert!(crashes >= 6, "{crashes}");
}

#[test]
fn a_change_of_pattern_is_contested_in_all_its_records_once_it_shows() {
    let mut world = World::new();
    world.org(edp()).set_anomaly_rules(Some(AnomalyRules { pattern_records_min: 6, ..FIVE }));
    let slow = [5_001, 5_203, 4_802, 5_104, 5_005, 5_306, 4_907];
    let fast = [14_001, 14_202, 13_803, 14_504];
    let mut charge = |n: usize, energy: u64| {
        let readings = Digest::of(&n.to_le_bytes());
        let consumption = |at| Consumption { readings, ..hour_of(at, energy) };
        charge_as(&mut world, &format!("s{n}"), AT_GLP, ANA, consumption);
        world.wait(HOUR);
        (0..=n).filter_map(|n| Some((n, case(&mut world, glp(), &format!("s{n}"))?.state))).collect()
    };
    let mut cases: Vec<(usize, CaseState)> = Vec::new();
    for (n, energy) in slow.into_iter().chain(fast).enumerate() {
        cases = charge(n, energy);
    }
    let noticed: Vec<_> = (7..11).map(|n| (n, CaseState::Notice)).collect();
    assert_eq!(cases, noticed, "one after another, each may be a fast vehicle");
    let contested: Vec<_> = (7..12).map(|n| (n, CaseState::Contested)).collect();
    assert_eq!(charge(11, 14_305), contested);
    assert_eq!((contests(&world), world.ledger.recorded(), world.bill_lines(edp()).len()), (5, 12, 12));
    // Each with evidence of its own, in which all five are named.
    for n in 7..12 {
        let found = case(&mut world, glp(), &format!("s{n}")).unwrap();
        let evidence: AnomalyEvidence = from_bytes(&found.evidence).unwrap();
        assert_eq!(
            (evidence.version, evidence.cdr.id, evidence.rules.change_records),
            (2, found.name.cdr, 5)
        );
        let run = evidence.findings.iter().find_map(|finding| match finding {
            Finding::LastingChange { run, .. } => Some(run.clone()),
            _ => None,
        });
        assert_eq!(run.unwrap(), (7..12).map(|n| name(&format!("s{n}"))).collect::<Vec<_>>());
    }
}

#[test]
fn what_an_evse_can_give_is_known_from_its_records_and_the_partners_rating() {
    for rated in [false, true] {
        let mut world = World::new();
        world.org(edp()).set_anomaly_rules(Some(AnomalyRules { ceiling_records_min: 6, ..RULES }));
        if rated {
            let power = Watts::new(22_000);
            world.org(edp()).put_partner_rating(AT_GLP.parse().unwrap(), power);
        }
        // Twice more than the highest: padded records must not make room for each other.
        let energies = [16_001, 17_011, 17_501, 16_007, 17_203, 17_402, 20_101, 20_103];
        for (n, energy) in energies.into_iter().enumerate() {
            let readings = Digest::of(&n.to_le_bytes());
            let session = format!("s{n}");
            charge_as(&mut world, &session, AT_GLP, ANA, |at| Consumption {
                readings,
                ..hour_of(at, energy)
            });
            world.wait(HOUR);
        }
        for n in [6, 7] {
            let found = case(&mut world, glp(), &format!("s{n}"));
            let Some(found) = found.filter(|_| rated) else {
                assert!(!rated, "s{n} is not found");
                continue;
            };
            assert_eq!(found.state, CaseState::Contested);
            let [Finding::EnergyAgainstTime { basis, .. }] = found.findings[..] else {
                panic!("{:?}", found.findings)
            };
            assert_eq!(basis, EnergyBasis::PowerSeenBefore);
        }
        assert_eq!(contests(&world), if rated { 2 } else { 0 });
    }
}

#[test]
fn whoever_looks_at_nothing_contests_nothing() {
    let mut world = World::new();
    for session in ["s1", "s2"] {
        charge_as(&mut world, session, AT_GLP, ANA, |at| hour_of(at, 10_001));
    }
    assert_eq!((contests(&world), case(&mut world, glp(), "s2")), (0, None));
}
