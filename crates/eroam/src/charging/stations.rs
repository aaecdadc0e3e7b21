//! An operator's stations: those that are invited and those that registered. Each change is durable before anybody hears of
//! it.
//!
//! ```text
//! entered by staff ── invite ──► invited ── register, by that invitation ──► registered ── revoke ──► revoked
//!                                 | invite again: the invitation before is void
//! ```
//! Who registers first gives a station its key, so an invitation is for one station and one key, and a secret until then.

use super::ChargingError;
use super::issuer::CredentialPlace;
use super::state::{AgentState, Changes};
use crate::agent::kept::KeptConnection;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::Denial;
use eroam_domain::codec::Digest;
use eroam_domain::ids::EvseId;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::StationClaims;
use eroam_ssi::didcomm::MessageId;
use eroam_ssi::sd_jwt::VerifyingKey;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Records of stations, by their EVSE ids.
const STATION: &str = "registered station";
/// Records of their connections, by their EVSE ids: a station has one.
const CONNECTION: &str = "station's connection";

/// Records of invitations that stations have not registered with yet, by their EVSE ids.
const INVITED: &str = "station's invitation";

/// The invitation that a station may register with. Only who was given it knows what it is the digest of.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Invited {
    evse: EvseId,
    /// Of its id.
    invitation: Digest,
    until: UnixMillis,
}

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
    /// Where the credentials of paper B's kind that it was given can be revoked: the registries are on the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paper_places: Vec<CredentialPlace>,
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
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    registered: BTreeMap<EvseId, RegisteredStation>,
    invited: BTreeMap<EvseId, Invited>,
}

impl Known {
    /// Whether an invitation is the one that is out for a station, at a time when it is good.
    fn is_invited(&self, evse: &EvseId, invitation: &MessageId, at: UnixMillis) -> bool {
        let invited = self.invited.get(evse);
        invited.is_some_and(|invited| invited.invitation == digest(invitation) && at <= invited.until)
    }
}

/// What is known of a station that registers.
pub(super) struct Before<'a> {
    /// As it registered before.
    pub(super) station: Option<&'a RegisteredStation>,
    /// The next free place in the status list.
    pub(super) next: u32,
    /// Whether it comes by the invitation that is out for it.
    pub(super) is_invited: bool,
}

fn digest(invitation: &MessageId) -> Digest {
    Digest::of_parts("eroam/station-invitation/1", &[invitation.as_str().as_bytes()])
}

impl Stations {
    /// Those that the state knows, and their connections.
    pub(super) fn open(state: AgentState) -> Result<(Self, Vec<(EvseId, KeptConnection)>), ChargingError> {
        let mut known = Known::default();
        for (_, station) in state.each::<RegisteredStation>(STATION)? {
            known.registered.insert(station.claims.evse.clone(), station);
        }
        for (_, invited) in state.each::<Invited>(INVITED)? {
            known.invited.insert(invited.evse.clone(), invited);
        }
        let connections = state.each::<(EvseId, KeptConnection)>(CONNECTION)?;
        let connections = connections.into_iter().map(|(_, connection)| connection).collect();
        Ok((Self { state, known: Mutex::new(known) }, connections))
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn all(&self) -> Vec<RegisteredStation> {
        self.known().registered.values().cloned().collect()
    }

    pub(super) fn get(&self, evse: &EvseId) -> Option<RegisteredStation> {
        self.known().registered.get(evse).cloned()
    }

    /// Lets a station register with an invitation until a time; one that was out for it before is void. `false` for a station
    /// that has registered: it has its key, and nobody else is given its place.
    pub(super) fn invite(
        &self,
        evse: &EvseId,
        invitation: &MessageId,
        until: UnixMillis,
    ) -> Result<bool, ChargingError> {
        let mut known = self.known();
        if known.registered.contains_key(evse) {
            return Ok(false);
        }
        let invited = Invited { evse: evse.clone(), invitation: digest(invitation), until };
        self.state.write(Changes::new().put(INVITED, evse.normalised(), &invited))?;
        known.invited.insert(evse.clone(), invited);
        Ok(true)
    }

    /// Registers a station over a connection that was made by an `invitation` at `at`, with what `make` makes of what is known
    /// of it. The invitation is used up. Durable when this returns.
    pub(super) fn register<E>(
        &self,
        evse: &EvseId,
        connection: KeptConnection,
        (invitation, at): (Option<&MessageId>, UnixMillis),
        make: impl FnOnce(Before<'_>) -> Result<RegisteredStation, E>,
    ) -> Result<Result<RegisteredStation, E>, ChargingError> {
        let mut known = self.known();
        let indices = known.registered.values().map(|station| station.index.saturating_add(1));
        let next = indices.max().unwrap_or(0);
        let is_invited = invitation.is_some_and(|invitation| known.is_invited(evse, invitation, at));
        let station = match make(Before { station: known.registered.get(evse), next, is_invited }) {
            Ok(station) => station,
            Err(refused) => return Ok(Err(refused)),
        };
        let key = evse.normalised();
        let changes = Changes::new().put(STATION, key, &station).remove(INVITED, key);
        self.state.write(changes.put(CONNECTION, key, &(evse.clone(), connection)))?;
        known.invited.remove(evse);
        known.registered.insert(evse.clone(), station.clone());
        Ok(Ok(station))
    }

    /// Changes one, durable when this returns.
    pub(super) fn change(
        &self,
        evse: &EvseId,
        change: impl FnOnce(&mut RegisteredStation),
    ) -> Result<RegisteredStation, ChargingError> {
        let mut known = self.known();
        let mut station = known.registered.get(evse).ok_or(Denial::UnknownStation)?.clone();
        change(&mut station);
        self.state.write(Changes::new().put(STATION, evse.normalised(), &station))?;
        known.registered.insert(evse.clone(), station.clone());
        Ok(station)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::new_id;

    #[test]
    fn an_invitation_outlives_a_restart_and_only_the_newest_is_good() {
        let state = AgentState::in_memory();
        let [evse, other]: [EvseId; 2] = ["PT*O01*E1", "PT*O01*E2"].map(|evse| evse.parse().unwrap());
        let at = |ms| UnixMillis::new(ms).unwrap();
        let [void, good] = [new_id(), new_id()];
        let (stations, _) = Stations::open(state.clone()).unwrap();
        assert!(stations.invite(&evse, &void, at(1_000)).unwrap());
        assert!(stations.invite(&evse, &good, at(2_000)).unwrap());
        drop(stations);
        let (stations, _) = Stations::open(state.clone()).unwrap();
        let known = stations.known();
        for (what, evse, invitation, ms, expected) in [
            ("until its last millisecond", &evse, &good, 2_000, true),
            ("after it", &evse, &good, 2_001, false),
            ("the one before", &evse, &void, 500, false),
            ("for another station", &other, &good, 500, false),
            ("nobody's", &evse, &new_id(), 500, false),
        ] {
            assert_eq!(known.is_invited(evse, invitation, at(ms)), expected, "{what}");
        }
        // Whoever reads the operator's records learns no invitation.
        let kept = state.each::<Invited>(INVITED).unwrap();
        let text =
            serde_json::to_string(&kept.iter().map(|(_, invited)| invited).collect::<Vec<_>>()).unwrap();
        assert!(!text.contains(good.as_str()), "{text}");
    }
}
