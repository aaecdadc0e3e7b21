//! The book against the plain form, which goes through everything for each hour of each instant: the same answers, and
//! how much each looks at.

use super::*;
use crate::cdr::SessionId;
use crate::charge::Quote;
use crate::forecast::quoted_at;
use crate::forecast::tests::{NOON, accepted_at_noon, by, instant, said};
use crate::pricing::tests::dynamic::panel;
use crate::quantity::DurationMs;
use proptest::prelude::*;
use std::cell::Cell;

/// Which forecast counts, as decision 0022 says it, and no more.
mod plain {
    use super::*;

    pub(super) fn combine<A: Borrow<AttestedForecast>>(
        rule: &DynamicRule,
        attested: &[A],
        at: UnixMillis,
        hours: RangeInclusive<i64>,
    ) -> Option<ForecastInput> {
        let first_hour = *hours.start();
        let (mut used, mut combined) = (BTreeSet::new(), Vec::new());
        for hour in hours {
            let of_hour = in_force(rule, attested, at, hour);
            if of_hour.is_empty() || of_hour.len() < usize::from(rule.forecasters.quorum) {
                combined.push(None);
                continue;
            }
            used.extend(of_hour.iter().map(|(id, _)| *id));
            let load_kw = median(of_hour.iter().map(|(_, said)| said.load_kw).collect())?;
            let shares = of_hour.iter().filter_map(|(_, said)| said.renewable_bps.map(u32::from)).collect();
            let share = median(shares).and_then(|share| u16::try_from(share).ok());
            let renewable_bps = share.filter(|_| !rule.renewable.is_empty());
            combined.push(Some(HourForecast { load_kw, renewable_bps }));
        }
        let attestation = set_digest(&used);
        (!used.is_empty()).then_some(ForecastInput { attestation, first_hour, hours: combined })
    }

    fn in_force<A: Borrow<AttestedForecast>>(
        rule: &DynamicRule,
        attested: &[A],
        at: UnixMillis,
        hour: i64,
    ) -> Vec<(Digest, HourForecast)> {
        let of = |party: &PartyId| {
            attested
                .iter()
                .map(Borrow::borrow)
                .filter(|said| said.attester == *party && said.since <= at)
                .filter_map(|said| Some((said.since, said.id, said.hour(hour)?)))
                .filter(|(.., said)| rule.renewable.is_empty() || said.renewable_bps.is_some())
                .max_by_key(|(since, id, _)| (*since, *id))
                .map(|(_, id, said)| (id, said))
        };
        rule.forecasters.parties.iter().filter_map(of).collect()
    }

    pub(super) fn of_record<A: Borrow<AttestedForecast>>(
        terms: &RoamingAgreement,
        attested: &[A],
        cdr: &Cdr,
    ) -> Result<Option<ForecastInput>, ForecastFault> {
        let rule = terms.forecast_rule(&cdr.zone).expect("the record follows a forecast");
        let hours = session_hours(cdr.start, cdr.end, cdr.accepted_at);
        let earliest = cdr.accepted_at.checked_sub(QUOTE_HOLD_MAX).unwrap();
        let changes = attested.iter().map(|said| said.borrow().since);
        let mut instants: Vec<UnixMillis> = changes
            .filter(|since| *since > earliest && *since <= cdr.accepted_at)
            .chain([earliest])
            .collect();
        instants.sort_unstable();
        instants.dedup();
        instants
            .into_iter()
            .rev()
            .map(|at| combine(rule, attested, at, hours.clone()))
            .find(|found| found.as_ref().map(|f| f.attestation) == cdr.attestation)
            .ok_or(if cdr.attestation.is_some() { ForecastFault::NotInForce } else { ForecastFault::Omitted })
    }
}

/// An attestation that counts how often somebody looks at it.
struct Counted<'c>(AttestedForecast, &'c Cell<usize>);

impl Borrow<AttestedForecast> for Counted<'_> {
    fn borrow(&self) -> &AttestedForecast {
        self.1.set(self.1.get() + 1);
        &self.0
    }
}

/// What two forecasters of three attest who want it to be costly: `count` each about the three hours from noon on, some
/// of them in the quarter of an hour before noon; the third one attests once.
fn colluding(count: u8) -> Vec<AttestedForecast> {
    let mut all = vec![said(0, 0, instant(NOON - 40, 0), NOON, &[500; 3])];
    for number in 1..=count {
        for place in 1..=2u8 {
            let minutes = if number <= 8 { 45 + i64::from(number) + 5 * i64::from(place) } else { 0 };
            let since = instant(NOON - 1 - i64::from(number) / 4, minutes);
            let first = NOON + i64::from(number % 3);
            let id = place * 80 + number;
            all.push(said(place.into(), id, since, first, &[500 + u32::from(number)]));
        }
    }
    all
}

/// How much is looked at for `records` that all name a set which was never in force: by the plain form, and by a book that
/// is made for them.
fn work(count: u8, records: usize) -> (usize, usize) {
    let (mut terms, cdr) = accepted_at_noon(Some(Digest([9; 32])));
    terms.price_rule = crate::agreement::PriceRule::Dynamic(by(3, 2));
    let looks = Cell::new(0);
    let attested: Vec<Counted<'_>> = colluding(count).into_iter().map(|said| Counted(said, &looks)).collect();
    for _ in 0..records {
        assert_eq!(plain::of_record(&terms, &attested, &cdr), Err(ForecastFault::NotInForce));
    }
    let plain = looks.replace(0);
    let mut book = ForecastBook::default();
    book.add(&attested, &(NOON..=NOON + 2));
    let mut found = RecordForecasts::default();
    for _ in 0..records {
        assert_eq!(found.of_record(&book, &terms, &cdr), Err(ForecastFault::NotInForce));
    }
    (plain, looks.get() + book.looks.get())
}

#[test]
fn whoever_attests_much_and_names_what_was_never_in_force_makes_little_work() {
    // The plain form looks at everything for each hour, instant and record: so it was done before there was a book.
    let (plain_few, few) = work(20, 1);
    let (plain_many, many) = work(80, 1);
    assert!(plain_many > 3 * plain_few, "{plain_few} -> {plain_many}: the test has a cost to avoid");
    // Of the book only the first look at each attestation grows with their number.
    let attestations = 2 * (80 - 20);
    assert!(many - few <= attestations + many / 4, "{few} -> {many} for {attestations} more attestations");
    assert!(10 * many < plain_many, "{many} instead of {plain_many}");
    // A batch whose records lie all alike: what was put together for the first is known for the others.
    let (plain_batch, batch) = work(80, 256);
    assert_eq!(plain_batch, 256 * plain_many);
    assert!(100 * batch < plain_batch, "{batch} instead of {plain_batch}");
}

/// Attestations by four forecasters around noon, each with an id of its own, some with a renewable share.
fn arb_attested() -> impl Strategy<Value = Vec<AttestedForecast>> {
    let one = (
        0usize..4,
        0i64..45,
        -1i64..40,
        prop::collection::vec((0u32..1_000, 0u16..10_000), 1..30),
        any::<bool>(),
    );
    prop::collection::vec(one, 0..14).prop_map(|all| {
        let mut attested = Vec::with_capacity(all.len());
        for (number, (place, minute, first, values, shares)) in (0u8..).zip(all) {
            let loads: Vec<u32> = values.iter().map(|(load, _)| *load).collect();
            let mut one = said(place, number, instant(NOON - 1, 30 + minute), NOON + first, &loads);
            one.renewable_bps = shares.then(|| values.iter().map(|(_, share)| *share).collect());
            attested.push(one);
        }
        attested
    })
}

fn hours_long(hours: i64) -> DurationMs {
    DurationMs::from_millis(u64::try_from(hours).unwrap() * 3_600_000)
}

fn quote(made_at: UnixMillis, until: UnixMillis, expires_at: UnixMillis, forecast: Option<Digest>) -> Quote {
    let (_, cdr) = accepted_at_noon(None);
    Quote {
        session: SessionId::new("S1").unwrap(),
        operator: "PT-GLP".parse().unwrap(),
        agreement: Some(cdr.agreement),
        tariff: cdr.tariff,
        energy: cdr.energy,
        until,
        currency: cdr.currency,
        wholesale: cdr.price,
        retail: None,
        forecast,
        made_at,
        expires_at,
    }
}

fn arb_rule() -> impl Strategy<Value = DynamicRule> {
    (1usize..5, 1u8..5, any::<bool>()).prop_map(|(parties, quorum, green)| {
        let knot = crate::agreement::RenewableKnot { share_bps: 5_000, surcharge_bps: -100 };
        let renewable = if green { vec![knot] } else { Vec::new() };
        DynamicRule { forecasters: panel(parties, quorum), renewable, ..by(1, 1) }
    })
}

proptest! {
    #[test]
    fn a_book_puts_the_same_together_as_the_plain_form(
        attested in arb_attested(), rule in arb_rule(), minute in -5i64..50, first in 0i64..30, count in 0i64..40,
    ) {
        let (at, hours) = (instant(NOON - 1, 30 + minute), NOON + first..=NOON + first + count - 1);
        let want = plain::combine(&rule, &attested, at, hours.clone());
        prop_assert_eq!(&super::super::combine(&rule, &attested, at, hours.clone()), &want);
        // Also one that knows of more hours, and was told in several parts.
        let mut book = ForecastBook::default();
        for part in attested.chunks(3) {
            book.add(part, &(NOON - 100..=NOON + 100));
        }
        prop_assert_eq!(book.combine(&rule, at, hours), want);
    }

    /// What the ledger decides by: the outcome of every record of a batch is that of the plain form.
    #[test]
    fn a_record_follows_the_same_forecast_as_by_the_plain_form(
        attested in arb_attested(), rule in arb_rule(),
        records in prop::collection::vec((0i64..50, 0i64..20, 1i64..30, 0i64..45, 0u8..4), 1..6),
    ) {
        let (mut terms, cdr) = accepted_at_noon(None);
        terms.price_rule = crate::agreement::PriceRule::Dynamic(rule.clone());
        let mut book = ForecastBook::default();
        book.add(&attested, &(NOON - 100..=NOON + 100));
        let mut found = RecordForecasts::default();
        for (accepted, wait, length, asked, named) in records {
            let accepted_at = instant(NOON - 1, 30 + accepted);
            let start = instant(NOON - 1, 30 + accepted + wait);
            let end = start.checked_add(hours_long(length));
            let mut cdr = Cdr { accepted_at, start, end: end.unwrap(), ..cdr.clone() };
            // A set that was in force at some time, perhaps too early or too late; none; or one that never was.
            cdr.attestation = match named {
                0 => None,
                1 => Some(Digest([200; 32])),
                _ => {
                    let hours = session_hours(cdr.start, cdr.end, cdr.accepted_at);
                    plain::combine(&rule, &attested, instant(NOON - 1, 30 + asked), hours).map(|f| f.attestation)
                }
            };
            let want = plain::of_record(&terms, &attested, &cdr);
            prop_assert_eq!(&super::super::of_record(&terms, &attested, &cdr), &want);
            prop_assert_eq!(found.of_record(&book, &terms, &cdr).map(|f| f.cloned()), want);
        }
    }

    /// The instant of a quote is the latest at which the plain form would have made it.
    #[test]
    fn a_quote_is_found_at_the_latest_instant_that_it_can_be_of(
        attested in arb_attested(), rule in arb_rule(), made in 0i64..50, asked in 0i64..50, length in 1i64..10, held in 0i64..16,
    ) {
        let made_at = instant(NOON - 1, 30 + made);
        let until = made_at.checked_add(hours_long(length)).unwrap();
        let expires_at = instant(NOON - 1, 30 + made + held);
        let hours = session_hours(made_at, until, made_at);
        let set_at = |at| plain::combine(&rule, &attested, at, hours.clone()).map(|f| f.attestation);
        let quote = quote(made_at, until, expires_at, set_at(instant(NOON - 1, 30 + asked)));
        let earliest = instant(NOON - 1, 30 + made + held - 15).min(made_at);
        let mut candidates: Vec<UnixMillis> = attested.iter().map(|said| said.since).collect();
        candidates.retain(|since| *since > earliest && *since <= made_at);
        candidates.push(earliest);
        candidates.retain(|at| set_at(*at) == quote.forecast);
        prop_assert_eq!(quoted_at(&rule, &attested, &quote), candidates.into_iter().max());
    }
}
