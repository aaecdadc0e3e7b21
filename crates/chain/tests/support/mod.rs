//! Networks of real validators on loopback, and what their members submit.
#![allow(dead_code, reason = "each test uses its part")]

pub(crate) mod again;

use ed25519_dalek::SigningKey;
use eroam_chain::client::Client;
use eroam_chain::machine::Rules;
use eroam_chain::mempool::PoolLimits;
use eroam_chain::node::{CatchUp, Node, NodeConfig, StartError};
use eroam_chain::{StatedTime, Timing};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use eroam_ledger::membership::Roles;
use eroam_ledger::port::{LedgerPort, Receipt};
use eroam_ledger::reject::RejectCode;
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::state_digest;
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const NOON: i64 = 1_740_000_000_000;
/// Whatever is waited for happens within this time, or it is a failure.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Several validators of one machine need not wait for each other as long as those of a consortium.
pub(crate) const QUICK: Timing = Timing {
    hold: Duration::from_millis(200),
    leader_timeout: Duration::from_millis(800),
    heartbeat: Duration::from_secs(60),
    decided_within: PATIENCE,
};

pub(crate) fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

pub(crate) fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(name.as_bytes()).0)
}

pub(crate) fn at(millis: i64) -> UnixMillis {
    UnixMillis::new(millis).unwrap()
}

pub(crate) fn noon() -> UnixMillis {
    at(NOON)
}

pub(crate) fn members() -> Vec<PartyId> {
    ["PT-AAA", "PT-BBB", "PT-CCC", "PT-DDD"].map(party).to_vec()
}

pub(crate) fn genesis(validators: usize, epoch_blocks: u32) -> Genesis {
    Genesis {
        name: ShortText::new("chain tests").unwrap(),
        parameters: Parameters { treasurers_required: 1, close_grace: DurationMs::from_millis(1) },
        members: members()
            .into_iter()
            .map(|party| GenesisMember {
                party,
                name: ShortText::new(&party.to_string()).unwrap(),
                roles: Roles::EMSP.with(Roles::CPO).with(Roles::TREASURER),
                key: PublicKey::of(&key_of(&party.to_string())),
            })
            .collect(),
        consensus: Consensus {
            validators: (0..validators)
                .map(|n| Validator {
                    party: members()[n % 4],
                    key: PublicKey::of(&key_of(&format!("validator {n}"))),
                })
                .collect(),
            epoch_blocks,
            block_bytes_max: 4 << 20,
            time: BlockTime::Stated,
        },
        imported: None,
    }
}

/// Addresses that nobody listened at a moment ago.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap()).collect()
}

pub(crate) struct Cluster {
    pub(crate) genesis: Genesis,
    pub(crate) stated: StatedTime,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) root: PathBuf,
    pub(crate) items_max: usize,
    pub(crate) pool: PoolLimits,
    pub(crate) timing: Timing,
}

impl Cluster {
    pub(crate) fn new(root: &Path, validators: usize, epoch_blocks: u32) -> Self {
        Self {
            genesis: genesis(validators, epoch_blocks),
            stated: StatedTime::default(),
            addresses: free_addresses(validators),
            root: root.to_owned(),
            items_max: 4096,
            pool: PoolLimits::DEFAULT,
            timing: if validators == 1 { Timing::ALONE } else { Timing::SEVERAL },
        }
    }

    pub(crate) fn directory(&self, index: usize) -> PathBuf {
        self.root.join(format!("validator-{index}"))
    }

    pub(crate) fn config(&self, index: usize) -> NodeConfig {
        let alone = self.addresses.len() == 1;
        let keys = self.genesis.consensus.validators.iter().map(|v| v.key);
        NodeConfig {
            genesis: self.genesis.clone(),
            key: key_of(&format!("validator {index}")),
            listen: if alone { "127.0.0.1:0".parse().unwrap() } else { self.addresses[index] },
            peers: keys.zip(self.addresses.iter().copied()).collect(),
            catch_up: CatchUp::Blocks,
            stated: self.stated.clone(),
            clock: None,
            machine: Arc::new(Rules),
            pool: self.pool,
            items_max: self.items_max,
            timing: self.timing,
            cache_bytes: 16 << 20,
        }
    }

    pub(crate) fn start(&self) -> Vec<Node> {
        let indices: Vec<usize> = (0..self.addresses.len()).collect();
        self.start_some(&indices)
    }

    pub(crate) fn start_some(&self, indices: &[usize]) -> Vec<Node> {
        let starting: Vec<_> =
            indices.iter().map(|n| Node::start(&self.directory(*n), self.config(*n)).unwrap()).collect();
        starting.into_iter().map(|s| s.ready().unwrap()).collect()
    }

    pub(crate) fn start_one(&self, index: usize) -> Result<Node, StartError> {
        Node::start(&self.directory(index), self.config(index))?.ready()
    }

    /// An envelope before its member signs it.
    pub(crate) fn claim(&self, member: PartyId, lane: u16, sequence: u64, tx: Tx) -> Envelope {
        Envelope {
            version: VERSION,
            network: self.genesis.network(),
            member,
            key: 0,
            lane,
            sequence,
            expires_at: at(NOON * 2),
            tx,
        }
    }

    pub(crate) fn envelope(&self, member: PartyId, lane: u16, sequence: u64, tx: Tx) -> SignedEnvelope {
        self.claim(member, lane, sequence, tx).sign(&key_of(&member.to_string()))
    }

    /// A deposit that a treasurer attests; each has a reference of its own.
    pub(crate) fn deposit(&self, member: PartyId, lane: u16, sequence: u64) -> SignedEnvelope {
        self.envelope(member, lane, sequence, deposit(member, &format!("{member}/{lane}/{sequence}")))
    }
}

pub(crate) fn deposit(party: PartyId, reference: &str) -> Tx {
    Tx::Settlement(SettlementTx::AttestDeposit {
        party,
        amount: Money::new(1_000_000, Currency::new("EUR").unwrap()),
        reference: ShortText::new(reference).unwrap(),
    })
}

pub(crate) fn submit(node: &Node, envelopes: Vec<SignedEnvelope>) -> Vec<Receipt> {
    node.client().clone().submit(noon(), envelopes).unwrap()
}

#[track_caller]
pub(crate) fn accepted(receipts: &[Receipt]) {
    for receipt in receipts {
        assert!(receipt.height.is_some(), "{receipt:?}");
        assert!(receipt.items.iter().all(|i| i.outcome.is_accepted()), "{receipt:?}");
    }
}

/// It was refused before it reached a block.
#[track_caller]
pub(crate) fn turned_away(receipts: &[Receipt], code: RejectCode) {
    for receipt in receipts {
        assert_eq!(receipt.height, None, "{receipt:?}");
        assert_eq!(receipt.items.len(), 1, "{receipt:?}");
        assert_eq!(receipt.items[0].outcome.rejection(), Some(code), "{receipt:?}");
    }
}

/// Everything that an error says, its sources included.
pub(crate) fn whole(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Everything that an error of a node that does not start says.
#[track_caller]
pub(crate) fn refusal(result: Result<Node, StartError>) -> String {
    match result {
        Ok(_) => panic!("it started"),
        Err(error) => whole(&error),
    }
}

#[track_caller]
pub(crate) fn says(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is missing in: {text}");
    }
}

/// The state of a node as one number.
pub(crate) fn digest_of_state(client: &Client) -> Digest {
    let (_, entries) = client.entries().unwrap();
    state_digest(entries.iter().map(|(k, v)| (k.as_slice(), v.as_slice())))
}

/// Every envelope of a node's blocks with its block's height, in their order. No block may be missing.
#[track_caller]
pub(crate) fn history(client: &Client) -> Vec<(Digest, u64)> {
    let mut envelopes = Vec::new();
    for height in 1..=client.latest().height {
        let block = client.block(height).unwrap();
        let block = block.unwrap_or_else(|| panic!("block {height} is missing"));
        let contents = block.contents().unwrap();
        envelopes.extend(contents.envelopes.iter().map(|e| (e.digest(), height)));
    }
    envelopes
}

/// Looks until `done` is true.
#[track_caller]
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// All files below a directory, in a fixed order.
pub(crate) fn files_below(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<PathBuf> = fs::read_dir(directory).unwrap().map(|e| e.unwrap().path()).collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    for file in files_below(from) {
        let target = to.join(file.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&file, target).unwrap();
    }
}
