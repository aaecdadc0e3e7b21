//! Networks of real validators on loopback, and what their members submit.
#![allow(dead_code, reason = "each test uses its part")]

use ed25519_dalek::SigningKey;
use eroam_chain::machine::Rules;
use eroam_chain::mempool::PoolLimits;
use eroam_chain::node::{Node, NodeConfig, StartError};
use eroam_chain::{StatedTime, Timing};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use eroam_ledger::membership::Roles;
use eroam_ledger::port::{LedgerPort, Receipt};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub const NOON: i64 = 1_740_000_000_000;

pub fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

pub fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(name.as_bytes()).0)
}

pub fn noon() -> UnixMillis {
    UnixMillis::new(NOON).unwrap()
}

pub fn members() -> Vec<PartyId> {
    ["PT-AAA", "PT-BBB", "PT-CCC", "PT-DDD"].map(party).to_vec()
}

pub fn genesis(validators: usize, epoch_blocks: u32) -> Genesis {
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
pub fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let listeners: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    listeners.iter().map(|l| l.local_addr().unwrap()).collect()
}

pub struct Cluster {
    pub genesis: Genesis,
    pub stated: StatedTime,
    pub addresses: Vec<SocketAddr>,
    pub root: PathBuf,
    pub items_max: usize,
}

impl Cluster {
    pub fn new(root: &Path, validators: usize, epoch_blocks: u32) -> Self {
        Self {
            genesis: genesis(validators, epoch_blocks),
            stated: StatedTime::default(),
            addresses: free_addresses(validators),
            root: root.to_owned(),
            items_max: 4096,
        }
    }

    pub fn directory(&self, index: usize) -> PathBuf {
        self.root.join(format!("validator-{index}"))
    }

    pub fn config(&self, index: usize) -> NodeConfig {
        let alone = self.addresses.len() == 1;
        let keys = self.genesis.consensus.validators.iter().map(|v| v.key);
        NodeConfig {
            genesis: self.genesis.clone(),
            key: key_of(&format!("validator {index}")),
            listen: if alone { "127.0.0.1:0".parse().unwrap() } else { self.addresses[index] },
            peers: keys.zip(self.addresses.iter().copied()).collect(),
            stated: self.stated.clone(),
            machine: Arc::new(Rules),
            pool: PoolLimits::DEFAULT,
            items_max: self.items_max,
            timing: if alone { Timing::ALONE } else { Timing::SEVERAL },
            cache_bytes: 16 << 20,
        }
    }

    pub fn start(&self) -> Vec<Node> {
        let starting: Vec<_> = (0..self.addresses.len())
            .map(|n| Node::start(&self.directory(n), self.config(n)).unwrap())
            .collect();
        starting.into_iter().map(|s| s.ready().unwrap()).collect()
    }

    pub fn start_one(&self, index: usize) -> Result<Node, StartError> {
        Node::start(&self.directory(index), self.config(index))?.ready()
    }

    pub fn envelope(&self, member: PartyId, lane: u16, sequence: u64, tx: Tx) -> SignedEnvelope {
        Envelope {
            version: VERSION,
            network: self.genesis.network(),
            member,
            key: 0,
            lane,
            sequence,
            expires_at: UnixMillis::new(NOON * 2).unwrap(),
            tx,
        }
        .sign(&key_of(&member.to_string()))
    }

    /// A deposit that a treasurer attests; each has a reference of its own.
    pub fn deposit(&self, member: PartyId, lane: u16, sequence: u64) -> SignedEnvelope {
        self.envelope(member, lane, sequence, deposit(member, &format!("{member}/{lane}/{sequence}")))
    }
}

pub fn deposit(party: PartyId, reference: &str) -> Tx {
    Tx::Settlement(SettlementTx::AttestDeposit {
        party,
        amount: Money::new(1_000_000, Currency::new("EUR").unwrap()),
        reference: ShortText::new(reference).unwrap(),
    })
}

#[track_caller]
pub fn accepted(receipts: &[Receipt]) {
    for receipt in receipts {
        assert!(receipt.height.is_some(), "{receipt:?}");
        assert!(receipt.items.iter().all(|i| i.outcome.is_accepted()), "{receipt:?}");
    }
}

pub fn submit(node: &Node, envelopes: Vec<SignedEnvelope>) -> Vec<Receipt> {
    node.client().clone().submit(noon(), envelopes).unwrap()
}
