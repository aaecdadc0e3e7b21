//! One file, replaced whole, by one process.
//!
//! ```text
//! wallet          the vault: mode 0600, or it is not read
//! wallet.lock     locked by who has it open; stays there, empty
//! .wallet.new     the next vault while it is written; left over by a crash, removed by the next save
//! ```
//! A save writes and syncs `.wallet.new`, renames it over `wallet` and syncs the directory: after a crash or a power
//! cut the old vault or the new one is there, whole.

use super::vault::VAULT_BYTES_MAX;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

/// Why a vault's file is not read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The path has no file name.
    #[error("{path}: not the name of a file")]
    Path {
        /// Which.
        path: PathBuf,
    },
    /// Another process, or another part of this one, has it open.
    #[error("{path}: open elsewhere")]
    Locked {
        /// Which.
        path: PathBuf,
    },
    /// A directory, a device or a pipe.
    #[error("{path}: not a file")]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// Others on this machine can read or write it, and try passphrases on it.
    #[error("{path}: mode {mode:03o}, open to others; make it 600 (and the passphrase a new one)")]
    Exposed {
        /// Which.
        path: PathBuf,
        /// Its permissions.
        mode: u32,
    },
    /// More bytes than a vault has.
    #[error("{path}: more than {VAULT_BYTES_MAX} bytes")]
    TooLarge {
        /// Which.
        path: PathBuf,
    },
    /// The system refused.
    #[error("{path}: cannot {doing}")]
    Io {
        /// Which.
        path: PathBuf,
        /// What was tried.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// A vault's file that nobody else has open.
#[derive(Debug)]
pub struct VaultFile {
    path: PathBuf,
    directory: PathBuf,
    next: PathBuf,
    /// Locked until it is dropped, and by the system when the process ends.
    _lock: File,
}

impl VaultFile {
    /// Claims the file, which need not be there yet; its directory must.
    ///
    /// # Errors
    /// [`FileError::Locked`] when somebody else has it, [`FileError::Path`], [`FileError::Io`].
    pub fn lock(path: impl Into<PathBuf>) -> Result<Self, FileError> {
        let path = path.into();
        let Some(name) = path.file_name() else { return Err(FileError::Path { path }) };
        let named = |before: &str, after: &str| {
            let parts = [OsStr::new(before), name, OsStr::new(after)];
            path.with_file_name(parts.into_iter().collect::<OsString>())
        };
        let (lock_path, next) = (named("", ".lock"), named(".", ".new"));
        let directory = match path.parent() {
            Some(parent) if parent != Path::new("") => parent.to_path_buf(),
            _ => PathBuf::from("."),
        };
        let mut options = OpenOptions::new();
        let lock = private(options.write(true).create(true).truncate(false)).open(&lock_path);
        let lock = lock.map_err(failed(&lock_path, "open the lock"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, directory, next, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(FileError::Locked { path }),
            Err(TryLockError::Error(source)) => Err(FileError::Io { path: lock_path, doing: "lock", source }),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The sealed vault; `None` when there is no file.
    ///
    /// # Errors
    /// [`FileError::NotAFile`], [`FileError::Exposed`], [`FileError::TooLarge`], [`FileError::Io`].
    pub fn read(&self) -> Result<Option<Vec<u8>>, FileError> {
        let file = match File::open(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(failed(&self.path, "open"))?,
        };
        if !file.metadata().map_err(failed(&self.path, "look at"))?.is_file() {
            return Err(FileError::NotAFile { path: self.path.clone() });
        }
        self.check_mode(&file)?;
        let limit = u64::try_from(VAULT_BYTES_MAX).unwrap_or(u64::MAX).saturating_add(1);
        let mut bytes = Vec::new();
        file.take(limit).read_to_end(&mut bytes).map_err(failed(&self.path, "read"))?;
        if bytes.len() > VAULT_BYTES_MAX {
            return Err(FileError::TooLarge { path: self.path.clone() });
        }
        Ok(Some(bytes))
    }

    /// Puts a sealed vault in the place of what is there. On an error the file is as before, or new if only the
    /// directory could not be synced.
    ///
    /// # Errors
    /// [`FileError::Io`].
    pub fn replace(&mut self, sealed: &[u8]) -> Result<(), FileError> {
        match fs::remove_file(&self.next) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed(&self.next, "remove")(error));
            }
            _ => {}
        }
        let written = self.write_next(sealed);
        if written.is_err() {
            // What matters is the first error; the next save removes what is left.
            let _ = fs::remove_file(&self.next);
        }
        written?;
        self.sync_directory().map_err(failed(&self.directory, "sync"))
    }

    fn write_next(&self, sealed: &[u8]) -> Result<(), FileError> {
        let mut options = OpenOptions::new();
        let file = private(options.write(true).create_new(true)).open(&self.next);
        let mut file = file.map_err(failed(&self.next, "create"))?;
        file.write_all(sealed).map_err(failed(&self.next, "write"))?;
        file.sync_all().map_err(failed(&self.next, "sync"))?;
        drop(file);
        fs::rename(&self.next, &self.path).map_err(failed(&self.path, "replace"))
    }

    #[cfg(unix)]
    fn check_mode(&self, file: &File) -> Result<(), FileError> {
        use std::os::unix::fs::PermissionsExt as _;
        // Of what was opened, not of what has the name by now.
        let mode = file.metadata().map_err(failed(&self.path, "look at"))?.permissions().mode() & 0o777;
        if mode & 0o077 == 0 { Ok(()) } else { Err(FileError::Exposed { path: self.path.clone(), mode }) }
    }

    #[cfg(not(unix))]
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "there are no modes here")]
    fn check_mode(&self, _: &File) -> Result<(), FileError> {
        Ok(())
    }

    /// Elsewhere than on Unix a directory cannot be opened and renaming is the system's matter.
    fn sync_directory(&self) -> io::Result<()> {
        if cfg!(unix) { File::open(&self.directory)?.sync_all() } else { Ok(()) }
    }
}

/// Only for its owner.
fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn failed(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> FileError {
    let path = path.to_path_buf();
    move |source| FileError::Io { path, doing, source }
}
