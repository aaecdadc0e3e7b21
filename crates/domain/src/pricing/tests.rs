//! What every restriction, dimension and rule does to a price, by table.

pub(crate) mod dynamic;
mod gain;
mod plan;
mod retail;
pub(crate) mod true_up;

use super::*;
use crate::cdr::Range;
use crate::ids::PartyId;
use crate::money::RoundingMode;
use crate::quantity::{MilliAmperes, Watts};
use crate::tariff::{PriceBound, ReservationRestriction, Restrictions, TariffElement, TariffId, TariffParts};
use crate::time::{CivilDate, TimeOfDay, UtcOffset, Weekday};

const NONE: Restrictions = Restrictions::NONE;

fn at(text: &str) -> UnixMillis {
    UnixMillis::new(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
}

fn wh(wh: u64) -> WattHours {
    WattHours::from_wh(wh).unwrap()
}

fn secs(secs: u64) -> DurationMs {
    DurationMs::from_secs(secs).unwrap()
}

fn mins(mins: u64) -> DurationMs {
    secs(mins * 60)
}

/// A component without VAT, in millionths per unit.
fn component(dimension: Dimension, price_micros: i64, step_size: u32) -> PriceComponent {
    PriceComponent { dimension, price_micros, vat: None, step_size }
}

fn with_vat(percent: u32, component: PriceComponent) -> PriceComponent {
    PriceComponent { vat: VatRate::from_ppm(percent * 10_000), ..component }
}

fn element(restrictions: Restrictions, components: &[PriceComponent]) -> TariffElement {
    TariffElement { components: components.to_vec(), restrictions }
}

fn parts(elements: &[TariffElement]) -> TariffParts {
    TariffParts {
        party: PartyId::new("PT", "GLP").unwrap(),
        id: TariffId::new("T").unwrap(),
        currency: Currency::new("EUR").unwrap(),
        elements: elements.to_vec(),
        min_price: None,
        max_price: None,
        valid_from: None,
        valid_until: None,
    }
}

fn tariff(elements: &[TariffElement]) -> Tariff {
    Tariff::new(parts(elements)).unwrap()
}

/// A period in which nothing is consumed.
fn period(start: UnixMillis) -> ChargingPeriod {
    ChargingPeriod {
        start,
        energy: WattHours::ZERO,
        charging: DurationMs::ZERO,
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    }
}

/// Periods one after the other from noon on, each as long as what it consumes, and their end.
fn sequence(periods: &[ChargingPeriod]) -> (Vec<ChargingPeriod>, UnixMillis) {
    let mut start = at("2021-05-05T12:00:00Z");
    let mut placed = Vec::new();
    for p in periods {
        placed.push(ChargingPeriod { start, ..*p });
        for span in [p.charging, p.parking, p.reservation] {
            start = start.checked_add(span).unwrap();
        }
    }
    (placed, start)
}

fn charging(span: DurationMs, energy: WattHours) -> ChargingPeriod {
    ChargingPeriod { charging: span, energy, ..period(UnixMillis::EPOCH) }
}

fn parking(span: DurationMs) -> ChargingPeriod {
    ChargingPeriod { parking: span, ..period(UnixMillis::EPOCH) }
}

fn reserved(span: DurationMs) -> ChargingPeriod {
    ChargingPeriod { reservation: span, ..period(UnixMillis::EPOCH) }
}

fn exact() -> Rounding {
    Rounding::new(1, RoundingMode::Down).unwrap()
}

const WHOLE: PriceRule = PriceRule::Static { factor: BasisPoints::WHOLE };

fn inputs<'a>(tariff: &'a Tariff, periods: &'a [ChargingPeriod], end: UnixMillis) -> PricingInputs<'a> {
    let (rule, rounding, clock) = (&WHOLE, exact(), LocalClock::UTC);
    PricingInputs { tariff, rule, rounding, clock, periods, end, forecast: None }
}

/// The price by the tariff alone.
fn priced(tariff: &Tariff, periods: &[ChargingPeriod]) -> Result<ItemisedPrice, PriceError> {
    let (periods, end) = sequence(periods);
    let priced = price(&inputs(tariff, &periods, end))?;
    adds_up(&priced);
    Ok(priced)
}

fn excl(tariff: &Tariff, periods: &[ChargingPeriod]) -> i64 {
    priced(tariff, periods).unwrap().total.excl_vat
}

fn adds_up(priced: &ItemisedPrice) {
    let sum = priced.lines.iter().fold(Price::ZERO, |sum, line| sum.checked_add(line.amount).unwrap());
    assert_eq!(sum, priced.total);
}

/// Which element priced the energy of a period.
fn energy_element(priced: &ItemisedPrice, wanted: u16) -> Option<u16> {
    priced.lines.iter().find_map(|line| match line.rule {
        LineRule::Tariff { element, dimension: Dimension::Energy } if line.period == Some(wanted) => {
            Some(element)
        }
        _ => None,
    })
}

#[test]
fn each_restriction_holds_from_its_lower_bound_until_its_upper() {
    let t = |h, m| TimeOfDay::new(h, m);
    let d = |text: &str| text.parse::<CivilDate>().ok();
    let kw = |watts| Some(Watts::new(watts));
    let ma = |milli| Some(MilliAmperes::new(milli));
    let days = |days: &[Weekday]| Some(days.iter().copied().collect());
    // The period that is looked at starts on Wednesday 2021-05-05 at 14:30 at the station, one hour and 10 kWh into
    // the session; 10 kWh are delivered in it within an hour, with 5 to 7 kW and 10 to 16 A measured where measured.
    type Case = (&'static str, Restrictions, bool, bool);
    let unmeasured: Vec<Case> = vec![
        ("from now", Restrictions { start_time: t(14, 30), ..NONE }, true, false),
        ("from a minute later", Restrictions { start_time: t(14, 31), ..NONE }, false, false),
        ("until now", Restrictions { end_time: t(14, 30), ..NONE }, false, false),
        ("until a minute later", Restrictions { end_time: t(14, 31), ..NONE }, true, false),
        ("this hour", Restrictions { start_time: t(14, 0), end_time: t(15, 0), ..NONE }, true, false),
        ("night", Restrictions { start_time: t(22, 0), end_time: t(6, 0), ..NONE }, false, false),
        (
            "afternoon and night",
            Restrictions { start_time: t(14, 0), end_time: t(6, 0), ..NONE },
            true,
            false,
        ),
        ("night until now", Restrictions { start_time: t(22, 0), end_time: t(14, 30), ..NONE }, false, false),
        (
            "night until later",
            Restrictions { start_time: t(22, 0), end_time: t(14, 31), ..NONE },
            true,
            false,
        ),
        ("until midnight", Restrictions { start_time: t(14, 0), end_time: t(0, 0), ..NONE }, true, false),
        ("end of day, no start", Restrictions { end_time: t(0, 0), ..NONE }, true, false),
        ("all day", Restrictions { start_time: t(0, 0), end_time: t(0, 0), ..NONE }, true, false),
        ("from today", Restrictions { start_date: d("2021-05-05"), ..NONE }, true, false),
        ("from tomorrow", Restrictions { start_date: d("2021-05-06"), ..NONE }, false, false),
        ("until today", Restrictions { end_date: d("2021-05-05"), ..NONE }, false, false),
        ("until tomorrow", Restrictions { end_date: d("2021-05-06"), ..NONE }, true, false),
        ("Wednesday", Restrictions { day_of_week: days(&[Weekday::Wednesday]), ..NONE }, true, false),
        (
            "other days",
            Restrictions { day_of_week: days(&[Weekday::Tuesday, Weekday::Thursday]), ..NONE },
            false,
            false,
        ),
        ("min_kwh reached", Restrictions { min_energy: Some(wh(10_000)), ..NONE }, true, false),
        ("min_kwh ahead", Restrictions { min_energy: Some(wh(10_001)), ..NONE }, false, false),
        ("max_kwh reached", Restrictions { max_energy: Some(wh(10_000)), ..NONE }, false, false),
        ("max_kwh ahead", Restrictions { max_energy: Some(wh(10_001)), ..NONE }, true, false),
        ("max_kwh of nothing", Restrictions { max_energy: Some(wh(0)), ..NONE }, false, false),
        ("min_duration reached", Restrictions { min_duration: Some(mins(60)), ..NONE }, true, false),
        ("min_duration ahead", Restrictions { min_duration: Some(secs(3_601)), ..NONE }, false, false),
        ("max_duration reached", Restrictions { max_duration: Some(mins(60)), ..NONE }, false, false),
        ("max_duration ahead", Restrictions { max_duration: Some(secs(3_601)), ..NONE }, true, false),
        ("mean power reaches min", Restrictions { min_power: kw(10_000), ..NONE }, true, false),
        ("mean power below min", Restrictions { min_power: kw(10_001), ..NONE }, false, false),
        ("mean power reaches max", Restrictions { max_power: kw(10_000), ..NONE }, false, false),
        ("mean power below max", Restrictions { max_power: kw(10_001), ..NONE }, true, false),
        ("current unknown, min", Restrictions { min_current: ma(0), ..NONE }, false, false),
        ("current unknown, max", Restrictions { max_current: ma(1_000_000), ..NONE }, false, false),
        (
            "two, both hold",
            Restrictions { start_time: t(14, 0), min_energy: Some(wh(1)), ..NONE },
            true,
            false,
        ),
        (
            "two, one fails",
            Restrictions { start_time: t(15, 0), min_energy: Some(wh(1)), ..NONE },
            false,
            false,
        ),
        (
            "a reservation",
            Restrictions { reservation: Some(ReservationRestriction::Reservation), ..NONE },
            false,
            false,
        ),
        ("power reaches min", Restrictions { min_power: kw(7_000), ..NONE }, true, true),
        ("power below min", Restrictions { min_power: kw(7_001), ..NONE }, false, true),
        ("power reaches max", Restrictions { max_power: kw(5_000), ..NONE }, false, true),
        ("power below max", Restrictions { max_power: kw(5_001), ..NONE }, true, true),
        ("current reaches min", Restrictions { min_current: ma(16_000), ..NONE }, true, true),
        ("current below min", Restrictions { min_current: ma(16_001), ..NONE }, false, true),
        ("current reaches max", Restrictions { max_current: ma(10_000), ..NONE }, false, true),
        ("current below max", Restrictions { max_current: ma(10_001), ..NONE }, true, true),
    ];
    let clock = LocalClock::fixed(UtcOffset::new(7_200).unwrap());
    let energy = component(Dimension::Energy, 1_000_000, 1);
    for (name, restrictions, holds, measured) in unmeasured {
        let tariff = tariff(&[element(restrictions, &[energy]), element(NONE, &[energy])]);
        let (mut periods, end) = sequence(&[charging(mins(60), wh(10_000)), charging(mins(60), wh(10_000))]);
        for period in &mut periods {
            period.start = period.start.checked_sub(mins(30)).unwrap();
            if measured {
                period.power = Some(Range { min: Watts::new(5_000), max: Watts::new(7_000) });
                period.current =
                    Some(Range { min: MilliAmperes::new(10_000), max: MilliAmperes::new(16_000) });
            }
        }
        let end = end.checked_sub(mins(30)).unwrap();
        let priced = price(&PricingInputs { clock, ..inputs(&tariff, &periods, end) }).unwrap();
        assert_eq!(energy_element(&priced, 1), Some(if holds { 0 } else { 1 }), "{name}");
    }
}

#[test]
fn each_dimension_has_its_unit_and_its_vat() {
    let hour = [ChargingPeriod { parking: mins(90), ..charging(mins(30), wh(2_500)) }];
    for (dimension, want) in [
        (Dimension::Energy, Price { excl_vat: 2_500_000, incl_vat: 3_025_000 }),
        (Dimension::Time, Price { excl_vat: 500_000, incl_vat: 605_000 }),
        (Dimension::ParkingTime, Price { excl_vat: 1_500_000, incl_vat: 1_815_000 }),
        (Dimension::Flat, Price { excl_vat: 1_000_000, incl_vat: 1_210_000 }),
    ] {
        let tariff = tariff(&[element(NONE, &[with_vat(21, component(dimension, 1_000_000, 1))])]);
        let priced = priced(&tariff, &hour).unwrap();
        assert_eq!(priced.total, want, "{dimension:?}");
        assert_eq!(priced.dimension_total(dimension), Some(want));
        assert_eq!(priced.lines.len(), 1);
    }
}

#[test]
fn no_vat_and_two_rates_stay_apart() {
    let elements = [element(
        NONE,
        &[
            with_vat(20, component(Dimension::Flat, 500_000, 1)),
            with_vat(10, component(Dimension::Energy, 250_000, 1)),
            component(Dimension::Time, 1_000_000, 1),
        ],
    )];
    let priced = priced(&tariff(&elements), &[charging(mins(60), wh(20_000))]).unwrap();
    assert_eq!(priced.total, Price { excl_vat: 6_500_000, incl_vat: 7_100_000 });
    let vats: Vec<_> = priced.lines.iter().map(|line| line.vat.map(VatRate::ppm)).collect();
    assert_eq!(vats, [Some(100_000), None, Some(200_000)]);
}

#[test]
fn the_first_element_that_matches_counts_for_each_dimension() {
    let early = Restrictions { max_duration: Some(mins(30)), ..NONE };
    let elements = [
        element(early, &[component(Dimension::Energy, 0, 1), component(Dimension::Time, 2_000_000, 1)]),
        element(NONE, &[component(Dimension::Energy, 300_000, 1)]),
        element(NONE, &[component(Dimension::Energy, 900_000, 1)]),
    ];
    // The second half hour has no TIME component: charging time is free then.
    let half = charging(mins(30), wh(10_000));
    assert_eq!(excl(&tariff(&elements), &[half, half]), 1_000_000 + 3_000_000);
}

#[test]
fn a_flat_fee_is_charged_once() {
    let late = Restrictions { min_duration: Some(mins(30)), ..NONE };
    let elements = [
        element(late, &[component(Dimension::Flat, 5_000_000, 1)]),
        element(NONE, &[component(Dimension::Flat, 1_000_000, 1)]),
    ];
    let half = charging(mins(30), wh(1));
    assert_eq!(excl(&tariff(&elements), &[half, half, half]), 1_000_000);
}

#[test]
fn step_sizes_apply_once_to_the_total_at_the_last_price() {
    let unit = |dimension, step| component(dimension, 1_000_000, step);
    // (what, components, periods, billed thousandths of Wh or ms of each line)
    type Case = (&'static str, Vec<PriceComponent>, Vec<ChargingPeriod>, Vec<u64>);
    let cases: Vec<Case> = vec![
        (
            "4.3 and 1.1 kWh in steps of 500 Wh are 5.5 kWh",
            vec![unit(Dimension::Energy, 500)],
            vec![charging(mins(10), wh(4_300)), charging(mins(10), wh(1_100))],
            vec![4_300_000, 1_200_000],
        ),
        (
            "6 and 22 minutes in steps of ten are 30",
            vec![unit(Dimension::Time, 600)],
            vec![charging(mins(6), wh(1)), charging(mins(22), wh(1))],
            vec![360_000, 1_440_000],
        ),
        (
            "21 minutes of charging and 16 of parking in steps of ten are 21 and 20",
            vec![unit(Dimension::Time, 600), unit(Dimension::ParkingTime, 600)],
            vec![charging(mins(21), wh(1)), parking(mins(16))],
            vec![1_260_000, 1_200_000],
        ),
        (
            "the order of charging and parking does not matter",
            vec![unit(Dimension::Time, 600), unit(Dimension::ParkingTime, 600)],
            vec![parking(mins(16)), charging(mins(21), wh(1))],
            vec![1_200_000, 1_260_000],
        ),
        (
            "parking that is not priced leaves the step to charging",
            vec![unit(Dimension::Time, 600)],
            vec![charging(mins(21), wh(1)), parking(mins(16))],
            vec![1_800_000],
        ),
        (
            "energy and time round apart",
            vec![unit(Dimension::Energy, 1_000), unit(Dimension::Time, 3_600)],
            vec![charging(mins(61), wh(1_500))],
            vec![2_000_000, 7_200_000],
        ),
        (
            "a whole number of steps stays",
            vec![unit(Dimension::Energy, 500)],
            vec![charging(mins(1), wh(1_500))],
            vec![1_500_000],
        ),
        (
            "steps of one and none are exact, 1",
            vec![unit(Dimension::Energy, 1)],
            vec![charging(mins(1), wh(1_501))],
            vec![1_501_000],
        ),
        (
            "steps of one and none are exact, 0",
            vec![unit(Dimension::Energy, 0)],
            vec![charging(mins(1), wh(1_501))],
            vec![1_501_000],
        ),
    ];
    for (name, components, periods, want) in cases {
        let priced = priced(&tariff(&[element(NONE, &components)]), &periods).unwrap();
        let billed: Vec<u64> = priced
            .lines
            .iter()
            .map(|line| match line.quantity {
                Quantity::Energy { billed, .. } => billed.milli_wh(),
                Quantity::Time { billed, .. } => billed.millis(),
                Quantity::Session => 1,
            })
            .collect();
        assert_eq!(billed, want, "{name}");
    }
}

#[test]
fn the_addition_of_a_step_has_the_price_and_size_of_the_last_component() {
    let early = Restrictions { max_energy: Some(wh(4_000)), ..NONE };
    let elements = [
        element(early, &[component(Dimension::Energy, 1_000_000, 10_000)]),
        element(NONE, &[component(Dimension::Energy, 3_000_000, 1_000)]),
    ];
    // 4 kWh at 1.00, then 1.5 kWh at 3.00 of which the step makes 2.
    let periods = [charging(mins(10), wh(4_000)), charging(mins(10), wh(1_500))];
    assert_eq!(excl(&tariff(&elements), &periods), 4_000_000 + 6_000_000);
}

#[test]
fn minimum_and_maximum_bound_the_whole_session() {
    let bounded = |min: Option<PriceBound>, max: Option<PriceBound>| {
        let elements = [element(NONE, &[with_vat(10, component(Dimension::Energy, 250_000, 1))])];
        Tariff::new(TariffParts { min_price: min, max_price: max, ..parts(&elements) }).unwrap()
    };
    let bound = |excl_vat, incl_vat| Some(PriceBound { excl_vat, incl_vat });
    for (kwh, min, max, excl_vat, incl_vat, rule) in [
        (1, bound(500_000, Some(550_000)), None, 500_000, 550_000, Some(LineRule::MinPrice)),
        (1, bound(500_000, None), None, 500_000, 550_000, Some(LineRule::MinPrice)),
        (20, bound(500_000, None), None, 5_000_000, 5_500_000, None),
        (60, None, bound(10_000_000, Some(11_000_000)), 10_000_000, 11_000_000, Some(LineRule::MaxPrice)),
        (20, None, bound(10_000_000, None), 5_000_000, 5_500_000, None),
    ] {
        let priced = priced(&bounded(min, max), &[charging(mins(60), wh(kwh * 1_000))]).unwrap();
        assert_eq!(priced.total, Price { excl_vat, incl_vat }, "{kwh} kWh");
        let adjusted =
            priced.lines.iter().map(|line| line.rule).find(|r| !matches!(r, LineRule::Tariff { .. }));
        assert_eq!(adjusted, rule, "{kwh} kWh");
    }
}

#[test]
fn the_agreement_scales_and_rounds_after_the_bounds() {
    let elements = [element(NONE, &[component(Dimension::Energy, 333_333, 1)])];
    let max_price = Some(PriceBound { excl_vat: 3_000_000, incl_vat: None });
    let tariff = Tariff::new(TariffParts { max_price, ..parts(&elements) }).unwrap();
    let (periods, end) = sequence(&[charging(mins(60), wh(10_000))]);
    let rule = PriceRule::Static { factor: BasisPoints::new(9_555) };
    let cents = PricingInputs { rule: &rule, rounding: Rounding::cents(), ..inputs(&tariff, &periods, end) };
    let priced = price(&cents).unwrap();
    adds_up(&priced);
    // 3.33333 is cut to 3.00, of which 95.55 % are 2.8665, rounded to 2.87.
    let amounts: Vec<_> = priced.lines.iter().map(|line| (line.rule, line.amount.excl_vat)).collect();
    assert_eq!(
        amounts,
        [
            (LineRule::Tariff { element: 0, dimension: Dimension::Energy }, 3_333_330),
            (LineRule::MaxPrice, -333_330),
            (LineRule::AgreementFactor { factor: BasisPoints::new(9_555) }, -133_500),
            (LineRule::Rounding, 3_500),
        ]
    );
    assert_eq!(priced.total, Price { excl_vat: 2_870_000, incl_vat: 2_870_000 });
}

#[test]
fn every_division_rounds_down() {
    for (price_micros, milli_wh, want) in [(1, 999_999, 0), (1, 1_000_000, 1), (-1, 1, -1), (333_333, 1, 0)] {
        let tariff = tariff(&[element(NONE, &[component(Dimension::Energy, price_micros, 0)])]);
        assert_eq!(excl(&tariff, &[charging(mins(1), WattHours::from_milli_wh(milli_wh))]), want);
    }
    let tariff = tariff(&[element(NONE, &[with_vat(21, component(Dimension::Flat, 99, 1))])]);
    let total = priced(&tariff, &[charging(mins(1), wh(1))]).unwrap().total;
    assert_eq!(total, Price { excl_vat: 99, incl_vat: 119 });
}

#[test]
fn a_reservation_is_priced_by_elements_for_reservations_alone() {
    let reservation = Restrictions { reservation: Some(ReservationRestriction::Reservation), ..NONE };
    let elements = [
        element(NONE, &[component(Dimension::Time, 9_000_000, 1), component(Dimension::Energy, 250_000, 1)]),
        element(reservation, &[component(Dimension::Time, 5_000_000, 60)]),
    ];
    let both = tariff(&elements);
    assert_eq!(excl(&both, &[reserved(mins(30))]), 2_500_000);
    assert_eq!(excl(&both, &[reserved(mins(30)), charging(mins(60), wh(4_000))]), 2_500_000 + 10_000_000);
    // Without an element for it a reservation has no price.
    let without = tariff(&elements[..1]);
    let error = PriceError::NoMatchingElement { tariff: "T".into() };
    assert_eq!(priced(&without, &[reserved(mins(30))]), Err(error));
}

#[test]
fn a_reservation_that_expires_has_a_price_of_its_own() {
    let only = |kind| Restrictions { reservation: Some(kind), ..NONE };
    let (used, expired) = (ReservationRestriction::Reservation, ReservationRestriction::ReservationExpires);
    let flat = |micros| component(Dimension::Flat, micros, 1);
    let time = |micros| component(Dimension::Time, micros, 1);
    let session = element(NONE, &[flat(500_000), component(Dimension::Energy, 250_000, 1)]);
    let charge = charging(mins(60), wh(4_000));
    let hour = reserved(mins(60));
    // (elements, a reservation that is used for 4 kWh, one that is not), as the specification's examples have them
    for (elements, when_used, when_expired) in [
        (vec![element(only(used), &[time(5_000_000)])], 5_000_000, 5_000_000),
        (vec![element(only(used), &[flat(2_000_000), time(5_000_000)])], 7_000_000, 7_000_000),
        (
            vec![element(only(expired), &[flat(4_000_000)]), element(only(used), &[time(2_000_000)])],
            2_000_000,
            6_000_000,
        ),
        (
            vec![element(only(expired), &[time(6_000_000)]), element(only(used), &[time(3_000_000)])],
            3_000_000,
            6_000_000,
        ),
        (
            vec![element(only(used), &[time(3_000_000)]), element(only(expired), &[time(6_000_000)])],
            3_000_000,
            6_000_000,
        ),
    ] {
        let tariff = tariff(&[elements, vec![session.clone()]].concat());
        // The reservation's fee does not stand in for the session's.
        assert_eq!(excl(&tariff, &[hour, charge]), when_used + 1_500_000);
        assert_eq!(excl(&tariff, &[hour]), when_expired);
    }
}

#[test]
fn the_time_of_a_reservation_has_a_step_of_its_own() {
    let reservation = Restrictions { reservation: Some(ReservationRestriction::Reservation), ..NONE };
    let elements = [
        element(reservation, &[component(Dimension::Time, 6_000_000, 600)]),
        element(
            NONE,
            &[
                component(Dimension::Time, 1_000_000, 3_600),
                component(Dimension::ParkingTime, 1_000_000, 3_600),
            ],
        ),
    ];
    let tariff = tariff(&elements);
    // 13 minutes reserved count as 20, at 6 an hour; then an hour, begun twice, at 1.
    let (reserved, charged) = (reserved(mins(13)), charging(mins(61), wh(1)));
    assert_eq!(excl(&tariff, &[reserved, charged]), 2_000_000 + 2_000_000);
    assert_eq!(
        excl(&tariff, &[reserved, charging(mins(60), wh(1)), parking(mins(1))]),
        2_000_000 + 2_000_000
    );
}

#[test]
fn a_session_that_no_element_matches_is_an_error() {
    let later = Restrictions { start_date: "2021-05-06".parse().ok(), ..NONE };
    let tariff = tariff(&[element(later, &[component(Dimension::Energy, 250_000, 1)])]);
    for consumed in [charging(mins(60), wh(1_000)), parking(mins(60)), period(UnixMillis::EPOCH)] {
        let error = priced(&tariff, &[consumed]).unwrap_err();
        assert_eq!(error, PriceError::NoMatchingElement { tariff: "T".into() });
        assert!(error.to_string().contains("add an element without restrictions"));
    }
}

#[test]
fn a_price_of_zero_is_known_where_an_element_matches() {
    // A vehicle that took no energy, at a tariff per kWh; and the remedy that the error above names.
    let per_kwh = tariff(&[element(NONE, &[component(Dimension::Energy, 250_000, 1)])]);
    assert_eq!(priced(&per_kwh, &[parking(mins(60))]).unwrap().total, Price::ZERO);
    let later = Restrictions { start_date: "2021-05-06".parse().ok(), ..NONE };
    let with_default = tariff(&[
        element(later, &[component(Dimension::Energy, 250_000, 1)]),
        element(NONE, &[component(Dimension::ParkingTime, 1_000_000, 1)]),
    ]);
    assert_eq!(priced(&with_default, &[charging(mins(60), wh(1_000))]).unwrap().total, Price::ZERO);
}

#[test]
fn sessions_without_a_price_say_why() {
    let elements = [element(NONE, &[component(Dimension::Energy, 250_000, 1)])];
    let open = tariff(&elements);
    let (one, end) = sequence(&[charging(mins(60), wh(1_000))]);
    let start = one[0].start;
    assert_eq!(price(&inputs(&open, &[], end)), Err(PriceError::NoPeriods));
    let many: Vec<_> =
        (0..=PERIODS_MAX).map(|i| period(start.checked_add(secs(i as u64)).unwrap())).collect();
    assert_eq!(price(&inputs(&open, &many, end)), Err(PriceError::TooManyPeriods));
    assert_eq!(
        price(&inputs(&open, &one, start.checked_sub(secs(1)).unwrap())),
        Err(PriceError::PeriodOrder(0))
    );
    let reversed = [period(end), period(start)];
    assert_eq!(price(&inputs(&open, &reversed, end)), Err(PriceError::PeriodOrder(0)));

    let not_valid = PriceError::TariffNotValid { tariff: "T".into(), start };
    for (valid_from, valid_until, valid) in [
        (Some(start), None, true),
        (start.checked_add(secs(1)), None, false),
        (None, Some(start), false),
        (None, start.checked_add(secs(1)), true),
    ] {
        let tariff = Tariff::new(TariffParts { valid_from, valid_until, ..parts(&elements) }).unwrap();
        let got = price(&inputs(&tariff, &one, end));
        assert_eq!(got.err(), if valid { None } else { Some(not_valid.clone()) });
    }

    let dear = tariff(&[element(NONE, &[component(Dimension::Energy, i64::MAX, 1)])]);
    assert_eq!(price(&inputs(&dear, &one, end)).map(|_| ()), Ok(()));
    assert_eq!(priced(&dear, &[charging(mins(60), wh(2_000))]), Err(PriceError::Overflow));
}
