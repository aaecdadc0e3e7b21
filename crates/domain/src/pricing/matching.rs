//! Which price component applies in a charging period.
//!
//! Source: OCPI 2.2.1 mod_tariffs 1.4.1 and 1.4.6: the state at the *start* of the period decides.

use crate::cdr::{ChargingPeriod, Range};
use crate::quantity::{DurationMs, WattHours, Watts};
use crate::tariff::{Dimension, PriceComponent, ReservationRestriction, Restrictions, Tariff};
use crate::time::{LocalClock, LocalTime, in_daily_window};

/// What restrictions are compared with.
pub(super) struct PeriodState<'a> {
    pub(super) period: &'a ChargingPeriod,
    /// How long the period lasts.
    pub(super) span: DurationMs,
    /// How long the session lasted before it.
    pub(super) elapsed: DurationMs,
    /// The energy delivered before it.
    pub(super) energy_so_far: WattHours,
    /// Whether the session is a reservation that nobody used.
    pub(super) expired: bool,
    pub(super) clock: &'a LocalClock,
}

/// Whether a vehicle was connected in the period. A session without such a period is a reservation that expired:
/// OCPI puts a reservation and the charging that follows it into one record.
pub(super) fn is_used(period: &ChargingPeriod) -> bool {
    !(period.energy.is_zero() && period.charging.is_zero() && period.parking.is_zero())
}

/// For each dimension the first component in the tariff whose element's restrictions hold, with the element's place.
/// For a reservation that expired, elements for expired reservations come before the others (OCPI 2.2.1 mod_tariffs,
/// ReservationRestrictionType).
pub(super) fn active_components<'t>(
    tariff: &'t Tariff,
    state: &PeriodState<'_>,
) -> [Option<(u16, &'t PriceComponent)>; 4] {
    let mut found: [Option<(u16, &PriceComponent)>; 4] = [None; 4];
    let mut local = None;
    let for_expiry = |r: &Restrictions| r.reservation == Some(ReservationRestriction::ReservationExpires);
    let numbered = || tariff.elements().iter().zip(0u16..);
    let first = numbered().filter(|(e, _)| state.expired && for_expiry(&e.restrictions));
    let then = numbered().filter(|(e, _)| !(state.expired && for_expiry(&e.restrictions)));
    for (element, number) in first.chain(then) {
        let mut wanted =
            element.components.iter().any(|c| found.get(slot(c.dimension)).is_some_and(Option::is_none));
        wanted = wanted && holds(&element.restrictions, state, &mut local);
        if !wanted {
            continue;
        }
        for component in &element.components {
            if let Some(place @ None) = found.get_mut(slot(component.dimension)) {
                *place = Some((number, component));
            }
        }
        if found.iter().all(Option::is_some) {
            break;
        }
    }
    found
}

/// The order of [`Dimension::ALL`].
const fn slot(dimension: Dimension) -> usize {
    match dimension {
        Dimension::Energy => 0,
        Dimension::Time => 1,
        Dimension::ParkingTime => 2,
        Dimension::Flat => 3,
    }
}

/// Whether all restrictions hold; `local` is computed once per period, and only if a restriction asks for it.
fn holds(r: &Restrictions, state: &PeriodState<'_>, local: &mut Option<LocalTime>) -> bool {
    // An element for reservations prices nothing else, and nothing else prices a reservation.
    let reserved = !state.period.reservation.is_zero();
    let reservation_holds = match r.reservation {
        None => !reserved,
        Some(ReservationRestriction::Reservation) => reserved,
        Some(ReservationRestriction::ReservationExpires) => reserved && state.expired,
    };
    if !reservation_holds {
        return false;
    }
    if *r == Restrictions::NONE {
        return true;
    }
    let asks_time = r.start_time.is_some() || r.end_time.is_some();
    let asks_date = r.start_date.is_some() || r.end_date.is_some() || r.day_of_week.is_some();
    if asks_time || asks_date {
        let local = *local.get_or_insert_with(|| state.clock.at(state.period.start));
        let in_time = !asks_time || in_daily_window(local.ms_of_day, r.start_time, r.end_time);
        let in_days = r.start_date.is_none_or(|d| local.date >= d)
            && r.end_date.is_none_or(|d| local.date < d)
            && r.day_of_week.is_none_or(|days| days.contains(local.weekday));
        if !(in_time && in_days) {
            return false;
        }
    }
    within(state.energy_so_far, r.min_energy, r.max_energy)
        && within(state.elapsed, r.min_duration, r.max_duration)
        && power_holds(r, state)
        && current_holds(r, state)
}

fn within<T: PartialOrd>(value: T, min: Option<T>, max: Option<T>) -> bool {
    min.is_none_or(|m| value >= m) && max.is_none_or(|m| value < m)
}

/// Where the record has no power, the period's mean power stands in: it follows from energy and time, which are
/// signed, so "unknown" never selects a cheaper element.
fn power_holds(r: &Restrictions, state: &PeriodState<'_>) -> bool {
    if r.min_power.is_none() && r.max_power.is_none() {
        return true;
    }
    let range = state.period.power.unwrap_or_else(|| {
        let time = if state.period.charging.is_zero() { state.span } else { state.period.charging };
        let mean = Watts::mean(state.period.energy, time).unwrap_or(Watts::ZERO);
        Range { min: mean, max: mean }
    });
    r.min_power.is_none_or(|m| range.max >= m) && r.max_power.is_none_or(|m| range.min < m)
}

/// A restriction on current holds only where the current was measured: without a voltage it cannot be derived.
fn current_holds(r: &Restrictions, state: &PeriodState<'_>) -> bool {
    match (r.min_current, r.max_current, state.period.current) {
        (None, None, _) => true,
        (min, max, Some(range)) => min.is_none_or(|m| range.max >= m) && max.is_none_or(|m| range.min < m),
        (_, _, None) => false,
    }
}
