//! What blocks do to the state, where validators differ in what they know.

use super::cluster::{Settings, Simulation, millis, seeds};
use crate::machine::{Rules, StateMachine};
use eroam_ledger::execute::Header;
use eroam_ledger::reads::Attempt;
use eroam_ledger::state::{StateError, StateKey, StateView};
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, VerifiedEnvelope};
use std::collections::BTreeSet;
use std::sync::Arc;

#[test]
fn a_key_is_replaced_while_envelopes_wait_that_are_signed_with_it() {
    for seed in seeds(3) {
        let settings = Settings {
            rotation: true,
            lanes: 3,
            together: 3,
            thinking: 50,
            epoch_blocks: 6,
            ..Settings::new(seed, 4)
        };
        Simulation::new(settings).run(async |cluster| cluster.settle().await);
    }
}

/// The rules, and a value that the first lane's envelopes write without reading it and the others' read.
struct Blind;

impl StateMachine for Blind {
    fn reads(&self, envelope: &Envelope) -> Vec<StateKey> {
        Rules.reads(envelope)
    }

    fn claimed_key(
        &self,
        view: &dyn StateView,
        envelope: &Envelope,
    ) -> Result<Option<PublicKey>, StateError> {
        Rules.claimed_key(view, envelope)
    }

    fn attempt(
        &self,
        view: &dyn StateView,
        signed: &SignedEnvelope,
        verified: Option<&VerifiedEnvelope<'_>>,
        header: &Header,
    ) -> Result<Attempt, StateError> {
        let mut attempt = Rules.attempt(view, signed, verified, header)?;
        let key = StateKey::Lane(signed.envelope().member, 15).to_bytes();
        if signed.envelope().lane > 0 {
            if let Err(StateError::NotLoaded(key)) = view.get(&key) {
                return Ok(Attempt::Missing(BTreeSet::from([key])));
            }
        } else if let Attempt::Done(outcome) = &mut attempt
            && outcome.is_admitted()
        {
            outcome.writes.insert(key, Some(vec![1; 8]));
        }
        Ok(attempt)
    }
}

/// A validator that was restarted has forgotten which keys it missed, and loads fewer.
#[test]
fn a_state_does_not_depend_on_what_was_loaded() {
    for seed in seeds(2) {
        let settings = Settings {
            machine: Arc::new(Blind),
            lanes: 2,
            envelopes: 12,
            together: 1,
            ..Settings::new(seed, 4)
        };
        Simulation::new(settings).run(async |cluster| {
            for index in 0..4 {
                cluster.sleep(millis(400)).await;
                cluster.crash(index);
                // The last tasks of the stopped process end.
                cluster.sleep(millis(100)).await;
                cluster.start_one(index).await;
            }
            cluster.settle().await;
        });
    }
}
