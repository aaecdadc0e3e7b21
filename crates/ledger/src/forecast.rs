//! Forecasts and loads of grid zones, attested by those whom agreements name.
//!
//! ```text
//! AttestForecast -> ForecastDay (attester, zone, UTC day) ---.
//! Accept of a dynamic agreement -> ZoneAttester               +--> RecordCdrs, TrueUp: by the agreement's attesters
//! AttestLoad     -> LoadDay (attester, zone, UTC day) -------'
//! ```
//! **Who may.** A party may attest forecasts or loads of a zone when an agreement that was accepted names it for that.
//! Nobody opens a zone or owns its name: an agreement counts the word of its own attesters and no other's, so that what
//! a stranger says of the same zone changes nobody's price. A right stays when the agreement ends, since the records of
//! before are still to be trued up.
//!
//! **What is kept.** For each attester, zone and day a bucket of the hours of that day, in one of [`DAY_SLOTS`] slots.
//! Band, model and data window are in the block and under the attestation's id, not in the state. The times of the
//! blocks, from which on forecasts are in force, are bookkeeping, like those of tariffs: the state digest leaves them
//! out.
//!
//! Checks, in order. `AttestForecast`: the sender's right (`NoAttestationRight`); 1 to 72 hours (`AttestedHours`); each
//! load within its band, as many values in each list, shares of at most the whole (`BadForecast`); the first hour has
//! not begun (`HourBegun`), the last is not too far ahead (`TooFarAhead`); day by day, it is new
//! (`DuplicateAttestation`), and the sender has attested fewer than [`PER_HOUR_MAX`] forecasts that touch the day
//! within this hour and fewer than [`PER_DAY_MAX`] in all (`AttestationDayFull`). `AttestLoad`: `NoAttestationRight`,
//! `AttestedHours`; the last hour is over (`HourNotOver`), the first ended at most [`LOAD_WINDOW`] ago (`LoadTooLate`);
//! no hour was attested with another value (`ContradictsLoad`), and at least one not at all (`DuplicateAttestation`).
//!
//! Source: DESIGN.md, "Ledger" and "Price and shares"; `docs/decisions/0022-forecasts-on-the-ledger.md`.

use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateError, StateKey, StateView, read};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::{DynamicRule, PriceRule, RoamingAgreement};
use eroam_domain::cdr::GridZone;
use eroam_domain::codec::Digest;
use eroam_domain::forecast::{AHEAD_HOURS_MAX, AttestedForecast};
use eroam_domain::ids::PartyId;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// The greatest number of hours in an attestation.
pub const ATTESTED_HOURS_MAX: usize = 72;
/// How many days an attester's word about a zone is kept: longer than a record can be recorded or trued up.
pub const DAY_SLOTS: i64 = 256;
/// The greatest number of an attester's forecasts that touch a day of a zone: one for each hour in which the day can be
/// forecast, and some to spare.
pub const PER_DAY_MAX: usize = 128;
/// The greatest number of them in blocks of the same hour.
pub const PER_HOUR_MAX: usize = 4;
/// How long after its hour a load is accepted.
pub const LOAD_WINDOW: DurationMs = DurationMs::from_millis(7 * 86_400_000);

/// Milliseconds of an hour.
const HOUR: DurationMs = DurationMs::from_millis(3_600_000);

/// A forecast of the load of a grid zone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ForecastAttestation {
    /// Which part of the grid.
    pub zone: GridZone,
    /// The first UTC hour, in hours since 1970.
    pub first_hour: i64,
    /// Kilowatts, `[hour]`, for consecutive hours from `first_hour`.
    pub load_kw: Vec<u32>,
    /// The lower end of the forecaster's band, `[hour]` as `load_kw`.
    pub low_kw: Vec<u32>,
    /// The upper end of the forecaster's band, `[hour]` as `load_kw`.
    pub high_kw: Vec<u32>,
    /// Share of renewable energy in basis points, `[hour]` as `load_kw`, where it is forecast.
    pub renewable_bps: Option<Vec<u16>>,
    /// SHA-256 over the model and its settings.
    pub model: Digest,
    /// SHA-256 over the data that it has seen.
    pub window: Digest,
}

/// The load that was measured in a grid zone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LoadAttestation {
    /// Which part of the grid.
    pub zone: GridZone,
    /// The first UTC hour, in hours since 1970.
    pub first_hour: i64,
    /// Kilowatts, `[hour]`, for consecutive hours from `first_hour`.
    pub load_kw: Vec<u32>,
    /// SHA-256 over the measurements that it is taken from.
    pub source: Digest,
}

/// Transactions about the load of the grid.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum ForecastTx {
    /// What the load of the coming hours will be. A later one supersedes an earlier one of the same attester, hour by
    /// hour, from the time of its block on.
    AttestForecast(ForecastAttestation),
    /// What the load of past hours was. It never changes.
    AttestLoad(LoadAttestation),
}

/// The name of a forecast: who attests what.
#[must_use]
pub fn attestation_id(attester: PartyId, attestation: &ForecastAttestation) -> Digest {
    Digest::of_value("eroam/forecast/1", &(attester, attestation))
}

/// What a party may attest about a zone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, BorshSerialize, BorshDeserialize)]
pub struct ZoneRights {
    /// Forecasts.
    pub forecasts: bool,
    /// Loads.
    pub loads: bool,
}

/// The part of a forecast that falls on a day.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DayForecast {
    /// [`attestation_id`].
    pub id: Digest,
    /// The first of its hours on that day, in hours since 1970.
    pub first_hour: i64,
    /// Kilowatts, `[hour]`.
    pub load_kw: Vec<u32>,
    /// Share of renewable energy in basis points, `[hour]`.
    pub renewable_bps: Option<Vec<u16>>,
}

/// What an attester has forecast for a day of a zone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ForecastDay {
    /// The UTC day; a slot serves another day after [`DAY_SLOTS`] days.
    pub day: i64,
    /// In the order of their ids, so that the state does not depend on the order of arrival.
    pub forecasts: Vec<DayForecast>,
}

/// When the forecasts of a [`ForecastDay`] came into force.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ForecastTimes {
    /// The UTC day.
    pub day: i64,
    /// The attestation and the time of its block.
    pub since: Vec<(Digest, UnixMillis)>,
}

/// What an attester has measured on a day of a zone.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct LoadDay {
    /// The UTC day; a slot serves another day after [`DAY_SLOTS`] days.
    pub day: i64,
    /// Kilowatts, `[hour]`, for the hours of the day.
    pub load_kw: [Option<u32>; 24],
}

/// Where the word about a UTC day is kept.
pub(crate) fn day_slot(day: i64) -> u8 {
    u8::try_from(day.rem_euclid(DAY_SLOTS)).unwrap_or(0)
}

/// The UTC day of an hour.
const fn day_of(hour: i64) -> i64 {
    hour.div_euclid(24)
}

/// The hours that so many values from `first` on are about; `None` beyond what can be counted.
fn hours_of(first: i64, count: usize) -> Option<RangeInclusive<i64>> {
    let last = first.checked_add(i64::try_from(count).ok()?)?.checked_sub(1)?;
    Some(first..=last)
}

/// What [`apply`] reads and writes: all of it follows from the transaction.
pub(crate) fn reads(keys: &mut Vec<StateKey>, sender: PartyId, tx: &ForecastTx) {
    let (zone, first, count) = match tx {
        ForecastTx::AttestForecast(said) => (&said.zone, said.first_hour, said.load_kw.len()),
        ForecastTx::AttestLoad(said) => (&said.zone, said.first_hour, said.load_kw.len()),
    };
    keys.push(StateKey::ZoneAttester(zone.clone(), sender));
    // Refused before a day is looked at.
    if count == 0 || count > ATTESTED_HOURS_MAX {
        return;
    }
    let Some(hours) = hours_of(first, count) else { return };
    for day in day_of(*hours.start())..=day_of(*hours.end()) {
        let slot = day_slot(day);
        match tx {
            ForecastTx::AttestForecast(_) => keys.extend([
                StateKey::ForecastDay(sender, zone.clone(), slot),
                StateKey::ForecastTimes(sender, zone.clone(), slot),
            ]),
            ForecastTx::AttestLoad(_) => keys.push(StateKey::LoadDay(sender, zone.clone(), slot)),
        }
    }
}

pub(crate) fn apply(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    tx: &ForecastTx,
) -> Result<(), Refusal> {
    match tx {
        ForecastTx::AttestForecast(said) => attest_forecast(state, now, sender, said),
        ForecastTx::AttestLoad(said) => attest_load(state, now, sender, said),
    }
}

/// Lets those attest whom an agreement names: called when it is accepted.
pub(crate) fn grant_rights(state: &mut Overlay<'_>, terms: &RoamingAgreement) -> Result<(), Refusal> {
    let PriceRule::Dynamic(rule) = &terms.price_rule else { return Ok(()) };
    let named = rule.forecasters.parties.iter().map(|party| (*party, true));
    for (party, forecasts) in named.chain(rule.actuals.parties().iter().map(|party| (*party, false))) {
        let key = StateKey::ZoneAttester(rule.zone.clone(), party);
        let mut rights: ZoneRights = state.read(&key)?.unwrap_or_default();
        if forecasts {
            rights.forecasts = true;
        } else {
            rights.loads = true;
        }
        state.write(&key, &rights);
    }
    Ok(())
}

fn rights(state: &Overlay<'_>, zone: &GridZone, party: PartyId) -> Result<ZoneRights, Refusal> {
    Ok(state.read(&StateKey::ZoneAttester(zone.clone(), party))?.unwrap_or_default())
}

/// Whether every value is there and possible.
fn is_forecast(said: &ForecastAttestation) -> bool {
    let count = said.load_kw.len();
    let within = |((load, low), high): ((&u32, &u32), &u32)| low <= load && load <= high;
    said.low_kw.len() == count
        && said.high_kw.len() == count
        && said.load_kw.iter().zip(&said.low_kw).zip(&said.high_kw).all(within)
        && said
            .renewable_bps
            .as_ref()
            .is_none_or(|shares| shares.len() == count && shares.iter().all(|share| *share <= 10_000))
}

fn attest_forecast(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    said: &ForecastAttestation,
) -> Result<(), Refusal> {
    if !rights(state, &said.zone, sender)?.forecasts {
        return Err(RejectCode::NoAttestationRight.into());
    }
    let count = said.load_kw.len();
    if !(1..=ATTESTED_HOURS_MAX).contains(&count) {
        return Err(RejectCode::AttestedHours.into());
    }
    if !is_forecast(said) {
        return Err(RejectCode::BadForecast.into());
    }
    if said.first_hour <= now.utc_hour() {
        return Err(RejectCode::HourBegun.into());
    }
    let horizon = now.utc_hour().checked_add(AHEAD_HOURS_MAX).ok_or(RejectCode::Overflow)?;
    let hours = hours_of(said.first_hour, count)
        .filter(|hours| *hours.end() <= horizon)
        .ok_or(RejectCode::TooFarAhead)?;
    let id = attestation_id(sender, said);
    let mut written = Vec::new();
    for day in day_of(*hours.start())..=day_of(*hours.end()) {
        let slot = day_slot(day);
        let day_key = StateKey::ForecastDay(sender, said.zone.clone(), slot);
        let times_key = StateKey::ForecastTimes(sender, said.zone.clone(), slot);
        let mut kept = forecast_day(state, &day_key, day)?;
        let mut times = forecast_times(state, &times_key, day)?;
        let place = match kept.forecasts.binary_search_by_key(&id, |forecast| forecast.id) {
            Ok(_) => return Err(RejectCode::DuplicateAttestation.into()),
            Err(place) => place,
        };
        let of_this_hour = |(_, at): &&(Digest, UnixMillis)| at.utc_hour() == now.utc_hour();
        if times.since.iter().filter(of_this_hour).count() >= PER_HOUR_MAX
            || kept.forecasts.len() >= PER_DAY_MAX
        {
            return Err(RejectCode::AttestationDayFull.into());
        }
        kept.forecasts.insert(place, part_of(said, id, &hours, day));
        times.since.push((id, now));
        written.push((day_key, kept, times_key, times));
    }
    for (day_key, day, times_key, times) in written {
        state.write(&day_key, &day);
        state.write(&times_key, &times);
    }
    Ok(())
}

/// The part of an attestation that falls on a day.
fn part_of(said: &ForecastAttestation, id: Digest, hours: &RangeInclusive<i64>, day: i64) -> DayForecast {
    let of_day = |hour: &i64| day_of(*hour) == day;
    let loads = hours.clone().zip(&said.load_kw).filter(|(hour, _)| of_day(hour));
    let shares = |shares: &Vec<u16>| {
        hours.clone().zip(shares).filter(|(hour, _)| of_day(hour)).map(|(_, share)| *share).collect()
    };
    DayForecast {
        id,
        first_hour: hours.clone().find(of_day).unwrap_or(said.first_hour),
        load_kw: loads.map(|(_, load_kw)| *load_kw).collect(),
        renewable_bps: said.renewable_bps.as_ref().map(shares),
    }
}

fn forecast_day(
    view: &(impl StateView + ?Sized),
    key: &StateKey,
    day: i64,
) -> Result<ForecastDay, StateError> {
    let kept = read::<ForecastDay>(view, key)?.filter(|kept| kept.day == day);
    Ok(kept.unwrap_or(ForecastDay { day, forecasts: Vec::new() }))
}

fn forecast_times(
    view: &(impl StateView + ?Sized),
    key: &StateKey,
    day: i64,
) -> Result<ForecastTimes, StateError> {
    let kept = read::<ForecastTimes>(view, key)?.filter(|kept| kept.day == day);
    Ok(kept.unwrap_or(ForecastTimes { day, since: Vec::new() }))
}

fn load_day(
    view: &(impl StateView + ?Sized),
    attester: PartyId,
    zone: &GridZone,
    day: i64,
) -> Result<LoadDay, StateError> {
    let key = StateKey::LoadDay(attester, zone.clone(), day_slot(day));
    let kept = read::<LoadDay>(view, &key)?.filter(|kept| kept.day == day);
    Ok(kept.unwrap_or(LoadDay { day, load_kw: [None; 24] }))
}

/// The place of an hour in its day.
fn hour_of_day(hour: i64) -> usize {
    usize::try_from(hour.rem_euclid(24)).unwrap_or(0)
}

/// Whether it is too late to attest the load of an hour.
pub(crate) fn is_load_too_late(hour: i64, now: UnixMillis) -> bool {
    let end = UnixMillis::from_utc_hour(hour).and_then(|start| start.checked_add(HOUR));
    let until = end.and_then(|end| end.checked_add(LOAD_WINDOW));
    until.is_none_or(|until| now > until)
}

fn attest_load(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    said: &LoadAttestation,
) -> Result<(), Refusal> {
    if !rights(state, &said.zone, sender)?.loads {
        return Err(RejectCode::NoAttestationRight.into());
    }
    let count = said.load_kw.len();
    if !(1..=ATTESTED_HOURS_MAX).contains(&count) {
        return Err(RejectCode::AttestedHours.into());
    }
    let hours = hours_of(said.first_hour, count)
        .filter(|hours| *hours.end() < now.utc_hour())
        .ok_or(RejectCode::HourNotOver)?;
    if is_load_too_late(said.first_hour, now) {
        return Err(RejectCode::LoadTooLate.into());
    }
    let mut days: Vec<(LoadDay, bool)> = Vec::new();
    for (hour, load_kw) in hours.zip(&said.load_kw) {
        if days.last().is_none_or(|(kept, _)| kept.day != day_of(hour)) {
            days.push((load_day(state, sender, &said.zone, day_of(hour))?, false));
        }
        let Some((kept, is_new)) = days.last_mut() else { continue };
        let Some(place) = kept.load_kw.get_mut(hour_of_day(hour)) else { continue };
        match place {
            Some(known) if known == load_kw => {}
            Some(_) => return Err(RejectCode::ContradictsLoad.into()),
            None => (*place, *is_new) = (Some(*load_kw), true),
        }
    }
    if !days.iter().any(|(_, is_new)| *is_new) {
        return Err(RejectCode::DuplicateAttestation.into());
    }
    for (day, _) in days.into_iter().filter(|(_, is_new)| *is_new) {
        state.write(&StateKey::LoadDay(sender, said.zone.clone(), day_slot(day.day)), &day);
    }
    Ok(())
}

/// What an attester has forecast for a day of a zone, with the times from which on it is in force.
///
/// # Errors
/// [`StateError`].
pub fn forecasts_of_day(
    view: &(impl StateView + ?Sized),
    attester: PartyId,
    zone: &GridZone,
    day: i64,
) -> Result<Vec<AttestedForecast>, StateError> {
    let slot = day_slot(day);
    let kept = forecast_day(view, &StateKey::ForecastDay(attester, zone.clone(), slot), day)?;
    let times = forecast_times(view, &StateKey::ForecastTimes(attester, zone.clone(), slot), day)?;
    let times: BTreeMap<Digest, UnixMillis> = times.since.into_iter().collect();
    let since = |id: &Digest| times.get(id).copied();
    let attested = |forecast: DayForecast| {
        let DayForecast { id, first_hour, load_kw, renewable_bps } = forecast;
        Some(AttestedForecast { attester, id, since: since(&id)?, first_hour, load_kw, renewable_bps })
    };
    Ok(kept.forecasts.into_iter().filter_map(attested).collect())
}

/// The days of hours that a price can follow a forecast in.
pub(crate) fn days_of(hours: &RangeInclusive<i64>) -> RangeInclusive<i64> {
    day_of(*hours.start())..=day_of(*hours.end())
}

/// The hours of a UTC day.
pub(crate) const fn hours_of_day(day: i64) -> RangeInclusive<i64> {
    let first = day.saturating_mul(24);
    first..=first.saturating_add(23)
}

/// What the attesters that a rule names have measured in an hour.
///
/// # Errors
/// [`StateError`].
pub fn loads_of_hour(
    view: &(impl StateView + ?Sized),
    rule: &DynamicRule,
    hour: i64,
) -> Result<Vec<(PartyId, u32)>, StateError> {
    let mut loads = Vec::new();
    for party in rule.actuals.parties() {
        let day = load_day(view, *party, &rule.zone, day_of(hour))?;
        let load = day.load_kw.get(hour_of_day(hour)).copied().flatten();
        loads.extend(load.map(|load_kw| (*party, load_kw)));
    }
    Ok(loads)
}
