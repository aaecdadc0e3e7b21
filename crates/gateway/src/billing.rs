//! One bill a month for each driver, over all operators.
//!
//! A charge abroad becomes a bill line when both halves are there: the operator's report, which says whose charge it
//! was, and the ledger's booking, which says that it counts. Whichever comes last completes it; a half that stays
//! alone is visible ([`Charge::missing`]).

pub mod html;

use eroam_domain::cdr::{CdrId, TariffRef};
use eroam_domain::charge::SessionReport;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::{Currency, Price};
use eroam_domain::pricing::ItemisedPrice;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::{CivilMonth, LocalClock, SettlementPeriod, UnixMillis};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A booking that the ledger shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// The record's digest.
    pub digest: Digest,
    /// When it was seen.
    pub seen_at: UnixMillis,
    /// The settlement period.
    pub period: SettlementPeriod,
}

/// What is known of a customer's charge at another operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Charge {
    /// The operator has reported it, the ledger has not booked it yet.
    Reported(Box<SessionReport>),
    /// The ledger has booked it, the operator has not reported it yet.
    Booked(Booking),
    /// Report and booking contradict each other, or the report is wrong: nothing is billed until somebody looks.
    Disputed {
        /// What is wrong.
        why: String,
    },
    /// Both are there.
    Billed(Box<BillLine>),
}

impl Charge {
    /// What is missing or wrong, in a sentence; `None` for a billed charge.
    #[must_use]
    pub fn missing(&self) -> Option<String> {
        match self {
            Self::Reported(_) => {
                Some("the operator has reported it, but the ledger has not booked it".into())
            }
            Self::Booked(_) => {
                Some("the ledger has booked it, but the operator has not reported whose it was".into())
            }
            Self::Disputed { why } => Some(why.clone()),
            Self::Billed(_) => None,
        }
    }
}

/// One charge on a bill.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BillLine {
    /// Whose.
    pub contract: ContractId,
    /// On the bill of which month: the local month in which the session ended, or the first one after it whose bills
    /// are not out yet.
    pub month: CivilMonth,
    /// The operator.
    pub operator: PartyId,
    /// The operator's record (for the utility's own station: its session).
    pub cdr: CdrId,
    /// Where.
    pub evse: EvseId,
    /// The place in words.
    pub place: String,
    /// From when.
    pub start: UnixMillis,
    /// Until when.
    pub end: UnixMillis,
    /// The station's clock.
    pub clock: LocalClock,
    /// How much.
    pub energy: WattHours,
    /// Under which tariff.
    pub tariff: TariffRef,
    /// The tier that applied.
    pub tier: Tier,
    /// How it is paid.
    pub payment: PaymentOption,
    /// The version of the retail rules.
    pub retail_version: u32,
    /// What the utility pays the operator; `None` at its own station.
    pub wholesale: Option<Price>,
    /// What the driver pays, and why.
    pub retail: ItemisedPrice,
}

impl BillLine {
    /// How long the session lasted.
    #[must_use]
    pub fn duration(&self) -> DurationMs {
        self.end.since(self.start).unwrap_or(DurationMs::ZERO)
    }
}

/// The month of a line: that of the local end of its session, unless its bills are out.
#[must_use]
pub fn bill_month(end: UnixMillis, clock: LocalClock, billed_through: Option<CivilMonth>) -> CivilMonth {
    let natural = CivilMonth::of(clock.at(end).date);
    match billed_through {
        Some(issued) if natural <= issued => issued.next(),
        _ => natural,
    }
}

/// A driver's bill for a month, in one currency.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bill {
    /// The bill's number: contract, month and currency.
    pub number: String,
    /// Who bills.
    pub issuer: PartyId,
    /// The issuer's name.
    pub issuer_name: String,
    /// The names of the other operators on it, as the ledger has them; without one an operator is named by its id alone.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub operator_names: BTreeMap<PartyId, String>,
    /// Whose bill.
    pub contract: ContractId,
    /// Which month.
    pub month: CivilMonth,
    /// The currency.
    pub currency: Currency,
    /// The charges, by start.
    pub lines: Vec<BillLine>,
    /// Their energy together.
    pub energy: WattHours,
    /// Their sum.
    pub total: Price,
}

/// A sum on a bill does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bill of {contract} for {month} does not add up within 64 bits")]
pub struct BillOverflow {
    /// Whose bill.
    pub contract: ContractId,
    /// Which month.
    pub month: CivilMonth,
}

/// Gathers lines into bills. The lines must come ordered by contract and month, as
/// [`crate::ports::Store::each_bill_line`] hands them out.
#[derive(Debug)]
pub struct BillMaker {
    issuer: PartyId,
    issuer_name: String,
    names: BTreeMap<PartyId, String>,
    open: Vec<Bill>,
}

impl BillMaker {
    /// For one organisation, that knows the operators of these names.
    #[must_use]
    pub fn new(issuer: PartyId, issuer_name: &str, names: BTreeMap<PartyId, String>) -> Self {
        Self { issuer, issuer_name: issuer_name.to_owned(), names, open: Vec::new() }
    }

    /// Adds a line; gives the finished bills (one for each currency) when it belongs to the next contract or month.
    ///
    /// # Errors
    /// [`BillOverflow`].
    pub fn add(&mut self, line: BillLine) -> Result<Vec<Bill>, BillOverflow> {
        let same = self.open.first().is_none_or(|b| b.contract == line.contract && b.month == line.month);
        let finished = if same { Vec::new() } else { self.finish() };
        let overflow = || BillOverflow { contract: line.contract, month: line.month };
        let currency = line.retail.currency;
        let place = match self.open.iter().position(|b| b.currency == currency) {
            Some(place) => place,
            None => {
                self.open.push(Bill {
                    number: format!("{}/{}/{currency}", line.contract, line.month),
                    issuer: self.issuer,
                    issuer_name: self.issuer_name.clone(),
                    operator_names: BTreeMap::new(),
                    contract: line.contract,
                    month: line.month,
                    currency,
                    lines: Vec::new(),
                    energy: WattHours::ZERO,
                    total: Price::ZERO,
                });
                self.open.len() - 1
            }
        };
        let bill = self.open.get_mut(place).ok_or_else(overflow)?;
        bill.energy = bill.energy.checked_add(line.energy).ok_or_else(overflow)?;
        bill.total = bill.total.checked_add(line.retail.total).ok_or_else(overflow)?;
        if line.operator != self.issuer
            && let Some(name) = self.names.get(&line.operator)
        {
            bill.operator_names.entry(line.operator).or_insert_with(|| name.clone());
        }
        bill.lines.push(line);
        Ok(finished)
    }

    /// The bills that are still open.
    #[must_use]
    pub fn finish(&mut self) -> Vec<Bill> {
        let mut bills = std::mem::take(&mut self.open);
        bills.sort_by_key(|b| b.currency);
        bills
    }
}
