//! The three channels that consensus talks on, split by epoch.
//!
//! Validators enter an epoch at slightly different moments. What the faster ones say before a slower one has entered
//! would be lost to it, and with it the first proposal, so that the view ends in a timeout: it is kept until then.

use commonware_consensus::types::Epoch;
use commonware_cryptography::ed25519;
use commonware_p2p::utils::mux::{Builder as _, Error, MuxHandle, Muxer, SubReceiver, SubSender};
use commonware_p2p::{Channel, Message, Receiver, Sender};
use commonware_runtime::Spawner;
use commonware_utils::channel::mpsc;
use std::collections::VecDeque;
use std::num::NonZeroUsize;

type Key = ed25519::PublicKey;

/// So many messages are kept of each peer. Before it hears from others, a validator has few to send.
const KEPT_OF_EACH: usize = 16;

/// A channel of an epoch's engine.
pub(crate) type Pair<S> = (SubSender<S>, Early<SubReceiver<Key>>);

/// Gives what arrived early, and then what arrives.
#[derive(Debug)]
pub(crate) struct Early<N> {
    early: VecDeque<Message<Key>>,
    inner: N,
}

impl<N> Early<N> {
    /// Gives these before everything else.
    pub(crate) fn prepend(&mut self, messages: Vec<Message<Key>>) {
        let later = std::mem::replace(&mut self.early, messages.into());
        self.early.extend(later);
    }
}

impl<N: Receiver<PublicKey = Key>> Receiver for Early<N> {
    type Error = N::Error;
    type PublicKey = Key;

    async fn recv(&mut self) -> Result<Message<Key>, N::Error> {
        match self.early.pop_front() {
            Some(message) => Ok(message),
            None => self.inner.recv().await,
        }
    }

    fn capacity(&self) -> NonZeroUsize {
        self.inner.capacity()
    }
}

/// A channel, and what arrived on it for epochs that have not begun here.
struct Ahead<S: Sender> {
    handle: MuxHandle<S>,
    arriving: mpsc::Receiver<(Channel, Message<Key>)>,
    kept: Vec<(Epoch, Message<Key>)>,
}

impl<S: Sender<PublicKey = Key>> Ahead<S> {
    fn new<E: Spawner>(context: E, (sender, receiver): (S, impl Receiver<PublicKey = Key>)) -> Self {
        let (mux, handle, arriving) = Muxer::builder(context, sender, receiver).with_backup().build();
        mux.start();
        Self { handle, arriving, kept: Vec::new() }
    }

    /// Keeps a message if it is for the epoch after `epoch`; later ones are of no use. Gives the sender if it is ahead.
    fn keep(&mut self, epoch: Epoch, (theirs, message): (Channel, Message<Key>)) -> Option<Key> {
        let theirs = Epoch::new(theirs);
        if theirs <= epoch {
            return None;
        }
        let from = message.0.clone();
        let kept = self.kept.iter().filter(|(of, (by, _))| *of == theirs && *by == from).count();
        if theirs == epoch.next() && kept < KEPT_OF_EACH {
            self.kept.push((theirs, message));
        }
        Some(from)
    }

    async fn enter(&mut self, epoch: Epoch) -> Result<Pair<S>, Error> {
        let (sender, inner) = self.handle.register(epoch.get()).await?;
        while let Ok(message) = self.arriving.try_recv() {
            if let Some(before) = epoch.previous() {
                self.keep(before, message);
            }
        }
        let kept = std::mem::take(&mut self.kept);
        let early = kept.into_iter().filter(|(of, _)| *of == epoch).map(|(_, message)| message).collect();
        Ok((sender, Early { early, inner }))
    }
}

/// See the module.
pub(crate) struct Channels<S: Sender> {
    votes: Ahead<S>,
    certificates: Ahead<S>,
    requests: MuxHandle<S>,
}

/// The channels of one epoch's engine.
pub(crate) struct OfEpoch<S: Sender> {
    pub(crate) votes: Pair<S>,
    pub(crate) certificates: Pair<S>,
    pub(crate) requests: (SubSender<S>, SubReceiver<Key>),
}

impl<S: Sender<PublicKey = Key>> Channels<S> {
    /// Splits the channels.
    pub(crate) fn new<E, N>(context: &E, votes: (S, N), certificates: (S, N), requests: (S, N)) -> Self
    where
        E: Spawner,
        N: Receiver<PublicKey = Key>,
    {
        let votes = Ahead::new(context.child("votes"), votes);
        let certificates = Ahead::new(context.child("certificates"), certificates);
        // A question that nobody heard is asked again.
        let (mux, requests) = Muxer::new(context.child("requests"), requests.0, requests.1);
        mux.start();
        Self { votes, certificates, requests }
    }

    /// Waits until somebody says something in an epoch after `epoch`, and says who; `None` if the node is stopping.
    /// Nothing is lost if the wait is given up.
    pub(crate) async fn somebody_ahead(&mut self, epoch: Epoch) -> Option<Key> {
        loop {
            let from = commonware_macros::select! {
                vote = self.votes.arriving.recv() => self.votes.keep(epoch, vote?),
                certificate = self.certificates.arriving.recv() => self.certificates.keep(epoch, certificate?),
            };
            if from.is_some() {
                return from;
            }
        }
    }

    /// The channels of `epoch`, which is entered once.
    ///
    /// # Errors
    /// The engine's; the node is stopping.
    pub(crate) async fn enter(&mut self, epoch: Epoch) -> Result<OfEpoch<S>, Error> {
        Ok(OfEpoch {
            votes: self.votes.enter(epoch).await?,
            certificates: self.certificates.enter(epoch).await?,
            requests: self.requests.register(epoch.get()).await?,
        })
    }
}
