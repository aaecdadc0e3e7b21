//! JSON numbers without floating point: read from and written as their decimal text.
//!
//! A time is a number of hours in OCPI, usually with four decimals. A millisecond is 2.78e-7 h, so it is written with
//! as many decimals as are exact, at most nine, and read by rounding to the nearest millisecond: what was written
//! here is read back exactly.
//!
//! Source: OCPI 2.2.1 types, number; mod_cdrs, CdrDimensionType.

use eroam_domain::money::{MoneyError, decimal, parse_decimal, parse_decimal_rounded};
use eroam_domain::quantity::{DurationMs, WattHours};
use serde_json::value::RawValue;

/// Decimals of an hour that are read and written.
const HOUR_SCALE: u8 = 9;
/// Decimals of a kilowatt-hour: a kWh has a million thousandths of a watt-hour.
const KWH_SCALE: u8 = 6;

/// A JSON number as a whole number of `10^-scale`; whether digits were lost is the second part.
///
/// # Errors
/// [`MoneyError::NotANumber`] for other JSON, [`MoneyError::Overflow`].
pub fn read(raw: &RawValue, scale: u8) -> Result<(i64, bool), MoneyError> {
    let text = raw.get();
    match parse_decimal(text, scale) {
        Err(MoneyError::TooPrecise(..)) => Ok((parse_decimal_rounded(text, scale)?, true)),
        exact => Ok((exact?, false)),
    }
}

/// `value * 10^-scale` as the text of a JSON number, without needless zeros.
#[must_use]
pub fn write(value: i128, scale: u8) -> String {
    decimal(value, u32::from(scale), 0)
}

/// A number of hours in milliseconds, rounded to the nearest, and whether it was no whole number of them.
///
/// # Errors
/// As [`read`].
pub fn read_hours(raw: &RawValue) -> Result<(i64, bool), MoneyError> {
    // A nano-hour is 9/2500 of a millisecond.
    let (nano_hours, lost) = read(raw, HOUR_SCALE)?;
    let ninths = i128::from(nano_hours).checked_mul(9).ok_or(MoneyError::Overflow)?;
    let ms =
        ninths.checked_add(1_250).and_then(|x| x.checked_div_euclid(2_500)).ok_or(MoneyError::Overflow)?;
    // Exact is what `write_hours` makes of the result, or what is a whole number of milliseconds.
    let whole = ninths.checked_rem_euclid(2_500) == Some(0);
    let ms = i64::try_from(ms).map_err(|_| MoneyError::Overflow)?;
    let ours = !whole && u64::try_from(ms).is_ok_and(|ms| nano(ms) == Some(i128::from(nano_hours)));
    Ok((ms, lost || !(whole || ours)))
}

/// A duration as a number of hours.
#[must_use]
pub fn write_hours(duration: DurationMs) -> String {
    write(nano(duration.millis()).unwrap_or(0), HOUR_SCALE)
}

/// An amount of energy as a number of kilowatt-hours.
#[must_use]
pub fn write_kwh(energy: WattHours) -> String {
    write(i128::from(energy.milli_wh()), KWH_SCALE)
}

/// Milliseconds in nano-hours, to the nearest. Never `None`: 64 bits times 2,500 fit.
fn nano(ms: u64) -> Option<i128> {
    i128::from(ms).checked_mul(2_500)?.checked_add(4)?.checked_div_euclid(9)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn numbers_are_read_by_their_digits() {
        for (text, scale, want) in [
            ("0.1", 6, (100_000, false)),
            ("26.100000000000012", 6, (26_100_000, true)),
            ("-0.0056", 9, (-5_600_000, false)),
            ("1e-3", 6, (1_000, false)),
        ] {
            assert_eq!(read(&raw(text), scale), Ok(want), "{text}");
        }
        for text in ["\"0.1\"", "true", "null", "[]", "{}"] {
            assert!(read(&raw(text), 6).is_err(), "{text}");
        }
    }

    #[test]
    fn hours_become_milliseconds() {
        for (text, want) in [
            ("0.25", (900_000, false)),
            ("0.2503", (901_080, false)),
            ("0.756944", (2_724_998, true)),
            ("-0.0056", (-20_160, false)),
            ("0.000000278", (1, false)),
        ] {
            assert_eq!(read_hours(&raw(text)), Ok(want), "{text}");
        }
        assert_eq!(write_hours(DurationMs::from_millis(901_080)), "0.2503");
        assert_eq!(write_hours(DurationMs::from_millis(1)), "0.000000278");
        assert_eq!(write_hours(DurationMs::ZERO), "0");
    }

    proptest! {
        #[test]
        fn a_written_time_is_read_back_exactly(ms in 0u64..1_000_000_000_000) {
            let text = write_hours(DurationMs::from_millis(ms));
            prop_assert_eq!(read_hours(&raw(&text)), Ok((i64::try_from(ms).unwrap(), false)));
        }

        #[test]
        fn a_written_energy_is_read_back_exactly(milli_wh in 0u64..1_000_000_000_000) {
            let text = write_kwh(WattHours::from_milli_wh(milli_wh));
            prop_assert_eq!(read(&raw(&text), 6), Ok((i64::try_from(milli_wh).unwrap(), false)));
        }
    }
}
