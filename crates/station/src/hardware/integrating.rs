//! A meter made of a current sensor: current times the nominal voltage, summed up over time, as the station of paper B
//! (section 4.6) measures. It is as exact as the mains' voltage is constant, and no authority certifies it.

use super::{CurrentSensor, HardwareError};
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use eroam_domain::time::UnixMillis;

/// Sums up energy from currents. The host feeds it and keeps its register over restarts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EnergyIntegrator {
    volts: u64,
    phases: u64,
    register: WattHours,
    last: Option<(UnixMillis, Watts)>,
    gap_max: DurationMs,
}

impl EnergyIntegrator {
    /// From `register` on, for `phases` phases of `volts` volts against the neutral. Between two currents further apart
    /// than `gap_max` nothing is counted, since nobody knows what flowed.
    #[must_use]
    pub const fn new(register: WattHours, volts: u64, phases: u64, gap_max: DurationMs) -> Self {
        Self { volts, phases, register, last: None, gap_max }
    }

    /// The current of each phase at `at`. What flowed since the last one is taken to be the smaller of the two, so that a
    /// driver never pays for current that was not there. A clock that went back starts anew.
    pub fn add(&mut self, at: UnixMillis, current: MilliAmperes) {
        let power = current.get().checked_mul(self.volts).and_then(|p| p.checked_mul(self.phases));
        let power = Watts::new(power.and_then(|p| p.checked_div(1_000)).unwrap_or(0));
        if let Some((before, earlier)) = self.last
            && let Some(duration) = at.since(before).filter(|d| *d <= self.gap_max)
            && let Some(energy) = power.min(earlier).energy_over(duration)
        {
            self.register = self.register.checked_add(energy).unwrap_or(self.register);
        }
        self.last = Some((at, power));
    }

    /// What was counted.
    #[must_use]
    pub const fn register(&self) -> WattHours {
        self.register
    }

    /// Reads `sensor` and adds what it shows.
    ///
    /// # Errors
    /// The sensor's.
    pub fn read(&mut self, sensor: &mut dyn CurrentSensor, at: UnixMillis) -> Result<(), HardwareError> {
        self.add(at, sensor.current()?);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> UnixMillis {
        UnixMillis::new(seconds * 1_000).unwrap()
    }

    #[test]
    fn an_hour_of_sixteen_amperes_on_three_phases() {
        let mut meter =
            EnergyIntegrator::new(WattHours::from_milli_wh(5), 230, 3, DurationMs::from_millis(10_000));
        for second in (0..=3_600).step_by(10) {
            meter.add(at(second), MilliAmperes::new(16_000));
        }
        // 11,040 W for an hour; each step is rounded down by less than a thousandth of a watt-hour.
        let counted = meter.register().milli_wh() - 5;
        assert!((11_039_600..=11_040_000).contains(&counted), "{counted}");
    }

    #[test]
    fn gaps_and_clocks_that_go_back_count_nothing() {
        let mut meter = EnergyIntegrator::new(WattHours::ZERO, 230, 1, DurationMs::from_millis(10_000));
        for second in [100, 111, 50, 40] {
            meter.add(at(second), MilliAmperes::new(10_000));
            assert_eq!(meter.register(), WattHours::ZERO, "{second}");
        }
        meter.add(at(41), MilliAmperes::ZERO);
        assert_eq!(meter.register(), WattHours::ZERO, "the smaller current counts");
    }
}
