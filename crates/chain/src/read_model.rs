//! The read model: what happened on the ledger, by block, member, transaction, item, record and period, for consoles
//! and for those who ask again for an envelope that was included before.
//!
//! It holds nothing that the blocks do not hold, and no personal data. It can be deleted at any time: the node feeds it
//! from its archive again, from [`Feed::indexed`] on. A file that is damaged, or of another network or format, is put
//! aside, and an empty one begins. All of it is read and compared with its checksums when it is opened.
//!
//! ```text
//! engine --final blocks--> Feed --bounded queue--> writer thread --one transaction for all that wait--> redb
//!                            ^ waits while full                                                          |
//! consoles, Client <------------------------------ ReadModel: pages, newest first <----------------------+
//! ```
//! The writer commits for readers at once and for good only now and then: after a crash the file is as of some seconds
//! before, and the blocks since then are wanted again. Blocks that come twice are ignored, blocks that come too early
//! are dropped and wanted still. When the writer fails (a full disk), it stops; queries then say why, and the ledger
//! goes on without it.
//!
//! A validator that copied the state of others has no blocks from before that state. Its read model begins there, says so
//! ([`ReadModel::begins_at`]), and knows of nothing before: what is not found may have been earlier, and its totals are
//! those of the blocks that it has.
//!
//! # Cost
//! Whatever has a key in the order of blocks is appended, an envelope's items as one value. What is looked up by a hash
//! would touch a page of its own for each record; `places` keeps it in sorted runs instead.
//!
//! # What a record says
//! A record names its agreement, and only the agreement says who pays. Its terms are taken from the transactions that
//! proposed and accepted them, so that debtor and debt stand beside each record exactly as the ledger booked them, by
//! the same functions. A network that begins with an imported state has agreements that no block holds: those are given
//! to [`Feed::imported`] once.
//!
//! What became of a record later (contested, final, credited) changes with time alone, so it is asked of the state
//! ([`eroam_ledger::query::cdr`]), as is what is owed after credits: [`ReadModel::totals`] adds up records as booked.

mod places;
mod queries;
mod queue;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

pub use queries::{Page, Pair};
pub use tables::{
    BlockRow, Debt, ItemRow, ParsePlaceError, Place, RecordRow, Total, TotalRow, TransactionRow, TxKind,
};

use crate::block::Block;
use crate::history::History;
use crate::panics::caught;
use eroam_domain::cdr::AgreementRef;
use eroam_domain::codec::{Digest, from_bytes};
use eroam_ledger::state::{StateKey, Writes};
use queue::{Job, Queue, Terms};
use redb::{Database, ReadableDatabase as _, StorageError, TableError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tables::{FORMAT, META, META_FORMAT, META_INDEXED, META_NETWORK, create_tables};

/// The greatest number of rows on a page; who asks for more gets as many.
pub const PAGE_MAX: usize = 500;
/// How long [`ReadModel::place_of`] waits for blocks that are final but not indexed yet.
const INDEXED_WITHIN: Duration = Duration::from_secs(5);
/// So much may be lost by a crash, and is then indexed again.
const DURABLE_EVERY: Duration = Duration::from_secs(5);
/// The bytes of pages that are kept in memory.
const CACHE_BYTES: usize = 64 * 1024 * 1024;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why the read model cannot answer. The ledger itself does not depend on it.
#[derive(Debug, thiserror::Error)]
pub enum ReadModelError {
    /// The file is there and cannot be used, or cannot be made.
    #[error(
        "the read model {path} cannot be opened: stop the program that has it open, or make its directory writable"
    )]
    Open {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Source,
    },
    /// The file is damaged or another network's, and stays in the way.
    #[error("the read model {path} is of no use and cannot be put aside: delete it")]
    InTheWay {
        /// Where it is.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The writer cannot be started.
    #[error("no thread can be started for the read model")]
    Thread(#[source] io::Error),
    /// The writer has stopped.
    #[error("the read model has stopped, the ledger goes on: {0}")]
    Failed(Arc<Failure>),
    /// Blocks that are final are not indexed yet.
    #[error("the read model knows the blocks up to {indexed}, not {wanted} yet: ask again in a moment")]
    Behind {
        /// The latest block it knows.
        indexed: u64,
        /// The one that was asked for.
        wanted: u64,
    },
    /// The node has stopped.
    #[error("the read model is closed, its node has stopped")]
    Closed,
    /// Records were booked under terms that it has not seen, so that no debt can be told.
    #[error(
        "version {} of agreement {} is in no block: delete the read model, and begin it with the imported state",
        .0.version, .0.id
    )]
    UnknownTerms(AgreementRef),
    /// The file cannot be read.
    #[error("the read model cannot be read: start the node again, a damaged one is then made again")]
    Read(#[source] Source),
    /// The file holds something else than was written.
    #[error("the read model's {0} are damaged: start the node again, it is then made again")]
    Damaged(&'static str),
}

impl ReadModelError {
    /// Whether the file is damaged, and not only out of reach.
    fn is_of_damage(&self) -> bool {
        match self {
            Self::Damaged(_) => true,
            Self::Read(source) => source.downcast_ref().is_some_and(is_of_damage),
            _ => false,
        }
    }
}

/// Whether the file is damaged, and not only out of reach.
const fn is_of_damage(error: &redb::Error) -> bool {
    matches!(error, redb::Error::Corrupted(_))
}

/// Why the writer has stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The file cannot be written.
    #[error(
        "{path} cannot be written ({reason}): make room if its disk is full and start the node again; if that does not \
         help, stop the node and delete the file, it is made again"
    )]
    Storage {
        /// Where it is.
        path: PathBuf,
        /// What the database said.
        reason: String,
    },
    /// The file knows another block of this height.
    #[error(
        "{path} holds another history, which differs at block {height}: stop the node and delete the file"
    )]
    OtherHistory {
        /// Where it is.
        path: PathBuf,
        /// Where the two differ.
        height: u64,
    },
    /// A block that no validator votes for.
    #[error("block {0} is none that this version of the program can index: upgrade the program")]
    Block(u64),
}

/// What the engine hands final blocks to. Dropping it writes what waits and closes the file.
pub struct Feed {
    shared: Arc<Shared>,
    writer: Option<JoinHandle<()>>,
}

/// What consoles ask. Cheap to clone. Its queries read files: call them from threads that may wait.
#[derive(Clone)]
pub struct ReadModel {
    shared: Arc<Shared>,
}

/// What the feed, the writer and the readers share.
struct Shared {
    path: PathBuf,
    /// `None` once it is closed.
    database: RwLock<Option<Database>>,
    queue: Queue,
    progress: Mutex<Progress>,
    changed: Condvar,
}

struct Progress {
    indexed: u64,
    end: Option<End>,
}

/// Why nothing will be indexed any more.
#[derive(Clone)]
enum End {
    Failed(Arc<Failure>),
    Closed,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn indexed(&self) -> u64 {
        self.progress().indexed
    }

    /// Blocks up to `height` can be read.
    fn advance(&self, height: u64) {
        self.progress().indexed = height;
        self.changed.notify_all();
    }

    /// Nothing is indexed any more.
    fn end(&self, end: End) {
        self.queue.close();
        self.progress().end.get_or_insert(end);
        self.changed.notify_all();
    }

    fn wait_for(&self, height: u64, within: Duration) -> bool {
        let until = Instant::now() + within;
        let mut progress = self.progress();
        while progress.indexed < height {
            let left = until.saturating_duration_since(Instant::now());
            if progress.end.is_some() || left.is_zero() {
                return false;
            }
            progress = self.changed.wait_timeout(progress, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        true
    }
}

impl Feed {
    /// Hands over a final block: the next one after [`Self::indexed`] and those handed over since. Waits a moment while
    /// too many are waiting. A block that was indexed before is ignored, and one that leaves a gap is dropped.
    pub fn block(&self, block: Arc<Block>) {
        self.shared.queue.push(Job::Block(block));
    }

    /// Hands over the entries that a network begins with, before its first block: the agreements of an imported state
    /// are in no block. Of no effect once a block is indexed.
    pub fn imported(&self, entries: &Writes) {
        self.shared.queue.push(Job::Terms(terms(entries)));
    }

    /// The blocks before `height` will never come: the state was copied without them. `entries` are those of the state
    /// that say what later blocks refer to, as for [`Self::imported`]. Of no effect if the block before is indexed.
    pub fn begins(&self, height: u64, entries: &Writes) {
        self.shared.queue.push(Job::Begins(height, terms(entries)));
    }

    /// The height up to which blocks are known: those after it are wanted, again after a crash. 0 for an empty one; the
    /// genesis block holds nothing and is not indexed.
    #[must_use]
    pub fn indexed(&self) -> u64 {
        self.shared.indexed()
    }
}

/// The terms of agreements among `entries`.
fn terms(entries: &Writes) -> Terms {
    let kind = |key: StateKey| key.to_bytes().into_iter().take(1).collect::<Vec<u8>>();
    let first = kind(StateKey::AgreementTerms(Digest::ZERO, 0));
    let terms = entries.range(first.clone()..).take_while(|(key, _)| key.starts_with(&first));
    terms
        .filter_map(|(key, value)| match from_bytes(key) {
            Ok(StateKey::AgreementTerms(id, version)) => {
                Some(((id, version), from_bytes(value.as_ref()?).ok()?))
            }
            _ => None,
        })
        .collect()
}

impl History for Feed {
    fn begins(&self, height: u64, entries: &Writes) {
        Self::begins(self, height, entries);
    }

    fn block(&self, block: Arc<Block>) {
        Self::block(self, block);
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.shared.queue.close();
        if let Some(writer) = self.writer.take() {
            // It says itself why it failed.
            let _ = writer.join();
        }
    }
}

impl ReadModel {
    /// Opens the read model in the file `path`, and starts its writer. An empty one takes the place of a file that is
    /// damaged, or of another network or format.
    ///
    /// # Errors
    /// [`ReadModelError::Open`], [`ReadModelError::InTheWay`], [`ReadModelError::Thread`].
    pub fn open(path: &Path, network: Digest) -> Result<(Self, Feed), ReadModelError> {
        Self::open_with(path, network, DURABLE_EVERY)
    }

    fn open_with(
        path: &Path,
        network: Digest,
        durable_every: Duration,
    ) -> Result<(Self, Feed), ReadModelError> {
        let (database, indexed) = open_or_replace(path, network)?;
        Self::start(path, database, indexed, durable_every)
    }

    fn start(
        path: &Path,
        database: Database,
        indexed: u64,
        durable_every: Duration,
    ) -> Result<(Self, Feed), ReadModelError> {
        let shared = Arc::new(Shared {
            path: path.to_owned(),
            database: RwLock::new(Some(database)),
            queue: Queue::default(),
            progress: Mutex::new(Progress { indexed, end: None }),
            changed: Condvar::new(),
        });
        let of_writer = Arc::clone(&shared);
        let writer = std::thread::Builder::new()
            .name("read model".to_owned())
            .spawn(move || writer::run(&of_writer, durable_every))
            .map_err(ReadModelError::Thread)?;
        Ok((Self { shared: Arc::clone(&shared) }, Feed { shared, writer: Some(writer) }))
    }

    /// The height of the latest block that queries see.
    #[must_use]
    pub fn indexed(&self) -> u64 {
        self.shared.indexed()
    }

    /// The height of the block that it wants next.
    #[must_use]
    pub fn wanted_from(&self) -> u64 {
        self.indexed().saturating_add(1)
    }

    /// Waits until queries see the block at `height`. `false` if `within` passed, or it has stopped.
    #[must_use]
    pub fn wait_for(&self, height: u64, within: Duration) -> bool {
        self.shared.wait_for(height, within)
    }

    /// Which block an envelope is in, and at which place of it, after the blocks up to `up_to` are indexed.
    ///
    /// # Errors
    /// [`ReadModelError`]; [`ReadModelError::Behind`] if they are not within some seconds.
    pub fn place_of(&self, envelope: &Digest, up_to: u64) -> Result<Option<(u64, usize)>, ReadModelError> {
        self.place_within(envelope, up_to, INDEXED_WITHIN)
    }

    fn place_within(
        &self,
        envelope: &Digest,
        up_to: u64,
        within: Duration,
    ) -> Result<Option<(u64, usize)>, ReadModelError> {
        if !self.wait_for(up_to, within) {
            self.usable()?;
            return Err(ReadModelError::Behind { indexed: self.indexed(), wanted: up_to });
        }
        let row = self.transaction(envelope)?;
        Ok(row.map(|row| (row.place.height, usize::from(row.place.envelope))))
    }

    /// Fails if it has stopped.
    fn usable(&self) -> Result<(), ReadModelError> {
        match self.shared.progress().end.clone() {
            None => Ok(()),
            Some(End::Closed) => Err(ReadModelError::Closed),
            Some(End::Failed(failure)) => Err(ReadModelError::Failed(failure)),
        }
    }
}

/// Why a file is not taken as it is.
enum Unusable {
    /// It is none, or not as it was written.
    Damaged(String),
    /// It is another network's, or was written by another version.
    Foreign,
    /// The system does not let us.
    Refused(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Unusable {
    fn from(error: E) -> Self {
        use io::ErrorKind::{InvalidData, UnexpectedEof};
        match error.into() {
            redb::Error::Io(e) if !matches!(e.kind(), InvalidData | UnexpectedEof) => {
                Self::Refused(redb::Error::Io(e))
            }
            e @ (redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch) => Self::Refused(e),
            redb::Error::TableTypeMismatch { .. } | redb::Error::UpgradeRequired(_) => Self::Foreign,
            e => Self::Damaged(e.to_string()),
        }
    }
}

/// Takes a damaged file out of the way, so that an empty one begins when it is opened next.
fn put_aside(path: &Path, reason: &str) -> io::Result<()> {
    let mut aside = path.as_os_str().to_owned();
    aside.push(".damaged");
    let aside = PathBuf::from(aside);
    tracing::warn!(path = %path.display(), aside = %aside.display(), reason, "read_model.damaged");
    std::fs::rename(path, &aside)
}

/// Opens the file, or begins an empty one in its place.
fn open_or_replace(path: &Path, network: Digest) -> Result<(Database, u64), ReadModelError> {
    let refused = |source: redb::Error| ReadModelError::Open { path: path.to_owned(), source: source.into() };
    let in_the_way = |source| ReadModelError::InTheWay { path: path.to_owned(), source };
    match open(path, network) {
        Ok(opened) => return Ok(opened),
        Err(Unusable::Refused(error)) => return Err(refused(error)),
        Err(Unusable::Foreign) => {
            tracing::warn!(path = %path.display(), "read_model.foreign");
            std::fs::remove_file(path).map_err(in_the_way)?;
        }
        Err(Unusable::Damaged(reason)) => put_aside(path, &reason).map_err(in_the_way)?,
    }
    open(path, network).map_err(|unusable| match unusable {
        Unusable::Refused(error) => refused(error),
        Unusable::Damaged(reason) => refused(redb::Error::Corrupted(reason)),
        Unusable::Foreign => refused(redb::Error::Corrupted("an empty file has another format".to_owned())),
    })
}

/// Opens the file, making it if there is none; gives the height up to which it knows blocks.
fn open(path: &Path, network: Digest) -> Result<(Database, u64), Unusable> {
    // The database may panic where its file is damaged.
    let opened = caught(|| {
        let mut database = Database::builder().set_cache_size(CACHE_BYTES).create(path)?;
        // It compares no checksums when it reads: a wrong bit would be a record that is not found.
        let whole = database.check_integrity()?;
        if !whole {
            tracing::warn!(path = %path.display(), "read_model.repaired");
        }
        let indexed = check(&database, network)?;
        Ok((database, indexed))
    });
    opened.unwrap_or_else(|said| Err(Unusable::Damaged(said)))
}

/// Whether the database is one of ours; an empty one becomes one.
fn check(database: &Database, network: Digest) -> Result<u64, Unusable> {
    let read = database.begin_read()?;
    let meta = match read.open_table(META) {
        Ok(meta) => meta,
        Err(TableError::TableDoesNotExist(_)) => {
            if read.list_tables()?.next().is_some() {
                return Err(Unusable::Foreign);
            }
            create_tables(database, network)?;
            return Ok(0);
        }
        Err(error) => return Err(error.into()),
    };
    let is = |key, expected: &[u8]| -> Result<bool, StorageError> {
        Ok(meta.get(key)?.is_some_and(|found| found.value() == expected))
    };
    if !is(META_FORMAT, &FORMAT.to_be_bytes())? || !is(META_NETWORK, &network.0)? {
        return Err(Unusable::Foreign);
    }
    let indexed = meta.get(META_INDEXED)?;
    let indexed = indexed.as_ref().and_then(|kept| kept.value().try_into().ok()).map(u64::from_be_bytes);
    indexed.ok_or_else(|| Unusable::Damaged("it does not say how far it goes".to_owned()))
}
