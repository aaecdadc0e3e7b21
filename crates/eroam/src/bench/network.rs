//! What a whole network does: records per second and latency of validators with their sockets and disks, the bare
//! engine beside it, an idle network, and how long a network stands still when its leader dies.
//!
//! The records are those of the other benchmarks. They are made, signed and written to a file beforehand, so that
//! neither their making nor their memory is measured; reading and decoding them is, as it would be for a node that has
//! them from the network.

use super::{BadWorkload, Rule, StateTable, Workload, genesis, peak_memory_mib};
use crate::consortium::{Seed, founders};
use crate::ledger::{Ledger, LedgerSetup, OpenLedgerError};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_chain::client::Client;
use eroam_chain::machine::{Rules, StateMachine};
use eroam_domain::cdr::Cdr;
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_domain::time::UnixMillis;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{Header, Outcome, claimed_key, execute};
use eroam_ledger::genesis::Genesis;
use eroam_ledger::port::{LedgerError, LedgerPort as _};
use eroam_ledger::reads::Attempt;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::state::{StateError, StateKey, StateView, Writes};
use eroam_ledger::tx::{
    BATCH_MAX, Envelope, LANES_MAX, PublicKey, SignedEnvelope, Tx, VERSION, VerifiedEnvelope,
};
use serde::Serialize;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek as _, Write};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::time::{Duration, Instant};

/// How long the half-load phase lasts.
const HALF_LOAD_FOR: Duration = Duration::from_secs(10);
/// How many outcomes the bare engine remembers for validators that lag behind.
const REMEMBERED: usize = 4096;

/// Why a network could not be measured.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum BenchError {
    #[error(transparent)]
    Workload(#[from] BadWorkload),
    #[error("the network does not start")]
    Open(#[from] OpenLedgerError),
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    #[error("the prepared records cannot be written or read")]
    File(#[from] io::Error),
}

/// What a network of validators does with records.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct NetworkMeasured {
    /// How many validators, all on this machine.
    pub validators: usize,
    /// Whether the rules were left out: the same signatures checked, the same keys written.
    pub engine_only: bool,
    /// Records recorded in the phase of full load.
    pub records: u64,
    /// Records per second at full load.
    pub cdrs_per_s: f64,
    /// Envelopes per second at full load; each is a batch of records.
    pub txs_per_s: f64,
    /// From submission to a receipt that survives a crash, at half that rate: the median.
    pub p50_ms: f64,
    /// Ninety-five of a hundred are faster.
    pub p95_ms: f64,
    /// The same at full load.
    pub full_load_p50_ms: f64,
    /// The same at full load.
    pub full_load_p95_ms: f64,
    /// Microseconds of processor time per record and validator, submission included.
    pub cpu_us_per_cdr_node: f64,
    /// The most memory that all of them together had, in MiB.
    pub rss_mib: f64,
    /// Bytes in each validator's directory per record.
    pub bytes_per_cdr: f64,
    /// Blocks in the phase of full load.
    pub blocks: u64,
}

/// What a network does that has nothing to do.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleMeasured {
    /// How many validators.
    pub validators: usize,
    /// Measured for so long.
    pub seconds: u64,
    /// Bytes that all of them together had written to the disk.
    pub bytes_written: u64,
    /// The same per validator and day.
    pub bytes_per_day_node: f64,
    /// Processor time per validator, in percent of a core.
    pub cpu_percent: f64,
}

/// How long a network stands still when a validator dies.
#[derive(Clone, Debug, Serialize)]
pub struct FailoverMeasured {
    /// How many validators there were.
    pub validators: usize,
    /// For each validator that was stopped, the longest time between two receipts from then on, in milliseconds.
    pub gaps_ms: Vec<f64>,
    /// The longest of them.
    pub gap_ms_max: f64,
}

/// A prepared batch, as it stands in the file.
#[derive(BorshSerialize, BorshDeserialize)]
struct Prepared {
    at: UnixMillis,
    records: u64,
    envelope: Vec<u8>,
    /// What the rules make of it, for the bare engine.
    recorded: Option<Recorded>,
}

/// What the rules made of a batch.
#[derive(Clone, BorshSerialize, BorshDeserialize)]
struct Recorded {
    items: Vec<Item>,
    writes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The engine without the rules: it checks each signature and writes what the rules would have written.
#[derive(Default)]
struct Bare {
    recorded: RwLock<HashMap<Digest, Arc<Recorded>>>,
}

impl Bare {
    fn find(&self, signed: &SignedEnvelope) -> Option<Arc<Recorded>> {
        let recorded = self.recorded.read().unwrap_or_else(PoisonError::into_inner);
        recorded.get(&signed.digest()).cloned()
    }
}

impl StateMachine for Bare {
    fn reads(&self, envelope: &Envelope) -> Vec<StateKey> {
        // The member for its key, and the lane; what is written is written unseen.
        vec![StateKey::Member(envelope.member), StateKey::Lane(envelope.member, envelope.lane)]
    }

    fn claimed_key(
        &self,
        view: &dyn StateView,
        envelope: &Envelope,
    ) -> Result<Option<PublicKey>, StateError> {
        claimed_key(view, envelope)
    }

    fn attempt(
        &self,
        view: &dyn StateView,
        signed: &SignedEnvelope,
        verified: Option<&VerifiedEnvelope<'_>>,
        header: &Header,
    ) -> Result<Attempt, StateError> {
        let Some(recorded) = self.find(signed) else {
            // The founding transactions.
            return Rules.attempt(view, signed, verified, header);
        };
        if verified.is_none() {
            let outcome = ItemOutcome::Rejected(RejectCode::BadSignature);
            let items = vec![Item { hash: signed.digest(), outcome }];
            return Ok(Attempt::Done(Outcome { items, writes: Writes::new() }));
        }
        let writes = recorded.writes.iter().cloned().collect();
        Ok(Attempt::Done(Outcome { items: recorded.items.clone(), writes }))
    }
}

fn bad(what: impl ToString) -> BenchError {
    BadWorkload(what.to_string()).into()
}

fn end_of_time() -> Result<UnixMillis, BenchError> {
    UnixMillis::new(253_402_300_799_999).ok_or_else(|| bad("the end of time"))
}

/// Founds the network: tariffs and agreements.
fn found(seed: Seed, client: &mut Client) -> Result<(), BenchError> {
    let (first, then) = founders::founding_transactions(&founders::founders());
    let mut sequences: HashMap<_, u64> = HashMap::new();
    for txs in [first, then] {
        let mut envelopes = Vec::with_capacity(txs.len());
        for (party, tx) in txs {
            let sequence = sequences.entry(party).or_default();
            envelopes.push(sign(seed, client.network(), party, 15, *sequence, tx)?);
            *sequence += 1;
        }
        for receipt in client.submit(UnixMillis::EPOCH, envelopes)? {
            if let Some(code) = receipt.items.iter().find_map(|i| i.outcome.rejection()) {
                return Err(bad(code));
            }
        }
    }
    Ok(())
}

fn sign(
    seed: Seed,
    network: Digest,
    member: eroam_domain::ids::PartyId,
    lane: u16,
    sequence: u64,
    tx: Tx,
) -> Result<SignedEnvelope, BenchError> {
    let expires_at = end_of_time()?;
    Ok(Envelope { version: VERSION, network, member, key: 0, lane, sequence, expires_at, tx }
        .sign(&seed.signing_key(member)))
}

/// The lanes of the records; the last of all is the founders'.
const LANES: u64 = LANES_MAX as u64 - 1;

/// Writes `records` records in signed batches to a file, with the rules' outcomes if `outcomes` are wanted.
fn prepare(seed: Seed, genesis: &Genesis, records: u64, outcomes: bool) -> Result<File, BenchError> {
    let workload = Workload::new(Rule::Static).ok_or_else(|| bad("a record cannot be made"))?;
    let network = genesis.network();
    let mut state = StateTable::default();
    let mut header = Header { network, height: 1, time: UnixMillis::EPOCH };
    if outcomes {
        state.apply(genesis.state().map_err(bad)?);
        let (first, then) = founders::founding_transactions(&founders::founders());
        let mut sequences: HashMap<_, u64> = HashMap::new();
        for (party, tx) in first.into_iter().chain(then) {
            let sequence = sequences.entry(party).or_default();
            let signed = sign(seed, network, party, 15, *sequence, tx)?;
            *sequence += 1;
            state.apply(execute(&state, &signed, &header).map_err(bad)?.writes);
        }
    }
    let mut out = BufWriter::with_capacity(1 << 20, tempfile::tempfile()?);
    let (mut number, mut batch) = (0, 0);
    while number < records {
        let until = (number + BATCH_MAX as u64).min(records);
        let cdrs: Option<Vec<Cdr>> = (number..until).map(|n| workload.record(n)).collect();
        let cdrs = cdrs.ok_or_else(|| bad("a record cannot be made"))?;
        let at = cdrs.iter().map(|c| c.end).max().map_or(header.time, |end| end.max(header.time));
        header.time = at;
        let lane = u16::try_from(batch % LANES).unwrap_or(0);
        let tx = Tx::Cdr(CdrTx::RecordCdrs(cdrs));
        let signed = sign(seed, network, workload.operator.party, lane, batch / LANES, tx)?;
        let recorded = if outcomes {
            let outcome = execute(&state, &signed, &header).map_err(bad)?;
            let writes = outcome.writes.clone();
            state.apply(outcome.writes);
            Some(Recorded { items: outcome.items, writes: writes.into_iter().collect() })
        } else {
            None
        };
        let envelope = signed.bytes().to_vec();
        let bytes = to_bytes(&Prepared { at, records: until - number, envelope, recorded });
        out.write_all(&u32::try_from(bytes.len()).map_err(bad)?.to_le_bytes())?;
        out.write_all(&bytes)?;
        number = until;
        batch += 1;
    }
    let mut file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.rewind()?;
    Ok(file)
}

/// Reads the prepared batches one after another.
struct Batches {
    from: BufReader<File>,
}

impl Batches {
    fn next(&mut self) -> Result<Option<Prepared>, BenchError> {
        let mut size = [0; 4];
        match self.from.read_exact(&mut size) {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            other => other?,
        }
        let mut bytes = vec![0; usize::try_from(u32::from_le_bytes(size)).map_err(bad)?];
        self.from.read_exact(&mut bytes)?;
        from_bytes(&bytes).map(Some).map_err(bad)
    }
}

/// What came of a phase.
struct Phase {
    records: u64,
    batches: u64,
    wall: Duration,
    cpu: Duration,
    latencies: Vec<Duration>,
    blocks: u64,
}

/// A batch that somebody is to submit, due at this moment.
type Job = (Instant, SignedEnvelope, UnixMillis);

/// Submits batches, each lane's one after another, until there are none left, `limit` records are done or `for_at_most`
/// has passed; at `rate` records a second if one is given, otherwise as fast as they are taken.
fn submit_all(
    client: &Client,
    batches: &mut Batches,
    bare: Option<&Bare>,
    limit: u64,
    rate: Option<f64>,
    for_at_most: Option<Duration>,
) -> Result<Phase, BenchError> {
    let begun = Instant::now();
    let (cpu, first_height) = (process_cpu_time(), client.latest().height);
    let latencies = Mutex::new(Vec::new());
    let failed: Mutex<Option<BenchError>> = Mutex::new(None);
    let stop = AtomicBool::new(false);
    let (mut records, mut count) = (0, 0);
    let mut remembered = std::collections::VecDeque::new();
    std::thread::scope(|scope| -> Result<(), BenchError> {
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            let (jobs, mine) = mpsc::sync_channel::<Job>(1);
            let (latencies, failed, stop) = (&latencies, &failed, &stop);
            let mut client = client.clone();
            scope.spawn(move || {
                for (due, signed, at) in mine {
                    if let Err(error) = submit_one(&mut client, due, signed, at, latencies) {
                        *failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                        stop.store(true, Ordering::Relaxed);
                        return;
                    }
                }
            });
            lanes.push(jobs);
        }
        while records < limit && !stop.load(Ordering::Relaxed) {
            if for_at_most.is_some_and(|most| begun.elapsed() >= most) {
                break;
            }
            let Some(prepared) = batches.next()? else { break };
            let signed = SignedEnvelope::decode(prepared.envelope).map_err(bad)?;
            if let (Some(bare), Some(recorded)) = (bare, prepared.recorded) {
                let digest = signed.digest();
                let mut known = bare.recorded.write().unwrap_or_else(PoisonError::into_inner);
                known.insert(digest, Arc::new(recorded));
                remembered.push_back(digest);
                if remembered.len() > REMEMBERED
                    && let Some(oldest) = remembered.pop_front()
                {
                    known.remove(&oldest);
                }
            }
            let due = match rate {
                Some(rate) => {
                    let due = begun + Duration::from_secs_f64(records as f64 / rate);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    due
                }
                None => Instant::now(),
            };
            let lane = usize::from(signed.envelope().lane);
            // A lane whose thread has failed takes no more; why is reported below.
            let Some(jobs) = lanes.get(lane) else { continue };
            if jobs.send((due, signed, prepared.at)).is_err() {
                break;
            }
            records += prepared.records;
            count += 1;
        }
        Ok(())
    })?;
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    Ok(Phase {
        records,
        batches: count,
        wall: begun.elapsed(),
        cpu: process_cpu_time().saturating_sub(cpu),
        latencies: latencies.into_inner().unwrap_or_else(PoisonError::into_inner),
        blocks: client.latest().height.saturating_sub(first_height),
    })
}

fn submit_one(
    client: &mut Client,
    due: Instant,
    signed: SignedEnvelope,
    at: UnixMillis,
    latencies: &Mutex<Vec<Duration>>,
) -> Result<(), BenchError> {
    for receipt in client.submit(at, vec![signed])? {
        if let Some(code) = receipt.items.iter().find_map(|i| i.outcome.rejection()) {
            return Err(bad(code));
        }
    }
    latencies.lock().unwrap_or_else(PoisonError::into_inner).push(due.elapsed());
    Ok(())
}

fn quantile_ms(latencies: &mut [Duration], of_hundred: usize) -> f64 {
    latencies.sort_unstable();
    let place = latencies.len().saturating_sub(1) * of_hundred / 100;
    latencies.get(place).map_or(0.0, |d| d.as_secs_f64() * 1e3)
}

/// Has `records` records recorded by a network of `validators`: first as fast as it takes them, then more of them at
/// half that rate.
///
/// # Errors
/// [`BenchError`].
pub fn ledger(validators: usize, records: u64, engine_only: bool) -> Result<NetworkMeasured, BenchError> {
    let seed = Seed(1);
    let setup = LedgerSetup { validators, ..LedgerSetup::default() };
    let genesis = genesis(seed, &setup);
    // The half-load phase takes up to as many again.
    let file = prepare(seed, &genesis, records.saturating_mul(2), engine_only)?;
    let mut batches = Batches { from: BufReader::with_capacity(1 << 20, file) };
    let bare = Arc::new(Bare::default());
    let machine: Arc<dyn StateMachine> = if engine_only { bare.clone() } else { Arc::new(Rules) };
    let directory = tempfile::tempdir()?;
    let setup = LedgerSetup { directory: Some(directory.path().to_owned()), ..setup };
    let ledger = Ledger::open_with(seed, &genesis, &setup, machine)?;
    let mut client = ledger.client().clone();
    found(seed, &mut client)?;
    let bare = engine_only.then_some(&*bare);
    let size_before = directory_bytes(directory.path())?;
    let mut full = submit_all(&client, &mut batches, bare, records, None, None)?;
    let size = directory_bytes(directory.path())?.saturating_sub(size_before);
    let rate = full.records as f64 / full.wall.as_secs_f64();
    let mut half = submit_all(&client, &mut batches, bare, records, Some(rate / 2.0), Some(HALF_LOAD_FOR))?;
    let per_node = full.records.max(1) as f64 * validators as f64;
    Ok(NetworkMeasured {
        validators,
        engine_only,
        records: full.records,
        cdrs_per_s: rate,
        txs_per_s: full.batches as f64 / full.wall.as_secs_f64(),
        p50_ms: quantile_ms(&mut half.latencies, 50),
        p95_ms: quantile_ms(&mut half.latencies, 95),
        full_load_p50_ms: quantile_ms(&mut full.latencies, 50),
        full_load_p95_ms: quantile_ms(&mut full.latencies, 95),
        cpu_us_per_cdr_node: full.cpu.as_secs_f64() * 1e6 / per_node,
        rss_mib: peak_memory_mib(),
        bytes_per_cdr: size as f64 / per_node,
        blocks: full.blocks,
    })
}

/// Lets a network of `validators` do nothing for `seconds`.
///
/// # Errors
/// [`BenchError`].
pub fn idle(validators: usize, seconds: u64) -> Result<IdleMeasured, BenchError> {
    let seed = Seed(1);
    let setup = LedgerSetup { validators, ..LedgerSetup::default() };
    let ledger = Ledger::open(seed, &genesis(seed, &setup), &setup)?;
    found(seed, &mut ledger.client().clone())?;
    // What the founding left behind is written first.
    std::thread::sleep(Duration::from_secs(3));
    let (cpu, written) = (process_cpu_time(), bytes_written()?);
    std::thread::sleep(Duration::from_secs(seconds));
    let bytes = bytes_written()?.saturating_sub(written);
    let cpu = process_cpu_time().saturating_sub(cpu).as_secs_f64();
    let node_seconds = validators as f64 * seconds as f64;
    Ok(IdleMeasured {
        validators,
        seconds,
        bytes_written: bytes,
        bytes_per_day_node: bytes as f64 * 86_400.0 / node_seconds,
        cpu_percent: cpu * 100.0 / node_seconds,
    })
}

/// Stops each validator but the first in turn while somebody submits, and starts it again.
///
/// # Errors
/// [`BenchError`].
pub fn failover(validators: usize) -> Result<FailoverMeasured, BenchError> {
    let seed = Seed(1);
    let setup = LedgerSetup { validators, ..LedgerSetup::default() };
    let genesis = genesis(seed, &setup);
    let network = genesis.network();
    let mut gaps_ms = Vec::new();
    for stopped in 1..validators {
        let mut ledger = Ledger::open(seed, &genesis, &setup)?;
        let mut client = ledger.client().clone();
        let party = founders::founders().first().map(|f| f.party).ok_or_else(|| bad("no founder"))?;
        let (mut gap, mut last) = (Duration::ZERO, Instant::now());
        // Long enough for the stopped validator to have been leader several times.
        let until = Instant::now() + Duration::from_secs(15);
        let mut sequence = 0;
        ledger.stop(stopped);
        while Instant::now() < until {
            let tx = founders::attestation(party, sequence).ok_or_else(|| bad("an attestation"))?;
            let signed = sign(seed, network, party, 0, sequence, tx)?;
            client.submit(UnixMillis::EPOCH, vec![signed])?;
            gap = gap.max(last.elapsed());
            last = Instant::now();
            sequence += 1;
        }
        gaps_ms.push(gap.as_secs_f64() * 1e3);
    }
    let gap_ms_max = gaps_ms.iter().copied().fold(0.0, f64::max);
    Ok(FailoverMeasured { validators, gaps_ms, gap_ms_max })
}

/// The bytes of all files under a directory.
fn directory_bytes(path: &std::path::Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        sum += if kind.is_dir() { directory_bytes(&entry.path())? } else { kind.len() };
    }
    Ok(sum)
}

/// The bytes that this process had written to the disk, as Linux counts them.
fn bytes_written() -> io::Result<u64> {
    let text = std::fs::read_to_string("/proc/self/io")?;
    let line = text.lines().find_map(|l| l.strip_prefix("write_bytes: "));
    line.and_then(|n| n.trim().parse().ok())
        .ok_or_else(|| io::Error::other("/proc/self/io has no write_bytes"))
}

/// The processor time of all threads of this process, those that have ended included, as Linux counts it; zero
/// elsewhere. It counts in hundredths of a second.
pub(crate) fn process_cpu_time() -> Duration {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold anything; the fields after it are numbers.
    let fields: Vec<&str> = text.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|f| f.parse::<u64>().ok()).unwrap_or(0);
    Duration::from_millis((ticks(11) + ticks(12)) * 10)
}
