//! A charge by wallet is contested: both sides' evidence goes where it belongs, is checked there, and the resolver decides.

use crate::accounting::{bill_lines, booked, session_of};
use crate::town::{SEED, Town};
use eroam::charging::contest_desk::{ContestDesk, ListedContest};
use eroam::charging::dispute::{self, Stands, Verdict};
use eroam::charging::evidence::is_sampled;
use eroam::charging::operator::Operator;
use eroam::charging::post::Mishap;
use eroam::charging::state::AgentState;
use eroam::clock::now;
use eroam::resolution::{ResolutionError, resolve};
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::PartnerMessage;
use eroam_domain::codec::{Digest, HexBytes, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::WattHours;
use eroam_domain::visit::Accounting;
use eroam_gateway::anomalies::{CaseState, RecordName, SecondMeter, SecondMeterKind};
use eroam_gateway::charge_evidence::{ChargeEvidence, ChargeEvidenceFault};
use eroam_gateway::gateway::{ContestReason, ContestRefused, SecondMeterResult};
use eroam_gateway::ports::Store as _;
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use std::num::NonZeroU8;

/// A town whose provider has contested the record of a charge, since a second meter counted nothing.
struct Contested {
    town: Town,
    desk: ContestDesk,
    name: RecordName,
}

impl Contested {
    fn new() -> Self {
        let mut town = Town::new(1, 1);
        town.charge(0, 0).unwrap();
        let session = session_of(town.outcome(0));
        assert_eq!(town.settled(), (1, 1));
        let operator = town.world.operators()[0].clone();
        let (cdr, ..) = booked(&operator, &session);
        let name = RecordName { operator: operator.party(), cdr: cdr.id };
        let desk = ContestDesk::open(operator, AgentState::in_memory()).unwrap();
        assert_eq!(desk.contests().unwrap(), [], "nobody has contested anything");

        let counted = SecondMeter { kind: SecondMeterKind::Attested, energy: WattHours::ZERO };
        let mut result = None;
        let provider = town.world.providers()[0].office();
        provider
            .act(|gateway, ledger| {
                result = Some(gateway.second_meter_read(ledger, &name, counted)?);
                Ok(Vec::new())
            })
            .unwrap();
        assert_eq!(result, Some(SecondMeterResult::Above { case: CaseState::Waiting }));
        provider.flush().unwrap();
        Self { town, desk, name }
    }

    fn operator(&self) -> &Operator {
        &self.town.world.operators()[0]
    }

    fn emsp(&self) -> PartyId {
        self.town.world.providers()[0].office().party()
    }

    fn resolver(&self) -> PartyId {
        self.town.world.resolver().party()
    }

    /// The only contest that the operator's staff sees.
    fn listed(&self) -> ListedContest {
        let mut listed = self.desk.contests().unwrap();
        assert_eq!(listed.len(), 1, "{listed:?}");
        listed.remove(0)
    }

    fn decide(&self, member: PartyId, give_back: i64) -> Result<(), ResolutionError> {
        let port = self.town.world.resolver().client().clone();
        resolve(port, (member, &SEED.signing_key(member)), &self.name, give_back, now())
    }
}

#[test]
fn a_contested_charge_is_checked_again_by_all_three_and_decided() {
    let contested = Contested::new();
    let (name, emsp, resolver) = (&contested.name, contested.emsp(), contested.resolver());
    // The operator heard of it by letter, checked everything again, and sent what the record rests on.
    let listed = contested.listed();
    assert!(
        matches!(&listed.verdict, Verdict::Holds { rechecked } if rechecked.shown.emsp == emsp),
        "{listed:?}"
    );
    assert!(listed.reasons[0].contains("a second meter counted 0"), "{:?}", listed.reasons);
    assert!(matches!(listed.ledger.stands, Stands::Contested { .. }), "{listed:?}");
    assert_eq!((listed.ledger.emsp, listed.ledger.resolver), (emsp, resolver));
    // Both confirmed it meanwhile.
    let with: Vec<PartyId> = contested.listed().evidence_with.into_iter().collect();
    assert_eq!(with, [emsp, resolver]);

    // The home utility and the resolver have it, with the reason of the contest, and check it with the ledger alone.
    let world = &contested.town.world;
    let found = dispute::found(world.providers()[0].office(), now()).unwrap();
    assert_eq!(
        (&found[0].name, &found[0].case, &found[0].reasons),
        (name, &CaseState::Contested, &listed.reasons)
    );
    assert_eq!(found[0].verdict.as_ref(), Some(&listed.verdict));
    let here = dispute::evidence(world.resolver(), name, now()).unwrap();
    assert_eq!((&here.reasons, &here.verdict), (&listed.reasons, &listed.verdict));
    let charge = here.charge.unwrap();
    assert_eq!(charge, contested.desk.evidence(&name.cdr).unwrap());
    let text = String::from_utf8(charge.to_bytes().unwrap()).unwrap();
    let driver = world.drivers[0].contract;
    assert!(!text.contains(&driver.to_string()) && !text.contains("Driver 1"), "it names the driver");
    // Whoever has no part in it has nothing.
    let other = world.operators()[1].office();
    assert!(other.with(|gateway, _| gateway.charge_evidence(name)).unwrap().is_none());

    // Only the resolver decides, and gives back no more than was booked.
    let booked = listed.ledger.booked.micros;
    let refused = contested.decide(emsp, 1).unwrap_err();
    assert!(matches!(refused, ResolutionError::NotResolver { .. }), "{refused}");
    let refused = contested.decide(resolver, booked + 1).unwrap_err();
    assert!(
        matches!(refused, ResolutionError::Refused { code: RejectCode::AdjustmentAmount, .. }),
        "{refused}"
    );
    contested.decide(resolver, booked / 2).unwrap();
    let again = contested.decide(resolver, 1).unwrap_err();
    assert!(matches!(again, ResolutionError::Refused { code: RejectCode::NotResolvable, .. }), "{again}");
    let listed = contested.listed();
    assert!(
        matches!(listed.ledger.stands, Stands::GivenBack { amount } if amount.micros == booked / 2),
        "{listed:?}"
    );
    both_bills_follow(&contested, booked / 2);
    let left = query::cdr(world.resolver().client(), name.operator, &name.cdr).unwrap().unwrap().balance();
    assert_eq!(left, Some(booked - booked / 2));
}

/// The operator's invoice and the driver's bill give back the same part, once.
fn both_bills_follow(contested: &Contested, given_back: i64) {
    let Contested { town, name, .. } = contested;
    let invoice = || {
        let mut lines = Vec::new();
        let read = contested.operator().office().with(|gateway, _| {
            gateway.store_mut().each_wholesale(&mut |_, _, line| {
                lines.push(line);
                Ok(())
            })
        });
        read.unwrap();
        lines
    };
    let lines = invoice();
    let [record, credit] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((credit.due, credit.period, credit.is_credit()), (-given_back, record.period, true));
    contested.listed();
    assert_eq!(invoice().len(), 2, "looked at again");

    let office = town.world.providers()[0].office();
    let credited = || {
        let mut credited = Vec::new();
        let looked = office.act(|gateway, ledger| {
            credited = gateway.credit_bills(ledger, now())?;
            Ok(Vec::new())
        });
        looked.unwrap();
        credited
    };
    assert_eq!((credited(), credited()), (vec![name.clone()], vec![]));
    let lines = bill_lines(town);
    let [charge, credit] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((credit.is_credit(), charge.is_credit(), credit.month), (true, false, charge.month));
    let (paid, back) = (charge.retail.total.incl_vat, -credit.retail.total.incl_vat);
    // The same part of it, to the cent.
    let part = paid * given_back / record.due;
    assert!((back - part).abs() <= 10_000 && back > 0, "{back} of {paid}");
    let sum: i64 = credit.retail.lines.iter().map(|line| line.amount.incl_vat).sum();
    assert_eq!(sum, credit.retail.total.incl_vat);
}

#[test]
fn evidence_that_the_ledger_has_no_digest_of_is_refused_and_not_kept() {
    let contested = Contested::new();
    let (name, operator) = (&contested.name, contested.operator().party());
    let world = &contested.town.world;
    let provider = world.providers()[0].office();
    let true_one = contested.desk.evidence(&name.cdr).unwrap();
    let record = query::cdr(provider.client(), operator, &name.cdr).unwrap().unwrap();
    assert_eq!(true_one.check(operator, &record), Ok(()));
    let kept = || provider.with(|gateway, _| gateway.charge_evidence(name)).unwrap();
    let send = |from: PartyId, bytes: Vec<u8>| {
        let message =
            PartnerMessage::ChargeEvidence { cdr: name.cdr.clone(), evidence: HexBytes::new(bytes) };
        provider.act(|gateway, ledger| gateway.receive(ledger, from, message, now())).unwrap();
    };

    type Alter = fn(&mut ChargeEvidence);
    type Expected = fn(&ChargeEvidenceFault) -> bool;
    let cases: [(Alter, Expected); 8] = [
        (
            |e| e.operator = e.spent.voucher.voucher.emsp,
            |f| matches!(f, ChargeEvidenceFault::OtherOperator { .. }),
        ),
        (|e| e.cdr.energy = WattHours::ZERO, |f| matches!(f, ChargeEvidenceFault::OtherRecord { .. })),
        (
            |e| e.sent.session = SessionId::new("another").unwrap(),
            |f| matches!(f, ChargeEvidenceFault::OtherSession { .. }),
        ),
        (|e| e.spent.voucher.voucher.holder.0[0] ^= 1, |f| matches!(f, ChargeEvidenceFault::OtherVoucher)),
        (|e| e.quote.energy = WattHours::ZERO, |f| matches!(f, ChargeEvidenceFault::OtherQuote { .. })),
        (|e| e.spent.acceptance.limit += 1, |f| matches!(f, ChargeEvidenceFault::NotAgreed)),
        (|e| e.spent.signature.0[0] ^= 1, |f| matches!(f, ChargeEvidenceFault::NotAgreed)),
        (|e| e.sent.readings.push('\n'), |f| matches!(f, ChargeEvidenceFault::OtherReadings { .. })),
    ];
    for (turn, (alter, expected)) in cases.iter().enumerate() {
        let mut altered = true_one.clone();
        alter(&mut altered);
        let fault = altered.check(operator, &record).unwrap_err();
        assert!(expected(&fault), "case {turn}: {fault}");
        send(operator, altered.to_bytes().unwrap());
        assert_eq!(kept(), None, "case {turn}");
    }
    send(operator, b"{}".to_vec());
    send(contested.resolver(), true_one.to_bytes().unwrap());
    assert_eq!(kept(), None);
    // The ledger has no digest of the proof. It is kept, and found out when it is checked.
    let mut forged = true_one.clone();
    forged.sent.random = Digest::of(b"another");
    send(operator, forged.to_bytes().unwrap());
    let found = dispute::found(provider, now()).unwrap();
    let why = |verdict: &Option<Verdict>| match verdict {
        Some(Verdict::Fails { why }) => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(why(&found[0].verdict).contains("made for another session"), "{found:?}");
    send(operator, true_one.to_bytes().unwrap());
    let found = dispute::found(provider, now()).unwrap();
    assert!(matches!(found[0].verdict, Some(Verdict::Holds { .. })), "{found:?}");
}

#[test]
fn staff_contests_what_no_rule_finds_once_and_the_record_is_upheld() {
    let mut town = Town::new(1, 1);
    town.charge(0, 0).unwrap();
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let operator = town.world.operators()[0].clone();
    let name = RecordName { operator: operator.party(), cdr: booked(&operator, &session).0.id };
    let provider = town.world.providers()[0].office().clone();
    let contest = |name: &RecordName| {
        let mut result = None;
        let reason = ContestReason::new("the customer says that the cable gave no power").unwrap();
        provider
            .act(|gateway, ledger| {
                result = Some(gateway.contest_by_staff(ledger, name, &reason, now())?);
                Ok(Vec::new())
            })
            .unwrap();
        provider.flush().unwrap();
        result.unwrap()
    };
    let elsewhere = RecordName { operator: town.world.operators()[1].party(), ..name.clone() };
    assert_eq!(contest(&elsewhere), Err(ContestRefused::NotOurs(elsewhere.clone())));
    assert_eq!(contest(&name), Ok(CaseState::Waiting));
    assert_eq!(contest(&name), Err(ContestRefused::TooLate(name.clone())));

    let contested =
        Contested { town, desk: ContestDesk::open(operator, AgentState::in_memory()).unwrap(), name };
    let listed = contested.listed();
    assert_eq!(listed.reasons, ["the customer says that the cable gave no power"]);
    assert!(matches!(listed.verdict, Verdict::Holds { .. }), "{listed:?}");
    // Nothing is given back, so no bill changes.
    contested.decide(contested.resolver(), 0).unwrap();
    assert_eq!(contested.listed().ledger.stands, Stands::Final);
    let mut lines = 0;
    let credited = provider.act(|gateway, ledger| {
        lines = gateway.credit_bills(ledger, now())?.len();
        Ok(Vec::new())
    });
    credited.unwrap();
    assert_eq!((lines, bill_lines(&contested.town).len()), (0, 1));
}

/// What a station that proves nothing says of a charge.
fn forged(operator: &Operator, session: &SessionId, readings: String) -> Accounting {
    let known = operator.office().with(|gateway, _| gateway.session(session)).unwrap().unwrap();
    Accounting {
        session: session.clone(),
        clock: known.clock,
        readings,
        random: Digest::ZERO,
        station_key: "none".to_owned(),
        proof_request: "{}".to_owned(),
        presentation: "{}".to_owned(),
    }
}

#[test]
fn a_sampled_session_with_a_bad_proof_is_a_failed_check_that_staff_sees() {
    let mut town = Town::new(1, 1);
    let operator = town.world.operators()[0].clone();
    let mut failed = Vec::new();
    // First none is in the sample that is checked, then each is.
    for one_in in [None, NonZeroU8::new(1)] {
        let away = operator.clone();
        town.world.stations()[0].mishaps().add(Mishap::Meanwhile(Box::new(move || away.stop())));
        let receipt = town.charge(0, 0).unwrap();
        let session = session_of(town.outcome(0));
        match one_in {
            Some(one_in) => operator.check_one_in(one_in),
            None => {
                let spares = |one_in: &NonZeroU8| !is_sampled(operator.party(), &session, one_in.get());
                operator.check_one_in((2..=u8::MAX).filter_map(NonZeroU8::new).find(spares).unwrap());
            }
        }
        let sent = forged(&operator, &session, receipt.finished.readings);
        operator.accounted(&receipt.station.evse, &sent).unwrap().unwrap();
        failed.push(operator.stations()[0].failed_checks);
        operator.resume().unwrap();
        // What the meter signed is billed all the same, once.
        town.world.stations()[0].station().account_for_all().unwrap();
    }
    assert_eq!(failed, [0, 1]);
    assert_eq!(town.settled(), (2, 2));
}

#[test]
fn the_sample_is_one_session_in_twenty() {
    let operator: PartyId = "PT-O01".parse().unwrap();
    let one_in = eroam::charging::evidence::SAMPLE_ONE_IN.get();
    assert_eq!(one_in, 20);
    let session = |number: u32| ShortText::new(&format!("session-{number}")).unwrap();
    let sampled = (0..20_000).filter(|number| is_sampled(operator, &session(*number), one_in)).count();
    assert!((900..=1_100).contains(&sampled), "{sampled} of 20000");
}
