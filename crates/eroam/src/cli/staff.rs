//! What staff does with an organisation's records, whether its program runs or not.

use eroam::program::control::{self, ControlError};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Does what a command says: in the program that runs with the directory, or, if none does, in one that is started for it.
pub(super) fn command<C: Serialize + Clone>(
    directory: &Path,
    command: &C,
    in_a_program_of_its_own: impl FnOnce(C) -> anyhow::Result<Value>,
) -> anyhow::Result<Value> {
    match control::ask::<Value>(directory, command) {
        Err(ControlError::NotRunning(_)) => in_a_program_of_its_own(command.clone()),
        answer => Ok(answer?),
    }
}
