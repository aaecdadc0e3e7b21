//! What consoles ask. Pages are newest first; the cursor of the next page is what the last row is known by.

use super::tables::{
    BLOCKS, BY_MEMBER, BY_PAIR, BlockRow, ITEMS, ItemRow, META, META_BEGINS, META_UNKNOWN_TERMS, Place,
    REJECTIONS, RecordRow, StoredItems, TOTALS, TRANSACTIONS, Total, TotalRow, TransactionRow, by_member,
    by_pair, first_totals_key, place_in, totals_key, totals_pair, totals_period,
};
use super::{PAGE_MAX, ReadModel, ReadModelError, places, put_aside};
use crate::panics::caught;
use borsh::BorshDeserialize;
use eroam_domain::cdr::{AgreementRef, CdrId, SessionId, session_digest};
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::ids::PartyId;
use eroam_domain::money::Currency;
use eroam_domain::time::SettlementPeriod;
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase as _, ReadableTable as _};
use std::ops::Bound;
use std::sync::PoisonError;

/// Some rows, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<R, C> {
    /// The rows, the newest first; at most as many as were asked for.
    pub rows: Vec<R>,
    /// What to ask for the next page with; `None` if there are no more rows. It stays good while blocks are added.
    pub next: Option<C>,
}

/// Who owes and who is owed, in this order.
pub type Pair = (PartyId, PartyId);

type Result<T> = std::result::Result<T, ReadModelError>;

impl From<redb::Error> for ReadModelError {
    fn from(error: redb::Error) -> Self {
        Self::Read(error.into())
    }
}

/// Lets `?` take the database's errors.
trait Stored<T> {
    fn stored(self) -> Result<T>;
}

impl<T, E: Into<redb::Error>> Stored<T> for std::result::Result<T, E> {
    fn stored(self) -> Result<T> {
        self.map_err(|error| error.into().into())
    }
}

fn decoded<T: BorshDeserialize>(bytes: &[u8], what: &'static str) -> Result<T> {
    from_bytes(bytes).map_err(|_| ReadModelError::Damaged(what))
}

/// The first `limit` rows, at least one and at most [`PAGE_MAX`], and whether there are more.
fn page<R, C>(
    mut rows: impl Iterator<Item = Result<R>>,
    limit: usize,
    cursor: impl Fn(&R) -> C,
) -> Result<Page<R, C>> {
    let first: Vec<R> = rows.by_ref().take(limit.clamp(1, PAGE_MAX)).collect::<Result<_>>()?;
    let more = rows.next().transpose()?.is_some();
    let next = first.last().filter(|_| more).map(cursor);
    Ok(Page { rows: first, next })
}

/// The packed place that rows must come before.
fn before_packed(before: Option<Place>) -> Bound<u64> {
    before.map_or(Bound::Unbounded, |place| Bound::Excluded(place.packed()))
}

/// The same for a key that ends with a place.
fn below<const N: usize>(
    before: Option<Place>,
    key: impl Fn(u64) -> [u8; N],
) -> (Bound<[u8; N]>, Bound<[u8; N]>) {
    let last = match before {
        Some(place) => Bound::Excluded(key(place.packed())),
        None => Bound::Included(key(u64::MAX)),
    };
    (Bound::Included(key(0)), last)
}

/// The records of some envelopes that come before a place, the newest first.
struct Records {
    items: ReadOnlyTable<u64, &'static [u8]>,
    before: Option<Place>,
}

impl Records {
    fn of(txn: &ReadTransaction, before: Option<Place>) -> Result<Self> {
        Ok(Self { items: txn.open_table(ITEMS).stored()?, before })
    }

    fn load(&self, envelope: Place) -> Result<StoredItems> {
        load_items(&self.items, envelope)
    }

    /// Those at `indexes`, which are in order.
    fn rows(
        &self,
        envelope: Place,
        stored: &StoredItems,
        indexes: impl DoubleEndedIterator<Item = u8>,
    ) -> Vec<RecordRow> {
        let places = indexes.rev().map(|item| Place { item, ..envelope });
        places
            .filter(|place| self.before.is_none_or(|before| *place < before))
            .filter_map(|place| stored.record(place))
            .collect()
    }
}

fn load_items(items: &ReadOnlyTable<u64, &'static [u8]>, place: Place) -> Result<StoredItems> {
    let row = items.get(place.of_envelope().packed()).stored()?.ok_or(ReadModelError::Damaged("items"))?;
    decoded(row.value(), "items")
}

/// One row for each of those that a step of an iterator gives.
fn flat<R>(step: Result<Vec<R>>) -> Vec<Result<R>> {
    match step {
        Ok(rows) => rows.into_iter().map(Ok).collect(),
        Err(error) => vec![Err(error)],
    }
}

impl ReadModel {
    fn read<T>(&self, query: impl FnOnce(&ReadTransaction) -> Result<T>) -> Result<T> {
        self.usable()?;
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let database = database.as_ref().ok_or(ReadModelError::Closed)?;
        // A damaged page may make the database panic.
        let answer = caught(|| query(&database.begin_read().stored()?))
            .unwrap_or_else(|said| Err(redb::Error::Corrupted(said).into()));
        if let Err(error) = &answer
            && error.is_of_damage()
        {
            // Until the node starts again, other pages can still be read.
            let _ = put_aside(&self.shared.path, &error.to_string());
        }
        answer
    }

    /// Blocks below the height `before`, or the latest ones. The genesis block holds nothing and is not among them.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn blocks(&self, before: Option<u64>, limit: usize) -> Result<Page<BlockRow, u64>> {
        self.read(|txn| {
            let blocks = txn.open_table(BLOCKS).stored()?;
            let below = before.map_or(Bound::Unbounded, Bound::Excluded);
            let rows = blocks.range((Bound::Unbounded, below)).stored()?.rev();
            let rows = rows.map(|row| decoded(row.stored()?.1.value(), "blocks"));
            page(rows, limit, |row: &BlockRow| row.height)
        })
    }

    /// The block at a height.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn block(&self, height: u64) -> Result<Option<BlockRow>> {
        self.read(|txn| {
            let row = txn.open_table(BLOCKS).stored()?.get(height).stored()?;
            row.map(|row| decoded(row.value(), "blocks")).transpose()
        })
    }

    /// Envelopes of a member, or of all of them, before a place.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn transactions(
        &self,
        member: Option<PartyId>,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Page<TransactionRow, Place>> {
        self.read(|txn| {
            let table = txn.open_table(TRANSACTIONS).stored()?;
            let cursor = |row: &TransactionRow| row.place;
            let Some(member) = member else {
                let rows = table.range((Bound::Unbounded, before_packed(before))).stored()?.rev();
                let rows = rows.map(|row| decoded(row.stored()?.1.value(), "transactions"));
                return page(rows, limit, cursor);
            };
            let index = txn.open_table(BY_MEMBER).stored()?;
            let (first, last) = below(before, |place| by_member(member, place));
            let keys = index.range::<&[u8; 13]>((first.as_ref(), last.as_ref())).stored()?.rev();
            let rows = keys.map(|key| {
                let key = key.stored()?.0;
                let place = place_in(key.value()).ok_or(ReadModelError::Damaged("transactions"))?;
                let row = table.get(place.packed()).stored()?;
                decoded(row.ok_or(ReadModelError::Damaged("transactions"))?.value(), "transactions")
            });
            page(rows, limit, cursor)
        })
    }

    /// The envelope with this digest, if it is in a block.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn transaction(&self, envelope: &Digest) -> Result<Option<TransactionRow>> {
        self.read(|txn| {
            let table = txn.open_table(TRANSACTIONS).stored()?;
            for place in places::find(txn, envelope)? {
                let place = Place::unpacked(place).of_envelope();
                let row =
                    table.get(place.packed()).stored()?.ok_or(ReadModelError::Damaged("transactions"))?;
                let row: TransactionRow = decoded(row.value(), "transactions")?;
                if row.digest == *envelope {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })
    }

    /// Where the item with this hash was asked for and what became of it, before a place: accepted once at most, and
    /// refused as often as it was tried.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn item(&self, hash: &Digest, before: Option<Place>, limit: usize) -> Result<Page<ItemRow, Place>> {
        self.read(|txn| {
            let table = txn.open_table(ITEMS).stored()?;
            let places = places::find(txn, hash)?.into_iter().map(Place::unpacked);
            let rows =
                places.filter(|place| before.is_none_or(|before| *place < before)).filter_map(|place| {
                    let found = load_items(&table, place).map(|stored| {
                        let item =
                            stored.items.get(usize::from(place.item)).filter(|item| item.hash == *hash);
                        item.map(|item| ItemRow { place, outcome: item.outcome })
                    });
                    found.transpose()
                });
            page(rows, limit, |row: &ItemRow| row.place)
        })
    }

    /// The records that an operator booked, before a place.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn records_of(
        &self,
        operator: PartyId,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Page<RecordRow, Place>> {
        self.read(|txn| {
            let records = Records::of(txn, before)?;
            let index = txn.open_table(BY_MEMBER).stored()?;
            let (first, last) = below(before, |place| by_member(operator, place));
            let entries = index.range::<&[u8; 13]>((first.as_ref(), last.as_ref())).stored()?.rev();
            let rows = entries.flat_map(|entry| {
                flat((|| {
                    let (key, count) = entry.stored()?;
                    if count.value() == 0 {
                        return Ok(Vec::new());
                    }
                    let envelope = place_in(key.value()).ok_or(ReadModelError::Damaged("records"))?;
                    let stored = records.load(envelope)?;
                    let all = 0..=u8::try_from(stored.items.len().saturating_sub(1)).unwrap_or(u8::MAX);
                    Ok(records.rows(envelope, &stored, all))
                })())
            });
            page(rows, limit, |row: &RecordRow| row.place)
        })
    }

    /// The records of a period that `emsp` owes for to operator `cpo`, before a place.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn records_between(
        &self,
        emsp: PartyId,
        cpo: PartyId,
        period: SettlementPeriod,
        before: Option<Place>,
        limit: usize,
    ) -> Result<Page<RecordRow, Place>> {
        self.read(|txn| {
            all_terms_known(txn)?;
            let records = Records::of(txn, before)?;
            let index = txn.open_table(BY_PAIR).stored()?;
            let (first, last) = below(before, |place| by_pair(emsp, cpo, period, place));
            let entries = index.range::<&[u8; 23]>((first.as_ref(), last.as_ref())).stored()?.rev();
            let rows = entries.flat_map(|entry| {
                flat((|| {
                    let (key, indexes) = entry.stored()?;
                    let envelope = place_in(key.value()).ok_or(ReadModelError::Damaged("records"))?;
                    let stored = records.load(envelope)?;
                    Ok(records.rows(envelope, &stored, indexes.value().iter().copied()))
                })())
            });
            page(rows, limit, |row: &RecordRow| row.place)
        })
    }

    /// The record that an operator booked under an id.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn record(&self, operator: PartyId, id: &CdrId) -> Result<Option<RecordRow>> {
        // A record is booked under the id of its session alone.
        let Ok(session) = SessionId::new(id.as_str()) else { return Ok(None) };
        let session = session_digest(operator, &session);
        self.read(|txn| {
            let table = txn.open_table(ITEMS).stored()?;
            for place in places::find(txn, &session)? {
                let place = Place::unpacked(place);
                let row = load_items(&table, place)?.record(place);
                if let Some(row) = row.filter(|row| row.operator == operator && row.id == *id) {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })
    }

    /// The periods and currencies that records were booked in, the latest period first among those of its kind. The
    /// cursor is the last one that was seen.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn periods(
        &self,
        before: Option<(SettlementPeriod, Currency)>,
        limit: usize,
    ) -> Result<Page<(SettlementPeriod, Currency), (SettlementPeriod, Currency)>> {
        self.read(|txn| {
            all_terms_known(txn)?;
            let totals = txn.open_table(TOTALS).stored()?;
            let mut before = before;
            let rows = std::iter::from_fn(|| {
                let step = (|| {
                    let last = match before {
                        Some((period, currency)) => Bound::Excluded(first_totals_key(period, currency)),
                        None => Bound::Unbounded,
                    };
                    let mut below = totals.range::<&[u8; 18]>((Bound::Unbounded, last.as_ref())).stored()?;
                    let Some((key, _)) = below.next_back().transpose().stored()? else { return Ok(None) };
                    before = Some(totals_period(key.value()).ok_or(ReadModelError::Damaged("totals"))?);
                    Ok(before)
                })();
                step.transpose()
            });
            page(rows, limit, |row| *row)
        })
    }

    /// Who owes whom for the records of a period, in the order of debtors and creditors, after a pair.
    ///
    /// # Errors
    /// [`ReadModelError`]; [`ReadModelError::UnknownTerms`] if not every record's debtor is known.
    pub fn totals(
        &self,
        period: SettlementPeriod,
        currency: Currency,
        after: Option<Pair>,
        limit: usize,
    ) -> Result<Page<TotalRow, Pair>> {
        self.read(|txn| {
            all_terms_known(txn)?;
            let totals = txn.open_table(TOTALS).stored()?;
            let first = match after {
                Some((debtor, creditor)) => Bound::Excluded(totals_key(period, currency, debtor, creditor)),
                None => Bound::Included(first_totals_key(period, currency)),
            };
            let rows = totals.range::<&[u8; 18]>((first.as_ref(), Bound::Unbounded)).stored()?;
            let rows = rows.map_while(|row| {
                let step = (|| {
                    let (key, total) = row.stored()?;
                    if totals_period(key.value()) != Some((period, currency)) {
                        return Ok(None);
                    }
                    let pair = totals_pair(key.value()).ok_or(ReadModelError::Damaged("totals"))?;
                    Ok(Some(total_row(pair, total.value())))
                })();
                step.transpose()
            });
            page(rows, limit, |row: &TotalRow| (row.debtor, row.creditor))
        })
    }

    /// What one member owes another for the records of a period.
    ///
    /// # Errors
    /// As [`Self::totals`].
    pub fn total(
        &self,
        period: SettlementPeriod,
        currency: Currency,
        (debtor, creditor): Pair,
    ) -> Result<Total> {
        self.read(|txn| {
            all_terms_known(txn)?;
            let key = totals_key(period, currency, debtor, creditor);
            let total = txn.open_table(TOTALS).stored()?.get(&key).stored()?;
            Ok(total_row((debtor, creditor), total.map_or((0, 0), |total| total.value())).total)
        })
    }

    /// The height of the first block that it knows or will know: 1, or later where the state was copied from other
    /// validators. Of what was before nothing is found and nothing is in the totals.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn begins_at(&self) -> Result<u64> {
        self.read(|txn| {
            let meta = txn.open_table(META).stored()?;
            let Some(height) = meta.get(META_BEGINS).stored()? else { return Ok(1) };
            let height = height.value().try_into().map_err(|_| ReadModelError::Damaged("first height"))?;
            Ok(u64::from_be_bytes(height))
        })
    }

    /// How many items were refused in blocks, by the name of the refusal, in the order of names.
    ///
    /// # Errors
    /// [`ReadModelError`].
    pub fn rejections(&self) -> Result<Vec<(String, u64)>> {
        self.read(|txn| {
            let table = txn.open_table(REJECTIONS).stored()?;
            let rows = table.iter().stored()?;
            rows.map(|row| row.stored().map(|(name, count)| (name.value().to_owned(), count.value())))
                .collect()
        })
    }
}

fn total_row((debtor, creditor): Pair, (records, micros): (u64, i64)) -> TotalRow {
    TotalRow { debtor, creditor, total: Total { records, micros } }
}

/// Fails if there is a record whose debtor is not known.
fn all_terms_known(txn: &ReadTransaction) -> Result<()> {
    let meta = txn.open_table(META).stored()?;
    let Some(agreement) = meta.get(META_UNKNOWN_TERMS).stored()? else { return Ok(()) };
    let agreement: AgreementRef = decoded(agreement.value(), "terms")?;
    Err(ReadModelError::UnknownTerms(agreement))
}
