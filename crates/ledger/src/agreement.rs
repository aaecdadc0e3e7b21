//! Roaming agreements: both sides sign, versions follow each other, a terminated one keeps its history.
//!
//! ```text
//! Propose -> Proposed --Accept by the other side--> Active --Amend--> Active with a pending version
//!                                                     |  ^---Accept by the other side (or superseded)---'
//!                                                     '--Terminate by either side--> Terminated
//! ```
//! Checks, in order. `Propose`: the terms make sense (`BadTerms`), the sender is a side (`NotASide`), emsp, cpo and
//! resolver are members with these roles and all beneficiaries and attesters are members (`UnknownParty`), no other agreement in
//! this direction is proposed, active or terminated for a time after the new one begins (`AgreementExists`). `Accept`:
//! known (`UnknownAgreement`), a side (`NotASide`), not terminated (`AgreementTerminated`), something to accept in this
//! version (`NothingToAccept`), not by its proposer (`OwnProposal`), the same terms from the same time (`TermsDiffer`),
//! the effective time after that of the version before (`WrongAgreementVersion`), `LimitReached`; whoever a dynamic price rule
//! names may attest from then on ([`crate::forecast`]). `Amend`: known, a side,
//! not terminated, the new terms as for `Propose` (`BadTerms`, `NotASide`, `UnknownParty`), active
//! (`AgreementNotAccepted`), with the sides, currency and period unchanged (`ImmutableTerms`). `Terminate`: known, a
//! side, not terminated, not for a time gone by (`InThePast`), which would undo quotes that drivers have accepted.

use crate::forecast;
use crate::membership::{Roles, member, require};
use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateKey};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::dynamic::PANEL_MAX;
use eroam_domain::agreement::{AgreementFault, AgreementId, BENEFICIARIES_MAX, PriceRule, RoamingAgreement};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;

/// The greatest number of versions of an agreement.
pub const VERSIONS_MAX: usize = 256;
/// How many agreements from one emsp to one cpo are kept in [`StateKey::AgreementOf`]: the latest, and those before it
/// whose notice may still run.
pub const SUCCESSORS_MAX: usize = 4;

/// Transactions about agreements.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AgreementTx {
    /// One side proposes.
    Propose {
        /// The terms.
        terms: RoamingAgreement,
        /// From when they apply once accepted.
        effective_from: UnixMillis,
    },
    /// The other side accepts a proposal or an amendment.
    Accept {
        /// Which agreement.
        id: AgreementId,
        /// Which version, from 1.
        version: u32,
        /// SHA-256 of what the acceptor read: [`terms_digest`].
        terms: Digest,
    },
    /// One side proposes new terms. The old ones stay in force until the other side accepts.
    Amend {
        /// Which agreement.
        id: AgreementId,
        /// The new terms.
        terms: RoamingAgreement,
        /// From when they apply once accepted.
        effective_from: UnixMillis,
    },
    /// Either side ends it for quotes accepted from `at` on.
    Terminate {
        /// Which agreement.
        id: AgreementId,
        /// From when no quote may be accepted under it.
        at: UnixMillis,
    },
}

/// A version in force since a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Version {
    /// Its number, from 1.
    pub number: u32,
    /// From when quotes are accepted under it.
    pub since: UnixMillis,
}

/// Terms that await the other side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Pending {
    /// The version it will be.
    pub version: Version,
    /// Who proposed it.
    pub by: PartyId,
    /// [`terms_digest`].
    pub terms: Digest,
}

/// Where an agreement stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum AgreementStatus {
    /// Never accepted yet.
    Proposed,
    /// In force.
    Active,
    /// Ended.
    Terminated {
        /// From when no quote may be accepted under it.
        at: UnixMillis,
    },
}

/// An agreement as the ledger keeps it; the terms of each version are apart.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct AgreementRecord {
    /// The debtor.
    pub emsp: PartyId,
    /// The creditor.
    pub cpo: PartyId,
    /// Where it stands.
    pub status: AgreementStatus,
    /// The accepted versions, in order of time.
    pub versions: Vec<Version>,
    /// What awaits acceptance.
    pub pending: Option<Pending>,
}

impl AgreementRecord {
    /// The version in force at `instant`: none before the first, or from termination on.
    #[must_use]
    pub fn version_at(&self, instant: UnixMillis) -> Option<u32> {
        if matches!(self.status, AgreementStatus::Terminated { at } if instant >= at) {
            return None;
        }
        self.versions.iter().rev().find(|v| v.since <= instant).map(|v| v.number)
    }
}

/// The name of an agreement: its first terms, and when they were to apply.
#[must_use]
pub fn agreement_id(terms: &RoamingAgreement, effective_from: UnixMillis) -> AgreementId {
    Digest::of_value("eroam/agreement/1", &(terms, effective_from))
}

/// What an acceptor signs for: the terms and from when they apply, so that the proposer cannot exchange either while
/// the acceptance is on its way.
#[must_use]
pub fn terms_digest(terms: &RoamingAgreement, effective_from: UnixMillis) -> Digest {
    Digest::of_value("eroam/terms/1", &(terms, effective_from))
}

/// What [`apply`] reads and writes, as far as the transaction says: not the other agreements of a pair of members, nor
/// the version that an amendment follows, nor the rights of those whom accepted terms name to attest.
pub(crate) fn reads(keys: &mut Vec<StateKey>, tx: &AgreementTx) {
    match tx {
        AgreementTx::Propose { terms, effective_from } => {
            let id = agreement_id(terms, *effective_from);
            keys.extend([
                StateKey::AgreementOf(terms.emsp, terms.cpo),
                StateKey::Agreement(id),
                StateKey::AgreementTerms(id, 1),
            ]);
            keys.extend(named(terms).map(StateKey::Member));
        }
        AgreementTx::Amend { id, terms, .. } => {
            keys.push(StateKey::Agreement(*id));
            keys.extend(named(terms).map(StateKey::Member));
        }
        AgreementTx::Accept { id, version, .. } => {
            keys.extend([StateKey::Agreement(*id), StateKey::AgreementTerms(*id, *version)]);
        }
        AgreementTx::Terminate { id, .. } => keys.push(StateKey::Agreement(*id)),
    }
}

/// Everybody whom the terms name. Terms from an envelope may name any number of beneficiaries; those of more than an
/// agreement may have are refused before anyone is looked up.
fn named(terms: &RoamingAgreement) -> impl Iterator<Item = PartyId> {
    [terms.emsp, terms.cpo, terms.resolver]
        .into_iter()
        .chain(beneficiaries(terms).take(BENEFICIARIES_MAX.saturating_mul(2)))
        .chain(attesters(terms).take(PANEL_MAX.saturating_mul(2)))
}

/// Whose forecasts and loads make the price.
fn attesters(terms: &RoamingAgreement) -> impl Iterator<Item = PartyId> {
    let rule = match &terms.price_rule {
        PriceRule::Dynamic(rule) => Some(rule),
        PriceRule::Static { .. } => None,
    };
    rule.into_iter().flat_map(|rule| rule.forecasters.parties.iter().chain(rule.actuals.parties())).copied()
}

/// Who gets a share, once for each.
fn beneficiaries(terms: &RoamingAgreement) -> impl Iterator<Item = PartyId> {
    let costs = terms.shares.costs.iter().map(|cost| cost.party);
    costs.chain(terms.shares.surplus.iter().map(|share| share.party))
}

pub(crate) fn apply(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    tx: &AgreementTx,
) -> Result<(), Refusal> {
    match tx {
        AgreementTx::Propose { terms, effective_from } => propose(state, sender, terms, *effective_from),
        AgreementTx::Accept { id, version, terms } => accept(state, sender, *id, *version, *terms),
        AgreementTx::Amend { id, terms, effective_from } => amend(state, sender, *id, terms, *effective_from),
        AgreementTx::Terminate { id, at } => terminate(state, now, sender, *id, *at),
    }
}

/// The place of a fault in the documented order, as the reject code carries it.
fn fault_number(fault: AgreementFault) -> u8 {
    match fault {
        AgreementFault::SameParty => 1,
        AgreementFault::PartisanResolver => 2,
        AgreementFault::CreditCurrency => 3,
        AgreementFault::NoCredit => 4,
        AgreementFault::PriceRule(_) => 5,
        AgreementFault::Shares => 6,
        AgreementFault::ZeroLimit => 7,
        AgreementFault::Window => 8,
        AgreementFault::CommittedTerms => 9,
        AgreementFault::PartisanForecasters => 10,
        AgreementFault::PartisanActuals => 11,
    }
}

fn check_terms(state: &Overlay<'_>, sender: PartyId, terms: &RoamingAgreement) -> Result<(), Refusal> {
    terms.check().map_err(|fault| RejectCode::BadTerms(fault_number(fault)))?;
    if terms.counterparty(sender).is_none() {
        return Err(RejectCode::NotASide.into());
    }
    let named = [(terms.emsp, Roles::EMSP), (terms.cpo, Roles::CPO), (terms.resolver, Roles::RESOLVER)];
    for (party, roles) in named {
        require(state, party, roles, RejectCode::UnknownParty)?;
    }
    for party in beneficiaries(terms).chain(attesters(terms)) {
        if member(state, party)?.is_none() {
            return Err(RejectCode::UnknownParty.into());
        }
    }
    Ok(())
}

fn propose(
    state: &mut Overlay<'_>,
    sender: PartyId,
    terms: &RoamingAgreement,
    since: UnixMillis,
) -> Result<(), Refusal> {
    check_terms(state, sender, terms)?;
    let id = agreement_id(terms, since);
    let slot = StateKey::AgreementOf(terms.emsp, terms.cpo);
    let mut others: Vec<AgreementId> = state.read(&slot)?.unwrap_or_default();
    for other in &others {
        let other: Option<AgreementRecord> = state.read(&StateKey::Agreement(*other))?;
        let ended =
            other.is_none_or(|o| matches!(o.status, AgreementStatus::Terminated { at } if at <= since));
        if !ended {
            return Err(RejectCode::AgreementExists.into());
        }
    }
    if state.contains(&StateKey::Agreement(id))? {
        return Err(RejectCode::AgreementExists.into());
    }
    if others.len() >= SUCCESSORS_MAX {
        others.remove(0);
    }
    others.push(id);
    let pending =
        Pending { version: Version { number: 1, since }, by: sender, terms: terms_digest(terms, since) };
    let record = AgreementRecord {
        emsp: terms.emsp,
        cpo: terms.cpo,
        status: AgreementStatus::Proposed,
        versions: Vec::new(),
        pending: Some(pending),
    };
    state.write(&slot, &others);
    state.write(&StateKey::Agreement(id), &record);
    state.write(&StateKey::AgreementTerms(id, 1), terms);
    Ok(())
}

/// The agreement, with `sender` as a side of it and not terminated.
fn open_record(state: &Overlay<'_>, sender: PartyId, id: AgreementId) -> Result<AgreementRecord, Refusal> {
    let record: AgreementRecord =
        state.read(&StateKey::Agreement(id))?.ok_or(RejectCode::UnknownAgreement)?;
    if sender != record.emsp && sender != record.cpo {
        return Err(RejectCode::NotASide.into());
    }
    if matches!(record.status, AgreementStatus::Terminated { .. }) {
        return Err(RejectCode::AgreementTerminated.into());
    }
    Ok(record)
}

fn accept(
    state: &mut Overlay<'_>,
    sender: PartyId,
    id: AgreementId,
    version: u32,
    terms: Digest,
) -> Result<(), Refusal> {
    let mut record = open_record(state, sender, id)?;
    let pending =
        record.pending.filter(|p| p.version.number == version).ok_or(RejectCode::NothingToAccept)?;
    if pending.by == sender {
        return Err(RejectCode::OwnProposal.into());
    }
    if pending.terms != terms {
        return Err(RejectCode::TermsDiffer.into());
    }
    if record.versions.last().is_some_and(|last| pending.version.since <= last.since) {
        return Err(RejectCode::WrongAgreementVersion.into());
    }
    if record.versions.len() >= VERSIONS_MAX {
        return Err(RejectCode::LimitReached.into());
    }
    let agreed: RoamingAgreement =
        state.read(&StateKey::AgreementTerms(id, version))?.ok_or(RejectCode::UnknownAgreement)?;
    forecast::grant_rights(state, &agreed)?;
    record.versions.push(pending.version);
    record.pending = None;
    record.status = AgreementStatus::Active;
    state.write(&StateKey::Agreement(id), &record);
    Ok(())
}

fn amend(
    state: &mut Overlay<'_>,
    sender: PartyId,
    id: AgreementId,
    terms: &RoamingAgreement,
    since: UnixMillis,
) -> Result<(), Refusal> {
    let mut record = open_record(state, sender, id)?;
    check_terms(state, sender, terms)?;
    if record.status == AgreementStatus::Proposed {
        return Err(RejectCode::AgreementNotAccepted.into());
    }
    let latest = record.versions.last().ok_or(RejectCode::AgreementNotAccepted)?.number;
    let current: RoamingAgreement =
        state.read(&StateKey::AgreementTerms(id, latest))?.ok_or(RejectCode::UnknownAgreement)?;
    let same = (current.emsp, current.cpo, current.currency, current.period)
        == (terms.emsp, terms.cpo, terms.currency, terms.period);
    if !same {
        return Err(RejectCode::ImmutableTerms.into());
    }
    let number = latest.checked_add(1).ok_or(RejectCode::Overflow)?;
    record.pending =
        Some(Pending { version: Version { number, since }, by: sender, terms: terms_digest(terms, since) });
    state.write(&StateKey::Agreement(id), &record);
    state.write(&StateKey::AgreementTerms(id, number), terms);
    Ok(())
}

fn terminate(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    id: AgreementId,
    at: UnixMillis,
) -> Result<(), Refusal> {
    let mut record = open_record(state, sender, id)?;
    if at < now {
        return Err(RejectCode::InThePast.into());
    }
    record.status = AgreementStatus::Terminated { at };
    record.pending = None;
    state.write(&StateKey::Agreement(id), &record);
    if record.versions.is_empty() {
        // A proposal that was withdrawn was never in force: it stands in nobody's way.
        let slot = StateKey::AgreementOf(record.emsp, record.cpo);
        let mut others: Vec<AgreementId> = state.read(&slot)?.unwrap_or_default();
        others.retain(|other| *other != id);
        if others.is_empty() {
            state.remove(&slot);
        } else {
            state.write(&slot, &others);
        }
    }
    Ok(())
}
