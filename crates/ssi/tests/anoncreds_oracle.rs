//! AnonCreds against the reference implementation, in both directions.
//!
//! The reference is the Python package `anoncreds` 0.2.3. How it is found, and what happens without it:
//! `testkit::python`.

mod anoncreds_world;

use anoncreds_world::*;
use eroam_ssi::anoncreds::issuer::{CredentialDefinitionSecret, Place, RegistrySecret};
use eroam_ssi::anoncreds::*;
use eroam_testkit::python::Peer;
use serde_json::{Value, json};
use std::path::Path;

fn reference() -> Option<Peer> {
    Peer::start("anoncreds", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/anoncreds_oracle.py")))
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

/// The published objects as the reference takes them.
fn published(world: &World) -> Value {
    let (driver, member) = (&world.driver, &world.member);
    json!({
        "schemas": { driver.schema_id.as_str(): driver.schema, member.schema_id.as_str(): member.schema },
        "definitions": {
            driver.cred_def_id.as_str(): driver.definition,
            member.cred_def_id.as_str(): member.definition,
        },
        "registries": { world.registry.id.as_str(): world.registry.definition },
        "lists": [world.registry.list],
    })
}

fn with(mut command: Value, more: Value) -> Value {
    let Value::Object(more) = more else { panic!("an object") };
    command.as_object_mut().unwrap().extend(more);
    command
}

/// A credential of ours in their wallet.
fn theirs_holds(
    reference: &Peer,
    issuer: &Issuer,
    values: &AttributeValues,
    place: Option<(&Registry, u32)>,
    link_secret: &Value,
) -> Value {
    let offer = issuer.offer();
    let asked = reference.told(
        "request",
        json!({ "definition": issuer.definition, "link_secret": link_secret, "offer": offer }),
    );
    let request = CredentialRequest::from_json(&bytes(&asked["request"])).unwrap();
    let registry = place.map(|(registry, _)| &registry.definition);
    let place = place.map(|(registry, index)| Place {
        registry: &registry.definition,
        secret: &registry.secret,
        list: &registry.list,
        index: registry.index(index),
    });
    let credential = issuer::issue(&issuer.definition, &issuer.secret, &offer, &request, values, place);
    reference.told(
        "process",
        json!({
            "credential": credential.unwrap(),
            "metadata": asked["metadata"],
            "link_secret": link_secret,
            "definition": issuer.definition,
            "registry": registry,
        }),
    )
}

fn rich_request(world: &World) -> ProofRequest {
    ProofRequest::builder("rich", "1.0")
        .group("zones", ["allowed_zones", "Tariff"], world.of_driver())
        .attribute("contract", "contract", Restriction::Equals(Tag::IssuerId, "did:eroam:emsp".to_owned()))
        .attribute("name", "name", world.of_driver())
        .attribute("level", "level", world.of_member())
        .attribute("phone", "phone", Restriction::none())
        .predicate("valid", "expiry", Comparison::Above, 20_261_122, world.of_driver())
        .predicate("old", "issued", Comparison::AtMost, 20_261_121, world.of_driver())
        .predicate("since", "since", Comparison::Below, -4, world.of_member())
        .non_revoked(world.interval())
        .build()
        .unwrap()
}

#[test]
fn what_we_issue_their_holder_presents_until_it_is_revoked() {
    let Some(reference) = reference() else { return };
    let mut world = World::new();
    let directory = tempfile::tempdir().unwrap();
    let tails = directory.path().join("tails");
    std::fs::write(&tails, &world.registry.tails).unwrap();
    let secret = reference.told("link_secret", json!({}));
    let licence =
        theirs_holds(&reference, &world.driver, &driver_values(), Some((&world.registry, 5)), &secret);
    let membership = theirs_holds(&reference, &world.member, &member_values(), None, &secret);
    let credentials = |world: &World, state: &Value| {
        let entries = json!([
            { "credential": licence, "witness": state, "reveal": ["zones", "contract"], "withhold": ["name"],
              "predicates": ["valid", "old"] },
            { "credential": membership, "reveal": ["level"], "predicates": ["since"] },
        ]);
        with(
            json!({ "credentials": entries, "attest": { "phone": "555" }, "link_secret": secret }),
            published(world),
        )
    };
    let witness = |world: &World| {
        let (registry, list) = (&world.registry.definition, &world.registry.list);
        let command = json!({ "registry": registry, "list": list, "index": 5, "tails": tails });
        reference.told("witness", command)
    };
    let present = |world: &World, state: &Value, request: &ProofRequest| {
        let made = reference.told("present", with(credentials(world, state), json!({ "request": request })));
        Presentation::from_json(&bytes(&made)).unwrap()
    };

    let (request, first) = (rich_request(&world), witness(&world));
    let presentation = present(&world, &first, &request);
    let verified = world.verify(&presentation, &request).unwrap();
    assert_eq!(verified.value("zones", "Tariff"), Some("std"));
    assert_eq!(verified.value("contract", "contract"), Some("DE*EMS*C1"));
    assert_eq!(verified.value("level", "level"), Some("gold"));
    assert_eq!(verified.self_attested()["phone"], "555");
    assert_eq!(verified.unrevealed().keys().collect::<Vec<_>>(), ["name"]);
    assert_eq!(verified.predicates().len(), 3);
    assert_eq!(verified.credentials().len(), 2);

    // Others are revoked: the same holder goes on.
    world.registry.change(&world.driver, &[], &[2, 7, 11]);
    let request = rich_request(&world);
    let presentation = present(&world, &witness(&world), &request);
    world.verify(&presentation, &request).unwrap();

    // It is revoked itself: with the new list there is no proof, with the old one no freshness.
    world.registry.change(&world.driver, &[7], &[5]);
    let request = rich_request(&world);
    let presentation = present(&world, &witness(&world), &request);
    assert!(matches!(world.verify(&presentation, &request), Err(VerifyError::ProofRejected)));
    let presentation = present(&world, &first, &request);
    assert!(matches!(world.verify(&presentation, &request), Err(VerifyError::Stale { .. })));

    // And restored.
    world.registry.change(&world.driver, &[5], &[]);
    let request = rich_request(&world);
    let presentation = present(&world, &witness(&world), &request);
    world.verify(&presentation, &request).unwrap();
}

#[test]
fn what_our_holder_presents_their_verifier_takes_until_it_is_revoked() {
    let Some(reference) = reference() else { return };
    let mut world = World::new();
    let mut state = world.registry.witness(INDEX);
    let present = |world: &World, state: &WitnessState, request: &ProofRequest| {
        let licence = Chosen::new(&world.licence, Some(state)).reveal("zones").reveal("contract");
        let licence = licence.withhold("name").predicate("valid").predicate("old");
        let membership = Chosen::new(&world.membership, None).reveal("level").predicate("since");
        let selection = Selection::new().with(membership).with(licence).attest("phone", "555");
        prepared::prepare(request, &selection, &world.link_secret, &world.objects()).unwrap().answer(request)
    };
    let verify = |world: &World, presentation: &Presentation, request: &ProofRequest| {
        let command = json!({ "presentation": presentation, "request": request });
        reference.ask("verify", with(command, published(world)))
    };
    let request = rich_request(&world);
    let presentation = present(&world, &state, &request).unwrap();
    assert_eq!(verify(&world, &presentation, &request), Ok(Value::Bool(true)));
    world.verify(&presentation, &request).unwrap();
    let other = request.with_nonce(Nonce::random().unwrap());
    assert_ne!(verify(&world, &presentation, &other), Ok(Value::Bool(true)));

    let delta = world.registry.change(&world.driver, &[], &[1, 2, 11]);
    state.apply(&delta, &world.registry.definition, &world.registry.tails()).unwrap();
    let delta = world.registry.change(&world.driver, &[2], &[4]);
    state.apply(&delta, &world.registry.definition, &world.registry.tails()).unwrap();
    let request = rich_request(&world);
    let presentation = present(&world, &state, &request).unwrap();
    assert_eq!(verify(&world, &presentation, &request), Ok(Value::Bool(true)));

    // A proof for the list before, as a cheat would send it with the new timestamp.
    let delta = world.registry.change(&world.driver, &[], &[INDEX]);
    let mut cheat = value(&present(&world, &state, &request).unwrap().to_json());
    cheat["identifiers"][1]["timestamp"] = delta.timestamp().seconds().into();
    let cheat = Presentation::from_json(&bytes(&cheat)).unwrap();
    assert_ne!(verify(&world, &cheat, &request), Ok(Value::Bool(true)));
    assert!(matches!(world.verify(&cheat, &request), Err(VerifyError::ProofRejected)));
}

#[test]
fn what_they_issue_our_holder_keeps_presents_and_loses() {
    let Some(reference) = reference() else { return };
    let directory = tempfile::tempdir().unwrap();
    let (issuer_id, schema_id, cred_def_id) = ("did:other:emsp", id("did:other:schema"), id("did:other:def"));
    let registry_id = id("did:other:registry");
    let attributes = ["Zone Set", "limit"];
    let made = reference.told(
        "new_issuer",
        json!({ "name": "driver", "issuer": issuer_id, "attributes": attributes, "revocable": true,
                "schema_id": schema_id, "cred_def_id": cred_def_id }),
    );
    let registry = reference.told(
        "new_registry",
        json!({ "cred_def_id": cred_def_id, "definition": made["definition"], "issuer": issuer_id, "size": 10,
                "directory": directory.path() }),
    );
    let schema = Schema::from_json(&bytes(&made["schema"])).unwrap();
    let definition = CredentialDefinition::from_json(&bytes(&made["definition"])).unwrap();
    let their_registry = RevocationRegistryDefinition::from_json(&bytes(&registry["registry"])).unwrap();
    assert_eq!(value(&schema.to_json()), made["schema"]);
    assert_eq!(value(&definition.to_json()), made["definition"]);
    assert_eq!(value(&their_registry.to_json()), registry["registry"]);
    let common = json!({ "definition": made["definition"], "registry": registry["registry"],
                         "private": registry["private"], "registry_id": registry_id, "issuer": issuer_id });
    let list = reference.told("first_list", with(common.clone(), json!({ "timestamp": START })));
    let first = StatusList::from_json(&bytes(&list)).unwrap();
    assert_eq!(value(&first.to_json()), list);
    let tails = std::fs::read(their_registry.tails_location()).unwrap();
    let tails = Tails::open(tails, &their_registry).unwrap();

    let link_secret = reference.told("link_secret", json!({}));
    let link_secret = LinkSecret::import_secret(link_secret.as_str().unwrap()).unwrap();
    let offer = reference.told(
        "offer",
        json!({ "schema_id": schema_id, "cred_def_id": cred_def_id, "proof": made["key_correctness"] }),
    );
    let offer = CredentialOffer::from_json(&bytes(&offer)).unwrap();
    let (request, pending) = holder::request(&offer, &cred_def_id, &definition, &link_secret).unwrap();
    let values = AttributeValues::new([("Zone Set", "A,B"), ("limit", "80")]).unwrap();
    let place =
        json!({ "registry": registry["registry"], "private": registry["private"], "list": list, "index": 4 });
    let issued = reference.told(
        "issue",
        json!({ "definition": made["definition"], "private": made["private"], "offer": offer,
                "request": request, "values": { "Zone Set": "A,B", "limit": "80" }, "place": place }),
    );
    let credential = Credential::from_json(&bytes(&issued)).unwrap();
    assert_eq!(value(&credential.to_json()), issued);
    let held = pending.accept(credential, &link_secret, &definition, Some(&their_registry), &values).unwrap();
    let index = held.revocation_index().unwrap();
    let mut state = WitnessState::create(&their_registry, index, &first, &tails).unwrap();

    // They revoke others, we follow by the difference.
    let change = json!({ "list": list, "issued": [], "revoked": [2, 9], "timestamp": START + 60 });
    let list = reference.told("next_list", with(common.clone(), change));
    let second = StatusList::from_json(&bytes(&list)).unwrap();
    let delta = StatusDelta::between(&first, &second).unwrap();
    assert_eq!(first.apply(&delta).unwrap(), second);
    state.apply(&delta, &their_registry, &tails).unwrap();

    let mut objects = KnownObjects::new();
    objects.add_schema(schema_id.clone(), schema);
    objects.add_credential_definition(cred_def_id.clone(), definition.clone());
    objects.add_registry(registry_id.clone(), their_registry.clone());
    objects.add_status_list(second.clone());
    let policy = FreshnessPolicy::new().with(registry_id.clone(), Freshness::Exactly(second.timestamp()));
    let request = ProofRequest::builder("charge", "1.0")
        .group("zones", ["zone set"], Restriction::cred_def(&cred_def_id))
        .predicate("limit", "limit", Comparison::AtLeast, 50, Restriction::cred_def(&cred_def_id))
        .non_revoked(policy.interval(at(START + 90)))
        .build()
        .unwrap();
    let selection = Selection::choose(&request, [(&held, Some(&state))], &objects).unwrap();
    let prepared = prepared::prepare(&request, &selection, &link_secret, &objects).unwrap();
    let presentation = prepared.answer(&request).unwrap();
    let verified = verifier::verify(&presentation, &request, &objects, &policy).unwrap();
    assert_eq!(verified.value("zones", "zone set"), Some("A,B"));
    let command = json!({
        "presentation": presentation, "request": request, "lists": [list],
        "schemas": { schema_id.as_str(): made["schema"] },
        "definitions": { cred_def_id.as_str(): made["definition"] },
        "registries": { registry_id.as_str(): registry["registry"] },
    });
    assert_eq!(reference.told("verify", command), Value::Bool(true));

    // We revoke in their place, with their secrets: both accumulators are the same.
    let secret = RegistrySecret::import_secret(&bytes(&registry["private"]["value"])).unwrap();
    CredentialDefinitionSecret::import_secret(&bytes(&made["private"]["value"])).unwrap();
    let revoked = [index].into();
    let (ours, delta) =
        issuer::next_status_list(&definition, &secret, &second, &[].into(), &revoked, at(START + 120))
            .unwrap();
    let change = json!({ "list": list, "issued": [], "revoked": [4], "timestamp": START + 120 });
    let list = StatusList::from_json(&bytes(&reference.told("next_list", with(common, change)))).unwrap();
    StatusDelta::between(&first, &list).unwrap();
    let (theirs, ours) = (value(&list.to_json()), value(&ours.to_json()));
    assert_eq!(theirs, ours);
    state.apply(&delta, &their_registry, &tails).unwrap();
    assert!(state.is_revoked());
    let policy = FreshnessPolicy::new().with(registry_id, Freshness::Exactly(at(START + 120)));
    let request = ProofRequest::builder("charge", "1.0")
        .group("zones", ["zone set"], Restriction::cred_def(&cred_def_id))
        .non_revoked(policy.interval(at(START + 150)))
        .build()
        .unwrap();
    let selection = Selection::new().with(Chosen::new(&held, Some(&state)).reveal("zones"));
    let refused = prepared::prepare(&request, &selection, &link_secret, &objects);
    assert!(matches!(refused, Err(PresentError::Revoked { .. })));
}

#[test]
fn their_reader_writes_our_objects_as_we_do() {
    let Some(reference) = reference() else { return };
    let world = World::new();
    let offer = world.driver.offer();
    let (request, _) =
        holder::request(&offer, &world.driver.cred_def_id, &world.driver.definition, &world.link_secret)
            .unwrap();
    let asked = world.request();
    let presentation = world.present(&asked, &world.registry.witness(INDEX));
    let objects = [
        ("Schema", value(&world.driver.schema.to_json())),
        ("CredentialDefinition", value(&world.driver.definition.to_json())),
        ("CredentialDefinition", value(&world.member.definition.to_json())),
        ("KeyCorrectnessProof", value(&world.driver.key_correctness.to_json())),
        ("RevocationRegistryDefinition", value(&world.registry.definition.to_json())),
        ("RevocationStatusList", value(&world.registry.list.to_json())),
        ("CredentialOffer", value(&offer.to_json())),
        ("CredentialRequest", value(&request.to_json())),
        ("Credential", value(&world.licence.export_secret())),
        ("Credential", value(&world.membership.export_secret())),
        ("Presentation", value(&presentation.to_json())),
    ];
    for (kind, ours) in objects {
        let theirs = reference.told("echo", json!({ "kind": kind, "value": ours }));
        assert_eq!(theirs, ours, "{kind}");
    }
    // Requests are written with absent members as null there.
    let theirs = reference.told("echo", json!({ "kind": "PresentationRequest", "value": asked }));
    let theirs = ProofRequest::from_json(&bytes(&theirs)).unwrap();
    assert_eq!((theirs.attributes(), theirs.predicates()), (asked.attributes(), asked.predicates()));
}

#[test]
fn values_are_encoded_as_they_encode_them() {
    let Some(reference) = reference() else { return };
    let samples = [
        "",
        " ",
        "0",
        "-0",
        "+7",
        "007",
        "7",
        "-7",
        "2147483647",
        "2147483648",
        "-2147483648",
        "-2147483649",
        "1.0",
        "1e3",
        "0x10",
        "101 Wilson Lane",
        "Zürich",
        "日本",
        "A,B",
        "True",
        "true",
        "None",
        "null",
        "1_000",
        " 5",
        "5 ",
        "٣",
        "00000000000000000000007",
    ];
    let values: serde_json::Map<String, Value> =
        samples.iter().enumerate().map(|(n, sample)| (n.to_string(), (*sample).into())).collect();
    let theirs = reference.told("encode", json!({ "values": values }));
    for (n, sample) in samples.iter().enumerate() {
        assert_eq!(theirs[n.to_string()], encode(sample), "{sample:?}");
    }
    let nonce = reference.told("nonce", json!({}));
    assert_eq!(Nonce::from_decimal(nonce.as_str().unwrap()).unwrap().as_decimal(), nonce);
}
