//! A node: the one validator of a network, the registry for everybody, and the door to the ledger for the organisation's
//! own programs.
//!
//! What it deliberately does not do yet: find other validators. Networks of several are run in one process
//! ([`crate::ledger`]).

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
    /// For agents that are simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<SimulationConfig>,
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
        if genesis.consensus.validators.iter().map(|v| v.key).ne([PublicKey::of(&key)]) {
            let rule = "this node is the only validator of its network, with the key that the genesis names";
            return Err(ProgramError::rule(genesis_file.display(), rule));
        }
        let directory = located.path(&config.directory);
        let made = std::fs::create_dir_all(&directory);
        made.map_err(ProgramError::io(format!("{} cannot be made", directory.display())))?;
        let node = Node::start(
            &directory.join("validator-0"),
            NodeConfig {
                genesis,
                key,
                // Nobody else is there to talk to.
                listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
                peers: Vec::new(),
                catch_up: CatchUp::Blocks,
                stated: StatedTime::default(),
                machine: Arc::new(Rules),
                pool: PoolLimits::DEFAULT,
                items_max: BLOCK_ITEMS,
                timing: Timing::ALONE,
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
            json!({ "network": client.network(), "height": latest.height, "time": latest.time.to_string() })
        }
        NodeCommand::Usage => json!(Usage::now()),
    }
}
