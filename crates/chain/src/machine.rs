//! The seam between the engine and the rules: the engine's code is generic over much, the rules behind this are not.

use eroam_ledger::execute::{Header, claimed_key};
use eroam_ledger::reads::{self, Attempt};
use eroam_ledger::state::{StateError, StateKey, StateView};
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, VerifiedEnvelope};

/// What a block does to the state.
pub trait StateMachine: Send + Sync + 'static {
    /// Keys that an envelope is going to need, to be loaded together. What is left out is loaded when it is missed.
    fn reads(&self, envelope: &Envelope) -> Vec<StateKey>;

    /// The key that an envelope says it is signed with.
    ///
    /// # Errors
    /// [`StateError`].
    fn claimed_key(&self, view: &dyn StateView, envelope: &Envelope)
    -> Result<Option<PublicKey>, StateError>;

    /// Executes one envelope whose signature has been checked (`None`: it is wrong, or there is no key), or says what
    /// must be loaded first.
    ///
    /// # Errors
    /// [`StateError`], never [`StateError::NotLoaded`]; a refusal is a normal outcome.
    fn attempt(
        &self,
        view: &dyn StateView,
        signed: &SignedEnvelope,
        verified: Option<&VerifiedEnvelope<'_>>,
        header: &Header,
    ) -> Result<Attempt, StateError>;
}

/// The consortium's rules.
#[derive(Clone, Copy, Debug, Default)]
pub struct Rules;

impl StateMachine for Rules {
    fn reads(&self, envelope: &Envelope) -> Vec<StateKey> {
        reads::reads(envelope)
    }

    fn claimed_key(
        &self,
        view: &dyn StateView,
        envelope: &Envelope,
    ) -> Result<Option<PublicKey>, StateError> {
        claimed_key(view, envelope)
    }

    fn attempt(
        &self,
        view: &dyn StateView,
        signed: &SignedEnvelope,
        verified: Option<&VerifiedEnvelope<'_>>,
        header: &Header,
    ) -> Result<Attempt, StateError> {
        reads::attempt(view, signed, verified, header)
    }
}
