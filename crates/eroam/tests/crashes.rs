//! A replay that is killed again and again, and one that is started once more after it is done.

mod support;

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use support::{
    ACN, Replay, assert_same_files, assert_same_output, command, file, files, lasting, real, workplace_csv,
};

/// SplitMix64.
struct Random(u64);

impl Random {
    /// The seed of `EROAM_KILL_SEED`, or another one every time.
    fn new() -> (Self, u64) {
        let given = std::env::var("EROAM_KILL_SEED").ok().and_then(|seed| seed.parse().ok());
        let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let seed = given.unwrap_or(u64::try_from(clock.as_nanos() % 1_000_000_007).unwrap());
        (Self(seed), seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }
}

/// Starts the replay and kills it after a while; whether it was still running then.
fn killed(replay: &Replay, after: Duration) -> bool {
    let mut child =
        command().args(replay.args()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let started = Instant::now();
    while started.elapsed() < after {
        if child.try_wait().unwrap().is_some() {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    // SIGKILL: nothing can be tidied up.
    child.kill().unwrap();
    !child.wait().unwrap().success()
}

/// Kills the replay at least `kills` times at random moments of all its length, then lets it finish.
fn interrupted(replay: &Replay, kills: u32, whole: Duration) -> Value {
    let (mut random, seed) = Random::new();
    println!("EROAM_KILL_SEED={seed}");
    let whole_ms = u64::try_from(whole.as_millis()).unwrap().clamp(40, 2_000);
    let mut done = 0;
    let mut attempts = 0;
    while done < kills {
        attempts += 1;
        assert!(attempts < 10 * kills, "it finishes before it can be killed");
        // Work that was done makes the rest shorter: short delays hit the beginning, long ones the end.
        let after = Duration::from_millis(10 + random.below(whole_ms));
        done += u32::from(killed(replay, after));
    }
    replay.done()
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

/// Compares an interrupted run with an undisturbed one, and with one more start after the end.
fn survives_kills(input: &Path, options: &[(&str, &str)], kills: u32) {
    let dir = tempdir();
    let replay = |out: &str, data: Option<&str>| {
        let mut replay = Replay::new(&[input], &dir.path().join(out));
        for (option, value) in options {
            replay = replay.with(option, value);
        }
        match data {
            Some(data) => replay.with("--data", dir.path().join(data).display()),
            None => replay,
        }
    };
    let started = Instant::now();
    let undisturbed = replay("undisturbed", Some("data-undisturbed")).done();
    let whole = started.elapsed();
    let in_memory = replay("in-memory", None).done();
    assert_eq!(lasting(&undisturbed), lasting(&in_memory));
    assert_same_output(&dir.path().join("undisturbed"), &dir.path().join("in-memory"), "kept in memory");

    let interrupted = interrupted(&replay("killed", Some("data")), kills, whole);
    assert_eq!(interrupted["state_digest"], undisturbed["state_digest"], "the ledger");
    assert_eq!(but_for_caches(&interrupted), but_for_caches(&undisturbed));
    let written = |out: &str| without_authorizers(files(&dir.path().join(out)));
    assert_same_files(written("undisturbed"), written("killed"), "killed");

    let again = replay("again", Some("data")).done();
    assert_eq!(lasting(&again), lasting(&interrupted), "one more start changes nothing");
    assert_eq!(again["letters"], serde_json::json!({}), "there is nothing left to say");
    assert_same_output(&dir.path().join("killed"), &dir.path().join("again"), "started once more");
}

#[test]
fn a_replay_killed_at_random_moments_ends_as_if_undisturbed() {
    let Some(input) = real(ACN) else { return };
    survives_kills(&input, &[("--limit", "200"), ("--tick-events", "16")], 12);
}

/// The usual ticks hold many sessions: more is lost by each kill.
#[test]
fn a_replay_with_large_ticks_killed_at_random_moments_ends_as_if_undisturbed() {
    let dir = tempdir();
    let input = file(dir.path(), "sessions.csv", workplace_csv(300));
    survives_kills(&input, &[("--roaming-share", "1")], 10);
}
