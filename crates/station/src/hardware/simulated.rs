//! A charging point with a vehicle in front of it, simulated: a battery that fills, a sensor that is off by some per
//! cent, and every fault that a test wants to see.
//!
//! ```text
//! current   limit -----------.                 limit = min(vehicle, offered)
//!                             \                from 80 % of charge on it falls in proportion,
//!                              \___ 5 %        down to a twentieth, until the battery is full
//!           0 %              80 %     100 %
//! ```
//! Time comes in by [`Bench::advance`]; between two calls nothing happens. The same seed gives the same noise.

use super::{CurrentSensor, ElectricVehicle, EnergyMeter, Hardware, HardwareError, Part, Relay};
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::time::UnixMillis;
use eroam_wire::ocmf::{CurrentKind, MeterDescription};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Volts of a phase against the neutral.
const VOLTS: u64 = 230;
/// Below this a vehicle takes nothing (IEC 61851).
const OFFER_MIN: MilliAmperes = MilliAmperes::new(6_000);
/// From this state of charge on the current falls, in ten-thousandths.
const TAPER_FROM: u64 = 8_000;
/// All of it.
const WHOLE: u64 = 10_000;
/// What of the energy from the mains reaches the battery, in ten-thousandths.
const EFFICIENCY: u64 = 9_200;
/// The standard deviation of the sensor, in thousandths of what it measures.
const NOISE_PER_MILLE: u64 = 50;
/// Time is cut into steps of at most so many milliseconds.
const STEP_MS: i64 = 10_000;

/// The vehicle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vehicle {
    /// What the battery holds when it is full.
    pub capacity: WattHours,
    /// How full it is, in ten-thousandths.
    pub charge: u64,
    /// The most current of a phase that it takes.
    pub current_max: MilliAmperes,
    /// Phases that it charges on.
    pub phases: u64,
}

impl Vehicle {
    /// A compact car: 50 kWh, three phases of 16 A, with `charge` ten-thousandths in the battery.
    #[must_use]
    pub const fn compact(charge: u64) -> Self {
        Self {
            capacity: WattHours::from_milli_wh(50_000_000),
            charge,
            current_max: MilliAmperes::new(16_000),
            phases: 3,
        }
    }
}

/// What can be done to a bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Injection {
    /// The vehicle is plugged in.
    Plug,
    /// The vehicle is unplugged.
    Unplug,
    /// The vehicle stops asking for current, or asks again.
    Pause(bool),
    /// The meter shows so much less than it counted.
    MeterBackwards(WattHours),
    /// The meter does not answer, or does again.
    MeterSilent(bool),
    /// The sensor does not answer, or does again.
    SensorSilent(bool),
    /// The relay stays on, whatever it is told, or obeys again.
    RelayStuck(bool),
    /// Mains and station are without power: nothing flows, nothing answers, the relay falls off.
    PowerCut,
    /// They have power again; the relay stays off until it is switched.
    PowerBack,
}

/// A seeded generator: SplitMix64.
#[derive(Clone, Debug)]
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// About normal with mean zero, in thousandths of the standard deviation: twelve uniform numbers less their mean.
    fn normal_per_mille(&mut self) -> i64 {
        let sum: i64 = (0..12).map(|_| i64::try_from(self.next() % 1_001).unwrap_or(0)).sum();
        sum.wrapping_sub(6_000)
    }
}

#[derive(Debug)]
struct World {
    vehicle: Vehicle,
    /// Thousandths of a watt-hour in the battery.
    battery: u64,
    is_plugged: bool,
    is_paused: bool,
    offered: MilliAmperes,
    relay_on: bool,
    relay_stuck: bool,
    has_power: bool,
    register: WattHours,
    meter_lag: WattHours,
    meter_silent: bool,
    sensor_silent: bool,
    noise: Noise,
    now: Option<UnixMillis>,
}

impl World {
    fn current(&self) -> MilliAmperes {
        let is_connected = self.has_power && (self.relay_on || self.relay_stuck) && self.is_plugged;
        if !is_connected || self.is_paused || self.offered < OFFER_MIN {
            return MilliAmperes::ZERO;
        }
        let limit = self.vehicle.current_max.min(self.offered).get();
        let charge = self.charge();
        if charge >= WHOLE {
            return MilliAmperes::ZERO;
        }
        let left = WHOLE.saturating_sub(charge.max(TAPER_FROM));
        let tapered = limit.saturating_mul(left) / (WHOLE - TAPER_FROM);
        MilliAmperes::new(tapered.max(limit / 20))
    }

    /// How full the battery is, in ten-thousandths.
    fn charge(&self) -> u64 {
        let of = u128::from(self.vehicle.capacity.milli_wh()).max(1);
        let parts = u128::from(self.battery).saturating_mul(u128::from(WHOLE)).checked_div(of);
        parts.and_then(|p| u64::try_from(p).ok()).unwrap_or(WHOLE)
    }

    fn power(&self) -> Watts {
        let watts = self.current().get().saturating_mul(VOLTS).saturating_mul(self.vehicle.phases) / 1_000;
        Watts::new(watts)
    }

    fn advance(&mut self, now: UnixMillis) {
        let mut from = *self.now.get_or_insert(now);
        while from < now {
            let step = now.get().saturating_sub(from.get()).min(STEP_MS);
            let Some(to) = UnixMillis::new(from.get().saturating_add(step)) else { return };
            let duration = DurationMs::from_millis(u64::try_from(step).unwrap_or(0));
            let energy = self.power().energy_over(duration).unwrap_or(WattHours::ZERO);
            self.register = self.register.checked_add(energy).unwrap_or(self.register);
            let stored = energy.milli_wh().saturating_mul(EFFICIENCY) / WHOLE;
            self.battery = self.battery.saturating_add(stored).min(self.vehicle.capacity.milli_wh());
            from = to;
            self.now = Some(to);
        }
    }
}

/// The simulated charging point. Clones are the same one.
#[derive(Clone, Debug)]
pub struct Bench(Arc<Mutex<World>>);

impl Bench {
    /// A bench with `vehicle` standing in front of it, not plugged in, whose meter shows `register`.
    #[must_use]
    pub fn new(vehicle: Vehicle, register: WattHours, seed: u64) -> Self {
        let full = vehicle.capacity.milli_wh();
        let battery =
            u128::from(full).saturating_mul(u128::from(vehicle.charge)).checked_div(u128::from(WHOLE));
        Self(Arc::new(Mutex::new(World {
            vehicle,
            battery: battery.and_then(|b| u64::try_from(b).ok()).map_or(full, |b| b.min(full)),
            is_plugged: false,
            is_paused: false,
            offered: MilliAmperes::ZERO,
            relay_on: false,
            relay_stuck: false,
            has_power: true,
            register,
            meter_lag: WattHours::ZERO,
            meter_silent: false,
            sensor_silent: false,
            noise: Noise(seed),
            now: None,
        })))
    }

    /// Its meter: not certified, and it says so.
    #[must_use]
    pub fn meter(serial: &str) -> MeterDescription {
        MeterDescription {
            vendor: "eroam".to_owned(),
            model: "simulated meter".to_owned(),
            serial: serial.to_owned(),
            firmware: env!("CARGO_PKG_VERSION").to_owned(),
            certified: false,
            kind: CurrentKind::Ac,
        }
    }

    /// Its parts, for a station.
    #[must_use]
    pub fn hardware(&self) -> Hardware {
        let part = || Box::new(self.clone());
        Hardware { relay: part(), meter: part(), sensor: part(), vehicle: part() }
    }

    /// Lets time pass until `now`. A time that is not later changes nothing.
    pub fn advance(&self, now: UnixMillis) {
        self.world().advance(now);
    }

    /// Does something to it.
    pub fn inject(&self, injection: Injection) {
        let mut world = self.world();
        match injection {
            Injection::Plug => world.is_plugged = true,
            Injection::Unplug => world.is_plugged = false,
            Injection::Pause(paused) => world.is_paused = paused,
            Injection::MeterBackwards(lag) => world.meter_lag = lag,
            Injection::MeterSilent(silent) => world.meter_silent = silent,
            Injection::SensorSilent(silent) => world.sensor_silent = silent,
            Injection::RelayStuck(stuck) => world.relay_stuck = stuck,
            Injection::PowerCut => (world.has_power, world.relay_on) = (false, false),
            Injection::PowerBack => world.has_power = true,
        }
    }

    /// Whether current can flow.
    #[must_use]
    pub fn is_on(&self) -> bool {
        let world = self.world();
        world.relay_on || world.relay_stuck
    }

    /// What the register counted, whatever it shows.
    #[must_use]
    pub fn delivered(&self) -> WattHours {
        self.world().register
    }

    /// The current that really flows.
    #[must_use]
    pub fn true_current(&self) -> MilliAmperes {
        self.world().current()
    }

    /// How full the battery is, in ten-thousandths.
    #[must_use]
    pub fn charge(&self) -> u64 {
        self.world().charge()
    }

    /// A panic of another thread does no harm to plain numbers.
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn powered(&self, part: Part) -> Result<MutexGuard<'_, World>, HardwareError> {
        let world = self.world();
        if world.has_power { Ok(world) } else { Err(HardwareError::silent(part)) }
    }
}

impl Relay for Bench {
    fn switch(&mut self, on: bool) -> Result<(), HardwareError> {
        self.powered(Part::Relay)?.relay_on = on;
        Ok(())
    }
}

impl EnergyMeter for Bench {
    fn register(&mut self) -> Result<WattHours, HardwareError> {
        let world = self.powered(Part::Meter)?;
        if world.meter_silent {
            return Err(HardwareError::silent(Part::Meter));
        }
        Ok(world.register.checked_sub(world.meter_lag).unwrap_or(WattHours::ZERO))
    }
}

impl CurrentSensor for Bench {
    fn current(&mut self) -> Result<MilliAmperes, HardwareError> {
        let mut world = self.powered(Part::Sensor)?;
        if world.sensor_silent {
            return Err(HardwareError::silent(Part::Sensor));
        }
        let (current, noise) =
            (i128::from(world.current().get()), i128::from(world.noise.normal_per_mille()));
        let off = current.saturating_mul(noise).saturating_mul(i128::from(NOISE_PER_MILLE)) / 1_000_000;
        let shown = u64::try_from(current.saturating_add(off).max(0)).unwrap_or(0);
        Ok(MilliAmperes::new(shown))
    }
}

impl ElectricVehicle for Bench {
    fn is_plugged(&mut self) -> Result<bool, HardwareError> {
        Ok(self.powered(Part::Vehicle)?.is_plugged)
    }

    fn wants_current(&mut self) -> Result<bool, HardwareError> {
        let world = self.powered(Part::Vehicle)?;
        Ok(world.is_plugged && !world.is_paused && world.charge() < WHOLE)
    }

    fn offer(&mut self, current: MilliAmperes) -> Result<(), HardwareError> {
        self.powered(Part::Vehicle)?.offered = current;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis::new(1_795_258_800_000 + seconds * 1_000).unwrap()
    }

    /// A bench that charges at 16 A from second 0 on.
    fn charging(charge: u64) -> Bench {
        let mut bench = Bench::new(Vehicle::compact(charge), WattHours::from_milli_wh(1_000_000), 1);
        bench.advance(at(0));
        bench.inject(Injection::Plug);
        bench.offer(MilliAmperes::new(16_000)).unwrap();
        bench.switch(true).unwrap();
        bench
    }

    #[test]
    fn it_charges_with_constant_current_and_then_with_less() {
        let bench = charging(5_000);
        let mut seen = Vec::new();
        for hour in 0..12 {
            seen.push((bench.charge(), bench.true_current().get()));
            bench.advance(at((hour + 1) * 3_600));
        }
        assert!(
            seen.iter().filter(|(charge, _)| *charge <= TAPER_FROM).all(|(_, ma)| *ma == 16_000),
            "{seen:?}"
        );
        assert!(seen.is_sorted_by(|a, b| a.1 >= b.1), "{seen:?}");
        assert!(seen.iter().any(|(_, ma)| (1_000..15_000).contains(ma)), "{seen:?}");
        assert_eq!((bench.charge(), bench.true_current()), (WHOLE, MilliAmperes::ZERO));
        // 25 kWh in the battery, and what was lost on the way.
        let delivered = bench.delivered().milli_wh() - 1_000_000;
        assert!((27_100_000..27_300_000).contains(&delivered), "{delivered}");
    }

    #[test]
    fn nothing_flows_unless_plugged_offered_powered_and_on() {
        for off in [Injection::Unplug, Injection::Pause(true), Injection::PowerCut] {
            let bench = charging(5_000);
            bench.inject(off);
            bench.advance(at(3_600));
            assert_eq!(bench.delivered(), WattHours::from_milli_wh(1_000_000), "{off:?}");
        }
        let mut bench = charging(5_000);
        bench.offer(MilliAmperes::new(5_999)).unwrap();
        assert_eq!(bench.true_current(), MilliAmperes::ZERO);
        bench.offer(MilliAmperes::new(10_000)).unwrap();
        assert_eq!(bench.true_current(), MilliAmperes::new(10_000));
        bench.switch(false).unwrap();
        assert_eq!(bench.true_current(), MilliAmperes::ZERO);
        bench.inject(Injection::RelayStuck(true));
        assert_eq!(bench.true_current(), MilliAmperes::new(10_000));
    }

    #[test]
    fn without_power_nothing_answers_and_the_relay_falls_off() {
        let mut bench = charging(5_000);
        bench.inject(Injection::PowerCut);
        assert!(bench.register().is_err() && bench.current().is_err());
        assert!(bench.is_plugged().is_err() && bench.switch(true).is_err());
        bench.inject(Injection::PowerBack);
        assert!(!bench.is_on());
        assert!(bench.register().is_ok());
    }

    #[test]
    fn the_sensor_is_off_by_five_per_cent_the_same_for_the_same_seed() {
        let samples = |bench: &mut Bench| -> Vec<i64> {
            (0..2_000).map(|_| bench.current().unwrap().get() as i64 - 16_000).collect()
        };
        let (mut first, mut second) = (charging(5_000), charging(5_000));
        let offs = samples(&mut first);
        assert_eq!(offs, samples(&mut second));
        let mean = offs.iter().sum::<i64>() / 2_000;
        let deviation = (offs.iter().map(|o| o * o).sum::<i64>() / 2_000).isqrt();
        assert!(mean.abs() < 100, "{mean}");
        assert!((700..900).contains(&deviation), "5 % of 16 A are 800 mA: {deviation}");
        first.inject(Injection::SensorSilent(true));
        assert!(first.current().is_err());
    }

    #[test]
    fn a_meter_that_goes_backwards_shows_less_than_it_counted() {
        let mut bench = charging(5_000);
        bench.inject(Injection::MeterBackwards(WattHours::from_milli_wh(10)));
        assert_eq!(bench.register().unwrap(), WattHours::from_milli_wh(999_990));
        bench.inject(Injection::MeterSilent(true));
        assert!(bench.register().is_err());
        assert!(!Bench::meter("SIM-1").certified);
    }
}
