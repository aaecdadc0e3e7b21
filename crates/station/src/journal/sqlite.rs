//! The journal in an SQLite file, for one process at a time.
//!
//! Each append is a transaction that is on the disk when the call returns (write-ahead log, `synchronous = FULL`), so
//! killing the process or cutting the power loses nothing that was answered. Calls wait for the disk: whoever runs an
//! asynchronous runtime calls from a thread of its own.

use super::{Entry, Journal, JournalError, Queued, is_due};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqliteLockingMode, SqliteSynchronous,
};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};
use std::path::Path;
use tokio::runtime::Runtime;

/// Names our files, so that another program's database is not written into ("erSt").
const APPLICATION: i32 = 0x6572_5374;
/// The version of the tables.
const VERSION: i32 = 1;

/// `AUTOINCREMENT` keeps a number from being given out twice, also after the message is gone.
const TABLES: &str = "CREATE TABLE entries (position INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT NOT NULL) STRICT; \
                      CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, message TEXT NOT NULL) STRICT; \
                      CREATE TABLE meter (one INTEGER PRIMARY KEY CHECK (one = 1), last_page INTEGER NOT NULL) STRICT; \
                      INSERT INTO meter VALUES (1, 0)";

/// A journal on disk.
pub struct SqliteJournal {
    place: String,
    runtime: Runtime,
    connection: Option<SqliteConnection>,
}

impl SqliteJournal {
    /// Opens the journal at `path`, or makes it, readable for this user alone.
    ///
    /// # Errors
    /// [`JournalError::InUse`], [`JournalError::Foreign`], [`JournalError::Storage`].
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let place = path.display().to_string();
        let storage = |source| JournalError::Storage { place: place.clone(), source };
        let runtime =
            tokio::runtime::Builder::new_current_thread().build().map_err(|e| storage(Box::new(e)))?;
        let mut options = std::fs::OpenOptions::new();
        options.create(true).truncate(false).write(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(path).map_err(|e| storage(Box::new(e)))?;
        let connect = SqliteConnectOptions::new()
            .filename(path)
            .locking_mode(SqliteLockingMode::Exclusive)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .busy_timeout(std::time::Duration::ZERO)
            .disable_statement_logging();
        let connection = runtime.block_on(async {
            let mut connection = connect.connect().await.map_err(|e| error(&place, e))?;
            adopt(&place, &mut connection).await?;
            Ok::<_, JournalError>(connection)
        })?;
        Ok(Self { place, runtime, connection: Some(connection) })
    }

    /// Does something with the connection, and waits for it.
    fn with<T>(
        &mut self,
        work: impl AsyncFnOnce(&mut SqliteConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, JournalError> {
        let Some(connection) = &mut self.connection else {
            return Err(error(&self.place, sqlx::Error::PoolClosed));
        };
        self.runtime.block_on(work(connection)).map_err(|e| error(&self.place, e))
    }
}

impl Drop for SqliteJournal {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            // What was answered is on the disk; closing only tidies up.
            let _ = self.runtime.block_on(connection.close());
        }
    }
}

impl std::fmt::Debug for SqliteJournal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SqliteJournal({})", self.place)
    }
}

fn error(place: &str, e: sqlx::Error) -> JournalError {
    let place = place.to_owned();
    let code = e.as_database_error().and_then(|e| e.code()).map(|code| code.into_owned());
    match code.as_deref() {
        // SQLITE_BUSY and its variants.
        Some("5" | "261" | "517" | "773") => JournalError::InUse { place },
        // SQLITE_NOTADB.
        Some("26") => JournalError::Foreign { place, what: "it is no database".to_owned() },
        _ => JournalError::Storage { place, source: Box::new(e) },
    }
}

/// Makes the tables of a new file, and refuses one that is not ours.
async fn adopt(place: &str, connection: &mut SqliteConnection) -> Result<(), JournalError> {
    let wrap = |e| error(place, e);
    // The lock is taken by the first write, and kept.
    let mut tx = connection.begin_with("BEGIN IMMEDIATE").await.map_err(wrap)?;
    let number = async |tx: &mut SqliteConnection, sql: &'static str| -> Result<i64, sqlx::Error> {
        sqlx::query(sql).fetch_one(tx).await?.try_get(0)
    };
    let application = number(&mut tx, "PRAGMA application_id").await.map_err(wrap)?;
    let version = number(&mut tx, "PRAGMA user_version").await.map_err(wrap)?;
    let tables = number(&mut tx, "SELECT COUNT(*) FROM sqlite_master").await.map_err(wrap)?;
    let foreign = |what: String| JournalError::Foreign { place: place.to_owned(), what };
    match (application, version, tables) {
        (0, 0, 0) => {
            sqlx::raw_sql(TABLES).execute(&mut *tx).await.map_err(wrap)?;
            sqlx::raw_sql("PRAGMA application_id = 1701991284; PRAGMA user_version = 1")
                .execute(&mut *tx)
                .await
                .map_err(wrap)?;
        }
        (found, _, _) if found != i64::from(APPLICATION) => {
            return Err(foreign("another program's tables are in it".to_owned()));
        }
        (_, found, _) if found != i64::from(VERSION) => {
            return Err(foreign(format!("its version is {found}, not {VERSION}")));
        }
        _ => {}
    }
    tx.commit().await.map_err(wrap)
}

impl Journal for SqliteJournal {
    fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        let body = self.json(entry)?;
        let page = match entry {
            Entry::Signed { page, .. } => i64::try_from(*page).ok(),
            Entry::Event { .. } => None,
        };
        self.with(async |connection| {
            let mut tx = connection.begin().await?;
            sqlx::query("INSERT INTO entries (body) VALUES (?)").bind(body).execute(&mut *tx).await?;
            if let Some(page) = page {
                let update = sqlx::query("UPDATE meter SET last_page = MAX(last_page, ?)");
                update.bind(page).execute(&mut *tx).await?;
            }
            tx.commit().await
        })
    }

    fn entries(&mut self) -> Result<Vec<Entry>, JournalError> {
        let rows = self.with(async |connection| {
            sqlx::query("SELECT body FROM entries ORDER BY position").fetch_all(connection).await
        })?;
        let entry = |body: &str| {
            serde_json::from_str(body).map_err(|e| JournalError::Foreign {
                place: self.place.clone(),
                what: format!("an entry cannot be read: {e}"),
            })
        };
        rows.iter()
            .map(|row| row.try_get::<&str, _>(0).map_err(|e| error(&self.place, e)).and_then(entry))
            .collect()
    }

    fn finish(&mut self, message: Option<&str>, next: &[Entry]) -> Result<Option<u64>, JournalError> {
        let next = next.iter().map(|entry| self.json(entry)).collect::<Result<Vec<_>, _>>()?;
        let number = self.with(async |connection| {
            let mut tx = connection.begin().await?;
            sqlx::query("DELETE FROM entries").execute(&mut *tx).await?;
            for body in next {
                sqlx::query("INSERT INTO entries (body) VALUES (?)").bind(body).execute(&mut *tx).await?;
            }
            let mut number = None;
            if let Some(message) = message {
                let insert = sqlx::query("INSERT INTO outbox (message) VALUES (?)").bind(message);
                number = Some(insert.execute(&mut *tx).await?.last_insert_rowid());
            }
            tx.commit().await?;
            Ok(number)
        })?;
        Ok(number.and_then(|n| u64::try_from(n).ok()))
    }

    fn last_page(&mut self) -> Result<u64, JournalError> {
        self.number("SELECT last_page FROM meter").map(|page| page.unwrap_or(0))
    }

    fn waiting(&mut self, limit: u32) -> Result<Vec<Queued>, JournalError> {
        let rows = self.with(async |connection| {
            let select = sqlx::query("SELECT number, message FROM outbox ORDER BY number LIMIT ?");
            select.bind(i64::from(limit)).fetch_all(connection).await
        })?;
        let queued = |row: &sqlx::sqlite::SqliteRow| {
            let number: i64 = row.try_get(0)?;
            Ok(Queued { number: u64::try_from(number).unwrap_or(0), message: row.try_get(1)? })
        };
        rows.iter().map(|row| queued(row).map_err(|e| error(&self.place, e))).collect()
    }

    fn acknowledge(&mut self, number: u64) -> Result<bool, JournalError> {
        let oldest = self.number("SELECT MIN(number) FROM outbox")?;
        let last = self.number("SELECT MAX(seq) FROM sqlite_sequence WHERE name = 'outbox'")?;
        let due = is_due(number, oldest, last.unwrap_or(0))?;
        if due {
            let number = i64::try_from(number).unwrap_or(i64::MAX);
            self.with(async |connection| {
                sqlx::query("DELETE FROM outbox WHERE number = ?").bind(number).execute(connection).await
            })?;
        }
        Ok(due)
    }
}

impl SqliteJournal {
    /// The one number that a query gives, if any.
    fn number(&mut self, sql: &'static str) -> Result<Option<u64>, JournalError> {
        let number: Option<i64> =
            self.with(async |connection| sqlx::query(sql).fetch_one(connection).await?.try_get(0))?;
        Ok(number.and_then(|n| u64::try_from(n).ok()))
    }

    fn json(&self, entry: &Entry) -> Result<String, JournalError> {
        serde_json::to_string(entry)
            .map_err(|e| JournalError::Storage { place: self.place.clone(), source: Box::new(e) })
    }
}
