//! What an actual load that was not as forecast changes.

use super::dynamic::{forecast, quarter_per_kwh, rule};
use super::*;
use crate::agreement::{DynamicRule, Limits, PriceRule, RoamingAgreement, Shares, Terms, VatTreatment};
use crate::cdr::{AgreementRef, Cdr, CdrId, EvsePseudonym, Payer, TariffRef};
use crate::codec::{Digest, ShortText, SignatureBytes};
use crate::ids::PartyId;
use crate::money::Money;
use crate::pricing::true_up::{TrueUp, TrueUpInputs, leaves_band, true_up};
use crate::time::PeriodKind;
use proptest::prelude::*;
use std::collections::BTreeMap;

pub(crate) fn terms(rule: DynamicRule) -> RoamingAgreement {
    let (currency, party) = (Currency::new("EUR").unwrap(), |id| PartyId::new("PT", id).unwrap());
    let (day, most) = (DurationMs::from_millis(86_400_000), 100_000_000);
    RoamingAgreement {
        emsp: party("HOM"),
        cpo: party("VIS"),
        price_rule: PriceRule::Dynamic(rule),
        shares: Shares::OPERATOR_ONLY,
        limits: Limits {
            energy_max: wh(100_000),
            duration_max: day,
            power_max: crate::quantity::Watts::new(50_000),
            amount_max: most,
        },
        credit_limit: Money::new(most, currency),
        period: PeriodKind::Month,
        currency,
        rounding: exact(),
        vat: VatTreatment::ReverseCharge,
        resolver: party("ARB"),
        contest_window: day,
        resolve_window: day,
        record_window: day,
        terms: Terms::Clear,
    }
}

/// A record of so much energy in the three hours from noon on.
fn record(terms: &RoamingAgreement, tariff: &Tariff, energy: WattHours) -> Cdr {
    let (periods, end) = sequence(&[charging(mins(180), energy)]);
    let start = periods[0].start;
    Cdr {
        id: CdrId::new("cdr-1").unwrap(),
        session: Digest::ZERO,
        agreement: AgreementRef { id: Digest::ZERO, version: 1 },
        tariff: TariffRef { id: tariff.id().clone(), version: 1 },
        evse: EvsePseudonym([1; 16]),
        zone: ShortText::new("PT-N").unwrap(),
        accepted_at: start,
        start,
        end,
        clock: LocalClock::UTC,
        periods,
        energy,
        attestation: None,
        price: Price::ZERO,
        currency: terms.currency,
        quote: Digest::ZERO,
        readings: Digest::ZERO,
        acceptance: SignatureBytes([0; 64]),
        payer: Payer::Contract { commitment: Digest::ZERO },
    }
}

/// A record of three kWh.
pub(crate) fn record_of(terms: &RoamingAgreement) -> Cdr {
    record(terms, &quarter_per_kwh(), wh(3_000))
}

/// The true-up of a record of three kWh with these loads forecast and actual, from noon on.
fn of(rule: &DynamicRule, said: &[u32], really: &[Option<u32>], left: Option<i64>) -> (i64, TrueUp) {
    let (terms, tariff) = (terms(rule.clone()), quarter_per_kwh());
    let cdr = record(&terms, &tariff, wh(3_000));
    let forecast = forecast("2021-05-05T12:00:00Z", said);
    let booked =
        price(&PricingInputs::of_record(&terms, &tariff, &cdr, Some(&forecast))).unwrap().total.excl_vat;
    let hours = (forecast.first_hour..).zip(really).filter_map(|(hour, load)| Some((hour, (*load)?)));
    let actual_kw: BTreeMap<i64, u32> = hours.collect();
    let inputs = TrueUpInputs {
        terms: &terms,
        rule,
        tariff: &tariff,
        cdr: &cdr,
        forecast: &forecast,
        actual_kw: &actual_kw,
        booked,
        left: left.unwrap_or(booked),
    };
    (booked, true_up(&inputs).unwrap())
}

#[test]
fn the_band_is_relative_to_the_forecast_and_closed() {
    let band = BasisPoints::new(500);
    for (forecast, actual, left) in
        [(10_000, 10_500, false), (10_000, 10_501, true), (10_000, 9_500, false), (10_000, 9_499, true)]
    {
        assert_eq!(leaves_band(band, forecast, actual), left, "{forecast} {actual}");
    }
    assert!(leaves_band(BasisPoints::ZERO, 5, 6) && !leaves_band(BasisPoints::ZERO, 5, 5));
    assert!(leaves_band(BasisPoints::WHOLE, 0, 1), "of a forecast of nothing every load is far away");
    assert!(!leaves_band(BasisPoints::WHOLE, u32::MAX, 0));
}

#[test]
fn hours_beyond_the_band_are_priced_again_at_the_actual_load() {
    let wide = DynamicRule { true_up_cap_bps: BasisPoints::WHOLE, ..rule() };
    let said = [6_000, 6_000, 6_000];
    // A kWh an hour: 0.12 and, from 14:00 on, 0.15. 13:00 at 7,500 is 30 % dearer; 14:00 at 4,500 is 20 % cheaper.
    let (booked, up) = of(&wide, &said, &[Some(6_100), Some(7_500), None], None);
    assert_eq!((booked, up.micros), (120_000 + 120_000 + 150_000, 36_000));
    assert_eq!(up.hours.iter().map(|hour| hour.rem_euclid(24)).collect::<Vec<_>>(), [13]);
    let (_, down) = of(&wide, &said, &[None, None, Some(4_500)], None);
    assert_eq!(down.micros, -30_000);
    let (_, both) = of(&wide, &said, &[None, Some(7_500), Some(4_500)], None);
    assert_eq!(both.micros, 6_000);
    let (_, within) = of(&wide, &said, &[Some(6_300), Some(5_700), Some(6_000)], None);
    assert_eq!(within, TrueUp { micros: 0, uncapped: 0, hours: Vec::new() });
    // What is not forecast is not trued up, whatever the load was.
    let (_, beyond) = of(&wide, &said[..1], &[Some(6_000), Some(9_000), Some(9_000)], None);
    assert_eq!(beyond.micros, 0);
}

#[test]
fn a_true_up_stays_within_the_cap_the_limit_of_a_session_and_what_is_left() {
    let said = [6_000, 6_000, 6_000];
    let (high, low) = ([Some(10_000); 3], [Some(1_000); 3]);
    let (booked, up) = of(&rule(), &said, &high, None);
    assert_eq!((up.uncapped, up.micros), (booked * 3 / 2, booked / 5));
    let (_, down) =
        of(&DynamicRule { true_up_cap_bps: BasisPoints::new(1_000), ..rule() }, &said, &low, None);
    assert_eq!((down.uncapped, down.micros), (-booked / 5, -booked / 10));
    let (_, spent) = of(&rule(), &said, &low, Some(1_000));
    assert_eq!(spent.micros, -1_000, "no more is given back than is left");
    let never = DynamicRule { true_up_cap_bps: BasisPoints::ZERO, ..rule() };
    assert_eq!(of(&never, &said, &high, None).1.micros, 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(128) })]

    /// The difference of two prices is what the rates of the hours say, up to the rounding of a line each.
    #[test]
    fn a_true_up_is_the_difference_of_the_rates_times_the_energy(
        rule in super::dynamic::arb_rule(),
        said in prop::collection::vec(0u32..300_000, 3),
        really in prop::collection::vec(prop::option::of(0u32..300_000), 3),
    ) {
        let (_, found) = of(&rule, &said, &really, None);
        let noon = at("2021-05-05T12:00:00Z").utc_hour();
        let mut want = 0;
        for ((hour, said), really) in (noon..).zip(&said).zip(&really) {
            let Some(really) = really.filter(|kw| leaves_band(rule.band_bps, *said, *kw)) else { continue };
            let rate = |kw| rule.rate(hour, &LocalClock::UTC, HourForecast::of_load(kw)).unwrap().micros_per_kwh;
            want += rate(really) - rate(*said);
        }
        prop_assert!((found.uncapped - want).abs() <= 3, "{} instead of {want}", found.uncapped);
        prop_assert!(found.micros.abs() <= found.uncapped.abs());
        prop_assert!(found.micros == 0 || found.micros.signum() == found.uncapped.signum());
    }
}
