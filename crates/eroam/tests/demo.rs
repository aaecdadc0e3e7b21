//! `eroam demo` and `eroam completions`.

mod support;

use eroam_ledger::tx::BATCH_MAX;
use serde_json::Value;
use std::io::Read as _;
use std::process::Stdio;
use support::{assert_same_output, command, eroam, file, files, lines, tempdir};

fn story(seed: u64) -> Value {
    eroam(["demo", "--once", "--json", "--seed", &seed.to_string()]).expect(0).json()
}

#[test]
fn the_story_shows_both_prices_and_who_owes_whom() {
    let told = eroam(["demo", "--once"]).expect(0).stdout;
    for text in [
        "Who charged where, at what price and why",
        "owes DE-RHN",
        "the driver owes",
        "without VAT",
        "with VAT",
        "the agreement: 97 % of the tariff",
        "recorded on the ledger as",
        "Who owes whom",
        "After netting",
        "Each driver's bill",
        "blocks, agreed on by 1 validator, state ",
        "all accounts less attested deposits: 0.00 EUR",
        "hidden from it: contract_id, customer_id, ",
        "the ledger has the voucher as spent: PT-E01 owes PT-O01 ",
    ] {
        assert!(told.contains(text), "`{text}` is not in:\n{told}");
    }
}

#[test]
fn the_story_ends_with_a_charge_by_a_wallet_that_the_operator_does_not_know() {
    let story = story(5);
    let wallet = &story["wallet"];
    let names = |key: &str| -> Vec<&str> {
        wallet[key].as_array().unwrap().iter().map(|n| n.as_str().or(n[0].as_str()).unwrap()).collect()
    };
    assert_eq!(names("shown"), ["allowed_zones", "tier"]);
    assert_eq!(names("proved"), ["the contract is not revoked"]);
    let hidden = names("hidden");
    assert!(["customer_id", "contract_id"].iter().all(|name| hidden.contains(name)), "{hidden:?}");
    assert_eq!((&wallet["home"], &wallet["operator"]), (&"PT-E01".into(), &"PT-O01".into()));
    let (spent, billed) = (&wallet["voucher_spent_micros"], &wallet["billed_micros"]);
    let (spent, billed) = (spent.as_i64().unwrap(), billed.as_i64().unwrap());
    assert!(0 < spent && spent <= wallet["limit_micros"].as_i64().unwrap() && billed > 0, "{wallet}");
    let energy: f64 = wallet["energy"].as_str().unwrap().strip_suffix(" kWh").unwrap().parse().unwrap();
    assert!((11.5..=12.0).contains(&energy), "{wallet}");
    assert!(story["state_digest"].is_string() && story["wallet"]["reason"].is_string());
}

#[test]
fn every_visit_is_charged_or_has_a_reason() {
    let story = story(1);
    let visits = story["visits"].as_array().unwrap();
    assert!(visits.len() >= 8);
    let mut denials = 0;
    for visit in visits {
        let charged = visit["energy"].is_string();
        assert_eq!(charged, visit["denied"].is_null(), "{visit}");
        assert_eq!(charged, visit["retail_micros"].as_i64().is_some_and(|micros| micros > 0), "{visit}");
        let roamed = charged && visit["home"] != visit["operator"];
        assert_eq!(roamed, visit["record"].is_string(), "what roams is recorded, nothing else: {visit}");
        assert_eq!(roamed, visit["wholesale_micros"].is_i64(), "{visit}");
        let lines = visit["wholesale"].as_array().unwrap();
        let sum: i64 = lines.iter().map(|l| l["excl_vat_micros"].as_i64().unwrap()).sum();
        assert_eq!(sum, visit["wholesale_micros"].as_i64().unwrap_or(0), "{visit}");
        denials += u32::from(!charged);
    }
    assert!(denials >= 3, "a number alone, a declined quote, a stranger");
    let by = |how: &str| visits.iter().any(|v| v["authorized_by"] == how);
    assert!(by("home") && by("partner") && by("cache"));
}

#[test]
fn the_money_of_the_story_adds_up() {
    let story = story(3);
    assert_eq!(story["seed"], 3);
    assert_eq!(story["ledger_balance_micros"], serde_json::json!({"EUR": 0}));
    let micros = |value: &Value| value.as_i64().unwrap();
    let net: Vec<(&str, i64)> =
        story["net"].as_array().unwrap().iter().map(|n| (n[0].as_str().unwrap(), micros(&n[1]))).collect();
    assert_eq!(net.iter().map(|(_, amount)| amount).sum::<i64>(), 0);
    for (party, amount) in net {
        let mut expected = 0;
        for owed in story["gross"].as_array().unwrap() {
            expected += if owed["creditor"] == party { micros(&owed["amount_micros"]) } else { 0 };
            expected -= if owed["debtor"] == party { micros(&owed["amount_micros"]) } else { 0 };
        }
        assert_eq!(amount, expected, "{party}");
    }
    for bill in story["bills"].as_array().unwrap() {
        let charges: Vec<&Value> = story["visits"]
            .as_array()
            .unwrap()
            .iter()
            .filter(|v| v["contract"] == bill[0] && v["retail_micros"].is_i64())
            .collect();
        assert_eq!(bill[1], charges.len());
        assert_eq!(micros(&bill[2]), charges.iter().map(|v| micros(&v["retail_micros"])).sum::<i64>());
    }
}

#[test]
fn the_same_seed_tells_the_same_story() {
    // But for the number of blocks: what is submitted together may be in one or in several.
    let told = || {
        let told = eroam(["demo", "--once", "--seed", "9"]).expect(0).stdout;
        let (before, line) = told.split_once("The ledger: ").unwrap();
        let (blocks, after) = line.split_once(' ').unwrap();
        assert!(blocks.parse::<u64>().unwrap() > 10, "{line}");
        format!("{before}{after}")
    };
    assert_eq!(told(), told());
    let as_json = || {
        let mut story = story(9);
        assert!(story.as_object_mut().unwrap().remove("ledger_height").is_some());
        assert_eq!(story["validators"], 1);
        story
    };
    assert_eq!(as_json(), as_json());
    let usual = eroam(["demo", "--once", "--json"]).expect(0).json();
    assert_eq!(usual["state_digest"], story(1)["state_digest"], "seed 1 if none is given");
    assert_ne!(usual["state_digest"], as_json()["state_digest"]);
}

#[test]
fn the_storys_bills_and_records_are_written_on_request() {
    let dir = tempdir();
    let out = |name: &str| dir.path().join(name);
    for name in ["one", "two"] {
        let path = out(name).display().to_string();
        eroam(["demo", "--once", "--out", &path]).expect(0);
    }
    let names: Vec<String> = files(&out("one")).into_keys().collect();
    let story = story(1);
    let bills = names.iter().filter(|n| n.starts_with("bills/") && n.ends_with(".json")).count();
    assert_eq!(bills, story["bills"].as_array().unwrap().len());
    assert!(names.iter().any(|n| n.starts_with("invoices/") && n.ends_with(".html")));
    let charged = story["visits"].as_array().unwrap().iter().filter(|v| v["energy"].is_string()).count();
    assert_eq!(lines(&out("one").join("cdrs.jsonl")).len(), charged);
    assert_same_output(&out("one"), &out("two"), "same seed");
}

#[test]
fn the_story_leaves_other_peoples_files_alone() {
    let dir = tempdir();
    file(dir.path(), "thesis.txt", "years of work");
    let path = dir.path().display().to_string();
    let ended = eroam(["demo", "--once", "--out", &path]).expect(1);
    assert!(ended.stderr.contains("name an empty or a new directory"), "{}", ended.stderr);
    assert_eq!(files(dir.path()).into_keys().collect::<Vec<_>>(), ["thesis.txt"]);
}

#[test]
fn shell_completions_know_the_commands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = eroam(["completions", shell]).expect(0).stdout;
        assert!(script.contains("replay") && script.contains("roaming-share"), "{shell}");
    }
    eroam(["completions", "cobol"]).expect(2);
}

#[test]
fn measurements_are_one_json_object_each() {
    for what in ["price", "execute"] {
        let measured = eroam(["bench", what, "--records", "300", "--json"]).expect(0).json();
        assert_eq!(measured["records"], 300);
        assert!(measured["cdrs_per_s"].as_f64() > Some(0.0), "{measured}");
        // Where the system does not count them they are zero.
        for key in ["cpu_us_per_cdr", "rss_mib"] {
            assert!(measured[key].as_f64() >= Some(0.0), "{key} in {measured}");
        }
    }
}

/// What a network of validators does is measured with the same keys whoever is measured, the bare engine included.
#[test]
fn measurements_of_a_network_have_the_same_keys_with_and_without_the_rules() {
    let ledger = |options: &[&str]| {
        let args = ["bench", "ledger", "--records", "2000", "--json"];
        eroam(args.iter().chain(options)).expect(0).json()
    };
    let check = |measured: &Value, validators: u64, engine_only: bool, more: &[&str]| {
        let mut expected = NETWORK_KEYS.to_vec();
        expected.extend(more);
        expected.sort_unstable();
        let keys: Vec<&String> = measured.as_object().unwrap().keys().collect();
        assert_eq!(keys, expected);
        // In whole batches.
        let records = measured["records"].as_u64().unwrap();
        assert!((2_000..2_000 + BATCH_MAX as u64).contains(&records), "{measured}");
        assert_eq!(
            (&measured["validators"], &measured["engine_only"]),
            (&validators.into(), &engine_only.into())
        );
        for key in ["cdrs_per_s", "txs_per_s", "p50_ms", "p95_ms", "bytes_per_cdr"] {
            assert!(measured[key].as_f64() > Some(0.0), "{key} in {measured}");
        }
        assert!(measured["p50_ms"].as_f64() <= measured["p95_ms"].as_f64(), "{measured}");
        assert!(measured["blocks"].as_u64() > Some(0), "{measured}");
    };
    for validators in [1, 4] {
        let number = validators.to_string();
        check(&ledger(&["--validators", &number]), validators, false, &[]);
        check(&ledger(&["--validators", &number, "--engine-only"]), validators, true, &[]);
    }
    let both = ledger(&["--beside-engine"]);
    check(&both, 1, false, &["engine_cdrs_per_s", "ratio_to_engine", "ratios_to_engine"]);
    let number = |key: &str| both[key].as_f64().unwrap();
    let ratio = number("cdrs_per_s") / number("engine_cdrs_per_s");
    assert!((ratio / number("ratio_to_engine") - 1.0).abs() < 1e-9, "{both}");
    let mut ratios: Vec<f64> =
        both["ratios_to_engine"].as_array().unwrap().iter().map(|ratio| ratio.as_f64().unwrap()).collect();
    ratios.sort_by(f64::total_cmp);
    assert_eq!(ratios.get(ratios.len() / 2), Some(&number("ratio_to_engine")), "{both}");
    eroam(["bench", "ledger", "--beside-engine", "--engine-only"]).expect(2);
}

/// Of `bench ledger --json`, in the order of the alphabet.
const NETWORK_KEYS: [&str; 13] = [
    "blocks",
    "bytes_per_cdr",
    "cdrs_per_s",
    "cpu_us_per_cdr_node",
    "engine_only",
    "full_load_p50_ms",
    "full_load_p95_ms",
    "p50_ms",
    "p95_ms",
    "records",
    "rss_mib",
    "txs_per_s",
    "validators",
];

/// Where the system counts what a process writes.
#[cfg(target_os = "linux")]
#[test]
fn an_idle_network_is_measured() {
    let measured = eroam(["bench", "idle", "--seconds", "2", "--json"]).expect(0).json();
    let keys: Vec<&String> = measured.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["bytes_per_day_node", "bytes_written", "cpu_percent", "seconds", "validators"]);
    assert_eq!((&measured["validators"], &measured["seconds"]), (&4.into(), &2.into()));
    let (bytes, a_day) =
        (measured["bytes_written"].as_f64().unwrap(), measured["bytes_per_day_node"].as_f64().unwrap());
    // Two seconds of four validators.
    assert!((a_day - bytes * 86_400.0 / 8.0).abs() < 1.0, "{measured}");
    assert!(measured["cpu_percent"].as_f64() >= Some(0.0), "{measured}");
}

/// Whoever reads a line and goes away (`| head -1`) sees no panic.
#[test]
fn a_closed_pipe_is_no_failure() {
    let dir = tempdir();
    let input = file(dir.path(), "sessions.csv", support::workplace_csv(6)).display().to_string();
    let out = dir.path().join("out").display().to_string();
    for args in [
        &["demo", "--once"][..],
        &["demo", "--once", "--json"],
        &["completions", "bash"],
        &["replay", "--input", &input, "--out", &out],
        &["bench", "price", "--records", "10"],
        &["--help"],
    ] {
        let mut child = command().args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // The reader is gone before the first byte is written.
        drop(child.stdout.take());
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        let status = child.wait().unwrap();
        assert!(!said.contains("panicked"), "{args:?}: {said}");
        assert_eq!(status.code(), Some(0), "{args:?}: {said}");
    }
}

/// A full disk is a failure, and no panic either.
#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    for args in [&["demo", "--once"][..], &["completions", "zsh"]] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command().args(args).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
        assert!(said.contains("standard output cannot be written"), "{args:?}: {said}");
    }
}
