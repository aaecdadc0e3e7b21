//! A node: a validator of a network, alone or with those of other organisations, the registry for everybody, and the door to
//! the ledger for the organisation's own programs.
//!
//! What it deliberately does not do yet: find validators that its configuration does not name, and follow a network without
//! a vote. Who validates is what the genesis says.

use super::ProgramError;
use super::config::{Located, SimulationConfig};
use super::control::Control;
use super::organisation::{share_clock, tails};
use super::secrets;
use crate::node::server as node_server;
use crate::registry;
use crate::server::{STOP_WITHIN, Server};
use crate::usage::Usage;
use crate::whole_file;
use eroam_chain::client::Client;
use eroam_chain::machine::Rules;
use eroam_chain::mempool::PoolLimits;
use eroam_chain::node::{CatchUp, Node, NodeConfig};
use eroam_chain::{StatedTime, Timing};
use eroam_domain::codec::Digest;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::tx::PublicKey;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Where the address that it had is kept: others have it in their configurations.
const ADDRESS: &str = "address";
/// Items in a block at most.
const BLOCK_ITEMS: usize = 4_096;
/// Pages of files that are kept in memory.
const CACHE_BYTES: usize = 64 << 20;

/// A node's configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeProgramConfig {
    /// Where blocks, state and tails files are kept.
    pub directory: PathBuf,
    /// The genesis of the network, as JSON.
    pub genesis_file: PathBuf,
    /// The key of the validator's votes: 64 hexadecimal digits, in a file of mode 600.
    pub validator_key_file: PathBuf,
    /// Where the registry and the organisation's programs are served.
    pub listen: SocketAddr,
    /// The other validators, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub validators: Option<ValidatorsConfig>,
    /// For agents that are simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<SimulationConfig>,
}

/// How a validator talks to the others. What they send each other is encrypted, and each proves that it has its key.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorsConfig {
    /// Where the others reach this one: an address of this machine that they can dial.
    pub listen: SocketAddr,
    /// Copy the state of the others where `directory` is empty, since it was lost: this validator votes again some epochs later.
    /// Otherwise it executes all blocks from the genesis on.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copy_lost_state: bool,
    /// Where they are.
    pub others: Vec<ValidatorAddress>,
}

/// Another validator.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidatorAddress {
    /// Its key, as the genesis names it.
    pub key: PublicKey,
    /// Where it listens.
    pub address: SocketAddr,
}

/// What staff can ask a node.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeCommand {
    /// How far it is.
    Status,
    /// What it used.
    Usage,
}

/// How far a node is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeStatus {
    /// The network.
    pub network: Digest,
    /// The height of its latest block.
    pub height: u64,
    /// That block's time, RFC 3339.
    pub time: String,
    /// The root of the state after that block: equal at all validators that have it.
    pub state: Digest,
    /// How many validators there are.
    pub validators: usize,
}

/// What whoever started a node wants to know.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeReady {
    /// The network.
    pub network: Digest,
    /// Where it is.
    pub url: String,
}

/// A running node.
pub struct NodeProgram {
    ready: NodeReady,
    _control: Control,
    server: Server,
    node: Node,
}

impl NodeProgram {
    /// Starts one.
    ///
    /// # Errors
    /// [`ProgramError`].
    pub fn start(located: &Located<NodeProgramConfig>) -> Result<Self, ProgramError> {
        let config = &located.config;
        share_clock(located, config.simulation.as_ref())?;
        let genesis_file = located.path(&config.genesis_file);
        let what = format!("the genesis {} cannot be read", genesis_file.display());
        let genesis =
            Genesis::from_json(&std::fs::read_to_string(&genesis_file).map_err(ProgramError::io(what))?)?;
        let key = secrets::signing_key(&located.path(&config.validator_key_file))?;
        let peers = others(&genesis, PublicKey::of(&key), config.validators.as_ref())?;
        let directory = located.path(&config.directory);
        let made = std::fs::create_dir_all(&directory);
        made.map_err(ProgramError::io(format!("{} cannot be made", directory.display())))?;
        let validators = config.validators.as_ref();
        let node = Node::start(
            &directory.join("validator-0"),
            NodeConfig {
                genesis,
                key,
                // Without others, nobody is there to talk to.
                listen: validators.map_or(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), |config| config.listen),
                timing: if peers.is_empty() { Timing::ALONE } else { Timing::SEVERAL },
                peers,
                catch_up: match validators {
                    Some(ValidatorsConfig { copy_lost_state: true, .. }) => CatchUp::State,
                    _ => CatchUp::Blocks,
                },
                stated: StatedTime::default(),
                // A simulation leaves out hours.
                clock: Some(Arc::new(crate::clock::now)),
                machine: Arc::new(Rules),
                pool: PoolLimits::DEFAULT,
                items_max: BLOCK_ITEMS,
                cache_bytes: CACHE_BYTES,
            },
        )?
        .ready()?;
        let client = node.client().clone();
        let registry = registry::router(client.clone(), &tails(&directory), None);
        let registry = registry.map_err(ProgramError::io("the directory of tails files cannot be made"))?;
        let router = registry.merge(node_server::router(client.clone()));
        let server = Server::start("node", address(&directory, config.listen), router, STOP_WITHIN)?;
        let kept = whole_file::write(&directory, ADDRESS, server.address().to_string().as_bytes());
        kept.map_err(ProgramError::io("the node's address cannot be kept"))?;
        let ready = NodeReady { network: client.network(), url: format!("http://{}", server.address()) };
        let control = Control::open(&directory, move |command| Ok(handle(&client, command)))?;
        Ok(Self { ready, _control: control, server, node })
    }

    /// What whoever started it wants to know.
    #[must_use]
    pub const fn ready(&self) -> &NodeReady {
        &self.ready
    }

    /// Stops it.
    pub fn stop(self) {
        self.server.stop();
        self.node.stop();
    }
}

/// Where the other validators are. All of them are named, so that none is left out by mistake and missed when another fails.
fn others(
    genesis: &Genesis,
    own: PublicKey,
    config: Option<&ValidatorsConfig>,
) -> Result<Vec<(PublicKey, SocketAddr)>, ProgramError> {
    let validators = &genesis.consensus.validators;
    if !validators.iter().any(|validator| validator.key == own) {
        let rule = format!("its public half {own} is no validator's key in the genesis");
        return Err(ProgramError::rule("validator_key_file", rule));
    }
    let named = config.map_or(&[][..], |config| &config.others);
    let mut peers = Vec::with_capacity(named.len());
    for ValidatorAddress { key, address } in named {
        if *key == own || !validators.iter().any(|validator| validator.key == *key) {
            let rule = format!("{key} is the key of no other validator in the genesis");
            return Err(ProgramError::rule("[[validators.others]] key", rule));
        }
        if peers.iter().any(|(other, _)| other == key) {
            return Err(ProgramError::rule("[[validators.others]] key", format!("{key} is named twice")));
        }
        if address.port() == 0 || address.ip().is_unspecified() {
            return Err(ProgramError::rule(
                "[[validators.others]] address",
                format!("nobody is at {address}"),
            ));
        }
        peers.push((*key, *address));
    }
    let missing = validators.iter().find(|v| v.key != own && !peers.iter().any(|(key, _)| *key == v.key));
    if let Some(missing) = missing {
        let rule = format!(
            "where is the validator of {}, {}? Name all others of the genesis",
            missing.party, missing.key
        );
        return Err(ProgramError::rule("[[validators.others]]", rule));
    }
    match config {
        Some(config) if config.listen.port() == 0 || config.listen.ip().is_unspecified() => {
            let rule = format!("{} is no address that the others can dial", config.listen);
            Err(ProgramError::rule("[validators] listen", rule))
        }
        _ => Ok(peers),
    }
}

/// Where it listens: where it was told to, or, if that leaves the port open, where it did before.
fn address(directory: &Path, wanted: SocketAddr) -> SocketAddr {
    if wanted.port() != 0 {
        return wanted;
    }
    let before = std::fs::read_to_string(directory.join(ADDRESS)).ok();
    let before = before.and_then(|text| text.trim().parse::<SocketAddr>().ok());
    before.filter(|before| before.ip() == wanted.ip()).unwrap_or(wanted)
}

fn handle(client: &Client, command: NodeCommand) -> Value {
    match command {
        NodeCommand::Status => {
            let latest = client.latest();
            json!(NodeStatus {
                network: client.network(),
                height: latest.height,
                time: latest.time.to_string(),
                state: latest.state,
                validators: client.genesis().consensus.validators.len(),
            })
        }
        NodeCommand::Usage => json!(Usage::now()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::consortium::Seed;
    use crate::ledger::LedgerSetup;
    use crate::simulate::founding::genesis;
    use eroam_ledger::genesis::BlockTime;

    #[test]
    fn whoever_does_not_know_where_the_others_are_is_told() {
        let party = |text: &str| text.parse().unwrap();
        let (emsp, cpo, treasury) = (party("DE-AAA"), party("DE-BBB"), party("DE-CCC"));
        let seed = Seed(3);
        let with = |validators: usize| {
            let setup = LedgerSetup { validators, ..LedgerSetup::default() };
            genesis("a network", seed, &[emsp], &[cpo], treasury, &setup, BlockTime::Clock).unwrap()
        };
        let key = |index: usize| PublicKey::of(&seed.validator_key(index));
        let at = |port: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let named = |ports: &[(usize, u16)]| ValidatorsConfig {
            listen: at(7_000),
            copy_lost_state: false,
            others: ports
                .iter()
                .map(|(v, port)| ValidatorAddress { key: key(*v), address: at(*port) })
                .collect(),
        };
        assert_eq!(others(&with(1), key(0), None).unwrap(), []);
        let all = named(&[(1, 7_001), (2, 7_002), (3, 7_003)]);
        let found = others(&with(4), key(0), Some(&all)).unwrap();
        assert_eq!(found, [(key(1), at(7_001)), (key(2), at(7_002)), (key(3), at(7_003))]);

        let mut unreachable = all.clone();
        unreachable.listen = at(0);
        for (config, says) in [
            (None, "where is the validator of DE-BBB"),
            (Some(named(&[(1, 7_001), (3, 7_003)])), "where is the validator of DE-CCC"),
            (Some(named(&[(1, 7_001), (1, 7_002), (3, 7_003)])), "is named twice"),
            (Some(named(&[(0, 7_000)])), "is the key of no other validator in the genesis"),
            (Some(named(&[(5, 7_001)])), "is the key of no other validator in the genesis"),
            (Some(named(&[(1, 0), (2, 7_002), (3, 7_003)])), "nobody is at 127.0.0.1:0"),
            (Some(unreachable), "127.0.0.1:0 is no address that the others can dial"),
        ] {
            let refused = others(&with(4), key(0), config.as_ref()).unwrap_err().to_string();
            assert!(refused.contains(says), "{says}: {refused}");
        }
        let stranger = others(&with(4), key(9), Some(&all)).unwrap_err().to_string();
        assert!(stranger.contains("no validator's key in the genesis"), "{stranger}");
    }
}
