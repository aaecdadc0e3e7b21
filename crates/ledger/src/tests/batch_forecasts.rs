//! What the records of a batch share of their forecasts changes nothing for any of them.

use super::fixture::*;
use super::forecast::{attest, by_forecast, dynamic_terms, forecast_of, rule, with_rule, zone};
use crate::execute::{Header, execute};
use crate::reject::{ItemOutcome, RejectCode};
use crate::state::{StateError, StateKey, StateView};
use eroam_domain::agreement::{DynamicRule, Panel};
use eroam_domain::cdr::{Cdr, EvsePseudonym};
use eroam_domain::codec::{self, Digest};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::BTreeMap;

/// Two agreements of one operator in one zone, with different forecasters, who changed their minds; and records that
/// follow what was in force, something else, or nothing.
fn told_all_sorts_of_things() -> (Chain, Vec<Cdr>) {
    let mut chain = Chain::new();
    let panel = Panel { parties: vec![tr1(), tr2(), arb()], quorum: 2 };
    let alone = chain.agree(dynamic_terms(hom(), vis()));
    let three = chain.agree(with_rule(terms(uti(), vis()), DynamicRule { forecasters: panel, ..rule() }));
    for (place, minutes) in [5, 12, 48, 51, 55, 58].into_iter().enumerate() {
        chain.now = later(on(1, 20, 12), minutes * 60_000);
        let place = u32::try_from(place).unwrap();
        let parties = [tr1(), tr2(), arb()];
        for party in [parties[place as usize % 3], parties[(place as usize + 1) % 3]] {
            let said = forecast_of(on(1, 20, 13 + i64::from(place % 3)), &[500 + 40 * place, 700, 650]);
            chain.ok(party, attest(said));
        }
    }
    chain.now = on(1, 20, 20);
    let record = |number: u32| {
        let roaming = if number.is_multiple_of(2) { &alone } else { &three };
        let start = on(1, 20, 13 + i64::from(number % 4));
        let mut cdr = roaming.cdr(number, start, 10_000 + u64::from(number));
        cdr.evse = EvsePseudonym([u8::try_from(number).unwrap(); 16]);
        // Accepted at 13:00 or earlier, after a quote that is between 0 and 19 minutes older.
        cdr.accepted_at = later(on(1, 20, 12), u64::from(60 - number % 7) * 60_000);
        let quoted = later(cdr.accepted_at, 0).get() - i64::from(number % 20) * 60_000;
        let quoted = eroam_domain::time::UnixMillis::new(quoted).unwrap();
        match number % 10 {
            8 => cdr,
            9 => Cdr { attestation: Some(Digest::of(b"never in force")), ..cdr },
            _ => by_forecast(&chain, roaming, &cdr, quoted),
        }
    };
    let records = (0..80).map(record).collect();
    (chain, records)
}

#[test]
fn a_record_fares_in_a_batch_as_it_fares_alone() {
    let (chain, cdrs) = told_all_sorts_of_things();
    let alone: Vec<ItemOutcome> =
        cdrs.iter().map(|cdr| chain.fork().submit(vis(), records([cdr.clone()]))[0].outcome).collect();
    let mut together = chain.fork();
    let items = together.submit(vis(), records(cdrs));
    assert_eq!(items.iter().map(|item| item.outcome).collect::<Vec<_>>(), alone);
    // Each way to go wrong is among them, and most go right.
    let count = |wanted| alone.iter().filter(|outcome| outcome.rejection() == wanted).count();
    assert!(count(None) > 40, "{alone:?}");
    assert!(count(Some(RejectCode::UnknownForecast)) >= 8, "{alone:?}");
    assert!(count(Some(RejectCode::ForecastOmitted)) >= 4, "{alone:?}");
}

/// A state that counts how often each key is read.
struct Counting<'s> {
    chain: &'s Chain,
    reads: RefCell<BTreeMap<Vec<u8>, usize>>,
}

impl StateView for Counting<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        *self.reads.borrow_mut().entry(key.to_vec()).or_default() += 1;
        self.chain.state.get(key)
    }
}

#[test]
fn a_batch_reads_what_a_forecaster_said_of_a_day_once() {
    let (chain, cdrs) = told_all_sorts_of_things();
    let signed = chain.sign(chain.envelope(vis(), records(cdrs)));
    let counting = Counting { chain: &chain, reads: RefCell::default() };
    let header = Header { network: chain.network, height: 100, time: chain.now };
    execute(&counting, &signed, &header).unwrap();
    let reads = counting.reads.into_inner();
    let of_days = |(key, count): (Vec<u8>, usize)| match codec::from_bytes(&key) {
        Ok(StateKey::ForecastDay(party, of, _)) if of == zone() => Some((party, count)),
        _ => None,
    };
    let mut found: Vec<_> = reads.into_iter().filter_map(of_days).collect();
    found.sort_unstable();
    let mut want = vec![(tr1(), 1), (tr2(), 1), (arb(), 1)];
    want.sort_unstable();
    assert_eq!(found, want);
}
