//! Energy by hour, from the shapes of real sessions placed on the calendar of a load.
//!
//! Sessions and loads of the same place and time are not published together. So each local day of the load gets
//! sessions drawn, with a fixed seed, from those of a real site: the habits of drivers are real, the pairing is ours.

use super::interval::SplitMix64;
use crate::clock::LoadClock;
use crate::hour::UtcHour;
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use std::collections::BTreeMap;

/// What is taken from a real session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionShape {
    /// The local hour of arrival, 0 to 23.
    pub arrival_hour: u8,
    /// The energy that it took.
    pub energy: WattHours,
    /// How long it was plugged in.
    pub dwell: DurationMs,
}

/// Milliseconds of an hour.
const HOUR_MS: u64 = 3_600_000;

/// Energy by UTC hour, in thousandths of a watt-hour, of `sessions_a_day` sessions on each local day that begins
/// between two hours, drawn from `shapes`. A session draws `power` from the start of its hour of arrival until it has
/// its energy or leaves. Nothing without shapes.
#[must_use]
pub fn hourly_energy(
    shapes: &[SessionShape],
    sessions_a_day: u32,
    power: Watts,
    clock: &LoadClock,
    from: UtcHour,
    until: UtcHour,
    seed: u64,
) -> BTreeMap<UtcHour, u64> {
    let mut energy = BTreeMap::new();
    let mut random = SplitMix64::new(seed);
    let Ok(number) = u64::try_from(shapes.len()) else { return energy };
    if number == 0 {
        return energy;
    }
    let mut hour = from;
    while hour < until {
        let Some(next) = hour.plus(1) else { break };
        if clock.at(hour).hour_of_day == 0 {
            for _ in 0..sessions_a_day {
                // Below `number`, which is the length of a slice.
                let shape = shapes[random.below(number) as usize];
                charge(&mut energy, hour, shape, power);
            }
        }
        hour = next;
    }
    energy
}

/// Adds the energy of a session on the local day that begins with `midnight`. On the two days of the year on which
/// the clock is changed, it arrives an hour early or late.
fn charge(energy: &mut BTreeMap<UtcHour, u64>, midnight: UtcHour, shape: SessionShape, power: Watts) {
    let in_dwell = power.energy_over(shape.dwell).unwrap_or(shape.energy);
    let mut left = shape.energy.min(in_dwell).milli_wh();
    let hourly = power.energy_over(DurationMs::from_millis(HOUR_MS)).map_or(0, WattHours::milli_wh);
    let mut hour = midnight.plus(i64::from(shape.arrival_hour));
    while left > 0 && hourly > 0 {
        let Some(at) = hour else { return };
        let now = left.min(hourly);
        *energy.entry(at).or_insert(0) += now;
        left -= now;
        hour = at.plus(1);
    }
}
