//! What a driver agrees to show, beside what the operator received.

use crate::accounting::{booked, evidence, session_of};
use crate::town::{Town, consented};
use eroam_wallet::consent::Learner;
use serde_json::Value;
use std::collections::BTreeSet;

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
    let ledger = consent.others.iter().find(|(who, _)| *who == Learner::Ledger).map(|(_, what)| what);
    assert!(ledger.is_some_and(|what| what.contains("the zone PT-1") && what.contains("not you")));
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
        "{emsp} finds out by the voucher that it was you: it learns the station, the times, the energy and the price from {operator}"
    );
    assert_eq!(provider, Some(&words));
}
