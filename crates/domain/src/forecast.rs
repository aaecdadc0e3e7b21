//! Attested forecasts put together to the one that a price follows, and attested loads to the one that really was.
//!
//! ```text
//! attestations -> those in force at an instant, hour by hour -> enough of the agreement's forecasters? -> their median
//!                                                                                          no -> the static rule
//! ```
//! Of each forecaster the latest attestation that speaks of an hour is in force for it, from the time of the block that
//! included it: a later forecast supersedes an earlier one hour by hour, and what it is silent about stays. A quote is
//! made with what is in force when it is made; it is held for [`QUOTE_HOLD_MAX`] at most, so that a record may follow
//! any set of attestations that was in force during so long before its acceptance ([`of_record`]), and no other.
//! Whoever asks for many records keeps a [`ForecastBook`], so that the work does not multiply.
//!
//! What it does not do: read a ledger, or judge whether an attester may speak ([`crate::agreement`] names them, the
//! ledger checks them).
//!
//! Source: DESIGN.md, "Price and shares"; `docs/decisions/0022-forecasts-on-the-ledger.md`.

use crate::agreement::{Actuals, DynamicRule, RoamingAgreement};
use crate::cdr::Cdr;
use crate::charge::Quote;
use crate::codec::Digest;
use crate::ids::PartyId;
use crate::pricing::{ForecastInput, HourForecast};
use crate::quantity::DurationMs;
use crate::time::UnixMillis;
use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

mod book;

pub use book::{ForecastBook, RecordForecasts};

/// The longest that a quote with a price by forecast is held.
pub const QUOTE_HOLD_MAX: DurationMs = DurationMs::from_millis(15 * 60_000);
/// No forecast reaches further ahead than so many hours.
pub const AHEAD_HOURS_MAX: i64 = 72;

/// A forecast, or the part of one that falls on a day, as it stands on the ledger.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedForecast {
    /// Whose word it is.
    pub attester: PartyId,
    /// The attestation.
    pub id: Digest,
    /// In force from here on: the time of its block.
    pub since: UnixMillis,
    /// The first hour, in hours since 1970.
    pub first_hour: i64,
    /// Kilowatts, `[hour]`, for consecutive UTC hours from `first_hour`.
    pub load_kw: Vec<u32>,
    /// Share of renewable energy in basis points, `[hour]` as `load_kw`, where it was forecast.
    pub renewable_bps: Option<Vec<u16>>,
}

impl AttestedForecast {
    /// What it says of a UTC hour.
    #[must_use]
    pub fn hour(&self, hour: i64) -> Option<HourForecast> {
        let place = usize::try_from(hour.checked_sub(self.first_hour)?).ok()?;
        let load_kw = *self.load_kw.get(place)?;
        let renewable_bps = self.renewable_bps.as_ref().and_then(|shares| shares.get(place).copied());
        Some(HourForecast { load_kw, renewable_bps })
    }
}

/// The name of a set of attestations, whatever their order: SHA-256 over their sorted ids.
#[must_use]
pub fn set_digest(ids: &BTreeSet<Digest>) -> Digest {
    Digest::of_value("eroam/forecast-set/1", ids)
}

/// The UTC hours of a session that a forecast can speak of: those of the session, but no more than
/// [`AHEAD_HOURS_MAX`] after the hour in which the price was fixed.
#[must_use]
pub fn session_hours(start: UnixMillis, end: UnixMillis, fixed_at: UnixMillis) -> RangeInclusive<i64> {
    // An hour that begins at the very end has none of the session's energy.
    let last_instant = end.checked_sub(DurationMs::from_millis(1)).unwrap_or(end).max(start);
    let horizon = fixed_at.utc_hour().saturating_add(AHEAD_HOURS_MAX);
    start.utc_hour()..=last_instant.utc_hour().min(horizon)
}

/// The middle one of the values; of an even number the mean of the two in the middle, rounded down. `None` of none.
fn median(mut values: Vec<u32>) -> Option<u32> {
    let (low, high) = middle(&mut values)?;
    let mean = u64::from(low).checked_add(u64::from(high))?.checked_div(2)?;
    u32::try_from(mean).ok()
}

/// The two values in the middle, which are one for an odd number.
fn middle(values: &mut [u32]) -> Option<(u32, u32)> {
    values.sort_unstable();
    let last = values.len().checked_sub(1)?;
    let (low, high) = (last.checked_div(2)?, values.len().checked_div(2)?);
    Some((*values.get(low)?, *values.get(high)?))
}

/// The forecast for `hours` that a price fixed at `at` follows: hour by hour the median of what the rule's forecasters
/// had in force. An hour about which fewer than the quorum have spoken has none, and where the rule has a curve over
/// the renewable share, whoever is silent about that has not spoken. `None` when no hour has a forecast.
#[must_use]
pub fn combine<A: Borrow<AttestedForecast>>(
    rule: &DynamicRule,
    attested: &[A],
    at: UnixMillis,
    hours: RangeInclusive<i64>,
) -> Option<ForecastInput> {
    book_of(attested, &hours).combine(rule, at, hours)
}

/// What attestations say of hours.
fn book_of<A: Borrow<AttestedForecast>>(attested: &[A], hours: &RangeInclusive<i64>) -> ForecastBook {
    let mut book = ForecastBook::default();
    book.add(attested, hours);
    book
}

/// What is wrong with the forecast that a record names, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ForecastFault {
    #[error("the price follows no forecast there, but the record names one")]
    Unexpected,
    #[error("the record names a forecast that was not in force while its quote can have been held")]
    NotInForce,
    #[error(
        "the record follows no forecast, but there was one all the time that its quote can have been held"
    )]
    Omitted,
}

/// The forecast that a record was priced with, of all that the rule's forecasters have attested about its hours.
///
/// The record must name the set of attestations that was in force at some instant from [`QUOTE_HOLD_MAX`] before its
/// acceptance on; it may name none only if at some such instant no hour of the session had a forecast.
///
/// # Errors
/// [`ForecastFault`].
pub fn of_record<A: Borrow<AttestedForecast>>(
    terms: &RoamingAgreement,
    attested: &[A],
    cdr: &Cdr,
) -> Result<Option<ForecastInput>, ForecastFault> {
    let book = book_of(attested, &session_hours(cdr.start, cdr.end, cdr.accepted_at));
    Ok(RecordForecasts::default().of_record(&book, terms, cdr)?.cloned())
}

/// An instant at which what was in force was what a quote named, for the hours that it was made for: the latest until
/// the quote was made that a record may still follow. An operator needs it for the hours that a session really had, and
/// because a block of before the quote may have reached it only afterwards. `None` if there is none.
#[must_use]
pub fn quoted_at(rule: &DynamicRule, attested: &[AttestedForecast], quote: &Quote) -> Option<UnixMillis> {
    let hours = session_hours(quote.made_at, quote.until, quote.made_at);
    // However late the quote is accepted, so far back is within its hold.
    let earliest = quote.expires_at.checked_sub(QUOTE_HOLD_MAX).unwrap_or(UnixMillis::EPOCH);
    let book = book_of(attested, &hours);
    let named = |at: &UnixMillis| {
        book.combine(rule, *at, hours.clone()).map(|found| found.attestation) == quote.forecast
    };
    // Also what changed about other hours: the session may last into them.
    instants(attested, earliest.min(quote.made_at), quote.made_at).into_iter().find(named)
}

/// The instants from `earliest` to `latest` at which something else may be in force than before, the latest first. What
/// is in force changes when an attestation comes into force, and at no other time.
fn instants(attested: &[AttestedForecast], earliest: UnixMillis, latest: UnixMillis) -> Vec<UnixMillis> {
    let changes = attested.iter().map(|said| said.since);
    let mut instants: Vec<UnixMillis> =
        changes.filter(|since| *since > earliest && *since <= latest).chain([earliest]).collect();
    instants.sort_unstable();
    instants.dedup();
    instants.reverse();
    instants
}

/// What the load of an hour really was, as far as is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActualLoad {
    /// So many kilowatts, and nothing that is attested later changes it.
    Known(u32),
    /// Too few have attested it, and it is too late to: the hour keeps its forecast.
    NeverKnown,
    /// Somebody may still attest it.
    Awaited,
}

/// The load of an hour from what the agreed attesters said: the middle one of their values; of an even number, of the
/// two in the middle the one that is nearer to the forecast, or the forecast itself if it lies between them. So of two
/// attesters neither can make a deviation that the other does not see.
///
/// It counts when everybody has spoken, or a quorum has and it is `too_late` for the others: whoever asks for a true-up
/// cannot choose the moment at which the median suits.
#[must_use]
pub fn actual_load(
    actuals: &Actuals,
    said: &[(PartyId, u32)],
    too_late: bool,
    forecast_kw: u32,
) -> ActualLoad {
    let of = |party: &PartyId| said.iter().find(|(p, _)| p == party).map(|(_, load_kw)| *load_kw);
    let mut values: Vec<u32> = actuals.parties().iter().filter_map(of).collect();
    let enough = values.len() >= actuals.quorum();
    if values.len() < actuals.parties().len() && !too_late {
        return ActualLoad::Awaited;
    }
    match middle(&mut values) {
        Some((low, high)) if enough => ActualLoad::Known(forecast_kw.max(low).min(high)),
        _ => ActualLoad::NeverKnown,
    }
}

#[cfg(test)]
mod tests;
