//! A new network that takes up the state of an exported one, with validators of its own.
//!
//! Members, keys, records, balances and sequences are those of the earlier network. What changes is the genesis, so
//! the network's name to machines, and with it what signatures are good for: no envelope, vote or receipt of the one
//! means anything in the other. The earlier network must not go on beside the new one: both would book the same money.
//!
//! The keys of the new validators follow from the seed, as do those of a replay's: all validators live in one process
//! that is told the seed, so that a file with each key would protect nothing.

use super::export::{Export, ExportError};
use super::recheck::{self, RecheckError};
use super::staging::{Staging, StagingError};
use super::{Ledger, LedgerSetup, OpenLedgerError, validator_directory};
use crate::consortium::Seed;
use eroam_chain::directory::{Directory, DirectoryError};
use eroam_domain::codec::{Digest, ShortText, from_bytes};
use eroam_domain::ids::PartyId;
use eroam_ledger::genesis::{Consensus, Genesis, GenesisError};
use eroam_ledger::port::LedgerError;
use eroam_ledger::snapshot::Entry;
use eroam_ledger::state::{StateKey, state_digest};
use serde::Serialize;
use std::fmt;
use std::path::{Path, PathBuf};

/// How to begin the new network.
#[derive(Clone, Debug)]
pub struct Import<'a> {
    /// Where the earlier network's export is.
    pub from: &'a Path,
    /// The new data directory: new or empty.
    pub data: &'a Path,
    /// How many validators, shared out among the members in turn.
    pub validators: usize,
    /// Their keys follow from it.
    pub seed: Seed,
    /// The network's name to people; that of the earlier one if there is none.
    pub name: Option<ShortText<64>>,
}

/// Why no network begins.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ImportError {
    #[error("the export cannot be read")]
    Export(#[from] ExportError),
    #[error("the export does not stand the check: no network begins with its state")]
    Recheck(#[source] Box<RecheckError>),
    #[error("the new network's genesis is refused")]
    Genesis(#[from] GenesisError),
    #[error("the new network's directory cannot be written")]
    Staging(#[from] StagingError),
    #[error("the new network's directory cannot be written")]
    Directory(#[from] DirectoryError),
    #[error("the new network does not start")]
    Open(#[from] OpenLedgerError),
    #[error("the new network's state cannot be read")]
    Ledger(#[from] LedgerError),
    #[error("the new network begins with the state {found}, but {expected} was exported: nothing was kept")]
    OtherState { expected: Digest, found: Digest },
}

/// The new network.
#[derive(Clone, Debug, Serialize)]
pub struct Imported {
    /// The new data directory.
    pub data: PathBuf,
    /// The earlier network.
    pub from_network: Digest,
    /// The height of its last block.
    pub from_height: u64,
    /// The new network.
    pub network: Digest,
    /// Its name.
    pub name: String,
    /// How many validators it has.
    pub validators: usize,
    /// The state that was exported: [`eroam_ledger::state::state_digest`].
    pub exported_state_digest: Digest,
    /// The state that the new network has; the same.
    pub state_digest: Digest,
}

impl fmt::Display for Imported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "imported to    {}", self.data.display())?;
        writeln!(f, "from network   {}, after block {}", self.from_network, self.from_height)?;
        writeln!(f, "new network    {} ({})", self.network, self.name)?;
        writeln!(f, "validators     {}", self.validators)?;
        writeln!(f, "exported state {}", self.exported_state_digest)?;
        write!(f, "new state      {}, the same", self.state_digest)
    }
}

/// Checks an export and begins a network with its state. `progress` is told how many blocks of the export are checked.
///
/// # Errors
/// [`ImportError`]; the data directory is then as it was.
pub fn run(import: &Import<'_>, progress: &mut dyn FnMut(u64, u64)) -> Result<Imported, ImportError> {
    let staging = Staging::beside(import.data)?;
    let export = Export::open(import.from)?;
    let report = recheck::export(&export, None, progress).map_err(|e| ImportError::Recheck(Box::new(e)))?;
    let mut entries: Vec<Entry> = Vec::new();
    let header = export.state::<ExportError>(|entry| {
        entries.push(entry);
        Ok(())
    })?;
    let pairs = || entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()));
    let parties: Vec<PartyId> = pairs().filter_map(|(key, _)| member(key)).collect();
    let earlier = export.genesis();
    let setup = LedgerSetup {
        directory: Some(staging.path().join("ledger")),
        validators: import.validators,
        epoch_blocks: earlier.consensus.epoch_blocks,
        ..LedgerSetup::default()
    };
    let validators = setup.consensus(import.seed, &parties).validators;
    let consensus = Consensus { validators, ..earlier.consensus.clone() };
    let name = import.name.clone().unwrap_or_else(|| earlier.name.clone());
    let genesis = Genesis::successor(name, consensus, &header, pairs())?;
    drop(entries);
    let snapshot = export.state_bytes()?;
    for index in 0..import.validators {
        // Before the first start: a validator that begins without it would be refused.
        Directory::keep_snapshot(&validator_directory(&staging.path().join("ledger"), index), &snapshot)?;
    }
    drop(snapshot);
    let found = first_state(import.seed, &genesis, &setup)?;
    let expected = header.contents.state;
    if found != expected {
        return Err(ImportError::OtherState { expected, found });
    }
    staging.put_in_place()?;
    Ok(Imported {
        data: import.data.to_owned(),
        from_network: report.network,
        from_height: report.height,
        network: genesis.network(),
        name: genesis.name.as_str().to_owned(),
        validators: import.validators,
        exported_state_digest: expected,
        state_digest: found,
    })
}

fn member(key: &[u8]) -> Option<PartyId> {
    match from_bytes(key) {
        Ok(StateKey::Member(party)) => Some(party),
        _ => None,
    }
}

/// Starts the network, and stops it when it has begun: the digest of its state.
fn first_state(seed: Seed, genesis: &Genesis, setup: &LedgerSetup) -> Result<Digest, ImportError> {
    let ledger = Ledger::open(seed, genesis, setup)?;
    let (_, entries) = ledger.client().entries()?;
    Ok(state_digest(entries.iter().map(|(key, value)| (key.as_slice(), value.as_slice()))))
}
