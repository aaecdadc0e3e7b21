//! Paper B's way for stations: an AnonCreds credential, shown to the driver and to the operator with a comparison and a
//! proof that it is not revoked, so that all three presentations of an event are of the same kind.
//!
//! It is here for comparison. A station is not private, and an AnonCreds proof is not bound to the connection that it is
//! shown on: whoever stands between a driver and a station could pass it on. The signed credential of
//! [`super::operator`] is bound.
//!
//! Source: paper B, figure 21 and section 5.2.

use super::ChargingError;
use super::catalogue::Catalogue;
use super::issuer::{CredentialPlace, Issuer, Term};
use super::proving::{self, Asked, STEP_WITHIN};
use super::taking::{Taken, Taking};
use super::validity::{Validity, last_day};
use crate::agent::{Agent, new_id};
use crate::clock::now;
use crate::tails_cache::TailsCache;
use eroam_domain::charge::Denial;
use eroam_domain::ids::{EroamDid, PartyId};
use eroam_domain::quantity::Watts;
use eroam_domain::time::{CivilDate, LocalClock};
use eroam_domain::visit::StationClaims;
use eroam_ledger::registry::{DidRecord, RegistryWindow};
use eroam_ledger::state::StateKey;
use eroam_ssi::anoncreds::{
    AnonCredsError, Comparison, Freshness, FreshnessPolicy, HeldCredential, Interval, LinkSecret, Nonce,
    ObjectId, Presentation, ProofRequest, Restriction, Selection, StatusList, Timestamp, WitnessState,
    prepared, verifier,
};
use eroam_ssi::protocol::Abandonment;
use eroam_ssi::protocol::charging::day_number;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::present_proof::{ANONCREDS_PROOF, ANONCREDS_REQUEST};
use eroam_ssi::protocol::questions::{self, AboutStation, StationKind};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The schema's name.
pub const STATION_SCHEMA: &str = "charging station";
/// The attributes of a station's credential (figure 21).
pub const STATION_ATTRIBUTES: [&str; 8] =
    ["station_id", "operator", "zone", "place", "max_power_w", "meter_key", "meter_certified", "valid_until"];
/// For how long stations' credentials are issued: as the signed ones of [`super::operator`].
pub const STATION_TERM: Term = match Term::of_days(3 * 365) {
    Some(term) => term,
    None => panic!("three years are within the limit"),
};
/// The referent under which what is shown is asked for.
const STATION: &str = "station";
/// The attribute that is compared and not shown: the last one.
const VALID_UNTIL: &str = "valid_until";
/// A status list that was looked up so long ago still does.
const LIST_AGE: Duration = Duration::from_secs(60);
/// Why a station shows nothing whose credential the ledger lists as revoked: it could prove nothing.
const REVOKED: &str = "the operator has revoked this station";
/// Why a station shows nothing to whoever asks by an older list than the newest.
const NEWER_LIST: &str = "the operator has a newer list";

/// What a station's credential says, until a day.
#[must_use]
pub fn values(claims: &StationClaims, until: CivilDate) -> Vec<(&'static str, String)> {
    let texts = [
        claims.evse.to_string(),
        claims.operator.to_string(),
        claims.zone.to_string(),
        claims.place.clone(),
        claims.power.get().to_string(),
        claims.meter_key.clone(),
        claims.meter_certified.to_string(),
        day_number(until).to_string(),
    ];
    STATION_ATTRIBUTES.into_iter().zip(texts).collect()
}

/// Everything but the last day shown, that day not before today, and not revoked in the newest list.
fn station_request(
    definition: &ObjectId,
    newest: Timestamp,
    nonce: Nonce,
) -> Result<ProofRequest, AnonCredsError> {
    let ours = || Restriction::cred_def(definition);
    let end = Timestamp::new(newest.seconds().saturating_add(1))?;
    let shown = STATION_ATTRIBUTES.into_iter().filter(|name| *name != VALID_UNTIL);
    ProofRequest::builder(STATION, "1.0")
        .group(STATION, shown, ours())
        .predicate(
            VALID_UNTIL,
            VALID_UNTIL,
            Comparison::AtLeast,
            day_number(LocalClock::UTC.at(now()).date),
            ours(),
        )
        .non_revoked(Interval { from: Some(newest), to: Some(end) })
        .build_with(nonce)
}

/// A station's AnonCreds credential as it is kept.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeptHolder {
    link_secret: String,
    credential: Vec<u8>,
    witness: String,
    definition: String,
    registry: String,
}

/// A station's AnonCreds credential.
pub struct StationHolder {
    link_secret: LinkSecret,
    credential: HeldCredential,
    witness: Mutex<WitnessState>,
    definition: ObjectId,
    registry: ObjectId,
}

impl StationHolder {
    /// As it is kept.
    pub(super) fn keep(&self) -> Result<KeptHolder, ChargingError> {
        let witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner).to_json()?;
        let witness = String::from_utf8(witness);
        Ok(KeptHolder {
            link_secret: self.link_secret.export_secret().to_string(),
            credential: self.credential.export_secret().to_vec(),
            witness: witness.map_err(|error| ChargingError::unexpected("a witness", error))?,
            definition: self.definition.to_string(),
            registry: self.registry.to_string(),
        })
    }

    /// What was kept.
    pub(super) fn restore(kept: &KeptHolder) -> Result<Self, ChargingError> {
        Ok(Self {
            link_secret: LinkSecret::import_secret(&kept.link_secret)?,
            credential: HeldCredential::import_secret(&kept.credential)?,
            witness: Mutex::new(WitnessState::from_json(kept.witness.as_bytes())?),
            definition: ObjectId::new(kept.definition.clone())?,
            registry: ObjectId::new(kept.registry.clone())?,
        })
    }

    /// Takes the credential that the operator offers over a connection.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn take(
        agent: &Agent,
        operator: &Connection,
        catalogue: &Catalogue,
        tails: &TailsCache,
    ) -> Result<Self, ChargingError> {
        let link_secret = LinkSecret::random()?;
        let taking = Taking { agent, connection: operator, catalogue, tails, link_secret: &link_secret };
        // Only its operator can offer it anything over this connection.
        let taken = taking.take("the station's credential", |_, _| Ok(()))?;
        let Taken { credential, witness, definition, registry } = taken;
        Ok(Self { link_secret, credential, witness: Mutex::new(witness), definition, registry })
    }

    /// Shows it to whoever asks over a connection: first of which kind it is, then the proof. Whoever asks by a list that is
    /// not the newest any more may ask once again.
    ///
    /// # Errors
    /// [`ChargingError`], among them that it was revoked: who asked has been told.
    pub fn show(
        &self,
        agent: &Agent,
        connection: &Connection,
        catalogue: &Catalogue,
        tails: &TailsCache,
    ) -> Result<(), ChargingError> {
        let asked = agent.receive("question about the station", STEP_WITHIN, |incoming| {
            incoming.channel() == connection.channel() && questions::is_question::<AboutStation>(incoming)
        })?;
        let kind =
            StationKind { definition: self.definition.to_string(), registry: self.registry.to_string() };
        agent.send(connection, &questions::answer::<AboutStation>(&asked, &Ok(kind), new_id())?)?;
        let (mut asked, mut request, mut list) = self.asked(agent, connection, catalogue)?;
        if is_older(&request, &list) {
            asked.decline(agent, connection, NEWER_LIST)?;
            (asked, request, list) = self.asked(agent, connection, catalogue)?;
        }
        let mut witness = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        if witness.timestamp() != list.timestamp() {
            let registry = catalogue.registry(&self.registry)?;
            witness.move_to(&list, &registry, &tails.tails(&registry)?)?;
        }
        if witness.is_revoked() {
            asked.decline(agent, connection, REVOKED)?;
            return Err(ChargingError::StationRevokedByLedger);
        }
        let known = catalogue.known(&self.definition, Some(&self.registry), LIST_AGE)?;
        let selection = Selection::choose(&request, [(&self.credential, Some(&*witness))], &known)?;
        let shown = prepared::prepare(&request, &selection, &self.link_secret, &known)?.answer(&request)?;
        asked.show(agent, connection, ANONCREDS_PROOF, shown.to_json())
    }

    /// The next request for the proof, and a list that is not older than the one it is asked by.
    fn asked(
        &self,
        agent: &Agent,
        connection: &Connection,
        catalogue: &Catalogue,
    ) -> Result<(Asked, ProofRequest, Arc<StatusList>), ChargingError> {
        let asked = proving::asked_proof(agent, connection, ANONCREDS_REQUEST)?;
        let request = ProofRequest::from_json(&asked.request)?;
        let mut list = catalogue.newest_list(&self.registry, LIST_AGE)?;
        if asked_by(&request).is_some_and(|by| by > list.timestamp()) {
            list = catalogue.newest_list(&self.registry, Duration::ZERO)?;
        }
        Ok((asked, request, list))
    }
}

/// The list by which a station is asked to prove that it was not revoked.
fn asked_by(request: &ProofRequest) -> Option<Timestamp> {
    request.non_revoked().and_then(|interval| interval.from)
}

/// Whether a request asks by an older list than this one.
fn is_older(request: &ProofRequest, list: &StatusList) -> bool {
    asked_by(request).is_some_and(|by| by < list.timestamp())
}

/// Whether a station that shows nothing gives this reason.
fn says(error: &ChargingError, reason: &str) -> bool {
    matches!(error, ChargingError::Abandoned(Abandonment::Reported(report)) if report.text.as_deref() == Some(reason))
}

/// Has a station prove what it is, over a connection. The ledger says whose the credential is.
///
/// # Errors
/// [`ChargingError`].
pub fn ask_station(
    agent: &Agent,
    connection: &Connection,
    catalogue: &Catalogue,
) -> Result<StationClaims, ChargingError> {
    let StationKind { definition, registry } = proving::question(agent, connection, &AboutStation {})?;
    let (definition, registry) = (ObjectId::new(definition)?, ObjectId::new(registry)?);
    let issuer = catalogue.definition(&definition)?;
    let did: EroamDid = issuer
        .issuer_id()
        .as_str()
        .parse()
        .map_err(|error| ChargingError::unexpected("the station's operator", error))?;
    let record: DidRecord = catalogue.lasting(&StateKey::Did(did), &did.to_string())?;
    Validity::at(catalogue, &registry, now())?.of_station()?;
    let ask = |age| -> Result<_, ChargingError> {
        let list = catalogue.newest_list(&registry, age)?;
        let request = station_request(&definition, list.timestamp(), Nonce::random()?)?;
        let awaited = proving::ask_proof(agent, connection, ANONCREDS_REQUEST, request.to_json())?;
        let shown = awaited.shown(agent, connection, ANONCREDS_PROOF)?;
        Ok((list, request, Presentation::from_json(&shown)?))
    };
    let shown = match ask(LIST_AGE) {
        // Another station was revoked, perhaps, since the list was looked up here.
        Err(error) if says(&error, NEWER_LIST) => ask(Duration::ZERO),
        shown => shown,
    };
    let (list, request, shown) = shown.map_err(|error| match says(&error, REVOKED) {
        true => ChargingError::StationRevokedByLedger,
        false => error,
    })?;
    let mut known = catalogue.known(&definition, None, LIST_AGE)?;
    known.add_registry(registry.clone(), catalogue.registry(&registry)?);
    known.add_status_list(Arc::clone(&list));
    let policy = FreshnessPolicy::new().with(registry, Freshness::Exactly(list.timestamp()));
    let verified = verifier::verify(&shown, &request, &known, &policy)?;
    let value = |name| verified.value(STATION, name).ok_or(Denial::UnknownStation);
    let bad = |what: &'static str| move |_| ChargingError::unexpected("the station's credential", what);
    let operator: PartyId = value("operator")?.parse().map_err(|_| bad("its operator")(()))?;
    if operator != record.member {
        return Err(ChargingError::unexpected("the station's operator", operator));
    }
    let power = value("max_power_w")?.parse().map_err(|_| bad("its power")(()))?;
    Ok(StationClaims {
        operator,
        evse: value("station_id")?.parse().map_err(|_| bad("its id")(()))?,
        zone: value("zone")?.parse().map_err(|_| bad("its zone")(()))?,
        place: value("place")?.to_owned(),
        power: Watts::new(power),
        meter_key: value("meter_key")?.to_owned(),
        meter_certified: value("meter_certified")? == "true",
        // Figure 21 has no such attribute.
        time_zone: None,
    })
}

/// Issues the credential to a station that registered. `kept` hears of its place before the credential leaves: there it is
/// revoked.
///
/// # Errors
/// [`ChargingError`], among them those of `kept`: the station is given nothing then.
pub fn issue_station(
    agent: &Agent,
    connection: &Connection,
    issuer: &Issuer,
    claims: &StationClaims,
    until: CivilDate,
    kept: impl FnOnce(CredentialPlace) -> Result<(), ChargingError>,
) -> Result<(), ChargingError> {
    let said = |window: RegistryWindow| values(claims, until.min(last_day(window.until)));
    proving::issue(agent, connection, issuer, said, |place, _| kept(place))?;
    issuer.prepare_next()
}
