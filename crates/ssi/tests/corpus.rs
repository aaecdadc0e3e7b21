//! The corpora of this crate's fuzz targets. Their first seeds are what it produces, and the recorded messages.

mod anoncreds_world;
#[path = "../../../fuzz/targets/ssi.rs"]
mod targets;

use anoncreds_world::*;
use eroam_domain::time::UnixMillis;
use eroam_ssi::anoncreds::{holder, issuer};
use eroam_ssi::custody::{Cost, HolderVault, Wallet};
use eroam_ssi::didcomm::OsRng;
use eroam_ssi::sd_jwt::{
    ClaimPath, HeldSdJwt, IssueSdJwt, NewStatusList, StatusList as BitList, TrustedIssuer,
};
use eroam_testkit::corpus;
use std::path::Path;
use targets::{LIST_ISSUER, LIST_URI, TARGETS, list_key, passphrase, run};

fn recorded(name: &str) -> Vec<u8> {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/didcomm");
    std::fs::read(vectors.join(name)).unwrap()
}

/// What each target must accept.
fn proper() -> Vec<(&'static str, Vec<u8>)> {
    let mut world = World::new();
    let request = world.request();
    let presentation = world.present(&request, &world.registry.witness(INDEX));
    let offer = world.member.offer();
    let (asked, _) =
        holder::request(&offer, &world.member.cred_def_id, &world.member.definition, &world.link_secret)
            .unwrap();
    let (definition, secret) = (&world.member.definition, &world.member.secret);
    let issued = issuer::issue(definition, secret, &offer, &asked, &member_values(), None).unwrap();
    let registry = world.registry.definition.to_json();
    let tails = [&registry[..], b"\n", &world.registry.tails].concat();
    let list = world.registry.list.to_json();
    let delta = world.registry.change(&world.driver, &[], &[1, 2]).to_json();
    let did = eroam_ssi::didcomm::SigningKey::from_seed(&[1; 32]).verification_key().to_did_key();
    let document = eroam_ssi::did::resolve(&did).unwrap().to_json().to_string().into_bytes();
    let query = eroam_ssi::didcomm::MessageId::parse("query-1").unwrap();
    let query = eroam_ssi::protocol::discover_features::query(&["*"], query).unwrap();
    vec![
        ("attachment", recorded("envelopes/signed_attachment.json")),
        ("basic_message", recorded("messages/12_basic_message.json")),
        ("credential", issued.to_json()),
        ("credential_definition", world.member.definition.to_json()),
        ("credential_offer", offer.to_json()),
        ("credential_request", asked.to_json()),
        ("did", did.as_str().as_bytes().to_vec()),
        ("did_document", document),
        ("did_exchange", recorded("messages/02_request.json")),
        ("discover_features", query.to_bytes()),
        ("envelope", recorded("envelopes/authcrypt.json")),
        ("envelope", recorded("envelopes/anoncrypt_3.json")),
        ("invitation", recorded("messages/01_invitation.json")),
        ("issue_credential", recorded("messages/05_offer_credential.json")),
        ("issue_credential", recorded("messages/06_request_credential.json")),
        ("json", br#"{"a":[1,-25,"\u00e4",null,true]}"#.to_vec()),
        ("message", recorded("messages/03_response.json")),
        ("notification", recorded("messages/08_ack_credential.json")),
        ("object_id", world.driver.cred_def_id.as_str().as_bytes().to_vec()),
        ("present_proof", recorded("messages/09_request_presentation.json")),
        ("present_proof", recorded("messages/10_presentation.json")),
        ("presentation", presentation.to_json()),
        ("problem_report", recorded("messages/13_problem_report.json")),
        ("proof_request", request.to_json()),
        ("registry_definition", registry),
        ("sd_jwt", sd_jwt()),
        ("sd_jwt_status_list", status_list_token()),
        ("schema", world.member.schema.to_json()),
        ("status_delta", delta),
        ("status_list", list),
        ("tails", tails),
        ("vault", vault()),
    ]
}

fn seconds(seconds: i64) -> UnixMillis {
    UnixMillis::new(seconds * 1000).unwrap()
}

/// A presentation with one claim shown.
fn sd_jwt() -> Vec<u8> {
    let claims = [("station".to_owned(), "S-1".into()), ("operator".to_owned(), "PT-LUZ".into())];
    let holder = eroam_ssi::sd_jwt::SigningKey::from_scalar(&[2; 32]).unwrap();
    let credential = IssueSdJwt {
        issuer: LIST_ISSUER.to_owned(),
        key_id: None,
        vct: "station".to_owned(),
        issued_at: seconds(1),
        not_before: None,
        expires_at: seconds(1000),
        holder: holder.verifying_key(),
        status: None,
        claims: claims.into_iter().collect(),
        disclosable: [ClaimPath::of("operator")].into(),
        decoys: 1,
    };
    let text = credential.sign(&list_key(), &mut OsRng).unwrap();
    let issuer = TrustedIssuer::new(LIST_ISSUER, list_key().verifying_key()).unwrap();
    let held = HeldSdJwt::receive(&text, &issuer, holder, seconds(2)).unwrap();
    let shown = held.present(&[ClaimPath::of("operator")].into(), "wallet", "nonce-0123456789", seconds(2));
    shown.unwrap().into_bytes()
}

/// A list that holds at the time of the targets.
fn status_list_token() -> Vec<u8> {
    let (mut list, begin) = (BitList::new(100).unwrap(), UnixMillis::EPOCH);
    list.set(7, true).unwrap();
    let new = NewStatusList {
        issuer: LIST_ISSUER.to_owned(),
        uri: LIST_URI.to_owned(),
        issued_at: begin,
        expires_at: seconds(1000),
        ttl: None,
    };
    list.sign(&new, &list_key()).unwrap().into_bytes()
}

/// An empty wallet at the least cost.
fn vault() -> Vec<u8> {
    let cost = Cost::new(8 * 1024, 1, 1).unwrap();
    let vault = HolderVault::create(&passphrase(), cost, &mut OsRng).unwrap();
    vault.seal(&Wallet::new(), &mut OsRng).unwrap()
}

#[test]
fn every_seed_is_accepted_or_refused_as_its_name_says() {
    if corpus::is_to_be_written() {
        // Objects have any name that is printed, and the beginning of a name is one.
        corpus::write(&proper(), &["object_id"]);
    }
    corpus::replay("ssi", &TARGETS.iter().map(|(name, _)| *name).collect(), run);
}
