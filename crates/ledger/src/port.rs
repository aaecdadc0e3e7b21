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
    /// The block it is in.
    pub height: u64,
    /// The items' outcomes, in the order of the batch; one for any other transaction.
    pub items: Vec<Item>,
}

/// Why nothing can be said about a submitted envelope. Submitting it again is safe.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The state could not be read or written.
    #[error("the ledger's state failed")]
    State(#[from] StateError),
    /// The log of accepted envelopes could not be written or read.
    #[error("the ledger's log failed")]
    Log(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// A ledger that organisations of this process submit to.
pub trait LedgerPort: StateView {
    /// The network: SHA-256 of its genesis.
    fn network(&self) -> Digest;

    /// The time of the latest block.
    fn time(&self) -> UnixMillis;

    /// Includes envelopes in this order, in a block whose time is `at` or, if that is later, the latest block's.
    /// Returns when their outcomes can no longer be undone and survive a crash.
    ///
    /// # Errors
    /// [`LedgerError`].
    fn submit(&mut self, at: UnixMillis, envelopes: Vec<SignedEnvelope>)
    -> Result<Vec<Receipt>, LedgerError>;
}
