//! The messages of a charge: what a station asks, what a home utility answers, what a driver is quoted and accepts,
//! and what the operator reports afterwards.
//!
//! Source: Paper A, sections 2.1.3 (AAA), 2.2.2 (estimate before the charge), 3.1 ("Authorization" and "Service
//! description" are sent to the visited utility).

use crate::cdr::{AgreementRef, Cdr, CdrId, GridZone, SessionId, TariffRef};
use crate::codec::{Digest, HexBytes, ShortText};
use crate::ids::{ContractId, EvseId, PartyId};
use crate::money::{Currency, Price};
use crate::quantity::WattHours;
use crate::retail::{PaymentOption, RetailRules, Tier};
use crate::time::{LocalClock, UnixMillis};
use crate::voucher::SpentVoucher;
use borsh::BorshSerialize;
use serde::{Deserialize, Serialize};

/// The home utility's name for an authorization; it comes back in the report (OCPI `authorization_reference`).
pub type AuthorizationRef = ShortText<36>;

/// What a driver shows besides the contract id. It is a secret: it is never logged and never printed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PresentedCredential {
    /// The uid that a reader read from a card.
    CardUid(String),
    /// A PIN typed on the station's keypad.
    Pin(String),
    /// Nothing: the contract id was typed. Never sufficient.
    None,
}

impl std::fmt::Debug for PresentedCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::CardUid(_) => "CardUid(..)",
            Self::Pin(_) => "Pin(..)",
            Self::None => "None",
        })
    }
}

/// Where a contract may be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AllowedZones {
    /// Everywhere.
    All,
    /// In these grid zones only.
    Only(Vec<GridZone>),
}

impl AllowedZones {
    /// Whether `zone` is among them.
    #[must_use]
    pub fn allow(&self, zone: &GridZone) -> bool {
        match self {
            Self::All => true,
            Self::Only(zones) => zones.contains(zone),
        }
    }
}

/// What the home utility tells a visited operator about a customer: enough to serve and to quote, nothing more.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServiceDescription {
    /// The tier earned at home, which is honoured abroad.
    pub tier: Tier,
    /// How the driver pays the home utility.
    pub payment: PaymentOption,
    /// OCPP charging priority, -9 to 9; higher is served first.
    pub priority: i8,
    /// Where the contract may be used.
    pub zones: AllowedZones,
    /// The most energy of one session.
    pub energy_max: WattHours,
    /// The most that one session may cost the driver, in millionths with VAT.
    pub amount_max: i64,
    /// The version of `retail`; the authorization reference remembers it, so that the driver is billed what was quoted.
    pub retail_version: u32,
    /// The rules that make the driver's price.
    pub retail: RetailRules,
    /// The operator forgets the customer from here on.
    pub valid_until: UnixMillis,
}

/// Why a driver is not served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum Denial {
    #[error("this is no contract number, check it on your card")]
    Malformed,
    #[error("your provider does not take part in this network")]
    ProviderNotMember,
    #[error("your provider has no agreement with this operator")]
    NoAgreement,
    #[error("your provider does not know this contract")]
    UnknownContract,
    #[error("a typed contract number is not enough: hold your card to the reader or enter your PIN")]
    CredentialNeeded,
    #[error("the card or the PIN does not belong to this contract")]
    WrongCredential,
    #[error("too many wrong PINs: the PIN is locked, use your card or call your provider")]
    PinLocked,
    #[error("your contract is suspended, call your provider")]
    Suspended,
    #[error("your contract has ended")]
    Ended,
    #[error("your contract has not started yet")]
    NotYetValid,
    #[error("your contract does not include charging at other operators")]
    NoRoaming,
    #[error("your contract does not include this area")]
    ZoneNotAllowed,
    #[error("this operator does not serve your provider's customers at the moment")]
    PartnerSuspended,
    #[error("your provider cannot be reached, try again later")]
    HomeUnreachable,
    #[error("the expected cost is above the limit of your contract")]
    AmountLimit,
    #[error("the amount that you allow does not pay for the beginning of a charge: allow more")]
    LimitTooLow,
    #[error("your daily limit is used up: charge again tomorrow, or call your provider")]
    DailyLimit,
    #[error("the price of this session cannot be computed, so it cannot be offered")]
    NoPrice,
    #[error("your provider's credit with this operator is used up")]
    NoCredit,
    #[error("the operator's connection to the ledger refused the session")]
    LedgerRefused,
    #[error("the station is not known to its operator")]
    UnknownStation,
    #[error("somebody else is charging here: wait until that is over, or take another station")]
    StationBusy,
    #[error("the station has a fault: take another one")]
    StationFault,
    #[error("the station's meter signed no readings that hold: nothing can be billed for this charge")]
    ReadingsRefused,
    #[error("the proof of your contract does not hold: update your wallet, or call your provider")]
    ProofRejected,
    #[error(
        "the proof is of another provider's contract than the one that was named: let your wallet choose again"
    )]
    OtherProvider,
    #[error("your wallet's proof is older than your provider's newest list: let it prove again")]
    StaleProof,
    #[error("the voucher is none of your provider's, or was changed: renew your vouchers")]
    ForgedVoucher,
    #[error("the voucher is not valid at this time: renew your vouchers")]
    VoucherNotValid,
    #[error("the voucher was used before or is blocked: your wallet has to take another")]
    VoucherSpent,
    #[error("the limit is above what the voucher pays: charge less, or use a larger voucher")]
    VoucherLimit,
    #[error("the acceptance is not signed for this session")]
    ForgedAcceptance,
    #[error("you declined the quote")]
    QuoteRefused,
    #[error("the quote was not accepted in time")]
    QuoteExpired,
    #[error("your provider has withdrawn the voucher with others: renew your vouchers")]
    VoucherWithdrawn,
}

/// A driver at a station asks to charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChargeRequest {
    /// The operator's id for the session.
    pub session: SessionId,
    /// Where.
    pub evse: EvseId,
    /// The contract number as read or typed, unchecked.
    pub contract: String,
    /// What was shown with it.
    pub credential: PresentedCredential,
    /// What the driver wants to charge, if known.
    pub energy_wanted: Option<WattHours>,
    /// When the driver wants to leave, if known.
    pub leaves_at: Option<UnixMillis>,
    /// When.
    pub at: UnixMillis,
    /// The station's clock.
    pub clock: LocalClock,
}

/// The visited operator asks the home utility.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuthorizeRequest {
    /// The operator's session.
    pub session: SessionId,
    /// The contract.
    pub contract: ContractId,
    /// What was shown.
    pub credential: PresentedCredential,
    /// The grid zone of the station.
    pub zone: GridZone,
    /// When.
    pub at: UnixMillis,
}

/// The home utility's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Authorization {
    /// The customer may charge.
    Granted {
        /// To be quoted in the report.
        reference: AuthorizationRef,
        /// How to serve.
        service: Box<ServiceDescription>,
    },
    /// The customer may not.
    Denied(Denial),
}

/// An offer to a driver: what it will cost, and why. Valid until `expires_at`.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, Serialize, Deserialize)]
pub struct Quote {
    /// The session.
    pub session: SessionId,
    /// The operator.
    pub operator: PartyId,
    /// The agreement, `None` at the home utility's own station.
    pub agreement: Option<AgreementRef>,
    /// The tariff.
    pub tariff: TariffRef,
    /// The energy that was assumed.
    pub energy: WattHours,
    /// The end that was assumed.
    pub until: UnixMillis,
    /// The currency of both prices.
    pub currency: Currency,
    /// The estimated wholesale price.
    pub wholesale: Price,
    /// The estimated price for the driver by the home utility's rules. `None` for a driver whom the operator does not
    /// know: the wallet has the rules, and makes it.
    pub retail: Option<Price>,
    /// The forecast attestations that the wholesale price follows: [`crate::forecast::set_digest`]. `None` for a price
    /// by the static rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forecast: Option<Digest>,
    /// When it was made.
    pub made_at: UnixMillis,
    /// The last instant at which it can be accepted.
    pub expires_at: UnixMillis,
}

impl Quote {
    /// What the acceptance is signed over and the record refers to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("eroam/quote/2", self)
    }
}

/// What an acceptance signs: the quote and the time.
#[must_use]
pub fn acceptance_digest(quote: Digest, accepted_at: UnixMillis) -> Digest {
    Digest::of_value("eroam/acceptance/1", &(quote, accepted_at))
}

/// SHA-256 over a salt and the contract: what stands on the ledger in place of the customer. Without the salt,
/// which the two sides keep off the ledger, it says nothing; erasing the salt erases the link.
#[must_use]
pub fn payer_commitment(salt: &Digest, contract: &ContractId) -> Digest {
    Digest::of_value("eroam/payer/1", &(salt, contract))
}

/// Whose session an operator reports, as far as it knows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReportedCustomer {
    /// The holder of a contract.
    Contract {
        /// The home utility's authorization.
        authorization: AuthorizationRef,
        /// The customer.
        contract: ContractId,
        /// The salt of the record's payer commitment.
        salt: Digest,
    },
    /// Whoever holds a voucher's one-time key; only the home utility knows whom it gave the voucher to.
    Voucher {
        /// The voucher, and what its holder agreed to.
        spent: Box<SpentVoucher>,
        /// The quote that was accepted.
        quote: Box<Quote>,
        /// The tier that the driver proved.
        tier: Tier,
    },
}

/// The operator's report of a finished session to the home utility: the record, and what the ledger must not see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionReport {
    /// The operator's session.
    pub session: SessionId,
    /// Whose.
    pub customer: ReportedCustomer,
    /// The real EVSE.
    pub evse: EvseId,
    /// A name of the place that a bill can show.
    pub place: String,
    /// The record as it is on the ledger.
    pub cdr: Cdr,
}

/// A message from one organisation to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PartnerMessage {
    /// Operator to home utility.
    Authorize(AuthorizeRequest),
    /// Home utility to operator.
    Authorized {
        /// The operator's session.
        session: SessionId,
        /// The answer.
        authorization: Authorization,
    },
    /// Home utility to operator: the driver has shown up elsewhere, forget the cached profile.
    Recall {
        /// Whose.
        contract: ContractId,
    },
    /// Operator to home utility: finished sessions.
    Reports(Vec<SessionReport>),
    /// Home utility to operator: these reports have arrived and need not be sent again.
    ReportsReceived(Vec<SessionId>),
    /// Home utility to operator: what a contest of one of its records rests on. Its digest is on the ledger.
    Evidence {
        /// The record.
        cdr: CdrId,
        /// The evidence, as hexadecimal digits.
        evidence: HexBytes,
    },
    /// Operator to home utility: the evidence of a contest is wanted, again perhaps.
    EvidenceWanted {
        /// The record.
        cdr: CdrId,
    },
    /// Home utility to the agreement's resolver: what its contest rests on, as it goes to the operator.
    ContestEvidence {
        /// Whose record it is.
        operator: PartyId,
        /// The record.
        cdr: CdrId,
        /// The evidence, as hexadecimal digits.
        evidence: HexBytes,
    },
    /// Operator to home utility and resolver: what one of its contested records rests on. The record on the ledger has the
    /// digests of what is in it.
    ChargeEvidence {
        /// The record.
        cdr: CdrId,
        /// The evidence, as hexadecimal digits.
        evidence: HexBytes,
    },
    /// Home utility or resolver to operator: that evidence is kept and need not be sent again.
    ChargeEvidenceKept {
        /// The record.
        cdr: CdrId,
    },
}
