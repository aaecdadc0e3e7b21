//! Everybody who takes part, each in a process of its own: this program, started again with a configuration that is
//! written for it. They choose their ports and say which; they end when this process does, however it ends, because their
//! standard input ends with it.
//!
//! ```text
//! genesis ─► node ─► tariffs, agreements ─► providers, operators ─► stations ─► drivers enrol ─► events
//! ```

use super::founding::{Parties, TARIFF, found, genesis, network_name, time_zone};
use super::world::{SimulateError, VOUCHER_MICROS, any_port, fields, setup_error};
use super::{Programs, Setup, Town};
use crate::bench::resident_memory_mib;
use crate::charging::post::Pace;
use crate::charging::provider::Approval;
use crate::charging::station::{Mode, StationStatus};
use crate::charging::wallet::Timings;
use crate::clock::now;
use crate::consortium::founders::{self, currency};
use crate::ledger::keys::hex;
use crate::ledger::{LedgerSetup, loopback_addresses};
use crate::node::RemoteNode;
use crate::program::config::SimulationConfig;
use crate::program::control;
use crate::program::driver::{DriverCharged, DriverCommand, DriverConfig};
use crate::program::node::{
    NodeCommand, NodeProgramConfig, NodeReady, NodeStatus, ValidatorAddress, ValidatorsConfig,
};
use crate::program::operator::{
    OperatorCommand, OperatorConfig, OperatorReady, PaperConfig, StationEntry, StationInvitation,
};
use crate::program::organisation::OrganisationConfig;
use crate::program::provider::{
    ContractsConfig, ProviderCommand, ProviderConfig, ProviderReady, VouchersConfig,
};
use crate::program::station::{HardwareConfig, StationConfig, StationProgramCommand, StationReady};
use crate::usage::Usage;
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::TariffId;
use eroam_gateway::anomalies::AnomalyConfig;
use eroam_ledger::genesis::BlockTime;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Places in a registry at least, and beyond what is needed: places 0 is never used, and a crash may leave one unused.
const PLACES_MIN: u32 = 64;
/// The file of the clock that all agents share; this process has no agent.
const CLOCK: &str = "clock";
/// So long everybody has to bill what was charged.
const SETTLES_WITHIN: Duration = Duration::from_secs(60);
/// So often it is looked whether they have.
const LOOKS_EVERY: Duration = Duration::from_millis(100);

/// A process of this program.
pub struct Program<R> {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    program: PathBuf,
    arguments: Vec<String>,
    /// What it said when it was ready.
    pub ready: R,
    /// Its configuration.
    pub config: PathBuf,
    /// Its directory.
    pub directory: PathBuf,
}

impl<R: DeserializeOwned> Program<R> {
    fn start(
        program: &Path,
        words: &[&str],
        config: PathBuf,
        directory: PathBuf,
    ) -> Result<Self, SimulateError> {
        let started = Self::start_together(program, words, vec![(config, directory)])?;
        started.into_iter().next().ok_or_else(|| setup_error("nothing was started"))
    }

    /// Starts several that wait for one another: a configuration and a directory each.
    fn start_together(
        program: &Path,
        words: &[&str],
        all: Vec<(PathBuf, PathBuf)>,
    ) -> Result<Vec<Self>, SimulateError> {
        let begin = |(config, directory): (PathBuf, PathBuf)| {
            let mut arguments: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            let path = config.to_str().ok_or_else(|| setup_error("a path that is no text"))?.to_owned();
            arguments.extend(["--config".to_owned(), path, "--json".to_owned(), "--with-parent".to_owned()]);
            Ok((spawn(program, &arguments)?, arguments, config, directory))
        };
        let begun: Vec<_> = all.into_iter().map(begin).collect::<Result<_, SimulateError>>()?;
        let ready =
            |((mut child, stdin, mut stdout), arguments, config, directory): (Spawned, Vec<String>, _, _)| {
                let ready = said(&mut child, &mut stdout, &arguments)?;
                Ok(Self {
                    child,
                    stdin,
                    stdout,
                    program: program.to_owned(),
                    arguments,
                    ready,
                    config,
                    directory,
                })
            };
        begun.into_iter().map(ready).collect()
    }

    /// Kills it (SIGKILL), as a power cut would.
    ///
    /// # Errors
    /// If it cannot be killed.
    pub fn kill(&mut self) -> Result<(), SimulateError> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, after it was killed or stopped.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn restart(&mut self) -> Result<(), SimulateError> {
        (self.child, self.stdin, self.stdout) = spawn(&self.program, &self.arguments)?;
        self.ready = said(&mut self.child, &mut self.stdout, &self.arguments)?;
        Ok(())
    }

    /// How it stands, as its staff sees it.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn command<T: DeserializeOwned>(&self, command: &impl Serialize) -> Result<T, SimulateError> {
        self.ask(command)
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits until it has ended by itself; whether it said that all was well.
    ///
    /// # Errors
    /// If it cannot be waited for.
    pub fn ended_well(&mut self) -> Result<bool, SimulateError> {
        Ok(self.child.wait()?.success())
    }

    fn ask<T: DeserializeOwned>(&self, command: &impl Serialize) -> Result<T, SimulateError> {
        control::ask(&self.directory, command).map_err(setup_error)
    }
}

impl<R> Drop for Program<R> {
    /// Told to end, and waited for.
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}

type Spawned = (Child, Option<ChildStdin>, BufReader<ChildStdout>);

fn spawn(program: &Path, arguments: &[String]) -> Result<Spawned, SimulateError> {
    let mut child =
        Command::new(program).args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let stdin = child.stdin.take();
    let stdout = child.stdout.take().ok_or_else(|| setup_error("a process without standard output"))?;
    Ok((child, stdin, BufReader::new(stdout)))
}

/// Waits for what a process says when it is ready.
fn said<R: DeserializeOwned>(
    child: &mut Child,
    stdout: &mut BufReader<ChildStdout>,
    arguments: &[String],
) -> Result<R, SimulateError> {
    let mut line = String::new();
    stdout.read_line(&mut line)?;
    if line.is_empty() {
        let _ = child.wait();
        return Err(setup_error(format!("eroam {} does not start", arguments.join(" "))));
    }
    serde_json::from_str(&line).map_err(setup_error)
}

/// A driver's process: told what to do over its standard input.
#[derive(Deserialize)]
struct DriverReady {}

/// What a driver answers.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Told {
    Ok(Value),
    Error(String),
}

fn tell<T: DeserializeOwned>(
    driver: &mut Program<DriverReady>,
    command: &DriverCommand,
) -> Result<T, String> {
    let words = |error: &dyn std::fmt::Display| error.to_string();
    let line = serde_json::to_string(command).map_err(|error| words(&error))?;
    let stdin = driver.stdin.as_mut().ok_or("the driver has ended")?;
    stdin.write_all(format!("{line}\n").as_bytes()).map_err(|error| words(&error))?;
    let mut answer = String::new();
    driver.stdout.read_line(&mut answer).map_err(|error| words(&error))?;
    match serde_json::from_str(&answer).map_err(|error| words(&error))? {
        Told::Ok(value) => serde_json::from_value(value).map_err(|error| words(&error)),
        Told::Error(reason) => Err(reason),
    }
}

/// Everybody. What is first is ended first.
pub struct Processes {
    drivers: Vec<Mutex<Program<DriverReady>>>,
    /// The stations.
    pub stations: Vec<Program<StationReady>>,
    /// The operators.
    pub operators: Vec<Program<OperatorReady>>,
    /// The home utilities.
    pub providers: Vec<Program<ProviderReady>>,
    /// The nodes, each with a validator; the organisations use them in turn.
    pub nodes: Vec<Program<NodeReady>>,
    charged: u64,
    station_rss_mib: Option<f64>,
    root: PathBuf,
    _temporary: Option<TempDir>,
}

/// Writes configurations and secrets below one directory.
struct Files {
    root: PathBuf,
    pace: Pace,
}

impl Files {
    fn secret(&self, name: &str, text: &str) -> Result<PathBuf, SimulateError> {
        let path = self.root.join(name);
        let mut options = std::fs::OpenOptions::new();
        options.create(true).truncate(true).write(true);
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&path)?.write_all(text.as_bytes())?;
        Ok(path)
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, SimulateError> {
        let path = self.root.join(name);
        std::fs::write(&path, text)?;
        Ok(path)
    }

    /// Copies an issuer's key as programs take it: its secret is for this user alone, wherever it comes from.
    fn issuer_key(&self, name: &str, from: &Path) -> Result<PathBuf, SimulateError> {
        std::fs::create_dir_all(self.root.join(name))?;
        for file in ["definition.json", "secret.json", "key_correctness.json"] {
            self.secret(&format!("{name}/{file}"), &std::fs::read_to_string(from.join(file))?)?;
        }
        Ok(name.into())
    }

    fn config(&self, name: &str, config: &impl Serialize) -> Result<PathBuf, SimulateError> {
        self.write(&format!("{name}.toml"), &toml::to_string(config).map_err(setup_error)?)
    }

    fn simulation(&self) -> SimulationConfig {
        SimulationConfig { clock_file: CLOCK.into() }
    }

    fn organisation(
        &self,
        setup: &Setup,
        party: PartyId,
        name: &str,
        node: &NodeReady,
    ) -> Result<OrganisationConfig, SimulateError> {
        let key = setup.seed.signing_key(party);
        self.secret(&format!("{party}.key"), &hex(&key.to_bytes()))?;
        Ok(OrganisationConfig {
            party,
            name: name.to_owned(),
            directory: party.to_string().into(),
            node_url: node.url.clone(),
            member_key_file: format!("{party}.key").into(),
            passphrase_file: Some("passphrase".into()),
            listen: any_port(),
            agent_listen: any_port(),
            agent_public_url: None,
            public_url: None,
            partners_file: "partners.toml".into(),
            simulation: Some(self.simulation()),
        })
    }
}

fn places(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX).saturating_add(2).max(PLACES_MIN)
}

impl Processes {
    /// Starts everybody.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn start(
        setup: &Setup,
        programs: &Programs,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, SimulateError> {
        Self::start_at(setup, programs, Pace::AtOnce, say)
    }

    /// As [`Processes::start`], at stations where time passes as `pace` says.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn start_at(
        setup: &Setup,
        programs: &Programs,
        pace: Pace,
        say: &mut dyn FnMut(&str),
    ) -> Result<Self, SimulateError> {
        if [setup.emsps, setup.cpos, setup.stations].contains(&0) {
            return Err(setup_error("there must be a home utility, an operator and a station"));
        }
        if setup.emsps > 99 || setup.cpos > 99 {
            return Err(setup_error("at most 99 home utilities and 99 operators"));
        }
        let (root, temporary) = match &setup.data {
            Some(directory) => (directory.clone(), None),
            None => {
                let temporary = tempfile::tempdir()?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        std::fs::create_dir_all(&root)?;
        let files = Files { root: root.canonicalize()?, pace };
        files.write(CLOCK, &"\0".repeat(8))?;
        files.write("partners.toml", "")?;
        files.secret("passphrase", &hex(&setup.seed.derive("passphrase", &[]).0))?;
        let parties = Parties::of(setup)?;
        let program = &programs.eroam;
        let nodes = nodes(setup, programs, &files, &parties)?;
        let node_of = |index: usize| {
            let node = nodes.get(index % nodes.len()).map(|node| &node.ready);
            node.ok_or_else(|| setup_error("no node"))
        };
        let (mut providers, mut operators) = (Vec::new(), Vec::new());
        for (index, party) in parties.emsps.iter().enumerate() {
            if setup.issuer_keys.is_none() {
                say(&format!("{party} makes its key for contracts: safe primes, up to a minute"));
            }
            providers.push(provider(setup, program, &files, node_of(index)?, *party, index)?);
        }
        for (index, party) in parties.cpos.iter().enumerate() {
            operators.push(operator(setup, program, &files, node_of(setup.emsps + index)?, *party, index)?);
        }
        let urls = providers.iter().map(|provider| (provider.ready.party, &provider.ready.url));
        let urls = urls.chain(operators.iter().map(|operator| (operator.ready.party, &operator.ready.url)));
        let partners: BTreeMap<String, &String> = urls.map(|(party, url)| (party.to_string(), url)).collect();
        files.write("partners.toml", &toml::to_string(&partners).map_err(setup_error)?)?;
        say("stations register");
        let mut stations = Vec::new();
        for index in 0..setup.stations {
            let operator = operators.get(index % operators.len());
            let operator = operator.ok_or_else(|| setup_error("no operator"))?;
            stations.push(station(
                setup,
                programs,
                &files,
                node_of(setup.emsps + index % setup.cpos)?,
                operator,
                index,
            )?);
        }
        if setup.drivers > 0 {
            say("drivers enrol");
        }
        let mut drivers = Vec::new();
        for index in 0..setup.drivers {
            let provider =
                providers.get(index % providers.len()).ok_or_else(|| setup_error("no provider"))?;
            let mut driver = driver(setup, program, &files, node_of(index % setup.emsps)?, index)?;
            let url = provider.ready.url.clone();
            let enrol = DriverCommand::Enrol { provider: url, fields: fields(index) };
            tell::<Value>(&mut driver, &enrol).map_err(setup_error)?;
            drivers.push(Mutex::new(driver));
        }
        Ok(Self {
            drivers,
            stations,
            operators,
            providers,
            nodes,
            charged: 0,
            station_rss_mib: None,
            root: files.root,
            _temporary: temporary,
        })
    }

    /// Leaves out a time for all agents, as if nothing had happened in it.
    ///
    /// # Errors
    /// If the clock cannot be written.
    pub fn leave_out(&self, duration: DurationMs) -> Result<(), SimulateError> {
        let path = self.root.join(CLOCK);
        let before = <[u8; 8]>::try_from(std::fs::read(&path)?).map_err(|_| setup_error("the clock"))?;
        let ms = i64::try_from(duration.millis()).map_err(setup_error)?;
        let after = i64::from_le_bytes(before).saturating_add(ms);
        // In one write, so that nobody reads half of it.
        let file = std::fs::OpenOptions::new().write(true).open(path)?;
        Ok(std::os::unix::fs::FileExt::write_all_at(&file, &after.to_le_bytes(), 0)?)
    }

    /// A driver charges at a station.
    ///
    /// # Errors
    /// A sentence.
    pub fn charge_at(&mut self, driver: usize, station: usize) -> Result<WattHours, String> {
        Town::charge(self, driver, station).map(|(energy, _)| energy)
    }

    /// Waits until so many charges are booked and billed, but not for long; gives how many are.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn settle(&self, charges: u64) -> Result<(u64, u64), SimulateError> {
        let begun = Instant::now();
        loop {
            let settled = self.settled()?;
            let all = settled.0 >= charges && settled.1 >= charges;
            if all || begun.elapsed() > SETTLES_WITHIN {
                return Ok(settled);
            }
            std::thread::sleep(LOOKS_EVERY);
        }
    }

    /// Waits until no station has anything left to account for, but not for long; whether that is so.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn accounted(&self) -> Result<bool, SimulateError> {
        let begun = Instant::now();
        for station in &self.stations {
            while station.ask::<StationStatus>(&StationProgramCommand::Status)?.accounts_waiting > 0 {
                if begun.elapsed() > SETTLES_WITHIN {
                    return Ok(false);
                }
                std::thread::sleep(LOOKS_EVERY);
            }
        }
        Ok(true)
    }

    /// How many records the operators have booked, and how many charges are on bills, so far.
    ///
    /// # Errors
    /// [`SimulateError`].
    pub fn settled(&self) -> Result<(u64, u64), SimulateError> {
        let (mut records, mut bills) = (0u64, 0u64);
        for operator in &self.operators {
            records += operator.ask::<u64>(&OperatorCommand::Records)?;
        }
        for provider in &self.providers {
            bills += provider.ask::<u64>(&ProviderCommand::Bills)?;
        }
        Ok((records, bills))
    }
}

impl Town for Processes {
    fn charge(&mut self, driver: usize, station: usize) -> Result<(WattHours, Timings), String> {
        let station = self.stations.get(station).ok_or("no such station")?;
        let station_id = station.id();
        let driver = self.drivers.get_mut(driver).ok_or("no such driver")?;
        let driver = driver.get_mut().unwrap_or_else(PoisonError::into_inner);
        let charge = DriverCommand::Charge { invitation: station.ready.invitation.clone() };
        let DriverCharged { energy_mwh, connect_us, scan_to_power_us } = tell(driver, &charge)?;
        self.charged += 1;
        let rss_mib = resident_memory_mib(station_id);
        self.station_rss_mib = self.station_rss_mib.into_iter().chain(rss_mib).reduce(f64::max);
        let timings = Timings {
            connect: Duration::from_micros(connect_us),
            scan_to_power: Duration::from_micros(scan_to_power_us),
            ..Timings::default()
        };
        Ok((WattHours::from_milli_wh(energy_mwh), timings))
    }

    fn usage(&self) -> Result<Usage, SimulateError> {
        // A wallet is done before its station is: the account of the last charge belongs to it.
        self.accounted()?;
        let mut used = Usage::now();
        for node in &self.nodes {
            used = used.and(node.ask(&NodeCommand::Usage)?);
        }
        for provider in &self.providers {
            used = used.and(provider.ask(&ProviderCommand::Usage)?);
        }
        for operator in &self.operators {
            used = used.and(operator.ask(&OperatorCommand::Usage)?);
        }
        for station in &self.stations {
            used = used.and(station.ask(&StationProgramCommand::Usage)?);
        }
        for driver in &self.drivers {
            let mut driver = driver.lock().unwrap_or_else(PoisonError::into_inner);
            used = used.and(tell(&mut driver, &DriverCommand::Usage).map_err(setup_error)?);
        }
        Ok(used)
    }

    fn station_rss_mib(&self) -> Option<f64> {
        self.station_rss_mib
    }

    fn finish(&mut self) -> Result<(u64, u64), SimulateError> {
        self.settle(self.charged)
    }
}

/// Starts the network and founds it; when this returns, every node has all of it.
fn nodes(
    setup: &Setup,
    programs: &Programs,
    files: &Files,
    parties: &Parties,
) -> Result<Vec<Program<NodeReady>>, SimulateError> {
    let Parties { emsps, cpos, treasury } = parties;
    let ledger = LedgerSetup { validators: programs.validators, ..LedgerSetup::default() };
    let name = network_name(false);
    // Where hours are left out at each charge, no block is young enough the moment after; submitters tell the time.
    let time = if files.pace == Pace::RealTime { BlockTime::Clock } else { BlockTime::Stated };
    let genesis = genesis(&name, setup.seed, emsps, cpos, *treasury, &ledger, time)?;
    files.write("genesis.json", &genesis.to_json())?;
    let addresses = loopback_addresses(programs.validators)?;
    let validators: Vec<ValidatorAddress> = genesis
        .consensus
        .validators
        .iter()
        .zip(&addresses)
        .map(|(validator, address)| ValidatorAddress { key: validator.key, address: *address })
        .collect();
    let mut all = Vec::with_capacity(validators.len());
    for (index, own) in validators.iter().enumerate() {
        let name = if index == 0 { "node".to_owned() } else { format!("node-{}", index + 1) };
        let key = format!("validator-{}.key", index + 1);
        files.secret(&key, &hex(&setup.seed.validator_key(index).to_bytes()))?;
        let others: Vec<_> = validators.iter().filter(|other| other.key != own.key).cloned().collect();
        let config = NodeProgramConfig {
            directory: name.clone().into(),
            genesis_file: "genesis.json".into(),
            validator_key_file: key.into(),
            listen: any_port(),
            validators: (!others.is_empty()).then_some(ValidatorsConfig {
                listen: own.address,
                copy_lost_state: false,
                others,
            }),
            simulation: Some(files.simulation()),
        };
        all.push((files.config(&name, &config)?, files.root.join(name)));
    }
    let nodes = Program::<NodeReady>::start_together(&programs.eroam, &["node", "run"], all)?;
    let first = nodes.first().ok_or_else(|| setup_error("there must be a validator"))?;
    let mut remote = RemoteNode::connect(&first.ready.url, Some(genesis.network())).map_err(setup_error)?;
    found(&mut remote, setup.seed, emsps, cpos, *treasury, now())?;
    all_at(&nodes, first.ask::<NodeStatus>(&NodeCommand::Status)?.height)?;
    Ok(nodes)
}

/// Waits until every node has the block at `height`, but not for long.
fn all_at(nodes: &[Program<NodeReady>], height: u64) -> Result<(), SimulateError> {
    let begun = Instant::now();
    for node in nodes {
        while node.ask::<NodeStatus>(&NodeCommand::Status)?.height < height {
            if begun.elapsed() > SETTLES_WITHIN {
                return Err(setup_error(format!("{} does not get block {height}", node.ready.url)));
            }
            std::thread::sleep(LOOKS_EVERY);
        }
    }
    Ok(())
}

fn provider(
    setup: &Setup,
    program: &Path,
    files: &Files,
    node: &NodeReady,
    party: PartyId,
    index: usize,
) -> Result<Program<ProviderReady>, SimulateError> {
    let retail = founders::founders().first().map(founders::Founder::retail);
    let retail = retail.ok_or_else(|| setup_error("no retail rules"))?;
    files.write("retail.json", &serde_json::to_string(&retail).map_err(setup_error)?)?;
    let keys = setup.issuer_keys.as_deref();
    let keys = keys.map(|keys| files.issuer_key("contract-key", keys)).transpose()?;
    let config = ProviderConfig {
        organisation: files.organisation(setup, party, &format!("Home utility {}", index + 1), node)?,
        contracts: ContractsConfig {
            valid_days: 3_650,
            approval: Approval::Automatic,
            registry_places: places(setup.drivers.div_ceil(setup.emsps)),
            retail_file: "retail.json".into(),
            issuer_key_directory: keys,
        },
        anomalies: AnomalyConfig::default(),
        vouchers: VouchersConfig {
            currency: currency(),
            cap_micros: VOUCHER_MICROS,
            valid_days: 30,
            daily_limit_micros: 256 * VOUCHER_MICROS,
        },
    };
    let config = files.config(&party.to_string(), &config)?;
    Program::start(program, &["provider", "run"], config, files.root.join(party.to_string()))
}

fn operator(
    setup: &Setup,
    program: &Path,
    files: &Files,
    node: &NodeReady,
    party: PartyId,
    index: usize,
) -> Result<Program<OperatorReady>, SimulateError> {
    let keys = setup.issuer_keys.as_deref().map(|keys| keys.join("station")).filter(|keys| keys.is_dir());
    let issuer_key_directory = keys.map(|keys| files.issuer_key("station-key", &keys)).transpose()?;
    let paper = (setup.mode == Mode::Paper).then(|| PaperConfig {
        resolver_url: node.url.clone(),
        registry_places: places(setup.stations),
        issuer_key_directory,
    });
    let own = (0..setup.stations).filter(|station| station % setup.cpos == index);
    let stations = own.map(|station| entry(party, station, files.pace)).collect::<Result<Vec<_>, _>>()?;
    let organisation = files.organisation(setup, party, &party.to_string(), node)?;
    let config = files.config(&party.to_string(), &OperatorConfig { organisation, paper, stations })?;
    Program::start(program, &["operator", "run"], config, files.root.join(party.to_string()))
}

fn entry(party: PartyId, index: usize, pace: Pace) -> Result<StationEntry, SimulateError> {
    let text = format!("{}*{}*E{:05}", party.country(), party.id(), index + 1);
    let evse: EvseId = text.parse().map_err(setup_error)?;
    let zone: GridZone = format!("{}-1", party.country()).parse().map_err(setup_error)?;
    Ok(StationEntry {
        evse,
        place: format!("Station {}", index + 1),
        zone,
        time_zone: time_zone(party)?,
        tariff: TariffId::new(TARIFF).map_err(setup_error)?,
        power_w: pace.power().get(),
    })
}

fn station(
    setup: &Setup,
    programs: &Programs,
    files: &Files,
    node: &NodeReady,
    operator: &Program<OperatorReady>,
    index: usize,
) -> Result<Program<StationReady>, SimulateError> {
    let StationEntry { evse, place, zone, time_zone, power_w, .. } =
        entry(operator.ready.party, index, files.pace)?;
    let StationInvitation { operator_did, operator_invitation, .. } =
        operator.ask(&OperatorCommand::Invite { evse: evse.clone() })?;
    let name = format!("station-{}", index + 1);
    let config = StationConfig {
        evse,
        place,
        zone,
        time_zone,
        power_w,
        operator_did,
        operator_invitation,
        resolver_url: node.url.clone(),
        genesis_file: "genesis.json".into(),
        directory: name.clone().into(),
        passphrase_file: Some("passphrase".into()),
        agent_listen: any_port(),
        agent_public_url: None,
        mode: setup.mode,
        calibration_file: None,
        hardware: HardwareConfig::Simulated {
            pace: files.pace,
            // TOML has no numbers above 2^63.
            seed: (setup.seed.0 ^ u64::try_from(index).unwrap_or(0)) & (u64::MAX >> 1),
        },
        simulation: Some(files.simulation()),
    };
    let config = files.config(&name, &config)?;
    let (program, words): (_, &[_]) = match &programs.station {
        Some(program) => (program, &["run"]),
        None => (&programs.eroam, &["station", "run"]),
    };
    Program::start(program, words, config, files.root.join(&name))
}

fn driver(
    setup: &Setup,
    program: &Path,
    files: &Files,
    node: &NodeReady,
    index: usize,
) -> Result<Program<DriverReady>, SimulateError> {
    let name = format!("driver-{}", index + 1);
    let config = DriverConfig {
        resolver_url: node.url.clone(),
        genesis_file: "genesis.json".into(),
        directory: name.clone().into(),
        mode: setup.mode,
        simulation: files.simulation(),
    };
    let config = files.config(&name, &config)?;
    Program::start(program, &["simulated-driver"], config, files.root.join(&name))
}
