//! The estimate that a driver sees before power flows: held for some minutes, accepted, refused or expired. What it is
//! made of, and what it would be later, is [`detail`].
//!
//! Source: Paper A, section 2.2.2 ("the HUN's AAA may also inform the EV driver about the approximate estimated
//! bill").

pub mod detail;

use crate::sessions::Consumption;
use eroam_domain::agreement::{DynamicRule, PriceRule, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, GridZone, SessionId, TariffRef};
use eroam_domain::charge::{Denial, Quote, ServiceDescription};
use eroam_domain::forecast::{AttestedForecast, QUOTE_HOLD_MAX, combine, session_hours};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Rounding, RoundingMode};
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::pricing::{self, ForecastInput, ItemisedPrice, PriceError, PricingInputs};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::retail::{self, RetailInputs};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{LocalClock, UnixMillis};

/// What a driver is assumed to want who says nothing.
pub const ENERGY_ASSUMED: WattHours = WattHours::from_milli_wh(20_000_000);

/// Whom a quote is for.
#[derive(Clone, Copy, Debug)]
pub enum Quoted<'a> {
    /// A driver whose home utility has said how to serve, with rules for the driver's price.
    Known(&'a ServiceDescription),
    /// A driver of whom the operator knows the home utility alone, and this limit: the wallet makes the driver's price.
    Unknown {
        /// The most energy of the session.
        energy_max: WattHours,
    },
}

impl Quoted<'_> {
    const fn energy_max(&self) -> WattHours {
        match self {
            Self::Known(service) => service.energy_max,
            Self::Unknown { energy_max } => *energy_max,
        }
    }
}

/// What a quote is made from.
#[derive(Clone, Copy, Debug)]
pub struct QuoteInputs<'a> {
    /// The session.
    pub session: &'a SessionId,
    /// The operator.
    pub operator: PartyId,
    /// The agreement, `None` for the operator's own customer.
    pub agreement: Option<(AgreementRef, &'a RoamingAgreement)>,
    /// The tariff of the EVSE.
    pub tariff: (&'a TariffRef, &'a Tariff),
    /// The grid zone of the EVSE.
    pub zone: &'a GridZone,
    /// What the agreement's forecasters have attested: [`crate::forecasts::attested_from`].
    pub attested: &'a [AttestedForecast],
    /// Whom it is for.
    pub driver: Quoted<'a>,
    /// The power of the EVSE.
    pub power: Watts,
    /// What the driver wants, if said.
    pub energy_wanted: Option<WattHours>,
    /// When the driver leaves, if said.
    pub leaves_at: Option<UnixMillis>,
    /// Now.
    pub now: UnixMillis,
    /// The station's clock.
    pub clock: LocalClock,
    /// How long the quote is held.
    pub held_for: DurationMs,
}

/// The rule and rounding at the operator's own stations for its own customers: the tariff itself, exactly.
#[must_use]
pub fn own_terms() -> (PriceRule, Rounding) {
    let exact = Rounding::new(1, RoundingMode::Down).unwrap_or(Rounding::cents());
    (PriceRule::Static { factor: BasisPoints::WHOLE }, exact)
}

/// The operator's own price of what was charged at its stations.
///
/// # Errors
/// [`PriceError`].
pub(crate) fn own_price(tariff: &Tariff, of: &Consumption) -> Result<ItemisedPrice, PriceError> {
    let (rule, rounding) = own_terms();
    pricing::price(&PricingInputs {
        tariff,
        rule: &rule,
        rounding,
        clock: of.clock,
        periods: &of.periods,
        end: of.end,
        forecast: None,
    })
}

/// Makes a quote: the wholesale price that the operator will record, and for a known driver the price by the home
/// utility's rules, for the expected session. A price by forecast is held for no longer than the ledger lets a record
/// follow it ([`QUOTE_HOLD_MAX`]).
///
/// # Errors
/// [`Denial::NoPrice`] when there is no price for the session in the agreement's currency, [`Denial::AmountLimit`] when
/// the driver's price is above the contract's limit, or the wholesale price above the agreement's.
pub fn make(inputs: &QuoteInputs<'_>) -> Result<Quote, Denial> {
    let session = expected_session(inputs).ok_or(Denial::NoPrice)?;
    let (tariff_ref, tariff) = inputs.tariff;
    let forecast = forecast_for(inputs, &session, inputs.now);
    let Prices { wholesale, retail } = prices(inputs, &session, forecast.as_ref())?;
    // The ledger would refuse such a record: better no power than power that nobody pays for.
    if let Some((_, terms)) = inputs.agreement {
        if terms.currency != tariff.currency() {
            return Err(Denial::NoPrice);
        }
        if terms.due(wholesale.total) > terms.limits.amount_max {
            return Err(Denial::AmountLimit);
        }
    }
    if let (Quoted::Known(service), Some(retail)) = (inputs.driver, &retail)
        && retail.total.incl_vat > service.amount_max
    {
        return Err(Denial::AmountLimit);
    }
    let held_for = match forecast_rule(inputs) {
        Some(_) => inputs.held_for.min(QUOTE_HOLD_MAX),
        None => inputs.held_for,
    };
    Ok(Quote {
        session: inputs.session.clone(),
        operator: inputs.operator,
        agreement: inputs.agreement.map(|(reference, _)| reference),
        tariff: tariff_ref.clone(),
        energy: session.energy,
        until: session.end,
        currency: tariff.currency(),
        wholesale: wholesale.total,
        retail: retail.map(|retail| retail.total),
        forecast: forecast.map(|forecast| forecast.attestation),
        made_at: inputs.now,
        expires_at: inputs.now.checked_add(held_for).ok_or(Denial::NoPrice)?,
    })
}

/// The rule by which the wholesale price at the EVSE follows a forecast.
fn forecast_rule<'a>(inputs: &QuoteInputs<'a>) -> Option<&'a DynamicRule> {
    inputs.agreement.and_then(|(_, terms)| terms.forecast_rule(inputs.zone))
}

/// The forecast in force at `at` for the hours of a session.
fn forecast_for(inputs: &QuoteInputs<'_>, session: &EvenSession, at: UnixMillis) -> Option<ForecastInput> {
    let hours = session_hours(session.start, session.end, inputs.now);
    forecast_rule(inputs).and_then(|rule| combine(rule, inputs.attested, at, hours))
}

/// A session's two prices.
struct Prices {
    wholesale: ItemisedPrice,
    /// `None` for a driver whom the operator does not know.
    retail: Option<ItemisedPrice>,
}

fn prices(
    inputs: &QuoteInputs<'_>,
    session: &EvenSession,
    forecast: Option<&ForecastInput>,
) -> Result<Prices, Denial> {
    let (_, tariff) = inputs.tariff;
    let planned = periods(session, tariff, &inputs.clock).map_err(|_| Denial::NoPrice)?;
    let (own_rule, own_rounding) = own_terms();
    let (rule, rounding) = match inputs.agreement {
        Some((_, terms)) => (&terms.price_rule, terms.rounding),
        None => (&own_rule, own_rounding),
    };
    let wholesale = pricing::price(&PricingInputs {
        tariff,
        rule,
        rounding,
        clock: inputs.clock,
        periods: &planned,
        end: session.end,
        forecast,
    })
    .map_err(|_| Denial::NoPrice)?;
    let retail = match inputs.driver {
        Quoted::Known(service) => {
            let roaming = inputs.agreement.is_some();
            Some(retail_price(service, roaming, &wholesale, &planned, session.end, inputs.clock)?)
        }
        Quoted::Unknown { .. } => None,
    };
    Ok(Prices { wholesale, retail })
}

/// The driver's price by a service description's rules.
fn retail_price(
    service: &ServiceDescription,
    roaming: bool,
    wholesale: &ItemisedPrice,
    planned: &[eroam_domain::cdr::ChargingPeriod],
    end: UnixMillis,
    clock: LocalClock,
) -> Result<ItemisedPrice, Denial> {
    let inputs = RetailInputs {
        tier: service.tier,
        payment: service.payment,
        roaming,
        wholesale,
        periods: planned,
        end,
        clock,
    };
    retail::price(&service.retail, &inputs).map_err(|_| Denial::NoPrice)
}

/// The session that is expected: the wanted energy, within the limits, at the EVSE's power, from now on; the vehicle
/// then stays until the driver leaves. Without a wish [`ENERGY_ASSUMED`] is.
fn expected_session(inputs: &QuoteInputs<'_>) -> Option<EvenSession> {
    let mut energy = inputs.energy_wanted.unwrap_or(ENERGY_ASSUMED).min(inputs.driver.energy_max());
    if let Some((_, terms)) = inputs.agreement {
        energy = energy.min(terms.limits.energy_max);
    }
    let needed = inputs.now.checked_add(inputs.power.time_for(energy)?)?;
    // Whoever leaves before that charges faster than the station's power says, or gets less: quote the whole energy
    // in the time there is, so that the estimate is not too low.
    let charging_end = match inputs.leaves_at {
        Some(leaves) if leaves < needed && leaves > inputs.now => leaves,
        _ => needed,
    };
    let end = inputs.leaves_at.map_or(charging_end, |leaves| leaves.max(charging_end));
    Some(EvenSession { start: inputs.now, charging_end, end, energy })
}
