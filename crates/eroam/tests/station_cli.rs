//! `eroam station calibrate` and `eroam station code`, as whoever sets up a station types them.

mod support;

use eroam::agent::Agent;
use eroam::charging::code::InvitationCode;
use eroam::clock::in_time;
use eroam_station::calibration::Calibration;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{Ended, eroam, tempdir};

/// A sensor that shows a tenth too little and 0.2 A too much, and drifts by 0.24 A in a day, each hour at another current.
fn a_day() -> String {
    let currents = [0.0, 6.0, 10.0, 16.0, 20.0, 25.0, 30.0];
    let mut text = "time,reference_a,reading_a\n".to_owned();
    for hour in 0..=24 {
        let reference = currents[hour % currents.len()];
        let reading = reference * 0.9 + 0.2 + 0.01 * hour as f64;
        text.push_str(&format!(
            "2026-11-{:02}T{:02}:00:00Z,{reference},{reading:.6}\n",
            21 + hour / 24,
            hour % 24
        ));
    }
    text
}

fn calibrate(args: &[&str]) -> Ended {
    eroam([&["station", "calibrate"], args].concat())
}

fn json(args: &[&str]) -> Value {
    calibrate(&[args, &["--json"]].concat()).expect(0).json()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn a_sensor_is_put_right_from_measurements_in_a_file() {
    let directory = tempdir();
    let (samples, out) = (directory.path().join("day.csv"), directory.path().join("correction.json"));
    fs::write(&samples, a_day()).unwrap();
    let report = json(&["--samples", text(&samples), "--out", text(&out)]);
    let number = |pointer: &str| report.pointer(pointer).and_then(Value::as_f64).unwrap();
    assert!((number("/calibration/gain") - 1.0 / 0.9).abs() < 0.02, "{report}");
    assert_eq!((number("/range_a/0"), number("/range_a/1")), (0.0, 30.0));
    assert_eq!(number("/corrected/pairs"), 25.0);
    assert!(number("/uncorrected/mean_error_a") > 1.0 && number("/corrected/mean_error_a") < 0.1, "{report}");
    let drift = number("/corrected/drift_a_per_day");
    assert!((drift - 0.24 / 0.9).abs() < 0.05, "{report}");
    assert_eq!(number("/corrected/duration"), 86_400_000.0);
    // What is written is what a station reads.
    let written = Calibration::from_json(&fs::read_to_string(&out).unwrap()).unwrap();
    let differs = |one: f64, other: f64| (one - other).abs() > 1e-9;
    assert!(!differs(written.gain, number("/calibration/gain")), "{written:?}");
    assert!(!differs(written.offset_a, number("/calibration/offset_a")), "{written:?}");
    let said = calibrate(&["--samples", text(&samples)]).expect(0).stdout;
    assert!(said.contains("from 25 measurements between 0 and 30 A") && said.contains("in 24 h"), "{said}");
}

#[test]
fn the_simulated_bench_is_measured_and_its_measurements_can_be_used_again() {
    let directory = tempdir();
    let (one, other) = (directory.path().join("one.csv"), directory.path().join("other.csv"));
    let first = json(&["--simulated", "--seed", "1", "--record", text(&one)]);
    json(&["--simulated", "--seed", "2", "--record", text(&other)]);
    assert_eq!(first["corrected"]["pairs"], 145);
    let again = json(&["--samples", text(&one)]);
    assert_eq!(again, first, "the same measurements");
    // Checked with another day: five per cent of noise stay.
    let checked = json(&["--samples", text(&one), "--check", text(&other)]);
    assert_eq!(checked["calibration"], first["calibration"]);
    let error = checked["corrected"]["mean_relative_error"].as_f64().unwrap();
    assert!((0.02..0.06).contains(&error), "{checked}");
}

#[test]
fn bad_measurements_are_refused_by_their_lines_and_nothing_is_written() {
    let directory = tempdir();
    let (file, out) = (directory.path().join("bad.csv"), directory.path().join("correction.json"));
    let line = "2026-11-22T08:00:00Z";
    let table = [
        (String::new(), "line 1: nothing is there"),
        ("time,amperes\n".to_owned(), "line 1: the first line must be time,reference_a,reading_a"),
        (
            format!("time,reference_a,reading_a\n{line},1,1\n{line},31,1\n\n{line},2\n"),
            "line 3: reference_a 31 is not",
        ),
        (
            format!("time,reference_a,reading_a\n{line},1,1\n{line},31,1\n\n{line},2\n"),
            "line 5: 2 values instead of three",
        ),
        (format!("time,reference_a,reading_a\n{line},1,1\n{line},2,1\n"), "too few"),
        (
            format!("time,reference_a,reading_a\n{line},1,5\n{line},5,1\n"),
            "the readings fall while the reference rises",
        ),
    ];
    for (content, expected) in table {
        fs::write(&file, &content).unwrap();
        let ended = calibrate(&["--samples", text(&file), "--out", text(&out)]).expect(1);
        assert!(ended.stderr.contains(expected) && ended.stdout.is_empty(), "{content}: {ended:?}");
    }
    fs::write(&file, b"time,reference_a,reading_a\n\xff").unwrap();
    let ended = calibrate(&["--samples", text(&file), "--out", text(&out)]).expect(1);
    assert!(ended.stderr.contains("cannot be read as text"), "{ended:?}");
    let nothing = calibrate(&["--samples", text(&directory.path().join("none.csv"))]).expect(1);
    assert!(nothing.stderr.contains("cannot be opened"), "{nothing:?}");
    assert!(!out.exists());
    calibrate(&[]).expect(2);
    calibrate(&["--simulated", "--samples", text(&file)]).expect(2);
}

#[test]
fn a_narrow_range_is_said_to_be_narrow() {
    let directory = tempdir();
    let file = directory.path().join("narrow.csv");
    fs::write(&file, "time,reference_a,reading_a\n2026-11-22T08:00:00Z,6,5\n2026-11-22T08:10:00Z,10,9\n")
        .unwrap();
    let ended = calibrate(&["--samples", text(&file), "--json"]).expect(0);
    assert!(ended.stderr.contains("only 6 to 10 A were measured"), "{ended:?}");
    assert_eq!(ended.json()["corrected"]["drift_a_per_day"], Value::Null, "ten minutes are no day");
}

#[test]
fn a_code_is_drawn_of_invitations_alone() {
    let directory = tempdir();
    let file = directory.path().join("code.svg");
    let code = |args: &[&str]| eroam([&["station", "code"], args].concat());
    let refused = code(&["https://example.org/", "--svg", text(&file)]).expect(1);
    assert!(refused.stderr.contains("no code of a charging station") && !file.exists(), "{refused:?}");

    let agent = Agent::start("station", ([127, 0, 0, 1], 0).into()).unwrap();
    let (invitation, _) = agent.invite(in_time(Duration::from_secs(60))).unwrap();
    let url = invitation.to_url(agent.endpoint());
    let expected = InvitationCode::new(&url).unwrap();
    let said = code(&[&url, "--svg", text(&file), "--json"]).expect(0).json();
    assert_eq!((&said["invitation"], &said["svg"]), (&url.clone().into(), &text(&file).into()));
    assert_eq!(fs::read_to_string(&file).unwrap(), expected.svg());
    assert_eq!(code(&[&url]).expect(0).stdout.trim_end_matches('\n'), expected.text().trim_end_matches('\n'));
}
