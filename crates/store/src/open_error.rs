//! Why a store does not open.

use eroam_domain::codec::Digest;
use eroam_gateway::ports::StoreError;

type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a store does not open, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file or a directory cannot be made or written.
    #[error(
        "the store {place} cannot be written: let this user write to the file and to its directory, or choose another place"
    )]
    NotWritable {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// Somebody has it open.
    #[error("the store {place} is in use by another process: stop that one first, or choose another place")]
    InUse {
        /// The store.
        place: String,
    },
    /// The server does not answer or does not let us in.
    #[error(
        "the store {place} cannot be reached: check that PostgreSQL runs there and that this user may connect to this database"
    )]
    Unreachable {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// The user may not create the schema.
    #[error(
        "the store {place} cannot be set up: let the user create a schema (GRANT CREATE ON DATABASE ... TO ...), or create it for the user"
    )]
    NotPermitted {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// The file is no database any more, or never was one.
    #[error(
        "the store {place} is damaged or is no SQLite database: move it away and restore it from a backup, or choose another place"
    )]
    Damaged {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// A database of something else.
    #[error("the store {place} is a database, but not one of eroam's: choose another place")]
    Foreign {
        /// The store.
        place: String,
    },
    /// Made for another network.
    #[error(
        "the store {place} belongs to network {found}, not to {expected}: use it with the genesis that it was made with (in a replay: with the same seed and validators), or choose another place"
    )]
    OtherNetwork {
        /// The store.
        place: String,
        /// Its network, as written in it.
        found: String,
        /// The network that was asked for.
        expected: Digest,
    },
    /// Made for another organisation.
    #[error(
        "the store {place} belongs to {found}, not to {expected}: choose the store of {expected}, or another place"
    )]
    OtherOwner {
        /// The store.
        place: String,
        /// Whose it is.
        found: String,
        /// Who asked for it.
        expected: String,
    },
    /// Written by a newer version.
    #[error(
        "the store {place} has format {found}, and this version of eroam knows formats up to {supported}: use the newer version that wrote it, or restore an older backup"
    )]
    NewerFormat {
        /// The store.
        place: String,
        /// Its format.
        found: i64,
        /// The newest format that is known here.
        supported: i64,
    },
    /// Written by a version whose records are not read any more.
    #[error(
        "the store {place} has format {found}, and this version of eroam reads formats from {supported} on: finish what is open in it with the older version that wrote it, and choose another place"
    )]
    OlderFormat {
        /// The store.
        place: String,
        /// Its format.
        found: i64,
        /// The oldest format that is read here.
        supported: i64,
    },
    /// Its tables cannot be made.
    #[error(
        "the tables of the store {place} cannot be brought up to date: restore it from a backup, or choose another place"
    )]
    Migration {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: Source,
    },
    /// The runtime cannot be started.
    #[error("the store {place} cannot start its runtime: the system has no threads or file descriptors left")]
    Runtime {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// Something else went wrong while it was read.
    #[error("the store {place} opens, but cannot be read")]
    Unreadable {
        /// The store.
        place: String,
        /// The cause.
        #[source]
        source: StoreError,
    },
}
