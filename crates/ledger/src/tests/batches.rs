//! A batch always applies: each item has its own outcome, and a bad one neither sinks nor hides among the others.

use super::fixture::*;
use crate::reject::{Item, ItemOutcome, RejectCode, outcome_root};
use crate::state::StateKey;
use crate::tx::{BATCH_MAX, DecodeError, ENVELOPE_BYTES_MAX, SignedEnvelope, item_count};
use eroam_domain::cdr::{Cdr, EvsePseudonym};
use eroam_domain::codec::Digest;
use eroam_domain::quantity::WattHours;

fn roaming() -> (Chain, Roaming) {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms(hom(), vis()));
    (chain, roaming)
}

/// So many valid records: eight EVSEs, one session after the other.
pub(super) fn full_batch(roaming: &Roaming) -> Vec<Cdr> {
    (0u8..=255)
        .map(|n| {
            let mut cdr = roaming.cdr(n.into(), later(on(1, 10, 0), u64::from(n / 8) * HOUR), 10_000);
            cdr.evse = EvsePseudonym([n % 8; 16]);
            cdr
        })
        .collect()
}

type Spoil = (&'static str, fn(&mut Vec<Cdr>, usize), RejectCode);

/// The first is refused by the first check, the last by the very last, after the books were read.
const SPOILS: [Spoil; 4] = [
    ("malformed", |cdrs, bad| cdrs[bad].energy = WattHours::ZERO, RejectCode::MalformedRecord(7)),
    ("unknown agreement", |cdrs, bad| cdrs[bad].agreement.id = Digest::ZERO, RejectCode::UnknownAgreement),
    ("overlap", |cdrs, bad| cdrs[bad].evse = EvsePseudonym([9; 16]), RejectCode::OverlappingRecord),
    ("too much", |cdrs, bad| cdrs[bad].tariff.version = 2, RejectCode::Overflow),
];

#[test]
fn one_bad_record_of_256_changes_nothing_for_the_others() {
    for (name, spoil, code) in SPOILS {
        for bad in [0, 128, 255] {
            let (mut chain, roaming) = roaming();
            chain.now = on(1, 19, 0);
            let mut cdrs = full_batch(&roaming);
            spoil(&mut cdrs, bad);
            match code {
                RejectCode::OverlappingRecord => {
                    let mut other = roaming.cdr(999, cdrs[bad].start, 1_000);
                    other.evse = cdrs[bad].evse;
                    chain.record(&other, vis());
                }
                RejectCode::Overflow => {
                    // A price so high that the pair of members may not owe it.
                    let (at, tariff) = chain.publish(tariff_of(
                        vis(),
                        "T1",
                        eur(),
                        i64::MAX / 16,
                        eroam_domain::tariff::Restrictions::NONE,
                    ));
                    let mut terms = roaming.terms.clone();
                    terms.limits.amount_max = i64::MAX;
                    let dear = chain.amend(&roaming, terms, on(1, 18, 0));
                    let dear = Roaming { tariff: (at, tariff), ..dear };
                    cdrs[bad] = dear.cdr(u32::try_from(bad).unwrap(), on(1, 18, 0), 10_000);
                }
                _ => {}
            }
            let mut alone = chain.clone();
            let signed = chain.sign(chain.envelope(vis(), records(cdrs.clone())));
            assert_eq!(item_count(&signed.envelope().tx), BATCH_MAX);
            let outcome = chain.run(&signed);
            for (index, (item, cdr)) in outcome.items.iter().zip(&cdrs).enumerate() {
                let expected = if index == bad {
                    ItemOutcome::Rejected(code)
                } else {
                    ItemOutcome::Accepted { booked_in: Some(month(1)) }
                };
                assert_eq!(*item, Item { hash: cdr.digest(), outcome: expected }, "{name} at {bad}: {index}");
            }
            let mut all_good = outcome.items.clone();
            all_good[bad].outcome = ItemOutcome::Accepted { booked_in: Some(month(1)) };
            assert_ne!(outcome.root(), outcome_root(&all_good));

            cdrs.remove(bad);
            let good = alone.sign(alone.envelope(vis(), records(cdrs)));
            let without = alone.run(&good);
            assert!(without.items.iter().all(|i| i.outcome.is_accepted()));
            assert_eq!(outcome.writes, without.writes, "{name} at {bad}");
            assert_eq!(chain.digest(), alone.digest(), "{name} at {bad}");
        }
    }
}

#[test]
fn a_batch_of_none_or_257_is_refused_whole() {
    let (mut chain, roaming) = roaming();
    let mut cdrs = full_batch(&roaming);
    cdrs.push(roaming.cdr(256, on(1, 15, 0), 10_000));
    let reservations = (0..257).map(|n| roaming.reservation(n, on(1, 20, 0), EUR));
    let before = chain.digest();
    for tx in [records([]), records(cdrs), reserve([]), reserve(reservations)] {
        assert_eq!(chain.refused(vis(), tx), RejectCode::BatchSize);
    }
    assert_eq!(chain.digest(), before);
}

#[test]
fn a_batch_consumes_one_sequence_even_when_every_item_is_refused() {
    let (mut chain, roaming) = roaming();
    let first = chain.envelope(vis(), records([roaming.cdr(1, on(1, 10, 8), 200_000)])).sequence;
    let items = chain.submit(vis(), records((0..3).map(|n| roaming.cdr(n, on(1, 10, 8), 200_000))));
    assert!(items.iter().all(|i| i.outcome == ItemOutcome::Rejected(RejectCode::EnergyLimit)));
    assert_eq!(chain.envelope(vis(), records([])).sequence, first + 1);
}

#[test]
fn a_batch_sees_its_own_earlier_items() {
    let (mut chain, roaming) = roaming();
    let first = roaming.cdr(1, on(1, 10, 8), 10_000);
    let conflicting = roaming.cdr(1, on(1, 11, 8), 10_000);
    let overlapping = roaming.cdr(2, on(1, 10, 8), 10_000);
    let items = chain.submit(vis(), records([first.clone(), first, conflicting, overlapping]));
    let refusals: Vec<_> = items.iter().map(|i| i.outcome.rejection()).collect();
    assert_eq!(
        refusals,
        [
            None,
            Some(RejectCode::DuplicateRecord),
            Some(RejectCode::ConflictingRecord),
            Some(RejectCode::OverlappingRecord)
        ]
    );
}

#[test]
fn a_refused_reservation_neither_reserves_nor_moves_the_clock() {
    let (mut chain, roaming) = roaming();
    chain.ok(vis(), reserve([roaming.reservation(1, on(1, 18, 8), 50 * EUR)]));
    let before = chain.digest();
    // Two days later the first one would have expired.
    let items = chain.submit(vis(), reserve([roaming.reservation(2, on(1, 20, 8), 1_001 * EUR)]));
    assert_eq!(items[0].outcome.rejection(), Some(RejectCode::CreditExhausted));
    assert_eq!(chain.digest(), before);
    assert_eq!(chain.used(roaming.at.id), 50 * EUR);
}

#[test]
fn reservations_of_a_batch_share_one_limit() {
    let (mut chain, roaming) = roaming();
    let items = chain.submit(vis(), reserve((0..3).map(|n| roaming.reservation(n, on(1, 20, 8), 400 * EUR))));
    let refusals: Vec<_> = items.iter().map(|i| i.outcome.rejection()).collect();
    assert_eq!(refusals, [None, None, Some(RejectCode::CreditExhausted)]);
    assert_eq!(
        chain.read::<crate::settlement::Reservation>(&StateKey::Reservation(
            roaming.at.id,
            roaming.reservation(2, on(1, 20, 8), EUR).session
        )),
        None
    );
}

#[test]
fn the_root_commits_to_index_hash_and_outcome_of_every_item() {
    let item = |n: u8, outcome| Item { hash: Digest([n; 32]), outcome };
    let refused = ItemOutcome::Rejected(RejectCode::TooLate);
    for count in 1u8..=9 {
        let items: Vec<Item> = (0..count).map(|n| item(n, ItemOutcome::ACCEPTED)).collect();
        let root = outcome_root(&items);
        for place in 0..items.len() {
            let mut other = items.clone();
            other[place].outcome = refused;
            assert_ne!(outcome_root(&other), root, "outcome {place} of {count}");
            let mut other = items.clone();
            other[place].hash = Digest::ZERO;
            assert_eq!(outcome_root(&other) == root, place == 0, "hash {place} of {count}");
        }
        if count > 1 {
            let mut swapped = items.clone();
            swapped.swap(0, 1);
            assert_ne!(outcome_root(&swapped), root);
        }
        assert_ne!(outcome_root(&items[1..]), root);
    }
}

#[test]
fn an_envelope_beyond_two_mebibytes_is_refused_before_it_is_read() {
    let bytes = vec![0; ENVELOPE_BYTES_MAX + 1];
    assert_eq!(SignedEnvelope::decode(bytes), Err(DecodeError::TooLarge(ENVELOPE_BYTES_MAX + 1)));
    assert_eq!(SignedEnvelope::decode(vec![0; 63]), Err(DecodeError::TooShort(63)));
}
