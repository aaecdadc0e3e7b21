//! The writer: turns blocks into rows, and rows into transactions of the database.

use super::queue::{Job, Taken};
use super::tables::{
    BLOCKS, BY_MEMBER, BY_PAIR, BlockRow, HEIGHT_MAX, ITEMS, META, META_BEGINS, META_INDEXED,
    META_UNKNOWN_TERMS, Place, REJECTIONS, StoredItem, StoredItems, StoredRecord, TERMS, TOTALS,
    TRANSACTIONS, TransactionRow, TxKind, by_member, by_pair, terms_key, totals_key,
};
use super::{End, Failure, Shared, is_of_damage, places, put_aside};
use crate::block::{Block, own_digest};
use crate::panics::caught;
use commonware_cryptography::Digestible as _;
use eroam_domain::agreement::{AgreementId, RoamingAgreement};
use eroam_domain::cdr::{AgreementRef, Cdr};
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_domain::time::SettlementPeriod;
use eroam_ledger::agreement::{AgreementTx, agreement_id};
use eroam_ledger::cdr::CdrTx;
use eroam_ledger::reject::{Item, ItemOutcome, RejectCode};
use eroam_ledger::tx::{SignedEnvelope, Tx};
use redb::{
    Database, Durability, ReadableDatabase as _, ReadableTable as _, TableDefinition, WriteTransaction,
};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Bound;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

/// So many terms are kept in memory.
const TERMS_KEPT: usize = 4096;
/// The version that terms are kept under until they are accepted.
const PROPOSED: u32 = 0;

/// Indexes what comes until the queue is closed; then closes the file.
pub(super) fn run(shared: &Shared, durable_every: Duration) {
    let mut writer = Writer {
        shared,
        indexed: shared.indexed(),
        terms: BTreeMap::new(),
        unknown_terms: false,
        durable_every,
        durable_by: None,
    };
    // The database may panic where its file is damaged.
    let ran = caught(|| writer.run());
    let failure = match ran {
        Ok(Ok(())) => None,
        Ok(Err(failure)) => Some(failure),
        Err(said) => Some(shared.failed(redb::Error::Corrupted(said))),
    };
    let end = match failure {
        None => End::Closed,
        Some(failure) => {
            tracing::error!(%failure, "read_model.failed");
            End::Failed(Arc::new(failure))
        }
    };
    shared.end(end);
    // Those who are reading finish first. A panic in one of them left the database as it was.
    let database = shared.database.write().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(database) = database
        && let Err(error) = database.close()
    {
        tracing::warn!(%error, path = %shared.path.display(), "read_model.close");
    }
}

impl Shared {
    /// What becomes of an error of the database.
    fn failed(&self, error: redb::Error) -> Failure {
        let reason = error.to_string();
        if is_of_damage(&error) {
            // Then it is said again at the next start.
            let _ = put_aside(&self.path, &reason);
        }
        Failure::Storage { path: self.path.clone(), reason }
    }
}

struct Writer<'a> {
    shared: &'a Shared,
    /// The latest block that is written or about to be.
    indexed: u64,
    /// By agreement and version.
    terms: BTreeMap<(AgreementId, u32), Arc<RoamingAgreement>>,
    unknown_terms: bool,
    durable_every: Duration,
    /// When what was written must be on the disk, if it is not.
    durable_by: Option<Instant>,
}

/// What some blocks add.
#[derive(Default)]
struct Batch {
    blocks: Vec<(u64, Vec<u8>)>,
    transactions: Vec<(u64, Vec<u8>)>,
    items: Vec<(u64, Vec<u8>)>,
    by_member: BTreeMap<[u8; 13], u32>,
    by_pair: BTreeMap<[u8; 23], Vec<u8>>,
    terms: Vec<([u8; 36], Vec<u8>)>,
    totals: BTreeMap<[u8; 18], (u64, i64)>,
    /// By the first byte of the code's canonical bytes, which says which it is.
    rejections: BTreeMap<u8, (RejectCode, u64)>,
    places: Vec<u128>,
    unknown_terms: Option<AgreementRef>,
    /// The height of the first block that there is, where it is not the first of all.
    begins: Option<u64>,
}

impl Writer<'_> {
    fn run(&mut self) -> Result<(), Failure> {
        loop {
            match self.shared.queue.take(self.durable_by) {
                Taken::Jobs(jobs) => self.index(&jobs)?,
                Taken::Nothing => self.write(Batch::default())?,
                Taken::Closed => {
                    if self.durable_by.is_some() {
                        self.durable_by = Some(Instant::now());
                        self.write(Batch::default())?;
                    }
                    return Ok(());
                }
            }
        }
    }

    fn storage(&self, error: impl Into<redb::Error>) -> Failure {
        self.shared.failed(error.into())
    }

    /// Uses the database, which is open as long as the writer is at work.
    fn database<T>(&self, act: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Failure> {
        let database = self.shared.database.read().unwrap_or_else(PoisonError::into_inner);
        let acted = database.as_ref().ok_or(redb::Error::DatabaseClosed).and_then(act);
        acted.map_err(|error| self.storage(error))
    }

    fn index(&mut self, jobs: &[Job]) -> Result<(), Failure> {
        let mut batch = Batch::default();
        for job in jobs {
            match job {
                Job::Block(block) => self.block(&mut batch, block)?,
                // Later the ledger may have put others in their place.
                Job::Terms(terms) if self.indexed == 0 => {
                    for ((id, version), terms) in terms {
                        self.learn(&mut batch, *id, *version, terms);
                    }
                }
                Job::Terms(_) => {}
                Job::Begins(height, terms) => {
                    let before = height.saturating_sub(1);
                    if self.indexed < before {
                        self.indexed = before;
                        batch.begins = Some(*height);
                        for ((id, version), terms) in terms {
                            self.learn(&mut batch, *id, *version, terms);
                        }
                    }
                }
            }
        }
        let nothing = batch.blocks.is_empty() && batch.terms.is_empty() && batch.begins.is_none();
        if nothing { Ok(()) } else { self.write(batch) }
    }

    /// The digest of the block at `height`, if it is known and written.
    fn digest_at(&self, height: u64) -> Result<Option<Digest>, Failure> {
        self.database(|database| {
            let blocks = database.begin_read()?.open_table(BLOCKS)?;
            let row = blocks.get(height)?;
            Ok(row.and_then(|row| from_bytes::<BlockRow>(row.value()).ok()).map(|row| row.digest))
        })
    }

    fn block(&mut self, batch: &mut Batch, block: &Block) -> Result<(), Failure> {
        let header = block.header();
        let height = header.height;
        let next = self.indexed.saturating_add(1);
        if height > next {
            tracing::error!(height, wanted = next, "read_model.gap");
            return Ok(());
        }
        let other = || Failure::OtherHistory { path: self.shared.path.clone(), height };
        if height < next {
            // Not yet written: then it came from the same hands a moment ago.
            let known = self.digest_at(height)?;
            return if known.is_some_and(|known| known != own_digest(block.digest())) {
                Err(other())
            } else {
                Ok(())
            };
        }
        let parent = match batch.blocks.last() {
            Some((last, row)) if *last == self.indexed => {
                from_bytes::<BlockRow>(row).ok().map(|row| row.digest)
            }
            _ => self.digest_at(self.indexed)?,
        };
        if parent.is_some_and(|parent| parent != header.parent) {
            return Err(other());
        }
        let contents = block.contents().filter(|_| height <= HEIGHT_MAX).ok_or(Failure::Block(height))?;
        let (mut items, mut rejected) = (0u32, 0u32);
        for ((signed, outcomes), index) in contents.envelopes.iter().zip(&contents.items).zip(0usize..) {
            let envelope = u16::try_from(index).map_err(|_| Failure::Block(height))?;
            let row = self.envelope(batch, Place { height, envelope, item: 0 }, signed, outcomes)?;
            items = items.saturating_add(row.items);
            rejected = rejected.saturating_add(row.rejected);
        }
        let row = BlockRow {
            height,
            time: header.time,
            digest: own_digest(block.digest()),
            epoch: header.epoch,
            view: header.view,
            leader: header.leader,
            envelopes: count(contents.envelopes.len()),
            items,
            rejected,
            body_bytes: count(block.body().len()),
        };
        batch.blocks.push((height, to_bytes(&row)));
        self.indexed = height;
        Ok(())
    }

    fn envelope(
        &mut self,
        batch: &mut Batch,
        place: Place,
        signed: &SignedEnvelope,
        outcomes: &[Item],
    ) -> Result<TransactionRow, Failure> {
        let envelope = signed.envelope();
        let (digest, packed) = (signed.digest(), place.packed());
        batch.places.push(places::entry(&digest, packed));
        let refusals = outcomes.iter().filter_map(|item| item.outcome.rejection());
        let mut rejected = 0u32;
        for code in refusals {
            rejected = rejected.saturating_add(1);
            let which = to_bytes(&code).first().copied().unwrap_or_default();
            let (_, count) = batch.rejections.entry(which).or_insert((code, 0));
            *count = count.saturating_add(1);
        }
        if rejected == 0 {
            self.agreement(batch, &envelope.tx)?;
        }
        let mut stored = StoredItems {
            member: envelope.member,
            agreements: Vec::new(),
            items: Vec::with_capacity(outcomes.len()),
        };
        for (item, index) in outcomes.iter().zip(0usize..) {
            let item_index = u8::try_from(index).map_err(|_| Failure::Block(place.height))?;
            let at = Place { item: item_index, ..place };
            batch.places.push(places::entry(&item.hash, at.packed()));
            let record = match (&envelope.tx, item.outcome) {
                (Tx::Cdr(CdrTx::RecordCdrs(cdrs)), ItemOutcome::Accepted { booked_in: Some(period) }) => {
                    let cdr = cdrs.get(index).ok_or(Failure::Block(place.height))?;
                    Some(self.record(batch, &mut stored, at, cdr, period)?)
                }
                _ => None,
            };
            stored.items.push(StoredItem { hash: item.hash, outcome: item.outcome, record });
        }
        let records = stored.items.iter().filter(|item| item.record.is_some()).count();
        batch.by_member.insert(by_member(envelope.member, packed), count(records));
        batch.items.push((packed, to_bytes(&stored)));
        let row = TransactionRow {
            place,
            digest,
            member: envelope.member,
            lane: envelope.lane,
            sequence: envelope.sequence,
            kind: TxKind::of(&envelope.tx),
            items: count(outcomes.len()),
            rejected,
        };
        batch.transactions.push((packed, to_bytes(&row)));
        Ok(row)
    }

    /// A record that was booked.
    fn record(
        &mut self,
        batch: &mut Batch,
        stored: &mut StoredItems,
        place: Place,
        cdr: &Cdr,
        period: SettlementPeriod,
    ) -> Result<StoredRecord, Failure> {
        // The ledger has checked that this is the digest of the operator and the record's id.
        batch.places.push(places::entry(&cdr.session, place.packed()));
        let terms = self.terms(cdr.agreement)?;
        let mut owed = 0;
        match &terms {
            Some(terms) => {
                owed = debts(batch, terms, cdr, period).ok_or(Failure::Block(place.height))?;
                let key = by_pair(terms.emsp, terms.cpo, period, place.of_envelope().packed());
                batch.by_pair.entry(key).or_default().push(place.item);
            }
            None => {
                if !self.unknown_terms {
                    tracing::error!(agreement = %cdr.agreement.id, "read_model.unknown_terms");
                    self.unknown_terms = true;
                    batch.unknown_terms = Some(cdr.agreement);
                }
            }
        }
        let known = stored.agreements.iter().rposition(|(agreement, _)| *agreement == cdr.agreement);
        let index = known.unwrap_or_else(|| {
            stored.agreements.push((cdr.agreement, terms.map(|terms| terms.emsp)));
            stored.agreements.len().saturating_sub(1)
        });
        Ok(StoredRecord {
            id: cdr.id.clone(),
            // No more than there are items.
            agreement: u8::try_from(index).map_err(|_| Failure::Block(place.height))?,
            energy: cdr.energy,
            price: cdr.price,
            currency: cdr.currency,
            owed,
        })
    }

    /// Follows an accepted transaction: terms count once the other side has accepted them.
    fn agreement(&mut self, batch: &mut Batch, tx: &Tx) -> Result<(), Failure> {
        match tx {
            Tx::Agreement(AgreementTx::Propose { terms, effective_from }) => {
                self.learn(batch, agreement_id(terms, *effective_from), PROPOSED, terms);
            }
            Tx::Agreement(AgreementTx::Amend { id, terms, .. }) => self.learn(batch, *id, PROPOSED, terms),
            Tx::Agreement(AgreementTx::Accept { id, version, .. }) => {
                // What was proposed before the network began is kept under its version already.
                if let Some(terms) = self.terms(AgreementRef { id: *id, version: PROPOSED })? {
                    self.learn(batch, *id, *version, &terms);
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn learn(&mut self, batch: &mut Batch, id: AgreementId, version: u32, terms: &RoamingAgreement) {
        batch.terms.push((terms_key(id, version), to_bytes(terms)));
        self.keep(id, version, Arc::new(terms.clone()));
    }

    fn keep(&mut self, id: AgreementId, version: u32, terms: Arc<RoamingAgreement>) {
        self.terms.insert((id, version), terms);
    }

    fn terms(&mut self, agreement: AgreementRef) -> Result<Option<Arc<RoamingAgreement>>, Failure> {
        let AgreementRef { id, version } = agreement;
        if let Entry::Occupied(known) = self.terms.entry((id, version)) {
            return Ok(Some(Arc::clone(known.get())));
        }
        let terms: Option<RoamingAgreement> = self.database(|database| {
            let table = database.begin_read()?.open_table(TERMS)?;
            let stored = table.get(&terms_key(id, version))?;
            Ok(stored.and_then(|stored| from_bytes(stored.value()).ok()))
        })?;
        let terms = terms.map(Arc::new);
        if let Some(terms) = &terms {
            self.keep(id, version, Arc::clone(terms));
        }
        Ok(terms)
    }

    /// Writes what was added. Readers see it at once; on the disk it is now and then.
    fn write(&mut self, batch: Batch) -> Result<(), Failure> {
        let now = Instant::now();
        let by = *self.durable_by.get_or_insert(now + self.durable_every);
        let durable = by <= now;
        let indexed = self.indexed;
        self.database(|database| {
            let mut txn = database.begin_write()?;
            txn.set_durability(if durable { Durability::Immediate } else { Durability::None })?;
            // Otherwise the whole file is read when it is opened after a crash.
            txn.set_quick_repair(durable);
            batch.write(&txn)?;
            txn.open_table(META)?.insert(META_INDEXED, indexed.to_be_bytes().as_slice())?;
            Ok(txn.commit()?)
        })?;
        if durable {
            self.durable_by = None;
        }
        if self.terms.len() > TERMS_KEPT {
            // All of them can be read again now.
            self.terms.clear();
        }
        self.shared.advance(indexed);
        Ok(())
    }
}

/// A number of things of a block, whose bytes are limited.
fn count(things: usize) -> u32 {
    u32::try_from(things).unwrap_or(u32::MAX)
}

/// Adds a record to the totals as the ledger books it ([`eroam_ledger::settlement`]); gives what is owed in all.
fn debts(batch: &mut Batch, terms: &RoamingAgreement, cdr: &Cdr, period: SettlementPeriod) -> Option<i64> {
    let due = terms.due(cdr.price);
    let mut owed = 0i64;
    for (creditor, amount) in terms.shares.split(due, cdr.energy, terms.cpo)? {
        // A share of the debtor's own is money that it need not pay anybody.
        if creditor == terms.emsp {
            continue;
        }
        owed = owed.checked_add(amount)?;
        let key = totals_key(period, cdr.currency, terms.emsp, creditor);
        let (records, micros) = batch.totals.entry(key).or_default();
        *records = records.checked_add(1)?;
        *micros = micros.checked_add(amount)?;
    }
    Some(owed)
}

impl Batch {
    fn write(self, txn: &WriteTransaction) -> Result<(), redb::Error> {
        append(txn, BLOCKS, &self.blocks)?;
        append(txn, TRANSACTIONS, &self.transactions)?;
        append(txn, ITEMS, &self.items)?;
        if !self.by_member.is_empty() {
            let mut table = txn.open_table(BY_MEMBER)?;
            for (key, records) in &self.by_member {
                table.insert(key, records)?;
            }
        }
        if !self.by_pair.is_empty() {
            let mut table = txn.open_table(BY_PAIR)?;
            for (key, items) in &self.by_pair {
                table.insert(key, items.as_slice())?;
            }
        }
        if !self.terms.is_empty() {
            let mut table = txn.open_table(TERMS)?;
            for (key, terms) in &self.terms {
                table.insert(key, terms.as_slice())?;
            }
        }
        if !self.totals.is_empty() {
            let mut table = txn.open_table(TOTALS)?;
            for (key, (records, micros)) in &self.totals {
                let (old_records, old_micros) = table.get(key)?.map_or((0, 0), |total| total.value());
                let sum = old_micros.checked_add(*micros).ok_or_else(|| {
                    redb::Error::Corrupted("a total does not fit into 64 bits of millionths".to_owned())
                })?;
                table.insert(key, (old_records.saturating_add(*records), sum))?;
            }
        }
        if !self.rejections.is_empty() {
            let mut table = txn.open_table(REJECTIONS)?;
            for (code, count) in self.rejections.values() {
                let name = name_of(*code);
                let old = table.get(name.as_str())?.map_or(0, |count| count.value());
                table.insert(name.as_str(), old.saturating_add(*count))?;
            }
        }
        if let Some(height) = self.begins {
            txn.open_table(META)?.insert(META_BEGINS, height.to_be_bytes().as_slice())?;
        }
        if let Some(agreement) = self.unknown_terms {
            txn.open_table(META)?.insert(META_UNKNOWN_TERMS, to_bytes(&agreement).as_slice())?;
        }
        places::add(txn, self.places)
    }
}

/// Adds rows whose keys come after all others.
fn append(
    txn: &WriteTransaction,
    table: TableDefinition<'_, u64, &'static [u8]>,
    rows: &[(u64, Vec<u8>)],
) -> Result<(), redb::Error> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = txn.open_table(table)?;
    let mut end = table.upper_bound_mut(Bound::<u64>::Unbounded)?;
    for (key, row) in rows {
        end.insert_before(*key, row.as_slice())?;
    }
    end.close()?;
    Ok(())
}

/// The code's name as receipts write it: `price_mismatch`.
pub(super) fn name_of(code: RejectCode) -> String {
    let whole = format!("{code:?}");
    let mut name = String::with_capacity(whole.len());
    for letter in whole.chars().take_while(char::is_ascii_alphanumeric) {
        if letter.is_ascii_uppercase() && !name.is_empty() {
            name.push('_');
        }
        name.push(letter.to_ascii_lowercase());
    }
    name
}
