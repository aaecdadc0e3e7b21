//! What waits for the ledger, and what its answers mean.

use super::{Effect, Gateway, GatewayError, InFlight, LANE, Outgoing, RECORD_BYTES_MAX};
use crate::account;
use crate::anomalies::RecordName;
use crate::invoice::WholesaleLine;
use crate::ports::Store;
use crate::sessions::{Phase, Session, SessionEvent};
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::Cdr;
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
use eroam_ledger::voucher::{VoucherReservation, VoucherTx};
use std::collections::BTreeMap;

impl<S: Store> Gateway<S> {
    pub(super) fn queue_reservation(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
    ) -> Result<(), GatewayError> {
        let Phase::Reserving { accepted, .. } = &session.phase else { return Ok(()) };
        let id = || session.id.clone();
        let Some(reference) = accepted.quote.agreement else {
            if let Some(spent) = accepted.voucher() {
                self.note_taken(&session.id, spent)?;
                self.outbox.push(Outgoing::OwnVoucher(id(), spent.voucher.voucher.nullifier()));
            }
            return Ok(());
        };
        if self.late.is_waiting(&session.id)
            && !self.late.has_a_chance(&session.id, &query::exposure(ledger, reference.id)?)
        {
            return Ok(());
        }
        let party = self.party;
        let Some(terms) = self.terms(ledger, reference)? else { return Ok(()) };
        let outgoing = match accepted.voucher() {
            None => account::reservation(party, &session.id, (reference, terms), accepted)
                .map(|reservation| Outgoing::Reservation(id(), reservation)),
            Some(spent) => accepted.at.checked_add(terms.limits.duration_max).map(|expires_at| {
                let reservation = VoucherReservation { agreement: reference, spent: *spent, expires_at };
                Outgoing::VoucherReservation(id(), Box::new(reservation))
            }),
        };
        self.outbox.extend(outgoing);
        Ok(())
    }

    /// The outbox as signed envelopes, in batches, each kind in the order in which it was filled: what stops a lost
    /// voucher and what power waits for comes first. The store must be committed before they are sent: whoever has sent
    /// a record must still know it after a crash.
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
        let waiting = std::mem::take(&mut self.outbox);
        let mut envelopes = Vec::new();
        for (about, tx) in batches(waiting) {
            let envelope = self.sign(network, LANE, sequence, now, tx);
            sequence = sequence.saturating_add(1);
            self.in_flight.push((envelope.digest(), about));
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
        let (_, about) = self.in_flight.remove(place);
        let count = match &about {
            InFlight::Sessions(ids) => ids.len(),
            InFlight::Vouchers(nullifiers) => nullifiers.len(),
            InFlight::Contest(_) => 1,
            InFlight::TrueUps(names) => names.len(),
        };
        // A batch that was refused whole has one item, which is everybody's answer.
        let refused = match receipt.items.as_slice() {
            [item] if count != 1 => Some(item.outcome),
            _ => None,
        };
        let outcome = |place: usize| refused.or_else(|| receipt.items.get(place).map(|item| item.outcome));
        let mut effects = Vec::new();
        match about {
            InFlight::Sessions(ids) => {
                for (place, id) in ids.iter().enumerate() {
                    let outcome = outcome(place).ok_or(GatewayError::ForeignReceipt)?;
                    let session = self.known(id)?;
                    let event = match &envelope.envelope().tx {
                        Tx::Cdr(_) => self.record_event(ledger, &session, outcome)?,
                        _ => self.reservation_event(ledger, &session, outcome)?,
                    };
                    self.advance(ledger, session, event, &mut effects)?;
                }
            }
            InFlight::Vouchers(nullifiers) => {
                for (place, nullifier) in nullifiers.iter().enumerate() {
                    let outcome = outcome(place).ok_or(GatewayError::ForeignReceipt)?;
                    self.voucher_answered(nullifier, outcome)?;
                }
            }
            InFlight::TrueUps(names) => {
                for (place, name) in names.iter().enumerate() {
                    let outcome = outcome(place).ok_or(GatewayError::ForeignReceipt)?;
                    self.true_up_answered(name, outcome)?;
                }
            }
            InFlight::Contest(name) => {
                let outcome = outcome(0).ok_or(GatewayError::ForeignReceipt)?;
                self.contest_answered(ledger, &name, outcome)?;
                effects.extend(self.give_evidence(ledger, name.operator, &name.cdr)?);
            }
        }
        Ok(merge_reports(effects))
    }

    /// What the answer to a reservation means for its session.
    fn reservation_event(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        outcome: ItemOutcome,
    ) -> Result<SessionEvent, GatewayError> {
        self.late.decided(&session.id);
        let code = match outcome {
            ItemOutcome::Accepted { .. } => return Ok(SessionEvent::Reserved),
            // Asked before the last crash: it is reserved. Of a voucher the ledger says so of the very same acceptance
            // alone.
            ItemOutcome::Rejected(RejectCode::DuplicateReservation) => return Ok(SessionEvent::Reserved),
            ItemOutcome::Rejected(code) => code,
        };
        let Phase::Reserving { accepted, .. } = &session.phase else {
            return Ok(SessionEvent::NotReserved(code));
        };
        // Power was given already, by a station that was offline: the session stays pending, and `resume` asks again.
        if code == RejectCode::CreditExhausted
            && session.consumption.is_some()
            && let Some(reference) = accepted.quote.agreement
        {
            self.late.refused(&session.id, &query::exposure(ledger, reference.id)?);
            return Ok(SessionEvent::Tick(session.requested_at));
        }
        let Some(spent) = accepted.voucher().filter(|_| accepted.quote.agreement.is_none()) else {
            return Ok(SessionEvent::NotReserved(code));
        };
        // Nobody but this session asks to block a voucher that it has taken.
        if code == RejectCode::AlreadyBlocked {
            return Ok(SessionEvent::Reserved);
        }
        self.give_back(&spent.voucher.voucher.nullifier(), code)?;
        Ok(SessionEvent::NotReserved(code))
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
        let line = |terms: &RoamingAgreement| WholesaleLine::of(cdr, terms, period, terms.due(cdr.price));
        let Some(line) = self.terms(ledger, cdr.agreement)?.and_then(line) else { return Ok(()) };
        if session.home().is_none() {
            return Ok(());
        }
        self.await_true_up(self.party, cdr)?;
        let error = self.store_error();
        self.store.put_wholesale(&line).map_err(error)
    }
}

/// Whether a refusal says nothing about the record: its envelope did not count, or it came too early.
pub(super) fn is_passing(code: RejectCode) -> bool {
    code.leaves_sequence() || matches!(code, RejectCode::Expired | RejectCode::FromTheFuture)
}

/// What waits, in batches that an envelope has room for.
fn batches(waiting: Vec<Outgoing>) -> Vec<(InFlight, Tx)> {
    let (mut blocks, mut refunds) = (Vec::new(), Vec::new());
    let (mut reservations, mut vouchers, mut taken) = (Vec::new(), Vec::new(), Vec::new());
    let (mut records, mut contests, mut true_ups) = (Vec::new(), Vec::new(), Vec::new());
    for outgoing in waiting {
        match outgoing {
            Outgoing::Reservation(id, reservation) => reservations.push((id, reservation)),
            Outgoing::VoucherReservation(id, reservation) => vouchers.push((id, *reservation)),
            Outgoing::OwnVoucher(id, nullifier) => taken.push((id, nullifier)),
            Outgoing::Record(id, cdr) => records.push((id, *cdr)),
            Outgoing::Block(nullifier) => blocks.push((nullifier, nullifier)),
            Outgoing::Contest(name, evidence) => contests.push((name, evidence)),
            Outgoing::TrueUp(operator, cdr) => {
                true_ups.push((RecordName { operator, cdr: cdr.id.clone() }, *cdr));
            }
            Outgoing::Refund(signed) => refunds.push((signed.voucher.nullifier(), *signed)),
        }
    }
    let mut out = Vec::new();
    let block = |items| Tx::Voucher(VoucherTx::Block(items));
    chunk(&mut out, &blocks, InFlight::Vouchers, block);
    chunk(&mut out, &reservations, InFlight::Sessions, |items| {
        Tx::Settlement(SettlementTx::ReserveCredit(items))
    });
    chunk(&mut out, &vouchers, InFlight::Sessions, |items| Tx::Voucher(VoucherTx::Reserve(items)));
    chunk(&mut out, &taken, InFlight::Sessions, block);
    chunk_records(&mut out, records, InFlight::Sessions, CdrTx::RecordCdrs);
    chunk_records(&mut out, true_ups, InFlight::TrueUps, CdrTx::TrueUp);
    for (name, evidence) in contests {
        let RecordName { operator, cdr } = name.clone();
        out.push((InFlight::Contest(name), Tx::Cdr(CdrTx::Contest { operator, cdr, evidence })));
    }
    chunk(&mut out, &refunds, InFlight::Vouchers, |items| Tx::Voucher(VoucherTx::Refund(items)));
    out
}

/// Cuts records, each with what it is about, into batches that an envelope has room for.
fn chunk_records<K>(
    out: &mut Vec<(InFlight, Tx)>,
    records: Vec<(K, Cdr)>,
    about: fn(Vec<K>) -> InFlight,
    tx: fn(Vec<Cdr>) -> CdrTx,
) {
    let mut records = records.into_iter().peekable();
    while records.peek().is_some() {
        let (mut keys, mut items, mut bytes) = (Vec::new(), Vec::new(), 0usize);
        while keys.len() < BATCH_MAX
            && let Some((key, cdr)) = records.next_if(|(_, cdr)| {
                bytes = bytes.saturating_add(to_bytes(cdr).len());
                items.is_empty() || bytes <= RECORD_BYTES_MAX
            })
        {
            keys.push(key);
            items.push(cdr);
        }
        out.push((about(keys), Tx::Cdr(tx(items))));
    }
}

/// Cuts items, each with what it is about, into batches.
fn chunk<K: Clone, T: Clone>(
    out: &mut Vec<(InFlight, Tx)>,
    items: &[(K, T)],
    about: fn(Vec<K>) -> InFlight,
    tx: impl Fn(Vec<T>) -> Tx,
) {
    for batch in items.chunks(BATCH_MAX) {
        let (keys, items) = batch.iter().cloned().unzip();
        out.push((about(keys), tx(items)));
    }
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
