//! Typed questions to the state, for gateways and consoles.

use crate::agreement::AgreementRecord;
use crate::cdr::CdrRecord;
use crate::membership::Member;
use crate::settlement::{ClosedPeriod, Exposure};
use crate::state::{Account, StateError, StateKey, StateView, read};
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, CdrId};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Currency;
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{SettlementPeriod, UnixMillis};

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
