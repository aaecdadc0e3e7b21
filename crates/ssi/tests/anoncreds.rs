//! AnonCreds among our own issuer, holder and verifier.

mod anoncreds_world;

use anoncreds_world::*;
use eroam_ssi::anoncreds::*;

#[test]
fn a_driver_is_issued_presents_and_is_verified() {
    let world = World::new();
    let request = ProofRequest::from_json(&world.request().to_json()).unwrap();
    let presentation = world.present(&request, &world.registry.witness(INDEX));
    let presentation = Presentation::from_json(&presentation.to_json()).unwrap();
    let verified = world.verify(&presentation, &request).unwrap();
    assert_eq!(verified.value("zones", "allowed_zones"), Some("A,B"));
    assert_eq!(verified.value("zones", "tariff"), Some("std"));
    let predicate = &verified.predicates()["valid"];
    assert_eq!((predicate.comparison, predicate.bound), (Comparison::AtLeast, 20_261_122));
    assert!(verified.self_attested().is_empty() && verified.unrevealed().is_empty());
    let [credential] = verified.credentials() else { panic!("one credential") };
    assert_eq!(credential.issuer_id, id("did:eroam:emsp"));
    assert_eq!(credential.cred_def_id, world.driver.cred_def_id);
    assert_eq!(credential.not_revoked_in, Some((world.registry.id.clone(), at(START))));
}

#[test]
fn every_comparison_holds_at_its_bound_and_is_refused_beyond() {
    let world = World::new();
    let (valid, since) = (20_301_231, -5);
    let table = [
        ("expiry", Comparison::AtLeast, valid, true),
        ("expiry", Comparison::AtLeast, valid + 1, false),
        ("expiry", Comparison::Above, valid - 1, true),
        ("expiry", Comparison::Above, valid, false),
        ("expiry", Comparison::AtMost, valid, true),
        ("expiry", Comparison::AtMost, valid - 1, false),
        ("expiry", Comparison::Below, valid + 1, true),
        ("expiry", Comparison::Below, valid, false),
        ("since", Comparison::AtLeast, since, true),
        ("since", Comparison::Below, since + 1, true),
        ("since", Comparison::Above, since, false),
    ];
    let witness = world.registry.witness(INDEX);
    for (name, comparison, bound, holds) in table {
        let request = ProofRequest::builder("r", "1").non_revoked(world.interval());
        let request = request.predicate("p", name, comparison, bound, Restriction::none()).build().unwrap();
        let held = [(&world.licence, Some(&witness)), (&world.membership, None)];
        match Selection::choose(&request, held, &world.objects()) {
            Ok(_) if holds => drop(world.verify(&world.present(&request, &witness), &request).unwrap()),
            Err(PresentError::NoCredential { .. }) if !holds => {}
            other => panic!("{name} {comparison:?} {bound}: {other:?}"),
        }
    }
    let beyond = |comparison, bound| {
        ProofRequest::builder("r", "1").predicate("p", "x", comparison, bound, Restriction::none()).build()
    };
    assert!(beyond(Comparison::Above, i32::MAX).is_err() && beyond(Comparison::Below, i32::MIN).is_err());
}

#[test]
fn a_negative_number_is_signed_shown_and_proved() {
    let world = World::new();
    let request = ProofRequest::builder("r", "1").group("a", ["since", "Level"], world.of_member()).build();
    let request = request.unwrap();
    let presentation = world.present(&request, &world.registry.witness(INDEX));
    let verified =
        world.verify(&Presentation::from_json(&presentation.to_json()).unwrap(), &request).unwrap();
    assert_eq!((verified.value("a", "since"), verified.value("a", "Level")), (Some("-5"), Some("gold")));
}

#[test]
fn a_prepared_proof_answers_only_what_it_was_prepared_for() {
    let mut world = World::new();
    let template = world.request();
    let witness = world.registry.witness(INDEX);
    let prepare = |world: &World, witness: &WitnessState| {
        let held = [(&world.licence, Some(witness))];
        let selection = Selection::choose(&template, held, &world.objects()).unwrap();
        prepared::prepare(&template, &selection, &world.link_secret, &world.objects()).unwrap()
    };
    // The same with another nonce, and with a later end of the interval.
    let asked = template.with_nonce(Nonce::from_bytes(*b"transcript").unwrap());
    let ready = prepare(&world, &witness);
    assert!(ready.fits(&asked));
    assert_eq!(ready.status_lists().collect::<Vec<_>>(), [(&world.registry.id, at(START))]);
    world.verify(&ready.answer(&asked).unwrap(), &asked).unwrap();

    // Another question, or a list that has been replaced, needs another proof.
    let more = ProofRequest::builder("charge", "1.0")
        .group("zones", ["allowed_zones", "tariff", "name"], world.of_driver())
        .predicate("valid", "expiry", Comparison::AtLeast, 20_261_122, world.of_driver())
        .non_revoked(world.interval())
        .build()
        .unwrap();
    let refused = prepare(&world, &witness).answer(&more);
    assert!(matches!(refused, Err(PresentError::OtherRequest)));
    let ready = prepare(&world, &witness);
    let delta = world.registry.change(&world.driver, &[], &[8]);
    let newer = world.request();
    assert!(!ready.fits(&newer));
    let mut witness = witness;
    witness.apply(&delta, &world.registry.definition, &world.registry.tails()).unwrap();
    let selection = Selection::choose(&newer, [(&world.licence, Some(&witness))], &world.objects()).unwrap();
    let ready = prepared::prepare(&newer, &selection, &world.link_secret, &world.objects()).unwrap();
    world.verify(&ready.answer(&newer).unwrap(), &newer).unwrap();
}

#[test]
fn two_presentations_of_one_credential_share_no_number() {
    let world = World::new();
    let (request, witness) = (world.request(), world.registry.witness(INDEX));
    let proof = || {
        let json: serde_json::Value =
            serde_json::from_slice(&world.present(&request, &witness).to_json()).unwrap();
        let proof = &json["proof"]["proofs"][0];
        let points = proof["non_revoc_proof"]["c_list"].as_object().unwrap().values();
        let numbers = proof["primary_proof"]["eq_proof"]["m"].as_object().unwrap().values();
        let prime = &proof["primary_proof"]["eq_proof"]["a_prime"];
        let all = points.chain(numbers).chain([prime]).map(ToString::to_string);
        all.collect::<std::collections::BTreeSet<_>>()
    };
    assert!(proof().is_disjoint(&proof()));
}

#[test]
fn a_witness_follows_many_changes_and_serves_after_them() {
    let mut world = World::new();
    world.registry = world.driver.registry(60);
    world.licence = hold(&world.driver, &driver_values(), Some((&world.registry, INDEX)), &world.link_secret);
    let tails = world.registry.tails();
    let mut followed = world.registry.witness(INDEX);
    let first = world.registry.list.clone();
    let mut deltas = Vec::new();
    for index in 4..44 {
        let restored: &[u32] = if index % 5 == 0 { &[index - 1] } else { &[] };
        let delta = world.registry.change(&world.driver, restored, &[index]);
        let delta = StatusDelta::from_json(&delta.to_json()).unwrap();
        followed.apply(&delta, &world.registry.definition, &tails).unwrap();
        deltas.push(delta);
    }
    assert_eq!(StatusList::rebuild(&first, &deltas).unwrap(), world.registry.list);
    assert_eq!(world.registry.list.revoked_count(), 32);
    let followed = WitnessState::from_json(&followed.to_json().unwrap()).unwrap();
    let mut jumped =
        WitnessState::create(&world.registry.definition, world.registry.index(INDEX), &first, &tails)
            .unwrap();
    jumped.move_to(&world.registry.list, &world.registry.definition, &tails).unwrap();
    let request = world.request();
    for witness in [followed.clone(), jumped, world.registry.witness(INDEX)] {
        world.verify(&world.present(&request, &witness), &request).unwrap();
    }

    // A change that is missing, repeated or of another registry is noticed, and changes nothing.
    let mut state = followed;
    let missed = world.registry.change(&world.driver, &[], &[50]);
    let next = world.registry.change(&world.driver, &[], &[51]);
    assert!(state.apply(&next, &world.registry.definition, &tails).is_err());
    assert!(state.apply(&deltas[0], &world.registry.definition, &tails).is_err());
    assert!(StatusList::rebuild(&first, &deltas[1..]).is_err());
    state.apply(&missed, &world.registry.definition, &tails).unwrap();
    assert!(state.apply(&missed, &world.registry.definition, &tails).is_err());
    state.apply(&next, &world.registry.definition, &tails).unwrap();
    let request = world.request();
    world.verify(&world.present(&request, &state), &request).unwrap();
}

#[test]
fn a_list_takes_only_changes_that_change_something() {
    let world = World::new();
    let registry = &world.registry;
    let change = |list: &StatusList, restored: &[u32], revoked: &[u32], now: u64| {
        let set = |of: &[u32]| of.iter().map(|index| registry.index(*index)).collect();
        let (restored, revoked) = (set(restored), set(revoked));
        issuer::next_status_list(
            &world.driver.definition,
            &registry.secret,
            list,
            &restored,
            &revoked,
            at(now),
        )
    };
    let (list, delta) = change(&registry.list, &[], &[1, 11], START + 1).unwrap();
    assert!(list.is_revoked(registry.index(11)) && !list.is_revoked(registry.index(2)));
    assert_eq!(delta.revoked().len(), 2);
    assert_eq!(StatusList::from_json(&list.to_json()).unwrap(), list);
    let bits = serde_json::from_slice::<serde_json::Value>(&list.to_json()).unwrap();
    assert_eq!(bits["revocationList"].to_string(), "[0,1,0,0,0,0,0,0,0,0,0,1]");
    for (restored, revoked) in [(&[][..], &[1][..]), (&[2], &[]), (&[1], &[1])] {
        let refused = change(&list, restored, revoked, START + 2).unwrap_err();
        assert!(matches!(refused, AnonCredsError::Transition { .. }), "{refused}");
    }
    assert!(change(&list, &[], &[2], START + 1).is_err(), "not later");
    for index in [0, 12, 13, u32::MAX] {
        assert!(matches!(RevocationIndex::new(index, 12), Err(AnonCredsError::Index { .. })), "{index}");
    }
    let taken = (1..11).map(|index| registry.index(index)).collect();
    assert_eq!(RevocationIndex::lowest_free(&registry.definition, &taken), Some(registry.index(11)));
    let all = (1..12).map(|index| registry.index(index)).collect();
    assert_eq!(RevocationIndex::lowest_free(&registry.definition, &all), None);
}

#[test]
fn tails_that_are_not_the_registrys_are_not_opened() {
    let world = World::new();
    let registry = &world.registry;
    assert_eq!(registry.tails.len(), 2 + 128 * 25);
    Tails::open(registry.tails.clone(), &registry.definition).unwrap();
    for at in [0, 1, 2, 700, registry.tails.len() - 1] {
        let mut flipped = registry.tails.clone();
        flipped[at] ^= 1;
        assert!(matches!(Tails::open(flipped, &registry.definition), Err(AnonCredsError::Tails(_))), "{at}");
    }
    let mut long = registry.tails.clone();
    long.push(0);
    assert!(Tails::open(long, &registry.definition).is_err());
    assert!(Tails::open(registry.tails[..100].to_vec(), &registry.definition).is_err());
    assert!(Tails::open(Vec::new(), &registry.definition).is_err());
    // Another registry's tails do not serve, even if they were opened for that one.
    let other = world.driver.registry(12);
    let created =
        WitnessState::create(&registry.definition, registry.index(1), &registry.list, &other.tails());
    assert!(matches!(created, Err(AnonCredsError::Mismatch { .. })));
}

#[test]
fn restrictions_choose_and_refuse() {
    let world = World::new();
    let witness = world.registry.witness(INDEX);
    let table = [
        (r#"[]"#, true),
        (r#"{}"#, true),
        (r#"[{}]"#, true),
        (r#"{"$or":[]}"#, true),
        (r#"[{"schema_id":"did:eroam:emsp/schema/driver"}]"#, true),
        (r#"[{"schema_issuer_id":"did:eroam:emsp","schema_name":"driver","schema_version":"1.0"}]"#, true),
        (r#"[{"schema_name":"driver","schema_version":"1.1"}]"#, false),
        (r#"[{"schema_version":"9"},{"issuer_id":"did:eroam:emsp"}]"#, true),
        (r#"[{},{"issuer_id":"did:eroam:club"}]"#, false),
        (r#"[{"cred_def_id":null,"issuer_id":"did:eroam:emsp"}]"#, true),
        (
            r#"{"cred_def_id":"did:eroam:emsp/def/driver","rev_reg_id":"did:eroam:emsp/def/driver/reg/0"}"#,
            true,
        ),
        (r#"{"rev_reg_id":"did:other"}"#, false),
        (r#"[{"issuer_did":"did:eroam:emsp"}]"#, false),
        (r#"[{"attr::allowed_zones::marker":"1"}]"#, true),
        (r#"[{"attr::Customer ID::marker":"1"}]"#, true),
        (r#"[{"attr::height::marker":"1"}]"#, false),
        (r#"[{"attr::allowed_zones::marker":"0"}]"#, false),
        (r#"[{"attr::allowed_zones::value":"A,B"}]"#, true),
        (r#"[{"attr::allowed_zones::value":"A"}]"#, false),
        (r#"{"$and":[{"issuer_id":"did:eroam:emsp"},{"schema_name":"driver"}]}"#, true),
        (r#"{"$and":[{"issuer_id":"did:eroam:emsp"},{"schema_name":"x"}]}"#, false),
        (r#"{"$or":[{"issuer_id":"did:eroam:club"},{"schema_name":"driver"}]}"#, true),
        (r#"{"$not":{"issuer_id":"did:eroam:club"}}"#, true),
        (r#"{"$not":{"issuer_id":"did:eroam:emsp"}}"#, false),
        (r#"{"issuer_id":{"$neq":"did:eroam:club"}}"#, true),
        (r#"{"issuer_id":{"$neq":"did:eroam:emsp"}}"#, false),
        (r#"{"issuer_id":{"$in":["did:x","did:eroam:emsp"]}}"#, true),
        (r#"{"issuer_id":{"$in":[]}}"#, false),
    ];
    for (restrictions, admits) in table {
        let json = format!(
            r#"{{"name":"r","version":"1","nonce":"5","non_revoked":{{"from":{START}}},
                "requested_attributes":{{"z":{{"name":"allowed_zones","restrictions":{restrictions}}}}}}}"#
        );
        let request = ProofRequest::from_json(json.as_bytes()).unwrap();
        assert_eq!(ProofRequest::from_json(&request.to_json()).unwrap(), request, "{restrictions}");
        let chosen = Selection::choose(&request, [(&world.licence, Some(&witness))], &world.objects());
        assert_eq!(chosen.is_ok(), admits, "{restrictions}");
        // The verifier judges by what is proved: the same presentation, held against this request.
        let open = json.replace(restrictions, "[]");
        let open = ProofRequest::from_json(open.as_bytes()).unwrap();
        let verified = world.verify(&world.present(&open, &witness), &request);
        assert_eq!(verified.is_ok(), admits, "{restrictions}");
        assert!(admits || matches!(verified, Err(VerifyError::Restriction { .. })));
    }
    let refused = [
        r#"[{"colour":"red"}]"#,
        r#"[{"attr::x":"1"}]"#,
        r#"[{"attr::x::y::value":"1"}]"#,
        r#"[5]"#,
        r#""x""#,
        r#"{"$and":{}}"#,
        r#"{"$not":[]}"#,
        r#"{"issuer_id":5}"#,
        r#"{"issuer_id":{"$gt":"a"}}"#,
        r#"{"issuer_id":{"$like":"a"}}"#,
        r#"{"$exist":"issuer_id"}"#,
        r#"{"issuer_id":{"$in":[1]}}"#,
        r#"[{"issuer_id":"a"},{"issuer_did":"b"}]"#,
    ];
    for restrictions in refused {
        let json = format!(
            r#"{{"name":"r","version":"1","nonce":"5","requested_attributes":{{"z":{{"name":"x","restrictions":{restrictions}}}}}}}"#
        );
        assert!(ProofRequest::from_json(json.as_bytes()).is_err(), "{restrictions}");
    }
}

#[test]
fn a_value_that_is_not_shown_fulfils_no_restriction() {
    let world = World::new();
    let witness = world.registry.witness(INDEX);
    let restriction = Restriction::Equals(Tag::Value("tariff".to_owned()), "std".to_owned());
    let request = ProofRequest::builder("r", "1")
        .predicate("p", "limit_day", Comparison::AtLeast, 50, restriction.clone())
        .non_revoked(world.interval())
        .build()
        .unwrap();
    let refused = world.verify(&world.present(&request, &witness), &request);
    assert!(matches!(refused, Err(VerifyError::Restriction { .. })));
    let request = ProofRequest::builder("r", "1")
        .predicate("p", "limit_day", Comparison::AtLeast, 50, restriction)
        .attribute("tariff", "tariff", Restriction::none())
        .non_revoked(world.interval())
        .build()
        .unwrap();
    world.verify(&world.present(&request, &witness), &request).unwrap();
}

#[test]
fn an_interval_of_a_referent_goes_before_the_requests() {
    let world = World::new();
    let witness = world.registry.witness(INDEX);
    let request = |global: Option<Interval>, local: Option<Interval>| {
        let request = ProofRequest::builder("r", "1").attribute("a", "name", world.of_driver());
        let request = global.into_iter().fold(request, ProofRequestBuilder::non_revoked);
        let request = local.into_iter().fold(request, |request, local| request.non_revoked_for("a", local));
        ProofRequest::from_json(&request.build().unwrap().to_json()).unwrap()
    };
    let (good, bad) = (world.interval(), Interval { from: None, to: Some(at(START - 1)) });
    for (global, local) in [(Some(good), None), (None, Some(good)), (Some(bad), Some(good))] {
        let request = request(global, local);
        world.verify(&world.present(&request, &witness), &request).unwrap();
    }
    for (global, local) in [(Some(bad), None), (Some(good), Some(bad))] {
        let request = request(global, local);
        let selection = Selection::new().with(Chosen::new(&world.licence, Some(&witness)).reveal("a"));
        let refused = prepared::prepare(&request, &selection, &world.link_secret, &world.objects());
        assert!(matches!(refused, Err(PresentError::Interval { .. })));
    }
    // Not asked: the holder names no list, and the verifier takes no revocable credential without one.
    let request = request(None, None);
    let silent = world.present(&request, &witness);
    assert_eq!(silent.status_lists().count(), 0);
    assert!(matches!(world.verify(&silent, &request), Err(VerifyError::NonRevocationNotAsked { .. })));
}

#[test]
fn as_many_credentials_as_are_allowed_fit_into_one_presentation() {
    let world = World::new();
    let (values, indices) = (driver_values(), 1..=u32::try_from(limits::CREDENTIALS_MAX).unwrap());
    let held: Vec<_> = indices
        .map(|index| {
            let licence = hold(&world.driver, &values, Some((&world.registry, index)), &world.link_secret);
            (licence, world.registry.witness(index))
        })
        .collect();
    let mut builder = ProofRequest::builder("r", "1").non_revoked(world.interval());
    let mut selection = Selection::new();
    for (n, (licence, witness)) in held.iter().enumerate() {
        let (attribute, predicate) = (format!("a{n}"), format!("p{n}"));
        builder = builder.group(&attribute, ["tariff", "name"], world.of_driver());
        let mut chosen = Chosen::new(licence, Some(witness)).reveal(&attribute);
        if n < 4 {
            builder = builder.predicate(&predicate, "expiry", Comparison::AtLeast, 1, world.of_driver());
            chosen = chosen.predicate(&predicate);
        }
        selection = selection.with(chosen);
    }
    let request = builder.build().unwrap();
    let prepared = prepared::prepare(&request, &selection, &world.link_secret, &world.objects()).unwrap();
    let json = prepared.answer(&request).unwrap().to_json();
    let size = (json.len(), json.iter().filter(|byte| **byte == b',').count());
    let presentation = Presentation::from_json(&json).unwrap_or_else(|error| panic!("{size:?}: {error}"));
    let verified = world.verify(&presentation, &request).unwrap();
    assert_eq!(verified.credentials().len(), limits::CREDENTIALS_MAX);
}

#[test]
fn verification_is_shared_by_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<(PublicKey, KnownObjects, VerifiedPresentation)>();
    shared::<(ProofRequest, Presentation, FreshnessPolicy, WitnessState, Tails, HeldCredential, LinkSecret)>(
    );
    let world = World::new();
    let request = world.request();
    let presentation = world.present(&request, &world.registry.witness(INDEX));
    let (objects, policy) = (world.objects(), world.registry.fresh());
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| verifier::verify(&presentation, &request, &objects, &policy).unwrap());
        }
    });
}

#[test]
fn every_key_in_the_vectors_is_read() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/vectors/anoncreds");
    let mut names: Vec<String> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .flat_map(|entry| std::fs::read_dir(entry.path()).unwrap())
        .map(|entry| entry.unwrap().path().strip_prefix(directory).unwrap().display().to_string())
        .collect();
    names.sort();
    let (driver, member) = (Issuer::driver(), Issuer::member());
    assert!(driver.definition.is_revocable() && !member.definition.is_revocable());
    let files = ["definition.json", "key_correctness.json", "schema.json", "secret.json"];
    let read: Vec<String> =
        ["driver", "member"].iter().flat_map(|kind| files.map(|file| format!("{kind}/{file}"))).collect();
    assert_eq!(names, read);
}

/// The lengths of the scheme are made for 2048 bits, and arithmetic is fast with a whole number of four words.
#[test]
fn a_new_key_has_2048_bits_and_signs_and_its_proof_holds_for_no_other() {
    let schema = Schema::new(id("did:eroam:club"), "member", "1.0", vec!["level", "since"]).unwrap();
    let (schema_id, def_id) = (id("did:eroam:club/schema/member"), id("did:eroam:club/def/member"));
    let make = || {
        issuer::new_credential_definition(id("did:eroam:club"), schema_id.clone(), &schema, "1", false)
            .unwrap()
    };
    let (new, other) = (make(), make());
    let written: serde_json::Value = serde_json::from_slice(&new.definition.to_json()).unwrap();
    let modulus = written["value"]["primary"]["n"].as_str().unwrap();
    assert_eq!(modulus.parse::<num_bigint::BigUint>().unwrap().bits(), 2048);

    let offer = issuer::offer(schema_id.clone(), def_id.clone(), &new.key_correctness).unwrap();
    let link_secret = LinkSecret::random().unwrap();
    let (request, pending) = holder::request(&offer, &def_id, &new.definition, &link_secret).unwrap();
    let values = AttributeValues::new([("level", "gold"), ("since", "2026")]).unwrap();
    let issued = issuer::issue(&new.definition, &new.secret, &offer, &request, &values, None).unwrap();
    pending.accept(issued, &link_secret, &new.definition, None, &values).unwrap();

    let foreign = issuer::offer(schema_id.clone(), def_id.clone(), &other.key_correctness).unwrap();
    assert!(holder::request(&foreign, &def_id, &new.definition, &link_secret).is_err());
}
