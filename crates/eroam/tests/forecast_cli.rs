//! `eroam forecast` and `eroam study` as somebody types them: real files, files with faults, no files.

use serde_json::Value;
use std::fmt::Write as _;
use std::process::{Command, Output};

fn eroam(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_eroam")).args(args).output().unwrap()
}

fn json(output: &Output) -> Value {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// A file of the development data, as an argument.
fn data(name: &str) -> Option<String> {
    eroam_testkit::data::at(name).map(|path| path.display().to_string())
}

/// Ten weeks of a load with a day and a week in it.
fn made_up() -> String {
    let mut text = "time,load_mw\n".to_owned();
    for hour in 0..(70 * 24) {
        let (day, hour_of_day) = (hour / 24, hour % 24);
        let load = 1_000 + 20 * (12 - (hour_of_day - 14_i32).abs()) - if day % 7 > 4 { 90 } else { 0 };
        // 2024-01-01 and the days after it.
        let date = jiff::civil::date(2024, 1, 1).saturating_add(jiff::Span::new().days(day));
        writeln!(text, "{date}T{hour_of_day:02}:00:00Z,{load}").unwrap();
    }
    text
}

#[test]
fn a_file_is_learned_and_what_comes_is_said_the_same_twice() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("load.csv");
    std::fs::write(&file, made_up()).unwrap();
    let file = file.display().to_string();
    let predict = || json(&eroam(&["forecast", "predict", "--input", &file, "--json"]));
    let (once, again) = (predict(), predict());
    assert_eq!(once, again);
    let hours = once["hours"].as_array().unwrap();
    assert_eq!(hours.len(), 24);
    // The file repeats itself every week: the first hour after it is a Monday's midnight.
    let first = hours[0]["load_kw"].as_i64().unwrap();
    assert!((first - 960_000).abs() < 15_000, "{first}");
    let fit = json(&eroam(&["forecast", "fit", "--input", &file, "--json"]));
    assert_eq!(fit["hours_read"], 1_680);
}

#[test]
fn faults_of_a_file_are_listed_and_the_rest_is_learned() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("load.csv");
    let text = made_up().replace(",1180\n", ",n/a\n").replacen(",n/a\n", ",1180\n", 60);
    assert!(text.contains("n/a"), "the test makes a fault");
    std::fs::write(&file, text).unwrap();
    let output = eroam(&["forecast", "fit", "--input", &file.display().to_string(), "--json"]);
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let fit: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(!fit["findings"].as_array().unwrap().is_empty());
    assert!(fit["hours_read"].as_u64().unwrap() > 1_600, "{fit}");
}

#[test]
fn what_cannot_be_read_is_an_error_with_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let nothing = directory.path().join("nothing.csv");
    let missing = eroam(&["forecast", "fit", "--input", &nothing.display().to_string()]);
    let words = String::from_utf8_lossy(&missing.stderr).into_owned();
    assert!(missing.status.code() == Some(1) && words.contains("nothing.csv"), "{words}");
    std::fs::write(&nothing, "time,load_mw\n2024-01-01T00:00:00Z,5\n").unwrap();
    let short = eroam(&["forecast", "backtest", "--input", &nothing.display().to_string()]);
    let words = String::from_utf8_lossy(&short.stderr).into_owned();
    assert!(short.status.code() == Some(1) && words.contains("has no load in 2024"), "{words}");
    assert_eq!(eroam(&["forecast", "fit", "--input", "x", "--clock", "Mars"]).status.code(), Some(2));
}

#[test]
fn figure_five_is_written_in_four_forms() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let study = json(&eroam(&["study", "revenue", "--json", "--out", &out.display().to_string()]));
    assert!(study.is_object());
    let mut endings: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|file| file.unwrap().path().extension().unwrap().to_string_lossy().into_owned())
        .collect();
    endings.sort();
    endings.dedup();
    assert_eq!(endings, ["csv", "html", "json", "svg"]);
}

#[test]
fn a_study_does_not_write_into_somebody_elses_directory() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("out");
    let study = || eroam(&["study", "revenue", "--out", &out.display().to_string()]);
    std::fs::create_dir(&out).unwrap();
    std::fs::write(out.join("revenue.json"), "mine").unwrap();
    let refused = study();
    let says = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(refused.status.code() == Some(1) && says.contains("holds something else"), "{says}");
    assert_eq!(std::fs::read_to_string(out.join("revenue.json")).unwrap(), "mine");
    std::fs::remove_file(out.join("revenue.json")).unwrap();
    assert!(study().status.success(), "empty");
    assert!(study().status.success(), "its own");
    // Before anything is read or computed.
    let other = eroam(&["study", "backtest", "--load", "none.csv", "--out", &out.display().to_string()]);
    let says = String::from_utf8_lossy(&other.stderr).into_owned();
    assert!(other.status.code() == Some(1) && says.contains("holds something else"), "{says}");
}

#[test]
fn a_short_history_is_said_and_how_much_would_be_enough() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("load.csv");
    let predict = |hours: usize, more: &[&str]| {
        let text: Vec<String> = made_up().lines().take(hours + 1).map(str::to_owned).collect();
        std::fs::write(&file, text.join("\n") + "\n").unwrap();
        eroam(&[&["forecast", "predict", "--input", &file.display().to_string()][..], more].concat())
    };
    let too_short = predict(10, &[]);
    let says = String::from_utf8_lossy(&too_short.stderr).into_owned();
    assert_eq!(too_short.status.code(), Some(1));
    assert!(says.contains("10 hours of loads are known; 240 in a row are enough"), "{says}");
    let seasonal = predict(100, &["--json"]);
    let hours = json(&seasonal)["hours"].as_array().unwrap().clone();
    for hour in &hours {
        let why = &hour["degraded"];
        assert_eq!((&why["known_hours"], &why["needed_hours"]), (&100.into(), &240.into()), "{hour}");
    }
    let text = String::from_utf8_lossy(&predict(100, &[]).stdout).into_owned();
    assert_eq!(text.matches("not by the model: 100 hours of loads are known").count(), 24, "{text}");
    let enough = predict(240, &["--json"]);
    assert!(json(&enough)["hours"].as_array().unwrap().iter().all(|hour| hour["degraded"].is_null()));
}

#[test]
fn decisions_by_forecast_are_better_than_by_rule_on_a_real_load() {
    let (Some(load), Some(sessions)) =
        (data("load/pjm_DUQ_2013_2016.csv.gz"), data("sessions/acn_site0002_2021_first70.json"))
    else {
        return;
    };
    let args = [
        "study",
        "decision-efficiency",
        "--load",
        &load,
        "--sessions",
        &sessions,
        "--horizon",
        "1h",
        "--json",
    ];
    let study = json(&eroam(&args));
    let percent = |key: &str| study[key].as_f64().unwrap_or_else(|| panic!("{key}"));
    assert!(percent("efficiency_percent") >= 98.75, "{}", percent("efficiency_percent"));
    assert!(percent("efficiency_percent") > percent("persistence_percent"));
    assert!(percent("persistence_percent") > percent("static_percent"));
    assert!((88.0..=92.0).contains(&percent("coverage_percent")));
    let ci: Vec<f64> = study["ci95"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(ci[0] < percent("efficiency_percent") && percent("efficiency_percent") < ci[1]);
    assert!(study["epochs"].as_array().unwrap().len() > 100);
}

#[test]
fn the_demand_of_real_stations_is_forecast_better_than_by_the_mean_and_by_last_week() {
    let Some(sessions) = data("sessions/ev_boulder_2018_2021.csv.gz") else { return };
    let args = ["forecast", "demand", "--clock", "America/Denver", "--json", "--sessions", &sessions];
    let output = eroam(&args);
    // One row of the file ends in 1970.
    assert_eq!(output.status.code(), Some(3), "{}", String::from_utf8_lossy(&output.stderr));
    let demand: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(demand["stations"].as_array().unwrap().len(), 27);
    let score = |name: &str| demand["score"][name].as_f64().unwrap();
    assert!(score("model_rmse") < 0.98 * score("mean_rmse"), "{}", demand["score"]);
    assert!(score("model_rmse") < 0.75 * score("last_week_rmse"), "{}", demand["score"]);
    assert!(score("model_mae") < score("mean_mae") && score("model_mae") < score("last_week_mae"));
    assert!((85.0..=95.0).contains(&score("coverage_percent")));
    let busiest = "BOULDER / N BOULDER REC 1";
    let one: Value =
        serde_json::from_slice(&eroam(&[&args[..], &["--station", busiest]].concat()).stdout).unwrap();
    let hours = one["hours"].as_array().unwrap();
    assert_eq!((hours.len(), one["stations"].as_array().unwrap().len()), (168, 1));
    let sum: f64 = hours.iter().map(|hour| hour["mean"].as_f64().unwrap()).sum();
    assert!((sum - one["stations"][0]["coming_week"].as_f64().unwrap()).abs() < 1e-6);
    let nowhere = eroam(&[&args[..], &["--station", "nowhere"]].concat());
    let says = String::from_utf8_lossy(&nowhere.stderr).into_owned();
    assert!(
        !nowhere.status.success() && says.contains("`nowhere`") && says.contains("BOULDER / AIRPORT ST1"),
        "{says}"
    );
}

/// How the interpreter is found, and what happens without it: `testkit::python`.
#[test]
fn our_errors_stand_beside_those_of_lightgbm_on_the_same_hours() {
    let (Some(load), Some(python)) =
        (data("load/pjm_AEP_2013_2016.csv.gz"), eroam_testkit::python::interpreter("lightgbm"))
    else {
        return;
    };
    let python = python.display().to_string();
    let tests = json_of(&eroam(&[
        "study",
        "backtest",
        "--json",
        "--load",
        &load,
        "--clock",
        "America/New_York",
        "--horizon",
        "1h",
        "--lightgbm",
        &python,
    ]));
    let (ours, theirs) = (&tests[0]["scores"], &tests[0]["lightgbm"]);
    assert_eq!(theirs.as_array().unwrap().len(), 5);
    for (ours, theirs) in ours.as_array().unwrap().iter().zip(theirs.as_array().unwrap()) {
        assert_eq!((&ours["fold"], &ours["hours"]), (&theirs["fold"], &theirs["hours"]), "the same hours");
        let [ours, theirs] = [ours, theirs].map(|score| score["mape_percent"].as_f64().unwrap());
        // A yardstick that is far off would measure nothing.
        assert!((0.5..1.2).contains(&theirs), "LightGBM: {theirs}");
        assert!(ours < theirs, "{ours} against {theirs}");
    }
}

#[test]
fn an_interpreter_that_is_none_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("load.csv");
    std::fs::write(&file, made_up()).unwrap();
    let output =
        eroam(&["study", "backtest", "--load", &file.display().to_string(), "--lightgbm", "no-such-python"]);
    let says = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && says.contains("no-such-python cannot be started"), "{says}");
}

/// The output's JSON, also where the file had findings.
fn json_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)))
}

/// The rule of the studies, as an agreement has it.
fn studied_rule(knots: &str, floor: i64) -> String {
    format!(
        r#"{{"fallback": 10000, "base_micros_per_kwh": 120000, "time_of_use": [], "capacity_kw": 23000000, "knots": [{knots}],
        "floor_micros": {floor}, "cap_micros": 400000, "band_bps": 500, "vat": null, "zone": "AEP",
        "forecasters": {{"parties": ["DE-RHN", "ES-SLV", "NO-FJL"], "quorum": 3}},
        "actuals": {{"independent": {{"attester": "NO-FJL"}}}}, "true_up_cap_bps": 1000, "renewable": []}}"#
    )
}

#[test]
fn the_largest_gain_of_a_liar_is_said_before_anybody_agrees() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("rule.json");
    let run = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        eroam(&[&["study", "gain", "--rule", file.to_str().unwrap()], more].concat())
    };
    let knots = r#"{"utilisation_bps": 4500, "surcharge_bps": -2000}, {"utilisation_bps": 10000, "surcharge_bps": 15000}"#;
    let report = json(&run(&studied_rule(knots, 60_000), &["--json"]));
    assert_eq!((&report["band_bps"], &report["quorum"]), (&500.into(), &3.into()));
    // 0.12 * 17,000 / 5,500 is 37.09 millionths for a basis point of utilisation. At the top of the curve a forecast of 10,000
    // is 500 above the least load in its band, and one of 9,524 is 476 below the greatest; of one per cent 100 and 99.
    for (of, side, least, most) in [
        ("alone", "creditor", 18_545, 18_600),
        ("alone", "debtor", 17_660, 17_740),
        ("on_panel", "creditor", 3_709, 3_750),
        ("on_panel", "debtor", 3_670, 3_750),
    ] {
        let micros = report[of][side]["micros_per_kwh"].as_i64().unwrap();
        assert!((least..=most).contains(&micros), "{of} {side}: {report}");
    }
    let words = String::from_utf8(run(&studied_rule(knots, 60_000), &[]).stdout).unwrap();
    assert!(words.contains("band of 5.00 %") && words.contains("who pays saves at most"), "{words}");
    // Two of three decide the median: the others do not matter.
    let two = json(&run(&studied_rule(knots, 60_000), &["--liars", "2", "--json"]));
    assert_eq!(two["on_panel"], report["alone"]);

    let falling =
        r#"{"utilisation_bps": 4500, "surcharge_bps": 0}, {"utilisation_bps": 4500, "surcharge_bps": 1}"#;
    let again = knots.replace("-2000", "-10001");
    for (text, says) in [
        (studied_rule("", 60_000), "1 to 32 knots"),
        (studied_rule(falling, 60_000), "must be above that of the knot before it"),
        (studied_rule(&again, 60_000), "cannot fall below zero"),
        (studied_rule(knots, 400_001), "the floor is above the cap"),
        (studied_rule(knots, 60_000).replace("23000000", "0"), "a capacity of zero"),
        (studied_rule(knots, 60_000).replace("band_bps", "band"), "is no dynamic price rule"),
    ] {
        let refused = run(&text, &[]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert!(refused.status.code() == Some(1) && said.contains(says), "{says}: {said}");
    }
}
