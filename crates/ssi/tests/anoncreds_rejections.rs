//! What is refused, and as what. Each row changes one thing in something that is accepted.

mod anoncreds_world;

use anoncreds_world::*;
use eroam_ssi::anoncreds::issuer::Place;
use eroam_ssi::anoncreds::*;
use serde_json::{Value, json};

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// The name of an error's variant.
fn variant(error: &impl std::fmt::Debug) -> String {
    let text = format!("{error:?}");
    text.split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default().to_owned()
}

/// What the rows start from: both credentials, every kind of answer.
fn full_request(world: &World) -> ProofRequest {
    ProofRequest::builder("full", "1.0")
        .group("zones", ["allowed_zones", "tariff"], world.of_driver())
        .attribute("contract", "contract", world.of_driver())
        .attribute("name", "name", world.of_driver())
        .attribute("level", "level", world.of_member())
        .attribute("phone", "phone", Restriction::none())
        .predicate("valid", "expiry", Comparison::AtLeast, 20_261_122, world.of_driver())
        .non_revoked(world.interval())
        .build()
        .unwrap()
}

fn full_presentation(world: &World, request: &ProofRequest, witness: &WitnessState) -> Presentation {
    let licence = Chosen::new(&world.licence, Some(witness)).reveal("zones").reveal("contract");
    let licence = licence.withhold("name").predicate("valid");
    let membership = Chosen::new(&world.membership, None).reveal("level");
    let selection = Selection::new().with(licence).with(membership).attest("phone", "555");
    let prepared = prepared::prepare(request, &selection, &world.link_secret, &world.objects()).unwrap();
    prepared.answer(request).unwrap()
}

#[test]
fn a_presentation_with_one_thing_changed_is_refused_for_it() {
    let world = World::new();
    let request = full_request(&world);
    let presentation = full_presentation(&world, &request, &world.registry.witness(INDEX));
    world.verify(&presentation, &request).unwrap();
    let original = value(&presentation.to_json());
    type Change = fn(&mut Value);
    let table: &[(&str, Change, &str)] = &[
        (
            "an identifier too many",
            |p| {
                let first = p["identifiers"][0].clone();
                p["identifiers"].as_array_mut().unwrap().push(first);
            },
            "Lengths",
        ),
        (
            "a credential that is not there",
            |p| {
                p["requested_proof"]["predicates"]["valid"]["sub_proof_index"] = 2.into();
            },
            "NoSuchCredential",
        ),
        (
            "a credential without use",
            |p| {
                p["requested_proof"]["revealed_attrs"]["level"]["sub_proof_index"] = 0.into();
            },
            "UnusedCredential",
        ),
        (
            "an attribute not answered",
            |p| {
                p["requested_proof"]["revealed_attrs"].as_object_mut().unwrap().remove("contract");
            },
            "Unanswered",
        ),
        ("a predicate not answered", |p| p["requested_proof"]["predicates"] = json!({}), "Unanswered"),
        (
            "answered twice",
            |p| {
                p["requested_proof"]["unrevealed_attrs"]["contract"] = json!({ "sub_proof_index": 0 });
            },
            "AnsweredTwice",
        ),
        (
            "an attribute that was not asked for",
            |p| {
                p["requested_proof"]["unrevealed_attrs"]["x"] = json!({ "sub_proof_index": 0 });
            },
            "NotAsked",
        ),
        (
            "a predicate that was not asked for",
            |p| {
                p["requested_proof"]["predicates"]["x"] = json!({ "sub_proof_index": 0 });
            },
            "NotAsked",
        ),
        (
            "a group where one was asked for",
            |p| {
                let one = p["requested_proof"]["revealed_attrs"]["contract"].take();
                p["requested_proof"]["revealed_attrs"].as_object_mut().unwrap().remove("contract");
                let group = json!({ "sub_proof_index": 0, "values": { "contract": one } });
                p["requested_proof"]["revealed_attr_groups"]["contract"] = group;
            },
            "NotAsked",
        ),
        (
            "only stated, where a credential was demanded",
            |p| {
                p["requested_proof"]["revealed_attrs"].as_object_mut().unwrap().remove("contract");
                p["requested_proof"]["self_attested_attrs"]["contract"] = "mine".into();
            },
            "SelfAttested",
        ),
        (
            "a group that lacks a name",
            |p| {
                let group = &mut p["requested_proof"]["revealed_attr_groups"]["zones"]["values"];
                group.as_object_mut().unwrap().remove("tariff");
            },
            "Names",
        ),
        (
            "a group with another name",
            |p| {
                let group = &mut p["requested_proof"]["revealed_attr_groups"]["zones"]["values"];
                let tariff = group["tariff"].clone();
                group["contract"] = tariff;
            },
            "Names",
        ),
        ("an unknown schema", |p| p["identifiers"][0]["schema_id"] = "did:x".into(), "Unknown"),
        ("an unknown definition", |p| p["identifiers"][0]["cred_def_id"] = "did:x".into(), "Unknown"),
        (
            "the definition of another schema",
            |p| {
                let other = p["identifiers"][1]["cred_def_id"].clone();
                p["identifiers"][0]["cred_def_id"] = other;
            },
            "Objects",
        ),
        (
            "a foreign issuer",
            |p| {
                p["requested_proof"]["revealed_attrs"]["contract"]["sub_proof_index"] = 1.into();
            },
            "Restriction",
        ),
        (
            "another raw value",
            |p| {
                p["requested_proof"]["revealed_attrs"]["contract"]["raw"] = "DE*EMS*C2".into();
            },
            "RawValue",
        ),
        (
            "another raw value and its number",
            |p| {
                let one = &mut p["requested_proof"]["revealed_attrs"]["contract"];
                (one["raw"], one["encoded"]) = ("DE*EMS*C2".into(), encode("DE*EMS*C2").into());
            },
            "ProvenValue",
        ),
        (
            "another value in the group",
            |p| {
                let one = &mut p["requested_proof"]["revealed_attr_groups"]["zones"]["values"]["tariff"];
                (one["raw"], one["encoded"]) = ("gold".into(), encode("gold").into());
            },
            "ProvenValue",
        ),
        (
            "a proof that shows more",
            |p| {
                p["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["revealed_attrs"]["limit_day"] =
                    "80".into();
            },
            "Revealed",
        ),
        (
            "a proof of another bound",
            |p| {
                p["proof"]["proofs"][0]["primary_proof"]["ge_proofs"][0]["predicate"]["value"] = 1.into();
            },
            "Predicate",
        ),
        (
            "a proof without the comparison",
            |p| {
                p["proof"]["proofs"][0]["primary_proof"]["ge_proofs"] = json!([]);
            },
            "Predicate",
        ),
        (
            "a proof with a comparison too many",
            |p| {
                let list = &mut p["proof"]["proofs"][0]["primary_proof"]["ge_proofs"];
                let mut more = list[0].clone();
                more["predicate"]["p_type"] = "GT".into();
                list.as_array_mut().unwrap().push(more);
            },
            "ExtraPredicate",
        ),
        (
            "a list for what cannot be revoked",
            |p| p["identifiers"][1]["timestamp"] = START.into(),
            "NotRevocable",
        ),
        ("no timestamp", |p| p["identifiers"][0]["timestamp"] = Value::Null, "NonRevocationMissing"),
        ("no registry", |p| p["identifiers"][0]["rev_reg_id"] = Value::Null, "NonRevocationMissing"),
        (
            "no proof of non-revocation",
            |p| {
                p["proof"]["proofs"][0]["non_revoc_proof"] = Value::Null;
            },
            "NonRevocationMissing",
        ),
        ("an unknown registry", |p| p["identifiers"][0]["rev_reg_id"] = "did:x".into(), "Unknown"),
        ("another list", |p| p["identifiers"][0]["timestamp"] = (START + 1).into(), "Stale"),
        (
            "other commitments hashed",
            |p| {
                p["proof"]["aggregated_proof"]["c_list"][0][0] = 77.into();
            },
            "Commitments",
        ),
        (
            "a commitment dropped",
            |p| {
                p["proof"]["aggregated_proof"]["c_list"].as_array_mut().unwrap().pop();
            },
            "Commitments",
        ),
        ("another challenge", |p| p["proof"]["aggregated_proof"]["c_hash"] = "5".into(), "ProofRejected"),
        (
            "another answer e",
            |p| {
                p["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["e"] = "5".into();
            },
            "ProofRejected",
        ),
        (
            "another answer for the link secret",
            |p| {
                p["proof"]["proofs"][1]["primary_proof"]["eq_proof"]["m"]["master_secret"] = "5".into();
            },
            "ProofRejected",
        ),
        (
            "another answer in the comparison",
            |p| {
                p["proof"]["proofs"][0]["primary_proof"]["ge_proofs"][0]["u"]["0"] = "5".into();
            },
            "ProofRejected",
        ),
        (
            "a comparison without a commitment",
            |p| {
                let t = &mut p["proof"]["proofs"][0]["primary_proof"]["ge_proofs"][0]["t"];
                t.as_object_mut().unwrap().remove("DELTA");
            },
            "Commitments",
        ),
        (
            "an equality without an answer",
            |p| {
                let m = &mut p["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["m"];
                m.as_object_mut().unwrap().remove("limit_day");
            },
            "Library",
        ),
        (
            "another answer in non-revocation",
            |p| {
                let x = &mut p["proof"]["proofs"][0]["non_revoc_proof"]["x_list"];
                x["rho"] = "0".repeat(64).into();
            },
            "ProofRejected",
        ),
    ];
    for (name, change, expected) in table {
        let mut changed = original.clone();
        change(&mut changed);
        let changed =
            Presentation::from_json(&bytes(&changed)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let error = world.verify(&changed, &request).expect_err(name);
        assert_eq!(variant(&error), *expected, "{name}: {error}");
    }
}

#[test]
fn a_request_policy_or_object_that_does_not_fit_is_refused() {
    let mut world = World::new();
    let request = full_request(&world);
    let presentation = full_presentation(&world, &request, &world.registry.witness(INDEX));
    let refuse =
        |request: &ProofRequest, objects: &KnownObjects, policy: &FreshnessPolicy, expected: &str| {
            let error = verifier::verify(&presentation, request, objects, policy).unwrap_err();
            assert_eq!(variant(&error), expected, "{error}");
        };
    let (objects, fresh) = (world.objects(), world.registry.fresh());
    refuse(&request.with_nonce(Nonce::random().unwrap()), &objects, &fresh, "ProofRejected");
    refuse(&request, &objects, &FreshnessPolicy::new(), "NoFreshness");
    refuse(&request, &KnownObjects::new(), &fresh, "Unknown");
    let with_interval = |interval: Option<Interval>| {
        let mut json = value(&request.to_json());
        json["non_revoked"] =
            interval.map_or(Value::Null, |i| json!({ "from": i.from.map(Timestamp::seconds) }));
        ProofRequest::from_json(&bytes(&json)).unwrap()
    };
    refuse(&with_interval(None), &objects, &fresh, "NonRevocationNotAsked");
    let later = Interval { from: Some(at(START + 1)), to: None };
    refuse(&with_interval(Some(later)), &objects, &fresh, "OutsideInterval");

    // The newest list is another: whoever shows the old one, revoked or not, is refused.
    world.registry.change(&world.driver, &[], &[9]);
    refuse(&request, &world.objects(), &world.registry.fresh(), "Stale");
    // The old interval and list alone would have let a revoked holder pass.
    world.registry.change(&world.driver, &[], &[INDEX]);
    refuse(&request, &world.objects(), &world.registry.fresh(), "Stale");
    assert!(verifier::verify(&presentation, &request, &objects, &fresh).is_ok());
}

#[test]
fn a_selection_that_does_not_fit_is_refused_before_anything_is_proved() {
    let world = World::new();
    let (request, witness) = (full_request(&world), world.registry.witness(INDEX));
    let licence = || Chosen::new(&world.licence, Some(&witness));
    let membership = || Chosen::new(&world.membership, None).reveal("level");
    let full = || licence().reveal("zones").reveal("contract").withhold("name").predicate("valid");
    let rest = |chosen| Selection::new().with(chosen).with(membership()).attest("phone", "555");
    let other = hold(&world.driver, &driver_values(), Some((&world.registry, 4)), &world.link_secret);
    let asked = |name: &str, comparison, bound| {
        let request = ProofRequest::builder("r", "1").non_revoked(world.interval());
        request.predicate("valid", name, comparison, bound, world.of_driver()).build().unwrap()
    };
    let only = || Selection::new().with(licence().predicate("valid"));
    let both = ProofRequest::builder("r", "1")
        .attribute("a", "expiry", world.of_driver())
        .predicate("valid", "expiry", Comparison::AtLeast, 1, world.of_driver())
        .build()
        .unwrap();
    let old = ProofRequest::builder("r", "1")
        .attribute("a", "name", world.of_driver())
        .non_revoked(Interval { from: Some(at(START + 5)), to: None })
        .build()
        .unwrap();
    let table: Vec<(&str, &ProofRequest, Selection<'_>, &str)> = vec![
        ("not answered", &request, Selection::new().with(full()).with(membership()), "Answered"),
        ("answered twice", &request, rest(full().reveal("name")), "Answered"),
        ("not asked", &request, rest(full().reveal("x")), "NotAsked"),
        ("not asked as a predicate", &request, rest(full().predicate("name")), "NotAsked"),
        (
            "stated",
            &request,
            Selection::new().with(full().reveal("phone")).attest("level", "x"),
            "SelfAttested",
        ),
        (
            "another kind of credential",
            &request,
            Selection::new().with(full().reveal("level")).attest("phone", "5"),
            "Restriction",
        ),
        (
            "no witness",
            &request,
            {
                let bare = Chosen::new(&world.licence, None).reveal("zones").reveal("contract");
                rest(bare.withhold("name").predicate("valid"))
            },
            "NoWitness",
        ),
        (
            "another's witness",
            &request,
            {
                let other = Chosen::new(&other, Some(&witness)).reveal("zones").reveal("contract");
                rest(other.withhold("name").predicate("valid"))
            },
            "NoWitness",
        ),
    ];
    for (name, request, selection, expected) in table {
        let error =
            prepared::prepare(request, &selection, &world.link_secret, &world.objects()).expect_err(name);
        assert_eq!(variant(&error), expected, "{name}: {error}");
    }
    let refuse = |request: &ProofRequest, selection: &Selection<'_>, expected: &str| {
        let error = prepared::prepare(request, selection, &world.link_secret, &world.objects()).unwrap_err();
        assert_eq!(variant(&error), expected, "{error}");
    };
    refuse(&asked("expiry", Comparison::AtLeast, 20_301_232), &only(), "PredicateUnmet");
    refuse(&asked("expiry", Comparison::Below, 20_301_231), &only(), "PredicateUnmet");
    refuse(&asked("tariff", Comparison::AtLeast, 1), &only(), "PredicateUnmet");
    // True, but the difference does not fit into 32 bits, in which the proof is made.
    refuse(&asked("expiry", Comparison::AtLeast, i32::MIN), &only(), "PredicateUnmet");
    refuse(&asked("height", Comparison::AtLeast, 1), &only(), "NoAttribute");
    refuse(&both, &Selection::new().with(licence().reveal("a").predicate("valid")), "ShownAndCompared");
    refuse(&old, &Selection::new().with(licence().reveal("a")), "Interval");
    let none = Selection::choose(&request, [(&world.membership, None)], &world.objects()).unwrap_err();
    assert_eq!(variant(&none), "NoCredential");
}

#[test]
fn the_link_secret_cannot_be_asked_for() {
    let world = World::new();
    for name in ["master_secret", "Master_Secret", "master _secret"] {
        let request = ProofRequest::builder("r", "1").attribute("a", name, Restriction::none()).build();
        assert_eq!(variant(&request.unwrap_err()), "Field");
        assert!(AttributeValues::new([(name, "1")]).is_err());
        assert!(Schema::new(id("did:x"), "s", "1", [name]).is_err());
    }
    assert_eq!(format!("{:?}", world.link_secret), "LinkSecret");
    let shown = format!("{:?} {:?} {:?}", world.driver.secret, world.registry.secret, world.licence);
    let secret = world.driver.secret.export_secret().unwrap();
    let p = value(&secret)["p_key"]["p"].as_str().unwrap().to_owned();
    assert!(!shown.contains(&p) && !shown.contains("Ada"), "{shown}");
}

#[test]
fn credentials_of_two_holders_do_not_make_one_presentation() {
    let world = World::new();
    let another = LinkSecret::random().unwrap();
    let membership = hold(&world.member, &member_values(), None, &another);
    let request = ProofRequest::builder("r", "1")
        .attribute("contract", "contract", world.of_driver())
        .attribute("level", "level", world.of_member())
        .non_revoked(world.interval())
        .build()
        .unwrap();
    let witness = world.registry.witness(INDEX);
    let held = [(&world.licence, Some(&witness)), (&membership, None)];
    let selection = Selection::choose(&request, held, &world.objects()).unwrap();
    let prepared = prepared::prepare(&request, &selection, &world.link_secret, &world.objects()).unwrap();
    let error = world.verify(&prepared.answer(&request).unwrap(), &request).unwrap_err();
    assert_eq!(variant(&error), "ProofRejected");
}

#[test]
fn a_credential_that_is_not_what_was_agreed_to_is_refused() {
    let world = World::new();
    let (driver, registry) = (&world.driver, &world.registry);
    let offer = driver.offer();
    let (request, pending) =
        holder::request(&offer, &driver.cred_def_id, &driver.definition, &world.link_secret).unwrap();
    let place = Place {
        registry: &registry.definition,
        secret: &registry.secret,
        list: &registry.list,
        index: registry.index(6),
    };
    let (definition, secret, values) = (&driver.definition, &driver.secret, driver_values());
    let issued = issuer::issue(definition, secret, &offer, &request, &values, Some(place)).unwrap();
    let original = value(&issued.to_json());
    type Change = fn(&mut Value);
    let table: &[(&str, Change, &str)] = &[
        (
            "another value",
            |c| {
                c["values"]["limit_day"] = json!({ "raw": "8000", "encoded": "8000" });
            },
            "Field",
        ),
        ("another number", |c| c["values"]["limit_day"]["encoded"] = "8000".into(), "Field"),
        ("a value less", |c| drop(c["values"].as_object_mut().unwrap().remove("name")), "Field"),
        ("another definition", |c| c["cred_def_id"] = "did:x".into(), "Mismatch"),
        ("another schema", |c| c["schema_id"] = "did:x".into(), "Mismatch"),
        ("no registry", |c| c["rev_reg_id"] = Value::Null, "Revocation"),
        ("no witness", |c| c["witness"] = Value::Null, "Revocation"),
        (
            "no revocation at all",
            |c| {
                for name in ["rev_reg_id", "rev_reg", "witness"] {
                    c[name] = Value::Null;
                }
                c["signature"]["r_credential"] = Value::Null;
            },
            "Revocation",
        ),
        ("index 0", |c| c["signature"]["r_credential"]["i"] = 0.into(), "Index"),
        ("index beyond the list", |c| c["signature"]["r_credential"]["i"] = 12.into(), "Index"),
        ("another signature", |c| c["signature"]["p_credential"]["v"] = "5".into(), "Library"),
        ("a signature's e that is no prime", |c| c["signature"]["p_credential"]["e"] = "8".into(), "Library"),
        (
            "another proof of the signature",
            |c| c["signature_correctness_proof"]["se"] = "5".into(),
            "Library",
        ),
        (
            "another place",
            |c| {
                let other = c["signature"]["r_credential"]["witness_signature"]["g_i"].clone();
                c["signature"]["r_credential"]["sigma"] = other;
            },
            "Library",
        ),
        (
            "another witness",
            |c| {
                let other = c["rev_reg"]["accum"].clone();
                c["witness"]["omega"] = other;
            },
            "Library",
        ),
    ];
    for (name, change, expected) in table {
        let mut changed = original.clone();
        change(&mut changed);
        let taken = Credential::from_json(&bytes(&changed)).and_then(|credential| {
            pending.accept(credential, &world.link_secret, definition, Some(&registry.definition), &values)
        });
        let error = taken.expect_err(name);
        assert_eq!(variant(&error), *expected, "{name}: {error}");
    }
    let again = || Credential::from_json(&bytes(&original)).unwrap();
    let another = LinkSecret::random().unwrap();
    let registry = Some(&registry.definition);
    assert!(pending.accept(again(), &another, definition, registry, &values).is_err());
    assert!(pending.accept(again(), &world.link_secret, definition, None, &values).is_err());
    pending.accept(again(), &world.link_secret, definition, registry, &values).unwrap();
}

#[test]
fn an_issuer_refuses_requests_and_places_that_do_not_fit() {
    let world = World::new();
    let (driver, member, registry) = (&world.driver, &world.member, &world.registry);
    let offer = driver.offer();
    let (request, _) =
        holder::request(&offer, &driver.cred_def_id, &driver.definition, &world.link_secret).unwrap();
    let place = |index| Place {
        registry: &registry.definition,
        secret: &registry.secret,
        list: &registry.list,
        index: registry.index(index),
    };
    let issue = |offer: &CredentialOffer, request: &CredentialRequest, values: &AttributeValues, place| {
        let issued = issuer::issue(&driver.definition, &driver.secret, offer, request, values, place);
        issued.err().map(|error| variant(&error)).unwrap_or_default()
    };
    let values = driver_values();
    assert_eq!(issue(&offer, &request, &values, Some(place(1))), "");
    assert_eq!(issue(&offer, &request, &values, None), "Revocation");
    assert_eq!(issue(&offer, &request, &member_values(), Some(place(1))), "Field");
    // A request that answers another offer's nonce.
    assert_eq!(issue(&driver.offer(), &request, &values, Some(place(1))), "Library");
    assert_eq!(issue(&member.offer(), &request, &values, Some(place(1))), "Mismatch");

    // What made the library panic: a correctness proof without the member that is looked up.
    let original = value(&request.to_json());
    let proof = "blinded_ms_correctness_proof";
    type Change = fn(&mut Value, &str);
    let table: &[(&str, Change)] = &[
        ("no answer", |r, proof| r[proof]["m_caps"] = json!({})),
        ("another answer", |r, proof| r[proof]["m_caps"] = json!({ "x": "5" })),
        ("two hidden", |r, _| r["blinded_ms"]["hidden_attributes"] = json!(["master_secret", "name"])),
        ("none hidden", |r, _| r["blinded_ms"]["hidden_attributes"] = json!([])),
        ("a commitment", |r, _| r["blinded_ms"]["committed_attributes"] = json!({ "name": "5" })),
        ("both contexts", |r, _| r["prover_did"] = "x".into()),
        ("no context", |r, _| drop(r.as_object_mut().unwrap().remove("entropy"))),
    ];
    for (name, change) in table {
        let mut changed = original.clone();
        change(&mut changed, proof);
        assert!(CredentialRequest::from_json(&bytes(&changed)).is_err(), "{name}");
    }
    let mut changed = original;
    changed["blinded_ms"]["ur"] = Value::Null;
    let changed = CredentialRequest::from_json(&bytes(&changed)).unwrap();
    assert_eq!(issue(&offer, &changed, &values, Some(place(1))), "Library");

    // And the holder refuses a key whose correctness is not proved.
    let mut bad = value(&offer.to_json());
    bad["key_correctness_proof"]["c"] = "5".into();
    let bad = CredentialOffer::from_json(&bytes(&bad)).unwrap();
    assert!(holder::request(&bad, &driver.cred_def_id, &driver.definition, &world.link_secret).is_err());
    // The library lets the proof for the link secret's base be missing.
    let mut bad = value(&offer.to_json());
    let pairs = bad["key_correctness_proof"]["xr_cap"].as_array_mut().unwrap();
    pairs.retain(|pair| pair[0] != "master_secret");
    let bad = CredentialOffer::from_json(&bytes(&bad)).unwrap();
    let refused = holder::request(&bad, &driver.cred_def_id, &driver.definition, &world.link_secret);
    assert_eq!(variant(&refused.unwrap_err()), "Field");
    assert!(holder::request(&offer, &member.cred_def_id, &driver.definition, &world.link_secret).is_err());
}
