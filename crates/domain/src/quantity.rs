//! Physical quantities: energy, power, current, durations, and shares in basis points.
//!
//! Source: OCPI 2.2.1 gives energy in kWh with up to four decimals (0.1 Wh) and time in hours with four decimals
//! (0.36 s), so energy is kept in thousandths of a watt-hour and durations in milliseconds: every OCPI value and
//! every OCMF reading is then a whole number.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! quantity {
    ($(#[$meta:meta])* $name:ident($raw:ty)) => {
        $(#[$meta])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize, Serialize,
            Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name($raw);

        impl $name {
            /// Nothing of it.
            pub const ZERO: Self = Self(0);

            /// Sum, or `None` on overflow.
            #[must_use]
            pub fn checked_add(self, other: Self) -> Option<Self> {
                self.0.checked_add(other.0).map(Self)
            }

            /// Difference, or `None` when it would be negative.
            #[must_use]
            pub fn checked_sub(self, other: Self) -> Option<Self> {
                self.0.checked_sub(other.0).map(Self)
            }

            /// Whether there is none of it.
            #[must_use]
            pub fn is_zero(self) -> bool {
                self.0 == 0
            }
        }
    };
}

quantity! {
    /// Energy, never negative, with a resolution of 1/1000 Wh. Serialized as whole thousandths of a watt-hour.
    WattHours(u64)
}

quantity! {
    /// Electrical power in watts.
    Watts(u64)
}

quantity! {
    /// Electrical current in milliamperes.
    MilliAmperes(u64)
}

quantity! {
    /// A span of time in milliseconds, never negative.
    DurationMs(u64)
}

quantity! {
    /// A share or a factor in basis points: 10,000 is the whole, 1 is 0.01 %.
    BasisPoints(u32)
}

impl WattHours {
    /// From whole watt-hours; `None` above `u64::MAX / 1000`.
    #[must_use]
    pub fn from_wh(wh: u64) -> Option<Self> {
        wh.checked_mul(1_000).map(Self)
    }

    /// From thousandths of a watt-hour, the resolution of the type.
    #[must_use]
    pub const fn from_milli_wh(milli_wh: u64) -> Self {
        Self(milli_wh)
    }

    /// In thousandths of a watt-hour.
    #[must_use]
    pub const fn milli_wh(self) -> u64 {
        self.0
    }

    /// In whole watt-hours, rounded down.
    #[must_use]
    pub const fn whole_wh(self) -> u64 {
        self.0 / 1_000
    }
}

impl fmt::Display for WattHours {
    /// In kWh, without trailing zeros beyond the second decimal: `12.34 kWh`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::money::decimal(i128::from(self.0), 6, 2))?;
        f.write_str(" kWh")
    }
}

impl Watts {
    /// From watts.
    #[must_use]
    pub const fn new(watts: u64) -> Self {
        Self(watts)
    }

    /// In watts.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The time this power needs for `energy`, rounded up to a millisecond; `None` for no power or on overflow.
    #[must_use]
    pub fn time_for(self, energy: WattHours) -> Option<DurationMs> {
        // mWh / W = mh/1 -> ms: x * 3600 (a thousandth of an hour is 3,600 ms).
        let numerator = u128::from(energy.0).checked_mul(3_600)?;
        let ms =
            numerator.checked_add(u128::from(self.0).checked_sub(1)?)?.checked_div(u128::from(self.0))?;
        u64::try_from(ms).ok().map(DurationMs)
    }

    /// The energy this power delivers in `duration`, rounded down; `None` on overflow.
    #[must_use]
    pub fn energy_over(self, duration: DurationMs) -> Option<WattHours> {
        let milli_wh = u128::from(self.0).checked_mul(u128::from(duration.0))?.checked_div(3_600)?;
        u64::try_from(milli_wh).ok().map(WattHours)
    }

    /// Mean power of `energy` over `duration`, rounded down; `None` when the duration is zero.
    #[must_use]
    pub fn mean(energy: WattHours, duration: DurationMs) -> Option<Self> {
        let watts = u128::from(energy.0).checked_mul(3_600)?.checked_div(u128::from(duration.0))?;
        u64::try_from(watts).ok().map(Self)
    }
}

impl MilliAmperes {
    /// From milliamperes.
    #[must_use]
    pub const fn new(milliamperes: u64) -> Self {
        Self(milliamperes)
    }

    /// In milliamperes.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl DurationMs {
    /// From milliseconds.
    #[must_use]
    pub const fn from_millis(ms: u64) -> Self {
        Self(ms)
    }

    /// From seconds; `None` on overflow.
    #[must_use]
    pub fn from_secs(secs: u64) -> Option<Self> {
        secs.checked_mul(1_000).map(Self)
    }

    /// In milliseconds.
    #[must_use]
    pub const fn millis(self) -> u64 {
        self.0
    }
}

impl fmt::Display for DurationMs {
    /// As `2 h 05 min`, or `12 min 30 s` below an hour.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = self.0 / 1_000;
        let (h, min, s) = (secs / 3_600, secs / 60 % 60, secs % 60);
        if h > 0 { write!(f, "{h} h {min:02} min") } else { write!(f, "{min} min {s:02} s") }
    }
}

impl BasisPoints {
    /// The whole: 10,000 basis points.
    pub const WHOLE: Self = Self(10_000);

    /// From basis points.
    #[must_use]
    pub const fn new(bps: u32) -> Self {
        Self(bps)
    }

    /// In basis points.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn power_and_time_agree() {
        let energy = WattHours::from_wh(40_000).unwrap();
        let time = Watts::new(24_000).time_for(energy).unwrap();
        assert_eq!(time, DurationMs::from_secs(6_000).unwrap());
        assert_eq!(Watts::new(24_000).energy_over(time).unwrap(), energy);
        assert_eq!(Watts::mean(energy, time).unwrap(), Watts::new(24_000));
    }

    #[test]
    fn no_power_never_finishes() {
        assert_eq!(Watts::ZERO.time_for(WattHours::from_milli_wh(1)), None);
        assert_eq!(Watts::mean(WattHours::from_milli_wh(1), DurationMs::ZERO), None);
    }

    #[test]
    fn energy_is_shown_in_kilowatt_hours() {
        assert_eq!(WattHours::from_milli_wh(12_340_000).to_string(), "12.34 kWh");
        assert_eq!(WattHours::from_milli_wh(12_345_600).to_string(), "12.3456 kWh");
        assert_eq!(WattHours::ZERO.to_string(), "0.00 kWh");
    }
}
