//! The records of one organisation, in SQLite or PostgreSQL.
//!
//! One code and one set of migrations serve both: the SQL is the part that both understand, and a [`StoreUrl`] chooses.
//! Every organisation has its own SQLite file, or its own PostgreSQL schema (`eroam_pt_edp`); a store belongs to one
//! network and one organisation, and one process uses it at a time.
//!
//! Calls block, because the gateway's port does: each store owns a small runtime of its own. Do not call one on a
//! thread that runs asynchronous tasks; give it a thread, or use `spawn_blocking`.
//!
//! **Durability.** Changes are collected in memory and written by `commit` in one transaction. What `commit` has
//! acknowledged survives the death of the process and, as far as the disk keeps its word, the loss of power: SQLite
//! runs with a write-ahead log and `synchronous = FULL`, PostgreSQL with whatever `synchronous_commit` the server
//! sets (`on` by default). After an error of the database a store refuses everything else; opened again, it shows
//! the last commit.
//!
//! What an organisation's or a station's *agent* keeps (connections, credentials, registrations) is in an [`AgentStore`],
//! an SQLite file of its own.
//!
//! What it deliberately does not do: reconnect (another process may have taken over meanwhile), hash or sign
//! records, and decide anything about them.
#![deny(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]
#![cfg_attr(test, allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing))]

mod agent_store;
mod database;
mod file_lock;
mod open_error;
mod org_store;
mod rows;
mod session_counts;
mod store_url;

pub use agent_store::{AgentStore, AgentStoreError, RecordChange};
pub use open_error::OpenError;
pub use org_store::OrgStore;
pub use session_counts::SessionCounts;
pub use store_url::{StoreUrl, StoreUrlError};

/// The format of a store that this version writes; it counts the migrations.
pub const FORMAT: i64 = 5;
/// The oldest format that this version reads. Before it, records said who pays for a session in another form.
pub const FORMAT_OLDEST: i64 = 3;
