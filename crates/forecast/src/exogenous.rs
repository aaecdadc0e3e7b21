//! What else moves a load: temperature, wind, sun, where somebody gives them.

use crate::hour::UtcHour;
use std::collections::BTreeMap;

/// What an influence is, and when it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExogenousKind {
    /// The quantity, which fixes its unit.
    pub quantity: ExogenousQuantity,
    /// When a value is known.
    pub timing: Timing,
}

/// A quantity of the weather.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExogenousQuantity {
    /// Degrees Celsius.
    Temperature,
    /// Metres a second.
    Wind,
    /// Watts a square metre.
    Solar,
}

/// When the value of an hour is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timing {
    /// Measured: known once the hour is over, as the load is.
    Observed,
    /// Forecast: known before any forecast of the load of that hour. That the values were really issued so early, and
    /// not measured afterwards, is for whoever gives them to see to.
    Forecast,
}

impl ExogenousKind {
    /// As columns and messages call it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self.quantity {
            ExogenousQuantity::Temperature => "temperature",
            ExogenousQuantity::Wind => "wind",
            ExogenousQuantity::Solar => "solar",
        }
    }

    /// Words of headers that mean it.
    pub(crate) const fn words(self) -> &'static [&'static str] {
        match self.quantity {
            ExogenousQuantity::Temperature => &["temperature", "temp", "degc", "celsius"],
            ExogenousQuantity::Wind => &["wind", "windspeed"],
            ExogenousQuantity::Solar => &["solar", "irradiance", "radiation", "ghi"],
        }
    }

    /// How many columns of a row it takes.
    pub(crate) const fn columns(self) -> usize {
        match self.quantity {
            ExogenousQuantity::Temperature => 5,
            ExogenousQuantity::Wind | ExogenousQuantity::Solar => 2,
        }
    }
}

/// One influence, hour by hour. It may reach further than the load, since forecasts of the weather do.
#[derive(Clone, Debug, PartialEq)]
pub struct Exogenous {
    kind: ExogenousKind,
    first: UtcHour,
    /// `[hour]`, in the unit of the quantity.
    values: Vec<Option<f64>>,
}

impl Exogenous {
    /// Values from `first` on, `[hour]`, in the unit of the quantity. What is not finite counts as unknown.
    #[must_use]
    pub fn new(kind: ExogenousKind, first: UtcHour, values: Vec<Option<f64>>) -> Self {
        let values = values.into_iter().map(|v| v.filter(|x| x.is_finite())).collect();
        Self { kind, first, values }
    }

    /// From single hours; `None` without any, or when they span more than a series can.
    pub(crate) fn from_hours(kind: ExogenousKind, hours: &BTreeMap<UtcHour, f64>) -> Option<Self> {
        let (first, last) = (*hours.first_key_value()?.0, *hours.last_key_value()?.0);
        let length = last.since(first);
        let fits = usize::try_from(length).is_ok_and(|n| n < crate::series::HOURS_MAX);
        let value = |n| first.plus(n).and_then(|hour| hours.get(&hour)).copied();
        fits.then(|| Self::new(kind, first, (0..=length).map(value).collect()))
    }

    /// What it is.
    #[must_use]
    pub const fn kind(&self) -> ExogenousKind {
        self.kind
    }

    /// The value of an hour.
    #[must_use]
    pub fn at(&self, hour: UtcHour) -> Option<f64> {
        self.values.get(usize::try_from(hour.since(self.first)).ok()?).copied().flatten()
    }

    /// The value of an hour as far as it is known before `origin`.
    pub(crate) fn known_at(&self, hour: UtcHour, origin: UtcHour) -> Option<f64> {
        match self.kind.timing {
            Timing::Observed if hour >= origin => None,
            Timing::Observed | Timing::Forecast => self.at(hour),
        }
    }

    /// Adds its columns for a target, about 1 in size. An unknown value is the usual one, and a column says so, so
    /// that a forecast without weather is a worse one rather than none.
    pub(crate) fn push_columns(&self, row: &mut Vec<f64>, target: UtcHour, horizon: i64) {
        let known = match self.kind.timing {
            Timing::Forecast => Some(target),
            Timing::Observed => target.plus(-horizon),
        };
        let value = known.and_then(|hour| self.at(hour));
        let absent = if value.is_none() { 1.0 } else { 0.0 };
        match self.kind.quantity {
            ExogenousQuantity::Temperature => {
                let day_before = target.plus(-24).and_then(|hour| self.at(hour)).or(value).unwrap_or(15.0);
                let value = value.unwrap_or(15.0);
                // Heating below 15 degrees and cooling above 20: the load is lowest between.
                let (heating, cooling) = ((15.0 - value).max(0.0), (value - 20.0).max(0.0));
                let scaled = [value - 15.0, heating, cooling, day_before - value].map(|x| x / 20.0);
                row.extend(scaled);
            }
            ExogenousQuantity::Wind => row.push(value.unwrap_or(5.0) / 10.0),
            ExogenousQuantity::Solar => row.push(value.unwrap_or(0.0) / 500.0),
        }
        row.push(absent);
    }
}
