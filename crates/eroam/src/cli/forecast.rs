//! `eroam forecast`: learns a load from a file, and says what comes.

mod demand;

use super::print_line;
use anyhow::{Context as _, bail};
use clap::{Args, Subcommand, ValueEnum};
use eroam::load_file::read_load_file;
use eroam::study::decisions::backtests;
use eroam_domain::codec::Digest;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::exogenous::{ExogenousKind, ExogenousQuantity, Timing};
use eroam_forecast::features::Horizon;
use eroam_forecast::forecaster::{Forecaster as _, HOURS_AHEAD_MAX, forecast};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::learner::Learner;
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::columns::{ColumnChoice, LoadUnit};
use eroam_forecast::series::read::{GAP_HOURS_FILLED, ReadOptions, Reading};
use serde::Serialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Findings that are printed one by one; a broken file may have one for each line.
const FINDINGS_SHOWN: usize = 20;

#[derive(Debug, Subcommand)]
pub(super) enum ForecastCommand {
    /// Learn a file and say what the model is, and what is wrong with the file
    Fit(FitArgs),
    /// Forecast the hours after the last of the file, or after another one
    Predict(PredictArgs),
    /// Errors on the quarters of a year, beside those of simple rules
    Backtest(BacktestArgs),
    /// How much stations will be used in each hour of the week, from the sessions of a file
    Demand(demand::DemandArgs),
}

/// How a file of loads is read.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// The clock of times without an offset, and of the days and weeks that people live by: UTC, an offset such as
    /// +01:00, or a zone such as America/New_York. Without it, the file's clock is taken for one that is never changed
    #[arg(long, value_name = "CLOCK")]
    clock: Option<LoadClock>,
    /// The column of times, if its header does not tell
    #[arg(long, value_name = "NAME")]
    time_column: Option<String>,
    /// The column of loads, if its header does not tell
    #[arg(long, value_name = "NAME")]
    load_column: Option<String>,
    /// The unit of loads, if the header does not tell
    #[arg(long, value_enum)]
    unit: Option<Unit>,
    /// A column of measured temperatures in degrees Celsius
    #[arg(long, value_name = "NAME")]
    temperature_column: Option<String>,
    /// A column of measured wind in metres a second
    #[arg(long, value_name = "NAME")]
    wind_column: Option<String>,
    /// A column of measured sun in watts a square metre
    #[arg(long, value_name = "NAME")]
    solar_column: Option<String>,
    /// The values in those columns are forecasts, made at least a day before their hours
    #[arg(long)]
    weather_is_forecast: bool,
    /// Interpolate gaps of up to so many hours
    #[arg(long, value_name = "HOURS", default_value_t = GAP_HOURS_FILLED, value_parser = clap::value_parser!(u64).range(0..=6))]
    fill_gaps: u64,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Unit {
    W,
    Kw,
    Mw,
}

#[derive(Debug, Args)]
pub(super) struct FitArgs {
    /// Hourly loads: CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    columns: LoadArgs,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct PredictArgs {
    /// Hourly loads: CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    columns: LoadArgs,
    /// How many hours
    #[arg(long, default_value_t = 24, value_parser = clap::value_parser!(u16).range(1..=HOURS_AHEAD_MAX as i64))]
    hours: u16,
    /// The first hour to forecast, counted in UTC from 1970; without it the one after the last of the file. Nothing
    /// from it on is used
    #[arg(long, value_name = "HOUR")]
    origin: Option<i64>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Args)]
pub(super) struct BacktestArgs {
    /// Hourly loads: CSV, plain or gzip
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    #[command(flatten)]
    columns: LoadArgs,
    /// The year whose quarters are scored, without it the last of the file; what is before is learned from
    #[arg(long)]
    year: Option<i16>,
    /// How far ahead: 1h to 24h, several with commas
    #[arg(long, value_name = "HOURS", default_value = "1h,24h", value_delimiter = ',', value_parser = horizon)]
    horizon: Vec<Horizon>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Parses `4h` or `4`.
pub(super) fn horizon(text: &str) -> Result<Horizon, String> {
    let hours = text.strip_suffix('h').unwrap_or(text).parse().ok().and_then(Horizon::new);
    hours.ok_or_else(|| format!("`{text}` is no horizon: 1h to 24h is expected"))
}

impl LoadArgs {
    /// The clock, which `read` says is a guess where it is not given.
    pub(super) fn clock(&self) -> LoadClock {
        self.clock.clone().unwrap_or_else(LoadClock::utc)
    }

    pub(super) fn options(&self) -> ReadOptions {
        let named = |name: &Option<String>| name.clone().map_or(ColumnChoice::Detect, ColumnChoice::Named);
        let timing = if self.weather_is_forecast { Timing::Forecast } else { Timing::Observed };
        let weather = [
            (&self.temperature_column, ExogenousQuantity::Temperature),
            (&self.wind_column, ExogenousQuantity::Wind),
            (&self.solar_column, ExogenousQuantity::Solar),
        ];
        let exogenous = weather.into_iter().filter_map(|(name, quantity)| {
            Some((ColumnChoice::Named(name.clone()?), ExogenousKind { quantity, timing }))
        });
        ReadOptions {
            time: named(&self.time_column),
            load: named(&self.load_column),
            unit: self.unit.map(|unit| match unit {
                Unit::W => LoadUnit::Watt,
                Unit::Kw => LoadUnit::Kilowatt,
                Unit::Mw => LoadUnit::Megawatt,
            }),
            exogenous: exogenous.collect(),
            gap_hours_filled: self.fill_gaps,
            ..ReadOptions::new(self.clock())
        }
    }
}

/// Reads a file, says on standard error what is wrong with it, and gives the exit code that follows.
pub(super) fn read(path: &Path, columns: &LoadArgs) -> anyhow::Result<(Reading, ExitCode)> {
    let reading = read_load_file(path, &columns.options())?;
    if columns.clock.is_none() {
        eprintln!(
            "note: no --clock is given: times without an offset are taken for UTC, and so are days and weeks"
        );
    }
    for finding in reading.findings.iter().take(FINDINGS_SHOWN) {
        eprintln!("warning: {}: {finding}", path.display());
    }
    if let Some(more) = reading.findings.len().checked_sub(FINDINGS_SHOWN).filter(|more| *more > 0) {
        eprintln!(
            "warning: {}: {more} more findings; `eroam forecast fit --json` has all of them",
            path.display()
        );
    }
    let code = if reading.findings.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(3) };
    Ok((reading, code))
}

/// What `fit` prints.
#[derive(Serialize)]
struct Fit<'r> {
    first: String,
    end: String,
    rows: u64,
    hours_read: u64,
    hours_interpolated: usize,
    hours_missing: u64,
    clock_in_doubt: bool,
    model: String,
    digest: Digest,
    champions: Vec<Champion>,
    drift: Vec<String>,
    findings: &'r [eroam_forecast::series::finding::Finding],
}

#[derive(Serialize)]
struct Champion {
    horizon_hours: i64,
    /// Nothing before any expert has won.
    expert: Option<String>,
}

pub(super) fn run(command: ForecastCommand) -> anyhow::Result<ExitCode> {
    match command {
        ForecastCommand::Fit(args) => fit(&args),
        ForecastCommand::Predict(args) => predict(&args),
        ForecastCommand::Backtest(args) => backtest(&args),
        ForecastCommand::Demand(args) => demand::run(&args),
    }
}

fn learned(reading: &Reading, clock: &LoadClock, until: UtcHour) -> Learner {
    let mut learner = Learner::new(clock.clone(), Horizon::all());
    learner.learn(&reading.series, until);
    learner
}

fn fit(args: &FitArgs) -> anyhow::Result<ExitCode> {
    let (reading, code) = read(&args.input, &args.columns)?;
    let series = &reading.series;
    let learner = learned(&reading, &args.columns.clock(), series.end());
    let champion = |horizon: Horizon| Champion {
        horizon_hours: horizon.hours(),
        expert: learner.champion(horizon).map(|expert| expert.to_string()),
    };
    let fit = Fit {
        first: series.first().to_string(),
        end: series.end().to_string(),
        rows: reading.rows,
        hours_read: reading.read,
        hours_interpolated: reading.interpolated.len(),
        hours_missing: reading.holes,
        clock_in_doubt: reading.doubts_the_clock(),
        model: learner.name().to_owned(),
        digest: learner.digest(),
        champions: Horizon::all().map(champion).collect(),
        drift: learner.drift().iter().map(|(h, drift)| format!("{} h: {drift}", h.hours())).collect(),
        findings: &reading.findings,
    };
    if args.json {
        print_line(&serde_json::to_string(&fit)?)?;
    } else {
        print_line(&format!(
            "{} to {}: {} hours read, {} interpolated, {} missing; {} findings\nmodel {} {}",
            fit.first,
            fit.end,
            fit.hours_read,
            fit.hours_interpolated,
            fit.hours_missing,
            fit.findings.len(),
            fit.model,
            fit.digest
        ))?;
        for champion in &fit.champions {
            let expert = champion.expert.as_deref().unwrap_or("none yet");
            print_line(&format!("{:>3} h  {expert}", champion.horizon_hours))?;
        }
        for sign in &fit.drift {
            print_line(&format!("drift: {sign}"))?;
        }
    }
    Ok(code)
}

fn predict(args: &PredictArgs) -> anyhow::Result<ExitCode> {
    let (reading, code) = read(&args.input, &args.columns)?;
    let series = &reading.series;
    let origin = match args.origin {
        Some(hour) => UtcHour::new(hour).with_context(|| format!("{hour} is no hour from 1970 to 9999"))?,
        None => series.end(),
    };
    let learner = learned(&reading, &args.columns.clock(), origin);
    let forecast = forecast(&learner, &SeasonalRule, series, origin, usize::from(args.hours))?;
    if args.json {
        #[derive(Serialize)]
        struct Digested<'f> {
            digest: Digest,
            #[serde(flatten)]
            forecast: &'f eroam_forecast::forecaster::Forecast,
        }
        print_line(&serde_json::to_string(&Digested { digest: forecast.digest(), forecast: &forecast })?)?;
    } else {
        for hour in &forecast.hours {
            let start = UtcHour::new(hour.hour).map_or_else(String::new, |hour| hour.to_string());
            let band = hour.band_kw.map_or_else(String::new, |(low, high)| format!("  {low} to {high}"));
            let why =
                hour.degraded.as_ref().map_or_else(String::new, |why| format!("  not by the model: {why}"));
            print_line(&format!("{start}  {} kW{band}{why}", hour.load_kw))?;
        }
        print_line(&format!("digest {}", forecast.digest()))?;
    }
    Ok(code)
}

/// The local year of the last hour of a file.
pub(super) fn last_year(reading: &Reading, clock: &LoadClock) -> i16 {
    let end = reading.series.end();
    let last = end.plus(-1).unwrap_or(end);
    // Up to 9999.
    clock.local_clock(last).at(last.start()).date.year() as i16
}

fn backtest(args: &BacktestArgs) -> anyhow::Result<ExitCode> {
    let (reading, code) = read(&args.input, &args.columns)?;
    let clock = args.columns.clock();
    let year = args.year.unwrap_or_else(|| last_year(&reading, &clock));
    let tests = backtests(&reading, &clock, &args.horizon, year);
    let tests = tests.with_context(|| format!("{year} is no year to score"))?;
    if tests.iter().all(|test| test.scores.iter().all(|score| score.hours == 0)) {
        bail!(
            "{} has no load in {year} that could be scored: name another year with --year",
            args.input.display()
        );
    }
    if args.json {
        print_line(&serde_json::to_string(&tests)?)?;
        return Ok(code);
    }
    for test in &tests {
        for s in &test.scores {
            let coverage = s.coverage_percent.map_or_else(|| "-".to_owned(), |c| format!("{c:.1} %"));
            // A quarter without a scored hour has no error.
            let percent =
                |value: f64| if value.is_finite() { format!("{value:.2} %") } else { "-".to_owned() };
            print_line(&format!(
                "{:>2} h  {:8} {:>6} hours  model {}  last known {}  day ago {}  week ago {}  band holds {coverage}",
                test.horizon_hours,
                s.fold,
                s.hours,
                percent(s.mape_percent),
                percent(s.persistence_percent),
                percent(s.day_ago_percent),
                percent(s.week_ago_percent)
            ))?;
        }
    }
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(subcommand)]
        command: ForecastCommand,
    }

    #[test]
    fn a_horizon_is_an_hour_to_a_day() {
        assert_eq!(horizon("4h"), horizon("4"));
        assert_eq!(horizon("24h").map(Horizon::hours), Ok(24));
        for wrong in ["0h", "25h", "h", "1d", "-1"] {
            assert!(horizon(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_unknown_clock_is_wrong_usage() {
        let parse = |clock| Line::try_parse_from(["forecast", "fit", "--input", "a.csv", "--clock", clock]);
        assert!(parse("Europe/Berlin").is_ok());
        let error = parse("Berlin").unwrap_err().to_string();
        assert!(error.contains("`Berlin` is no clock"), "{error}");
    }
}
