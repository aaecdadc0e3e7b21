//! A contact on a pin, which says whether a plug is in a plain socket.

use crate::hardware::{ElectricVehicle, HardwareError, Part};
use eroam_domain::quantity::MilliAmperes;
use rppal::gpio::{Gpio, InputPin};

/// A contact that holds a pin low while a plug is in the socket; the computer's own resistor pulls it up otherwise, so that a
/// wire that broke is no vehicle.
#[derive(Debug)]
pub struct PinContact(InputPin);

impl PinContact {
    /// The contact on the pin of this BCM number.
    ///
    /// # Errors
    /// The pin cannot be used.
    pub fn new(bcm: u8) -> Result<Self, HardwareError> {
        let pin = Gpio::new().and_then(|gpio| gpio.get(bcm));
        let pin = pin.map_err(|e| HardwareError { part: Part::Vehicle, source: Some(Box::new(e)) })?;
        Ok(Self(pin.into_input_pullup()))
    }
}

impl ElectricVehicle for PinContact {
    fn is_plugged(&mut self) -> Result<bool, HardwareError> {
        Ok(self.0.is_low())
    }

    fn wants_current(&mut self) -> Result<bool, HardwareError> {
        self.is_plugged()
    }

    /// A plain socket has no control pilot: the vehicle's own cable sets its current, and one that takes more than was
    /// offered is switched off.
    fn offer(&mut self, _: MilliAmperes) -> Result<(), HardwareError> {
        Ok(())
    }
}
