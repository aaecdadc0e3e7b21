//! The pass that has records trued up when the actual loads are known: of the operator and of the home utility alike,
//! since either may gain by it.
//!
//! ```text
//! booked by forecast -> awaited -> loads attested? -- no --> look again in an hour
//!                                        | yes: what would it come to?
//!                                        |-- nothing --> forgotten
//!                                        '-- something -> TrueUp --> accepted, or done already --> forgotten
//! ```
//! The gateway asks its own copy of the ledger first, with the ledger's own checks
//! ([`eroam_ledger::true_up::preview`]), so that it sends no envelope in vain. The whole pass may be repeated: a record
//! is trued up once. The driver's bill does not change: the true-up is between the two sides.

use super::{Gateway, GatewayError, Outgoing};
use crate::anomalies::RecordName;
use crate::invoice::WholesaleLine;
use crate::ports::Store;
use crate::sessions::Phase;
use crate::true_ups::{AwaitedTrueUp, LOOK_AGAIN_AFTER, LOOKED_AT_MAX};
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{Adjustment, Cdr, SessionId};
use eroam_domain::ids::PartyId;
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::state::StateView;
use eroam_ledger::true_up::preview;

impl<S: Store> Gateway<S> {
    /// Remembers a booked record, if its price follows a forecast.
    pub(super) fn await_true_up(&mut self, operator: PartyId, cdr: &Cdr) -> Result<(), GatewayError> {
        if cdr.attestation.is_none() {
            return Ok(());
        }
        // The load of its last hour is known after that at the earliest.
        let look_at = cdr.end.checked_add(LOOK_AGAIN_AFTER).unwrap_or(cdr.end);
        let awaited = AwaitedTrueUp { operator, cdr: cdr.clone(), look_at };
        let error = self.store_error();
        self.store.put_true_up(&awaited).map_err(error)
    }

    /// Looks at the records whose time has come, and asks the ledger for those that can be trued up.
    pub(super) fn look_for_true_ups(
        &mut self,
        ledger: &dyn StateView,
        now: UnixMillis,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        for awaited in self.store.due_true_ups(now, LOOKED_AT_MAX).map_err(&error)? {
            let look_at = now.checked_add(LOOK_AGAIN_AFTER).unwrap_or(now);
            match preview(ledger, now, self.party, &awaited.cdr)? {
                Ok(_) => {
                    let cdr = Box::new(awaited.cdr.clone());
                    self.outbox.push(Outgoing::TrueUp(awaited.operator, cdr));
                    // Should the answer be lost, it is asked for again.
                    self.store.put_true_up(&AwaitedTrueUp { look_at, ..awaited }).map_err(&error)?;
                }
                Err(RejectCode::ActualsAwaited) => {
                    self.store.put_true_up(&AwaitedTrueUp { look_at, ..awaited }).map_err(&error)?;
                }
                Err(code) => {
                    tracing::debug!(cdr = %awaited.cdr.id, %code, "gateway.true_up.none");
                    self.store.remove_true_up(&awaited.name()).map_err(&error)?;
                }
            }
        }
        Ok(())
    }

    /// What the ledger's answer means for an awaited record.
    pub(super) fn true_up_answered(
        &mut self,
        name: &RecordName,
        outcome: ItemOutcome,
    ) -> Result<(), GatewayError> {
        let code = outcome.rejection();
        // Nobody has looked at the record: the next pass asks again.
        if code.is_some_and(|code| super::outbox::is_passing(code) || code == RejectCode::ActualsAwaited) {
            return Ok(());
        }
        if let Some(code) = code {
            tracing::info!(cdr = %name.cdr, %code, "gateway.true_up.refused");
        }
        let error = self.store_error();
        self.store.remove_true_up(name).map_err(error)
    }

    /// Operator: a block has trued up one of its records. What that changes goes on the invoice of the period in which
    /// it was booked.
    pub(super) fn trued_up(
        &mut self,
        ledger: &dyn StateView,
        cdr: &Cdr,
        period: SettlementPeriod,
    ) -> Result<(), GatewayError> {
        let Some(booked) = query::cdr(ledger, self.party, &cdr.id)? else { return Ok(()) };
        let micros = booked.adjustments.iter().find_map(|adjustment| match adjustment {
            Adjustment::TrueUp { micros } => Some(*micros),
            _ => None,
        });
        let Some(micros) = micros.filter(|_| booked.digest == cdr.digest()) else { return Ok(()) };
        let Ok(id) = SessionId::new(cdr.id.as_str()) else { return Ok(()) };
        let session = self.session(&id)?;
        let Some(Phase::Recorded { booked_in, .. }) = session.map(|session| session.phase) else {
            return Ok(());
        };
        let line = |terms: &RoamingAgreement| {
            let line = WholesaleLine::of(cdr, terms, period, booked.amount)?;
            if booked_in == period {
                line.with_true_up(terms, micros)
            } else {
                line.of_true_up_alone(terms, micros)
            }
        };
        let Some(line) = self.terms(ledger, cdr.agreement)?.and_then(line) else {
            return Ok(());
        };
        let error = self.store_error();
        self.store.put_wholesale(&line).map_err(error)
    }
}
