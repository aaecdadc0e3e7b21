//! What a driver agrees to show, beside what the operator received.

use crate::accounting::{booked, evidence, session_of};
use crate::town::{Town, charge_if, consented};
use axum::Router;
use axum::http::Uri;
use eroam::charging::catalogue::Catalogue;
use eroam::server::{STOP_WITHIN, Server};
use eroam::simulate::world::fields;
use eroam_domain::codec::from_bytes;
use eroam_ledger::query;
use eroam_ledger::state::StateKey;
use eroam_wallet::consent::{Consent, Learner};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

/// Every text and number of a document, but not what is below `without`; texts that are documents themselves are read.
fn leaves(value: &Value, without: &[&str], into: &mut BTreeSet<String>) {
    match value {
        Value::Object(members) => {
            let looked_into = members.iter().filter(|(name, _)| !without.contains(&name.as_str()));
            looked_into.for_each(|(_, member)| leaves(member, without, into));
        }
        Value::Array(items) => items.iter().for_each(|item| leaves(item, without, into)),
        Value::String(text) => match serde_json::from_str::<Value>(text) {
            Ok(inner @ (Value::Object(_) | Value::Array(_))) => leaves(&inner, without, into),
            _ => drop(into.insert(text.clone())),
        },
        Value::Number(number) => drop(into.insert(number.to_string())),
        Value::Bool(_) | Value::Null => {}
    }
}

#[test]
fn the_operator_receives_what_the_consent_lists_and_nothing_that_it_says_is_hidden() {
    let mut town = Town::new(1, 1);
    let (consent, receipt) = consented(&mut town, 0, 0);
    let id = session_of(town.outcome(0));
    town.settled();
    let operator = &town.world.operators()[0];
    let (cdr, spent, quote) = booked(operator, &id);
    let kept = evidence(operator, &id);
    let session = operator.office().with(|gateway, _| gateway.session(&id)).unwrap().unwrap();

    // The proof reveals what is shown, and that it is not revoked.
    let presentation: Value = serde_json::from_str(&kept.presentation).unwrap();
    let revealed = &presentation["requested_proof"]["revealed_attr_groups"]["contract"]["values"];
    let revealed = revealed.as_object().expect("what the proof reveals");
    let revealed =
        revealed.iter().map(|(name, value)| (name.clone(), value["raw"].as_str().unwrap().to_owned()));
    assert_eq!(revealed.collect::<BTreeSet<_>>(), consent.shown.iter().cloned().collect());
    let request: Value = serde_json::from_str(&kept.proof_request).unwrap();
    assert_eq!(request["requested_predicates"], serde_json::json!({}));
    assert_eq!(consent.proved, ["the contract is not revoked"]);
    assert!(
        request.pointer("/requested_attributes/contract/non_revoked").is_some()
            || request.get("non_revoked").is_some()
    );

    // What it names besides, the consent names; the schema is the definition's.
    let said: BTreeSet<&str> = consent.said.iter().map(|(_, value)| value.as_str()).collect();
    for identifier in presentation["identifiers"].as_array().unwrap() {
        for name in ["cred_def_id", "rev_reg_id"] {
            assert!(said.contains(identifier[name].as_str().unwrap()), "{name}");
        }
        let named: BTreeSet<&str> = identifier.as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(named, ["cred_def_id", "rev_reg_id", "schema_id", "timestamp"].into());
    }

    // The voucher: whose, which, how much, from when to when; and the limit that it signed.
    let voucher = &spent.voucher.voucher;
    let limit = eroam_domain::money::Money::new(spent.acceptance.limit, voucher.cap.currency);
    for expected in [
        voucher.emsp.to_string(),
        format!("{} pays up to {}", voucher.nullifier(), voucher.cap),
        format!("{} to {}", voucher.valid_from, voucher.valid_until),
        limit.to_string(),
        "5 kWh".to_owned(),
    ] {
        assert!(said.contains(expected.as_str()), "{expected} in {said:?}");
    }

    // What is hidden is nowhere in what the operator has.
    let contract = &town.world.drivers[0].wallet.contracts[&town.world.drivers[0].contract];
    let mut received = BTreeSet::new();
    for value in [
        serde_json::to_value(&session).unwrap(),
        serde_json::to_value(&kept).unwrap(),
        serde_json::to_value(&cdr).unwrap(),
        serde_json::to_value(spent).unwrap(),
        serde_json::to_value(&quote).unwrap(),
    ] {
        leaves(&value, &[], &mut received);
    }
    assert_eq!(consent.hidden, ["contract_id", "customer_id", "daily_limit", "valid_from", "valid_until"]);
    for name in &consent.hidden {
        let value = contract.attribute(name).expect("it is in the credential");
        assert!(!received.contains(value), "{name} is not hidden");
    }
    // The provider is not, whatever the proof reveals: the request and the voucher name it.
    assert_eq!(contract.attribute("provider"), Some(receipt.emsp.to_string().as_str()));
    assert!(received.contains(&receipt.emsp.to_string()));

    // All members read the record: it has the zone, and no number of the station.
    let mut public = BTreeSet::new();
    leaves(&serde_json::to_value(&cdr).unwrap(), &[], &mut public);
    assert!(public.contains(&receipt.station.zone.to_string()));
    assert!(!public.contains(&receipt.station.evse.to_string()));
    assert!(!public.contains(&receipt.station.place));
}

/// What a learner learns, as the consent says.
fn learnt(consent: &Consent, learner: Learner) -> Vec<&str> {
    let of_learner = consent.others.iter().filter(|(who, _)| *who == learner);
    of_learner.map(|(_, what)| what.as_str()).collect()
}

/// Sees that each member of a document is named, in these words, and that no other words are there to be looked for.
fn is_named(what: &str, document: &Value, words: &[(&str, &str)]) {
    let members: BTreeSet<&str> = document.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, words.iter().map(|(member, _)| *member).collect(), "the members");
    for (member, words) in words {
        assert!(what.contains(words), "{member}: {words:?} is not in {what:?}");
    }
}

#[test]
fn the_consent_names_every_member_of_what_stands_on_the_ledger() {
    let mut town = Town::new(1, 1);
    let (consent, _) = consented(&mut town, 0, 0);
    let id = session_of(town.outcome(0));
    town.settled();
    let (cdr, spent, _) = booked(&town.world.operators()[0], &id);
    let [reserved, recorded, never] = learnt(&consent, Learner::Ledger)[..] else { panic!("three lines") };
    let [dispute] = learnt(&consent, Learner::Dispute)[..] else { panic!("one line") };
    assert!(dispute.starts_with("only if ") && dispute.contains("the meter's signed readings"), "{dispute}");
    is_named(
        reserved,
        &serde_json::to_value(spent.voucher.voucher).unwrap(),
        &[
            ("network", "its members see"),
            ("emsp", "the voucher of "),
            ("key", "the voucher"),
            ("holder", "its own key"),
            ("cap", "what it pays"),
            ("valid_from", "its days"),
            ("valid_until", "its days"),
        ],
    );
    is_named(
        reserved,
        &serde_json::to_value(spent.acceptance).unwrap(),
        &[
            ("session", "a number of the charge"),
            ("operator", "the agreement with "),
            ("quote", "a digest of the quote"),
            ("limit", "your limit"),
            ("accepted_at", "when you agreed"),
        ],
    );
    is_named(
        recorded,
        &serde_json::to_value(&cdr).unwrap(),
        &[
            ("id", "numbers of the record and of the charge"),
            ("session", "numbers of the record and of the charge"),
            ("agreement", "the agreement"),
            ("tariff", "the tariff of "),
            ("evse", "for the station, which stays the same"),
            ("zone", "the zone PT-1"),
            ("accepted_at", "when you agreed"),
            ("start", "when the charge began"),
            ("end", "and ended"),
            ("clock", "the local time there"),
            ("periods", "of each period"),
            ("energy", "the energy of all"),
            ("attestation", "the forecast that the price follows"),
            ("price", "the price"),
            ("currency", "with its currency"),
            ("quote", "digests of the quote"),
            ("readings", "the meter's readings"),
            ("acceptance", "your signature"),
            ("payer", "which voucher pays"),
        ],
    );
    is_named(
        recorded,
        &serde_json::to_value(cdr.periods[0]).unwrap(),
        &[
            ("start", "when it began"),
            ("energy", "its energy"),
            ("charging", "how long the car charged"),
            ("parking", "stood there"),
            ("reservation", "had the station reserved"),
            ("power", "the least and the most power and current"),
            ("current", "the least and the most power and current"),
        ],
    );
    assert!(never.contains("do not see you, your contract, the station's number or its place"));
}

/// A resolver that passes everything on to another one and notes what it is asked for.
struct Noting {
    server: Server,
    asked: Arc<Mutex<Vec<StateKey>>>,
}

impl Noting {
    fn before(resolver: &str) -> Self {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (notes, resolver) = (Arc::clone(&asked), resolver.to_owned());
        let pass_on = move |uri: Uri| async move {
            let (_, key) = uri.query().unwrap().split_once("key=").unwrap();
            let digits =
                (0..key.len()).step_by(2).map(|at| u8::from_str_radix(&key[at..at + 2], 16).unwrap());
            notes.lock().unwrap().push(from_bytes(&digits.collect::<Vec<_>>()).unwrap());
            let answer = tokio::task::spawn_blocking(move || {
                ureq::get(format!("{resolver}{uri}")).call().unwrap().into_body().read_to_string().unwrap()
            });
            answer.await.unwrap()
        };
        let server =
            Server::start("noting", ([127, 0, 0, 1], 0).into(), Router::new().fallback(pass_on), STOP_WITHIN);
        Self { server: server.unwrap(), asked }
    }

    fn url(&self) -> String {
        format!("http://{}", self.server.address())
    }
}

#[test]
fn the_resolver_is_asked_for_what_the_consent_names_and_for_nothing_else() {
    let town = Town::new(1, 1);
    let genuine = town.world.catalogue().unwrap();
    let resolver = Noting::before(genuine.url());
    let catalogue = Catalogue::new(&resolver.url(), town.world.trust().unwrap());
    let mut driver = town.world.newcomer_with(0, &fields(90), catalogue).unwrap();
    let (definition, registry) = {
        let kind = &driver.wallet.contracts[&driver.contract].kind;
        (kind.definition.clone(), kind.registry.clone())
    };
    resolver.asked.lock().unwrap().clear();
    let mut seen = None;
    let receipt = charge_if(&mut driver, &town.invitation(0), &mut |consent| {
        seen = Some(consent.clone());
        true
    });
    let (receipt, consent) = (receipt.unwrap(), seen.unwrap());
    let [what] = learnt(&consent, Learner::Resolver)[..] else { panic!("one line") };
    let (emsp, operator) = (receipt.emsp, receipt.station.operator);
    assert!(what.starts_with(&resolver.url()), "{what}");
    let catalogue = town.world.catalogue().unwrap();
    let mut named = BTreeSet::new();
    for key in resolver.asked.lock().unwrap().iter() {
        let words = match key {
            StateKey::Did(did) if query::did(&catalogue, *did).unwrap().unwrap().member == operator => {
                format!("{operator} and its tariff")
            }
            StateKey::TariffHead(party, _) | StateKey::Tariff(party, _, _) if *party == operator => {
                format!("{operator} and its tariff")
            }
            StateKey::TariffPublished(party, _, _) if *party == operator => {
                format!("{operator} and its tariff")
            }
            StateKey::AgreementOf(..) | StateKey::Agreement(_) | StateKey::AgreementTerms(..) => {
                format!("its agreement with {emsp}")
            }
            StateKey::Did(_) | StateKey::Schema(_) | StateKey::Mandate(..) => {
                "the kind of your contract".to_owned()
            }
            StateKey::CredentialDefinition(id) if *id == definition => "the kind of your contract".to_owned(),
            StateKey::RevocationRegistry(id)
            | StateKey::RevocationList(id)
            | StateKey::RegistryWindow(id)
                if *id == registry =>
            {
                "the list with which it would be revoked".to_owned()
            }
            StateKey::ZoneAttester(zone, _)
            | StateKey::ForecastDay(_, zone, _)
            | StateKey::ForecastTimes(_, zone, _) => {
                format!("the forecast of the zone {zone}")
            }
            other => panic!("the consent says nothing of {other:?}"),
        };
        assert!(what.contains(&words), "{key:?}: {words:?} is not in {what:?}");
        named.insert(words);
    }
    assert!(named.contains(&format!("{operator} and its tariff")), "{named:?}");
    assert!(named.contains(&format!("its agreement with {emsp}")), "{named:?}");
    let [by_list] = learnt(&consent, Learner::Operator)[..] else { panic!("one line") };
    assert!(by_list.contains("network address") && by_list.contains("list of revoked stations"), "{by_list}");
}

#[test]
fn what_the_provider_learns_of_a_charge_is_what_the_consent_says() {
    let mut town = Town::new(1, 1);
    let (consent, receipt) = consented(&mut town, 0, 0);
    session_of(town.outcome(0));
    assert_eq!(town.settled(), (1, 1));
    let [line] = &crate::accounting::bill_lines(&town)[..] else { panic!("one line") };
    assert_eq!(line.contract, town.world.drivers[0].contract);
    assert_eq!((&line.evse, line.energy), (&receipt.station.evse, receipt.finished.energy));
    let provider = consent.others.iter().find(|(who, _)| *who == Learner::Provider).map(|(_, what)| what);
    let (emsp, operator) = (receipt.emsp, receipt.station.operator);
    let words = format!(
        "{emsp} finds out by the voucher that it was you: it learns the station and its place from {operator}, and all that the ledger \
         has of the charge"
    );
    assert_eq!(provider, Some(&words));
}
