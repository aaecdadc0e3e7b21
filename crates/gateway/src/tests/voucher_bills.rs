//! What a home utility makes of charges that its vouchers pay for.

use super::wallet::{Purse, one_time};
use super::world::*;
use crate::billing::{Booking, Charge};
use crate::gateway::Gateway;
use crate::ports::Store as _;
use crate::testing::MemoryStore;
use crate::vouchers::VoucherStatus;
use eroam_domain::cdr::Payer;
use eroam_domain::charge::{PartnerMessage, Quote, ReportedCustomer, SessionReport};
use eroam_domain::codec::{Digest, SignatureBytes, from_bytes};
use eroam_domain::retail::{RetailRules, Tier};
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{SpentVoucher, VoucherAcceptance};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::port::Receipt;
use eroam_ledger::reject::{Item, ItemOutcome};
use eroam_ledger::state::{StateError, StateKey, StateView};
use eroam_ledger::tx::Tx;
use std::borrow::Cow;

/// The ledger before any record was booked.
struct Unbooked<'a>(&'a TestLedger);

impl StateView for Unbooked<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        match from_bytes(key) {
            Ok(StateKey::Cdr(..)) => Ok(None),
            _ => self.0.get(key),
        }
    }
}

/// A home utility that has issued its vouchers and seen nothing else yet, and a true report of ANA's charge at GLP.
struct Case {
    world: World,
    home: Gateway<MemoryStore>,
    purse: Purse,
    report: SessionReport,
}

impl Case {
    fn new() -> Self {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let others = world.withdraw(GIL, "g");
        let store = world.store(edp()).clone();
        world.charge_unknown("s1", AT_GLP, &purse, 20_000);
        assert_eq!(others.voucher.voucher.cap, purse.voucher.voucher.cap);
        let letter = world.letters.iter().find(|l| l.kind() == "reports").unwrap();
        let PartnerMessage::Reports(reports) = letter.message() else { panic!("reports") };
        let [report] = reports.try_into().unwrap();
        Self { world, home: gateway(edp(), store), purse, report }
    }

    fn book(&mut self, report: &SessionReport) {
        let booked_in = Some(self.world.wholesale_lines(glp())[0].period);
        let records = Tx::Cdr(CdrTx::RecordCdrs(vec![report.cdr.clone()]));
        let envelope = gateway(glp(), MemoryStore::default()).sign(Digest::ZERO, 0, 0, start(), records);
        let items = vec![Item { hash: report.cdr.digest(), outcome: ItemOutcome::Accepted { booked_in } }];
        let receipt = Receipt { envelope: envelope.digest(), height: Some(1), items };
        self.home.observe(&self.world.ledger, envelope.envelope(), &receipt, start()).unwrap();
    }

    fn hear(&mut self, report: &SessionReport) {
        let message = PartnerMessage::Reports(vec![report.clone()]);
        self.home.receive(&Unbooked(&self.world.ledger), glp(), message, start()).unwrap();
    }

    fn charge(&mut self) -> Charge {
        let cdr = self.report.cdr.id.clone();
        self.home.store_mut().charge(glp(), &cdr).unwrap().unwrap()
    }

    /// The operator says that it made the quote at another time, so long after it was accepted, and the driver agrees.
    fn quoted_at(&self, report: &mut SessionReport, after: i64) {
        let (spent, quote, _) = with_voucher(report);
        let at = spent.acceptance.accepted_at.get() + after;
        quote.made_at = UnixMillis::new(at).unwrap();
        let digest = quote.digest();
        let mut acceptance = spent.acceptance;
        acceptance.quote = digest;
        *spent = self.purse.sign(acceptance);
        (report.cdr.quote, report.cdr.acceptance) = (digest, spent.signature);
    }

    /// Whichever half comes first.
    fn put_together(&mut self, report: &SessionReport, reported_first: bool) -> Charge {
        if reported_first {
            self.hear(report);
            assert!(matches!(self.charge(), Charge::Reported(_)));
            self.book(report);
        } else {
            self.book(report);
            assert!(matches!(self.charge(), Charge::Booked(Booking { .. })));
            self.hear(report);
        }
        self.charge()
    }

    fn status(&mut self) -> VoucherStatus {
        let nullifier = self.purse.voucher.voucher.nullifier();
        self.home.store_mut().vouchers[&nullifier].status.clone()
    }
}

fn with_voucher(report: &mut SessionReport) -> (&mut SpentVoucher, &mut Quote, &mut Tier) {
    match &mut report.customer {
        ReportedCustomer::Voucher { spent, quote, tier } => (spent, quote, tier),
        ReportedCustomer::Contract { .. } => panic!("a contract"),
    }
}

#[test]
fn report_and_booking_make_a_bill_line_whichever_comes_first() {
    let mut want = World::new();
    want.charge("s1", AT_GLP, ANA, 20_000);
    for reported_first in [false, true] {
        let mut case = Case::new();
        let report = case.report.clone();
        let Charge::Billed(line) = case.put_together(&report, reported_first) else { panic!("billed") };
        assert_eq!(vec![*line], want.bill_lines(edp()), "as it is with a card");
        assert_eq!(case.status(), VoucherStatus::Spent);
        // Said again, it is billed once.
        case.hear(&report);
        case.book(&report);
        let mut lines = 0;
        case.home
            .store_mut()
            .each_bill_line(&mut |_| {
                lines += 1;
                Ok(())
            })
            .unwrap();
        assert_eq!(lines, 1);
    }
}

#[test]
fn a_report_that_is_wrong_is_disputed_with_the_reason_whichever_half_comes_first() {
    type Spoil = fn(&mut Case, &mut SessionReport);
    /// Another voucher of EDP's in the place of the one that was spent, agreed to in the same way.
    fn instead(case: &Case, report: &mut SessionReport, purse: &Purse) {
        let (spent, ..) = with_voucher(report);
        *spent = purse.sign(spent.acceptance);
        report.cdr.payer = Payer::Voucher { nullifier: purse.voucher.voucher.nullifier() };
        report.cdr.acceptance = with_voucher(report).0.signature;
        assert_ne!(report.cdr.payer, case.report.cdr.payer);
    }
    let cases: [(&str, Spoil, &str); 19] = [
        (
            "booked for a contract",
            |_, r| r.cdr.payer = Payer::Contract { commitment: Digest::ZERO },
            "another voucher",
        ),
        (
            "booked for another voucher",
            |_, r| r.cdr.payer = Payer::Voucher { nullifier: one_time_nullifier("other") },
            "another voucher",
        ),
        (
            "another provider's voucher",
            |c, r| {
                let mut purse = c.purse.clone();
                purse.voucher.voucher.emsp = ibe();
                let (spent, ..) = with_voucher(r);
                *spent = purse.sign(spent.acceptance);
            },
            "one of ES-IBE",
        ),
        (
            "nobody's voucher",
            |c, r| {
                let key = one_time("nobody");
                let mut voucher = c.purse.voucher;
                voucher.voucher.holder = super::wallet::holder(&key);
                instead(c, r, &Purse { key, voucher });
            },
            "never issued",
        ),
        (
            "a larger cap than was issued",
            |_, r| with_voucher(r).0.voucher.voucher.cap.micros += 1,
            "not as it was issued",
        ),
        (
            "the customer is gone",
            |c, _| drop(c.home.store_mut().home.remove(&contract(ANA))),
            "not known any more",
        ),
        ("a tier that the customer never had", |_, r| *with_voucher(r).2 = Tier::Diamond, "in tier diamond"),
        (
            "no retail rules at the time",
            |c, _| {
                c.home.rules_mut().home = crate::rules::HomeRules::new([0; 4]);
                c.home.rules_mut().home.update(later(start(), DAY), retail()).unwrap();
            },
            "no retail rules",
        ),
        ("a cheaper quote", |_, r| with_voucher(r).1.wholesale.incl_vat -= 1, "quote"),
        ("a quote with a driver's price", |_, r| with_voucher(r).1.retail = Some(r_price()), "quote"),
        (
            "a record of another quote",
            |_, r| {
                with_voucher(r).1.wholesale.incl_vat -= 1;
                r.cdr.quote = with_voucher(r).1.digest();
            },
            "agreed to something else",
        ),
        (
            "accepted at another time",
            |_, r| r.cdr.accepted_at = later(r.cdr.accepted_at, 1),
            "agreed to something else",
        ),
        ("another session", |_, r| r.cdr.session = Digest::ZERO, "agreed to something else"),
        (
            "agreed with another operator",
            |c, r| {
                let (spent, ..) = with_voucher(r);
                let mut acceptance = spent.acceptance;
                acceptance.operator = ibe();
                *spent = c.purse.sign(acceptance);
                r.cdr.acceptance = with_voucher(r).0.signature;
            },
            "agreed to something else",
        ),
        (
            "another signature on the record",
            |_, r| r.cdr.acceptance = SignatureBytes([0; 64]),
            "agreed to something else",
        ),
        (
            "signed by somebody else",
            |c, r| {
                let thief = Purse { key: one_time("thief"), ..c.purse.clone() };
                let (spent, ..) = with_voucher(r);
                *spent = thief.sign(spent.acceptance);
                r.cdr.acceptance = with_voucher(r).0.signature;
            },
            "nobody signed",
        ),
        ("a limit that nobody signed", |_, r| with_voucher(r).0.acceptance.limit -= 1, "nobody signed"),
        (
            "a quote of the day before yesterday",
            |c, r| c.quoted_at(r, -(2 * DAY as i64)),
            "more than a day before",
        ),
        ("a quote of the next moment", |c, r| c.quoted_at(r, 1), "made after it was accepted"),
    ];
    for (name, spoil, why) in cases {
        for reported_first in [false, true] {
            let mut case = Case::new();
            let mut report = case.report.clone();
            spoil(&mut case, &mut report);
            match case.put_together(&report, reported_first) {
                Charge::Disputed { why: found } => assert!(found.contains(why), "{name}: {found}"),
                other => panic!("{name}: {other:?}"),
            }
            assert_eq!(
                case.home.store_mut().unbilled_charges().unwrap().len(),
                1,
                "{name}: it stays in sight"
            );
            assert_eq!(case.status(), VoucherStatus::Issued, "{name}: nothing was paid with it");
            // The true report afterwards does not paper over it.
            let honest = case.report.clone();
            case.hear(&honest);
            assert!(matches!(case.charge(), Charge::Disputed { .. }), "{name}");
        }
    }
}

fn one_time_nullifier(name: &str) -> eroam_domain::voucher::Nullifier {
    super::wallet::holder(&one_time(name)).nullifier()
}

fn r_price() -> eroam_domain::money::Price {
    eroam_domain::money::Price { excl_vat: 1, incl_vat: 1 }
}

#[test]
fn the_tier_may_have_changed_between_the_voucher_and_the_bill() {
    for (now, proved, billed) in [
        (Tier::Gold, Tier::Standard, true),
        (Tier::Gold, Tier::Gold, true),
        (Tier::Gold, Tier::Platinum, false),
    ] {
        let mut case = Case::new();
        case.home.store_mut().home.get_mut(&contract(ANA)).unwrap().tier = now;
        let mut report = case.report.clone();
        *with_voucher(&mut report).2 = proved;
        match case.put_together(&report, true) {
            Charge::Billed(line) => assert_eq!((line.tier, true), (proved, billed)),
            Charge::Disputed { why } => assert!(!billed, "{why}"),
            other => panic!("{other:?}"),
        }
    }
}

/// The wallet made the driver's price when it showed the quote: by those rules it is billed, whatever becomes of them before
/// the driver agrees, before power or before the bill.
#[test]
fn the_rules_in_force_when_the_quote_was_made_make_the_price_abroad_and_at_home() {
    /// What the driver pays, by which rules, when dearer ones come at a step of the charge.
    fn billed(place: &str, comes_at: Option<u32>) -> (u32, i64) {
        let mut world = World::new();
        let purse = world.withdraw(ANA, "a");
        let step = |world: &mut World, step| {
            world.wait(1);
            if comes_at == Some(step) {
                let (now, dearer) = (world.now, RetailRules { margin_bps: 9_000, ..retail() });
                world.org(edp()).rules_mut().home.update(now, dearer).unwrap();
            }
        };
        step(&mut world, 0);
        let quote = world.quote_unknown("s1", place, &purse);
        step(&mut world, 1);
        let agreed = purse.spend(&quote, 20 * EUR).acceptance;
        let spent = purse.sign(VoucherAcceptance { accepted_at: world.now, ..agreed });
        step(&mut world, 2);
        assert!(is_power_on(&world.pay("s1", &spent)), "{place} {comes_at:?}");
        step(&mut world, 3);
        let consumption = hour_of(world.now, 20_000);
        world.wait(HOUR);
        world.consumed("s1", consumption);
        let [line] = world.bill_lines(edp()).try_into().unwrap();
        (line.retail_version, line.retail.total.incl_vat)
    }
    for place in [AT_GLP, AT_EDP] {
        let (version, cheap) = billed(place, None);
        assert_eq!(version, 1);
        let (version, dear) = billed(place, Some(0));
        assert!(version == 2 && dear > cheap, "{place}: {dear}");
        for step in 1..=3 {
            assert_eq!(billed(place, Some(step)), (1, cheap), "{place}: new rules at step {step}");
        }
    }
}

#[test]
fn vouchers_and_cards_are_on_one_bill() {
    let mut world = World::new();
    let (a, b) = (world.withdraw(ANA, "a"), world.withdraw(ANA, "b"));
    world.charge("s1", AT_GLP, ANA, 20_000);
    world.charge_unknown("s2", AT_GLP, &a, 20_000);
    world.charge_unknown("s3", AT_IBE, &b, 20_000);
    let lines = world.bill_lines(edp());
    let of: Vec<_> = lines.iter().map(|l| (l.contract, l.operator, l.cdr.as_str())).collect();
    assert_eq!(
        of,
        [(contract(ANA), glp(), "s1"), (contract(ANA), glp(), "s2"), (contract(ANA), ibe(), "s3")]
    );
}
