//! Envelopes, identifiers and signed attachments compared with an independent implementation: ACA-Py's.
//!
//! How it is found, and what happens without it: `testkit::python`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use eroam_ssi::did::{self, Did, Endpoint, VerificationKey};
use eroam_ssi::didcomm::{Attachment, MessageId, OsRng, SigningKey, pack, unpack};
use eroam_testkit::python::Peer;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

fn oracle() -> Option<Peer> {
    Peer::start("acapy_agent", Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/didcomm_oracle.py")))
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn public(seed: u8) -> VerificationKey {
    key(seed).verification_key()
}

const IMPLEMENTATIONS: [&str; 2] = ["nacl", "askar"];

#[test]
fn the_other_implementation_opens_our_envelopes() {
    let Some(oracle) = oracle() else { return };
    let message = "{\"content\":\"Grüße \u{1f50c}\"}";
    for with in IMPLEMENTATIONS {
        for sender in [None, Some(1)] {
            for recipients in [&[2_u8][..], &[3, 2, 4]] {
                let to: Vec<VerificationKey> = recipients.iter().map(|seed| public(*seed)).collect();
                let packed = pack(message.as_bytes(), &to, sender.map(key).as_ref(), &mut OsRng).unwrap();
                let packed = String::from_utf8(packed).unwrap();
                let opened = oracle.told("unpack", json!({"with": with, "packed": packed, "seeds": [2]}));
                assert_eq!(STANDARD.decode(opened["message"].as_str().unwrap()).unwrap(), message.as_bytes());
                assert_eq!(
                    opened["sender"],
                    sender.map_or(Value::Null, |seed| public(seed).to_string().into())
                );
                assert_eq!(opened["recipient"], public(2).to_string());
                // It finds what we find.
                let mut changed: Value = serde_json::from_str(&packed).unwrap();
                changed["tag"] = "AAAAAAAAAAAAAAAAAAAAAA".into();
                let refused =
                    oracle.ask("unpack", json!({"with": with, "packed": changed.to_string(), "seeds": [2]}));
                assert!(refused.is_err(), "{with}: {refused:?}");
            }
        }
    }
}

#[test]
fn we_open_the_envelopes_of_the_other_implementation() {
    let Some(oracle) = oracle() else { return };
    for with in IMPLEMENTATIONS {
        // With PyNaCl it counts characters where it means bytes, and puts the tag at the wrong place.
        let message =
            if with == "nacl" { "{\"content\":\"a\"}" } else { "{\"content\":\"Grüße \u{1f50c}\"}" };
        for sender in [None, Some(1_u8)] {
            for recipients in [&[2_u8][..], &[3, 2, 4]] {
                let to: Vec<String> = recipients.iter().map(|seed| public(*seed).to_string()).collect();
                let question =
                    json!({"with": with, "message": STANDARD.encode(message), "to": to, "sender": sender});
                let packed = oracle.told("pack", question);
                let ours = key(2);
                let find = |wanted: &VerificationKey| (*wanted == public(2)).then_some(&ours);
                let opened = unpack(packed.as_str().unwrap().as_bytes(), find).unwrap();
                assert_eq!(opened.plaintext.as_slice(), message.as_bytes());
                assert_eq!((opened.sender, opened.recipient), (sender.map(public), public(2)));
                assert_eq!(opened.recipients, recipients.len());
            }
        }
    }
}

#[test]
fn the_other_implementation_resolves_our_identifiers() {
    let Some(oracle) = oracle() else { return };
    let endpoint = Endpoint::parse("https://a.example/inbox").unwrap();
    let did = did::peer2::create(&public(1), &endpoint, &[public(2)]).unwrap();
    let document = oracle.told("resolve_peer_2", json!({"did": did.as_str()}));
    assert_eq!(document["verificationMethod"][0]["publicKeyMultibase"], public(1).to_multikey());
    assert_eq!(document["authentication"], json!(["#key-1"]));
    assert_eq!(document["keyAgreement"], json!(["#key-2"]));
    let service = &document["service"][0];
    assert_eq!((&service["type"], &service["id"]), (&json!("did-communication"), &json!("#didcomm-0")));
    assert_eq!(service["serviceEndpoint"], endpoint.as_str());
    assert_eq!(service["recipientKeys"], json!(["#key-1"]));
    assert_eq!(service["routingKeys"], json!([public(2).to_did_key_reference()]));
    // Read as a document, it says what we say.
    let read = did::Document::from_json(document.to_string().as_bytes()).unwrap();
    assert_eq!(read.target(), did::resolve(&did).unwrap().target());
    let verkey = oracle.told("did_key", json!({"did": public(1).to_did_key().as_str()}));
    assert_eq!(verkey, public(1).to_string());
}

#[test]
fn both_make_the_same_did_peer_4() {
    let Some(oracle) = oracle() else { return };
    let document = json!({"@context": ["https://www.w3.org/ns/did/v1"],
        "verificationMethod": [{"id": "#key-0", "type": "Multikey", "publicKeyMultibase": public(1).to_multikey()}],
        "service": [{"id": "#didcomm-0", "type": "did-communication", "priority": 0, "recipientKeys": ["#key-0"],
            "routingKeys": [], "serviceEndpoint": "http://127.0.0.1:9002"}]});
    let theirs = oracle.told("peer_4", json!({"document": document}));
    let long = Did::parse(theirs["long"].as_str().unwrap()).unwrap();
    let resolved = did::resolve(&long).unwrap();
    assert_eq!(resolved.target().unwrap().recipient(), &public(1));
    assert_eq!(did::peer4::short_form(&long).unwrap().as_str(), theirs["short"].as_str().unwrap());
    let ours = did::peer4::create(&document).unwrap();
    let read = oracle.told("resolve_peer_4", json!({"did": ours.as_str()}));
    assert_eq!(read["id"], ours.as_str());
    assert_eq!(read["service"], document["service"]);
}

#[test]
fn the_other_implementation_verifies_our_signed_attachments() {
    let Some(oracle) = oracle() else { return };
    for length in 0..4 {
        let content = b"did:peer:2".iter().copied().take(7 + length).collect::<Vec<u8>>();
        let id = MessageId::parse("a1").unwrap();
        let attachment = Attachment::signed(id, "text/string", content, &key(1)).to_value();
        let verify = |attachment: &Value, signer: u8| {
            oracle.ask("verify", json!({"attachment": attachment, "signer": public(signer).to_string()}))
        };
        assert_eq!(verify(&attachment, 1), Ok(true.into()));
        assert_ne!(verify(&attachment, 2), Ok(true.into()));
        let mut changed = attachment.clone();
        changed["data"]["base64"] = "ZGlk".into();
        assert_ne!(verify(&changed, 1), Ok(true.into()));
    }
}

#[test]
fn the_other_implementation_understands_our_messages() {
    let Some(oracle) = oracle() else { return };
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/didcomm/messages");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), 13);
    for file in files {
        let message: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
        let read = oracle.told("deserialize", json!({"message": message}));
        for (name, value) in message.as_object().unwrap() {
            match name.as_str() {
                // Its report of a problem calls itself by another name.
                "@type" => {}
                // It adds empty lists.
                "~l10n" => assert_eq!(read[name]["locale"], value["locale"]),
                _ => assert_eq!(read.get(name), Some(value), "{}: {name}", file.display()),
            }
        }
    }
}
