//! The encrypted file: what opens, what does not, and what a crash leaves.

mod anoncreds_world;

use anoncreds_world::*;
use base64::Engine as _;
use eroam_domain::time::UnixMillis;
use eroam_ssi::custody::file::{FileError, VaultFile};
use eroam_ssi::custody::*;
use eroam_ssi::didcomm::{OsRng, SigningKey};
use eroam_ssi::sd_jwt;
use proptest::prelude::*;
use std::collections::BTreeSet;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use zeroize::Zeroizing;

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
}

fn right() -> Passphrase {
    passphrase("correct horse")
}

/// The cheapest, so that the tests do not wait.
fn cheap() -> Cost {
    Cost::new(*Cost::MEMORY_KIB.start(), 1, 1).unwrap()
}

fn small_wallet() -> Wallet {
    let mut wallet = Wallet::new();
    wallet.put_signing_key("did:peer:1", &SigningKey::from_seed(&[7; 32])).unwrap();
    wallet
}

fn sealed() -> Vec<u8> {
    HolderVault::create(&right(), cheap(), &mut OsRng).unwrap().seal(&small_wallet(), &mut OsRng).unwrap()
}

fn open_error(bytes: &[u8]) -> VaultError {
    HolderVault::open(bytes, &right()).map(drop).unwrap_err()
}

fn held_sd_jwt() -> sd_jwt::HeldSdJwt {
    let now = UnixMillis::new(1_795_000_000_000).unwrap();
    let (issuer, holder) =
        (sd_jwt::SigningKey::generate(&mut OsRng), sd_jwt::SigningKey::generate(&mut OsRng));
    let claims = serde_json::json!({ "station": "S-1" });
    let credential = sd_jwt::IssueSdJwt {
        issuer: "did:eroam:cpo".to_owned(),
        key_id: None,
        vct: "urn:eroam:station:1".to_owned(),
        issued_at: now,
        not_before: None,
        expires_at: UnixMillis::new(1_895_000_000_000).unwrap(),
        holder: holder.verifying_key(),
        status: None,
        claims: claims.as_object().unwrap().clone(),
        disclosable: BTreeSet::from([sd_jwt::ClaimPath::of("station")]),
        decoys: 0,
    };
    let trusted = sd_jwt::TrustedIssuer::new("did:eroam:cpo", issuer.verifying_key()).unwrap();
    let text = credential.sign(&issuer, &mut OsRng).unwrap();
    sd_jwt::HeldSdJwt::receive(&text, &trusted, holder, now).unwrap()
}

// --- contents ---

#[test]
fn a_wallet_comes_back_whole_and_presents() {
    let world = World::new();
    let (sd_jwt, key) = (held_sd_jwt(), SigningKey::generate(&mut OsRng));
    let mut wallet = Wallet::new();
    wallet.put_link_secret(&world.link_secret).unwrap();
    wallet.put_signing_key("a", &key).unwrap();
    wallet.put_credential("licence", &world.licence).unwrap();
    wallet.put_credential("membership", &world.membership).unwrap();
    wallet.put_witness("licence", &world.registry.witness(INDEX)).unwrap();
    wallet.put_sd_jwt("station", &sd_jwt).unwrap();
    wallet.put_note("settings", Zeroizing::new(b"{}".to_vec())).unwrap();
    wallet.put_note("receipt/1", Zeroizing::new(Vec::new())).unwrap();
    let vault = HolderVault::create(&right(), cheap(), &mut OsRng).unwrap();
    let bytes = vault.seal(&wallet, &mut OsRng).unwrap();

    let (vault, mut wallet) = HolderVault::open(&bytes, &right()).unwrap();
    let secret = wallet.link_secret().unwrap().unwrap();
    assert_eq!(secret.export_secret(), world.link_secret.export_secret());
    let again = wallet.signing_key("a").unwrap().unwrap();
    assert_eq!(again.verification_key(), key.verification_key());
    assert_eq!(wallet.credentials().collect::<Vec<_>>(), ["licence", "membership"]);
    let world =
        World { licence: wallet.credential("licence").unwrap().unwrap(), link_secret: secret, ..world };
    let witness = wallet.witness("licence").unwrap().unwrap();
    let request = world.request();
    world.verify(&world.present(&request, &witness), &request).unwrap();
    let again = wallet.sd_jwt("station").unwrap().unwrap();
    assert_eq!((again.text(), again.key().to_scalar()), (sd_jwt.text(), sd_jwt.key().to_scalar()));

    assert!(wallet.credential("other").unwrap().is_none() && !wallet.remove_credential("other"));
    assert!(wallet.remove_credential("licence") && wallet.witness("licence").unwrap().is_none());
    assert_eq!(wallet.notes().collect::<Vec<_>>(), ["receipt/1", "settings"]);
    assert_eq!((wallet.note("settings"), wallet.note("other")), (Some(b"{}".as_slice()), None));
    assert!(wallet.remove_note("receipt/1") && !wallet.remove_note("receipt/1"));
    assert!(wallet.remove_sd_jwt("station") && wallet.remove_signing_key("a"));
    let (_, wallet) = HolderVault::open(&vault.seal(&wallet, &mut OsRng).unwrap(), &right()).unwrap();
    assert_eq!(
        (wallet.credentials().count(), wallet.sd_jwts().count(), wallet.signing_keys().count()),
        (1, 0, 0)
    );
}

#[test]
fn an_issuers_secrets_come_back_and_issue() {
    let driver = Issuer::driver();
    let registry = driver.registry(12);
    let (key, es256) = (SigningKey::generate(&mut OsRng), sd_jwt::SigningKey::generate(&mut OsRng));
    let mut secrets = IssuerSecrets::new();
    secrets.put_definition(&driver.cred_def_id, &driver.secret).unwrap();
    secrets.put_registry(&registry.id, &registry.secret).unwrap();
    secrets.put_signing_key("agent", &key).unwrap();
    secrets.put_sd_jwt_key("key-1", &es256).unwrap();
    let bytes =
        IssuerVault::create(&right(), cheap(), &mut OsRng).unwrap().seal(&secrets, &mut OsRng).unwrap();
    let (_, secrets) = IssuerVault::open(&bytes, &right()).unwrap();
    let driver = Issuer { secret: secrets.definition(&driver.cred_def_id).unwrap().unwrap(), ..driver };
    let registry = Registry { secret: secrets.registry(&registry.id).unwrap().unwrap(), ..registry };
    let link_secret = eroam_ssi::anoncreds::LinkSecret::random().unwrap();
    hold(&driver, &driver_values(), Some((&registry, INDEX)), &link_secret);
    let again = secrets.sd_jwt_key("key-1").unwrap().unwrap();
    assert_eq!(again.verifying_key(), es256.verifying_key());
    assert_eq!(secrets.signing_key("agent").unwrap().unwrap().verification_key(), key.verification_key());
    assert!(secrets.definition(&registry.id).unwrap().is_none());
}

#[test]
fn labels_are_bounded() {
    let key = SigningKey::from_seed(&[1; 32]);
    for label in [String::new(), "a".repeat(LABEL_BYTES_MAX + 1)] {
        assert!(matches!(small_wallet().put_signing_key(&label, &key), Err(ContentError::Label)));
    }
    small_wallet().put_signing_key(&"a".repeat(LABEL_BYTES_MAX), &key).unwrap();
}

// --- sealing ---

#[test]
fn a_wrong_passphrase_does_not_open() {
    let bytes = sealed();
    for wrong in ["correct hors", "correct horse ", "Correct horse"] {
        assert!(matches!(HolderVault::open(&bytes, &passphrase(wrong)), Err(VaultError::Sealed)));
    }
    for none in [String::new(), "a".repeat(Passphrase::BYTES_MAX + 1)] {
        assert!(matches!(Passphrase::new(Zeroizing::new(none)), Err(VaultError::Passphrase)));
    }
}

#[test]
fn a_new_passphrase_replaces_the_old_one() {
    let (_, wallet) = HolderVault::open(&sealed(), &right()).unwrap();
    let new = HolderVault::create(&passphrase("battery staple"), cheap(), &mut OsRng).unwrap();
    let bytes = new.seal(&wallet, &mut OsRng).unwrap();
    assert!(matches!(open_error(&bytes), VaultError::Sealed));
    HolderVault::open(&bytes, &passphrase("battery staple")).unwrap();
}

#[test]
fn no_region_of_the_file_can_be_changed() {
    let bytes = sealed();
    let flipped = |place: usize, bit: u8| {
        let mut bytes = bytes.clone();
        bytes[place] ^= bit;
        let shown = format!("{:?}", open_error(&bytes));
        shown.split([' ', '(', '{']).next().unwrap().to_owned()
    };
    let last = bytes.len() - 1;
    let table = [
        ("magic", 0, 1, "Magic"),
        ("magic's end", 7, 0x80, "Magic"),
        ("version", 8, 2, "Version"),
        ("version, to an older one", 8, 3, "Sealed"),
        ("role", 9, 3, "Role"),
        ("role of nobody", 9, 0x80, "Role"),
        ("memory, a little", 10, 8, "Sealed"),
        ("memory, beyond", 13, 0x80, "Cost"),
        ("passes", 14, 2, "Sealed"),
        ("passes, beyond", 17, 1, "Cost"),
        ("lanes", 18, 2, "Sealed"),
        ("lanes, none", 18, 1, "Cost"),
        ("salt", 22, 1, "Sealed"),
        ("salt's end", 37, 1, "Sealed"),
        ("nonce", 38, 1, "Sealed"),
        ("nonce's end", 61, 1, "Sealed"),
        ("ciphertext", HEADER_BYTES, 1, "Sealed"),
        ("ciphertext's end", last - 16, 1, "Sealed"),
        ("tag", last - 15, 1, "Sealed"),
        ("tag's end", last, 0x80, "Sealed"),
    ];
    for (region, place, bit, expected) in table {
        assert_eq!(flipped(place, bit), expected, "{region}");
    }
}

#[test]
fn a_file_cut_short_or_made_longer_does_not_open() {
    let bytes = sealed();
    for len in [0, 1, 8, 9, 37, HEADER_BYTES, HEADER_BYTES + 15] {
        assert!(
            matches!(open_error(&bytes[..len]), VaultError::Truncated { found } if found == len),
            "{len}"
        );
    }
    for len in [HEADER_BYTES + 16, bytes.len() - 1] {
        assert!(matches!(open_error(&bytes[..len]), VaultError::Sealed), "{len}");
    }
    let mut longer = bytes;
    longer.push(0);
    assert!(matches!(open_error(&longer), VaultError::Sealed));
    assert!(matches!(open_error(&vec![0; VAULT_BYTES_MAX + 1]), VaultError::TooLarge { .. }));
    assert!(matches!(open_error(b"something else"), VaultError::Magic));
}

#[test]
fn a_file_cannot_ask_for_much_memory_or_time() {
    let with = |place: usize, number: u32| {
        let mut bytes = sealed();
        bytes[place..place + 4].copy_from_slice(&number.to_le_bytes());
        match open_error(&bytes) {
            VaultError::Cost { what, found, .. } if found == number => what,
            error => panic!("{error}"),
        }
    };
    for memory in [0, 8 * 1024 - 1, 256 * 1024 + 1, 4 * 1024 * 1024, u32::MAX] {
        assert_eq!(with(10, memory), "memory in KiB");
    }
    for passes in [0, 9, u32::MAX] {
        assert_eq!(with(14, passes), "passes");
    }
    for lanes in [0, 5, u32::MAX] {
        assert_eq!(with(18, lanes), "lanes");
    }
    assert!(matches!(Cost::new(1024, 1, 1), Err(VaultError::Cost { .. })));
    Cost::new(*Cost::MEMORY_KIB.end(), *Cost::PASSES.end(), *Cost::LANES.end()).unwrap();
    assert_eq!(Cost::new(19 * 1024, 2, 1).unwrap(), Cost::USUAL);
}

#[test]
fn a_vault_of_the_other_role_does_not_open_not_even_when_its_header_is_changed() {
    let issuer = IssuerVault::create(&right(), cheap(), &mut OsRng).unwrap();
    let mut bytes = issuer.seal(&IssuerSecrets::new(), &mut OsRng).unwrap();
    let refused = open_error(&bytes);
    assert!(matches!(refused, VaultError::Role { expected: Role::Holder, found: 2 }), "{refused}");
    bytes[9] = 1;
    assert!(matches!(open_error(&bytes), VaultError::Sealed));
    let refused = IssuerVault::open(&sealed(), &right()).map(drop).unwrap_err();
    assert!(matches!(refused, VaultError::Role { expected: Role::Issuer, found: 1 }), "{refused}");
}

#[test]
fn a_version_from_the_future_is_named() {
    for version in [0, VERSION + 1, 255] {
        let mut bytes = sealed();
        bytes[8] = version;
        assert!(matches!(open_error(&bytes), VaultError::Version { found } if found == version));
    }
}

#[test]
fn saves_share_the_salt_and_nothing_else() {
    let vault = HolderVault::create(&right(), cheap(), &mut OsRng).unwrap();
    let [a, b] = [0, 1].map(|_| vault.seal(&small_wallet(), &mut OsRng).unwrap());
    assert_eq!(a[..38], b[..38]);
    assert_ne!(a[38..62], b[38..62]);
    let same = a[62..].iter().zip(&b[62..]).filter(|(a, b)| a == b).count();
    assert!(same < 10, "{same} of {} bytes", a.len() - 62);
    let other = HolderVault::create(&right(), cheap(), &mut OsRng).unwrap();
    assert_ne!(other.seal(&small_wallet(), &mut OsRng).unwrap()[22..38], a[22..38]);
    // Opened, it saves without the passphrase, and what it saves opens with the passphrase.
    let (again, wallet) = HolderVault::open(&a, &right()).unwrap();
    HolderVault::open(&again.seal(&wallet, &mut OsRng).unwrap(), &right()).unwrap();
}

/// Made by version 1. If this fails, wallets on people's disks no longer open.
const VERSION_1: &str = concat!(
    "ZXJvYW0AAHYBAQAgAAABAAAAAQAAAM59quJV7bJkOVfMhhIeIB/MMXaVPU+fq3Dty9QhRUtY0DBeK4Xxg3h+6MlBhPSdq4wu",
    "Y5X2Tzo/f8e4EVdzX4VSqpFz23epC8sT6PxZeJOXdJayxKfo1Ctj43TQAS6mdumjwuWxmvc6Kq1YefD17Iqs2QG3EUbxaCmG",
    "GW6GfkPbbUI=",
);

#[test]
fn a_vault_of_version_1_opens_and_says_the_same() {
    let bytes = base64::engine::general_purpose::STANDARD.decode(VERSION_1).unwrap();
    let (vault, wallet) = HolderVault::open(&bytes, &right()).unwrap();
    assert_eq!(vault.cost(), cheap());
    let key = wallet.signing_key("did:peer:1").unwrap().unwrap();
    assert_eq!(*key.to_seed(), [7; 32]);
    assert_eq!(wallet.notes().count(), 0);
    // Saved, it is of the newest version, with a shelf more, under the same key.
    let again = vault.seal(&wallet, &mut OsRng).unwrap();
    assert_eq!((again.len(), again[8], &again[9..38]), (bytes.len() + 4, VERSION, &bytes[9..38]));
    HolderVault::open(&again, &right()).unwrap();
}

/// Made by version 2. If this fails, wallets on people's disks no longer open: raise the version and read all.
const VERSION_2: &str = concat!(
    "ZXJvYW0AAHYCAQAgAAABAAAAAQAAACM/hzUF1KbRdxkt9WfFV3NuCoBQ3PxcYHCZanW9vr35viOl3NXKg1Nlj/MYJEdd2+xXv5W+",
    "W1D6QzgiHHeMkdH0SjmRwIabF+1XE9tzL4xVsQdeFln7nhazlBo8D563FHRv019nXyJVWe7GGi8eEgrjUlhPNEhWqPW1rQg4qk96",
    "vYzgyJvgvKRaykbTQXxsWoYtN+ao6r7ihf4Z",
);

#[test]
fn a_vault_of_version_2_opens_and_says_the_same() {
    let bytes = base64::engine::general_purpose::STANDARD.decode(VERSION_2).unwrap();
    let (vault, wallet) = HolderVault::open(&bytes, &right()).unwrap();
    assert_eq!(*wallet.signing_key("did:peer:1").unwrap().unwrap().to_seed(), [7; 32]);
    assert_eq!(wallet.note("purse"), Some(b"vouchers".as_slice()));
    let again = vault.seal(&wallet, &mut OsRng).unwrap();
    assert_eq!((again.len(), &again[..38]), (bytes.len(), &bytes[..38]));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        // With the right beginning, or the header is never passed.
        let mut begun = sealed_once().get(..10).unwrap().to_vec();
        begun.extend_from_slice(&bytes);
        for bytes in [&bytes, &begun] {
            prop_assert!(HolderVault::open(bytes, &right()).is_err());
        }
    }

    #[test]
    fn any_bit_flipped_is_noticed(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = sealed_once().to_vec();
        let place = place.index(bytes.len());
        // A changed cost within the bounds only makes the test wait.
        prop_assume!(!(10..22).contains(&place));
        bytes[place] ^= 1 << bit;
        prop_assert!(HolderVault::open(&bytes, &right()).is_err());
    }
}

fn sealed_once() -> &'static [u8] {
    static SEALED: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
    SEALED.get_or_init(sealed)
}

// --- the file ---

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_made_read_and_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let mut file = VaultFile::lock(&path).unwrap();
    assert_eq!(file.read().unwrap(), None);
    file.replace(&sealed()).unwrap();
    let (vault, wallet) = HolderVault::open(&file.read().unwrap().unwrap(), &right()).unwrap();
    let next = vault.seal(&wallet, &mut OsRng).unwrap();
    file.replace(&next).unwrap();
    assert_eq!(file.read().unwrap().unwrap(), next);
    assert_eq!(names(directory.path()), ["wallet", "wallet.lock"]);
    assert_eq!(file.path(), path);
}

#[cfg(unix)]
#[test]
fn a_file_that_others_can_read_is_refused_and_none_is_made_so() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let mut file = VaultFile::lock(&path).unwrap();
    file.replace(&sealed()).unwrap();
    for name in ["wallet", "wallet.lock"] {
        let mode = directory.path().join(name).metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    for mode in [0o640, 0o604, 0o620, 0o666] {
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let refused = file.read().unwrap_err();
        assert!(matches!(refused, FileError::Exposed { mode: found, .. } if found == mode), "{refused}");
    }
    // Saving does not keep the mode.
    file.replace(&sealed()).unwrap();
    file.read().unwrap();
}

#[test]
fn two_cannot_have_it_open() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let mut first = VaultFile::lock(&path).unwrap();
    assert!(matches!(VaultFile::lock(&path), Err(FileError::Locked { .. })));
    // Replacing the file does not replace the lock.
    first.replace(&sealed()).unwrap();
    assert!(matches!(VaultFile::lock(&path), Err(FileError::Locked { .. })));
    drop(first);
    VaultFile::lock(&path).unwrap();
    assert!(matches!(VaultFile::lock(directory.path().join("..")), Err(FileError::Path { .. })));
    let nowhere = VaultFile::lock(directory.path().join("none/wallet")).unwrap_err();
    assert!(matches!(nowhere, FileError::Io { .. }), "{nowhere}");
}

#[test]
fn what_a_crash_between_write_and_rename_leaves_is_passed_over() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let old = sealed();
    VaultFile::lock(&path).unwrap().replace(&old).unwrap();
    for leftover in [&b"half a va"[..], &sealed()] {
        std::fs::write(directory.path().join(".wallet.new"), leftover).unwrap();
        let mut file = VaultFile::lock(&path).unwrap();
        assert_eq!(file.read().unwrap().unwrap(), old);
        file.replace(&old).unwrap();
        assert_eq!(names(directory.path()), ["wallet", "wallet.lock"]);
    }
}

#[test]
fn a_save_that_fails_leaves_the_old_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let mut file = VaultFile::lock(&path).unwrap();
    file.replace(&sealed()).unwrap();
    let old = file.read().unwrap();
    // Something that cannot be removed as a file is in the way.
    std::fs::create_dir(directory.path().join(".wallet.new")).unwrap();
    assert!(matches!(file.replace(&sealed()), Err(FileError::Io { .. })));
    assert_eq!(file.read().unwrap(), old);
}

#[test]
fn a_passphrase_changes_in_the_file_as_a_whole_or_not_at_all() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    let mut file = VaultFile::lock(&path).unwrap();
    file.replace(&sealed()).unwrap();
    let (_, secrets) = HolderVault::open(&file.read().unwrap().unwrap(), &right()).unwrap();
    let new = passphrase("battery staple");

    // A directory, not empty, is where the new vault would be written.
    let next = directory.path().join(".wallet.new");
    std::fs::create_dir_all(next.join("in the way")).unwrap();
    let failed = change_passphrase(&mut file, &secrets, &new, cheap(), &mut OsRng);
    assert!(matches!(failed, Err(RekeyError::File(FileError::Io { .. }))));
    HolderVault::open(&file.read().unwrap().unwrap(), &right()).unwrap();
    std::fs::remove_dir_all(next).unwrap();

    let vault = change_passphrase(&mut file, &secrets, &new, cheap(), &mut OsRng).unwrap();
    let bytes = file.read().unwrap().unwrap();
    assert!(matches!(HolderVault::open(&bytes, &right()), Err(VaultError::Sealed)));
    let (_, after) = HolderVault::open(&bytes, &new).unwrap();
    let labels = |secrets: &Wallet| secrets.notes().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(labels(&after), labels(&secrets));
    // What is saved from now on has the new one, too.
    file.replace(&vault.seal(&after, &mut OsRng).unwrap()).unwrap();
    HolderVault::open(&file.read().unwrap().unwrap(), &new).unwrap();
}

#[test]
fn a_file_that_is_too_large_is_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let mut file = VaultFile::lock(directory.path().join("wallet")).unwrap();
    file.replace(&vec![0; VAULT_BYTES_MAX + 1]).unwrap();
    assert!(matches!(file.read(), Err(FileError::TooLarge { .. })));
}

const CHILD: &str = "EROAM_CUSTODY_CHILD";

/// Does nothing unless the test below starts it in a process of its own.
#[test]
fn a_child_that_saves_until_it_is_killed() {
    let Some(path) = std::env::var_os(CHILD) else { return };
    let mut file = VaultFile::lock(path).unwrap();
    let (vault, mut wallet) = HolderVault::open(&file.read().unwrap().unwrap(), &right()).unwrap();
    for n in 0_u32.. {
        // Of another size each time: two halves of different saves would not open.
        wallet.put_signing_key(&"k".repeat(1 + n as usize % 200), &SigningKey::from_seed(&[1; 32])).unwrap();
        file.replace(&vault.seal(&wallet, &mut OsRng).unwrap()).unwrap();
        println!("saved");
        std::io::stdout().flush().unwrap();
    }
}

#[test]
fn a_process_killed_at_any_moment_leaves_a_vault_that_opens() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("wallet");
    VaultFile::lock(&path).unwrap().replace(&sealed()).unwrap();
    for round in 0..12 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_child_that_saves_until_it_is_killed", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let saves = lines.map(Result::unwrap).filter(|line| line.ends_with("saved")).take(1 + round * 3);
        assert_eq!(saves.count(), 1 + round * 3);
        // SIGKILL.
        child.kill().unwrap();
        child.wait().unwrap();
        let file = VaultFile::lock(&path).unwrap();
        let (_, wallet) = HolderVault::open(&file.read().unwrap().unwrap(), &right()).unwrap();
        assert!(wallet.signing_keys().count() > 1);
    }
}
