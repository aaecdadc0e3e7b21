//! What waits for the ledger, and what its answers mean.

use super::{Effect, Gateway, GatewayError, LANE, Outgoing, RECORD_BYTES_MAX};
use crate::account;
use crate::invoice::WholesaleLine;
use crate::ports::Store;
use crate::sessions::{Phase, Session, SessionEvent};
use eroam_domain::cdr::{Cdr, SessionId};
use eroam_domain::charge::{PartnerMessage, SessionReport};
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::port::Receipt;
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::StateView;
use eroam_ledger::tx::{BATCH_MAX, SignedEnvelope, Tx};
use std::collections::BTreeMap;

impl<S: Store> Gateway<S> {
    pub(super) fn queue_reservation(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
    ) -> Result<(), GatewayError> {
        let Phase::Reserving { accepted, .. } = &session.phase else { return Ok(()) };
        let Some(reference) = accepted.quote.agreement else { return Ok(()) };
        let party = self.party;
        let reservation = self
            .terms(ledger, reference)?
            .and_then(|terms| account::reservation(party, &session.id, (reference, terms), accepted));
        if let Some(reservation) = reservation {
            self.outbox.push(Outgoing::Reservation(session.id.clone(), reservation));
        }
        Ok(())
    }

    /// The outbox as signed envelopes, in batches, in the order in which it was filled. The store must be committed
    /// before they are sent: whoever has sent a record must still know it after a crash.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn envelopes(
        &mut self,
        ledger: &dyn StateView,
        network: Digest,
        now: UnixMillis,
    ) -> Result<Vec<SignedEnvelope>, GatewayError> {
        if self.outbox.is_empty() {
            return Ok(Vec::new());
        }
        let mut sequence = query::next_sequence(ledger, self.party, LANE)?;
        let (mut reservations, mut records) = (Vec::new(), Vec::new());
        for outgoing in std::mem::take(&mut self.outbox) {
            match outgoing {
                Outgoing::Reservation(id, reservation) => reservations.push((id, reservation)),
                Outgoing::Record(id, cdr) => records.push((id, *cdr)),
            }
        }
        let mut batches: Vec<(Vec<SessionId>, Tx)> = Vec::new();
        for batch in reservations.chunks(BATCH_MAX) {
            let (ids, items) = batch.iter().cloned().unzip();
            batches.push((ids, Tx::Settlement(SettlementTx::ReserveCredit(items))));
        }
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let (mut ids, mut items, mut bytes) = (Vec::new(), Vec::new(), 0usize);
            while ids.len() < BATCH_MAX
                && let Some((id, cdr)) = records.next_if(|(_, cdr)| {
                    bytes = bytes.saturating_add(to_bytes(cdr).len());
                    items.is_empty() || bytes <= RECORD_BYTES_MAX
                })
            {
                ids.push(id);
                items.push(cdr);
            }
            batches.push((ids, Tx::Cdr(CdrTx::RecordCdrs(items))));
        }
        let mut envelopes = Vec::with_capacity(batches.len());
        for (ids, tx) in batches {
            let envelope = self.sign(network, LANE, sequence, now, tx);
            sequence = sequence.saturating_add(1);
            self.in_flight.push((envelope.digest(), ids));
            envelopes.push(envelope);
        }
        Ok(envelopes)
    }

    /// What became of an envelope that [`Gateway::envelopes`] made.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn receipt(
        &mut self,
        ledger: &dyn StateView,
        envelope: &SignedEnvelope,
        receipt: &Receipt,
    ) -> Result<Vec<Effect>, GatewayError> {
        let place = self.in_flight.iter().position(|(digest, _)| *digest == receipt.envelope);
        let Some(place) = place else { return Err(GatewayError::ForeignReceipt) };
        let (_, ids) = self.in_flight.remove(place);
        let is_record = matches!(envelope.envelope().tx, Tx::Cdr(_));
        let mut effects = Vec::new();
        // A batch that was refused whole has one item, which is every session's answer.
        let refused = match receipt.items.as_slice() {
            [item] if ids.len() != 1 => Some(item.outcome),
            _ => None,
        };
        for (place, id) in ids.iter().enumerate() {
            let outcome = refused.or_else(|| receipt.items.get(place).map(|i| i.outcome));
            let Some(outcome) = outcome else { return Err(GatewayError::ForeignReceipt) };
            let session = self.known(id)?;
            let event = if is_record {
                self.record_event(ledger, &session, outcome)?
            } else {
                match outcome {
                    ItemOutcome::Accepted { .. } => SessionEvent::CreditReserved,
                    // Asked before the last crash: it is reserved.
                    ItemOutcome::Rejected(RejectCode::DuplicateReservation) => SessionEvent::CreditReserved,
                    ItemOutcome::Rejected(code) => SessionEvent::CreditRefused(code),
                }
            };
            self.advance(ledger, session, event, &mut effects)?;
        }
        Ok(merge_reports(effects))
    }

    /// What a record's outcome means for its session; a booked record goes on the partner's invoice.
    pub(super) fn record_event(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        outcome: ItemOutcome,
    ) -> Result<SessionEvent, GatewayError> {
        let Phase::Recording { cdr, .. } = &session.phase else {
            return Ok(SessionEvent::Tick(session.requested_at));
        };
        let booked_in = match outcome {
            ItemOutcome::Accepted { booked_in: Some(period) } => period,
            // Sent before the last crash: where it was booked stands on the ledger.
            ItemOutcome::Rejected(RejectCode::DuplicateRecord) => {
                match query::cdr(ledger, self.party, &cdr.id)? {
                    Some(booked) => booked.period,
                    None => return Ok(SessionEvent::RecordRefused(RejectCode::DuplicateRecord)),
                }
            }
            ItemOutcome::Accepted { booked_in: None } => {
                return Ok(SessionEvent::RecordRefused(RejectCode::UnknownRecord));
            }
            // Nobody has looked at the record itself: it stays pending, and `resume` sends it again.
            ItemOutcome::Rejected(code) if is_passing(code) => {
                return Ok(SessionEvent::Tick(session.requested_at));
            }
            ItemOutcome::Rejected(code) => return Ok(SessionEvent::RecordRefused(code)),
        };
        self.keep_wholesale(ledger, session, &cdr.clone(), booked_in)?;
        Ok(SessionEvent::RecordAccepted(booked_in))
    }

    pub(super) fn keep_wholesale(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        cdr: &Cdr,
        period: SettlementPeriod,
    ) -> Result<(), GatewayError> {
        let Some(due) = self.terms(ledger, cdr.agreement)?.map(|terms| terms.due(cdr.price)) else {
            return Ok(());
        };
        let Some(home) = session.home else { return Ok(()) };
        let error = self.store_error();
        self.store.put_wholesale(&WholesaleLine::of(cdr, home, period, due)).map_err(error)
    }
}

/// Whether a refusal says nothing about the record: its envelope did not count, or it came too early.
fn is_passing(code: RejectCode) -> bool {
    code.leaves_sequence() || matches!(code, RejectCode::Expired | RejectCode::FromTheFuture)
}

/// Reports to the same partner travel in one message.
fn merge_reports(effects: Vec<Effect>) -> Vec<Effect> {
    let mut merged: Vec<Effect> = Vec::with_capacity(effects.len());
    let mut reports: BTreeMap<PartyId, Vec<SessionReport>> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Send { to, message: PartnerMessage::Reports(mut more) } => {
                reports.entry(to).or_default().append(&mut more);
            }
            other => merged.push(other),
        }
    }
    merged.extend(
        reports
            .into_iter()
            .map(|(to, reports)| Effect::Send { to, message: PartnerMessage::Reports(reports) }),
    );
    merged
}
