//! What strangers could send: nothing of it panics, and what is not canonical is not read.

mod anoncreds_world;

use anoncreds_world::*;
use eroam_ssi::anoncreds::issuer::Place;
use eroam_ssi::anoncreds::*;
use eroam_ssi::json::JsonError;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};
use std::sync::LazyLock;

fn value(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

/// One of every message, all of one story, so that a changed one meets the others.
struct Story {
    world: World,
    /// For the list before the change.
    witness: WitnessState,
    /// For the list after it.
    followed: WitnessState,
    offer: CredentialOffer,
    request: CredentialRequest,
    pending: PendingCredential,
    asked: ProofRequest,
    messages: Vec<(&'static str, Value)>,
}

static STORY: LazyLock<Story> = LazyLock::new(|| {
    let mut world = World::new();
    let witness = world.registry.witness(INDEX);
    let before = value(&world.registry.list.to_json());
    let delta = world.registry.change(&world.driver, &[], &[9]);
    let offer = world.driver.offer();
    let (request, pending) =
        holder::request(&offer, &world.driver.cred_def_id, &world.driver.definition, &world.link_secret)
            .unwrap();
    let place = Place {
        registry: &world.registry.definition,
        secret: &world.registry.secret,
        list: &world.registry.list,
        index: world.registry.index(6),
    };
    let (driver, values) = (&world.driver, driver_values());
    let credential =
        issuer::issue(&driver.definition, &driver.secret, &offer, &request, &values, Some(place));
    let mut followed = witness.clone();
    followed.apply(&delta, &world.registry.definition, &world.registry.tails()).unwrap();
    let asked = world.request();
    let presentation = world.present(&asked, &followed);
    let messages = vec![
        ("schema", value(&world.driver.schema.to_json())),
        ("definition", value(&world.driver.definition.to_json())),
        ("registry", value(&world.registry.definition.to_json())),
        ("list", before),
        ("delta", value(&delta.to_json())),
        ("offer", value(&offer.to_json())),
        ("request", value(&request.to_json())),
        ("credential", value(&credential.unwrap().to_json())),
        ("proof request", value(&asked.to_json())),
        ("presentation", value(&presentation.to_json())),
    ];
    Story { world, witness, followed, offer, request, pending, asked, messages }
});

/// Reads a message and does with it what its receiver does.
fn receive(kind: &str, json: &[u8]) -> Result<(), String> {
    let story = &*STORY;
    let (world, driver) = (&story.world, &story.world.driver);
    let text = |error: &dyn std::error::Error| error.to_string();
    let refused = |error: AnonCredsError| text(&error);
    let place = |registry| Place {
        registry,
        secret: &world.registry.secret,
        list: &world.registry.list,
        index: world.registry.index(6),
    };
    match kind {
        "schema" => {
            let schema = Schema::from_json(json).map_err(refused)?;
            assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
        }
        "definition" => {
            let definition = CredentialDefinition::from_json(json).map_err(refused)?;
            let id = &driver.cred_def_id;
            holder::request(&story.offer, id, &definition, &world.link_secret).map_err(refused)?;
        }
        "registry" => {
            let registry = RevocationRegistryDefinition::from_json(json).map_err(refused)?;
            let index = RevocationIndex::new(5, registry.size()).map_err(refused)?;
            let tails = Tails::open(world.registry.tails.clone(), &registry).map_err(refused)?;
            WitnessState::create(&registry, index, &world.registry.list, &tails).map_err(refused)?;
            let values = driver_values();
            let (definition, secret) = (&driver.definition, &driver.secret);
            let place = Some(place(&registry));
            issuer::issue(definition, secret, &story.offer, &story.request, &values, place)
                .map_err(refused)?;
        }
        "list" => {
            let list = StatusList::from_json(json).map_err(refused)?;
            assert_eq!(StatusList::from_json(&list.to_json()).unwrap(), list);
            let (registry, tails) = (&world.registry.definition, world.registry.tails());
            WitnessState::create(registry, world.registry.index(5), &list, &tails).map_err(refused)?;
            story.witness.clone().move_to(&list, registry, &tails).map_err(refused)?;
        }
        "delta" => {
            let delta = StatusDelta::from_json(json).map_err(refused)?;
            let (registry, tails) = (&world.registry.definition, world.registry.tails());
            story.witness.clone().apply(&delta, registry, &tails).map_err(refused)?;
        }
        "offer" => {
            let offer = CredentialOffer::from_json(json).map_err(refused)?;
            let id = &driver.cred_def_id;
            holder::request(&offer, id, &driver.definition, &world.link_secret).map_err(refused)?;
        }
        "request" => {
            let request = CredentialRequest::from_json(json).map_err(refused)?;
            let (definition, secret, values) = (&driver.definition, &driver.secret, driver_values());
            let place = Some(place(&world.registry.definition));
            issuer::issue(definition, secret, &story.offer, &request, &values, place).map_err(refused)?;
        }
        "credential" => {
            let credential = Credential::from_json(json).map_err(refused)?;
            let (definition, registry) = (&driver.definition, Some(&world.registry.definition));
            let values = driver_values();
            let accepted =
                story.pending.accept(credential, &world.link_secret, definition, registry, &values);
            accepted.map_err(refused)?;
        }
        "proof request" => {
            let request = ProofRequest::from_json(json).map_err(refused)?;
            assert_eq!(ProofRequest::from_json(&request.to_json()).unwrap(), request);
            let held = [(&world.licence, Some(&story.followed)), (&world.membership, None)];
            let selection = Selection::choose(&request, held, &world.objects()).map_err(|e| text(&e))?;
            prepared::prepare(&request, &selection, &world.link_secret, &world.objects())
                .map_err(|e| text(&e))?;
        }
        _ => {
            let presentation = Presentation::from_json(json).map_err(refused)?;
            world.verify(&presentation, &story.asked).map_err(|e| text(&e))?;
        }
    }
    Ok(())
}

/// All places in a value.
fn places(value: &Value, at: &str, out: &mut Vec<String>) {
    out.push(at.to_owned());
    match value {
        Value::Array(items) => {
            // Long lists are all alike.
            for (n, item) in items.iter().enumerate().take(4) {
                places(item, &format!("{at}/{n}"), out);
            }
        }
        Value::Object(map) => {
            for (key, item) in map {
                places(item, &format!("{at}/{}", key.replace('~', "~0").replace('/', "~1")), out);
            }
        }
        _ => {}
    }
}

const ZERO: &str = "1 0000000000000000000000000000000000000000000000000000000000000000";

fn odd_value() -> impl Strategy<Value = Value> {
    let long = "9".repeat(1000);
    let point = "1 0000000000000000000000000000000000000000000000000000000000000001";
    let fixed = vec![
        Value::Null,
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("0"),
        json!("1"),
        json!("007"),
        json!("+1"),
        json!("-1"),
        json!("1_0"),
        json!("1\u{0}"),
        json!("12x"),
        json!(long),
        json!("é"),
        json!("1 é 1 é 1 é"),
        json!("F".repeat(64)),
        json!("é".repeat(32)),
        json!([point; 3].join(" ")),
        json!([point; 6].join(" ")),
        json!([point; 12].join(" ")),
        json!([point; 6].join(" ").replace("1 0", "4294967295 0")),
        json!([ZERO; 3].join(" ")),
        json!([ZERO; 6].join(" ")),
        json!([ZERO; 12].join(" ")),
        json!([]),
        json!({}),
        json!([[]]),
        json!([1, 2, 3]),
        json!({ "0": "1" }),
        json!({ "master_secret": "5" }),
        json!(["master_secret"]),
    ];
    prop_oneof![4 => proptest::sample::select(fixed), 1 => "[0-9A-F ]{0,80}".prop_map(Value::from)]
}

#[derive(Debug, Clone)]
enum Change {
    Replace(Value),
    Remove,
    Swap(Index),
    Double,
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        4 => odd_value().prop_map(Change::Replace),
        2 => Just(Change::Remove),
        2 => any::<Index>().prop_map(Change::Swap),
        1 => Just(Change::Double),
    ]
}

fn apply(message: &mut Value, at: Index, change: Change) {
    let mut all = Vec::new();
    places(message, "", &mut all);
    let at = at.get(&all);
    match change {
        Change::Replace(value) => *message.pointer_mut(at).unwrap() = value,
        Change::Remove => {
            let (parent, key) = at.rsplit_once('/').unwrap_or(("", ""));
            match message.pointer_mut(parent) {
                Some(Value::Object(map)) => drop(map.remove(key)),
                Some(Value::Array(items)) => drop(items.pop()),
                _ => {}
            }
        }
        Change::Swap(with) => {
            let other = message.pointer(with.get(&all).as_str()).unwrap().clone();
            *message.pointer_mut(at).unwrap() = other;
        }
        Change::Double => {
            let place = message.pointer_mut(at).unwrap();
            match place {
                Value::Array(items) => items.extend(items.clone()),
                Value::String(text) => *text = text.repeat(2),
                other => *other = json!([other.clone(), other.clone()]),
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_message_never_panics(
        kind in any::<Index>(),
        changes in proptest::collection::vec((any::<Index>(), change()), 1..3),
    ) {
        let (kind, original) = kind.get(&STORY.messages);
        let mut message = original.clone();
        for (at, change) in changes {
            apply(&mut message, at, change);
        }
        let _ = receive(kind, &bytes(&message));
    }

    #[test]
    fn arbitrary_bytes_never_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (kind, _) in &STORY.messages {
            let _ = receive(kind, &text);
        }
    }

    #[test]
    fn changed_bytes_never_panic(kind in any::<Index>(), at in any::<Index>(), byte in any::<u8>()) {
        let (kind, original) = kind.get(&STORY.messages);
        let mut message = bytes(original);
        *at.get_mut(&mut message) = byte;
        let _ = receive(kind, &message);
    }

    #[test]
    fn a_number_is_read_only_in_its_canonical_form(text in r"[-+ _0-9xa]{0,12}") {
        let canonical = num_bigint::BigUint::parse_bytes(text.as_bytes(), 10).is_some_and(|n| n.to_string() == text);
        prop_assert_eq!(Nonce::from_decimal(&text).is_ok(), canonical);
    }

    #[test]
    fn values_are_encoded_as_themselves_or_as_their_hash(number in any::<i32>(), text in ".{0,40}") {
        prop_assert_eq!(encode(&number.to_string()), number.to_string());
        if text.parse::<i32>().is_err() {
            let hash = num_bigint::BigUint::parse_bytes(encode(&text).as_bytes(), 10).unwrap();
            prop_assert!(hash.bits() <= 256);
        }
        prop_assert_eq!(normalise(&normalise(&text)), normalise(&text));
    }

    #[test]
    fn a_request_is_read_as_it_was_written(
        names in proptest::collection::btree_map("[a-z]{1,6}", "[A-Za-z ]{0,8}[a-z]", 1..6),
        bound in any::<i32>(),
        seconds in proptest::option::of(0_u64..4_000_000_000),
        tag in proptest::sample::select(vec![Tag::SchemaId, Tag::IssuerId, Tag::RevRegId, Tag::Value("x".to_owned())]),
        text in ".{0,20}",
    ) {
        let restriction = Restriction::Any(vec![
            Restriction::Equals(tag.clone(), text.clone()),
            Restriction::Not(Box::new(Restriction::OneOf(tag.clone(), vec![text.clone(), "é".to_owned()]))),
            Restriction::All(vec![Restriction::Differs(tag.clone(), text), Restriction::Equals(tag, String::new())]),
        ]);
        let mut builder = ProofRequest::builder("r", "1");
        for (referent, name) in &names {
            builder = builder.attribute(referent, name, restriction.clone());
            builder = builder.predicate(referent, name, Comparison::AtMost, bound, Restriction::none());
        }
        if let Some(seconds) = seconds {
            builder = builder.non_revoked(Interval { from: Some(at(seconds)), to: None });
        }
        let request = builder.build().unwrap();
        prop_assert_eq!(ProofRequest::from_json(&request.to_json()).unwrap(), request);
    }
}

#[test]
fn a_number_in_another_form_or_beyond_its_range_is_not_read() {
    let story = &*STORY;
    let message = |kind: &str| story.messages.iter().find(|(found, _)| *found == kind).unwrap().1.clone();
    let places = [
        ("definition", "/value/primary/n"),
        ("definition", "/value/primary/r/expiry"),
        ("offer", "/key_correctness_proof/xz_cap"),
        ("offer", "/key_correctness_proof/xr_cap/0/1"),
        ("offer", "/nonce"),
        ("request", "/blinded_ms/u"),
        ("request", "/blinded_ms_correctness_proof/m_caps/master_secret"),
        ("credential", "/signature/p_credential/v"),
        ("credential", "/signature_correctness_proof/se"),
        ("credential", "/values/name/encoded"),
        ("proof request", "/nonce"),
        ("presentation", "/proof/aggregated_proof/c_hash"),
        ("presentation", "/proof/proofs/0/primary_proof/eq_proof/e"),
        ("presentation", "/proof/proofs/0/primary_proof/eq_proof/revealed_attrs/tariff"),
        ("presentation", "/proof/proofs/0/primary_proof/ge_proofs/0/alpha"),
        ("presentation", "/requested_proof/revealed_attr_groups/zones/values/tariff/encoded"),
    ];
    let numbers =
        ["", "007", "+1", "-1x", "1 ", " 1", "1_0", "0x1", "1.0", "1e3", "١", "1\u{0}", "-0", "-2147483649"];
    for (kind, place) in places {
        let huge = "9".repeat(1000);
        for number in numbers.iter().copied().chain([huge.as_str()]) {
            let mut changed = message(kind);
            *changed.pointer_mut(place).unwrap_or_else(|| panic!("{kind}{place}")) = number.into();
            assert!(receive(kind, &bytes(&changed)).is_err(), "{kind}{place} {number:?}");
        }
        let mut changed = message(kind);
        *changed.pointer_mut(place).unwrap() = json!(1);
        assert!(receive(kind, &bytes(&changed)).is_err(), "{kind}{place} as a JSON number");
        // The library would also take bytes.
        *changed.pointer_mut(place).unwrap() = json!([1, 2]);
        assert!(receive(kind, &bytes(&changed)).is_err(), "{kind}{place} as bytes");
    }
}

#[test]
fn a_point_off_the_curve_is_not_read() {
    let story = &*STORY;
    let places = [
        ("definition", "/value/revocation/g"),
        ("definition", "/value/revocation/h_cap"),
        ("registry", "/value/publicKeys/accumKey/z"),
        ("list", "/currentAccumulator"),
        ("delta", "/previousAccumulator"),
        ("request", "/blinded_ms/ur"),
        ("credential", "/signature/r_credential/sigma"),
        ("credential", "/witness/omega"),
        ("presentation", "/proof/proofs/0/non_revoc_proof/c_list/e"),
        ("presentation", "/proof/proofs/0/non_revoc_proof/c_list/w"),
    ];
    for (kind, place) in places {
        let original = &story.messages.iter().find(|(found, _)| *found == kind).unwrap().1;
        let point = original.pointer(place).unwrap().as_str().unwrap().to_owned();
        let (excess, rest) = point.split_once(' ').unwrap();
        let mut first = rest.to_owned();
        first.replace_range(60..61, if &rest[60..61] == "0" { "1" } else { "0" });
        let table = [
            ("another coordinate", format!("{excess} {first}")),
            ("a coordinate less", point.rsplit_once(' ').unwrap().0.to_owned()),
            ("no excess", format!("0 {rest}")),
            ("too much excess", format!("65537 {rest}")),
            ("two spaces", point.replacen(' ', "  ", 1)),
            ("not hex", point.replacen('A', "G", 1).replacen('0', "G", 1)),
            ("a coordinate above the field", format!("1 {}{}", "F".repeat(64), &rest[64..])),
        ];
        for (name, text) in table {
            let mut changed = original.clone();
            *changed.pointer_mut(place).unwrap() = text.into();
            assert!(receive(kind, &bytes(&changed)).is_err(), "{kind}{place}: {name}");
        }
    }
}

#[test]
fn an_unlinked_proof_of_non_revocation_is_told_and_refused() {
    let story = &*STORY;
    let mut presentation = story.messages.last().unwrap().1.clone();
    let answers = &mut presentation["proof"]["proofs"][0]["non_revoc_proof"]["x_list"];
    answers["m2"] = answers["s"].clone();
    let refused = Presentation::from_json(&bytes(&presentation)).unwrap_err();
    assert!(matches!(refused, AnonCredsError::LegacyRevocation { .. }), "{refused}");
}

#[test]
fn unknown_members_are_ignored_and_doubled_ones_refused() {
    for (kind, original) in &STORY.messages {
        receive(kind, &bytes(original)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let mut more = original.clone();
        more["colour"] = json!({ "red": [1, "x"] });
        receive(kind, &bytes(&more)).unwrap_or_else(|error| panic!("{kind}: {error}"));
        let doubled = original.to_string().replacen('{', r#"{"a":1,"a":1,"#, 1);
        assert!(receive(kind, doubled.as_bytes()).unwrap_err().contains("JSON"), "{kind}");
        let large = format!("{}{original}", " ".repeat(2_000_000));
        assert!(receive(kind, large.as_bytes()).unwrap_err().contains("JSON"), "{kind}");
    }
}

#[test]
fn counts_and_lengths_have_limits() {
    let (long, attributes) =
        ("x".repeat(257), |n: usize| (0..n).map(|n| format!("a{n}")).collect::<Vec<_>>());
    let schema = |names: Vec<String>| Schema::new(id("did:x"), "s", "1", names);
    assert!(schema(attributes(125)).is_ok() && schema(attributes(126)).is_err() && schema(vec![]).is_err());
    assert!(schema(vec![long.clone()]).is_err() && schema(vec![" ".to_owned()]).is_err());
    assert!(schema(vec!["a b".to_owned(), "AB".to_owned()]).is_err(), "the same in normal form");
    assert!(Schema::new(id("did:x"), "", "1", ["a"]).is_err());
    for bad in ["", "a\nb", &"x".repeat(513)] {
        assert!(ObjectId::new(bad).is_err());
    }
    assert!(Timestamp::new(253_402_300_799).is_ok() && Timestamp::new(253_402_300_800).is_err());
    assert_eq!(at(5).instant().get(), 5_000);
    assert_eq!(Timestamp::from(eroam_domain::time::UnixMillis::new(5_999).unwrap()), at(5));
    for bad in ["", "0", "007", "-1", &"9".repeat(100)] {
        assert!(LinkSecret::import_secret(bad).is_err());
    }
    assert!(Nonce::from_decimal(&u128::MAX.to_string()).is_ok(), "2^128 - 1");
    assert!(Nonce::from_decimal("340282366920938463463374607431768211456").is_err(), "2^128");
    let e = |bits: u32| {
        let mut presentation = STORY.messages.last().unwrap().1.clone();
        let largest = (num_bigint::BigUint::from(1_u32) << bits) - 1_u32;
        presentation["proof"]["proofs"][0]["primary_proof"]["eq_proof"]["e"] = largest.to_string().into();
        Presentation::from_json(&bytes(&presentation))
    };
    assert!(e(457).is_ok() && e(458).is_err(), "an answer e of more bits than an honest one has");
    let wide = format!("[{}0]", "0,".repeat(limits::PRESENTATION_VALUES_MAX));
    assert!(matches!(
        Presentation::from_json(wide.as_bytes()),
        Err(AnonCredsError::Json(JsonError::TooMany { max: limits::PRESENTATION_VALUES_MAX, .. }))
    ));
    let wider = format!("[{}0]", "0,".repeat(limits::SCHEMA_BYTES_MAX / 2 - 2));
    assert!(matches!(
        Schema::from_json(wider.as_bytes()),
        Err(AnonCredsError::Json(JsonError::TooMany { .. }))
    ));
    let secret = LinkSecret::random().unwrap().export_secret();
    assert_eq!(*LinkSecret::import_secret(&secret).unwrap().export_secret(), *secret);
    assert!(AttributeValues::new([("a", "x".repeat(8193))]).is_err());
    assert!(AttributeValues::new([("a", "1"), ("A ", "2")]).is_err());
    assert!(ProofRequest::builder("r", "1").build().is_err());
    assert!(ProofRequest::builder("r", "1").group("g", [], Restriction::none()).build().is_err());
    assert!(ProofRequest::builder("r", "1").group("g", ["a", "A"], Restriction::none()).build().is_err());
    let many = (0..65).fold(ProofRequest::builder("r", "1"), |request, n| {
        request.attribute(&n.to_string(), "a", Restriction::none())
    });
    assert!(many.build().is_err());
}
