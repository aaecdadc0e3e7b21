//! Paper B's experiment (figure 23): drivers, home utilities, operators and stations, each an agent with keys and a store
//! of its own, talking over HTTP on this machine, and settled on a ledger.
//!
//! ```text
//! set-up   ledger, organisations, agreements, issuers ── stations register ── drivers enrol, withdraw vouchers
//! event    connect ── station proves itself ── request, quote ── contract proved, voucher ── reserve ── power
//!          ── readings ── accounting ── record ── report ── bill
//! ```
//! Events come one after another, in an order that follows from the seed; hours of charging are left out of the clock.
//! Processor time is that of all processes, ledger and proof preparation included, set-up not.
//!
//! Source: paper B, section 5 and table 1.

pub(crate) mod founding;
#[cfg(unix)]
pub mod processes;
mod served;
pub mod world;

use crate::charging::station::Mode;
use crate::charging::wallet::Timings;
use crate::consortium::Seed;
use crate::usage::Usage;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::WattHours;
#[cfg(unix)]
use processes::Processes;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use world::World;

pub use served::{Listing, Served, ServedParty, ServedStation};
pub use world::SimulateError;

/// The values of paper B's table 1, on a laptop with four cores.
pub const PAPER: Paper = Paper {
    events: 300,
    messages: 600,
    presentations: 900,
    credential_exchange_s: 244.53,
    mean_message_s: 0.41,
    mean_connect_s: 0.55,
};

/// What the paper measured.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Paper {
    /// Charging events.
    pub events: u64,
    /// Messages: a request and an accounting for each event.
    pub messages: u64,
    /// Presentations: three for each event.
    pub presentations: u64,
    /// All exchanges of credentials together.
    pub credential_exchange_s: f64,
    /// A message.
    pub mean_message_s: f64,
    /// Making a connection.
    pub mean_connect_s: f64,
}

/// How many of what.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Drivers, each with a wallet.
    pub drivers: usize,
    /// Home utilities.
    pub emsps: usize,
    /// Operators.
    pub cpos: usize,
    /// Stations.
    pub stations: usize,
    /// Charging events.
    pub events: usize,
    /// Keys, ids, vehicles and the order of events follow from it; proofs and one-time keys do not.
    pub seed: Seed,
    /// What is proved.
    pub mode: Mode,
    /// Keys of issuers that were made before, as JSON files in a directory; those for stations in `station` below it.
    /// New ones are made where there are none.
    pub issuer_keys: Option<PathBuf>,
    /// Where to keep the organisations' records; in memory otherwise.
    pub data: Option<PathBuf>,
    /// For drivers of other processes ([`Served`]): nobody enrols here, and stations charge in real time.
    pub served: bool,
    /// Every agent and the ledger is a process of its own.
    pub processes: Option<Programs>,
}

/// What agents that are processes run.
#[derive(Clone, Debug)]
pub struct Programs {
    /// This program.
    pub eroam: PathBuf,
    /// That of the stations, `eroam-station`; otherwise `eroam station`.
    pub station: Option<PathBuf>,
    /// How many nodes there are, each with a validator of its own.
    pub validators: usize,
}

/// What was measured.
#[derive(Clone, Debug, Serialize)]
pub struct Simulated {
    /// `default` or `paper`.
    pub mode: &'static str,
    /// Charging events that were tried.
    pub events: u64,
    /// DIDComm messages besides handshakes, credentials and presentations.
    pub messages: u64,
    /// Presentations that were verified.
    pub presentations: u64,
    /// Credentials that drivers and stations were given, the set-up's among them.
    pub credentials_issued: u64,
    /// All presentations together, from the request to the last byte shown.
    pub credential_exchange_s: f64,
    /// Mean time to seal a message and to have it taken by the other side.
    pub mean_message_s: f64,
    /// Mean time from the invitation to the connection.
    pub mean_connect_s: f64,
    /// Processor time of an event, all agents and the ledger.
    pub event_cpu_ms: f64,
    /// From scanning to power, with the proof prepared: half of the events were faster.
    pub scan_to_power_ms_p50: f64,
    /// 95 of 100 were faster.
    pub scan_to_power_ms_p95: f64,
    /// Records that the ledger has booked.
    pub ledger_records: u64,
    /// Charges on drivers' bills.
    pub bills: u64,
    /// Events in which nothing was charged.
    pub failures: u64,
    /// Energy of all events in kilowatt-hours.
    pub energy_kwh: f64,
    /// The first reasons of failures.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
    /// The most memory of a station's process after a charge, in MiB, where stations are processes of a Linux system.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub station_rss_mib: Option<f64>,
    /// What the set-up took.
    pub setup_s: f64,
    /// The paper's own values.
    pub paper: Paper,
}

impl fmt::Display for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<38}{:>12}{:>12}", format!("mode {}", self.mode), "eroam", "paper")?;
        let mut row =
            |name: &str, ours: String, paper: String| writeln!(f, "{name:<38}{ours:>12}{paper:>12}");
        row("charging events", self.events.to_string(), self.paper.events.to_string())?;
        row("messages", self.messages.to_string(), self.paper.messages.to_string())?;
        row("presentations", self.presentations.to_string(), self.paper.presentations.to_string())?;
        row("credentials issued", self.credentials_issued.to_string(), "8".to_owned())?;
        row(
            "exchange of credentials, s",
            format!("{:.2}", self.credential_exchange_s),
            format!("{:.2}", self.paper.credential_exchange_s),
        )?;
        row(
            "a message, s",
            format!("{:.4}", self.mean_message_s),
            format!("{:.2}", self.paper.mean_message_s),
        )?;
        row(
            "a connection, s",
            format!("{:.4}", self.mean_connect_s),
            format!("{:.2}", self.paper.mean_connect_s),
        )?;
        let none = || "-".to_owned();
        row("processor time of an event, ms", format!("{:.1}", self.event_cpu_ms), none())?;
        row("scan to power, ms, median", format!("{:.1}", self.scan_to_power_ms_p50), none())?;
        row("scan to power, ms, 95 of 100", format!("{:.1}", self.scan_to_power_ms_p95), none())?;
        row("records on the ledger", self.ledger_records.to_string(), none())?;
        row("charges on bills", self.bills.to_string(), none())?;
        row("energy, kWh", format!("{:.1}", self.energy_kwh), none())?;
        row("events without a charge", self.failures.to_string(), none())?;
        if let Some(mib) = self.station_rss_mib {
            row("memory of a station, MiB", format!("{mib:.1}"), none())?;
        }
        for reason in &self.reasons {
            writeln!(f, "  {reason}")?;
        }
        write!(f, "set up in {:.1} s; the paper's machine: four cores of 2.8 GHz", self.setup_s)
    }
}

/// A small generator for the order of events (SplitMix64): the same everywhere.
#[derive(Clone, Copy, Debug)]
struct Order(u64);

impl Order {
    fn next(&mut self, below: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % u64::try_from(below.max(1)).unwrap_or(1)).unwrap_or(0)
    }
}

/// Those who take part, wherever they run.
pub(crate) trait Town {
    /// A driver charges at a station.
    fn charge(&mut self, driver: usize, station: usize) -> Result<(WattHours, Timings), String>;

    /// What all of them used and sent so far.
    fn usage(&self) -> Result<Usage, SimulateError>;

    /// The most memory of a station's process after a charge so far, in MiB.
    fn station_rss_mib(&self) -> Option<f64> {
        None
    }

    /// Lets everybody finish; gives how many records the operators have booked and how many charges are on bills.
    fn finish(&mut self) -> Result<(u64, u64), SimulateError>;
}

/// Runs the experiment. `say` hears how far it is.
///
/// # Errors
/// [`SimulateError`]: the set-up failed. Events that fail are counted.
pub fn run(setup: &Setup, say: &mut dyn FnMut(&str)) -> Result<Simulated, SimulateError> {
    let (begun, before) = (Instant::now(), Usage::now());
    match &setup.processes {
        None => {
            let mut world = World::build(setup, say)?;
            events(setup, &mut world, before, begun.elapsed().as_secs_f64(), say)
        }
        #[cfg(unix)]
        Some(programs) => {
            let mut processes = Processes::start(setup, programs, say)?;
            events(setup, &mut processes, before, begun.elapsed().as_secs_f64(), say)
        }
        #[cfg(not(unix))]
        Some(_) => Err(SimulateError::Setup("agents are processes of their own on Unix alone".to_owned())),
    }
}

/// What a driver lets a charge cost.
#[must_use]
pub(crate) fn allowed() -> Money {
    Money::new(40_000_000, euro())
}

/// `at_first` is what this process had used before the set-up.
fn events(
    setup: &Setup,
    town: &mut dyn Town,
    at_first: Usage,
    setup_s: f64,
    say: &mut dyn FnMut(&str),
) -> Result<Simulated, SimulateError> {
    say(&format!("set up in {setup_s:.1} s; {} charging events", setup.events));
    let before = town.usage()?;
    let mut order = Order(setup.seed.0);
    let (mut failures, mut reasons, mut energy_mwh) = (0u64, Vec::new(), 0u64);
    let mut timings: Vec<Timings> = Vec::with_capacity(setup.events);
    for number in 0..setup.events {
        let (driver, station) = (order.next(setup.drivers), order.next(setup.stations));
        match town.charge(driver, station) {
            Ok((energy, timing)) => {
                energy_mwh += energy.milli_wh();
                timings.push(timing);
            }
            Err(error) => {
                failures += 1;
                reasons.push(format!("event {number}: {error}"));
            }
        }
        if number % 50 == 49 {
            say(&format!("{} events", number + 1));
        }
    }
    let after = town.usage()?;
    let used = after.since(before);
    reasons.truncate(5);
    let (ledger_records, bills) = town.finish()?;
    let events = setup.events.max(1);
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    let mut to_power: Vec<f64> = timings.iter().map(|t| ms(t.scan_to_power)).collect();
    to_power.sort_unstable_by(f64::total_cmp);
    let connect: f64 = timings.iter().map(|t| t.connect.as_secs_f64()).sum();
    #[allow(clippy::cast_precision_loss, reason = "small numbers, for people")]
    let (per_event, tried) = (events as f64, timings.len().max(1) as f64);
    #[allow(clippy::cast_precision_loss, reason = "kilowatt-hours, for people")]
    let energy_kwh = energy_mwh as f64 / 1e6;
    Ok(Simulated {
        mode: match setup.mode {
            Mode::Default => "default",
            Mode::Paper => "paper",
        },
        events: count(setup.events),
        messages: used.others,
        presentations: used.presentations,
        credentials_issued: after.since(at_first).credentials,
        credential_exchange_s: Duration::from_micros(used.presenting_us).as_secs_f64(),
        mean_message_s: used.mean_message().as_secs_f64(),
        mean_connect_s: connect / tried,
        event_cpu_ms: ms(Duration::from_micros(used.cpu_us)) / per_event,
        scan_to_power_ms_p50: percentile(&to_power, 50),
        scan_to_power_ms_p95: percentile(&to_power, 95),
        ledger_records,
        bills,
        failures,
        energy_kwh,
        reasons,
        station_rss_mib: town.station_rss_mib(),
        setup_s,
        paper: PAPER,
    })
}

/// The currency of everything here.
#[must_use]
fn euro() -> Currency {
    crate::consortium::founders::currency()
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The value that so many of a hundred do not exceed; zero of none.
fn percentile(sorted: &[f64], of_hundred: usize) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((sorted.len() * of_hundred / 100).min(last)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_events_follows_from_the_seed_and_reaches_everybody() {
        let drawn = |seed| {
            let mut order = Order(seed);
            (0..1_000).map(|_| order.next(7)).collect::<Vec<_>>()
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
        let mut counts = [0; 7];
        drawn(3).into_iter().for_each(|place| counts[place] += 1);
        assert!(counts.iter().all(|count| (100..190).contains(count)), "{counts:?}");
    }

    #[test]
    fn percentiles_are_of_what_there_is() {
        assert_eq!(percentile(&[], 50), 0.0);
        assert_eq!(percentile(&[3.0], 95), 3.0);
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95)), (51.0, 96.0));
    }
}
