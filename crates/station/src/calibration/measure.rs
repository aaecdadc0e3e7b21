//! Measuring what is calibrated: a sensor beside a reference, through the same trait that a station reads.

use super::Pair;
use crate::hardware::simulated::{Bench, Injection, Vehicle};
use crate::hardware::{CurrentSensor, ElectricVehicle as _, HardwareError, Relay as _};
use eroam_domain::quantity::{DurationMs, MilliAmperes, WattHours};
use eroam_domain::time::UnixMillis;

/// The currents of the simulated bench, in amperes: paper B's range, above what a vehicle takes at least.
const CURRENTS_A: [u64; 7] = [0, 6, 10, 16, 20, 25, 30];
/// Between two measurements there.
const EVERY: DurationMs = DurationMs::from_millis(600_000);
/// A day of them.
const MEASUREMENTS: usize = 145;

/// What a sensor shows beside a reference of `reference_a` amperes at `at`. The sensor must not correct.
///
/// # Errors
/// The sensor's.
pub fn pair(sensor: &mut dyn CurrentSensor, reference_a: f64, at: UnixMillis) -> Result<Pair, HardwareError> {
    Ok(Pair { at, reference_a, reading_a: amperes(sensor.current()?) })
}

fn amperes(current: MilliAmperes) -> f64 {
    current.get() as f64 / 1_000.0
}

/// A day at the simulated bench, from `from` on: its sensor beside the current that really flows. `sensor` is made of the
/// bench's own, for a bench whose sensor is off by more than noise.
///
/// # Errors
/// The bench's; none unless something is wrong with the simulation.
pub fn at_the_bench<S: CurrentSensor>(
    seed: u64,
    from: UnixMillis,
    sensor: impl FnOnce(Bench) -> S,
) -> Result<Vec<Pair>, HardwareError> {
    // A battery that is never full takes whatever is offered.
    let capacity = WattHours::from_milli_wh(u64::MAX / 2);
    let vehicle = Vehicle { capacity, charge: 0, current_max: MilliAmperes::new(32_000), phases: 1 };
    let mut bench = Bench::new(vehicle, WattHours::ZERO, seed);
    let mut sensor = sensor(bench.clone());
    bench.inject(Injection::Plug);
    bench.switch(true)?;
    let (mut pairs, mut at) = (Vec::with_capacity(MEASUREMENTS), from);
    for current in CURRENTS_A.iter().cycle().take(MEASUREMENTS) {
        bench.advance(at);
        bench.offer(MilliAmperes::new(current.saturating_mul(1_000)))?;
        pairs.push(pair(&mut sensor, amperes(bench.true_current()), at)?);
        at = at.checked_add(EVERY).unwrap_or(at);
    }
    Ok(pairs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calibration::Calibration;
    use crate::hardware::corrected::Corrected;

    /// A sensor with a wrong transformer: it shows a fifth too little.
    struct TooLittle(Bench);

    impl CurrentSensor for TooLittle {
        fn current(&mut self) -> Result<MilliAmperes, HardwareError> {
            let shown = self.0.current()?.get();
            Ok(MilliAmperes::new(shown * 4 / 5))
        }
    }

    fn start() -> UnixMillis {
        UnixMillis::new(1_795_258_800_000).unwrap()
    }

    #[test]
    fn the_bench_is_measured_over_the_whole_range_for_a_day() {
        let pairs = at_the_bench(1, start(), |bench| bench).unwrap();
        let references: std::collections::BTreeSet<u64> =
            pairs.iter().map(|pair| (pair.reference_a * 1_000.0).round() as u64).collect();
        assert_eq!(references, CURRENTS_A.map(|current| current * 1_000).into());
        let report = Calibration::NONE.report(&pairs);
        assert_eq!(report.duration, DurationMs::from_secs(86_400).unwrap());
        // The bench's noise is five per cent, and it does not drift.
        assert!((0.02..0.06).contains(&report.mean_relative_error.unwrap()), "{report:?}");
        assert!(report.drift_a_per_day.unwrap().abs() < 1.0, "{report:?}");
        assert_eq!(at_the_bench(1, start(), |bench| bench).unwrap(), pairs, "the same seed");
        assert_ne!(at_the_bench(2, start(), |bench| bench).unwrap(), pairs);
    }

    #[test]
    fn what_was_calibrated_on_one_day_corrects_on_another() {
        let calibration = Calibration::fit(&at_the_bench(1, start(), TooLittle).unwrap()).unwrap();
        assert!((calibration.gain - 1.25).abs() < 0.03, "{calibration:?}");
        let raw = at_the_bench(2, start(), TooLittle).unwrap();
        let corrected =
            at_the_bench(2, start(), |bench| Corrected::new(TooLittle(bench), calibration)).unwrap();
        let error = |pairs| Calibration::NONE.report(pairs).mean_relative_error.unwrap();
        assert!(error(&raw) > 0.15 && error(&corrected) < 0.06, "{} {}", error(&raw), error(&corrected));
    }
}
