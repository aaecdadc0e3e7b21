//! OCPI's `DateTime`: RFC 3339 in UTC, where the zone may be left out.
//!
//! An offset other than `Z`, which OCPI forbids and peers send, is understood. Leap seconds do not exist here.
//!
//! Source: OCPI 2.2.1 types, DateTime.

use eroam_domain::time::{CivilDate, UnixMillis};

const DAY_MS: i64 = 86_400_000;

/// What a date and time looks like, for messages.
pub const EXPECTED: &str = "a date and time in UTC such as 2021-05-01T20:42:47Z";

/// Reads a date and time. Digits beyond the millisecond are cut off. `None` for anything else, a date that does not
/// exist, or an instant before 1970.
#[must_use]
pub fn parse(text: &str) -> Option<UnixMillis> {
    let (date, rest) = text.split_at_checked(10)?;
    let date: CivilDate = date.parse().ok()?;
    let time = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let mut parts = clock.split(':');
    let hour = two_digits(parts.next()?, 23)?;
    let minute = two_digits(parts.next()?, 59)?;
    let second = two_digits(parts.next()?, 59)?;
    if parts.next().is_some() {
        return None;
    }
    let (ms, zone) = match rest.strip_prefix('.') {
        Some(rest) => fraction(rest)?,
        None => (0, rest),
    };
    let seconds = hour.checked_mul(60)?.checked_add(minute)?.checked_mul(60)?.checked_add(second)?;
    let of_day = seconds.checked_mul(1_000)?.checked_add(ms)?;
    let local = date.days().checked_mul(DAY_MS)?.checked_add(of_day)?;
    UnixMillis::new(local.checked_sub(offset_ms(zone)?)?)
}

/// The text for an instant: UTC with `Z`, milliseconds only where there are any.
#[must_use]
pub fn format(instant: UnixMillis) -> String {
    instant.to_string()
}

fn two_digits(text: &str, max: i64) -> Option<i64> {
    let plain = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|value| plain && *value <= max)
}

/// Milliseconds of a second's fraction, and what follows it.
fn fraction(text: &str) -> Option<(i64, &str)> {
    let length = text.bytes().take_while(u8::is_ascii_digit).count();
    let (digits, rest) = text.split_at_checked(length)?;
    if digits.is_empty() {
        return None;
    }
    let ms = digits.chars().chain(std::iter::repeat('0')).take(3).collect::<String>();
    Some((ms.parse().ok()?, rest))
}

/// Milliseconds east of UTC.
fn offset_ms(zone: &str) -> Option<i64> {
    if matches!(zone, "" | "Z" | "z") {
        return Some(0);
    }
    let (sign, digits) = match zone.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, zone.strip_prefix('+')?),
    };
    let (hour, minute) = digits.split_once(':')?;
    let minutes = two_digits(hour, 18)?.checked_mul(60)?.checked_add(two_digits(minute, 59)?)?;
    minutes.checked_mul(60_000)?.checked_mul(sign)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn accepted_spellings_of_one_instant() {
        let want = UnixMillis::new(1_619_901_767_000);
        for text in [
            "2021-05-01T20:42:47Z",
            "2021-05-01T20:42:47",
            "2021-05-01t20:42:47z",
            "2021-05-01 20:42:47Z",
            "2021-05-01T20:42:47.000Z",
            "2021-05-01T20:42:47.0009",
            "2021-05-01T22:42:47+02:00",
            "2021-05-01T15:12:47-05:30",
        ] {
            assert_eq!(parse(text), want, "{text}");
        }
        assert_eq!(parse("2021-05-01T20:42:47.08Z").map(UnixMillis::get), Some(1_619_901_767_080));
    }

    #[test]
    fn what_is_no_date_and_time_is_refused() {
        for text in [
            "",
            "2021-05-01",
            "2021-05-01T",
            "2021-05-01T20:42",
            "2021-05-01T20:42:47.",
            "2021-05-01T20:42:47.Z",
            "2021-05-01T20:42:60Z",
            "2021-05-01T24:00:00Z",
            "2021-02-29T00:00:00Z",
            "2021-05-01T20:42:47+2:00",
            "2021-05-01T20:42:47 CET",
            "2021-05-01T+1:42:47Z",
            "1969-12-31T23:59:59Z",
            "1970-01-01T00:00:00+01:00",
            "20210501T204247Z",
            "2021-05-01T20:42:4\u{e9}Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_round_trips_and_agrees_with_jiff(ms in 0i64..253_402_207_200_000) {
            let instant = UnixMillis::new(ms).unwrap();
            let text = format(instant);
            prop_assert_eq!(parse(&text), Some(instant));
            prop_assert_eq!(text.parse::<jiff::Timestamp>().unwrap().as_millisecond(), ms);
        }

        #[test]
        fn arbitrary_text_is_never_a_panic(text in "\\PC{0,40}", near in "[0-9T:. Zz+-]{0,32}") {
            let _ = parse(&text);
            let _ = parse(&near);
        }
    }
}
