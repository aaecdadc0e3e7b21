//! OCPI charge detail records.
//!
//! A record of 2.1.1 has an `auth_id` in place of a token and a location in place of a place of charging; both are
//! normalised. Periods are put in time order. Which of the optional parts a use needs is the caller's decision; what
//! the specification requires and the record lacks is in [`Findings::missing`].
//!
//! What it deliberately does not do: verify signed meter values (they are read by another module), decide whether
//! the stated totals are right (that is [`eroam_domain::pricing`]'s work).
//!
//! Source: OCPI 2.2.1 mod_cdrs; 2.1.1 mod_cdrs and mod_locations.

mod read;
mod write;

pub use read::cdr_from_json;
pub use write::CdrObject;

use super::OcpiVersion;
use super::findings::Findings;
use eroam_domain::cdr::{CdrId, ChargingPeriod, SessionId};
use eroam_domain::ids::{ContractId, EvseId, PartyId};
use eroam_domain::money::Currency;
use eroam_domain::quantity::{DurationMs, WattHours};
use eroam_domain::tariff::{PriceBound, Tariff};
use eroam_domain::time::UnixMillis;
use std::fmt;

/// The greatest number of tariffs in a record.
pub const TARIFFS_MAX: usize = 32;

/// Names in OCPI, both ways.
macro_rules! named {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$doc])* $variant,)+ }

        impl $name {
            /// Its name in OCPI.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The one that OCPI names so.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(self.as_str())
            }
        }
    };
}

named! {
    /// What identified the driver.
    TokenKind {
        /// A one-use id of a driver without contract.
        AdHocUser = "AD_HOC_USER",
        /// An app.
        AppUser = "APP_USER",
        /// A contract id; OCPI 2.3.0 only, write [`TokenKind::Other`] to older peers.
        Emaid = "EMAID",
        /// Something else.
        Other = "OTHER",
        /// A card.
        Rfid = "RFID",
    }
}

named! {
    /// How the session was authorized.
    AuthMethod {
        /// By asking the home utility in real time.
        AuthRequest = "AUTH_REQUEST",
        /// By the home utility's own command.
        Command = "COMMAND",
        /// From the list of tokens at the operator.
        Whitelist = "WHITELIST",
    }
}

named! {
    /// What a vehicle is connected to.
    ConnectorFormat {
        /// The driver brings the cable.
        Socket = "SOCKET",
        /// The cable is fixed.
        Cable = "CABLE",
    }
}

named! {
    /// What flows.
    PowerType {
        /// One phase.
        Ac1Phase = "AC_1_PHASE",
        /// Two phases.
        Ac2Phase = "AC_2_PHASE",
        /// Two phases of a split-phase supply.
        Ac2PhaseSplit = "AC_2_PHASE_SPLIT",
        /// Three phases.
        Ac3Phase = "AC_3_PHASE",
        /// Direct current.
        Dc = "DC",
    }
}

/// Who charged, as the record says. It identifies a person: do not log it (`Debug` shows no identifier).
#[derive(Clone, PartialEq, Eq)]
pub struct StatedToken {
    /// The token's id; 2.1.1 has none.
    pub uid: Option<String>,
    /// What it is.
    pub kind: Option<TokenKind>,
    /// The contract; `auth_id` in 2.1.1.
    pub contract_id: Option<String>,
    /// The home utility, if the record names it.
    pub party: Option<PartyId>,
}

impl StatedToken {
    /// The contract, if it is one of a known form.
    #[must_use]
    pub fn contract(&self) -> Option<ContractId> {
        self.contract_id.as_deref()?.parse().ok()
    }

    /// The home utility: the one named, otherwise the contract's.
    #[must_use]
    pub fn home(&self) -> Option<PartyId> {
        self.party.or_else(|| Some(self.contract()?.party()))
    }
}

impl fmt::Debug for StatedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatedToken")
            .field("kind", &self.kind)
            .field("party", &self.party)
            .finish_non_exhaustive()
    }
}

/// Where it was, as the record says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StatedLocation {
    /// The operator's id of the location.
    pub id: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Street and number.
    pub address: Option<String>,
    /// Town.
    pub city: Option<String>,
    /// Postal code.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-3.
    pub country: Option<String>,
    /// Where it is.
    pub coordinates: Option<Coordinates>,
    /// The operator's technical id of the EVSE.
    pub evse_uid: Option<String>,
    /// The EVSE id as drivers know it, as written; parse it as an [`EvseId`].
    pub evse_id: Option<String>,
    /// The connector's id.
    pub connector_id: Option<String>,
    /// The connector's standard.
    pub connector_standard: Option<String>,
    /// The connector's format.
    pub connector_format: Option<ConnectorFormat>,
    /// The connector's power.
    pub power_type: Option<PowerType>,
    /// The time zone; only 2.1.1 says it.
    pub time_zone: Option<String>,
}

/// Decimal degrees, as text: nobody computes with them here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Coordinates {
    /// North positive.
    pub latitude: String,
    /// East positive.
    pub longitude: String,
}

/// The totals as the record states them. In a credit record `cost` is negative and the others are those of the
/// record that it cancels; do not add them up (mod_cdrs, Credit CDRs).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatedTotals {
    /// All of it.
    pub cost: PriceBound,
    /// All energy.
    pub energy: Option<WattHours>,
    /// From start to end.
    pub time: Option<DurationMs>,
    /// Connected without charging.
    pub parking_time: Option<DurationMs>,
    /// Flat fees.
    pub fixed_cost: Option<PriceBound>,
    /// For energy.
    pub energy_cost: Option<PriceBound>,
    /// For charging time.
    pub time_cost: Option<PriceBound>,
    /// For parking time.
    pub parking_cost: Option<PriceBound>,
    /// For a reservation.
    pub reservation_cost: Option<PriceBound>,
}

/// A charge detail record as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrDocument {
    /// The version whose shape it has.
    pub version: OcpiVersion,
    /// The operator, if the record names it.
    pub party: Option<PartyId>,
    /// The record's id.
    pub id: Option<CdrId>,
    /// The session's id.
    pub session_id: Option<SessionId>,
    /// When the session started. Some peers' first period starts earlier; the periods are what is priced.
    pub start: UnixMillis,
    /// When it ended.
    pub end: UnixMillis,
    /// Who charged.
    pub token: Option<StatedToken>,
    /// How it was authorized.
    pub auth_method: Option<AuthMethod>,
    /// The home utility's reference for the authorization.
    pub authorization_reference: Option<String>,
    /// Where it was.
    pub location: Option<StatedLocation>,
    /// The currency of all amounts.
    pub currency: Currency,
    /// The tariffs in the record.
    pub tariffs: Vec<Tariff>,
    /// The periods in time order.
    pub periods: Vec<ChargingPeriod>,
    /// For each period the id of the tariff that it names.
    pub period_tariffs: Vec<Option<String>>,
    /// The totals as stated.
    pub totals: StatedTotals,
    /// Whether it cancels another record.
    pub credit: bool,
    /// The record that it cancels.
    pub credit_reference_id: Option<CdrId>,
    /// A remark for people.
    pub remark: Option<String>,
    /// When its operator last changed it.
    pub last_updated: Option<UnixMillis>,
    /// What was odd.
    pub findings: Findings,
}

/// Who charged, for a record to be written. It identifies a person: do not log it (`Debug` shows no identifier).
#[derive(Clone, PartialEq, Eq)]
pub struct CdrToken {
    /// The token's id, 1 to 36 printable ASCII characters.
    pub uid: String,
    /// What it is. 2.2.1 does not know [`TokenKind::Emaid`], which is written as [`TokenKind::Other`].
    pub kind: TokenKind,
    /// The contract.
    pub contract: ContractId,
    /// The home utility.
    pub party: PartyId,
}

impl fmt::Debug for CdrToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CdrToken")
            .field("kind", &self.kind)
            .field("party", &self.party)
            .finish_non_exhaustive()
    }
}

/// Where it was, for a record to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CdrLocation {
    /// The operator's id of the location, at most 36 characters.
    pub id: String,
    /// Its name, at most 255 characters.
    pub name: Option<String>,
    /// Street and number, at most 45 characters.
    pub address: String,
    /// Town, at most 45 characters.
    pub city: String,
    /// Postal code, at most 10 characters.
    pub postal_code: Option<String>,
    /// ISO 3166-1 alpha-3, three capital letters.
    pub country: String,
    /// Where it is.
    pub coordinates: Coordinates,
    /// The operator's technical id of the EVSE, at most 36 characters.
    pub evse_uid: String,
    /// The EVSE id as drivers know it.
    pub evse_id: EvseId,
    /// The connector.
    pub connector: Connector,
}

/// What the vehicle was connected to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connector {
    /// Its id within the EVSE, at most 36 characters.
    pub id: String,
    /// Its standard as OCPI's ConnectorType names it, such as `IEC_62196_T2`.
    pub standard: String,
    /// Its format.
    pub format: ConnectorFormat,
    /// What flows.
    pub power_type: PowerType,
}

#[cfg(test)]
mod tests;
