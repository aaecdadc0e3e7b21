//! Measurements: what pricing and the ledger's rules cost per record, without any engine or store; beside them a whole
//! network's, and a credential's.
//!
//! The workload is generated: sessions of the founders' customers at the founders' stations, one after another at
//! each EVSE, under all three kinds of tariff, one to four charging periods each.

pub mod credentials;
pub mod network;

use crate::consortium::Seed;
use crate::consortium::founders::{self, Founder, TARIFFS};
use crate::ledger::LedgerSetup;
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{
    AgreementRef, Cdr, CdrId, EvsePseudonym, GridZone, Payer, SessionId, TariffRef, session_digest,
};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Price;
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use eroam_ledger::agreement::agreement_id;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{self, Header};
use eroam_ledger::genesis::Genesis;
use eroam_ledger::state::{StateError, StateView, Writes};
use eroam_ledger::tx::{BATCH_MAX, Envelope, PublicKey, Tx, VERSION};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// A ledger's state in a hash table: a look-up costs the same however many records there are. Nothing is ever read in
/// the table's own order.
#[derive(Clone, Debug, Default)]
struct StateTable(HashMap<Box<[u8]>, Box<[u8]>>);

impl StateTable {
    fn apply(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                // Boxed, so that nothing but the bytes themselves is kept.
                Some(value) => self.0.insert(key.into_boxed_slice(), value.into_boxed_slice()),
                None => self.0.remove(key.as_slice()),
            };
        }
    }
}

impl StateView for StateTable {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        Ok(self.0.get(key).map(|v| Cow::Borrowed(v.as_ref())))
    }
}

/// A measurement.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Measured {
    /// Records handled.
    pub records: u64,
    /// Records per second of wall time.
    pub cdrs_per_s: f64,
    /// Microseconds of one core's time per record.
    pub cpu_us_per_cdr: f64,
    /// The most memory the process had, in MiB.
    pub rss_mib: f64,
}

/// The workload: the terms and tariffs of one operator's partners, and the records that follow from them.
pub struct Workload {
    operator: Founder,
    partners: Vec<(AgreementRef, RoamingAgreement)>,
    tariffs: Vec<Tariff>,
    begin: UnixMillis,
}

/// EVSEs that sessions take turns at.
const EVSES: u64 = 4_000;
/// Sessions of different length and energy before the pattern repeats.
const SHAPES: u64 = 97;

impl Workload {
    /// The workload; always the same.
    #[must_use]
    pub fn new() -> Option<Self> {
        let founders = founders::founders();
        let operator = founders.last()?.clone();
        let partners = founders
            .iter()
            .filter(|f| f.party != operator.party)
            .map(|f| {
                let terms = founders::terms(&founders, f.party, operator.party);
                (AgreementRef { id: agreement_id(&terms, UnixMillis::EPOCH), version: 1 }, terms)
            })
            .collect();
        let tariffs = TARIFFS.iter().map(|id| operator.tariff(id)).collect();
        let begin = UnixMillis::new(1_767_225_600_000)?;
        Some(Self { operator, partners, tariffs, begin })
    }

    /// A tariff of the workload, by a record's number.
    #[must_use]
    pub fn tariff(&self, number: u64) -> Option<&Tariff> {
        self.tariffs.get(usize::try_from(number % TARIFFS.len() as u64).ok()?)
    }

    /// The terms of a record, by its number.
    #[must_use]
    pub fn partner(&self, number: u64) -> Option<&(AgreementRef, RoamingAgreement)> {
        self.partners.get(usize::try_from(number / 3 % self.partners.len() as u64).ok()?)
    }

    /// The inputs of a record's price.
    #[must_use]
    pub fn inputs<'a>(&'a self, number: u64, cdr: &'a Cdr) -> Option<PricingInputs<'a>> {
        let (_, terms) = self.partner(number)?;
        Some(PricingInputs::of_record(terms, self.tariff(number)?, cdr, None))
    }

    /// Record number `number`, priced.
    #[must_use]
    pub fn record(&self, number: u64) -> Option<Cdr> {
        let (agreement, _) = self.partner(number)?;
        let tariff = self.tariff(number)?;
        // Round `turn` of an EVSE: seven hours each, so that all hours of the week come up and nothing overlaps.
        let (turn, evse) = (number / EVSES, number % EVSES);
        let shape = number % SHAPES;
        let after = (turn * 7 * 60 + shape) * 60_000;
        let start = self.begin.checked_add(DurationMs::from_millis(after))?;
        let charging = DurationMs::from_millis((30 + shape * 2) * 60_000);
        let charging_end = start.checked_add(charging)?;
        let end = charging_end.checked_add(DurationMs::from_millis(shape % 5 * 20 * 60_000))?;
        let energy = WattHours::from_milli_wh(4_000_000 + shape * 391_000 + evse * 37);
        let clock = LocalClock::fixed(UtcOffset::new(3_600)?);
        let session = SessionId::new(&format!("bench-{number:030}")).ok()?;
        let mut cdr = Cdr {
            id: CdrId::new(session.as_str()).ok()?,
            session: session_digest(self.operator.party, &session),
            agreement: *agreement,
            tariff: TariffRef { id: tariff.id().clone(), version: 1 },
            evse: EvsePseudonym(u128::from(evse).to_le_bytes()),
            zone: GridZone::new("PT-1").ok()?,
            accepted_at: start,
            start,
            end,
            clock,
            periods: periods(&EvenSession { start, charging_end, end, energy }, tariff, &clock).ok()?,
            energy,
            attestation: None,
            price: Price::ZERO,
            currency: founders::currency(),
            quote: Digest::ZERO,
            readings: Digest::ZERO,
            acceptance: SignatureBytes([0; 64]),
            payer: Payer::Contract { commitment: Digest::of(&number.to_le_bytes()) },
        };
        cdr.price = pricing::price(&self.inputs(number, &cdr)?).ok()?.total;
        Some(cdr)
    }
}

/// The workload could not be made or was not accepted: a fault of the benchmark, not of the machine.
#[derive(Debug, thiserror::Error)]
#[error("the generated workload is refused: {0}")]
pub struct BadWorkload(String);

/// How many different records are priced over and over: more than any cache of the processor holds.
const DISTINCT: u64 = 20_000;

/// Prices `records` records.
///
/// # Errors
/// [`BadWorkload`].
pub fn price(records: u64) -> Result<Measured, BadWorkload> {
    let bad = || BadWorkload("a record cannot be made".into());
    let workload = Workload::new().ok_or_else(bad)?;
    let distinct = records.min(DISTINCT);
    let cdrs: Vec<Cdr> = (0..distinct).map(|n| workload.record(n)).collect::<Option<_>>().ok_or_else(bad)?;
    let clock = Clock::start();
    let mut done = 0;
    while done < records {
        for (cdr, number) in cdrs.iter().zip(0..) {
            if done == records {
                break;
            }
            let inputs = workload.inputs(number, cdr).ok_or_else(bad)?;
            let priced = pricing::price(&inputs).map_err(|e| BadWorkload(e.to_string()))?;
            if priced.total != cdr.price {
                return Err(BadWorkload("a price changed".into()));
            }
            done += 1;
        }
    }
    Ok(clock.stop().measured(records))
}

/// Executes `records` records in full batches: signature, decoding of nothing, checks, pricing, booking, and the
/// state's changes applied. Making and signing the batches is not measured.
///
/// # Errors
/// [`BadWorkload`].
pub fn execute(records: u64) -> Result<Measured, BadWorkload> {
    let bad = |what: &str| BadWorkload(what.to_owned());
    let seed = Seed(1);
    let workload = Workload::new().ok_or_else(|| bad("a record cannot be made"))?;
    let founders = founders::founders();
    let genesis = genesis(seed, &LedgerSetup::default());
    let network = genesis.network();
    let mut state = StateTable::default();
    state.apply(genesis.state().map_err(|e| BadWorkload(e.to_string()))?);
    let mut header = Header { network, height: 1, time: UnixMillis::EPOCH };
    let envelope = |member, sequence, lane, expires_at, tx| {
        Envelope { version: VERSION, network, member, key: 0, lane, sequence, expires_at, tx }
            .sign(&seed.signing_key(member))
    };
    let end_of_time = UnixMillis::new(253_402_300_799_999).ok_or_else(|| bad("the end of time"))?;
    let mut sequences = std::collections::BTreeMap::new();
    let (first, then) = founders::founding_transactions(&founders);
    for (party, tx) in first.into_iter().chain(then) {
        let sequence = sequences.entry(party).or_insert(0);
        let signed = envelope(party, *sequence, 1, end_of_time, tx);
        *sequence += 1;
        let outcome = execute::execute(&state, &signed, &header).map_err(|e| BadWorkload(e.to_string()))?;
        if let Some(code) = outcome.items.iter().find_map(|i| i.outcome.rejection()) {
            return Err(BadWorkload(code.to_string()));
        }
        state.apply(outcome.writes);
    }
    let mut total = Lap { wall: Duration::ZERO, cpu: Duration::ZERO };
    let mut number = 0;
    let mut sequence = 0;
    while number < records {
        let until = (number + BATCH_MAX as u64).min(records);
        let cdrs: Vec<Cdr> = (number..until)
            .map(|n| workload.record(n))
            .collect::<Option<_>>()
            .ok_or_else(|| bad("a record cannot be made"))?;
        header.time = cdrs.iter().map(|c| c.end).max().map_or(header.time, |end| end.max(header.time));
        header.height += 1;
        let tx = Tx::Cdr(CdrTx::RecordCdrs(cdrs));
        let signed = envelope(workload.operator.party, sequence, 0, end_of_time, tx);
        let clock = Clock::start();
        let outcome = execute::execute(&state, &signed, &header).map_err(|e| BadWorkload(e.to_string()))?;
        let refused = outcome.items.iter().find_map(|i| i.outcome.rejection());
        state.apply(outcome.writes);
        let lap = clock.stop();
        total = Lap { wall: total.wall + lap.wall, cpu: total.cpu + lap.cpu };
        if let Some(code) = refused {
            return Err(BadWorkload(code.to_string()));
        }
        number = until;
        sequence += 1;
    }
    // The state is held until here: its size is part of what is measured.
    std::hint::black_box(&state);
    Ok(total.measured(records))
}

/// The genesis of the founders with so many validators.
fn genesis(seed: Seed, setup: &LedgerSetup) -> Genesis {
    let founders = founders::founders();
    let parties: Vec<PartyId> = founders.iter().map(|f| f.party).collect();
    let consensus = setup.consensus(seed, &parties);
    founders::genesis(&founders, consensus, |p| PublicKey::of(&seed.signing_key(p)))
}

/// Wall and processor time.
struct Clock {
    wall: Instant,
    cpu: Duration,
}

struct Lap {
    wall: Duration,
    cpu: Duration,
}

impl Clock {
    fn start() -> Self {
        let cpu = thread_cpu_time();
        Self { wall: Instant::now(), cpu }
    }

    fn stop(&self) -> Lap {
        Lap { wall: self.wall.elapsed(), cpu: thread_cpu_time().saturating_sub(self.cpu) }
    }
}

impl Lap {
    fn measured(&self, records: u64) -> Measured {
        let wall = self.wall.as_secs_f64().max(f64::MIN_POSITIVE);
        Measured {
            records,
            cdrs_per_s: records as f64 / wall,
            cpu_us_per_cdr: self.cpu.as_secs_f64() * 1e6 / records as f64,
            rss_mib: peak_memory_mib(),
        }
    }
}

/// The time this thread has run, as Linux counts it; zero elsewhere.
fn thread_cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// The most memory this process has had, as Linux counts it; zero elsewhere.
#[must_use]
pub fn peak_memory_mib() -> f64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    let kib: f64 = line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    kib / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_accepts_every_generated_record() {
        let measured = execute(600).expect("every record is accepted");
        assert_eq!(measured.records, 600);
        assert!(price(300).is_ok());
    }
}
