//! Loads that cannot be: zeros, a stuck meter, a slip of a thousand, anything far from the usual.
//!
//! The measure is the median of the whole file, so a slip in less than half of it cannot hide. Nothing is corrected:
//! a slip of a thousand looks the same as a broken meter, and only the file's owner knows which it is.

use super::finding::{Lines, SeriesFault};
use super::read::Hours;
use crate::hour::UtcHour;
use eroam_domain::quantity::Watts;

/// More than the world consumes.
pub const LOAD_WATTS_MAX: u64 = 10_000_000_000_000;
/// A load of a grid zone is never above this many times the median...
const ABOVE_MAX: f64 = 8.0;
/// ... nor below this part of it.
const BELOW_MIN: f64 = 1.0 / 20.0;
/// What counts as a thousand, given that the load itself varies.
const THOUSAND: std::ops::Range<f64> = 125.0..8_000.0;
/// A load in watts that stays the same for so long is a stuck meter.
const STUCK_HOURS_MIN: usize = 24;

#[derive(Clone, Copy, PartialEq)]
enum Verdict {
    Usual,
    Zero,
    ThousandTimes,
    Thousandth,
    Absurd,
}

fn judge(load: Watts, usual: f64) -> Verdict {
    let share = load.get() as f64 / usual;
    if load.is_zero() {
        Verdict::Zero
    } else if load.get() > LOAD_WATTS_MAX {
        Verdict::Absurd
    } else if THOUSAND.contains(&share) {
        Verdict::ThousandTimes
    } else if THOUSAND.contains(&(1.0 / share)) {
        Verdict::Thousandth
    } else if (BELOW_MIN..=ABOVE_MAX).contains(&share) {
        Verdict::Usual
    } else {
        Verdict::Absurd
    }
}

/// Drops the loads that cannot be, and lists them by stretches.
pub(super) fn drop_what_cannot_be(hours: &mut Hours) {
    let mut positive: Vec<u64> =
        hours.placed.values().filter_map(|p| p.load).map(Watts::get).filter(|w| *w > 0).collect();
    positive.sort_unstable();
    // With nothing above zero, every hour is judged a zero and dropped.
    let usual = positive.get(positive.len() / 2).map_or(1.0, |w| *w as f64);
    let judged: Vec<(UtcHour, u64, Watts, Verdict)> = hours
        .placed
        .iter()
        .filter_map(|(hour, p)| p.load.map(|load| (*hour, p.line, load, judge(load, usual))))
        .collect();
    let next_to = |a: UtcHour, b: UtcHour| b.since(a) == 1;
    for run in judged.chunk_by(|a, b| a.3 == b.3 && next_to(a.0, b.0)) {
        let [(_, line, load, verdict), ..] = run else { continue };
        let (count, found) = (run.len() as u64, load.get() / 1_000);
        let fault = match verdict {
            Verdict::Usual => continue,
            Verdict::Zero => SeriesFault::Zeros { hours: count },
            Verdict::ThousandTimes => SeriesFault::ThousandTimes { hours: count, found },
            Verdict::Thousandth => SeriesFault::Thousandth { hours: count, found },
            Verdict::Absurd => SeriesFault::Absurd { hours: count, found, usual: usual as u64 / 1_000 },
        };
        drop_run(hours, run, *line, fault);
    }
    let usual_only: Vec<_> = judged.into_iter().filter(|(.., v)| *v == Verdict::Usual).collect();
    for run in usual_only.chunk_by(|a, b| a.2 == b.2 && next_to(a.0, b.0)) {
        let [(_, line, ..), ..] = run else { continue };
        if run.len() >= STUCK_HOURS_MIN {
            drop_run(hours, run, *line, SeriesFault::Stuck { hours: run.len() as u64 });
        }
    }
}

fn drop_run(hours: &mut Hours, run: &[(UtcHour, u64, Watts, Verdict)], first: u64, fault: SeriesFault) {
    for (hour, ..) in run {
        if let Some(placed) = hours.placed.get_mut(hour) {
            placed.load = None;
        }
    }
    // Lines need not rise with the hours where a file is out of order.
    let lines = run.iter().map(|(_, line, ..)| *line);
    let last = lines.clone().max().unwrap_or(first);
    hours.find(Lines { first: lines.min().unwrap_or(first), last }, fault);
}
