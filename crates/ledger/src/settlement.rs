//! Money: double entry, credit reservations, netting, deposits and payouts.
//!
//! Every posting moves an amount from one account to another, so the balances of a currency always add up to zero.
//! Money enters only by deposits that k of n treasurers attest.
//!
//! ```text
//! record:   Payable(debtor) -> Receivable(creditor)                     per open period
//! true-up:  the same, or back                                           per creditor of the record
//! close:    Receivable -> Net(creditor), Net(debtor) -> Payable          multilateral, per currency
//! pay:      Cash(debtor) -> Net(debtor), Net(creditor) -> Cash(creditor) as far as the cash reaches
//! deposit:  Treasury -> Cash        payout: Cash -> Treasury
//! ```
//! Checks, in order. `ReserveCredit`: `BatchSize`, `WrongRole`; then per item: positive (`NotPositive`), expiry after
//! its beginning (`ReservationExpiry`), not in the future (`FromTheFuture`), agreement as for a record
//! (`UnknownAgreement`, `NotASide`, `AgreementNotAccepted`, `WrongAgreementVersion`), expiry within the longest session
//! (`ReservationExpiry`), the first for the session (`DuplicateReservation`), within the limit (`CreditExhausted`).
//! `AttestDeposit`, `AttestPayout`: a treasurer (`WrongRole`), positive (`NotPositive`), the party is a member
//! (`UnknownParty`), not applied yet (`AlreadyApplied`), the same contents as before (`ContradictsAttestation`), the
//! first by this treasurer (`AlreadyAttested`), and for a payout the money is there and not owed for a closed period
//! (`InsufficientFunds`). `ClosePeriod`: it ends before the year 10000 (`Overflow`), over, with its grace
//! (`PeriodNotOver`), not closed (`PeriodClosed`), not empty (`NothingBooked`).

use crate::agreement::{AgreementRecord, AgreementStatus};
use crate::cdr::CdrRecord;
use crate::genesis::Parameters;
use crate::membership::{Roles, member, require};
use crate::reject::{Item, Refusal, RejectCode, check_batch_size, items_of};
use crate::state::{Account, AttestationKind, Overlay, StateError, StateKey, StateView as _};
use crate::tx::BATCH_MAX;
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, Cdr};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money};
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// The greatest number of (debtor, creditor) pairs in a period.
pub const PAIRS_MAX: usize = 8_192;
/// The greatest number of agreements with a record in a period: with [`PAIRS_MAX`] pairs they fit into a value
/// ([`crate::state::VALUE_BYTES_MAX`]).
pub const PERIOD_AGREEMENTS_MAX: usize = 4_096;
/// How many closed periods a late booking may pass over before it finds an open one: more days than the longest
/// record, contest and resolve windows have together, so that a resolver's decision always finds its period.
pub const LATE_PERIODS_MAX: u32 = 192;
/// The most that one member owes another for one period, in millionths: a party's position over all others then fits
/// into 64 bits, so that nobody can book a period that cannot be closed.
pub const PAIR_BALANCE_MAX: i64 = i64::MAX / 512;
/// The greatest number of closed periods per currency that await payment.
pub const UNPAID_MAX: usize = 1_024;

/// Credit for one session, reserved before power.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CreditReservation {
    /// The agreement.
    pub agreement: AgreementRef,
    /// [`eroam_domain::cdr::session_digest`].
    pub session: Digest,
    /// The most that the session may cost, in millionths of the agreement's currency.
    pub amount: i64,
    /// When the quote was accepted.
    pub reserved_at: UnixMillis,
    /// Released on the first UTC midnight from here on, if no record released it before.
    pub expires_at: UnixMillis,
}

/// Transactions about money.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum SettlementTx {
    /// Reserves credit for sessions, each with an outcome of its own.
    ReserveCredit(Vec<CreditReservation>),
    /// A treasurer saw money arrive for a member.
    AttestDeposit {
        /// Whose money it is.
        party: PartyId,
        /// How much.
        amount: Money,
        /// The bank's reference; the same from every treasurer.
        reference: ShortText<64>,
    },
    /// Nets a period.
    ClosePeriod {
        /// Which one.
        period: SettlementPeriod,
        /// In which currency.
        currency: Currency,
    },
    /// A treasurer saw money leave for a member.
    AttestPayout {
        /// Whose money it was.
        party: PartyId,
        /// How much.
        amount: Money,
        /// The bank's reference.
        reference: ShortText<64>,
    },
}

/// Credit in use under an agreement.
#[derive(Clone, Debug, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct Exposure {
    /// The latest business time seen: reservations that expired before it are released.
    pub clock: i64,
    /// Reserved millionths by the UTC day after which they expire, in order.
    pub reserved: Vec<(i64, i64)>,
    /// Booked millionths by open period, in order.
    pub booked: Vec<(SettlementPeriod, i64)>,
}

impl Exposure {
    /// Releases what expired before `now`.
    fn advance(&mut self, now: UnixMillis) {
        self.clock = self.clock.max(now.get());
        let today = self.today();
        self.reserved.retain(|(day, _)| *day >= today);
    }

    /// The UTC day of the clock: what expired on an earlier one is released.
    const fn today(&self) -> i64 {
        self.clock.div_euclid(86_400_000)
    }

    /// Everything in use, in millionths; `None` on overflow.
    #[must_use]
    pub fn total(&self) -> Option<i64> {
        let reserved = self.reserved.iter().map(|(_, amount)| *amount);
        let booked = self.booked.iter().map(|(_, amount)| *amount);
        reserved.chain(booked).try_fold(0i64, i64::checked_add)
    }
}

/// Adds to the entry for `key` in a short sorted list; entries that reach zero go. `None` on overflow.
fn add_to<K: Ord + Copy>(list: &mut Vec<(K, i64)>, key: K, amount: i64) -> Option<()> {
    match list.binary_search_by_key(&key, |(k, _)| *k) {
        Ok(place) => {
            let (_, sum) = list.get_mut(place)?;
            *sum = sum.checked_add(amount)?;
            if *sum == 0 {
                list.remove(place);
            }
        }
        Err(place) if amount != 0 => list.insert(place, (key, amount)),
        Err(_) => {}
    }
    Some(())
}

/// Credit reserved for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Reservation {
    /// How much, in millionths.
    pub amount: i64,
    /// The UTC day after which it expires.
    pub day: i64,
}

/// Who owes whom in an open period, and under which agreements.
#[derive(Clone, Debug, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct PeriodPairs {
    /// (debtor, creditor).
    pub pairs: BTreeSet<(PartyId, PartyId)>,
    /// The agreements with something booked.
    pub agreements: BTreeSet<AgreementId>,
}

/// What a party is owed (positive) or owes (negative).
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct NetPosition {
    /// The party.
    pub party: PartyId,
    /// Millionths.
    pub micros: i64,
}

/// A netted period.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ClosedPeriod {
    /// The positions at the close; they add up to zero.
    pub net: Vec<NetPosition>,
    /// (debtor, creditor, millionths) as they stood before netting.
    pub gross: Vec<(PartyId, PartyId, i64)>,
}

/// A deposit or payout that treasurers attest.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Attestation {
    /// Whose.
    pub party: PartyId,
    /// How much.
    pub amount: Money,
    /// Who attested it.
    pub by: BTreeSet<PartyId>,
    /// Whether enough did.
    pub applied: bool,
}

/// The books during one transaction: balances are read once and written once, however many items touch them.
#[derive(Default)]
pub(crate) struct Books {
    accounts: BTreeMap<Account, i64>,
    exposures: BTreeMap<AgreementId, Exposure>,
    pairs: BTreeMap<(SettlementPeriod, Currency), PeriodPairs>,
    open: BTreeMap<(SettlementPeriod, Currency), bool>,
}

/// Reads into a cache of values that have a default.
fn load<'c, K: Ord + Copy, V: BorshDeserialize + Default>(
    cache: &'c mut BTreeMap<K, V>,
    key: K,
    state: &Overlay<'_>,
    state_key: StateKey,
) -> Result<&'c mut V, StateError> {
    use std::collections::btree_map::Entry;
    match cache.entry(key) {
        Entry::Occupied(entry) => Ok(entry.into_mut()),
        Entry::Vacant(entry) => Ok(entry.insert(state.read(&state_key)?.unwrap_or_default())),
    }
}

impl Books {
    fn balance(&mut self, state: &Overlay<'_>, account: Account) -> Result<i64, Refusal> {
        Ok(*load(&mut self.accounts, account, state, StateKey::Account(account))?)
    }

    /// Moves `amount` between two accounts, wholly or not at all.
    fn post(&mut self, state: &Overlay<'_>, from: Account, to: Account, amount: i64) -> Result<(), Refusal> {
        let from_balance = self.balance(state, from)?.checked_sub(amount).ok_or(RejectCode::Overflow)?;
        let to_balance = self.balance(state, to)?.checked_add(amount).ok_or(RejectCode::Overflow)?;
        self.accounts.insert(from, from_balance);
        self.accounts.insert(to, to_balance);
        Ok(())
    }

    fn exposure(&mut self, state: &Overlay<'_>, id: AgreementId) -> Result<&mut Exposure, Refusal> {
        Ok(load(&mut self.exposures, id, state, StateKey::Exposure(id))?)
    }

    /// The period itself, or the first open one after it.
    fn open_period(
        &mut self,
        state: &Overlay<'_>,
        first: SettlementPeriod,
        currency: Currency,
    ) -> Result<SettlementPeriod, Refusal> {
        let mut period = first;
        for _ in 0..=LATE_PERIODS_MAX {
            let key = (period, currency);
            let is_open = match self.open.get(&key) {
                Some(open) => *open,
                None => {
                    let open = !state.contains(&StateKey::ClosedPeriod(period, currency))?;
                    self.open.insert(key, open);
                    open
                }
            };
            if is_open {
                return Ok(period);
            }
            period = period.next();
        }
        Err(RejectCode::LimitReached.into())
    }

    /// Books a record, releases its reservation, and says in which period it was booked. Nothing is changed when it
    /// fails.
    pub(crate) fn book_record(
        &mut self,
        state: &mut Overlay<'_>,
        cdr: &Cdr,
        terms: &RoamingAgreement,
        due: i64,
    ) -> Result<SettlementPeriod, Refusal> {
        let currency = terms.currency;
        let natural = SettlementPeriod::containing(terms.period, cdr.end);
        let period = self.open_period(state, natural, currency)?;
        let mut parts = terms.shares.split(due, cdr.energy, terms.cpo).ok_or(RejectCode::Overflow)?;
        // A share of the debtor's own is money that it need not pay anybody.
        parts.retain(|(creditor, _)| *creditor != terms.emsp);
        let owed = parts
            .iter()
            .try_fold(0i64, |sum, (_, amount)| sum.checked_add(*amount))
            .ok_or(RejectCode::Overflow)?;
        let id = cdr.agreement.id;
        let reservation_key = StateKey::Reservation(id, cdr.session);
        let reservation = state.read::<Reservation>(&reservation_key)?;

        // Everything that can fail comes first, on copies.
        let mut exposure = self.exposure(state, id)?.clone();
        if let Some(Reservation { amount, day }) = reservation
            && exposure.reserved.binary_search_by_key(&day, |(d, _)| *d).is_ok()
        {
            let released = amount.checked_neg().ok_or(RejectCode::Overflow)?;
            add_to(&mut exposure.reserved, day, released).ok_or(RejectCode::Overflow)?;
        }
        exposure.advance(cdr.end);
        add_to(&mut exposure.booked, period, owed).ok_or(RejectCode::Overflow)?;
        let index =
            load(&mut self.pairs, (period, currency), state, StateKey::PeriodPairs(period, currency))?;
        let new =
            parts.iter().filter(|(creditor, _)| !index.pairs.contains(&(terms.emsp, *creditor))).count();
        let one_more = owed > 0 && !index.agreements.contains(&id);
        let full = one_more && index.agreements.len() >= PERIOD_AGREEMENTS_MAX;
        if full || index.pairs.len().saturating_add(new) > PAIRS_MAX {
            return Err(RejectCode::LimitReached.into());
        }
        let postings = self.owing(state, period, terms, &parts)?;

        let index =
            load(&mut self.pairs, (period, currency), state, StateKey::PeriodPairs(period, currency))?;
        if owed > 0 {
            // A record that nobody is owed for leaves no trace in the period: whether the trace lasted would depend on
            // who else had booked by then.
            index.pairs.extend(parts.iter().map(|(creditor, _)| (terms.emsp, *creditor)));
            index.agreements.insert(id);
        }
        self.accounts.extend(postings);
        self.exposures.insert(id, exposure);
        if reservation.is_some() {
            state.remove(&reservation_key);
        }
        Ok(period)
    }

    /// The balances after the debtor owes each creditor so much more (or less, if negative).
    fn owing(
        &mut self,
        state: &Overlay<'_>,
        period: SettlementPeriod,
        terms: &RoamingAgreement,
        parts: &[(PartyId, i64)],
    ) -> Result<BTreeMap<Account, i64>, Refusal> {
        let mut postings = BTreeMap::new();
        for (creditor, amount) in parts {
            let payable = Account::Payable(period, terms.emsp, *creditor, terms.currency);
            let receivable = Account::Receivable(period, *creditor, terms.emsp, terms.currency);
            let owed = self.balance(state, payable)?.checked_sub(*amount).ok_or(RejectCode::Overflow)?;
            let due = self.balance(state, receivable)?.checked_add(*amount).ok_or(RejectCode::Overflow)?;
            check_pair_balance(due)?;
            postings.extend([(payable, owed), (receivable, due)]);
        }
        Ok(postings)
    }

    /// Books a true-up of so much, and says in which period: those who share in the price share in the difference as they
    /// would have shared the other price. Nothing is changed when it fails.
    pub(crate) fn true_up(
        &mut self,
        state: &Overlay<'_>,
        record: &CdrRecord,
        cdr: &Cdr,
        terms: &RoamingAgreement,
        micros: i64,
    ) -> Result<SettlementPeriod, Refusal> {
        let (currency, id) = (terms.currency, record.agreement.id);
        let period = self.open_period(state, record.period, currency)?;
        let changed = record.amount.checked_add(micros).ok_or(RejectCode::Overflow)?;
        let split = |amount| terms.shares.split(amount, cdr.energy, terms.cpo).ok_or(RejectCode::Overflow);
        let mut differences: BTreeMap<PartyId, i64> = split(changed)?.into_iter().collect();
        for (party, before) in split(record.amount)? {
            let difference = differences.entry(party).or_default();
            *difference = difference.checked_sub(before).ok_or(RejectCode::Overflow)?;
        }
        // As in `book_record`: a share of the debtor's own is nobody's claim.
        let parts: Vec<(PartyId, i64)> =
            differences.into_iter().filter(|(party, part)| *party != terms.emsp && *part != 0).collect();
        let owed = parts
            .iter()
            .try_fold(0i64, |sum, (_, amount)| sum.checked_add(*amount))
            .ok_or(RejectCode::Overflow)?;

        let mut exposure = self.exposure(state, id)?.clone();
        add_to(&mut exposure.booked, period, owed).ok_or(RejectCode::Overflow)?;
        let mut index =
            load(&mut self.pairs, (period, currency), state, StateKey::PeriodPairs(period, currency))?
                .clone();
        let (pairs, agreements) = (index.pairs.len(), index.agreements.len());
        index.pairs.extend(parts.iter().map(|(creditor, _)| (terms.emsp, *creditor)));
        if !parts.is_empty() {
            index.agreements.insert(id);
        }
        let beyond = |before, after, most| after > before && after > most;
        if beyond(agreements, index.agreements.len(), PERIOD_AGREEMENTS_MAX)
            || beyond(pairs, index.pairs.len(), PAIRS_MAX)
        {
            return Err(RejectCode::LimitReached.into());
        }
        let postings = self.owing(state, period, terms, &parts)?;

        self.pairs.insert((period, currency), index);
        self.accounts.extend(postings);
        self.exposures.insert(id, exposure);
        Ok(period)
    }

    /// Books money that an operator gives back on a record.
    pub(crate) fn give_back(
        &mut self,
        state: &Overlay<'_>,
        record: &CdrRecord,
        operator: PartyId,
        currency: Currency,
        amount: i64,
    ) -> Result<(), Refusal> {
        let period = self.open_period(state, record.period, currency)?;
        let payable = Account::Payable(period, record.emsp, operator, currency);
        let receivable = Account::Receivable(period, operator, record.emsp, currency);
        self.post(state, receivable, payable, amount)?;
        check_pair_balance(self.balance(state, receivable)?)?;
        let index =
            load(&mut self.pairs, (period, currency), state, StateKey::PeriodPairs(period, currency))?;
        index.pairs.insert((record.emsp, operator));
        index.agreements.insert(record.agreement.id);
        let given = amount.checked_neg().ok_or(RejectCode::Overflow)?;
        let exposure = self.exposure(state, record.agreement.id)?;
        add_to(&mut exposure.booked, period, given).ok_or(RejectCode::Overflow)?;
        Ok(())
    }

    /// Pays a closed period's debtors' positions from their cash, and its creditors with what came in: in
    /// proportion, the rest by largest remainder in the order of the parties.
    fn collect(
        &mut self,
        state: &Overlay<'_>,
        period: SettlementPeriod,
        currency: Currency,
        parties: &[PartyId],
    ) -> Result<bool, Refusal> {
        let mut collected = 0i64;
        let mut creditors: Vec<(PartyId, i64)> = Vec::new();
        let mut paid_up = true;
        for party in parties {
            let net = Account::Net(period, *party, currency);
            let position = self.balance(state, net)?;
            if position > 0 {
                creditors.push((*party, position));
            } else if position < 0 {
                let debt = position.checked_neg().ok_or(RejectCode::Overflow)?;
                let cash = Account::Cash(*party, currency);
                let paid = debt.min(self.balance(state, cash)?.max(0));
                self.post(state, cash, net, paid)?;
                collected = collected.checked_add(paid).ok_or(RejectCode::Overflow)?;
                paid_up &= paid == debt;
            }
        }
        for (party, amount) in proportional(collected, &creditors).ok_or(RejectCode::Overflow)? {
            self.post(state, Account::Net(period, party, currency), Account::Cash(party, currency), amount)?;
        }
        Ok(paid_up)
    }

    /// Writes everything that was changed; what a refused item only looked at leaves no trace, nor do balances and
    /// lists that are empty.
    pub(crate) fn flush(self, state: &mut Overlay<'_>) -> Result<(), StateError> {
        for (account, balance) in self.accounts {
            put_or_remove(state, &StateKey::Account(account), &balance, balance == 0)?;
        }
        for (id, exposure) in self.exposures {
            put_or_remove(state, &StateKey::Exposure(id), &exposure, exposure == Exposure::default())?;
        }
        for ((period, currency), pairs) in self.pairs {
            put_or_remove(state, &StateKey::PeriodPairs(period, currency), &pairs, pairs.pairs.is_empty())?;
        }
        Ok(())
    }
}

/// No pair of members may owe so much that the positions of a period do not fit any more.
fn check_pair_balance(balance: i64) -> Result<(), RejectCode> {
    if (-PAIR_BALANCE_MAX..=PAIR_BALANCE_MAX).contains(&balance) { Ok(()) } else { Err(RejectCode::Overflow) }
}

fn put_or_remove<T: BorshSerialize>(
    state: &mut Overlay<'_>,
    key: &StateKey,
    value: &T,
    empty: bool,
) -> Result<(), StateError> {
    let unchanged = match state.get(&codec::to_bytes(key))? {
        Some(kept) => !empty && *kept == codec::to_bytes(value),
        None => empty,
    };
    if unchanged {
        return Ok(());
    }
    if empty {
        state.remove(key);
    } else {
        state.write(key, value);
    }
    Ok(())
}

/// Divides `amount` among creditors in proportion to their claims, by largest remainder (ties in their order). The
/// parts add up to `amount`, which is at most the sum of the claims. `None` on overflow.
fn proportional(amount: i64, claims: &[(PartyId, i64)]) -> Option<Vec<(PartyId, i64)>> {
    let total: i128 = claims.iter().map(|(_, claim)| i128::from(*claim)).sum();
    if total == 0 || amount == 0 {
        return Some(Vec::new());
    }
    let mut parts = Vec::with_capacity(claims.len());
    let mut left = amount;
    for (place, (party, claim)) in claims.iter().enumerate() {
        let product = i128::from(amount).checked_mul(i128::from(*claim))?;
        let part = i64::try_from(product.checked_div_euclid(total)?).ok()?;
        left = left.checked_sub(part)?;
        parts.push((product.checked_rem_euclid(total)?, place, *party, part));
    }
    // What rounding down left over is fewer millionths than there are creditors.
    parts.sort_by_key(|(remainder, place, ..)| (std::cmp::Reverse(*remainder), *place));
    for (_, _, _, part) in &mut parts {
        if left == 0 {
            break;
        }
        *part = part.checked_add(1)?;
        left = left.checked_sub(1)?;
    }
    parts.sort_by_key(|(_, place, ..)| *place);
    Some(parts.into_iter().map(|(_, _, party, part)| (party, part)).collect())
}

/// What the transaction reads and writes, as far as it says: not the accounts of those whom a period or what is unpaid
/// names, nor the currency of an agreement.
pub(crate) fn reads(keys: &mut Vec<StateKey>, tx: &SettlementTx) {
    match tx {
        // Refused before an item is looked at.
        SettlementTx::ReserveCredit(items) if items.len() > BATCH_MAX => {}
        SettlementTx::ReserveCredit(items) => {
            keys.reserve(items.len().saturating_mul(2).saturating_add(16));
            let mut last = None;
            for item in items {
                reservation_reads(keys, item.agreement, item.session, last);
                last = Some(item.agreement);
            }
        }
        SettlementTx::ClosePeriod { period, currency } => keys.extend([
            StateKey::Parameters,
            StateKey::ClosedPeriod(*period, *currency),
            StateKey::PeriodPairs(*period, *currency),
            StateKey::Unpaid(*currency),
        ]),
        SettlementTx::AttestDeposit { party, amount, reference } => {
            attest_reads(keys, AttestationKind::Deposit, *party, amount.currency, reference);
        }
        SettlementTx::AttestPayout { party, amount, reference } => {
            attest_reads(keys, AttestationKind::Payout, *party, amount.currency, reference);
        }
    }
}

/// The keys of one reservation, without those that the one before it in the batch has too.
pub(crate) fn reservation_reads(
    keys: &mut Vec<StateKey>,
    agreement: AgreementRef,
    session: Digest,
    last: Option<AgreementRef>,
) {
    let AgreementRef { id, version } = agreement;
    keys.push(StateKey::Reservation(id, session));
    if last != Some(agreement) {
        keys.extend([StateKey::Agreement(id), StateKey::AgreementTerms(id, version), StateKey::Exposure(id)]);
    }
}

fn attest_reads(
    keys: &mut Vec<StateKey>,
    kind: AttestationKind,
    party: PartyId,
    currency: Currency,
    reference: &ShortText<64>,
) {
    keys.extend([
        StateKey::Parameters,
        StateKey::Member(party),
        StateKey::Attestation(kind, reference.clone()),
        StateKey::Account(Account::Cash(party, currency)),
        StateKey::Account(Account::Treasury(currency)),
        StateKey::Attested(currency),
        StateKey::Unpaid(currency),
    ]);
}

/// Applies a batch of reservations: an outcome for each.
pub(crate) fn reserve_batch(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    reservations: &[CreditReservation],
) -> Result<Vec<Item>, Refusal> {
    check_batch_size(reservations.len())?;
    require(state, sender, Roles::CPO, RejectCode::WrongRole)?;
    let mut books = Books::default();
    let items = items_of("eroam/reservation/1", reservations, |reservation| {
        let terms = reservable_under(state, now, sender, reservation)?;
        set_aside(state, &mut books, reservation, &terms, RejectCode::DuplicateReservation)
    })?;
    books.flush(state)?;
    Ok(items)
}

/// The terms that credit can be reserved under, if the agreement lets `sender` ask for it at all.
pub(crate) fn reservable_under(
    state: &Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    item: &CreditReservation,
) -> Result<RoamingAgreement, Refusal> {
    let CreditReservation { agreement, amount, reserved_at, expires_at, .. } = item;
    if *amount <= 0 {
        return Err(RejectCode::NotPositive.into());
    }
    let span =
        expires_at.since(*reserved_at).filter(|d| !d.is_zero()).ok_or(RejectCode::ReservationExpiry)?;
    if *reserved_at > now {
        return Err(RejectCode::FromTheFuture.into());
    }
    let record: AgreementRecord =
        state.read(&StateKey::Agreement(agreement.id))?.ok_or(RejectCode::UnknownAgreement)?;
    if record.cpo != sender {
        return Err(RejectCode::NotASide.into());
    }
    if record.status == AgreementStatus::Proposed {
        return Err(RejectCode::AgreementNotAccepted.into());
    }
    if record.version_at(*reserved_at) != Some(agreement.version) {
        return Err(RejectCode::WrongAgreementVersion.into());
    }
    let terms: RoamingAgreement = state
        .read(&StateKey::AgreementTerms(agreement.id, agreement.version))?
        .ok_or(RejectCode::UnknownAgreement)?;
    if span > terms.limits.duration_max {
        return Err(RejectCode::ReservationExpiry.into());
    }
    Ok(terms)
}

/// Sets credit aside, if there is as much left: what [`reservable_under`] allowed. `duplicate` says that credit is
/// reserved for the session already. Nothing is changed when it fails.
pub(crate) fn set_aside(
    state: &mut Overlay<'_>,
    books: &mut Books,
    item: &CreditReservation,
    terms: &RoamingAgreement,
    duplicate: RejectCode,
) -> Result<(), Refusal> {
    let CreditReservation { agreement, session, amount, reserved_at, expires_at } = item;
    let key = StateKey::Reservation(agreement.id, *session);
    if state.contains(&key)? {
        return Err(duplicate.into());
    }
    let arrears = arrears(state, books, terms.emsp, terms.currency)?;
    // On a copy: a refused reservation must not move the clock.
    let mut exposure = books.exposure(state, agreement.id)?.clone();
    exposure.advance(*reserved_at);
    let used = exposure.total().and_then(|t| t.checked_add(arrears)).and_then(|t| t.checked_add(*amount));
    if used.is_none_or(|used| used > terms.credit_limit.micros) {
        return Err(RejectCode::CreditExhausted.into());
    }
    let day = expires_at.utc_day();
    if day >= exposure.today() {
        // What comes so late that it would be released already leaves the same state as if it had come in time.
        add_to(&mut exposure.reserved, day, *amount).ok_or(RejectCode::Overflow)?;
    }
    books.exposures.insert(agreement.id, exposure);
    state.write(&key, &Reservation { amount: *amount, day });
    Ok(())
}

/// What a party still owes for closed periods, in millionths.
fn arrears(
    state: &Overlay<'_>,
    books: &mut Books,
    party: PartyId,
    currency: Currency,
) -> Result<i64, Refusal> {
    let mut owed = 0i64;
    for period in state.read::<Vec<SettlementPeriod>>(&StateKey::Unpaid(currency))?.unwrap_or_default() {
        let position = books.balance(state, Account::Net(period, party, currency))?;
        owed = owed.checked_sub(position.min(0)).ok_or(RejectCode::Overflow)?;
    }
    Ok(owed)
}

/// `ClosePeriod`.
pub(crate) fn close_period(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    period: SettlementPeriod,
    currency: Currency,
) -> Result<(), Refusal> {
    let parameters = parameters(state)?;
    let ready =
        period.end().and_then(|end| end.checked_add(parameters.close_grace)).ok_or(RejectCode::Overflow)?;
    if now < ready {
        return Err(RejectCode::PeriodNotOver.into());
    }
    let closed_key = StateKey::ClosedPeriod(period, currency);
    if state.contains(&closed_key)? {
        return Err(RejectCode::PeriodClosed.into());
    }
    let pairs_key = StateKey::PeriodPairs(period, currency);
    let index: PeriodPairs = state.read(&pairs_key)?.ok_or(RejectCode::NothingBooked)?;
    let mut books = Books::default();
    let mut gross = Vec::with_capacity(index.pairs.len());
    let mut parties = BTreeSet::new();
    for (debtor, creditor) in index.pairs {
        let receivable = Account::Receivable(period, creditor, debtor, currency);
        let payable = Account::Payable(period, debtor, creditor, currency);
        let amount = books.balance(state, receivable)?;
        books.post(state, receivable, Account::Net(period, creditor, currency), amount)?;
        books.post(state, Account::Net(period, debtor, currency), payable, amount)?;
        parties.extend([debtor, creditor]);
        gross.push((debtor, creditor, amount));
    }
    let parties: Vec<PartyId> = parties.into_iter().collect();
    let mut net = Vec::with_capacity(parties.len());
    for party in &parties {
        net.push(NetPosition {
            party: *party,
            micros: books.balance(state, Account::Net(period, *party, currency))?,
        });
    }
    for id in index.agreements {
        books.exposure(state, id)?.booked.retain(|(p, _)| *p != period);
    }
    let paid = books.collect(state, period, currency, &parties)?;
    if !paid {
        let unpaid_key = StateKey::Unpaid(currency);
        let mut unpaid: Vec<SettlementPeriod> = state.read(&unpaid_key)?.unwrap_or_default();
        if unpaid.len() >= UNPAID_MAX {
            return Err(RejectCode::LimitReached.into());
        }
        unpaid.push(period);
        state.write(&unpaid_key, &unpaid);
    }
    books.flush(state)?;
    state.remove(&pairs_key);
    state.write(&closed_key, &ClosedPeriod { net, gross });
    Ok(())
}

fn parameters(state: &Overlay<'_>) -> Result<Parameters, Refusal> {
    // Genesis wrote them; a state without them is no state of this ledger.
    let missing =
        || StateError::Corrupt { key: Vec::new(), reason: "the genesis parameters are missing".into() };
    Ok(state.read(&StateKey::Parameters)?.ok_or_else(missing)?)
}

/// `AttestDeposit` and `AttestPayout`.
pub(crate) fn attest(
    state: &mut Overlay<'_>,
    sender: PartyId,
    kind: AttestationKind,
    party: PartyId,
    amount: Money,
    reference: &ShortText<64>,
) -> Result<(), Refusal> {
    require(state, sender, Roles::TREASURER, RejectCode::WrongRole)?;
    if amount.micros <= 0 {
        return Err(RejectCode::NotPositive.into());
    }
    if member(state, party)?.is_none() {
        return Err(RejectCode::UnknownParty.into());
    }
    let key = StateKey::Attestation(kind, reference.clone());
    let mut attestation =
        state.read(&key)?.unwrap_or(Attestation { party, amount, by: BTreeSet::new(), applied: false });
    if attestation.applied {
        return Err(RejectCode::AlreadyApplied.into());
    }
    if (attestation.party, attestation.amount) != (party, amount) {
        return Err(RejectCode::ContradictsAttestation.into());
    }
    if !attestation.by.insert(sender) {
        return Err(RejectCode::AlreadyAttested.into());
    }
    let mut books = Books::default();
    let cash = Account::Cash(party, amount.currency);
    if kind == AttestationKind::Payout {
        // A member that is owed for one period and owes for another does not take its money away before it pays.
        let owed = arrears(state, &mut books, party, amount.currency)?;
        let free = books.balance(state, cash)?.checked_sub(owed).ok_or(RejectCode::Overflow)?;
        if free < amount.micros {
            return Err(RejectCode::InsufficientFunds.into());
        }
    }
    if attestation.by.len() >= usize::from(parameters(state)?.treasurers_required) {
        apply_attested(state, &mut books, kind, cash, amount)?;
        attestation.applied = true;
    }
    books.flush(state)?;
    state.write(&key, &attestation);
    Ok(())
}

/// Moves the money, and pays what it can of the closed periods.
fn apply_attested(
    state: &mut Overlay<'_>,
    books: &mut Books,
    kind: AttestationKind,
    cash: Account,
    amount: Money,
) -> Result<(), Refusal> {
    let Money { micros, currency } = amount;
    let attested_key = StateKey::Attested(currency);
    let attested = state.read::<i64>(&attested_key)?.unwrap_or(0);
    let treasury = Account::Treasury(currency);
    let attested = match kind {
        AttestationKind::Deposit => {
            books.post(state, treasury, cash, micros)?;
            attested.checked_add(micros)
        }
        AttestationKind::Payout => {
            books.post(state, cash, treasury, micros)?;
            attested.checked_sub(micros)
        }
    };
    let attested = attested.ok_or(RejectCode::Overflow)?;
    if kind == AttestationKind::Deposit {
        let unpaid_key = StateKey::Unpaid(currency);
        let unpaid: Vec<SettlementPeriod> = state.read(&unpaid_key)?.unwrap_or_default();
        let mut still = Vec::new();
        for period in &unpaid {
            let closed: Option<ClosedPeriod> = state.read(&StateKey::ClosedPeriod(*period, currency))?;
            let parties: Vec<PartyId> = closed.into_iter().flat_map(|c| c.net).map(|n| n.party).collect();
            if !books.collect(state, *period, currency, &parties)? {
                still.push(*period);
            }
        }
        put_or_remove(state, &unpaid_key, &still, still.is_empty())?;
    }
    put_or_remove(state, &attested_key, &attested, attested == 0)?;
    Ok(())
}
