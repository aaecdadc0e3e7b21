//! `eroam feed`: takes a grid zone's load as it comes, and attests a forecast every hour.

use super::forecast::LoadArgs;
use super::registry::open;
use super::told::Told;
use super::{SEED, print_line};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use ed25519_dalek::SigningKey;
use eroam::clock;
use eroam::consortium::Seed;
use eroam::feed::rates::{PublishedRates, RatePublisher, RatedTariff};
use eroam::feed::{
    FeedState, FeedStatus, Inbox, LOST_AFTER_HOURS, LedgerAttestor, Runner, STATUS_EVERY, Settings,
    read_status, router,
};
use eroam::ledger::Ledger;
use eroam::node::{Node, RemoteNode};
use eroam::rate_server::{ANSWERS_WITHIN, HttpRateServer};
use eroam::registry::Secret;
use eroam::server::{STOP_WITHIN, Server};
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::PartyId;
use eroam_domain::tariff::TariffId;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::hour::UtcHour;
use eroam_gateway::rates::RateLimits;
use eroam_ledger::forecast::ATTESTED_HOURS_MAX;
use eroam_ledger::port::LedgerPort as _;
use serde_json::json;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// So often the watched file is looked at.
const EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Subcommand)]
pub(super) enum FeedCommand {
    /// Take samples by HTTP push or from a CSV that grows, and attest a forecast every hour, until Ctrl-C
    Run(Box<RunArgs>),
    /// Say how alive a feed is, and what it last attested
    Status(StatusArgs),
    /// Ask an outside server for the rates of the coming hours, and publish them as the next version of a tariff, once
    Rates(Box<RatesArgs>),
}

/// Who signs, and where.
#[derive(Debug, Args)]
pub(super) struct SignerArgs {
    /// Sign in the name of this member
    #[arg(long = "as", value_name = "PARTY")]
    member: PartyId,
    /// The organisation's node
    #[arg(long, value_name = "URL", required_unless_present = "data", requires = "member_key_file")]
    node: Option<String>,
    /// The key that the ledger lists for the member, as the organisation's other programs have it: 64 hexadecimal digits
    /// in a file of mode 600. With --data alone it follows from the seed
    #[arg(long, value_name = "FILE")]
    member_key_file: Option<PathBuf>,
    /// A data directory whose ledger no other program uses, instead of a node: for trials
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    data: Option<PathBuf>,
    /// The keys of the validators in --data, and without a key file those of its members, follow from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
}

impl SignerArgs {
    /// The key. A file that cannot be used is no reason to take another one.
    fn key(&self) -> anyhow::Result<SigningKey> {
        match &self.member_key_file {
            Some(file) => key_in(file),
            None => Ok(Seed(self.seed).signing_key(self.member)),
        }
    }

    /// The ledger, which has to live as long as its node, and the node.
    fn open(&self) -> anyhow::Result<(Option<Ledger>, Node)> {
        match (&self.node, &self.data) {
            (Some(url), _) => Ok((None, Node::from(RemoteNode::connect(url, None)?))),
            (None, Some(data)) => {
                let (ledger, _) = open(data, Seed(self.seed))?;
                let node = Node::from(ledger.client().clone());
                Ok((Some(ledger), node))
            }
            (None, None) => {
                bail!("name the organisation's node with --node, or a data directory with --data")
            }
        }
    }
}

#[cfg(unix)]
fn key_in(file: &Path) -> anyhow::Result<SigningKey> {
    Ok(eroam::program::secrets::signing_key(file)?)
}

#[cfg(not(unix))]
fn key_in(file: &Path) -> anyhow::Result<SigningKey> {
    bail!("whether others can read {} cannot be told on this system: run the feed on Unix", file.display())
}

#[derive(Debug, Args)]
pub(super) struct RatesArgs {
    #[command(flatten)]
    signer: SignerArgs,
    /// The server: it is asked with ?from=2026-11-22T15:00:00Z, and answers
    /// {"currency": "EUR", "rates": [{"start": "2026-11-22T15:00:00Z", "micros_per_kwh": 182300}]}
    #[arg(long, value_name = "URL")]
    url: String,
    /// The tariff
    #[arg(long, value_name = "ID")]
    tariff: TariffId,
    /// The version whose prices hold where the server has no rate
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    base_version: u32,
    /// A lower rate is not believed: millionths of the currency for a kWh, above zero
    #[arg(long, value_name = "MICROS", value_parser = clap::value_parser!(i64).range(1..))]
    least_micros: i64,
    /// A higher rate is not believed
    #[arg(long, value_name = "MICROS", value_parser = clap::value_parser!(i64).range(1..))]
    most_micros: i64,
    /// No more hours than these are taken
    #[arg(long, value_name = "HOURS", default_value_t = 48, value_parser = clap::value_parser!(u16).range(1..=72))]
    hours_max: u16,
    /// The clock at the stations: UTC, an offset such as +01:00, or a zone such as Europe/Lisbon
    #[arg(long, value_name = "CLOCK")]
    clock: LoadClock,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Where the samples and the status are kept
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The grid zone, as agreements name it
    #[arg(long, value_parser = zone)]
    zone: GridZone,
    #[command(flatten)]
    signer: SignerArgs,
    /// Take samples by HTTP there: POST /v1/load
    #[arg(long, value_name = "ADDRESS", requires = "secret_file")]
    listen: Option<SocketAddr>,
    /// The file with the secret that senders show: 16 to 512 printable characters
    #[arg(long, value_name = "FILE", requires = "listen")]
    secret_file: Option<PathBuf>,
    /// Watch this CSV for new lines
    #[arg(long, value_name = "FILE", required_unless_present = "listen")]
    watch: Option<PathBuf>,
    #[command(flatten)]
    columns: LoadArgs,
    /// How many hours after the present one are attested
    #[arg(long, default_value_t = 23, value_parser = clap::value_parser!(u16).range(1..=ATTESTED_HOURS_MAX as i64))]
    hours: u16,
    /// Attest loads, too, so many hours after them; until then they can be corrected
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(i64).range(1..=160))]
    loads_after: Option<i64>,
    /// After so many hours without a load the feed is lost and nothing is attested
    #[arg(long, value_name = "HOURS", default_value_t = LOST_AFTER_HOURS, value_parser = clap::value_parser!(i64).range(1..=8760))]
    lost_after: i64,
}

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    /// The directory of `eroam feed run --state`
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

fn zone(text: &str) -> Result<GridZone, String> {
    GridZone::new(text)
}

pub(super) fn run(command: &FeedCommand) -> anyhow::Result<ExitCode> {
    match command {
        FeedCommand::Run(args) => feed(args),
        FeedCommand::Status(args) => status(args),
        FeedCommand::Rates(args) => rates(args),
    }
}

fn rates(args: &RatesArgs) -> anyhow::Result<ExitCode> {
    let key = args.signer.key()?;
    let mut server = HttpRateServer::new(&args.url, ANSWERS_WITHIN)?;
    if args.least_micros > args.most_micros {
        bail!("--least-micros {} is above --most-micros {}", args.least_micros, args.most_micros);
    }
    let limits = RateLimits {
        least_micros: args.least_micros,
        most_micros: args.most_micros,
        hours_max: usize::from(args.hours_max),
    };
    let (ledger, node) = args.signer.open()?;
    let now = clock::now().max(node.time());
    let stations = args.clock.over(UtcHour::of(now), i64::from(args.hours_max));
    let tariff = RatedTariff { id: args.tariff.clone(), base_version: args.base_version, limits };
    let mut publisher = RatePublisher::new(node, args.signer.member, key);
    let PublishedRates { version, hours } = publisher.publish(&mut server, &tariff, &stations, now)?;
    drop((publisher, ledger));
    if args.json {
        print_line(&json!({ "tariff": args.tariff, "version": version, "hours": hours }).to_string())?;
    } else {
        print_line(&format!("{} has rates for {hours} hours, as version {version}", args.tariff))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn feed(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let key = args.signer.key()?;
    let secret = args.secret_file.as_deref().map(Secret::read).transpose()?;
    // What costs nothing to find out comes before a ledger is opened.
    let watch = args.watch.clone().map(|path| (path, args.columns.options()));
    let inbox = Arc::new(Mutex::new(Inbox::open(&args.state, watch)?));
    let (ledger, node) = args.signer.open()?;
    let attestor = LedgerAttestor::new(node, args.signer.member, key);
    attestor.check_key()?;
    let rights = attestor.rights(&args.zone)?;
    if !rights.forecasts {
        eprintln!(
            "warning: no accepted agreement names {} as a forecaster of {}: its forecasts will be refused until one does",
            args.signer.member, args.zone
        );
    }
    let settings = Settings {
        hours: usize::from(args.hours),
        lost_after_hours: args.lost_after,
        load_settles_hours: args.loads_after,
        ..Settings::new(args.zone.clone(), args.columns.clock())
    };
    let mut runner = Runner::new(settings, &args.state, Arc::clone(&inbox), Box::new(attestor), clock::now());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let told = {
        let _context = runtime.enter();
        Told::new().context("signals cannot be waited for")?
    };
    let server = match args.listen.zip(secret) {
        Some((listen, secret)) => {
            let routes = router(inbox, args.state.clone(), secret, Arc::new(clock::now));
            let server = Server::start("feed", listen, routes, STOP_WITHIN)?;
            print_line(&format!("taking samples at http://{}/v1/load", server.address()))?;
            Some(server)
        }
        None => None,
    };
    let mut said = None;
    let mut told = Box::pin(told.wait());
    loop {
        runner.tick(clock::now())?;
        // Once for each change, not every few seconds.
        let says = (runner.status().state, runner.status().says.clone());
        if said.as_ref() != Some(&says) {
            print_line(&line(runner.status()))?;
            said = Some(says);
        }
        let waited = runtime.block_on(async { tokio::time::timeout(EVERY, &mut told).await });
        if waited.is_ok() {
            break;
        }
    }
    if let Some(server) = server {
        server.stop();
    }
    drop(ledger);
    Ok(ExitCode::SUCCESS)
}

fn state_name(state: FeedState) -> &'static str {
    match state {
        FeedState::Live => "live",
        FeedState::Late => "late",
        FeedState::Degraded => "degraded",
        FeedState::Lost => "lost",
        FeedState::Absent => "absent",
    }
}

fn line(status: &FeedStatus) -> String {
    let last = status.last_sample.map_or_else(|| "none".to_owned(), |at| at.to_string());
    format!("{}: {}; last sample {last}: {}", status.zone, state_name(status.state), status.says)
}

fn status(args: &StatusArgs) -> anyhow::Result<ExitCode> {
    let status = read_status(&args.state).with_context(|| {
        format!("{} has no status of a feed: start one with `eroam feed run --state`", args.state.display())
    })?;
    let runs = clock::now().since(status.at).is_some_and(|since| since.millis() < 3 * STATUS_EVERY.millis());
    let alive = runs && matches!(status.state, FeedState::Live | FeedState::Late);
    if !runs {
        eprintln!("warning: the feed does not run: its last word is of {}", status.at);
    }
    if args.json {
        print_line(&serde_json::to_string(&status)?)?;
    } else {
        print_line(&line(&status))?;
        print_line(&format!("as of {}; {} hours kept, {} missing", status.at, status.hours, status.holes))?;
        if let Some(made) = &status.last_forecast {
            let attested = match &made.attested {
                Ok(()) => "attested".to_owned(),
                Err(why) => why.clone(),
            };
            print_line(&format!("forecast of {} made at {}: {attested}", made.digest, made.made_at))?;
        }
        for problem in &status.problems {
            let line = problem.line.map_or_else(String::new, |line| format!("line {line}: "));
            print_line(&format!("{} {line}{}", problem.at, problem.reason))?;
        }
    }
    Ok(if alive { ExitCode::SUCCESS } else { ExitCode::from(3) })
}
