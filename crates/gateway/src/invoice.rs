//! The wholesale invoice: what a partner owes this operator for a period, record by record.
//!
//! It repeats what the ledger has booked, so that the partner can check each line against the ledger; the ledger's
//! netting is what is paid. What the agreement gives to others of a price (its costs and shares) the partner owes to them
//! and not to the operator: the ledger books it so, and the invoice says it. Source: Paper A, section 3.1.

pub mod html;

use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::{AgreementRef, Cdr, CdrId, TariffRef};
use eroam_domain::codec::Digest;
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Price};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{SettlementPeriod, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A booked record on an invoice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WholesaleLine {
    /// The debtor.
    pub emsp: PartyId,
    /// The settlement period it was booked in.
    pub period: SettlementPeriod,
    /// The record.
    pub cdr: CdrId,
    /// Its digest on the ledger.
    pub digest: Digest,
    /// The agreement.
    pub agreement: AgreementRef,
    /// The tariff.
    pub tariff: TariffRef,
    /// When the session started.
    pub start: UnixMillis,
    /// When it ended.
    pub end: UnixMillis,
    /// Its energy.
    pub energy: WattHours,
    /// The currency.
    pub currency: Currency,
    /// Its wholesale price.
    pub price: Price,
    /// What of it is payable by the agreement, in millionths, whoever gets it.
    pub due: i64,
    /// What a true-up that was booked in the period adds, in millionths; negative for what it gives back.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub true_up: i64,
    /// What of `due` and `true_up` together the agreement gives to others than the operator, by party. The partner owes it
    /// to them; a part of its own is nobody's claim.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Part>,
}

/// What a party gets of an amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Who.
    pub party: PartyId,
    /// How much, in millionths; negative for what it gives back.
    pub micros: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde wants")]
const fn is_zero(micros: &i64) -> bool {
    *micros == 0
}

impl WholesaleLine {
    /// The line of a booked record of which `due` is payable. `None` for an amount that cannot be shared.
    #[must_use]
    pub fn of(cdr: &Cdr, terms: &RoamingAgreement, period: SettlementPeriod, due: i64) -> Option<Self> {
        Some(Self {
            emsp: terms.emsp,
            period,
            cdr: cdr.id.clone(),
            digest: cdr.digest(),
            agreement: cdr.agreement,
            tariff: cdr.tariff.clone(),
            start: cdr.start,
            end: cdr.end,
            energy: cdr.energy,
            currency: cdr.currency,
            price: cdr.price,
            due,
            true_up: 0,
            others: others(terms, cdr.energy, 0, due)?,
        })
    }

    /// The line with a true-up of so many millionths, which is shared as the other price would have been.
    #[must_use]
    pub fn with_true_up(self, terms: &RoamingAgreement, micros: i64) -> Option<Self> {
        let others = others(terms, self.energy, 0, self.due.checked_add(micros)?)?;
        Some(Self { true_up: micros, others, ..self })
    }

    /// The line of a true-up whose record is on the invoice of an earlier period: nothing else of it is due.
    #[must_use]
    pub fn of_true_up_alone(self, terms: &RoamingAgreement, micros: i64) -> Option<Self> {
        let others = others(terms, self.energy, self.due, self.due.checked_add(micros)?)?;
        Some(Self { energy: WattHours::ZERO, price: Price::ZERO, due: 0, true_up: micros, others, ..self })
    }

    /// What of it the operator is owed, in millionths. `None` on overflow.
    #[must_use]
    pub fn owed_to_operator(&self) -> Option<i64> {
        let all = self.due.checked_add(self.true_up)?;
        self.others.iter().try_fold(all, |left, part| left.checked_sub(part.micros))
    }
}

/// What others than the operator get more of `after` than of `before`.
fn others(terms: &RoamingAgreement, energy: WattHours, before: i64, after: i64) -> Option<Vec<Part>> {
    let mut parts: BTreeMap<PartyId, i64> =
        terms.shares.split(after, energy, terms.cpo)?.into_iter().collect();
    for (party, micros) in terms.shares.split(before, energy, terms.cpo)? {
        let part = parts.entry(party).or_default();
        *part = part.checked_sub(micros)?;
    }
    let theirs = parts.into_iter().filter(|(party, micros)| *party != terms.cpo && *micros != 0);
    Some(theirs.map(|(party, micros)| Part { party, micros }).collect())
}

/// An invoice to one partner for one period in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Invoice {
    /// Its number: operator, partner, period and currency.
    pub number: String,
    /// Who is paid.
    pub operator: PartyId,
    /// Who pays.
    pub emsp: PartyId,
    /// For when.
    pub period: SettlementPeriod,
    /// The currency.
    pub currency: Currency,
    /// The records.
    pub lines: Vec<WholesaleLine>,
    /// Their energy together.
    pub energy: WattHours,
    /// Their prices together.
    pub total: Price,
    /// What the partner owes to the operator, in millionths.
    pub due: i64,
    /// What it owes to others, or keeps as its own share, of the same records.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Part>,
}

/// A sum on an invoice does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the invoice to {emsp} for {period} does not add up within 64 bits")]
pub struct InvoiceOverflow {
    /// The partner.
    pub emsp: PartyId,
    /// The period.
    pub period: SettlementPeriod,
}

/// Gathers lines into invoices. The lines must come ordered by partner and period, as
/// [`crate::ports::Store::each_wholesale`] hands them out.
#[derive(Debug)]
pub struct InvoiceMaker {
    operator: PartyId,
    open: Vec<Invoice>,
}

impl InvoiceMaker {
    /// For one operator.
    #[must_use]
    pub const fn new(operator: PartyId) -> Self {
        Self { operator, open: Vec::new() }
    }

    /// Adds a line; gives the finished invoices when it belongs to the next partner or period.
    ///
    /// # Errors
    /// [`InvoiceOverflow`].
    pub fn add(&mut self, line: WholesaleLine) -> Result<Vec<Invoice>, InvoiceOverflow> {
        let WholesaleLine { emsp, period, currency, .. } = line;
        let overflow = || InvoiceOverflow { emsp, period };
        let same = self.open.first().is_none_or(|i| i.emsp == emsp && i.period == period);
        let finished = if same { Vec::new() } else { self.finish() };
        if !self.open.iter().any(|i| i.currency == currency) {
            self.open.push(Invoice {
                number: format!("{}/{emsp}/{period}/{currency}", self.operator),
                operator: self.operator,
                emsp,
                period,
                currency,
                lines: Vec::new(),
                energy: WattHours::ZERO,
                total: Price::ZERO,
                due: 0,
                others: Vec::new(),
            });
        }
        let invoice = self.open.iter_mut().find(|i| i.currency == currency).ok_or_else(overflow)?;
        invoice.energy = invoice.energy.checked_add(line.energy).ok_or_else(overflow)?;
        invoice.total = invoice.total.checked_add(line.price).ok_or_else(overflow)?;
        let due = line.owed_to_operator().ok_or_else(overflow)?;
        invoice.due = invoice.due.checked_add(due).ok_or_else(overflow)?;
        for part in &line.others {
            match invoice.others.iter_mut().find(|known| known.party == part.party) {
                Some(known) => known.micros = known.micros.checked_add(part.micros).ok_or_else(overflow)?,
                None => invoice.others.push(*part),
            }
        }
        invoice.lines.push(line);
        Ok(finished)
    }

    /// The invoices that are still open.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Invoice> {
        let mut invoices = std::mem::take(&mut self.open);
        invoices.sort_by_key(|i| i.currency);
        invoices
    }
}
