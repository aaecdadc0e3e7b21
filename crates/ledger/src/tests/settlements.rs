//! Money: netting, payment, payouts, late bookings, credit, shares and disputes, with the numbers worked by hand.
//!
//! The tariff is 1 EUR per kWh, so a session of 10 kWh costs 10 EUR.

use super::fixture::*;
use crate::agreement::AgreementTx;
use crate::cdr::CdrTx;
use crate::query;
use crate::reject::{ItemOutcome, RejectCode};
use crate::settlement::{NetPosition, PAIR_BALANCE_MAX, PAIRS_MAX, Reservation};
use crate::state::{Account, StateKey, ledger_balance};
use crate::tx::Tx;
use eroam_domain::agreement::{AgreedCost, RoamingAgreement, Shares, SurplusShare, VatTreatment, WINDOW_MAX};
use eroam_domain::cdr::{Adjustment, Cdr, CdrStatus, EvsePseudonym};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::money::Price;
use eroam_domain::quantity::{BasisPoints, DurationMs};
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{PeriodKind, SettlementPeriod};

/// HOM -> VIS, and HOM -> UTI, and UTI -> VIS.
fn three_parties() -> (Chain, [Roaming; 3]) {
    let mut chain = Chain::new();
    let pairs = [(hom(), vis()), (hom(), uti()), (uti(), vis())];
    let roaming = pairs.map(|(emsp, cpo)| chain.agree(terms(emsp, cpo)));
    (chain, roaming)
}

fn one_pair(terms: RoamingAgreement) -> (Chain, Roaming) {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms);
    (chain, roaming)
}

/// Records sessions of at most 50 kWh, hour after hour, until they cost so many euros together.
fn charge(chain: &mut Chain, roaming: &Roaming, day: eroam_domain::time::UnixMillis, euros: u64) -> Vec<Cdr> {
    let evse = EvsePseudonym(Digest::of_value("evse", &roaming.terms.emsp).0[..16].try_into().unwrap());
    let mut left = euros;
    let mut cdrs = Vec::new();
    while left > 0 {
        let kwh = left.min(50);
        let place = u64::try_from(cdrs.len()).unwrap();
        let start = later(day, place * HOUR);
        let number =
            u32::try_from(start.utc_hour()).unwrap() + u32::from(roaming.terms.emsp.id().as_bytes()[0]);
        let mut cdr = roaming.cdr(number, start, kwh * 1_000);
        cdr.evse = evse;
        cdrs.push(cdr);
        left -= kwh;
    }
    chain.ok(roaming.terms.cpo, records(cdrs.clone()));
    cdrs
}

fn net(party: PartyId, micros: i64) -> NetPosition {
    NetPosition { party, micros }
}

#[test]
fn three_parties_net_multilaterally() {
    let (mut chain, [hom_vis, hom_uti, uti_vis]) = three_parties();
    charge(&mut chain, &hom_vis, on(1, 10, 0), 60);
    charge(&mut chain, &hom_uti, on(1, 10, 0), 30);
    charge(&mut chain, &uti_vis, on(1, 10, 0), 40);
    assert_eq!(chain.balance(Account::Payable(month(1), hom(), vis(), eur())), -60 * EUR);
    assert_eq!(chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), 60 * EUR);
    // UTI owes 40 and is owed 30: the net of 10 is all that it needs.
    chain.deposit(hom(), 90 * EUR, "hom");
    chain.deposit(uti(), 10 * EUR, "uti");
    chain.now = on(2, 3, 0);
    chain.close(month(1));

    let closed = query::closed_period(&chain.state, month(1), eur()).unwrap().unwrap();
    assert_eq!(closed.net, [net(uti(), -10 * EUR), net(hom(), -90 * EUR), net(vis(), 100 * EUR)]);
    let gross = [(uti(), vis(), 40 * EUR), (hom(), uti(), 30 * EUR), (hom(), vis(), 60 * EUR)];
    assert_eq!(closed.gross, gross);
    assert_eq!([hom(), uti(), vis()].map(|p| chain.cash(p)), [0, 0, 100 * EUR]);
    assert_eq!([hom(), uti(), vis()].map(|p| chain.open(month(1), p)), [0, 0, 0]);
    assert_eq!(chain.balance(Account::Treasury(eur())), -100 * EUR);
    assert_eq!(chain.read::<Vec<SettlementPeriod>>(&StateKey::Unpaid(eur())), None);
    for roaming in [hom_vis, hom_uti, uti_vis] {
        assert_eq!(chain.used(roaming.at.id), 0, "a closed period uses no credit");
    }
}

#[test]
fn what_a_debtor_deposits_is_shared_among_creditors_by_largest_remainder() {
    let (mut chain, [hom_vis, hom_uti, _]) = three_parties();
    charge(&mut chain, &hom_vis, on(1, 10, 0), 20);
    charge(&mut chain, &hom_uti, on(1, 10, 0), 10);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    assert_eq!([hom(), vis(), uti()].map(|p| chain.open(month(1), p)), [-30 * EUR, 20 * EUR, 10 * EUR]);
    assert_eq!(chain.read(&StateKey::Unpaid(eur())), Some(vec![month(1)]));

    // Two thirds of 10.000003 are 6.66666867, a third is 3.33333433: the last millionth goes to the larger remainder,
    // which is not the first in order.
    chain.deposit(hom(), 10_000_003, "part");
    assert_eq!([hom(), vis(), uti()].map(|p| chain.cash(p)), [0, 6_666_669, 3_333_334]);
    chain.deposit(hom(), 20 * EUR, "rest");
    assert_eq!([hom(), vis(), uti()].map(|p| chain.cash(p)), [3, 20 * EUR, 10 * EUR]);
    assert_eq!(chain.read::<Vec<SettlementPeriod>>(&StateKey::Unpaid(eur())), None);
}

#[test]
fn a_deposit_pays_the_oldest_period_first() {
    let (mut chain, [hom_vis, hom_uti, _]) = three_parties();
    charge(&mut chain, &hom_vis, on(1, 10, 0), 20);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    charge(&mut chain, &hom_uti, on(2, 2, 0), 10);
    chain.now = on(3, 3, 0);
    chain.close(month(2));
    chain.deposit(hom(), 25 * EUR, "hom");
    assert_eq!([hom(), vis(), uti()].map(|p| chain.cash(p)), [0, 20 * EUR, 5 * EUR]);
    assert_eq!(chain.read(&StateKey::Unpaid(eur())), Some(vec![month(2)]));
}

#[test]
fn one_treasurer_moves_no_money() {
    let mut chain = Chain::new();
    chain.ok(tr1(), deposit(hom(), 10 * EUR, "ref"));
    assert_eq!(chain.cash(hom()), 0);
    chain.ok(tr2(), deposit(hom(), 10 * EUR, "ref"));
    assert_eq!(chain.cash(hom()), 10 * EUR);
    // A deposit and a payout may have the same reference.
    chain.ok(tr1(), payout(hom(), 10 * EUR, "ref"));
    assert_eq!(chain.cash(hom()), 10 * EUR);
}

#[test]
fn a_payout_leaves_what_is_left() {
    let mut chain = Chain::new();
    chain.deposit(hom(), 10 * EUR, "in");
    for treasurer in [tr1(), tr2()] {
        chain.ok(treasurer, payout(hom(), 4 * EUR, "out"));
    }
    assert_eq!(chain.cash(hom()), 6 * EUR);
    assert_eq!(chain.balance(Account::Treasury(eur())), -6 * EUR);
    assert_eq!(chain.refused(tr1(), payout(hom(), 6 * EUR + 1, "more")), RejectCode::InsufficientFunds);
    for treasurer in [tr1(), tr2()] {
        chain.ok(treasurer, payout(hom(), 6 * EUR, "all"));
    }
    assert_eq!(chain.read::<i64>(&StateKey::Attested(eur())), None);
    assert_eq!(ledger_balance(chain.state.iter()).unwrap().get(&eur()), None);
}

#[test]
fn money_between_two_attestations_of_a_payout_is_not_spent_twice() {
    let mut chain = Chain::new();
    chain.deposit(hom(), 10 * EUR, "in");
    chain.ok(tr1(), payout(hom(), 10 * EUR, "first"));
    chain.ok(tr1(), payout(hom(), 10 * EUR, "second"));
    chain.ok(tr2(), payout(hom(), 10 * EUR, "second"));
    assert_eq!(chain.refused(tr2(), payout(hom(), 10 * EUR, "first")), RejectCode::InsufficientFunds);
    assert_eq!(chain.cash(hom()), 0);
}

#[test]
fn a_member_in_arrears_takes_no_money_away() {
    let (mut chain, [_, hom_uti, uti_vis]) = three_parties();
    charge(&mut chain, &uti_vis, on(1, 10, 0), 40);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    charge(&mut chain, &hom_uti, on(2, 2, 0), 30);
    chain.deposit(hom(), 30 * EUR, "hom");
    chain.now = on(3, 3, 0);
    chain.close(month(2));
    // UTI was paid for February, but owes 40 for January.
    assert_eq!(chain.cash(uti()), 30 * EUR);
    assert_eq!(chain.refused(tr1(), payout(uti(), 1, "flight")), RejectCode::InsufficientFunds);
    // The next deposit, whoever makes it, collects it.
    chain.deposit(vis(), EUR, "vis");
    assert_eq!([uti(), vis()].map(|p| chain.cash(p)), [0, 31 * EUR]);
    assert_eq!(chain.open(month(1), uti()), -10 * EUR);
}

#[test]
fn a_late_record_goes_to_the_next_open_period() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    charge(&mut chain, &roaming, on(1, 10, 0), 20);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    let late = roaming.cdr(1, on(1, 31, 8), 10_000);
    let items = chain.submit(vis(), records([late.clone()]));
    assert_eq!(items[0].outcome, ItemOutcome::Accepted { booked_in: Some(month(2)) });
    assert_eq!(chain.cdr(&late).period, month(2));
    assert_eq!(chain.balance(Account::Receivable(month(2), vis(), hom(), eur())), 10 * EUR);
    assert_eq!(query::closed_period(&chain.state, month(1), eur()).unwrap().unwrap().gross[0].2, 20 * EUR);
}

#[test]
fn money_given_back_after_the_close_goes_to_the_next_open_period() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let cdrs = charge(&mut chain, &roaming, on(1, 10, 0), 20);
    chain.deposit(hom(), 20 * EUR, "hom");
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    chain.ok(vis(), credit(&cdrs[0], 5 * EUR));
    assert_eq!(chain.cdr(&cdrs[0]).adjustments, [Adjustment::Credit { micros: 5 * EUR }]);
    assert_eq!(chain.cdr(&cdrs[0]).balance(), Some(15 * EUR));
    assert_eq!(chain.balance(Account::Receivable(month(2), vis(), hom(), eur())), -5 * EUR);
    assert_eq!(chain.used(roaming.at.id), -5 * EUR);
    chain.now = on(3, 3, 0);
    chain.close(month(2));
    // The operator is the debtor now, and has the cash of January.
    assert_eq!([hom(), vis()].map(|p| chain.cash(p)), [5 * EUR, 15 * EUR]);
}

#[test]
fn a_decision_finds_its_period_however_many_days_are_closed() {
    let window = WINDOW_MAX;
    let daily = RoamingAgreement {
        period: PeriodKind::Day,
        contest_window: window,
        resolve_window: window,
        record_window: window,
        ..terms(hom(), vis())
    };
    let (mut chain, roaming) = one_pair(daily);
    let first = charge(&mut chain, &roaming, on(1, 20, 0), 10).remove(0);
    chain.ok(hom(), contest(&first));
    for day in 1..=179 {
        chain.now = later(on(1, 20, 2), day * DAY);
        charge(&mut chain, &roaming, later(on(1, 20, 0), day * DAY), 10);
    }
    chain.now = later(on(1, 20, 1), 180 * DAY);
    for day in 0..178 {
        let period = SettlementPeriod::containing(PeriodKind::Day, later(on(1, 20, 0), day * DAY));
        chain.close(period);
    }
    chain.ok(arb(), resolve(&first, 10 * EUR));
    let open = SettlementPeriod::containing(PeriodKind::Day, later(on(1, 20, 0), 178 * DAY));
    assert_eq!(chain.balance(Account::Receivable(open, vis(), hom(), eur())), 0, "10 booked, 10 given back");
}

#[test]
fn a_reservation_is_released_by_its_record() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let reservation = roaming.reservation(1, on(1, 20, 8), 50 * EUR);
    let key = StateKey::Reservation(roaming.at.id, reservation.session);
    chain.ok(vis(), reserve([reservation]));
    assert_eq!(chain.used(roaming.at.id), 50 * EUR);
    chain.record(&roaming.cdr(1, on(1, 20, 8), 10_000), vis());
    assert_eq!(chain.used(roaming.at.id), 10 * EUR);
    assert_eq!(chain.read::<Reservation>(&key), None);
}

#[test]
fn a_reservation_is_released_after_the_day_on_which_it_expires() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    chain.now = on(1, 22, 12);
    chain.ok(vis(), reserve([roaming.reservation(1, on(1, 20, 8), 50 * EUR)]));
    chain.ok(vis(), reserve([roaming.reservation(2, on(1, 20, 9), 30 * EUR)]));
    // Session 3 on the same day changes nothing, session 4 on the next day releases both.
    chain.ok(vis(), reserve([roaming.reservation(3, on(1, 20, 10), EUR)]));
    assert_eq!(chain.used(roaming.at.id), 81 * EUR);
    chain.ok(vis(), reserve([roaming.reservation(4, on(1, 21, 0), 7 * EUR)]));
    assert_eq!(chain.used(roaming.at.id), 7 * EUR);
    // The record of an expired reservation is booked, and releases nothing a second time.
    chain.record(&roaming.cdr(1, on(1, 20, 8), 10_000), vis());
    assert_eq!(chain.used(roaming.at.id), 17 * EUR);
}

#[test]
fn the_credit_limit_counts_reservations_bookings_and_arrears() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    charge(&mut chain, &roaming, on(1, 10, 0), 300);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    charge(&mut chain, &roaming, on(2, 2, 0), 100);
    chain.ok(vis(), reserve([roaming.reservation(1, on(2, 2, 8), 500 * EUR)]));
    // 300 + 100 + 500 of 1,000.
    let over = chain.submit(vis(), reserve([roaming.reservation(2, on(2, 2, 8), 100 * EUR + 1)]));
    assert_eq!(over[0].outcome.rejection(), Some(RejectCode::CreditExhausted));
    chain.ok(vis(), reserve([roaming.reservation(2, on(2, 2, 8), 100 * EUR)]));
    let over = chain.submit(vis(), reserve([roaming.reservation(3, on(2, 2, 8), 1)]));
    assert_eq!(over[0].outcome.rejection(), Some(RejectCode::CreditExhausted));
    // Paying the arrears makes room for as much.
    chain.deposit(hom(), 300 * EUR, "hom");
    chain.ok(vis(), reserve([roaming.reservation(3, on(2, 2, 8), 300 * EUR)]));
}

#[test]
fn a_true_record_is_booked_beyond_the_credit_limit() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    charge(&mut chain, &roaming, on(1, 10, 0), 1_200);
    assert_eq!(chain.used(roaming.at.id), 1_200 * EUR);
}

#[test]
fn shares_are_booked_to_each_beneficiary() {
    let cost = AgreedCost { party: uti(), per_kwh_micros: 100_000, per_session_micros: 0 };
    let surplus = SurplusShare { party: own(), share: BasisPoints::new(2_500) };
    let shares = Shares { costs: vec![cost], surplus: vec![surplus] };
    let (mut chain, roaming) = one_pair(RoamingAgreement { shares, ..terms(hom(), vis()) });
    chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
    // 10 kWh for 10 EUR: 1 to the supplier, a quarter of 9 to the owner of the site, the rest to the operator.
    let due = |party| chain.balance(Account::Receivable(month(1), party, hom(), eur()));
    assert_eq!([uti(), own(), vis()].map(due), [EUR, 2_250_000, 6_750_000]);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    assert_eq!(chain.open(month(1), hom()), -10 * EUR);
    assert_eq!(chain.open(month(1), own()), 2_250_000);
}

#[test]
fn supplier_transit_owner_of_one_charger_home_provider_and_operator_share_a_session() {
    let cost =
        |party, per_kwh_micros, per_session_micros| AgreedCost { party, per_kwh_micros, per_session_micros };
    let surplus = |party, bps| SurplusShare { party, share: BasisPoints::new(bps) };
    let shares = Shares {
        costs: vec![cost(uti(), 100_000, 0), cost(tr2(), 0, 50_000)],
        surplus: vec![surplus(own(), 6_000), surplus(hom(), 500)],
    };
    let (mut chain, roaming) = one_pair(RoamingAgreement { shares, ..terms(hom(), vis()) });
    chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
    // 10 kWh for 10 EUR: 1.00 to the supplier, 0.05 for transit; of the 8.95 that are left 60 % to the private owner and 5 %
    // to the home provider, which owes itself nothing; the rest to the operator.
    let due = |party| chain.balance(Account::Receivable(month(1), party, hom(), eur()));
    let parts = [EUR, 50_000, 5_370_000, 0, 3_132_500];
    assert_eq!([uti(), tr2(), own(), hom(), vis()].map(due), parts);
    assert_eq!(chain.used(roaming.at.id), parts.iter().sum::<i64>());
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    let net = [uti(), tr2(), own(), vis(), hom()].map(|party| chain.open(month(1), party));
    assert_eq!(net, [EUR, 50_000, 5_370_000, 3_132_500, -9_552_500]);
}

#[test]
fn a_share_of_the_debtors_own_is_not_owed_and_uses_no_credit() {
    let own_share = |bps| Shares {
        costs: Vec::new(),
        surplus: vec![SurplusShare { party: hom(), share: BasisPoints::new(bps) }],
    };
    let (mut chain, roaming) = one_pair(RoamingAgreement { shares: own_share(2_000), ..terms(hom(), vis()) });
    chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
    assert_eq!(chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), 8 * EUR);
    assert_eq!(chain.used(roaming.at.id), 8 * EUR);

    let (mut chain, roaming) =
        one_pair(RoamingAgreement { shares: own_share(10_000), ..terms(hom(), vis()) });
    chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
    assert_eq!(chain.used(roaming.at.id), 0);
    chain.now = on(2, 3, 0);
    assert_eq!(chain.refused(arb(), close(month(1))), RejectCode::NothingBooked);
}

#[test]
fn vat_is_owed_only_where_the_operator_charges_it() {
    for (vat, owed) in [(VatTreatment::Charged, 12_300_000), (VatTreatment::ReverseCharge, 10_000_000)] {
        let mut chain = Chain::new();
        let mut roaming = chain.agree(RoamingAgreement { vat, ..terms(hom(), vis()) });
        let taxed = PriceComponent {
            dimension: Dimension::Energy,
            price_micros: EUR,
            vat: VatRate::from_ppm(230_000),
            step_size: 1,
        };
        let parts = TariffParts {
            party: vis(),
            id: TariffId::new("VAT").unwrap(),
            currency: eur(),
            elements: vec![TariffElement { components: vec![taxed], restrictions: Restrictions::NONE }],
            min_price: None,
            max_price: None,
            valid_from: None,
            valid_until: None,
        };
        roaming.tariff = chain.publish(Tariff::new(parts).unwrap());
        let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
        assert_eq!(cdr.price, Price { excl_vat: 10_000_000, incl_vat: 12_300_000 });
        chain.record(&cdr, vis());
        assert_eq!(chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), owed);
    }
}

#[test]
fn the_refusal_of_a_wrong_price_says_the_right_one() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let mut cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    let right = cdr.price;
    cdr.price.incl_vat += 10_000;
    let refused = chain.submit(vis(), records([cdr]))[0].outcome.rejection();
    assert_eq!(refused, Some(RejectCode::PriceMismatch(right)));
}

#[test]
fn a_contested_record_is_resolved_once() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    chain.ok(hom(), contest(&cdr));
    // 30 days to record and 10 to contest from the end of the session, 10 more to decide.
    let resolve_until = later(cdr.end, 50 * DAY);
    let evidence = Digest::of(b"evidence");
    assert_eq!(chain.cdr(&cdr).status, CdrStatus::Contested { resolve_until, evidence });
    chain.ok(arb(), resolve(&cdr, 4 * EUR));
    let record = chain.cdr(&cdr);
    assert_eq!(record.status, CdrStatus::Final);
    assert_eq!(record.balance(), Some(6 * EUR));
    assert_eq!(chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), 6 * EUR);
    assert_eq!(chain.refused(arb(), resolve(&cdr, EUR)), RejectCode::NotResolvable);
    assert_eq!(chain.refused(hom(), contest(&cdr)), RejectCode::NotContestable);
}

#[test]
fn a_record_that_is_upheld_keeps_its_amount() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    chain.ok(hom(), contest(&cdr));
    chain.ok(arb(), resolve(&cdr, 0));
    let record = chain.cdr(&cdr);
    assert_eq!((record.balance(), record.status), (Some(10 * EUR), CdrStatus::Final));
    assert!(record.adjustments.is_empty());
}

#[test]
fn windows_close_by_themselves() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let [first, second] =
        [8, 10].map(|hour| roaming.cdr(u32::try_from(hour).unwrap(), on(1, 10, hour), 10_000));
    chain.ok(vis(), records([first.clone(), second.clone()]));
    chain.now = later(first.end, 40 * DAY);
    chain.ok(hom(), contest(&first));
    chain.now = later(second.end, 40 * DAY + 1);
    assert_eq!(chain.refused(hom(), contest(&second)), RejectCode::NotContestable);
    assert_eq!(chain.cdr(&second).status_at(chain.now), CdrStatus::Final);
    chain.now = later(first.end, 50 * DAY + 1);
    assert_eq!(chain.refused(arb(), resolve(&first, EUR)), RejectCode::NotResolvable);
    assert_eq!(chain.cdr(&first).status_at(chain.now), CdrStatus::Final);
    assert_eq!(chain.cdr(&first).balance(), Some(10 * EUR), "without a decision it stands");
}

#[test]
fn the_resolver_is_that_of_the_version_the_record_was_charged_under() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    chain.ok(hom(), contest(&cdr));
    chain.amend(&roaming, RoamingAgreement { resolver: own(), ..terms(hom(), vis()) }, on(1, 15, 0));
    assert_eq!(chain.refused(own(), resolve(&cdr, EUR)), RejectCode::NotResolver);
    chain.ok(arb(), resolve(&cdr, EUR));
}

#[test]
fn small_credits_do_not_fill_the_resolvers_place() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    chain.ok(hom(), contest(&cdr));
    for _ in 0..15 {
        chain.ok(vis(), credit(&cdr, 1));
    }
    assert_eq!(chain.refused(vis(), credit(&cdr, 1)), RejectCode::LimitReached);
    chain.ok(arb(), resolve(&cdr, 10 * EUR - 15));
    assert_eq!(chain.cdr(&cdr).balance(), Some(0));
}

#[test]
fn no_more_is_given_back_than_was_booked() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    chain.ok(vis(), credit(&cdr, 6 * EUR));
    assert_eq!(chain.refused(vis(), credit(&cdr, 4 * EUR + 1)), RejectCode::AdjustmentAmount);
    chain.ok(hom(), contest(&cdr));
    assert_eq!(chain.refused(arb(), resolve(&cdr, 4 * EUR + 1)), RejectCode::AdjustmentAmount);
    chain.ok(arb(), resolve(&cdr, 4 * EUR));
    assert_eq!(chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), 0);
    assert_eq!(chain.used(roaming.at.id), 0);
}

#[test]
fn only_the_operator_of_a_record_credits_it() {
    let (mut chain, [hom_vis, ..]) = three_parties();
    let cdr = hom_vis.cdr(1, on(1, 10, 8), 10_000);
    chain.record(&cdr, vis());
    for party in [hom(), uti(), arb()] {
        assert_eq!(chain.refused(party, credit(&cdr, EUR)), RejectCode::UnknownRecord);
    }
    let elsewhere = Tx::Cdr(CdrTx::Contest { operator: uti(), cdr: cdr.id, evidence: Digest::ZERO });
    assert_eq!(chain.refused(hom(), elsewhere), RejectCode::UnknownRecord);
}

#[test]
fn nobody_can_book_a_period_that_cannot_be_closed() {
    let rich = |emsp, cpo| {
        let mut terms = terms(emsp, cpo);
        terms.limits.amount_max = i64::MAX;
        terms
    };
    let mut chain = Chain::new();
    let per_kwh = PAIR_BALANCE_MAX / 50 / 10_000 * 10_000;
    let dear = tariff_of(vis(), "DEAR", eur(), per_kwh, Restrictions::NONE);
    let [mut first, mut second] = [hom(), uti()].map(|emsp| chain.agree(rich(emsp, vis())));
    first.tariff = chain.publish(dear);
    second.tariff = first.tariff.clone();
    charge(&mut chain, &first, on(1, 10, 0), 50);
    charge(&mut chain, &second, on(1, 10, 0), 50);
    let more = chain.submit(vis(), records([first.cdr(1, on(1, 11, 0), 50_000)]));
    assert_eq!(more[0].outcome.rejection(), Some(RejectCode::Overflow));
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    assert_eq!(chain.open(month(1), vis()), 100 * per_kwh);
}

#[test]
fn the_cent_is_rounded_as_agreed() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    // 1.235 kWh at 1 EUR: half a cent goes up.
    let cdr = roaming.cdr(1, on(1, 10, 8), 1_235);
    chain.record(&cdr, vis());
    assert_eq!(chain.balance(Account::Receivable(month(1), vis(), hom(), eur())), 1_240_000);
}

#[test]
fn a_period_is_closed_only_after_its_grace() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    charge(&mut chain, &roaming, on(1, 10, 0), 10);
    chain.now = on(2, 2, 23);
    assert_eq!(chain.refused(arb(), close(month(1))), RejectCode::PeriodNotOver);
    chain.now = on(2, 3, 0);
    chain.close(month(1));
    assert_eq!(chain.refused(arb(), close(month(1))), RejectCode::PeriodClosed);
}

#[test]
fn a_window_is_at_most_what_the_ledger_keeps() {
    let mut longer = terms(hom(), vis());
    longer.record_window = DurationMs::from_millis(WINDOW_MAX.millis() + 1);
    let mut chain = Chain::new();
    let tx = Tx::Agreement(AgreementTx::Propose { terms: longer, effective_from: on(1, 1, 0) });
    assert_eq!(chain.refused(hom(), tx), RejectCode::BadTerms(8));
}

#[test]
fn a_period_with_as_many_pairs_as_it_may_have_still_takes_records_of_those() {
    let (mut chain, roaming) = one_pair(terms(hom(), vis()));
    let mut index = full_period();
    index.pairs.pop_last();
    index.pairs.insert((hom(), vis()));
    assert_eq!(index.pairs.len(), PAIRS_MAX);
    chain.put(&StateKey::PeriodPairs(month(1), eur()), &index);
    chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
    let another = chain.agree(terms(uti(), vis())).cdr(2, on(1, 10, 10), 10_000);
    let items = chain.submit(vis(), records([another]));
    assert_eq!(items[0].outcome.rejection(), Some(RejectCode::LimitReached));
}
