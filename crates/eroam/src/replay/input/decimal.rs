//! Decimal numbers as text, without floats.

/// Why a text is no usable number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NotDecimal {
    /// Not written as a decimal number.
    Malformed,
    /// Below zero.
    Negative,
    /// More than [`MAX_DIGITS`] digits after scaling.
    TooLarge,
}

/// Most digits of a scaled number: every such number fits a `u64`.
const MAX_DIGITS: i64 = 18;

/// `text` times ten to the power of `scale`, rounded half up to a whole number.
///
/// Accepts digits, one `mark` with digits on either side, a sign, and an exponent as JSON writes it. Minus zero is
/// zero.
pub(super) fn scaled(text: &str, mark: char, scale: u32) -> Result<u64, NotDecimal> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once(mark).unwrap_or((mantissa, "0"));
    if [whole, fraction].iter().any(|part| part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()))
    {
        return Err(NotDecimal::Malformed);
    }
    let leading_zeros = whole.bytes().chain(fraction.bytes()).take_while(|byte| *byte == b'0').count();
    let digits = whole.bytes().chain(fraction.bytes()).skip(leading_zeros);
    if digits.clone().next().is_none() {
        return Ok(0);
    }
    if negative {
        return Err(NotDecimal::Negative);
    }
    // How many of `digits` stand before the mark once it has moved `exponent + scale` places to the right.
    let kept = whole.len() as i64 - leading_zeros as i64 + exponent + i64::from(scale);
    if kept > MAX_DIGITS {
        return Err(NotDecimal::TooLarge);
    }
    if kept < 0 {
        return Ok(0);
    }
    let mut rest = digits.map(|byte| u64::from(byte - b'0'));
    let value = (0..kept).fold(0, |value, _| value * 10 + rest.next().unwrap_or(0));
    Ok(value + u64::from(rest.next().unwrap_or(0) >= 5))
}

/// Exponents beyond four digits are written by nobody and would only overflow.
fn parse_exponent(text: &str) -> Result<i64, NotDecimal> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    if digits.is_empty() || digits.len() > 4 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(NotDecimal::Malformed);
    }
    text.parse().map_err(|_| NotDecimal::Malformed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scales_exactly_and_rounds_half_up() {
        for (text, mark, scale, expected) in [
            ("0", '.', 6, 0),
            ("-0.0", '.', 6, 0),
            ("30.936", '.', 6, 30_936_000),
            ("29,87", ',', 6, 29_870_000),
            ("7.1499999999999995", '.', 6, 7_150_000),
            ("0.0000005", '.', 6, 1),
            ("0.00000049", '.', 6, 0),
            ("0.00000005", '.', 6, 0),
            ("1e1", '.', 6, 10_000_000),
            ("1.5E-3", '.', 6, 1_500),
            ("1e-9999", '.', 6, 0),
            ("007.5", '.', 0, 8),
            ("999999999999.999999", '.', 6, 999_999_999_999_999_999),
            ("0,007777778", ',', 9, 7_777_778),
        ] {
            assert_eq!(scaled(text, mark, scale), Ok(expected), "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_decimal() {
        use NotDecimal::*;
        for (text, mark, expected) in [
            ("", '.', Malformed),
            ("NaN", '.', Malformed),
            ("NA", '.', Malformed),
            ("inf", '.', Malformed),
            ("1,5", '.', Malformed),
            ("1.5", ',', Malformed),
            ("1.2.3", '.', Malformed),
            (".5", '.', Malformed),
            ("5.", '.', Malformed),
            ("--1", '.', Malformed),
            ("1e", '.', Malformed),
            ("1e99999", '.', Malformed),
            ("0x10", '.', Malformed),
            ("٣", '.', Malformed),
            ("-0.001", '.', Negative),
            ("1e13", '.', TooLarge),
            ("1e9999", '.', TooLarge),
        ] {
            assert_eq!(scaled(text, mark, 6), Err(expected), "{text}");
        }
    }
}
