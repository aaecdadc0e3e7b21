//! The parameters of a price of energy that follows an attested load forecast: the curve, and whose word counts.
//!
//! What it does not do: compute a rate or read a forecast; that is [`crate::pricing`]'s and [`crate::forecast`]'s
//! business. Whether those who gain by an attestation could make it alone is a question to the whole agreement
//! ([`super::RoamingAgreement::check`]), since the rule does not know the sides.
//!
//! Source: Paper A, "smart contract" with AI pricing; DESIGN.md, "Price and shares".

use crate::cdr::GridZone;
use crate::ids::PartyId;
use crate::quantity::BasisPoints;
use crate::tariff::VatRate;
use crate::time::{LocalTime, TimeOfDay, Weekdays, in_daily_window};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The greatest number of time-of-use windows in a rule.
pub const RATE_WINDOWS_MAX: usize = 64;
/// The greatest number of knots in a rule.
pub const KNOTS_MAX: usize = 32;
/// The greatest number of parties whose word is asked for one thing.
pub const PANEL_MAX: usize = 5;
/// The greatest utilisation of a knot in basis points.
pub const UTILISATION_MAX: u32 = 100_000;
/// The greatest factor: more than ten times the price is surely a slip.
const FACTOR_MAX: u32 = 100_000;

/// A stretch of the local day in which the base rate is multiplied.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct RateWindow {
    /// On these local days.
    pub days: Weekdays,
    /// From this local time.
    pub start: TimeOfDay,
    /// Until this local time; not after `start` means past midnight.
    pub end: TimeOfDay,
    /// Of the base rate: 10,000 is the base rate itself.
    pub bps: BasisPoints,
}

/// A point of the surcharge curve.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct Knot {
    /// Load in basis points of the capacity; above 10,000 for an overload.
    pub utilisation_bps: u32,
    /// Added to the rate there, in basis points; a discount is negative.
    pub surcharge_bps: i32,
}

/// A point of the second curve, over the share of renewable energy.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(deny_unknown_fields)]
pub struct RenewableKnot {
    /// Share of renewable energy in basis points, at most 10,000.
    pub share_bps: u32,
    /// Added to the rate there, in basis points; a discount is negative.
    pub surcharge_bps: i32,
}

/// Parties that are asked for the same thing, and how many must have answered before it counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// Who is asked: 1 to [`PANEL_MAX`] parties, each once.
    pub parties: Vec<PartyId>,
    /// So many answers make a result.
    pub quorum: u8,
}

impl Panel {
    /// Whether it can come to a result at all.
    fn is_sound(&self) -> bool {
        let mut parties = self.parties.clone();
        parties.sort_unstable();
        parties.dedup();
        parties.len() == self.parties.len()
            && (1..=PANEL_MAX).contains(&parties.len())
            && (1..=parties.len()).contains(&usize::from(self.quorum))
    }
}

/// Who says what the load really was.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Actuals {
    /// Several, of whose values the middle one counts.
    Median(Panel),
    /// One that gains nothing either way, such as the grid's operator.
    Independent {
        /// Who.
        attester: PartyId,
    },
}

impl Actuals {
    /// Everybody who is asked.
    #[must_use]
    pub fn parties(&self) -> &[PartyId] {
        match self {
            Self::Median(panel) => &panel.parties,
            Self::Independent { attester } => std::slice::from_ref(attester),
        }
    }

    /// So many values make a result.
    #[must_use]
    pub fn quorum(&self) -> usize {
        match self {
            Self::Median(panel) => usize::from(panel.quorum),
            Self::Independent { .. } => 1,
        }
    }
}

/// A price of energy that follows the forecast load of the grid, hour by hour:
/// `rate = clamp(base * time of use / 10000 * (10000 + S(u)) / 10000 * (10000 + R(share)) / 10000, floor, cap)` with
/// `u = forecast load * 10000 / capacity`, the curve `S` through the knots and, where there is one, the curve `R` over
/// the renewable share.
///
/// The rate replaces the tariff's price of energy in hours that have a forecast. All amounts are in the agreement's
/// currency and without VAT.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DynamicRule {
    /// The static rule where there is no forecast: what the partner pays of the tariff.
    pub fallback: BasisPoints,
    /// Millionths per kWh before time of use and surcharge.
    pub base_micros_per_kwh: i64,
    /// The first window that matches counts; where none does, the base rate.
    pub time_of_use: Vec<RateWindow>,
    /// What the grid zone can carry, in kilowatts.
    pub capacity_kw: u32,
    /// The surcharge curve, in strictly rising order of utilisation: straight between two knots, level before the
    /// first and after the last.
    pub knots: Vec<Knot>,
    /// Millionths per kWh: the rate is never below.
    pub floor_micros: i64,
    /// Millionths per kWh: the rate is never above.
    pub cap_micros: i64,
    /// How far the actual load may be from the forecast, in basis points of the forecast, before an hour is trued up.
    pub band_bps: BasisPoints,
    /// The VAT on energy at the rate; energy that is priced by the tariff has the tariff's.
    pub vat: Option<VatRate>,
    /// The part of the grid whose load counts. Elsewhere the static rule applies.
    pub zone: GridZone,
    /// Whose forecasts count: the median of those in force, hour by hour.
    pub forecasters: Panel,
    /// Who says what the load really was.
    pub actuals: Actuals,
    /// A record is trued up by at most so much of its amount, either way; zero for never.
    pub true_up_cap_bps: BasisPoints,
    /// A second curve over the attested share of renewable energy, in strictly rising order of share; empty for none.
    pub renewable: Vec<RenewableKnot>,
}

/// Why a price rule makes no sense, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PriceRuleFault {
    #[error("a factor of 0 would make every session free, and one above {FACTOR_MAX} is surely a slip")]
    Factor,
    #[error("a base rate and a cap must be above zero and a floor must not be negative")]
    Rates,
    #[error("the floor is above the cap")]
    FloorAboveCap,
    #[error("a capacity of zero has no utilisation")]
    Capacity,
    #[error(
        "time of use has more than {RATE_WINDOWS_MAX} windows, one without days, or a factor of 0 or above {FACTOR_MAX}"
    )]
    TimeOfUse,
    #[error("the surcharge curve needs 1 to {KNOTS_MAX} knots")]
    KnotCount,
    #[error("the utilisation of each knot must be above that of the knot before it")]
    KnotOrder,
    #[error(
        "a knot lies above {UTILISATION_MAX} basis points: more than ten times the capacity is surely a slip"
    )]
    KnotUtilisation,
    #[error("a surcharge is outside -10000 to 100000 basis points: a rate cannot fall below zero")]
    Surcharge,
    #[error("a band above 10000 basis points would never be left")]
    Band,
    #[error("the renewable curve has more than {KNOTS_MAX} knots, or one beyond the whole share")]
    RenewableKnots,
    #[error("the share of each knot of the renewable curve must be above that of the knot before it")]
    RenewableOrder,
    #[error(
        "a surcharge of the renewable curve is outside -10000 to 100000 basis points: a rate cannot fall below zero"
    )]
    RenewableSurcharge,
    #[error("forecasters are 1 to {PANEL_MAX} parties, each once, and the quorum at most all of them")]
    Forecasters,
    #[error(
        "attesters of the load are 1 to {PANEL_MAX} parties, each once, and the quorum at most all of them"
    )]
    Attesters,
    #[error("a true-up of more than the whole amount would pay for charging, or double the price")]
    TrueUpCap,
}

/// Whether a factor can be meant.
pub(super) fn check_factor(factor: BasisPoints) -> Result<(), PriceRuleFault> {
    if (1..=FACTOR_MAX).contains(&factor.get()) { Ok(()) } else { Err(PriceRuleFault::Factor) }
}

impl DynamicRule {
    /// Looks for parameters that cannot be meant.
    ///
    /// # Errors
    /// The first [`PriceRuleFault`].
    pub fn check(&self) -> Result<(), PriceRuleFault> {
        check_factor(self.fallback)?;
        let bad_window = |w: &RateWindow| w.days.is_empty() || check_factor(w.bps).is_err();
        let mut pairs = self.knots.iter().zip(self.knots.iter().skip(1));
        let mut shares = self.renewable.iter().zip(self.renewable.iter().skip(1));
        let bad_surcharge = |surcharge_bps: i32| !(-10_000..=100_000).contains(&surcharge_bps);
        let checks = [
            (
                self.base_micros_per_kwh <= 0 || self.cap_micros <= 0 || self.floor_micros < 0,
                PriceRuleFault::Rates,
            ),
            (self.floor_micros > self.cap_micros, PriceRuleFault::FloorAboveCap),
            (self.capacity_kw == 0, PriceRuleFault::Capacity),
            (
                self.time_of_use.len() > RATE_WINDOWS_MAX || self.time_of_use.iter().any(bad_window),
                PriceRuleFault::TimeOfUse,
            ),
            (self.knots.is_empty() || self.knots.len() > KNOTS_MAX, PriceRuleFault::KnotCount),
            (pairs.any(|(low, high)| low.utilisation_bps >= high.utilisation_bps), PriceRuleFault::KnotOrder),
            (self.knots.iter().any(|k| k.utilisation_bps > UTILISATION_MAX), PriceRuleFault::KnotUtilisation),
            (self.knots.iter().any(|k| bad_surcharge(k.surcharge_bps)), PriceRuleFault::Surcharge),
            (self.band_bps > BasisPoints::WHOLE, PriceRuleFault::Band),
            (
                self.renewable.len() > KNOTS_MAX || self.renewable.iter().any(|k| k.share_bps > 10_000),
                PriceRuleFault::RenewableKnots,
            ),
            (shares.any(|(low, high)| low.share_bps >= high.share_bps), PriceRuleFault::RenewableOrder),
            (
                self.renewable.iter().any(|k| bad_surcharge(k.surcharge_bps)),
                PriceRuleFault::RenewableSurcharge,
            ),
            (!self.forecasters.is_sound(), PriceRuleFault::Forecasters),
            (matches!(&self.actuals, Actuals::Median(panel) if !panel.is_sound()), PriceRuleFault::Attesters),
            (self.true_up_cap_bps > BasisPoints::WHOLE, PriceRuleFault::TrueUpCap),
        ];
        match checks.into_iter().find(|(failed, _)| *failed) {
            Some((_, fault)) => Err(fault),
            None => Ok(()),
        }
    }

    /// What of the base rate is paid at a local time, before the surcharge.
    #[must_use]
    pub fn time_of_use_at(&self, local: LocalTime) -> BasisPoints {
        let holds = |w: &&RateWindow| {
            w.days.contains(local.weekday) && in_daily_window(local.ms_of_day, Some(w.start), Some(w.end))
        };
        self.time_of_use.iter().find(holds).map_or(BasisPoints::WHOLE, |w| w.bps)
    }
}
