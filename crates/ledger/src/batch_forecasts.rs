//! The forecasts that the records of a batch follow: each attester's day is read once, and what was in force, and the rates
//! by it, are found once for all records of the same hours under the same agreement.
//!
//! Why: what a record costs everybody must not grow with how much somebody attests
//! ([`eroam_domain::forecast::ForecastBook`]). What it does not do: decide anything; that is
//! [`eroam_domain::forecast::of_record`]'s rule.
//!
//! Source: `docs/decisions/0022-forecasts-on-the-ledger.md`.

use crate::forecast::{days_of, forecasts_of_day, hours_of_day};
use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateError};
use eroam_domain::agreement::{AgreementId, DynamicRule, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, Cdr, GridZone};
use eroam_domain::forecast::{ForecastBook, ForecastFault, RecordForecasts, session_hours};
use eroam_domain::ids::PartyId;
use eroam_domain::pricing::{self, ForecastInput, ItemisedPrice, KnownRates, PriceError, PricingInputs};
use eroam_domain::tariff::Tariff;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What a batch knows of forecasts. A batch that attests nothing reads them once.
#[derive(Default)]
pub(crate) struct BatchForecasts {
    zones: BTreeMap<GridZone, ZoneBook>,
    agreed: BTreeMap<(AgreementId, u32), Agreed>,
}

/// What was found under one version of an agreement.
#[derive(Default)]
struct Agreed {
    found: RecordForecasts,
    rates: KnownRates,
}

/// What a record's price follows besides its tariff and its agreement.
pub(crate) struct Followed<'b> {
    /// The forecast; `None` where the static rule applies.
    pub(crate) forecast: Option<&'b ForecastInput>,
    /// The rates that records before it had under the same terms.
    pub(crate) rates: &'b mut KnownRates,
}

impl Followed<'_> {
    /// Prices the record again, with the function that priced it.
    pub(crate) fn price(
        self,
        terms: &RoamingAgreement,
        tariff: &Tariff,
        cdr: &Cdr,
    ) -> Result<ItemisedPrice, PriceError> {
        pricing::price_with(&PricingInputs::of_record(terms, tariff, cdr, self.forecast), self.rates)
    }
}

/// What was read about a zone.
#[derive(Default)]
struct ZoneBook {
    book: ForecastBook,
    /// Whose word about which UTC days is in the book.
    days: BTreeSet<(PartyId, i64)>,
}

impl ZoneBook {
    /// Reads what the rule's forecasters have attested about hours, unless that was done.
    fn read(
        &mut self,
        state: &Overlay<'_>,
        rule: &DynamicRule,
        hours: &RangeInclusive<i64>,
    ) -> Result<(), StateError> {
        for party in &rule.forecasters.parties {
            for day in days_of(hours) {
                if !self.days.contains(&(*party, day)) {
                    let attested = forecasts_of_day(state, *party, &rule.zone, day)?;
                    self.book.add(&attested, &hours_of_day(day));
                    self.days.insert((*party, day));
                }
            }
        }
        Ok(())
    }
}

impl BatchForecasts {
    /// The forecast that a record says its price follows, if it is one that it may follow. `terms` are those of the
    /// agreement's version that the record names.
    pub(crate) fn of_record(
        &mut self,
        state: &Overlay<'_>,
        terms: &RoamingAgreement,
        cdr: &Cdr,
    ) -> Result<Followed<'_>, Refusal> {
        let AgreementRef { id, version } = cdr.agreement;
        let Agreed { found, rates } = self.agreed.entry((id, version)).or_default();
        let Some(rule) = terms.forecast_rule(&cdr.zone) else {
            return match cdr.attestation {
                Some(_) => Err(RejectCode::UnexpectedAttestation.into()),
                None => Ok(Followed { forecast: None, rates }),
            };
        };
        let zone = self.zones.entry(cdr.zone.clone()).or_default();
        zone.read(state, rule, &session_hours(cdr.start, cdr.end, cdr.accepted_at))?;
        match found.of_record(&zone.book, terms, cdr) {
            Ok(forecast) => Ok(Followed { forecast, rates }),
            Err(ForecastFault::Unexpected) => Err(RejectCode::UnexpectedAttestation.into()),
            Err(ForecastFault::NotInForce) => Err(RejectCode::UnknownForecast.into()),
            Err(ForecastFault::Omitted) => Err(RejectCode::ForecastOmitted.into()),
        }
    }
}
