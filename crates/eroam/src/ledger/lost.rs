//! Validators of one process whose directory is gone while others have theirs. Such a one may have voted before and does
//! not know for what: it copies the state of the others and waits with its vote.
//!
//! ```text
//! begun                 all validators had their directories once: one that is missing now is lost
//! validator-N.copies    validator N was lost; it is known here before it gets a directory again
//! ```
//! Without the first, whoever was killed while it made the directories of a new network could not go on. It is written
//! before any validator is started: where it is missing although one was, somebody has removed it, and a directory that is
//! missing too is lost all the same. The second stays until the validator may vote again, as far as that has been looked at.

use super::{OpenLedgerError, validator_directory};
use crate::whole_file;
use eroam_chain::directory::Directory;
use eroam_chain::machine::StateMachine;
use eroam_chain::node::{CatchUp, Node, StartError};
use eroam_ledger::genesis::Genesis;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// What says that all had their directories.
const BEGUN: &str = "begun";

/// What says that a validator was lost.
fn copies(index: usize) -> String {
    format!("validator-{index}.copies")
}

/// How each validator comes to the state, the first time all by the blocks from the genesis on.
///
/// # Errors
/// [`OpenLedgerError`]; [`OpenLedgerError::TooManyLost`] and [`OpenLedgerError::StillSilent`] if those that may vote are no
/// quorum.
pub(super) fn catch_up(
    ledger: &Path,
    genesis: &Genesis,
    validators: usize,
    machine: &Arc<dyn StateMachine>,
) -> Result<Vec<CatchUp>, OpenLedgerError> {
    if validators == 1 {
        return Ok(vec![CatchUp::Blocks]);
    }
    let all = || 0..validators;
    let directory = |index: usize| validator_directory(ledger, index);
    if !ledger.join(BEGUN).exists() {
        if !all().any(|index| Directory::has_run(&directory(index))) {
            for index in all() {
                drop(Directory::open(&directory(index), genesis)?);
            }
            whole_file::write(ledger, BEGUN, b"").map_err(OpenLedgerError::Lost)?;
            return Ok(vec![CatchUp::Blocks; validators]);
        }
        tracing::warn!(ledger = %ledger.display(), "ledger.marker.lost");
        whole_file::write(ledger, BEGUN, b"").map_err(OpenLedgerError::Lost)?;
    }
    let lost: BTreeSet<usize> = all().filter(|index| !Directory::is_made(&directory(*index))).collect();
    if !lost.is_empty() {
        refuse_too_many(ledger, &lost, validators, machine)?;
    }
    for index in lost {
        tracing::warn!(validator = index, "ledger.validator.lost");
        whole_file::write(ledger, &copies(index), b"").map_err(OpenLedgerError::Lost)?;
    }
    let of = |index| if ledger.join(copies(index)).exists() { CatchUp::State } else { CatchUp::Blocks };
    Ok(all().map(of).collect())
}

/// Fails if the others are no quorum while the `lost` ones, and those that were lost before, must not vote.
fn refuse_too_many(
    ledger: &Path,
    lost: &BTreeSet<usize>,
    validators: usize,
    machine: &Arc<dyn StateMachine>,
) -> Result<(), OpenLedgerError> {
    let faults = validators.saturating_sub(1) / 3;
    let directory = ledger.to_owned();
    if lost.len() > faults {
        return Err(OpenLedgerError::TooManyLost { directory, lost: lost.len(), validators, faults });
    }
    let mut silent = 0_usize;
    for index in (0..validators).filter(|index| !lost.contains(index)) {
        if !ledger.join(copies(index)).exists() {
            continue;
        }
        if is_silent(ledger, index, machine)? {
            silent = silent.saturating_add(1);
        } else {
            fs::remove_file(ledger.join(copies(index))).map_err(OpenLedgerError::Lost)?;
        }
    }
    if lost.len().saturating_add(silent) > faults {
        return Err(OpenLedgerError::StillSilent { directory, lost: lost.len(), silent, faults });
    }
    Ok(())
}

/// Whether a validator that was lost before must not vote yet on the next block.
fn is_silent(ledger: &Path, index: usize, machine: &Arc<dyn StateMachine>) -> Result<bool, OpenLedgerError> {
    let path = validator_directory(ledger, index);
    match Node::read(&path, Arc::clone(machine)).and_then(|starting| starting.ready()) {
        Ok(node) => {
            let client = node.client();
            Ok(client.latest().height.saturating_add(1) < client.votes_from())
        }
        Err(StartError::Unfinished) => Ok(true),
        Err(source) => Err(OpenLedgerError::Start { index, source }),
    }
}
