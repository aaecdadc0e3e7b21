//! The state: every key in one place, the view that execution reads, the changes that it makes, and the digest.

use borsh::{BorshDeserialize, BorshSerialize};
use eroam_domain::agreement::AgreementId;
use eroam_domain::cdr::{CdrId, EvsePseudonym, GridZone};
use eroam_domain::codec::{self, Digest, ShortText};
use eroam_domain::ids::{CredentialDefinitionId, EroamDid, PartyId, RevocationRegistryId, SchemaId};
use eroam_domain::money::Currency;
use eroam_domain::tariff::TariffId;
use eroam_domain::time::SettlementPeriod;
use eroam_domain::voucher::Nullifier;
use sha2::{Digest as _, Sha256};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// Every kind of entry. The canonical bytes are the key; variants are only ever added at the end.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum StateKey {
    /// The network's parameters: [`crate::genesis::Parameters`].
    Parameters,
    /// The next sequence of a member's lane: `u64`. Bookkeeping: not in [`state_digest`].
    Lane(PartyId, u16),
    /// [`crate::membership::Member`].
    Member(PartyId),
    /// [`crate::agreement::AgreementRecord`].
    Agreement(AgreementId),
    /// The terms of one version: [`eroam_domain::agreement::RoamingAgreement`].
    AgreementTerms(AgreementId, u32),
    /// The latest agreements from an emsp to a cpo, the last of which may be proposed or in force:
    /// `Vec<AgreementId>`, at most [`crate::agreement::SUCCESSORS_MAX`].
    AgreementOf(PartyId, PartyId),
    /// The latest version of a tariff: `u32`.
    TariffHead(PartyId, TariffId),
    /// One version: [`eroam_domain::tariff::Tariff`].
    Tariff(PartyId, TariffId, u32),
    /// A booked record: [`crate::cdr::CdrRecord`].
    Cdr(PartyId, CdrId),
    /// When an EVSE was occupied on a UTC day; days share [`crate::cdr::DAY_SLOTS`] slots:
    /// [`crate::cdr::EvseDay`].
    EvseDay(PartyId, EvsePseudonym, u8),
    /// Credit in use under an agreement: [`crate::settlement::Exposure`].
    Exposure(AgreementId),
    /// Credit reserved for a session: [`crate::settlement::Reservation`].
    Reservation(AgreementId, Digest),
    /// A balance in millionths: `i64`.
    Account(Account),
    /// Who owes whom in an open period: [`crate::settlement::PeriodPairs`].
    PeriodPairs(SettlementPeriod, Currency),
    /// A closed period: [`crate::settlement::ClosedPeriod`].
    ClosedPeriod(SettlementPeriod, Currency),
    /// Closed periods that are not fully paid: `Vec<SettlementPeriod>`.
    Unpaid(Currency),
    /// A deposit or payout that treasurers attest: [`crate::settlement::Attestation`].
    Attestation(AttestationKind, ShortText<64>),
    /// Deposits less payouts, as attested: `i64` millionths. Kept apart from the accounts, to check them by.
    Attested(Currency),
    /// The time of the block in which a tariff was published: [`eroam_domain::time::UnixMillis`]. Bookkeeping: not in
    /// [`state_digest`].
    TariffPublished(PartyId, TariffId, u32),
    /// [`crate::registry::DidRecord`].
    Did(EroamDid),
    /// [`crate::registry::SchemaRecord`].
    Schema(SchemaId),
    /// [`crate::registry::DefinitionRecord`].
    CredentialDefinition(CredentialDefinitionId),
    /// [`crate::registry::RegistryRecord`].
    RevocationRegistry(RevocationRegistryId),
    /// The newest list: [`crate::registry::RevocationList`].
    RevocationList(RevocationRegistryId),
    /// What a version of the list changed: [`crate::registry::RevocationChange`].
    RevocationChange(RevocationRegistryId, u32),
    /// That an issuer (the second) acts in a member's (the first's) name: [`crate::registry::Mandate`].
    Mandate(PartyId, PartyId, SchemaId),
    /// The keys that a home utility signs vouchers with, by their numbers: `Vec<`[`crate::voucher::VoucherKey`]`>`.
    VoucherKeys(PartyId),
    /// What became of a home utility's voucher: [`crate::voucher::VoucherState`].
    Voucher(PartyId, Nullifier),
    /// What a party may attest about a zone: [`crate::forecast::ZoneRights`].
    ZoneAttester(GridZone, PartyId),
    /// What a party has forecast for a UTC day of a zone; days share [`crate::forecast::DAY_SLOTS`] slots:
    /// [`crate::forecast::ForecastDay`].
    ForecastDay(PartyId, GridZone, u8),
    /// The times of the blocks of these forecasts: [`crate::forecast::ForecastTimes`]. Bookkeeping: not in
    /// [`state_digest`].
    ForecastTimes(PartyId, GridZone, u8),
    /// What a party has measured on a UTC day of a zone, in slots as above: [`crate::forecast::LoadDay`].
    LoadDay(PartyId, GridZone, u8),
    /// When the credentials of a revocation registry count, if it was published with a window:
    /// [`crate::registry::RegistryWindow`]. It never changes.
    RegistryWindow(RevocationRegistryId),
}

impl StateKey {
    /// The canonical bytes: what a store keeps the value under.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::to_bytes_with_capacity(self, 64)
    }
}

/// The greatest size of a key in bytes; no key comes near it.
pub const KEY_BYTES_MAX: usize = 512;
/// The greatest size of a value in bytes: what an engine must be able to store under one key, and to send in one
/// message. Every kind of value has limits of its own that keep it below, but for those that other members' business
/// makes grow; a transaction that would write a larger one is refused.
pub const VALUE_BYTES_MAX: usize = 256 * 1024;

/// What treasurers attest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum AttestationKind {
    /// Money that arrived in the consortium's bank account.
    Deposit,
    /// Money that left it.
    Payout,
}

/// An account of the double-entry books. The balances of all accounts of a currency add up to zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub enum Account {
    /// The outside world: minus what was deposited and not paid out.
    Treasury(Currency),
    /// A member's money on the ledger.
    Cash(PartyId, Currency),
    /// What `debtor` owes `creditor` for an open period; negative or zero.
    Payable(SettlementPeriod, PartyId, PartyId, Currency),
    /// What `creditor` is owed by `debtor`: (period, creditor, debtor).
    Receivable(SettlementPeriod, PartyId, PartyId, Currency),
    /// A party's position in a closed period, until it is paid.
    Net(SettlementPeriod, PartyId, Currency),
}

impl Account {
    /// The currency of the account.
    #[must_use]
    pub const fn currency(&self) -> Currency {
        match self {
            Self::Treasury(c)
            | Self::Cash(_, c)
            | Self::Payable(_, _, _, c)
            | Self::Receivable(_, _, _, c)
            | Self::Net(_, _, c) => *c,
        }
    }
}

/// The state could not be read. Not an outcome: the caller fetches what is missing, or stops.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The view holds only what was declared beforehand; fetch this key and execute again.
    #[error("state key {} is not loaded", hex(.0))]
    NotLoaded(Vec<u8>),
    /// The storage failed.
    #[error("the ledger's state cannot be read")]
    Storage(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A stored value is not what its key says.
    #[error("state key {} holds bytes that are no such value: {reason}", hex(.key))]
    Corrupt {
        /// The key.
        key: Vec<u8>,
        /// What the decoder said.
        reason: String,
    },
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

/// Point reads of the state. There are no range scans: what must be listed is kept in buckets.
pub trait StateView {
    /// The value under canonical key bytes.
    ///
    /// # Errors
    /// [`StateError`].
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError>;
}

/// Reads and decodes one value.
///
/// # Errors
/// [`StateError`], also when the bytes are no `T`.
pub fn read<T: BorshDeserialize>(
    view: &(impl StateView + ?Sized),
    key: &StateKey,
) -> Result<Option<T>, StateError> {
    let key = key.to_bytes();
    let Some(bytes) = view.get(&key)? else { return Ok(None) };
    codec::from_bytes(&bytes).map(Some).map_err(|reason| StateError::Corrupt { key, reason })
}

/// Changes to the state: a new value, or `None` for a removed key. Keys are canonical bytes of [`StateKey`].
pub type Writes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// A view with changes on top of it.
pub struct Overlay<'a> {
    base: &'a dyn StateView,
    writes: Writes,
}

impl<'a> Overlay<'a> {
    /// No changes yet.
    #[must_use]
    pub fn new(base: &'a dyn StateView) -> Self {
        Self { base, writes: Writes::new() }
    }

    /// Reads one value, changes first.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn read<T: BorshDeserialize>(&self, key: &StateKey) -> Result<Option<T>, StateError> {
        read(self, key)
    }

    /// Whether there is a value.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn contains(&self, key: &StateKey) -> Result<bool, StateError> {
        Ok(self.get(&key.to_bytes())?.is_some())
    }

    /// Sets a value.
    pub fn write<T: BorshSerialize>(&mut self, key: &StateKey, value: &T) {
        self.writes.insert(key.to_bytes(), Some(codec::to_bytes(value)));
    }

    /// Removes a value.
    pub fn remove(&mut self, key: &StateKey) {
        self.writes.insert(key.to_bytes(), None);
    }

    /// Whether everything that was written can be stored: [`KEY_BYTES_MAX`], [`VALUE_BYTES_MAX`].
    #[must_use]
    pub fn is_storable(&self) -> bool {
        self.writes.iter().all(|(key, value)| {
            key.len() <= KEY_BYTES_MAX && value.as_ref().is_none_or(|v| v.len() <= VALUE_BYTES_MAX)
        })
    }

    /// The changes.
    #[must_use]
    pub fn into_writes(self) -> Writes {
        self.writes
    }
}

impl StateView for Overlay<'_> {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        match self.writes.get(key) {
            Some(written) => Ok(written.as_deref().map(Cow::Borrowed)),
            None => self.base.get(key),
        }
    }
}

/// The whole state in memory.
#[derive(Clone, Debug, Default)]
pub struct MemoryState(BTreeMap<Vec<u8>, Vec<u8>>);

impl MemoryState {
    /// Applies changes.
    pub fn apply(&mut self, writes: Writes) {
        for (key, value) in writes {
            match value {
                Some(value) => self.0.insert(key, value),
                None => self.0.remove(&key),
            };
        }
    }

    /// All entries in the order of their keys.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(k, v)| (k.as_slice(), v.as_slice()))
    }
}

impl StateView for MemoryState {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        Ok(self.0.get(key).map(|v| Cow::Borrowed(v.as_slice())))
    }
}

/// Collects what a digest over entries is made of.
fn add_entry(hasher: &mut Sha256, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
        hasher.update(part);
    }
}

/// [`state_digest`] for entries that come one by one, in the order of their keys.
#[derive(Clone, Debug, Default)]
pub struct StateHasher(Sha256);

impl StateHasher {
    /// Adds an entry, unless it is bookkeeping. Bytes that are no key are added like a key.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        if !matches!(
            codec::from_bytes(key),
            Ok(StateKey::Lane(..) | StateKey::TariffPublished(..) | StateKey::ForecastTimes(..))
        ) {
            add_entry(&mut self.0, key, value);
        }
    }

    /// The digest of what was added.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// [`crate::snapshot::entries_digest`] for entries that come one by one, in the order of their keys.
#[derive(Clone, Debug)]
pub struct EntriesHasher {
    hasher: Sha256,
    count: u64,
}

impl Default for EntriesHasher {
    fn default() -> Self {
        Self { hasher: Sha256::new_with_prefix(b"eroam/entries/1"), count: 0 }
    }
}

impl EntriesHasher {
    /// Adds an entry.
    pub fn add(&mut self, key: &[u8], value: &[u8]) {
        add_entry(&mut self.hasher, key, value);
        self.count = self.count.saturating_add(1);
    }

    /// The digest of what was added. The number comes last, since it is not known before.
    #[must_use]
    pub fn finish(mut self) -> Digest {
        self.hasher.update(self.count.to_le_bytes());
        Digest(self.hasher.finalize().into())
    }
}

/// SHA-256 over the sorted business keys and values: equal for the same business history, however it was packed into
/// blocks. Lane sequences are left out, since resent envelopes consume some, and so are the times of blocks.
///
/// `entries` must come in the order of their keys.
#[must_use]
pub fn state_digest<'a>(entries: impl Iterator<Item = (&'a [u8], &'a [u8])>) -> Digest {
    let mut hasher = StateHasher::default();
    entries.for_each(|(key, value)| hasher.add(key, value));
    hasher.finish()
}

/// For each currency the sum of all members' accounts less the attested deposits, in millionths. Zero, or money was
/// made or lost.
///
/// # Errors
/// [`StateError::Corrupt`].
pub fn ledger_balance<'a>(
    entries: impl Iterator<Item = (&'a [u8], &'a [u8])>,
) -> Result<BTreeMap<Currency, i128>, StateError> {
    let mut sums: BTreeMap<Currency, i128> = BTreeMap::new();
    for (key, value) in entries {
        let corrupt = |reason| StateError::Corrupt { key: key.to_vec(), reason };
        let (currency, amount) = match codec::from_bytes::<StateKey>(key).map_err(corrupt)? {
            StateKey::Account(Account::Treasury(_)) => continue,
            StateKey::Account(account) => {
                (account.currency(), i128::from(codec::from_bytes::<i64>(value).map_err(corrupt)?))
            }
            StateKey::Attested(currency) => {
                let attested = i128::from(codec::from_bytes::<i64>(value).map_err(corrupt)?);
                (currency, attested.checked_neg().unwrap_or(i128::MIN))
            }
            // A currency that was used is reported also when every account in it is empty.
            StateKey::PeriodPairs(_, currency) | StateKey::ClosedPeriod(_, currency) => (currency, 0),
            _ => continue,
        };
        let sum = sums.entry(currency).or_default();
        *sum = sum.saturating_add(amount);
    }
    Ok(sums)
}
