//! What an agent must not forget, in an SQLite file of its own: records by kind and key, whose content only the agent
//! understands.
//!
//! ```text
//! records(kind, key, body)      put or removed, several in one transaction
//! ```
//! What [`AgentStore::write`] has returned from is on the disk (write-ahead log, `synchronous = FULL`). One process at a
//! time, by a lock of the operating system on a file beside it. What it deliberately does not do: encrypt. Bodies are
//! bytes that the agent has sealed; kinds and keys are not secret.

use crate::file_lock::{FileLock, private};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::fs::{OpenOptions, TryLockError};
use std::path::Path;
use tokio::runtime::Runtime;

/// Names our files, so that another program's database is not written into ("erAg").
const APPLICATION: i64 = 0x6572_4167;
/// The version of the tables.
const VERSION: i64 = 1;

const TABLES: &str = "CREATE TABLE records (kind TEXT NOT NULL, key TEXT NOT NULL, body BLOB NOT NULL, \
                      PRIMARY KEY (kind, key)) STRICT, WITHOUT ROWID; \
                      PRAGMA application_id = 1701986663; PRAGMA user_version = 1";

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why an agent's records cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum AgentStoreError {
    /// The disk or the database.
    #[error("the agent's records in {place} cannot be used: look at the disk, or restore them from a backup")]
    Storage {
        /// Where.
        place: String,
        /// Why.
        #[source]
        source: Source,
    },
    /// Another process has them open.
    #[error("the agent's records in {place} are in use by another process: stop that one first")]
    InUse {
        /// Where.
        place: String,
    },
    /// Something else, or a newer version's.
    #[error("{place} has no agent's records of this version: {what}")]
    Foreign {
        /// Where.
        place: String,
        /// What is odd about it.
        what: String,
    },
    /// It failed before.
    #[error(
        "the agent's records in {place} failed before and keep only what was written until then: start again"
    )]
    Failed {
        /// Where.
        place: String,
    },
}

/// A change of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordChange {
    /// The kind of record.
    pub kind: &'static str,
    /// Which one of its kind.
    pub key: String,
    /// What it says from now on; `None` if it is gone.
    pub body: Option<Vec<u8>>,
}

/// The records of an agent.
pub struct AgentStore {
    place: String,
    runtime: Runtime,
    connection: Option<SqliteConnection>,
    failed: bool,
    /// The last field: released after the connection is closed.
    _lock: FileLock,
}

impl AgentStore {
    /// Opens the records at `path`, or makes them, readable for this user alone. The directory must be there.
    ///
    /// # Errors
    /// [`AgentStoreError`].
    pub fn open(path: &Path) -> Result<Self, AgentStoreError> {
        let place = path.display().to_string();
        let storage = |source: Source| AgentStoreError::Storage { place: place.clone(), source };
        let mut lock_path = path.to_owned().into_os_string();
        lock_path.push(".lock");
        let lock = FileLock::take(Path::new(&lock_path)).map_err(|error| match error {
            TryLockError::WouldBlock => AgentStoreError::InUse { place: place.clone() },
            TryLockError::Error(error) => storage(error.into()),
        })?;
        let mut options = OpenOptions::new();
        let made = private(options.create(true).truncate(false).write(true)).open(path);
        made.map_err(|error| storage(error.into()))?;
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        let runtime = runtime.map_err(|error| storage(error.into()))?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            // What is removed was secret.
            .pragma("secure_delete", "ON")
            .busy_timeout(std::time::Duration::ZERO)
            .disable_statement_logging();
        let connection = runtime.block_on(async {
            let mut connection = connect.connect().await.map_err(|error| open_error(&place, error))?;
            adopt(&place, &mut connection).await?;
            Ok(connection)
        })?;
        Ok(Self { place, runtime, connection: Some(connection), failed: false, _lock: lock })
    }

    fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, AgentStoreError> {
        let failed = || AgentStoreError::Failed { place: self.place.clone() };
        let connection = self.connection.as_mut().filter(|_| !self.failed).ok_or_else(failed)?;
        self.runtime.block_on(work(connection)).map_err(|error| {
            self.failed = true;
            AgentStoreError::Storage { place: self.place.clone(), source: error.into() }
        })
    }

    /// All records of a kind with their keys, in the order of the keys.
    ///
    /// # Errors
    /// [`AgentStoreError`].
    pub fn each(&mut self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>, AgentStoreError> {
        self.with(async |connection| {
            let select = sqlx::query("SELECT key, body FROM records WHERE kind = ? ORDER BY key").bind(kind);
            let rows = select.fetch_all(connection).await?;
            rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
        })
    }

    /// A record.
    ///
    /// # Errors
    /// [`AgentStoreError`].
    pub fn get(&mut self, kind: &'static str, key: &str) -> Result<Option<Vec<u8>>, AgentStoreError> {
        self.with(async |connection| {
            let select =
                sqlx::query("SELECT body FROM records WHERE kind = ? AND key = ?").bind(kind).bind(key);
            let row = select.fetch_optional(connection).await?;
            row.map(|row| row.try_get(0)).transpose()
        })
    }

    /// Makes changes in their order, all or none.
    ///
    /// # Errors
    /// [`AgentStoreError`]; from then on it refuses everything, since nobody knows whether they were made.
    pub fn write(&mut self, changes: Vec<RecordChange>) -> Result<(), AgentStoreError> {
        self.with(async |connection| {
            let mut tx = connection.begin().await?;
            for RecordChange { kind, key, body } in changes {
                let change = match body {
                    Some(body) => {
                        let insert = "INSERT INTO records (kind, key, body) VALUES (?, ?, ?) \
                                      ON CONFLICT (kind, key) DO UPDATE SET body = excluded.body";
                        sqlx::query(insert).bind(kind).bind(key).bind(body)
                    }
                    None => {
                        sqlx::query("DELETE FROM records WHERE kind = ? AND key = ?").bind(kind).bind(key)
                    }
                };
                change.execute(&mut *tx).await?;
            }
            tx.commit().await
        })
    }
}

impl Drop for AgentStore {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // What was written is on the disk; closing only tidies up.
            let _ = self.runtime.block_on(connection.close());
        }
    }
}

/// Why a file is not opened.
fn open_error(place: &str, error: sqlx::Error) -> AgentStoreError {
    let place = place.to_owned();
    let code = error.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
    match code.as_deref() {
        // SQLITE_BUSY and its variants, and SQLITE_NOTADB.
        Some("5" | "261" | "517" | "773") => AgentStoreError::InUse { place },
        Some("26") => AgentStoreError::Foreign { place, what: "it is no database".to_owned() },
        _ => AgentStoreError::Storage { place, source: error.into() },
    }
}

/// Makes the tables of a new file, and refuses one that is not ours.
async fn adopt(place: &str, connection: &mut SqliteConnection) -> Result<(), AgentStoreError> {
    let foreign = |what: String| AgentStoreError::Foreign { place: place.to_owned(), what };
    let wrap = |error: sqlx::Error| open_error(place, error);
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
    let number = async |tx: &mut SqliteConnection, sql: &'static str| -> Result<i64, sqlx::Error> {
        sqlx::query(sql).fetch_one(tx).await?.try_get(0)
    };
    let application = number(&mut tx, "PRAGMA application_id").await.map_err(wrap)?;
    let version = number(&mut tx, "PRAGMA user_version").await.map_err(wrap)?;
    let tables = number(&mut tx, "SELECT COUNT(*) FROM sqlite_master").await.map_err(wrap)?;
    match (application, version, tables) {
        (0, 0, 0) => {
            sqlx::raw_sql(TABLES).execute(&mut *tx).await.map_err(wrap)?;
        }
        (APPLICATION, VERSION, _) => {}
        (APPLICATION, found, _) => return Err(foreign(format!("its version is {found}, not {VERSION}"))),
        _ => return Err(foreign("another program's tables are in it".to_owned())),
    }
    tx.commit().await.map_err(wrap)
}
