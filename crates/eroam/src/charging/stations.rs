//! An operator's stations that registered. Each change is durable before anybody hears of it.

use super::ChargingError;
use super::state::{AgentState, Changes};
use crate::agent::kept::KeptConnection;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::Denial;
use eroam_domain::ids::EvseId;
use eroam_domain::visit::StationClaims;
use eroam_ssi::sd_jwt::VerifyingKey;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records of stations, by their EVSE ids.
const STATION: &str = "registered station";
/// Records of their connections, by their EVSE ids: a station has one.
const CONNECTION: &str = "station's connection";

/// A station as its operator lists it.
#[derive(Clone, Debug)]
pub struct RegisteredStation {
    /// What its credential says.
    pub claims: StationClaims,
    /// The key of its credential.
    pub key: VerifyingKey,
    /// Its place in the status list.
    pub index: u32,
    /// What is on its post, as a URL.
    pub invitation: String,
    /// Why it was revoked.
    pub revoked: Option<String>,
    /// The last page of its meter that was accounted for.
    pub last_page: Option<u64>,
    /// The first page of that session.
    pub first_page: Option<u64>,
    /// In which session.
    pub last_session: Option<SessionId>,
    /// How often what it sent did not hold when it was checked again.
    pub failed_checks: u64,
}

/// As it is kept, and as staff sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ListedStation {
    /// What its credential says.
    pub claims: StationClaims,
    /// The key of its credential, a JWK.
    pub key: Value,
    /// Its place in the status list.
    pub index: u32,
    /// What is on its post, as a URL.
    pub invitation: String,
    /// Why it was revoked.
    pub revoked: Option<String>,
    /// The last page of its meter that was accounted for.
    pub last_page: Option<u64>,
    /// The first page of that session.
    pub first_page: Option<u64>,
    /// In which session.
    pub last_session: Option<SessionId>,
    /// How often what it sent did not hold when it was checked again.
    pub failed_checks: u64,
}

impl RegisteredStation {
    /// As staff sees it.
    #[must_use]
    pub fn listed(&self) -> ListedStation {
        let Self {
            claims,
            key,
            index,
            invitation,
            revoked,
            last_page,
            first_page,
            last_session,
            failed_checks,
        } = self.clone();
        let key = key.to_jwk();
        ListedStation {
            claims,
            key,
            index,
            invitation,
            revoked,
            last_page,
            first_page,
            last_session,
            failed_checks,
        }
    }

    fn of(kept: ListedStation) -> Result<Self, ChargingError> {
        let ListedStation {
            claims,
            key,
            index,
            invitation,
            revoked,
            last_page,
            first_page,
            last_session,
            failed_checks,
        } = kept;
        let key = VerifyingKey::from_jwk(&key)?;
        Ok(Self {
            claims,
            key,
            index,
            invitation,
            revoked,
            last_page,
            first_page,
            last_session,
            failed_checks,
        })
    }
}

/// All of them.
pub(super) struct Stations {
    state: AgentState,
    known: Mutex<BTreeMap<EvseId, RegisteredStation>>,
}

impl Stations {
    /// Those that the state knows, and their connections.
    pub(super) fn open(state: AgentState) -> Result<(Self, Vec<(EvseId, KeptConnection)>), ChargingError> {
        let mut known = BTreeMap::new();
        for (_, kept) in state.each::<ListedStation>(STATION)? {
            let station = RegisteredStation::of(kept)?;
            known.insert(station.claims.evse.clone(), station);
        }
        let connections = state.each::<(EvseId, KeptConnection)>(CONNECTION)?;
        let connections = connections.into_iter().map(|(_, connection)| connection).collect();
        Ok((Self { state, known: Mutex::new(known) }, connections))
    }

    fn known(&self) -> MutexGuard<'_, BTreeMap<EvseId, RegisteredStation>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<RegisteredStation> {
        self.known().values().cloned().collect()
    }

    pub(super) fn get(&self, evse: &EvseId) -> Option<RegisteredStation> {
        self.known().get(evse).cloned()
    }

    /// Registers a station over a connection: `make` gets what is known of it, and the next free place in the status list.
    /// Durable when this returns.
    pub(super) fn register<E>(
        &self,
        evse: &EvseId,
        connection: KeptConnection,
        make: impl FnOnce(Option<&RegisteredStation>, u32) -> Result<RegisteredStation, E>,
    ) -> Result<Result<RegisteredStation, E>, ChargingError> {
        let mut known = self.known();
        let next = known.values().map(|station| station.index.saturating_add(1)).max().unwrap_or(0);
        let station = match make(known.get(evse), next) {
            Ok(station) => station,
            Err(refused) => return Ok(Err(refused)),
        };
        let key = evse.normalised();
        let changes = Changes::new().put(STATION, key, &station.listed());
        self.state.write(changes.put(CONNECTION, key, &(evse.clone(), connection)))?;
        known.insert(evse.clone(), station.clone());
        Ok(Ok(station))
    }

    /// Changes one, durable when this returns.
    pub(super) fn change(
        &self,
        evse: &EvseId,
        change: impl FnOnce(&mut RegisteredStation),
    ) -> Result<RegisteredStation, ChargingError> {
        let mut known = self.known();
        let mut station = known.get(evse).ok_or(Denial::UnknownStation)?.clone();
        change(&mut station);
        self.state.write(Changes::new().put(STATION, evse.normalised(), &station.listed()))?;
        known.insert(evse.clone(), station.clone());
        Ok(station)
    }
}
