//! A driver's bill as a page that explains itself: what is due, for which charges, by which rules, and how to check it.
//!
//! Every amount is printed with all its digits, so that what stands on the page can be added up by hand and gives the
//! total. What it deliberately does not do: name a due date, a bank account or an address; a bill does not know them.
//!
//! Source: Paper A, section 2.1.2 (one bill from the home utility for charges at all operators).

use super::{Bill, BillLine};
use crate::page;
use crate::page::NBSP;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Price, decimal};
use eroam_domain::pricing::{LineRule, PriceLine, Quantity};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::tariff::{Dimension, VatRate};
use eroam_domain::time::{CivilMonth, UnixMillis};
use maud::{Markup, html};
use std::collections::BTreeMap;

/// The bill as a printable HTML page that loads nothing: style inline, no script, no picture, no font.
///
/// Amounts are in the bill's currency, energy in kWh, times those of the clock at the charging point.
#[must_use]
pub fn bill_page(bill: &Bill) -> String {
    let month = page::month_words(bill.month);
    let title = format!("Charging bill {month}, {}, {}", bill.contract, bill.issuer_name);
    let running = format!("{} · Bill {}", bill.issuer_name, bill.number);
    let operators = Operators::of(bill);
    page::sheet(
        &title,
        &running,
        &html! {
            header {
                div.letterhead {
                    b { bdi { (bill.issuer_name) } }
                    span.quiet { "Charging bill" }
                }
                div.hero {
                    (facts(bill, &month))
                    (due(bill))
                }
            }
            (summary(bill, &operators))
            div.pair {
                (by_operator(bill, &operators))
                (by_vat_rate(bill))
            }
            (charges(bill, &operators))
            (how_to_check(bill))
        },
    )
}

/// Sums are kept in 128 bits, which no number of 64-bit amounts overflows.
#[derive(Clone, Copy, Default)]
struct Sum {
    charges: usize,
    milli_wh: i128,
    excl_vat: i128,
    incl_vat: i128,
}

impl Sum {
    fn add(&mut self, amount: Price) {
        self.excl_vat += i128::from(amount.excl_vat);
        self.incl_vat += i128::from(amount.incl_vat);
    }

    const fn vat(self) -> i128 {
        self.incl_vat - self.excl_vat
    }
}

/// The operators of a bill, the issuer first, then by name.
struct Operators {
    issuer: PartyId,
    sums: BTreeMap<(bool, PartyId), Sum>,
}

impl Operators {
    fn of(bill: &Bill) -> Self {
        let mut sums: BTreeMap<(bool, PartyId), Sum> = BTreeMap::new();
        for line in &bill.lines {
            let sum = sums.entry((line.operator != bill.issuer, line.operator)).or_default();
            sum.charges += if line.is_credit() { 0 } else { 1 };
            sum.milli_wh += i128::from(line.energy.milli_wh());
            sum.add(line.retail.total);
        }
        Self { issuer: bill.issuer, sums }
    }

    /// Charges and energy at other operators' stations.
    fn away(&self) -> Sum {
        let mut away = Sum::default();
        for ((_, _), sum) in self.sums.iter().filter(|((elsewhere, _), _)| *elsewhere) {
            away.charges += sum.charges;
            away.milli_wh += sum.milli_wh;
        }
        away
    }

    /// The colour of an operator on the whole page. The issuer's is always the first one, and from the fifth on they
    /// share one; the name always stands beside it.
    fn swatch(&self, operator: PartyId) -> &'static str {
        if operator == self.issuer {
            return "swatch d1";
        }
        let others = self.sums.keys().filter(|(elsewhere, _)| *elsewhere);
        match others.map(|(_, party)| *party).position(|party| party == operator) {
            Some(0) => "swatch d2",
            Some(1) => "swatch d3",
            Some(2) => "swatch d4",
            _ => "swatch",
        }
    }
}

fn operator_name(bill: &Bill, operator: PartyId) -> Markup {
    html! {
        @if operator == bill.issuer { bdi { (bill.issuer_name) } }
        @else if let Some(name) = bill.operator_names.get(&operator) { bdi { (name) } " (" (operator) ")" }
        @else { (operator) }
    }
}

/// Who is billed for what: the top left of the page.
fn facts(bill: &Bill, month: &str) -> Markup {
    html! {
        div {
            h1 { "Your charging in " (month) }
            dl.facts {
                dt { "Contract" } dd.id { (bill.contract) }
                dt { "Billed by" } dd { bdi { (bill.issuer_name) } " (" (bill.issuer) ")" }
                dt { "Bill number" } dd.id { (bill.number) }
                @if let Some(paid) = paid_by(bill) { dt { "Payment" } dd { (paid) } }
            }
        }
    }
}

/// How the bill is paid, where all its charges are paid the same way.
fn paid_by(bill: &Bill) -> Option<&'static str> {
    let first = bill.lines.first()?.payment;
    bill.lines.iter().all(|l| l.payment == first).then_some(match first {
        PaymentOption::Postpaid => "After the month (postpaid)",
        PaymentOption::Prepaid => "In advance (prepaid)",
        PaymentOption::DebitCard => "By debit card",
        PaymentOption::CreditCard => "By credit card",
        PaymentOption::Bitcoin => "In bitcoin",
    })
}

/// The total, at the top right.
fn due(bill: &Bill) -> Markup {
    let Price { excl_vat, incl_vat } = bill.total;
    let vat = i128::from(incl_vat) - i128::from(excl_vat);
    html! {
        div.due {
            p.quiet { @if incl_vat < 0 { "In your favour, VAT included" } @else { "Total, VAT included" } }
            p.big #total { (page::headline(incl_vat.into(), bill.currency.as_str())) }
            p.small.quiet {
                (page::number(excl_vat.into())) " without VAT " (if vat < 0 { '\u{2212}' } else { '+' }) " "
                (page::number(vat.abs())) " VAT"
            }
        }
    }
}

fn summary(bill: &Bill, operators: &Operators) -> Markup {
    let away = operators.away();
    let connected =
        bill.lines.iter().try_fold(DurationMs::ZERO, |sum, line| sum.checked_add(line.duration()));
    html! {
        dl.strip {
            div {
                dt { "Charges" }
                dd.big { (charge_count(bill)) }
                dd.small.quiet { "at " (plural(operators.sums.len(), "operator")) }
            }
            div {
                dt { "Energy" }
                dd.big { (page::kwh(bill.energy.milli_wh().into())) " " span.unit { "kWh" } }
                @if let Some(connected) = connected { dd.small.quiet { "in " (span_words(connected)) } }
            }
            div {
                dt { "Of which away from home" }
                dd.big { (page::kwh(away.milli_wh)) " " span.unit { "kWh" } }
                dd.small.quiet { (plural(away.charges, "charge")) " at other operators" }
            }
        }
    }
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 { format!("1 {noun}") } else { format!("{count} {noun}s") }
}

fn by_operator(bill: &Bill, operators: &Operators) -> Markup {
    let energy = page::further_decimals(operators.sums.values().map(|s| s.milli_wh));
    let incl_vat = page::further_decimals(operators.sums.values().map(|s| s.incl_vat));
    html! {
        section {
            h2 { "By operator" }
            table.ruled {
                caption { "Where you charged, in " (bill.currency) " with VAT" }
                thead { tr {
                    th scope="col" { "Operator" }
                    th.n scope="col" { "Charges" }
                    th.n scope="col" { "kWh" }
                    th.n scope="col" { "With VAT" }
                } }
                tbody {
                    @for ((_, operator), sum) in &operators.sums {
                        tr {
                            th scope="row" {
                                span class=(operators.swatch(*operator)) {}
                                (operator_name(bill, *operator))
                            }
                            td.n { (sum.charges) }
                            td.n { (page::figure(sum.milli_wh, energy)) }
                            td.n { (page::figure(sum.incl_vat, incl_vat)) }
                        }
                    }
                }
                tfoot { tr {
                    th scope="row" { "Together" }
                    td.n { (charge_count(bill)) }
                    td.n { (page::figure(bill.energy.milli_wh().into(), energy)) }
                    td.n { (page::figure(bill.total.incl_vat.into(), incl_vat)) }
                } }
            }
        }
    }
}

/// What is summed up together. Rounding has no rate: it is what brings both amounts of a charge to the cent.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum VatGroup {
    Rate(VatRate),
    NoRate,
    Rounding,
}

impl VatGroup {
    fn of(line: &PriceLine) -> Self {
        match (line.vat, line.rule) {
            (Some(rate), _) => Self::Rate(rate),
            (None, LineRule::Rounding) => Self::Rounding,
            (None, _) => Self::NoRate,
        }
    }

    fn name(self) -> String {
        match self {
            Self::Rate(rate) => vat_words(rate),
            Self::NoRate => "No rate".into(),
            Self::Rounding => "Rounding".into(),
        }
    }
}

fn by_vat_rate(bill: &Bill) -> Markup {
    let mut groups: BTreeMap<VatGroup, Sum> = BTreeMap::new();
    for line in bill.lines.iter().flat_map(|l| &l.retail.lines) {
        groups.entry(VatGroup::of(line)).or_default().add(line.amount);
    }
    let mut total = Sum::default();
    total.add(bill.total);
    let of =
        |part: fn(Sum) -> i128| page::further_decimals(groups.values().chain([&total]).map(|s| part(*s)));
    let room = [of(|s| s.excl_vat), of(Sum::vat), of(|s| s.incl_vat)];
    html! {
        section {
            h2 { "VAT" }
            table.ruled {
                caption { "What is taxed at which rate, in " (bill.currency) }
                thead { tr {
                    th scope="col" { "Rate" }
                    th.n scope="col" { "Without VAT" }
                    th.n scope="col" { "VAT" }
                    th.n scope="col" { "With VAT" }
                } }
                tbody #vat {
                    @for (group, sum) in &groups {
                        tr { th scope="row" { (group.name()) } (vat_cells(*sum, room)) }
                    }
                }
                tfoot { tr { th scope="row" { "Total" } (vat_cells(total, room)) } }
            }
        }
    }
}

fn vat_cells(sum: Sum, [excl, vat, incl]: [usize; 3]) -> Markup {
    html! {
        td.n.net { (page::figure(sum.excl_vat, excl)) }
        td.n.net { (page::figure(sum.vat(), vat)) }
        td.n { (page::figure(sum.incl_vat, incl)) }
    }
}

/// The room for decimals in the two money columns of the table of charges.
#[derive(Clone, Copy)]
struct Room {
    excl_vat: usize,
    incl_vat: usize,
}

fn charges(bill: &Bill, operators: &Operators) -> Markup {
    let prices = || {
        let of_line = |l: &BillLine| {
            l.retail.lines.iter().map(|i| i.amount).chain([l.retail.total]).collect::<Vec<_>>()
        };
        bill.lines.iter().flat_map(of_line).chain([bill.total])
    };
    let room = Room {
        excl_vat: page::further_decimals(prices().map(|p| p.excl_vat.into())),
        incl_vat: page::further_decimals(prices().map(|p| p.incl_vat.into())),
    };
    html! {
        section {
            h2 { "Your charges" }
            table {
                caption {
                    "Each charge and what its price is made of, in " (bill.currency)
                    ". Dates and times are those of the clock at the charging point."
                }
                thead { tr {
                    th scope="col" { "Charge" }
                    th.n scope="col" { "Without VAT" }
                    th.n.rate scope="col" { "VAT" }
                    th.n scope="col" { "With VAT" }
                } }
                @for line in &bill.lines { (charge(bill, line, operators, room)) }
                tfoot { tr {
                    th scope="row" { "Total" }
                    td.n.net { (page::figure(bill.total.excl_vat.into(), room.excl_vat)) }
                    td.rate {}
                    td.n { (page::figure(bill.total.incl_vat.into(), room.incl_vat)) }
                } }
            }
        }
    }
}

fn charge(bill: &Bill, line: &BillLine, operators: &Operators, room: Room) -> Markup {
    let total = line.retail.total;
    html! {
        tbody.charge {
            tr.head {
                th scope="rowgroup" {
                    (when(bill, line))
                    p.where {
                        span class=(operators.swatch(line.operator)) {}
                        (operator_name(bill, line.operator)) " · " bdi { (line.place) }
                    }
                    p.meter { (page::kwh(line.energy.milli_wh().into())) (NBSP) "kWh in " (span_words(line.duration())) }
                }
                td.n.net { (page::figure(total.excl_vat.into(), room.excl_vat)) }
                td.rate {}
                td.n.price { (page::figure(total.incl_vat.into(), room.incl_vat)) }
            }
            @for item in items(&line.retail.lines) {
                tr.item {
                    th scope="row" { (sentence(&item, bill, line)) }
                    td.n { (page::figure(item.amount.excl_vat.into(), room.excl_vat)) }
                    td.n.rate { @if let Some(rate) = item.vat { (vat_words(rate)) } }
                    td.n { (page::figure(item.amount.incl_vat.into(), room.incl_vat)) }
                }
            }
            tr.ref { td colspan="4" { (references(bill, line)) } }
        }
    }
}

/// How many lines are charges, and do not give back.
fn charge_count(bill: &Bill) -> usize {
    bill.lines.iter().filter(|line| !line.is_credit()).count()
}

/// From when to when, and what is unusual about it.
fn when(bill: &Bill, line: &BillLine) -> Markup {
    let (from, to) = (line.clock.at(line.start), line.clock.at(line.end));
    let year = |date: eroam_domain::time::CivilDate| {
        if page::month_words(bill.month).ends_with(&date.year().to_string()) {
            String::new()
        } else {
            format!(" {}", date.year())
        }
    };
    let changed = line.clock.change.filter(|(at, _)| line.start < *at && *at <= line.end);
    html! {
        p.day[from.date == to.date] {
            time datetime=(line.start) { (page::day_words(&from)) (year(from.date)) ", " (page::time_words(&from)) }
            @if from.date == to.date { "\u{2013}" } @else { " \u{2013} " }
            time datetime=(line.end) {
                @if from.date != to.date { (page::day_words(&to)) (year(to.date)) ", " }
                (page::time_words(&to))
            }
        }
        @if let Some((_, offset)) = changed {
            p.where {
                "The clocks went " (if offset.seconds() > line.clock.offset.seconds() { "forward" } else { "back" })
                " during this charge."
            }
        }
        @if line.is_credit() {
            p.where { "Given back: a dispute about this charge was decided." }
        } @else if CivilMonth::of(to.date) < bill.month {
            p.where { "From an earlier month: it reached us after that month's bill." }
        }
    }
}

/// What names this charge elsewhere.
fn references(bill: &Bill, line: &BillLine) -> Markup {
    let own = line.operator == bill.issuer;
    html! {
        "Charging point " span.id { (line.evse) }
        " · " (if own { "Session" } else { "Record" }) " " span.id { (line.cdr) }
        " · Tariff " span.id { (line.tariff.id) } ", version " (line.tariff.version)
        " · Our price rules, version " (line.retail_version)
    }
}

/// The lines of a price with repetitions put together: a meter that reports every quarter of an hour gives a line for
/// each, and a reader wants their sum. The amounts are added as they are; nothing is computed anew.
fn items(lines: &[PriceLine]) -> Vec<PriceLine> {
    let mut items: Vec<PriceLine> = Vec::with_capacity(lines.len());
    for line in lines {
        let merged = items.iter_mut().find_map(|item| Some((merge(item, line)?, item)));
        match merged {
            Some((sum, item)) => *item = sum,
            None => items.push(*line),
        }
    }
    items
}

/// Both lines in one, where they say the same of another amount.
fn merge(a: &PriceLine, b: &PriceLine) -> Option<PriceLine> {
    if (a.rule, a.unit_price_micros, a.vat) != (b.rule, b.unit_price_micros, b.vat) {
        return None;
    }
    let quantity = match (a.quantity, b.quantity) {
        (Quantity::Energy { measured, billed }, Quantity::Energy { measured: m, billed: b }) => {
            Quantity::Energy { measured: measured.checked_add(m)?, billed: billed.checked_add(b)? }
        }
        (Quantity::Time { measured, billed }, Quantity::Time { measured: m, billed: b }) => {
            Quantity::Time { measured: measured.checked_add(m)?, billed: billed.checked_add(b)? }
        }
        _ => return None,
    };
    Some(PriceLine { period: None, quantity, amount: a.amount.checked_add(b.amount)?, ..*a })
}

/// Why a line is there, in words.
fn sentence(item: &PriceLine, bill: &Bill, line: &BillLine) -> String {
    match item.rule {
        LineRule::Tariff { dimension, .. } => {
            let what = match dimension {
                Dimension::Energy => "Energy",
                Dimension::Time => "Time",
                Dimension::ParkingTime => "Parking",
                Dimension::Flat => "Start fee",
            };
            measured(what, item, bill)
        }
        LineRule::MinPrice => "Minimum price".into(),
        LineRule::MaxPrice => "Maximum price".into(),
        LineRule::AgreementFactor { factor } => {
            format!("Agreed with the operator: {} of its tariff", percent(factor.get().into()))
        }
        LineRule::Rounding => "Rounding".into(),
        LineRule::Wholesale if line.operator == bill.issuer => format!("Price at {}", bill.issuer_name),
        LineRule::Wholesale => "Charged by the operator".into(),
        LineRule::Margin { bps } => format!("Margin of {} {}", bill.issuer_name, added(bps)),
        LineRule::TimeOfUse { window, bps } => {
            let number = u32::from(window) + 1;
            let on = match item.quantity {
                Quantity::Energy { billed, .. } => format!(" on {}", energy_words(billed)),
                Quantity::Time { .. } | Quantity::Session => String::new(),
            };
            format!("Time of use {}{on} (window {number} of our price rules)", added(bps))
        }
        LineRule::Tier { tier, bps } => format!("{} tier {}", tier_words(tier), added(bps)),
        LineRule::Payment { option, bps } => format!("{} {}", payment_words(option), added(bps)),
        LineRule::RoamingFee => "Roaming fee, for charging at another operator".into(),
        LineRule::Dynamic { hour, utilisation_bps, surcharge_bps, renewable } => {
            let load = percent(utilisation_bps.into());
            let at = UnixMillis::from_utc_hour(hour)
                .map(|at| format!(" at {}", page::time_words(&line.clock.at(at))));
            let green = renewable.map(|part| {
                format!("; renewable {}: {}", percent(part.share_bps.into()), added(part.surcharge_bps))
            });
            format!(
                "{} (grid load {load}{}: {}{} on the energy price)",
                measured("Energy", item, bill),
                at.unwrap_or_default(),
                added(surcharge_bps),
                green.unwrap_or_default()
            )
        }
    }
}

/// `Energy: 12.34 kWh, billed as 13.00 kWh, × 0.44 EUR per kWh`.
fn measured(what: &str, item: &PriceLine, bill: &Bill) -> String {
    let (amount, billed_as, unit) = match item.quantity {
        Quantity::Energy { measured, billed } => {
            (energy_words(measured), (measured != billed).then(|| energy_words(billed)), " per kWh")
        }
        Quantity::Time { measured, billed } => {
            (exact_time_words(measured), (measured != billed).then(|| exact_time_words(billed)), " per hour")
        }
        // Once for each session: its price is its amount.
        Quantity::Session => return what.to_owned(),
    };
    let billed_as = billed_as.map(|b| format!(", billed as {b},")).unwrap_or_default();
    let price = item
        .unit_price_micros
        .map(|micros| format!(" ×{NBSP}{}{NBSP}{}{unit}", page::number(micros.into()), bill.currency));
    format!("{what}: {amount}{billed_as}{}", price.unwrap_or_default())
}

fn tier_words(tier: Tier) -> &'static str {
    match tier {
        Tier::Standard => "Standard",
        Tier::Gold => "Gold",
        Tier::Platinum => "Platinum",
        Tier::Diamond => "Diamond",
    }
}

fn payment_words(option: PaymentOption) -> &'static str {
    match option {
        PaymentOption::Postpaid => "Paid after the month",
        PaymentOption::Prepaid => "Paid in advance",
        PaymentOption::DebitCard => "Paid by debit card",
        PaymentOption::CreditCard => "Paid by credit card",
        PaymentOption::Bitcoin => "Paid in bitcoin",
    }
}

/// Every digit of an amount of energy, so that it can be multiplied.
fn energy_words(energy: WattHours) -> String {
    format!("{}{NBSP}kWh", page::number(energy.milli_wh().into()))
}

/// `1 h 28 min`, or `28 min` below an hour: how long, for reading.
fn span_words(duration: DurationMs) -> String {
    let minutes = duration.millis() / 60_000;
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{}{NBSP}s", duration.millis() / 1_000),
        (0, min) => format!("{min}{NBSP}min"),
        (h, min) => format!("{h}{NBSP}h {min:02}{NBSP}min"),
    }
}

/// Every digit of a time, so that it can be multiplied: `1 h 28 min 30 s`, without what is zero.
fn exact_time_words(duration: DurationMs) -> String {
    let ms = duration.millis();
    let (h, min, rest) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    let parts = [
        (h > 0).then(|| format!("{h}{NBSP}h")),
        (min > 0).then(|| format!("{min}{NBSP}min")),
        (rest > 0 || ms == 0).then(|| format!("{}{NBSP}s", decimal(rest.into(), 3, 0))),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// Basis points as a share: `95 %`.
fn percent(bps: i128) -> String {
    format!("{}{NBSP}%", decimal(bps, 2, 0).replace('-', "\u{2212}"))
}

/// Basis points as an addition: `+25 %`, `−10 %`.
fn added(bps: i32) -> String {
    format!("{}{}", if bps < 0 { "" } else { "+" }, percent(bps.into()))
}

fn vat_words(rate: VatRate) -> String {
    format!("{}{NBSP}%", decimal(rate.ppm().into(), 4, 0))
}

fn how_to_check(bill: &Bill) -> Markup {
    let record = bill.lines.iter().find(|l| l.operator != bill.issuer);
    let own = bill.lines.iter().any(|l| l.operator == bill.issuer);
    html! {
        section.whole {
            h2 { "How to check this bill" }
            ul.check {
                li {
                    "Add it up: the lines below a charge give its price, and the prices of all charges give the total. "
                    "Every amount stands here with all its digits; only the energy of a charge is rounded, above its lines."
                }
                li {
                    "Compare the price: the operator's tariff and its version stand below each charge, and so does the "
                    "version of our price rules that was in force."
                }
                @if let Some(line) = record {
                    li {
                        "Ask for the record: every record can be checked against the consortium's ledger, the register "
                        "that all operators keep together and that none of them can change alone. Give the operator and "
                        "the record number, for instance " (line.operator) " and " span.id { (line.cdr) }
                        ". The ledger holds the energy, the times and the operator's price, but neither your name nor "
                        "your contract."
                    }
                }
                @if own {
                    li {
                        "Charges at our own charging points have a session number instead: no other operator takes part "
                        "in them, so they are not on the ledger."
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::billing::BillMaker;
    use crate::page::printed;
    use eroam_domain::agreement::PriceRule;
    use eroam_domain::cdr::{ChargingPeriod, TariffRef};
    use eroam_domain::money::{Rounding, RoundingMode};
    use eroam_domain::pricing::dynamic::RenewablePart;
    use eroam_domain::pricing::{self, ItemisedPrice, PriceLeg, PricingInputs};
    use eroam_domain::quantity::BasisPoints;
    use eroam_domain::retail::{self, RetailBase, RetailInputs, RetailRules, TimeOfUse};
    use eroam_domain::tariff::{PriceComponent, Restrictions, Tariff, TariffElement, TariffParts};
    use eroam_domain::time::{LocalClock, TimeOfDay, UnixMillis, UtcOffset, Weekday};

    /// 2021-05-01T00:00:00Z, a Saturday.
    const MAY: i64 = 1_619_827_200_000;
    const MINUTE: i64 = 60_000;

    fn at(minutes: i64) -> UnixMillis {
        UnixMillis::new(MAY + minutes * MINUTE).unwrap()
    }

    fn minutes(minutes: u64) -> DurationMs {
        DurationMs::from_secs(minutes * 60).unwrap()
    }

    fn tariff(operator: &str, id: &str, prices: &[(Dimension, i64, u32)]) -> Tariff {
        let component = |&(dimension, price_micros, step_size): &(Dimension, i64, u32)| PriceComponent {
            dimension,
            price_micros,
            vat: VatRate::from_ppm(210_000),
            step_size,
        };
        Tariff::new(TariffParts {
            party: operator.parse().unwrap(),
            id: id.parse().unwrap(),
            currency: "EUR".parse().unwrap(),
            elements: vec![TariffElement {
                components: prices.iter().map(component).collect(),
                restrictions: Restrictions::NONE,
            }],
            min_price: None,
            max_price: None,
            valid_from: None,
            valid_until: None,
        })
        .unwrap()
    }

    fn rules(base: RetailBase) -> RetailRules {
        RetailRules {
            base,
            time_of_use: vec![TimeOfUse {
                days: Weekday::ALL.into_iter().collect(),
                start: TimeOfDay::new(14, 0).unwrap(),
                end: TimeOfDay::new(20, 0).unwrap(),
                bps: 2_500,
            }],
            margin_bps: 400,
            roaming_fee_micros: 350_000,
            tier_bps: [0, -1_000, -1_200, -1_500],
            payment_bps: [0, 0, 0, 150, 200],
            vat: VatRate::from_ppm(230_000).unwrap(),
            rounding: Rounding::cents(),
        }
    }

    /// A charge of an issuer `PT-EDP`, priced as the gateway prices it.
    struct Sample<'a> {
        operator: &'a str,
        cdr: &'a str,
        place: &'a str,
        /// Minutes since [`MAY`]: start, end of charging, end.
        times: [i64; 3],
        milli_wh: u64,
        clock: LocalClock,
        tariff: Tariff,
        rules: RetailRules,
    }

    fn line(sample: &Sample<'_>) -> BillLine {
        let [start, charged, end] = sample.times;
        let energy = WattHours::from_milli_wh(sample.milli_wh);
        let period = |start, energy, charging: i64, parking: i64| ChargingPeriod {
            start: at(start),
            energy,
            charging: minutes(charging.try_into().unwrap()),
            parking: minutes(parking.try_into().unwrap()),
            reservation: DurationMs::ZERO,
            power: None,
            current: None,
        };
        let mut periods = vec![period(start, energy, charged - start, 0)];
        if end > charged {
            periods.push(period(charged, WattHours::ZERO, 0, end - charged));
        }
        let wholesale = pricing::price(&PricingInputs {
            tariff: &sample.tariff,
            rule: &PriceRule::Static { factor: BasisPoints::new(9_500) },
            rounding: Rounding::new(100, RoundingMode::HalfEven).unwrap(),
            clock: sample.clock,
            periods: &periods,
            end: at(end),
            forecast: None,
        })
        .unwrap();
        let issuer: PartyId = "PT-EDP".parse().unwrap();
        let operator: PartyId = sample.operator.parse().unwrap();
        let (tier, payment) = (Tier::Gold, PaymentOption::CreditCard);
        let inputs = RetailInputs {
            tier,
            payment,
            roaming: operator != issuer,
            wholesale: &wholesale,
            periods: &periods,
            end: at(end),
            clock: sample.clock,
        };
        BillLine {
            contract: "PT-EDP-C00123456".parse().unwrap(),
            month: "2021-05".parse().unwrap(),
            operator,
            cdr: sample.cdr.parse().unwrap(),
            evse: format!("{}*{}*E00421*2", operator.country(), operator.id()).parse().unwrap(),
            place: sample.place.to_owned(),
            start: at(start),
            end: at(end),
            clock: sample.clock,
            energy,
            tariff: TariffRef { id: sample.tariff.id().clone(), version: 3 },
            tier,
            payment,
            retail_version: 7,
            wholesale: (operator != issuer).then_some(wholesale.total),
            retail: retail::price(&sample.rules, &inputs).unwrap(),
        }
    }

    fn sample() -> Bill {
        let hour = |h: i64| LocalClock::fixed(UtcOffset::new(i32::try_from(h * 3_600).unwrap()).unwrap());
        let energy = |price| [(Dimension::Energy, price, 1)];
        let station = [
            (Dimension::Flat, 500_000, 1),
            (Dimension::Energy, 389_000, 1_000),
            (Dimension::ParkingTime, 6_000_000, 300),
        ];
        let samples = [
            Sample {
                operator: "PT-GLP",
                cdr: "GLP-2021-0500417",
                place: "Aveiro, Av. da Universidade <b>1</b>",
                times: [9 * 60 + 12, 10 * 60, 10 * 60],
                milli_wh: 28_412_700,
                clock: hour(1),
                tariff: tariff("PT-GLP", "AC-STREET", &energy(312_500)),
                rules: rules(RetailBase::PassThrough),
            },
            Sample {
                operator: "PT-EDP",
                cdr: "S-90417",
                place: "Porto, Rua de Camões 412",
                times: [5 * 1_440 + 17 * 60 + 41, 5 * 1_440 + 19 * 60 + 3, 5 * 1_440 + 19 * 60 + 31],
                milli_wh: 41_083_000,
                clock: hour(1),
                tariff: tariff("PT-EDP", "HOME-DC", &energy(290_000)),
                rules: rules(RetailBase::OwnTariff(Box::new(tariff("PT-EDP", "RETAIL", &station)))),
            },
            Sample {
                operator: "ES-IBE",
                cdr: "IBE-77AC0192",
                place: "Salamanca, Paseo de la Estación",
                times: [21 * 1_440 + 20 * 60 + 50, 21 * 1_440 + 22 * 60 + 25, 21 * 1_440 + 22 * 60 + 25],
                milli_wh: 37_500_000,
                clock: hour(2),
                tariff: tariff("ES-IBE", "DC-150", &energy(449_000)),
                rules: rules(RetailBase::PassThrough),
            },
        ];
        bill(samples.iter().map(line))
    }

    fn bill(lines: impl Iterator<Item = BillLine>) -> Bill {
        let names = [("PT-GLP", "Galp <Lisboa>"), ("DE-RHN", "Nobody here")];
        let names = names.map(|(party, name)| (party.parse().unwrap(), name.to_owned()));
        let mut maker = BillMaker::new("PT-EDP".parse().unwrap(), "EDP Comercial", names.into());
        for line in lines {
            assert_eq!(maker.add(line).unwrap(), Vec::new());
        }
        maker.finish().remove(0)
    }

    /// One charge of the sample with a price that consists of `lines`.
    fn bill_of(lines: Vec<PriceLine>) -> Bill {
        let total = lines.iter().try_fold(Price::ZERO, |sum, l| sum.checked_add(l.amount)).unwrap();
        let retail = ItemisedPrice { leg: PriceLeg::Retail, currency: "EUR".parse().unwrap(), lines, total };
        bill(sample().lines.into_iter().take(1).map(|l| BillLine { retail: retail.clone(), ..l }))
    }

    fn price_line(rule: LineRule, quantity: Quantity, excl_vat: i64, incl_vat: i64) -> PriceLine {
        let vat = VatRate::from_ppm(230_000);
        PriceLine {
            rule,
            period: None,
            quantity,
            unit_price_micros: None,
            vat,
            amount: Price { excl_vat, incl_vat },
        }
    }

    /// What a reader sees, with plain spaces.
    fn seen(bill: &Bill) -> String {
        printed::text(&bill_page(bill)).replace(NBSP, " ")
    }

    #[test]
    fn the_page_says_who_bills_whom_for_when_and_how_much() {
        let text = seen(&sample());
        for part in [
            "Your charging in May 2021",
            "ContractPT-EDP-C00123456-",
            "Billed byEDP Comercial (PT-EDP)",
            "Bill numberPT-EDP-C00123456-",
            "/2021-05/EUR",
            "PaymentBy credit card",
            "Charges3at 3 operators",
            "Energy107.00 kWhin 4 h 13 min",
            "Of which away from home65.91 kWh2 charges at other operators",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_charge_says_when_where_and_how_much() {
        let text = seen(&sample());
        for part in [
            "Sat 1 May, 10:12\u{2013}11:00Galp <Lisboa> (PT-GLP) · Aveiro, Av. da Universidade <b>1</b>28.41 kWh in 48 min",
            "Thu 6 May, 18:41\u{2013}20:31EDP Comercial · Porto, Rua de Camões 41241.08 kWh in 1 h 50 min",
            "Sat 22 May, 22:50 \u{2013} Sun 23 May, 00:25ES-IBE · Salamanca, Paseo de la Estación",
            "Charging point PT*GLP*E00421*2 · Record GLP-2021-0500417 · Tariff AC-STREET, version 3 · Our price rules, version 7",
            "Session S-90417",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn a_price_is_explained_line_by_line() {
        let text = seen(&sample());
        for part in [
            "Charged by the operator",
            "Start fee",
            "Energy: 41.083 kWh, billed as 42.00 kWh, × 0.389 EUR per kWh",
            "Parking: 28 min, billed as 30 min, × 6.00 EUR per hour",
            "Time of use +25 % on 42.00 kWh (window 1 of our price rules)",
            "Margin of EDP Comercial +4 %",
            "Roaming fee",
            "Gold tier \u{2212}10 %",
            "Paid by credit card +1.5 %",
            "Rounding",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn every_rule_has_its_sentence() {
        let bill = sample();
        let [away, own] = [&bill.lines[0], &bill.lines[1]];
        let hour = Quantity::Time { measured: DurationMs::from_millis(5_310_500), billed: minutes(90) };
        let once = Quantity::Session;
        let kwh = WattHours::from_milli_wh(2_500_000);
        let of = |dimension| LineRule::Tariff { element: 0, dimension };
        for (rule, quantity, line, want) in [
            (of(Dimension::Time), hour, away, "Time: 1 h 28 min 30.5 s, billed as 1 h 30 min,"),
            (of(Dimension::Flat), once, away, "Start fee"),
            (LineRule::MinPrice, once, away, "Minimum price"),
            (LineRule::MaxPrice, once, away, "Maximum price"),
            (
                LineRule::AgreementFactor { factor: BasisPoints::new(9_550) },
                once,
                away,
                "Agreed with the operator: 95.5 % of its tariff",
            ),
            (LineRule::Wholesale, once, away, "Charged by the operator"),
            (LineRule::Wholesale, once, own, "Price at EDP Comercial"),
            (LineRule::Margin { bps: -25 }, once, away, "Margin of EDP Comercial \u{2212}0.25 %"),
            (
                LineRule::TimeOfUse { window: 1, bps: -500 },
                once,
                away,
                "Time of use \u{2212}5 % (window 2 of our price rules)",
            ),
            (LineRule::Tier { tier: Tier::Diamond, bps: -1_500 }, once, away, "Diamond tier \u{2212}15 %"),
            (
                LineRule::Payment { option: PaymentOption::Prepaid, bps: -100 },
                once,
                away,
                "Paid in advance \u{2212}1 %",
            ),
            (LineRule::RoamingFee, once, away, "Roaming fee, for charging at another operator"),
            (
                // 12:00 UTC on the day of the charge, whose station is an hour ahead.
                LineRule::Dynamic {
                    hour: at(12 * 60).utc_hour(),
                    utilisation_bps: 6_200,
                    surcharge_bps: 800,
                    renewable: None,
                },
                Quantity::Energy { measured: kwh, billed: kwh },
                away,
                "Energy: 2.50 kWh (grid load 62 % at 13:00: +8 % on the energy price)",
            ),
            (
                LineRule::Dynamic {
                    hour: at(12 * 60).utc_hour(),
                    utilisation_bps: 6_200,
                    surcharge_bps: 800,
                    renewable: Some(RenewablePart { share_bps: 5_500, surcharge_bps: -300 }),
                },
                Quantity::Energy { measured: kwh, billed: kwh },
                away,
                "Energy: 2.50 kWh (grid load 62 % at 13:00: +8 %; renewable 55 %: \u{2212}3 % on the energy price)",
            ),
            (LineRule::Rounding, once, away, "Rounding"),
        ] {
            let item = price_line(rule, quantity, 0, 0);
            let found = sentence(&item, &bill, line).replace(NBSP, " ");
            assert_eq!(found.trim_end_matches(','), want.trim_end_matches(','), "{rule:?}");
        }
    }

    #[test]
    fn the_printed_amounts_add_up() {
        let bill = sample();
        let page = bill_page(&bill);
        let mut totals = [0, 0];
        let tbodies = printed::between(&page, "<tbody class=\"charge\">", "</tbody>");
        assert_eq!(tbodies.len(), 3);
        for charge in tbodies {
            let head = printed::figures(printed::between(charge, "<tr class=\"head\">", "</tr>")[0]);
            let items =
                printed::between(charge, "<tr class=\"item\">", "</tr>").into_iter().map(printed::figures);
            let sums = items.fold([0, 0], |[excl, incl], row| [excl + row[0], incl + row[1]]);
            assert_eq!(head, sums);
            totals = [totals[0] + head[0], totals[1] + head[1]];
        }
        assert_eq!(totals, [bill.total.excl_vat, bill.total.incl_vat]);

        let vat = printed::between(&page, "<tbody id=\"vat\">", "</table>")[0];
        let rows: Vec<_> = printed::between(vat, "<tr>", "</tr>").into_iter().map(printed::figures).collect();
        let (total, rates) = rows.split_last().unwrap();
        assert!(rates.len() > 1, "a rate and the rounding");
        for column in 0..3 {
            assert_eq!(rates.iter().map(|row| row[column]).sum::<i64>(), total[column]);
        }
        assert_eq!(total[..], [bill.total.excl_vat, bill.total.vat().unwrap(), bill.total.incl_vat]);

        let headline = printed::between(&page, "id=\"total\">", "</p>")[0];
        assert_eq!(printed::millionths(&headline.replace("EUR", "")), bill.total.incl_vat);
    }

    #[test]
    fn an_amount_in_the_drivers_favour_has_a_minus_sign() {
        let bill = bill_of(vec![price_line(LineRule::Wholesale, Quantity::Session, -1_250_000, -1_537_500)]);
        let text = seen(&bill);
        assert!(text.contains("In your favour, VAT included\u{2212}1.5375 EUR"), "{text}");
        assert!(text.contains("\u{2212}1.25 without VAT \u{2212} 0.2875 VAT"), "{text}");
        assert!(!text.contains("-1."), "{text}");
    }

    #[test]
    fn repeated_lines_become_one_and_keep_their_sum() {
        let rule = LineRule::Tariff { element: 0, dimension: Dimension::Energy };
        let quarter = |wh, amount| {
            let energy = WattHours::from_wh(wh).unwrap();
            let quantity = Quantity::Energy { measured: energy, billed: energy };
            price_line(rule, quantity, amount, amount)
        };
        let other = PriceLine { unit_price_micros: Some(1), ..quarter(1_000, 1) };
        let items = items(&[quarter(2_500, 800_001), other, quarter(2_600, 900_002)]);
        assert_eq!(items.len(), 2);
        assert_eq!(items[0], quarter(5_100, 1_700_003));
    }

    #[test]
    fn text_from_outside_is_escaped() {
        let page = bill_page(&sample());
        assert!(page.contains("Aveiro, Av. da Universidade &lt;b&gt;1&lt;/b&gt;"));
        assert!(!page.contains("<b>1"));
    }

    #[test]
    fn the_page_stands_alone() {
        printed::assert_stands_alone(&bill_page(&sample()));
    }

    #[test]
    fn tables_have_captions_and_headers_with_a_scope() {
        let page = bill_page(&sample());
        assert_eq!(page.matches("<table").count(), page.matches("<caption>").count());
        assert_eq!(page.matches("<h1").count(), 1);
        for header in printed::between(&page, "<th", ">").into_iter().filter(|h| !h.starts_with("ead")) {
            assert!(header.contains("scope="), "{header}");
        }
    }

    #[test]
    fn a_change_of_the_clocks_and_a_late_charge_are_said() {
        let mut bill = sample();
        let line = &mut bill.lines[0];
        line.clock.change = Some((line.end, UtcOffset::UTC));
        line.start = at(-60);
        bill.lines[1].end = at(-120);
        let text = seen(&bill);
        assert!(
            text.contains("Sat 1 May, 00:00\u{2013}10:00The clocks went back during this charge."),
            "{text}"
        );
        assert!(text.contains("Fri 30 April, 23:00From an earlier month"), "{text}");
    }

    #[test]
    fn checking_names_a_record_and_what_is_not_on_the_ledger() {
        let text = seen(&sample());
        assert!(text.contains("every record can be checked against the consortium's ledger"));
        assert!(text.contains("for instance PT-GLP and GLP-2021-0500417"));
        assert!(text.contains("they are not on the ledger"));
    }
}
