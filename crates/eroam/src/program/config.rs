//! A program's configuration: one TOML file, units in the names of keys, unknown keys refused, secrets in files of their
//! own. Paths are relative to the directory of the file.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};

/// Why a configuration is not used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It cannot be read.
    #[error("the configuration {} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It is not what is expected: the text says where.
    #[error("the configuration {} cannot be used: {reason}", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// What, and where.
        reason: String,
    },
}

/// A configuration, and where it was.
#[derive(Clone, Debug)]
pub struct Located<T> {
    /// What it says.
    pub config: T,
    base: PathBuf,
}

impl<T: DeserializeOwned> Located<T> {
    /// Reads a file.
    ///
    /// # Errors
    /// [`ConfigError`].
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
        let config = toml::from_str(&text).map_err(|error| ConfigError::Malformed {
            path: path.to_owned(),
            // In one line, as every message is.
            reason: error.to_string().split_whitespace().collect::<Vec<_>>().join(" "),
        })?;
        Ok(Self { config, base: path.parent().unwrap_or(Path::new("")).to_owned() })
    }
}

impl<T> Located<T> {
    /// A path that it names.
    #[must_use]
    pub fn path(&self, named: &Path) -> PathBuf {
        self.base.join(named)
    }
}

/// For agents that are simulated: they share a clock in which hours of charging are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SimulationConfig {
    /// What was left out so far: a file of eight bytes that all agents of the simulation share.
    pub clock_file: PathBuf,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Lamp {
        power_w: u32,
        key_file: PathBuf,
    }

    fn read(text: &str) -> Result<Located<Lamp>, ConfigError> {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lamp.toml");
        std::fs::write(&path, text).unwrap();
        Located::read(&path)
    }

    #[test]
    fn what_is_not_known_or_missing_or_of_another_kind_is_refused_by_name() {
        for (text, named) in [
            ("power_w = 7\nkey_file = \"k\"\npower_kw = 1", "power_kw"),
            ("power_w = 7", "key_file"),
            ("power_w = \"7\"\nkey_file = \"k\"", "power_w"),
            ("power_w = 7\npower_w = 8\nkey_file = \"k\"", "power_w"),
        ] {
            let refused = read(text).unwrap_err().to_string();
            assert!(refused.contains(named) && !refused.contains('\n'), "{refused}");
        }
        assert!(matches!(Located::<Lamp>::read(Path::new("nowhere")), Err(ConfigError::Read { .. })));
    }

    #[test]
    fn paths_are_relative_to_the_file() {
        let lamp = read("power_w = 7\nkey_file = \"keys/a\"").unwrap();
        assert_eq!(lamp.config.power_w, 7);
        assert!(lamp.path(&lamp.config.key_file).ends_with("keys/a"));
        assert!(lamp.path(&lamp.config.key_file).is_absolute());
        assert_eq!(lamp.path(Path::new("/etc/key")), Path::new("/etc/key"));
    }
}
