//! The home utility's part: its customers, what it tells visited operators about them, and their bills.

use super::contests::Reported;
use super::{Effect, Gateway, GatewayError, operator};
use crate::authorize::Promise;
use crate::billing::{BillLine, Booking, Charge, bill_month};
use crate::limits::{self, Allowed, Billable};
use crate::ports::Store;
use crate::sessions::{Consumption, Phase, Promised, Session};
use crate::vouchers::IssuedVoucher;
use crate::{account, authenticate, authorize, forecasts, quote};
use eroam_domain::agreement::AgreementId;
use eroam_domain::cdr::{Cdr, CdrId, GridZone, Payer, TariffRef};
use eroam_domain::charge::{
    Authorization, AuthorizationRef, AuthorizeRequest, Denial, PartnerMessage, Quote, ReportedCustomer,
    ServiceDescription, SessionReport, payer_commitment,
};
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::pricing::ItemisedPrice;
use eroam_domain::retail;
use eroam_domain::retail::{RetailInputs, Tier};
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{SignedVoucher, SpentVoucher, VoucherAcceptance};
use eroam_ledger::agreement::AgreementRecord;
use eroam_ledger::cdr::{ACCEPTANCE_AGE_MAX, CdrTx};
use eroam_ledger::port::Receipt;
use eroam_ledger::query;
use eroam_ledger::reject::ItemOutcome;
use eroam_ledger::state::{StateKey, StateView, read};
use eroam_ledger::tx::{Envelope, PublicKey, Tx};

impl<S: Store> Gateway<S> {
    pub(super) fn reference(
        &self,
        operator: PartyId,
        contract: &ContractId,
        promise: Promise,
    ) -> Option<eroam_domain::charge::AuthorizationRef> {
        authorize::reference(&self.secrets.salt, operator, contract, promise)
    }

    /// Authenticates and authorizes one of the organisation's own customers, at the station of `visited` or its own.
    pub(super) fn authorize_customer(
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

    /// Home utility: a visited operator asks about a customer.
    pub(super) fn answer(
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
    pub(super) fn note_visit(
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

    /// Bills an own customer at an own station, for as much as the driver allowed: nothing is settled with anybody.
    pub(super) fn bill_own(&mut self, ledger: &dyn StateView, session: &Session) -> Result<(), GatewayError> {
        let (Phase::Delivered { grant, accepted }, Some(metered)) = (&session.phase, &session.consumption)
        else {
            return Ok(());
        };
        let cdr = account::cdr_id(&session.id);
        let tariff_ref = accepted.quote.tariff.clone();
        let (customer, issued) = match (session.contract(), grant.promised(), accepted.voucher()) {
            (Some(contract), Some(promised), _) => {
                let Promised { payment, retail_version, .. } = *promised;
                (Ok((contract, Promise { tier: grant.tier, payment, retail_version })), None)
            }
            (_, _, Some(spent)) => match self.voucher_customer(spent, grant.tier)? {
                Ok((issued, promise)) => {
                    let promise = self.as_quoted(promise, &accepted.quote, accepted.at);
                    (promise.map(|promise| (issued.contract, promise)), Some(issued))
                }
                Err(why) => (Err(why), None),
            },
            _ => return Ok(()),
        };
        let allowed = operator::allowed(session, grant, accepted);
        let priced = match customer {
            Err(why) => Err(why),
            Ok(_) if !self.load_tariff(ledger, self.party, &tariff_ref)? => {
                Err("the tariff that was quoted is not on the ledger any more".to_owned())
            }
            Ok((contract, promise)) => {
                self.own_price(&tariff_ref, promise, allowed, metered).map(|(consumption, retail)| {
                    operator::tell_of_the_rest(session, metered, &consumption);
                    (contract, promise, consumption, retail)
                })
            }
        };
        let error = self.store_error();
        let charge = match priced {
            Ok((contract, promise, consumption, retail)) => {
                let through = self.store.billed_through().map_err(&error)?;
                Charge::Billed(Box::new(BillLine {
                    contract,
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
                    tier: promise.tier,
                    payment: promise.payment,
                    retail_version: promise.retail_version,
                    wholesale: None,
                    retail,
                }))
            }
            Err(why) => Charge::Disputed { why },
        };
        self.store.put_charge(self.party, &cdr, &charge).map_err(error)?;
        match issued {
            Some(issued) => self.note_spent(issued),
            None => Ok(()),
        }
    }

    /// What of a session is billed at home, and what the customer pays for it.
    fn own_price(
        &self,
        tariff_ref: &TariffRef,
        promise: Promise,
        allowed: Option<Allowed>,
        metered: &Consumption,
    ) -> Result<(Consumption, ItemisedPrice), String> {
        let tariff =
            self.tariffs.get(&(self.party, tariff_ref.clone())).ok_or("the quoted tariff is not loaded")?;
        let base = |consumption: &Consumption| {
            quote::own_price(tariff, consumption).map_err(|error| error.to_string())
        };
        let consumption = match allowed {
            None => metered.clone(),
            Some(allowed) => {
                match limits::billable(metered, allowed, |part| {
                    Ok::<_, String>(Some(base(part)?.total.incl_vat))
                })? {
                    Billable::Session(consumption) => consumption,
                    Billable::Nothing { due } => {
                        return Err(format!(
                            "the beginning of the session alone costs {due} millionths, and the driver agreed to {} at most",
                            allowed.amount
                        ));
                    }
                    Billable::Unpriced => return Err("the session has no price".to_owned()),
                }
            }
        };
        let rules =
            self.rules.home.version(promise.retail_version).ok_or("the quoted retail rules are gone")?;
        let retail = retail::price(
            rules,
            &RetailInputs {
                tier: promise.tier,
                payment: promise.payment,
                roaming: false,
                wholesale: &base(&consumption)?,
                periods: &consumption.periods,
                end: consumption.end,
                clock: consumption.clock,
            },
        );
        Ok((consumption, retail.map_err(|error| error.to_string())?))
    }

    /// What a customer with a voucher was promised, by the rules of the instant at which its quote was made: by these the
    /// wallet made the price that it showed before the driver agreed.
    fn as_quoted(&self, promise: Promise, quote: &Quote, accepted_at: UnixMillis) -> Result<Promise, String> {
        // Operators say when they made a quote. One that could go back further could choose the rules.
        if accepted_at.since(quote.made_at).is_none_or(|held| held > ACCEPTANCE_AGE_MAX) {
            return Err("the quote was made after it was accepted, or more than a day before".to_owned());
        }
        let in_force = self.rules.home.in_force(quote.made_at);
        let (retail_version, _) = in_force.ok_or("there were no retail rules when the quote was made")?;
        Ok(Promise { retail_version, ..promise })
    }

    /// Home utility: an operator reports a customer's charge.
    pub(super) fn reported(
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
            // The ledger may have booked it while this organisation was away, or before a crash that lost the notice.
            Some(Charge::Reported(_)) | None => match query::cdr(ledger, from, &id)? {
                Some(booked) if booked.digest == digest => self.bill(ledger, from, &report)?,
                Some(_) => Charge::Disputed { why: "the report is not what the ledger booked".into() },
                None => Charge::Reported(Box::new(report)),
            },
        };
        tracing::debug!(operator = %from, cdr = %id, at = %now, "gateway.billing.reported");
        self.store.put_charge(from, &id, &charge).map_err(error)
    }

    /// A block has booked records, or trued some up. Looks for those that this organisation owes for, and for true-ups of its
    /// own.
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
        if let Tx::Cdr(CdrTx::TrueUp(cdrs)) = &envelope.tx {
            for (cdr, item) in cdrs.iter().zip(&receipt.items) {
                let ItemOutcome::Accepted { booked_in: Some(period) } = item.outcome else { continue };
                self.trued_up(ledger, cdr, period)?;
            }
        }
        let Tx::Cdr(CdrTx::RecordCdrs(cdrs)) = &envelope.tx else { return Ok(()) };
        for (cdr, item) in cdrs.iter().zip(&receipt.items) {
            let ItemOutcome::Accepted { booked_in: Some(period) } = item.outcome else { continue };
            if self.debtor(ledger, cdr.agreement.id)? == Some(self.party) {
                let booking = Booking { digest: item.hash, seen_at: now, period };
                self.booked(ledger, envelope.member, &cdr.id, booking)?;
                self.examine(ledger, envelope.member, cdr, None, None)?;
            }
        }
        Ok(())
    }

    pub(super) fn debtor(
        &mut self,
        ledger: &dyn StateView,
        id: AgreementId,
    ) -> Result<Option<PartyId>, GatewayError> {
        if let Some(party) = self.debtor_of.get(&id) {
            return Ok(Some(*party));
        }
        let record: Option<AgreementRecord> = read(ledger, &StateKey::Agreement(id))?;
        if let Some(record) = &record {
            self.debtor_of.insert(id, record.emsp);
        }
        Ok(record.map(|r| r.emsp))
    }

    pub(super) fn booked(
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
    pub(super) fn bill(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        report: &SessionReport,
    ) -> Result<Charge, GatewayError> {
        match self.bill_line(ledger, operator, report)? {
            Ok(line) => {
                self.await_true_up(operator, &report.cdr)?;
                let reported = Reported { contract: line.contract, evse: &report.evse };
                self.examine(ledger, operator, &report.cdr, Some(reported), None)?;
                Ok(Charge::Billed(Box::new(line)))
            }
            Err(why) => Ok(Charge::Disputed { why }),
        }
    }

    pub(super) fn bill_line(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        report: &SessionReport,
    ) -> Result<Result<BillLine, String>, GatewayError> {
        let cdr = &report.cdr;
        let (customer, issued) = match &report.customer {
            ReportedCustomer::Contract { authorization, contract, salt } => {
                let customer = self.card_customer(ledger, operator, cdr, authorization, *contract, salt)?;
                (customer.map(|promise| (*contract, promise)), None)
            }
            ReportedCustomer::Voucher { spent, quote, tier } => {
                match self.checked_voucher(operator, cdr, spent, quote, *tier)? {
                    Ok((issued, promise)) => (Ok((issued.contract, promise)), Some(issued)),
                    Err(why) => (Err(why), None),
                }
            }
        };
        let (contract, promise) = match customer {
            Ok(customer) => customer,
            Err(why) => return Ok(Err(why)),
        };
        if let Some(issued) = issued {
            self.note_spent(issued)?;
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
            return Ok(Err("the retail rules that applied are gone".into()));
        };
        let forecast = match forecasts::of_booked(ledger, terms, cdr)? {
            Ok(forecast) => forecast,
            Err(fault) => return Ok(Err(fault.to_string())),
        };
        let priced = account::wholesale_of(terms, tariff, cdr, forecast.as_ref()).and_then(|wholesale| {
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
            contract,
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

    /// What a customer who showed a card or a PIN was promised, if the record is that customer's.
    fn card_customer(
        &mut self,
        ledger: &dyn StateView,
        operator: PartyId,
        cdr: &Cdr,
        authorization: &AuthorizationRef,
        contract: ContractId,
        salt: &Digest,
    ) -> Result<Result<Promise, String>, GatewayError> {
        let Some(promise) = authorize::promise(&self.secrets.salt, operator, &contract, authorization) else {
            return Ok(Err("the report names an authorization that was never given".into()));
        };
        if cdr.payer != (Payer::Contract { commitment: payer_commitment(salt, &contract) }) {
            return Ok(Err("the record was booked for another customer".into()));
        }
        let Some(operator_member) = query::member(ledger, operator)? else {
            return Ok(Err("the operator is no member".into()));
        };
        if !operator_member.keys.iter().any(|k| account::acceptance_is_signed(cdr, &k.public)) {
            return Ok(Err("nobody signed the acceptance of the quote".into()));
        }
        Ok(Ok(promise))
    }

    /// Whose voucher pays for a record and what that customer was promised, if the voucher's holder agreed to it.
    fn checked_voucher(
        &mut self,
        operator: PartyId,
        cdr: &Cdr,
        spent: &SpentVoucher,
        quote: &Quote,
        tier: Tier,
    ) -> Result<Result<(IssuedVoucher, Promise), String>, GatewayError> {
        let SpentVoucher { voucher: SignedVoucher { voucher, .. }, acceptance, signature } = spent;
        if cdr.payer != (Payer::Voucher { nullifier: voucher.nullifier() }) {
            return Ok(Err("the record was booked for another voucher".into()));
        }
        let (issued, promise) = match self.voucher_customer(spent, tier)? {
            Ok(customer) => customer,
            Err(why) => return Ok(Err(why)),
        };
        let digest = quote.digest();
        if cdr.quote != digest {
            return Ok(Err("the quote is not the one that the record names".into()));
        }
        let agreed = VoucherAcceptance {
            session: cdr.session,
            operator,
            quote: digest,
            limit: acceptance.limit,
            accepted_at: cdr.accepted_at,
        };
        if *acceptance != agreed || *signature != cdr.acceptance {
            return Ok(Err("the voucher's holder agreed to something else than the record says".into()));
        }
        if !PublicKey(voucher.holder.0).verifies(&acceptance.digest().0, &signature.0) {
            return Ok(Err("nobody signed the acceptance of the quote".into()));
        }
        Ok(self.as_quoted(promise, quote, cdr.accepted_at).map(|promise| (issued, promise)))
    }
}
