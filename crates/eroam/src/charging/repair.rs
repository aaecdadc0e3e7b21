//! Taking a station into service again: somebody has looked at its fault, and says what was done.
//!
//! It is remembered with the fault, since whoever has to explain a reading later wants to know what was done to the post. What
//! it deliberately does not do: end a charge. One that is not accounted for yet is what a restart takes up again.

use super::state::StateError;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// The longest reason, in bytes.
pub const REASON_BYTES_MAX: usize = 512;

/// A fault that somebody has looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Repair {
    /// When it was said so.
    pub at: UnixMillis,
    /// What was wrong.
    pub fault: String,
    /// What was done.
    pub reason: String,
}

/// Why a station is not taken into service again.
#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    /// Nobody would know later what was done.
    #[error("say what was done to the station, in 1 to {REASON_BYTES_MAX} bytes")]
    Reason,
    /// There is no fault.
    #[error("nothing is wrong with the station: there is nothing to repair")]
    NoFault,
    /// Power is on.
    #[error("somebody is charging: wait for the end of the charge")]
    Charging,
    /// The station has begun again and goes on with what it held.
    #[error("the station takes up the charge of before it was switched off: try again when that has ended")]
    Resuming,
    /// Who has to pay for what would be forgotten.
    #[error("a charge is not accounted for: restart the station, which takes it up again, and try then")]
    Unaccounted,
    /// It is not kept.
    #[error("what the station keeps")]
    State(#[from] StateError),
    /// The charging point refuses.
    #[error("the charging point cannot be used: {0}")]
    Post(String),
}

/// Whether a reason says anything.
pub(super) fn check_reason(reason: &str) -> Result<(), RepairError> {
    if reason.trim().is_empty() || reason.len() > REASON_BYTES_MAX {
        Err(RepairError::Reason)
    } else {
        Ok(())
    }
}
