//! Whether a command may write to a directory: a new one, an empty one, or one that the same command wrote before.
//!
//! Why: a mistyped `--out` must not mix a study's files into somebody's work, or replace a file there that happens to have
//! the same name. It is asked before the work begins, so that the answer does not come after an hour.

use std::io;
use std::path::{Path, PathBuf};

/// Why nothing is written to a directory.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum OutputDirectoryError {
    #[error("{} holds something else than the output of `{command}`: name a new or an empty directory", .directory.display())]
    Foreign { directory: PathBuf, command: &'static str },
    #[error("{} cannot be read as a directory: name a new or an empty one", .directory.display())]
    Unreadable {
        directory: PathBuf,
        #[source]
        source: io::Error,
    },
}

/// Looks whether `command` may write to a directory, which need not be there. `marker` is a file that the command writes
/// before all others: it says that what is there is an earlier output.
///
/// # Errors
/// [`OutputDirectoryError`].
pub fn check(directory: &Path, marker: &str, command: &'static str) -> Result<(), OutputDirectoryError> {
    let directory = directory.to_owned();
    let mut entries = match std::fs::read_dir(&directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(OutputDirectoryError::Unreadable { directory, source }),
    };
    if entries.next().is_none() || directory.join(marker).is_file() {
        return Ok(());
    }
    Err(OutputDirectoryError::Foreign { directory, command })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_empty_and_earlier_output_are_written_to_and_nothing_else() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        let asked = |name: &str| check(&at(name), "study.html", "eroam study").map_err(|e| e.to_string());
        for directory in ["empty", "earlier", "work"] {
            std::fs::create_dir(at(directory)).unwrap();
        }
        std::fs::write(at("earlier/study.html"), "").unwrap();
        std::fs::write(at("earlier/notes.txt"), "").unwrap();
        std::fs::write(at("work/study.json"), "").unwrap();
        for fine in ["new", "new/below", "empty", "earlier"] {
            assert_eq!(asked(fine), Ok(()), "{fine}");
        }
        let refused = asked("work").unwrap_err();
        assert!(refused.contains("work holds something else than the output of `eroam study`"), "{refused}");
        let file = asked("work/study.json").unwrap_err();
        assert!(file.contains("cannot be read as a directory"), "{file}");
    }
}
