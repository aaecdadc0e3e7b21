//! A simulated charging point behind a station's agent: the station's own code on a simulated bench, in which time
//! passes as fast as it can be computed, or as it does for people who watch ([`Pace`]).
//!
//! What is simulated goes on when the station's program ends: the meter's register and the vehicle in front of it follow
//! from what is kept at the begin of a session and from the journal.

use super::ChargingError;
use super::state::{AgentState, Changes, StateError};
use super::station::{Account, ChargeOrder, Charged, Post};
use crate::causes::chain;
use crate::clock::{leave_out, now};
use eroam_domain::ids::EvseId;
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::Progress;
use eroam_station::calibration::Calibration;
use eroam_station::charge_point::{ChargePoint, ChargePointError, Notice};
use eroam_station::hardware::Hardware;
use eroam_station::hardware::corrected::Corrected;
use eroam_station::hardware::simulated::{Bench, Injection, Vehicle};
use eroam_station::journal::{Entry, Journal, JournalError, SharedJournal};
use eroam_station::metering::PriceSoFar;
use eroam_station::process::{Event, Fault, Limits, Settings, State, StoppedBy};
use eroam_wire::ocmf::{MeterKey, MeterPublicKey, RecordWriter, WriteError};
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// So often the hardware is looked at, in simulated time: below the minute of silence after which a meter has a fault, and
/// no oftener than hours of charging are worth.
const SAMPLE_EVERY: DurationMs = DurationMs::from_millis(30_000);
/// A charge that lasts longer has gone wrong.
const SAMPLES_MAX: u32 = 100_000;

/// So often it is looked at where people watch.
const WATCHED_EVERY: Duration = Duration::from_secs(1);

/// How time passes at a simulated charging point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pace {
    /// Hours at once: they are left out of the process's clock. Nobody could follow, so nobody is told how far it is.
    AtOnce,
    /// As on the clock of the wall: nothing is left out, since whoever charges has a clock of its own. So that nobody waits
    /// for hours, it is a fast charger with a vehicle that takes what it gives.
    RealTime,
}

impl Pace {
    /// What the charging point gives at most.
    #[must_use]
    pub const fn power(self) -> Watts {
        match self {
            Self::AtOnce => Watts::new(11_000),
            Self::RealTime => Watts::new(150_000),
        }
    }

    /// `charge` is how full the battery is, in ten-thousandths.
    const fn vehicle(self, charge: u64) -> Vehicle {
        let compact = Vehicle::compact(charge);
        match self {
            Self::AtOnce => compact,
            // Three phases of 217 A at 230 V.
            Self::RealTime => Vehicle { current_max: MilliAmperes::new(217_000), ..compact },
        }
    }

    const fn settings(self) -> Settings {
        let standard = Settings::standard();
        match self {
            Self::AtOnce => standard,
            Self::RealTime => {
                let power_max = Watts::new(180_000);
                Settings { current_max: MilliAmperes::new(250_000), power_max, ..standard }
            }
        }
    }

    /// The next time that it is looked at.
    fn next(self, at: UnixMillis) -> UnixMillis {
        match self {
            Self::AtOnce => at.checked_add(SAMPLE_EVERY).unwrap_or(at),
            Self::RealTime => {
                std::thread::sleep(WATCHED_EVERY);
                now()
            }
        }
    }
}

/// The journal of a charging point, and whoever sends what is in its outbox.
type PostJournal = SharedJournal<Box<dyn Journal + Send>>;

/// A charging point with a vehicle that comes for each session.
pub struct SimulatedPost {
    evse: EvseId,
    key: MeterKey,
    seed: u64,
    pace: Pace,
    street: Street,
    kept: AgentState,
    journal: PostJournal,
    mishaps: Mishaps,
    /// Of its current sensor.
    calibration: Calibration,
    fault: Option<Fault>,
}

/// What stays in the street when the station's program ends, as it was when the last session began.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Street {
    /// So many sessions have begun: from it the vehicle follows.
    sessions: u64,
    /// What the meter had counted.
    register: WattHours,
}

/// The record of it.
const STREET: &str = "simulated street";

/// A session under way.
struct Session {
    bench: Bench,
    point: ChargePoint<PostJournal>,
    start: UnixMillis,
    at: UnixMillis,
    notices: Vec<Notice>,
}

/// What happens in the middle of a simulated charge.
pub enum Mishap {
    /// The meter shows less than it did.
    MeterBackwards,
    /// Station and vehicle are without power for so long; the station begins again with what its journal holds.
    PowerCut(DurationMs),
    /// Something else goes on meanwhile.
    Meanwhile(Box<dyn FnOnce() + Send>),
}

/// What is going to happen in the middle of charges, in this order: one at a time, from the tenth sample of each charge
/// on. Cheap to clone.
#[derive(Clone, Default)]
pub struct Mishaps(Arc<Mutex<VecDeque<Mishap>>>);

/// Nothing happens to a charge before this sample.
const MISHAPS_FROM: u32 = 10;

impl Mishaps {
    /// This happens, too.
    pub fn add(&self, mishap: Mishap) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(mishap);
    }

    fn next(&self, sample: u32) -> Option<Mishap> {
        if sample < MISHAPS_FROM {
            return None;
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

impl SimulatedPost {
    /// A point whose meter signs with `key`, with what is kept of it. Vehicles and noise follow from `seed`.
    ///
    /// # Errors
    /// [`ChargingError::State`].
    pub fn new(
        evse: EvseId,
        key: MeterKey,
        seed: u64,
        pace: Pace,
        journal: Box<dyn Journal + Send>,
        kept: AgentState,
    ) -> Result<Self, ChargingError> {
        let (journal, mishaps) = (SharedJournal::new(journal), Mishaps::default());
        let street = kept.get(STREET, "")?.unwrap_or(Street { sessions: 0, register: WattHours::ZERO });
        let (calibration, fault) = (Calibration::NONE, None);
        Ok(Self { evse, key, seed, pace, street, kept, journal, mishaps, calibration, fault })
    }

    /// The same with a correction of its current sensor.
    #[must_use]
    pub fn calibrated(self, calibration: Calibration) -> Self {
        Self { calibration, ..self }
    }

    /// What is going to happen to it.
    #[must_use]
    pub fn mishaps(&self) -> Mishaps {
        self.mishaps.clone()
    }

    /// The meter's public key, for the station's credential.
    #[must_use]
    pub fn meter_key(&self) -> MeterPublicKey {
        self.key.public()
    }

    fn keep(&mut self, street: Street) -> Result<(), PostError> {
        self.kept.write(Changes::new().put(STREET, "", &street))?;
        self.street = street;
        Ok(())
    }

    /// The bench of the session that is counted, with what was delivered in it.
    fn bench(&self, register: WattHours) -> Bench {
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.street.sessions);
        // Between a fifth and four fifths full when it comes.
        let came_with = 2_000 + seed % 6_001;
        let vehicle = self.pace.vehicle(came_with);
        let delivered = register.checked_sub(self.street.register).unwrap_or(WattHours::ZERO);
        // Of what is delivered, 92 % reach the battery.
        let taken = delivered.milli_wh().saturating_mul(9_200) / vehicle.capacity.milli_wh().max(1);
        let charge = came_with.saturating_add(taken).min(10_000);
        Bench::new(Vehicle { charge, ..vehicle }, register, seed)
    }

    fn writer(&self) -> Result<RecordWriter, WriteError> {
        let serial = format!("SIM-{}", self.evse.normalised());
        RecordWriter::new(self.key.clone(), Bench::meter(&serial), self.evse.clone())
    }

    fn open(
        &self,
        bench: &Bench,
        at: UnixMillis,
    ) -> Result<(ChargePoint<PostJournal>, Vec<Notice>), PostError> {
        let (settings, journal) = (self.pace.settings(), self.journal.clone());
        let writer = self.writer().map_err(ChargePointError::from)?;
        let sensor = Box::new(Corrected::new(bench.clone(), self.calibration));
        let hardware = Hardware { sensor, ..bench.hardware() };
        Ok(ChargePoint::open(settings, hardware, writer, journal, at)?)
    }

    fn begin(
        &mut self,
        ChargeOrder { session, limits, enabled, clock }: ChargeOrder<'_>,
    ) -> Result<Session, PostError> {
        let sessions = self.street.sessions + 1;
        self.keep(Street { sessions, ..self.street })?;
        let bench = self.bench(self.street.register);
        let start = now();
        bench.advance(start);
        let (mut point, notices) = self.open(&bench, start)?;
        point.offer(session.clone(), start.checked_add(SAMPLE_EVERY).unwrap_or(start), start)?;
        let wanted = limits.energy_max.map_or(enabled.energy_max, |max| max.min(enabled.energy_max));
        let limits = Limits {
            energy_max: wanted,
            amount_max: enabled.amount_max,
            leaves_at: limits.leaves_at,
            current_max: limits.current_max,
        };
        point.enable(limits, clock, start)?;
        bench.inject(Injection::Plug);
        Ok(Session { bench, point, start, at: start, notices })
    }

    /// The session that the journal holds, taken up again.
    fn take_up(&mut self) -> Result<Option<Session>, PostError> {
        let entries = self.journal.entries()?;
        if entries.is_empty() {
            return Ok(None);
        }
        let metered = entries.iter().rev().find_map(|entry| match entry {
            Entry::Event { at, event: Event::Metered { register, .. } } => Some((*at, *register)),
            _ => None,
        });
        let (last, register) = metered.unwrap_or((UnixMillis::EPOCH, self.street.register));
        let bench = self.bench(register);
        // Hours that pass at once are left out of the clock at the end of a charge only.
        let at = now().max(last);
        bench.advance(at);
        bench.inject(Injection::Plug);
        let (mut point, notices) = self.open(&bench, at)?;
        match point.state() {
            // It came to nothing: the driver has gone, and what was reserved expires.
            State::Offered { .. } => point.withdraw(at)?,
            State::Faulted { fault, ended: None } => self.fault = Some(*fault),
            State::Idle => {}
            _ => return Ok(Some(Session { bench, point, start: at, at, notices })),
        }
        Ok(None)
    }

    /// Takes the fault out of the journal. One that has a charge to settle stays.
    fn clear(&mut self) -> Result<(), PostError> {
        let (bench, at) = (self.bench(self.street.register), now());
        bench.advance(at);
        let (mut point, _) = self.open(&bench, at)?;
        point.repair(at)?;
        self.fault = None;
        Ok(())
    }

    fn run(
        &mut self,
        session: Session,
        prices: &dyn PriceSoFar,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Charged, PostError> {
        let Session { bench, mut point, start, mut at, mut notices } = session;
        for sample in 0..SAMPLES_MAX {
            match self.mishaps.next(sample) {
                None => {}
                Some(Mishap::MeterBackwards) => {
                    bench.inject(Injection::MeterBackwards(bench.delivered()));
                }
                Some(Mishap::PowerCut(lasts)) => {
                    bench.inject(Injection::PowerCut);
                    at = at.checked_add(lasts).unwrap_or(at);
                    bench.advance(at);
                    bench.inject(Injection::PowerBack);
                    let (again, said) = self.open(&bench, at)?;
                    point = again;
                    notices.extend(said);
                }
                Some(Mishap::Meanwhile(happens)) => happens(),
            }
            if point.state().ended().is_none() {
                notices.extend(point.poll(at, prices)?);
            }
            let progress = notices.iter().find_map(|notice| match notice {
                Notice::Progress(progress) => Some(*progress),
                Notice::Ended(_) => None,
            });
            if let Some(by) = watch(progress.filter(|_| self.pace == Pace::RealTime))
                && point.state().ended().is_none()
            {
                notices.extend(point.stop(by, at)?);
            }
            notices.clear();
            if let Some(ended) = point.state().ended().cloned() {
                let readings = point.readings();
                // From here on the charging point is free, and the message is safe.
                let message = ended.pages.map(|_| account(&readings)).transpose()?;
                point.settle(message.as_deref(), at)?;
                bench.inject(Injection::Unplug);
                self.fault = match point.state() {
                    State::Faulted { fault, .. } => Some(*fault),
                    _ => None,
                };
                self.keep(Street { register: bench.delivered(), ..self.street })?;
                if self.pace == Pace::AtOnce {
                    leave_out(at.since(start).unwrap_or(DurationMs::ZERO));
                }
                let eroam_station::process::Ended { reason, start, end, energy, .. } = ended;
                return Ok(Charged { reason, start, end, energy, readings });
            }
            at = self.pace.next(at);
            bench.advance(at);
        }
        Err(PostError::NoEnd)
    }
}

/// Why a simulated charge comes to nothing.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error(transparent)]
    Point(#[from] ChargePointError),
    #[error("the account cannot be written")]
    Account(#[from] serde_json::Error),
    #[error("the charge does not end")]
    NoEnd,
    #[error("the journal holds a charge of which nothing else is known")]
    Unknown,
    #[error("the journal")]
    Journal(#[from] JournalError),
    #[error("what is kept of the simulation")]
    State(#[from] StateError),
}

impl Post for SimulatedPost {
    fn charge(
        &mut self,
        order: ChargeOrder<'_>,
        prices: &dyn PriceSoFar,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Charged, String> {
        let begun = self.begin(order);
        let ran = begun.and_then(|session| self.run(session, prices, watch, account));
        ran.map_err(|error| chain(&error))
    }

    fn resume(
        &mut self,
        prices: Option<&dyn PriceSoFar>,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Option<Charged>, String> {
        let resumed = self.take_up().and_then(|session| match (session, prices) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(PostError::Unknown),
            (Some(session), Some(prices)) => self.run(session, prices, watch, account).map(Some),
        });
        resumed.map_err(|error| chain(&error))
    }

    fn fault(&self) -> Option<String> {
        self.fault.map(|fault| fault.to_string())
    }

    fn repair(&mut self) -> Result<(), String> {
        self.clear().map_err(|error| chain(&error))
    }

    fn outbox(&self) -> Box<dyn Journal + Send> {
        Box::new(self.journal.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::cdr::SessionId;
    use eroam_domain::time::LocalClock;
    use eroam_domain::visit::{ChargeLimits, Enabled, EndReason};
    use eroam_station::journal::MemoryJournal;
    use eroam_station::metering::SoFar;

    struct Free;

    impl PriceSoFar for Free {
        fn price(&self, _: &SoFar) -> Option<i64> {
            Some(0)
        }
    }

    fn charged_with(calibration: Calibration) -> Charged {
        let (key, journal) = (MeterKey::from_bytes(&[7; 32]).unwrap(), Box::new(MemoryJournal::default()));
        let evse = "PT*GLP*E0001".parse().unwrap();
        let post = SimulatedPost::new(evse, key, 1, Pace::AtOnce, journal, AgentState::in_memory()).unwrap();
        let energy_max = WattHours::from_milli_wh(3_000_000);
        let enabled = Enabled { energy_max, amount_max: 1, priority: 0 };
        let session = SessionId::new("s1").unwrap();
        let (limits, clock) = (ChargeLimits::default(), LocalClock::UTC);
        let order = ChargeOrder { session: &session, limits, enabled: &enabled, clock };
        post.calibrated(calibration)
            .charge(order, &Free, &mut |_| None, &|readings| serde_json::to_string(readings))
            .unwrap()
    }

    #[test]
    fn a_station_believes_its_sensor_as_far_as_it_was_calibrated() {
        assert_eq!(charged_with(Calibration::NONE).reason, EndReason::EnergyReached);
        // The vehicle takes 16 A of the 32 that it is offered; with a sensor that is corrected to four times that, the station
        // sees more than it offered, and switches off.
        let charged = charged_with(Calibration { gain: 4.0, offset_a: 0.0 });
        assert_eq!(charged.reason, EndReason::Fault);
        assert!(charged.energy < WattHours::from_milli_wh(1_000_000), "{charged:?}");
    }
}
