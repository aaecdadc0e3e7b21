//! Independent implementations in Python that our own is compared with.
//!
//! The interpreter is the one that `EROAM_PEERS_PYTHON` names, else `~/.cache/eroam/python/bin/python`. Where a package
//! is not installed its tests are left out and say so; in CI that is a failure, since nobody would read the message.

use serde_json::Value;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};

/// Whether the package of the first argument is there. It is not imported: one that is broken should fail its tests.
const IS_INSTALLED: &str =
    "import importlib.util, sys; sys.exit(importlib.util.find_spec(sys.argv[1]) is None)";

/// The interpreter that has `package`; `None` where it is not installed and that is no failure.
///
/// # Panics
/// In CI, when it is not installed.
#[must_use]
pub fn interpreter(package: &str) -> Option<PathBuf> {
    let named = std::env::var_os("EROAM_PEERS_PYTHON").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/eroam/python/bin/python"));
    let python = named.or_else(home);
    let has_package = |python: &PathBuf| {
        let mut command = Command::new(python);
        command.args(["-c", IS_INSTALLED, package]).stdin(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let found = python.filter(has_package);
    if found.is_none() {
        let missing = format!("the Python package {package} is not installed: see interop/acapy/README.md");
        assert!(std::env::var_os("CI").is_none(), "{missing}, and CI must compare with it");
        eprintln!("left out: {missing}");
    }
    found
}

/// A script that answers questions, each a JSON object on a line of its own: `{"op": .., ..}`, and back
/// `{"ok": ..}` or `{"error": ".."}`. It ends when this is dropped.
pub struct Peer {
    process: Child,
    /// Held from the question until its answer is read.
    lines: Mutex<(ChildStdin, BufReader<ChildStdout>)>,
}

impl Peer {
    /// Starts `script`; `None` where [`interpreter`] finds no `package` for it.
    ///
    /// # Panics
    /// In CI, when the package is not installed; when Python does not start.
    #[must_use]
    pub fn start(package: &str, script: &Path) -> Option<Self> {
        let mut command = Command::new(interpreter(package)?);
        command.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", script.display()));
        let pipes = process.stdin.take().zip(process.stdout.take());
        let (questions, answers) = pipes.unwrap_or_else(|| unreachable!("both were asked for"));
        Some(Self { process, lines: Mutex::new((questions, BufReader::new(answers))) })
    }

    /// Its answer to a question, or why it refuses. `question` is an object without `op`.
    ///
    /// # Errors
    /// What the script says under `error`.
    ///
    /// # Panics
    /// When the script has ended or does not answer as it should: then the comparison is worth nothing.
    pub fn ask(&self, op: &str, mut question: Value) -> Result<Value, String> {
        question["op"] = op.into();
        let mut line = String::new();
        {
            let (questions, answers) = &mut *self.lines.lock().unwrap_or_else(PoisonError::into_inner);
            let asked = writeln!(questions, "{question}").and_then(|()| questions.flush());
            let read = asked.and_then(|()| answers.read_line(&mut line));
            read.unwrap_or_else(|error| panic!("{op}: the peer has ended: {error}"));
        }
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        match (answer.get("ok"), answer.get("error")) {
            (Some(answer), None) => Ok(answer.clone()),
            (None, Some(Value::String(error))) => Err(error.clone()),
            _ => panic!("{op}: the peer answers {line:?}"),
        }
    }

    /// Its answer to a question that it must not refuse.
    ///
    /// # Panics
    /// When it does, and as [`Self::ask`].
    #[track_caller]
    #[must_use]
    pub fn told(&self, op: &str, question: Value) -> Value {
        self.ask(op, question).unwrap_or_else(|error| panic!("{op}: {error}"))
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
