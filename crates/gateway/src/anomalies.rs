//! Rules that find charge records which cannot be true, or are unlike everything before them.
//!
//! ```text
//! booked record -> Sighting -+-> hard rules: power, energy against time, replay, overlap, second meter -> contest
//! earlier sightings (History)+-> a change of pattern that lasts over several records -----------------> contest of all
//!                            +-> a sudden change of one record ---------------------------------------> notice
//! ```
//! A record that the ledger has booked fits its agreement and its price. Whether its energy was ever delivered, the
//! ledger cannot know; the home utility, which pays, looks at its own records together. What it finds, it says with the
//! numbers, and contests within the window of the agreement: a resolver decides. The record itself stands on the ledger
//! whatever the rules say, and nothing here removes it.
//!
//! What it deliberately does not do: it does not estimate how long a drive between two stations takes (a record is
//! contested for what is impossible, not for what is improbable); it uses no floats and no randomness, so that the
//! resolver, who is given the evidence, computes the same findings; it does not change what a driver is billed.
//!
//! Source: FORECAST.md, "Fraud on charge records"; Paper A, section 2.1.2 (records are checked before they are paid).

mod config;
mod history;
mod rules;

pub use config::{AnomalyConfig, AnomalyConfigFault};
pub use history::{History, SIGHTINGS_KEPT_FOR};
pub use rules::{AnomalyRules, Known, look};

use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::cdr::{Cdr, CdrId, ChargingPeriod, EvsePseudonym};
use eroam_domain::codec::{Digest, ShortText, to_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::decimal;
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A record by its operator and its name there.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct RecordName {
    /// The operator.
    pub operator: PartyId,
    /// Its id of the record.
    pub cdr: CdrId,
}

impl fmt::Display for RecordName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {} of {}", self.cdr, self.operator)
    }
}

/// Whose word a second meter is.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SecondMeterKind {
    /// A calibrated meter beside the station's own, whose readings somebody else signs.
    Attested,
    /// The vehicle's counter of what came into its battery: less than what the station gave, by the losses of charging.
    Vehicle,
}

/// What another meter than the station's says of a session.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct SecondMeter {
    /// Whose word it is.
    pub kind: SecondMeterKind,
    /// What it counted.
    pub energy: WattHours,
}

/// What is remembered of a record, to compare later ones with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    /// Which record.
    pub name: RecordName,
    /// Where.
    pub evse: EvsePseudonym,
    /// From when.
    pub start: UnixMillis,
    /// Until when.
    pub end: UnixMillis,
    /// How much.
    pub energy: WattHours,
    /// How long energy flowed: what the periods say, or the whole session where they say nothing of it.
    pub charging: DurationMs,
    /// The digest of its readings.
    pub readings: Digest,
    /// SHA-256 over its periods, with their times.
    pub periods: Digest,
    /// SHA-256 over its periods with times counted from its start, so that a copy on another day shows.
    pub shape: Digest,
    /// Whose charge it was: a digest that means something to the home utility alone. `None` until that is known.
    pub customer: Option<Digest>,
    /// Whether a hard rule found something. Such a record does not count as usual for later ones.
    pub flagged: bool,
    /// The record, for a second meter that is read later: with its finding it is the evidence. The history in memory does
    /// without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub record: Option<Box<Cdr>>,
}

impl Sighting {
    /// What is remembered of a record.
    #[must_use]
    pub fn of(operator: PartyId, cdr: &Cdr) -> Self {
        let start = cdr.start.get();
        let from_start = |p: &ChargingPeriod| (p.start.get().wrapping_sub(start), *p);
        let shape: Vec<_> = cdr
            .periods
            .iter()
            .map(from_start)
            .map(|(after, p)| (after, p.energy, p.charging, p.parking, p.reservation))
            .collect();
        Self {
            name: RecordName { operator, cdr: cdr.id.clone() },
            evse: cdr.evse,
            start: cdr.start,
            end: cdr.end,
            energy: cdr.energy,
            charging: charging_time(cdr),
            readings: cdr.readings,
            periods: Digest::of_value("eroam/anomaly/periods/1", &cdr.periods),
            shape: Digest::of_value("eroam/anomaly/shape/1", &(cdr.duration(), shape)),
            customer: None,
            flagged: false,
            record: None,
        }
    }

    /// The mean power while energy flowed, rounded down; `None` for no energy or no time.
    #[must_use]
    pub fn mean_power(&self) -> Option<Watts> {
        Watts::mean(self.energy, self.charging).filter(|power| !power.is_zero())
    }
}

/// How long energy flowed: the charging time of the periods, or the whole session where none is stated.
fn charging_time(cdr: &Cdr) -> DurationMs {
    let stated = cdr.periods.iter().try_fold(DurationMs::ZERO, |sum, p| sum.checked_add(p.charging));
    match stated {
        Some(stated) if !stated.is_zero() => stated,
        _ => cdr.duration(),
    }
}

/// What a rule found, with the numbers that it compared.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "rule")]
pub enum Finding {
    /// More power than the EVSE, or any EVSE under the agreement, can give.
    ImpossiblePower {
        /// The period, from 0.
        period: u16,
        /// The period's mean power, or the highest power that it states.
        found: Watts,
        /// The rating with its tolerance.
        possible: Watts,
    },
    /// More energy than the time in which it flowed can have held.
    EnergyAgainstTime {
        /// The period, from 0; `None` for the whole session.
        period: Option<u16>,
        /// What the record says was delivered.
        found: WattHours,
        /// What can have been.
        possible: WattHours,
        /// What that follows from.
        basis: EnergyBasis,
    },
    /// The same consumption was recorded before.
    Replay {
        /// Under this name.
        of: RecordName,
        /// What is the same.
        same: Same,
    },
    /// The same EVSE, or the same customer, was charging elsewhere at the same time.
    Overlap {
        /// With this record.
        with: RecordName,
        /// For so long.
        overlap: DurationMs,
        /// What cannot be in two places.
        of: Occupied,
    },
    /// Another meter counted something else.
    SecondMeter {
        /// What the record says.
        found: WattHours,
        /// What the other meter says.
        second: SecondMeter,
        /// The most that is consistent with it.
        possible: WattHours,
    },
    /// The power is unlike that of earlier records.
    SuddenChange {
        /// The mean power while energy flowed.
        found: Watts,
        /// The median of the earlier ones.
        median: Watts,
        /// The median of their distances from it.
        deviation: Watts,
        /// How many earlier ones there are.
        records: u32,
        /// Of what they are records.
        of: PatternOf,
    },
    /// The power of several records of an EVSE, one after another, is unlike that of those before.
    LastingChange {
        /// These records, in the order in which they came. Each of them is contested for it.
        run: Vec<RecordName>,
        /// The median of their mean powers while energy flowed.
        found: Watts,
        /// That of the records before.
        median: Watts,
        /// In so many of all pairs of one of them and one before it is above, by more than the margin.
        above: BasisPoints,
        /// How many records there are before.
        records: u32,
    },
    /// Staff contests it, for a reason that no rule finds.
    Staff {
        /// Why, in words for operator and resolver.
        reason: ShortText<256>,
    },
}

/// What bounds a record's energy.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum EnergyBasis {
    /// The highest power that the same period states, over its charging time.
    StatedPower,
    /// Nothing can flow in a period that was all parking or reservation.
    NoChargingTime,
    /// The highest mean power that the EVSE gave before, over the charging time of the session.
    PowerSeenBefore,
}

/// What a replayed record has in common with an earlier one.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Same {
    /// The digest of the readings.
    Readings,
    /// Periods and times.
    Periods,
    /// Periods, at another time.
    Shape,
}

/// What cannot be in two places at once.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Occupied {
    /// An EVSE.
    Evse,
    /// A customer, in as many places as there are cards for the contract.
    Customer,
}

/// Whose earlier records a pattern is of.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum PatternOf {
    /// The EVSE's.
    Evse,
    /// All of the operator's, where the EVSE has too few.
    Operator,
}

impl Finding {
    /// Whether it follows from what cannot be, or from what somebody says, and not from what was usual.
    #[must_use]
    pub const fn is_hard(&self) -> bool {
        !matches!(self, Self::SuddenChange { .. } | Self::LastingChange { .. })
    }

    /// A name of the rule.
    #[must_use]
    pub const fn rule(&self) -> &'static str {
        match self {
            Self::ImpossiblePower { .. } => "impossible_power",
            Self::EnergyAgainstTime { .. } => "energy_against_time",
            Self::Replay { .. } => "replay",
            Self::Overlap { .. } => "overlap",
            Self::SecondMeter { .. } => "second_meter",
            Self::SuddenChange { .. } => "sudden_change",
            Self::LastingChange { .. } => "lasting_change",
            Self::Staff { .. } => "staff",
        }
    }

    /// The other record that it names.
    #[must_use]
    pub const fn other(&self) -> Option<&RecordName> {
        match self {
            Self::Replay { of: other, .. } | Self::Overlap { with: other, .. } => Some(other),
            _ => None,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ImpossiblePower { period, found, possible } => {
                write!(
                    f,
                    "period {period} has {} W, and at most {} W are possible",
                    found.get(),
                    possible.get()
                )
            }
            Self::EnergyAgainstTime { period, found, possible, basis } => {
                match period {
                    Some(period) => write!(f, "period {period}")?,
                    None => f.write_str("the session")?,
                }
                write!(f, " has {found}, and at most {possible} are possible ")?;
                f.write_str(match basis {
                    EnergyBasis::StatedPower => "with the power that it states",
                    EnergyBasis::NoChargingTime => "without charging time",
                    EnergyBasis::PowerSeenBefore => "with the power that the EVSE gave before",
                })
            }
            Self::Replay { of, same } => {
                let what = match same {
                    Same::Readings => "readings",
                    Same::Periods => "periods",
                    Same::Shape => "consumption, at another time,",
                };
                write!(f, "it has the same {what} as {of}")
            }
            Self::Overlap { with, overlap, of } => {
                let what = match of {
                    Occupied::Evse => "EVSE",
                    Occupied::Customer => "customer",
                };
                write!(f, "the same {what} was in {with} for {overlap} of it")
            }
            Self::SecondMeter { found, second, possible } => {
                let kind = match second.kind {
                    SecondMeterKind::Attested => "a second meter",
                    SecondMeterKind::Vehicle => "the vehicle",
                };
                write!(
                    f,
                    "it has {found}, {kind} counted {}, and {possible} at most agree with that",
                    second.energy
                )
            }
            Self::SuddenChange { found, median, deviation, records, of } => {
                let whose = match of {
                    PatternOf::Evse => "the EVSE",
                    PatternOf::Operator => "the operator",
                };
                write!(
                    f,
                    "its mean power of {} W is far above the {} W (deviation {} W) of {records} earlier records of {whose}",
                    found.get(),
                    median.get(),
                    deviation.get()
                )
            }
            Self::Staff { reason } => write!(f, "{reason}"),
            Self::LastingChange { run, found, median, above, records } => {
                write!(
                    f,
                    "it is one of {} records in a row of the EVSE with a mean power of {} W (median), and of {} W in the \
                     {records} before: above these in {} % of all pairs",
                    run.len(),
                    found.get(),
                    median.get(),
                    decimal(above.get().into(), 2, 0)
                )
            }
        }
    }
}

/// What a contest rests on: the record, what was found, and by which rules. Its bytes are what the digest on the
/// ledger is of, and what the resolver is given.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AnomalyEvidence {
    /// 2.
    pub version: u8,
    /// The operator.
    pub operator: PartyId,
    /// The record as the ledger booked it.
    pub cdr: Cdr,
    /// What was found.
    pub findings: Vec<Finding>,
    /// The thresholds that applied.
    pub rules: AnomalyRules,
}

impl AnomalyEvidence {
    /// Its canonical bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(self)
    }
}

/// Where a case stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CaseState {
    /// Somebody should look; the rules contest nothing.
    Notice,
    /// To be contested: it waits for the ledger.
    Waiting,
    /// The ledger has taken the contest.
    Contested,
    /// The ledger has not: the window is over, or somebody contested the record before.
    Refused {
        /// What it said.
        why: String,
    },
}

/// What was found of one record, and what became of it. It is never deleted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnomalyCase {
    /// Which record.
    pub name: RecordName,
    /// Where it stands.
    pub state: CaseState,
    /// What was found, in the order in which it was found.
    pub findings: Vec<Finding>,
    /// [`AnomalyEvidence::to_bytes`], as contested. What is found after a contest is in `findings` alone: a record is
    /// contested once. Not in JSON: a store keeps it beside the rest.
    #[serde(skip)]
    pub evidence: Vec<u8>,
}
