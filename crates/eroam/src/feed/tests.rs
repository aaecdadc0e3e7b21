//! A feed on a virtual clock: what comes in, what is made of it each hour, and what is said when it stops.

use super::*;
use eroam_domain::cdr::GridZone;
use eroam_domain::quantity::{DurationMs, Watts};
use eroam_domain::time::UnixMillis;
use eroam_forecast::clock::LoadClock;
use eroam_forecast::features::Horizon;
use eroam_forecast::forecaster::{Forecast, Forecaster as _, forecast};
use eroam_forecast::hour::UtcHour;
use eroam_forecast::learner::Learner;
use eroam_forecast::seasonal::SeasonalRule;
use eroam_forecast::series::read::{ReadOptions, read_series};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// The first hour: 2024-01-01T00:00Z, a Monday.
const FIRST: i64 = 473_352;
const MINUTE: u64 = 60_000;

/// What an attestor was asked, and whether it answers.
#[derive(Default)]
struct Desk {
    forecasts: Vec<Forecast>,
    loads: Vec<(i64, u64)>,
    silent: bool,
    refuses: Option<String>,
}

#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Desk>>);

impl Attestor for Recorder {
    fn attest_forecast(
        &mut self,
        _: &GridZone,
        forecast: &Forecast,
        _: UnixMillis,
    ) -> Result<Attested, AttestError> {
        let mut desk = self.0.lock().unwrap();
        if desk.silent {
            return Err(AttestError { what: "nobody answers".into(), source: None });
        }
        desk.forecasts.push(forecast.clone());
        Ok(desk.refuses.clone().map_or(Attested::Accepted, Attested::Refused))
    }

    fn attest_loads(
        &mut self,
        _: &GridZone,
        loads: &[(UtcHour, Watts)],
        _: UnixMillis,
    ) -> Result<Attested, AttestError> {
        let mut desk = self.0.lock().unwrap();
        desk.loads.extend(loads.iter().map(|(hour, load)| (hour.get(), load.get())));
        Ok(Attested::Accepted)
    }
}

/// A load with a day and a week in it, in kilowatts.
fn load_kw(hour: i64) -> f64 {
    let (day, hour_of_day) = (hour / 24, hour % 24);
    let weekend = if (day + 3) % 7 > 4 { 90_000.0 } else { 0.0 };
    // A little that no rule knows, so that errors are not zero.
    let odd = f64::from(u16::try_from(hour * 7_919 % 1_009).unwrap());
    1_000_000.0 + 20_000.0 * (12.0 - (hour_of_day as f64 - 14.0).abs()) - weekend + odd
}

fn time(hour: i64) -> String {
    UtcHour::new(hour).unwrap().to_string()
}

fn row(hour: i64) -> Row {
    Row { time: time(hour), w: None, kw: Some(load_kw(hour)), mw: None }
}

/// So long after the beginning of an hour.
fn at(hour: i64, minutes: u64) -> UnixMillis {
    let start = UtcHour::new(hour).unwrap().start();
    start.checked_add(DurationMs::from_millis(minutes * MINUTE)).unwrap()
}

struct World {
    directory: TempDir,
    desk: Recorder,
    inbox: Arc<Mutex<Inbox>>,
    runner: Runner,
    watch: Option<PathBuf>,
    settings: Settings,
}

impl World {
    fn new(watch: bool) -> Self {
        let settings = Settings::new(GridZone::new("AEP").unwrap(), LoadClock::utc());
        Self::with(settings, watch)
    }

    fn with(settings: Settings, watch: bool) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let watch = watch.then(|| directory.path().join("load.csv"));
        let desk = Recorder::default();
        let (inbox, runner) = start(directory.path(), watch.clone(), &settings, &desk);
        Self { directory, desk, inbox, runner, watch, settings }
    }

    /// As after `kill -9`: what is not on the disk is gone.
    fn restart(self) -> Self {
        let Self { directory, desk, inbox, runner, watch, settings } = self;
        drop((inbox, runner));
        let (inbox, runner) = start(directory.path(), watch.clone(), &settings, &desk);
        Self { directory, desk, inbox, runner, watch, settings }
    }

    fn push(&self, rows: &[Row], now: UnixMillis) -> Taken {
        self.inbox.lock().unwrap().push(rows, now).unwrap()
    }

    /// Everything from the first hour to before `hour`.
    fn push_until(&self, hour: i64) {
        let rows: Vec<Row> = (FIRST..hour).map(row).collect();
        assert_eq!(self.push(&rows, at(hour, 0)).refused, []);
    }

    fn tick(&mut self, now: UnixMillis) -> FeedState {
        self.runner.tick(now).unwrap();
        self.runner.status().state
    }

    fn forecasts(&self) -> Vec<Forecast> {
        self.desk.0.lock().unwrap().forecasts.clone()
    }

    fn append(&self, text: &str) {
        let path = self.watch.as_ref().unwrap();
        let mut file = std::fs::OpenOptions::new().append(true).create(true).open(path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }
}

fn start(
    directory: &Path,
    watch: Option<PathBuf>,
    settings: &Settings,
    desk: &Recorder,
) -> (Arc<Mutex<Inbox>>, Runner) {
    let state = directory.join("state");
    let watch = watch.map(|path| (path, ReadOptions::new(LoadClock::utc())));
    let inbox = Arc::new(Mutex::new(Inbox::open(&state, watch).unwrap()));
    let attestor = Box::new(desk.clone());
    let runner = Runner::new(settings.clone(), &state, Arc::clone(&inbox), attestor, UnixMillis::EPOCH);
    (inbox, runner)
}

/// What `eroam forecast predict` says of the same samples.
fn predicted(csv: &str, origin: i64, hours: usize) -> Forecast {
    let reading = read_series(csv.as_bytes(), &ReadOptions::new(LoadClock::utc())).unwrap();
    let origin = UtcHour::new(origin).unwrap();
    let mut learner = Learner::new(LoadClock::utc(), Horizon::all());
    learner.learn(&reading.series, origin);
    forecast(&learner, &SeasonalRule, &reading.series, origin, hours).unwrap()
}

fn csv(hours: std::ops::Range<i64>) -> String {
    hours.fold("time,kw\n".to_owned(), |text, hour| format!("{text}{},{}\n", time(hour), load_kw(hour)))
}

#[test]
fn every_hour_the_forecast_of_all_samples_is_attested_once() {
    let mut world = World::new(false);
    let now = FIRST + 24 * 7 * 12;
    world.push_until(now);
    for hour in now..now + 30 {
        assert_eq!(world.tick(at(hour, 1)), FeedState::Live, "{hour}");
        assert_eq!(world.tick(at(hour, 30)), FeedState::Live);
        world.push(&[row(hour)], at(hour + 1, 0));
    }
    let forecasts = world.forecasts();
    assert_eq!(forecasts.len(), 30);
    // The feed learns as it goes, and comes to what somebody comes to who learns everything at once.
    for (made, hour) in forecasts.iter().zip(now..) {
        assert_eq!(*made, predicted(&csv(FIRST..hour), hour, 24), "{hour}");
    }
    let status = world.runner.status();
    assert!(status.last_forecast.as_ref().is_some_and(|last| last.attested.is_ok()));
    assert_eq!(status.last_sample, Some(at(now + 28, 0)));
}

#[test]
fn the_last_load_is_waited_for_and_then_done_without() {
    let mut world = World::new(false);
    let now = FIRST + 24 * 7 * 8;
    world.push_until(now - 1);
    world.tick(at(now, 4));
    assert_eq!(world.forecasts().len(), 0, "in grace");
    assert_eq!(world.tick(at(now, 5)), FeedState::Late);
    assert_eq!(world.forecasts()[0].late_hours, 1);
    // It comes late: the next hour has it.
    world.push(&[row(now - 1), row(now)], at(now + 1, 0));
    assert_eq!(world.tick(at(now + 1, 1)), FeedState::Live);
    assert_eq!(world.forecasts()[1], predicted(&csv(FIRST..now + 1), now + 1, 24));
}

#[test]
fn a_feed_that_stops_is_degraded_then_lost_and_says_so() {
    let mut world = World::new(false);
    let last = FIRST + 24 * 7 * 8;
    world.push_until(last);
    let mut seen = Vec::new();
    for hour in (last..last + 180).step_by(6) {
        let state = world.tick(at(hour, 10));
        let made = world.forecasts().len();
        if seen.last().is_none_or(|(before, _)| *before != state) {
            seen.push((state, made));
        }
        let says = world.runner.status().says.clone();
        match state {
            FeedState::Degraded => assert!(says.contains("seasonal rule"), "{says}"),
            FeedState::Lost => assert!(says.contains("the feed is lost"), "{says}"),
            _ => {}
        }
    }
    let states: Vec<FeedState> = seen.iter().map(|(state, _)| *state).collect();
    assert_eq!(states, [FeedState::Live, FeedState::Late, FeedState::Degraded, FeedState::Lost]);
    let made = world.forecasts();
    assert!(made.iter().all(|forecast| forecast.late_hours <= LOST_AFTER_HOURS));
    assert_eq!(made.len(), 29, "nothing after it is lost");
    assert_eq!(world.runner.status().last_sample, Some(at(last - 1, 0)));
    // It comes back.
    let rows: Vec<Row> = (last..last + 186).map(row).collect();
    world.push(&rows, at(last + 186, 0));
    assert_eq!(world.tick(at(last + 186, 1)), FeedState::Live);
}

#[test]
fn without_a_load_nothing_is_attested() {
    let mut world = World::new(true);
    assert_eq!(world.tick(at(FIRST, 10)), FeedState::Absent);
    assert!(world.runner.status().says.contains("there is no load"), "{}", world.runner.status().says);
    // Two hours are not enough for anything.
    world.push(&[row(FIRST), row(FIRST + 1)], at(FIRST + 2, 0));
    assert_eq!(world.tick(at(FIRST + 2, 10)), FeedState::Absent);
    assert_eq!(world.forecasts().len(), 0);
}

#[test]
fn samples_that_cannot_be_are_refused_with_their_place_and_the_reason() {
    let world = World::new(false);
    let good = row(FIRST);
    let with = |time: &str, kw: f64| Row { time: time.into(), kw: Some(kw), ..good.clone() };
    let two = Row { mw: Some(1.0), ..good.clone() };
    let none = Row { kw: None, ..good.clone() };
    let rows = [
        good.clone(),
        with("2024-01-01 01:00", 5.0),
        with("2024-01-01T01:30Z", 5.0),
        with("soon", 5.0),
        with("2024-01-01T05:00Z", -5.0),
        with("2024-01-01T05:00Z", 0.0),
        with("2024-01-01T05:00Z", 1e12),
        with("2024-01-01T05:00Z", f64::NAN),
        two,
        none,
        with("2024-01-03T05:00Z", 5.0),
        good.clone(),
        with("2024-01-01T01:00:00+01:00", load_kw(FIRST)),
        with("2024-01-01T00:00:00Z", 5.0),
    ];
    let taken = world.push(&rows, at(FIRST + 24, 0));
    assert_eq!((taken.new, taken.repeated, taken.contradicting), (1, 2, 1));
    let said: Vec<(usize, &str)> = taken.refused.iter().map(|r| (r.index, r.reason.as_str())).collect();
    let want = [
        (1, "has no offset"),
        (2, "does not start an hour"),
        (3, "is no date and time"),
        (4, "is negative"),
        (5, "of zero"),
        (6, "cannot be"),
        (7, "is no number"),
        (8, "2 of `w`, `kw` and `mw`"),
        (9, "0 of `w`, `kw` and `mw`"),
        (10, "is not over"),
    ];
    assert_eq!(said.len(), want.len(), "{said:?}");
    for ((index, reason), (wanted, text)) in said.iter().zip(want) {
        assert!(*index == wanted && reason.contains(text), "{index}: {reason}, not {text}");
    }
}

#[test]
fn contradictions_and_absurd_loads_are_judged_as_in_a_file() {
    let mut world = World::new(false);
    let now = FIRST + 24 * 7 * 8;
    world.push_until(now - 10);
    let thousandfold = |hour| Row { kw: Some(load_kw(hour) * 1_000.0), ..row(hour) };
    let mut rows = vec![thousandfold(now - 10), thousandfold(now - 9)];
    rows.extend((now - 8..now).map(row));
    // Another load for an hour that is there.
    rows.push(Row { kw: Some(load_kw(now - 30) + 500.0), ..row(now - 30) });
    assert_eq!(world.push(&rows, at(now, 0)).contradicting, 1);
    assert_eq!(world.tick(at(now, 1)), FeedState::Live);
    let findings = world.runner.status().findings.join("\n");
    for what in ["a thousand times", "with another load", "interpolated"] {
        assert!(findings.contains(what), "{what}: {findings}");
    }
    let kept = world.inbox.lock().unwrap().csv().to_owned();
    assert_eq!(world.forecasts()[0], predicted(&kept, now, 24));
}

#[test]
fn what_was_taken_survives_and_no_hour_is_attested_twice() {
    let mut world = World::new(false);
    let now = FIRST + 24 * 7 * 8;
    world.push_until(now);
    world.tick(at(now, 1));
    world = world.restart();
    assert_eq!(world.inbox.lock().unwrap().hours(), 24 * 7 * 8);
    world.tick(at(now, 2));
    assert_eq!(world.forecasts().len(), 1);
    assert_eq!(world.push(&[row(now - 1)], at(now, 2)).repeated, 1);
    world.push(&[row(now)], at(now + 1, 0));
    world = world.restart();
    assert_eq!(world.tick(at(now + 1, 1)), FeedState::Live);
    assert_eq!(world.forecasts()[1], predicted(&csv(FIRST..now + 1), now + 1, 24));
}

#[test]
fn a_ledger_that_is_silent_is_asked_again_and_one_that_refuses_is_not() {
    let mut world = World::new(false);
    let now = FIRST + 24 * 7 * 8;
    world.push_until(now);
    world.desk.0.lock().unwrap().silent = true;
    world.tick(at(now, 1));
    let attested = |world: &World| world.runner.status().last_forecast.clone().unwrap().attested;
    assert!(attested(&world).is_err_and(|why| why.contains("asked again")));
    // Also after a restart.
    world = world.restart();
    world.desk.0.lock().unwrap().silent = false;
    world.tick(at(now, 2));
    assert_eq!((world.forecasts().len(), attested(&world)), (1, Ok(())));
    world.push(&[row(now)], at(now + 1, 0));
    world.desk.0.lock().unwrap().refuses = Some("no right".into());
    world.tick(at(now + 1, 1));
    world.tick(at(now + 1, 2));
    assert_eq!(world.forecasts().len(), 2, "asked once an hour");
    assert!(attested(&world).is_err_and(|why| why.contains("no right")));
}

#[test]
fn loads_are_attested_when_they_have_settled() {
    let mut settings = Settings::new(GridZone::new("AEP").unwrap(), LoadClock::utc());
    settings.load_settles_hours = Some(6);
    let mut world = World::with(settings, false);
    let now = FIRST + 24 * 7 * 8;
    world.push_until(now);
    for hour in now..now + 12 {
        world.tick(at(hour, 1));
        world.push(&[row(hour)], at(hour + 1, 0));
    }
    let loads = world.desk.0.lock().unwrap().loads.clone();
    let watts = |hour: i64| (hour, (load_kw(hour) * 1_000.0) as u64);
    assert_eq!(loads, (now - 7..now + 5).map(watts).collect::<Vec<_>>());
}

#[test]
fn a_growing_file_is_read_line_by_line_and_bad_lines_are_listed() {
    let mut world = World::new(true);
    let now = FIRST + 24 * 7 * 8;
    let text = csv(FIRST..now - 1);
    // Before it is there; its header half; a line half.
    assert_eq!(world.tick(at(now - 1, 0)), FeedState::Absent);
    let (head, rest) = text.split_at(4);
    world.append(head);
    world.tick(at(now - 1, 0));
    let (most, last) = rest.split_at(rest.len() - 9);
    world.append(most);
    world.tick(at(now - 1, 0));
    assert_eq!(world.inbox.lock().unwrap().hours(), 24 * 7 * 8 - 2);
    world.append(last);
    world.append("yesterday,5\n");
    world.append(&format!("{},n/a\n\n", time(now - 1)));
    world.append(&format!("{},{}\n", time(now - 1), load_kw(now - 1)));
    world = world.restart();
    assert_eq!(world.tick(at(now, 1)), FeedState::Live);
    let problems: Vec<(Option<u64>, String)> =
        world.runner.status().problems.iter().map(|p| (p.line, p.reason.clone())).collect();
    let line = u64::try_from(now - FIRST).unwrap();
    assert_eq!(problems.len(), 2, "{problems:?}");
    assert!(problems[0].0 == Some(line + 1) && problems[0].1.contains("no date"), "{problems:?}");
    assert!(problems[1].0 == Some(line + 2) && problems[1].1.contains("no number"), "{problems:?}");
    assert_eq!(*world.forecasts().last().unwrap(), predicted(&csv(FIRST..now), now, 24));
}

#[test]
fn a_file_that_was_replaced_is_read_from_its_beginning() {
    let mut world = World::new(true);
    world.append(&csv(FIRST..FIRST + 50));
    world.tick(at(FIRST + 100, 0));
    // Another program's file: other columns, other unit, fewer lines, some of the same hours.
    let path = world.watch.clone().unwrap();
    let rows = (FIRST + 40..FIRST + 60).map(|h| format!("AEP;{};{}\n", time(h), load_kw(h) / 1_000.0));
    std::fs::write(&path, format!("zone;time;load_mw\n{}", rows.collect::<String>())).unwrap();
    world.tick(at(FIRST + 100, 1));
    let inbox = world.inbox.lock().unwrap();
    assert_eq!((inbox.hours(), inbox.csv().lines().count()), (60, 61), "{}", inbox.csv());
}

#[test]
fn a_file_without_known_columns_is_a_problem_that_is_said() {
    let mut world = World::new(true);
    world.append("a,b\n1,2\n");
    assert_eq!(world.tick(at(FIRST, 10)), FeedState::Absent);
    let problems = &world.runner.status().problems;
    assert!(problems.iter().any(|p| p.reason.contains("no column")), "{problems:?}");
}

#[test]
fn the_status_can_be_read_by_others() {
    let mut world = World::new(false);
    let now = FIRST + 24 * 7 * 8;
    world.push_until(now);
    world.tick(at(now, 1));
    let status = read_status(&world.directory.path().join("state")).unwrap();
    assert_eq!(status, *world.runner.status());
}
