//! A roaming agreement: who roams with whom, at what price, up to what limits, and how the money is shared.
//!
//! Source: Paper A, section 2.1.4 ("a set of different charging rules and policies for each participating utility is
//! based on the contractual agreement with that utility") and 3.1.

pub mod dynamic;

pub use dynamic::{Actuals, DynamicRule, Knot, Panel, PriceRuleFault, RateWindow, RenewableKnot};

use crate::cdr::GridZone;
use crate::codec::Digest;
use crate::ids::PartyId;
use crate::money::{Currency, Money, Rounding};
use crate::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use crate::time::PeriodKind;
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The greatest number of parties that share a session's revenue.
pub const BENEFICIARIES_MAX: usize = 8;

/// The name of an agreement: SHA-256 of its first proposal.
pub type AgreementId = Digest;

/// How the wholesale price follows from the operator's tariff.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceRule {
    /// The operator's tariff times a factor.
    Static {
        /// What the partner pays of the tariff: 10,000 is the tariff itself, 9,500 is 5 % less.
        factor: BasisPoints,
    },
    /// Energy at a rate that follows the attested load forecast; the static rule where there is none.
    Dynamic(DynamicRule),
}

impl PriceRule {
    /// What the partner pays of the tariff where no forecast says otherwise.
    #[must_use]
    pub const fn static_factor(&self) -> BasisPoints {
        match self {
            Self::Static { factor } => *factor,
            Self::Dynamic(rule) => rule.fallback,
        }
    }

    /// Looks for parameters that cannot be meant.
    ///
    /// # Errors
    /// The first [`PriceRuleFault`].
    pub fn check(&self) -> Result<(), PriceRuleFault> {
        match self {
            Self::Static { factor } => dynamic::check_factor(*factor),
            Self::Dynamic(rule) => rule.check(),
        }
    }
}

/// What of the price the debtor owes.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum VatTreatment {
    /// The operator charges VAT; the amount with VAT is owed.
    Charged,
    /// The debtor accounts for the VAT itself (usual across borders); the amount without VAT is owed.
    ReverseCharge,
}

/// What the other members see of records under the agreement.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Terms {
    /// Records, tariffs and prices are visible to the members.
    Clear,
    /// Salted commitments only; not offered yet, the ledger refuses to record such an agreement.
    Committed,
}

/// What a single record may amount to at most; a record beyond a limit is refused.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Limits {
    /// Energy of one session.
    pub energy_max: WattHours,
    /// Length of one session.
    pub duration_max: DurationMs,
    /// Mean power of one period.
    pub power_max: Watts,
    /// Amount of one session, in millionths of the agreement's currency.
    pub amount_max: i64,
}

/// A cost that is paid to a party before the surplus is shared.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct AgreedCost {
    /// Who is paid.
    pub party: PartyId,
    /// Millionths per kWh.
    pub per_kwh_micros: u32,
    /// Millionths per session.
    pub per_session_micros: u32,
}

/// A part of the surplus.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct SurplusShare {
    /// Who is paid.
    pub party: PartyId,
    /// Of the surplus.
    pub share: BasisPoints,
}

/// How the amount of a session is divided: agreed costs first, then the surplus by agreed shares, the remainder to
/// the operator. Padding one's cost gains nothing beyond what was agreed.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Shares {
    /// Paid first, in this order, as far as the amount reaches.
    pub costs: Vec<AgreedCost>,
    /// Paid from what is left.
    pub surplus: Vec<SurplusShare>,
}

impl Shares {
    /// Everything to the operator.
    pub const OPERATOR_ONLY: Self = Self { costs: Vec::new(), surplus: Vec::new() };

    /// Divides `amount` (millionths, not negative) of a session of `energy`; what is not shared goes to `remainder`.
    /// The parts add up to `amount` exactly; parties with nothing are left out. `None` on overflow or for a
    /// negative amount.
    #[must_use]
    pub fn split(&self, amount: i64, energy: WattHours, remainder: PartyId) -> Option<Vec<(PartyId, i64)>> {
        if amount < 0 {
            return None;
        }
        let mut left = amount;
        let mut parts: Vec<(PartyId, i64)> = Vec::with_capacity(1);
        let mut pay = |party: PartyId, wanted: i64, left: &mut i64| {
            let paid = wanted.min(*left);
            *left = left.checked_sub(paid)?;
            match parts.iter_mut().find(|(p, _)| *p == party) {
                Some((_, sum)) => *sum = sum.checked_add(paid)?,
                None if paid > 0 => parts.push((party, paid)),
                None => {}
            }
            Some(())
        };
        for cost in &self.costs {
            let for_energy = i128::from(cost.per_kwh_micros)
                .checked_mul(i128::from(energy.milli_wh()))?
                .checked_div_euclid(1_000_000)?;
            let wanted = i64::try_from(for_energy).ok()?.checked_add(i64::from(cost.per_session_micros))?;
            pay(cost.party, wanted, &mut left)?;
        }
        let surplus = i128::from(left);
        for share in &self.surplus {
            let wanted = surplus.checked_mul(i128::from(share.share.get()))?.checked_div_euclid(10_000)?;
            pay(share.party, i64::try_from(wanted).ok()?, &mut left)?;
        }
        let rest = left;
        pay(remainder, rest, &mut left)?;
        Some(parts)
    }
}

/// The terms that both sides sign. `emsp` pays, `cpo` delivers; drivers that roam the other way need a second one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct RoamingAgreement {
    /// The home utility, the debtor.
    pub emsp: PartyId,
    /// The visited operator, the creditor.
    pub cpo: PartyId,
    /// How the wholesale price is made.
    pub price_rule: PriceRule,
    /// Who gets what of it.
    pub shares: Shares,
    /// What one session may amount to.
    pub limits: Limits,
    /// How much may be owed and reserved at any time; power is refused beyond it.
    pub credit_limit: Money,
    /// How often it is settled.
    pub period: PeriodKind,
    /// The currency of all amounts; tariffs used under it are in this currency.
    pub currency: Currency,
    /// How amounts are rounded, at the end.
    pub rounding: Rounding,
    /// What of the price is owed.
    pub vat: VatTreatment,
    /// Who decides contests: neither of the two sides.
    pub resolver: PartyId,
    /// How long after its recording a record may be contested.
    pub contest_window: DurationMs,
    /// How long after a contest the resolver may decide.
    pub resolve_window: DurationMs,
    /// How long after the end of its session a record is accepted.
    pub record_window: DurationMs,
    /// What other members see.
    pub terms: Terms,
}

/// Why an agreement makes no sense, whoever signs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum AgreementFault {
    #[error("an organisation cannot roam with itself")]
    SameParty,
    #[error("the resolver is one of the two sides, name a third member")]
    PartisanResolver,
    #[error("the credit limit is not in the agreement's currency")]
    CreditCurrency,
    #[error("the credit limit and the limit of one session must be above zero")]
    NoCredit,
    #[error("price rule: {0}")]
    PriceRule(PriceRuleFault),
    #[error("shares name more than {BENEFICIARIES_MAX} parties, or more than the whole surplus")]
    Shares,
    #[error("a limit of zero energy, time or power would refuse every record")]
    ZeroLimit,
    #[error("a window is longer than 60 days, or a record window is zero")]
    Window,
    #[error("agreements with committed terms cannot be recorded yet, use clear terms")]
    CommittedTerms,
    #[error(
        "one side's own forecasters are more than half of a quorum: raise the quorum, or name others that gain nothing by \
         the price"
    )]
    PartisanForecasters,
    #[error(
        "one side's own attesters of the load are more than half of a quorum, or the independent one gains by the \
         price: name others"
    )]
    PartisanActuals,
}

/// On whose side of the bill a party is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The home utility pays, and gains by a low price.
    Debtor,
    /// The operator, and all who share in the price, gain by a high one.
    Creditor,
}

/// The longest contest, resolve or record window: the ledger keeps EVSE occupancy for so long.
pub const WINDOW_MAX: DurationMs = DurationMs::from_millis(60 * 86_400_000);

impl RoamingAgreement {
    /// Looks for terms that cannot be meant.
    ///
    /// # Errors
    /// The first [`AgreementFault`].
    pub fn check(&self) -> Result<(), AgreementFault> {
        let share_sum: u64 = self.shares.surplus.iter().map(|s| u64::from(s.share.get())).sum();
        let beneficiaries = self.shares.costs.len().max(self.shares.surplus.len());
        let windows =
            [self.contest_window, self.resolve_window, self.record_window, self.limits.duration_max];
        let when = |failed: bool, fault: AgreementFault| failed.then_some(fault);
        let faults = [
            when(self.emsp == self.cpo, AgreementFault::SameParty),
            when(self.resolver == self.emsp || self.resolver == self.cpo, AgreementFault::PartisanResolver),
            when(self.credit_limit.currency != self.currency, AgreementFault::CreditCurrency),
            when(self.credit_limit.micros <= 0 || self.limits.amount_max <= 0, AgreementFault::NoCredit),
            self.price_rule.check().err().map(AgreementFault::PriceRule),
            when(beneficiaries > BENEFICIARIES_MAX || share_sum > 10_000, AgreementFault::Shares),
            when(
                self.limits.energy_max.is_zero()
                    || self.limits.duration_max.is_zero()
                    || self.limits.power_max.is_zero(),
                AgreementFault::ZeroLimit,
            ),
            when(
                windows.iter().any(|w| *w > WINDOW_MAX) || self.record_window.is_zero(),
                AgreementFault::Window,
            ),
            when(self.terms == Terms::Committed, AgreementFault::CommittedTerms),
            self.partisan_attesters(),
        ];
        faults.into_iter().flatten().next().map_or(Ok(()), Err)
    }

    /// Whether those who gain by an attestation could make it alone: one side's forecasters, and its attesters of the load,
    /// must not be more than half of a quorum.
    fn partisan_attesters(&self) -> Option<AgreementFault> {
        let PriceRule::Dynamic(rule) = &self.price_rule else { return None };
        let of = |parties: &[PartyId], side| parties.iter().filter(|p| self.side(**p) == Some(side)).count();
        let sides = [Side::Debtor, Side::Creditor];
        // More than half of those who have spoken decide a median, whatever the others say.
        let is_partisan = |panel: &Panel| {
            sides.iter().any(|side| of(&panel.parties, *side).saturating_mul(2) > usize::from(panel.quorum))
        };
        if is_partisan(&rule.forecasters) {
            return Some(AgreementFault::PartisanForecasters);
        }
        let partisan = match &rule.actuals {
            Actuals::Independent { attester } => self.side(*attester).is_some(),
            Actuals::Median(panel) => is_partisan(panel),
        };
        partisan.then_some(AgreementFault::PartisanActuals)
    }

    /// Who gains by the price, and how. The home utility is the debtor, also where it shares in the price.
    #[must_use]
    pub fn side(&self, party: PartyId) -> Option<Side> {
        let shares = self.shares.costs.iter().any(|cost| cost.party == party)
            || self.shares.surplus.iter().any(|share| share.party == party);
        if party == self.emsp {
            Some(Side::Debtor)
        } else if party == self.cpo || shares {
            Some(Side::Creditor)
        } else {
            None
        }
    }

    /// The rule by which a price in `zone` follows a forecast; `None` where the price is static.
    #[must_use]
    pub fn forecast_rule(&self, zone: &GridZone) -> Option<&DynamicRule> {
        match &self.price_rule {
            PriceRule::Dynamic(rule) if rule.zone == *zone => Some(rule),
            PriceRule::Dynamic(_) | PriceRule::Static { .. } => None,
        }
    }

    /// What of a price the debtor owes, in millionths.
    #[must_use]
    pub const fn due(&self, price: crate::money::Price) -> i64 {
        match self.vat {
            VatTreatment::Charged => price.incl_vat,
            VatTreatment::ReverseCharge => price.excl_vat,
        }
    }

    /// The other side of `party`, if it is a side at all.
    #[must_use]
    pub fn counterparty(&self, party: PartyId) -> Option<PartyId> {
        if party == self.emsp {
            Some(self.cpo)
        } else if party == self.cpo {
            Some(self.emsp)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn party(id: &str) -> PartyId {
        PartyId::new("PT", id).unwrap()
    }

    #[test]
    fn costs_come_first_then_the_surplus_then_the_remainder() {
        let shares = Shares {
            costs: vec![AgreedCost { party: party("SUP"), per_kwh_micros: 100_000, per_session_micros: 0 }],
            surplus: vec![SurplusShare { party: party("OWN"), share: BasisPoints::new(2_500) }],
        };
        // 10 kWh for 4.00: 1.00 to the supplier, a quarter of 3.00 to the owner, the rest to the operator.
        let parts = shares.split(4_000_000, WattHours::from_wh(10_000).unwrap(), party("CPO")).unwrap();
        assert_eq!(parts, [(party("SUP"), 1_000_000), (party("OWN"), 750_000), (party("CPO"), 2_250_000)]);
        // An amount below the cost goes to the supplier alone.
        let parts = shares.split(300_000, WattHours::from_wh(10_000).unwrap(), party("CPO")).unwrap();
        assert_eq!(parts, [(party("SUP"), 300_000)]);
    }

    #[test]
    fn an_agreement_says_what_is_wrong_with_its_price_rule() {
        let currency = Currency::new("EUR").unwrap();
        let rule = DynamicRule {
            fallback: BasisPoints::WHOLE,
            base_micros_per_kwh: 120_000,
            time_of_use: Vec::new(),
            capacity_kw: 1_000,
            knots: vec![Knot { utilisation_bps: 5_000, surcharge_bps: 0 }],
            floor_micros: 60_000,
            cap_micros: 400_000,
            band_bps: BasisPoints::new(500),
            vat: None,
            zone: GridZone::new("PT-N").unwrap(),
            forecasters: Panel { parties: vec![party("GRD")], quorum: 1 },
            actuals: Actuals::Independent { attester: party("GRD") },
            true_up_cap_bps: BasisPoints::new(2_000),
            renewable: Vec::new(),
        };
        let terms = |price_rule, amount_max, energy| RoamingAgreement {
            emsp: party("AAA"),
            cpo: party("BBB"),
            price_rule,
            shares: Shares::OPERATOR_ONLY,
            limits: Limits {
                energy_max: WattHours::from_wh(energy).unwrap(),
                duration_max: WINDOW_MAX,
                power_max: Watts::new(1),
                amount_max,
            },
            credit_limit: Money::new(1, currency),
            period: PeriodKind::Day,
            currency,
            rounding: Rounding::cents(),
            vat: VatTreatment::Charged,
            resolver: party("CCC"),
            contest_window: WINDOW_MAX,
            resolve_window: WINDOW_MAX,
            record_window: WINDOW_MAX,
            terms: Terms::Clear,
        };
        let dynamic = |capacity_kw| PriceRule::Dynamic(DynamicRule { capacity_kw, ..rule.clone() });
        assert_eq!(terms(dynamic(1_000), 1, 1).check(), Ok(()));
        // In its place in the order: after the limits on money, before the other limits.
        assert_eq!(terms(dynamic(0), 0, 0).check(), Err(AgreementFault::NoCredit));
        let fault = terms(dynamic(0), 1, 0).check().unwrap_err();
        assert_eq!(fault, AgreementFault::PriceRule(PriceRuleFault::Capacity));
        assert_eq!(fault.to_string(), "price rule: a capacity of zero has no utilisation");
        assert_eq!(terms(dynamic(1), 1, 0).check(), Err(AgreementFault::ZeroLimit));
        let free = terms(PriceRule::Static { factor: BasisPoints::ZERO }, 1, 1).check().unwrap_err();
        assert_eq!(free, AgreementFault::PriceRule(PriceRuleFault::Factor));
    }

    #[test]
    fn whoever_gains_by_a_forecast_is_never_its_only_attester() {
        let sides = |forecasters: &[&str], quorum, actuals: Actuals, shares: &[&str]| {
            let panel = Panel { parties: forecasters.iter().map(|id| party(id)).collect(), quorum };
            let mut terms = crate::pricing::tests::true_up::terms(DynamicRule {
                forecasters: panel,
                actuals,
                ..crate::pricing::tests::dynamic::rule()
            });
            let share = |id: &&str| SurplusShare { party: party(id), share: BasisPoints::new(1) };
            terms.shares.surplus = shares.iter().map(share).collect();
            terms.check()
        };
        let grid = || Actuals::Independent { attester: party("GRD") };
        let alone = |id| Actuals::Independent { attester: party(id) };
        let median = |ids: &[&str], quorum| {
            Actuals::Median(Panel { parties: ids.iter().map(|id| party(id)).collect(), quorum })
        };
        let (forecasters, actuals) =
            (Err(AgreementFault::PartisanForecasters), Err(AgreementFault::PartisanActuals));
        // HOM pays, VIS is paid, OWN has a share where it is said so.
        for (index, (found, want)) in [
            (sides(&["GRD"], 1, grid(), &[]), Ok(())),
            (sides(&["VIS"], 1, grid(), &[]), forecasters),
            (sides(&["HOM"], 1, grid(), &[]), forecasters),
            (sides(&["VIS", "GRD"], 1, grid(), &[]), forecasters),
            (sides(&["VIS", "GRD"], 2, grid(), &[]), Ok(())),
            (sides(&["VIS", "HOM"], 2, grid(), &[]), Ok(())),
            (sides(&["VIS", "OWN"], 2, grid(), &[]), Ok(())),
            (sides(&["VIS", "OWN"], 2, grid(), &["OWN"]), forecasters),
            (sides(&["VIS", "OWN", "GRD"], 3, grid(), &["OWN"]), forecasters),
            (sides(&["VIS", "OWN", "GRD", "HOM"], 4, grid(), &["OWN"]), Ok(())),
            (sides(&["GRD"], 1, alone("VIS"), &[]), actuals),
            (sides(&["GRD"], 1, alone("HOM"), &[]), actuals),
            (sides(&["GRD"], 1, alone("OWN"), &[]), Ok(())),
            (sides(&["GRD"], 1, alone("OWN"), &["OWN"]), actuals),
            (sides(&["GRD"], 1, median(&["VIS", "HOM"], 2), &[]), Ok(())),
            (sides(&["GRD"], 1, median(&["VIS", "HOM"], 1), &[]), actuals),
            (sides(&["GRD"], 1, median(&["VIS", "HOM", "GRD"], 3), &[]), Ok(())),
            (sides(&["GRD"], 1, median(&["VIS", "OWN", "GRD"], 3), &["OWN"]), actuals),
            (sides(&["GRD"], 1, median(&["VIS", "OWN", "GRD", "HOM"], 4), &["OWN"]), Ok(())),
            // A home utility that shares in the price still pays it.
            (sides(&["HOM", "VIS"], 2, grid(), &["HOM"]), Ok(())),
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(found, want, "case {index}");
        }
    }

    proptest! {
        #[test]
        fn shares_add_up(
            amount in 0i64..10_000_000_000,
            wh in 0u64..1_000_000,
            costs in proptest::collection::vec((0u32..1_000_000, 0u32..5_000_000), 0..4),
            points in proptest::collection::vec(0u32..2_500, 0..4),
        ) {
            let names = ["AAA", "BBB", "CCC", "DDD"];
            let shares = Shares {
                costs: costs.iter().zip(names).map(|((kwh, session), name)| AgreedCost {
                    party: party(name), per_kwh_micros: *kwh, per_session_micros: *session,
                }).collect(),
                surplus: points.iter().zip(names).map(|(bps, name)| SurplusShare {
                    party: party(name), share: BasisPoints::new(*bps),
                }).collect(),
            };
            let parts = shares.split(amount, WattHours::from_wh(wh).unwrap(), party("CPO")).unwrap();
            prop_assert_eq!(parts.iter().map(|(_, a)| a).sum::<i64>(), amount);
            prop_assert!(parts.iter().all(|(_, a)| *a > 0));
        }

        /// What a supplier or a transit provider gets is what was agreed for the energy, in the agreed order, as far as the
        /// amount reaches: nobody states a cost in a record, and a larger amount makes none larger.
        #[test]
        fn padding_gains_a_cost_nothing_beyond_what_was_agreed(
            amount in 0i64..10_000_000_000,
            padding in 0i64..10_000_000_000,
            milli_wh in 0u64..1_000_000_000,
            costs in proptest::collection::vec((0u32..1_000_000, 0u32..5_000_000), 1..4),
            points in proptest::collection::vec(0u32..3_300, 0..3),
        ) {
            let (payees, sharers) = (["SUP", "TRA", "GRD"], ["OWN", "EMS", "XYZ"]);
            let shares = Shares {
                costs: costs.iter().zip(payees).map(|((kwh, session), name)| AgreedCost {
                    party: party(name), per_kwh_micros: *kwh, per_session_micros: *session,
                }).collect(),
                surplus: points.iter().zip(sharers).map(|(bps, name)| SurplusShare {
                    party: party(name), share: BasisPoints::new(*bps),
                }).collect(),
            };
            let energy = WattHours::from_milli_wh(milli_wh);
            let split = |amount| shares.split(amount, energy, party("CPO")).unwrap();
            let of = |parts: &[(PartyId, i64)], name| {
                parts.iter().find(|(p, _)| *p == party(name)).map_or(0, |(_, paid)| *paid)
            };
            let (honest, padded) = (split(amount), split(amount + padding));
            let mut left = amount;
            let mut left_padded = amount + padding;
            for ((kwh, session), name) in costs.iter().zip(payees) {
                let agreed = u128::from(*kwh) * u128::from(milli_wh) / 1_000_000 + u128::from(*session);
                let agreed = i64::try_from(agreed).unwrap();
                prop_assert_eq!(of(&honest, name), agreed.min(left));
                prop_assert_eq!(of(&padded, name), agreed.min(left_padded));
                (left, left_padded) = (left - agreed.min(left), left_padded - agreed.min(left_padded));
            }
            // What is left over the costs is shared by the agreed points, and what that leaves is the operator's.
            let mut rest = left;
            for (bps, name) in points.iter().zip(sharers) {
                let share = i64::try_from(i128::from(left) * i128::from(*bps) / 10_000).unwrap();
                prop_assert_eq!(of(&honest, name), share);
                rest -= share;
            }
            prop_assert_eq!(of(&honest, "CPO"), rest);
        }
    }
}
