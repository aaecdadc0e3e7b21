//! The charge detail record: what was consumed, when, under which agreement and tariff, and at what price.
//!
//! A [`Cdr`] carries every input of its price, so that anybody who has the agreement and the tariff computes the
//! same amount. It carries no driver, no contract id and no plain EVSE id: the payer is a commitment and the place a
//! pseudonym that the operator chose (DESIGN.md, "Who sees what").
//!
//! Source: OCPI 2.2.1 mod_cdrs; Paper A, section 2.1.2 (subscription data and consumption data put together).

use crate::agreement::AgreementId;
use crate::codec::{Digest, ShortText};
use crate::ids::PartyId;
use crate::money::{Currency, Price};
use crate::quantity::{DurationMs, MilliAmperes, WattHours, Watts};
use crate::tariff::TariffId;
use crate::time::{LocalClock, UnixMillis};
use borsh::{BorshDeserialize, BorshSerialize};
use serde::{Deserialize, Serialize};

/// The greatest number of charging periods in a record.
pub const PERIODS_MAX: usize = 512;

/// OCPI CDR id: 39 characters, of which an original uses at most 36 so that a credit can add its suffix.
pub type CdrId = ShortText<39>;
/// The id of a session at its operator.
pub type SessionId = ShortText<36>;
/// A part of the grid for which load is attested; nothing finer than this reaches the ledger.
pub type GridZone = ShortText<16>;

/// The operator's pseudonym for an EVSE: stable, so that overlaps show, and meaningless to others.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct EvsePseudonym(pub [u8; 16]);

/// The lowest and highest value seen in a period.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct Range<T> {
    /// The lowest.
    pub min: T,
    /// The highest.
    pub max: T,
}

/// A stretch of a session during which no price component changes. It lasts until the next one starts, the last one
/// until the session ends.
///
/// Source: OCPI 2.2.1 mod_cdrs, ChargingPeriod and CdrDimensionType. A volume that OCPI leaves out is zero here.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
pub struct ChargingPeriod {
    /// When it starts.
    pub start: UnixMillis,
    /// ENERGY: what was delivered in it.
    pub energy: WattHours,
    /// TIME: how long the vehicle charged in it.
    pub charging: DurationMs,
    /// PARKING_TIME: how long it stood connected without charging.
    pub parking: DurationMs,
    /// RESERVATION_TIME: how long the EVSE was reserved.
    pub reservation: DurationMs,
    /// MIN_POWER and MAX_POWER, where measured.
    pub power: Option<Range<Watts>>,
    /// MIN_CURRENT and MAX_CURRENT, where measured.
    pub current: Option<Range<MilliAmperes>>,
}

/// Which version of which tariff of the operator.
#[derive(
    Clone,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct TariffRef {
    /// The operator's name for it.
    pub id: TariffId,
    /// Its version on the ledger, from 1.
    pub version: u32,
}

/// Which version of which agreement.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    BorshSerialize,
    BorshDeserialize,
    Serialize,
    Deserialize,
)]
pub struct AgreementRef {
    /// The agreement.
    pub id: AgreementId,
    /// Its version, from 1; an amendment makes a new one.
    pub version: u32,
}

/// Who pays the operator.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Payer {
    /// The home utility of a contract: SHA-256 over a salt and the contract id, which the two sides keep.
    Contract {
        /// The commitment.
        commitment: Digest,
    },
    /// The home utility that signed a one-use voucher.
    Voucher {
        /// Which one.
        nullifier: crate::voucher::Nullifier,
    },
}

/// The driver's acceptance of a quote, signed by the device that took it: the station's operator for a card or a
/// keypad, over [`crate::charge::acceptance_digest`]; the wallet's one-time key for a voucher, over
/// [`crate::voucher::VoucherAcceptance::digest`].
pub type AcceptanceSignature = crate::codec::SignatureBytes;

/// A charge detail record as it goes to the ledger.
#[derive(Clone, Debug, PartialEq, Eq, Hash, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
pub struct Cdr {
    /// The operator's id for the record.
    pub id: CdrId,
    /// The session it is about: SHA-256 of operator and session id, as in the credit reservation.
    pub session: Digest,
    /// The agreement it is charged under.
    pub agreement: AgreementRef,
    /// The tariff it is priced with.
    pub tariff: TariffRef,
    /// Where, as far as the ledger may know.
    pub evse: EvsePseudonym,
    /// The grid zone.
    pub zone: GridZone,
    /// When the driver accepted the quote.
    pub accepted_at: UnixMillis,
    /// When the session started.
    pub start: UnixMillis,
    /// When it ended.
    pub end: UnixMillis,
    /// The local clock at the station.
    pub clock: LocalClock,
    /// What was consumed, in time order.
    pub periods: Vec<ChargingPeriod>,
    /// The energy of all periods together.
    pub energy: WattHours,
    /// The forecast attestations that the price used, where it used any: [`crate::forecast::set_digest`].
    pub attestation: Option<Digest>,
    /// The wholesale price in the agreement's currency.
    pub price: Price,
    /// The currency of `price`.
    pub currency: Currency,
    /// SHA-256 of the quote that the driver accepted.
    pub quote: Digest,
    /// SHA-256 of the meter readings.
    pub readings: Digest,
    /// The signed acceptance.
    pub acceptance: AcceptanceSignature,
    /// Who pays.
    pub payer: Payer,
}

/// What contradicts itself in a record, in the order in which it is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say it")]
pub enum CdrFault {
    #[error("the session ends before it starts")]
    EndBeforeStart,
    #[error("the quote was accepted after the session started")]
    AcceptedAfterStart,
    #[error("it has no charging period, or more than {PERIODS_MAX}")]
    PeriodCount,
    #[error("period {0} does not start after the one before it, or lies outside the session")]
    PeriodOrder(u16),
    #[error("period {0}: charging, parking and reservation last longer than the period")]
    PeriodOverfull(u16),
    #[error("period {0} delivers energy in no time")]
    EnergyWithoutTime(u16),
    #[error("the energy of the periods does not add up to the energy of the record")]
    EnergySum,
}

impl Cdr {
    /// Looks for contradictions inside the record; whether the price is right is [`crate::pricing`]'s question.
    ///
    /// # Errors
    /// The first [`CdrFault`].
    pub fn check(&self) -> Result<(), CdrFault> {
        if self.end < self.start {
            return Err(CdrFault::EndBeforeStart);
        }
        if self.accepted_at > self.start {
            return Err(CdrFault::AcceptedAfterStart);
        }
        if self.periods.is_empty() || self.periods.len() > PERIODS_MAX {
            return Err(CdrFault::PeriodCount);
        }
        let ends = self.periods.iter().skip(1).map(|p| p.start).chain([self.end]);
        let mut previous = None;
        let mut energy = WattHours::ZERO;
        for ((period, end), index) in self.periods.iter().zip(ends).zip(0u16..) {
            let ordered = previous.is_none_or(|p| period.start > p) && period.start >= self.start;
            let span = end.since(period.start).filter(|_| ordered).ok_or(CdrFault::PeriodOrder(index))?;
            previous = Some(period.start);
            let used =
                period.charging.checked_add(period.parking).and_then(|d| d.checked_add(period.reservation));
            if used.is_none_or(|d| d > span) {
                return Err(CdrFault::PeriodOverfull(index));
            }
            if !period.energy.is_zero() && span.is_zero() {
                return Err(CdrFault::EnergyWithoutTime(index));
            }
            energy = energy.checked_add(period.energy).ok_or(CdrFault::EnergySum)?;
        }
        if energy == self.energy { Ok(()) } else { Err(CdrFault::EnergySum) }
    }

    /// How long the session lasted.
    #[must_use]
    pub fn duration(&self) -> DurationMs {
        self.end.since(self.start).unwrap_or(DurationMs::ZERO)
    }

    /// The digest that receipts, contests and duplicates refer to.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest::of_value("eroam/cdr/1", self)
    }
}

/// The ledger's and the operator's common name for a session.
#[must_use]
pub fn session_digest(operator: PartyId, session: &SessionId) -> Digest {
    Digest::of_value("eroam/session/1", &(operator, session))
}

/// Where a record stands.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CdrStatus {
    /// Booked; the debtor may contest it until `contest_until`.
    Provisional {
        /// The end of the contest window.
        contest_until: UnixMillis,
    },
    /// Contested; the resolver decides until `resolve_until`, after which the record stands.
    Contested {
        /// The end of the resolver's time.
        resolve_until: UnixMillis,
        /// SHA-256 of the evidence.
        evidence: Digest,
    },
    /// Beyond dispute.
    Final,
}

/// A later booking that changes what a record amounts to. Nothing is ever deleted.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Adjustment {
    /// The operator gives money back.
    Credit {
        /// How much, positive.
        micros: i64,
    },
    /// The actual load differed from the forecast beyond the agreed band; either sign.
    TrueUp {
        /// What the debtor pays in addition.
        micros: i64,
    },
    /// The resolver's decision.
    Resolution {
        /// How much is given back, positive or zero.
        micros: i64,
    },
}
