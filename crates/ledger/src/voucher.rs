//! Vouchers: a home utility's one-use promises to pay, reserved before power, spent by a record, or taken back.
//!
//! ```text
//!          .--Reserve (operator)--> Reserved --RecordCdrs (operator)--> Spent
//! (none) --+                           '------Refund (home utility), when no record can come any more--> Refunded
//!          |--Refund (home utility), when no reservation can come any more--> Refunded
//!          '--Block (home utility)--> Blocked
//! ```
//! There is no transaction that redeems: a record whose payer is [`eroam_domain::cdr::Payer::Voucher`] does, so that a
//! voucher is spent exactly when its session is booked. The checks of that are among those of `RecordCdrs`
//! ([`crate::cdr`]). Spent, refunded and blocked vouchers stay for ever: that they do is what makes them one-use. A
//! state is under the home utility's id and the nullifier, so that nobody fills another's. Who holds a voucher is not
//! on the ledger, nor the voucher itself: what a reservation shows of it is in its block.
//!
//! Checks, in order.
//! - `PublishKey`: the sender is a home utility (`WrongRole`); the key is usable, its validity ends after it begins and
//!   lasts at most [`KEY_VALIDITY_MAX`] (`BadVoucherKey`); the sender has not published it before (`KeyReused`); there
//!   are fewer than [`KEYS_MAX`] (`LimitReached`).
//! - `RevokeKey`: the sender is a home utility (`WrongRole`); it has published the key (`UnknownVoucherKey`) and not
//!   revoked it (`VoucherKeyRevoked`).
//! - `Reserve`: `BatchSize`, `WrongRole`; then per item:
//!   1. as for `ReserveCredit` ([`crate::settlement`]) with the acceptance's session, limit and time, up to the expiry
//!      within the longest session;
//!   2. at most the agreement's record window ago (`TooLate`), so that a station that was offline is not too late;
//!   3. the voucher: of this network (`ForeignVoucher`), of the agreement's home utility (`WrongVoucherIssuer`), in the
//!      agreement's currency (`WrongCurrency`), a cap above zero (`NotPositive`), a validity that ends after it begins
//!      and lasts at most [`VALIDITY_MAX`] (`BadVoucherValidity`);
//!   4. its key: published (`UnknownVoucherKey`); not revoked (`VoucherKeyRevoked`), unless the voucher was reserved before
//!      that by the very same acceptance under the same agreement (`DuplicateReservation`); valid as long as the voucher
//!      (`VoucherKeyNotValid`);
//!   5. what was agreed to: with the sender (`WrongOperator`), within the voucher's validity (`VoucherNotValid`), a limit
//!      within the cap (`VoucherLimit`);
//!   6. signatures: the home utility's (`ForgedVoucher`), the one-time key's (`ForgedAcceptance`);
//!   7. a record comes before the year 10000 (`Overflow`); the voucher is unused: reserved by the very same acceptance
//!      under the same agreement (`DuplicateReservation`), anything else (`VoucherSpent`);
//!   8. credit: none is reserved for the session in another way (`SessionReserved`), and there is enough
//!      (`CreditExhausted`).
//! - `Refund`: `BatchSize`, `WrongRole`; then per item: the sender's own voucher (`WrongVoucherIssuer`), key
//!   (`UnknownVoucherKey`) and signature (`ForgedVoucher`); it was not recorded (`VoucherSpent`), blocked
//!   (`AlreadyBlocked`) or refunded (`AlreadyRefunded`); nothing can come of it any more (`VoucherNotRefundable`).
//! - `Block`: `BatchSize`, `WrongRole`; then per item: it is neither reserved nor recorded (`VoucherSpent`), blocked
//!   (`AlreadyBlocked`) or refunded (`AlreadyRefunded`).
//!
//! Source: paper B ("EVSEO is sure to be paid"); DESIGN.md, "Who sees what".

use crate::cdr::ACCEPTANCE_AGE_MAX;
use crate::membership::{Roles, require};
use crate::reject::{Item, Refusal, RejectCode, check_batch_size, items_of};
use crate::settlement::{self, Books, CreditReservation};
use crate::state::{Overlay, StateKey};
use crate::tx::{BATCH_MAX, PublicKey};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::{AgreementId, RoamingAgreement, WINDOW_MAX};
use eroam_domain::cdr::{AgreementRef, Cdr, CdrId};
use eroam_domain::codec::{Digest, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{
    Nullifier, SignedVoucher, SpentVoucher, VALIDITY_MAX, Voucher, VoucherAcceptance,
};
use std::collections::btree_map::{BTreeMap, Entry};

/// The greatest number of keys that a home utility publishes, those that are over included: vouchers name them by
/// number.
pub const KEYS_MAX: usize = 256;
/// The longest validity of a key: one that is lost makes promises for no longer.
pub const KEY_VALIDITY_MAX: DurationMs = DurationMs::from_millis(400 * 86_400_000);
/// So long after its validity an unused voucher can still be reserved, hence not be refunded: a reservation comes within
/// the record window of its agreement, and no agreement has a longer one than [`WINDOW_MAX`].
pub const RESERVABLE_AFTER: DurationMs = WINDOW_MAX;

/// A key that signs vouchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VoucherKey {
    /// The key.
    pub public: PublicKey,
    /// Vouchers that it signed are valid from here on at the earliest.
    pub valid_from: UnixMillis,
    /// The last instant at which one of them can be valid. Nothing but a revoked key has it before the end of its first
    /// instant: [`VoucherKey::is_revoked`].
    pub valid_until: UnixMillis,
}

impl VoucherKey {
    /// Whether its home utility has revoked it: no voucher that it signed can be reserved any more, whenever it was signed,
    /// since nobody can tell when that was.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.valid_until <= self.valid_from
    }

    /// The same, revoked: a validity that [`VoucherTx::PublishKey`] gives to no key.
    const fn revoked(self) -> Self {
        Self { valid_until: self.valid_from, ..self }
    }
}

/// A voucher that somebody spends, and credit for the session.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct VoucherReservation {
    /// The agreement, in the version that was in force when the quote was accepted.
    pub agreement: AgreementRef,
    /// The voucher, and what its holder agreed to.
    pub spent: SpentVoucher,
    /// The credit is released on the first UTC midnight from here on, if no record released it before. The voucher is
    /// not.
    pub expires_at: UnixMillis,
}

/// Transactions about vouchers.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum VoucherTx {
    /// A home utility publishes the next key that it signs vouchers with.
    PublishKey {
        /// The key.
        public: PublicKey,
        /// Vouchers that it signs are valid from here on at the earliest.
        valid_from: UnixMillis,
        /// The last instant at which one of them can be valid.
        valid_until: UnixMillis,
    },
    /// An operator reserves vouchers, and credit with them, each with an outcome of its own.
    Reserve(Vec<VoucherReservation>),
    /// A home utility takes vouchers back, each with an outcome of its own.
    Refund(Vec<SignedVoucher>),
    /// A home utility blocks vouchers, each with an outcome of its own: after loss or theft, or because its own station
    /// took them.
    Block(Vec<Nullifier>),
    /// A home utility revokes a key that it signs vouchers with. What was reserved before stays reserved, and is paid.
    RevokeKey {
        /// Its number: how many the home utility had published before it.
        key: u32,
    },
}

/// What became of a voucher.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum VoucherState {
    /// For one session.
    Reserved {
        /// The agreement.
        agreement: AgreementId,
        /// The session: [`eroam_domain::cdr::session_digest`].
        session: Digest,
        /// What was agreed to and signed: [`acceptance_digest`].
        acceptance: Digest,
        /// The most that the session may cost, in millionths of the agreement's currency.
        limit: i64,
        /// After this time no record can come, since it would be too late under the agreement.
        final_after: UnixMillis,
    },
    /// A record was booked.
    Spent {
        /// Who recorded it.
        operator: PartyId,
        /// Its id.
        cdr: CdrId,
        /// What was booked, in millionths of the agreement's currency. Adjustments are the record's.
        amount: i64,
    },
    /// Its home utility took it back, unspent.
    Refunded,
    /// Its home utility blocked it, unspent.
    Blocked,
}

/// What stands for a signed acceptance while a voucher is reserved. A record leads to it: its session, quote, time of
/// acceptance and signature, with the operator that recorded it and the limit that was reserved.
#[must_use]
pub fn acceptance_digest(acceptance: &VoucherAcceptance, signature: &SignatureBytes) -> Digest {
    Digest::of_value("eroam/voucher-accepted/1", &(acceptance, signature))
}

impl VoucherReservation {
    /// The credit that is set aside.
    #[must_use]
    pub const fn credit(&self) -> CreditReservation {
        let VoucherAcceptance { session, limit, accepted_at, .. } = self.spent.acceptance;
        CreditReservation {
            agreement: self.agreement,
            session,
            amount: limit,
            reserved_at: accepted_at,
            expires_at: self.expires_at,
        }
    }
}

/// The key of a number.
fn key_of(number: u32, keys: &[VoucherKey]) -> Result<&VoucherKey, RejectCode> {
    let index = usize::try_from(number).map_err(|_| RejectCode::UnknownVoucherKey)?;
    keys.get(index).ok_or(RejectCode::UnknownVoucherKey)
}

fn check_signature(signed: &SignedVoucher, key: &VoucherKey) -> Result<(), RejectCode> {
    let message = signed.voucher.digest();
    if key.public.verifies(&message.0, &signed.signature.0) { Ok(()) } else { Err(RejectCode::ForgedVoucher) }
}

/// Whether a voucher was spent as it may be, checks 3 to 6 of a reservation: also for an operator that does not want to
/// be refused. `keys` are those that the voucher's home utility has published, `terms` the agreement with it.
///
/// # Errors
/// The first check that fails.
pub fn check_spent(
    spent: &SpentVoucher,
    network: Digest,
    operator: PartyId,
    terms: &RoamingAgreement,
    keys: &[VoucherKey],
) -> Result<(), RejectCode> {
    let SpentVoucher { voucher: signed, acceptance, signature } = spent;
    let voucher = &signed.voucher;
    if voucher.network != network {
        return Err(RejectCode::ForeignVoucher);
    }
    if voucher.emsp != terms.emsp {
        return Err(RejectCode::WrongVoucherIssuer);
    }
    if voucher.cap.currency != terms.currency {
        return Err(RejectCode::WrongCurrency);
    }
    if voucher.cap.micros <= 0 {
        return Err(RejectCode::NotPositive);
    }
    if !is_validity(voucher.valid_from, voucher.valid_until, VALIDITY_MAX) {
        return Err(RejectCode::BadVoucherValidity);
    }
    let key = key_of(voucher.key, keys)?;
    if key.is_revoked() {
        return Err(RejectCode::VoucherKeyRevoked);
    }
    if voucher.valid_from < key.valid_from || voucher.valid_until > key.valid_until {
        return Err(RejectCode::VoucherKeyNotValid);
    }
    if acceptance.operator != operator {
        return Err(RejectCode::WrongOperator);
    }
    if !voucher.is_valid_at(acceptance.accepted_at) {
        return Err(RejectCode::VoucherNotValid);
    }
    if acceptance.limit > voucher.cap.micros {
        return Err(RejectCode::VoucherLimit);
    }
    check_signature(signed, key)?;
    let holder = PublicKey(voucher.holder.0);
    if holder.verifies(&acceptance.digest().0, &signature.0) {
        Ok(())
    } else {
        Err(RejectCode::ForgedAcceptance)
    }
}

/// Whether it ends after it begins, and lasts no longer than `longest`.
fn is_validity(from: UnixMillis, until: UnixMillis, longest: DurationMs) -> bool {
    until.since(from).is_some_and(|lasts| !lasts.is_zero() && lasts <= longest)
}

/// What the transaction reads and writes, as far as it says: for a reservation not the accounts of what is unpaid.
pub(crate) fn reads(keys: &mut Vec<StateKey>, sender: PartyId, tx: &VoucherTx) {
    match tx {
        VoucherTx::PublishKey { .. } | VoucherTx::RevokeKey { .. } => {
            keys.push(StateKey::VoucherKeys(sender));
        }
        // Refused before an item is looked at.
        VoucherTx::Reserve(items) if items.len() > BATCH_MAX => {}
        VoucherTx::Refund(items) if items.len() > BATCH_MAX => {}
        VoucherTx::Block(items) if items.len() > BATCH_MAX => {}
        VoucherTx::Reserve(items) => {
            keys.reserve(items.len().saturating_mul(3).saturating_add(16));
            let mut last: Option<&VoucherReservation> = None;
            for item in items {
                let Voucher { emsp, .. } = item.spent.voucher.voucher;
                let session = item.spent.acceptance.session;
                settlement::reservation_reads(keys, item.agreement, session, last.map(|l| l.agreement));
                if last.is_none_or(|last| last.spent.voucher.voucher.emsp != emsp) {
                    keys.push(StateKey::VoucherKeys(emsp));
                }
                keys.push(StateKey::Voucher(emsp, item.spent.voucher.voucher.nullifier()));
                last = Some(item);
            }
        }
        VoucherTx::Refund(items) => {
            keys.push(StateKey::VoucherKeys(sender));
            keys.extend(items.iter().map(|item| StateKey::Voucher(sender, item.voucher.nullifier())));
        }
        VoucherTx::Block(items) => {
            keys.extend(items.iter().map(|nullifier| StateKey::Voucher(sender, *nullifier)));
        }
    }
}

/// `PublishKey`.
pub(crate) fn publish_key(state: &mut Overlay<'_>, sender: PartyId, key: VoucherKey) -> Result<(), Refusal> {
    require(state, sender, Roles::EMSP, RejectCode::WrongRole)?;
    let VoucherKey { public, valid_from, valid_until } = key;
    if !public.is_usable() || !is_validity(valid_from, valid_until, KEY_VALIDITY_MAX) {
        return Err(RejectCode::BadVoucherKey.into());
    }
    let mut keys = voucher_keys(state, sender)?;
    if keys.iter().any(|known| known.public == public) {
        return Err(RejectCode::KeyReused.into());
    }
    if keys.len() >= KEYS_MAX {
        return Err(RejectCode::LimitReached.into());
    }
    keys.push(key);
    state.write(&StateKey::VoucherKeys(sender), &keys);
    Ok(())
}

/// `RevokeKey`.
pub(crate) fn revoke_key(state: &mut Overlay<'_>, sender: PartyId, key: u32) -> Result<(), Refusal> {
    require(state, sender, Roles::EMSP, RejectCode::WrongRole)?;
    let mut keys = voucher_keys(state, sender)?;
    let known = usize::try_from(key).ok().and_then(|index| keys.get_mut(index));
    let known = known.ok_or(RejectCode::UnknownVoucherKey)?;
    if known.is_revoked() {
        return Err(RejectCode::VoucherKeyRevoked.into());
    }
    *known = known.revoked();
    state.write(&StateKey::VoucherKeys(sender), &keys);
    Ok(())
}

fn voucher_keys(state: &Overlay<'_>, emsp: PartyId) -> Result<Vec<VoucherKey>, Refusal> {
    Ok(state.read(&StateKey::VoucherKeys(emsp))?.unwrap_or_default())
}

/// `Reserve`: an outcome for each voucher.
pub(crate) fn reserve_batch(
    state: &mut Overlay<'_>,
    network: Digest,
    now: UnixMillis,
    sender: PartyId,
    reservations: &[VoucherReservation],
) -> Result<Vec<Item>, Refusal> {
    check_batch_size(reservations.len())?;
    require(state, sender, Roles::CPO, RejectCode::WrongRole)?;
    let mut books = Books::default();
    // A batch reads them over and over.
    let mut keys: BTreeMap<PartyId, Vec<VoucherKey>> = BTreeMap::new();
    let items = items_of("eroam/voucher-reservation/1", reservations, |item| {
        reserve(state, &mut books, &mut keys, network, now, sender, item)
    })?;
    books.flush(state)?;
    Ok(items)
}

fn reserve(
    state: &mut Overlay<'_>,
    books: &mut Books,
    keys: &mut BTreeMap<PartyId, Vec<VoucherKey>>,
    network: Digest,
    now: UnixMillis,
    sender: PartyId,
    item: &VoucherReservation,
) -> Result<(), Refusal> {
    let credit = item.credit();
    let terms = settlement::reservable_under(state, now, sender, &credit)?;
    let SpentVoucher { voucher: SignedVoucher { voucher, .. }, acceptance, signature } = &item.spent;
    let age = now.since(acceptance.accepted_at).ok_or(RejectCode::FromTheFuture)?;
    if age > terms.record_window {
        return Err(RejectCode::TooLate.into());
    }
    let keys = match keys.entry(voucher.emsp) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(voucher_keys(state, voucher.emsp)?),
    };
    let checked = check_spent(&item.spent, network, sender, &terms, keys);
    let final_after = [ACCEPTANCE_AGE_MAX, terms.limits.duration_max, terms.record_window]
        .into_iter()
        .try_fold(acceptance.accepted_at, UnixMillis::checked_add);
    let reserved = final_after.map(|final_after| VoucherState::Reserved {
        agreement: item.agreement.id,
        session: acceptance.session,
        acceptance: acceptance_digest(acceptance, signature),
        limit: acceptance.limit,
        final_after,
    });
    let key = StateKey::Voucher(voucher.emsp, voucher.nullifier());
    let known: Option<VoucherState> = state.read(&key)?;
    let is_known = known.is_some() && known == reserved;
    match checked {
        // From before its key was revoked: it stands.
        Err(RejectCode::VoucherKeyRevoked) if is_known => {
            return Err(RejectCode::DuplicateReservation.into());
        }
        checked => checked?,
    }
    let reserved = reserved.ok_or(RejectCode::Overflow)?;
    if known.is_some() {
        let code = if is_known { RejectCode::DuplicateReservation } else { RejectCode::VoucherSpent };
        return Err(code.into());
    }
    settlement::set_aside(state, books, &credit, &terms, RejectCode::SessionReserved)?;
    state.write(&key, &reserved);
    Ok(())
}

/// The limit of the voucher that pays for a record of `sender` under an agreement of `emsp`: reserved for this session
/// under this agreement (`UnknownVoucher`), by the acceptance that the record carries (`AcceptanceDiffers`). In
/// millionths.
pub(crate) fn reserved_limit(
    state: &Overlay<'_>,
    sender: PartyId,
    emsp: PartyId,
    nullifier: Nullifier,
    cdr: &Cdr,
) -> Result<i64, Refusal> {
    let known: Option<VoucherState> = state.read(&StateKey::Voucher(emsp, nullifier))?;
    let Some(VoucherState::Reserved { agreement, session, acceptance, limit, .. }) = known else {
        return Err(RejectCode::UnknownVoucher.into());
    };
    if (agreement, session) != (cdr.agreement.id, cdr.session) {
        return Err(RejectCode::UnknownVoucher.into());
    }
    let accepted = VoucherAcceptance {
        session,
        operator: sender,
        quote: cdr.quote,
        limit,
        accepted_at: cdr.accepted_at,
    };
    if acceptance_digest(&accepted, &cdr.acceptance) != acceptance {
        return Err(RejectCode::AcceptanceDiffers.into());
    }
    Ok(limit)
}

/// Remembers that the voucher paid for a record.
pub(crate) fn spend(
    state: &mut Overlay<'_>,
    emsp: PartyId,
    nullifier: Nullifier,
    operator: PartyId,
    cdr: &CdrId,
    amount: i64,
) {
    let spent = VoucherState::Spent { operator, cdr: cdr.clone(), amount };
    state.write(&StateKey::Voucher(emsp, nullifier), &spent);
}

/// `Refund`: an outcome for each voucher. Its network is not looked at: what was reserved under an earlier network, whose
/// state was imported, must come to an end too.
pub(crate) fn refund_batch(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    vouchers: &[SignedVoucher],
) -> Result<Vec<Item>, Refusal> {
    check_batch_size(vouchers.len())?;
    require(state, sender, Roles::EMSP, RejectCode::WrongRole)?;
    let keys = voucher_keys(state, sender)?;
    items_of("eroam/voucher-refund/1", vouchers, |signed| {
        let voucher = &signed.voucher;
        if voucher.emsp != sender {
            return Err(RejectCode::WrongVoucherIssuer.into());
        }
        check_signature(signed, key_of(voucher.key, &keys)?)?;
        let key = StateKey::Voucher(sender, voucher.nullifier());
        let last = match state.read::<VoucherState>(&key)? {
            None => voucher.valid_until.checked_add(RESERVABLE_AFTER),
            Some(VoucherState::Reserved { final_after, .. }) => Some(final_after),
            Some(ended) => return Err(why_ended(&ended).into()),
        };
        if last.is_none_or(|last| now <= last) {
            return Err(RejectCode::VoucherNotRefundable.into());
        }
        state.write(&key, &VoucherState::Refunded);
        Ok(())
    })
}

/// `Block`: an outcome for each voucher.
pub(crate) fn block_batch(
    state: &mut Overlay<'_>,
    sender: PartyId,
    nullifiers: &[Nullifier],
) -> Result<Vec<Item>, Refusal> {
    check_batch_size(nullifiers.len())?;
    require(state, sender, Roles::EMSP, RejectCode::WrongRole)?;
    items_of("eroam/voucher-block/1", nullifiers, |nullifier| {
        let key = StateKey::Voucher(sender, *nullifier);
        if let Some(known) = state.read::<VoucherState>(&key)? {
            return Err(why_ended(&known).into());
        }
        state.write(&key, &VoucherState::Blocked);
        Ok(())
    })
}

/// What its home utility is told of a voucher that it cannot take back any more.
const fn why_ended(state: &VoucherState) -> RejectCode {
    match state {
        VoucherState::Reserved { .. } | VoucherState::Spent { .. } => RejectCode::VoucherSpent,
        VoucherState::Blocked => RejectCode::AlreadyBlocked,
        VoucherState::Refunded => RejectCode::AlreadyRefunded,
    }
}
