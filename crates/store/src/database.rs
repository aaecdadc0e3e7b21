//! One connection to one owner's records, opened under a lock and checked to be the right ones.
//!
//! ```text
//! SQLite      lock the file -> connect -+
//!                                       +-> is it ours? -> migrate -> claim it, if it is new
//! PostgreSQL  connect -> lock the schema +
//! ```
//! Nothing is written before the lock is held and the owner is known.

use crate::file_lock::{FileLock, private};
use crate::open_error::OpenError;
use crate::rows::{Placeholders, Table, Value, bind, insert};
use crate::store_url::{Place, StoreUrl};
use crate::{FORMAT, FORMAT_OLDEST};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_gateway::ports::StoreError;
use sqlx::any::{AnyConnectOptions, AnyRow};
use sqlx::migrate::{Migration, MigrationType, Migrator};
use sqlx::{AnyConnection, AssertSqlSafe, ConnectOptions, Connection, Row, SqlSafeStr};
use std::fs::{OpenOptions, TryLockError};
use std::io;
use std::path::Path;
use tokio::runtime::Runtime;

/// Pages of 8 KiB hold three or four sessions; a checkpoint every 64 MiB of log spares the disk the same pages again.
/// Deleted visitors are overwritten where that costs no extra page.
const SQLITE_SETTINGS: &str = "PRAGMA page_size = 8192; PRAGMA synchronous = FULL; PRAGMA cache_size = -32768; \
                               PRAGMA wal_autocheckpoint = 8192; PRAGMA secure_delete = FAST; \
                               PRAGMA temp_store = MEMORY";

/// How long a store waits for a dead predecessor's connection: a server notices a lost client a moment later.
const POSTGRES_LOCK_TIMEOUT: &str = "SET lock_timeout = '2s'";

/// Bytes of values after which a statement takes no further row.
const STATEMENT_SIZE: usize = 4 << 20;

/// Whose the store is, and what is counted only once.
pub(crate) const META: Table = Table { name: "meta", keys: &["key"], columns: &["value"], sticky: None };

/// The connection, and what has to live and die with it.
pub(crate) struct Database {
    place: String,
    /// `None` once it is closed, like the connection.
    runtime: Option<Runtime>,
    connection: Option<AnyConnection>,
    kind: Kind,
    in_transaction: bool,
    /// Set by the first error: memory and database may differ from then on.
    failed: bool,
    /// The last field: released after the connection is closed.
    _lock: Option<FileLock>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    const fn placeholders(self) -> Placeholders {
        match self {
            Self::Sqlite => Placeholders::Anonymous,
            Self::Postgres => Placeholders::Numbered,
        }
    }
}

impl Database {
    /// Opens the owner's records, or makes them.
    pub(crate) fn open(url: &StoreUrl, owner: PartyId, network: &Digest) -> Result<Self, OpenError> {
        sqlx::any::install_default_drivers();
        let place = url.describe(owner);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|source| OpenError::Runtime { place: place.clone(), source })?;
        match url.place(owner) {
            Place::Memory => Self::open_sqlite(runtime, place, None, owner, network),
            Place::File(path) => {
                let file = SqliteFile::prepare(&place, &path)?;
                Self::open_sqlite(runtime, place, Some(file), owner, network)
            }
            Place::Schema { url, schema } => {
                Self::open_postgres(runtime, place, &url, &schema, owner, network)
            }
        }
    }

    fn open_sqlite(
        runtime: Runtime,
        place: String,
        file: Option<SqliteFile>,
        owner: PartyId,
        network: &Digest,
    ) -> Result<Self, OpenError> {
        let (url, lock) = match file {
            None => ("sqlite::memory:".to_owned(), None),
            Some(file) => (file.url, Some(file.lock)),
        };
        let error = |e| open_error(&place, Kind::Sqlite, e);
        let connection = runtime.block_on(async {
            let mut connection = connect(&url).await.map_err(error)?;
            sqlx::raw_sql(SQLITE_SETTINGS).execute(&mut connection).await.map_err(error)?;
            let tables = "SELECT COUNT(*), COUNT(*) FILTER (WHERE name = 'meta') FROM sqlite_master \
                          WHERE type = 'table' AND name <> '_sqlx_migrations' AND name NOT LIKE 'sqlite_%'";
            let found = sqlx::query(tables).fetch_one(&mut connection).await.map_err(error)?;
            let known = identify(&mut connection, &place, Kind::Sqlite, &found, owner, network).await?;
            sqlx::raw_sql("PRAGMA journal_mode = WAL").execute(&mut connection).await.map_err(error)?;
            adopt(&mut connection, &place, Kind::Sqlite, known, owner, network).await?;
            Ok::<_, OpenError>(connection)
        })?;
        if let Some(lock) = &lock {
            lock.sign(&owner.to_string()).map_err(|e| not_writable(&place, e))?;
        }
        Ok(Self {
            place,
            runtime: Some(runtime),
            connection: Some(connection),
            kind: Kind::Sqlite,
            in_transaction: false,
            failed: false,
            _lock: lock,
        })
    }

    fn open_postgres(
        runtime: Runtime,
        place: String,
        url: &str,
        schema: &str,
        owner: PartyId,
        network: &Digest,
    ) -> Result<Self, OpenError> {
        let connection = runtime.block_on(async {
            let unreachable = |e: sqlx::Error| OpenError::Unreachable { place: place.clone(), source: e.into() };
            let error = |e| open_error(&place, Kind::Postgres, e);
            let mut connection = connect(url).await.map_err(unreachable)?;
            lock_schema(&mut connection, schema).await.map_err(error)?;
            let tables = "SELECT COUNT(*), COUNT(*) FILTER (WHERE tablename = 'meta') FROM pg_catalog.pg_tables \
                          WHERE schemaname = $1 AND tablename <> '_sqlx_migrations'";
            let found = sqlx::query(tables).bind(schema).fetch_one(&mut connection).await.map_err(error)?;
            let path = AssertSqlSafe(format!("SET search_path TO {schema}"));
            sqlx::raw_sql(path).execute(&mut connection).await.map_err(error)?;
            let known = identify(&mut connection, &place, Kind::Postgres, &found, owner, network).await?;
            make_schema(&mut connection, schema).await.map_err(error)?;
            adopt(&mut connection, &place, Kind::Postgres, known, owner, network).await?;
            Ok::<_, OpenError>(connection)
        })?;
        Ok(Self {
            place,
            runtime: Some(runtime),
            connection: Some(connection),
            kind: Kind::Postgres,
            in_transaction: false,
            failed: false,
            _lock: None,
        })
    }

    /// Refuses after a failure: memory may hold what the database does not.
    pub(crate) fn check(&self) -> Result<(), StoreError> {
        if !self.failed {
            return Ok(());
        }
        let what = format!(
            "the store {} failed before and keeps only what was committed until then: start again",
            self.place
        );
        Err(StoreError { what, source: None })
    }

    /// Where it is, for messages.
    pub(crate) fn place(&self) -> &str {
        &self.place
    }

    /// The first row.
    pub(crate) fn row(
        &mut self,
        sql: &'static str,
        values: Vec<Value>,
    ) -> Result<Option<AnyRow>, StoreError> {
        self.attempt("read", async |connection| {
            let query = values.into_iter().fold(sqlx::query(sql), bind);
            query.fetch_optional(connection).await
        })
    }

    /// All rows.
    pub(crate) fn rows(&mut self, sql: &'static str, values: Vec<Value>) -> Result<Vec<AnyRow>, StoreError> {
        self.attempt("read", async |connection| {
            let query = values.into_iter().fold(sqlx::query(sql), bind);
            query.fetch_all(connection).await
        })
    }

    /// Inserts rows, or replaces those with the same keys, in the transaction that the next commit ends.
    pub(crate) fn put(
        &mut self,
        table: &Table,
        rows: impl Iterator<Item = Result<Vec<Value>, serde_json::Error>>,
    ) -> Result<(), StoreError> {
        self.begin()?;
        let places = self.kind.placeholders();
        let mut rows = rows.peekable();
        while rows.peek().is_some() {
            let (mut chunk, mut size) = (Vec::new(), 0usize);
            while chunk.len() < table.rows_per_statement()
                && size < STATEMENT_SIZE
                && let Some(row) = rows.next()
            {
                let row = row.map_err(|e| StoreError {
                    what: format!("a record for {} of {} cannot be written as JSON", table.name, self.place),
                    source: Some(e.into()),
                })?;
                size = row.iter().map(Value::size).fold(size, usize::saturating_add);
                chunk.push(row);
            }
            self.attempt("written", async |connection| insert(connection, places, table, chunk).await)?;
        }
        Ok(())
    }

    /// Removes rows by their only key column.
    pub(crate) fn remove(&mut self, table: &Table, keys: Vec<String>) -> Result<(), StoreError> {
        self.begin()?;
        for chunk in keys.chunks(table.rows_per_statement()) {
            let sql = table.delete(chunk.len(), self.kind.placeholders());
            self.attempt("written", async |connection| {
                let values = chunk.iter().map(|key| Value::Text(key.clone()));
                values.fold(sqlx::query(AssertSqlSafe(sql)), bind).execute(connection).await
            })?;
        }
        Ok(())
    }

    /// Changes rows in the transaction that the next commit ends; gives how many.
    pub(crate) fn change(&mut self, sql: &'static str, values: Vec<Value>) -> Result<u64, StoreError> {
        self.begin()?;
        self.attempt("written", async |connection| {
            let query = values.into_iter().fold(sqlx::query(sql), bind);
            query.execute(connection).await.map(|done| done.rows_affected())
        })
    }

    /// Ends the transaction, if there is one.
    pub(crate) fn commit(&mut self) -> Result<(), StoreError> {
        if self.in_transaction {
            self.attempt("committed", async |c| sqlx::raw_sql("COMMIT").execute(c).await)?;
            self.in_transaction = false;
        }
        Ok(())
    }

    /// An error of a row that is there but does not hold what it should.
    pub(crate) fn damaged(
        &self,
        what: &str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> StoreError {
        StoreError {
            what: format!("{what} in {} is damaged: restore the store from a backup", self.place),
            source: Some(source.into()),
        }
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if !self.in_transaction {
            self.attempt("written", async |c| sqlx::raw_sql("BEGIN").execute(c).await)?;
            self.in_transaction = true;
        }
        Ok(())
    }

    fn attempt<T>(
        &mut self,
        done: &str,
        work: impl AsyncFnOnce(&mut AnyConnection) -> Result<T, sqlx::Error>,
    ) -> Result<T, StoreError> {
        self.check()?;
        let closed = || StoreError { what: format!("the store {} is closed", self.place), source: None };
        let runtime = self.runtime.as_ref().ok_or_else(closed)?;
        let connection = self.connection.as_mut().ok_or_else(closed)?;
        runtime.block_on(work(connection)).map_err(|source| {
            self.failed = true;
            let remedy = remedy(self.kind, &source);
            StoreError {
                what: format!("the store {} cannot be {done}: {remedy}", self.place),
                source: Some(source.into()),
            }
        })
    }
}

impl Drop for Database {
    /// Closes in order: what was not committed is rolled back, then the lock is released.
    fn drop(&mut self) {
        let (Some(runtime), Some(connection)) = (self.runtime.take(), self.connection.take()) else { return };
        let (kind, in_transaction) = (self.kind, self.in_transaction);
        let close = move || {
            runtime.block_on(async {
                let mut connection = connection;
                if kind == Kind::Postgres {
                    // The server would release it too, but only after it has noticed that we are gone.
                    if in_transaction {
                        let _ = sqlx::raw_sql("ROLLBACK").execute(&mut connection).await;
                    }
                    let unlock = "SELECT pg_advisory_unlock_all()";
                    let _ = sqlx::raw_sql(unlock).execute(&mut connection).await;
                }
                let _ = connection.close().await;
            });
        };
        // A runtime can neither wait nor be dropped on a thread that runs asynchronous tasks.
        if tokio::runtime::Handle::try_current().is_ok() {
            let _ = std::thread::spawn(close).join();
        } else {
            close();
        }
    }
}

/// An SQLite file that this process holds the lock of.
struct SqliteFile {
    url: String,
    lock: FileLock,
}

impl SqliteFile {
    fn prepare(place: &str, path: &Path) -> Result<Self, OpenError> {
        let io = |e: io::Error| not_writable(place, e);
        let directory = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        make_directory(directory).map_err(io)?;
        let name = path.file_name().ok_or_else(|| io(io::ErrorKind::InvalidFilename.into()))?;
        let path = directory.canonicalize().map_err(io)?.join(name);
        let mut lock_path = path.clone().into_os_string();
        lock_path.push(".lock");
        let lock = FileLock::take(Path::new(&lock_path)).map_err(|e| match e {
            TryLockError::WouldBlock => OpenError::InUse { place: place.to_owned() },
            TryLockError::Error(e) => io(e),
        })?;
        // SQLite takes an empty file for a new database; one that was signed for has lost its contents.
        if path.metadata().is_ok_and(|m| m.len() == 0) && lock.is_signed().map_err(io)? {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "the file is empty");
            return Err(OpenError::Damaged { place: place.to_owned(), source: source.into() });
        }
        private(OpenOptions::new().create(true).truncate(false).read(true).write(true))
            .open(&path)
            .map_err(io)?;
        let text = path.to_str().ok_or_else(|| io(io::ErrorKind::InvalidFilename.into()))?;
        Ok(Self { url: format!("sqlite://{}?mode=rw", percent_encoded(text)), lock })
    }
}

fn make_directory(path: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(path)
}

/// Everything but letters, digits, `/`, `.`, `_` and `-`, for a URL.
fn percent_encoded(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'_' | b'-' => out.push(char::from(byte)),
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

async fn connect(url: &str) -> Result<AnyConnection, sqlx::Error> {
    let options: AnyConnectOptions = url.parse()?;
    // Statements carry no personal data, but one log line for each is of no use to anybody.
    options.disable_statement_logging().connect().await
}

/// One process at a time for a schema: a lock of the session, which ends with the connection.
async fn lock_schema(connection: &mut AnyConnection, schema: &str) -> Result<(), sqlx::Error> {
    let Digest(digest) = Digest::of_parts("eroam/store-lock/1", &[schema.as_bytes()]);
    let key = digest.first_chunk().map_or(0, |bytes| i64::from_le_bytes(*bytes));
    sqlx::raw_sql(POSTGRES_LOCK_TIMEOUT).execute(&mut *connection).await?;
    sqlx::query("SELECT pg_advisory_lock($1)").bind(key).execute(&mut *connection).await?;
    sqlx::raw_sql("RESET lock_timeout").execute(&mut *connection).await?;
    Ok(())
}

/// The schema, with the collation and the type that the migrations take for granted.
async fn make_schema(connection: &mut AnyConnection, schema: &str) -> Result<(), sqlx::Error> {
    let found = "SELECT (SELECT COUNT(*) FROM pg_catalog.pg_namespace WHERE nspname = $1), \
                 (SELECT COUNT(*) FROM pg_catalog.pg_type t JOIN pg_catalog.pg_namespace n ON n.oid = t.typnamespace \
                  WHERE n.nspname = $1 AND t.typname = 'blob')";
    let row = sqlx::query(found).bind(schema).fetch_one(&mut *connection).await?;
    let (schemas, blobs): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    let mut setup = String::new();
    // The schema is not "created if it does not exist", because that needs the right to create even if it does.
    if schemas == 0 {
        setup.push_str(&format!("CREATE SCHEMA {schema}; "));
    }
    if blobs == 0 {
        setup.push_str("CREATE COLLATION \"binary\" FROM pg_catalog.\"C\"; CREATE DOMAIN blob AS bytea");
    }
    if !setup.is_empty() {
        // Several statements in one message are one transaction.
        sqlx::raw_sql(AssertSqlSafe(setup)).execute(connection).await?;
    }
    Ok(())
}

/// Reads whose records these are and refuses others'; writes nothing. `tables` counts all tables and those named
/// `meta`.
async fn identify(
    connection: &mut AnyConnection,
    place: &str,
    kind: Kind,
    tables: &AnyRow,
    owner: PartyId,
    network: &Digest,
) -> Result<Identity, OpenError> {
    let error = |e| open_error(place, kind, e);
    let foreign = || OpenError::Foreign { place: place.to_owned() };
    let (all, meta): (i64, i64) = (tables.try_get(0).map_err(error)?, tables.try_get(1).map_err(error)?);
    if all > 0 && meta == 0 {
        return Err(foreign());
    }
    let mut known = Identity::default();
    if meta > 0 {
        let query = sqlx::query("SELECT key, value FROM meta WHERE key IN ('format', 'network', 'party')");
        for row in query.fetch_all(connection).await.map_err(error)? {
            let key: String = row.try_get(0).map_err(|_| foreign())?;
            let value: String = row.try_get(1).map_err(|_| foreign())?;
            match key.as_str() {
                "format" => known.format = Some(value.parse().map_err(|_| foreign())?),
                "network" => known.network = Some(value),
                _ => known.party = Some(value),
            }
        }
    }
    known.check(place, owner, network)?;
    Ok(known)
}

/// Brings the tables up to date, and writes down whose they are from now on.
async fn adopt(
    connection: &mut AnyConnection,
    place: &str,
    kind: Kind,
    known: Identity,
    owner: PartyId,
    network: &Digest,
) -> Result<(), OpenError> {
    let migration = |version, name: &'static str, sql: &'static str| {
        Migration::new(version, name.into(), MigrationType::Simple, sql.into_sql_str(), false)
    };
    let mut migrator = Migrator::with_migrations(vec![
        migration(1, "records", include_str!("../migrations/0001_records.sql")),
        migration(2, "no envelopes", include_str!("../migrations/0002_no_envelopes.sql")),
        migration(3, "vouchers and evidence", include_str!("../migrations/0003_vouchers_and_evidence.sql")),
        migration(4, "anomalies", include_str!("../migrations/0004_anomalies.sql")),
        migration(5, "true-ups", include_str!("../migrations/0005_true_ups.sql")),
    ]);
    // The lock that we hold is enough, and sqlx's own would make the organisations of one server wait for each other.
    migrator.set_locking(false);
    let migrated = migrator.run(&mut *connection).await;
    migrated.map_err(|e| OpenError::Migration { place: place.to_owned(), source: e.into() })?;

    if known.format == Some(FORMAT) {
        return Ok(());
    }
    let identity =
        [("format", FORMAT.to_string()), ("network", network.to_string()), ("party", owner.to_string())];
    let rows = identity.into_iter().map(|(key, value)| vec![Value::Text(key.into()), Value::Text(value)]);
    let claimed = insert(connection, kind.placeholders(), &META, rows.collect()).await;
    claimed.map_err(|e| open_error(place, kind, e))
}

/// What a store says about itself.
#[derive(Default)]
struct Identity {
    format: Option<i64>,
    network: Option<String>,
    party: Option<String>,
}

impl Identity {
    /// The format first: another one may mean anything else by the rest.
    fn check(&self, place: &str, owner: PartyId, network: &Digest) -> Result<(), OpenError> {
        let place = || place.to_owned();
        if let Some(found) = self.format.filter(|found| *found > FORMAT) {
            return Err(OpenError::NewerFormat { place: place(), found, supported: FORMAT });
        }
        if let Some(found) = self.format.filter(|found| *found < FORMAT_OLDEST) {
            return Err(OpenError::OlderFormat { place: place(), found, supported: FORMAT_OLDEST });
        }
        if let Some(found) = self.network.clone().filter(|found| *found != network.to_string()) {
            return Err(OpenError::OtherNetwork { place: place(), found, expected: *network });
        }
        if let Some(found) = self.party.clone().filter(|found| *found != owner.to_string()) {
            return Err(OpenError::OtherOwner { place: place(), found, expected: owner.to_string() });
        }
        Ok(())
    }
}

fn not_writable(place: &str, source: io::Error) -> OpenError {
    OpenError::NotWritable { place: place.to_owned(), source: source.into() }
}

/// The primary result code of an SQLite error.
fn sqlite_code(error: &sqlx::Error) -> Option<u32> {
    error.as_database_error()?.code()?.parse::<u32>().ok().map(|code| code & 0xff)
}

fn open_error(place: &str, kind: Kind, error: sqlx::Error) -> OpenError {
    let place = place.to_owned();
    match kind {
        Kind::Sqlite => match sqlite_code(&error) {
            Some(11 | 26) => OpenError::Damaged { place, source: error.into() },
            Some(5 | 6) => OpenError::InUse { place },
            Some(3 | 8 | 13 | 14 | 23) => OpenError::NotWritable { place, source: error.into() },
            _ => OpenError::Unreadable { place, source: plain(error) },
        },
        Kind::Postgres => match error.as_database_error().and_then(|e| e.code()).as_deref() {
            Some("55P03") => OpenError::InUse { place },
            Some("42501") => OpenError::NotPermitted { place, source: error.into() },
            _ => OpenError::Unreadable { place, source: plain(error) },
        },
    }
}

fn plain(error: sqlx::Error) -> StoreError {
    StoreError { what: "the database reports an error".into(), source: Some(error.into()) }
}

fn remedy(kind: Kind, error: &sqlx::Error) -> &'static str {
    match (kind, error) {
        (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
            "it is damaged: restore it from a backup"
        }
        (Kind::Postgres, sqlx::Error::Database(_)) => "look into the server's log, then start again",
        (Kind::Postgres, _) => "the connection to PostgreSQL is lost: start again when the server is back",
        (Kind::Sqlite, error) => match sqlite_code(error) {
            Some(11 | 26) => "the file is damaged: restore it from a backup",
            Some(13) => "the disk is full: make room, then start again",
            Some(8) => "the file has become read-only: let this user write to it, then start again",
            Some(5 | 6) => "another program has locked the file: close that program, then start again",
            _ => "check the disk, then start again",
        },
    }
}
