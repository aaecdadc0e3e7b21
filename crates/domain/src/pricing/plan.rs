//! Cuts a session into charging periods where its tariff may change, as an operator must before it prices a session
//! (OCPI 2.2.1 mod_cdrs: a period per change of the relevant price component).
//!
//! Used for quotes, where the session is only expected, and for recorded sessions whose meter gave totals alone:
//! energy then flows evenly while the vehicle charges.

use crate::cdr::{ChargingPeriod, PERIODS_MAX};
use crate::quantity::{DurationMs, WattHours};
use crate::tariff::Tariff;
use crate::time::{LocalClock, TimeOfDay, UnixMillis};

/// A session whose energy flows evenly from its start until `charging_end`, after which the vehicle stays connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvenSession {
    /// When it starts.
    pub start: UnixMillis,
    /// When energy stops flowing.
    pub charging_end: UnixMillis,
    /// When the vehicle leaves.
    pub end: UnixMillis,
    /// All its energy.
    pub energy: WattHours,
}

/// Why a session could not be cut into periods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Start, end of charging and end are not in this order.
    #[error("start, end of charging and end of the session are out of order")]
    OutOfOrder,
    /// Energy that flows in no time.
    #[error("energy is delivered in no time")]
    EnergyWithoutTime,
    /// Too many changes of price.
    #[error("the tariff changes more than {PERIODS_MAX} times during the session")]
    TooManyPeriods,
    /// A number does not fit.
    #[error("a time or an energy is out of range")]
    Overflow,
}

/// The charging periods of `session` under `tariff`, in time order, with all of its energy and time.
///
/// # Errors
/// [`PlanError`].
pub fn periods(
    session: &EvenSession,
    tariff: &Tariff,
    clock: &LocalClock,
) -> Result<Vec<ChargingPeriod>, PlanError> {
    let EvenSession { start, charging_end, end, energy } = *session;
    let charging = charging_end.since(start).ok_or(PlanError::OutOfOrder)?;
    end.since(charging_end).ok_or(PlanError::OutOfOrder)?;
    if charging.is_zero() && !energy.is_zero() {
        return Err(PlanError::EnergyWithoutTime);
    }
    let mut cuts = vec![start, charging_end];
    add_fixed_cuts(&mut cuts, session, charging, tariff)?;
    add_clock_cuts(&mut cuts, start, end, tariff, clock)?;
    cuts.retain(|cut| *cut >= start && *cut < end);
    cuts.push(start);
    cuts.sort_unstable();
    cuts.dedup();
    if cuts.len() > PERIODS_MAX {
        return Err(PlanError::TooManyPeriods);
    }
    let ends = cuts.iter().copied().skip(1).chain([end]).collect::<Vec<_>>();
    let mut planned = Vec::with_capacity(cuts.len());
    let mut delivered = WattHours::ZERO;
    for (from, until) in cuts.into_iter().zip(ends) {
        let span = until.since(from).ok_or(PlanError::OutOfOrder)?;
        let charges = from < charging_end;
        // Cumulative, so that the parts add up to the whole exactly.
        let total = if until >= charging_end { energy } else { energy_until(until, session, charging)? };
        let part = total.checked_sub(delivered).ok_or(PlanError::Overflow)?;
        delivered = total;
        planned.push(ChargingPeriod {
            start: from,
            energy: part,
            charging: if charges { span } else { DurationMs::ZERO },
            parking: if charges { DurationMs::ZERO } else { span },
            reservation: DurationMs::ZERO,
            power: None,
            current: None,
        });
    }
    Ok(planned)
}

/// The energy delivered until `instant`, rounded down to the resolution of [`WattHours`].
fn energy_until(
    instant: UnixMillis,
    session: &EvenSession,
    charging: DurationMs,
) -> Result<WattHours, PlanError> {
    let elapsed = instant.since(session.start).ok_or(PlanError::OutOfOrder)?;
    u128::from(session.energy.milli_wh())
        .checked_mul(u128::from(elapsed.millis()))
        .and_then(|x| x.checked_div(u128::from(charging.millis())))
        .and_then(|x| u64::try_from(x).ok())
        .map(WattHours::from_milli_wh)
        .ok_or(PlanError::Overflow)
}

/// Cuts where a restriction on elapsed time or energy begins or ends to hold.
fn add_fixed_cuts(
    cuts: &mut Vec<UnixMillis>,
    session: &EvenSession,
    charging: DurationMs,
    tariff: &Tariff,
) -> Result<(), PlanError> {
    for r in tariff.elements().iter().map(|e| &e.restrictions) {
        cuts.extend(
            [r.min_duration, r.max_duration]
                .into_iter()
                .flatten()
                .filter_map(|d| session.start.checked_add(d)),
        );
        for threshold in [r.min_energy, r.max_energy].into_iter().flatten() {
            if threshold.is_zero() || threshold >= session.energy {
                continue;
            }
            // The first millisecond at which the threshold has been delivered.
            let numerator = u128::from(threshold.milli_wh())
                .checked_mul(u128::from(charging.millis()))
                .ok_or(PlanError::Overflow)?;
            let ms = u64::try_from(numerator.div_ceil(u128::from(session.energy.milli_wh())))
                .map_err(|_| PlanError::Overflow)?;
            cuts.push(session.start.checked_add(DurationMs::from_millis(ms)).ok_or(PlanError::Overflow)?);
        }
    }
    Ok(())
}

/// Cuts at the local times of day that restrictions name, at local midnights where they name days, and where the
/// local clock itself changes.
fn add_clock_cuts(
    cuts: &mut Vec<UnixMillis>,
    start: UnixMillis,
    end: UnixMillis,
    tariff: &Tariff,
    clock: &LocalClock,
) -> Result<(), PlanError> {
    let mut times: Vec<TimeOfDay> = Vec::new();
    for r in tariff.elements().iter().map(|e| &e.restrictions) {
        times.extend([r.start_time, r.end_time].into_iter().flatten());
        if r.start_date.is_some() || r.end_date.is_some() || r.day_of_week.is_some() {
            times.push(TimeOfDay::MIDNIGHT);
        }
    }
    if times.is_empty() {
        return Ok(());
    }
    times.sort_unstable();
    times.dedup();
    // The clock changes at most once: the stretches before and after it each have one offset.
    let change = clock.change.map(|(at, _)| at).filter(|at| *at > start && *at < end);
    let stretches = [Some((start, change.unwrap_or(end))), change.map(|at| (at, end))];
    cuts.extend(change);
    for (from, until) in stretches.into_iter().flatten() {
        for time in &times {
            let mut cut = clock.next(from, *time);
            while let Some(at) = cut.filter(|at| *at < until) {
                cuts.push(at);
                if cuts.len() > PERIODS_MAX.saturating_mul(4) {
                    return Err(PlanError::TooManyPeriods);
                }
                cut = clock.next(at, *time);
            }
        }
    }
    Ok(())
}
