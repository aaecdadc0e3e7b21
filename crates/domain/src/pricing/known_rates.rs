//! Rates of hours that were computed before, for whoever prices many records by the same rule.
//!
//! Why: the records of a batch lie in the same few hours, and finding the rate of an hour takes as long as the rest of its
//! line. What it does not do: change a price; [`super::price_with`] gives what [`super::price`] gives.

use super::dynamic::HourRate;
use super::{HourForecast, PriceError};
use crate::agreement::DynamicRule;
use crate::time::LocalClock;

/// So many hours are remembered at most: more than a session is charged over. An hour takes the place of the one so many
/// before it.
const HOURS: i64 = 64;

/// A rate, and all that it follows from but the rule.
#[derive(Clone, Copy, Debug)]
struct Known {
    hour: i64,
    clock: LocalClock,
    forecast: HourForecast,
    rate: HourRate,
}

/// The rates of one rule, as far as they were asked for.
#[derive(Clone, Debug, Default)]
pub struct KnownRates {
    /// `[hour modulo HOURS]`; empty until something is known.
    places: Vec<Option<Known>>,
}

impl KnownRates {
    /// The rate of an hour, if it was asked for before. The rule must be the same each time.
    #[inline]
    pub(super) fn known(
        &self,
        rule: &DynamicRule,
        hour: i64,
        clock: &LocalClock,
        forecast: HourForecast,
    ) -> Option<&HourRate> {
        let known = self.places.get(place(hour))?.as_ref()?;
        // Without windows it does not matter what the clock shows.
        let same_clock = rule.time_of_use.is_empty() || known.clock == *clock;
        (known.hour == hour && known.forecast == forecast && same_clock).then_some(&known.rate)
    }

    /// [`DynamicRule::rate`], and remembers it.
    ///
    /// # Errors
    /// As [`DynamicRule::rate`].
    #[cold]
    pub(super) fn learn(
        &mut self,
        rule: &DynamicRule,
        hour: i64,
        clock: &LocalClock,
        forecast: HourForecast,
    ) -> Result<HourRate, PriceError> {
        let rate = rule.rate(hour, clock, forecast)?;
        if self.places.is_empty() {
            self.places.resize(usize::try_from(HOURS).unwrap_or(0), None);
        }
        if let Some(kept) = self.places.get_mut(place(hour)) {
            *kept = Some(Known { hour, clock: *clock, forecast, rate });
        }
        Ok(rate)
    }
}

/// Where an hour is remembered.
fn place(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(HOURS)).unwrap_or(0)
}
