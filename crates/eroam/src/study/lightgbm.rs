//! Boosted trees of LightGBM (Python) on the rows and folds of our own backtest: an independent yardstick.
//!
//! The script is `interop/lightgbm/backtest.py`; it is given rows and gives errors, and knows nothing of files and clocks.

use eroam_forecast::backtest::quarters;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::features::{Horizon, features};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::series::read::Reading;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const SCRIPT: &str = include_str!("../../../../interop/lightgbm/backtest.py");

/// What the score of all folds is called, as in [`eroam_forecast::backtest`].
const ALL: &str = "all";

/// Why there is nothing to compare with.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum LightGbmError {
    #[error("{} cannot be started: name a Python interpreter", python.display())]
    Start { python: PathBuf, source: io::Error },
    #[error("{} does not take the rows", python.display())]
    Rows { python: PathBuf, source: io::Error },
    #[error("{} has no lightgbm: install it with `{} -m pip install lightgbm`", .0.display(), .0.display())]
    NotInstalled(PathBuf),
    #[error("the comparison with LightGBM failed: {0}")]
    Failed(String),
    #[error("LightGBM's answer is not understood")]
    Answer(#[from] serde_json::Error),
    #[error("{0} is no year to score")]
    Year(i16),
    #[error("{0} has no hour that could be scored")]
    NoRows(i16),
}

/// LightGBM's error over a quarter, or over all of them.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PeerScore {
    /// Which hours.
    pub fold: String,
    /// How many of them were scored.
    pub hours: u64,
    /// Mean absolute error in percent of the load.
    pub mape_percent: f64,
}

#[derive(Deserialize)]
struct Answer {
    folds: Vec<AnswerFold>,
}

#[derive(Deserialize)]
struct AnswerFold {
    fold: usize,
    hours: u64,
    mape_percent: f64,
}

/// Scores LightGBM on the quarters of a local year at a horizon: a score for each, and one for all.
///
/// # Errors
/// [`LightGbmError`].
pub fn score(
    python: &Path,
    reading: &Reading,
    clock: &LoadClock,
    horizon: Horizon,
    year: i16,
) -> Result<Vec<PeerScore>, LightGbmError> {
    let folds = quarters(clock, year).ok_or(LightGbmError::Year(year))?;
    let place = |hour: UtcHour| folds.iter().position(|fold| fold.from <= hour && hour < fold.until);
    let end = folds.iter().map(|fold| fold.until).max().ok_or(LightGbmError::Year(year))?;
    let rows = rows(reading, clock, horizon, end, place);
    let answer: Answer = serde_json::from_slice(&ask(python, horizon, &rows)?)?;
    let mut scores: Vec<PeerScore> = Vec::new();
    let (mut hours, mut sum) = (0u64, 0.0);
    for AnswerFold { fold, hours: of_fold, mape_percent } in answer.folds {
        let name = folds.get(fold).map(|fold| fold.name.clone());
        let fold = name.ok_or_else(|| LightGbmError::Failed(format!("it scored a fold {fold}")))?;
        hours += of_fold;
        sum += mape_percent * of_fold as f64;
        scores.push(PeerScore { fold, hours: of_fold, mape_percent });
    }
    if hours == 0 {
        return Err(LightGbmError::NoRows(year));
    }
    scores.push(PeerScore { fold: ALL.to_owned(), hours, mape_percent: sum / hours as f64 });
    Ok(scores)
}

/// The rows of a series up to `end`, as the script takes them. Hours that were interpolated are neither learned nor
/// scored.
fn rows(
    reading: &Reading,
    clock: &LoadClock,
    horizon: Horizon,
    end: UtcHour,
    place: impl Fn(UtcHour) -> Option<usize>,
) -> String {
    let series = &reading.series;
    let interpolated: BTreeSet<UtcHour> = reading.interpolated.iter().copied().collect();
    let mut text = String::new();
    let mut hour = series.first();
    while hour < end.min(series.end()) {
        let load = series.at(hour).filter(|load| !load.is_zero() && !interpolated.contains(&hour));
        let known = load.and_then(|load| Some((load, features(series, clock, hour, horizon)?)));
        if let Some((load, known)) = known {
            let local = clock.at(hour);
            if text.is_empty() {
                let columns = 0..known.row.common.len();
                let names = columns.fold(String::new(), |names, column| format!("{names},x{column}"));
                text = format!("fold,hour,load_kw,scale_kw,hour_of_day,weekday,month{names}\n");
            }
            let fold = place(hour).map_or(-1, |fold| fold as i64);
            let load_kw = load.get() as f64 / 1_000.0;
            // Writing to a string cannot fail; floats are written so that they are read back exactly.
            let _ = write!(
                text,
                "{fold},{},{load_kw},{},{},{},{}",
                hour.get(),
                known.scale_kw,
                local.hour_of_day,
                local.weekday,
                local.month
            );
            for value in &known.row.common {
                let _ = write!(text, ",{value}");
            }
            text.push('\n');
        }
        let Some(next) = hour.plus(1) else { break };
        hour = next;
    }
    text
}

fn ask(python: &Path, horizon: Horizon, rows: &str) -> Result<Vec<u8>, LightGbmError> {
    let mut process = Command::new(python)
        .args(["-c", SCRIPT, &horizon.hours().to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|source| LightGbmError::Start { python: python.to_owned(), source })?;
    let sent = process.stdin.take().map_or(Ok(()), |mut input| input.write_all(rows.as_bytes()));
    let output = process
        .wait_with_output()
        .map_err(|source| LightGbmError::Rows { python: python.to_owned(), source })?;
    if output.status.success() {
        sent.map_err(|source| LightGbmError::Rows { python: python.to_owned(), source })?;
        return Ok(output.stdout);
    }
    let says = String::from_utf8_lossy(&output.stderr);
    if says.contains("No module named") {
        return Err(LightGbmError::NotInstalled(python.to_owned()));
    }
    Err(LightGbmError::Failed(says.lines().last().unwrap_or("it says nothing").to_owned()))
}
