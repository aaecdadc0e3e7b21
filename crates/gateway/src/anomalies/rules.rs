//! The rules, in the order in which they are applied, and their thresholds.
//!
//! | rule | compares | found when |
//! |---|---|---|
//! | impossible power | a period's mean and stated power | above the rating of the EVSE, or of the agreement |
//! | energy against time | energy and charging time | more than the stated power, or than an EVSE ever gave, could deliver |
//! | replay | readings, periods, consumption | an earlier record has the same |
//! | overlap | times at an EVSE, times of a customer | two records share more than clocks may differ |
//! | second meter | the record and another meter | the record has more |
//! | sudden change | mean power and its trailing median | further above it than usual, many times over |
//! | lasting change | the newest records of an EVSE and those before | nearly all of the newest above nearly all before |
//!
//! Integers alone; every division says how it rounds, in favour of the operator.

use super::{
    EnergyBasis, Finding, History, Occupied, PatternOf, Same, SecondMeter, SecondMeterKind, Sighting,
};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::cdr::Cdr;
use eroam_domain::codec::Digest;
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use serde::{Deserialize, Serialize};

/// From when on a rule finds something. [`AnomalyRules::DEFAULT`] has a reason for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnomalyRules {
    /// How far above a rating a power may be.
    pub power_tolerance: BasisPoints,
    /// How much longer energy may have flowed than a record says.
    pub time_tolerance: DurationMs,
    /// So many earlier records of an EVSE say what it can give; 0 never asks them.
    pub ceiling_records_min: u32,
    /// The most that an EVSE gave says what it can give only from this part of its rating on.
    pub ceiling_of_rating_min: BasisPoints,
    /// How far above the most that an EVSE gave before a mean power may be.
    pub ceiling_margin: BasisPoints,
    /// Two records may share so much time.
    pub overlap_tolerance: DurationMs,
    /// A record below this energy is no replay for having the consumption of another.
    pub replay_energy_min: WattHours,
    /// How far above an attested second meter a record may be.
    pub second_meter_tolerance: BasisPoints,
    /// How far above the vehicle's counter a record may be: what charging loses, on top of what two meters may differ.
    pub vehicle_tolerance: BasisPoints,
    /// What a record may be above any second meter in any case.
    pub second_meter_floor: WattHours,
    /// So many newest records make a pattern.
    pub pattern_records: u32,
    /// With fewer there is no pattern; 0 never looks for one.
    pub pattern_records_min: u32,
    /// A change is sudden from so many deviations on.
    pub pattern_deviations: u32,
    /// A deviation counts as at least so much of the median.
    pub pattern_deviation_min: BasisPoints,
    /// Whether a sudden change of a single record is contested, too.
    pub contest_sudden_change: bool,
    /// So many records of an EVSE one after another are a lasting change of its pattern; 0 never looks for one.
    pub change_records: u32,
    /// In so many of all pairs of one of them and one from before, the newer one must be above.
    pub change_share: BasisPoints,
    /// Above means by more than so much.
    pub change_margin: BasisPoints,
}

impl AnomalyRules {
    /// What applies unless the configuration says otherwise.
    ///
    /// - Power may be 10 % above a rating: ratings are for nominal voltage, which may be 10 % higher (EN 50160), and
    ///   meters of class A (EN 50470-3) may be off by a little more than 2 %.
    /// - A minute more of charging time: many back ends keep whole minutes.
    /// - What an EVSE can give is known from 50 records, if the most that it gave is 75 % of its rating at least: below,
    ///   it was the vehicles that could take no more, and a better one may come. The voltage varied in those records, too,
    ///   so that 5 % are left for meter and clock.
    /// - Records may share two minutes: clocks of two stations differ, and a cable can be moved in less.
    /// - Below 500 Wh, consumptions are the same by chance: a vehicle that was full takes a moment of its lowest power.
    /// - A second meter may differ by 5 %: twice 2 % and the cable between them. A vehicle's counter leaves out the
    ///   losses of its charger, up to a fifth: a quarter on top of what came in. 200 Wh cover the resolution of displays.
    /// - A pattern is the last 64 of at least 20 records; 8 median deviations, each at least 5 % of the median, are far
    ///   beyond what a mixed public station shows.
    /// - A sudden change of a single record is a notice: a first fast vehicle at a station of slow ones is honest, and a
    ///   contest costs both sides a resolver. Together with any other finding it is part of the evidence.
    /// - Eight records in a row are no chance, if in nine of ten pairs of their powers with those before the newer one is
    ///   above, by more than the tenth that ratings leave. With five, one vehicle that comes every day is enough
    ///   (docs/decisions/0023 has what was measured).
    pub const DEFAULT: Self = Self {
        power_tolerance: BasisPoints::new(1_000),
        time_tolerance: DurationMs::from_millis(60_000),
        ceiling_records_min: 50,
        ceiling_of_rating_min: BasisPoints::new(7_500),
        ceiling_margin: BasisPoints::new(500),
        overlap_tolerance: DurationMs::from_millis(120_000),
        replay_energy_min: WattHours::from_milli_wh(500_000),
        second_meter_tolerance: BasisPoints::new(500),
        vehicle_tolerance: BasisPoints::new(2_500),
        second_meter_floor: WattHours::from_milli_wh(200_000),
        pattern_records: 64,
        pattern_records_min: 20,
        pattern_deviations: 8,
        pattern_deviation_min: BasisPoints::new(500),
        contest_sudden_change: false,
        change_records: 8,
        change_share: BasisPoints::new(9_000),
        change_margin: BasisPoints::new(1_000),
    };

    /// Whether these findings are contested, not only noticed.
    #[must_use]
    pub fn contest(&self, findings: &[Finding]) -> bool {
        findings.iter().any(|finding| match finding {
            Finding::SuddenChange { .. } => self.contest_sudden_change,
            Finding::LastingChange { .. } => true,
            hard => hard.is_hard(),
        })
    }
}

/// What is known of a record besides itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// The most power that the agreement allows.
    pub agreed_power: Watts,
    /// The EVSE's rating; `None` where the operator has not said.
    pub rating: Option<Watts>,
    /// Whose charge it was; `None` until the operator's report says so.
    pub customer: Option<Digest>,
    /// In so many places the customer can be at once: one for each card of the contract.
    pub places: usize,
    /// What another meter counted, where there is one.
    pub second_meter: Option<SecondMeter>,
}

/// Applies every rule to a record; gives what was found, in the order of the rules. The record may be part of the history
/// already.
#[must_use]
pub fn look(
    rules: &AnomalyRules,
    known: &Known,
    cdr: &Cdr,
    sighting: &Sighting,
    history: &History,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.extend(impossible_power(rules, known, cdr));
    findings.extend(energy_against_time(rules, known, cdr, sighting, history));
    findings.extend(replay(rules, sighting, history));
    findings.extend(overlap(rules, known, sighting, history));
    findings.extend(second_meter(rules, known, sighting));
    findings.extend(sudden_change(rules, sighting, history));
    findings.extend(lasting_change(rules, sighting, history));
    findings
}

/// `value` and so much of it more, rounded up. Beyond 64 bits nothing is above it.
fn raised(value: u64, by: BasisPoints) -> u64 {
    let factor = u128::from(BasisPoints::WHOLE.get()).saturating_add(u128::from(by.get()));
    let raised = u128::from(value).saturating_mul(factor).div_ceil(u128::from(BasisPoints::WHOLE.get()));
    u64::try_from(raised).unwrap_or(u64::MAX)
}

/// What a power delivers in a time and the tolerance; `None` where it does not fit, and everything is possible.
fn deliverable(rules: &AnomalyRules, power: Watts, time: DurationMs) -> Option<WattHours> {
    power.energy_over(time.checked_add(rules.time_tolerance)?)
}

/// The first period that claims more power than can be.
fn impossible_power(rules: &AnomalyRules, known: &Known, cdr: &Cdr) -> Option<Finding> {
    let rating = known.rating.map_or(known.agreed_power, |rating| rating.min(known.agreed_power));
    let possible = Watts::new(raised(rating.get(), rules.power_tolerance));
    spans(cdr).find_map(|(index, period, span)| {
        let stated = period.power.map(|range| range.max).filter(|stated| *stated > possible);
        let time = if period.charging.is_zero() { span } else { period.charging };
        let too_much = deliverable(rules, possible, time).is_some_and(|most| period.energy > most);
        let mean = too_much.then(|| Watts::mean(period.energy, time).unwrap_or(Watts::new(u64::MAX)));
        let found = stated.max(mean)?;
        Some(Finding::ImpossiblePower { period: index, found, possible })
    })
}

/// Periods with their number and how long they last.
fn spans(cdr: &Cdr) -> impl Iterator<Item = (u16, &eroam_domain::cdr::ChargingPeriod, DurationMs)> {
    let ends = cdr.periods.iter().skip(1).map(|p| p.start).chain([cdr.end]);
    (0u16..)
        .zip(cdr.periods.iter().zip(ends))
        .map(|(index, (period, end))| (index, period, end.since(period.start).unwrap_or(DurationMs::ZERO)))
}

/// The first period whose energy contradicts its own time and power; then the session against what the EVSE has given.
fn energy_against_time(
    rules: &AnomalyRules,
    known: &Known,
    cdr: &Cdr,
    sighting: &Sighting,
    history: &History,
) -> Option<Finding> {
    let of_period = spans(cdr).find_map(|(index, period, span)| {
        let idle = period.parking.checked_add(period.reservation).unwrap_or(DurationMs::ZERO);
        if period.charging.is_zero() && !period.energy.is_zero() && !span.is_zero() && idle == span {
            let possible = WattHours::ZERO;
            let basis = EnergyBasis::NoChargingTime;
            return Some(Finding::EnergyAgainstTime {
                period: Some(index),
                found: period.energy,
                possible,
                basis,
            });
        }
        let stated = period.power?.max;
        let time = if period.charging.is_zero() { span } else { period.charging };
        let power = Watts::new(raised(stated.get(), rules.power_tolerance));
        let possible = deliverable(rules, power, time)?;
        (period.energy > possible).then_some(Finding::EnergyAgainstTime {
            period: Some(index),
            found: period.energy,
            possible,
            basis: EnergyBasis::StatedPower,
        })
    });
    of_period.or_else(|| above_the_ceiling(rules, known, sighting, history))
}

/// A session with more energy than the EVSE's highest mean power so far could deliver.
fn above_the_ceiling(
    rules: &AnomalyRules,
    known: &Known,
    sighting: &Sighting,
    history: &History,
) -> Option<Finding> {
    let needed = usize::try_from(rules.ceiling_records_min).ok().filter(|needed| *needed > 0)?;
    let (mut records, mut highest) = (0usize, Watts::ZERO);
    // The record's own power may be among them: it is no ceiling for itself.
    let known_before = history.get(&sighting.name).is_some_and(|before| !before.flagged);
    let mut own = sighting.mean_power().filter(|_| known_before);
    for power in history.powers_at(sighting.name.operator, sighting.evse, usize::MAX) {
        if own == Some(power) {
            own = None;
            continue;
        }
        records = records.saturating_add(1);
        highest = highest.max(power);
    }
    let near_the_rating = u128::from(highest.get()).saturating_mul(u128::from(BasisPoints::WHOLE.get()))
        >= u128::from(known.rating?.get()).saturating_mul(u128::from(rules.ceiling_of_rating_min.get()));
    if records < needed || !near_the_rating {
        return None;
    }
    let power = Watts::new(raised(highest.get(), rules.ceiling_margin));
    let possible = deliverable(rules, power, sighting.charging)?;
    (sighting.energy > possible).then_some(Finding::EnergyAgainstTime {
        period: None,
        found: sighting.energy,
        possible,
        basis: EnergyBasis::PowerSeenBefore,
    })
}

/// The earlier record of the same consumption.
fn replay(rules: &AnomalyRules, sighting: &Sighting, history: &History) -> Option<Finding> {
    if sighting.energy.is_zero() {
        return None;
    }
    let shape = (sighting.energy >= rules.replay_energy_min && is_fine(sighting))
        .then(|| history.with_shape(sighting.name.operator, &sighting.shape))
        .flatten();
    let candidates = [
        (history.with_readings(&sighting.readings), Same::Readings),
        (history.with_periods(&sighting.periods), Same::Periods),
        (shape, Same::Shape),
    ];
    candidates.into_iter().find_map(|(of, same)| {
        let of = of.filter(|of| **of != sighting.name)?;
        Some(Finding::Replay { of: of.clone(), same })
    })
}

/// Whether a consumption is told so finely that two do not have the same by chance: energy not in steps of 100 Wh.
fn is_fine(sighting: &Sighting) -> bool {
    !sighting.energy.milli_wh().is_multiple_of(100_000)
}

/// The record with which the EVSE, or the customer, was busy at the same time for the longest.
fn overlap(rules: &AnomalyRules, known: &Known, sighting: &Sighting, history: &History) -> Option<Finding> {
    let beyond = |shared: &(_, DurationMs)| shared.1 > rules.overlap_tolerance;
    let mut at_evse = history.overlaps_at_evse(sighting);
    at_evse.retain(beyond);
    if let Some((with, overlap)) = at_evse.into_iter().max_by_key(|(_, shared)| *shared) {
        return Some(Finding::Overlap { with: with.clone(), overlap, of: Occupied::Evse });
    }
    let mut elsewhere = history.overlaps_of_customer(known.customer?, sighting);
    elsewhere.retain(beyond);
    // With a second card somebody else may charge under the same contract.
    if elsewhere.len() < known.places.max(1) {
        return None;
    }
    let (with, overlap) = elsewhere.into_iter().max_by_key(|(_, shared)| *shared)?;
    Some(Finding::Overlap { with: with.clone(), overlap, of: Occupied::Customer })
}

/// A record above what another meter counted. One that is below it harms nobody who pays for it.
fn second_meter(rules: &AnomalyRules, known: &Known, sighting: &Sighting) -> Option<Finding> {
    let second = known.second_meter?;
    let tolerance = match second.kind {
        SecondMeterKind::Attested => rules.second_meter_tolerance,
        SecondMeterKind::Vehicle => rules.vehicle_tolerance,
    };
    let floor = second.energy.checked_add(rules.second_meter_floor)?;
    let possible = WattHours::from_milli_wh(raised(second.energy.milli_wh(), tolerance)).max(floor);
    let found = sighting.energy;
    (found > possible).then_some(Finding::SecondMeter { found, second, possible })
}

/// A mean power that is many median deviations above the median of the EVSE's newest records, or of its operator's where
/// it has too few.
fn sudden_change(rules: &AnomalyRules, sighting: &Sighting, history: &History) -> Option<Finding> {
    if history.get(&sighting.name).is_some() {
        return None;
    }
    let found = sighting.mean_power()?;
    let count = usize::try_from(rules.pattern_records).ok()?;
    let needed = usize::try_from(rules.pattern_records_min).ok().filter(|needed| *needed > 0)?;
    let operator = sighting.name.operator;
    let at_evse: Vec<u64> = history.powers_at(operator, sighting.evse, count).map(Watts::get).collect();
    let (powers, of) = if at_evse.len() >= needed {
        (at_evse, PatternOf::Evse)
    } else {
        (history.powers_of(operator, count).map(Watts::get).collect(), PatternOf::Operator)
    };
    if powers.len() < needed {
        return None;
    }
    let records = u32::try_from(powers.len()).ok()?;
    let middle = median(powers.clone())?;
    let distances = powers.into_iter().map(|power| power.abs_diff(middle)).collect();
    let at_least = u128::from(middle)
        .saturating_mul(u128::from(rules.pattern_deviation_min.get()))
        .div_ceil(u128::from(BasisPoints::WHOLE.get()));
    let deviation = median(distances)?.max(u64::try_from(at_least).unwrap_or(u64::MAX)).max(1);
    let above = found.get().checked_sub(middle)?;
    let sudden = above > deviation.saturating_mul(u64::from(rules.pattern_deviations));
    sudden.then_some(Finding::SuddenChange {
        found,
        median: Watts::new(middle),
        deviation: Watts::new(deviation),
        records,
        of,
    })
}

/// The newest records of the EVSE, with this one the last, nearly all above nearly all before: one of them may be a fast
/// vehicle, so many in a row are another pattern.
///
/// The share of pairs (Mann and Whitney's statistic) asks for no distribution and is moved by no single record, whatever it
/// claims. Once the new powers are a tenth of what is before, they are usual: with the default a change is found in 14 records.
fn lasting_change(rules: &AnomalyRules, sighting: &Sighting, history: &History) -> Option<Finding> {
    if history.get(&sighting.name).is_some() {
        return None;
    }
    let power = sighting.mean_power()?;
    let others = usize::try_from(rules.change_records.checked_sub(1)?).ok().filter(|others| *others > 0)?;
    let count = usize::try_from(rules.pattern_records).ok()?;
    let needed = usize::try_from(rules.pattern_records_min).ok().filter(|needed| *needed > 0)?;
    let mut newest = history.newest_at(sighting.name.operator, sighting.evse);
    let mut run = vec![(&sighting.name, power)];
    run.extend(newest.by_ref().take(others));
    let mut before: Vec<u64> = newest.take(count).map(|(_, power)| power.get()).collect();
    if run.len() <= others || before.len() < needed {
        return None;
    }
    before.sort_unstable();
    let below = |power: Watts| before.partition_point(|one| raised(*one, rules.change_margin) < power.get());
    // So many of so many: in basis points, rounded down.
    let share = |found: usize, of: usize| {
        let bps = u64::try_from(found).ok()?.checked_mul(u64::from(BasisPoints::WHOLE.get()))?;
        let bps = bps.checked_div(u64::try_from(of).ok()?)?;
        u32::try_from(bps).ok().map(BasisPoints::new)
    };
    let pairs = run.iter().try_fold(0usize, |sum, (_, power)| sum.checked_add(below(*power)))?;
    let above = share(pairs, run.len().checked_mul(before.len())?)?;
    let own = share(below(power), before.len())?;
    if above < rules.change_share || own < rules.change_share {
        return None;
    }
    let found = median(run.iter().map(|(_, power)| power.get()).collect())?;
    let records = u32::try_from(before.len()).ok()?;
    Some(Finding::LastingChange {
        run: run.into_iter().rev().map(|(name, _)| name.clone()).collect(),
        found: Watts::new(found),
        median: Watts::new(median(before)?),
        above,
        records,
    })
}

/// The upper median; `None` of nothing.
fn median(mut values: Vec<u64>) -> Option<u64> {
    let middle = values.len() / 2;
    (middle < values.len()).then(|| *values.select_nth_unstable(middle).1)
}
