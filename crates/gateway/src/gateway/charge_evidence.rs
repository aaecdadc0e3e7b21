//! The evidence of contested records, in the other direction than that of contests ([`super::evidence`]): from the operator
//! to its home utility and to the resolver of the agreement, who is also sent what the contest rests on.
//!
//! ```text
//! operator                                   home utility, resolver
//!   ChargeEvidence {bytes} -------------------> is the record contested, ours to pay or to decide? is it what the ledger
//!      <-------------------- ChargeEvidenceKept  has the digests of? kept
//! home utility                               resolver
//!   ContestEvidence {bytes} ------------------> is it what was contested with? kept
//! ```
//! What does not match is not kept, and why is in the log. The host of the operator's gateway decides when it is sent, and
//! sends it again until it is confirmed: [`Gateway::take_dispute_news`].

use super::evidence::is_what_was_contested_with;
use super::{Effect, EvidenceRefused, Gateway, GatewayError};
use crate::anomalies::RecordName;
use crate::charge_evidence::{ChargeEvidence, ChargeEvidenceFault};
use crate::ports::{EvidenceName, Store};
use eroam_domain::cdr::{CdrId, CdrStatus};
use eroam_domain::charge::PartnerMessage;
use eroam_domain::codec::HexBytes;
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;
use eroam_ledger::cdr::CdrRecord;
use eroam_ledger::query;
use eroam_ledger::state::StateView;
use std::collections::BTreeSet;

/// So many pieces of news wait to be taken; what comes beyond them a host finds on the ledger.
const NEWS_MAX: usize = 4_096;

/// What an operator's gateway has heard of its contested records. It is not kept over a restart.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum DisputeNews {
    /// A home utility has sent what its contest of this record rests on.
    Contested(CdrId),
    /// The evidence of a record is where it was sent.
    Kept {
        /// The record.
        cdr: CdrId,
        /// Who has it.
        by: PartyId,
    },
}

/// Why what an operator sent of a record is not kept.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChargeEvidenceRefused {
    /// The ledger knows no such contest.
    #[error("the ledger has no contested record of this name by the sender")]
    NotContested,
    /// This organisation has no part in it.
    #[error("the record is paid by {emsp} and decided by {resolver}: it is for them")]
    NotOurs {
        /// Who pays.
        emsp: PartyId,
        /// Who decides.
        resolver: PartyId,
    },
    /// It is not what the ledger has the digests of.
    #[error(transparent)]
    Fault(#[from] ChargeEvidenceFault),
}

impl<S: Store> Gateway<S> {
    /// What was heard of contested records since it was last taken.
    pub fn take_dispute_news(&mut self) -> BTreeSet<DisputeNews> {
        std::mem::take(&mut self.dispute_news)
    }

    pub(super) fn hear(&mut self, news: DisputeNews) {
        if self.dispute_news.len() < NEWS_MAX {
            self.dispute_news.insert(news);
        }
    }

    /// The member that decides about a record, by the version of the agreement that it was charged under.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn resolver_of(
        &mut self,
        ledger: &dyn StateView,
        booked: &CdrRecord,
    ) -> Result<Option<PartyId>, GatewayError> {
        Ok(self.terms(ledger, booked.agreement)?.map(|terms| terms.resolver))
    }

    /// Operator: sends what one of its contested records rests on to those `to` whom it goes.
    pub fn send_charge_evidence(&self, cdr: &CdrId, evidence: &[u8], to: &[PartyId]) -> Vec<Effect> {
        let letter = |to: &PartyId| Effect::Send {
            to: *to,
            message: PartnerMessage::ChargeEvidence {
                cdr: cdr.clone(),
                evidence: HexBytes::new(evidence.to_vec()),
            },
        };
        to.iter().map(letter).collect()
    }

    /// Home utility or resolver: keeps what an operator sent of one of its contested records, if it is what the ledger has the
    /// digests of. It may come again.
    pub(super) fn take_charge_evidence(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        cdr: &CdrId,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<Result<(), ChargeEvidenceRefused>, GatewayError> {
        let booked = query::cdr(ledger, from, cdr)?;
        let contested = booked.filter(|booked| matches!(booked.status, CdrStatus::Contested { .. }));
        let Some(booked) = contested else { return Ok(Err(ChargeEvidenceRefused::NotContested)) };
        let Some(resolver) = self.resolver_of(ledger, &booked)? else {
            return Ok(Err(ChargeEvidenceRefused::NotContested));
        };
        if ![booked.emsp, resolver].contains(&self.party) {
            return Ok(Err(ChargeEvidenceRefused::NotOurs { emsp: booked.emsp, resolver }));
        }
        let checked = ChargeEvidence::from_bytes(bytes).and_then(|evidence| evidence.check(from, &booked));
        if let Err(fault) = checked {
            return Ok(Err(fault.into()));
        }
        let name = EvidenceName::of_charge(&RecordName { operator: from, cdr: cdr.clone() });
        let error = self.store_error();
        self.store.put_evidence(&name, now, bytes).map_err(error)?;
        Ok(Ok(()))
    }

    /// What another operator's contested record rests on, once it came.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn charge_evidence(&mut self, name: &RecordName) -> Result<Option<Vec<u8>>, GatewayError> {
        let error = self.store_error();
        self.store.evidence(&EvidenceName::of_charge(name)).map_err(error)
    }

    /// Resolver: keeps what a home utility's contest of an operator's record rests on, if it is what the ledger has the digest
    /// of.
    pub(super) fn take_contest_evidence(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        name: &RecordName,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<Result<(), EvidenceRefused>, GatewayError> {
        let booked = query::cdr(ledger, name.operator, &name.cdr)?.filter(|booked| booked.emsp == from);
        let Some(booked) = booked else { return Ok(Err(EvidenceRefused::NotContested)) };
        let CdrStatus::Contested { evidence: expected, .. } = booked.status else {
            return Ok(Err(EvidenceRefused::NotContested));
        };
        if self.resolver_of(ledger, &booked)? != Some(self.party) {
            return Ok(Err(EvidenceRefused::NotOursToDecide));
        }
        if let Err(refused) = is_what_was_contested_with(bytes, expected) {
            return Ok(Err(refused));
        }
        let error = self.store_error();
        self.store.put_evidence(&EvidenceName::of_contest_elsewhere(name), now, bytes).map_err(error)?;
        Ok(Ok(()))
    }

    /// Resolver: what a home utility's contest rests on, once it came.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn contest_evidence_of(&mut self, name: &RecordName) -> Result<Option<Vec<u8>>, GatewayError> {
        let error = self.store_error();
        self.store.evidence(&EvidenceName::of_contest_elsewhere(name)).map_err(error)
    }
}
