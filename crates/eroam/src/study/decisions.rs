//! `eroam study decision-efficiency` and `eroam study backtest`: how good forecasts are, and the prices that follow them.

use super::chart::{Chart, Curve};
use super::lightgbm::PeerScore;
use super::report::Report;
use crate::replay::input::InputSession;
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_forecast::backtest::{Score, backtest, quarters};
use eroam_forecast::clock::LoadClock;
use eroam_forecast::efficiency::{
    Epoch, SUMMARY_EPOCH, SessionShape, Setting, Study, StudyError, hourly_energy, paired_capacity_kw, study,
    study_rule,
};
use eroam_forecast::features::Horizon;
use eroam_forecast::learner::Learner;
use eroam_forecast::series::read::Reading;
use serde::Serialize;

/// Sessions placed on each day of the load.
const SESSIONS_A_DAY: u32 = 40;
/// The power of each.
const POWER: Watts = Watts::new(7_000);
/// The beginning of the names of the files of decision efficiency.
pub const EFFICIENCY_NAME: &str = "decision-efficiency";
/// The same of the backtest.
pub const BACKTEST_NAME: &str = "backtest";
/// What paper A's figure 6 starts and ends with, in percent. Not the same metric.
pub const PAPER_PERCENT: (f64, f64) = (95.3, 97.86);

/// Why a study cannot be made.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum DecisionsError {
    #[error("the series has no load to derive a capacity from")]
    NoCapacity,
    #[error("the sessions file has no session that charges")]
    NoSessions,
    #[error("the study cannot be made")]
    Study(#[from] StudyError),
}

/// The study's results with what they depend on.
#[derive(Clone, Debug, Serialize)]
pub struct DecisionStudy {
    /// The results.
    #[serde(flatten)]
    pub study: Study,
    /// 1.02 times the largest load of the first 52 weeks.
    pub capacity_kw: u32,
    /// Sessions drawn for each day, and the seed of the drawing.
    pub sessions_a_day: u32,
    /// The seed.
    pub seed: u64,
    /// What paper A's figure 6 starts and ends with. Not the same metric.
    pub paper_percent: (f64, f64),
}

/// What the study takes of sessions: those that charge, by their local hour of arrival.
#[must_use]
pub fn shapes(sessions: &[InputSession]) -> Vec<SessionShape> {
    let shape = |session: &InputSession| {
        let local_ms = session.start_ms + i64::from(session.offset_start_s) * 1_000;
        Some(SessionShape {
            arrival_hour: u8::try_from(local_ms.div_euclid(3_600_000).rem_euclid(24)).ok()?,
            energy: WattHours::from_milli_wh(session.energy_milli_wh),
            dwell: DurationMs::from_millis(u64::try_from(session.end_ms - session.start_ms).ok()?),
        })
    };
    sessions.iter().filter(|s| s.energy_milli_wh > 0).filter_map(shape).collect()
}

/// Makes the study of a load at a horizon, with charging as these sessions charge.
///
/// # Errors
/// [`DecisionsError`].
pub fn decisions(
    reading: &Reading,
    clock: &LoadClock,
    shapes: &[SessionShape],
    horizon: Horizon,
    seed: u64,
) -> Result<DecisionStudy, DecisionsError> {
    if shapes.is_empty() {
        return Err(DecisionsError::NoSessions);
    }
    let series = &reading.series;
    let capacity_kw = paired_capacity_kw(series).ok_or(DecisionsError::NoCapacity)?;
    let rule = study_rule(capacity_kw).ok_or(DecisionsError::NoCapacity)?;
    let energy = hourly_energy(shapes, SESSIONS_A_DAY, POWER, clock, series.first(), series.end(), seed);
    let mut learner = Learner::new(clock.clone(), [horizon]);
    let study = study(&mut learner, &Setting { series, clock, rule: &rule, energy: &energy, horizon })?;
    Ok(DecisionStudy {
        study,
        capacity_kw,
        sessions_a_day: SESSIONS_A_DAY,
        seed,
        paper_percent: PAPER_PERCENT,
    })
}

/// The report of a study.
#[must_use]
pub fn report(of: &DecisionStudy) -> Report {
    let study = &of.study;
    let curve = |name: &str, dashed, value: fn(&Epoch) -> f64| Curve {
        name: name.to_owned(),
        points: study.epochs.iter().map(|e| (e.epoch as f64, value(e))).collect(),
        dashed,
    };
    let percent = |value: f64| format!("{value:.2} %");
    let maybe = |value: Option<f64>| value.map_or_else(|| "none".to_owned(), percent);
    let chart = Chart {
        title: format!("Decision efficiency by week, prices made {} h ahead", study.horizon_hours),
        x: "weekly epoch, from a cold start".to_owned(),
        y: "efficiency, %".to_owned(),
        curves: vec![
            curve("forecast", false, |e| e.efficiency_percent),
            curve("last known load", false, |e| e.persistence_percent),
            curve("best static rule", false, |e| e.static_percent),
            curve("load known (100)", true, |e| e.oracle_percent),
        ],
    };
    let (low, high) = study.ci95;
    let summary = [
        ("prices follow the forecast", percent(study.efficiency_percent)),
        ("95 % interval, by whole weeks", format!("{low:.2} to {high:.2} %")),
        ("prices follow the last known load", percent(study.persistence_percent)),
        ("best static rule in hindsight", percent(study.static_percent)),
        ("load known beforehand", percent(study.oracle_percent)),
        ("forecast, after the true-up", percent(study.after_true_up_percent)),
        ("coverage of the 90 % band", maybe(study.coverage_percent)),
        ("load class right", percent(study.class_accuracy_percent)),
        ("peak hour of the day right", percent(study.peak_hour_hits_percent)),
        (
            "paper A, figure 6 (not the same metric)",
            format!("{} to {} %", of.paper_percent.0, of.paper_percent.1),
        ),
    ];
    let header = [
        "epoch",
        "hours",
        "degraded_hours",
        "efficiency_percent",
        "static_percent",
        "persistence_percent",
        "oracle_percent",
        "after_true_up_percent",
        "coverage_percent",
        "class_accuracy_percent",
        "peak_hour_hits_percent",
    ];
    let row = |e: &Epoch| {
        let values = [
            e.efficiency_percent,
            e.static_percent,
            e.persistence_percent,
            e.oracle_percent,
            e.after_true_up_percent,
        ];
        let mut row = vec![e.epoch.to_string(), e.hours.to_string(), e.degraded_hours.to_string()];
        row.extend(values.map(|v| format!("{v:.3}")));
        row.push(e.coverage_percent.map_or_else(String::new, |v| format!("{v:.3}")));
        row.extend([e.class_accuracy_percent, e.peak_hour_hits_percent].map(|v| format!("{v:.3}")));
        row
    };
    Report {
        name: EFFICIENCY_NAME,
        title: format!("Decision efficiency, {} h ahead", study.horizon_hours),
        notes: vec![
            "eta = 1 - sum(E |q - q*|) / sum(E q*): q is the agreed rule's price at the forecast load, q* the same \
             rule's at the actual load, E the energy of charging sessions in the hour. This is our definition. Paper A's \
             figure 6 does not say what its efficiency of decision making is a share of; its 95.3 to 97.86 % are not \
             the same metric."
                .to_owned(),
            format!(
                "The summary is of epochs {SUMMARY_EPOCH} on, the table of every week from a cold start. Each hour is \
                 priced from loads up to {} h before it; the model is solved weekly. Capacity {} kW, 1.02 times the \
                 largest load of the first 52 weeks; {} sessions a day drawn with seed {} from the sessions file and \
                 placed on the load's calendar, 7 kW from arrival. Sessions and loads are from different places: the \
                 pairing is ours.",
                study.horizon_hours, of.capacity_kw, of.sessions_a_day, of.seed
            ),
        ],
        summary: summary.map(|(name, value)| (name.to_owned(), value)).to_vec(),
        table: (header.map(str::to_owned).to_vec(), study.epochs.iter().map(row).collect()),
        charts: vec![("", chart)],
    }
}

/// Errors at one horizon.
#[derive(Clone, Debug, Serialize)]
pub struct BacktestScores {
    /// How far ahead, in hours.
    pub horizon_hours: i64,
    /// A score for each quarter, and one for all.
    pub scores: Vec<Score>,
    /// The same of Python's LightGBM on the same hours, where it was asked for.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lightgbm: Vec<PeerScore>,
}

/// Scores the model on the quarters of a local year at each horizon; `None` for a year outside 1970 to 9998. Hours
/// that were interpolated count for nobody.
#[must_use]
pub fn backtests(
    reading: &Reading,
    clock: &LoadClock,
    horizons: &[Horizon],
    year: i16,
) -> Option<Vec<BacktestScores>> {
    let folds = quarters(clock, year)?;
    let unscored = reading.interpolated.iter().copied().collect();
    let of_horizon = |horizon: &Horizon| {
        let mut learner = Learner::new(clock.clone(), [*horizon]);
        let scores = backtest(&mut learner, &reading.series, *horizon, &folds, &unscored);
        BacktestScores { horizon_hours: horizon.hours(), scores, lightgbm: Vec::new() }
    };
    Some(horizons.iter().map(of_horizon).collect())
}

/// The report of backtests.
#[must_use]
pub fn backtest_report(tests: &[BacktestScores]) -> Report {
    let header = [
        "horizon_h",
        "fold",
        "hours",
        "mape_percent",
        "lightgbm_percent",
        "persistence_percent",
        "day_ago_percent",
        "week_ago_percent",
        "seasonal_percent",
        "coverage_percent",
        "band_width_percent",
        "degraded_hours",
        "unscored_hours",
    ];
    let number = |value: f64| format!("{value:.3}");
    let maybe = |value: Option<f64>| value.map_or_else(String::new, number);
    let row = |t: &BacktestScores, s: &Score| {
        vec![
            t.horizon_hours.to_string(),
            s.fold.clone(),
            s.hours.to_string(),
            number(s.mape_percent),
            maybe(t.lightgbm.iter().find(|peer| peer.fold == s.fold).map(|peer| peer.mape_percent)),
            number(s.persistence_percent),
            number(s.day_ago_percent),
            number(s.week_ago_percent),
            number(s.seasonal_percent),
            maybe(s.coverage_percent),
            maybe(s.band_width_percent),
            s.degraded_hours.to_string(),
            s.unscored_hours.to_string(),
        ]
    };
    let rows = tests.iter().flat_map(|t| t.scores.iter().map(move |s| row(t, s))).collect();
    let of = |value: fn(&Score) -> f64| {
        tests.iter().filter_map(|t| Some((t.horizon_hours as f64, value(t.scores.last()?)))).collect()
    };
    let curve = |name: &str, value: fn(&Score) -> f64| Curve {
        name: name.to_owned(),
        points: of(value),
        dashed: false,
    };
    let peer = |t: &BacktestScores| Some((t.horizon_hours as f64, t.lightgbm.last()?.mape_percent));
    let lightgbm: Vec<(f64, f64)> = tests.iter().filter_map(peer).collect();
    let mut chart = Chart {
        title: "Error by horizon".to_owned(),
        x: "hours ahead".to_owned(),
        y: "mean absolute error, % of the load".to_owned(),
        curves: vec![
            curve("model", |s| s.mape_percent),
            curve("last known", |s| s.persistence_percent),
            curve("a day ago", |s| s.day_ago_percent),
            curve("a week ago", |s| s.week_ago_percent),
        ],
    };
    let mut notes = vec![
        "Rolling origins: each hour is forecast from loads up to the horizon before it, by a model that had seen no \
         more; solved weekly. A day ago and a week ago are the same hour then."
            .to_owned(),
    ];
    if !lightgbm.is_empty() {
        notes.push(
            "LightGBM (Python, 400 trees) learns the same rows once for each quarter, from everything before it, and is \
             scored on the same hours."
                .to_owned(),
        );
        chart.curves.push(Curve { name: "LightGBM".to_owned(), points: lightgbm, dashed: true });
    }
    let all = tests.iter().filter_map(|t| Some((t.horizon_hours, t.scores.last()?)));
    Report {
        name: BACKTEST_NAME,
        title: "Forecast errors".to_owned(),
        notes,
        summary: all.map(|(h, s)| (format!("{h} h ahead"), format!("{:.2} %", s.mape_percent))).collect(),
        table: (header.map(str::to_owned).to_vec(), rows),
        charts: vec![("", chart)],
    }
}
