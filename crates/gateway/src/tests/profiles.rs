//! A visitor's profile is fetched once, used until it expires, and recalled when the driver shows up elsewhere.

use super::world::*;
use crate::sessions::{AuthorizedBy, Grant, Phase};
use eroam_domain::charge::{Denial, PartnerMessage};

fn grant(world: &mut World, session: &str) -> Grant {
    match world.session(session).phase {
        Phase::Quoted { grant, .. } => grant,
        other => panic!("not quoted: {other:?}"),
    }
}

#[test]
fn the_first_visit_asks_home_and_the_second_does_not() {
    let mut world = World::new();
    let first = quoted(&world.swipe("s1", AT_GLP, ANA));
    assert_eq!(grant(&mut world, "s1").by(), AuthorizedBy::Partner);
    assert_eq!((world.posted("authorize"), world.posted("authorized")), (1, 1));
    let second = quoted(&world.swipe("s2", AT_GLP, ANA));
    assert_eq!(grant(&mut world, "s2").by(), AuthorizedBy::Cache);
    assert_eq!(world.letters.len(), 2, "no message");
    assert_eq!((first.retail, first.wholesale), (second.retail, second.wholesale));
    quoted(&world.swipe("s3", AT_EDP, ANA));
    assert_eq!(grant(&mut world, "s3").by(), AuthorizedBy::Home);
}

#[test]
fn a_locally_authorized_charge_is_billed_like_the_first() {
    let mut world = World::new();
    world.charge("s1", AT_GLP, ANA, 10_000);
    world.charge("s2", AT_GLP, ANA, 10_000);
    let lines = world.bill_lines(edp());
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0].retail, lines[1].retail);
    assert_eq!(world.posted("authorize"), 1);
}

#[test]
fn another_credential_asks_home_again() {
    let mut world = World::new();
    quoted(&world.swipe("card", AT_GLP, ANA));
    let request = world.ask("wrong", AT_GLP, ANA, card(GIL));
    assert_eq!(denied(&world.request(&request)), Denial::WrongCredential);
    let request = world.ask("pin", AT_GLP, ANA, pin(PIN));
    quoted(&world.request(&request));
    assert_eq!(world.posted("authorize"), 3);
    assert_eq!(grant(&mut world, "pin").by(), AuthorizedBy::Partner);
    // A uid typed as a PIN is not the card.
    let request = world.ask("typed", AT_GLP, ANA, pin(&uid(ANA)));
    assert_eq!(denied(&world.request(&request)), Denial::WrongCredential);
}

#[test]
fn an_expired_profile_is_deleted_and_home_is_asked_again() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    quoted(&world.swipe("s2", AT_GLP, GIL));
    world.wait(DAY - 1);
    quoted(&world.swipe("last", AT_GLP, ANA));
    assert_eq!(world.posted("authorize"), 2);
    world.wait(1);
    // Too old even before it is deleted.
    quoted(&world.swipe("stale", AT_GLP, ANA));
    assert_eq!(world.posted("authorize"), 3);
    assert_eq!(world.store(glp()).visitors.len(), 2);
    world.tick(glp());
    let left: Vec<_> = world.store(glp()).visitors.keys().copied().collect();
    assert_eq!(left, [contract(ANA)], "the one that was fetched again");
}

#[test]
fn a_profile_expires_with_the_contract() {
    let mut world = World::new();
    world.customer(ANA).valid_until = Some(later(start(), HOUR));
    quoted(&world.swipe("s1", AT_GLP, ANA));
    world.wait(HOUR);
    assert_eq!(denied(&world.swipe("s2", AT_GLP, ANA)), Denial::Ended);
    world.tick(glp());
    assert!(world.store(glp()).visitors.is_empty());
}

#[test]
fn showing_up_elsewhere_recalls_the_copy() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    quoted(&world.swipe("s2", AT_GLP, GIL));
    assert_eq!(world.posted("recall"), 0);
    quoted(&world.swipe("s3", AT_IBE, ANA));
    let recall = PartnerMessage::Recall { contract: contract(ANA) };
    let recalls: Vec<_> = world.letters.iter().filter(|l| l.kind() == "recall").collect();
    assert_eq!(recalls.len(), 1);
    assert_eq!((recalls[0].from, recalls[0].to, recalls[0].message()), (edp(), glp(), recall));
    let left: Vec<_> = world.store(glp()).visitors.keys().copied().collect();
    assert_eq!(left, [contract(GIL)], "nobody else's");
    assert!(world.store(ibe()).visitors.contains_key(&contract(ANA)));
    assert_eq!(world.customer(ANA).visiting, Some(ibe()));
    // Back again: home is asked, and the other copy goes.
    quoted(&world.swipe("s4", AT_GLP, ANA));
    assert_eq!(grant(&mut world, "s4").by(), AuthorizedBy::Partner);
    assert!(world.store(ibe()).visitors.is_empty());
}

#[test]
fn a_recall_by_anybody_but_the_home_utility_is_ignored() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    let before = world.stores();
    let bytes = serde_json::to_vec(&PartnerMessage::Recall { contract: contract(ANA) }).unwrap();
    for from in [ibe(), noa(), glp()] {
        world.post_letter(Letter { from, to: glp(), bytes: bytes.clone() });
        world.drive();
        assert_eq!(world.stores(), before, "{from}");
    }
    world.post_letter(Letter { from: edp(), to: glp(), bytes });
    world.drive();
    assert!(world.store(glp()).visitors.is_empty());
}

#[test]
fn taking_a_home_utilitys_store_away_fails_exactly_its_uncached_visitors() {
    let mut world = World::new();
    quoted(&world.swipe("visit", AT_GLP, ANA));
    world.store(edp()).fail = true;
    // A cached visitor charges as if nothing had happened.
    let quote = quoted(&world.swipe("cached", AT_GLP, ANA));
    assert!(is_power_on(&world.accept("cached")));
    let consumption = hour_of(world.now, 20_000);
    world.wait(HOUR);
    world.consumed("cached", consumption);
    assert_eq!(world.ledger.recorded(), 1);
    // An uncached one is told why not, and so is a cached one with another credential.
    assert_eq!(denied(&world.swipe("uncached", AT_GLP, GIL)), Denial::HomeUnreachable);
    let request = world.ask("other", AT_GLP, ANA, pin(PIN));
    assert_eq!(denied(&world.request(&request)), Denial::HomeUnreachable);
    // Other home utilities' visitors notice nothing.
    world.charge("eva", AT_GLP, EVA, 10_000);
    assert_eq!(world.bill_lines(ibe()).len(), 1);
    // When the store is back, the bill is complete after the operator's next attempt.
    world.store(edp()).fail = false;
    world.replay_blocks();
    // The first quote was never accepted.
    assert_eq!(denied(&world.tick(glp())), Denial::QuoteExpired);
    world.resume(glp());
    world.drive();
    let lines = world.bill_lines(edp());
    assert_eq!(lines.len(), 1);
    assert_eq!(Some(lines[0].retail.total), quote.retail);
    quoted(&world.swipe("again", AT_GLP, GIL));
}

#[test]
fn a_late_answer_does_not_revive_a_denied_session() {
    let mut world = World::new();
    world.fate = Box::new(|letter| if letter.kind() == "authorized" { Fate::Delay } else { Fate::Deliver });
    assert_eq!(world.swipe("s1", AT_GLP, ANA), []);
    world.call(glp(), |gateway, ledger| gateway.home_unreachable(ledger, &id("s1"))).unwrap();
    let request = world.ask("s1", AT_GLP, ANA, card(ANA));
    // The denial is shown by the outage and again to whoever asks again.
    assert_eq!(world.request(&request).len(), 2);
    world.release();
    assert_eq!(world.session("s1").phase, Phase::Denied(Denial::HomeUnreachable));
    assert_eq!(world.accept("s1"), []);
}

#[test]
fn a_lost_question_is_asked_again_when_the_station_repeats_its_request() {
    for lost in ["authorize", "authorized"] {
        let mut world = World::new();
        world.fate = Box::new(move |l| if l.kind() == lost { Fate::Lose } else { Fate::Deliver });
        let request = world.ask("s1", AT_GLP, ANA, card(ANA));
        assert_eq!(world.request(&request), [], "{lost}");
        world.fate = Box::new(|_| Fate::Deliver);
        let quote = quoted(&world.request(&request));
        assert_eq!(quoted(&world.request(&request)), quote, "and the quote is shown again");
        assert!(is_power_on(&world.accept("s1")));
    }
}
