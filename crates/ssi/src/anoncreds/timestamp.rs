//! Instants as AnonCreds writes them.

use super::error::AnonCredsError;
use eroam_domain::time::UnixMillis;
use std::fmt;

/// Seconds since 1970-01-01T00:00:00Z, until the year 9999: which status list is meant.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// An instant of that many seconds.
    ///
    /// # Errors
    /// [`AnonCredsError::Field`] after the year 9999.
    pub fn new(seconds: u64) -> Result<Self, AnonCredsError> {
        let ms = seconds.checked_mul(1000).and_then(|ms| i64::try_from(ms).ok()).and_then(UnixMillis::new);
        ms.map(|_| Self(seconds)).ok_or_else(|| AnonCredsError::field("timestamp", "after the year 9999"))
    }

    /// Seconds since the epoch.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0
    }

    /// The instant in milliseconds.
    #[must_use]
    pub fn instant(self) -> UnixMillis {
        let ms = i64::try_from(self.0.saturating_mul(1000)).ok().and_then(UnixMillis::new);
        // The constructor refused what does not fit.
        ms.unwrap_or(UnixMillis::EPOCH)
    }
}

impl From<UnixMillis> for Timestamp {
    /// The second in which the instant lies.
    fn from(instant: UnixMillis) -> Self {
        Self(u64::try_from(instant.get().div_euclid(1000)).unwrap_or(0))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.instant(), f)
    }
}
