//! A validator's directory: which network it is of, in which format, and that only one process uses it.
//!
//! ```text
//! genesis.json   the network; another genesis is refused
//! format         "eroam-chain 2"
//! snapshot       the entries an imported network begins with
//! lock           held while a process uses the directory
//! engine/        the engine's journals, archives and state
//! index.redb     the read model, which can be deleted at any time
//! ```

use eroam_domain::codec::Digest;
use eroam_ledger::genesis::{Genesis, GenesisError};
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

/// The format of the directory; a change of it is a new number.
const FORMAT: &str = "eroam-chain 2\n";

/// Why a directory cannot be used.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DirectoryError {
    #[error("{}: cannot {what}: name a directory where this program may read and write and the disk has room", path.display())]
    Io {
        path: PathBuf,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error("{} is in use by another process: stop that one first", .0.display())]
    InUse(PathBuf),
    #[error("{}: the format is {found:?}, and this program reads {FORMAT:?}: use the program that wrote it, or export there and import here", path.display())]
    Format { path: PathBuf, found: String },
    #[error("{} belongs to network {found}, not {expected}: name its own directory, or another one for a new network", path.display())]
    OtherNetwork { path: PathBuf, found: Digest, expected: Digest },
    #[error("{}: the genesis is refused: put back the file that the network began with", path.display())]
    Genesis {
        path: PathBuf,
        #[source]
        source: GenesisError,
    },
    #[error("{} holds no ledger: name the directory that a node was started with", .0.display())]
    NoLedger(PathBuf),
    #[error("{} is not empty and holds no ledger: name an empty directory", .0.display())]
    NotEmpty(PathBuf),
}

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    /// Locked for as long as this value lives.
    _lock: File,
}

fn io(path: &Path, what: &'static str) -> impl FnOnce(io::Error) -> DirectoryError {
    let path = path.to_owned();
    move |source| DirectoryError::Io { path, what, source }
}

/// Writes a file so that after a crash it is there whole or not at all.
fn write_whole(path: &Path, contents: &[u8]) -> Result<(), DirectoryError> {
    let partial = path.with_extension("partial");
    let mut file = File::create(&partial).map_err(io(&partial, "create the file"))?;
    file.write_all(contents).map_err(io(&partial, "write the file"))?;
    file.sync_all().map_err(io(&partial, "write the file"))?;
    fs::rename(&partial, path).map_err(io(path, "put the file in its place"))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    File::open(parent).and_then(|d| d.sync_all()).map_err(io(parent, "write the directory"))
}

impl Directory {
    /// Opens the directory of a validator of `genesis`, and makes it one if it is empty or not there yet.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open(path: &Path, genesis: &Genesis) -> Result<Self, DirectoryError> {
        fs::create_dir_all(path).map_err(io(path, "create the directory"))?;
        let directory = Self::lock(path)?;
        let (format, kept) = (path.join("format"), path.join("genesis.json"));
        if !format.exists() {
            let others = fs::read_dir(path).map_err(io(path, "list the directory"))?;
            let ours = ["lock", "genesis.json", "genesis.partial", "format.partial", "snapshot"];
            let foreign = |entry: io::Result<fs::DirEntry>| {
                entry.is_ok_and(|e| !ours.iter().any(|name| e.file_name() == *name))
            };
            if others.into_iter().any(foreign) {
                return Err(DirectoryError::NotEmpty(path.to_owned()));
            }
            write_whole(&kept, genesis.to_json().as_bytes())?;
            // Last: without it, the directory is not one yet.
            write_whole(&format, FORMAT.as_bytes())?;
            return Ok(directory);
        }
        let found = directory.genesis()?.network();
        let expected = genesis.network();
        if found != expected {
            return Err(DirectoryError::OtherNetwork { path: path.to_owned(), found, expected });
        }
        Ok(directory)
    }

    /// Opens a directory that is one already, whatever its network.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn open_existing(path: &Path) -> Result<Self, DirectoryError> {
        if !path.join("format").is_file() {
            return Err(DirectoryError::NoLedger(path.to_owned()));
        }
        let directory = Self::lock(path)?;
        directory.genesis()?;
        Ok(directory)
    }

    fn lock(path: &Path) -> Result<Self, DirectoryError> {
        let file = path.join("lock");
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&file)
            .map_err(io(&file, "create the file"))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse(path.to_owned())),
            Err(TryLockError::Error(source)) => Err(io(&file, "lock the file")(source)),
        }
    }

    /// The genesis that the directory was made with, after a check of its format.
    ///
    /// # Errors
    /// [`DirectoryError`].
    pub fn genesis(&self) -> Result<Genesis, DirectoryError> {
        let format = self.path.join("format");
        let found = fs::read_to_string(&format).map_err(io(&format, "read the file"))?;
        if found != FORMAT {
            return Err(DirectoryError::Format { path: self.path.clone(), found });
        }
        let path = self.path.join("genesis.json");
        let text = fs::read_to_string(&path).map_err(io(&path, "read the file"))?;
        Genesis::from_json(&text).map_err(|source| DirectoryError::Genesis { path, source })
    }

    /// Whether there is a validator's directory at `path`.
    #[must_use]
    pub fn is_made(path: &Path) -> bool {
        path.join("format").exists()
    }

    /// Whether the validator of the directory at `path` was ever started, and may have voted.
    #[must_use]
    pub fn has_run(path: &Path) -> bool {
        path.join("engine").exists()
    }

    /// Where the engine keeps its files.
    #[must_use]
    pub fn engine(&self) -> PathBuf {
        self.path.join("engine")
    }

    /// Where the read model is kept.
    #[must_use]
    pub fn index(&self) -> PathBuf {
        self.path.join("index.redb")
    }

    /// The entries that an imported network begins with, if it is one.
    ///
    /// # Errors
    /// [`DirectoryError::Io`].
    pub fn snapshot(&self) -> Result<Option<Vec<u8>>, DirectoryError> {
        let path = Self::snapshot_file(&self.path);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(io(&path, "read the file")(error)),
        }
    }

    /// Keeps the entries that an imported network begins with.
    ///
    /// # Errors
    /// [`DirectoryError::Io`].
    pub fn keep_snapshot(path: &Path, bytes: &[u8]) -> Result<(), DirectoryError> {
        fs::create_dir_all(path).map_err(io(path, "create the directory"))?;
        write_whole(&Self::snapshot_file(path), bytes)
    }

    /// Where the directory at `path` keeps the entries that an imported network begins with.
    #[must_use]
    pub fn snapshot_file(path: &Path) -> PathBuf {
        path.join("snapshot")
    }

    /// The path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
