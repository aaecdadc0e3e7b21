//! Takes a quote apart ([`QuoteDetail`]): computed when somebody looks at it, from the ledger and the quote. An operator does
//! it for its own quotes, a wallet for those that it is shown.
//!
//! Source: DESIGN.md, "Price and shares"; Paper A, section 2.1.4 (a driver who knows the coming prices can wait).

use super::{Prices, QuoteInputs, expected_session, forecast_for, forecast_rule, prices};
use eroam_domain::charge::{Denial, Quote};
use eroam_domain::forecast::{AHEAD_HOURS_MAX, quoted_at};
use eroam_domain::money::Price;
use eroam_domain::pricing::plan::EvenSession;
use eroam_domain::pricing::{LineRule, Quantity};
use eroam_domain::quantity::WattHours;
pub use eroam_domain::quote_detail::{HourPart, LaterStart, PriceBasis, QuoteDetail};
use eroam_domain::time::UnixMillis;

/// Takes a quote apart. `inputs` are those that it was made from, with what is attested now.
///
/// # Errors
/// [`Denial::NoPrice`] when the quote's price does not follow from them any more.
pub fn detail(inputs: &QuoteInputs<'_>, quote: &Quote) -> Result<QuoteDetail, Denial> {
    let inputs = QuoteInputs { now: quote.made_at, energy_wanted: Some(quote.energy), ..*inputs };
    let rule = forecast_rule(&inputs);
    let at = match rule {
        Some(rule) => quoted_at(rule, inputs.attested, quote).ok_or(Denial::NoPrice)?,
        None => quote.made_at,
    };
    let session = expected_session(&inputs).ok_or(Denial::NoPrice)?;
    let forecast = forecast_for(&inputs, &session, at);
    let Prices { wholesale, retail } = prices(&inputs, &session, forecast.as_ref())?;
    if wholesale.total != quote.wholesale || session.end != quote.until {
        return Err(Denial::NoPrice);
    }
    let hours: Vec<HourPart> = wholesale.lines.iter().filter_map(hour_part).collect();
    let forecast_part = hours
        .iter()
        .try_fold(Price::ZERO, |sum, part| sum.checked_add(part.amount))
        .ok_or(Denial::NoPrice)?;
    let basis = match (rule, hours.is_empty()) {
        (None, _) => PriceBasis::Static,
        (Some(_), true) => PriceBasis::NoForecast,
        (Some(_), false) => PriceBasis::Forecast,
    };
    Ok(QuoteDetail {
        basis,
        static_part: wholesale.total.checked_sub(forecast_part).ok_or(Denial::NoPrice)?,
        forecast_part,
        hours,
        later: later_starts(&inputs, &session, at),
        retail,
        wholesale,
    })
}

fn hour_part(line: &eroam_domain::pricing::PriceLine) -> Option<HourPart> {
    match (line.rule, line.quantity) {
        (
            LineRule::Dynamic { hour, utilisation_bps, surcharge_bps, renewable },
            Quantity::Energy { measured: energy, .. },
        ) => Some(HourPart {
            hour,
            utilisation_bps,
            surcharge_bps,
            renewable,
            micros_per_kwh: line.unit_price_micros?,
            energy,
            amount: line.amount,
        }),
        _ => None,
    }
}

/// The price of the same session from the beginning of each later hour on that has a forecast. Hours without a price
/// are left out.
fn later_starts(inputs: &QuoteInputs<'_>, session: &EvenSession, at: UnixMillis) -> Vec<LaterStart> {
    let first = inputs.now.utc_hour().saturating_add(1);
    let last = inputs.now.utc_hour().saturating_add(AHEAD_HOURS_MAX);
    let later = |hour: i64| {
        let start = UnixMillis::from_utc_hour(hour)?;
        let moved = |instant: UnixMillis| start.checked_add(instant.since(session.start)?);
        let shifted = EvenSession {
            start,
            charging_end: moved(session.charging_end)?,
            end: moved(session.end)?,
            energy: session.energy,
        };
        let forecast = forecast_for(inputs, &shifted, at)?;
        // What is not known of the very first hour is no forecast of a price.
        forecast.hour(hour)?;
        let Prices { wholesale, retail } = prices(inputs, &shifted, Some(&forecast)).ok()?;
        let by_forecast = wholesale
            .lines
            .iter()
            .filter_map(hour_part)
            .try_fold(WattHours::ZERO, |sum, part| sum.checked_add(part.energy))?;
        Some(LaterStart {
            start,
            wholesale: wholesale.total,
            retail: retail.map(|retail| retail.total),
            without_forecast: session.energy.checked_sub(by_forecast)?,
        })
    };
    (first..=last).filter_map(later).collect()
}
