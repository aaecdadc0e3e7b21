//! What partners say that their charging points give, fetched from their listings: the anomaly rules compare records with it.
//!
//! ```text
//! partners' file -> each operator's /stations/locations -> the power of its EVSEs -> Gateway::put_partner_rating
//! ```
//! An operator speaks for its own stations alone, and a rating never allows more than the agreement does. A partner that does
//! not answer keeps what it said before; until it has said something, the agreement's limit counts.

use super::ProgramError;
use crate::causes::chain;
use crate::charging::locations::{Location, look_up};
use crate::charging::offices::Office;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::Watts;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, Sender, TryRecvError, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// So often the listings are read: stations do not change faster.
const EVERY: Duration = Duration::from_secs(3_600);
/// So long a partner may take for its listing.
const LISTS_WITHIN: Duration = Duration::from_secs(5);

/// Reads the listings, again and again until it is dropped.
pub(super) struct PartnerRatings {
    end: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl PartnerRatings {
    /// Begins. `partners` is a TOML file with a URL for each party.
    pub(super) fn start(office: Office, partners: PathBuf) -> Result<Self, ProgramError> {
        let (end, ended) = channel::<()>();
        let read = move || {
            loop {
                match partners_of(&partners) {
                    Ok(partners) => {
                        for (party, url) in &partners {
                            if ended.try_recv() == Err(TryRecvError::Disconnected) {
                                return;
                            }
                            take(&office, *party, url);
                        }
                    }
                    Err(reason) => {
                        tracing::warn!(party = %office.party(), reason, "program.ratings.partners")
                    }
                }
                if ended.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("ratings".to_owned()).spawn(read);
        let thread = thread.map_err(ProgramError::io("no thread can be started"))?;
        Ok(Self { end: Some(end), thread: Some(thread) })
    }
}

impl Drop for PartnerRatings {
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

/// Takes what a partner lists.
fn take(office: &Office, party: PartyId, url: &str) {
    if party == office.party() {
        return;
    }
    match look_up(url, LISTS_WITHIN) {
        Ok(locations) => {
            let ratings = ratings(party, &locations);
            office.with(|gateway, _| {
                ratings.into_iter().for_each(|(evse, power)| gateway.put_partner_rating(evse, power));
            });
        }
        // Home utilities list nothing, so that this is no fault.
        Err(error) => tracing::debug!(%party, error = chain(&error), "program.ratings.listing"),
    }
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
}
