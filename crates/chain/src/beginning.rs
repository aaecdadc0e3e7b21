//! How a network begins: its genesis block, and the entries that its first blocks write.

use crate::block::{Block, own_digest, own_key};
use crate::state::Databases;
use bytes::Bytes;
use commonware_cryptography::ed25519;
use commonware_glue::stateful::db::DatabaseSet;
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use commonware_utils::ordered::Set;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::snapshot::Entry;
use eroam_ledger::state::Writes;
use eroam_light::block::{Body, Header, VERSION};

/// So many entries are written by one block at the beginning.
const ENTRIES_PER_BLOCK: usize = 8192;

/// See the module.
pub(crate) struct Beginning {
    pub(crate) genesis: Genesis,
    pub(crate) network: Digest,
    chunks: Vec<Writes>,
    pub(crate) block: Block,
}

impl Beginning {
    /// The beginning of `genesis` with these entries at `time`, for a runtime of type `E`.
    pub(crate) fn new<E: Spawner + StorageContext + Clock>(
        genesis: Genesis,
        entries: Vec<Entry>,
        time: UnixMillis,
        validators: &Set<ed25519::PublicKey>,
    ) -> Self {
        let mut chunks = Vec::new();
        let mut chunk = Writes::new();
        for (key, value) in entries {
            chunk.insert(key, Some(value));
            if chunk.len() == ENTRIES_PER_BLOCK {
                chunks.push(std::mem::take(&mut chunk));
            }
        }
        if !chunk.is_empty() {
            chunks.push(chunk);
        }
        let empty = <Databases<E> as DatabaseSet<E>>::initial_sync_targets();
        let network = genesis.network();
        let body = Bytes::from(Body::default().to_bytes());
        let header = Header {
            version: VERSION,
            height: 0,
            epoch: 0,
            view: 0,
            leader: own_key(validators.iter().next().expect("a genesis has a validator")),
            parent_view: 0,
            // Two networks never share a block.
            parent: network,
            time,
            body: Body::digest(&body),
            receipts: Digest::ZERO,
            // No proof is ever made against the empty state.
            state: Digest::ZERO,
            operations: own_digest(empty.root),
            operations_start: *empty.range.start(),
            operations_end: *empty.range.end(),
        };
        let block = Block::new(header, body).expect("the body is the header's");
        Self { genesis, network, chunks, block }
    }

    /// What the block at `height` writes, if it belongs to the beginning.
    pub(crate) fn chunk(&self, height: u64) -> Option<&Writes> {
        let index = usize::try_from(height.checked_sub(1)?).ok()?;
        self.chunks.get(index)
    }

    /// The height of the last block of the beginning.
    pub(crate) fn height(&self) -> u64 {
        u64::try_from(self.chunks.len()).unwrap_or(u64::MAX)
    }
}
