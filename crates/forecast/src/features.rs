//! What a model knows when it forecasts one hour, `horizon` hours ahead.
//!
//! Everything is relative to the mean load of the last known week, so that a model does not depend on the size of the
//! grid, and an error counts as a share of the load, as prices see it. Public holidays are not known here.

use crate::clock::LoadClock;
use crate::hour::{DAY, UtcHour, WEEK};
use crate::ridge::Row;
use crate::series::LoadSeries;

/// Common columns without other influences: lags, means and the time of the year.
pub const COLUMNS: usize = 44;
/// Cells of each hour of the day: seven weekdays, twelve months, and slopes of the lags that matter most.
pub const CELLS: usize = 7 + 12 + SLOPES.len();

/// The columns whose slope differs with the hour of the day: the four newest loads; the target's hour one, two, seven
/// and fourteen days ago; the origin's hour a day ago with the hour before it, and a week ago; the mean of the last day.
const SLOPES: [usize; 12] = [0, 1, 2, 3, 10, 11, 25, 26, 30, 34, 16, 17];
/// Where the last known load stands among the columns.
pub(crate) const LAST_KNOWN: usize = 0;
/// Where the load of the same hour a day ago stands.
pub(crate) const DAY_AGO: usize = 10;
/// Where the load of the same hour a week ago stands.
pub(crate) const WEEK_AGO: usize = 16;

/// Hours of the last known week that must be known for the scale to mean anything.
const SCALE_HOURS_MIN: u32 = 120;

/// How far ahead a forecast is, in hours: 1 for the hour after the last known one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Horizon(u8);

impl Horizon {
    /// The longest: a day.
    pub const MAX: Self = Self(24);

    /// 1 to 24 hours; `None` otherwise.
    #[must_use]
    pub const fn new(hours: u8) -> Option<Self> {
        if 1 <= hours && hours <= 24 { Some(Self(hours)) } else { None }
    }

    /// From one hour to a day.
    pub fn all() -> impl Iterator<Item = Self> {
        (1..=24).map(Self)
    }

    /// In hours.
    #[must_use]
    pub const fn hours(self) -> i64 {
        self.0 as i64
    }
}

/// A row, and what its target is measured in.
#[derive(Clone, Debug, PartialEq)]
pub struct Features {
    /// The columns.
    pub row: Row,
    /// Kilowatts: the mean of the last known week. The target is `load / scale - 1`.
    pub scale_kw: f64,
}

/// How many common columns rows of this series have.
#[must_use]
pub fn columns(series: &LoadSeries) -> usize {
    COLUMNS + series.exogenous().iter().map(|e| e.kind().columns()).sum::<usize>()
}

/// The columns of `target`, from loads up to `horizon` hours before it; `None` where a lag falls into a hole or before
/// the series.
#[must_use]
pub fn features(
    series: &LoadSeries,
    clock: &LoadClock,
    target: UtcHour,
    horizon: Horizon,
) -> Option<Features> {
    let h = horizon.hours();
    let origin = target.plus(1 - h)?;
    let past = series.before(origin);
    let scale_kw = past.mean_kw(origin, WEEK, SCALE_HOURS_MIN)?;
    if scale_kw <= 0.0 {
        return None;
    }
    let relative = |kw: f64| kw / scale_kw - 1.0;
    let lag = |hours: i64| past.kw(target.plus(-hours)?).map(relative);
    // Of `hours` hours, the last of them `back` hours before the target; three quarters must be known.
    let mean = |back: i64, hours: i64| {
        let known_min = (hours as u32 * 3).div_ceil(4);
        past.mean_kw(target.plus(1 - back)?, hours, known_min).map(relative)
    };
    let local = clock.at(target);
    let mut common = Vec::with_capacity(COLUMNS);
    for back in [0, 1, 2, 3, 4, 5, 6, 8, 11, 12] {
        common.push(lag(h + back)?);
    }
    for days in 1..=7 {
        common.push(lag(days * DAY)?);
    }
    // In the second week of a series, the week before stands for the one that is not there.
    common.push(lag(2 * WEEK).or_else(|| lag(WEEK))?);
    // The hours beside the target's on earlier days, and the origin's own on those days.
    for hours in [DAY + 1, 2 * DAY - 1, 2 * DAY + 1, WEEK - 1, WEEK + 1, WEEK + 2, WEEK - 2] {
        common.push(lag(hours)?);
    }
    for back in [DAY, DAY + 1, DAY + 2, 2 * DAY, 3 * DAY, WEEK, WEEK + 1, WEEK + 2] {
        common.push(lag(h + back)?);
    }
    common.push(lag(h + WEEK + DAY).or_else(|| lag(h + DAY))?);
    common.push(mean(h, DAY)?);
    common.push(mean(h + DAY, DAY)?);
    common.push(mean(h + 2 * DAY, DAY)?);
    common.push(mean(h + WEEK, WEEK).unwrap_or(0.0));
    common.push(mean(h + WEEK - DAY, DAY)?);
    for harmonic in [1, 2] {
        let (sine, cosine) = turn(local.day_of_year * harmonic);
        common.extend([sine, cosine]);
    }
    // The level that weekdays and months share; small, so that its penalty is not.
    common.push(0.1);
    let mut cells = vec![0.0; CELLS];
    cells[local.weekday] = 1.0;
    cells[7 + local.month] = 1.0;
    for (cell, column) in cells[19..].iter_mut().zip(SLOPES) {
        *cell = common[column];
    }
    for influence in series.exogenous() {
        influence.push_columns(&mut common, target, h);
    }
    Some(Features { row: Row { hour_of_day: local.hour_of_day, common, cells }, scale_kw })
}

/// Sine and cosine of a day of the year as an angle, from parabolas: exact operations, unlike a library's sine, whose
/// last bits differ between machines. It is at most 0.06 off, which is still a smooth year.
fn turn(day: i64) -> (f64, f64) {
    let wave = |turns: f64| {
        let phase = turns - turns.floor();
        let half = if phase < 0.5 { phase } else { phase - 0.5 };
        let arch = 8.0 * half * (1.0 - 2.0 * half);
        if phase < 0.5 { arch } else { -arch }
    };
    let turns = day as f64 / 365.25;
    (wave(turns), wave(turns + 0.25))
}
