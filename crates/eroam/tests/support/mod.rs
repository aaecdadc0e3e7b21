//! The binary as a child process, the real data, and what a replay wrote.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by several test programs, none of which needs all of it"
)]

use serde_json::Value;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// A binary of this build, without what the caller's environment would change.
pub fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_eroam"));
    command.env_remove("EROAM_LOG").env("TMPDIR", scratch()).stdin(Stdio::null());
    command
}

/// Where tests keep files that need not survive the machine: in memory, where there is room, because a validator waits
/// for the disk some twenty times for each block.
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let room =
            Command::new("df").arg("-Pk").arg(memory).stderr(Stdio::null()).output().ok().and_then(|df| {
                let text = String::from_utf8(df.stdout).ok()?;
                text.lines().last()?.split_whitespace().nth(3)?.parse::<u64>().ok()
            });
        // Containers often have 64 MiB there.
        if room.is_some_and(|kib| kib > 2 << 20) { memory.to_owned() } else { std::env::temp_dir() }
    })
}

/// A new directory in [`scratch`].
pub fn tempdir() -> tempfile::TempDir {
    tempfile::tempdir_in(scratch()).unwrap()
}

/// How a run of the binary ended.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Ended {
    /// The one object that `--json` prints.
    pub fn json(&self) -> Value {
        assert_eq!(self.stdout.trim_end().lines().count(), 1, "{self:#?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }

    pub fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        assert!(!self.stderr.contains("panicked"), "{self:#?}");
        self
    }
}

/// Runs the binary to its end.
pub fn eroam(args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    let output = command().args(args).output().unwrap();
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).unwrap(),
        stderr: String::from_utf8(output.stderr).unwrap(),
    }
}

/// A real session file.
pub fn real(name: &str) -> Option<PathBuf> {
    eroam_testkit::data::at("sessions").map(|sessions| sessions.join(name))
}

pub const ACN: &str = "acn_site0002_2021_first70.json";
pub const BOULDER: &str = "ev_boulder_2018_2021.csv.gz";
pub const TRONDHEIM: &str = "trondheim_residential_first70.csv";
pub const WORKPLACE: &str = "workplace_dataverse_first70.csv";
pub const DAILY_TOTALS: &str = "sb_county_daily_2020_2024.csv";

/// Arguments of `eroam replay`.
#[derive(Clone, Debug)]
pub struct Replay {
    args: Vec<String>,
    pub out: PathBuf,
}

impl Replay {
    pub fn new(inputs: &[&Path], out: &Path) -> Self {
        let mut args = vec!["replay".to_owned(), "--json".to_owned(), "--input".to_owned()];
        args.extend(inputs.iter().map(|p| p.display().to_string()));
        args.extend(["--out".to_owned(), out.display().to_string()]);
        Self { args, out: out.to_owned() }
    }

    /// Another option.
    pub fn with(mut self, option: &str, value: impl ToString) -> Self {
        self.args.extend([option.to_owned(), value.to_string()]);
        self
    }

    pub fn flag(mut self, option: &str) -> Self {
        self.args.push(option.to_owned());
        self
    }

    pub fn args(&self) -> &[String] {
        &self.args
    }

    pub fn run(&self) -> Ended {
        eroam(&self.args)
    }

    /// Runs to a good end, about which there is nothing to say but how many rows were refused, and gives the summary.
    pub fn done(&self) -> Value {
        let ended = self.run();
        assert_eq!(ended.stderr, "");
        let summary = ended.json();
        ended.expect(if count(&summary, "rows_refused") == 0 { 0 } else { 3 });
        summary
    }
}

/// A number of the summary.
pub fn count(summary: &Value, key: &str) -> u64 {
    summary[key].as_u64().unwrap_or_else(|| panic!("{key} in {summary}"))
}

/// A summary without what depends on the machine, on how transactions were packed, or on how often the work was
/// interrupted.
pub fn lasting(summary: &Value) -> Value {
    let mut summary = summary.clone();
    for key in ["wall_s", "replay_s", "cdrs_per_s", "letters", "ledger_height"] {
        assert!(summary.as_object_mut().unwrap().remove(key).is_some(), "{key}");
    }
    summary
}

/// The lines of a file of JSON objects.
pub fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

pub fn json(path: &Path) -> Value {
    let text = std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Every file under a directory, by its path in it.
pub fn files(root: &Path) -> BTreeMap<String, Vec<u8>> {
    fn walk(root: &Path, folder: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(root, &path, found);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, std::fs::read(&path).unwrap());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(root, root, &mut found);
    found
}

/// Asserts that two outputs are the same in every byte, apart from the summaries, which hold times.
pub fn assert_same_output(one: &Path, other: &Path, why: &str) {
    assert_same_files(files(one), files(other), why);
}

/// The same for files that were read.
pub fn assert_same_files(
    mut one: BTreeMap<String, Vec<u8>>,
    mut other: BTreeMap<String, Vec<u8>>,
    why: &str,
) {
    one.remove("summary.json");
    other.remove("summary.json");
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&one), names(&other), "{why}");
    let differing: Vec<&String> =
        one.iter().filter(|(name, bytes)| *bytes != &other[*name]).map(|(n, _)| n).collect();
    // What is for machines says best what differs.
    let Some(name) = differing.iter().min_by_key(|name| (name.ends_with(".html"), *name)) else { return };
    let (one, other) = (String::from_utf8_lossy(&one[*name]), String::from_utf8_lossy(&other[*name]));
    let line = one.lines().zip(other.lines()).find(|(one, other)| one != other);
    let shown = format!("{line:?}").chars().take(4_000).collect::<String>();
    panic!(
        "{why}: {} files differ, among them {name} ({} and {} bytes): {shown}",
        differing.len(),
        one.len(),
        other.len()
    );
}

/// Generated sessions in the workplace format: `drivers` who each charge at all of a few stations.
pub fn workplace_csv(sessions: u32) -> String {
    let mut text = String::from("sessionId,kwhTotal,dollars,created,ended,userId,stationId,locationId\n");
    for n in 0..sessions {
        let (day, hour) = (1 + n / 6 % 28, 6 + n % 6 * 2);
        let (month, user, station) = (1 + n / 168, n % 11, n % 7);
        text.push_str(&format!(
            "{n},{}.{:02},0,2022-{month:02}-{day:02} {hour:02}:05:00,2022-{month:02}-{day:02} {:02}:35:10,u{user},s{station},l\n",
            3 + n % 17,
            n % 100,
            hour + 1
        ));
    }
    text
}

/// Writes a file and gives its path.
pub fn file(folder: &Path, name: &str, contents: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, contents).unwrap();
    path
}
