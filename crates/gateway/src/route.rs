//! The roaming gateway's routing: the first five characters of a contract id name the home utility.
//!
//! Source: Paper A, sections 2 (CIN) and 2.1.2 (R-GW/R).

use eroam_domain::agreement::RoamingAgreement;
use eroam_domain::cdr::AgreementRef;
use eroam_domain::charge::Denial;
use eroam_domain::ids::{CheckDigit, ContractId, PartyId};
use eroam_domain::time::UnixMillis;
use eroam_ledger::query;
use eroam_ledger::state::{StateError, StateView};

/// Where a contract leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Route {
    /// To this organisation itself.
    Home(ContractId),
    /// To a member with an agreement in force.
    Partner {
        /// The contract.
        contract: ContractId,
        /// Its home utility.
        home: PartyId,
        /// The agreement.
        agreement: AgreementRef,
        /// Its terms.
        terms: Box<RoamingAgreement>,
    },
    /// Nowhere, with the reason.
    Refused(Denial),
}

/// A contract number as read: the contract, and whether its check digit was wrong (flagged, never dropped).
#[must_use]
pub fn read_contract(text: &str) -> Option<(ContractId, bool)> {
    let contract: ContractId = text.trim().parse().ok()?;
    let flagged = matches!(contract.check(), CheckDigit::Wrong { .. });
    Some((contract, flagged))
}

/// Finds the home utility of `contract` for the operator `own` at `at`. The answers differ: a number that is no
/// contract id, a provider that is no member, a member without an agreement. Whether the home utility knows the
/// contract is its own answer.
///
/// # Errors
/// [`StateError`] when the ledger's state cannot be read.
pub fn route(
    ledger: &dyn StateView,
    own: PartyId,
    contract: &str,
    at: UnixMillis,
) -> Result<Route, StateError> {
    let Some((contract, _)) = read_contract(contract) else { return Ok(Route::Refused(Denial::Malformed)) };
    let home = contract.party();
    if home == own {
        return Ok(Route::Home(contract));
    }
    if query::member(ledger, home)?.is_none() {
        return Ok(Route::Refused(Denial::ProviderNotMember));
    }
    Ok(match query::agreement_in_force(ledger, home, own, at)? {
        Some((agreement, terms)) => Route::Partner { contract, home, agreement, terms: Box::new(terms) },
        None => Route::Refused(Denial::NoAgreement),
    })
}
