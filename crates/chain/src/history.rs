//! Tells of the final blocks in their order: those of the archive first, and then those that are finalized.
//!
//! Where the state was copied from others, the history begins with a block in the middle. Whoever is told then gets what
//! the state still knows of the blocks before: the terms of the agreements.

use crate::block::Block;
use crate::requests::Marshal;
use crate::state::{Databases, state_key};
use commonware_consensus::types::Height;
use commonware_runtime::Spawner;
use commonware_storage::Context as StorageContext;
use eroam_domain::codec::Digest;
use eroam_ledger::state::{StateKey, Writes};
use futures::StreamExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// Who is told.
pub(crate) trait History: Send + Sync {
    /// The block at `height` is the first that is kept here. `entries` are those of the state, now, that say what later
    /// blocks refer to.
    fn begins(&self, height: u64, entries: &Writes);

    /// The next block.
    fn block(&self, block: Arc<Block>);
}

/// How far somebody has been told.
pub(crate) struct Told {
    /// The height of the last block.
    pub(crate) up_to: u64,
    /// The height of the first that is kept here.
    pub(crate) from: u64,
}

/// Tells `history` of all blocks that come after those that it was told of. `finalized` gives blocks from when
/// `indexing` is set on.
pub(crate) async fn tell<E: Spawner + StorageContext>(
    archive: Marshal,
    databases: Databases<E>,
    mut finalized: mpsc::UnboundedReceiver<Arc<Block>>,
    indexing: Arc<AtomicBool>,
    history: Box<dyn History>,
    Told { up_to: mut told, from }: Told,
) {
    indexing.store(true, Ordering::SeqCst);
    if told.saturating_add(1) < from {
        let Some(terms) = terms(&databases).await else { return };
        history.begins(from, &terms);
        told = from.saturating_sub(1);
    }
    let processed = archive.get_processed().await.map_or(0, |p| p.height().get());
    while let Some(block) = archive.get_block(Height::new(told.saturating_add(1))).await {
        told = told.saturating_add(1);
        history.block(Arc::new(block.inner().clone()));
    }
    if told < processed {
        tracing::error!(height = told.saturating_add(1), "chain.archive.gap");
        return;
    }
    while let Some(block) = finalized.recv().await {
        let height = block.header().height;
        while told.saturating_add(1) < height {
            let Some(earlier) = archive.get_block(Height::new(told.saturating_add(1))).await else {
                tracing::error!(height = told.saturating_add(1), "chain.archive.gap");
                return;
            };
            told = told.saturating_add(1);
            history.block(Arc::new(earlier.inner().clone()));
        }
        if height > told {
            told = height;
            history.block(block);
        }
    }
}

/// The entries of all agreements' terms, which later records refer to.
async fn terms<E: Spawner + StorageContext>(databases: &Databases<E>) -> Option<Writes> {
    let kind = StateKey::AgreementTerms(Digest::ZERO, 0).to_bytes().first().copied()?;
    let database = databases.read().await;
    let mut entries = std::pin::pin!(database.stream_range(..));
    let mut terms = Writes::new();
    while let Some(entry) = entries.next().await {
        let (stored, value) = entry.inspect_err(|error| tracing::error!(%error, "chain.state")).ok()?;
        let key = state_key(&stored);
        if key.first() == Some(&kind) {
            terms.insert(key.to_vec(), Some(value.to_vec()));
        }
    }
    Some(terms)
}
