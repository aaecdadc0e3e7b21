//! An organisation's node as its own programs see it: in the same process, or over HTTP on the same machine.
//!
//! ```text
//! gateway, issuer ── Node ──► Client                     in one process (demo, replay, simulate)
//!                        └──► RemoteNode ── HTTP ──► node::server ──► Client
//! ```
//! The node is the organisation's own and is believed without proofs; whoever has none asks a resolver and checks
//! ([`crate::charging::catalogue`]). Transactions are signed before they are handed over, so a node can hold them back but
//! not change them.

mod looked_up;
mod remote;
pub mod server;

pub use looked_up::LookedUp;
pub use remote::{RemoteNode, RemoteNodeError};

use eroam_chain::client::Client;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::port::{LedgerError, LedgerPort, Receipt};
use eroam_ledger::state::{StateError, StateView};
use eroam_ledger::tx::SignedEnvelope;
use std::borrow::Cow;

/// A node. Cheap to clone; must not be used from a thread of an asynchronous runtime.
#[derive(Clone)]
pub enum Node {
    /// In this process.
    Here(Client),
    /// In another one.
    Remote(RemoteNode),
}

impl Node {
    /// The genesis of the network.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        match self {
            Self::Here(client) => client.genesis(),
            Self::Remote(node) => node.genesis(),
        }
    }

    /// The handle of a node of this process.
    #[must_use]
    pub const fn here(&self) -> Option<&Client> {
        match self {
            Self::Here(client) => Some(client),
            Self::Remote(_) => None,
        }
    }

    /// The values of keys of the state, in their order: one request to a node of another process, at most
    /// [`server::KEYS_MAX`] keys.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn values(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        match self {
            Self::Here(client) => keys.iter().map(|key| Ok(client.get(key)?.map(Cow::into_owned))).collect(),
            Self::Remote(node) => node.values_of(keys),
        }
    }
}

impl From<Client> for Node {
    fn from(client: Client) -> Self {
        Self::Here(client)
    }
}

impl From<RemoteNode> for Node {
    fn from(node: RemoteNode) -> Self {
        Self::Remote(node)
    }
}

impl StateView for Node {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        match self {
            Self::Here(client) => client.get(key),
            Self::Remote(node) => node.get(key),
        }
    }
}

impl LedgerPort for Node {
    fn network(&self) -> Digest {
        match self {
            Self::Here(client) => client.network(),
            Self::Remote(node) => node.network(),
        }
    }

    fn time(&self) -> UnixMillis {
        match self {
            Self::Here(client) => client.time(),
            Self::Remote(node) => node.time(),
        }
    }

    fn submit(
        &mut self,
        at: UnixMillis,
        envelopes: Vec<SignedEnvelope>,
    ) -> Result<Vec<Receipt>, LedgerError> {
        match self {
            Self::Here(client) => client.submit(at, envelopes),
            Self::Remote(node) => node.submit(at, envelopes),
        }
    }
}
