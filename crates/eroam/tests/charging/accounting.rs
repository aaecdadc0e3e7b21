//! What is charged, what is signed, what is billed, and what happens when something goes wrong in between.

use crate::town::{Town, charge, charge_if, denied, refusal};
use eroam::charging::evidence::{Agreed, EvidenceError, recheck};
use eroam::charging::operator::Operator;
use eroam::charging::post::Mishap;
use eroam::charging::station::{LIST_AGE, Outcome};
use eroam::clock::now;
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{Cdr, SessionId, session_digest};
use eroam_domain::charge::Quote;
use eroam_domain::codec::Digest;
use eroam_domain::money::Price;
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::DurationMs;
use eroam_domain::retail::{self, RetailInputs, Tier};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::{Accounting, EndReason, StationClaims};
use eroam_domain::voucher::{SpentVoucher, proof_nonce};
use eroam_gateway::billing::BillLine;
use eroam_gateway::ports::Store as _;
use eroam_gateway::sessions::{PayerOpening, Phase};
use eroam_ledger::state::StateKey;
use eroam_ssi::anoncreds::{
    Freshness, FreshnessPolicy, Nonce, ObjectId, Presentation, ProofRequest, verifier,
};
use eroam_ssi::did::VerificationKey;
use eroam_ssi::protocol::charging::{CONTRACT, attributes};
use eroam_station::metering;
use eroam_wire::ocmf::MeteredSession;

pub(crate) fn session_of(outcome: Outcome) -> SessionId {
    match outcome {
        Outcome::Charged { session, .. } => session,
        other => panic!("{other:?}"),
    }
}

/// What an operator booked for a session, and with what it was paid.
pub(crate) fn booked(operator: &Operator, id: &SessionId) -> (Cdr, SpentVoucher, Quote) {
    let session = operator.office().with(|gateway, _| gateway.session(id)).unwrap().expect("a session");
    let Phase::Recorded { cdr, opening: PayerOpening::Voucher { spent, quote }, .. } = session.phase else {
        panic!("{:?}", session.phase);
    };
    (cdr, *spent, *quote)
}

pub(crate) fn evidence(operator: &Operator, id: &SessionId) -> Accounting {
    let bytes = operator.office().with(|gateway, _| gateway.evidence(id)).unwrap();
    serde_json::from_slice(&bytes.expect("what the station sent")).unwrap()
}

pub(crate) fn bill_lines(town: &Town) -> Vec<BillLine> {
    let mut lines = Vec::new();
    let office = town.world.providers()[0].office();
    let read = office.with(|gateway, _| {
        gateway.store_mut().each_bill_line(&mut |line| {
            lines.push(line);
            Ok(())
        })
    });
    read.unwrap();
    lines
}

fn metered(station: &StationClaims, readings: &str) -> MeteredSession {
    MeteredSession::read(readings, &station.meter_key.parse().unwrap()).unwrap()
}

#[test]
fn a_driver_whom_the_operator_does_not_know_is_billed_what_the_meter_signed_by_the_published_rules() {
    let mut town = Town::new(2, 1);
    // The second driver has another tier than the first.
    let receipt = town.charge(1, 0).unwrap();
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    assert!(receipt.finished.energy.milli_wh() > 4_000_000, "{:?}", receipt.finished.energy);

    let operator = &town.world.operators()[0];
    let (cdr, spent, _) = booked(operator, &session);
    assert_eq!(spent, receipt.spent);
    let metered = metered(&receipt.station, &receipt.finished.readings);
    let periods = metering::periods(&metered);
    assert_eq!((cdr.energy, &cdr.periods), (metered.energy(), &periods));
    assert_eq!(cdr.energy, receipt.finished.energy);
    assert_eq!(cdr.readings, metering::digest(&receipt.finished.readings));

    // The price, from what the ledger has and the meter signed.
    let catalogue = town.world.catalogue().unwrap();
    let key = StateKey::Tariff(operator.party(), cdr.tariff.id.clone(), cdr.tariff.version);
    let tariff: Tariff = catalogue.entry(&key, "the tariff").unwrap();
    let key = StateKey::AgreementTerms(cdr.agreement.id, cdr.agreement.version);
    let terms: RoamingAgreement = catalogue.entry(&key, "the agreement").unwrap();
    let inputs = PricingInputs {
        tariff: &tariff,
        rule: &terms.price_rule,
        rounding: terms.rounding,
        clock: cdr.clock,
        periods: &periods,
        end: metered.end(),
        forecast: None,
    };
    let wholesale = pricing::price(&inputs).unwrap();
    assert_eq!(cdr.price, wholesale.total);
    assert!(wholesale.total.excl_vat > 0);

    let lines = bill_lines(&town);
    let [line] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((line.contract, line.tier), (town.world.drivers[1].contract, Tier::Gold));
    assert_eq!((line.cdr.as_str(), line.wholesale), (cdr.id.as_str(), Some(cdr.price)));
    let rules = town.world.providers()[0].office().with(|gateway, _| {
        let home = &gateway.rules().home;
        home.version(line.retail_version).expect("the rules of the bill").clone()
    });
    let inputs = RetailInputs {
        tier: Tier::Gold,
        payment: line.payment,
        roaming: true,
        wholesale: &wholesale,
        periods: &periods,
        end: metered.end(),
        clock: cdr.clock,
    };
    assert_eq!(line.retail, retail::price(&rules, &inputs).unwrap());
    assert_ne!(line.retail.total, Price::ZERO);
}

#[test]
fn what_the_operator_keeps_proves_the_contract_again_and_names_nobody() {
    let mut town = Town::new(1, 1);
    let receipt = town.charge(0, 0).unwrap();
    let session = session_of(town.outcome(0));
    town.settled();
    let operator = &town.world.operators()[0];
    let (_, spent, quote) = booked(operator, &session);
    let kept = evidence(operator, &session);

    // The voucher's one-time key agreed to this session, operator and quote.
    let digest = session_digest(operator.party(), &session);
    assert_eq!((spent.acceptance.session, spent.acceptance.operator), (digest, operator.party()));
    assert_eq!(spent.acceptance.quote, quote.digest());
    let holder = VerificationKey::from_bytes(&spent.voucher.voucher.holder.0).unwrap();
    assert!(holder.verifies(&spent.acceptance.digest().0, &spent.signature.0));

    // The proof was made for this station, quote and voucher, and holds.
    let commitment = spent.voucher.commitment();
    let nonce = proof_nonce(&kept.random.0, digest, &kept.station_key, quote.digest(), commitment);
    let request = ProofRequest::from_json(kept.proof_request.as_bytes()).unwrap();
    assert_eq!(*request.nonce(), Nonce::from_bytes(nonce).unwrap());
    let presentation = Presentation::from_json(kept.presentation.as_bytes()).unwrap();
    let catalogue = town.world.catalogue().unwrap();
    let contract = &town.world.drivers[0].contract;
    let kind = &town.world.drivers[0].wallet.contracts[contract].kind;
    let definition = ObjectId::new(kind.definition.to_string()).unwrap();
    let registry = ObjectId::new(kind.registry.to_string()).unwrap();
    let known = catalogue.known(&definition, Some(&registry), LIST_AGE).unwrap();
    let newest = catalogue.newest_list(&registry, LIST_AGE).unwrap().timestamp();
    let policy = FreshnessPolicy::new().with(registry, Freshness::Exactly(newest));
    let verified = verifier::verify(&presentation, &request, &known, &policy).unwrap();
    assert_eq!(verified.value(CONTRACT, attributes::TIER), Some("standard"));

    // The operator checks all that with the ledger alone.
    let shown = operator.recheck(&session).unwrap();
    assert_eq!((shown.emsp, shown.tier), (kind.emsp, Tier::Standard));
    let agreed = Agreed { operator: operator.party(), session: &session, quote: &quote, spent: &spent };
    let ledger = operator.office().client();
    let altered = Accounting { random: Digest::of(b"another"), ..kept.clone() };
    assert!(matches!(recheck(ledger, agreed, &altered), Err(EvidenceError::OtherNonce)));
    let tampered = kept.presentation.replacen("\"standard\"", "\"diamond\"", 1);
    assert_ne!(tampered, kept.presentation);
    let altered = Accounting { presentation: tampered, ..kept.clone() };
    assert!(matches!(recheck(ledger, agreed, &altered), Err(EvidenceError::Verify(_))));
    let mut later = spent;
    later.acceptance.accepted_at = UnixMillis::new(spent.acceptance.accepted_at.get() - 86_400_000).unwrap();
    assert!(matches!(
        recheck(ledger, Agreed { spent: &later, ..agreed }, &kept),
        Err(EvidenceError::OldList)
    ));

    // For another nonce it proves nothing.
    let other = request.with_nonce(Nonce::from_bytes([1; 10]).unwrap());
    assert!(verifier::verify(&presentation, &other, &known, &policy).is_err());
    assert_eq!(kept.readings, receipt.finished.readings);
    let all = format!("{kept:?} {spent:?} {quote:?}");
    assert!(!all.contains(&contract.to_string()), "the contract's number is in the evidence");
}

#[test]
fn a_charge_goes_on_after_a_power_cut_and_is_billed_by_what_the_meter_signed() {
    let mut town = Town::new(1, 1);
    let cut = DurationMs::from_millis(10 * 60_000);
    town.world.stations()[0].mishaps().add(Mishap::PowerCut(cut));
    let receipt = town.charge(0, 0).unwrap();
    assert_eq!(receipt.finished.reason, EndReason::EnergyReached);
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let (cdr, ..) = booked(&town.world.operators()[0], &session);
    let metered = metered(&receipt.station, &receipt.finished.readings);
    assert_eq!((cdr.energy, cdr.periods), (metered.energy(), metering::periods(&metered)));
    assert!(cdr.energy.milli_wh() > 4_000_000, "it was charged after the cut, too: {:?}", cdr.energy);
}

#[test]
fn a_power_cut_for_hours_ends_the_charge_and_what_was_delivered_before_is_billed() {
    let mut town = Town::new(1, 1);
    let cut = DurationMs::from_millis(2 * 3_600_000);
    town.world.stations()[0].mishaps().add(Mishap::PowerCut(cut));
    let receipt = town.charge(0, 0).unwrap();
    assert_eq!(receipt.finished.reason.to_string(), "the power was cut");
    let session = session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let (cdr, ..) = booked(&town.world.operators()[0], &session);
    assert_eq!(cdr.energy, receipt.finished.energy);
    assert!((1..4_000_000).contains(&cdr.energy.milli_wh()), "{:?}", cdr.energy);
}

#[test]
fn a_meter_that_counts_backwards_ends_the_charge_and_the_station_takes_nobody_until_it_is_repaired() {
    let mut town = Town::new(2, 1);
    town.world.stations()[0].mishaps().add(Mishap::MeterBackwards);
    let receipt = town.charge(0, 0).unwrap();
    assert_eq!(receipt.finished.reason.to_string(), "the station has a fault");
    let session = session_of(town.outcome(0));
    // The operator has everything that was signed up to there, and bills no more than that.
    assert_eq!(town.settled(), (1, 1));
    let (cdr, ..) = booked(&town.world.operators()[0], &session);
    assert_eq!(evidence(&town.world.operators()[0], &session).readings, receipt.finished.readings);
    let metered = metered(&receipt.station, &receipt.finished.readings);
    assert_eq!((cdr.energy, metered.energy()), (receipt.finished.energy, receipt.finished.energy));

    let said = refusal(town.charge(1, 0));
    assert_eq!(said, "the station has a fault: take another one");
    assert_eq!(denied(town.outcome(0)), said);
}

#[test]
fn what_the_operator_was_away_for_is_accounted_for_in_its_order_when_it_is_back() {
    let mut town = Town::new(1, 1);
    let operator = town.world.operators()[0].clone();
    let mut sessions = Vec::new();
    for _ in 0..2 {
        let away = operator.clone();
        town.world.stations()[0].mishaps().add(Mishap::Meanwhile(Box::new(move || away.stop())));
        // The driver does not notice.
        let receipt = town.charge(0, 0).unwrap();
        assert_eq!(receipt.finished.reason, EndReason::EnergyReached);
        sessions.push(session_of(town.outcome(0)));
        let known = operator.office().with(|gateway, _| gateway.session(&sessions[0])).unwrap().unwrap();
        assert!(matches!(known.phase, Phase::Charging { .. }), "{:?}", known.phase);
        // Open for the next driver, or for what waits.
        operator.resume().unwrap();
    }
    assert_eq!(town.world.stations()[0].station().account_for_all().unwrap(), 2);
    assert_eq!(town.world.stations()[0].station().account_for_all().unwrap(), 0);
    assert_eq!(town.settled(), (2, 2));
    let starts: Vec<_> = sessions.iter().map(|id| booked(&operator, id).0.start).collect();
    assert!(starts[0] < starts[1]);
}

#[test]
fn a_driver_who_takes_an_hour_to_agree_is_told_to_ask_again() {
    let mut town = Town::new(1, 1);
    let invitation = town.invitation(0);
    let mut slow = |_: &_| {
        eroam::clock::leave_out(DurationMs::from_millis(3_600_000));
        true
    };
    let before = now();
    let said = refusal(charge_if(&mut town.world.drivers[0], &invitation, &mut slow));
    assert_eq!(said, "the offer has expired: ask again");
    assert!(now() > before);
    assert!(matches!(town.outcome(0), Outcome::Denied(_)));
    // And then it works.
    charge(&mut town.world.drivers[0], &invitation).unwrap();
}
