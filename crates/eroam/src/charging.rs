//! A charge by wallet, as it happens between agents: a home utility, an operator, a station and a driver, each with keys
//! and a store of its own, over HTTP.
//!
//! ```text
//! driver ── enrol, contract, vouchers ──► provider          station ── register, credential ──► operator
//! driver ── scan, proof, voucher ───────► station ── quote, reserve, account ─────────────────► operator ──► ledger
//!                                                                    operator ── report ───────► provider ──► bill
//! ```
//! What is decided is decided in `eroam_gateway`, `eroam_wallet`, `eroam_station` and `eroam_ssi`; here are sockets,
//! clocks, threads and randomness.
//!
//! Source: paper B.

pub mod catalogue;
pub mod locations;
pub mod offices;
pub mod operator;
pub mod paper;
pub mod provider;
pub mod station;
pub mod wallet;
pub mod wallet_file;

pub mod issuer;
pub mod post;
pub mod prices;
pub mod proving;

use crate::agent::AgentError;
use crate::registry::PublishError;
use crate::tails_cache::TailsCacheError;
use catalogue::CatalogueError;
use eroam_domain::charge::Denial;
use eroam_domain::visit::Denied;
use eroam_ssi::anoncreds::{AnonCredsError, PresentError, VerifyError};
use eroam_ssi::protocol::{Abandonment, Illegal};
use eroam_ssi::sd_jwt::{IssueError, KeyError, SdJwtError, StatusListError};
use eroam_wallet::purse::{DepositError, PurseError};
use eroam_wallet::visit::VisitError;
use offices::OfficeError;
use wallet_file::WalletFileError;

/// Why an exchange between agents came to nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ChargingError {
    #[error("the other side cannot be talked to")]
    Agent(#[from] AgentError),
    #[error("the other side says what it must not")]
    Illegal(#[from] Illegal),
    #[error("a credential cannot be used")]
    AnonCreds(#[from] AnonCredsError),
    #[error("the ledger cannot be looked into")]
    Catalogue(#[from] CatalogueError),
    #[error("the organisation's gateway")]
    Office(#[from] OfficeError),
    #[error("nothing can be shown")]
    Present(#[from] PresentError),
    #[error("the proof does not hold")]
    Verify(#[from] VerifyError),
    #[error("the station does not prove that it is genuine: do not charge here")]
    Station(#[source] SdJwtError),
    #[error("the credential of a station cannot be issued")]
    IssueStation(#[from] IssueError),
    #[error("a key is refused")]
    Key(#[from] KeyError),
    #[error("a station's status list is refused")]
    StatusList(#[from] StatusListError),
    #[error("a station's credential is refused")]
    SdJwt(#[source] SdJwtError),
    #[error("a tails file")]
    Tails(#[from] TailsCacheError),
    #[error("nothing can be published")]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Visit(#[from] VisitError),
    #[error("the purse")]
    Purse(#[from] PurseError),
    #[error("a voucher is refused")]
    Deposit(#[from] DepositError),
    #[error(transparent)]
    File(#[from] WalletFileError),
    #[error("{}", .0.reason)]
    Denied(Denied),
    #[error("the other side ended it: {0:?}")]
    Abandoned(Abandonment),
    #[error("{what} is missing or is not what was agreed: {why}")]
    Unexpected {
        /// What.
        what: &'static str,
        /// Why.
        why: String,
    },
}

impl From<Denied> for ChargingError {
    fn from(denied: Denied) -> Self {
        Self::Denied(denied)
    }
}

impl From<Denial> for ChargingError {
    fn from(denial: Denial) -> Self {
        Self::Denied(denial.into())
    }
}

impl ChargingError {
    fn unexpected(what: &'static str, why: impl ToString) -> Self {
        Self::Unexpected { what, why: why.to_string() }
    }
}
