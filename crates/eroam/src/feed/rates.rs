//! Publishes the rates of an outside server as the next version of a tariff.
//!
//! ```text
//! RateServer -> checked (eroam_gateway::rates) -> PublishTariff -> ledger: quotes from then on follow it
//! ```
//! The version that hours without a rate are priced by is named by whoever publishes, and not taken from what was published
//! last: that has rates of its own, and an hour that nobody has a rate for would keep an old one. When the server fails, or
//! says what is not believed, nothing is published.

use super::attestor::AttestError;
use super::member::{FeedMember, failed, unreadable};
use ed25519_dalek::SigningKey;
use eroam_domain::ids::PartyId;
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_gateway::rates::{RateFault, RateLimits, RateServer, RateServerError, tariff_by_rates};
use eroam_ledger::port::LedgerPort;
use eroam_ledger::query;
use eroam_ledger::state::{StateKey, read};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::Tx;

/// Why no rates were published: the tariff is what it was.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RatesError {
    #[error(transparent)]
    Server(#[from] RateServerError),
    #[error("what the rate server says is not used")]
    NotUsed(#[from] RateFault),
    #[error(
        "{operator} has published no version {version} of the tariff {tariff}: name one with --base-version"
    )]
    NoBase { operator: PartyId, tariff: TariffId, version: u32 },
    #[error(transparent)]
    Ledger(#[from] AttestError),
}

/// Which tariff takes which rates.
#[derive(Clone, Debug)]
pub struct RatedTariff {
    /// The tariff.
    pub id: TariffId,
    /// The version whose prices hold where there is no rate.
    pub base_version: u32,
    /// What is believed.
    pub limits: RateLimits,
}

/// What was published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRates {
    /// The version of the tariff.
    pub version: u32,
    /// How many hours have a rate in it.
    pub hours: usize,
}

/// An operator that publishes.
pub struct RatePublisher<P>(FeedMember<P>);

impl<P: LedgerPort> RatePublisher<P> {
    /// On a ledger, in the name of an operator, with its key.
    pub const fn new(port: P, operator: PartyId, key: SigningKey) -> Self {
        Self(FeedMember::new(port, operator, key))
    }

    /// Asks the server for the hours after the one of `now`, and publishes what it says. `clock` is the one at the stations.
    ///
    /// # Errors
    /// [`RatesError`]; then nothing was published.
    pub fn publish(
        &mut self,
        server: &mut dyn RateServer,
        tariff: &RatedTariff,
        clock: &LocalClock,
        now: UnixMillis,
    ) -> Result<PublishedRates, RatesError> {
        let operator = self.0.party;
        // What costs nothing to find out comes before a server is asked.
        self.0.key_number()?;
        let key = StateKey::Tariff(operator, tariff.id.clone(), tariff.base_version);
        let base: Option<Tariff> = read(&self.0.port, &key).map_err(unreadable)?;
        let base = base.ok_or_else(|| RatesError::NoBase {
            operator,
            tariff: tariff.id.clone(),
            version: tariff.base_version,
        })?;
        let served = server.rates(now.utc_hour().saturating_add(1))?;
        let rated = tariff_by_rates(&base, &served, tariff.limits, clock, now)?;
        let latest = query::latest_tariff(&self.0.port, operator, &tariff.id).map_err(unreadable)?;
        let version = latest.map_or(0, |(version, _)| version).saturating_add(1);
        let tx = Tx::Tariff(TariffTx::PublishTariff { version, tariff: rated });
        match self.0.submit(tx, now)? {
            None => Ok(PublishedRates { version, hours: served.rates.len() }),
            Some(code) => Err(failed(format!("the ledger refuses version {version}: {code}")).into()),
        }
    }
}
