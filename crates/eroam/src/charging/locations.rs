//! An operator's public listing of its stations, which a wallet can browse instead of scanning.
//!
//! It has the shape of OCPI's Location as far as an operator here knows what belongs there: members of OCPI have OCPI's
//! names and forms; the invitation, the grid zone and whether the meter is certified are ours, and a connector has its
//! tariffs beside their ids, so that nobody needs a partnership to see a price. Street and coordinates are left out, since
//! nobody has entered them. Whether a listed station is genuine, it proves itself when a wallet connects; whether a listed
//! price is the one that counts, [`Connector::prove_tariffs`] finds out.
//!
//! Source: OCPI 2.2.1 mod_locations, Location, EVSE and Connector; mod_tariffs, Tariff.

use super::ChargingError;
use super::catalogue::Catalogue;
use super::listed_tariff::ListedTariff;
use super::operator::RegisteredStation;
use crate::http_client::answered_within;
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::Watts;
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{TimeZoneName, UnixMillis};
use eroam_ledger::state::StateError;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A place with a charging station.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Location {
    /// ISO 3166-1 alpha-2.
    pub country_code: String,
    /// The operator's id in that country.
    pub party_id: String,
    /// The location's id.
    pub id: String,
    /// The place in words.
    pub name: String,
    /// Whose local time its clocks show; OCPI has it in each location. `None` where the station's credential says nothing
    /// of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZoneName>,
    /// The charging points.
    pub evses: Vec<Evse>,
}

/// A charging point.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evse {
    /// The operator's technical id.
    pub uid: String,
    /// As drivers know it.
    pub evse_id: EvseId,
    /// The connectors.
    pub connectors: Vec<Connector>,
    /// The grid zone.
    pub zone: GridZone,
    /// Whether the meter is certified for billing.
    pub meter_certified: bool,
    /// What is on its post: with this URL a wallet connects.
    pub invitation: String,
}

/// A connector.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Connector {
    /// Its id within the charging point.
    pub id: String,
    /// The most it gives.
    pub max_electric_power: Watts,
    /// The tariffs, as the ledger has them under the operator.
    pub tariff_ids: Vec<TariffId>,
    /// What these say, as far as the operator lists it.
    #[serde(default)]
    pub tariffs: Vec<ListedTariff>,
    /// Whether `tariffs` is what the ledger says, with proof. Nobody else can say so: it is not read.
    #[serde(default, skip_deserializing)]
    pub tariffs_proved: bool,
}

impl Connector {
    /// Puts the tariffs that the ledger has in the place of those that the operator lists; says whether these were the same.
    ///
    /// # Errors
    /// [`StateError`] around what the catalogue says; then what is listed stays, unproved.
    pub fn prove_tariffs(
        &mut self,
        operator: PartyId,
        ledger: &Catalogue,
        at: UnixMillis,
    ) -> Result<bool, StateError> {
        let mut proved = Vec::new();
        for id in &self.tariff_ids {
            proved.extend(ListedTariff::in_force(ledger, operator, id, at)?);
        }
        let listed: Vec<_> = self.tariffs.iter().map(|listed| &listed.tariff).collect();
        let is_same = listed == proved.iter().map(|proved| &proved.tariff).collect::<Vec<_>>();
        (self.tariffs, self.tariffs_proved) = (proved, true);
        Ok(is_same)
    }
}

impl Location {
    /// A registered station as a place of its own: nobody says which stations share one.
    pub(super) fn of(
        station: &RegisteredStation,
        tariff: Option<TariffId>,
        listed: Option<ListedTariff>,
    ) -> Self {
        let claims = &station.claims;
        let id = claims.evse.normalised().to_string();
        let connector = Connector {
            id: "1".to_owned(),
            max_electric_power: claims.power,
            tariff_ids: tariff.into_iter().collect(),
            tariffs: listed.into_iter().collect(),
            tariffs_proved: false,
        };
        let evse = Evse {
            uid: id.clone(),
            evse_id: claims.evse.clone(),
            connectors: vec![connector],
            zone: claims.zone.clone(),
            meter_certified: claims.meter_certified,
            invitation: station.invitation.clone(),
        };
        Self {
            country_code: claims.operator.country().to_string(),
            party_id: claims.operator.id().to_string(),
            id,
            name: claims.place.clone(),
            time_zone: claims.time_zone.clone(),
            evses: vec![evse],
        }
    }

    /// Whose it is; `None` when what is listed is no operator's id.
    #[must_use]
    pub fn operator(&self) -> Option<PartyId> {
        PartyId::new(&self.country_code, &self.party_id).ok()
    }
}

/// The longest listing that is read, in bytes.
const LISTING_BYTES_MAX: u64 = 32 << 20;

/// The stations that the operator at `url` lists, who may take so long to say it.
///
/// # Errors
/// [`ChargingError::OperatorAway`], [`ChargingError::Unexpected`] for something else than a listing.
pub fn look_up(url: &str, within: Duration) -> Result<Vec<Location>, ChargingError> {
    let away = |source: ureq::Error| ChargingError::OperatorAway { url: url.to_owned(), source };
    let asked = ureq::Agent::new_with_config(answered_within(within).build());
    let asked = asked.get(format!("{}/stations/locations", url.trim_end_matches('/'))).call();
    let mut answer = asked.map_err(away)?;
    let text = answer.body_mut().with_config().limit(LISTING_BYTES_MAX).read_to_vec().map_err(away)?;
    serde_json::from_slice(&text)
        .map_err(|error| ChargingError::unexpected("the operator's listing of stations", error))
}
