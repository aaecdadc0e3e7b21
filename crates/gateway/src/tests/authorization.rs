//! The home utility decides about its customer; the visited operator may narrow the service, never widen it.

use super::world::*;
use crate::authorize::{Promise, at_home, promise, reference, visitor};
use crate::gateway::Effect;
use crate::profiles::{ContractState, HomeProfile};
use crate::rules::{HomeRules, PartnerRules};
use eroam_domain::cdr::GridZone;
use eroam_domain::charge::{
    AllowedZones, Authorization, AuthorizeRequest, Denial, PartnerMessage, ServiceDescription,
};
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::{PaymentOption, Tier};

fn zone(text: &str) -> GridZone {
    GridZone::new(text).unwrap()
}

fn rules() -> HomeRules {
    let mut rules = HomeRules::new([0, 1, 2, 3]);
    rules.update(on(1, 1, 0, 0), retail()).unwrap();
    rules
}

fn decide(profile: &HomeProfile, roaming: bool) -> Result<ServiceDescription, Denial> {
    at_home(profile, &rules(), &zone("PT-N"), roaming, start(), DurationMs::from_millis(DAY))
}

#[test]
fn each_check_of_the_contract_comes_before_the_next() {
    type Spoil = fn(&mut HomeProfile);
    // From the last check to the first: each spoils one thing more and is then the one that is named.
    let spoils: [(Spoil, Denial); 6] = [
        (|p| p.portfolio.zones = AllowedZones::Only(vec![zone("PT-S")]), Denial::ZoneNotAllowed),
        (|p| p.portfolio.roaming = false, Denial::NoRoaming),
        (|p| p.valid_until = Some(start()), Denial::Ended),
        (|p| p.valid_from = later(start(), 1), Denial::NotYetValid),
        (|p| p.state = ContractState::Suspended, Denial::Suspended),
        (|p| p.state = ContractState::Ended, Denial::Ended),
    ];
    let mut ana = profile(ANA, Tier::Standard);
    assert!(decide(&ana, true).is_ok());
    for (spoil, want) in spoils {
        spoil(&mut ana);
        assert_eq!(decide(&ana, true), Err(want));
    }
}

#[test]
fn the_bounds_of_a_contract_are_its_first_instant_and_the_one_after_its_last() {
    let mut ana = profile(ANA, Tier::Standard);
    ana.valid_from = start();
    ana.valid_until = Some(later(start(), 1));
    ana.portfolio.zones = AllowedZones::Only(vec![zone("ES-M"), zone("PT-N")]);
    assert!(decide(&ana, true).is_ok());
    ana.portfolio.roaming = false;
    assert!(decide(&ana, false).is_ok(), "a contract without roaming is good at home");
    assert_eq!(decide(&ana, true), Err(Denial::NoRoaming));
}

#[test]
fn every_refusal_of_the_home_utility_reaches_the_driver_abroad() {
    type Spoil = fn(&mut HomeProfile);
    let spoils: [(Spoil, Denial); 6] = [
        (|p| p.state = ContractState::Suspended, Denial::Suspended),
        (|p| p.state = ContractState::Ended, Denial::Ended),
        (|p| p.valid_until = Some(start()), Denial::Ended),
        (|p| p.valid_from = later(start(), 1), Denial::NotYetValid),
        (|p| p.portfolio.roaming = false, Denial::NoRoaming),
        (|p| p.portfolio.zones = AllowedZones::Only(vec![zone("PT-S")]), Denial::ZoneNotAllowed),
    ];
    for (spoil, want) in spoils {
        let mut world = World::new();
        spoil(world.customer(ANA));
        assert_eq!(denied(&world.swipe("s1", AT_GLP, ANA)), want);
        assert!(world.store(glp()).visitors.is_empty(), "{want}: nothing is cached");
        assert_eq!(world.customer(ANA).visiting, None);
    }
}

#[test]
fn a_copy_abroad_does_not_outlive_the_contract() {
    let mut ana = profile(ANA, Tier::Standard);
    assert_eq!(decide(&ana, true).unwrap().valid_until, later(start(), DAY));
    ana.valid_until = Some(later(start(), HOUR));
    assert_eq!(decide(&ana, true).unwrap().valid_until, later(start(), HOUR));
}

#[test]
fn a_partners_rules_narrow_the_service_and_never_widen_it() {
    let mut ana = profile(ANA, Tier::Diamond);
    ana.portfolio.priority = 2;
    let service = decide(&ana, true).unwrap();
    assert_eq!((service.energy_max, service.priority), (wh(80_000), 5));
    let open = PartnerRules::OPEN;
    assert_eq!(visitor(&service, &open, &zone("PT-N")), Ok(service.clone()));
    let narrow = PartnerRules { energy_max: wh(15_000), priority_max: 1, ..open };
    let narrowed = visitor(&service, &narrow, &zone("PT-N")).unwrap();
    assert_eq!((narrowed.energy_max, narrowed.priority), (wh(15_000), 1));
    let wide = PartnerRules { energy_max: wh(90_000), priority_max: 9, ..open };
    assert_eq!(visitor(&service, &wide, &zone("PT-N")), Ok(service.clone()));
    let closed = PartnerRules { accept: false, ..open };
    assert_eq!(visitor(&service, &closed, &zone("PT-N")), Err(Denial::PartnerSuspended));
    let elsewhere = ServiceDescription { zones: AllowedZones::Only(vec![zone("PT-S")]), ..service };
    assert_eq!(visitor(&elsewhere, &open, &zone("PT-N")), Err(Denial::ZoneNotAllowed));
}

#[test]
fn a_priority_outside_ocpps_range_is_brought_into_it() {
    let service = decide(&profile(ANA, Tier::Standard), true).unwrap();
    for (found, cap, want) in [(100, 9, 9), (-100, 9, -9), (0, -100, -9), (0, 100, 0)] {
        let service = ServiceDescription { priority: found, ..service.clone() };
        let rules = PartnerRules { priority_max: cap, ..PartnerRules::OPEN };
        assert_eq!(visitor(&service, &rules, &zone("PT-N")).unwrap().priority, want, "{found} {cap}");
    }
}

#[test]
fn a_suspended_partners_customers_are_not_served_not_even_cached_ones() {
    let mut world = World::new();
    quoted(&world.swipe("before", AT_GLP, ANA));
    let closed = PartnerRules { accept: false, ..PartnerRules::OPEN };
    world.org(glp()).rules_mut().partners.insert(edp(), closed);
    assert_eq!(denied(&world.swipe("cached", AT_GLP, ANA)), Denial::PartnerSuspended);
    assert_eq!(denied(&world.swipe("new", AT_GLP, GIL)), Denial::PartnerSuspended);
    quoted(&world.swipe("other", AT_GLP, EVA));
}

/// The quoted energy, and what the relay is told.
fn served(world: &mut World, contract: &str) -> (u64, u64, i8) {
    let quote = quoted(&world.swipe("s1", AT_GLP, contract));
    match world.accept("s1").as_slice() {
        [Effect::PowerOn { energy_max, priority, .. }] => {
            (quote.energy.whole_wh(), energy_max.whole_wh(), *priority)
        }
        other => panic!("no power: {other:?}"),
    }
}

#[test]
fn a_partners_caps_reach_the_quote_and_the_relay() {
    let mut world = World::new();
    let narrow = PartnerRules { energy_max: wh(15_000), priority_max: 1, ..PartnerRules::OPEN };
    world.org(glp()).rules_mut().partners.insert(edp(), narrow);
    assert_eq!(served(&mut world, DIA), (15_000, 15_000, 1));
}

#[test]
fn the_relay_stops_at_the_agreements_limit_since_the_ledger_refuses_more() {
    let mut world = World::new();
    // The contract allows 80 kWh, the agreement 60.
    assert_eq!(served(&mut world, DIA), (20_000, 60_000, 3));
}

#[test]
fn a_tier_earned_at_home_is_honoured_abroad_at_the_same_wholesale_price() {
    let mut world = World::new();
    let quotes = [ANA, GIL, PIA, DIA].map(|c| quoted(&world.swipe(c, AT_GLP, c)));
    for pair in quotes.windows(2) {
        assert!(pair[1].retail.unwrap().incl_vat < pair[0].retail.unwrap().incl_vat);
        assert_eq!(pair[1].wholesale, pair[0].wholesale);
    }
    // 20 kWh: (8 + 1) x 0.95 = 8.55; x 1.05 + 0.20 = 9.1775; gold 5 % less: 8.718625; with VAT 10.72.
    assert_eq!(quotes[0].wholesale.excl_vat, 8_550_000);
    assert_eq!(quotes[1].retail.unwrap().incl_vat, 10_720_000);
}

#[test]
fn whoever_has_no_agreement_learns_nothing_and_tries_no_pins() {
    let mut world = World::new();
    for (credential, session) in [(card(ANA), "s1"), (pin("000000"), "s2")] {
        let request = AuthorizeRequest {
            session: id(session),
            contract: contract(ANA),
            credential,
            zone: zone("PT-N"),
            at: start(),
        };
        let bytes = serde_json::to_vec(&PartnerMessage::Authorize(request)).unwrap();
        let message = Letter { from: noa(), to: edp(), bytes }.message();
        let mut answer = Vec::new();
        world
            .call(edp(), |gateway, ledger| {
                answer = gateway.receive(ledger, noa(), message, start())?;
                Ok(Vec::new())
            })
            .unwrap();
        let authorization = Authorization::Denied(Denial::NoAgreement);
        let message = PartnerMessage::Authorized { session: id(session), authorization };
        assert_eq!(answer, [Effect::Send { to: noa(), message }]);
    }
    let ana = world.customer(ANA);
    assert_eq!((ana.wrong_pins, ana.visiting), (0, None));
}

#[test]
fn an_answer_from_another_than_the_home_utility_is_ignored() {
    let mut world = World::new();
    world.fate = Box::new(|letter| if letter.kind() == "authorized" { Fate::Lose } else { Fate::Deliver });
    assert_eq!(world.swipe("s1", AT_GLP, ANA), []);
    world.fate = Box::new(|_| Fate::Deliver);
    let answer = world.letters.last().unwrap().clone();
    assert_eq!(answer.kind(), "authorized");
    let before = world.stores();
    world.post_letter(Letter { from: ibe(), ..answer });
    world.drive();
    assert_eq!(world.stores(), before);
}

#[test]
fn a_reference_carries_its_promise_back_and_cannot_be_made_by_others() {
    let (secret, ana) = (salt(edp()), contract(ANA));
    for tier in Tier::ALL {
        for payment in PaymentOption::ALL {
            for retail_version in [1, 255, 0x00ff_ffff] {
                let given = Promise { tier, payment, retail_version };
                let made = reference(&secret, glp(), &ana, given).unwrap();
                assert_eq!(promise(&secret, glp(), &ana, &made), Some(given));
                assert_eq!(promise(&salt(glp()), glp(), &ana, &made), None, "another's secret");
                assert_eq!(promise(&secret, ibe(), &ana, &made), None, "another operator");
                assert_eq!(promise(&secret, glp(), &contract(GIL), &made), None, "another customer");
                // A better tier, the old code.
                let digit = if made.as_str().starts_with('3') { "0" } else { "3" };
                let forged = format!("{digit}{}", &made.as_str()[1..]).parse().unwrap();
                assert_eq!(promise(&secret, glp(), &ana, &forged), None);
            }
        }
    }
    assert_eq!(promise(&secret, glp(), &ana, &"short".parse().unwrap()), None);
}
