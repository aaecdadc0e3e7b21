//! Vouchers of the organisation's own customers: what it promised to pay, whose each promise is, and how many it makes.
//!
//! Denomination and validity are the same for all customers, so that a voucher says nothing about its holder. The value
//! signed for a customer and UTC day is the daily limit: a credential's own limit cannot be enforced over sessions that
//! nobody can link.
//!
//! Source: paper B; DESIGN.md, "Who sees what" (plain vouchers).

use eroam_domain::cdr::SessionId;
use eroam_domain::charge::Denial;
use eroam_domain::ids::ContractId;
use eroam_domain::money::Money;
use eroam_domain::retail::Tier;
use eroam_domain::time::UnixMillis;
use eroam_domain::voucher::{Nullifier, OneTimeKey, SignedVoucher, VALIDITY_MAX};
use eroam_ledger::reject::RejectCode;
use serde::{Deserialize, Serialize};

/// So many days ahead vouchers may be withdrawn: a wallet does it at a random time, so that the withdrawal does not tell
/// when a charge is coming.
pub const DAYS_AHEAD_MAX: i64 = 7;
/// The most vouchers of one customer for one UTC day.
pub const PER_DAY_MAX: usize = 256;
/// The UTC day that stretches of validity are counted from: Sunday, 4 January 1970, so that vouchers of a week change on
/// Sundays.
const STRETCHES_FROM: i64 = 3;
/// Milliseconds of a UTC day.
const DAY_MS: i64 = 86_400_000;

/// How the organisation makes vouchers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoucherRules {
    /// The most that one pays, the same for everybody.
    pub cap: Money,
    /// For so many whole UTC days each is valid, from 1; these stretches follow each other, the same for everybody. What is left of one day's limit can be spent on the later ones:
    /// with 1, the daily limit is one of spending too.
    pub valid_days: u16,
    /// The most that the vouchers of a customer for one UTC day pay together, in millionths of the cap's currency, as
    /// the operators charge it (wholesale).
    pub daily_limit: i64,
}

impl VoucherRules {
    /// First and last instant of a voucher for the UTC day number `day` (days since 1970): those of the stretch of
    /// `valid_days` that the day is in, the same for everybody, and not from the day on. When a wallet withdrew would tell its
    /// vouchers from others'. `None` when it is longer than a voucher may be, or beyond what a time holds.
    #[must_use]
    pub fn validity(&self, day: i64) -> Option<(UnixMillis, UnixMillis)> {
        let into = day.checked_sub(STRETCHES_FROM)?.checked_rem_euclid(i64::from(self.valid_days))?;
        let day = day.checked_sub(into)?;
        let from = UnixMillis::new(day.checked_mul(DAY_MS)?)?;
        let end = day.checked_add(i64::from(self.valid_days))?.checked_mul(DAY_MS)?;
        let until = UnixMillis::new(end.checked_sub(1)?)?;
        let lasts = until.since(from)?;
        (!lasts.is_zero() && lasts <= VALIDITY_MAX).then_some((from, until))
    }
}

/// Where a voucher stands, as far as its home utility knows; the ledger decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VoucherStatus {
    /// A wallet has it.
    Issued,
    /// One of the organisation's own stations took it for this session, and the ledger blocks it for everybody else.
    Taken(SessionId),
    /// An operator had reserved it already when it was to be blocked.
    Reserved,
    /// Lost or stolen: the ledger was asked to block it.
    Blocking,
    /// It is blocked.
    Blocked,
    /// Nothing can come of it any more: the ledger was asked to take it back.
    Refunding,
    /// It is taken back.
    Refunded,
    /// It has paid for a session.
    Spent,
}

impl VoucherStatus {
    /// Whether it can still be taken back some day.
    #[must_use]
    pub const fn is_open(&self) -> bool {
        matches!(self, Self::Issued | Self::Reserved)
    }

    /// Whether the ledger's answer is awaited outside of a session.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        matches!(self, Self::Blocking | Self::Refunding)
    }

    /// What it becomes by the ledger's answer; `None` when nobody has looked at it, and it must be asked for again.
    #[must_use]
    pub fn after(&self, refused: Option<RejectCode>) -> Option<Self> {
        match (self, refused) {
            (Self::Blocking, None) | (_, Some(RejectCode::AlreadyBlocked)) => Some(Self::Blocked),
            (Self::Refunding, None) | (_, Some(RejectCode::AlreadyRefunded)) => Some(Self::Refunded),
            // Reserved at least; whether it is spent, its record says.
            (Self::Blocking | Self::Taken(_), Some(RejectCode::VoucherSpent)) => Some(Self::Reserved),
            (_, Some(RejectCode::VoucherSpent)) => Some(Self::Spent),
            // It was too early; it will be due again.
            (_, Some(RejectCode::VoucherNotRefundable)) => Some(Self::Issued),
            _ => None,
        }
    }
}

/// A voucher that the organisation signed, and whose it is. Personal data: it never leaves the organisation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IssuedVoucher {
    /// Whose.
    pub contract: ContractId,
    /// The UTC day (days since 1970) whose limit it counts towards.
    pub day: i64,
    /// The customer's tier when it was signed.
    pub tier: Tier,
    /// The voucher.
    pub voucher: SignedVoucher,
    /// Where it stands.
    pub status: VoucherStatus,
}

impl IssuedVoucher {
    /// What stands for it on the ledger.
    #[must_use]
    pub fn nullifier(&self) -> Nullifier {
        self.voucher.voucher.nullifier()
    }
}

/// Why a customer gets no vouchers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VoucherRefusal {
    /// The contract is not in force.
    #[error("{0}")]
    Contract(Denial),
    /// The organisation makes none.
    #[error("your provider issues no vouchers")]
    NoVouchers,
    /// None of the organisation's voucher keys on the ledger is valid as long as the vouchers would be.
    #[error("your provider's key for vouchers is not published for that day: try again later")]
    NoKey,
    /// Not a day from today on, or too far ahead.
    #[error("vouchers can be had for today and the {DAYS_AHEAD_MAX} days after it")]
    WrongDay,
    /// No keys, or too many.
    #[error("ask for 1 to {PER_DAY_MAX} vouchers at once")]
    Count,
    /// The key cannot sign, or was asked for twice.
    #[error("the one-time key {0} is unusable, or is there twice: your wallet has to make another")]
    BadKey(OneTimeKey),
    /// Somebody else's.
    #[error("the one-time key {0} was used before: your wallet has to make another")]
    UsedKey(OneTimeKey),
    /// Above the limit.
    #[error("your daily limit leaves you {left} vouchers for that day, and you asked for {wanted}")]
    DailyLimit {
        /// How many there could be.
        left: u64,
        /// How many were asked for.
        wanted: u64,
    },
}

/// What a driver is told when a voucher, or what was agreed to with it, does not hold.
#[must_use]
pub const fn denial_of(code: RejectCode) -> Denial {
    match code {
        RejectCode::ForgedVoucher
        | RejectCode::ForeignVoucher
        | RejectCode::WrongVoucherIssuer
        | RejectCode::WrongCurrency
        | RejectCode::NotPositive
        | RejectCode::BadVoucherValidity
        | RejectCode::UnknownVoucherKey
        | RejectCode::VoucherKeyNotValid => Denial::ForgedVoucher,
        RejectCode::VoucherKeyRevoked => Denial::VoucherWithdrawn,
        RejectCode::VoucherNotValid => Denial::VoucherNotValid,
        RejectCode::VoucherLimit => Denial::VoucherLimit,
        RejectCode::WrongOperator | RejectCode::ForgedAcceptance => Denial::ForgedAcceptance,
        RejectCode::VoucherSpent | RejectCode::AlreadyBlocked | RejectCode::AlreadyRefunded => {
            Denial::VoucherSpent
        }
        RejectCode::CreditExhausted => Denial::NoCredit,
        _ => Denial::LedgerRefused,
    }
}
