//! The operator's part for drivers whom it does not know: they prove a contract in zero knowledge and accept with a
//! voucher, and the operator is sure to be paid before power.
//!
//! ```text
//! request_unknown -> quote          the proof is bound to it, so it comes first
//! proven -> quote stands            zones and tier, as a proof revealed them
//! accept_with_voucher -> reserve the voucher on the ledger -> power on, up to the driver's limit
//! ```
//! Of an own customer at an own station nothing is owed to anybody, but a voucher is spent once all the same: the ledger
//! blocks it before power.
//!
//! Source: paper B; DESIGN.md, "The two ways in, one way through".

use super::{Effect, Gateway, GatewayError, vouchers};
use crate::account;
use crate::forecasts;
use crate::ports::Store;
use crate::quote::{QuoteInputs, Quoted, own_price};
use crate::sessions::{
    AcceptedBy, Authority, Consumption, Grant, Phase, Session, SessionEvent, SessionPayer,
};
use crate::unknown_driver::{ProvenContract, UnknownDriverRequest};
use crate::vouchers::{IssuedVoucher, VoucherStatus, denial_of};
use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{SessionId, TariffRef, session_digest};
use eroam_domain::charge::{Denial, Quote};
use eroam_domain::codec::Digest;
use eroam_domain::pricing::plan::{EvenSession, periods};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::SpentVoucher;
use eroam_ledger::query;
use eroam_ledger::reject::RejectCode;
use eroam_ledger::state::{StateError, StateView};
use eroam_ledger::tx::PublicKey;
use eroam_ledger::voucher::{VoucherState, acceptance_digest, check_spent};

impl<S: Store> Gateway<S> {
    /// A driver at one of the organisation's stations asks to charge and names the home utility alone. The answer is a
    /// quote without a driver's price, for the proof to be bound to, or a denial. A repeated request gets the same
    /// answer again.
    ///
    /// Checks, in order: the station is known, the home utility is a member, with an agreement, and served at the
    /// moment; there is a price, within the agreement's limit.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn request_unknown(
        &mut self,
        ledger: &dyn StateView,
        request: &UnknownDriverRequest,
    ) -> Result<Vec<Effect>, GatewayError> {
        let mut effects = Vec::new();
        let mut consumption = None;
        if let Some(mut known) = self.session(&request.session)? {
            if known.phase != Phase::AwaitingHome {
                self.repeat(ledger, &mut known, &mut effects)?;
                return Ok(effects);
            }
            consumption = known.consumption;
        }
        let session = Session {
            id: request.session.clone(),
            evse: request.evse.clone(),
            payer: SessionPayer::Voucher { emsp: request.emsp, commitment: request.voucher },
            requested_at: request.at,
            clock: request.clock,
            energy_wanted: request.energy_wanted,
            leaves_at: request.leaves_at,
            phase: Phase::AwaitingHome,
            consumption,
        };
        let event = match self.offer_unknown(ledger, request)? {
            Ok((quote, energy_max)) => SessionEvent::Offered { quote, energy_max },
            Err(denial) => SessionEvent::Denied(denial),
        };
        self.advance(ledger, session, event, &mut effects)?;
        Ok(effects)
    }

    fn offer_unknown(
        &mut self,
        ledger: &dyn StateView,
        request: &UnknownDriverRequest,
    ) -> Result<Result<(Quote, WattHours), Denial>, GatewayError> {
        let UnknownDriverRequest { emsp, at, .. } = *request;
        let Some(evse) = self.stations.get(&request.evse).cloned() else {
            return Ok(Err(Denial::UnknownStation));
        };
        let mut energy_max = request.energy_max.unwrap_or(WattHours::from_milli_wh(u64::MAX));
        let agreement = if emsp == self.party {
            None
        } else {
            if query::member(ledger, emsp)?.is_none() {
                return Ok(Err(Denial::ProviderNotMember));
            }
            let Some((reference, terms)) = query::agreement_in_force(ledger, emsp, self.party, at)? else {
                return Ok(Err(Denial::NoAgreement));
            };
            let rules = self.rules.partner(emsp);
            if !rules.accept {
                return Ok(Err(Denial::PartnerSuspended));
            }
            energy_max = energy_max.min(rules.energy_max).min(terms.limits.energy_max);
            Some((reference, terms))
        };
        let Some((version, tariff)) = self.tariff_in_force(ledger, &evse.tariff, at)? else {
            return Ok(Err(Denial::NoPrice));
        };
        let tariff_ref = TariffRef { id: evse.tariff.clone(), version };
        let terms = agreement.as_ref().map(|(_, terms)| terms);
        let attested = forecasts::attested_from(ledger, terms, &evse.zone, at)?;
        let quote = crate::quote::make(&QuoteInputs {
            session: &request.session,
            operator: self.party,
            agreement: agreement.as_ref().map(|(reference, terms)| (*reference, terms)),
            tariff: (&tariff_ref, &tariff),
            zone: &evse.zone,
            attested: &attested,
            driver: Quoted::Unknown { energy_max },
            power: evse.power,
            energy_wanted: request.energy_wanted,
            leaves_at: request.leaves_at,
            now: at,
            clock: request.clock,
            held_for: self.policy.quote_held_for,
        });
        self.tariffs.entry((self.party, tariff_ref)).or_insert(tariff);
        if let Some((reference, terms)) = agreement {
            self.terms.entry(reference).or_insert(terms);
        }
        Ok(quote.map(|quote| (quote, energy_max)))
    }

    /// The driver of a session that was [requested](Self::request_unknown) has proved a contract. The quote is shown
    /// again, now to be accepted, or the driver is denied.
    ///
    /// Checks, in order: the quote is still held, the contract is of the home utility that was named, the station's zone
    /// is among its zones. The tier sets the priority by this organisation's own rules, as far as those for the partner
    /// let it.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn proven(
        &mut self,
        ledger: &dyn StateView,
        id: &SessionId,
        contract: &ProvenContract,
        at: UnixMillis,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        let (Phase::AwaitingProof { quote, energy_max }, SessionPayer::Voucher { emsp, .. }) =
            (&session.phase, &session.payer)
        else {
            // Proved before: the same answer again.
            return self.answer_again(ledger, session);
        };
        let zone = self.stations.get(&session.evse).map(|evse| &evse.zone);
        let event = match zone {
            _ if at > quote.expires_at => SessionEvent::Refuted(Denial::QuoteExpired),
            _ if contract.emsp() != *emsp => SessionEvent::Refuted(Denial::OtherProvider),
            None => SessionEvent::Refuted(Denial::UnknownStation),
            Some(zone) if !contract.zones().allow(zone) => SessionEvent::Refuted(Denial::ZoneNotAllowed),
            Some(_) => {
                let earned = self.rules.home.priority(contract.tier());
                let allowed =
                    if *emsp == self.party { earned } else { self.rules.partner(*emsp).priority_max };
                SessionEvent::Proven(Grant {
                    authority: Authority::Proof,
                    tier: contract.tier(),
                    priority: earned.min(allowed).clamp(-9, 9),
                    energy_max: *energy_max,
                })
            }
        };
        self.step(ledger, session, event)
    }

    fn answer_again(
        &mut self,
        ledger: &dyn StateView,
        mut session: Session,
    ) -> Result<Vec<Effect>, GatewayError> {
        let mut effects = Vec::new();
        match session.phase {
            Phase::Quoted { .. } | Phase::Denied(_) => self.repeat(ledger, &mut session, &mut effects)?,
            _ => {}
        }
        Ok(effects)
    }

    /// The driver accepts the quote with a voucher. Power comes when the ledger has reserved it.
    ///
    /// Checks, in order: the quote is still held (`QuoteExpired`); what was agreed to is this quote for this session with
    /// this operator, not before the quote was made nor after `at`, with the voucher that the proof was bound to
    /// (`ForgedAcceptance`); the voucher and the acceptance as the ledger checks them ([`check_spent`]: `ForgedVoucher`,
    /// `ForgedAcceptance`, `VoucherNotValid`, `VoucherLimit`), for an own customer that it is one of those which were
    /// issued; a limit that pays at least for the beginning of a session (`LimitTooLow`); the ledger says that nobody
    /// else has used it (`VoucherSpent`).
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn accept_with_voucher(
        &mut self,
        ledger: &dyn StateView,
        network: Digest,
        id: &SessionId,
        spent: &SpentVoucher,
        at: UnixMillis,
    ) -> Result<Vec<Effect>, GatewayError> {
        let session = self.known(id)?;
        if !matches!((&session.phase, &session.payer), (Phase::Quoted { .. }, SessionPayer::Voucher { .. })) {
            // A repeated acceptance is not needed: what waits for the ledger is asked for again by `resume`.
            return Ok(Vec::new());
        }
        let event = match self.check_accepted(ledger, network, &session, spent, at)? {
            Ok(()) => SessionEvent::Accept {
                at: spent.acceptance.accepted_at,
                by: AcceptedBy::Voucher(Box::new(*spent)),
            },
            Err(denial) => SessionEvent::Refuted(denial),
        };
        self.step(ledger, session, event)
    }

    fn check_accepted(
        &mut self,
        ledger: &dyn StateView,
        network: Digest,
        session: &Session,
        spent: &SpentVoucher,
        at: UnixMillis,
    ) -> Result<Result<(), Denial>, GatewayError> {
        let (Phase::Quoted { quote, .. }, SessionPayer::Voucher { emsp, commitment }) =
            (&session.phase, &session.payer)
        else {
            return Ok(Err(Denial::LedgerRefused));
        };
        let SpentVoucher { voucher, acceptance, .. } = spent;
        if at > quote.expires_at || acceptance.accepted_at > quote.expires_at {
            return Ok(Err(Denial::QuoteExpired));
        }
        let own_session = session_digest(self.party, &session.id);
        if acceptance.session != own_session
            || acceptance.operator != self.party
            || acceptance.quote != quote.digest()
            || acceptance.accepted_at < quote.made_at
            || acceptance.accepted_at > at
            || voucher.commitment() != *commitment
        {
            return Ok(Err(Denial::ForgedAcceptance));
        }
        let checked = match quote.agreement {
            None => self.take_own(ledger, session, spent, network, quote)?,
            Some(reference) => {
                let party = self.party;
                let keys = query::voucher_keys(ledger, *emsp)?;
                let Some(terms) = self.terms(ledger, reference)? else {
                    return Ok(Err(Denial::NoAgreement));
                };
                match check_spent(spent, network, party, terms, &keys) {
                    // From before its key was revoked, and from before a crash: it stands, and the ledger says so again.
                    Err(RejectCode::VoucherKeyRevoked) if is_reserved_by(ledger, spent)? => Ok(()),
                    checked => checked.map_err(denial_of),
                }
            }
        };
        if let Err(denial) = checked {
            return Ok(Err(denial));
        }
        match self.opening_due(ledger, session, quote)? {
            None => return Ok(Err(Denial::NoPrice)),
            Some(least) if acceptance.limit < least.max(1) => return Ok(Err(Denial::LimitTooLow)),
            Some(_) => {}
        }
        Ok(match query::voucher(ledger, *emsp, voucher.voucher.nullifier())? {
            None => Ok(()),
            // This session's, from before a crash: the ledger says whether it is the very same acceptance.
            Some(VoucherState::Reserved { session, .. }) if session == own_session => Ok(()),
            Some(VoucherState::Blocked) if quote.agreement.is_none() => {
                if self.is_taken_by(spent, &session.id)? { Ok(()) } else { Err(Denial::VoucherSpent) }
            }
            Some(_) => Err(Denial::VoucherSpent),
        })
    }

    /// Whether one of the organisation's own vouchers was taken for this session before.
    fn is_taken_by(&mut self, spent: &SpentVoucher, id: &SessionId) -> Result<bool, GatewayError> {
        let error = self.store_error();
        let known = self.store.voucher(&spent.voucher.voucher.nullifier()).map_err(error)?;
        Ok(known.is_some_and(|known| known.status == VoucherStatus::Taken(id.clone())))
    }

    /// An own voucher at an own station: the organisation knows what it has issued, so it needs no agreement to check it,
    /// and of its keys no more than whether the voucher's was revoked: the holder has another voucher for it then.
    fn take_own(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        spent: &SpentVoucher,
        network: Digest,
        quote: &Quote,
    ) -> Result<Result<(), Denial>, GatewayError> {
        let SpentVoucher { voucher: signed, acceptance, signature } = spent;
        let voucher = &signed.voucher;
        let error = self.store_error();
        let Some(issued) = self.store.voucher(&voucher.nullifier()).map_err(&error)? else {
            return Ok(Err(Denial::ForgedVoucher));
        };
        let taken = VoucherStatus::Taken(session.id.clone());
        // What the ledger blocks for this session already was taken before.
        let is_revoked = issued.status != taken
            && vouchers::is_of_revoked_key(signed, &query::voucher_keys(ledger, self.party)?);
        let as_issued = issued.voucher == *signed && voucher.network == network;
        Ok(if !as_issued || voucher.cap.currency != quote.currency {
            Err(Denial::ForgedVoucher)
        } else if is_revoked {
            Err(Denial::VoucherWithdrawn)
        } else if !voucher.is_valid_at(acceptance.accepted_at) {
            Err(Denial::VoucherNotValid)
        } else if acceptance.limit > voucher.cap.micros {
            Err(Denial::VoucherLimit)
        } else if !PublicKey(voucher.holder.0).verifies(&acceptance.digest().0, &signature.0) {
            Err(Denial::ForgedAcceptance)
        } else if issued.status != VoucherStatus::Issued && issued.status != taken {
            Err(Denial::VoucherSpent)
        } else {
            Ok(())
        })
    }

    /// Remembers for which session an own voucher is blocked, before the ledger is asked.
    pub(super) fn note_taken(&mut self, id: &SessionId, spent: &SpentVoucher) -> Result<(), GatewayError> {
        let error = self.store_error();
        let nullifier = spent.voucher.voucher.nullifier();
        let Some(issued) = self.store.voucher(&nullifier).map_err(&error)? else { return Ok(()) };
        let taken = IssuedVoucher { status: VoucherStatus::Taken(id.clone()), ..issued };
        self.store.put_voucher(&taken).map_err(error)
    }

    /// What a session costs in which nothing is delivered: whoever agrees to less has agreed to nothing.
    fn opening_due(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        quote: &Quote,
    ) -> Result<Option<i64>, GatewayError> {
        let (party, start) = (self.party, quote.made_at);
        if !self.load_tariff(ledger, party, &quote.tariff)? {
            return Ok(None);
        }
        let nothing = EvenSession { start, charging_end: start, end: start, energy: WattHours::ZERO };
        let Some(tariff) = self.tariffs.get(&(party, quote.tariff.clone())) else { return Ok(None) };
        let Ok(periods) = periods(&nothing, tariff, &session.clock) else { return Ok(None) };
        let consumption = Consumption {
            start,
            end: start,
            clock: session.clock,
            periods,
            energy: WattHours::ZERO,
            readings: Digest::ZERO,
        };
        self.due(ledger, session, quote, quote.made_at, &consumption)
    }

    /// What is due for what a session has consumed so far, in millionths of the quote's currency: a station switches off
    /// before that reaches [`Effect::PowerOn`]'s `amount_max`. `None` when the session has no accepted quote, or there is
    /// no price.
    ///
    /// # Errors
    /// [`GatewayError`].
    pub fn due_so_far(
        &mut self,
        ledger: &dyn StateView,
        id: &SessionId,
        consumption: &Consumption,
    ) -> Result<Option<i64>, GatewayError> {
        let session = self.known(id)?;
        match &session.phase {
            Phase::Reserving { accepted, .. } | Phase::Charging { accepted, .. } => {
                self.due(ledger, &session, &accepted.quote, accepted.at, consumption)
            }
            _ => Ok(None),
        }
    }

    fn due(
        &mut self,
        ledger: &dyn StateView,
        session: &Session,
        quote: &Quote,
        accepted_at: UnixMillis,
        consumption: &Consumption,
    ) -> Result<Option<i64>, GatewayError> {
        let party = self.party;
        if !self.load_tariff(ledger, party, &quote.tariff)? {
            return Ok(None);
        }
        if let Some(reference) = quote.agreement
            && self.terms(ledger, reference)?.is_none()
        {
            return Ok(None);
        }
        let terms: Option<&RoamingAgreement> = quote.agreement.and_then(|r| self.terms.get(&r));
        let Some(tariff) = self.tariffs.get(&(party, quote.tariff.clone())) else { return Ok(None) };
        Ok(match terms {
            Some(terms) => {
                let Some(zone) = self.stations.get(&session.evse).map(|evse| &evse.zone) else {
                    return Ok(None);
                };
                let times = (consumption.start, consumption.end);
                match forecasts::of_session(ledger, terms, zone, quote, times, accepted_at)? {
                    Ok(forecast) => account::wholesale(terms, tariff, consumption, forecast.as_ref())
                        .ok()
                        .map(|price| terms.due(price.total)),
                    Err(_) => None,
                }
            }
            None => own_price(tariff, consumption).ok().map(|price| price.total.incl_vat),
        })
    }
}

/// Whether the ledger has reserved a voucher by the very same acceptance, which it has checked then.
fn is_reserved_by(ledger: &dyn StateView, spent: &SpentVoucher) -> Result<bool, StateError> {
    let SpentVoucher { voucher, acceptance, signature } = spent;
    let known = query::voucher(ledger, voucher.voucher.emsp, voucher.voucher.nullifier())?;
    Ok(match known {
        Some(VoucherState::Reserved { acceptance: reserved, .. }) => {
            reserved == acceptance_digest(acceptance, signature)
        }
        _ => false,
    })
}
