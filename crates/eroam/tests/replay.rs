//! `eroam replay` of real session files: what it prints and what it does not depend on.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{
    ACN, BOULDER, Replay, TRONDHEIM, WORKPLACE, assert_same_output, count, file, json, lasting, lines, real,
    tempdir,
};

/// The keys of `--json` that others rely on.
const KEYS: [&str; 14] = [
    "sessions_read",
    "sessions_rejected",
    "sessions_charged",
    "sessions_roamed",
    "local_authorizations",
    "cdrs_recorded",
    "energy_wh",
    "state_digest",
    "ledger_height",
    "validators",
    "ledger_balance_micros",
    "net_positions",
    "wall_s",
    "cdrs_per_s",
];

const FILES: [&str; 8] = [
    "cdrs.jsonl",
    "sessions.jsonl",
    "tariffs.json",
    "agreements.json",
    "retail_rules.json",
    "settlement.json",
    "rejected.jsonl",
    "pending.jsonl",
];

/// Thousandths of a watt-hour in a decimal number of kilowatt-hours, further digits rounded half up.
fn milli_wh(kwh: &Value) -> u64 {
    let text = kwh.to_string();
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let digits: u64 = format!("{whole}{:0<7.7}", fraction).parse().unwrap_or_else(|e| panic!("{text}: {e}"));
    (digits + 5) / 10
}

/// Replays a file, and asserts what holds for each.
fn replay_adds_up(name: &str, limit: Option<u64>) {
    let Some(input) = real(name) else { return };
    let dir = tempdir();
    let out = dir.path().join("out");
    let mut replay = Replay::new(&[&input], &out);
    if let Some(limit) = limit {
        replay = replay.with("--limit", limit);
    }
    let summary = replay.done();
    for key in KEYS {
        assert!(summary.get(key).is_some(), "{key} is missing in {summary}");
    }
    assert_eq!(json(&out.join("summary.json")), summary, "the output holds what was printed");
    let n = |key| count(&summary, key);
    assert_eq!(
        n("sessions_read"),
        n("sessions_rejected") + n("sessions_charged") + n("sessions_pending"),
        "every session is accounted for: {summary}"
    );
    assert!(n("sessions_charged") > 1_000, "{summary}");
    assert_eq!(n("cdrs_recorded"), n("sessions_roamed"), "what roamed is on the ledger, nothing else");
    assert_eq!(n("sessions_pending"), 0);
    assert!(n("local_authorizations") <= n("sessions_roamed") && n("local_authorizations") > 0);
    let share = n("sessions_roamed") as f64 / n("sessions_charged") as f64;
    assert!((0.25..0.75).contains(&share), "half of the drivers roam, but {share} of the sessions");
    assert_eq!(n("seed"), 1);
    assert_eq!(n("validators"), 1);
    assert!(n("ledger_height") > 5, "the founding, reservations, records, settlement: {summary}");
    assert_eq!(summary["state_digest"].as_str().map(str::len), Some(64));
    assert!(summary["wall_s"].as_f64() > Some(0.0) && summary["cdrs_per_s"].as_f64() > Some(0.0));

    let balance = summary["ledger_balance_micros"].as_object().unwrap();
    assert!(!balance.is_empty() && balance.values().all(|v| v.as_i64() == Some(0)), "{balance:?}");
    let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
    for net in summary["net_positions"].as_array().unwrap() {
        let amount = net["amount_micros"].as_i64().unwrap();
        *sums.entry(net["currency"].as_str().unwrap()).or_default() += amount;
        assert_ne!(amount, 0, "every utility had guests and customers abroad");
    }
    assert!(!sums.is_empty() && sums.values().all(|sum| *sum == 0), "{sums:?}");

    for file in FILES {
        assert!(out.join(file).is_file(), "{file}");
    }
    let records = lines(&out.join("cdrs.jsonl"));
    assert_eq!(records.len() as u64, n("sessions_charged"));
    let energy: u64 = records.iter().map(|r| milli_wh(&r["total_energy"])).sum();
    assert_eq!(n("energy_wh"), energy / 1_000);
    let rejected = lines(&out.join("rejected.jsonl"));
    assert_eq!(rejected.len() as u64, n("sessions_rejected"), "every rejected session is listed");
    for key in ["file", "line", "field", "reason", "remedy"] {
        assert!(rejected.iter().all(|r| !r[key].is_null()), "{key}");
    }
    assert_eq!(lines(&out.join("pending.jsonl")).len() as u64, n("sessions_pending"));
    let left: Vec<_> = out.read_dir().unwrap().map(|e| e.unwrap().file_name()).collect();
    assert!(!left.iter().any(|n| n.to_string_lossy().ends_with(".part")), "{left:?}");
}

#[test]
fn the_acn_file_is_replayed_and_adds_up() {
    replay_adds_up(ACN, None);
}

#[test]
fn the_trondheim_file_is_replayed_and_adds_up() {
    replay_adds_up(TRONDHEIM, None);
}

#[test]
fn the_workplace_file_is_replayed_and_adds_up() {
    replay_adds_up(WORKPLACE, None);
}

#[test]
fn the_boulder_file_is_replayed_and_adds_up() {
    replay_adds_up(BOULDER, Some(3_000));
}

#[test]
fn the_energy_of_the_output_is_the_energy_of_the_file() {
    let Some(input) = real(ACN) else { return };
    let dir = tempdir();
    let summary = Replay::new(&[&input], &dir.path().join("out")).done();
    let file = json(&input);
    let items = file.as_array().or_else(|| file["_items"].as_array()).unwrap();
    let energy: u64 = items.iter().map(|item| milli_wh(&item["kWhDelivered"])).sum();
    assert_eq!(count(&summary, "sessions_read"), items.len() as u64);
    assert_eq!(count(&summary, "sessions_rejected"), 0);
    assert_eq!(count(&summary, "energy_wh"), energy / 1_000);
}

/// Runs of the same real sessions with other options.
struct Runs {
    dir: tempfile::TempDir,
    input: PathBuf,
    limit: u64,
}

impl Runs {
    fn new(limit: u64) -> Option<Self> {
        Some(Self { dir: tempdir(), input: real(ACN)?, limit })
    }

    fn out(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, name: &str, options: &[(&str, &str)]) -> Value {
        let mut replay = Replay::new(&[&self.input], &self.out(name)).with("--limit", self.limit);
        for (option, value) in options {
            replay = replay.with(option, value);
        }
        replay.done()
    }
}

#[test]
fn the_same_seed_gives_the_same_files_byte_for_byte() {
    let Some(runs) = Runs::new(1_000) else { return };
    let one = runs.run("one", &[("--seed", "42")]);
    let two = runs.run("two", &[("--seed", "42")]);
    assert_eq!(lasting(&one), lasting(&two));
    assert_eq!(one["letters"], two["letters"]);
    assert_eq!(one["seed"], 42);
    assert_same_output(&runs.out("one"), &runs.out("two"), "same seed");
    let three = runs.run("three", &[("--seed", "43")]);
    assert_ne!(three["state_digest"], one["state_digest"], "every key follows from the seed");
    assert_eq!(three["energy_wh"], one["energy_wh"]);
}

#[test]
fn records_that_cannot_be_true_are_contested_where_that_is_asked_for() {
    let Some(runs) = Runs::new(1_500) else { return };
    let plain = runs.run("plain", &[]);
    assert!(plain["anomalies"].is_null() && !runs.out("plain").join("anomalies.jsonl").exists());
    let out = runs.out("contest");
    let replay = Replay::new(&[&runs.input], &out).with("--limit", runs.limit).flag("--contest");
    let summary = replay.done();
    let (found, contested) =
        (count(&summary["anomalies"], "found"), count(&summary["anomalies"], "contested"));
    let cases = lines(&out.join("anomalies.jsonl"));
    assert_eq!((cases.len() as u64, contested > 0 && contested <= found), (found, true), "{summary}");
    for case in &cases {
        let hard = |finding: &Value| finding["rule"] != "sudden_change";
        let findings = case["findings"].as_array().unwrap();
        assert_eq!(case["state"] == "contested", findings.iter().any(hard), "{case}");
        assert!(findings.iter().all(|finding| !finding["says"].as_str().unwrap().is_empty()));
    }
    // Contested, not dropped: the same records, bills and debts.
    for what in ["cdrs_recorded", "sessions_charged", "energy_wh", "net_positions", "ledger_balance_micros"] {
        assert_eq!(summary[what], plain[what], "{what}");
    }
    assert_ne!(summary["state_digest"], plain["state_digest"]);
    // By thresholds of one's own: here nobody asks for patterns.
    let rules = file(runs.dir.path(), "rules.toml", "[anomalies]\npattern_records_min = 0\n");
    let quiet = runs.out("quiet");
    let replay = Replay::new(&[&runs.input], &quiet).with("--limit", runs.limit).flag("--contest");
    replay.with("--contest-rules", rules.display()).done();
    let changes = |cases: &[Value]| {
        let findings = cases.iter().flat_map(|case| case["findings"].as_array().unwrap());
        findings.filter(|finding| finding["rule"].as_str().unwrap().ends_with("_change")).count()
    };
    assert!(changes(&cases) > 0 && changes(&lines(&quiet.join("anomalies.jsonl"))) == 0);
}

#[test]
fn an_output_is_replaced_by_the_next_one_in_the_same_place() {
    let Some(runs) = Runs::new(300) else { return };
    runs.run("twice", &[("--seed", "7")]);
    runs.run("twice", &[]);
    runs.run("once", &[]);
    assert_same_output(&runs.out("twice"), &runs.out("once"), "nothing of the first run is left");
}

#[test]
fn what_is_booked_and_billed_does_not_depend_on_the_size_of_ticks() {
    let Some(runs) = Runs::new(250) else { return };
    let usual = runs.run("usual", &[]);
    for size in ["1000", "64", "3"] {
        let other = runs.run(size, &[("--tick-events", size)]);
        assert_eq!(other["state_digest"], usual["state_digest"], "ticks of {size}");
        assert_eq!(lasting(&other), lasting(&usual), "ticks of {size}");
        assert_same_output(&runs.out("usual"), &runs.out(size), &format!("ticks of {size}"));
    }
}

/// The files are the same too: nothing in them says who agreed on the blocks.
#[test]
fn what_is_booked_and_billed_does_not_depend_on_blocks_epochs_and_validators() {
    let Some(runs) = Runs::new(150) else { return };
    let usual = runs.run("usual", &[("--tick-events", "60")]);
    let heights =
        [("1", "1", "10000"), ("1", "7", "4"), ("1", "100", "5"), ("4", "4096", "10000"), ("4", "7", "4")]
            .map(|(validators, items, epoch)| {
                let name =
                    format!("{validators} validators, {items} items in a block, {epoch} blocks in an epoch");
                let other = runs.run(
                    &name,
                    &[
                        ("--tick-events", "60"),
                        ("--validators", validators),
                        ("--block-items", items),
                        ("--epoch-blocks", epoch),
                    ],
                );
                assert_eq!(other["state_digest"], usual["state_digest"], "{name}");
                assert_eq!(other["validators"].to_string(), validators);
                let without_validators = |summary: &Value| {
                    let mut summary = lasting(summary);
                    assert!(summary.as_object_mut().unwrap().remove("validators").is_some());
                    summary
                };
                assert_eq!(without_validators(&other), without_validators(&usual), "{name}");
                assert_same_output(&runs.out("usual"), &runs.out(&name), &name);
                count(&other, "ledger_height")
            });
    assert!(
        heights[0] > heights[1] && heights[1] > heights[3],
        "smaller blocks are more blocks: {heights:?}"
    );
}

#[test]
fn repeated_input_is_charged_again_in_later_years_by_other_drivers() {
    let Some(runs) = Runs::new(600) else { return };
    let once = runs.run("once", &[]);
    let twice = runs.run("twice", &[("--repeat", "2")]);
    for key in ["sessions_read", "sessions_charged", "energy_wh", "drivers"] {
        assert_eq!(count(&twice, key), 2 * count(&once, key), "{key}");
    }
    assert_eq!(count(&twice, "ports"), count(&once, "ports"), "at the same stations");
    let contracts = |name: &str| -> std::collections::BTreeSet<String> {
        let sessions = lines(&runs.out(name).join("sessions.jsonl"));
        sessions.iter().map(|s| s["contract"].as_str().unwrap().to_owned()).collect()
    };
    assert!(contracts("once").is_subset(&contracts("twice")));
    assert_eq!(contracts("twice").len(), 2 * contracts("once").len());
    let years = |name: &str| -> std::collections::BTreeSet<String> {
        let records = lines(&runs.out(name).join("cdrs.jsonl"));
        records.iter().map(|r| r["start_date_time"].as_str().unwrap()[..4].to_owned()).collect()
    };
    assert_eq!(years("once").len() + 1, years("twice").len());
}

#[test]
fn a_limit_takes_the_earliest_sessions() {
    let Some(runs) = Runs::new(100) else { return };
    let some = runs.run("some", &[]);
    assert_eq!(count(&some, "sessions_read"), 100);
    assert_eq!(count(&some, "sessions_charged"), 100);
    let starts = |path: &Path| -> Vec<String> {
        let mut starts: Vec<String> = lines(&path.join("cdrs.jsonl"))
            .iter()
            .map(|r| r["start_date_time"].as_str().unwrap().to_owned())
            .collect();
        starts.sort();
        starts
    };
    let more = Replay::new(&[&runs.input], &runs.out("more")).with("--limit", 400);
    more.done();
    assert_eq!(starts(&runs.out("some")), starts(&runs.out("more"))[..100]);
}

/// How often each driver charged at each operator, with the driver's home utility.
fn visits(out: &Path) -> BTreeMap<String, (String, BTreeMap<String, u32>)> {
    let mut visits: BTreeMap<String, (String, BTreeMap<String, u32>)> = BTreeMap::new();
    for session in lines(&out.join("sessions.jsonl")) {
        let text = |key: &str| session[key].as_str().unwrap().to_owned();
        let (_, operators) = visits.entry(text("contract")).or_insert((text("home"), BTreeMap::new()));
        *operators.entry(text("operator")).or_default() += 1;
    }
    visits
}

#[test]
fn with_a_roaming_share_of_0_everybody_is_at_home_where_they_mostly_charge() {
    let Some(runs) = Runs::new(700) else { return };
    let summary = runs.run("home", &[("--roaming-share", "0")]);
    assert_eq!(count(&summary, "sessions_charged"), 700);
    for (contract, (home, operators)) in visits(&runs.out("home")) {
        assert_eq!(operators.get(&home), operators.values().max(), "{contract} of {home}: {operators:?}");
    }
}

#[test]
fn with_a_roaming_share_of_1_nobody_is_at_home_where_they_mostly_charge() {
    let Some(runs) = Runs::new(700) else { return };
    let summary = runs.run("away", &[("--roaming-share", "1")]);
    assert_eq!(count(&summary, "sessions_charged"), 700);
    assert!(count(&summary, "sessions_roamed") >= 600, "{summary}");
    for (contract, (home, operators)) in visits(&runs.out("away")) {
        let most = *operators.values().max().unwrap();
        let alone = operators.values().filter(|n| **n == most).count() == 1;
        assert!(!alone || operators.get(&home) < Some(&most), "{contract} of {home}: {operators:?}");
    }
}

#[test]
fn drivers_who_never_leave_their_operator_make_bills_but_no_records() {
    let dir = tempdir();
    let mut csv = String::from("sessionId,kwhTotal,created,ended,userId,stationId\n");
    for n in 0..60 {
        let (station, day) = (n % 12, 1 + n / 12);
        csv.push_str(&format!(
            "{n},7.5,2022-03-{day:02} 08:00:00,2022-03-{day:02} 10:00:00,u{station},s{station}\n"
        ));
    }
    let input = file(dir.path(), "homebodies.csv", csv);
    let out = dir.path().join("out");
    let summary = Replay::new(&[&input], &out).with("--roaming-share", 0).done();
    assert_eq!(count(&summary, "sessions_charged"), 60);
    for key in ["sessions_roamed", "cdrs_recorded", "local_authorizations"] {
        assert_eq!(count(&summary, key), 0, "{key}");
    }
    assert_eq!(summary["net_positions"], serde_json::json!([]));
    assert_eq!(out.join("bills").read_dir().unwrap().count(), 2 * 12);
    assert_eq!(out.join("invoices").read_dir().unwrap().count(), 0);
}
