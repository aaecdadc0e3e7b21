//! What was attested, arranged by forecaster and hour, so that what was in force is found without going through all of
//! it.
//!
//! ```text
//! attestations -> (forecaster, hour): what was said of it, in the order in which it came into force
//!   an instant, an hour -> the last before it: one search in a sorted list
//!   a record            -> the instants at which something about its hours changed -> a set for each, kept for the next
//!                          record of the same hours
//! ```
//! Why: a forecaster may attest a day of a zone 128 times, and a record may name any set that was in force in a quarter of
//! an hour. Whoever makes both at once could have every validator go through everything for each hour of each instant of
//! each record. Here an attestation is looked at once for each hour that it speaks of, and an instant costs a search for
//! each hour and forecaster.
//!
//! What it does not do: change what counts. A test holds it against the plain form, which does go through everything.
//!
//! Source: `docs/decisions/0022-forecasts-on-the-ledger.md`.

use super::{AttestedForecast, ForecastFault, QUOTE_HOLD_MAX, median, session_hours, set_digest};
use crate::agreement::{DynamicRule, RoamingAgreement};
use crate::cdr::Cdr;
use crate::codec::Digest;
use crate::ids::PartyId;
use crate::pricing::dynamic::FORECAST_HOURS_MAX;
use crate::pricing::{ForecastInput, HourForecast};
use crate::time::UnixMillis;
use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;

/// What an attestation says of one hour.
#[derive(Clone, Copy, Debug)]
struct Said {
    since: UnixMillis,
    id: Digest,
    forecast: HourForecast,
}

/// What a forecaster has said of one hour, in the order of (since, id): the later counts.
#[derive(Clone, Debug, Default)]
struct HourSaid {
    /// All of it.
    all: Vec<Said>,
    /// What of it names the renewable share: the rest is silence to a rule with a curve over that. A list of its own, so
    /// that nobody has to search through silence.
    with_share: Vec<Said>,
}

/// Attestations about a grid zone, by forecaster and hour.
#[derive(Clone, Debug, Default)]
pub struct ForecastBook {
    said: BTreeMap<(PartyId, i64), HourSaid>,
    /// How often something that was said of an hour was looked at: what a test bounds.
    #[cfg(test)]
    pub(super) looks: std::cell::Cell<usize>,
}

impl ForecastBook {
    /// Adds what attestations about the zone say of `hours`. Nothing must be added twice.
    pub fn add<A: Borrow<AttestedForecast>>(&mut self, attested: &[A], hours: &RangeInclusive<i64>) {
        let mut in_order: Vec<&AttestedForecast> = attested.iter().map(Borrow::borrow).collect();
        // So that nearly everything comes last in its list.
        in_order.sort_unstable_by_key(|said| (said.since, said.id));
        for said in in_order {
            let count = i64::try_from(said.load_kw.len()).unwrap_or(i64::MAX);
            let first = said.first_hour.max(*hours.start());
            // The hour after the last.
            let end = said.first_hour.saturating_add(count).min(hours.end().saturating_add(1));
            for hour in first..end {
                let Some(forecast) = said.hour(hour) else { continue };
                let kept = self.said.entry((said.attester, hour)).or_default();
                let said = Said { since: said.since, id: said.id, forecast };
                insert(&mut kept.all, said);
                if forecast.renewable_bps.is_some() {
                    insert(&mut kept.with_share, said);
                }
            }
        }
    }

    /// What a forecaster has said of an hour and the rule hears, in the order in which it came into force.
    fn of(&self, rule: &DynamicRule, party: PartyId, hour: i64) -> &[Said] {
        self.said
            .get(&(party, hour))
            .map_or(&[], |said| if rule.renewable.is_empty() { &said.all } else { &said.with_share })
    }

    /// How many of them were in force at `at` or before.
    fn count_until(&self, said: &[Said], at: UnixMillis) -> usize {
        said.partition_point(|said| {
            self.look();
            said.since <= at
        })
    }

    #[cfg(test)]
    fn look(&self) {
        self.looks.set(self.looks.get().saturating_add(1));
    }

    #[cfg(not(test))]
    #[allow(clippy::unused_self, reason = "it counts in tests alone")]
    const fn look(&self) {}

    /// The forecast for `hours` that a price fixed at `at` follows: hour by hour the median of what the rule's forecasters
    /// had in force. See [`super::combine`].
    #[must_use]
    pub fn combine(
        &self,
        rule: &DynamicRule,
        at: UnixMillis,
        hours: RangeInclusive<i64>,
    ) -> Option<ForecastInput> {
        let first_hour = *hours.start();
        let (mut used, mut combined) = (BTreeSet::new(), Vec::new());
        let quorum = usize::from(rule.forecasters.quorum);
        let mut of_hour: Vec<Said> = Vec::with_capacity(rule.forecasters.parties.len());
        for hour in hours.take(FORECAST_HOURS_MAX) {
            of_hour.clear();
            of_hour.extend(rule.forecasters.parties.iter().filter_map(|party| {
                let said = self.of(rule, *party, hour);
                said.get(self.count_until(said, at).checked_sub(1)?)
            }));
            if of_hour.is_empty() || of_hour.len() < quorum {
                combined.push(None);
                continue;
            }
            used.extend(of_hour.iter().map(|said| said.id));
            let load_kw = median(of_hour.iter().map(|said| said.forecast.load_kw).collect())?;
            let renewable_bps = if rule.renewable.is_empty() {
                None
            } else {
                let shares = of_hour.iter().filter_map(|said| said.forecast.renewable_bps.map(u32::from));
                median(shares.collect()).and_then(|share| u16::try_from(share).ok())
            };
            combined.push(Some(HourForecast { load_kw, renewable_bps }));
        }
        (!used.is_empty()).then(|| ForecastInput {
            attestation: set_digest(&used),
            first_hour,
            hours: combined,
        })
    }

    /// The instants until `latest` at which something else about `hours` may have been in force than before, the latest
    /// first and none of them twice: those after `earliest`, and the last before or at it. `None` in the list stands for
    /// the time when nothing was in force.
    pub(super) fn changes(
        &self,
        rule: &DynamicRule,
        hours: &RangeInclusive<i64>,
        earliest: UnixMillis,
        latest: UnixMillis,
    ) -> Vec<Option<UnixMillis>> {
        let (mut before, mut changes) = (None, Vec::new());
        for hour in hours.clone().take(FORECAST_HOURS_MAX) {
            for party in &rule.forecasters.parties {
                let said = self.of(rule, *party, hour);
                let (from, until) = (self.count_until(said, earliest), self.count_until(said, latest));
                let last_before = from.checked_sub(1).and_then(|place| said.get(place));
                before = before.max(last_before.map(|said| said.since));
                for said in said.get(from..until).unwrap_or_default() {
                    self.look();
                    changes.push(Some(said.since));
                }
            }
        }
        changes.push(before);
        changes.sort_unstable();
        changes.dedup();
        changes.reverse();
        changes
    }
}

/// Puts it in its place.
fn insert(list: &mut Vec<Said>, said: Said) {
    let place = list.partition_point(|other| (other.since, other.id) <= (said.since, said.id));
    list.insert(place, said);
}

/// Which hours, and the last change that was in force.
type Moment = (i64, i64, Option<UnixMillis>);

/// What was in force for the hours of records under one agreement: put together once for all records of the same hours.
///
/// It holds for one book, and only while nothing is added to that about hours that were asked for.
#[derive(Clone, Debug, Default)]
pub struct RecordForecasts {
    found: BTreeMap<Moment, Option<ForecastInput>>,
}

impl RecordForecasts {
    /// The forecast that a record was priced with: see [`super::of_record`]. The book has everything that the forecasters
    /// of `terms` have attested about the session's hours in the record's zone.
    ///
    /// # Errors
    /// [`ForecastFault`].
    pub fn of_record<'f>(
        &'f mut self,
        book: &ForecastBook,
        terms: &RoamingAgreement,
        cdr: &Cdr,
    ) -> Result<Option<&'f ForecastInput>, ForecastFault> {
        let Some(rule) = terms.forecast_rule(&cdr.zone) else {
            return if cdr.attestation.is_some() { Err(ForecastFault::Unexpected) } else { Ok(None) };
        };
        let hours = session_hours(cdr.start, cdr.end, cdr.accepted_at);
        let earliest = cdr.accepted_at.checked_sub(QUOTE_HOLD_MAX).unwrap_or(UnixMillis::EPOCH);
        for at in book.changes(rule, &hours, earliest, cdr.accepted_at) {
            let moment = (*hours.start(), *hours.end(), at);
            let found = self
                .found
                .entry(moment)
                .or_insert_with(|| at.and_then(|at| book.combine(rule, at, hours.clone())));
            if found.as_ref().map(|f| f.attestation) == cdr.attestation {
                return Ok(self.found.get(&moment).and_then(Option::as_ref));
            }
        }
        Err(if cdr.attestation.is_some() { ForecastFault::NotInForce } else { ForecastFault::Omitted })
    }
}

#[cfg(test)]
mod tests;
