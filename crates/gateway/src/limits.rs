//! What of a metered session is billed: no more than its driver allowed.
//!
//! A station stops a charge before a limit is reached, by what it expects to flow until it looks at the meter again. A
//! vehicle that takes more than it ever did passes the limit all the same, and what flowed beyond it is at the operator's
//! expense: nobody promised to pay for it. The session is billed up to the instant at which the first of its limits was
//! reached, energy between two readings taken as flowing evenly. So the record is the beginning of what the meter signed:
//! it never has more energy or time than the readings that it names, and it is priced like any other.
//!
//! What it deliberately does not do: bill a part of a session's energy and all of its time, or fit a price to a limit.

use crate::sessions::Consumption;
use eroam_domain::cdr::{Cdr, ChargingPeriod};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::UnixMillis;

#[cfg(test)]
mod tests;

/// What a driver agreed to at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// Energy.
    pub energy: WattHours,
    /// Until when, if the driver said so.
    pub until: Option<UnixMillis>,
    /// What may be due, in millionths of the quote's currency.
    pub amount: i64,
}

/// What of a session is billed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Billable {
    /// This: all of it, or its beginning.
    Session(Consumption),
    /// Nothing: not even the beginning of the session, in which nothing was delivered, costs as little as was allowed.
    Nothing {
        /// What that beginning costs, in millionths.
        due: i64,
    },
    /// It has no price.
    Unpriced,
}

/// What of `metered` is within `allowed`. `due` prices a session in millionths; `None` where it has no price.
///
/// Where more of a session may cost less (a tariff with negative prices, or with large blocks) this need not be the longest
/// beginning that is within the limit; it is always one that is.
///
/// # Errors
/// Those of `due`.
pub fn billable<E>(
    metered: &Consumption,
    allowed: Allowed,
    mut due: impl FnMut(&Consumption) -> Result<Option<i64>, E>,
) -> Result<Billable, E> {
    let timely = allowed.until.map_or_else(|| metered.clone(), |until| up_to_time(metered, until));
    let within = up_to_energy(timely, allowed.energy);
    match due(&within)? {
        None => return Ok(Billable::Unpriced),
        Some(amount) if amount <= allowed.amount => return Ok(Billable::Session(within)),
        Some(_) => {}
    }
    let mut fits = up_to_time(&within, within.start);
    match due(&fits)? {
        None => return Ok(Billable::Unpriced),
        Some(due) if due > allowed.amount => return Ok(Billable::Nothing { due }),
        Some(_) => {}
    }
    // To the millisecond: what has no price there does not fit.
    let (mut low, mut high) = (within.start.get(), within.end.get());
    while let Some(half) = high.checked_sub(low).map(|left| left / 2).filter(|half| *half > 0) {
        let Some(middle) = low.checked_add(half) else { break };
        let Some(until) = UnixMillis::new(middle) else { break };
        let tried = up_to_time(&within, until);
        if due(&tried)?.is_some_and(|amount| amount <= allowed.amount) {
            (low, fits) = (middle, tried);
        } else {
            high = middle;
        }
    }
    Ok(Billable::Session(fits))
}

/// Why a record is not the beginning of what was metered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotABeginning {
    /// The record names other readings.
    #[error("the record names other readings than these")]
    Readings,
    /// Another time, or another clock.
    #[error("the record begins at {found}, and the readings at {expected}")]
    Start {
        /// Of the readings.
        expected: UnixMillis,
        /// Of the record.
        found: UnixMillis,
    },
    /// Later than the readings.
    #[error("the record ends at {found}, after the readings, which end at {expected}")]
    End {
        /// Of the readings.
        expected: UnixMillis,
        /// Of the record.
        found: UnixMillis,
    },
    /// The station's clock shows something else.
    #[error("the record is by another clock than the readings")]
    Clock,
    /// More, or something else, than was metered.
    #[error("period {0} of the record is not what the meter signed, or a part of it")]
    Period(usize),
    /// More, or less, than its periods have.
    #[error("the energy of the record is not that of its periods")]
    Energy,
}

/// How much of what was metered a record leaves out, if it is the beginning of it: billed is no more than signed.
///
/// # Errors
/// [`NotABeginning`].
pub fn not_billed(cdr: &Cdr, metered: &Consumption) -> Result<WattHours, NotABeginning> {
    let recorded = Consumption {
        start: cdr.start,
        end: cdr.end,
        clock: cdr.clock,
        periods: cdr.periods.clone(),
        energy: cdr.energy,
        readings: cdr.readings,
    };
    left_out(&recorded, metered)
}

fn left_out(recorded: &Consumption, metered: &Consumption) -> Result<WattHours, NotABeginning> {
    if recorded.readings != metered.readings {
        return Err(NotABeginning::Readings);
    }
    if recorded.start != metered.start {
        return Err(NotABeginning::Start { expected: metered.start, found: recorded.start });
    }
    if recorded.end > metered.end {
        return Err(NotABeginning::End { expected: metered.end, found: recorded.end });
    }
    if recorded.clock != metered.clock {
        return Err(NotABeginning::Clock);
    }
    let mut whole = metered.periods.iter();
    let mut energy = WattHours::ZERO;
    for (index, period) in recorded.periods.iter().enumerate() {
        let is_last = index.checked_add(1) == Some(recorded.periods.len());
        let is_cut = is_last && recorded.end < metered.end;
        let of = whole.next().filter(|of| *of == period || (is_cut && is_part(period, of)));
        energy = of.and_then(|_| energy.checked_add(period.energy)).ok_or(NotABeginning::Period(index))?;
    }
    // What comes to the end of the readings has all of their periods.
    if recorded.end == metered.end && whole.next().is_some() {
        return Err(NotABeginning::Period(recorded.periods.len()));
    }
    if energy != recorded.energy {
        return Err(NotABeginning::Energy);
    }
    metered.energy.checked_sub(energy).ok_or(NotABeginning::Energy)
}

fn is_part(part: &ChargingPeriod, whole: &ChargingPeriod) -> bool {
    let like_whole = ChargingPeriod {
        energy: whole.energy,
        charging: whole.charging,
        parking: whole.parking,
        reservation: whole.reservation,
        ..*part
    };
    like_whole == *whole
        && part.energy <= whole.energy
        && part.charging <= whole.charging
        && part.parking <= whole.parking
        && part.reservation <= whole.reservation
}

/// The session as it was at `until`; never before its start.
fn up_to_time(session: &Consumption, until: UnixMillis) -> Consumption {
    let until = until.max(session.start);
    if until >= session.end {
        return session.clone();
    }
    let ends = session.periods.iter().skip(1).map(|next| next.start).chain([session.end]);
    let periods: Vec<ChargingPeriod> = session
        .periods
        .iter()
        .zip(ends)
        .enumerate()
        // A session has a first period, however short it is.
        .take_while(|(index, (period, _))| *index == 0 || period.start < until)
        .map(|(_, (period, end))| if end <= until { *period } else { first_part(period, end, until) })
        .collect();
    cut(session, periods, until)
}

/// The session up to the instant at which it had delivered `energy`.
fn up_to_energy(session: Consumption, energy: WattHours) -> Consumption {
    if session.energy <= energy {
        return session;
    }
    let ends = session.periods.iter().skip(1).map(|next| next.start).chain([session.end]);
    let mut left = energy;
    let mut periods: Vec<ChargingPeriod> = Vec::new();
    for (period, end) in session.periods.iter().zip(ends) {
        if let Some(after) = left.checked_sub(period.energy).filter(|_| !left.is_zero()) {
            left = after;
            periods.push(*period);
            continue;
        }
        let lasts = time_for(period, end, left);
        let until = period.start.checked_add(lasts).unwrap_or(end).min(end);
        // A session has a first period, however short it is.
        if until > period.start || periods.is_empty() {
            // Exactly what is left: the instant is rounded to a millisecond, the energy need not be.
            periods.push(ChargingPeriod { energy: left, ..first_part(period, end, until) });
        }
        return cut(&session, periods, until);
    }
    // The periods have less energy than the session: that is for whoever checks the record.
    session
}

fn cut(session: &Consumption, periods: Vec<ChargingPeriod>, end: UnixMillis) -> Consumption {
    let energy = periods.iter().try_fold(WattHours::ZERO, |sum, period| sum.checked_add(period.energy));
    // Parts of a sum that fits.
    Consumption { end, periods, energy: energy.unwrap_or(WattHours::ZERO), ..session.clone() }
}

/// What of a period that lasts until `end` was before `until`.
fn first_part(period: &ChargingPeriod, end: UnixMillis, until: UnixMillis) -> ChargingPeriod {
    let whole = end.since(period.start).unwrap_or(DurationMs::ZERO);
    let lasts = until.since(period.start).unwrap_or(DurationMs::ZERO);
    let part = |of: u64| {
        // Two numbers of 64 bits have a product of 128.
        let product = u128::from(of) * u128::from(lasts.millis());
        let share = product.checked_div(u128::from(whole.millis())).unwrap_or(0);
        // A part is no more than the whole.
        u64::try_from(share).unwrap_or(of)
    };
    let time = |of: DurationMs| DurationMs::from_millis(part(of.millis()));
    ChargingPeriod {
        energy: WattHours::from_milli_wh(part(period.energy.milli_wh())),
        charging: time(period.charging),
        parking: time(period.parking),
        reservation: time(period.reservation),
        ..*period
    }
}

/// How long a period that lasts until `end` took for the first `energy` of its energy, rounded up.
fn time_for(period: &ChargingPeriod, end: UnixMillis, energy: WattHours) -> DurationMs {
    let whole = end.since(period.start).unwrap_or(DurationMs::ZERO);
    let product = u128::from(whole.millis()) * u128::from(energy.milli_wh());
    let all = u128::from(period.energy.milli_wh()).max(1);
    DurationMs::from_millis(u64::try_from(product.div_ceil(all)).unwrap_or_else(|_| whole.millis()))
}
