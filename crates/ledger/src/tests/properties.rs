//! What holds for every history: money is conserved, replay gives the same state, and so does any packing.

use super::fixture::*;
use super::voucher::{paid_with, publish_voucher_key, reserve_vouchers, voucher_of};
use super::world::{World, accepted_and_refused, step};
use crate::settlement::CreditReservation;
use crate::state::StateKey;
use crate::tx::SignedEnvelope;
use crate::voucher::{VoucherReservation, VoucherState};
use eroam_domain::cdr::{Cdr, EvsePseudonym};
use eroam_domain::codec::{self, Digest};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::WattHours;
use eroam_domain::time::SettlementPeriod;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use std::mem::discriminant;

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

proptest! {
    #![proptest_config(config(64))]

    /// [`World::take`] checks the books after every envelope.
    #[test]
    fn money_is_conserved_and_history_repeats_itself(steps in proptest::collection::vec(step(), 1..60)) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        let mut again = Chain::new();
        for (time, signed, items) in &world.chain.log {
            again.now = *time;
            // As from the archive: from bytes.
            let signed = SignedEnvelope::decode(signed.bytes().to_vec()).unwrap();
            prop_assert_eq!(&again.run(&signed).items, items);
        }
        prop_assert_eq!(again.digest(), world.chain.digest());
        prop_assert!(again.state.iter().eq(world.chain.state.iter()));
    }
}

/// A generator of which nothing is accepted would prove nothing.
#[test]
fn the_generated_histories_are_mixed() {
    let mut runner = TestRunner::deterministic();
    let (mut accepted, mut refused, mut unpaid, mut spent) = (0, 0, 0, 0);
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..24 {
        let steps = proptest::collection::vec(step(), 100).new_tree(&mut runner).unwrap().current();
        let mut world = World::new();
        steps.iter().for_each(|step| world.take(step));
        let (a, r) = accepted_and_refused(&world.chain);
        (accepted, refused) = (accepted + a, refused + r);
        unpaid += usize::from(world.chain.read::<Vec<SettlementPeriod>>(&StateKey::Unpaid(eur())).is_some());
        spent += world
            .chain
            .state
            .iter()
            .filter(|(key, _)| matches!(codec::from_bytes(key), Ok(StateKey::Voucher(..))))
            .filter(|(_, state)| matches!(codec::from_bytes(state), Ok(VoucherState::Spent { .. })))
            .count();
        for (_, signed, items) in &world.chain.log {
            if items.iter().any(|i| i.outcome.is_accepted()) {
                kinds.insert(super::formats::kind(&signed.envelope().tx));
            }
        }
    }
    assert!(accepted > 500 && refused > 500, "{accepted} accepted, {refused} refused");
    assert!(unpaid > 4, "{unpaid} ended with arrears");
    assert!(spent > 4, "{spent} vouchers were spent");
    assert_eq!(kinds.len(), 21, "accepted at least once: {kinds:?}");
}

/// What an operator has to tell the ledger, in its order.
#[derive(Clone, Debug)]
enum Item {
    Reserve(CreditReservation),
    Spend(Box<VoucherReservation>),
    Record(Box<Cdr>),
}

/// How one operator's items are cut into envelopes, and whose turn it is.
#[derive(Clone, Debug)]
struct Packing {
    sizes: Vec<usize>,
    turns: Vec<bool>,
    minutes: Vec<u8>,
}

fn packing() -> impl Strategy<Value = Packing> {
    let sizes = proptest::collection::vec(1usize..12, 8);
    let turns = proptest::collection::vec(any::<bool>(), 8);
    let minutes = proptest::collection::vec(any::<u8>(), 8);
    (sizes, turns, minutes).prop_map(|(sizes, turns, minutes)| Packing { sizes, turns, minutes })
}

/// An operator's items: sessions of which some are reserved first, and some records are wrong.
fn items(roaming: &[Roaming], sessions: &[(u8, u8, bool, u8)]) -> Vec<Item> {
    let mut items = Vec::new();
    for (number, (which, kwh, reserved, spoil)) in (0u32..).zip(sessions) {
        let roaming = &roaming[usize::from(*which) % roaming.len()];
        let start = later(on(1, 17, 0), u64::from(number) * HOUR);
        let mut cdr = roaming.cdr(number, start, u64::from(*kwh) * 1_000);
        let limit = i64::from(*kwh) * 5 * EUR;
        match (*reserved, which % 2) {
            (true, 0) => items.push(Item::Reserve(roaming.reservation(number, start, limit))),
            (true, _) => {
                // Of several sessions of an operator that share a voucher the first has it.
                let Roaming { terms, .. } = roaming;
                let name = u32::from(terms.cpo.id().as_bytes()[0]) * 100 + number % 7;
                let held = voucher_of(genesis().network(), terms.emsp, name);
                let spent = held.reservation_of(&cdr, terms.cpo, limit.min(30 * EUR));
                cdr = paid_with(&cdr, &spent);
                items.push(Item::Spend(Box::new(spent)));
            }
            (false, _) => {}
        }
        cdr.evse = EvsePseudonym([which % 3; 16]);
        match spoil {
            0..20 => cdr.price.excl_vat += 1,
            20..40 => cdr.energy = WattHours::ZERO,
            // Occupied by the session before, if that is at the same EVSE.
            40..60 => {
                cdr.start =
                    later(start, 0).checked_sub(eroam_domain::quantity::DurationMs::from_millis(1)).unwrap();
                cdr.accepted_at = cdr.start;
            }
            60..70 => cdr.agreement.id = Digest::ZERO,
            _ => {}
        }
        items.push(Item::Record(Box::new(cdr.clone())));
        if *spoil > 240 {
            items.push(Item::Record(Box::new(cdr)));
        }
    }
    items
}

/// The first items that fit into one envelope of at most `size`.
fn envelope_of(items: &mut Vec<Item>, size: usize) -> crate::tx::Tx {
    let kind = discriminant(&items[0]);
    let alike = items.iter().take(size).take_while(|i| discriminant(*i) == kind).count();
    let (mut cdrs, mut credit, mut vouchers) = (Vec::new(), Vec::new(), Vec::new());
    for item in items.drain(..alike) {
        match item {
            Item::Record(cdr) => cdrs.push(*cdr),
            Item::Reserve(reservation) => credit.push(reservation),
            Item::Spend(reservation) => vouchers.push(*reservation),
        }
    }
    if !cdrs.is_empty() {
        records(cdrs)
    } else if !credit.is_empty() {
        reserve(credit)
    } else {
        reserve_vouchers(vouchers)
    }
}

fn run_packed(start: &Chain, work: &[(PartyId, Vec<Item>); 2], packing: &Packing) -> (Digest, Vec<String>) {
    let mut chain = start.clone();
    let mut queues = work.clone();
    let mut outcomes = Vec::new();
    for round in 0usize.. {
        if queues.iter().all(|(_, queue)| queue.is_empty()) {
            break;
        }
        let choose = |list: &[usize]| list[round % list.len()];
        let mut turn = usize::from(packing.turns[round % packing.turns.len()]);
        if queues[turn].1.is_empty() {
            turn = 1 - turn;
        }
        // Blocks of different times; everything is well within every window.
        chain.now = later(chain.now, u64::from(packing.minutes[round % packing.minutes.len()]) * 1_000);
        let (sender, queue) = &mut queues[turn];
        let tx = envelope_of(queue, choose(&packing.sizes));
        let items = chain.submit(*sender, tx);
        outcomes.extend(items.iter().map(|i| format!("{sender} {i:?}")));
    }
    outcomes.sort();
    (chain.digest(), outcomes)
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn the_state_does_not_depend_on_how_items_were_packed(
        sessions in proptest::collection::vec((0u8..6, 0u8..60, any::<bool>(), any::<u8>()), 1..40),
        first in packing(),
        second in packing(),
    ) {
        let mut chain = Chain::new();
        let hom_vis = chain.agree(terms(hom(), vis()));
        let uti_vis = chain.agree(terms(uti(), vis()));
        let hom_uti = chain.agree(terms(hom(), uti()));
        for emsp in [hom(), uti()] {
            chain.ok(emsp, publish_voucher_key(emsp));
        }
        let of_vis = [hom_vis, uti_vis];
        let (here, there) = sessions.split_at(sessions.len() / 2);
        let work = [(vis(), items(&of_vis, here)), (uti(), items(&[hom_uti], there))];
        let one_by_one = Packing { sizes: vec![1], turns: vec![false], minutes: vec![0] };
        let expected = run_packed(&chain, &work, &one_by_one);
        prop_assert_eq!(&run_packed(&chain, &work, &first), &expected);
        prop_assert_eq!(&run_packed(&chain, &work, &second), &expected);
    }
}

#[test]
fn a_free_session_leaves_the_same_state_before_and_after_a_charged_one() {
    let mut chain = Chain::new();
    let (here, there) = (chain.agree(terms(hom(), vis())), chain.agree(terms(hom(), uti())));
    let free = (vis(), here.cdr(1, on(1, 10, 8), 0));
    let charged = (uti(), there.cdr(1, on(1, 10, 8), 10_000));
    let digests = [[&free, &charged], [&charged, &free]].map(|order| {
        let mut chain = chain.clone();
        for (operator, cdr) in order {
            chain.record(cdr, *operator);
        }
        chain.digest()
    });
    assert_eq!(digests[0], digests[1]);
}

#[test]
fn an_operators_records_leave_the_same_state_in_any_order() {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    // One after the other without a gap, across midnight.
    let cdrs: Vec<Cdr> = (0..6).map(|n| roaming.cdr(n, on(1, 10, 21 + i64::from(n)), 10_000)).collect();
    let mut backwards = cdrs.clone();
    backwards.reverse();
    let digests = [cdrs, backwards].map(|order| {
        let mut chain = chain.clone();
        chain.ok(vis(), records(order));
        chain.digest()
    });
    assert_eq!(digests[0], digests[1]);
}
