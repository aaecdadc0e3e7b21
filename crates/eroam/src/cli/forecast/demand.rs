//! `eroam forecast demand`: what stations will be used for, from real sessions.

use super::super::print_line;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use eroam::replay::input::{InputSession, Repetitions, read_file};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::UnixMillis;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::demand::{
    CELLS, DemandHistory, DemandModel, DemandScore, Expected, Quantity, StationSession, backtest,
};
use eroam_forecast::hour::UtcHour;
use serde::Serialize;
use std::path::PathBuf;
use std::process::ExitCode;

/// Weeks at the end of the file that are scored, each four learned from what was before.
const SCORED_WEEKS: u16 = 24;

#[derive(Debug, Args)]
pub(in super::super) struct DemandArgs {
    /// Session files, as `eroam replay` takes them
    #[arg(long, required = true, num_args = 1.., value_name = "FILE")]
    sessions: Vec<PathBuf>,
    /// This station alone, hour by hour
    #[arg(long, value_name = "NAME")]
    station: Option<String>,
    /// The clock that people at the stations live by: UTC, an offset such as +01:00, or a zone such as America/Denver
    #[arg(long, value_name = "CLOCK", default_value = "UTC")]
    clock: LoadClock,
    /// What is forecast
    #[arg(long, value_enum, default_value_t = Of::Energy)]
    of: Of,
    /// Score the forecasts of so many of the file's last weeks; 0 for none
    #[arg(long, value_name = "WEEKS", default_value_t = SCORED_WEEKS, value_parser = clap::value_parser!(u16).range(0..=520))]
    score: u16,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Of {
    /// Energy of each hour in kWh
    Energy,
    /// Vehicles plugged in, mean of each hour
    Plugged,
}

impl Of {
    const fn quantity(self) -> Quantity {
        match self {
            Self::Energy => Quantity::EnergyKwh,
            Self::Plugged => Quantity::Plugged,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Energy => "kWh",
            Self::Plugged => "vehicles",
        }
    }
}

#[derive(Serialize)]
struct Demand<'h> {
    quantity: Quantity,
    sessions: usize,
    first: String,
    end: String,
    stations: Vec<Station<'h>>,
    /// The week after the file, hour by hour, of the one station that was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hours: Vec<Hour>,
    /// `null` where the file is too short to score anything, or nothing was to be scored.
    score: Option<DemandScore>,
}

#[derive(Serialize)]
struct Station<'h> {
    station: &'h str,
    sessions: usize,
    /// Weeks of the last half year that it was seen in.
    weeks: f64,
    /// The sum of the week after the file: kWh, or hours of vehicles plugged in.
    coming_week: f64,
    /// When most is expected.
    peak: Option<Hour>,
}

#[derive(Clone, Serialize)]
struct Hour {
    hour: String,
    #[serde(flatten)]
    expected: Expected,
}

pub(in super::super) fn run(args: &DemandArgs) -> anyhow::Result<ExitCode> {
    let (mut sessions, mut rejected) = (Vec::new(), 0usize);
    let mut repetitions = Repetitions::default();
    for path in &args.sessions {
        let mut report = read_file(path)?;
        let repeated = repetitions.take_out(&mut report);
        if repeated > 0 {
            eprintln!("warning: {}", Repetitions::words(&report.file, repeated));
        }
        if let Some(error) = &report.error {
            eprintln!("warning: {}: {error}", path.display());
        }
        for row in report.rejected.iter().take(super::FINDINGS_SHOWN) {
            eprintln!(
                "warning: {} line {}: {} {}; {}",
                row.file, row.line, row.field, row.reason, row.remedy
            );
        }
        rejected += report.rejected.len() + usize::from(report.error.is_some());
        sessions.extend(report.sessions.iter().filter_map(session));
    }
    let history = DemandHistory::of(&sessions).context("the files give no demand")?;
    if let Some(name) = &args.station
        && history.station(name).is_none()
    {
        bail!("{}", unknown(name, &history));
    }
    let quantity = args.of.quantity();
    let model = DemandModel::fit(&history, &args.clock, quantity, history.end());
    let wanted = |name: &str| args.station.as_ref().is_none_or(|wanted| wanted == name);
    let stations = model.stations().filter(|(name, _)| wanted(name)).map(|(name, weeks)| {
        let hours = coming_week(&model, name, history.end());
        let peak = hours.iter().max_by(|a, b| a.expected.mean.total_cmp(&b.expected.mean)).cloned();
        Station {
            station: name,
            sessions: history.station(name).map_or(0, |station| station.sessions()),
            weeks,
            coming_week: hours.iter().map(|hour| hour.expected.mean).sum(),
            peak,
        }
    });
    let stations: Vec<Station<'_>> = stations.collect();
    let hours = args.station.as_ref().map(|name| coming_week(&model, name, history.end()));
    let score = if args.score == 0 { None } else { backtest(&history, &args.clock, quantity, args.score) };
    let demand = Demand {
        quantity,
        sessions: sessions.len(),
        first: history.first().to_string(),
        end: history.end().to_string(),
        stations,
        hours: hours.unwrap_or_default(),
        score,
    };
    if args.json {
        print_line(&serde_json::to_string(&demand)?)?;
    } else {
        print(&demand, args)?;
    }
    Ok(if rejected == 0 { ExitCode::SUCCESS } else { ExitCode::from(3) })
}

fn session(session: &InputSession) -> Option<StationSession> {
    Some(StationSession {
        station: session.station.clone(),
        start: UnixMillis::new(session.start_ms)?,
        charging_end: UnixMillis::new(session.charging_end_ms)?,
        end: UnixMillis::new(session.end_ms)?,
        energy: WattHours::from_milli_wh(session.energy_milli_wh),
    })
}

/// What to type instead.
fn unknown(name: &str, history: &DemandHistory) -> String {
    let names: Vec<&str> = history.stations().map(|(name, _)| name).collect();
    let some = names.iter().take(10).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(10);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("the files have no session at a station `{name}`: they have {some}{more}")
}

fn coming_week(model: &DemandModel, station: &str, from: UtcHour) -> Vec<Hour> {
    let expected = |at: i64| {
        let hour = from.plus(at)?;
        Some(Hour { hour: hour.to_string(), expected: model.predict(station, hour)? })
    };
    (0..CELLS as i64).filter_map(expected).collect()
}

fn print(demand: &Demand<'_>, args: &DemandArgs) -> anyhow::Result<()> {
    let unit = args.of.unit();
    print_line(&format!("{} sessions from {} to {}", demand.sessions, demand.first, demand.end))?;
    for station in &demand.stations {
        let peak = station
            .peak
            .as_ref()
            .map_or_else(String::new, |peak| format!("  most at {}: {:.2}", peak.hour, peak.expected.mean));
        print_line(&format!(
            "{:<36} {:>6} sessions {:>5.1} weeks  coming week {:>8.1} {unit}{peak}",
            station.station, station.sessions, station.weeks, station.coming_week
        ))?;
    }
    for hour in &demand.hours {
        let band =
            hour.expected.band.map_or_else(String::new, |(low, high)| format!("  {low:.2} to {high:.2}"));
        print_line(&format!("{}  {:.3} {unit}{band}", hour.hour, hour.expected.mean))?;
    }
    match &demand.score {
        Some(s) => print_line(&format!(
            "on {} held-out spans of four weeks, {} station-hours of {:.3} {unit} in the mean, root mean square error: \
             profile {:.4}, station's mean {:.4}, last week {:.4}; mean absolute: {:.4}, {:.4}, {:.4}; band holds {}",
            s.folds,
            s.hours,
            s.mean,
            s.model_rmse,
            s.mean_rmse,
            s.last_week_rmse,
            s.model_mae,
            s.mean_mae,
            s.last_week_mae,
            s.coverage_percent.map_or_else(|| "-".to_owned(), |c| format!("{c:.1} %"))
        )),
        None if args.score > 0 => print_line(
            "nothing is scored: twelve weeks at least are needed, eight to learn and four to score",
        ),
        None => Ok(()),
    }
}
