//! Paper B's experiment, small, with issuers' keys that were made before.

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// What a command prints.
fn printed(args: &[&str]) -> String {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract");
    let run =
        Command::new(env!("CARGO_BIN_EXE_eroam")).args(args).arg("--issuer-keys").arg(keys).output().unwrap();
    let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
    out
}

fn simulate(args: &[&str]) -> Value {
    serde_json::from_str(&printed(&[&["simulate", "--json"], args].concat())).unwrap()
}

/// What is measured, by the names that the issue and README promise.
const MEASURED: [&str; 16] = [
    "bills",
    "credential_exchange_s",
    "credentials_issued",
    "energy_kwh",
    "event_cpu_ms",
    "events",
    "failures",
    "ledger_records",
    "mean_connect_s",
    "mean_message_s",
    "messages",
    "presentations",
    "scan_to_power_ms_p50",
    "scan_to_power_ms_p95",
    "setup_s",
    "mode",
];

fn keys(result: &Value) -> BTreeSet<&str> {
    result.as_object().unwrap().keys().map(String::as_str).collect()
}

fn measured(result: &Value, key: &str) -> f64 {
    result[key].as_f64().unwrap_or_else(|| panic!("{key} in {result}"))
}

/// That what was measured of some events, each recorded and billed, can be.
fn assert_plausible(result: &Value, prefix: &str, events: u64, presentations: u64) {
    let key = |name: &str| format!("{prefix}{name}");
    let counts = ["events", "ledger_records", "bills", "failures", "presentations"];
    assert_eq!(
        counts.map(|name| count(result, &key(name))),
        [events, events, events, 0, events * presentations],
        "{result}"
    );
    // Request, quote, acceptance, power, end and account at least.
    assert!(count(result, &key("messages")) >= 6 * events, "{result}");
    for name in
        ["mean_message_s", "mean_connect_s", "credential_exchange_s", "event_cpu_ms", "setup_s", "energy_kwh"]
    {
        assert!(measured(result, &key(name)) > 0.0, "{name}: {result}");
    }
    let [p50, p95] =
        ["scan_to_power_ms_p50", "scan_to_power_ms_p95"].map(|name| measured(result, &key(name)));
    assert!(0.0 < p50 && p50 <= p95, "{result}");
    // A visit has many messages.
    assert!(measured(result, &key("mean_message_s")) * 1e3 < p95, "{result}");
}

fn count(result: &Value, key: &str) -> u64 {
    result[key].as_u64().unwrap_or_else(|| panic!("{key} in {result}"))
}

#[test]
fn every_charge_is_recorded_on_the_ledger_and_billed_at_home() {
    let result = simulate(&["--drivers", "3", "--stations", "3", "--events", "6", "--seed", "5"]);
    let expected: BTreeSet<&str> = MEASURED.into_iter().chain(["paper"]).collect();
    assert_eq!(keys(&result), expected);
    // The station's and the driver's presentation.
    assert_plausible(&result, "", 6, 2);
    assert_eq!(result["mode"], "default");
    assert_eq!(
        result["paper"],
        json!({
            "events": 300, "messages": 600, "presentations": 900,
            "credential_exchange_s": 244.53, "mean_message_s": 0.41, "mean_connect_s": 0.55,
        })
    );
    assert_eq!(count(&result, "credentials_issued"), 6);
    assert!(result["energy_kwh"].as_f64().unwrap() > 6.0, "{result}");
}

#[test]
fn the_papers_event_has_three_presentations_of_the_same_kind() {
    let result = simulate(&["--drivers", "2", "--stations", "2", "--events", "2", "--mode", "paper"]);
    assert_eq!((count(&result, "events"), count(&result, "failures")), (2, 0), "{result}");
    assert_eq!((count(&result, "ledger_records"), count(&result, "bills")), (2, 2), "{result}");
    assert_eq!(count(&result, "presentations"), 6);
    // Each station has the one that it shows to others, too.
    assert_eq!(count(&result, "credentials_issued"), 2 + 2 * 2);
}

#[test]
fn the_table_has_the_papers_values_beside_ours() {
    let text = printed(&["simulate", "--drivers", "1", "--stations", "1", "--events", "1"]);
    let rows: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .filter_map(|line| Some((line.get(..38)?.trim_end(), line.get(38..)?.split_whitespace().collect())))
        .collect();
    assert_eq!(rows["mode default"], ["eroam", "paper"], "{text}");
    for (row, paper) in [
        ("charging events", "300"),
        ("messages", "600"),
        ("presentations", "900"),
        ("credentials issued", "8"),
        ("exchange of credentials, s", "244.53"),
        ("a message, s", "0.41"),
        ("a connection, s", "0.55"),
        ("processor time of an event, ms", "-"),
        ("scan to power, ms, median", "-"),
        ("records on the ledger", "-"),
    ] {
        let [ours, theirs] = rows.get(row).unwrap_or_else(|| panic!("{row}: {text}"))[..] else {
            panic!("{row}: {text}")
        };
        assert_eq!(theirs, paper, "{row}: {text}");
        assert!(ours.parse::<f64>().unwrap() > 0.0, "{row}: {text}");
    }
}

#[test]
fn bench_event_measures_both_modes_under_keys_of_their_own() {
    let text = printed(&["bench", "event", "--json", "--events", "2", "--seed", "5"]);
    let result: Value = serde_json::from_str(&text).unwrap();
    let of_mode = |prefix: &str| {
        MEASURED
            .iter()
            .filter(|name| **name != "mode")
            .map(move |name| format!("{prefix}_{name}"))
            .collect::<Vec<_>>()
    };
    let expected: BTreeSet<String> = of_mode("paper").into_iter().chain(of_mode("default")).collect();
    assert_eq!(keys(&result).into_iter().map(str::to_owned).collect::<BTreeSet<_>>(), expected);
    assert_plausible(&result, "paper_", 2, 3);
    assert_plausible(&result, "default_", 2, 2);
    // Four drivers and four stations, which have two each in paper B's mode; what one mode issued is not counted for the other.
    let issued = ["paper_credentials_issued", "default_credentials_issued"].map(|key| count(&result, key));
    assert_eq!(issued, [12, 8]);
}

#[cfg(unix)]
#[test]
fn with_a_process_for_every_agent_the_same_is_charged_and_reported() {
    let args = ["--drivers", "2", "--stations", "2", "--events", "3", "--seed", "5"];
    let (together, apart) = (simulate(&args), simulate(&[&args[..], &["--processes"]].concat()));
    let keys = |result: &Value| result.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    // What a process needs can be seen where there is one, on Linux.
    let mut said = keys(&apart);
    said.retain(|key| key != "station_rss_mib");
    assert_eq!(said, keys(&together));
    assert_eq!(apart.get("station_rss_mib").is_some(), cfg!(target_os = "linux"), "{apart}");
    for key in ["events", "failures", "presentations", "credentials_issued", "ledger_records", "bills"] {
        assert_eq!(count(&apart, key), count(&together, key), "{key}: {apart}");
    }
    assert_eq!((count(&apart, "ledger_records"), count(&apart, "failures")), (3, 0), "{apart}");
    // All processes are counted: a proof alone takes longer than this.
    assert!(apart["event_cpu_ms"].as_f64().unwrap() > 10.0, "{apart}");
}

#[test]
fn a_network_is_not_served_from_a_directory_with_something_else() {
    let directory = tempfile::tempdir().unwrap();
    let readme = directory.path().join("README.md");
    std::fs::write(&readme, "mine").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_eroam"))
        .args(["simulate", "--serve", &directory.path().display().to_string()])
        .output()
        .unwrap();
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && says.contains("holds something else"), "{says}");
    assert_eq!(std::fs::read_to_string(readme).unwrap(), "mine");
}
