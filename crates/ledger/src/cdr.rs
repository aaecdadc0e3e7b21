//! Charge detail records: checked, priced again, booked; contested, resolved, credited. Nothing is deleted.
//!
//! `RecordCdrs` as a whole: `BatchSize`, then the sender is an operator (`WrongRole`). Checks of one record, in order:
//! 1. contradictions inside it (`MalformedRecord`);
//! 2. its id is booked already: the same record (`DuplicateRecord`), another (`ConflictingRecord`); its session is the
//!    one that its id names (`WrongSession`);
//! 3. the agreement: known (`UnknownAgreement`), the sender's as operator (`NotASide`), accepted
//!    (`AgreementNotAccepted`), and this version in force when the quote was accepted (`WrongAgreementVersion`);
//! 4. currency (`WrongCurrency`); a voucher that pays: reserved for this session under this agreement
//!    (`UnknownVoucher`), by this very acceptance of this quote at this time (`AcceptanceDiffers`); a price that
//!    follows no forecast names none (`UnexpectedAttestation`);
//! 5. time: `FromTheFuture`, `TooLate`, and the quote was accepted at most a day before (`StaleAcceptance`);
//! 6. limits: `EnergyLimit`, `DurationLimit`, `PowerLimit`, `AmountLimit`, and what was agreed to with the voucher
//!    (`VoucherLimit`);
//! 7. the tariff: `UnknownTariff`, published before the quote was accepted (`TariffNotPublished`), its currency
//!    (`WrongCurrency`);
//! 8. the price: it follows a forecast that was in force while its quote can have been held
//!    ([`eroam_domain::forecast::of_record`]: `UnknownForecast`, `ForecastOmitted`); `NoPrice`, `PriceMismatch`;
//! 9. the EVSE was free, day by day: its occupancy of that day is still kept (`TooLate`), `EvseDayFull`,
//!    `OverlappingRecord`;
//! 10. the books: `LimitReached`, `Overflow`.
//!
//! `Contest`: known (`UnknownRecord`), by its debtor (`NotASide`), provisional (`NotContestable`). `Resolve`: known, by
//! the resolver (`NotResolver`), contested and in time (`NotResolvable`), the amount (`AdjustmentAmount`), `LimitReached`.
//! `Credit`: known as the sender's own, the amount, `LimitReached`. The version of the agreement that a record was
//! charged under says who resolves it. `TrueUp`: [`crate::true_up`].
//!
//! A record that a voucher pays for spends it: there is no other way to redeem one ([`crate::voucher`]).
//!
//! A true record is never refused for lack of funds: credit is reserved before power.

use crate::agreement::{AgreementRecord, AgreementStatus};
use crate::batch_forecasts::BatchForecasts;
use crate::membership::{Roles, require};
use crate::reject::{Item, ItemOutcome, Refusal, RejectCode, check_batch_size};
use crate::settlement::Books;
use crate::state::{Overlay, StateError, StateKey};
use crate::tx::BATCH_MAX;
use crate::{true_up, voucher};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::{
    Adjustment, AgreementRef, Cdr, CdrFault, CdrId, CdrStatus, Payer, SessionId, TariffRef, session_digest,
};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::{DurationMs, Watts};
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{PeriodKind, SettlementPeriod, UnixMillis};
use std::collections::BTreeMap;

/// How many days of occupancy are kept per EVSE: more than the longest window of an agreement.
pub const DAY_SLOTS: u8 = 64;
/// The greatest number of records per EVSE and day.
pub const RECORDS_PER_EVSE_DAY_MAX: usize = 512;

/// The longest time between the acceptance of a quote and the start of its session: an operator that could go back
/// further could keep charging under terms that have ended.
pub const ACCEPTANCE_AGE_MAX: DurationMs = DurationMs::from_millis(86_400_000);

/// Transactions about records.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum CdrTx {
    /// An operator's records, each with an outcome of its own.
    RecordCdrs(Vec<Cdr>),
    /// The debtor disputes a record.
    Contest {
        /// The operator that recorded it.
        operator: PartyId,
        /// Its id.
        cdr: CdrId,
        /// SHA-256 of the evidence, which the resolver is given.
        evidence: Digest,
    },
    /// The agreement's resolver decides.
    Resolve {
        /// The operator that recorded it.
        operator: PartyId,
        /// Its id.
        cdr: CdrId,
        /// What the operator gives back, in millionths; zero upholds the record.
        give_back: i64,
    },
    /// The operator gives money back.
    Credit {
        /// The record's id.
        cdr: CdrId,
        /// How much, in millionths.
        amount: i64,
    },
    /// A side has records changed whose forecast was too far from the actual load, each with an outcome of its own.
    TrueUp(Vec<Cdr>),
}

/// A booked record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct CdrRecord {
    /// [`Cdr::digest`].
    pub digest: Digest,
    /// The agreement and the version of it that it was charged under.
    pub agreement: AgreementRef,
    /// The debtor.
    pub emsp: PartyId,
    /// What was booked, in millionths.
    pub amount: i64,
    /// In which period.
    pub period: SettlementPeriod,
    /// Where it stands; a provisional one whose window is over is final.
    pub status: CdrStatus,
    /// What changed it since.
    pub adjustments: Vec<Adjustment>,
}

/// The greatest number of adjustments of a record. The last two places are for the true-up and the resolver, so that an
/// operator cannot prevent either by filling them with small credits.
pub const ADJUSTMENTS_MAX: usize = 17;

impl CdrRecord {
    /// The status at `now`: windows that have passed make a record final.
    #[must_use]
    pub fn status_at(&self, now: UnixMillis) -> CdrStatus {
        match &self.status {
            CdrStatus::Provisional { contest_until } if now > *contest_until => CdrStatus::Final,
            CdrStatus::Contested { resolve_until, .. } if now > *resolve_until => CdrStatus::Final,
            other => other.clone(),
        }
    }

    /// What the debtor owes for it after all adjustments, in millionths. `None` on overflow.
    #[must_use]
    pub fn balance(&self) -> Option<i64> {
        self.adjustments.iter().try_fold(self.amount, |left, adjustment| match adjustment {
            Adjustment::Credit { micros } | Adjustment::Resolution { micros } => left.checked_sub(*micros),
            Adjustment::TrueUp { micros } => left.checked_add(*micros),
        })
    }
}

/// When an EVSE was occupied on one UTC day.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct EvseDay {
    /// The UTC day; a slot serves another day after [`DAY_SLOTS`] days.
    pub day: i64,
    /// Start and end of each session that touches the day.
    pub intervals: Vec<(UnixMillis, UnixMillis)>,
}

/// What the transaction reads and writes, as far as it says: for records everything but the accounts and the voucher,
/// whose debtor the agreement names, the forecasts, whose attesters it names, and the later periods of a late record.
pub(crate) fn reads(keys: &mut Vec<StateKey>, sender: PartyId, tx: &CdrTx) {
    match tx {
        // Refused before a record is looked at.
        CdrTx::RecordCdrs(cdrs) if cdrs.len() > BATCH_MAX => {}
        CdrTx::RecordCdrs(cdrs) => {
            // Three of its own and what it rarely shares with the record before it.
            keys.reserve(cdrs.len().saturating_mul(4).saturating_add(16));
            let mut last = None;
            for cdr in cdrs {
                record_reads(keys, sender, cdr, last);
                last = Some(cdr);
            }
        }
        CdrTx::Contest { operator, cdr, .. } | CdrTx::Resolve { operator, cdr, .. } => {
            keys.push(StateKey::Cdr(*operator, cdr.clone()));
        }
        CdrTx::Credit { cdr, .. } => keys.push(StateKey::Cdr(sender, cdr.clone())),
        CdrTx::TrueUp(cdrs) => true_up::reads(keys, cdrs),
    }
}

/// The keys of one record, without those that the one before it in the batch has too.
fn record_reads(keys: &mut Vec<StateKey>, sender: PartyId, cdr: &Cdr, last: Option<&Cdr>) {
    let AgreementRef { id, version } = cdr.agreement;
    keys.push(StateKey::Cdr(sender, cdr.id.clone()));
    keys.push(StateKey::Reservation(id, cdr.session));
    if last.is_none_or(|last| last.agreement != cdr.agreement) {
        keys.extend([StateKey::Agreement(id), StateKey::AgreementTerms(id, version), StateKey::Exposure(id)]);
    }
    if last.is_none_or(|last| last.tariff != cdr.tariff) {
        let TariffRef { id, version } = &cdr.tariff;
        keys.push(StateKey::Tariff(sender, id.clone(), *version));
        keys.push(StateKey::TariffPublished(sender, id.clone(), *version));
    }
    let days = |cdr: &Cdr| (cdr.start.utc_day(), cdr.end.utc_day());
    let (first, end) = days(cdr);
    let seen = |last: &Cdr| (last.evse, days(last)) == (cdr.evse, (first, end));
    // No agreement allows a longer session.
    if !last.is_some_and(seen) && end.saturating_sub(first) < i64::from(DAY_SLOTS) {
        keys.extend((first..=end).map(|day| StateKey::EvseDay(sender, cdr.evse, day_slot(day))));
    }
    if last.is_none_or(|last| (last.end.utc_day(), last.currency) != (end, cdr.currency)) {
        // How often the agreement is settled is not in the record, but there are only three ways.
        for kind in [PeriodKind::Day, PeriodKind::Week, PeriodKind::Month] {
            let period = SettlementPeriod::containing(kind, cdr.end);
            keys.push(StateKey::PeriodPairs(period, cdr.currency));
            keys.push(StateKey::ClosedPeriod(period, cdr.currency));
        }
    }
}

/// Where an EVSE's occupancy of a UTC day is kept.
fn day_slot(day: i64) -> u8 {
    u8::try_from(day.rem_euclid(i64::from(DAY_SLOTS))).unwrap_or(0)
}

/// What a batch reads over and over, decoded once.
struct Lookups {
    agreements: BTreeMap<AgreementId, AgreementRecord>,
    terms: BTreeMap<(AgreementId, u32), RoamingAgreement>,
    /// With the time of the block that published it.
    tariffs: BTreeMap<(TariffId, u32), (Tariff, UnixMillis)>,
    forecasts: BatchForecasts,
}

/// Reads through a cache.
fn cached<K: Ord + Clone, V: BorshDeserialize>(
    cache: &mut BTreeMap<K, V>,
    key: &K,
    state: &Overlay<'_>,
    state_key: impl FnOnce() -> StateKey,
) -> Result<bool, StateError> {
    if cache.contains_key(key) {
        return Ok(true);
    }
    match state.read(&state_key())? {
        Some(value) => {
            cache.insert(key.clone(), value);
            Ok(true)
        }
        None => Ok(false),
    }
}

/// Applies a batch: an outcome for each record.
pub(crate) fn record_batch(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    cdrs: &[Cdr],
) -> Result<Vec<Item>, Refusal> {
    check_batch_size(cdrs.len())?;
    require(state, sender, Roles::CPO, RejectCode::WrongRole)?;
    let mut lookups = Lookups {
        agreements: BTreeMap::new(),
        terms: BTreeMap::new(),
        tariffs: BTreeMap::new(),
        forecasts: BatchForecasts::default(),
    };
    let mut books = Books::default();
    let mut items = Vec::with_capacity(cdrs.len());
    for cdr in cdrs {
        let hash = cdr.digest();
        let outcome = match record(state, &mut books, &mut lookups, now, sender, cdr, hash) {
            Ok(period) => ItemOutcome::Accepted { booked_in: Some(period) },
            Err(Refusal::Reject(code)) => ItemOutcome::Rejected(code),
            Err(Refusal::State(error)) => return Err(error.into()),
        };
        items.push(Item { hash, outcome });
    }
    books.flush(state)?;
    Ok(items)
}

/// The place of a fault in the order of [`Cdr::check`], as the reject code carries it.
fn fault_number(fault: CdrFault) -> u8 {
    match fault {
        CdrFault::EndBeforeStart => 1,
        CdrFault::AcceptedAfterStart => 2,
        CdrFault::PeriodCount => 3,
        CdrFault::PeriodOrder(_) => 4,
        CdrFault::PeriodOverfull(_) => 5,
        CdrFault::EnergyWithoutTime(_) => 6,
        CdrFault::EnergySum => 7,
    }
}

/// Checks and books one record.
fn record(
    state: &mut Overlay<'_>,
    books: &mut Books,
    lookups: &mut Lookups,
    now: UnixMillis,
    sender: PartyId,
    cdr: &Cdr,
    digest: Digest,
) -> Result<SettlementPeriod, Refusal> {
    cdr.check().map_err(|fault| RejectCode::MalformedRecord(fault_number(fault)))?;
    let key = StateKey::Cdr(sender, cdr.id.clone());
    if let Some(booked) = state.read::<CdrRecord>(&key)? {
        let same = booked.digest == digest;
        return Err(if same { RejectCode::DuplicateRecord } else { RejectCode::ConflictingRecord }.into());
    }
    // The session is named by the record's id, so no session is booked under two ids.
    let session = SessionId::new(cdr.id.as_str()).map(|id| session_digest(sender, &id));
    if session != Ok(cdr.session) {
        return Err(RejectCode::WrongSession.into());
    }
    let Lookups { agreements, terms, tariffs, forecasts } = lookups;
    let terms = agreed_terms(state, agreements, terms, sender, cdr)?;
    if cdr.currency != terms.currency {
        return Err(RejectCode::WrongCurrency.into());
    }
    let voucher = match cdr.payer {
        Payer::Contract { .. } => None,
        Payer::Voucher { nullifier } => {
            let limit = voucher::reserved_limit(state, sender, terms.emsp, nullifier, cdr)?;
            Some((nullifier, limit))
        }
    };
    if cdr.attestation.is_some() && terms.forecast_rule(&cdr.zone).is_none() {
        return Err(RejectCode::UnexpectedAttestation.into());
    }
    check_time(terms, now, cdr)?;
    let due = terms.due(cdr.price);
    check_limits(terms, cdr, due)?;
    if voucher.is_some_and(|(_, limit)| due > limit) {
        return Err(RejectCode::VoucherLimit.into());
    }
    check_price(state, tariffs, forecasts, sender, terms, cdr)?;
    let days = occupied_days(state, sender, cdr)?;
    let contest_until = cdr
        .end
        .checked_add(terms.record_window)
        .and_then(|t| t.checked_add(terms.contest_window))
        .ok_or(RejectCode::Overflow)?;
    let period = books.book_record(state, cdr, terms, due)?;
    for (slot, day) in days {
        state.write(&StateKey::EvseDay(sender, cdr.evse, slot), &day);
    }
    if let Some((nullifier, _)) = voucher {
        voucher::spend(state, terms.emsp, nullifier, sender, &cdr.id, due);
    }
    let booked = CdrRecord {
        digest,
        agreement: cdr.agreement,
        emsp: terms.emsp,
        amount: due,
        period,
        status: CdrStatus::Provisional { contest_until },
        adjustments: Vec::new(),
    };
    state.write(&key, &booked);
    Ok(period)
}

/// The terms of the version that the record names, if it was in force when the quote was accepted.
fn agreed_terms<'l>(
    state: &Overlay<'_>,
    agreements: &mut BTreeMap<AgreementId, AgreementRecord>,
    terms: &'l mut BTreeMap<(AgreementId, u32), RoamingAgreement>,
    sender: PartyId,
    cdr: &Cdr,
) -> Result<&'l RoamingAgreement, Refusal> {
    let id = cdr.agreement.id;
    if !cached(agreements, &id, state, || StateKey::Agreement(id))? {
        return Err(RejectCode::UnknownAgreement.into());
    }
    let record = agreements.get(&id).ok_or(RejectCode::UnknownAgreement)?;
    if record.cpo != sender {
        return Err(RejectCode::NotASide.into());
    }
    if record.status == AgreementStatus::Proposed {
        return Err(RejectCode::AgreementNotAccepted.into());
    }
    let version = cdr.agreement.version;
    if record.version_at(cdr.accepted_at) != Some(version) {
        return Err(RejectCode::WrongAgreementVersion.into());
    }
    let key = (id, version);
    if !cached(terms, &key, state, || StateKey::AgreementTerms(id, version))? {
        return Err(RejectCode::UnknownAgreement.into());
    }
    terms.get(&key).ok_or_else(|| RejectCode::UnknownAgreement.into())
}

fn check_time(terms: &RoamingAgreement, now: UnixMillis, cdr: &Cdr) -> Result<(), RejectCode> {
    let age = now.since(cdr.end).ok_or(RejectCode::FromTheFuture)?;
    if age > terms.record_window {
        return Err(RejectCode::TooLate);
    }
    let waited = cdr.start.since(cdr.accepted_at).ok_or(RejectCode::StaleAcceptance)?;
    if waited > ACCEPTANCE_AGE_MAX { Err(RejectCode::StaleAcceptance) } else { Ok(()) }
}

fn check_limits(terms: &RoamingAgreement, cdr: &Cdr, due: i64) -> Result<(), RejectCode> {
    let limits = terms.limits;
    if cdr.energy > limits.energy_max {
        return Err(RejectCode::EnergyLimit);
    }
    if cdr.duration() > limits.duration_max {
        return Err(RejectCode::DurationLimit);
    }
    let ends = cdr.periods.iter().skip(1).map(|p| p.start).chain([cdr.end]);
    for (period, end) in cdr.periods.iter().zip(ends) {
        // The time in which the energy must have flowed: what was charged, or the whole period.
        let span = end.since(period.start).unwrap_or(DurationMs::ZERO);
        let time = if period.charging.is_zero() { span } else { period.charging };
        let mean = if period.energy.is_zero() { Some(Watts::ZERO) } else { Watts::mean(period.energy, time) };
        if mean.is_none_or(|watts| watts > limits.power_max) {
            return Err(RejectCode::PowerLimit);
        }
    }
    if due < 0 || due > limits.amount_max { Err(RejectCode::AmountLimit) } else { Ok(()) }
}

/// Prices the record again, with the function that priced it.
fn check_price(
    state: &Overlay<'_>,
    tariffs: &mut BTreeMap<(TariffId, u32), (Tariff, UnixMillis)>,
    forecasts: &mut BatchForecasts,
    sender: PartyId,
    terms: &RoamingAgreement,
    cdr: &Cdr,
) -> Result<(), Refusal> {
    let key = (cdr.tariff.id.clone(), cdr.tariff.version);
    if !tariffs.contains_key(&key) {
        let tariff: Option<Tariff> = state.read(&StateKey::Tariff(sender, key.0.clone(), key.1))?;
        let published = state.read(&StateKey::TariffPublished(sender, key.0.clone(), key.1))?;
        let (Some(tariff), Some(published)) = (tariff, published) else {
            return Err(RejectCode::UnknownTariff.into());
        };
        tariffs.insert(key.clone(), (tariff, published));
    }
    let (tariff, published) = tariffs.get(&key).ok_or(RejectCode::UnknownTariff)?;
    if *published > cdr.accepted_at {
        return Err(RejectCode::TariffNotPublished.into());
    }
    if tariff.currency() != terms.currency {
        return Err(RejectCode::WrongCurrency.into());
    }
    let followed = forecasts.of_record(state, terms, cdr)?;
    let price = followed.price(terms, tariff, cdr).map_err(|_| RejectCode::NoPrice)?.total;
    if price == cdr.price { Ok(()) } else { Err(RejectCode::PriceMismatch(price).into()) }
}

/// The EVSE's days that the session touches, with the session in them. Fails when one is taken.
fn occupied_days(state: &Overlay<'_>, sender: PartyId, cdr: &Cdr) -> Result<Vec<(u8, EvseDay)>, Refusal> {
    let mut days = Vec::with_capacity(1);
    let (first, last) = (cdr.start.utc_day(), cdr.end.utc_day());
    if last.saturating_sub(first) >= i64::from(DAY_SLOTS) {
        return Err(RejectCode::DurationLimit.into());
    }
    for day in first..=last {
        let slot = day_slot(day);
        let kept = state.read::<EvseDay>(&StateKey::EvseDay(sender, cdr.evse, slot))?;
        let mut entry = match kept {
            Some(kept) if kept.day > day => return Err(RejectCode::TooLate.into()),
            Some(kept) if kept.day == day => kept,
            _ => EvseDay { day, intervals: Vec::new() },
        };
        if entry.intervals.len() >= RECORDS_PER_EVSE_DAY_MAX {
            return Err(RejectCode::EvseDayFull.into());
        }
        if entry.intervals.iter().any(|(start, end)| *start < cdr.end && cdr.start < *end) {
            return Err(RejectCode::OverlappingRecord.into());
        }
        entry.intervals.push((cdr.start, cdr.end));
        // Sorted, so that the state does not depend on the order of arrival.
        entry.intervals.sort_unstable();
        days.push((slot, entry));
    }
    Ok(days)
}

/// A record for a dispute, with its terms.
fn disputed(
    state: &Overlay<'_>,
    operator: PartyId,
    cdr: &CdrId,
) -> Result<(StateKey, CdrRecord, RoamingAgreement), Refusal> {
    let key = StateKey::Cdr(operator, cdr.clone());
    let record: CdrRecord = state.read(&key)?.ok_or(RejectCode::UnknownRecord)?;
    let AgreementRef { id, version } = record.agreement;
    let terms = state.read(&StateKey::AgreementTerms(id, version))?.ok_or(RejectCode::UnknownAgreement)?;
    Ok((key, record, terms))
}

/// `Contest`: the record is known, the sender is its debtor, and it is provisional.
pub(crate) fn contest(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    operator: PartyId,
    cdr: &CdrId,
    evidence: Digest,
) -> Result<(), Refusal> {
    let (key, mut record, terms) = disputed(state, operator, cdr)?;
    if record.emsp != sender {
        return Err(RejectCode::NotASide.into());
    }
    let CdrStatus::Provisional { contest_until } = record.status_at(now) else {
        return Err(RejectCode::NotContestable.into());
    };
    // Counted from the end of the contest window: the resolver has all of its time, and the state does not depend on
    // which block the contest was put in.
    let resolve_until = contest_until.checked_add(terms.resolve_window).ok_or(RejectCode::Overflow)?;
    record.status = CdrStatus::Contested { resolve_until, evidence };
    state.write(&key, &record);
    Ok(())
}

/// `Resolve`: the record is known, the sender is the agreement's resolver, it is contested and the deadline is ahead,
/// and the amount is not negative nor more than what is left.
pub(crate) fn resolve(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    operator: PartyId,
    cdr: &CdrId,
    give_back: i64,
) -> Result<(), Refusal> {
    let (key, mut record, terms) = disputed(state, operator, cdr)?;
    if terms.resolver != sender {
        return Err(RejectCode::NotResolver.into());
    }
    if !matches!(record.status_at(now), CdrStatus::Contested { .. }) {
        return Err(RejectCode::NotResolvable.into());
    }
    if give_back > 0 {
        adjust(
            state,
            operator,
            &terms,
            &mut record,
            Adjustment::Resolution { micros: give_back },
            give_back,
        )?;
    } else if give_back < 0 {
        return Err(RejectCode::AdjustmentAmount.into());
    }
    record.status = CdrStatus::Final;
    state.write(&key, &record);
    Ok(())
}

/// `Credit`: the record is the sender's, and the amount is above zero and not more than what is left.
pub(crate) fn credit(
    state: &mut Overlay<'_>,
    sender: PartyId,
    cdr: &CdrId,
    amount: i64,
) -> Result<(), Refusal> {
    let (key, mut record, terms) = disputed(state, sender, cdr)?;
    adjust(state, sender, &terms, &mut record, Adjustment::Credit { micros: amount }, amount)?;
    state.write(&key, &record);
    Ok(())
}

/// Books money that the operator gives back, in the record's period or the next one that is open.
fn adjust(
    state: &mut Overlay<'_>,
    operator: PartyId,
    terms: &RoamingAgreement,
    record: &mut CdrRecord,
    adjustment: Adjustment,
    give_back: i64,
) -> Result<(), Refusal> {
    let left = record.balance().ok_or(RejectCode::Overflow)?;
    if give_back <= 0 || give_back > left {
        return Err(RejectCode::AdjustmentAmount.into());
    }
    let kept_free = if matches!(adjustment, Adjustment::Resolution { .. }) { 0 } else { 2 };
    if record.adjustments.len().saturating_add(kept_free) >= ADJUSTMENTS_MAX {
        return Err(RejectCode::LimitReached.into());
    }
    let mut books = Books::default();
    books.give_back(state, record, operator, terms.currency, give_back)?;
    books.flush(state)?;
    record.adjustments.push(adjustment);
    Ok(())
}
