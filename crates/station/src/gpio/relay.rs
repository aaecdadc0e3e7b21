//! A relay on a pin.

use crate::hardware::{HardwareError, Part, Relay};
use rppal::gpio::{Gpio, OutputPin};

/// A relay that is closed while a pin is high. The pin is low from the start and when the program ends.
#[derive(Debug)]
pub struct PinRelay(OutputPin);

impl PinRelay {
    /// The relay on the pin of this BCM number.
    ///
    /// # Errors
    /// The pin cannot be used.
    pub fn new(bcm: u8) -> Result<Self, HardwareError> {
        let pin = Gpio::new().and_then(|gpio| gpio.get(bcm));
        let pin = pin.map_err(|e| HardwareError { part: Part::Relay, source: Some(Box::new(e)) })?;
        Ok(Self(pin.into_output_low()))
    }
}

impl Relay for PinRelay {
    fn switch(&mut self, on: bool) -> Result<(), HardwareError> {
        if on {
            self.0.set_high()
        } else {
            self.0.set_low()
        }
        Ok(())
    }
}

impl Drop for PinRelay {
    fn drop(&mut self) {
        self.0.set_low();
    }
}
