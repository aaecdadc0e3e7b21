//! Vouchers over time: reserved, spent, refunded, blocked, and the ways to get more out of one than it promises. The
//! refusals of each check are in [`super::rejects`].

use super::fixture::*;
use crate::query;
use crate::reject::RejectCode;
use crate::settlement::Reservation;
use crate::state::{Account, StateKey, ledger_balance};
use crate::tx::{PublicKey, Tx};
use crate::voucher::{
    KEY_VALIDITY_MAX, RESERVABLE_AFTER, VoucherKey, VoucherReservation, VoucherState, VoucherTx,
    acceptance_digest, check_spent,
};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::cdr::{AgreementRef, Cdr, Payer};
use eroam_domain::codec::{self, Digest, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{
    Nullifier, OneTimeKey, SignedVoucher, SpentVoucher, VALIDITY_MAX, Voucher, VoucherAcceptance,
};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// The key that a home utility signs vouchers with.
pub(super) fn signer_of(emsp: PartyId) -> SigningKey {
    key_of(&format!("vouchers of {emsp}"))
}

/// Publishes it for the year.
pub(super) fn publish_voucher_key(emsp: PartyId) -> Tx {
    Tx::Voucher(VoucherTx::PublishKey {
        public: PublicKey::of(&signer_of(emsp)),
        valid_from: on(1, 1, 0),
        valid_until: on(12, 31, 0),
    })
}

/// Revokes the key of a number.
pub(super) fn revoke_voucher_key(key: u32) -> Tx {
    Tx::Voucher(VoucherTx::RevokeKey { key })
}

pub(super) fn reserve_vouchers(items: impl IntoIterator<Item = VoucherReservation>) -> Tx {
    Tx::Voucher(VoucherTx::Reserve(items.into_iter().collect()))
}

pub(super) fn refund(vouchers: impl IntoIterator<Item = SignedVoucher>) -> Tx {
    Tx::Voucher(VoucherTx::Refund(vouchers.into_iter().collect()))
}

pub(super) fn block(nullifiers: impl IntoIterator<Item = Nullifier>) -> Tx {
    Tx::Voucher(VoucherTx::Block(nullifiers.into_iter().collect()))
}

/// A voucher in its holder's hands.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) signed: SignedVoucher,
    pub(super) key: SigningKey,
}

fn signature(key: &SigningKey, digest: Digest) -> SignatureBytes {
    SignatureBytes(key.sign(&digest.0).to_bytes())
}

/// Up to 30 EUR, from the first of January to the twentieth of February. `number` names its holder's key.
pub(super) fn voucher_of(network: Digest, emsp: PartyId, number: u32) -> Held {
    let key = key_of(&format!("holder {number}"));
    let voucher = Voucher {
        network,
        emsp,
        key: 0,
        holder: OneTimeKey(PublicKey::of(&key).0),
        cap: Money::new(30 * EUR, eur()),
        valid_from: on(1, 1, 0),
        valid_until: on(2, 20, 0),
    };
    Held { signed: sign(voucher), key }
}

/// Signs with the voucher key of the home utility that it names.
pub(super) fn sign(voucher: Voucher) -> SignedVoucher {
    SignedVoucher { voucher, signature: signature(&signer_of(voucher.emsp), voucher.digest()) }
}

impl Held {
    /// Spends it on the session of a record, with an operator.
    fn spend(&self, cdr: &Cdr, operator: PartyId, limit: i64) -> SpentVoucher {
        let acceptance = VoucherAcceptance {
            session: cdr.session,
            operator,
            quote: cdr.quote,
            limit,
            accepted_at: cdr.accepted_at,
        };
        let signature = signature(&self.key, acceptance.digest());
        SpentVoucher { voucher: self.signed, acceptance, signature }
    }

    /// Reserves it for the session of a record of VIS.
    pub(super) fn reservation(&self, cdr: &Cdr, limit: i64) -> VoucherReservation {
        self.reservation_of(cdr, vis(), limit)
    }

    pub(super) fn reservation_of(&self, cdr: &Cdr, operator: PartyId, limit: i64) -> VoucherReservation {
        VoucherReservation {
            agreement: cdr.agreement,
            spent: self.spend(cdr, operator, limit),
            expires_at: later(cdr.accepted_at, 12 * HOUR),
        }
    }

    pub(super) fn nullifier(&self) -> Nullifier {
        self.signed.voucher.nullifier()
    }
}

/// The record, paid for by a voucher that was reserved for its session.
pub(super) fn paid_with(cdr: &Cdr, reservation: &VoucherReservation) -> Cdr {
    let spent = &reservation.spent;
    Cdr {
        acceptance: spent.signature,
        payer: Payer::Voucher { nullifier: spent.voucher.voucher.nullifier() },
        ..cdr.clone()
    }
}

/// HOM's vouchers are taken by VIS and by UTI.
pub(super) struct World {
    pub(super) chain: Chain,
    pub(super) roaming: [Roaming; 2],
}

impl World {
    pub(super) fn new() -> Self {
        let mut chain = Chain::new();
        let roaming = [vis(), uti()].map(|cpo| chain.agree(terms(hom(), cpo)));
        for emsp in [hom(), uti()] {
            chain.ok(emsp, publish_voucher_key(emsp));
        }
        Self { chain, roaming }
    }

    fn held(&self, number: u32) -> Held {
        voucher_of(self.chain.network, hom(), number)
    }

    fn state(&self, held: &Held) -> Option<VoucherState> {
        query::voucher(&self.chain.state, hom(), held.nullifier()).unwrap()
    }

    /// A session of 10 kWh, hence 10 EUR, at VIS in the morning.
    fn cdr(&self, number: u32) -> Cdr {
        self.roaming[0].cdr(number, on(1, 20, 8), 10_000)
    }

    #[track_caller]
    fn refuses(&mut self, sender: PartyId, tx: Tx, code: RejectCode) {
        let before = self.chain.digest();
        assert_eq!(self.chain.refused(sender, tx), code);
        assert_eq!(self.chain.digest(), before, "a refusal changed the state");
    }
}

#[test]
fn a_voucher_is_reserved_for_a_session_and_spent_by_its_record() {
    let mut world = World::new();
    let (held, cdr) = (world.held(1), world.cdr(1));
    assert_eq!(query::voucher_keys(&world.chain.state, hom()).unwrap().len(), 1);
    assert_eq!(query::voucher_keys(&world.chain.state, vis()).unwrap(), []);
    assert_eq!(world.state(&held), None);

    let reservation = held.reservation(&cdr, 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    assert_eq!(world.chain.used(cdr.agreement.id), 20 * EUR);
    let key = StateKey::Reservation(cdr.agreement.id, cdr.session);
    let day = on(1, 20, 20).utc_day();
    assert_eq!(world.chain.read::<Reservation>(&key), Some(Reservation { amount: 20 * EUR, day }));
    let SpentVoucher { acceptance, signature, .. } = reservation.spent;
    let reserved = VoucherState::Reserved {
        agreement: cdr.agreement.id,
        session: cdr.session,
        acceptance: acceptance_digest(&acceptance, &signature),
        limit: 20 * EUR,
        // A day to begin, a day to charge, thirty to record.
        final_after: later(on(1, 20, 8), 32 * DAY),
    };
    assert_eq!(world.state(&held), Some(reserved));

    world.chain.record(&paid_with(&cdr, &reservation), vis());
    let spent = VoucherState::Spent { operator: vis(), cdr: cdr.id.clone(), amount: 10 * EUR };
    assert_eq!(world.state(&held), Some(spent));
    assert_eq!(world.chain.used(cdr.agreement.id), 10 * EUR);
    assert_eq!(world.chain.read::<Reservation>(&key), None);
    assert_eq!(world.chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), 10 * EUR);
    assert_eq!(world.chain.cdr(&cdr).amount, 10 * EUR);
}

#[test]
fn a_resent_reservation_is_told_from_a_spent_voucher() {
    let mut world = World::new();
    let (held, cdr) = (world.held(1), world.cdr(1));
    let reservation = held.reservation(&cdr, 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    world.refuses(vis(), reserve_vouchers([reservation.clone()]), RejectCode::DuplicateReservation);
    // Another time of release of the credit is not another reservation.
    let other = VoucherReservation { expires_at: later(cdr.accepted_at, HOUR), ..reservation.clone() };
    world.refuses(vis(), reserve_vouchers([other]), RejectCode::DuplicateReservation);
    // Another limit, quote, time or session is.
    let others = [
        held.reservation(&cdr, 21 * EUR),
        held.reservation(&Cdr { quote: Digest::ZERO, ..cdr.clone() }, 20 * EUR),
        held.reservation(&Cdr { accepted_at: on(1, 20, 7), ..cdr.clone() }, 20 * EUR),
        held.reservation(&world.cdr(2), 20 * EUR),
    ];
    for other in others {
        world.refuses(vis(), reserve_vouchers([other]), RejectCode::VoucherSpent);
    }
    world.chain.record(&paid_with(&cdr, &reservation), vis());
    world.refuses(vis(), reserve_vouchers([reservation]), RejectCode::VoucherSpent);
}

#[test]
fn a_session_has_one_voucher_and_is_not_reserved_in_two_ways() {
    let mut world = World::new();
    let cdr = world.cdr(1);
    let [first, second] = [1, 2].map(|n| world.held(n).reservation(&cdr, 20 * EUR));
    let credit = world.roaming[0].reservation(1, on(1, 20, 8), EUR);
    let mut other = World { chain: world.chain.fork(), roaming: world.roaming.clone() };
    world.chain.ok(vis(), reserve_vouchers([first.clone()]));
    world.refuses(vis(), reserve_vouchers([second]), RejectCode::SessionReserved);
    world.refuses(vis(), reserve([credit.clone()]), RejectCode::DuplicateReservation);
    other.chain.ok(vis(), reserve([credit]));
    // The operator must not think that it can be paid by the voucher.
    other.refuses(vis(), reserve_vouchers([first]), RejectCode::SessionReserved);
}

#[test]
fn of_two_operators_that_reserve_one_voucher_exactly_one_wins_in_either_order() {
    for first in [0, 1] {
        let mut world = World::new();
        let held = world.held(1);
        let claims = [0, 1].map(|n: usize| {
            let operator = world.roaming[n].terms.cpo;
            let cdr = world.roaming[n].cdr(1, on(1, 20, 8), 10_000);
            let reservation = held.reservation_of(&cdr, operator, 20 * EUR);
            (operator, paid_with(&cdr, &reservation), reservation)
        });
        let (winner, loser) = (&claims[first], &claims[1 - first]);
        world.chain.ok(winner.0, reserve_vouchers([winner.2.clone()]));
        world.refuses(loser.0, reserve_vouchers([loser.2.clone()]), RejectCode::VoucherSpent);
        // Nor can the loser record with it, before or after it was spent, nor with the winner's signature.
        let borrowed = Cdr { acceptance: winner.1.acceptance, ..loser.1.clone() };
        for cdr in [&loser.1, &borrowed] {
            world.refuses(loser.0, records([cdr.clone()]), RejectCode::UnknownVoucher);
        }
        world.chain.record(&winner.1, winner.0);
        world.refuses(loser.0, records([loser.1.clone()]), RejectCode::UnknownVoucher);
        assert_eq!(world.chain.used(loser.1.agreement.id), 0);
    }
}

#[test]
fn two_sessions_in_one_batch_do_not_share_a_voucher() {
    let mut world = World::new();
    let held = world.held(1);
    let items = [1, 2, 1].map(|n| held.reservation(&world.cdr(n), 20 * EUR));
    let items = world.chain.submit(vis(), reserve_vouchers(items));
    let refusals: Vec<_> = items.iter().map(|i| i.outcome.rejection()).collect();
    let expected = [None, Some(RejectCode::VoucherSpent), Some(RejectCode::DuplicateReservation)];
    assert_eq!(refusals, expected);
    assert_eq!(world.chain.used(world.roaming[0].at.id), 20 * EUR);
}

#[test]
fn nobody_spends_a_voucher_that_was_made_out_to_another_operator() {
    let mut world = World::new();
    let held = world.held(1);
    // UTI has seen the reservation on the ledger, or in a letter.
    let of_vis = held.reservation(&world.cdr(1), 20 * EUR);
    let stolen = VoucherReservation { agreement: world.roaming[1].at, ..of_vis };
    world.refuses(uti(), reserve_vouchers([stolen.clone()]), RejectCode::WrongOperator);
    let mut claimed = stolen;
    claimed.spent.acceptance.operator = uti();
    world.refuses(uti(), reserve_vouchers([claimed]), RejectCode::ForgedAcceptance);
}

#[test]
fn a_record_is_held_to_what_the_driver_accepted() {
    let mut world = World::new();
    let (held, cdr) = (world.held(1), world.cdr(1));
    let reservation = held.reservation(&cdr, 10 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    let right = paid_with(&cdr, &reservation);
    let mut dearer = right.clone();
    dearer.energy = WattHours::from_wh(10_010).unwrap();
    dearer.periods[0].energy = dearer.energy;
    world.roaming[0].reprice(&mut dearer);
    let cases = [
        (RejectCode::AcceptanceDiffers, Cdr { quote: Digest::ZERO, ..right.clone() }),
        (RejectCode::AcceptanceDiffers, Cdr { accepted_at: on(1, 20, 7), ..right.clone() }),
        (RejectCode::AcceptanceDiffers, Cdr { acceptance: SignatureBytes([7; 64]), ..right.clone() }),
        (RejectCode::VoucherLimit, dearer),
        (RejectCode::UnknownVoucher, paid_with(&world.cdr(2), &reservation)),
        (RejectCode::UnknownVoucher, paid_with(&cdr, &world.held(2).reservation(&cdr, EUR))),
    ];
    for (code, cdr) in cases {
        world.refuses(vis(), records([cdr]), code);
    }
    world.chain.record(&right, vis());
    world.refuses(vis(), records([right]), RejectCode::DuplicateRecord);
}

#[test]
fn a_session_under_another_agreement_is_not_paid_by_the_voucher() {
    let mut world = World::new();
    let other = world.chain.agree(terms(uti(), vis()));
    let (held, cdr) = (world.held(1), world.cdr(1));
    let reservation = held.reservation(&cdr, 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    let under_other = paid_with(&other.cdr(1, on(1, 20, 8), 10_000), &reservation);
    world.refuses(vis(), records([under_other]), RejectCode::UnknownVoucher);
}

#[test]
fn a_voucher_pays_the_whole_cap_and_not_a_millionth_more() {
    let mut world = World::new();
    let cdr = world.roaming[0].cdr(1, on(1, 20, 8), 30_000);
    let [first, second] = [1, 2].map(|n| world.held(n));
    world.refuses(vis(), reserve_vouchers([first.reservation(&cdr, 30 * EUR + 1)]), RejectCode::VoucherLimit);
    let reservation = second.reservation(&cdr, 30 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    world.chain.record(&paid_with(&cdr, &reservation), vis());
    let Some(VoucherState::Spent { amount, .. }) = world.state(&second) else { panic!("not spent") };
    assert_eq!(amount, 30 * EUR);
}

#[test]
fn a_station_that_was_offline_reserves_within_the_record_window() {
    let mut world = World::new();
    let (held, cdr) = (world.held(1), world.cdr(1));
    let reservation = held.reservation(&cdr, 20 * EUR);
    world.chain.now = later(cdr.accepted_at, 30 * DAY + 1);
    world.refuses(vis(), reserve_vouchers([reservation.clone()]), RejectCode::TooLate);
    world.chain.now = later(cdr.accepted_at, 30 * DAY);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    world.chain.record(&paid_with(&cdr, &reservation), vis());
}

#[test]
fn a_late_reservation_leaves_the_state_that_it_would_have_left_in_time() {
    let world = World::new();
    let old = world.held(1).reservation(&world.roaming[0].cdr(1, on(1, 5, 8), 10_000), 20 * EUR);
    let new = world.held(2).reservation(&world.cdr(2), 20 * EUR);
    let [in_time, late] = [[&old, &new], [&new, &old]].map(|order| {
        let mut chain = world.chain.fork();
        order.into_iter().for_each(|item| chain.ok(vis(), reserve_vouchers([item.clone()])));
        chain
    });
    assert_eq!(late.digest(), in_time.digest());
    assert_eq!(late.used(world.roaming[0].at.id), 20 * EUR, "the old one's credit is released");
    // Its record is booked all the same.
    let cdr = paid_with(&world.roaming[0].cdr(1, on(1, 5, 8), 10_000), &old);
    let [in_time, late] = [in_time, late].map(|mut chain| {
        chain.record(&cdr, vis());
        chain
    });
    assert_eq!(late.digest(), in_time.digest());
    assert_eq!(late.used(world.roaming[0].at.id), 30 * EUR);
}

#[test]
fn the_validity_of_a_voucher_is_up_to_its_last_instant() {
    let mut world = World::new();
    let held = world.held(1);
    let Voucher { valid_from, valid_until, .. } = held.signed.voucher;
    world.chain.now = later(valid_until, DAY);
    let sooner = |time: UnixMillis| time.checked_sub(DurationMs::from_millis(1)).unwrap();
    for (number, at, code) in
        [(1, later(valid_until, 1), Some(RejectCode::VoucherNotValid)), (2, valid_until, None)]
    {
        let cdr = world.roaming[0].cdr(number, at, 10_000);
        let items = world.chain.submit(vis(), reserve_vouchers([held.reservation(&cdr, EUR)]));
        assert_eq!(items[0].outcome.rejection(), code, "{at}");
    }
    // Before its first instant there is no agreement in this world: it begins with the voucher's key.
    let key = VoucherKey { public: PublicKey::of(&signer_of(hom())), valid_from, valid_until };
    let early = world.roaming[0].cdr(3, sooner(valid_from), 10_000);
    let spent = held.spend(&early, vis(), EUR);
    let check = |spent: &SpentVoucher, keys: &[VoucherKey]| {
        check_spent(spent, world.chain.network, vis(), &world.roaming[0].terms, keys)
    };
    assert_eq!(check(&spent, &[key]), Err(RejectCode::VoucherNotValid));
    let fine = held.spend(&world.roaming[0].cdr(3, valid_from, 10_000), vis(), EUR);
    assert_eq!(check(&fine, &[key]), Ok(()));
    // The key must be valid as long as the voucher, to the millisecond.
    for short in [
        VoucherKey { valid_from: later(valid_from, 1), ..key },
        VoucherKey { valid_until: sooner(valid_until), ..key },
    ] {
        assert_eq!(check(&fine, &[short]), Err(RejectCode::VoucherKeyNotValid));
    }
    assert_eq!(check(&fine, &[]), Err(RejectCode::UnknownVoucherKey));
}

#[test]
fn a_voucher_names_the_key_that_signed_it() {
    let mut world = World::new();
    let next = key_of("next voucher key");
    let (valid_from, valid_until) = (on(1, 10, 0), on(6, 1, 0));
    let public = PublicKey::of(&next);
    world.chain.ok(hom(), Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until }));
    let keys = query::voucher_keys(&world.chain.state, hom()).unwrap();
    assert_eq!(keys[1..], [VoucherKey { public, valid_from, valid_until }]);
    let voucher = Voucher { key: 1, valid_from, ..world.held(1).signed.voucher };
    let signed = |key: &SigningKey| SignedVoucher { voucher, signature: signature(key, voucher.digest()) };
    let cdr = world.cdr(1);
    let by = |key: &SigningKey| Held { signed: signed(key), key: world.held(1).key }.reservation(&cdr, EUR);
    let (wrong, right) = (by(&signer_of(hom())), by(&next));
    world.refuses(vis(), reserve_vouchers([wrong]), RejectCode::ForgedVoucher);
    world.chain.ok(vis(), reserve_vouchers([right]));
}

#[test]
fn what_was_reserved_before_its_key_was_revoked_is_paid_and_nothing_is_reserved_afterwards() {
    let mut world = World::new();
    let (cdr, next) = (world.cdr(1), key_of("next voucher key"));
    let before = world.held(1).reservation(&cdr, 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([before.clone()]));
    world.chain.ok(hom(), revoke_voucher_key(0));
    world.refuses(hom(), revoke_voucher_key(0), RejectCode::VoucherKeyRevoked);
    // Sent again by an operator that does not know what became of it; changed, it is another one.
    world.refuses(vis(), reserve_vouchers([before.clone()]), RejectCode::DuplicateReservation);
    let changed = world.held(1).reservation(&cdr, 19 * EUR);
    world.refuses(vis(), reserve_vouchers([changed]), RejectCode::VoucherKeyRevoked);
    // Agreed to before the revocation or after it: the times are the holder's.
    for (number, at) in [(2, cdr.accepted_at), (3, world.chain.now)] {
        let late = world.held(2).reservation(&world.roaming[0].cdr(number, at, 10_000), EUR);
        world.refuses(vis(), reserve_vouchers([late]), RejectCode::VoucherKeyRevoked);
    }
    world.chain.record(&paid_with(&cdr, &before), vis());
    assert!(matches!(world.state(&world.held(1)), Some(VoucherState::Spent { .. })));
    // Another key of the same home utility is not touched by it.
    let (valid_from, valid_until) = (on(1, 10, 0), on(6, 1, 0));
    let public = PublicKey::of(&next);
    world.chain.ok(hom(), Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until }));
    let voucher = Voucher { key: 1, valid_from, ..world.held(4).signed.voucher };
    let signed = SignedVoucher { voucher, signature: signature(&next, voucher.digest()) };
    let held = Held { signed, key: world.held(4).key };
    let cdr = world.cdr(4);
    world.chain.ok(vis(), reserve_vouchers([held.reservation(&cdr, EUR)]));
    // A revoked key cannot be published again.
    world.refuses(hom(), publish_voucher_key(hom()), RejectCode::KeyReused);
}

#[test]
fn unused_vouchers_of_a_revoked_key_are_taken_back_as_others_are() {
    let mut world = World::new();
    let held = world.held(1);
    world.chain.ok(hom(), revoke_voucher_key(0));
    let until = held.signed.voucher.valid_until.checked_add(RESERVABLE_AFTER).unwrap();
    world.chain.now = until;
    world.refuses(hom(), refund([held.signed]), RejectCode::VoucherNotRefundable);
    world.chain.now = later(until, 1);
    world.chain.ok(hom(), refund([held.signed]));
}

#[test]
fn a_key_is_refused_for_each_fault() {
    let world = World::new();
    let public = PublicKey::of(&key_of("next"));
    let from = on(2, 1, 0);
    let publish = |public, valid_from, valid_until| {
        let tx = Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until });
        world.chain.fork().submit(hom(), tx)[0].outcome.rejection()
    };
    let longest = from.checked_add(KEY_VALIDITY_MAX).unwrap();
    assert_eq!(publish(public, from, longest), None);
    assert_eq!(publish(public, from, later(from, 1)), None);
    for (public, valid_from, valid_until) in [
        (PublicKey([0; 32]), from, longest),
        (public, from, from),
        (public, later(from, 1), from),
        (public, from, later(longest, 1)),
    ] {
        assert_eq!(publish(public, valid_from, valid_until), Some(RejectCode::BadVoucherKey));
    }
    let known = PublicKey::of(&signer_of(hom()));
    assert_eq!(publish(known, from, longest), Some(RejectCode::KeyReused));
    // Another member's keys are no concern.
    assert_eq!(publish(PublicKey::of(&signer_of(uti())), from, longest), None);
}

#[test]
fn a_validity_that_is_empty_or_too_long_is_refused() {
    let mut world = World::new();
    let cdr = world.cdr(1);
    let with = |world: &World, valid_from: UnixMillis, valid_until| {
        let held = world.held(1);
        let signed = sign(Voucher { valid_from, valid_until, ..held.signed.voucher });
        Held { signed, ..held }.reservation(&cdr, EUR)
    };
    let from = on(1, 10, 0);
    let longest = from.checked_add(VALIDITY_MAX).unwrap();
    for until in [from, on(1, 9, 0), later(longest, 1)] {
        let tx = reserve_vouchers([with(&world, from, until)]);
        world.refuses(vis(), tx, RejectCode::BadVoucherValidity);
    }
    let tx = reserve_vouchers([with(&world, from, longest)]);
    world.chain.ok(vis(), tx);
}

#[test]
fn nothing_is_reserved_whose_record_could_come_after_the_last_date_there_is() {
    let mut world = World::new();
    let last = UnixMillis::new(253_402_300_799_999).unwrap();
    let ago = |days: u64| last.checked_sub(DurationMs::from_millis(days * DAY)).unwrap();
    let (valid_from, valid_until) = (ago(40), ago(1));
    let key = VoucherKey { public: PublicKey::of(&signer_of(hom())), valid_from, valid_until };
    world.chain.put(&StateKey::VoucherKeys(hom()), &vec![key]);
    let held = world.held(1);
    let held = Held { signed: sign(Voucher { valid_from, valid_until, ..held.signed.voucher }), ..held };
    world.chain.now = ago(2);
    // A record may come 32 days later.
    for (days, code) in [(31, Some(RejectCode::Overflow)), (32, None)] {
        let cdr = world.roaming[0].cdr(1, ago(days), 0);
        let items = world.chain.submit(vis(), reserve_vouchers([held.reservation(&cdr, EUR)]));
        assert_eq!(items[0].outcome.rejection(), code, "{days} days before");
    }
}

#[test]
fn an_unused_voucher_is_refunded_when_no_reservation_can_come() {
    let mut world = World::new();
    // The longest record window there is.
    let mut longest = terms(hom(), vis());
    longest.record_window = RESERVABLE_AFTER;
    let roaming = world.chain.amend(&world.roaming[0].clone(), longest, on(1, 2, 0));
    let held = world.held(1);
    let last = held.signed.voucher.valid_until;
    let cdr = roaming.cdr(1, last, 10_000);
    let until = last.checked_add(RESERVABLE_AFTER).unwrap();
    world.chain.now = until;
    world.refuses(hom(), refund([held.signed]), RejectCode::VoucherNotRefundable);
    // That it can still come shows on a fork.
    let mut reserved = World { chain: world.chain.fork(), roaming: world.roaming.clone() };
    reserved.chain.ok(vis(), reserve_vouchers([held.reservation(&cdr, EUR)]));
    world.chain.now = later(until, 1);
    world.refuses(vis(), reserve_vouchers([held.reservation(&cdr, EUR)]), RejectCode::TooLate);
    world.chain.ok(hom(), refund([held.signed]));
    assert_eq!(world.state(&held), Some(VoucherState::Refunded));
    world.refuses(hom(), refund([held.signed]), RejectCode::AlreadyRefunded);
    world.refuses(hom(), block([held.nullifier()]), RejectCode::AlreadyRefunded);
}

#[test]
fn a_reserved_voucher_is_refunded_when_no_record_can_come() {
    let mut world = World::new();
    // As late and as long as a session may be.
    let (held, cdr) = (world.held(1), world.cdr(1));
    let reservation = held.reservation(&cdr, 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    let mut latest = world.roaming[0].cdr(1, later(cdr.accepted_at, DAY), 10_000);
    latest.end = later(latest.start, DAY);
    latest.accepted_at = cdr.accepted_at;
    world.roaming[0].reprice(&mut latest);
    let latest = paid_with(&latest, &reservation);
    let final_after = later(latest.end, 30 * DAY);
    world.chain.now = final_after;
    world.refuses(hom(), refund([held.signed]), RejectCode::VoucherNotRefundable);
    let mut in_time = world.chain.fork();
    in_time.record(&latest, vis());
    in_time.now = later(final_after, 1);
    assert_eq!(in_time.refused(hom(), refund([held.signed])), RejectCode::VoucherSpent);
    world.chain.now = later(final_after, 1);
    world.refuses(vis(), records([latest.clone()]), RejectCode::TooLate);
    world.chain.ok(hom(), refund([held.signed]));
    world.refuses(vis(), records([latest]), RejectCode::UnknownVoucher);
    world.refuses(vis(), reserve_vouchers([reservation]), RejectCode::TooLate);
}

#[test]
fn nobody_refunds_or_blocks_anothers_voucher() {
    let mut world = World::new();
    let held = world.held(1);
    world.chain.now = on(6, 1, 0);
    world.refuses(uti(), refund([held.signed]), RejectCode::WrongVoucherIssuer);
    let claimed = sign(Voucher { emsp: uti(), ..held.signed.voucher });
    // UTI blocks a voucher of its own with the same holder; HOM's is another.
    world.chain.ok(uti(), block([claimed.voucher.nullifier()]));
    assert_eq!(world.state(&held), None);
    world.chain.ok(hom(), refund([held.signed]));
    world.refuses(uti(), refund([claimed]), RejectCode::AlreadyBlocked);
}

#[test]
fn a_blocked_voucher_is_worth_nothing_and_a_reserved_one_is_not_blocked() {
    let mut world = World::new();
    let [lost, reserved] = [1, 2].map(|n| world.held(n));
    let cdrs = [1, 2].map(|n| world.cdr(n));
    world.chain.ok(hom(), block([lost.nullifier()]));
    assert_eq!(world.state(&lost), Some(VoucherState::Blocked));
    let tx = reserve_vouchers([lost.reservation(&cdrs[0], EUR)]);
    world.refuses(vis(), tx, RejectCode::VoucherSpent);
    world.refuses(hom(), block([lost.nullifier()]), RejectCode::AlreadyBlocked);
    let reservation = reserved.reservation(&cdrs[1], 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    world.refuses(hom(), block([reserved.nullifier()]), RejectCode::VoucherSpent);
    // The promise stands.
    world.chain.record(&paid_with(&cdrs[1], &reservation), vis());
    world.refuses(hom(), block([reserved.nullifier()]), RejectCode::VoucherSpent);
}

#[test]
fn a_reserved_voucher_survives_that_its_agreement_ends_and_its_credit_expires() {
    use crate::agreement::AgreementTx;
    let mut world = World::new();
    let (held, cdr) = (world.held(1), world.cdr(1));
    let reservation = held.reservation(&cdr, 20 * EUR);
    world.chain.ok(vis(), reserve_vouchers([reservation.clone()]));
    let AgreementRef { id, .. } = cdr.agreement;
    world.chain.ok(hom(), Tx::Agreement(AgreementTx::Terminate { id, at: world.chain.now }));
    world.chain.now = later(cdr.end, 30 * DAY);
    world.chain.record(&paid_with(&cdr, &reservation), vis());
}

#[test]
fn one_changed_bit_of_a_spent_voucher_is_refused() {
    let world = World::new();
    let cdr = world.cdr(1);
    let reservation = world.held(1).reservation(&cdr, 20 * EUR);
    let keys = query::voucher_keys(&world.chain.state, hom()).unwrap();
    let (network, terms) = (world.chain.network, &world.roaming[0].terms);
    let check = |spent: &SpentVoucher| check_spent(spent, network, vis(), terms, &keys);
    assert_eq!(check(&reservation.spent), Ok(()));
    let bytes = codec::to_bytes(&reservation.spent);
    let mut read = 0;
    for place in 0..bytes.len() {
        for bit in 0..8 {
            let mut changed = bytes.clone();
            changed[place] ^= 1 << bit;
            if let Ok(spent) = codec::from_bytes::<SpentVoucher>(&changed) {
                assert!(check(&spent).is_err(), "bit {bit} of byte {place}");
                read += 1;
            }
        }
    }
    assert!(read > bytes.len() * 6, "most changes can be read: {read} of {} bytes", bytes.len());
}

#[test]
fn a_changed_field_of_a_spent_voucher_is_refused_by_the_ledger() {
    let world = World::new();
    let reservation = world.held(1).reservation(&world.cdr(1), 20 * EUR);
    type Change = fn(&mut SpentVoucher);
    let changes: [(RejectCode, Change); 16] = [
        (RejectCode::ForeignVoucher, |s| s.voucher.voucher.network = Digest::ZERO),
        (RejectCode::WrongVoucherIssuer, |s| s.voucher.voucher.emsp = uti()),
        (RejectCode::UnknownVoucherKey, |s| s.voucher.voucher.key = 1),
        (RejectCode::ForgedVoucher, |s| s.voucher.voucher.holder = OneTimeKey([7; 32])),
        (RejectCode::ForgedVoucher, |s| s.voucher.voucher.cap.micros += 1),
        (RejectCode::WrongCurrency, |s| s.voucher.voucher.cap.currency = usd()),
        (RejectCode::ForgedVoucher, |s| s.voucher.voucher.valid_from = on(1, 2, 0)),
        (RejectCode::ForgedVoucher, |s| s.voucher.voucher.valid_until = on(2, 21, 0)),
        (RejectCode::ForgedVoucher, |s| s.voucher.signature.0[9] ^= 1),
        (RejectCode::ForgedAcceptance, |s| s.acceptance.session = Digest::ZERO),
        (RejectCode::WrongOperator, |s| s.acceptance.operator = uti()),
        (RejectCode::ForgedAcceptance, |s| s.acceptance.quote = Digest::ZERO),
        (RejectCode::ForgedAcceptance, |s| s.acceptance.limit += 1),
        (RejectCode::ForgedAcceptance, |s| s.acceptance.accepted_at = on(1, 20, 9)),
        (RejectCode::ForgedAcceptance, |s| s.signature.0[9] ^= 1),
        (RejectCode::ForgedVoucher, |s| {
            // Signed by its holder instead.
            s.voucher.signature = signature(&key_of("holder 1"), s.voucher.voucher.digest());
        }),
    ];
    for (place, (code, change)) in changes.into_iter().enumerate() {
        let mut item = reservation.clone();
        change(&mut item.spent);
        let before = world.chain.digest();
        let mut chain = world.chain.fork();
        assert_eq!(chain.refused(vis(), reserve_vouchers([item])), code, "change {place}");
        assert_eq!(chain.digest(), before);
    }
}

#[test]
fn a_weak_one_time_key_signs_nothing() {
    let mut world = World::new();
    // The neutral point, for which a signature that holds for every message can be made up.
    let mut weak = [0; 32];
    weak[0] = 1;
    let signed = sign(Voucher { holder: OneTimeKey(weak), ..world.held(1).signed.voucher });
    let mut item = Held { signed, key: key_of("holder 1") }.reservation(&world.cdr(1), EUR);
    let mut forged = [0; 64];
    forged[0] = 1;
    item.spent.signature = SignatureBytes(forged);
    world.refuses(vis(), reserve_vouchers([item]), RejectCode::ForgedAcceptance);
}

#[test]
fn a_batch_of_none_or_257_is_refused_whole_and_256_are_taken() {
    let mut world = World::new();
    // A cent each, so that the credit is enough.
    let all: Vec<(Held, VoucherReservation)> =
        (0..257).map(|n| (world.held(n), world.held(n).reservation(&world.cdr(n), EUR / 100))).collect();
    let batch = |count| all[..count].iter().map(|(_, r)| r.clone());
    let vouchers = |count| all[..count].iter().map(|(held, _)| held.signed);
    let nullifiers = |count| all[..count].iter().map(|(held, _)| held.nullifier());
    for count in [0, 257] {
        world.refuses(vis(), reserve_vouchers(batch(count)), RejectCode::BatchSize);
        world.refuses(hom(), refund(vouchers(count)), RejectCode::BatchSize);
        world.refuses(hom(), block(nullifiers(count)), RejectCode::BatchSize);
    }
    let mut other = world.chain.fork();
    world.chain.ok(vis(), reserve_vouchers(batch(256)));
    assert_eq!(world.chain.used(world.roaming[0].at.id), 256 * EUR / 100);
    world.chain.now = on(6, 1, 0);
    world.chain.ok(hom(), refund(vouchers(256)));
    other.ok(hom(), block(nullifiers(256)));
}

#[test]
fn reservations_with_and_without_vouchers_share_one_credit_limit() {
    let mut world = World::new();
    let roaming = world.roaming[0].clone();
    world.chain.ok(vis(), reserve([roaming.reservation(9, on(1, 20, 8), 975 * EUR)]));
    let items = [1, 2].map(|n| world.held(n).reservation(&world.cdr(n), 20 * EUR));
    let items = world.chain.submit(vis(), reserve_vouchers(items));
    let refusals: Vec<_> = items.iter().map(|i| i.outcome.rejection()).collect();
    assert_eq!(refusals, [None, Some(RejectCode::CreditExhausted)]);
    assert_eq!(world.state(&world.held(2)), None, "it can be used elsewhere");
}

/// One thing that somebody tries with one of a few vouchers and sessions.
#[derive(Clone, Debug)]
enum Try {
    Reserve { operator: u8, voucher: u8, session: u8, euros: u8, altered: bool },
    Record { operator: u8, claim: u8, session: Option<u8>, kwh: u8 },
    Block { voucher: u8, by_other: bool },
    Refund { voucher: u8, by_other: bool },
    Wait { days: u8 },
}

fn attempts() -> impl Strategy<Value = Vec<Try>> {
    let b = any::<u8>;
    let one = prop_oneof![
        6 => (b(), 0u8..4, 0u8..6, 0u8..35, prop::bool::weighted(0.1)).prop_map(
            |(operator, voucher, session, euros, altered)| Try::Reserve { operator, voucher, session, euros, altered }
        ),
        6 => (b(), b(), prop::option::weighted(0.2, 0u8..6), 0u8..40)
            .prop_map(|(operator, claim, session, kwh)| Try::Record { operator, claim, session, kwh }),
        1 => (0u8..4, prop::bool::weighted(0.2)).prop_map(|(voucher, by_other)| Try::Block { voucher, by_other }),
        2 => (0u8..4, prop::bool::weighted(0.2)).prop_map(|(voucher, by_other)| Try::Refund { voucher, by_other }),
        2 => prop_oneof![2 => 0u8..3, 1 => 30u8..60].prop_map(|days| Try::Wait { days }),
    ];
    proptest::collection::vec(one, 1..40)
}

/// What somebody has in hand after a driver's yes: operator 0 is VIS, 1 is UTI.
struct Claim {
    operator: usize,
    voucher: u32,
    cdr: Cdr,
    reservation: VoucherReservation,
}

/// Whether a voucher may go from one state to another.
fn may_become(before: Option<&VoucherState>, after: Option<&VoucherState>) -> bool {
    use VoucherState::{Blocked, Refunded, Reserved, Spent};
    before == after
        || matches!(
            (before, after),
            (None, Some(Reserved { .. } | Blocked | Refunded))
                | (Some(Reserved { .. }), Some(Spent { .. } | Refunded))
        )
}

/// What came of some attempts.
struct Played {
    world: World,
    /// By voucher: what the records that were booked with it amount to.
    booked: BTreeMap<Nullifier, Vec<i64>>,
    /// How often each new state was reached, by its name.
    reached: BTreeMap<&'static str, usize>,
}

fn name_of(state: &VoucherState) -> &'static str {
    match state {
        VoucherState::Reserved { .. } => "reserved",
        VoucherState::Spent { .. } => "spent",
        VoucherState::Refunded => "refunded",
        VoucherState::Blocked => "blocked",
    }
}

impl Played {
    fn new() -> Self {
        Self { world: World::new(), booked: BTreeMap::new(), reached: BTreeMap::new() }
    }

    fn states(&self) -> Vec<Option<VoucherState>> {
        (0..4).map(|n| self.world.state(&self.world.held(n))).collect()
    }

    fn take(&mut self, attempt: &Try, claims: &mut Vec<Claim>) {
        let world = &mut self.world;
        match attempt {
            Try::Reserve { operator, voucher, session, euros, altered } => {
                let operator = usize::from(operator % 2);
                let roaming = &world.roaming[operator];
                let start = later(on(1, 20, 0), u64::from(*session) * HOUR);
                let cdr = roaming.cdr((*session).into(), start, 0);
                let held = world.held((*voucher).into());
                let limit = i64::from(*euros) * EUR;
                let mut reservation = held.reservation_of(&cdr, roaming.terms.cpo, limit);
                if *altered {
                    reservation.spent.acceptance.limit += 1;
                }
                let tx = reserve_vouchers([reservation.clone()]);
                let outcome = world.chain.submit(roaming.terms.cpo, tx)[0].outcome;
                assert!(!(*altered && outcome.is_accepted()));
                claims.push(Claim { operator, voucher: (*voucher).into(), cdr, reservation });
            }
            Try::Record { operator, claim, session, kwh } => {
                let Some(claim) = claims.get(usize::from(*claim) % claims.len().max(1)) else { return };
                // Sometimes the other operator, or for another session.
                let operator = if *operator < 220 { claim.operator } else { 1 - claim.operator };
                let roaming = &world.roaming[operator];
                let mut cdr = match session {
                    None if operator == claim.operator => claim.cdr.clone(),
                    session => roaming.cdr(session.map_or(claim.voucher, u32::from), claim.cdr.start, 0),
                };
                let energy = WattHours::from_wh(u64::from(*kwh) * 1_000).unwrap();
                (cdr.energy, cdr.periods[0].energy) = (energy, energy);
                roaming.reprice(&mut cdr);
                let cdr = paid_with(&cdr, &claim.reservation);
                let tx = records([cdr.clone()]);
                if world.chain.submit(roaming.terms.cpo, tx)[0].outcome.is_accepted() {
                    assert!(cdr.price.incl_vat <= claim.reservation.spent.acceptance.limit);
                    assert_eq!(operator, claim.operator, "the other operator was paid");
                    let nullifier = claim.reservation.spent.voucher.voucher.nullifier();
                    self.booked.entry(nullifier).or_default().push(cdr.price.incl_vat);
                }
            }
            Try::Block { voucher, by_other } => {
                let by = if *by_other { uti() } else { hom() };
                let nullifier = world.held((*voucher).into()).nullifier();
                world.chain.submit(by, block([nullifier]));
            }
            Try::Refund { voucher, by_other } => {
                let by = if *by_other { uti() } else { hom() };
                let signed = world.held((*voucher).into()).signed;
                world.chain.submit(by, refund([signed]));
            }
            Try::Wait { days } => {
                world.chain.now = later(world.chain.now, u64::from(*days) * DAY);
            }
        }
    }

    fn play(attempts: &[Try]) -> Self {
        let mut played = Self::new();
        let mut claims = Vec::new();
        for attempt in attempts {
            let before = played.states();
            played.take(attempt, &mut claims);
            for (before, after) in before.iter().zip(played.states()) {
                assert!(may_become(before.as_ref(), after.as_ref()), "{before:?} became {after:?}");
                if let Some(after) = after.as_ref().filter(|after| before.as_ref() != Some(after)) {
                    *played.reached.entry(name_of(after)).or_default() += 1;
                }
            }
        }
        played
    }

    /// What all operators are owed.
    fn receivable(&self) -> i64 {
        let amount = |(key, value): (&[u8], &[u8])| match codec::from_bytes(key).unwrap() {
            StateKey::Account(Account::Receivable(..)) => codec::from_bytes::<i64>(value).unwrap(),
            _ => 0,
        };
        self.world.chain.state.iter().map(amount).sum()
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(96) })]

    #[test]
    fn a_voucher_is_spent_at_most_once_within_its_limit_whoever_tries_what(attempts in attempts()) {
        let played = Played::play(&attempts);
        for n in 0..4 {
            let held = played.world.held(n);
            let amounts = played.booked.get(&held.nullifier()).cloned().unwrap_or_default();
            prop_assert!(amounts.len() <= 1, "spent {} times", amounts.len());
            let spent = match played.world.state(&held) {
                Some(VoucherState::Spent { amount, .. }) => vec![amount],
                _ => Vec::new(),
            };
            prop_assert_eq!(&amounts, &spent);
            prop_assert!(amounts.iter().all(|amount| *amount <= held.signed.voucher.cap.micros));
        }
        // Nothing else is owed than what was booked.
        prop_assert_eq!(played.receivable(), played.booked.values().flatten().sum::<i64>());
        for (_, sum) in ledger_balance(played.world.chain.state.iter()).unwrap() {
            prop_assert_eq!(sum, 0);
        }
    }
}

/// A property about vouchers of which few are ever spent, refunded or blocked would prove nothing.
#[test]
fn the_attempts_reach_every_state() {
    use proptest::strategy::ValueTree as _;
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut reached: BTreeMap<&str, usize> = BTreeMap::new();
    for _ in 0..48 {
        let played = Played::play(&attempts().new_tree(&mut runner).unwrap().current());
        for (name, count) in played.reached {
            *reached.entry(name).or_default() += count;
        }
    }
    assert_eq!(reached.len(), 4, "{reached:?}");
    assert!(reached.values().all(|count| *count > 10), "{reached:?}");
}
