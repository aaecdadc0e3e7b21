//! What a charge is going to cost: the driver by the provider's rules, the operator by the agreement, what of it follows a
//! forecast, and what starting later would cost.
//!
//! What it deliberately does not do: guess. A driver's price that is not known is not shown as anything else, and why it is
//! not known is said.

use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::charge::Quote;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Money, Price, decimal};
use eroam_domain::quantity::WattHours;
use eroam_domain::quote_detail::{HourPart, PriceBasis, QuoteDetail};
use eroam_domain::time::{LocalClock, UnixMillis};
use serde::{Deserialize, Serialize};
use std::fmt;

/// What a charge is going to cost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeCost {
    /// The energy that is assumed.
    pub energy: WattHours,
    /// Whose station it is.
    pub operator: PartyId,
    /// What the operator is expected to be paid by the driver's provider.
    pub to_operator: Money,
    /// The most that it can be paid: there the station stops. `None` as long as nothing was agreed to.
    pub limit: Option<Money>,
    /// What the driver pays.
    pub driver: DriverPrice,
    /// What the operator's price is made of; `None` when it cannot be made again from what the ledger has.
    pub parts: Option<CostParts>,
}

/// What the driver pays, with VAT.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DriverPrice {
    /// By the rules of the provider.
    Known {
        /// Who bills it.
        provider: PartyId,
        /// What is expected.
        price: Money,
        /// The most, if the station stops at [`ChargeCost::limit`]; `None` where the provider's rules set no such bound.
        most: Option<Money>,
        /// When the provider told its rules.
        rules_of: UnixMillis,
    },
    /// It cannot be said.
    Unknown {
        /// Why, and what to do.
        why: String,
    },
}

/// What an operator's price is made of, and what it would be later.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CostParts {
    /// What it goes by.
    pub basis: PriceBasis,
    /// What of it follows from tariff and agreement alone.
    pub static_part: Money,
    /// What of it follows the forecast.
    pub forecast_part: Money,
    /// The forecast part, hour by hour. Amounts in it are with and without VAT.
    pub hours: Vec<HourPart>,
    /// The same energy, begun at each later hour that has a forecast.
    pub later: Vec<LaterCost>,
    /// The cheapest of these, if it is cheaper than now and all of it is forecast; the earliest if there are several.
    pub recommended: Option<LaterCost>,
}

/// The price of the same energy when it is begun later, by what is forecast now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LaterCost {
    /// When.
    pub start: UnixMillis,
    /// What the operator would be paid.
    pub to_operator: Money,
    /// What the driver would pay; `None` where that is not known.
    pub driver: Option<Money>,
    /// How much of the energy has no forecast yet and is taken at the ordinary tariff.
    pub without_forecast: WattHours,
}

impl LaterCost {
    /// What the driver compares by.
    fn price(&self) -> i64 {
        self.driver.unwrap_or(self.to_operator).micros
    }
}

/// So many later hours are told in words.
const LATER_LINES_MAX: usize = 4;

impl ChargeCost {
    /// What a quote comes to that was taken apart in `detail`, under the agreement's `terms` (none where the provider runs the
    /// station). Prices of later starts are the driver's where `driver` is known.
    #[must_use]
    pub fn of(
        quote: &Quote,
        terms: Option<&RoamingAgreement>,
        detail: &QuoteDetail,
        limit: Option<Money>,
        driver: DriverPrice,
    ) -> Self {
        let currency = quote.currency;
        let due = |price: Price| {
            let micros = terms.map_or(price.incl_vat, |terms| terms.due(price));
            Money::new(micros, currency)
        };
        let is_known = matches!(driver, DriverPrice::Known { .. });
        let later: Vec<LaterCost> = detail
            .later
            .iter()
            .map(|later| LaterCost {
                start: later.start,
                to_operator: due(later.wholesale),
                driver: later.retail.filter(|_| is_known).map(|retail| Money::new(retail.incl_vat, currency)),
                without_forecast: later.without_forecast,
            })
            .collect();
        let now = match &driver {
            DriverPrice::Known { price, .. } => price.micros,
            DriverPrice::Unknown { .. } => due(quote.wholesale).micros,
        };
        let recommended = later
            .iter()
            .filter(|later| later.without_forecast.is_zero() && later.price() < now)
            .filter(|later| later.driver.is_some() == is_known)
            .min_by_key(|later| (later.price(), later.start))
            .copied();
        let parts = CostParts {
            basis: detail.basis,
            static_part: due(detail.static_part),
            forecast_part: due(detail.forecast_part),
            hours: detail.hours.clone(),
            later,
            recommended,
        };
        let (energy, operator) = (quote.energy, quote.operator);
        Self { energy, operator, to_operator: due(quote.wholesale), limit, driver, parts: Some(parts) }
    }

    /// Without what was of use before the driver agreed alone: hours and later starts. What is kept with a receipt.
    #[must_use]
    pub fn in_brief(&self) -> Self {
        let mut brief = self.clone();
        if let Some(parts) = &mut brief.parts {
            (parts.hours, parts.later) = (Vec::new(), Vec::new());
        }
        brief
    }

    /// What a quote comes to of which nothing else is known, and why.
    #[must_use]
    pub fn unknown(quote: &Quote, limit: Option<Money>, why: String) -> Self {
        Self {
            energy: quote.energy,
            operator: quote.operator,
            to_operator: Money::new(quote.wholesale.incl_vat, quote.currency),
            limit,
            driver: DriverPrice::Unknown { why },
            parts: None,
        }
    }
}

/// A line for each thing, each with its end of line.
impl fmt::Display for ChargeCost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let energy = decimal(i128::from(self.energy.milli_wh()), 6, 0);
        match &self.driver {
            DriverPrice::Known { provider, price, most, rules_of } => {
                match most {
                    // The station stops before all of it is there.
                    Some(most) if most.micros < price.micros => {
                        write!(f, "you pay    at most {most}; all of {energy} kWh would be about {price}")?;
                    }
                    Some(most) => write!(f, "you pay    about {price} for {energy} kWh, at most {most}")?,
                    None => write!(f, "you pay    about {price} for {energy} kWh")?,
                }
                writeln!(f, ", by the rules of {provider} as of {}", LocalClock::UTC.at(*rules_of).date)?;
                if most.is_none() && self.limit.is_some() {
                    let why = "what you pay does not follow from what the operator gets alone";
                    writeln!(f, "           no most can be said: {why}")?;
                }
            }
            DriverPrice::Unknown { why } => writeln!(f, "you pay    not known: {why}")?,
        }
        write!(f, "operator   {} gets about {} for {energy} kWh", self.operator, self.to_operator)?;
        match self.limit {
            Some(limit) if limit.micros < self.to_operator.micros => {
                writeln!(f, "; the station stops at {limit}, before that")?;
            }
            Some(limit) => writeln!(f, ", at most {limit}: there the station stops")?,
            None => writeln!(f)?,
        }
        self.parts.as_ref().map_or(Ok(()), |parts| parts.fmt(f))
    }
}

impl fmt::Display for CostParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "price      {}", self.basis.words())?;
        if self.basis != PriceBasis::Forecast {
            return Ok(());
        }
        writeln!(
            f,
            "           of what the operator gets, {} by the tariff and {} by the forecast",
            self.static_part, self.forecast_part
        )?;
        let starting = |later: &LaterCost| {
            let local = LocalClock::UTC.at(later.start);
            let hour = local.ms_of_day / 3_600_000;
            let price = match later.driver {
                Some(driver) => driver.to_string(),
                None => format!("{} to the operator", later.to_operator),
            };
            let rest = if later.without_forecast.is_zero() { "" } else { ", partly without a forecast" };
            format!("starting at {hour:02}:00 UTC on {} would cost about {price}{rest}", local.date)
        };
        for later in self.later.iter().take(LATER_LINES_MAX) {
            writeln!(f, "later      {}", starting(later))?;
        }
        match &self.recommended {
            Some(best) => writeln!(f, "cheapest   {}", starting(best)),
            None if self.later.is_empty() => writeln!(f, "later      no later hour has a forecast"),
            None => writeln!(f, "cheapest   now, of all hours whose price can be told"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use eroam_domain::cdr::TariffRef;
    use eroam_domain::money::Currency;
    use eroam_domain::pricing::{ItemisedPrice, PriceLeg};
    use eroam_domain::quote_detail::LaterStart;

    /// 2026-11-22T00:00:00Z.
    const MIDNIGHT: i64 = 1_795_305_600_000;

    fn hour(ahead: i64) -> UnixMillis {
        UnixMillis::new(MIDNIGHT + ahead * 3_600_000).unwrap()
    }

    fn euros(cents: i64) -> Money {
        Money::new(cents * 10_000, Currency::new("EUR").unwrap())
    }

    fn price(cents: i64) -> Price {
        Price { excl_vat: cents * 9_000, incl_vat: cents * 10_000 }
    }

    fn quote() -> Quote {
        Quote {
            session: "S1".parse().unwrap(),
            operator: "ES-SLV".parse().unwrap(),
            agreement: None,
            tariff: TariffRef { id: "AC".parse().unwrap(), version: 1 },
            energy: WattHours::from_wh(5_000).unwrap(),
            until: hour(1),
            currency: Currency::new("EUR").unwrap(),
            wholesale: price(300),
            retail: None,
            forecast: None,
            made_at: hour(0),
            expires_at: hour(1),
        }
    }

    /// Later hours by their wholesale price, the driver's, and how much of them has no forecast.
    fn detail(basis: PriceBasis, later: &[(i64, Option<i64>, u64)]) -> QuoteDetail {
        let later = later.iter().zip(1..).map(|(&(wholesale, retail, without), ahead)| LaterStart {
            start: hour(ahead),
            wholesale: price(wholesale),
            retail: retail.map(price),
            without_forecast: WattHours::from_wh(without).unwrap(),
        });
        let lines = Vec::new();
        let (leg, currency, total) = (PriceLeg::Wholesale, quote().currency, price(300));
        QuoteDetail {
            basis,
            wholesale: ItemisedPrice { leg, currency, lines, total },
            retail: None,
            static_part: price(100),
            forecast_part: price(200),
            hours: Vec::new(),
            later: later.collect(),
        }
    }

    fn known(cents: i64) -> DriverPrice {
        let provider = "PT-LUZ".parse().unwrap();
        DriverPrice::Known { provider, price: euros(cents), most: Some(euros(2_500)), rules_of: hour(-24) }
    }

    fn unknown() -> DriverPrice {
        DriverPrice::Unknown { why: "nobody told the rules".to_owned() }
    }

    fn best(driver: DriverPrice, later: &[(i64, Option<i64>, u64)]) -> Option<UnixMillis> {
        let cost = ChargeCost::of(&quote(), None, &detail(PriceBasis::Forecast, later), None, driver);
        cost.parts.unwrap().recommended.map(|best| best.start)
    }

    #[test]
    fn the_hour_that_is_recommended_is_cheaper_all_forecast_and_the_earliest_of_its_price() {
        let table = [
            ("nothing is forecast", known(400), vec![], None),
            ("none is cheaper", known(400), vec![(310, Some(410), 0), (300, Some(400), 0)], None),
            ("one is", known(400), vec![(310, Some(410), 0), (290, Some(390), 0)], Some(hour(2))),
            ("two are", known(400), vec![(200, Some(300), 0), (200, Some(300), 0)], Some(hour(1))),
            (
                "the driver's price counts",
                known(400),
                vec![(100, Some(399), 0), (200, Some(350), 0)],
                Some(hour(2)),
            ),
            ("partly unforeseen", known(400), vec![(200, Some(300), 1), (250, Some(350), 0)], Some(hour(2))),
            ("without a price for the driver", known(400), vec![(200, None, 0)], None),
            (
                "by the operator's, as nothing else is known",
                unknown(),
                vec![(290, Some(900), 0)],
                Some(hour(1)),
            ),
        ];
        for (what, driver, later, expected) in table {
            assert_eq!(best(driver, &later), expected, "{what}");
        }
    }

    #[test]
    fn what_a_driver_reads_has_the_drivers_price_first_and_the_operators_as_what_it_is() {
        let later = [(310, Some(410), 0), (200, Some(290), 0), (190, Some(280), 7)];
        let detail = detail(PriceBasis::Forecast, &later);
        let cost = ChargeCost::of(&quote(), None, &detail, Some(euros(2_000)), known(400));
        let expected = "\
you pay    about 4.00 EUR for 5 kWh, at most 25.00 EUR, by the rules of PT-LUZ as of 2026-11-21
operator   ES-SLV gets about 3.00 EUR for 5 kWh, at most 20.00 EUR: there the station stops
price      This price follows the forecast load of the grid, hour by hour.
           of what the operator gets, 1.00 EUR by the tariff and 2.00 EUR by the forecast
later      starting at 01:00 UTC on 2026-11-22 would cost about 4.10 EUR
later      starting at 02:00 UTC on 2026-11-22 would cost about 2.90 EUR
later      starting at 03:00 UTC on 2026-11-22 would cost about 2.80 EUR, partly without a forecast
cheapest   starting at 02:00 UTC on 2026-11-22 would cost about 2.90 EUR
";
        assert_eq!(cost.to_string(), expected);
        let little = ChargeCost::of(&quote(), None, &detail, Some(euros(100)), known(2_600)).to_string();
        let expected =
            "you pay    at most 25.00 EUR; all of 5 kWh would be about 26.00 EUR, by the rules of ";
        assert!(little.starts_with(expected), "{little}");
        let brief = cost.in_brief();
        let kept: ChargeCost = serde_json::from_str(&serde_json::to_string(&brief).unwrap()).unwrap();
        assert_eq!((kept.parts.as_ref().unwrap().later.len(), &kept), (0, &brief));
    }

    #[test]
    fn what_is_not_known_is_said_and_nothing_stands_in_its_place() {
        let why = "what the operator asks for is not what it agreed on".to_owned();
        let cost = ChargeCost::unknown(&quote(), Some(euros(200)), why);
        let expected = "\
you pay    not known: what the operator asks for is not what it agreed on
operator   ES-SLV gets about 3.00 EUR for 5 kWh; the station stops at 2.00 EUR, before that
";
        assert_eq!(cost.to_string(), expected);
        let detail = detail(PriceBasis::NoForecast, &[]);
        let cost = ChargeCost::of(&quote(), None, &detail, None, unknown());
        let expected = "\
you pay    not known: nobody told the rules
operator   ES-SLV gets about 3.00 EUR for 5 kWh
price      There is no forecast of the grid's load at the moment, so the ordinary tariff applies.
";
        assert_eq!(cost.to_string(), expected);
    }
}
