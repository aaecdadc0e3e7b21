//! Validators of one process whose directory is gone while others have theirs. Such a one may have voted before and does
//! not know for what: it copies the state of the others and waits with its vote.
//!
//! ```text
//! begun                 all validators had their directories once: one that is missing now is lost
//! validator-N.copies    validator N was lost; it is known here before it gets a directory again
//! ```
//! Without the first, whoever was killed while it made the directories of a new network could not go on.

use super::{OpenLedgerError, validator_directory};
use crate::whole_file;
use eroam_chain::directory::Directory;
use eroam_chain::node::CatchUp;
use eroam_ledger::genesis::Genesis;
use std::path::Path;

/// What says that all had their directories.
const BEGUN: &str = "begun";

/// What says that a validator was lost.
fn copies(index: usize) -> String {
    format!("validator-{index}.copies")
}

/// How each validator comes to the state, the first time all by the blocks from the genesis on.
///
/// # Errors
/// [`OpenLedgerError`]; [`OpenLedgerError::TooManyLost`] if those that are left are no quorum.
pub(super) fn catch_up(
    ledger: &Path,
    genesis: &Genesis,
    validators: usize,
) -> Result<Vec<CatchUp>, OpenLedgerError> {
    if validators == 1 {
        return Ok(vec![CatchUp::Blocks]);
    }
    if !ledger.join(BEGUN).exists() {
        for index in 0..validators {
            drop(Directory::open(&validator_directory(ledger, index), genesis)?);
        }
        whole_file::write(ledger, BEGUN, b"").map_err(OpenLedgerError::Lost)?;
        return Ok(vec![CatchUp::Blocks; validators]);
    }
    let is_lost = |index: &usize| !validator_directory(ledger, *index).join("format").exists();
    let lost: Vec<usize> = (0..validators).filter(is_lost).collect();
    let faults = validators.saturating_sub(1) / 3;
    if lost.len() > faults {
        let (directory, lost) = (ledger.to_owned(), lost.len());
        return Err(OpenLedgerError::TooManyLost { directory, lost, validators, faults });
    }
    for index in lost {
        tracing::warn!(validator = index, "ledger.validator.lost");
        whole_file::write(ledger, &copies(index), b"").map_err(OpenLedgerError::Lost)?;
    }
    let of = |index| if ledger.join(copies(index)).exists() { CatchUp::State } else { CatchUp::Blocks };
    Ok((0..validators).map(of).collect())
}
