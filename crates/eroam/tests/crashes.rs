//! A replay that is killed at random points ends as if it had not been: more than fifty histories, each from a seed.
//!
//! A history begins in an empty directory and is killed (`SIGKILL`, the whole process) once or three times, each time
//! when it has logged some random number of lines: the engine, the gateways and the ledger log every step, so that the
//! points are spread over the work and not over the time, which depends on the machine. Then it runs to its end.
//!
//! To run one seed again, or others: `EROAM_KILL_SEEDS=17`, `EROAM_KILL_SEEDS=1000..1100`.

mod support;

use eroam::ledger::reader::{Reader, ReaderError};
use eroam::ledger::recheck;
use eroam_domain::cdr::CdrId;
use eroam_domain::ids::PartyId;
use eroam_gateway::sessions::Phase;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::query;
use eroam_ledger::tx::Tx;
use eroam_store::{OrgStore, StoreUrl};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::ops::Range;
use std::os::unix::process::ExitStatusExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicU64, Ordering};
use support::{
    ACN, Replay, assert_same_files, assert_same_output, command, count, file, files, lasting, real, tempdir,
    workplace_csv,
};
use tempfile::TempDir;

/// Histories at the same time: a validator that starts after a crash mostly waits.
const AT_ONCE: usize = 2;
/// A history of so many is kept on the disk, the others in memory: its steps take other times there.
const ON_DISK: u64 = 5;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// What the histories of a test have in common.
struct Case {
    input: PathBuf,
    options: &'static [(&'static str, &'static str)],
    /// What an undisturbed run wrote.
    undisturbed: TempDir,
    summary: Value,
    /// How many lines it logged.
    lines: u64,
}

impl Case {
    fn new(input: &Path, options: &'static [(&'static str, &'static str)]) -> Self {
        let undisturbed = tempdir();
        let mut case = Self { input: input.to_owned(), options, undisturbed, summary: Value::Null, lines: 0 };
        let lines = case.replay(case.undisturbed.path(), "logged").killed_after(u64::MAX).unwrap_err();
        case.lines = lines;
        let replay = Replay::new(&[input], &case.undisturbed.path().join("out"));
        let replay = options.iter().fold(replay, |replay, (option, value)| replay.with(option, value));
        case.summary = replay.done();
        assert!(count(&case.summary, "cdrs_recorded") > 0);
        case
    }

    /// A replay that keeps its records in `folder`.
    fn replay(&self, folder: &Path, out: &str) -> Replay {
        let replay =
            Replay::new(&[&self.input], &folder.join(out)).with("--data", folder.join("data").display());
        self.options.iter().fold(replay, |replay, (option, value)| replay.with(option, value))
    }

    /// Kills, finishes and compares.
    fn history(&self, seed: u64) {
        let mut random = Random(seed);
        let folder = if seed.is_multiple_of(ON_DISK) { tempfile::tempdir().unwrap() } else { tempdir() };
        let replay = self.replay(folder.path(), "out");
        let kills = if random.below(4) == 0 { 3 } else { 1 };
        for _ in 0..kills {
            let mut after = random.below(self.lines);
            // What was done makes the rest shorter.
            while let Err(lines) = replay.killed_after(after) {
                after = random.below(lines.max(1));
            }
            if random.below(2) == 0 {
                assert_acknowledged_records_are_there(&folder.path().join("data"));
            }
        }
        let finished = replay.done();
        assert_eq!(finished["state_digest"], self.summary["state_digest"], "the ledger");
        assert_eq!(but_for_caches(&finished), but_for_caches(&self.summary));
        let written = |folder: &Path| without_authorizers(files(&folder.join("out")));
        assert_same_files(written(self.undisturbed.path()), written(folder.path()), "killed");
        if random.below(4) == 0 {
            assert_each_record_is_there_once(&folder.path().join("data"), count(&finished, "cdrs_recorded"));
        }
        if random.below(4) == 0 {
            let again = self.replay(folder.path(), "again").done();
            assert_eq!(lasting(&again), lasting(&finished), "one more start changes nothing");
            assert_eq!(again["letters"], serde_json::json!({}), "there is nothing left to say");
            assert_same_output(&folder.path().join("out"), &folder.path().join("again"), "started once more");
        }
    }
}

/// The number of the signal that nothing can catch. Source: POSIX.
const SIGKILL: i32 = 9;

/// A line of the log is neither the program's last word nor a panic, be it of a thread that nobody waits for.
fn assert_no_failure(line: &[u8]) {
    let line = String::from_utf8_lossy(line);
    assert!(!line.starts_with("error: ") && !line.contains("panicked"), "{line}");
}

trait Killed {
    /// Starts it and kills it when it has logged so many lines. If it ends before that, the lines that it logged.
    fn killed_after(&self, lines: u64) -> Result<(), u64>;
}

impl Killed for Replay {
    fn killed_after(&self, lines: u64) -> Result<(), u64> {
        let mut child = command()
            .args(self.args())
            .env("EROAM_LOG", "debug")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut seen, mut line) = (0, Vec::new());
        while seen < lines && log.read_until(b'\n', &mut line).unwrap() > 0 {
            assert_no_failure(&line);
            line.clear();
            seen += 1;
        }
        // SIGKILL: nothing can be tidied up. It may have ended on its own.
        let _ = child.kill();
        // What it wrote before it died.
        while log.read_until(b'\n', &mut line).unwrap() > 0 {
            assert_no_failure(&line);
            line.clear();
        }
        // Any other end is a fault of the program, which must not pass for a kill.
        let status = child.wait().unwrap();
        match (status.signal(), status.code()) {
            (Some(SIGKILL), None) => Ok(()),
            (None, Some(0)) => Err(seen),
            _ => panic!("it ended with {status} and was not killed"),
        }
    }
}

/// A kill between the commits of two organisations may lose the recall of a visitor's profile, or the profile itself.
/// Then the home utility is asked once more or once less, with the same answer: who authorized a session is all that
/// may differ.
fn without_authorizers(mut files: BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Vec<u8>> {
    for (name, key) in [("cdrs.jsonl", "auth_method"), ("sessions.jsonl", "authorized_by")] {
        let text = String::from_utf8(files.remove(name).unwrap()).unwrap();
        let mut kept = String::new();
        for line in text.lines() {
            let mut value: Value = serde_json::from_str(line).unwrap();
            assert!(value.as_object_mut().unwrap().remove(key).is_some());
            kept.push_str(&format!("{value}\n"));
        }
        files.insert(name.to_owned(), kept.into_bytes());
    }
    files
}

fn but_for_caches(summary: &Value) -> Value {
    let mut summary = lasting(summary);
    assert!(summary.as_object_mut().unwrap().remove("local_authorizations").is_some());
    summary
}

/// Right after a kill: whatever an operator was told is on the ledger is there.
fn assert_acknowledged_records_are_there(data: &Path) {
    let reader = match Reader::open(data, None) {
        Ok(reader) => reader,
        // It was killed before there was any.
        Err(ReaderError::NoLedger(_) | ReaderError::NotBegun(_)) => return,
        Err(error) => panic!("{}", eroam::causes::chain(&error)),
    };
    let ledger = reader.client();
    for member in &ledger.genesis().members {
        let mut store = OrgStore::open(&StoreUrl::directory(data), member.party, &ledger.network()).unwrap();
        let mut recorded = Vec::new();
        store
            .each_session(&mut |session| {
                if let Phase::Recorded { cdr, .. } = session.phase {
                    recorded.push(cdr.id);
                }
                Ok(())
            })
            .unwrap();
        for id in recorded {
            assert!(query::cdr(ledger, member.party, &id).unwrap().is_some(), "{id} of {}", member.party);
        }
    }
}

/// Every block is what the validators agreed on, and all of them together took each record once.
fn assert_each_record_is_there_once(data: &Path, records: u64) {
    let reader = Reader::open(data, None).unwrap();
    recheck::directory(&reader, None, &mut |_, _| {})
        .unwrap_or_else(|error| panic!("{}", eroam::causes::chain(&error)));
    let mut taken: BTreeMap<(PartyId, CdrId), u32> = BTreeMap::new();
    for height in 1..=reader.client().latest().height {
        let block = reader.client().block(height).unwrap().unwrap_or_else(|| panic!("block {height}"));
        let contents = block.contents().unwrap();
        for (signed, items) in contents.envelopes.iter().zip(&contents.items) {
            let envelope = signed.envelope();
            let Tx::Cdr(CdrTx::RecordCdrs(cdrs)) = &envelope.tx else { continue };
            for (cdr, item) in cdrs.iter().zip(items) {
                if item.outcome.rejection().is_none() {
                    *taken.entry((envelope.member, cdr.id.clone())).or_default() += 1;
                }
            }
        }
    }
    assert!(taken.values().all(|times| *times == 1), "{taken:?}");
    assert_eq!(taken.len() as u64, records);
}

/// Runs the histories of all seeds, or of those that the environment names.
fn survives(input: &Path, options: &'static [(&'static str, &'static str)], seeds: Range<u64>) {
    let case = Case::new(input, options);
    let number =
        |text: &str| text.parse::<u64>().expect("EROAM_KILL_SEEDS is a number or two with .. between them");
    let seeds = match std::env::var("EROAM_KILL_SEEDS") {
        Ok(given) => match given.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => number(&given)..number(&given) + 1,
        },
        Err(_) => seeds,
    };
    let next = AtomicU64::new(seeds.start);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::SeqCst);
            if seed >= seeds.end {
                return;
            }
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| case.history(seed))) {
                eprintln!("to run this history again: EROAM_KILL_SEEDS={seed}");
                next.store(seeds.end, Ordering::SeqCst);
                resume_unwind(panic);
            }
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            worker.join().unwrap_or_else(|panic| resume_unwind(panic));
        }
    });
}

#[test]
fn a_replay_killed_at_random_points_ends_as_if_undisturbed() {
    let Some(input) = real(ACN) else { return };
    survives(&input, &[("--limit", "60"), ("--tick-events", "16")], 0..18);
}

/// The usual ticks hold many sessions: more is lost by each kill.
#[test]
fn a_replay_with_large_ticks_killed_at_random_points_ends_as_if_undisturbed() {
    let dir = tempdir();
    let input = file(dir.path(), "sessions.csv", workplace_csv(100));
    survives(&input, &[("--roaming-share", "1")], 100..116);
}

/// Every few blocks another engine takes over.
#[test]
fn a_replay_with_short_epochs_killed_at_random_points_ends_as_if_undisturbed() {
    let dir = tempdir();
    let input = file(dir.path(), "sessions.csv", workplace_csv(60));
    let options = &[("--epoch-blocks", "4"), ("--block-items", "7"), ("--tick-events", "40")];
    survives(&input, options, 200..214);
}

#[test]
fn a_replay_with_four_validators_killed_at_random_points_ends_as_if_undisturbed() {
    let dir = tempdir();
    let input = file(dir.path(), "sessions.csv", workplace_csv(60));
    let options = &[("--validators", "4"), ("--epoch-blocks", "8"), ("--block-items", "7")];
    survives(&input, options, 300..304);
}
