//! One process at a time for an SQLite file.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::Path;

/// An advisory lock of the operating system on a file beside the database. It goes with the process, however that
/// ends; the file itself stays, because removing it would let a third process lock another file of the same name.
pub(crate) struct FileLock {
    file: File,
}

impl FileLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`TryLockError::WouldBlock`] when another process (or another handle in this one) has it.
    pub(crate) fn take(path: &Path) -> Result<Self, TryLockError> {
        let file = private(OpenOptions::new().create(true).truncate(false).write(true)).open(path);
        let file = file.map_err(TryLockError::Error)?;
        file.try_lock()?;
        Ok(Self { file })
    }

    /// Whether a store was set up beside the lock.
    pub(crate) fn is_signed(&self) -> io::Result<bool> {
        Ok(self.file.metadata()?.len() > 0)
    }

    /// Notes that `owner`'s store is set up beside the lock.
    pub(crate) fn sign(&self, owner: &str) -> io::Result<()> {
        if self.is_signed()? { Ok(()) } else { writeln!(&self.file, "{owner}") }
    }
}

/// Files that are made are for this user alone: they hold personal data.
pub(crate) fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}
