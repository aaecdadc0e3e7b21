//! A holder's tails files: fetched once from where a registry's definition says they are, and kept under their hash.
//!
//! ```text
//! <directory>/<hash>          a file whose hash was right when it was written; its time is that of its last use
//! <directory>/.partial-*      being written, or left over by a crash
//! ```
//! Whoever serves the files is trusted with nothing, and neither is the disk: what comes from either is used only if
//! its length and its hash are those that the definition names. A file that cannot be kept, on a full disk, is used all
//! the same: a driver who shows a credential should not wait for the disk to be cleaned.
//!
//! What it deliberately does not do: decide which hosts a location may name. A process that must not be led to addresses
//! inside its own network has to run behind a proxy that refuses them. Its methods wait, so they must not be called from a
//! thread of an asynchronous runtime.

use crate::whole_file::{self, PARTIAL};
use eroam_ssi::anoncreds::{AnonCredsError, RevocationRegistryDefinition, Tails};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

/// So long a server may take for a whole file: 16 MB over a mobile line.
const FETCH_WITHIN: Duration = Duration::from_secs(120);
/// So often a server may send elsewhere. The hash says whether it was the right place.
const REDIRECTS_MAX: u32 = 3;
/// A file that was being written so long ago never will be: the writing takes seconds.
const LEFT_OVER_AFTER: Duration = Duration::from_secs(3600);

/// Why there is no tails file.
#[derive(Debug, thiserror::Error)]
pub enum TailsCacheError {
    /// The directory cannot be made or read.
    #[error("tails files cannot be kept in {directory}")]
    Directory {
        /// Which.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The server cannot be reached, or has no such file, or breaks off.
    #[error("the tails file at {location} cannot be fetched")]
    Unreachable {
        /// Where the definition says it is.
        location: String,
        /// Why.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The server sends more than the registry's size allows. It was not read further.
    #[error("the tails file at {location} has more than the {expected} bytes of its registry")]
    TooLarge {
        /// Where the definition says it is.
        location: String,
        /// How many there should be.
        expected: usize,
    },
    /// The server sends another file than the definition names.
    #[error("what is at {location} is not the registry's tails file")]
    NotTheFile {
        /// Where the definition says it is.
        location: String,
        /// What differs.
        #[source]
        source: AnonCredsError,
    },
}

/// A directory of tails files. Several processes may share one.
pub struct TailsCache {
    directory: PathBuf,
    bytes_max: u64,
    http: ureq::Agent,
    /// By hash, who fetches: whoever wants the same file meanwhile waits for it.
    fetching: Mutex<HashMap<String, Arc<Mutex<()>>>>,
    /// Held while room is made and a file is written, so that two of them do not use the same room.
    keeping: Mutex<()>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl TailsCache {
    /// A cache in a directory, which is made if need be, of at most `bytes_max` bytes: the files that were used longest
    /// ago make room for new ones.
    ///
    /// # Errors
    /// [`TailsCacheError::Directory`].
    pub fn open(directory: impl Into<PathBuf>, bytes_max: u64) -> Result<Self, TailsCacheError> {
        let directory = directory.into();
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(FETCH_WITHIN))
            .max_redirects(REDIRECTS_MAX)
            .http_status_as_error(true)
            .build();
        let http = ureq::Agent::new_with_config(config);
        let (fetching, keeping) = Default::default();
        let cache = Self { directory, bytes_max, http, fetching, keeping };
        let made = fs::create_dir_all(&cache.directory).and_then(|()| cache.make_room(0));
        match made {
            Ok(_) => Ok(cache),
            Err(source) => Err(TailsCacheError::Directory { directory: cache.directory, source }),
        }
    }

    /// The tails file of a registry: the kept one, or else from where its definition says that it is.
    ///
    /// # Errors
    /// [`TailsCacheError`], but not [`TailsCacheError::Directory`].
    pub fn tails(&self, registry: &RevocationRegistryDefinition) -> Result<Tails, TailsCacheError> {
        if let Some(tails) = self.kept(registry) {
            return Ok(tails);
        }
        let hash = registry.tails_hash();
        let turn = Arc::clone(lock(&self.fetching).entry(hash.to_owned()).or_default());
        let found = {
            let _turn = lock(&turn);
            // Somebody may have fetched it while this waited for its turn.
            self.kept(registry).map_or_else(|| self.fetch(registry), Ok)
        };
        // Whoever waits has the same turn in hand; whoever comes later makes a new one and finds the file.
        lock(&self.fetching).remove(hash);
        found
    }

    /// The kept file, if there is one and it is right.
    fn kept(&self, registry: &RevocationRegistryDefinition) -> Option<Tails> {
        let path = self.directory.join(registry.tails_hash());
        let opened = read(&path, registry.tails_bytes()).map(|bytes| Tails::open(bytes, registry));
        match opened {
            Ok(Ok(tails)) => {
                // Where the time cannot be set, it may make room a little early.
                let used = File::options().append(true).open(&path);
                let _ = used.and_then(|file| file.set_modified(SystemTime::now()));
                Some(tails)
            }
            Ok(Err(error)) => {
                tracing::warn!(%error, "tails_cache.damaged");
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(%error, "tails_cache.read");
                None
            }
        }
    }

    fn fetch(&self, registry: &RevocationRegistryDefinition) -> Result<Tails, TailsCacheError> {
        let location = || registry.tails_location().to_owned();
        let expected = registry.tails_bytes();
        // One more than is taken, so that a larger one is refused for its size.
        let limit = u64::try_from(expected).unwrap_or(u64::MAX).saturating_add(1);
        let answer = self.http.get(registry.tails_location()).call();
        let read = answer.and_then(|mut answer| answer.body_mut().with_config().limit(limit).read_to_vec());
        let bytes = read.map_err(|error| match error {
            ureq::Error::BodyExceedsLimit(_) => TailsCacheError::TooLarge { location: location(), expected },
            error => TailsCacheError::Unreachable { location: location(), source: Box::new(error) },
        })?;
        let tails = Tails::open(bytes, registry);
        let tails = tails.map_err(|source| TailsCacheError::NotTheFile { location: location(), source })?;
        if let Err(error) = self.keep(registry.tails_hash(), &tails) {
            tracing::warn!(%error, "tails_cache.not_kept");
        }
        Ok(tails)
    }

    fn keep(&self, hash: &str, tails: &Tails) -> io::Result<()> {
        let _keeping = lock(&self.keeping);
        // A damaged one that is there is in the way of nothing, and must not be counted.
        match fs::remove_file(self.directory.join(hash)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        if !self.make_room(u64::try_from(tails.as_bytes().len()).unwrap_or(u64::MAX))? {
            tracing::warn!("tails_cache.too_small");
            return Ok(());
        }
        whole_file::write(&self.directory, hash, tails.as_bytes())
    }

    /// Removes what was left over, and the files that were used longest ago until another `bytes` fit. Whether they do;
    /// where they never would, nothing is removed for them.
    fn make_room(&self, bytes: u64) -> io::Result<bool> {
        let Some(allowed) = self.bytes_max.checked_sub(bytes) else { return Ok(false) };
        let now = SystemTime::now();
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            // Another process may have removed it since.
            let Ok(metadata) = entry.metadata() else { continue };
            if !metadata.is_file() {
                continue;
            }
            let used = metadata.modified()?;
            let is_partial = name.starts_with(PARTIAL);
            if is_partial && now.duration_since(used).is_ok_and(|age| age > LEFT_OVER_AFTER) {
                remove(&entry.path())?;
            } else if is_partial || is_hash(name) {
                files.push((used, entry.path(), metadata.len(), is_partial));
            }
        }
        let mut sum = files.iter().fold(0_u64, |sum, (_, _, bytes, _)| sum.saturating_add(*bytes));
        files.sort();
        // What is being written just now is somebody's, and counts.
        for (_, path, bytes, _) in files.iter().filter(|(.., is_partial)| !is_partial) {
            if sum <= allowed {
                break;
            }
            remove(path)?;
            sum = sum.saturating_sub(*bytes);
        }
        Ok(sum <= allowed)
    }
}

/// Reads a file of `expected` bytes, and at most one byte more of one that is longer.
fn read(path: &Path, expected: usize) -> io::Result<Vec<u8>> {
    let limit = u64::try_from(expected).unwrap_or(u64::MAX).saturating_add(1);
    let mut bytes = Vec::new();
    File::open(path)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Whether a name is one that a file of ours has. Others are somebody else's, and are left alone.
fn is_hash(name: &str) -> bool {
    bs58::decode(name).into_vec().is_ok_and(|hash| hash.len() == 32)
}

/// Removes a file, unless another process already has.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}
