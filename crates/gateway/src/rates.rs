//! Rates of an outside server, such as an energy market's or a supplier's, by way of a tariff.
//!
//! ```text
//! RateServer -> rates of coming hours -> checked -> elements of a tariff -> PublishTariff -> quotes, records, ledger
//! ```
//! An outside rate counts once the operator has published it on the ledger as the next version of a tariff, and for
//! quotes made after that: so everybody who prices a record has it, and it cannot be made up afterwards. It needs no
//! trust between server and ledger, and nothing new to price by; whether the rates are the server's own is between the
//! operator and the server. An hour without a rate, and all hours when the server fails, keep the tariff's own price of
//! energy: no rate is ever guessed.
//!
//! Source: Paper A, section 2.1.4 (rates of an outside real-time rate server in place of rules of one's own).

use eroam_domain::money::Currency;
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffError, TariffParts,
};
use eroam_domain::time::{CivilDate, LocalClock, TimeOfDay, UnixMillis};
use std::collections::BTreeSet;

/// The price of energy in one hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HourlyRate {
    /// The UTC hour, in hours since 1970.
    pub hour: i64,
    /// Millionths per kWh, without VAT.
    pub micros_per_kwh: i64,
}

/// What an outside server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServedRates {
    /// The currency of the rates.
    pub currency: Currency,
    /// The rates, in any order.
    pub rates: Vec<HourlyRate>,
}

/// A server could not be asked, or its answer not be understood. The tariff stays as it is.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct RateServerError {
    /// What could not be done, with the remedy if there is one.
    pub what: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// An outside server of rates.
pub trait RateServer {
    /// What energy costs in the coming hours, as far as it is known: those from `first_hour` (hours since 1970) on.
    ///
    /// # Errors
    /// [`RateServerError`].
    fn rates(&mut self, first_hour: i64) -> Result<ServedRates, RateServerError>;
}

/// What an operator takes from an outside server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateLimits {
    /// Millionths per kWh: a lower rate is not believed. Above zero, since unknown is never free.
    pub least_micros: i64,
    /// Millionths per kWh: a higher rate is not believed.
    pub most_micros: i64,
    /// No more hours than these are taken.
    pub hours_max: usize,
}

/// Why rates make no tariff. `hour` is in hours since 1970.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum RateFault {
    #[error("the server has no rates: the tariff stays as it is")]
    NoRates,
    #[error("the server has {found} rates, more than {most}: ask it for fewer hours")]
    TooMany { found: usize, most: usize },
    #[error("the rates are in {found}, and the tariff in {expected}: no rate is converted")]
    Currency { found: Currency, expected: Currency },
    #[error(
        "hour {} has a rate of {micros} millionths, outside {least} to {most}: look whether the server is right, or \
         change the limits",
        hour_words(*.hour)
    )]
    Unbelievable { hour: i64, micros: i64, least: i64, most: i64 },
    #[error("hour {} has two rates", hour_words(*.hour))]
    Twice { hour: i64 },
    #[error("hour {} has begun already, so that drivers may have been quoted another price for it", hour_words(*.hour))]
    Begun { hour: i64 },
    #[error(
        "hour {} is the second with the same time on the station's clock, which a tariff cannot tell apart: leave \
         both out",
        hour_words(*.hour)
    )]
    ClockSetBack { hour: i64 },
    #[error("hour {} is outside what a clock shows", hour_words(*.hour))]
    NoTime { hour: i64 },
    #[error("the tariff has no price of energy whose VAT and step size the rates could have")]
    NoEnergy,
    #[error("the rates make no tariff")]
    Tariff(#[source] TariffError),
}

fn hour_words(hour: i64) -> String {
    UnixMillis::from_utc_hour(hour).map_or_else(|| hour.to_string(), |start| start.to_string())
}

/// The tariff with the price of energy of the hours that have a rate; everything else stays as it is. `clock` is the
/// one at the stations where the tariff applies, `now` when the tariff is made. VAT and step size are those of the
/// tariff's first price of energy.
///
/// # Errors
/// The first [`RateFault`]: rates are taken all or none, for a server that is wrong in one is wrong in others.
pub fn tariff_by_rates(
    base: &Tariff,
    served: &ServedRates,
    limits: RateLimits,
    clock: &LocalClock,
    now: UnixMillis,
) -> Result<Tariff, RateFault> {
    let ServedRates { currency, rates } = served;
    if rates.is_empty() {
        return Err(RateFault::NoRates);
    }
    if rates.len() > limits.hours_max {
        return Err(RateFault::TooMany { found: rates.len(), most: limits.hours_max });
    }
    if *currency != base.currency() {
        return Err(RateFault::Currency { found: *currency, expected: base.currency() });
    }
    let energy = base.elements().iter().find_map(|element| element.component(Dimension::Energy));
    let energy = *energy.ok_or(RateFault::NoEnergy)?;
    let (mut hours, mut times) = (BTreeSet::new(), BTreeSet::new());
    let mut elements = Vec::with_capacity(rates.len().saturating_add(base.elements().len()));
    let mut sorted = rates.clone();
    sorted.sort_by_key(|rate| rate.hour);
    for HourlyRate { hour, micros_per_kwh: micros } in sorted {
        // A rate of nothing is a mistake wherever the limits are: unknown is never free.
        let (least, most) = (limits.least_micros.max(1), limits.most_micros);
        if !(least..=most).contains(&micros) {
            return Err(RateFault::Unbelievable { hour, micros, least, most });
        }
        if !hours.insert(hour) {
            return Err(RateFault::Twice { hour });
        }
        if hour <= now.utc_hour() {
            return Err(RateFault::Begun { hour });
        }
        for restrictions in windows(hour, clock).ok_or(RateFault::NoTime { hour })? {
            if !times.insert((restrictions.start_date, restrictions.start_time)) {
                return Err(RateFault::ClockSetBack { hour });
            }
            let component = PriceComponent { price_micros: micros, ..energy };
            elements.push(TariffElement { components: vec![component], restrictions });
        }
    }
    elements.extend_from_slice(base.elements());
    let (min_price, max_price) = base.stated_bounds();
    Tariff::new(TariffParts {
        party: base.party(),
        id: base.id().clone(),
        currency: base.currency(),
        elements,
        min_price,
        max_price,
        valid_from: base.valid_from(),
        valid_until: base.valid_until(),
    })
    .map_err(RateFault::Tariff)
}

/// When the station's clock shows a UTC hour: one stretch of a day, or two where the hour goes over midnight.
fn windows(hour: i64, clock: &LocalClock) -> Option<Vec<Restrictions>> {
    let local = clock.at(UnixMillis::from_utc_hour(hour)?);
    let from = minute(local.ms_of_day)?;
    // Not the clock at the end: should it be set there, the hour still lasts an hour.
    let until = minute(local.ms_of_day.checked_add(3_600_000)?.checked_rem(86_400_000)?)?;
    let on = |date: CivilDate, start_time, end_time| {
        Some(Restrictions {
            start_time: Some(start_time),
            end_time: Some(end_time),
            start_date: Some(date),
            end_date: Some(date.next_day()?),
            ..Restrictions::NONE
        })
    };
    let first = on(local.date, from, if until < from { TimeOfDay::MIDNIGHT } else { until })?;
    if until < from && until != TimeOfDay::MIDNIGHT {
        let second = on(local.date.next_day()?, TimeOfDay::MIDNIGHT, until)?;
        return Some(vec![first, second]);
    }
    Some(vec![first])
}

/// A time of day in whole minutes; `None` for an offset with seconds.
fn minute(ms_of_day: u32) -> Option<TimeOfDay> {
    let minutes = u16::try_from(ms_of_day.checked_div(60_000)?).ok()?;
    let exact = ms_of_day.checked_rem(60_000)? == 0;
    TimeOfDay::new(minutes.checked_div(60)?, minutes.checked_rem(60)?).filter(|_| exact)
}
