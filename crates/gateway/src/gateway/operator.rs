//! The operator's part: drivers at its stations, its own customers and visitors.

use super::{Effect, Evse, Gateway, GatewayError, TARIFFS_AHEAD_MAX};
use crate::account::RecordInputs;
use crate::limits::{self, Allowed, Billable};
use crate::ports::Store;
use crate::profiles::VisitorProfile;
use crate::quote::detail::QuoteDetail;
use crate::quote::{QuoteInputs, Quoted};
use crate::rates::{RateFault, RateLimits, ServedRates, tariff_by_rates};
use crate::route::{Route, route};
use crate::sessions::{
    Accepted, AcceptedBy, Authority, Consumption, Grant, PayerOpening, Phase, Promised, Session,
    SessionEffect, SessionEvent, SessionPayer,
};
use crate::{account, authenticate, authorize, forecasts, quote, sessions};
use ed25519_dalek::Signer as _;
use eroam_domain::cdr::{Cdr, Payer, SessionId, TariffRef};
use eroam_domain::charge::{
    Authorization, AuthorizeRequest, ChargeRequest, Denial, PartnerMessage, ReportedCustomer,
    ServiceDescription, SessionReport, acceptance_digest, payer_commitment,
};
use eroam_domain::codec::SignatureBytes;
use eroam_domain::ids::PartyId;
use eroam_domain::tariff::{Tariff, TariffId};
use eroam_domain::time::{LocalClock, UnixMillis};
use eroam_ledger::query;
use eroam_ledger::state::{StateKey, StateView, read};
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::Tx;

impl<S: Store> Gateway<S> {
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
                self.repeat(ledger, &mut known, &mut effects)?;
                return Ok(effects);
            }
            // The credential is not kept, so only a repeated request can ask the home utility again.
            consumption = known.consumption;
        }
        let mut session = Session {
            id: request.session.clone(),
            evse: request.evse.clone(),
            payer: SessionPayer::Unknown,
            requested_at: request.at,
            clock: request.clock,
            energy_wanted: request.energy_wanted,
            leaves_at: request.leaves_at,
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

    /// A repeated request gets the same answer again.
    pub(super) fn repeat(
        &mut self,
        ledger: &dyn StateView,
        known: &mut Session,
        effects: &mut Vec<Effect>,
    ) -> Result<(), GatewayError> {
        let wanted = match &known.phase {
            Phase::Denied(denial) => vec![SessionEffect::Deny(*denial)],
            _ => sessions::resume(known),
        };
        self.carry_out(ledger, known, wanted, effects)?;
        let error = self.store_error();
        self.store.put_session(known).map_err(error)
    }

    /// Routes, and authorizes where it can be done here; `None` when the home utility was asked.
    pub(super) fn begin(
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
        let credential = authenticate::seen_credential(&self.secrets.salt, &contract, &request.credential);
        session.payer = SessionPayer::Contract { contract, home, credential };
        if credential.is_none() {
            return denied(Denial::CredentialNeeded);
        }
        if home == self.party {
            let answer = self.authorize_customer(&contract, &request.credential, &evse.zone, None, now)?;
            return match answer {
                Ok((promise, service)) => {
                    let reference = self.reference(self.party, &contract, promise);
                    self.offer(ledger, session, &evse, reference, Authority::Home, &service, now).map(Some)
                }
                Err(denial) => denied(denial),
            };
        }
        let error = self.store_error();
        let cached = self.store.visitor(&contract).map_err(error)?;
        if let Some(visitor) = cached
            && authorize::is_fresh(&visitor, now)
            && Some(visitor.credential) == credential
        {
            let reference = Some(visitor.authorization);
            return self
                .offer(ledger, session, &evse, reference, Authority::Cache, &visitor.service, now)
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

    /// Makes the quote for an authorized driver, or the denial that stands in its way.
    #[allow(clippy::too_many_arguments, reason = "the parts of one authorization")]
    pub(super) fn offer(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        evse: &Evse,
        reference: Option<eroam_domain::charge::AuthorizationRef>,
        ground: fn(Promised) -> Authority,
        service: &ServiceDescription,
        now: UnixMillis,
    ) -> Result<SessionEvent, GatewayError> {
        let (Some(home), Some(reference)) = (session.home(), reference) else {
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
        let terms = agreement.as_ref().map(|(_, terms)| terms);
        let attested = forecasts::attested_from(ledger, terms, &evse.zone, now)?;
        let quote = quote::make(&QuoteInputs {
            session: &session.id,
            operator: self.party,
            agreement: agreement.as_ref().map(|(reference, terms)| (*reference, terms)),
            tariff: (&tariff_ref, &tariff),
            zone: &evse.zone,
            attested: &attested,
            driver: Quoted::Known(&service),
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
                    authority: ground(Promised {
                        reference,
                        payment: service.payment,
                        retail_version: service.retail_version,
                    }),
                    tier: service.tier,
                    priority: service.priority,
                    energy_max,
                },
                quote,
            },
            Err(denial) => SessionEvent::Denied(denial),
        })
    }

    /// The transaction that publishes the rates of an outside server as the next version of a tariff; `base` is the tariff
    /// without them.
    ///
    /// # Errors
    /// [`GatewayError`]; inside `Ok`, why there is none: then the tariff stays as it is.
    pub fn publish_rates(
        &self,
        ledger: &dyn StateView,
        base: &Tariff,
        served: &ServedRates,
        limits: RateLimits,
        clock: &LocalClock,
        now: UnixMillis,
    ) -> Result<Result<Tx, RateFault>, GatewayError> {
        let tariff = match tariff_by_rates(base, served, limits, clock, now) {
            Ok(tariff) => tariff,
            Err(fault) => return Ok(Err(fault)),
        };
        let latest = query::latest_tariff(ledger, self.party, base.id())?.map_or(0, |(version, _)| version);
        let version = latest.saturating_add(1);
        Ok(Ok(Tx::Tariff(TariffTx::PublishTariff { version, tariff })))
    }

    /// What the quote that a driver sees is made of, and what the same energy would cost later. `None` when there is no open
    /// quote, or its price does not follow any more from what is on the ledger.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn quote_detail(
        &mut self,
        ledger: &dyn StateView,
        id: &SessionId,
    ) -> Result<Option<QuoteDetail>, GatewayError> {
        let session = self.known(id)?;
        let (Some(quote), Some(evse)) = (session.open_quote(), self.stations.get(&session.evse).cloned())
        else {
            return Ok(None);
        };
        if !self.load_tariff(ledger, self.party, &quote.tariff)? {
            return Ok(None);
        }
        let terms = match quote.agreement {
            Some(reference) => match self.terms(ledger, reference)? {
                Some(terms) => Some((reference, terms.clone())),
                None => return Ok(None),
            },
            None => None,
        };
        let energy_max = quote.energy;
        let service = match (&session.payer, session.home()) {
            (SessionPayer::Contract { contract, .. }, Some(home)) if home != self.party => {
                let error = self.store_error();
                let visitor = self.store.visitor(contract).map_err(error)?;
                let rules = self.rules.partner(home);
                visitor.and_then(|v| authorize::visitor(&v.service, &rules, &evse.zone).ok())
            }
            _ => None,
        };
        let Some(tariff) = self.tariffs.get(&(self.party, quote.tariff.clone())) else { return Ok(None) };
        let agreed = terms.as_ref().map(|(_, terms)| terms);
        let attested = forecasts::attested_from(ledger, agreed, &evse.zone, quote.made_at)?;
        let inputs = QuoteInputs {
            session: &session.id,
            operator: self.party,
            agreement: terms.as_ref().map(|(reference, terms)| (*reference, terms)),
            tariff: (&quote.tariff, tariff),
            zone: &evse.zone,
            attested: &attested,
            driver: service.as_ref().map_or(Quoted::Unknown { energy_max }, Quoted::Known),
            power: evse.power,
            energy_wanted: Some(quote.energy),
            leaves_at: session.leaves_at,
            now: quote.made_at,
            clock: session.clock,
            held_for: self.policy.quote_held_for,
        };
        Ok(quote::detail::detail(&inputs, quote).ok())
    }

    /// The latest version of an own tariff that a session may start under at `now`: the next one may have been
    /// published ahead of its time.
    pub(super) fn tariff_in_force(
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
        let by = match &session.phase {
            // Whoever was not named has to accept with a voucher.
            _ if matches!(session.payer, SessionPayer::Voucher { .. }) => return Ok(Vec::new()),
            // An own customer's acceptance goes on no record, so there is nobody to prove it to.
            Phase::Quoted { quote, .. } if session.is_roaming(self.party) => {
                let digest = acceptance_digest(quote.digest(), at);
                AcceptedBy::Station(SignatureBytes(self.secrets.signing.sign(&digest.0).to_bytes()))
            }
            _ => AcceptedBy::OwnCustomer,
        };
        self.step(ledger, session, SessionEvent::Accept { at, by })
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

    /// Visited operator: the home utility has answered.
    pub(super) fn authorized(
        &mut self,
        ledger: &dyn StateView,
        from: PartyId,
        id: &SessionId,
        authorization: Authorization,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        let SessionPayer::Contract { contract, home, credential: Some(credential) } = session.payer else {
            return Ok(Vec::new());
        };
        if home != from || session.phase != Phase::AwaitingHome {
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
                        let ground = Authority::Partner;
                        self.offer(ledger, &session, &evse, Some(reference), ground, &visitor.service, now)?
                    }
                    None => SessionEvent::Denied(Denial::UnknownStation),
                }
            }
        };
        self.step(ledger, session, event)
    }

    /// Puts the two halves together: of what was metered, as much as the driver allowed. `None` leaves the session pending:
    /// something that it was quoted with is gone, or there is no price.
    pub(super) fn join(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
    ) -> Result<Option<SessionEvent>, GatewayError> {
        let (Phase::Charging { grant, accepted }, Some(metered)) = (&session.phase, &session.consumption)
        else {
            return Ok(None);
        };
        let (payer, acceptance, opening) = match (&session.payer, &accepted.by) {
            (SessionPayer::Contract { contract, .. }, AcceptedBy::Station(signature)) => {
                let salt = self.entropy.salt(&session.id);
                let commitment = payer_commitment(&salt, contract);
                (Payer::Contract { commitment }, *signature, PayerOpening::Contract { salt })
            }
            (SessionPayer::Voucher { .. }, AcceptedBy::Voucher(spent)) => {
                let nullifier = spent.voucher.voucher.nullifier();
                let quote = Box::new(accepted.quote.clone());
                let opening = PayerOpening::Voucher { spent: spent.clone(), quote };
                (Payer::Voucher { nullifier }, spent.signature, opening)
            }
            _ => return Ok(None),
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
        let recorded = |consumption: &Consumption| -> Result<Option<Cdr>, GatewayError> {
            let times = (consumption.start, consumption.end);
            let found = forecasts::of_session(ledger, terms, &zone, &accepted.quote, times, accepted.at)?;
            let forecast = match found {
                Ok(forecast) => forecast,
                Err(error) => {
                    tracing::warn!(session = %session.id, %error, "gateway.account.no_forecast");
                    return Ok(None);
                }
            };
            let inputs = RecordInputs {
                operator: self.party,
                session: &session.id,
                payer,
                acceptance,
                agreement: (agreement, terms),
                tariff,
                evse: account::evse_pseudonym(&self.secrets.salt, &session.evse),
                zone: &zone,
                forecast: forecast.as_ref(),
            };
            Ok(match account::record(&inputs, accepted, consumption) {
                Ok(cdr) => Some(cdr),
                Err(error) => {
                    tracing::warn!(session = %session.id, %error, "gateway.account.no_price");
                    None
                }
            })
        };
        // A driver with a card has named no limits: what it wants and when it leaves are for the quote alone.
        let Some(allowed) = allowed(session, grant, accepted) else {
            return Ok(recorded(metered)?.map(|cdr| SessionEvent::Joined { cdr, opening }));
        };
        let due = |consumption: &Consumption| Ok(recorded(consumption)?.map(|cdr| terms.due(cdr.price)));
        let (consumption, too_dear) = match limits::billable::<GatewayError>(metered, allowed, due)? {
            Billable::Session(consumption) => (consumption, None),
            // For whoever looks at it: nothing of it is sent.
            Billable::Nothing { due } => (metered.clone(), Some(due)),
            Billable::Unpriced => return Ok(None),
        };
        tell_of_the_rest(session, metered, &consumption);
        Ok(recorded(&consumption)?.map(|cdr| match too_dear {
            None => SessionEvent::Joined { cdr, opening },
            Some(due) => SessionEvent::OverLimit { cdr, opening, due, limit: allowed.amount },
        }))
    }

    pub(super) fn report(&self, session: &Session) -> Option<SessionReport> {
        let Phase::Recorded { grant, cdr, opening, .. } = &session.phase else { return None };
        let customer = match opening {
            PayerOpening::Contract { salt } => ReportedCustomer::Contract {
                authorization: grant.promised()?.reference.clone(),
                contract: session.contract()?,
                salt: *salt,
            },
            PayerOpening::Voucher { spent, quote } => {
                ReportedCustomer::Voucher { spent: spent.clone(), quote: quote.clone(), tier: grant.tier }
            }
        };
        let place = self.stations.get(&session.evse).map_or_else(String::new, |e| e.place.to_string());
        Some(SessionReport {
            session: session.id.clone(),
            customer,
            evse: session.evse.clone(),
            place,
            cdr: cdr.clone(),
        })
    }
}

/// What the driver of a session allowed at most; `None` where nobody named limits, as with a card.
pub(super) fn allowed(session: &Session, grant: &Grant, accepted: &Accepted) -> Option<Allowed> {
    let amount = accepted.voucher()?.acceptance.limit;
    Some(Allowed { energy: grant.energy_max, until: session.leaves_at, amount })
}

/// Says how much of a session nobody pays for: its station passed a limit.
pub(super) fn tell_of_the_rest(session: &Session, metered: &Consumption, billed: &Consumption) {
    if metered.end == billed.end && metered.energy == billed.energy {
        return;
    }
    tracing::warn!(
        session = %session.id,
        evse = %session.evse,
        metered_milli_wh = metered.energy.milli_wh(),
        billed_milli_wh = billed.energy.milli_wh(),
        "gateway.account.beyond_limit"
    );
}
