//! The read model against blocks of envelopes that the ledger has really executed.

mod network;

use super::tables::{BY_MEMBER, BY_PAIR, CHUNKS, ITEMS, REJECTIONS, RUNS, TERMS, TOTALS, TRANSACTIONS};
use super::*;
use eroam_domain::agreement::{RoamingAgreement, VatTreatment};
use eroam_domain::cdr::{Cdr, CdrId};
use eroam_domain::money::Currency;
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::SettlementPeriod;
use eroam_ledger::agreement::AgreementTx;
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::settlement::SettlementTx;
use eroam_ledger::tx::Tx;
use network::{Network, Roaming, cdr_id, eur, hom, own, party, period_of, records, shared, terms, uti, vis};
use proptest::prelude::*;
use redb::backends::InMemoryBackend;
use redb::{Key, ReadableTable as _, StorageBackend, TableDefinition, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use tables::BLOCKS;

const SOON: Duration = Duration::from_secs(60);
/// Nothing is written to the disk before the end.
const AT_THE_END: Duration = Duration::from_secs(86_400);

/// A network with two operators and two home utilities, and 24 blocks.
struct World {
    network: Network,
    /// In the order of their booking, with the agreement that they are charged under.
    booked: Vec<(Roaming, Cdr)>,
}

fn world() -> World {
    let mut network = Network::new();
    let home = network.agree(&terms(hom(), vis()));
    let mut reverse = terms(hom(), uti());
    reverse.vat = VatTreatment::ReverseCharge;
    let reverse = network.agree(&reverse);
    let utility = network.agree(&terms(uti(), vis()));
    network.seal();
    // Half of the sessions of `home` are of the last two days, and so under the new version.
    let mut with_shares = home.terms.clone();
    with_shares.shares = shared();
    network.propose_amendment(&home, &with_shares);
    let amended = network.accept_amendment(&home, &with_shares);
    network.seal();
    let mut booked = Vec::new();
    for block in 0..20u32 {
        for envelope in 0..3 {
            let numbers = (0..4).map(|n| block * 100 + envelope * 10 + n);
            let (operator, cdrs): (_, Vec<(Roaming, Cdr)>) = match envelope {
                0 => (vis(), numbers.map(|n| in_force(&[&home, &amended], n)).collect()),
                1 => (uti(), numbers.map(|n| (reverse.clone(), reverse.cdr(n))).collect()),
                _ => (vis(), numbers.map(|n| (utility.clone(), utility.cdr(n))).collect()),
            };
            network.submit(operator, records(cdrs.iter().map(|(_, cdr)| cdr.clone())));
            booked.extend(cdrs);
        }
        if block % 5 == 0 {
            let reservations = vec![amended.reservation(9_000 + block), amended.reservation(9_000 + block)];
            network.submit(vis(), Tx::Settlement(SettlementTx::ReserveCredit(reservations)));
            network.submit(hom(), records([home.cdr(1)]));
        }
        network.seal();
    }
    network.seal();
    network.submit(vis(), records([booked[0].1.clone(), in_force(&[&home, &amended], 7_777).1]));
    booked.push(in_force(&[&home, &amended], 7_777));
    network.seal();
    World { network, booked }
}

/// The record under that version which was in force when its quote was accepted.
fn in_force(versions: &[&Roaming], number: u32) -> (Roaming, Cdr) {
    let recent = versions[1].cdr(number);
    let two_days = DurationMs::from_millis(2 * 86_400_000);
    if network::noon().since(recent.accepted_at).is_some_and(|age| age <= two_days) {
        (versions[1].clone(), recent)
    } else {
        (versions[0].clone(), versions[0].cdr(number))
    }
}

/// A read model in a directory that goes away.
struct Opened {
    model: ReadModel,
    feed: Option<Feed>,
    directory: tempfile::TempDir,
}

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("index.redb")
}

fn open_in(directory: tempfile::TempDir) -> Opened {
    let (model, feed) = ReadModel::open_with(&path(&directory), Network::NAME, AT_THE_END).unwrap();
    Opened { model, feed: Some(feed), directory }
}

fn empty() -> Opened {
    open_in(tempfile::tempdir().unwrap())
}

impl Opened {
    fn feed(&self) -> &Feed {
        self.feed.as_ref().unwrap()
    }

    fn give(&self, blocks: &[Arc<Block>]) {
        for block in blocks {
            self.feed().block(Arc::clone(block));
        }
        if let Some(last) = blocks.last() {
            assert!(self.model.wait_for(last.header().height, SOON));
        }
    }

    fn reopen(mut self) -> Self {
        drop(self.feed.take());
        open_in(self.directory)
    }
}

/// All of the world's blocks are indexed.
fn full() -> (World, Opened) {
    let world = world();
    let opened = empty();
    opened.give(&world.network.blocks);
    (world, opened)
}

/// All pages of a query.
fn all<R, C: Clone>(
    limit: usize,
    query: impl Fn(Option<C>, usize) -> Result<Page<R, C>, ReadModelError>,
) -> Vec<R> {
    let (mut rows, mut cursor) = (Vec::new(), None);
    loop {
        let page = query(cursor, limit).unwrap();
        assert!(page.rows.len() <= limit);
        assert!(page.next.is_none() || page.rows.len() == limit);
        rows.extend(page.rows);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return rows,
        }
    }
}

/// Everything in a table, as bytes.
fn dump<K: Key + 'static, V: Value + 'static>(
    model: &ReadModel,
    table: TableDefinition<'static, K, V>,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let database = model.shared.database.read().unwrap();
    let table = database.as_ref().unwrap().begin_read().unwrap().open_table(table).unwrap();
    let rows = table.iter().unwrap().map(Result::unwrap);
    rows.map(|(k, v)| (K::as_bytes(&k.value()).as_ref().to_vec(), V::as_bytes(&v.value()).as_ref().to_vec()))
        .collect()
}

/// Everything that it holds, as far as it does not depend on which blocks were written together.
fn contents(model: &ReadModel) -> Vec<Vec<(Vec<u8>, Vec<u8>)>> {
    let entries = dump(model, CHUNKS).into_iter().flat_map(|(_, chunk)| {
        chunk.chunks(16).map(|entry| (entry.to_vec(), Vec::new())).collect::<Vec<_>>()
    });
    let entries: BTreeSet<_> = entries.collect();
    vec![
        dump(model, META),
        dump(model, BLOCKS),
        dump(model, TRANSACTIONS),
        dump(model, ITEMS),
        dump(model, BY_MEMBER),
        dump(model, BY_PAIR),
        dump(model, TERMS),
        dump(model, TOTALS),
        dump(model, REJECTIONS),
        entries.into_iter().collect(),
    ]
}

#[test]
fn blocks_are_listed_once_each_the_latest_first() {
    let (world, opened) = full();
    for limit in [1, 7, PAGE_MAX] {
        let rows = all(limit, |before, limit| opened.model.blocks(before, limit));
        let heights: Vec<u64> = rows.iter().map(|row| row.height).collect();
        assert_eq!(heights, (1..=24).rev().collect::<Vec<_>>());
    }
    for block in &world.network.blocks {
        let header = block.header();
        let row = opened.model.block(header.height).unwrap().unwrap();
        let items: Vec<_> = block.contents().unwrap().items.iter().flatten().collect();
        let rejected = items.iter().filter(|item| !item.outcome.is_accepted()).count();
        let expected = BlockRow {
            height: header.height,
            time: header.time,
            digest: header.digest(),
            epoch: header.epoch,
            view: header.view,
            leader: header.leader,
            envelopes: u32::try_from(block.contents().unwrap().envelopes.len()).unwrap(),
            items: u32::try_from(items.len()).unwrap(),
            rejected: u32::try_from(rejected).unwrap(),
            body_bytes: u32::try_from(block.body().len()).unwrap(),
        };
        assert_eq!(row, expected);
    }
    assert_eq!(opened.model.block(25).unwrap(), None);
}

#[test]
fn a_page_never_has_more_rows_than_the_limit() {
    let mut network = Network::new();
    for _ in 0..PAGE_MAX + 1 {
        network.seal();
    }
    let opened = empty();
    opened.give(&network.blocks);
    assert_eq!(opened.model.blocks(None, usize::MAX).unwrap().rows.len(), PAGE_MAX);
    assert_eq!(opened.model.blocks(None, 0).unwrap().rows.len(), 1);
}

/// Every envelope of the blocks with its place, the latest first.
fn envelopes(world: &World) -> Vec<(Place, Arc<eroam_ledger::tx::SignedEnvelope>)> {
    let of_block = |block: &Arc<Block>| {
        let height = block.header().height;
        let envelopes = block.contents().unwrap().envelopes.clone();
        envelopes
            .into_iter()
            .zip(0u16..)
            .map(move |(signed, envelope)| (Place { height, envelope, item: 0 }, signed))
    };
    let mut all: Vec<_> = world.network.blocks.iter().flat_map(of_block).collect();
    all.reverse();
    all
}

#[test]
fn transactions_are_listed_by_member_and_all_together() {
    let (world, opened) = full();
    let members = [None, Some(hom()), Some(vis()), Some(uti()), Some(party("XX-XXX"))];
    for (member, limit) in members.into_iter().flat_map(|m| [1, 4, 33, PAGE_MAX].map(|l| (m, l))) {
        let rows = all(limit, |before, limit| opened.model.transactions(member, before, limit));
        let expected: Vec<(Place, Digest)> = envelopes(&world)
            .into_iter()
            .filter(|(_, signed)| member.is_none_or(|member| signed.envelope().member == member))
            .map(|(place, signed)| (place, signed.digest()))
            .collect();
        assert_eq!(rows.iter().map(|row| (row.place, row.digest)).collect::<Vec<_>>(), expected);
    }
}

#[test]
fn a_transaction_is_found_by_its_digest() {
    let (world, opened) = full();
    for (place, signed) in envelopes(&world) {
        let (digest, envelope) = (signed.digest(), signed.envelope());
        let row = opened.model.transaction(&digest).unwrap().unwrap();
        let block = &world.network.blocks[usize::try_from(place.height).unwrap() - 1];
        let items = &block.contents().unwrap().items[usize::from(place.envelope)];
        assert_eq!((row.place, row.digest, row.member), (place, digest, envelope.member));
        assert_eq!((row.lane, row.sequence), (envelope.lane, envelope.sequence));
        assert_eq!(row.kind, TxKind::of(&envelope.tx));
        assert_eq!(usize::try_from(row.items).unwrap(), items.len());
        assert_eq!(
            usize::try_from(row.rejected).unwrap(),
            items.iter().filter(|item| !item.outcome.is_accepted()).count()
        );
        let found = opened.model.place_of(&digest, 24).unwrap();
        assert_eq!(found, Some((place.height, usize::from(place.envelope))));
    }
    assert_eq!(opened.model.transaction(&Digest::of(b"another")).unwrap(), None);
    assert_eq!(opened.model.place_of(&Digest::of(b"another"), 24).unwrap(), None);
}

#[test]
fn a_transaction_is_named_by_family_and_name() {
    let (world, opened) = full();
    let rows = all(PAGE_MAX, |before, limit| opened.model.transactions(None, before, limit));
    let names: BTreeSet<String> = rows.iter().map(|row| row.kind.to_string()).collect();
    let expected = [
        "agreement.accept",
        "agreement.amend",
        "agreement.propose",
        "cdr.record_cdrs",
        "settlement.reserve_credit",
        "tariff.publish_tariff",
    ];
    assert_eq!(names.iter().map(String::as_str).collect::<Vec<_>>(), expected);
    drop(world);
}

#[test]
fn an_item_is_found_wherever_it_was_tried() {
    let (world, opened) = full();
    let mut expected: BTreeMap<Digest, Vec<ItemRow>> = BTreeMap::new();
    for block in &world.network.blocks {
        for (items, envelope) in block.contents().unwrap().items.iter().zip(0u16..) {
            for (found, item) in items.iter().zip(0u8..) {
                let place = Place { height: block.header().height, envelope, item };
                expected.entry(found.hash).or_default().insert(0, ItemRow { place, outcome: found.outcome });
            }
        }
    }
    for (hash, rows) in &expected {
        assert_eq!(&all(1, |before, limit| opened.model.item(hash, before, limit)), rows);
    }
    // The first record was booked, and refused as a duplicate at the end.
    let first = &expected[&world.booked[0].1.digest()];
    let outcomes: Vec<_> = first.iter().map(|row| (row.place.to_string(), row.outcome.rejection())).collect();
    assert_eq!(
        outcomes,
        [("24.0.0".to_owned(), Some(RejectCode::DuplicateRecord)), ("3.0.0".to_owned(), None)]
    );
    assert_eq!(all(9, |before, limit| opened.model.item(&Digest::of(b"another"), before, limit)), []);
}

#[track_caller]
fn assert_is(row: &RecordRow, roaming: &Roaming, cdr: &Cdr) {
    let owed: i64 = roaming
        .terms
        .shares
        .split(roaming.terms.due(cdr.price), cdr.energy, roaming.terms.cpo)
        .unwrap()
        .into_iter()
        .filter(|(creditor, _)| *creditor != roaming.terms.emsp)
        .map(|(_, amount)| amount)
        .sum();
    let expected = RecordRow {
        place: row.place,
        operator: roaming.terms.cpo,
        id: cdr.id.clone(),
        digest: cdr.digest(),
        agreement: roaming.at,
        debt: Some(Debt { emsp: roaming.terms.emsp, micros: owed }),
        period: period_of(cdr),
        energy: cdr.energy,
        price: cdr.price,
        currency: eur(),
    };
    assert_eq!(*row, expected);
}

#[test]
fn records_are_listed_by_their_operator() {
    let (world, opened) = full();
    for (operator, limit) in [(vis(), 1), (vis(), 3), (vis(), 50), (uti(), 7), (uti(), PAGE_MAX), (hom(), 5)]
    {
        let rows = all(limit, |before, limit| opened.model.records_of(operator, before, limit));
        let expected: Vec<_> = world.booked.iter().rev().filter(|(r, _)| r.terms.cpo == operator).collect();
        assert_eq!(rows.len(), expected.len());
        for (row, (roaming, cdr)) in rows.iter().zip(expected) {
            assert_is(row, roaming, cdr);
        }
        assert!(rows.is_sorted_by(|a, b| a.place > b.place));
    }
}

#[test]
fn records_are_listed_by_debtor_operator_and_period() {
    let (world, opened) = full();
    let mut expected: BTreeMap<_, Vec<&(Roaming, Cdr)>> = BTreeMap::new();
    for record in &world.booked {
        let (roaming, cdr) = record;
        let key = (roaming.terms.emsp, roaming.terms.cpo, period_of(cdr));
        expected.entry(key).or_default().insert(0, record);
    }
    assert!(expected.len() > 10, "several periods of three pairs");
    for ((emsp, cpo, period), records) in expected {
        for limit in [1, 3, PAGE_MAX] {
            let rows =
                all(limit, |before, limit| opened.model.records_between(emsp, cpo, period, before, limit));
            assert_eq!(rows.len(), records.len());
            for (row, (roaming, cdr)) in rows.iter().zip(&records) {
                assert_is(row, roaming, cdr);
            }
        }
    }
    let nothing = opened.model.records_between(vis(), hom(), period_of(&world.booked[0].1), None, 9).unwrap();
    assert_eq!(nothing, Page { rows: Vec::new(), next: None });
}

#[test]
fn a_record_is_found_by_its_operator_and_id() {
    let (world, opened) = full();
    for (roaming, cdr) in &world.booked {
        let row = opened.model.record(roaming.terms.cpo, &cdr.id).unwrap().unwrap();
        assert_is(&row, roaming, cdr);
    }
    // The other operator has no record of that id, nor has anybody one that was refused.
    let (roaming, cdr) = &world.booked[0];
    let other = if roaming.terms.cpo == vis() { uti() } else { vis() };
    assert_eq!(opened.model.record(other, &cdr.id).unwrap(), None);
    assert_eq!(opened.model.record(hom(), &cdr_id(1)).unwrap(), None);
    let too_long = CdrId::new(&"x".repeat(39)).unwrap();
    assert_eq!(opened.model.record(vis(), &too_long).unwrap(), None);
}

#[test]
fn the_totals_are_what_the_ledger_has_booked() {
    let (world, opened) = full();
    let periods = all(2, |before, limit| opened.model.periods(before, limit));
    let expected: BTreeSet<SettlementPeriod> = world.booked.iter().map(|(_, cdr)| period_of(cdr)).collect();
    assert_eq!(periods, expected.iter().rev().map(|period| (*period, eur())).collect::<Vec<_>>());
    let mut pairs = BTreeSet::new();
    for (period, currency) in periods {
        let totals = all(1, |after, limit| opened.model.totals(period, currency, after, limit));
        assert!(totals.is_sorted_by(|a, b| (a.debtor, a.creditor) < (b.debtor, b.creditor)));
        for TotalRow { debtor, creditor, total } in totals {
            assert_eq!(total.micros, world.network.owed(period, debtor, creditor), "{debtor} to {creditor}");
            assert_eq!(opened.model.total(period, currency, (debtor, creditor)).unwrap(), total);
            let rows = all(PAGE_MAX, |b, l| opened.model.records_between(debtor, creditor, period, b, l));
            if creditor != own() {
                assert_eq!(u64::try_from(rows.len()).unwrap(), total.records);
            }
            pairs.insert((debtor, creditor));
        }
    }
    let expected = [(uti(), vis()), (hom(), own()), (hom(), uti()), (hom(), vis())];
    assert_eq!(pairs, expected.into(), "each pair that owes, the owner of sites among them");
    let other = Currency::new("USD").unwrap();
    let nothing = opened.model.total(period_of(&world.booked[0].1), other, (hom(), vis())).unwrap();
    assert_eq!(nothing, Total { records: 0, micros: 0 });
}

#[test]
fn refusals_are_counted_by_their_names() {
    let (_, opened) = full();
    let expected = [("duplicate_record", 1), ("duplicate_reservation", 4), ("wrong_role", 4)];
    assert_eq!(opened.model.rejections().unwrap(), expected.map(|(name, count)| (name.to_owned(), count)));
}

#[test]
fn blocks_that_come_again_change_nothing() {
    let (world, opened) = full();
    let before = contents(&opened.model);
    let opened = opened.reopen();
    assert_eq!((opened.feed().indexed(), opened.model.wanted_from()), (24, 25));
    opened.give(&world.network.blocks);
    let opened = opened.reopen();
    assert!(contents(&opened.model) == before);
}

#[test]
fn a_rebuilt_one_is_the_same_as_one_that_grew() {
    let (world, whole) = full();
    let grown = empty();
    for block in &world.network.blocks {
        grown.give(std::slice::from_ref(block));
    }
    assert!(contents(&grown.model) == contents(&whole.model));
    let runs = dump(&grown.model, RUNS).len();
    assert!((1..24).contains(&runs), "{runs} runs of 24 commits");
}

#[test]
fn after_a_crash_the_lost_blocks_are_wanted_again() {
    let world = world();
    let (early, late) = world.network.blocks.split_at(10);
    let opened = empty();
    opened.give(early);
    let opened = opened.reopen();
    opened.give(late);
    // What a crash leaves is what is in the file while it is open.
    let left = tempfile::tempdir().unwrap();
    fs::copy(path(&opened.directory), path(&left)).unwrap();
    let crashed = open_in(left);
    assert_eq!(crashed.feed().indexed(), 10);
    crashed.give(late);
    assert!(contents(&crashed.model) == contents(&opened.model));
    let reopened = crashed.reopen();
    assert_eq!(reopened.feed().indexed(), 24);
    assert!(contents(&reopened.model) == contents(&opened.model));
}

#[test]
fn what_was_committed_for_good_survives_a_crash() {
    let world = world();
    let directory = tempfile::tempdir().unwrap();
    let (model, feed) = ReadModel::open_with(&path(&directory), Network::NAME, Duration::ZERO).unwrap();
    let opened = Opened { model, feed: Some(feed), directory };
    opened.give(&world.network.blocks);
    let left = tempfile::tempdir().unwrap();
    fs::copy(path(&opened.directory), path(&left)).unwrap();
    let crashed = open_in(left);
    assert_eq!(crashed.feed().indexed(), 24);
    assert!(contents(&crashed.model) == contents(&opened.model));
}

#[test]
fn a_damaged_file_is_put_aside_and_made_again() {
    let (world, mut opened) = full();
    drop(opened.feed.take());
    let whole = fs::read(path(&opened.directory)).unwrap();
    let mut no_header = whole.clone();
    no_header[..512].fill(0xff);
    let mut no_pages = whole.clone();
    no_pages[4096..].fill(0xff);
    let damaged = [
        b"no database".to_vec(),
        whole[..whole.len() / 2].to_vec(),
        whole[..100].to_vec(),
        no_header,
        no_pages,
    ];
    for bytes in damaged {
        let directory = tempfile::tempdir().unwrap();
        fs::write(path(&directory), &bytes).unwrap();
        let again = open_in(directory);
        assert_eq!(again.feed().indexed(), 0);
        assert!(again.directory.path().join("index.redb.damaged").exists());
        again.give(&world.network.blocks);
        assert_eq!(again.model.rejections().unwrap().len(), 3);
    }
}

/// Asks everything; errors are answers too.
fn ask(opened: &Opened, world: &World) {
    let model = &opened.model;
    let (roaming, cdr) = &world.booked[0];
    let (operator, period) = (roaming.terms.cpo, period_of(cdr));
    let _ = (model.blocks(None, PAGE_MAX), model.block(3), model.transactions(None, None, PAGE_MAX));
    let _ =
        (model.transactions(Some(operator), None, PAGE_MAX), model.place_of(&cdr.digest(), model.indexed()));
    let _ = (model.item(&cdr.digest(), None, PAGE_MAX), model.record(operator, &cdr.id));
    let _ = (model.records_of(operator, None, PAGE_MAX), model.periods(None, PAGE_MAX));
    let _ = model.records_between(roaming.terms.emsp, operator, period, None, PAGE_MAX);
    let _ = (model.totals(period, eur(), None, PAGE_MAX), model.rejections());
}

#[test]
fn damage_inside_a_file_ends_nothing_but_the_read_model() {
    let (world, mut opened) = full();
    drop(opened.feed.take());
    let whole = fs::read(path(&opened.directory)).unwrap();
    let pages =
        (1..whole.len() / 4096).filter(|page| whole[page * 4096..][..4096].iter().any(|byte| *byte != 0));
    for page in pages.step_by(3) {
        let mut damaged = whole.clone();
        damaged[page * 4096..][..4096].fill(0xff);
        let directory = tempfile::tempdir().unwrap();
        fs::write(path(&directory), &damaged).unwrap();
        let again = open_in(directory);
        for block in &world.network.blocks {
            again.feed().block(Arc::clone(block));
        }
        ask(&again, &world);
    }
}

#[test]
fn a_file_of_another_network_or_format_is_made_again() {
    let (world, mut opened) = full();
    drop(opened.feed.take());
    let (model, feed) = ReadModel::open(&path(&opened.directory), Digest::of(b"another")).unwrap();
    assert_eq!((model.indexed(), feed.indexed()), (0, 0));
    drop(feed);
    let database = Database::open(path(&opened.directory)).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(META_FORMAT, [0u8, 0, 0, 0].as_slice()).unwrap();
    txn.open_table(META).unwrap().insert(META_NETWORK, Network::NAME.0.as_slice()).unwrap();
    txn.commit().unwrap();
    drop(database);
    let opened = open_in(opened.directory);
    opened.give(&world.network.blocks);
    assert_eq!(opened.model.indexed(), 24);
}

#[test]
fn a_database_of_another_program_is_made_again() {
    const OTHER: TableDefinition<'_, u64, u64> = TableDefinition::new("other");
    let directory = tempfile::tempdir().unwrap();
    let database = Database::create(path(&directory)).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(OTHER).unwrap();
    txn.commit().unwrap();
    drop(database);
    assert_eq!(open_in(directory).feed().indexed(), 0);
}

#[test]
fn a_file_that_is_in_use_or_cannot_be_made_is_an_error_and_stays() {
    let opened = empty();
    let in_use = ReadModel::open(&path(&opened.directory), Network::NAME).err().unwrap();
    assert!(matches!(in_use, ReadModelError::Open { .. }), "{in_use}");
    let nowhere = opened.directory.path().join("no directory").join("index.redb");
    let nowhere = ReadModel::open(&nowhere, Network::NAME).err().unwrap();
    assert!(matches!(nowhere, ReadModelError::Open { .. }), "{nowhere}");
    assert!(opened.model.blocks(None, 1).is_ok());
}

#[test]
fn a_block_that_leaves_a_gap_is_dropped_and_wanted_still() {
    let world = world();
    let opened = empty();
    opened.give(&world.network.blocks[..5]);
    opened.feed().block(Arc::clone(&world.network.blocks[6]));
    opened.give(&world.network.blocks[5..6]);
    assert_eq!((opened.model.indexed(), opened.model.wanted_from()), (6, 7));
    opened.give(&world.network.blocks[6..]);
    assert!(contents(&opened.model) == contents(&full().1.model));
}

#[test]
fn another_history_is_refused_and_nobody_is_kept_waiting() {
    let (world, opened) = full();
    let mut other = Network::new();
    other.seal();
    // Of a chain that began anew, and of one that goes on from another block.
    let again = Arc::clone(&other.blocks[0]);
    let mut forked = world.network.clone();
    forked.blocks.truncate(23);
    forked.seal();
    forked.seal();
    for block in [again, Arc::clone(&forked.blocks[24])] {
        let copy = tempfile::tempdir().unwrap();
        let opened = {
            fs::copy(path(&opened.directory), path(&copy)).unwrap();
            let opened = open_in(copy);
            opened.give(&world.network.blocks);
            opened
        };
        opened.feed().block(block);
        assert!(!opened.model.wait_for(1_000, SOON));
        let failed = opened.model.blocks(None, 1).unwrap_err();
        let ReadModelError::Failed(failure) = &failed else { panic!("{failed}") };
        assert!(matches!(**failure, Failure::OtherHistory { .. }), "{failed}");
        // Far more than the queue holds.
        for _ in 0..3_000 {
            opened.feed().block(Arc::clone(&world.network.blocks[0]));
        }
        assert!(matches!(opened.model.place_of(&Digest::ZERO, 1_000), Err(ReadModelError::Failed(_))));
        assert_eq!(open_in(opened.reopen_directory()).feed().indexed(), 24);
    }
}

impl Opened {
    fn reopen_directory(mut self) -> tempfile::TempDir {
        drop(self.feed.take());
        self.directory
    }
}

/// A disk that is full from some moment on.
#[derive(Debug)]
struct Disk(InMemoryBackend, Arc<AtomicBool>);

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, io::Error> {
        self.0.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.0.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.room()?;
        self.0.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.room()?;
        self.0.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.room()?;
        self.0.write(offset, data)
    }
}

impl Disk {
    fn room(&self) -> Result<(), io::Error> {
        if self.1.load(Ordering::SeqCst) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }
}

#[test]
fn a_full_disk_stops_the_read_model_and_nothing_else() {
    let world = world();
    let full = Arc::new(AtomicBool::new(false));
    let disk = Disk(InMemoryBackend::new(), Arc::clone(&full));
    let database = Database::builder().create_with_backend(disk).unwrap();
    create_tables(&database, Network::NAME).unwrap();
    let (model, feed) = ReadModel::start(Path::new("index.redb"), database, 0, Duration::ZERO).unwrap();
    feed.block(Arc::clone(&world.network.blocks[0]));
    assert!(model.wait_for(1, SOON));
    full.store(true, Ordering::SeqCst);
    for block in &world.network.blocks[1..] {
        feed.block(Arc::clone(block));
    }
    assert!(!model.wait_for(24, SOON));
    let error = model.records_of(vis(), None, 1).unwrap_err().to_string();
    assert!(error.contains("make room") && error.contains("the ledger goes on"), "{error}");
    assert_eq!(feed.indexed(), 1);
}

#[test]
fn what_is_not_indexed_yet_is_said_so() {
    let opened = empty();
    let error = opened.model.place_within(&Digest::ZERO, 3, Duration::ZERO).unwrap_err();
    assert!(matches!(error, ReadModelError::Behind { indexed: 0, wanted: 3 }), "{error}");
}

#[test]
fn a_closed_one_says_so_and_frees_its_file() {
    let (_, mut opened) = full();
    drop(opened.feed.take());
    assert!(matches!(opened.model.blocks(None, 1), Err(ReadModelError::Closed)));
    assert!(matches!(opened.model.place_of(&Digest::ZERO, 100), Err(ReadModelError::Closed)));
    let again = open_in(opened.directory);
    assert_eq!(again.feed().indexed(), 24);
}

/// A network that begins with an agreement, and an amendment of it that it accepts in its first block; the entries that
/// it begins with; and the records under both versions, in its second block.
fn imported() -> (World, Writes) {
    let mut network = Network::new();
    let home = network.agree(&terms(hom(), vis()));
    let mut with_shares = home.terms.clone();
    with_shares.shares = shared();
    network.propose_amendment(&home, &with_shares);
    network.seal();
    let entries = network.import();
    let amended = network.accept_amendment(&home, &with_shares);
    network.seal();
    let booked: Vec<_> = (0..90).map(|n| in_force(&[&home, &amended], n)).collect();
    network.submit(vis(), records(booked.iter().map(|(_, cdr)| cdr.clone())));
    network.seal();
    (World { network, booked }, entries)
}

#[test]
fn agreements_of_an_imported_state_are_known_once_they_are_given() {
    let (world, entries) = imported();
    let opened = empty();
    opened.feed().imported(&entries);
    opened.give(&world.network.blocks);
    let rows = all(7, |before, limit| opened.model.records_of(vis(), before, limit));
    assert_eq!(rows.len(), world.booked.len());
    for (row, (roaming, cdr)) in rows.iter().rev().zip(&world.booked) {
        assert_is(row, roaming, cdr);
    }
    for (period, currency) in all(9, |before, limit| opened.model.periods(before, limit)) {
        for row in opened.model.totals(period, currency, None, 9).unwrap().rows {
            assert_eq!(row.total.micros, world.network.owed(period, row.debtor, row.creditor));
        }
    }
}

#[test]
fn a_history_that_begins_in_the_middle_is_known_from_there_on_and_says_so() {
    let (world, _) = imported();
    let opened = empty();
    assert_eq!(opened.model.begins_at().unwrap(), 1);
    let (earlier, later) = world.network.blocks.split_at(1);
    let begins = later[0].header().height;
    // Both versions are in the state that was copied; the block that accepted the second is not there.
    opened.feed().begins(begins, &world.network.entries());
    opened.give(later);
    assert_eq!(opened.model.begins_at().unwrap(), begins);
    assert!(earlier.iter().all(|b| opened.model.block(b.header().height).unwrap().is_none()));
    let rows = all(7, |before, limit| opened.model.records_of(vis(), before, limit));
    assert_eq!(rows.len(), world.booked.len());
    for (row, (roaming, cdr)) in rows.iter().rev().zip(&world.booked) {
        assert_is(row, roaming, cdr);
    }
    // Once it knows blocks, no other beginning moves it back or forth within them.
    let before = contents(&opened.model);
    opened.feed().begins(begins, &Writes::new());
    let opened = opened.reopen();
    assert!(contents(&opened.model) == before);
    assert_eq!(opened.model.begins_at().unwrap(), begins);
}

#[test]
fn the_entries_of_the_beginning_are_of_no_effect_once_there_are_blocks() {
    let (world, entries) = imported();
    let opened = empty();
    opened.feed().imported(&entries);
    opened.give(&world.network.blocks);
    let before = contents(&opened.model);
    let opened = opened.reopen();
    // What it holds of the second version was replaced by what the first block accepted, had that been another.
    let stale = entries.into_iter().map(|(key, value)| {
        let terms = key.first() == StateKey::AgreementTerms(Digest::ZERO, 0).to_bytes().first();
        (key, if terms { Some(eroam_domain::codec::to_bytes(&terms_of_nobody())) } else { value })
    });
    opened.feed().imported(&stale.collect());
    let opened = opened.reopen();
    assert!(contents(&opened.model) == before);
}

fn terms_of_nobody() -> RoamingAgreement {
    terms(party("XX-XXX"), party("YY-YYY"))
}

#[test]
fn without_the_terms_records_are_listed_and_debts_are_an_error() {
    let (world, _) = imported();
    let opened = empty();
    opened.give(&world.network.blocks);
    let rows = all(7, |before, limit| opened.model.records_of(vis(), before, limit));
    assert_eq!(rows.len(), world.booked.len());
    assert!(rows.iter().all(|row| row.debt.is_none()));
    let opened = opened.reopen();
    let period = rows[0].period;
    for error in [
        opened.model.totals(period, eur(), None, 9).unwrap_err(),
        opened.model.total(period, eur(), (hom(), vis())).unwrap_err(),
        opened.model.periods(None, 9).unwrap_err(),
        opened.model.records_between(hom(), vis(), period, None, 9).unwrap_err(),
    ] {
        assert!(matches!(error, ReadModelError::UnknownTerms(_)), "{error}");
    }
}

#[test]
fn a_proposal_that_was_refused_teaches_nothing() {
    let mut network = Network::new();
    // Nobody of these is a side of it.
    let terms = terms(hom(), vis());
    let effective_from = network::noon();
    network.submit(uti(), Tx::Agreement(AgreementTx::Propose { terms, effective_from }));
    network.seal();
    let opened = empty();
    opened.give(&network.blocks);
    assert_eq!(dump(&opened.model, TERMS), []);
    assert_eq!(opened.model.rejections().unwrap(), [("not_a_side".to_owned(), 1)]);
}

#[test]
fn the_queue_is_bounded_and_keeps_the_order() {
    let mut network = Network::new();
    for _ in 0..3_000 {
        network.seal();
    }
    let queue = queue::Queue::default();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for block in &network.blocks {
                queue.push(Job::Block(Arc::clone(block)));
            }
            queue.close();
        });
        let mut next = 1;
        loop {
            match queue.take(None) {
                queue::Taken::Jobs(jobs) => {
                    assert!(jobs.len() <= 1_024);
                    for job in jobs {
                        let Job::Block(block) = job else { panic!("a block") };
                        assert_eq!(block.header().height, next);
                        next += 1;
                    }
                }
                queue::Taken::Nothing => panic!("there is no deadline"),
                queue::Taken::Closed => break,
            }
        }
        assert_eq!(next, 3_001);
    });
}

#[test]
fn a_refusal_has_the_name_that_receipts_write() {
    assert_eq!(writer::name_of(RejectCode::BadTerms(3)), "bad_terms");
    assert_eq!(writer::name_of(RejectCode::NotASide), "not_a_side");
    assert_eq!(
        writer::name_of(RejectCode::PriceMismatch(eroam_domain::money::Price::ZERO)),
        "price_mismatch"
    );
}

proptest! {
    #[test]
    fn a_place_comes_back_from_its_text_and_from_its_bytes(height in 0..tables::HEIGHT_MAX, envelope: u16, item: u8) {
        let place = Place { height, envelope, item };
        prop_assert_eq!(place.to_string().parse(), Ok(place));
        prop_assert_eq!(Place::unpacked(place.packed()), place);
    }

    #[test]
    fn packed_places_have_the_order_of_places(
        a in (0..tables::HEIGHT_MAX, any::<u16>(), any::<u8>()),
        b in (0..tables::HEIGHT_MAX, any::<u16>(), any::<u8>()),
    ) {
        let place = |(height, envelope, item)| Place { height, envelope, item };
        prop_assert_eq!(place(a).cmp(&place(b)), place(a).packed().cmp(&place(b).packed()));
    }

    #[test]
    fn any_text_is_a_place_or_an_error(text in "[0-9.]{0,30}") {
        let _ = text.parse::<Place>();
    }

    #[test]
    fn keys_give_back_what_they_are_made_of(day in 0i64..2_932_896, place: u64) {
        let instant = eroam_domain::time::UnixMillis::new(day * 86_400_000).unwrap();
        use eroam_domain::time::PeriodKind;
        for kind in [PeriodKind::Day, PeriodKind::Week, PeriodKind::Month] {
            let period = SettlementPeriod::containing(kind, instant);
            let key = tables::totals_key(period, eur(), hom(), vis());
            prop_assert_eq!(tables::totals_period(&key), Some((period, eur())));
            prop_assert_eq!(tables::totals_pair(&key), Some((hom(), vis())));
            prop_assert!(key < tables::totals_key(period.next(), eur(), hom(), vis()));
            let key = tables::by_pair(hom(), vis(), period, place);
            prop_assert_eq!(tables::place_in(&key), Some(Place::unpacked(place)));
        }
        prop_assert_eq!(tables::place_in(&tables::by_member(hom(), place)), Some(Place::unpacked(place)));
    }
}

#[test]
fn the_outcome_of_a_record_names_its_period() {
    let (world, opened) = full();
    let (_, cdr) = &world.booked[5];
    let rows = opened.model.item(&cdr.digest(), None, 9).unwrap().rows;
    assert_eq!(rows[0].outcome, ItemOutcome::Accepted { booked_in: Some(period_of(cdr)) });
}
