//! One organisation: its stations, its customers, its books, and the order in which a charge passes through them.
//!
//! ```text
//! request -> route -> (own customer | cached visitor | ask home) -> authenticate -> authorize -> quote
//! accept  -> reserve credit on the ledger -> power on
//! consumed -> record -> ledger -> report to home -> bill
//! ```
//! A driver whom the operator does not know takes another way in (`gateway/unknown_driver.rs`): quote -> proof ->
//! acceptance with a voucher -> the ledger reserves it; from power on it is the same way.
//!
//! A gateway is driven by its host: station events and partner messages go in with the time they happened, effects
//! come out, and transactions wait in an outbox until the host sends them to the ledger in batches. Everything may
//! be repeated: what was done already is not done again, and what was waiting is asked for again.

mod charge_evidence;
mod contests;
mod credits;
mod evidence;
mod home;
mod late;
mod operator;
mod outbox;
mod staff_contests;
mod true_ups;
mod unknown_driver;
mod vouchers;

pub use charge_evidence::{ChargeEvidenceRefused, DisputeNews};
pub use contests::SecondMeterResult;
pub use evidence::{EVIDENCE_KEPT_FOR, EvidenceRefused, EvidenceTooLarge, evidence_digest};
pub use staff_contests::{ContestReason, ContestRefused};

use crate::anomalies::RecordName;
use crate::authenticate::PinError;
use crate::ports::{Entropy, Store, StoreError};
use crate::rules::Rules;
use crate::sessions;
use crate::sessions::{Phase, Session, SessionEffect, SessionEvent};
use ed25519_dalek::SigningKey;
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, Cdr, GridZone, SessionId, TariffRef};
use eroam_domain::charge::{Denial, PartnerMessage, Quote};
use eroam_domain::codec::{Digest, ShortText};
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{Nullifier, SignedVoucher};
use eroam_ledger::settlement::CreditReservation;
use eroam_ledger::state::{StateError, StateKey, StateView, read};
use eroam_ledger::tx::{ENVELOPE_BYTES_MAX, Envelope, SignedEnvelope, Tx, VERSION};
use eroam_ledger::voucher::VoucherReservation;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// The lane of the ledger that the gateway sends on.
pub const LANE: u16 = 0;
/// So many versions of a tariff may be published ahead of their time.
pub const TARIFFS_AHEAD_MAX: usize = 16;
/// So many bytes of records go into one envelope; the rest of it has more than room enough.
const RECORD_BYTES_MAX: usize = ENVELOPE_BYTES_MAX - 4_096;

/// A charging point of the organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evse {
    /// Its id.
    pub id: EvseId,
    /// The place in words, as a bill shows it.
    pub place: ShortText<64>,
    /// Its grid zone.
    pub zone: GridZone,
    /// The tariff that applies at it.
    pub tariff: TariffId,
    /// Its power.
    pub power: Watts,
}

/// How patient the organisation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a quote is held.
    pub quote_held_for: DurationMs,
    /// How long a visited operator may keep a customer's service description, and this organisation a visitor's.
    pub cache_for: DurationMs,
    /// How long something may be awaited before it counts as pending.
    pub patience: DurationMs,
    /// How long an envelope is worth including after it was made.
    pub envelope_valid_for: DurationMs,
}

/// What an organisation keeps to itself.
pub struct Secrets {
    /// Signs envelopes and acceptances.
    pub signing: SigningKey,
    /// The key's number on the ledger.
    pub key: u32,
    /// Salts and authenticates: card digests, pseudonyms, authorization references.
    pub salt: Digest,
    /// Signs vouchers, and nothing else: whoever has it can promise in the organisation's name to pay. `None` where none
    /// are made.
    pub voucher: Option<SigningKey>,
}

/// What must happen outside.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(clippy::large_enum_variant, reason = "effects are handled one at a time")]
pub enum Effect {
    /// Send a message to another organisation.
    Send {
        /// To whom.
        to: PartyId,
        /// What.
        message: PartnerMessage,
    },
    /// Show a quote at the station.
    ShowQuote(Quote),
    /// Tell the driver why not; the power stays off.
    Deny {
        /// The session.
        session: SessionId,
        /// Why.
        denial: Denial,
    },
    /// Switch the power on.
    PowerOn {
        /// The session.
        session: SessionId,
        /// Switch it off at so much energy.
        energy_max: WattHours,
        /// Switch it off before so much is due, in millionths of the quote's currency: the ledger books nothing above
        /// what a voucher's holder agreed to. [`Gateway::due_so_far`] says how much it is. `None` when the energy is
        /// the only limit.
        amount_max: Option<i64>,
        /// OCPP charging priority.
        priority: i8,
    },
}

/// Why an event could not be handled. It can be repeated once the cause is gone.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// The organisation's storage failed.
    #[error("the store of {party} failed")]
    Store {
        /// The organisation.
        party: PartyId,
        /// Why.
        #[source]
        source: StoreError,
    },
    /// The ledger's state could not be read.
    #[error("the ledger's state cannot be read")]
    Ledger(#[from] StateError),
    /// A PIN could not be hashed.
    #[error("a PIN could not be checked")]
    Pin(#[from] PinError),
    /// The station reports on a session that it never asked for.
    #[error("session {0} is not known: the station must ask before it charges")]
    UnknownSession(SessionId),
    /// An envelope was in flight and the ledger answered about another.
    #[error("the ledger's receipt does not belong to what was sent")]
    ForeignReceipt,
}

/// Something that waits for the ledger.
enum Outgoing {
    Reservation(SessionId, CreditReservation),
    VoucherReservation(SessionId, Box<VoucherReservation>),
    /// An own voucher, taken at an own station.
    OwnVoucher(SessionId, Nullifier),
    Record(SessionId, Box<Cdr>),
    Block(Nullifier),
    Refund(Box<SignedVoucher>),
    /// A booked record of an operator's, to be trued up.
    TrueUp(PartyId, Box<Cdr>),
    /// A record to contest, with the digest of the evidence.
    Contest(RecordName, Digest),
}

/// What an envelope is about, in the order of its items.
enum InFlight {
    Sessions(Vec<SessionId>),
    Vouchers(Vec<Nullifier>),
    Contest(RecordName),
    TrueUps(Vec<RecordName>),
}

/// One organisation's gateway.
pub struct Gateway<S> {
    party: PartyId,
    name: String,
    secrets: Secrets,
    policy: Policy,
    rules: Rules,
    stations: BTreeMap<EvseId, Evse>,
    store: S,
    entropy: Box<dyn Entropy + Send>,
    outbox: Vec<Outgoing>,
    in_flight: Vec<(Digest, InFlight)>,
    /// The UTC day on which old evidence was last looked for.
    evidence_looked_through_on: Option<i64>,
    /// Immutable on the ledger, so they are read once.
    terms: BTreeMap<AgreementRef, RoamingAgreement>,
    tariffs: BTreeMap<(PartyId, TariffRef), Tariff>,
    debtor_of: BTreeMap<AgreementId, PartyId>,
    watch: contests::Watch,
    late: late::LateReservations,
    /// Of contested records, until the host takes it.
    dispute_news: BTreeSet<DisputeNews>,
}

impl<S: Store> Gateway<S> {
    /// An organisation with no stations and no rules yet.
    pub fn new(
        party: PartyId,
        name: &str,
        secrets: Secrets,
        policy: Policy,
        store: S,
        entropy: Box<dyn Entropy + Send>,
    ) -> Self {
        Self {
            party,
            name: name.to_owned(),
            secrets,
            policy,
            rules: Rules::default(),
            stations: BTreeMap::new(),
            store,
            entropy,
            outbox: Vec::new(),
            in_flight: Vec::new(),
            evidence_looked_through_on: None,
            terms: BTreeMap::new(),
            tariffs: BTreeMap::new(),
            debtor_of: BTreeMap::new(),
            watch: contests::Watch::default(),
            late: late::LateReservations::default(),
            dispute_news: BTreeSet::new(),
        }
    }

    /// The organisation.
    pub const fn party(&self) -> PartyId {
        self.party
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its charging rules and policy.
    pub const fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Its charging rules and policy, to update them while it runs.
    pub const fn rules_mut(&mut self) -> &mut Rules {
        &mut self.rules
    }

    /// Its store.
    pub const fn store_mut(&mut self) -> &mut S {
        &mut self.store
    }

    /// Its policy.
    pub const fn policy(&self) -> Policy {
        self.policy
    }

    /// The secret salt, to make card digests for new contracts.
    pub const fn salt(&self) -> Digest {
        self.secrets.salt
    }

    /// Adds a charging point, or changes one.
    pub fn put_station(&mut self, evse: Evse) {
        self.stations.insert(evse.id.clone(), evse);
    }

    /// A charging point.
    pub fn station(&self, evse: &EvseId) -> Option<&Evse> {
        self.stations.get(evse)
    }

    /// Signs a transaction of the organisation's own (a tariff, an agreement, an attestation).
    pub fn sign(&self, network: Digest, lane: u16, sequence: u64, now: UnixMillis, tx: Tx) -> SignedEnvelope {
        Envelope {
            version: VERSION,
            network,
            member: self.party,
            key: self.secrets.key,
            lane,
            sequence,
            expires_at: now.checked_add(self.policy.envelope_valid_for).unwrap_or(now),
            tx,
        }
        .sign(&self.secrets.signing)
    }

    fn store_error(&self) -> impl Fn(StoreError) -> GatewayError + use<S> {
        let party = self.party;
        move |source| GatewayError::Store { party, source }
    }

    /// Makes everything since the last commit durable.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn commit(&mut self) -> Result<(), GatewayError> {
        let error = self.store_error();
        self.store.commit().map_err(error)
    }

    /// Asks again for everything that was waiting when the process stopped.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn resume(&mut self, ledger: &dyn StateView) -> Result<Vec<Effect>, GatewayError> {
        let error = self.store_error();
        let mut effects = Vec::new();
        for issued in self.store.awaited_vouchers().map_err(&error)? {
            self.queue_voucher(&issued);
        }
        self.resume_contests()?;
        for mut session in self.store.unsettled_sessions().map_err(&error)? {
            let wanted = sessions::resume(&session);
            let before = session.clone();
            self.carry_out(ledger, &mut session, wanted, &mut effects)?;
            if session != before {
                self.store.put_session(&session).map_err(&error)?;
            }
        }
        Ok(effects)
    }

    /// Time has passed: quotes expire, visitors and old evidence are forgotten, records are trued up whose loads are known.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn tick(&mut self, ledger: &dyn StateView, now: UnixMillis) -> Result<Vec<Effect>, GatewayError> {
        let error = self.store_error();
        self.store.remove_expired_visitors(now).map_err(&error)?;
        self.forget_evidence(now)?;
        self.late.tick(now);
        self.look_for_true_ups(ledger, now)?;
        let mut effects = Vec::new();
        for session in self.store.unsettled_sessions().map_err(error)? {
            if session.open_quote().is_some_and(|quote| now > quote.expires_at) {
                self.advance(ledger, session, SessionEvent::Tick(now), &mut effects)?;
            }
        }
        Ok(effects)
    }

    /// A message from another organisation, whose signature the host has checked.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn receive(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        message: PartnerMessage,
        now: UnixMillis,
    ) -> Result<Vec<Effect>, GatewayError> {
        match message {
            PartnerMessage::Authorize(request) => self.answer(ledger, from, &request),
            PartnerMessage::Authorized { session, authorization } => {
                self.authorized(ledger, from, &session, authorization)
            }
            PartnerMessage::Recall { contract } => {
                let error = self.store_error();
                // Only the home utility may recall its customers.
                if contract.party() == from {
                    self.store.remove_visitor(&contract).map_err(error)?;
                }
                Ok(Vec::new())
            }
            PartnerMessage::Reports(reports) => {
                let received = reports.iter().map(|r| r.session.clone()).collect();
                for report in reports {
                    self.reported(ledger, from, report, now)?;
                }
                Ok(vec![Effect::Send { to: from, message: PartnerMessage::ReportsReceived(received) }])
            }
            PartnerMessage::ReportsReceived(ids) => {
                let mut effects = Vec::new();
                for id in ids {
                    // One confirmation that means nothing here must not hide the others.
                    let Some(session) = self.session(&id)? else { continue };
                    if session.home() == Some(from) {
                        self.advance(ledger, session, SessionEvent::ReportReceived, &mut effects)?;
                    }
                }
                Ok(effects)
            }
            PartnerMessage::Evidence { cdr, evidence } => {
                match self.take_evidence(ledger, from, &cdr, evidence.as_bytes(), now)? {
                    Ok(()) => self.hear(DisputeNews::Contested(cdr)),
                    Err(refusal) => tracing::warn!(%from, %cdr, %refusal, "gateway.evidence.refused"),
                }
                Ok(Vec::new())
            }
            PartnerMessage::EvidenceWanted { cdr } => self.give_evidence(ledger, from, &cdr),
            PartnerMessage::ContestEvidence { operator, cdr, evidence } => {
                let name = RecordName { operator, cdr };
                let taken = self.take_contest_evidence(ledger, from, &name, evidence.as_bytes(), now)?;
                if let Err(refusal) = taken {
                    tracing::warn!(%from, record = %name, %refusal, "gateway.evidence.refused");
                }
                Ok(Vec::new())
            }
            PartnerMessage::ChargeEvidence { cdr, evidence } => {
                if let Err(refusal) =
                    self.take_charge_evidence(ledger, from, &cdr, evidence.as_bytes(), now)?
                {
                    tracing::warn!(%from, %cdr, %refusal, "gateway.evidence.refused");
                    return Ok(Vec::new());
                }
                Ok(vec![Effect::Send { to: from, message: PartnerMessage::ChargeEvidenceKept { cdr } }])
            }
            PartnerMessage::ChargeEvidenceKept { cdr } => {
                self.hear(DisputeNews::Kept { cdr, by: from });
                Ok(Vec::new())
            }
        }
    }

    /// A session at one of the organisation's stations.
    ///
    /// # Errors
    /// [`GatewayError::Store`].
    pub fn session(&mut self, id: &SessionId) -> Result<Option<Session>, GatewayError> {
        let error = self.store_error();
        self.store.session(id).map_err(error)
    }

    fn known(&mut self, id: &SessionId) -> Result<Session, GatewayError> {
        self.session(id)?.ok_or_else(|| GatewayError::UnknownSession(id.clone()))
    }

    fn step(
        &mut self,
        ledger: &dyn StateView,
        session: Session,
        event: SessionEvent,
    ) -> Result<Vec<Effect>, GatewayError> {
        let mut effects = Vec::new();
        self.advance(ledger, session, event, &mut effects)?;
        Ok(effects)
    }

    /// Applies an event to a session, keeps the session, and does what it wants.
    fn advance(
        &mut self,
        ledger: &dyn StateView,
        mut session: Session,
        event: SessionEvent,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GatewayError> {
        let wanted = sessions::handle(&mut session, self.party, event);
        self.carry_out(ledger, &mut session, wanted, effects)?;
        let error = self.store_error();
        self.store.put_session(&session).map_err(error)
    }

    fn carry_out(
        &mut self,
        ledger: &dyn StateView,
        session: &mut Session,
        wanted: Vec<SessionEffect>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GatewayError> {
        for effect in wanted {
            match effect {
                SessionEffect::ShowQuote => {
                    if let Some(quote) = session.open_quote() {
                        effects.push(Effect::ShowQuote(quote.clone()));
                    }
                }
                SessionEffect::Deny(denial) => {
                    effects.push(Effect::Deny { session: session.id.clone(), denial })
                }
                SessionEffect::Reserve => self.queue_reservation(ledger, session)?,
                SessionEffect::PowerOn => {
                    if let Phase::Charging { grant, accepted } = &session.phase {
                        let limit = accepted.voucher().map(|spent| spent.acceptance.limit);
                        let agreed = match accepted.quote.agreement.filter(|_| limit.is_some()) {
                            Some(reference) => {
                                self.terms(ledger, reference)?.map(|terms| terms.limits.amount_max)
                            }
                            None => None,
                        };
                        effects.push(Effect::PowerOn {
                            session: session.id.clone(),
                            energy_max: grant.energy_max,
                            amount_max: limit.map(|limit| agreed.map_or(limit, |agreed| agreed.min(limit))),
                            priority: grant.priority,
                        });
                    }
                }
                SessionEffect::Join => {
                    if let Some(event) = self.join(ledger, session)? {
                        let wanted = sessions::handle(session, self.party, event);
                        self.carry_out(ledger, session, wanted, effects)?;
                    }
                }
                SessionEffect::Submit => {
                    if let Phase::Recording { cdr, .. } = &session.phase {
                        self.outbox.push(Outgoing::Record(session.id.clone(), Box::new(cdr.clone())));
                    }
                }
                SessionEffect::Report => {
                    if let (Some(home), Some(report)) = (session.home(), self.report(session)) {
                        effects
                            .push(Effect::Send { to: home, message: PartnerMessage::Reports(vec![report]) });
                    }
                }
                SessionEffect::BillOwn => self.bill_own(ledger, session)?,
            }
        }
        Ok(())
    }

    /// The terms that a reference names. They never change on the ledger.
    fn terms(
        &mut self,
        ledger: &dyn StateView,
        reference: AgreementRef,
    ) -> Result<Option<&RoamingAgreement>, GatewayError> {
        Ok(match self.terms.entry(reference) {
            Entry::Occupied(entry) => Some(entry.into_mut()),
            Entry::Vacant(entry) => {
                let key = StateKey::AgreementTerms(reference.id, reference.version);
                read(ledger, &key)?.map(|terms| &*entry.insert(terms))
            }
        })
    }

    /// The tariff that a reference names. It never changes on the ledger.
    fn load_tariff(
        &mut self,
        ledger: &dyn StateView,
        party: PartyId,
        reference: &TariffRef,
    ) -> Result<bool, GatewayError> {
        if let Entry::Vacant(entry) = self.tariffs.entry((party, reference.clone())) {
            let key = StateKey::Tariff(party, reference.id.clone(), reference.version);
            let Some(tariff) = read(ledger, &key)? else { return Ok(false) };
            entry.insert(tariff);
        }
        Ok(true)
    }
}
