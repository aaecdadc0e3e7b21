//! What a quote is made of, and what the same energy would cost later: for the eyes of a driver.
//!
//! Everything in it stands on the ledger or in the quote, so whoever has both makes the same of them
//! (`eroam_gateway::quote::detail`); it is kept nowhere, and the quote alone is signed.
//!
//! Source: DESIGN.md, "Price and shares"; Paper A, section 2.1.4 (a driver who knows the coming prices can wait).

use crate::money::Price;
use crate::pricing::ItemisedPrice;
use crate::pricing::dynamic::RenewablePart;
use crate::quantity::WattHours;
use crate::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// What the wholesale price of a quote goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceBasis {
    /// The tariff and the agreed factor: no forecast was agreed for this place.
    Static,
    /// The same, although a price by forecast is agreed: nobody whose word counts has attested one in time.
    NoForecast,
    /// The forecast load of the grid, in the hours that have one.
    Forecast,
}

impl PriceBasis {
    /// In a sentence for a driver.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::Static => "This price does not depend on the load of the grid.",
            Self::NoForecast => {
                "There is no forecast of the grid's load at the moment, so the ordinary tariff applies."
            }
            Self::Forecast => "This price follows the forecast load of the grid, hour by hour.",
        }
    }
}

/// The energy of one hour that is priced by forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HourPart {
    /// The UTC hour, in hours since 1970.
    pub hour: i64,
    /// The forecast load in basis points of the capacity.
    pub utilisation_bps: u32,
    /// What that adds to the base rate, in basis points.
    pub surcharge_bps: i32,
    /// What the forecast share of renewable energy adds, where that was agreed.
    pub renewable: Option<RenewablePart>,
    /// Millionths per kWh, without VAT.
    pub micros_per_kwh: i64,
    /// How much.
    pub energy: WattHours,
    /// What it costs.
    pub amount: Price,
}

/// The price of the same energy when it is begun at a later hour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaterStart {
    /// When.
    pub start: UnixMillis,
    /// The wholesale price by what is forecast now.
    pub wholesale: Price,
    /// The driver's price; `None` where the operator does not make it.
    pub retail: Option<Price>,
    /// How much of the energy would be priced by the tariff, because its hours have no forecast yet.
    pub without_forecast: WattHours,
}

/// A quote, taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuoteDetail {
    /// What the price goes by.
    pub basis: PriceBasis,
    /// The wholesale price, line by line.
    pub wholesale: ItemisedPrice,
    /// The driver's price by the home utility's rules; `None` where whoever takes it apart does not know these.
    pub retail: Option<ItemisedPrice>,
    /// What of the wholesale price follows from the tariff and the agreement alone.
    pub static_part: Price,
    /// What of it follows the forecast; the two parts add up to the price.
    pub forecast_part: Price,
    /// The forecast part, in the order of the hours.
    pub hours: Vec<HourPart>,
    /// The price of starting later, for every hour whose beginning is forecast, in their order.
    pub later: Vec<LaterStart>,
}
