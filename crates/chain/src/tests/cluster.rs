//! A cluster of whole validators in the engine's deterministic runtime: its clock, its disks and its network are
//! simulated, and what happens follows from the seed alone.
//!
//! ```text
//!  World: what outlives a crash of the whole machine (what was submitted, acknowledged, delivered)
//!    Simulation: one runtime after another over the same disks
//!      Cluster: the validators of one runtime, the links between them, and the clients
//! ```

use super::equivocator::equivocate;
use super::ledger::{self, genesis, validator_key};
use crate::admission::{admit, wanted};
use crate::application::Dishonest;
use crate::assembly::{self, Network, Parts, message_bytes_max};
use crate::beginning::Beginning;
use crate::block::{Block, EngineDigest};
use crate::epochs::Timing;
use crate::history::History;
use crate::machine::{Rules, StateMachine};
use crate::mempool::{Lane, Mempool, NotTaken, PoolLimits, Ticket};
use crate::probe;
use crate::requests::{Questions, Request};
use crate::sync;
use crate::tip::{Now, StatedTime, Tip};
use commonware_actor::Feedback;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_cryptography::{Digestible as _, Signer as _, ed25519};
use commonware_p2p::simulated::{self, Control, Link, Manager, Oracle};
use commonware_p2p::{BlockedSubscription, Blocker, PeerSetSubscription, Provider, TrackedPeers};
use commonware_runtime::deterministic::{self, Checkpoint, Context};
use commonware_runtime::{Clock as _, Handle, Quota, Spawner as _, Supervisor as _};
use commonware_utils::ordered::Set;
use commonware_utils::{NZU32, NZUsize, Probability};
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;
use eroam_ledger::execute::Header;
use eroam_ledger::genesis::{BLOCK_BYTES_MIN, BlockTime, Genesis};
use eroam_ledger::port::Receipt;
use eroam_ledger::reads::Attempt;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode, outcome_root};
use eroam_ledger::snapshot::Entry;
use eroam_ledger::state::{MemoryState, StateError, StateKey, StateView, Writes, state_digest};
use eroam_ledger::tx::{CheckedEnvelope, Envelope, PublicKey, SignedEnvelope, VerifiedEnvelope};
use rand::RngExt as _;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::{mpsc, oneshot};

type Key = ed25519::PublicKey;
type Channel = (simulated::Sender<Key, Context>, simulated::Receiver<Key>);

/// Nothing that is expected to happen takes longer.
const PATIENCE: Duration = Duration::from_secs(600);
/// How often the simulation looks whether something has happened.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// A client that has no answer for so long asks another validator.
const CLIENT_PATIENCE: Duration = Duration::from_secs(5);

pub(super) const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub(super) const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// The seeds of a test: as many as it says, or those that the environment says (`SEEDS=100..200`).
pub(super) fn seeds(count: u64) -> std::ops::Range<u64> {
    let Ok(text) = std::env::var("SEEDS") else { return 0..count };
    let (from, to) = text.split_once("..").expect("SEEDS=from..to");
    from.parse().expect("a number")..to.parse().expect("a number")
}

/// A link that delivers `percent` of the messages, after `latency` ± `jitter` milliseconds.
pub(super) fn link(latency: u64, jitter: u64, percent: u64) -> Link {
    Link {
        latency: millis(latency),
        jitter: millis(jitter),
        success_rate: Probability::new(percent, 100).unwrap(),
    }
}

/// What is simulated.
#[derive(Clone)]
pub(super) struct Settings {
    pub(super) seed: u64,
    pub(super) validators: usize,
    pub(super) epoch_blocks: u32,
    pub(super) time: BlockTime,
    pub(super) block_bytes_max: u32,
    /// For each validator, the last one's for the rest.
    pub(super) items_max: Vec<usize>,
    pub(super) link: Link,
    pub(super) timing: Timing,
    /// Every member uses so many lanes.
    pub(super) lanes: u16,
    /// So many envelopes are submitted on each.
    pub(super) envelopes: u64,
    /// So many of a lane are submitted together, before the answers.
    pub(super) together: u64,
    /// A client thinks for up to so many milliseconds between its submissions.
    pub(super) thinking: u64,
    /// This validator builds its blocks in this way.
    pub(super) dishonest: Option<(usize, Arc<dyn Dishonest>)>,
    /// This validator does nothing but vote for everything and its opposite.
    pub(super) equivocator: Option<usize>,
    /// The first member replaces its key half-way.
    pub(super) rotation: bool,
    /// The rules of all.
    pub(super) machine: Arc<dyn StateMachine>,
    /// So many milliseconds is each validator's clock ahead; none for the rest.
    pub(super) clocks_ahead: Vec<u64>,
    /// What the disks do with writes that were not synchronized when the machine crashes.
    pub(super) disk: deterministic::FaultConfig,
}

impl Settings {
    /// Validators with a good network and a steady load.
    pub(super) fn new(seed: u64, validators: usize) -> Self {
        Self {
            seed,
            validators,
            epoch_blocks: 1000,
            time: BlockTime::Stated,
            block_bytes_max: 4 << 20,
            items_max: vec![4096],
            link: link(10, 5, 100),
            timing: if validators == 1 { Timing::ALONE } else { Timing::SEVERAL },
            lanes: 2,
            envelopes: 6,
            together: 2,
            thinking: 300,
            dishonest: None,
            equivocator: None,
            rotation: false,
            machine: Arc::new(Rules),
            clocks_ahead: Vec::new(),
            disk: deterministic::FaultConfig::default(),
        }
    }
}

/// Says which seed failed.
struct Failing(u64);

impl Drop for Failing {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("failing seed: {}", self.0);
        }
    }
}

/// What a validator delivered, over all its restarts.
#[derive(Default)]
struct Chain {
    blocks: BTreeMap<u64, Arc<Block>>,
    /// When each was first delivered.
    at: BTreeMap<u64, SystemTime>,
    /// So often it was started or crashed.
    starts: usize,
    /// The last height that the running validator delivered.
    delivered: u64,
    /// The height of the first block that it holds, since its directory was emptied.
    begins: u64,
    /// So many directories it has lost.
    directories: usize,
    /// Whether it is to copy the state of the others.
    joins: bool,
    /// The heights of the blocks whose envelopes it executed, since its directory was emptied.
    executed: BTreeSet<u64>,
}

impl Chain {
    fn note(&mut self, block: Arc<Block>, now: SystemTime) {
        let height = block.header().height;
        self.at.entry(height).or_insert(now);
        assert_eq!(height, self.delivered + 1, "blocks are delivered in order");
        self.delivered = height;
        if let Some(before) = self.blocks.insert(height, Arc::clone(&block)) {
            assert_eq!(before.digest(), block.digest(), "a final block at {height} has changed");
        }
    }

    /// The envelope that used a lane's sequence, and the height of its block.
    fn find(&self, lane: Lane, sequence: u64) -> Option<(Digest, u64)> {
        self.blocks.iter().find_map(|(height, block)| {
            let mut envelopes = block.contents().unwrap().envelopes.iter();
            let found = envelopes.find(|e| {
                let claim = e.envelope();
                (claim.member, claim.lane, claim.sequence) == (lane.0, lane.1, sequence)
            });
            found.map(|e| (e.digest(), *height))
        })
    }
}

/// Passes a validator's blocks on to its [`Chain`].
struct Delivery {
    world: Arc<World>,
    index: usize,
    /// Which start of the validator it belongs to.
    start: usize,
    clock: Context,
}

impl Delivery {
    /// The validator's chain, unless it was started anew: what is left of it before it crashed delivers nothing.
    fn chain(&self) -> Option<MutexGuard<'_, Chain>> {
        Some(lock(&self.world.chains[self.index])).filter(|chain| chain.starts == self.start)
    }
}

impl History for Delivery {
    fn begins(&self, height: u64, _: &Writes) {
        if let Some(mut chain) = self.chain() {
            (chain.begins, chain.delivered) = (height, height - 1);
        }
    }

    fn block(&self, block: Arc<Block>) {
        if let Some(mut chain) = self.chain() {
            chain.note(block, self.clock.current());
        }
    }
}

/// The rules, and note of the blocks that they were applied to at one validator.
struct Noting {
    world: Arc<World>,
    index: usize,
}

impl StateMachine for Noting {
    fn reads(&self, envelope: &Envelope) -> Vec<StateKey> {
        self.world.settings.machine.reads(envelope)
    }

    fn claimed_key(
        &self,
        view: &dyn StateView,
        envelope: &Envelope,
    ) -> Result<Option<PublicKey>, StateError> {
        self.world.settings.machine.claimed_key(view, envelope)
    }

    fn attempt(
        &self,
        view: &dyn StateView,
        signed: &SignedEnvelope,
        verified: Option<&VerifiedEnvelope<'_>>,
        header: &Header,
    ) -> Result<Attempt, StateError> {
        lock(&self.world.chains[self.index]).executed.insert(header.height);
        self.world.settings.machine.attempt(view, signed, verified, header)
    }
}

/// What clients know.
#[derive(Default)]
struct Knowledge {
    /// The next sequence of each lane that is not acknowledged.
    next: BTreeMap<Lane, u64>,
    /// Acknowledged envelopes and the heights of their blocks.
    acknowledged: BTreeMap<Digest, u64>,
    /// How long the answers took.
    waits: Vec<Duration>,
    /// The members whose key was replaced.
    rotated: BTreeSet<PartyId>,
}

/// What outlives the machine.
struct World {
    settings: Settings,
    genesis: Genesis,
    keys: Vec<ed25519::PrivateKey>,
    chains: Vec<Mutex<Chain>>,
    knowledge: Mutex<Knowledge>,
}

impl World {
    /// Whether the envelope replaces its member's key.
    fn rotates(&self, lane: Lane, sequence: u64) -> bool {
        let first = ledger::members()[0];
        self.settings.rotation && lane == (first, 0) && sequence == self.settings.envelopes / 2
    }

    /// What is submitted, signed with the key that the member believes to be its own.
    fn envelope(&self, lane: Lane, sequence: u64) -> SignedEnvelope {
        let network = self.genesis.network();
        let tx = match self.rotates(lane, sequence) {
            true => ledger::rotation(network, lane.0),
            false => ledger::deposit(lane, sequence),
        };
        let rotated = lock(&self.knowledge).rotated.contains(&lane.0);
        ledger::envelope(network, lane, sequence, u32::from(rotated), tx)
    }

    /// The entries that the network begins with; here a genesis may name sizes that are too small.
    fn entries(&self) -> Vec<Entry> {
        let mut genesis = self.genesis.clone();
        genesis.consensus.block_bytes_max = BLOCK_BYTES_MIN;
        genesis.initial_entries(None).unwrap()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One runtime after another over the same disks.
pub(super) struct Simulation {
    world: Arc<World>,
    checkpoint: Option<Checkpoint>,
    _failing: Failing,
}

impl Simulation {
    pub(super) fn new(settings: Settings) -> Self {
        let lanes = (0..settings.lanes).flat_map(|l| ledger::members().into_iter().map(move |m| (m, l)));
        let knowledge = Knowledge { next: lanes.map(|lane| (lane, 0)).collect(), ..Knowledge::default() };
        let world = World {
            genesis: genesis(
                settings.validators,
                settings.epoch_blocks,
                settings.block_bytes_max,
                settings.time,
            ),
            keys: (0..settings.validators).map(validator_key).collect(),
            chains: (0..settings.validators).map(|_| Mutex::default()).collect(),
            knowledge: Mutex::new(knowledge),
            settings,
        };
        let _failing = Failing(world.settings.seed);
        Self { world: Arc::new(world), checkpoint: None, _failing }
    }

    /// Runs `script` with all validators; then the machine crashes.
    pub(super) fn run<T>(&mut self, script: impl AsyncFnOnce(&mut Cluster) -> T) -> T {
        let settings = &self.world.settings;
        let runner = match self.checkpoint.take() {
            Some(checkpoint) => deterministic::Runner::from(checkpoint),
            None => deterministic::Runner::new(
                deterministic::Config::new()
                    .with_seed(settings.seed)
                    .with_start_time(UNIX_EPOCH + millis(ledger::NOON as u64))
                    .with_storage_fault_config(settings.disk.clone())
                    .with_timeout(Some(seconds(24 * 3600))),
            ),
        };
        let world = Arc::clone(&self.world);
        let (result, checkpoint) = runner.start_and_recover(async |context| {
            let mut cluster = Cluster::start(context, world).await;
            script(&mut cluster).await
        });
        self.checkpoint = Some(checkpoint);
        result
    }

    /// What the runtime did so far, in short.
    pub(super) fn audit(&self) -> String {
        self.checkpoint.as_ref().unwrap().auditor().state()
    }
}

/// Where a client finds a running validator.
#[derive(Clone)]
struct Door {
    index: usize,
    network: Digest,
    mempool: Mempool,
    tip: Arc<Tip>,
    questions: Questions,
    submitted: mpsc::UnboundedSender<Vec<CheckedEnvelope>>,
}

/// A running validator.
struct Running {
    door: Door,
    task: Handle<()>,
}

/// The peers of a validator, as the engine wants to know them.
#[derive(Clone)]
struct Peers {
    control: Control<Key, Context>,
    manager: Manager<Key, Context>,
}

impl std::fmt::Debug for Peers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Peers")
    }
}

impl Blocker for Peers {
    type PublicKey = Key;

    fn block(&mut self, peer: Key) -> Feedback {
        self.control.block(peer)
    }

    fn blocked(&mut self) -> BlockedSubscription<Key> {
        self.control.blocked()
    }
}

impl Provider for Peers {
    type PublicKey = Key;

    async fn peer_set(&mut self, id: u64) -> Option<TrackedPeers<Key>> {
        self.manager.peer_set(id).await
    }

    async fn subscribe(&mut self) -> PeerSetSubscription<Key> {
        self.manager.subscribe().await
    }
}

/// The validators of one runtime, the links between them, and the clients.
pub(super) struct Cluster {
    pub(super) context: Context,
    world: Arc<World>,
    beginning: Arc<Beginning>,
    validators: Set<Key>,
    oracle: Oracle<Key, Context>,
    running: Vec<Option<Running>>,
    /// Where the clients look for running validators.
    doors: Arc<Mutex<BTreeMap<usize, Door>>>,
    linked: BTreeSet<(usize, usize)>,
}

impl Cluster {
    async fn start(context: Context, world: Arc<World>) -> Self {
        let settings = &world.settings;
        let validators = Set::from_iter_dedup(world.keys.iter().map(|key| key.public_key()));
        let (network, oracle) = simulated::Network::new_with_peers(
            context.child("network"),
            simulated::Config {
                max_size: message_bytes_max(u32::try_from(settings.validators).unwrap()),
                max_peers_per_set: NZUsize!(settings.validators),
                disconnect_on_block: true,
                tracked_peer_sets: NZUsize!(1),
            },
            validators.iter().cloned(),
        )
        .await;
        network.start();
        let beginning =
            Beginning::new::<Context>(world.genesis.clone(), world.entries(), UnixMillis::EPOCH, &validators);
        let count = settings.validators;
        let mut cluster = Self {
            context,
            beginning: Arc::new(beginning),
            validators,
            oracle,
            running: (0..count).map(|_| None).collect(),
            doors: Arc::default(),
            linked: BTreeSet::new(),
            world,
        };
        cluster.heal().await;
        for index in cluster.all() {
            cluster.start_one(index).await;
        }
        if let Some(index) = cluster.settings().equivocator {
            cluster.start_equivocator(index).await;
        }
        cluster.load();
        cluster
    }

    fn settings(&self) -> &Settings {
        &self.world.settings
    }

    /// The numbers of all validators that run the whole program.
    pub(super) fn all(&self) -> Vec<usize> {
        let equivocator = self.settings().equivocator;
        (0..self.settings().validators).filter(|index| Some(*index) != equivocator).collect()
    }

    /// A number below `below`, from the seed.
    pub(super) fn draw(&mut self, below: u64) -> u64 {
        self.context.random_range(0..below)
    }

    async fn channel(&self, key: &Key, channel: u64) -> Channel {
        let quota = match channel {
            6 => sync::MESSAGES_PER_SECOND,
            7 => probe::MESSAGES_PER_SECOND,
            _ => Quota::per_second(NZU32!(4096)),
        };
        self.oracle.control(key.clone()).register(channel, quota).await.unwrap()
    }

    /// Starts a validator on what its disk holds.
    pub(super) async fn start_one(&mut self, index: usize) {
        assert!(self.running[index].is_none(), "validator {index} runs");
        let (joins, directories, start) = {
            let mut chain = lock(&self.world.chains[index]);
            chain.delivered = 0;
            chain.starts += 1;
            (chain.joins, chain.directories, chain.starts)
        };
        let settings = self.settings();
        let ahead = millis(settings.clocks_ahead.get(index).copied().unwrap_or(0));
        let clock = self.context.child("clock");
        let now: Now = Arc::new(move || clock.current() + ahead);
        let header = *self.beginning.block.header();
        let tip = Arc::new(Tip::new(header, StatedTime::default(), Arc::clone(&now)));
        let mempool = Mempool::new(PoolLimits::DEFAULT, now);
        let (asked, requests) = mpsc::unbounded_channel();
        let (submitted, outgoing) = mpsc::unbounded_channel();
        let questions = Questions(asked);
        let clock = self.context.child("clock");
        let world = Arc::clone(&self.world);
        let key = self.world.keys[index].public_key();
        let dishonest = settings.dishonest.as_ref().filter(|(who, _)| *who == index);
        let parts = Parts {
            beginning: Arc::clone(&self.beginning),
            key: self.world.keys[index].clone(),
            votes: true,
            validators: self.validators.clone(),
            joins,
            machine: Arc::new(Noting { world: Arc::clone(&self.world), index }),
            mempool: mempool.clone(),
            tip: Arc::clone(&tip),
            timing: settings.timing,
            items_max: *settings.items_max.get(index).unwrap_or(settings.items_max.last().unwrap()),
            cache_bytes: 1 << 20,
            prefix: format!("validator-{index}-{directories}"),
            questions: questions.clone(),
            requests,
            outgoing,
            // After each restart the whole archive is compared with what was delivered before.
            indexed: 0,
            history: Box::new(Delivery { world, index, start, clock }),
            dishonest: dishonest.map(|(_, how)| Arc::clone(how)),
        };
        let network = Network {
            votes: self.channel(&key, 0).await,
            certificates: self.channel(&key, 1).await,
            requests: self.channel(&key, 2).await,
            backfill: self.channel(&key, 3).await,
            blocks: self.channel(&key, 4).await,
            envelopes: self.channel(&key, 5).await,
            state: self.channel(&key, 6).await,
            probe: self.channel(&key, 7).await,
            oracle: Peers { control: self.oracle.control(key), manager: self.oracle.manager() },
        };
        let context = self.context.child("validator").with_attribute("index", index);
        let task = context.spawn(move |context| assembly::run(context, parts, network));
        let door = Door { index, network: self.beginning.network, mempool, tip, questions, submitted };
        lock(&self.doors).insert(index, door.clone());
        self.running[index] = Some(Running { door, task });
    }

    async fn start_equivocator(&self, index: usize) {
        let votes = self.channel(&self.world.keys[index].public_key(), 0).await;
        let name = eroam_light::certificate::consensus_namespace(&self.beginning.network);
        let key = self.world.keys[index].clone();
        let scheme = Scheme::signer(&name, self.validators.clone(), key).unwrap();
        self.context.child("equivocator").spawn(move |context| equivocate(context, scheme, votes));
    }

    /// Ends a validator at once; what it has not synchronized is lost.
    pub(super) fn crash(&mut self, index: usize) {
        let running = self.running[index].take().expect("it runs");
        running.task.abort();
        // What is left of it delivers nothing any more.
        lock(&self.world.chains[index]).starts += 1;
        lock(&self.doors).remove(&index);
    }

    /// Takes a validator's directory away, which does not run: when it starts again, it copies the state of the others.
    pub(super) fn empty(&mut self, index: usize) {
        assert!(!self.is_running(index));
        let mut chain = lock(&self.world.chains[index]);
        let (directories, starts) = (chain.directories + 1, chain.starts);
        *chain = Chain { directories, starts, joins: true, ..Chain::default() };
    }

    /// The heights of the blocks whose envelopes a validator executed since its directory was emptied.
    pub(super) fn executed(&self, index: usize) -> BTreeSet<u64> {
        lock(&self.world.chains[index]).executed.clone()
    }

    /// Whether a running validator is copying the state of the others.
    pub(super) fn is_copying(&self, index: usize) -> bool {
        self.running[index].as_ref().is_some_and(|running| running.door.tip.copying().is_some())
    }

    /// Whether a running validator that copies has chosen the block whose state it copies.
    pub(super) fn has_chosen(&self, index: usize) -> bool {
        let running = self.running[index].as_ref().expect("it runs");
        running.door.tip.copying().is_none_or(|copying| copying.wanted > 0)
    }

    /// Whether a validator that was started has not given up.
    pub(super) fn is_alive(&self, index: usize) -> bool {
        !self.running[index].as_ref().expect("it was started").door.tip.has_engine_ended()
    }

    /// Whether a running validator has a certificate of the block at `height`.
    pub(super) async fn has_certificate(&self, index: usize, height: u64) -> bool {
        let (answer, certificate) = oneshot::channel();
        let questions = &self.running[index].as_ref().expect("it runs").door.questions;
        questions.0.send(Request::Certificate(height, answer)).ok().unwrap();
        certificate.await.unwrap().is_some()
    }

    /// The block at `height`, read from a running validator's archive.
    pub(super) async fn archived(&self, index: usize, height: u64) -> Option<Block> {
        let (answer, block) = oneshot::channel();
        let questions = &self.running[index].as_ref().expect("it runs").door.questions;
        questions.0.send(Request::Block(height, answer)).ok().unwrap();
        block.await.unwrap()
    }

    /// The height of the first block that a running validator may vote on.
    pub(super) fn votes_from(&self, index: usize) -> u64 {
        self.running[index].as_ref().expect("it runs").door.tip.votes_from()
    }

    /// The height of the first block that a validator holds, once it has told so; 0 if it holds all.
    pub(super) fn begins(&self, index: usize) -> u64 {
        lock(&self.world.chains[index]).begins
    }

    pub(super) fn is_running(&self, index: usize) -> bool {
        self.running[index].is_some()
    }

    async fn set_link(&mut self, from: usize, to: usize, link: Option<Link>) {
        let key = |index: usize| self.world.keys[index].public_key();
        if self.linked.remove(&(from, to)) {
            self.oracle.remove_link(key(from), key(to)).await.unwrap();
        }
        if let Some(link) = link {
            self.oracle.add_link(key(from), key(to), link).await.unwrap();
            self.linked.insert((from, to));
        }
    }

    /// Only members of the same group reach each other.
    pub(super) async fn partition(&mut self, groups: &[&[usize]]) {
        let link = self.settings().link.clone();
        let count = self.settings().validators;
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let together = groups.iter().any(|g| g.contains(&from) && g.contains(&to));
                self.set_link(from, to, together.then(|| link.clone())).await;
            }
        }
    }

    /// Everybody reaches everybody.
    pub(super) async fn heal(&mut self) {
        let all: Vec<usize> = (0..self.settings().validators).collect();
        self.partition(&[&all]).await;
    }

    pub(super) async fn sleep(&self, duration: Duration) {
        self.context.sleep(duration).await;
    }

    /// The height of the latest block that a validator has delivered since it was started.
    pub(super) fn height(&self, index: usize) -> u64 {
        lock(&self.world.chains[index]).delivered
    }

    /// The height of the latest block that any validator delivered.
    pub(super) fn height_max(&self) -> u64 {
        self.all().into_iter().map(|index| self.height(index)).max().unwrap()
    }

    /// The heights of all validators.
    pub(super) fn heights(&self) -> Vec<u64> {
        self.all().into_iter().map(|index| self.height(index)).collect()
    }

    /// The greatest height that was delivered, in this runtime or before.
    pub(super) fn archived_max(&self) -> u64 {
        let last = |chain: &Mutex<Chain>| lock(chain).blocks.keys().next_back().copied().unwrap_or(0);
        self.world.chains.iter().map(last).max().unwrap()
    }

    /// The latest epoch that has a block.
    pub(super) fn epoch(&self) -> u64 {
        let last = |index: usize| {
            lock(&self.world.chains[index]).blocks.values().next_back().map_or(0, |b| b.header().epoch)
        };
        self.all().into_iter().map(last).max().unwrap()
    }

    /// Waits until the block at `height` is final somewhere, and not longer.
    pub(super) async fn until_exactly(&self, height: u64) {
        let since = self.context.current();
        while self.height_max() < height && !self.is_done() {
            let waited = self.context.current().duration_since(since).unwrap();
            assert!(waited < PATIENCE, "waited too long for {height}: heights {:?}", self.heights());
            self.sleep(millis(1)).await;
        }
    }

    /// Waits until `done`, but not for ever.
    pub(super) async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        let since = self.context.current();
        while !done(self) {
            let waited = self.context.current().duration_since(since).unwrap();
            assert!(waited < PATIENCE, "waited too long until {what}: heights {:?}", self.heights());
            self.sleep(LOOK_EVERY).await;
        }
    }

    /// Waits until a validator has delivered the block at `height`.
    pub(super) async fn until_height(&self, index: usize, height: u64) {
        self.until(&format!("block {height} is final at {index}"), |c| c.height(index) >= height).await;
    }

    /// Goes on submitting where the clients were before.
    fn load(&self) {
        let lanes: Vec<Lane> = lock(&self.world.knowledge).next.keys().copied().collect();
        for lane in lanes {
            let (world, doors) = (Arc::clone(&self.world), Arc::clone(&self.doors));
            self.context.child("client").spawn(move |context| client(context, world, doors, lane));
        }
    }

    /// The longest that an answer to a client took, of those since this was asked before.
    pub(super) fn longest_wait(&self) -> Option<Duration> {
        std::mem::take(&mut lock(&self.world.knowledge).waits).into_iter().max()
    }

    /// Whether everything that was to be submitted is acknowledged.
    pub(super) fn is_done(&self) -> bool {
        let all = self.settings().envelopes;
        lock(&self.world.knowledge).next.values().all(|next| *next == all)
    }

    /// The name of a validator in the headers of the blocks that it leads.
    pub(super) fn leader(&self, index: usize) -> eroam_ledger::tx::PublicKey {
        crate::block::own_key(&self.world.keys[index].public_key())
    }

    /// The epoch of the block at `height`, which the first validator has.
    pub(super) fn block_epoch(&self, height: u64) -> u64 {
        lock(&self.world.chains[0]).blocks[&height].header().epoch
    }

    /// The digests of a validator's blocks.
    pub(super) fn digests(&self, index: usize) -> Vec<EngineDigest> {
        lock(&self.world.chains[index]).blocks.values().map(|b| b.digest()).collect()
    }

    /// When a validator delivered its blocks, each after the one before.
    pub(super) fn gaps(&self, index: usize) -> BTreeMap<u64, Duration> {
        let at = lock(&self.world.chains[index]).at.clone();
        let pairs = at.values().zip(at.iter().skip(1));
        pairs.map(|(before, (height, at))| (*height, at.duration_since(*before).unwrap())).collect()
    }

    /// A validator's blocks.
    pub(super) fn blocks(&self, index: usize) -> Vec<Arc<Block>> {
        lock(&self.world.chains[index]).blocks.values().cloned().collect()
    }

    /// Repairs everything, waits until everything is acknowledged and everybody has everything, and checks what must
    /// hold. Gives the digest of the state.
    pub(super) async fn settle(&mut self) -> Digest {
        self.heal().await;
        for index in self.all() {
            if !self.is_running(index) {
                self.start_one(index).await;
            }
        }
        self.until("everything is acknowledged", Self::is_done).await;
        let height = self.height_max();
        for index in self.all() {
            self.until_height(index, height).await;
        }
        // Otherwise leaders would propose one empty block after another.
        let is_empty =
            |running: &Option<Running>| running.as_ref().is_none_or(|r| r.door.mempool.fill().envelopes == 0);
        self.until("the mempools are empty", |c| c.running.iter().all(is_empty)).await;
        self.check().await
    }

    async fn entries(&self, index: usize) -> (u64, Digest) {
        // While it copies a state it does not answer.
        let has_state = |c: &Self| !lock(&c.world.chains[index]).joins || c.height(index) > 0;
        self.until(&format!("{index} has a state"), has_state).await;
        let (parts, mut received) = mpsc::unbounded_channel();
        let (answer, header) = oneshot::channel();
        let questions = &self.running[index].as_ref().expect("it runs").door.questions;
        questions.0.send(Request::Entries(parts, answer)).ok().unwrap();
        let mut entries = BTreeMap::new();
        while let Some(part) = received.recv().await {
            entries.extend(part);
        }
        let header = header.await.unwrap();
        (header.height, state_digest(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))))
    }

    /// Checks chains, states and acknowledgements of all running validators.
    async fn check(&self) -> Digest {
        let mut entries = BTreeMap::new();
        for index in self.all().into_iter().filter(|index| self.is_running(*index)) {
            let (height, digest) = self.entries(index).await;
            entries.insert(index, (height, digest));
            // The state may be ahead of what was passed on.
            self.until_height(index, height).await;
        }
        // Who has all blocks.
        let whole = self.all().into_iter().filter(|index| self.begins(*index) <= 1);
        let longest = whole.max_by_key(|index| self.height(*index)).unwrap();
        let blocks = self.blocks(longest);
        // One chain.
        let digests = self.digests(longest);
        for index in self.all() {
            let own = self.digests(index);
            let from = usize::try_from(self.begins(index).saturating_sub(1)).unwrap();
            assert_eq!(own, digests[from..from + own.len()], "validator {index} has another chain");
        }
        for (parent, child) in blocks.iter().zip(blocks.iter().skip(1)) {
            assert_eq!(child.header().parent, crate::block::own_digest(parent.digest()));
            assert!(child.header().time >= parent.header().time);
        }
        // Everything once, in the order of its lane, with the outcome and the state that the rules make of it without an
        // engine.
        let (mut next, mut places) = (BTreeMap::<Lane, u64>::new(), BTreeMap::new());
        let (mut states, mut state) = (BTreeMap::new(), MemoryState::default());
        state.apply(self.world.entries().into_iter().map(|(k, v)| (k, Some(v))).collect());
        let machine = &*self.settings().machine;
        for block in &blocks {
            let (height, time) = (block.header().height, block.header().time);
            let header = Header { network: self.beginning.network, height, time };
            let contents = block.contents().unwrap();
            for (signed, items) in contents.envelopes.iter().zip(&contents.items) {
                let claim = signed.envelope();
                let expected = next.entry((claim.member, claim.lane)).or_default();
                assert_eq!(claim.sequence, *expected, "{} {}", claim.member, claim.lane);
                *expected += 1;
                assert!(items.iter().all(|i| i.outcome.is_accepted()), "{items:?}");
                assert!(places.insert(signed.digest(), height).is_none());
                let key = machine.claimed_key(&state, claim).unwrap().unwrap();
                let verified = signed.verify(&key);
                let attempt = machine.attempt(&state, signed, verified.as_ref(), &header).unwrap();
                let Attempt::Done(outcome) = attempt else { panic!("all values are there") };
                assert_eq!(outcome.items, *items);
                state.apply(outcome.writes);
            }
            let leaves = contents.envelopes.iter().zip(&contents.items);
            let leaves = leaves.map(|(e, items)| (e.digest(), outcome_root(items)));
            assert_eq!(eroam_light::block::receipts_root(leaves), block.header().receipts);
            assert!(block.body().len() <= self.settings().block_bytes_max as usize);
            states.insert(height, state_digest(state.iter()));
        }
        for (digest, height) in &lock(&self.world.knowledge).acknowledged {
            assert_eq!(places.get(digest), Some(height), "an acknowledged envelope is elsewhere");
        }
        let mut latest = Digest::ZERO;
        for (index, (height, digest)) in entries {
            assert_eq!(states.get(&height), Some(&digest), "validator {index} has another state at {height}");
            latest = digest;
        }
        latest
    }
}

/// Submits a lane's envelopes one group after another, like [`crate::client::Client`], and asks another validator
/// where one does not answer.
async fn client(
    mut context: Context,
    world: Arc<World>,
    doors: Arc<Mutex<BTreeMap<usize, Door>>>,
    lane: Lane,
) {
    let settings = &world.settings;
    loop {
        let first = *lock(&world.knowledge).next.get(&lane).unwrap();
        if first >= settings.envelopes {
            return;
        }
        let pause = context.random_range(0..=settings.thinking);
        context.sleep(millis(pause)).await;
        let last = (first + settings.together).min(settings.envelopes);
        let since = context.current();
        let mut answered: BTreeMap<u64, (Digest, u64)> = BTreeMap::new();
        while answered.len() < usize::try_from(last - first).unwrap() {
            let door = {
                let doors = lock(&doors);
                let open: Vec<&Door> = doors.values().collect();
                (!open.is_empty()).then(|| open[context.random_range(0..open.len())].clone())
            };
            let Some(door) = door else {
                context.sleep(millis(100)).await;
                continue;
            };
            let left: BTreeMap<Digest, (u64, Arc<SignedEnvelope>)> = (first..last)
                .filter(|sequence| !answered.contains_key(sequence))
                .map(|sequence| (sequence, Arc::new(world.envelope(lane, sequence))))
                .map(|(sequence, signed)| (signed.digest(), (sequence, signed)))
                .collect();
            let envelopes: Vec<_> = left.values().map(|(_, signed)| Arc::clone(signed)).collect();
            for receipt in ask(&context, &world, &door, &doors, &envelopes).await {
                let sequence = left.get(&receipt.envelope).unwrap().0;
                if let Some(place) = included(&context, &world, door.index, lane, sequence, &receipt).await {
                    answered.insert(sequence, place);
                }
            }
        }
        let mut knowledge = lock(&world.knowledge);
        knowledge.waits.push(context.current().duration_since(since).unwrap());
        if answered.keys().any(|sequence| world.rotates(lane, *sequence)) {
            knowledge.rotated.insert(lane.0);
        }
        knowledge.acknowledged.extend(answered.into_values());
        knowledge.next.insert(lane, last);
    }
}

/// What a receipt says of the place of an envelope; if its sequence is used, that is looked for.
async fn included(
    context: &Context,
    world: &World,
    index: usize,
    lane: Lane,
    sequence: u64,
    receipt: &Receipt,
) -> Option<(Digest, u64)> {
    if let Some(height) = receipt.height {
        return Some((receipt.envelope, height));
    }
    let code = receipt.items[0].outcome.rejection().unwrap();
    if world.settings.rotation && code == RejectCode::RotatedKey {
        lock(&world.knowledge).rotated.insert(lane.0);
        return None;
    }
    assert_eq!(code, RejectCode::SequenceUsed, "{receipt:?}");
    for _ in 0..50 {
        // The state may be ahead of what was passed on.
        let found = lock(&world.chains[index]).find(lane, sequence);
        if found.is_some() {
            return found;
        }
        context.sleep(LOOK_EVERY).await;
    }
    // The same sequence, signed with the key before, may wait until its validator leads.
    assert!(world.settings.rotation, "sequence {sequence} of {} {} is used by nobody", lane.0, lane.1);
    None
}

/// Submits envelopes at one validator and waits for receipts, until the validator is gone or takes too long.
async fn ask(
    context: &Context,
    world: &World,
    door: &Door,
    doors: &Mutex<BTreeMap<usize, Door>>,
    envelopes: &[Arc<SignedEnvelope>],
) -> Vec<Receipt> {
    let ticket = Arc::new(Ticket::default());
    let mut taken = Vec::new();
    let now = context.current().duration_since(UNIX_EPOCH).unwrap().as_millis();
    door.tip.state_time(UnixMillis::new(i64::try_from(now).unwrap()).unwrap());
    for signed in envelopes {
        let digest = signed.digest();
        let [member, lane] = wanted(signed.envelope());
        let Ok(values) = door.questions.values(vec![member, lane]).await else { return Vec::new() };
        let next = values[1].as_deref().map_or(0, |l| from_bytes(l).unwrap());
        let admitted = admit(Arc::clone(signed), door.network, values[0].as_deref(), values[1].as_deref());
        let (checked, _) = match admitted {
            Ok(admitted) => admitted,
            // The state is still empty, or has not got so far.
            Err(RejectCode::UnknownMember | RejectCode::UnknownKey) => {
                context.sleep(LOOK_EVERY).await;
                return Vec::new();
            }
            Err(RejectCode::RotatedKey) if world.settings.rotation => {
                lock(&world.knowledge).rotated.insert(signed.envelope().member);
                return Vec::new();
            }
            Err(code) => panic!("not admitted: {code:?}"),
        };
        door.mempool.watch(digest, &ticket);
        match door.mempool.insert(&checked, next, door.tip.header().time, true) {
            Ok(()) => taken.push(checked),
            Err(NotTaken::Known) => {}
            Err(NotTaken::Refused(code)) => {
                door.mempool.unwatch(&digest, &ticket);
                let item = Item { hash: digest, outcome: ItemOutcome::Rejected(code) };
                ticket.answer(Receipt { envelope: digest, height: None, items: vec![item] });
            }
            Err(NotTaken::Full) => panic!("the mempool is full"),
        }
    }
    let _ = door.submitted.send(taken);
    let since = context.current();
    loop {
        if let Ok(receipts) = ticket.wait(envelopes.len(), Instant::now()) {
            return receipts.into_values().collect();
        }
        let waited = context.current().duration_since(since).unwrap();
        if waited > CLIENT_PATIENCE || !lock(doors).contains_key(&door.index) {
            return Vec::new();
        }
        context.sleep(LOOK_EVERY).await;
    }
}
