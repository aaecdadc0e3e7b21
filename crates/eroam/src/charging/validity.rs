//! Whether credentials of a revocation registry count at an instant, by the window that the ledger has of it.
//!
//! In default mode this is how a contract ends: the proof shows which registry its credential is of, and no day. The window is
//! in the state, so it comes with a proof; it never changes, so it is looked up once. A registry without a window ends never,
//! and is refused: unknown is not allowed.

use super::ChargingError;
use super::catalogue::{Catalogue, CatalogueError};
use eroam_domain::charge::Denial;
use eroam_domain::time::{CivilDate, LocalClock, UnixMillis};
use eroam_domain::visit::Denied;
use eroam_ledger::registry::RegistryWindow;
use eroam_ssi::anoncreds::ObjectId;

/// How a credential of a registry stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Validity {
    /// It counts.
    Current,
    /// It counts from later on.
    NotYet(UnixMillis),
    /// It counted before this time.
    Over(UnixMillis),
    /// The ledger does not say until when.
    Endless,
}

impl Validity {
    pub(super) fn of(window: Option<RegistryWindow>, at: UnixMillis) -> Self {
        match window {
            None => Self::Endless,
            Some(window) if at < window.from => Self::NotYet(window.from),
            Some(window) if window.contains(at) => Self::Current,
            Some(window) => Self::Over(window.until),
        }
    }

    /// How credentials of a registry stand at `at`.
    ///
    /// # Errors
    /// [`CatalogueError`]; nobody is believed to have a credential that counts then.
    pub(super) fn at(
        catalogue: &Catalogue,
        registry: &ObjectId,
        at: UnixMillis,
    ) -> Result<Self, CatalogueError> {
        Ok(Self::of(catalogue.registry_window(registry)?, at))
    }

    /// What a driver whose contract it is is told at a station.
    pub(super) fn of_contract(self) -> Result<(), Denied> {
        let (denial, reason) = match self {
            Self::Current => return Ok(()),
            Self::NotYet(_) => (Denial::NotYetValid, Denial::NotYetValid.to_string()),
            Self::Over(until) => {
                (Denial::Ended, format!("your contract ended with {}: {ENROL_AGAIN}", last_day(until)))
            }
            Self::Endless => (
                Denial::ProofRejected,
                format!("the ledger does not say until when your contract is good: {ENROL_AGAIN}"),
            ),
        };
        Err(Denied { denial, reason })
    }

    /// What a driver is told of a station whose credential it is.
    pub(super) fn of_station(self) -> Result<(), ChargingError> {
        match self {
            Self::Current => Ok(()),
            Self::NotYet(_) | Self::Over(_) | Self::Endless => Err(ChargingError::StationOver),
        }
    }
}

/// What helps.
const ENROL_AGAIN: &str = "enrol again with your provider, or charge with another one";

/// The last day of a window that ends before `until`.
pub(super) fn last_day(until: UnixMillis) -> CivilDate {
    let last = UnixMillis::new(until.get().saturating_sub(1)).unwrap_or(UnixMillis::EPOCH);
    LocalClock::UTC.at(last).date
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_counts_within_its_registrys_window_alone() {
        let at = |ms| UnixMillis::new(ms).unwrap();
        let (from, until) = (at(86_400_000), at(3 * 86_400_000));
        let window = Some(RegistryWindow { from, until });
        for (window, instant, expected, says) in [
            (window, 86_399_999, Validity::NotYet(from), "has not started"),
            (window, 86_400_000, Validity::Current, ""),
            (window, 3 * 86_400_000 - 1, Validity::Current, ""),
            (
                window,
                3 * 86_400_000,
                Validity::Over(until),
                "your contract ended with 1970-01-03: enrol again",
            ),
            (None, 86_400_000, Validity::Endless, "does not say until when"),
        ] {
            let found = Validity::of(window, at(instant));
            assert_eq!(found, expected, "{instant}");
            assert_eq!(found.of_station().is_ok(), expected == Validity::Current);
            match found.of_contract() {
                Ok(()) => assert_eq!(expected, Validity::Current),
                Err(denied) => assert!(denied.reason.contains(says), "{}", denied.reason),
            }
        }
    }
}
