//! Hours of UTC, in which series, forecasts and prices are counted.

use eroam_domain::time::UnixMillis;
use std::fmt;

/// Hours of a day.
pub(crate) const DAY: i64 = 24;
/// Hours of a week.
pub(crate) const WEEK: i64 = 168;
/// The number of the hour after the year 9999, where [`UnixMillis`] ends.
const END: i64 = 70_389_528;

/// A UTC hour, counted from 0 for the first hour of 1970 to the end of the year 9999: the same count as
/// [`UnixMillis::utc_hour`], which the ledger's forecasts and the price rule use.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UtcHour(i64);

impl UtcHour {
    /// An hour; `None` before 1970 or after 9999.
    #[must_use]
    pub fn new(hour: i64) -> Option<Self> {
        (0..END).contains(&hour).then_some(Self(hour))
    }

    /// The hour that contains an instant.
    #[must_use]
    pub fn of(instant: UnixMillis) -> Self {
        Self(instant.utc_hour())
    }

    /// Hours since 1970-01-01T00:00:00Z.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }

    /// The instant at which the hour starts.
    #[must_use]
    pub fn start(self) -> UnixMillis {
        // Within the years of an instant by construction, so the alternative is never taken.
        UnixMillis::from_utc_hour(self.0).unwrap_or(UnixMillis::EPOCH)
    }

    /// The hour `hours` later, or earlier when negative; `None` before 1970 or after 9999.
    #[must_use]
    pub fn plus(self, hours: i64) -> Option<Self> {
        self.0.checked_add(hours).and_then(Self::new)
    }

    /// How many hours it is after `earlier`; negative when it is before.
    #[must_use]
    pub const fn since(self, earlier: Self) -> i64 {
        self.0 - earlier.0
    }
}

impl fmt::Display for UtcHour {
    /// The instant at which it starts, as RFC 3339.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.start().fmt(f)
    }
}

impl fmt::Debug for UtcHour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_hour_is_the_last_that_an_instant_can_start() {
        assert!(UnixMillis::from_utc_hour(END - 1).is_some());
        assert!(UnixMillis::from_utc_hour(END).is_none());
        assert_eq!(UtcHour::new(END), None);
        assert_eq!(UtcHour::new(END - 1).unwrap().plus(1), None);
    }
}
