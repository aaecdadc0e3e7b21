//! A small consortium whose envelopes are really executed, one after the other, and put into blocks.

use crate::block::Block;
use bytes::Bytes;
use ed25519_dalek::SigningKey;
use eroam_domain::agreement::{
    Limits, PriceRule, RoamingAgreement, Shares, SurplusShare, Terms, VatTreatment,
};
use eroam_domain::cdr::{
    AgreementRef, Cdr, CdrId, ChargingPeriod, EvsePseudonym, GridZone, Payer, SessionId, TariffRef,
    session_digest,
};
use eroam_domain::codec::{Digest, ShortText, SignatureBytes, to_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money, Price, Rounding};
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{LocalClock, PeriodKind, SettlementPeriod, UnixMillis};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{Header as BlockHeader, execute};
use eroam_ledger::genesis::Parameters;
use eroam_ledger::membership::{KeyRecord, Member, Roles};
use eroam_ledger::query;
use eroam_ledger::reject::Item;
use eroam_ledger::settlement::CreditReservation;
use eroam_ledger::state::{Account, MemoryState, StateKey, Writes};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use eroam_light::block::{Body, Header};
use std::sync::Arc;

const HOUR: u64 = 3_600_000;
const DAY: u64 = 24 * HOUR;

pub(super) fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

/// A home utility.
pub(super) fn hom() -> PartyId {
    party("PT-HOM")
}

/// An operator.
pub(super) fn vis() -> PartyId {
    party("PT-VIS")
}

/// A utility that is both.
pub(super) fn uti() -> PartyId {
    party("ES-UTI")
}

/// Owns sites of `vis`.
pub(super) fn own() -> PartyId {
    party("ES-OWN")
}

fn arb() -> PartyId {
    party("ES-ARB")
}

pub(super) fn eur() -> Currency {
    Currency::new("EUR").unwrap()
}

fn key_of(party: PartyId) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(party.to_string().as_bytes()).0)
}

/// 2025-01-20, noon.
pub(super) fn noon() -> UnixMillis {
    UnixMillis::new(1_737_374_400_000).unwrap()
}

pub(super) fn later(time: UnixMillis, ms: u64) -> UnixMillis {
    time.checked_add(DurationMs::from_millis(ms)).unwrap()
}

fn earlier(time: UnixMillis, ms: u64) -> UnixMillis {
    time.checked_sub(DurationMs::from_millis(ms)).unwrap()
}

/// Day by day, without VAT.
pub(super) fn terms(emsp: PartyId, cpo: PartyId) -> RoamingAgreement {
    let eur = eur();
    RoamingAgreement {
        emsp,
        cpo,
        price_rule: PriceRule::Static { factor: BasisPoints::WHOLE },
        shares: Shares::OPERATOR_ONLY,
        limits: Limits {
            energy_max: WattHours::from_wh(100_000).unwrap(),
            duration_max: DurationMs::from_millis(DAY),
            power_max: Watts::new(50_000),
            amount_max: 100_000_000,
        },
        credit_limit: Money::new(1_000_000_000_000, eur),
        period: PeriodKind::Day,
        currency: eur,
        rounding: Rounding::cents(),
        vat: VatTreatment::Charged,
        resolver: arb(),
        contest_window: DurationMs::from_millis(10 * DAY),
        resolve_window: DurationMs::from_millis(10 * DAY),
        record_window: DurationMs::from_millis(30 * DAY),
        terms: Terms::Clear,
    }
}

/// A quarter to the owner of the site, and a tenth back to the debtor.
pub(super) fn shared() -> Shares {
    let share = |party, share| SurplusShare { party, share: BasisPoints::new(share) };
    Shares { costs: Vec::new(), surplus: vec![share(own(), 2_500), share(hom(), 1_000)] }
}

/// An agreement in force and the operator's tariff.
#[derive(Clone)]
pub(super) struct Roaming {
    pub(super) at: AgreementRef,
    pub(super) terms: RoamingAgreement,
    tariff: (TariffRef, Tariff),
}

/// The name of a record and of its session.
pub(super) fn cdr_id(number: u32) -> CdrId {
    CdrId::new(&format!("cdr-{number}")).unwrap()
}

impl Roaming {
    /// The session of that number: of one hour, some hours ago, at an EVSE of its own, with its right price.
    pub(super) fn cdr(&self, number: u32) -> Cdr {
        let start = earlier(noon(), HOUR * u64::from(2 + number % 90));
        let energy = WattHours::from_wh(1_000 + 10 * u64::from(number % 1_000)).unwrap();
        let period = ChargingPeriod {
            start,
            energy,
            charging: DurationMs::from_millis(HOUR),
            parking: DurationMs::ZERO,
            reservation: DurationMs::ZERO,
            power: None,
            current: None,
        };
        let mut cdr = Cdr {
            id: cdr_id(number),
            session: session_digest(self.terms.cpo, &SessionId::new(cdr_id(number).as_str()).unwrap()),
            agreement: self.at,
            tariff: self.tariff.0.clone(),
            evse: EvsePseudonym(u128::from(number).to_be_bytes()),
            zone: GridZone::new("PT-N").unwrap(),
            accepted_at: start,
            start,
            end: later(start, HOUR),
            clock: LocalClock::UTC,
            periods: vec![period],
            energy,
            attestation: None,
            price: Price::ZERO,
            currency: self.terms.currency,
            quote: Digest::of(b"quote"),
            readings: Digest::of(b"readings"),
            acceptance: SignatureBytes([7; 64]),
            payer: Payer::Contract { commitment: Digest::of(b"contract") },
        };
        let inputs = PricingInputs {
            tariff: &self.tariff.1,
            rule: &self.terms.price_rule,
            rounding: self.terms.rounding,
            clock: cdr.clock,
            periods: &cdr.periods,
            end: cdr.end,
            forecast: None,
        };
        cdr.price = pricing::price(&inputs).unwrap().total;
        cdr
    }

    pub(super) fn reservation(&self, number: u32) -> CreditReservation {
        CreditReservation {
            agreement: self.at,
            session: session_digest(self.terms.cpo, &SessionId::new(cdr_id(number).as_str()).unwrap()),
            amount: 1_000_000,
            reserved_at: earlier(noon(), HOUR),
            expires_at: later(noon(), HOUR),
        }
    }
}

pub(super) fn records(cdrs: impl IntoIterator<Item = Cdr>) -> Tx {
    Tx::Cdr(CdrTx::RecordCdrs(cdrs.into_iter().collect()))
}

/// The period that a session is settled in, if it is recorded in time.
pub(super) fn period_of(cdr: &Cdr) -> SettlementPeriod {
    SettlementPeriod::containing(PeriodKind::Day, cdr.end)
}

/// The consortium, its state, and its blocks so far.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) state: MemoryState,
    pub(super) blocks: Vec<Arc<Block>>,
    waiting: Vec<(SignedEnvelope, Vec<Item>)>,
}

impl Network {
    pub(super) const NAME: Digest = Digest([9; 32]);

    /// The members and nothing else.
    pub(super) fn new() -> Self {
        let mut writes = Writes::new();
        let both = Roles::EMSP.with(Roles::CPO);
        let members = [
            (hom(), Roles::EMSP),
            (vis(), Roles::CPO),
            (uti(), both),
            (own(), Roles::RESOLVER),
            (arb(), Roles::RESOLVER),
        ];
        for (party, roles) in members {
            let keys = vec![KeyRecord { public: PublicKey::of(&key_of(party)), replaced: false }];
            let member = Member { name: ShortText::new(&party.to_string()).unwrap(), roles, keys };
            writes.insert(StateKey::Member(party).to_bytes(), Some(to_bytes(&member)));
        }
        let parameters = Parameters { treasurers_required: 1, close_grace: DurationMs::ZERO };
        writes.insert(StateKey::Parameters.to_bytes(), Some(to_bytes(&parameters)));
        let mut state = MemoryState::default();
        state.apply(writes);
        Self { state, blocks: Vec::new(), waiting: Vec::new() }
    }

    /// Executes an envelope for the next block; gives its digest.
    pub(super) fn submit(&mut self, member: PartyId, tx: Tx) -> Digest {
        self.submit_at(noon(), member, tx).0
    }

    #[track_caller]
    fn ok(&mut self, at: UnixMillis, member: PartyId, tx: Tx) {
        let (_, items) = self.submit_at(at, member, tx);
        assert!(items.iter().all(|item| item.outcome.is_accepted()), "refused: {items:?}");
    }

    fn submit_at(&mut self, time: UnixMillis, member: PartyId, tx: Tx) -> (Digest, Vec<Item>) {
        let envelope = Envelope {
            version: VERSION,
            network: Self::NAME,
            member,
            key: 0,
            lane: 0,
            sequence: query::next_sequence(&self.state, member, 0).unwrap(),
            expires_at: later(noon(), DAY),
            tx,
        };
        let signed = envelope.sign(&key_of(member));
        let height = u64::try_from(self.blocks.len()).unwrap() + 1;
        let outcome =
            execute(&self.state, &signed, &BlockHeader { network: Self::NAME, height, time }).unwrap();
        assert!(outcome.is_admitted());
        let digest = signed.digest();
        self.state.apply(outcome.writes);
        self.waiting.push((signed, outcome.items.clone()));
        (digest, outcome.items)
    }

    /// Puts what was executed into a block; gives its height.
    pub(super) fn seal(&mut self) -> u64 {
        let height = u64::try_from(self.blocks.len()).unwrap() + 1;
        let (envelopes, items) =
            self.waiting.drain(..).map(|(signed, items)| (signed.bytes().to_vec(), items)).unzip();
        let body = Body { envelopes, items };
        let bytes = Bytes::from(body.to_bytes());
        let header = Header {
            version: eroam_light::block::VERSION,
            height,
            epoch: height / 10,
            view: height % 10 + 1,
            leader: PublicKey::of(&key_of(hom())),
            parent_view: height % 10,
            parent: self.blocks.last().map_or(Self::NAME, |block| block.header().digest()),
            time: later(noon(), height * 1_000),
            body: Body::digest(&bytes),
            receipts: body.receipts_root(),
            state: Digest([1; 32]),
            operations: Digest([2; 32]),
            operations_start: 0,
            operations_end: height,
        };
        self.blocks.push(Arc::new(Block::new(header, bytes).unwrap()));
        height
    }

    /// Proposes, accepts and publishes the operator's tariff, in the next block.
    pub(super) fn agree(&mut self, terms: &RoamingAgreement) -> Roaming {
        let since = earlier(noon(), 20 * DAY);
        let (id, version) = (agreement_id(terms, since), 1);
        self.ok(
            noon(),
            terms.emsp,
            Tx::Agreement(AgreementTx::Propose { terms: terms.clone(), effective_from: since }),
        );
        let accepted = terms_digest(terms, since);
        self.ok(noon(), terms.cpo, Tx::Agreement(AgreementTx::Accept { id, version, terms: accepted }));
        let tariff = self.tariff(terms.cpo);
        Roaming { at: AgreementRef { id, version }, terms: terms.clone(), tariff }
    }

    /// Proposes new terms for quotes of the last two days.
    pub(super) fn propose_amendment(&mut self, roaming: &Roaming, terms: &RoamingAgreement) {
        let id = roaming.at.id;
        let amend = |terms: &RoamingAgreement| {
            let effective_from = earlier(noon(), 2 * DAY);
            Tx::Agreement(AgreementTx::Amend { id, terms: terms.clone(), effective_from })
        };
        // The second takes the place of the first.
        self.ok(
            noon(),
            terms.emsp,
            amend(&RoamingAgreement { vat: VatTreatment::ReverseCharge, ..terms.clone() }),
        );
        self.ok(noon(), terms.emsp, amend(terms));
    }

    /// Accepts them.
    pub(super) fn accept_amendment(&mut self, roaming: &Roaming, terms: &RoamingAgreement) -> Roaming {
        let AgreementRef { id, version } = roaming.at;
        let version = version + 1;
        let accepted = terms_digest(terms, earlier(noon(), 2 * DAY));
        self.ok(noon(), terms.cpo, Tx::Agreement(AgreementTx::Accept { id, version, terms: accepted }));
        Roaming { at: AgreementRef { id, version }, terms: terms.clone(), tariff: roaming.tariff.clone() }
    }

    /// Begins anew with the state as it is.
    pub(super) fn import(&mut self) -> Writes {
        assert!(self.waiting.is_empty());
        self.blocks.clear();
        self.entries()
    }

    /// The state as it is.
    pub(super) fn entries(&self) -> Writes {
        self.state.iter().map(|(key, value)| (key.to_vec(), Some(value.to_vec()))).collect()
    }

    /// 1 EUR per kWh and 20 % VAT.
    fn tariff(&mut self, cpo: PartyId) -> (TariffRef, Tariff) {
        let vat = VatRate::from_ppm(200_000);
        let energy =
            PriceComponent { dimension: Dimension::Energy, price_micros: 1_000_000, vat, step_size: 1 };
        let tariff = Tariff::new(TariffParts {
            party: cpo,
            id: TariffId::new("T1").unwrap(),
            currency: eur(),
            elements: vec![TariffElement { components: vec![energy], restrictions: Restrictions::NONE }],
            min_price: None,
            max_price: None,
            valid_from: None,
            valid_until: None,
        })
        .unwrap();
        if query::latest_tariff(&self.state, cpo, tariff.id()).unwrap().is_none() {
            let publish = TariffTx::PublishTariff { version: 1, tariff: tariff.clone() };
            self.ok(UnixMillis::EPOCH, cpo, Tx::Tariff(publish));
        }
        (TariffRef { id: tariff.id().clone(), version: 1 }, tariff)
    }

    /// What `debtor` owes `creditor` for a period, as the ledger has it.
    pub(super) fn owed(&self, period: SettlementPeriod, debtor: PartyId, creditor: PartyId) -> i64 {
        query::balance(&self.state, Account::Receivable(period, creditor, debtor, eur())).unwrap()
    }
}
