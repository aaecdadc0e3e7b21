//! A simulated charging point behind a station's agent: the station's own code on a simulated bench, in which time
//! passes as fast as it can be computed.

use super::station::{Charged, Post};
use crate::clock::{leave_out, now};
use eroam_domain::cdr::SessionId;
use eroam_domain::ids::EvseId;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::LocalClock;
use eroam_domain::visit::{ChargeLimits, Enabled};
use eroam_station::charge_point::{ChargePoint, ChargePointError, Notice};
use eroam_station::hardware::simulated::{Bench, Injection, Vehicle};
use eroam_station::journal::MemoryJournal;
use eroam_station::metering::PriceSoFar;
use eroam_station::process::{Limits, Settings, StoppedBy};
use eroam_wire::ocmf::{MeterKey, MeterPublicKey, RecordWriter};

/// So often the hardware is looked at, in simulated time.
const SAMPLE_EVERY: DurationMs = DurationMs::from_millis(10_000);
/// A charge that lasts longer has gone wrong.
const SAMPLES_MAX: u32 = 100_000;

/// A charging point with a vehicle that comes for each session.
pub struct SimulatedPost {
    evse: EvseId,
    key: MeterKey,
    seed: u64,
    sessions: u64,
    /// What the meter counted in earlier sessions.
    register: WattHours,
    journal: MemoryJournal,
}

impl SimulatedPost {
    /// A point whose meter signs with `key`. Vehicles and noise follow from `seed`.
    #[must_use]
    pub fn new(evse: EvseId, key: MeterKey, seed: u64) -> Self {
        Self { evse, key, seed, sessions: 0, register: WattHours::ZERO, journal: MemoryJournal::default() }
    }

    /// The meter's public key, for the station's credential.
    #[must_use]
    pub fn meter_key(&self) -> MeterPublicKey {
        self.key.public()
    }

    fn run(
        &mut self,
        session: &SessionId,
        limits: ChargeLimits,
        enabled: &Enabled,
        prices: &dyn PriceSoFar,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> Result<Charged, ChargePointError> {
        self.sessions += 1;
        let seed = self.seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(self.sessions);
        // Between a fifth and four fifths full.
        let vehicle = Vehicle::compact(2_000 + seed % 6_001);
        let bench = Bench::new(vehicle, self.register, seed);
        let serial = format!("SIM-{}", self.evse.normalised());
        let writer = RecordWriter::new(self.key.clone(), Bench::meter(&serial), self.evse.clone())?;
        let start = now();
        bench.advance(start);
        let journal = std::mem::take(&mut self.journal);
        let (mut point, _) =
            ChargePoint::open(Settings::standard(), bench.hardware(), writer, journal, start)?;
        point.offer(session.clone(), start.checked_add(SAMPLE_EVERY).unwrap_or(start), start)?;
        let wanted = limits.energy_max.map_or(enabled.energy_max, |max| max.min(enabled.energy_max));
        let limits = Limits {
            energy_max: wanted,
            amount_max: enabled.amount_max,
            leaves_at: limits.leaves_at,
            current_max: limits.current_max,
        };
        point.enable(limits, LocalClock::UTC, start)?;
        bench.inject(Injection::Plug);
        let mut at = start;
        for _ in 0..SAMPLES_MAX {
            let mut notices = point.poll(at, prices)?;
            if is_stopped() {
                notices.extend(point.stop(StoppedBy::Driver, at)?);
            }
            let ended = notices.into_iter().find_map(|notice| match notice {
                Notice::Ended(ended) => Some(ended),
                Notice::Progress(_) => None,
            });
            if let Some(ended) = ended {
                let readings = point.readings();
                // Accounted for by the caller, who waits for the answer.
                point.settle(None, at)?;
                bench.inject(Injection::Unplug);
                self.register = bench.delivered();
                self.journal = point.journal().clone();
                leave_out(at.since(start).unwrap_or(DurationMs::ZERO));
                let eroam_station::process::Ended { reason, start, end, energy, .. } = ended;
                return Ok(Charged { reason, start, end, energy, readings });
            }
            at = at.checked_add(SAMPLE_EVERY).unwrap_or(at);
            bench.advance(at);
        }
        Err(ChargePointError::Pages)
    }
}

impl Post for SimulatedPost {
    fn charge(
        &mut self,
        session: &SessionId,
        limits: ChargeLimits,
        enabled: &Enabled,
        prices: &dyn PriceSoFar,
        is_stopped: &mut dyn FnMut() -> bool,
    ) -> Result<Charged, String> {
        self.run(session, limits, enabled, prices, is_stopped).map_err(|error| error.to_string())
    }
}
