//! Energy at the rate of the hour, from an attested load forecast.
//!
//! ```text
//! energy of a period -> UTC hours, by time -> hours with a forecast: the rate of the hour
//!                                          -> other hours: the tariff, times the fallback factor
//! ```
//! An hour is a UTC hour, because forecasts are; its time-of-use window is that of the station's clock when the hour
//! starts, so that an hour has one rate at a station whatever the session. What it does not do: choose the forecast.
//! Whoever prices a record must see to it that the attestation is the one that the driver's quote was made with.
//!
//! Source: DESIGN.md, "Price and shares" (paper A's AI contract).

use super::{Charge, ForecastInput, LineRule, PriceError, PriceLine, PricingInputs, Quantity};
use crate::agreement::{DynamicRule, Knot};
use crate::quantity::{DurationMs, WattHours};
use crate::tariff::{Dimension, VatRate};
use crate::time::{LocalClock, UnixMillis};

/// The greatest number of hours in a forecast: 61 days, longer than any session.
pub const FORECAST_HOURS_MAX: usize = 1_464;

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// What energy costs in one hour, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourRate {
    /// The forecast load in basis points of the capacity.
    pub utilisation_bps: u32,
    /// What the curve adds there, in basis points.
    pub surcharge_bps: i32,
    /// Millionths per kWh, without VAT, within floor and cap.
    pub micros_per_kwh: i64,
}

impl DynamicRule {
    /// The rate of the UTC hour `hour` (hours since 1970) at a forecast load.
    ///
    /// # Errors
    /// [`PriceError::NoRate`] for a rule that [`DynamicRule::check`] refuses; [`PriceError::Overflow`], also for a load
    /// of more than 400,000 times the capacity.
    pub fn rate(&self, hour: i64, clock: &LocalClock, load_kw: u32) -> Result<HourRate, PriceError> {
        let start = UnixMillis::from_utc_hour(hour).ok_or(PriceError::Overflow)?;
        let utilisation = u64::from(load_kw).checked_mul(10_000).ok_or(PriceError::Overflow)?;
        let utilisation = utilisation.checked_div(u64::from(self.capacity_kw)).ok_or(PriceError::NoRate)?;
        let utilisation_bps = u32::try_from(utilisation).map_err(|_| PriceError::Overflow)?;
        let surcharge_bps = self.surcharge(utilisation_bps).ok_or(PriceError::NoRate)?;
        let window = self.time_of_use_at(clock.at(start)).get();
        let base = super::scale_bps(self.base_micros_per_kwh, i64::from(window))?;
        let with_surcharge = 10_000i64.checked_add(i64::from(surcharge_bps)).ok_or(PriceError::Overflow)?;
        let wanted = super::scale_bps(base, with_surcharge)?;
        // Not `clamp`, which panics for a rule whose floor is above its cap.
        let micros_per_kwh = wanted.max(self.floor_micros).min(self.cap_micros);
        Ok(HourRate { utilisation_bps, surcharge_bps, micros_per_kwh })
    }

    /// The surcharge curve: straight between two knots and rounded down, level beyond the ends. `None` without knots.
    #[must_use]
    pub fn surcharge(&self, utilisation_bps: u32) -> Option<i32> {
        let above = self.knots.iter().position(|k| k.utilisation_bps > utilisation_bps);
        let (low, high) = match above {
            Some(0) => return self.knots.first().map(|k| k.surcharge_bps),
            Some(next) => (self.knots.get(next.checked_sub(1)?)?, self.knots.get(next)?),
            None => return self.knots.last().map(|k| k.surcharge_bps),
        };
        between(*low, *high, utilisation_bps)
    }
}

/// The straight line from `low` to `high`.
fn between(low: Knot, high: Knot, utilisation_bps: u32) -> Option<i32> {
    let run = i64::from(high.utilisation_bps).checked_sub(i64::from(low.utilisation_bps))?;
    let rise = i64::from(high.surcharge_bps).checked_sub(i64::from(low.surcharge_bps))?;
    let along = i64::from(utilisation_bps).checked_sub(i64::from(low.utilisation_bps))?;
    let added = rise.checked_mul(along)?.checked_div_euclid(run)?;
    i32::try_from(i64::from(low.surcharge_bps).checked_add(added)?).ok()
}

/// Takes the energy of hours with a forecast out of `charges`, before step sizes, and prices it at the rates of the
/// hours, in time order. Only energy that the tariff prices at all is priced: where the tariff charges time instead,
/// there is no price to replace.
pub(super) fn take_hours(
    charges: &mut Vec<Charge<'_>>,
    inputs: &PricingInputs<'_>,
    rule: &DynamicRule,
    forecast: &ForecastInput,
) -> Result<Vec<PriceLine>, PriceError> {
    if forecast.load_kw.len() > FORECAST_HOURS_MAX {
        return Err(PriceError::ForecastTooLong);
    }
    let mut lines = Vec::new();
    for charge in charges.iter_mut().filter(|c| c.component.dimension == Dimension::Energy) {
        let index = usize::from(charge.period);
        let start = inputs.periods.get(index).ok_or(PriceError::PeriodOrder(index))?.start;
        let next = index.checked_add(1).and_then(|i| inputs.periods.get(i));
        let end = next.map_or(inputs.end, |p| p.start);
        let span = end.since(start).ok_or(PriceError::PeriodOrder(index))?;
        let flow = Flow { start, span, energy: WattHours::from_milli_wh(charge.volume) };
        for (hour, load_kw) in hours_between(start.utc_hour(), flow.last_hour(), forecast) {
            let energy = flow.in_hour(hour).ok_or(PriceError::Overflow)?;
            if energy.is_zero() {
                continue;
            }
            charge.volume = charge.volume.checked_sub(energy.milli_wh()).ok_or(PriceError::Overflow)?;
            let rate = rule.rate(hour, &inputs.clock, load_kw)?;
            lines.push(line(charge.period, hour, rate, energy, rule.vat)?);
        }
        charge.billed = charge.volume;
    }
    charges.retain(|c| c.volume > 0);
    Ok(lines)
}

/// The hours from `first` to `last` that have a forecast, with their load. The loop is as long as the forecast at
/// most, however long the session claims to be.
fn hours_between(first: i64, last: i64, forecast: &ForecastInput) -> impl Iterator<Item = (i64, u32)> {
    let skipped = usize::try_from(first.saturating_sub(forecast.first_hour).max(0)).unwrap_or(usize::MAX);
    let from = first.max(forecast.first_hour);
    (from..=last).zip(forecast.load_kw.iter().copied().skip(skipped))
}

/// Energy that flows evenly over the time of a period.
struct Flow {
    start: UnixMillis,
    span: DurationMs,
    energy: WattHours,
}

impl Flow {
    fn last_hour(&self) -> i64 {
        let last = self.span.millis().saturating_sub(1);
        self.start.checked_add(DurationMs::from_millis(last)).unwrap_or(self.start).utc_hour()
    }

    /// The energy of a UTC hour: what has flowed at its end less what has flowed at its start, each rounded down, so
    /// that the hours of a period add up to its energy exactly.
    fn in_hour(&self, hour: i64) -> Option<WattHours> {
        let from = hour.checked_mul(HOUR_MS)?;
        self.until(from.checked_add(HOUR_MS)?)?.checked_sub(self.until(from)?)
    }

    /// The energy that has flowed at an instant, in milliseconds since 1970.
    fn until(&self, instant: i64) -> Option<WattHours> {
        let Ok(elapsed) = u64::try_from(instant.checked_sub(self.start.get())?) else {
            return Some(WattHours::ZERO);
        };
        if elapsed >= self.span.millis() {
            // Also for energy in no time: it belongs to the hour in which it starts, whose end is later.
            return Some(if elapsed == 0 { WattHours::ZERO } else { self.energy });
        }
        let flowed = u128::from(self.energy.milli_wh())
            .checked_mul(u128::from(elapsed))?
            .checked_div(u128::from(self.span.millis()))?;
        u64::try_from(flowed).ok().map(WattHours::from_milli_wh)
    }
}

/// The line of the energy of one hour in one period. Billed as metered: step sizes are the tariff's, not the rule's.
fn line(
    period: u16,
    hour: i64,
    rate: HourRate,
    energy: WattHours,
    vat: Option<VatRate>,
) -> Result<PriceLine, PriceError> {
    let HourRate { utilisation_bps, surcharge_bps, micros_per_kwh } = rate;
    let excl_vat = super::amount(micros_per_kwh, energy.milli_wh(), super::MILLI_WH_PER_KWH)?;
    Ok(PriceLine {
        rule: LineRule::Dynamic { hour, utilisation_bps, surcharge_bps },
        period: Some(period),
        quantity: Quantity::Energy { measured: energy, billed: energy },
        unit_price_micros: Some(micros_per_kwh),
        vat,
        amount: super::taxed(excl_vat, vat)?,
    })
}
