use super::*;
use crate::ocpi::DeviationKind;
use eroam_domain::money::Currency;
use eroam_domain::time::{CivilDate, TimeOfDay};
use proptest::prelude::*;

fn party() -> PartyId {
    PartyId::new("PT", "GLP").unwrap()
}

fn read(text: &str) -> TariffDocument {
    tariff_from_json(text, party()).unwrap_or_else(|e| panic!("{e}"))
}

/// A complete tariff whose only element has `component` and `restrictions`.
fn with(component: &str, restrictions: &str) -> String {
    format!(
        r#"{{"country_code":"DE","party_id":"ALL","id":"7","currency":"EUR","elements":[{{
            "price_components":[{component}],"restrictions":{restrictions}}}],
            "last_updated":"2020-01-01T00:00:00Z"}}"#
    )
}

const ENERGY: &str = r#"{"type":"ENERGY","price":0.25,"vat":21.0,"step_size":100}"#;

#[test]
fn numbers_become_the_domains_units() {
    let text = with(
        ENERGY,
        r#"{"start_time":"22:00","end_time":"06:00","start_date":"2021-05-01","end_date":"2021-06-01",
            "min_kwh":0.1,"max_kwh":20,"min_current":16.5,"max_current":32,"min_power":0.06,"max_power":22,
            "min_duration":900,"max_duration":3600,"day_of_week":["MONDAY","SUNDAY"],"reservation":"RESERVATION"}"#,
    );
    let document = read(&text);
    assert_eq!(document.version, OcpiVersion::V2_2_1);
    assert_eq!(document.findings, Findings::default());
    assert_eq!(document.tariff.party(), PartyId::new("DE", "ALL").unwrap());
    let [element] = document.tariff.elements() else { panic!() };
    let vat = VatRate::from_ppm(210_000);
    let energy = PriceComponent { dimension: Dimension::Energy, price_micros: 250_000, vat, step_size: 100 };
    assert_eq!(element.components, [energy]);
    assert_eq!(
        element.restrictions,
        Restrictions {
            start_time: TimeOfDay::new(22, 0),
            end_time: TimeOfDay::new(6, 0),
            start_date: CivilDate::new(2021, 5, 1),
            end_date: CivilDate::new(2021, 6, 1),
            min_energy: WattHours::from_wh(100),
            max_energy: WattHours::from_wh(20_000),
            min_current: Some(MilliAmperes::new(16_500)),
            max_current: Some(MilliAmperes::new(32_000)),
            min_power: Some(Watts::new(60)),
            max_power: Some(Watts::new(22_000)),
            min_duration: DurationMs::from_secs(900),
            max_duration: DurationMs::from_secs(3_600),
            day_of_week: Some([Weekday::Monday, Weekday::Sunday].into_iter().collect()),
            reservation: Some(ReservationRestriction::Reservation),
        }
    );
}

#[test]
fn a_tariff_of_2_1_1_belongs_to_its_sender_and_has_no_vat() {
    let document = read(
        r#"{"id":"1","currency":"EUR","elements":[{"price_components":[{"type":"TIME","price":2,"step_size":60}]}],
            "last_updated":"2015-06-29T20:39:09"}"#,
    );
    assert_eq!((document.version, document.tariff.party()), (OcpiVersion::V2_1_1, party()));
    assert_eq!(document.tariff.elements()[0].components[0].vat, None);
    assert_eq!(document.findings, Findings::default());
}

#[test]
fn the_bounds_of_2_3_0_have_other_names() {
    let bounded = |min: &str| {
        read(
            &with(ENERGY, "{}")
                .replace(r#""id":"7""#, &format!(r#""id":"7","tax_included":"NO","min_price":{min}"#)),
        )
    };
    for min in [
        r#"{"before_taxes":0.5,"after_taxes":0.6}"#,
        r#"{"before_taxes":0.5,"taxes":[{"name":"VAT","amount":0.07},{"name":"X","amount":0.03}]}"#,
        r#"{"excl_vat":0.5,"incl_vat":0.6}"#,
    ] {
        let document = bounded(min);
        assert_eq!(document.version, OcpiVersion::V2_3_0);
        let bound = PriceBound { excl_vat: 500_000, incl_vat: Some(600_000) };
        assert_eq!(document.tariff.stated_bounds().0, Some(bound), "{min}");
    }
}

#[test]
fn what_is_odd_is_reported_and_read() {
    let cases = [
        (r#""currency":"EUR""#, r#""currency":"eur""#, "$.currency", DeviationKind::Normalised),
        (r#""party_id":"ALL""#, r#""party_id":"all""#, "$.party_id", DeviationKind::Normalised),
        (r#""country_code":"DE""#, r#""country_code":"DEU""#, "$.country_code", DeviationKind::Assumed),
        (r#""id":"7""#, r#""id":"7","max_price":75"#, "$.max_price", DeviationKind::Assumed),
        ("0.25", "0.33057851", "$.elements[0].price_components[0].price", DeviationKind::Rounded),
        ("0.1", "0.12345678", "$.elements[0].restrictions.min_kwh", DeviationKind::Rounded),
    ];
    for (from, to, path, kind) in cases {
        let text = with(ENERGY, r#"{"min_kwh":0.1}"#).replace(from, to);
        let found = read(&text).findings;
        assert_eq!(
            found.deviations.iter().map(|d| (d.path.as_str(), d.kind)).collect::<Vec<_>>(),
            [(path, kind)]
        );
        let harmless = matches!(kind, DeviationKind::Normalised | DeviationKind::Rounded);
        assert_eq!(found.faithful().is_ok(), harmless, "{path}");
    }
    let odd =
        read(&with(ENERGY, r#"{"dayOfWeek":["MONDAY"]}"#).replace(r#""last_updated""#, r#""surprise""#));
    assert_eq!(odd.findings.unexpected, ["$.elements[0].restrictions.dayOfWeek", "$.surprise"]);
    assert_eq!(odd.findings.missing, ["$.last_updated"]);
    let error = odd.findings.faithful().unwrap_err().to_string();
    assert!(error.starts_with("$.elements[0].restrictions.dayOfWeek: an unknown restriction"), "{error}");
}

#[test]
fn absent_null_and_empty_restrict_nothing() {
    for restrictions in ["null", "{}", r#"{"day_of_week":[]}"#, r#"{"min_kwh":null,"reservation":null}"#] {
        let document = read(&with(ENERGY, restrictions));
        assert_eq!(document.tariff.elements()[0].restrictions, Restrictions::NONE, "{restrictions}");
        assert_eq!(document.findings, Findings::default());
    }
}

#[test]
fn each_error_names_the_place_what_is_expected_and_what_to_do() {
    let plain = with(ENERGY, "{}");
    let cases = [
        (plain.replace(r#""id":"7","#, ""), "$.id: it is missing: add the tariff's id"),
        (plain.replace(r#""currency":"EUR","#, ""), "$.currency: it is missing"),
        (
            plain.replace("EUR", "EURO"),
            "$.currency: a currency code such as EUR is expected, found \"EURO\": use three",
        ),
        (
            plain.replace("0.25", "\"0.25\""),
            ".price: a number is expected, found \"0.25\": send a JSON number, not text",
        ),
        (plain.replace("0.25", "1e30"), ".price: a number is expected, found 1e30"),
        (plain.replace(r#","step_size":100"#, ""), ".step_size: it is missing: add 1, which means exact"),
        (plain.replace("21.0", "2100"), ".vat: a percentage from 0 to 100 is expected, found 2100"),
        (plain.replace("[{\"type", "7,[{\"type"), "$: this is no valid JSON"),
        (plain.replace(r#""id":"7""#, r#""id":"7","id":"8""#), "each field once"),
        (
            plain.replace(r#""id":"7""#, r#""id":"7","tax_included":"YES""#),
            "$.tax_included: NO or N/A is expected",
        ),
        (plain.replace(ENERGY, ""), "$: the tariff contradicts itself"),
        (
            plain.replace(r#""id":"7""#, r#""id":"7","max_price":{"excl_vat":5,"incl_vat":4.5}"#),
            "$: the tariff contradicts itself",
        ),
        (plain.replace("2020-01-01T", "yesterday"), "$.last_updated: a date and time in UTC such as 2021"),
        (with(ENERGY, "[]"), "$.elements[0].restrictions: an object is expected, found an array"),
        (with(ENERGY, r#"{"start_time":"24:00"}"#), ".restrictions.start_time: a local time such as 09:30"),
        (with(ENERGY, r#"{"end_date":"2021-02-30"}"#), ".restrictions.end_date: a date such as 2021-05-01"),
        (with(ENERGY, r#"{"min_kwh":-1}"#), ".restrictions.min_kwh: a number from 0 is expected, found -1"),
        (with(ENERGY, r#"{"day_of_week":["MON"]}"#), ".restrictions.day_of_week[0]: a day such as MONDAY"),
        (with(ENERGY, r#"{"reservation":"YES"}"#), ".restrictions.reservation: RESERVATION or"),
        ("[]".to_owned(), "$: an object is expected, found an array"),
        (String::new(), "$: this is no valid JSON"),
        (" ".repeat(crate::ocpi::DOCUMENT_MAX + 1), "at most 4194304 are read"),
    ];
    for (text, message) in cases {
        let error = tariff_from_json(&text, party()).expect_err(message).to_string();
        assert!(error.contains(message), "{error}\nlacks\n{message}");
    }
}

#[test]
fn a_flood_of_unknown_fields_is_refused() {
    let many: String = (0..=crate::ocpi::FINDINGS_MAX).map(|i| format!(r#""x{i}":1,"#)).collect();
    let text = with(ENERGY, "{}").replacen('{', &format!("{{{many}"), 1);
    assert!(matches!(tariff_from_json(&text, party()), Err(OcpiError::TooManyFindings)));
}

#[test]
fn depth_is_no_danger() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        assert!(tariff_from_json(&deep, party()).is_err());
        let hidden = with(ENERGY, "{}").replacen('{', &format!("{{\"x\":{deep},"), 1);
        let read = tariff_from_json(&hidden, party());
        assert!(read.is_err() || read.is_ok_and(|d| d.findings.unexpected == ["$.x"]));
    }
}

#[test]
fn a_duration_that_ocpi_cannot_express_is_refused() {
    let text = with(ENERGY, r#"{"min_duration":0.5}"#);
    let error = tariff_to_json(&read(&text).tariff, UnixMillis::EPOCH).unwrap_err().to_string();
    assert!(
        error.starts_with("$.elements[0].restrictions.min_duration: a whole number of seconds"),
        "{error}"
    );
}

prop_compose! {
    fn arb_component(dimension: Dimension)(
        price_micros in -5_000_000i64..5_000_000_000,
        vat in proptest::option::of(0u32..=1_000_000),
        step_size in prop_oneof![Just(0), Just(1), any::<u32>()],
    ) -> PriceComponent {
        PriceComponent { dimension, price_micros, vat: vat.and_then(VatRate::from_ppm), step_size }
    }
}

fn pair<T: Ord + std::fmt::Debug>(
    values: impl Strategy<Value = T> + Clone,
) -> impl Strategy<Value = (Option<T>, Option<T>)> {
    use proptest::option::of;
    (of(values.clone()), of(values)).prop_map(|(a, b)| match (a, b) {
        (Some(a), Some(b)) if a == b => (Some(a), None),
        (Some(a), Some(b)) => (Some(a).min(Some(b)), None),
        ends => ends,
    })
}

prop_compose! {
    fn arb_restrictions()(
        times in pair((0u16..24, 0u16..60)),
        date in pair((1970i32..9999, 1u8..13, 1u8..29)),
        (min_energy, max_energy) in pair(0u64..1_000_000_000_000),
        (min_current, max_current) in pair(0u64..1_000_000_000),
        (min_power, max_power) in pair(0u64..1_000_000_000),
        (min_duration, max_duration) in pair(0u64..10_000_000),
        days in proptest::option::of(proptest::collection::vec(0usize..7, 1..7)),
        reservation in proptest::option::of(any::<bool>()),
    ) -> Restrictions {
        let time = |t: Option<(u16, u16)>| t.and_then(|(h, m)| TimeOfDay::new(h, m));
        let day = |d: Option<(i32, u8, u8)>| d.and_then(|(y, m, d)| CivilDate::new(y, m, d));
        Restrictions {
            start_time: time(times.0),
            end_time: time(times.1),
            start_date: day(date.0),
            end_date: day(date.1),
            min_energy: min_energy.map(WattHours::from_milli_wh),
            max_energy: max_energy.map(WattHours::from_milli_wh),
            min_current: min_current.map(MilliAmperes::new),
            max_current: max_current.map(MilliAmperes::new),
            min_power: min_power.map(Watts::new),
            max_power: max_power.map(Watts::new),
            min_duration: min_duration.and_then(DurationMs::from_secs),
            max_duration: max_duration.and_then(DurationMs::from_secs),
            day_of_week: days.map(|days| days.into_iter().map(|d| Weekday::ALL[d]).collect()),
            reservation: reservation.map(|expires| match expires {
                true => ReservationRestriction::ReservationExpires,
                false => ReservationRestriction::Reservation,
            }),
        }
    }
}

fn arb_element() -> impl Strategy<Value = TariffElement> {
    let dimensions = proptest::sample::subsequence(Dimension::ALL.to_vec(), 1..=4);
    let components = dimensions.prop_flat_map(|d| d.into_iter().map(arb_component).collect::<Vec<_>>());
    (components, arb_restrictions())
        .prop_map(|(components, restrictions)| TariffElement { components, restrictions })
}

prop_compose! {
    fn arb_tariff()(
        id in "[ -~]{1,36}",
        elements in proptest::collection::vec(arb_element(), 1..6),
        bounds in (proptest::option::of((0i64..1_000_000, 0i64..8_000_000)), proptest::option::of(1_000_000i64..9_000_000_000)),
        from in proptest::option::of(0i64..1_000_000_000_000),
        until in proptest::option::of(1_000_000_000_000i64..253_402_300_800_000),
    ) -> Tariff {
        Tariff::new(TariffParts {
            party: PartyId::new("NO", "ELV").unwrap(),
            id: TariffId::new(&id).unwrap(),
            currency: Currency::new("NOK").unwrap(),
            elements,
            min_price: bounds.0.map(|(excl_vat, vat)| PriceBound { excl_vat, incl_vat: Some(excl_vat + vat) }),
            max_price: bounds.1.map(|excl_vat| PriceBound { excl_vat, incl_vat: Some(excl_vat) }),
            valid_from: from.and_then(UnixMillis::new),
            valid_until: until.and_then(UnixMillis::new),
        })
        .unwrap()
    }
}

proptest! {
    #[test]
    fn a_written_tariff_is_read_back_equal(tariff in arb_tariff(), updated in 0i64..253_402_300_800_000) {
        let updated = UnixMillis::new(updated).unwrap();
        let text = tariff_to_json(&tariff, updated).unwrap();
        let document = tariff_from_json(&text, party()).unwrap();
        prop_assert_eq!(document.findings, Findings::default());
        prop_assert_eq!(document.last_updated, Some(updated));
        prop_assert_eq!(document.version, OcpiVersion::V2_2_1);
        prop_assert_eq!(document.tariff, tariff);
    }

    #[test]
    fn arbitrary_text_is_never_a_panic(text in "\\PC{0,200}", json in arb_json(), at in 0usize..1_000, byte in any::<char>()) {
        let _ = tariff_from_json(&text, party());
        let _ = tariff_from_json(&json, party());
        let _ = crate::ocpi::cdr::cdr_from_json(&json, party());
        // A good document with one character replaced.
        let good: Vec<char> = with(ENERGY, r#"{"min_kwh":0.1,"day_of_week":["MONDAY"],"end_date":"2021-05-01"}"#).chars().collect();
        let mut spoilt = good.clone();
        let at = at % spoilt.len();
        spoilt[at] = byte;
        let _ = tariff_from_json(&spoilt.into_iter().collect::<String>(), party());
        let _ = tariff_from_json(&good[..at].iter().collect::<String>(), party());
    }
}

/// JSON with the names that the readers look for, and values of every kind under them.
fn arb_json() -> impl Strategy<Value = String> {
    let name = prop_oneof![
        Just("elements"),
        Just("price_components"),
        Just("restrictions"),
        Just("type"),
        Just("price"),
        Just("vat"),
        Just("step_size"),
        Just("id"),
        Just("currency"),
        Just("min_price"),
        Just("excl_vat"),
        Just("start_date_time"),
        Just("charging_periods"),
        Just("dimensions"),
        Just("volume"),
        Just("total_cost"),
        Just("end_date_time"),
        Just("cdr_location"),
        Just("coordinates"),
        Just("tariffs"),
        Just("location"),
        Just("evses"),
        Just("x"),
    ];
    let leaf = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("-0".to_owned()),
        Just("1e99999".to_owned()),
        Just("99999999999999999999.9".to_owned()),
        Just("\"EUR\"".to_owned()),
        Just("\"ENERGY\"".to_owned()),
        Just("\"2021-05-01T20:42:47Z\"".to_owned()),
        any::<i64>().prop_map(|n| n.to_string()),
        "[a-zA-Z0-9:. -]{0,40}".prop_map(|s| format!("\"{s}\"")),
    ];
    leaf.prop_recursive(6, 64, 8, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(|items| format!("[{}]", items.join(","))),
            proptest::collection::vec((name.clone(), inner), 0..8).prop_map(|fields| {
                let fields: Vec<String> = fields.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
                format!("{{{}}}", fields.join(","))
            }),
        ]
    })
}
