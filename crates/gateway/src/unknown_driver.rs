//! What an operator knows of a driver whom it does not know: what the station asks for, and what a zero-knowledge
//! proof has shown.
//!
//! Source: paper B; DESIGN.md, "Who sees what".

use eroam_domain::cdr::SessionId;
use eroam_domain::charge::AllowedZones;
use eroam_domain::codec::Digest;
use eroam_domain::ids::{EvseId, PartyId};
use eroam_domain::quantity::WattHours;
use eroam_domain::retail::Tier;
use eroam_domain::time::{LocalClock, UnixMillis};

/// A driver at a station asks to charge, and names nobody but the home utility.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownDriverRequest {
    /// The operator's id for the session.
    pub session: SessionId,
    /// Where.
    pub evse: EvseId,
    /// Who is going to pay.
    pub emsp: PartyId,
    /// [`eroam_domain::voucher::SignedVoucher::commitment`] of the voucher that is going to be shown.
    pub voucher: Digest,
    /// What the driver wants to charge, if known.
    pub energy_wanted: Option<WattHours>,
    /// The most that the driver lets it be, if there is such a limit.
    pub energy_max: Option<WattHours>,
    /// When the driver wants to leave, if known.
    pub leaves_at: Option<UnixMillis>,
    /// When.
    pub at: UnixMillis,
    /// The station's clock.
    pub clock: LocalClock,
}

/// A contract that a driver has proved in zero knowledge to have: who its home utility is, and what the operator needs
/// to serve it. Whose it is, is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProvenContract {
    emsp: PartyId,
    tier: Tier,
    zones: AllowedZones,
}

impl ProvenContract {
    /// The values that a presentation revealed. Only a verifier calls this, after the presentation was found to be true,
    /// signed by an issuer of `emsp` in force, not revoked by its newest list, and bound to the session, the quote and
    /// the voucher by its nonce ([`eroam_domain::voucher::proof_nonce`]): the gateway looks at none of that again.
    #[must_use]
    pub const fn after_verification(emsp: PartyId, tier: Tier, zones: AllowedZones) -> Self {
        Self { emsp, tier, zones }
    }

    /// The home utility.
    #[must_use]
    pub const fn emsp(&self) -> PartyId {
        self.emsp
    }

    /// The tier.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.tier
    }

    /// Where the contract may be used.
    #[must_use]
    pub const fn zones(&self) -> &AllowedZones {
        &self.zones
    }
}
