//! `eroam study`: paper A's figures, the quality of forecasts and what operators learn of drivers, as files and in a line.

use super::forecast::{LoadArgs, horizon, last_year, read};
use super::gain::{self, GainArgs};
use super::{SEED, print_line};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use eroam::consortium::Seed;
use eroam::output_directory;
use eroam::replay::input::{Repetitions, read_file};
use eroam::study::linkage::{self, LinkageSetup};
use eroam::study::report::{Report, marker};
use eroam::study::{decisions, lightgbm, revenue};
use eroam_forecast::features::Horizon;
use serde::Serialize;
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

#[derive(Debug, Subcommand)]
pub(super) enum StudyCommand {
    /// Paper A's equations (1) and (2) as printed, its figure 5, and what prices would be best
    Revenue(OutputArgs),
    /// How close prices that follow a forecast come to prices that know the load (our reading of paper A's figure 6)
    DecisionEfficiency(DecisionArgs),
    /// Errors of forecasts beside those of simple rules, by quarter
    Backtest(BacktestArgs),
    /// What a lying attester gains at most under a dynamic price rule, alone and beside honest ones
    Gain(GainArgs),
    /// Whether an operator can tell that two charges were the same driver's
    Linkage(LinkageArgs),
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Write JSON, CSV, SVG and a page to this directory: a new or empty one, or an earlier output of the same study
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct DecisionArgs {
    /// Hourly loads, at least 54 weeks: CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    load: PathBuf,
    /// Charging sessions, as `eroam replay` reads them
    #[arg(long, value_name = "FILE")]
    sessions: PathBuf,
    #[command(flatten)]
    columns: LoadArgs,
    /// How far ahead prices are made: 1h to 24h
    #[arg(long, value_name = "HOURS", default_value = "1h", value_parser = horizon)]
    horizon: Horizon,
    /// The sessions of each day are drawn with it
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct BacktestArgs {
    /// Hourly loads: CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    load: PathBuf,
    #[command(flatten)]
    columns: LoadArgs,
    /// The year whose quarters are scored, without it the last of the file; what is before is learned from
    #[arg(long)]
    year: Option<i16>,
    /// How far ahead: 1h to 24h, several with commas
    #[arg(long, value_name = "HOURS", default_value = "1h,4h,24h", value_delimiter = ',', value_parser = horizon)]
    horizon: Vec<Horizon>,
    /// Also score the boosted trees of LightGBM on the same rows, with this Python interpreter, which must have the package
    #[arg(long, value_name = "PYTHON")]
    lightgbm: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Debug, Args)]
pub(super) struct LinkageArgs {
    /// Pairs of charges, half of them one driver's; rounded up to a multiple of four
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    pairs: u32,
    /// Pairs for each of the controls and of what is measured apart; without it a fifth of the pairs
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(4..=1_000_000))]
    pairs_beside: Option<u32>,
    /// Drivers of the one home utility
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(2..=10_000))]
    drivers: u32,
    /// Threads; without it one for each core
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=256))]
    threads: Option<u32>,
    /// Drivers, times and energies follow from it; proofs and one-time keys do not
    #[arg(long, default_value_t = SEED)]
    seed: u64,
    /// Take the issuer's key from definition.json, secret.json and key_correctness.json in this directory instead of
    /// making it: for trying things out
    #[arg(long, value_name = "DIR", hide_short_help = true)]
    issuer_keys: Option<PathBuf>,
    #[command(flatten)]
    output: OutputArgs,
}

impl OutputArgs {
    /// Before the work: whether the study of this name may write where it is told to.
    fn check(&self, name: &str) -> anyhow::Result<()> {
        if let Some(directory) = &self.out {
            output_directory::check(directory, &marker(name), "eroam study")?;
        }
        Ok(())
    }
}

pub(super) fn run(command: StudyCommand) -> anyhow::Result<ExitCode> {
    match command {
        StudyCommand::Revenue(output) => {
            output.check(revenue::NAME)?;
            let study = revenue::revenue_study();
            show(&output, &study, &revenue::report(&study))?;
            Ok(ExitCode::SUCCESS)
        }
        StudyCommand::DecisionEfficiency(args) => decision_efficiency(&args),
        StudyCommand::Backtest(args) => backtest(&args),
        StudyCommand::Gain(args) => gain::run(&args),
        StudyCommand::Linkage(args) => linkage_study(args),
    }
}

fn decision_efficiency(args: &DecisionArgs) -> anyhow::Result<ExitCode> {
    args.output.check(decisions::EFFICIENCY_NAME)?;
    let (reading, code) = read(&args.load, &args.columns)?;
    let mut sessions = read_file(&args.sessions)?;
    let repeated = Repetitions::default().take_out(&mut sessions);
    if repeated > 0 {
        eprintln!("warning: {}", Repetitions::words(&sessions.file, repeated));
    }
    for row in &sessions.rejected {
        eprintln!("warning: {}:{}: {}: {}", row.file, row.line, row.field, row.reason);
    }
    let part = !sessions.rejected.is_empty() || sessions.error.is_some();
    if let Some(error) = sessions.error {
        eprintln!("warning: {error}");
    }
    let shapes = decisions::shapes(&sessions.sessions);
    let study = decisions::decisions(&reading, &args.columns.clock(), &shapes, args.horizon, args.seed)?;
    show(&args.output, &study, &decisions::report(&study))?;
    Ok(if part { ExitCode::from(3) } else { code })
}

fn backtest(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    args.output.check(decisions::BACKTEST_NAME)?;
    let (reading, code) = read(&args.load, &args.columns)?;
    let clock = args.columns.clock();
    let year = args.year.unwrap_or_else(|| last_year(&reading, &clock));
    let tests = decisions::backtests(&reading, &clock, &args.horizon, year);
    let mut tests = tests.with_context(|| format!("{year} is no year to score"))?;
    if tests.iter().all(|t| t.scores.iter().all(|s| s.hours == 0)) {
        bail!("{} has no load in {year}", args.load.display());
    }
    if let Some(python) = &args.lightgbm {
        for (test, horizon) in tests.iter_mut().zip(&args.horizon) {
            test.lightgbm = lightgbm::score(python, &reading, &clock, *horizon, year)?;
        }
    }
    show(&args.output, &tests, &decisions::backtest_report(&tests))?;
    Ok(code)
}

fn linkage_study(args: LinkageArgs) -> anyhow::Result<ExitCode> {
    args.output.check(linkage::NAME)?;
    let number = |number: u32| usize::try_from(number).context("this machine counts no farther");
    let pairs = number(args.pairs)?.next_multiple_of(4);
    let beside = args.pairs_beside.map(number).transpose()?.unwrap_or(pairs / 5);
    let threads = match args.threads {
        Some(threads) => number(threads)?,
        None => std::thread::available_parallelism().map_or(1, std::num::NonZero::get),
    };
    let setup = LinkageSetup {
        pairs,
        pairs_beside: beside.max(1).next_multiple_of(4),
        drivers: number(args.drivers)?,
        threads,
        seed: Seed(args.seed),
        issuer_keys: args.issuer_keys,
    };
    let is_watched = std::io::stderr().is_terminal();
    let study = linkage::linkage(&setup, &|text| {
        if is_watched {
            eprintln!("{text}");
        }
    })?;
    show(&args.output, &study, &linkage::report(&study))?;
    Ok(ExitCode::SUCCESS)
}

fn show(output: &OutputArgs, result: &impl Serialize, report: &Report) -> anyhow::Result<()> {
    if let Some(directory) = &output.out {
        write(report, directory, result)?;
    }
    if output.json {
        return print_line(&serde_json::to_string(result)?);
    }
    let width = report.summary.iter().map(|(name, _)| name.chars().count()).max().unwrap_or(0);
    print_line(&report.title)?;
    for (name, value) in &report.summary {
        print_line(&format!("{name:width$}  {value}"))?;
    }
    match &output.out {
        Some(directory) => print_line(&format!("written to {}", directory.display())),
        None => Ok(()),
    }
}

fn write(report: &Report, directory: &Path, result: &impl Serialize) -> anyhow::Result<()> {
    report.write(directory, result).with_context(|| format!("{} cannot be written", directory.display()))
}
