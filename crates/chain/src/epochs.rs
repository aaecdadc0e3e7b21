//! One consensus engine for each epoch, with journals of its own: when the last block of an epoch is final, the next
//! epoch's engine begins on top of it.

use crate::block::{Block, ConsensusContext, EngineDigest};
use crate::channels::Channels;
use crate::requests::Marshal;
use commonware_actor::Feedback;
use commonware_codec::Encode as _;
use commonware_consensus::marshal::{Identifier, Update};
use commonware_consensus::simplex::config::{Floor, ForwardPolicy, SkipPolicy};
use commonware_consensus::simplex::elector::RoundRobin;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Activity, Nullify, Vote};
use commonware_consensus::simplex::{self, Plan, SkipBudget};
use commonware_consensus::types::{Epoch, Epocher as _, FixedEpocher, Height, Round, View, ViewDelta};
use commonware_consensus::{CertifiableAutomaton, Heightable as _, Relay, Reporter};
use commonware_cryptography::certificate::Scheme as _;
use commonware_cryptography::{Digestible as _, Sha256, ed25519};
use commonware_p2p::{Blocker, CheckedSender as _, Message, Receiver, Recipients, Sender};
use commonware_parallel::Sequential;
use commonware_runtime::buffer::paged::CacheRef;
use commonware_runtime::{Clock, Handle, IoBuf, Metrics, Network, Spawner, Storage};
use commonware_utils::vec::NonEmptyVec;
use commonware_utils::{Acknowledgement as _, NZDuration, NZUsize};
use rand::{CryptoRng, Rng};
use std::num::NonZeroUsize;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a submission waits for its outcome, unless a node is told otherwise.
const DECIDED_WITHIN: Duration = Duration::from_secs(60);

/// A validator that starts waits so long until it reaches all others; the first leader's proposal would be lost to
/// those who are not there yet.
const REACHED_WITHIN: Duration = Duration::from_secs(2);
/// How often it looks.
const REACHED_EVERY: Duration = Duration::from_millis(50);

/// Patience of the validators.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// How long a leader with nothing to propose waits before it declines.
    pub hold: Duration,
    /// How long the others wait for a leader's proposal; more than `hold`.
    pub leader_timeout: Duration,
    /// How long without a block before an empty one is proposed.
    pub heartbeat: Duration,
    /// How long a submission waits for its outcome.
    pub decided_within: Duration,
}

impl Timing {
    /// For a validator on its own: nobody else could lead, and after a crash the interrupted view is left quickly.
    pub const ALONE: Self = Self {
        hold: Duration::from_millis(900),
        leader_timeout: Duration::from_secs(1),
        heartbeat: Duration::from_secs(60),
        decided_within: DECIDED_WITHIN,
    };
    /// For several: a silent leader is passed over after two and a half seconds.
    pub const SEVERAL: Self = Self {
        hold: Duration::from_secs(2),
        leader_timeout: Duration::from_millis(2500),
        heartbeat: Duration::from_secs(60),
        decided_within: DECIDED_WITHIN,
    };
}

/// Tells of each finalized block: the epochs of its height, the read model of its contents.
#[derive(Clone)]
pub(crate) struct FinalizedBlocks {
    pub(crate) heights: mpsc::UnboundedSender<Height>,
    pub(crate) blocks: mpsc::UnboundedSender<Arc<Block>>,
    /// Whether the read model takes blocks yet; those before it has from the archive.
    pub(crate) indexing: Arc<AtomicBool>,
}

impl Reporter for FinalizedBlocks {
    type Activity = Update<Block>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Update::Block(block, acknowledgement) = activity {
            // The state actor's acknowledgement is what counts: it follows the state on the disk.
            let heights = self.heights.send(block.height());
            let indexed = !self.indexing.load(Ordering::SeqCst)
                || self.blocks.send(Arc::new(block.inner().clone())).is_ok();
            acknowledgement.acknowledge();
            if heights.is_err() || !indexed {
                return Feedback::Closed;
            }
        }
        Feedback::Ok
    }
}

/// What every epoch's engine is made of.
pub(crate) struct Epochs<B, A, R> {
    /// What this validator votes with.
    pub(crate) scheme: Scheme,
    /// What it follows with where it must not vote.
    pub(crate) silent: Scheme,
    /// The first epoch in which it votes.
    pub(crate) votes_from: Epoch,
    pub(crate) blocker: B,
    pub(crate) automaton: A,
    pub(crate) relay: R,
    pub(crate) marshal: Marshal,
    pub(crate) page_cache: CacheRef,
    /// What the names of the journals begin with.
    pub(crate) prefix: String,
    pub(crate) buffer: NonZeroUsize,
    pub(crate) timing: Timing,
    pub(crate) epocher: FixedEpocher,
    pub(crate) genesis: EngineDigest,
    pub(crate) finalized: mpsc::UnboundedReceiver<Height>,
}

impl<B, A, R> Epochs<B, A, R>
where
    B: Blocker<PublicKey = ed25519::PublicKey>,
    A: CertifiableAutomaton<Context = ConsensusContext, Digest = EngineDigest> + Clone,
    R: Relay<Digest = EngineDigest, PublicKey = ed25519::PublicKey, Plan = Plan<ed25519::PublicKey>>
        + Reporter<Activity = Activity<Scheme, EngineDigest>>
        + Clone,
{
    /// Runs engine after engine, from the epoch of the block after the latest that was processed.
    pub(crate) async fn run<E, S, N>(
        mut self,
        context: E,
        votes: (S, N),
        certificates: (S, N),
        requests: (S, N),
    ) where
        E: Spawner + Metrics + CryptoRng + Rng + Clock + Storage + Network,
        S: Sender<PublicKey = ed25519::PublicKey>,
        N: Receiver<PublicKey = ed25519::PublicKey>,
    {
        let mut channels = Channels::new(&context, votes, certificates, requests);
        let processed = self.marshal.get_processed().await.map_or(Height::zero(), |p| p.height());
        let mut epoch = self.epoch_after(processed);
        let first = self.enter(&context, epoch, &mut channels, REACHED_WITHIN).await;
        let Some(mut engine) = first else { return };
        loop {
            commonware_macros::select! {
                height = self.finalized.recv() => {
                    let Some(height) = height else { break };
                    let next = self.epoch_after(height);
                    if next > epoch {
                        epoch = next;
                        // The old engine would only propose the last block again and again.
                        engine.abort();
                        match self.enter(&context, epoch, &mut channels, Duration::ZERO).await {
                            Some(entered) => engine = entered,
                            None => break,
                        }
                    }
                },
                from = channels.somebody_ahead(epoch) => {
                    let Some(from) = from else { break };
                    // Ask for the block that ends our epoch.
                    if let Some(last) = self.epocher.last(epoch) {
                        self.marshal.hint_finalized(last, NonEmptyVec::new(from));
                    }
                },
                ended = &mut engine => {
                    if let Err(error) = ended {
                        tracing::error!(%error, epoch = epoch.get(), "chain.engine.ended");
                    }
                    break;
                },
            }
        }
    }

    /// What takes part in `epoch`.
    const fn scheme_of(&self, epoch: Epoch) -> &Scheme {
        if epoch.get() < self.votes_from.get() { &self.silent } else { &self.scheme }
    }

    fn epoch_after(&self, height: Height) -> Epoch {
        self.epocher.containing(height.next()).map_or_else(Epoch::zero, |bounds| bounds.epoch())
    }

    /// Where the engine of `epoch` takes up: at the latest certificate of the epoch, which its journal may have lost, so
    /// that it never votes again on what is final; or at the block that ends the epoch before. Who copied the state in this
    /// epoch has no such block, but the certificate that it copied by.
    async fn floor(&self, epoch: Epoch) -> Option<Floor<Scheme, EngineDigest>> {
        let (latest, _) = self.marshal.get_info(Identifier::Latest).await.unzip();
        let (first, last) = (self.epocher.first(epoch)?, self.epocher.last(epoch)?);
        let latest = latest.unwrap_or(Height::zero());
        let known = |height| self.marshal.get_finalization(height);
        if let Some(certificate) = latest_known(first..=last, latest, known).await {
            return Some(Floor::Finalized(certificate));
        }
        Some(Floor::Genesis(match epoch.previous().and_then(|before| self.epocher.last(before)) {
            None => self.genesis,
            Some(last) => self.marshal.get_block(last).await?.digest(),
        }))
    }

    /// Whom this validator reaches; waits for up to `patience` until that is everybody.
    async fn reached<S>(
        &self,
        clock: &impl Clock,
        votes: &mut S,
        patience: Duration,
    ) -> Vec<ed25519::PublicKey>
    where
        S: Sender<PublicKey = ed25519::PublicKey>,
    {
        let others = self.scheme.participants().len().saturating_sub(1);
        let mut left = patience;
        loop {
            // An error: too much was sent lately, which cannot be before anything was sent.
            let reached =
                votes.check(Recipients::All).map(|checked| checked.recipients()).unwrap_or_default();
            if reached.len() >= others || left.is_zero() {
                return reached;
            }
            clock.sleep(REACHED_EVERY).await;
            left = left.saturating_sub(REACHED_EVERY);
        }
    }

    /// What makes the engine of `epoch` count the validators that are `reached` as present from the start.
    ///
    /// It passes a leader over at once from whom it has heard nothing while it has heard from others. In a new epoch it
    /// has heard nothing of anybody, so that it would often pass over the leader of the second view, only because that
    /// one's first vote is the last to arrive; and where half of the validators do so, the view lasts until the longest
    /// timeout. What it is given in their names is a vote that counts for nothing, as it is against the view before
    /// the first.
    fn presence(&self, epoch: Epoch, reached: Vec<ed25519::PublicKey>) -> Vec<Message<ed25519::PublicKey>> {
        let round = Round::new(epoch, View::zero());
        let Some(nullify) = Nullify::<Scheme>::sign::<EngineDigest>(self.scheme_of(epoch), round) else {
            return Vec::new();
        };
        let vote = IoBuf::from(Vote::<Scheme, EngineDigest>::Nullify(nullify).encode());
        // The first leader first, should the engine look before it has read them all.
        let validators = self.scheme.participants();
        let count = validators.len();
        let first = usize::try_from(epoch.next().get() % count as u64).unwrap_or(0);
        let turn = |key: &ed25519::PublicKey| validators.position(key).map(|at| (at + count - first) % count);
        let mut reached: Vec<_> = reached.into_iter().filter(|key| turn(key).is_some()).collect();
        reached.sort_by_key(turn);
        reached.into_iter().map(|key| (key, vote.clone())).collect()
    }

    /// Starts the engine of `epoch`; `None` if the node is stopping.
    async fn enter<E, S>(
        &self,
        context: &E,
        epoch: Epoch,
        channels: &mut Channels<S>,
        patience: Duration,
    ) -> Option<Handle<()>>
    where
        E: Spawner + Metrics + CryptoRng + Rng + Clock + Storage + Network,
        S: Sender<PublicKey = ed25519::PublicKey>,
    {
        let floor = self.floor(epoch).await?;
        let Timing { hold, leader_timeout, heartbeat, .. } = self.timing;
        // Every declined view uses the budget up; the heartbeat's block refills it.
        let declined = heartbeat.as_millis().checked_div(hold.as_millis()).unwrap_or(0);
        let budget = u64::try_from(declined).unwrap_or(u64::MAX).saturating_mul(4).saturating_add(64);
        let engine = simplex::Engine::new(
            context.child("engine").with_attribute("epoch", epoch),
            simplex::Config {
                scheme: self.scheme_of(epoch).clone(),
                elector: RoundRobin::<Sha256>::default(),
                blocker: self.blocker.clone(),
                automaton: self.automaton.clone(),
                relay: self.relay.clone(),
                reporter: self.relay.clone(),
                strategy: Sequential,
                partition: format!("{}-epoch-{epoch}", self.prefix),
                mailbox_size: NZUsize!(1024),
                epoch,
                floor,
                replay_buffer: self.buffer,
                write_buffer: self.buffer,
                page_cache: self.page_cache.clone(),
                leader_timeout,
                certification_timeout: leader_timeout + Duration::from_millis(500),
                timeout_retry: Duration::from_secs(2),
                view_retention: ViewDelta::new(256),
                skip: SkipPolicy::Enabled {
                    timeout: leader_timeout + Duration::from_secs(4),
                    budget: SkipBudget::Fixed(budget.try_into().ok()?),
                },
                fetch_timeout: NZDuration!(Duration::from_secs(1)),
                fetch_retry_delay: Duration::from_millis(100),
                forward: ForwardPolicy::Disabled,
                track_historical_votes: false,
            },
        );
        let mut channels = channels.enter(epoch).await.ok()?;
        let reached = self.reached(context, &mut channels.votes.0, patience).await;
        channels.votes.1.prepend(self.presence(epoch, reached));
        tracing::info!(epoch = epoch.get(), "chain.epoch");
        Some(engine.start(channels.votes, channels.certificates, channels.requests))
    }
}

/// What is known of the latest of these heights of which anything is, where nothing is known of heights after `latest`.
/// That may be one after all of them: blocks that were executed before a crash are executed again, and by then certificates
/// of the next epoch had arrived.
async fn latest_known<T, F: Future<Output = Option<T>>>(
    heights: RangeInclusive<Height>,
    latest: Height,
    known: impl Fn(Height) -> F,
) -> Option<T> {
    for height in (heights.start().get()..=latest.min(*heights.end()).get()).rev() {
        let found = known(Height::new(height)).await;
        if found.is_some() {
            return found;
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use commonware_runtime::{Runner as _, deterministic};

    #[test]
    fn the_latest_certificate_of_an_epoch_is_found_whatever_follows_it() {
        let found = |certified: &'static [u64]| {
            let known = |height: Height| certified.contains(&height.get()).then_some(height.get());
            let latest = Height::new(certified.iter().copied().max().unwrap_or(0));
            deterministic::Runner::default().start(async move |_| {
                let epoch = Height::new(10)..=Height::new(19);
                latest_known(epoch, latest, |height| std::future::ready(known(height))).await
            })
        };
        assert_eq!(found(&[3, 12, 15]), Some(15));
        assert_eq!(found(&[12, 15, 20, 31]), Some(15), "the latest is of a later epoch");
        assert_eq!(found(&[10]), Some(10));
        assert_eq!(found(&[19, 20]), Some(19));
        assert_eq!(found(&[9]), None, "nothing of the epoch is known yet");
        assert_eq!(found(&[9, 20]), None);
        assert_eq!(found(&[]), None);
    }
}
