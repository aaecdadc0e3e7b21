//! `eroam simulate`: paper B's experiment.

use clap::ValueEnum;
use eroam::charging::station::Mode;
use eroam::consortium::Seed;
use eroam::simulate::{self, Programs, Setup};
use std::io::{IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

/// What drivers prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum ModeArg {
    /// Zones and tier shown, not revoked; stations show a signed credential
    Default,
    /// As the paper has it: the last day is compared, too
    Paper,
}

impl From<ModeArg> for Mode {
    fn from(mode: ModeArg) -> Self {
        match mode {
            ModeArg::Default => Self::Default,
            ModeArg::Paper => Self::Paper,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(super) struct SimulateArgs {
    /// Drivers, each with a wallet
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    drivers: u32,
    /// Home utilities
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=99))]
    emsps: u32,
    /// Operators
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=99))]
    cpos: u32,
    /// Stations
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    stations: u32,
    /// Charging events
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    events: u32,
    /// Keys, ids, vehicles and the order of events follow from it
    #[arg(long, default_value_t = super::SEED)]
    seed: u64,
    /// What drivers prove
    #[arg(long, value_enum, default_value_t = ModeArg::Default)]
    mode: ModeArg,
    /// Keep the organisations' records here: a new directory; in memory otherwise
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Take the issuers' keys from definition.json, secret.json and key_correctness.json in this directory instead of
    /// making them: for trying things out
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    issuer_keys: Option<PathBuf>,
    /// Instead of charging, serve drivers of other processes until Ctrl-C (`eroam wallet`), with stations that charge in
    /// real time. The genesis and where everybody is are written to this directory: a new or empty one, or an earlier one.
    /// The ledger begins empty, and its network is another one each time
    #[arg(long, value_name = "DIR", conflicts_with_all = ["events", "data"])]
    serve: Option<PathBuf>,
    /// Every agent and the ledger in a process of its own
    #[arg(long, conflicts_with = "serve")]
    processes: bool,
    /// What the stations' processes run instead of this program: `eroam-station`
    #[arg(long, value_name = "FILE", requires = "processes")]
    station_program: Option<PathBuf>,
    /// Nodes, each a process with a validator; organisations use them in turn
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=16), requires = "processes")]
    validators: u8,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The paper's scenario: four drivers, two home utilities, two operators, four stations.
pub(super) fn setup_of(events: u32, seed: Seed, mode: Mode) -> Setup {
    Setup {
        drivers: 4,
        emsps: 2,
        cpos: 2,
        stations: 4,
        events: usize::try_from(events).unwrap_or(usize::MAX),
        seed,
        mode,
        issuer_keys: None,
        data: None,
        served: false,
        processes: None,
    }
}

fn programs(args: &SimulateArgs) -> anyhow::Result<Option<Programs>> {
    if !args.processes {
        return Ok(None);
    }
    Ok(Some(Programs {
        eroam: std::env::current_exe()?,
        station: args.station_program.clone(),
        validators: usize::from(args.validators),
    }))
}

pub(super) fn run(args: &SimulateArgs) -> anyhow::Result<ExitCode> {
    if !args.processes {
        super::huge_pages::do_without();
    }
    let many = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    let setup = Setup {
        drivers: many(args.drivers),
        emsps: many(args.emsps),
        cpos: many(args.cpos),
        stations: many(args.stations),
        events: many(args.events),
        seed: Seed(args.seed),
        mode: args.mode.into(),
        issuer_keys: args.issuer_keys.clone(),
        data: args.data.clone(),
        served: false,
        processes: programs(args)?,
    };
    let talks = std::io::stderr().is_terminal();
    let mut say = |text: &str| {
        if talks {
            let _ = writeln!(std::io::stderr(), "{text}");
        }
    };
    if let Some(directory) = &args.serve {
        return super::served::run(&setup, directory, args.json, &mut say);
    }
    let simulated = simulate::run(&setup, &mut say)?;
    let text = if args.json { serde_json::to_string_pretty(&simulated)? } else { simulated.to_string() };
    super::print_line(&text)?;
    Ok(if simulated.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
