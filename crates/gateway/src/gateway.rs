//! One organisation: its stations, its customers, its books, and the order in which a charge passes through them.
//!
//! ```text
//! request -> route -> (own customer | cached visitor | ask home) -> authenticate -> authorize -> quote
//! accept  -> reserve credit on the ledger -> power on
//! consumed -> record -> ledger -> report to home -> bill
//! ```
//! A gateway is driven by its host: station events and partner messages go in with the time they happened, effects
//! come out, and transactions wait in an outbox until the host sends them to the ledger in batches. Everything may
//! be repeated: what was done already is not done again, and what was waiting is asked for again.

use crate::account::{self, RecordInputs};
use crate::authorize::{self, Promise};
use crate::billing::{BillLine, Booking, Charge, bill_month};
use crate::invoice::WholesaleLine;
use crate::ports::{Entropy, Store, StoreError};
use crate::profiles::VisitorProfile;
use crate::quote::{self, QuoteInputs};
use crate::route::{Route, route};
use crate::rules::Rules;
use crate::sessions::{self, AuthorizedBy, Consumption, Grant, Phase, Session, SessionEffect, SessionEvent};
use crate::{authenticate, authenticate::PinError};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::Payer;
use eroam_domain::cdr::{AcceptanceSignature, AgreementRef, Cdr, CdrId, GridZone, SessionId, TariffRef};
use eroam_domain::charge::{
    Authorization, AuthorizeRequest, ChargeRequest, Denial, PartnerMessage, Quote, ServiceDescription,
    SessionReport, acceptance_digest, payer_commitment,
};
use eroam_domain::codec::{Digest, ShortText, to_bytes};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::pricing::{self, ItemisedPrice, PricingInputs};
use eroam_domain::quantity::{DurationMs, WattHours, Watts};
use eroam_domain::retail::{self, RetailInputs};
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use eroam_ledger::agreement::AgreementRecord;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::port::Receipt;
use eroam_ledger::query;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::settlement::{CreditReservation, SettlementTx};
use eroam_ledger::state::{StateError, StateKey, StateView, read};
use eroam_ledger::tx::{BATCH_MAX, ENVELOPE_BYTES_MAX, Envelope, SignedEnvelope, Tx, VERSION};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

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
    Record(SessionId, Box<Cdr>),
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
    in_flight: Vec<(Digest, Vec<SessionId>)>,
    /// Immutable on the ledger, so they are read once.
    terms: BTreeMap<AgreementRef, RoamingAgreement>,
    tariffs: BTreeMap<(PartyId, TariffRef), Tariff>,
    debtor_of: BTreeMap<AgreementId, PartyId>,
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
            terms: BTreeMap::new(),
            tariffs: BTreeMap::new(),
            debtor_of: BTreeMap::new(),
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

    /// A driver at one of the organisation's stations asks to charge. A repeated request gets the same answer again;
    /// while there is none yet, the home utility is asked again.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn request(
        &mut self,
        ledger: &dyn StateView,
        request: &ChargeRequest,
    ) -> Result<Vec<Effect>, GatewayError> {
        let error = self.store_error();
        let mut effects = Vec::new();
        let mut consumption = None;
        if let Some(mut known) = self.store.session(&request.session).map_err(&error)? {
            if known.phase != Phase::AwaitingHome {
                let wanted = match &known.phase {
                    Phase::Denied(denial) => vec![SessionEffect::Deny(*denial)],
                    _ => sessions::resume(&known),
                };
                self.carry_out(ledger, &mut known, wanted, &mut effects)?;
                self.store.put_session(&known).map_err(error)?;
                return Ok(effects);
            }
            // The credential is not kept, so only a repeated request can ask the home utility again.
            consumption = known.consumption;
        }
        let mut session = Session {
            id: request.session.clone(),
            evse: request.evse.clone(),
            contract: None,
            home: None,
            requested_at: request.at,
            clock: request.clock,
            energy_wanted: request.energy_wanted,
            leaves_at: request.leaves_at,
            credential: None,
            phase: Phase::AwaitingHome,
            consumption,
        };
        let event = self.begin(ledger, request, &mut session, &mut effects)?;
        match event {
            Some(event) => self.advance(ledger, session, event, &mut effects)?,
            None => self.store.put_session(&session).map_err(error)?,
        }
        Ok(effects)
    }

    /// Routes, and authorizes where it can be done here; `None` when the home utility was asked.
    fn begin(
        &mut self,
        ledger: &dyn StateView,
        request: &ChargeRequest,
        session: &mut Session,
        effects: &mut Vec<Effect>,
    ) -> Result<Option<SessionEvent>, GatewayError> {
        let denied = |denial| Ok(Some(SessionEvent::Denied(denial)));
        let Some(evse) = self.stations.get(&request.evse).cloned() else {
            return denied(Denial::UnknownStation);
        };
        let now = request.at;
        let (contract, home) = match route(ledger, self.party, &request.contract, now)? {
            Route::Refused(denial) => return denied(denial),
            Route::Home(contract) => (contract, self.party),
            Route::Partner { contract, home, .. } => (contract, home),
        };
        session.contract = Some(contract);
        session.home = Some(home);
        session.credential =
            authenticate::seen_credential(&self.secrets.salt, &contract, &request.credential);
        if session.credential.is_none() {
            return denied(Denial::CredentialNeeded);
        }
        if home == self.party {
            let answer = self.authorize_customer(&contract, &request.credential, &evse.zone, None, now)?;
            return match answer {
                Ok((promise, service)) => {
                    let reference = self.reference(self.party, &contract, promise);
                    self.offer(ledger, session, &evse, reference, AuthorizedBy::Home, &service, now).map(Some)
                }
                Err(denial) => denied(denial),
            };
        }
        let error = self.store_error();
        let cached = self.store.visitor(&contract).map_err(error)?;
        if let Some(visitor) = cached
            && authorize::is_fresh(&visitor, now)
            && Some(visitor.credential) == session.credential
        {
            let reference = Some(visitor.authorization);
            return self
                .offer(ledger, session, &evse, reference, AuthorizedBy::Cache, &visitor.service, now)
                .map(Some);
        }
        effects.push(Effect::Send {
            to: home,
            message: PartnerMessage::Authorize(AuthorizeRequest {
                session: request.session.clone(),
                contract,
                credential: request.credential.clone(),
                zone: evse.zone,
                at: now,
            }),
        });
        Ok(None)
    }

    fn reference(
        &self,
        operator: PartyId,
        contract: &ContractId,
        promise: Promise,
    ) -> Option<eroam_domain::charge::AuthorizationRef> {
        authorize::reference(&self.secrets.salt, operator, contract, promise)
    }

    /// Authenticates and authorizes one of the organisation's own customers, at the station of `visited` or its own.
    fn authorize_customer(
        &mut self,
        contract: &ContractId,
        credential: &eroam_domain::charge::PresentedCredential,
        zone: &GridZone,
        visited: Option<PartyId>,
        now: UnixMillis,
    ) -> Result<Result<(Promise, ServiceDescription), Denial>, GatewayError> {
        let error = self.store_error();
        let Some(mut profile) = self.store.home_profile(contract).map_err(&error)? else {
            return Ok(Err(Denial::UnknownContract));
        };
        let wrong_before = profile.wrong_pins;
        let authenticated = authenticate::at_home(&self.secrets.salt, &mut profile, credential)?;
        if profile.wrong_pins != wrong_before {
            self.store.put_home_profile(&profile).map_err(error)?;
        }
        if let Err(denial) = authenticated {
            return Ok(Err(denial));
        }
        let service = authorize::at_home(
            &profile,
            &self.rules.home,
            zone,
            visited.is_some(),
            now,
            self.policy.cache_for,
        );
        Ok(service.map(|service| {
            let promise = Promise {
                tier: service.tier,
                payment: service.payment,
                retail_version: service.retail_version,
            };
            (promise, service)
        }))
    }

    /// Makes the quote for an authorized driver, or the denial that stands in its way.
    #[allow(clippy::too_many_arguments, reason = "the parts of one authorization")]
    fn offer(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        evse: &Evse,
        reference: Option<eroam_domain::charge::AuthorizationRef>,
        by: AuthorizedBy,
        service: &ServiceDescription,
        now: UnixMillis,
    ) -> Result<SessionEvent, GatewayError> {
        let (Some(home), Some(reference)) = (session.home, reference) else {
            return Ok(SessionEvent::Denied(Denial::LedgerRefused));
        };
        let own = home == self.party;
        let service = if own {
            service.clone()
        } else {
            match authorize::visitor(service, &self.rules.partner(home), &evse.zone) {
                Ok(service) => service,
                Err(denial) => return Ok(SessionEvent::Denied(denial)),
            }
        };
        let agreement = if own {
            None
        } else {
            match query::agreement_in_force(ledger, home, self.party, now)? {
                Some(found) => Some(found),
                None => return Ok(SessionEvent::Denied(Denial::NoAgreement)),
            }
        };
        let Some((version, tariff)) = self.tariff_in_force(ledger, &evse.tariff, now)? else {
            return Ok(SessionEvent::Denied(Denial::NoPrice));
        };
        // Beyond the agreement's limit the ledger would refuse the record.
        let energy_max = match &agreement {
            Some((_, terms)) => service.energy_max.min(terms.limits.energy_max),
            None => service.energy_max,
        };
        let tariff_ref = TariffRef { id: evse.tariff.clone(), version };
        let quote = quote::make(&QuoteInputs {
            session: &session.id,
            operator: self.party,
            agreement: agreement.as_ref().map(|(reference, terms)| (*reference, terms)),
            tariff: (&tariff_ref, &tariff),
            service: &service,
            power: evse.power,
            energy_wanted: session.energy_wanted,
            leaves_at: session.leaves_at,
            now,
            clock: session.clock,
            held_for: self.policy.quote_held_for,
        });
        self.tariffs.entry((self.party, tariff_ref)).or_insert(tariff);
        if let Some((reference, terms)) = agreement {
            self.terms.entry(reference).or_insert(terms);
        }
        Ok(match quote {
            Ok(quote) => SessionEvent::Authorized {
                grant: Grant {
                    reference,
                    by,
                    tier: service.tier,
                    payment: service.payment,
                    retail_version: service.retail_version,
                    priority: service.priority,
                    energy_max,
                },
                quote,
            },
            Err(denial) => SessionEvent::Denied(denial),
        })
    }

    /// The latest version of an own tariff that a session may start under at `now`: the next one may have been
    /// published ahead of its time.
    fn tariff_in_force(
        &self,
        ledger: &dyn StateView,
        id: &TariffId,
        now: UnixMillis,
    ) -> Result<Option<(u32, Tariff)>, GatewayError> {
        let Some((latest, tariff)) = query::latest_tariff(ledger, self.party, id)? else { return Ok(None) };
        if tariff.valid_at(now) {
            return Ok(Some((latest, tariff)));
        }
        for version in (1..latest).rev().take(TARIFFS_AHEAD_MAX) {
            let tariff: Option<Tariff> = read(ledger, &StateKey::Tariff(self.party, id.clone(), version))?;
            if let Some(tariff) = tariff.filter(|t| t.valid_at(now)) {
                return Ok(Some((version, tariff)));
            }
        }
        Ok(None)
    }

    /// The driver accepts the quote at the station, which signs for it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn accept(
        &mut self,
        ledger: &dyn StateView,
        id: &SessionId,
        at: UnixMillis,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        let signature = match &session.phase {
            Phase::Quoted { quote, .. } => {
                self.secrets.signing.sign(&acceptance_digest(quote.digest(), at).0).to_bytes()
            }
            _ => [0; 64],
        };
        let event = SessionEvent::Accept { at, signature: AcceptanceSignature(signature) };
        self.step(ledger, session, event)
    }

    /// The driver refuses the quote.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn refuse(&mut self, ledger: &dyn StateView, id: &SessionId) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        self.step(ledger, session, SessionEvent::Refuse)
    }

    /// The station reports what a session consumed.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn consumed(
        &mut self,
        ledger: &dyn StateView,
        id: &SessionId,
        consumption: Consumption,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        self.step(ledger, session, SessionEvent::Consumed(consumption))
    }

    /// The home utility could not be reached for an authorization.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn home_unreachable(
        &mut self,
        ledger: &dyn StateView,
        id: &SessionId,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        self.step(ledger, session, SessionEvent::Denied(Denial::HomeUnreachable))
    }

    /// Time has passed: quotes expire, visitors are forgotten.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn tick(&mut self, ledger: &dyn StateView, now: UnixMillis) -> Result<Vec<Effect>, GatewayError> {
        let error = self.store_error();
        self.store.remove_expired_visitors(now).map_err(&error)?;
        let mut effects = Vec::new();
        for session in self.store.unsettled_sessions().map_err(error)? {
            if matches!(&session.phase, Phase::Quoted { quote, .. } if now > quote.expires_at) {
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
                    if session.home == Some(from) {
                        self.advance(ledger, session, SessionEvent::ReportReceived, &mut effects)?;
                    }
                }
                Ok(effects)
            }
        }
    }

    /// Home utility: a visited operator asks about a customer.
    fn answer(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        request: &AuthorizeRequest,
    ) -> Result<Vec<Effect>, GatewayError> {
        let AuthorizeRequest { session, contract, credential, zone, at } = request;
        let mut effects = Vec::new();
        // Whoever has no agreement learns nothing about a customer and tries no PINs.
        let answer = if query::agreement_in_force(ledger, self.party, from, *at)?.is_some() {
            self.authorize_customer(contract, credential, zone, Some(from), *at)?
        } else {
            Err(Denial::NoAgreement)
        };
        let authorization = match answer {
            Ok((promise, service)) => match self.reference(from, contract, promise) {
                Some(reference) => {
                    self.note_visit(contract, from, &mut effects)?;
                    Authorization::Granted { reference, service: Box::new(service) }
                }
                None => Authorization::Denied(Denial::NoPrice),
            },
            Err(denial) => Authorization::Denied(denial),
        };
        let message = PartnerMessage::Authorized { session: session.clone(), authorization };
        effects.push(Effect::Send { to: from, message });
        Ok(effects)
    }

    /// Remembers who keeps a copy of the customer's service description, and recalls the copy that another has.
    fn note_visit(
        &mut self,
        contract: &ContractId,
        visited: PartyId,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        let Some(mut profile) = self.store.home_profile(contract).map_err(&error)? else { return Ok(()) };
        let before = profile.visiting.replace(visited);
        if before == Some(visited) {
            return Ok(());
        }
        self.store.put_home_profile(&profile).map_err(error)?;
        if let Some(other) = before {
            effects.push(Effect::Send { to: other, message: PartnerMessage::Recall { contract: *contract } });
        }
        Ok(())
    }

    /// Visited operator: the home utility has answered.
    fn authorized(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        id: &SessionId,
        authorization: Authorization,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        let (Some(contract), Some(credential)) = (session.contract, session.credential) else {
            return Ok(Vec::new());
        };
        if session.home != Some(from) || session.phase != Phase::AwaitingHome {
            return Ok(Vec::new());
        }
        let event = match authorization {
            Authorization::Denied(denial) => SessionEvent::Denied(denial),
            Authorization::Granted { reference, service } => {
                // The quote is made for the moment of the request: a slow answer must not change the price.
                let now = session.requested_at;
                let own_limit = now.checked_add(self.policy.cache_for).unwrap_or(now);
                let visitor = VisitorProfile {
                    contract,
                    authorization: reference.clone(),
                    service: *service,
                    credential,
                    expires_at: own_limit,
                };
                let visitor =
                    VisitorProfile { expires_at: own_limit.min(visitor.service.valid_until), ..visitor };
                let error = self.store_error();
                self.store.put_visitor(&visitor).map_err(error)?;
                match self.stations.get(&session.evse).cloned() {
                    Some(evse) => {
                        let by = AuthorizedBy::Partner;
                        self.offer(ledger, &session, &evse, Some(reference), by, &visitor.service, now)?
                    }
                    None => SessionEvent::Denied(Denial::UnknownStation),
                }
            }
        };
        self.step(ledger, session, event)
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
                    if let Phase::Quoted { quote, .. } = &session.phase {
                        effects.push(Effect::ShowQuote(quote.clone()));
                    }
                }
                SessionEffect::Deny(denial) => {
                    effects.push(Effect::Deny { session: session.id.clone(), denial })
                }
                SessionEffect::Reserve => self.queue_reservation(ledger, session)?,
                SessionEffect::PowerOn => {
                    if let Phase::Charging { grant, .. } = &session.phase {
                        effects.push(Effect::PowerOn {
                            session: session.id.clone(),
                            energy_max: grant.energy_max,
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
                    if let (Some(home), Some(report)) = (session.home, self.report(session)) {
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

    fn queue_reservation(&mut self, ledger: &dyn StateView, session: &Session) -> Result<(), GatewayError> {
        let Phase::Reserving { accepted, .. } = &session.phase else { return Ok(()) };
        let Some(reference) = accepted.quote.agreement else { return Ok(()) };
        let party = self.party;
        let reservation = self
            .terms(ledger, reference)?
            .and_then(|terms| account::reservation(party, &session.id, (reference, terms), accepted));
        if let Some(reservation) = reservation {
            self.outbox.push(Outgoing::Reservation(session.id.clone(), reservation));
        }
        Ok(())
    }

    /// Puts the two halves together. `None` leaves the session pending: something that it was quoted with is gone, or
    /// there is no price.
    fn join(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
    ) -> Result<Option<SessionEvent>, GatewayError> {
        let (Phase::Charging { accepted, .. }, Some(consumption), Some(contract)) =
            (&session.phase, &session.consumption, &session.contract)
        else {
            return Ok(None);
        };
        let Some(agreement) = accepted.quote.agreement else { return Ok(None) };
        let Some(zone) = self.stations.get(&session.evse).map(|e| e.zone.clone()) else { return Ok(None) };
        let tariff_ref = accepted.quote.tariff.clone();
        if !self.load_tariff(ledger, self.party, &tariff_ref)? || self.terms(ledger, agreement)?.is_none() {
            return Ok(None);
        }
        let (Some(terms), Some(tariff)) =
            (self.terms.get(&agreement), self.tariffs.get(&(self.party, tariff_ref)))
        else {
            return Ok(None);
        };
        let salt = self.entropy.salt(&session.id);
        let inputs = RecordInputs {
            operator: self.party,
            session: &session.id,
            contract,
            agreement: (agreement, terms),
            tariff,
            evse: account::evse_pseudonym(&self.secrets.salt, &session.evse),
            zone: &zone,
            salt,
        };
        match account::record(&inputs, accepted, consumption) {
            Ok(cdr) => Ok(Some(SessionEvent::Joined { cdr, salt })),
            Err(error) => {
                tracing::warn!(session = %session.id, %error, "gateway.account.no_price");
                Ok(None)
            }
        }
    }

    fn report(&self, session: &Session) -> Option<SessionReport> {
        let Phase::Recorded { grant, cdr, salt, .. } = &session.phase else { return None };
        let place = self.stations.get(&session.evse).map_or_else(String::new, |e| e.place.to_string());
        Some(SessionReport {
            session: session.id.clone(),
            authorization: grant.reference.clone(),
            contract: session.contract?,
            salt: *salt,
            evse: session.evse.clone(),
            place,
            cdr: cdr.clone(),
        })
    }

    /// Bills an own customer at an own station: nothing is settled with anybody.
    fn bill_own(&mut self, ledger: &dyn StateView, session: &Session) -> Result<(), GatewayError> {
        let (Phase::Delivered { grant, accepted }, Some(consumption), Some(contract)) =
            (&session.phase, &session.consumption, &session.contract)
        else {
            return Ok(());
        };
        let cdr = account::cdr_id(&session.id);
        let tariff_ref = accepted.quote.tariff.clone();
        let priced = if self.load_tariff(ledger, self.party, &tariff_ref)? {
            self.own_price(&tariff_ref, grant, consumption)
        } else {
            Err("the tariff that was quoted is not on the ledger any more".to_owned())
        };
        let error = self.store_error();
        let charge = match priced {
            Ok(retail) => {
                let through = self.store.billed_through().map_err(&error)?;
                Charge::Billed(Box::new(BillLine {
                    contract: *contract,
                    month: bill_month(consumption.end, consumption.clock, through),
                    operator: self.party,
                    cdr: cdr.clone(),
                    evse: session.evse.clone(),
                    place: self.stations.get(&session.evse).map_or_else(String::new, |e| e.place.to_string()),
                    start: consumption.start,
                    end: consumption.end,
                    clock: consumption.clock,
                    energy: consumption.energy,
                    tariff: tariff_ref,
                    tier: grant.tier,
                    payment: grant.payment,
                    retail_version: grant.retail_version,
                    wholesale: None,
                    retail,
                }))
            }
            Err(why) => Charge::Disputed { why },
        };
        self.store.put_charge(self.party, &cdr, &charge).map_err(error)
    }

    fn own_price(
        &self,
        tariff_ref: &TariffRef,
        grant: &Grant,
        consumption: &Consumption,
    ) -> Result<ItemisedPrice, String> {
        let tariff =
            self.tariffs.get(&(self.party, tariff_ref.clone())).ok_or("the quoted tariff is not loaded")?;
        let (rule, rounding) = quote::own_terms();
        let base = pricing::price(&PricingInputs {
            tariff,
            rule: &rule,
            rounding,
            clock: consumption.clock,
            periods: &consumption.periods,
            end: consumption.end,
            forecast: None,
        })
        .map_err(|e| e.to_string())?;
        let rules =
            self.rules.home.version(grant.retail_version).ok_or("the quoted retail rules are gone")?;
        retail::price(
            rules,
            &RetailInputs {
                tier: grant.tier,
                payment: grant.payment,
                roaming: false,
                wholesale: &base,
                periods: &consumption.periods,
                end: consumption.end,
                clock: consumption.clock,
            },
        )
        .map_err(|e| e.to_string())
    }

    /// Home utility: an operator reports a customer's charge.
    fn reported(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        report: SessionReport,
        now: UnixMillis,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        let id = report.cdr.id.clone();
        let known = self.store.charge(from, &id).map_err(&error)?;
        let digest = report.cdr.digest();
        let charge = match known {
            Some(Charge::Billed(_) | Charge::Disputed { .. }) => return Ok(()),
            Some(Charge::Booked(booking)) if booking.digest == digest => self.bill(ledger, from, &report)?,
            Some(Charge::Booked(_)) => {
                Charge::Disputed { why: "the report is not what the ledger booked".into() }
            }
            Some(Charge::Reported(_)) | None => Charge::Reported(Box::new(report)),
        };
        tracing::debug!(operator = %from, cdr = %id, at = %now, "gateway.billing.reported");
        self.store.put_charge(from, &id, &charge).map_err(error)
    }

    /// Home utility: a block has booked records. Looks for those that this organisation owes for.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn observe(
        &mut self,
        ledger: &dyn StateView,
        envelope: &Envelope,
        receipt: &Receipt,
        now: UnixMillis,
    ) -> Result<(), GatewayError> {
        let Tx::Cdr(CdrTx::RecordCdrs(cdrs)) = &envelope.tx else { return Ok(()) };
        for (cdr, item) in cdrs.iter().zip(&receipt.items) {
            let ItemOutcome::Accepted { booked_in: Some(period) } = item.outcome else { continue };
            if self.debtor(ledger, cdr.agreement.id)? == Some(self.party) {
                let booking = Booking { digest: item.hash, seen_at: now, period };
                self.booked(ledger, envelope.member, &cdr.id, booking)?;
            }
        }
        Ok(())
    }

    fn debtor(&mut self, ledger: &dyn StateView, id: AgreementId) -> Result<Option<PartyId>, GatewayError> {
        if let Some(party) = self.debtor_of.get(&id) {
            return Ok(Some(*party));
        }
        let record: Option<AgreementRecord> = read(ledger, &StateKey::Agreement(id))?;
        if let Some(record) = &record {
            self.debtor_of.insert(id, record.emsp);
        }
        Ok(record.map(|r| r.emsp))
    }

    fn booked(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        cdr: &CdrId,
        booking: Booking,
    ) -> Result<(), GatewayError> {
        let error = self.store_error();
        let charge = match self.store.charge(operator, cdr).map_err(&error)? {
            Some(Charge::Reported(report)) if report.cdr.digest() == booking.digest => {
                self.bill(ledger, operator, &report)?
            }
            Some(Charge::Reported(_)) => {
                Charge::Disputed { why: "the report is not what the ledger booked".into() }
            }
            Some(_) => return Ok(()),
            None => Charge::Booked(booking),
        };
        self.store.put_charge(operator, cdr, &charge).map_err(error)
    }

    /// Turns a report that the ledger confirms into a bill line, or says what is wrong with it.
    fn bill(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        report: &SessionReport,
    ) -> Result<Charge, GatewayError> {
        match self.bill_line(ledger, operator, report)? {
            Ok(line) => Ok(Charge::Billed(Box::new(line))),
            Err(why) => Ok(Charge::Disputed { why }),
        }
    }

    fn bill_line(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        report: &SessionReport,
    ) -> Result<Result<BillLine, String>, GatewayError> {
        let SessionReport { contract, cdr, salt, .. } = report;
        let promise = authorize::promise(&self.secrets.salt, operator, contract, &report.authorization);
        let Some(promise) = promise else {
            return Ok(Err("the report names an authorization that was never given".into()));
        };
        if cdr.payer != (Payer::Contract { commitment: payer_commitment(salt, contract) }) {
            return Ok(Err("the record was booked for another customer".into()));
        }
        let Some(operator_member) = query::member(ledger, operator)? else {
            return Ok(Err("the operator is no member".into()));
        };
        if !operator_member.keys.iter().any(|k| account::acceptance_is_signed(cdr, &k.public)) {
            return Ok(Err("nobody signed the acceptance of the quote".into()));
        }
        let tariff_ref = cdr.tariff.clone();
        if !self.load_tariff(ledger, operator, &tariff_ref)? || self.terms(ledger, cdr.agreement)?.is_none() {
            return Ok(Err("the tariff or the agreement is not on the ledger".into()));
        }
        let (Some(tariff), Some(terms)) =
            (self.tariffs.get(&(operator, tariff_ref.clone())), self.terms.get(&cdr.agreement))
        else {
            return Ok(Err("the tariff or the agreement is not loaded".into()));
        };
        let Some(rules) = self.rules.home.version(promise.retail_version) else {
            return Ok(Err("the retail rules that were quoted are gone".into()));
        };
        let priced = account::wholesale_of(terms, tariff, cdr).and_then(|wholesale| {
            let inputs = RetailInputs {
                tier: promise.tier,
                payment: promise.payment,
                roaming: true,
                wholesale: &wholesale,
                periods: &cdr.periods,
                end: cdr.end,
                clock: cdr.clock,
            };
            retail::price(rules, &inputs)
        });
        let retail = match priced {
            Ok(retail) => retail,
            Err(error) => return Ok(Err(error.to_string())),
        };
        let error = self.store_error();
        let through = self.store.billed_through().map_err(error)?;
        Ok(Ok(BillLine {
            contract: *contract,
            month: bill_month(cdr.end, cdr.clock, through),
            operator,
            cdr: cdr.id.clone(),
            evse: report.evse.clone(),
            place: report.place.clone(),
            start: cdr.start,
            end: cdr.end,
            clock: cdr.clock,
            energy: cdr.energy,
            tariff: tariff_ref,
            tier: promise.tier,
            payment: promise.payment,
            retail_version: promise.retail_version,
            wholesale: Some(cdr.price),
            retail,
        }))
    }

    /// The outbox as signed envelopes, in batches, in the order in which it was filled. The store must be committed
    /// before they are sent: whoever has sent a record must still know it after a crash.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn envelopes(
        &mut self,
        ledger: &dyn StateView,
        network: Digest,
        now: UnixMillis,
    ) -> Result<Vec<SignedEnvelope>, GatewayError> {
        if self.outbox.is_empty() {
            return Ok(Vec::new());
        }
        let mut sequence = query::next_sequence(ledger, self.party, LANE)?;
        let (mut reservations, mut records) = (Vec::new(), Vec::new());
        for outgoing in std::mem::take(&mut self.outbox) {
            match outgoing {
                Outgoing::Reservation(id, reservation) => reservations.push((id, reservation)),
                Outgoing::Record(id, cdr) => records.push((id, *cdr)),
            }
        }
        let mut batches: Vec<(Vec<SessionId>, Tx)> = Vec::new();
        for batch in reservations.chunks(BATCH_MAX) {
            let (ids, items) = batch.iter().cloned().unzip();
            batches.push((ids, Tx::Settlement(SettlementTx::ReserveCredit(items))));
        }
        let mut records = records.into_iter().peekable();
        while records.peek().is_some() {
            let (mut ids, mut items, mut bytes) = (Vec::new(), Vec::new(), 0usize);
            while ids.len() < BATCH_MAX
                && let Some((id, cdr)) = records.next_if(|(_, cdr)| {
                    bytes = bytes.saturating_add(to_bytes(cdr).len());
                    items.is_empty() || bytes <= RECORD_BYTES_MAX
                })
            {
                ids.push(id);
                items.push(cdr);
            }
            batches.push((ids, Tx::Cdr(CdrTx::RecordCdrs(items))));
        }
        let mut envelopes = Vec::with_capacity(batches.len());
        for (ids, tx) in batches {
            let envelope = self.sign(network, LANE, sequence, now, tx);
            sequence = sequence.saturating_add(1);
            self.in_flight.push((envelope.digest(), ids));
            envelopes.push(envelope);
        }
        Ok(envelopes)
    }

    /// What became of an envelope that [`Gateway::envelopes`] made.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn receipt(
        &mut self,
        ledger: &dyn StateView,
        envelope: &SignedEnvelope,
        receipt: &Receipt,
    ) -> Result<Vec<Effect>, GatewayError> {
        let place = self.in_flight.iter().position(|(digest, _)| *digest == receipt.envelope);
        let Some(place) = place else { return Err(GatewayError::ForeignReceipt) };
        let (_, ids) = self.in_flight.remove(place);
        let is_record = matches!(envelope.envelope().tx, Tx::Cdr(_));
        let mut effects = Vec::new();
        // A batch that was refused whole has one item, which is every session's answer.
        let refused = match receipt.items.as_slice() {
            [item] if ids.len() != 1 => Some(item.outcome),
            _ => None,
        };
        for (place, id) in ids.iter().enumerate() {
            let outcome = refused.or_else(|| receipt.items.get(place).map(|i| i.outcome));
            let Some(outcome) = outcome else { return Err(GatewayError::ForeignReceipt) };
            let session = self.known(id)?;
            let event = if is_record {
                self.record_event(ledger, &session, outcome)?
            } else {
                match outcome {
                    ItemOutcome::Accepted { .. } => SessionEvent::CreditReserved,
                    // Asked before the last crash: it is reserved.
                    ItemOutcome::Rejected(RejectCode::DuplicateReservation) => SessionEvent::CreditReserved,
                    ItemOutcome::Rejected(code) => SessionEvent::CreditRefused(code),
                }
            };
            self.advance(ledger, session, event, &mut effects)?;
        }
        Ok(merge_reports(effects))
    }

    /// What a record's outcome means for its session; a booked record goes on the partner's invoice.
    fn record_event(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        outcome: ItemOutcome,
    ) -> Result<SessionEvent, GatewayError> {
        let Phase::Recording { cdr, .. } = &session.phase else {
            return Ok(SessionEvent::Tick(session.requested_at));
        };
        let booked_in = match outcome {
            ItemOutcome::Accepted { booked_in: Some(period) } => period,
            // Sent before the last crash: where it was booked stands on the ledger.
            ItemOutcome::Rejected(RejectCode::DuplicateRecord) => {
                match query::cdr(ledger, self.party, &cdr.id)? {
                    Some(booked) => booked.period,
                    None => return Ok(SessionEvent::RecordRefused(RejectCode::DuplicateRecord)),
                }
            }
            ItemOutcome::Accepted { booked_in: None } => {
                return Ok(SessionEvent::RecordRefused(RejectCode::UnknownRecord));
            }
            // Nobody has looked at the record itself: it stays pending, and `resume` sends it again.
            ItemOutcome::Rejected(code) if is_passing(code) => {
                return Ok(SessionEvent::Tick(session.requested_at));
            }
            ItemOutcome::Rejected(code) => return Ok(SessionEvent::RecordRefused(code)),
        };
        self.keep_wholesale(ledger, session, &cdr.clone(), booked_in)?;
        Ok(SessionEvent::RecordAccepted(booked_in))
    }

    fn keep_wholesale(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        cdr: &Cdr,
        period: SettlementPeriod,
    ) -> Result<(), GatewayError> {
        let Some(due) = self.terms(ledger, cdr.agreement)?.map(|terms| terms.due(cdr.price)) else {
            return Ok(());
        };
        let Some(home) = session.home else { return Ok(()) };
        let error = self.store_error();
        self.store.put_wholesale(&WholesaleLine::of(cdr, home, period, due)).map_err(error)
    }
}

/// Whether a refusal says nothing about the record: its envelope did not count, or it came too early.
fn is_passing(code: RejectCode) -> bool {
    code.leaves_sequence() || matches!(code, RejectCode::Expired | RejectCode::FromTheFuture)
}

/// Reports to the same partner travel in one message.
fn merge_reports(effects: Vec<Effect>) -> Vec<Effect> {
    let mut merged: Vec<Effect> = Vec::with_capacity(effects.len());
    let mut reports: BTreeMap<PartyId, Vec<SessionReport>> = BTreeMap::new();
    for effect in effects {
        match effect {
            Effect::Send { to, message: PartnerMessage::Reports(mut more) } => {
                reports.entry(to).or_default().append(&mut more);
            }
            other => merged.push(other),
        }
    }
    merged.extend(
        reports
            .into_iter()
            .map(|(to, reports)| Effect::Send { to, message: PartnerMessage::Reports(reports) }),
    );
    merged
}
