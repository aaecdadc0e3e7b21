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

pub mod address;
pub mod attached;
pub mod catalogue;
pub mod code;
pub mod contest_desk;
pub mod customers;
pub mod dispute;
pub mod driver_price;
pub mod evidence;
pub mod hardware_post;
pub mod listed_tariff;
mod listener;
pub mod local_time;
pub mod locations;
pub mod offices;
pub mod operator;
pub mod paper;
pub mod provider;
pub mod station;
pub(crate) mod station_credentials;
pub mod wallet;
pub mod wallet_file;

pub mod issuer;
mod mandate;
pub mod post;
pub mod prices;
pub mod proving;
pub mod registration;
pub mod repair;
pub mod staleness;
pub mod state;
pub mod stations;
mod taking;
mod under_way;
mod validity;
pub mod waiting;

use crate::agent::AgentError;
use crate::registry::PublishError;
use crate::tails_cache::TailsCacheError;
use attached::AttachedError;
use catalogue::CatalogueError;
use eroam_domain::cdr::GridZone;
use eroam_domain::charge::Denial;
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::Money;
use eroam_domain::time::CivilDate;
use eroam_domain::time::TimeZoneName;
use eroam_domain::visit::Denied;
use eroam_ssi::anoncreds::{AnonCredsError, PresentError, VerifyError};
use eroam_ssi::protocol::{Abandonment, Illegal, problem_report};
use eroam_ssi::sd_jwt::{IssueError, KeyError, SdJwtError, StatusListError};
use eroam_wallet::purse::{DepositError, PurseError};
use eroam_wallet::visit::VisitError;
use local_time::UnknownTimeZone;
use offices::OfficeError;
use registration::Rejected;
use state::StateError;
use wallet_file::WalletFileError;

/// Why an exchange between agents came to nothing.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum ChargingError {
    #[error("the other side cannot be talked to: check your network, or try again later")]
    Agent(#[from] AgentError),
    #[error("the other side does not keep to the rules of the exchange: one of you may need a newer program")]
    Illegal(#[from] Illegal),
    #[error("a credential cannot be used: ask whoever issued it for another one")]
    AnonCreds(#[from] AnonCredsError),
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    #[error("the organisation's gateway")]
    Office(#[from] OfficeError),
    #[error("your contract cannot be proved here: call your provider, or charge with another contract")]
    Present(#[from] PresentError),
    #[error("your provider has revoked this contract: call it, or charge with another one")]
    ContractRevoked,
    #[error(
        "your contract {contract} ended with {last}: enrol again with your provider, or charge with another contract"
    )]
    ContractOver { contract: ContractId, last: CivilDate },
    #[error("what was to be proved is not proved: do not go on")]
    Verify(#[from] VerifyError),
    #[error("this is no code of a charging station: scan the one on the post")]
    NoCode(#[source] Illegal),
    #[error("the station does not take this code, it may have expired: look for a newer one on the post")]
    CodeRefused(#[source] AgentError),
    #[error("the station cannot be reached: take another one, or try again later")]
    StationAway(#[source] AgentError),
    #[error("the station does not answer any more: take another one, or try again later")]
    StationSilent(#[source] AgentError),
    #[error(
        "the station has your voucher and does not answer: `eroam wallet charge --resume` asks it again; what it delivers, it \
         stops at the limits that you agreed to"
    )]
    StationLost(#[source] AgentError),
    #[error("the provider at {url} cannot be reached: check your network, or try again later")]
    ProviderAway {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error("{0}")]
    Registration(Rejected),
    #[error(transparent)]
    Attached(#[from] AttachedError),
    #[error(
        "the provider at {url} answers a registration with HTTP status {status}: see that this is its address, or try again \
         later"
    )]
    NoRegistration { url: String, status: u16 },
    #[error(
        "the resolver at {url} proves nothing by the genesis of your wallet's network: it is another network's, or away"
    )]
    OtherResolver {
        url: String,
        #[source]
        source: eroam_ledger::state::StateError,
    },
    #[error(
        "the operator at {url} cannot be reached: check its address and your network, or try again later"
    )]
    OperatorAway {
        url: String,
        #[source]
        source: ureq::Error,
    },
    #[error("the station does not prove that it is genuine: do not charge here")]
    Station(#[source] SdJwtError),
    #[error("the operator has revoked this station: do not charge here")]
    StationRevoked(#[source] SdJwtError),
    #[error("the operator has revoked this station: do not charge here")]
    StationRevokedByLedger,
    #[error("the credential that the station shows does not count now, by the ledger: do not charge here")]
    StationOver,
    #[error("the station's clock and yours are too far apart: one of them is wrong, take another station")]
    Clocks,
    #[error(
        "the station's clock shows {found}, and in its time zone {zone} it is {expected}: do not charge here"
    )]
    OtherLocalTime { zone: TimeZoneName, expected: String, found: String },
    #[error(transparent)]
    TimeZone(#[from] UnknownTimeZone),
    #[error(
        "the list of revoked stations cannot be fetched from {url}, so nobody can say whether this station was revoked: take \
         another one, or try again later"
    )]
    StationListAway {
        url: String,
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    #[error(
        "the list of revoked stations at {url} is too old, so nobody can say whether this station was revoked: take another \
         one, or try again later"
    )]
    StationListOld {
        url: String,
        #[source]
        source: StatusListError,
    },
    #[error("the list of revoked stations at {url} is not genuine: do not charge here")]
    StationListForged {
        url: String,
        #[source]
        source: StatusListError,
    },
    #[error("no operator of this network vouches for the station: do not charge here")]
    ForeignStation(#[source] CatalogueError),
    #[error(
        "your contract {contract} is good in {zones}, and this station is in {zone}: charge elsewhere, or with another contract"
    )]
    OtherZone { contract: ContractId, zones: String, zone: GridZone },
    #[error(
        "the provider {emsp} of your contract {contract} has no agreement with {operator}, whose station this is: charge \
         elsewhere, or with another contract"
    )]
    NoAgreement { contract: ContractId, emsp: PartyId, operator: PartyId },
    #[error(
        "{least} is due for the beginning of a charge alone, and you allow {limit}: allow more, or charge elsewhere"
    )]
    LimitTooLow { least: Money, limit: Money },
    #[error("no station {0} is entered: enter it in the operator's configuration first")]
    NotEntered(EvseId),
    #[error(
        "station {0} has registered and has its key: it needs no other invitation, and nobody else is given its place"
    )]
    RegisteredBefore(EvseId),
    #[error(
        "others know it at {before}, which is in what they keep, and it is configured for {now}: configure {before} again"
    )]
    Moved { before: String, now: String },
    #[error("the driver went away")]
    DriverLeft,
    #[error(
        "the station knows nothing of this charge: it has not begun or ended long ago; what it cost is on your bill, and \
         `eroam wallet receipts --proof` says what the ledger has of it"
    )]
    NotUnderWay,
    #[error("no charge in your wallet waits for its end")]
    NothingToResume,
    #[error("the credential of a station cannot be issued")]
    IssueStation(#[from] IssueError),
    #[error("a key is refused")]
    Key(#[from] KeyError),
    #[error("a station's status list is refused")]
    StatusList(#[from] StatusListError),
    #[error("a station's credential is refused")]
    SdJwt(#[source] SdJwtError),
    #[error("what a proof is made with cannot be fetched from your provider: try again later")]
    Tails(#[from] TailsCacheError),
    #[error("nothing can be published")]
    Publish(#[from] PublishError),
    #[error(transparent)]
    Visit(#[from] VisitError),
    #[error("your vouchers cannot be used: withdraw others with `eroam wallet vouchers --withdraw`")]
    Purse(#[from] PurseError),
    #[error("your provider gave a voucher that is not good: withdraw others, or call it")]
    Deposit(#[from] DepositError),
    #[error(transparent)]
    File(#[from] WalletFileError),
    #[error("what the agent keeps")]
    State(#[from] StateError),
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
    /// Why a station's credential is not believed.
    fn of_station(error: SdJwtError) -> Self {
        match error {
            SdJwtError::Revoked { .. } => Self::StationRevoked(error),
            SdJwtError::BoundInFuture { .. } | SdJwtError::BoundLongAgo { .. } => Self::Clocks,
            error => Self::Station(error),
        }
    }

    /// Why the list of revoked stations at `url` is of no use.
    fn of_station_list(url: &str, source: StatusListError) -> Self {
        let url = url.to_owned();
        match source {
            StatusListError::Old { .. } | StatusListError::Expired { .. } => {
                Self::StationListOld { url, source }
            }
            StatusListError::IssuedInFuture { .. } => Self::Clocks,
            source => Self::StationListForged { url, source },
        }
    }

    /// Why a station does not show its credential.
    fn of_station_silence(self) -> Self {
        match self {
            // To a station whose clock is ahead, what was just asked is over.
            Self::Abandoned(Abandonment::Reported(report)) if report.code == problem_report::EXPIRED => {
                Self::Clocks
            }
            error => error,
        }
    }

    /// Why nothing comes of asking the provider at `url`: silence is that of its address.
    fn of_provider(self, url: &str) -> Self {
        match self {
            Self::Agent(error @ (AgentError::Silence { .. } | AgentError::Unreachable { .. })) => {
                Self::ProviderAway { url: url.to_owned(), source: error.into() }
            }
            error => error,
        }
    }

    /// Why a station that has shown itself says nothing more; `lost` makes it of the silence.
    fn of_silence(self, lost: fn(AgentError) -> Self) -> Self {
        match self {
            Self::Agent(error @ (AgentError::Silence { .. } | AgentError::Unreachable { .. })) => lost(error),
            error => error,
        }
    }

    /// Why a station that was scanned cannot be talked to.
    fn of_scan(error: AgentError) -> Self {
        match error {
            AgentError::Illegal(illegal @ (Illegal::Did(_) | Illegal::NoService(_))) => Self::NoCode(illegal),
            error @ (AgentError::Abandoned(_) | AgentError::Illegal(_)) => Self::CodeRefused(error),
            error => Self::StationAway(error),
        }
    }

    pub(crate) fn unexpected(what: &'static str, why: impl ToString) -> Self {
        Self::Unexpected { what, why: why.to_string() }
    }
}
