//! One validator in a thread of its own.

use crate::assembly::{self, Network, Parts, message_bytes_max};
use crate::beginning::{Beginning, BeginningError, validator_set};
use crate::block::engine_key;
use crate::client::Client;
use crate::directory::{Directory, DirectoryError};
use crate::epochs::Timing;
use crate::failure::explain;
use crate::machine::StateMachine;
use crate::mempool::{Mempool, PoolLimits};
use crate::panics::Quiet;
use crate::probe::{self, can_copy};
use crate::read_model::{ReadModel, ReadModelError};
use crate::requests::{Questions, Request};
use crate::sync;
use crate::tip::{BlockClock, Copying, StatedTime, Tip};
use commonware_codec::DecodeExt as _;
use commonware_cryptography::{ChaCha20Poly1305, Signer as _, ed25519};
use commonware_p2p::Manager as _;
use commonware_p2p::authenticated::{self, discovery};
use commonware_runtime::{Quota, Runner as _, Supervisor as _, tokio as runtime};
use commonware_stream::cups::{self, Cups};
use commonware_stream::sake::{self, Sake};
use commonware_utils::ordered::Set;
use commonware_utils::{NZU32, NZUsize};
use ed25519_dalek::SigningKey;
use eroam_domain::codec::Digest;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::tx::PublicKey;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};
use tokio::sync::mpsc;

/// How long a node may take for its next block while it opens its directory or begins the network.
const OPEN_WITHIN: Duration = Duration::from_secs(120);
/// How often a channel may carry a message from one peer.
const MESSAGES_PER_SECOND: Quota = Quota::per_second(NZU32!(4096));

/// How a validator whose directory is empty comes to the state. In a directory that is not, nothing is left to choose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CatchUp {
    /// It executes all blocks from the genesis on, and votes at once: for a network that begins, and for a key that was
    /// never used.
    #[default]
    Blocks,
    /// It copies the state of a recent block from the others, and does not vote until the third epoch after: what it voted
    /// for before, in a directory that is gone, it does not know. Blocks before that one are not kept here. It takes
    /// four validators, of whom the others go on without it.
    State,
}

/// What a node is started with.
pub struct NodeConfig {
    /// The network.
    pub genesis: Genesis,
    /// The key of this validator's votes.
    pub key: SigningKey,
    /// Where to listen for the other validators; port 0 for a validator on its own.
    pub listen: SocketAddr,
    /// Where the other validators listen.
    pub peers: Vec<(PublicKey, SocketAddr)>,
    /// How it comes to the state where its directory is empty.
    pub catch_up: CatchUp,
    /// The time that submitters state, where the network goes by that.
    pub stated: StatedTime,
    /// Where the time of blocks comes from where the network goes by clocks; the machine's clock if nothing is said.
    pub clock: Option<BlockClock>,
    /// The rules.
    pub machine: Arc<dyn StateMachine>,
    /// How much may wait for a block.
    pub pool: PoolLimits,
    /// So many items go into a block that this node proposes.
    pub items_max: usize,
    /// Patience.
    pub timing: Timing,
    /// The bytes of pages of files that are kept in memory.
    pub cache_bytes: usize,
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum StartError {
    #[error("the directory cannot be used")]
    Directory(#[from] DirectoryError),
    #[error("the network cannot begin")]
    Beginning(#[from] BeginningError),
    #[error("the read model cannot be opened")]
    ReadModel(#[from] ReadModelError),
    #[error("the key is no validator's of this network: use the key whose public half the genesis names")]
    NotAValidator,
    #[error(
        "a validator's key in the genesis is no Ed25519 public key: {0:?}: state the one that the validator was made with"
    )]
    MalformedKey(PublicKey),
    #[error(
        "a validator on its own has nobody to copy the state from: put back its directory, or begin a new network"
    )]
    NobodyToCopyFrom,
    #[error(
        "with {validators} validators nothing is decided without the votes of all, and whoever copies the state may not vote at \
         first: put back the directory, or begin a new network, with four validators or more if one is to be replaceable"
    )]
    TooFewToCopy { validators: usize },
    #[error(
        "the state here is a part of one that was being copied: start the validator again, it goes on copying"
    )]
    Unfinished,
    #[error(
        "the state is not copied on for {seconds} seconds: start more of the other validators; with four validators, all of them"
    )]
    NotCopied { seconds: u64 },
    #[error("cannot listen at {address}: choose another port, or stop the program that uses it")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error("no thread can be started")]
    Thread(#[source] std::io::Error),
    #[error("the ledger's node stopped: {0}")]
    Stopped(String),
    #[error(
        "the ledger waits for block {height} for {seconds} seconds: too few validators answer; start more of the others, and see \
         that their addresses can be reached"
    )]
    TooSlow { height: u64, seconds: u64 },
}

/// A running validator. Dropping it stops it.
pub struct Node {
    client: Client,
    questions: Questions,
    thread: Option<JoinHandle<()>>,
}

/// A node that was started and may not be ready yet.
pub struct Starting(Node);

impl Starting {
    /// Waits until a block of this run is final, so that nothing that was submitted to an earlier one is undecided.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn ready(self) -> Result<Node, StartError> {
        let Self(node) = self;
        let tip = &node.client.tip;
        let mut reached = (tip.header().height, tip.copying());
        while !tip.wait_until_ready(Instant::now() + OPEN_WITHIN) {
            if tip.unfinished() {
                return Err(StartError::Unfinished);
            }
            if let Some(reason) = node.client.mempool.stopped() {
                return Err(StartError::Stopped(reason));
            }
            let before = std::mem::replace(&mut reached, (tip.header().height, tip.copying()));
            if reached == before {
                let seconds = OPEN_WITHIN.as_secs();
                return Err(match reached {
                    (_, Some(_)) => StartError::NotCopied { seconds },
                    (height, None) => StartError::TooSlow { height: height.saturating_add(1), seconds },
                });
            }
        }
        Ok(node)
    }
}

impl Node {
    /// Starts a validator on a directory.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn start(path: &Path, config: NodeConfig) -> Result<Starting, StartError> {
        if config.catch_up == CatchUp::State {
            // Before a directory is made, which would be one of a validator that never voted.
            match config.genesis.consensus.validators.len() {
                1 => return Err(StartError::NobodyToCopyFrom),
                validators if !can_copy(validators) => return Err(StartError::TooFewToCopy { validators }),
                _ => {}
            }
        }
        let directory = Directory::open(path, &config.genesis)?;
        let own = PublicKey::of(&config.key);
        if !config.genesis.consensus.validators.iter().any(|v| v.key == own) {
            return Err(StartError::NotAValidator);
        }
        Self::run(directory, config, true)
    }

    /// Opens a validator's directory to read what it holds: nothing is voted on, nobody is talked to. Blocks that were
    /// final when the validator stopped are executed first if their state was not yet on the disk.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn read(path: &Path, machine: Arc<dyn StateMachine>) -> Result<Starting, StartError> {
        let directory = Directory::open_existing(path)?;
        let genesis = directory.genesis()?;
        let key = Digest::of_parts("eroam/reader/1", &[&genesis.network().0]);
        let config = NodeConfig {
            genesis,
            key: SigningKey::from_bytes(&key.0),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            peers: Vec::new(),
            catch_up: CatchUp::Blocks,
            stated: StatedTime::default(),
            clock: None,
            machine,
            pool: PoolLimits::DEFAULT,
            items_max: 1,
            timing: Timing::ALONE,
            cache_bytes: 64 << 20,
        };
        Self::run(directory, config, false)
    }

    fn run(directory: Directory, config: NodeConfig, votes: bool) -> Result<Starting, StartError> {
        let imported = config.genesis.imported.is_some();
        let snapshot = if imported { directory.snapshot()? } else { None };
        let beginning = Arc::new(Beginning::of(config.genesis.clone(), snapshot.as_deref())?);
        drop(snapshot);
        let validators = validator_set(&config.genesis)?;
        let own = PublicKey::of(&config.key);
        // Said before the engine tries, which would only say that it failed.
        let listen = TcpListener::bind(config.listen)
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        drop(listen);
        let now: crate::tip::Now = Arc::new(SystemTime::now);
        let tip = Tip::new(*beginning.block.header(), config.stated.clone(), Arc::clone(&now));
        let tip = Arc::new(tip.with_clock(config.clock.clone()));
        let mempool = Mempool::new(config.pool, now);
        let (asked, requests) = mpsc::unbounded_channel();
        let (submitted, outgoing) = mpsc::unbounded_channel();
        let questions = Questions(asked);
        let (read_model, feed) = ReadModel::open(&directory.index(), beginning.network)?;
        if imported {
            feed.imported(&beginning.entries());
        }
        let client = Client {
            beginning: Arc::clone(&beginning),
            tip: Arc::clone(&tip),
            mempool: mempool.clone(),
            questions: questions.clone(),
            submitted,
            read_model,
            decided_within: config.timing.decided_within,
        };
        let parts = Parts {
            key: engine_signer(&config.key),
            votes,
            joins: config.catch_up == CatchUp::State,
            validators: validators.clone(),
            machine: config.machine,
            mempool: mempool.clone(),
            tip: Arc::clone(&tip),
            timing: config.timing,
            items_max: config.items_max,
            cache_bytes: config.cache_bytes,
            prefix: "ledger".to_owned(),
            questions: questions.clone(),
            requests,
            outgoing,
            indexed: feed.indexed(),
            history: Box::new(feed),
            #[cfg(test)]
            dishonest: None,
            beginning,
        };
        let peers = config.peers.iter().filter(|(key, _)| *key != own);
        let peers: Vec<_> = peers
            .map(|(key, at)| Ok((engine_key(key).ok_or(StartError::MalformedKey(*key))?, (*at).into())))
            .collect::<Result<_, StartError>>()?;
        let (listen, alone) = (config.listen, validators.len() == 1);
        let thread = std::thread::Builder::new()
            .name("ledger".to_owned())
            .spawn(move || {
                let quiet = Quiet::begin();
                let ran = catch_unwind(AssertUnwindSafe(|| {
                    run_on_runtime(&directory, parts, validators, peers, listen, &quiet);
                }));
                let failed = ran.is_err() || tip.has_engine_ended();
                let reason = if failed {
                    let said = quiet.first().unwrap_or_else(|| "its consensus engine ended".to_owned());
                    explain(directory.path(), tip.phase(), alone, &said)
                } else {
                    "it was told to".to_owned()
                };
                mempool.stop(&reason);
                tip.stop();
            })
            .map_err(StartError::Thread)?;
        Ok(Starting(Self { client, questions, thread: Some(thread) }))
    }

    /// What the rest of the organisation's process talks to.
    #[must_use]
    pub const fn client(&self) -> &Client {
        &self.client
    }

    /// Stops the validator and waits until its files are closed.
    pub fn stop(mut self) {
        self.end();
    }

    /// How far this node is with copying the state of the others, while it does.
    #[must_use]
    pub fn copying(&self) -> Option<Copying> {
        self.client.tip.copying()
    }

    fn end(&mut self) {
        // It may have stopped on its own.
        let _ = self.questions.0.send(Request::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.end();
    }
}

fn engine_signer(key: &SigningKey) -> ed25519::PrivateKey {
    ed25519::PrivateKey::decode(bytes::Bytes::copy_from_slice(&key.to_bytes()))
        .expect("32 bytes are an Ed25519 seed")
}

fn run_on_runtime(
    directory: &Directory,
    parts: Parts,
    validators: Set<ed25519::PublicKey>,
    peers: Vec<(ed25519::PublicKey, commonware_p2p::Ingress)>,
    listen: SocketAddr,
    quiet: &Quiet,
) {
    let signer = parts.key.clone();
    let count = u32::try_from(validators.len()).unwrap_or(u32::MAX);
    let handshake = Cups::<_, ChaCha20Poly1305>::new(
        Sake {
            signer: signer.clone(),
            synchrony_bound: Duration::from_secs(5),
            max_handshake_age: Duration::from_secs(10),
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    let mut namespace = b"eroam/p2p/1/".to_vec();
    namespace.extend_from_slice(&parts.beginning.network.0);
    let peer_limit = authenticated::peer_set_limit(&validators, &signer.public_key());
    let mut config = discovery::Config::local(
        handshake,
        &namespace,
        listen,
        listen,
        peers,
        peer_limit,
        message_bytes_max(count),
        NZUsize!(1024),
    );
    // Two who dial each other at once both give up, and try again after this.
    config.peer_connection_cooldown = Duration::from_millis(250);
    config.dial_frequency = Duration::from_millis(250);
    let runner = runtime::Runner::new(
        runtime::Config::new().with_storage_directory(directory.engine()).with_worker_threads(2),
    );
    runner.start(async move |context| {
        quiet.extend();
        let (mut network, mut oracle) = discovery::Network::new(context.child("network"), config);
        oracle.track(0, validators);
        let channels = Network {
            votes: network.register(0, MESSAGES_PER_SECOND),
            certificates: network.register(1, MESSAGES_PER_SECOND),
            requests: network.register(2, MESSAGES_PER_SECOND),
            backfill: network.register(3, MESSAGES_PER_SECOND),
            blocks: network.register(4, MESSAGES_PER_SECOND),
            envelopes: network.register(5, MESSAGES_PER_SECOND),
            state: network.register(6, sync::MESSAGES_PER_SECOND),
            probe: network.register(7, probe::MESSAGES_PER_SECOND),
            oracle,
        };
        network.start();
        assembly::run(context.child("node"), parts, channels).await;
    });
}
