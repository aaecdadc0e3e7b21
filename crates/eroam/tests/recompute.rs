//! Every bill, every invoice and the settlement, recomputed from the other files of a replay's output alone.
//!
//! Nothing of our pricing, gateway or ledger is used: the files are read as plain JSON, and [`tariff`] and [`retail`]
//! say again, in other words and with 128-bit integers, what OCPI and the retail rules mean. The crate `ocpi-tariffs`
//! prices every record besides, as far as a fixed offset from UTC describes its clock.

mod support;

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use support::{ACN, BOULDER, Replay, TRONDHEIM, WORKPLACE, lines, real, tempdir};

/// Numbers and times as JSON has them.
mod read {
    use serde_json::Value;

    /// A decimal number times `10^places`, which must make it whole or be enough digits to round half up.
    pub(super) fn scaled(number: &Value, places: usize) -> i128 {
        let text = number.to_string();
        assert!(!text.contains(['e', 'E', '"', '-']), "{text} is no plain number");
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
        let digits: i128 = format!("{whole}{fraction:0<places$.places$}").parse().unwrap();
        let up = fraction.as_bytes().get(places).is_some_and(|digit| *digit >= b'5');
        digits + i128::from(up)
    }

    pub(super) fn micros(number: &Value) -> i128 {
        scaled(number, 6)
    }

    /// Hours with nine decimals as milliseconds.
    pub(super) fn hours_ms(number: &Value) -> i128 {
        (scaled(number, 9) * 3_600_000 + 500_000_000) / 1_000_000_000
    }

    pub(super) fn text(value: &Value) -> &str {
        value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
    }

    pub(super) fn int(value: &Value) -> i128 {
        value.as_i64().unwrap_or_else(|| panic!("{value} is no whole number")).into()
    }

    /// Days since 1970 of a civil date (Howard Hinnant's algorithm).
    fn days(year: i128, month: i128, day: i128) -> i128 {
        let year = if month <= 2 { year - 1 } else { year };
        let era = year.div_euclid(400);
        let of_era = year - era * 400;
        let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
        era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
    }

    /// Year and month of a day since 1970.
    pub(super) fn month(day: i128) -> String {
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted - era * 146_097;
        let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year + year / 4 - year / 100);
        let month = (5 * of_year + 2) / 153;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year + era * 400 + i128::from(month <= 2);
        format!("{year:04}-{month:02}")
    }

    /// Milliseconds since 1970 of `2021-05-01T20:42:47Z` or `...47.250Z`.
    pub(super) fn instant(value: &Value) -> i128 {
        let text = text(value).strip_suffix('Z').expect("UTC");
        let part = |range: std::ops::Range<usize>| text[range].parse::<i128>().unwrap();
        let fraction = text.get(20..).map_or(0, |f| format!("{f:0<3.3}").parse::<i128>().unwrap());
        let seconds = part(11..13) * 3_600 + part(14..16) * 60 + part(17..19);
        (days(part(0..4), part(5..7), part(8..10)) * 86_400 + seconds) * 1_000 + fraction
    }

    /// Minutes since midnight of `07:00`.
    pub(super) fn minutes(value: &Value) -> i128 {
        let (hours, minutes) = text(value).split_once(':').unwrap();
        hours.parse::<i128>().unwrap() * 60 + minutes.parse::<i128>().unwrap()
    }
}

/// The clock at a station.
#[derive(Clone, Copy)]
struct Clock {
    offset_s: i128,
    change: Option<(i128, i128)>,
}

impl Clock {
    fn of(session: &Value) -> Self {
        let change = session["offset_change"].as_array();
        Self {
            offset_s: read::int(&session["utc_offset_s"]),
            change: change.map(|c| (read::int(&c[0]), read::int(&c[1]))),
        }
    }

    /// Day since 1970, weekday and minute of the day, local.
    fn at(self, ms: i128) -> (i128, &'static str, i128) {
        let offset = self.change.filter(|(at, _)| ms >= *at).map_or(self.offset_s, |(_, offset)| offset);
        let local = ms + offset * 1_000;
        let day = local.div_euclid(86_400_000);
        let names = ["THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY"];
        let weekday = names[usize::try_from(day.rem_euclid(7)).unwrap()];
        (day, weekday, local.rem_euclid(86_400_000) / 60_000)
    }

    /// Whether the local time is in a window of days and hours.
    fn within(self, ms: i128, days: &Value, start: &Value, end: &Value) -> bool {
        let (_, weekday, minute) = self.at(ms);
        let on_day = days.as_array().is_none_or(|days| days.iter().any(|d| d == weekday));
        let after = start.is_null() || minute >= read::minutes(start);
        let before = end.is_null() || minute < read::minutes(end);
        assert!(
            start.is_null() || end.is_null() || read::minutes(start) < read::minutes(end),
            "over midnight"
        );
        on_day && after && before
    }
}

/// A multiple of `unit`, halves away from zero; amounts here may be negative.
fn round_half_up(amount: i128, unit: i128) -> i128 {
    let magnitude = (amount.abs() * 2 + unit) / (unit * 2) * unit;
    magnitude * amount.signum()
}

fn rounded(amount: i128, rounding: &Value) -> i128 {
    assert_eq!(rounding["mode"], "half_up");
    round_half_up(amount, read::int(&rounding["unit_micros"]))
}

fn tax(excl: i128, vat_ppm: i128) -> i128 {
    (excl * vat_ppm).div_euclid(1_000_000)
}

/// An amount without and with VAT, in millionths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Amount {
    excl: i128,
    incl: i128,
}

impl Amount {
    fn of_ocpi(value: &Value) -> Self {
        Self { excl: read::micros(&value["excl_vat"]), incl: read::micros(&value["incl_vat"]) }
    }

    fn of_ours(value: &Value) -> Self {
        Self { excl: read::int(&value["excl_vat"]), incl: read::int(&value["incl_vat"]) }
    }

    fn json(self) -> Value {
        let number = |n: i128| i64::try_from(n).unwrap();
        json!({"excl_vat": number(self.excl), "incl_vat": number(self.incl)})
    }

    fn plus(self, other: Self) -> Self {
        Self { excl: self.excl + other.excl, incl: self.incl + other.incl }
    }

    fn minus(self, other: Self) -> Self {
        Self { excl: self.excl - other.excl, incl: self.incl - other.incl }
    }

    fn each(self, change: impl Fn(i128) -> i128) -> Self {
        Self { excl: change(self.excl), incl: change(self.incl) }
    }
}

/// What a tariff makes of a session, by OCPI 2.2.1 mod_tariffs.
mod tariff {
    use super::{Amount, Clock, read, tax};
    use serde_json::Value;

    pub(super) struct Component {
        dimension: String,
        price: i128,
        vat: i128,
        step: i128,
    }

    pub(super) struct Element {
        components: Vec<Component>,
        days: Value,
        start: Value,
        end: Value,
        min_duration_ms: i128,
    }

    pub(super) struct Tariff {
        elements: Vec<Element>,
        max_excl: Option<i128>,
    }

    /// Which total is rounded up to a step, where OCPI is silent.
    #[derive(Clone, Copy, PartialEq, Eq)]
    pub(super) enum Steps {
        /// That of what a component prices: our reading (docs/tariff-vectors.md).
        Priced,
        /// That of everything, free stretches too: the reading of `ocpi-tariffs`.
        Consumed,
    }

    /// A period: thousandths of a Wh, milliseconds.
    pub(super) struct Period {
        pub(super) start: i128,
        energy: i128,
        charging: i128,
        parking: i128,
    }

    impl Period {
        pub(super) fn volume(&self, dimension: &str) -> i128 {
            match dimension {
                "ENERGY" => self.energy,
                "TIME" => self.charging,
                _ => self.parking,
            }
        }
    }

    /// One component in one period.
    #[derive(Debug)]
    pub(super) struct Line {
        pub(super) element: usize,
        pub(super) dimension: String,
        pub(super) period: usize,
        pub(super) measured: i128,
        pub(super) billed: i128,
        pub(super) price: i128,
        pub(super) amount: Amount,
    }

    #[derive(Debug)]
    pub(super) struct Priced {
        pub(super) lines: Vec<Line>,
        /// What the maximum price takes away.
        pub(super) capped: Amount,
        pub(super) total: Amount,
    }

    impl Tariff {
        /// As OCPI writes it.
        pub(super) fn of_ocpi(tariff: &Value) -> Self {
            let known = |object: &Value, names: &[&str]| {
                let unknown =
                    object.as_object().into_iter().flatten().find(|(k, _)| !names.contains(&k.as_str()));
                assert!(unknown.is_none(), "{unknown:?} is not handled here");
            };
            assert!(tariff["min_price"].is_null());
            known(&tariff["max_price"], &["excl_vat"]);
            let elements = tariff["elements"].as_array().unwrap().iter().map(|element| {
                let restrictions = &element["restrictions"];
                known(restrictions, &["day_of_week", "start_time", "end_time", "min_duration"]);
                let min_duration = &restrictions["min_duration"];
                Element {
                    components: element["price_components"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|c| Component {
                            dimension: read::text(&c["type"]).to_owned(),
                            price: read::micros(&c["price"]),
                            vat: read::scaled(&c["vat"], 4),
                            step: read::int(&c["step_size"]),
                        })
                        .collect(),
                    days: restrictions["day_of_week"].clone(),
                    start: restrictions["start_time"].clone(),
                    end: restrictions["end_time"].clone(),
                    min_duration_ms: if min_duration.is_null() { 0 } else { read::int(min_duration) * 1_000 },
                }
            });
            let max = &tariff["max_price"]["excl_vat"];
            Self { elements: elements.collect(), max_excl: (!max.is_null()).then(|| read::micros(max)) }
        }

        /// As the retail rules write a utility's own tariff.
        pub(super) fn of_ours(tariff: &Value) -> Self {
            assert!(tariff["min_price"].is_null() && tariff["max_price"]["incl_vat"].is_null());
            let elements = tariff["elements"].as_array().unwrap().iter().map(|element| {
                let restrictions = element["restrictions"].as_object().unwrap();
                assert!(restrictions.values().all(Value::is_null), "restrictions are not handled here");
                Element {
                    components: element["components"]
                        .as_array()
                        .unwrap()
                        .iter()
                        .map(|c| Component {
                            dimension: read::text(&c["dimension"]).to_owned(),
                            price: read::int(&c["price_micros"]),
                            vat: read::int(&c["vat"]),
                            step: read::int(&c["step_size"]),
                        })
                        .collect(),
                    days: Value::Null,
                    start: Value::Null,
                    end: Value::Null,
                    min_duration_ms: 0,
                }
            });
            let max = &tariff["max_price"]["excl_vat"];
            Self { elements: elements.collect(), max_excl: (!max.is_null()).then(|| read::int(max)) }
        }

        pub(super) fn price(&self, periods: &[Period], clock: Clock, steps: Steps) -> Priced {
            let mut lines: Vec<(Line, &Component)> = Vec::new();
            let mut matched = false;
            for (number, period) in periods.iter().enumerate() {
                let elapsed = period.start - periods[0].start;
                for dimension in ["ENERGY", "TIME", "PARKING_TIME", "FLAT"] {
                    let found = self.elements.iter().enumerate().find_map(|(place, element)| {
                        let component = element.components.iter().find(|c| c.dimension == dimension)?;
                        let holds = elapsed >= element.min_duration_ms
                            && clock.within(period.start, &element.days, &element.start, &element.end);
                        holds.then_some((place, component))
                    });
                    let Some((element, component)) = found else { continue };
                    matched = true;
                    let measured = match dimension {
                        "ENERGY" | "TIME" | "PARKING_TIME" => period.volume(dimension),
                        _ => i128::from(!lines.iter().any(|(line, _)| line.dimension == "FLAT")),
                    };
                    if measured > 0 {
                        let line = Line {
                            element,
                            dimension: dimension.to_owned(),
                            period: number,
                            measured,
                            billed: measured,
                            price: component.price,
                            amount: Amount::default(),
                        };
                        lines.push((line, component));
                    }
                }
            }
            assert!(matched, "no element matches");
            let parked = lines.iter().any(|(line, _)| line.dimension == "PARKING_TIME");
            for dimension in ["ENERGY", if parked { "PARKING_TIME" } else { "TIME" }] {
                let priced = lines.iter().filter(|(l, _)| l.dimension == dimension).map(|(l, _)| l.measured);
                let total: i128 = match steps {
                    Steps::Priced => priced.sum(),
                    Steps::Consumed => periods.iter().map(|p| p.volume(dimension)).sum(),
                };
                if let Some((last, component)) =
                    lines.iter_mut().rev().find(|(l, _)| l.dimension == dimension)
                    && component.step > 0
                {
                    let step = component.step * 1_000;
                    last.billed += (total + step - 1) / step * step - total;
                }
            }
            let mut sum = Amount::default();
            for (line, component) in &mut lines {
                let per = match line.dimension.as_str() {
                    "ENERGY" => 1_000_000,
                    "FLAT" => 1,
                    _ => 3_600_000,
                };
                let excl = component.price * line.billed / per;
                line.amount = Amount { excl, incl: excl + tax(excl, component.vat) };
                sum = sum.plus(line.amount);
            }
            // The rate of the tariff, which has one only.
            let total = match self.max_excl {
                Some(max) => {
                    let vat = self.elements[0].components[0].vat;
                    assert!(self.elements.iter().flat_map(|e| &e.components).all(|c| c.vat == vat));
                    Amount { excl: sum.excl.min(max), incl: sum.incl.min(max + tax(max, vat)) }
                }
                None => sum,
            };
            let lines = lines.into_iter().map(|(line, _)| line).collect();
            Priced { lines, capped: total.minus(sum), total }
        }
    }

    /// The periods of an OCPI record.
    pub(super) fn periods(cdr: &Value) -> Vec<Period> {
        let volume = |period: &Value, wanted: &str| {
            let dimensions = period["dimensions"].as_array().unwrap();
            dimensions.iter().find(|d| d["type"] == wanted).map(|d| d["volume"].clone())
        };
        let periods = cdr["charging_periods"].as_array().unwrap().iter();
        periods
            .map(|period| Period {
                start: read::instant(&period["start_date_time"]),
                energy: volume(period, "ENERGY").map_or(0, |v| read::micros(&v)),
                charging: volume(period, "TIME").map_or(0, |v| read::hours_ms(&v)),
                parking: volume(period, "PARKING_TIME").map_or(0, |v| read::hours_ms(&v)),
            })
            .collect()
    }
}

/// The driver's price.
mod retail {
    use super::tariff::{Line, Period, Priced, Steps, Tariff};
    use super::{Amount, Clock, read, rounded, tax};
    use serde_json::{Value, json};

    /// What the price of a session depends on besides the rules.
    pub(super) struct Inputs<'a> {
        pub(super) session: &'a Value,
        /// What the operator's tariff says, before the agreement.
        pub(super) tariff: &'a Priced,
        /// What is paid to the operator.
        pub(super) wholesale: Amount,
        pub(super) periods: &'a [Period],
        pub(super) clock: Clock,
    }

    fn number(n: i128) -> i64 {
        i64::try_from(n).unwrap()
    }

    fn quantity(line: &Line) -> Value {
        let both = json!({"measured": number(line.measured), "billed": number(line.billed)});
        match line.dimension.as_str() {
            "ENERGY" => json!({ "energy": both }),
            "FLAT" => json!("session"),
            _ => json!({ "time": both }),
        }
    }

    struct Bill {
        vat: i128,
        lines: Vec<Value>,
        total: Amount,
    }

    impl Bill {
        fn add(&mut self, rule: Value, of: Option<&Line>, unit_price: Option<i128>, excl: i128) {
            let amount = Amount { excl, incl: excl + tax(excl, self.vat) };
            self.total = self.total.plus(amount);
            self.lines.push(json!({
                "rule": rule,
                "period": of.map(|line| line.period),
                "quantity": of.map_or(json!("session"), quantity),
                "unit_price_micros": unit_price.map(number),
                "vat": number(self.vat),
                "amount": amount.json(),
            }));
        }

        /// So many basis points of everything so far.
        fn percentage(&mut self, rule: Value, bps: &Value) {
            let excl = (self.total.excl * read::int(bps)).div_euclid(10_000);
            if excl != 0 {
                self.add(rule, None, None, excl);
            }
        }
    }

    /// The `retail` of a bill line.
    pub(super) fn price(rules: &Value, inputs: &Inputs<'_>) -> Value {
        let Inputs { session, tariff, wholesale, periods, clock } = inputs;
        let mut bill = Bill { vat: read::int(&rules["vat"]), lines: Vec::new(), total: Amount::default() };
        let own;
        let source = if rules["base"] == "pass_through" {
            bill.add(json!("wholesale"), None, None, wholesale.excl);
            tariff
        } else {
            own = Tariff::of_ours(&rules["base"]["own_tariff"]).price(periods, *clock, Steps::Priced);
            for line in &own.lines {
                let rule = json!({"tariff": {"element": line.element, "dimension": line.dimension}});
                bill.add(rule, Some(line), Some(line.price), line.amount.excl);
            }
            if own.capped != Amount::default() {
                bill.add(json!("max_price"), None, None, own.capped.excl);
            }
            &own
        };
        for line in source.lines.iter().filter(|line| line.dimension == "ENERGY") {
            let windows = rules["time_of_use"].as_array().unwrap();
            let at = periods[line.period].start;
            let found = windows.iter().position(|w| clock.within(at, &w["days"], &w["start"], &w["end"]));
            let Some(window) = found else { continue };
            let bps = &windows[window]["bps"];
            let excl = (line.amount.excl * read::int(bps)).div_euclid(10_000);
            if excl != 0 {
                bill.add(json!({"time_of_use": {"window": window, "bps": bps}}), Some(line), None, excl);
            }
        }
        let margin = &rules["margin_bps"];
        bill.percentage(json!({"margin": {"bps": margin}}), margin);
        let fee = read::int(&rules["roaming_fee_micros"]);
        if session["roaming"] == true && fee != 0 {
            bill.add(json!("roaming_fee"), None, None, fee);
        }
        let place = |names: &[&str], name: &Value| names.iter().position(|n| name == n).unwrap();
        let tier = place(&["standard", "gold", "platinum", "diamond"], &session["tier"]);
        let bps = &rules["tier_bps"][tier];
        bill.percentage(json!({"tier": {"tier": session["tier"], "bps": bps}}), bps);
        let options = ["postpaid", "prepaid", "debit_card", "credit_card", "bitcoin"];
        let bps = &rules["payment_bps"][place(&options, &session["payment"])];
        bill.percentage(json!({"payment": {"option": session["payment"], "bps": bps}}), bps);
        let total = bill.total.each(|amount| rounded(amount, &rules["rounding"]));
        let difference = total.minus(bill.total);
        if difference != Amount::default() {
            bill.lines.push(json!({
                "rule": "rounding",
                "period": null,
                "quantity": "session",
                "unit_price_micros": null,
                "vat": null,
                "amount": difference.json(),
            }));
        }
        json!({"leg": "retail", "currency": "EUR", "lines": bill.lines, "total": total.json()})
    }
}

/// What `ocpi-tariffs` makes of a record with the tariff that it carries, in millionths, to four decimals; `None`
/// where no whole-hour offset describes the clock.
fn oracle(cdr: &Value, clock: Clock) -> Option<Amount> {
    let hours = clock.offset_s / 3_600;
    if clock.change.is_some() || hours * 3_600 != clock.offset_s {
        return None;
    }
    // POSIX counts west of Greenwich.
    let zone = format!("Etc/GMT{}{}", if hours > 0 { '-' } else { '+' }, hours.abs());
    let text = cdr.to_string();
    let parsed = ocpi_tariffs::cdr::parse_with_version(&text, ocpi_tariffs::Version::V221).unwrap();
    assert!(parsed.unexpected_fields.is_empty(), "{}", parsed.unexpected_fields);
    let source = ocpi_tariffs::price::TariffSource::UseCdr;
    let report = ocpi_tariffs::cdr::price(&parsed.cdr, source, zone.parse().unwrap());
    let report = report.unwrap_or_else(|_| panic!("the oracle prices {text}")).ignore_warnings();
    let amount = |money: ocpi_tariffs::Money| {
        let number: Value = serde_json::from_str(&format!("{money:#}")).unwrap();
        read::micros(&number)
    };
    // It has no total for a session that took nothing.
    let total = report.total_cost.calculated.map(|price| {
        let excl = amount(price.excl_vat);
        Amount { excl, incl: price.incl_vat.map_or(excl, amount) }
    });
    Some(total.unwrap_or_default())
}

/// A session with everything that was recomputed of it.
struct Session {
    cdr: Value,
    line: Value,
    wholesale: Amount,
    bill_line: Value,
    month: String,
}

struct Output<'a> {
    dir: &'a Path,
    sessions: BTreeMap<String, Session>,
    agreements: BTreeMap<String, Value>,
    /// Records whose price depends on how OCPI's steps are read.
    read_otherwise: std::cell::Cell<usize>,
}

/// How many records the oracle could not price.
struct Skipped(usize);

fn close(ours: Amount, theirs: Amount, within: i128) -> bool {
    (ours.excl - theirs.excl).abs() <= within && (ours.incl - theirs.incl).abs() <= within
}

impl<'a> Output<'a> {
    /// Recomputes every session's two prices.
    fn read(dir: &'a Path) -> (Self, Skipped) {
        let agreements: BTreeMap<String, Value> = support::json(&dir.join("agreements.json"))
            .as_array()
            .unwrap()
            .iter()
            .map(|a| (format!("{}/{}", read::text(&a["id"]), a["version"]), a["terms"].clone()))
            .collect();
        let published = support::json(&dir.join("tariffs.json"));
        let rules = support::json(&dir.join("retail_rules.json"));
        let cdrs: BTreeMap<String, Value> = lines(&dir.join("cdrs.jsonl"))
            .into_iter()
            .map(|cdr| (read::text(&cdr["id"]).to_owned(), cdr))
            .collect();
        let read_otherwise = std::cell::Cell::new(0);
        let mut output = Self { dir, sessions: BTreeMap::new(), agreements, read_otherwise };
        let mut skipped = Skipped(0);
        for line in lines(&dir.join("sessions.jsonl")) {
            let id = read::text(&line["cdr"]).to_owned();
            let cdr = cdrs.get(&id).unwrap_or_else(|| panic!("{id} has no record")).clone();
            assert_published(&published, &cdr, &line);
            let (session, compared) = output.session(&rules, cdr, line);
            skipped.0 += usize::from(!compared);
            assert!(output.sessions.insert(id, session).is_none(), "a session twice");
        }
        assert_eq!(output.sessions.len(), cdrs.len(), "a line of sessions.jsonl for each record");
        (output, skipped)
    }

    fn agreement(&self, line: &Value) -> Option<&Value> {
        let reference = line["agreement"].as_object()?;
        let key = format!("{}/{}", read::text(&reference["id"]), reference["version"]);
        let terms = self.agreements.get(&key).unwrap_or_else(|| panic!("no agreement {key}"));
        assert_eq!((&terms["emsp"], &terms["cpo"]), (&line["home"], &line["operator"]));
        assert_eq!(terms["vat"], "reverse_charge");
        Some(terms)
    }

    fn session(&self, rules: &Value, cdr: Value, line: Value) -> (Session, bool) {
        let id = &cdr["id"];
        let clock = Clock::of(&line);
        let tariffs = cdr["tariffs"].as_array().unwrap();
        assert_eq!(tariffs.len(), 1);
        let periods = tariff::periods(&cdr);
        let tariff = tariff::Tariff::of_ocpi(&tariffs[0]);
        let priced = tariff.price(&periods, clock, tariff::Steps::Priced);
        let energy_cost = priced
            .lines
            .iter()
            .filter(|l| l.dimension == "ENERGY")
            .fold(Amount::default(), |sum, l| sum.plus(l.amount));
        if !cdr["total_energy_cost"].is_null() {
            assert_eq!(energy_cost, Amount::of_ocpi(&cdr["total_energy_cost"]), "{id}: the energy's cost");
        }

        let agreement = self.agreement(&line);
        assert_eq!(agreement.is_some(), line["roaming"] == true);
        assert_eq!(line["roaming"] == true, line["home"] != line["operator"]);
        let with_agreement = |tariff: Amount| match agreement {
            Some(terms) => {
                let factor = read::int(&terms["price_rule"]["static"]["factor"]);
                tariff.each(|amount| rounded((amount * factor).div_euclid(10_000), &terms["rounding"]))
            }
            None => tariff,
        };
        let wholesale = with_agreement(priced.total);
        assert_eq!(wholesale, Amount::of_ocpi(&cdr["total_cost"]), "{id}: the wholesale price");
        let theirs = oracle(&cdr, clock);
        if let Some(theirs) = theirs {
            // It rounds each of its parts to four decimals.
            let mut in_its_reading = tariff.price(&periods, clock, tariff::Steps::Consumed).total;
            if in_its_reading.excl < priced_without_maximum(&tariff, &periods, clock) {
                // A maximum without VAT is all that it lets a session cost, with VAT too.
                in_its_reading.incl = in_its_reading.excl;
            }
            assert!(close(in_its_reading, theirs, 200), "{id}: {in_its_reading:?}, the oracle's {theirs:?}");
            if in_its_reading == priced.total {
                assert!(close(wholesale, with_agreement(theirs), 300), "{id}: {wholesale:?}, {theirs:?}");
            } else {
                self.read_otherwise.set(self.read_otherwise.get() + 1);
            }
        }

        let home = read::text(&line["home"]);
        let version = rules[home].as_array().unwrap().iter().find(|v| v["version"] == line["retail_version"]);
        let inputs = retail::Inputs { session: &line, tariff: &priced, wholesale, periods: &periods, clock };
        let retail = retail::price(&version.unwrap()["rules"], &inputs);
        let (start, end) = (read::instant(&cdr["start_date_time"]), read::instant(&cdr["end_date_time"]));
        let month = read::month(clock.at(end).0);
        let offset_change = clock
            .change
            .map(|(at, offset)| json!([i64::try_from(at).unwrap(), i64::try_from(offset).unwrap()]));
        let bill_line = json!({
            "contract": line["contract"],
            "month": month,
            "operator": line["operator"],
            "cdr": id,
            "evse": cdr["cdr_location"]["evse_id"],
            "place": cdr["cdr_location"]["name"],
            "start": i64::try_from(start).unwrap(),
            "end": i64::try_from(end).unwrap(),
            "clock": {"offset": line["utc_offset_s"], "change": offset_change},
            "energy": i64::try_from(read::micros(&cdr["total_energy"])).unwrap(),
            "tariff": line["tariff"],
            "tier": line["tier"],
            "payment": line["payment"],
            "retail_version": line["retail_version"],
            "wholesale": agreement.map(|_| wholesale.json()),
            "retail": retail,
        });
        let energy: i128 = periods.iter().map(|p| p.volume("ENERGY")).sum();
        assert_eq!(energy, read::micros(&cdr["total_energy"]), "{id}: the periods hold all of the energy");
        (Session { cdr, line, wholesale, bill_line, month }, theirs.is_some())
    }

    /// Every file of `bills/` against the sessions, with nothing left on either side.
    fn check_bills(&self) {
        let mut due: BTreeMap<(String, String), BTreeMap<&String, &Session>> = BTreeMap::new();
        for (id, session) in &self.sessions {
            let contract = read::text(&session.line["contract"]).to_owned();
            due.entry((contract, session.month.clone())).or_default().insert(id, session);
        }
        let mut pages = BTreeSet::new();
        for (name, bytes) in support::files(&self.dir.join("bills")) {
            let Some(stem) = name.strip_suffix(".json") else {
                pages.insert(name);
                continue;
            };
            let bill: Value = serde_json::from_slice(&bytes).unwrap();
            let (contract, month) = (read::text(&bill["contract"]), read::text(&bill["month"]));
            let owed = due.remove(&(contract.to_owned(), month.to_owned()));
            let mut owed = owed.unwrap_or_else(|| panic!("{name} bills what nobody charged"));
            assert_eq!(bill["number"], json!(format!("{contract}/{month}/EUR")));
            assert_eq!(stem, format!("{contract}_{month}_EUR"));
            assert_eq!(bill["currency"], "EUR");
            let (mut total, mut energy, mut previous) = (Amount::default(), 0, 0);
            for line in bill["lines"].as_array().unwrap() {
                let id = read::text(&line["cdr"]).to_owned();
                let session = owed.remove(&id).unwrap_or_else(|| panic!("{name}: {id} is not on this bill"));
                assert_eq!(line, &session.bill_line, "{name}: {id}");
                assert_eq!(bill["issuer"], session.line["home"]);
                let start = read::int(&line["start"]);
                assert!(start >= previous, "{name}: the charges are in the order of their starts");
                previous = start;
                total = total.plus(Amount::of_ours(&line["retail"]["total"]));
                energy += read::int(&line["energy"]);
            }
            assert!(owed.is_empty(), "{name} leaves out {:?}", owed.keys());
            assert_eq!(Amount::of_ours(&bill["total"]), total, "{name}");
            assert_eq!(read::int(&bill["energy"]), energy, "{name}");
            assert_page(&self.dir.join("bills").join(format!("{stem}.html")), "total", total.incl);
        }
        assert!(due.is_empty(), "nobody billed {:?}", due.keys());
        for page in pages {
            let twin = self.dir.join("bills").join(page.replace(".html", ".json"));
            assert!(twin.is_file(), "{page} is a page without a bill");
        }
    }

    fn check_invoices(&self) {
        type Key = (String, String, String);
        let mut due: BTreeMap<Key, BTreeMap<&String, &Session>> = BTreeMap::new();
        let mut invoiced: BTreeMap<Key, i128> = BTreeMap::new();
        for (id, session) in self.sessions.iter().filter(|(_, s)| s.line["roaming"] == true) {
            let text = |key: &str| read::text(&session.line[key]).to_owned();
            let end = read::instant(&session.cdr["end_date_time"]);
            let natural = read::month(end.div_euclid(86_400_000));
            assert_eq!(text("booked_in"), natural, "{id}: booked in the period in which it ended");
            due.entry((text("operator"), text("home"), text("booked_in"))).or_default().insert(id, session);
        }
        for (name, bytes) in support::files(&self.dir.join("invoices")) {
            let Some(stem) = name.strip_suffix(".json") else { continue };
            let invoice: Value = serde_json::from_slice(&bytes).unwrap();
            let text = |key: &str| read::text(&invoice[key]).to_owned();
            let (operator, emsp, period) = (text("operator"), text("emsp"), text("period"));
            assert_eq!(text("number"), format!("{operator}/{emsp}/{period}/EUR"));
            let mut owed = due.remove(&(operator, emsp.clone(), period.clone())).unwrap();
            let (mut total, mut energy, mut owed_here) = (Amount::default(), 0, 0);
            let mut others: BTreeMap<String, i128> = BTreeMap::new();
            for line in invoice["lines"].as_array().unwrap() {
                let id = read::text(&line["cdr"]).to_owned();
                let Session { cdr, line: session, wholesale, .. } = owed.remove(&id).unwrap();
                let number = |n: i128| i64::try_from(n).unwrap();
                let energy_wh = read::micros(&cdr["total_energy"]);
                let terms = self.agreement(session).unwrap();
                let mut shared = parts(terms, wholesale.excl, energy_wh);
                owed_here += shared.remove(read::text(&terms["cpo"])).unwrap_or(0);
                for (party, amount) in &shared {
                    *others.entry(party.clone()).or_default() += amount;
                }
                let mut expected = json!({
                    "emsp": emsp,
                    "period": period,
                    "cdr": id,
                    "digest": session["record"],
                    "agreement": session["agreement"],
                    "tariff": session["tariff"],
                    "start": number(read::instant(&cdr["start_date_time"])),
                    "end": number(read::instant(&cdr["end_date_time"])),
                    "energy": number(energy_wh),
                    "currency": cdr["currency"],
                    "price": wholesale.json(),
                    // Reverse charge: the partner accounts for the VAT.
                    "due": number(wholesale.excl),
                });
                if !shared.is_empty() {
                    let part = |(party, amount): (&String, &i128)| json!({"party": party, "micros": number(*amount)});
                    expected["others"] = shared.iter().map(part).collect();
                }
                assert_eq!(line, &expected, "{name}");
                total = total.plus(*wholesale);
                energy += energy_wh;
            }
            assert!(owed.is_empty(), "{name} leaves out {:?}", owed.keys());
            assert_eq!(Amount::of_ours(&invoice["total"]), total, "{name}");
            assert_eq!(read::int(&invoice["due"]), owed_here, "{name}");
            let said = invoice["others"].as_array().into_iter().flatten();
            let said: BTreeMap<String, i128> = said
                .map(|part| (read::text(&part["party"]).to_owned(), read::int(&part["micros"])))
                .collect();
            assert_eq!(said, others, "{name}");
            assert_eq!(owed_here + others.values().sum::<i128>(), total.excl, "{name}");
            for (party, amount) in others.into_iter().filter(|(party, _)| *party != emsp) {
                *invoiced.entry((period.clone(), emsp.clone(), party)).or_default() += amount;
            }
            *invoiced.entry((period, emsp, text("operator"))).or_default() += owed_here;
            assert_eq!(read::int(&invoice["energy"]), energy, "{name}");
            assert_page(&self.dir.join("invoices").join(format!("{stem}.html")), "due", owed_here);
        }
        assert!(due.is_empty(), "nobody invoiced {:?}", due.keys());
        // What partners are told that they owe is what the ledger says that they owe.
        invoiced.retain(|_, amount| *amount != 0);
        assert_eq!(invoiced, self.booked(), "the invoices and the ledger");
    }

    /// Who owes whom for each period, by (period, debtor, creditor), as `settlement.json` says.
    fn booked(&self) -> BTreeMap<(String, String, String), i128> {
        let settled = support::json(&self.dir.join("settlement.json"));
        let gross = settled.as_array().unwrap().iter().flat_map(|settled| {
            let of = |pair: &Value, key: &str| read::text(&pair[key]).to_owned();
            settled["gross"].as_array().unwrap().iter().map(move |pair| {
                let key = (of(settled, "period"), of(pair, "debtor"), of(pair, "creditor"));
                (key, read::int(&pair["amount_micros"]))
            })
        });
        gross.filter(|(_, amount)| *amount != 0).collect()
    }

    /// `settlement.json` and the net positions of the summary.
    fn check_settlement(&self, summary: &Value) {
        let mut gross: BTreeMap<String, BTreeMap<(String, String), i128>> = BTreeMap::new();
        for session in self.sessions.values() {
            let Some(terms) = self.agreement(&session.line) else { continue };
            let period = gross.entry(read::text(&session.line["booked_in"]).to_owned()).or_default();
            let debtor = read::text(&terms["emsp"]);
            let energy = read::micros(&session.cdr["total_energy"]);
            // What a party would owe itself is no debt.
            for (creditor, amount) in parts(terms, session.wholesale.excl, energy) {
                if creditor != debtor {
                    *period.entry((debtor.to_owned(), creditor)).or_default() += amount;
                }
            }
        }
        let mut net_totals: BTreeMap<String, i128> = BTreeMap::new();
        for settled in support::json(&self.dir.join("settlement.json")).as_array().unwrap() {
            let period = read::text(&settled["period"]);
            assert_eq!(settled["currency"], "EUR");
            let expected = gross.remove(period).unwrap_or_else(|| panic!("nothing was booked in {period}"));
            let found: BTreeMap<(String, String), i128> = settled["gross"]
                .as_array()
                .unwrap()
                .iter()
                .map(|g| {
                    let pair = (read::text(&g["debtor"]).to_owned(), read::text(&g["creditor"]).to_owned());
                    (pair, read::int(&g["amount_micros"]))
                })
                .collect();
            assert_eq!(found, expected, "gross positions of {period}");
            let mut net: BTreeMap<String, i128> = BTreeMap::new();
            for ((debtor, creditor), amount) in &expected {
                *net.entry(debtor.clone()).or_default() -= amount;
                *net.entry(creditor.clone()).or_default() += amount;
            }
            assert_eq!(net.values().sum::<i128>(), 0);
            net.retain(|_, amount| *amount != 0);
            let mut found: BTreeMap<String, i128> = BTreeMap::new();
            for position in settled["net"].as_array().unwrap() {
                assert_eq!(position["unpaid_micros"], 0, "{period} is paid");
                found
                    .insert(read::text(&position["party"]).to_owned(), read::int(&position["amount_micros"]));
            }
            found.retain(|_, amount| *amount != 0);
            assert_eq!(found, net, "net positions of {period}");
            for (party, amount) in net {
                *net_totals.entry(party).or_default() += amount;
            }
        }
        assert!(gross.is_empty(), "{:?} was booked and never netted", gross.keys());
        let printed: BTreeMap<String, i128> = summary["net_positions"]
            .as_array()
            .unwrap()
            .iter()
            .map(|n| (read::text(&n["party"]).to_owned(), read::int(&n["amount_micros"])))
            .collect();
        assert_eq!(printed, net_totals);
    }
}

/// Who gets what of a session's price by an agreement's shares; who gets nothing is left out.
fn parts(terms: &Value, price: i128, energy: i128) -> BTreeMap<String, i128> {
    let mut left = price;
    let mut parts: BTreeMap<String, i128> = BTreeMap::new();
    let mut give = |party: &str, amount: i128, left: &mut i128| {
        let amount = amount.min(*left);
        *left -= amount;
        if amount > 0 {
            *parts.entry(party.to_owned()).or_default() += amount;
        }
    };
    for cost in terms["shares"]["costs"].as_array().unwrap() {
        let wanted =
            read::int(&cost["per_kwh_micros"]) * energy / 1_000_000 + read::int(&cost["per_session_micros"]);
        give(read::text(&cost["party"]), wanted, &mut left);
    }
    assert_eq!(terms["shares"]["surplus"], json!([]), "not handled here");
    let rest = left;
    give(read::text(&terms["cpo"]), rest, &mut left);
    parts
}

/// What a session would cost without VAT if the tariff had no maximum, in the reading of `ocpi-tariffs`.
fn priced_without_maximum(tariff: &tariff::Tariff, periods: &[tariff::Period], clock: Clock) -> i128 {
    let priced = tariff.price(periods, clock, tariff::Steps::Consumed);
    priced.total.minus(priced.capped).excl
}

/// The tariff in a record is the one that the operator published.
fn assert_published(published: &Value, cdr: &Value, line: &Value) {
    let embedded = &cdr["tariffs"][0];
    let version = &line["tariff"]["version"];
    let same = published.as_array().unwrap().iter().any(|tariff| {
        let mut tariff = tariff.clone();
        tariff.as_object_mut().unwrap().remove("version").as_ref() == Some(version) && &tariff == embedded
    });
    assert!(same, "{} has a tariff that is not in tariffs.json", cdr["id"]);
    assert_eq!(embedded["id"], line["tariff"]["id"]);
}

/// The amount that a page shows in an element with an id.
fn assert_page(path: &Path, id: &str, micros: i128) {
    let page = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let from = page.find(&format!("id=\"{id}\">")).unwrap_or_else(|| panic!("{}: no {id}", path.display()));
    let shown = page[from..].split_once('>').unwrap().1.split_once("</p>").unwrap().0;
    let mut text = String::new();
    let mut in_tag = false;
    for c in shown.chars() {
        match c {
            '<' => in_tag = true,
            '>' => in_tag = false,
            _ if !in_tag => text.push(c),
            _ => {}
        }
    }
    let mut expected = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
    while expected.ends_with('0') && expected.split_once('.').is_some_and(|(_, f)| f.len() > 2) {
        expected.pop();
    }
    assert_eq!(text, format!("{expected} EUR"), "{}", path.display());
}

/// Replays a file and recomputes everything.
fn recomputed(name: &str, limit: u64, skipped_max: usize) {
    let Some(input) = real(name) else { return };
    let dir = tempdir();
    let out = dir.path().join("out");
    let summary = Replay::new(&[&input], &out).with("--limit", limit).done();
    let (output, skipped) = Output::read(&out);
    output.check_bills();
    output.check_invoices();
    output.check_settlement(&summary);
    let (all, otherwise) = (output.sessions.len(), output.read_otherwise.get());
    println!("{all} sessions, {} not priced by the oracle, {otherwise} read otherwise by it", skipped.0);
    assert!(skipped.0 <= skipped_max, "{} records change their clock", skipped.0);
    assert!(otherwise * 10 <= all, "{otherwise} of {all} records depend on how steps are read");
}

#[test]
fn every_bill_and_invoice_of_the_acn_file_follows_from_the_other_files() {
    recomputed(ACN, 10_000, 0);
}

#[test]
fn every_bill_and_invoice_of_the_workplace_file_follows_from_the_other_files() {
    recomputed(WORKPLACE, 10_000, 0);
}

/// Sessions in which daylight saving began or ended are left to our own recomputation.
#[test]
fn every_bill_and_invoice_of_the_trondheim_file_follows_from_the_other_files() {
    recomputed(TRONDHEIM, 10_000, 50);
}

#[test]
fn every_bill_and_invoice_of_the_boulder_file_follows_from_the_other_files() {
    recomputed(BOULDER, 3_000, 50);
}

#[test]
fn numbers_and_dates_are_read_as_they_are_written() {
    assert_eq!(read::micros(&json!(28.648)), 28_648_000);
    assert_eq!(read::hours_ms(&json!(0.771388889)), 2_777_000);
    assert_eq!(read::instant(&json!("2021-08-06T13:37:14Z")), 1_628_257_034_000);
    assert_eq!(read::instant(&json!("2021-08-06T13:37:14.25Z")), 1_628_257_034_250);
    assert_eq!(read::month(read::instant(&json!("2020-02-29T23:59:59Z")).div_euclid(86_400_000)), "2020-02");
    assert_eq!(read::month(0), "1970-01");
    assert_eq!(round_half_up(15_000, 10_000), 20_000);
    assert_eq!(round_half_up(14_999, 10_000), 10_000);
    assert_eq!(round_half_up(-15_000, 10_000), -20_000);
}
