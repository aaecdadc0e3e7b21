//! What happens every hour: the samples become a series, the series a forecast, the forecast an attestation.

use super::attestor::{AttestError, Attested, Attestor};
use super::inbox::Inbox;
use super::journal::JournalError;
use super::status::{FeedState, FeedStatus, LastForecast, Problem, read_status, write_status};
use crate::causes::chain;
use eroam_domain::cdr::GridZone;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::features::Horizon;
use eroam_forecast::forecaster::{
    Degraded, Forecast, ForecastError, ForecastHour, Forecaster as _, forecast,
};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::learner::Learner;
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::LoadSeries;
use eroam_forecast::series::read::{ReadError, ReadOptions, Reading, read_series};
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// So many hours after the present one are forecast unless the settings say otherwise: with it, as far as the model
/// looks. Hours beyond are the seasonal rule's.
pub const FORECAST_HOURS: usize = 23;
/// So long after the hour its last load may come before the forecast is made without it.
pub const GRACE: DurationMs = DurationMs::from_millis(300_000);
/// After so many hours without a load nothing is forecast any more: the seasonal rule needs the last week.
pub const LOST_AFTER_HOURS: i64 = 168;
/// So often the status is written at least: whoever reads an older one knows that the feed does not run.
pub const STATUS_EVERY: DurationMs = DurationMs::from_millis(60_000);
/// So many findings are kept in sight.
const FINDINGS_KEPT: usize = 50;
/// So many loads are attested at a time: of a day.
const LOADS_AT_ONCE: usize = 24;

/// How a feed is run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of which zone the load is.
    pub zone: GridZone,
    /// The clock of the days and weeks that people live by.
    pub clock: LoadClock,
    /// How many hours after this one are forecast.
    pub hours: usize,
    /// How long the last load is waited for.
    pub grace: DurationMs,
    /// After how many hours without a load the feed is lost.
    pub lost_after_hours: i64,
    /// How long a load may still be corrected before it is attested; `None` attests none.
    pub load_settles_hours: Option<i64>,
}

impl Settings {
    /// The usual ones.
    #[must_use]
    pub const fn new(zone: GridZone, clock: LoadClock) -> Self {
        Self {
            zone,
            clock,
            hours: FORECAST_HOURS,
            grace: GRACE,
            lost_after_hours: LOST_AFTER_HOURS,
            load_settles_hours: None,
        }
    }
}

/// Why a feed cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FeedError {
    /// The journal.
    #[error("the feed's samples cannot be kept")]
    Journal(#[from] JournalError),
    /// The status.
    #[error("the feed's status cannot be kept in {}", directory.display())]
    Status {
        /// Where.
        directory: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What a series says of an hour.
enum Made {
    /// A forecast, and how alive the feed is.
    Forecast(FeedState, Forecast),
    /// The last load is still waited for.
    Waits,
    /// Nothing can be forecast, for this reason.
    Nothing(FeedState, String),
}

/// Runs one zone's feed.
pub struct Runner {
    settings: Settings,
    directory: PathBuf,
    inbox: Arc<Mutex<Inbox>>,
    attestor: Box<dyn Attestor>,
    /// What was learned of which series.
    learned: Option<(LoadSeries, Learner)>,
    /// The hour for which the last forecast was made, whatever became of it.
    done: Option<UtcHour>,
    /// The hour in which loads were last dealt with.
    loads_done: Option<UtcHour>,
    status: FeedStatus,
    /// The status as it is on the disk.
    kept: Option<FeedStatus>,
}

/// The inbox, also after a panic of somebody who had it: rows are entered whole or not at all.
pub(super) fn lock(inbox: &Mutex<Inbox>) -> MutexGuard<'_, Inbox> {
    inbox.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Runner {
    /// A feed that goes on where the state directory says.
    #[must_use]
    pub fn new(
        settings: Settings,
        directory: &Path,
        inbox: Arc<Mutex<Inbox>>,
        attestor: Box<dyn Attestor>,
        now: UnixMillis,
    ) -> Self {
        let before = read_status(directory).ok().filter(|status| status.zone == settings.zone.as_str());
        let attested = before.as_ref().and_then(|s| s.last_forecast.as_ref());
        // What the ledger has not taken is tried again.
        let done =
            attested.filter(|last| last.attested.is_ok()).and_then(|last| UtcHour::new(last.first_hour));
        let status = before.unwrap_or_else(|| FeedStatus {
            zone: settings.zone.to_string(),
            at: now,
            state: FeedState::Absent,
            says: "nothing has come yet".to_owned(),
            last_sample: None,
            hours: 0,
            holes: 0,
            findings: Vec::new(),
            problems: Vec::new(),
            last_forecast: None,
            loads_attested_until: None,
        });
        Self {
            settings,
            directory: directory.to_owned(),
            inbox,
            attestor,
            learned: None,
            done,
            loads_done: None,
            status,
            kept: None,
        }
    }

    /// How the feed is doing.
    #[must_use]
    pub const fn status(&self) -> &FeedStatus {
        &self.status
    }

    /// Looks for new lines, and makes and attests the forecast of the hour if that is due. Called every few seconds.
    ///
    /// # Errors
    /// [`FeedError`]; that the ledger does not answer is no error but in the status, and tried again.
    pub fn tick(&mut self, now: UnixMillis) -> Result<(), FeedError> {
        let polled = lock(&self.inbox).poll(now);
        match polled {
            Ok(taken) => _ = taken?,
            Err(error) => self.problem(now, chain(&error)),
        }
        let hour = UtcHour::of(now);
        self.look_at_inbox();
        self.status.at = now;
        if self.done != Some(hour) || self.loads_done != Some(hour) {
            self.every_hour(hour, now);
        }
        self.keep(now)
    }

    /// What is due once an hour, until it is done.
    fn every_hour(&mut self, hour: UtcHour, now: UnixMillis) {
        let reading = read_series(lock(&self.inbox).csv().as_bytes(), &ReadOptions::new(LoadClock::utc()));
        if self.done != Some(hour) {
            match self.make(&reading, hour, now) {
                Made::Waits => {}
                Made::Nothing(state, says) => {
                    self.status.state = state;
                    self.status.says = says;
                    self.done = Some(hour);
                    tracing::warn!(zone = %self.settings.zone, ?state, "feed.nothing_forecast");
                }
                Made::Forecast(state, made) => self.attest(state, &made, hour, now),
            }
        }
        match &reading {
            Ok(reading) if self.loads_done != Some(hour) => self.attest_loads(reading, hour, now),
            _ => {}
        }
    }

    fn look_at_inbox(&mut self) {
        let inbox = lock(&self.inbox);
        self.status.last_sample = inbox.last().map(UtcHour::start);
        self.status.hours = inbox.hours();
        self.status.problems = inbox.problems();
    }

    /// Keeps the status when it says something new, and now and then so that it says that the feed runs.
    fn keep(&mut self, now: UnixMillis) -> Result<(), FeedError> {
        let kept_at = self.kept.as_ref().map_or(UnixMillis::EPOCH, |kept| kept.at);
        let same =
            self.kept.as_ref().is_some_and(|kept| *kept == FeedStatus { at: kept.at, ..self.status.clone() });
        if same && now.since(kept_at).is_some_and(|since| since < STATUS_EVERY) {
            return Ok(());
        }
        let kept = write_status(&self.directory, &self.status);
        kept.map_err(|source| FeedError::Status { directory: self.directory.clone(), source })?;
        self.kept = Some(self.status.clone());
        Ok(())
    }

    fn problem(&mut self, now: UnixMillis, reason: String) {
        lock(&self.inbox).problem(Problem { line: None, at: now, reason });
        self.status.problems = lock(&self.inbox).problems();
    }

    /// The forecast of an hour, from what came by now.
    fn make(&mut self, reading: &Result<Reading, ReadError>, hour: UtcHour, now: UnixMillis) -> Made {
        let reading = match reading {
            Ok(reading) => reading,
            Err(error) => {
                let says = format!("there is no load to forecast from: {error}");
                return Made::Nothing(FeedState::Absent, says);
            }
        };
        let findings = reading.findings.iter().rev().take(FINDINGS_KEPT);
        self.status.findings = findings.map(ToString::to_string).collect();
        self.status.holes = reading.holes;
        let series = &reading.series;
        let Some(last) = series.last_known(hour) else {
            return Made::Nothing(FeedState::Absent, "no load of an hour that is over is known".to_owned());
        };
        let late = hour.since(last) - 1;
        let in_grace = now.since(hour.start()).is_none_or(|waited| waited < self.settings.grace);
        if late > 0 && in_grace {
            return Made::Waits;
        }
        if late > self.settings.lost_after_hours {
            let says = format!(
                "the feed is lost: the last load is of {last}, {late} hours ago, so nothing is forecast and the static \
                 price applies; start the feed again"
            );
            return Made::Nothing(FeedState::Lost, says);
        }
        self.learn(series, hour);
        let Some((series, learner)) = &self.learned else {
            return Made::Nothing(FeedState::Absent, "nothing is learned".to_owned());
        };
        // The hour that has begun can no longer be attested, but is forecast, too: a forecast begins where loads end.
        match forecast(learner, &SeasonalRule, series, hour, self.settings.hours + 1) {
            Ok(made) => Made::Forecast(state_of(&made), made),
            Err(error @ ForecastError::NoHistory { .. }) => {
                Made::Nothing(FeedState::Absent, error.to_string())
            }
            Err(error) => Made::Nothing(FeedState::Degraded, error.to_string()),
        }
    }

    /// Learns the hours before `until`: only the new ones, where the others are as they were.
    fn learn(&mut self, series: &LoadSeries, until: UtcHour) {
        let prefix = |before: &LoadSeries| {
            let known = before.load();
            before.first() == series.first()
                && before.end() <= until
                && series.load().get(..known.len()) == Some(known)
        };
        let learner = match self.learned.take() {
            Some((before, learner)) if prefix(&before) => learner,
            _ => Learner::new(self.settings.clock.clone(), Horizon::all()),
        };
        let mut learner = learner;
        learner.learn(series, until);
        self.learned = Some((series.clone(), learner));
    }

    fn attest(&mut self, state: FeedState, made: &Forecast, hour: UtcHour, now: UnixMillis) {
        let reasons: BTreeSet<String> =
            made.hours.iter().filter_map(|h| h.degraded.as_ref()).map(ToString::to_string).collect();
        self.status.state = state;
        let from_model = made.hours.iter().filter(|h| h.degraded.is_none()).count();
        self.status.says = match state {
            FeedState::Live => "the load of the last hour is there".to_owned(),
            FeedState::Late => format!(
                "the last load is {} hours late: the model looks further ahead, with a wider band, and {} of {} hours \
                 are the seasonal rule's",
                made.late_hours,
                made.hours.len() - from_model,
                made.hours.len()
            ),
            _ => format!(
                "{} of {} hours are the seasonal rule's: {}",
                made.hours.len() - from_model,
                made.hours.len(),
                reasons.iter().cloned().collect::<Vec<_>>().join("; ")
            ),
        };
        let answer = self.attestor.attest_forecast(&self.settings.zone, made, now);
        // What the ledger refused, it would refuse again; what it did not answer, it is asked again.
        if answer.is_ok() {
            self.done = Some(hour);
        }
        let attested = match answer {
            Ok(Attested::Accepted | Attested::Already) => Ok(()),
            Ok(Attested::Refused(why)) => Err(format!("the forecast is not attested: {why}")),
            Err(error) => Err(unanswered(&error)),
        };
        tracing::info!(zone = %self.settings.zone, %hour, ?state, attested = attested.is_ok(), "feed.forecast");
        if let Err(why) = &attested {
            self.problem(now, why.clone());
        }
        self.status.last_forecast = Some(LastForecast {
            first_hour: hour.get(),
            hours: made.hours.len(),
            digest: made.digest(),
            made_at: now,
            attested,
            degraded: reasons.into_iter().collect(),
        });
    }

    /// Attests what is known for long enough and was read, not interpolated.
    fn attest_loads(&mut self, reading: &Reading, hour: UtcHour, now: UnixMillis) {
        let Some(settles) = self.settings.load_settles_hours else {
            self.loads_done = Some(hour);
            return;
        };
        let Some(until) = hour.plus(-settles.max(0)) else { return };
        let interpolated: BTreeSet<UtcHour> = reading.interpolated.iter().copied().collect();
        // Without a word of earlier ones, only what the settling time leaves: the ledger takes no old loads.
        let from = self.status.loads_attested_until.and_then(UtcHour::new);
        let from = from.or_else(|| until.plus(-1)).unwrap_or(until);
        let mut loads = Vec::new();
        let mut at = from;
        while at < until && loads.len() < LOADS_AT_ONCE {
            if let Some(load) = reading.series.at(at).filter(|_| !interpolated.contains(&at)) {
                loads.push((at, load));
            }
            let Some(next) = at.plus(1) else { break };
            at = next;
        }
        if at == from {
            self.loads_done = Some(hour);
            return;
        }
        let attested = if loads.is_empty() {
            Ok(Attested::Already)
        } else {
            self.attestor.attest_loads(&self.settings.zone, &loads, now)
        };
        match attested {
            Ok(Attested::Accepted | Attested::Already) => self.status.loads_attested_until = Some(at.get()),
            Ok(Attested::Refused(why)) => {
                self.problem(now, format!("the ledger refuses loads of {from} to {at}: {why}"));
                self.status.loads_attested_until = Some(at.get());
            }
            Err(error) => {
                self.problem(now, unanswered(&error));
            }
        }
    }
}

/// How alive a feed is of which this could be forecast.
fn state_of(made: &Forecast) -> FeedState {
    let of_model = made.hours.iter().any(|hour| hour.degraded.is_none());
    // Too far ahead for the model is no fault of the data.
    let faulty =
        |hour: &ForecastHour| hour.degraded.as_ref().is_some_and(|why| !matches!(why, Degraded::Late { .. }));
    if !of_model || made.hours.iter().any(faulty) {
        FeedState::Degraded
    } else if made.late_hours > 0 {
        FeedState::Late
    } else {
        FeedState::Live
    }
}

fn unanswered(error: &AttestError) -> String {
    format!("the ledger does not answer, it is asked again: {}", chain(error))
}
