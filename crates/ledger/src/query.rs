//! Typed questions to the state, for gateways and consoles.

use crate::agreement::AgreementRecord;
use crate::cdr::CdrRecord;
use crate::forecast::{self, ZoneRights};
use crate::membership::Member;
use crate::registry::{
    DefinitionRecord, DidRecord, Mandate, RegistryRecord, RegistryWindow, RevocationChange, RevocationList,
    SchemaRecord,
};
use crate::settlement::{ClosedPeriod, Exposure};
use crate::state::{Account, StateError, StateKey, StateView, read};
use crate::voucher::{VoucherKey, VoucherState};
use eroam_domain::agreement::{AgreementId, DynamicRule, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, CdrId, GridZone};
use eroam_domain::forecast::AttestedForecast;
use eroam_domain::ids::{CredentialDefinitionId, EroamDid, PartyId, RevocationRegistryId, SchemaId};
use eroam_domain::money::Currency;
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_domain::voucher::Nullifier;
use std::ops::RangeInclusive;

/// The next sequence of a member's lane.
///
/// # Errors
/// [`StateError`].
pub fn next_sequence(view: &(impl StateView + ?Sized), party: PartyId, lane: u16) -> Result<u64, StateError> {
    Ok(read(view, &StateKey::Lane(party, lane))?.unwrap_or(0))
}

/// A member.
///
/// # Errors
/// [`StateError`].
pub fn member(view: &(impl StateView + ?Sized), party: PartyId) -> Result<Option<Member>, StateError> {
    read(view, &StateKey::Member(party))
}

/// The agreement under which `emsp`'s drivers charge at `cpo`'s stations at `instant`, if one is in force.
///
/// # Errors
/// [`StateError`].
pub fn agreement_in_force(
    view: &(impl StateView + ?Sized),
    emsp: PartyId,
    cpo: PartyId,
    instant: UnixMillis,
) -> Result<Option<(AgreementRef, RoamingAgreement)>, StateError> {
    let ids: Vec<AgreementId> = read(view, &StateKey::AgreementOf(emsp, cpo))?.unwrap_or_default();
    for id in ids {
        let record: Option<AgreementRecord> = read(view, &StateKey::Agreement(id))?;
        let Some(version) = record.and_then(|r| r.version_at(instant)) else { continue };
        let terms = read(view, &StateKey::AgreementTerms(id, version))?;
        return Ok(terms.map(|terms| (AgreementRef { id, version }, terms)));
    }
    Ok(None)
}

/// The latest version of a tariff and its number.
///
/// # Errors
/// [`StateError`].
pub fn latest_tariff(
    view: &(impl StateView + ?Sized),
    party: PartyId,
    id: &TariffId,
) -> Result<Option<(u32, Tariff)>, StateError> {
    let Some(version) = read::<u32>(view, &StateKey::TariffHead(party, id.clone()))? else { return Ok(None) };
    let tariff = read(view, &StateKey::Tariff(party, id.clone(), version))?;
    Ok(tariff.map(|tariff| (version, tariff)))
}

/// A booked record.
///
/// # Errors
/// [`StateError`].
pub fn cdr(
    view: &(impl StateView + ?Sized),
    operator: PartyId,
    id: &CdrId,
) -> Result<Option<CdrRecord>, StateError> {
    read(view, &StateKey::Cdr(operator, id.clone()))
}

/// A netted period.
///
/// # Errors
/// [`StateError`].
pub fn closed_period(
    view: &(impl StateView + ?Sized),
    period: SettlementPeriod,
    currency: Currency,
) -> Result<Option<ClosedPeriod>, StateError> {
    read(view, &StateKey::ClosedPeriod(period, currency))
}

/// The balance of an account in millionths.
///
/// # Errors
/// [`StateError`].
pub fn balance(view: &(impl StateView + ?Sized), account: Account) -> Result<i64, StateError> {
    Ok(read(view, &StateKey::Account(account))?.unwrap_or(0))
}

/// Credit in use under an agreement.
///
/// # Errors
/// [`StateError`].
pub fn exposure(view: &(impl StateView + ?Sized), id: AgreementId) -> Result<Exposure, StateError> {
    Ok(read(view, &StateKey::Exposure(id))?.unwrap_or_default())
}

/// A DID.
///
/// # Errors
/// [`StateError`].
pub fn did(view: &(impl StateView + ?Sized), did: EroamDid) -> Result<Option<DidRecord>, StateError> {
    read(view, &StateKey::Did(did))
}

/// A schema.
///
/// # Errors
/// [`StateError`].
pub fn schema(view: &(impl StateView + ?Sized), id: &SchemaId) -> Result<Option<SchemaRecord>, StateError> {
    read(view, &StateKey::Schema(id.clone()))
}

/// A credential definition.
///
/// # Errors
/// [`StateError`].
pub fn credential_definition(
    view: &(impl StateView + ?Sized),
    id: &CredentialDefinitionId,
) -> Result<Option<DefinitionRecord>, StateError> {
    read(view, &StateKey::CredentialDefinition(id.clone()))
}

/// A revocation registry.
///
/// # Errors
/// [`StateError`].
pub fn revocation_registry(
    view: &(impl StateView + ?Sized),
    id: &RevocationRegistryId,
) -> Result<Option<RegistryRecord>, StateError> {
    read(view, &StateKey::RevocationRegistry(id.clone()))
}

/// When the credentials of a revocation registry count; `None` for one without a window, and for none.
///
/// # Errors
/// [`StateError`].
pub fn registry_window(
    view: &(impl StateView + ?Sized),
    id: &RevocationRegistryId,
) -> Result<Option<RegistryWindow>, StateError> {
    read(view, &StateKey::RegistryWindow(id.clone()))
}

/// The newest list of a revocation registry; `None` before its first.
///
/// # Errors
/// [`StateError`].
pub fn revocation_list(
    view: &(impl StateView + ?Sized),
    id: &RevocationRegistryId,
) -> Result<Option<RevocationList>, StateError> {
    read(view, &StateKey::RevocationList(id.clone()))
}

/// What a version of a revocation registry's list changed.
///
/// # Errors
/// [`StateError`].
pub fn revocation_change(
    view: &(impl StateView + ?Sized),
    id: &RevocationRegistryId,
    version: u32,
) -> Result<Option<RevocationChange>, StateError> {
    read(view, &StateKey::RevocationChange(id.clone(), version))
}

/// The list of a revocation registry that held at `instant`; `None` before its first. Goes back update by update, so
/// that an old list costs a read for each update since.
///
/// # Errors
/// [`StateError`].
pub fn revocation_list_at(
    view: &(impl StateView + ?Sized),
    id: &RevocationRegistryId,
    instant: UnixMillis,
) -> Result<Option<RevocationList>, StateError> {
    let Some(mut list) = revocation_list(view, id)? else { return Ok(None) };
    let change = |version| {
        let key = StateKey::RevocationChange(id.clone(), version);
        let missing = || StateError::Corrupt { key: key.to_bytes(), reason: "it is missing".to_owned() };
        read::<RevocationChange>(view, &key)?.ok_or_else(missing)
    };
    while list.time > instant {
        let Some(previous) = list.version.checked_sub(1).filter(|version| *version > 0) else {
            return Ok(None);
        };
        let last = change(list.version)?;
        list = list.before(&last, &change(previous)?);
    }
    Ok(Some(list))
}

/// Whether `agent` may issue credentials of a schema in the name of `party` at `instant`: because it is the same
/// member, or has a mandate.
///
/// # Errors
/// [`StateError`].
pub fn may_issue(
    view: &(impl StateView + ?Sized),
    party: PartyId,
    agent: PartyId,
    schema: &SchemaId,
    instant: UnixMillis,
) -> Result<bool, StateError> {
    if party == agent {
        return Ok(true);
    }
    let mandate: Option<Mandate> = read(view, &StateKey::Mandate(party, agent, schema.clone()))?;
    Ok(mandate.is_some_and(|mandate| mandate.from <= instant && instant < mandate.until))
}

/// What became of a voucher of `emsp`; `None` while it is unused, or if there is no such voucher.
///
/// # Errors
/// [`StateError`].
pub fn voucher(
    view: &(impl StateView + ?Sized),
    emsp: PartyId,
    nullifier: Nullifier,
) -> Result<Option<VoucherState>, StateError> {
    read(view, &StateKey::Voucher(emsp, nullifier))
}

/// The keys that `emsp` signs vouchers with; the index is a key's number.
///
/// # Errors
/// [`StateError`].
pub fn voucher_keys(view: &(impl StateView + ?Sized), emsp: PartyId) -> Result<Vec<VoucherKey>, StateError> {
    Ok(read(view, &StateKey::VoucherKeys(emsp))?.unwrap_or_default())
}

/// What the forecasters that a rule names have attested about hours, whenever it came into force.
/// [`eroam_domain::forecast::combine`] says what of it counts at an instant.
///
/// # Errors
/// [`StateError`].
pub fn forecasts(
    view: &(impl StateView + ?Sized),
    rule: &DynamicRule,
    hours: &RangeInclusive<i64>,
) -> Result<Vec<AttestedForecast>, StateError> {
    let mut attested = Vec::new();
    for party in &rule.forecasters.parties {
        for day in forecast::days_of(hours) {
            attested.extend(forecast::forecasts_of_day(view, *party, &rule.zone, day)?);
        }
    }
    Ok(attested)
}

/// What a party may attest about a zone.
///
/// # Errors
/// [`StateError`].
pub fn zone_rights(
    view: &(impl StateView + ?Sized),
    zone: &GridZone,
    party: PartyId,
) -> Result<ZoneRights, StateError> {
    Ok(read(view, &StateKey::ZoneAttester(zone.clone(), party))?.unwrap_or_default())
}
