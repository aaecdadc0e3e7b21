//! One bill a month for each driver, one invoice a period for each partner.

use super::world::*;
use crate::billing::{Bill, BillLine, BillMaker, bill_month};
use crate::invoice::{Invoice, InvoiceMaker, WholesaleLine};
use crate::ports::Store as _;
use eroam_domain::money::{Currency, Price};
use eroam_domain::pricing::{LineRule, PriceLeg};
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::{RetailRules, Tier};
use eroam_domain::time::{CivilMonth, LocalClock, UtcOffset};

fn month(text: &str) -> CivilMonth {
    text.parse().unwrap()
}

fn offset(seconds: i32) -> UtcOffset {
    UtcOffset::new(seconds).unwrap()
}

#[test]
fn a_line_is_on_the_bill_of_the_local_month_in_which_it_ends() {
    let summer = LocalClock { offset: offset(3_600), change: Some((on(3, 30, 1, 0), offset(7_200))) };
    let winter = LocalClock { offset: offset(7_200), change: Some((on(10, 26, 1, 0), offset(3_600))) };
    for (end, clock, want) in [
        (on(3, 31, 23, 59), LocalClock::UTC, "2025-03"),
        (on(4, 1, 0, 0), LocalClock::UTC, "2025-04"),
        // East of Greenwich the month begins earlier, west of it later.
        (on(3, 31, 22, 59), LocalClock::fixed(offset(3_600)), "2025-03"),
        (on(3, 31, 23, 0), LocalClock::fixed(offset(3_600)), "2025-04"),
        (on(4, 1, 4, 59), LocalClock::fixed(offset(-18_000)), "2025-03"),
        (on(4, 1, 5, 0), LocalClock::fixed(offset(-18_000)), "2025-04"),
        (on(12, 31, 23, 30), LocalClock::fixed(offset(3_600)), "2026-01"),
        // A session over the change of the clock ends by the new offset.
        (on(3, 31, 21, 59), summer, "2025-03"),
        (on(3, 31, 22, 0), summer, "2025-04"),
        (on(10, 31, 22, 59), winter, "2025-10"),
        (on(10, 31, 23, 0), winter, "2025-11"),
    ] {
        assert_eq!(bill_month(end, clock, None), month(want), "{end}");
    }
}

#[test]
fn a_late_line_goes_on_the_next_bill_that_is_not_out() {
    let end = on(3, 31, 12, 0);
    for (issued, want) in [
        (None, "2025-03"),
        (Some("2025-02"), "2025-03"),
        (Some("2025-03"), "2025-04"),
        (Some("2025-06"), "2025-07"),
        (Some("2025-12"), "2026-01"),
    ] {
        assert_eq!(bill_month(end, LocalClock::UTC, issued.map(month)), month(want), "{issued:?}");
    }
}

#[test]
fn a_report_that_comes_after_the_bills_are_out_is_billed_the_month_after() {
    let mut world = World::new();
    world.fate = Box::new(|letter| if letter.kind() == "reports" { Fate::Delay } else { Fate::Deliver });
    world.charge("s1", AT_GLP, ANA, 20_000);
    world.charge("s2", AT_EDP, ANA, 20_000);
    world.store(edp()).set_billed_through(month("2025-03")).unwrap();
    world.fate = Box::new(|_| Fate::Deliver);
    world.release();
    world.charge("s3", AT_EDP, ANA, 20_000);
    let mut months: Vec<_> =
        world.bill_lines(edp()).into_iter().map(|l| (l.cdr.to_string(), l.month.to_string())).collect();
    months.sort();
    let want = [("s1", "2025-04"), ("s2", "2025-03"), ("s3", "2025-04")];
    assert_eq!(months, want.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn one_session_at_four_tiers_has_four_retail_prices_and_one_wholesale_price() {
    let mut world = World::new();
    // A real discount for each tier, so that each has a line.
    let rules = RetailRules { tier_bps: [100, -500, -800, -1_200], ..retail() };
    world.org(edp()).rules_mut().home.update(start(), rules).unwrap();
    for (session, driver) in [("s1", ANA), ("s2", GIL), ("s3", PIA), ("s4", DIA)] {
        world.charge(session, AT_GLP, driver, 20_000);
    }
    let lines = world.bill_lines(edp());
    // 8.55 x 1.05 + 0.20 = 9.1775, then the tier, then VAT.
    let want = [
        (100, 91_775, 11_400_000),
        (-500, -458_875, 10_720_000),
        (-800, -734_200, 10_390_000),
        (-1_200, -1_101_300, 9_930_000),
    ];
    for ((line, tier), (bps, amount, total)) in lines.iter().zip(Tier::ALL).zip(want) {
        assert_eq!((line.tier, line.retail.leg), (tier, PriceLeg::Retail));
        let of_tier: Vec<_> =
            line.retail.lines.iter().filter(|l| l.rule == LineRule::Tier { tier, bps }).collect();
        assert_eq!(of_tier.len(), 1, "{tier}");
        assert_eq!((of_tier[0].amount.excl_vat, line.retail.total.incl_vat), (amount, total), "{tier}");
        let sum = line.retail.lines.iter().try_fold(Price::ZERO, |sum, l| sum.checked_add(l.amount));
        assert_eq!(sum, Some(line.retail.total), "the items add up");
    }
    let wholesale = Price { excl_vat: 8_550_000, incl_vat: 10_520_000 };
    assert!(lines.iter().all(|l| l.wholesale == Some(wholesale)));
    assert!(world.wholesale_lines(glp()).iter().all(|l| l.price == wholesale));
    assert_eq!(lines.len(), 4);
}

/// A bill line and a wholesale line to vary.
fn samples() -> (BillLine, WholesaleLine) {
    let mut world = World::new();
    world.charge("s1", AT_GLP, ANA, 20_000);
    let [bill] = world.bill_lines(edp()).try_into().unwrap();
    let [wholesale] = world.wholesale_lines(glp()).try_into().unwrap();
    (bill, wholesale)
}

fn bills(lines: Vec<BillLine>) -> Vec<Bill> {
    let mut maker = BillMaker::new(edp(), "EDP", [(glp(), "GLP".to_owned())].into());
    let mut bills: Vec<Bill> = lines.into_iter().flat_map(|l| maker.add(l).unwrap()).collect();
    bills.extend(maker.finish());
    assert_eq!(maker.finish(), [], "once");
    bills
}

#[test]
fn there_is_a_bill_for_each_contract_month_and_currency_and_it_adds_up() {
    let (sample, _) = samples();
    let line = |driver: &str, of: &str, currency: &str, micros: i64| {
        let mut line = sample.clone();
        (line.contract, line.month) = (contract(driver), month(of));
        line.retail.currency = Currency::new(currency).unwrap();
        line.retail.total = Price { excl_vat: micros, incl_vat: 2 * micros };
        line
    };
    let made = bills(vec![
        line(ANA, "2025-03", "EUR", 1),
        line(ANA, "2025-03", "USD", 10),
        line(ANA, "2025-03", "EUR", 100),
        line(ANA, "2025-04", "EUR", 1_000),
        line(GIL, "2025-04", "USD", 10_000),
        line(GIL, "2025-04", "EUR", 100_000),
    ]);
    let summary: Vec<_> =
        made.iter().map(|b| (b.number.as_str(), b.lines.len(), b.total.excl_vat, b.total.incl_vat)).collect();
    let (ana, gil) = (contract(ANA).to_string(), contract(GIL).to_string());
    assert_eq!(
        summary,
        [
            (format!("{ana}/2025-03/EUR").as_str(), 2, 101, 202),
            (format!("{ana}/2025-03/USD").as_str(), 1, 10, 20),
            (format!("{ana}/2025-04/EUR").as_str(), 1, 1_000, 2_000),
            (format!("{gil}/2025-04/EUR").as_str(), 1, 100_000, 200_000),
            (format!("{gil}/2025-04/USD").as_str(), 1, 10_000, 20_000),
        ]
    );
    assert_eq!(made[0].energy, wh(40_000));
    for bill in &made {
        assert_eq!((bill.issuer, bill.issuer_name.as_str()), (edp(), "EDP"));
        assert_eq!(bill.operator_names, [(glp(), "GLP".to_owned())].into(), "those who are on it");
        let all = bill.lines.iter();
        assert!(all.clone().all(|l| (l.contract, l.month) == (bill.contract, bill.month)));
        assert!(all.clone().all(|l| l.retail.currency == bill.currency));
        let energy = all.clone().try_fold(WattHours::ZERO, |sum, l| sum.checked_add(l.energy));
        assert_eq!(energy, Some(bill.energy));
    }
    assert_eq!(bills(Vec::new()), []);
}

#[test]
fn a_bill_that_does_not_fit_says_whose_it_is() {
    let (mut line, mut wholesale) = samples();
    line.retail.total = Price { excl_vat: i64::MAX, incl_vat: i64::MAX };
    let mut maker = BillMaker::new(edp(), "EDP", [(glp(), "GLP".to_owned())].into());
    maker.add(line.clone()).unwrap();
    let error = maker.add(line).unwrap_err();
    assert_eq!((error.contract, error.month), (contract(ANA), month("2025-03")));
    wholesale.due = i64::MAX;
    let mut maker = InvoiceMaker::new(glp());
    maker.add(wholesale.clone()).unwrap();
    assert_eq!(maker.add(wholesale).unwrap_err().emsp, edp());
}

#[test]
fn there_is_an_invoice_for_each_partner_period_and_currency_and_it_adds_up() {
    let (_, sample) = samples();
    let line = |emsp, of: &str, currency: &str, due: i64| WholesaleLine {
        emsp,
        period: of.parse().unwrap(),
        currency: Currency::new(currency).unwrap(),
        price: Price { excl_vat: due, incl_vat: 2 * due },
        due,
        ..sample.clone()
    };
    let mut maker = InvoiceMaker::new(glp());
    let lines = [
        line(ibe(), "2025-03", "USD", 1),
        line(ibe(), "2025-03", "EUR", 10),
        line(ibe(), "2025-03", "EUR", 100),
        line(ibe(), "2025-04", "EUR", 1_000),
        line(edp(), "2025-04", "EUR", 10_000),
    ];
    let mut made: Vec<Invoice> = lines.into_iter().flat_map(|l| maker.add(l).unwrap()).collect();
    made.extend(maker.finish());
    let summary: Vec<_> =
        made.iter().map(|i| (i.number.as_str(), i.lines.len(), i.total.incl_vat, i.due)).collect();
    assert_eq!(
        summary,
        [
            ("PT-GLP/ES-IBE/2025-03/EUR", 2, 220, 110),
            ("PT-GLP/ES-IBE/2025-03/USD", 1, 2, 1),
            ("PT-GLP/ES-IBE/2025-04/EUR", 1, 2_000, 1_000),
            ("PT-GLP/PT-EDP/2025-04/EUR", 1, 20_000, 10_000),
        ]
    );
    assert_eq!(made[0].energy, wh(40_000));
}

#[test]
fn a_months_bills_and_invoices_agree_with_the_charges() {
    let mut world = World::new();
    for (session, evse, driver) in [
        ("s1", AT_GLP, ANA),
        ("s2", AT_IBE, ANA),
        ("s3", AT_EDP, ANA),
        ("s4", AT_GLP, GIL),
        ("s5", AT_GLP, EVA),
    ] {
        world.charge(session, evse, driver, 20_000);
    }
    let made = bills(world.bill_lines(edp()));
    let of: Vec<_> = made.iter().map(|b| (b.contract, b.lines.len())).collect();
    assert_eq!(of, [(contract(ANA), 3), (contract(GIL), 1)], "one bill over all operators");
    let starts: Vec<_> = made[0].lines.iter().map(|l| l.start).collect();
    assert!(starts.is_sorted());
    let mut maker = InvoiceMaker::new(glp());
    let mut invoices = Vec::new();
    world
        .store(glp())
        .each_wholesale(&mut |_, _, line| {
            invoices.extend(maker.add(line).unwrap());
            Ok(())
        })
        .unwrap();
    invoices.extend(maker.finish());
    let of: Vec<_> = invoices.iter().map(|i| (i.emsp, i.lines.len(), i.due)).collect();
    assert_eq!(of, [(ibe(), 1, 8_550_000), (edp(), 2, 2 * 10_520_000)]);
}
