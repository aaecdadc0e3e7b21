//! The seam between the consortium's rules and whatever orders and stores transactions.
//!
//! Everything above sees this trait alone; the consensus engine replaces an implementation, nothing else.

use crate::reject::Item;
use crate::state::{StateError, StateView};
use crate::tx::SignedEnvelope;
use eroam_domain::codec::Digest;
use eroam_domain::time::UnixMillis;

/// What became of a submitted envelope, once it can no longer be undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// SHA-256 of the envelope's bytes.
    pub envelope: Digest,
    /// The block it is in; `None` if it was refused before it reached one, for a reason that
    /// [leaves its sequence](crate::reject::RejectCode::leaves_sequence) unused, because it had expired, or because no
    /// block can hold it (`LimitReached`).
    pub height: Option<u64>,
    /// The items' outcomes, in the order of the batch; one for any other transaction.
    pub items: Vec<Item>,
}

/// Why nothing can be said about a submitted envelope. Submitting it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state could not be read or written.
    #[error("the ledger's state failed")]
    State(#[from] StateError),
    /// The node has stopped.
    #[error("the ledger's node has stopped: {0}")]
    Stopped(String),
    /// Too few validators answer, or too much is waiting already.
    #[error(
        "the ledger did not decide within {0} seconds: too few validators answer, or too much is waiting; submit the same \
         envelopes again, which is safe: each counts once, however often it is submitted"
    )]
    Undecided(u64),
}

/// A ledger that organisations of this process submit to.
pub trait LedgerPort: StateView {
    /// The network: SHA-256 of its genesis.
    fn network(&self) -> Digest;

    /// The time of the latest block.
    fn time(&self) -> UnixMillis;

    /// Includes envelopes in blocks whose time is `at` or later; where the network goes by the clock
    /// ([`crate::genesis::BlockTime`]), `at` is ignored. Envelopes of one lane keep their order; nothing is promised
    /// across lanes, so what depends on another's outcome is submitted after it.
    /// Returns, in the order of `envelopes`, when their outcomes can no longer be undone and survive a crash.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn submit(&mut self, at: UnixMillis, envelopes: Vec<SignedEnvelope>)
    -> Result<Vec<Receipt>, LedgerError>;
}
