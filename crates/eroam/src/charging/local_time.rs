//! What clocks show where a station is: by the name of its time zone, from the IANA database, which is bundled.
//!
//! The core knows no time zones ([`eroam_domain::time`]): a quote and a record carry the offset and a change of it. Here
//! is where these come from. Station, operator and wallet each look them up by themselves, so that no station can choose
//! the hour that is cheapest for it.

use super::ChargingError;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::{LocalClock, TimeZoneName, UnixMillis, UtcOffset};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// So far ahead a change of the clocks is looked for: no charge lasts longer.
const AHEAD_MS: u64 = 7 * 86_400_000;

/// A time zone that the database does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no time zone {0} is known here: take a name of the IANA database, as Europe/Lisbon, or update this program"
)]
pub struct UnknownTimeZone(TimeZoneName);

/// The clock of a zone from `at` on, with its first change within a week if there is one.
///
/// # Errors
/// [`UnknownTimeZone`].
pub fn clock_at(zone: &TimeZoneName, at: UnixMillis) -> Result<LocalClock, UnknownTimeZone> {
    let unknown = || UnknownTimeZone(zone.clone());
    let known = TimeZone::get(zone.as_str()).map_err(|_| unknown())?;
    // Every instant of ours is one of jiff's, and no zone is 18 hours from UTC.
    let from = Timestamp::from_millisecond(at.get()).map_err(|_| unknown())?;
    let offset = |seconds: i32| UtcOffset::new(seconds).ok_or_else(unknown);
    let until = at.checked_add(DurationMs::from_millis(AHEAD_MS)).unwrap_or(at);
    let now = offset(known.to_offset(from).seconds())?;
    // What changes may be the zone's abbreviation alone.
    let mut changes =
        known.following(from).map(|next| (next.timestamp().as_millisecond(), next.offset().seconds()));
    let next = changes.find(|(instant, seconds)| *instant > until.get() || *seconds != now.seconds());
    let change = match next.filter(|(instant, _)| *instant <= until.get()) {
        Some((instant, seconds)) => {
            UnixMillis::new(instant).map(|instant| offset(seconds).map(|to| (instant, to)))
        }
        None => None,
    };
    Ok(LocalClock { offset: now, change: change.transpose()? })
}

/// Whether a clock shows what the clocks of a zone show from `at` on.
///
/// # Errors
/// [`ChargingError::TimeZone`], [`ChargingError::OtherLocalTime`].
pub(super) fn check(zone: &TimeZoneName, clock: &LocalClock, at: UnixMillis) -> Result<(), ChargingError> {
    let expected = clock_at(zone, at)?;
    if *clock == expected {
        return Ok(());
    }
    Err(ChargingError::OtherLocalTime {
        zone: zone.clone(),
        expected: expected.show(at),
        found: clock.show(at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::new(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    fn clock(zone: &str, text: &str) -> LocalClock {
        clock_at(&zone.parse().unwrap(), at(text)).unwrap()
    }

    #[test]
    fn a_zones_clock_has_its_offset_and_the_change_of_the_coming_week() {
        let hours = |hours: i32| UtcOffset::new(hours * 3_600).unwrap();
        let change = (at("2026-10-25T01:00:00Z"), at("2027-03-28T01:00:00Z"));
        for (zone, now, offset, change) in [
            ("UTC", "2026-10-24T12:00:00Z", 0, None),
            ("Europe/Lisbon", "2026-07-01T12:00:00Z", 1, None),
            ("Europe/Lisbon", "2026-10-24T12:00:00Z", 1, Some((change.0, hours(0)))),
            ("Europe/Madrid", "2026-10-24T12:00:00Z", 2, Some((change.0, hours(1)))),
            ("Europe/Madrid", "2026-10-25T01:00:00Z", 1, None),
            ("Europe/Madrid", "2026-10-17T00:59:59Z", 2, None),
            ("Europe/Madrid", "2027-03-28T00:59:59Z", 1, Some((change.1, hours(2)))),
        ] {
            let want = LocalClock { offset: hours(offset), change };
            assert_eq!(clock(zone, now), want, "{zone} at {now}");
        }
    }

    #[test]
    fn a_zone_that_nobody_knows_and_a_clock_of_another_zone_are_refused() {
        let (lisbon, now) = ("Europe/Lisbon".parse().unwrap(), at("2026-11-22T23:30:00Z"));
        let madrid = clock_at(&"Europe/Madrid".parse().unwrap(), now).unwrap();
        let refused = check(&lisbon, &madrid, now).unwrap_err().to_string();
        assert_eq!(
            refused,
            "the station's clock shows 2026-11-23T00:30:00+01:00, and in its time zone Europe/Lisbon it is \
             2026-11-22T23:30:00+00:00: do not charge here"
        );
        check(&lisbon, &clock_at(&lisbon, now).unwrap(), now).unwrap();
        let refused = clock_at(&"Europe/Lisboa".parse().unwrap(), now).unwrap_err().to_string();
        assert!(refused.starts_with("no time zone Europe/Lisboa is known here: "), "{refused}");
    }
}
