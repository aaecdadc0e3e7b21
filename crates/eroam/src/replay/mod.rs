//! `eroam replay`: real charging sessions from files go through a whole consortium: contract id, gateway, AAA,
//! rules, quote, credit, charge, record, settlement, one bill.
//!
//! Business time is the data's. Events are handled in ticks of a fixed number, in the order of their times; within a
//! tick all drivers who arrive are served before the sessions that end are recorded, and each half of a tick is one
//! block of the ledger. Ticks end where a settlement period is closed, so that what is booked does not depend on
//! their size.
//!
//! With a data directory a replay can be killed at any time and started again with the same input: every step knows
//! what was done already.

pub mod assign;
pub mod input;
pub mod output;

use crate::causes::chain;
use crate::consortium::founders::{self, CLOSE_GRACE, PERIOD};
use crate::consortium::{AtStation, Consortium, ConsortiumError, Seed, Setup};
use assign::{Assignment, PlannedSession, RoamingShare, assign};
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::{ChargeRequest, PresentedCredential};
use eroam_domain::ids::PartyId;
use eroam_domain::pricing::plan::{EvenSession, PlanError, periods};
use eroam_domain::quantity::DurationMs;
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_gateway::account::readings_digest;
use eroam_gateway::ports::Store as _;
use eroam_gateway::sessions::{Consumption, Phase, Session};
use eroam_ledger::query;
use input::{InputSession, ReadError, Rejected};
use output::OutputError;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Instant;

/// Events handled between two writes to the ledger and the stores.
pub const TICK_EVENTS: usize = 8_192;
/// The most business time between two writes: a record must reach the ledger within the agreement's window.
const TICK_SPAN: DurationMs = DurationMs::from_millis(21 * 86_400_000);

/// What to replay, and how.
#[derive(Clone, Debug)]
pub struct Options {
    /// The files.
    pub inputs: Vec<PathBuf>,
    /// Where to write.
    pub out: PathBuf,
    /// Where the consortium keeps its records and its ledger; by default nowhere.
    pub setup: Setup,
    /// So many sessions at most, the earliest.
    pub limit: Option<usize>,
    /// So often, as later years with other drivers.
    pub repeat: u32,
    /// The share of drivers who charge away from home.
    pub roaming_share: RoamingShare,
    /// Every key and id follows from it.
    pub seed: Seed,
    /// Events in a tick.
    pub tick_events: usize,
}

/// Why a replay stopped.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// No input could be read at all.
    #[error("no file holds a session that can be replayed; what is wrong with each is in {0}")]
    NothingToReplay(String),
    /// A station would have more ports than there can be.
    #[error(transparent)]
    Ports(#[from] input::TooManyPorts),
    /// The consortium failed.
    #[error(transparent)]
    Consortium(#[from] ConsortiumError),
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] OutputError),
}

/// What the anomaly rules found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Anomalies {
    /// Records of which something was found.
    pub found: u64,
    /// Of these, contested on the ledger; of the others somebody is only told.
    pub contested: u64,
}

/// What a replay did. Amounts are millionths, energy is in watt-hours.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// The seed, to repeat it.
    pub seed: u64,
    /// Rows of all files that tell a session, times the repetitions.
    pub sessions_read: u64,
    /// Of these, refused as input or denied at the station; each is in `rejected.jsonl`.
    pub sessions_rejected: u64,
    /// Rows, and whole files, that could not be used as input.
    pub rows_refused: u64,
    /// Sessions that delivered energy and are on a bill.
    pub sessions_charged: u64,
    /// Of these, at another operator than the driver's home utility.
    pub sessions_roamed: u64,
    /// Roaming sessions that the operator authorized without asking the home utility.
    pub local_authorizations: u64,
    /// Records on the ledger.
    pub cdrs_recorded: u64,
    /// Sessions that wait for somebody; each is in `pending.jsonl`.
    pub sessions_pending: u64,
    /// Ports that were inferred for the stations of the files.
    pub ports: u64,
    /// Drivers.
    pub drivers: u64,
    /// The energy of the charged sessions.
    pub energy_wh: u64,
    /// What home utilities found of the records; absent unless they look. Each is in `anomalies.jsonl`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub anomalies: Option<Anomalies>,
    /// The state that every member computes.
    pub state_digest: String,
    /// The height of the ledger's latest block. It depends on how the transactions were packed.
    pub ledger_height: u64,
    /// How many validators agreed on it.
    pub validators: u64,
    /// For each currency all accounts less the attested deposits: 0, or money was made or lost.
    pub ledger_balance_micros: BTreeMap<String, i64>,
    /// What each party was owed (positive) or owed over all closed periods.
    pub net_positions: Vec<NetTotal>,
    /// Messages between organisations, by kind.
    pub letters: BTreeMap<String, u64>,
    /// From the first file to the last output.
    pub wall_s: f64,
    /// Of these, handling the sessions.
    pub replay_s: f64,
    /// Records on the ledger per second of `replay_s`.
    pub cdrs_per_s: f64,
}

/// A party's net position over all closed periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetTotal {
    /// The party.
    pub party: PartyId,
    /// The currency.
    pub currency: String,
    /// Millionths.
    pub amount_micros: i64,
}

/// What the caller shows while a replay runs.
pub trait Progress {
    /// A file could not be used, or only in part.
    fn file_problem(&mut self, message: &str);
    /// So many events of so many are done.
    fn events(&mut self, done: u64, of: u64);
    /// A new part of the work began.
    fn stage(&mut self, name: &str);
}

/// Runs a replay.
///
/// # Errors
/// [`ReplayError`].
pub fn run(options: &Options, progress: &mut dyn Progress) -> Result<Summary, ReplayError> {
    let begun = Instant::now();
    output::check(&options.out)?;
    progress.stage("reading");
    let read = read_inputs(options, progress)?;
    let mut rejected = read.rejected.clone();
    let mut consortium = Consortium::open(options.seed, &options.setup)?;
    output::prepare(&options.out)?;
    let founders = consortium.founders().to_vec();
    let assignment = assign(&read.sessions, &founders, options.seed, options.roaming_share, options.repeat);
    for (input, field, reason) in &assignment.unplaced {
        rejected.push(rejection(
            &read.sessions[*input],
            field,
            reason.clone(),
            "replay this part of the data alone",
        ));
    }
    progress.stage("enrolling");
    enrol(&mut consortium, &assignment)?;
    consortium.resume()?;
    progress.stage("charging");
    let charging = Instant::now();
    let mut runner = Runner {
        consortium: &mut consortium,
        assignment: &assignment,
        inputs: &read.sessions,
        tariffs: HashMap::new(),
        powered: HashMap::new(),
        by_id: assignment.sessions.iter().enumerate().map(|(i, s)| (s.id.clone(), i)).collect(),
        rejected: &mut rejected,
    };
    runner.run(options.tick_events, progress)?;
    let replay_s = charging.elapsed().as_secs_f64();
    progress.stage("writing");
    let totals = output::write(&options.out, &mut consortium, &assignment.evses, &rejected)?;
    let anomalies = match options.setup.anomalies {
        Some(_) => {
            let (found, contested) = output::write_anomalies(&options.out, &mut consortium)?;
            Some(Anomalies { found, contested })
        }
        None => None,
    };
    let sessions_read = read.rows * u64::from(options.repeat);
    let summary = Summary {
        seed: options.seed.0,
        sessions_read,
        sessions_rejected: u64::try_from(rejected.len() - read.rejected.len()).unwrap_or(u64::MAX)
            + read.rejected_rows * u64::from(options.repeat),
        rows_refused: u64::try_from(read.rejected.len()).unwrap_or(u64::MAX),
        sessions_charged: totals.charged,
        sessions_roamed: totals.roamed,
        local_authorizations: totals.local_authorizations,
        cdrs_recorded: totals.recorded,
        sessions_pending: totals.pending,
        ports: u64::try_from(assignment.evses.len()).unwrap_or(u64::MAX),
        drivers: u64::try_from(assignment.drivers.len()).unwrap_or(u64::MAX),
        energy_wh: totals.energy_wh,
        anomalies,
        state_digest: totals.state_digest.to_string(),
        ledger_height: consortium.validators().height(),
        validators: u64::try_from(consortium.validators().nodes().len()).unwrap_or(u64::MAX),
        ledger_balance_micros: totals.ledger_balance,
        net_positions: totals.net_positions,
        letters: consortium.carried().iter().map(|(k, v)| ((*k).to_owned(), *v)).collect(),
        wall_s: begun.elapsed().as_secs_f64(),
        replay_s,
        cdrs_per_s: if replay_s > 0.0 { totals.recorded as f64 / replay_s } else { 0.0 },
    };
    output::write_marker(&options.out, &summary)?;
    Ok(summary)
}

struct ReadInputs {
    sessions: Vec<InputSession>,
    /// Refused rows, and files that could not be used or not to their end.
    rejected: Vec<Rejected>,
    /// The refused rows alone: listed once, but read with every repetition.
    rejected_rows: u64,
    rows: u64,
}

/// Reads all files; what cannot be read is reported and the rest is used.
fn read_inputs(options: &Options, progress: &mut dyn Progress) -> Result<ReadInputs, ReplayError> {
    let mut read = ReadInputs { sessions: Vec::new(), rejected: Vec::new(), rejected_rows: 0, rows: 0 };
    let mut repetitions = input::Repetitions::default();
    for path in &options.inputs {
        match input::read_file(path) {
            Ok(mut report) => {
                let repeated = repetitions.take_out(&mut report);
                if repeated > 0 {
                    progress.file_problem(&input::Repetitions::words(&report.file, repeated));
                }
                if let Some(error) = &report.error {
                    progress.file_problem(&chain(error));
                }
                read.rows += report.rows_read;
                let accepted = u64::try_from(report.sessions.len()).unwrap_or(u64::MAX);
                read.rejected_rows += report.rows_read.saturating_sub(accepted);
                read.rejected.append(&mut report.rejected);
                read.sessions.append(&mut report.sessions);
            }
            Err(error) => {
                progress.file_problem(&chain(&error));
                read.rejected.push(whole_file(path, &error));
            }
        }
    }
    if read.sessions.is_empty() {
        let list = output::write_all_rejected(&options.out, &read.rejected)?;
        return Err(ReplayError::NothingToReplay(list.display().to_string()));
    }
    input::infer_ports(&mut read.sessions)?;
    if let Some(limit) = options.limit
        && read.sessions.len() > limit
    {
        // The earliest, whatever the order of the files; what is left out counts as not read.
        read.sessions.sort_by_key(|s| (s.start_ms, s.source.clone()));
        let dropped = read.sessions.len() - limit;
        read.sessions.truncate(limit);
        read.rows = read.rows.saturating_sub(u64::try_from(dropped).unwrap_or(0));
    }
    Ok(read)
}

fn whole_file(path: &std::path::Path, error: &ReadError) -> Rejected {
    Rejected {
        file: path.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned()),
        line: 0,
        item: None,
        field: "file".into(),
        reason: chain(error),
        remedy: "give a session file of a format that `eroam replay --help` lists".into(),
    }
}

fn rejection(session: &InputSession, field: &str, reason: String, remedy: &str) -> Rejected {
    Rejected {
        file: session.source.file.to_string(),
        line: session.source.line,
        item: session.source.item,
        field: field.into(),
        reason,
        remedy: remedy.into(),
    }
}

/// Gives every organisation its stations and customers.
fn enrol(consortium: &mut Consortium, assignment: &Assignment) -> Result<(), ReplayError> {
    for (operator, evse) in &assignment.evses {
        consortium.gateway(*operator)?.put_station(evse.clone());
    }
    for driver in &assignment.drivers {
        let gateway = consortium.gateway(driver.contract.party())?;
        let party = gateway.party();
        let failed =
            |source| ConsortiumError::Gateway(eroam_gateway::gateway::GatewayError::Store { party, source });
        if gateway.store_mut().home_profile(&driver.contract).map_err(failed)?.is_none() {
            let profile = driver.profile(&gateway.salt());
            gateway.store_mut().put_home_profile(&profile).map_err(failed)?;
        }
    }
    consortium.commit()?;
    Ok(())
}

/// What happens to a session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum EventKind {
    /// Sessions end before others begin at the same instant,
    End,
    Begin,
    /// unless they end when they begin.
    EndAtOnce,
}

struct Runner<'a> {
    consortium: &'a mut Consortium,
    assignment: &'a Assignment,
    inputs: &'a [InputSession],
    tariffs: HashMap<(PartyId, TariffId), Tariff>,
    /// Sessions whose power is on, and since when their tariff is known.
    powered: HashMap<usize, ()>,
    by_id: HashMap<SessionId, usize>,
    rejected: &'a mut Vec<Rejected>,
}

impl Runner<'_> {
    fn run(&mut self, tick_events: usize, progress: &mut dyn Progress) -> Result<(), ReplayError> {
        let sessions = &self.assignment.sessions;
        let mut events: Vec<(UnixMillis, EventKind, usize)> = Vec::with_capacity(sessions.len() * 2);
        for (index, session) in sessions.iter().enumerate() {
            let end = if session.end == session.start { EventKind::EndAtOnce } else { EventKind::End };
            events.push((session.start, EventKind::Begin, index));
            events.push((session.end, end, index));
        }
        events.sort_unstable();
        let total = u64::try_from(events.len()).unwrap_or(u64::MAX);
        let mut period = events.first().map(|(at, ..)| SettlementPeriod::containing(PERIOD, *at));
        let mut done = 0;
        while done < events.len() {
            let close_at = period.and_then(close_time);
            let first = events[done].0;
            if let (Some(open), Some(close)) = (period, close_at)
                && first >= close
            {
                self.consortium.settle(close, open, founders::currency())?;
                period = Some(open.next());
                continue;
            }
            let rest = &events[done..];
            let span = first.checked_add(TICK_SPAN).unwrap_or(first);
            let until = close_at.map_or(span, |close| close.min(span));
            let until_close = rest.partition_point(|(at, ..)| *at < until).max(1);
            let tick = &rest[..until_close.min(tick_events)];
            self.tick(tick)?;
            done += tick.len();
            progress.events(u64::try_from(done).unwrap_or(u64::MAX), total);
        }
        // The periods that the last sessions ended in.
        if let (Some(mut open), Some((last, ..))) = (period, events.last()) {
            while open.start().is_some_and(|start| start <= *last) {
                let Some(close) = close_time(open) else { break };
                self.consortium.settle(close, open, founders::currency())?;
                open = open.next();
            }
        }
        self.consortium.finish()?;
        Ok(())
    }

    /// Serves the drivers who arrive, then records the sessions that end.
    fn tick(&mut self, tick: &[(UnixMillis, EventKind, usize)]) -> Result<(), ReplayError> {
        let Some((now, ..)) = tick.last() else { return Ok(()) };
        for (_, kind, index) in tick {
            if *kind == EventKind::Begin {
                self.begin(*index)?;
            }
        }
        self.consortium.flush(*now)?;
        // No power flows before the sessions are remembered.
        self.consortium.commit()?;
        self.look_at_stations()?;
        for (_, kind, index) in tick {
            if *kind != EventKind::Begin && self.powered.remove(index).is_some() {
                self.end(*index)?;
            }
        }
        self.consortium.flush(*now)?;
        self.look_at_stations()?;
        self.consortium.tick(*now)?;
        Ok(())
    }

    fn begin(&mut self, index: usize) -> Result<(), ReplayError> {
        let planned = &self.assignment.sessions[index];
        let operator = planned.operator;
        if let Some(known) = self.consortium.session(operator, &planned.id)? {
            self.take_up(index, &known);
            if !matches!(known.phase, Phase::Quoted { .. }) {
                return Ok(());
            }
        }
        let driver = &self.assignment.drivers[planned.driver];
        let request = ChargeRequest {
            session: planned.id.clone(),
            evse: self.assignment.evses[planned.evse].1.id.clone(),
            contract: driver.contract.to_string(),
            credential: PresentedCredential::CardUid(driver.card.clone()),
            energy_wanted: Some(planned.energy),
            leaves_at: Some(planned.end),
            at: planned.start,
            clock: planned.clock,
        };
        self.consortium.request(operator, &request)?;
        self.look_at_stations()
    }

    /// A session that an earlier run has begun.
    fn take_up(&mut self, index: usize, known: &Session) {
        match &known.phase {
            Phase::Denied(denial) => self.denied(index, &denial.to_string()),
            Phase::Charging { .. } => {
                self.powered.insert(index, ());
            }
            _ => {}
        }
    }

    fn denied(&mut self, index: usize, why: &str) {
        let input = &self.inputs[self.assignment.sessions[index].input];
        let remedy = "see the session in the operator's records";
        self.rejected.push(rejection(input, "session", format!("denied at the station: {why}"), remedy));
    }

    /// Drivers accept every quote that they are shown.
    fn look_at_stations(&mut self) -> Result<(), ReplayError> {
        loop {
            let events = self.consortium.at_stations();
            if events.is_empty() {
                return Ok(());
            }
            for (operator, event) in events {
                match event {
                    AtStation::Quote(quote) => {
                        self.consortium.accept(operator, &quote.session, quote.made_at)?
                    }
                    AtStation::PowerOn { session, .. } => {
                        if let Some(index) = self.by_id.get(&session) {
                            self.powered.insert(*index, ());
                        }
                    }
                    AtStation::Denied { session, denial } => {
                        if let Some(index) = self.by_id.get(&session).copied() {
                            self.denied(index, &denial.to_string());
                        }
                    }
                }
            }
        }
    }

    fn end(&mut self, index: usize) -> Result<(), ReplayError> {
        let planned = &self.assignment.sessions[index];
        match self.consumption(planned) {
            Ok(consumption) => {
                let (operator, id) = (planned.operator, planned.id.clone());
                self.consortium.consumed(operator, &id, consumption)?;
            }
            Err(error) => {
                let input = &self.inputs[planned.input];
                let remedy = "split the session, or simplify the tariff";
                self.rejected.push(rejection(input, "session", error.to_string(), remedy));
            }
        }
        Ok(())
    }

    /// What the station metered: the file's energy, flowing evenly until charging ended, cut where the tariff
    /// changes.
    fn consumption(&mut self, planned: &PlannedSession) -> Result<Consumption, PlanError> {
        let evse = &self.assignment.evses[planned.evse].1;
        let key = (planned.operator, evse.tariff.clone());
        if !self.tariffs.contains_key(&key) {
            let found = query::latest_tariff(self.consortium.ledger(), planned.operator, &evse.tariff);
            if let Ok(Some((_, tariff))) = found {
                self.tariffs.insert(key.clone(), tariff);
            }
        }
        let Some(tariff) = self.tariffs.get(&key) else { return Err(PlanError::Overflow) };
        let even = EvenSession {
            start: planned.start,
            charging_end: planned.charging_end,
            end: planned.end,
            energy: planned.energy,
        };
        let periods = periods(&even, tariff, &planned.clock)?;
        let readings = readings_digest(&periods);
        Ok(Consumption {
            start: planned.start,
            end: planned.end,
            clock: planned.clock,
            periods,
            energy: planned.energy,
            readings,
        })
    }
}

/// When a period is closed.
fn close_time(period: SettlementPeriod) -> Option<UnixMillis> {
    period.end()?.checked_add(CLOSE_GRACE)
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let roamed = (self.sessions_roamed * 100).checked_div(self.sessions_charged).unwrap_or(0);
        writeln!(f, "seed {}", self.seed)?;
        writeln!(
            f,
            "{} sessions read, {} refused (rejected.jsonl)",
            self.sessions_read, self.sessions_rejected
        )?;
        writeln!(
            f,
            "{} drivers charged {} times at {} ports, {}",
            self.drivers,
            self.sessions_charged,
            self.ports,
            eroam_domain::quantity::WattHours::from_wh(self.energy_wh)
                .unwrap_or(eroam_domain::quantity::WattHours::ZERO)
        )?;
        writeln!(
            f,
            "{} of them away from home ({roamed} %), {} without asking home again",
            self.sessions_roamed, self.local_authorizations
        )?;
        writeln!(f, "{} records on the ledger, state {}", self.cdrs_recorded, self.state_digest)?;
        let validators = if self.validators == 1 { "validator" } else { "validators" };
        writeln!(f, "{} blocks, agreed on by {} {validators}", self.ledger_height, self.validators)?;
        writeln!(f, "{} waiting for somebody (pending.jsonl)", self.sessions_pending)?;
        if let Some(Anomalies { found, contested }) = self.anomalies {
            writeln!(
                f,
                "{found} records out of the ordinary, {contested} of them contested (anomalies.jsonl)"
            )?;
        }
        for (currency, sum) in &self.ledger_balance_micros {
            writeln!(f, "all accounts less attested deposits: {sum} millionths of {currency}")?;
        }
        for net in &self.net_positions {
            let amount = eroam_domain::money::decimal(i128::from(net.amount_micros), 6, 2);
            writeln!(f, "  {} net {amount} {}", net.party, net.currency)?;
        }
        write!(
            f,
            "{:.2} s, of which {:.2} s charging: {:.0} records/s",
            self.wall_s, self.replay_s, self.cdrs_per_s
        )
    }
}
