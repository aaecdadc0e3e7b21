//! Arbitrary histories: steps that a property test generates, and a world that turns them into envelopes. Most are
//! valid, many are not; after each one the books must be sound.

use super::fixture::*;
use super::forecast::{attest, by_forecast, forecast_of, measured, rule, true_ups};
use super::voucher::{
    Held, block, paid_with, publish_voucher_key, refund, reserve_vouchers, sign, voucher_of,
};
use crate::agreement::{AgreementTx, agreement_id, terms_digest};
use crate::cdr::{CdrRecord, CdrTx};
use crate::membership::MembershipTx;
use crate::reject::ItemOutcome;
use crate::settlement::{ClosedPeriod, Exposure, SettlementTx};
use crate::state::{Account, StateKey, ledger_balance};
use crate::tariff::TariffTx;
use crate::tx::{Envelope, PublicKey, SignedEnvelope, Tx, item_count};
use crate::voucher::{VoucherReservation, VoucherState, VoucherTx};
use eroam_domain::agreement::{AgreedCost, PriceRule, RoamingAgreement, Shares, SurplusShare, VatTreatment};
use eroam_domain::cdr::{AgreementRef, Cdr, EvsePseudonym, Payer};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours};
use eroam_domain::tariff::Restrictions;
use eroam_domain::time::{PeriodKind, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::{Nullifier, Voucher};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One thing that happens. Numbers choose among what there is, modulo how much there is.
#[derive(Clone, Debug)]
pub(super) enum Step {
    Wait {
        hours: u16,
    },
    Propose {
        pair: u8,
        by: u8,
        flavour: u8,
    },
    Accept {
        agreement: u8,
        by: u8,
        version: u8,
    },
    Amend {
        agreement: u8,
        by: u8,
        flavour: u8,
    },
    Terminate {
        agreement: u8,
        by: u8,
        days: u8,
    },
    Publish {
        by: u8,
        cents: u8,
        gap: u8,
    },
    Reserve {
        by: u8,
        items: Vec<(u8, u8, u16)>,
    },
    Record {
        by: u8,
        items: Vec<Session>,
    },
    Contest {
        record: u8,
        by: u8,
    },
    Resolve {
        record: u8,
        by: u8,
        euros: i8,
    },
    Credit {
        record: u8,
        by: u8,
        euros: i8,
    },
    /// By one treasurer, or by both.
    Attest {
        by: u8,
        party: u8,
        euros: u8,
        out: bool,
        both: bool,
    },
    Close {
        kind: u8,
        back: u8,
        other_currency: bool,
    },
    Rotate {
        by: u8,
        proved: bool,
    },
    PublishVoucherKey {
        by: u8,
        seed: u8,
    },
    SpendVouchers {
        by: u8,
        items: Vec<Spending>,
    },
    /// Records of sessions that vouchers were spent on.
    RecordSpent {
        by: u8,
        items: Vec<(u8, u8)>,
    },
    RefundVouchers {
        by: u8,
        items: Vec<u8>,
    },
    BlockVouchers {
        by: u8,
        items: Vec<u8>,
    },
    /// Of the next hours.
    AttestForecast {
        by: u8,
        ahead: u8,
        loads: Vec<u16>,
    },
    /// Of the hours that were forecast last.
    AttestLoad {
        by: u8,
        loads: Vec<u16>,
    },
    /// A session in the hours that were forecast last.
    RecordByForecast {
        by: u8,
        session: Session,
    },
    TrueUp {
        by: u8,
        records: Vec<u8>,
    },
    Resend {
        which: u8,
    },
    Forge {
        which: u8,
    },
}

/// A session to record, and what is wrong with its record.
#[derive(Clone, Debug)]
pub(super) struct Session {
    agreement: u8,
    number: u8,
    hours_ago: u16,
    kwh: u8,
    spoil: u8,
}

/// A voucher that a driver spends on a session.
#[derive(Clone, Debug)]
pub(super) struct Spending {
    agreement: u8,
    voucher: u8,
    number: u8,
    hours_ago: u16,
    euros: u8,
}

fn spending() -> impl Strategy<Value = Spending> {
    (any::<u8>(), 0u8..24, 0u8..24, 1u16..700, 0u8..40).prop_map(
        |(agreement, voucher, number, hours_ago, euros)| Spending {
            agreement,
            voucher,
            number,
            hours_ago,
            euros,
        },
    )
}

fn session() -> impl Strategy<Value = Session> {
    (any::<u8>(), 0u8..40, 1u16..900, 0u8..60, any::<u8>()).prop_map(
        |(agreement, number, hours_ago, kwh, spoil)| Session { agreement, number, hours_ago, kwh, spoil },
    )
}

pub(super) fn step() -> impl Strategy<Value = Step> {
    let b = any::<u8>;
    prop_oneof![
        4 => (1u16..400).prop_map(|hours| Step::Wait { hours }),
        1 => (b(), b(), b()).prop_map(|(pair, by, flavour)| Step::Propose { pair, by, flavour }),
        1 => (b(), b(), b()).prop_map(|(agreement, by, version)| Step::Accept { agreement, by, version }),
        1 => (b(), b(), b()).prop_map(|(agreement, by, flavour)| Step::Amend { agreement, by, flavour }),
        1 => (b(), b(), b()).prop_map(|(agreement, by, days)| Step::Terminate { agreement, by, days }),
        1 => (b(), b(), b()).prop_map(|(by, cents, gap)| Step::Publish { by, cents, gap }),
        3 => (b(), proptest::collection::vec((b(), 0u8..40, 0u16..600), 1..5))
            .prop_map(|(by, items)| Step::Reserve { by, items }),
        10 => (b(), proptest::collection::vec(session(), 1..6)).prop_map(|(by, items)| Step::Record { by, items }),
        2 => (b(), b()).prop_map(|(record, by)| Step::Contest { record, by }),
        2 => (b(), b(), any::<i8>()).prop_map(|(record, by, euros)| Step::Resolve { record, by, euros }),
        2 => (b(), b(), any::<i8>()).prop_map(|(record, by, euros)| Step::Credit { record, by, euros }),
        6 => (b(), b(), b(), any::<bool>(), prop::bool::weighted(0.8))
            .prop_map(|(by, party, euros, out, both)| Step::Attest { by, party, euros, out, both }),
        7 => (b(), 0u8..6, prop::bool::weighted(0.1))
            .prop_map(|(kind, back, other_currency)| Step::Close { kind, back, other_currency }),
        1 => (b(), prop::bool::weighted(0.8)).prop_map(|(by, proved)| Step::Rotate { by, proved }),
        1 => (b(), 0u8..6).prop_map(|(by, seed)| Step::PublishVoucherKey { by, seed }),
        4 => (b(), proptest::collection::vec(spending(), 1..5))
            .prop_map(|(by, items)| Step::SpendVouchers { by, items }),
        4 => (b(), proptest::collection::vec((b(), 0u8..40), 1..5))
            .prop_map(|(by, items)| Step::RecordSpent { by, items }),
        1 => (b(), proptest::collection::vec(0u8..24, 1..5))
            .prop_map(|(by, items)| Step::RefundVouchers { by, items }),
        1 => (b(), proptest::collection::vec(0u8..24, 1..3))
            .prop_map(|(by, items)| Step::BlockVouchers { by, items }),
        3 => (b(), 1u8..80, proptest::collection::vec(0u16..1_000, 1..6))
            .prop_map(|(by, ahead, loads)| Step::AttestForecast { by, ahead, loads }),
        3 => (b(), proptest::collection::vec(0u16..1_000, 1..6))
            .prop_map(|(by, loads)| Step::AttestLoad { by, loads }),
        4 => (b(), session()).prop_map(|(by, session)| Step::RecordByForecast { by, session }),
        3 => (b(), proptest::collection::vec(b(), 1..4)).prop_map(|(by, records)| Step::TrueUp { by, records }),
        1 => b().prop_map(|which| Step::Resend { which }),
        1 => b().prop_map(|which| Step::Forge { which }),
    ]
}

fn pick<T: Copy>(list: &[T], number: u8) -> T {
    list[usize::from(number) % list.len()]
}

/// Terms between a pair, in one of several kinds.
fn flavoured(emsp: PartyId, cpo: PartyId, flavour: u8) -> RoamingAgreement {
    let mut terms = terms(emsp, cpo);
    let share = |party, bps| SurplusShare { party, share: BasisPoints::new(bps) };
    terms.period = pick(&[PeriodKind::Month, PeriodKind::Week, PeriodKind::Day], flavour);
    match flavour % 5 {
        1 => {
            let cost = AgreedCost { party: own(), per_kwh_micros: 333_333, per_session_micros: 100_000 };
            terms.shares =
                Shares { costs: vec![cost], surplus: vec![share(emsp, 1_000), share(uti(), 3_333)] };
            terms.price_rule = PriceRule::Dynamic(rule());
        }
        2 => terms.price_rule = PriceRule::Static { factor: BasisPoints::new(8_765) },
        3 => terms.vat = VatTreatment::ReverseCharge,
        4 => terms.shares.surplus = vec![share(emsp, 10_000)],
        _ => {}
    }
    if flavour > 240 {
        terms.resolver = emsp;
    }
    terms
}

pub(super) struct World {
    pub(super) chain: Chain,
    agreements: Vec<Roaming>,
    recorded: Vec<Cdr>,
    /// Sessions that vouchers were spent on: under which agreement, their numbers, and what was reserved.
    spent: Vec<(Roaming, u32, VoucherReservation)>,
    /// The first hour of each forecast that was attested.
    forecast: Vec<UnixMillis>,
    keys: u32,
}

type Name = fn() -> PartyId;
const PAIRS: [(Name, Name); 3] = [(hom, vis), (hom, uti), (uti, vis)];
const EVERYBODY: [Name; 8] = [hom, vis, uti, tr1, tr2, arb, own, stranger];

impl World {
    /// Three agreements of different kinds are in force.
    pub(super) fn new() -> Self {
        let mut chain = Chain::new();
        let agreements = (0u8..)
            .zip(PAIRS)
            .map(|(flavour, (emsp, cpo))| chain.agree(flavoured(emsp(), cpo(), flavour)))
            .collect();
        for emsp in [hom(), uti()] {
            chain.ok(emsp, publish_voucher_key(emsp));
        }
        let (recorded, spent, forecast) = (Vec::new(), Vec::new(), Vec::new());
        Self { chain, agreements, recorded, spent, forecast, keys: 0 }
    }

    fn agreement(&self, number: u8) -> Roaming {
        self.agreements[usize::from(number) % self.agreements.len()].clone()
    }

    /// Mostly the one who may, sometimes anybody.
    fn who(&self, rightly: PartyId, by: u8) -> PartyId {
        if by < 200 { rightly } else { pick(&EVERYBODY, by)() }
    }

    /// The time so many hours ago, on the hour.
    fn ago(&self, hours: u16) -> UnixMillis {
        let hour = i64::try_from(HOUR).unwrap();
        UnixMillis::new((self.chain.now.get() / hour - i64::from(hours)) * hour).unwrap()
    }

    fn cdr(&self, session: &Session, of: PartyId) -> Cdr {
        // Mostly one of the sender's own agreements.
        let own: Vec<&Roaming> = self.agreements.iter().filter(|a| a.terms.cpo == of).collect();
        let roaming = match own.get(usize::from(session.agreement) % own.len().max(1)) {
            Some(roaming) if session.spoil < 240 => (*roaming).clone(),
            _ => self.agreement(session.agreement),
        };
        let start = self.ago(session.hours_ago);
        let number = u32::from(session.number) * 4 + u32::from(session.hours_ago % 4);
        let cdr = roaming.cdr(number, start, u64::from(session.kwh) * 1_003);
        let mut cdr = by_forecast(&self.chain, &roaming, &cdr, start);
        // Records of one number differ, and most have a place of their own.
        cdr.evse = EvsePseudonym([session.number % 16; 16]);
        match session.spoil {
            0..20 => cdr.price.incl_vat += 1,
            20..30 => cdr.energy = WattHours::from_milli_wh(1),
            30..40 => cdr.currency = usd(),
            40..50 => cdr.payer = Payer::Voucher { nullifier: Nullifier(Digest::ZERO) },
            50..60 => cdr.tariff.version += 1,
            60..70 => cdr.agreement.version = 1,
            70..80 => cdr.agreement.id = Digest::ZERO,
            80..90 => cdr.periods.clear(),
            90..100 => cdr.attestation = Some(Digest::ZERO),
            _ => {}
        }
        cdr
    }

    /// One of a home utility's vouchers; every fourth has been over for long.
    fn voucher(&self, emsp: PartyId, number: u8) -> Held {
        let held = voucher_of(self.chain.network, emsp, number.into());
        if !number.is_multiple_of(4) {
            return held;
        }
        let ago = |days: u64| on(1, 1, 0).checked_sub(DurationMs::from_millis(days * DAY)).unwrap();
        let voucher = Voucher { valid_from: ago(100), valid_until: ago(60), ..held.signed.voucher };
        Held { signed: sign(voucher), ..held }
    }

    /// One of the latest records, mostly one that was booked.
    fn recorded(&self, number: u8) -> Option<Cdr> {
        let booked = |cdr: &&Cdr| {
            let key = StateKey::Cdr(self.operator_of(cdr), cdr.id.clone());
            number > 240 || self.chain.read::<CdrRecord>(&key).is_some()
        };
        self.recorded.iter().rev().filter(booked).nth(usize::from(number % 3)).cloned()
    }

    /// The operator under whose name a record is kept.
    fn operator_of(&self, cdr: &Cdr) -> PartyId {
        let of_agreement = self.agreements.iter().find(|a| a.at.id == cdr.agreement.id);
        of_agreement.map_or_else(vis, |a| a.terms.cpo)
    }

    /// Who asks for what in this step; nothing where there is nothing to choose from.
    fn tx(&mut self, step: &Step) -> Option<(PartyId, Tx)> {
        let now = self.chain.now;
        Some(match step {
            Step::Propose { pair, by, flavour } => {
                let (emsp, cpo) = pick(&PAIRS, *pair);
                let terms = flavoured(emsp(), cpo(), *flavour);
                let effective_from = now;
                let at = AgreementRef { id: agreement_id(&terms, effective_from), version: 1 };
                let tariff = self.agreements.iter().find(|a| a.terms.cpo == cpo())?.tariff.clone();
                self.agreements.push(Roaming { at, terms: terms.clone(), tariff });
                (self.who(emsp(), *by), Tx::Agreement(AgreementTx::Propose { terms, effective_from }))
            }
            Step::Accept { agreement, by, version } => {
                let Roaming { at, terms, .. } = self.agreement(*agreement);
                let record = crate::state::read::<crate::agreement::AgreementRecord>(
                    &self.chain.state,
                    &StateKey::Agreement(at.id),
                );
                let pending = record.unwrap().and_then(|r| r.pending);
                let version = pending.map_or(u32::from(*version), |p| p.version.number);
                let digest = pending.map_or_else(|| terms_digest(&terms, now), |p| p.terms);
                let other = pending.and_then(|p| terms.counterparty(p.by)).unwrap_or(terms.cpo);
                let tx = AgreementTx::Accept { id: at.id, version, terms: digest };
                (self.who(other, *by), Tx::Agreement(tx))
            }
            Step::Amend { agreement, by, flavour } => {
                let Roaming { at, terms, tariff } = self.agreement(*agreement);
                let mut amended = flavoured(terms.emsp, terms.cpo, *flavour);
                if *flavour < 200 {
                    amended.period = terms.period;
                }
                let at = AgreementRef { version: at.version + 1, ..at };
                self.agreements.push(Roaming { at, terms: amended.clone(), tariff });
                let tx = AgreementTx::Amend { id: at.id, terms: amended, effective_from: now };
                (self.who(terms.emsp, *by), Tx::Agreement(tx))
            }
            Step::Terminate { agreement, by, days } => {
                let Roaming { at, terms, .. } = self.agreement(*agreement);
                let at_time = later(now, u64::from(*days) * DAY);
                let tx = AgreementTx::Terminate { id: at.id, at: at_time };
                (self.who(terms.emsp, *by), Tx::Agreement(tx))
            }
            Step::Publish { by, cents, gap } => {
                let cpo = pick(&[vis(), uti()], *by);
                let price = i64::from(*cents) * 10_001;
                let tariff = tariff_of(cpo, "T1", eur(), price, Restrictions::NONE);
                let latest = crate::query::latest_tariff(&self.chain.state, cpo, tariff.id()).unwrap();
                let version = latest.map_or(1, |(version, _)| version + 1) + u32::from(*gap > 240);
                if *gap <= 240 {
                    for roaming in self.agreements.iter_mut().filter(|a| a.terms.cpo == cpo) {
                        roaming.tariff.0.version = version;
                        roaming.tariff.1 = tariff.clone();
                    }
                }
                (cpo, Tx::Tariff(TariffTx::PublishTariff { version, tariff }))
            }
            Step::Reserve { by, items } => {
                let sender = self.who(pick(&[vis(), uti()], *by), *by);
                let items = items.iter().map(|(agreement, number, euros)| {
                    let from = self.ago(u16::from(*number));
                    self.agreement(*agreement).reservation((*number).into(), from, i64::from(*euros) * EUR)
                });
                (sender, reserve(items))
            }
            Step::Record { by, items } => {
                let sender = self.who(pick(&[vis(), uti()], *by), *by);
                let cdrs: Vec<Cdr> = items.iter().map(|s| self.cdr(s, sender)).collect();
                self.recorded.extend(cdrs.iter().cloned());
                (sender, records(cdrs))
            }
            Step::Contest { record, by } => {
                let cdr = self.recorded(*record)?;
                let emsp = self.agreements.iter().find(|a| a.at.id == cdr.agreement.id)?.terms.emsp;
                let tx = CdrTx::Contest {
                    operator: self.operator_of(&cdr),
                    cdr: cdr.id,
                    evidence: Digest::of(b"evidence"),
                };
                (self.who(emsp, *by), Tx::Cdr(tx))
            }
            Step::Resolve { record, by, euros } => {
                let cdr = self.recorded(*record)?;
                let give_back = i64::from(*euros % 40) * EUR;
                let tx = CdrTx::Resolve { operator: self.operator_of(&cdr), cdr: cdr.id, give_back };
                (self.who(arb(), *by), Tx::Cdr(tx))
            }
            Step::Credit { record, by, euros } => {
                let cdr = self.recorded(*record)?;
                let sender = self.who(self.operator_of(&cdr), *by);
                (sender, credit(&cdr, i64::from(*euros % 40) * EUR))
            }
            Step::Attest { by, party, euros, out, .. } => {
                let party = pick(&EVERYBODY, *party)();
                let amount = Money::new(i64::from(*euros % 100) * 2_000_003, eur());
                let reference = ShortText::new(&format!("{party} {euros}")).unwrap();
                let tx = if *out {
                    SettlementTx::AttestPayout { party, amount, reference }
                } else {
                    SettlementTx::AttestDeposit { party, amount, reference }
                };
                (self.who(pick(&[tr1(), tr2()], *by), *by), Tx::Settlement(tx))
            }
            Step::Close { kind, back, other_currency } => {
                let kind = pick(&[PeriodKind::Month, PeriodKind::Week, PeriodKind::Day], *kind);
                let days = match kind {
                    PeriodKind::Month => 31,
                    PeriodKind::Week => 7,
                    PeriodKind::Day => 1,
                };
                let then = self.ago(u16::from(*back) * days * 24);
                let period = SettlementPeriod::containing(kind, then);
                let currency = if *other_currency { usd() } else { eur() };
                (arb(), Tx::Settlement(SettlementTx::ClosePeriod { period, currency }))
            }
            Step::Rotate { by, proved } => {
                let sender = pick(&EVERYBODY[..7], *by)();
                self.keys += 1;
                let network = if *proved { self.chain.network } else { Digest::ZERO };
                let new = key_of(&format!("key {}", self.keys));
                (sender, Tx::Membership(MembershipTx::rotate(network, sender, &new)))
            }
            Step::PublishVoucherKey { by, seed } => {
                let sender = self.who(pick(&[hom(), uti()], *by), *by);
                let public = PublicKey::of(&key_of(&format!("voucher key {seed}")));
                let valid_until = later(now, u64::from(*seed) * 100 * DAY);
                (sender, Tx::Voucher(VoucherTx::PublishKey { public, valid_from: now, valid_until }))
            }
            Step::SpendVouchers { by, items } => {
                let sender = self.who(pick(&[vis(), uti()], *by), *by);
                let own: Vec<Roaming> =
                    self.agreements.iter().filter(|a| a.terms.cpo == sender).cloned().collect();
                let spent = items.iter().map(|item| {
                    let roaming = match own.get(usize::from(item.agreement) % own.len().max(1)) {
                        Some(roaming) if item.agreement < 230 => roaming.clone(),
                        _ => self.agreement(item.agreement),
                    };
                    let number = 1_000 + u32::from(item.number);
                    let cdr = roaming.cdr(number, self.ago(item.hours_ago), 0);
                    let held = self.voucher(roaming.terms.emsp, item.voucher);
                    let limit = i64::from(item.euros) * EUR;
                    let reservation = held.reservation_of(&cdr, roaming.terms.cpo, limit);
                    (roaming, number, reservation)
                });
                let spent: Vec<_> = spent.collect();
                self.spent.extend(spent.iter().cloned());
                (sender, reserve_vouchers(spent.into_iter().map(|(_, _, reservation)| reservation)))
            }
            Step::RecordSpent { by, items } => {
                let last = self.spent.last()?;
                let sender = self.who(last.0.terms.cpo, *by);
                let cdr = |(which, kwh): &(u8, u8)| {
                    let place = usize::from(which % 6);
                    let (roaming, number, reservation) = self.spent.iter().rev().nth(place)?;
                    let accepted_at = reservation.spent.acceptance.accepted_at;
                    let cdr = roaming.cdr(*number, accepted_at, u64::from(*kwh) * 1_003);
                    let mut cdr = by_forecast(&self.chain, roaming, &cdr, accepted_at);
                    // Most have a place of their own.
                    cdr.evse = EvsePseudonym([100 + u8::try_from(number % 100).unwrap(); 16]);
                    Some(paid_with(&cdr, reservation))
                };
                let cdrs: Vec<Cdr> = items.iter().filter_map(cdr).collect();
                self.recorded.extend(cdrs.iter().cloned());
                (sender, records(cdrs))
            }
            Step::RefundVouchers { by, items } => {
                let emsp = pick(&[hom(), uti()], *by);
                let vouchers: Vec<_> = items.iter().map(|n| self.voucher(emsp, *n).signed).collect();
                (self.who(emsp, *by), refund(vouchers))
            }
            Step::BlockVouchers { by, items } => {
                let emsp = pick(&[hom(), uti()], *by);
                let nullifiers: Vec<_> = items.iter().map(|n| self.voucher(emsp, *n).nullifier()).collect();
                (self.who(emsp, *by), block(nullifiers))
            }
            Step::AttestForecast { by, ahead, loads } => {
                let first = later(self.ago(0), u64::from(*ahead) * HOUR);
                let loads: Vec<u32> = loads.iter().map(|kw| u32::from(*kw)).collect();
                self.forecast.push(first);
                (self.who(tr1(), *by), attest(forecast_of(first, &loads)))
            }
            Step::AttestLoad { by, loads } => {
                let loads: Vec<u32> = loads.iter().map(|kw| u32::from(*kw)).collect();
                (self.who(tr1(), *by), measured(*self.forecast.last()?, &loads))
            }
            Step::RecordByForecast { by, session } => {
                let by_rule = |a: &&Roaming| matches!(a.terms.price_rule, PriceRule::Dynamic(_));
                let roaming = self.agreements.iter().rev().find(by_rule)?.clone();
                let start = later(*self.forecast.last()?, u64::from(session.hours_ago % 5) * HOUR / 2);
                let number = 3_000 + u32::from(session.number);
                let mut cdr = roaming.cdr(number, start, u64::from(session.kwh) * 1_003);
                cdr.evse = EvsePseudonym([200 + session.number % 16; 16]);
                let cdr = by_forecast(&self.chain, &roaming, &cdr, start);
                self.recorded.push(cdr.clone());
                (self.who(roaming.terms.cpo, *by), records([cdr]))
            }
            Step::TrueUp { by, records } => {
                let dynamic = self.recorded.iter().rev().filter(|cdr| cdr.attestation.is_some());
                let known: Vec<&Cdr> = dynamic.take(4).collect();
                let first = known.first()?;
                let emsp = self.agreements.iter().find(|a| a.at.id == first.agreement.id)?.terms.emsp;
                let pick = |n: &u8| known[usize::from(*n) % known.len()].clone();
                let (sender, cdrs) = (self.who(emsp, *by), records.iter().map(pick).collect::<Vec<_>>());
                (sender, true_ups(cdrs))
            }
            Step::Wait { .. } | Step::Resend { .. } | Step::Forge { .. } => return None,
        })
    }

    /// Takes the step and looks whether the books are still sound.
    pub(super) fn take(&mut self, step: &Step) {
        let old = |world: &Self, which: u8| {
            let place = usize::from(which) % world.chain.log.len();
            world.chain.log[world.chain.log.len() - 1 - place].1.clone()
        };
        let signed = match step {
            Step::Wait { hours } => {
                self.chain.now = later(self.chain.now, u64::from(*hours) * HOUR);
                return;
            }
            Step::Attest { by, party, euros, out, both: true } => {
                for by in [by & 1, 1 - (by & 1)] {
                    self.take(&Step::Attest { by, party: *party, euros: *euros, out: *out, both: false });
                }
                return;
            }
            // Mostly with what follows: the loads come, and one of the sides asks.
            Step::RecordByForecast { by, session } if session.spoil < 200 => {
                let loads = vec![u16::from(session.spoil) * 5; 4];
                let session = Session { spoil: u8::MAX, ..session.clone() };
                self.take(&Step::RecordByForecast { by: *by, session });
                self.take(&Step::AttestLoad { by: *by, loads });
                self.take(&Step::TrueUp { by: *by, records: vec![0] });
                return;
            }
            Step::Resend { which } => old(self, *which),
            Step::Forge { which } => {
                let envelope = old(self, *which).envelope().clone();
                let next = self.chain.envelope(envelope.member, envelope.tx.clone());
                match which % 3 {
                    0 => next.sign(&key_of("thief")),
                    1 => self.chain.sign(Envelope { expires_at: self.chain.now, ..next }),
                    _ => self.chain.sign(Envelope { sequence: next.sequence + 1, ..next }),
                }
            }
            _ => {
                let Some((sender, tx)) = self.tx(step) else { return };
                self.chain.sign(self.chain.envelope(sender, tx))
            }
        };
        let before = self.chain.fork();
        let outcome = self.chain.run(&signed);
        let count = item_count(&signed.envelope().tx);
        assert!([1, count].contains(&outcome.items.len()), "an item for each part, or one for all");
        if let Tx::Membership(MembershipTx::RotateKey { .. }) = &signed.envelope().tx
            && outcome.items[0].outcome.is_accepted()
        {
            let new = key_of(&format!("key {}", self.keys));
            self.chain.use_key(signed.envelope().member, new);
        }
        self.check_refusals(&before, &signed);
        check_books(&self.chain);
    }

    /// What was refused changed nothing: the lane apart, the envelope wrote what its accepted items write alone.
    fn check_refusals(&self, before: &Chain, signed: &SignedEnvelope) {
        let (_, _, items) = self.chain.log.last().unwrap();
        let accepted: Vec<bool> = items.iter().map(|i| i.outcome.is_accepted()).collect();
        if accepted.iter().all(|a| *a) {
            return;
        }
        let keep = |place: usize| accepted[place];
        let tx = match &signed.envelope().tx {
            Tx::Cdr(CdrTx::RecordCdrs(cdrs)) if accepted.contains(&true) => {
                records(cdrs.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, c)| c.clone()))
            }
            Tx::Cdr(CdrTx::TrueUp(cdrs)) if accepted.contains(&true) => {
                true_ups(cdrs.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, c)| c.clone()))
            }
            Tx::Settlement(SettlementTx::ReserveCredit(all)) if accepted.contains(&true) => {
                reserve(all.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, r)| r.clone()))
            }
            Tx::Voucher(VoucherTx::Reserve(all)) if accepted.contains(&true) => {
                reserve_vouchers(all.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, r)| r.clone()))
            }
            Tx::Voucher(VoucherTx::Refund(all)) if accepted.contains(&true) => {
                refund(all.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, v)| *v))
            }
            Tx::Voucher(VoucherTx::Block(all)) if accepted.contains(&true) => {
                block(all.iter().enumerate().filter(|(n, _)| keep(*n)).map(|(_, n)| *n))
            }
            _ => {
                assert_eq!(self.chain.digest(), before.digest(), "a refusal changed the state");
                return;
            }
        };
        let mut good = before.fork();
        good.ok(signed.envelope().member, tx);
        assert_eq!(self.chain.digest(), good.digest(), "a refused item changed the state");
    }
}

/// Money is neither made nor lost, in any of the ways in which it could show.
fn check_books(chain: &Chain) {
    for (currency, sum) in ledger_balance(chain.state.iter()).unwrap() {
        assert_eq!(sum, 0, "members' accounts and attested deposits differ by {sum} {currency}");
    }
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for (key, value) in chain.state.iter() {
        match codec::from_bytes::<StateKey>(key).unwrap() {
            StateKey::Account(account) => {
                let balance: i64 = codec::from_bytes(value).unwrap();
                assert_ne!(balance, 0, "an empty account leaves no trace");
                *sums.entry(account.currency()).or_default() += i128::from(balance);
                match account {
                    Account::Cash(party, _) => assert!(balance > 0, "{party} has {balance}"),
                    Account::Receivable(period, creditor, debtor, currency) => {
                        let owed = chain.balance(Account::Payable(period, debtor, creditor, currency));
                        assert_eq!(owed, -balance, "{debtor} owes {creditor} in {period}");
                    }
                    _ => {}
                }
            }
            StateKey::ClosedPeriod(period, currency) => {
                let closed: ClosedPeriod = codec::from_bytes(value).unwrap();
                let sum: i128 = closed.net.iter().map(|n| i128::from(n.micros)).sum();
                assert_eq!(sum, 0, "{period} {currency}");
                let open: i64 =
                    closed.net.iter().map(|n| chain.balance(Account::Net(period, n.party, currency))).sum();
                assert_eq!(open, 0, "what is unpaid of {period} {currency}");
            }
            StateKey::Voucher(emsp, _) => match codec::from_bytes(value).unwrap() {
                VoucherState::Spent { operator, cdr, amount } => {
                    let record = chain.read::<CdrRecord>(&StateKey::Cdr(operator, cdr)).unwrap();
                    assert_eq!((record.emsp, record.amount), (emsp, amount));
                    assert!((0..=30 * EUR).contains(&amount), "{amount} is above the cap");
                }
                VoucherState::Reserved { limit, .. } => {
                    assert!((1..=30 * EUR).contains(&limit), "{limit} is above the cap");
                }
                VoucherState::Refunded | VoucherState::Blocked => {}
            },
            StateKey::Exposure(id) => {
                let exposure: Exposure = codec::from_bytes(value).unwrap();
                let reserved = exposure.reserved.iter().all(|(_, amount)| *amount > 0);
                assert!(reserved, "agreement {id}: {exposure:?}");
            }
            _ => {}
        }
    }
    assert!(sums.values().all(|sum| *sum == 0), "all accounts together: {sums:?}");
}

/// How often each outcome came out, for a look at what a generator reaches.
pub(super) fn accepted_and_refused(chain: &Chain) -> (usize, usize) {
    let items = chain.log.iter().flat_map(|(_, _, items)| items);
    let refused = items.clone().filter(|i| matches!(i.outcome, ItemOutcome::Rejected(_))).count();
    (items.count() - refused, refused)
}
