//! One envelope against the current state: checks in a fixed order, then the family's rules.
//!
//! The envelope's checks: version, network, member, key number, key not replaced, signature, lane, sequence; a
//! failure there leaves the sequence alone. Then expiry, then the transaction, then whether everything it wrote can be
//! stored (`LimitReached`, for the transaction as a whole); from expiry on the sequence is consumed whatever happens.

use crate::membership::{self, Member};
use crate::reject::{Item, ItemOutcome, Refusal, RejectCode, outcome_root};
use crate::settlement::{self, SettlementTx};
use crate::state::{AttestationKind, Overlay, StateError, StateKey, StateView, Writes};
use crate::tx::{Envelope, LANES_MAX, PublicKey, SignedEnvelope, Tx, VERSION, VerifiedEnvelope};
use crate::voucher::{self, VoucherKey, VoucherTx};
use crate::{agreement, cdr, forecast, registry, tariff, true_up};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::time::UnixMillis;

/// What a transaction may know of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The network: SHA-256 of its genesis.
    pub network: Digest,
    /// The block's place in the chain.
    pub height: u64,
    /// The block's time: it never moves back.
    pub time: UnixMillis,
}

/// What became of an envelope: an item for each part of a batch (one for any other transaction), and the changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The items, in the order of the batch.
    pub items: Vec<Item>,
    /// The changes to apply. Empty but for the sequence when everything was refused.
    pub writes: Writes,
}

impl Outcome {
    /// Whether the envelope was its member's next: it belongs into a block, whatever became of its items. If not, it
    /// [left the sequence alone](RejectCode::leaves_sequence) and there is nothing to apply.
    #[must_use]
    pub fn is_admitted(&self) -> bool {
        let refused = self.items.first().and_then(|item| item.outcome.rejection());
        refused.is_none_or(|code| !code.leaves_sequence())
    }

    /// The root that a block commits to.
    #[must_use]
    pub fn root(&self) -> Digest {
        outcome_root(&self.items)
    }
}

/// The key that an envelope says it is signed with, so that its signature can be checked ahead of execution.
///
/// # Errors
/// [`StateError`].
pub fn claimed_key(view: &dyn StateView, envelope: &Envelope) -> Result<Option<PublicKey>, StateError> {
    let member: Option<Member> = crate::state::read(view, &StateKey::Member(envelope.member))?;
    let index = usize::try_from(envelope.key).ok();
    Ok(member.and_then(|m| m.keys.get(index?).map(|k| k.public)))
}

/// Executes one envelope.
///
/// # Errors
/// [`StateError`] only: a refusal is a normal outcome.
pub fn execute(
    view: &dyn StateView,
    signed: &SignedEnvelope,
    header: &Header,
) -> Result<Outcome, StateError> {
    let Some(key) = claimed_key(view, signed.envelope())? else {
        return execute_verified(view, signed, None, header);
    };
    execute_verified(view, signed, signed.verify(&key).as_ref(), header)
}

/// As [`execute`], with the signature checked before (`None`: it was wrong, or there was no key to check it with).
///
/// # Errors
/// [`StateError`] only.
pub fn execute_verified(
    view: &dyn StateView,
    signed: &SignedEnvelope,
    verified: Option<&VerifiedEnvelope<'_>>,
    header: &Header,
) -> Result<Outcome, StateError> {
    let envelope = signed.envelope();
    let mut state = Overlay::new(view);
    let whole = |code| Item { hash: signed.digest(), outcome: ItemOutcome::Rejected(code) };
    let sequence = match admit(&state, envelope, verified, header) {
        Ok(sequence) => sequence,
        Err(Refusal::State(error)) => return Err(error),
        Err(Refusal::Reject(code)) => return Ok(Outcome { items: vec![whole(code)], writes: Writes::new() }),
    };
    let result = if header.time >= envelope.expires_at {
        Err(RejectCode::Expired.into())
    } else {
        apply(&mut state, header, envelope.member, &envelope.tx, signed).and_then(|items| {
            if state.is_storable() { Ok(items) } else { Err(RejectCode::LimitReached.into()) }
        })
    };
    let items = match result {
        Ok(items) => items,
        Err(Refusal::State(error)) => return Err(error),
        Err(Refusal::Reject(code)) => {
            // Whatever the transaction had changed by then is dropped.
            state = Overlay::new(view);
            vec![whole(code)]
        }
    };
    state.write(&StateKey::Lane(envelope.member, envelope.lane), &sequence);
    Ok(Outcome { items, writes: state.into_writes() })
}

/// Whether the envelope is its member's next; gives the sequence after it.
fn admit(
    state: &Overlay<'_>,
    envelope: &Envelope,
    verified: Option<&VerifiedEnvelope<'_>>,
    header: &Header,
) -> Result<u64, Refusal> {
    if envelope.version != VERSION {
        return Err(RejectCode::WrongVersion.into());
    }
    if envelope.network != header.network {
        return Err(RejectCode::WrongNetwork.into());
    }
    let member = membership::member(state, envelope.member)?.ok_or(RejectCode::UnknownMember)?;
    let index = usize::try_from(envelope.key).map_err(|_| RejectCode::UnknownKey)?;
    let key = member.keys.get(index).ok_or(RejectCode::UnknownKey)?;
    if key.replaced {
        return Err(RejectCode::RotatedKey.into());
    }
    // Almost always the very same envelope, which need not be compared by its contents.
    let is_of = |v: &VerifiedEnvelope<'_>| std::ptr::eq(v.envelope(), envelope) || v.envelope() == envelope;
    if verified.is_none_or(|v| v.key() != key.public || !is_of(v)) {
        return Err(RejectCode::BadSignature.into());
    }
    if envelope.lane >= LANES_MAX {
        return Err(RejectCode::UnknownLane.into());
    }
    let next = state.read::<u64>(&StateKey::Lane(envelope.member, envelope.lane))?.unwrap_or(0);
    if envelope.sequence < next {
        return Err(RejectCode::SequenceUsed.into());
    }
    if envelope.sequence > next {
        return Err(RejectCode::SequenceGap.into());
    }
    next.checked_add(1).ok_or_else(|| RejectCode::Overflow.into())
}

fn apply(
    state: &mut Overlay<'_>,
    header: &Header,
    sender: PartyId,
    tx: &Tx,
    signed: &SignedEnvelope,
) -> Result<Vec<Item>, Refusal> {
    let now = header.time;
    match tx {
        Tx::Membership(tx) => membership::apply(state, header.network, sender, tx)?,
        Tx::Agreement(tx) => agreement::apply(state, now, sender, tx)?,
        Tx::Tariff(tx) => tariff::apply(state, now, sender, tx)?,
        Tx::Cdr(cdr::CdrTx::RecordCdrs(cdrs)) => return cdr::record_batch(state, now, sender, cdrs),
        Tx::Cdr(cdr::CdrTx::Contest { operator, cdr, evidence }) => {
            cdr::contest(state, now, sender, *operator, cdr, *evidence)?;
        }
        Tx::Cdr(cdr::CdrTx::Resolve { operator, cdr, give_back }) => {
            cdr::resolve(state, now, sender, *operator, cdr, *give_back)?;
        }
        Tx::Cdr(cdr::CdrTx::Credit { cdr, amount }) => cdr::credit(state, sender, cdr, *amount)?,
        Tx::Cdr(cdr::CdrTx::TrueUp(cdrs)) => return true_up::true_up_batch(state, now, sender, cdrs),
        Tx::Settlement(SettlementTx::ReserveCredit(items)) => {
            return settlement::reserve_batch(state, now, sender, items);
        }
        Tx::Settlement(SettlementTx::ClosePeriod { period, currency }) => {
            settlement::close_period(state, now, *period, *currency)?;
        }
        Tx::Settlement(SettlementTx::AttestDeposit { party, amount, reference }) => {
            settlement::attest(state, sender, AttestationKind::Deposit, *party, *amount, reference)?;
        }
        Tx::Settlement(SettlementTx::AttestPayout { party, amount, reference }) => {
            settlement::attest(state, sender, AttestationKind::Payout, *party, *amount, reference)?;
        }
        Tx::Registry(tx) => registry::apply(state, header.network, now, sender, tx)?,
        Tx::Voucher(VoucherTx::PublishKey { public, valid_from, valid_until }) => {
            let (public, valid_from, valid_until) = (*public, *valid_from, *valid_until);
            voucher::publish_key(state, sender, VoucherKey { public, valid_from, valid_until })?;
        }
        Tx::Voucher(VoucherTx::RevokeKey { key }) => voucher::revoke_key(state, sender, *key)?,
        Tx::Voucher(VoucherTx::Reserve(items)) => {
            return voucher::reserve_batch(state, header.network, now, sender, items);
        }
        Tx::Voucher(VoucherTx::Refund(items)) => return voucher::refund_batch(state, now, sender, items),
        Tx::Voucher(VoucherTx::Block(items)) => return voucher::block_batch(state, sender, items),
        Tx::Forecast(tx) => forecast::apply(state, now, sender, tx)?,
    }
    Ok(vec![Item { hash: signed.digest(), outcome: ItemOutcome::ACCEPTED }])
}
