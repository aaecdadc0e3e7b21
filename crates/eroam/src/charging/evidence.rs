//! What a station sent with a charge, checked again: by its operator, by sample and in every dispute, and in a dispute by the
//! home utility and the resolver, to whom the operator sends it.
//!
//! The station checked the proof before power. Here it is checked with what the ledger says alone, as long after as there
//! is a dispute: against the list that was the newest when the driver agreed. And what was recorded is compared with what the
//! meter signed: it is all of that, or its beginning, up to what the driver allowed.

use super::provider::{tier_of, zones_of};
use crate::registry::objects::{self, ObjectError};
use eroam_domain::cdr::{Cdr, SessionId, session_digest};
use eroam_domain::charge::Quote;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{CredentialDefinitionId, ObjectIdError, PartyId, RevocationRegistryId};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::UnixMillis;
use eroam_domain::visit::{Accounting, ShownContract};
use eroam_domain::voucher::{SpentVoucher, proof_nonce};
use eroam_gateway::charge_evidence::{ChargeEvidence, ChargeEvidenceFault};
use eroam_gateway::limits::{self, NotABeginning};
use eroam_gateway::sessions::Consumption;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateView};
use eroam_ssi::anoncreds::{
    AnonCredsError, CredentialDefinition, Freshness, FreshnessPolicy, KnownObjects, Nonce, Presentation,
    ProofRequest, RevocationRegistryDefinition, Schema, StatusList, Timestamp, VerifyError, verifier,
};
use eroam_ssi::protocol::charging::{CONTRACT, attributes};
use eroam_station::metering;
use eroam_wire::ocmf::{MeterKeyError, MeterPublicKey, MeteredSession, SessionFault};
use serde::{Deserialize, Serialize};
use std::num::NonZeroU8;

/// One session in so many is checked again when it is accounted for, unless the operator wants it otherwise.
pub const SAMPLE_ONE_IN: NonZeroU8 = NonZeroU8::new(20).unwrap();
/// So much older than the newest a list may be that a station took: it looks it up once a minute, and a driver may take
/// some minutes to agree.
const LIST_AGE_S: u64 = 600;

/// Why evidence does not hold.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EvidenceError {
    #[error("nothing is kept of session {0}")]
    Nothing(SessionId),
    #[error("session {0} was not paid by a voucher, or is not that far")]
    NoVoucher(SessionId),
    #[error("what is kept cannot be read: {0}")]
    Malformed(String),
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
    #[error("the ledger has no {0}")]
    Unknown(String),
    #[error("an id in the presentation")]
    Id(#[from] ObjectIdError),
    #[error("what the ledger has cannot be used")]
    Object(#[from] ObjectError),
    #[error("what is kept is not AnonCreds")]
    AnonCreds(#[from] AnonCredsError),
    #[error("the proof was made for another session, station, quote or voucher")]
    OtherNonce,
    #[error("the contract is {found}'s, expected {expected}'s")]
    OtherProvider { expected: PartyId, found: PartyId },
    #[error("the proof is against a list that was not the newest when the driver agreed")]
    OldList,
    #[error("credentials of the registry {0} did not count when the price was quoted")]
    NotCurrent(String),
    #[error("the proof does not hold")]
    Verify(#[from] VerifyError),
    #[error("the proof does not show {0}")]
    NotShown(&'static str),
    #[error("the key of the station's meter")]
    MeterKey(#[from] MeterKeyError),
    #[error("the meter's readings do not hold")]
    Readings(#[from] SessionFault),
    #[error("more was recorded than the meter signed")]
    Recorded(#[from] NotABeginning),
    #[error("it is not what the record on the ledger rests on")]
    Record(#[from] ChargeEvidenceFault),
}

/// What a station's readings say that was consumed.
#[must_use]
pub fn consumption(metered: &MeteredSession, sent: &Accounting) -> Consumption {
    Consumption {
        start: metered.start(),
        end: metered.end(),
        // It was told for the quote: a change after the end says nothing of the session.
        clock: sent.clock.between(metered.start(), metered.end()),
        periods: metering::periods(metered),
        energy: metered.energy(),
        readings: metering::digest(&sent.readings),
    }
}

/// Checks that a record is what the meter signed, or the beginning of it, and gives how much of it was not billed.
///
/// # Errors
/// [`EvidenceError`].
pub fn recheck_metering(cdr: &Cdr, sent: &Accounting, meter_key: &str) -> Result<WattHours, EvidenceError> {
    let key: MeterPublicKey = meter_key.parse()?;
    let metered = MeteredSession::read(&sent.readings, &key)?;
    Ok(limits::not_billed(cdr, &consumption(&metered, sent))?)
}

/// What holds of a charge when its evidence is checked again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rechecked {
    /// What the driver proved.
    pub shown: ShownContract,
    /// How much of what the meter signed was not billed.
    pub not_billed: WattHours,
}

/// Checks what an operator sent of one of its contested records with the ledger alone: that it is what the record rests on,
/// that the driver's proof holds, and that what was recorded is what the meter signed. The meter's key is the operator's word.
///
/// # Errors
/// [`EvidenceError`].
pub fn recheck_sent(
    client: &dyn StateView,
    operator: PartyId,
    evidence: &ChargeEvidence,
) -> Result<Rechecked, EvidenceError> {
    let ChargeEvidence { cdr, quote, spent, meter_key, sent, .. } = evidence;
    let booked = query::cdr(client, operator, &cdr.id)?;
    let booked = booked.ok_or_else(|| EvidenceError::Unknown(format!("record {} of {operator}", cdr.id)))?;
    evidence.check(operator, &booked)?;
    let shown = recheck(client, Agreed { operator, session: &sent.session, quote, spent }, sent)?;
    Ok(Rechecked { shown, not_billed: recheck_metering(cdr, sent, meter_key)? })
}

/// What was agreed to in a session.
#[derive(Clone, Copy, Debug)]
pub struct Agreed<'a> {
    /// The operator.
    pub operator: PartyId,
    /// The session.
    pub session: &'a SessionId,
    /// The quote.
    pub quote: &'a Quote,
    /// The voucher.
    pub spent: &'a SpentVoucher,
}

/// Whether a session is the one in `one_in` that is checked again: by its digest. A station that chose the names of its
/// sessions could choose some that are not; it would show in how few of its sessions are.
#[must_use]
pub fn is_sampled(operator: PartyId, session: &SessionId, one_in: u8) -> bool {
    let Digest([a, b, c, d, ..]) = session_digest(operator, session);
    u32::from_be_bytes([a, b, c, d]).is_multiple_of(u32::from(one_in))
}

/// Checks what a station sent: the proof holds, for this session, quote and voucher, with what the ledger said then.
///
/// # Errors
/// [`EvidenceError`].
pub fn recheck(
    client: &dyn StateView,
    agreed: Agreed<'_>,
    sent: &Accounting,
) -> Result<ShownContract, EvidenceError> {
    let Agreed { operator, session, quote, spent } = agreed;
    let request = ProofRequest::from_json(sent.proof_request.as_bytes())?;
    let nonce = proof_nonce(
        &sent.random.0,
        session_digest(operator, session),
        &sent.station_key,
        quote.digest(),
        spent.voucher.commitment(),
    );
    if *request.nonce() != Nonce::from_bytes(nonce)? {
        return Err(EvidenceError::OtherNonce);
    }
    let presentation = Presentation::from_json(sent.presentation.as_bytes())?;
    let missing = || EvidenceError::NotShown("a contract that can be revoked");
    let (_, definition_id) = presentation.definitions().next().ok_or_else(missing)?;
    let (registry_id, timestamp) = presentation.status_lists().next().ok_or_else(missing)?;
    let (definition_id, registry_id) = (definition_id.clone(), registry_id.clone());

    let id: CredentialDefinitionId = definition_id.as_str().parse()?;
    let unknown = |what: &str| EvidenceError::Unknown(what.to_owned());
    let emsp = spent.voucher.voucher.emsp;
    let found = query::did(client, id.did)?.ok_or_else(|| unknown("such DID"))?.member;
    let mut known = KnownObjects::new();
    let record = query::credential_definition(client, &id)?.ok_or_else(|| unknown(definition_id.as_str()))?;
    // A mandate that was revoked since is not in the state any more: then nothing shows that there was one.
    if !query::may_issue(client, emsp, found, &record.schema, spent.acceptance.accepted_at)? {
        return Err(EvidenceError::OtherProvider { expected: emsp, found });
    }
    let definition =
        CredentialDefinition::from_json(objects::definition_json(&id, &record)?.to_string().as_bytes())?;
    let schema = query::schema(client, &record.schema)?.ok_or_else(|| unknown("such schema"))?;
    let schema = objects::schema_json(&record.schema, &schema)?;
    known.add_schema(definition.schema_id().clone(), Schema::from_json(schema.to_string().as_bytes())?);
    known.add_credential_definition(definition_id, definition);
    let id: RevocationRegistryId = registry_id.as_str().parse()?;
    let record = query::revocation_registry(client, &id)?.ok_or_else(|| unknown(registry_id.as_str()))?;
    // As the station did.
    let window = query::registry_window(client, &id)?;
    if !window.is_some_and(|window| window.contains(quote.made_at)) {
        return Err(EvidenceError::NotCurrent(registry_id.to_string()));
    }
    let registry = objects::registry_json(&id, &record)?;
    let registry = RevocationRegistryDefinition::from_json(registry.to_string().as_bytes())?;
    known.add_registry(registry_id.clone(), registry);
    let list = list_then(client, &id, timestamp, spent.acceptance.accepted_at)?;
    let list = objects::status_list_json(&id, &record, &list)?;
    known.add_status_list(StatusList::from_json(list.to_string().as_bytes())?);

    let policy = FreshnessPolicy::new().with(registry_id, Freshness::Exactly(timestamp));
    let verified = verifier::verify(&presentation, &request, &known, &policy)?;
    let value = |name: &'static str| verified.value(CONTRACT, name).ok_or(EvidenceError::NotShown(name));
    let tier = tier_of(value(attributes::TIER)?).ok_or(EvidenceError::NotShown(attributes::TIER))?;
    let zones = zones_of(value(attributes::ZONES)?).ok_or(EvidenceError::NotShown(attributes::ZONES))?;
    Ok(ShownContract { emsp, tier, zones })
}

/// The list of `timestamp`, if it was the newest, or nearly, at `accepted_at`.
fn list_then(
    client: &dyn StateView,
    id: &RevocationRegistryId,
    timestamp: Timestamp,
    accepted_at: UnixMillis,
) -> Result<eroam_ledger::registry::RevocationList, EvidenceError> {
    let at = |seconds: u64| i64::try_from(seconds.saturating_mul(1_000)).ok().and_then(UnixMillis::new);
    let seconds = timestamp.seconds();
    let list = at(seconds).map(|at| query::revocation_list_at(client, id, at)).transpose()?.flatten();
    let list = list.filter(|list| Some(list.time) == at(seconds)).ok_or(EvidenceError::OldList)?;
    // The newest one of some minutes before the driver agreed, or a newer one.
    let agreed = u64::try_from(accepted_at.get().div_euclid(1_000)).unwrap_or(0);
    let before = at(agreed.saturating_sub(LIST_AGE_S));
    let then = before.map(|before| query::revocation_list_at(client, id, before)).transpose()?.flatten();
    if then.is_some_and(|then| then.time > list.time) || seconds > agreed.saturating_add(LIST_AGE_S) {
        return Err(EvidenceError::OldList);
    }
    Ok(list)
}
