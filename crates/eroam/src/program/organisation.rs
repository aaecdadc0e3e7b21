//! What a home utility's and an operator's programs have in common: keys, records, the gateway, letters.

use super::ProgramError;
use super::config::{Located, SimulationConfig};
use super::secrets;
use crate::agent::reach::Reach;
use crate::charging::offices::{Directory, Office};
use crate::charging::state::{AgentState, Changes};
use crate::clock;
use crate::consortium::founders;
use crate::ledger::keys::hex;
use crate::node::{Node, RemoteNode};
use crate::registry::{Publisher, REGISTRY_LANE};
use ed25519_dalek::SigningKey;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_gateway::gateway::{Gateway, Secrets};
use eroam_gateway::ports::SeededEntropy;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::registry::{DidDocument, DidService};
use eroam_ledger::tx::PublicKey;
use eroam_ssi::didcomm::{OsRng, RngCore as _};
use eroam_store::{OrgStore, StoreUrl};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// The lane of transactions that people make.
pub const OFFICE_LANE: u16 = 1;
/// So often the organisation looks whether something that it waits for has come.
const RESUMES_EVERY: Duration = Duration::from_secs(2);
/// Records of the organisation's own keys.
const KEYS: &str = "organisation's keys";

/// An organisation's part of a configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganisationConfig {
    /// Who it is on the ledger.
    pub party: PartyId,
    /// What it calls itself.
    pub name: String,
    /// Where everything is kept.
    pub directory: PathBuf,
    /// The organisation's own node.
    pub node_url: String,
    /// The key that the ledger lists for it: 64 hexadecimal digits, in a file of mode 600.
    pub member_key_file: PathBuf,
    /// What opens the directory; otherwise it is in the environment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub passphrase_file: Option<PathBuf>,
    /// Where pages for wallets and letters of partners are taken.
    pub listen: SocketAddr,
    /// Where DIDComm is taken.
    pub agent_listen: SocketAddr,
    /// Under which URL stations and wallets reach `agent_listen`, if it is another one. It is in what they keep, so it stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_public_url: Option<String>,
    /// Under which URL others reach `listen`, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_url: Option<String>,
    /// Where partners take letters: a TOML file that is looked into for each.
    pub partners_file: PathBuf,
    /// For agents that are simulated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub simulation: Option<SimulationConfig>,
}

/// Keys that the organisation makes for itself.
#[derive(Serialize, Deserialize, Zeroize, ZeroizeOnDrop)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    /// Begins the DID.
    did: [u8; 32],
    /// Signs vouchers.
    voucher: [u8; 32],
    /// Salts commitments.
    salt: [u8; 32],
    /// From it the salts of sessions follow.
    entropy: [u8; 32],
    /// Signs stations' credentials: a P-256 scalar.
    stations: [u8; 32],
}

impl Keys {
    fn generate() -> Self {
        let random = || {
            let mut bytes = [0; 32];
            OsRng.fill_bytes(&mut bytes);
            bytes
        };
        let stations = *eroam_ssi::sd_jwt::SigningKey::generate(&mut OsRng).to_scalar();
        Self { did: random(), voucher: random(), salt: random(), entropy: random(), stations }
    }

    /// Those that are kept; made at the first time.
    pub(super) fn of(state: &AgentState) -> Result<Self, ProgramError> {
        if let Some(keys) = state.get::<Self>(KEYS, "")? {
            return Ok(keys);
        }
        let keys = Self::generate();
        state.write(Changes::new().put(KEYS, "", &keys))?;
        Ok(keys)
    }

    /// Signs vouchers.
    pub(super) fn voucher_key(&self) -> SigningKey {
        SigningKey::from_bytes(&self.voucher)
    }

    /// Another key signs vouchers from now on; kept when this returns.
    pub(super) fn renew_voucher_key(&mut self, state: &AgentState) -> Result<(), ProgramError> {
        OsRng.fill_bytes(&mut self.voucher);
        Ok(state.write(Changes::new().put(KEYS, "", &*self))?)
    }
}

/// An organisation at work.
pub struct Organisation {
    /// What it keeps for its agent.
    pub state: AgentState,
    /// Its gateway.
    pub office: Office,
    /// Publishes in its name.
    pub publisher: Publisher,
    /// Its DID's first key.
    pub did_key: SigningKey,
    /// Its DID.
    pub did: EroamDid,
    /// Signs stations' credentials.
    pub station_issuer: eroam_ssi::sd_jwt::SigningKey,
    /// Where everything is kept.
    pub directory: PathBuf,
}

/// Shares the clock of a simulation, if it is one.
pub(super) fn share_clock<T>(
    located: &Located<T>,
    simulation: Option<&SimulationConfig>,
) -> Result<(), ProgramError> {
    let Some(SimulationConfig { clock_file }) = simulation else { return Ok(()) };
    let path = located.path(clock_file);
    clock::share(&path).map_err(ProgramError::io(format!("the clock {} cannot be shared", path.display())))
}

impl Organisation {
    /// Opens what a configuration names. With `makes_vouchers`, the gateway signs vouchers.
    pub(super) fn open<T>(
        located: &Located<T>,
        config: &OrganisationConfig,
        makes_vouchers: bool,
    ) -> Result<Self, ProgramError> {
        share_clock(located, config.simulation.as_ref())?;
        let passphrase_file = config.passphrase_file.as_deref().map(|file| located.path(file));
        let passphrase = secrets::passphrase(passphrase_file.as_deref())?;
        let member_key = secrets::signing_key(&located.path(&config.member_key_file))?;
        let directory = located.path(&config.directory);
        let state = AgentState::open(&directory, &passphrase)?;
        let keys = Keys::of(&state)?;
        let node = Node::from(RemoteNode::connect(&config.node_url, None)?);
        let (party, network) = (config.party, node.network());
        // A state of another network is refused by the records below; said here, it is said before they are made.
        known_network(&state, network)?;
        let publisher = Publisher::new(node.clone(), party, member_key.clone(), REGISTRY_LANE)?;
        let store = OrgStore::open(&StoreUrl::directory(&directory), party, &network)?;
        let gateway_secrets = Secrets {
            signing: member_key.clone(),
            key: 0,
            salt: Digest(keys.salt),
            voucher: makes_vouchers.then(|| keys.voucher_key()),
        };
        let entropy = Box::new(SeededEntropy(Digest(keys.entropy)));
        let gateway = Gateway::new(party, &config.name, gateway_secrets, founders::policy(), store, entropy);
        let partners = Arc::new(Directory::of_file(located.path(&config.partners_file)));
        let did_key = SigningKey::from_bytes(&keys.did);
        let station_issuer = eroam_ssi::sd_jwt::SigningKey::from_scalar(&keys.stations);
        let station_issuer = station_issuer.map_err(crate::charging::ChargingError::from)?;
        Ok(Self {
            state,
            office: Office::new(gateway, member_key, node, partners),
            did: publisher.did_of(&did_key),
            publisher,
            did_key,
            station_issuer,
            directory,
        })
    }

    /// Publishes the document of its DID, with services, unless the ledger has it.
    pub(super) fn publish_did(&self, services: Vec<DidService>) -> Result<(), ProgramError> {
        let document = DidDocument { keys: vec![PublicKey::of(&self.did_key)], services };
        self.publisher.publish_did(self.did, document, &self.did_key)?;
        Ok(())
    }
}

/// Binds a state to the network that it was made for.
pub(super) fn known_network(state: &AgentState, network: Digest) -> Result<(), ProgramError> {
    const NETWORK: &str = "network";
    match state.get::<String>(NETWORK, "")? {
        Some(known) if known == hex(&network.0) => Ok(()),
        Some(known) => {
            let rule = format!("it belongs to the network {known}, not to {}", hex(&network.0));
            Err(ProgramError::rule("the agent's directory", rule))
        }
        None => Ok(state.write(Changes::new().put(NETWORK, "", &hex(&network.0)))?),
    }
}

/// How others reach an agent that a configuration places.
pub(super) fn reach(listen: SocketAddr, public_url: Option<&str>) -> Result<Reach, ProgramError> {
    let item = if public_url.is_some() { "agent_public_url" } else { "agent_listen" };
    Reach::new(listen, public_url).map_err(|error| ProgramError::rule(item, error))
}

/// The URL under which others reach a server.
pub(super) fn url(public: Option<&str>, address: SocketAddr) -> String {
    public.map_or_else(|| format!("http://{address}"), |url| url.trim_end_matches('/').to_owned())
}

/// Tails files of the organisation's registries.
pub(super) fn tails(directory: &Path) -> PathBuf {
    directory.join("tails")
}

/// Asks again and again for what the organisation waits for, until it is dropped.
pub(super) struct Settling {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Settling {
    /// `also` is done each time after it.
    pub(super) fn start(
        office: Office,
        mut also: impl FnMut() + Send + 'static,
    ) -> Result<Self, ProgramError> {
        let (end, ended) = channel::<()>();
        let settle = move || {
            loop {
                if let Err(error) = office.resume() {
                    tracing::warn!(party = %office.party(), %error, "program.resume");
                }
                also();
                if ended.recv_timeout(RESUMES_EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("settles".to_owned()).spawn(settle);
        let thread = thread.map_err(ProgramError::io("no thread can be started"))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for Settling {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_of_which_others_cannot_be_told_is_refused_with_the_key_of_its_configuration() {
        let at = |text: &str| text.parse::<SocketAddr>().unwrap();
        for (listen, public_url, key) in [
            ("0.0.0.0:8021", None, "agent_listen"),
            ("[::]:8021", None, "agent_listen"),
            ("0.0.0.0:8021", Some("stations.example:8021"), "agent_public_url"),
            ("127.0.0.1:8021", Some("wss://stations.example"), "agent_public_url"),
        ] {
            let refused = reach(at(listen), public_url).unwrap_err().to_string();
            assert!(refused.contains(key) && refused.contains("URL"), "{refused}");
        }
        assert!(reach(at("0.0.0.0:8021"), Some("https://stations.example/7")).is_ok());
    }
}
