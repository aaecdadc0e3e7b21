//! Whole charges: a simulated vehicle, the charging point, its journal, and the verifier of another organisation.

use eroam_domain::cdr::SessionId;
use eroam_domain::ids::EvseId;
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::visit::EndReason;
use eroam_station::charge_point::{ChargePoint, ChargePointError, Notice};
use eroam_station::hardware::simulated::{Bench, Injection, Vehicle};
use eroam_station::journal::{Entry, Journal, JournalError, MemoryJournal, Queued};
use eroam_station::metering::{SoFar, periods};
use eroam_station::process::{Ended, Fault, Limits, Settings, State, StoppedBy, handle};
use eroam_wire::ocmf::{MeterKey, MeterPublicKey, MeteredSession, RecordWriter};
use proptest::prelude::*;
use std::sync::{Arc, Mutex};

/// 2026-11-21T11:00:00Z.
const START: i64 = 1_795_258_800_000;
/// Seconds between two polls.
const INTERVAL: i64 = 10;

fn at(second: i64) -> UnixMillis {
    UnixMillis::new(START + second * 1_000).unwrap()
}

fn key() -> MeterKey {
    MeterKey::from_bytes(&[9; 32]).unwrap()
}

fn public() -> MeterPublicKey {
    key().public()
}

fn writer() -> RecordWriter {
    let evse: EvseId = "PT*GLP*E0007*1".parse().unwrap();
    RecordWriter::new(key(), Bench::meter("SIM-0009"), evse).unwrap()
}

fn session() -> SessionId {
    "GLP-0001".parse().unwrap()
}

fn limits(wh: u64, amount_max: i64) -> Limits {
    Limits { energy_max: WattHours::from_wh(wh).unwrap(), amount_max, leaves_at: None, current_max: None }
}

/// 0.40 a kilowatt-hour.
fn price(so_far: &SoFar) -> Option<i64> {
    let energy: u64 = so_far.periods.iter().map(|p| p.energy.milli_wh()).sum();
    i64::try_from(energy * 4 / 10).ok()
}

/// A journal that outlives its charging point, as a disk does, and can be told to fail after so many more writes.
#[derive(Clone, Debug, Default)]
struct Disk(Arc<Mutex<(MemoryJournal, Option<usize>)>>);

impl Disk {
    fn write<T>(
        &self,
        work: impl FnOnce(&mut MemoryJournal) -> Result<T, JournalError>,
    ) -> Result<T, JournalError> {
        let mut disk = self.0.lock().unwrap();
        match &mut disk.1 {
            Some(0) => {
                let source = "the power was cut".into();
                return Err(JournalError::Storage { place: "here".to_owned(), source });
            }
            Some(left) => *left -= 1,
            None => {}
        }
        work(&mut disk.0)
    }

    fn fail_after(&self, writes: Option<usize>) {
        self.0.lock().unwrap().1 = writes;
    }

    fn memory(&self) -> MemoryJournal {
        self.0.lock().unwrap().0.clone()
    }
}

impl Journal for Disk {
    fn append(&mut self, entry: &Entry) -> Result<(), JournalError> {
        self.write(|m| m.append(entry))
    }
    fn entries(&mut self) -> Result<Vec<Entry>, JournalError> {
        self.memory().entries()
    }
    fn finish(&mut self, message: Option<&str>, next: &[Entry]) -> Result<Option<u64>, JournalError> {
        self.write(|m| m.finish(message, next))
    }
    fn last_page(&mut self) -> Result<u64, JournalError> {
        self.memory().last_page()
    }
    fn waiting(&mut self, limit: u32) -> Result<Vec<Queued>, JournalError> {
        self.memory().waiting(limit)
    }
    fn acknowledge(&mut self, number: u64) -> Result<bool, JournalError> {
        self.write(|m| m.acknowledge(number))
    }
}

fn open(bench: &Bench, disk: &Disk, now: UnixMillis) -> Result<ChargePoint<Disk>, ChargePointError> {
    let opened = ChargePoint::open(Settings::standard(), bench.hardware(), writer(), disk.clone(), now);
    opened.map(|(point, _)| point)
}

/// A station with its vehicle, polled every interval.
struct Stand {
    bench: Bench,
    disk: Disk,
    point: ChargePoint<Disk>,
    second: i64,
}

impl Stand {
    fn new(vehicle: Vehicle) -> Self {
        let bench = Bench::new(vehicle, WattHours::from_wh(123_456).unwrap(), 42);
        bench.advance(at(0));
        let disk = Disk::default();
        let point = open(&bench, &disk, at(0)).unwrap();
        Self { bench, disk, point, second: 0 }
    }

    fn charging(vehicle: Vehicle, limits: Limits) -> Self {
        let mut stand = Self::new(vehicle);
        stand.point.offer(session(), at(300), at(0)).unwrap();
        stand.point.enable(limits, LocalClock::UTC, at(0)).unwrap();
        stand.bench.inject(Injection::Plug);
        stand.poll();
        assert!(stand.point.state().is_on(), "{:?}", stand.point.state());
        stand
    }

    fn poll(&mut self) -> Vec<Notice> {
        self.second += INTERVAL;
        self.bench.advance(at(self.second));
        self.point.poll(at(self.second), &price).unwrap()
    }

    /// Polls until the session is over.
    fn finish(&mut self) -> Ended {
        for _ in 0..10_000 {
            let notices = self.poll();
            if let Some(Notice::Ended(ended)) = notices.into_iter().last() {
                assert!(!self.point.state().is_on());
                return ended;
            }
        }
        panic!("it never ends: {:?}", self.point.state());
    }

    fn metered(&self) -> MeteredSession {
        MeteredSession::read(&self.point.readings(), &public()).unwrap()
    }
}

/// The state that follows from a journal.
fn folded(disk: &Disk) -> State {
    disk.memory().entries().unwrap().into_iter().fold(State::Idle, |state, entry| match entry {
        Entry::Event { at, event } => handle(&Settings::standard(), &state, &event, at).unwrap().0,
        Entry::Signed { .. } => state,
    })
}

#[test]
fn a_charge_to_the_drivers_limit_is_billed_by_what_the_meter_signed() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(10_000, i64::MAX));
    let ended = stand.finish();
    assert_eq!(ended.reason, EndReason::EnergyReached);
    let session = stand.metered();
    assert_eq!(session.energy(), ended.energy);
    assert_eq!(Some(session.pages()), ended.pages);
    assert_eq!((session.start(), session.end()), (ended.start, ended.end));
    // An interval at 11 kW is 31 Wh.
    assert!((9_930_000..=10_031_000).contains(&ended.energy.milli_wh()), "{}", ended.energy);
    let delivered = stand.bench.delivered().milli_wh() - 123_456_000;
    assert_eq!(delivered, ended.energy.milli_wh(), "nothing flows that is not billed");
    let periods = periods(&session);
    assert_eq!(periods.iter().map(|p| p.energy.milli_wh()).sum::<u64>(), ended.energy.milli_wh());
    let power = periods[0].power.unwrap().max.get();
    assert!((10_900..=11_100).contains(&power), "{power}");
}

#[test]
fn each_end_has_its_reason() {
    let hour = |limits: Limits| Limits { leaves_at: Some(at(3_600)), ..limits };
    let none = limits(80_000, i64::MAX);
    for (vehicle, limits, reason) in [
        (Vehicle::compact(2_000), limits(80_000, 2_000_000), EndReason::AmountReached),
        (Vehicle::compact(2_000), hour(none), EndReason::TimeOver),
        (Vehicle::compact(9_900), none, EndReason::Full),
    ] {
        let mut stand = Stand::charging(vehicle, limits);
        let ended = stand.finish();
        assert_eq!(ended.reason, reason);
        assert_eq!(stand.metered().energy(), ended.energy, "{reason}");
        assert!(price_of(&ended) <= limits.amount_max, "{reason}");
    }
}

fn price_of(ended: &Ended) -> i64 {
    i64::try_from(ended.energy.milli_wh() * 4 / 10).unwrap()
}

#[test]
fn injected_faults_switch_off_and_are_billed_by_the_last_good_reading() {
    let back = Injection::MeterBackwards(WattHours::from_wh(500).unwrap());
    for (injection, fault) in [
        (back, Fault::MeterBackwards),
        (Injection::MeterSilent(true), Fault::MeterSilent),
        (Injection::SensorSilent(true), Fault::MeterSilent),
    ] {
        let mut stand = Stand::charging(Vehicle::compact(2_000), limits(80_000, i64::MAX));
        for _ in 0..100 {
            stand.poll();
        }
        stand.bench.inject(injection);
        let ended = stand.finish();
        assert!(!stand.bench.is_on(), "{fault}");
        assert_eq!(ended.reason, EndReason::Fault);
        assert!(
            matches!(stand.point.state(), State::Faulted { fault: found, .. } if *found == fault),
            "{fault}"
        );
        let delivered = stand.bench.delivered().milli_wh() - 123_456_000;
        assert!(
            ended.energy.milli_wh() <= delivered && ended.energy.milli_wh() > 2_900_000,
            "{}",
            ended.energy
        );
        assert_eq!(stand.metered().energy(), ended.energy);
    }
}

#[test]
fn a_stuck_relay_is_found_and_not_paid_for() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(80_000, i64::MAX));
    stand.poll();
    stand.bench.inject(Injection::RelayStuck(true));
    let last = stand.bench.delivered();
    stand.point.stop(StoppedBy::Driver, at(stand.second)).unwrap();
    let ended = stand.finish();
    assert!(matches!(stand.point.state(), State::Faulted { fault: Fault::RelayStuck, .. }));
    assert_eq!(ended.energy.milli_wh(), last.milli_wh() - 123_456_000);
}

#[test]
fn a_charge_goes_on_after_a_power_cut() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(5_000, i64::MAX));
    for _ in 0..60 {
        stand.poll();
    }
    stand.bench.inject(Injection::PowerCut);
    let counted = stand.bench.delivered();
    stand.second += 1_200;
    stand.bench.advance(at(stand.second));
    assert_eq!(stand.bench.delivered(), counted);
    stand.bench.inject(Injection::PowerBack);
    stand.point = open(&stand.bench, &stand.disk, at(stand.second)).unwrap();
    assert!(stand.bench.is_on());
    let ended = stand.finish();
    assert_eq!(ended.reason, EndReason::EnergyReached);
    let session = stand.metered();
    assert_eq!(session.energy(), ended.energy);
    let parked: u64 = periods(&session).iter().map(|p| p.parking.millis()).sum();
    assert!((1_200_000..=1_230_000).contains(&parked), "the cut is no charging time: {parked}");
}

#[test]
fn a_session_is_settled_once_and_its_pages_are_followed_by_the_next() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(100, i64::MAX));
    let first = stand.finish();
    assert_eq!(stand.point.settle(Some("first"), at(stand.second)).unwrap(), Some(1));
    assert_eq!((stand.point.state(), stand.point.readings().as_str()), (&State::Idle, ""));
    assert!(stand.point.settle(Some("again"), at(stand.second)).is_err());
    let second = stand.second;
    stand.point.offer(session(), at(second + 300), at(second)).unwrap();
    stand.point.enable(limits(100, i64::MAX), LocalClock::UTC, at(second)).unwrap();
    let next = stand.finish();
    assert_eq!(first.pages.unwrap().1 + 1, next.pages.unwrap().0);
    stand.point.settle(Some("second"), at(stand.second)).unwrap();
    let waiting = stand.point.journal().waiting(10).unwrap();
    assert_eq!(
        waiting.iter().map(|q| (q.number, q.message.as_str())).collect::<Vec<_>>(),
        [(1, "first"), (2, "second")]
    );
}

#[test]
fn a_fault_outlives_a_restart_and_the_session_it_ended() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(80_000, i64::MAX));
    stand.bench.inject(Injection::MeterSilent(true));
    stand.finish();
    stand.point.settle(Some("it"), at(stand.second)).unwrap();
    let mut point = open(&stand.bench, &stand.disk, at(stand.second)).unwrap();
    assert_eq!(point.state(), &State::Faulted { fault: Fault::MeterSilent, ended: None });
    assert!(point.offer(session(), at(stand.second + 300), at(stand.second)).is_err());
    point.repair(at(stand.second)).unwrap();
    assert_eq!(open(&stand.bench, &stand.disk, at(stand.second)).unwrap().state(), &State::Idle);
}

#[test]
fn an_offer_that_comes_to_nothing_leaves_nothing_behind() {
    let mut stand = Stand::new(Vehicle::compact(2_000));
    stand.point.offer(session(), at(20), at(0)).unwrap();
    for _ in 0..3 {
        stand.poll();
    }
    assert_eq!(stand.point.state(), &State::Idle);
    assert_eq!(stand.disk.memory(), MemoryJournal::default());
}

#[test]
fn a_vehicle_is_offered_no_more_than_its_driver_wants() {
    let limits = Limits { current_max: Some(MilliAmperes::new(10_000)), ..limits(80_000, i64::MAX) };
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits);
    stand.poll();
    assert_eq!(stand.bench.true_current(), MilliAmperes::new(10_000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// The power is cut after any write to the journal, at any length of the cut, again and again.
    #[test]
    fn cuts_after_any_write_lose_nothing_that_was_signed(
        cuts in prop::collection::vec((0usize..60, 0i64..1_800), 0..6),
        stop_after in 5usize..120,
    ) {
        let mut stand = Stand::charging(Vehicle::compact(2_000), limits(3_000, i64::MAX));
        // The limit may be passed by what flows in an interval, and each cut may lose a look at the meter.
        let looks_lost = 1 + cuts.len() as u64;
        for (writes, seconds) in cuts {
            stand.disk.fail_after(Some(writes));
            for _ in 0..200 {
                stand.second += INTERVAL;
                stand.bench.advance(at(stand.second));
                if stand.point.poll(at(stand.second), &price).is_err() || stand.point.state().ended().is_some() {
                    break;
                }
            }
            let before = stand.disk.memory();
            stand.bench.inject(Injection::PowerCut);
            stand.second += seconds;
            stand.bench.advance(at(stand.second));
            stand.bench.inject(Injection::PowerBack);
            stand.disk.fail_after(None);
            stand.point = open(&stand.bench, &stand.disk, at(stand.second)).unwrap();
            // Everything that was written is still there, in its place.
            let (mut before, mut after) = (before, stand.disk.memory());
            prop_assert!(after.entries().unwrap().starts_with(&before.entries().unwrap()));
            prop_assert_eq!(stand.bench.is_on(), stand.point.state().is_on());
        }
        for _ in 0..stop_after {
            stand.poll();
        }
        if stand.point.state().ended().is_none() {
            stand.point.stop(StoppedBy::Driver, at(stand.second)).unwrap();
            stand.finish();
        }
        let ended = stand.point.state().ended().unwrap().clone();
        let session = stand.metered();
        prop_assert_eq!(session.energy(), ended.energy);
        prop_assert!(ended.energy.milli_wh() <= stand.bench.delivered().milli_wh() - 123_456_000);
        prop_assert!(ended.energy.milli_wh() <= 3_000_000 + looks_lost * 31_000);
        let again = open(&stand.bench, &stand.disk, at(stand.second)).unwrap();
        prop_assert_eq!(again.state(), stand.point.state());
        prop_assert_eq!(again.readings(), stand.point.readings());
    }

    /// Folding the journal gives the state that the station was in, after every single event.
    #[test]
    fn the_journal_holds_the_state(polls in 1usize..300, pause in 0usize..300) {
        let mut stand = Stand::charging(Vehicle::compact(2_000), limits(3_000, i64::MAX));
        for poll in 0..polls {
            stand.bench.inject(Injection::Pause(poll == pause));
            stand.poll();
            prop_assert_eq!(&folded(&stand.disk), stand.point.state());
            if stand.point.state().ended().is_some() {
                break;
            }
        }
    }
}

#[test]
fn nothing_flows_that_cannot_be_written_down() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(80_000, i64::MAX));
    stand.disk.fail_after(Some(0));
    stand.second += INTERVAL;
    stand.bench.advance(at(stand.second));
    assert!(matches!(stand.point.poll(at(stand.second), &price), Err(ChargePointError::Journal(_))));
    assert!(!stand.bench.is_on());
    // Once the journal works again, the charging point stands where the journal says.
    stand.disk.fail_after(None);
    assert_eq!(&folded(&stand.disk), stand.point.state());
    let ended = stand.finish();
    assert_eq!((ended.reason, &folded(&stand.disk)), (EndReason::Full, stand.point.state()));
}

#[test]
fn a_driver_is_told_the_end_with_the_readings() {
    let mut stand = Stand::charging(Vehicle::compact(2_000), limits(500, i64::MAX));
    assert_eq!(stand.point.finished(), None);
    let ended = stand.finish();
    let finished = stand.point.finished().unwrap();
    assert_eq!((finished.reason, finished.energy), (ended.reason, ended.energy));
    assert_eq!(MeteredSession::read(&finished.readings, &public()).unwrap().energy(), ended.energy);
    stand.point.settle(Some("it"), at(stand.second)).unwrap();
    assert_eq!(stand.point.finished(), None);
}

#[test]
fn a_day_of_charging_fits_into_a_record() {
    let slow = Vehicle { capacity: WattHours::from_wh(400_000).unwrap(), ..Vehicle::compact(0) };
    let mut stand =
        Stand::charging(slow, Limits { leaves_at: Some(at(86_400)), ..limits(400_000, i64::MAX) });
    let ended = stand.finish();
    assert_eq!(ended.reason, EndReason::TimeOver);
    let session = stand.metered();
    let periods = periods(&session);
    assert_eq!(
        periods.len(),
        97,
        "a period for each quarter of an hour, and the interval until the relay is off"
    );
    assert!(session.end().since(session.start()).unwrap() <= DurationMs::from_secs(86_400).unwrap());
}
