//! Organisations that roam, each with its own gateway and store; a ledger of one validator in memory; and the post
//! between them, which carries nothing but bytes and may lose, repeat or delay them.
//!
//! Keys, salts and ids follow from names, so that every run sees the same bytes.

use crate::authenticate::{CardDigest, PinVerifier};
use crate::billing::BillLine;
use crate::gateway::{Effect, Evse, Gateway, GatewayError, Policy, Secrets};
use crate::invoice::WholesaleLine;
use crate::ports::SeededEntropy;
use crate::profiles::{ContractState, HomeProfile, ServicePortfolio};
use crate::sessions::{Consumption, Session};
use crate::testing::MemoryStore;
use crate::vouchers::VoucherRules;
use ed25519_dalek::SigningKey;
use eroam_domain::agreement::{Limits, PriceRule, RoamingAgreement, Shares, Terms, VatTreatment};
use eroam_domain::cdr::{ChargingPeriod, SessionId};
use eroam_domain::charge::{AllowedZones, ChargeRequest, Denial, PartnerMessage, PresentedCredential, Quote};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::money::{Currency, Money, Rounding};
use eroam_domain::quantity::{BasisPoints, DurationMs, WattHours, Watts};
use eroam_domain::retail::{PaymentOption, RetailBase, RetailRules, Tier};
use eroam_domain::tariff::{
    Dimension, PriceComponent, Restrictions, Tariff, TariffElement, TariffId, TariffParts, VatRate,
};
use eroam_domain::time::{CivilDate, LocalClock, PeriodKind, UnixMillis};
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::execute::{Header, execute};
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use eroam_ledger::membership::Roles;
use eroam_ledger::port::Receipt;
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::state::{MemoryState, StateError, StateView};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{Envelope, PublicKey, SignedEnvelope, Tx, VERSION};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// One euro in millionths.
pub(super) const EUR: i64 = 1_000_000;
/// A minute in milliseconds.
pub(super) const MINUTE: u64 = 60_000;
/// An hour in milliseconds.
pub(super) const HOUR: u64 = 60 * MINUTE;
/// A day in milliseconds.
pub(super) const DAY: u64 = 24 * HOUR;

/// A customer of EDP in the standard tier, with a card and a PIN.
pub(super) const ANA: &str = "PT-EDP-C00000001";
/// A customer of EDP in the gold tier, with a card.
pub(super) const GIL: &str = "PT-EDP-C00000002";
/// A customer of EDP in the platinum tier, with a card.
pub(super) const PIA: &str = "PT-EDP-C00000003";
/// A customer of EDP in the diamond tier, with a card.
pub(super) const DIA: &str = "PT-EDP-C00000004";
/// A customer of IBE in the standard tier, with a card.
pub(super) const EVA: &str = "ES-IBE-C00000001";
/// The PIN of [`ANA`].
pub(super) const PIN: &str = "471147";
/// EVSEs of the three operators.
pub(super) const AT_GLP: &str = "PT*GLP*E0001*1";
pub(super) const AT_IBE: &str = "ES*IBE*E0001*1";
pub(super) const AT_EDP: &str = "PT*EDP*E0001*1";

fn party(text: &str) -> PartyId {
    text.parse().unwrap()
}

/// A home utility, which has a station too.
pub(super) fn edp() -> PartyId {
    party("PT-EDP")
}

/// An operator.
pub(super) fn glp() -> PartyId {
    party("PT-GLP")
}

/// Both.
pub(super) fn ibe() -> PartyId {
    party("ES-IBE")
}

/// A member that has no agreement with anybody.
pub(super) fn noa() -> PartyId {
    party("PT-NOA")
}

fn arb() -> PartyId {
    party("PT-ARB")
}

pub(super) fn eur() -> Currency {
    Currency::new("EUR").unwrap()
}

pub(super) fn contract(text: &str) -> ContractId {
    text.parse().unwrap()
}

pub(super) fn id(text: &str) -> SessionId {
    SessionId::new(text).unwrap()
}

pub(super) fn wh(wh: u64) -> WattHours {
    WattHours::from_wh(wh).unwrap()
}

/// A minute of a day in 2025, UTC.
pub(super) fn on(month: u8, day: u8, hour: i64, minute: i64) -> UnixMillis {
    let days = CivilDate::new(2025, month, day).unwrap().days();
    UnixMillis::new(((days * 24 + hour) * 60 + minute) * i64::try_from(MINUTE).unwrap()).unwrap()
}

/// When every world begins.
pub(super) fn start() -> UnixMillis {
    on(3, 10, 12, 0)
}

pub(super) fn later(time: UnixMillis, ms: u64) -> UnixMillis {
    time.checked_add(DurationMs::from_millis(ms)).unwrap()
}

pub(super) fn key_of(party: PartyId) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(party.to_string().as_bytes()).0)
}

/// The key with which an organisation signs vouchers.
pub(super) fn voucher_key_of(party: PartyId) -> SigningKey {
    SigningKey::from_bytes(&Digest::of(format!("vouchers of {party}").as_bytes()).0)
}

/// The card that was issued for a contract.
pub(super) fn card(contract: &str) -> PresentedCredential {
    PresentedCredential::CardUid(uid(contract))
}

/// Its uid.
pub(super) fn uid(contract: &str) -> String {
    format!("{:.14}", Digest::of(contract.as_bytes()).to_string())
}

pub(super) fn pin(pin: &str) -> PresentedCredential {
    PresentedCredential::Pin(pin.into())
}

/// The contract of a customer who may do everything.
pub(super) fn profile(text: &str, tier: Tier) -> HomeProfile {
    let contract = contract(text);
    HomeProfile {
        contract,
        state: ContractState::Active,
        valid_from: on(1, 1, 0, 0),
        valid_until: None,
        tier,
        payment: PaymentOption::Postpaid,
        portfolio: ServicePortfolio {
            roaming: true,
            zones: AllowedZones::All,
            priority: 0,
            energy_max: wh(80_000),
            amount_max: 100 * EUR,
        },
        cards: vec![CardDigest::new(&salt(contract.party()), &contract, &uid(text))],
        pin: None,
        wrong_pins: 0,
        visiting: None,
    }
}

/// An organisation's secret salt.
pub(super) fn salt(party: PartyId) -> Digest {
    Digest::of(format!("salt of {party}").as_bytes())
}

/// The wholesale price, 5 % on top, 0.20 EUR for roaming, up to 12 % off for the tier, VAT of 23 %.
pub(super) fn retail() -> RetailRules {
    RetailRules {
        base: RetailBase::PassThrough,
        time_of_use: Vec::new(),
        margin_bps: 500,
        roaming_fee_micros: 200_000,
        tier_bps: [0, -500, -800, -1_200],
        payment_bps: [0; 5],
        vat: VatRate::from_ppm(230_000).unwrap(),
        rounding: Rounding::cents(),
    }
}

/// 0.40 EUR per kWh and 1 EUR per session, with VAT of 23 %.
pub(super) fn tariff(cpo: PartyId) -> TariffParts {
    let component = |dimension, price_micros| PriceComponent {
        dimension,
        price_micros,
        vat: VatRate::from_ppm(230_000),
        step_size: 1,
    };
    TariffParts {
        party: cpo,
        id: TariffId::new("DAY").unwrap(),
        currency: eur(),
        elements: vec![TariffElement {
            components: vec![component(Dimension::Energy, 400_000), component(Dimension::Flat, EUR)],
            restrictions: Restrictions::NONE,
        }],
        min_price: None,
        max_price: None,
        valid_from: None,
        valid_until: None,
    }
}

/// The operator's tariff less 5 %; without VAT between countries.
pub(super) fn terms(emsp: PartyId, cpo: PartyId) -> RoamingAgreement {
    RoamingAgreement {
        emsp,
        cpo,
        price_rule: PriceRule::Static { factor: BasisPoints::new(9_500) },
        shares: Shares::OPERATOR_ONLY,
        limits: Limits {
            energy_max: wh(60_000),
            duration_max: DurationMs::from_millis(DAY),
            power_max: Watts::new(150_000),
            amount_max: 50 * EUR,
        },
        credit_limit: Money::new(500 * EUR, eur()),
        period: PeriodKind::Month,
        currency: eur(),
        rounding: Rounding::cents(),
        vat: if emsp.country() == cpo.country() {
            VatTreatment::Charged
        } else {
            VatTreatment::ReverseCharge
        },
        resolver: arb(),
        contest_window: DurationMs::from_millis(10 * DAY),
        resolve_window: DurationMs::from_millis(10 * DAY),
        record_window: DurationMs::from_millis(40 * DAY),
        terms: Terms::Clear,
    }
}

fn evse(id: &str, zone: &str) -> Evse {
    Evse {
        id: id.parse().unwrap(),
        place: ShortText::new(&format!("place {zone}")).unwrap(),
        zone: ShortText::new(zone).unwrap(),
        tariff: TariffId::new("DAY").unwrap(),
        power: Watts::new(22_000),
    }
}

/// An organisation as its configuration makes it, on a store.
pub(super) fn gateway(party: PartyId, store: MemoryStore) -> Gateway<MemoryStore> {
    let voucher = Some(voucher_key_of(party));
    let secrets = Secrets { signing: key_of(party), key: 0, salt: salt(party), voucher };
    let policy = Policy {
        quote_held_for: DurationMs::from_millis(10 * MINUTE),
        cache_for: DurationMs::from_millis(DAY),
        patience: DurationMs::from_millis(HOUR),
        envelope_valid_for: DurationMs::from_millis(HOUR),
    };
    let entropy = Box::new(SeededEntropy(salt(party)));
    let mut gateway = Gateway::new(party, "name", secrets, policy, store, entropy);
    // Every charge here has the readings of every other: what that means is tried in `anomalies`.
    gateway.set_anomaly_rules(None);
    gateway.rules_mut().home = crate::rules::HomeRules::new([0, 1, 2, 3]);
    gateway.rules_mut().home.update(on(1, 1, 0, 0), retail()).unwrap();
    gateway.rules_mut().vouchers =
        Some(VoucherRules { cap: Money::new(30 * EUR, eur()), valid_days: 2, daily_limit: 100 * EUR });
    let stations = [(glp(), AT_GLP, "PT-N"), (ibe(), AT_IBE, "ES-M"), (edp(), AT_EDP, "PT-S")];
    for (_, id, zone) in stations.into_iter().filter(|(owner, ..)| *owner == party) {
        gateway.put_station(evse(id, zone));
    }
    gateway
}

/// A ledger of one validator, in memory.
pub(super) struct TestLedger {
    state: MemoryState,
    pub(super) network: Digest,
    time: UnixMillis,
    height: u64,
    /// Every envelope that was included, with what became of it.
    pub(super) blocks: Vec<(SignedEnvelope, Receipt)>,
}

impl StateView for TestLedger {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        self.state.get(key)
    }
}

impl TestLedger {
    fn new() -> Self {
        let both = Roles::EMSP.with(Roles::CPO);
        let members = [
            (edp(), both),
            (glp(), both),
            (ibe(), both),
            (noa(), both),
            (arb(), Roles::RESOLVER.with(Roles::TREASURER)),
        ];
        let genesis = Genesis {
            name: ShortText::new("test").unwrap(),
            parameters: Parameters { treasurers_required: 1, close_grace: DurationMs::from_millis(DAY) },
            members: members
                .map(|(party, roles)| GenesisMember {
                    party,
                    name: ShortText::new(&party.to_string()).unwrap(),
                    roles,
                    key: PublicKey::of(&key_of(party)),
                })
                .to_vec(),
            consensus: Consensus {
                validators: vec![Validator { party: arb(), key: PublicKey([1; 32]) }],
                epoch_blocks: 1_000,
                block_bytes_max: 4 * 1024 * 1024,
                time: BlockTime::Stated,
            },
            imported: None,
        };
        let mut state = MemoryState::default();
        state.apply(genesis.state().unwrap());
        Self { state, network: genesis.network(), time: start(), height: 0, blocks: Vec::new() }
    }

    /// Executes an envelope in a block of its own.
    pub(super) fn submit(&mut self, at: UnixMillis, signed: &SignedEnvelope) -> Receipt {
        self.height += 1;
        self.time = self.time.max(at);
        // What travels is bytes.
        let signed = SignedEnvelope::decode(signed.bytes().to_vec()).unwrap();
        let header = Header { network: self.network, height: self.height, time: self.time };
        let outcome = execute(&self.state, &signed, &header).unwrap();
        self.state.apply(outcome.writes);
        let receipt = Receipt { envelope: signed.digest(), height: Some(self.height), items: outcome.items };
        self.blocks.push((signed, receipt.clone()));
        receipt
    }

    /// What an organisation's office does, on a lane of its own; it must be accepted.
    #[track_caller]
    pub(super) fn office(&mut self, member: PartyId, tx: Tx) {
        let refused = self.office_at(self.time, member, tx);
        assert_eq!(refused, None);
    }

    /// [`TestLedger::office`] in a block of `now`; gives what became of it.
    pub(super) fn office_at(&mut self, now: UnixMillis, member: PartyId, tx: Tx) -> Option<RejectCode> {
        let envelope = Envelope {
            version: VERSION,
            network: self.network,
            member,
            key: 0,
            lane: 1,
            sequence: query::next_sequence(self, member, 1).unwrap(),
            expires_at: later(now, HOUR),
            tx,
        };
        let receipt = self.submit(now, &envelope.sign(&key_of(member)));
        receipt.items[0].outcome.rejection()
    }

    #[track_caller]
    pub(super) fn agree(&mut self, terms: RoamingAgreement) {
        let effective_from = on(1, 1, 0, 0);
        let (emsp, cpo) = (terms.emsp, terms.cpo);
        let (id, digest) = (agreement_id(&terms, effective_from), terms_digest(&terms, effective_from));
        self.office(emsp, Tx::Agreement(AgreementTx::Propose { terms, effective_from }));
        self.office(cpo, Tx::Agreement(AgreementTx::Accept { id, version: 1, terms: digest }));
    }

    #[track_caller]
    pub(super) fn publish(&mut self, version: u32, parts: TariffParts) {
        let tariff = Tariff::new(parts).unwrap();
        self.office(tariff.party(), Tx::Tariff(TariffTx::PublishTariff { version, tariff }));
    }

    /// How many reservations were accepted.
    pub(super) fn reserved(&self) -> usize {
        self.accepted(|tx| matches!(tx, Tx::Settlement(SettlementTx::ReserveCredit(_))))
    }

    /// How many records were accepted.
    pub(super) fn recorded(&self) -> usize {
        self.accepted(|tx| matches!(tx, Tx::Cdr(CdrTx::RecordCdrs(_))))
    }

    fn accepted(&self, family: fn(&Tx) -> bool) -> usize {
        let blocks = self.blocks.iter().filter(|(envelope, _)| family(&envelope.envelope().tx));
        blocks.flat_map(|(_, receipt)| &receipt.items).filter(|i| i.outcome.is_accepted()).count()
    }
}

/// A message on its way: bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Letter {
    pub(super) from: PartyId,
    pub(super) to: PartyId,
    pub(super) bytes: Vec<u8>,
}

impl Letter {
    pub(super) fn message(&self) -> PartnerMessage {
        serde_json::from_slice(&self.bytes).unwrap()
    }

    /// The name of the message in JSON.
    pub(super) fn kind(&self) -> &'static str {
        match self.message() {
            PartnerMessage::Authorize(_) => "authorize",
            PartnerMessage::Authorized { .. } => "authorized",
            PartnerMessage::Recall { .. } => "recall",
            PartnerMessage::Reports(_) => "reports",
            PartnerMessage::ReportsReceived(_) => "reports_received",
            PartnerMessage::Evidence { .. } => "evidence",
            PartnerMessage::EvidenceWanted { .. } => "evidence_wanted",
            PartnerMessage::ContestEvidence { .. } => "contest_evidence",
            PartnerMessage::ChargeEvidence { .. } => "charge_evidence",
            PartnerMessage::ChargeEvidenceKept { .. } => "charge_evidence_kept",
        }
    }
}

/// What the post does with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Deliver,
    Lose,
    /// Delivers it twice.
    Repeat,
    /// Keeps it until [`World::release`].
    Delay,
}

/// A crash of one organisation, at its `point`-th opportunity.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crash {
    pub(super) party: PartyId,
    pub(super) point: usize,
}

pub(super) struct World {
    pub(super) ledger: TestLedger,
    pub(super) now: UnixMillis,
    pub(super) fate: Box<dyn Fn(&Letter) -> Fate>,
    /// Every letter that was ever posted.
    pub(super) letters: Vec<Letter>,
    /// Whether envelopes reach the ledger.
    pub(super) ledger_reachable: bool,
    gateways: BTreeMap<PartyId, Gateway<MemoryStore>>,
    /// The stores as of their last commit.
    committed: BTreeMap<PartyId, MemoryStore>,
    pub(super) operators: BTreeMap<SessionId, PartyId>,
    post: VecDeque<Letter>,
    delayed: Vec<Letter>,
    at_stations: Vec<Effect>,
    pub(super) crash: Option<Crash>,
    /// How many opportunities to crash each organisation has had.
    pub(super) points: BTreeMap<PartyId, usize>,
}

impl World {
    /// EDP's drivers charge at GLP's and IBE's stations, IBE's at GLP's; everybody's at their own.
    pub(super) fn new() -> Self {
        let mut ledger = TestLedger::new();
        for (emsp, cpo) in [(edp(), glp()), (edp(), ibe()), (ibe(), glp())] {
            ledger.agree(terms(emsp, cpo));
        }
        for cpo in [glp(), ibe(), edp()] {
            ledger.publish(1, tariff(cpo));
        }
        for emsp in [edp(), ibe()] {
            let publish = gateway(emsp, MemoryStore::default())
                .publish_voucher_key(on(1, 1, 0, 0), on(12, 31, 0, 0))
                .unwrap();
            ledger.office(emsp, publish);
        }
        ledger.blocks.clear();
        let customers = [
            (ANA, Tier::Standard),
            (GIL, Tier::Gold),
            (PIA, Tier::Platinum),
            (DIA, Tier::Diamond),
            (EVA, Tier::Standard),
        ];
        let mut gateways: BTreeMap<_, _> = [edp(), glp(), ibe()]
            .map(|party| (party, gateway(party, MemoryStore::default())))
            .into_iter()
            .collect();
        for (text, tier) in customers {
            let mut profile = profile(text, tier);
            if text == ANA {
                profile.pin = Some(PinVerifier::new(Digest::of(b"pin"), PIN).unwrap());
            }
            let home = gateways.get_mut(&profile.contract.party()).unwrap();
            home.store_mut().home.insert(profile.contract, profile);
        }
        let committed = gateways.iter_mut().map(|(party, g)| (*party, g.store_mut().clone())).collect();
        Self {
            ledger,
            now: start(),
            fate: Box::new(|_| Fate::Deliver),
            letters: Vec::new(),
            ledger_reachable: true,
            gateways,
            committed,
            operators: BTreeMap::new(),
            post: VecDeque::new(),
            delayed: Vec::new(),
            at_stations: Vec::new(),
            crash: None,
            points: BTreeMap::new(),
        }
    }

    pub(super) fn org(&mut self, party: PartyId) -> &mut Gateway<MemoryStore> {
        self.gateways.get_mut(&party).unwrap()
    }

    pub(super) fn store(&mut self, party: PartyId) -> &mut MemoryStore {
        self.org(party).store_mut()
    }

    pub(super) fn customer(&mut self, text: &str) -> &mut HomeProfile {
        let contract = contract(text);
        self.store(contract.party()).home.get_mut(&contract).unwrap()
    }

    pub(super) fn stores(&mut self) -> BTreeMap<PartyId, MemoryStore> {
        self.gateways.iter_mut().map(|(party, g)| (*party, g.store_mut().clone())).collect()
    }

    pub(super) fn session(&mut self, session: &str) -> Session {
        let operator = self.operators[&id(session)];
        self.store(operator).sessions[&id(session)].clone()
    }

    /// How many letters of a kind were posted.
    pub(super) fn posted(&self, kind: &str) -> usize {
        self.letters.iter().filter(|l| l.kind() == kind).count()
    }

    /// The bill lines of an organisation.
    pub(super) fn bill_lines(&mut self, party: PartyId) -> Vec<BillLine> {
        use crate::ports::Store as _;
        let mut lines = Vec::new();
        self.store(party)
            .each_bill_line(&mut |line| {
                lines.push(line);
                Ok(())
            })
            .unwrap();
        lines
    }

    pub(super) fn wholesale_lines(&mut self, party: PartyId) -> Vec<WholesaleLine> {
        self.store(party).wholesale.values().cloned().collect()
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now = later(self.now, ms);
    }

    /// Whether the organisation crashes here.
    fn crashes(&mut self, party: PartyId) -> bool {
        let point = self.points.entry(party).or_default();
        *point += 1;
        self.crash.is_some_and(|c| c.party == party && c.point == *point)
    }

    /// Starts an organisation again: it has its configuration and what it last committed, nothing else.
    pub(super) fn restart(&mut self, party: PartyId) {
        self.crash = None;
        let store = self.committed[&party].clone();
        self.gateways.insert(party, gateway(party, store));
        self.resume(party);
    }

    pub(super) fn resume(&mut self, party: PartyId) {
        self.call(party, |gateway, ledger| gateway.resume(ledger)).unwrap();
    }

    /// Lets a gateway handle something as a host must: commit before anything leaves. It may crash before the commit
    /// and after it.
    pub(super) fn call(
        &mut self,
        party: PartyId,
        handle: impl FnOnce(&mut Gateway<MemoryStore>, &TestLedger) -> Result<Vec<Effect>, GatewayError>,
    ) -> Result<(), GatewayError> {
        let gateway = self.gateways.get_mut(&party).unwrap();
        let effects = handle(gateway, &self.ledger)?;
        if self.crashes(party) {
            self.restart(party);
            return Ok(());
        }
        let gateway = self.gateways.get_mut(&party).unwrap();
        gateway.commit()?;
        self.committed.insert(party, gateway.store_mut().clone());
        if self.crashes(party) {
            self.restart(party);
            return Ok(());
        }
        for effect in effects {
            match effect {
                Effect::Send { to, message } => {
                    let bytes = serde_json::to_vec(&message).unwrap();
                    self.post_letter(Letter { from: party, to, bytes });
                }
                shown => self.at_stations.push(shown),
            }
        }
        Ok(())
    }

    pub(super) fn post_letter(&mut self, letter: Letter) {
        self.letters.push(letter.clone());
        // The resolver is only on the ledger.
        if !self.gateways.contains_key(&letter.to) {
            return;
        }
        match (self.fate)(&letter) {
            Fate::Deliver => self.post.push_back(letter),
            Fate::Lose => {}
            Fate::Repeat => self.post.extend([letter.clone(), letter]),
            Fate::Delay => self.delayed.push(letter),
        }
    }

    /// Delivers what was delayed, the last letter first.
    pub(super) fn release(&mut self) {
        self.post.extend(std::mem::take(&mut self.delayed).into_iter().rev());
        self.drive();
    }

    /// Delivers letters and includes envelopes until nothing happens any more.
    pub(super) fn drive(&mut self) {
        loop {
            while let Some(letter) = self.post.pop_front() {
                self.deliver(&letter);
            }
            if !self.flush() {
                return;
            }
        }
    }

    fn deliver(&mut self, letter: &Letter) {
        let (from, now, message) = (letter.from, self.now, letter.message());
        let asked_for = match &message {
            PartnerMessage::Authorize(request) => Some(request.session.clone()),
            _ => None,
        };
        let handled = self.call(letter.to, |gateway, ledger| gateway.receive(ledger, from, message, now));
        match (handled, asked_for) {
            // Whatever else could not be handled is lost; the sender sends it again.
            (Err(GatewayError::Store { .. }), Some(session)) => {
                self.call(from, |gateway, ledger| gateway.home_unreachable(ledger, &session)).unwrap();
            }
            (Ok(()) | Err(GatewayError::Store { .. }), _) => {}
            (Err(error), _) => panic!("{error}"),
        }
    }

    /// Sends every outbox to the ledger and hands out what it says; whether there was anything.
    fn flush(&mut self) -> bool {
        if !self.ledger_reachable {
            return false;
        }
        let (network, now) = (self.ledger.network, self.now);
        let parties: Vec<PartyId> = self.gateways.keys().copied().collect();
        let mut busy = false;
        for party in parties.clone() {
            let gateway = self.gateways.get_mut(&party).unwrap();
            let envelopes = gateway.envelopes(&self.ledger, network, now).unwrap();
            busy |= !envelopes.is_empty();
            for envelope in envelopes {
                if self.crashes(party) {
                    self.restart(party);
                    break;
                }
                let receipt = self.ledger.submit(now, &envelope);
                for observer in &parties {
                    self.observe(*observer, &envelope, &receipt);
                }
                if self.crashes(party) {
                    self.restart(party);
                    break;
                }
                match self.call(party, |gateway, ledger| gateway.receipt(ledger, &envelope, &receipt)) {
                    // It crashed as an observer and does not know the envelope any more.
                    Ok(()) | Err(GatewayError::ForeignReceipt) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        busy
    }

    fn observe(&mut self, observer: PartyId, envelope: &SignedEnvelope, receipt: &Receipt) {
        let now = self.now;
        let seen = self.call(observer, |gateway, ledger| {
            gateway.observe(ledger, envelope.envelope(), receipt, now).map(|()| Vec::new())
        });
        assert!(matches!(seen, Ok(()) | Err(GatewayError::Store { .. })), "{seen:?}");
    }

    /// Shows every organisation every block again, as a host does that starts behind the ledger.
    pub(super) fn replay_blocks(&mut self) {
        for (envelope, receipt) in self.ledger.blocks.clone() {
            for party in [edp(), glp(), ibe()] {
                self.observe(party, &envelope, &receipt);
            }
        }
    }

    /// What a driver sends from a station now.
    pub(super) fn ask(
        &self,
        session: &str,
        evse: &str,
        contract: &str,
        credential: PresentedCredential,
    ) -> ChargeRequest {
        ChargeRequest {
            session: id(session),
            evse: evse.parse().unwrap(),
            contract: contract.into(),
            credential,
            energy_wanted: None,
            leaves_at: None,
            at: self.now,
            clock: LocalClock::UTC,
        }
    }

    /// What the stations were told by now.
    pub(super) fn shown(&mut self) -> Vec<Effect> {
        self.drive();
        std::mem::take(&mut self.at_stations)
    }

    /// A station asks; gives what its display and its relay are told.
    pub(super) fn request(&mut self, request: &ChargeRequest) -> Vec<Effect> {
        let operator = request.evse.operator().unwrap();
        self.operators.insert(request.session.clone(), operator);
        self.call(operator, |gateway, ledger| gateway.request(ledger, request)).unwrap();
        self.shown()
    }

    /// [`World::request`] with the contract's card.
    pub(super) fn swipe(&mut self, session: &str, evse: &str, contract: &str) -> Vec<Effect> {
        self.request(&self.ask(session, evse, contract, card(contract)))
    }

    pub(super) fn accept(&mut self, session: &str) -> Vec<Effect> {
        let (operator, now) = (self.operators[&id(session)], self.now);
        self.call(operator, |gateway, ledger| gateway.accept(ledger, &id(session), now)).unwrap();
        self.shown()
    }

    pub(super) fn refuse(&mut self, session: &str) -> Vec<Effect> {
        let operator = self.operators[&id(session)];
        self.call(operator, |gateway, ledger| gateway.refuse(ledger, &id(session))).unwrap();
        self.shown()
    }

    pub(super) fn tick(&mut self, party: PartyId) -> Vec<Effect> {
        let now = self.now;
        self.call(party, |gateway, ledger| gateway.tick(ledger, now)).unwrap();
        self.shown()
    }

    pub(super) fn consumed(&mut self, session: &str, consumption: Consumption) -> Vec<Effect> {
        let operator = self.operators[&id(session)];
        self.call(operator, |gateway, ledger| gateway.consumed(ledger, &id(session), consumption)).unwrap();
        self.shown()
    }

    /// A whole charge of one hour with the contract's card; gives the quote that the driver accepted. An hour later
    /// than it began, everything is said.
    #[track_caller]
    pub(super) fn charge(&mut self, session: &str, evse: &str, contract: &str, energy_wh: u64) -> Quote {
        let quote = quoted(&self.swipe(session, evse, contract));
        assert!(is_power_on(&self.accept(session)), "power");
        let consumption = hour_of(self.now, energy_wh);
        self.wait(HOUR);
        assert_eq!(self.consumed(session, consumption), []);
        quote
    }
}

/// One hour from `start`, in which so much was delivered.
pub(super) fn hour_of(start: UnixMillis, energy_wh: u64) -> Consumption {
    let (hour, energy) = (DurationMs::from_millis(HOUR), wh(energy_wh));
    let period = ChargingPeriod {
        start,
        energy,
        charging: hour,
        parking: DurationMs::ZERO,
        reservation: DurationMs::ZERO,
        power: None,
        current: None,
    };
    Consumption {
        start,
        end: later(start, HOUR),
        clock: LocalClock::UTC,
        periods: vec![period],
        energy,
        readings: Digest::of(b"readings"),
    }
}

/// The quote that was shown, and nothing else was.
#[track_caller]
pub(super) fn quoted(effects: &[Effect]) -> Quote {
    match effects {
        [Effect::ShowQuote(quote)] => quote.clone(),
        other => panic!("no quote: {other:?}"),
    }
}

/// The denial that was shown, and nothing else was.
#[track_caller]
pub(super) fn denied(effects: &[Effect]) -> Denial {
    match effects {
        [Effect::Deny { denial, .. }] => *denial,
        other => panic!("no denial: {other:?}"),
    }
}

pub(super) fn is_power_on(effects: &[Effect]) -> bool {
    matches!(effects, [Effect::PowerOn { .. }])
}
