//! A node of another process of the same organisation.

use super::server::{Answered, GENESIS, STATE, SUBMIT, Submission, Values};
use crate::http_client::answered_within;
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::{Genesis, GenesisError};
use eroam_ledger::port::{LedgerError, LedgerPort, Receipt};
use eroam_ledger::state::{StateError, StateView};
use eroam_ledger::tx::SignedEnvelope;
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// So long a node may take: a little more than it waits for a decision itself.
const ANSWERS_WITHIN: Duration = Duration::from_secs(75);
/// The longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 64 << 20;

/// Why a node cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RemoteNodeError {
    /// Nobody answers.
    #[error("the node at {url} cannot be reached: start it, or name another one ({reason})")]
    Unreachable {
        /// Where.
        url: String,
        /// What the transport said.
        reason: String,
    },
    /// It answers something else.
    #[error("what answers at {url} is no node of this version: {reason}")]
    Foreign {
        /// Where.
        url: String,
        /// Why.
        reason: String,
    },
    /// Its genesis is none.
    #[error("the genesis of the node at {url} cannot be used")]
    Genesis {
        /// Where.
        url: String,
        /// Why.
        #[source]
        source: GenesisError,
    },
    /// It is of another network than the one that is expected.
    #[error("the node at {url} is of the network {found}, not of {expected}: name a node of yours")]
    OtherNetwork {
        /// Where.
        url: String,
        /// Which.
        found: Digest,
        /// Which is expected.
        expected: Digest,
    },
}

struct Inner {
    url: String,
    genesis: Genesis,
    network: Digest,
    http: ureq::Agent,
    /// The time of the latest block that was heard of.
    time: AtomicI64,
}

/// A node over HTTP. Cheap to clone.
#[derive(Clone)]
pub struct RemoteNode(Arc<Inner>);

impl RemoteNode {
    /// The node at a URL. With `expected`, it has to be of that network.
    ///
    /// # Errors
    /// [`RemoteNodeError`].
    pub fn connect(url: &str, expected: Option<Digest>) -> Result<Self, RemoteNodeError> {
        let url = url.trim_end_matches('/').to_owned();
        let http = ureq::Agent::new_with_config(answered_within(ANSWERS_WITHIN).build());
        let unreachable = |reason: ureq::Error| RemoteNodeError::Unreachable {
            url: url.clone(),
            reason: reason.to_string(),
        };
        let text = http.get(format!("{url}{GENESIS}")).call().map_err(unreachable)?;
        let text = text.into_body().read_to_string().map_err(unreachable)?;
        let genesis = Genesis::from_json(&text);
        let genesis = genesis.map_err(|source| RemoteNodeError::Genesis { url: url.clone(), source })?;
        let network = genesis.network();
        if let Some(expected) = expected.filter(|expected| *expected != network) {
            return Err(RemoteNodeError::OtherNetwork { url, found: network, expected });
        }
        let time = AtomicI64::new(UnixMillis::EPOCH.get());
        let node = Self(Arc::new(Inner { url, genesis, network, http, time }));
        // So that its time is known.
        node.values(&[])?;
        Ok(node)
    }

    /// The genesis of the network.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.0.genesis
    }

    fn post(&self, path: &str, body: &[u8]) -> Result<Vec<u8>, RemoteNodeError> {
        let Inner { url, http, .. } = &*self.0;
        let unreachable = |reason: ureq::Error| RemoteNodeError::Unreachable {
            url: url.clone(),
            reason: reason.to_string(),
        };
        let mut answer = http.post(format!("{url}{path}")).send(body).map_err(unreachable)?;
        answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec().map_err(unreachable)
    }

    fn heard_of(&self, time: UnixMillis) {
        self.0.time.fetch_max(time.get(), Ordering::AcqRel);
    }

    fn foreign(&self, reason: impl ToString) -> RemoteNodeError {
        RemoteNodeError::Foreign { url: self.0.url.clone(), reason: reason.to_string() }
    }

    /// The values of keys of the state, in their order.
    ///
    /// # Errors
    /// [`StateError`].
    pub(super) fn values_of(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, StateError> {
        self.values(keys).map_err(storage)
    }

    fn values(&self, keys: &[Vec<u8>]) -> Result<Vec<Option<Vec<u8>>>, RemoteNodeError> {
        let count = keys.len();
        let answer = self.post(STATE, &to_bytes(&keys))?;
        let Values { time, values } = from_bytes(&answer).map_err(|why| self.foreign(why))?;
        self.heard_of(time);
        if values.len() == count { Ok(values) } else { Err(self.foreign("another number of values")) }
    }
}

fn storage(error: RemoteNodeError) -> StateError {
    StateError::Storage(Box::new(error))
}

impl StateView for RemoteNode {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        let values = self.values_of(&[key.to_vec()])?;
        Ok(values.into_iter().next().flatten().map(Cow::Owned))
    }
}

impl LedgerPort for RemoteNode {
    fn network(&self) -> Digest {
        self.0.network
    }

    fn time(&self) -> UnixMillis {
        UnixMillis::new(self.0.time.load(Ordering::Acquire)).unwrap_or(UnixMillis::EPOCH)
    }

    fn submit(
        &mut self,
        at: UnixMillis,
        envelopes: Vec<SignedEnvelope>,
    ) -> Result<Vec<Receipt>, LedgerError> {
        let failed = |error: RemoteNodeError| LedgerError::State(storage(error));
        let digests: Vec<Digest> = envelopes.iter().map(SignedEnvelope::digest).collect();
        let envelopes = envelopes.iter().map(|envelope| envelope.bytes().to_vec()).collect();
        let answer = self.post(SUBMIT, &to_bytes(&Submission { at, envelopes })).map_err(failed)?;
        let Answered { time, decided } = from_bytes(&answer).map_err(|why| failed(self.foreign(why)))?;
        self.heard_of(time);
        let receipts = match decided {
            Ok(receipts) => receipts,
            Err(reason) => return Err(LedgerError::Stopped(reason)),
        };
        let receipts =
            receipts.into_iter().map(|(envelope, height, items)| Receipt { envelope, height, items });
        let receipts: Vec<Receipt> = receipts.collect();
        if receipts.iter().map(|receipt| receipt.envelope).eq(digests) {
            Ok(receipts)
        } else {
            Err(failed(self.foreign("receipts of something else")))
        }
    }
}
