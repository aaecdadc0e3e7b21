//! Prices by forecast between a quote and its true-up.
//!
//! GLP's station is in zone PT-N, where NOA forecasts and measures the load. At 500 of 1,000 kW a kWh costs 0.30, and
//! 0.0003 more for each further kilowatt; a session costs 1.00 besides, by the tariff. By the tariff a kWh costs 0.40, and
//! the static rule is 95 % of the tariff.

use super::quotes::amend;
use super::world::*;
use crate::gateway::Effect;
use crate::quote::detail::{LaterStart, PriceBasis, QuoteDetail};
use crate::sessions::{Consumption, Phase};
use eroam_domain::agreement::{Actuals, DynamicRule, Knot, Panel, PriceRule, RoamingAgreement};
use eroam_domain::cdr::{Adjustment, Cdr, GridZone};
use eroam_domain::charge::Quote;
use eroam_domain::codec::Digest;
use eroam_domain::quantity::{BasisPoints, DurationMs};
use eroam_domain::tariff::VatRate;
use eroam_domain::time::UnixMillis;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::forecast::{ForecastAttestation, ForecastTx, LoadAttestation};
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::tx::Tx;

fn zone() -> GridZone {
    GridZone::new("PT-N").unwrap()
}

fn rule() -> DynamicRule {
    DynamicRule {
        fallback: BasisPoints::new(9_500),
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
        vat: VatRate::from_ppm(230_000),
        zone: zone(),
        forecasters: Panel { parties: vec![noa()], quorum: 1 },
        actuals: Actuals::Independent { attester: noa() },
        true_up_cap_bps: BasisPoints::new(2_000),
        renewable: Vec::new(),
    }
}

/// A forecast from the hour of `first` on reaches the ledger now.
#[track_caller]
fn attest(world: &mut World, first: UnixMillis, load_kw: &[u32]) {
    let said = ForecastAttestation {
        zone: zone(),
        first_hour: first.utc_hour(),
        load_kw: load_kw.to_vec(),
        low_kw: load_kw.to_vec(),
        high_kw: load_kw.to_vec(),
        renewable_bps: None,
        model: Digest::of(b"model"),
        window: Digest::of(b"window"),
    };
    let tx = Tx::Forecast(ForecastTx::AttestForecast(said));
    assert_eq!(world.ledger.office_at(world.now, noa(), tx), None);
}

/// What the load was from the hour of `first` on reaches the ledger now.
#[track_caller]
fn measure(world: &mut World, first: UnixMillis, load_kw: &[u32]) {
    let (zone, source) = (zone(), Digest::of(b"meters"));
    let said = LoadAttestation { zone, first_hour: first.utc_hour(), load_kw: load_kw.to_vec(), source };
    let tx = Tx::Forecast(ForecastTx::AttestLoad(said));
    assert_eq!(world.ledger.office_at(world.now, noa(), tx), None);
}

/// EDP and GLP have agreed to it at noon. It is 13:05.
fn dynamic_world(rule: DynamicRule, load_kw: &[u32]) -> World {
    let mut world = World::new();
    amend(&mut world, RoamingAgreement { price_rule: PriceRule::Dynamic(rule), ..terms(edp(), glp()) });
    if !load_kw.is_empty() {
        attest(&mut world, on(3, 10, 13, 0), load_kw);
    }
    world.wait(65 * MINUTE);
    world.ledger.blocks.clear();
    world
}

/// Ana is quoted 20 kWh at 22 kW: 55 minutes, all of them in the hour from 13:00.
fn quoted_to_ana(world: &mut World) -> (Quote, QuoteDetail) {
    let quote = quoted(&world.swipe("s1", AT_GLP, ANA));
    let detail = detail(world).expect("a quote has its detail");
    assert_eq!(detail.static_part.checked_add(detail.forecast_part), Some(quote.wholesale));
    assert_eq!(detail.wholesale.total, quote.wholesale);
    (quote, detail)
}

fn detail(world: &mut World) -> Option<QuoteDetail> {
    let mut found = None;
    world
        .call(glp(), |gateway, ledger| {
            found = gateway.quote_detail(ledger, &id("s1"))?;
            Ok(Vec::new())
        })
        .unwrap();
    found
}

/// 20 kWh from now on, within the hour.
fn charged(world: &World) -> Consumption {
    let mut consumption = hour_of(world.now, 20_000);
    let end = later(world.now, 50 * MINUTE);
    consumption.end = end;
    consumption.periods[0].charging = DurationMs::from_millis(50 * MINUTE);
    consumption
}

/// Accepts, charges, and gives the record. It is an hour later then.
#[track_caller]
fn charge_quoted(world: &mut World) -> Cdr {
    assert!(is_power_on(&world.accept("s1")), "power");
    let consumption = charged(world);
    world.wait(HOUR);
    assert_eq!(world.consumed("s1", consumption), []);
    match world.session("s1").phase {
        Phase::Recorded { cdr, .. } => cdr,
        other => panic!("not recorded: {other:?}"),
    }
}

fn true_ups(world: &World) -> Vec<Option<RejectCode>> {
    let sent = world
        .ledger
        .blocks
        .iter()
        .filter(|(envelope, _)| matches!(envelope.envelope().tx, Tx::Cdr(CdrTx::TrueUp(_))));
    sent.flat_map(|(_, receipt)| &receipt.items).map(|item| item.outcome.rejection()).collect()
}

fn adjustments(world: &World, cdr: &Cdr) -> Vec<Adjustment> {
    query::cdr(&world.ledger, glp(), &cdr.id).unwrap().unwrap().adjustments
}

#[test]
fn a_quote_follows_the_forecast_and_shows_its_parts_and_the_price_of_starting_later() {
    let mut world = dynamic_world(rule(), &[500, 700, 300]);
    let (quote, detail) = quoted_to_ana(&mut world);
    // 20 kWh at 0.30, and 1.00 for the session: no factor on what the tariff does not price.
    assert_eq!((quote.wholesale.excl_vat, quote.wholesale.incl_vat), (7_000_000, 8_610_000));
    assert!(quote.forecast.is_some());
    // 7.00 x 1.05 + 0.20 = 7.55.
    assert_eq!(quote.retail.unwrap().excl_vat, 7_550_000);
    assert_eq!(detail.basis, PriceBasis::Forecast);
    assert_eq!((detail.forecast_part.excl_vat, detail.static_part.excl_vat), (6_000_000, EUR));
    let [hour] = detail.hours[..] else { panic!("{:?}", detail.hours) };
    assert_eq!((hour.hour, hour.utilisation_bps, hour.surcharge_bps), (world.now.utc_hour(), 5_000, 0));
    assert_eq!((hour.micros_per_kwh, hour.energy, hour.amount.excl_vat), (300_000, wh(20_000), 6_000_000));
    // At 14:00 with 700 kW, and at 15:00 with 300; of 16:00 nobody has said anything.
    let starts: Vec<_> = detail.later.iter().map(|l: &LaterStart| (l.start, l.wholesale.excl_vat)).collect();
    assert_eq!(starts, [(on(3, 10, 14, 0), 8_200_000), (on(3, 10, 15, 0), 5_800_000)]);
    assert!(detail.later.iter().all(|later| later.without_forecast.is_zero()));
    // 8.20 x 1.05 + 0.20 = 8.81, 5.80 x 1.05 + 0.20 = 6.29.
    let retail: Vec<_> = detail.later.iter().map(|l| l.retail.unwrap().excl_vat).collect();
    assert_eq!(retail, [8_810_000, 6_290_000]);
}

#[test]
fn a_later_start_says_how_much_of_it_is_beyond_the_forecast() {
    let mut world = dynamic_world(rule(), &[500, 700]);
    // 44 kWh at 22 kW: two hours.
    let mut request = world.ask("s1", AT_GLP, ANA, card(ANA));
    request.energy_wanted = Some(wh(44_000));
    let quote = quoted(&world.request(&request));
    let detail = detail(&mut world).unwrap();
    // 55 minutes at 0.30 and an hour at 0.36; the last 5 minutes and the fee by the tariff, of that energy 95 %.
    let energy: Vec<_> = detail.hours.iter().map(|hour| hour.energy.milli_wh()).collect();
    assert_eq!(energy, [20_166_666, 22_000_000]);
    assert_eq!(detail.forecast_part.excl_vat, 6_049_999 + 7_920_000);
    assert!((detail.static_part.excl_vat - (EUR + 1_833_334 * 38 / 100)).abs() < 10_000, "to a cent");
    assert_eq!(quote.wholesale, detail.wholesale.total);
    let [later] = detail.later[..] else { panic!("{:?}", detail.later) };
    assert_eq!((later.start, later.without_forecast), (on(3, 10, 14, 0), wh(22_000)));
}

#[test]
fn without_a_forecast_the_static_rule_applies_and_the_quote_says_so() {
    let mut world = dynamic_world(rule(), &[]);
    let (quote, detail) = quoted_to_ana(&mut world);
    // (8.00 + 1.00) x 0.95.
    assert_eq!((quote.wholesale.excl_vat, quote.forecast), (8_550_000, None));
    assert_eq!((detail.basis, detail.hours.len(), detail.later.len()), (PriceBasis::NoForecast, 0, 0));
    assert!(detail.basis.words().contains("no forecast"));
    let cdr = charge_quoted(&mut world);
    assert_eq!((cdr.attestation, cdr.price.excl_vat), (None, 8_550_000));
    assert_eq!(world.bill_lines(edp()).len(), 1);
    // There is nothing to true up, whatever the load was.
    measure(&mut world, on(3, 10, 13, 0), &[900]);
    world.wait(2 * HOUR);
    world.tick(glp());
    world.tick(edp());
    assert_eq!(true_ups(&world), []);
    // Where a static price is agreed, that is what it says.
    let mut world = World::new();
    assert_eq!(quoted_to_ana(&mut world).1.basis, PriceBasis::Static);
}

#[test]
fn a_session_is_recorded_and_billed_by_the_forecast_that_was_quoted() {
    let mut world = dynamic_world(rule(), &[500, 700, 300]);
    let (quote, _) = quoted_to_ana(&mut world);
    let cdr = charge_quoted(&mut world);
    assert_eq!((cdr.attestation, cdr.price), (quote.forecast, quote.wholesale));
    let [line] = &world.bill_lines(edp())[..] else { panic!("billed once") };
    assert_eq!((line.wholesale, Some(line.retail.total)), (Some(quote.wholesale), quote.retail));
    let [wholesale] = &world.wholesale_lines(glp())[..] else { panic!("one line") };
    assert_eq!((wholesale.due, wholesale.true_up), (8_610_000, 0));
}

#[test]
fn a_forecast_that_is_superseded_while_the_quote_is_held_changes_nothing_for_it() {
    let mut world = dynamic_world(rule(), &[500, 500, 500]);
    world.now = on(3, 10, 13, 55);
    let (quote, _) = quoted_to_ana(&mut world);
    // 5 minutes in this hour and 49 in the next, both at 0.30.
    assert_eq!(quote.wholesale.excl_vat, 7_000_000);
    world.wait(MINUTE);
    attest(&mut world, on(3, 10, 14, 0), &[900]);
    assert_eq!(detail(&mut world).map(|detail| detail.wholesale.total), Some(quote.wholesale));
    // Whoever is quoted now follows the new one.
    let later = quoted(&world.swipe("s2", AT_GLP, ANA));
    assert!(later.forecast != quote.forecast && later.wholesale.excl_vat > quote.wholesale.excl_vat);
    world.wait(3 * MINUTE);
    let cdr = charge_quoted(&mut world);
    assert_eq!((cdr.accepted_at, cdr.attestation), (on(3, 10, 13, 59), quote.forecast));
    assert_eq!(cdr.price, quote.wholesale);
    assert_eq!(world.bill_lines(edp()).len(), 1);
}

#[test]
fn a_forecast_that_came_between_quote_and_look_is_not_taken_for_the_quoted_one() {
    // In force since before the quote was made, but the gateway learned of it afterwards.
    let mut world = dynamic_world(rule(), &[500, 500]);
    world.now = on(3, 10, 13, 58);
    let (quote, _) = quoted_to_ana(&mut world);
    let seen = world.now;
    world.now = on(3, 10, 13, 57);
    attest(&mut world, on(3, 10, 14, 0), &[900]);
    world.now = seen;
    let cdr = charge_quoted(&mut world);
    assert_eq!((cdr.attestation, cdr.price), (quote.forecast, quote.wholesale));
    assert_eq!(world.bill_lines(edp()).len(), 1);
}

#[test]
fn a_session_that_goes_on_follows_the_forecast_as_far_as_it_reaches() {
    let mut world = dynamic_world(rule(), &[500, 700]);
    let (quote, _) = quoted_to_ana(&mut world);
    assert!(is_power_on(&world.accept("s1")));
    // Three hours from 13:05 on, 1 kWh a minute's... 18 kWh evenly: 5.5, 6, and 6.5 without a forecast.
    let mut consumption = hour_of(world.now, 18_000);
    consumption.end = later(world.now, 3 * HOUR);
    consumption.periods[0].charging = DurationMs::from_millis(3 * HOUR);
    world.wait(3 * HOUR);
    world.consumed("s1", consumption);
    let Phase::Recorded { cdr, .. } = world.session("s1").phase else { panic!("recorded") };
    // 1.65 + 2.16 by forecast, 6.5 kWh at 95 % of 0.40, and the fee.
    assert_eq!(cdr.price.excl_vat, 1_650_000 + 2_160_000 + 2_470_000 + EUR);
    assert_eq!(cdr.attestation, quote.forecast, "it is one attestation, whatever hours of it are used");
    assert_eq!(world.bill_lines(edp()).len(), 1);
}

#[test]
fn a_record_is_trued_up_when_the_load_is_known_and_the_bill_stays() {
    // 20 kWh at 0.36 in place of 0.30: 1.20 more, 1.476 with VAT, and the other way.
    for (actual, micros) in [(700, 1_480_000), (300, -1_470_000)] {
        let mut world = dynamic_world(rule(), &[500, 500]);
        quoted_to_ana(&mut world);
        let cdr = charge_quoted(&mut world);
        let bill = world.bill_lines(edp());
        world.wait(2 * HOUR);
        assert_eq!((world.tick(glp()), world.tick(edp())), (vec![], vec![]));
        assert_eq!(true_ups(&world), [], "nobody has measured yet");
        measure(&mut world, on(3, 10, 13, 0), &[actual]);
        world.wait(HOUR);
        world.tick(glp());
        world.tick(edp());
        assert_eq!(true_ups(&world), [None], "once, by whoever looks first");
        let [Adjustment::TrueUp { micros: found }] = adjustments(&world, &cdr)[..] else { panic!("one") };
        assert!((found - micros).abs() <= 10_000, "{found}");
        // On the operator's invoice, and not on the driver's bill.
        let [line] = &world.wholesale_lines(glp())[..] else { panic!("one line") };
        assert_eq!((line.due, line.true_up), (8_610_000, found));
        assert_eq!(world.bill_lines(edp()), bill);
        // Nobody asks again.
        for _ in 0..3 {
            world.wait(2 * HOUR);
            world.tick(glp());
            world.tick(edp());
        }
        assert_eq!(true_ups(&world).len(), 1);
    }
}

#[test]
fn the_home_utility_asks_where_the_operator_keeps_silent_and_both_may_ask_at_once() {
    let ready = || {
        let mut world = dynamic_world(rule(), &[500, 500]);
        quoted_to_ana(&mut world);
        let cdr = charge_quoted(&mut world);
        world.wait(2 * HOUR);
        measure(&mut world, on(3, 10, 13, 0), &[300]);
        (world, cdr)
    };
    let (mut world, cdr) = ready();
    world.tick(edp());
    assert_eq!((true_ups(&world), adjustments(&world, &cdr).len()), (vec![None], 1));
    // The invoice is the operator's, who saw the block.
    assert!(world.wholesale_lines(glp())[0].true_up < 0);
    let (mut world, cdr) = ready();
    world.ledger_reachable = false;
    world.tick(edp());
    world.tick(glp());
    world.ledger_reachable = true;
    world.drive();
    assert_eq!(true_ups(&world), [None, Some(RejectCode::AlreadyTruedUp)]);
    assert_eq!(adjustments(&world, &cdr).len(), 1);
    // Neither has anything left to look at.
    assert!(world.stores().values().all(|store| store.true_ups.is_empty()));
}

#[test]
fn a_true_up_stays_within_the_cap_and_within_the_band_there_is_none() {
    for (actual, cap_bps, want) in
        [(1_000, 1_000, Some(861_000)), (0, 500, Some(-430_500)), (550, 2_000, None)]
    {
        let capped = DynamicRule { true_up_cap_bps: BasisPoints::new(cap_bps), ..rule() };
        let mut world = dynamic_world(capped, &[500, 500]);
        quoted_to_ana(&mut world);
        let cdr = charge_quoted(&mut world);
        world.wait(2 * HOUR);
        measure(&mut world, on(3, 10, 13, 0), &[actual]);
        world.tick(glp());
        world.tick(edp());
        let found = adjustments(&world, &cdr);
        assert_eq!(found, want.map(|micros| Adjustment::TrueUp { micros }).into_iter().collect::<Vec<_>>());
        assert!(world.stores().values().all(|store| store.true_ups.is_empty()), "done with it");
    }
}

#[test]
fn what_waited_for_a_true_up_is_asked_for_again_after_a_crash() {
    let mut world = dynamic_world(rule(), &[500, 500]);
    quoted_to_ana(&mut world);
    let cdr = charge_quoted(&mut world);
    world.wait(2 * HOUR);
    measure(&mut world, on(3, 10, 13, 0), &[300]);
    world.ledger_reachable = false;
    world.tick(glp());
    world.restart(glp());
    world.ledger_reachable = true;
    assert_eq!(adjustments(&world, &cdr), []);
    world.wait(HOUR);
    world.tick(glp());
    assert_eq!(adjustments(&world, &cdr).len(), 1);
    // After a second crash the ledger says that it was done.
    world.restart(glp());
    world.wait(HOUR);
    world.tick(glp());
    assert_eq!(true_ups(&world), [None]);
    assert!(!world.store(glp()).wholesale.is_empty());
}

#[test]
fn a_home_utility_pays_for_no_forecast_that_the_record_may_not_follow() {
    // The ledger refuses such a record, so that only a report can claim it.
    let mut world = dynamic_world(rule(), &[500, 500]);
    quoted_to_ana(&mut world);
    assert!(is_power_on(&world.accept("s1")));
    let consumption = charged(&world);
    world.wait(HOUR);
    world.ledger_reachable = false;
    world.consumed("s1", consumption);
    let Phase::Recording { mut cdr, .. } = world.session("s1").phase else { panic!("recording") };
    cdr.attestation = None;
    let terms = RoamingAgreement { price_rule: PriceRule::Dynamic(rule()), ..terms(edp(), glp()) };
    let found = crate::forecasts::of_booked(&world.ledger, &terms, &cdr).unwrap();
    assert!(found.unwrap_err().to_string().contains("there was one all the time"));
    world.ledger_reachable = true;
    world.drive();
    assert!(!world.shown().iter().any(|effect| matches!(effect, Effect::Deny { .. })));
    assert_eq!(world.bill_lines(edp()).len(), 1);
}
