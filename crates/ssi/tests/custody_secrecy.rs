//! No secret is in what is printed: every secret that issuers and holders have is searched for, in every spelling, in
//! the `Debug` output of everything that holds one and in the text of every error that reading or using one gives.

mod anoncreds_world;

use anoncreds_world::*;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use eroam_domain::time::UnixMillis;
use eroam_ssi::anoncreds::issuer::{CredentialDefinitionSecret, RegistrySecret};
use eroam_ssi::anoncreds::*;
use eroam_ssi::custody::file::VaultFile;
use eroam_ssi::custody::*;
use eroam_ssi::didcomm::{self, OsRng, SigningKey};
use eroam_ssi::sd_jwt;
use num_bigint::BigUint;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::error::Error;
use std::fmt::Debug;
use zeroize::Zeroizing;

/// Everything that was printed.
#[derive(Default)]
struct Printed(String);

impl Printed {
    fn debug(&mut self, value: &dyn Debug) {
        self.0 += &format!("{value:?}\n{value:#?}\n");
    }

    /// The whole chain, as a log has it.
    fn error(&mut self, error: &(dyn Error + 'static)) {
        let mut next = Some(error);
        while let Some(error) = next {
            self.0 += &format!("{error}\n{error:?}\n{error:#?}\n");
            next = error.source();
        }
    }

    fn failure<T, E: Error + 'static>(&mut self, result: Result<T, E>) {
        self.error(&result.err().expect("it was to fail"));
    }
}

/// How a secret could be spelled. Eight bytes of it are enough to be recognised.
fn spellings(secret: &[u8]) -> Vec<String> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list = |bytes: &[u8], separator: &str| {
        bytes.iter().map(ToString::to_string).collect::<Vec<_>>().join(separator)
    };
    let part = &secret[..secret.len().min(12)];
    let mut reversed = secret.to_vec();
    reversed.reverse();
    let mut all = vec![
        hex(part),
        hex(part).to_uppercase(),
        STANDARD_NO_PAD.encode(part),
        URL_SAFE_NO_PAD.encode(part),
        bs58::encode(secret).into_string(),
        BigUint::from_bytes_be(secret).to_string(),
        BigUint::from_bytes_be(&reversed).to_string(),
        list(part, ", "),
        list(part, ",\n    "),
    ];
    all.extend(std::str::from_utf8(secret).map(str::to_owned));
    all
}

/// A secret that is written as text, number or base64 already: how it begins, since errors cut texts short.
fn texts(of: &Value, found: &mut BTreeSet<String>) {
    match of {
        Value::String(text) if text.len() >= 16 => {
            // Points of the curve are several numbers in one text.
            let words = text.split_whitespace().filter(|word| word.len() >= 16);
            found.extend(words.map(|word| word[..word.len().min(24)].to_owned()));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, found)),
        Value::Object(map) => map.values().for_each(|item| texts(item, found)),
        _ => {}
    }
}

fn texts_of(json: &[u8]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    texts(&serde_json::from_slice(json).unwrap(), &mut found);
    found
}

/// The same with one thing wrong, at many places.
fn mutants(json: &[u8]) -> Vec<Vec<u8>> {
    let text = std::str::from_utf8(json).unwrap();
    let mut all = vec![
        json[..json.len() / 2].to_vec(),
        json[..json.len() - 1].to_vec(),
        text.replace(':', " ").into_bytes(),
    ];
    // Each text where a number belongs, too long, with a letter, and each number and name changed.
    let value: Value = serde_json::from_slice(json).unwrap();
    let mut pointers = Vec::new();
    walk(&value, String::new(), &mut pointers);
    for pointer in pointers {
        for change in 0..4 {
            let mut changed = value.clone();
            let place = changed.pointer_mut(&pointer).unwrap();
            *place = match (change, &*place) {
                (0, Value::String(text)) => json!(format!("{text}x")),
                (1, Value::String(text)) => json!([text]),
                (2, Value::String(text)) => json!(text[..text.len() / 2]),
                (3, Value::String(text)) => json!({ text.as_str(): 1 }),
                (0, _) => json!("x"),
                _ => continue,
            };
            all.push(changed.to_string().into_bytes());
        }
    }
    all
}

fn walk(value: &Value, at: String, found: &mut Vec<String>) {
    let escape = |name: &str| name.replace('~', "~0").replace('/', "~1");
    match value {
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(n, item)| walk(item, format!("{at}/{n}"), found));
        }
        Value::Object(map) => {
            map.iter().for_each(|(name, item)| walk(item, format!("{at}/{}", escape(name)), found));
        }
        _ => found.push(at),
    }
}

fn now() -> UnixMillis {
    UnixMillis::new(1_795_000_000_000).unwrap()
}

#[test]
fn no_secret_is_printed_by_anything_that_has_one_or_fails_to_read_one() {
    let mut printed = Printed::default();
    let mut secrets = BTreeSet::new();
    let world = World::new();

    // The link secret.
    let digits = world.link_secret.export_secret();
    secrets.extend(spellings(&BigUint::parse_bytes(digits.as_bytes(), 10).unwrap().to_bytes_be()));
    printed.debug(&world.link_secret);
    for wrong in [
        format!("{}x", *digits),
        format!("0{}", *digits),
        format!("{0}{0}", *digits),
        format!("-{}", *digits),
    ] {
        printed.failure(LinkSecret::import_secret(&wrong));
    }

    // An issuer's secrets.
    let definition = world.driver.secret.export_secret().unwrap();
    let registry = world.registry.secret.export_secret().unwrap();
    for secret in [&definition, &registry] {
        let found = texts_of(secret);
        assert!(!found.is_empty());
        secrets.extend(found);
    }
    printed.debug(&world.driver.secret);
    printed.debug(&world.registry.secret);
    for wrong in mutants(&definition) {
        let _ = CredentialDefinitionSecret::import_secret(&wrong).map_err(|error| printed.error(&error));
    }
    for wrong in mutants(&registry) {
        let _ = RegistrySecret::import_secret(&wrong).map_err(|error| printed.error(&error));
    }

    // A request under way, and its blinding factors.
    let offer = world.driver.offer();
    let request =
        holder::request(&offer, &world.driver.cred_def_id, &world.driver.definition, &world.link_secret);
    let (_, pending) = request.unwrap();
    let stored = pending.export_secret().unwrap();
    let blinding = serde_json::from_slice::<Value>(&stored).unwrap();
    let mut found = BTreeSet::new();
    // The rest is the issuer's, and public.
    for (name, value) in blinding.as_object().unwrap() {
        if name.contains("blinding") || name.contains("metadata") {
            texts(value, &mut found);
        }
    }
    assert!(!found.is_empty());
    secrets.extend(found);
    printed.debug(&pending);
    for wrong in mutants(&stored) {
        let _ = PendingCredential::import_secret(&wrong).map_err(|error| printed.error(&error));
    }

    // A credential: its signature and its values are the holder's, whoever has them is the holder to some.
    let stored = world.licence.export_secret();
    let value: Value = serde_json::from_slice(&stored).unwrap();
    let mut found = BTreeSet::new();
    texts(&value["signature"], &mut found);
    assert!(!found.is_empty());
    secrets.extend(found);
    secrets.extend(["C-4711", "DE*EMS*C1"].map(str::to_owned));
    printed.debug(&world.licence);
    for wrong in mutants(&stored) {
        let _ = HeldCredential::import_secret(&wrong).map_err(|error| printed.error(&error));
    }
    let witness = world.registry.witness(INDEX);
    printed.debug(&witness);
    for wrong in mutants(&witness.to_json().unwrap()) {
        let _ = WitnessState::from_json(&wrong).map_err(|error| printed.error(&error));
    }

    // A presentation, made and refused.
    let asked = world.request();
    let held = [(&world.licence, Some(&witness))];
    let selection = Selection::choose(&asked, held, &world.objects()).unwrap();
    let ready = prepared::prepare(&asked, &selection, &world.link_secret, &world.objects()).unwrap();
    printed.debug(&selection);
    printed.debug(&ready);
    printed.debug(&ready.answer(&asked).unwrap());
    let other = LinkSecret::random().unwrap();
    let wrong = prepared::prepare(&asked, &selection, &other, &world.objects());
    if let Ok(wrong) = wrong {
        printed.failure(world.verify(&wrong.answer(&asked).unwrap(), &asked));
    }

    // Keys of agents, and what is sealed with them.
    let key = SigningKey::from_seed(&[0x5a, 0x17, 0x99, 0x42].repeat(8).try_into().unwrap());
    let stranger = SigningKey::generate(&mut OsRng);
    secrets.extend(spellings(&*key.to_seed()));
    printed.debug(&key);
    let message = b"{\"the driver's\":\"message of 4711\"}";
    secrets.insert("message of 4711".to_owned());
    let sealed = didcomm::pack(message, &[key.verification_key()], Some(&key), &mut OsRng).unwrap();
    printed.failure(didcomm::unpack(&sealed, |_| Some(&stranger)).map(drop));
    for wrong in mutants(&sealed) {
        let _ = didcomm::unpack(&wrong, |_| Some(&key)).map_err(|error| printed.error(&error));
    }
    printed.debug(&didcomm::unpack(&sealed, |_| Some(&key)).unwrap());

    // SD-JWTs: keys, salts and what is held back.
    let (issuer, holder) =
        (sd_jwt::SigningKey::generate(&mut OsRng), sd_jwt::SigningKey::generate(&mut OsRng));
    secrets.extend(spellings(&*issuer.to_scalar()));
    secrets.extend(spellings(&*holder.to_scalar()));
    printed.debug(&issuer);
    let credential = sd_jwt::IssueSdJwt {
        issuer: "did:eroam:cpo".to_owned(),
        key_id: None,
        vct: "urn:eroam:station:1".to_owned(),
        issued_at: now(),
        not_before: None,
        expires_at: UnixMillis::new(1_895_000_000_000).unwrap(),
        holder: holder.verifying_key(),
        status: None,
        claims: json!({ "hidden": "value of 0815", "open": 1 }).as_object().unwrap().clone(),
        disclosable: BTreeSet::from([sd_jwt::ClaimPath::of("hidden")]),
        decoys: 1,
    };
    secrets.insert("value of 0815".to_owned());
    let trusted = sd_jwt::TrustedIssuer::new("did:eroam:cpo", issuer.verifying_key()).unwrap();
    printed.debug(&credential);
    let text = credential.sign(&issuer, &mut OsRng).unwrap();
    secrets.insert(text.split('~').nth(1).unwrap().to_owned());
    printed.failure(sd_jwt::HeldSdJwt::restore(&text, sd_jwt::SigningKey::generate(&mut OsRng)));
    let held = sd_jwt::HeldSdJwt::receive(&text, &trusted, holder, now()).unwrap();
    printed.debug(&held);
    let all = BTreeSet::from([sd_jwt::ClaimPath::of("hidden")]);
    let shown = held.present(&all, "did:key:a", "nonce", now()).unwrap();
    let demand = sd_jwt::Demand {
        vct: "urn:eroam:station:1",
        audience: "did:key:a",
        nonce: "nonce",
        fresh_for: std::time::Duration::from_secs(60),
        status_lists: &[],
        without_status: sd_jwt::WithoutStatus::Accepted,
    };
    let verified = sd_jwt::PresentedSdJwt::parse(&shown).unwrap().verify(&trusted, &demand, now()).unwrap();
    printed.debug(&verified);
    for place in 0..shown.len() {
        let mut wrong = shown.clone().into_bytes();
        wrong[place] = if wrong[place] == b'A' { b'B' } else { b'A' };
        let wrong = String::from_utf8(wrong).unwrap();
        match sd_jwt::PresentedSdJwt::parse(&wrong) {
            Err(error) => printed.error(&error),
            // One in a hundred: each is two signatures.
            Ok(presented) if place % 100 == 0 => printed.failure(presented.verify(&trusted, &demand, now())),
            Ok(presented) => printed.debug(&presented),
        }
    }

    // All of it in vaults.
    let passphrase = Passphrase::new(Zeroizing::new("correct horse battery".to_owned())).unwrap();
    secrets.extend(spellings(b"correct horse battery"));
    printed.debug(&passphrase);
    let mut wallet = Wallet::new();
    wallet.put_link_secret(&world.link_secret).unwrap();
    wallet.put_signing_key("agent", &key).unwrap();
    wallet.put_pending("licence", &pending).unwrap();
    wallet.put_credential("licence", &world.licence).unwrap();
    wallet.put_witness("licence", &witness).unwrap();
    wallet.put_sd_jwt("station", &held).unwrap();
    secrets.extend(spellings(b"a purse of vouchers"));
    wallet.put_note("purse", Zeroizing::new(b"a purse of vouchers".to_vec())).unwrap();
    let mut issuers = IssuerSecrets::new();
    issuers.put_definition(&world.driver.cred_def_id, &world.driver.secret).unwrap();
    issuers.put_registry(&world.registry.id, &world.registry.secret).unwrap();
    issuers.put_sd_jwt_key("key-1", &issuer).unwrap();
    printed.debug(&wallet);
    printed.debug(&issuers);
    let cost = Cost::new(*Cost::MEMORY_KIB.start(), 1, 1).unwrap();
    let vault = HolderVault::create(&passphrase, cost, &mut OsRng).unwrap();
    let bytes = vault.seal(&wallet, &mut OsRng).unwrap();
    printed.debug(&vault);
    // The key is 32 bytes of Argon2id over what the file says.
    let params = argon2::Params::new(cost.memory_kib(), cost.passes(), cost.lanes(), Some(32)).unwrap();
    let argon2 = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
    let mut vault_key = [0; 32];
    argon2.hash_password_into(b"correct horse battery", &bytes[22..38], &mut vault_key).unwrap();
    secrets.extend(spellings(&vault_key));
    for place in [0, 8, 9, 13, 22, 40, 100, bytes.len() - 1] {
        let mut wrong = bytes.clone();
        wrong[place] ^= 0x80;
        printed.failure(HolderVault::open(&wrong, &passphrase));
    }
    printed.failure(IssuerVault::open(&bytes, &passphrase));
    printed.failure(HolderVault::open(&bytes[..50], &passphrase));
    printed.debug(&HolderVault::open(&bytes, &passphrase).unwrap());
    // What is on the disk, too.
    let directory = tempfile::tempdir().unwrap();
    let mut file = VaultFile::lock(directory.path().join("wallet")).unwrap();
    file.replace(&bytes).unwrap();
    printed.debug(&file);
    printed.failure(VaultFile::lock(directory.path().join("wallet")));
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        printed.0 += &String::from_utf8_lossy(&std::fs::read(entry.unwrap().path()).unwrap());
    }

    assert!(printed.0.len() > 100_000 && secrets.len() > 60, "{} {}", printed.0.len(), secrets.len());
    for secret in &secrets {
        if let Some(place) = printed.0.find(secret.as_str()) {
            let start =
                (0..=place.saturating_sub(200)).rev().find(|n| printed.0.is_char_boundary(*n)).unwrap();
            let found: String = printed.0[start..].chars().take(300).collect();
            panic!("{secret} is in: {found}");
        }
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let secret: [u8; 32] = std::array::from_fn(|n| n as u8 * 7 + 0x11);
    let number = BigUint::from_bytes_be(&secret);
    let shown = [
        format!("{secret:?}"),
        format!("{secret:#?}"),
        format!("Key({number})"),
        STANDARD_NO_PAD.encode(secret),
        URL_SAFE_NO_PAD.encode(secret),
        bs58::encode(secret).into_string(),
        format!("{:x}", BigUint::from_bytes_be(&secret)).to_uppercase(),
    ];
    for shown in shown {
        assert!(spellings(&secret).iter().any(|spelling| shown.contains(spelling)), "{shown}");
    }
}

/// What is not called cannot print: there is nothing to capture.
#[test]
fn the_crate_logs_nothing() {
    let manifest = include_str!("../Cargo.toml");
    let dependencies = manifest.split("[dev-dependencies]").next().unwrap();
    let logs = |line: &str| line.starts_with("tracing") || line.starts_with("log");
    assert!(!dependencies.lines().any(logs));
}
