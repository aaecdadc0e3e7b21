//! An outside server of rates over HTTP: a driver of the port [`RateServer`].
//!
//! ```text
//! GET <url>?from=2026-11-22T15:00:00Z
//! 200 {"currency": "EUR", "rates": [{"start": "2026-11-22T15:00:00Z", "micros_per_kwh": 182300}, ..]}
//! ```
//! Each rate is for the hour that begins at `start`, a full hour of UTC, in whole millionths of the currency for a kWh and
//! without VAT: no float is read, so that nobody rounds. Whatever else is answered is an error that says what is wrong, and
//! no rate is made of it: the tariff stays as it is, and nothing is filled in. Whether a rate can be believed is
//! [`eroam_gateway::rates`]'s business.
//!
//! What it does not do: convert currencies, follow redirects, or ask twice. Whoever asks decides when to ask again.
//!
//! Source: Paper A, section 2.1.4 (rates of an outside real-time rate server).

use eroam_domain::money::Currency;
use eroam_domain::time::UnixMillis;
use eroam_gateway::rates::{HourlyRate, RateServer, RateServerError, ServedRates};
use jiff::Timestamp;
use serde::Deserialize;
use std::time::Duration;

/// The longest answer that is read, in bytes: a year of hours is shorter.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// So long a server may take, from the name to the last byte, unless somebody says otherwise.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// A server at a URL.
pub struct HttpRateServer {
    url: String,
    http: ureq::Agent,
}

/// The answer, as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer {
    currency: Currency,
    rates: Vec<Rate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rate {
    start: String,
    micros_per_kwh: i64,
}

impl HttpRateServer {
    /// The server at a URL, which has to answer within so long.
    ///
    /// # Errors
    /// A sentence, for a URL that is none of HTTP.
    pub fn new(url: &str, within: Duration) -> Result<Self, RateServerError> {
        let is_http = ["http://", "https://"].iter().any(|scheme| url.starts_with(scheme));
        if !is_http || url.contains(char::is_whitespace) || url.contains('#') {
            let what = format!("{url:?} is no address of a rate server: write http://.. or https://..");
            return Err(RateServerError { what, source: None });
        }
        let config = ureq::Agent::config_builder().timeout_global(Some(within)).max_redirects(0);
        let http = ureq::Agent::new_with_config(config.http_status_as_error(false).build());
        Ok(Self { url: url.to_owned(), http })
    }

    fn error(&self, what: &str) -> RateServerError {
        RateServerError { what: format!("the rate server at {} {what}", self.url), source: None }
    }
}

impl RateServer for HttpRateServer {
    fn rates(&mut self, first_hour: i64) -> Result<ServedRates, RateServerError> {
        let from = UnixMillis::from_utc_hour(first_hour);
        let from = from.ok_or_else(|| self.error("cannot be asked about hours beyond the calendar"))?;
        let with = if self.url.contains('?') { '&' } else { '?' };
        let caused = |what: &str, source: ureq::Error| RateServerError {
            source: Some(Box::new(source)),
            ..self.error(what)
        };
        let mut answer = self
            .http
            .get(format!("{}{with}from={from}", self.url))
            .header("accept", "application/json")
            .call()
            .map_err(|source| caused("cannot be asked", source))?;
        let status = answer.status().as_u16();
        if status != 200 {
            return Err(self.error(&format!("answers with status {status} instead of 200")));
        }
        let body = answer.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec();
        let body = body.map_err(|source| caused("sends no answer of at most 1 MiB in time", source))?;
        let Answer { currency, rates } = serde_json::from_slice(&body)
            .map_err(|error| self.error(&format!("answers something else than rates: {error}")))?;
        let hourly = |Rate { start, micros_per_kwh }: Rate| {
            let instant: Timestamp = start.parse().map_err(|error| {
                self.error(&format!("has a rate from {start:?} on, which is no instant: {error}"))
            })?;
            let hour = instant.as_second().div_euclid(3_600);
            if Timestamp::from_second(hour.saturating_mul(3_600)).ok() != Some(instant) {
                return Err(self.error(&format!("has a rate from {start} on, which is no full hour of UTC")));
            }
            if hour < first_hour {
                return Err(self.error(&format!("has a rate from {start} on, and was asked from {from} on")));
            }
            Ok(HourlyRate { hour, micros_per_kwh })
        };
        let rates = rates.into_iter().map(hourly).collect::<Result<_, _>>()?;
        Ok(ServedRates { currency, rates })
    }
}

#[cfg(test)]
mod tests;
