//! Why the consortium refuses something. The codes are part of consensus: they are hashed into the block.

use crate::tree;
use crate::tx::BATCH_MAX;
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::codec::Digest;
use eroam_domain::money::Price;
use serde::Serialize;

/// A refusal. A refused item changes nothing; the envelope's sequence is consumed unless the refusal is one of the
/// first group.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the messages say it")]
pub enum RejectCode {
    // The envelope is not a member's: nothing is consumed.
    #[error("the envelope's version is not 1: upgrade the sender")]
    WrongVersion,
    #[error("the envelope is for another network")]
    WrongNetwork,
    #[error("the sender is no member")]
    UnknownMember,
    #[error("the sender has no key with this number")]
    UnknownKey,
    #[error("the key was replaced by a newer one")]
    RotatedKey,
    #[error("the signature is not the member's")]
    BadSignature,
    #[error("the lane number is too high")]
    UnknownLane,
    #[error("the sequence was used already: this envelope, or another in its place, was included before")]
    SequenceUsed,
    #[error("a lower sequence of the lane has not arrived yet")]
    SequenceGap,
    // The envelope is the member's: its sequence is consumed.
    #[error("the envelope has expired")]
    Expired,
    #[error("the batch is empty or has more than 256 items")]
    BatchSize,
    #[error("the member's role does not allow this")]
    WrongRole,
    #[error("a member named in it is not one")]
    UnknownParty,
    // Membership.
    #[error("the proof that the new key is in the sender's hands is wrong")]
    BadKeyProof,
    #[error("the member has used this key before")]
    KeyReused,
    #[error("the member has replaced its key too often")]
    TooManyKeys,
    // Agreements.
    #[error("the terms contradict themselves: the {0}th check of RoamingAgreement::check failed")]
    BadTerms(u8),
    #[error("the sender is neither side of the agreement")]
    NotASide,
    #[error("the two already have an agreement in this direction at that time: amend or terminate it")]
    AgreementExists,
    #[error("no such agreement")]
    UnknownAgreement,
    #[error("the agreement awaits the other side's acceptance")]
    AgreementNotAccepted,
    #[error("there is nothing to accept in this version")]
    NothingToAccept,
    #[error("a side cannot accept its own proposal")]
    OwnProposal,
    #[error("the accepted terms are not the proposed ones")]
    TermsDiffer,
    #[error("the agreement is terminated")]
    AgreementTerminated,
    #[error("the time lies in the past")]
    InThePast,
    #[error("an amendment cannot change the sides, the currency or the settlement period")]
    ImmutableTerms,
    #[error("the agreement was not in force, or in another version, when the quote was accepted")]
    WrongAgreementVersion,
    // Tariffs.
    #[error("the tariff is not the sender's")]
    NotOwnTariff,
    #[error("the version is not the next one of the tariff")]
    WrongTariffVersion,
    #[error("no such tariff of the operator in this version")]
    UnknownTariff,
    #[error("the tariff was published after the quote was accepted, so the driver cannot have seen it")]
    TariffNotPublished,
    // Records.
    #[error("the record contradicts itself: the {0}th check of Cdr::check failed")]
    MalformedRecord(u8),
    #[error("the record has been booked already")]
    DuplicateRecord,
    #[error("another record with this id has been booked")]
    ConflictingRecord,
    #[error("the session is not the one that the record's id names")]
    WrongSession,
    #[error("the record is not in the agreement's currency")]
    WrongCurrency,
    #[error("the voucher is not reserved for this session under this agreement, so nobody promised to pay")]
    UnknownVoucher,
    #[error("the price follows no forecast there, but the record names one")]
    UnexpectedAttestation,
    #[error("the session ended in the future")]
    FromTheFuture,
    #[error("the session ended longer ago than the agreement allows")]
    TooLate,
    #[error("the quote was accepted more than a day before the session")]
    StaleAcceptance,
    #[error("more energy than the agreement allows for one session")]
    EnergyLimit,
    #[error("longer than the agreement allows for one session")]
    DurationLimit,
    #[error("more power than the agreement allows")]
    PowerLimit,
    #[error("more money than the agreement allows for one session")]
    AmountLimit,
    #[error("the EVSE was occupied by another recorded session")]
    OverlappingRecord,
    #[error("the EVSE has too many records on one day")]
    EvseDayFull,
    #[error("the tariff gives no price for this session")]
    NoPrice,
    #[error("the price is not what agreement and tariff give: {} without and {} with VAT, in millionths", .0.excl_vat, .0.incl_vat)]
    PriceMismatch(Price),
    #[error("no such record")]
    UnknownRecord,
    #[error("the record cannot be contested any more, or is contested already")]
    NotContestable,
    #[error("the record is not contested, or the time to decide is over")]
    NotResolvable,
    #[error("only the agreement's resolver decides")]
    NotResolver,
    #[error("the amount is not above zero, or more than what is left of the record")]
    AdjustmentAmount,
    // Settlement.
    #[error("an amount must be above zero")]
    NotPositive,
    #[error("the reservation expires before it begins, or after the longest session of the agreement")]
    ReservationExpiry,
    #[error("credit is reserved for the session already")]
    DuplicateReservation,
    #[error("the credit limit of the agreement is used up: do not deliver energy")]
    CreditExhausted,
    #[error("this treasurer has attested it already")]
    AlreadyAttested,
    #[error("another treasurer attested other contents under this reference")]
    ContradictsAttestation,
    #[error("enough treasurers have attested it already")]
    AlreadyApplied,
    #[error("the member has less money on the ledger, after what it owes for closed periods")]
    InsufficientFunds,
    #[error("the period is not over")]
    PeriodNotOver,
    #[error("the period is closed already")]
    PeriodClosed,
    #[error("nothing was booked in the period in this currency")]
    NothingBooked,
    #[error("a named limit of the ledger is reached")]
    LimitReached,
    #[error("an amount would not fit into 64 bits of millionths")]
    Overflow,
    // Registry.
    #[error(
        "the DID's document has no usable keys, or too many, or repeats itself, or the DID is not of this network and key"
    )]
    BadDid,
    #[error("the DID is another member's")]
    NotDidOwner,
    #[error("the version is not the next one of the DID's document")]
    WrongDidVersion,
    #[error("the proof that the document's first key is in the sender's hands is wrong")]
    BadDidProof,
    #[error("no such DID: publish it first")]
    UnknownDid,
    #[error("an object with this id is published already; objects never change")]
    ObjectExists,
    #[error("the object's id does not name what it builds on")]
    WrongObjectId,
    #[error("the schema has no attributes, or more than 125, or one twice")]
    BadSchema,
    #[error("no such schema: publish it first")]
    UnknownSchema,
    #[error("no such credential definition: publish it first")]
    UnknownCredentialDefinition,
    #[error("credentials of this definition cannot be revoked")]
    NotRevocable,
    #[error("a revocation registry has from 2 to 32,768 places")]
    BadRegistrySize,
    #[error("no such revocation registry: publish it first")]
    UnknownRevocationRegistry,
    #[error("the version is not the next one of the revocation list")]
    WrongRevocationVersion,
    #[error(
        "a revocation list's time is in whole seconds, after the last one's and within ten minutes of the block's"
    )]
    BadRevocationTime,
    #[error(
        "an index is out of order, out of range or revoked (or valid) already, there are more than 4,096, or any in the first list"
    )]
    BadRevocationIndexes,
    #[error("the mandate ends before it begins")]
    BadMandatePeriod,
    #[error("there is no such mandate")]
    UnknownMandate,
    // Vouchers.
    #[error("the voucher key is unusable, or its validity is empty or longer than 400 days")]
    BadVoucherKey,
    #[error("the voucher is of another network")]
    ForeignVoucher,
    #[error("the voucher is not of the agreement's home utility, or not of the one that takes it back")]
    WrongVoucherIssuer,
    #[error("the voucher's validity is empty or longer than 60 days")]
    BadVoucherValidity,
    #[error("the home utility has published no voucher key with this number")]
    UnknownVoucherKey,
    #[error("the voucher is valid at times at which its key is not")]
    VoucherKeyNotValid,
    #[error("the driver agreed to be charged by another operator")]
    WrongOperator,
    #[error("the quote was accepted before or after the voucher's validity")]
    VoucherNotValid,
    #[error("more than the voucher pays, or than the driver agreed to")]
    VoucherLimit,
    #[error("the voucher is not signed with the home utility's key: do not deliver energy")]
    ForgedVoucher,
    #[error("the acceptance is not signed with the voucher's one-time key: do not deliver energy")]
    ForgedAcceptance,
    #[error("the voucher is reserved for another session, spent, refunded or blocked: do not deliver energy")]
    VoucherSpent,
    #[error("credit is reserved for the session already, but not with this voucher")]
    SessionReserved,
    #[error("quote, time or signature of the acceptance are not those with which the voucher was reserved")]
    AcceptanceDiffers,
    #[error("the voucher can still be reserved or recorded: refund it when it cannot")]
    VoucherNotRefundable,
    #[error("the voucher is blocked already")]
    AlreadyBlocked,
    #[error("the voucher is refunded already")]
    AlreadyRefunded,
    // Forecasts.
    #[error("no accepted agreement names the sender to attest this of the zone")]
    NoAttestationRight,
    #[error("an attestation is about 1 to 72 hours")]
    AttestedHours,
    #[error(
        "a forecast needs a band around each load, as many values in each list, and renewable shares of at most the whole"
    )]
    BadForecast,
    #[error("an hour of the forecast has begun already: attest it beforehand")]
    HourBegun,
    #[error("the forecast reaches further ahead than 72 hours")]
    TooFarAhead,
    #[error("an hour of the load is not over yet")]
    HourNotOver,
    #[error("an hour of the load ended more than 7 days ago")]
    LoadTooLate,
    #[error("the sender has attested another load for one of the hours")]
    ContradictsLoad,
    #[error("the sender has attested this already")]
    DuplicateAttestation,
    #[error("the sender has attested too many forecasts for one of the days: 4 in an hour, or 128 in all")]
    AttestationDayFull,
    #[error("the record names a forecast that was not in force while its quote can have been held")]
    UnknownForecast,
    #[error(
        "the record follows no forecast, but there was one all the time that its quote can have been held: price by it"
    )]
    ForecastOmitted,
    #[error("the record is not the one that was booked under this id")]
    RecordDiffers,
    #[error("the price of the record follows no forecast, so there is nothing to true up")]
    NoForecastUsed,
    #[error("the record was trued up already")]
    AlreadyTruedUp,
    #[error("the actual load of an hour of the record may still be attested: wait")]
    ActualsAwaited,
    #[error("the load stayed within the agreed band, or the price is the same")]
    NothingToTrueUp,
    #[error("the home utility has revoked the key that signs the voucher: do not deliver energy")]
    VoucherKeyRevoked,
    #[error("the registry's window does not end after it begins, or lasts longer than twenty years")]
    BadRegistryWindow,
}

impl RejectCode {
    /// Whether the envelope must be treated as if it had never been sent: it was not proved to be the member's next.
    #[must_use]
    pub const fn leaves_sequence(self) -> bool {
        matches!(
            self,
            Self::WrongVersion
                | Self::WrongNetwork
                | Self::UnknownMember
                | Self::UnknownKey
                | Self::RotatedKey
                | Self::BadSignature
                | Self::UnknownLane
                | Self::SequenceUsed
                | Self::SequenceGap
        )
    }
}

/// A refusal, or a failure of the storage underneath, which is no outcome at all.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A normal result.
    #[error(transparent)]
    Reject(#[from] RejectCode),
    /// The state could not be read.
    #[error(transparent)]
    State(#[from] crate::state::StateError),
}

/// What became of one item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ItemOutcome {
    /// Applied.
    Accepted {
        /// The settlement period a record was booked in.
        booked_in: Option<eroam_domain::time::SettlementPeriod>,
    },
    /// Refused; nothing changed.
    Rejected(RejectCode),
}

impl ItemOutcome {
    /// Applied, without more to say.
    pub const ACCEPTED: Self = Self::Accepted { booked_in: None };

    /// Whether it was applied.
    #[must_use]
    pub const fn is_accepted(self) -> bool {
        matches!(self, Self::Accepted { .. })
    }

    /// The refusal, if it was refused.
    #[must_use]
    pub const fn rejection(self) -> Option<RejectCode> {
        match self {
            Self::Accepted { .. } => None,
            Self::Rejected(code) => Some(code),
        }
    }
}

/// An item of an envelope and what became of it: a leaf of the outcome's root.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize, Serialize)]
pub struct Item {
    /// SHA-256 of the item's canonical bytes (a record: [`eroam_domain::cdr::Cdr::digest`]).
    pub hash: Digest,
    /// What became of it.
    pub outcome: ItemOutcome,
}

/// A batch has at least one item and at most [`BATCH_MAX`].
pub(crate) fn check_batch_size(size: usize) -> Result<(), RejectCode> {
    if (1..=BATCH_MAX).contains(&size) { Ok(()) } else { Err(RejectCode::BatchSize) }
}

/// Applies the items of a batch: an outcome for each. An item's hash is that of its canonical bytes under `separator`.
pub(crate) fn items_of<T: BorshSerialize>(
    separator: &str,
    batch: &[T],
    mut apply: impl FnMut(&T) -> Result<(), Refusal>,
) -> Result<Vec<Item>, Refusal> {
    let item = |item: &T| {
        let outcome = match apply(item) {
            Ok(()) => ItemOutcome::ACCEPTED,
            Err(Refusal::Reject(code)) => ItemOutcome::Rejected(code),
            Err(Refusal::State(error)) => return Err(error.into()),
        };
        Ok(Item { hash: Digest::of_value(separator, item), outcome })
    };
    batch.iter().map(item).collect()
}

/// Separates the inner nodes of [`outcome_root`]'s tree.
pub const OUTCOME_NODE: &str = "eroam/outcome-node/1";

/// A leaf of [`outcome_root`]'s tree: the item at `index`.
#[must_use]
pub fn outcome_leaf(index: u32, item: &Item) -> Digest {
    Digest::of_value("eroam/outcome-leaf/1", &(index, item.hash, item.outcome))
}

/// The leaves of [`outcome_root`]'s tree.
#[must_use]
pub fn outcome_leaves(items: &[Item]) -> Vec<Digest> {
    items.iter().zip(0u32..).map(|(item, index)| outcome_leaf(index, item)).collect()
}

/// The root over `(index, item hash, outcome)` of all items: the [`tree`] with separated leaves and nodes.
#[must_use]
pub fn outcome_root(items: &[Item]) -> Digest {
    tree::root(OUTCOME_NODE, &outcome_leaves(items))
}
