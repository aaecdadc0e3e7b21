//! How a network begins: its genesis block, and the entries that its first blocks write. Whoever executes the blocks
//! again begins with the same.

use crate::block::{Block, engine_key, own_digest, own_key};
use crate::state::Databases;
use bytes::Bytes;
use commonware_cryptography::ed25519;
use commonware_glue::stateful::db::DatabaseSet;
use commonware_runtime::{Clock, Spawner, tokio as runtime};
use commonware_storage::Context as StorageContext;
use commonware_utils::ordered::Set;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::{Genesis, GenesisError};
use eroam_ledger::snapshot::{Decoder, Entry, Part, SnapshotError};
use eroam_ledger::state::Writes;
use eroam_ledger::tx::PublicKey;
use eroam_light::block::{Body, Header, VERSION};

/// So many entries are written by one block at the beginning.
const ENTRIES_PER_BLOCK: usize = 8192;

/// Why a network cannot begin.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BeginningError {
    #[error("the genesis is refused")]
    Genesis(#[from] GenesisError),
    #[error("the imported state is refused")]
    Snapshot(#[from] SnapshotError),
    #[error("a validator's key in the genesis is no Ed25519 public key: {0}")]
    MalformedKey(PublicKey),
}

/// See the module.
pub struct Beginning {
    pub(crate) genesis: Genesis,
    pub(crate) network: Digest,
    chunks: Vec<Writes>,
    pub(crate) block: Block,
}

/// The validators' keys as the engine wants them.
pub(crate) fn validator_set(genesis: &Genesis) -> Result<Set<ed25519::PublicKey>, BeginningError> {
    let key = |key: &PublicKey| engine_key(key).ok_or(BeginningError::MalformedKey(*key));
    let keys: Vec<ed25519::PublicKey> =
        genesis.consensus.validators.iter().map(|v| key(&v.key)).collect::<Result<_, _>>()?;
    Ok(Set::from_iter_dedup(keys))
}

impl Beginning {
    /// The beginning of `genesis`, with the bytes of the snapshot that it takes up, where it does.
    ///
    /// # Errors
    /// [`BeginningError`].
    pub fn of(genesis: Genesis, snapshot: Option<&[u8]>) -> Result<Self, BeginningError> {
        let validators = validator_set(&genesis)?;
        let (mut entries, mut time) = (None, UnixMillis::EPOCH);
        if let Some(snapshot) = snapshot {
            let mut decoder = Decoder::new();
            let parts = decoder.push(snapshot)?.into_iter();
            entries =
                Some(parts.filter_map(|p| if let Part::Entry(e) = p { Some(e) } else { None }).collect());
            time = decoder.finish()?.time;
        }
        let entries = genesis.initial_entries(entries)?;
        Ok(Self::new::<runtime::Context>(genesis, entries, time, &validators))
    }

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

    /// The header of the genesis block.
    #[must_use]
    pub const fn header(&self) -> &Header {
        self.block.header()
    }

    /// What all blocks of the beginning write.
    pub(crate) fn entries(&self) -> Writes {
        self.chunks.iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// What the block at `height` writes, if it belongs to the beginning. Such a block holds no envelopes.
    #[must_use]
    pub fn chunk(&self, height: u64) -> Option<&Writes> {
        let index = usize::try_from(height.checked_sub(1)?).ok()?;
        self.chunks.get(index)
    }

    /// The height of the last block of the beginning.
    #[must_use]
    pub fn height(&self) -> u64 {
        u64::try_from(self.chunks.len()).unwrap_or(u64::MAX)
    }
}
