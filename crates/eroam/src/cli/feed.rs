//! `eroam feed`: takes a grid zone's load as it comes, and attests a forecast every hour.

use super::forecast::LoadArgs;
use super::registry::{Told, open};
use super::{SEED, print_line};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use eroam::clock;
use eroam::consortium::Seed;
use eroam::feed::{
    FeedState, FeedStatus, Inbox, LOST_AFTER_HOURS, LedgerAttestor, Runner, STATUS_EVERY, Settings,
    read_status, router,
};
use eroam::node::{Node, RemoteNode};
use eroam::registry::Secret;
use eroam::server::{STOP_WITHIN, Server};
use eroam_domain::cdr::GridZone;
use eroam_domain::ids::PartyId;
use eroam_ledger::forecast::ATTESTED_HOURS_MAX;
use std::net::SocketAddr;
use std::path::PathBuf;
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
}

#[derive(Debug, Args)]
pub(super) struct RunArgs {
    /// Where the samples and the status are kept
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The grid zone, as agreements name it
    #[arg(long, value_parser = zone)]
    zone: GridZone,
    /// Attest in the name of this member; its key follows from the seed
    #[arg(long = "as", value_name = "PARTY")]
    member: PartyId,
    /// The organisation's node
    #[arg(long, value_name = "URL", required_unless_present = "data")]
    node: Option<String>,
    /// A data directory whose ledger no other program uses, instead of a node
    #[arg(long, value_name = "DIR", conflicts_with = "node")]
    data: Option<PathBuf>,
    /// Keys follow from it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
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
    }
}

fn feed(args: &RunArgs) -> anyhow::Result<ExitCode> {
    let seed = Seed(args.seed);
    let secret = args.secret_file.as_deref().map(Secret::read).transpose()?;
    // What costs nothing to find out comes before a ledger is opened.
    let watch = args.watch.clone().map(|path| (path, args.columns.options()));
    let inbox = Arc::new(Mutex::new(Inbox::open(&args.state, watch)?));
    let (ledger, node) = match (&args.node, &args.data) {
        (Some(url), _) => (None, Node::from(RemoteNode::connect(url, None)?)),
        (None, Some(data)) => {
            let (ledger, _) = open(data, seed)?;
            let node = Node::from(ledger.client().clone());
            (Some(ledger), node)
        }
        (None, None) => bail!("name the organisation's node with --node, or a data directory with --data"),
    };
    let attestor = LedgerAttestor::new(node, args.member, seed.signing_key(args.member));
    let rights = attestor.rights(&args.zone)?;
    if !rights.forecasts {
        eprintln!(
            "warning: no accepted agreement names {} as a forecaster of {}: its forecasts will be refused until one does",
            args.member, args.zone
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
