//! Instants, civil dates, local clocks and settlement periods.
//!
//! There is no time-zone database in the core: a record carries its local clock as the offset from UTC at its start
//! and, when daylight saving changed during the session, the instant of that change. Those are inputs that both
//! sides see and sign, so every organisation computes the same local time for ever.

use crate::quantity::DurationMs;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// The first millisecond after the year 9999, the end of what [`UnixMillis`] holds.
const END_MS: i64 = 253_402_300_800_000;

/// Milliseconds since 1970-01-01T00:00:00Z, without leap seconds; from 1970 to the end of the year 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct UnixMillis(i64);

impl UnixMillis {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// An instant; `None` before 1970 or after 9999.
    #[must_use]
    pub fn new(ms: i64) -> Option<Self> {
        (0..END_MS).contains(&ms).then_some(Self(ms))
    }

    /// Milliseconds since the epoch.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The instant `duration` later; `None` after 9999.
    #[must_use]
    pub fn checked_add(self, duration: DurationMs) -> Option<Self> {
        self.0.checked_add(i64::try_from(duration.millis()).ok()?).and_then(Self::new)
    }

    /// The instant `duration` earlier; `None` before 1970.
    #[must_use]
    pub fn checked_sub(self, duration: DurationMs) -> Option<Self> {
        self.0.checked_sub(i64::try_from(duration.millis()).ok()?).and_then(Self::new)
    }

    /// How long it is since `earlier`; `None` when that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Option<DurationMs> {
        u64::try_from(self.0.checked_sub(earlier.0)?).ok().map(DurationMs::from_millis)
    }

    /// The number of the UTC day, 0 for 1970-01-01.
    #[must_use]
    pub const fn utc_day(self) -> i64 {
        self.0.div_euclid(DAY_MS)
    }

    /// The number of the UTC hour, 0 for the first hour of 1970.
    #[must_use]
    pub const fn utc_hour(self) -> i64 {
        self.0.div_euclid(DAY_MS / 24)
    }

    /// The start of a UTC hour, counted as [`UnixMillis::utc_hour`] does; `None` before 1970 or after 9999.
    #[must_use]
    pub fn from_utc_hour(hour: i64) -> Option<Self> {
        Self::new(hour.checked_mul(DAY_MS / 24)?)
    }
}

impl fmt::Display for UnixMillis {
    /// RFC 3339 in UTC, with milliseconds only where they are not zero: `2021-05-01T20:42:47Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let local = LocalClock::UTC.at(*self);
        let ms = local.ms_of_day;
        let (h, m, s, milli) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60, ms % 1_000);
        write!(f, "{}T{h:02}:{m:02}:{s:02}", local.date)?;
        if milli > 0 {
            write!(f, ".{milli:03}")?;
        }
        f.write_str("Z")
    }
}

impl fmt::Debug for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl BorshDeserialize for UnixMillis {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::new(i64::deserialize_reader(reader)?).ok_or_else(|| crate::codec::invalid("instant"))
    }
}

impl<'de> Deserialize<'de> for UnixMillis {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let ms = <i64 as Deserialize>::deserialize(deserializer)?;
        Self::new(ms).ok_or_else(|| serde::de::Error::custom("an instant lies between 1970 and 9999"))
    }
}

/// A date of the proleptic Gregorian calendar.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct CivilDate {
    year: i32,
    month: u8,
    day: u8,
}

impl CivilDate {
    /// A date from 1970-01-01 to 9999-12-31; `None` when it does not exist.
    #[must_use]
    pub fn new(year: i32, month: u8, day: u8) -> Option<Self> {
        let date = Self { year, month, day };
        let plausible = (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
        (plausible && Self::from_days(date.days()) == date).then_some(date)
    }

    /// The day after; `None` after 9999-12-31.
    #[must_use]
    pub fn next_day(self) -> Option<Self> {
        let next = Self::from_days(self.days().checked_add(1)?);
        Self::new(next.year, next.month, next.day)
    }

    /// The year.
    #[must_use]
    pub const fn year(self) -> i32 {
        self.year
    }

    /// The month, 1 to 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        self.month
    }

    /// The day of the month, from 1.
    #[must_use]
    pub const fn day(self) -> u8 {
        self.day
    }

    /// Days since 1970-01-01.
    #[must_use]
    #[allow(clippy::arithmetic_side_effects, reason = "years are bounded to 0..=10000, so nothing overflows")]
    pub const fn days(self) -> i64 {
        // Years are counted from March, so that the leap day is the last of its year (the usual civil-calendar count:
        // eras of 400 years have 146,097 days).
        let year = self.year as i64 - (self.month <= 2) as i64;
        let era = year.div_euclid(400);
        let year_of_era = year.rem_euclid(400);
        let month_from_march = (self.month as i64 + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + self.day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The date `days` days after 1970-01-01 (before it, when negative). `days` must be within ten thousand years,
    /// as every day number made from a [`UnixMillis`] is.
    #[must_use]
    #[allow(clippy::arithmetic_side_effects, reason = "days stay within ten thousand years")]
    const fn from_days(days: i64) -> Self {
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let day_of_era = shifted.rem_euclid(146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        Self { year: year as i32, month: month as u8, day: day as u8 }
    }
}

impl fmt::Display for CivilDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

impl std::str::FromStr for CivilDate {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad = || format!("`{s}` is no date: yyyy-mm-dd is expected");
        let mut parts = s.splitn(3, '-');
        let mut next = |width: usize| {
            parts.next().filter(|p| p.len() == width && p.bytes().all(|b| b.is_ascii_digit())).ok_or_else(bad)
        };
        let year = next(4)?.parse().map_err(|_| bad())?;
        let month = next(2)?.parse().map_err(|_| bad())?;
        let day = next(2)?.parse().map_err(|_| bad())?;
        Self::new(year, month, day).ok_or_else(bad)
    }
}

crate::codec::text_serde!(CivilDate);

impl BorshDeserialize for CivilDate {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        let (year, month, day) = <(i32, u8, u8)>::deserialize_reader(reader)?;
        Self::new(year, month, day).ok_or_else(|| crate::codec::invalid("date"))
    }
}

/// A month of the calendar, such as a bill covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CivilMonth {
    year: i32,
    month: u8,
}

impl CivilMonth {
    /// The month that `date` lies in.
    #[must_use]
    pub const fn of(date: CivilDate) -> Self {
        Self { year: date.year, month: date.month }
    }

    /// The month after it.
    #[must_use]
    pub const fn next(self) -> Self {
        if self.month >= 12 {
            Self { year: self.year.saturating_add(1), month: 1 }
        } else {
            Self { year: self.year, month: self.month.saturating_add(1) }
        }
    }
}

impl fmt::Display for CivilMonth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}", self.year, self.month)
    }
}

impl std::str::FromStr for CivilMonth {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        format!("{s}-01").parse().map(Self::of).map_err(|_| format!("`{s}` is no month: yyyy-mm is expected"))
    }
}

crate::codec::text_serde!(CivilMonth);

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// Monday to Sunday.
    pub const ALL: [Self; 7] = [
        Self::Monday,
        Self::Tuesday,
        Self::Wednesday,
        Self::Thursday,
        Self::Friday,
        Self::Saturday,
        Self::Sunday,
    ];

    /// The weekday of day `days` after 1970-01-01, which was a Thursday.
    #[must_use]
    const fn of_day(days: i64) -> Self {
        match days.rem_euclid(7) {
            0 => Self::Thursday,
            1 => Self::Friday,
            2 => Self::Saturday,
            3 => Self::Sunday,
            4 => Self::Monday,
            5 => Self::Tuesday,
            _ => Self::Wednesday,
        }
    }

    /// A bit of its own, Monday lowest.
    const fn bit(self) -> u8 {
        match self {
            Self::Monday => 1,
            Self::Tuesday => 2,
            Self::Wednesday => 4,
            Self::Thursday => 8,
            Self::Friday => 16,
            Self::Saturday => 32,
            Self::Sunday => 64,
        }
    }
}

/// A set of weekdays.
#[derive(Clone, Copy, PartialEq, Eq, Hash, BorshSerialize)]
pub struct Weekdays(u8);

impl Weekdays {
    /// Every day.
    pub const EVERY_DAY: Self = Self(0x7f);
    /// Monday to Friday.
    pub const WORKING_DAYS: Self = Self(0x1f);

    /// Whether `day` is in the set.
    #[must_use]
    pub const fn contains(self, day: Weekday) -> bool {
        self.0 & day.bit() != 0
    }

    /// The days in it, Monday first.
    pub fn iter(self) -> impl Iterator<Item = Weekday> {
        Weekday::ALL.into_iter().filter(move |d| self.contains(*d))
    }

    /// Whether no day is in it.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Weekday> for Weekdays {
    fn from_iter<I: IntoIterator<Item = Weekday>>(days: I) -> Self {
        Self(days.into_iter().fold(0, |set, day| set | day.bit()))
    }
}

impl fmt::Debug for Weekdays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl BorshDeserialize for Weekdays {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        match u8::deserialize_reader(reader)? {
            bits @ 0..=0x7f => Ok(Self(bits)),
            _ => Err(crate::codec::invalid("set of weekdays")),
        }
    }
}

impl Serialize for Weekdays {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de> Deserialize<'de> for Weekdays {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(<Vec<Weekday> as Deserialize>::deserialize(deserializer)?.into_iter().collect())
    }
}

/// A time of day with the resolution of a minute, `00:00` to `23:59`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Midnight at the start of the day.
    pub const MIDNIGHT: Self = Self(0);

    /// Hour 0 to 23, minute 0 to 59.
    #[must_use]
    pub fn new(hour: u16, minute: u16) -> Option<Self> {
        let minutes = hour.checked_mul(60)?.checked_add(minute)?;
        (hour < 24 && minute < 60).then_some(Self(minutes))
    }

    /// Milliseconds since midnight.
    #[must_use]
    #[allow(clippy::arithmetic_side_effects, reason = "at most 1,439 minutes")]
    pub const fn ms_of_day(self) -> u32 {
        self.0 as u32 * 60_000
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl fmt::Debug for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for TimeOfDay {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let parsed = match s.as_bytes() {
            [a, b, b':', c, d] if [a, b, c, d].iter().all(|x| x.is_ascii_digit()) => {
                s.split_once(':').and_then(|(h, m)| Self::new(h.parse().ok()?, m.parse().ok()?))
            }
            _ => None,
        };
        parsed.ok_or_else(|| format!("`{s}` is no time of day: hh:mm from 00:00 to 23:59 is expected"))
    }
}

crate::codec::text_serde!(TimeOfDay);

impl BorshDeserialize for TimeOfDay {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        match u16::deserialize_reader(reader)? {
            minutes @ 0..1_440 => Ok(Self(minutes)),
            _ => Err(crate::codec::invalid("time of day")),
        }
    }
}

/// Whether the time of day `ms_of_day` lies in the window from `start` to `end` (exclusive). A window whose end is
/// not after its start runs past midnight; one that is open on a side starts or ends at midnight.
///
/// Source: OCPI 2.2.1 mod_tariffs, TariffRestrictions: "to stop at end of the day use 00:00".
#[must_use]
pub fn in_daily_window(ms_of_day: u32, start: Option<TimeOfDay>, end: Option<TimeOfDay>) -> bool {
    let from = start.unwrap_or(TimeOfDay::MIDNIGHT);
    let until = end.unwrap_or(TimeOfDay::MIDNIGHT);
    if from < until {
        (from.ms_of_day()..until.ms_of_day()).contains(&ms_of_day)
    } else {
        ms_of_day >= from.ms_of_day() || ms_of_day < until.ms_of_day()
    }
}

/// What a local clock shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalTime {
    /// The date.
    pub date: CivilDate,
    /// The day of the week.
    pub weekday: Weekday,
    /// Milliseconds since local midnight.
    pub ms_of_day: u32,
}

/// Seconds east of UTC, from -18 to +18 hours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, Serialize)]
#[serde(transparent)]
pub struct UtcOffset(i32);

impl UtcOffset {
    /// UTC itself.
    pub const UTC: Self = Self(0);

    /// `seconds` east of UTC; `None` beyond 18 hours either way.
    #[must_use]
    pub fn new(seconds: i32) -> Option<Self> {
        (-64_800..=64_800).contains(&seconds).then_some(Self(seconds))
    }

    /// Seconds east of UTC.
    #[must_use]
    pub const fn seconds(self) -> i32 {
        self.0
    }
}

impl fmt::Display for UtcOffset {
    /// As ISO 8601 writes it: `+01:00`, and seconds only where they are not zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, seconds) = (if self.0 < 0 { '-' } else { '+' }, self.0.unsigned_abs());
        write!(f, "{sign}{:02}:{:02}", seconds / 3_600, seconds / 60 % 60)?;
        if seconds % 60 > 0 { write!(f, ":{:02}", seconds % 60) } else { Ok(()) }
    }
}

impl BorshDeserialize for UtcOffset {
    fn deserialize_reader<R: std::io::Read>(reader: &mut R) -> std::io::Result<Self> {
        Self::new(i32::deserialize_reader(reader)?).ok_or_else(|| crate::codec::invalid("offset from UTC"))
    }
}

impl<'de> Deserialize<'de> for UtcOffset {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(<i32 as Deserialize>::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom("an offset from UTC is at most 64800 seconds either way"))
    }
}

/// The clock on the wall during one session: an offset, and one change of it if daylight saving changed meanwhile.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct LocalClock {
    /// The offset at the start.
    pub offset: UtcOffset,
    /// From this instant on, that offset.
    pub change: Option<(UnixMillis, UtcOffset)>,
}

impl LocalClock {
    /// A clock that shows UTC.
    pub const UTC: Self = Self { offset: UtcOffset::UTC, change: None };

    /// A clock without a change.
    #[must_use]
    pub const fn fixed(offset: UtcOffset) -> Self {
        Self { offset, change: None }
    }

    /// What the clock shows at `instant`.
    #[must_use]
    pub fn at(&self, instant: UnixMillis) -> LocalTime {
        let ms = self.local_ms(instant);
        let day = ms.div_euclid(DAY_MS);
        let ms_of_day = u32::try_from(ms.rem_euclid(DAY_MS)).unwrap_or(0);
        LocalTime { date: CivilDate::from_days(day), weekday: Weekday::of_day(day), ms_of_day }
    }

    /// The first instant after `instant` at which the clock shows `time_of_day`, seen with the offset in force at
    /// `instant`; `None` at the end of time.
    #[must_use]
    pub fn next(&self, instant: UnixMillis, time_of_day: TimeOfDay) -> Option<UnixMillis> {
        let now = self.local_ms(instant).rem_euclid(DAY_MS);
        let ahead = i64::from(time_of_day.ms_of_day()).checked_sub(now)?.checked_sub(1)?.rem_euclid(DAY_MS);
        UnixMillis::new(instant.get().checked_add(ahead)?.checked_add(1)?)
    }

    /// The offset in force at `instant`.
    #[must_use]
    pub fn offset_at(&self, instant: UnixMillis) -> UtcOffset {
        match self.change {
            Some((at, offset)) if instant >= at => offset,
            _ => self.offset,
        }
    }

    /// The same clock as far as it shows between two instants: a change before or after them says nothing of a session.
    #[must_use]
    pub fn between(&self, start: UnixMillis, end: UnixMillis) -> Self {
        let change = self.change.filter(|(at, _)| (start < *at) && (*at < end));
        Self { offset: self.offset_at(start), change }
    }

    /// `instant` as this clock shows it, to the second, with its offset: `2021-05-01T22:42:47+02:00`.
    #[must_use]
    pub fn show(&self, instant: UnixMillis) -> String {
        let LocalTime { date, ms_of_day, .. } = self.at(instant);
        let (h, m, s) = (ms_of_day / 3_600_000, ms_of_day / 60_000 % 60, ms_of_day / 1_000 % 60);
        format!("{date}T{h:02}:{m:02}:{s:02}{}", self.offset_at(instant))
    }

    #[allow(clippy::arithmetic_side_effects, reason = "an instant before the year 10000 and 18 hours fit")]
    fn local_ms(&self, instant: UnixMillis) -> i64 {
        let offset = self.offset_at(instant);
        instant.get() + i64::from(offset.seconds()) * 1_000
    }
}

/// The most bytes of a time zone's name.
const ZONE_BYTES_MAX: usize = 64;

/// The name of a time zone of the IANA database, as `Europe/Lisbon`. Whether there is one of that name, whoever has the
/// database says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeZoneName(String);

impl TimeZoneName {
    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The zone whose clocks show UTC.
    #[must_use]
    pub fn utc() -> Self {
        Self("UTC".to_owned())
    }
}

impl fmt::Display for TimeZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::str::FromStr for TimeZoneName {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        // Source: IANA tz database, theory.html, "Names of timezones".
        let is_part = |part: &str| {
            part.starts_with(|first: char| first.is_ascii_alphabetic())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-".contains(&b))
        };
        if s.len() <= ZONE_BYTES_MAX && s.split('/').all(is_part) {
            return Ok(Self(s.to_owned()));
        }
        Err(format!("`{s}` is no time zone: a name of the IANA database is expected, as Europe/Lisbon"))
    }
}

crate::codec::text_serde!(TimeZoneName);

/// How often two parties settle. Periods are counted in UTC, so that every member agrees on their ends.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PeriodKind {
    /// A UTC day.
    Day,
    /// A week from Monday 00:00 UTC.
    Week,
    /// A UTC calendar month.
    Month,
}

/// One settlement period: the `index`-th day, week or month since January 1970.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SettlementPeriod {
    kind: PeriodKind,
    index: u32,
}

impl SettlementPeriod {
    /// The period of that kind that contains `instant`.
    #[must_use]
    pub fn containing(kind: PeriodKind, instant: UnixMillis) -> Self {
        let day = instant.utc_day();
        let index = match kind {
            PeriodKind::Day => day,
            // 1970-01-01 was a Thursday: week 0 began on Monday 1969-12-29.
            PeriodKind::Week => day.saturating_add(3).div_euclid(7),
            PeriodKind::Month => {
                let date = CivilDate::from_days(day);
                i64::from(date.year)
                    .saturating_sub(1970)
                    .saturating_mul(12)
                    .saturating_add(i64::from(date.month))
                    .saturating_sub(1)
            }
        };
        Self { kind, index: u32::try_from(index).unwrap_or(0) }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(self) -> PeriodKind {
        self.kind
    }

    /// Its number since January 1970.
    #[must_use]
    pub const fn index(self) -> u32 {
        self.index
    }

    /// The one after it.
    #[must_use]
    pub const fn next(self) -> Self {
        Self { kind: self.kind, index: self.index.saturating_add(1) }
    }

    /// Its first instant; `None` after 9999.
    #[must_use]
    pub fn start(self) -> Option<UnixMillis> {
        let days = match self.kind {
            PeriodKind::Day => i64::from(self.index),
            PeriodKind::Week => i64::from(self.index).checked_mul(7)?.checked_sub(3)?.max(0),
            PeriodKind::Month => {
                let year = i32::try_from(self.index / 12).ok()?.checked_add(1970)?;
                let month = u8::try_from(self.index % 12).ok()?.checked_add(1)?;
                CivilDate::new(year, month, 1)?.days()
            }
        };
        UnixMillis::new(days.checked_mul(DAY_MS)?)
    }

    /// The first instant after it; `None` after 9999.
    #[must_use]
    pub fn end(self) -> Option<UnixMillis> {
        self.next().start()
    }
}

impl fmt::Display for SettlementPeriod {
    /// `2021-05` for a month, `2021-05-03` for a day, `2021-05-03/P7D` for a week.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let start = self.start().map_or(CivilDate::from_days(0), |s| LocalClock::UTC.at(s).date);
        match self.kind {
            PeriodKind::Day => write!(f, "{start}"),
            PeriodKind::Week => write!(f, "{start}/P7D"),
            PeriodKind::Month => write!(f, "{:04}-{:02}", start.year, start.month),
        }
    }
}

impl fmt::Debug for SettlementPeriod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for SettlementPeriod {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        let bad =
            || format!("`{s}` is no settlement period: yyyy-mm, yyyy-mm-dd or yyyy-mm-dd/P7D is expected");
        let (kind, date) = match s.strip_suffix("/P7D") {
            Some(date) => (PeriodKind::Week, date.to_owned()),
            None if s.len() == 7 => (PeriodKind::Month, format!("{s}-01")),
            None => (PeriodKind::Day, s.to_owned()),
        };
        let date: CivilDate = date.parse().map_err(|_| bad())?;
        let start = date.days().checked_mul(DAY_MS).and_then(UnixMillis::new).ok_or_else(bad)?;
        Ok(Self::containing(kind, start))
    }
}

crate::codec::text_serde!(SettlementPeriod);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(text: &str) -> UnixMillis {
        UnixMillis::new(text.parse::<jiff::Timestamp>().unwrap().as_millisecond()).unwrap()
    }

    #[test]
    fn the_clock_changes_at_the_named_instant() {
        // Oslo, 2019-03-31: at 01:00Z the offset goes from +1 h to +2 h.
        let change = at("2019-03-31T01:00:00Z");
        let clock = LocalClock {
            offset: UtcOffset::new(3_600).unwrap(),
            change: Some((change, UtcOffset::new(7_200).unwrap())),
        };
        assert_eq!(clock.at(at("2019-03-31T00:59:59Z")).ms_of_day, 7_199_000);
        assert_eq!(clock.at(change).ms_of_day, 10_800_000);
        assert_eq!(clock.at(change).weekday, Weekday::Sunday);
    }

    #[test]
    fn a_daily_window_may_run_past_midnight() {
        let t = |h, m| TimeOfDay::new(h, m);
        let hour = 3_600_000;
        for (start, end, ms, want) in [
            (t(8, 0), t(20, 0), 8 * hour, true),
            (t(8, 0), t(20, 0), 20 * hour, false),
            (t(22, 0), t(6, 0), 23 * hour, true),
            (t(22, 0), t(6, 0), 5 * hour, true),
            (t(22, 0), t(6, 0), 12 * hour, false),
            (t(17, 0), t(0, 0), 23 * hour, true),
            (t(17, 0), t(0, 0), 0, false),
            (None, t(6, 0), 0, true),
            (None, t(6, 0), 6 * hour, false),
            (t(6, 0), None, 5 * hour, false),
            (t(0, 0), t(0, 0), 5 * hour, true),
            (None, None, 5 * hour, true),
        ] {
            assert_eq!(in_daily_window(ms, start, end), want, "{start:?} {end:?} {ms}");
        }
    }

    #[test]
    fn the_next_time_of_day_is_strictly_ahead() {
        let clock = LocalClock::fixed(UtcOffset::new(3_600).unwrap());
        let noon = TimeOfDay::new(12, 0).unwrap();
        assert_eq!(clock.next(at("2021-05-01T10:59:00Z"), noon), Some(at("2021-05-01T11:00:00Z")));
        assert_eq!(clock.next(at("2021-05-01T11:00:00Z"), noon), Some(at("2021-05-02T11:00:00Z")));
    }

    #[test]
    fn a_clock_shows_its_offset_and_only_the_changes_between_two_instants() {
        let offset = |seconds| UtcOffset::new(seconds).unwrap();
        for (seconds, text) in [(0, "+00:00"), (3_600, "+01:00"), (-12_600, "-03:30"), (-2_192, "-00:36:32")]
        {
            assert_eq!(offset(seconds).to_string(), text);
        }
        let change = at("2026-10-25T01:00:00Z");
        let clock = LocalClock { offset: offset(7_200), change: Some((change, offset(3_600))) };
        let (before, after) = (at("2026-10-25T00:59:59.999Z"), at("2026-10-25T03:00:00Z"));
        assert_eq!(clock.show(before), "2026-10-25T02:59:59+02:00");
        assert_eq!(clock.show(change), "2026-10-25T02:00:00+01:00");
        assert_eq!(clock.between(before, after), clock);
        for (start, end, seconds) in [(before, change, 7_200), (change, after, 3_600), (after, after, 3_600)]
        {
            assert_eq!(clock.between(start, end), LocalClock::fixed(offset(seconds)), "{start} to {end}");
        }
    }

    #[test]
    fn a_time_zone_has_a_name_of_the_databases_form() {
        for text in
            ["UTC", "Europe/Lisbon", "America/Argentina/Buenos_Aires", "Etc/GMT+1", "America/Port-au-Prince"]
        {
            assert_eq!(text.parse::<TimeZoneName>().map(|zone| zone.to_string()), Ok(text.to_owned()));
        }
        let long = format!("Europe/{}", "a".repeat(64));
        for text in [
            "",
            "/",
            "Europe/",
            "/Lisbon",
            "+01:00",
            "Europe Lisbon",
            "../etc/passwd",
            "Europe/Lisboa\u{e3}",
            &long,
        ] {
            let refused = text.parse::<TimeZoneName>().unwrap_err();
            assert_eq!(
                refused,
                format!(
                    "`{text}` is no time zone: a name of the IANA database is expected, as Europe/Lisbon"
                )
            );
        }
    }

    #[test]
    fn periods_tile_time() {
        for kind in [PeriodKind::Day, PeriodKind::Week, PeriodKind::Month] {
            let mut period = SettlementPeriod::containing(kind, at("2019-12-30T12:00:00Z"));
            for _ in 0..60 {
                let (start, end) = (period.start().unwrap(), period.end().unwrap());
                assert_eq!(SettlementPeriod::containing(kind, start), period);
                assert_eq!(
                    SettlementPeriod::containing(kind, UnixMillis::new(end.get() - 1).unwrap()),
                    period
                );
                assert_eq!(period.to_string().parse(), Ok(period));
                period = period.next();
            }
        }
        assert_eq!(
            SettlementPeriod::containing(PeriodKind::Month, at("2021-05-31T23:59:59Z")).to_string(),
            "2021-05"
        );
        assert_eq!(
            SettlementPeriod::containing(PeriodKind::Week, at("2021-05-09T00:00:00Z")).to_string(),
            "2021-05-03/P7D"
        );
    }

    #[test]
    fn dates_that_do_not_exist_are_refused() {
        for text in ["2021-02-29", "2020-13-01", "2020-00-01", "1969-12-31", "20-01-01", "2020-1-1", "x"] {
            assert!(text.parse::<CivilDate>().is_err(), "{text}");
        }
        assert!("2020-02-29".parse::<CivilDate>().is_ok());
        for text in ["24:00", "7:00", "12:60", "noon"] {
            assert!(text.parse::<TimeOfDay>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn civil_time_agrees_with_jiff(ms in 0i64..END_MS - 64_800_000, offset in -64_800i32..=64_800) {
            let instant = UnixMillis::new(ms).unwrap();
            let ours = LocalClock::fixed(UtcOffset::new(offset).unwrap()).at(instant);
            let zone = jiff::tz::TimeZone::fixed(jiff::tz::Offset::from_seconds(offset).unwrap());
            let theirs = jiff::Timestamp::from_millisecond(ms).unwrap().to_zoned(zone);
            prop_assert_eq!(ours.date.to_string(), theirs.date().to_string());
            prop_assert_eq!(ours.weekday as i8, theirs.weekday().to_monday_zero_offset());
            let clock = theirs.time();
            let theirs_ms = (i64::from(clock.hour()) * 60 + i64::from(clock.minute())) * 60_000
                + i64::from(clock.second()) * 1_000 + i64::from(clock.millisecond());
            prop_assert_eq!(i64::from(ours.ms_of_day), theirs_ms);
        }

        #[test]
        fn a_date_counts_its_days(days in 0i64..2_932_896) {
            prop_assert_eq!(CivilDate::from_days(days).days(), days);
        }
    }
}
