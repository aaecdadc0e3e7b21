//! What the driver pays, as far as the wallet's provider has told its rules. They are asked for with vouchers, ahead of a
//! charge; at a charge only when that was more than a day ago.

use super::super::ChargingError;
use super::super::driver_price::{self, KnownPrices, PricedContract, PricedPlace, RULES_KNOWN_FOR};
use super::super::local_time::clock_at;
use super::super::locations::{Connector, Evse, Location};
use super::super::prices::Prices;
use super::super::provider::{tier_of, zones_of};
use super::{Contract, Wallet};
use crate::clock::{is_younger, now};
use eroam_domain::cdr::GridZone;
use eroam_domain::charge::AllowedZones;
use eroam_domain::ids::ContractId;
use eroam_domain::money::Money;
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::Tier;
use eroam_ssi::protocol::charging::attributes;
use eroam_ssi::protocol::questions::PricesAsked;
use eroam_wallet::cost::ChargeCost;
use eroam_wallet::visit::Offer;
use serde::Serialize;

/// What a charge at a listed connector would cost with one of the wallet's contracts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Estimate {
    /// So much.
    Cost(Box<ChargeCost>),
    /// There is no charge there with this contract, and why.
    None(String),
}

impl Contract {
    /// What its credential says under a name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.credential.values().find(|(known, _)| *known == name).map(|(_, value)| value)
    }

    /// The tier that its credential says.
    #[must_use]
    pub fn tier(&self) -> Option<Tier> {
        self.attribute(attributes::TIER).and_then(tier_of)
    }

    /// Where it is good, as its credential says.
    #[must_use]
    pub fn zones(&self) -> Option<AllowedZones> {
        self.attribute(attributes::ZONES).and_then(zones_of)
    }

    /// Sees that it is good in a grid zone, before anybody is asked for anything there.
    ///
    /// # Errors
    /// [`ChargingError::OtherZone`].
    pub(super) fn check_zone(&self, zone: &GridZone) -> Result<(), ChargingError> {
        match self.zones() {
            Some(zones) if zones.allow(zone) => Ok(()),
            _ => Err(ChargingError::OtherZone {
                contract: self.id,
                zones: self.attribute(attributes::ZONES).unwrap_or("no zone").to_owned(),
                zone: zone.clone(),
            }),
        }
    }

    fn priced(&self) -> PricedContract<'_> {
        PricedContract { emsp: self.kind.emsp, tier: self.tier(), known: self.prices.as_ref() }
    }
}

impl Wallet {
    /// Asks a contract's provider for its rules if they were not told for a day.
    ///
    /// # Errors
    /// [`ChargingError`]; what was told before stays, and a price by it says of when it is.
    pub fn learn_prices(&mut self, id: &ContractId) -> Result<(), ChargingError> {
        let known = self.contract(id)?.prices.as_ref();
        if known.is_some_and(|known| is_younger(known.told_at, RULES_KNOWN_FOR)) {
            return Ok(());
        }
        let terms = self.ask_provider(id, &PricesAsked {})?;
        self.contract(id)?.prices = Some(KnownPrices { told_at: now(), terms });
        self.save()
    }

    /// As [`Wallet::learn_prices`], where the driver wants something else and can go on without.
    pub(super) fn learn_prices_if_possible(&mut self, id: &ContractId) {
        if let Err(error) = self.learn_prices(id) {
            tracing::warn!(error = %crate::causes::chain(&error), "wallet.prices");
        }
    }

    /// Sees that what the driver allows pays for the beginning of a charge, before anything is shown or asked. Where the
    /// ledger does not say what that is, the operator refuses before power.
    ///
    /// # Errors
    /// [`ChargingError::LimitTooLow`].
    pub(super) fn check_limit(&self, offer: &Offer) -> Result<(), ChargingError> {
        let (quote, limit) = (offer.quote(), offer.limit());
        let prices = self.patience.wait(&self.resolver(), || {
            Prices::of(&self.catalogue, quote, &offer.station().zone, *offer.clock())
        });
        let least = prices.ok().and_then(|prices| prices.opening(quote.made_at));
        match least.filter(|least| *least > limit.micros) {
            Some(least) => {
                Err(ChargingError::LimitTooLow { least: Money::new(least, quote.currency), limit })
            }
            None => Ok(()),
        }
    }

    /// What an offer comes to with a contract.
    pub(super) fn cost_of(&self, id: &ContractId, offer: &Offer) -> Result<ChargeCost, ChargingError> {
        let contract = self.contracts.get(id).ok_or_else(|| ChargingError::unexpected("the contract", id))?;
        let station = offer.station();
        let place = PricedPlace { zone: &station.zone, power: station.power, clock: *offer.clock() };
        let (leaves_at, limit) = (offer.request().limits.leaves_at, Some(offer.limit()));
        let priced = contract.priced();
        Ok(self.patience.wait(&self.resolver(), || {
            driver_price::cost_of_quote(&self.catalogue, offer.quote(), place, leaves_at, priced, limit)
        }))
    }

    /// What charging `energy` from now on would cost at each connector of a listed place, with each contract: in the order of
    /// charging points, connectors and contracts. Prices are made by the ledger, whatever the place lists.
    #[must_use]
    pub fn estimates(&self, location: &Location, energy: WattHours) -> Vec<Vec<Vec<(ContractId, Estimate)>>> {
        let Some(operator) = location.operator() else { return Vec::new() };
        let (at, zone) = (now(), location.time_zone.as_ref());
        let clock = match zone.map(|zone| clock_at(zone, at)) {
            Some(known) => known.map_err(|error| error.to_string()),
            None => Err("its operator does not say by which local time its prices are".to_owned()),
        };
        let of_connector = |evse: &Evse, connector: &Connector| {
            let with = |contract: &Contract| {
                let tariff = connector.tariff_ids.first();
                let tariff = tariff.ok_or_else(|| "nobody can charge here now: it has no tariff".to_owned());
                let allowed = contract.check_zone(&evse.zone).map_err(|error| error.to_string());
                let cost = allowed.and(tariff).and_then(|tariff| {
                    let (offered, power) = ((operator, tariff), connector.max_electric_power);
                    let place = PricedPlace { zone: &evse.zone, power, clock: clock.clone()? };
                    driver_price::estimate(&self.catalogue, offered, place, energy, at, contract.priced())
                });
                (contract.id, cost.map_or_else(Estimate::None, |cost| Estimate::Cost(Box::new(cost))))
            };
            self.contracts.values().map(with).collect()
        };
        let of_evse =
            |evse: &Evse| evse.connectors.iter().map(|connector| of_connector(evse, connector)).collect();
        location.evses.iter().map(of_evse).collect()
    }
}
