//! A charge from the request to the bill, with its messages lost, repeated, delayed and forged.

use super::world::*;
use crate::billing::Charge;
use crate::gateway::{Effect, Gateway, GatewayError};
use crate::ports::Store as _;
use crate::sessions::{Pending, Phase, SessionEffect, resume};
use crate::testing::MemoryStore;
use crate::{account, authorize};
use eroam_domain::cdr::{Cdr, Payer};
use eroam_domain::charge::{
    AuthorizationRef, PartnerMessage, ReportedCustomer, SessionReport, payer_commitment,
};
use eroam_domain::codec::{Digest, SignatureBytes, from_bytes};
use eroam_domain::ids::ContractId;
use eroam_domain::money::Price;
use eroam_domain::pricing::LineRule;
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::{PeriodKind, SettlementPeriod};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::port::Receipt;
use eroam_ledger::query;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::{Account, StateError, StateKey, StateView};
use eroam_ledger::tx::{BATCH_MAX, ENVELOPE_BYTES_MAX, SignedEnvelope, Tx};

use std::borrow::Cow;

const PATIENCE: DurationMs = DurationMs::from_millis(HOUR);

fn march() -> SettlementPeriod {
    SettlementPeriod::containing(PeriodKind::Month, start())
}

#[test]
fn a_roaming_charge_goes_from_the_request_to_one_bill_line_and_one_debt() {
    let mut world = World::new();
    let quote = quoted(&world.swipe("s1", AT_GLP, ANA));
    assert_eq!(world.ledger.blocks.len(), 0);
    assert!(is_power_on(&world.accept("s1")));
    assert_eq!((world.ledger.reserved(), world.ledger.recorded()), (1, 0));
    let consumption = hour_of(world.now, 20_000);
    world.wait(HOUR);
    world.consumed("s1", consumption);

    let kinds: Vec<_> = world.letters.iter().map(Letter::kind).collect();
    assert_eq!(kinds, ["authorize", "authorized", "reports", "reports_received"]);
    let [(reservation, _), (record, _)] = world.ledger.blocks.as_slice() else { panic!("two envelopes") };
    assert!(matches!(reservation.envelope().tx, Tx::Settlement(SettlementTx::ReserveCredit(_))));
    assert!(matches!(record.envelope().tx, Tx::Cdr(CdrTx::RecordCdrs(_))));

    // Wholesale: (8 + 1) x 0.95 = 8.55, with VAT 10.5165. Retail: x 1.05 + 0.20 = 9.1775, with VAT 11.288.
    let wholesale = Price { excl_vat: 8_550_000, incl_vat: 10_520_000 };
    let retail = Price { excl_vat: 9_180_000, incl_vat: 11_290_000 };
    assert_eq!((quote.wholesale, quote.retail), (wholesale, Some(retail)), "it went as it was expected to");
    let [bill] = world.bill_lines(edp()).try_into().unwrap();
    assert_eq!((bill.contract, bill.operator, bill.evse), (contract(ANA), glp(), AT_GLP.parse().unwrap()));
    assert_eq!((bill.place.as_str(), bill.energy, bill.tier), ("place PT-N", wh(20_000), Tier::Standard));
    assert_eq!((bill.wholesale, bill.retail.total), (Some(wholesale), retail));
    let rules: Vec<_> = bill.retail.lines.iter().map(|l| l.rule).collect();
    assert_eq!(
        rules,
        [LineRule::Wholesale, LineRule::Margin { bps: 500 }, LineRule::RoamingFee, LineRule::Rounding]
    );
    let [line] = world.wholesale_lines(glp()).try_into().unwrap();
    assert_eq!((line.emsp, line.period, line.price), (edp(), march(), wholesale));
    assert_eq!(line.due, 10_520_000, "within a country the VAT is owed too");

    let booked = query::cdr(&world.ledger, glp(), &account::cdr_id(&id("s1"))).unwrap().unwrap();
    assert_eq!((booked.digest, booked.amount, booked.emsp), (line.digest, line.due, edp()));
    let owed = query::balance(&world.ledger, Account::Payable(march(), edp(), glp(), eur())).unwrap();
    assert_eq!(owed, -line.due);
    assert!(world.session("s1").is_settled());
    for party in [edp(), glp(), ibe()] {
        assert_eq!(world.store(party).unsettled_sessions().unwrap(), []);
        assert_eq!(world.store(party).unbilled_charges().unwrap(), []);
    }
}

#[test]
fn between_countries_the_amount_without_vat_is_owed() {
    let mut world = World::new();
    world.charge("s1", AT_GLP, EVA, 20_000);
    let [line] = world.wholesale_lines(glp()).try_into().unwrap();
    assert_eq!((line.emsp, line.due), (ibe(), 8_550_000));
}

#[test]
fn power_waits_for_the_ledger() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    world.ledger_reachable = false;
    assert_eq!(world.accept("s1"), []);
    assert_eq!(world.accept("s1"), [], "pressing again does not help");
    let later_on = later(world.now, HOUR + 1);
    assert_eq!(world.session("s1").pending(later_on, PATIENCE), Some(Pending::LedgerSilent));
    world.ledger_reachable = true;
    assert!(is_power_on(&world.tick(glp())));
    assert_eq!(world.ledger.reserved(), 1);
}

#[test]
fn the_ledger_sees_no_driver_contract_or_plain_evse() {
    let mut world = World::new();
    world.charge("s1", AT_GLP, ANA, 10_000);
    let bytes: Vec<u8> = world.ledger.blocks.iter().flat_map(|(e, _)| e.bytes().to_vec()).collect();
    let has = |text: &str| bytes.windows(text.len()).any(|w| w == text.as_bytes());
    for secret in [&uid(ANA), "C00000001", "E0001", "E00011", "place"] {
        assert!(!has(secret), "{secret}");
    }
    assert!(has("PT-N"), "the grid zone is all there is of the place");
}

#[test]
fn every_message_twice_changes_nothing() {
    let mut plain = World::new();
    let mut repeated = World::new();
    repeated.fate = Box::new(|_| Fate::Repeat);
    for world in [&mut plain, &mut repeated] {
        world.charge("s1", AT_GLP, ANA, 20_000);
        world.charge("s2", AT_IBE, ANA, 10_000);
        world.charge("s3", AT_GLP, EVA, 10_000);
    }
    assert_eq!(repeated.stores(), plain.stores());
    assert_eq!(repeated.ledger.recorded(), 3);
}

#[test]
fn everything_said_again_afterwards_changes_nothing() {
    let mut world = World::new();
    world.charge("s1", AT_GLP, ANA, 20_000);
    let (before, blocks) = (world.stores(), world.ledger.blocks.len());
    for letter in world.letters.clone() {
        world.post_letter(letter);
        world.drive();
        assert_eq!(world.stores(), before);
    }
    world.replay_blocks();
    assert_eq!(world.swipe("s1", AT_GLP, ANA), [], "the request");
    assert_eq!(world.accept("s1"), []);
    assert_eq!(world.refuse("s1"), []);
    assert_eq!(world.consumed("s1", hour_of(start(), 1)), []);
    for party in [edp(), glp(), ibe()] {
        world.resume(party);
        assert_eq!(world.tick(party), []);
    }
    assert_eq!(world.stores(), before);
    assert_eq!(world.ledger.blocks.len(), blocks);
    assert_eq!(world.bill_lines(edp()).len(), 1);
}

#[test]
fn a_receipt_counts_once_and_only_for_what_was_sent() {
    let mut world = World::new();
    world.charge("s1", AT_GLP, ANA, 20_000);
    let before = world.stores();
    for (envelope, receipt) in world.ledger.blocks.clone() {
        for party in [glp(), edp()] {
            let answer = world.call(party, |gateway, ledger| gateway.receipt(ledger, &envelope, &receipt));
            assert!(matches!(answer, Err(GatewayError::ForeignReceipt)), "{answer:?}");
        }
    }
    assert_eq!(world.stores(), before);
}

#[test]
fn a_lost_report_is_seen_on_both_sides_and_sent_again() {
    let mut world = World::new();
    world.fate = Box::new(|letter| if letter.kind() == "reports" { Fate::Lose } else { Fate::Deliver });
    world.charge("s1", AT_GLP, ANA, 20_000);
    assert_eq!(world.bill_lines(edp()).len(), 0);
    let [(operator, _, charge)] = world.store(edp()).unbilled_charges().unwrap().try_into().unwrap();
    assert_eq!(operator, glp());
    assert!(matches!(charge, Charge::Booked(_)), "{charge:?}");
    assert!(charge.missing().unwrap().contains("not reported"));
    let session = world.session("s1");
    let overdue = later(world.now, HOUR + 1);
    assert_eq!(session.pending(overdue, PATIENCE), Some(Pending::ReportUnconfirmed));
    assert_eq!(resume(&session), [SessionEffect::Report]);

    world.fate = Box::new(|_| Fate::Deliver);
    world.resume(glp());
    world.drive();
    assert_eq!(world.bill_lines(edp()).len(), 1);
    assert!(world.session("s1").is_settled());
    assert_eq!(world.ledger.recorded(), 1);
}

#[test]
fn a_lost_confirmation_costs_one_more_report_and_no_second_bill_line() {
    let mut world = World::new();
    world.fate =
        Box::new(|letter| if letter.kind() == "reports_received" { Fate::Lose } else { Fate::Deliver });
    world.charge("s1", AT_GLP, ANA, 20_000);
    let billed = world.bill_lines(edp());
    assert_eq!(billed.len(), 1);
    assert!(!world.session("s1").is_settled());
    world.fate = Box::new(|_| Fate::Deliver);
    world.resume(glp());
    world.drive();
    assert_eq!(world.bill_lines(edp()), billed);
    assert!(world.session("s1").is_settled());
    assert_eq!(world.posted("reports"), 2);
}

#[test]
fn a_confirmation_counts_from_the_home_utility_alone_and_unknown_ones_hide_no_others() {
    let mut world = World::new();
    world.fate =
        Box::new(|letter| if letter.kind() == "reports_received" { Fate::Lose } else { Fate::Deliver });
    world.charge("s1", AT_GLP, ANA, 20_000);
    world.fate = Box::new(|_| Fate::Deliver);
    let message = PartnerMessage::ReportsReceived(vec![id("unknown"), id("s1")]);
    let bytes = serde_json::to_vec(&message).unwrap();
    for (from, settled) in [(ibe(), false), (edp(), true)] {
        world.post_letter(Letter { from, to: glp(), bytes: bytes.clone() });
        world.drive();
        assert_eq!(world.session("s1").is_settled(), settled, "{from}");
    }
}

#[test]
fn letters_that_come_late_and_in_the_wrong_order_lead_to_the_same_bills() {
    let mut plain = World::new();
    let mut delayed = World::new();
    delayed.fate = Box::new(|letter| match letter.kind() {
        "reports" | "recall" => Fate::Delay,
        _ => Fate::Deliver,
    });
    for world in [&mut plain, &mut delayed] {
        for session in ["s1", "s2", "s3"] {
            world.charge(session, AT_GLP, ANA, 20_000);
        }
    }
    assert_eq!(delayed.bill_lines(edp()).len(), 0);
    delayed.fate = Box::new(|_| Fate::Deliver);
    delayed.release();
    assert_eq!(delayed.stores(), plain.stores());
}

#[test]
fn an_own_customer_at_an_own_station_is_billed_without_the_ledger() {
    let mut world = World::new();
    let quote = world.charge("s1", AT_EDP, ANA, 20_000);
    assert_eq!((world.letters.len(), world.ledger.blocks.len()), (0, 0));
    let [line] = world.bill_lines(edp()).try_into().unwrap();
    assert_eq!((line.operator, line.wholesale, Some(line.retail.total)), (edp(), None, quote.retail));
    assert!(!line.retail.lines.iter().any(|l| l.rule == LineRule::RoamingFee));
    assert!(world.wholesale_lines(edp()).is_empty());
    assert!(world.session("s1").is_settled());
    let before = world.stores();
    world.consumed("s1", hour_of(start(), 1));
    world.resume(edp());
    assert_eq!(world.stores(), before);
}

// What a home utility makes of reports that are not what they should be.

/// A home utility that has seen nothing yet, and a true report with its booking to tamper with.
struct Inspection {
    world: World,
    home: Gateway<MemoryStore>,
    report: SessionReport,
}

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

impl Inspection {
    fn new() -> Self {
        let mut world = World::new();
        world.charge("s1", AT_GLP, ANA, 20_000);
        let letter = world.letters.iter().find(|l| l.kind() == "reports").unwrap();
        let PartnerMessage::Reports(reports) = letter.message() else { panic!("reports") };
        let [report] = reports.try_into().unwrap();
        Self { world, home: gateway(edp(), MemoryStore::default()), report }
    }

    /// The home utility sees on the ledger that GLP has booked `cdr`.
    fn book(&mut self, cdr: &Cdr) {
        self.see(cdr, ItemOutcome::Accepted { booked_in: Some(march()) });
    }

    fn see(&mut self, cdr: &Cdr, outcome: ItemOutcome) {
        let records = Tx::Cdr(CdrTx::RecordCdrs(vec![cdr.clone()]));
        let envelope = gateway(glp(), MemoryStore::default()).sign(Digest::ZERO, 0, 0, start(), records);
        let items = vec![Item { hash: cdr.digest(), outcome }];
        let receipt = Receipt { envelope: envelope.digest(), height: Some(1), items };
        self.home.observe(&self.world.ledger, envelope.envelope(), &receipt, start()).unwrap();
    }

    /// The operator reports, and the ledger shows no record yet; the home utility confirms whatever it thinks of it.
    #[track_caller]
    fn report(&mut self, report: &SessionReport) {
        let message = PartnerMessage::Reports(vec![report.clone()]);
        let effects = self.home.receive(&Unbooked(&self.world.ledger), glp(), message, start()).unwrap();
        let message = PartnerMessage::ReportsReceived(vec![report.session.clone()]);
        assert_eq!(effects, [Effect::Send { to: glp(), message }]);
    }

    fn charge(&mut self) -> Charge {
        let cdr = self.report.cdr.id.clone();
        self.home.store_mut().charge(glp(), &cdr).unwrap().unwrap()
    }

    /// Booked and reported, whichever comes first, it ends in a dispute and on no bill.
    #[track_caller]
    fn disputed(spoil: impl Fn(&mut SessionReport), why: &str) {
        for reported_first in [false, true] {
            let mut case = Self::new();
            let mut spoilt = case.report.clone();
            spoil(&mut spoilt);
            if reported_first {
                case.report(&spoilt);
                case.book(&spoilt.cdr);
            } else {
                case.book(&spoilt.cdr);
                case.report(&spoilt);
            }
            match case.charge() {
                Charge::Disputed { why: found } => assert!(found.contains(why), "{found}"),
                other => panic!("{other:?}"),
            }
            assert_eq!(case.home.store_mut().unbilled_charges().unwrap().len(), 1, "it stays in sight");
            // The true report afterwards does not paper over it.
            let honest = case.report.clone();
            case.report(&honest);
            assert!(matches!(case.charge(), Charge::Disputed { .. }));
        }
    }
}

#[test]
fn report_and_booking_make_a_bill_line_whichever_comes_first() {
    let mut lines = Vec::new();
    for reported_first in [false, true] {
        let mut case = Inspection::new();
        let report = case.report.clone();
        if reported_first {
            case.report(&report);
            assert!(matches!(case.charge(), Charge::Reported(_)));
            assert!(case.charge().missing().unwrap().contains("not booked"));
            case.book(&report.cdr);
        } else {
            case.book(&report.cdr);
            assert!(matches!(case.charge(), Charge::Booked(_)));
            case.report(&report);
        }
        let Charge::Billed(line) = case.charge() else { panic!("{:?}", case.charge()) };
        lines.push(line);
    }
    assert_eq!(lines[0], lines[1]);
    assert_eq!(vec![*lines[0].clone()], Inspection::new().world.bill_lines(edp()));
}

#[test]
fn a_report_is_billed_though_the_notice_of_its_booking_was_lost() {
    let mut case = Inspection::new();
    let message = PartnerMessage::Reports(vec![case.report.clone()]);
    case.home.receive(&case.world.ledger, glp(), message, start()).unwrap();
    assert!(matches!(case.charge(), Charge::Billed(_)));
    // A report of something else than what stands on the ledger is not.
    let mut case = Inspection::new();
    let mut other = case.report.clone();
    other.cdr.accepted_at = later(other.cdr.accepted_at, 1);
    case.home.receive(&case.world.ledger, glp(), PartnerMessage::Reports(vec![other]), start()).unwrap();
    assert!(matches!(case.charge(), Charge::Disputed { .. }));
}

#[test]
fn a_refused_record_and_one_that_another_owes_are_no_booking() {
    let mut case = Inspection::new();
    let cdr = case.report.cdr.clone();
    case.see(&cdr, ItemOutcome::Rejected(RejectCode::DuplicateRecord));
    assert_eq!(case.home.store_mut().charges.len(), 0);
    let mut other = Inspection::new();
    other.home = gateway(ibe(), MemoryStore::default());
    other.book(&cdr);
    assert_eq!(other.home.store_mut().charges.len(), 0);
}

/// What a report says of a customer with a card.
fn of_card(report: &mut SessionReport) -> (&mut AuthorizationRef, &mut ContractId, &mut Digest) {
    match &mut report.customer {
        ReportedCustomer::Contract { authorization, contract, salt } => (authorization, contract, salt),
        ReportedCustomer::Voucher { .. } => panic!("a voucher"),
    }
}

#[test]
fn a_forged_authorization_is_disputed() {
    Inspection::disputed(
        |report| *of_card(report).0 = "01000001aaaaaaaaaaaaaaaaaaaaaaaaaaaa".parse().unwrap(),
        "never given",
    );
    // One that was given, but to another operator.
    Inspection::disputed(
        |report| {
            let given = authorize::Promise {
                tier: Tier::Standard,
                payment: PaymentOption::Postpaid,
                retail_version: 1,
            };
            let (authorization, contract, _) = of_card(report);
            *authorization = authorize::reference(&salt(edp()), ibe(), contract, given).unwrap();
        },
        "never given",
    );
}

#[test]
fn a_report_for_another_customer_than_the_record_was_booked_for_is_disputed() {
    Inspection::disputed(
        |report| {
            // The other customer has visited this operator, too.
            let given =
                authorize::Promise { tier: Tier::Gold, payment: PaymentOption::Postpaid, retail_version: 1 };
            let (authorization, customer, _) = of_card(report);
            *customer = contract(GIL);
            *authorization = authorize::reference(&salt(edp()), glp(), customer, given).unwrap();
        },
        "another customer",
    );
    Inspection::disputed(|report| *of_card(report).2 = Digest::ZERO, "another customer");
    Inspection::disputed(
        |report| {
            let commitment = payer_commitment(of_card(report).2, &contract(GIL));
            report.cdr.payer = Payer::Contract { commitment };
        },
        "another customer",
    );
}

#[test]
fn an_acceptance_that_nobody_signed_is_disputed() {
    let why = "nobody signed";
    Inspection::disputed(|r| r.cdr.acceptance = SignatureBytes([0; 64]), why);
    Inspection::disputed(|r| r.cdr.accepted_at = later(r.cdr.accepted_at, 1), why);
    Inspection::disputed(|r| r.cdr.quote = Digest::ZERO, why);
}

#[test]
fn retail_rules_that_were_never_made_are_disputed() {
    Inspection::disputed(
        |report| {
            let given = authorize::Promise {
                tier: Tier::Standard,
                payment: PaymentOption::Postpaid,
                retail_version: 7,
            };
            let (authorization, contract, _) = of_card(report);
            *authorization = authorize::reference(&salt(edp()), glp(), contract, given).unwrap();
        },
        "retail rules",
    );
}

#[test]
fn a_report_that_differs_from_the_booking_is_disputed() {
    for reported_first in [false, true] {
        let mut case = Inspection::new();
        let booked = case.report.cdr.clone();
        let mut report = case.report.clone();
        report.cdr.price.incl_vat -= 1;
        if reported_first {
            case.report(&report);
            case.book(&booked);
        } else {
            case.book(&booked);
            case.report(&report);
        }
        let charge = case.charge();
        assert!(charge.missing().unwrap().contains("not what the ledger booked"), "{charge:?}");
    }
}

// What an operator makes of the ledger's answers.

#[test]
fn a_record_that_the_ledger_refuses_is_a_dispute_in_sight_and_sinks_no_other() {
    let mut world = World::new();
    // Two sessions at one EVSE at the same time, and one after them.
    for (session, driver) in [("s1", ANA), ("s2", GIL), ("s3", ANA)] {
        quoted(&world.swipe(session, AT_GLP, driver));
        assert!(is_power_on(&world.accept(session)));
    }
    let (first, second) = (hour_of(world.now, 20_000), hour_of(later(world.now, HOUR), 20_000));
    world.wait(2 * HOUR);
    world.ledger_reachable = false;
    for (session, consumption) in [("s1", first.clone()), ("s2", first), ("s3", second)] {
        world.consumed(session, consumption);
    }
    world.ledger_reachable = true;
    let blocks = world.ledger.blocks.len();
    world.drive();
    assert_eq!(world.ledger.blocks.len(), blocks + 1, "one batch");
    assert_eq!(world.posted("reports"), 1, "one message");
    assert_eq!(world.bill_lines(edp()).len(), 2);
    let refused = world.session("s2");
    assert!(matches!(&refused.phase, Phase::Disputed { code, .. } if code.contains("occupied")));
    assert!(matches!(refused.pending(world.now, PATIENCE), Some(Pending::RecordRefused(_))));
    let unsettled = world.store(glp()).unsettled_sessions().unwrap();
    assert_eq!(unsettled, [refused]);
    world.resume(glp());
    world.drive();
    assert_eq!(world.ledger.blocks.len(), blocks + 1, "it is not sent again by itself");
}

#[test]
fn energy_after_a_denial_stays_in_sight_and_is_recorded_nowhere() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    world.refuse("s1");
    world.consumed("s1", hour_of(world.now, 20_000));
    let unsettled = world.store(glp()).unsettled_sessions().unwrap();
    assert_eq!(unsettled, [world.session("s1")]);
    assert_eq!(unsettled[0].pending(world.now, PATIENCE), Some(Pending::EnergyWithoutAuthorization));
    assert_eq!((world.ledger.recorded(), world.bill_lines(edp()).len()), (0, 0));
}

/// What the operator would send to the ledger now.
fn outbox(world: &mut World) -> Vec<SignedEnvelope> {
    let (now, mut envelopes) = (world.now, Vec::new());
    world
        .call(glp(), |gateway, ledger| {
            envelopes = gateway.envelopes(ledger, ledger.network, now)?;
            Ok(Vec::new())
        })
        .unwrap();
    envelopes
}

#[test]
fn an_envelope_that_did_not_count_leaves_its_record_pending_and_it_is_sent_again() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    assert!(is_power_on(&world.accept("s1")));
    let consumption = hour_of(world.now, 20_000);
    world.wait(HOUR);
    world.ledger_reachable = false;
    world.consumed("s1", consumption);
    let [envelope] = outbox(&mut world).try_into().unwrap();
    // It arrives after it has expired.
    world.wait(2 * HOUR);
    let receipt = world.ledger.submit(world.now, &envelope);
    assert_eq!(receipt.items[0].outcome, ItemOutcome::Rejected(RejectCode::Expired));
    world.call(glp(), |gateway, ledger| gateway.receipt(ledger, &envelope, &receipt)).unwrap();
    let session = world.session("s1");
    assert!(matches!(session.phase, Phase::Recording { .. }), "{:?}", session.phase);
    assert_eq!(session.pending(world.now, PATIENCE), Some(Pending::LedgerSilent));
    world.ledger_reachable = true;
    world.resume(glp());
    world.drive();
    assert_eq!((world.ledger.recorded(), world.bill_lines(edp()).len()), (1, 1));
}

#[test]
fn a_record_from_a_fast_clock_is_sent_again() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    assert!(is_power_on(&world.accept("s1")));
    // By the ledger's clock the session ends an hour from now.
    world.consumed("s1", hour_of(world.now, 20_000));
    assert_eq!(world.ledger.recorded(), 0);
    world.wait(HOUR);
    world.resume(glp());
    world.drive();
    assert_eq!((world.ledger.recorded(), world.bill_lines(edp()).len()), (1, 1));
}

#[test]
fn a_record_that_could_not_be_made_is_made_when_the_cause_is_gone() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    assert!(is_power_on(&world.accept("s1")));
    let consumption = hour_of(world.now, 20_000);
    world.wait(HOUR);
    // The operator starts again without the station in its configuration.
    let store = world.store(glp()).clone();
    let mut bare = Gateway::new(
        glp(),
        "name",
        crate::gateway::Secrets { signing: key_of(glp()), key: 0, salt: salt(glp()), voucher: None },
        world.org(glp()).policy(),
        store,
        Box::new(crate::ports::SeededEntropy(salt(glp()))),
    );
    let effects = bare.consumed(&world.ledger, &id("s1"), consumption).unwrap();
    assert_eq!(effects, []);
    let session = bare.session(&id("s1")).unwrap().unwrap();
    assert_eq!(session.pending(world.now, PATIENCE), Some(Pending::Unpriced));
    // With it, resuming is enough, and the answer of the ledger finds the session.
    let fixed = bare.store_mut().clone();
    *world.store(glp()) = fixed;
    world.resume(glp());
    world.drive();
    assert_eq!((world.ledger.blocks.len(), world.ledger.recorded()), (2, 1), "one envelope is enough");
    assert_eq!(world.bill_lines(edp()).len(), 1);
    assert!(world.session("s1").is_settled());
}

#[test]
fn a_batch_fits_into_an_envelope_however_long_its_records_are() {
    let mut world = World::new();
    quoted(&world.swipe("s1", AT_GLP, ANA));
    world.accept("s1");
    world.ledger_reachable = false;
    let consumption = hour_of(world.now, 20_000);
    world.wait(HOUR);
    world.consumed("s1", consumption);
    outbox(&mut world);
    let session = world.session("s1");
    let Phase::Recording { grant, cdr, opening } = session.phase.clone() else { panic!("recording") };
    let long = Cdr { periods: vec![cdr.periods[0]; eroam_domain::cdr::PERIODS_MAX], ..cdr.clone() };
    for number in 0..2 * BATCH_MAX {
        let name = format!("many{number}");
        let record = if number < BATCH_MAX { &long } else { &cdr };
        let cdr = Cdr { id: account::cdr_id(&id(&name)), ..record.clone() };
        let phase = Phase::Recording { grant: grant.clone(), cdr, opening: opening.clone() };
        let session = crate::sessions::Session { id: id(&name), phase, ..session.clone() };
        world.store(glp()).put_session(&session).unwrap();
    }
    world.resume(glp());
    let envelopes = outbox(&mut world);
    let mut records = 0;
    for (place, envelope) in envelopes.iter().enumerate() {
        assert!(envelope.bytes().len() <= ENVELOPE_BYTES_MAX);
        let Tx::Cdr(CdrTx::RecordCdrs(items)) = &envelope.envelope().tx else { panic!("records") };
        assert!((1..=BATCH_MAX).contains(&items.len()));
        records += items.len();
        assert_eq!(envelope.envelope().sequence, envelopes[0].envelope().sequence + place as u64);
    }
    assert_eq!(records, 2 * BATCH_MAX + 1);
}
