//! Instants as messages write them.

use eroam_domain::time::{CivilDate, UnixMillis};

/// Reads an instant of RFC 3339; a space instead of `T` is taken, since agents write that too. `None` for anything
/// else, and for instants before 1970 or after 9999. What is finer than a millisecond is cut off.
///
/// Source: RFC 3339; Aries RFC 0074.
#[must_use]
pub fn parse_timestamp(text: &str) -> Option<UnixMillis> {
    if !text.is_ascii() || text.len() > 40 {
        return None;
    }
    let (date, rest) = text.split_at_checked(10)?;
    let (separator, rest) = rest.split_at_checked(1)?;
    let (time, rest) = rest.split_at_checked(8)?;
    if !matches!(separator, "T" | "t" | " ") {
        return None;
    }
    let mut date = date.split('-');
    let (year, month, day) = (number(date.next()?, 4)?, number(date.next()?, 2)?, number(date.next()?, 2)?);
    let mut time = time.split(':');
    let (hour, minute, second) =
        (number(time.next()?, 2)?, number(time.next()?, 2)?, number(time.next()?, 2)?);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        None => ("", rest),
        Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
    };
    if rest.starts_with('.') && fraction.is_empty() {
        return None;
    }
    let mut milli = 0_i64;
    for n in 0..3 {
        let digit = fraction.as_bytes().get(n).map_or(0, |digit| digit.wrapping_sub(b'0'));
        milli = milli.checked_mul(10)?.checked_add(i64::from(digit))?;
    }
    let offset = match zone {
        "Z" | "z" => 0,
        zone => {
            let (sign, zone) = zone.split_at_checked(1)?;
            let (hours, minutes) = zone.split_once(':')?;
            let (hours, minutes) = (number(hours, 2)?, number(minutes, 2)?);
            let minutes =
                (hours <= 23 && minutes <= 59).then_some(hours.checked_mul(60)?.checked_add(minutes)?)?;
            match sign {
                "+" => minutes,
                "-" => minutes.checked_neg()?,
                _ => return None,
            }
        }
    };
    let date = CivilDate::new(i32::try_from(year).ok()?, u8::try_from(month).ok()?, u8::try_from(day).ok()?)?;
    let minutes = date.days().checked_mul(1440)?.checked_add(hour.checked_mul(60)?)?.checked_add(minute)?;
    let seconds = minutes.checked_sub(offset)?.checked_mul(60)?.checked_add(second)?;
    UnixMillis::new(seconds.checked_mul(1000)?.checked_add(milli)?)
}

/// So many digits.
fn number(text: &str, digits: usize) -> Option<i64> {
    (text.len() == digits && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn instants_are_read_as_agents_write_them() {
        let table = [
            ("2026-11-21T21:35:52Z", Some(1_795_296_952_000)),
            ("2026-11-21 21:35:52Z", Some(1_795_296_952_000)),
            ("2026-11-21T21:35:52.358292Z", Some(1_795_296_952_358)),
            ("2026-11-21T22:35:52.3+01:00", Some(1_795_296_952_300)),
            ("2026-11-21T20:05:52-01:30", Some(1_795_296_952_000)),
            ("1970-01-01T00:00:00+00:01", None),
            ("2026-11-21T21:35:52", None),
            ("2026-11-21T21:35:52.Z", None),
            ("2026-11-21T24:00:00Z", None),
            ("2026-02-29T00:00:00Z", None),
            ("2026-11-21T21:35:52+1:00", None),
            ("2026-11-21", None),
            ("1795296952", None),
            ("+026-11-21T21:35:52Z", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_timestamp(text).map(UnixMillis::get), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(ms in 0_i64..253_402_300_800_000) {
            let instant = UnixMillis::new(ms).unwrap();
            prop_assert_eq!(parse_timestamp(&instant.to_string()), Some(instant));
        }

        #[test]
        fn arbitrary_text_never_panics(text in "[0-9T:. Zä+-]{0,30}") {
            let _ = parse_timestamp(&text);
        }
    }
}
