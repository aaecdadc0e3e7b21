//! A station's credential from its issuer to a driver, and everything that is refused on the way.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eroam_domain::time::UnixMillis;
use eroam_ssi::didcomm::OsRng;
use eroam_ssi::sd_jwt::*;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::time::Duration;

const NOW: i64 = 1_795_000_000;
const ISSUER: &str = "did:eroam:cpo";
const VCT: &str = "urn:eroam:station:1";
const AUDIENCE: &str = "did:key:driver";
const NONCE: &str = "n-7f3a";
const LIST: &str = "https://cpo.example/status/1";

fn at(seconds: i64) -> UnixMillis {
    UnixMillis::new((NOW + seconds) * 1000).unwrap()
}

fn key(byte: u8) -> SigningKey {
    SigningKey::from_scalar(&[byte; 32]).unwrap()
}

fn issuer() -> TrustedIssuer {
    TrustedIssuer::new(ISSUER, key(1).verifying_key()).unwrap()
}

fn credential() -> IssueSdJwt {
    let claims = json!({
        "station": "S-1",
        "operator": "C",
        "address": { "street": "Hafenweg 1", "city": "Münster" },
        "plugs": ["CCS", "Type 2", "Schuko"],
        "meter": { "id": "M-9", "calibration": { "until": 20_301_231 } },
    });
    let Value::Object(claims) = claims else { unreachable!() };
    let meter = ClaimPath::of("meter");
    IssueSdJwt {
        issuer: ISSUER.to_owned(),
        key_id: Some("key-1".to_owned()),
        vct: VCT.to_owned(),
        issued_at: at(-100),
        not_before: Some(at(-50)),
        expires_at: at(86_400),
        holder: key(2).verifying_key(),
        status: Some(StatusReference { uri: LIST.to_owned(), index: 9 }),
        claims,
        disclosable: BTreeSet::from([
            ClaimPath::of("operator"),
            ClaimPath::of("address").name("street"),
            ClaimPath::of("plugs").index(1),
            ClaimPath::of("plugs").index(2),
            meter.clone(),
            meter.name("calibration").name("until"),
        ]),
        decoys: 2,
    }
}

fn held() -> HeldSdJwt {
    let text = credential().sign(&key(1), &mut OsRng).unwrap();
    HeldSdJwt::receive(&text, &issuer(), key(2), at(0)).unwrap()
}

fn list_text(revoked: &[u32], issued_at: i64) -> String {
    let mut list = StatusList::new(100).unwrap();
    revoked.iter().for_each(|index| list.set(*index, true).unwrap());
    list.sign(&new_list(issued_at), &key(1)).unwrap()
}

fn new_list(issued_at: i64) -> NewStatusList {
    NewStatusList {
        issuer: ISSUER.to_owned(),
        uri: LIST.to_owned(),
        issued_at: at(issued_at),
        expires_at: at(3600),
        ttl: Some(Duration::from_secs(300)),
    }
}

fn list(revoked: &[u32]) -> Vec<VerifiedStatusList> {
    vec![VerifiedStatusList::verify(&list_text(revoked, -10), &issuer(), LIST, at(-10), at(0)).unwrap()]
}

fn demand(status_lists: &[VerifiedStatusList]) -> Demand<'_> {
    Demand {
        vct: VCT,
        audience: AUDIENCE,
        nonce: NONCE,
        fresh_for: Duration::from_secs(120),
        status_lists,
        without_status: WithoutStatus::Refused,
    }
}

fn verify(text: &str) -> Result<VerifiedSdJwt, SdJwtError> {
    PresentedSdJwt::parse(text)?.verify(&issuer(), &demand(&list(&[])), at(0))
}

fn present(disclose: &[ClaimPath]) -> String {
    held().present(&disclose.iter().cloned().collect(), AUDIENCE, NONCE, at(0)).unwrap()
}

// --- what holds ---

#[test]
fn a_station_shows_what_was_asked_for_and_nothing_else() {
    let until = ClaimPath::of("meter").name("calibration").name("until");
    let text = present(&[ClaimPath::of("plugs").index(2), until.clone()]);
    let presented = PresentedSdJwt::parse(&text).unwrap();
    assert_eq!((presented.claimed_issuer(), presented.claimed_key_id()), (ISSUER, Some("key-1")));
    assert_eq!(presented.claimed_status().unwrap().uri, LIST);
    let verified = presented.verify(&issuer(), &demand(&list(&[8])), at(0)).unwrap();
    let mut claims = verified.claims().clone();
    for name in ["iss", "iat", "nbf", "exp", "cnf", "vct", "status"] {
        claims.remove(name).unwrap();
    }
    // The meter is shown since the way to its calibration leads through it.
    let expected = json!({
        "station": "S-1",
        "address": { "city": "Münster" },
        "plugs": ["CCS", "Schuko"],
        "meter": { "id": "M-9", "calibration": { "until": 20_301_231 } },
    });
    assert_eq!(Value::Object(claims), expected);
    assert_eq!(verified.claim(&until), Some(&json!(20_301_231)));
    assert_eq!((verified.issuer(), verified.vct(), verified.expires_at()), (ISSUER, VCT, Some(at(86_400))));
    assert_eq!(*verified.holder(), key(2).verifying_key());
    assert_eq!(verified.status().unwrap().index, 9);
}

#[test]
fn a_claim_does_not_bring_along_what_is_hidden_within_it() {
    let verified = verify(&present(&[ClaimPath::of("meter")])).unwrap();
    assert_eq!(verified.claims()["meter"], json!({ "id": "M-9", "calibration": {} }));
    assert!(!verified.claims().contains_key("operator"));
    assert!(verify(&present(&[])).unwrap().claim(&ClaimPath::of("meter")).is_none());
}

#[test]
fn the_holder_knows_everything_and_keeps_it() {
    let held = held();
    assert_eq!(held.disclosable().cloned().collect::<BTreeSet<_>>(), credential().disclosable);
    let Value::Object(mut claims) = Value::Object(held.claims().clone()) else { unreachable!() };
    claims.retain(|name, _| credential().claims.contains_key(name));
    assert_eq!(claims, credential().claims);
    let again = HeldSdJwt::restore(held.text(), SigningKey::from_scalar(&held.key().to_scalar()).unwrap());
    let again = again.unwrap();
    assert_eq!((again.issuer(), again.vct(), again.status()), (held.issuer(), held.vct(), held.status()));
    verify(&again.present(&credential().disclosable, AUDIENCE, NONCE, at(0)).unwrap()).unwrap();
}

#[test]
fn decoys_hide_how_many_claims_there_are() {
    let count = |decoys: u8| {
        let text = IssueSdJwt { decoys, ..credential() }.sign(&key(1), &mut OsRng).unwrap();
        payload(text.split('~').next().unwrap())["_sd"].as_array().unwrap().len()
    };
    // Hidden at the top: the operator and the meter.
    assert_eq!((count(0), count(5)), (2, 7));
}

#[test]
fn two_credentials_with_the_same_claims_share_no_digest() {
    let digests = || {
        let text = credential().sign(&key(1), &mut OsRng).unwrap();
        let sd = payload(text.split('~').next().unwrap())["_sd"].clone();
        sd.as_array().unwrap().iter().map(ToString::to_string).collect::<BTreeSet<_>>()
    };
    assert!(digests().is_disjoint(&digests()));
}

/// Source: RFC 9901, sections 4.2.1 to 4.2.3.
#[test]
fn the_digests_of_the_specification_are_ours() {
    let table = [
        (
            "WyJfMjZiYzRMVC1hYzZxMktJNmNCVzVlcyIsICJmYW1pbHlfbmFtZSIsICJNw7ZiaXVzIl0",
            json!({ "_sd": ["X9yH0Ajrdm1Oij4tWso9UzzKJvPoDxwmuEcO3XAdRC0"] }),
            json!({ "family_name": "Möbius" }),
        ),
        (
            "WyJsa2x4RjVqTVlsR1RQVW92TU5JdkNBIiwgIkZSIl0",
            json!({ "nationalities": ["DE", { "...": "w0I8EKcdCtUPkGCNUrfwVp2xEgNjtoIDlOxc9-PlOhs" }] }),
            json!({ "nationalities": ["DE", "FR"] }),
        ),
    ];
    for (disclosure, hidden, open) in table {
        let verified = verify(&forge(&merged(open_payload(), hidden), &[disclosure.to_owned()])).unwrap();
        for (name, value) in open.as_object().unwrap() {
            assert_eq!(&verified.claims()[name], value);
        }
    }
}

// --- forged by an issuer or a holder who has the keys ---

fn payload(jwt: &str) -> Value {
    serde_json::from_slice(&BASE64URL.decode(jwt.split('.').nth(1).unwrap()).unwrap()).unwrap()
}

fn merged(mut into: Value, from: Value) -> Value {
    let Value::Object(from) = from else { unreachable!() };
    into.as_object_mut().unwrap().extend(from);
    into
}

fn without(mut value: Value, name: &str) -> Value {
    value.as_object_mut().unwrap().remove(name).unwrap();
    value
}

fn sign(header: &str, payload: &str, key: &SigningKey) -> String {
    let signed = format!("{}.{}", BASE64URL.encode(header), BASE64URL.encode(payload));
    let signature = BASE64URL.encode(key.sign(signed.as_bytes()));
    format!("{signed}.{signature}")
}

const HEADER: &str = r#"{"alg":"ES256","typ":"dc+sd-jwt"}"#;
const BINDING_HEADER: &str = r#"{"alg":"ES256","typ":"kb+jwt"}"#;

fn open_payload() -> Value {
    json!({
        "iss": ISSUER, "vct": VCT, "iat": NOW - 100, "nbf": NOW - 50, "exp": NOW + 86_400,
        "cnf": { "jwk": key(2).verifying_key().to_jwk() },
        "status": { "status_list": { "uri": LIST, "idx": 9 } },
    })
}

fn hash(text: &str) -> String {
    BASE64URL.encode(Sha256::digest(text))
}

fn binding(bound: &str) -> Value {
    json!({ "aud": AUDIENCE, "nonce": NONCE, "iat": NOW, "sd_hash": hash(bound) })
}

fn bound(jwt: &str, disclosures: &[String]) -> String {
    [jwt.to_owned()].iter().chain(disclosures).fold(String::new(), |text, part| text + part + "~")
}

fn bind(bound: &str) -> String {
    format!("{bound}{}", sign(BINDING_HEADER, &binding(bound).to_string(), &key(2)))
}

fn forge(payload: &Value, disclosures: &[String]) -> String {
    bind(&bound(&sign(HEADER, &payload.to_string(), &key(1)), disclosures))
}

fn disclosure(json: &Value) -> String {
    BASE64URL.encode(json.to_string())
}

/// A payload with one disclosure in place.
fn disclosed(json: &Value) -> String {
    let text = disclosure(json);
    forge(&merged(open_payload(), json!({ "_sd": [hash(&text)] })), &[text])
}

/// The table's second column is the variant's name and, for what is inside, that of its cause.
fn variant(error: &SdJwtError) -> String {
    let name = |shown: String| shown.split([' ', '(', '{']).next().unwrap_or_default().to_owned();
    match error {
        SdJwtError::Issuer(error) => format!("Issuer.{}", name(format!("{error:?}"))),
        SdJwtError::KeyBinding(error) => format!("KeyBinding.{}", name(format!("{error:?}"))),
        SdJwtError::HolderKey(error) => format!("HolderKey.{error:?}"),
        SdJwtError::Claim { name } => format!("Claim.{name}"),
        error => name(format!("{error:?}")),
    }
}

#[test]
fn what_an_issuer_may_not_sign_is_refused() {
    let of = |change: Value| forge(&merged(open_payload(), change), &[]);
    let headed = |header: &str| bind(&bound(&sign(header, &open_payload().to_string(), &key(1)), &[]));
    let jwk =
        |change: Value| of(json!({ "cnf": { "jwk": merged(key(2).verifying_key().to_jwk(), change) } }));
    let raw = |payload: &str| bind(&bound(&sign(HEADER, payload, &key(1)), &[]));
    let nested = (0..30).fold(json!(1), |inner, _| json!([inner]));
    let status = |status: Value| of(json!({ "status": status }));
    let table = [
        (headed(r#"{"alg":"none","typ":"dc+sd-jwt"}"#), "Issuer.Algorithm"),
        (headed(r#"{"alg":"HS256","typ":"dc+sd-jwt"}"#), "Issuer.Algorithm"),
        (headed(r#"{"typ":"dc+sd-jwt"}"#), "Issuer.Algorithm"),
        (headed(r#"{"alg":"ES256","typ":"dc+sd-jwt","crit":["b64"],"b64":true}"#), "Issuer.Critical"),
        (headed(r#"{"alg":"ES256","typ":"dc+sd-jwt","crit":[]}"#), "Issuer.Critical"),
        (headed(r#"{"alg":"ES256","typ":"vc+sd-jwt"}"#), "Issuer.Type"),
        (headed(r#"{"alg":"ES256"}"#), "Issuer.Type"),
        (headed(r#"{"alg":"ES256","alg":"ES256","typ":"dc+sd-jwt"}"#), "Issuer.Json"),
        (headed("[]"), "Issuer.NotObject"),
        (raw("{\"iss\":1,\"iss\":2}"), "Issuer.Json"),
        (raw("{\"a\":1.5}"), "Issuer.Json"),
        (raw("[]"), "Issuer.NotObject"),
        (of(json!({ "a": nested })), "Issuer.Json"),
        (raw(&format!("{{\"a\":\"{}\"}}", "a".repeat(JWT_BYTES_MAX))), "Issuer.TooLarge"),
        (forge(&without(open_payload(), "iss"), &[]), "Claim.iss"),
        (of(json!({ "iss": 1 })), "Claim.iss"),
        (of(json!({ "iss": "did:eroam:other" })), "OtherIssuer"),
        (forge(&without(open_payload(), "vct"), &[]), "Claim.vct"),
        (of(json!({ "vct": "urn:other" })), "OtherType"),
        (of(json!({ "iat": NOW + 61 })), "IssuedInFuture"),
        (of(json!({ "iat": "now" })), "Claim.iat"),
        (of(json!({ "nbf": NOW + 61 })), "NotYetValid"),
        (of(json!({ "nbf": -1 })), "Claim.nbf"),
        (of(json!({ "exp": NOW - 60 })), "Expired"),
        (of(json!({ "exp": null })), "Claim.exp"),
        (of(json!({ "exp": u64::MAX })), "Claim.exp"),
        (forge(&without(open_payload(), "cnf"), &[]), "Claim.cnf"),
        (of(json!({ "cnf": { "kid": "k" } })), "Claim.cnf"),
        (of(json!({ "cnf": { "jwk": {} } })), "HolderKey.Curve"),
        (jwk(json!({ "crv": "P-384" })), "HolderKey.Curve"),
        (jwk(json!({ "alg": "ES384" })), "HolderKey.Purpose"),
        (jwk(json!({ "use": "enc" })), "HolderKey.Purpose"),
        (jwk(json!({ "d": "AA" })), "HolderKey.Secret"),
        (jwk(json!({ "x": "AA" })), "HolderKey.Coordinate"),
        (jwk(json!({ "x": "A".repeat(43) })), "HolderKey.OffCurve"),
        (forge(&without(open_payload(), "status"), &[]), "WithoutStatus"),
        (status(json!({})), "Claim.status"),
        (status(json!({ "other": {} })), "Claim.status"),
        (status(json!({ "status_list": { "uri": LIST, "idx": -1 } })), "Claim.status"),
        (status(json!({ "status_list": { "uri": LIST, "idx": STATUS_ENTRIES_MAX } })), "Claim.status"),
        (status(json!({ "status_list": { "uri": LIST, "idx": 104 } })), "StatusIndex"),
        (status(json!({ "status_list": { "uri": "https://other", "idx": 1 } })), "StatusUnknown"),
        (of(json!({ "_sd_alg": "sha-512" })), "DigestAlgorithm"),
        (of(json!({ "_sd_alg": null })), "DigestAlgorithm"),
        (of(json!({ "_sd": "a" })), "DigestForm"),
        (of(json!({ "_sd": [1] })), "DigestForm"),
        (of(json!({ "_sd": ["short"] })), "DigestForm"),
        (of(json!({ "a": { "_sd_alg": "sha-256" } })), "DigestForm"),
        (of(json!({ "...": hash("a") })), "DigestForm"),
        (of(json!({ "a": [{ "...": hash("a"), "b": 1 }] })), "DigestForm"),
        (of(json!({ "a": [{ "...": 1 }] })), "DigestForm"),
        (of(json!({ "_sd": [hash("a"), hash("a")] })), "DigestTwice"),
        (of(json!({ "_sd": [hash("a")], "a": [{ "...": hash("a") }] })), "DigestTwice"),
    ];
    verify(&of(json!({}))).unwrap();
    for (text, expected) in table {
        assert_eq!(variant(&verify(&text).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn what_a_disclosure_may_not_say_is_refused() {
    let good = disclosure(&json!(["s", "a", 1]));
    let with = |hidden: Value, disclosures: &[String]| forge(&merged(open_payload(), hidden), disclosures);
    let raw = |text: &str| with(json!({ "_sd": [hash(text)] }), &[text.to_owned()]);
    let inner = disclosure(&json!(["s", "b", 1]));
    let repeated = disclosure(&json!(["s", "a", { "_sd": [hash(&inner)] }]));
    let mut chain = disclosure(&json!(["s", "a", 1]));
    let mut chained = vec![chain.clone()];
    for _ in 0..30 {
        chain = disclosure(&json!(["s", "a", { "_sd": [hash(&chain)] }]));
        chained.push(chain.clone());
    }
    let many: Vec<String> =
        (0..=DISCLOSURES_MAX).map(|n| disclosure(&json!(["s", n.to_string(), 1]))).collect();
    let wide = "a".repeat(DISCLOSURE_BYTES_MAX + 1);
    let table = [
        (raw(&wide), "DisclosureTooLarge"),
        (raw("*"), "DisclosureBase64"),
        (raw(&format!("{}=", BASE64URL.encode(r#"["s","a",12]"#))), "DisclosureBase64"),
        (with(json!({}), &[String::new()]), "DisclosureJson"),
        (raw(&BASE64URL.encode(r#"["s","a",{"b":1,"b":1}]"#)), "DisclosureJson"),
        (raw(&BASE64URL.encode(r#"["s","a",1.5]"#)), "DisclosureJson"),
        (disclosed(&json!({})), "DisclosureForm"),
        (disclosed(&json!([])), "DisclosureForm"),
        (disclosed(&json!(["s"])), "DisclosureForm"),
        (disclosed(&json!([1, "a", 1])), "DisclosureForm"),
        (disclosed(&json!(["s", 1, 1])), "DisclosureForm"),
        (disclosed(&json!(["s", "a", 1, 1])), "DisclosureForm"),
        (disclosed(&json!(["s", "_sd", []])), "DisclosureName"),
        (disclosed(&json!(["s", "...", "a"])), "DisclosureName"),
        (disclosed(&json!(["s", "_sd_alg", "sha-256"])), "DisclosureName"),
        (disclosed(&json!(["s", "iat", 1])), "DisclosureName"),
        (disclosed(&json!(["s", "exp", 1])), "DisclosureName"),
        (disclosed(&json!(["s", "status", {}])), "DisclosureName"),
        (disclosed(&json!(["s", "a", { "_sd": 1 }])), "DigestForm"),
        (disclosed(&json!(["s", 1])), "DisclosurePlace"),
        (with(json!({ "a": [{ "...": hash(&good) }] }), std::slice::from_ref(&good)), "DisclosurePlace"),
        (with(json!({ "_sd": [hash(&good)] }), &[good.clone(), good.clone()]), "DisclosureTwice"),
        (with(json!({}), std::slice::from_ref(&good)), "DisclosureUnreferenced"),
        // Its only digest is in a disclosure that is not shown.
        (with(json!({ "_sd": [hash(&repeated)] }), std::slice::from_ref(&inner)), "DisclosureUnreferenced"),
        (with(json!({ "a": 2, "_sd": [hash(&good)] }), std::slice::from_ref(&good)), "ClaimTwice"),
        (
            with(json!({ "_sd": [hash(&inner), hash(&repeated)] }), &[inner.clone(), repeated.clone()]),
            "DigestTwice",
        ),
        (with(json!({ "_sd": [hash(&chain)] }), &chained), "TooDeep"),
        (with(json!({}), &many), "TooManyDisclosures"),
    ];
    verify(&raw(&good)).unwrap();
    // A nested claim may be called like one of those at the top.
    let nested = disclosure(&json!(["s", "exp", 1]));
    verify(&with(json!({ "a": { "_sd": [hash(&nested)] } }), &[nested])).unwrap();
    for (text, expected) in table {
        assert_eq!(variant(&verify(&text).unwrap_err()), expected, "{text}");
    }
    // Every claim that must be open.
    for name in ["iss", "nbf", "cnf", "vct", "vct#integrity"] {
        let text = disclosure(&json!(["s", name, 1]));
        let payload = merged(open_payload(), json!({ "_sd": [hash(&text)] }));
        let error = verify(&forge(&payload, &[text])).unwrap_err();
        assert!(matches!(error, SdJwtError::DisclosureName { index: 0 }), "{name}: {error}");
    }
}

#[test]
fn what_a_holder_may_not_present_is_refused() {
    let text = bound(&sign(HEADER, &open_payload().to_string(), &key(1)), &[]);
    let by = |header: &str, payload: &Value, key: &SigningKey| {
        format!("{text}{}", sign(header, &payload.to_string(), key))
    };
    let with = |change: Value| by(BINDING_HEADER, &merged(binding(&text), change), &key(2));
    let missing = |name: &str| by(BINDING_HEADER, &without(binding(&text), name), &key(2));
    let whole = present(&[ClaimPath::of("operator"), ClaimPath::of("meter")]);
    let mut parts: Vec<&str> = whole.split('~').collect();
    let fewer = [parts[0], parts[1], parts[3]].join("~");
    parts.swap(1, 2);
    let jwt = text.trim_end_matches('~');
    let table = [
        (text.clone(), "Unbound"),
        (jwt.to_owned(), "Form"),
        (String::new(), "Form"),
        ("~".to_owned(), "Issuer.Parts"),
        (format!("{jwt}~~"), "DisclosureJson"),
        ("a".repeat(SD_JWT_BYTES_MAX + 1), "TooLarge"),
        (fewer, "SdHash"),
        (parts.join("~"), "SdHash"),
        (by(BINDING_HEADER, &binding(&text), &key(3)), "KeyBinding.Signature"),
        (by(BINDING_HEADER, &binding(&text), &key(1)), "KeyBinding.Signature"),
        (by(HEADER, &binding(&text), &key(2)), "KeyBinding.Type"),
        (by(r#"{"alg":"none","typ":"kb+jwt"}"#, &binding(&text), &key(2)), "KeyBinding.Algorithm"),
        (
            by(r#"{"alg":"ES256","typ":"kb+jwt","crit":["a"]}"#, &binding(&text), &key(2)),
            "KeyBinding.Critical",
        ),
        (format!("{text}a.b"), "KeyBinding.Parts"),
        (format!("{text}a.b.c.d"), "KeyBinding.Parts"),
        (with(json!({ "a": "b".repeat(KEY_BINDING_BYTES_MAX) })), "KeyBinding.TooLarge"),
        (with(json!({ "aud": "did:key:other" })), "Audience"),
        (with(json!({ "aud": [AUDIENCE] })), "Claim.aud"),
        (missing("aud"), "Claim.aud"),
        (with(json!({ "nonce": "other" })), "Nonce"),
        (missing("nonce"), "Claim.nonce"),
        (with(json!({ "iat": NOW + 61 })), "BoundInFuture"),
        (with(json!({ "iat": NOW - 181 })), "BoundLongAgo"),
        (missing("iat"), "Claim.iat"),
        (with(json!({ "sd_hash": hash("other") })), "SdHash"),
        (missing("sd_hash"), "Claim.sd_hash"),
    ];
    for change in [json!({}), json!({ "iat": NOW + 60 }), json!({ "iat": NOW - 180 })] {
        verify(&with(change)).unwrap();
    }
    for (text, expected) in table {
        assert_eq!(variant(&verify(&text).unwrap_err()), expected, "{text}");
    }
}

#[test]
fn another_key_or_a_changed_signature_does_not_hold() {
    let text = present(&[]);
    let presented = PresentedSdJwt::parse(&text).unwrap();
    let other = TrustedIssuer::new(ISSUER, key(3).verifying_key()).unwrap();
    let error = presented.verify(&other, &demand(&list(&[])), at(0)).unwrap_err();
    assert_eq!(variant(&error), "Issuer.Signature");
    let (jwt, rest) = text.split_once('~').unwrap();
    let (signed, signature) = jwt.rsplit_once('.').unwrap();
    let bytes = BASE64URL.decode(signature).unwrap();
    let with =
        |bytes: &[u8]| variant(&verify(&format!("{signed}.{}~{rest}", BASE64URL.encode(bytes))).unwrap_err());
    let flipped: Vec<u8> = bytes.iter().enumerate().map(|(n, byte)| byte ^ u8::from(n == 40)).collect();
    assert_eq!(with(&flipped), "Issuer.Signature");
    assert_eq!(with(&[0; 64]), "Issuer.SignatureForm");
    assert_eq!(with(&[0xff; 64]), "Issuer.SignatureForm");
    assert_eq!(with(&bytes[..63]), "Issuer.SignatureForm");
    assert_eq!(variant(&verify(&format!("{signed}.*~{rest}")).unwrap_err()), "Issuer.Base64");
    assert_eq!(variant(&verify(&format!("{signed}.{signature}==~{rest}")).unwrap_err()), "Issuer.Base64");
}

#[test]
fn a_revoked_credential_and_a_list_that_is_too_old_are_refused() {
    let text = present(&[]);
    let presented = PresentedSdJwt::parse(&text).unwrap();
    let with = |lists: &[VerifiedStatusList], now: i64| {
        let demand = Demand { fresh_for: Duration::from_secs(10_000), ..demand(lists) };
        presented.verify(&issuer(), &demand, at(now)).map_err(|error| variant(&error))
    };
    with(&list(&[8, 10]), 0).unwrap();
    assert_eq!(with(&list(&[9]), 0).unwrap_err(), "Revoked");
    assert_eq!(with(&[], 0).unwrap_err(), "StatusUnknown");
    // Kept for five minutes, not longer.
    with(&list(&[]), 299).unwrap();
    assert_eq!(with(&list(&[]), 300).unwrap_err(), "StatusStale");
    // Of two lists the newer counts.
    let older = VerifiedStatusList::verify(&list_text(&[], -20), &issuer(), LIST, at(-20), at(0)).unwrap();
    assert_eq!(with(&[older, list(&[9]).remove(0)], 0).unwrap_err(), "Revoked");
    // A list of that name by somebody else says nothing.
    let other = TrustedIssuer::new("did:eroam:other", key(3).verifying_key()).unwrap();
    let new = NewStatusList { issuer: other.name().to_owned(), ..new_list(0) };
    let theirs = StatusList::new(100).unwrap().sign(&new, &key(3)).unwrap();
    let theirs = VerifiedStatusList::verify(&theirs, &other, LIST, at(0), at(0)).unwrap();
    assert_eq!(with(&[theirs], 0).unwrap_err(), "StatusUnknown");
}

#[test]
fn an_issuer_without_revocation_is_taken_only_if_that_is_said() {
    let text = forge(&without(open_payload(), "status"), &[]);
    let demand = Demand { without_status: WithoutStatus::Accepted, ..demand(&[]) };
    PresentedSdJwt::parse(&text).unwrap().verify(&issuer(), &demand, at(0)).unwrap();
}

#[test]
fn a_status_list_is_taken_whole_new_and_from_its_issuer_or_not_at_all() {
    let good = payload(&list_text(&[], -10));
    let header = r#"{"alg":"ES256","typ":"statuslist+jwt"}"#;
    let of = |change: Value| sign(header, &merged(good.clone(), change).to_string(), &key(1));
    let list_of = |list: Value| of(json!({ "status_list": list }));
    let lst = good["status_list"]["lst"].clone();
    let endless = without(without(good.clone(), "exp"), "ttl");
    let table = [
        (sign(header, &good.to_string(), &key(3)), "Signature"),
        (sign(HEADER, &good.to_string(), &key(1)), "Type"),
        (of(json!({ "iss": "did:eroam:other" })), "OtherIssuer"),
        (of(json!({ "sub": "https://other" })), "OtherList"),
        (sign(header, &without(good.clone(), "sub").to_string(), &key(1)), "OtherList"),
        (sign(header, &without(good.clone(), "iat").to_string(), &key(1)), "iat"),
        (of(json!({ "iat": NOW + 61 })), "IssuedInFuture"),
        (of(json!({ "iat": NOW - 11 })), "Old"),
        (of(json!({ "exp": NOW - 60 })), "Expired"),
        (of(json!({ "ttl": 0 })), "ttl"),
        (of(json!({ "ttl": "a" })), "ttl"),
        (sign(header, &endless.to_string(), &key(1)), "exp"),
        (list_of(json!([])), "status_list"),
        (list_of(json!({ "bits": 2, "lst": lst })), "Bits"),
        (list_of(json!({ "lst": lst })), "Bits"),
        (list_of(json!({ "bits": 1, "lst": "*" })), "lst"),
        (list_of(json!({ "bits": 1, "lst": "AAAA" })), "Compression"),
        ("a".repeat(STATUS_LIST_BYTES_MAX + 1), "TooLarge"),
        ("a.b".to_owned(), "Parts"),
    ];
    let verify = |text: &str| VerifiedStatusList::verify(text, &issuer(), LIST, at(-10), at(0));
    verify(&of(json!({}))).unwrap();
    verify(&sign(header, &without(good.clone(), "iss").to_string(), &key(1))).unwrap();
    for (text, expected) in table {
        let error = match verify(&text).unwrap_err() {
            StatusListError::Jwt(error) => format!("{error:?}"),
            StatusListError::Claim { name } => name.to_owned(),
            error => format!("{error:?}"),
        };
        assert_eq!(error.split([' ', '(', '{']).next(), Some(expected), "{text}");
    }
    for entries in [0, STATUS_ENTRIES_MAX + 1, u32::MAX] {
        assert!(matches!(StatusList::new(entries), Err(StatusListError::Size { .. })));
    }
    let mut list = StatusList::new(STATUS_ENTRIES_MAX).unwrap();
    list.set(STATUS_ENTRIES_MAX - 1, true).unwrap();
    assert!(matches!(list.set(STATUS_ENTRIES_MAX, true), Err(StatusListError::Index { .. })));
    let verified = verify(&list.sign(&new_list(-10), &key(1)).unwrap()).unwrap();
    assert_eq!(verified.is_revoked(STATUS_ENTRIES_MAX - 1), Some(true));
    let times = NewStatusList { expires_at: at(-10), ..new_list(-10) };
    assert!(matches!(list.sign(&times, &key(1)), Err(StatusListError::Claim { name: "exp" })));
}

#[test]
fn a_holder_takes_only_what_was_issued_to_it() {
    let text = credential().sign(&key(1), &mut OsRng).unwrap();
    let receive = |text: &str, holder: u8, now: i64| {
        HeldSdJwt::receive(text, &issuer(), key(holder), at(now)).map(drop).map_err(|error| variant(&error))
    };
    receive(&text, 2, 0).unwrap();
    assert_eq!(receive(&text, 3, 0).unwrap_err(), "OtherHolder");
    assert_eq!(receive(&text, 2, 86_460).unwrap_err(), "Expired");
    assert_eq!(receive(&text, 2, -161).unwrap_err(), "IssuedInFuture");
    assert_eq!(receive(&text, 2, -111).unwrap_err(), "NotYetValid");
    assert_eq!(receive(&present(&[]), 2, 0).unwrap_err(), "Bound");
    assert_eq!(receive(&text.replacen('~', "~WyJzIiwxXQ~", 1), 2, 0).unwrap_err(), "DisclosureUnreferenced");
    let error = HeldSdJwt::restore(&text, key(3)).unwrap_err();
    assert_eq!(variant(&error), "OtherHolder");
}

#[test]
fn what_cannot_be_issued_or_shown_is_said() {
    let fails = |change: &dyn Fn(&mut IssueSdJwt)| {
        let mut credential = credential();
        change(&mut credential);
        let error = credential.sign(&key(1), &mut OsRng).unwrap_err();
        format!("{error:?}").split([' ', '(', '{']).next().unwrap().to_owned()
    };
    let claim = |credential: &mut IssueSdJwt, name: &str, value: Value| {
        credential.claims.insert(name.to_owned(), value);
    };
    assert_eq!(fails(&|c| c.issuer.clear()), "Text");
    assert_eq!(fails(&|c| c.vct = "a".repeat(URI_BYTES_MAX + 1)), "Text");
    assert_eq!(fails(&|c| c.key_id = Some(String::new())), "Text");
    assert_eq!(fails(&|c| c.expires_at = at(-100)), "Times");
    assert_eq!(fails(&|c| c.not_before = Some(at(86_400))), "Times");
    assert_eq!(fails(&|c| c.decoys = DECOYS_MAX + 1), "Decoys");
    for name in ["iss", "exp", "cnf", "status", "_sd", "_sd_alg", "..."] {
        assert_eq!(fails(&|c| claim(c, name, json!(1))), "Reserved", "{name}");
    }
    assert_eq!(fails(&|c| claim(c, "a", json!([{ "_sd": [] }]))), "Reserved");
    assert_eq!(fails(&|c| c.disclosable.extend([ClaimPath::of("nowhere")])), "NoSuchClaim");
    assert_eq!(fails(&|c| c.disclosable.extend([ClaimPath::of("plugs").index(3)])), "NoSuchClaim");
    assert_eq!(fails(&|c| claim(c, "a", json!("a".repeat(JWT_BYTES_MAX)))), "Unreadable");
    assert_eq!(fails(&|c| claim(c, "a", json!(0.5))), "Unreadable");

    let held = held();
    let present = |path: ClaimPath, audience: &str, nonce: &str| {
        held.present(&BTreeSet::from([path]), audience, nonce, at(0)).unwrap_err()
    };
    let (there, not) = (ClaimPath::of("meter"), ClaimPath::of("meter").index(0));
    assert_eq!(present(not.clone(), "a", "n"), PresentError::NoSuchClaim(not));
    assert_eq!(present(there.clone(), "", "n"), PresentError::Audience);
    assert_eq!(present(there, "a", &"n".repeat(NONCE_BYTES_MAX + 1)), PresentError::Nonce);
}

#[test]
fn keys_are_made_kept_and_written_as_jwk() {
    let made = SigningKey::generate(&mut OsRng);
    let again = SigningKey::from_scalar(&made.to_scalar()).unwrap();
    let jwk = again.verifying_key().to_jwk();
    assert_eq!(VerifyingKey::from_jwk(&jwk).unwrap(), made.verifying_key());
    assert!(made.verifying_key().verifies(b"a", &again.sign(b"a")));
    assert!(!made.verifying_key().verifies(b"b", &again.sign(b"a")));
    for scalar in [[0; 32], [0xff; 32]] {
        assert_eq!(SigningKey::from_scalar(&scalar).unwrap_err(), KeyError::Scalar);
    }
    let shown = format!("{:?}", key(0x41));
    assert!(!shown.contains("4141") && !shown.contains("QUFB") && !shown.contains("65, 65"), "{shown}");
}

// --- anything ---

fn arb_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from)
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map("[a-z]{1,4}", inner, 0..4)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

/// Every place in a value.
fn places(at: Option<&ClaimPath>, value: &Value, found: &mut Vec<ClaimPath>) {
    let below: Vec<(ClaimPath, &Value)> = match (at, value) {
        (None, Value::Object(object)) => {
            object.iter().map(|(name, value)| (ClaimPath::of(name), value)).collect()
        }
        (Some(at), Value::Object(object)) => {
            object.iter().map(|(name, value)| (at.clone().name(name), value)).collect()
        }
        (Some(at), Value::Array(array)) => {
            array.iter().enumerate().map(|(index, value)| (at.clone().index(index), value)).collect()
        }
        _ => Vec::new(),
    };
    for (path, value) in below {
        places(Some(&path), value, found);
        found.push(path);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn whatever_is_hidden_comes_back_when_it_is_shown(
        claims in proptest::collection::btree_map("x[a-z]{1,4}", arb_value(), 0..5),
        choice in proptest::collection::vec(any::<bool>(), 64),
    ) {
        let claims: Map<String, Value> = claims.into_iter().collect();
        let mut all = Vec::new();
        places(None, &Value::Object(claims.clone()), &mut all);
        let mut choice = choice.into_iter().cycle();
        let disclosable: BTreeSet<ClaimPath> = all.iter().filter(|_| choice.next().unwrap()).cloned().collect();
        let text = IssueSdJwt { claims: claims.clone(), disclosable: disclosable.clone(), ..credential() };
        let text = text.sign(&key(1), &mut OsRng).unwrap();
        let held = HeldSdJwt::receive(&text, &issuer(), key(2), at(0)).unwrap();
        prop_assert_eq!(&held.disclosable().cloned().collect::<BTreeSet<_>>(), &disclosable);
        let everything = held.present(&disclosable, AUDIENCE, NONCE, at(0)).unwrap();
        let mut shown = verify(&everything).unwrap().claims().clone();
        shown.retain(|name, _| claims.contains_key(name));
        prop_assert_eq!(&shown, &claims);
        // A part: nothing of the rest is in the text, in any disclosure.
        let part: BTreeSet<ClaimPath> = disclosable.iter().filter(|_| choice.next().unwrap()).cloned().collect();
        let text = held.present(&part, AUDIENCE, NONCE, at(0)).unwrap();
        verify(&text).unwrap();
        let needed = |place: &ClaimPath| part.iter().any(|path| path.steps().starts_with(place.steps()));
        let expected = disclosable.iter().filter(|place| needed(place)).count();
        prop_assert_eq!(text.matches('~').count(), expected + 1);
    }

    #[test]
    fn arbitrary_text_never_panics(text in "[A-Za-z0-9_.~={}\"-]{0,80}|.{0,40}") {
        let _ = verify(&text);
        let _ = HeldSdJwt::receive(&text, &issuer(), key(2), at(0));
        let _ = VerifiedStatusList::verify(&text, &issuer(), LIST, at(0), at(0));
    }

    #[test]
    fn a_presentation_with_any_byte_changed_is_refused(position in any::<prop::sample::Index>(), byte in 0x20_u8..0x7f) {
        let text = present(&[ClaimPath::of("operator"), ClaimPath::of("plugs").index(1)]);
        let mut bytes = text.clone().into_bytes();
        let place = position.index(bytes.len());
        prop_assume!(bytes[place] != byte);
        bytes[place] = byte;
        prop_assert!(verify(&String::from_utf8(bytes).unwrap()).is_err());
    }

    #[test]
    fn signed_nonsense_never_panics(json in arb_value(), disclosure_of in arb_value(), header in arb_value()) {
        let text = disclosure(&disclosure_of);
        let payload = match json {
            Value::Object(object) => merged(open_payload(), Value::Object(object)),
            value => value,
        };
        let _ = verify(&forge(&payload, std::slice::from_ref(&text)));
        let _ = verify(&bind(&bound(&sign(&header.to_string(), &payload.to_string(), &key(1)), &[text])));
    }
}
