//! Rules change while the gateway runs; whoever was quoted a price pays it.

use super::world::*;
use crate::rules::{HomeRules, RulesError};
use eroam_domain::charge::Denial;
use eroam_domain::retail::{RetailRules, TimeOfUse};
use eroam_domain::time::{TimeOfDay, UnixMillis, Weekdays};

fn dearer() -> RetailRules {
    RetailRules { margin_bps: 5_000, ..retail() }
}

#[test]
fn a_new_version_applies_from_its_time_on() {
    let mut rules = HomeRules::default();
    let (first, second) = (start(), later(start(), HOUR));
    assert_eq!(rules.in_force(UnixMillis::EPOCH), None);
    assert_eq!(rules.update(first, retail()), Ok(1));
    assert_eq!(rules.update(second, dearer()), Ok(2));
    for (at, want) in [
        (UnixMillis::new(first.get() - 1).unwrap(), None),
        (first, Some(1)),
        (UnixMillis::new(second.get() - 1).unwrap(), Some(1)),
        (second, Some(2)),
        (later(second, 1_000 * DAY), Some(2)),
    ] {
        assert_eq!(rules.in_force(at).map(|(version, _)| version), want, "{at}");
    }
    assert_eq!(
        (rules.version(1), rules.version(2), rules.version(3)),
        (Some(&retail()), Some(&dearer()), None)
    );
}

#[test]
fn what_was_in_force_cannot_be_changed_afterwards() {
    let mut rules = HomeRules::default();
    rules.update(start(), retail()).unwrap();
    let kept = rules.clone();
    for from in [start(), UnixMillis::new(start().get() - 1).unwrap(), UnixMillis::EPOCH] {
        assert_eq!(rules.update(from, dearer()), Err(RulesError::InThePast(start())));
    }
    assert_eq!(rules, kept);
}

#[test]
fn rules_that_make_no_price_are_refused_and_the_old_ones_stay() {
    let mut rules = HomeRules::default();
    rules.update(start(), retail()).unwrap();
    let kept = rules.clone();
    let midnight = TimeOfDay::MIDNIGHT;
    let window = TimeOfUse { days: Weekdays::EVERY_DAY, start: midnight, end: midnight, bps: -10_001 };
    for spoilt in [
        RetailRules { margin_bps: -10_001, ..retail() },
        RetailRules { margin_bps: 100_001, ..retail() },
        RetailRules { tier_bps: [0, 0, 0, -10_001], ..retail() },
        RetailRules { payment_bps: [0, 0, 0, 0, -10_001], ..retail() },
        RetailRules { time_of_use: vec![window], ..retail() },
        RetailRules { time_of_use: vec![TimeOfUse { bps: 0, ..window }; 65], ..retail() },
        RetailRules { roaming_fee_micros: -1, ..retail() },
    ] {
        let refused = rules.update(later(start(), HOUR), spoilt);
        assert!(matches!(refused, Err(RulesError::Invalid(_))), "{refused:?}");
    }
    assert_eq!(rules, kept);
}

#[test]
fn a_running_gateway_quotes_by_the_version_of_the_moment() {
    let mut world = World::new();
    let old = quoted(&world.swipe("before", AT_EDP, ANA));
    let from = later(world.now, HOUR);
    world.org(edp()).rules_mut().home.update(from, dearer()).unwrap();
    let announced = quoted(&world.swipe("announced", AT_EDP, ANA));
    assert_eq!(announced.retail, old.retail);
    world.wait(HOUR);
    let new = quoted(&world.swipe("after", AT_EDP, ANA));
    assert!(new.retail.unwrap().incl_vat > old.retail.unwrap().incl_vat);
    let abroad = quoted(&world.swipe("abroad", AT_GLP, ANA));
    // (8 + 1) x 0.95 x 1.5 + 0.20 = 13.025, with VAT 16.02.
    assert_eq!(abroad.retail.unwrap().incl_vat, 16_020_000);
}

#[test]
fn a_session_keeps_the_version_it_was_quoted_with_to_the_bill() {
    for evse in [AT_GLP, AT_EDP] {
        let mut world = World::new();
        let quote = quoted(&world.swipe("s1", evse, ANA));
        let from = later(world.now, 1);
        world.org(edp()).rules_mut().home.update(from, dearer()).unwrap();
        world.wait(MINUTE);
        assert!(is_power_on(&world.accept("s1")));
        let consumption = hour_of(world.now, 20_000);
        world.wait(HOUR);
        world.consumed("s1", consumption);
        let lines = world.bill_lines(edp());
        assert_eq!(lines.len(), 1, "{evse}");
        // The session went as it was expected to.
        assert_eq!((lines[0].retail_version, Some(lines[0].retail.total)), (1, quote.retail), "{evse}");
    }
}

#[test]
fn without_rules_nobody_is_served() {
    let mut world = World::new();
    world.org(edp()).rules_mut().home = HomeRules::default();
    assert_eq!(denied(&world.swipe("home", AT_EDP, ANA)), Denial::NoPrice);
    assert_eq!(denied(&world.swipe("abroad", AT_GLP, ANA)), Denial::NoPrice);
}

#[test]
fn customers_are_told_the_version_in_force_and_those_that_are_announced() {
    let (at, mut home) = (|ms| UnixMillis::new(ms).unwrap(), HomeRules::default());
    let numbers = |home: &HomeRules, ms| home.since(at(ms)).iter().map(|v| v.version).collect::<Vec<_>>();
    assert_eq!(numbers(&home, 0), Vec::<u32>::new());
    for from in [100, 200, 300] {
        home.update(at(from), retail()).unwrap();
    }
    let table =
        [(99, vec![1, 2, 3]), (100, vec![1, 2, 3]), (250, vec![2, 3]), (300, vec![3]), (999, vec![3])];
    for (ms, expected) in table {
        assert_eq!(numbers(&home, ms), expected, "{ms}");
    }
}
