//! Whether the local times of a file are those of the clock that it is said to have.
//!
//! A clock with daylight saving leaves a signature: in spring an hour is missing, in autumn one comes twice. A file
//! whose signature is another one has another clock, or was smoothed.

use super::finding::{Lines, SeriesFault};
use super::read::Hours;
use crate::clock::{Instants, LoadClock};
use crate::hour::UtcHour;
use jiff::ToSpan as _;
use jiff::civil::{DateTime, Weekday};
use std::collections::BTreeMap;

/// Zones whose signatures are tried when that of the given clock does not fit.
const CANDIDATES: [&str; 8] = [
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "Europe/London",
    "Europe/Berlin",
    "Europe/Athens",
    "Australia/Sydney",
];

/// The local times of a file.
#[derive(Default)]
pub(super) struct Daylight {
    /// How often each comes, and the last line that has it.
    seen: BTreeMap<DateTime, (u32, u64)>,
}

impl Daylight {
    pub(super) fn saw(&mut self, local: DateTime, line: u64) {
        let (times, at) = self.seen.entry(local).or_insert((0, line));
        *times += 1;
        *at = line;
    }

    /// How often a local time has come so far.
    pub(super) fn times(&self, local: DateTime) -> u32 {
        self.seen.get(&local).map_or(0, |(times, _)| *times)
    }

    /// Lists what does not fit `clock`.
    pub(super) fn judge(self, clock: &LoadClock, hours: &mut Hours) {
        let (Some((_, (_, first))), Some((_, (_, last)))) =
            (self.seen.first_key_value(), self.seen.last_key_value())
        else {
            return;
        };
        let whole = Lines { first: *first.min(last), last: *first.max(last) };
        let (mut present, mut once) = (0, 0);
        for (local, (times, line)) in &self.seen {
            match clock.instants(*local) {
                Instants::None => present += 1,
                Instants::Two(..) if *times == 1 => {
                    once += 1;
                    let found = local.to_string();
                    let fault = SeriesFault::RepeatedHourOnce { found, clock: clock.to_string() };
                    hours.find(Lines::one(*line), fault);
                }
                Instants::Two(..) | Instants::One(_) => {}
            }
        }
        let (forward, back) = self.span(clock).map_or((0, 0), |(from, until)| clock.changes(from, until));
        // One filled hour is a slip in the file; more than half of the changes are another clock.
        if present > 0 && (present + once) * 2 > forward + back {
            let fault = SeriesFault::ClockWithoutDaylightSaving {
                clock: clock.to_string(),
                forward,
                present,
                back,
                once,
            };
            hours.find(whole, fault);
        }
        if let Some((skipped, doubled)) = self.signature_of_another(clock) {
            let of_zone = |name: &&&str| {
                let zone: Option<LoadClock> = name.parse().ok();
                zone.is_some_and(|zone| {
                    matches!(zone.instants(skipped), Instants::None)
                        && matches!(zone.instants(doubled), Instants::Two(..))
                })
            };
            let fits: Vec<&str> = CANDIDATES.iter().filter(of_zone).copied().collect();
            let fits = match fits[..] {
                [] => "no usual zone fits".to_owned(),
                _ => format!("that would fit {}", fits.join(", ")),
            };
            let (clock, skipped, doubled) = (clock.to_string(), skipped.to_string(), doubled.to_string());
            hours.find(whole, SeriesFault::OtherDaylightSaving { clock, skipped, doubled, fits });
        }
    }

    /// The UTC hours that the local times cover.
    fn span(&self, clock: &LoadClock) -> Option<(UtcHour, UtcHour)> {
        let hour = |local: &DateTime| match clock.instants(*local) {
            Instants::One(at) | Instants::Two(at, _) => UtcHour::new(at.div_euclid(3_600)),
            Instants::None => None,
        };
        let mut known = self.seen.keys().filter_map(hour);
        let first = known.next()?;
        Some((first, known.next_back().unwrap_or(first)))
    }

    /// A local time that is missing though its neighbours are there, and one that comes twice, both on a Sunday of
    /// the same year and neither explained by `clock`.
    fn signature_of_another(&self, clock: &LoadClock) -> Option<(DateTime, DateTime)> {
        let sunday = |local: &DateTime| local.weekday() == Weekday::Sunday;
        let usual = |local: &DateTime| matches!(clock.instants(*local), Instants::One(_));
        let doubled = |local: &&DateTime| sunday(local) && usual(local) && self.times(**local) == 2;
        let missing = self.seen.keys().filter_map(|local| {
            let next = local.checked_add(1.hour()).ok()?;
            let after = next.checked_add(1.hour()).ok()?;
            let alone = !self.seen.contains_key(&next) && self.seen.contains_key(&after);
            (alone && sunday(&next) && usual(&next)).then_some(next)
        });
        let twice: Vec<DateTime> = self.seen.keys().filter(doubled).copied().collect();
        missing.into_iter().find_map(|gap| {
            // In the southern half of the world the clock is set back first, so either may be the earlier.
            twice.iter().find(|double| double.year() == gap.year()).map(|double| (gap, *double))
        })
    }
}
