//! What a validator that copied the state of others must remember: from when on it may vote, and from which block on it
//! has the chain.
//!
//! Its directory was empty, so its journals are gone, if it ever had any: it does not know what it voted for before. It
//! must not vote again in an epoch in which it may have voted. The latest block that 2f + 1 others report (`probe`) is at
//! most two epochs older than that; hence it votes from the third epoch after it on. Until then it follows without a
//! voice. Why that is enough is in `docs/decisions/0028-copying-the-state.md`.

use crate::failure::JOINED;
use commonware_consensus::types::Epoch;
use commonware_runtime::{Clock, Metrics, Storage};
use commonware_storage::metadata::{Config, Metadata};
use commonware_utils::sequence::U64;

/// What the name of its files ends with.
const PARTITION: &str = "joined";
const VOTES_FROM: U64 = U64::new(0);
const HOLDS_FROM: U64 = U64::new(1);
/// Later than any epoch.
const NEVER: u64 = u64::MAX;
/// It votes again so many epochs after that of the latest block that 2f + 1 others report.
const SILENT_EPOCHS: u64 = 3;

/// The engine's storage of a few numbers.
type Numbers<E> = Metadata<E, U64, u64>;

/// See the module.
pub(crate) struct Joining<E: Storage + Metrics + Clock>(Numbers<E>);

impl<E: Storage + Metrics + Clock> Joining<E> {
    /// What was remembered among the files that begin with `prefix`.
    pub(crate) async fn open(context: E, prefix: &str) -> Self {
        let partition = format!("{prefix}-{PARTITION}");
        let config = Config { partition: partition.clone(), codec_config: () };
        let kept = Metadata::init(context, config).await;
        Self(kept.unwrap_or_else(|error| panic!("{JOINED}, in {partition}, cannot be read: {error}")))
    }

    /// The engine keeps two copies and writes them in turn. Both are made to say the same: where one is damaged later, the
    /// other one is believed, which must not be one from before.
    async fn put(mut self, key: U64, value: u64) -> Self {
        for _ in 0..2 {
            let kept = self.0.put_sync(key.clone(), value).await;
            self = Self(kept.unwrap_or_else(|error| panic!("{JOINED} cannot be written: {error}")));
        }
        self
    }

    /// Whether the state here is copied, or is to be.
    pub(crate) fn has_begun(&self) -> bool {
        self.0.get(&VOTES_FROM).is_some()
    }

    /// Remembers that the state is to be copied, before anything else is done in the directory.
    pub(crate) async fn begin(self) -> Self {
        if self.has_begun() { self } else { self.put(VOTES_FROM, NEVER).await }
    }

    /// The first epoch in which this validator votes.
    pub(crate) fn votes_from(&self) -> Epoch {
        Epoch::new(self.0.get(&VOTES_FROM).copied().unwrap_or(0))
    }

    /// The state to copy is that of a block of `epoch`, or of a later one that is named by another call.
    pub(crate) async fn copies(self, epoch: Epoch) -> Self {
        let before = self.0.get(&VOTES_FROM).copied().filter(|known| *known != NEVER).unwrap_or(0);
        let votes_from = epoch.get().saturating_add(SILENT_EPOCHS).max(before);
        self.put(VOTES_FROM, votes_from).await
    }

    /// The height of the first block that is kept here; the genesis block is nobody's to keep.
    pub(crate) fn holds_from(&self) -> u64 {
        self.0.get(&HOLDS_FROM).copied().unwrap_or(1)
    }

    /// The blocks from `height` on are kept here.
    pub(crate) async fn holds(self, height: u64) -> Self {
        if self.holds_from() == height { self } else { self.put(HOLDS_FROM, height).await }
    }
}
