//! What changes when the actual load was not as forecast.
//!
//! The record is priced twice by the function that priced it ([`super::price`]): as it was, and with the actual load in
//! those hours in which it left the agreed band. The difference of what is due is the true-up, either way, within the
//! agreed cap. So rounding, the tariff's minimum and maximum and VAT count in it as they do in a price. In any other
//! respect it is `(rate at the actual load - rate at the forecast) * energy` of each such hour.
//!
//! It belongs to the wholesale leg: the driver pays what was quoted. The renewable share is not trued up, since nobody
//! attests what it really was.
//!
//! Source: DESIGN.md, "Price and shares".

use super::{
    ForecastInput, HourForecast, ItemisedPrice, LineRule, PriceError, PricingInputs, price, scale_bps,
};
use crate::agreement::{DynamicRule, RoamingAgreement};
use crate::cdr::Cdr;
use crate::quantity::BasisPoints;
use crate::tariff::Tariff;
use std::collections::{BTreeMap, BTreeSet};

/// What a true-up is computed from.
#[derive(Clone, Copy, Debug)]
pub struct TrueUpInputs<'a> {
    /// The agreement.
    pub terms: &'a RoamingAgreement,
    /// Its rule.
    pub rule: &'a DynamicRule,
    /// The tariff of the record.
    pub tariff: &'a Tariff,
    /// The record.
    pub cdr: &'a Cdr,
    /// The forecast that it was priced with.
    pub forecast: &'a ForecastInput,
    /// Actual load in kilowatts by UTC hour; hours whose load nobody knows keep their forecast.
    pub actual_kw: &'a BTreeMap<i64, u32>,
    /// What was booked for the record, in millionths.
    pub booked: i64,
    /// What of it is left after credits and decisions, in millionths: no more is given back.
    pub left: i64,
}

/// A true-up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrueUp {
    /// What the debtor pays in addition, in millionths; negative for what it gets back. Within the cap.
    pub micros: i64,
    /// The same before the cap and the other limits.
    pub uncapped: i64,
    /// The UTC hours whose load left the band.
    pub hours: Vec<i64>,
}

/// Whether an actual load is further from the forecast than agreed: `|forecast - actual| * 10000 > band * forecast`.
/// The band is relative to the forecast, which everybody knew beforehand.
#[must_use]
pub fn leaves_band(band: BasisPoints, forecast_kw: u32, actual_kw: u32) -> bool {
    let off = u64::from(forecast_kw.abs_diff(actual_kw));
    // Both products of two 32-bit numbers.
    off.saturating_mul(10_000) > u64::from(band.get()).saturating_mul(forecast_kw.into())
}

/// The UTC hours in which energy was priced by forecast.
#[must_use]
pub fn hours_by_forecast(priced: &ItemisedPrice) -> BTreeSet<i64> {
    let of = |rule| match rule {
        LineRule::Dynamic { hour, .. } => Some(hour),
        _ => None,
    };
    priced.lines.iter().filter_map(|line| of(line.rule)).collect()
}

/// The true-up of a record.
///
/// # Errors
/// [`PriceError`].
pub fn true_up(inputs: &TrueUpInputs<'_>) -> Result<TrueUp, PriceError> {
    let TrueUpInputs { terms, rule, tariff, cdr, forecast, booked, left, .. } = *inputs;
    let due = |forecast: &ForecastInput| {
        let priced = price(&PricingInputs::of_record(terms, tariff, cdr, Some(forecast)))?;
        Ok::<_, PriceError>((terms.due(priced.total), hours_by_forecast(&priced)))
    };
    let (as_recorded, priced) = due(forecast)?;
    let left_band = |hour: &i64| {
        let (said, actual) = (forecast.hour(*hour)?, *inputs.actual_kw.get(hour)?);
        leaves_band(rule.band_bps, said.load_kw, actual).then_some((*hour, actual))
    };
    let actual: BTreeMap<i64, u32> = priced.iter().filter_map(left_band).collect();
    let really = ForecastInput {
        hours: (0i64..)
            .zip(&forecast.hours)
            .map(|(place, said)| {
                let hour = forecast.first_hour.checked_add(place);
                match (said, hour.and_then(|hour| actual.get(&hour))) {
                    (Some(said), Some(load_kw)) => Some(HourForecast { load_kw: *load_kw, ..*said }),
                    _ => *said,
                }
            })
            .collect(),
        ..forecast.clone()
    };
    let (as_it_was, _) = due(&really)?;
    let uncapped = as_it_was.checked_sub(as_recorded).ok_or(PriceError::Overflow)?;
    let cap = scale_bps(booked, rule.true_up_cap_bps.get().into())?;
    let up = terms.limits.amount_max.checked_sub(booked).ok_or(PriceError::Overflow)?.min(cap).max(0);
    let down = cap.min(left).max(0).checked_neg().ok_or(PriceError::Overflow)?;
    let micros = uncapped.min(up).max(down);
    Ok(TrueUp { micros, uncapped, hours: actual.into_keys().collect() })
}
