//! A current sensor with its correction in front of it.

use super::{CurrentSensor, HardwareError};
use crate::calibration::Calibration;
use eroam_domain::quantity::MilliAmperes;

/// A sensor whose readings are corrected as it was calibrated.
#[derive(Clone, Debug)]
pub struct Corrected<S> {
    sensor: S,
    calibration: Calibration,
}

impl<S: CurrentSensor> Corrected<S> {
    /// `sensor` must not correct by itself.
    #[must_use]
    pub const fn new(sensor: S, calibration: Calibration) -> Self {
        Self { sensor, calibration }
    }
}

impl<S: CurrentSensor> CurrentSensor for Corrected<S> {
    fn current(&mut self) -> Result<MilliAmperes, HardwareError> {
        // A float has all milliamperes below 2^53 exactly.
        Ok(self.calibration.correct(self.sensor.current()?.get() as f64 / 1_000.0))
    }
}
