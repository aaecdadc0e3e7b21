//! True-ups: a record whose forecast was too far from the actual load is changed by what the difference is worth.
//!
//! Either side sends the whole records; the ledger knows them by their digests and computes the rest. Of a price by
//! forecast nothing else is ever changed by a true-up, and a record is trued up once, when all that it depends on is
//! final: of each hour either everybody who is asked has attested the load, or a quorum has and it is too late for the
//! others ([`crate::forecast::LOAD_WINDOW`]). An hour that never has a quorum keeps its forecast. So it does not matter
//! which side asks, nor when, but for credits that came first: no more is given back than they have left.
//!
//! `TrueUp` as a whole: `BatchSize`. Checks of one record, in order:
//! 1. the agreement is known (`UnknownAgreement`) and the sender a side of it (`NotASide`);
//! 2. the record is booked (`UnknownRecord`), and is this one (`RecordDiffers`); its price follows a forecast
//!    (`NoForecastUsed`); it was not trued up before (`AlreadyTruedUp`);
//! 3. its session ended at most [`TRUE_UP_WINDOW`] ago (`TooLate`);
//! 4. terms, tariff and forecast are still there (`UnknownAgreement`, `UnknownTariff`, `UnknownForecast`), and it has a
//!    price (`NoPrice`);
//! 5. the loads of its hours are final (`ActualsAwaited`), and there is something to change (`NothingToTrueUp`);
//! 6. the books: `LimitReached`, `Overflow`.
//!
//! The parties to the price share the difference as they would have shared the other price. A contest does not stop a
//! true-up, nor does a true-up end a contest: one is about what was consumed, the other about the grid's load.

use crate::agreement::AgreementRecord;
use crate::batch_forecasts::BatchForecasts;
use crate::cdr::{ADJUSTMENTS_MAX, CdrRecord};
use crate::forecast;
use crate::reject::{Item, ItemOutcome, Refusal, RejectCode, check_batch_size};
use crate::settlement::Books;
use crate::state::{Overlay, StateError, StateKey, StateView};
use crate::tx::BATCH_MAX;
use eroam_domain::agreement::{RoamingAgreement, WINDOW_MAX};
use eroam_domain::cdr::{Adjustment, AgreementRef, Cdr, TariffRef};
use eroam_domain::codec::Digest;
use eroam_domain::forecast::{ActualLoad, actual_load};
use eroam_domain::ids::PartyId;
use eroam_domain::pricing::true_up::{TrueUpInputs, hours_by_forecast, true_up};
use eroam_domain::pricing::{self, ForecastInput, PricingInputs};
use eroam_domain::quantity::DurationMs;
use eroam_domain::tariff::Tariff;
use eroam_domain::time::{PeriodKind, SettlementPeriod, UnixMillis};
use std::collections::BTreeMap;

/// How long after the end of its session a record is trued up: past the longest record window, and as long again. The
/// forecasts and loads are kept for longer ([`crate::forecast::DAY_SLOTS`]).
pub const TRUE_UP_WINDOW: DurationMs = DurationMs::from_millis(2 * WINDOW_MAX.millis());

/// What the batch reads and writes, as far as it says: not the record, which is under the operator that the agreement
/// names, nor the forecasts and loads, whose attesters the terms name, nor the tariff and the accounts.
pub(crate) fn reads(keys: &mut Vec<StateKey>, cdrs: &[Cdr]) {
    // Refused before a record is looked at.
    if cdrs.len() > BATCH_MAX {
        return;
    }
    let mut last = None;
    for cdr in cdrs {
        let AgreementRef { id, version } = cdr.agreement;
        if last != Some(cdr.agreement) {
            keys.extend([
                StateKey::Agreement(id),
                StateKey::AgreementTerms(id, version),
                StateKey::Exposure(id),
            ]);
        }
        last = Some(cdr.agreement);
        for kind in [PeriodKind::Day, PeriodKind::Week, PeriodKind::Month] {
            let period = SettlementPeriod::containing(kind, cdr.end);
            keys.push(StateKey::PeriodPairs(period, cdr.currency));
            keys.push(StateKey::ClosedPeriod(period, cdr.currency));
        }
    }
}

/// An item's hash: other than that of the record, so that a receipt for the one is none for the other.
#[must_use]
pub fn item_hash(record: Digest) -> Digest {
    Digest::of_value("eroam/true-up/1", &record)
}

/// What a true-up of the record would come to at `now`, in millionths: what a side asks itself before it asks the
/// ledger. Nothing is booked, so that the last check is left out.
///
/// # Errors
/// [`StateError`].
pub fn preview(
    view: &dyn StateView,
    now: UnixMillis,
    sender: PartyId,
    cdr: &Cdr,
) -> Result<Result<i64, RejectCode>, StateError> {
    match check(&Overlay::new(view), &mut BatchForecasts::default(), now, sender, cdr, cdr.digest()) {
        Ok(found) => Ok(Ok(found.micros)),
        Err(Refusal::Reject(code)) => Ok(Err(code)),
        Err(Refusal::State(error)) => Err(error),
    }
}

/// Applies a batch: an outcome for each record.
pub(crate) fn true_up_batch(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    cdrs: &[Cdr],
) -> Result<Vec<Item>, Refusal> {
    check_batch_size(cdrs.len())?;
    let mut books = Books::default();
    let mut forecasts = BatchForecasts::default();
    let mut items = Vec::with_capacity(cdrs.len());
    for cdr in cdrs {
        let digest = cdr.digest();
        let outcome = match true_up_one(state, &mut books, &mut forecasts, now, sender, cdr, digest) {
            Ok(period) => ItemOutcome::Accepted { booked_in: Some(period) },
            Err(Refusal::Reject(code)) => ItemOutcome::Rejected(code),
            Err(Refusal::State(error)) => return Err(error.into()),
        };
        items.push(Item { hash: item_hash(digest), outcome });
    }
    books.flush(state)?;
    Ok(items)
}

/// A record that can be trued up.
struct Found {
    key: StateKey,
    record: CdrRecord,
    terms: RoamingAgreement,
    micros: i64,
}

fn true_up_one(
    state: &mut Overlay<'_>,
    books: &mut Books,
    forecasts: &mut BatchForecasts,
    now: UnixMillis,
    sender: PartyId,
    cdr: &Cdr,
    digest: Digest,
) -> Result<SettlementPeriod, Refusal> {
    let Found { key, mut record, terms, micros } = check(state, forecasts, now, sender, cdr, digest)?;
    let period = books.true_up(state, &record, cdr, &terms, micros)?;
    record.adjustments.push(Adjustment::TrueUp { micros });
    state.write(&key, &record);
    Ok(period)
}

/// The checks, but for the books.
fn check(
    state: &Overlay<'_>,
    forecasts: &mut BatchForecasts,
    now: UnixMillis,
    sender: PartyId,
    cdr: &Cdr,
    digest: Digest,
) -> Result<Found, Refusal> {
    let AgreementRef { id, version } = cdr.agreement;
    let agreement: AgreementRecord =
        state.read(&StateKey::Agreement(id))?.ok_or(RejectCode::UnknownAgreement)?;
    if sender != agreement.cpo && sender != agreement.emsp {
        return Err(RejectCode::NotASide.into());
    }
    let key = StateKey::Cdr(agreement.cpo, cdr.id.clone());
    let record: CdrRecord = state.read(&key)?.ok_or(RejectCode::UnknownRecord)?;
    if record.digest != digest {
        return Err(RejectCode::RecordDiffers.into());
    }
    if cdr.attestation.is_none() {
        return Err(RejectCode::NoForecastUsed.into());
    }
    if record.adjustments.iter().any(|a| matches!(a, Adjustment::TrueUp { .. })) {
        return Err(RejectCode::AlreadyTruedUp.into());
    }
    if now.since(cdr.end).is_none_or(|age| age > TRUE_UP_WINDOW) {
        return Err(RejectCode::TooLate.into());
    }
    let terms: RoamingAgreement =
        state.read(&StateKey::AgreementTerms(id, version))?.ok_or(RejectCode::UnknownAgreement)?;
    let micros = amount(state, forecasts, now, agreement.cpo, &terms, cdr, &record)?;
    if micros == 0 {
        return Err(RejectCode::NothingToTrueUp.into());
    }
    // The last place is the resolver's.
    if record.adjustments.len().saturating_add(1) >= ADJUSTMENTS_MAX {
        return Err(RejectCode::LimitReached.into());
    }
    Ok(Found { key, record, terms, micros })
}

/// What the debtor pays in addition, in millionths; negative for what it gets back.
fn amount(
    state: &Overlay<'_>,
    forecasts: &mut BatchForecasts,
    now: UnixMillis,
    operator: PartyId,
    terms: &RoamingAgreement,
    cdr: &Cdr,
    record: &CdrRecord,
) -> Result<i64, Refusal> {
    let TariffRef { id, version } = cdr.tariff.clone();
    let tariff: Tariff =
        state.read(&StateKey::Tariff(operator, id, version))?.ok_or(RejectCode::UnknownTariff)?;
    let rule = terms.forecast_rule(&cdr.zone).ok_or(RejectCode::NoForecastUsed)?;
    let forecast = forecasts.of_record(state, terms, cdr)?.forecast.ok_or(RejectCode::UnknownForecast)?;
    let priced = pricing::price(&PricingInputs::of_record(terms, &tariff, cdr, Some(forecast)))
        .map_err(|_| RejectCode::NoPrice)?;
    let said = |hour| ForecastInput::hour(forecast, hour).map_or(0, |said| said.load_kw);
    let mut actual_kw = BTreeMap::new();
    for hour in hours_by_forecast(&priced) {
        let loads = forecast::loads_of_hour(state, rule, hour)?;
        match actual_load(&rule.actuals, &loads, forecast::is_load_too_late(hour, now), said(hour)) {
            ActualLoad::Known(load_kw) => {
                actual_kw.insert(hour, load_kw);
            }
            ActualLoad::NeverKnown => {}
            ActualLoad::Awaited => return Err(RejectCode::ActualsAwaited.into()),
        }
    }
    let left = record.balance().ok_or(RejectCode::Overflow)?;
    let inputs = TrueUpInputs {
        terms,
        rule,
        tariff: &tariff,
        cdr,
        forecast,
        actual_kw: &actual_kw,
        booked: record.amount,
        left,
    };
    Ok(true_up(&inputs).map_err(|_| RejectCode::NoPrice)?.micros)
}
