//! Every tariff vector in the development data, against the domain's pricing and against the crate `ocpi-tariffs`.
//!
//! A file that nobody reads fails the test, and so does a difference that is not in [`EXPLAINED`], and an entry there
//! that no longer differs. Each entry is argued in `docs/tariff-vectors.md`.

use eroam_domain::agreement::PriceRule;
use eroam_domain::cdr::{CdrId, ChargingPeriod, SessionId};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Price, Rounding, RoundingMode, decimal, parse_decimal, parse_decimal_rounded};
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::pricing::{ItemisedPrice, PriceError, PricingInputs, price};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::tariff::{Dimension, PriceBound, Tariff};
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use eroam_wire::ocpi::cdr::{
    AuthMethod, CdrDocument, CdrLocation, CdrObject, CdrToken, Connector, ConnectorFormat, Coordinates,
    PowerType, TokenKind, cdr_from_json,
};
use eroam_wire::ocpi::tariff::tariff_from_json;
use eroam_wire::ocpi::{Deviation, DeviationKind, Findings, datetime};
use ocpi_tariffs::price::TariffSource;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Files that hold nothing to compare with.
const UNREAD: &[(&str, &str)] = &[
    ("explanation.en-US.md", "prose for drivers, generated from the tariff"),
    ("explanation.nl-NL.md", "prose for drivers, generated from the tariff"),
];

/// Where we differ, and why in a word; `#oracle` marks a difference from the crate's own computation.
const EXPLAINED: &[(&str, &str)] = &[
    (
        "ocpi-examples/2.3.0_release_core/tariff_20_simple_north_american_inclusive.json",
        "prices include taxes",
    ),
    ("tariffs/ocpi-tariffs/popular/AC-0010/test_run_40kwh.json#oracle", "power that was not measured"),
    ("tariffs/ocpi-tariffs/popular/AC-0010/test_run_80kwh.json#oracle", "power that was not measured"),
    (
        "tariffs/ocpi-tariffs/popular/AC-0010/test_run_almost_avoid_parking_costs.json#oracle",
        "power that was not measured",
    ),
    (
        "tariffs/ocpi-tariffs/popular/AC-0010/test_run_avoid_parking_costs.json#oracle",
        "power that was not measured",
    ),
    ("tariffs/ocpi-tariffs/v211/real_world/zero_energy_use/cdr.json", "nothing consumed costs zero"),
    ("tariffs/ocpi-tariffs/v211/real_world/zero_energy_use/cdr.json#oracle", "nothing consumed costs zero"),
];

fn party() -> PartyId {
    PartyId::new("NL", "TDR").unwrap()
}

/// One run over all vectors.
struct Run {
    root: PathBuf,
    consumed: BTreeSet<String>,
    differences: BTreeMap<String, Vec<String>>,
    compared: BTreeMap<&'static str, usize>,
}

impl Run {
    /// Reads a file, without its `//` comments, and marks it as consumed.
    fn read(&mut self, path: &str) -> Option<String> {
        let text = std::fs::read_to_string(self.root.join(path)).ok()?;
        self.consumed.insert(path.to_owned());
        Some(strip_comments(&text))
    }

    fn json(&mut self, path: &str) -> Option<Value> {
        Some(serde_json::from_str(&self.read(path)?).unwrap_or_else(|e| panic!("{path}: {e}")))
    }

    fn differs(&mut self, path: &str, what: String) {
        self.differences.entry(path.to_owned()).or_default().push(what);
    }

    fn count(&mut self, what: &'static str) {
        *self.compared.entry(what).or_default() += 1;
    }

    fn files(&self, folder: &str) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.root.join(folder), &mut found);
        let mut found: Vec<String> =
            found.iter().map(|p| p.strip_prefix(&self.root).unwrap().to_str().unwrap().to_owned()).collect();
        found.sort();
        found
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, found) } else { found.push(path) }
    }
}

/// Drops `//` comments, which no JSON text of the vectors has inside a string except in links.
fn strip_comments(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for line in text.lines() {
        let mut in_string = false;
        let mut previous = ' ';
        let mut end = line.len();
        for (at, c) in line.char_indices() {
            match c {
                '"' if previous != '\\' => in_string = !in_string,
                '/' if previous == '/' && !in_string => {
                    end = at - 1;
                    break;
                }
                _ => {}
            }
            previous = c;
        }
        out.push_str(&line[..end]);
        out.push('\n');
    }
    out
}

/// The clock on the wall in `zone` during a session.
fn clock(zone: &str, start: UnixMillis, end: UnixMillis) -> LocalClock {
    let zone = jiff::tz::TimeZone::get(zone).unwrap();
    let instant = |at: UnixMillis| jiff::Timestamp::from_millisecond(at.get()).unwrap();
    let offset = |at: jiff::Timestamp| UtcOffset::new(zone.to_offset(at).seconds()).unwrap();
    let next =
        zone.following(instant(start)).map(|t| t.timestamp()).find(|t| offset(*t) != offset(instant(start)));
    let change =
        next.filter(|t| *t < instant(end)).map(|t| (UnixMillis::new(t.as_millisecond()).unwrap(), offset(t)));
    LocalClock { offset: offset(instant(start)), change }
}

/// The price without agreement and rounding.
fn price_of(
    tariff: &Tariff,
    periods: &[ChargingPeriod],
    end: UnixMillis,
    clock: LocalClock,
) -> Result<ItemisedPrice, PriceError> {
    price(&PricingInputs {
        tariff,
        rule: &PriceRule::Static { factor: BasisPoints::WHOLE },
        rounding: Rounding::new(1, RoundingMode::Down).unwrap(),
        clock,
        periods,
        end,
        forecast: None,
    })
}

fn show(micros: i64) -> String {
    decimal(i128::from(micros), 6, 2)
}

/// Millionths of an expected amount: a JSON number or text.
fn micros(value: &Value) -> i64 {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    parse_decimal_rounded(&text, 6).unwrap_or_else(|e| panic!("{value}: {e}"))
}

/// Whether `ours` is `expected` at the precision to which that is given, two decimals at least.
fn same_amount(ours: i64, expected: i64) -> bool {
    let unit = [10_000, 1_000, 100, 10, 1].into_iter().find(|unit| expected % unit == 0).unwrap();
    let rounded = Rounding::new(u32::try_from(unit).unwrap(), RoundingMode::HalfUp).unwrap().apply(ours);
    rounded == Some(expected)
}

fn same_price(ours: Price, expected: PriceBound) -> bool {
    same_amount(ours.excl_vat, expected.excl_vat)
        && expected.incl_vat.is_none_or(|incl| same_amount(ours.incl_vat, incl))
}

/// An expected price; the members of 2.1.1 have no amount with VAT.
fn expected_price(value: &Value) -> PriceBound {
    let incl_vat = Some(&value["incl_vat"]).filter(|v| !v.is_null()).map(micros);
    PriceBound { excl_vat: micros(&value["excl_vat"]), incl_vat }
}

/// The total, where no price is what the vectors call null.
fn total(priced: &Result<ItemisedPrice, PriceError>) -> Option<Price> {
    match priced {
        Ok(priced) => Some(priced.total),
        Err(PriceError::NoMatchingElement { .. }) => None,
        Err(other) => panic!("{other}"),
    }
}

fn part(priced: &Result<ItemisedPrice, PriceError>, dimension: Dimension) -> Option<Price> {
    priced.as_ref().ok()?.dimension_total(dimension)
}

#[test]
fn vectors_agree() {
    let Some(tariffs) = eroam_testkit::data::at("tariffs") else { return };
    let root = tariffs.parent().unwrap().to_owned();
    let mut run =
        Run { root, consumed: BTreeSet::new(), differences: BTreeMap::new(), compared: BTreeMap::new() };

    let folders = |run: &Run, under: &str| -> BTreeSet<String> {
        run.files(under).iter().map(|f| f.rsplit_once('/').unwrap().0.to_owned()).collect()
    };
    for folder in folders(&run, "tariffs/ocpi-tariffs/v211") {
        real_world(&mut run, &folder, ocpi_tariffs::Version::V211);
    }
    for folder in folders(&run, "tariffs/ocpi-tariffs/v221") {
        real_world(&mut run, &folder, ocpi_tariffs::Version::V221);
    }
    for folder in folders(&run, "tariffs/ocpi-tariffs/popular") {
        popular(&mut run, &folder);
    }
    specification(&mut run);

    let mut unread_used = BTreeSet::new();
    let mut unread = Vec::new();
    for file in run.files("tariffs") {
        let name = file.rsplit('/').next().unwrap();
        if let Some((exempt, _)) = UNREAD.iter().find(|(exempt, _)| *exempt == name) {
            unread_used.insert(*exempt);
        } else if !run.consumed.contains(&file) {
            unread.push(file);
        }
    }
    assert!(unread.is_empty(), "vectors that nobody read: {unread:#?}");
    assert_eq!(unread_used.len(), UNREAD.len(), "an entry of UNREAD matches no file");

    println!("files read: {}, compared: {:?}", run.consumed.len(), run.compared);
    let explained: BTreeSet<&str> = EXPLAINED.iter().map(|(path, _)| *path).collect();
    assert_eq!(explained.len(), EXPLAINED.len(), "EXPLAINED names a path twice");
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/tariff-vectors.md");
    let page = std::fs::read_to_string(page).unwrap();
    for (path, reason) in EXPLAINED {
        let path = path.split('#').next().unwrap();
        assert!(
            page.contains(path) && page.contains(reason),
            "docs/tariff-vectors.md lacks {path} or `{reason}`"
        );
    }
    let mut report = String::new();
    for (path, what) in &run.differences {
        if !explained.contains(path.as_str()) {
            report.push_str(&format!("{path}\n    {}\n", what.join("\n    ")));
        }
    }
    assert!(report.is_empty(), "unexplained differences:\n{report}");
    for path in explained {
        assert!(run.differences.contains_key(path), "explained, but there is no difference any more: {path}");
    }
}

// ---------------------------------------------------------------------------------------------- real-world records

fn real_world(run: &mut Run, folder: &str, version: ocpi_tariffs::Version) {
    let tariff_path = format!("{folder}/tariff.json");
    let tariff_text = run.read(&tariff_path);
    let tariff = tariff_text.as_ref().and_then(|text| read_tariff(run, folder, &tariff_path, text));
    for path in run.files(folder) {
        let name = path.rsplit('/').next().unwrap().to_owned();
        let Some(stem) = name.strip_prefix("cdr").and_then(|n| n.strip_suffix(".json")) else { continue };
        let expected = run.json(&format!("{folder}/output_price__cdr{stem}.json")).unwrap_or(Value::Null);
        let text = run.read(&path).unwrap();
        let record = match cdr_from_json(&text, party()) {
            Ok(record) => record,
            Err(error) => {
                run.differs(&path, format!("not read: {error}"));
                continue;
            }
        };
        compare_findings(run, &path, &record.findings, &expected["cdr_parse"]["warnings_schema"]);
        let own = record.tariffs.iter().find(|t| t.valid_at(record.periods[0].start));
        let tariff = tariff.as_ref().or(own).unwrap_or_else(|| panic!("{path}: no tariff"));
        let zone = zone_of(&record);
        let clock = clock(zone, record.periods[0].start, record.end);
        let priced = price_of(tariff, &record.periods, record.end, clock);
        run.count("real-world records");
        compare_record(run, &path, &record, &priced, &expected["cdr_price"]);
        // Version 0.48 of the oracle prices a credit like the record that it cancels.
        compare_with_oracle(run, &path, &priced, oracle(&text, tariff_text.as_deref(), version, zone));
    }
}

fn zone_of(record: &CdrDocument) -> &'static str {
    let location = record.location.as_ref().unwrap();
    match (location.time_zone.as_deref(), location.country.as_deref()) {
        (Some("Europe/Amsterdam"), _) | (None, Some("NLD")) => "Europe/Amsterdam",
        (Some("Europe/Rome"), _) => "Europe/Rome",
        (None, Some("BEL")) => "Europe/Brussels",
        other => panic!("no time zone for {other:?}"),
    }
}

/// Reads a tariff and compares what was odd about it with what the vectors report, where they do.
fn read_tariff(run: &mut Run, folder: &str, path: &str, text: &str) -> Option<Tariff> {
    let parse = run.json(&format!("{folder}/output_parse__tariff.json"));
    let from_json = run.json(&format!("{folder}/output_from_json__tariff.json")).unwrap_or(Value::Null);
    match tariff_from_json(text, party()) {
        Ok(document) => {
            let written =
                eroam_wire::ocpi::tariff::tariff_to_json(&document.tariff, UnixMillis::EPOCH).unwrap();
            assert_eq!(tariff_from_json(&written, party()).unwrap().tariff, document.tariff, "{path}");
            if let Some(parse) = parse {
                compare_findings(run, path, &document.findings, &parse["warnings_schema"]);
                for warnings in [&parse["warnings_domain"], &from_json["warnings"]] {
                    for place in warnings.as_object().into_iter().flatten().map(|(place, _)| place) {
                        if !document.findings.deviations.iter().any(|d| d.path == *place) {
                            run.differs(path, format!("{place}: a finding of theirs only"));
                        }
                    }
                }
            }
            run.count("tariffs");
            Some(document.tariff)
        }
        Err(error) => {
            run.differs(path, format!("not read: {error}"));
            None
        }
    }
}

/// Compares findings with the vectors' warnings by place, both ways.
fn compare_findings(run: &mut Run, path: &str, findings: &Findings, warnings: &Value) {
    let mut theirs = BTreeSet::new();
    for (place, kinds) in warnings.as_object().into_iter().flatten() {
        for kind in kinds.as_array().unwrap().iter().map(|k| k.as_str().unwrap()) {
            match kind.strip_prefix("missing_field(").and_then(|k| k.strip_suffix(')')) {
                Some(field) => theirs.insert(format!("{place}.{field}")),
                None => theirs.insert(place.clone()),
            };
        }
    }
    let star = |place: &str| {
        let (before, rest) = place.split_once(".elements[")?;
        Some(format!("{before}.elements.*{}", rest.split_once(']')?.1))
    };
    // Their warnings are about the schema: they know nothing of the order of periods, the sign of a volume or the
    // case of a code, which we report.
    let silent = |d: &Deviation| matches!(d.kind, DeviationKind::Normalised | DeviationKind::Assumed);
    let of_meaning: BTreeSet<&String> =
        findings.deviations.iter().filter(|d| silent(d)).map(|d| &d.path).collect();
    let mut ours = BTreeSet::new();
    let paths = findings.deviations.iter().map(|d| &d.path);
    for place in paths.chain(&findings.missing).chain(&findings.unexpected) {
        match star(place).filter(|starred| theirs.contains(starred)) {
            Some(starred) => ours.insert(starred),
            None => ours.insert(place.clone()),
        };
    }
    for place in ours.difference(&theirs).filter(|place| !of_meaning.contains(place)) {
        run.differs(path, format!("{place}: a finding of ours only"));
    }
    for place in theirs.difference(&ours) {
        run.differs(path, format!("{place}: a finding of theirs only"));
    }
    run.count("documents with findings compared");
}

/// Compares with what the vector expects, which is what the record states unless it says otherwise.
fn compare_record(
    run: &mut Run,
    path: &str,
    record: &CdrDocument,
    priced: &Result<ItemisedPrice, PriceError>,
    expected: &Value,
) {
    let sign = |p: Price| {
        if record.credit { Price { excl_vat: -p.excl_vat, incl_vat: -p.incl_vat } } else { p }
    };
    let stated = &record.totals;
    let prices = [
        ("total_cost", total(priced).map(sign), Some(stated.cost)),
        ("total_energy_cost", part(priced, Dimension::Energy), stated.energy_cost),
        ("total_charging_time_cost", part(priced, Dimension::Time), stated.time_cost),
        ("total_idle_time_cost", part(priced, Dimension::ParkingTime), stated.parking_cost),
        ("total_fixed_cost", part(priced, Dimension::Flat), stated.fixed_cost),
    ];
    for (name, ours, stated) in prices {
        let want = match expected.get(name) {
            Some(Value::Null) => None,
            Some(value) => Some(expected_price(value)),
            None if stated.is_some() => stated,
            None => continue,
        };
        let same = match (ours, want) {
            (None, None) => true,
            (Some(ours), Some(want)) => same_price(ours, want),
            _ => false,
        };
        if !same {
            run.differs(path, format!("{name}: ours {ours:?}, expected {want:?}"));
        }
    }
    // A quantity that OCPI leaves out is zero here.
    let energy = record.periods.iter().map(|p| p.energy.milli_wh()).sum::<u64>();
    let parking = record.periods.iter().map(|p| p.parking.millis()).sum::<u64>();
    let time = record.end.since(record.periods[0].start).unwrap().millis();
    let hours = |ms: u64| i64::try_from(ms * 1_000_000 / 3_600_000).unwrap();
    let stated_energy = stated.energy.map(|e| i64::try_from(e.milli_wh()).unwrap());
    let quantities = [
        ("total_energy", i64::try_from(energy).unwrap(), stated_energy),
        ("total_time", hours(time), stated.time.map(|t| hours(t.millis()))),
        ("total_idle_time", hours(parking), stated.parking_time.map(|t| hours(t.millis()))),
    ];
    for (name, ours, stated) in quantities {
        let want = match expected.get(name) {
            Some(Value::Null) => 0,
            Some(value) => micros(value),
            None => stated.unwrap_or(0),
        };
        // Half of the second decimal, the precision at which the vectors compare with a record.
        if (ours - want).abs() > 5_000 {
            run.differs(path, format!("{name}: ours {}, expected {}", show(ours), show(want)));
        }
    }
}

/// Total, energy, charging time, parking time and flat fee, without and with VAT, where there are any.
type Amounts = [Option<(i64, Option<i64>)>; 5];

/// What the crate `ocpi-tariffs` computes, in millionths rounded to four decimals.
fn oracle(cdr: &str, tariff: Option<&str>, version: ocpi_tariffs::Version, zone: &str) -> Amounts {
    let parsed = ocpi_tariffs::cdr::parse_with_version(cdr, version).expect("the oracle reads every record");
    let source = match tariff {
        Some(text) => TariffSource::single(
            ocpi_tariffs::tariff::parse_with_version(text, version).expect("and tariff").tariff,
        ),
        None => TariffSource::UseCdr,
    };
    let report = match ocpi_tariffs::cdr::price(&parsed.cdr, source, zone.parse::<chrono_tz::Tz>().unwrap()) {
        Ok(report) => report.ignore_warnings(),
        Err(_) => panic!("the oracle prices every record"),
    };
    let amount = |money: ocpi_tariffs::Money| parse_decimal(&format!("{money:#}"), 6).unwrap();
    [
        report.total_cost.calculated,
        report.total_energy_cost.calculated,
        report.total_charging_time_cost.calculated,
        report.total_idle_cost.calculated,
        report.total_fixed_cost.calculated,
    ]
    .map(|price| price.map(|p| (amount(p.excl_vat), p.incl_vat.map(amount))))
}

fn compare_with_oracle(run: &mut Run, path: &str, ours: &Result<ItemisedPrice, PriceError>, theirs: Amounts) {
    run.count("records priced by the oracle too");
    let parts = [total(ours)].into_iter().chain(Dimension::ALL.map(|dimension| part(ours, dimension)));
    // Our lines each round down to a millionth.
    let close = |a: i64, b: i64| (a - b).abs() <= 150;
    for ((ours, theirs), name) in parts.zip(theirs).zip(["total", "energy", "time", "parking", "fixed"]) {
        let same = match (ours, theirs) {
            (None, None) => true,
            (Some(ours), Some((excl, incl))) => {
                close(ours.excl_vat, excl) && incl.is_none_or(|incl| close(ours.incl_vat, incl))
            }
            _ => false,
        };
        if !same {
            run.differs(&format!("{path}#oracle"), format!("{name}: ours {ours:?}, the oracle's {theirs:?}"));
        }
    }
}

// ---------------------------------------------------------------------------------------------- popular tariffs

fn popular(run: &mut Run, folder: &str) {
    let text = run.read(&format!("{folder}/tariff.json")).unwrap();
    let document = tariff_from_json(&text, party()).unwrap_or_else(|e| panic!("{folder}: {e}"));
    run.count("tariffs");
    for path in run.files(folder) {
        if !path.rsplit('/').next().unwrap().starts_with("test_run") {
            continue;
        }
        let vector = run.json(&path).unwrap();
        let (input, expect) = (&vector["input"], &vector["expect"]);
        compare_findings(run, &path, &document.findings, &expect["warnings"]);

        let (session, charging) = session(input);
        let clock = clock(input["timezone"].as_str().unwrap(), session.start, session.end);
        let planned = periods(&session, &document.tariff, &clock).unwrap();
        let priced = price_of(&document.tariff, &planned, session.end, clock);
        run.count("planned sessions");

        let currency = expect["currency"].as_str().unwrap_or("EUR");
        assert_eq!(document.tariff.currency().as_str(), currency, "{path}");
        let none = matches!(priced, Err(PriceError::NoMatchingElement { .. }));
        if none != expect["generate_warnings"].is_object() {
            run.differs(&path, format!("no element prices the session: ours {none}"));
        }
        for (name, ours) in [
            ("total_cost", total(&priced)),
            ("total_energy_cost", part(&priced, Dimension::Energy)),
            ("total_idle_cost", part(&priced, Dimension::ParkingTime)),
        ] {
            let want = Some(&expect[name]).filter(|v| !v.is_null());
            let same = match (ours, want) {
                (None, None) => true,
                (Some(ours), Some(want)) => {
                    let (value, tolerance) = (expected_price(&want["value"]), micros(&want["tolerance"]));
                    (ours.excl_vat - value.excl_vat).abs() <= tolerance
                        && value.incl_vat.is_none_or(|incl| (ours.incl_vat - incl).abs() <= tolerance)
                }
                _ => false,
            };
            if !same {
                run.differs(&path, format!("{name}: ours {ours:?}, expected {want:?}"));
            }
        }
        let idle = session.end.since(session.charging_end).unwrap();
        for (name, ours, value, tolerance) in [
            (
                "total_charging_time",
                i64::try_from(charging.millis()).unwrap(),
                hms as fn(&Value) -> i64,
                "tolerance_sec",
            ),
            ("total_idle_time", i64::try_from(idle.millis()).unwrap(), hms, "tolerance_sec"),
            ("total_energy", i64::try_from(session.energy.milli_wh()).unwrap(), micros, "tolerance_kwh"),
        ] {
            let want = &expect[name];
            let (value, tolerance) = match want {
                Value::Null => (0, 0),
                _ if tolerance == "tolerance_sec" => {
                    (value(&want["value"]), want[tolerance].as_i64().unwrap() * 1_000)
                }
                _ => (value(&want["value"]), micros(&want[tolerance])),
            };
            if (ours - value).abs() > tolerance {
                run.differs(&path, format!("{name}: ours {ours}, expected {value} within {tolerance}"));
            }
        }
        if let Ok(priced) = &priced {
            written_for_the_oracle(run, &path, &text, &document.tariff, &session, &planned, priced);
        }
    }
}

/// The session of a vector: full power until it has what it asks for, then idle; and how long it charges.
fn session(input: &Value) -> (EvenSession, DurationMs) {
    let instant = |name: &str| datetime::parse(input[name].as_str().unwrap()).unwrap();
    let (start, end) = (instant("start_date_time"), instant("end_date_time"));
    let number =
        |name: &str, scale| u64::try_from(parse_decimal(&input[name].to_string(), scale).unwrap()).unwrap();
    let power = Watts::new(number("max_power_supply_kw", 3));
    let wanted = WattHours::from_milli_wh(number("requested_kwh", 6));
    let (available, needed) = (end.since(start).unwrap(), power.time_for(wanted).unwrap());
    let (charging, energy) = if needed <= available {
        (needed, wanted)
    } else {
        (available, power.energy_over(available).unwrap())
    };
    (EvenSession { start, charging_end: start.checked_add(charging).unwrap(), end, energy }, charging)
}

/// Milliseconds of `h:mm:ss`.
fn hms(value: &Value) -> i64 {
    let parts: Vec<i64> = value.as_str().unwrap().split(':').map(|p| p.parse().unwrap()).collect();
    ((parts[0] * 60 + parts[1]) * 60 + parts[2]) * 1_000
}

/// Writes the session as a complete record, which the oracle must understand and price as we do.
fn written_for_the_oracle(
    run: &mut Run,
    path: &str,
    tariff_text: &str,
    tariff: &Tariff,
    session: &EvenSession,
    planned: &[ChargingPeriod],
    priced: &ItemisedPrice,
) {
    let record = CdrObject {
        party: party(),
        id: CdrId::new("VECTOR").unwrap(),
        session_id: SessionId::new("VECTOR").unwrap(),
        start: session.start,
        end: session.end,
        token: CdrToken {
            uid: "012345678".into(),
            kind: TokenKind::Rfid,
            contract: "NL-TDR-C12345678".parse().unwrap(),
            party: party(),
        },
        auth_method: AuthMethod::Whitelist,
        authorization_reference: None,
        location: CdrLocation {
            id: "LOC1".into(),
            name: None,
            address: "Street 1".into(),
            city: "Delft".into(),
            postal_code: None,
            country: "NLD".into(),
            coordinates: Coordinates { latitude: "52.004604".into(), longitude: "4.359893".into() },
            evse_uid: "1".into(),
            evse_id: "NL*TDR*E1".parse().unwrap(),
            connector: Connector {
                id: "1".into(),
                standard: "IEC_62196_T2".into(),
                format: ConnectorFormat::Socket,
                power_type: PowerType::Ac3Phase,
            },
        },
        tariff: (tariff, UnixMillis::EPOCH),
        periods: planned,
        price: priced,
        credits: None,
        remark: None,
        last_updated: session.end,
    };
    let text = record.to_json().unwrap();
    let read = cdr_from_json(&text, party()).unwrap();
    assert_eq!(read.periods, planned, "{path}");
    assert_eq!(read.tariffs, std::slice::from_ref(tariff), "{path}");
    assert_eq!(read.findings, Findings::default(), "{path}");
    let version = ocpi_tariffs::Version::V221;
    let parsed = ocpi_tariffs::cdr::parse_with_version(&text, version).unwrap();
    assert!(parsed.unexpected_fields.is_empty(), "{path}: {}", parsed.unexpected_fields);
    let zone = "Europe/Amsterdam";
    let theirs = oracle(&text, None, version, zone);
    assert_eq!(
        theirs,
        oracle(&text, Some(tariff_text), version, zone),
        "{path}: our tariff means what theirs does"
    );
    compare_with_oracle(run, path, &Ok(priced.clone()), theirs);
}

// ---------------------------------------------------------------------------------------------- the specification

fn specification(run: &mut Run) {
    let mut tariffs = BTreeMap::new();
    for path in run.files("ocpi-examples/2.3.0_release_core") {
        let name = path.rsplit('/').next().unwrap();
        if !name.starts_with("tariff_") {
            continue;
        }
        let text = run.read(&path).unwrap();
        match tariff_from_json(&text, party()) {
            Ok(document) => {
                // The one example that leaves it out is a PUT of a tariff.
                let odd = Findings {
                    missing: document
                        .findings
                        .missing
                        .iter()
                        .filter(|m| *m != "$.last_updated")
                        .cloned()
                        .collect(),
                    ..document.findings
                };
                assert_eq!(odd, Findings::default(), "{path}");
                run.count("tariffs");
                tariffs.insert(path, document.tariff);
            }
            Err(error) => run.differs(&path, format!("not read: {error}")),
        }
    }
    let path = "tariffs/ocpi_spec_expected.json";
    let vectors = run.json(path).unwrap();
    for vector in vectors.as_array().unwrap() {
        let tariff = &tariffs[vector["tariff"].as_str().unwrap()];
        let start = datetime::parse("2019-01-15T10:00:00Z").unwrap();
        let hours = vector["session"].get("hours").map_or(0, micros);
        let energy = vector["session"].get("kwh").map_or(0, micros);
        let charging = DurationMs::from_millis(u64::try_from(hours * 36 / 10).unwrap());
        let period = ChargingPeriod {
            start,
            energy: WattHours::from_milli_wh(u64::try_from(energy).unwrap()),
            charging,
            parking: DurationMs::ZERO,
            reservation: DurationMs::ZERO,
            power: None,
            current: None,
        };
        let end = start.checked_add(DurationMs::from_millis(4 * 3_600_000)).unwrap();
        let ours = price_of(tariff, &[period], end, LocalClock::UTC).unwrap().total;
        let want = Price { excl_vat: micros(&vector["excl"]), incl_vat: micros(&vector["incl"]) };
        run.count("examples of the specification");
        if ours != want {
            run.differs(path, format!("{vector}: ours {ours:?}"));
        }
    }
}

#[test]
fn comments_are_stripped_outside_text() {
    assert_eq!(strip_comments("{ \"a\": \"https://x\" } // b"), "{ \"a\": \"https://x\" } \n");
    assert_eq!(strip_comments("// all\n1"), "\n1\n");
}

/// A deviation names what stood there and what became of it.
#[test]
fn an_unknown_dimension_is_reported() {
    let text = r#"{"id":"1","currency":"EUR","elements":[
        {"price_components":[{"type":"SESSION_TIME","price":1,"step_size":1}]},
        {"price_components":[{"type":"ENERGY","price":1,"step_size":1}]}],"last_updated":"2020-01-01T00:00:00Z"}"#;
    let document = tariff_from_json(text, party()).unwrap();
    let [Deviation { path, found, .. }] = &document.findings.deviations[..] else { panic!() };
    assert_eq!(
        (path.as_str(), found.as_str()),
        ("$.elements[0].price_components[0].type", "\"SESSION_TIME\"")
    );
    assert_eq!(document.tariff.elements().len(), 1);
    assert!(document.findings.faithful().is_err());
}
