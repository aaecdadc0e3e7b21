//! Where a store is kept.

use eroam_domain::ids::PartyId;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a store is kept: SQLite in a file, in a directory or in memory, or PostgreSQL.
///
/// | text | means |
/// |---|---|
/// | `data/`, `data`, or any directory that exists | SQLite files in it, one for each organisation: `pt-edp.sqlite` |
/// | `edp.sqlite`, or any other path with an extension | this SQLite file, for one organisation |
/// | `sqlite:` before either | the same |
/// | `sqlite::memory:` | SQLite in memory; every opening starts empty |
/// | `postgres://user@host:port/database`, or `postgresql://` | PostgreSQL, a schema for each organisation: `eroam_pt_edp` |
///
/// A Unix socket is `postgres://user@%2Frun%2Fpostgresql/database`. There is no TLS yet: stay on loopback or on a
/// socket. The user needs the right to create a schema (`GRANT CREATE ON DATABASE`), once. A password may stand in
/// the URL, in `PGPASSWORD` or in `~/.pgpass`; neither `Display` nor `Debug` nor any error shows it.
#[derive(Clone, PartialEq, Eq)]
pub struct StoreUrl(Location);

#[derive(Clone, PartialEq, Eq)]
enum Location {
    Memory,
    File(PathBuf),
    Directory(PathBuf),
    Postgres(String),
}

/// Text names no place for a store.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreUrlError {
    /// Nothing at all.
    #[error("the store's place is empty: name a directory, an SQLite file or postgres://user@host/database")]
    Empty,
    /// Another database.
    #[error(
        "`{scheme}:` is no store: name a directory, an SQLite file, sqlite::memory: or postgres://user@host/database"
    )]
    Scheme {
        /// What stood before the colon.
        scheme: String,
    },
}

/// Where one owner's records are.
pub(crate) enum Place {
    /// SQLite in memory.
    Memory,
    /// An SQLite file.
    File(PathBuf),
    /// A PostgreSQL schema.
    Schema {
        /// The URL, with its password.
        url: String,
        /// The schema's name.
        schema: String,
    },
}

impl StoreUrl {
    /// SQLite in memory: for tests and demonstrations.
    #[must_use]
    pub const fn memory() -> Self {
        Self(Location::Memory)
    }

    /// An SQLite file for one organisation.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self(Location::File(path.to_owned()))
    }

    /// A directory with an SQLite file for each organisation. It is made if it does not exist.
    #[must_use]
    pub fn directory(path: &Path) -> Self {
        Self(Location::Directory(path.to_owned()))
    }

    /// The directory, where it is one.
    #[must_use]
    pub fn as_directory(&self) -> Option<&Path> {
        match &self.0 {
            Location::Directory(path) => Some(path),
            _ => None,
        }
    }

    pub(crate) fn place(&self, owner: PartyId) -> Place {
        match &self.0 {
            Location::Memory => Place::Memory,
            Location::File(path) => Place::File(path.clone()),
            Location::Directory(path) => Place::File(path.join(format!("{}.sqlite", slug(owner, '-')))),
            Location::Postgres(url) => {
                Place::Schema { url: url.clone(), schema: format!("eroam_{}", slug(owner, '_')) }
            }
        }
    }

    /// Where one owner's records are, for messages.
    pub(crate) fn describe(&self, owner: PartyId) -> String {
        match self.place(owner) {
            Place::Memory => "sqlite::memory:".into(),
            Place::File(path) => path.display().to_string(),
            Place::Schema { schema, .. } => format!("{self}, schema {schema}"),
        }
    }
}

impl std::str::FromStr for StoreUrl {
    type Err = StoreUrlError;

    fn from_str(text: &str) -> Result<Self, StoreUrlError> {
        if text.starts_with("postgres://") || text.starts_with("postgresql://") {
            return Ok(Self(Location::Postgres(text.to_owned())));
        }
        let path = match text.strip_prefix("sqlite:") {
            Some(":memory:") => return Ok(Self::memory()),
            Some(path) => path.strip_prefix("//").unwrap_or(path),
            None => text,
        };
        if path.is_empty() {
            return Err(StoreUrlError::Empty);
        }
        // One letter before the colon is a drive.
        if let Some((scheme, _)) = path.split_once("://").filter(|(scheme, _)| scheme.len() > 1) {
            return Err(StoreUrlError::Scheme { scheme: scheme.to_owned() });
        }
        let directory = path.ends_with(std::path::is_separator);
        let path = Path::new(path);
        let directory = directory || path.is_dir() || (path.extension().is_none() && !path.is_file());
        Ok(if directory { Self::directory(path) } else { Self::file(path) })
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Location::Memory => f.write_str("sqlite::memory:"),
            Location::File(path) | Location::Directory(path) => write!(f, "{}", path.display()),
            Location::Postgres(url) => f.write_str(&without_password(url)),
        }
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An organisation's name for files and schemas: `pt-edp`.
fn slug(party: PartyId, separator: char) -> String {
    format!("{}{separator}{}", party.country(), party.id()).to_ascii_lowercase()
}

/// User, host and database. Passwords with characters that should have been escaped must not slip through either,
/// so that everything doubtful is left out.
fn without_password(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("postgres", ""));
    let (head, tail) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    if tail.contains('@') {
        return format!("{scheme}://...");
    }
    match head.rsplit_once('@') {
        Some((user, host)) => {
            let user = user.split(':').next().unwrap_or("");
            format!("{scheme}://{user}@{host}")
        }
        None => format!("{scheme}://{head}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_read_from_text() {
        let existing = tempfile::tempdir().unwrap();
        let dotted = existing.path().join("v1.2");
        std::fs::create_dir(&dotted).unwrap();
        let dotted = dotted.to_str().unwrap();
        for (text, want) in [
            ("sqlite::memory:", StoreUrl::memory()),
            ("data", StoreUrl::directory(Path::new("data"))),
            ("data.d/", StoreUrl::directory(Path::new("data.d/"))),
            (dotted, StoreUrl::directory(Path::new(dotted))),
            ("edp.sqlite", StoreUrl::file(Path::new("edp.sqlite"))),
            ("sqlite:edp.sqlite", StoreUrl::file(Path::new("edp.sqlite"))),
            ("sqlite:///var/edp.db", StoreUrl::file(Path::new("/var/edp.db"))),
        ] {
            assert_eq!(text.parse(), Ok(want), "{text}");
        }
        assert_eq!("".parse::<StoreUrl>(), Err(StoreUrlError::Empty));
        let other = "mysql://root@db/x".parse::<StoreUrl>();
        assert_eq!(other, Err(StoreUrlError::Scheme { scheme: "mysql".into() }));
    }

    #[test]
    fn a_password_is_never_shown() {
        for (url, want) in [
            ("postgres://edp:secret@db:5432/eroam", "postgres://edp@db:5432/eroam"),
            ("postgres://edp@db/eroam?password=secret", "postgres://edp@db/eroam"),
            ("postgres://edp:sec/ret@db/eroam", "postgres://edp@db/eroam"),
            ("postgres://edp:s@cret@db/eroam", "postgres://edp@db/eroam"),
            ("postgres://edp:sec?ret@db/eroam", "postgres://..."),
            ("postgres://edp:sec#ret@db/eroam", "postgres://..."),
            ("postgresql://%2Frun%2Fpostgresql/eroam", "postgresql://%2Frun%2Fpostgresql/eroam"),
        ] {
            let parsed: StoreUrl = url.parse().unwrap();
            assert_eq!(parsed.to_string(), want);
            assert_eq!(format!("{parsed:?}"), want);
        }
    }
}
