//! Partners' listings of their stations, read every hour: what their charging points give, and whether they answer at all.
//!
//! ```text
//! partners' file -> each operator's /stations/locations -> the power of its EVSEs -> Gateway::put_partner_rating
//!                                                       -> answered or not        -> SeenPartner, kept sealed
//! ```
//! The anomaly rules compare records with the ratings. An operator speaks for its own stations alone, and a rating never
//! allows more than the agreement does. A partner that does not answer keeps what it said before; until it has said
//! something, the agreement's limit counts.
//!
//! What it does not do: say that a station gives power. Whether the operator's service is there is what a home utility can
//! see from its place; a party that has never answered may be none that has stations, and counts for nothing.

use super::ProgramError;
use crate::causes::chain;
use crate::charging::locations::{Location, look_up};
use crate::charging::offices::Office;
use crate::charging::state::{AgentState, Changes, StateError};
use crate::clock;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::Watts;
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// So often the listings are read: stations do not change faster.
const EVERY: Duration = Duration::from_secs(3_600);
/// So long a partner may take for its listing.
const LISTS_WITHIN: Duration = Duration::from_secs(5);
/// Records of what was seen of partners.
const SEEN: &str = "partner's listing";

/// What was seen of a partner's listing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SeenPartner {
    /// How often it was asked since it answered for the first time.
    pub asked: u64,
    /// How often it answered with a listing.
    pub answered: u64,
    /// When it last did.
    pub answered_at: Option<UnixMillis>,
    /// How many charging points of its own it listed then.
    pub charging_points: u64,
}

impl SeenPartner {
    /// How often it answered of how often it was asked, in basis points, rounded down; `None` before it ever did.
    #[must_use]
    pub fn uptime_bps(&self) -> Option<u32> {
        let bps = u128::from(self.answered).checked_mul(10_000)?.checked_div(u128::from(self.asked))?;
        u32::try_from(bps).ok()
    }

    /// With one more question, answered with so many charging points, or not.
    fn asked_again(&self, answered: Option<u64>, at: UnixMillis) -> Self {
        let Some(charging_points) = answered else {
            let asked = self.asked.saturating_add(u64::from(self.answered > 0));
            return Self { asked, ..self.clone() };
        };
        Self {
            asked: self.asked.saturating_add(1),
            answered: self.answered.saturating_add(1),
            answered_at: Some(at),
            charging_points,
        }
    }
}

/// What was seen of every partner.
///
/// # Errors
/// [`StateError`].
pub(super) fn seen(state: &AgentState) -> Result<BTreeMap<String, SeenPartner>, StateError> {
    Ok(state.each(SEEN)?.into_iter().collect())
}

/// Reads the listings, again and again until it is dropped.
pub(super) struct PartnerListings {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PartnerListings {
    /// Begins. `partners` is a TOML file with a URL for each party.
    pub(super) fn start(office: Office, state: AgentState, partners: PathBuf) -> Result<Self, ProgramError> {
        let (end, ended) = channel::<()>();
        let read = move || {
            loop {
                match partners_of(&partners) {
                    Ok(partners) => {
                        for (party, url) in partners.iter().filter(|(party, _)| **party != office.party()) {
                            if ended.try_recv() == Err(TryRecvError::Disconnected) {
                                return;
                            }
                            let listed = listed(*party, url);
                            if let Err(error) = take(&office, &state, *party, listed) {
                                tracing::error!(%party, error = chain(&error), "program.listings.seen");
                            }
                        }
                    }
                    Err(reason) => {
                        tracing::warn!(party = %office.party(), reason, "program.listings.partners");
                    }
                }
                if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("listings".to_owned()).spawn(read);
        let thread = thread.map_err(ProgramError::io("no thread can be started"))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for PartnerListings {
    /// A listing that is being read is waited for.
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn partners_of(file: &Path) -> Result<BTreeMap<PartyId, String>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", file.display());
    let text = std::fs::read_to_string(file).map_err(|error| wrong(&error))?;
    toml::from_str(&text).map_err(|error| wrong(&error))
}

/// The ratings that a partner lists; `None` if it lists nothing.
fn listed(party: PartyId, url: &str) -> Option<BTreeMap<EvseId, Watts>> {
    match look_up(url, LISTS_WITHIN) {
        Ok(locations) => Some(ratings(party, &locations)),
        // Home utilities list nothing, so that this is no fault.
        Err(error) => {
            tracing::debug!(%party, error = chain(&error), "program.listings.away");
            None
        }
    }
}

/// Keeps what a partner listed.
fn take(
    office: &Office,
    state: &AgentState,
    party: PartyId,
    listed: Option<BTreeMap<EvseId, Watts>>,
) -> Result<(), StateError> {
    let before = state.get::<SeenPartner>(SEEN, &party.to_string())?.unwrap_or_default();
    let count = listed.as_ref().map(|ratings| u64::try_from(ratings.len()).unwrap_or(u64::MAX));
    let seen = before.asked_again(count, clock::now());
    if seen != before {
        state.write(Changes::new().put(SEEN, &party.to_string(), &seen))?;
    }
    office.with(|gateway, _| {
        let ratings = listed.into_iter().flatten();
        ratings.for_each(|(evse, power)| gateway.put_partner_rating(evse, power));
    });
    Ok(())
}

/// The power of each of a partner's own charging points: that of its strongest connector.
fn ratings(party: PartyId, locations: &[Location]) -> BTreeMap<EvseId, Watts> {
    let own = locations.iter().filter(|location| location.operator() == Some(party));
    own.flat_map(|location| &location.evses)
        .filter_map(|evse| {
            let strongest = evse.connectors.iter().map(|connector| connector.max_electric_power).max()?;
            Some((evse.evse_id.clone(), strongest))
        })
        .filter(|(evse, power)| evse.operator() == Some(party) && !power.is_zero())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_partner_speaks_for_its_own_stations_and_the_strongest_connector_counts() {
        let location = |country: &str, party: &str, evse: &str, powers: &[u64]| {
            let connector = |power: &u64| json!({ "id": "1", "max_electric_power": power, "tariff_ids": [] });
            let connectors: Vec<_> = powers.iter().map(connector).collect();
            json!({
                "country_code": country, "party_id": party, "id": evse, "name": "somewhere",
                "evses": [{
                    "uid": evse, "evse_id": evse, "connectors": connectors, "zone": "PT-1",
                    "meter_certified": true, "invitation": "https://example.test/",
                }],
            })
        };
        let listed = json!([
            location("PT", "GLP", "PT*GLP*E1", &[11_000, 50_000, 22_000]),
            location("PT", "GLP", "PT*GLP*E2", &[0]),
            location("PT", "GLP", "PT*GLP*E3", &[]),
            location("PT", "GLP", "PT*EDP*E4", &[3_000]),
            location("PT", "EDP", "PT*GLP*E5", &[3_000]),
        ]);
        let listed: Vec<Location> = serde_json::from_value(listed).unwrap();
        let found = ratings("PT-GLP".parse().unwrap(), &listed);
        let want = [("PT*GLP*E1".parse().unwrap(), Watts::new(50_000))];
        assert_eq!(found, want.into());
    }

    #[test]
    fn uptime_counts_from_the_first_answer_on_and_is_unknown_before() {
        let at = |ms| UnixMillis::new(ms).unwrap();
        let mut seen = SeenPartner::default();
        let asked = |seen: &mut SeenPartner, answered: &[Option<u64>]| {
            for (answered, ms) in answered.iter().zip(1..) {
                *seen = seen.asked_again(*answered, at(ms));
            }
        };
        asked(&mut seen, &[None, None]);
        assert_eq!((seen.uptime_bps(), &seen), (None, &SeenPartner::default()));
        asked(&mut seen, &[Some(7), None, Some(8), None, None]);
        assert_eq!((seen.asked, seen.answered, seen.uptime_bps()), (5, 2, Some(4_000)));
        assert_eq!((seen.answered_at, seen.charging_points), (Some(at(3)), 8), "what it said last stays");
    }

    #[test]
    fn what_was_seen_is_kept_for_each_partner() {
        let state = AgentState::in_memory();
        let put =
            |party: &str, seen: &SeenPartner| state.write(Changes::new().put(SEEN, party, seen)).unwrap();
        let first = SeenPartner::default().asked_again(Some(3), UnixMillis::EPOCH);
        put("PT-GLP", &first);
        put("ES-IBE", &first.asked_again(None, UnixMillis::EPOCH));
        let found = seen(&state).unwrap();
        let uptimes: Vec<_> = found.iter().map(|(party, seen)| (party.as_str(), seen.uptime_bps())).collect();
        assert_eq!(uptimes, [("ES-IBE", Some(5_000)), ("PT-GLP", Some(10_000))]);
    }
}
