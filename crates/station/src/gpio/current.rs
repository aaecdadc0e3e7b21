//! A split-core current transformer behind an ADS1115.

use crate::calibration::{Calibration, root_mean_square};
use crate::hardware::{CurrentSensor, HardwareError, Part};
use ads1x1x::ic::{Ads1115, Resolution16Bit};
use ads1x1x::mode::Continuous;
use ads1x1x::{Ads1x1x, DataRate16Bit, FullScaleRange, TargetAddr, channel};
use eroam_domain::quantity::MilliAmperes;
use rppal::i2c::I2c;
use std::time::Duration;

/// A step of the converter in volts, at a range of 2.048 V.
const VOLTS_PER_STEP: f64 = 2.048 / 32_768.0;
/// Samples of a measurement: ten periods of mains at 50 Hz, twelve at 60 Hz, at 860 a second.
const SAMPLES: usize = 172;
/// From one sample to the next.
const SAMPLE_TIME: Duration = Duration::from_micros(1_163);

/// The transformer and its resistor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transformer {
    /// Amperes of the wire for one ampere of the resistor: 2000 for 100 A : 50 mA.
    pub ratio: f64,
    /// In ohms.
    pub burden_ohms: f64,
}

/// Reads the current of one wire.
pub struct TransformerSensor {
    converter: Ads1x1x<I2c, Ads1115, Resolution16Bit, Continuous>,
    transformer: Transformer,
    calibration: Calibration,
}

impl TransformerSensor {
    /// The converter at its first address on the first bus, between A0 and A1.
    ///
    /// # Errors
    /// It does not answer.
    pub fn new(transformer: Transformer, calibration: Calibration) -> Result<Self, HardwareError> {
        let bus = I2c::new().map_err(|e| HardwareError { part: Part::Sensor, source: Some(Box::new(e)) })?;
        let mut converter = Ads1x1x::new_ads1115(bus, TargetAddr::default());
        converter.set_full_scale_range(FullScaleRange::Within2_048V).map_err(silent)?;
        converter.set_data_rate(DataRate16Bit::Sps860).map_err(silent)?;
        let mut converter =
            converter.into_continuous().map_err(|ads1x1x::ModeChangeError::I2C(error, _)| silent(error))?;
        converter.select_channel(channel::DifferentialA0A1).map_err(silent)?;
        Ok(Self { converter, transformer, calibration })
    }

    /// The root mean square in amperes, without correction, as the calibration command wants it. Takes 0.2 s.
    ///
    /// # Errors
    /// The converter does not answer.
    pub fn reading_a(&mut self) -> Result<f64, HardwareError> {
        let mut volts = Vec::with_capacity(SAMPLES);
        while volts.len() < SAMPLES {
            std::thread::sleep(SAMPLE_TIME);
            volts.push(f64::from(self.converter.read().map_err(silent)?) * VOLTS_PER_STEP);
        }
        let volts = root_mean_square(&volts).ok_or(HardwareError::silent(Part::Sensor))?;
        Ok(volts / self.transformer.burden_ohms * self.transformer.ratio)
    }
}

/// The driver's errors are not errors of the standard library.
fn silent<E: std::fmt::Debug>(error: E) -> HardwareError {
    HardwareError { part: Part::Sensor, source: Some(format!("{error:?}").into()) }
}

impl std::fmt::Debug for TransformerSensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "TransformerSensor({:?}, {:?})", self.transformer, self.calibration)
    }
}

impl CurrentSensor for TransformerSensor {
    fn current(&mut self) -> Result<MilliAmperes, HardwareError> {
        let reading_a = self.reading_a()?;
        Ok(self.calibration.correct(reading_a))
    }
}
