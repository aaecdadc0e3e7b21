//! Holds empty blocks back: while there is nothing to propose, a leader waits a while and then declines.
//!
//! The wait sits in front of the engine's state actor, not inside its `propose`: while that call is pending the node
//! applies no finalized block, so that waiting there would delay every block.
//!
//! A leader that declines lets its peers nullify the view at once, which costs each a small journal entry instead of a
//! block. Once in a while a block is proposed although it is empty, so that journals can be pruned and a certificate
//! of today exists.

use crate::mempool::Mempool;
use crate::tip::Tip;
use commonware_consensus::types::Round;
use commonware_consensus::{Automaton, CertifiableAutomaton, Handoff};
use commonware_runtime::{Clock, Spawner};
use commonware_utils::channel::oneshot;
use futures::future::{Either, select};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

/// How often a leader that waits looks again on its own.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// What a leader waits for.
#[derive(Clone)]
pub(crate) struct Reasons {
    pub(crate) mempool: Mempool,
    pub(crate) tip: Arc<Tip>,
    /// How long a leader waits before it declines.
    pub(crate) hold: Duration,
    /// How long the network goes without a block.
    pub(crate) heartbeat: Duration,
}

impl Reasons {
    fn to_propose(&self) -> bool {
        self.mempool.is_ready()
            || self.tip.is_getting_ready()
            || self.tip.since_last_block() >= self.heartbeat
    }
}

/// An automaton that waits for a reason to propose.
pub(crate) struct Hold<E, A> {
    context: Arc<E>,
    inner: A,
    reasons: Reasons,
}

impl<E, A: Clone> Clone for Hold<E, A> {
    fn clone(&self) -> Self {
        Self { context: Arc::clone(&self.context), inner: self.inner.clone(), reasons: self.reasons.clone() }
    }
}

impl<E, A> Hold<E, A> {
    pub(crate) fn new(context: E, inner: A, reasons: Reasons) -> Self {
        Self { context: Arc::new(context), inner, reasons }
    }
}

impl<E, A> Automaton for Hold<E, A>
where
    E: Spawner + Clock + Send + Sync + 'static,
    A: Automaton + Sync,
    A::Context: Send + 'static,
{
    type Context = A::Context;
    type Digest = A::Digest;

    async fn propose(&mut self, context: A::Context) -> oneshot::Receiver<A::Digest> {
        let (mut decision, result) = oneshot::channel();
        let (mut inner, reasons) = (self.inner.clone(), self.reasons.clone());
        self.context.child("hold").spawn(move |clock| async move {
            let since = clock.current();
            while !reasons.to_propose() {
                let left =
                    reasons.hold.saturating_sub(clock.current().duration_since(since).unwrap_or_default());
                // Consensus has left the view, or it is time to decline, which dropping `decision` does.
                if decision.is_closed() || left.is_zero() {
                    return;
                }
                let look = clock.sleep(left.min(LOOK_EVERY));
                select(pin!(reasons.mempool.arrival()), pin!(look)).await;
            }
            let built = inner.propose(context).await;
            let digest = match select(built, pin!(decision.closed())).await {
                Either::Left((digest, _)) => digest,
                Either::Right(_) => return,
            };
            if let Ok(digest) = digest {
                // The view may have ended meanwhile.
                let _ = decision.send(digest);
            }
        });
        result
    }

    fn verify(
        &mut self,
        context: A::Context,
        payload: A::Digest,
    ) -> impl Future<Output = oneshot::Receiver<bool>> + Send {
        self.inner.verify(context, payload)
    }
}

impl<E, A> CertifiableAutomaton for Hold<E, A>
where
    E: Spawner + Clock + Send + Sync + 'static,
    A: CertifiableAutomaton + Sync,
    A::Context: Send + 'static,
{
    fn prepare(
        &mut self,
        context: A::Context,
    ) -> impl Future<Output = oneshot::Receiver<Handoff<A::Digest>>> + Send {
        self.inner.prepare(context)
    }

    fn certify(
        &mut self,
        round: Round,
        payload: A::Digest,
    ) -> impl Future<Output = oneshot::Receiver<bool>> + Send {
        self.inner.certify(round, payload)
    }
}
