//! Envelopes as others see them: golden vectors, everything that must be refused, and arbitrary bytes.
//!
//! The vectors of `vectors/didcomm/envelopes` were written by this crate with fixed keys and a fixed source of random
//! bytes; `EROAM_WRITE_VECTORS=1` writes them anew. A changed one means that other agents see something else.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use crypto_box::aead::rand_core::{CryptoRng, Error, RngCore};
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::envelope::{ENVELOPE_BYTES_MAX, RECIPIENTS_MAX};
use eroam_ssi::didcomm::forward::{self, ForwardError, LAYERS_MAX};
use eroam_ssi::didcomm::{
    Attachment, Message, MessageId, OsRng, PackError, SigningKey, UnpackError, pack, unpack,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Bytes that follow from a seed: SHA-256 of a counter.
struct Fixed {
    counter: u64,
    left: Vec<u8>,
}

impl Fixed {
    fn new() -> Self {
        Self { counter: 0, left: Vec::new() }
    }
}

impl RngCore for Fixed {
    fn next_u32(&mut self) -> u32 {
        let mut bytes = [0; 4];
        self.fill_bytes(&mut bytes);
        u32::from_le_bytes(bytes)
    }

    fn next_u64(&mut self) -> u64 {
        let mut bytes = [0; 8];
        self.fill_bytes(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    fn fill_bytes(&mut self, dest: &mut [u8]) {
        for byte in dest {
            if self.left.is_empty() {
                self.left = Sha256::digest(self.counter.to_be_bytes()).to_vec();
                self.counter += 1;
            }
            *byte = self.left.remove(0);
        }
    }

    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        self.fill_bytes(dest);
        Ok(())
    }
}

impl CryptoRng for Fixed {}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32])
}

fn public(seed: u8) -> VerificationKey {
    key(seed).verification_key()
}

/// Unpacks with the keys of these seeds.
fn open(
    envelope: &[u8],
    seeds: &[u8],
) -> Result<(Vec<u8>, Option<VerificationKey>, VerificationKey), UnpackError> {
    let keys: Vec<SigningKey> = seeds.iter().map(|seed| key(*seed)).collect();
    let opened = unpack(envelope, |wanted| keys.iter().find(|key| key.verification_key() == *wanted))?;
    Ok((opened.plaintext.to_vec(), opened.sender, opened.recipient))
}

fn protected_of(envelope: &Value) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(envelope["protected"].as_str().unwrap()).unwrap()).unwrap()
}

fn vectors() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/didcomm/envelopes")
}

const PLAINTEXT: &str =
    r#"{"@type":"https://didcomm.org/basicmessage/1.0/message","@id":"1","content":"Grüße"}"#;

#[test]
fn envelopes_of_fixed_keys_stay_the_same() {
    let text = PLAINTEXT.as_bytes();
    let near = pack(text, &[public(2)], Some(&key(1)), &mut Fixed::new()).unwrap();
    let cases = [
        ("authcrypt", near.clone()),
        ("anoncrypt", pack(text, &[public(2)], None, &mut Fixed::new()).unwrap()),
        (
            "authcrypt_3",
            pack(text, &[public(3), public(2), public(4)], Some(&key(1)), &mut Fixed::new()).unwrap(),
        ),
        ("anoncrypt_3", pack(text, &[public(3), public(2), public(4)], None, &mut Fixed::new()).unwrap()),
        ("forward", forward::wrap(near, &public(2), &[public(5), public(6)], &mut Fixed::new()).unwrap()),
        ("signed_attachment", {
            let id = MessageId::parse("a1").unwrap();
            Attachment::signed(id, "text/string", b"did:x:y".to_vec(), &key(1))
                .to_value()
                .to_string()
                .into_bytes()
        }),
    ];
    if std::env::var_os("EROAM_WRITE_VECTORS").is_some() {
        for (name, bytes) in &cases {
            std::fs::write(vectors().join(format!("{name}.json")), bytes).unwrap();
        }
    }
    let mut unread: BTreeSet<String> = std::fs::read_dir(vectors())
        .unwrap()
        .map(|e| e.unwrap().file_name().into_string().unwrap())
        .collect();
    for (name, bytes) in cases {
        let file = format!("{name}.json");
        let golden = std::fs::read(vectors().join(&file)).unwrap();
        assert_eq!(String::from_utf8(bytes).unwrap(), String::from_utf8(golden.clone()).unwrap(), "{name}");
        unread.remove(&file);
        match name {
            "signed_attachment" => {
                let read = Attachment::from_value(&serde_json::from_slice(&golden).unwrap()).unwrap();
                assert_eq!(read.verify().unwrap(), (b"did:x:y".as_slice(), public(1)));
            }
            "forward" => {
                let (layer, sender, to) = open(&golden, &[6]).unwrap();
                assert_eq!((sender, to), (None, public(6)));
                let passed = forward::unwrap(&Message::parse(&layer).unwrap()).unwrap();
                assert_eq!(passed.to, public(5));
                let (layer, ..) = open(&passed.envelope, &[5]).unwrap();
                let passed = forward::unwrap(&Message::parse(&layer).unwrap()).unwrap();
                assert_eq!(passed.to, public(2));
                assert_eq!(
                    open(&passed.envelope, &[2]).unwrap(),
                    (text.to_vec(), Some(public(1)), public(2))
                );
            }
            name => {
                let sender = name.starts_with("authcrypt").then(|| public(1));
                assert_eq!(open(&golden, &[2]).unwrap(), (text.to_vec(), sender, public(2)), "{name}");
            }
        }
    }
    assert!(unread.is_empty(), "vectors that no test reads: {unread:?}");
}

/// The name of an error's variant.
fn variant(error: &UnpackError) -> &'static str {
    match error {
        UnpackError::Oversized { .. } => "oversized",
        UnpackError::Json { .. } => "json",
        UnpackError::Malformed(_) => "malformed",
        UnpackError::TooManyRecipients { .. } => "too many",
        UnpackError::Unsupported { .. } => "unsupported",
        UnpackError::WrongRecipient => "wrong recipient",
        UnpackError::Key { .. } => "key",
        UnpackError::BadCiphertext(_) => "bad ciphertext",
    }
}

#[test]
fn envelopes_that_were_changed_are_refused() {
    let good = |sender: Option<u8>| -> Value {
        let sender = sender.map(key);
        serde_json::from_slice(
            &pack(PLAINTEXT.as_bytes(), &[public(2)], sender.as_ref(), &mut OsRng).unwrap(),
        )
        .unwrap()
    };
    let outer = |member: &str, value: Value| {
        let mut envelope = good(Some(1));
        envelope[member] = value;
        envelope.to_string().into_bytes()
    };
    let inner = |sender: Option<u8>, pointer: &str, value: Value| {
        let mut envelope = good(sender);
        let mut protected = protected_of(&envelope);
        *protected.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer}")) = value;
        envelope["protected"] = URL_SAFE_NO_PAD.encode(protected.to_string()).into();
        envelope.to_string().into_bytes()
    };
    let flip = |member: &str| {
        let envelope = good(Some(1));
        let mut bytes = URL_SAFE_NO_PAD.decode(envelope[member].as_str().unwrap()).unwrap();
        bytes[0] ^= 1;
        outer_of(envelope, member, &bytes)
    };
    // Another sender's name, properly sealed to the recipient: the content key does not open with it.
    let other_name = protected_of(&good(Some(3)))["recipients"][0]["header"]["sender"].clone();
    let other_key = protected_of(&good(Some(1)))["recipients"][0]["encrypted_key"].clone();
    let whitespace = {
        // The same JSON with other spaces: what is authenticated is the text.
        let mut envelope = good(Some(1));
        let protected = serde_json::to_string_pretty(&protected_of(&envelope)).unwrap();
        envelope["protected"] = URL_SAFE_NO_PAD.encode(protected).into();
        envelope.to_string().into_bytes()
    };
    let sealed_name = |name: &[u8]| {
        let mut recipient = [0; 32];
        recipient.copy_from_slice(&key_agreement(2));
        let sealed = crypto_box::PublicKey::from(recipient).seal(&mut OsRng, name).unwrap();
        Value::from(URL_SAFE_NO_PAD.encode(sealed))
    };
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut off_curve = [0; 32];
    off_curve[0] = 2;
    let b58 = |bytes: &[u8]| bs58::encode(bytes).into_string().into_bytes();
    let many = protected_of(&good(Some(1)))["recipients"][0].clone();
    let deep = format!(r#"{{"protected":{}{}}}"#, "[".repeat(200_000), "]".repeat(200_000));
    let sender = "/recipients/0/header/sender";
    let table: Vec<(&str, Vec<u8>, &str)> = vec![
        ("empty", vec![], "json"),
        ("not JSON", b"abc".to_vec(), "json"),
        ("deep JSON", deep.into_bytes(), "json"),
        ("a key twice", br#"{"protected":"","protected":""}"#.to_vec(), "json"),
        ("oversized", vec![b' '; ENVELOPE_BYTES_MAX + 1], "oversized"),
        ("a list", b"[]".to_vec(), "malformed"),
        ("no protected", outer("protected", Value::Null), "malformed"),
        ("protected not base64", outer("protected", json!("!")), "malformed"),
        ("protected not JSON", outer("protected", json!(URL_SAFE_NO_PAD.encode("{"))), "json"),
        (
            "protected with a key twice",
            outer("protected", json!(URL_SAFE_NO_PAD.encode(r#"{"a":1,"a":1}"#))),
            "json",
        ),
        ("other spaces in protected", whitespace, "bad ciphertext"),
        ("alg none", inner(Some(1), "/alg", json!("none")), "unsupported"),
        ("alg missing", inner(Some(1), "/alg", Value::Null), "malformed"),
        ("alg of the other kind", inner(Some(1), "/alg", json!("Anoncrypt")), "malformed"),
        ("anonymous as authenticated", inner(None, "/alg", json!("Authcrypt")), "malformed"),
        ("enc unknown", inner(Some(1), "/enc", json!("A256GCM")), "unsupported"),
        ("typ unknown", inner(Some(1), "/typ", json!("JWM/2.0")), "unsupported"),
        ("no recipients", inner(Some(1), "/recipients", json!([])), "wrong recipient"),
        ("recipients not a list", inner(Some(1), "/recipients", json!({})), "malformed"),
        (
            "too many recipients",
            inner(Some(1), "/recipients", json!(vec![many; RECIPIENTS_MAX + 1])),
            "too many",
        ),
        (
            "other recipient",
            inner(Some(1), "/recipients/0/header/kid", json!(public(9).to_string())),
            "wrong recipient",
        ),
        ("kid not a key", inner(Some(1), "/recipients/0/header/kid", json!("x")), "wrong recipient"),
        ("no sender", inner(Some(1), sender, Value::Null), "malformed"),
        (
            "sender not sealed to us",
            inner(Some(1), sender, json!(URL_SAFE_NO_PAD.encode([9; 92]))),
            "bad ciphertext",
        ),
        ("sender short", inner(Some(1), sender, json!(URL_SAFE_NO_PAD.encode([9; 20]))), "malformed"),
        ("sender long", inner(Some(1), sender, json!("A".repeat(600))), "malformed"),
        ("sender swapped", inner(Some(1), sender, other_name), "bad ciphertext"),
        ("sender of low order", inner(Some(1), sender, sealed_name(&b58(&identity))), "key"),
        ("sender off the curve", inner(Some(1), sender, sealed_name(&b58(&off_curve))), "key"),
        ("sender not base58", inner(Some(1), sender, sealed_name(b"0OIl")), "key"),
        ("sender not text", inner(Some(1), sender, sealed_name(&[0xff])), "malformed"),
        (
            "sealed box of a low-order key",
            inner(Some(1), sender, json!(URL_SAFE_NO_PAD.encode(identity.repeat(3)))),
            "key",
        ),
        ("another content key", inner(Some(1), "/recipients/0/encrypted_key", other_key), "bad ciphertext"),
        ("header.iv short", inner(Some(1), "/recipients/0/header/iv", json!("AAAA")), "malformed"),
        (
            "header.iv changed",
            inner(Some(1), "/recipients/0/header/iv", json!("A".repeat(32))),
            "bad ciphertext",
        ),
        ("iv short", outer("iv", json!("AAAA")), "malformed"),
        ("iv of 24 bytes", outer("iv", json!(URL_SAFE_NO_PAD.encode([0; 24]))), "malformed"),
        ("iv changed", flip("iv"), "bad ciphertext"),
        ("tag short", outer("tag", json!("AAAA")), "malformed"),
        ("tag changed", flip("tag"), "bad ciphertext"),
        ("ciphertext changed", flip("ciphertext"), "bad ciphertext"),
        ("ciphertext not text", outer("ciphertext", json!(1)), "malformed"),
    ];
    for (name, bytes, expected) in table {
        let error = open(&bytes, &[2]).unwrap_err();
        assert_eq!(variant(&error), expected, "{name}: {error:?}");
    }
}

fn outer_of(mut envelope: Value, member: &str, bytes: &[u8]) -> Vec<u8> {
    envelope[member] = URL_SAFE_NO_PAD.encode(bytes).into();
    envelope.to_string().into_bytes()
}

/// The X25519 key of a seed, computed apart from the crate.
fn key_agreement(seed: u8) -> [u8; 32] {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[seed; 32]);
    secret.verifying_key().to_montgomery().to_bytes()
}

#[test]
fn padding_of_base64_may_be_there() {
    let mut envelope: Value =
        serde_json::from_slice(&pack(b"a", &[public(2)], Some(&key(1)), &mut OsRng).unwrap()).unwrap();
    for member in ["iv", "ciphertext", "tag"] {
        let bytes = URL_SAFE_NO_PAD.decode(envelope[member].as_str().unwrap()).unwrap();
        envelope[member] = base64::engine::general_purpose::URL_SAFE.encode(bytes).into();
    }
    assert_eq!(open(envelope.to_string().as_bytes(), &[2]).unwrap().0, b"a");
    // The other alphabet is not.
    envelope["tag"] = STANDARD.encode([0xff; 16]).into();
    assert_eq!(variant(&open(envelope.to_string().as_bytes(), &[2]).unwrap_err()), "malformed");
}

#[test]
fn what_does_not_fit_is_not_packed() {
    let mut rng = OsRng;
    assert!(matches!(pack(b"a", &[], None, &mut rng), Err(PackError::Recipients { found: 0 })));
    let many = [public(2); RECIPIENTS_MAX + 1];
    assert!(matches!(pack(b"a", &many, None, &mut rng), Err(PackError::Recipients { found: 17 })));
    let largest = vec![b'a'; ENVELOPE_BYTES_MAX];
    assert!(matches!(pack(&largest, &[public(2)], None, &mut rng), Err(PackError::Oversized { .. })));
    let fits = vec![b'a'; ENVELOPE_BYTES_MAX / 4 * 3 - 2048];
    let packed = pack(&fits, &[public(2)], Some(&key(1)), &mut rng).unwrap();
    assert_eq!(open(&packed, &[2]).unwrap().0, fits);
    let layers = [public(2); LAYERS_MAX + 1];
    assert!(matches!(
        forward::wrap(b"{}".to_vec(), &public(2), &layers, &mut rng),
        Err(PackError::Layers { found: 5 })
    ));
}

#[test]
fn the_first_recipient_that_is_ours_opens() {
    let packed = pack(b"a", &[public(3), public(2), public(4)], Some(&key(1)), &mut OsRng).unwrap();
    assert_eq!(open(&packed, &[4, 2]).unwrap().2, public(2));
    let opened = unpack(&packed, |_| None).unwrap_err();
    assert_eq!(variant(&opened), "wrong recipient");
    let ours = key(4);
    let opened = unpack(&packed, |wanted| (*wanted == public(4)).then_some(&ours)).unwrap();
    assert_eq!(opened.recipients, 3);
    assert!(format!("{opened:?}").contains("1 bytes"));
}

#[test]
fn a_mediator_passes_on_only_envelopes_for_keys() {
    let message = |kind: &str, to: Value, msg: Value| {
        let value = json!({"@type": format!("https://didcomm.org/{kind}"), "@id": "1", "to": to, "msg": msg});
        forward::unwrap(&Message::from_value(value).unwrap())
    };
    let to = public(2).to_string();
    let kind = "routing/1.0/forward";
    assert_eq!(message(kind, json!(to), json!({"a": 1})).unwrap().envelope, br#"{"a":1}"#);
    assert_eq!(message(kind, json!(public(2).to_did_key().as_str()), json!({})).unwrap().to, public(2));
    assert!(matches!(
        message("routing/2.0/forward", json!(to), json!({})),
        Err(ForwardError::NotForward { .. })
    ));
    assert!(matches!(message(kind, json!("x"), json!({})), Err(ForwardError::To)));
    assert!(matches!(message(kind, json!(1), json!({})), Err(ForwardError::To)));
    assert!(matches!(message(kind, json!(to), json!("e30=")), Err(ForwardError::Msg)));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn what_is_packed_is_unpacked(
        plaintext in proptest::collection::vec(any::<u8>(), 0..300),
        others in proptest::collection::vec(10_u8..20, 0..4),
        authenticated: bool,
    ) {
        let sender = key(1);
        let mut recipients: Vec<VerificationKey> = others.iter().map(|seed| public(*seed)).collect();
        recipients.push(public(2));
        let packed = pack(&plaintext, &recipients, authenticated.then_some(&sender), &mut OsRng).unwrap();
        let expected = (plaintext, authenticated.then(|| public(1)), public(2));
        prop_assert_eq!(open(&packed, &[2]).unwrap(), expected);
    }

    #[test]
    fn a_changed_byte_never_opens_to_something_else(at: prop::sample::Index, bits in 1_u8..) {
        let packed = pack(PLAINTEXT.as_bytes(), &[public(2)], Some(&key(1)), &mut OsRng).unwrap();
        let mut changed = packed.clone();
        let at = at.index(changed.len());
        changed[at] ^= bits;
        // Spaces between members may change, nothing else.
        if let Ok((plaintext, sender, _)) = open(&changed, &[2]) {
            prop_assert_eq!((plaintext.as_slice(), sender), (PLAINTEXT.as_bytes(), Some(public(1))));
        }
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = open(&bytes, &[2]);
        let _ = Message::parse(&bytes);
    }

    #[test]
    fn arbitrary_members_never_panic(protected in r#"\{"alg":"(Auth|Anon)crypt","enc":"xchacha20poly1305_ietf","typ":"JWM/1.0","recipients":\[(\{"header":\{"kid":"[1-9A-Z]{0,44}"\}\})?\]\}"#,
        rest in "[A-Za-z0-9_-]{0,64}") {
        let envelope = json!({"protected": URL_SAFE_NO_PAD.encode(protected), "iv": rest, "tag": rest, "ciphertext": rest});
        prop_assert!(open(envelope.to_string().as_bytes(), &[2]).is_err());
    }
}
