//! Forecasts and loads on the ledger, records that are priced by them, and what is trued up.

use super::fixture::*;
use crate::agreement::AgreementTx;
use crate::cdr::{CdrRecord, CdrTx};
use crate::forecast::{
    ATTESTED_HOURS_MAX, ForecastAttestation, ForecastTx, LoadAttestation, PER_DAY_MAX, PER_HOUR_MAX,
    ZoneRights,
};
use crate::query;
use crate::reject::RejectCode::{self, *};
use crate::state::{Account, StateKey, ledger_balance};
use crate::tx::Tx;
use eroam_domain::agreement::{
    Actuals, DynamicRule, Knot, Panel, PriceRule, RoamingAgreement, Shares, SurplusShare,
};
use eroam_domain::cdr::{Adjustment, Cdr, GridZone};
use eroam_domain::codec::Digest;
use eroam_domain::forecast::{AHEAD_HOURS_MAX, combine, session_hours};
use eroam_domain::ids::PartyId;
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::BasisPoints;
use eroam_domain::time::{SettlementPeriod, UnixMillis};

pub(super) fn zone() -> GridZone {
    GridZone::new("PT-N").unwrap()
}

/// 0.30 per kWh at 500 kW, and 0.0003 more for each kilowatt; trued up beyond 10 % of the forecast, by a fifth of the
/// record at most. `tr1` forecasts and measures.
pub(super) fn rule() -> DynamicRule {
    DynamicRule {
        fallback: BasisPoints::WHOLE,
        base_micros_per_kwh: 300_000,
        time_of_use: Vec::new(),
        capacity_kw: 1_000,
        knots: vec![
            Knot { utilisation_bps: 0, surcharge_bps: -5_000 },
            Knot { utilisation_bps: 10_000, surcharge_bps: 5_000 },
        ],
        floor_micros: 0,
        cap_micros: EUR,
        band_bps: BasisPoints::new(1_000),
        vat: None,
        zone: zone(),
        forecasters: Panel { parties: vec![tr1()], quorum: 1 },
        actuals: Actuals::Independent { attester: tr1() },
        true_up_cap_bps: BasisPoints::new(2_000),
        renewable: Vec::new(),
    }
}

pub(super) fn with_rule(terms: RoamingAgreement, rule: DynamicRule) -> RoamingAgreement {
    RoamingAgreement { price_rule: PriceRule::Dynamic(rule), ..terms }
}

pub(super) fn dynamic_terms(emsp: PartyId, cpo: PartyId) -> RoamingAgreement {
    with_rule(terms(emsp, cpo), rule())
}

/// Loads of the hours from the one of `first` on, with a band of a tenth.
pub(super) fn forecast_of(first: UnixMillis, load_kw: &[u32]) -> ForecastAttestation {
    ForecastAttestation {
        zone: zone(),
        first_hour: first.utc_hour(),
        load_kw: load_kw.to_vec(),
        low_kw: load_kw.iter().map(|kw| kw - kw / 10).collect(),
        high_kw: load_kw.iter().map(|kw| kw + kw / 10).collect(),
        renewable_bps: None,
        model: Digest::of(b"model"),
        window: Digest::of(b"window"),
    }
}

pub(super) fn attest(said: ForecastAttestation) -> Tx {
    Tx::Forecast(ForecastTx::AttestForecast(said))
}

pub(super) fn measured(first: UnixMillis, load_kw: &[u32]) -> Tx {
    Tx::Forecast(ForecastTx::AttestLoad(LoadAttestation {
        zone: zone(),
        first_hour: first.utc_hour(),
        load_kw: load_kw.to_vec(),
        source: Digest::of(b"meters"),
    }))
}

pub(super) fn true_ups(cdrs: impl IntoIterator<Item = Cdr>) -> Tx {
    Tx::Cdr(CdrTx::TrueUp(cdrs.into_iter().collect()))
}

/// The record as its operator makes it from a quote of `at`: by the forecast in force then.
pub(super) fn by_forecast(chain: &Chain, roaming: &Roaming, cdr: &Cdr, at: UnixMillis) -> Cdr {
    let Some(rule) = roaming.terms.forecast_rule(&cdr.zone) else { return cdr.clone() };
    let hours = session_hours(cdr.start, cdr.end, at);
    let attested = query::forecasts(&chain.state, rule, &hours).unwrap();
    let forecast = combine(rule, &attested, at, hours);
    let mut cdr = Cdr { attestation: forecast.as_ref().map(|f| f.attestation), ..cdr.clone() };
    let inputs = PricingInputs::of_record(&roaming.terms, &roaming.tariff.1, &cdr, forecast.as_ref());
    cdr.price = pricing::price(&inputs).unwrap().total;
    cdr
}

/// A chain at noon of January 20 with the agreement; 500 kW are forecast for each hour from 13:00 to 18:00.
pub(super) fn forecast_at_noon(terms: RoamingAgreement) -> (Chain, Roaming) {
    let mut chain = Chain::new();
    let roaming = chain.agree(terms);
    chain.ok(tr1(), attest(forecast_of(on(1, 20, 13), &[500; 6])));
    (chain, roaming)
}

/// 10 kWh from 13:00 to 14:00, by forecast: 3.00. It is 15:00 now.
pub(super) fn booked_by_forecast(terms: RoamingAgreement) -> (Chain, Roaming, Cdr) {
    let (mut chain, roaming) = forecast_at_noon(terms);
    chain.now = on(1, 20, 15);
    let cdr = by_forecast(&chain, &roaming, &roaming.cdr(1, on(1, 20, 13), 10_000), on(1, 20, 13));
    assert_eq!(cdr.price.incl_vat, 3 * EUR);
    chain.record(&cdr, roaming.terms.cpo);
    (chain, roaming, cdr)
}

fn sound(chain: &Chain) {
    assert!(ledger_balance(chain.state.iter()).unwrap().values().all(|sum| *sum == 0));
}

/// What the debtor owes a creditor for a month.
fn owed(chain: &Chain, month: SettlementPeriod, debtor: PartyId, creditor: PartyId) -> i64 {
    let due = chain.balance(Account::Receivable(month, creditor, debtor, eur()));
    assert_eq!(chain.balance(Account::Payable(month, debtor, creditor, eur())), -due);
    due
}

#[test]
fn only_whom_an_accepted_agreement_names_may_attest_and_only_what_it_is_named_for() {
    let mut chain = Chain::new();
    let rule = DynamicRule { actuals: Actuals::Independent { attester: own() }, ..rule() };
    let (noon, before) = (on(1, 20, 13), on(1, 20, 11));
    let (forecast, load) = (attest(forecast_of(noon, &[500])), measured(before, &[500]));
    chain.propose(&with_rule(terms(hom(), vis()), rule.clone()));
    assert_eq!(chain.refused(tr1(), forecast.clone()), NoAttestationRight, "proposed, but not accepted");
    let mut chain = Chain::new();
    chain.agree(with_rule(terms(hom(), vis()), rule.clone()));
    for (party, rights) in [
        (tr1(), ZoneRights { forecasts: true, loads: false }),
        (own(), ZoneRights { forecasts: false, loads: true }),
        (vis(), ZoneRights::default()),
    ] {
        assert_eq!(query::zone_rights(&chain.state, &zone(), party).unwrap(), rights);
        for (tx, right) in [(&forecast, rights.forecasts), (&load, rights.loads)] {
            match right {
                true => chain.ok(party, tx.clone()),
                false => assert_eq!(chain.refused(party, tx.clone()), NoAttestationRight, "{party}"),
            }
        }
    }
    let mut elsewhere = forecast_of(noon, &[500]);
    elsewhere.zone = GridZone::new("PT-S").unwrap();
    assert_eq!(chain.refused(tr1(), attest(elsewhere)), NoAttestationRight);
    // A second agreement adds to what the first gave, and an end takes nothing away: its records are still trued up.
    let other = chain.agree(dynamic_terms(hom(), uti()));
    let both = ZoneRights { forecasts: true, loads: true };
    assert_eq!(query::zone_rights(&chain.state, &zone(), tr1()).unwrap(), both);
    chain.ok(hom(), Tx::Agreement(AgreementTx::Terminate { id: other.at.id, at: chain.now }));
    chain.ok(tr1(), measured(before, &[500]));
}

#[test]
fn attesters_are_members() {
    let mut chain = Chain::new();
    let named = Panel { parties: vec![stranger()], quorum: 1 };
    let strange = with_rule(terms(hom(), vis()), DynamicRule { forecasters: named, ..rule() });
    let tx = AgreementTx::Propose { terms: strange, effective_from: on(1, 1, 0) };
    assert_eq!(chain.refused(hom(), Tx::Agreement(tx)), UnknownParty);
}

#[test]
fn a_forecast_is_attested_before_its_first_hour_and_not_beyond_the_horizon() {
    let (chain, _) = forecast_at_noon(dynamic_terms(hom(), vis()));
    let hour = i64::try_from(HOUR).unwrap();
    for (name, minutes, first, count, want) in [
        ("the last millisecond before it", -1, 13, 1, None),
        ("its first millisecond", 0, 13, 1, Some(HourBegun)),
        ("the hour that runs", 30 * 60_000, 13, 2, Some(HourBegun)),
        ("the last hour ahead", -1, 12 + AHEAD_HOURS_MAX, 1, None),
        ("an hour further", -1, 13 + AHEAD_HOURS_MAX, 1, Some(TooFarAhead)),
        ("all hours ahead", -1, 13, ATTESTED_HOURS_MAX, None),
        ("one more", -1, 13, ATTESTED_HOURS_MAX + 1, Some(AttestedHours)),
        ("none", -1, 13, 0, Some(AttestedHours)),
        ("the beginning of time", -1, i64::MIN, 1, Some(HourBegun)),
        ("the end of time", -1, i64::MAX, 1, Some(TooFarAhead)),
        ("past the end of time", -1, i64::MAX, 2, Some(TooFarAhead)),
    ] {
        let mut chain = chain.fork();
        chain.now = UnixMillis::new(on(1, 20, 13).get() + minutes).unwrap();
        let mut said = forecast_of(on(1, 20, 0), &vec![700; count]);
        said.first_hour = said.first_hour.saturating_add(first);
        if first == i64::MIN || first == i64::MAX {
            said.first_hour = first;
        }
        let found = chain.submit(tr1(), attest(said))[0].outcome.rejection();
        assert_eq!(found, want, "{name} ({hour})");
    }
}

#[test]
fn a_forecast_that_contradicts_itself_is_refused() {
    let (chain, _) = forecast_at_noon(dynamic_terms(hom(), vis()));
    type Spoil = fn(&mut ForecastAttestation);
    let cases: [(Spoil, Option<RejectCode>); 9] = [
        (|_| (), None),
        (|s| (s.low_kw, s.high_kw) = (s.load_kw.clone(), s.load_kw.clone()), None),
        (|s| s.low_kw[1] = s.load_kw[1] + 1, Some(BadForecast)),
        (|s| s.high_kw[0] = s.load_kw[0] - 1, Some(BadForecast)),
        (|s| s.low_kw.truncate(1), Some(BadForecast)),
        (|s| s.high_kw.push(9_999), Some(BadForecast)),
        (|s| s.renewable_bps = Some(vec![0, 10_000]), None),
        (|s| s.renewable_bps = Some(vec![0]), Some(BadForecast)),
        (|s| s.renewable_bps = Some(vec![0, 10_001]), Some(BadForecast)),
    ];
    for (place, (spoil, want)) in cases.into_iter().enumerate() {
        let mut said = forecast_of(on(1, 20, 14), &[700, 800]);
        spoil(&mut said);
        assert_eq!(chain.fork().submit(tr1(), attest(said))[0].outcome.rejection(), want, "case {place}");
    }
}

#[test]
fn an_attester_has_so_many_forecasts_an_hour_and_so_many_for_a_day() {
    let mut chain = Chain::new();
    chain.agree(dynamic_terms(hom(), vis()));
    let mut load = 0;
    let mut next = |chain: &mut Chain, first| {
        load += 1;
        chain.submit(tr1(), attest(forecast_of(first, &[load])))[0].outcome.rejection()
    };
    for _ in 0..PER_HOUR_MAX {
        assert_eq!(next(&mut chain, on(1, 22, 23)), None);
    }
    assert_eq!(next(&mut chain, on(1, 22, 20)), Some(AttestationDayFull));
    assert_eq!(next(&mut chain, on(1, 21, 20)), None, "of another day");
    for hour in 1.. {
        chain.now = later(on(1, 20, 12), hour * HOUR);
        if usize::try_from(hour).unwrap() * PER_HOUR_MAX >= PER_DAY_MAX {
            break;
        }
        for _ in 0..PER_HOUR_MAX {
            assert_eq!(next(&mut chain, on(1, 22, 23)), None);
        }
    }
    assert_eq!(next(&mut chain, on(1, 22, 23)), Some(AttestationDayFull));
    // Whoever says the same again is told that it is known.
    let known = attest(forecast_of(on(1, 22, 23), &[1]));
    assert_eq!(chain.refused(tr1(), known), DuplicateAttestation);
}

#[test]
fn a_forecast_over_midnight_is_kept_with_both_days() {
    let mut chain = Chain::new();
    chain.agree(dynamic_terms(hom(), vis()));
    let mut said = forecast_of(on(1, 20, 22), &[700, 800, 900]);
    said.renewable_bps = Some(vec![1, 2, 3]);
    chain.ok(tr1(), attest(said));
    let first = on(1, 20, 22).utc_hour();
    let attested = query::forecasts(&chain.state, &rule(), &(first..=first + 2)).unwrap();
    let of = |hour| attested.iter().find_map(|said| said.hour(hour)).map(|h| (h.load_kw, h.renewable_bps));
    assert_eq!(
        [0, 1, 2].map(|n| of(first + n)),
        [Some((700, Some(1))), Some((800, Some(2))), Some((900, Some(3)))]
    );
    assert_eq!(attested.iter().map(|said| said.since).collect::<Vec<_>>(), [chain.now; 2]);
    assert_eq!(query::forecasts(&chain.state, &rule(), &(first + 24..=first + 48)).unwrap().len(), 1);
}

#[test]
fn a_slot_that_another_day_took_is_no_word_about_the_day_before() {
    let mut chain = Chain::new();
    chain.agree(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), attest(forecast_of(on(1, 20, 14), &[700])));
    chain.ok(tr1(), measured(on(1, 20, 10), &[700]));
    // 256 days later the same slot serves again.
    chain.now = later(chain.now, 256 * DAY);
    let (first, past) = (later(on(1, 20, 14), 256 * DAY), later(on(1, 20, 10), 256 * DAY));
    chain.ok(tr1(), attest(forecast_of(first, &[800])));
    chain.ok(tr1(), measured(past, &[801]));
    let hour = first.utc_hour();
    let of = |hour| query::forecasts(&chain.state, &rule(), &(hour..=hour)).unwrap();
    assert_eq!(of(hour)[0].load_kw, [800]);
    assert_eq!(of(hour - 256 * 24), []);
}

#[test]
fn a_load_is_attested_once_after_its_hour_and_within_a_week() {
    let (chain, _) = forecast_at_noon(dynamic_terms(hom(), vis()));
    for (name, now, first, loads, want) in [
        ("the hour that runs", on(1, 20, 12), on(1, 20, 12), &[500][..], Some(HourNotOver)),
        ("it and the one before", on(1, 20, 12), on(1, 20, 11), &[500, 500], Some(HourNotOver)),
        ("the one before", on(1, 20, 12), on(1, 20, 11), &[500], None),
        ("a week after its end", on(1, 27, 11), on(1, 20, 10), &[500], None),
        ("a moment later", later(on(1, 27, 11), 1), on(1, 20, 10), &[500], Some(LoadTooLate)),
        ("nothing", on(1, 20, 12), on(1, 20, 11), &[], Some(AttestedHours)),
        ("too much", on(1, 27, 11), on(1, 23, 0), &[500; 73], Some(AttestedHours)),
    ] {
        let mut chain = chain.fork();
        chain.now = now;
        assert_eq!(chain.submit(tr1(), measured(first, loads))[0].outcome.rejection(), want, "{name}");
    }
    let mut chain = chain.fork();
    chain.ok(tr1(), measured(on(1, 20, 9), &[500, 600]));
    let before = chain.digest();
    assert_eq!(chain.refused(tr1(), measured(on(1, 20, 9), &[500])), DuplicateAttestation);
    assert_eq!(chain.refused(tr1(), measured(on(1, 20, 10), &[601, 700])), ContradictsLoad);
    assert_eq!(chain.digest(), before);
    // What is new in it is taken, the same again does no harm.
    chain.ok(tr1(), measured(on(1, 20, 10), &[600, 700]));
    assert_eq!(chain.refused(tr1(), measured(on(1, 20, 11), &[701])), ContradictsLoad);
}

#[test]
fn the_state_digest_does_not_depend_on_the_block_of_a_forecast() {
    let digest = |minutes: u64| {
        let mut chain = Chain::new();
        chain.agree(dynamic_terms(hom(), vis()));
        chain.now = later(chain.now, minutes * 60_000);
        chain.ok(tr1(), attest(forecast_of(on(1, 20, 14), &[700])));
        chain.digest()
    };
    assert_eq!(digest(0), digest(50));
}

#[test]
fn a_record_follows_the_forecast_that_was_in_force_while_its_quote_was_held() {
    let (mut chain, roaming) = forecast_at_noon(dynamic_terms(hom(), vis()));
    // Superseded at 12:50 and again at 12:58, both for 13:00.
    for (minutes, load) in [(50, 700), (58, 900)] {
        chain.now = later(on(1, 20, 12), minutes * 60_000);
        chain.ok(tr1(), attest(forecast_of(on(1, 20, 13), &[load])));
    }
    let quoted = |chain: &Chain, number, minute: u64, accepted: u64| {
        let mut cdr = roaming.cdr(number, on(1, 20, 13), 10_000);
        cdr.accepted_at = later(on(1, 20, 12), accepted * 60_000);
        by_forecast(chain, &roaming, &cdr, later(on(1, 20, 12), minute * 60_000))
    };
    chain.now = on(1, 20, 15);
    // Accepted at 12:59: a quote of 12:44 may be older than both.
    for (number, minute, price, want) in [
        (1, 44, 3_000_000, None),
        (2, 49, 3_000_000, None),
        (3, 50, 3_600_000, None),
        (4, 57, 3_600_000, None),
        (5, 59, 4_200_000, None),
    ] {
        let cdr = quoted(&chain, number, minute, 59);
        assert_eq!(cdr.price.incl_vat, price, "minute {minute}");
        let mut chain = chain.fork();
        assert_eq!(chain.submit(vis(), records([cdr]))[0].outcome.rejection(), want, "minute {minute}");
    }
    // A quote of 12:49 is not held until 13:06, and no quote of 12:55 knows what came at 12:58.
    let mut late = quoted(&chain, 6, 49, 59);
    (late.accepted_at, late.start) = (later(on(1, 20, 13), 6 * 60_000), later(on(1, 20, 13), 6 * 60_000));
    late.periods[0].start = late.start;
    late.periods[0].charging = later(late.end, 0).since(late.start).unwrap();
    assert_eq!(chain.refused(vis(), records([late])), UnknownForecast);
    let early = quoted(&chain, 7, 59, 55);
    assert_eq!(chain.refused(vis(), records([early])), UnknownForecast);
    // None at all would be priced by the tariff: there was one all the time.
    let mut none = roaming.cdr(8, on(1, 20, 13), 10_000);
    none.accepted_at = on(1, 20, 13);
    assert_eq!(chain.refused(vis(), records([none])), ForecastOmitted);
}

#[test]
fn without_a_quorum_the_static_rule_applies() {
    let panel = Panel { parties: vec![tr1(), vis()], quorum: 2 };
    let rule = DynamicRule { forecasters: panel, ..rule() };
    let (mut chain, roaming) = forecast_at_noon(with_rule(terms(hom(), vis()), rule));
    chain.now = on(1, 20, 17);
    let alone = roaming.cdr(1, on(1, 20, 13), 10_000);
    assert_eq!(by_forecast(&chain, &roaming, &alone, on(1, 20, 13)), alone, "one of two is no quorum");
    assert_eq!((alone.price.incl_vat, alone.attestation), (10 * EUR, None));
    chain.record(&alone, vis());
    // With the second the median counts: 500 and 700.
    chain.ok(vis(), attest(forecast_of(on(1, 20, 18), &[700])));
    chain.now = on(1, 20, 20);
    let both = by_forecast(&chain, &roaming, &roaming.cdr(2, on(1, 20, 18), 10_000), on(1, 20, 18));
    assert_eq!(both.price.incl_vat, 3_300_000);
    chain.record(&both, vis());
    // Where nothing is forecast any more, nor elsewhere, there is nothing to follow.
    let hours_later = roaming.cdr(3, on(1, 20, 19), 1_000);
    chain.record(&hours_later, vis());
    let mut elsewhere = roaming.cdr(4, on(1, 20, 14), 1_000);
    elsewhere.zone = GridZone::new("PT-S").unwrap();
    chain.record(&elsewhere, vis());
    let named = Cdr { attestation: both.attestation, id: roaming.cdr(5, chain.now, 0).id, ..elsewhere };
    let named = Cdr { session: roaming.cdr(5, chain.now, 0).session, ..named };
    assert_eq!(chain.refused(vis(), records([named])), UnexpectedAttestation);
}

#[test]
fn a_record_is_trued_up_by_either_side_once_when_the_load_is_known() {
    // 600 kW in place of 500: 0.33 in place of 0.30.
    for (actual, micros) in [(600, 300_000), (400, -300_000), (900, 600_000), (50, -600_000)] {
        let (mut chain, _, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
        assert_eq!(chain.refused(hom(), true_ups([cdr.clone()])), ActualsAwaited);
        chain.ok(tr1(), measured(on(1, 20, 13), &[actual]));
        assert_eq!(chain.refused(uti(), true_ups([cdr.clone()])), NotASide);
        let sender = if micros > 0 { vis() } else { hom() };
        chain.ok(sender, true_ups([cdr.clone()]));
        let record = chain.cdr(&cdr);
        assert_eq!(record.adjustments, [Adjustment::TrueUp { micros }], "{actual} kW");
        assert_eq!(record.balance(), Some(3 * EUR + micros));
        assert_eq!(owed(&chain, month(1), hom(), vis()), 3 * EUR + micros);
        assert_eq!(chain.used(cdr.agreement.id), 3 * EUR + micros);
        assert_eq!(chain.refused(sender, true_ups([cdr])), AlreadyTruedUp);
        sound(&chain);
    }
    let (mut chain, _, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[550]));
    assert_eq!(chain.refused(hom(), true_ups([cdr])), NothingToTrueUp, "within the band");
}

#[test]
fn a_load_that_never_comes_leaves_the_forecast() {
    let (mut chain, _, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.now = on(1, 27, 14);
    assert_eq!(chain.refused(hom(), true_ups([cdr.clone()])), ActualsAwaited);
    chain.now = later(chain.now, 1);
    assert_eq!(chain.refused(hom(), true_ups([cdr])), NothingToTrueUp);
}

#[test]
fn of_two_attesters_neither_invents_a_deviation_and_a_silent_one_does_not_stop_the_other() {
    let both = Panel { parties: vec![hom(), vis()], quorum: 2 };
    let rule = DynamicRule { actuals: Actuals::Median(both), ..rule() };
    let (chain, _, cdr) = booked_by_forecast(with_rule(terms(hom(), vis()), rule.clone()));
    for (of_hom, of_vis, want) in [(500, 900, None), (600, 700, Some(300_000)), (700, 600, Some(300_000))] {
        let mut chain = chain.fork();
        chain.ok(hom(), measured(on(1, 20, 13), &[of_hom]));
        assert_eq!(chain.refused(vis(), true_ups([cdr.clone()])), ActualsAwaited);
        chain.ok(vis(), measured(on(1, 20, 13), &[of_vis]));
        let refused = chain.submit(hom(), true_ups([cdr.clone()]))[0].outcome.rejection();
        assert_eq!(refused, want.is_none().then_some(NothingToTrueUp));
        let found = chain.cdr(&cdr).adjustments;
        assert_eq!(found, want.map(|micros| Adjustment::TrueUp { micros }).into_iter().collect::<Vec<_>>());
    }
    let three = Panel { parties: vec![hom(), vis(), tr1()], quorum: 2 };
    let rule = DynamicRule { actuals: Actuals::Median(three), ..rule };
    assert_eq!(with_rule(terms(hom(), vis()), rule.clone()).check(), Ok(()));
    let (mut chain, _, cdr) = booked_by_forecast(with_rule(terms(hom(), vis()), rule));
    chain.ok(hom(), measured(on(1, 20, 13), &[600]));
    chain.ok(vis(), measured(on(1, 20, 13), &[700]));
    assert_eq!(chain.refused(hom(), true_ups([cdr.clone()])), ActualsAwaited, "the third may still speak");
    chain.now = later(on(1, 27, 14), 1);
    chain.ok(hom(), true_ups([cdr]));
}

#[test]
fn those_who_share_in_the_price_share_in_the_true_up() {
    let share = SurplusShare { party: own(), share: BasisPoints::new(2_500) };
    let of_the_debtor = SurplusShare { party: hom(), share: BasisPoints::new(1_000) };
    let shares = Shares { costs: Vec::new(), surplus: vec![share, of_the_debtor] };
    for (actual, micros) in [(600, 300_000), (400, -300_000)] {
        let terms = RoamingAgreement { shares: shares.clone(), ..dynamic_terms(hom(), vis()) };
        let (mut chain, _, cdr) = booked_by_forecast(terms);
        assert_eq!(owed(&chain, month(1), hom(), own()), 750_000);
        chain.ok(tr1(), measured(on(1, 20, 13), &[actual]));
        chain.ok(hom(), true_ups([cdr.clone()]));
        assert_eq!(owed(&chain, month(1), hom(), own()), 750_000 + micros / 4);
        // A tenth is the debtor's own, which it owes nobody.
        assert_eq!(owed(&chain, month(1), hom(), vis()), 1_950_000 + micros * 13 / 20);
        assert_eq!(chain.used(cdr.agreement.id), (3 * EUR + micros) * 9 / 10);
        sound(&chain);
    }
}

#[test]
fn a_true_up_of_a_closed_period_is_booked_in_the_next_open_one() {
    let (mut chain, _, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[400]));
    chain.now = on(2, 4, 0);
    chain.close(month(1));
    let items = chain.submit(vis(), true_ups([cdr.clone()]));
    assert_eq!(
        items[0].outcome,
        crate::reject::ItemOutcome::Accepted { booked_in: Some(month(2)) },
        "January is closed"
    );
    assert_eq!(items[0].hash, crate::true_up::item_hash(cdr.digest()));
    assert_eq!(owed(&chain, month(2), hom(), vis()), -300_000);
    sound(&chain);
    chain.now = on(3, 4, 0);
    chain.close(month(2));
    assert_eq!(chain.open(month(2), hom()), 300_000);
    sound(&chain);
}

#[test]
fn no_more_is_given_back_than_credits_have_left() {
    let (mut chain, _, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[50]));
    chain.ok(vis(), credit(&cdr, 3 * EUR - 1_000));
    chain.ok(hom(), true_ups([cdr.clone()]));
    assert_eq!(chain.cdr(&cdr).balance(), Some(0));
    sound(&chain);
}

#[test]
fn small_credits_do_not_stand_in_the_way_of_a_true_up_nor_it_in_the_resolvers() {
    let (mut chain, _, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[400]));
    for _ in 0..15 {
        chain.ok(vis(), credit(&cdr, 1));
    }
    assert_eq!(chain.refused(vis(), credit(&cdr, 1)), LimitReached);
    chain.ok(hom(), contest(&cdr));
    chain.ok(hom(), true_ups([cdr.clone()]));
    assert_eq!(chain.refused(vis(), credit(&cdr, 1)), LimitReached);
    chain.ok(arb(), resolve(&cdr, EUR));
    let record: CdrRecord = chain.cdr(&cdr);
    assert_eq!((record.adjustments.len(), record.balance()), (17, Some(3 * EUR - 15 - 300_000 - EUR)));
}

#[test]
fn a_batch_of_true_ups_has_an_outcome_for_each() {
    let (mut chain, roaming) = forecast_at_noon(dynamic_terms(hom(), vis()));
    chain.now = on(1, 20, 19);
    let cdr = |chain: &Chain, number, hour| {
        by_forecast(chain, &roaming, &roaming.cdr(number, on(1, 20, hour), 10_000), on(1, 20, hour))
    };
    let cdrs = [(1, 13), (2, 14), (3, 15), (4, 16)].map(|(number, hour)| cdr(&chain, number, hour));
    chain.ok(vis(), records(cdrs.clone()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[600, 500, 400]));
    let mut changed = cdrs[0].clone();
    changed.readings = Digest::ZERO;
    let all = cdrs.iter().cloned().chain([changed, cdr(&chain, 9, 17), cdrs[0].clone()]);
    let items = chain.submit(hom(), true_ups(all));
    let found: Vec<_> = items.iter().map(|item| item.outcome.rejection()).collect();
    let want = [
        None,
        Some(NothingToTrueUp),
        None,
        Some(ActualsAwaited),
        Some(RecordDiffers),
        Some(UnknownRecord),
        Some(AlreadyTruedUp),
    ];
    assert_eq!(found, want);
    assert_eq!(owed(&chain, month(1), hom(), vis()), 12 * EUR, "one up, one down");
    sound(&chain);
}

#[test]
fn a_true_up_comes_within_its_window() {
    let (mut chain, roaming, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[600]));
    chain.now = later(cdr.end, crate::true_up::TRUE_UP_WINDOW.millis() + 1);
    assert_eq!(chain.refused(hom(), true_ups([cdr.clone()])), TooLate);
    chain.now = later(cdr.end, crate::true_up::TRUE_UP_WINDOW.millis());
    chain.ok(hom(), true_ups([cdr]));
    assert!(chain.read::<RoamingAgreement>(&StateKey::AgreementTerms(roaming.at.id, 1)).is_some());
}
