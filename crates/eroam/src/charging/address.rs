//! Where an agent listens: others have its address in what they keep, so it stays the same over a restart also where any
//! free port was taken at first.

use super::ChargingError;
use super::state::{AgentState, Changes};
use crate::agent::Agent;
use crate::agent::reach::Reach;
use std::net::SocketAddr;

/// Records of addresses, by what listens there.
const ADDRESS: &str = "address";
/// Records of the URL under which others reach the agent.
const REACHED: &str = "reached";
/// The agent, among what listens.
const AGENT: &str = "agent";

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

/// Starts the agent of a state, which is called `label`: where it was before, if that was left open. Under which URL others
/// reach it is in everything that they keep of it, so it is the same for as long as the state is.
///
/// # Errors
/// [`ChargingError::Moved`] and others.
pub(super) fn start_agent(state: &AgentState, label: &str, reach: Reach) -> Result<Agent, ChargingError> {
    let listen = known(state, AGENT, reach.listen())?;
    let agent = Agent::start_reached(label, &reach.listening_on(listen))?;
    let now = agent.endpoint().as_str().to_owned();
    if let Some(before) = state.get::<String>(REACHED, AGENT)?.filter(|before| *before != now) {
        return Err(ChargingError::Moved { before, now });
    }
    state.write(Changes::new().put(ADDRESS, AGENT, &agent.address()).put(REACHED, AGENT, &now))?;
    Ok(agent)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_agent_that_others_know_is_not_moved_away_from_them() {
        let state = AgentState::in_memory();
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let reach = |url| Reach::new(any, url).unwrap();
        let started =
            |url| start_agent(&state, "station", reach(url)).map(|agent| agent.endpoint().to_string());
        let public = Some("https://stations.example/1");
        assert_eq!(started(public).unwrap(), "https://stations.example/1");
        assert_eq!(started(public).unwrap(), "https://stations.example/1");
        let before = state.get::<SocketAddr>(ADDRESS, AGENT).unwrap();
        for other in [None, Some("https://stations.example/2")] {
            let refused = started(other).unwrap_err().to_string();
            assert!(refused.contains("know it at https://stations.example/1"), "{refused}");
        }
        // Where it listens is nobody else's business.
        assert_eq!(before, state.get::<SocketAddr>(ADDRESS, AGENT).unwrap());
        assert_eq!(started(public).unwrap(), "https://stations.example/1");
    }
}
