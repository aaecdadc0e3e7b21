//! `eroam ledger` and `eroam verify`: what a ledger holds, proofs of it, its export, the check from the genesis, and a
//! new network with its state.

mod support;

use eroam::causes::chain;
use eroam::consortium::Seed;
use eroam::ledger::blocks_file::{BlocksFile, RecordedBlock};
use eroam::ledger::export::{Export, read_genesis};
use eroam::ledger::proofs::{Proved, Says};
use eroam::ledger::reader::Reader;
use eroam::ledger::recheck::{Fault, Recheck, RecheckError};
use eroam::ledger::show::{self, TxView};
use eroam::ledger::{Ledger, LedgerSetup, keys, proofs, recheck};
use eroam_domain::codec::{Digest, ShortText, from_bytes, to_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::StateView;
use eroam_ledger::tree::Path as MerklePath;
use eroam_ledger::tx::{Envelope, SignedEnvelope, Tx, VERSION};
use eroam_light::block::Body;
use eroam_light::document::{Document, DocumentError};
use eroam_light::receipt::{ReceiptError, ReceiptProof};
use eroam_light::trust::Trust;
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use support::{Ended, Replay, eroam, file, files, tempdir, workplace_csv};
use tempfile::TempDir;

const SESSIONS: u32 = 60;

/// A small replay with a ledger, unless asked otherwise of one validator and with short epochs.
struct Place {
    dir: TempDir,
    summary: Value,
}

impl Place {
    fn new() -> Self {
        Self::with(1, 4)
    }

    fn with(validators: usize, epoch_blocks: u32) -> Self {
        let dir = tempdir();
        let input = file(dir.path(), "sessions.csv", workplace_csv(SESSIONS));
        let replay = Replay::new(&[&input], &dir.path().join("out"));
        let replay =
            replay.with("--data", dir.path().join("data").display()).with("--epoch-blocks", epoch_blocks);
        let replay = replay.with("--validators", validators);
        let summary = replay.done();
        Self { dir, summary }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// The genesis of the replay's network.
    fn genesis(&self) -> PathBuf {
        genesis_of(&self.path("data"))
    }

    /// Runs a command on the data directory.
    fn run(&self, args: &[&str]) -> Ended {
        eroam(args.iter().map(|arg| (*arg).to_owned()).chain(["--data".to_owned(), self.text("data")]))
    }

    fn json(&self, args: &[&str]) -> Value {
        self.run(&[args, &["--json"]].concat()).expect(0).json()
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.path("data"), None).unwrap()
    }

    /// The export, made in this process.
    fn export(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        eroam::ledger::export::write(&self.reader(), &path, &mut |_, _| ()).unwrap();
        path
    }
}

fn genesis_of(data: &Path) -> PathBuf {
    data.join("ledger/validator-0/genesis.json")
}

/// The first envelope of a kind with at least so many items.
fn envelope(reader: &Reader, kind: &str, items: usize) -> TxView {
    let blocks = (1..=reader.client().latest().height).map(|height| show::block(reader, height).unwrap());
    let mut envelopes = blocks.flat_map(|block| block.envelopes);
    let line = envelopes.find(|e| e.kind == kind && e.items >= items);
    let line = line.unwrap_or_else(|| panic!("no {kind} with {items} items"));
    show::envelope(reader, &show::find(reader, &line.digest).unwrap()).unwrap()
}

/// An envelope of records, and its digest as text.
fn records(reader: &Reader) -> (TxView, String) {
    let tx = envelope(reader, "cdr.record_cdrs", 3);
    let digest = tx.digest.to_string();
    (tx, digest)
}

/// One line on standard error that says all of this, and the exit code of a failure.
fn refused(ended: Ended, says: &[&str]) {
    let ended = ended.expect(1);
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors[..] else { panic!("{ended:#?}") };
    for text in says {
        assert!(error.contains(text), "`{text}` is not in: {error}");
    }
}

fn fields(value: &Value) -> BTreeSet<&str> {
    value.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn a_ledger_is_shown_as_the_replay_left_it() {
    let place = Place::new();
    let status = place.json(&["ledger", "status"]);
    assert_eq!(status["state_digest"], place.summary["state_digest"]);
    assert_eq!(status["records"], place.summary["cdrs_recorded"]);
    assert_eq!(status["ledger_balance_micros"], place.summary["ledger_balance_micros"]);
    assert_eq!((&status["validators"][0]["party"], &status["epoch_blocks"]), (&"DE-RHN".into(), &4.into()));
    assert_eq!(status["members"].as_array().unwrap().len(), 4);
    assert_eq!(status["entries_by_kind"]["cdr"], place.summary["cdrs_recorded"]);
    let height = status["height"].as_u64().unwrap();
    assert_eq!(status["epoch"], height / 4);
    let expected = [
        "block",
        "blocks_from",
        "directory",
        "disk_bytes",
        "entries",
        "entries_by_kind",
        "epoch",
        "epoch_blocks",
        "height",
        "imported",
        "ledger_balance_micros",
        "members",
        "name",
        "network",
        "records",
        "state_digest",
        "state_root",
        "time",
        "validators",
        "votes_from",
    ];
    assert_eq!(fields(&status), expected.into());
    // Data directory, ledger directory, validator directory.
    for directory in ["data/ledger", "data/ledger/validator-0"] {
        let other = eroam(["ledger", "status", "--json", "--data", &place.text(directory)]).expect(0).json();
        assert_eq!(other["state_digest"], status["state_digest"], "{directory}");
    }
    let words = place.run(&["ledger", "status", "--validator", "0"]).expect(0).stdout;
    for text in [status["network"].as_str().unwrap(), "Luz do Atlantico", "add up to what was deposited"] {
        assert!(words.contains(text), "`{text}` is not in: {words}");
    }

    let block = place.json(&["ledger", "block", "latest"]);
    assert_eq!((&block["height"], &block["digest"]), (&status["height"], &status["block"]));
    assert_eq!(block["finality"]["votes"], 1);
    assert_eq!(block["leader_party"], "DE-RHN");
    let genesis = place.run(&["ledger", "block", "0"]).expect(0).stdout;
    assert!(genesis.contains("it follows from the genesis"), "{genesis}");
}

#[test]
fn partners_are_compared_by_what_all_members_see() {
    let place = Place::new();
    let all = place.json(&["ledger", "partners"]);
    let rows = all["partners"].as_array().unwrap();
    let sum = |field: &str| rows.iter().map(|row| row[field].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum("records"), place.summary["cdrs_recorded"].as_u64().unwrap());
    assert!(sum("energy_milli_wh") > 0);
    for row in rows {
        assert!(row["payer"] != row["operator"]);
        for unknown in ["uptime_bps", "turned_away"] {
            assert!(row[unknown].is_null(), "unknown is not perfect: {row}");
            assert!(row["unknown"][unknown].as_str().is_some_and(|why| why.contains("ledger")), "{row}");
        }
        assert_eq!(row["reservations"], row["records"], "each record had one");
        assert_eq!(row["reservations_unused"], 0);
        let per_kwh =
            row["price_micros"].as_i64().unwrap() * 1_000_000 / row["energy_milli_wh"].as_i64().unwrap();
        assert_eq!(row["micros_per_kwh"], per_kwh);
    }
    let of = place.json(&["ledger", "partners", "--of", "DE-RHN"]);
    let own = of["partners"].as_array().unwrap();
    assert!(!own.is_empty() && own.len() < rows.len());
    assert!(own.iter().all(|row| row["payer"] == "DE-RHN" || row["operator"] == "DE-RHN"));
    place.run(&["ledger", "partners", "--of", "nobody"]).expect(2);
}

#[test]
fn an_envelope_and_its_items_are_found_by_their_digests() {
    let place = Place::new();
    let reader = place.reader();
    let (view, digest) = records(&reader);
    let hash = view.items[2].hash.to_string();
    for kind in [
        "agreement.propose",
        "agreement.accept",
        "tariff.publish_tariff",
        "settlement.reserve_credit",
        "settlement.attest_payout",
    ] {
        let words = envelope(&reader, kind, 1).to_string();
        assert!(words.contains(&format!("asks       {kind}")), "{words}");
    }
    drop(reader);
    let tx = place.json(&["ledger", "tx", &digest]);
    assert_eq!(
        (&tx["digest"], &tx["family"], &tx["kind"]),
        (&digest.into(), &"cdr".into(), &"record_cdrs".into())
    );
    let item = &tx["items"][2];
    assert_eq!(item["hash"], hash);
    assert!(item["outcome"]["accepted"]["booked_in"].is_string(), "{item}");
    for key in
        ["record", "cpo", "emsp", "energy_milli_wh", "price_excl_vat_micros", "booked_micros", "status"]
    {
        assert!(!item["content"][key].is_null(), "{key} in {item}");
    }
    assert_eq!(item["content"]["cpo"], tx["member"]);
    let by_item = place.json(&["ledger", "tx", &hash]);
    assert_eq!((&by_item["digest"], &by_item["item"]), (&tx["digest"], &2.into()));
    let words = place.run(&["ledger", "tx", &hash]).expect(0).stdout;
    let record = item["content"]["record"].as_str().unwrap();
    for text in [record, "owes", "with VAT", "accepted, booked in", "of which you named number 2"] {
        assert!(words.contains(text), "`{text}` is not in: {words}");
    }
    assert!(!words.contains(&view.items[1].hash.to_string()), "{words}");
    let by_record = place.json(&["ledger", "tx", &format!("{}/{record}", tx["member"].as_str().unwrap())]);
    assert_eq!(by_record, by_item);
    // The read model is made again where it was deleted.
    fs::remove_file(place.path("data/ledger/validator-0/index.redb")).unwrap();
    assert_eq!(place.json(&["ledger", "tx", &hash]), by_item);
}

#[test]
fn what_cannot_be_done_is_said_with_its_remedy() {
    let place = Place::new();
    let (_, digest) = records(&place.reader());
    let unknown = "ab".repeat(32);
    let receipt = place.text("receipt.json");
    let empty = place.text("empty");
    fs::create_dir(&empty).unwrap();
    let own = |args: &[&str]| place.run(args);
    refused(own(&["ledger", "block", "4711"]), &["there is no block 4711: the latest is"]);
    refused(own(&["ledger", "status", "--validator", "3"]), &["holds no validator 3; there are: 0"]);
    refused(
        own(&["ledger", "tx", &unknown]),
        &["no envelope and no item has the digest abab", "eroam ledger block"],
    );
    refused(own(&["ledger", "tx", "ES-SLV/4711"]), &["ES-SLV has booked no record 4711", "own utility"]);
    refused(own(&["ledger", "tx", &digest, "--receipt", &receipt]), &["items: choose", "--item 0 to --item"]);
    refused(own(&["ledger", "tx", &digest, "--receipt", &receipt, "--item", "999"]), &["has no item 999"]);
    let nowhere = format!("{empty}/nowhere/r.json");
    refused(
        own(&["ledger", "tx", &digest, "--receipt", &nowhere, "--item", "0"]),
        &["cannot be written", "nowhere"],
    );
    let out = place.text("out");
    refused(own(&["ledger", "export", "--out", &out]), &["is not empty: name a new or an empty directory"]);
    let at = |args: &[&str]| eroam(args);
    refused(at(&["ledger", "status", "--data", &empty]), &["holds no ledger", "eroam replay --data"]);
    refused(at(&["ledger", "status", "--data", &place.text("absent")]), &["absent holds no ledger"]);
    let validator = place.text("data/ledger/validator-0");
    refused(
        at(&["ledger", "status", "--data", &validator, "--validator", "0"]),
        &["the directory of one validator", "leave --validator out"],
    );
    refused(
        at(&["ledger", "verify", "--from", &empty]),
        &["is no export: it has no genesis.json", "eroam ledger export"],
    );
    refused(at(&["ledger", "import", "--from", &empty, "--data", &out]), &["out is not empty"]);
    refused(
        at(&["ledger", "import", "--from", &empty, "--data", &place.text("new")]),
        &["it has no genesis.json"],
    );
    assert!(!place.path("new").exists(), "nothing was begun");
    let genesis = place.genesis().display().to_string();
    refused(
        at(&["verify", &place.text("absent"), "--trust", &genesis]),
        &["absent", "cannot be read", "name a file"],
    );
    refused(
        at(&["verify", &genesis, "--trust", &genesis]),
        &["genesis.json is refused", "the file is no proof"],
    );
    refused(
        at(&["verify", &genesis, "--trust", &place.text("sessions.csv")]),
        &["sessions.csv is no genesis", "name the `genesis.json`"],
    );
    for (args, says) in [
        (&["ledger", "block", "tomorrow"][..], "a height from 0, or `latest`, is expected"),
        (&["ledger", "tx", "12"], "64 hexadecimal digits are expected, or OPERATOR/ID"),
        (&["ledger", "tx", "Lisbon/12"], "Lisbon"),
        (
            &["ledger", "prove", "wallet", "PT-LUZ", "--out", &receipt],
            "write one of: parameters; member PARTY",
        ),
        (&["ledger", "prove", "member", "Lisbon", "--out", &receipt], "`Lisbon` is no party"),
        (&["ledger", "tx", &digest, "--item", "1"], "--receipt"),
        (&["ledger", "verify", "--from", &empty], "cannot be used with"),
        (&["ledger", "import", "--from", &empty, "--validators", "0"], "1..=16"),
    ] {
        let ended = own(args).expect(2);
        assert!(ended.stderr.contains(says), "`{says}` is not in: {}", ended.stderr);
    }
    eroam(["ledger", "verify"]).expect(2);
    eroam(["verify", &genesis]).expect(2);
    assert!(!Path::new(&receipt).exists());
    // While somebody has it open, nobody else reads it.
    let held = place.reader();
    refused(own(&["ledger", "status"]), &["in use by another process: stop that one first"]);
    drop(held);
    own(&["ledger", "status"]).expect(0);
}

#[test]
fn proofs_of_what_is_and_of_what_is_not_are_checked_with_the_genesis_alone() {
    let place = Place::new();
    let reader = place.reader();
    let (tx, digest) = records(&reader);
    let trust = Trust::from_genesis(&read_genesis(&place.genesis()).unwrap()).unwrap();
    let content = tx.items[0].content.clone().unwrap();
    let (agreement, record) =
        (content["agreement"]["id"].as_str().unwrap(), content["record"].as_str().unwrap());
    let operator = &tx.member.to_string();
    for (words, says) in [
        (&["member", "PT-LUZ"][..], Some("Luz do Atlantico")),
        (&["agreement", agreement], Some("active")),
        (&["terms", agreement, "1"], Some("credit")),
        (&["tariff", operator, "AC-FLAT", "1"], Some("AC-FLAT")),
        (&["cdr", operator, record], Some("provisional")),
        (&["closed-period", "2022-01", "EUR"], Some("net")),
        (&["parameters"], Some("treasurers required 2")),
        (&["member", "PT-XXX"], None),
        (&["cdr", operator, "no such record"], None),
        (&["balance", "PT-LUZ", "NOK"], None),
        (&["closed-period", "2021-12", "EUR"], None),
    ] {
        let key = keys::parse(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>()).unwrap();
        let document = proofs::state(&reader, &key).unwrap();
        let proved =
            serde_json::to_value(proofs::check(document.encode().as_bytes(), &trust).unwrap()).unwrap();
        assert_eq!((&proved["proves"], &proved["key"]), (&"state".into(), &words.join(" ").into()));
        assert_eq!((&proved["present"], &proved["verified"]), (&says.is_some().into(), &true.into()));
        let text = proved["text"].as_str().unwrap();
        assert!(text.contains(says.unwrap_or("the state has nothing under")), "{text}");
    }
    drop(reader);

    let genesis = place.genesis().display().to_string();
    let proof = place.text("proof.json");
    let written = place.json(&["ledger", "tx", &digest, "--item", "1", "--receipt", &proof]);
    let verified = eroam(["verify", &proof, "--trust", &genesis, "--json"]).expect(0).json();
    assert_eq!(
        (&verified["proves"], &verified["item"]),
        (&"receipt".into(), &tx.items[1].hash.to_string().into())
    );
    assert_eq!(
        (&verified["votes"], &verified["validators"], &verified["verified"]),
        (&1.into(), &1.into(), &true.into())
    );
    for (key, value) in verified.as_object().unwrap() {
        assert_eq!(value, &written[key], "{key}");
    }
    let words = eroam(["verify", &proof, "--trust", &genesis]).expect(0).stdout;
    for text in
        ["Record ", "was accepted, booked in 2022-01", "1 of 1 validators of network", "item 1 of envelope"]
    {
        assert!(words.contains(text), "`{text}` is not in: {words}");
    }
    let by_hash = place.text("by-hash.json");
    place.run(&["ledger", "tx", &tx.items[1].hash.to_string(), "--receipt", &by_hash]).expect(0);
    assert_eq!(fs::read(&by_hash).unwrap(), fs::read(&proof).unwrap());
    place.run(&["ledger", "prove", "member", "PT-XXX", "--out", &proof]).expect(0);
    let words = eroam(["verify", &proof, "--trust", &genesis]).expect(0).stdout;
    assert!(words.contains("the state has nothing under `member PT-XXX`. 1 of 1 validators"), "{words}");
}

/// Asserts that no bit of a proof can be another, unless `may_hold` has a reason why what is proved then is true.
fn check_bits(text: &[u8], trust: &Trust, may_hold: impl Fn(usize, &[u8], &Proved) -> bool + Sync) {
    proofs::check(text, trust).unwrap();
    let check = |range: std::ops::Range<usize>| {
        let mut altered = text.to_vec();
        for at in range {
            for bit in 0..8 {
                altered[at] ^= 1 << bit;
                if let Ok(proved) = proofs::check(&altered, trust) {
                    let holds = may_hold(at, &altered, &proved);
                    assert!(holds, "bit {bit} of byte {at} can be another: {:?}", proved.text);
                }
                altered[at] ^= 1 << bit;
            }
        }
    };
    let middle = text.len() / 2;
    std::thread::scope(|scope| {
        scope.spawn(|| check(0..middle));
        check(middle..text.len());
    });
}

/// What a proof of absence shows is that nothing stands between two neighbours, so it shows the same of every other key
/// that would stand there. A file that names one of those is therefore a proof, too, and of something true: of that
/// key, which whoever checks the file is told. Nothing but the name of the key has this freedom.
fn another_absent_key(
    absent: &[u8],
    ledger: &impl StateView,
    at: usize,
    altered: &[u8],
    now: &Proved,
) -> bool {
    let text = str::from_utf8(absent).unwrap();
    let start = text.find("\"key\": \"").unwrap() + "\"key\": \"".len();
    let name = start..start + text[start..].find('"').unwrap();
    let Says::State { key, present, .. } = &now.says else { return false };
    let (Document::State(asked), Document::State(named)) =
        (Document::decode(absent).unwrap(), Document::decode(altered).unwrap())
    else {
        return false;
    };
    name.contains(&at)
        && named.key != asked.key
        && *key == keys::bytes_in_words(&named.key)
        && !present
        && ledger.get(&named.key).unwrap().is_none()
}

#[test]
fn a_proof_altered_in_any_bit_with_another_genesis_or_without_a_leaf_is_refused() {
    let place = Place::new();
    let (_, digest) = records(&place.reader());
    let (receipt, state, absent) =
        (place.text("receipt.json"), place.text("state.json"), place.text("absent.json"));
    place.run(&["ledger", "tx", &digest, "--item", "1", "--receipt", &receipt]).expect(0);
    place.run(&["ledger", "prove", "member", "PT-LUZ", "--out", &state]).expect(0);
    place.run(&["ledger", "prove", "member", "PT-XXX", "--out", &absent]).expect(0);
    let genesis = read_genesis(&place.genesis()).unwrap();
    let trust = Trust::from_genesis(&genesis).unwrap();
    for file in [&receipt, &state] {
        check_bits(&fs::read(file).unwrap(), &trust, |_, _, _| false);
    }
    let reader = place.reader();
    let text = fs::read(&absent).unwrap();
    check_bits(&text, &trust, |at, altered, proved| {
        another_absent_key(&text, reader.client(), at, altered, proved)
    });
    drop(reader);

    // By the program, in a few places.
    let genesis_file = place.genesis().display().to_string();
    let good = fs::read(&receipt).unwrap();
    let altered = place.text("altered.json");
    for at in [5, good.len() / 3, good.len() - 2] {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&altered, bytes).unwrap();
        refused(eroam(["verify", &altered, "--trust", &genesis_file]), &["altered.json is refused"]);
    }
    let no = eroam(["verify", &altered, "--trust", &genesis_file, "--json"]).expect(1).json();
    assert_eq!(no["verified"], false);
    assert!(no["reason"].as_str().unwrap().contains("altered.json is refused"), "{no}");

    // Another network, though with the same validators.
    let mut other = genesis.clone();
    other.name = ShortText::new("another").unwrap();
    let other_file = file(place.dir.path(), "other.json", other.to_json());
    for proof in [&receipt, &state, &absent] {
        refused(
            eroam(["verify", proof, "--trust", &other_file.display().to_string()]),
            &["is refused", "the genesis is that of", &other.network().to_string()],
        );
    }
    // The same network as it says, with another validator.
    other = genesis.clone();
    other.consensus.validators[0].key = eroam_ledger::tx::PublicKey::of(&Seed(2).validator_key(0));
    let renamed = String::from_utf8(good.clone()).unwrap();
    let renamed = renamed.replace(&genesis.network().to_string(), &other.network().to_string());
    let refusal = proofs::check(renamed.as_bytes(), &Trust::from_genesis(&other).unwrap()).unwrap_err();
    assert!(chain(&refusal).contains("is not its signature"), "{}", chain(&refusal));

    // A field that is missing.
    let document: Value = serde_json::from_slice(&good).unwrap();
    for field in ["item", "envelope", "headers", "certificate"] {
        let mut document = document.clone();
        document.as_object_mut().unwrap().remove(field);
        let text = serde_json::to_string_pretty(&document).unwrap();
        assert!(matches!(proofs::check(text.as_bytes(), &trust), Err(DocumentError::Json(_))), "{field}");
    }
}

#[test]
fn a_leaf_that_is_not_in_the_block_is_refused_however_well_it_is_written() {
    let place = Place::new();
    let reader = place.reader();
    let trust = Trust::from_genesis(&read_genesis(&place.genesis()).unwrap()).unwrap();
    // Envelopes that share a block, and items that share an envelope.
    let heights = 1..=reader.client().latest().height;
    let shared = heights.map(|height| show::block(&reader, height).unwrap()).find(|b| b.envelopes.len() > 2);
    let founding = show::find(&reader, &shared.unwrap().envelopes[1].digest).unwrap();
    let batch = show::find(&reader, &records(&reader).0.digest).unwrap();
    for (found, item) in [(founding, 0), (batch, 1)] {
        let Document::Receipt(good) = proofs::receipt(&reader, &found, Some(item)).unwrap() else { panic!() };
        let refused = |what: &str, change: &dyn Fn(&mut ReceiptProof)| {
            let mut proof = good.clone();
            change(&mut proof);
            assert_ne!(proof, good, "{what} changes nothing");
            let text = Document::Receipt(proof).encode();
            let error = proofs::check(text.as_bytes(), &trust).map(|proved| proved.text).unwrap_err();
            assert!(
                matches!(error, DocumentError::Receipt(ReceiptError::WrongRoot { .. })),
                "{what}: {error:?}"
            );
        };
        proofs::check(Document::Receipt(good.clone()).encode().as_bytes(), &trust).unwrap();
        refused("another item", &|proof| {
            proof.content = None;
            proof.item.hash = Digest::of(b"never asked for");
        });
        refused("another outcome", &|proof| {
            proof.item.outcome = ItemOutcome::Rejected(RejectCode::CreditExhausted);
        });
        refused("another envelope", &|proof| proof.envelope = Digest::of(b"never sent"));
        type PathOf = fn(&mut ReceiptProof) -> &mut MerklePath;
        let paths: [(&str, PathOf); 2] =
            [("envelope", |proof| &mut proof.envelope_path), ("item", |proof| &mut proof.item_path)];
        for (name, path) in paths {
            let mut proof = good.clone();
            let (index, steps) = (path(&mut proof).index(), path(&mut proof).steps().to_vec());
            let other = |index: u32, steps: &[Option<Digest>]| MerklePath::new(index, steps.to_vec());
            for left_out in 0..steps.len() {
                let mut steps = steps.clone();
                steps.remove(left_out);
                // The index would not fit such a path in every case.
                let Some(shorter) = other(index, &steps).or_else(|| other(0, &steps)) else { continue };
                refused(&format!("{name} without step {left_out}"), &|proof| *path(proof) = shorter.clone());
            }
            for elsewhere in [0, 1, 2, 3] {
                let Some(moved) = other(elsewhere, &steps).filter(|_| elsewhere != index) else { continue };
                refused(&format!("{name} at {elsewhere}"), &|proof| *path(proof) = moved.clone());
            }
        }
    }
}

/// A treasurer's word that 5 EUR arrived for a member, in an envelope of its own.
fn attestation(ledger: &Ledger, treasurer: PartyId, party: PartyId) -> SignedEnvelope {
    let (lane, client) = (1, ledger.client());
    let amount = Money::new(5_000_000, "EUR".parse().unwrap());
    let reference = ShortText::new("after the import").unwrap();
    let envelope = Envelope {
        version: VERSION,
        network: client.network(),
        member: treasurer,
        key: 0,
        lane,
        sequence: query::next_sequence(client, treasurer, lane).unwrap(),
        expires_at: client.time().checked_add(DurationMs::from_millis(3_600_000)).unwrap(),
        tx: Tx::Settlement(SettlementTx::AttestDeposit { party, amount, reference }),
    };
    envelope.sign(&Seed(1).signing_key(treasurer))
}

#[test]
fn an_export_begins_a_network_with_the_same_state_again_and_again() {
    let place = Place::new();
    let [first, second, third] = ["first", "second", "third"].map(|name| place.text(name));
    let exported = place.json(&["ledger", "export", "--out", &first]);
    assert_eq!(exported["state_digest"], place.summary["state_digest"]);
    let genesis = place.genesis().display().to_string();
    let verified =
        eroam(["ledger", "verify", "--from", &first, "--trust", &genesis, "--json"]).expect(0).json();
    assert_eq!((&verified["state_digest"], &verified["trusted"]), (&exported["state_digest"], &true.into()));
    assert_eq!(
        (&verified["records"], &verified["verified"]),
        (&place.summary["cdrs_recorded"], &true.into())
    );
    assert_eq!(verified["ledger_balance_micros"]["EUR"], 0);
    let own = place.run(&["ledger", "verify"]).expect(0).stdout;
    for text in ["all as recorded", "add up to what was deposited", "compare its digest with the members'"] {
        assert!(own.contains(text), "`{text}` is not in: {own}");
    }
    // An empty directory is as good as a new one.
    fs::create_dir(place.path("new")).unwrap();
    let new = place.text("new");
    let args = [
        "ledger",
        "import",
        "--from",
        &first,
        "--data",
        &new,
        "--seed",
        "7",
        "--name",
        "the second",
        "--json",
    ];
    let imported = eroam(args).expect(0).json();
    assert_eq!(
        (&imported["state_digest"], &imported["name"]),
        (&exported["state_digest"], &"the second".into())
    );
    assert_eq!(imported["from_network"], exported["network"]);
    let status = eroam(["ledger", "status", "--data", &new, "--json"]).expect(0).json();
    assert_eq!(
        (&status["state_digest"], &status["network"]),
        (&exported["state_digest"], &imported["network"])
    );
    assert_eq!(status["members"].as_array().unwrap().len(), 4);
    eroam(["ledger", "export", "--data", &new, "--out", &second]).expect(0);
    let again = eroam(["ledger", "verify", "--from", &second, "--json"]).expect(0).json();
    assert_eq!((&again["state_digest"], &again["envelopes"]), (&exported["state_digest"], &0.into()));
    refused(
        eroam(["ledger", "verify", "--from", &second, "--trust", &genesis]),
        &["not verified", "the trusted genesis is that of", exported["network"].as_str().unwrap()],
    );

    // What it began with is part of what is checked.
    let beginning = place.path("second/beginning");
    let good = fs::read(&beginning).unwrap();
    for place_of in 0..12 {
        let mut bytes = good.clone();
        bytes[good.len() * place_of / 12] ^= 1;
        fs::write(&beginning, bytes).unwrap();
        assert!(fault_of(Path::new(&second)).is_some(), "twelfth {place_of} of the beginning");
    }
    fs::remove_file(&beginning).unwrap();
    assert!(fault_of(Path::new(&second)).unwrap().contains("it has no beginning"));

    // Business goes on there: the members' keys and sequences are those of the earlier network.
    {
        let genesis = read_genesis(&genesis_of(Path::new(&new))).unwrap();
        let setup = LedgerSetup { directory: Some(place.path("new/ledger")), ..LedgerSetup::default() };
        let mut ledger = Ledger::open(Seed(7), &genesis, &setup).unwrap();
        let [one, other, member] = ["DE-RHN", "ES-SLV", "PT-LUZ"].map(|party| party.parse().unwrap());
        let words = [one, other].map(|treasurer| attestation(&ledger, treasurer, member));
        let time = ledger.client().time();
        let receipts = ledger.client_mut().submit(time, words.to_vec()).unwrap();
        let accepted = receipts.iter().all(|r| r.height.is_some() && r.items[0].outcome.is_accepted());
        assert!(accepted, "{receipts:?}");
    }
    let proof = place.text("balance.json");
    let prove = ["ledger", "prove", "balance", "PT-LUZ", "EUR", "--data", &new, "--out", &proof];
    let words = eroam(prove).expect(0).stdout;
    assert!(words.contains("the state has `balance PT-LUZ EUR`: 5.00 EUR."), "{words}");
    let checked = eroam(["ledger", "verify", "--data", &new, "--json"]).expect(0).json();
    assert_eq!((&checked["envelopes"], &checked["ledger_balance_micros"]["EUR"]), (&2.into(), &0.into()));
    eroam(["ledger", "export", "--data", &new, "--out", &third]).expect(0);
    let last = place.text("last");
    let imported = eroam(["ledger", "import", "--from", &third, "--data", &last, "--json"]).expect(0).json();
    assert_eq!(imported["state_digest"], checked["state_digest"]);
    assert_eq!(imported["name"], "the second");
    let status = eroam(["ledger", "status", "--data", &last]).expect(0).stdout;
    assert!(status.contains("of an earlier network"), "{status}");
    // Nothing is left beside what was made.
    let hidden: Vec<String> =
        files(place.dir.path()).into_keys().filter(|name| name.contains(".partial")).collect();
    assert_eq!(hidden, [""; 0]);
}

/// A replay's ledger of four validators, to be opened again.
fn reopening(place: &Place, epoch_blocks: u32) -> (Genesis, LedgerSetup) {
    let directory = Some(place.path("data/ledger"));
    let setup = LedgerSetup { directory, validators: 4, epoch_blocks, ..LedgerSetup::default() };
    (read_genesis(&place.genesis()).unwrap(), setup)
}

/// What an envelope asked, in another envelope.
fn again(ledger: &Ledger, tx: &TxView) -> SignedEnvelope {
    let (lane, client) = (7, ledger.client());
    let block = client.block(tx.height).unwrap().unwrap();
    let before = block.contents().unwrap().envelopes[usize::from(tx.index)].envelope();
    let envelope = Envelope {
        key: 0,
        lane,
        sequence: query::next_sequence(client, tx.member, lane).unwrap(),
        expires_at: client.time().checked_add(DurationMs::from_millis(3_600_000)).unwrap(),
        ..before.clone()
    };
    envelope.sign(&Seed(1).signing_key(tx.member))
}

#[test]
fn another_validator_may_be_lost_when_the_first_one_votes_again() {
    let place = Place::with(4, 4);
    let (genesis, setup) = reopening(&place, 4);
    let (tx, _) = records(&place.reader());
    let noted = place.path("data/ledger/validator-2.copies");
    fs::remove_dir_all(place.path("data/ledger/validator-2")).unwrap();
    let mut ledger = Ledger::open(Seed(1), &genesis, &setup).unwrap();
    assert!(noted.exists());
    while ledger.nodes()[2].client().latest().height < ledger.nodes()[2].client().votes_from() {
        let envelope = again(&ledger, &tx);
        ledger.client_mut().submit(UnixMillis::EPOCH, vec![envelope]).unwrap();
    }
    drop(ledger);
    fs::remove_dir_all(place.path("data/ledger/validator-1")).unwrap();
    let ledger = Ledger::open(Seed(1), &genesis, &setup).unwrap();
    assert!(!noted.exists(), "it is not silent any more");
    assert!(place.path("data/ledger/validator-1.copies").exists());
    assert!(ledger.nodes()[1].client().holds_from() > 1);
}

#[test]
fn a_validator_whose_directory_is_gone_takes_the_state_from_the_others_and_says_what_it_has_not() {
    let place = Place::with(4, 1_000);
    let gone = place.path("data/ledger/validator-2");
    let (tx, records) = records(&place.reader());
    fs::remove_dir_all(&gone).unwrap();
    // Whoever removes what says that the network has begun does not make a lost validator a new one.
    let begun = place.path("data/ledger/begun");
    fs::remove_file(&begun).unwrap();
    let (genesis, setup) = reopening(&place, 1_000);
    let mut ledger = Ledger::open(Seed(1), &genesis, &setup).unwrap();
    assert!(begun.exists());
    // The same records once more are refused, as they are booked already.
    let again = again(&ledger, &tx);
    let receipts = ledger.client_mut().submit(UnixMillis::EPOCH, vec![again]).unwrap();
    let rejections: Vec<_> = receipts[0].items.iter().map(|item| item.outcome.rejection()).collect();
    assert!(rejections.contains(&Some(RejectCode::DuplicateRecord)), "{rejections:?}");
    drop(ledger);

    let of = |validator: &str| place.json(&["ledger", "status", "--validator", validator]);
    let (joined, whole) = (of("2"), of("0"));
    let same = ["state_digest", "records", "ledger_balance_micros"];
    assert!(same.iter().all(|key| joined[key] == whole[key]), "{joined}, {whole}");
    assert_eq!(joined["state_digest"], place.summary["state_digest"]);
    let from = joined["blocks_from"].as_u64().unwrap();
    assert!(from > 1 && whole["blocks_from"] == 1, "{from}");
    let kept = format!("keeps the blocks from {from} on");
    refused(place.run(&["ledger", "block", "1", "--validator", "2"]), &["block 1 is not kept here", &kept]);
    refused(place.run(&["ledger", "verify", "--validator", "2"]), &["is not kept here", "--validator"]);
    refused(place.run(&["ledger", "tx", &records, "--validator", "2"]), &["is not in the blocks from"]);
    let words = place.run(&["ledger", "status", "--validator", "2"]).expect(0).stdout;
    assert!(words.contains("the state before was copied from other validators"), "{words}");
    assert!(words.contains("vote          from block"), "{words}");
    assert_eq!(whole["votes_from"], 1);
    // Of a record that was accepted before it knows that it was refused later, and that this may not be all.
    let booked = tx.items.iter().position(|item| item.outcome.is_accepted()).unwrap();
    let record = tx.items[booked].hash.to_string();
    let of = |validator: &str| place.json(&["ledger", "tx", &record, "--validator", validator]);
    let (there, here) = (of("0"), of("2"));
    assert_eq!((&there["height"], &there["unknown_before"]), (&tx.height.into(), &Value::Null));
    assert_eq!(
        (here["height"].as_u64() > Some(tx.height), here["unknown_before"].as_u64()),
        (true, Some(from))
    );
    let words = place.run(&["ledger", "tx", &record, "--validator", "2"]).expect(0).stdout;
    assert!(words.contains("may have been accepted there: ask another validator"), "{words}");

    // Another one is too many as long as the first must not vote.
    let other = place.path("data/ledger/validator-1");
    fs::rename(&other, place.path("validator-1")).unwrap();
    let Err(refused) = Ledger::open(Seed(1), &genesis, &setup) else { panic!("two are no quorum") };
    assert!(refused.to_string().contains("1 that lost theirs before do not vote yet"), "{refused}");
    assert!(!other.exists(), "nothing is made before that is said");
    fs::rename(place.path("validator-1"), &other).unwrap();

    // Two of four that have forgotten what they voted for are too many.
    fs::remove_dir_all(place.path("data/ledger/validator-1")).unwrap();
    fs::remove_dir_all(&gone).unwrap();
    let Err(refused) = Ledger::open(Seed(1), &genesis, &setup) else { panic!("two are no quorum") };
    assert!(refused.to_string().contains("2 of 4 validators"), "{refused}");
    assert!(!gone.exists(), "nothing is made before that is said");
}

/// Whether a changed export is found out, and how that is said.
fn fault_of(directory: &Path) -> Option<String> {
    let checked = Export::open(directory).map_err(RecheckError::from);
    let checked = checked.and_then(|export| recheck::export(&export, None, &mut |_, _| ()));
    checked.err().map(|error| chain(&error))
}

#[test]
fn a_changed_or_missing_byte_of_an_export_is_found() {
    let place = Place::new();
    let export = place.export("export");
    assert_eq!(fault_of(&export), None);
    for name in ["blocks", "state"] {
        let path = export.join(name);
        let good = fs::read(&path).unwrap();
        let mut at = 0;
        let mut tried = 0;
        while at < good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1 << (tried % 8);
            fs::write(&path, &bytes).unwrap();
            assert!(fault_of(&export).is_some(), "bit {} of byte {at} of {name} can be another", tried % 8);
            tried += 1;
            // Every byte of the head, then some.
            at += if at < 60 { 1 } else { good.len() / 60 };
        }
        for length in [0, 10, 60, good.len() / 2, good.len() - 1] {
            fs::write(&path, &good[..length]).unwrap();
            assert!(fault_of(&export).is_some(), "{name} cut to {length} bytes");
        }
        fs::write(&path, [good.as_slice(), b"\0"].concat()).unwrap();
        assert!(fault_of(&export).unwrap().contains("goes on"), "{name} with a byte more");
        fs::write(&path, &good).unwrap();
        assert_eq!(fault_of(&export), None);
    }
    // Through the program, with the block that fails.
    let path = export.join("blocks");
    let good = fs::read(&path).unwrap();
    let mut bytes = good.clone();
    bytes[good.len() / 2] ^= 4;
    fs::write(&path, &bytes).unwrap();
    let from = export.display().to_string();
    refused(eroam(["ledger", "verify", "--from", &from]), &["not verified: block ", " fails: "]);
    let no = eroam(["ledger", "verify", "--from", &from, "--json"]).expect(1).json();
    assert_eq!(no["verified"], false);
    refused(
        eroam(["ledger", "import", "--from", &from, "--data", &place.text("new")]),
        &["does not stand the check: no network begins with its state: block "],
    );
    assert!(!place.path("new").exists());
}

/// A block whose header says of another body what it should.
fn with_body(block: &RecordedBlock, change: impl FnOnce(&mut Body)) -> RecordedBlock {
    let mut body: Body = from_bytes(&block.body).unwrap();
    change(&mut body);
    let bytes = body.to_bytes();
    let mut changed = block.clone();
    changed.header.body = Body::digest(&bytes);
    changed.header.receipts = body.receipts_root();
    changed.body = bytes;
    changed
}

/// Whoever keeps the blocks can make their digests agree. What was not signed, or is not what the rules give, is found
/// all the same.
#[test]
fn a_forged_history_is_found_by_links_certificates_and_execution() {
    let place = Place::new();
    let export = Export::open(&place.export("export")).unwrap();
    let blocks: Vec<RecordedBlock> =
        BlocksFile::open(&export.directory().join("blocks")).unwrap().map(Result::unwrap).collect();
    let with_envelopes = |n: usize| {
        let is = |b: &RecordedBlock| from_bytes::<Body>(&b.body).unwrap().envelopes.len() >= n;
        blocks.iter().position(is).unwrap()
    };
    // Checks the blocks with another one in the place of one of them.
    let check = |at: usize, other: RecordedBlock| {
        let mut recheck = Recheck::new(export.genesis(), None).unwrap();
        let mut result = Ok(());
        for (height, block) in blocks.iter().enumerate() {
            result = recheck.block(if height == at { &other } else { block });
            if result.is_err() {
                break;
            }
        }
        let Err(RecheckError::Block { height, fault }) = result else { panic!("{result:?}") };
        (usize::try_from(height).unwrap(), *fault)
    };
    let at = with_envelopes(3);
    let unsigned = |block: RecordedBlock| RecordedBlock { certificate: None, ..block };
    let refusal = ItemOutcome::Rejected(RejectCode::CreditExhausted);

    let forged = with_body(&blocks[at], |body| body.items[1][0].outcome = refusal);
    assert!(matches!(check(at, forged.clone()), (h, Fault::Certificate(_)) if h == at), "it was not signed");
    let (height, fault) = check(at, unsigned(forged));
    assert_eq!(height, at);
    assert!(matches!(fault, Fault::Outcome { envelope: 1, item: 0, .. }), "{fault}");
    assert!(fault.to_string().contains("the credit limit of the agreement is used up"), "{fault}");

    let (_, fault) = check(at, unsigned(with_body(&blocks[at], |body| body.items[0][0].hash = Digest::ZERO)));
    assert!(matches!(fault, Fault::Item { envelope: 0, item: 0, .. }), "{fault}");
    let (_, fault) = check(at, unsigned(with_body(&blocks[at], |body| body.items[0].truncate(0))));
    assert!(matches!(fault, Fault::ItemCount { envelope: 0, recorded: 0, .. }), "{fault}");
    let (_, fault) = check(at, unsigned(with_body(&blocks[at], |body| body.items.truncate(1))));
    assert!(matches!(fault, Fault::BodyCount { .. }), "{fault}");
    let (_, fault) =
        check(at, unsigned(with_body(&blocks[at], |body| *body.envelopes[0].last_mut().unwrap() ^= 1)));
    assert!(matches!(fault, Fault::NotAdmitted { envelope: 0, code: RejectCode::BadSignature }), "{fault}");
    let (_, fault) = check(at, unsigned(with_body(&blocks[at], |body| body.envelopes[1].truncate(9))));
    assert!(matches!(fault, Fault::Envelope { envelope: 1, .. }), "{fault}");
    // An envelope that is left out makes its member's next one too early, or the next block's parent another.
    let (height, fault) = check(
        at,
        unsigned(with_body(&blocks[at], |body| {
            body.envelopes.pop();
            body.items.pop();
        })),
    );
    assert_eq!(height, at + 1);
    assert!(matches!(fault, Fault::Parent { .. }), "{fault}");
    let (_, fault) = check(
        1,
        unsigned(with_body(&blocks[1], |body| {
            *body = from_bytes(&blocks[at].body).unwrap();
        })),
    );
    assert!(matches!(fault, Fault::TooEarly), "{fault}");

    let header = |change: fn(&mut eroam_light::block::Header)| {
        let mut other = unsigned(blocks[at].clone());
        change(&mut other.header);
        check(at, other).1
    };
    assert!(matches!(header(|h| h.height += 1), Fault::Height(_)));
    assert!(matches!(header(|h| h.version += 1), Fault::Version(_)));
    assert!(matches!(header(|h| h.parent = Digest::ZERO), Fault::Parent { .. }));
    assert!(matches!(header(|h| h.epoch += 1), Fault::Epoch { .. }));
    assert!(matches!(header(|h| h.leader.0[0] ^= 1), Fault::Leader(_)));
    assert!(matches!(header(|h| h.body = Digest::ZERO), Fault::Body { .. }));
    assert!(matches!(header(|h| h.receipts = Digest::ZERO), Fault::Receipts { .. }));
    let mut other = blocks[0].clone();
    other.header.view += 1;
    assert!(matches!(check(0, other).1, Fault::NotTheBeginning));
    let mut other = blocks[at].clone();
    other.certificate.clone_from(&blocks[blocks.len() - 1].certificate);
    assert!(matches!(check(at, other).1, Fault::Certificate(_)));

    // The end without a certificate, or too early.
    let run = |blocks: &[RecordedBlock]| {
        let mut recheck = Recheck::new(export.genesis(), None).unwrap();
        blocks.iter().for_each(|block| recheck.block(block).unwrap());
        recheck.finish()
    };
    let mut open = blocks.clone();
    let last = open.len() - 1;
    open[last].certificate = None;
    assert!(matches!(run(&open), Err(RecheckError::NotCertified { from, .. }) if from == last as u64));
    // Any other may lack its own: it is an ancestor of one that is certified.
    let mut few = blocks.clone();
    few[1..last].iter_mut().for_each(|block| block.certificate = None);
    assert_eq!(run(&few).unwrap().contents, run(&blocks).unwrap().contents);
    assert!(matches!(run(&[]), Err(RecheckError::Empty)));
    assert!(matches!(run(&blocks[..1]), Err(RecheckError::NotBegun { found: 0, begun: 1 })));
    let file = export.directory().join("blocks");
    let mut shorter = fs::read(&file).unwrap();
    let gone = to_bytes(&blocks[last]).len() + 4;
    shorter.truncate(shorter.len() - gone);
    shorter[47..55].copy_from_slice(&(last as u64 - 1).to_le_bytes());
    fs::write(&file, shorter).unwrap();
    let fault = fault_of(export.directory()).unwrap();
    assert!(fault.starts_with("the state "), "{fault}");
}

/// What is lost with such a file nothing on this machine can make again. Files that can be made again are
/// `crates/chain/tests/damaged_files.rs`'s.
#[test]
fn a_truncated_file_of_the_engine_is_one_error_of_every_command_that_opens_the_ledger() {
    let place = Place::new();
    let (genesis, sessions) = (place.genesis(), place.text("sessions.csv"));
    let trusted = file(place.dir.path(), "trusted.json", fs::read(genesis).unwrap()).display().to_string();
    let validator = place.path("data").join("ledger/validator-0");
    let engine = validator.join("engine");
    let sound = files(&engine);
    for name in ["ledger-blocks-value", "ledger-finalizations-key", "ledger-state-log_data"] {
        let damaged = format!("{name}/0000000000000000");
        let (export, out) = (place.text(&format!("export {name}")), place.text(&format!("out {name}")));
        let commands: [&[&str]; 4] = [
            &["ledger", "status"],
            &["ledger", "verify", "--trust", &trusted],
            &["ledger", "export", "--out", &export],
            &["replay", "--input", &sessions, "--out", &out, "--epoch-blocks", "4"],
        ];
        for command in commands {
            for (file, bytes) in &sound {
                let kept = if *file == damaged { bytes.len() / 2 } else { bytes.len() };
                fs::write(engine.join(file), &bytes[..kept]).unwrap();
            }
            refused(place.run(command), &[validator.to_str().unwrap()]);
        }
        assert!(!Path::new(&export).exists(), "nothing is left of an export that failed");
    }
}
