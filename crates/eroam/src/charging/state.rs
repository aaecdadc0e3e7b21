//! What an agent must not forget when its program ends, however it ends: in its directory, sealed, or in memory where
//! everybody lives in one process and nobody comes back.
//!
//! ```text
//! directory/keys.vault      the key of the records, under a passphrase (eroam_ssi::custody)
//! directory/agent.sqlite    the records, each sealed with that key under its name (eroam_store::AgentStore)
//! ```
//! A record is JSON of a kind and a key. What [`AgentState::write`] has returned from is on the disk; whoever answers
//! somebody writes first. What it deliberately does not do: notice that the whole directory was put back to an older one.

use eroam_ssi::custody::file::{FileError, VaultFile};
use eroam_ssi::custody::{
    ContentError, Cost, HolderVault, Passphrase, RecordsKey, RekeyError, VaultError, Wallet,
    change_passphrase,
};
use eroam_ssi::didcomm::OsRng;
use eroam_store::{AgentStore, AgentStoreError, RecordChange};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

const VAULT: &str = "keys.vault";
const RECORDS: &str = "agent.sqlite";

/// Why an agent's state cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The directory cannot be made.
    #[error("the agent's directory {} cannot be made", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// The vault's file.
    #[error("the vault of the agent's keys")]
    File(#[from] FileError),
    /// The passphrase, or a changed file: nobody can tell.
    #[error("the passphrase does not open {}; if you are sure of it, restore the directory from a backup", .0.display())]
    Passphrase(PathBuf),
    /// It does not open for another reason.
    #[error("{} cannot be used: restore the directory from a backup", .0.display())]
    Vault(PathBuf, #[source] VaultError),
    /// There are records, but not the key that they were sealed with.
    #[error("{} is missing, without which the records beside it cannot be read: restore it from a backup", .0.display())]
    KeyMissing(PathBuf),
    /// It has another passphrase from now on, or not.
    #[error("the passphrase of the agent's keys")]
    Rekey(#[from] RekeyError),
    /// What is in the vault is not what should be.
    #[error("the vault of the agent's keys")]
    Content(#[from] ContentError),
    /// The records.
    #[error(transparent)]
    Store(#[from] AgentStoreError),
    /// A record was changed, or is another's.
    #[error("the record {0} was changed by somebody else: restore the directory from a backup")]
    Changed(String, #[source] VaultError),
    /// A record cannot be read.
    #[error("the record {0} is not of this version")]
    Unreadable(String, #[source] serde_json::Error),
    /// A record cannot be written or sealed.
    #[error("the record {name} cannot be written: {why}")]
    Unwritable {
        /// Which.
        name: String,
        /// Why.
        why: String,
    },
}

/// Where records are.
trait Records: Send {
    fn each(&mut self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>, StateError>;
    fn get(&mut self, kind: &'static str, key: &str) -> Result<Option<Vec<u8>>, StateError>;
    fn write(&mut self, changes: Vec<RecordChange>) -> Result<(), StateError>;
}

/// Gone with the process.
#[derive(Default)]
struct InMemory(BTreeMap<(&'static str, String), Vec<u8>>);

impl Records for InMemory {
    fn each(&mut self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let of_kind = self.0.range((kind, String::new())..).take_while(|((found, _), _)| *found == kind);
        Ok(of_kind.map(|((_, key), body)| (key.clone(), body.clone())).collect())
    }

    fn get(&mut self, kind: &'static str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        Ok(self.0.get(&(kind, key.to_owned())).cloned())
    }

    fn write(&mut self, changes: Vec<RecordChange>) -> Result<(), StateError> {
        for RecordChange { kind, key, body } in changes {
            match body {
                Some(body) => drop(self.0.insert((kind, key), body)),
                None => drop(self.0.remove(&(kind, key))),
            }
        }
        Ok(())
    }
}

/// In a directory, sealed.
struct OnDisk {
    store: AgentStore,
    key: RecordsKey,
    /// Nobody else opens the directory meanwhile.
    _vault: VaultFile,
}

fn name(kind: &str, key: &str) -> String {
    format!("{kind}/{key}")
}

impl OnDisk {
    fn open(directory: &Path, passphrase: &Passphrase) -> Result<Self, StateError> {
        make_private(directory).map_err(|source| StateError::Directory(directory.to_owned(), source))?;
        let (vault_path, records) = (directory.join(VAULT), directory.join(RECORDS));
        let unsealed = |error| unsealed(&vault_path, error);
        let mut file = VaultFile::lock(&vault_path)?;
        let key = match file.read()? {
            Some(sealed) => {
                let (_, secrets) = HolderVault::open(&sealed, passphrase).map_err(unsealed)?;
                RecordsKey::of(&secrets)?.ok_or_else(|| StateError::KeyMissing(vault_path.clone()))?
            }
            None if records.exists() => return Err(StateError::KeyMissing(vault_path)),
            None => {
                let key = RecordsKey::generate(&mut OsRng).map_err(unsealed)?;
                let mut secrets = Wallet::new();
                key.put_into(&mut secrets)?;
                let vault = HolderVault::create(passphrase, Cost::USUAL, &mut OsRng).map_err(unsealed)?;
                file.replace(&vault.seal(&secrets, &mut OsRng).map_err(unsealed)?)?;
                key
            }
        };
        Ok(Self { store: AgentStore::open(&records)?, key, _vault: file })
    }

    fn opened(&self, kind: &str, key: &str, sealed: &[u8]) -> Result<Vec<u8>, StateError> {
        let name = name(kind, key);
        let opened = self.key.open(&name, sealed);
        opened.map(|body| body.to_vec()).map_err(|error| StateError::Changed(name, error))
    }
}

impl Records for OnDisk {
    fn each(&mut self, kind: &'static str) -> Result<Vec<(String, Vec<u8>)>, StateError> {
        let sealed = self.store.each(kind)?;
        let opened = sealed.into_iter().map(|(key, body)| {
            let body = self.opened(kind, &key, &body)?;
            Ok((key, body))
        });
        opened.collect()
    }

    fn get(&mut self, kind: &'static str, key: &str) -> Result<Option<Vec<u8>>, StateError> {
        let sealed = self.store.get(kind, key)?;
        sealed.map(|body| self.opened(kind, key, &body)).transpose()
    }

    fn write(&mut self, mut changes: Vec<RecordChange>) -> Result<(), StateError> {
        for RecordChange { kind, key, body } in &mut changes {
            let Some(body) = body else { continue };
            let name = name(kind, key);
            let sealed = self.key.seal(&name, body, &mut OsRng);
            *body = sealed.map_err(|error| StateError::Unwritable { name, why: error.to_string() })?;
        }
        Ok(self.store.write(changes)?)
    }
}

fn unsealed(vault: &Path, error: VaultError) -> StateError {
    match error {
        VaultError::Sealed => StateError::Passphrase(vault.to_owned()),
        other => StateError::Vault(vault.to_owned(), other),
    }
}

/// Only for this user.
fn make_private(directory: &Path) -> io::Result<()> {
    let mut builder = std::fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(directory)
}

/// Changes that are made together.
#[derive(Default)]
pub struct Changes {
    changes: Vec<RecordChange>,
    failed: Option<StateError>,
}

impl Changes {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// This record says so from now on.
    #[must_use]
    pub fn put(mut self, kind: &'static str, key: &str, value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(body) => self.changes.push(RecordChange { kind, key: key.to_owned(), body: Some(body) }),
            Err(error) => {
                let (name, why) = (name(kind, key), error.to_string());
                self.failed.get_or_insert(StateError::Unwritable { name, why });
            }
        }
        self
    }

    /// This record is gone.
    #[must_use]
    pub fn remove(mut self, kind: &'static str, key: &str) -> Self {
        self.changes.push(RecordChange { kind, key: key.to_owned(), body: None });
        self
    }
}

/// An agent's state. Clones are the same one.
#[derive(Clone)]
pub struct AgentState(Arc<Mutex<Box<dyn Records>>>);

impl AgentState {
    /// One that is gone with the process.
    #[must_use]
    pub fn in_memory() -> Self {
        Self(Arc::new(Mutex::new(Box::new(InMemory::default()))))
    }

    /// The one in a directory, which is made if it does not exist. One process at a time.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(directory: &Path, passphrase: &Passphrase) -> Result<Self, StateError> {
        Ok(Self(Arc::new(Mutex::new(Box::new(OnDisk::open(directory, passphrase)?)))))
    }

    /// Changes the passphrase of the state in a directory that no program uses. Records stay as they are: they are sealed
    /// with a key that lies in the vault.
    ///
    /// # Errors
    /// [`StateError`]; the old passphrase stays.
    pub fn change_passphrase(directory: &Path, old: &Passphrase, new: &Passphrase) -> Result<(), StateError> {
        let vault_path = directory.join(VAULT);
        // Where there is no state, no lock should be left lying.
        if !vault_path.exists() {
            return Err(StateError::KeyMissing(vault_path));
        }
        let mut file = VaultFile::lock(&vault_path)?;
        let sealed = file.read()?.ok_or_else(|| StateError::KeyMissing(vault_path.clone()))?;
        let (_, secrets) = HolderVault::open(&sealed, old).map_err(|error| unsealed(&vault_path, error))?;
        change_passphrase(&mut file, &secrets, new, Cost::USUAL, &mut OsRng)?;
        Ok(())
    }

    fn records(&self) -> MutexGuard<'_, Box<dyn Records>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All records of a kind by their keys, in the order of these.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn each<T: DeserializeOwned>(&self, kind: &'static str) -> Result<Vec<(String, T)>, StateError> {
        let read = |(key, body): (String, Vec<u8>)| match serde_json::from_slice(&body) {
            Ok(value) => Ok((key, value)),
            Err(error) => Err(StateError::Unreadable(name(kind, &key), error)),
        };
        self.records().each(kind)?.into_iter().map(read).collect()
    }

    /// A record.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn get<T: DeserializeOwned>(&self, kind: &'static str, key: &str) -> Result<Option<T>, StateError> {
        let body = self.records().get(kind, key)?;
        let read = |body: Vec<u8>| {
            serde_json::from_slice(&body).map_err(|error| StateError::Unreadable(name(kind, key), error))
        };
        body.map(read).transpose()
    }

    /// Makes changes, all or none; when it returns they are durable.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn write(&self, changes: Changes) -> Result<(), StateError> {
        match changes.failed {
            Some(error) => Err(error),
            None => self.records().write(changes.changes),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use zeroize::Zeroizing;

    fn passphrase(text: &str) -> Passphrase {
        Passphrase::new(Zeroizing::new(text.to_owned())).unwrap()
    }

    #[test]
    fn what_was_written_is_there_again_and_cannot_be_read_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("provider");
        let right = passphrase("right");
        let state = AgentState::open(&directory, &right).unwrap();
        state
            .write(Changes::new().put("customer", "1", &"Ana Almeida").put("customer", "2", &"Ben"))
            .unwrap();
        state.write(Changes::new().remove("customer", "2")).unwrap();
        drop(state);
        for entry in std::fs::read_dir(&directory).unwrap() {
            let bytes = std::fs::read(entry.unwrap().path()).unwrap();
            assert!(!bytes.windows(11).any(|window| window == b"Ana Almeida"));
        }
        let wrong = AgentState::open(&directory, &passphrase("wrong"));
        assert!(matches!(wrong, Err(StateError::Passphrase(_))));
        let state = AgentState::open(&directory, &right).unwrap();
        assert_eq!(state.each::<String>("customer").unwrap(), [("1".to_owned(), "Ana Almeida".to_owned())]);
        assert!(matches!(state.each::<u32>("customer"), Err(StateError::Unreadable(_, _))));
        drop(state);
        std::fs::remove_file(directory.join(VAULT)).unwrap();
        assert!(matches!(AgentState::open(&directory, &right), Err(StateError::KeyMissing(_))));
    }

    #[test]
    fn a_state_has_one_passphrase_and_keeps_its_records_when_that_changes() {
        let directory = tempfile::tempdir().unwrap();
        let (old, new) = (passphrase("old"), passphrase("new"));
        let nothing = AgentState::change_passphrase(&directory.path().join("none"), &old, &new);
        assert!(matches!(nothing, Err(StateError::KeyMissing(_))));
        let state = AgentState::open(directory.path(), &old).unwrap();
        state.write(Changes::new().put("customer", "1", &"Ana")).unwrap();
        let in_use = AgentState::change_passphrase(directory.path(), &old, &new);
        assert!(matches!(in_use, Err(StateError::File(FileError::Locked { .. }))));
        drop(state);
        let wrong = AgentState::change_passphrase(directory.path(), &new, &new);
        assert!(matches!(wrong, Err(StateError::Passphrase(_))));
        AgentState::change_passphrase(directory.path(), &old, &new).unwrap();
        assert!(matches!(AgentState::open(directory.path(), &old), Err(StateError::Passphrase(_))));
        let state = AgentState::open(directory.path(), &new).unwrap();
        assert_eq!(state.get::<String>("customer", "1").unwrap().as_deref(), Some("Ana"));
    }

    #[test]
    fn a_record_in_anothers_place_is_noticed() {
        let directory = tempfile::tempdir().unwrap();
        let right = passphrase("right");
        let state = AgentState::open(directory.path(), &right).unwrap();
        state.write(Changes::new().put("limit", "1", &10).put("limit", "2", &1_000)).unwrap();
        drop(state);
        let mut store = AgentStore::open(&directory.path().join(RECORDS)).unwrap();
        let body = store.get("limit", "2").unwrap();
        store.write(vec![RecordChange { kind: "limit", key: "1".to_owned(), body }]).unwrap();
        drop(store);
        let state = AgentState::open(directory.path(), &right).unwrap();
        assert!(matches!(state.get::<u32>("limit", "1"), Err(StateError::Changed(_, _))));
    }

    #[test]
    fn in_memory_it_is_the_same() {
        let state = AgentState::in_memory();
        state.write(Changes::new().put("a", "2", &2).put("a", "1", &1).put("b", "0", &0)).unwrap();
        state.write(Changes::new().remove("a", "3").put("a", "2", &3)).unwrap();
        assert_eq!(state.each::<u32>("a").unwrap(), [("1".to_owned(), 1), ("2".to_owned(), 3)]);
        assert_eq!(
            (state.get::<u32>("b", "0").unwrap(), state.get::<u32>("b", "1").unwrap()),
            (Some(0), None)
        );
    }
}
