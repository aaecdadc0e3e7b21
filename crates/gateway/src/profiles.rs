//! Consumer profiles: permanent ones of the organisation's own customers (HCPD), temporary ones of visitors (VCPD).
//!
//! Source: Paper A, section 2.1.5. A visitor's profile is fetched from home, has an expiry, is deleted after it, and
//! is recalled when the driver shows up at another operator.

use crate::authenticate::{CardDigest, PinVerifier};
use eroam_domain::charge::{AllowedZones, AuthorizationRef, ServiceDescription};
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, PartyId};
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::{PaymentOption, Tier};
use eroam_domain::time::UnixMillis;
use serde::{Deserialize, Serialize};

/// Whether a contract may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ContractState {
    /// Yes.
    Active,
    /// Not at the moment.
    Suspended,
    /// Not any more.
    Ended,
}

/// What a contract includes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServicePortfolio {
    /// Charging at other operators.
    pub roaming: bool,
    /// Where.
    pub zones: AllowedZones,
    /// OCPP charging priority on top of the tier's, -9 to 9.
    pub priority: i8,
    /// The most energy of one session.
    pub energy_max: WattHours,
    /// The most that one session may cost the driver, in millionths with VAT.
    pub amount_max: i64,
}

/// A customer's contract (HCPD). Personal data: it never leaves the organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HomeProfile {
    /// The contract.
    pub contract: ContractId,
    /// Whether it may be used.
    pub state: ContractState,
    /// From when.
    pub valid_from: UnixMillis,
    /// Until when; `None` means until further notice.
    pub valid_until: Option<UnixMillis>,
    /// The customer's tier.
    pub tier: Tier,
    /// How the customer pays.
    pub payment: PaymentOption,
    /// What the contract includes.
    pub portfolio: ServicePortfolio,
    /// The cards that were issued for it.
    pub cards: Vec<CardDigest>,
    /// The PIN, if one was set.
    pub pin: Option<PinVerifier>,
    /// Wrong PINs since the last right one.
    pub wrong_pins: u8,
    /// The operator that keeps a copy of the service description, until it is recalled.
    pub visiting: Option<PartyId>,
}

/// A visitor (VCPD).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VisitorProfile {
    /// Whose.
    pub contract: ContractId,
    /// The home utility's authorization.
    pub authorization: AuthorizationRef,
    /// How to serve.
    pub service: ServiceDescription,
    /// A salted digest of the credential that the home utility accepted: the same one is accepted again, any other
    /// is asked about at home.
    pub credential: Digest,
    /// Deleted from here on.
    pub expires_at: UnixMillis,
}
