//! `eroam ledger partners`: how each operator served each home utility, for those who choose partners.
//!
//! ```text
//! blocks -> records: energy, price, how late they came -> a row for each (payer, operator, currency)
//!        -> refused records and reservations, reservations without a record, contests -> how they ended: the state
//! ```
//! Everything here is computed from what all members see. What the ledger does not know is `null`, a page says "unknown",
//! and `unknown` says why ([`crate::partners_unknown`]): how often a driver was turned away at a station, and how much of the
//! time a station was in order. Neither is taken for zero or for perfect.

use super::reader::{Reader, ReaderError};
use crate::partners_unknown::{self, Unknown};
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::{Cdr, CdrId, CdrStatus};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, decimal};
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::time::UnixMillis;
use eroam_ledger::agreement::AgreementRecord;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::query;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::{StateError, StateKey, read};
use eroam_ledger::tx::{Envelope, Tx};
use eroam_ledger::voucher::VoucherTx;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A record that comes later than this after its session counts as late.
const LATE_MS: u64 = 86_400_000;

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum PartnersError {
    #[error(transparent)]
    Reader(#[from] ReaderError),
    #[error("the state cannot be read")]
    State(#[from] StateError),
    #[error("block {0} cannot be decoded: take the directory of another validator with --validator")]
    Block(u64),
    #[error("the sums of {operator} do not fit 64 bits")]
    Overflow { operator: PartyId },
}

/// How contests of a pair's records ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contests {
    /// The resolver may still decide.
    pub open: u64,
    /// The resolver upheld the record.
    pub upheld: u64,
    /// The operator had to give something back.
    pub given_back: u64,
    /// How much, in millionths of the currency.
    pub given_back_micros: i64,
    /// Nobody decided in time, so the record stands.
    pub lapsed: u64,
}

/// What one operator did for one home utility, in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partner {
    /// Who pays.
    pub payer: PartyId,
    /// Who delivers.
    pub operator: PartyId,
    /// The currency of the records.
    pub currency: Currency,
    /// Records that were booked.
    pub records: u64,
    /// Their energy in thousandths of a watt-hour.
    pub energy_milli_wh: u64,
    /// Their price without VAT in millionths.
    pub price_micros: i64,
    /// Millionths per kWh, without VAT, all fees and parking included, rounded down; `null` for no energy.
    pub micros_per_kwh: Option<i64>,
    /// Records that the ledger refused, by reason.
    pub records_refused: BTreeMap<String, u64>,
    /// Reservations that the ledger refused, by reason: drivers who got no power.
    pub reservations_refused: BTreeMap<String, u64>,
    /// Reservations that the ledger accepted.
    pub reservations: u64,
    /// Those of them that have expired without a record: the station gave no power after all, or the driver left.
    pub reservations_unused: u64,
    /// Contests, and how they ended.
    pub contests: Contests,
    /// Half of the records came sooner after their session's end, in milliseconds.
    pub delay_median_ms: Option<u64>,
    /// Records that came more than a day after their session.
    pub late: u64,
    /// Drivers who were turned away at stations: `null`, the ledger does not know.
    pub turned_away: Option<u64>,
    /// Time in which stations were in order, in basis points: `null`, the ledger does not know.
    pub uptime_bps: Option<u32>,
    /// Why these two are `null`.
    pub unknown: Unknown,
}

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Partners {
    /// As of this block.
    pub height: u64,
    /// And its time.
    pub time: String,
    /// By payer, then price.
    pub partners: Vec<Partner>,
}

type Pair = (PartyId, PartyId, Currency);

struct Sums<'r> {
    reader: &'r Reader,
    pairs: BTreeMap<Pair, Partner>,
    delays: BTreeMap<Pair, Vec<u64>>,
    agreements: BTreeMap<AgreementId, Option<(PartyId, PartyId, Currency)>>,
    record_pairs: BTreeMap<(PartyId, CdrId), Pair>,
    contested: BTreeSet<(PartyId, CdrId)>,
    resolved: BTreeMap<(PartyId, CdrId), i64>,
    /// Reservations without a record so far, by session.
    reserved: BTreeMap<Digest, (Pair, UnixMillis)>,
}

/// The partners on a ledger that was opened; of one member alone, if one is named.
///
/// # Errors
/// [`PartnersError`].
pub fn of(reader: &Reader, member: Option<PartyId>) -> Result<Partners, PartnersError> {
    let latest = reader.client().latest();
    let mut sums = Sums {
        reader,
        pairs: BTreeMap::new(),
        delays: BTreeMap::new(),
        agreements: BTreeMap::new(),
        record_pairs: BTreeMap::new(),
        contested: BTreeSet::new(),
        resolved: BTreeMap::new(),
        reserved: BTreeMap::new(),
    };
    for height in 1..=latest.height {
        let block = reader.block(height)?;
        let contents = block.contents().ok_or(PartnersError::Block(height))?;
        for (envelope, items) in contents.envelopes.iter().zip(&contents.items) {
            sums.take(envelope.envelope(), items, block.header().time)?;
        }
    }
    sums.judge(latest.time)?;
    let mut partners: Vec<Partner> = sums.pairs.into_values().collect();
    partners.retain(|p| member.is_none_or(|member| p.payer == member || p.operator == member));
    partners.sort_by_key(|p| (p.payer, p.currency, p.micros_per_kwh.unwrap_or(i64::MAX), p.operator));
    Ok(Partners { height: latest.height, time: latest.time.to_string(), partners })
}

impl Sums<'_> {
    fn take(&mut self, envelope: &Envelope, items: &[Item], time: UnixMillis) -> Result<(), PartnersError> {
        // A batch that was refused whole has one item, which is everybody's answer.
        let whole = match items {
            [item] => item.outcome.rejection(),
            _ => None,
        };
        let outcome = |place: usize| {
            let refused = whole.map(ItemOutcome::Rejected);
            items.get(place).map(|item| item.outcome).or(refused)
        };
        match &envelope.tx {
            Tx::Cdr(CdrTx::RecordCdrs(cdrs)) => {
                for (place, cdr) in cdrs.iter().enumerate() {
                    self.record(envelope.member, cdr, outcome(place), time)?;
                }
            }
            Tx::Cdr(CdrTx::Contest { operator, cdr, .. }) if whole.is_none() => {
                self.contested.insert((*operator, cdr.clone()));
            }
            Tx::Cdr(CdrTx::Resolve { operator, cdr, give_back }) if whole.is_none() => {
                self.resolved.insert((*operator, cdr.clone()), *give_back);
            }
            Tx::Settlement(SettlementTx::ReserveCredit(wanted)) => {
                for (place, reservation) in wanted.iter().enumerate() {
                    let of = (reservation.agreement.id, reservation.session);
                    self.reservation(of, reservation.expires_at, outcome(place))?;
                }
            }
            Tx::Voucher(VoucherTx::Reserve(wanted)) => {
                for (place, reservation) in wanted.iter().enumerate() {
                    let of = (reservation.agreement.id, reservation.spent.acceptance.session);
                    self.reservation(of, reservation.expires_at, outcome(place))?;
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Payer, operator and currency of an agreement; `None` for one that is not there.
    fn pair(&mut self, id: AgreementId) -> Result<Option<Pair>, PartnersError> {
        if let Some(known) = self.agreements.get(&id) {
            return Ok(*known);
        }
        let client = self.reader.client();
        let record: Option<AgreementRecord> = read(client, &StateKey::Agreement(id))?;
        let pair = match record {
            Some(record) => {
                let terms = StateKey::AgreementTerms(id, 1);
                let terms: Option<RoamingAgreement> = read(client, &terms)?;
                terms.map(|terms| (record.emsp, record.cpo, terms.currency))
            }
            None => None,
        };
        self.agreements.insert(id, pair);
        Ok(pair)
    }

    fn partner(&mut self, pair: Pair) -> &mut Partner {
        let (payer, operator, currency) = pair;
        self.pairs.entry(pair).or_insert_with(|| Partner {
            payer,
            operator,
            currency,
            records: 0,
            energy_milli_wh: 0,
            price_micros: 0,
            micros_per_kwh: None,
            records_refused: BTreeMap::new(),
            reservations_refused: BTreeMap::new(),
            reservations: 0,
            reservations_unused: 0,
            contests: Contests::default(),
            delay_median_ms: None,
            late: 0,
            turned_away: None,
            uptime_bps: None,
            unknown: partners_unknown::on_the_ledger(),
        })
    }

    fn record(
        &mut self,
        operator: PartyId,
        cdr: &Cdr,
        outcome: Option<ItemOutcome>,
        time: UnixMillis,
    ) -> Result<(), PartnersError> {
        let Some((payer, _, _)) = self.pair(cdr.agreement.id)? else { return Ok(()) };
        // Whoever records under somebody else's agreement is refused, and that is the sender's fault.
        let pair = (payer, operator, cdr.currency);
        let overflow = PartnersError::Overflow { operator };
        match outcome {
            // Sent again after a crash: it is booked.
            None | Some(ItemOutcome::Rejected(RejectCode::DuplicateRecord)) => {}
            Some(ItemOutcome::Rejected(code)) => {
                *self.partner(pair).records_refused.entry(name(code)).or_default() += 1;
            }
            Some(ItemOutcome::Accepted { .. }) => {
                let delay = time.since(cdr.end).map_or(0, |delay| delay.millis());
                self.delays.entry(pair).or_default().push(delay);
                self.record_pairs.insert((operator, cdr.id.clone()), pair);
                self.reserved.remove(&cdr.session);
                let partner = self.partner(pair);
                partner.records += 1;
                partner.late += u64::from(delay > LATE_MS);
                let energy = partner.energy_milli_wh.checked_add(cdr.energy.milli_wh());
                let price = partner.price_micros.checked_add(cdr.price.excl_vat);
                let (Some(energy), Some(price)) = (energy, price) else { return Err(overflow) };
                (partner.energy_milli_wh, partner.price_micros) = (energy, price);
            }
        }
        Ok(())
    }

    fn reservation(
        &mut self,
        (agreement, session): (AgreementId, Digest),
        expires_at: UnixMillis,
        outcome: Option<ItemOutcome>,
    ) -> Result<(), PartnersError> {
        let Some(pair) = self.pair(agreement)? else { return Ok(()) };
        match outcome {
            Some(ItemOutcome::Rejected(RejectCode::DuplicateReservation)) | None => {}
            Some(ItemOutcome::Rejected(code)) => {
                *self.partner(pair).reservations_refused.entry(name(code)).or_default() += 1;
            }
            Some(ItemOutcome::Accepted { .. }) => {
                self.partner(pair).reservations += 1;
                self.reserved.insert(session, (pair, expires_at));
            }
        }
        Ok(())
    }

    /// What follows from all of it.
    fn judge(&mut self, now: UnixMillis) -> Result<(), PartnersError> {
        for (operator, cdr) in std::mem::take(&mut self.contested) {
            let key = (operator, cdr);
            let Some(pair) = self.record_pairs.get(&key).copied() else { continue };
            let decided = self.resolved.get(&key).copied();
            let (operator, cdr) = &key;
            let status =
                query::cdr(self.reader.client(), *operator, cdr)?.map(|record| record.status_at(now));
            let contests = &mut self.partner(pair).contests;
            match (decided, status) {
                (Some(0), _) => contests.upheld += 1,
                (Some(micros), _) => {
                    contests.given_back += 1;
                    let sum = contests.given_back_micros.checked_add(micros);
                    contests.given_back_micros =
                        sum.ok_or(PartnersError::Overflow { operator: *operator })?;
                }
                (None, Some(CdrStatus::Contested { .. })) => contests.open += 1,
                (None, _) => contests.lapsed += 1,
            }
        }
        // Those that have not expired may still be under way.
        for (pair, expires_at) in std::mem::take(&mut self.reserved).into_values() {
            self.partner(pair).reservations_unused += u64::from(expires_at <= now);
        }
        for (pair, mut delays) in std::mem::take(&mut self.delays) {
            let middle = delays.len() / 2;
            let median = delays.get(middle).is_some().then(|| *delays.select_nth_unstable(middle).1);
            self.partner(pair).delay_median_ms = median;
        }
        for partner in self.pairs.values_mut() {
            let price = i128::from(partner.price_micros) * 1_000_000;
            let per_kwh = price.checked_div_euclid(i128::from(partner.energy_milli_wh));
            partner.micros_per_kwh = per_kwh.and_then(|micros| i64::try_from(micros).ok());
        }
        Ok(())
    }
}

/// A reject code's name, as in JSON, without its details.
fn name(code: RejectCode) -> String {
    match serde_json::to_value(code) {
        Ok(serde_json::Value::String(name)) => name,
        Ok(serde_json::Value::Object(fields)) => fields.keys().next().cloned().unwrap_or_default(),
        _ => code.to_string(),
    }
}

impl fmt::Display for Partners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "as of block {}, {}", self.height, self.time)?;
        for p in &self.partners {
            let price = p.micros_per_kwh.map_or_else(
                || "unknown".to_owned(),
                |micros| format!("{} {}/kWh", decimal(i128::from(micros), 6, 4), p.currency),
            );
            let delay = p
                .delay_median_ms
                .map_or_else(|| "unknown".to_owned(), |ms| DurationMs::from_millis(ms).to_string());
            let refused = |counts: &BTreeMap<String, u64>| {
                let all: Vec<String> = counts.iter().map(|(code, count)| format!("{code} {count}")).collect();
                if all.is_empty() { "none".to_owned() } else { all.join(", ") }
            };
            let Contests { open, upheld, given_back, lapsed, .. } = p.contests;
            write!(
                f,
                "\n{} at {}: {price}, {} records, {}\n  refused records: {}; refused reservations: {}; {} of {} \
                 reservations expired without a record\n  contests: {open} \
                 open, {upheld} upheld, {given_back} given back, {lapsed} lapsed\n  records come after {delay}, {} late\n  \
                 drivers turned away: unknown; uptime: unknown",
                p.payer,
                p.operator,
                p.records,
                WattHours::from_milli_wh(p.energy_milli_wh),
                refused(&p.records_refused),
                refused(&p.reservations_refused),
                p.reservations_unused,
                p.reservations,
                p.late
            )?;
        }
        Ok(())
    }
}
