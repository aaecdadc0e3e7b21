//! Questions to a running node from outside its runtime: values, entries, proofs, blocks.

use crate::block::{Block, own_digest};
use crate::state::{Databases, state_key};
use crate::tip::Tip;
use bytes::Bytes;
use commonware_codec::Encode as _;
use commonware_consensus::marshal::core::Mailbox as MarshalMailbox;
use commonware_consensus::marshal::standard::Standard;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::types::Height;
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use eroam_light::block::Header;
use eroam_light::state::stored_key;
use futures::StreamExt as _;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The engine's keeper of blocks.
pub(crate) type Marshal = MarshalMailbox<Scheme, Standard<Block>>;

/// How often something that is under way is looked for again.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How often at most: ten seconds in all.
const LOOKS_MAX: usize = 1000;

/// How many entries of the state are handed over together.
const ENTRIES_TOGETHER: usize = 1024;

/// The node has stopped, or cannot answer; its own report says why.
#[derive(Debug, thiserror::Error)]
#[error("the ledger's node does not answer")]
pub(crate) struct NoAnswer;

/// A value of the state with what proves it.
pub(crate) struct ProvedValue {
    /// The block whose state it is.
    pub(crate) header: Header,
    /// `None`: there is no such entry, and `proof` proves that.
    pub(crate) value: Option<Bytes>,
    /// The encoded proof.
    pub(crate) proof: Bytes,
}

/// Entries of the state: canonical keys and values.
pub(crate) type Entries = Vec<(Vec<u8>, Vec<u8>)>;

pub(crate) enum Request {
    Values(Vec<Vec<u8>>, oneshot::Sender<Vec<Option<Bytes>>>),
    Entries(mpsc::UnboundedSender<Entries>, oneshot::Sender<Header>),
    Prove(Vec<u8>, oneshot::Sender<Option<ProvedValue>>),
    Block(u64, oneshot::Sender<Option<Block>>),
    Certificate(u64, oneshot::Sender<Option<Bytes>>),
    Stop,
}

/// Where questions are asked.
#[derive(Clone)]
pub(crate) struct Questions(pub(crate) mpsc::UnboundedSender<Request>);

impl Questions {
    pub(crate) async fn values(&self, keys: Vec<Vec<u8>>) -> Result<Vec<Option<Bytes>>, NoAnswer> {
        let (answer, result) = oneshot::channel();
        self.0.send(Request::Values(keys, answer)).map_err(|_| NoAnswer)?;
        result.await.map_err(|_| NoAnswer)
    }

    /// Asks from a thread outside the runtime.
    pub(crate) fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, NoAnswer> {
        let (answer, result) = oneshot::channel();
        self.0.send(request(answer)).map_err(|_| NoAnswer)?;
        result.blocking_recv().map_err(|_| NoAnswer)
    }

    /// All entries of one state, in no particular order, and the header of its block.
    pub(crate) fn entries(&self) -> Result<(Header, Entries), NoAnswer> {
        let (parts, mut received) = mpsc::unbounded_channel();
        let (answer, header) = oneshot::channel();
        self.0.send(Request::Entries(parts, answer)).map_err(|_| NoAnswer)?;
        let mut entries = Entries::new();
        while let Some(part) = received.blocking_recv() {
            entries.extend(part);
        }
        Ok((header.blocking_recv().map_err(|_| NoAnswer)?, entries))
    }
}

/// Waits until the node is told to stop. Other questions go unanswered, and whoever asked is told so.
pub(crate) async fn until_stop(requests: &mut mpsc::UnboundedReceiver<Request>) {
    while let Some(request) = requests.recv().await {
        if matches!(request, Request::Stop) {
            return;
        }
    }
}

/// Answers one question, in a task of its own.
pub(crate) async fn answer<E: Spawner + StorageContext + Clock>(
    context: E,
    request: Request,
    databases: Databases<E>,
    marshal: Marshal,
    tip: Arc<Tip>,
) {
    match request {
        Request::Values(keys, answer) => {
            let stored: Vec<Vec<u8>> = keys.iter().map(|k| stored_key(k)).collect();
            let values = databases.read().await.get_many(&stored.iter().collect::<Vec<_>>()).await;
            match values {
                // Whoever asked may have given up.
                Ok(values) => drop(answer.send(values)),
                Err(error) => tracing::error!(%error, "chain.state"),
            }
        }
        Request::Entries(parts, answer) => entries(&context, &databases, &tip, &parts, answer).await,
        Request::Prove(key, answer) => drop(answer.send(prove(&context, &databases, &tip, &key).await)),
        Request::Block(height, answer) => {
            drop(answer.send(marshal.get_block(Height::new(height)).await.map(inner)))
        }
        Request::Certificate(height, answer) => {
            let found = marshal.get_finalization(Height::new(height)).await;
            drop(answer.send(found.map(|f| f.encode())));
        }
        Request::Stop => {}
    }
}

fn inner(block: commonware_cryptography::Digested<Block>) -> Block {
    block.inner().clone()
}

async fn entries<E: Spawner + StorageContext + Clock>(
    context: &E,
    databases: &Databases<E>,
    tip: &Tip,
    parts: &mpsc::UnboundedSender<Entries>,
    answer: oneshot::Sender<Header>,
) {
    for _ in 0..LOOKS_MAX {
        let database = databases.read().await;
        if let Some(header) = tip.header_of(own_digest(database.root())) {
            let mut part = Entries::with_capacity(ENTRIES_TOGETHER);
            let mut all = std::pin::pin!(database.stream_range(..));
            while let Some(entry) = all.next().await {
                match entry {
                    Ok((key, value)) => part.push((state_key(&key).to_vec(), value.to_vec())),
                    Err(error) => {
                        tracing::error!(%error, "chain.state");
                        return;
                    }
                }
                if part.len() == ENTRIES_TOGETHER && parts.send(std::mem::take(&mut part)).is_err() {
                    return;
                }
            }
            drop(parts.send(part));
            // Whoever asked may have given up.
            let _ = answer.send(header);
            return;
        }
        drop(database);
        // The state is applied just before its block counts as the latest.
        context.sleep(LOOK_AGAIN).await;
    }
}

async fn prove<E: Spawner + StorageContext + Clock>(
    context: &E,
    databases: &Databases<E>,
    tip: &Tip,
    key: &[u8],
) -> Option<ProvedValue> {
    let stored = stored_key(key);
    for _ in 0..LOOKS_MAX {
        {
            let database = databases.read().await;
            // Proofs exist for the latest state alone, and only while nothing is applied.
            if let Some(header) = tip.header_of(own_digest(database.root())) {
                let value = database.get(&stored).await.ok()?;
                let proof = match &value {
                    Some(_) => database.key_value_proof(stored).await.ok()?.encode(),
                    None => database.exclusion_proof(&stored).await.ok()?.encode(),
                };
                return Some(ProvedValue { header, value, proof });
            }
        }
        context.sleep(LOOK_AGAIN).await;
    }
    None
}
