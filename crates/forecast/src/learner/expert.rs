//! The experts that compete for a horizon: four regressions and three rules.

use crate::features::{DAY_AGO, Features, LAST_KNOWN, WEEK_AGO};
use crate::ridge::Coefficients;
use std::fmt;

/// How many there are.
pub(super) const EXPERTS: usize = 7;
/// How strongly the coefficients of single hours of the day are drawn to zero.
pub(super) const CELL_PENALTIES: [f64; 2] = [0.1, 10.0];
/// How strongly those that hold at any hour are, for each of these.
pub(super) const COMMON_PENALTIES: [f64; 2] = [0.01, 1.0];

/// One way to forecast an hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expert {
    /// The regression with the `n`-th pair of penalties, 0 to 3.
    Ridge(u8),
    /// The hour is like the last known one.
    Persistence,
    /// The hour is like the same hour a day before.
    DayAgo,
    /// The hour is like the same hour a week before.
    WeekAgo,
}

impl Expert {
    /// All of them; the first of equals wins.
    pub(super) const fn all() -> [Self; EXPERTS] {
        [
            Self::Ridge(0),
            Self::Ridge(1),
            Self::Ridge(2),
            Self::Ridge(3),
            Self::Persistence,
            Self::DayAgo,
            Self::WeekAgo,
        ]
    }

    /// Its place among all.
    pub(super) const fn index(self) -> u8 {
        match self {
            Self::Ridge(n) => n,
            Self::Persistence => 4,
            Self::DayAgo => 5,
            Self::WeekAgo => 6,
        }
    }

    /// Its forecast in kilowatts; `None` for a regression that is not solved yet.
    pub(super) fn load_kw(self, features: &Features, coefficients: &[Coefficients]) -> Option<f64> {
        let relative = match self {
            Self::Ridge(n) => coefficients.get(usize::from(n))?.predict(&features.row),
            Self::Persistence => features.row.common[LAST_KNOWN],
            Self::DayAgo => features.row.common[DAY_AGO],
            Self::WeekAgo => features.row.common[WEEK_AGO],
        };
        Some((relative + 1.0) * features.scale_kw)
    }
}

impl fmt::Display for Expert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ridge(n) => write!(f, "ridge {n}"),
            Self::Persistence => f.write_str("persistence"),
            Self::DayAgo => f.write_str("day ago"),
            Self::WeekAgo => f.write_str("week ago"),
        }
    }
}
