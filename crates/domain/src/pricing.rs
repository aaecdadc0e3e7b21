//! The price of a session: one function that quotes, bills, records and re-checks use.
//!
//! ```text
//! charging periods x tariff  ->  a line for each (period, element, dimension)
//!   -> step sizes  -> minimum and maximum price  -> the agreement's factor  -> the agreement's rounding
//! ```
//! Under a dynamic rule, energy in hours that have a forecast leaves the tariff and is priced at the rate of the hour:
//!
//! ```text
//! charging periods x tariff  ->  a line for each (period, element, dimension), less the energy of forecast hours
//!   -> step sizes (of what is left)  -> a line for each (period, forecast hour)
//!   -> the fallback factor on the energy that the tariff still prices  -> minimum and maximum price  -> rounding
//! ```
//! There the tariff's other dimensions and its bounds count in full, and the bounds come last: they bound the session.
//! Where no energy has a forecast, the price is that of the static rule, to the line.
//!
//! Integers only: amounts are millionths, every division rounds down (`div_euclid`), and the agreement's rounding
//! comes once, at the end. VAT is computed line by line.
//!
//! Source: OCPI 2.2.1 mod_tariffs; Paper A, section 2.1.4. Where OCPI is silent the choice is in
//! `docs/decisions/0003-tariff-semantics.md`; every difference from the crate `ocpi-tariffs` is in
//! `docs/tariff-vectors.md`.

pub mod dynamic;
pub mod gain;
mod known_rates;
mod matching;
pub mod plan;
pub mod true_up;

pub use known_rates::KnownRates;

use crate::agreement::{PriceRule, RoamingAgreement};
use crate::cdr::{Cdr, ChargingPeriod, PERIODS_MAX};
use crate::money::{Currency, Price, Rounding};
use crate::quantity::{BasisPoints, DurationMs, WattHours};
use crate::tariff::{Dimension, PriceComponent, Tariff, VatRate};
use crate::time::{LocalClock, UnixMillis};
use serde::{Deserialize, Serialize};

/// Which of a session's two prices.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceLeg {
    /// What the home utility owes the operator: the agreement's business, checked by the ledger.
    Wholesale,
    /// What the driver owes the home utility: the home utility's rules.
    Retail,
}

/// Attested forecasts put together, hour by hour, read by [`PriceRule::Dynamic`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForecastInput {
    /// The attestations on the ledger that it is made of: [`crate::forecast::set_digest`].
    pub attestation: crate::codec::Digest,
    /// The first hour, in hours since 1970.
    pub first_hour: i64,
    /// `[hour]`, for consecutive UTC hours from `first_hour`; `None` for an hour that has no forecast. At most
    /// [`dynamic::FORECAST_HOURS_MAX`].
    pub hours: Vec<Option<HourForecast>>,
}

impl ForecastInput {
    /// What is forecast for a UTC hour (hours since 1970).
    #[must_use]
    pub fn hour(&self, hour: i64) -> Option<HourForecast> {
        let place = usize::try_from(hour.checked_sub(self.first_hour)?).ok()?;
        self.hours.get(place).copied().flatten()
    }
}

/// What is forecast for one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourForecast {
    /// Load in kilowatts.
    pub load_kw: u32,
    /// Share of renewable energy in basis points, where it was forecast.
    pub renewable_bps: Option<u16>,
}

impl HourForecast {
    /// A load, and nothing about renewable energy.
    #[must_use]
    pub const fn of_load(load_kw: u32) -> Self {
        Self { load_kw, renewable_bps: None }
    }
}

/// Everything that a wholesale price depends on.
#[derive(Clone, Copy, Debug)]
pub struct PricingInputs<'a> {
    /// The operator's tariff.
    pub tariff: &'a Tariff,
    /// The agreement's rule.
    pub rule: &'a PriceRule,
    /// The agreement's rounding.
    pub rounding: Rounding,
    /// The clock at the station.
    pub clock: LocalClock,
    /// The periods, in time order.
    pub periods: &'a [ChargingPeriod],
    /// When the session ended.
    pub end: UnixMillis,
    /// The attested load forecast, where the rule uses one.
    pub forecast: Option<&'a ForecastInput>,
}

impl<'a> PricingInputs<'a> {
    /// What the price of a record depends on: operator, home utility and ledger all compute it from these. Which
    /// forecast a record was priced with, [`crate::forecast::of_record`] finds.
    #[must_use]
    pub const fn of_record(
        terms: &'a RoamingAgreement,
        tariff: &'a Tariff,
        cdr: &'a Cdr,
        forecast: Option<&'a ForecastInput>,
    ) -> Self {
        Self {
            tariff,
            rule: &terms.price_rule,
            rounding: terms.rounding,
            clock: cdr.clock,
            periods: cdr.periods.as_slice(),
            end: cdr.end,
            forecast,
        }
    }
}

/// Why a session has no price. Unknown is never free.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// There is nothing to price.
    #[error("the session has no charging period")]
    NoPeriods,
    /// More periods than a record may have.
    #[error("the session has more than {PERIODS_MAX} charging periods")]
    TooManyPeriods,
    /// The tariff has no element for it.
    #[error(
        "tariff {tariff}: no element matches the session, so its price is unknown: add an element without restrictions"
    )]
    NoMatchingElement {
        /// The tariff.
        tariff: String,
    },
    /// The session starts outside the tariff's validity.
    #[error("tariff {tariff} is not valid at {start}")]
    TariffNotValid {
        /// The tariff.
        tariff: String,
        /// The start of the session.
        start: UnixMillis,
    },
    /// A period starts after the session's end, or before the period in front of it.
    #[error("charging period {0} is out of order")]
    PeriodOrder(usize),
    /// The home utility's own tariff is in another currency than the session is settled in.
    #[error(
        "the retail tariff is in {tariff}, but the session is settled in {session}: agree on one currency"
    )]
    OtherCurrency {
        /// The currency of the retail tariff.
        tariff: Currency,
        /// The currency of the wholesale price.
        session: Currency,
    },
    /// A dynamic rule without a capacity or a curve, which no agreement can have, or a forecast that lacks what the rule
    /// needs.
    #[error(
        "the dynamic price rule has no rate: its capacity is zero, it has no knots, or the forecast has no renewable share"
    )]
    NoRate,
    /// More hours than a forecast may have.
    #[error("the forecast has more than {max} hours", max = dynamic::FORECAST_HOURS_MAX)]
    ForecastTooLong,
    /// A number does not fit.
    #[error("an amount is beyond what 64 bits of millionths hold")]
    Overflow,
}

/// How much of a dimension a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Quantity {
    /// Energy as metered and as billed after the step size.
    Energy {
        /// As metered.
        measured: WattHours,
        /// As billed.
        billed: WattHours,
    },
    /// Time as measured and as billed after the step size.
    Time {
        /// As measured.
        measured: DurationMs,
        /// As billed.
        billed: DurationMs,
    },
    /// Once.
    Session,
}

/// Why a line is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LineRule {
    /// A price component of the tariff.
    Tariff {
        /// The element's place in the tariff, from 0.
        element: u16,
        /// The component's dimension.
        dimension: Dimension,
    },
    /// The tariff's minimum price.
    MinPrice,
    /// The tariff's maximum price.
    MaxPrice,
    /// The agreement's factor.
    AgreementFactor {
        /// Of the tariff.
        factor: BasisPoints,
    },
    /// The agreement's, or for a retail price the home utility's rounding.
    Rounding,
    /// Retail: what the home utility pays the operator, passed on.
    Wholesale,
    /// Retail: the home utility's margin.
    Margin {
        /// Of the amount so far.
        bps: i32,
    },
    /// Retail: the time of use of the energy.
    TimeOfUse {
        /// The window's place in the rules, from 0.
        window: u16,
        /// Added to the energy's price.
        bps: i32,
    },
    /// Retail: the driver's tier.
    Tier {
        /// Which tier.
        tier: crate::retail::Tier,
        /// Added to the amount so far; a discount is negative.
        bps: i32,
    },
    /// Retail: how the driver pays.
    Payment {
        /// The payment option.
        option: crate::retail::PaymentOption,
        /// Added to the amount so far.
        bps: i32,
    },
    /// Retail: a fee for each session away from home.
    RoamingFee,
    /// Energy at the rate of one hour, which follows the forecast load of the grid.
    Dynamic {
        /// The UTC hour, in hours since 1970.
        hour: i64,
        /// The forecast load, in basis points of the capacity.
        utilisation_bps: u32,
        /// Added to the base rate, which is that of the time of use; the unit price has it already.
        surcharge_bps: i32,
        /// What the share of renewable energy did to the rate, where that was agreed; the unit price has it already.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        renewable: Option<dynamic::RenewablePart>,
    },
}

impl LineRule {
    /// The dimension that the line prices, if it prices one.
    #[must_use]
    pub const fn dimension(self) -> Option<Dimension> {
        match self {
            Self::Tariff { dimension, .. } => Some(dimension),
            Self::Dynamic { .. } => Some(Dimension::Energy),
            Self::MinPrice
            | Self::MaxPrice
            | Self::AgreementFactor { .. }
            | Self::Rounding
            | Self::Wholesale
            | Self::Margin { .. }
            | Self::TimeOfUse { .. }
            | Self::Tier { .. }
            | Self::Payment { .. }
            | Self::RoamingFee => None,
        }
    }
}

/// One line of a price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceLine {
    /// The rule it comes from.
    pub rule: LineRule,
    /// The charging period it is about, from 0, where it is about one.
    pub period: Option<u16>,
    /// How much of what.
    pub quantity: Quantity,
    /// Millionths per kWh, per hour or per session, where there is a unit price.
    pub unit_price_micros: Option<i64>,
    /// The VAT rate, where one applies.
    pub vat: Option<VatRate>,
    /// The amount.
    pub amount: Price,
}

/// A price of which every line names its rule. The lines add up to the total.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ItemisedPrice {
    /// Which price it is.
    pub leg: PriceLeg,
    /// The currency of every amount in it.
    pub currency: Currency,
    /// Its lines, in the order in which they were computed.
    pub lines: Vec<PriceLine>,
    /// Their sum.
    pub total: Price,
}

impl ItemisedPrice {
    /// An empty price with room for `lines` lines.
    pub(crate) fn with_capacity(leg: PriceLeg, currency: Currency, lines: usize) -> Self {
        Self { leg, currency, lines: Vec::with_capacity(lines), total: Price::ZERO }
    }

    /// Adds a line and its amount.
    #[inline]
    pub(crate) fn push(&mut self, line: PriceLine) -> Result<(), PriceError> {
        self.total = self.total.checked_add(line.amount).ok_or(PriceError::Overflow)?;
        self.lines.push(line);
        Ok(())
    }

    /// Adds a line that is about the whole session, unless its amount is nothing.
    pub(crate) fn adjust(
        &mut self,
        rule: LineRule,
        vat: Option<VatRate>,
        amount: Price,
    ) -> Result<(), PriceError> {
        if amount == Price::ZERO {
            return Ok(());
        }
        let quantity = Quantity::Session;
        self.push(PriceLine { rule, period: None, quantity, unit_price_micros: None, vat, amount })
    }

    /// Adds the line that rounds the total.
    pub(crate) fn round(&mut self, rounding: Rounding) -> Result<(), PriceError> {
        let rounded = Price {
            excl_vat: rounding.apply(self.total.excl_vat).ok_or(PriceError::Overflow)?,
            incl_vat: rounding.apply(self.total.incl_vat).ok_or(PriceError::Overflow)?,
        };
        let difference = rounded.checked_sub(self.total).ok_or(PriceError::Overflow)?;
        self.adjust(LineRule::Rounding, None, difference)
    }

    /// The amounts of one dimension together, before factor and bounds (what OCPI calls `total_energy_cost` and so on).
    #[must_use]
    pub fn dimension_total(&self, wanted: Dimension) -> Option<Price> {
        self.lines
            .iter()
            .filter(|l| l.rule.dimension() == Some(wanted))
            .try_fold(None, |sum: Option<Price>, line| {
                Some(Some(sum.unwrap_or(Price::ZERO).checked_add(line.amount)?))
            })
            .flatten()
    }
}

/// Prices a session.
///
/// # Errors
/// [`PriceError`]; a session for which the tariff has no element is an error, never free.
pub fn price(inputs: &PricingInputs<'_>) -> Result<ItemisedPrice, PriceError> {
    price_by(inputs, None)
}

/// [`price`] for one of many sessions under the same rule, whose rates are computed once for all of them.
///
/// # Errors
/// As [`price`].
pub fn price_with(inputs: &PricingInputs<'_>, rates: &mut KnownRates) -> Result<ItemisedPrice, PriceError> {
    price_by(inputs, Some(rates))
}

fn price_by(inputs: &PricingInputs<'_>, rates: Option<&mut KnownRates>) -> Result<ItemisedPrice, PriceError> {
    let mut charges = tariff_charges(inputs)?;
    let by_hour = match (inputs.rule, inputs.forecast) {
        (PriceRule::Dynamic(rule), Some(forecast)) => {
            let lines = dynamic::take_hours(&mut charges, inputs, forecast)?;
            (lines > 0).then_some((rule, forecast, lines))
        }
        (PriceRule::Dynamic(_), None) | (PriceRule::Static { .. }, _) => None,
    };
    apply_step_sizes(&mut charges)?;
    let currency = inputs.tariff.currency();
    let factor = inputs.rule.static_factor();
    // Room for all lines at once: growing them would cost more than computing one.
    let hour_lines = by_hour.map_or(0, |(_, _, lines)| lines);
    let tariff_lines = match by_hour {
        Some(_) => charges.iter().filter(|c| c.volume > 0).count(),
        None => charges.len(),
    };
    let room = tariff_lines.saturating_add(hour_lines).saturating_add(BOUND_LINES);
    let mut priced = ItemisedPrice::with_capacity(PriceLeg::Wholesale, currency, room);
    let mut energy_by_tariff = Price::ZERO;
    for charge in charges.iter().filter(|c| c.volume > 0) {
        let line = line(charge)?;
        if by_hour.is_some() && charge.component.dimension == Dimension::Energy {
            energy_by_tariff = energy_by_tariff.checked_add(line.amount).ok_or(PriceError::Overflow)?;
        }
        priced.push(line)?;
    }
    if let Some((rule, forecast, _)) = by_hour {
        dynamic::price_hours(&mut priced, &charges, inputs, rule, forecast, rates)?;
        apply_factor(&mut priced, factor, energy_by_tariff)?;
        apply_bounds(&mut priced, inputs.tariff)?;
    } else {
        apply_bounds(&mut priced, inputs.tariff)?;
        let total = priced.total;
        apply_factor(&mut priced, factor, total)?;
    }
    priced.round(inputs.rounding)?;
    Ok(priced)
}

/// So many lines at most follow those of the tariff and of the hours: a bound, the factor, the rounding, and one to spare.
const BOUND_LINES: usize = 4;

/// Adds lines that bring the total within the tariff's minimum and maximum.
fn apply_bounds(priced: &mut ItemisedPrice, tariff: &Tariff) -> Result<(), PriceError> {
    let bounds =
        [(tariff.min_price(), LineRule::MinPrice, true), (tariff.max_price(), LineRule::MaxPrice, false)];
    for (bound, rule, lower) in bounds {
        let Some(bound) = bound else { continue };
        let excl_vat = clamp_distance(priced.total.excl_vat, bound.excl_vat, lower)?;
        let incl_vat = clamp_distance(priced.total.incl_vat, bound.incl_vat, lower)?;
        priced.adjust(rule, None, Price { excl_vat, incl_vat })?;
    }
    Ok(())
}

/// Adds the line that scales `part` of the price.
fn apply_factor(priced: &mut ItemisedPrice, factor: BasisPoints, part: Price) -> Result<(), PriceError> {
    if factor == BasisPoints::WHOLE || part == Price::ZERO {
        return Ok(());
    }
    let scaled = Price {
        excl_vat: scale_bps(part.excl_vat, i64::from(factor.get()))?,
        incl_vat: scale_bps(part.incl_vat, i64::from(factor.get()))?,
    };
    let difference = scaled.checked_sub(part).ok_or(PriceError::Overflow)?;
    priced.adjust(LineRule::AgreementFactor { factor }, None, difference)
}

/// Thousandths of a watt-hour in a kWh.
const MILLI_WH_PER_KWH: i128 = 1_000_000;

/// How far `amount` is from the bound it must not pass.
fn clamp_distance(amount: i64, bound: i64, lower: bool) -> Result<i64, PriceError> {
    let clamped = if lower { amount.max(bound) } else { amount.min(bound) };
    clamped.checked_sub(amount).ok_or(PriceError::Overflow)
}

/// `amount * bps / 10,000`, rounded down.
pub(crate) fn scale_bps(amount: i64, bps: i64) -> Result<i64, PriceError> {
    // Nearly always 64 bits are enough, and dividing 128 takes ten times as long.
    if let Some(product) = amount.checked_mul(bps) {
        return Ok(product.div_euclid(10_000));
    }
    let scaled = i128::from(amount).checked_mul(i128::from(bps)).and_then(|x| x.checked_div_euclid(10_000));
    scaled.and_then(|x| i64::try_from(x).ok()).ok_or(PriceError::Overflow)
}

/// A component that applies in a period, before step sizes and amounts.
#[derive(Clone, Copy)]
struct Charge<'a> {
    period: u16,
    /// Whether the period is a reservation.
    reserved: bool,
    element: u16,
    component: &'a PriceComponent,
    /// Thousandths of a Wh, or milliseconds; 1 for a flat fee. Zero where all of it is priced by the hour.
    volume: u64,
    /// The volume with what step sizes add.
    billed: u64,
    /// Energy that is priced at the rates of its hours, in thousandths of a Wh, and is no longer in the volume.
    by_hour: u64,
}

/// What the tariff's components charge, before step sizes.
fn tariff_charges<'a>(inputs: &PricingInputs<'a>) -> Result<Vec<Charge<'a>>, PriceError> {
    let PricingInputs { tariff, periods, end, clock, .. } = *inputs;
    let first = periods.first().ok_or(PriceError::NoPeriods)?;
    if periods.len() > PERIODS_MAX {
        return Err(PriceError::TooManyPeriods);
    }
    if !tariff.valid_at(first.start) {
        return Err(PriceError::TariffNotValid { tariff: tariff.id().to_string(), start: first.start });
    }
    let mut charges: Vec<Charge<'_>> = Vec::with_capacity(periods.len().saturating_mul(2));
    let mut energy_so_far = WattHours::ZERO;
    // A reservation has a fee of its own.
    let (mut reservation_fee, mut session_fee) = (false, false);
    let expired = !periods.iter().any(matching::is_used);
    let mut matched = false;
    let ends = periods.iter().skip(1).map(|p| p.start).chain([end]);
    for (index, (period, period_end)) in periods.iter().zip(ends).enumerate() {
        let span = period_end.since(period.start).ok_or(PriceError::PeriodOrder(index))?;
        let elapsed = period.start.since(first.start).ok_or(PriceError::PeriodOrder(index))?;
        let state = matching::PeriodState { period, span, elapsed, energy_so_far, expired, clock: &clock };
        let number = u16::try_from(index).map_err(|_| PriceError::TooManyPeriods)?;
        let reserved = !period.reservation.is_zero();
        for (element, component) in matching::active_components(tariff, &state).into_iter().flatten() {
            matched = true;
            let volume = match component.dimension {
                Dimension::Energy => period.energy.milli_wh(),
                // A reservation is priced by TIME components of elements that are restricted to reservations.
                Dimension::Time => period.charging.millis().max(period.reservation.millis()),
                Dimension::ParkingTime => period.parking.millis(),
                Dimension::Flat => {
                    let charged = if reserved { &mut reservation_fee } else { &mut session_fee };
                    u64::from(!std::mem::replace(charged, true))
                }
            };
            if volume > 0 {
                charges.push(Charge {
                    period: number,
                    reserved,
                    element,
                    component,
                    volume,
                    billed: volume,
                    by_hour: 0,
                });
            }
        }
        energy_so_far = energy_so_far.checked_add(period.energy).ok_or(PriceError::Overflow)?;
    }
    // A matching element makes the price known even where nothing of what it prices was consumed: a vehicle that
    // took no energy owes nothing under a tariff per kWh.
    if !matched {
        return Err(PriceError::NoMatchingElement { tariff: tariff.id().to_string() });
    }
    Ok(charges)
}

/// Rounds the session's totals up to the step sizes of the last component that applied: energy on its own; parking
/// when there was any, otherwise charging time; and the time of a reservation on its own, which OCPI totals apart
/// from charging. The addition is billed at that last component's price. What no component prices does not count, nor does
/// what is priced by the hour.
///
/// Source: OCPI 2.2.1 mod_tariffs 1.4.2, step_size.
fn apply_step_sizes(charges: &mut [Charge<'_>]) -> Result<(), PriceError> {
    // All of it may be priced by the hour.
    if charges.iter().all(|c| c.volume == 0) {
        return Ok(());
    }
    let parked = charges.iter().any(|c| c.component.dimension == Dimension::ParkingTime && !c.reserved);
    let time_like = if parked { Dimension::ParkingTime } else { Dimension::Time };
    for (dimension, reserved) in [(Dimension::Energy, false), (time_like, false), (Dimension::Time, true)] {
        let of_it =
            |c: &Charge<'_>| c.component.dimension == dimension && c.reserved == reserved && c.volume > 0;
        let total = charges
            .iter()
            .filter(|c| of_it(c))
            .try_fold(0u64, |sum, c| sum.checked_add(c.volume))
            .ok_or(PriceError::Overflow)?;
        let Some(last) = charges.iter_mut().rev().find(|c| of_it(c)) else { continue };
        // A step is in Wh or seconds, a volume in thousandths of them.
        let step = u64::from(last.component.step_size).checked_mul(1_000).ok_or(PriceError::Overflow)?;
        if step == 0 {
            continue;
        }
        let blocks = total.div_ceil(step);
        let billed = blocks.checked_mul(step).ok_or(PriceError::Overflow)?;
        let extra = billed.checked_sub(total).ok_or(PriceError::Overflow)?;
        last.billed = last.billed.checked_add(extra).ok_or(PriceError::Overflow)?;
    }
    Ok(())
}

fn line(charge: &Charge<'_>) -> Result<PriceLine, PriceError> {
    let Charge { period, element, component, volume, billed, .. } = *charge;
    let dimension = component.dimension;
    let (quantity, per_unit) = match dimension {
        Dimension::Energy => {
            let (measured, billed) = (WattHours::from_milli_wh(volume), WattHours::from_milli_wh(billed));
            (Quantity::Energy { measured, billed }, MILLI_WH_PER_KWH)
        }
        Dimension::Time | Dimension::ParkingTime => {
            let (measured, billed) = (DurationMs::from_millis(volume), DurationMs::from_millis(billed));
            (Quantity::Time { measured, billed }, 3_600_000)
        }
        Dimension::Flat => (Quantity::Session, 1),
    };
    let excl_vat = amount(component.price_micros, billed, per_unit)?;
    Ok(PriceLine {
        rule: LineRule::Tariff { element, dimension },
        period: Some(period),
        quantity,
        unit_price_micros: Some(component.price_micros),
        vat: component.vat,
        amount: taxed(excl_vat, component.vat)?,
    })
}

/// `price_micros * volume / per_unit`, rounded down.
#[inline]
fn amount(price_micros: i64, volume: u64, per_unit: i128) -> Result<i64, PriceError> {
    // As in `scale_bps`.
    if let (Ok(volume), Ok(per_unit)) = (i64::try_from(volume), i64::try_from(per_unit))
        && let Some(product) = price_micros.checked_mul(volume)
    {
        // Without a sign there is nothing to round the other way, and most prices have none.
        if let (Ok(product), Ok(per_unit)) = (u64::try_from(product), u64::try_from(per_unit)) {
            let whole = product.checked_div(per_unit).and_then(|whole| i64::try_from(whole).ok());
            return whole.ok_or(PriceError::Overflow);
        }
        return product.checked_div_euclid(per_unit).ok_or(PriceError::Overflow);
    }
    i128::from(price_micros)
        .checked_mul(i128::from(volume))
        .and_then(|x| x.checked_div_euclid(per_unit))
        .and_then(|x| i64::try_from(x).ok())
        .ok_or(PriceError::Overflow)
}

/// An amount with its VAT.
#[inline]
fn taxed(excl_vat: i64, vat: Option<VatRate>) -> Result<Price, PriceError> {
    let Some(vat) = vat else { return Ok(Price { excl_vat, incl_vat: excl_vat }) };
    let tax = vat.tax_on(excl_vat).ok_or(PriceError::Overflow)?;
    let incl_vat = excl_vat.checked_add(tax).ok_or(PriceError::Overflow)?;
    Ok(Price { excl_vat, incl_vat })
}

#[cfg(test)]
pub(crate) mod tests;
