//! The engine's application: builds blocks from the mempool, checks those of others, and tells of finalized ones.

use crate::beginning::Beginning;
use crate::block::{Block, ConsensusContext, Contents, engine_digest, own_digest, own_key};
use crate::execution::{Candidate, Executed, MissedKeys, execute};
use crate::machine::StateMachine;
use crate::mempool::{Lane, Mempool};
use crate::state::{Databases, Merkleized, Readers, StateOperation, Unmerkleized};
use crate::tip::Tip;
use bytes::Bytes;
use commonware_consensus::marshal::ancestry::Ancestry;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_glue::stateful::db::DatabaseSet;
use commonware_glue::stateful::{Application, Finality, Input, Proposed};
use commonware_runtime::{Clock, Spawner};
use commonware_storage::Context as StorageContext;
use commonware_storage::mmr::Location;
use commonware_storage::qmdb::sync::Target;
use commonware_utils::non_empty_range;
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::time::UnixMillis;
use eroam_ledger::execute::Header as BlockHeader;
use eroam_ledger::genesis::BlockTime;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::StateKey;
use eroam_light::block::{Body, Header, VERSION};
use eroam_light::state::stored_key;
use futures::StreamExt as _;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A block's time may be so far ahead of a validator's clock before it votes against the block.
const CLOCK_SKEW_MAX_MS: i64 = 10_000;

/// What every clone of the application shares.
pub(crate) struct Shared {
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) beginning: Arc<Beginning>,
    pub(crate) mempool: Mempool,
    pub(crate) tip: Arc<Tip>,
    pub(crate) items_max: usize,
    pub(crate) missed: MissedKeys,
    #[cfg(test)]
    pub(crate) dishonest: Option<Arc<dyn Dishonest>>,
}

/// How a simulation's dishonest leader departs from the rules when it builds a block.
#[cfg(test)]
pub(crate) trait Dishonest: Send + Sync {
    /// The rules that it executes instead.
    fn machine(&self) -> Option<&dyn StateMachine> {
        None
    }

    /// The bytes of a body that it fills.
    fn bytes_max(&self) -> Option<usize> {
        None
    }

    /// What it answers to somebody who copies the state.
    fn answer(&self, honest: Bytes) -> Bytes {
        honest
    }

    /// The height whose certificate it gives to somebody who asks for the latest, instead of the latest.
    fn latest(&self) -> Option<u64> {
        None
    }

    /// What it proposes instead of the block that it built on `parent`.
    fn change(&self, _parent: &Header, block: Block) -> Block {
        block
    }
}

/// See the module.
#[derive(Clone)]
pub(crate) struct Ledger {
    pub(crate) shared: Arc<Shared>,
}

/// The roots of a state, as a header carries them.
#[derive(PartialEq, Eq)]
struct Roots {
    state: Digest,
    operations: Digest,
    start: u64,
    end: u64,
}

impl Roots {
    fn of<E: Spawner + StorageContext>(state: &Merkleized<E>) -> Self {
        Self {
            state: own_digest(state.root()),
            operations: own_digest(state.ops_root()),
            start: *state.sync_boundary(),
            end: *state.bounds().tip.size,
        }
    }

    const fn in_header(header: &Header) -> Self {
        Self {
            state: header.state,
            operations: header.operations,
            start: header.operations_start,
            end: header.operations_end,
        }
    }
}

impl Shared {
    fn genesis_header(&self, height: u64, time: UnixMillis) -> BlockHeader {
        BlockHeader { network: self.beginning.network, height, time }
    }

    /// The time of a block that is proposed now.
    fn time_after(&self, parent: UnixMillis) -> UnixMillis {
        let now = match self.beginning.genesis.consensus.time {
            BlockTime::Clock => self.tip.clock_now(),
            BlockTime::Stated => self.tip.stated(),
        };
        parent.max(now)
    }

    /// What waits in the mempool for a block on top of `batches`.
    async fn candidates<E: Spawner + StorageContext>(
        &self,
        batches: &Unmerkleized<E>,
    ) -> Option<Vec<Candidate<'static>>> {
        let lanes: Vec<Lane> = self.mempool.lanes();
        let keys: Vec<Vec<u8>> =
            lanes.iter().map(|(p, l)| stored_key(&StateKey::Lane(*p, *l).to_bytes())).collect();
        let values = batches.get_many(&keys.iter().collect::<Vec<_>>()).await.ok()?;
        let mut next = BTreeMap::new();
        for (lane, value) in lanes.into_iter().zip(values) {
            let sequence: u64 = match value {
                Some(value) => from_bytes(&value).ok()?,
                None => 0,
            };
            next.insert(lane, sequence);
        }
        let bytes_max = self.beginning.genesis.consensus.block_bytes_max as usize;
        #[cfg(test)]
        let bytes_max = self.dishonest.as_ref().and_then(|d| d.bytes_max()).unwrap_or(bytes_max);
        let chosen = self.mempool.select(&next, bytes_max.saturating_sub(64), self.items_max);
        Some(chosen.into_iter().map(Candidate::Checked).collect())
    }

    async fn build<E: Spawner + StorageContext>(
        &self,
        context: ConsensusContext,
        parent: &Block,
        batches: Unmerkleized<E>,
    ) -> Option<(Block, Merkleized<E>)> {
        let parent = parent.header();
        let height = parent.height.checked_add(1)?;
        let time = self.time_after(parent.time);
        let first = self.beginning.chunk(height);
        let candidates = match first {
            Some(_) => Vec::new(),
            None => self.candidates::<E>(&batches).await?,
        };
        let header = self.genesis_header(height, time);
        let machine = &*self.machine;
        #[cfg(test)]
        let machine = self.dishonest.as_ref().and_then(|d| d.machine()).unwrap_or(machine);
        let executed = execute::<E>(machine, &self.missed, &header, first, &candidates, batches).await;
        let (results, state) = executed.map_err(|e| report(height, &e)).ok()?;
        let mut contents = Contents { envelopes: Vec::new(), items: Vec::new() };
        let mut body = Body::default();
        for (candidate, result) in candidates.iter().zip(results) {
            let Candidate::Checked(checked) = candidate else { continue };
            match result {
                Executed::Included(items) => {
                    body.envelopes.push(checked.signed().bytes().to_vec());
                    body.items.push(items.clone());
                    contents.envelopes.push(Arc::clone(checked.signed()));
                    contents.items.push(items);
                }
                // An earlier one of its lane is still missing: it waits.
                Executed::Inadmissible(RejectCode::SequenceGap) => {}
                Executed::Inadmissible(code) => self.mempool.refuse(checked, code),
            }
        }
        let bytes = Bytes::from(body.to_bytes());
        let roots = Roots::of::<E>(&state);
        let header = Header {
            version: VERSION,
            height,
            epoch: context.round.epoch().get(),
            view: context.round.view().get(),
            leader: own_key(&context.leader),
            parent_view: context.parent.0.get(),
            parent: own_digest(context.parent.1),
            time,
            body: Body::digest(&bytes),
            receipts: body.receipts_root(),
            state: roots.state,
            operations: roots.operations,
            operations_start: roots.start,
            operations_end: roots.end,
        };
        let block = Block::new(header, bytes)?.with_contents(contents);
        #[cfg(test)]
        let block = match &self.dishonest {
            Some(dishonest) => dishonest.change(parent, block),
            None => block,
        };
        Some((block, state))
    }

    /// Why no validator may vote for a block, as far as that shows without executing it.
    fn objection(&self, block: &Block, parent: &Block) -> Option<&'static str> {
        let (header, parent) = (block.header(), parent.header());
        let consensus = &self.beginning.genesis.consensus;
        if header.version != VERSION {
            return Some("another version");
        }
        if header.time < parent.time {
            return Some("its time is before its parent's");
        }
        if consensus.time == BlockTime::Clock
            && header.time.get() > self.tip.clock_now().get().saturating_add(CLOCK_SKEW_MAX_MS)
        {
            return Some("its time is in the future");
        }
        if block.body().len() > consensus.block_bytes_max as usize {
            return Some("its body is too large");
        }
        let Some(contents) = block.contents() else { return Some("its body is malformed") };
        if self.beginning.chunk(header.height).is_some() && !contents.envelopes.is_empty() {
            return Some("it has envelopes before the network has begun");
        }
        None
    }

    async fn check<E: Spawner + StorageContext>(
        &self,
        block: &Block,
        batches: Unmerkleized<E>,
    ) -> Result<Merkleized<E>, &'static str> {
        let contents = block.contents().ok_or("its body is malformed")?;
        let header = block.header();
        let candidates: Vec<Candidate<'_>> = contents
            .envelopes
            .iter()
            .map(|signed| {
                let claim = signed.envelope();
                match self.mempool.find(claim.member, claim.lane, claim.sequence, &signed.digest()) {
                    Some(checked) => Candidate::Checked(checked),
                    None => Candidate::Unchecked(signed),
                }
            })
            .collect();
        let block_header = self.genesis_header(header.height, header.time);
        let first = self.beginning.chunk(header.height);
        let (results, state) =
            execute::<E>(&*self.machine, &self.missed, &block_header, first, &candidates, batches)
                .await
                .map_err(|error| report(header.height, &error))?;
        for (result, stated) in results.iter().zip(&contents.items) {
            match result {
                Executed::Inadmissible(_) => return Err("an envelope is not its member's next"),
                Executed::Included(items) if items != stated => return Err("an outcome is wrong"),
                Executed::Included(_) => {}
            }
        }
        let body = contents.envelopes.iter().zip(&contents.items);
        let leaves = body.map(|(e, items)| (e.digest(), eroam_ledger::reject::outcome_root(items)));
        if eroam_light::block::receipts_root(leaves) != header.receipts {
            return Err("the root of its receipts is wrong");
        }
        // The engine checks the root of operations; the canonical root is ours to check.
        if Roots::of::<E>(&state) != Roots::in_header(header) {
            return Err("a root of its state is wrong");
        }
        Ok(state)
    }
}

impl Shared {
    /// A block that may be finalized soon: what is in it need not be proposed again meanwhile.
    fn pending(&self, block: &Block) {
        self.tip.saw_block();
        let envelopes = block.contents().map(|c| c.envelopes.as_slice()).unwrap_or_default();
        self.mempool.pending(envelopes.iter().map(|signed| {
            let claim = signed.envelope();
            ((claim.member, claim.lane), claim.sequence)
        }));
    }
}

fn report(height: u64, error: &dyn std::error::Error) -> &'static str {
    tracing::error!(height, %error, "chain.state");
    "the state cannot be read"
}

impl<E: Spawner + StorageContext + Clock> Application<E> for Ledger {
    type SigningScheme = Scheme;
    type Context = ConsensusContext;
    type Block = Block;
    type Databases = Databases<E>;
    type Captured = Arc<Vec<StateOperation>>;
    type Provider = ();
    type Input = ();

    fn sync_targets(block: &Block) -> <Self::Databases as DatabaseSet<E>>::SyncTargets {
        let header = block.header();
        let range = Location::new(header.operations_start)..Location::new(header.operations_end);
        Target::new(engine_digest(header.operations), non_empty_range!(range.start, range.end))
    }

    async fn genesis(&mut self) -> Block {
        self.shared.beginning.block.clone()
    }

    async fn propose(
        &mut self,
        (_, context): (E, ConsensusContext),
        mut ancestry: impl Ancestry<Block>,
        batches: Unmerkleized<E>,
        _: Input<(), ()>,
    ) -> Option<Proposed<Self, E>> {
        let parent = ancestry.next().await?;
        let (block, merkleized) = self.shared.build::<E>(context, parent.inner(), batches).await?;
        self.shared.pending(&block);
        Some(Proposed { block, merkleized })
    }

    async fn process(
        &mut self,
        _: (E, ConsensusContext),
        mut ancestry: impl Ancestry<Block>,
        batches: Unmerkleized<E>,
        finality: Finality,
    ) -> Option<Merkleized<E>> {
        let block = ancestry.next().await?;
        let block = block.inner();
        if finality == Finality::Candidate {
            let parent = ancestry.next().await?;
            if let Some(objection) = self.shared.objection(block, parent.inner()) {
                tracing::warn!(height = block.header().height, objection, "chain.block.refused");
                return None;
            }
        }
        match self.shared.check::<E>(block, batches).await {
            Ok(state) => {
                self.shared.pending(block);
                Some(state)
            }
            Err(objection) => {
                tracing::warn!(height = block.header().height, objection, "chain.block.refused");
                None
            }
        }
    }

    async fn capture(
        &mut self,
        _: (E, ConsensusContext),
        block: &Block,
        state: &Merkleized<E>,
        _: Readers<E>,
    ) -> Self::Captured {
        self.shared.tip.applies(block.header().height);
        state.operations().1
    }

    async fn finalized(
        &mut self,
        _: (E, ConsensusContext),
        block: &Block,
        changes: Self::Captured,
        _: Readers<E>,
    ) {
        let shared = &self.shared;
        shared.tip.finalized(block.header(), &changes);
        let header = block.header();
        if let Some(contents) = block.contents() {
            let included = contents.envelopes.iter().zip(&contents.items).map(|(signed, items)| {
                let claim = signed.envelope();
                ((claim.member, claim.lane), claim.sequence, signed.digest(), items.as_slice())
            });
            shared.mempool.finalized(header.height, header.time, included);
        }
    }
}
