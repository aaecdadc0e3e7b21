//! The driver's price: the home utility's rules on top of the wholesale price, or its own tariff in place of it.
//!
//! ```text
//! wholesale passed on, or own tariff
//!   -> time of use (on the energy lines)  -> margin  -> roaming fee  -> tier  -> payment option  -> VAT -> rounding
//! ```
//! The wholesale leg is an input and never changes here: a tier earned at home makes the driver's price lower, not
//! the operator's revenue.
//!
//! Source: Paper A, sections 1 (tiers honoured abroad), 2.1.4 (rates by loyalty, payment option and time of use).

use crate::agreement::{PriceRule, VatTreatment};
use crate::cdr::ChargingPeriod;
use crate::money::{Money, Price, Rounding};
use crate::pricing::{ItemisedPrice, LineRule, PriceError, PriceLeg, PriceLine, Quantity, scale_bps};
use crate::tariff::{Dimension, Tariff, VatRate};
use crate::time::{LocalClock, TimeOfDay, UnixMillis, Weekdays, in_daily_window};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A driver's standing in the home utility's loyalty programme.
#[derive(
    Clone,
    Copy,
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
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Tier {
    Standard,
    Gold,
    Platinum,
    Diamond,
}

impl Tier {
    /// All tiers, the lowest first.
    pub const ALL: [Self; 4] = [Self::Standard, Self::Gold, Self::Platinum, Self::Diamond];
}

impl fmt::Display for Tier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Standard => "standard",
            Self::Gold => "gold",
            Self::Platinum => "platinum",
            Self::Diamond => "diamond",
        })
    }
}

/// How a driver pays the home utility.
///
/// Source: Paper A, section 2.1.3.
#[derive(
    Clone,
    Copy,
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
#[serde(rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum PaymentOption {
    Postpaid,
    Prepaid,
    DebitCard,
    CreditCard,
    Bitcoin,
}

impl PaymentOption {
    /// Every option.
    pub const ALL: [Self; 5] =
        [Self::Postpaid, Self::Prepaid, Self::DebitCard, Self::CreditCard, Self::Bitcoin];
}

impl fmt::Display for PaymentOption {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Postpaid => "postpaid",
            Self::Prepaid => "prepaid",
            Self::DebitCard => "debit card",
            Self::CreditCard => "credit card",
            Self::Bitcoin => "bitcoin",
        })
    }
}

/// What the retail price starts from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RetailBase {
    /// What the home utility pays the operator, without VAT. At the utility's own stations, what the tariff says.
    PassThrough,
    /// A tariff of the home utility, whatever the operator charges. In the agreement's currency.
    OwnTariff(Box<Tariff>),
}

/// A window of the day in which energy costs more or less.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TimeOfUse {
    /// On these local days.
    pub days: Weekdays,
    /// From this local time.
    pub start: TimeOfDay,
    /// Until this local time; not after `start` means past midnight.
    pub end: TimeOfDay,
    /// Basis points added to the price of energy that flows in it (negative for a discount).
    pub bps: i32,
}

/// The home utility's rules for its customers, one version of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetailRules {
    /// Where the price starts.
    pub base: RetailBase,
    /// The first window that matches counts.
    pub time_of_use: Vec<TimeOfUse>,
    /// Basis points added to everything so far.
    pub margin_bps: i32,
    /// Millionths for each session at another operator's station, without VAT.
    pub roaming_fee_micros: i64,
    /// Basis points for each tier, in the order of [`Tier::ALL`]; discounts are negative.
    pub tier_bps: [i32; 4],
    /// Basis points for each payment option, in the order of [`PaymentOption::ALL`].
    pub payment_bps: [i32; 5],
    /// The VAT that the driver pays.
    pub vat: VatRate,
    /// How the driver's amounts are rounded.
    pub rounding: Rounding,
}

/// The greatest number of time-of-use windows.
pub const TIME_OF_USE_MAX: usize = 64;

impl RetailRules {
    /// The addition for a tier in basis points.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> i32 {
        let [standard, gold, platinum, diamond] = self.tier_bps;
        match tier {
            Tier::Standard => standard,
            Tier::Gold => gold,
            Tier::Platinum => platinum,
            Tier::Diamond => diamond,
        }
    }

    /// The addition for a payment option in basis points.
    #[must_use]
    pub fn payment(&self, option: PaymentOption) -> i32 {
        let [postpaid, prepaid, debit, credit, bitcoin] = self.payment_bps;
        match option {
            PaymentOption::Postpaid => postpaid,
            PaymentOption::Prepaid => prepaid,
            PaymentOption::DebitCard => debit,
            PaymentOption::CreditCard => credit,
            PaymentOption::Bitcoin => bitcoin,
        }
    }

    /// Whether the rules can be applied at all.
    ///
    /// # Errors
    /// A sentence naming the field.
    pub fn check(&self) -> Result<(), String> {
        let bps = self.tier_bps.iter().chain(&self.payment_bps).chain([&self.margin_bps]);
        let all = bps.copied().chain(self.time_of_use.iter().map(|w| w.bps));
        if all.into_iter().any(|b| !(-10_000..=100_000).contains(&b)) {
            return Err(
                "an addition is outside -10000 to 100000 basis points: a price cannot fall below zero".into(),
            );
        }
        if self.roaming_fee_micros < 0 {
            return Err("roaming_fee_micros must not be negative".into());
        }
        if self.time_of_use.len() > TIME_OF_USE_MAX {
            return Err(format!("time_of_use has more than {TIME_OF_USE_MAX} windows"));
        }
        Ok(())
    }
}

/// A version of a home utility's rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RetailVersion {
    /// Its number, from 1.
    pub version: u32,
    /// From when it applies.
    pub from: UnixMillis,
    /// The rules.
    pub rules: RetailRules,
}

/// What a customer's prices follow from, as the home utility tells it: with it a wallet makes the driver's price, which an
/// operator who does not know the driver cannot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetailTerms {
    /// How the customer pays.
    pub payment: PaymentOption,
    /// The rules in force and those that are going to be, oldest first.
    pub versions: Vec<RetailVersion>,
}

impl RetailTerms {
    /// The rules by which a charge is billed whose quote was made at `instant`.
    #[must_use]
    pub fn in_force(&self, instant: UnixMillis) -> Option<&RetailVersion> {
        self.versions.iter().rev().find(|version| version.from <= instant)
    }
}

/// What the retail price of one session depends on besides the rules.
#[derive(Clone, Copy, Debug)]
pub struct RetailInputs<'a> {
    /// The driver's tier.
    pub tier: Tier,
    /// How the driver pays.
    pub payment: PaymentOption,
    /// Whether the session was at another operator's station.
    pub roaming: bool,
    /// The wholesale price (at the utility's own station: its tariff's price).
    pub wholesale: &'a ItemisedPrice,
    /// The periods of the session.
    pub periods: &'a [ChargingPeriod],
    /// The end of the session.
    pub end: UnixMillis,
    /// The clock at the station.
    pub clock: LocalClock,
}

/// The driver's itemised price.
///
/// # Errors
/// [`PriceError`], for instance when the utility's own tariff has no element for the session.
pub fn price(rules: &RetailRules, inputs: &RetailInputs<'_>) -> Result<ItemisedPrice, PriceError> {
    let mut retail = ItemisedPrice::with_capacity(PriceLeg::Retail, inputs.wholesale.currency, 8);
    let own;
    let source = match &rules.base {
        RetailBase::PassThrough => {
            retail.push(session_line(LineRule::Wholesale, inputs.wholesale.total.excl_vat))?;
            inputs.wholesale
        }
        RetailBase::OwnTariff(tariff) => {
            let (tariff_currency, session) = (tariff.currency(), inputs.wholesale.currency);
            if tariff_currency != session {
                return Err(PriceError::OtherCurrency { tariff: tariff_currency, session });
            }
            own = crate::pricing::price(&crate::pricing::PricingInputs {
                tariff,
                rule: &PriceRule::Static { factor: crate::quantity::BasisPoints::WHOLE },
                rounding: Rounding::new(1, crate::money::RoundingMode::Down).ok_or(PriceError::Overflow)?,
                clock: inputs.clock,
                periods: inputs.periods,
                end: inputs.end,
                forecast: None,
            })?;
            for line in &own.lines {
                let excl_vat = line.amount.excl_vat;
                retail.push(PriceLine {
                    vat: None,
                    amount: Price { excl_vat, incl_vat: excl_vat },
                    ..*line
                })?;
            }
            &own
        }
    };
    add_time_of_use(&mut retail, rules, inputs, source)?;
    add_percentages(&mut retail, rules, inputs.tier, inputs.payment, inputs.roaming)?;
    add_vat(&mut retail, rules.vat)?;
    retail.round(rules.rounding)?;
    Ok(retail)
}

/// Margin, roaming fee, tier and payment option.
fn add_percentages(
    retail: &mut ItemisedPrice,
    rules: &RetailRules,
    tier: Tier,
    payment: PaymentOption,
    roaming: bool,
) -> Result<(), PriceError> {
    percentage(retail, LineRule::Margin { bps: rules.margin_bps }, rules.margin_bps)?;
    if roaming && rules.roaming_fee_micros != 0 {
        retail.push(session_line(LineRule::RoamingFee, rules.roaming_fee_micros))?;
    }
    let bps = rules.tier(tier);
    percentage(retail, LineRule::Tier { tier, bps }, bps)?;
    let bps = rules.payment(payment);
    percentage(retail, LineRule::Payment { option: payment, bps }, bps)
}

/// What bounds a driver's price when the operator's is bounded: [`bound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The most that the operator's price is without VAT, which is what is passed on.
    pub passed_on_max: Money,
    /// What is known of the part of it that is for energy, to which windows of the day add.
    pub energy: EnergyBound,
}

/// What is known of the lines of energy of a price, without VAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EnergyBound {
    /// None is negative, and they add up to so many millionths at most.
    AtMost(i64),
    /// None is negative. The tariff's maximum price hides any amount of them, or the agreement's factor is nothing.
    Hidden,
    /// Some may be negative, so that even a discount on them may make a price higher.
    AnySign,
}

/// So many lines of a price have VAT of their own at most: each rounds it down by less than a millionth.
const TAXED_LINES_MAX: i64 = 4 * crate::cdr::PERIODS_MAX as i64;

/// What follows for a driver's price when no more than `due_max` is due to the operator, with VAT or without as `vat` says;
/// `None` where nothing does, because a tariff that gives money back at one VAT rate and takes it at another, or takes it hour
/// by hour, can have any price without VAT for one with it.
#[must_use]
pub fn bound(
    tariff: &Tariff,
    rule: &PriceRule,
    rounding: Rounding,
    vat: VatTreatment,
    due_max: Money,
) -> Option<Bound> {
    if !tariff.has_negative_prices() {
        // No line is negative, so that what is due with VAT is no less than the price without.
        let energy =
            energy_within(tariff, rule, rounding, due_max).map_or(EnergyBound::Hidden, EnergyBound::AtMost);
        return Some(Bound { passed_on_max: due_max, energy });
    }
    let passed_on_max = match (vat, rule) {
        (VatTreatment::ReverseCharge, _) => due_max.micros,
        (VatTreatment::Charged, PriceRule::Static { factor }) => {
            tariff.common_vat()?;
            // With one rate, the price without VAT is the lower one, or both are negative; but for what was rounded down line by
            // line, and scaled, and the unit that the agreement's rounding makes of it.
            let of_lines =
                TAXED_LINES_MAX.checked_mul(i64::from(factor.get()))?.checked_div(10_000)?.checked_add(1)?;
            due_max.micros.max(0).checked_add(of_lines)?.checked_add(i64::from(rounding.unit_micros()))?
        }
        (VatTreatment::Charged, PriceRule::Dynamic(_)) => return None,
    };
    let passed_on_max = Money::new(passed_on_max, due_max.currency);
    Some(Bound { passed_on_max, energy: EnergyBound::AnySign })
}

/// The most that the lines of energy of a price add up to without VAT, in millionths, when no more than `due_max` is due and no
/// line is negative; `None` where the tariff's maximum price hides any amount of them, or the agreement's factor is nothing.
fn energy_within(tariff: &Tariff, rule: &PriceRule, rounding: Rounding, due_max: Money) -> Option<i64> {
    if tariff.max_price().is_some() {
        return None;
    }
    // Rounded down, the price may have been a unit more. The factor takes its part of the energy, rounded down.
    let before =
        i128::from(due_max.micros).checked_add(i128::from(rounding.unit_micros()))?.checked_add(1)?;
    let factor = i128::from(rule.static_factor().get()).min(10_000);
    i64::try_from(before.checked_mul(10_000)?.checked_div(factor)?.checked_add(1)?).ok()
}

/// The most that a driver pays for a session whose operator's price is bounded; `None` where the rules set no bound, because
/// the driver's price does not follow the operator's.
///
/// # Errors
/// [`PriceError`].
pub fn most(
    rules: &RetailRules,
    tier: Tier,
    payment: PaymentOption,
    roaming: bool,
    bound: Bound,
) -> Result<Option<Price>, PriceError> {
    if rules.base != RetailBase::PassThrough {
        return Ok(None);
    }
    // Every step grows with what is passed on; the VAT of the whole, rounded up, is no less than that of any lines that make
    // less.
    let Bound { passed_on_max, energy } = bound;
    let mut retail = ItemisedPrice::with_capacity(PriceLeg::Retail, passed_on_max.currency, 6);
    retail.push(session_line(LineRule::Wholesale, passed_on_max.micros))?;
    let dearest = rules.time_of_use.iter().map(|window| window.bps).max().unwrap_or(0);
    match energy {
        EnergyBound::AnySign if rules.time_of_use.iter().any(|window| window.bps != 0) => return Ok(None),
        EnergyBound::Hidden if dearest > 0 => return Ok(None),
        EnergyBound::AtMost(energy) if dearest > 0 => {
            let excl_vat =
                scale_bps(energy, i64::from(dearest))?.checked_add(1).ok_or(PriceError::Overflow)?;
            retail.push(session_line(LineRule::TimeOfUse { window: 0, bps: dearest }, excl_vat))?;
        }
        EnergyBound::AnySign | EnergyBound::Hidden | EnergyBound::AtMost(_) => {}
    }
    add_percentages(&mut retail, rules, tier, payment, roaming)?;
    let excl_vat = retail.total.excl_vat;
    let tax =
        excl_vat.checked_neg().and_then(|negative| rules.vat.tax_on(negative)).and_then(i64::checked_neg);
    let incl_vat = tax.and_then(|tax| excl_vat.checked_add(tax)).ok_or(PriceError::Overflow)?;
    let rounded = |micros| rules.rounding.apply(micros).ok_or(PriceError::Overflow);
    Ok(Some(Price { excl_vat: rounded(excl_vat)?, incl_vat: rounded(incl_vat)? }))
}

/// A line without VAT; [`add_vat`] fills it in.
fn session_line(rule: LineRule, excl_vat: i64) -> PriceLine {
    PriceLine {
        rule,
        period: None,
        quantity: Quantity::Session,
        unit_price_micros: None,
        vat: None,
        amount: Price { excl_vat, incl_vat: excl_vat },
    }
}

/// A line of `bps` of everything so far, unless it is nothing.
fn percentage(retail: &mut ItemisedPrice, rule: LineRule, bps: i32) -> Result<(), PriceError> {
    let excl_vat = scale_bps(retail.total.excl_vat, i64::from(bps))?;
    if excl_vat == 0 { Ok(()) } else { retail.push(session_line(rule, excl_vat)) }
}

/// A line for each energy line that starts in a window: with its period, or with its hour where an hour is priced.
fn add_time_of_use(
    retail: &mut ItemisedPrice,
    rules: &RetailRules,
    inputs: &RetailInputs<'_>,
    source: &ItemisedPrice,
) -> Result<(), PriceError> {
    if rules.time_of_use.is_empty() {
        return Ok(());
    }
    for line in &source.lines {
        if line.rule.dimension() != Some(Dimension::Energy) {
            continue;
        }
        let period = line.period.and_then(|p| inputs.periods.get(usize::from(p)));
        let Some(period) = period else { continue };
        let start = match line.rule {
            LineRule::Dynamic { hour, .. } => {
                UnixMillis::from_utc_hour(hour).map_or(period.start, |h| h.max(period.start))
            }
            _ => period.start,
        };
        let local = inputs.clock.at(start);
        let window = rules.time_of_use.iter().zip(0u16..).find(|(w, _)| {
            w.days.contains(local.weekday) && in_daily_window(local.ms_of_day, Some(w.start), Some(w.end))
        });
        let Some((TimeOfUse { bps, .. }, window)) = window else { continue };
        let excl_vat = scale_bps(line.amount.excl_vat, i64::from(*bps))?;
        if excl_vat != 0 {
            let rule = LineRule::TimeOfUse { window, bps: *bps };
            retail.push(PriceLine {
                period: line.period,
                quantity: line.quantity,
                ..session_line(rule, excl_vat)
            })?;
        }
    }
    Ok(())
}

/// Gives every line its VAT.
fn add_vat(retail: &mut ItemisedPrice, vat: VatRate) -> Result<(), PriceError> {
    let mut total = Price::ZERO;
    for line in &mut retail.lines {
        let excl_vat = line.amount.excl_vat;
        let tax = vat.tax_on(excl_vat).ok_or(PriceError::Overflow)?;
        line.vat = Some(vat);
        line.amount.incl_vat = excl_vat.checked_add(tax).ok_or(PriceError::Overflow)?;
        total = total.checked_add(line.amount).ok_or(PriceError::Overflow)?;
    }
    retail.total = total;
    Ok(())
}
