//! Energy at the rate of the hour, from an attested load forecast.
//!
//! ```text
//! energy of a period -> UTC hours, by time -> hours with a forecast: the rate of the hour
//!                                          -> other hours: the tariff, times the fallback factor
//! ```
//! An hour is a UTC hour, because forecasts are; its time-of-use window is that of the station's clock when the hour
//! starts, so that an hour has one rate at a station whatever the session. What it does not do: choose the forecast,
//! which is [`crate::forecast`]'s business.
//!
//! Source: DESIGN.md, "Price and shares" (paper A's AI contract).

use super::{
    Charge, ForecastInput, HourForecast, ItemisedPrice, KnownRates, LineRule, PriceError, PriceLine,
    PricingInputs, Quantity,
};
use crate::agreement::DynamicRule;
use crate::quantity::{BasisPoints, DurationMs, WattHours};
use crate::tariff::{Dimension, VatRate};
use crate::time::{LocalClock, UnixMillis};
use serde::{Deserialize, Serialize};

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
    /// What the second curve adds, where the rule has one.
    pub renewable: Option<RenewablePart>,
    /// Millionths per kWh, without VAT, within floor and cap.
    pub micros_per_kwh: i64,
}

/// What the share of renewable energy does to a rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenewablePart {
    /// The forecast share in basis points.
    pub share_bps: u16,
    /// What the curve adds there, in basis points, on top of the surcharge for load.
    pub surcharge_bps: i32,
}

impl DynamicRule {
    /// The rate of the UTC hour `hour` (hours since 1970) at a forecast.
    ///
    /// # Errors
    /// [`PriceError::NoRate`] for a rule that [`DynamicRule::check`] refuses, and for a forecast without the renewable
    /// share that the rule needs; [`PriceError::Overflow`], also for a load of more than 400,000 times the capacity.
    pub fn rate(
        &self,
        hour: i64,
        clock: &LocalClock,
        forecast: HourForecast,
    ) -> Result<HourRate, PriceError> {
        let start = UnixMillis::from_utc_hour(hour).ok_or(PriceError::Overflow)?;
        let utilisation = u64::from(forecast.load_kw).checked_mul(10_000).ok_or(PriceError::Overflow)?;
        let utilisation = utilisation.checked_div(u64::from(self.capacity_kw)).ok_or(PriceError::NoRate)?;
        let utilisation_bps = u32::try_from(utilisation).map_err(|_| PriceError::Overflow)?;
        let renewable = self.renewable_part(forecast.renewable_bps)?;
        // Without windows it does not matter what the clock shows, which takes longest to find.
        let window = if self.time_of_use.is_empty() {
            BasisPoints::WHOLE
        } else {
            self.time_of_use_at(clock.at(start))
        };
        self.rate_at(window.get(), utilisation_bps, renewable)
    }

    /// The rate at a utilisation, when so much of the base rate is paid (`time_of_use_bps`).
    pub(super) fn rate_at(
        &self,
        time_of_use_bps: u32,
        utilisation_bps: u32,
        renewable: Option<RenewablePart>,
    ) -> Result<HourRate, PriceError> {
        let surcharge_bps = self.surcharge(utilisation_bps).ok_or(PriceError::NoRate)?;
        let base = super::scale_bps(self.base_micros_per_kwh, i64::from(time_of_use_bps))?;
        let with = |rate, surcharge_bps: i32| {
            super::scale_bps(rate, 10_000i64.checked_add(surcharge_bps.into()).ok_or(PriceError::Overflow)?)
        };
        let by_load = with(base, surcharge_bps)?;
        let wanted = renewable.map_or(Ok(by_load), |part| with(by_load, part.surcharge_bps))?;
        // Not `clamp`, which panics for a rule whose floor is above its cap.
        let micros_per_kwh = wanted.max(self.floor_micros).min(self.cap_micros);
        Ok(HourRate { utilisation_bps, surcharge_bps, renewable, micros_per_kwh })
    }

    /// What the second curve says of a share; nothing where there is no such curve.
    pub(super) fn renewable_part(&self, share_bps: Option<u16>) -> Result<Option<RenewablePart>, PriceError> {
        if self.renewable.is_empty() {
            return Ok(None);
        }
        let share_bps = share_bps.ok_or(PriceError::NoRate)?;
        let knots = self.renewable.iter().map(|knot| (knot.share_bps, knot.surcharge_bps));
        let surcharge_bps = curve(knots, share_bps.into()).ok_or(PriceError::NoRate)?;
        Ok(Some(RenewablePart { share_bps, surcharge_bps }))
    }

    /// The surcharge curve: straight between two knots and rounded down, level beyond the ends. `None` without knots.
    #[must_use]
    pub fn surcharge(&self, utilisation_bps: u32) -> Option<i32> {
        curve(self.knots.iter().map(|knot| (knot.utilisation_bps, knot.surcharge_bps)), utilisation_bps)
    }
}

/// A curve through rising points: straight between two and rounded down, level beyond the ends. `None` without points.
fn curve(points: impl Iterator<Item = (u32, i32)>, at: u32) -> Option<i32> {
    let mut before = None;
    for point in points {
        if point.0 > at {
            return match before {
                Some(low) => between(low, point, at),
                None => Some(point.1),
            };
        }
        before = Some(point);
    }
    before.map(|(_, value)| value)
}

/// The straight line from `low` to `high`.
fn between(low: (u32, i32), high: (u32, i32), at: u32) -> Option<i32> {
    let run = i64::from(high.0).checked_sub(i64::from(low.0))?;
    let rise = i64::from(high.1).checked_sub(i64::from(low.1))?;
    let along = i64::from(at).checked_sub(i64::from(low.0))?;
    let added = rise.checked_mul(along)?.checked_div_euclid(run)?;
    i32::try_from(i64::from(low.1).checked_add(added)?).ok()
}

/// Takes the energy of hours with a forecast out of `charges`, before step sizes: what is left is the tariff's. Gives how
/// many lines [`price_hours`] will make of it at most, 0 if there is no such energy. Only energy that the tariff prices at
/// all is taken: where the tariff charges time instead, there is no price to replace.
///
/// Nearly always the forecast has all hours of the session, and all energy is taken. Otherwise hours that follow each other
/// are taken as one, since what they hold adds up exactly.
pub(super) fn take_hours(
    charges: &mut [Charge<'_>],
    inputs: &PricingInputs<'_>,
    forecast: &ForecastInput,
) -> Result<usize, PriceError> {
    if forecast.hours.len() > FORECAST_HOURS_MAX {
        return Err(PriceError::ForecastTooLong);
    }
    let mut lines = 0usize;
    let energy = charges.iter_mut().filter(|c| c.component.dimension == Dimension::Energy);
    if let Some(hours) = hours_if_all(inputs, forecast) {
        for charge in energy {
            (charge.by_hour, charge.volume, charge.billed) = (charge.volume, 0, 0);
            // A line for each hour, and one more where a period ends within an hour and the next begins.
            lines = if lines == 0 { hours } else { lines.saturating_add(1) };
        }
        return Ok(lines);
    }
    for charge in energy {
        let flow = Flow::of(charge, inputs)?;
        let (first, hours) = flow.hours(forecast);
        if hours.is_empty() {
            continue;
        }
        let taken = flow.within(first, hours).ok_or(PriceError::Overflow)?;
        if taken > 0 {
            charge.by_hour = taken;
            charge.volume = charge.volume.checked_sub(taken).ok_or(PriceError::Overflow)?;
            charge.billed = charge.volume;
            lines = lines.saturating_add(hours.len());
        }
    }
    Ok(lines)
}

/// How many hours the session touches, its last instant included, if the forecast has all of them.
fn hours_if_all(inputs: &PricingInputs<'_>, forecast: &ForecastInput) -> Option<usize> {
    let place = |hour: i64| usize::try_from(hour.checked_sub(forecast.first_hour)?).ok();
    let first = place(inputs.periods.first()?.start.utc_hour())?;
    let hours = forecast.hours.get(first..=place(inputs.end.utc_hour())?)?;
    hours.iter().all(Option::is_some).then_some(hours.len())
}

/// Adds the lines of the energy that [`take_hours`] took, at the rates of its hours, in time order.
pub(super) fn price_hours(
    priced: &mut ItemisedPrice,
    charges: &[Charge<'_>],
    inputs: &PricingInputs<'_>,
    rule: &DynamicRule,
    forecast: &ForecastInput,
    mut rates: Option<&mut KnownRates>,
) -> Result<(), PriceError> {
    for charge in charges.iter().filter(|c| c.by_hour > 0) {
        let flow = Flow::of(charge, inputs)?;
        let (first, hours) = flow.hours(forecast);
        let mut edge = flow.edge(first).ok_or(PriceError::Overflow)?;
        let mut before = flow.until(edge).ok_or(PriceError::Overflow)?;
        for (hour, of_hour) in (first..).zip(hours) {
            edge = edge.checked_add(HOUR_MS).ok_or(PriceError::Overflow)?;
            let after = flow.until(edge).ok_or(PriceError::Overflow)?;
            // Both rounded down, so that the hours of a period add up to its energy exactly.
            let energy = after.checked_sub(before).ok_or(PriceError::Overflow)?;
            before = after;
            let Some(of_hour) = of_hour.filter(|_| energy > 0) else { continue };
            let rate = match rates.as_deref_mut() {
                None => rule.rate(hour, &inputs.clock, of_hour)?,
                Some(rates) => match rates.known(rule, hour, &inputs.clock, of_hour) {
                    Some(known) => *known,
                    None => rates.learn(rule, hour, &inputs.clock, of_hour)?,
                },
            };
            priced.push(line(charge.period, hour, &rate, energy, rule.vat)?)?;
        }
    }
    Ok(())
}

/// Energy that flows evenly over the time of a period.
struct Flow {
    start: UnixMillis,
    /// Milliseconds.
    span: u64,
    /// Thousandths of a watt-hour.
    energy: u64,
}

impl Flow {
    /// That of a charge for energy: all of it, however it is priced.
    fn of(charge: &Charge<'_>, inputs: &PricingInputs<'_>) -> Result<Self, PriceError> {
        let index = usize::from(charge.period);
        let start = inputs.periods.get(index).ok_or(PriceError::PeriodOrder(index))?.start;
        let next = index.checked_add(1).and_then(|i| inputs.periods.get(i));
        let end = next.map_or(inputs.end, |p| p.start);
        let span = end.since(start).ok_or(PriceError::PeriodOrder(index))?.millis();
        let energy = charge.volume.checked_add(charge.by_hour).ok_or(PriceError::Overflow)?;
        Ok(Self { start, span, energy })
    }

    /// What is forecast for its hours, and the first of these; hours before and beyond the forecast are left out. It is as
    /// long as the forecast at most, however long the session claims to be.
    fn hours<'f>(&self, forecast: &'f ForecastInput) -> (i64, &'f [Option<HourForecast>]) {
        let last_ms = DurationMs::from_millis(self.span.saturating_sub(1));
        let last = self.start.checked_add(last_ms).unwrap_or(self.start).utc_hour();
        let first = self.start.utc_hour().max(forecast.first_hour);
        let place = |hour: i64| usize::try_from(hour.saturating_sub(forecast.first_hour)).unwrap_or(0);
        let beyond = place(last.saturating_add(1)).min(forecast.hours.len());
        (first, forecast.hours.get(place(first)..beyond).unwrap_or_default())
    }

    /// The energy of those of these hours that have a forecast, in thousandths of a watt-hour.
    fn within(&self, first: i64, hours: &[Option<HourForecast>]) -> Option<u64> {
        let (mut taken, mut from, mut rest) = (0u64, self.edge(first)?, hours);
        // A run of hours with a forecast, then one of hours without; nearly always the first is all.
        while !rest.is_empty() {
            let forecast = rest.iter().take_while(|of_hour| of_hour.is_some()).count();
            let to = from.checked_add(i64::try_from(forecast).ok()?.checked_mul(HOUR_MS)?)?;
            taken = taken.checked_add(self.until(to)?.checked_sub(self.until(from)?)?)?;
            rest = rest.get(forecast..)?;
            let without = rest.iter().take_while(|of_hour| of_hour.is_none()).count();
            from = to.checked_add(i64::try_from(without).ok()?.checked_mul(HOUR_MS)?)?;
            rest = rest.get(without..)?;
        }
        Some(taken)
    }

    /// When a UTC hour begins, in milliseconds since the start; negative before it.
    fn edge(&self, hour: i64) -> Option<i64> {
        hour.checked_mul(HOUR_MS)?.checked_sub(self.start.get())
    }

    /// The energy that has flowed so many milliseconds after the start, in thousandths of a watt-hour, rounded down.
    fn until(&self, elapsed: i64) -> Option<u64> {
        let Ok(elapsed) = u64::try_from(elapsed) else { return Some(0) };
        if elapsed >= self.span {
            // Also for energy in no time: it belongs to the hour in which it starts, whose end is later.
            return Some(if elapsed == 0 { 0 } else { self.energy });
        }
        // Nearly always 64 bits are enough.
        if let Some(product) = self.energy.checked_mul(elapsed) {
            return product.checked_div(self.span);
        }
        let flowed = u128::from(self.energy).checked_mul(u128::from(elapsed))?;
        u64::try_from(flowed.checked_div(u128::from(self.span))?).ok()
    }
}

/// The line of the energy of one hour in one period, in thousandths of a watt-hour. Billed as metered: step sizes are the
/// tariff's, not the rule's.
#[inline(always)]
fn line(
    period: u16,
    hour: i64,
    rate: &HourRate,
    energy: u64,
    vat: Option<VatRate>,
) -> Result<PriceLine, PriceError> {
    let HourRate { utilisation_bps, surcharge_bps, renewable, micros_per_kwh } = *rate;
    let excl_vat = super::amount(micros_per_kwh, energy, super::MILLI_WH_PER_KWH)?;
    let energy = WattHours::from_milli_wh(energy);
    Ok(PriceLine {
        rule: LineRule::Dynamic { hour, utilisation_bps, surcharge_bps, renewable },
        period: Some(period),
        quantity: Quantity::Energy { measured: energy, billed: energy },
        unit_price_micros: Some(micros_per_kwh),
        vat,
        amount: super::taxed(excl_vat, vat)?,
    })
}
