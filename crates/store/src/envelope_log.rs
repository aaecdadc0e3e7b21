//! The envelopes of the in-memory ledger, in order, so that it comes back after a restart.
//!
//! Each row's digest covers the row before it, and the number of rows and the last digest are kept beside them: a row
//! that is changed, missing, added or cut off at the end is found, with its sequence number.

use crate::database::{Database, META, Owner};
use crate::open_error::OpenError;
use crate::rows::{Table, Value};
use crate::store_url::StoreUrl;
use eroam_domain::codec::Digest;
use eroam_gateway::ports::StoreError;
use sqlx::Row;
use sqlx::any::AnyRow;

const TABLE: Table = Table {
    name: "envelopes",
    keys: &["seq"],
    columns: &["height", "time_ms", "digest", "bytes"],
    sticky: None,
};
const HEAD: &str = "envelopes";
/// Rows that are read at a time.
const PAGE: i64 = 64;

/// The log of the in-memory ledger of one network: append, and read from the beginning.
///
/// It blocks; see the crate's documentation for where to call it.
pub struct EnvelopeLog {
    database: Database,
    head: Head,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// An envelope is not there, or not what was appended.
    #[error(
        "envelope {sequence} of the ledger's log {place} is damaged ({what}): restore the log from a backup"
    )]
    Damaged {
        /// The log.
        place: String,
        /// The envelope, counted from 0.
        sequence: u64,
        /// What is wrong with it.
        what: String,
    },
    /// A number that the log cannot hold.
    #[error("the height {height} does not fit into the ledger's log")]
    Height {
        /// The height.
        height: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The end of the log.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Head {
    length: u64,
    digest: Digest,
}

impl Head {
    const EMPTY: Self = Self { length: 0, digest: Digest::ZERO };

    /// The head after one more envelope.
    fn next(self, height: i64, time_ms: i64, bytes: &[u8]) -> Self {
        let (seq, height, time) = (self.length.to_le_bytes(), height.to_le_bytes(), time_ms.to_le_bytes());
        let parts: [&[u8]; 5] = [&self.digest.0, &seq, &height, &time, bytes];
        Self {
            length: self.length.saturating_add(1),
            digest: Digest::of_parts("eroam/envelope-log/1", &parts),
        }
    }
}

impl EnvelopeLog {
    /// Opens the log of `network`, or makes it.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn open(url: &StoreUrl, network: &Digest) -> Result<Self, OpenError> {
        let mut database = Database::open(url, Owner::Ledger, network)?;
        let place = database.place().to_owned();
        let head = load_head(&mut database).map_err(|source| OpenError::Unreadable { place, source })?;
        Ok(Self { database, head })
    }

    /// How many envelopes there are.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.head.length
    }

    /// Whether there is none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.head.length == 0
    }

    /// Appends envelopes: height, time in milliseconds since 1970, bytes. They are durable when it returns, all or
    /// none.
    ///
    /// # Errors
    /// [`LogError::Height`], then nothing was appended; [`LogError::Store`], after which the log must be opened again.
    pub fn append(&mut self, batch: &[(u64, i64, Vec<u8>)]) -> Result<(), LogError> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut head = self.head;
        let mut rows = Vec::with_capacity(batch.len());
        for (height, time_ms, bytes) in batch {
            let stored = i64::try_from(*height).map_err(|_| LogError::Height { height: *height })?;
            let seq = i64::try_from(head.length).map_err(|_| LogError::Height { height: *height })?;
            head = head.next(stored, *time_ms, bytes);
            rows.push((seq, stored, *time_ms, head.digest, bytes));
        }
        self.database.put(
            &TABLE,
            rows.into_iter().map(|(seq, height, time_ms, digest, bytes)| {
                Ok(vec![
                    Value::Int(seq),
                    Value::Int(height),
                    Value::Int(time_ms),
                    Value::Text(digest.to_string()),
                    Value::Bytes(bytes.clone()),
                ])
            }),
        )?;
        let mark = vec![Value::Text(HEAD.into()), Value::Text(format!("{} {}", head.length, head.digest))];
        self.database.put(&META, std::iter::once(Ok(mark)))?;
        self.database.commit()?;
        self.head = head;
        Ok(())
    }

    /// Hands out every envelope in order: height, time, bytes.
    ///
    /// # Errors
    /// [`LogError::Damaged`] for the first envelope that is not what was appended, after those before it were handed
    /// out; [`LogError::Store`]; or what `visit` returned.
    pub fn each<E: From<LogError>>(
        &mut self,
        visit: &mut dyn FnMut(u64, i64, Vec<u8>) -> Result<(), E>,
    ) -> Result<(), E> {
        let sql =
            "SELECT seq, height, time_ms, digest, bytes FROM envelopes WHERE seq > $1 ORDER BY seq LIMIT $2";
        let mut head = Head::EMPTY;
        let mut last = -1;
        loop {
            let rows =
                self.database.rows(sql, vec![Value::Int(last), Value::Int(PAGE)]).map_err(LogError::from)?;
            if rows.is_empty() {
                break;
            }
            for row in &rows {
                let damaged = |what: &str| self.damaged(head.length, what);
                let row = Row5::read(row).map_err(|_| damaged("it cannot be read"))?;
                if u64::try_from(row.seq) != Ok(head.length) {
                    return Err(damaged("it is missing").into());
                }
                let next = head.next(row.height, row.time_ms, &row.bytes);
                if next.digest.to_string() != row.digest {
                    return Err(damaged("its digest does not fit").into());
                }
                let height = u64::try_from(row.height).map_err(|_| damaged("its height is negative"))?;
                last = row.seq;
                head = next;
                visit(height, row.time_ms, row.bytes)?;
            }
        }
        if head.length < self.head.length {
            return Err(self.damaged(head.length, "it and those after it are missing").into());
        }
        if head != self.head {
            return Err(self.damaged(self.head.length, "it was added by something else").into());
        }
        Ok(())
    }

    fn damaged(&self, sequence: u64, what: &str) -> LogError {
        LogError::Damaged { place: self.database.place().to_owned(), sequence, what: what.to_owned() }
    }
}

/// A row as it is stored.
struct Row5 {
    seq: i64,
    height: i64,
    time_ms: i64,
    digest: String,
    bytes: Vec<u8>,
}

impl Row5 {
    fn read(row: &AnyRow) -> Result<Self, sqlx::Error> {
        Ok(Self {
            seq: row.try_get(0)?,
            height: row.try_get(1)?,
            time_ms: row.try_get(2)?,
            digest: row.try_get(3)?,
            bytes: row.try_get(4)?,
        })
    }
}

fn load_head(database: &mut Database) -> Result<Head, StoreError> {
    let sql = "SELECT value FROM meta WHERE key = $1";
    let Some(row) = database.row(sql, vec![Value::Text(HEAD.into())])? else { return Ok(Head::EMPTY) };
    let text: &str = row.try_get(0).map_err(|e| database.damaged("the end of the envelope log", e))?;
    let head = text.split_once(' ').and_then(|(length, digest)| {
        Some(Head { length: length.parse().ok()?, digest: digest.parse().ok()? })
    });
    head.ok_or_else(|| database.damaged("the end of the envelope log", "it is no length and digest"))
}
