//! What a charge costs so far, for the station that has to stop it in time: by the terms and the tariff of the quote, as
//! the ledger has them.

use super::ChargingError;
use super::catalogue::Catalogue;
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::charge::Quote;
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::LocalClock;
use eroam_gateway::quote::own_terms;
use eroam_ledger::state::StateKey;
use eroam_station::metering::{PriceSoFar, SoFar};
use serde::{Deserialize, Serialize};

/// The terms and the tariff of a quote. They are kept with a charge, which goes on after a power cut whether the ledger can
/// be looked into or not.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prices {
    /// `None` at an own station for an own customer.
    terms: Option<RoamingAgreement>,
    tariff: Tariff,
    clock: LocalClock,
}

impl Prices {
    /// Looks up what a quote refers to.
    ///
    /// # Errors
    /// [`ChargingError::Catalogue`].
    pub fn of(catalogue: &Catalogue, quote: &Quote) -> Result<Self, ChargingError> {
        let terms = match quote.agreement {
            None => None,
            Some(agreement) => {
                let key = StateKey::AgreementTerms(agreement.id, agreement.version);
                Some(catalogue.lasting(&key, "the agreement")?)
            }
        };
        let key = StateKey::Tariff(quote.operator, quote.tariff.id.clone(), quote.tariff.version);
        let tariff = catalogue.lasting(&key, "the tariff")?;
        Ok(Self { terms, tariff, clock: LocalClock::UTC })
    }
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
            forecast: None,
        };
        let total = pricing::price(&inputs).ok()?.total;
        Some(self.terms.as_ref().map_or(total.incl_vat, |terms| terms.due(total)))
    }
}
