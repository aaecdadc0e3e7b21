//! Paper B's experiment, small, with issuers' keys that were made before.

use serde_json::Value;
use std::path::Path;
use std::process::Command;

fn simulate(args: &[&str]) -> Value {
    let keys = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/contract");
    let run = Command::new(env!("CARGO_BIN_EXE_eroam"))
        .arg("simulate")
        .args(args)
        .args(["--json", "--issuer-keys"])
        .arg(keys)
        .output()
        .unwrap();
    let (out, err) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8_lossy(&run.stderr));
    assert!(run.status.success(), "{out}\n{err}");
    serde_json::from_str(&out).unwrap()
}

fn count(result: &Value, key: &str) -> u64 {
    result[key].as_u64().unwrap_or_else(|| panic!("{key} in {result}"))
}

#[test]
fn every_charge_is_recorded_on_the_ledger_and_billed_at_home() {
    let result = simulate(&["--drivers", "3", "--stations", "3", "--events", "6", "--seed", "5"]);
    assert_eq!((count(&result, "events"), count(&result, "failures")), (6, 0), "{result}");
    assert_eq!((count(&result, "ledger_records"), count(&result, "bills")), (6, 6), "{result}");
    // The station's and the driver's.
    assert_eq!(count(&result, "presentations"), 12);
    assert_eq!(count(&result, "credentials_issued"), 6);
    assert!(result["energy_kwh"].as_f64().unwrap() > 6.0, "{result}");
}

#[test]
fn the_papers_event_has_three_presentations_of_the_same_kind() {
    let result = simulate(&["--drivers", "2", "--stations", "2", "--events", "2", "--mode", "paper"]);
    assert_eq!((count(&result, "events"), count(&result, "failures")), (2, 0), "{result}");
    assert_eq!((count(&result, "ledger_records"), count(&result, "bills")), (2, 2), "{result}");
    assert_eq!(count(&result, "presentations"), 6);
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
