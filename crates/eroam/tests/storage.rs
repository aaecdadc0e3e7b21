//! Where a replay keeps its records and where it writes: PostgreSQL, and places that it must leave alone.

mod support;

#[path = "../../store/tests/support/postgres.rs"]
mod postgres;

use eroam::consortium::{Consortium, Seed};
use eroam_store::StoreUrl;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::{ACN, Ended, Replay, assert_same_output, count, file, files, lasting, real, workplace_csv};
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
    let run = |name: &str, data: &str| Replay::new(&[&input], &out(name)).with("--data", data).done();
    let sqlite = run("sqlite", &dir.path().join("data").display().to_string());
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
    let held = Consortium::open(Seed(1), Some(&url.parse::<StoreUrl>().unwrap())).unwrap();
    let second = Replay::new(&[&place.input], &place.out()).with("--data", &url).run();
    refused(second, &["in use by another process", "stop that one first, or choose another place"]);
    drop(held);
    Replay::new(&[&place.input], &place.out()).with("--data", &url).done();
}

#[test]
fn a_second_process_on_a_directory_is_refused_until_the_first_has_ended() {
    let place = Place::new();
    let held = Consortium::open(Seed(1), Some(&StoreUrl::directory(&place.data()))).unwrap();
    refused(
        place.replay().run(),
        &["in use by another process", "stop that one first, or choose another place", ".sqlite"],
    );
    drop(held);
    place.replay().done();
}

#[test]
fn a_directory_of_another_network_is_refused_and_left_alone() {
    let place = Place::new();
    let first = place.replay().done();
    let before = databases(&place.data());
    refused(place.replay().with("--seed", 2).run(), &["belongs to network", "choose another place", "data"]);
    assert_eq!(databases(&place.data()), before);
    assert_eq!(lasting(&place.replay().done()), lasting(&first));
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
    for store in ["ledger.sqlite", "no-fjl.sqlite"] {
        let place = Place::new();
        place.replay().done();
        set_format(&place.data().join(store), "4711");
        refused(place.replay().run(), &["format 4711", "newer version", store]);
    }
}

#[test]
fn a_database_of_something_else_is_refused_and_left_alone() {
    let place = Place::new();
    std::fs::create_dir(place.data()).unwrap();
    let notes = file(&place.data(), "ledger.sqlite", "these are my notes, not a database\n".repeat(40));
    let before = std::fs::read(&notes).unwrap();
    refused(place.replay().run(), &["no SQLite database", "choose another place"]);
    assert_eq!(std::fs::read(&notes).unwrap(), before);
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
    std::fs::create_dir(place.out()).unwrap();
    std::fs::create_dir(place.out().join("bills")).unwrap();
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
