//! The station of paper B, section 4.6: a Raspberry Pi with a relay on a pin, and a split-core current transformer whose
//! burden resistor is read by an ADS1115.
//!
//! ```text
//! mains wire -> transformer (say 100 A : 50 mA) -> burden resistor -> ADS1115, difference of A0 and A1 -> I2C
//! ```
//! Drivers alone: what is computed of their samples is in [`crate::calibration`] and
//! [`crate::hardware::integrating`], which are tested without them.
//!
//! Source: Texas Instruments SBAS444 (ADS1115); YHDC SCT-013.

pub mod contact;
pub mod current;
pub mod relay;
