//! The command line. Part of the program, not of the library: errors end here, with their causes in one line.

mod calibrate;
mod code;
#[cfg(unix)]
mod dispute;
#[cfg(unix)]
mod disputed;
mod feed;
mod forecast;
mod gain;
mod huge_pages;
mod ledger;
mod mandates;
#[cfg(unix)]
mod node;
#[cfg(unix)]
mod operator;
mod output;
#[cfg(unix)]
mod passphrase;
#[cfg(unix)]
mod program;
#[cfg(unix)]
mod provider;
mod registry;
mod served;
mod simulate;
#[cfg(unix)]
mod simulated_driver;
#[cfg(unix)]
mod staff;
mod station;
#[cfg(unix)]
mod station_program;
mod study;
mod told;
mod wallet;

use anyhow::Context as _;
use clap::{CommandFactory as _, Parser, Subcommand};
use eroam::bench;
use eroam::bench::credentials::{CredentialsSetup, PREDICATES_MAX, REGISTRY_MIN};
use eroam::charging::station::Mode;
use eroam::consortium::{Seed, Setup};
use eroam::demo;
use eroam::ledger::{EPOCH_BLOCKS, LedgerSetup};
use eroam::replay::assign::RoamingShare;
use eroam::replay::{self, Progress, TICK_EVENTS};
use eroam_gateway::anomalies::{AnomalyConfig, AnomalyRules};
use eroam_ledger::genesis::EPOCH_BLOCKS_MIN;
use eroam_store::StoreUrl;
use indicatif::{ProgressBar, ProgressStyle};
use output::print_line;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The seed when none is given: printed, so that a run can be repeated.
const SEED: u64 = 1;

/// What is logged unless EROAM_LOG says otherwise. Nothing of the engine: it warns of every new file, and that its parts
/// end one after another. When it fails, `chain` says so.
const LOG_FILTER: &str = "warn,commonware=off";

const AFTER_HELP: &str = "Exit codes: 0 done; 1 failed, or what was to be verified is not so; 2 wrong usage; 3 done, \
but an input file could not be used or only in part.\nSet EROAM_LOG=debug (or a tracing filter) to see what happens inside; it goes to standard error.";

/// Roaming for electric cars: one credential, one bill, any operator, no hub company.
#[derive(Debug, Parser)]
#[command(name = "eroam", version, about, after_help = AFTER_HELP)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// A consortium of four utilities in this process: drivers charge away from home, everything is settled and shown
    Demo(DemoArgs),
    /// Real charging sessions from files go through a whole consortium
    Replay(ReplayArgs),
    /// Look at a ledger that no program runs, check it, take it elsewhere
    #[command(subcommand)]
    Ledger(ledger::LedgerCommand),
    /// What verifiers and issuers of credentials look up and publish, over HTTP
    #[command(subcommand)]
    Registry(registry::RegistryCommand),
    /// Check a receipt or a state proof with nothing but the genesis of its network: offline, without any ledger
    Verify(ledger::VerifyArgs),
    /// Paper B's experiment: drivers with wallets charge at stations, every agent with its own keys, over HTTP
    Simulate(simulate::SimulateArgs),
    /// A driver's wallet: enrol with a provider, charge at any operator's station, keep the receipts
    Wallet(wallet::WalletArgs),
    /// Set up a charging station
    #[command(subcommand)]
    Station(station::StationCommand),
    /// A driver of `simulate --processes`
    #[cfg(unix)]
    #[command(hide = true)]
    SimulatedDriver(program::ConfigArgs),
    /// The ledger and its registry, for the programs of this machine
    #[cfg(unix)]
    #[command(subcommand)]
    Node(node::NodeArgs),
    /// A home utility for drivers with wallets, and what its staff does
    #[cfg(unix)]
    #[command(subcommand)]
    Provider(provider::ProviderArgs),
    /// An operator of charging stations, and what its staff does
    #[cfg(unix)]
    #[command(subcommand)]
    Operator(operator::OperatorArgs),
    /// Check the evidence of a contested record, and decide it
    #[cfg(unix)]
    #[command(subcommand)]
    Dispute(dispute::DisputeCommand),
    /// Another passphrase for what a provider, an operator or a station keeps
    #[cfg(unix)]
    Passphrase(passphrase::PassphraseArgs),
    /// Learn a grid's load, forecast it, and see how good that was
    #[command(subcommand)]
    Forecast(forecast::ForecastCommand),
    /// Take a grid's load as it comes, and attest a forecast every hour
    #[command(subcommand)]
    Feed(feed::FeedCommand),
    /// The figures of paper A, on real data
    #[command(subcommand)]
    Study(study::StudyCommand),
    /// Measure
    #[command(subcommand)]
    Bench(BenchCommand),
    /// Shell completions, to standard output
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, clap::Args)]
struct DemoArgs {
    /// Run the story once, with a charge by wallet after it, and stop; without it a new one begins every few seconds until
    /// Ctrl-C
    #[arg(long)]
    once: bool,
    /// Seconds between two stories
    #[arg(long, value_name = "SECONDS", default_value_t = 10, conflicts_with = "once")]
    every: u64,
    /// Every key and id follows from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Also write the bills, invoices and records to this directory
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object instead of the story
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct ReplayArgs {
    /// Session files, recognised by their content: ACN-Data JSON, OCPI 2.2.1 CDR JSON, Trondheim, workplace and
    /// Boulder CSV, plain or gzip
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    input: Vec<PathBuf>,
    /// Where to write; a new or empty directory, or the output of an earlier replay, which is replaced
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Keep the consortium's records here and go on where an earlier run stopped: a directory (SQLite) or
    /// postgres://user@host/database (a schema for each organisation)
    #[arg(long, value_name = "DIR|URL")]
    data: Option<StoreUrl>,
    /// Keep the ledger here instead of in `ledger` under the directory of --data; needed where that is a database
    #[arg(long, value_name = "DIR", requires = "data")]
    ledger: Option<PathBuf>,
    /// Validators of the ledger, all in this process, talking over loopback sockets
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    validators: u8,
    /// Items in a block at most; what is booked does not depend on it
    #[arg(long, value_name = "N", default_value_t = 4096, hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    block_items: u32,
    /// Blocks in an epoch; another number makes another network, what is booked is the same
    #[arg(long, value_name = "N", default_value_t = EPOCH_BLOCKS, hide_short_help = true, value_parser = clap::value_parser!(u32).range(i64::from(EPOCH_BLOCKS_MIN)..))]
    epoch_blocks: u32,
    /// Use the earliest N sessions only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Repeat the input N times, as later years with other drivers
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    repeat: u32,
    /// The share of drivers whose home utility is not the operator where they mostly charge
    #[arg(long, value_name = "SHARE", default_value = "0.5")]
    roaming_share: RoamingShare,
    /// Let home utilities contest records that cannot be true. Where a file names no drivers, those that are made up may
    /// be in two places at once, and are contested for it
    #[arg(long)]
    contest: bool,
    /// By which thresholds: a TOML file with a section `[anomalies]`, as a home utility's program has it
    #[arg(long, value_name = "FILE", requires = "contest")]
    contest_rules: Option<PathBuf>,
    /// Every key and id follows from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Events between two writes to the ledger; what is booked does not depend on it
    #[arg(long, value_name = "N", default_value_t = TICK_EVENTS, hide_short_help = true)]
    tick_events: usize,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum BenchCommand {
    /// Price generated records with the function that quotes, bills and re-checks
    Price(BenchArgs),
    /// Execute generated records on the ledger's rules over a state in memory, signatures and re-pricing included
    Execute(BenchArgs),
    /// Record generated records on a network of validators with their sockets and disks, at full and at half load
    Ledger(BenchLedgerArgs),
    /// Let a network of validators do nothing
    Idle(BenchIdleArgs),
    /// Stop one validator after another while somebody submits, and see how long the network stands still
    Failover(BenchFailoverArgs),
    /// Issue, show and verify credentials and seal messages, beside the library of the cryptography alone
    Credentials(BenchCredentialsArgs),
    /// Charging events by wallet, in both modes of `simulate`
    Event(BenchEventArgs),
}

#[derive(Debug, clap::Args)]
struct BenchEventArgs {
    /// Charging events in each mode
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    events: u32,
    /// Every key and id follows from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Take the issuers' keys from this directory instead of making them, as `eroam simulate`
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    issuer_keys: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BenchLedgerArgs {
    /// How many validators, all in this process
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16))]
    validators: u8,
    /// How many records
    #[arg(long, value_name = "N", default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    records: u64,
    /// Leave the rules out: check the same signatures, write the same keys
    #[arg(long)]
    engine_only: bool,
    /// Measure both, in turns, and print how much of the bare engine's rate the rules leave
    #[arg(long, conflicts_with = "engine_only")]
    beside_engine: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BenchIdleArgs {
    /// How many validators, all in this process
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(1..=16))]
    validators: u8,
    /// For how long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BenchFailoverArgs {
    /// How many validators, all in this process
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u8).range(4..=16))]
    validators: u8,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BenchCredentialsArgs {
    /// How often each is done; medians are shown
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    runs: u16,
    /// Comparisons in the request
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(0..=PREDICATES_MAX as i64))]
    predicates: u8,
    /// Also make a revocation registry of so many places, and revoke a hundred of them
    #[arg(long, value_name = "PLACES", value_parser = clap::value_parser!(u32).range(i64::from(REGISTRY_MIN)..))]
    registry: Option<u32>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct BenchArgs {
    /// How many records
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    records: u64,
    /// Agreements whose price follows the attested load forecast, hour by hour
    #[arg(long)]
    dynamic: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl BenchArgs {
    const fn rule(&self) -> bench::Rule {
        if self.dynamic { bench::Rule::Dynamic } else { bench::Rule::Static }
    }
}

/// Runs the command line and says how it ended.
#[must_use]
pub(crate) fn main() -> ExitCode {
    let cli = Cli::parse();
    output::log(LOG_FILTER);
    output::end(run(cli.command))
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Demo(args) => run_demo(&args),
        Command::Replay(args) => run_replay(args),
        Command::Ledger(command) => ledger::run(command),
        Command::Registry(command) => registry::run(command),
        Command::Verify(args) => ledger::verify(&args),
        Command::Bench(BenchCommand::Price(args)) => {
            show_bench("price", &args, bench::price(args.records, args.rule())?)
        }
        Command::Bench(BenchCommand::Execute(args)) => {
            show_bench("execute", &args, bench::execute(args.records, args.rule())?)
        }
        Command::Bench(BenchCommand::Ledger(args)) => bench_ledger(&args),
        Command::Bench(BenchCommand::Idle(args)) => bench_idle(&args),
        Command::Bench(BenchCommand::Failover(args)) => bench_failover(&args),
        Command::Bench(BenchCommand::Credentials(args)) => bench_credentials(&args),
        Command::Bench(BenchCommand::Event(args)) => bench_event(&args),
        Command::Simulate(args) => simulate::run(&args),
        Command::Wallet(args) => wallet::run(&args),
        #[cfg(unix)]
        Command::Dispute(command) => dispute::run(&command),
        #[cfg(unix)]
        Command::Passphrase(args) => passphrase::run(&args),
        #[cfg(unix)]
        Command::SimulatedDriver(args) => simulated_driver::run(&args),
        #[cfg(unix)]
        Command::Node(args) => node::run(&args),
        #[cfg(unix)]
        Command::Provider(args) => provider::run(&args),
        #[cfg(unix)]
        Command::Operator(args) => operator::run(&args),
        Command::Station(command) => station::run(&command),
        Command::Forecast(command) => forecast::run(command),
        Command::Feed(command) => feed::run(&command),
        Command::Study(command) => study::run(command),
        Command::Completions { shell } => {
            // Into memory first: the generator panics where it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "eroam", &mut script);
            print_line(String::from_utf8_lossy(&script).trim_end())?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn run_demo(args: &DemoArgs) -> anyhow::Result<ExitCode> {
    let mut seed = args.seed;
    loop {
        let story = demo::run(Seed(seed), args.once, args.out.as_deref())?;
        if args.json {
            print_line(&serde_json::to_string(&story)?)?;
        } else {
            print_line(&story.to_string())?;
        }
        if args.once {
            return Ok(ExitCode::SUCCESS);
        }
        seed = seed.wrapping_add(1);
        std::thread::sleep(std::time::Duration::from_secs(args.every));
    }
}

/// The thresholds in a file, or the usual ones.
fn contest_rules(file: Option<&Path>) -> anyhow::Result<AnomalyRules> {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sections {
        anomalies: AnomalyConfig,
    }
    let Some(file) = file else { return Ok(AnomalyRules::DEFAULT) };
    let text = std::fs::read_to_string(file).with_context(|| format!("{} cannot be read", file.display()))?;
    let sections: Sections = toml::from_str(&text)
        .with_context(|| format!("{} does not say what [anomalies] are", file.display()))?;
    sections.anomalies.rules().with_context(|| format!("{}: [anomalies]", file.display()))
}

fn run_replay(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let mut ledger = LedgerSetup { validators: usize::from(args.validators), ..LedgerSetup::default() };
    ledger.block_items = usize::try_from(args.block_items)?;
    ledger.epoch_blocks = args.epoch_blocks;
    ledger.directory = match (&args.ledger, &args.data) {
        (Some(directory), _) => Some(directory.clone()),
        (None, Some(data)) => match data.as_directory() {
            Some(directory) => Some(directory.join("ledger")),
            None => {
                let what = "the ledger is kept in files: name a directory for it with --ledger";
                Cli::command().error(clap::error::ErrorKind::MissingRequiredArgument, what).exit()
            }
        },
        (None, None) => None,
    };
    let anomalies = if args.contest { Some(contest_rules(args.contest_rules.as_deref())?) } else { None };
    let options = replay::Options {
        inputs: args.input,
        out: args.out,
        setup: Setup { stores: args.data, ledger, anomalies },
        limit: args.limit.and_then(|n| usize::try_from(n).ok()),
        repeat: args.repeat,
        roaming_share: args.roaming_share,
        seed: Seed(args.seed),
        tick_events: args.tick_events.max(1),
    };
    let mut progress = Bar::new();
    let result = replay::run(&options, &mut progress);
    progress.bar.finish_and_clear();
    let summary = result?;
    if args.json {
        print_line(&serde_json::to_string(&summary)?)?;
    } else {
        print_line(&summary.to_string())?;
        print_line(&format!("written to {}", options.out.display()))?;
    }
    let whole = progress.problems == 0 && summary.rows_refused == 0;
    Ok(if whole { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

/// A bar on a terminal, nothing in a pipe; problems with files go to standard error either way.
struct Bar {
    bar: ProgressBar,
    problems: u32,
}

impl Bar {
    fn new() -> Self {
        let bar = ProgressBar::new(0);
        let style = ProgressStyle::with_template("{msg:10} {wide_bar} {percent:>3} %  {per_sec}  {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style);
        Self { bar, problems: 0 }
    }
}

impl Progress for Bar {
    fn file_problem(&mut self, message: &str) {
        self.problems += 1;
        self.bar.suspend(|| eprintln!("warning: {message}"));
    }

    fn events(&mut self, done: u64, of: u64) {
        self.bar.set_length(of);
        self.bar.set_position(done);
    }

    fn stage(&mut self, name: &str) {
        self.bar.set_message(name.to_owned());
    }
}

fn show_bench(name: &str, args: &BenchArgs, result: bench::Measured) -> anyhow::Result<ExitCode> {
    if args.json {
        print_line(&serde_json::to_string(&result)?)?;
    } else {
        print_line(&format!(
            "{name}: {} records, {:.0} records/s, {:.2} us of CPU each, {:.0} MiB",
            result.records, result.cdrs_per_s, result.cpu_us_per_cdr, result.rss_mib
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn bench_ledger(args: &BenchLedgerArgs) -> anyhow::Result<ExitCode> {
    let validators = usize::from(args.validators);
    if args.beside_engine {
        let both = bench::beside_engine::beside_engine(validators, args.records)?;
        if args.json {
            print_line(&serde_json::to_string(&both)?)?;
        } else {
            let ratios: Vec<String> = both.ratios_to_engine.iter().map(|r| format!("{r:.2}")).collect();
            print_line(&format!(
                "{}; the bare engine beside it: {:.0} records/s, of which the rules leave {:.2} (each pair: {})",
                network_in_words(&both.ledger),
                both.engine_cdrs_per_s,
                both.ratio_to_engine,
                ratios.join(", ")
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let result = bench::network::ledger(validators, args.records, args.engine_only)?;
    print_line(&if args.json { serde_json::to_string(&result)? } else { network_in_words(&result) })?;
    Ok(ExitCode::SUCCESS)
}

fn network_in_words(result: &bench::network::NetworkMeasured) -> String {
    format!(
        "{} validators{}: {} records in {} blocks, {:.0} records/s ({:.0} batches/s); at half that rate a receipt \
         takes {:.0} ms (median) or {:.0} ms (95 %); {:.1} us of CPU per record and validator, {:.0} MiB in all, \
         {:.0} bytes on the disk per record and validator",
        result.validators,
        if result.engine_only { ", engine only" } else { "" },
        result.records,
        result.blocks,
        result.cdrs_per_s,
        result.txs_per_s,
        result.p50_ms,
        result.p95_ms,
        result.cpu_us_per_cdr_node,
        result.rss_mib,
        result.bytes_per_cdr
    )
}

fn bench_idle(args: &BenchIdleArgs) -> anyhow::Result<ExitCode> {
    let result = bench::network::idle(usize::from(args.validators), args.seconds)?;
    if args.json {
        print_line(&serde_json::to_string(&result)?)?;
    } else {
        print_line(&format!(
            "{} validators, {} s: {} bytes written in all, {:.0} MB a day and validator, {:.2} % of a core each",
            result.validators,
            result.seconds,
            result.bytes_written,
            result.bytes_per_day_node / 1e6,
            result.cpu_percent
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn bench_failover(args: &BenchFailoverArgs) -> anyhow::Result<ExitCode> {
    let result = bench::network::failover(usize::from(args.validators))?;
    if args.json {
        print_line(&serde_json::to_string(&result)?)?;
    } else {
        let gaps: Vec<String> = result.gaps_ms.iter().map(|gap| format!("{gap:.0}")).collect();
        print_line(&format!(
            "{} validators, one of them stopped: the longest gap between two receipts was {:.0} ms (each: {})",
            result.validators,
            result.gap_ms_max,
            gaps.join(", ")
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn bench_event(args: &BenchEventArgs) -> anyhow::Result<ExitCode> {
    let mut both = serde_json::Map::new();
    for (prefix, mode) in [("paper", Mode::Paper), ("default", Mode::Default)] {
        let setup = eroam::simulate::Setup {
            issuer_keys: args.issuer_keys.clone(),
            ..simulate::setup_of(args.events, Seed(args.seed), mode)
        };
        let result = eroam::simulate::run(&setup, &mut |what| eprintln!("{what}"))?;
        if !args.json {
            print_line(&format!("{result}\n"))?;
        }
        if let serde_json::Value::Object(members) = serde_json::to_value(&result)? {
            // The paper's own values are the same in both.
            let ours = members.into_iter().filter(|(name, _)| name != "paper" && name != "mode");
            both.extend(ours.map(|(name, value)| (format!("{prefix}_{name}"), value)));
        }
    }
    if args.json {
        print_line(&serde_json::to_string(&both)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn bench_credentials(args: &BenchCredentialsArgs) -> anyhow::Result<ExitCode> {
    let setup = CredentialsSetup {
        runs: usize::from(args.runs),
        predicates: usize::from(args.predicates),
        registry: args.registry,
    };
    let result = bench::credentials::credentials(setup, &mut |what| eprintln!("{what}"))?;
    if args.json {
        print_line(&serde_json::to_string(&result)?)?;
        return Ok(ExitCode::SUCCESS);
    }
    let rows = [
        ("issue, through JSON", result.issue_ms, Some(result.bare_issue_ms)),
        ("prepare", result.prepare_ms, None),
        ("finalize", result.finalize_ms, None),
        ("both", result.prepare_ms + result.finalize_ms, Some(result.bare_prove_ms)),
        ("read and verify", result.verify_ms, Some(result.bare_verify_ms)),
        ("seal 10 kB", result.pack_ms, None),
        ("open 10 kB", result.unpack_ms, None),
        ("refuse, at most", result.malformed_refused_ms_max, None),
    ];
    print_line(&format!("{:<22}{:>10}{:>14}", "ms", "eroam", "library alone"))?;
    for (name, ours, bare) in rows {
        let bare = bare.map_or_else(String::new, |bare| format!("{bare:.3}"));
        print_line(&format!("{name:<22}{ours:>10.3}{bare:>14}"))?;
    }
    print_line(&format!(
        "{:.0} verifications/s on one thread, {:.0} on {} ({:.2} times as many)",
        result.verify_per_s_one, result.verify_per_s_all, result.threads, result.verify_threads_speedup
    ))?;
    if let Some(large) = result.large {
        print_line(&format!(
            "a registry of {}: made in {:.1} s, {} bytes of tails; a witness over 100 revocations in {:.3} ms",
            large.registry, large.registry_create_s, large.tails_bytes, large.witness_update_100_ms
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
