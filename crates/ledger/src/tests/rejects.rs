//! Every refusal, in the documented order.
//!
//! A ladder is a valid envelope and the ways to spoil it, in the order in which the checks run. Each rung is climbed
//! twice: spoiled in this way alone, and in this way together with all the later ones; both times its code must come
//! out, and a refusal must change nothing but, at most, the lane. So a ladder proves the order of its checks.

use super::fixture::*;
use super::forecast::{
    attest, booked_by_forecast, by_forecast, dynamic_terms, forecast_of, measured, rule, true_ups,
};
use super::registry::{
    definition_id, did_on, document, grant, make_issuer, publish_dated_registry, publish_definition,
    publish_did, publish_registry, publish_schema, registry_id, schema_id, update, with_registry,
};
use super::voucher::{
    block, paid_with, publish_voucher_key, refund, reserve_vouchers, revoke_voucher_key, signer_of,
    voucher_of,
};
use crate::agreement::{AgreementRecord, AgreementTx, VERSIONS_MAX, Version, terms_digest};
use crate::cdr::{CdrRecord, CdrTx, DAY_SLOTS, EvseDay, RECORDS_PER_EVSE_DAY_MAX};
use crate::forecast::{
    DayForecast, ForecastAttestation, ForecastDay, ForecastTx, LoadAttestation, LoadDay, PER_DAY_MAX,
    attestation_id,
};
use crate::membership::{KEYS_MAX, MembershipTx};
use crate::registry::{
    Mandate, REGISTRY_SIZE_MAX, REGISTRY_WINDOW_MAX, RegistryTx, RevocationChange, SchemaRecord, did_digest,
};
use crate::reject::RejectCode;
use crate::settlement::{Attestation, CreditReservation, PAIR_BALANCE_MAX, SettlementTx};
use crate::state::{Account, AttestationKind, StateKey, StateView as _};
use crate::tariff::TariffTx;
use crate::tx::{Envelope, LANES_MAX, PublicKey, Tx};
use crate::voucher::{self, VoucherKey, VoucherReservation, VoucherState, VoucherTx, acceptance_digest};
use ed25519_dalek::SigningKey;
use eroam_domain::agreement::{
    Actuals, BENEFICIARIES_MAX, DynamicRule, Panel, PriceRule, RoamingAgreement, SurplusShare, Terms,
    WINDOW_MAX,
};
use eroam_domain::cdr::{Adjustment, Cdr, CdrStatus, Payer, TariffRef};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Money, Price};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::tariff::{ReservationRestriction, Restrictions};
use eroam_domain::time::{PeriodKind, SettlementPeriod, UnixMillis};
use eroam_domain::voucher::{Nullifier, SignedVoucher, Voucher, VoucherAcceptance};
use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;

/// An envelope to be, on a chain.
#[derive(Clone)]
struct Case {
    chain: Chain,
    sender: PartyId,
    tx: Tx,
    /// What the envelope itself has wrong.
    envelope: Vec<fn(&mut Envelope, &Chain)>,
    /// Another key than the sender's.
    key: Option<SigningKey>,
    roaming: Roaming,
}

type Spoil = fn(&mut Case);

struct Ladder {
    name: &'static str,
    /// The first is the documented first.
    rungs: Vec<(RejectCode, Spoil)>,
    base: Case,
}

impl Case {
    /// HOM's drivers may charge at VIS's stations. `tx` sees the agreement.
    fn new(sender: PartyId, tx: impl FnOnce(&mut Chain, &Roaming) -> Tx) -> Self {
        let mut chain = Chain::new();
        let roaming = chain.agree(terms(hom(), vis()));
        let tx = tx(&mut chain, &roaming);
        Self { chain, sender, tx, envelope: Vec::new(), key: None, roaming }
    }

    fn cdrs(&mut self) -> &mut Vec<Cdr> {
        match &mut self.tx {
            Tx::Cdr(CdrTx::RecordCdrs(cdrs)) => cdrs,
            other => panic!("{other:?}"),
        }
    }

    fn cdr(&mut self) -> &mut Cdr {
        &mut self.cdrs()[0]
    }

    fn reservations(&mut self) -> &mut Vec<CreditReservation> {
        match &mut self.tx {
            Tx::Settlement(SettlementTx::ReserveCredit(items)) => items,
            other => panic!("{other:?}"),
        }
    }

    fn reservation(&mut self) -> &mut CreditReservation {
        &mut self.reservations()[0]
    }

    fn terms(&mut self) -> &mut RoamingAgreement {
        match &mut self.tx {
            Tx::Agreement(AgreementTx::Propose { terms, .. } | AgreementTx::Amend { terms, .. }) => terms,
            other => panic!("{other:?}"),
        }
    }

    fn agreement(&mut self) -> &mut Digest {
        match &mut self.tx {
            Tx::Agreement(
                AgreementTx::Accept { id, .. }
                | AgreementTx::Amend { id, .. }
                | AgreementTx::Terminate { id, .. },
            ) => id,
            other => panic!("{other:?}"),
        }
    }

    /// The party and amount of an attestation.
    fn attested(&mut self) -> (&mut PartyId, &mut Money) {
        match &mut self.tx {
            Tx::Settlement(
                SettlementTx::AttestDeposit { party, amount, .. }
                | SettlementTx::AttestPayout { party, amount, .. },
            ) => (party, amount),
            other => panic!("{other:?}"),
        }
    }

    /// Has the sender attest the same by hand, but for `edit`.
    fn seed_attestation(&mut self, edit: impl FnOnce(&mut Attestation)) {
        let (party, amount) = (*self.attested().0, *self.attested().1);
        let mut attestation = Attestation { party, amount, by: [self.sender].into(), applied: false };
        edit(&mut attestation);
        let kind = match &self.tx {
            Tx::Settlement(SettlementTx::AttestDeposit { .. }) => AttestationKind::Deposit,
            _ => AttestationKind::Payout,
        };
        self.chain.put(&StateKey::Attestation(kind, ShortText::new("ref").unwrap()), &attestation);
    }

    /// Books a record of the same number by hand: its id is taken.
    fn seed_record(&mut self, digest: Digest) {
        let roaming = self.roaming.clone();
        let cdr = self.cdr().clone();
        let record = booked(&roaming, &cdr, digest);
        self.chain.put(&StateKey::Cdr(vis(), cdr.id), &record);
    }

    /// Changes a booked record by hand.
    fn edit_record(&mut self, edit: impl FnOnce(&mut CdrRecord)) {
        let key = StateKey::Cdr(vis(), self.roaming.cdr(1, on(1, 10, 8), 10_000).id);
        let mut record: CdrRecord = self.chain.read(&key).unwrap();
        edit(&mut record);
        self.chain.put(&key, &record);
    }

    /// The EVSE's slot for the day of the record.
    fn put_evse_day(&mut self, entry: &EvseDay) {
        let cdr = self.cdr().clone();
        let slot = u8::try_from(cdr.start.utc_day().rem_euclid(i64::from(DAY_SLOTS))).unwrap();
        self.chain.put(&StateKey::EvseDay(vis(), cdr.evse, slot), entry);
    }

    /// Executes it; checks that a refusal changed nothing.
    fn refusal(mut self) -> Option<RejectCode> {
        let mut envelope = self.chain.envelope(self.sender, self.tx);
        for spoil in &self.envelope {
            spoil(&mut envelope, &self.chain);
        }
        let key = self.key.unwrap_or_else(|| self.chain.key(envelope.member));
        let signed = envelope.sign(&key);
        let before = self.chain.digest();
        let outcome = self.chain.run(&signed);
        assert_eq!(outcome.items.len(), 1);
        let code = outcome.items[0].outcome.rejection()?;
        assert_eq!(self.chain.digest(), before, "a refusal changed the state");
        assert_eq!(outcome.writes.is_empty(), code.leaves_sequence(), "{code:?}: the lane");
        assert!(outcome.writes.len() <= 1, "a refusal wrote more than the lane");
        Some(code)
    }
}

fn booked(roaming: &Roaming, cdr: &Cdr, digest: Digest) -> CdrRecord {
    CdrRecord {
        digest,
        agreement: roaming.at,
        emsp: hom(),
        amount: 10 * EUR,
        period: month(1),
        status: CdrStatus::Provisional { contest_until: later(cdr.end, 40 * DAY) },
        adjustments: Vec::new(),
    }
}

/// What `Price` a mismatch shows depends on what else is spoiled.
fn same(found: RejectCode, wanted: RejectCode) -> bool {
    match wanted {
        RejectCode::PriceMismatch(_) => discriminant(&found) == discriminant(&wanted),
        _ => found == wanted,
    }
}

fn envelope_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(vis(), |_, roaming| records([roaming.cdr(1, on(1, 10, 8), 10_000)]));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (WrongVersion, |c| c.envelope.push(|e, _| e.version = 2)),
        (WrongNetwork, |c| c.envelope.push(|e, _| e.network = Digest::ZERO)),
        (UnknownMember, |c| c.sender = stranger()),
        (UnknownKey, |c| c.envelope.push(|e, _| e.key = 9)),
        (RotatedKey, |c| {
            let old = c.chain.key(vis());
            c.chain.rotate(vis(), "new");
            c.key.get_or_insert(old);
            c.envelope.push(|e, _| e.key = 0);
        }),
        (BadSignature, |c| c.key = Some(key_of("thief"))),
        (UnknownLane, |c| c.envelope.push(|e, _| e.lane = LANES_MAX)),
        (SequenceUsed, |c| c.envelope.push(|e, _| e.sequence = 0)),
        (SequenceGap, |c| c.envelope.push(|e, _| e.sequence = 99)),
        (Expired, |c| c.envelope.push(|e, chain| e.expires_at = chain.now)),
        (BatchSize, |c| c.cdrs().clear()),
    ];
    Ladder { name: "envelope", rungs, base }
}

fn rotate_ladder() -> Ladder {
    use RejectCode::*;
    fn proof(c: &mut Case) -> (&mut PublicKey, &mut [u8; 64]) {
        match &mut c.tx {
            Tx::Membership(MembershipTx::RotateKey { key, proof }) => (key, proof),
            other => panic!("{other:?}"),
        }
    }
    let base = Case::new(vis(), |chain, _| {
        Tx::Membership(MembershipTx::rotate(chain.network, vis(), &key_of("new")))
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (KeyReused, |c| *proof(c).0 = PublicKey::of(&key_of("PT-VIS"))),
        (TooManyKeys, |c| (1..KEYS_MAX).for_each(|n| c.chain.rotate(vis(), &format!("key {n}")))),
        (BadKeyProof, |c| proof(c).1[0] ^= 1),
    ];
    Ladder { name: "rotate", rungs, base }
}

fn bad_terms() -> Vec<(RejectCode, Spoil)> {
    use RejectCode::BadTerms;
    vec![
        (BadTerms(1), |c| c.terms().cpo = c.terms().emsp),
        (BadTerms(2), |c| c.terms().resolver = c.terms().emsp),
        (BadTerms(3), |c| c.terms().credit_limit.currency = usd()),
        (BadTerms(4), |c| c.terms().limits.amount_max = 0),
        (BadTerms(5), |c| {
            c.terms().price_rule = PriceRule::Static { factor: BasisPoints::new(0) };
        }),
        (BadTerms(6), |c| {
            let share = SurplusShare { party: own(), share: BasisPoints::new(1) };
            c.terms().shares.surplus = vec![share; BENEFICIARIES_MAX + 1];
        }),
        (BadTerms(7), |c| c.terms().limits.power_max = Watts::ZERO),
        (BadTerms(8), |c| {
            c.terms().contest_window = DurationMs::from_millis(WINDOW_MAX.millis() + 1);
        }),
        (BadTerms(9), |c| c.terms().terms = Terms::Committed),
        (BadTerms(10), |c| {
            let forecasters = Panel { parties: vec![c.terms().cpo], quorum: 1 };
            c.terms().price_rule = PriceRule::Dynamic(DynamicRule { forecasters, ..rule() });
        }),
        (BadTerms(11), |c| {
            let actuals = Actuals::Independent { attester: c.terms().cpo };
            c.terms().price_rule = PriceRule::Dynamic(DynamicRule { actuals, ..rule() });
        }),
    ]
}

fn propose_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(uti(), |_, _| {
        Tx::Agreement(AgreementTx::Propose { terms: terms(uti(), vis()), effective_from: on(2, 1, 0) })
    });
    let mut rungs = bad_terms();
    rungs.extend::<Vec<(RejectCode, Spoil)>>(vec![
        (NotASide, |c| c.sender = tr1()),
        (UnknownParty, |c| c.terms().resolver = tr1()),
        (AgreementExists, |c| {
            c.chain.propose(&terms(uti(), vis()));
        }),
    ]);
    Ladder { name: "propose", rungs, base }
}

fn accept_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(vis(), |chain, roaming| {
        let (id, from) = (roaming.at.id, on(3, 1, 0));
        let amended = AgreementTx::Amend {
            id,
            terms: RoamingAgreement { resolver: own(), ..terms(hom(), vis()) },
            effective_from: from,
        };
        chain.ok(hom(), Tx::Agreement(amended));
        let read = RoamingAgreement { resolver: own(), ..terms(hom(), vis()) };
        Tx::Agreement(AgreementTx::Accept { id, version: 2, terms: terms_digest(&read, from) })
    });
    fn accepted(c: &mut Case) -> (&mut u32, &mut Digest) {
        match &mut c.tx {
            Tx::Agreement(AgreementTx::Accept { version, terms, .. }) => (version, terms),
            other => panic!("{other:?}"),
        }
    }
    fn edit(c: &mut Case, change: impl FnOnce(&mut AgreementRecord)) {
        let key = StateKey::Agreement(c.roaming.at.id);
        let mut record: AgreementRecord = c.chain.read(&key).unwrap();
        change(&mut record);
        c.chain.put(&key, &record);
    }
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownAgreement, |c| *c.agreement() = Digest::ZERO),
        (NotASide, |c| c.sender = uti()),
        (AgreementTerminated, |c| {
            let (id, at) = (c.roaming.at.id, on(2, 1, 0));
            c.chain.ok(hom(), Tx::Agreement(AgreementTx::Terminate { id, at }));
        }),
        (NothingToAccept, |c| *accepted(c).0 = 3),
        (OwnProposal, |c| c.sender = hom()),
        (TermsDiffer, |c| *accepted(c).1 = terms_digest(&terms(hom(), vis()), on(3, 1, 0))),
        (WrongAgreementVersion, |c| {
            edit(c, |record| record.pending.as_mut().unwrap().version.since = on(1, 1, 0));
        }),
        (LimitReached, |c| {
            edit(c, |record| {
                let version = |n| Version { number: 1, since: later(on(1, 1, 0), n) };
                record.versions = (0..u64::try_from(VERSIONS_MAX).unwrap()).map(version).collect();
            });
        }),
    ];
    Ladder { name: "accept", rungs, base }
}

fn amend_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(vis(), |_, roaming| {
        let terms = RoamingAgreement { resolver: own(), ..terms(hom(), vis()) };
        Tx::Agreement(AgreementTx::Amend { id: roaming.at.id, terms, effective_from: on(3, 1, 0) })
    });
    let mut rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownAgreement, |c| *c.agreement() = Digest::ZERO),
        (NotASide, |c| c.sender = tr1()),
        (AgreementTerminated, |c| {
            let id = *c.agreement();
            c.chain.ok(vis(), Tx::Agreement(AgreementTx::Terminate { id, at: on(2, 1, 0) }));
        }),
    ];
    rungs.extend(bad_terms());
    rungs.extend::<Vec<(RejectCode, Spoil)>>(vec![
        (NotASide, |c| c.terms().cpo = uti()),
        (UnknownParty, |c| c.terms().resolver = tr1()),
        (AgreementNotAccepted, |c| *c.agreement() = c.chain.propose(&terms(uti(), vis()))),
        (ImmutableTerms, |c| c.terms().period = PeriodKind::Day),
    ]);
    Ladder { name: "amend", rungs, base }
}

fn terminate_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |_, roaming| {
        Tx::Agreement(AgreementTx::Terminate { id: roaming.at.id, at: on(2, 1, 0) })
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownAgreement, |c| *c.agreement() = Digest::ZERO),
        (NotASide, |c| c.sender = uti()),
        (AgreementTerminated, |c| {
            let id = c.roaming.at.id;
            c.chain.ok(vis(), Tx::Agreement(AgreementTx::Terminate { id, at: on(2, 1, 0) }));
        }),
        (InThePast, |c| {
            let (id, at) = (c.roaming.at.id, UnixMillis::new(c.chain.now.get() - 1).unwrap());
            c.tx = Tx::Agreement(AgreementTx::Terminate { id, at });
        }),
    ];
    Ladder { name: "terminate", rungs, base }
}

fn tariff_ladder() -> Ladder {
    use RejectCode::*;
    let base =
        Case::new(vis(), |_, _| Tx::Tariff(TariffTx::PublishTariff { version: 2, tariff: tariff(vis()) }));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (WrongRole, |c| c.sender = hom()),
        (NotOwnTariff, |c| {
            let Tx::Tariff(TariffTx::PublishTariff { tariff: published, .. }) = &mut c.tx else { panic!() };
            *published = tariff(uti());
        }),
        (WrongTariffVersion, |c| {
            let Tx::Tariff(TariffTx::PublishTariff { version, .. }) = &mut c.tx else { panic!() };
            *version = 3;
        }),
    ];
    Ladder { name: "tariff", rungs, base }
}

/// Shifts all times of a record.
fn shift(cdr: &mut Cdr, ms: u64) {
    for time in [&mut cdr.accepted_at, &mut cdr.start, &mut cdr.end] {
        *time = later(*time, ms);
    }
    for period in &mut cdr.periods {
        period.start = later(period.start, ms);
    }
}

fn set_energy(cdr: &mut Cdr, wh: u64) {
    cdr.energy = WattHours::from_wh(wh).unwrap();
    cdr.periods[0].energy = cdr.energy;
}

fn malformed() -> Vec<(RejectCode, Spoil)> {
    use RejectCode::MalformedRecord;
    vec![
        (MalformedRecord(1), |c| c.cdr().end = UnixMillis::new(c.cdr().start.get() - 1).unwrap()),
        (MalformedRecord(2), |c| c.cdr().accepted_at = later(c.cdr().start, 1)),
        (MalformedRecord(3), |c| c.cdr().periods.clear()),
        (MalformedRecord(4), |c| {
            let before = UnixMillis::new(c.cdr().start.get() - 1).unwrap();
            c.cdr().periods[0].start = before;
        }),
        (MalformedRecord(5), |c| c.cdr().periods[0].parking = DurationMs::from_millis(30 * DAY)),
        (MalformedRecord(6), |c| {
            let cdr = c.cdr();
            let mut last = cdr.periods[0];
            (last.start, last.charging) = (cdr.end, DurationMs::ZERO);
            cdr.periods.push(last);
        }),
        (MalformedRecord(7), |c| c.cdr().energy = WattHours::from_milli_wh(1)),
    ]
}

fn record_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(vis(), |_, roaming| records([roaming.cdr(1, on(1, 10, 8), 10_000)]));
    let mut rungs: Vec<(RejectCode, Spoil)> =
        vec![(BatchSize, |c| c.cdrs().clear()), (WrongRole, |c| c.sender = hom())];
    rungs.extend(malformed());
    rungs.extend::<Vec<(RejectCode, Spoil)>>(vec![
        (DuplicateRecord, |c| {
            let digest = c.cdr().digest();
            c.seed_record(digest);
        }),
        (ConflictingRecord, |c| c.seed_record(Digest::ZERO)),
        (WrongSession, |c| c.cdr().session = Digest::ZERO),
        (UnknownAgreement, |c| c.cdr().agreement.id = Digest::ZERO),
        (NotASide, |c| c.cdr().agreement = c.chain.agree(terms(hom(), uti())).at),
        (AgreementNotAccepted, |c| c.cdr().agreement.id = c.chain.propose(&terms(uti(), vis()))),
        (WrongAgreementVersion, |c| c.cdr().agreement.version = 2),
        (WrongCurrency, |c| c.cdr().currency = usd()),
        (UnknownVoucher, |c| c.cdr().payer = Payer::Voucher { nullifier: Nullifier(Digest::ZERO) }),
        (UnexpectedAttestation, |c| c.cdr().attestation = Some(Digest::ZERO)),
        (FromTheFuture, |c| {
            let ahead = c.chain.now.since(c.cdr().end).unwrap().millis() + 1;
            shift(c.cdr(), ahead);
        }),
        (TooLate, |c| c.chain.now = later(c.cdr().end, 30 * DAY + 1)),
        (StaleAcceptance, |c| {
            c.cdr().accepted_at =
                UnixMillis::new(c.cdr().start.get() - i64::try_from(DAY).unwrap() - 1).unwrap();
        }),
        (EnergyLimit, |c| set_energy(c.cdr(), 100_001)),
        (DurationLimit, |c| c.cdr().end = later(c.cdr().start, DAY + 1)),
        (PowerLimit, |c| set_energy(c.cdr(), 50_001)),
        (AmountLimit, |c| c.cdr().price.incl_vat = 100 * EUR + 1),
        (UnknownTariff, |c| c.cdr().tariff.version = 99),
        (TariffNotPublished, |c| {
            let (tariff, after) = (c.cdr().tariff.clone(), later(c.cdr().accepted_at, 1));
            c.chain.put(&StateKey::TariffPublished(vis(), tariff.id, tariff.version), &after);
        }),
        (WrongCurrency, |c| {
            c.cdr().tariff = c.chain.publish(tariff_of(vis(), "T2", usd(), EUR, Restrictions::NONE)).0;
        }),
        (NoPrice, |c| {
            let reserved =
                Restrictions { reservation: Some(ReservationRestriction::Reservation), ..Restrictions::NONE };
            c.cdr().tariff = c.chain.publish(tariff_of(vis(), "T3", eur(), EUR, reserved)).0;
        }),
        (PriceMismatch(Price { excl_vat: 10 * EUR, incl_vat: 10 * EUR }), |c| c.cdr().price.excl_vat -= 1),
        (TooLate, |c| {
            let day = c.cdr().start.utc_day() + i64::from(DAY_SLOTS);
            c.put_evse_day(&EvseDay { day, intervals: Vec::new() });
        }),
        (EvseDayFull, |c| {
            let (day, taken) = (c.cdr().start.utc_day(), (c.cdr().start, c.cdr().end));
            c.put_evse_day(&EvseDay { day, intervals: vec![taken; RECORDS_PER_EVSE_DAY_MAX] });
        }),
        (OverlappingRecord, |c| {
            let (day, end) = (c.cdr().start.utc_day(), c.cdr().end);
            let another = (UnixMillis::new(end.get() - 1).unwrap(), later(end, HOUR));
            c.put_evse_day(&EvseDay { day, intervals: vec![another] });
        }),
        (LimitReached, |c| c.chain.put(&StateKey::PeriodPairs(month(1), eur()), &full_period())),
        (Overflow, |c| {
            let due = Account::Receivable(month(1), vis(), hom(), eur());
            c.chain.put(&StateKey::Account(due), &(PAIR_BALANCE_MAX - 10 * EUR + 1));
        }),
    ]);
    Ladder { name: "record", rungs, base }
}

/// A case with record 1 booked.
fn disputed(sender: PartyId, tx: fn(&mut Chain, &Cdr) -> Tx) -> Case {
    Case::new(sender, |chain, roaming| {
        let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
        chain.record(&cdr, vis());
        tx(chain, &cdr)
    })
}

fn contest_ladder() -> Ladder {
    use RejectCode::*;
    let base = disputed(hom(), |_, cdr| contest(cdr));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownRecord, |c| c.tx = contest(&c.roaming.cdr(2, on(1, 10, 8), 10_000))),
        (NotASide, |c| c.sender = vis()),
        (NotContestable, |c| c.edit_record(|r| r.status = CdrStatus::Final)),
    ];
    Ladder { name: "contest", rungs, base }
}

fn resolve_ladder() -> Ladder {
    use RejectCode::*;
    let base = disputed(arb(), |chain, cdr| {
        chain.ok(hom(), contest(cdr));
        resolve(cdr, 10 * EUR)
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownRecord, |c| c.tx = resolve(&c.roaming.cdr(2, on(1, 10, 8), 10_000), 1)),
        (NotResolver, |c| c.sender = own()),
        (NotResolvable, |c| c.edit_record(|r| r.status = CdrStatus::Final)),
        (AdjustmentAmount, |c| c.tx = resolve(&c.roaming.cdr(1, on(1, 10, 8), 10_000), -1)),
        (AdjustmentAmount, |c| c.tx = resolve(&c.roaming.cdr(1, on(1, 10, 8), 10_000), 10 * EUR + 1)),
        // No sequence of transactions fills the resolver's place; the state is edited to see that it would be safe.
        (LimitReached, |c| c.edit_record(|r| r.adjustments = vec![Adjustment::Credit { micros: 0 }; 17])),
    ];
    Ladder { name: "resolve", rungs, base }
}

fn credit_ladder() -> Ladder {
    use RejectCode::*;
    let base = disputed(vis(), |_, cdr| credit(cdr, 10 * EUR));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownRecord, |c| c.sender = uti()),
        (AdjustmentAmount, |c| c.tx = credit(&c.roaming.cdr(1, on(1, 10, 8), 10_000), 0)),
        (AdjustmentAmount, |c| c.tx = credit(&c.roaming.cdr(1, on(1, 10, 8), 10_000), 10 * EUR + 1)),
        (LimitReached, |c| c.edit_record(|r| r.adjustments = vec![Adjustment::Credit { micros: 0 }; 15])),
    ];
    Ladder { name: "credit", rungs, base }
}

fn reserve_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(vis(), |_, roaming| reserve([roaming.reservation(1, on(1, 20, 8), 50 * EUR)]));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (BatchSize, |c| c.reservations().clear()),
        (WrongRole, |c| c.sender = hom()),
        (NotPositive, |c| c.reservation().amount = 0),
        (ReservationExpiry, |c| c.reservation().expires_at = c.reservation().reserved_at),
        (FromTheFuture, |c| {
            let now = c.chain.now;
            let item = c.reservation();
            (item.reserved_at, item.expires_at) = (later(now, 1), later(now, 30 * DAY));
        }),
        (UnknownAgreement, |c| c.reservation().agreement.id = Digest::ZERO),
        (NotASide, |c| c.reservation().agreement = c.chain.agree(terms(hom(), uti())).at),
        (AgreementNotAccepted, |c| c.reservation().agreement.id = c.chain.propose(&terms(uti(), vis()))),
        (WrongAgreementVersion, |c| c.reservation().agreement.version = 2),
        (ReservationExpiry, |c| c.reservation().expires_at = later(c.reservation().reserved_at, DAY + 1)),
        (DuplicateReservation, |c| {
            let earlier = c.roaming.reservation(1, on(1, 20, 7), EUR);
            c.chain.ok(vis(), reserve([earlier]));
        }),
        (CreditExhausted, |c| c.reservation().amount = 1_000 * EUR + 1),
    ];
    Ladder { name: "reserve", rungs, base }
}

fn attestation_rungs() -> Vec<(RejectCode, Spoil)> {
    use RejectCode::*;
    vec![
        (WrongRole, |c| c.sender = hom()),
        (NotPositive, |c| c.attested().1.micros = 0),
        (UnknownParty, |c| *c.attested().0 = stranger()),
        (AlreadyApplied, |c| c.seed_attestation(|a| (a.applied, a.amount.micros) = (true, 1))),
        (ContradictsAttestation, |c| c.seed_attestation(|a| a.amount.micros += 1)),
        (AlreadyAttested, |c| c.seed_attestation(|_| ())),
    ]
}

fn deposit_ladder() -> Ladder {
    let base = Case::new(tr1(), |_, _| deposit(hom(), 10 * EUR, "ref"));
    let mut rungs = attestation_rungs();
    rungs.push((RejectCode::Overflow, |c| {
        // Only the attestation that completes it moves the money.
        c.chain.deposit(hom(), i64::MAX, "all the money there is");
        c.chain.ok(tr2(), c.tx.clone());
    }));
    Ladder { name: "deposit", rungs, base }
}

fn payout_ladder() -> Ladder {
    let base = Case::new(tr1(), |chain, _| {
        chain.deposit(hom(), 10 * EUR, "in");
        payout(hom(), 10 * EUR, "ref")
    });
    let mut rungs = attestation_rungs();
    rungs.push((RejectCode::InsufficientFunds, |c| c.attested().1.micros += 1));
    Ladder { name: "payout", rungs, base }
}

fn close_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(tr1(), |chain, roaming| {
        chain.record(&roaming.cdr(1, on(1, 10, 8), 10_000), vis());
        chain.now = on(2, 3, 0);
        close(month(1))
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (Overflow, |c| {
            let last = UnixMillis::new(253_402_300_799_999).unwrap();
            c.tx = close(SettlementPeriod::containing(PeriodKind::Month, last));
        }),
        (PeriodNotOver, |c| {
            c.chain.now = UnixMillis::new(on(2, 3, 0).get() - 1).unwrap();
        }),
        (PeriodClosed, |c| {
            c.chain.now = on(2, 3, 0);
            c.tx = close(month(1));
            c.chain.close(month(1));
        }),
        (NothingBooked, |c| c.tx = close(SettlementPeriod::containing(PeriodKind::Day, on(1, 10, 0)))),
    ];
    Ladder { name: "close", rungs, base }
}

fn registry_tx(c: &mut Case) -> &mut RegistryTx {
    match &mut c.tx {
        Tx::Registry(tx) => tx,
        other => panic!("{other:?}"),
    }
}

fn did_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| publish_did(chain.network, hom()));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (BadDid, |c| {
            let RegistryTx::PublishDid { document, .. } = registry_tx(c) else { panic!() };
            document.keys = vec![document.keys[0]; 2];
        }),
        (NotDidOwner, |c| {
            let (network, did) = (c.chain.network, did_on(c.chain.network, hom()));
            let tx =
                RegistryTx::publish_did(network, vis(), did, 1, document(hom()), &key_of("DID of PT-HOM"));
            c.chain.fork().ok(vis(), Tx::Registry(tx.clone()));
            c.chain.ok(vis(), Tx::Registry(tx));
        }),
        (WrongDidVersion, |c| {
            let RegistryTx::PublishDid { version, .. } = registry_tx(c) else { panic!() };
            *version = 2;
        }),
        (BadDidProof, |c| {
            let RegistryTx::PublishDid { proof, .. } = registry_tx(c) else { panic!() };
            proof[5] ^= 1;
        }),
    ];
    Ladder { name: "did", rungs, base }
}

/// HOM's DID belongs to VIS after all.
fn give_did_away(c: &mut Case) {
    let key = StateKey::Did(did_on(c.chain.network, hom()));
    let mut record: crate::registry::DidRecord = c.chain.read(&key).unwrap();
    record.member = vis();
    c.chain.put(&key, &record);
}

/// HOM's DID is not registered.
fn forget_did(c: &mut Case) {
    c.chain.state.apply([(StateKey::Did(did_on(c.chain.network, hom())).to_bytes(), None)].into());
}

fn forget(c: &mut Case, key: &StateKey) {
    c.chain.state.apply([(key.to_bytes(), None)].into());
}

fn schema_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| {
        chain.ok(hom(), publish_did(chain.network, hom()));
        publish_schema(did_on(chain.network, hom()))
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownDid, forget_did),
        (NotDidOwner, |c| {
            if c.chain.state.get(&StateKey::Did(did_on(c.chain.network, hom())).to_bytes()).unwrap().is_some()
            {
                give_did_away(c);
            }
        }),
        (BadSchema, |c| {
            let RegistryTx::PublishSchema { schema, .. } = registry_tx(c) else { panic!() };
            schema.attributes.push(schema.attributes[0].clone());
        }),
        (ObjectExists, |c| {
            let id = schema_id(did_on(c.chain.network, hom()));
            c.chain.put(&StateKey::Schema(id), &SchemaRecord { attributes: Vec::new() });
        }),
    ];
    Ladder { name: "schema", rungs, base }
}

fn definition_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| {
        chain.ok(hom(), publish_did(chain.network, hom()));
        let did = did_on(chain.network, hom());
        chain.ok(hom(), publish_schema(did));
        publish_definition(did, schema_id(did), true)
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownDid, forget_did),
        (NotDidOwner, |c| c.sender = tr1()),
        (WrongRole, |c| {
            let key = StateKey::Member(hom());
            let mut member: crate::membership::Member = c.chain.read(&key).unwrap();
            member.roles = crate::membership::Roles::RESOLVER;
            c.chain.put(&key, &member);
        }),
        (WrongObjectId, |c| {
            let RegistryTx::PublishCredentialDefinition { definition, .. } = registry_tx(c) else { panic!() };
            definition.schema.version = ShortText::new("9").unwrap();
        }),
        (UnknownSchema, |c| {
            let id = schema_id(did_on(c.chain.network, hom()));
            forget(c, &StateKey::Schema(id));
        }),
        (ObjectExists, |c| {
            let did = did_on(c.chain.network, hom());
            let key = StateKey::CredentialDefinition(definition_id(did, &schema_id(did)));
            c.chain.put(&key, &0u8);
        }),
    ];
    Ladder { name: "definition", rungs, base }
}

fn registry_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| {
        chain.ok(hom(), publish_did(chain.network, hom()));
        let did = did_on(chain.network, hom());
        chain.ok(hom(), publish_schema(did));
        chain.ok(hom(), publish_definition(did, schema_id(did), true));
        publish_registry(definition_id(did, &schema_id(did)), REGISTRY_SIZE_MAX)
    });
    fn definition_key(c: &Case) -> StateKey {
        let did = did_on(c.chain.network, hom());
        StateKey::CredentialDefinition(definition_id(did, &schema_id(did)))
    }
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownDid, |c| {
            let RegistryTx::PublishRevocationRegistry { id, .. } = registry_tx(c) else { panic!() };
            id.did = did_on(Digest::ZERO, hom());
        }),
        (WrongObjectId, |c| {
            let RegistryTx::PublishRevocationRegistry { registry, .. } = registry_tx(c) else { panic!() };
            registry.definition.tag = ShortText::new("another").unwrap();
        }),
        (UnknownCredentialDefinition, |c| {
            let key = definition_key(c);
            forget(c, &key);
        }),
        (NotDidOwner, |c| {
            // VIS makes a registry of its own for HOM's definition.
            let network = c.chain.network;
            c.chain.ok(vis(), publish_did(network, vis()));
            let RegistryTx::PublishRevocationRegistry { id, .. } = registry_tx(c) else { panic!() };
            id.did = did_on(network, vis());
            c.sender = vis();
        }),
        (NotRevocable, |c| {
            let key = definition_key(c);
            if let Some(mut definition) = c.chain.read::<crate::registry::DefinitionRecord>(&key) {
                definition.revocable = false;
                c.chain.put(&key, &definition);
            }
        }),
        (BadRegistrySize, |c| {
            let RegistryTx::PublishRevocationRegistry { registry, .. } = registry_tx(c) else { panic!() };
            registry.size = REGISTRY_SIZE_MAX + 1;
        }),
        (ObjectExists, |c| {
            let did = did_on(c.chain.network, hom());
            let key = StateKey::RevocationRegistry(registry_id(&definition_id(did, &schema_id(did))));
            c.chain.put(&key, &0u8);
        }),
    ];
    Ladder { name: "registry", rungs, base }
}

/// What a window adds to the checks of [`registry_ladder`].
fn dated_registry_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| {
        chain.ok(hom(), publish_did(chain.network, hom()));
        let did = did_on(chain.network, hom());
        chain.ok(hom(), publish_schema(did));
        chain.ok(hom(), publish_definition(did, schema_id(did), true));
        publish_dated_registry(definition_id(did, &schema_id(did)), 20, on(1, 1, 0), on(2, 1, 0))
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownDid, forget_did),
        (BadRegistryWindow, |c| {
            let RegistryTx::PublishDatedRegistry { window, .. } = registry_tx(c) else { panic!() };
            window.until = window.from;
        }),
        (ObjectExists, |c| {
            let did = did_on(c.chain.network, hom());
            let key = StateKey::RevocationRegistry(registry_id(&definition_id(did, &schema_id(did))));
            c.chain.put(&key, &0u8);
        }),
    ];
    Ladder { name: "dated registry", rungs, base }
}

#[test]
fn a_window_longer_than_twenty_years_is_refused() {
    let mut case = dated_registry_ladder().base;
    let from = on(1, 1, 0);
    for (longer_ms, refused) in [(0, None), (1, Some(RejectCode::BadRegistryWindow))] {
        let RegistryTx::PublishDatedRegistry { window, .. } = registry_tx(&mut case) else { panic!() };
        window.until = later(from, REGISTRY_WINDOW_MAX.millis() + longer_ms);
        assert_eq!(case.clone().refusal(), refused, "{longer_ms} ms longer");
    }
}

fn revocation_ladder() -> Ladder {
    use RejectCode::*;
    fn change(c: &mut Case) -> (&mut u32, &mut RevocationChange) {
        match registry_tx(c) {
            RegistryTx::UpdateRevocation { version, change, .. } => (version, change),
            other => panic!("{other:?}"),
        }
    }
    let base = Case::new(hom(), |chain, _| {
        let id = with_registry(chain, 20);
        chain.ok(hom(), update(&id, 1, chain.now, &[], &[]));
        chain.now = later(chain.now, 5_000);
        update(&id, 2, chain.now, &[1, 2, 19], &[])
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownDid, forget_did),
        (NotDidOwner, |c| c.sender = vis()),
        (UnknownRevocationRegistry, |c| {
            let RegistryTx::UpdateRevocation { id, .. } = registry_tx(c) else { panic!() };
            id.tag = ShortText::new("another").unwrap();
        }),
        (WrongRevocationVersion, |c| *change(c).0 = 1),
        (BadRevocationTime, |c| change(c).1.time = later(on(1, 20, 12), 5_001)),
        (BadRevocationIndexes, |c| change(c).1.revoked = vec![2, 1]),
    ];
    Ladder { name: "revocation", rungs, base }
}

#[test]
fn a_list_is_refused_for_its_time_and_its_indexes() {
    let Ladder { base, .. } = revocation_ladder();
    let start = on(1, 20, 12);
    let with = |time: UnixMillis, revoked: &[u32], reinstated: &[u32]| {
        let mut case = base.clone();
        let RegistryTx::UpdateRevocation { change, .. } = registry_tx(&mut case) else { panic!() };
        (change.time, change.revoked, change.reinstated) = (time, revoked.to_vec(), reinstated.to_vec());
        case.refusal()
    };
    let fine = later(start, 5_000);
    assert_eq!(with(fine, &[1], &[]), None);
    assert_eq!(with(fine, &[], &[]), None, "a list may be published again with a new time");
    for time in [start, later(start, 5_500), later(start, 606_000)] {
        assert_eq!(with(time, &[1], &[]), Some(RejectCode::BadRevocationTime), "{time:?}");
    }
    assert_eq!(with(later(start, 605_000), &[1], &[]), None);
    for (revoked, reinstated) in [
        (&[0][..], &[][..]),
        (&[20], &[]),
        (&[3, 3], &[]),
        (&[3, 2], &[]),
        (&[], &[3]),
        (&[3], &[3]),
        (&[u32::MAX], &[]),
    ] {
        let found = with(fine, revoked, reinstated);
        assert_eq!(found, Some(RejectCode::BadRevocationIndexes), "{revoked:?} {reinstated:?}");
    }
    let mut first = Chain::new();
    let id = with_registry(&mut first, 20);
    assert_eq!(first.refused(hom(), update(&id, 1, first.now, &[1], &[])), RejectCode::BadRevocationIndexes);
}

#[test]
fn a_document_of_a_did_is_refused_for_each_fault() {
    let Ladder { base, .. } = did_ladder();
    type Edit = fn(&mut crate::registry::DidDocument);
    let edits: [Edit; 6] = [
        |d| d.keys.clear(),
        |d| d.keys = (0..9).map(|n| PublicKey::of(&key_of(&n.to_string()))).collect(),
        |d| d.keys.push(PublicKey([0; 32])),
        |d| d.keys[0] = PublicKey::of(&key_of("another")),
        |d| d.services = vec![d.services[0].clone(); 2],
        |d| {
            let service = |n: u8| crate::registry::DidService {
                id: ShortText::new(&n.to_string()).unwrap(),
                ..d.services[0].clone()
            };
            d.services = (0..5).map(service).collect();
        },
    ];
    for (place, edit) in edits.iter().enumerate() {
        let mut case = base.clone();
        let (network, did) = (case.chain.network, did_on(case.chain.network, hom()));
        let mut document = document(hom());
        edit(&mut document);
        let key = key_of(&format!("DID of {}", hom()));
        case.tx = Tx::Registry(RegistryTx::publish_did(network, hom(), did, 1, document, &key));
        assert_eq!(case.refusal(), Some(RejectCode::BadDid), "edit {place}");
    }
    // A DID of another network.
    let mut case = base;
    let did = did_on(Digest::ZERO, hom());
    let key = key_of(&format!("DID of {}", hom()));
    let network = case.chain.network;
    assert_ne!(did_digest(network, hom(), &did, 1, &document(hom())), Digest::ZERO);
    case.tx = Tx::Registry(RegistryTx::publish_did(network, hom(), did, 1, document(hom()), &key));
    assert_eq!(case.refusal(), Some(RejectCode::BadDid));
}

fn grant_ladder() -> Ladder {
    use RejectCode::*;
    fn mandate(c: &mut Case) -> &mut Mandate {
        match registry_tx(c) {
            RegistryTx::GrantMandate { mandate, .. } => mandate,
            other => panic!("{other:?}"),
        }
    }
    let base = Case::new(hom(), |chain, _| {
        make_issuer(chain, arb());
        chain.ok(hom(), publish_did(chain.network, hom()));
        let did = did_on(chain.network, hom());
        chain.ok(hom(), publish_schema(did));
        grant(arb(), schema_id(did), on(1, 1, 0), on(12, 1, 0))
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnknownParty, |c| {
            let RegistryTx::GrantMandate { agent, .. } = registry_tx(c) else { panic!() };
            *agent = stranger();
        }),
        (WrongRole, |c| {
            let RegistryTx::GrantMandate { agent, .. } = registry_tx(c) else { panic!() };
            if *agent != stranger() {
                *agent = vis();
            }
        }),
        (BadMandatePeriod, |c| *mandate(c) = Mandate { from: on(1, 1, 0), until: on(1, 1, 0) }),
        (InThePast, |c| {
            let mandate = mandate(c);
            if mandate.from < mandate.until {
                mandate.until = on(1, 20, 12);
            }
        }),
        (UnknownSchema, |c| {
            let id = schema_id(did_on(c.chain.network, hom()));
            forget(c, &StateKey::Schema(id));
        }),
    ];
    Ladder { name: "grant", rungs, base }
}

fn revoke_mandate_ladder() -> Ladder {
    let base = Case::new(hom(), |chain, _| {
        make_issuer(chain, arb());
        chain.ok(hom(), publish_did(chain.network, hom()));
        let did = did_on(chain.network, hom());
        chain.ok(hom(), publish_schema(did));
        chain.ok(hom(), grant(arb(), schema_id(did), on(1, 1, 0), on(12, 1, 0)));
        Tx::Registry(RegistryTx::RevokeMandate { agent: arb(), schema: schema_id(did) })
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![(RejectCode::UnknownMandate, |c| c.sender = uti())];
    Ladder { name: "revoke mandate", rungs, base }
}

/// HOM's voucher 1.
fn held(c: &Case) -> super::voucher::Held {
    voucher_of(c.chain.network, hom(), 1)
}

/// Gives HOM's voucher 1 a state by hand.
fn put_voucher(c: &mut Case, state: &VoucherState) {
    let key = StateKey::Voucher(hom(), held(c).nullifier());
    c.chain.put(&key, state);
}

fn put_spent(c: &mut Case) {
    let cdr = ShortText::new("cdr-9").unwrap();
    put_voucher(c, &VoucherState::Spent { operator: vis(), cdr, amount: EUR });
}

/// A record that voucher 1 pays for, up to 30 EUR.
fn paid_record_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(vis(), |chain, roaming| {
        chain.ok(hom(), publish_voucher_key(hom()));
        let cdr = roaming.cdr(1, on(1, 10, 8), 10_000);
        let reservation = voucher_of(chain.network, hom(), 1).reservation(&cdr, 30 * EUR);
        chain.ok(vis(), reserve_vouchers([reservation.clone()]));
        records([paid_with(&cdr, &reservation)])
    });
    /// Reserved by the record's own acceptance, but for a limit of so much.
    fn reserved(c: &mut Case, limit: i64) -> VoucherState {
        let cdr = c.cdr().clone();
        let (session, quote, accepted_at) = (cdr.session, cdr.quote, cdr.accepted_at);
        let accepted = VoucherAcceptance { session, operator: vis(), quote, limit, accepted_at };
        let acceptance = acceptance_digest(&accepted, &cdr.acceptance);
        let agreement = cdr.agreement.id;
        VoucherState::Reserved { agreement, session, acceptance, limit, final_after: on(3, 1, 0) }
    }
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (WrongCurrency, |c| c.cdr().currency = usd()),
        (UnknownVoucher, |c| c.cdr().payer = Payer::Voucher { nullifier: Nullifier(Digest::ZERO) }),
        (UnknownVoucher, put_spent),
        (UnknownVoucher, |c| put_voucher(c, &VoucherState::Refunded)),
        (UnknownVoucher, |c| put_voucher(c, &VoucherState::Blocked)),
        (UnknownVoucher, |c| {
            let mut state = reserved(c, 30 * EUR);
            if let VoucherState::Reserved { agreement, .. } = &mut state {
                *agreement = Digest::ZERO;
            }
            put_voucher(c, &state);
        }),
        (UnknownVoucher, |c| {
            let mut state = reserved(c, 30 * EUR);
            if let VoucherState::Reserved { session, .. } = &mut state {
                *session = Digest::ZERO;
            }
            put_voucher(c, &state);
        }),
        (AcceptanceDiffers, |c| c.cdr().quote = Digest::ZERO),
        (UnexpectedAttestation, |c| c.cdr().attestation = Some(Digest::ZERO)),
        (EnergyLimit, |c| set_energy(c.cdr(), 100_001)),
        (AmountLimit, |c| c.cdr().price.incl_vat = 100 * EUR + 1),
        (VoucherLimit, |c| {
            let state = reserved(c, 10 * EUR - 1);
            put_voucher(c, &state);
        }),
        (UnknownTariff, |c| c.cdr().tariff.version = 99),
        (PriceMismatch(Price { excl_vat: 10 * EUR, incl_vat: 10 * EUR }), |c| c.cdr().price.excl_vat -= 1),
    ];
    Ladder { name: "paid record", rungs, base }
}

fn forecast_ladder() -> Ladder {
    use RejectCode::*;
    fn said(c: &mut Case) -> &mut ForecastAttestation {
        match &mut c.tx {
            Tx::Forecast(ForecastTx::AttestForecast(said)) => said,
            other => panic!("{other:?}"),
        }
    }
    /// Changes what the attester's bucket of the first day holds.
    fn edit(c: &mut Case, change: impl FnOnce(&mut ForecastDay, Digest)) {
        let (attester, said) = (c.sender, said(c).clone());
        let day = said.first_hour.div_euclid(24);
        let slot = u8::try_from(day.rem_euclid(256)).unwrap();
        let key = StateKey::ForecastDay(attester, said.zone.clone(), slot);
        let mut kept = c.chain.read(&key).unwrap_or(ForecastDay { day, forecasts: Vec::new() });
        change(&mut kept, attestation_id(attester, &said));
        kept.forecasts.sort_by_key(|forecast| forecast.id);
        c.chain.put(&key, &kept);
    }
    fn other(id: Digest) -> DayForecast {
        DayForecast { id, first_hour: 0, load_kw: Vec::new(), renewable_bps: None }
    }
    let base = Case::new(tr1(), |chain, _| {
        chain.agree(dynamic_terms(hom(), uti()));
        attest(forecast_of(on(1, 20, 13), &[500, 600]))
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (NoAttestationRight, |c| c.sender = hom()),
        (AttestedHours, |c| said(c).load_kw.clear()),
        (BadForecast, |c| said(c).low_kw[0] = 501),
        (HourBegun, |c| said(c).first_hour = c.chain.now.utc_hour()),
        (TooFarAhead, |c| said(c).first_hour = c.chain.now.utc_hour() + 72),
        (DuplicateAttestation, |c| edit(c, |kept, id| kept.forecasts.push(other(id)))),
        (AttestationDayFull, |c| {
            let ids = (0..PER_DAY_MAX).map(|n| Digest::of(&n.to_le_bytes()));
            edit(c, |kept, _| kept.forecasts.extend(ids.map(other)));
        }),
    ];
    Ladder { name: "forecast", rungs, base }
}

fn load_ladder() -> Ladder {
    use RejectCode::*;
    fn said(c: &mut Case) -> &mut LoadAttestation {
        match &mut c.tx {
            Tx::Forecast(ForecastTx::AttestLoad(said)) => said,
            other => panic!("{other:?}"),
        }
    }
    /// Has the sender have attested something for the first hour and the one after it.
    fn put(c: &mut Case, first_kw: u32, second_kw: u32) {
        let said = said(c).clone();
        let day = said.first_hour.div_euclid(24);
        let slot = u8::try_from(day.rem_euclid(256)).unwrap();
        let mut load_kw = [None; 24];
        let place = usize::try_from(said.first_hour.rem_euclid(24)).unwrap();
        (load_kw[place], load_kw[(place + 1) % 24]) = (Some(first_kw), Some(second_kw));
        c.chain.put(&StateKey::LoadDay(tr1(), said.zone, slot), &LoadDay { day, load_kw });
    }
    let base = Case::new(tr1(), |chain, _| {
        chain.agree(dynamic_terms(hom(), uti()));
        measured(on(1, 20, 8), &[500, 600])
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (NoAttestationRight, |c| c.sender = hom()),
        (AttestedHours, |c| said(c).load_kw.clear()),
        (HourNotOver, |c| said(c).first_hour = c.chain.now.utc_hour() - 1),
        (LoadTooLate, |c| c.chain.now = later(c.chain.now, 8 * DAY)),
        (ContradictsLoad, |c| put(c, 500, 601)),
        (DuplicateAttestation, |c| put(c, 500, 600)),
    ];
    Ladder { name: "load", rungs, base }
}

/// A record under a dynamic rule, of an hour that was forecast.
fn forecast_record_ladder() -> Ladder {
    use RejectCode::*;
    let (chain, roaming, cdr) = booked_by_forecast(dynamic_terms(hom(), vis()));
    let mut base = Case::new(vis(), |_, _| records([cdr.clone()]));
    (base.chain, base.roaming) = (chain, roaming.clone());
    // Another record than the one that is booked, an hour later.
    let next = roaming.cdr(2, on(1, 20, 14), 10_000);
    base.tx = records([by_forecast(&base.chain, &roaming, &next, on(1, 20, 14))]);
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (UnexpectedAttestation, |c| c.cdr().zone = ShortText::new("PT-S").unwrap()),
        (UnknownTariff, |c| c.cdr().tariff.version = 99),
        (UnknownForecast, |c| c.cdr().attestation = Some(Digest::ZERO)),
        (ForecastOmitted, |c| c.cdr().attestation = None),
        (PriceMismatch(Price { excl_vat: 3 * EUR, incl_vat: 3 * EUR }), |c| c.cdr().price.excl_vat -= 1),
    ];
    Ladder { name: "forecast record", rungs, base }
}

fn true_up_ladder() -> Ladder {
    use RejectCode::*;
    fn cdr(c: &mut Case) -> &mut Cdr {
        match &mut c.tx {
            Tx::Cdr(CdrTx::TrueUp(cdrs)) => &mut cdrs[0],
            other => panic!("{other:?}"),
        }
    }
    fn put_load(c: &mut Case, load_kw: Option<u32>) {
        let (day, hour) = (on(1, 20, 13).utc_day(), 13);
        let mut loads = [None; 24];
        loads[hour] = load_kw;
        let slot = u8::try_from(day.rem_euclid(256)).unwrap();
        let zone = ShortText::new("PT-N").unwrap();
        c.chain.put(&StateKey::LoadDay(tr1(), zone, slot), &LoadDay { day, load_kw: loads });
    }
    fn forget(c: &mut Case, key: &StateKey) {
        c.chain.state.apply([(codec::to_bytes(key), None)].into());
    }
    let (mut chain, roaming, booked) = booked_by_forecast(dynamic_terms(hom(), vis()));
    chain.ok(tr1(), measured(on(1, 20, 13), &[600]));
    let mut base = Case::new(hom(), |_, _| true_ups([booked]));
    (base.chain, base.roaming) = (chain, roaming);
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (BatchSize, |c| c.tx = true_ups([])),
        (UnknownAgreement, |c| cdr(c).agreement.id = Digest::ZERO),
        (NotASide, |c| c.sender = uti()),
        (UnknownRecord, |c| cdr(c).id = ShortText::new("cdr-9").unwrap()),
        (RecordDiffers, |c| cdr(c).quote = Digest::ZERO),
        (NoForecastUsed, |c| {
            cdr(c).attestation = None;
            let digest = cdr(c).digest();
            c.edit_record(|record| record.digest = digest);
        }),
        (AlreadyTruedUp, |c| {
            c.edit_record(|record| record.adjustments.push(Adjustment::TrueUp { micros: 1 }));
        }),
        (TooLate, |c| c.chain.now = later(c.chain.now, 121 * DAY)),
        (UnknownTariff, |c| {
            let TariffRef { id, version } = cdr(c).tariff.clone();
            forget(c, &StateKey::Tariff(vis(), id, version));
        }),
        (UnknownForecast, |c| {
            let slot = u8::try_from(on(1, 20, 13).utc_day().rem_euclid(256)).unwrap();
            forget(c, &StateKey::ForecastDay(tr1(), ShortText::new("PT-N").unwrap(), slot));
        }),
        (NoPrice, |c| {
            let reserved =
                Restrictions { reservation: Some(ReservationRestriction::Reservation), ..Restrictions::NONE };
            let TariffRef { id, version } = cdr(c).tariff.clone();
            let other = tariff_of(vis(), id.as_str(), eur(), EUR, reserved);
            c.chain.put(&StateKey::Tariff(vis(), id, version), &other);
        }),
        (ActualsAwaited, |c| put_load(c, None)),
        (NothingToTrueUp, |c| put_load(c, Some(500))),
        (LimitReached, |c| c.edit_record(|r| r.adjustments = vec![Adjustment::Credit { micros: 0 }; 16])),
    ];
    Ladder { name: "true up", rungs, base }
}

fn voucher_key_ladder() -> Ladder {
    use RejectCode::*;
    fn keys(c: &Case) -> Vec<VoucherKey> {
        c.chain.read(&StateKey::VoucherKeys(hom())).unwrap_or_default()
    }
    fn key(name: &str) -> VoucherKey {
        let public = PublicKey::of(&key_of(name));
        VoucherKey { public, valid_from: on(1, 1, 0), valid_until: on(2, 1, 0) }
    }
    let base = Case::new(hom(), |_, _| publish_voucher_key(hom()));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (WrongRole, |c| c.sender = vis()),
        (BadVoucherKey, |c| {
            let Tx::Voucher(VoucherTx::PublishKey { valid_from, valid_until, .. }) = &mut c.tx else {
                panic!()
            };
            *valid_until = *valid_from;
        }),
        (KeyReused, |c| {
            let public = PublicKey::of(&signer_of(hom()));
            let mut keys = keys(c);
            keys.push(VoucherKey { public, ..key("same") });
            c.chain.put(&StateKey::VoucherKeys(hom()), &keys);
        }),
        (LimitReached, |c| {
            let mut keys = keys(c);
            keys.extend((0..voucher::KEYS_MAX).map(|n| key(&format!("voucher key {n}"))));
            c.chain.put(&StateKey::VoucherKeys(hom()), &keys);
        }),
    ];
    Ladder { name: "voucher key", rungs, base }
}

fn revoke_voucher_key_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| {
        chain.ok(hom(), publish_voucher_key(hom()));
        revoke_voucher_key(0)
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (WrongRole, |c| c.sender = vis()),
        (UnknownVoucherKey, |c| c.tx = revoke_voucher_key(1)),
        (VoucherKeyRevoked, |c| c.chain.ok(hom(), revoke_voucher_key(0))),
    ];
    Ladder { name: "revoke voucher key", rungs, base }
}

fn reserve_voucher_ladder() -> Ladder {
    use RejectCode::*;
    fn item(c: &mut Case) -> &mut VoucherReservation {
        match &mut c.tx {
            Tx::Voucher(VoucherTx::Reserve(items)) => &mut items[0],
            other => panic!("{other:?}"),
        }
    }
    fn promise(c: &mut Case) -> &mut Voucher {
        &mut item(c).spent.voucher.voucher
    }
    fn accepted(c: &mut Case) -> &mut VoucherAcceptance {
        &mut item(c).spent.acceptance
    }
    let base = Case::new(vis(), |chain, roaming| {
        chain.ok(hom(), publish_voucher_key(hom()));
        let cdr = roaming.cdr(1, on(1, 20, 8), 10_000);
        reserve_vouchers([voucher_of(chain.network, hom(), 1).reservation(&cdr, 20 * EUR)])
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (BatchSize, |c| c.tx = reserve_vouchers([])),
        (WrongRole, |c| c.sender = hom()),
        (NotPositive, |c| accepted(c).limit = 0),
        (ReservationExpiry, |c| item(c).expires_at = accepted(c).accepted_at),
        (FromTheFuture, |c| {
            let now = c.chain.now;
            (accepted(c).accepted_at, item(c).expires_at) = (later(now, 1), later(now, 40 * DAY));
        }),
        (UnknownAgreement, |c| item(c).agreement.id = Digest::ZERO),
        (NotASide, |c| item(c).agreement = c.chain.agree(terms(hom(), uti())).at),
        (AgreementNotAccepted, |c| item(c).agreement.id = c.chain.propose(&terms(uti(), vis()))),
        (WrongAgreementVersion, |c| item(c).agreement.version = 2),
        (ReservationExpiry, |c| item(c).expires_at = later(accepted(c).accepted_at, DAY + 1)),
        (TooLate, |c| c.chain.now = later(accepted(c).accepted_at, 30 * DAY + 1)),
        (ForeignVoucher, |c| promise(c).network = Digest::ZERO),
        (WrongVoucherIssuer, |c| promise(c).emsp = uti()),
        (WrongCurrency, |c| promise(c).cap.currency = usd()),
        (NotPositive, |c| promise(c).cap.micros = 0),
        (BadVoucherValidity, |c| promise(c).valid_until = promise(c).valid_from),
        (UnknownVoucherKey, |c| promise(c).key = 1),
        (VoucherKeyRevoked, |c| {
            let public = PublicKey::of(&signer_of(hom()));
            let key = VoucherKey { public, valid_from: on(1, 1, 0), valid_until: on(1, 1, 0) };
            c.chain.put(&StateKey::VoucherKeys(hom()), &vec![key]);
        }),
        (VoucherKeyNotValid, |c| {
            let public = PublicKey::of(&signer_of(hom()));
            let key = VoucherKey { public, valid_from: on(1, 20, 9), valid_until: on(12, 1, 0) };
            c.chain.put(&StateKey::VoucherKeys(hom()), &vec![key]);
        }),
        (WrongOperator, |c| accepted(c).operator = uti()),
        (VoucherNotValid, |c| promise(c).valid_from = later(accepted(c).accepted_at, 1)),
        (VoucherLimit, |c| promise(c).cap.micros = 20 * EUR - 1),
        (ForgedVoucher, |c| item(c).spent.voucher.signature.0[5] ^= 1),
        (ForgedAcceptance, |c| item(c).spent.signature.0[5] ^= 1),
        (DuplicateReservation, |c| {
            let (accepted, signature) = (*accepted(c), voucher_signature(c));
            let state = VoucherState::Reserved {
                agreement: c.roaming.at.id,
                session: accepted.session,
                acceptance: acceptance_digest(&accepted, &signature),
                limit: accepted.limit,
                final_after: later(accepted.accepted_at, 32 * DAY),
            };
            put_voucher(c, &state);
        }),
        (VoucherSpent, put_spent),
        (SessionReserved, |c| {
            let credit = c.roaming.reservation(1, on(1, 20, 8), EUR);
            c.chain.ok(vis(), reserve([credit]));
        }),
        (CreditExhausted, |c| {
            let credit = c.roaming.reservation(9, on(1, 20, 8), 980 * EUR + 1);
            c.chain.ok(vis(), reserve([credit]));
        }),
    ];
    fn voucher_signature(c: &mut Case) -> eroam_domain::codec::SignatureBytes {
        item(c).spent.signature
    }
    Ladder { name: "reserve voucher", rungs, base }
}

fn refund_ladder() -> Ladder {
    use RejectCode::*;
    fn item(c: &mut Case) -> &mut SignedVoucher {
        match &mut c.tx {
            Tx::Voucher(VoucherTx::Refund(items)) => &mut items[0],
            other => panic!("{other:?}"),
        }
    }
    let base = Case::new(hom(), |chain, _| {
        chain.ok(hom(), publish_voucher_key(hom()));
        let signed = voucher_of(chain.network, hom(), 1).signed;
        chain.now = later(signed.voucher.valid_until, 60 * DAY + 1);
        refund([signed])
    });
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (BatchSize, |c| c.tx = refund([])),
        (WrongRole, |c| c.sender = vis()),
        (WrongVoucherIssuer, |c| item(c).voucher.emsp = uti()),
        (UnknownVoucherKey, |c| item(c).voucher.key = 1),
        (ForgedVoucher, |c| item(c).signature.0[5] ^= 1),
        (VoucherSpent, put_spent),
        (AlreadyBlocked, |c| put_voucher(c, &VoucherState::Blocked)),
        (AlreadyRefunded, |c| put_voucher(c, &VoucherState::Refunded)),
        (VoucherNotRefundable, |c| c.chain.now = later(on(2, 20, 0), 60 * DAY)),
        // Reserved, the voucher waits for a record instead.
        (VoucherNotRefundable, |c| {
            let state = VoucherState::Reserved {
                agreement: c.roaming.at.id,
                session: Digest::ZERO,
                acceptance: Digest::ZERO,
                limit: EUR,
                final_after: c.chain.now,
            };
            put_voucher(c, &state);
        }),
    ];
    Ladder { name: "refund", rungs, base }
}

fn block_ladder() -> Ladder {
    use RejectCode::*;
    let base = Case::new(hom(), |chain, _| block([voucher_of(chain.network, hom(), 1).nullifier()]));
    let rungs: Vec<(RejectCode, Spoil)> = vec![
        (BatchSize, |c| c.tx = block([])),
        (WrongRole, |c| c.sender = vis()),
        (VoucherSpent, put_spent),
        (AlreadyBlocked, |c| put_voucher(c, &VoucherState::Blocked)),
        (AlreadyRefunded, |c| put_voucher(c, &VoucherState::Refunded)),
    ];
    Ladder { name: "block", rungs, base }
}

fn ladders() -> Vec<Ladder> {
    vec![
        envelope_ladder(),
        rotate_ladder(),
        propose_ladder(),
        accept_ladder(),
        amend_ladder(),
        terminate_ladder(),
        tariff_ladder(),
        record_ladder(),
        contest_ladder(),
        resolve_ladder(),
        credit_ladder(),
        reserve_ladder(),
        deposit_ladder(),
        payout_ladder(),
        close_ladder(),
        did_ladder(),
        schema_ladder(),
        definition_ladder(),
        registry_ladder(),
        dated_registry_ladder(),
        revocation_ladder(),
        grant_ladder(),
        revoke_mandate_ladder(),
        paid_record_ladder(),
        voucher_key_ladder(),
        revoke_voucher_key_ladder(),
        reserve_voucher_ladder(),
        refund_ladder(),
        block_ladder(),
        forecast_ladder(),
        load_ladder(),
        forecast_record_ladder(),
        true_up_ladder(),
    ]
}

#[test]
fn every_check_refuses_alone_and_wins_over_all_later_ones() {
    for Ladder { name, rungs, base } in ladders() {
        assert_eq!(base.clone().refusal(), None, "{name}: nothing is spoiled");
        for (place, (code, spoil)) in rungs.iter().enumerate() {
            let mut alone = base.clone();
            spoil(&mut alone);
            assert_eq!(alone.refusal(), Some(*code), "{name}, rung {place}: alone");
            let mut all = base.clone();
            for (_, spoil) in rungs[place..].iter().rev() {
                spoil(&mut all);
            }
            let found = all.refusal().expect("spoiled");
            assert!(same(found, *code), "{name}, rung {place}: {found:?} instead of {code:?}");
        }
    }
}

/// Maps every code to the ladders that have it. A new variant does not compile until it has one.
macro_rules! ladders_of_codes {
    ($($code:pat => $ladders:expr),* $(,)?) => {
        fn ladders_of(code: RejectCode) -> &'static [&'static str] {
            match code { $($code => $ladders),* }
        }
        /// One for each variant, in the order of [`RejectCode`].
        const LADDERS: &[&[&str]] = &[$($ladders),*];
    };
}

ladders_of_codes! {
    RejectCode::WrongVersion => &["envelope"],
    RejectCode::WrongNetwork => &["envelope"],
    RejectCode::UnknownMember => &["envelope"],
    RejectCode::UnknownKey => &["envelope"],
    RejectCode::RotatedKey => &["envelope"],
    RejectCode::BadSignature => &["envelope"],
    RejectCode::UnknownLane => &["envelope"],
    RejectCode::SequenceUsed => &["envelope"],
    RejectCode::SequenceGap => &["envelope"],
    RejectCode::Expired => &["envelope"],
    RejectCode::BatchSize => &["envelope", "record", "reserve", "reserve voucher", "refund", "block", "true up"],
    RejectCode::WrongRole =>
        &[
            "tariff", "record", "reserve", "deposit", "payout", "definition", "grant", "voucher key",
            "revoke voucher key", "reserve voucher", "refund", "block",
        ],
    RejectCode::UnknownParty => &["propose", "amend", "deposit", "payout", "grant"],
    RejectCode::BadKeyProof => &["rotate"],
    RejectCode::KeyReused => &["rotate", "voucher key"],
    RejectCode::TooManyKeys => &["rotate"],
    RejectCode::BadTerms(_) => &["propose", "amend"],
    RejectCode::NotASide =>
        &["propose", "accept", "amend", "terminate", "record", "contest", "reserve", "reserve voucher", "true up"],
    RejectCode::AgreementExists => &["propose"],
    RejectCode::UnknownAgreement => &["accept", "amend", "terminate", "record", "reserve", "reserve voucher", "true up"],
    RejectCode::AgreementNotAccepted => &["amend", "record", "reserve", "reserve voucher"],
    RejectCode::NothingToAccept => &["accept"],
    RejectCode::OwnProposal => &["accept"],
    RejectCode::TermsDiffer => &["accept"],
    RejectCode::AgreementTerminated => &["accept", "amend", "terminate"],
    RejectCode::InThePast => &["terminate", "grant"],
    RejectCode::ImmutableTerms => &["amend"],
    RejectCode::WrongAgreementVersion => &["accept", "record", "reserve", "reserve voucher"],
    RejectCode::NotOwnTariff => &["tariff"],
    RejectCode::WrongTariffVersion => &["tariff"],
    RejectCode::UnknownTariff => &["record", "paid record", "true up", "forecast record"],
    RejectCode::TariffNotPublished => &["record"],
    RejectCode::MalformedRecord(_) => &["record"],
    RejectCode::DuplicateRecord => &["record"],
    RejectCode::ConflictingRecord => &["record"],
    RejectCode::WrongSession => &["record"],
    RejectCode::WrongCurrency => &["record", "paid record", "reserve voucher"],
    RejectCode::UnknownVoucher => &["record", "paid record"],
    RejectCode::UnexpectedAttestation => &["record", "paid record", "forecast record"],
    RejectCode::FromTheFuture => &["record", "reserve", "reserve voucher"],
    RejectCode::TooLate => &["record", "reserve voucher", "true up"],
    RejectCode::StaleAcceptance => &["record"],
    RejectCode::EnergyLimit => &["record", "paid record"],
    RejectCode::DurationLimit => &["record"],
    RejectCode::PowerLimit => &["record"],
    RejectCode::AmountLimit => &["record", "paid record"],
    RejectCode::OverlappingRecord => &["record"],
    RejectCode::EvseDayFull => &["record"],
    RejectCode::NoPrice => &["record", "true up"],
    RejectCode::PriceMismatch(_) => &["record", "paid record", "forecast record"],
    RejectCode::UnknownRecord => &["contest", "resolve", "credit", "true up"],
    RejectCode::NotContestable => &["contest"],
    RejectCode::NotResolvable => &["resolve"],
    RejectCode::NotResolver => &["resolve"],
    RejectCode::AdjustmentAmount => &["resolve", "credit"],
    RejectCode::NotPositive => &["reserve", "deposit", "payout", "reserve voucher"],
    RejectCode::ReservationExpiry => &["reserve", "reserve voucher"],
    RejectCode::DuplicateReservation => &["reserve", "reserve voucher"],
    RejectCode::CreditExhausted => &["reserve", "reserve voucher"],
    RejectCode::AlreadyAttested => &["deposit", "payout"],
    RejectCode::ContradictsAttestation => &["deposit", "payout"],
    RejectCode::AlreadyApplied => &["deposit", "payout"],
    RejectCode::InsufficientFunds => &["payout"],
    RejectCode::PeriodNotOver => &["close"],
    RejectCode::PeriodClosed => &["close"],
    RejectCode::NothingBooked => &["close"],
    RejectCode::LimitReached => &["accept", "record", "resolve", "credit", "voucher key", "true up"],
    RejectCode::Overflow => &["record", "deposit", "close"],
    RejectCode::BadDid => &["did"],
    RejectCode::NotDidOwner => &["did", "schema", "definition", "registry", "revocation"],
    RejectCode::WrongDidVersion => &["did"],
    RejectCode::BadDidProof => &["did"],
    RejectCode::UnknownDid => &["schema", "definition", "registry", "dated registry", "revocation"],
    RejectCode::ObjectExists => &["schema", "definition", "registry", "dated registry"],
    RejectCode::WrongObjectId => &["definition", "registry"],
    RejectCode::BadSchema => &["schema"],
    RejectCode::UnknownSchema => &["definition", "grant"],
    RejectCode::UnknownCredentialDefinition => &["registry"],
    RejectCode::NotRevocable => &["registry"],
    RejectCode::BadRegistrySize => &["registry"],
    RejectCode::BadRegistryWindow => &["dated registry"],
    RejectCode::UnknownRevocationRegistry => &["revocation"],
    RejectCode::WrongRevocationVersion => &["revocation"],
    RejectCode::BadRevocationTime => &["revocation"],
    RejectCode::BadRevocationIndexes => &["revocation"],
    RejectCode::BadMandatePeriod => &["grant"],
    RejectCode::UnknownMandate => &["revoke mandate"],
    RejectCode::BadVoucherKey => &["voucher key"],
    RejectCode::ForeignVoucher => &["reserve voucher"],
    RejectCode::WrongVoucherIssuer => &["reserve voucher", "refund"],
    RejectCode::BadVoucherValidity => &["reserve voucher"],
    RejectCode::UnknownVoucherKey => &["reserve voucher", "refund", "revoke voucher key"],
    RejectCode::VoucherKeyNotValid => &["reserve voucher"],
    RejectCode::VoucherKeyRevoked => &["reserve voucher", "revoke voucher key"],
    RejectCode::WrongOperator => &["reserve voucher"],
    RejectCode::VoucherNotValid => &["reserve voucher"],
    RejectCode::VoucherLimit => &["reserve voucher", "paid record"],
    RejectCode::ForgedVoucher => &["reserve voucher", "refund"],
    RejectCode::ForgedAcceptance => &["reserve voucher"],
    RejectCode::VoucherSpent => &["reserve voucher", "refund", "block"],
    RejectCode::SessionReserved => &["reserve voucher"],
    RejectCode::AcceptanceDiffers => &["paid record"],
    RejectCode::VoucherNotRefundable => &["refund"],
    RejectCode::AlreadyBlocked => &["refund", "block"],
    RejectCode::AlreadyRefunded => &["refund", "block"],
    RejectCode::NoAttestationRight => &["forecast", "load"],
    RejectCode::AttestedHours => &["forecast", "load"],
    RejectCode::BadForecast => &["forecast"],
    RejectCode::HourBegun => &["forecast"],
    RejectCode::TooFarAhead => &["forecast"],
    RejectCode::HourNotOver => &["load"],
    RejectCode::LoadTooLate => &["load"],
    RejectCode::ContradictsLoad => &["load"],
    RejectCode::DuplicateAttestation => &["forecast", "load"],
    RejectCode::AttestationDayFull => &["forecast"],
    RejectCode::UnknownForecast => &["forecast record", "true up"],
    RejectCode::ForecastOmitted => &["forecast record"],
    RejectCode::RecordDiffers => &["true up"],
    RejectCode::NoForecastUsed => &["true up"],
    RejectCode::AlreadyTruedUp => &["true up"],
    RejectCode::ActualsAwaited => &["true up"],
    RejectCode::NothingToTrueUp => &["true up"],
}

#[test]
fn every_code_has_a_rung_in_every_ladder_that_documents_it() {
    let mut found: BTreeMap<Vec<u8>, (RejectCode, BTreeSet<&str>)> = BTreeMap::new();
    for Ladder { name, rungs, .. } in ladders() {
        for (code, _) in rungs {
            // The first byte of the canonical form is the variant.
            let variant = codec::to_bytes(&code)[..1].to_vec();
            found.entry(variant).or_insert((code, BTreeSet::new())).1.insert(name);
        }
    }
    for (code, names) in found.values() {
        assert_eq!(*names, ladders_of(*code).iter().copied().collect(), "{code:?}");
    }
    assert_eq!(found.len(), LADDERS.len(), "a code has no rung");
}

#[test]
fn every_fault_number_is_reached() {
    let (terms, records): (Vec<_>, Vec<_>) = (bad_terms(), malformed());
    for (place, (code, _)) in (1u8..).zip(&terms) {
        assert_eq!(*code, RejectCode::BadTerms(place));
    }
    for (place, (code, _)) in (1u8..).zip(&records) {
        assert_eq!(*code, RejectCode::MalformedRecord(place));
    }
    assert_eq!((terms.len(), records.len()), (11, 7));
}

#[test]
fn only_the_first_nine_codes_leave_the_sequence() {
    for Ladder { rungs, .. } in ladders() {
        for (code, _) in rungs {
            assert_eq!(code.leaves_sequence(), codec::to_bytes(&code)[0] < 9, "{code:?}");
        }
    }
}
