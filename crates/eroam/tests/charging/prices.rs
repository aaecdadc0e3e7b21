//! What a driver is told that a charge will cost, beside what it costs.

use crate::accounting::{bill_lines, booked, evidence, session_of};
use crate::town::{Town, charge_up_to, consented, euros, five_kwh, refusal};
use eroam::charging::evidence::{EvidenceError, recheck_metering};
use eroam::charging::wallet::Estimate;
use eroam::clock::{in_time, leave_out, now};
use eroam::simulate::world::Driver;
use eroam_domain::agreement::{Actuals, DynamicRule, Knot, Panel, PriceRule, RoamingAgreement};
use eroam_domain::cdr::Cdr;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours};
use eroam_domain::quote_detail::PriceBasis;
use eroam_domain::retail::RetailRules;
use eroam_domain::tariff::VatRate;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::{ChargeLimits, EndReason};
use eroam_gateway::limits::NotABeginning;
use eroam_ledger::agreement::{AgreementTx, terms_digest};
use eroam_ledger::forecast::{ForecastAttestation, ForecastTx};
use eroam_ledger::query;
use eroam_ledger::tx::Tx;
use eroam_station::metering::digest;
use eroam_wallet::consent::Consent;
use eroam_wallet::cost::{ChargeCost, DriverPrice};
use std::time::Duration;

/// The lane of transactions that people make.
const OFFICE_LANE: u16 = 1;

fn known(cost: &ChargeCost) -> (PartyId, Money, Option<Money>) {
    match &cost.driver {
        DriverPrice::Known { provider, price, most, .. } => (*provider, *price, *most),
        DriverPrice::Unknown { why } => panic!("{why}"),
    }
}

/// The terms between the provider and the first operator.
fn terms(town: &Town) -> (eroam_domain::cdr::AgreementRef, RoamingAgreement) {
    let (emsp, cpo) = (town.world.providers()[0].office().party(), town.world.operators()[0].party());
    let catalogue = town.world.catalogue().unwrap();
    query::agreement_in_force(&catalogue, emsp, cpo, now()).unwrap().expect("an agreement")
}

/// Five minutes after an hour, the price at the first operator begins to follow the load that the second one forecasts: so
/// many kilowatts in this hour and in those that follow.
fn follow_forecast(town: &Town, load_kw: &[u32]) {
    let hour = 3_600_000;
    let past = now().get().rem_euclid(3_600_000).unsigned_abs();
    leave_out(DurationMs::from_millis(hour - past + 300_000));
    let (provider, operators) = (&town.world.providers()[0], town.world.operators());
    let forecaster = operators[1].party();
    let (reference, before) = terms(town);
    let zone: eroam_domain::cdr::GridZone = "PT-1".parse().unwrap();
    let rule = DynamicRule {
        fallback: BasisPoints::new(9_500),
        base_micros_per_kwh: 300_000,
        time_of_use: Vec::new(),
        capacity_kw: 1_000,
        knots: vec![
            Knot { utilisation_bps: 0, surcharge_bps: -5_000 },
            Knot { utilisation_bps: 10_000, surcharge_bps: 5_000 },
        ],
        floor_micros: 0,
        cap_micros: 1_000_000,
        band_bps: BasisPoints::new(1_000),
        vat: VatRate::from_ppm(200_000),
        zone: zone.clone(),
        forecasters: Panel { parties: vec![forecaster], quorum: 1 },
        actuals: Actuals::Independent { attester: forecaster },
        true_up_cap_bps: BasisPoints::new(2_000),
        renewable: Vec::new(),
    };
    let terms = RoamingAgreement { price_rule: PriceRule::Dynamic(rule), ..before };
    let (id, effective_from) = (reference.id, now());
    let accept = AgreementTx::Accept {
        id,
        version: reference.version + 1,
        terms: terms_digest(&terms, effective_from),
    };
    let amend = AgreementTx::Amend { id, terms, effective_from };
    provider.office().submit(OFFICE_LANE, Tx::Agreement(amend)).unwrap();
    operators[0].office().submit(OFFICE_LANE, Tx::Agreement(accept)).unwrap();
    let forecast = ForecastAttestation {
        zone,
        // Nobody forecasts an hour that has begun.
        first_hour: now().utc_hour() + 1,
        load_kw: load_kw.to_vec(),
        low_kw: load_kw.to_vec(),
        high_kw: load_kw.to_vec(),
        renewable_bps: None,
        model: Digest::of(b"model"),
        window: Digest::of(b"window"),
    };
    let tx = Tx::Forecast(ForecastTx::AttestForecast(forecast));
    operators[1].office().submit(OFFICE_LANE, tx).unwrap();
    leave_out(DurationMs::from_millis(hour));
}

#[test]
fn a_driver_is_told_the_price_that_the_providers_rules_make_of_the_operators() {
    let mut town = Town::new(1, 1);
    let (consent, receipt) = consented(&mut town, 0, 0);
    let (provider, price, most) = known(&consent.cost);
    assert_eq!(provider, receipt.emsp);
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let (cdr, _, quote) = booked(&town.world.operators()[0], &session);

    // The operator's price stands beside it, as what the provider owes.
    let (_, terms) = terms(&town);
    assert_eq!(consent.cost.to_operator, Money::new(terms.due(quote.wholesale), quote.currency));
    assert_ne!(price, consent.cost.to_operator);
    // The bill is by the same rules: what each kilowatt-hour was told to cost, it costs.
    let [line] = &bill_lines(&town)[..] else { panic!("one line") };
    let billed = line.retail.total.incl_vat;
    assert!(most.is_some_and(|most| billed <= most.micros), "{billed} and {most:?}");
    let missing = consent.cost.energy.milli_wh() - cdr.energy.milli_wh();
    // At most 0.60 a kilowatt-hour, with everything.
    let less = i64::try_from(missing).unwrap() * 600_000 / 1_000_000;
    assert!((price.micros - less - 20_000..=price.micros + 10_000).contains(&billed), "{price} and {billed}");

    let parts = consent.cost.parts.as_ref().expect("what it is made of");
    assert_eq!((parts.basis, parts.static_part), (PriceBasis::Static, consent.cost.to_operator));
    assert_eq!((parts.forecast_part.micros, parts.later.len(), parts.recommended), (0, 0, None));
    let said = consent.to_string();
    assert!(said.contains(&format!("you pay    about {price} for 5 kWh, at most ")), "{said}");
    assert!(!said.contains("starting at"), "{said}");
}

#[test]
fn a_price_by_forecast_is_shown_with_its_parts_and_what_a_later_start_would_cost() {
    let mut town = Town::new(1, 1);
    let load_kw = [900, 800, 850, 200, 500, 200];
    follow_forecast(&town, &load_kw);
    let begun = now();
    let (consent, _) = consented(&mut town, 0, 0);
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let (cdr, _, quote) = booked(&town.world.operators()[0], &session);
    assert!(quote.forecast.is_some() && cdr.attestation == quote.forecast, "its price follows the forecast");

    let parts = consent.cost.parts.as_ref().expect("what it is made of");
    assert_eq!(parts.basis, PriceBasis::Forecast);
    let sum = parts.static_part.micros + parts.forecast_part.micros;
    assert_eq!(sum, consent.cost.to_operator.micros);
    // At 90 % the curve adds 40 % to 0.30: 5 kWh for 2.10. The rest is the fee for the charge.
    assert_eq!((parts.forecast_part.micros, parts.hours.len()), (2_100_000, 1));
    let starts: Vec<UnixMillis> = parts.later.iter().map(|later| later.start).collect();
    let hour = |ahead| UnixMillis::from_utc_hour(begun.utc_hour() + ahead).unwrap();
    assert_eq!(starts, [1, 2, 3, 4, 5].map(hour));
    // 0.30 * (10000 - 5000 + load) / 10000 a kilowatt-hour, and the same fee.
    for (later, load) in parts.later.iter().zip(&load_kw[1..]) {
        let energy = 5 * 30 * (5_000 + i64::from(*load) * 10);
        assert_eq!(later.to_operator.micros - parts.static_part.micros, energy);
        assert!(later.driver.is_some_and(|driver| driver.micros > later.to_operator.micros));
    }
    // Two hours are as cheap: the earlier one.
    assert_eq!(parts.recommended.map(|best| best.start), Some(hour(3)));
    let said = consent.to_string();
    assert!(said.contains("cheapest   starting at") && said.contains("later      starting at"), "{said}");
}

#[test]
fn a_later_start_under_rules_that_are_announced_is_not_priced_by_those_of_today() {
    let town = Town::new(1, 1);
    follow_forecast(&town, &[900, 500, 500, 100, 100]);
    let hour = |ahead| UnixMillis::from_utc_hour(now().utc_hour() + ahead).unwrap();
    town.world.providers()[0].office().with(|gateway, _| {
        let rules = gateway.rules_mut();
        let dearer = rules.home.versions().last().expect("rules").rules.clone();
        rules
            .home
            .update(hour(3), eroam_domain::retail::RetailRules { margin_bps: 9_000, ..dearer })
            .unwrap();
    });
    let mut newcomer = town.newcomer("*");
    let Driver { wallet, contract } = &mut newcomer;
    let (_, cost) = wallet.quote(contract, &town.invitation(0), five_kwh(), euros(30)).unwrap();
    let parts = cost.parts.expect("what it is made of");
    let known: Vec<bool> = parts.later.iter().map(|later| later.driver.is_some()).collect();
    assert_eq!(known, [true, true, false, false]);
    assert_eq!(parts.recommended.map(|best| best.start), Some(hour(1)), "the cheapest whose price is known");
}

#[test]
fn where_the_price_does_not_follow_from_the_ledger_or_the_rules_are_not_known_none_is_made_up() {
    let mut town = Town::new(1, 1);
    // The operator prices a station of half the power, for twice the time that its credential lets expect.
    let operator = town.world.operators()[0].clone();
    let evse = town.world.stations()[0].station().claims().evse.clone();
    let known = operator.office().with(|gateway, _| gateway.station(&evse).cloned()).unwrap();
    let slower =
        eroam_gateway::gateway::Evse { power: eroam_domain::quantity::Watts::new(5_500), ..known.clone() };
    operator.office().with(|gateway, _| gateway.put_station(slower));
    let (consent, _) = consented(&mut town, 0, 0);
    let DriverPrice::Unknown { why } = &consent.cost.driver else { panic!("{:?}", consent.cost) };
    assert!(why.contains("not what it agreed on with your provider"), "{why}");
    assert_eq!(consent.cost.parts, None);
    assert!(consent.to_string().contains("you pay    not known: "), "{consent}");
    operator.office().with(|gateway, _| gateway.put_station(known));
    town.outcome(0);

    // Rules that begin tomorrow are none yet.
    let retail = town.world.providers()[0]
        .office()
        .with(|gateway, _| gateway.rules().home.versions().last().expect("rules").rules.clone());
    town.world.providers()[0].office().with(|gateway, _| {
        let rules = gateway.rules_mut();
        rules.home = eroam_gateway::rules::HomeRules::new([0; 4]);
        let tomorrow = UnixMillis::new(now().get() + 86_400_000).unwrap();
        rules.home.update(tomorrow, retail).unwrap();
    });
    let invitation = town.invitation(0);
    let mut newcomer = town.newcomer("*");
    let mut quoted = || {
        let Driver { wallet, contract } = &mut newcomer;
        wallet.learn_prices(contract).unwrap();
        wallet.quote(contract, &invitation, five_kwh(), euros(30)).unwrap().1.driver
    };
    let DriverPrice::Unknown { why } = quoted() else { panic!("there are no rules today") };
    assert_eq!(why, "your provider has no rules for this time: ask it what you pay");
    leave_out(DurationMs::from_millis(86_400_000 + 1));
    assert!(matches!(quoted(), DriverPrice::Known { .. }), "tomorrow they are in force");
}

#[test]
fn a_quote_costs_no_voucher_and_says_what_a_charge_would() {
    let mut town = Town::new(1, 1);
    let invitation = town.invitation(0);
    let Driver { wallet, contract } = &mut town.world.drivers[0];
    let before: Vec<_> = wallet.contracts[contract].purse.vouchers().copied().collect();
    let (station, cost) = wallet.quote(contract, &invitation, five_kwh(), euros(30)).unwrap();
    assert_eq!(wallet.contracts[contract].purse.vouchers().copied().collect::<Vec<_>>(), before);
    assert_eq!(station, *town.world.stations()[0].station().claims());
    crate::town::denied(town.outcome(0));
    let (consent, _) = consented(&mut town, 0, 0);
    assert_eq!(consent.cost, cost);
}

#[test]
fn who_looks_for_a_station_sees_what_each_contract_would_pay_there_or_why_it_cannot() {
    let mut town = Town::new(1, 1);
    let location = town.world.operators()[0].locations().remove(0);
    let energy = WattHours::from_wh(5_000).unwrap();
    let estimates = town.world.drivers[0].wallet.estimates(&location, energy);
    let [evse] = &estimates[..] else { panic!("{estimates:?}") };
    let [(contract, Estimate::Cost(cost))] = &evse[0][..] else { panic!("{evse:?}") };
    assert_eq!(*contract, town.world.drivers[0].contract);
    assert_eq!((cost.limit, known(cost).2), (None, None));
    let (consent, _) = consented(&mut town, 0, 0);
    assert_eq!((known(cost).1, cost.to_operator), (known(&consent.cost).1, consent.cost.to_operator));

    let elsewhere = town.newcomer("ES-9").wallet.estimates(&location, energy);
    let [(_, Estimate::None(why))] = &elsewhere[0][0][..] else { panic!("{elsewhere:?}") };
    assert!(why.contains("is good in ES-9, and this station is in PT-1"), "{why}");
    let (reference, _) = terms(&town);
    let end = Tx::Agreement(AgreementTx::Terminate { id: reference.id, at: now() });
    town.world.providers()[0].office().submit(OFFICE_LANE, end).unwrap();
    leave_out(DurationMs::from_millis(1));
    let ended = town.world.drivers[0].wallet.estimates(&location, energy);
    let [(_, Estimate::None(why))] = &ended[0][0][..] else { panic!("{ended:?}") };
    assert_eq!(why, "your provider has no agreement with this operator");
}

#[test]
fn an_amount_below_the_estimate_is_a_limit_at_which_the_station_stops() {
    let mut town = Town::new(1, 1);
    let invitation = town.invitation(0);
    let (mut told, one_euro) = (None, euros(1));
    let mut agrees = |consent: &eroam_wallet::consent::Consent| {
        told = Some(consent.clone());
        true
    };
    let driver = &mut town.world.drivers[0];
    let receipt = charge_up_to(driver, &invitation, five_kwh(), one_euro, &mut agrees).unwrap();
    assert_eq!(receipt.finished.reason, EndReason::AmountReached);
    let told = told.unwrap();
    assert!(told.cost.to_operator.micros > one_euro.micros);
    assert!(told.to_string().contains("; the station stops at 1.00 EUR, before that"), "{told}");
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let (cdr, ..) = booked(&town.world.operators()[0], &session);
    let (_, terms) = terms(&town);
    let due = terms.due(cdr.price);
    // A look adds at most what 11 kW deliver in half a minute: 0.092 kWh at 0.32.
    assert!((970_000..=1_000_000).contains(&due), "{due}");
    let most = known(&told.cost).2.expect("a bound");
    let [line] = &bill_lines(&town)[..] else { panic!("one line") };
    assert!(line.retail.total.incl_vat <= most.micros);
}

#[test]
fn what_is_asked_for_is_delivered_but_for_less_than_one_look() {
    let mut town = Town::new(1, 1);
    let invitation = town.invitation(0);
    let energy_max = WattHours::from_wh(1_000);
    let limits = ChargeLimits { energy_max, ..ChargeLimits::default() };
    let driver = &mut town.world.drivers[0];
    let receipt = charge_up_to(driver, &invitation, limits, euros(30), &mut |_| true).unwrap();
    assert_eq!(receipt.finished.reason, EndReason::EnergyReached);
    // 11 kW for half a minute: 92 Wh.
    let delivered = receipt.finished.energy.whole_wh();
    assert!((908..=1_000).contains(&delivered), "{delivered}");
}

#[test]
fn who_allows_less_than_the_beginning_costs_hears_so_before_being_asked_for_anything() {
    let mut town = Town::new(1, 1);
    let invitation = town.invitation(0);
    // 0.35 for each charge, by the agreement 97 % of it, without VAT.
    let allowed = Money { micros: 339_499, ..euros(0) };
    let driver = &mut town.world.drivers[0];
    let vouchers = |driver: &Driver| driver.wallet.contracts[&driver.contract].purse.vouchers().count();
    let before = vouchers(driver);
    let mut asked = |_: &Consent| panic!("the driver is asked");
    let said = refusal(charge_up_to(driver, &invitation, five_kwh(), allowed, &mut asked));
    let expected = "0.3395 EUR is due for the beginning of a charge alone, and you allow 0.339499 EUR: allow more, or charge \
                    elsewhere";
    assert_eq!(said, expected);
    let Driver { wallet, contract } = &mut *driver;
    assert_eq!(refusal(wallet.quote(contract, &invitation, five_kwh(), allowed)), expected);
    assert_eq!(vouchers(driver), before, "none is spent");
    // The next millionth buys the beginning, and no more.
    let allowed = Money { micros: 339_500, ..allowed };
    let receipt = charge_up_to(driver, &invitation, five_kwh(), allowed, &mut |_| true).unwrap();
    assert_eq!(receipt.finished.reason, EndReason::AmountReached);
}

/// The first look at the meter finds more than the driver allowed: 92 Wh in half a minute. The meter has signed all of it, the
/// record has what was allowed.
#[test]
fn what_a_station_gives_beyond_a_limit_is_at_its_operators_expense() {
    let half_a_cent = 5_000;
    let table = [
        ("energy", ChargeLimits { energy_max: WattHours::from_wh(50), ..ChargeLimits::default() }, euros(30)),
        ("money", ChargeLimits::default(), Money { micros: 339_500 + half_a_cent, ..euros(0) }),
        ("time", ChargeLimits { leaves_at: Some(UnixMillis::EPOCH), ..ChargeLimits::default() }, euros(30)),
    ];
    for (what, limits, allowed) in table {
        let mut town = Town::new(1, 1);
        let invitation = town.invitation(0);
        // Between two looks, which are half a minute apart.
        let leaves_at = limits.leaves_at.map(|_| in_time(Duration::from_secs(50)));
        let limits = ChargeLimits { leaves_at, ..limits };
        let driver = &mut town.world.drivers[0];
        let receipt = charge_up_to(driver, &invitation, limits, allowed, &mut |_| true).unwrap();
        let session = session_of(town.outcome(0));
        assert_eq!(town.settled(), (1, 1), "{what}: booked and billed");
        let (cdr, ..) = booked(&town.world.operators()[0], &session);
        let (_, terms) = terms(&town);
        let [line] = &bill_lines(&town)[..] else { panic!("one line") };
        assert_eq!((line.energy, line.start, line.end), (cdr.energy, cdr.start, cdr.end), "{what}");
        assert_eq!(cdr.readings, digest(&receipt.finished.readings), "{what}: all readings are named");
        assert!(cdr.energy < receipt.finished.energy && cdr.start == receipt.finished.start, "{what}");
        // Whoever opens the evidence finds that less was billed than signed.
        let (operator, meter_key) = (&town.world.operators()[0], &receipt.station.meter_key);
        operator.recheck(&session).unwrap();
        let sent = evidence(operator, &session);
        let not_billed = recheck_metering(&cdr, &sent, meter_key).unwrap();
        assert_eq!(cdr.energy.checked_add(not_billed), Some(receipt.finished.energy), "{what}");
        let more = Cdr { energy: receipt.finished.energy, ..cdr.clone() };
        let refused = recheck_metering(&more, &sent, meter_key).unwrap_err();
        assert!(matches!(refused, EvidenceError::Recorded(NotABeginning::Energy)), "{what}: {refused}");
        match what {
            "energy" => assert_eq!(Some(cdr.energy), limits.energy_max),
            "money" => {
                let due = terms.due(cdr.price);
                assert!((339_500..=allowed.micros).contains(&due), "{due}");
                assert!(allowed.micros - due < 200, "as much as it pays for: {due}");
            }
            _ => assert_eq!(Some(cdr.end), leaves_at),
        }
    }
}

/// The provider makes everything dearer while the driver reads what it will cost: who agreed pays what was shown.
#[test]
fn the_driver_pays_by_the_rules_by_which_the_price_was_shown() {
    let mut town = Town::new(1, 1);
    let (office, invitation) = (town.world.providers()[0].office().clone(), town.invitation(0));
    let mut shown = None;
    let mut agrees = |consent: &Consent| {
        shown = Some(consent.cost.clone());
        office.with(|gateway, _| {
            let (version, rules) = gateway.rules().home.in_force(now()).unwrap();
            assert_eq!(version, 1);
            let dearer = RetailRules { margin_bps: rules.margin_bps + 20_000, ..rules.clone() };
            gateway.rules_mut().home.update(now(), dearer).unwrap();
        });
        // So that the driver agrees at another instant than the quote was made at.
        leave_out(DurationMs::from_millis(1_000));
        true
    };
    charge_up_to(&mut town.world.drivers[0], &invitation, five_kwh(), euros(30), &mut agrees).unwrap();
    let (_, price, most) = known(&shown.unwrap());
    let session = session_of(town.outcome(0));
    let (cdr, spent, quote) = booked(&town.world.operators()[0], &session);
    assert!(spent.acceptance.accepted_at > quote.made_at);
    assert_eq!(town.settled(), (1, 1));
    let [line] = &bill_lines(&town)[..] else { panic!("one line") };
    assert_eq!(line.retail_version, 1);
    // What was shown is for five kilowatt-hours, of which less than one look at the meter is missing.
    let pays = line.retail.total.incl_vat;
    assert!(pays <= price.micros && most.is_some_and(|most| pays <= most.micros), "{pays} of {price}");
    assert!(pays > price.micros * 97 / 100, "{pays} of {price}, {:?}", cdr.energy);
    // The next one is shown, and pays, the new rules, as soon as its wallet has asked for them.
    let mut newcomer = town.newcomer("*");
    let Driver { wallet, contract } = &mut newcomer;
    let (_, dearer) = wallet.quote(contract, &invitation, five_kwh(), euros(30)).unwrap();
    assert!(known(&dearer).1.micros > 2 * price.micros);
}
