//! For how long credentials are issued, and when all of a registry end.
//!
//! ```text
//! window.from ── takes credentials ──► last intake ── each lasts at least its days ──► window.until
//! ```
//! A proof names its registry, so a registry's window is what is seen of a credential's end: the same for all of its crowd.

use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::registry::RegistryWindow;

const DAY_MS: u64 = 86_400_000;

/// For how many days a credential is issued at least, and for how many days a registry takes new ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Term {
    valid_days: u32,
    takes_days: u32,
}

impl Term {
    /// The greatest number of days: with its intake, a registry's window is below the ledger's limit of twenty years.
    pub const DAYS_MAX: u32 = 5_800;

    /// Credentials of at least so many days, in registries that take new ones for a quarter of that: the last to come into
    /// a registry shares its end with the first. `None` for no day and for more than [`Term::DAYS_MAX`].
    #[must_use]
    pub const fn of_days(valid_days: u32) -> Option<Self> {
        if valid_days == 0 || valid_days > Self::DAYS_MAX {
            return None;
        }
        Some(Self { valid_days, takes_days: valid_days.div_ceil(4) })
    }

    /// The window of a registry that is opened at `at`: whole days of UTC, so that nothing follows from an hour.
    #[must_use]
    pub fn window(self, at: UnixMillis) -> Option<RegistryWindow> {
        let midnight = at.utc_day().checked_mul(i64::try_from(DAY_MS).ok()?)?;
        let from = UnixMillis::new(midnight)?;
        let days = u64::from(self.takes_days) + u64::from(self.valid_days);
        Some(RegistryWindow { from, until: from.checked_add(DurationMs::from_millis(days * DAY_MS))? })
    }

    /// Whether a credential that is issued at `at` into a registry of this window lasts as long as it should.
    #[must_use]
    pub fn takes(self, window: RegistryWindow, at: UnixMillis) -> bool {
        window.contains(at) && self.last_intake(window).is_some_and(|last| at <= last)
    }

    /// Whether nine tenths of the days are over in which a registry of this window takes credentials.
    #[must_use]
    pub fn needs_next(self, window: RegistryWindow, at: UnixMillis) -> bool {
        let tenth = DurationMs::from_millis(u64::from(self.takes_days) * DAY_MS / 10);
        let soon = self.last_intake(window).and_then(|last| last.checked_sub(tenth));
        soon.is_none_or(|soon| at > soon)
    }

    fn last_intake(self, window: RegistryWindow) -> Option<UnixMillis> {
        window.until.checked_sub(DurationMs::from_millis(u64::from(self.valid_days) * DAY_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(ms: i64) -> UnixMillis {
        UnixMillis::new(ms).unwrap()
    }

    #[test]
    fn a_registry_takes_credentials_as_long_as_they_last_their_days() {
        const DAY: i64 = 86_400_000;
        let term = Term::of_days(8).unwrap();
        let window = term.window(at(100 * DAY + 5)).unwrap();
        assert_eq!(window, RegistryWindow { from: at(100 * DAY), until: at(110 * DAY) });
        for (instant, takes) in [
            (100 * DAY - 1, false),
            (100 * DAY, true),
            (102 * DAY, true),
            (102 * DAY + 1, false),
            (110 * DAY, false),
        ] {
            assert_eq!(term.takes(window, at(instant)), takes, "{instant}");
        }
        assert!(!term.needs_next(window, at(101 * DAY)) && term.needs_next(window, at(102 * DAY - 1)));
    }

    #[test]
    fn no_day_and_more_than_the_ledger_allows_are_no_term() {
        assert_eq!((Term::of_days(0), Term::of_days(Term::DAYS_MAX + 1)), (None, None));
        let longest = Term::of_days(Term::DAYS_MAX).unwrap().window(at(1)).unwrap();
        assert!(longest.is_sound());
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

        /// Whenever a registry is opened, it takes a credential at once, and none that is too short.
        #[test]
        fn what_is_taken_lasts_its_days(days in 1..=Term::DAYS_MAX, opened in 0..4_000_000_000_000i64, later in 0..600_000_000_000i64) {
            let term = Term::of_days(days).unwrap();
            let window = term.window(at(opened)).unwrap();
            prop_assert!(window.is_sound() && term.takes(window, at(window.from.get())));
            let issued = at(opened + later);
            let ends = issued.checked_add(DurationMs::from_millis(u64::from(days) * DAY_MS)).unwrap();
            prop_assert_eq!(term.takes(window, issued), ends <= window.until);
        }
    }
}
