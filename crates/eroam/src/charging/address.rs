//! Where an agent listens: others have its address in what they keep, so it stays the same over a restart also where any
//! free port was taken at first.

use super::ChargingError;
use super::state::{AgentState, Changes};
use std::net::SocketAddr;

/// Records of addresses, by what listens there.
const ADDRESS: &str = "address";

/// Where `what` listens: `wanted`, or, if that leaves the port open, where it did before.
///
/// # Errors
/// [`ChargingError::State`].
pub fn known(state: &AgentState, what: &str, wanted: SocketAddr) -> Result<SocketAddr, ChargingError> {
    if wanted.port() != 0 {
        return Ok(wanted);
    }
    let before = state.get::<SocketAddr>(ADDRESS, what)?;
    Ok(before.filter(|before| before.ip() == wanted.ip()).unwrap_or(wanted))
}

/// Remembers where `what` listens.
///
/// # Errors
/// [`ChargingError::State`].
pub fn remember(state: &AgentState, what: &str, address: SocketAddr) -> Result<(), ChargingError> {
    Ok(state.write(Changes::new().put(ADDRESS, what, &address))?)
}
