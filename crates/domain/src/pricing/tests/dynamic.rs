//! Energy at the rate of the hour.

use super::*;
use crate::agreement::{Actuals, DynamicRule, Knot, Panel, PriceRuleFault, RateWindow, RenewableKnot};
use crate::codec::{Digest, from_bytes, to_bytes};
use crate::ids::PartyId;
use crate::pricing::dynamic::{FORECAST_HOURS_MAX, HourRate, RenewablePart};
use crate::time::Weekdays;
use proptest::prelude::*;

pub(super) fn knot(utilisation_bps: u32, surcharge_bps: i32) -> Knot {
    Knot { utilisation_bps, surcharge_bps }
}

pub(super) fn share(share_bps: u32, surcharge_bps: i32) -> RenewableKnot {
    RenewableKnot { share_bps, surcharge_bps }
}

/// A panel of so many parties.
pub(crate) fn panel(parties: usize, quorum: u8) -> Panel {
    let names = ["AAA", "BBB", "CCC", "DDD", "EEE", "FFF"];
    Panel { parties: names[..parties].iter().map(|id| PartyId::new("PT", id).unwrap()).collect(), quorum }
}

fn window(days: Weekdays, from: u16, until: u16, bps: u32) -> RateWindow {
    let hour = |h| TimeOfDay::new(h, 0).unwrap();
    RateWindow { days, start: hour(from), end: hour(until), bps: BasisPoints::new(bps) }
}

/// The parameters of the forecasting study, with a capacity that makes a kilowatt a basis point.
pub(crate) fn rule() -> DynamicRule {
    let grid = PartyId::new("PT", "GRD").unwrap();
    DynamicRule {
        fallback: BasisPoints::new(9_000),
        base_micros_per_kwh: 120_000,
        time_of_use: vec![
            window(Weekdays::WORKING_DAYS, 14, 20, 12_500),
            window(Weekdays::EVERY_DAY, 22, 6, 8_500),
        ],
        capacity_kw: 10_000,
        knots: vec![
            knot(4_500, -2_000),
            knot(6_000, 0),
            knot(7_500, 3_000),
            knot(8_500, 8_000),
            knot(10_000, 15_000),
        ],
        floor_micros: 60_000,
        cap_micros: 400_000,
        band_bps: BasisPoints::new(500),
        vat: None,
        zone: crate::cdr::GridZone::new("PT-N").unwrap(),
        forecasters: Panel { parties: vec![grid], quorum: 1 },
        actuals: Actuals::Independent { attester: grid },
        true_up_cap_bps: BasisPoints::new(2_000),
        renewable: Vec::new(),
    }
}

/// Loads for the hours from the one of `text` on.
pub(super) fn forecast(text: &str, load_kw: &[u32]) -> ForecastInput {
    let hours = load_kw.iter().map(|load_kw| Some(HourForecast::of_load(*load_kw))).collect();
    ForecastInput { attestation: Digest::ZERO, first_hour: at(text).utc_hour(), hours }
}

fn under(
    rule: &DynamicRule,
    forecast: Option<&ForecastInput>,
    tariff: &Tariff,
    periods: &[ChargingPeriod],
    end: UnixMillis,
) -> Result<ItemisedPrice, PriceError> {
    let rule = PriceRule::Dynamic(rule.clone());
    let priced = price(&PricingInputs { rule: &rule, forecast, ..inputs(tariff, periods, end) })?;
    adds_up(&priced);
    Ok(priced)
}

/// Wednesday 2021-05-05 from noon UTC on.
fn from_noon(
    rule: &DynamicRule,
    forecast: &ForecastInput,
    tariff: &Tariff,
    periods: &[ChargingPeriod],
) -> ItemisedPrice {
    let (periods, end) = sequence(periods);
    under(rule, Some(forecast), tariff, &periods, end).unwrap()
}

fn amounts(priced: &ItemisedPrice) -> Vec<(LineRule, i64)> {
    priced.lines.iter().map(|line| (line.rule, line.amount.excl_vat)).collect()
}

/// Hour of the day, utilisation, milliwatt-hours, unit price and amount of the lines of hours.
fn hours(priced: &ItemisedPrice) -> Vec<(i64, u32, u64, i64, i64)> {
    let of = |line: &PriceLine| match (line.rule, line.quantity) {
        (LineRule::Dynamic { hour, utilisation_bps, .. }, Quantity::Energy { measured, billed }) => {
            assert_eq!(measured, billed, "no step size");
            let price = line.unit_price_micros.unwrap();
            Some((hour.rem_euclid(24), utilisation_bps, measured.milli_wh(), price, line.amount.excl_vat))
        }
        _ => None,
    };
    priced.lines.iter().filter_map(of).collect()
}

const BY_TARIFF: LineRule = LineRule::Tariff { element: 0, dimension: Dimension::Energy };

pub(super) fn quarter_per_kwh() -> Tariff {
    tariff(&[element(NONE, &[component(Dimension::Energy, 250_000, 1)])])
}

#[test]
fn the_surcharge_is_straight_between_knots_and_level_beyond() {
    let rule = rule();
    for (utilisation, want) in [
        (0, -2_000),
        (4_499, -2_000),
        (4_500, -2_000),
        (4_501, -1_999),
        // -2000 + 666.67, rounded down as every division is.
        (5_000, -1_334),
        (5_250, -1_000),
        (5_999, -2),
        (6_000, 0),
        (6_200, 400),
        (7_500, 3_000),
        (8_000, 5_500),
        (8_500, 8_000),
        (9_000, 10_333),
        (9_999, 14_995),
        (10_000, 15_000),
        (10_001, 15_000),
        (u32::MAX, 15_000),
    ] {
        assert_eq!(rule.surcharge(utilisation), Some(want), "{utilisation}");
    }
    let level = DynamicRule { knots: vec![knot(5_000, 700)], ..rule.clone() };
    assert_eq!([0, 5_000, 9_000].map(|u| level.surcharge(u)), [Some(700); 3]);
    let falling = DynamicRule { knots: vec![knot(0, 100), knot(3, 0)], ..rule.clone() };
    assert_eq!([0, 1, 2, 3].map(|u| falling.surcharge(u)), [Some(100), Some(66), Some(33), Some(0)]);
    assert_eq!(DynamicRule { knots: Vec::new(), ..rule }.surcharge(1), None);
}

#[test]
fn the_rate_of_an_hour_by_hand() {
    let rule = rule();
    // Wednesday 2021-05-05; the station is an hour ahead of UTC.
    let clock = LocalClock::fixed(UtcOffset::new(3_600).unwrap());
    for (utc, load_kw, utilisation_bps, surcharge_bps, micros_per_kwh) in [
        // 0.12 between the windows: 13:00 local.
        ("2021-05-05T12:00:00Z", 6_000, 6_000, 0, 120_000),
        // 14:00 local: 0.15, plus 4 %.
        ("2021-05-05T13:00:00Z", 6_200, 6_200, 400, 156_000),
        // 0.15, times 2.0333, plus 1.5 times.
        ("2021-05-05T18:00:00Z", 9_000, 9_000, 10_333, 304_995),
        ("2021-05-05T18:00:00Z", 12_345, 12_345, 15_000, 375_000),
        // 20:00 local is past the window.
        ("2021-05-05T19:00:00Z", 7_500, 7_500, 3_000, 156_000),
        // Night: 0.102, less 20 %, less 13.34 %.
        ("2021-05-05T21:00:00Z", 1_000, 1_000, -2_000, 81_600),
        ("2021-05-06T04:00:00Z", 5_000, 5_000, -1_334, 88_393),
        ("2021-05-06T05:00:00Z", 6_000, 6_000, 0, 120_000),
        // Saturday has no afternoon window.
        ("2021-05-08T14:00:00Z", 6_000, 6_000, 0, 120_000),
    ] {
        let rate = rule.rate(at(utc).utc_hour(), &clock, HourForecast::of_load(load_kw)).unwrap();
        assert_eq!(
            rate,
            HourRate { utilisation_bps, surcharge_bps, renewable: None, micros_per_kwh },
            "{utc} {load_kw} kW"
        );
    }
    // The first window that matches counts, and the utilisation is rounded down.
    let doubled = window(Weekdays::EVERY_DAY, 0, 0, 20_000);
    let both = DynamicRule { time_of_use: [vec![doubled], rule.time_of_use.clone()].concat(), ..rule };
    let odd = DynamicRule { capacity_kw: 30_000, ..both };
    let rate =
        odd.rate(at("2021-05-05T14:00:00Z").utc_hour(), &clock, HourForecast::of_load(20_000)).unwrap();
    assert_eq!(
        rate,
        HourRate { utilisation_bps: 6_666, surcharge_bps: 1_332, renewable: None, micros_per_kwh: 271_968 }
    );
}

#[test]
fn a_rate_stays_within_floor_and_cap() {
    let narrow = DynamicRule { floor_micros: 110_000, cap_micros: 200_000, ..rule() };
    let hour = at("2021-05-05T12:00:00Z").utc_hour();
    for (load_kw, want) in
        [(0, 110_000), (5_250, 110_000), (6_000, 120_000), (7_500, 156_000), (10_000, 200_000)]
    {
        assert_eq!(
            narrow.rate(hour, &LocalClock::UTC, HourForecast::of_load(load_kw)).unwrap().micros_per_kwh,
            want,
            "{load_kw}"
        );
    }
    // The whole price as a discount leaves the floor.
    let free = DynamicRule { knots: vec![knot(0, -10_000)], floor_micros: 0, ..rule() };
    assert_eq!(free.rate(hour, &LocalClock::UTC, HourForecast::of_load(1)).unwrap().micros_per_kwh, 0);
}

#[test]
fn a_session_by_hand() {
    // 13:00 to 15:00: 6 kWh at 0.12 plus 30 %, then 8 kWh at 0.15 less 10 %, with 23 % VAT; and a start fee with
    // its own VAT, which no rate and no factor touches.
    let rule = DynamicRule { vat: VatRate::from_ppm(230_000), ..rule() };
    let fee = with_vat(10, component(Dimension::Flat, 500_000, 1));
    let tariff = tariff(&[element(NONE, &[component(Dimension::Energy, 250_000, 1), fee])]);
    let loads = forecast("2021-05-05T12:00:00Z", &[9_999, 7_500, 5_250]);
    let priced = from_noon(
        &rule,
        &loads,
        &tariff,
        &[parking(mins(60)), charging(mins(60), wh(6_000)), charging(mins(60), wh(8_000))],
    );
    assert_eq!(
        hours(&priced),
        [(13, 7_500, 6_000_000, 156_000, 936_000), (14, 5_250, 8_000_000, 135_000, 1_080_000)]
    );
    assert_eq!(priced.lines.len(), 3);
    let excl_vat = 500_000 + 936_000 + 1_080_000;
    assert_eq!(priced.total, Price { excl_vat, incl_vat: 550_000 + 1_151_280 + 1_328_400 });
    let energy = Price { excl_vat: 2_016_000, incl_vat: 1_151_280 + 1_328_400 };
    assert_eq!(priced.dimension_total(Dimension::Energy), Some(energy));
    let periods: Vec<_> = priced.lines.iter().map(|line| line.period).collect();
    assert_eq!(periods, [Some(0), Some(1), Some(2)]);
}

#[test]
fn energy_belongs_to_the_hours_in_proportion_to_time() {
    let flat = |micros| DynamicRule { base_micros_per_kwh: micros, time_of_use: Vec::new(), ..rule() };
    let loads = forecast("2021-05-05T12:00:00Z", &[6_000, 6_000, 6_000, 6_000]);
    // 12:00 to 12:40, then 12:40 to 14:10: a period across two boundaries, and an hour of two periods.
    let periods = [charging(mins(40), wh(1_000)), charging(mins(90), wh(9_000))];
    let priced = from_noon(&flat(100_000), &loads, &quarter_per_kwh(), &periods);
    assert_eq!(
        hours(&priced),
        [
            (12, 6_000, 1_000_000, 100_000, 100_000),
            (12, 6_000, 2_000_000, 100_000, 200_000),
            (13, 6_000, 6_000_000, 100_000, 600_000),
            (14, 6_000, 1_000_000, 100_000, 100_000),
        ]
    );
    // What does not divide: 10 thousandths of a Wh over three hours, cumulative 3, 6, 10.
    let tiny = [charging(mins(180), WattHours::from_milli_wh(10))];
    let parts: Vec<_> = hours(&from_noon(&flat(100_000), &loads, &quarter_per_kwh(), &tiny))
        .into_iter()
        .map(|(hour, _, energy, ..)| (hour, energy))
        .collect();
    assert_eq!(parts, [(12, 3), (13, 3), (14, 4)]);
    // Energy in no time, which a record cannot have, belongs to the hour of its instant.
    let start = at("2021-05-05T13:00:00Z");
    let sudden = [ChargingPeriod { start, energy: wh(1), ..period(start) }];
    let priced = under(&flat(100_000), Some(&loads), &quarter_per_kwh(), &sudden, start).unwrap();
    assert_eq!(hours(&priced), [(13, 6_000, 1_000, 100_000, 100)]);
}

#[test]
fn hours_without_a_forecast_fall_back_to_the_static_rule() {
    // Noon to 16:00 with 4 kWh an hour, a forecast for 13:00 and 14:00 alone.
    let loads = forecast("2021-05-05T13:00:00Z", &[6_000, 6_000]);
    let priced = from_noon(&rule(), &loads, &quarter_per_kwh(), &[charging(mins(240), wh(16_000))]);
    assert_eq!(
        amounts(&priced),
        [
            (BY_TARIFF, 2_000_000),
            (
                LineRule::Dynamic {
                    hour: loads.first_hour,
                    utilisation_bps: 6_000,
                    surcharge_bps: 0,
                    renewable: None
                },
                480_000
            ),
            (
                LineRule::Dynamic {
                    hour: loads.first_hour + 1,
                    utilisation_bps: 6_000,
                    surcharge_bps: 0,
                    renewable: None
                },
                600_000
            ),
            // 90 % of the two hours at the tariff, and of nothing else.
            (LineRule::AgreementFactor { factor: BasisPoints::new(9_000) }, -200_000),
        ]
    );
    assert_eq!(priced.total.excl_vat, 1_800_000 + 1_080_000);
}

#[test]
fn a_forecast_of_other_hours_is_no_forecast() {
    let elements = [element(
        NONE,
        &[component(Dimension::Energy, 250_000, 1_000), component(Dimension::ParkingTime, 1_000_000, 60)],
    )];
    let tariff = tariff(&elements);
    let (periods, end) = sequence(&[charging(mins(90), wh(4_321)), parking(mins(30))]);
    let fallback = PriceRule::Static { factor: BasisPoints::new(9_000) };
    let want = price(&PricingInputs { rule: &fallback, ..inputs(&tariff, &periods, end) }).unwrap();
    let far = ForecastInput { first_hour: i64::MAX, ..forecast("2021-05-05T12:00:00Z", &[6_000]) };
    let long_ago = ForecastInput { first_hour: i64::MIN, ..far.clone() };
    for (name, loads) in [
        ("hours before", forecast("2021-05-05T10:00:00Z", &[6_000, 6_000])),
        ("hours after the energy", forecast("2021-05-05T14:00:00Z", &[6_000])),
        ("no hours", forecast("2021-05-05T12:00:00Z", &[])),
        ("the end of time", far),
        ("the beginning of time", long_ago),
    ] {
        assert_eq!(under(&rule(), Some(&loads), &tariff, &periods, end).as_ref(), Ok(&want), "{name}");
    }
    assert_eq!(under(&rule(), None, &tariff, &periods, end), Ok(want));
}

#[test]
fn step_sizes_and_bounds_are_the_tariffs() {
    let stepped = [component(Dimension::Energy, 250_000, 1_000), component(Dimension::Time, 600_000, 3_600)];
    let element = element(NONE, &stepped);
    let loads = forecast("2021-05-05T13:00:00Z", &[6_000]);
    // 12:00 to 14:00: 1.3 kWh by the tariff in steps of 1 kWh, 1.3 kWh at the rate as metered; 2 hours of time.
    let session = [charging(mins(120), wh(2_600))];
    let bound = |excl_vat| Some(PriceBound { excl_vat, incl_vat: None });
    let price_of = |min_price, max_price| {
        let parts = TariffParts { min_price, max_price, ..parts(std::slice::from_ref(&element)) };
        from_noon(&rule(), &loads, &Tariff::new(parts).unwrap(), &session)
    };
    let exactly = price_of(None, None);
    assert_eq!(hours(&exactly), [(13, 6_000, 1_300_000, 120_000, 156_000)]);
    let total = 500_000 + 1_200_000 + 156_000 - 50_000;
    assert_eq!(exactly.total.excl_vat, total);
    // The bounds come after the factor: they are what the session costs.
    let last = |priced: &ItemisedPrice| amounts(priced).pop().unwrap();
    assert_eq!(last(&price_of(bound(2_000_000), None)), (LineRule::MinPrice, 2_000_000 - total));
    assert_eq!(last(&price_of(None, bound(1_000_000))), (LineRule::MaxPrice, 1_000_000 - total));
}

#[test]
fn a_tariff_without_a_price_of_energy_keeps_its_own() {
    let tariff = tariff(&[element(NONE, &[component(Dimension::Time, 6_000_000, 1)])]);
    let loads = forecast("2021-05-05T12:00:00Z", &[6_000]);
    let priced = from_noon(&rule(), &loads, &tariff, &[charging(mins(60), wh(5_000))]);
    // The static rule: 90 % of 6.00.
    assert_eq!((hours(&priced), priced.total.excl_vat), (Vec::new(), 5_400_000));
}

#[test]
fn what_has_no_rate_is_an_error() {
    let (periods, end) = sequence(&[charging(mins(60), wh(1_000))]);
    let tariff = quarter_per_kwh();
    let noon = |loads: &[u32]| forecast("2021-05-05T12:00:00Z", loads);
    let one = noon(&[6_000]);
    for (rule, loads, want) in [
        (DynamicRule { capacity_kw: 0, ..rule() }, one.clone(), PriceError::NoRate),
        (DynamicRule { knots: Vec::new(), ..rule() }, one.clone(), PriceError::NoRate),
        (rule(), noon(&vec![6_000; FORECAST_HOURS_MAX + 1]), PriceError::ForecastTooLong),
        (DynamicRule { capacity_kw: 1, ..rule() }, noon(&[u32::MAX]), PriceError::Overflow),
        (DynamicRule { base_micros_per_kwh: i64::MAX, ..rule() }, noon(&[10_000]), PriceError::Overflow),
    ] {
        assert_eq!(under(&rule, Some(&loads), &tariff, &periods, end), Err(want));
    }
    assert!(under(&rule(), Some(&noon(&vec![6_000; FORECAST_HOURS_MAX])), &tariff, &periods, end).is_ok());
    // A rule that no agreement can have prices without a panic: the cap is the last word.
    let reversed = DynamicRule { floor_micros: 9, cap_micros: 7, ..rule() };
    assert_eq!(hours(&under(&reversed, Some(&one), &tariff, &periods, end).unwrap())[0].3, 7);
}

#[test]
fn the_renewable_share_is_one_more_factor_and_the_line_says_so() {
    let green = DynamicRule { renewable: vec![share(2_000, 0), share(7_000, -1_500)], ..rule() };
    let said = |load_kw, renewable_bps| HourForecast { load_kw, renewable_bps };
    let noon = at("2021-05-05T12:00:00Z").utc_hour();
    for (share_bps, surcharge_bps, micros_per_kwh) in
        [(0, 0, 120_000), (2_000, 0, 120_000), (4_500, -750, 111_000), (9_000, -1_500, 102_000)]
    {
        let rate = green.rate(noon, &LocalClock::UTC, said(6_000, Some(share_bps))).unwrap();
        assert_eq!(rate.renewable, Some(RenewablePart { share_bps, surcharge_bps }));
        assert_eq!(rate.micros_per_kwh, micros_per_kwh);
    }
    // A rule without the curve does not look at the share; one with it has no rate without the share.
    let rate = rule().rate(noon, &LocalClock::UTC, said(6_000, Some(9_000))).unwrap();
    assert_eq!((rate.renewable, rate.micros_per_kwh), (None, 120_000));
    assert_eq!(green.rate(noon, &LocalClock::UTC, said(6_000, None)), Err(PriceError::NoRate));
    let mut loads = forecast("2021-05-05T12:00:00Z", &[6_000]);
    loads.hours[0] = Some(said(6_000, Some(9_000)));
    let priced = from_noon(&green, &loads, &quarter_per_kwh(), &[charging(mins(60), wh(1_000))]);
    let LineRule::Dynamic { renewable, .. } = priced.lines[0].rule else { panic!("{:?}", priced.lines) };
    assert_eq!(renewable, Some(RenewablePart { share_bps: 9_000, surcharge_bps: -1_500 }));
    let json = serde_json::to_string(&priced.lines[0].rule).unwrap();
    assert!(json.ends_with(r#","renewable":{"share_bps":9000,"surcharge_bps":-1500}}}"#), "{json}");
}

#[test]
fn an_hour_without_a_forecast_between_two_with_one_is_the_tariffs() {
    let mut loads = forecast("2021-05-05T12:00:00Z", &[6_000, 6_000, 6_000]);
    loads.hours[1] = None;
    let priced = from_noon(&rule(), &loads, &quarter_per_kwh(), &[charging(mins(180), wh(3_000))]);
    assert_eq!(hours(&priced).iter().map(|h| h.0).collect::<Vec<_>>(), [12, 14]);
    // 1 kWh at 0.25 times 90 %, and two at the rates of their hours: 0.12 and 0.15.
    assert_eq!(priced.total.excl_vat, 225_000 + 120_000 + 150_000);
}

#[test]
fn each_fault_of_a_rule_is_found_in_order() {
    type Spoil = fn(&mut DynamicRule);
    let cases: [(PriceRuleFault, Spoil); 37] = [
        (PriceRuleFault::Factor, |r| r.fallback = BasisPoints::ZERO),
        (PriceRuleFault::Factor, |r| r.fallback = BasisPoints::new(100_001)),
        (PriceRuleFault::Rates, |r| r.base_micros_per_kwh = -1),
        (PriceRuleFault::Rates, |r| r.base_micros_per_kwh = 0),
        (PriceRuleFault::Rates, |r| r.floor_micros = -1),
        (PriceRuleFault::Rates, |r| r.cap_micros = -1),
        (PriceRuleFault::Rates, |r| (r.floor_micros, r.cap_micros) = (0, 0)),
        (PriceRuleFault::FloorAboveCap, |r| r.floor_micros = r.cap_micros + 1),
        (PriceRuleFault::Capacity, |r| r.capacity_kw = 0),
        (PriceRuleFault::TimeOfUse, |r| r.time_of_use = vec![r.time_of_use[0]; 65]),
        (PriceRuleFault::TimeOfUse, |r| r.time_of_use[0].days = [].into_iter().collect()),
        (PriceRuleFault::TimeOfUse, |r| r.time_of_use[1].bps = BasisPoints::ZERO),
        (PriceRuleFault::TimeOfUse, |r| r.time_of_use[1].bps = BasisPoints::new(100_001)),
        (PriceRuleFault::KnotCount, |r| r.knots.clear()),
        (PriceRuleFault::KnotCount, |r| r.knots = (0..33).map(|u| knot(u, 0)).collect()),
        (PriceRuleFault::KnotOrder, |r| r.knots[1].utilisation_bps = 4_500),
        (PriceRuleFault::KnotOrder, |r| r.knots.swap(3, 4)),
        (PriceRuleFault::Surcharge, |r| r.knots[0].surcharge_bps = -10_001),
        (PriceRuleFault::Surcharge, |r| r.knots[4].surcharge_bps = 100_001),
        (PriceRuleFault::Band, |r| r.band_bps = BasisPoints::new(10_001)),
        (PriceRuleFault::KnotUtilisation, |r| r.knots[4].utilisation_bps = 100_001),
        (PriceRuleFault::RenewableKnots, |r| r.renewable = (0..33).map(|s| share(s, 0)).collect()),
        (PriceRuleFault::RenewableKnots, |r| r.renewable = vec![share(10_001, 0)]),
        (PriceRuleFault::RenewableOrder, |r| r.renewable = vec![share(5, 0), share(5, 0)]),
        (PriceRuleFault::RenewableSurcharge, |r| r.renewable = vec![share(5, -10_001)]),
        (PriceRuleFault::RenewableSurcharge, |r| r.renewable = vec![share(5, 100_001)]),
        (PriceRuleFault::Forecasters, |r| r.forecasters.parties.clear()),
        (PriceRuleFault::Forecasters, |r| r.forecasters = panel(6, 1)),
        (PriceRuleFault::Forecasters, |r| r.forecasters = panel(2, 0)),
        (PriceRuleFault::Forecasters, |r| r.forecasters = panel(2, 3)),
        (PriceRuleFault::Forecasters, |r| {
            r.forecasters.parties = [r.forecasters.parties.clone(), r.forecasters.parties.clone()].concat();
        }),
        (PriceRuleFault::Attesters, |r| r.actuals = Actuals::Median(panel(6, 1))),
        (PriceRuleFault::Attesters, |r| r.actuals = Actuals::Median(panel(1, 2))),
        (PriceRuleFault::TrueUpCap, |r| r.true_up_cap_bps = BasisPoints::new(10_001)),
        // The first fault wins.
        (PriceRuleFault::KnotOrder, |r| {
            (r.knots[3].utilisation_bps, r.knots[4].utilisation_bps) = (200_000, 100_001);
        }),
        (PriceRuleFault::Capacity, |r| (r.capacity_kw, r.knots) = (0, Vec::new())),
        (PriceRuleFault::Factor, |r| (r.fallback, r.cap_micros) = (BasisPoints::ZERO, 0)),
    ];
    for (index, (fault, spoil)) in cases.into_iter().enumerate() {
        let mut spoiled = rule();
        spoil(&mut spoiled);
        assert_eq!(PriceRule::Dynamic(spoiled).check(), Err(fault), "case {index}");
    }
    let mut widest = rule();
    widest.knots = (0..32).map(|u| knot(u, -10_000)).collect();
    widest.time_of_use = vec![widest.time_of_use[0]; 64];
    (widest.floor_micros, widest.cap_micros, widest.band_bps) = (1, 1, BasisPoints::WHOLE);
    widest.knots[31].utilisation_bps = 100_000;
    widest.renewable = (0..31).map(|s| share(s, 0)).chain([share(10_000, -10_000)]).collect();
    widest.forecasters = panel(5, 5);
    (widest.actuals, widest.true_up_cap_bps) = (Actuals::Median(panel(5, 1)), BasisPoints::WHOLE);
    assert_eq!(PriceRule::Dynamic(widest).check(), Ok(()));
    assert_eq!(PriceRule::Dynamic(rule()).check(), Ok(()));
    let factor = |bps| PriceRule::Static { factor: BasisPoints::new(bps) }.check();
    let bad = Err(PriceRuleFault::Factor);
    assert_eq!([0, 1, 100_000, 100_001].map(factor), [bad, Ok(()), Ok(()), bad]);
}

#[test]
fn rules_round_trip_and_the_static_one_keeps_its_bytes() {
    assert_eq!(to_bytes(&PriceRule::Static { factor: BasisPoints::new(9_500) }), [0, 0x1c, 0x25, 0, 0]);
    let with_vat = PriceRule::Dynamic(DynamicRule { vat: VatRate::from_ppm(230_000), ..rule() });
    for rule in [PriceRule::Dynamic(rule()), with_vat, WHOLE] {
        let bytes = to_bytes(&rule);
        assert_eq!(bytes[0], u8::from(rule != WHOLE));
        assert_eq!(from_bytes::<PriceRule>(&bytes), Ok(rule.clone()));
        let json = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<PriceRule>(&json).unwrap(), rule);
    }
    let json = serde_json::to_string(&PriceRule::Dynamic(rule())).unwrap();
    assert!(json.starts_with(r#"{"dynamic":{"fallback":9000,"base_micros_per_kwh":120000,"#), "{json}");
    let misspelt = json.replace(r#""vat""#, r#""tax""#);
    assert!(serde_json::from_str::<PriceRule>(&misspelt).is_err());
    let line =
        LineRule::Dynamic { hour: 449_988, utilisation_bps: 6_200, surcharge_bps: -800, renewable: None };
    let json = serde_json::to_string(&line).unwrap();
    assert_eq!(json, r#"{"dynamic":{"hour":449988,"utilisation_bps":6200,"surcharge_bps":-800}}"#);
    assert_eq!(serde_json::from_str::<LineRule>(&json).unwrap(), line);
}

#[test]
fn the_drivers_time_of_use_follows_the_hour() {
    use crate::retail::{PaymentOption, RetailBase, RetailInputs, RetailRules, Tier, TimeOfUse};
    let loads = forecast("2021-05-05T13:00:00Z", &[6_000]);
    let (periods, end) = sequence(&[charging(mins(120), wh(2_000))]);
    let wholesale = under(&rule(), Some(&loads), &quarter_per_kwh(), &periods, end).unwrap();
    let hour = |h| TimeOfDay::new(h, 0).unwrap();
    let dearer = TimeOfUse { days: Weekdays::EVERY_DAY, start: hour(13), end: hour(14), bps: 1_000 };
    let rules = RetailRules {
        base: RetailBase::PassThrough,
        time_of_use: vec![dearer],
        margin_bps: 0,
        roaming_fee_micros: 0,
        tier_bps: [0; 4],
        payment_bps: [0; 5],
        vat: VatRate::ZERO,
        rounding: exact(),
    };
    let inputs = RetailInputs {
        tier: Tier::Standard,
        payment: PaymentOption::Postpaid,
        roaming: true,
        wholesale: &wholesale,
        periods: &periods,
        end,
        clock: LocalClock::UTC,
    };
    let retail = crate::retail::price(&rules, &inputs).unwrap();
    // A tenth of the second hour's 0.12; the first hour, by the tariff, is outside the window.
    assert_eq!(amounts(&retail)[1..], [(LineRule::TimeOfUse { window: 0, bps: 1_000 }, 12_000)]);
}

prop_compose! {
    pub(super) fn arb_rule()(
        fallback in 1u32..20_000,
        base in 1i64..1_000_000,
        windows in prop::collection::vec((0u16..24, 0u16..24, 1u32..30_000), 0..4),
        capacity_kw in 1u32..200_000,
        steps in prop::collection::vec((1u32..4_000, -10_000i32..=30_000), 1..8),
        floor in 0i64..300_000,
        above in 1i64..300_000,
        vat in prop::option::of(0u32..=250_000),
    ) -> DynamicRule {
        let mut at = 0;
        let knots = steps.into_iter().map(|(run, surcharge)| {
            at += run;
            knot(at, surcharge)
        }).collect();
        let rule = DynamicRule {
            fallback: BasisPoints::new(fallback),
            base_micros_per_kwh: base,
            time_of_use: windows.into_iter().map(|(a, b, bps)| window(Weekdays::EVERY_DAY, a, b, bps)).collect(),
            capacity_kw,
            knots,
            floor_micros: floor,
            cap_micros: floor + above,
            band_bps: BasisPoints::new(500),
            vat: vat.and_then(VatRate::from_ppm),
            ..super::dynamic::rule()
        };
        assert_eq!(rule.check(), Ok(()));
        rule
    }
}

prop_compose! {
    /// Charging with pauses, from some minute after noon on.
    fn arb_session()(
        after in 0u64..600,
        parts in prop::collection::vec((1u64..200, 0u64..40_000_000, any::<bool>()), 1..6),
    ) -> (Vec<ChargingPeriod>, UnixMillis) {
        let parts: Vec<_> = parts.into_iter().map(|(minutes, energy, charges)| if charges {
            charging(mins(minutes), WattHours::from_milli_wh(energy))
        } else {
            parking(mins(minutes))
        }).collect();
        let (placed, end) = sequence(&parts);
        let later = |t: UnixMillis| t.checked_add(mins(after)).unwrap();
        (placed.into_iter().map(|p| ChargingPeriod { start: later(p.start), ..p }).collect(), later(end))
    }
}

/// Energy in steps by time of day, parking, a fee and a maximum.
fn mixed_tariff() -> Tariff {
    let day = Restrictions { start_time: TimeOfDay::new(8, 0), end_time: TimeOfDay::new(18, 0), ..NONE };
    let elements = [
        element(day, &[with_vat(21, component(Dimension::Energy, 333_333, 500))]),
        element(
            NONE,
            &[
                component(Dimension::Energy, 250_000, 1_000),
                component(Dimension::ParkingTime, 1_000_000, 60),
                component(Dimension::Flat, 350_000, 1),
            ],
        ),
    ];
    let max_price = Some(PriceBound { excl_vat: 9_000_000, incl_vat: Some(10_000_000) });
    Tariff::new(TariffParts { max_price, ..parts(&elements) }).unwrap()
}

proptest! {
    #[test]
    fn lines_add_up_and_rates_stay_within_floor_and_cap(
        rule in arb_rule(),
        (periods, end) in arb_session(),
        skip in -4i64..12,
        loads in prop::collection::vec(0u32..400_000, 0..30),
    ) {
        let mut loads = forecast("2021-05-05T12:00:00Z", &loads);
        loads.first_hour += skip;
        let covered = |hour: i64| {
            usize::try_from(hour - loads.first_hour).is_ok_and(|place| place < loads.hours.len())
        };
        // `under` checks that the lines add up.
        let priced = under(&rule, Some(&loads), &mixed_tariff(), &periods, end).unwrap();
        let mut by_period = vec![0; periods.len()];
        for line in &priced.lines {
            let (Some(period), Quantity::Energy { measured, .. }) = (line.period, line.quantity) else { continue };
            by_period[usize::from(period)] += measured.milli_wh();
            if let LineRule::Dynamic { hour, .. } = line.rule {
                prop_assert!(covered(hour));
                let rate = line.unit_price_micros.unwrap();
                prop_assert!((rule.floor_micros..=rule.cap_micros).contains(&rate));
                prop_assert_eq!(line.vat, rule.vat);
            } else {
                // What the tariff prices has a part outside the forecast.
                let index = usize::from(period);
                let until = periods.get(index + 1).map_or(end, |p| p.start);
                prop_assert!(!(covered(periods[index].start.utc_hour()) && covered(until.utc_hour())));
            }
        }
        // Every bit of energy is priced once.
        let energy: Vec<_> = periods.iter().map(|p| p.energy.milli_wh()).collect();
        prop_assert_eq!(by_period, energy);
    }

    #[test]
    fn without_a_forecast_the_price_is_the_static_one(rule in arb_rule(), (periods, end) in arb_session()) {
        let fallback = PriceRule::Static { factor: rule.fallback };
        let tariff = mixed_tariff();
        let want = price(&PricingInputs { rule: &fallback, ..inputs(&tariff, &periods, end) }).unwrap();
        prop_assert_eq!(under(&rule, None, &tariff, &periods, end), Ok(want));
    }

    /// Whatever was priced before: other hours in the same places, other forecasts of an hour, other clocks.
    #[test]
    fn rates_that_were_computed_before_change_no_price(
        rule in arb_rule(), green in any::<bool>(),
        sessions in prop::collection::vec(
            (arb_session(), 0i64..3, prop::collection::vec((0u32..400_000, prop::option::of(0u16..=10_000)), 0..12), 0i32..3), 1..8,
        ),
    ) {
        let renewable = if green { vec![share(5_000, -2_000)] } else { Vec::new() };
        let rule = PriceRule::Dynamic(DynamicRule { renewable, ..rule });
        let tariff = mixed_tariff();
        let mut rates = KnownRates::default();
        for ((periods, end), far, hours, offset) in sessions {
            // Hours 64 apart have one place in the memory.
            let away = mins(u64::try_from(far).unwrap() * 64 * 60);
            let moved = |at: UnixMillis| at.checked_add(away).unwrap();
            let periods: Vec<_> = periods.iter().map(|p| ChargingPeriod { start: moved(p.start), ..*p }).collect();
            let hours = hours.into_iter().map(|(load_kw, renewable_bps)| Some(HourForecast { load_kw, renewable_bps }));
            let forecast = ForecastInput { hours: hours.collect(), ..forecast("2021-05-05T12:00:00Z", &[]) };
            let forecast = ForecastInput { first_hour: forecast.first_hour + 64 * far, ..forecast };
            let inputs = PricingInputs {
                rule: &rule,
                clock: LocalClock::fixed(UtcOffset::new(offset * 3_600).unwrap()),
                forecast: Some(&forecast),
                ..inputs(&tariff, &periods, moved(end))
            };
            prop_assert_eq!(price_with(&inputs, &mut rates), price(&inputs));
        }
    }

    #[test]
    fn rules_survive_their_encodings(rule in arb_rule()) {
        let rule = PriceRule::Dynamic(rule);
        prop_assert_eq!(from_bytes::<PriceRule>(&to_bytes(&rule)), Ok(rule.clone()));
        let json = serde_json::to_string(&rule).unwrap();
        prop_assert_eq!(serde_json::from_str::<PriceRule>(&json).unwrap(), rule);
    }
}
