//! What a charge costs so far, for the station that has to stop it in time: by the terms, the tariff and the forecast of
//! the quote, as the ledger has them.

use super::ChargingError;
use super::catalogue::Catalogue;
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::GridZone;
use eroam_domain::charge::Quote;
use eroam_domain::forecast::AHEAD_HOURS_MAX;
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::pricing::{self, ForecastInput, PricingInputs};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_gateway::forecasts::of_session;
use eroam_gateway::quote::own_terms;
use eroam_ledger::state::StateKey;
use eroam_station::metering::{PriceSoFar, SoFar};
use serde::{Deserialize, Serialize};

/// The terms, the tariff and the forecast of a quote. They are kept with a charge, which goes on after a power cut whether the ledger can
/// be looked into or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// `None` at an own station for an own customer.
    terms: Option<RoamingAgreement>,
    tariff: Tariff,
    clock: LocalClock,
    /// `None` for a price by the static rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    forecast: Option<ForecastInput>,
}

impl Prices {
    /// Looks up what a quote for a station in `zone`, with that clock, refers to.
    ///
    /// # Errors
    /// [`ChargingError::Catalogue`]; [`ChargingError::Unexpected`] for a forecast that the ledger does not have.
    pub fn of(
        catalogue: &Catalogue,
        quote: &Quote,
        zone: &GridZone,
        clock: LocalClock,
    ) -> Result<Self, ChargingError> {
        let terms = match quote.agreement {
            None => None,
            Some(agreement) => {
                let key = StateKey::AgreementTerms(agreement.id, agreement.version);
                Some(catalogue.lasting(&key, "the agreement")?)
            }
        };
        let key = StateKey::Tariff(quote.operator, quote.tariff.id.clone(), quote.tariff.version);
        let tariff = catalogue.lasting(&key, "the tariff")?;
        let forecast = match (&terms, quote.forecast) {
            (Some(terms), Some(_)) => Some(forecast(catalogue, terms, quote, zone)?),
            (None, _) | (_, None) => None,
        };
        Ok(Self { terms, tariff, clock, forecast })
    }

    /// What is due for a charge that begins at `start` and in which nothing is delivered, in millionths of the quote's
    /// currency: an operator switches on for nobody who allows less. `None` if there is no price.
    #[must_use]
    pub fn opening(&self, start: UnixMillis) -> Option<i64> {
        let nothing = EvenSession { start, charging_end: start, end: start, energy: WattHours::ZERO };
        let periods = periods(&nothing, &self.tariff, &self.clock).ok()?;
        self.price(&SoFar { start, at: start, periods })
    }
}

/// The forecast that a quote names, for as long as it can reach: how long the charge will last is not known yet.
fn forecast(
    catalogue: &Catalogue,
    terms: &RoamingAgreement,
    quote: &Quote,
    zone: &GridZone,
) -> Result<ForecastInput, ChargingError> {
    let unexpected =
        |why: String| ChargingError::Unexpected { what: "the forecast that the price follows", why };
    let reach = DurationMs::from_millis(AHEAD_HOURS_MAX.unsigned_abs() * 3_600_000);
    let end = quote.made_at.checked_add(reach).unwrap_or(quote.until);
    let found = of_session(catalogue, terms, zone, quote, (quote.made_at, end), quote.made_at);
    let found = found.map_err(|error| unexpected(crate::causes::chain(&error)))?;
    let forecast = found.map_err(|fault| unexpected(fault.to_string()))?;
    forecast.ok_or_else(|| unexpected("the ledger has none for these hours".to_owned()))
}

impl PriceSoFar for Prices {
    fn price(&self, so_far: &SoFar) -> Option<i64> {
        let (own_rule, own_rounding) = own_terms();
        let (rule, rounding) = match &self.terms {
            Some(terms) => (&terms.price_rule, terms.rounding),
            None => (&own_rule, own_rounding),
        };
        let inputs = PricingInputs {
            tariff: &self.tariff,
            rule,
            rounding,
            clock: self.clock,
            periods: &so_far.periods,
            end: so_far.at,
            forecast: self.forecast.as_ref(),
        };
        let total = pricing::price(&inputs).ok()?.total;
        Some(self.terms.as_ref().map_or(total.incl_vat, |terms| terms.due(total)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Rule, Workload};

    #[test]
    fn a_price_by_forecast_is_that_of_the_record() {
        let workload = Workload::new(Rule::Dynamic).unwrap();
        let mut differ = 0;
        for number in 0..200 {
            let (cdr, forecast) = workload.priced_record(number).unwrap();
            let (_, terms) = workload.partner(number).unwrap();
            let tariff = workload.tariff(number).unwrap().clone();
            let by = |forecast| {
                let (terms, tariff) = (Some(terms.clone()), tariff.clone());
                let prices = Prices { terms, tariff, clock: cdr.clock, forecast };
                prices.price(&SoFar { start: cdr.start, periods: cdr.periods.clone(), at: cdr.end })
            };
            assert!(forecast.is_some());
            assert_eq!(by(forecast), Some(terms.due(cdr.price)), "record {number}");
            differ += u32::from(by(None) != Some(terms.due(cdr.price)));
        }
        assert!(differ > 100, "the forecast changes the price of {differ} of 200 records");
    }
}
