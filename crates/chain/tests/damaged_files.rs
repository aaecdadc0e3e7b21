//! Files that lost their end or have a wrong byte: the node recovers, or says which directory is damaged and what to
//! do, and doing it helps.

mod support;

use eroam_chain::node::{CatchUp, Node, NodeConfig, StartError};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::tx::SignedEnvelope;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use support::{
    Cluster, QUICK, accepted, copy_directory, digest_of_state, files_below, history, members, noon, refusal,
    says, submit, until, whole,
};

/// The bytes of a page of the engine's files.
const PAGE: usize = 4096;

/// What happens to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Damage {
    LastByteCut,
    HalfCut,
    AllCut,
    /// A bit of the last byte.
    LastByteFlipped,
    /// A bit where the last full page begins, which in a short file is its header.
    LastPageFlipped,
}

impl Damage {
    const ALL: [Self; 5] =
        [Self::LastByteCut, Self::HalfCut, Self::AllCut, Self::LastByteFlipped, Self::LastPageFlipped];

    /// `false` if there is nothing to damage.
    fn strike(self, file: &Path) -> bool {
        let mut bytes = fs::read(file).unwrap();
        let Some(last) = bytes.len().checked_sub(1) else { return false };
        match self {
            Self::LastByteCut => bytes.truncate(last),
            Self::HalfCut => bytes.truncate(bytes.len() / 2),
            Self::AllCut => bytes.clear(),
            Self::LastByteFlipped => bytes[last] ^= 1,
            Self::LastPageFlipped => {
                let page = bytes.len().saturating_sub(PAGE);
                bytes[page + 10] ^= 1;
            }
        }
        fs::write(file, bytes).unwrap();
        true
    }
}

/// Of an engine's files those that are damaged: of caches only the latest epoch's, of its votes the last two.
fn files_in_use(directory: &Path) -> Vec<PathBuf> {
    let engine = directory.join("engine");
    let names: Vec<PathBuf> =
        files_below(&engine).iter().map(|f| f.strip_prefix(&engine).unwrap().to_owned()).collect();
    let epoch = |name: &Path, prefix: &str| -> Option<u64> {
        name.to_str()?.strip_prefix(prefix)?.split(['-', '/']).next()?.parse().ok()
    };
    let is_latest = |name: &Path, prefix: &str| {
        let latest = names.iter().filter_map(|name| epoch(name, prefix)).max();
        epoch(name, prefix).is_none_or(|epoch| Some(epoch) == latest)
    };
    let votes = |name: &PathBuf| epoch(name, "ledger-epoch-").is_some();
    let last_votes: Vec<&PathBuf> = names.iter().filter(|name| votes(name)).rev().take(2).collect();
    let in_use = |name: &PathBuf| {
        is_latest(name, "ledger-cache-cache-") && (!votes(name) || last_votes.contains(&name))
    };
    names.iter().filter(|name| in_use(name)).cloned().collect()
}

/// Does what the message of a node that does not start advises, as often as it takes; `false` if it advises nothing
/// that can be done here.
fn follow_advice(directory: &Path, advice: &str, times: usize) -> bool {
    let engine = directory.join("engine");
    let Some((_, keep)) = advice.split_once(&format!("remove all of {} but ", engine.display())) else {
        return false;
    };
    let (keep, then) = keep.split_once(", and if that does not help, ").unwrap_or((keep, ""));
    for entry in fs::read_dir(&engine).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let named = |text: &str| {
            let patterns = text.split([' ', ',', ':']).filter_map(|word| word.strip_suffix('*'));
            patterns.into_iter().any(|pattern| name.starts_with(pattern))
        };
        if path.is_dir() && (!named(keep) || times > 0 && named(then)) {
            fs::remove_dir_all(&path).unwrap();
        }
    }
    true
}

/// How a damaged node came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Return {
    Itself,
    Advised,
    /// Only a copy could help, and the message says so.
    Irreplaceable,
}

/// Starts a damaged node.
#[track_caller]
fn start_damaged(directory: &Path, start: impl Fn() -> Result<Node, StartError>) -> (Return, Option<Node>) {
    let mut way = Return::Itself;
    for times in 0..3 {
        let refused = match start() {
            Ok(node) => return (way, Some(node)),
            refused => refusal(refused),
        };
        says(&refused, &[directory.to_str().unwrap()]);
        if !follow_advice(directory, &refused, times) {
            says(&refused, &["put back a copy", "never an older one", "a new key"]);
            return (Return::Irreplaceable, None);
        }
        way = Return::Advised;
    }
    panic!("the advice does not help: {}", refusal(start()));
}

/// What a network has acknowledged.
struct Acknowledged {
    cluster: Cluster,
    member: PartyId,
    envelopes: Vec<SignedEnvelope>,
}

impl Acknowledged {
    fn submit(&mut self, node: &Node, count: usize) {
        for _ in 0..count {
            let next = self.envelopes.len() as u64;
            let envelope = self.cluster.deposit(self.member, 0, next);
            accepted(&submit(node, vec![envelope.clone()]));
            self.envelopes.push(envelope);
        }
    }

    /// Everything is there, once and in its order, and nothing else.
    #[track_caller]
    fn is_all_of(&self, node: &Node) {
        let found: Vec<Digest> = history(node.client()).into_iter().map(|(digest, _)| digest).collect();
        let expected: Vec<Digest> = self.envelopes.iter().map(SignedEnvelope::digest).collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn a_validator_on_its_own_with_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 12);
    let mut network = Acknowledged { cluster, member: members()[0], envelopes: Vec::new() };
    let node = network.cluster.start_one(0).unwrap();
    network.submit(&node, 30);
    let state = digest_of_state(node.client());
    node.stop();
    let sound = network.cluster.directory(0);
    let mut ways: BTreeMap<Return, usize> = BTreeMap::new();
    for (index, file) in files_in_use(&sound).into_iter().enumerate() {
        let name = file.to_str().unwrap();
        // Whatever grows is damaged in several ways, what is small or only a cache in one each.
        let grows = fs::metadata(sound.join("engine").join(&file)).unwrap().len() > PAGE as u64 + 64;
        let times = if grows && !name.contains("cache") { 3 } else { 1 };
        for damage in Damage::ALL.iter().cycle().skip(index).take(times) {
            network.cluster.root = dir.path().join("damaged");
            let damaged = network.cluster.directory(0);
            copy_directory(&sound, &damaged);
            if damage.strike(&damaged.join("engine").join(&file)) {
                println!("{name}: {damage:?}");
                let (way, node) = start_damaged(&damaged, || network.cluster.start_one(0));
                *ways.entry(way).or_default() += 1;
                if let Some(node) = node {
                    network.is_all_of(&node);
                    assert_eq!(digest_of_state(node.client()), state);
                    accepted(&submit(&node, vec![network.cluster.deposit(network.member, 0, 30)]));
                } else {
                    let archives = ["ledger-blocks-", "ledger-finalizations-", "ledger-epoch-"];
                    assert!(archives.iter().any(|a| name.starts_with(a)), "{name} can be made again");
                    // A last write that the disk did not finish was never acknowledged, and heals by itself
                    // (`src/tests/crashes.rs`). Here a byte is gone that was synchronized; of the archives' indexes and
                    // votes, whose pages have checksums, the last page goes with it, and nobody else has it.
                    let indexes = ["ledger-blocks-key", "ledger-finalizations-key", "ledger-epoch-"];
                    let is_index = indexes.iter().any(|index| name.starts_with(index));
                    assert!(*damage != Damage::LastByteCut || is_index, "{name} lacks its last byte alone");
                }
            }
            fs::remove_dir_all(&network.cluster.root).unwrap();
        }
    }
    println!("{ways:?}");
    assert!(ways[&Return::Itself] > 20, "{ways:?}");
}

#[test]
fn one_of_four_validators_with_a_damaged_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut cluster = Cluster::new(dir.path(), 4, 12);
    cluster.timing = QUICK;
    let mut network = Acknowledged { cluster, member: members()[0], envelopes: Vec::new() };
    let mut nodes = network.cluster.start();
    network.submit(&nodes[0], 20);
    let mut damaged = nodes.pop().unwrap();
    let directory = network.cluster.directory(3);
    let mut ways: BTreeMap<Return, usize> = BTreeMap::new();
    let mut turn = 0;
    let mut struck: Vec<String> = Vec::new();
    loop {
        damaged.stop();
        // A directory of files at a time; those of later epochs stand for those of earlier ones.
        let kind = |file: &Path| {
            let partition = file.parent().unwrap().to_str().unwrap();
            partition.replace(|c: char| c.is_ascii_digit(), "")
        };
        let next =
            files_in_use(&directory).into_iter().find(|f| !struck.contains(&kind(f)) && !kind(f).is_empty());
        let Some(file) = next else { break };
        struck.push(kind(&file));
        let damage = [Damage::LastByteCut, Damage::HalfCut, Damage::LastPageFlipped][turn % 3];
        turn += 1;
        if !damage.strike(&directory.join("engine").join(&file)) {
            damaged = network.cluster.start_one(3).unwrap();
            continue;
        }
        println!("{}: {damage:?}", file.display());
        network.submit(&nodes[turn % 3], 1);
        let (way, node) = start_damaged(&directory, || network.cluster.start_one(3));
        *ways.entry(way).or_default() += 1;
        let node = node.unwrap_or_else(|| panic!("{} can be made again", file.display()));
        until("it has caught up", || node.client().latest().height >= nodes[0].client().latest().height);
        network.is_all_of(&node);
        network.submit(&node, 1);
        damaged = node;
    }
    println!("{ways:?}");
    let node = network.cluster.start_one(3).unwrap();
    network.submit(&node, 1);
    nodes.push(node);
    let last = network.envelopes.last().unwrap().clone();
    for node in &nodes {
        accepted(&node.client().clone().submit(noon(), vec![last.clone()]).unwrap());
        network.is_all_of(node);
    }
    let states: Vec<Digest> = nodes.iter().map(|node| digest_of_state(node.client())).collect();
    assert!(states.iter().all(|state| *state == states[0]), "{states:?}");
}

/// It says from when on the validator may vote. Nothing else does, but with an empty directory it is found out anew.
#[test]
fn what_a_validator_that_copied_the_state_remembers_is_damaged_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 4, 1000);
    let mut network = Acknowledged { cluster, member: members()[0], envelopes: Vec::new() };
    let nodes = network.cluster.start_some(&[0, 1, 2]);
    network.submit(&nodes[0], 5);
    let directory = network.cluster.directory(3);
    let memory = directory.join("engine/ledger-joined");
    let config =
        |network: &Acknowledged| NodeConfig { catch_up: CatchUp::State, ..network.cluster.config(3) };
    for damage in [Some(Damage::LastByteFlipped), Some(Damage::AllCut), None] {
        let copied = Node::start(&directory, config(&network)).unwrap().ready().unwrap();
        network.submit(&copied, 1);
        let (from, votes_from) = (copied.client().holds_from(), copied.client().votes_from());
        assert!(from > 1 && votes_from >= 3000, "{from}, {votes_from}");
        copied.stop();
        let files = files_below(&memory);
        assert_eq!(files.len(), 2, "{files:?}");
        // One of the two copies is enough.
        let sound = fs::read(&files[0]).unwrap();
        assert!(Damage::LastByteFlipped.strike(&files[0]));
        let again = network.cluster.start_one(3).unwrap();
        assert!(again.client().votes_from() >= 3000, "it votes too early");
        again.stop();
        fs::write(&files[0], sound).unwrap();
        match damage {
            Some(damage) => assert!(files.iter().all(|file| damage.strike(file))),
            None => fs::remove_dir_all(&memory).unwrap(),
        }
        let refused = refusal(network.cluster.start_one(3));
        let name = directory.to_str().unwrap();
        says(&refused, &[name, "remembers of copying the state", "remove all that is in it"]);
        fs::remove_dir_all(&directory).unwrap();
    }
}

#[test]
fn a_read_model_that_is_damaged_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    let cluster = Cluster::new(dir.path(), 1, 12);
    let mut network = Acknowledged { cluster, member: members()[0], envelopes: Vec::new() };
    let file = network.cluster.directory(0).join("index.redb");
    let mut node = network.cluster.start_one(0).unwrap();
    network.submit(&node, 20);
    for damage in Damage::ALL.map(Some).into_iter().chain([None]) {
        node.stop();
        match damage {
            Some(damage) => assert!(damage.strike(&file)),
            None => fs::remove_file(&file).unwrap(),
        }
        node = network.cluster.start_one(0).unwrap();
        let heights = history(node.client());
        let mut said = false;
        for (envelope, (digest, height)) in network.envelopes.iter().zip(heights) {
            assert_eq!(envelope.digest(), digest);
            let asked = node.client().clone().submit(noon(), vec![envelope.clone()]);
            let receipts = asked.unwrap_or_else(|error| {
                // What is only found when it is read is said once.
                says(&whole(&error), &["the read model", "start the node again"]);
                Vec::new()
            });
            if receipts.is_empty() {
                assert!(!said, "{damage:?} is said twice");
                said = true;
                node.stop();
                node = network.cluster.start_one(0).unwrap();
            }
            let receipts = submit(&node, vec![envelope.clone()]);
            accepted(&receipts);
            assert_eq!(receipts[0].height, Some(height), "{damage:?}");
        }
        network.submit(&node, 1);
        network.is_all_of(&node);
    }
}
