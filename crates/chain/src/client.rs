//! What an organisation's process does with its node: submit, read, prove.

use crate::admission::{admit, wanted};
use crate::beginning::Beginning;
use crate::block::Block;
use crate::mempool::{Mempool, NotTaken, PoolFill, Ticket, WaitError};
use crate::read_model::ReadModel;
use crate::requests::{Entries, Questions, Request};
use crate::tip::Tip;
use bytes::Bytes;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::port::{LedgerError, LedgerPort, Receipt};
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::state::{StateError, StateView};
use eroam_ledger::tx::{CheckedEnvelope, SignedEnvelope};
use eroam_light::block::Header;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A handle to a running node. Cheap to clone; must not be used from a thread of an asynchronous runtime.
#[derive(Clone)]
pub struct Client {
    pub(crate) beginning: Arc<Beginning>,
    pub(crate) tip: Arc<Tip>,
    pub(crate) mempool: Mempool,
    pub(crate) questions: Questions,
    pub(crate) submitted: mpsc::UnboundedSender<Vec<CheckedEnvelope>>,
    pub(crate) read_model: ReadModel,
    pub(crate) decided_within: Duration,
}

/// A block that finalized another, with what proves it.
#[derive(Clone, Debug)]
pub struct Certified {
    /// The headers after the block, up to the one that the certificate names. Often none.
    pub descendants: Vec<Header>,
    /// The encoded certificate.
    pub certificate: Bytes,
}

impl Client {
    /// The genesis of the network.
    #[must_use]
    pub fn genesis(&self) -> &Genesis {
        &self.beginning.genesis
    }

    /// The header of the latest final block.
    #[must_use]
    pub fn latest(&self) -> Header {
        self.tip.header()
    }

    /// The height of the first block that this node keeps: 1, or later where it has copied the state of others.
    #[must_use]
    pub fn holds_from(&self) -> u64 {
        self.tip.holds_from()
    }

    /// The height of the first block that this node's validator may vote on: 1, or later where it has copied the state of
    /// others and does not know what it voted for before.
    #[must_use]
    pub fn votes_from(&self) -> u64 {
        self.tip.votes_from()
    }

    /// How full the mempool is.
    #[must_use]
    pub fn pool(&self) -> PoolFill {
        self.mempool.fill()
    }

    /// The read model: what happened, by who and what.
    #[must_use]
    pub const fn read_model(&self) -> &ReadModel {
        &self.read_model
    }

    /// Waits until the block at `height` is final here. `false` if the node stopped or `within` passed.
    #[must_use]
    pub fn wait_for_height(&self, height: u64, within: Duration) -> bool {
        self.tip.wait_for(height, Instant::now() + within)
    }

    /// A final block; `None` if there is none yet, or if it is before [`Self::holds_from`].
    ///
    /// # Errors
    /// [`LedgerError::Stopped`].
    pub fn block(&self, height: u64) -> Result<Option<Block>, LedgerError> {
        if height == 0 {
            return Ok(Some(self.beginning.block.clone()));
        }
        if height > self.latest().height {
            return Ok(None);
        }
        self.ask(|answer| Request::Block(height, answer))
    }

    /// The encoded certificate of the block at `height`, if it has one of its own. A block without one is an ancestor
    /// of one that has.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`].
    pub fn certificate(&self, height: u64) -> Result<Option<Bytes>, LedgerError> {
        self.ask(|answer| Request::Certificate(height, answer))
    }

    /// What proves that the block at `height` is final, at the latest ten seconds after it is: the certificate of an
    /// empty block may come with the next one.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn certified(&self, height: u64) -> Result<Option<Certified>, LedgerError> {
        let until = Instant::now() + Duration::from_secs(10);
        loop {
            let mut descendants = Vec::new();
            for above in height..=self.latest().height {
                if above > height {
                    let Some(block) = self.block(above)? else { break };
                    descendants.push(*block.header());
                }
                if let Some(certificate) = self.certificate(above)? {
                    return Ok(Some(Certified { descendants, certificate }));
                }
            }
            if Instant::now() >= until || height > self.latest().height {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// All entries of the latest state in the order of their keys, and the header of its block.
    ///
    /// # Errors
    /// [`LedgerError::Stopped`].
    pub fn entries(&self) -> Result<(Header, Entries), LedgerError> {
        let (header, mut entries) = self.questions.entries().map_err(|_| self.stopped())?;
        entries.sort_unstable();
        Ok((header, entries))
    }

    /// The value under a state key with what proves it, or a proof that there is none.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn prove(&self, key: &[u8]) -> Result<(Header, Option<Bytes>, Bytes), LedgerError> {
        let proved = self.ask(|answer| Request::Prove(key.to_vec(), answer))?;
        let proved = proved.ok_or_else(|| self.stopped())?;
        Ok((proved.header, proved.value, proved.proof))
    }

    fn ask<T>(
        &self,
        request: impl FnOnce(tokio::sync::oneshot::Sender<T>) -> Request,
    ) -> Result<T, LedgerError> {
        self.questions.ask(request).map_err(|_| self.stopped())
    }

    fn stopped(&self) -> LedgerError {
        if self.tip.copying().is_some() {
            return LedgerError::Stopped("it is still copying the state from other validators".to_owned());
        }
        LedgerError::Stopped(self.mempool.stopped().unwrap_or_else(|| "it does not answer".to_owned()))
    }

    fn waited(&self, error: WaitError) -> LedgerError {
        match error {
            WaitError::TimedOut => LedgerError::Undecided(self.decided_within.as_secs()),
            WaitError::Stopped(reason) => LedgerError::Stopped(reason),
        }
    }

    /// Puts an envelope into the mempool and adds it to `taken`, waiting for room; or answers the ticket, if it is
    /// decided already.
    fn offer(
        &self,
        signed: &Arc<SignedEnvelope>,
        ticket: &Arc<Ticket>,
        until: Instant,
        taken: &mut Vec<CheckedEnvelope>,
    ) -> Result<(), LedgerError> {
        let [member, lane] = wanted(signed.envelope());
        let digest = signed.digest();
        let member = self.value(&member)?;
        let admitted = admit(
            Arc::clone(signed),
            self.beginning.network,
            member.as_deref(),
            self.value(&lane)?.as_deref(),
        );
        let (checked, _) = match admitted {
            Ok(admitted) => admitted,
            Err(code) => return self.refuse(digest, code, ticket),
        };
        self.mempool.watch(digest, ticket);
        loop {
            // Read again each time: meanwhile the lane may have moved on.
            let next = self.value(&lane)?.and_then(|l| eroam_domain::codec::from_bytes(&l).ok()).unwrap_or(0);
            match self.mempool.insert(&checked, next, self.latest().time, true) {
                Ok(()) => {
                    taken.push(checked);
                    return Ok(());
                }
                Err(NotTaken::Known) => return Ok(()),
                Err(NotTaken::Full) => {
                    // What others do not know of, only this node could make room of.
                    self.tell(taken);
                    self.mempool.wait_for_room(until).map_err(|e| self.waited(e))?;
                }
                Err(NotTaken::Refused(code)) => {
                    self.mempool.unwatch(&digest, ticket);
                    return self.refuse(digest, code, ticket);
                }
            }
        }
    }

    /// Answers for an envelope that is not taken. If it was included before, perhaps before a restart, that stands.
    fn refuse(&self, envelope: Digest, code: RejectCode, ticket: &Ticket) -> Result<(), LedgerError> {
        ticket.answer(self.included(&envelope, code)?.unwrap_or_else(|| refused(envelope, code)));
        Ok(())
    }

    /// Lets the other validators know of envelopes.
    fn tell(&self, taken: &mut Vec<CheckedEnvelope>) {
        if !taken.is_empty() {
            // Nobody listens only when the node has stopped, which whoever waits finds out.
            let _ = self.submitted.send(std::mem::take(taken));
        }
    }

    /// The receipt of an envelope whose sequence is used, or whose key was replaced since, if it was included before.
    fn included(&self, envelope: &Digest, code: RejectCode) -> Result<Option<Receipt>, LedgerError> {
        if !matches!(code, RejectCode::SequenceUsed | RejectCode::RotatedKey) {
            return Ok(None);
        }
        // The block that it is in may be the one whose state was read and that is not the latest yet.
        if !self.tip.wait_for_what_was_read(Instant::now() + self.decided_within) {
            return Err(self.stopped());
        }
        let place = self.read_model.place_of(envelope, self.latest().height);
        let place = place.map_err(|error| LedgerError::State(StateError::Storage(Box::new(error))))?;
        let Some((height, index)) = place else { return Ok(None) };
        let block = self.block(height)?;
        let items = block.as_ref().and_then(Block::contents).and_then(|c| c.items.get(index));
        Ok(items.map(|items| Receipt { envelope: *envelope, height: Some(height), items: items.clone() }))
    }

    fn value(&self, key: &[u8]) -> Result<Option<Bytes>, LedgerError> {
        match self.tip.cache.get(key) {
            Ok(value) => Ok(value),
            Err(generation) => {
                let values = self.ask(|answer| Request::Values(vec![key.to_vec()], answer))?;
                let value = values.into_iter().next().flatten();
                self.tip.cache.fetched(key.to_vec(), value.clone(), generation);
                Ok(value)
            }
        }
    }
}

fn refused(envelope: Digest, code: RejectCode) -> Receipt {
    let outcome = ItemOutcome::Rejected(code);
    Receipt { envelope, height: None, items: vec![Item { hash: envelope, outcome }] }
}

impl StateView for Client {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        let value = self.value(key).map_err(|error| StateError::Storage(Box::new(error)))?;
        Ok(value.map(|bytes| Cow::Owned(bytes.to_vec())))
    }
}

impl LedgerPort for Client {
    fn network(&self) -> Digest {
        self.beginning.network
    }

    fn time(&self) -> UnixMillis {
        self.latest().time
    }

    fn submit(
        &mut self,
        at: UnixMillis,
        envelopes: Vec<SignedEnvelope>,
    ) -> Result<Vec<Receipt>, LedgerError> {
        let until = Instant::now() + self.decided_within;
        self.tip.state_time(at);
        let ticket = Arc::new(Ticket::default());
        let envelopes: Vec<Arc<SignedEnvelope>> = envelopes.into_iter().map(Arc::new).collect();
        let digests: Vec<Digest> = envelopes.iter().map(|e| e.digest()).collect();
        let mut taken = Vec::new();
        let mut waited = || {
            for signed in &envelopes {
                self.offer(signed, &ticket, until, &mut taken)?;
            }
            self.tell(&mut taken);
            let different: BTreeMap<&Digest, ()> = digests.iter().map(|d| (d, ())).collect();
            ticket.wait(different.len(), until).map_err(|e| self.waited(e))
        };
        let receipts = match waited() {
            Ok(receipts) => receipts,
            Err(error) => {
                for digest in &digests {
                    self.mempool.unwatch(digest, &ticket);
                }
                return Err(error);
            }
        };
        digests.iter().map(|digest| receipts.get(digest).cloned().ok_or_else(|| self.stopped())).collect()
    }
}
