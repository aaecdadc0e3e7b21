//! Any organisation may stop at any moment and start again with what it had committed: there is one record and one
//! bill line all the same, as long as somebody repeats what was not answered.

use super::wallet::{Purse, proof};
use super::world::*;
use crate::billing::BillLine;
use crate::invoice::WholesaleLine;
use crate::sessions::Phase;
use crate::vouchers::VoucherStatus;
use eroam_domain::charge::ChargeRequest;
use eroam_domain::retail::Tier;
use proptest::prelude::*;
use std::cell::Cell;

/// A station and a driver who repeat whatever was not answered, and hosts that ask again for what is outstanding.
fn insist(world: &mut World, request: &ChargeRequest, energy_wh: u64) {
    let operator = request.evse.operator().unwrap();
    let session = request.session.as_str();
    for _ in 0..20 {
        let phase = world.store(operator).sessions.get(&request.session).map(|s| s.phase.clone());
        match phase {
            None | Some(Phase::AwaitingHome) => drop(world.request(request)),
            Some(Phase::Quoted { .. }) => drop(world.accept(session)),
            Some(Phase::Charging { accepted, .. }) => {
                let consumption = hour_of(accepted.at, energy_wh);
                world.now = world.now.max(consumption.end);
                world.consumed(session, consumption);
            }
            Some(_) => {
                for party in [edp(), glp(), ibe()] {
                    world.resume(party);
                }
                world.drive();
            }
        }
    }
    world.replay_blocks();
    world.drive();
}

/// As [`insist`], for a driver whom the operator does not know, and whose wallet signs once.
fn insist_unknown(world: &mut World, session: &str, evse: &str, purse: &Purse, energy_wh: u64) {
    let request = world.ask_unknown(session, evse, purse);
    let operator = request.evse.operator().unwrap();
    for _ in 0..20 {
        let phase = world.store(operator).sessions.get(&request.session).map(|s| s.phase.clone());
        match phase {
            None => drop(world.request_unknown(&request)),
            Some(Phase::AwaitingProof { .. }) => drop(world.prove(session, &proof(Tier::Standard))),
            Some(Phase::Quoted { quote, .. }) => drop(world.pay(session, &purse.spend(&quote, 20 * EUR))),
            Some(Phase::Charging { accepted, .. }) => {
                let consumption = hour_of(accepted.at, energy_wh);
                world.now = world.now.max(consumption.end);
                world.consumed(session, consumption);
            }
            Some(_) => {
                for party in [edp(), glp(), ibe()] {
                    world.resume(party);
                }
                world.drive();
            }
        }
    }
    world.replay_blocks();
    world.drive();
}

fn charge_unknown_with(prepare: impl FnOnce(&mut World), evse: &str) -> (World, Books) {
    let mut world = World::new();
    let purse = world.withdraw(ANA, "a");
    world.points.clear();
    prepare(&mut world);
    insist_unknown(&mut world, "s1", evse, &purse, 20_000);
    let books = books(&mut world);
    assert!(world.session("s1").is_settled(), "{:?}", world.session("s1").phase);
    let nullifier = purse.voucher.voucher.nullifier();
    assert_eq!(world.store(edp()).vouchers[&nullifier].status, VoucherStatus::Spent);
    (world, books)
}

#[test]
fn a_crash_of_anybody_at_any_point_of_an_unknown_drivers_charge_leaves_one_record_and_one_bill_line() {
    for (evse, records) in [(AT_GLP, 1), (AT_EDP, 0)] {
        let (plain, expected) = charge_unknown_with(|_| {}, evse);
        assert_eq!((expected.0.len(), expected.1.len(), expected.2), (1, records, records));
        for party in [edp(), glp()] {
            let points = plain.points.get(&party).copied().unwrap_or(0);
            assert!(points > 8 || records == 0, "{party} has {points} opportunities to crash");
            for point in 1..=points {
                let crash = Crash { party, point };
                let (_, books) = charge_unknown_with(|world| world.crash = Some(crash), evse);
                assert_eq!(books, expected, "{evse} {crash:?}");
            }
        }
    }
}

/// What is left of one charge in the end.
type Books = (Vec<BillLine>, Vec<WholesaleLine>, usize);

fn books(world: &mut World) -> Books {
    (world.bill_lines(edp()), world.wholesale_lines(glp()), world.ledger.recorded())
}

fn charge_with(prepare: impl FnOnce(&mut World), evse: &str) -> (World, Books) {
    let mut world = World::new();
    prepare(&mut world);
    let request = world.ask("s1", evse, ANA, card(ANA));
    insist(&mut world, &request, 20_000);
    let books = books(&mut world);
    assert!(world.session("s1").is_settled(), "{:?}", world.session("s1").phase);
    (world, books)
}

#[test]
fn a_crash_of_anybody_at_any_point_leaves_one_record_and_one_bill_line() {
    let (plain, expected) = charge_with(|_| {}, AT_GLP);
    assert_eq!((expected.0.len(), expected.1.len(), expected.2), (1, 1, 1));
    for party in [edp(), glp()] {
        let points = plain.points[&party];
        assert!(points > 8, "{party} has {points} opportunities to crash");
        for point in 1..=points {
            let crash = Crash { party, point };
            let (_, books) = charge_with(|world| world.crash = Some(crash), AT_GLP);
            assert_eq!(books, expected, "{crash:?}");
        }
    }
}

#[test]
fn a_crash_at_the_own_station_leaves_one_bill_line_and_nothing_on_the_ledger() {
    let (plain, expected) = charge_with(|_| {}, AT_EDP);
    assert_eq!((expected.0.len(), expected.1.len(), expected.2), (1, 0, 0));
    for point in 1..=plain.points[&edp()] {
        let crash = Crash { party: edp(), point };
        let (world, books) = charge_with(|world| world.crash = Some(crash), AT_EDP);
        assert_eq!(books, expected, "{crash:?}");
        assert_eq!(world.ledger.blocks.len(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn lost_repeated_and_late_letters_and_a_crash_leave_one_record_and_one_bill_line(
        fates in proptest::collection::vec(
            proptest::sample::select(&[Fate::Deliver, Fate::Lose, Fate::Repeat, Fate::Delay][..]), 0..12),
        home: bool,
        point in 0usize..40,
    ) {
        let (_, expected) = charge_with(|_| {}, AT_GLP);
        let mut world = World::new();
        let next = Cell::new(0);
        world.fate = Box::new(move |_| {
            let place = next.replace(next.get() + 1);
            fates.get(place).copied().unwrap_or(Fate::Deliver)
        });
        world.crash = Some(Crash { party: if home { edp() } else { glp() }, point });
        let request = world.ask("s1", AT_GLP, ANA, card(ANA));
        insist(&mut world, &request, 20_000);
        world.fate = Box::new(|_| Fate::Deliver);
        world.release();
        insist(&mut world, &request, 20_000);
        prop_assert!(world.session("s1").is_settled());
        prop_assert_eq!(books(&mut world), expected);
    }

    #[test]
    fn lost_repeated_and_late_letters_and_a_crash_leave_one_record_of_an_unknown_driver(
        fates in proptest::collection::vec(
            proptest::sample::select(&[Fate::Deliver, Fate::Lose, Fate::Repeat, Fate::Delay][..]), 0..6),
        home: bool,
        point in 0usize..40,
    ) {
        let (_, expected) = charge_unknown_with(|_| {}, AT_GLP);
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let next = Cell::new(0);
        world.fate = Box::new(move |_| {
            let place = next.replace(next.get() + 1);
            fates.get(place).copied().unwrap_or(Fate::Deliver)
        });
        world.crash = Some(Crash { party: if home { edp() } else { glp() }, point });
        insist_unknown(&mut world, "s1", AT_GLP, &purse, 20_000);
        world.fate = Box::new(|_| Fate::Deliver);
        world.release();
        insist_unknown(&mut world, "s1", AT_GLP, &purse, 20_000);
        prop_assert!(world.session("s1").is_settled());
        prop_assert_eq!(books(&mut world), expected);
    }
}
