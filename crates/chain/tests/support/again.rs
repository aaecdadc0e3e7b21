//! Runs a test of this binary a second time in a process of its own, which can be killed, or be given another disk.

use std::env;
use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout, Command, Stdio};

/// Tells the second process what to do; absent in the first.
const ROLE: &str = "EROAM_TEST_ROLE";
/// Begins the lines that the second process says on purpose, among those of the test harness.
const MARK: &str = "\u{1f}";

/// What this process is to do, if it is a second one.
pub(crate) fn role() -> Option<String> {
    env::var(ROLE).ok()
}

/// Says a line to the first process. Once this returns, not even a kill takes it back.
pub(crate) fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{MARK}{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// The program and its arguments that run `test` again in this `role`, below `wrapper` if there is any.
pub(crate) fn command(test: &str, role: &str, wrapper: &[&str]) -> Command {
    let binary = env::current_exe().unwrap();
    let mut command = match wrapper {
        [] => Command::new(binary),
        [program, arguments @ ..] => {
            let mut command = Command::new(program);
            command.args(arguments).arg(binary);
            command
        }
    };
    command
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(ROLE, role)
        .stdin(Stdio::null())
        .stdout(Stdio::piped());
    command
}

/// Runs `test` again in this `role`.
pub(crate) fn start(test: &str, role: &str) -> (Process, Lines) {
    let mut child = command(test, role, &[]).spawn().unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (Process(child), Lines(out))
}

/// What a second process says.
pub(crate) struct Lines(BufReader<ChildStdout>);

impl Lines {
    /// The next line that it said; `None` once it has ended. A line that was not finished is none.
    pub(crate) fn hear(&mut self) -> Option<String> {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            let line = line.strip_suffix('\n')?;
            // The harness may have begun a line of its own before.
            if let Some((_, said)) = line.split_once(MARK) {
                return Some(said.to_owned());
            }
        }
    }
}

/// A second process, killed at the latest when this value is dropped.
pub(crate) struct Process(Child);

impl Process {
    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        self.0.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}
