//! What an envelope will look at, said before it is executed, so that an engine can fetch it all in one go.
//!
//! Each family lists its own keys, next to its rules. The list is what follows from the envelope alone, whether a key
//! is read or only written: for a batch every key of every record, but not the accounts of a debtor nor the forecasts of
//! attesters whom the agreement names, nor the further agreements between two members. For those there is [`attempt`], which executes and
//! finds everything that is missing at once, where [`execute_verified`] stops at the first.

use crate::execute::{Header, Outcome, execute_verified};
use crate::state::{StateError, StateKey, StateView};
use crate::tx::{Envelope, SignedEnvelope, Tx, VerifiedEnvelope};
use crate::{agreement, cdr, forecast, membership, registry, settlement, tariff, voucher};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeSet;

/// The keys that executing the envelope reads or writes, as far as they follow from its contents. Some may be listed
/// more than once, and some not be touched, as where the first check already fails.
#[must_use]
pub fn reads(envelope: &Envelope) -> Vec<StateKey> {
    let sender = envelope.member;
    let mut keys = vec![StateKey::Member(sender), StateKey::Lane(sender, envelope.lane)];
    match &envelope.tx {
        Tx::Membership(tx) => membership::reads(&mut keys, sender, tx),
        Tx::Agreement(tx) => agreement::reads(&mut keys, tx),
        Tx::Tariff(tx) => tariff::reads(&mut keys, sender, tx),
        Tx::Cdr(tx) => cdr::reads(&mut keys, sender, tx),
        Tx::Settlement(tx) => settlement::reads(&mut keys, tx),
        Tx::Registry(tx) => registry::reads(&mut keys, sender, tx),
        Tx::Voucher(tx) => voucher::reads(&mut keys, sender, tx),
        Tx::Forecast(tx) => forecast::reads(&mut keys, sender, tx),
    }
    keys
}

/// What an [`attempt`] came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attempt {
    /// Everything it read was loaded: this is the outcome.
    Done(Outcome),
    /// Fetch these (canonical bytes of [`StateKey`]) and attempt again. More can follow from their values, so that two
    /// or three attempts may be needed, however large the batch.
    Missing(BTreeSet<Vec<u8>>),
}

/// As [`execute_verified`], but where the view answers [`StateError::NotLoaded`] goes on as if there were no value, and
/// gives back all such keys instead of an outcome.
///
/// # Errors
/// [`StateError`], never [`StateError::NotLoaded`].
pub fn attempt(
    view: &dyn StateView,
    signed: &SignedEnvelope,
    verified: Option<&VerifiedEnvelope<'_>>,
    header: &Header,
) -> Result<Attempt, StateError> {
    let noting = Noting { view, missing: RefCell::new(BTreeSet::new()) };
    let result = execute_verified(&noting, signed, verified, header);
    let missing = noting.missing.into_inner();
    match result {
        Err(error @ StateError::Storage(_)) => Err(error),
        result if missing.is_empty() => result.map(Attempt::Done),
        // What looks corrupt may be the consequence of a value that was not there.
        _ => Ok(Attempt::Missing(missing)),
    }
}

/// Remembers what was not loaded.
struct Noting<'a> {
    view: &'a dyn StateView,
    missing: RefCell<BTreeSet<Vec<u8>>>,
}

impl StateView for Noting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        match self.view.get(key) {
            Err(StateError::NotLoaded(key)) => {
                self.missing.borrow_mut().insert(key);
                Ok(None)
            }
            other => other,
        }
    }
}
