//! The forecasts that a price follows, read from the ledger: the only place where the gateway asks for them.
//!
//! A quote takes what is in force when it is made, and names it. A record takes, for the hours that the session really
//! had, what was in force at that same instant. A home utility finds what a record names, as the ledger does.

use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{Cdr, GridZone};
use eroam_domain::charge::Quote;
use eroam_domain::forecast::{
    AHEAD_HOURS_MAX, AttestedForecast, ForecastFault, combine, of_record, quoted_at, session_hours,
};
use eroam_domain::pricing::ForecastInput;
use eroam_domain::time::UnixMillis;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateView};

/// Everything that the agreement's forecasters have attested about the hours that a session from `now` on can have.
/// Nothing where the price is static.
///
/// # Errors
/// [`StateError`].
pub fn attested_from(
    ledger: &dyn StateView,
    terms: Option<&RoamingAgreement>,
    zone: &GridZone,
    now: UnixMillis,
) -> Result<Vec<AttestedForecast>, StateError> {
    let Some(rule) = terms.and_then(|terms| terms.forecast_rule(zone)) else { return Ok(Vec::new()) };
    let hours = now.utc_hour()..=now.utc_hour().saturating_add(AHEAD_HOURS_MAX);
    query::forecasts(ledger, rule, &hours)
}

/// The forecast that a session's price follows: for its hours what was in force when its quote was made.
///
/// # Errors
/// [`StateError`]; and [`ForecastFault::NotInForce`] if what the quote names is not on the ledger any more.
pub fn of_session(
    ledger: &dyn StateView,
    terms: &RoamingAgreement,
    zone: &GridZone,
    quote: &Quote,
    (start, end): (UnixMillis, UnixMillis),
    accepted_at: UnixMillis,
) -> Result<Result<Option<ForecastInput>, ForecastFault>, StateError> {
    let Some(rule) = terms.forecast_rule(zone) else { return Ok(Ok(None)) };
    let attested = attested_from(ledger, Some(terms), zone, quote.made_at)?;
    let Some(at) = quoted_at(rule, &attested, quote) else { return Ok(Err(ForecastFault::NotInForce)) };
    Ok(Ok(combine(rule, &attested, at, session_hours(start, end, accepted_at))))
}

/// The forecast that a record names, if its price may follow it.
///
/// # Errors
/// [`StateError`].
pub fn of_booked(
    ledger: &dyn StateView,
    terms: &RoamingAgreement,
    cdr: &Cdr,
) -> Result<Result<Option<ForecastInput>, ForecastFault>, StateError> {
    let attested = match terms.forecast_rule(&cdr.zone) {
        Some(rule) => query::forecasts(ledger, rule, &session_hours(cdr.start, cdr.end, cdr.accepted_at))?,
        None => Vec::new(),
    };
    Ok(of_record(terms, &attested, cdr))
}
