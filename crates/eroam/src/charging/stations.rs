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
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records of stations, by their EVSE ids.
const STATION: &str = "registered station";
/// Records of their connections, by their EVSE ids: a station has one.
const CONNECTION: &str = "station's connection";

/// A station as its operator keeps it, and as staff sees it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RegisteredStation {
    /// What its credential says.
    pub claims: StationClaims,
    /// The key of its credential; written as a JWK.
    #[serde(with = "jwk")]
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

/// The key of a credential, as a JWK.
mod jwk {
    use eroam_ssi::sd_jwt::VerifyingKey;
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer, de::Error as _};
    use serde_json::Value;

    pub(super) fn serialize<S: Serializer>(key: &VerifyingKey, serializer: S) -> Result<S::Ok, S::Error> {
        key.to_jwk().serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<VerifyingKey, D::Error> {
        VerifyingKey::from_jwk(&Value::deserialize(deserializer)?).map_err(D::Error::custom)
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
        for (_, station) in state.each::<RegisteredStation>(STATION)? {
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
        let changes = Changes::new().put(STATION, key, &station);
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
        self.state.write(Changes::new().put(STATION, evse.normalised(), &station))?;
        known.insert(evse.clone(), station.clone());
        Ok(station)
    }
}
