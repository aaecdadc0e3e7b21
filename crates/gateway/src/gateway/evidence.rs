//! What disputes rest on: what stations send of sessions, and what home utilities send of contests. It is kept for as long
//! as there can be a dispute, and deleted then. What is in it, the gateway does not look at.
//!
//! ```text
//! home utility                                   operator
//!   Contest {digest} ---------> ledger
//!   Evidence {bytes} --------------------------> is the record contested, by the sender, with that digest? kept
//!      <------------------------- EvidenceWanted, if it did not come
//!   ContestEvidence {bytes} ----> the resolver, in the same way
//! ```

use super::{Effect, Gateway, GatewayError};
use crate::anomalies::RecordName;
use crate::ports::{EVIDENCE_BYTES_MAX, EvidenceName, Store};
use eroam_domain::cdr::{CdrId, CdrStatus, SessionId};
use eroam_domain::charge::PartnerMessage;
use eroam_domain::codec::{Digest, HexBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::query;
use eroam_ledger::state::StateView;

/// How long evidence is kept: as long as the longest windows of an agreement for the session, its record, a contest and
/// the decision together, so that it never goes before a dispute about it is over.
pub const EVIDENCE_KEPT_FOR: DurationMs = DurationMs::from_millis(4 * 60 * 86_400_000);

/// A station sent more than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the evidence of a session has {0} bytes, and {EVIDENCE_BYTES_MAX} at most are kept")]
pub struct EvidenceTooLarge(pub usize);

/// Why what another organisation sent is not kept as the evidence of its contest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceRefused {
    /// The ledger knows no such contest by the sender.
    #[error("the sender has not contested this record")]
    NotContested,
    /// Another member decides.
    #[error("the agreement names another member to decide: it is for that one")]
    NotOursToDecide,
    /// Something else was contested with.
    #[error("the ledger has the digest {expected} of the evidence, what was sent has {found}")]
    OtherEvidence {
        /// On the ledger.
        expected: Digest,
        /// Of what was sent.
        found: Digest,
    },
    /// More than is kept.
    #[error(transparent)]
    TooLarge(#[from] EvidenceTooLarge),
}

/// What a contest names evidence by.
#[must_use]
pub fn evidence_digest(bytes: &[u8]) -> Digest {
    Digest::of_parts("eroam/evidence/1", &[bytes])
}

/// Whether evidence of a contest is what the ledger has the digest of.
pub(super) fn is_what_was_contested_with(bytes: &[u8], expected: Digest) -> Result<(), EvidenceRefused> {
    if bytes.len() > EVIDENCE_BYTES_MAX {
        return Err(EvidenceTooLarge(bytes.len()).into());
    }
    let found = evidence_digest(bytes);
    if found != expected {
        return Err(EvidenceRefused::OtherEvidence { expected, found });
    }
    Ok(())
}

impl<S: Store> Gateway<S> {
    /// Keeps what the station sent of a session (proof request, presentation, voucher, quote, signed readings), in place
    /// of what it sent before. Gives its [digest](evidence_digest), or says why it is not kept.
    ///
    /// # Errors
    /// [`GatewayError`], also for a session that is not known.
    pub fn keep_evidence(
        &mut self,
        id: &SessionId,
        bytes: &[u8],
        at: UnixMillis,
    ) -> Result<Result<Digest, EvidenceTooLarge>, GatewayError> {
        self.known(id)?;
        if bytes.len() > EVIDENCE_BYTES_MAX {
            return Ok(Err(EvidenceTooLarge(bytes.len())));
        }
        let error = self.store_error();
        self.store.put_evidence(&EvidenceName::of_session(id), at, bytes).map_err(error)?;
        Ok(Ok(evidence_digest(bytes)))
    }

    /// What was kept of a session.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn evidence(&mut self, id: &SessionId) -> Result<Option<Vec<u8>>, GatewayError> {
        let error = self.store_error();
        self.store.evidence(&EvidenceName::of_session(id)).map_err(error)
    }

    /// Keeps what a home utility sent as the evidence of its contest of one of our records, if it is what the ledger has the
    /// digest of. It may come again.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub(super) fn take_evidence(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        cdr: &CdrId,
        bytes: &[u8],
        now: UnixMillis,
    ) -> Result<Result<(), EvidenceRefused>, GatewayError> {
        let booked = query::cdr(ledger, self.party, cdr)?.filter(|booked| booked.emsp == from);
        let Some(CdrStatus::Contested { evidence: expected, .. }) = booked.map(|booked| booked.status) else {
            return Ok(Err(EvidenceRefused::NotContested));
        };
        if let Err(refused) = is_what_was_contested_with(bytes, expected) {
            return Ok(Err(refused));
        }
        let error = self.store_error();
        self.store.put_evidence(&EvidenceName::of_contest(cdr), now, bytes).map_err(error)?;
        Ok(Ok(()))
    }

    /// What a home utility's contest of one of our records rests on, once it came.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn contest_evidence(&mut self, cdr: &CdrId) -> Result<Option<Vec<u8>>, GatewayError> {
        let error = self.store_error();
        self.store.evidence(&EvidenceName::of_contest(cdr)).map_err(error)
    }

    /// Asks the home utility for the evidence of its contest of one of our records; nothing if it is not contested.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn ask_for_evidence(
        &mut self,
        ledger: &dyn StateView,
        cdr: &CdrId,
    ) -> Result<Vec<Effect>, GatewayError> {
        let booked = query::cdr(ledger, self.party, cdr)?;
        let contested = booked.filter(|booked| matches!(booked.status, CdrStatus::Contested { .. }));
        let ask =
            |emsp| Effect::Send { to: emsp, message: PartnerMessage::EvidenceWanted { cdr: cdr.clone() } };
        Ok(contested.map(|booked| ask(booked.emsp)).into_iter().collect())
    }

    /// Sends an operator, and the agreement's resolver, the evidence of our contest of its record, if the ledger has taken the
    /// contest.
    pub(super) fn give_evidence(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        cdr: &CdrId,
    ) -> Result<Vec<Effect>, GatewayError> {
        let error = self.store_error();
        let case = self.store.anomaly(&RecordName { operator, cdr: cdr.clone() }).map_err(error)?;
        let Some(case) = case else { return Ok(Vec::new()) };
        if !self.is_contested_by(ledger, &case)? {
            return Ok(Vec::new());
        }
        let evidence = HexBytes::new(case.evidence);
        let resolver = match query::cdr(ledger, operator, cdr)? {
            Some(booked) => self.resolver_of(ledger, &booked)?,
            None => None,
        };
        let for_resolver = resolver.map(|to| Effect::Send {
            to,
            message: PartnerMessage::ContestEvidence {
                operator,
                cdr: cdr.clone(),
                evidence: evidence.clone(),
            },
        });
        let message = PartnerMessage::Evidence { cdr: cdr.clone(), evidence };
        Ok([Effect::Send { to: operator, message }].into_iter().chain(for_resolver).collect())
    }

    /// Deletes what is older than [`EVIDENCE_KEPT_FOR`], once a UTC day.
    pub(super) fn forget_evidence(&mut self, now: UnixMillis) -> Result<(), GatewayError> {
        let today = now.utc_day();
        if self.evidence_looked_through_on == Some(today) {
            return Ok(());
        }
        self.evidence_looked_through_on = Some(today);
        let Some(before) = now.checked_sub(EVIDENCE_KEPT_FOR) else { return Ok(()) };
        let error = self.store_error();
        self.store.remove_evidence_before(before).map_err(error)?;
        Ok(())
    }
}
