//! A small consortium, its agreements and tariffs, and a chain of one validator that executes envelopes in memory.
//!
//! All keys and ids follow from names, so every test sees the same bytes on every run.

use crate::agreement::{AgreementTx, agreement_id, terms_digest};
use crate::cdr::{CdrRecord, CdrTx};
use crate::execute::{Header, Outcome, execute};
use crate::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use crate::membership::{MembershipTx, Roles};
use crate::query;
use crate::reject::{Item, RejectCode};
use crate::settlement::{CreditReservation, PAIRS_MAX, PeriodPairs, SettlementTx};
use crate::state::{self, Account, MemoryState, StateKey};
use crate::tariff::TariffTx;
use crate::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::SigningKey;
use eroam_domain::agreement::{
    AgreementId, Limits, PriceRule, RoamingAgreement, Shares, Terms, VatTreatment,
};
use eroam_domain::cdr::{
    AgreementRef, Cdr, CdrId, ChargingPeriod, EvsePseudonym, GridZone, Payer, SessionId, TariffRef,
    session_digest,
};
use eroam_domain::codec::{self, Digest, ShortText, SignatureBytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money, Price, Rounding};
use eroam_domain::pricing::{self, PricingInputs};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts,
};
use eroam_domain::time::{CivilDate, LocalClock, PeriodKind, SettlementPeriod, UnixMillis};
use std::collections::{BTreeMap, BTreeSet};

/// One euro in millionths.
pub(super) const EUR: i64 = 1_000_000;
/// An hour in milliseconds.
pub(super) const HOUR: u64 = 3_600_000;
/// A day in milliseconds.
pub(super) const DAY: u64 = 24 * HOUR;

fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

/// A home utility: its drivers charge elsewhere.
pub(super) fn hom() -> PartyId {
    party("PT-HOM")
}

/// A visited operator: drivers of others charge at its stations.
pub(super) fn vis() -> PartyId {
    party("PT-VIS")
}

/// A utility that is both.
pub(super) fn uti() -> PartyId {
    party("ES-UTI")
}

/// The first of two treasurers, both of whom must attest.
pub(super) fn tr1() -> PartyId {
    party("PT-TR1")
}

/// The second treasurer.
pub(super) fn tr2() -> PartyId {
    party("PT-TR2")
}

/// Decides contests.
pub(super) fn arb() -> PartyId {
    party("ES-ARB")
}

/// Decides contests too, and owns a site whose revenue is shared.
pub(super) fn own() -> PartyId {
    party("ES-OWN")
}

/// No member.
pub(super) fn stranger() -> PartyId {
    party("XX-XXX")
}

pub(super) fn eur() -> Currency {
    Currency::new("EUR").unwrap()
}

pub(super) fn usd() -> Currency {
    Currency::new("USD").unwrap()
}

/// An hour of a day in 2025, UTC.
pub(super) fn on(month: u8, day: u8, hour: i64) -> UnixMillis {
    let days = CivilDate::new(2025, month, day).unwrap().days();
    UnixMillis::new((days * 24 + hour) * i64::try_from(HOUR).unwrap()).unwrap()
}

/// `time` plus so many milliseconds.
pub(super) fn later(time: UnixMillis, ms: u64) -> UnixMillis {
    time.checked_add(DurationMs::from_millis(ms)).unwrap()
}

/// A calendar month of 2025.
pub(super) fn month(month: u8) -> SettlementPeriod {
    SettlementPeriod::containing(PeriodKind::Month, on(month, 1, 0))
}

/// A period with as many pairs of debtor and creditor as it may have, all of them strangers.
pub(super) fn full_period() -> PeriodPairs {
    let names: Vec<PartyId> = (0..PAIRS_MAX / 16)
        .map(|n| party(&format!("ZZ-{}{:02}", ["A", "B", "C", "D", "E", "F"][n / 100], n % 100)))
        .collect();
    let pairs = names.iter().take(16).flat_map(|debtor| names.iter().map(|creditor| (*debtor, *creditor)));
    PeriodPairs { pairs: pairs.collect(), agreements: BTreeSet::new() }
}

/// The key that a name stands for.
pub(super) fn key_of(name: &str) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(name.as_bytes()).0)
}

pub(super) fn genesis() -> Genesis {
    let both = Roles::EMSP.with(Roles::CPO);
    let members = [
        (hom(), Roles::EMSP),
        (vis(), Roles::CPO),
        (uti(), both),
        (tr1(), Roles::TREASURER),
        (tr2(), Roles::TREASURER),
        (arb(), Roles::RESOLVER),
        (own(), Roles::RESOLVER),
    ];
    Genesis {
        name: ShortText::new("test consortium").unwrap(),
        parameters: Parameters { treasurers_required: 2, close_grace: DurationMs::from_millis(2 * DAY) },
        members: members
            .map(|(party, roles)| GenesisMember {
                party,
                name: ShortText::new(&party.to_string()).unwrap(),
                roles,
                key: PublicKey::of(&key_of(&party.to_string())),
            })
            .to_vec(),
        consensus: Consensus {
            validators: [hom(), vis(), uti(), tr1()].map(validator).to_vec(),
            epoch_blocks: 1_000,
            block_bytes_max: 4 * 1024 * 1024,
            time: BlockTime::Stated,
        },
        imported: None,
    }
}

/// The member's validator.
pub(super) fn validator(party: PartyId) -> Validator {
    Validator { party, key: PublicKey::of(&key_of(&format!("validator of {party}"))) }
}

/// Executes envelopes one by one on a state in memory.
#[derive(Clone)]
pub(super) struct Chain {
    pub(super) state: MemoryState,
    pub(super) network: Digest,
    pub(super) now: UnixMillis,
    height: u64,
    /// Everything that was executed: when, what, and what became of it.
    pub(super) log: Vec<(UnixMillis, SignedEnvelope, Vec<Item>)>,
    /// The current key of each member and its number.
    keys: BTreeMap<PartyId, (u32, SigningKey)>,
}

impl Chain {
    /// The members, and nothing else yet; it is 2025-01-20, noon.
    pub(super) fn new() -> Self {
        let genesis = genesis();
        let mut state = MemoryState::default();
        state.apply(genesis.state().unwrap());
        let keys = genesis.members.iter().map(|m| (m.party, (0, key_of(&m.party.to_string())))).collect();
        Self { state, network: genesis.network(), now: on(1, 20, 12), height: 0, log: Vec::new(), keys }
    }

    /// The next envelope of `sender` on lane 0, good for a day.
    pub(super) fn envelope(&self, sender: PartyId, tx: Tx) -> Envelope {
        Envelope {
            version: VERSION,
            network: self.network,
            member: sender,
            key: self.keys.get(&sender).map_or(0, |(number, _)| *number),
            lane: 0,
            sequence: query::next_sequence(&self.state, sender, 0).unwrap(),
            expires_at: later(self.now, DAY),
            tx,
        }
    }

    /// The member's current key; for others the key of their name.
    pub(super) fn key(&self, sender: PartyId) -> SigningKey {
        self.keys.get(&sender).map_or_else(|| key_of(&sender.to_string()), |(_, key)| key.clone())
    }

    /// Signs with the current key of the member that the envelope names.
    pub(super) fn sign(&self, envelope: Envelope) -> SignedEnvelope {
        let key = self.key(envelope.member);
        envelope.sign(&key)
    }

    /// Executes in the next block, and applies the changes.
    pub(super) fn run(&mut self, signed: &SignedEnvelope) -> Outcome {
        self.height += 1;
        let header = Header { network: self.network, height: self.height, time: self.now };
        let outcome = execute(&self.state, signed, &header).unwrap();
        self.state.apply(outcome.writes.clone());
        self.log.push((self.now, signed.clone(), outcome.items.clone()));
        outcome
    }

    /// Remembers a key that [`Self::run`] made the member's current one.
    pub(super) fn use_key(&mut self, member: PartyId, new: SigningKey) {
        let (number, key) = self.keys.get_mut(&member).unwrap();
        (*number, *key) = (*number + 1, new);
    }

    /// Signs and executes.
    pub(super) fn submit(&mut self, sender: PartyId, tx: Tx) -> Vec<Item> {
        let signed = self.sign(self.envelope(sender, tx));
        self.run(&signed).items
    }

    /// Submits what must be accepted, every item of it.
    #[track_caller]
    pub(super) fn ok(&mut self, sender: PartyId, tx: Tx) {
        let items = self.submit(sender, tx);
        let refused: Vec<_> = items.iter().filter_map(|i| i.outcome.rejection()).collect();
        assert!(refused.is_empty(), "refused: {refused:?}");
    }

    /// Submits what must be refused as a whole or as a single item, and says why it was.
    #[track_caller]
    pub(super) fn refused(&mut self, sender: PartyId, tx: Tx) -> RejectCode {
        let items = self.submit(sender, tx);
        assert_eq!(items.len(), 1);
        items[0].outcome.rejection().expect("it must be refused")
    }

    /// Gives the member a new key.
    pub(super) fn rotate(&mut self, member: PartyId, name: &str) {
        let new = key_of(name);
        self.ok(member, Tx::Membership(MembershipTx::rotate(self.network, member, &new)));
        self.use_key(member, new);
    }

    /// A copy to try something on; it has not seen anything yet.
    pub(super) fn fork(&self) -> Self {
        let (state, keys) = (self.state.clone(), self.keys.clone());
        Self { state, network: self.network, now: self.now, height: self.height, log: Vec::new(), keys }
    }

    pub(super) fn digest(&self) -> Digest {
        state::state_digest(self.state.iter())
    }

    pub(super) fn read<T: BorshDeserialize>(&self, key: &StateKey) -> Option<T> {
        state::read(&self.state, key).unwrap()
    }

    /// Writes into the state behind the ledger's back, for limits that would take long to reach.
    pub(super) fn put<T: BorshSerialize>(&mut self, key: &StateKey, value: &T) {
        self.state.apply([(codec::to_bytes(key), Some(codec::to_bytes(value)))].into());
    }

    pub(super) fn balance(&self, account: Account) -> i64 {
        query::balance(&self.state, account).unwrap()
    }

    pub(super) fn cash(&self, party: PartyId) -> i64 {
        self.balance(Account::Cash(party, eur()))
    }

    /// What a party is still owed, or owes, for a closed month.
    pub(super) fn open(&self, period: SettlementPeriod, party: PartyId) -> i64 {
        self.balance(Account::Net(period, party, eur()))
    }

    pub(super) fn cdr(&self, cdr: &Cdr) -> CdrRecord {
        self.read(&StateKey::Cdr(vis(), cdr.id.clone())).expect("the record is booked")
    }

    /// Reserved and booked credit together.
    pub(super) fn used(&self, id: AgreementId) -> i64 {
        query::exposure(&self.state, id).unwrap().total().unwrap()
    }

    /// Proposes and accepts; the agreement holds from the start of 2025.
    #[track_caller]
    pub(super) fn agree(&mut self, terms: RoamingAgreement) -> Roaming {
        let id = self.propose(&terms);
        let accepted = terms_digest(&terms, on(1, 1, 0));
        self.ok(terms.cpo, Tx::Agreement(AgreementTx::Accept { id, version: 1, terms: accepted }));
        let published = self.publish(tariff(terms.cpo));
        Roaming { at: AgreementRef { id, version: 1 }, terms, tariff: published }
    }

    /// The emsp proposes for the time from the start of 2025.
    #[track_caller]
    pub(super) fn propose(&mut self, terms: &RoamingAgreement) -> AgreementId {
        let effective_from = on(1, 1, 0);
        let tx = AgreementTx::Propose { terms: terms.clone(), effective_from };
        self.ok(terms.emsp, Tx::Agreement(tx));
        agreement_id(terms, effective_from)
    }

    /// Amends and accepts.
    #[track_caller]
    pub(super) fn amend(&mut self, roaming: &Roaming, terms: RoamingAgreement, from: UnixMillis) -> Roaming {
        let AgreementRef { id, version } = roaming.at;
        let accepted = terms_digest(&terms, from);
        let (emsp, cpo) = (terms.emsp, terms.cpo);
        let amended = AgreementTx::Amend { id, terms: terms.clone(), effective_from: from };
        self.ok(emsp, Tx::Agreement(amended));
        let version = version + 1;
        self.ok(cpo, Tx::Agreement(AgreementTx::Accept { id, version, terms: accepted }));
        Roaming { at: AgreementRef { id, version }, terms, tariff: roaming.tariff.clone() }
    }

    /// Publishes the tariff's next version.
    #[track_caller]
    pub(super) fn publish(&mut self, tariff: Tariff) -> (TariffRef, Tariff) {
        let (party, id) = (tariff.party(), tariff.id().clone());
        let latest = query::latest_tariff(&self.state, party, &id).unwrap();
        if let Some((version, published)) = &latest
            && *published == tariff
        {
            return (TariffRef { id, version: *version }, tariff);
        }
        let version = latest.map_or(1, |(version, _)| version + 1);
        // In a block at the beginning of time: most tests record sessions of earlier days.
        let now = std::mem::replace(&mut self.now, UnixMillis::EPOCH);
        self.ok(party, Tx::Tariff(TariffTx::PublishTariff { version, tariff: tariff.clone() }));
        self.now = now;
        (TariffRef { id, version }, tariff)
    }

    #[track_caller]
    pub(super) fn record(&mut self, cdr: &Cdr, operator: PartyId) {
        self.ok(operator, records([cdr.clone()]));
    }

    /// Both treasurers attest.
    #[track_caller]
    pub(super) fn deposit(&mut self, party: PartyId, micros: i64, reference: &str) {
        for treasurer in [tr1(), tr2()] {
            self.ok(treasurer, deposit(party, micros, reference));
        }
    }

    #[track_caller]
    pub(super) fn close(&mut self, period: SettlementPeriod) {
        self.ok(arb(), close(period));
    }
}

pub(super) fn records(cdrs: impl IntoIterator<Item = Cdr>) -> Tx {
    Tx::Cdr(CdrTx::RecordCdrs(cdrs.into_iter().collect()))
}

pub(super) fn reserve(items: impl IntoIterator<Item = CreditReservation>) -> Tx {
    Tx::Settlement(SettlementTx::ReserveCredit(items.into_iter().collect()))
}

pub(super) fn deposit(party: PartyId, micros: i64, reference: &str) -> Tx {
    let (amount, reference) = (Money::new(micros, eur()), ShortText::new(reference).unwrap());
    Tx::Settlement(SettlementTx::AttestDeposit { party, amount, reference })
}

pub(super) fn payout(party: PartyId, micros: i64, reference: &str) -> Tx {
    let (amount, reference) = (Money::new(micros, eur()), ShortText::new(reference).unwrap());
    Tx::Settlement(SettlementTx::AttestPayout { party, amount, reference })
}

pub(super) fn close(period: SettlementPeriod) -> Tx {
    Tx::Settlement(SettlementTx::ClosePeriod { period, currency: eur() })
}

pub(super) fn contest(cdr: &Cdr) -> Tx {
    Tx::Cdr(CdrTx::Contest { operator: vis(), cdr: cdr.id.clone(), evidence: Digest::of(b"evidence") })
}

pub(super) fn resolve(cdr: &Cdr, give_back: i64) -> Tx {
    Tx::Cdr(CdrTx::Resolve { operator: vis(), cdr: cdr.id.clone(), give_back })
}

pub(super) fn credit(cdr: &Cdr, amount: i64) -> Tx {
    Tx::Cdr(CdrTx::Credit { cdr: cdr.id.clone(), amount })
}

/// Monthly, in euros, at the operator's tariff; at most 100 kWh, 24 h, 50 kW and 100 EUR per session and 1,000 EUR of
/// credit; 30 days to record and 10 more to contest and to resolve.
pub(super) fn terms(emsp: PartyId, cpo: PartyId) -> RoamingAgreement {
    RoamingAgreement {
        emsp,
        cpo,
        price_rule: PriceRule::Static { factor: BasisPoints::WHOLE },
        shares: Shares::OPERATOR_ONLY,
        limits: Limits {
            energy_max: WattHours::from_wh(100_000).unwrap(),
            duration_max: DurationMs::from_millis(DAY),
            power_max: Watts::new(50_000),
            amount_max: 100 * EUR,
        },
        credit_limit: Money::new(1_000 * EUR, eur()),
        period: PeriodKind::Month,
        currency: eur(),
        rounding: Rounding::cents(),
        vat: VatTreatment::Charged,
        resolver: arb(),
        contest_window: DurationMs::from_millis(10 * DAY),
        resolve_window: DurationMs::from_millis(10 * DAY),
        record_window: DurationMs::from_millis(30 * DAY),
        terms: Terms::Clear,
    }
}

/// 1 EUR per kWh, no VAT: a session costs as many euros as it has kilowatt-hours.
pub(super) fn tariff(cpo: PartyId) -> Tariff {
    tariff_of(cpo, "T1", eur(), EUR, Restrictions::NONE)
}

pub(super) fn tariff_of(
    cpo: PartyId,
    id: &str,
    currency: Currency,
    per_kwh: i64,
    restrictions: Restrictions,
) -> Tariff {
    let energy =
        PriceComponent { dimension: Dimension::Energy, price_micros: per_kwh, vat: None, step_size: 1 };
    Tariff::new(TariffParts {
        party: cpo,
        id: TariffId::new(id).unwrap(),
        currency,
        elements: vec![TariffElement { components: vec![energy], restrictions }],
        min_price: None,
        max_price: None,
        valid_from: None,
        valid_until: None,
    })
    .unwrap()
}

/// An agreement in force and the operator's tariff: what a session under it needs.
#[derive(Clone)]
pub(super) struct Roaming {
    pub(super) at: AgreementRef,
    pub(super) terms: RoamingAgreement,
    pub(super) tariff: (TariffRef, Tariff),
}

impl Roaming {
    /// A session of one hour at EVSE 1, with its right price. `number` names the record and the session.
    pub(super) fn cdr(&self, number: u32, start: UnixMillis, wh: u64) -> Cdr {
        let end = later(start, HOUR);
        let energy = WattHours::from_wh(wh).unwrap();
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
            id: CdrId::new(&format!("cdr-{number}")).unwrap(),
            session: session_digest(self.terms.cpo, &SessionId::new(&format!("cdr-{number}")).unwrap()),
            agreement: self.at,
            tariff: self.tariff.0.clone(),
            evse: EvsePseudonym([1; 16]),
            zone: GridZone::new("PT-N").unwrap(),
            accepted_at: start,
            start,
            end,
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
        self.reprice(&mut cdr);
        cdr
    }

    /// Gives the record the price that agreement and tariff make.
    pub(super) fn reprice(&self, cdr: &mut Cdr) {
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
    }

    /// Credit for the session of that number, for twelve hours.
    pub(super) fn reservation(&self, number: u32, from: UnixMillis, amount: i64) -> CreditReservation {
        CreditReservation {
            agreement: self.at,
            session: session_digest(self.terms.cpo, &SessionId::new(&format!("cdr-{number}")).unwrap()),
            amount,
            reserved_at: from,
            expires_at: later(from, 12 * HOUR),
        }
    }
}
