//! Where a replay keeps its records and its ledger and where it writes: PostgreSQL, and places that it must leave alone.

mod support;

#[path = "../../store/tests/support/postgres.rs"]
mod postgres;

use eroam::consortium::{Consortium, Seed, Setup};
use eroam::ledger::LedgerSetup;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use support::{
    ACN, Ended, Replay, assert_same_files, assert_same_output, command, count, file, files, lasting, real,
    tempdir, workplace_csv,
};
use tempfile::TempDir;

/// A few generated sessions and a place for their records.
struct Place {
    dir: TempDir,
    input: PathBuf,
}

impl Place {
    fn new() -> Self {
        let dir = tempdir();
        let input = file(dir.path(), "sessions.csv", workplace_csv(60));
        Self { dir, input }
    }

    fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn out(&self) -> PathBuf {
        self.dir.path().join("out")
    }

    fn replay(&self) -> Replay {
        Replay::new(&[&self.input], &self.out()).with("--data", self.data().display())
    }

    /// The files of its first validator.
    fn validator(&self) -> PathBuf {
        self.data().join("ledger").join("validator-0")
    }
}

/// A ledger in this directory.
fn ledger_in(directory: &Path) -> LedgerSetup {
    LedgerSetup { directory: Some(directory.to_owned()), ..LedgerSetup::default() }
}

/// The run must end with 1 and a single line that says all of this.
fn refused(ended: Ended, says: &[&str]) {
    let ended = ended.expect(1);
    assert_eq!(ended.stdout, "");
    let errors: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors[..] else { panic!("{ended:#?}") };
    for text in says {
        assert!(error.contains(text), "`{text}` is not in: {error}");
    }
}

/// The data files, without SQLite's log of what is not in the main file yet.
fn databases(data: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = files(data);
    files.retain(|name, _| name.ends_with(".sqlite"));
    files
}

#[test]
fn postgresql_gives_the_same_state_and_files_as_sqlite() {
    let Some(input) = real(ACN) else { return };
    let Some(url) = postgres::new_database() else { return };
    let dir = tempdir();
    let out = |name: &str| dir.path().join(name);
    let sqlite = Replay::new(&[&input], &out("sqlite")).with("--data", out("data").display()).done();
    let run = |name: &str, url: &str| {
        let replay = Replay::new(&[&input], &out(name)).with("--data", url);
        replay.with("--ledger", out("ledger").display()).done()
    };
    let postgres = run("postgres", &url);
    assert_eq!(lasting(&postgres), lasting(&sqlite));
    assert_same_output(&out("sqlite"), &out("postgres"), "PostgreSQL");
    let again = run("again", &url);
    assert_eq!(lasting(&again), lasting(&sqlite), "one more start changes nothing");
    assert_same_output(&out("sqlite"), &out("again"), "PostgreSQL, started once more");
}

#[test]
fn a_second_process_on_a_postgresql_database_is_refused() {
    let Some(url) = postgres::new_database() else { return };
    let place = Place::new();
    let ledger = |name: &str| place.dir.path().join(name);
    let setup =
        Setup { stores: Some(url.parse().unwrap()), ledger: ledger_in(&ledger("held")), anomalies: None };
    let held = Consortium::open(Seed(1), &setup).unwrap();
    let replay = Replay::new(&[&place.input], &place.out()).with("--data", &url);
    refused(
        replay.clone().with("--ledger", ledger("other").display()).run(),
        &["in use by another process", "stop that one first, or choose another place"],
    );
    assert!(!ledger("other").exists(), "no ledger is begun beside records of somebody else");
    drop(held);
    replay.with("--ledger", ledger("held").display()).done();
}

#[test]
fn a_second_process_on_a_directory_is_refused_until_the_first_has_ended() {
    let place = Place::new();
    let held = Consortium::open(Seed(1), &Setup::at(&place.data())).unwrap();
    refused(
        place.replay().run(),
        &["in use by another process", "stop that one first, or choose another place", ".sqlite"],
    );
    drop(held);
    place.replay().done();
}

#[test]
fn a_second_process_on_a_ledger_is_refused_until_the_first_has_ended() {
    let place = Place::new();
    let ledger = place.dir.path().join("ledger");
    let held =
        Consortium::open(Seed(1), &Setup { stores: None, ledger: ledger_in(&ledger), anomalies: None })
            .unwrap();
    let replay = place.replay().with("--ledger", ledger.display());
    refused(replay.run(), &["the ledger cannot be opened", "in use by another process", "validator-0"]);
    drop(held);
    replay.done();
}

/// The validators and the length of epochs are a network's own, as its members' keys are.
#[test]
fn a_directory_of_another_network_is_refused_and_left_alone() {
    let place = Place::new();
    let first = place.replay().done();
    let before = databases(&place.data());
    for (option, value) in [("--seed", 2), ("--validators", 4), ("--epoch-blocks", 500)] {
        refused(
            place.replay().with(option, value).run(),
            &["belongs to network", "with the same seed and validators", "choose another place", "data"],
        );
    }
    assert_eq!(databases(&place.data()), before);
    assert_eq!(lasting(&place.replay().done()), lasting(&first));
}

#[test]
fn a_ledger_of_another_network_is_refused_and_left_alone() {
    let place = Place::new();
    place.replay().with("--seed", 2).with("--validators", 1).done();
    let before = files(&place.validator());
    let elsewhere = place.dir.path().join("elsewhere").display().to_string();
    for more in [&[("--seed", "1")][..], &[("--seed", "2"), ("--epoch-blocks", "500")]] {
        let replay = Replay::new(&[&place.input], &place.out()).with("--data", &elsewhere);
        let replay = replay.with("--ledger", place.data().join("ledger").display());
        let replay = more.iter().fold(replay, |replay, (option, value)| replay.with(option, value));
        refused(replay.run(), &["the ledger cannot be opened", "belongs to network", "validator-0"]);
        // The stores there were begun, and are empty.
        fs::remove_dir_all(&elsewhere).unwrap();
    }
    assert_eq!(files(&place.validator()), before);
}

/// What is recorded in a store was taken by a ledger: with an empty one, the money would be gone.
#[test]
fn records_of_another_ledger_are_refused() {
    let place = Place::new();
    let first = place.replay().done();
    let other = place.dir.path().join("other");
    refused(
        place.replay().with("--ledger", other.display()).run(),
        &["the ledger is a new one", "name the ledger that goes with these records"],
    );
    assert_eq!(lasting(&place.replay().done()), lasting(&first));
}

/// Stores that are lost are filled again from the input; what the ledger has taken is not taken twice.
#[test]
fn a_ledger_whose_organisations_have_lost_their_records_books_nothing_twice() {
    let place = Place::new();
    place.replay().done();
    let before = files(&place.out());
    for left in fs::read_dir(place.data()).unwrap() {
        let path = left.unwrap().path();
        if path.is_file() {
            fs::remove_file(path).unwrap();
        }
    }
    place.replay().done();
    assert_same_files(before, files(&place.out()), "without the organisations' records");
}

/// Writes a format number into a store, as a later version would.
fn set_format(path: &Path, format: &str) {
    use sqlx::Connection as _;
    sqlx::any::install_default_drivers();
    let url = format!("sqlite://{}", path.display());
    let sql = format!("UPDATE meta SET value = '{format}' WHERE key = 'format'");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
        let changed = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
        assert_eq!(changed.rows_affected(), 1);
        connection.close().await.unwrap();
    });
}

#[test]
fn a_directory_of_a_newer_version_is_refused() {
    for store in ["es-slv.sqlite", "no-fjl.sqlite"] {
        let place = Place::new();
        place.replay().done();
        set_format(&place.data().join(store), "4711");
        refused(place.replay().run(), &["format 4711", "newer version", store]);
    }
    let place = Place::new();
    place.replay().done();
    fs::write(place.validator().join("format"), "eroam-chain 4711\n").unwrap();
    refused(place.replay().run(), &["eroam-chain 4711", "use the program that wrote it", "validator-0"]);
}

#[test]
fn a_database_of_something_else_is_refused_and_left_alone() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let notes = file(&place.data(), "no-fjl.sqlite", "these are my notes, not a database\n".repeat(40));
    let before = fs::read(&notes).unwrap();
    refused(place.replay().run(), &["no SQLite database", "choose another place"]);
    assert_eq!(fs::read(&notes).unwrap(), before);
    assert!(!place.data().join("ledger").exists(), "no ledger was begun");
}

#[test]
fn something_in_the_place_of_the_ledger_is_refused_and_left_alone() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    let notes = file(&place.data(), "ledger", "these are my notes, not a ledger");
    refused(place.replay().run(), &["the ledger cannot be opened", "cannot create the directory", "ledger"]);
    assert_eq!(fs::read(&notes).unwrap(), b"these are my notes, not a ledger");

    let place = Place::new();
    fs::create_dir_all(place.validator()).unwrap();
    let notes = file(&place.validator(), "notes.txt", "mine");
    refused(place.replay().run(), &["is not empty and holds no ledger", "name an empty directory"]);
    assert_eq!(fs::read(&notes).unwrap(), b"mine");
}

#[test]
fn a_data_directory_that_cannot_be_made_is_refused() {
    let place = Place::new();
    let blocked = file(place.dir.path(), "file", "not a directory");
    let replay = Replay::new(&[&place.input], &place.out()).with("--data", blocked.join("data").display());
    refused(replay.run(), &["cannot be written", "choose another place"]);
}

#[test]
fn an_output_directory_with_other_files_is_refused_and_left_alone() {
    let place = Place::new();
    fs::create_dir(place.out()).unwrap();
    fs::create_dir(place.out().join("bills")).unwrap();
    file(&place.out().join("bills"), "my-own.html", "keep me");
    refused(place.replay().run(), &["is not empty", "name an empty or a new directory"]);
    assert_eq!(files(&place.out()).into_keys().collect::<Vec<_>>(), ["bills/my-own.html"]);
    assert!(!place.data().exists(), "nothing was begun");
}

#[test]
fn an_output_that_is_a_file_is_refused() {
    let place = Place::new();
    file(place.dir.path(), "out", "a file");
    refused(place.replay().run(), &["out", "cannot be written"]);
}

#[test]
fn an_unknown_kind_of_store_is_wrong_usage() {
    let place = Place::new();
    let replay = Replay::new(&[&place.input], &place.out()).with("--data", "mysql://root@db/eroam");
    let ended = replay.run().expect(2);
    assert!(ended.stderr.contains("postgres://user@host/database"), "{}", ended.stderr);
}

/// Later input in the same directory goes on where the earlier input ended.
#[test]
fn a_longer_input_goes_on_in_the_same_directory() {
    let place = Place::new();
    let whole: Value = Replay::new(&[&place.input], &place.dir.path().join("whole")).done();
    place.replay().with("--limit", 40).done();
    let more = place.replay().done();
    for key in ["sessions_charged", "sessions_rejected", "energy_wh"] {
        assert_eq!(count(&more, key), count(&whole, key), "{key}");
    }
    assert_eq!(more["ledger_balance_micros"], whole["ledger_balance_micros"]);
}

/// What is in a directory for temporary files, the environment's place for them.
fn left_in(temporary: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(temporary)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_temporary_ledger_is_removed_at_the_end() {
    let (place, temporary) = (Place::new(), tempdir());
    let out = place.out().display().to_string();
    let input = place.input.display().to_string();
    for args in [&["demo", "--once"][..], &["replay", "--input", &input, "--out", &out, "--validators", "4"]]
    {
        let status =
            command().args(args).env("TMPDIR", temporary.path()).stdout(Stdio::null()).status().unwrap();
        assert!(status.success());
        assert_eq!(left_in(temporary.path()), [""; 0], "{args:?}");
    }
}

#[test]
fn a_temporary_ledger_that_a_killed_process_left_is_removed_by_the_next() {
    let temporary = tempdir();
    let demo = || {
        let mut demo = command();
        demo.args(["demo", "--once"]).env("TMPDIR", temporary.path()).stdout(Stdio::null());
        demo
    };
    let mut killed = demo().env("EROAM_LOG", "info").stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(killed.stderr.take().unwrap());
    assert!(log.lines().any(|line| line.unwrap().contains("chain.open")));
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(left_in(temporary.path()).len(), 1, "nobody could tidy up");

    // Another one is in use, and a third one has just been made.
    for name in ["eroam-ledger-used", "eroam-ledger-new"] {
        fs::create_dir(temporary.path().join(name)).unwrap();
    }
    let lock = fs::File::create(temporary.path().join("eroam-ledger-used").join("lock")).unwrap();
    lock.lock().unwrap();
    file(temporary.path(), "eroam-ledger-of-mine.txt", "not a directory");
    assert!(demo().status().unwrap().success());
    assert_eq!(
        left_in(temporary.path()),
        ["eroam-ledger-new", "eroam-ledger-of-mine.txt", "eroam-ledger-used"]
    );
}
