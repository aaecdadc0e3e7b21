//! A running program's door for its staff: a socket in a directory of its own, which nobody else may enter. Whoever may open
//! it may command, as with the files beside it.
//!
//! ```text
//! one line of JSON: the command  ──►  one line of JSON: {"ok": ..} or {"error": "a sentence"}
//! ```

use super::ProgramError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{DirBuilder, Permissions};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// The socket's directory, below the program's. It is private before there is a socket in it: a socket cannot be made with a
/// mode, and one that is narrowed afterwards was open to everybody for a moment.
const DIRECTORY: &str = "control";
/// The socket's name in it.
const SOCKET: &str = "socket";
/// The longest command, and the longest answer, in bytes.
const LINE_BYTES_MAX: u64 = 64 << 20;
/// So long a program may take to answer.
const ANSWERS_WITHIN: Duration = Duration::from_secs(120);

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Ok(Value),
    Error(String),
}

/// Why a program does not answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// It does not run.
    #[error("no program runs with the directory {}", .0.display())]
    NotRunning(PathBuf),
    /// The socket failed.
    #[error("the program with the directory {} does not answer", directory.display())]
    Io {
        /// Whose.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It answers something else.
    #[error("the program with the directory {} is of another version", .0.display())]
    Foreign(PathBuf),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

/// Asks the program that runs with a directory.
///
/// # Errors
/// [`ControlError`].
pub fn ask<T: DeserializeOwned>(directory: &Path, command: &impl Serialize) -> Result<T, ControlError> {
    let failed = |source| ControlError::Io { directory: directory.to_owned(), source };
    let foreign = || ControlError::Foreign(directory.to_owned());
    let mut stream = UnixStream::connect(place(directory)).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning(directory.to_owned())
        }
        _ => failed(error),
    })?;
    stream.set_read_timeout(Some(ANSWERS_WITHIN)).map_err(failed)?;
    let line = serde_json::to_string(command).map_err(|_| foreign())?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream).take(LINE_BYTES_MAX).read_line(&mut answer).map_err(failed)?;
    match serde_json::from_str(&answer).map_err(|_| foreign())? {
        Answer::Ok(value) => serde_json::from_value(value).map_err(|_| foreign()),
        Answer::Error(reason) => Err(ControlError::Refused(reason)),
    }
}

fn place(directory: &Path) -> PathBuf {
    directory.join(DIRECTORY).join(SOCKET)
}

/// A directory that this user alone can enter, also if it was there.
fn make_private(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            std::fs::set_permissions(directory, Permissions::from_mode(0o700))
        }
        made => made,
    }
}

/// The door, until it is dropped.
pub struct Control {
    path: PathBuf,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Control {
    /// Opens the door of a program. `handle` does what a command says.
    ///
    /// # Errors
    /// [`ProgramError::Io`].
    pub fn open<C: DeserializeOwned>(
        directory: &Path,
        handle: impl Fn(C) -> Result<Value, String> + Send + 'static,
    ) -> Result<Self, ProgramError> {
        let path = place(directory);
        let what = format!("the socket {} cannot be made", path.display());
        make_private(&directory.join(DIRECTORY)).map_err(ProgramError::io(&what))?;
        // The directory is locked by this program: what lies there is left over.
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).map_err(ProgramError::io(&what))?;
        let stopped = Arc::new(AtomicBool::new(false));
        let ends = Arc::clone(&stopped);
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            for stream in listener.incoming() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                let Ok(stream) = stream else { continue };
                if let Err(error) = answer(stream, &handle) {
                    tracing::debug!(%error, "control.answer");
                }
            }
        });
        let thread = thread.map_err(ProgramError::io(what))?;
        Ok(Self { path, stopped, thread: Some(thread) })
    }
}

fn answer<C: DeserializeOwned>(
    mut stream: UnixStream,
    handle: &impl Fn(C) -> Result<Value, String>,
) -> io::Result<()> {
    stream.set_read_timeout(Some(ANSWERS_WITHIN))?;
    let mut line = String::new();
    BufReader::new(&stream).take(LINE_BYTES_MAX).read_line(&mut line)?;
    let answer = match serde_json::from_str(&line) {
        Ok(command) => handle(command).map_or_else(Answer::Error, Answer::Ok),
        Err(error) => Answer::Error(format!("the command is none of this version: {error}")),
    };
    let text = serde_json::to_string(&answer)?;
    stream.write_all(format!("{text}\n").as_bytes())
}

impl Drop for Control {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        // Wakes the thread up.
        drop(UnixStream::connect(&self.path));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize, Deserialize)]
    enum Command {
        Double(u32),
    }

    fn double(Command::Double(number): Command) -> Result<Value, String> {
        number.checked_mul(2).map(Value::from).ok_or_else(|| "too much".to_owned())
    }

    #[test]
    fn a_command_is_answered_or_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let nobody = ask::<u32>(path, &Command::Double(1));
        assert!(matches!(nobody, Err(ControlError::NotRunning(_))));
        let door = Control::open(path, double).unwrap();
        assert_eq!(ask::<u32>(path, &Command::Double(21)).unwrap(), 42);
        assert_eq!(ask::<u32>(path, &Command::Double(u32::MAX)).unwrap_err().to_string(), "too much");
        let other = ask::<u32>(path, &"open").unwrap_err().to_string();
        assert!(other.contains("none of this version"), "{other}");
        drop(door);
        assert!(matches!(ask::<u32>(path, &Command::Double(1)), Err(ControlError::NotRunning(_))));
    }

    #[test]
    fn a_socket_that_a_killed_program_left_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        make_private(&directory.path().join(DIRECTORY)).unwrap();
        drop(UnixListener::bind(place(directory.path())).unwrap());
        let left = ask::<u32>(directory.path(), &Command::Double(1));
        assert!(matches!(left, Err(ControlError::NotRunning(_))));
        let _door = Control::open(directory.path(), double).unwrap();
        assert_eq!(ask::<u32>(directory.path(), &Command::Double(2)).unwrap(), 4);
    }

    #[test]
    fn nobody_else_may_come_to_the_socket() {
        let directory = tempfile::tempdir().unwrap();
        let own = directory.path().join(DIRECTORY);
        let mode = || std::fs::metadata(&own).unwrap().permissions().mode() & 0o777;
        drop(Control::open(directory.path(), double).unwrap());
        assert_eq!(mode(), 0o700);
        std::fs::set_permissions(&own, Permissions::from_mode(0o755)).unwrap();
        let _door = Control::open(directory.path(), double).unwrap();
        assert_eq!(mode(), 0o700, "one that was open to others is closed again");
    }
}
