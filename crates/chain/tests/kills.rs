//! `kill -9` of a whole process at random moments under load. What it had acknowledged is there, once, and the state is
//! that of a run without any kill.
//!
//! ```text
//! parent --starts, kills after a random time--> child: validators, and a thread for each lane that submits
//!   ^                                             |
//!   +------ "ack digest height", "ready", ... ----+
//! ```

mod support;

use eroam_chain::node::Node;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_ledger::execute::{Header, execute};
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::query::next_sequence;
use eroam_ledger::state::{MemoryState, state_digest};
use eroam_ledger::tx::SignedEnvelope;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::{Cluster, QUICK, accepted, again, digest_of_state, history, members, noon, submit};

/// How many senders it has, each a member's lane of its own.
const SENDERS: u16 = 4;
/// Reruns a seed that failed.
const SEED: &str = "EROAM_SEED";

/// What a validator of the child needs to know.
fn cluster(root: &Path, validators: usize) -> Cluster {
    let mut cluster = Cluster::new(root, validators, 40);
    if validators > 1 {
        cluster.timing = QUICK;
    }
    cluster
}

fn lane_of(sender: u16) -> (PartyId, u16) {
    let members = members();
    (members[usize::from(sender) % members.len()], sender)
}

/// Submits one envelope after the other, sometimes several together, beginning with the last one that an earlier
/// process may have seen acknowledged.
fn send(cluster: &Cluster, node: &Node, sender: u16) {
    let (member, lane) = lane_of(sender);
    let mut client = node.client().clone();
    let mut next = next_sequence(&client, member, lane).unwrap().saturating_sub(1);
    loop {
        let batch: Vec<SignedEnvelope> =
            (next..next + 1 + next % 3).map(|n| cluster.deposit(member, lane, n)).collect();
        next += batch.len() as u64;
        let receipts = client.submit(noon(), batch).unwrap();
        accepted(&receipts);
        for receipt in receipts {
            again::say(&format!("ack {} {}", receipt.envelope, receipt.height.unwrap()));
        }
    }
}

/// Runs all validators and the senders until the process is killed.
fn run_until_killed(root: &Path, validators: usize) -> ! {
    let cluster = cluster(root, validators);
    again::say("begins");
    let nodes = cluster.start();
    again::say("ready");
    std::thread::scope(|scope| {
        for sender in 0..SENDERS {
            let (cluster, node) = (&cluster, &nodes[usize::from(sender) % nodes.len()]);
            scope.spawn(move || send(cluster, node, sender));
        }
    });
    unreachable!("senders do not end");
}

/// A seed to print, from the environment or the clock.
fn seed() -> u64 {
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 % 1_000_000;
    env::var(SEED).map_or_else(|_| now(), |seed| seed.parse().unwrap())
}

/// What the killed processes said.
#[derive(Default)]
struct Heard {
    acknowledged: BTreeMap<Digest, u64>,
    /// How long those took to start that were not killed before.
    starts: Vec<Duration>,
}

impl Heard {
    fn line(&mut self, line: &str) {
        let mut words = line.split(' ');
        if words.next() == Some("ack") {
            let digest: Digest = words.next().unwrap().parse().unwrap();
            let height: u64 = words.next().unwrap().parse().unwrap();
            let before = self.acknowledged.insert(digest, height);
            assert!(before.is_none_or(|before| before == height), "{digest} was at {before:?}, now {height}");
        }
    }

    /// Runs a process and kills it so long after it has acknowledged so many envelopes, or after its beginning.
    fn life(&mut self, test: &str, role: &str, acknowledged: Option<usize>, after: Duration) {
        let (mut process, mut out) = again::start(test, role);
        let (said, lines) = channel();
        let listening = std::thread::spawn(move || {
            while let Some(line) = out.hear() {
                // The parent listens until the pipe is closed.
                said.send(line).unwrap();
            }
        });
        let (mut began, mut deadline) = (Instant::now(), Instant::now() + support::PATIENCE);
        let mut left = acknowledged;
        loop {
            match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    self.line(&line);
                    let now = Instant::now();
                    match (line.as_str(), &mut left) {
                        ("begins", _) => began = now,
                        ("ready", _) => self.starts.push(now.duration_since(began)),
                        (_, Some(left)) => *left = left.saturating_sub(1),
                        _ => {}
                    }
                    if left.is_none_or(|left| left == 0) && deadline > now + after {
                        deadline = now + after;
                    }
                }
                Err(RecvTimeoutError::Timeout) => break,
                Err(RecvTimeoutError::Disconnected) => panic!("the process ended by itself"),
            }
        }
        process.kill();
        for line in lines {
            self.line(&line);
        }
        listening.join().unwrap();
        assert!(left.is_none_or(|left| left == 0), "nothing happens any more");
    }
}

/// Kills and restarts, then compares what is there with what was acknowledged and with an undisturbed run.
fn kill_again_and_again(test: &str, validators: usize, kills: usize, seed: u64) {
    println!("seed {seed}; to run it again: {SEED}={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("killed");
    let mut heard = Heard::default();
    for _ in 0..kills {
        // One of four is killed while it opens its files.
        let acknowledged = (random.random_range(0..4) > 0).then(|| random.random_range(1..12));
        let longest = if acknowledged.is_some() { 30_000 } else { 250_000 };
        let after = Duration::from_micros(random.random_range(0..longest));
        heard.life(test, root.to_str().unwrap(), acknowledged, after);
    }
    heard.starts.sort_unstable();
    println!(
        "{} acknowledged over {kills} kills; {} starts took {:?} on the median, {:?} at most",
        heard.acknowledged.len(),
        heard.starts.len(),
        heard.starts[heard.starts.len() / 2],
        heard.starts[heard.starts.len() - 1],
    );

    let cluster_killed = cluster(&root, validators);
    let nodes = cluster_killed.start();
    let node = &nodes[0];
    let found = history(node.client());
    let places: BTreeMap<Digest, u64> = found.iter().copied().collect();
    assert_eq!(places.len(), found.len(), "an envelope is there twice");
    for (envelope, height) in &heard.acknowledged {
        assert_eq!(places.get(envelope), Some(height), "{envelope} was acknowledged");
    }
    // Nothing else is there than what the senders sent, in their order.
    let mut envelopes: Vec<SignedEnvelope> = Vec::new();
    let mut sent = BTreeMap::new();
    for sender in 0..SENDERS {
        let (member, lane) = lane_of(sender);
        for sequence in 0..next_sequence(node.client(), member, lane).unwrap() {
            let envelope = cluster_killed.deposit(member, lane, sequence);
            sent.insert(envelope.digest(), envelope.clone());
            envelopes.push(envelope);
        }
    }
    assert_eq!(sent.len(), found.len());

    // By the rules alone, in the order of the blocks.
    let mut state = MemoryState::default();
    state.apply(cluster_killed.genesis.state().unwrap());
    for (digest, height) in &found {
        let header = Header { network: cluster_killed.genesis.network(), height: *height, time: noon() };
        let outcome = execute(&state, &sent[digest], &header).unwrap();
        state.apply(outcome.writes);
    }
    let by_rules = state_digest(state.iter());
    // By validators that nobody kills.
    let undisturbed = cluster(&dir.path().join("undisturbed"), validators);
    let others = undisturbed.start();
    for together in envelopes.chunks(500) {
        accepted(&submit(&others[0], together.to_vec()));
    }
    assert_eq!(digest_of_state(others[0].client()), by_rules);
    drop(others);
    let latest = nodes.iter().map(|n| n.client().latest().height).max().unwrap();
    for node in &nodes {
        assert!(node.client().wait_for_height(latest, support::PATIENCE));
        assert_eq!(digest_of_state(node.client()), by_rules);
    }
    // And it goes on.
    let (member, lane) = lane_of(0);
    let next = next_sequence(node.client(), member, lane).unwrap();
    accepted(&submit(node, vec![cluster_killed.deposit(member, lane, next)]));
}

#[test]
fn a_validator_on_its_own_that_is_killed() {
    if let Some(root) = again::role() {
        run_until_killed(root.as_ref(), 1);
    }
    kill_again_and_again("a_validator_on_its_own_that_is_killed", 1, 25, seed());
}

#[test]
fn four_validators_that_are_killed_together() {
    if let Some(root) = again::role() {
        run_until_killed(root.as_ref(), 4);
    }
    // They wait for each other more than they compute: two networks take no longer than one.
    let seed = seed();
    std::thread::scope(|scope| {
        for seed in [seed, seed + 1] {
            let test = "four_validators_that_are_killed_together";
            scope.spawn(move || kill_again_and_again(test, 4, 13, seed));
        }
    });
}
