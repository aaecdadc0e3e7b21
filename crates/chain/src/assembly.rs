//! Puts a validator together from the engine's parts. Generic over the runtime and the network, so that a simulation
//! runs what a node runs.
//!
//! ```text
//!  p2p --votes, certificates--> simplex (one per epoch) --proposes, verifies--> Hold -> Deferred -> Stateful -> Ledger
//!   |                              |  finalizations                                         ^            |
//!   +--blocks--> buffered --> marshal (archive of blocks and finalizations) --final blocks--+        QMDB (state)
//!   +--envelopes--> gossip <--> mempool <----- propose, finalized -------------------------------------- Ledger
//!   +--questions about the state--> sync: answers from QMDB; on an empty directory asks, and fills QMDB
//!   +--"what is final?"--> probe: answers from marshal; on an empty directory asks first, to choose the state to copy
//! ```

use crate::anchor::header_of_state;
use crate::application::{Ledger, Shared as ApplicationState};
use crate::beginning::Beginning;
use crate::block::Block;
use crate::epochs::{Epochs, FinalizedBlocks, Timing};
use crate::execution::MissedKeys;
use crate::failure::JOINED;
use crate::gossip;
use crate::history::{self, History};
use crate::hold::{Hold, Reasons};
use crate::joining::Joining;
use crate::keep::Kept;
use crate::machine::StateMachine;
use crate::mempool::Mempool;
use crate::probe;
use crate::requests::{Marshal, Questions, Request, answer, until_stop};
use crate::state::{Databases, operation_cfg};
use crate::sync;
use crate::tip::Tip;
use commonware_broadcast::buffered;
use commonware_consensus::marshal::core::{Actor as MarshalActor, CommitmentFallback};
use commonware_consensus::marshal::resolver::p2p as marshal_resolver;
use commonware_consensus::marshal::standard::{Deferred, Standard};
use commonware_consensus::marshal::{self, Identifier};
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::types::{Epoch, Epocher as _, FixedEpocher, Height, ViewDelta};
use commonware_consensus::{Heightable as _, Reporters, simplex};
use commonware_cryptography::certificate::{ConstantProvider, Verifier as _};
use commonware_cryptography::{Digested, Digestible as _, Signer as _, ed25519};
use commonware_glue::stateful::db::SyncEngineConfig;
use commonware_glue::stateful::{Config as StatefulConfig, PruneConfig, Stateful, SyncPlan};
use commonware_p2p::{Blocker, Provider, Receiver, Sender, max_message_size};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Handle, Metrics, Network as RuntimeNetwork, Spawner, Storage};
use commonware_storage::archive::{Archive as _, prunable};
use commonware_storage::journal::contiguous::variable::Config as LogConfig;
use commonware_storage::mmr::full::Config as MmrConfig;
use commonware_storage::qmdb::current::VariableConfig;
use commonware_storage::translator::EightCap;
use commonware_utils::ordered::Set;
use commonware_utils::{NZDuration, NZU64, NZUsize};
use rand::{CryptoRng, Rng};
use std::num::{NonZeroU16, NonZeroU64, NonZeroUsize};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// The bytes of a page on the disk; small, so that little is written again when little was added.
const PAGE_BYTES: u16 = 4096;
/// Twelve of them are a checksum.
const PAGE_PAYLOAD: NonZeroU16 = NonZeroU16::new(PAGE_BYTES - 12).expect("not zero");
/// Blocks are kept for ever; the operations of states older than this are not.
const STATES_KEPT: usize = 256;

/// What a validator is to know.
pub(crate) struct Parts {
    pub(crate) beginning: Arc<Beginning>,
    /// The key of this node on the network.
    pub(crate) key: ed25519::PrivateKey,
    /// Whether it votes with that key. A node that does not vote only reads what its directory holds.
    pub(crate) votes: bool,
    /// Whether it copies the state of the others if its directory is empty, and joins those who go on.
    pub(crate) joins: bool,
    pub(crate) validators: Set<ed25519::PublicKey>,
    pub(crate) machine: Arc<dyn StateMachine>,
    pub(crate) mempool: Mempool,
    pub(crate) tip: Arc<Tip>,
    pub(crate) timing: Timing,
    pub(crate) items_max: usize,
    pub(crate) cache_bytes: usize,
    /// What the names of its files begin with; validators that share a storage differ in it.
    pub(crate) prefix: String,
    pub(crate) questions: Questions,
    pub(crate) requests: mpsc::UnboundedReceiver<Request>,
    pub(crate) outgoing: gossip::Outgoing,
    /// Is told of every finalized block in their order, from the one after `indexed` on.
    pub(crate) history: Box<dyn History>,
    pub(crate) indexed: u64,
    #[cfg(test)]
    pub(crate) dishonest: Option<Arc<dyn crate::application::Dishonest>>,
}

/// The channels of the network, each with its own rate limit.
pub(crate) struct Network<S, N, O> {
    pub(crate) votes: (S, N),
    pub(crate) certificates: (S, N),
    pub(crate) requests: (S, N),
    pub(crate) backfill: (S, N),
    pub(crate) blocks: (S, N),
    pub(crate) envelopes: (S, N),
    pub(crate) state: (S, N),
    pub(crate) probe: (S, N),
    /// Knows the peers, and keeps those away who misbehave.
    pub(crate) oracle: O,
}

/// The greatest message of any channel.
pub(crate) fn message_bytes_max(validators: u32) -> u32 {
    max_message_size(&[
        simplex::max_payload_size::<Scheme, crate::block::EngineDigest>(validators),
        marshal::max_payload_size::<Standard<Block>, Scheme>(validators, &()),
        gossip::MESSAGE_BYTES_MAX,
        sync::message_bytes_max(),
        probe::message_bytes_max(validators),
    ])
}

/// Runs a validator until it is told to stop or its engine ends.
pub(crate) async fn run<E, S, N, O>(context: E, mut parts: Parts, network: Network<S, N, O>)
where
    E: Spawner + Metrics + CryptoRng + Rng + Clock + Storage + RuntimeNetwork + Send + Sync + 'static,
    S: Sender<PublicKey = ed25519::PublicKey>,
    N: Receiver<PublicKey = ed25519::PublicKey>,
    O: Blocker<PublicKey = ed25519::PublicKey> + Provider<PublicKey = ed25519::PublicKey> + Clone + Sync,
{
    let buffer = NZUsize!(1 << 20);
    let pages = NonZeroUsize::new(parts.cache_bytes / usize::from(PAGE_BYTES)).unwrap_or(NZUsize!(1024));
    let page_cache = CacheRef::new(PAGE_PAYLOAD, pages);
    let prefix = std::mem::take(&mut parts.prefix);
    let local = parts.key.public_key();
    let network_name = eroam_light::certificate::consensus_namespace(&parts.beginning.network);
    let silent = Scheme::verifier(&network_name, parts.validators.clone());
    let scheme = if parts.votes {
        Scheme::signer(&network_name, parts.validators.clone(), parts.key.clone())
            .expect("the key was found among the validators before")
    } else {
        silent.clone()
    };
    let epoch_blocks = u64::from(parts.beginning.genesis.consensus.epoch_blocks);
    let epocher = FixedEpocher::new(NonZeroU64::new(epoch_blocks).expect("checked with the genesis"));

    let resolver = marshal_resolver::init(
        context.child("backfill"),
        marshal_resolver::Config {
            public_key: local.clone(),
            peer_provider: network.oracle.clone(),
            blocker: network.oracle.clone(),
            mailbox_size: NZUsize!(1024),
            fetch_timeout: NZDuration!(Duration::from_secs(2)),
            fetch_retry_delay: Duration::from_millis(100),
            priority_requests: false,
            priority_responses: false,
        },
        network.backfill,
    );
    let (broadcast, blocks) = buffered::Engine::new(
        context.child("broadcast"),
        buffered::Config {
            public_key: local.clone(),
            mailbox_size: NZUsize!(1024),
            deque_size: 16,
            priority: false,
            codec_config: (),
            peer_provider: network.oracle.clone(),
            strategy: Sequential,
        },
    );
    broadcast.start(network.blocks);

    let archive = |name: &str| prunable::Config {
        translator: EightCap,
        metadata_partition: format!("{prefix}-{name}-metadata"),
        key_partition: format!("{prefix}-{name}-key"),
        key_page_cache: page_cache.clone(),
        value_partition: format!("{prefix}-{name}-value"),
        compression: None,
        codec_config: (),
        items_per_section: NZU64!(1024),
        key_write_buffer: buffer,
        value_write_buffer: buffer,
        replay_buffer: buffer,
    };
    let finalizations = prunable::Archive::init(
        context.child("finalizations"),
        with_codec(archive("finalizations"), scheme.certificate_codec_config()),
    )
    .await
    .expect("the archive of finalizations opens");
    let archived = prunable::Archive::init(context.child("blocks"), archive("blocks"))
        .await
        .expect("the archive of blocks opens");
    parts.tip.archives_are_open();
    let mut joining = Joining::open(context.child("joining"), &prefix).await;
    let mut plan = SyncPlan::init(context.child("plan"), prefix.clone()).await;
    let copies = plan.should_sync(parts.joins || joining.has_begun());
    if copies && !parts.votes {
        parts.tip.is_unfinished();
        until_stop(&mut parts.requests).await;
        return;
    }
    if copies {
        // Before anything is said in its name: from now on it is one that may have voted before.
        joining = joining.begin().await;
        parts.tip.copies(0);
    }
    // The genesis block is at height 0; a copied state has no history before its block.
    let first = if joining.has_begun() { joining.holds_from() } else { 0 };
    let (whole_to, next) = archived.next_gap(first);
    let kept_to = archived.last_index().unwrap_or(0);

    let genesis = parts.beginning.block.clone();
    let provider = ConstantProvider::new(scheme.clone());
    let (mut asking, mut answers) = network.probe;
    if copies {
        let mut child = context.child("probe");
        let mut blocker = network.oracle.clone();
        let ask = probe::latest(&mut child, (&mut asking, &mut answers), &local, &silent, &mut blocker);
        let latest = commonware_macros::select! {
            _ = until_stop(&mut parts.requests) => return,
            latest = ask => latest,
        };
        let Some(latest) = latest else { return };
        joining = joining.copies(latest.proposal.round.epoch()).await;
        plan = plan.set_floor(latest).await;
    }
    let copied = plan.floor().map(|floor| floor.proposal.payload);
    let (marshal_actor, marshal, floor): (_, Marshal, _) =
        MarshalActor::<_, Standard<Block>, _, _, _, _, _>::init(
            context.child("marshal"),
            Kept(finalizations),
            Kept(archived),
            marshal::Config {
                provider,
                epocher: epocher.clone(),
                start: plan.marshal_start(Digested::precomputed(genesis.clone(), genesis.digest())),
                partition_prefix: prefix.clone(),
                mailbox_size: NZUsize!(1024),
                view_retention: ViewDelta::new(256),
                prunable_items_per_section: NZU64!(1024),
                page_cache: page_cache.clone(),
                replay_buffer: buffer,
                key_write_buffer: buffer,
                value_write_buffer: buffer,
                block_codec_config: (),
                max_repair: NZUsize!(20),
                max_pending_acks: NZUsize!(16),
                strategy: Sequential,
            },
        )
        .await;
    let processed = floor.processed().map_or(0, |p| p.height().get());
    if let (false, 0, Some(begins)) = (joining.has_begun(), whole_to.unwrap_or(0), next) {
        // Whoever has executed blocks has all of them, unless it copied the state.
        assert!(begins <= 1 || processed == 0, "{JOINED} is gone, and its blocks begin at {begins}");
    }
    assert!(
        copies || whole_to.unwrap_or(0) >= processed,
        "blocks {} to {} are missing in its archive",
        whole_to.map_or(first.max(1), |height| height.saturating_add(1)),
        next.map_or(processed, |height| height.saturating_sub(1)),
    );

    let database = VariableConfig {
        merkle_config: MmrConfig {
            journal_partition: format!("{prefix}-state-mmr-journal"),
            metadata_partition: format!("{prefix}-state-mmr-metadata"),
            items_per_blob: NZU64!(1 << 20),
            write_buffer: buffer,
            replay_buffer: buffer,
            strategy: Sequential,
            page_cache: page_cache.clone(),
        },
        journal_config: LogConfig {
            partition: format!("{prefix}-state-log"),
            items_per_section: NZU64!(1 << 16),
            compression: None,
            codec_config: operation_cfg(),
            page_cache: page_cache.clone(),
            write_buffer: buffer,
            replay_buffer: buffer,
        },
        grafted_metadata_partition: format!("{prefix}-state-grafted"),
        translator: EightCap,
        init_cache: Some(NZUsize!(1 << 16)),
        init_buffer: NZUsize!(1 << 21),
        init_concurrency: (),
    };
    let copier = sync::start(
        &context.child("sync"),
        local,
        &network.oracle,
        network.state,
        Arc::clone(&parts.tip),
        #[cfg(test)]
        parts.dishonest.clone(),
    );
    #[cfg(test)]
    let dishonest = parts.dishonest.clone();
    let state = ApplicationState {
        machine: parts.machine,
        beginning: Arc::clone(&parts.beginning),
        mempool: parts.mempool.clone(),
        tip: Arc::clone(&parts.tip),
        items_max: parts.items_max,
        missed: MissedKeys::default(),
        #[cfg(test)]
        dishonest: parts.dishonest,
    };
    let (stateful, mailbox) = Stateful::new(
        context.child("state"),
        StatefulConfig {
            application: Ledger { shared: Arc::new(state) },
            db_config: database,
            provider: (),
            marshal: (marshal.clone(), floor),
            mailbox_size: NZUsize!(1024),
            plan,
            resolvers: copier,
            sync_config: SyncEngineConfig {
                fetch_batch_size: sync::OPERATIONS_MAX,
                apply_batch_size: NZU64!(4096),
                max_outstanding_requests: sync::QUESTIONS_MAX,
            },
            prune_config: Some(PruneConfig {
                maintenance_interval: NZUsize!(64),
                retained_marshal_blocks: STATES_KEPT,
                retained_qmdb_blocks: STATES_KEPT,
            }),
            strategy: Sequential,
        },
    );
    let deferred =
        Deferred::new(context.child("deferred"), mailbox.clone(), marshal.clone(), epocher.clone());
    let reasons = Reasons {
        mempool: parts.mempool.clone(),
        tip: Arc::clone(&parts.tip),
        hold: parts.timing.hold,
        heartbeat: parts.timing.heartbeat,
    };
    let automaton = Hold::new(context.child("hold"), deferred.clone(), reasons);
    let (heights, finalized_heights) = mpsc::unbounded_channel();
    let (blocks_to_tell, finalized_blocks) = mpsc::unbounded_channel();
    let indexing = Arc::new(AtomicBool::new(false));
    let finalized = FinalizedBlocks { heights, blocks: blocks_to_tell, indexing: Arc::clone(&indexing) };
    marshal_actor.start(Reporters::from((mailbox.clone(), finalized)), blocks, resolver);
    let known = marshal.clone();
    context.child("answers").spawn(move |_| {
        probe::answer(
            asking,
            answers,
            known,
            #[cfg(test)]
            dishonest,
        )
    });
    if let Some(copied) = copied {
        let wait = marshal.subscribe_by_commitment(copied, CommitmentFallback::Wait);
        let block = commonware_macros::select! {
            _ = until_stop(&mut parts.requests) => return,
            block = wait => block.expect("the block store runs as long as the node"),
        };
        let header = *block.inner().header();
        joining = joining.holds(block.height().get()).await;
        parts.tip.copies(header.operations_end.saturating_sub(header.operations_start));
        tracing::info!(height = header.height, "chain.copy");
    }
    parts.tip.hold_from(joining.holds_from());
    // An epoch without a first height is later than any.
    parts.tip.vote_from(epocher.first(joining.votes_from()).map_or(u64::MAX, |first| first.get().max(1)));
    stateful.start();

    let epochs = Epochs {
        scheme,
        silent,
        votes_from: joining.votes_from(),
        blocker: network.oracle,
        automaton,
        relay: deferred,
        marshal: marshal.clone(),
        page_cache,
        prefix,
        buffer,
        timing: parts.timing,
        epocher,
        genesis: genesis.digest(),
        finalized: finalized_heights,
    };
    let epocher = epochs.epocher.clone();
    let votes_from = epochs.votes_from;
    let votes = parts.votes;
    let (opened, open) = oneshot::channel::<()>();
    let mut engine: Handle<()> = context.child("epochs").spawn(move |context| async move {
        if votes {
            // Whoever copies must hear what becomes final meanwhile: the others do not keep old states for ever. Whoever has
            // the state opens it first. An error: the node is stopping.
            if !copies && open.await.is_err() {
                return;
            }
            epochs.run(context, network.votes, network.certificates, network.requests).await;
        } else {
            // Nothing will be finalized, and nothing ends but by request.
            std::future::pending::<()>().await;
        }
    });
    let databases: Databases<E> = if copies {
        commonware_macros::select! {
            _ = until_stop(&mut parts.requests) => return,
            databases = mailbox.subscribe_databases() => databases,
        }
    } else {
        mailbox.subscribe_databases().await
    };
    // Before anybody is answered or voted for.
    if let Some(header) =
        header_of_state(&databases, &marshal, &parts.tip, joining.holds_from()..=kept_to).await
    {
        parts.tip.finalized(&header, &[]);
        if copies {
            tracing::info!(height = header.height, votes_from = votes_from.get(), "chain.copied");
        }
    }
    if copies {
        parts.tip.is_copied();
    }
    // An error: the engine ended, which is found below.
    let _ = opened.send(());
    let certified = marshal.get_info(Identifier::Latest).await.map_or(0, |(height, _)| height.get());
    // Certificates may be damaged, and the blocks are executed all the same.
    let latest = certified.max(kept_to);
    let known = parts.tip.header().height.max(latest);
    let epoch =
        epocher.containing(Height::new(known).next()).map_or_else(Epoch::zero, |bounds| bounds.epoch());
    parts.tip.ready_at(if parts.votes && epoch >= votes_from {
        // A block of this run decides whatever an earlier one left undecided.
        parts.beginning.height().max(known.saturating_add(1))
    } else {
        // Without a voice it cannot ask for one.
        latest
    });
    tracing::info!(height = latest, "chain.open");
    let archive = marshal.clone();
    let (of, from) = (databases.clone(), joining.holds_from());
    let history = parts.history;
    let told = history::Told { up_to: parts.indexed, from };
    context
        .child("history")
        .spawn(move |_| history::tell(archive, of, finalized_blocks, indexing, history, told));
    let (sender, receiver) = network.envelopes;
    let (mempool, tip) = (parts.mempool.clone(), Arc::clone(&parts.tip));
    context.child("tell").spawn(move |context| gossip::tell(context, sender, parts.outgoing, mempool, tip));
    let (mempool, tip) = (parts.mempool.clone(), Arc::clone(&parts.tip));
    let (of, questions) = (parts.beginning.network, parts.questions.clone());
    context.child("listen").spawn(move |_| gossip::listen(receiver, of, questions, mempool, tip));
    loop {
        commonware_macros::select! {
            request = parts.requests.recv() => match request {
                None | Some(Request::Stop) => break,
                Some(request) => {
                    let (databases, marshal, tip) = (databases.clone(), marshal.clone(), Arc::clone(&parts.tip));
                    context.child("answer").spawn(move |context| answer(context, request, databases, marshal, tip));
                }
            },
            _ = &mut engine => {
                parts.tip.engine_ended();
                break;
            }
        }
    }
}

/// The archive's settings for values that are decoded with `codec`.
fn with_codec<C>(config: prunable::Config<EightCap, ()>, codec: C) -> prunable::Config<EightCap, C> {
    prunable::Config {
        translator: config.translator,
        metadata_partition: config.metadata_partition,
        key_partition: config.key_partition,
        key_page_cache: config.key_page_cache,
        value_partition: config.value_partition,
        compression: config.compression,
        codec_config: codec,
        items_per_section: config.items_per_section,
        key_write_buffer: config.key_write_buffer,
        value_write_buffer: config.value_write_buffer,
        replay_buffer: config.replay_buffer,
    }
}
