//! The price is known and accepted before power, and what has no price is not offered.

use super::world::*;
use crate::gateway::Effect;
use crate::sessions::Phase;
use eroam_domain::agreement::{Limits, RoamingAgreement};
use eroam_domain::charge::Denial;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::{WattHours, Watts};
use eroam_domain::tariff::{Restrictions, TariffId, TariffParts};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::query;
use eroam_ledger::state::{StateKey, read};
use eroam_ledger::tx::Tx;

/// Nothing was reserved, nothing recorded, nobody billed, and the relay stayed off.
#[track_caller]
fn nothing_happened(world: &mut World, shown: &[Effect]) {
    assert!(!shown.iter().any(|e| matches!(e, Effect::PowerOn { .. })));
    assert_eq!((world.ledger.reserved(), world.ledger.recorded()), (0, 0));
    assert!(world.stores().values().all(|s| s.charges.is_empty() && s.wholesale.is_empty()));
}

/// New terms between EDP and GLP from now on.
pub(super) fn amend(world: &mut World, terms_now: RoamingAgreement) {
    let id = agreement_id(&terms(edp(), glp()), on(1, 1, 0, 0));
    let effective_from = world.now;
    let digest = terms_digest(&terms_now, effective_from);
    let amend = AgreementTx::Amend { id, terms: terms_now, effective_from };
    world.ledger.office(edp(), Tx::Agreement(amend));
    world.ledger.office(glp(), Tx::Agreement(AgreementTx::Accept { id, version: 2, terms: digest }));
}

#[test]
fn the_driver_sees_the_estimate_before_power() {
    let mut world = World::new();
    let mut request = world.ask("s1", AT_GLP, ANA, card(ANA));
    request.energy_wanted = Some(wh(11_000));
    let quote = quoted(&world.request(&request));
    assert_eq!(world.ledger.blocks.len(), 0);
    // 11 kWh at 22 kW: half an hour; (4.40 + 1) x 0.95 = 5.13; x 1.05 + 0.20 = 5.5865.
    assert_eq!((quote.energy, quote.until), (wh(11_000), later(start(), HOUR / 2)));
    assert_eq!((quote.wholesale.excl_vat, quote.retail.unwrap().excl_vat), (5_130_000, 5_590_000));
    assert_eq!(quote.retail.unwrap().incl_vat, 6_870_000);
    assert_eq!((quote.made_at, quote.expires_at), (start(), later(start(), 10 * MINUTE)));
    assert_eq!(quote.agreement.map(|a| a.version), Some(1));
    assert!(is_power_on(&world.accept("s1")));
    assert_eq!(world.ledger.reserved(), 1);
}

#[test]
fn a_session_at_an_own_station_is_quoted_without_an_agreement() {
    let mut world = World::new();
    let quote = quoted(&world.swipe("s1", AT_EDP, ANA));
    // 20 kWh: 8 + 1 = 9; x 1.05 = 9.45, no roaming fee.
    assert_eq!(
        (quote.agreement, quote.wholesale.excl_vat, quote.retail.unwrap().excl_vat),
        (None, 9_000_000, 9_450_000)
    );
    assert!(is_power_on(&world.accept("s1")));
    assert_eq!(world.ledger.blocks.len(), 0);
}

#[test]
fn a_refused_quote_leads_to_nothing() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    let shown = world.refuse("s1");
    assert_eq!(denied(&shown), Denial::QuoteRefused);
    assert_eq!(world.accept("s1"), [], "too late to accept");
    nothing_happened(&mut world, &shown);
}

#[test]
fn a_quote_is_accepted_at_its_last_instant_and_not_after_it() {
    for (wait, accepted) in [(10 * MINUTE, true), (10 * MINUTE + 1, false)] {
        let mut world = World::new();
        quoted(&world.swipe("s1", AT_GLP, ANA));
        world.wait(wait);
        assert_eq!(world.tick(glp()).is_empty(), accepted, "the clock agrees");
        assert_eq!(is_power_on(&world.accept("s1")), accepted);
    }
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    world.wait(10 * MINUTE + 1);
    let shown = world.accept("s1");
    assert_eq!(denied(&shown), Denial::QuoteExpired);
    nothing_happened(&mut world, &shown);
}

#[test]
fn a_quote_that_nobody_answers_expires_by_the_clock() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    quoted(&world.swipe("s2", AT_EDP, ANA));
    world.wait(10 * MINUTE + 1);
    let shown = world.tick(glp());
    assert_eq!(denied(&shown), Denial::QuoteExpired);
    assert_eq!(denied(&world.tick(edp())), Denial::QuoteExpired);
    assert_eq!(world.tick(glp()), [], "once");
    nothing_happened(&mut world, &shown);
}

#[test]
fn a_cost_above_the_contracts_limit_is_denied() {
    let mut world = World::new();
    let price = quoted(&world.swipe("s1", AT_GLP, ANA)).retail.unwrap().incl_vat;
    for (limit, want) in [(price, None), (price - 1, Some(Denial::AmountLimit))] {
        let mut world = World::new();
        world.customer(ANA).portfolio.amount_max = limit;
        let shown = world.swipe("s1", AT_GLP, ANA);
        match want {
            Some(denial) => assert_eq!(denied(&shown), denial),
            None => assert_eq!(quoted(&shown).retail.unwrap().incl_vat, price),
        }
        nothing_happened(&mut world, &shown);
    }
}

#[test]
fn a_cost_above_the_agreements_limit_is_denied_since_the_ledger_would_refuse_it() {
    let mut world = World::new();
    let limits = Limits { amount_max: EUR, ..terms(edp(), glp()).limits };
    amend(&mut world, RoamingAgreement { limits, ..terms(edp(), glp()) });
    let shown = world.swipe("s1", AT_GLP, ANA);
    assert_eq!(denied(&shown), Denial::AmountLimit);
    nothing_happened(&mut world, &shown);
}

#[test]
fn what_has_no_price_is_denied_and_never_free() {
    type Spoil = fn(&mut World);
    let cases: [(&str, Spoil); 6] = [
        ("the station's tariff was never published", |w| {
            let mut evse = w.org(glp()).station(&AT_GLP.parse().unwrap()).unwrap().clone();
            evse.tariff = TariffId::new("NIGHT").unwrap();
            w.org(glp()).put_station(evse);
        }),
        ("no element matches", |w| {
            let mut parts = tariff(glp());
            let never = Restrictions { min_energy: WattHours::from_wh(70_000), ..Restrictions::NONE };
            parts.elements[0].restrictions = never;
            w.ledger.publish(2, parts);
        }),
        ("the tariff is in another currency than the agreement", |w| {
            w.ledger.publish(2, TariffParts { currency: Currency::new("USD").unwrap(), ..tariff(glp()) });
        }),
        ("every version has ended", |w| {
            let mut world_tariff = tariff(glp());
            world_tariff.valid_until = Some(start());
            world_tariff.id = TariffId::new("OLD").unwrap();
            w.ledger.publish(1, world_tariff);
            let mut evse = w.org(glp()).station(&AT_GLP.parse().unwrap()).unwrap().clone();
            evse.tariff = TariffId::new("OLD").unwrap();
            w.org(glp()).put_station(evse);
        }),
        ("the station has no power", |w| {
            let mut evse = w.org(glp()).station(&AT_GLP.parse().unwrap()).unwrap().clone();
            evse.power = Watts::ZERO;
            w.org(glp()).put_station(evse);
        }),
        ("amounts do not fit", |w| {
            let mut parts = tariff(glp());
            parts.elements[0].components[0].price_micros = i64::MAX;
            w.ledger.publish(2, parts);
        }),
    ];
    for (why, spoil) in cases {
        let mut world = World::new();
        spoil(&mut world);
        let shown = world.swipe("s1", AT_GLP, ANA);
        assert_eq!(denied(&shown), Denial::NoPrice, "{why}");
        nothing_happened(&mut world, &shown);
    }
}

#[test]
fn an_unknown_station_is_denied() {
    let mut world = World::new();
    assert_eq!(denied(&world.swipe("s1", "PT*GLP*E9999", ANA)), Denial::UnknownStation);
}

#[test]
fn without_credit_there_is_no_power() {
    let mut world = World::new();
    // The reservation is a fifth above the estimate, with VAT: 10.52 x 1.2.
    amend(&mut world, RoamingAgreement { credit_limit: Money::new(13 * EUR, eur()), ..terms(edp(), glp()) });
    quoted(&world.swipe("s1", AT_GLP, ANA));
    assert!(is_power_on(&world.accept("s1")));
    quoted(&world.swipe("s2", AT_GLP, GIL));
    assert_eq!(denied(&world.accept("s2")), Denial::NoCredit);
    assert_eq!(world.session("s2").phase, Phase::Denied(Denial::NoCredit));
    assert_eq!(world.ledger.reserved(), 1);
}

#[test]
fn a_version_that_comes_into_force_meanwhile_is_quoted_again_not_charged() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    world.wait(MINUTE);
    amend(&mut world, terms(edp(), glp()));
    assert_eq!(denied(&world.accept("s1")), Denial::LedgerRefused);
    let quote = quoted(&world.swipe("s2", AT_GLP, ANA));
    assert_eq!(quote.agreement.map(|a| a.version), Some(2));
    assert!(is_power_on(&world.accept("s2")));
}

#[test]
fn a_tariff_published_ahead_of_its_time_leaves_the_present_one_in_force() {
    let mut world = World::new();
    let from = later(start(), HOUR);
    for version in 2..5 {
        let valid_from = Some(later(from, u64::from(version) * HOUR));
        world.ledger.publish(version, TariffParts { valid_from, ..tariff(glp()) });
    }
    assert_eq!(quoted(&world.swipe("now", AT_GLP, ANA)).tariff.version, 1);
    world.wait(3 * HOUR);
    assert_eq!(quoted(&world.swipe("then", AT_GLP, ANA)).tariff.version, 2);
    world.wait(9 * HOUR);
    assert_eq!(quoted(&world.swipe("later", AT_GLP, ANA)).tariff.version, 4);
}

#[test]
fn the_reservation_is_for_this_session_and_within_the_agreement() {
    let mut world = World::new();
    let quote = quoted(&world.swipe("s1", AT_GLP, ANA));
    world.accept("s1");
    let id = quote.agreement.unwrap().id;
    let exposure = query::exposure(&world.ledger, id).unwrap();
    let wanted = quote.wholesale.incl_vat * 12 / 10;
    assert_eq!(exposure.total(), Some(wanted));
    let session = eroam_domain::cdr::session_digest(glp(), &quote.session);
    let kept: Option<eroam_ledger::settlement::Reservation> =
        read(&world.ledger, &StateKey::Reservation(id, session)).unwrap();
    assert_eq!(kept.unwrap().amount, wanted);
    // The record releases it: what is left is what was booked.
    world.consumed("s1", hour_of(world.now, 0));
    world.wait(HOUR);
    world.resume(glp());
    world.drive();
    let booked = query::exposure(&world.ledger, id).unwrap();
    assert!(booked.reserved.is_empty());
}

#[test]
fn a_reservation_is_never_nothing_and_never_above_the_agreements_limit() {
    let price = 10_520_000;
    for (amount_max, per_kwh, flat, want) in
        [(11 * EUR, 400_000, EUR, 11 * EUR), (50 * EUR, 400_000, EUR, price * 12 / 10), (50 * EUR, 0, 0, 1)]
    {
        let mut world = World::new();
        let limits = Limits { amount_max, ..terms(edp(), glp()).limits };
        amend(&mut world, RoamingAgreement { limits, ..terms(edp(), glp()) });
        let mut parts = tariff(glp());
        parts.elements[0].components[0].price_micros = per_kwh;
        parts.elements[0].components[1].price_micros = flat;
        world.ledger.publish(2, parts);
        let quote = quoted(&world.swipe("s1", AT_GLP, ANA));
        assert!(is_power_on(&world.accept("s1")));
        let exposure = query::exposure(&world.ledger, quote.agreement.unwrap().id).unwrap();
        assert_eq!(exposure.total(), Some(want));
    }
}
