//! A contest that the home utility's staff wants, for a reason that no rule finds: a customer disputes a charge, say. It goes
//! the way of those that the rules want, with the reason as its finding.

use super::{Gateway, GatewayError};
use crate::anomalies::{CaseState, Finding, RecordName};
use crate::ports::Store;
use eroam_domain::cdr::CdrStatus;
use eroam_domain::codec::ShortText;
use eroam_domain::time::UnixMillis;
use eroam_ledger::query;
use eroam_ledger::state::StateView;

/// The reason of a contest, which operator and resolver read: printable ASCII.
pub type ContestReason = ShortText<256>;

/// Why staff cannot contest a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ContestRefused {
    /// Nothing is remembered of it.
    #[error("{0} was not seen here, or more than 60 days ago, so there is nothing to contest it with")]
    NotSeen(RecordName),
    /// Somebody else pays.
    #[error("the ledger has no {0} that we pay for")]
    NotOurs(RecordName),
    /// Its window is over, or it was contested before.
    #[error("{0} cannot be contested any more: it was contested before, or its contest window is over")]
    TooLate(RecordName),
}

impl<S: Store> Gateway<S> {
    /// Home utility: contests a record that this organisation has seen, as long as the ledger takes a contest of it. Gives where
    /// the case stands then; the outbox has the rest.
    ///
    /// # Errors
    /// [`GatewayError`]; a [`ContestRefused`] for a record that cannot be contested.
    pub fn contest_by_staff(
        &mut self,
        ledger: &dyn StateView,
        name: &RecordName,
        reason: &ContestReason,
        now: UnixMillis,
    ) -> Result<Result<CaseState, ContestRefused>, GatewayError> {
        let booked = query::cdr(ledger, name.operator, &name.cdr)?;
        let Some(booked) = booked.filter(|booked| booked.emsp == self.party) else {
            return Ok(Err(ContestRefused::NotOurs(name.clone())));
        };
        if !matches!(booked.status_at(now), CdrStatus::Provisional { .. }) {
            return Ok(Err(ContestRefused::TooLate(name.clone())));
        }
        let error = self.store_error();
        let seen = self.store.sighting(name).map_err(&error)?.and_then(|sighting| sighting.record);
        let (Some(cdr), Some(rules)) =
            (seen.filter(|cdr| cdr.digest() == booked.digest), self.anomaly_rules())
        else {
            return Ok(Err(ContestRefused::NotSeen(name.clone())));
        };
        let finding = Finding::Staff { reason: reason.clone() };
        self.open_case(&rules, name.operator, &cdr, vec![finding])?;
        let case = self.store.anomaly(name).map_err(error)?;
        Ok(Ok(case.map_or(CaseState::Notice, |case| case.state)))
    }
}
