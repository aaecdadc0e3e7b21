//! Input that cannot be used, or only in part: what is said, what is processed all the same, how the program ends.

mod support;

use serde_json::Value;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use support::{DAILY_TOTALS, Ended, Replay, count, eroam, file, lines, real, tempdir, workplace_csv};

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempdir() }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    fn out(&self) -> PathBuf {
        self.path().join("out")
    }

    fn file(&self, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
        file(self.path(), name, contents)
    }

    fn replay(&self, inputs: &[&Path]) -> Ended {
        Replay::new(inputs, &self.out()).run()
    }

    fn rejected(&self) -> Vec<Value> {
        let rejected = lines(&self.out().join("rejected.jsonl"));
        for entry in &rejected {
            for key in ["file", "field", "reason", "remedy"] {
                assert!(entry[key].as_str().is_some_and(|text| !text.is_empty()), "{key} in {entry}");
            }
            assert!(entry["line"].is_u64(), "{entry}");
        }
        rejected
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Alone, such a file ends with 1, says why in words and in `rejected.jsonl`; beside a good one, the good one is
/// replayed and the end is 3.
fn unusable(make: impl Fn(&Place) -> PathBuf, says: &[&str]) {
    let alone = Place::new();
    let bad = make(&alone);
    let ended = alone.replay(&[&bad]).expect(1);
    assert_eq!(ended.stdout, "");
    let name = bad.file_name().unwrap().to_str().unwrap();
    let [entry] = &alone.rejected()[..] else { panic!("{:?}", alone.rejected()) };
    assert_eq!((&entry["file"], &entry["field"]), (&name.into(), &"file".into()));
    for text in says.iter().chain([&name]) {
        assert!(ended.stderr.contains(text), "`{text}` is not in: {}", ended.stderr);
        let told = format!("{} {}", entry["file"], entry["reason"]);
        assert!(told.contains(text), "`{text}` is not in: {told}");
    }
    assert!(ended.stderr.contains("rejected.jsonl"), "{}", ended.stderr);

    let both = Place::new();
    let (bad, good) = (make(&both), both.file("good.csv", workplace_csv(12)));
    let ended = both.replay(&[&bad, &good]).expect(3);
    let summary = ended.json();
    assert_eq!(count(&summary, "sessions_charged"), 12);
    assert_eq!(count(&summary, "sessions_read"), 12);
    assert_eq!(count(&summary, "sessions_rejected"), 0, "a file is no session");
    assert_eq!(both.rejected().len(), 1);
    assert!(ended.stderr.contains(name), "{}", ended.stderr);
}

#[test]
fn a_missing_file_is_named() {
    unusable(|place| place.path().join("nowhere.csv"), &["cannot be opened; check the path"]);
}

#[test]
fn a_directory_is_no_file() {
    unusable(
        |place| {
            let path = place.path().join("folder.csv");
            std::fs::create_dir(&path).unwrap();
            path
        },
        &["folder.csv"],
    );
}

#[test]
fn an_empty_file_is_named() {
    unusable(|place| place.file("empty.csv", ""), &["is empty", "give a file with"]);
}

#[test]
fn daily_totals_are_no_sessions() {
    let Some(totals) = real(DAILY_TOTALS) else { return };
    let totals = std::fs::read(totals).unwrap();
    unusable(
        |place| place.file("totals.csv", &totals),
        &["holds daily totals, one row per day, not sessions", "accepted are"],
    );
}

#[test]
fn a_file_of_another_kind_is_named_with_the_formats_that_are_accepted() {
    unusable(
        |place| place.file("poem.txt", "Roses are red\nViolets are blue\n"),
        &["no known format", "Roses", "Trondheim CSV"],
    );
}

#[test]
fn missing_columns_are_named() {
    let csv = workplace_csv(5).replacen("kwhTotal", "power", 1).replacen("ended", "finish", 1);
    unusable(
        |place| place.file("columns.csv", &csv),
        &["lacks the columns", "kwhTotal", "ended", "export it again"],
    );
}

#[test]
fn a_header_in_another_encoding_is_named() {
    unusable(
        |place| place.file("latin1.csv", b"Stra\xdfe;Geb\xfchr\n1;2\n"),
        &["not UTF-8", "line 1", "save it as UTF-8"],
    );
}

#[test]
fn something_that_is_not_gzip_inside_is_named() {
    unusable(
        |place| place.file("broken.csv.gz", b"\x1f\x8b\x08\x00garbage that is no stream"),
        &["gzip stream"],
    );
}

#[test]
fn rows_before_the_cut_of_a_truncated_gzip_are_replayed() {
    let place = Place::new();
    let whole = gzip(workplace_csv(600).as_bytes());
    let cut = place.file("cut.csv.gz", &whole[..whole.len() / 2]);
    let ended = place.replay(&[&cut]).expect(3);
    let summary = ended.json();
    let charged = count(&summary, "sessions_charged");
    assert!((20..600).contains(&charged), "{summary}");
    assert_eq!(count(&summary, "sessions_read"), charged + count(&summary, "sessions_rejected"));
    assert!(
        ended.stderr.contains("ends early") && ended.stderr.contains("download the file again"),
        "{ended:?}"
    );
    let last = &place.rejected()[0];
    assert!(last["reason"].as_str().unwrap().contains("cut off"), "{last}");
    assert!(last["line"].as_u64().unwrap() > charged, "{last}");
}

#[test]
fn items_before_the_cut_of_a_truncated_json_are_replayed() {
    let place = Place::new();
    let item = |n: u32| {
        format!(
            r#"{{"sessionID":"s{n}","userID":"u{}","stationID":"p{n}","timezone":"Europe/Lisbon","kWhDelivered":7.25,
               "connectionTime":"Sat, 01 May 2021 {:02}:00:00 GMT","disconnectTime":"Sat, 01 May 2021 {:02}:30:00 GMT",
               "doneChargingTime":null}}"#,
            n % 2,
            8 + n,
            9 + n
        )
    };
    let text = format!("[{},{},{}", item(0), item(1), &item(2)[..80]);
    let cut = place.file("cut.json", text);
    let ended = place.replay(&[&cut]).expect(3);
    assert_eq!(count(&ended.json(), "sessions_charged"), 2);
    assert!(ended.stderr.contains("has no end"), "{ended:?}");
}

/// A row, and what `rejected.jsonl` must say of it.
struct BadRow {
    row: &'static [u8],
    field: &'static str,
    reason: &'static str,
    remedy: &'static str,
}

const BAD_ROWS: [BadRow; 12] = [
    BadRow {
        row: b"900,5,0,tomorrow,2022-03-01 10:00:00,u,s,l",
        field: "created",
        reason: "`tomorrow` is not a date",
        remedy: "write it as yyyy-mm-dd",
    },
    BadRow {
        row: b"901,5,0,2022-02-30 09:00:00,2022-03-01 10:00:00,u,s,l",
        field: "created",
        reason: "2022-02-30",
        remedy: "yyyy-mm-dd",
    },
    BadRow {
        row: b"902,5,0,2022-03-01 09:00:00,,u,s,l",
        field: "ended",
        reason: "is missing or empty",
        remedy: "give a value",
    },
    BadRow {
        row: b"903,-5,0,2022-03-01 09:00:00,2022-03-01 10:00:00,u,s,l",
        field: "kwhTotal",
        reason: "-5 kWh is negative",
        remedy: "correct the energy",
    },
    BadRow {
        row: b"904,99999,0,2022-03-01 09:00:00,2022-03-01 10:00:00,u,s,l",
        field: "kwhTotal",
        reason: "more than 1000 kWh",
        remedy: "check the unit",
    },
    BadRow {
        row: b"905,lots,0,2022-03-01 09:00:00,2022-03-01 10:00:00,u,s,l",
        field: "kwhTotal",
        reason: "`lots` is not a decimal number",
        remedy: "write digits",
    },
    BadRow {
        row: b"906,5,0,2022-03-01 10:00:00,2022-03-01 09:00:00,u,s,l",
        field: "ended",
        reason: "before the start",
        remedy: "correct the start or the end",
    },
    BadRow {
        row: b"907,5,0,2022-03-01 09:00:00,2022-09-01 10:00:00,u,s,l",
        field: "ended",
        reason: "more than 60 days",
        remedy: "split the session",
    },
    BadRow {
        row: b"908,5,0,2022-03-01 09:00:00,2022-03-01 09:00:00,u,s,l",
        field: "kwhTotal",
        reason: "the same instant",
        remedy: "give the end",
    },
    BadRow {
        row: b"909,900,0,2022-03-01 09:00:00,2022-03-01 09:01:00,u,s,l",
        field: "kwhTotal",
        reason: "mean power",
        remedy: "correct the start",
    },
    BadRow {
        row: b"910,5,0,2022-03-01 09:00:00,2022-03-01 10:00:00,u,s\xe9,l",
        field: "row",
        reason: "not UTF-8",
        remedy: "save the file as UTF-8",
    },
    BadRow {
        row: b"911,5,0,2022-03-01 09:00:00,2022-03-01 10:00:00,u",
        field: "row",
        reason: "fields where the header has",
        remedy: "quote fields",
    },
];

#[test]
fn each_bad_row_is_listed_with_line_field_reason_and_remedy_and_good_rows_are_replayed() {
    let place = Place::new();
    let good = workplace_csv(12);
    let mut bytes = Vec::new();
    let mut bad = BAD_ROWS.iter();
    let mut expected = Vec::new();
    // A good row, a bad row, and so on; the header is line 1.
    for (number, line) in good.lines().enumerate() {
        bytes.extend_from_slice(line.as_bytes());
        bytes.push(b'\n');
        if number > 0 {
            let row = bad.next().unwrap();
            bytes.extend_from_slice(row.row);
            bytes.push(b'\n');
            expected.push((2 * number as u64 + 1, row));
        }
    }
    assert!(bad.next().is_none());
    let input = place.file("mixed.csv", bytes);
    let ended = place.replay(&[&input]).expect(3);
    let summary = ended.json();
    assert_eq!(count(&summary, "sessions_charged"), 12);
    assert_eq!(count(&summary, "sessions_rejected"), 12);
    assert_eq!(count(&summary, "sessions_read"), 24);
    let rejected = place.rejected();
    assert_eq!(rejected.len(), expected.len(), "{rejected:#?}");
    for (entry, (line, row)) in rejected.iter().zip(expected) {
        assert_eq!(entry["file"], "mixed.csv");
        assert_eq!(entry["line"], line, "{entry}");
        assert_eq!(entry["field"], row.field, "{entry}");
        assert!(entry["reason"].as_str().unwrap().contains(row.reason), "`{}`: {entry}", row.reason);
        assert!(entry["remedy"].as_str().unwrap().contains(row.remedy), "`{}`: {entry}", row.remedy);
    }
}

#[test]
fn a_file_of_bad_rows_alone_ends_with_1_and_still_lists_them() {
    let place = Place::new();
    let mut bytes = workplace_csv(0).into_bytes();
    for row in &BAD_ROWS {
        bytes.extend_from_slice(row.row);
        bytes.push(b'\n');
    }
    let input = place.file("bad.csv", bytes);
    let ended = place.replay(&[&input]).expect(1);
    assert!(ended.stderr.contains("rejected.jsonl"), "{}", ended.stderr);
    assert_eq!(place.rejected().len(), BAD_ROWS.len());
}

#[test]
fn bad_rows_count_once_for_each_repetition() {
    let place = Place::new();
    let mut bytes = workplace_csv(12).into_bytes();
    bytes.extend_from_slice(BAD_ROWS[3].row);
    let input = place.file("mixed.csv", bytes);
    let summary = Replay::new(&[&input], &place.out()).with("--repeat", 3).done();
    assert_eq!(count(&summary, "sessions_read"), 39);
    assert_eq!(count(&summary, "sessions_rejected"), 3);
    assert_eq!(count(&summary, "sessions_charged"), 36);
    assert_eq!(place.rejected().len(), 1);
}

#[test]
fn what_was_read_twice_is_charged_once() {
    let place = Place::new();
    let (small, large) = (workplace_csv(5), workplace_csv(12));
    let good = place.file("good.csv", &large);
    let [once, twice, overlapping] = ["once", "twice", "overlapping"].map(|name| place.path().join(name));
    let replay = |inputs: &[&Path], out: &Path, code| Replay::new(inputs, out).run().expect(code);
    let known = replay(&[&good], &once, 0).json();
    let copy = place.file("copy.csv.gz", gzip(large.as_bytes()));
    let ended = replay(&[&good, &copy], &twice, 3);
    assert!(ended.stderr.contains("copy.csv.gz: 12 of its sessions were read before"), "{}", ended.stderr);
    let part = place.file("part.csv", &small);
    let also = replay(&[&part, &good], &overlapping, 3);
    for (summary, out, refused, read) in [(ended.json(), &twice, 1, 24), (also.json(), &overlapping, 5, 17)] {
        for key in ["sessions_charged", "ports", "drivers", "energy_wh"] {
            assert_eq!(summary[key], known[key], "{key}");
        }
        assert_eq!(count(&summary, "sessions_read"), read);
        assert_eq!(count(&summary, "sessions_rejected"), read - 12);
        let list = lines(&out.join("rejected.jsonl"));
        assert_eq!(list.len(), refused, "{list:?}");
        assert!(list[0]["reason"].as_str().unwrap().contains("line 2 of"), "{}", list[0]);
    }
}

#[test]
fn an_end_of_charging_that_leaves_no_time_for_the_energy_is_not_believed() {
    let place = Place::new();
    let input = place.file(
        "done.json",
        r#"[{"sessionID":"s1","userID":"u1","stationID":"p1","timezone":"Europe/Lisbon","kWhDelivered":7.25,
            "connectionTime":"Sat, 01 May 2021 08:00:00 GMT","disconnectTime":"Sat, 01 May 2021 09:30:00 GMT",
            "doneChargingTime":"Sat, 01 May 2021 08:00:00 GMT"}]"#,
    );
    let summary = place.replay(&[&input]).expect(0).json();
    assert_eq!(count(&summary, "sessions_charged"), 1, "{summary}");
    assert_eq!(count(&summary, "sessions_pending"), 0);
    assert_eq!(count(&summary, "energy_wh"), 7_250);
}

#[test]
fn a_replay_that_cannot_begin_leaves_an_earlier_one_as_it_is() {
    let place = Place::new();
    let good = place.file("good.csv", workplace_csv(12));
    let at = place.path().join("kept");
    let replay = |seed: u32| {
        let data = at.display().to_string();
        Replay::new(&[&good], &place.out()).with("--data", data).with("--seed", seed).run()
    };
    replay(1).expect(0);
    let before = support::files(&place.out());
    assert!(before.len() > 8, "{:?}", before.keys());

    let empty = place.file("empty.csv", "");
    let ended = place.replay(&[&empty]).expect(1);
    let list = place.out().display().to_string() + "-rejected.jsonl";
    assert!(ended.stderr.contains(&list), "{}", ended.stderr);
    assert!(std::fs::read_to_string(&list).unwrap().contains("empty.csv"));
    replay(2).expect(1);
    assert!(support::files(&place.out()) == before, "the earlier output was changed");

    // What stands beside a new one is not of an earlier one, also when the new one is smaller.
    let small = place.file("small.csv", workplace_csv(1));
    place.replay(&[&small]).expect(0);
    let after = support::files(&place.out());
    assert!(after.len() < before.len(), "{:?}", after.keys());
}

#[test]
fn wrong_usage_ends_with_2_and_says_what_is_expected() {
    let place = Place::new();
    let input = place.file("good.csv", workplace_csv(3)).display().to_string();
    let out = place.out().display().to_string();
    let replay = ["replay", "--input", &input, "--out", &out];
    for (more, says) in [
        (&["--roaming-share", "2"][..], "a number from 0 to 1"),
        (&["--roaming-share", "half"], "a number from 0 to 1"),
        (&["--limit", "0"], "--limit"),
        (&["--limit=-3"], "--limit"),
        (&["--repeat", "0"], "--repeat"),
        (&["--repeat", "1001"], "1..=1000"),
        (&["--seed", "x"], "--seed"),
        (&["--validators", "0"], "1..=16"),
        (&["--validators", "17"], "1..=16"),
        (&["--block-items", "0"], "--block-items"),
        (&["--epoch-blocks", "3"], "4.."),
        (&["--ledger", "somewhere"], "--data"),
        (&["--data", "postgres://nobody@localhost/eroam"], "name a directory for it with --ledger"),
        (&["--data", "one.sqlite"], "name a directory for it with --ledger"),
        (&["--out-of-this-world"], "--out-of-this-world"),
    ] {
        let ended = eroam(replay.iter().chain(more)).expect(2);
        assert!(ended.stderr.contains(says), "`{says}` is not in: {}", ended.stderr);
        assert_eq!(ended.stdout, "");
    }
    for (rules, says) in [
        ("[anomalies]\ntime_tolerance_s = 9000\n", "time_tolerance_s = 9000 is not between 0 and 3600"),
        ("time_tolerance_s = 60\n", "does not say what [anomalies] are"),
        ("[anomalies]\ntimetolerance = 60\n", "unknown field `timetolerance`"),
    ] {
        let rules = place.file("rules.toml", rules).display().to_string();
        let ended = eroam(replay.iter().chain(&["--contest", "--contest-rules", &rules])).expect(1);
        assert!(ended.stderr.contains(says), "`{says}` is not in: {}", ended.stderr);
    }
    assert!(!place.out().exists(), "nothing was begun");
    for args in [&["replay", "--out", &out][..], &["replay", "--input", &input], &["repaly"], &[]] {
        eroam(args).expect(2);
    }
}

#[test]
fn the_exit_codes_are_documented() {
    let help = eroam(["--help"]).expect(0).stdout;
    for text in ["0 done", "1 failed", "2 wrong usage", "3 done, but an input file could not be used"] {
        assert!(help.contains(text), "`{text}` is not in: {help}");
    }
}
