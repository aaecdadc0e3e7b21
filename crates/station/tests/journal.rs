//! The journal on disk does what the one in memory does, and keeps what it has answered when its process is killed.
#![cfg(feature = "sqlite")]

use eroam_domain::time::UnixMillis;
use eroam_station::journal::sqlite::SqliteJournal;
use eroam_station::journal::{Entry, Journal, JournalError, MemoryJournal};
use eroam_station::process::Event;
use proptest::prelude::*;

fn tick(ms: i64) -> Entry {
    Entry::Event { at: UnixMillis::new(ms).unwrap(), event: Event::Tick }
}

fn signed(page: u64) -> Entry {
    Entry::Signed { page, line: format!("OCMF|{page}") }
}

/// Something done to a journal.
#[derive(Clone, Debug)]
enum Step {
    Append(Entry),
    Finish(bool, bool),
    /// The oldest, or the one before or after it.
    Acknowledge(i64),
    Reopen,
}

fn arb_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0i64..1_000).prop_map(|ms| Step::Append(tick(ms))),
        2 => (1u64..1_000).prop_map(|page| Step::Append(signed(page))),
        2 => any::<(bool, bool)>().prop_map(|(message, next)| Step::Finish(message, next)),
        3 => (-2i64..3).prop_map(Step::Acknowledge),
        1 => Just(Step::Reopen),
    ]
}

/// Takes a step in a journal, and gives what can be seen of it.
fn step(journal: &mut dyn Journal, step: &Step) -> String {
    match step {
        Step::Append(entry) => format!("{:?}", journal.append(entry).is_ok()),
        Step::Finish(message, next) => {
            let next = if *next { vec![tick(7)] } else { vec![] };
            format!("{:?}", journal.finish(message.then_some("message"), &next).unwrap())
        }
        Step::Acknowledge(offset) => {
            let oldest = journal.waiting(1).unwrap().first().map_or(0, |q| q.number);
            let number = u64::try_from(oldest as i64 + offset).unwrap_or(0);
            format!("{:?}", journal.acknowledge(number).map_err(|e| e.to_string()))
        }
        Step::Reopen => String::new(),
    }
}

fn seen(journal: &mut dyn Journal) -> String {
    let (entries, waiting) = (journal.entries().unwrap(), journal.waiting(1_000).unwrap());
    format!("{entries:?} {waiting:?} {}", journal.last_page().unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn the_journal_on_disk_does_what_the_one_in_memory_does(steps in prop::collection::vec(arb_step(), 1..40)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        let mut memory = MemoryJournal::default();
        let mut disk = Some(SqliteJournal::open(&path).unwrap());
        for one in &steps {
            if matches!(one, Step::Reopen) {
                drop(disk.take());
                disk = Some(SqliteJournal::open(&path).unwrap());
            }
            let disk = disk.as_mut().unwrap();
            prop_assert_eq!(step(&mut memory, one), step(disk, one));
            prop_assert_eq!(seen(&mut memory), seen(disk));
        }
    }
}

#[test]
fn a_journal_belongs_to_one_process_and_is_not_written_into_by_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let journal = SqliteJournal::open(&path).unwrap();
    assert!(matches!(SqliteJournal::open(&path), Err(JournalError::InUse { .. })));
    drop(journal);
    assert!(SqliteJournal::open(&path).is_ok());

    let text = folder.path().join("notes.txt");
    std::fs::write(
        &text,
        "these are the notes of somebody, and longer than the header of a database file is. ".repeat(9),
    )
    .unwrap();
    assert!(matches!(SqliteJournal::open(&text), Err(JournalError::Foreign { .. })));
    assert!(matches!(SqliteJournal::open(folder.path()), Err(JournalError::Storage { .. })));
}

#[cfg(unix)]
#[test]
fn a_journal_is_for_its_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("journal.sqlite");
    let mut journal = SqliteJournal::open(&path).unwrap();
    journal.append(&tick(1)).unwrap();
    for file in std::fs::read_dir(folder.path()).unwrap() {
        let mode = file.unwrap().metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{mode:o}");
    }
}

/// Names the file to the process that is going to be killed.
const VICTIM: &str = "EROAM_TEST_JOURNAL";

/// Run by the next test in a process of its own: writes and says so, until it is killed.
#[test]
fn victim() {
    use std::io::Write as _;
    let Some(path) = std::env::var_os(VICTIM) else { return };
    let mut journal = SqliteJournal::open(path.as_ref()).unwrap();
    let mut out = std::io::stdout();
    for number in 0.. {
        if number % 10 == 9 {
            journal.finish(Some(&format!("message {number}")), &[]).unwrap();
        } else {
            journal.append(&signed(number)).unwrap();
        }
        writeln!(out, "written {number}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_answered_survives_a_kill() {
    use std::io::{BufRead as _, BufReader};
    for lines in [1, 9, 10, 11, 25, 50] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.sqlite");
        let mut child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "victim", "--nocapture"])
            .env(VICTIM, &path)
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let written = said.filter_map(|line| line.rsplit_once("written ")?.1.parse::<u64>().ok());
        let last = written.take(lines).last().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();

        // What was said is there; one more may be, since it is written before it is said, and a few while we killed.
        let mut journal = SqliteJournal::open(&path).unwrap();
        let messages = journal.waiting(10_000).unwrap();
        let numbers: Vec<String> = messages.iter().map(|q| q.message.clone()).collect();
        let wanted: Vec<String> = (0..messages.len()).map(|i| format!("message {}", i * 10 + 9)).collect();
        assert_eq!(numbers, wanted);
        let begun = messages.len() as u64 * 10;
        let entries = journal.entries().unwrap();
        let end = begun + entries.len() as u64;
        assert!(end > last, "{last} was said, {end} are there");
        assert_eq!(entries, (begun..end).map(signed).collect::<Vec<_>>());
        let highest = (0..end).filter(|n| n % 10 != 9).max().unwrap();
        assert_eq!(journal.last_page().unwrap(), highest);
    }
}
