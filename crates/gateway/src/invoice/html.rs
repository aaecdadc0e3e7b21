//! A wholesale invoice as a page for accountants: each record with its amounts, and their sums.
//!
//! What it deliberately does not do: say how VAT is treated between the two parties, or ask for a payment; the
//! ledger's netting is what is paid.

use super::Invoice;
use crate::page;
use eroam_domain::cdr::AgreementRef;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::{LocalClock, SettlementPeriod, UnixMillis};
use maud::{Markup, html};
use std::collections::BTreeSet;

/// The invoice as a printable HTML page that loads nothing: style inline, no script, no picture, no font.
///
/// Amounts are in the invoice's currency, energy in kWh, times in UTC; all with every digit.
#[must_use]
pub fn invoice_page(invoice: &Invoice) -> String {
    let title = format!("Invoice {}", invoice.number);
    page::sheet(
        &title,
        &title,
        &html! {
            header {
                div.letterhead {
                    b { (invoice.operator) }
                    span.quiet { "Roaming invoice" }
                }
                div.hero {
                    (facts(invoice))
                    div.due {
                        p.quiet { "Due" }
                        p.big #due { (page::headline(invoice.due.into(), invoice.currency.as_str())) }
                        p.small.quiet { (records_words(invoice.lines.len())) }
                    }
                }
            }
            (records(invoice))
            (notes(invoice))
        },
    )
}

fn records_words(count: usize) -> String {
    if count == 1 { "1 record".into() } else { format!("{count} records") }
}

fn facts(invoice: &Invoice) -> Markup {
    let agreements: BTreeSet<AgreementRef> = invoice.lines.iter().map(|l| l.agreement).collect();
    html! {
        div {
            h1 { "Invoice, " (period_words(invoice.period)) }
            dl.facts {
                dt { "Number" } dd.id { (invoice.number) }
                dt { "Operator" } dd { (invoice.operator) " (is paid)" }
                dt { "Partner" } dd { (invoice.emsp) " (pays)" }
                @if let Some(range) = range_words(invoice.period) { dt { "Period" } dd { (range) } }
                dt { "Currency" } dd { (invoice.currency) }
                @for agreement in agreements {
                    dt { "Agreement" }
                    dd { span.id title=(agreement.id) { (shortened(&agreement.id.to_string())) } ", version " (agreement.version) }
                }
            }
        }
    }
}

/// A long identifier without its middle.
fn shortened(id: &str) -> String {
    match (id.get(..10), id.len().checked_sub(6).and_then(|tail| id.get(tail..))) {
        (Some(head), Some(tail)) if id.len() > 20 => format!("{head}\u{2026}{tail}"),
        _ => id.to_owned(),
    }
}

/// The last day of a period counts: its end is the first instant after it.
fn last_instant(period: SettlementPeriod) -> Option<UnixMillis> {
    period.end()?.checked_sub(DurationMs::from_millis(1))
}

/// `May 2021`, `3 May 2021`, or `3 May 2021 to 9 May 2021`.
fn period_words(period: SettlementPeriod) -> String {
    use eroam_domain::time::{CivilMonth, PeriodKind};
    let date = |instant| LocalClock::UTC.at(instant).date;
    let Some((first, last)) = period.start().zip(last_instant(period)) else { return period.to_string() };
    match period.kind() {
        PeriodKind::Month => page::month_words(CivilMonth::of(date(first))),
        PeriodKind::Day => page::date_words(date(first)),
        PeriodKind::Week => format!("{} to {}", page::date_words(date(first)), page::date_words(date(last))),
    }
}

/// The days of a period, both included.
fn range_words(period: SettlementPeriod) -> Option<String> {
    let date = |instant| page::date_words(LocalClock::UTC.at(instant).date);
    let (first, last) = (date(period.start()?), date(last_instant(period)?));
    Some(if first == last { format!("{first}, UTC") } else { format!("{first} to {last}, UTC") })
}

/// What of a line others than the operator get.
fn to_others(line: &super::WholesaleLine) -> i128 {
    line.others.iter().map(|part| i128::from(part.micros)).sum()
}

/// What a line adds to what is due to the operator.
fn owed(line: &super::WholesaleLine) -> i128 {
    i128::from(line.due) + i128::from(line.true_up) - to_others(line)
}

fn records(invoice: &Invoice) -> Markup {
    let room = |amounts: &dyn Fn(&super::WholesaleLine) -> i128, total: i128| {
        page::further_decimals(invoice.lines.iter().map(amounts).chain([total]))
    };
    let energy_total = i128::from(invoice.energy.milli_wh());
    let energy = room(&|l| l.energy.milli_wh().into(), energy_total);
    let excl_vat = room(&|l| l.price.excl_vat.into(), invoice.total.excl_vat.into());
    let incl_vat = room(&|l| l.price.incl_vat.into(), invoice.total.incl_vat.into());
    let others_total = invoice.others.iter().map(|part| i128::from(part.micros)).sum();
    let others = room(&to_others, others_total);
    let is_shared = !invoice.others.is_empty();
    let due = room(&owed, invoice.due.into());
    html! {
        section {
            h2 { "Records" }
            div.scroll role="region" aria-label="Records" tabindex="0" { table.ruled.dense {
                caption { "The records booked in the period, amounts in " (invoice.currency) }
                thead { tr {
                    th scope="col" { "Record" }
                    th scope="col" { "Start, UTC" }
                    th.n scope="col" { "kWh" }
                    th.n scope="col" { "Without VAT" }
                    th.n scope="col" { "With VAT" }
                    @if is_shared { th.n scope="col" { "To others" } }
                    th.n scope="col" { "Due" }
                } }
                tbody {
                    @for line in &invoice.lines {
                        tr.record {
                            th.id scope="row" {
                                (line.cdr)
                                @if line.true_up != 0 {
                                    " (true-up " (page::figure(line.true_up.into(), due)) ")"
                                }
                            }
                            td.instant { time datetime=(line.start) { (instant_words(line.start)) } }
                            td.n { (page::figure(line.energy.milli_wh().into(), energy)) }
                            td.n { (page::figure(line.price.excl_vat.into(), excl_vat)) }
                            td.n { (page::figure(line.price.incl_vat.into(), incl_vat)) }
                            @if is_shared { td.n { (page::figure(to_others(line), others)) } }
                            td.n { (page::figure(owed(line), due)) }
                        }
                    }
                    tr.sum {
                        th scope="row" colspan="2" { "Total of " (records_words(invoice.lines.len())) }
                        td.n { (page::figure(energy_total, energy)) }
                        td.n { (page::figure(invoice.total.excl_vat.into(), excl_vat)) }
                        td.n { (page::figure(invoice.total.incl_vat.into(), incl_vat)) }
                        @if is_shared { td.n { (page::figure(others_total, others)) } }
                        td.n { (page::figure(invoice.due.into(), due)) }
                    }
                }
            } }
        }
    }
}

/// `2021-05-01 20:42:47`.
fn instant_words(instant: UnixMillis) -> String {
    let text = instant.to_string();
    let text = text.strip_suffix('Z').unwrap_or(&text);
    text.replacen('T', " ", 1)
}

fn notes(invoice: &Invoice) -> Markup {
    let room = page::further_decimals(invoice.others.iter().map(|part| part.micros.into()));
    html! {
        section.whole {
            h2 { "Notes" }
            ul.check {
                @for part in &invoice.others {
                    li {
                        (page::figure(part.micros.into(), room)) " " (invoice.currency) " of the records' amounts is by the "
                        "agreement "
                        @if part.party == invoice.emsp { "the partner's own share, which it keeps." }
                        @else { (part.party) "'s, to whom the partner owes it directly." }
                    }
                }
                li {
                    "Amounts without and with VAT are those of each record on the consortium's ledger. Due is the one "
                    "that the agreement makes payable, with the true-up that the actual load of the grid made of a price by "
                    "forecast."
                }
                li {
                    "This invoice repeats what the ledger has booked, so that each record can be checked there by its "
                    "number. What is paid is the net of the period that the ledger settles between all members."
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invoice::{InvoiceMaker, WholesaleLine};
    use crate::page::printed;
    use eroam_domain::cdr::TariffRef;
    use eroam_domain::codec::Digest;
    use eroam_domain::money::Price;
    use eroam_domain::quantity::WattHours;

    fn sample() -> Invoice {
        let mut maker = InvoiceMaker::new("ES-IBE".parse().unwrap());
        let amounts = [
            (37_500_000, 15_995_600, 19_354_676),
            (8_120_400, 3_463_700, 4_191_077),
            (0, -500_000, -605_000),
        ];
        for (number, (milli_wh, excl_vat, incl_vat)) in amounts.into_iter().enumerate() {
            let start = 1_621_716_600_000 + i64::try_from(number).unwrap() * 86_461_000;
            let line = WholesaleLine {
                emsp: "PT-EDP".parse().unwrap(),
                period: "2021-05".parse().unwrap(),
                cdr: format!("IBE-<{number}>").parse().unwrap(),
                digest: Digest([7; 32]),
                agreement: AgreementRef { id: Digest([0xab; 32]), version: 2 },
                tariff: TariffRef { id: "DC-150".parse().unwrap(), version: 3 },
                start: UnixMillis::new(start).unwrap(),
                end: UnixMillis::new(start + 3_600_000).unwrap(),
                energy: WattHours::from_milli_wh(milli_wh),
                currency: "EUR".parse().unwrap(),
                price: Price { excl_vat, incl_vat },
                due: excl_vat,
                true_up: 0,
                others: Vec::new(),
            };
            assert_eq!(maker.add(line).unwrap(), Vec::new());
        }
        maker.finish().remove(0)
    }

    #[test]
    fn the_page_says_who_pays_whom_for_what() {
        let text = printed::text(&invoice_page(&sample())).replace(page::NBSP, " ");
        for part in [
            "Invoice, May 2021",
            "NumberES-IBE/PT-EDP/2021-05/EUR",
            "OperatorES-IBE (is paid)",
            "PartnerPT-EDP (pays)",
            "Period1 May 2021 to 31 May 2021, UTC",
            "Agreementababababab\u{2026}ababab, version 2",
            "Due18.9593 EUR3 records",
            "IBE-<0>2021-05-22 20:50:0037.50",
            "\u{2212}0.605",
            "Total of 3 records45.6204",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
    }

    #[test]
    fn the_printed_amounts_add_up() {
        let invoice = sample();
        let page = invoice_page(&invoice);
        let rows =
            printed::between(&page, "<tr class=\"record\">", "</tr>").into_iter().map(printed::figures);
        let sums = rows.fold([0; 4], |sums, row| [0, 1, 2, 3].map(|i| sums[i] + row[i]));
        let total = printed::figures(printed::between(&page, "<tr class=\"sum\">", "</tr>")[0]);
        assert_eq!(total, sums);
        let energy = i64::try_from(invoice.energy.milli_wh()).unwrap();
        assert_eq!(sums, [energy, invoice.total.excl_vat, invoice.total.incl_vat, invoice.due]);
    }

    #[test]
    fn the_page_stands_alone_and_escapes() {
        let page = invoice_page(&sample());
        printed::assert_stands_alone(&page);
        assert!(page.contains("IBE-&lt;0&gt;"));
    }

    #[test]
    fn periods_are_named_by_their_days() {
        let words = |text: &str| period_words(text.parse().unwrap()).replace(page::NBSP, " ");
        assert_eq!(words("2021-05"), "May 2021");
        assert_eq!(words("2021-05-03"), "3 May 2021");
        assert_eq!(words("2021-05-03/P7D"), "3 May 2021 to 9 May 2021");
    }
}
