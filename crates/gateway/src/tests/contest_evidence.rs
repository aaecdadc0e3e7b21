//! The evidence of a contest, between the two sides.

use super::world::*;
use crate::anomalies::{AnomalyRules, RecordName};
use crate::gateway::{EVIDENCE_KEPT_FOR, Effect};
use crate::ports::EvidenceName;
use eroam_domain::cdr::CdrId;
use eroam_domain::charge::PartnerMessage;
use eroam_domain::codec::HexBytes;
use proptest::prelude::*;

const DAY: u64 = 86_400_000;

/// A world in which EDP has contested GLP's record `s2`, since its readings are those of `s1`, and the post lost nothing.
fn contested() -> World {
    let mut world = World::new();
    world.org(edp()).set_anomaly_rules(Some(AnomalyRules::DEFAULT));
    for (session, driver, energy) in [("s1", ANA, 10_001), ("s2", GIL, 11_001)] {
        quoted(&world.swipe(session, AT_GLP, driver));
        assert!(is_power_on(&world.accept(session)));
        let consumption = hour_of(world.now, energy);
        world.wait(3_600_000);
        world.consumed(session, consumption);
    }
    world
}

fn cdr(text: &str) -> CdrId {
    text.parse().unwrap()
}

fn kept(world: &mut World, id: &str) -> Option<Vec<u8>> {
    world.org(glp()).contest_evidence(&cdr(id)).unwrap()
}

fn receive(world: &mut World, from: eroam_domain::ids::PartyId, evidence: &[u8], id: &str) {
    let (message, now) =
        (PartnerMessage::Evidence { cdr: cdr(id), evidence: HexBytes::new(evidence.to_vec()) }, world.now);
    world.call(glp(), |gateway, ledger| gateway.receive(ledger, from, message, now)).unwrap();
}

#[test]
fn whoever_is_contested_has_what_the_contest_rests_on() {
    let mut world = contested();
    let name = RecordName { operator: glp(), cdr: cdr("s2") };
    let case = world.org(edp()).anomaly(&name).unwrap().unwrap();
    assert_eq!(world.posted("evidence"), 1);
    assert_eq!(kept(&mut world, "s2"), Some(case.evidence));
    assert_eq!(kept(&mut world, "s1"), None);
    // What the station sent of the same session is kept beside it.
    world.org(glp()).keep_evidence(&id("s2"), b"of the station", start()).unwrap().unwrap();
    assert_ne!(kept(&mut world, "s2"), Some(b"of the station".to_vec()));
    world.wait(EVIDENCE_KEPT_FOR.millis() + DAY);
    world.tick(glp());
    assert_eq!(kept(&mut world, "s2"), None, "there can be no dispute any more");
}

#[test]
fn evidence_that_got_lost_is_asked_for() {
    let mut world = contested();
    let there = kept(&mut world, "s2");
    *world.store(glp()) = crate::testing::MemoryStore::default();
    assert_eq!(kept(&mut world, "s2"), None);
    world.call(glp(), |gateway, ledger| gateway.ask_for_evidence(ledger, &cdr("s2"))).unwrap();
    world.drive();
    assert_eq!(kept(&mut world, "s2"), there);
    // Of what is not contested nobody asks, and nobody but the operator of the record is told.
    let asked = |world: &mut World, id: &str| {
        let mut effects = None;
        world
            .call(glp(), |gateway, ledger| {
                effects = Some(gateway.ask_for_evidence(ledger, &cdr(id))?);
                Ok(Vec::new())
            })
            .unwrap();
        effects.unwrap().len()
    };
    assert_eq!((asked(&mut world, "s2"), asked(&mut world, "s1"), asked(&mut world, "none")), (1, 0, 0));
    let (wanted, now) = (PartnerMessage::EvidenceWanted { cdr: cdr("s2") }, world.now);
    let mut answered: Option<Vec<Effect>> = None;
    world
        .call(edp(), |gateway, ledger| {
            answered = Some(gateway.receive(ledger, ibe(), wanted, now)?);
            Ok(Vec::new())
        })
        .unwrap();
    assert_eq!(answered.unwrap(), []);
}

#[test]
fn what_the_ledger_has_no_digest_of_is_not_kept() {
    let mut world = contested();
    let there = kept(&mut world, "s2").unwrap();
    *world.store(glp()) = crate::testing::MemoryStore::default();
    let mut altered = there.clone();
    altered[0] ^= 1;
    let large = vec![0; crate::ports::EVIDENCE_BYTES_MAX + 1];
    let table: [(&str, eroam_domain::ids::PartyId, &[u8], &str); 5] = [
        ("altered", edp(), &altered, "s2"),
        ("too large", edp(), &large, "s2"),
        ("of another record", edp(), &there, "s1"),
        ("of a record that nobody knows", edp(), &there, "none"),
        ("by somebody else", ibe(), &there, "s2"),
    ];
    for (what, from, evidence, id) in table {
        receive(&mut world, from, evidence, id);
        assert_eq!(kept(&mut world, id), None, "{what}");
    }
    receive(&mut world, edp(), &there, "s2");
    assert_eq!(kept(&mut world, "s2"), Some(there));
}

proptest! {
    #[test]
    fn no_station_can_name_a_session_as_evidence_of_a_contest_is_named(
        named in "[ -~]{1,36}",
        record in "[ -~]{1,36}",
        length in 1..=36usize,
    ) {
        let contest = EvidenceName::of_contest(&cdr(&record));
        // Also whoever knows how contests are named, and goes as far as a session's name does.
        for session in [named.as_str(), &record, &contest.as_str()[..length]] {
            prop_assert_ne!(&EvidenceName::of_session(&id(session)), &contest);
        }
    }
}
