use super::*;
use crate::ocpi::{DeviationKind, OcpiError};
use eroam_domain::agreement::PriceRule;
use eroam_domain::cdr::Range;
use eroam_domain::money::{Rounding, RoundingMode};
use eroam_domain::pricing::{ItemisedPrice, PricingInputs, price};
use eroam_domain::quantity::{BasisPoints, MilliAmperes, Watts};
use eroam_domain::tariff::{
    Dimension, PriceComponent, ReservationRestriction, Restrictions, TariffElement, TariffId, TariffParts,
    VatRate,
};
use eroam_domain::time::LocalClock;
use proptest::prelude::*;

fn party() -> PartyId {
    PartyId::new("PT", "GLP").unwrap()
}

fn at(text: &str) -> UnixMillis {
    crate::ocpi::datetime::parse(text).unwrap()
}

fn tariff() -> Tariff {
    let vat = VatRate::from_ppm(230_000);
    let component = |dimension, price_micros| PriceComponent { dimension, price_micros, vat, step_size: 1 };
    let reservation = Some(ReservationRestriction::Reservation);
    let elements = vec![
        TariffElement {
            components: vec![component(Dimension::Time, 5_000_000)],
            restrictions: Restrictions { reservation, ..Restrictions::NONE },
        },
        TariffElement {
            components: vec![
                component(Dimension::Energy, 333_333),
                component(Dimension::Time, 1_000_000),
                component(Dimension::ParkingTime, 2_000_000),
                component(Dimension::Flat, 500_000),
            ],
            restrictions: Restrictions::NONE,
        },
    ];
    Tariff::new(TariffParts {
        party: party(),
        id: TariffId::new("T1").unwrap(),
        currency: Currency::new("EUR").unwrap(),
        elements,
        min_price: None,
        max_price: None,
        valid_from: None,
        valid_until: None,
    })
    .unwrap()
}

/// A reservation, two charging periods of odd lengths, and parking.
fn periods() -> (Vec<ChargingPeriod>, UnixMillis) {
    let start = at("2021-05-01T10:00:00.001Z");
    let zero = ChargingPeriod {
        start,
        energy: WattHours::ZERO,
        charging: DurationMs::ZERO,
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    let ms = DurationMs::from_millis;
    let power = Some(Range { min: Watts::new(3_680), max: Watts::new(11_040) });
    let current = Some(Range { min: MilliAmperes::new(16_000), max: MilliAmperes::new(48_001) });
    let mut periods = vec![
        ChargingPeriod { reservation: ms(600_007), ..zero },
        ChargingPeriod {
            charging: ms(1_234_567),
            energy: WattHours::from_milli_wh(4_321_987),
            power,
            ..zero
        },
        ChargingPeriod { charging: ms(1), energy: WattHours::from_milli_wh(1), current, ..zero },
        ChargingPeriod { parking: ms(7_200_000), ..zero },
    ];
    let mut next = start;
    for period in &mut periods {
        period.start = next;
        for span in [period.charging, period.parking, period.reservation] {
            next = next.checked_add(span).unwrap();
        }
    }
    (periods, next)
}

fn priced(tariff: &Tariff, periods: &[ChargingPeriod], end: UnixMillis) -> ItemisedPrice {
    price(&PricingInputs {
        tariff,
        rule: &PriceRule::Static { factor: BasisPoints::WHOLE },
        rounding: Rounding::new(1, RoundingMode::Down).unwrap(),
        clock: LocalClock::UTC,
        periods,
        end,
        forecast: None,
    })
    .unwrap()
}

fn record<'a>(
    tariff: &'a Tariff,
    periods: &'a [ChargingPeriod],
    end: UnixMillis,
    price: &'a ItemisedPrice,
) -> CdrObject<'a> {
    CdrObject {
        party: party(),
        id: CdrId::new("CDR-1").unwrap(),
        session_id: SessionId::new("S-1").unwrap(),
        start: periods[0].start,
        end,
        token: CdrToken {
            uid: "04AABBCC".into(),
            kind: TokenKind::Emaid,
            contract: "NO-ELV-C00123456".parse().unwrap(),
            party: PartyId::new("NO", "ELV").unwrap(),
        },
        auth_method: AuthMethod::AuthRequest,
        authorization_reference: Some("REF-9".into()),
        location: CdrLocation {
            id: "LOC1".into(),
            name: Some("Praça \"A\"".into()),
            address: "Rua Augusta 1".into(),
            city: "Lisboa".into(),
            postal_code: Some("1100-048".into()),
            country: "PRT".into(),
            coordinates: Coordinates { latitude: "38.722252".into(), longitude: "-9.139337".into() },
            evse_uid: "3256".into(),
            evse_id: "PT*GLP*E0007*1".parse().unwrap(),
            connector: Connector {
                id: "1".into(),
                standard: "IEC_62196_T2".into(),
                format: ConnectorFormat::Socket,
                power_type: PowerType::Ac3Phase,
            },
        },
        tariff: (tariff, at("2021-01-01T00:00:00Z")),
        periods,
        price,
        credits: None,
        remark: Some("roaming".into()),
        last_updated: at("2021-05-01T13:00:00Z"),
    }
}

#[test]
fn a_written_record_is_read_back_to_the_same_periods_energy_and_price() {
    let tariff = tariff();
    let (periods, end) = periods();
    let price = priced(&tariff, &periods, end);
    let text = record(&tariff, &periods, end, &price).to_json().unwrap();
    let read = cdr_from_json(&text, PartyId::new("XX", "YYY").unwrap()).unwrap();

    assert_eq!(read.findings, Findings::default());
    assert_eq!(read.version, OcpiVersion::V2_2_1);
    assert_eq!(read.periods, periods);
    assert_eq!(read.tariffs, [tariff]);
    assert_eq!(priced(&read.tariffs[0], &read.periods, read.end), price);
    assert_eq!((read.start, read.end), (periods[0].start, end));
    assert_eq!(read.party, Some(party()));
    assert_eq!(read.id.as_ref().map(CdrId::as_str), Some("CDR-1"));
    assert_eq!(read.session_id.as_ref().map(SessionId::as_str), Some("S-1"));
    let token = read.token.unwrap();
    assert_eq!(token.kind, Some(TokenKind::Other), "2.2.1 has no EMAID");
    assert_eq!(token.contract(), "NO-ELV-C00123456".parse().ok());
    assert_eq!(token.home(), PartyId::new("NO", "ELV").ok());
    assert_eq!(read.authorization_reference.as_deref(), Some("REF-9"));
    let place = read.location.unwrap();
    assert_eq!(place.evse_id.as_deref().map(str::parse), Some("PT*GLP*E0007*1".parse::<EvseId>()));
    assert_eq!(place.name.as_deref(), Some("Praça \"A\""));
    assert!(read.period_tariffs.iter().all(|id| id.as_deref() == Some("T1")));
    assert!(!read.credit);

    let totals = read.totals;
    let bound =
        |p: eroam_domain::money::Price| PriceBound { excl_vat: p.excl_vat, incl_vat: Some(p.incl_vat) };
    assert_eq!(totals.cost, bound(price.total));
    assert_eq!(totals.energy, Some(WattHours::from_milli_wh(4_321_988)));
    assert_eq!(totals.time, end.since(periods[0].start));
    assert_eq!(totals.parking_time, Some(DurationMs::from_millis(7_200_000)));
    assert_eq!(totals.energy_cost, price.dimension_total(Dimension::Energy).map(bound));
    assert_eq!(totals.parking_cost, price.dimension_total(Dimension::ParkingTime).map(bound));
    assert_eq!(totals.fixed_cost, price.dimension_total(Dimension::Flat).map(bound));
    // The reservation is a TIME component too, but OCPI totals it apart.
    let (reservation, time) = (totals.reservation_cost.unwrap(), totals.time_cost.unwrap());
    // 600.007 s in steps of a second are 601 s, at 5.00 an hour.
    assert_eq!(reservation.excl_vat, 834_722);
    assert_eq!(
        Some(reservation.excl_vat + time.excl_vat),
        price.dimension_total(Dimension::Time).map(|p| p.excl_vat)
    );
}

#[test]
fn a_credit_negates_its_total_alone() {
    let tariff = tariff();
    let (periods, end) = periods();
    let price = priced(&tariff, &periods, end);
    let original = record(&tariff, &periods, end, &price);
    let credit = CdrObject {
        id: CdrId::new("CDR-1-C").unwrap(),
        credits: Some(original.id.clone()),
        ..original.clone()
    };
    let read = |record: &CdrObject<'_>| cdr_from_json(&record.to_json().unwrap(), party()).unwrap();
    let (original, credit) = (read(&original), read(&credit));
    assert!(credit.credit);
    assert_eq!(credit.credit_reference_id, original.id);
    assert_eq!(credit.totals.cost.excl_vat, -original.totals.cost.excl_vat);
    assert_eq!(credit.totals.cost.incl_vat, original.totals.cost.incl_vat.map(|x| -x));
    assert_eq!(StatedTotals { cost: original.totals.cost, ..credit.totals }, original.totals);
}

#[test]
fn what_ocpi_does_not_take_is_not_written() {
    let tariff = tariff();
    let (periods, end) = periods();
    let price = priced(&tariff, &periods, end);
    type Spoil = fn(&mut CdrObject<'_>);
    let cases: [(&str, Spoil); 8] = [
        ("$.cdr_token.uid: 1 to 36 characters on one line is expected, found 37", |r| {
            r.token.uid = "x".repeat(37)
        }),
        ("$.cdr_location.city: 1 to 45 characters", |r| r.location.city = String::new()),
        ("$.remark: 1 to 255", |r| r.remark = Some("a\nb".into())),
        ("$.cdr_location.country: a country code", |r| r.location.country = "PT".into()),
        ("$.cdr_location.coordinates.latitude: degrees", |r| r.location.coordinates.latitude = "38,7".into()),
        ("$.id: at most 36 characters", |r| r.id = CdrId::new(&"x".repeat(37)).unwrap()),
        ("$.charging_periods: at least one period", |r| r.periods = &[]),
        ("$.charging_periods: at least one period", |r| r.start = r.end),
    ];
    for (message, spoil) in cases {
        let mut spoilt = record(&tariff, &periods, end, &price);
        spoil(&mut spoilt);
        let error = spoilt.to_json().expect_err(message).to_string();
        assert!(error.starts_with(message), "{error}");
    }
}

fn minimal(extra: &str, periods: &str) -> String {
    format!(
        r#"{{"id":"1","start_date_time":"2021-05-01T10:00:00Z","stop_date_time":"2021-05-01T12:00:00Z",
            "auth_id":"NO-ELV-C00123456-X","auth_method":"WHITELIST","currency":"EUR","total_cost":1.5,
            "total_energy":1,"total_time":2,"last_updated":"2021-05-01T12:00:00Z",{extra}
            "location":{{"id":"L","address":"A","city":"B","country":"NOR",
            "coordinates":{{"latitude":"1.00000","longitude":"2.00000"}}}},
            "charging_periods":[{periods}]}}"#
    )
}

fn at_hour(hour: u8, dimensions: &str) -> String {
    format!(r#"{{"start_date_time":"2021-05-01T{hour:02}:00:00Z","dimensions":[{dimensions}]}}"#)
}

#[test]
fn a_record_of_2_1_1_is_normalised() {
    let energy = r#"{"type":"ENERGY","volume":1.5},{"type":"TIME","volume":0.5},{"type":"FLAT","volume":1}"#;
    let record = cdr_from_json(&minimal("", &at_hour(10, energy)), party()).unwrap();
    assert_eq!(record.version, OcpiVersion::V2_1_1);
    assert_eq!(record.findings, Findings::default());
    assert_eq!(record.party, None);
    assert_eq!(record.token.as_ref().unwrap().home(), PartyId::new("NO", "ELV").ok());
    assert_eq!(record.totals.cost, PriceBound { excl_vat: 1_500_000, incl_vat: None });
    assert_eq!(record.periods[0].energy, WattHours::from_wh(1_500).unwrap());
    assert_eq!(record.periods[0].charging, DurationMs::from_secs(1_800).unwrap());
    assert!(!format!("{record:?}").contains("00123456"), "no contract id in debug output");
}

#[test]
fn odd_periods_are_put_right_and_reported() {
    let time = |volume: &str| format!(r#"{{"type":"TIME","volume":{volume}}}"#);
    let cases = [
        (
            format!("{},{}", at_hour(11, &time("1")), at_hour(10, &time("1"))),
            ("$.charging_periods", DeviationKind::Normalised),
        ),
        (
            at_hour(10, &time("-0.0056")),
            ("$.charging_periods[0].dimensions[0].volume", DeviationKind::Assumed),
        ),
        (
            at_hour(10, &time("0.756944")),
            ("$.charging_periods[0].dimensions[0].volume", DeviationKind::Rounded),
        ),
        (
            at_hour(10, r#"{"type":"SESSION_TIME","volume":1}"#),
            ("$.charging_periods[0].dimensions[0].type", DeviationKind::Ignored),
        ),
    ];
    for (periods, want) in cases {
        let record = cdr_from_json(&minimal("", &periods), party()).unwrap();
        let found: Vec<_> = record.findings.deviations.iter().map(|d| (d.path.as_str(), d.kind)).collect();
        assert_eq!(found, [want]);
        assert!(record.periods.is_sorted_by_key(|p| p.start));
    }
}

#[test]
fn a_name_that_nobody_knows_is_left_out_and_reported() {
    let text = minimal("", &at_hour(10, "")).replace("WHITELIST", "TELEPATHY");
    let record = cdr_from_json(&text, party()).unwrap();
    assert_eq!(record.auth_method, None);
    let [found] = &record.findings.deviations[..] else { panic!() };
    assert_eq!((found.path.as_str(), found.kind), ("$.auth_method", DeviationKind::Unknown));
    assert!(record.findings.faithful().is_ok(), "it has no bearing on the price");
}

#[test]
fn one_measured_end_of_a_range_stands_for_both() {
    let dimensions = r#"{"type":"MAX_POWER","volume":11.04},{"type":"MIN_CURRENT","volume":6}"#;
    let record = cdr_from_json(&minimal("", &at_hour(10, dimensions)), party()).unwrap();
    let (power, current) = (Watts::new(11_040), MilliAmperes::new(6_000));
    assert_eq!(record.periods[0].power, Some(Range { min: power, max: power }));
    assert_eq!(record.periods[0].current, Some(Range { min: current, max: current }));
}

#[test]
fn each_error_names_the_place() {
    let plain = minimal("", &at_hour(10, r#"{"type":"ENERGY","volume":1}"#));
    let energy = r#"{"type":"ENERGY","volume":1}"#;
    let cases = [
        (
            plain.replace("\"volume\":1", "\"volume\":-1"),
            "$.charging_periods[0].dimensions[0].volume: a number from 0",
        ),
        (
            plain.replace(energy, &format!("{energy},{energy}")),
            "dimensions[1].type: each dimension once in a period",
        ),
        (minimal("", ""), "$.charging_periods: at least one charging period is expected"),
        (plain.replace("\"total_cost\":1.5,", ""), "$.total_cost: it is missing"),
        (
            plain.replace("\"total_cost\":1.5", "\"total_cost\":\"1.5\""),
            "$.total_cost: an object is expected",
        ),
        (
            plain.replace("2021-05-01T12:00:00Z\",\n            \"auth_id", "noon\",\"auth_id"),
            "$.stop_date_time: a date",
        ),
        (minimal("\"tariffs\":[{}],", &at_hour(10, energy)), "$.tariffs[0].id: it is missing"),
        (plain.replace("\"NO-ELV-C00123456-X\"", "[\"NO-ELV-C00123456-X\"]"), "$.auth_id: text of 1 to 36"),
    ];
    for (text, message) in cases {
        let error = cdr_from_json(&text, party()).expect_err(message);
        assert!(error.to_string().contains(message), "{error}\nlacks\n{message}");
        assert!(!error.to_string().contains("00123456"), "a contract id in a message");
    }
    let many: Vec<String> = (0..=eroam_domain::cdr::PERIODS_MAX).map(|_| at_hour(10, energy)).collect();
    let error = cdr_from_json(&minimal("", &many.join(",")), party()).unwrap_err();
    assert!(matches!(error, OcpiError::Field { path, .. } if path == "$.charging_periods"));
}

proptest! {
    #[test]
    fn periods_round_trip(
        volumes in proptest::collection::vec(
            (0u64..1_000_000_000, 0u64..90_000_000, 0u64..90_000_000, 0u64..1_000_000, proptest::option::of(0u64..1_000_000)),
            1..20,
        ),
    ) {
        let tariff = tariff();
        let mut start = at("2021-05-01T10:00:00Z");
        let mut periods = Vec::new();
        for (energy, charging, parking, reservation, power) in volumes {
            let ms = DurationMs::from_millis;
            periods.push(ChargingPeriod {
                start,
                energy: WattHours::from_milli_wh(energy),
                charging: ms(charging),
                parking: ms(parking),
                reservation: ms(reservation),
                power: power.map(|w| Range { min: Watts::new(w), max: Watts::new(w) }),
                current: None,
            });
            start = start.checked_add(ms(charging + parking + reservation + 1)).unwrap();
        }
        let price = priced(&tariff, &periods, start);
        let text = record(&tariff, &periods, start, &price).to_json().unwrap();
        let read = cdr_from_json(&text, party()).unwrap();
        prop_assert_eq!(read.findings, Findings::default());
        prop_assert_eq!(&read.periods, &periods);
        prop_assert_eq!(read.totals.cost.excl_vat, price.total.excl_vat);
        prop_assert_eq!(priced(&tariff, &read.periods, read.end), price);
    }

    #[test]
    fn a_spoilt_record_is_never_a_panic(at in 0usize..4_000, byte in any::<char>(), text in "\\PC{0,100}") {
        let _ = cdr_from_json(&text, party());
        let good: Vec<char> = minimal("", &at_hour(10, r#"{"type":"ENERGY","volume":1.5}"#)).chars().collect();
        let at = at % good.len();
        let mut spoilt = good.clone();
        spoilt[at] = byte;
        let _ = cdr_from_json(&spoilt.into_iter().collect::<String>(), party());
        let _ = cdr_from_json(&good[at..].iter().collect::<String>(), party());
    }
}
