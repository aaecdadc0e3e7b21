//! Calibration of a current sensor against a reference, as paper B does (section 5.1): several devices between 0 and 30 A,
//! the mean error, and the drift over 24 hours.
//!
//! Floats are allowed here: nothing of it is billed. The result is a gain and an offset for the sensor.

pub mod measure;
pub mod samples;

use eroam_domain::quantity::{DurationMs, MilliAmperes};
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// The highest reference current, in amperes.
pub const REFERENCE_MAX_A: f64 = 30.0;
/// Over how long drift is reported.
const DAY_MS: f64 = 86_400_000.0;

/// One measurement of both.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// When.
    pub at: UnixMillis,
    /// What the reference shows, in amperes.
    pub reference_a: f64,
    /// What the sensor shows without correction, in amperes.
    pub reading_a: f64,
}

/// Why a calibration is not possible.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum CalibrationError {
    /// Two different currents are needed at least.
    #[error(
        "{0} different readings are too few: measure at two currents at least, better at five between 0 and 30 A"
    )]
    TooFew(usize),
    /// The reference is out of range, or a value is no number.
    #[error("pair {index} is no measurement between 0 and 30 A")]
    OutOfRange {
        /// Counted from zero.
        index: usize,
    },
    /// More current gives a smaller reading.
    #[error("the readings fall while the reference rises: is the transformer clamped on the right wire?")]
    Inverted,
}

/// Why a correction that was written cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CorrectionError {
    /// It is not what was written.
    #[error("this is no correction: it is written by `eroam station calibrate`")]
    Malformed(#[source] serde_json::Error),
    /// It is no correction of a sensor that measures.
    #[error("a gain of {gain} and an offset of {offset_a} A correct no sensor: calibrate again")]
    Absurd {
        /// Without unit.
        gain: f64,
        /// In amperes.
        offset_a: f64,
    },
}

/// The correction of a sensor: reference = gain x reading + offset.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Without unit.
    pub gain: f64,
    /// In amperes.
    pub offset_a: f64,
}

impl Calibration {
    /// No correction.
    pub const NONE: Self = Self { gain: 1.0, offset_a: 0.0 };

    /// Reads what [`Calibration::to_json`] wrote.
    ///
    /// # Errors
    /// [`CorrectionError`].
    pub fn from_json(text: &str) -> Result<Self, CorrectionError> {
        let Self { gain, offset_a } = serde_json::from_str(text).map_err(CorrectionError::Malformed)?;
        // More than the whole range is no offset, and a sensor that shows nothing is corrected by no gain.
        let fits = gain.is_finite() && gain > 0.0 && offset_a.abs() <= REFERENCE_MAX_A;
        if fits { Ok(Self { gain, offset_a }) } else { Err(CorrectionError::Absurd { gain, offset_a }) }
    }

    /// Writes it for a station.
    ///
    /// # Errors
    /// [`CorrectionError::Malformed`] if a number is none that JSON can say.
    pub fn to_json(&self) -> Result<String, CorrectionError> {
        serde_json::to_string_pretty(self).map_err(CorrectionError::Malformed)
    }

    /// By least squares.
    ///
    /// # Errors
    /// [`CalibrationError`].
    pub fn fit(pairs: &[Pair]) -> Result<Self, CalibrationError> {
        for (index, pair) in pairs.iter().enumerate() {
            let fits = (0.0..=REFERENCE_MAX_A).contains(&pair.reference_a) && pair.reading_a.is_finite();
            if !fits {
                return Err(CalibrationError::OutOfRange { index });
            }
        }
        let count = pairs.len() as f64;
        let mean = |of: fn(&Pair) -> f64| pairs.iter().map(of).sum::<f64>() / count;
        let (reading, reference) = (mean(|p| p.reading_a), mean(|p| p.reference_a));
        let spread: f64 = pairs.iter().map(|p| (p.reading_a - reading).powi(2)).sum();
        // A thousandth of an ampere apart is the same current.
        if pairs.len() < 2 || spread <= 1e-6 {
            return Err(CalibrationError::TooFew(usize::from(!pairs.is_empty())));
        }
        let joint: f64 = pairs.iter().map(|p| (p.reading_a - reading) * (p.reference_a - reference)).sum();
        let gain = joint / spread;
        if gain <= 0.0 {
            return Err(CalibrationError::Inverted);
        }
        Ok(Self { gain, offset_a: reference - gain * reading })
    }

    /// The current behind a reading in amperes, rounded to the nearest milliampere; never below zero.
    #[must_use]
    pub fn correct(&self, reading_a: f64) -> MilliAmperes {
        let milliamperes = (self.gain * reading_a + self.offset_a).max(0.0) * 1_000.0;
        // A float that is cast stops at the ends of the integer.
        MilliAmperes::new(milliamperes.round() as u64)
    }

    /// How good the correction is for `pairs`, which are best not those it was made from.
    #[must_use]
    pub fn report(&self, pairs: &[Pair]) -> Report {
        let errors: Vec<(UnixMillis, f64)> =
            pairs.iter().map(|p| (p.at, self.gain * p.reading_a + self.offset_a - p.reference_a)).collect();
        let count = errors.len().max(1) as f64;
        let mean_a = errors.iter().map(|(_, e)| e.abs()).sum::<f64>() / count;
        let relative: Vec<f64> = errors
            .iter()
            .zip(pairs)
            .filter(|(_, p)| p.reference_a > 0.0)
            .map(|((_, e), p)| e.abs() / p.reference_a)
            .collect();
        let mean_relative =
            (!relative.is_empty()).then(|| relative.iter().sum::<f64>() / relative.len() as f64);
        Report {
            pairs: errors.len(),
            mean_error_a: mean_a,
            greatest_error_a: errors.iter().map(|(_, e)| e.abs()).fold(0.0, f64::max),
            mean_relative_error: mean_relative,
            duration: span(pairs),
            drift_a_per_day: drift(&errors),
        }
    }
}

/// What a calibration is worth.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Measurements.
    pub pairs: usize,
    /// The mean of the errors without their signs, in amperes.
    pub mean_error_a: f64,
    /// The largest of them, in amperes.
    pub greatest_error_a: f64,
    /// The mean of the errors in parts of the reference, where that is not zero.
    pub mean_relative_error: Option<f64>,
    /// From the first measurement to the last.
    pub duration: DurationMs,
    /// By how much the error grows in 24 hours, by least squares over time, in amperes; `None` if less than an hour was
    /// measured, from which nothing follows for a day.
    pub drift_a_per_day: Option<f64>,
}

fn span(pairs: &[Pair]) -> DurationMs {
    let times = || pairs.iter().map(|p| p.at);
    times().max().zip(times().min()).and_then(|(last, first)| last.since(first)).unwrap_or(DurationMs::ZERO)
}

fn drift(errors: &[(UnixMillis, f64)]) -> Option<f64> {
    let first = errors.iter().map(|(at, _)| *at).min()?;
    let days: Vec<f64> =
        errors.iter().filter_map(|(at, _)| Some(at.since(first)?.millis() as f64 / DAY_MS)).collect();
    if days.iter().copied().fold(0.0, f64::max) < 1.0 / 24.0 {
        return None;
    }
    let count = errors.len() as f64;
    let (day, error) = (days.iter().sum::<f64>() / count, errors.iter().map(|(_, e)| e).sum::<f64>() / count);
    let spread: f64 = days.iter().map(|d| (d - day).powi(2)).sum();
    let joint: f64 = days.iter().zip(errors).map(|(d, (_, e))| (d - day) * (e - error)).sum();
    (spread > 0.0).then(|| joint / spread)
}

/// The root mean square of samples around their mean, so that a converter's own offset does not count.
#[must_use]
pub fn root_mean_square(samples: &[f64]) -> Option<f64> {
    if samples.is_empty() {
        return None;
    }
    let count = samples.len() as f64;
    let mean = samples.iter().sum::<f64>() / count;
    Some((samples.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / count).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn pair(hour: i64, reference_a: f64, reading_a: f64) -> Pair {
        Pair { at: UnixMillis::new(hour * 3_600_000).unwrap(), reference_a, reading_a }
    }

    #[test]
    fn a_linear_sensor_is_put_right() {
        // Shows 0.2 A more and a tenth less.
        let pairs: Vec<Pair> =
            [0.0, 2.0, 6.0, 10.0, 16.0, 30.0].iter().map(|&a| pair(0, a, a * 0.9 + 0.2)).collect();
        let calibration = Calibration::fit(&pairs).unwrap();
        assert!((calibration.gain - 1.0 / 0.9).abs() < 1e-9, "{calibration:?}");
        assert_eq!(calibration.correct(16.0 * 0.9 + 0.2), MilliAmperes::new(16_000));
        assert_eq!(calibration.correct(-1.0), MilliAmperes::ZERO);
        let report = calibration.report(&pairs);
        assert!(report.greatest_error_a < 1e-9 && report.mean_relative_error.unwrap() < 1e-9, "{report:?}");
        assert_eq!(report.drift_a_per_day, None);
    }

    #[test]
    fn drift_is_told_by_the_day() {
        let pairs: Vec<Pair> = (0..=24).map(|hour| pair(hour, 10.0, 10.0 + 0.01 * hour as f64)).collect();
        let report = Calibration::NONE.report(&pairs);
        assert!((report.drift_a_per_day.unwrap() - 0.24).abs() < 1e-9, "{report:?}");
        assert!((report.mean_error_a - 0.12).abs() < 1e-9, "{report:?}");
        assert_eq!(report.duration, DurationMs::from_secs(86_400).unwrap());
    }

    #[test]
    fn what_cannot_be_calibrated() {
        let fit = |pairs: &[Pair]| Calibration::fit(pairs).unwrap_err();
        assert_eq!(fit(&[]), CalibrationError::TooFew(0));
        assert_eq!(fit(&[pair(0, 1.0, 1.0), pair(1, 2.0, 1.0)]), CalibrationError::TooFew(1));
        assert_eq!(fit(&[pair(0, 1.0, 1.0), pair(1, 31.0, 2.0)]), CalibrationError::OutOfRange { index: 1 });
        assert_eq!(fit(&[pair(0, f64::NAN, 1.0)]), CalibrationError::OutOfRange { index: 0 });
        assert_eq!(fit(&[pair(0, 1.0, 5.0), pair(0, 5.0, 1.0)]), CalibrationError::Inverted);
        assert_eq!(Calibration::NONE.report(&[]).mean_relative_error, None);
    }

    #[test]
    fn a_correction_is_written_and_read_and_absurd_ones_are_refused() {
        let calibration = Calibration { gain: 1.25, offset_a: -0.5 };
        assert_eq!(Calibration::from_json(&calibration.to_json().unwrap()).unwrap(), calibration);
        let refused = |text: &str| Calibration::from_json(text).unwrap_err().to_string();
        for text in ["", "{}", r#"{"gain":1,"offset_a":0,"more":1}"#, r#"{"gain":"1","offset_a":0}"#] {
            assert!(refused(text).contains("this is no correction"), "{text}");
        }
        for text in
            [r#"{"gain":0,"offset_a":0}"#, r#"{"gain":-1,"offset_a":0}"#, r#"{"gain":1,"offset_a":31}"#]
        {
            assert!(refused(text).contains("calibrate again"), "{text}");
        }
    }

    #[test]
    fn a_sine_has_its_root_mean_square_whatever_its_offset() {
        let sine: Vec<f64> =
            (0..200).map(|i| 3.0 + 2.0 * (f64::from(i) * std::f64::consts::TAU / 50.0).sin()).collect();
        assert!((root_mean_square(&sine).unwrap() - 2.0_f64.sqrt()).abs() < 1e-9);
        assert_eq!(root_mean_square(&[]), None);
    }

    proptest! {
        #[test]
        fn noise_of_five_per_cent_leaves_an_error_of_that_order(
            noise in prop::collection::vec(-0.05f64..0.05, 30),
        ) {
            let pairs: Vec<Pair> = noise
                .iter()
                .enumerate()
                .map(|(i, n)| pair(0, i as f64, i as f64 * 0.8 * (1.0 + n)))
                .collect();
            let calibration = Calibration::fit(&pairs).unwrap();
            let report = calibration.report(&pairs);
            prop_assert!(report.greatest_error_a < 0.1 * REFERENCE_MAX_A, "{:?}", report);
            prop_assert!((calibration.gain - 1.25).abs() < 0.15, "{:?}", calibration);
        }
    }
}
