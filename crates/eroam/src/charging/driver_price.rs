//! What a driver pays at a station, by the rules of the driver's own provider: made by the wallet, which alone knows both
//! the rules and the offer.
//!
//! ```text
//! provider ── RetailTerms, ahead ──► wallet          ledger ── tariff, agreement, forecasts, proved ──► wallet
//!                                    quote ─► the operator's price made again ─► driver's price, its parts, later starts
//! ```
//! The operator's price is made again from what the ledger has, with the function that made it, and not believed: an
//! operator that asks for something else than was agreed is found out here, before anything is shown.
//!
//! Source: DESIGN.md, "Price and shares".

use super::catalogue::{Catalogue, CatalogueError};
use super::listed_tariff::tariff_in_force;
use crate::causes::chain;
use eroam_domain::agreement::{RoamingAgreement, VatTreatment};
use eroam_domain::cdr::{GridZone, SessionId, TariffRef};
use eroam_domain::charge::{AllowedZones, Denial, Quote, ServiceDescription};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Money;
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_domain::quote_detail::QuoteDetail;
use eroam_domain::retail::{self, RetailTerms, RetailVersion, Tier};
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_gateway::forecasts::attested_from;
use eroam_gateway::quote::detail::detail;
use eroam_gateway::quote::{self, QuoteInputs, Quoted, own_terms};
use eroam_ledger::query;
use eroam_ledger::state::StateKey;
use eroam_wallet::cost::{ChargeCost, DriverPrice};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// So long a wallet makes prices by the rules that its provider told it, where it can be asked again. Rules that begin sooner
/// than that after they are told would be billed to drivers who were shown others.
pub const RULES_KNOWN_FOR: Duration = Duration::from_secs(86_400);

/// A provider's rules, as it told them to its customer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KnownPrices {
    /// When.
    pub told_at: UnixMillis,
    /// The rules.
    pub terms: RetailTerms,
}

/// A contract, as far as its prices go.
#[derive(Clone, Copy, Debug)]
pub struct PricedContract<'a> {
    /// Whose.
    pub emsp: PartyId,
    /// The tier that its credential says; `None` for one that is not a tier.
    pub tier: Option<Tier>,
    /// What the provider told; `None` if it could not be asked yet.
    pub known: Option<&'a KnownPrices>,
}

/// Where somebody charges.
#[derive(Clone, Copy, Debug)]
pub struct PricedPlace<'a> {
    /// The grid zone.
    pub zone: &'a GridZone,
    /// The power of the station.
    pub power: Watts,
    /// Its clock.
    pub clock: LocalClock,
}

/// What is missing that a price needs.
#[derive(Debug, thiserror::Error)]
enum Missing {
    #[error(
        "your wallet has not heard your provider's rules yet: it asks for them when the provider can be reached"
    )]
    Rules,
    #[error("your provider has no rules for this time: ask it what you pay")]
    NoRules,
    #[error("your contract's credential names no tier: enrol again")]
    Tier,
    #[error("your provider's rules give no price for this charge: ask it what you pay")]
    NoRetailPrice,
    #[error("what the operator asks for is not what it agreed on with your provider, as the ledger has it")]
    OtherPrice,
    #[error("the operator's offer names an agreement that is not with your provider")]
    OtherAgreement,
    #[error("the ledger cannot be looked into")]
    Ledger(#[from] CatalogueError),
    #[error("the forecasts that the price follows cannot be looked up")]
    Forecasts(#[from] eroam_ledger::state::StateError),
}

/// What a station's quote comes to. `limit` is what the driver allows the operator to be paid.
#[must_use]
pub fn cost_of_quote(
    ledger: &Catalogue,
    quote: &Quote,
    place: PricedPlace<'_>,
    leaves_at: Option<UnixMillis>,
    contract: PricedContract<'_>,
    limit: Option<Money>,
) -> ChargeCost {
    let taken = taken_apart(ledger, quote, place, leaves_at, contract);
    let Taken { terms, tariff, mut detail, retail } = match taken {
        Ok(taken) => taken,
        Err(missing) => return ChargeCost::unknown(quote, limit, chain(&missing)),
    };
    if let Ok((version, _, known)) = &retail {
        // Who begins when other rules are in force pays by those.
        let are_others = |at| known.terms.in_force(at).is_none_or(|then| then.version != version.version);
        detail.later.iter_mut().filter(|later| are_others(later.start)).for_each(|later| later.retail = None);
    }
    let known = retail.and_then(|(version, tier, known)| {
        let price = detail.retail.as_ref().ok_or(Missing::NoRetailPrice)?;
        let (payment, roaming) = (known.terms.payment, quote.agreement.is_some());
        let (own_rule, own_rounding) = own_terms();
        let (rule, rounding, vat) =
            terms.as_ref().map_or((&own_rule, own_rounding, VatTreatment::Charged), |terms| {
                (&terms.price_rule, terms.rounding, terms.vat)
            });
        let bound = limit.and_then(|due_max| retail::bound(&tariff, rule, rounding, vat, due_max));
        let most = bound.map(|bound| retail::most(&version.rules, tier, payment, roaming, bound));
        let most = most.transpose().map_err(|_| Missing::NoRetailPrice)?.flatten();
        let in_currency = |micros| Money::new(micros, quote.currency);
        Ok(DriverPrice::Known {
            provider: contract.emsp,
            price: in_currency(price.total.incl_vat),
            most: most.map(|most| in_currency(most.incl_vat)),
            rules_of: known.told_at,
        })
    });
    let driver = known.unwrap_or_else(|missing| DriverPrice::Unknown { why: chain(&missing) });
    ChargeCost::of(quote, terms.as_ref(), &detail, limit, driver)
}

type Retail<'a> = (&'a RetailVersion, Tier, &'a KnownPrices);

/// A quote with what explains it.
struct Taken<'a> {
    terms: Option<RoamingAgreement>,
    tariff: Tariff,
    detail: QuoteDetail,
    retail: Result<Retail<'a>, Missing>,
}

/// A quote as the ledger explains it, with the driver's price as far as the provider's rules are known.
fn taken_apart<'a>(
    ledger: &Catalogue,
    quote: &Quote,
    place: PricedPlace<'_>,
    leaves_at: Option<UnixMillis>,
    contract: PricedContract<'a>,
) -> Result<Taken<'a>, Missing> {
    let terms: Option<RoamingAgreement> = match quote.agreement {
        Some(agreement) => {
            let key = StateKey::AgreementTerms(agreement.id, agreement.version);
            Some(ledger.lasting(&key, "the agreement")?)
        }
        None => None,
    };
    let agreed_by = terms.as_ref().map_or((quote.operator, quote.operator), |terms| (terms.emsp, terms.cpo));
    if agreed_by != (contract.emsp, quote.operator) {
        return Err(Missing::OtherAgreement);
    }
    let key = StateKey::Tariff(quote.operator, quote.tariff.id.clone(), quote.tariff.version);
    let tariff: Tariff = ledger.lasting(&key, "the tariff")?;
    let attested = attested_from(ledger, terms.as_ref(), place.zone, quote.made_at)?;
    let retail = rules_at(contract, quote.made_at);
    let service = retail.as_ref().ok().map(|(version, tier, known)| service(version, *tier, known, quote));
    let inputs = |driver| QuoteInputs {
        session: &quote.session,
        operator: quote.operator,
        agreement: quote.agreement.zip(terms.as_ref()),
        tariff: (&quote.tariff, &tariff),
        zone: place.zone,
        attested: &attested,
        driver,
        power: place.power,
        energy_wanted: Some(quote.energy),
        leaves_at,
        now: quote.made_at,
        clock: place.clock,
        held_for: DurationMs::ZERO,
    };
    let known = service.as_ref().and_then(|service| detail(&inputs(Quoted::Known(service)), quote).ok());
    let unknown = Quoted::Unknown { energy_max: quote.energy };
    let detail = match known {
        Some(found) => found,
        // Rules that give no price must not hide the rest.
        None => detail(&inputs(unknown), quote).map_err(|_| Missing::OtherPrice)?,
    };
    Ok(Taken { terms, tariff, detail, retail })
}

fn rules_at(contract: PricedContract<'_>, at: UnixMillis) -> Result<Retail<'_>, Missing> {
    let known = contract.known.ok_or(Missing::Rules)?;
    let version = known.terms.in_force(at).ok_or(Missing::NoRules)?;
    Ok((version, contract.tier.ok_or(Missing::Tier)?, known))
}

/// The contract as an operator would know it who knew the driver: what [`detail`] prices by.
fn service(version: &RetailVersion, tier: Tier, known: &KnownPrices, quote: &Quote) -> ServiceDescription {
    ServiceDescription {
        tier,
        payment: known.terms.payment,
        priority: 0,
        zones: AllowedZones::All,
        energy_max: quote.energy,
        amount_max: i64::MAX,
        retail_version: version.version,
        retail: version.rules.clone(),
        valid_until: quote.expires_at,
    }
}

/// What charging `energy` at a station would cost, begun at `at`: before anybody asks it for a quote.
///
/// # Errors
/// A sentence for the driver: why there is no charge there with this contract.
pub fn estimate(
    ledger: &Catalogue,
    (operator, tariff): (PartyId, &TariffId),
    place: PricedPlace<'_>,
    energy: WattHours,
    at: UnixMillis,
    contract: PricedContract<'_>,
) -> Result<ChargeCost, String> {
    let failed = |error: &dyn std::error::Error| format!("the price is not known: {}", chain(error));
    let agreement = if operator == contract.emsp {
        None
    } else {
        let found = query::agreement_in_force(ledger, contract.emsp, operator, at);
        Some(found.map_err(|error| failed(&error))?.ok_or_else(|| Denial::NoAgreement.to_string())?)
    };
    let (version, in_force) = tariff_in_force(ledger, operator, tariff, at)
        .map_err(|error| failed(&error))?
        .ok_or_else(|| Denial::NoPrice.to_string())?;
    let reference = TariffRef { id: tariff.clone(), version };
    let terms = agreement.as_ref().map(|(_, terms)| terms);
    let attested = attested_from(ledger, terms, place.zone, at).map_err(|error| failed(&error))?;
    // Nobody hears of this session.
    let session = SessionId::new("estimate")?;
    let quote = quote::make(&QuoteInputs {
        session: &session,
        operator,
        agreement: agreement.as_ref().map(|(reference, terms)| (*reference, terms)),
        tariff: (&reference, &in_force),
        zone: place.zone,
        attested: &attested,
        driver: Quoted::Unknown { energy_max: energy },
        power: place.power,
        energy_wanted: Some(energy),
        leaves_at: None,
        now: at,
        clock: place.clock,
        held_for: DurationMs::ZERO,
    })
    .map_err(|denial| denial.to_string())?;
    Ok(cost_of_quote(ledger, &quote, place, None, contract, None))
}
