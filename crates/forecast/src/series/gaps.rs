//! Hours without a load: a few between known ones are interpolated, more stay empty.

use super::finding::{Lines, SeriesFault};
use super::read::Hours;
use crate::hour::UtcHour;
use eroam_domain::quantity::Watts;

/// Hours of the shortest month: a gap of at least this is a missing month.
const MONTH_HOURS: u64 = 28 * 24;

/// Fills gaps of up to `filled_max` hours on the straight line between their neighbours, rounded to the nearest watt.
/// `load` starts and ends with a known hour. Gives the filled hours.
pub(super) fn fill(
    first: UtcHour,
    load: &mut [Option<Watts>],
    filled_max: u64,
    hours: &mut Hours,
) -> Vec<UtcHour> {
    let mut filled = Vec::new();
    let known: Vec<(usize, Watts)> =
        load.iter().enumerate().filter_map(|(at, value)| value.map(|watts| (at, watts))).collect();
    for pair in known.windows(2) {
        let [(before, low), (after, high)] = *pair else { continue };
        let missing = (after - before - 1) as u64;
        if missing == 0 {
            continue;
        }
        let Some(from) = first.plus(before as i64 + 1) else { continue };
        let line = |at: usize| {
            let hour = first.plus(at as i64);
            hour.and_then(|hour| hours.placed.get(&hour)).map_or(0, |placed| placed.line)
        };
        let (a, b) = (line(before), line(after));
        let lines = Lines { first: a.min(b), last: a.max(b) };
        let fault = if missing <= filled_max {
            for step in 1..=missing {
                load[before + step as usize] = Some(between(low, high, step, missing + 1));
                filled.extend(from.plus(step as i64 - 1));
            }
            SeriesFault::Interpolated { from, hours: missing }
        } else if missing < MONTH_HOURS {
            SeriesFault::Hole { from, hours: missing }
        } else {
            SeriesFault::MissingMonth { from, hours: missing }
        };
        hours.find(lines, fault);
    }
    filled
}

/// The point after `step` of `steps` steps from `low` to `high`, to the nearest watt, halves up.
fn between(low: Watts, high: Watts, step: u64, steps: u64) -> Watts {
    let (low, high) = (u128::from(low.get()), u128::from(high.get()));
    let (step, steps) = (u128::from(step), u128::from(steps));
    let weighted = low * (steps - step) + high * step;
    let nearest = (weighted * 2 + steps) / (steps * 2);
    // Between two numbers of 64 bits.
    Watts::new(u64::try_from(nearest).unwrap_or(u64::MAX))
}
