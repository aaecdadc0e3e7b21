//! Money: an amount in millionths of a currency's major unit, with its currency, and the rounding of amounts.
//!
//! Amounts of two currencies never mix; there is no exchange rate in this crate. All arithmetic is checked.

use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// Millionths in one major unit (1 EUR = 1,000,000).
pub const MICROS_PER_UNIT: i64 = 1_000_000;

/// An ISO 4217 alphabetic currency code, three capital letters. That the code is assigned is not checked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct Currency([u8; 3]);

/// Why an amount of money could not be read or computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// Not three capital letters.
    #[error("`{0}` is no currency code: three capital letters of ISO 4217 are expected, such as EUR")]
    NotACurrency(String),
    /// Two currencies in one sum.
    #[error("an amount in {found} cannot be added to one in {expected}: convert it first")]
    MixedCurrencies {
        /// The currency of the first amount.
        expected: Currency,
        /// The currency of the other.
        found: Currency,
    },
    /// The result does not fit.
    #[error("the amount is beyond what 64 bits of millionths hold")]
    Overflow,
    /// Not a decimal number.
    #[error("`{0}` is no decimal number")]
    NotANumber(String),
    /// More decimals than millionths can hold.
    #[error("`{0}` has more than {1} decimals: round it first")]
    TooPrecise(String, u8),
}

impl Currency {
    /// Parses three capital letters.
    ///
    /// # Errors
    /// [`MoneyError::NotACurrency`].
    pub fn new(code: &str) -> Result<Self, MoneyError> {
        match code.as_bytes() {
            &[a, b, c] if [a, b, c].iter().all(u8::is_ascii_uppercase) => Ok(Self([a, b, c])),
            _ => Err(MoneyError::NotACurrency(code.to_owned())),
        }
    }

    /// The three letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        // Only ASCII letters pass the constructors; the fallback is unreachable and harmless.
        std::str::from_utf8(&self.0).unwrap_or("XXX")
    }
}

impl FromStr for Currency {
    type Err = MoneyError;
    fn from_str(s: &str) -> Result<Self, MoneyError> {
        Self::new(s)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

crate::codec::text_serde!(Currency);

impl BorshDeserialize for Currency {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let raw = <[u8; 3]>::deserialize_reader(reader)?;
        if raw.iter().all(u8::is_ascii_uppercase) {
            Ok(Self(raw))
        } else {
            Err(crate::codec::invalid("currency code"))
        }
    }
}

/// An amount of money: `micros` millionths of the major unit of `currency`. Negative amounts are owed the other way.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Money {
    /// Millionths of the major unit.
    pub micros: i64,
    /// The currency.
    pub currency: Currency,
}

impl Money {
    /// An amount of `micros` millionths.
    #[must_use]
    pub const fn new(micros: i64, currency: Currency) -> Self {
        Self { micros, currency }
    }

    /// Nothing, in `currency`.
    #[must_use]
    pub const fn zero(currency: Currency) -> Self {
        Self { micros: 0, currency }
    }

    /// Sum.
    ///
    /// # Errors
    /// [`MoneyError::MixedCurrencies`], [`MoneyError::Overflow`].
    pub fn checked_add(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let micros = self.micros.checked_add(other.micros).ok_or(MoneyError::Overflow)?;
        Ok(Self { micros, ..self })
    }

    /// Difference.
    ///
    /// # Errors
    /// [`MoneyError::MixedCurrencies`], [`MoneyError::Overflow`].
    pub fn checked_sub(self, other: Self) -> Result<Self, MoneyError> {
        self.same_currency(other)?;
        let micros = self.micros.checked_sub(other.micros).ok_or(MoneyError::Overflow)?;
        Ok(Self { micros, ..self })
    }

    fn same_currency(self, other: Self) -> Result<(), MoneyError> {
        if self.currency == other.currency {
            Ok(())
        } else {
            Err(MoneyError::MixedCurrencies { expected: self.currency, found: other.currency })
        }
    }
}

impl fmt::Display for Money {
    /// At least two decimals, more only where they are not zero: `12.30 EUR`, `0.4512 EUR`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", decimal(i128::from(self.micros), 6, 2), self.currency)
    }
}

/// An amount without and with value-added tax, in millionths of one currency's major unit.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Price {
    /// Without VAT, millionths.
    pub excl_vat: i64,
    /// With VAT, millionths.
    pub incl_vat: i64,
}

impl Price {
    /// Nothing.
    pub const ZERO: Self = Self { excl_vat: 0, incl_vat: 0 };

    /// Component-wise sum, `None` on overflow.
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        Some(Self {
            excl_vat: self.excl_vat.checked_add(other.excl_vat)?,
            incl_vat: self.incl_vat.checked_add(other.incl_vat)?,
        })
    }

    /// Component-wise difference, `None` on overflow.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        Some(Self {
            excl_vat: self.excl_vat.checked_sub(other.excl_vat)?,
            incl_vat: self.incl_vat.checked_sub(other.incl_vat)?,
        })
    }

    /// The tax in it, `None` on overflow.
    #[must_use]
    pub fn vat(self) -> Option<i64> {
        self.incl_vat.checked_sub(self.excl_vat)
    }
}

/// How a half is rounded.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum RoundingMode {
    /// To the nearest, a half away from zero.
    HalfUp,
    /// To the nearest, a half to the even neighbour.
    HalfEven,
    /// Towards minus infinity.
    Down,
    /// Towards plus infinity.
    Up,
}

/// The rounding that an agreement names (OCPI leaves it open, ocpi/ocpi#401): to a multiple of `unit_micros`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, Serialize)]
pub struct Rounding {
    unit_micros: u32,
    mode: RoundingMode,
}

impl Rounding {
    /// To multiples of `unit_micros` millionths (10,000 is a cent). `None` for zero.
    #[must_use]
    pub fn new(unit_micros: u32, mode: RoundingMode) -> Option<Self> {
        (unit_micros > 0).then_some(Self { unit_micros, mode })
    }

    /// To the cent (0.01), halves away from zero.
    #[must_use]
    pub const fn cents() -> Self {
        Self { unit_micros: 10_000, mode: RoundingMode::HalfUp }
    }

    /// The unit in millionths.
    #[must_use]
    pub const fn unit_micros(self) -> u32 {
        self.unit_micros
    }

    /// The mode.
    #[must_use]
    pub const fn mode(self) -> RoundingMode {
        self.mode
    }

    /// Rounds an amount of millionths; `None` on overflow.
    #[must_use]
    pub fn apply(self, micros: i64) -> Option<i64> {
        let unit = i64::from(self.unit_micros);
        let quotient = micros.checked_div_euclid(unit)?;
        let rest = micros.checked_rem_euclid(unit)?;
        let twice = rest.checked_mul(2)?;
        let up = match self.mode {
            RoundingMode::Down => false,
            RoundingMode::Up => rest > 0,
            // `rest` counts upwards from the lower multiple, so for a negative amount "away from zero" is down.
            RoundingMode::HalfUp => twice > unit || (twice == unit && micros > 0),
            RoundingMode::HalfEven => twice > unit || (twice == unit && quotient.checked_rem_euclid(2)? == 1),
        };
        quotient.checked_add(i64::from(up))?.checked_mul(unit)
    }
}

impl BorshDeserialize for Rounding {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let unit = u32::deserialize_reader(reader)?;
        let mode = RoundingMode::deserialize_reader(reader)?;
        Self::new(unit, mode).ok_or_else(|| crate::codec::invalid("rounding unit of zero"))
    }
}

impl<'de> Deserialize<'de> for Rounding {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Raw {
            unit_micros: u32,
            mode: RoundingMode,
        }
        let raw = <Raw as Deserialize>::deserialize(deserializer)?;
        Self::new(raw.unit_micros, raw.mode)
            .ok_or_else(|| serde::de::Error::custom("unit_micros must not be zero"))
    }
}

/// `value / 10^scale` as decimal text, with at least `keep` and at most `scale` decimals; trailing zeros go.
#[must_use]
pub fn decimal(value: i128, scale: u32, keep: usize) -> String {
    let digits = value.unsigned_abs().to_string();
    let width = usize::try_from(scale).unwrap_or(0);
    let padded = format!("{digits:0>min$}", min = width.saturating_add(1));
    let (whole, fraction) = padded.split_at(padded.len().saturating_sub(width));
    let mut kept = fraction.len();
    while kept > keep && fraction.as_bytes().get(kept.saturating_sub(1)) == Some(&b'0') {
        kept = kept.saturating_sub(1);
    }
    let sign = if value < 0 { "-" } else { "" };
    match fraction.get(..kept) {
        Some(f) if !f.is_empty() => format!("{sign}{whole}.{f}"),
        _ => format!("{sign}{whole}"),
    }
}

/// Reads decimal text (an optional sign, digits, a point, digits, an optional exponent as JSON has it) as a whole
/// number of `10^-scale`; exact, without floating point.
///
/// # Errors
/// [`MoneyError::NotANumber`], [`MoneyError::TooPrecise`] when digits would be lost, [`MoneyError::Overflow`].
pub fn parse_decimal(text: &str, scale: u8) -> Result<i64, MoneyError> {
    let (value, lost) = parse_decimal_parts(text, scale)?;
    if lost { Err(MoneyError::TooPrecise(text.to_owned(), scale)) } else { Ok(value) }
}

/// As [`parse_decimal`], but digits beyond the scale are rounded to the nearest, halves away from zero.
///
/// # Errors
/// [`MoneyError::NotANumber`], [`MoneyError::Overflow`].
pub fn parse_decimal_rounded(text: &str, scale: u8) -> Result<i64, MoneyError> {
    // One guard digit more, then round; a value is never rounded twice.
    let (guarded, _) = parse_decimal_parts(text, scale.checked_add(1).ok_or(MoneyError::Overflow)?)?;
    let rounding = Rounding { unit_micros: 10, mode: RoundingMode::HalfUp };
    let rounded = rounding.apply(guarded).ok_or(MoneyError::Overflow)?;
    rounded.checked_div(10).ok_or(MoneyError::Overflow)
}

/// The value truncated to `scale`, and whether digits were cut off.
fn parse_decimal_parts(text: &str, scale: u8) -> Result<(i64, bool), MoneyError> {
    let bad = || MoneyError::NotANumber(text.to_owned());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((m, e)) => (m, e.parse::<i32>().map_err(|_| bad())?),
        None => (text, 0),
    };
    let (negative, unsigned) = match mantissa.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, mantissa.strip_prefix('+').unwrap_or(mantissa)),
    };
    let (whole, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
    let has_digits = !whole.is_empty() || !fraction.is_empty();
    if !has_digits || !whole.bytes().chain(fraction.bytes()).all(|b| b.is_ascii_digit()) {
        return Err(bad());
    }
    // The point stands after `point` digits of `whole ++ fraction`; take digits up to `point + scale` of them.
    let point =
        i64::try_from(whole.len()).map_err(|_| bad())?.checked_add(i64::from(exponent)).ok_or_else(bad)?;
    let wanted = point.checked_add(i64::from(scale)).ok_or_else(bad)?;
    let mut value: i64 = 0;
    let mut lost = false;
    let mut read: i64 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = i64::from(byte.checked_sub(b'0').ok_or_else(bad)?);
        if read < wanted {
            value = value
                .checked_mul(10)
                .and_then(|v| if negative { v.checked_sub(digit) } else { v.checked_add(digit) })
                .ok_or(MoneyError::Overflow)?;
        } else if digit != 0 {
            lost = true;
        }
        read = read.checked_add(1).ok_or_else(bad)?;
    }
    while read < wanted {
        if value == 0 {
            break;
        }
        value = value.checked_mul(10).ok_or(MoneyError::Overflow)?;
        read = read.checked_add(1).ok_or_else(bad)?;
    }
    Ok((value, lost))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_are_read_exactly() {
        for (text, scale, want) in [
            ("0.25", 6, 250_000),
            ("-1.5", 6, -1_500_000),
            ("3", 3, 3_000),
            ("1.2e1", 2, 1_200),
            ("25E-2", 6, 250_000),
            ("0", 6, 0),
            (".5", 1, 5),
            ("0.000001", 6, 1),
            ("100000e-5", 0, 1),
        ] {
            assert_eq!(parse_decimal(text, scale), Ok(want), "{text}");
        }
        for text in ["", "-", ".", "1,5", "abc", "1e", "--1", "1.2.3", "NaN", "0x1"] {
            assert!(matches!(parse_decimal(text, 6), Err(MoneyError::NotANumber(_))), "{text}");
        }
        assert!(matches!(parse_decimal("0.1234567", 6), Err(MoneyError::TooPrecise(..))));
        assert_eq!(parse_decimal_rounded("0.1234567", 6), Ok(123_457));
        assert_eq!(parse_decimal_rounded("-0.1234565", 6), Ok(-123_457));
        assert_eq!(parse_decimal("99999999999999999999", 0), Err(MoneyError::Overflow));
        assert_eq!(parse_decimal("1e400000000", 6), Err(MoneyError::Overflow));
        assert_eq!(parse_decimal("0e400000000", 6), Ok(0));
    }

    #[test]
    fn halves_round_as_the_mode_says() {
        let cases = [
            (RoundingMode::HalfUp, [(5_000, 10_000), (-5_000, -10_000), (4_999, 0), (15_000, 20_000)]),
            (RoundingMode::HalfEven, [(5_000, 0), (-5_000, 0), (15_000, 20_000), (-15_000, -20_000)]),
            (RoundingMode::Down, [(9_999, 0), (-1, -10_000), (10_000, 10_000), (0, 0)]),
            (RoundingMode::Up, [(1, 10_000), (-9_999, 0), (10_000, 10_000), (0, 0)]),
        ];
        for (mode, rows) in cases {
            for (micros, want) in rows {
                assert_eq!(
                    Rounding::new(10_000, mode).unwrap().apply(micros),
                    Some(want),
                    "{mode:?} {micros}"
                );
            }
        }
        assert_eq!(Rounding::new(0, RoundingMode::Down), None);
    }

    #[test]
    fn amounts_of_two_currencies_do_not_add() {
        let (eur, usd) = (Currency::new("EUR").unwrap(), Currency::new("USD").unwrap());
        let err = Money::new(1, eur).checked_add(Money::new(1, usd)).unwrap_err();
        assert_eq!(err.to_string(), "an amount in USD cannot be added to one in EUR: convert it first");
        assert_eq!(Money::new(i64::MAX, eur).checked_add(Money::new(1, eur)), Err(MoneyError::Overflow));
        assert!(Currency::new("eur").is_err());
        assert!(Currency::new("EURO").is_err());
    }

    #[test]
    fn money_is_shown_with_two_decimals_or_more() {
        let eur = Currency::new("EUR").unwrap();
        for (micros, text) in
            [(12_300_000, "12.30 EUR"), (451_200, "0.4512 EUR"), (-1, "-0.000001 EUR"), (0, "0.00 EUR")]
        {
            assert_eq!(Money::new(micros, eur).to_string(), text);
        }
    }

    proptest! {
        #[test]
        fn decimal_text_round_trips(value in any::<i64>()) {
            prop_assert_eq!(parse_decimal(&decimal(i128::from(value), 6, 0), 6), Ok(value));
        }

        #[test]
        fn rounding_moves_less_than_a_unit(micros in -1_000_000_000_000i64..1_000_000_000_000, unit in 1u32..1_000_000) {
            for mode in [RoundingMode::HalfUp, RoundingMode::HalfEven, RoundingMode::Down, RoundingMode::Up] {
                let rounded = Rounding::new(unit, mode).unwrap().apply(micros).unwrap();
                prop_assert_eq!(rounded % i64::from(unit), 0);
                prop_assert!((rounded - micros).abs() < i64::from(unit));
            }
        }

        #[test]
        fn arbitrary_text_is_never_a_panic(text in ".{0,40}", scale in 0u8..12) {
            let _ = parse_decimal(&text, scale);
            let _ = parse_decimal_rounded(&text, scale);
        }
    }
}
