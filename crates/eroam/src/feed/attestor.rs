//! Whoever makes a forecast or a load stand on the ledger.

use ed25519_dalek::SigningKey;
use eroam_domain::cdr::GridZone;
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{DurationMs, Watts};
use eroam_domain::time::UnixMillis;
use eroam_forecast::forecaster::Forecast;
use eroam_forecast::hour::UtcHour;
use eroam_ledger::forecast::{
    ATTESTED_HOURS_MAX, ForecastAttestation, ForecastTx, LoadAttestation, ZoneRights,
};
use eroam_ledger::port::{LedgerError, LedgerPort};
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::state::StateError;
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};

/// The lane of a member's envelopes that only this uses: two senders on one lane would take each other's sequences.
pub const FEED_LANE: u16 = 3;
/// So long after its signing an envelope is worthless: within it, its hour is over anyway.
const VALID_FOR: DurationMs = DurationMs::from_millis(3_600_000);

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
pub struct LedgerAttestor<P> {
    port: P,
    member: PartyId,
    key: SigningKey,
}

impl<P: LedgerPort + Send> LedgerAttestor<P> {
    /// On a ledger, in the name of a member, with its key.
    pub const fn new(port: P, member: PartyId, key: SigningKey) -> Self {
        Self { port, member, key }
    }

    /// What the member may attest about a zone.
    ///
    /// # Errors
    /// [`AttestError`].
    pub fn rights(&self, zone: &GridZone) -> Result<ZoneRights, AttestError> {
        query::zone_rights(&self.port, zone, self.member).map_err(unreadable)
    }

    fn submit(&mut self, tx: ForecastTx, now: UnixMillis) -> Result<Attested, AttestError> {
        let member = self.member;
        let known = query::member(&self.port, member).map_err(unreadable)?;
        let known = known.ok_or_else(|| failed(format!("{member} is no member of this network")))?;
        let own = PublicKey::of(&self.key);
        let number = known.keys.iter().position(|key| key.public == own && !key.replaced);
        let number = number.and_then(|number| u32::try_from(number).ok());
        let envelope = Envelope {
            version: VERSION,
            network: self.port.network(),
            member,
            key: number.ok_or_else(|| failed(format!("the key is not one that signs for {member}")))?,
            lane: FEED_LANE,
            sequence: query::next_sequence(&self.port, member, FEED_LANE).map_err(unreadable)?,
            expires_at: now
                .max(self.port.time())
                .checked_add(VALID_FOR)
                .ok_or_else(|| failed("the time is beyond the year 9999".to_owned()))?,
            tx: Tx::Forecast(tx),
        };
        let receipts = self.port.submit(now, vec![envelope.sign(&self.key)]).map_err(undecided)?;
        let refused =
            receipts.iter().flat_map(|receipt| &receipt.items).find_map(|item| match item.outcome {
                ItemOutcome::Rejected(code) => Some(code),
                ItemOutcome::Accepted { .. } => None,
            });
        match refused {
            None => Ok(Attested::Accepted),
            Some(RejectCode::DuplicateAttestation) => Ok(Attested::Already),
            // Nobody has looked at the attestation itself.
            Some(code) if code.leaves_sequence() || code == RejectCode::Expired => {
                Err(failed(code.to_string()))
            }
            Some(code) => Ok(Attested::Refused(code.to_string())),
        }
    }
}

const fn failed(what: String) -> AttestError {
    AttestError { what, source: None }
}

fn unreadable(error: StateError) -> AttestError {
    AttestError { what: "the ledger's state cannot be read".to_owned(), source: Some(Box::new(error)) }
}

fn undecided(error: LedgerError) -> AttestError {
    AttestError { what: "the ledger did not take the attestation".to_owned(), source: Some(Box::new(error)) }
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
