//! A whole consortium in one process: every organisation with its own keys and store, every message between two of
//! them serialized and signed, one ledger.
//!
//! ```text
//! station event -> gateway -> effects -> letters to other gateways, quotes and denials at stations
//!                     |
//!                  outbox -> flush: commit stores, submit envelopes, hand out receipts, until nothing is left
//! ```

pub mod founders;
pub(crate) mod letter;

use crate::ledger::{Ledger, LedgerSetup, OpenLedgerError};
use ed25519_dalek::SigningKey;
use eroam_chain::client::Client;
use eroam_domain::cdr::SessionId;
use eroam_domain::charge::{ChargeRequest, Denial, PartnerMessage, Quote};
use eroam_domain::codec::{Digest, to_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Money};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_gateway::anomalies::AnomalyRules;
use eroam_gateway::gateway::{Effect, Gateway, GatewayError, Secrets};
use eroam_gateway::ports::SeededEntropy;
use eroam_gateway::sessions::{Consumption, Session};
use eroam_ledger::membership::Roles;
use eroam_ledger::port::{LedgerError, LedgerPort, Receipt};
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::settlement::{PeriodPairs, SettlementTx};
use eroam_ledger::state::{Account, StateError, StateKey, read};
use eroam_ledger::tx::{PublicKey, SignedEnvelope, Tx};
use eroam_store::{OpenError, OrgStore, StoreUrl};
use founders::{Founder, TREASURERS_REQUIRED};
use letter::{Letter, LetterError};
use std::collections::BTreeMap;
use std::path::Path;

/// Stores in memory do not outlive the process, so that writing rows out only keeps their buffers small: one commit in
/// so many does.
const COMMIT_IN_MEMORY_EVERY: u32 = 16;
/// The lane for transactions that people make: tariffs, agreements, settlement.
const OFFICE_LANE: u16 = 1;

/// A number from which every key and id of a run follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

impl Seed {
    /// A secret of its own for each use.
    #[must_use]
    pub fn derive(self, context: &str, parts: &[&[u8]]) -> Digest {
        let seed = self.0.to_le_bytes();
        let mut all: Vec<&[u8]> = vec![&seed, context.as_bytes()];
        all.extend_from_slice(parts);
        Digest::of_parts("eroam/seed/1", &all)
    }

    /// The signing key of an organisation.
    #[must_use]
    pub fn signing_key(self, party: PartyId) -> SigningKey {
        SigningKey::from_bytes(&self.derive("signing key", &[&to_bytes(&party)]).0)
    }

    /// The first key of an organisation's DID.
    #[must_use]
    pub fn did_key(self, party: PartyId) -> SigningKey {
        SigningKey::from_bytes(&self.derive("did key", &[&to_bytes(&party)]).0)
    }
}

/// Why a consortium cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ConsortiumError {
    /// A store or the log could not be opened.
    #[error("the records of {who} cannot be opened")]
    Open {
        /// Whose.
        who: String,
        /// Why.
        #[source]
        source: OpenError,
    },
    /// The ledger could not be opened.
    #[error("the ledger cannot be opened")]
    Ledger(#[from] OpenLedgerError),
    /// The ledger is a new one, and somebody's records are older.
    #[error(
        "{party} has recorded sessions, but the ledger is a new one: name the ledger that goes with these records, or restore it from a backup"
    )]
    OtherLedger {
        /// Whose records.
        party: PartyId,
    },
    /// The ledger failed while running.
    #[error("the ledger failed")]
    Submit(#[from] LedgerError),
    /// The ledger's state could not be read.
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
    /// A gateway failed.
    #[error("a gateway failed")]
    Gateway(#[from] GatewayError),
    /// A letter between organisations was damaged or forged.
    #[error("a message between organisations is refused")]
    Letter(#[from] LetterError),
    /// A transaction of the founding or of the settlement was refused.
    #[error("{party}: the ledger refused a transaction of its office: {code}")]
    Refused {
        /// Whose.
        party: PartyId,
        /// Why.
        code: RejectCode,
    },
    /// Somebody was named who is not there.
    #[error("{0} is no organisation of this consortium")]
    UnknownOrganisation(PartyId),
    /// A number that a person reads back does not fit.
    #[error("an amount is beyond 64 bits of millionths")]
    Overflow,
}

/// What a driver at a station sees.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "handled one at a time")]
pub enum AtStation {
    /// A quote.
    Quote(Quote),
    /// Why not.
    Denied {
        /// The session.
        session: SessionId,
        /// Why.
        denial: Denial,
    },
    /// The power is on.
    PowerOn {
        /// The session.
        session: SessionId,
        /// Up to so much energy.
        energy_max: WattHours,
    },
}

/// Where a consortium keeps what it knows.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// The organisations' own records: a directory or a database; without it in memory, gone at the end.
    pub stores: Option<StoreUrl>,
    /// The ledger.
    pub ledger: LedgerSetup,
    /// By which rules home utilities contest what they are charged for. Nobody does without them: most files of real
    /// sessions name no drivers, and those that a replay makes up are in two places at once.
    pub anomalies: Option<AnomalyRules>,
}

impl Setup {
    /// Everything under one directory.
    #[must_use]
    pub fn at(directory: &Path) -> Self {
        let ledger = LedgerSetup { directory: Some(directory.join("ledger")), ..LedgerSetup::default() };
        Self { stores: Some(StoreUrl::directory(directory)), ledger, anomalies: None }
    }
}

/// The consortium.
pub struct Consortium {
    ledger: Ledger,
    gateways: BTreeMap<PartyId, Gateway<OrgStore>>,
    founders: Vec<Founder>,
    keys: BTreeMap<PartyId, SigningKey>,
    letters: Vec<(PartyId, Vec<u8>)>,
    /// Letters that promise something, which leave when the promise is durable.
    promises: Vec<(PartyId, Vec<u8>)>,
    at_stations: Vec<(PartyId, AtStation)>,
    /// How many letters were carried, by kind.
    carried: BTreeMap<&'static str, u64>,
    /// Whether the stores outlive the process.
    durable: bool,
    commits: u32,
}

impl Consortium {
    /// Opens the consortium of [`founders`], and founds it if it is new: members, tariffs, agreements. Records of an
    /// earlier run are taken up by [`Consortium::resume`].
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn open(seed: Seed, setup: &Setup) -> Result<Self, ConsortiumError> {
        let founders = founders::founders();
        let parties: Vec<PartyId> = founders.iter().map(|f| f.party).collect();
        let keys: BTreeMap<PartyId, SigningKey> =
            founders.iter().map(|f| (f.party, seed.signing_key(f.party))).collect();
        let consensus = setup.ledger.consensus(seed, &parties);
        let genesis =
            founders::genesis(&founders, consensus, |party| PublicKey::of(&seed.signing_key(party)));
        let network = genesis.network();
        let in_memory = StoreUrl::memory();
        let mut gateways = BTreeMap::new();
        for founder in &founders {
            let party = founder.party;
            let open = |source| ConsortiumError::Open { who: party.to_string(), source };
            let store =
                OrgStore::open(setup.stores.as_ref().unwrap_or(&in_memory), party, &network).map_err(open)?;
            let salt = seed.derive("salt", &[&to_bytes(&party)]);
            let secrets = Secrets { signing: seed.signing_key(party), key: 0, salt, voucher: None };
            let entropy = Box::new(SeededEntropy(seed.derive("entropy", &[&to_bytes(&party)])));
            let mut gateway = Gateway::new(party, founder.name, secrets, founders::policy(), store, entropy);
            founder.set_rules(gateway.rules_mut());
            gateway.set_anomaly_rules(setup.anomalies);
            gateways.insert(party, gateway);
        }
        // The stores first: where one of them is not this network's, no ledger is begun beside it.
        let ledger = Ledger::open(seed, &genesis, &setup.ledger)?;
        let mut consortium = Self {
            ledger,
            gateways,
            founders,
            keys,
            letters: Vec::new(),
            promises: Vec::new(),
            at_stations: Vec::new(),
            carried: BTreeMap::new(),
            durable: setup.stores.is_some(),
            commits: 0,
        };
        consortium.found()?;
        Ok(consortium)
    }

    /// Publishes tariffs and proposes agreements, then accepts these, as far as that was not done by an earlier run.
    fn found(&mut self) -> Result<(), ConsortiumError> {
        let (first, then) = founders::founding_transactions(&self.founders);
        for txs in [first, then] {
            let mut missing = Vec::new();
            for (party, tx) in txs {
                if !founders::is_done(self.ledger.client(), &tx)? {
                    missing.push((party, tx));
                }
            }
            if !missing.is_empty() {
                self.check_new()?;
                self.submit_office(UnixMillis::EPOCH, missing)?;
            }
        }
        Ok(())
    }

    /// Nobody has records of sessions: these come after the founding.
    fn check_new(&mut self) -> Result<(), ConsortiumError> {
        for (party, gateway) in &mut self.gateways {
            let failed = |source| GatewayError::Store { party: *party, source };
            if gateway.store_mut().session_counts().map_err(failed)?.total > 0 {
                return Err(ConsortiumError::OtherLedger { party: *party });
            }
        }
        Ok(())
    }

    /// Signs and submits transactions of people together; all must be accepted, or have been done before a crash.
    fn submit_office(&mut self, at: UnixMillis, txs: Vec<(PartyId, Tx)>) -> Result<(), ConsortiumError> {
        let mut sequences: BTreeMap<PartyId, u64> = BTreeMap::new();
        let mut envelopes = Vec::with_capacity(txs.len());
        let now = self.ledger.client().time().max(at);
        for (party, tx) in txs {
            let sequence = match sequences.get(&party) {
                Some(next) => *next,
                None => query::next_sequence(self.ledger.client(), party, OFFICE_LANE)?,
            };
            sequences.insert(party, sequence.saturating_add(1));
            let gateway = self.gateways.get(&party).ok_or(ConsortiumError::UnknownOrganisation(party))?;
            envelopes.push(gateway.sign(self.ledger.client().network(), OFFICE_LANE, sequence, now, tx));
        }
        let senders: Vec<PartyId> = envelopes.iter().map(|e| e.envelope().member).collect();
        let receipts = self.ledger.client_mut().submit(at, envelopes)?;
        for (party, receipt) in senders.into_iter().zip(receipts) {
            let refused = receipt.items.iter().find_map(|i| i.outcome.rejection());
            if let Some(code) = refused
                // Attested by an earlier run, which did not live to see it.
                && !matches!(code, RejectCode::AlreadyAttested | RejectCode::AlreadyApplied)
            {
                return Err(ConsortiumError::Refused { party, code });
            }
        }
        Ok(())
    }

    /// Asks again for everything that was under way when the process stopped. The stations must be there already:
    /// what is asked for names them.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn resume(&mut self) -> Result<(), ConsortiumError> {
        for party in self.parties() {
            let (ledger, gateway) = self.parts(party)?;
            let effects = gateway.resume(ledger)?;
            self.dispatch(party, effects)?;
        }
        self.flush(self.ledger.client().time())
    }

    /// The ledger.
    #[must_use]
    pub const fn ledger(&self) -> &Client {
        self.ledger.client()
    }

    /// The validators behind it.
    #[must_use]
    pub const fn validators(&self) -> &Ledger {
        &self.ledger
    }

    /// The founders, in a fixed order.
    #[must_use]
    pub fn founders(&self) -> &[Founder] {
        &self.founders
    }

    /// The organisations, in the order of their ids.
    #[must_use]
    pub fn parties(&self) -> Vec<PartyId> {
        self.gateways.keys().copied().collect()
    }

    /// How many letters were carried between organisations, by kind.
    #[must_use]
    pub const fn carried(&self) -> &BTreeMap<&'static str, u64> {
        &self.carried
    }

    /// One organisation's gateway.
    ///
    /// # Errors
    /// [`ConsortiumError::UnknownOrganisation`].
    pub fn gateway(&mut self, party: PartyId) -> Result<&mut Gateway<OrgStore>, ConsortiumError> {
        self.gateways.get_mut(&party).ok_or(ConsortiumError::UnknownOrganisation(party))
    }

    /// The ledger's state and all gateways, to write out what they know.
    pub fn state_and_gateways(&mut self) -> (&Client, impl Iterator<Item = &mut Gateway<OrgStore>>) {
        (self.ledger.client(), self.gateways.values_mut())
    }

    /// The ledger and one organisation's gateway together.
    ///
    /// # Errors
    /// [`ConsortiumError::UnknownOrganisation`].
    pub fn ledger_and_gateway(
        &mut self,
        party: PartyId,
    ) -> Result<(&Client, &mut Gateway<OrgStore>), ConsortiumError> {
        self.parts(party)
    }

    fn parts(&mut self, party: PartyId) -> Result<(&Client, &mut Gateway<OrgStore>), ConsortiumError> {
        let gateway = self.gateways.get_mut(&party).ok_or(ConsortiumError::UnknownOrganisation(party))?;
        Ok((self.ledger.client(), gateway))
    }

    /// Takes an organisation, with its store, out of the process, as an outage would.
    pub fn take_away(&mut self, party: PartyId) -> Option<Gateway<OrgStore>> {
        self.gateways.remove(&party)
    }

    /// Brings an organisation back. Whatever the others have waited for meanwhile is asked for again.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn bring_back(&mut self, gateway: Gateway<OrgStore>) -> Result<(), ConsortiumError> {
        self.gateways.insert(gateway.party(), gateway);
        self.resume()?;
        self.finish()
    }

    /// A driver asks to charge at a station of `operator`.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn request(&mut self, operator: PartyId, request: &ChargeRequest) -> Result<(), ConsortiumError> {
        let (ledger, gateway) = self.parts(operator)?;
        let effects = gateway.request(ledger, request)?;
        self.dispatch(operator, effects)
    }

    /// The driver accepts the quote.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn accept(
        &mut self,
        operator: PartyId,
        session: &SessionId,
        at: UnixMillis,
    ) -> Result<(), ConsortiumError> {
        let (ledger, gateway) = self.parts(operator)?;
        let effects = gateway.accept(ledger, session, at)?;
        self.dispatch(operator, effects)
    }

    /// The driver refuses the quote.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn refuse(&mut self, operator: PartyId, session: &SessionId) -> Result<(), ConsortiumError> {
        let (ledger, gateway) = self.parts(operator)?;
        let effects = gateway.refuse(ledger, session)?;
        self.dispatch(operator, effects)
    }

    /// The station reports what was delivered.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn consumed(
        &mut self,
        operator: PartyId,
        session: &SessionId,
        consumption: Consumption,
    ) -> Result<(), ConsortiumError> {
        let (ledger, gateway) = self.parts(operator)?;
        let effects = gateway.consumed(ledger, session, consumption)?;
        self.dispatch(operator, effects)
    }

    /// Time has passed.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn tick(&mut self, now: UnixMillis) -> Result<(), ConsortiumError> {
        for party in self.parties() {
            let (ledger, gateway) = self.parts(party)?;
            let effects = gateway.tick(ledger, now)?;
            self.dispatch(party, effects)?;
        }
        Ok(())
    }

    /// A session at `operator`.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn session(&mut self, operator: PartyId, id: &SessionId) -> Result<Option<Session>, ConsortiumError> {
        Ok(self.gateway(operator)?.session(id)?)
    }

    /// What happened at stations since the last call.
    pub fn at_stations(&mut self) -> Vec<(PartyId, AtStation)> {
        std::mem::take(&mut self.at_stations)
    }

    /// Posts the letters of an organisation and delivers all that are under way.
    fn dispatch(&mut self, from: PartyId, effects: Vec<Effect>) -> Result<(), ConsortiumError> {
        self.post(from, effects)?;
        self.deliver()
    }

    fn post(&mut self, from: PartyId, effects: Vec<Effect>) -> Result<(), ConsortiumError> {
        let key = self.keys.get(&from).ok_or(ConsortiumError::UnknownOrganisation(from))?;
        let sealed = Sealed::of(from, key, effects)?;
        self.take(from, sealed);
        Ok(())
    }

    fn take(&mut self, from: PartyId, sealed: Sealed) {
        self.letters.extend(sealed.letters);
        self.promises.extend(sealed.promises);
        self.at_stations.extend(sealed.at_stations.into_iter().map(|event| (from, event)));
    }

    /// Delivers every letter and what is written in answer, round by round. Recipients read theirs at the same time,
    /// each in the order in which they were posted.
    fn deliver(&mut self) -> Result<(), ConsortiumError> {
        while !self.letters.is_empty() {
            let mut bags: BTreeMap<PartyId, Vec<Vec<u8>>> = BTreeMap::new();
            for (to, letter) in std::mem::take(&mut self.letters) {
                bags.entry(to).or_default().push(letter);
            }
            let Self { ledger, gateways, keys, .. } = self;
            let (state, now) = (ledger.client(), ledger.client().time());
            let mut desks = Vec::with_capacity(bags.len());
            let mut nobody = Vec::new();
            for (party, gateway) in gateways.iter_mut() {
                if let Some(bag) = bags.remove(party) {
                    let key = keys.get(party).ok_or(ConsortiumError::UnknownOrganisation(*party))?;
                    desks.push((*party, gateway, key, bag));
                }
            }
            nobody.extend(bags.into_values().flatten());
            let read = in_parallel(desks, |(party, gateway, key, bag)| {
                let read = read_letters(gateway, key, state, now, bag);
                (party, read)
            });
            for letter in nobody {
                let letter = Letter::open(&letter, self.ledger.client())?;
                self.unanswered(letter.from, letter.to, asked_for(&letter.message))?;
            }
            for (party, read) in read {
                let Read { sealed, carried, unanswered } = read?;
                for kind in carried {
                    *self.carried.entry(kind).or_default() += 1;
                }
                self.take(party, sealed);
                for (sender, session) in unanswered {
                    self.unanswered(sender, party, session)?;
                }
            }
        }
        Ok(())
    }

    /// Nobody answers a letter. A visited operator must not wait for ever; whatever else was written is kept by its
    /// sender until it is confirmed, and sent again.
    fn unanswered(
        &mut self,
        sender: PartyId,
        to: PartyId,
        session: Option<SessionId>,
    ) -> Result<(), ConsortiumError> {
        tracing::warn!(%to, "consortium.letter.undelivered");
        let Some(session) = session else { return Ok(()) };
        let (ledger, gateway) = self.parts(sender)?;
        let effects = gateway.home_unreachable(ledger, &session)?;
        self.post(sender, effects)
    }

    /// Sends every outbox to the ledger, in one block at `at`, and again for what follows from the answers, until
    /// nothing is left. Before a record leaves, every store is committed: a record must not be made twice. What the
    /// answers changed is durable after the next commit; until then it would be asked for again after a crash.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn flush(&mut self, at: UnixMillis) -> Result<(), ConsortiumError> {
        loop {
            let network = self.ledger.client().network();
            let now = self.ledger.client().time().max(at);
            let mut envelopes: Vec<SignedEnvelope> = Vec::new();
            for gateway in self.gateways.values_mut() {
                envelopes.append(&mut gateway.envelopes(self.ledger.client(), network, now)?);
            }
            if envelopes.is_empty() {
                return Ok(());
            }
            if envelopes.iter().any(|e| matches!(e.envelope().tx, Tx::Cdr(_))) {
                self.commit()?;
            }
            let receipts = self.ledger.client_mut().submit(at, envelopes.clone())?;
            let Self { ledger, gateways, keys, .. } = self;
            let state = ledger.client();
            let blocks: Vec<(&SignedEnvelope, &Receipt)> = envelopes.iter().zip(&receipts).collect();
            let read = in_parallel(gateways.iter_mut().collect(), |(party, gateway)| {
                let key = keys.get(party).ok_or(ConsortiumError::UnknownOrganisation(*party));
                (*party, key.and_then(|key| read_block(gateway, key, state, now, &blocks)))
            });
            for (party, sealed) in read {
                self.take(party, sealed?);
            }
            self.deliver()?;
        }
    }

    /// Commits until nothing is left to say.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn finish(&mut self) -> Result<(), ConsortiumError> {
        while !self.promises.is_empty() {
            self.commit()?;
        }
        self.commit()
    }

    /// Makes every store durable, all at the same time: they are independent. Then the letters that were held back
    /// until now are delivered; what they change is durable after the next commit.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn commit(&mut self) -> Result<(), ConsortiumError> {
        self.commits = self.commits.wrapping_add(1);
        if self.durable || self.commits.is_multiple_of(COMMIT_IN_MEMORY_EVERY) {
            let commits = in_parallel(self.gateways.values_mut().collect(), Gateway::commit);
            commits.into_iter().collect::<Result<(), GatewayError>>()?;
        }
        self.letters.append(&mut self.promises);
        self.deliver()
    }

    /// Nets a period and pays it: the treasurers attest the debtors' deposits and the creditors' payouts. Closing a
    /// period that is closed already, or in which nothing was booked, changes nothing.
    ///
    /// # Errors
    /// [`ConsortiumError`].
    pub fn settle(
        &mut self,
        at: UnixMillis,
        period: SettlementPeriod,
        currency: Currency,
    ) -> Result<(), ConsortiumError> {
        let treasurers: Vec<PartyId> = self
            .founders
            .iter()
            .filter(|f| f.roles.contains(Roles::TREASURER))
            .map(|f| f.party)
            .take(usize::from(TREASURERS_REQUIRED))
            .collect();
        let closer = treasurers.first().copied().ok_or(ConsortiumError::Overflow)?;
        let booked: Option<PeriodPairs> =
            read(self.ledger.client(), &StateKey::PeriodPairs(period, currency))?;
        if booked.is_some() {
            let close = Tx::Settlement(SettlementTx::ClosePeriod { period, currency });
            self.submit_office(at, vec![(closer, close)])?;
        }
        let Some(closed) = query::closed_period(self.ledger.client(), period, currency)? else {
            return Ok(());
        };
        let mut deposits = Vec::new();
        for position in &closed.net {
            let account = Account::Net(period, position.party, currency);
            let owed = query::balance(self.ledger.client(), account)?
                .checked_neg()
                .ok_or(ConsortiumError::Overflow)?;
            if owed > 0 {
                deposits.push((position.party, owed));
            }
        }
        let attest = |party: PartyId, micros: i64, payout: bool| {
            let amount = Money::new(micros, currency);
            let text = format!("{} {period} {party}", if payout { "payout" } else { "deposit" });
            let reference =
                eroam_domain::codec::ShortText::new(&text).map_err(|_| ConsortiumError::Overflow)?;
            Ok::<_, ConsortiumError>(if payout {
                Tx::Settlement(SettlementTx::AttestPayout { party, amount, reference })
            } else {
                Tx::Settlement(SettlementTx::AttestDeposit { party, amount, reference })
            })
        };
        self.attest_all(at, &treasurers, deposits.into_iter().map(|(p, m)| attest(p, m, false)))?;
        let mut payouts = Vec::new();
        for position in &closed.net {
            let cash = query::balance(self.ledger.client(), Account::Cash(position.party, currency))?;
            if cash > 0 {
                payouts.push((position.party, cash));
            }
        }
        self.attest_all(at, &treasurers, payouts.into_iter().map(|(p, m)| attest(p, m, true)))
    }

    fn attest_all(
        &mut self,
        at: UnixMillis,
        treasurers: &[PartyId],
        txs: impl Iterator<Item = Result<Tx, ConsortiumError>>,
    ) -> Result<(), ConsortiumError> {
        let mut signed = Vec::new();
        for tx in txs {
            let tx = tx?;
            signed.extend(treasurers.iter().map(|t| (*t, tx.clone())));
        }
        if signed.is_empty() { Ok(()) } else { self.submit_office(at, signed) }
    }
}

/// Letters and station events of one organisation.
#[derive(Default)]
struct Sealed {
    letters: Vec<(PartyId, Vec<u8>)>,
    promises: Vec<(PartyId, Vec<u8>)>,
    at_stations: Vec<AtStation>,
}

impl Sealed {
    fn of(from: PartyId, key: &SigningKey, effects: Vec<Effect>) -> Result<Self, ConsortiumError> {
        let mut sealed = Self::default();
        sealed.add(from, key, effects)?;
        Ok(sealed)
    }

    fn add(&mut self, from: PartyId, key: &SigningKey, effects: Vec<Effect>) -> Result<(), ConsortiumError> {
        for effect in effects {
            let event = match effect {
                Effect::Send { to, message } => {
                    // Whoever is told that a report was received never sends it again.
                    let promise = matches!(message, PartnerMessage::ReportsReceived(_));
                    let pile = if promise { &mut self.promises } else { &mut self.letters };
                    pile.push((to, Letter { from, to, message }.seal(key)?));
                    continue;
                }
                Effect::ShowQuote(quote) => AtStation::Quote(quote),
                Effect::Deny { session, denial } => AtStation::Denied { session, denial },
                Effect::PowerOn { session, energy_max, .. } => AtStation::PowerOn { session, energy_max },
            };
            self.at_stations.push(event);
        }
        Ok(())
    }
}

/// What came of a bag of letters.
#[derive(Default)]
struct Read {
    sealed: Sealed,
    carried: Vec<&'static str>,
    /// Who wrote, and which session awaits an answer.
    unanswered: Vec<(PartyId, Option<SessionId>)>,
}

/// One organisation reads its letters.
fn read_letters(
    gateway: &mut Gateway<OrgStore>,
    key: &SigningKey,
    state: &Client,
    now: UnixMillis,
    bag: Vec<Vec<u8>>,
) -> Result<Read, ConsortiumError> {
    let mut read = Read::default();
    let party = gateway.party();
    for bytes in bag {
        let letter = Letter::open(&bytes, state)?;
        if letter.to != party {
            return Err(LetterError::Misdelivered(letter.to).into());
        }
        read.carried.push(kind(&letter.message));
        let session = asked_for(&letter.message);
        match gateway.receive(state, letter.from, letter.message, now) {
            Ok(effects) => read.sealed.add(party, key, effects)?,
            Err(GatewayError::Store { party: failed, .. }) if failed == party => {
                read.unanswered.push((letter.from, session));
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(read)
}

/// One organisation reads a block: what it booked, and what became of its own transactions.
fn read_block(
    gateway: &mut Gateway<OrgStore>,
    key: &SigningKey,
    state: &Client,
    now: UnixMillis,
    block: &[(&SignedEnvelope, &Receipt)],
) -> Result<Sealed, ConsortiumError> {
    let mut sealed = Sealed::default();
    let party = gateway.party();
    for (envelope, receipt) in block {
        gateway.observe(state, envelope.envelope(), receipt, now)?;
        if envelope.envelope().member == party {
            let effects = gateway.receipt(state, envelope, receipt)?;
            sealed.add(party, key, effects)?;
        }
    }
    Ok(sealed)
}

/// Applies `work` to every item, on threads of their own if there is more than one; the results are in the order of
/// the items.
fn in_parallel<T: Send, R: Send>(mut items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    if items.len() <= 1 {
        return items.pop().map(work).into_iter().collect();
    }
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = items.into_iter().map(|item| scope.spawn(move || work(item))).collect();
        threads.into_iter().map(|t| t.join().unwrap_or_else(|p| std::panic::resume_unwind(p))).collect()
    })
}

/// The session that a letter asks about.
fn asked_for(message: &PartnerMessage) -> Option<SessionId> {
    match message {
        PartnerMessage::Authorize(request) => Some(request.session.clone()),
        _ => None,
    }
}

const fn kind(message: &PartnerMessage) -> &'static str {
    match message {
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
