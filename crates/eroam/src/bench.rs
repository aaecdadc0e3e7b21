//! Measurements: what pricing and the ledger's rules cost per record, without any engine or store; beside them a whole
//! network's, and a credential's.
//!
//! The workload is generated: sessions of the founders' customers at the founders' stations, one after another at
//! each EVSE, under all three kinds of tariff, one to four charging periods each.

pub mod beside_engine;
pub mod credentials;
mod dynamic;
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
use eroam_domain::pricing::{self, ForecastInput, KnownRates, PricingInputs};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{self, Header};
use eroam_ledger::forecast::ForecastTx;
use eroam_ledger::genesis::Genesis;
use eroam_ledger::state::{StateError, StateView, Writes};
use eroam_ledger::tx::{BATCH_MAX, Envelope, PublicKey, Tx, VERSION};
use serde::Serialize;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
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

/// How the agreements of a workload price energy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// By the operator's tariff and a factor.
    Static,
    /// By the forecast load of each hour; what is not energy by the tariff.
    Dynamic,
}

/// The workload: the terms and tariffs of one operator's partners, and the records that follow from them.
pub struct Workload {
    rule: Rule,
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
    pub fn new(rule: Rule) -> Option<Self> {
        let founders = founders::founders();
        let operator = founders.last()?.clone();
        let partner = |f: &Founder| {
            let mut terms = founders::terms(&founders, f.party, operator.party);
            if rule == Rule::Dynamic {
                terms = dynamic::terms(terms, zone()?, founders.iter().map(|f| f.party))?;
            }
            Some((AgreementRef { id: agreement_id(&terms, UnixMillis::EPOCH), version: 1 }, terms))
        };
        let others = founders.iter().filter(|f| f.party != operator.party);
        let partners = others.map(partner).collect::<Option<_>>()?;
        let tariffs = TARIFFS.iter().map(|id| operator.tariff(id)).collect();
        let begin = UnixMillis::new(1_767_225_600_000)?;
        Some(Self { rule, operator, partners, tariffs, begin })
    }

    /// What makes the network ready for it: everybody's tariffs, and this workload's agreements.
    fn founding(&self, founders: &[Founder]) -> Vec<(PartyId, Tx)> {
        let (first, _) = founders::founding_transactions(founders);
        let mut all: Vec<_> = first.into_iter().filter(|(_, tx)| matches!(tx, Tx::Tariff(_))).collect();
        for (agreement, terms) in &self.partners {
            let effective_from = UnixMillis::EPOCH;
            let accepted = terms_digest(terms, effective_from);
            let propose = AgreementTx::Propose { terms: terms.clone(), effective_from };
            let accept = AgreementTx::Accept { id: agreement.id, version: 1, terms: accepted };
            all.extend([(terms.emsp, Tx::Agreement(propose)), (terms.cpo, Tx::Agreement(accept))]);
        }
        all
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
    pub fn inputs<'a>(
        &'a self,
        number: u64,
        cdr: &'a Cdr,
        forecast: Option<&'a ForecastInput>,
    ) -> Option<PricingInputs<'a>> {
        let (_, terms) = self.partner(number)?;
        Some(PricingInputs::of_record(terms, self.tariff(number)?, cdr, forecast))
    }

    /// Which round of the EVSEs a record belongs to.
    const fn round(number: u64) -> u64 {
        number / EVSES
    }

    /// When a round begins.
    fn round_begin(&self, round: u64) -> Option<UnixMillis> {
        self.begin.checked_add(DurationMs::from_millis(round * dynamic::ROUND_HOURS * 3_600_000))
    }

    /// What must be attested before a round begins, each once.
    fn attestations(&self, round: u64) -> Option<Vec<(PartyId, Tx)>> {
        let attesters: BTreeSet<PartyId> =
            self.partners.iter().filter_map(|(_, terms)| dynamic::forecaster(terms)).collect();
        let first_hour = self.round_begin(round)?.utc_hour();
        let attest = |party| {
            let attestation = dynamic::attestation(zone()?, first_hour);
            Some((party, Tx::Forecast(ForecastTx::AttestForecast(attestation))))
        };
        attesters.into_iter().map(attest).collect()
    }

    /// Record number `number`, priced.
    #[must_use]
    pub fn record(&self, number: u64) -> Option<Cdr> {
        self.priced_record(number).map(|(cdr, _)| cdr)
    }

    /// Record number `number`, priced, with the forecast that its price follows.
    pub(crate) fn priced_record(&self, number: u64) -> Option<(Cdr, Option<ForecastInput>)> {
        let (agreement, terms) = self.partner(number)?;
        let tariff = self.tariff(number)?;
        // Seven hours each, so that all hours of the week come up and nothing overlaps.
        let begin = self.round_begin(Self::round(number))?;
        let (evse, shape) = (number % EVSES, number % SHAPES);
        let start = begin.checked_add(DurationMs::from_millis(shape * 60_000))?;
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
            zone: zone()?,
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
        let forecast = match self.rule {
            Rule::Static => None,
            Rule::Dynamic => Some(dynamic::follow(terms, &mut cdr, begin)?),
        };
        cdr.price = pricing::price(&self.inputs(number, &cdr, forecast.as_ref())?).ok()?.total;
        Some((cdr, forecast))
    }
}

/// Where the stations are.
fn zone() -> Option<GridZone> {
    GridZone::new("PT-1").ok()
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
pub fn price(records: u64, rule: Rule) -> Result<Measured, BadWorkload> {
    let bad = || BadWorkload("a record cannot be made".into());
    let workload = Workload::new(rule).ok_or_else(bad)?;
    let distinct = records.min(DISTINCT);
    // As on the ledger: records of the same hours share what was in force, and those of a partner the rates of their hours.
    let mut shared: BTreeMap<(Digest, i64, usize), Arc<ForecastInput>> = BTreeMap::new();
    let mut share = |forecast: ForecastInput| {
        let key = (forecast.attestation, forecast.first_hour, forecast.hours.len());
        Arc::clone(shared.entry(key).or_insert_with(|| Arc::new(forecast)))
    };
    let record = |number| {
        let (cdr, forecast) = workload.priced_record(number)?;
        Some((cdr, forecast.map(&mut share)))
    };
    let cdrs: Vec<(Cdr, Option<Arc<ForecastInput>>)> =
        (0..distinct).map(record).collect::<Option<_>>().ok_or_else(bad)?;
    let mut rates: BTreeMap<PartyId, KnownRates> = BTreeMap::new();
    let clock = Clock::start();
    let mut done = 0;
    while done < records {
        for ((cdr, forecast), number) in cdrs.iter().zip(0..) {
            if done == records {
                break;
            }
            let inputs = workload.inputs(number, cdr, forecast.as_deref()).ok_or_else(bad)?;
            let (_, terms) = workload.partner(number).ok_or_else(bad)?;
            let known = rates.entry(terms.emsp).or_default();
            let priced = pricing::price_with(&inputs, known).map_err(|e| BadWorkload(e.to_string()))?;
            if priced.total != cdr.price {
                return Err(BadWorkload("a price changed".into()));
            }
            done += 1;
        }
    }
    Ok(clock.stop().measured(records))
}

/// Executes `records` records in full batches: signature, decoding of nothing, checks, pricing, booking, and the
/// state's changes applied. Making and signing the batches is not measured, nor is what is attested before them.
///
/// # Errors
/// [`BadWorkload`].
pub fn execute(records: u64, rule: Rule) -> Result<Measured, BadWorkload> {
    let bad = |what: &str| BadWorkload(what.to_owned());
    let seed = Seed(1);
    let workload = Workload::new(rule).ok_or_else(|| bad("a record cannot be made"))?;
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
    let mut sequences = BTreeMap::new();
    let mut prepare = |state: &mut StateTable, header: &Header, (party, tx): (PartyId, Tx)| {
        let sequence = sequences.entry(party).or_insert(0);
        let signed = envelope(party, *sequence, 1, end_of_time, tx);
        *sequence += 1;
        let outcome = execute::execute(&*state, &signed, header).map_err(|e| BadWorkload(e.to_string()))?;
        if let Some(code) = outcome.items.iter().find_map(|i| i.outcome.rejection()) {
            return Err(BadWorkload(code.to_string()));
        }
        state.apply(outcome.writes);
        Ok(())
    };
    for prepared in workload.founding(&founders) {
        prepare(&mut state, &header, prepared)?;
    }
    let mut total = Lap { wall: Duration::ZERO, cpu: Duration::ZERO };
    let mut rounds = 0;
    let mut number = 0;
    let mut sequence = 0;
    while number < records {
        // A batch is of one round, so that what it needs is attested before.
        let round = Workload::round(number);
        let until = (number + BATCH_MAX as u64).min(records).min((round + 1) * EVSES);
        if round == rounds {
            let begin = workload.round_begin(round).ok_or_else(|| bad("the end of time"))?;
            let before = begin.checked_sub(DurationMs::from_millis(3_600_000)).unwrap_or(UnixMillis::EPOCH);
            header.time = header.time.max(before);
            let attestations = workload.attestations(round).ok_or_else(|| bad("nothing to attest"))?;
            for prepared in attestations {
                prepare(&mut state, &header, prepared)?;
            }
            rounds += 1;
        }
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
    memory_mib("self", "VmHWM:").unwrap_or(0.0)
}

/// The memory that a process has at the moment, files that it shares with others included, as Linux counts it; `None`
/// elsewhere, or if there is no such process.
#[must_use]
pub fn resident_memory_mib(process: u32) -> Option<f64> {
    memory_mib(&process.to_string(), "VmRSS:")
}

fn memory_mib(process: &str, what: &str) -> Option<f64> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix(what))?;
    let kib: f64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib / 1024.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ledger_accepts_every_generated_record() {
        for rule in [Rule::Static, Rule::Dynamic] {
            let measured = execute(600, rule).expect("every record is accepted");
            assert_eq!(measured.records, 600);
            assert!(price(300, rule).is_ok());
        }
    }
}
