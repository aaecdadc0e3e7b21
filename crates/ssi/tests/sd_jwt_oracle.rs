//! SD-JWT against the specification authors' implementation, in both directions.
//!
//! The reference is the Python package `sd-jwt` 0.10. How it is found, and what happens without it: `testkit::python`.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL;
use eroam_domain::time::UnixMillis;
use eroam_ssi::didcomm::OsRng;
use eroam_ssi::sd_jwt::*;
use eroam_testkit::python::Peer;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime};

const ISSUER: &str = "did:eroam:cpo";
const VCT: &str = "urn:eroam:station:1";

fn reference() -> Option<Peer> {
    Peer::start("sd_jwt", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sd_jwt_oracle.py")))
}

fn string(answer: Value) -> String {
    answer.as_str().unwrap().to_owned()
}

struct Keys {
    issuer: SigningKey,
    holder: SigningKey,
}

impl Keys {
    fn new() -> Self {
        Self { issuer: SigningKey::generate(&mut OsRng), holder: SigningKey::generate(&mut OsRng) }
    }

    fn holder(&self) -> SigningKey {
        SigningKey::from_scalar(&self.holder.to_scalar()).unwrap()
    }

    fn trusted(&self) -> TrustedIssuer {
        TrustedIssuer::new(ISSUER, self.issuer.verifying_key()).unwrap()
    }

    fn verify(&self, presentation: &str) -> Result<VerifiedSdJwt, SdJwtError> {
        let demand = Demand {
            vct: VCT,
            audience: "did:key:driver",
            nonce: "n-1",
            fresh_for: Duration::from_secs(60),
            status_lists: &[],
            without_status: WithoutStatus::Accepted,
        };
        PresentedSdJwt::parse(presentation)?.verify(&self.trusted(), &demand, now())
    }
}

fn secret_jwk(key: &SigningKey) -> Value {
    let mut jwk = key.verifying_key().to_jwk();
    jwk["d"] = BASE64URL.encode(*key.to_scalar()).into();
    jwk
}

/// The reference takes the time from the machine.
fn now() -> UnixMillis {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    UnixMillis::new(since.as_millis().try_into().unwrap()).unwrap()
}

fn claims() -> Value {
    json!({
        "operator": "Stadtwerke Münster",
        "address": { "street": "Hafenweg 1", "floors": [1, 2] },
        "plugs": ["CCS", "Type 2", "Schuko"],
    })
}

fn paths() -> BTreeSet<ClaimPath> {
    let address = ClaimPath::of("address");
    let plugs = (0..3).map(|n| ClaimPath::of("plugs").index(n));
    let floors = (0..2).map(|n| address.clone().name("floors").index(n));
    let tops = ["operator", "address", "plugs"].map(ClaimPath::of);
    let inner = ["street", "floors"].map(|name| address.clone().name(name));
    tops.into_iter().chain(inner).chain(plugs).chain(floors).collect()
}

fn only(claims: &serde_json::Map<String, Value>) -> Value {
    let names = ["operator", "address", "plugs"];
    Value::Object(
        claims
            .iter()
            .filter(|(n, _)| names.contains(&n.as_str()))
            .map(|(n, v)| (n.clone(), v.clone()))
            .collect(),
    )
}

#[test]
fn what_we_issue_and_present_the_reference_takes() {
    let Some(reference) = reference() else { return };
    let keys = Keys::new();
    let issue = IssueSdJwt {
        issuer: ISSUER.to_owned(),
        key_id: Some("key-1".to_owned()),
        vct: VCT.to_owned(),
        issued_at: now(),
        not_before: Some(now()),
        expires_at: UnixMillis::new(now().get() + 3_600_000).unwrap(),
        holder: keys.holder.verifying_key(),
        status: None,
        claims: claims().as_object().unwrap().clone(),
        disclosable: paths(),
        decoys: 3,
    };
    let text = issue.sign(&keys.issuer, &mut OsRng).unwrap();
    let held = HeldSdJwt::receive(&text, &keys.trusted(), keys.holder(), now()).unwrap();
    let part =
        BTreeSet::from([ClaimPath::of("address").name("floors").index(1), ClaimPath::of("plugs").index(0)]);
    let shown = json!({ "address": { "floors": [2] }, "plugs": ["CCS"] });
    for (disclose, expected) in [(paths(), claims()), (part, shown)] {
        let presentation = held.present(&disclose, "did:key:driver", "n-1", now()).unwrap();
        let issuer = keys.issuer.verifying_key().to_jwk();
        let command = |aud: &str, nonce: &str, presentation: &str| json!({ "presentation": presentation, "issuer": issuer, "aud": aud, "nonce": nonce });
        let verified = reference.told("verify", command("did:key:driver", "n-1", &presentation));
        assert_eq!(only(verified.as_object().unwrap()), expected);
        // And refuses what we refuse.
        reference.ask("verify", command("did:key:other", "n-1", &presentation)).unwrap_err();
        reference.ask("verify", command("did:key:driver", "n-2", &presentation)).unwrap_err();
        let fewer = presentation.split('~').enumerate().filter(|(n, _)| *n != 1).map(|(_, part)| part);
        let fewer = fewer.collect::<Vec<_>>().join("~");
        reference.ask("verify", command("did:key:driver", "n-1", &fewer)).unwrap_err();
        keys.verify(&fewer).unwrap_err();
    }
    // The reference presents what we issued.
    let command = json!({
        "sd_jwt": text, "holder": secret_jwk(&keys.holder), "aud": "did:key:driver", "nonce": "n-1",
        "disclose": { "operator": true, "plugs": [false, true, false] },
    });
    let verified = keys.verify(&string(reference.told("present", command))).unwrap();
    assert_eq!(only(verified.claims()), json!({ "operator": "Stadtwerke Münster", "plugs": ["Type 2"] }));
}

#[test]
fn what_the_reference_issues_and_presents_we_take() {
    let Some(reference) = reference() else { return };
    let keys = Keys::new();
    let seconds = now().get() / 1000;
    let open = json!({ "iss": ISSUER, "vct": VCT, "iat": seconds, "exp": seconds + 3600 });
    let command = json!({
        "open": open, "hidden": claims(), "issuer": secret_jwk(&keys.issuer),
        "holder": keys.holder.verifying_key().to_jwk(),
    });
    let text = string(reference.told("issue", command));
    // As holder.
    let held = HeldSdJwt::receive(&text, &keys.trusted(), keys.holder(), now()).unwrap();
    assert_eq!(only(held.claims()), claims());
    assert_eq!(held.disclosable().cloned().collect::<BTreeSet<_>>(), paths());
    let street = BTreeSet::from([ClaimPath::of("address").name("street")]);
    let presentation = held.present(&street, "did:key:driver", "n-1", now()).unwrap();
    let verified = keys.verify(&presentation).unwrap();
    assert_eq!(only(verified.claims()), json!({ "address": { "street": "Hafenweg 1" } }));
    // As verifier.
    let command = |aud: &str| {
        json!({
            "sd_jwt": text, "holder": secret_jwk(&keys.holder), "aud": aud, "nonce": "n-1",
            "disclose": { "address": { "floors": [true, false] } },
        })
    };
    let verified = keys.verify(&string(reference.told("present", command("did:key:driver")))).unwrap();
    assert_eq!(only(verified.claims()), json!({ "address": { "floors": [1] } }));
    let refused = keys.verify(&string(reference.told("present", command("did:key:other")))).unwrap_err();
    assert!(matches!(refused, SdJwtError::Audience), "{refused}");
}
