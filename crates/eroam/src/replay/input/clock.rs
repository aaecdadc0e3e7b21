//! Instants, local clocks and durations as session files write them.

use jiff::civil::DateTime;
use jiff::fmt::rfc2822::DateTimeParser;
use jiff::fmt::temporal::Pieces;
use jiff::tz::{AmbiguousOffset, Offset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::row::{Fault, FaultKind, shorten};

/// A local clock: tells offsets, and turns local times into instants.
#[derive(Clone)]
pub(super) struct Zone(TimeZone);

impl Zone {
    /// The zone of an IANA name, from the bundled database.
    pub(super) fn named(name: &str) -> Option<Self> {
        TimeZone::get(name).ok().map(Self)
    }

    /// Seconds east of UTC at an instant.
    pub(super) fn offset_s(&self, at: Timestamp) -> i32 {
        self.0.to_offset(at).seconds()
    }

    /// The year that the local clock shows.
    pub(super) fn year(&self, at: Timestamp) -> i16 {
        self.0.to_datetime(at).year()
    }

    /// The first change of the offset strictly between two instants, with the new offset in seconds east of UTC.
    /// A change of name or of daylight-saving flag alone does not count.
    pub(super) fn change_within(&self, start: Timestamp, end: Timestamp) -> Option<(Timestamp, i32)> {
        let before = self.offset_s(start);
        self.0
            .following(start)
            .take_while(|change| change.timestamp() < end)
            .map(|change| (change.timestamp(), change.offset().seconds()))
            .find(|(_, after)| *after != before)
    }

    /// The instant of a local time. Where the clock was set back and shows the time twice, the earlier one that is
    /// not before `not_before`: a file without offsets does not tell, and a session cannot end before it starts.
    ///
    /// # Errors
    ///
    /// A local time that the clock skipped.
    pub(super) fn instant(
        &self,
        field: &'static str,
        local: DateTime,
        not_before: Option<Timestamp>,
    ) -> Result<Timestamp, Fault> {
        let at = |offset: Offset| {
            offset
                .to_timestamp(local)
                .map_err(|_| not_a_date(field, &local.to_string(), "a year within ±9999"))
        };
        match self.0.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => at(offset),
            AmbiguousOffset::Fold { before, after } => {
                let earlier = at(before)?;
                if not_before.is_some_and(|limit| earlier < limit) { at(after) } else { Ok(earlier) }
            }
            AmbiguousOffset::Gap { .. } => {
                let zone = self.0.iana_name().unwrap_or("the zone").to_string();
                Err(Fault::new(field, FaultKind::SkippedLocalTime { found: local.to_string(), zone }))
            }
        }
    }
}

/// Parses a local time by a `strptime` pattern; `form` says the pattern in words.
pub(super) fn local(
    field: &'static str,
    text: &str,
    pattern: &str,
    form: &'static str,
) -> Result<DateTime, Fault> {
    DateTime::strptime(pattern, text).map_err(|_| not_a_date(field, text, form))
}

/// Parses a time in UTC by a `strptime` pattern.
pub(super) fn utc(
    field: &'static str,
    text: &str,
    pattern: &str,
    form: &'static str,
) -> Result<Timestamp, Fault> {
    let time = local(field, text, pattern, form)?;
    Offset::UTC.to_timestamp(time).map_err(|_| not_a_date(field, text, form))
}

/// Parses an RFC 2822 date, as ACN-Data writes it. A weekday that contradicts the date is an error.
pub(super) fn rfc2822(field: &'static str, text: &str) -> Result<Timestamp, Fault> {
    DateTimeParser::new()
        .parse_timestamp(text)
        .map_err(|_| not_a_date(field, text, "`Sat, 01 May 2021 20:42:47 GMT`"))
}

/// Parses an RFC 3339 timestamp and tells its offset; without offset it is UTC (OCPI 2.2.1 types, DateTime).
pub(super) fn rfc3339(field: &'static str, text: &str) -> Result<(Timestamp, Zone), Fault> {
    let refuse = || not_a_date(field, text, "`2015-06-29T20:39:09Z`");
    let pieces = Pieces::parse(text).map_err(|_| refuse())?;
    let time = pieces.time().ok_or_else(refuse)?;
    let offset = pieces.to_numeric_offset().unwrap_or(Offset::UTC);
    let at = offset.to_timestamp(pieces.date().to_datetime(time)).map_err(|_| refuse())?;
    Ok((at, Zone(TimeZone::fixed(offset))))
}

/// Parses `h:mm:ss`, hours unbounded.
pub(super) fn hours_minutes_seconds(field: &'static str, text: &str) -> Result<SignedDuration, Fault> {
    let part = |part: Option<&str>, limit: u32| {
        part.filter(|digits| digits.len() <= 6 && digits.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|digits| digits.parse::<u32>().ok())
            .filter(|value| *value < limit)
    };
    let mut parts = text.split(':');
    let parsed =
        (part(parts.next(), 1_000_000), part(parts.next(), 60), part(parts.next(), 60), parts.next());
    match parsed {
        (Some(hours), Some(minutes), Some(seconds), None) => {
            Ok(SignedDuration::from_secs(i64::from(hours) * 3600 + i64::from(minutes * 60 + seconds)))
        }
        _ => Err(Fault::new(field, FaultKind::NotADuration { found: shorten(text), form: "h:mm:ss" })),
    }
}

fn not_a_date(field: &'static str, found: &str, form: &'static str) -> Fault {
    Fault::new(field, FaultKind::NotADate { found: shorten(found), form })
}
