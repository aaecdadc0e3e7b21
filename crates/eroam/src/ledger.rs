//! The ledger of a consortium that lives in one process: one embedded validator, or several that talk over loopback
//! sockets. The blocks, the engine and the files are those of a node that stands alone.
//!
//! The modules below look at a ledger that nobody runs: what it holds, proofs of it, its export, the check from the
//! genesis, and a new network with its state.

pub mod blocks_file;
pub mod export;
pub mod import;
pub mod keys;
mod lost;
pub mod partners;
pub mod proofs;
pub mod reader;
pub mod recheck;
pub mod show;
mod staging;
pub mod status;

use crate::consortium::Seed;
use ed25519_dalek::SigningKey;
use eroam_chain::client::Client;
use eroam_chain::directory::{Directory, DirectoryError};
use eroam_chain::machine::{Rules, StateMachine};
use eroam_chain::mempool::PoolLimits;
use eroam_chain::node::{Node, NodeConfig, StartError, Starting};
use eroam_chain::{StatedTime, Timing};
use eroam_domain::ids::PartyId;
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, Validator};
use eroam_ledger::tx::PublicKey;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tempfile::TempDir;

/// The blocks of an epoch: about a day of full blocks, or a week of quiet ones.
pub const EPOCH_BLOCKS: u32 = 10_000;
/// The greatest body of a block in bytes.
const BLOCK_BYTES_MAX: u32 = 4 << 20;
/// Pages of files that each validator keeps in memory.
const CACHE_BYTES: usize = 64 << 20;
/// How often a start is tried again when another program took a port meanwhile.
const TRIES: usize = 5;

/// How a consortium's ledger is set up.
#[derive(Clone, Debug)]
pub struct LedgerSetup {
    /// Where it is kept; without it in a temporary directory, gone at the end.
    pub directory: Option<PathBuf>,
    /// How many validators there are.
    pub validators: usize,
    /// So many items go into a block.
    pub block_items: usize,
    /// So many blocks make an epoch.
    pub epoch_blocks: u32,
}

impl Default for LedgerSetup {
    fn default() -> Self {
        Self { directory: None, validators: 1, block_items: 4096, epoch_blocks: EPOCH_BLOCKS }
    }
}

/// Why a ledger could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenLedgerError {
    /// A validator does not start.
    #[error("validator {index} does not start")]
    Start {
        /// Which, from 0.
        index: usize,
        /// Why.
        #[source]
        source: StartError,
    },
    /// No temporary directory can be made.
    #[error("no temporary directory can be made for the ledger; name one with --data, or set TMPDIR")]
    Temporary(#[source] io::Error),
    /// No port can be had.
    #[error(
        "no port of the loopback interface is free for a validator: stop programs that hold many connections, and try again"
    )]
    Port(#[source] io::Error),
    /// The directory cannot be used.
    #[error("the ledger's directory cannot be used")]
    Directory(#[from] DirectoryError),
    /// What became of a validator cannot be noted.
    #[error("the ledger's directory cannot be written")]
    Lost(#[source] io::Error),
    /// So many validators lost their votes that the others are no quorum.
    #[error(
        "the directories of {lost} of {validators} validators in {} are gone, and the others alone cannot go on: put back \
         the directories of all but {faults}, or begin an empty one",
        directory.display()
    )]
    TooManyLost {
        /// The ledger's directory.
        directory: PathBuf,
        /// How many have none.
        lost: usize,
        /// How many there are.
        validators: usize,
        /// How many may be missing.
        faults: usize,
    },
    /// With those that were lost before and do not vote yet, the others are no quorum.
    #[error(
        "the directories of {lost} validators in {} are gone, while {silent} that lost theirs before do not vote yet; the \
         others go on without {faults} and no more: put back what is missing, or begin an empty one",
        directory.display()
    )]
    StillSilent {
        /// The ledger's directory.
        directory: PathBuf,
        /// How many have none.
        lost: usize,
        /// How many have copied the state, or began to, and do not vote yet.
        silent: usize,
        /// How many may be missing or silent.
        faults: usize,
    },
}

/// The validators of one process.
pub struct Ledger {
    nodes: Vec<Node>,
    client: Client,
    /// Removed when the ledger is dropped, after the nodes.
    _temporary: Option<Temporary>,
}

impl Seed {
    /// The key of a validator's votes.
    #[must_use]
    pub fn validator_key(self, index: usize) -> SigningKey {
        let index = u64::try_from(index).unwrap_or(u64::MAX).to_le_bytes();
        SigningKey::from_bytes(&self.derive("validator key", &[&index]).0)
    }
}

impl LedgerSetup {
    /// How the members agree on blocks, the validators shared out among them in turn.
    #[must_use]
    pub fn consensus(&self, seed: Seed, parties: &[PartyId]) -> Consensus {
        let validators = (0..self.validators).zip(parties.iter().cycle());
        Consensus {
            validators: validators
                .map(|(index, party)| Validator {
                    party: *party,
                    key: PublicKey::of(&seed.validator_key(index)),
                })
                .collect(),
            epoch_blocks: self.epoch_blocks,
            block_bytes_max: BLOCK_BYTES_MAX,
            time: BlockTime::Stated,
        }
    }
}

/// The directory of one validator.
#[must_use]
pub fn validator_directory(ledger: &Path, index: usize) -> PathBuf {
    ledger.join(format!("validator-{index}"))
}

/// What the names of temporary directories begin with.
const TEMPORARY: &str = "eroam-ledger-";
/// Held in a temporary directory for as long as it is in use.
const LOCK: &str = "lock";

/// A directory that is removed when it is dropped. A process that is killed leaves its own behind; whoever makes the
/// next one removes it.
struct Temporary {
    directory: TempDir,
    /// Locked. The last field: nobody removes the directory while this process does.
    _lock: File,
}

impl Temporary {
    fn new() -> io::Result<Self> {
        remove_abandoned(&std::env::temp_dir());
        let directory = tempfile::Builder::new().prefix(TEMPORARY).tempdir()?;
        // Under another name until it is locked: without a lock, a directory is left alone.
        let partial = directory.path().join("lock.partial");
        let lock = File::create(&partial)?;
        lock.lock()?;
        fs::rename(&partial, directory.path().join(LOCK))?;
        Ok(Self { directory, _lock: lock })
    }
}

/// Removes temporary directories that no process uses any more, as far as that is permitted.
fn remove_abandoned(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let lock = entry.path().join(LOCK);
        if entry.file_name().to_string_lossy().starts_with(TEMPORARY)
            && entry.file_type().is_ok_and(|kind| kind.is_dir())
            && fs::symlink_metadata(&lock).is_ok_and(|found| found.is_file())
            && let Ok(lock) = File::open(&lock)
            && lock.try_lock().is_ok()
        {
            tracing::info!(directory = %entry.path().display(), "ledger.abandoned");
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

impl Ledger {
    /// Opens the ledger of `genesis`, whose validators' keys follow from `seed`, and begins it if it is new.
    ///
    /// # Errors
    /// [`OpenLedgerError`].
    pub fn open(seed: Seed, genesis: &Genesis, setup: &LedgerSetup) -> Result<Self, OpenLedgerError> {
        Self::open_with(seed, genesis, setup, Arc::new(Rules))
    }

    /// As [`Ledger::open`], with other rules: for measuring.
    ///
    /// # Errors
    /// [`OpenLedgerError`].
    pub fn open_with(
        seed: Seed,
        genesis: &Genesis,
        setup: &LedgerSetup,
        machine: Arc<dyn StateMachine>,
    ) -> Result<Self, OpenLedgerError> {
        let (directory, temporary) = match &setup.directory {
            Some(directory) => (directory.clone(), None),
            None => {
                let temporary = Temporary::new().map_err(OpenLedgerError::Temporary)?;
                (temporary.directory.path().to_owned(), Some(temporary))
            }
        };
        let mut tries = 0;
        let nodes = loop {
            tries += 1;
            match start(seed, genesis, setup, &machine, &directory) {
                Err(OpenLedgerError::Start { source: StartError::Listen { .. }, .. }) if tries < TRIES => {}
                other => break other?,
            }
        };
        let client = nodes.first().map(|node| node.client().clone());
        let client = client.ok_or(OpenLedgerError::Start { index: 0, source: StartError::NotAValidator })?;
        Ok(Self { nodes, client, _temporary: temporary })
    }

    /// The first validator's handle: what the organisations submit to and read from.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// The first validator's handle, to submit.
    pub const fn client_mut(&mut self) -> &mut Client {
        &mut self.client
    }

    /// The validators.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Stops one validator, as a failure would.
    pub fn stop(&mut self, index: usize) {
        if index < self.nodes.len() {
            self.nodes.remove(index).stop();
        }
    }

    /// The height of the latest block.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.client.latest().height
    }
}

fn start(
    seed: Seed,
    genesis: &Genesis,
    setup: &LedgerSetup,
    machine: &Arc<dyn StateMachine>,
    directory: &Path,
) -> Result<Vec<Node>, OpenLedgerError> {
    // Said before anything is made: a directory of another network keeps what it has.
    for index in 0..setup.validators {
        let path = validator_directory(directory, index);
        if path.join("format").exists() {
            drop(Directory::open(&path, genesis)?);
        }
    }
    let catch_up = lost::catch_up(directory, genesis, setup.validators, machine)?;
    let addresses = loopback_addresses(setup.validators).map_err(OpenLedgerError::Port)?;
    let keys: Vec<PublicKey> = (0..setup.validators).map(|i| PublicKey::of(&seed.validator_key(i))).collect();
    let stated = StatedTime::default();
    let several = setup.validators > 1;
    let mut starting: Vec<Starting> = Vec::with_capacity(setup.validators);
    for (index, (listen, catch_up)) in addresses.iter().zip(catch_up).enumerate() {
        let config = NodeConfig {
            genesis: genesis.clone(),
            key: seed.validator_key(index),
            listen: *listen,
            peers: if several { keys.iter().copied().zip(addresses.clone()).collect() } else { Vec::new() },
            catch_up,
            stated: stated.clone(),
            clock: None,
            machine: Arc::clone(machine),
            pool: PoolLimits::DEFAULT,
            items_max: setup.block_items,
            timing: if several { Timing::SEVERAL } else { Timing::ALONE },
            cache_bytes: CACHE_BYTES,
        };
        let started = Node::start(&validator_directory(directory, index), config);
        starting.push(started.map_err(|source| OpenLedgerError::Start { index, source })?);
    }
    let mut nodes = Vec::with_capacity(starting.len());
    for (index, node) in starting.into_iter().enumerate() {
        nodes.push(node.ready().map_err(|source| OpenLedgerError::Start { index, source })?);
    }
    Ok(nodes)
}

/// An address on loopback for each validator; one on its own needs no fixed port.
pub(crate) fn loopback_addresses(count: usize) -> io::Result<Vec<SocketAddr>> {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    if count == 1 {
        return Ok(vec![any]);
    }
    // All are held until the last is known, so that they differ.
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind(any)).collect::<Result<_, _>>()?;
    held.iter().map(TcpListener::local_addr).collect()
}
