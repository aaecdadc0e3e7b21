//! The clock that a series' hours are written in, and the local calendar that people's habits follow.

use crate::hour::UtcHour;
use eroam_domain::time::{LocalClock, UnixMillis, UtcOffset};
use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use std::fmt;
use std::str::FromStr;

/// A clock: UTC, a fixed offset from it, or a zone of the IANA database, which is bundled.
#[derive(Clone, Debug)]
pub struct LoadClock(TimeZone);

/// A text that names no clock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is no clock: `UTC`, an offset such as `+01:00`, or a zone such as `America/New_York` is expected"
)]
pub struct UnknownClock(String);

impl LoadClock {
    /// The clock that shows UTC.
    #[must_use]
    pub const fn utc() -> Self {
        Self(TimeZone::UTC)
    }

    /// What the local clock shows at the start of an hour.
    #[must_use]
    pub fn at(&self, hour: UtcHour) -> LocalHour {
        let local = self.local_clock(hour).at(hour.start());
        // Both are bounded by their types: 24 hours of 3,600,000 ms, and 12 months.
        let hour_of_day = (local.ms_of_day / 3_600_000) as usize;
        let month = usize::from(local.date.month()) - 1;
        let first = eroam_domain::time::CivilDate::new(local.date.year(), 1, 1);
        let day_of_year = first.map_or(0, |first| local.date.days() - first.days());
        LocalHour { hour_of_day, weekday: local.weekday as usize, month, day_of_year }
    }

    /// The offset in force at the start of an hour, as the price rule takes it.
    #[must_use]
    pub fn local_clock(&self, hour: UtcHour) -> LocalClock {
        LocalClock::fixed(UtcOffset::new(self.offset_s(hour.start().get())).unwrap_or(UtcOffset::UTC))
    }

    /// The clock from the start of an hour on for so many hours, with the first change of it in them if there is one.
    #[must_use]
    pub fn over(&self, hour: UtcHour, hours: i64) -> LocalClock {
        let start = self.local_clock(hour);
        let until = hour.plus(hours).map_or(i64::MAX, |end| end.start().get());
        let from = Timestamp::from_millisecond(hour.start().get()).ok();
        let next = from.and_then(|from| self.0.following(from).next());
        let change = next.and_then(|next| {
            let at = UnixMillis::new(next.timestamp().as_millisecond()).filter(|at| at.get() < until)?;
            Some((at, UtcOffset::new(next.offset().seconds())?))
        });
        LocalClock { change, ..start }
    }

    /// Seconds east of UTC at an instant in milliseconds since 1970.
    pub(crate) fn offset_s(&self, ms: i64) -> i32 {
        Timestamp::from_millisecond(ms).map_or(0, |at| self.0.to_offset(at).seconds())
    }

    /// The instants that a local time can mean, in seconds since 1970: none where the clock skips it, two where it
    /// shows it twice.
    pub(crate) fn instants(&self, local: DateTime) -> Instants {
        let at = |offset: Offset| offset.to_timestamp(local).map_or(i64::MIN, Timestamp::as_second);
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => Instants::One(at(offset)),
            AmbiguousOffset::Fold { before, after } => Instants::Two(at(before), at(after)),
            AmbiguousOffset::Gap { .. } => Instants::None,
        }
    }

    /// How often the clock is set forward and back in a span of UTC hours, the end exclusive.
    pub(crate) fn changes(&self, from: UtcHour, until: UtcHour) -> (u32, u32) {
        let (mut forward, mut back) = (0, 0);
        let Ok(start) = Timestamp::from_millisecond(from.start().get()) else { return (0, 0) };
        let mut before = self.0.to_offset(start).seconds();
        for change in self.0.following(start) {
            if change.timestamp().as_millisecond() >= until.start().get() {
                break;
            }
            let after = change.offset().seconds();
            forward += u32::from(after > before);
            back += u32::from(after < before);
            before = after;
        }
        (forward, back)
    }
}

/// What a local time can mean on a clock, in seconds since 1970.
pub(crate) enum Instants {
    /// The clock skips it.
    None,
    /// The usual case.
    One(i64),
    /// The clock shows it twice: the earlier instant, then the later.
    Two(i64, i64),
}

impl FromStr for LoadClock {
    type Err = UnknownClock;
    fn from_str(text: &str) -> Result<Self, UnknownClock> {
        let unknown = || UnknownClock(text.to_owned());
        let text = text.trim();
        if matches!(text, "UTC" | "Z") {
            return Ok(Self::utc());
        }
        if text.starts_with(['+', '-']) {
            let (hours, minutes) = text[1..].split_once(':').ok_or_else(unknown)?;
            let digits = |part: &str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit());
            if !digits(hours) || !digits(minutes) {
                return Err(unknown());
            }
            let hours: i32 = hours.parse().map_err(|_| unknown())?;
            let minutes: i32 = minutes.parse().map_err(|_| unknown())?;
            if hours > 18 || minutes > 59 {
                return Err(unknown());
            }
            let seconds = (hours * 3_600 + minutes * 60) * if text.starts_with('-') { -1 } else { 1 };
            let offset = Offset::from_seconds(seconds).map_err(|_| unknown())?;
            return Ok(Self(TimeZone::fixed(offset)));
        }
        TimeZone::get(text).map(Self).map_err(|_| unknown())
    }
}

impl fmt::Display for LoadClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.iana_name() {
            Some(name) => f.write_str(name),
            None => {
                let seconds = self.offset_s(0);
                let sign = if seconds < 0 { '-' } else { '+' };
                write!(f, "{sign}{:02}:{:02}", seconds.abs() / 3_600, seconds.abs() / 60 % 60)
            }
        }
    }
}

/// What a local clock shows at the start of a UTC hour. All fields count from zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalHour {
    /// 0 to 23.
    pub hour_of_day: usize,
    /// 0 for Monday to 6 for Sunday.
    pub weekday: usize,
    /// 0 for January to 11 for December.
    pub month: usize,
    /// 0 for 1 January.
    pub day_of_year: i64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stretch_of_hours_has_the_change_of_the_clock_that_falls_into_it() {
        let instant =
            |text: &str| UnixMillis::new(text.parse::<Timestamp>().unwrap().as_millisecond()).unwrap();
        let lisbon: LoadClock = "Europe/Lisbon".parse().unwrap();
        let over = |from: &str, hours| lisbon.over(UtcHour::of(instant(from)), hours);
        // 2026-10-25: at 01:00Z from +01:00 to UTC.
        let change = Some((instant("2026-10-25T01:00:00Z"), UtcOffset::UTC));
        let summer = UtcOffset::new(3_600).unwrap();
        assert_eq!(over("2026-10-24T12:00:00Z", 14), LocalClock { offset: summer, change });
        assert_eq!(over("2026-10-24T12:00:00Z", 13), LocalClock::fixed(summer), "the end is not in it");
        assert_eq!(over("2026-10-25T01:00:00Z", 48), LocalClock::UTC);
        let utc = LoadClock::utc().over(UtcHour::of(instant("2026-10-24T12:00:00Z")), 10_000);
        assert_eq!(utc, LocalClock::UTC);
    }

    #[test]
    fn clocks_are_named_in_three_ways_and_nothing_else_is_one() {
        for name in ["UTC", "+05:30", "-05:00", "America/New_York"] {
            assert_eq!(name.parse::<LoadClock>().unwrap().to_string(), name);
        }
        for wrong in ["", "EST5", "+5", "+19:00", "-01:60", "Europe/Nowhere", "+é0:00"] {
            assert!(wrong.parse::<LoadClock>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_local_hour_follows_daylight_saving() {
        let clock: LoadClock = "America/New_York".parse().unwrap();
        // 2016-03-13T06:00Z is 01:00 in winter time; the hour after it is 03:00 in summer time, a Sunday.
        let before = UtcHour::new(404_958).unwrap();
        let local = clock.at(before);
        assert_eq!((local.hour_of_day, local.weekday, local.month), (1, 6, 2));
        assert_eq!(clock.at(before.plus(1).unwrap()).hour_of_day, 3);
    }
}
