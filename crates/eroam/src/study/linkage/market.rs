//! A month at one operator's stations: each charge as wallet, station, operator and ledger make it, by direct calls.
//!
//! ```text
//! wallet  withdraw · prepare · request ─► quote checked ─► proof, voucher ─► (charges)
//! station          envelope ◄─┘   └─ quote, proof request      └─ accounting: proof, voucher, signed readings
//! operator         request_unknown ─ proven ─ accept_with_voucher ─ keep_evidence ─ consumed ─ recorded
//! ```
//! What decides and what is stored are the product's own functions: the wallet's purse and visit, AnonCreds, envelopes
//! of DIDComm, the station's request, the operator's gateway on its store, the ledger's rules. Left out are sockets,
//! the station's credential, which says nothing of the driver, and the handshake: its keys are new ones for each
//! connection, as here.

use super::LinkageError;
use super::crowd::{Crowd, Driver};
use super::features::{Record, SECOND_OF_DAY};
use crate::agent::new_id;
use crate::charging::proving::formatted;
use crate::consortium::Seed;
use crate::consortium::founders;
use crate::simulate::world::{TARIFF, tariff, terms};
use eroam_domain::cdr::{GridZone, SessionId, session_digest};
use eroam_domain::charge::AllowedZones;
use eroam_domain::codec::{Digest, ShortText, to_bytes};
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::money::Money;
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::tariff::TariffId;
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_domain::visit::{Accounting, ChargeLimits, StationClaims, VisitQuote};
use eroam_domain::voucher::{SpentVoucher, proof_nonce};
use eroam_gateway::gateway::{Effect, Evse, Gateway, Secrets};
use eroam_gateway::ports::{SeededEntropy, Store as _};
use eroam_gateway::profiles::{ContractState, HomeProfile, ServicePortfolio};
use eroam_gateway::sessions::Consumption;
use eroam_gateway::unknown_driver::{ProvenContract, UnknownDriverRequest};
use eroam_gateway::vouchers::VoucherRules;
use eroam_ledger::agreement::{AgreementTx, agreement_id, terms_digest};
use eroam_ledger::execute::{Header, execute};
use eroam_ledger::genesis::{BlockTime, Consensus, Genesis, GenesisMember, Parameters, Validator};
use eroam_ledger::membership::Roles;
use eroam_ledger::port::Receipt;
use eroam_ledger::query;
use eroam_ledger::state::{MemoryState, StateError, StateView};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{PublicKey, SignedEnvelope, Tx};
use eroam_ssi::anoncreds::{Interval, Nonce, Presentation, ProofRequest, Restriction, Timestamp, verifier};
use eroam_ssi::did::VerificationKey;
use eroam_ssi::didcomm::{Channel, Message, OsRng, RngCore as _, SigningKey, pack, unpack};
use eroam_ssi::protocol::charging::{CONTRACT, ContractDemand, Said, Visit, attributes, contract_request};
use eroam_ssi::protocol::present_proof::{self, ANONCREDS_PROOF, ANONCREDS_REQUEST, Prover, Verifier};
use eroam_ssi::protocol::{Incoming, find_format};
use eroam_station::hardware::simulated::Bench;
use eroam_station::metering;
use eroam_store::{OrgStore, StoreUrl};
use eroam_wallet::purse::Purse;
use eroam_wallet::visit::plan;
use eroam_wire::ocmf::{
    ClockState, Mark, MeterKey, MeterPublicKey, MeteredSession, RecordWriter, SignedReading,
};
use serde_json::{Value, json};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Instant;

/// The lane of transactions that people make.
const OFFICE_LANE: u16 = 1;
/// 2026-11-01, when the month begins.
pub(super) const START_MS: i64 = 1_793_491_200_000;
/// Milliseconds of a day.
pub(super) const DAY_MS: i64 = 86_400_000;
/// Days of the month.
pub(super) const DAYS: i64 = 30;
/// What a voucher pays and a driver allows, in millionths.
const ALLOWED_MICROS: i64 = 40_000_000;
/// So many vouchers a wallet withdraws at a time, as in `eroam simulate`.
const WITHDRAWN_AT_ONCE: usize = 16;
/// Stations of the operator.
pub(super) const STATIONS: usize = 16;
/// What they give.
const POWER: Watts = Watts::new(11_000);
/// One proof in so many is also verified: the rest costs time and teaches nothing.
const VERIFIED_OF: u64 = 16;

/// What is done wrong on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leak {
    /// The station asks for the customer's number, and the wallet shows it.
    CustomerId,
    /// The wallet talks with the same key on every connection.
    ConnectionKey,
}

/// A charge that is going to happen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Planned {
    pub(super) driver: usize,
    pub(super) station: usize,
    pub(super) at: UnixMillis,
    pub(super) energy_wh: u64,
}

impl Planned {
    /// When the vehicle has what it came for.
    pub(super) fn ends_at(&self) -> Result<UnixMillis, LinkageError> {
        later(self.at, duration_ms(self.energy_wh))
    }
}

/// The home utility.
pub(super) fn emsp() -> Result<PartyId, LinkageError> {
    PartyId::new("PT", "E01").map_err(LinkageError::of("a party"))
}

fn cpo() -> Result<PartyId, LinkageError> {
    PartyId::new("PT", "O01").map_err(LinkageError::of("a party"))
}

fn treasury() -> Result<PartyId, LinkageError> {
    PartyId::new("PT", "TRS").map_err(LinkageError::of("a party"))
}

/// A time after the month began.
pub(super) fn after_start(ms: i64) -> Result<UnixMillis, LinkageError> {
    UnixMillis::new(START_MS + ms).ok_or_else(|| LinkageError::unexpected("a time", ms))
}

fn later(at: UnixMillis, ms: u64) -> Result<UnixMillis, LinkageError> {
    at.checked_add(DurationMs::from_millis(ms)).ok_or_else(|| LinkageError::unexpected("a time", ms))
}

/// A ledger of one validator, in memory: the rules alone.
struct Chain {
    state: MemoryState,
    network: Digest,
    time: UnixMillis,
    height: u64,
}

impl StateView for Chain {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        self.state.get(key)
    }
}

fn genesis(seed: Seed) -> Result<Genesis, LinkageError> {
    let name = |text: &str| ShortText::new(text).map_err(LinkageError::of("a name"));
    let member = |party: PartyId, roles| {
        let key = PublicKey::of(&seed.signing_key(party));
        Ok::<_, LinkageError>(GenesisMember { party, name: name(&party.to_string())?, roles, key })
    };
    let members = vec![
        member(emsp()?, Roles::EMSP)?,
        member(cpo()?, Roles::CPO)?,
        member(treasury()?, Roles::TREASURER.with(Roles::RESOLVER))?,
    ];
    let key = ed25519_dalek::SigningKey::from_bytes(&seed.derive("validator key", &[]).0);
    let validator = Validator { party: treasury()?, key: PublicKey::of(&key) };
    Ok(Genesis {
        name: name("eroam study")?,
        parameters: Parameters { treasurers_required: 1, close_grace: founders::CLOSE_GRACE },
        members,
        consensus: Consensus {
            validators: vec![validator],
            epoch_blocks: 1_000,
            block_bytes_max: 4 * 1024 * 1024,
            time: BlockTime::Stated,
        },
        imported: None,
    })
}

/// The network that all months are of.
pub(super) fn network(seed: Seed) -> Result<Digest, LinkageError> {
    Ok(genesis(seed)?.network())
}

impl Chain {
    fn begin(seed: Seed) -> Result<Self, LinkageError> {
        let genesis = genesis(seed)?;
        let mut state = MemoryState::default();
        state.apply(genesis.state().map_err(LinkageError::of("the genesis"))?);
        Ok(Self { state, network: genesis.network(), time: UnixMillis::EPOCH, height: 0 })
    }

    /// Executes an envelope in a block of its own.
    fn submit(&mut self, at: UnixMillis, signed: &SignedEnvelope) -> Result<Receipt, LinkageError> {
        self.height += 1;
        self.time = self.time.max(at);
        let header = Header { network: self.network, height: self.height, time: self.time };
        let outcome = execute(&self.state, signed, &header).map_err(LinkageError::of("the ledger"))?;
        self.state.apply(outcome.writes);
        Ok(Receipt { envelope: signed.digest(), height: Some(self.height), items: outcome.items })
    }

    fn office(&mut self, gateway: &Gateway<OrgStore>, at: UnixMillis, tx: Tx) -> Result<(), LinkageError> {
        let sequence = query::next_sequence(self, gateway.party(), OFFICE_LANE);
        let sequence = sequence.map_err(LinkageError::of("the ledger"))?;
        let signed = gateway.sign(self.network, OFFICE_LANE, sequence, at, tx);
        let receipt = self.submit(at, &signed)?;
        match receipt.items.iter().find_map(|item| item.outcome.rejection()) {
            Some(code) => Err(LinkageError::unexpected("the founding", code)),
            None => Ok(()),
        }
    }
}

struct Station {
    claims: StationClaims,
    writer: RecordWriter,
    meter: MeterPublicKey,
    page: u64,
    register: WattHours,
}

/// Power is on.
struct Charging {
    planned: Planned,
    session: SessionId,
    random: Digest,
    station_key: String,
    request: ProofRequest,
    shown: Presentation,
    spent: SpentVoucher,
    /// What the station saw besides.
    seen: Value,
}

/// A month at one operator.
pub(super) struct Market<'a> {
    crowd: &'a Crowd,
    leak: Option<Leak>,
    seed: Seed,
    chain: Chain,
    operator: Gateway<OrgStore>,
    provider: Gateway<OrgStore>,
    provider_key: VerificationKey,
    purses: Vec<Purse>,
    stations: Vec<Station>,
    charges: u64,
}

fn gateway(
    seed: Seed,
    party: PartyId,
    network: Digest,
    valid_days: u16,
) -> Result<Gateway<OrgStore>, LinkageError> {
    let store = OrgStore::open(&StoreUrl::memory(), party, &network).map_err(LinkageError::of("a store"))?;
    let bytes = to_bytes(&party);
    let secrets = Secrets {
        signing: seed.signing_key(party),
        key: 0,
        salt: seed.derive("salt", &[&bytes]),
        voucher: Some(ed25519_dalek::SigningKey::from_bytes(&seed.derive("voucher key", &[&bytes]).0)),
    };
    let entropy = Box::new(SeededEntropy(seed.derive("entropy", &[&bytes])));
    let mut gateway = Gateway::new(party, &party.to_string(), secrets, founders::policy(), store, entropy);
    let cap = Money::new(ALLOWED_MICROS, founders::currency());
    gateway.rules_mut().vouchers = Some(VoucherRules { cap, valid_days, daily_limit: 256 * ALLOWED_MICROS });
    Ok(gateway)
}

impl<'a> Market<'a> {
    /// Founds everything. `valid_days` is how long the home utility's vouchers are valid.
    pub(super) fn open(
        crowd: &'a Crowd,
        seed: Seed,
        leak: Option<Leak>,
        valid_days: u16,
    ) -> Result<Self, LinkageError> {
        let mut chain = Chain::begin(seed)?;
        let (emsp, cpo) = (emsp()?, cpo()?);
        let mut operator = gateway(seed, cpo, chain.network, valid_days)?;
        let mut provider = gateway(seed, emsp, chain.network, valid_days)?;
        let at = UnixMillis::EPOCH;
        let tariff = TariffTx::PublishTariff { version: 1, tariff: tariff(cpo, 0)? };
        chain.office(&operator, at, Tx::Tariff(tariff))?;
        let terms = terms(emsp, cpo, treasury()?)?;
        let (id, digest) = (agreement_id(&terms, at), terms_digest(&terms, at));
        chain.office(&provider, at, Tx::Agreement(AgreementTx::Propose { terms, effective_from: at }))?;
        let accept = AgreementTx::Accept { id, version: 1, terms: digest };
        chain.office(&operator, at, Tx::Agreement(accept))?;
        let begins = after_start(0)?;
        // Vouchers are valid from the beginning of the stretch of days that they are withdrawn in.
        let before = UnixMillis::new(begins.get() - 40 * DAY_MS).unwrap_or(begins);
        let key = provider.publish_voucher_key(before, after_start(90 * DAY_MS)?);
        let key = key.ok_or_else(|| LinkageError::unexpected("the home utility", "it has no voucher key"))?;
        chain.office(&provider, begins, key)?;
        for driver in &crowd.drivers {
            let profile = profile(driver)?;
            provider.store_mut().put_home_profile(&profile).map_err(LinkageError::of("a store"))?;
        }
        let stations = (0..STATIONS).map(|index| station(seed, cpo, index, &mut operator));
        let stations = stations.collect::<Result<Vec<_>, _>>()?;
        let public = seed.derive("voucher key", &[&to_bytes(&emsp)]);
        let provider_key = SigningKey::from_seed(&public.0).verification_key();
        let purses = crowd.drivers.iter().map(|_| Purse::new()).collect();
        Ok(Self { crowd, leak, seed, chain, operator, provider, provider_key, purses, stations, charges: 0 })
    }

    /// Lets all charges happen, each at its time; gives what the operator has of each, in the order given.
    pub(super) fn run(mut self, planned: &[Planned]) -> Result<Vec<Record>, LinkageError> {
        // Begin and end of each, in time's order.
        let mut events: Vec<(UnixMillis, usize)> = Vec::with_capacity(planned.len() * 2);
        for (index, charge) in planned.iter().enumerate() {
            events.push((charge.at, index));
            events.push((charge.ends_at()?, index));
        }
        events.sort_unstable();
        let mut under_way: BTreeMap<usize, Charging> = BTreeMap::new();
        let mut ended: BTreeMap<usize, (SessionId, SpentVoucher, Value)> = BTreeMap::new();
        for (at, index) in events {
            if let Some(charging) = under_way.remove(&index) {
                ended.insert(index, self.end(charging, at)?);
            } else if let Some(charge) = planned.get(index) {
                under_way.insert(index, self.begin(*charge)?);
            }
        }
        let mut lines = BTreeMap::new();
        let read = self.operator.store_mut().each_wholesale(&mut |_, _, line| {
            lines.insert(line.cdr.to_string(), serde_json::to_value(&line));
            Ok(())
        });
        read.map_err(LinkageError::of("a store"))?;
        let records = ended.into_values().map(|(id, spent, seen)| self.record(&id, &spent, seen, &mut lines));
        records.collect()
    }

    /// Everything that the operator has of a session.
    fn record(
        &mut self,
        id: &SessionId,
        spent: &SpentVoucher,
        seen: Value,
        lines: &mut BTreeMap<String, serde_json::Result<Value>>,
    ) -> Result<Record, LinkageError> {
        let json = LinkageError::of::<serde_json::Error>("a stored row");
        let session = self.operator.session(id)?.ok_or_else(|| LinkageError::unexpected("a session", id))?;
        let evidence = self.operator.evidence(id)?;
        let evidence = evidence.ok_or_else(|| LinkageError::unexpected("the evidence of", id))?;
        let line = lines.remove(&eroam_gateway::account::cdr_id(id).to_string());
        let line = line.ok_or_else(|| LinkageError::unexpected("no record was booked of", id))?;
        Ok(Record::of(&json!({
            "session": serde_json::to_value(&session).map_err(&json)?,
            "evidence": serde_json::from_slice::<Value>(&evidence).map_err(&json)?,
            "wholesale": line.map_err(&json)?,
            "voucher": serde_json::to_value(spent).map_err(&json)?,
            "seen": seen,
        })))
    }

    /// What the ledger decides of what waits, until nothing is left.
    fn flush(&mut self, at: UnixMillis) -> Result<Vec<Effect>, LinkageError> {
        let mut effects = Vec::new();
        loop {
            self.operator.commit()?;
            let at = at.max(self.chain.time);
            let network = self.chain.network;
            let envelopes = self.operator.envelopes(&self.chain, network, at)?;
            if envelopes.is_empty() {
                return Ok(effects);
            }
            for envelope in envelopes {
                let receipt = self.chain.submit(at, &envelope)?;
                effects.extend(self.operator.receipt(&self.chain, &envelope, &receipt)?);
            }
        }
    }

    /// As `Wallet::renew`: vouchers are withdrawn when none pays.
    fn renew(&mut self, driver: usize, at: UnixMillis) -> Result<(), LinkageError> {
        let (purse, contract) = match (self.purses.get_mut(driver), self.crowd.drivers.get(driver)) {
            (Some(purse), Some(driver)) => (purse, driver.contract),
            _ => return Err(LinkageError::unexpected("a driver", driver)),
        };
        purse.forget_over(at);
        if purse.choose(at, ALLOWED_MICROS).is_some() {
            return Ok(());
        }
        let keys = purse.withdraw(WITHDRAWN_AT_ONCE, &mut OsRng).map_err(LinkageError::of("the purse"))?;
        let network = self.chain.network;
        let given = self.provider.issue_vouchers(&self.chain, network, &contract, &keys, at.utc_day(), at)?;
        let given = given.map_err(LinkageError::of("vouchers"))?;
        for signed in given {
            let emsp = self.crowd.kind.emsp;
            let deposited = purse.deposit(signed, network, emsp, &self.provider_key, at);
            deposited.map_err(LinkageError::of("a voucher"))?;
        }
        Ok(())
    }

    /// What the station asks.
    fn request(&self, nonce: Nonce) -> Result<ProofRequest, LinkageError> {
        let (definition, newest) = (&self.crowd.definition_id, self.crowd.list_at());
        if self.leak != Some(Leak::CustomerId) {
            return Ok(contract_request(definition, ContractDemand::Default, newest, nonce)?);
        }
        let end = Timestamp::new(newest.seconds() + 1)?;
        let shown = [attributes::ZONES, attributes::TIER, "customer_id"];
        let request = ProofRequest::builder("contract", "1.0")
            .group(CONTRACT, shown, Restriction::cred_def(definition))
            .non_revoked(Interval { from: Some(newest), to: Some(end) });
        Ok(request.build_with(nonce)?)
    }

    fn driver_key(&self, driver: usize) -> SigningKey {
        match self.leak {
            Some(Leak::ConnectionKey) => {
                let number = u64::try_from(driver).unwrap_or(u64::MAX).to_le_bytes();
                SigningKey::from_seed(&self.seed.derive("connection key", &[&number]).0)
            }
            _ => SigningKey::generate(&mut OsRng),
        }
    }

    /// From the scan to power.
    fn begin(&mut self, planned: Planned) -> Result<Charging, LinkageError> {
        let Planned { driver, at, .. } = planned;
        self.renew(driver, at)?;
        self.charges += 1;
        let holder =
            self.crowd.drivers.get(driver).ok_or_else(|| LinkageError::unexpected("a driver", driver))?;
        let prepared = self.crowd.prepare(holder, &self.request(Nonce::from_bytes([0; 10])?)?)?;
        let (ours, theirs) = (self.driver_key(driver), SigningKey::generate(&mut OsRng));
        let mut sizes = Vec::new();
        let deadline = later(at, 7 * 86_400_000)?;
        let channel = |ours: &SigningKey, theirs: &SigningKey| Channel {
            ours: ours.verification_key(),
            theirs: theirs.verification_key(),
        };

        // The request to charge.
        let allowed = Money::new(ALLOWED_MICROS, founders::currency());
        let station = self.stations.get(planned.station);
        let claims = station.map(|station| station.claims.clone());
        let claims = claims.ok_or_else(|| LinkageError::unexpected("a station", planned.station))?;
        let purse = self.purses.get(driver).ok_or_else(|| LinkageError::unexpected("a driver", driver))?;
        let visit = plan(claims.clone(), &self.crowd.kind, purse, ChargeLimits::default(), allowed, at);
        let visit = visit.map_err(LinkageError::of("a visit"))?;
        let asked = Visit::ask(channel(&ours, &theirs), visit.request().clone(), new_id(), deadline);
        let (wallet_side, message) = asked?;
        let thread = message.thread().as_str().to_owned();
        let came = carry(&message, &ours, &theirs, &mut sizes)?;
        let (station_side, request) = Visit::asked(&came, at, deadline)?;

        // The operator's quote.
        let session = Self::new_session()?;
        let unknown = UnknownDriverRequest {
            session: session.clone(),
            evse: claims.evse.clone(),
            emsp: request.emsp,
            voucher: request.voucher,
            energy_wanted: request.limits.energy_max,
            energy_max: request.limits.energy_max,
            leaves_at: request.limits.leaves_at,
            at,
            clock: LocalClock::UTC,
        };
        let quote = quoted(self.operator.request_unknown(&self.chain, &unknown)?)?;
        let mut random = [0; 32];
        OsRng.fill_bytes(&mut random);
        let random = Digest(random);
        let station_key = theirs.verification_key().to_multikey();
        let said = Said::Quote(VisitQuote { quote: quote.clone(), clock: LocalClock::UTC, random });
        let (station_side, message) = station_side.say(&said, new_id(), at)?;
        let came = carry(&message, &theirs, &ours, &mut Vec::new())?;
        let (wallet_side, said) = wallet_side.hear(&came, at)?;
        let Said::Quote(offered) = said else {
            return Err(LinkageError::unexpected("a quote", said.name()));
        };
        let offer = visit.check(offered, &station_key, at).map_err(LinkageError::of("a quote"))?;

        // The proof.
        let digest = session_digest(claims.operator, &session);
        let nonce = proof_nonce(&random.0, digest, &station_key, quote.digest(), request.voucher);
        let proof_request = self.request(Nonce::from_bytes(nonce)?)?;
        let question = present_proof::Request {
            comment: None,
            will_confirm: false,
            requests: formatted(ANONCREDS_REQUEST, proof_request.to_json()),
        };
        let (verifier, effects) =
            Verifier::<()>::request(channel(&theirs, &ours), &question, new_id(), deadline)?;
        let came = carry(&sent(effects)?, &theirs, &ours, &mut Vec::new())?;
        let (prover, effects) = Prover::requested(&came, at, deadline)?;
        let asked = effects.iter().find_map(|effect| match effect {
            present_proof::Effect::Requested(request) => find_format(&request.requests, ANONCREDS_REQUEST),
            _ => None,
        });
        let asked = asked.ok_or_else(|| LinkageError::unexpected("a request for a proof", "it is empty"))?;
        let asked = ProofRequest::from_json(asked)?;
        let begun = Instant::now();
        let shown = prepared.answer(&asked)?;
        let (_, effects) = prover.present(&formatted(ANONCREDS_PROOF, shown.to_json()), new_id(), at)?;
        let came = carry(&sent(effects)?, &ours, &theirs, &mut sizes)?;
        let answered_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        let proof_thread = came.message().thread().as_str().to_owned();
        let (_, effects) = verifier.handle(&came, at)?;
        let shown = effects.iter().find_map(|effect| match effect {
            present_proof::Effect::Presented(shown) => find_format(shown, ANONCREDS_PROOF),
            _ => None,
        });
        let shown = shown.ok_or_else(|| LinkageError::unexpected("a proof", "it is empty"))?;
        let shown = Presentation::from_json(shown)?;
        if self.charges % VERIFIED_OF == 1 {
            let verified =
                verifier::verify(&shown, &proof_request, &self.crowd.objects, &self.crowd.freshness());
            verified.map_err(LinkageError::of("a proof"))?;
        }

        // The voucher.
        let purse =
            self.purses.get_mut(driver).ok_or_else(|| LinkageError::unexpected("a driver", driver))?;
        let spent = offer.agree(purse, at).map_err(LinkageError::of("the purse"))?;
        let (_, message) = wallet_side.say(&Said::Accept(spent), new_id(), at)?;
        let came = carry(&message, &ours, &theirs, &mut sizes)?;
        let (_, said) = station_side.hear(&came, at)?;
        let Said::Accept(spent) = said else {
            return Err(LinkageError::unexpected("an agreement", said.name()));
        };
        let contract = ProvenContract::after_verification(request.emsp, Tier::Standard, AllowedZones::All);
        quoted(self.operator.proven(&self.chain, &session, &contract, at)?)?;
        let network = self.chain.network;
        let mut effects = self.operator.accept_with_voucher(&self.chain, network, &session, &spent, at)?;
        effects.extend(self.flush(at)?);
        if !effects.iter().any(|effect| matches!(effect, Effect::PowerOn { .. })) {
            return Err(LinkageError::unexpected("power", format!("{effects:?}")));
        }
        let second = at.get().rem_euclid(DAY_MS) / 1_000;
        let seen = json!({
            "driver_key": ours.verification_key().to_multikey(),
            "thread": thread,
            "proof_thread": proof_thread,
            "envelope_bytes": sizes,
            "answered_us": answered_us,
            SECOND_OF_DAY: second,
        });
        Ok(Charging { planned, session, random, station_key, request: proof_request, shown, spent, seen })
    }

    /// From the end of power to the booked record.
    fn end(
        &mut self,
        charging: Charging,
        at: UnixMillis,
    ) -> Result<(SessionId, SpentVoucher, Value), LinkageError> {
        let Charging { planned, session, random, station_key, request, shown, spent, seen } = charging;
        let station = self.stations.get_mut(planned.station);
        let station = station.ok_or_else(|| LinkageError::unexpected("a station", planned.station))?;
        let readings = station.sign(planned, at)?;
        let metered =
            MeteredSession::read(&readings, &station.meter).map_err(LinkageError::of("readings"))?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(LinkageError::of("JSON"));
        let accounting = Accounting {
            session: session.clone(),
            clock: LocalClock::UTC,
            readings: readings.clone(),
            random,
            station_key,
            proof_request: text(request.to_json())?,
            presentation: text(shown.to_json())?,
        };
        let evidence = serde_json::to_vec(&accounting).map_err(LinkageError::of("evidence"))?;
        let kept = self.operator.keep_evidence(&session, &evidence, at)?;
        kept.map_err(LinkageError::of("evidence"))?;
        let consumption = Consumption {
            start: metered.start(),
            end: metered.end(),
            clock: LocalClock::UTC,
            periods: metering::periods(&metered),
            energy: metered.energy(),
            readings: metering::digest(&readings),
        };
        self.operator.consumed(&self.chain, &session, consumption)?;
        self.flush(at)?;
        Ok((session, spent, seen))
    }

    /// As `Station` names sessions: by chance.
    fn new_session() -> Result<SessionId, LinkageError> {
        let mut random = [0; 32];
        OsRng.fill_bytes(&mut random);
        let text = format!("{:.24}", Digest(random).to_string());
        SessionId::new(&text).map_err(LinkageError::of("a session's id"))
    }
}

impl Station {
    /// What the meter signs at the begin and at the end. Its register counts what ended before.
    fn sign(&mut self, planned: Planned, end: UnixMillis) -> Result<String, LinkageError> {
        let energy = WattHours::from_wh(planned.energy_wh);
        let to = energy.and_then(|energy| self.register.checked_add(energy));
        let to = to.ok_or_else(|| LinkageError::unexpected("an energy", planned.energy_wh))?;
        let from = std::mem::replace(&mut self.register, to);
        let readings = [(planned.at, Mark::Begin, from), (end, Mark::End, to)];
        let mut lines = Vec::new();
        for (at, mark, register) in readings {
            self.page += 1;
            let reading = SignedReading { at, clock: ClockState::Synchronised, mark, register };
            let line = self.writer.sign(self.page, &LocalClock::UTC, &[reading]);
            lines.push(line.map_err(LinkageError::of("a reading"))?);
        }
        Ok(metering::text(&lines))
    }
}

fn duration_ms(energy_wh: u64) -> u64 {
    // At 11 kW, and so that two charges do not begin and end in the same millisecond.
    energy_wh * 3_600 / 11 + 1
}

/// Seals a message, notes its size and opens it at the other side.
fn carry(
    message: &Message,
    from: &SigningKey,
    to: &SigningKey,
    sizes: &mut Vec<usize>,
) -> Result<Incoming, LinkageError> {
    let key = to.verification_key();
    let sealed = pack(&message.to_bytes(), &[key], Some(from), &mut OsRng);
    let sealed = sealed.map_err(LinkageError::of("an envelope"))?;
    sizes.push(sealed.len());
    let opened = unpack(&sealed, |found| (*found == key).then_some(to));
    let opened = opened.map_err(LinkageError::of("an envelope"))?;
    Incoming::read(&opened).map_err(LinkageError::of("a message"))
}

fn sent(effects: Vec<present_proof::Effect>) -> Result<Message, LinkageError> {
    let message = effects.into_iter().find_map(|effect| match effect {
        present_proof::Effect::Send(message) => Some(message),
        _ => None,
    });
    message.ok_or_else(|| LinkageError::unexpected("a message", "none was sent"))
}

fn quoted(effects: Vec<Effect>) -> Result<eroam_domain::charge::Quote, LinkageError> {
    effects
        .into_iter()
        .find_map(|effect| match effect {
            Effect::ShowQuote(quote) => Some(Ok(quote)),
            Effect::Deny { denial, .. } => Some(Err(LinkageError::unexpected("a quote", denial))),
            _ => None,
        })
        .unwrap_or_else(|| Err(LinkageError::unexpected("a quote", "none came")))
}

fn profile(driver: &Driver) -> Result<HomeProfile, LinkageError> {
    let energy_max = WattHours::from_wh(500_000);
    Ok(HomeProfile {
        contract: driver.contract,
        state: ContractState::Active,
        valid_from: UnixMillis::EPOCH,
        valid_until: None,
        tier: Tier::Standard,
        payment: PaymentOption::Postpaid,
        portfolio: ServicePortfolio {
            roaming: true,
            zones: AllowedZones::All,
            priority: 0,
            energy_max: energy_max.ok_or_else(|| LinkageError::unexpected("an energy", "500 kWh"))?,
            amount_max: 1_000_000_000,
        },
        cards: Vec::new(),
        pin: None,
        wrong_pins: 0,
        visiting: None,
    })
}

fn station(
    seed: Seed,
    operator: PartyId,
    index: usize,
    gateway: &mut Gateway<OrgStore>,
) -> Result<Station, LinkageError> {
    let of = |what| LinkageError::unexpected("a station", what);
    let text = format!("{}*{}*E{:05}", operator.country(), operator.id(), index + 1);
    let evse: EvseId = text.parse().map_err(LinkageError::of("an EVSE"))?;
    let zone: GridZone = "PT-1".parse().map_err(LinkageError::of("a zone"))?;
    let place = ShortText::new(&format!("Station {}", index + 1)).map_err(|_| of("its place"))?;
    let tariff = TariffId::new(TARIFF).map_err(|_| of("its tariff"))?;
    let known = Evse { id: evse.clone(), place: place.clone(), zone: zone.clone(), tariff, power: POWER };
    gateway.put_station(known);
    let key = seed.derive("meter key", &[evse.normalised().as_bytes()]);
    let key = MeterKey::from_bytes(&key.0).map_err(|_| of("its meter's key"))?;
    let meter = key.public();
    let description = Bench::meter(&format!("SIM-{}", evse.normalised()));
    let writer = RecordWriter::new(key, description, evse.clone()).map_err(|_| of("its meter"))?;
    let claims = StationClaims {
        operator,
        evse,
        zone,
        place: place.to_string(),
        power: POWER,
        meter_key: meter.to_string(),
        meter_certified: false,
        time_zone: None,
    };
    Ok(Station { claims, writer, meter, page: 0, register: WattHours::ZERO })
}
