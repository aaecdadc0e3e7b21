//! Whoever makes a forecast or a load stand on the ledger.

use super::member::{FeedMember, failed, unreadable};
use ed25519_dalek::SigningKey;
use eroam_domain::cdr::GridZone;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::Watts;
use eroam_domain::time::UnixMillis;
use eroam_forecast::forecaster::Forecast;
use eroam_forecast::hour::UtcHour;
use eroam_ledger::forecast::{
    ATTESTED_HOURS_MAX, ForecastAttestation, ForecastTx, LoadAttestation, ZoneRights,
};
use eroam_ledger::port::LedgerPort;
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::tx::Tx;

/// What became of an attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attested {
    /// It stands.
    Accepted,
    /// It stood already: an earlier run sent it.
    Already,
    /// The ledger refuses it, and would again.
    Refused(String),
}

/// The ledger cannot be asked. It may be asked again.
#[derive(Debug, thiserror::Error)]
#[error("{what}")]
pub struct AttestError {
    /// What could not be done.
    pub what: String,
    /// Why.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Attests in an organisation's name.
pub trait Attestor: Send {
    /// Attests the hours of a forecast that have not begun at `now`.
    ///
    /// # Errors
    /// [`AttestError`].
    fn attest_forecast(
        &mut self,
        zone: &GridZone,
        forecast: &Forecast,
        now: UnixMillis,
    ) -> Result<Attested, AttestError>;

    /// Attests what loads really were, of hours that are over, in order.
    ///
    /// # Errors
    /// [`AttestError`].
    fn attest_loads(
        &mut self,
        zone: &GridZone,
        loads: &[(UtcHour, Watts)],
        now: UnixMillis,
    ) -> Result<Attested, AttestError>;
}

/// Attests on a ledger, as one of its members.
pub struct LedgerAttestor<P>(FeedMember<P>);

impl<P: LedgerPort + Send> LedgerAttestor<P> {
    /// On a ledger, in the name of a member, with its key.
    pub const fn new(port: P, member: PartyId, key: SigningKey) -> Self {
        Self(FeedMember::new(port, member, key))
    }

    /// Whether the ledger lists the key for the member, before anything is signed with it.
    ///
    /// # Errors
    /// [`AttestError`] if it does not.
    pub fn check_key(&self) -> Result<(), AttestError> {
        self.0.key_number().map(drop)
    }

    /// What the member may attest about a zone.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn rights(&self, zone: &GridZone) -> Result<ZoneRights, AttestError> {
        query::zone_rights(&self.0.port, zone, self.0.party).map_err(unreadable)
    }

    fn submit(&mut self, tx: ForecastTx, now: UnixMillis) -> Result<Attested, AttestError> {
        Ok(match self.0.submit(Tx::Forecast(tx), now)? {
            None => Attested::Accepted,
            Some(RejectCode::DuplicateAttestation) => Attested::Already,
            Some(code) => Attested::Refused(code.to_string()),
        })
    }
}

/// The attestation of the hours after the one of `now`; `None` where none is left or one has no band yet.
#[must_use]
pub fn attestation(zone: &GridZone, forecast: &Forecast, now: UnixMillis) -> Option<ForecastAttestation> {
    let mut coming = forecast.hours.iter().filter(|hour| hour.hour > now.utc_hour()).peekable();
    let mut attestation = ForecastAttestation {
        zone: zone.clone(),
        first_hour: coming.peek()?.hour,
        load_kw: Vec::new(),
        low_kw: Vec::new(),
        high_kw: Vec::new(),
        renewable_bps: None,
        model: forecast.model,
        window: forecast.data_window,
    };
    for hour in coming.take(ATTESTED_HOURS_MAX) {
        let (low, high) = hour.band_kw?;
        attestation.load_kw.push(hour.load_kw);
        attestation.low_kw.push(low.min(hour.load_kw));
        attestation.high_kw.push(high.max(hour.load_kw));
    }
    Some(attestation)
}

impl<P: LedgerPort + Send> Attestor for LedgerAttestor<P> {
    fn attest_forecast(
        &mut self,
        zone: &GridZone,
        forecast: &Forecast,
        now: UnixMillis,
    ) -> Result<Attested, AttestError> {
        match attestation(zone, forecast, now) {
            Some(attestation) => self.submit(ForecastTx::AttestForecast(attestation), now),
            None => Ok(Attested::Refused(
                "too few errors are known for a band: the model has to see some more days".to_owned(),
            )),
        }
    }

    fn attest_loads(
        &mut self,
        zone: &GridZone,
        loads: &[(UtcHour, Watts)],
        now: UnixMillis,
    ) -> Result<Attested, AttestError> {
        let mut all = Attested::Already;
        for run in loads.chunk_by(|(before, _), (after, _)| after.since(*before) == 1) {
            for part in run.chunks(ATTESTED_HOURS_MAX) {
                let [(first, _), ..] = part else { continue };
                let watts: Vec<(i64, u64)> =
                    part.iter().map(|(hour, load)| (hour.get(), load.get())).collect();
                let load_kw: Option<Vec<u32>> = part.iter().map(|(_, load)| kilowatts(*load)).collect();
                let load_kw = load_kw.ok_or_else(|| failed("a load is beyond 4294967295 kW".to_owned()))?;
                let attestation = LoadAttestation {
                    zone: zone.clone(),
                    first_hour: first.get(),
                    load_kw,
                    source: Digest::of_value("eroam/feed/loads/1", &watts),
                };
                match self.submit(ForecastTx::AttestLoad(attestation), now)? {
                    Attested::Already => {}
                    Attested::Accepted if matches!(all, Attested::Already) => all = Attested::Accepted,
                    Attested::Accepted => {}
                    refused @ Attested::Refused(_) => all = refused,
                }
            }
        }
        Ok(all)
    }
}

/// Whole kilowatts, the nearest, halves up.
fn kilowatts(load: Watts) -> Option<u32> {
    u32::try_from(load.get().checked_add(500)? / 1_000).ok()
}
