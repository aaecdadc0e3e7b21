//! A post with hardware of its own behind a station's agent, looked at once a sampling interval while somebody charges.
//!
//! ```text
//! Post::charge ─► offer, enable ─► look ─► look ─► .. ─► ended ─► account ─► settled
//!                                    └─ Looks: waits, reads what has to be read, says what time it is
//! ```
//! The charging point is opened once, with what its journal holds, so that the relay is off from the start on unless a charge
//! goes on. What it deliberately does not do: know of pins and buses. They come as [`Hardware`].

use super::state::StateError;
use super::station::{Account, ChargeOrder, Charged, Post};
use crate::causes::chain;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::Progress;
use eroam_station::charge_point::{ChargePoint, ChargePointError, Notice};
use eroam_station::hardware::Hardware;
use eroam_station::journal::{Journal, SharedJournal};
use eroam_station::metering::PriceSoFar;
use eroam_station::process::{Ended, Limits, Settings, State, StoppedBy};
use eroam_wire::ocmf::RecordWriter;

/// So long a quote that was accepted may wait to be enabled: both happen at once.
const OFFERED_FOR: DurationMs = DurationMs::from_millis(30_000);

/// What happens between two looks at the hardware.
pub trait Looks: Send {
    /// The time now.
    fn now(&self) -> UnixMillis;

    /// Waits for the next look and reads what is read once for each; gives the time of it.
    fn next(&mut self) -> UnixMillis;

    /// A session is about to be settled, and its readings leave the journal: keeps what has to outlive them.
    ///
    /// # Errors
    /// It is not kept.
    fn keep(&mut self) -> Result<(), StateError>;
}

type PostJournal = SharedJournal<Box<dyn Journal + Send>>;

/// A post with hardware.
pub struct HardwarePost {
    point: ChargePoint<PostJournal>,
    journal: PostJournal,
    looks: Box<dyn Looks>,
}

/// Why a charge comes to nothing.
#[derive(Debug, thiserror::Error)]
enum PostError {
    #[error(transparent)]
    Point(#[from] ChargePointError),
    #[error("the account cannot be written")]
    Account(#[from] serde_json::Error),
    #[error("the journal holds a charge of which nothing else is known")]
    Unknown,
    #[error("what the post keeps")]
    State(#[from] StateError),
}

impl HardwarePost {
    /// Takes the hardware up, with what the journal holds.
    ///
    /// # Errors
    /// [`ChargePointError`].
    pub fn open(
        settings: Settings,
        hardware: Hardware,
        writer: RecordWriter,
        journal: Box<dyn Journal + Send>,
        looks: Box<dyn Looks>,
    ) -> Result<Self, ChargePointError> {
        let journal = SharedJournal::new(journal);
        let (point, _) = ChargePoint::open(settings, hardware, writer, journal.clone(), looks.now())?;
        Ok(Self { point, journal, looks })
    }

    fn begin(
        &mut self,
        ChargeOrder { session, limits, enabled, clock }: ChargeOrder<'_>,
    ) -> Result<(), PostError> {
        let at = self.looks.now();
        self.point.offer(session.clone(), at.checked_add(OFFERED_FOR).unwrap_or(at), at)?;
        let wanted = limits.energy_max.map_or(enabled.energy_max, |max| max.min(enabled.energy_max));
        let limits = Limits {
            energy_max: wanted,
            amount_max: enabled.amount_max,
            leaves_at: limits.leaves_at,
            current_max: limits.current_max,
        };
        Ok(self.point.enable(limits, clock, at)?)
    }

    /// Until the session has ended and is settled.
    fn run(
        &mut self,
        prices: &dyn PriceSoFar,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Charged, PostError> {
        loop {
            let at = self.looks.next();
            let mut progress = None;
            if self.point.state().ended().is_none() {
                for notice in self.point.poll(at, prices)? {
                    if let Notice::Progress(so_far) = notice {
                        progress = Some(so_far);
                    }
                }
            }
            if let Some(by) = watch(progress)
                && self.point.state().ended().is_none()
            {
                self.point.stop(by, at)?;
            }
            if let Some(ended) = self.point.state().ended().cloned() {
                let readings = self.point.readings();
                // From here on the charging point is free, and the message is safe.
                let message = ended.pages.map(|_| account(&readings)).transpose()?;
                self.looks.keep()?;
                self.point.settle(message.as_deref(), at)?;
                let Ended { reason, start, end, energy, .. } = ended;
                return Ok(Charged { reason, start, end, energy, readings });
            }
        }
    }

    /// Goes on with what the journal held, if that is a charge.
    fn take_up(
        &mut self,
        prices: Option<&dyn PriceSoFar>,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Option<Charged>, PostError> {
        match self.point.state() {
            // It came to nothing: the driver has gone, and what was reserved expires.
            State::Offered { .. } => {
                self.point.withdraw(self.looks.now())?;
                Ok(None)
            }
            State::Idle | State::Faulted { ended: None, .. } => Ok(None),
            _ => self.run(prices.ok_or(PostError::Unknown)?, watch, account).map(Some),
        }
    }
}

impl Post for HardwarePost {
    fn charge(
        &mut self,
        order: ChargeOrder<'_>,
        prices: &dyn PriceSoFar,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Charged, String> {
        let ran = self.begin(order).and_then(|()| self.run(prices, watch, account));
        ran.map_err(|error| chain(&error))
    }

    fn resume(
        &mut self,
        prices: Option<&dyn PriceSoFar>,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Option<Charged>, String> {
        self.take_up(prices, watch, account).map_err(|error| chain(&error))
    }

    fn fault(&self) -> Option<String> {
        match self.point.state() {
            State::Faulted { fault, .. } => Some(fault.to_string()),
            _ => None,
        }
    }

    fn repair(&mut self) -> Result<(), String> {
        self.point.repair(self.looks.now()).map_err(|error| chain(&error))
    }

    fn outbox(&self) -> Box<dyn Journal + Send> {
        Box::new(self.journal.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::cdr::SessionId;
    use eroam_domain::quantity::WattHours;
    use eroam_domain::time::LocalClock;
    use eroam_domain::visit::{ChargeLimits, Enabled, EndReason};
    use eroam_station::hardware::simulated::{Bench, Injection, Vehicle};
    use eroam_station::journal::MemoryJournal;
    use eroam_station::metering::SoFar;
    use eroam_wire::ocmf::{MeterKey, MeteredSession};

    struct Free;

    impl PriceSoFar for Free {
        fn price(&self, _: &SoFar) -> Option<i64> {
            Some(0)
        }
    }

    /// Every ten seconds of the bench's time.
    #[derive(Clone)]
    struct BenchLooks {
        bench: Bench,
        at: UnixMillis,
    }

    impl Looks for BenchLooks {
        fn now(&self) -> UnixMillis {
            self.at
        }

        fn next(&mut self) -> UnixMillis {
            self.at = self.at.checked_add(DurationMs::from_millis(10_000)).unwrap();
            self.bench.advance(self.at);
            self.at
        }

        fn keep(&mut self) -> Result<(), StateError> {
            Ok(())
        }
    }

    fn key() -> MeterKey {
        MeterKey::from_bytes(&[7; 32]).unwrap()
    }

    fn bench() -> Bench {
        let bench = Bench::new(Vehicle::compact(3_000), WattHours::ZERO, 1);
        bench.advance(UnixMillis::EPOCH);
        bench.inject(Injection::Plug);
        bench
    }

    fn post(bench: &Bench, journal: &SharedJournal<MemoryJournal>, at: UnixMillis) -> HardwarePost {
        let writer = RecordWriter::new(key(), Bench::meter("1"), "PT*GLP*E0001".parse().unwrap()).unwrap();
        let looks = Box::new(BenchLooks { bench: bench.clone(), at });
        let journal = Box::new(journal.clone());
        HardwarePost::open(Settings::standard(), bench.hardware(), writer, journal, looks).unwrap()
    }

    fn charge(
        post: &mut HardwarePost,
        watch: &mut dyn FnMut(Option<Progress>) -> Option<StoppedBy>,
        account: Account<'_>,
    ) -> Result<Charged, String> {
        let enabled = Enabled { energy_max: WattHours::from_milli_wh(3_000_000), amount_max: 1, priority: 0 };
        let session = SessionId::new("s1").unwrap();
        let (limits, clock) = (ChargeLimits::default(), LocalClock::UTC);
        post.charge(
            ChargeOrder { session: &session, limits, enabled: &enabled, clock },
            &Free,
            watch,
            account,
        )
    }

    fn readings(readings: &str) -> Result<String, serde_json::Error> {
        Ok(readings.to_owned())
    }

    #[test]
    fn a_vehicle_charges_up_to_the_limit_and_the_account_waits_for_the_operator() {
        let (bench, journal) = (bench(), SharedJournal::<MemoryJournal>::default());
        let mut post = post(&bench, &journal, UnixMillis::EPOCH);
        assert!(!bench.is_on());
        let mut told = 0;
        let mut watch = |progress: Option<Progress>| {
            told += u32::from(progress.is_some());
            None
        };
        let charged = charge(&mut post, &mut watch, &readings).unwrap();
        assert_eq!(charged.reason, EndReason::EnergyReached);
        assert!(told > 10 && !bench.is_on(), "{told}");
        let waiting = post.outbox().waiting(9).unwrap();
        assert_eq!((waiting.len(), &waiting[0].message), (1, &charged.readings));
        let metered = MeteredSession::read(&charged.readings, &key().public()).unwrap();
        assert_eq!((metered.energy(), metered.end()), (charged.energy, charged.end));
        // The next one is served.
        assert_eq!(post.resume(None, &mut |_| None, &readings).unwrap(), None);
        let stops = &mut |_| Some(StoppedBy::Driver);
        assert_eq!(charge(&mut post, stops, &readings).unwrap().reason, EndReason::StoppedByDriver);
    }

    #[test]
    fn a_charge_goes_on_after_a_power_cut_and_one_of_nobody_is_not_begun() {
        let (bench, journal) = (bench(), SharedJournal::<MemoryJournal>::default());
        let mut first = post(&bench, &journal, UnixMillis::EPOCH);
        // As far as the account, which fails: the journal is as a power cut there leaves it.
        let fails = |_: &str| Err(serde::ser::Error::custom("power cut"));
        charge(&mut first, &mut |_| None, &fails).unwrap_err();
        let at = first.looks.now();
        drop(first);
        let mut again = post(&bench, &journal, at);
        assert!(again.resume(None, &mut |_| None, &readings).unwrap_err().contains("nothing else is known"));
        let charged = again.resume(Some(&Free), &mut |_| None, &readings).unwrap().expect("the charge");
        assert_eq!(charged.reason, EndReason::EnergyReached);
        assert_eq!(again.outbox().waiting(9).unwrap().len(), 1);
    }

    #[test]
    fn a_fault_is_there_after_a_power_cut_and_until_it_is_repaired() {
        let (bench, journal) = (bench(), SharedJournal::<MemoryJournal>::default());
        let mut post = post(&bench, &journal, UnixMillis::EPOCH);
        let mut looks = 0;
        let mut backwards = |_: Option<Progress>| {
            looks += 1;
            if looks == 20 {
                bench.inject(Injection::MeterBackwards(bench.delivered()));
            }
            None
        };
        assert_eq!(charge(&mut post, &mut backwards, &readings).unwrap().reason, EndReason::Fault);
        let fault = post.fault().expect("a fault");
        let at = post.looks.now();
        drop(post);
        let mut post = self::post(&bench, &journal, at);
        assert_eq!((post.resume(None, &mut |_| None, &readings).unwrap(), post.fault()), (None, Some(fault)));
        assert!(charge(&mut post, &mut |_| None, &readings).is_err(), "nobody is served");
        post.repair().unwrap();
        assert_eq!(post.fault(), None);
        assert!(post.repair().is_err(), "there is nothing to repair");
        let stops = &mut |_| Some(StoppedBy::Driver);
        assert_eq!(charge(&mut post, stops, &readings).unwrap().reason, EndReason::StoppedByDriver);
    }
}
