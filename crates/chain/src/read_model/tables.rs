//! What is stored: tables, their keys, and the rows that queries give out.
//!
//! Numbers in keys are big-endian, so that a page is a range of keys. A change of any of it is a new [`FORMAT`].

use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::AgreementId;
use eroam_domain::cdr::{AgreementRef, CdrId};
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::{Currency, Price};
use eroam_domain::quantity::WattHours;
use eroam_domain::time::{PeriodKind, SettlementPeriod, UnixMillis};
use eroam_ledger::agreement::AgreementTx;
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::forecast::ForecastTx;
use eroam_ledger::membership::MembershipTx;
use eroam_ledger::registry::RegistryTx;
use eroam_ledger::reject::ItemOutcome;
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::tariff::TariffTx;
use eroam_ledger::tx::{BATCH_MAX, PublicKey, Tx};
use eroam_ledger::voucher::VoucherTx;
use redb::{Database, TableDefinition};
use std::fmt;
use std::str::FromStr;

/// The version of everything in this module and in `places`.
pub(super) const FORMAT: u32 = 1;

/// How far it goes and whose it is.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// [`FORMAT`].
pub(super) const META_FORMAT: &str = "format";
/// The network.
pub(super) const META_NETWORK: &str = "network";
/// The height of the latest block: 8 bytes.
pub(super) const META_INDEXED: &str = "indexed";
/// The height of the first block that there is: 8 bytes; there from the beginning if it is not said.
pub(super) const META_BEGINS: &str = "begins";
/// The first [`AgreementRef`] of a record whose terms were not known, if there was one.
pub(super) const META_UNKNOWN_TERMS: &str = "unknown terms";

/// Height: [`BlockRow`].
pub(super) const BLOCKS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("blocks");
/// [`Place::packed`] of an envelope: [`TransactionRow`].
pub(super) const TRANSACTIONS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("transactions");
/// [`Place::packed`] of an envelope: [`StoredItems`].
pub(super) const ITEMS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("items");
/// Member, place of an envelope: how many records it booked.
pub(super) const BY_MEMBER: TableDefinition<'_, &[u8; 13], u32> = TableDefinition::new("by member");
/// Emsp, cpo, period, place of an envelope: the indexes of its records that belong there, a byte each.
pub(super) const BY_PAIR: TableDefinition<'_, &[u8; 23], &[u8]> = TableDefinition::new("by pair");
/// Agreement, version: its terms. Version 0 is what was proposed last.
pub(super) const TERMS: TableDefinition<'_, &[u8; 36], &[u8]> = TableDefinition::new("terms");
/// Period, currency, debtor, creditor: number of records and millionths.
pub(super) const TOTALS: TableDefinition<'_, &[u8; 18], (u64, i64)> = TableDefinition::new("totals");
/// The name of a refusal: how many.
pub(super) const REJECTIONS: TableDefinition<'_, &str, u64> = TableDefinition::new("rejections");
/// See `places`: the number of a run, and of its entries.
pub(super) const RUNS: TableDefinition<'_, u64, u64> = TableDefinition::new("runs");
/// See `places`: the number of a run and its first entry, and a part of its entries.
pub(super) const CHUNKS: TableDefinition<'_, &[u8; 24], &[u8]> = TableDefinition::new("chunks");

/// Makes the tables of an empty read model.
pub(super) fn create_tables(database: &Database, network: Digest) -> Result<(), redb::Error> {
    let txn = database.begin_write()?;
    {
        let mut meta = txn.open_table(META)?;
        meta.insert(META_FORMAT, FORMAT.to_be_bytes().as_slice())?;
        meta.insert(META_NETWORK, network.0.as_slice())?;
        meta.insert(META_INDEXED, 0u64.to_be_bytes().as_slice())?;
        // A reader shall find each of them.
        txn.open_table(BLOCKS)?;
        txn.open_table(TRANSACTIONS)?;
        txn.open_table(ITEMS)?;
        txn.open_table(BY_MEMBER)?;
        txn.open_table(BY_PAIR)?;
        txn.open_table(TERMS)?;
        txn.open_table(TOTALS)?;
        txn.open_table(REJECTIONS)?;
        txn.open_table(RUNS)?;
        txn.open_table(CHUNKS)?;
    }
    txn.commit()?;
    Ok(())
}

/// Where an item stands: its block, its envelope there, and its place in the envelope. Written `height.envelope.item`.
///
/// It is also what the pages of transactions, items and records go on from: the place of the last row that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct Place {
    /// The block.
    pub height: u64,
    /// The envelope's index in the block, from 0.
    pub envelope: u16,
    /// The item's index in the envelope, from 0; 0 for an envelope as a whole.
    pub item: u8,
}

const _: () = assert!(BATCH_MAX <= 1 << 8, "an item's index is a byte");

/// Text that is no [`Place`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no place: height.envelope.item is expected, such as 120.3.0")]
pub struct ParsePlaceError(String);

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.height, self.envelope, self.item)
    }
}

impl FromStr for Place {
    type Err = ParsePlaceError;
    fn from_str(text: &str) -> Result<Self, ParsePlaceError> {
        let parse = || {
            let (height, rest) = text.split_once('.')?;
            let (envelope, item) = rest.split_once('.')?;
            Some(Self {
                height: height.parse().ok()?,
                envelope: envelope.parse().ok()?,
                item: item.parse().ok()?,
            })
        };
        parse().ok_or_else(|| ParsePlaceError(text.chars().take(40).collect()))
    }
}

/// The greatest height that [`Place::packed`] holds: a block a second for 34,000 years.
pub(super) const HEIGHT_MAX: u64 = (1 << 40) - 1;

impl Place {
    /// In the order of places. Heights beyond [`HEIGHT_MAX`], which no block has, become that.
    pub(super) fn packed(self) -> u64 {
        self.height.min(HEIGHT_MAX) << 24 | u64::from(self.envelope) << 8 | u64::from(self.item)
    }

    /// The place that was packed.
    pub(super) const fn unpacked(packed: u64) -> Self {
        let [.., high, low, item] = packed.to_be_bytes();
        Self { height: packed >> 24, envelope: u16::from_be_bytes([high, low]), item }
    }

    /// The envelope as a whole.
    pub(super) const fn of_envelope(self) -> Self {
        Self { item: 0, ..self }
    }
}

/// A block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct BlockRow {
    /// Its place in the chain.
    pub height: u64,
    /// Its time.
    pub time: UnixMillis,
    /// The digest of its header, which names it.
    pub digest: Digest,
    /// The epoch.
    pub epoch: u64,
    /// The view of the epoch in which it was proposed.
    pub view: u64,
    /// Who proposed it.
    pub leader: PublicKey,
    /// How many envelopes it holds.
    pub envelopes: u32,
    /// How many items they have.
    pub items: u32,
    /// How many of those were refused; the others were accepted.
    pub rejected: u32,
    /// The size of its encoded body in bytes.
    pub body_bytes: u32,
}

/// What a transaction asks, without its contents. Shown as `family.name`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
#[allow(missing_docs, reason = "the ledger's transactions")]
pub enum TxKind {
    RotateKey,
    Propose,
    Accept,
    Amend,
    Terminate,
    PublishTariff,
    RecordCdrs,
    Contest,
    Resolve,
    Credit,
    ReserveCredit,
    AttestDeposit,
    ClosePeriod,
    AttestPayout,
    PublishDid,
    PublishSchema,
    PublishCredentialDefinition,
    PublishRevocationRegistry,
    UpdateRevocation,
    GrantMandate,
    RevokeMandate,
    PublishVoucherKey,
    ReserveVouchers,
    RefundVouchers,
    BlockVouchers,
    AttestForecast,
    AttestLoad,
    TrueUp,
    RevokeVoucherKey,
    PublishDatedRegistry,
}

impl TxKind {
    /// What `tx` asks.
    #[must_use]
    pub const fn of(tx: &Tx) -> Self {
        match tx {
            Tx::Membership(MembershipTx::RotateKey { .. }) => Self::RotateKey,
            Tx::Agreement(AgreementTx::Propose { .. }) => Self::Propose,
            Tx::Agreement(AgreementTx::Accept { .. }) => Self::Accept,
            Tx::Agreement(AgreementTx::Amend { .. }) => Self::Amend,
            Tx::Agreement(AgreementTx::Terminate { .. }) => Self::Terminate,
            Tx::Tariff(TariffTx::PublishTariff { .. }) => Self::PublishTariff,
            Tx::Cdr(CdrTx::RecordCdrs(_)) => Self::RecordCdrs,
            Tx::Cdr(CdrTx::Contest { .. }) => Self::Contest,
            Tx::Cdr(CdrTx::Resolve { .. }) => Self::Resolve,
            Tx::Cdr(CdrTx::Credit { .. }) => Self::Credit,
            Tx::Settlement(SettlementTx::ReserveCredit(_)) => Self::ReserveCredit,
            Tx::Settlement(SettlementTx::AttestDeposit { .. }) => Self::AttestDeposit,
            Tx::Settlement(SettlementTx::ClosePeriod { .. }) => Self::ClosePeriod,
            Tx::Settlement(SettlementTx::AttestPayout { .. }) => Self::AttestPayout,
            Tx::Registry(RegistryTx::PublishDid { .. }) => Self::PublishDid,
            Tx::Registry(RegistryTx::PublishSchema { .. }) => Self::PublishSchema,
            Tx::Registry(RegistryTx::PublishCredentialDefinition { .. }) => Self::PublishCredentialDefinition,
            Tx::Registry(RegistryTx::PublishRevocationRegistry { .. }) => Self::PublishRevocationRegistry,
            Tx::Registry(RegistryTx::PublishDatedRegistry { .. }) => Self::PublishDatedRegistry,
            Tx::Registry(RegistryTx::UpdateRevocation { .. }) => Self::UpdateRevocation,
            Tx::Registry(RegistryTx::GrantMandate { .. }) => Self::GrantMandate,
            Tx::Registry(RegistryTx::RevokeMandate { .. }) => Self::RevokeMandate,
            Tx::Voucher(VoucherTx::PublishKey { .. }) => Self::PublishVoucherKey,
            Tx::Voucher(VoucherTx::Reserve(_)) => Self::ReserveVouchers,
            Tx::Voucher(VoucherTx::Refund(_)) => Self::RefundVouchers,
            Tx::Voucher(VoucherTx::Block(_)) => Self::BlockVouchers,
            Tx::Voucher(VoucherTx::RevokeKey { .. }) => Self::RevokeVoucherKey,
            Tx::Forecast(ForecastTx::AttestForecast(_)) => Self::AttestForecast,
            Tx::Forecast(ForecastTx::AttestLoad(_)) => Self::AttestLoad,
            Tx::Cdr(CdrTx::TrueUp(_)) => Self::TrueUp,
        }
    }

    /// The family and the name, as in `cdr.record_cdrs`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RotateKey => "membership.rotate_key",
            Self::Propose => "agreement.propose",
            Self::Accept => "agreement.accept",
            Self::Amend => "agreement.amend",
            Self::Terminate => "agreement.terminate",
            Self::PublishTariff => "tariff.publish_tariff",
            Self::RecordCdrs => "cdr.record_cdrs",
            Self::Contest => "cdr.contest",
            Self::Resolve => "cdr.resolve",
            Self::Credit => "cdr.credit",
            Self::ReserveCredit => "settlement.reserve_credit",
            Self::AttestDeposit => "settlement.attest_deposit",
            Self::ClosePeriod => "settlement.close_period",
            Self::AttestPayout => "settlement.attest_payout",
            Self::PublishDid => "registry.publish_did",
            Self::PublishSchema => "registry.publish_schema",
            Self::PublishCredentialDefinition => "registry.publish_credential_definition",
            Self::PublishRevocationRegistry => "registry.publish_revocation_registry",
            Self::PublishDatedRegistry => "registry.publish_dated_registry",
            Self::UpdateRevocation => "registry.update_revocation",
            Self::GrantMandate => "registry.grant_mandate",
            Self::RevokeMandate => "registry.revoke_mandate",
            Self::PublishVoucherKey => "voucher.publish_key",
            Self::ReserveVouchers => "voucher.reserve",
            Self::RefundVouchers => "voucher.refund",
            Self::BlockVouchers => "voucher.block",
            Self::RevokeVoucherKey => "voucher.revoke_key",
            Self::AttestForecast => "forecast.attest_forecast",
            Self::AttestLoad => "forecast.attest_load",
            Self::TrueUp => "cdr.true_up",
        }
    }
}

impl fmt::Display for TxKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An envelope that is in a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct TransactionRow {
    /// Where; its item is 0.
    pub place: Place,
    /// SHA-256 of the envelope's bytes.
    pub digest: Digest,
    /// Who sent it.
    pub member: PartyId,
    /// The sender's lane.
    pub lane: u16,
    /// The lane's number.
    pub sequence: u64,
    /// What it asks.
    pub kind: TxKind,
    /// How many items it has.
    pub items: u32,
    /// How many of them were refused.
    pub rejected: u32,
}

/// An item and what became of it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ItemRow {
    /// Where.
    pub place: Place,
    /// What became of it.
    pub outcome: ItemOutcome,
}

/// Who owes for a record, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Debt {
    /// The debtor.
    pub emsp: PartyId,
    /// What it owes to all creditors together, as booked, in millionths of the record's currency: the price with or
    /// without VAT, as agreed.
    pub micros: i64,
}

/// A record that was booked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordRow {
    /// Where.
    pub place: Place,
    /// The operator that recorded it.
    pub operator: PartyId,
    /// The operator's id for it.
    pub id: CdrId,
    /// Its digest ([`eroam_domain::cdr::Cdr::digest`]): the item's hash.
    pub digest: Digest,
    /// The agreement it was charged under.
    pub agreement: AgreementRef,
    /// Who owes for it; `None` if the agreement's terms were in no block, see [`super::Feed::imported`].
    pub debt: Option<Debt>,
    /// The settlement period that it was booked in.
    pub period: SettlementPeriod,
    /// The energy.
    pub energy: WattHours,
    /// The wholesale price.
    pub price: Price,
    /// The currency of price and debt.
    pub currency: Currency,
}

/// The records of one period that one member owes another for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Total {
    /// How many records the creditor gets something of.
    pub records: u64,
    /// What it gets of them as they were booked, in millionths: without what was given back later.
    pub micros: i64,
}

/// A [`Total`] with its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TotalRow {
    /// Who owes.
    pub debtor: PartyId,
    /// Who is owed: an operator, or another that shares in its revenue.
    pub creditor: PartyId,
    /// How much.
    pub total: Total,
}

/// The items of an envelope, in order.
#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct StoredItems {
    pub(super) member: PartyId,
    /// The agreements that the records name.
    pub(super) agreements: Vec<(AgreementRef, Option<PartyId>)>,
    pub(super) items: Vec<StoredItem>,
}

#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct StoredItem {
    pub(super) hash: Digest,
    pub(super) outcome: ItemOutcome,
    /// What was booked.
    pub(super) record: Option<StoredRecord>,
}

#[derive(Debug, BorshSerialize, BorshDeserialize)]
pub(super) struct StoredRecord {
    pub(super) id: CdrId,
    /// The index in [`StoredItems::agreements`].
    pub(super) agreement: u8,
    pub(super) energy: WattHours,
    pub(super) price: Price,
    pub(super) currency: Currency,
    /// [`Debt::micros`]; without meaning where the agreement has no debtor.
    pub(super) owed: i64,
}

impl StoredItems {
    /// The record at `place`, if the item there is one that was booked.
    pub(super) fn record(&self, place: Place) -> Option<RecordRow> {
        let StoredItem { hash, outcome, record } = self.items.get(usize::from(place.item))?;
        let ItemOutcome::Accepted { booked_in: Some(period) } = *outcome else { return None };
        let record = record.as_ref()?;
        let (agreement, emsp) = *self.agreements.get(usize::from(record.agreement))?;
        Some(RecordRow {
            place,
            operator: self.member,
            id: record.id.clone(),
            digest: *hash,
            agreement,
            debt: emsp.map(|emsp| Debt { emsp, micros: record.owed }),
            period,
            energy: record.energy,
            price: record.price,
            currency: record.currency,
        })
    }
}

/// The canonical bytes of a value that always has as many.
fn fixed<const N: usize>(value: &impl BorshSerialize) -> [u8; N] {
    let mut out = [0; N];
    // Exactly as long, which the tests of each key check.
    let _ = borsh::to_writer(out.as_mut_slice(), value);
    out
}

/// Key bytes from parts; zeros where they end early.
fn joined<const N: usize>(parts: &[&[u8]]) -> [u8; N] {
    let mut out = [0; N];
    for (slot, byte) in out.iter_mut().zip(parts.iter().copied().flatten()) {
        *slot = *byte;
    }
    out
}

fn party(party: PartyId) -> [u8; 5] {
    fixed(&party)
}

/// The kind, then the number.
fn period_bytes(period: SettlementPeriod) -> [u8; 5] {
    let [a, b, c, d] = period.index().to_be_bytes();
    [fixed::<1>(&period.kind())[0], a, b, c, d]
}

fn period_of(&[kind, a, b, c, d]: &[u8; 5]) -> Option<SettlementPeriod> {
    let kind: PeriodKind = from_bytes(&[kind]).ok()?;
    from_bytes(&to_bytes(&(kind, u32::from_be_bytes([a, b, c, d])))).ok()
}

/// A key of [`BY_MEMBER`].
pub(super) fn by_member(member: PartyId, place: u64) -> [u8; 13] {
    joined(&[&party(member), &place.to_be_bytes()])
}

/// A key of [`BY_PAIR`].
pub(super) fn by_pair(emsp: PartyId, cpo: PartyId, period: SettlementPeriod, place: u64) -> [u8; 23] {
    joined(&[&party(emsp), &party(cpo), &period_bytes(period), &place.to_be_bytes()])
}

/// The place at the end of a key.
pub(super) fn place_in(key: &[u8]) -> Option<Place> {
    key.last_chunk().map(|place| Place::unpacked(u64::from_be_bytes(*place)))
}

/// A key of [`TERMS`].
pub(super) fn terms_key(id: AgreementId, version: u32) -> [u8; 36] {
    joined(&[&id.0, &version.to_be_bytes()])
}

/// A key of [`TOTALS`].
pub(super) fn totals_key(
    period: SettlementPeriod,
    currency: Currency,
    debtor: PartyId,
    creditor: PartyId,
) -> [u8; 18] {
    joined(&[&period_bytes(period), &fixed::<3>(&currency), &party(debtor), &party(creditor)])
}

/// The least key of a period's totals.
pub(super) fn first_totals_key(period: SettlementPeriod, currency: Currency) -> [u8; 18] {
    joined(&[&period_bytes(period), &fixed::<3>(&currency)])
}

/// The period and the currency of a key of [`TOTALS`].
pub(super) fn totals_period(key: &[u8; 18]) -> Option<(SettlementPeriod, Currency)> {
    let (period, rest) = key.split_first_chunk::<5>()?;
    let currency = from_bytes(rest.get(..3)?).ok()?;
    Some((period_of(period)?, currency))
}

/// The debtor and the creditor of a key of [`TOTALS`].
pub(super) fn totals_pair(key: &[u8; 18]) -> Option<(PartyId, PartyId)> {
    from_bytes(key.get(8..)?).ok()
}
