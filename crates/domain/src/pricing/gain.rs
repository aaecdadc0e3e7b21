//! The most that a lying attester gains within the agreed band: what two sides should look at before they agree on a
//! rule, and on who attests.
//!
//! A forecast that stays within the band of the actual load is never trued up. Whoever decides the forecast alone can
//! therefore move the rate by as much as the curve rises or falls over the width of the band. Next to others who are
//! honest and more numerous, a liar moves the median no further than the honest ones differ from the actual load.
//!
//! The search goes through every utilisation in whole basis points, since that is all a rate depends on. A load that
//! lies within the band by the kilowatt is always among those looked at, so that the result is a bound; it is reached
//! up to one basis point of utilisation.

use super::PriceError;
use super::dynamic::RenewablePart;
use crate::agreement::DynamicRule;
use std::collections::{BTreeSet, VecDeque};

/// A difference of two rates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gain {
    /// Millionths per kWh, without VAT.
    pub micros_per_kwh: i64,
    /// Of the honest rate, in basis points, rounded up; `None` where the honest rate can be zero and the other is not.
    pub bps: Option<u64>,
}

impl Gain {
    const NONE: Self = Self { micros_per_kwh: 0, bps: Some(0) };

    /// Of `lie` over `honest`, for one side or the other.
    fn of(more: i64, less: i64, honest: i64) -> Option<Self> {
        let micros_per_kwh = more.checked_sub(less)?.max(0);
        let bps = if micros_per_kwh == 0 {
            Some(0)
        } else {
            let scaled = u128::try_from(micros_per_kwh).ok()?.checked_mul(10_000)?;
            let honest = u128::try_from(honest).ok().filter(|honest| *honest > 0);
            honest.map(|honest| u64::try_from(scaled.div_ceil(honest)).unwrap_or(u64::MAX))
        };
        Some(Self { micros_per_kwh, bps })
    }

    /// The larger of each.
    fn max(self, other: Self) -> Self {
        let bps = self.bps.zip(other.bps).map(|(a, b)| a.max(b));
        Self { micros_per_kwh: self.micros_per_kwh.max(other.micros_per_kwh), bps }
    }
}

/// The largest gains, over every actual load and every hour of the day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LargestGain {
    /// Of the creditor's side: the rate is higher than at the actual load.
    pub creditor: Gain,
    /// Of the debtor's side: the rate is lower.
    pub debtor: Gain,
}

/// The largest gain of one who decides the forecast alone, at a renewable share (`None` for a rule without that curve).
///
/// # Errors
/// [`PriceError`], for a rule that [`DynamicRule::check`] refuses.
pub fn alone(rule: &DynamicRule, share_bps: Option<u16>) -> Result<LargestGain, PriceError> {
    within(rule, share_bps, rule.band_bps.get())
}

/// The largest gain of `liars` among as many forecasters as make the quorum, where every honest one's forecast is
/// within `honest_bps` (of that forecast) of the actual load. Half of them or more decide the median.
///
/// # Errors
/// [`PriceError`], for a rule that [`DynamicRule::check`] refuses.
pub fn on_panel(
    rule: &DynamicRule,
    share_bps: Option<u16>,
    liars: u8,
    honest_bps: u32,
) -> Result<LargestGain, PriceError> {
    let band = rule.band_bps.get();
    let outnumbered = u16::from(liars).saturating_mul(2) < u16::from(rule.forecasters.quorum);
    within(rule, share_bps, if outnumbered { band.min(honest_bps) } else { band })
}

/// The largest differences of the rates at a forecast and at an actual load that is within `band_bps` of it.
fn within(rule: &DynamicRule, share_bps: Option<u16>, band_bps: u32) -> Result<LargestGain, PriceError> {
    rule.check().map_err(|_| PriceError::NoRate)?;
    let part = rule.renewable_part(share_bps)?;
    let factors: BTreeSet<u32> = rule.time_of_use.iter().map(|w| w.bps.get()).chain([10_000]).collect();
    let mut largest = LargestGain { creditor: Gain::NONE, debtor: Gain::NONE };
    for factor in factors {
        let found = for_factor(rule, part, factor, band_bps).ok_or(PriceError::Overflow)??;
        largest.creditor = largest.creditor.max(found.creditor);
        largest.debtor = largest.debtor.max(found.debtor);
    }
    Ok(largest)
}

/// As [`within`], for one time of use. `None` on overflow.
fn for_factor(
    rule: &DynamicRule,
    part: Option<RenewablePart>,
    factor: u32,
    band_bps: u32,
) -> Option<Result<LargestGain, PriceError>> {
    // Beyond the last knot the curve is level, so that a forecast there gains no more than one at the knot.
    let last = u64::from(rule.knots.last()?.utilisation_bps);
    let rates: Result<Vec<i64>, PriceError> = (0..=rule.knots.last()?.utilisation_bps)
        .map(|utilisation| Ok(rule.rate_at(factor, utilisation, part)?.micros_per_kwh))
        .collect();
    let rates = match rates {
        Ok(rates) => rates,
        Err(error) => return Some(Err(error)),
    };
    let band = u64::from(band_bps).min(10_000);
    let (mut lowest, mut highest) = (Window::new(|new, old| new <= old), Window::new(|new, old| new >= old));
    let (mut creditor, mut debtor) = (Gain::NONE, Gain::NONE);
    for (forecast, rate) in (0u64..).zip(&rates) {
        // Loads of `forecast` basis points reach up to the next basis point.
        let from = forecast.checked_mul(10_000u64.checked_sub(band)?)?.checked_div(10_000)?;
        let below = forecast.checked_add(1)?.checked_mul(10_000u64.checked_add(band)?)?.div_ceil(10_000);
        let until = below.checked_sub(1)?.min(last);
        let (least, most) = (lowest.over(&rates, from, until)?, highest.over(&rates, from, until)?);
        creditor = creditor.max(Gain::of(*rate, least, least)?);
        debtor = debtor.max(Gain::of(most, *rate, most)?);
    }
    Some(Ok(LargestGain { creditor, debtor }))
}

/// The least or greatest value of a stretch whose ends only move up.
struct Window {
    /// Whether a new value makes an old one useless.
    replaces: fn(i64, i64) -> bool,
    next: u64,
    /// Places and values, the best first.
    best: VecDeque<(u64, i64)>,
}

impl Window {
    const fn new(replaces: fn(i64, i64) -> bool) -> Self {
        Self { replaces, next: 0, best: VecDeque::new() }
    }

    fn over(&mut self, values: &[i64], from: u64, until: u64) -> Option<i64> {
        while self.next <= until {
            let value = *values.get(usize::try_from(self.next).ok()?)?;
            while self.best.back().is_some_and(|(_, old)| (self.replaces)(value, *old)) {
                self.best.pop_back();
            }
            self.best.push_back((self.next, value));
            self.next = self.next.checked_add(1)?;
        }
        while self.best.front().is_some_and(|(place, _)| *place < from) {
            self.best.pop_front();
        }
        self.best.front().map(|(_, value)| *value)
    }
}
