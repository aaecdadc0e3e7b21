//! `eroam study`: paper A's figures and the quality of forecasts, as files and in a line.

use super::forecast::{LoadArgs, horizon, last_year, read};
use super::{SEED, print_line};
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use eroam::replay::input::read_file;
use eroam::study::report::Report;
use eroam::study::{decisions, revenue};
use eroam_forecast::features::Horizon;
use serde::Serialize;
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
}

#[derive(Debug, Args)]
pub(super) struct OutputArgs {
    /// Write JSON, CSV, SVG and a page to this directory
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
    #[command(flatten)]
    output: OutputArgs,
}

pub(super) fn run(command: StudyCommand) -> anyhow::Result<ExitCode> {
    match command {
        StudyCommand::Revenue(output) => {
            let study = revenue::revenue_study();
            show(&output, &study, &revenue::report(&study))?;
            Ok(ExitCode::SUCCESS)
        }
        StudyCommand::DecisionEfficiency(args) => decision_efficiency(&args),
        StudyCommand::Backtest(args) => backtest(&args),
    }
}

fn decision_efficiency(args: &DecisionArgs) -> anyhow::Result<ExitCode> {
    let (reading, code) = read(&args.load, &args.columns)?;
    let sessions = read_file(&args.sessions)?;
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
    let (reading, code) = read(&args.load, &args.columns)?;
    let clock = args.columns.clock();
    let year = args.year.unwrap_or_else(|| last_year(&reading, &clock));
    let tests = decisions::backtests(&reading, &clock, &args.horizon, year);
    let tests = tests.with_context(|| format!("{year} is no year to score"))?;
    if tests.iter().all(|t| t.scores.iter().all(|s| s.hours == 0)) {
        bail!("{} has no load in {year}", args.load.display());
    }
    show(&args.output, &tests, &decisions::backtest_report(&tests))?;
    Ok(code)
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
