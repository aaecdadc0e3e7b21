//! Places for stores: a temporary directory for SQLite, a database on a server of our own for PostgreSQL.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "shared by several test programs, none of which needs all of it"
)]

mod postgres;
pub mod records;

use eroam_domain::codec::Digest;
use eroam_store::{OpenError, OrgStore, StoreUrl};
use std::path::PathBuf;
use tempfile::TempDir;

/// Where the stores of one test are.
pub struct Place {
    url: String,
    directory: Option<TempDir>,
}

impl Place {
    pub fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        Self { url: directory.path().display().to_string(), directory: Some(directory) }
    }

    /// `None`, with a message, where PostgreSQL is not installed; that fails on CI.
    pub fn postgres() -> Option<Self> {
        Some(Self { url: postgres::new_database()?, directory: None })
    }

    pub fn at(url: &str) -> Self {
        Self { url: url.to_owned(), directory: None }
    }

    pub fn text(&self) -> &str {
        &self.url
    }

    pub fn url(&self) -> StoreUrl {
        self.url.parse().unwrap()
    }

    pub fn open(&self) -> OrgStore {
        self.try_open().unwrap()
    }

    pub fn try_open(&self) -> Result<OrgStore, OpenError> {
        OrgStore::open(&self.url(), records::own(), &records::network())
    }

    pub fn try_open_in(&self, network: &Digest) -> Result<OrgStore, OpenError> {
        OrgStore::open(&self.url(), records::own(), network)
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.directory.as_ref().unwrap().path().join(name)
    }

    /// Runs SQL behind the store's back, in the schema or file of `owner` (`no_lys`).
    pub fn sql(&self, owner: &str, sql: &str) {
        use sqlx::Connection as _;
        let (url, sql) = match &self.directory {
            Some(_) => {
                let file = self.file(&format!("{}.sqlite", owner.replace('_', "-")));
                (format!("sqlite://{}", file.display()), sql.to_owned())
            }
            None => (self.url.clone(), format!("SET search_path TO eroam_{owner}; {sql}")),
        };
        sqlx::any::install_default_drivers();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = sqlx::AnyConnection::connect(&url).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }
}

/// Makes a test for each database out of each function of a `Place`.
#[macro_export]
macro_rules! on_both {
    ($($(#[$attribute:meta])* fn $name:ident($place:ident) $body:block)*) => {
        mod behaviour {
            #![allow(clippy::wildcard_imports, reason = "the tests' own names")]
            use super::*;
            $($(#[$attribute])* pub(super) fn $name($place: &Place) $body)*
        }
        mod sqlite {
            $(#[test] fn $name() { super::behaviour::$name(&super::Place::sqlite()); })*
        }
        mod postgres {
            $(#[test] fn $name() {
                if let Some(place) = super::Place::postgres() {
                    super::behaviour::$name(&place);
                }
            })*
        }
    };
}
