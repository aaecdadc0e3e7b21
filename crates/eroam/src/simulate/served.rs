//! The simulated network for drivers of other processes: everybody but the drivers, until it is dropped.
//!
//! Time is that of the wall here, since drivers have clocks of their own: stations are fast chargers, and their vehicles
//! charge in real time.

use super::world::World;
use super::{Setup, SimulateError};
use crate::charging::offices::Office;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::visit::StationClaims;
use serde::Serialize;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// So often organisations look whether something that they wait for has come.
const RESUMES_EVERY: Duration = Duration::from_secs(2);

/// An organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServedParty {
    /// Who.
    pub party: PartyId,
    /// Where: below it are a provider's `/enrol/form` and an operator's `/stations/locations`.
    pub url: String,
}

/// A station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ServedStation {
    /// What its credential says.
    pub claims: StationClaims,
    /// What is on its post.
    pub invitation: String,
}

/// Where everybody is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Listing {
    /// The network.
    pub network: Digest,
    /// A registry of what the ledger has, with proofs.
    pub resolver: String,
    /// Home utilities.
    pub providers: Vec<ServedParty>,
    /// Operators.
    pub operators: Vec<ServedParty>,
    /// Stations.
    pub stations: Vec<ServedStation>,
}

/// A network that serves drivers until it is dropped.
pub struct Served {
    /// Ends the thread when it is dropped.
    end: Option<Sender<()>>,
    settling: Option<JoinHandle<()>>,
    world: World,
}

impl Served {
    /// Sets everybody up. `say` hears how far it is.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn start(setup: &Setup, say: &mut dyn FnMut(&str)) -> Result<Self, SimulateError> {
        let world = World::build(&Setup { served: true, ..setup.clone() }, say)?;
        let offices = world.offices();
        let (end, ended) = channel::<()>();
        let settle = move || {
            while ended.recv_timeout(RESUMES_EVERY) == Err(RecvTimeoutError::Timeout) {
                offices.iter().for_each(resume);
            }
        };
        let settling = std::thread::Builder::new().name("settles".to_owned()).spawn(settle)?;
        Ok(Self { end: Some(end), settling: Some(settling), world })
    }

    /// Where everybody is.
    #[must_use]
    pub fn listing(&self) -> Listing {
        self.world.listing()
    }

    /// The genesis of the network, as JSON: what drivers check proofs against.
    #[must_use]
    pub fn genesis(&self) -> String {
        self.world.genesis()
    }
}

fn resume(office: &Office) {
    if let Err(error) = office.resume() {
        tracing::warn!(party = %office.party(), %error, "simulate.resume");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.settling.take() {
            let _ = thread.join();
        }
    }
}
