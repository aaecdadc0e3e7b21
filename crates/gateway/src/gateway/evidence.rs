//! What stations send of sessions, kept for disputes and deleted when there can be none any more. What is in it, the
//! gateway does not look at.

use super::{Gateway, GatewayError};
use crate::ports::{EVIDENCE_BYTES_MAX, Store};
use eroam_domain::cdr::SessionId;
use eroam_domain::codec::Digest;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;

/// How long evidence is kept: as long as the longest windows of an agreement for the session, its record, a contest and
/// the decision together, so that it never goes before a dispute about it is over.
pub const EVIDENCE_KEPT_FOR: DurationMs = DurationMs::from_millis(4 * 60 * 86_400_000);

/// A station sent more than is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the evidence of a session has {0} bytes, and {EVIDENCE_BYTES_MAX} at most are kept")]
pub struct EvidenceTooLarge(pub usize);

/// What a contest names evidence by.
#[must_use]
pub fn evidence_digest(bytes: &[u8]) -> Digest {
    Digest::of_parts("eroam/evidence/1", &[bytes])
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
        self.store.put_evidence(id, at, bytes).map_err(error)?;
        Ok(Ok(evidence_digest(bytes)))
    }

    /// What was kept of a session.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn evidence(&mut self, id: &SessionId) -> Result<Option<Vec<u8>>, GatewayError> {
        let error = self.store_error();
        self.store.evidence(id).map_err(error)
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
