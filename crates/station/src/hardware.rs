//! What a station is made of, as traits: a relay, a meter, a current sensor, and the vehicle at the other end of the
//! cable.

pub mod corrected;
pub mod integrating;
pub mod metered;
pub mod simulated;

use eroam_domain::quantity::{MilliAmperes, WattHours};
use std::fmt;

/// A part of a station.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Part {
    Relay,
    Meter,
    Sensor,
    Vehicle,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Relay => "relay",
            Self::Meter => "meter",
            Self::Sensor => "current sensor",
            Self::Vehicle => "vehicle",
        })
    }
}

/// A part did not answer.
#[derive(Debug, thiserror::Error)]
#[error("the {part} does not answer")]
pub struct HardwareError {
    /// Which.
    pub part: Part,
    /// Why, if that is known.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl HardwareError {
    /// A part that does not answer, and nothing else is known.
    #[must_use]
    pub const fn silent(part: Part) -> Self {
        Self { part, source: None }
    }
}

/// Lets current flow, or not. Without power it is off.
pub trait Relay {
    /// Switches it.
    ///
    /// # Errors
    /// It cannot be reached; whether it is on is then unknown.
    fn switch(&mut self, on: bool) -> Result<(), HardwareError>;
}

/// Counts energy. That its register never goes backwards is what it should do, not what is relied on.
pub trait EnergyMeter {
    /// All energy that was ever delivered, in thousandths of a watt-hour.
    ///
    /// # Errors
    /// It cannot be read.
    fn register(&mut self) -> Result<WattHours, HardwareError>;
}

/// Measures the current of a phase.
pub trait CurrentSensor {
    /// The root mean square of the strongest phase, now.
    ///
    /// # Errors
    /// It cannot be read.
    fn current(&mut self) -> Result<MilliAmperes, HardwareError>;
}

/// The vehicle, as far as the cable tells (IEC 61851: the control pilot).
pub trait ElectricVehicle {
    /// Whether it is plugged in.
    ///
    /// # Errors
    /// The cable's state cannot be read.
    fn is_plugged(&mut self) -> Result<bool, HardwareError>;

    /// Whether it asks for current.
    ///
    /// # Errors
    /// The cable's state cannot be read.
    fn wants_current(&mut self) -> Result<bool, HardwareError>;

    /// Tells it how much current of a phase it may take.
    ///
    /// # Errors
    /// It cannot be told.
    fn offer(&mut self, current: MilliAmperes) -> Result<(), HardwareError>;
}

/// The parts of one charging point.
pub struct Hardware {
    /// Its relay.
    pub relay: Box<dyn Relay + Send>,
    /// Its meter.
    pub meter: Box<dyn EnergyMeter + Send>,
    /// Its current sensor.
    pub sensor: Box<dyn CurrentSensor + Send>,
    /// Whatever stands in front of it.
    pub vehicle: Box<dyn ElectricVehicle + Send>,
}

impl fmt::Debug for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hardware(..)")
    }
}
