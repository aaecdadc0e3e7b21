//! A contract number alone starts nothing.

use super::world::*;
use crate::authenticate::{CardDigest, PinVerifier, WRONG_PINS_MAX, at_home};
use eroam_domain::charge::{Denial, PresentedCredential};
use eroam_domain::codec::Digest;
use eroam_domain::retail::Tier;

fn uid_of(text: &str) -> PresentedCredential {
    PresentedCredential::CardUid(text.into())
}

#[test]
fn a_card_is_known_however_its_reader_spells_the_uid() {
    let secret = salt(edp());
    let mut ana = profile(ANA, Tier::Standard);
    ana.cards = vec![CardDigest::new(&secret, &ana.contract, "04A1B2C3")];
    for text in ["04A1B2C3", "04a1b2c3", "04:A1:B2:C3", "04-a1-b2-c3", "04 A1 B2 C3"] {
        assert_eq!(at_home(&secret, &mut ana, &uid_of(text)).unwrap(), Ok(()), "{text}");
    }
    for text in ["", "04A1B2C4", "04A1B2C300", "A1B2C3"] {
        let answer = at_home(&secret, &mut ana, &uid_of(text)).unwrap();
        assert_eq!(answer, Err(Denial::WrongCredential), "{text}");
    }
}

#[test]
fn the_card_of_another_contract_is_refused_at_home_and_abroad() {
    let mut world = World::new();
    for (session, evse) in [("s1", AT_EDP), ("s2", AT_GLP)] {
        let request = world.ask(session, evse, ANA, card(GIL));
        assert_eq!(denied(&world.request(&request)), Denial::WrongCredential, "{evse}");
    }
    assert!(world.store(glp()).visitors.is_empty());
}

#[test]
fn a_card_digest_is_worth_nothing_for_another_contract_or_organisation() {
    let (a, b) = (contract(ANA), contract(GIL));
    let digest = CardDigest::new(&salt(edp()), &a, "04A1B2C3");
    assert_ne!(digest, CardDigest::new(&salt(edp()), &b, "04A1B2C3"));
    assert_ne!(digest, CardDigest::new(&salt(ibe()), &a, "04A1B2C3"));
}

#[test]
fn a_wrong_pin_is_counted_and_five_of_them_lock_it() {
    let mut world = World::new();
    for attempt in 1..=WRONG_PINS_MAX {
        // At home and abroad by turns: one count.
        let evse = if attempt % 2 == 0 { AT_EDP } else { AT_GLP };
        let request = world.ask(&format!("wrong{attempt}"), evse, ANA, pin("000000"));
        assert_eq!(denied(&world.request(&request)), Denial::WrongCredential);
        assert_eq!(world.customer(ANA).wrong_pins, attempt);
    }
    let request = world.ask("right", AT_GLP, ANA, pin(PIN));
    assert_eq!(denied(&world.request(&request)), Denial::PinLocked);
    assert_eq!(world.customer(ANA).wrong_pins, WRONG_PINS_MAX);
    quoted(&world.swipe("card", AT_GLP, ANA));
    assert_eq!(world.customer(ANA).wrong_pins, WRONG_PINS_MAX, "a card does not unlock the PIN");
}

#[test]
fn the_right_pin_forgives_the_wrong_ones_before_it() {
    let mut world = World::new();
    for round in 0..3 {
        for attempt in 1..WRONG_PINS_MAX {
            let request = world.ask(&format!("{round}wrong{attempt}"), AT_GLP, ANA, pin("000000"));
            assert_eq!(denied(&world.request(&request)), Denial::WrongCredential);
        }
        // Another operator each time, so that none has the PIN cached.
        let request = world.ask(&format!("{round}right"), AT_EDP, ANA, pin(PIN));
        quoted(&world.request(&request));
        assert_eq!(world.customer(ANA).wrong_pins, 0);
    }
}

#[test]
fn a_contract_without_a_pin_takes_none() {
    let mut world = World::new();
    for (session, text) in [("s1", ""), ("s2", "0000"), ("s3", PIN)] {
        let request = world.ask(session, AT_EDP, GIL, pin(text));
        assert_eq!(denied(&world.request(&request)), Denial::WrongCredential);
    }
}

#[test]
fn a_typed_number_never_suffices_not_even_a_cached_visitors() {
    let mut world = World::new();
    quoted(&world.swipe("visit", AT_GLP, ANA));
    assert!(world.store(glp()).visitors.contains_key(&contract(ANA)));
    let letters = world.letters.len();
    for (session, evse) in [("cached", AT_GLP), ("visitor", AT_IBE), ("home", AT_EDP)] {
        let request = world.ask(session, evse, ANA, PresentedCredential::None);
        assert_eq!(denied(&world.request(&request)), Denial::CredentialNeeded, "{evse}");
    }
    assert_eq!(world.letters.len(), letters, "nobody is asked");
    // An operator that asks all the same is told so.
    let mut ana = profile(ANA, Tier::Standard);
    let answer = at_home(&salt(edp()), &mut ana, &PresentedCredential::None).unwrap();
    assert_eq!(answer, Err(Denial::CredentialNeeded));
}

#[test]
fn a_pin_verifier_holds_for_its_pin_and_salt_alone() {
    let one = PinVerifier::new(Digest::of(b"1"), "4711").unwrap();
    let two = PinVerifier::new(Digest::of(b"2"), "4711").unwrap();
    assert_ne!(one, two, "equal PINs do not show");
    assert!(one.verifies("4711").unwrap());
    for wrong in ["4712", "471", "47110", "", " 4711"] {
        assert!(!one.verifies(wrong).unwrap(), "{wrong}");
    }
}
