//! What is said around a charge by a driver who stays unknown: wallet to station, station to operator.
//!
//! ```text
//! wallet            station                       operator
//!    | VisitRequest    |                              |
//!    |---------------->| QuoteRequest                 |
//!    |                 |----------------------------->|  agreement, tariff, limits
//!    |   VisitQuote    |<------------------ Quote ----|
//!    |<----------------|                              |
//!    | proof, SpentVoucher                            |
//!    |---------------->| ReserveRequest               |
//!    |                 |----------------------------->|  voucher reserved on the ledger
//!    |   Started       |<----------------- Enabled ---|
//!    |<----------------|                              |
//!    |   Finished      | Accounting                   |
//!    |<----------------|----------------------------->|  record, ledger, report to the home utility
//! ```
//! The wallet's home utility is named, its contract never is.
//!
//! Source: paper B, figures 4, 16 and 28, and section 5.2.

use crate::cdr::SessionId;
use crate::charge::{AllowedZones, Denial, Quote};
use crate::codec::Digest;
use crate::ids::{CredentialDefinitionId, EvseId, PartyId, RevocationRegistryId};
use crate::quantity::{MilliAmperes, WattHours, Watts};
use crate::retail::Tier;
use crate::time::{LocalClock, TimeZoneName, UnixMillis};
use crate::voucher::SpentVoucher;
use serde::{Deserialize, Serialize};

/// Where a driver wants a charge to stop at the latest. What is not given has no limit but the contract's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChargeLimits {
    /// Energy.
    pub energy_max: Option<WattHours>,
    /// When the driver leaves.
    pub leaves_at: Option<UnixMillis>,
    /// What the operator may be paid, in millionths of the quote's currency.
    pub amount_max: Option<i64>,
    /// Current of each phase.
    pub current_max: Option<MilliAmperes>,
}

/// A driver asks a station to charge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitRequest {
    /// Whose customer the driver is going to prove to be.
    pub emsp: PartyId,
    /// Of which kind its contract's credential is.
    pub definition: CredentialDefinitionId,
    /// Where it would be revoked: the other contracts in it are the crowd that the driver hides in.
    pub registry: RevocationRegistryId,
    /// Where to stop.
    pub limits: ChargeLimits,
    /// [`crate::voucher::SignedVoucher::commitment`]: the proof will be bound to it.
    pub voucher: Digest,
}

/// The station's answer: a price, and what the proof's nonce is made of ([`crate::voucher::proof_nonce`]).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitQuote {
    /// The price.
    pub quote: Quote,
    /// The clock of the station, by which the tariff's times of day hold: the wallet makes the price again, from the ledger.
    pub clock: LocalClock,
    /// 256 random bits of the station's own.
    pub random: Digest,
}

/// Power is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Started {
    /// Since when.
    pub at: UnixMillis,
    /// It goes off at so much energy.
    pub energy_max: WattHours,
    /// It goes off at so much money, in millionths of the quote's currency.
    pub amount_max: i64,
}

/// How far a charge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// When.
    pub at: UnixMillis,
    /// Delivered so far.
    pub energy: WattHours,
    /// Flowing now.
    pub power: Watts,
}

/// Why a charge ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum EndReason {
    #[error("the energy that you asked for is in the car")]
    EnergyReached,
    #[error("the amount that you allowed is reached")]
    AmountReached,
    #[error("the time that you gave is over")]
    TimeOver,
    #[error("the car is full")]
    Full,
    #[error("the car was unplugged")]
    Unplugged,
    #[error("you stopped it")]
    StoppedByDriver,
    #[error("the station stopped it")]
    StoppedByStation,
    #[error("the station has a fault")]
    Fault,
    #[error("the power was cut")]
    PowerCut,
}

/// The end of a charge, as the station tells the driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Finished {
    /// Why.
    pub reason: EndReason,
    /// From when.
    pub start: UnixMillis,
    /// Until when.
    pub end: UnixMillis,
    /// Delivered.
    pub energy: WattHours,
    /// The meter's signed readings: lines of OCMF.
    pub readings: String,
}

/// A station asks its operator for a price.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QuoteRequest {
    /// The session, named by the station.
    pub session: SessionId,
    /// Where.
    pub evse: EvseId,
    /// Who is going to pay.
    pub emsp: PartyId,
    /// [`crate::voucher::SignedVoucher::commitment`] of the voucher that is going to be shown.
    pub voucher: Digest,
    /// Where to stop.
    pub limits: ChargeLimits,
    /// When.
    pub at: UnixMillis,
    /// The station's clock.
    pub clock: LocalClock,
}

/// What a driver showed of its contract, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShownContract {
    /// Whose customer.
    pub emsp: PartyId,
    /// The tier.
    pub tier: Tier,
    /// Where it is good.
    pub zones: AllowedZones,
}

/// A station whose driver accepted asks its operator to reserve the voucher.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReserveRequest {
    /// The session.
    pub session: SessionId,
    /// What the station verified.
    pub shown: ShownContract,
    /// The voucher, and what it was spent on.
    pub spent: SpentVoucher,
}

/// The voucher is reserved: the station may switch on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Enabled {
    /// Switch off at so much energy.
    pub energy_max: WattHours,
    /// Switch off at so much money, in millionths of the quote's currency.
    pub amount_max: i64,
    /// OCPP charging priority.
    pub priority: i8,
}

/// A station accounts for a charge: what the meter signed, and what proves that it was wanted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accounting {
    /// The session.
    pub session: SessionId,
    /// The station's clock.
    pub clock: LocalClock,
    /// The meter's signed readings: lines of OCMF.
    pub readings: String,
    /// [`VisitQuote::random`]: with the next, the quote and the voucher, what the proof's nonce is made of.
    pub random: Digest,
    /// The key with which the station spoke to the driver, as text.
    pub station_key: String,
    /// The proof request, as the driver was asked.
    pub proof_request: String,
    /// The presentation, as the driver showed it.
    pub presentation: String,
}

/// The denial with its sentence, as it is told to a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Denied {
    /// Why.
    pub denial: Denial,
    /// The same in words.
    pub reason: String,
}

impl From<Denial> for Denied {
    fn from(denial: Denial) -> Self {
        Self { denial, reason: denial.to_string() }
    }
}

/// What a station's credential says (paper B, figure 21): its operator vouches for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StationClaims {
    /// Who runs it.
    pub operator: PartyId,
    /// Its id.
    pub evse: EvseId,
    /// The grid zone.
    pub zone: crate::cdr::GridZone,
    /// The place in words.
    pub place: String,
    /// Its power.
    pub power: Watts,
    /// The meter's public key: a point of P-256, uncompressed, in hexadecimal.
    pub meter_key: String,
    /// Whether the meter is certified for billing.
    pub meter_certified: bool,
    /// Whose local time its clock shows, by which a tariff's times of day hold. `None` in a credential that says nothing of
    /// it: paper B's has no such attribute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<TimeZoneName>,
}
