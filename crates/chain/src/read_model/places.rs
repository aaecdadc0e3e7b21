//! From a hash to the places of what it names: envelopes by their digest, items by their hash, records by the digest of
//! their session.
//!
//! Hashes come in no order, so that in a plain table every one of them would rewrite a page of its own, once the table
//! is large. Here each commit writes what it has as a sorted *run*, and runs of about the same size are merged into a
//! larger one when there are [`RUNS_MERGED`] of them: a handful of sequential copies over the life of an entry. A
//! question looks into every run. (Measured with eight million entries: 18 µs for an entry of a plain table, against
//! 1.4 µs for a whole record with its two entries here.)
//!
//! An entry is the first eight bytes of a hash and a packed [`Place`](super::Place). Hashes that begin alike are told
//! apart by whoever asked, who has to look at the place anyway.

use super::tables::{CHUNKS, RUNS};
use eroam_domain::codec::Digest;
use redb::{ReadTransaction, ReadableTable as _, WriteTransaction};
use std::ops::Bound;

/// An entry in 16 bytes.
const ENTRY_BYTES: usize = 16;
/// So many entries are stored as one value, which then fills two of the database's pages.
const CHUNK_ENTRIES: usize = 500;
/// So many runs of a class are merged.
const RUNS_MERGED: usize = 8;
/// Runs of fewer entries are all of the lowest class.
const CLASS_0_BELOW: u64 = 4096;
/// Runs of more entries than this together are not merged, since that is done in memory: 64 MiB.
const MERGED_MAX: u64 = 1 << 22;

/// The place of what `hash` names.
pub(super) fn entry(hash: &Digest, place: u64) -> u128 {
    (prefix(hash) << 64) | u128::from(place)
}

fn prefix(hash: &Digest) -> u128 {
    hash.0.first_chunk().map_or(0, |first| u128::from(u64::from_be_bytes(*first)))
}

/// A run's class by its size: each is eight times as large as the one below.
const fn class(entries: u64) -> u32 {
    match entries / CLASS_0_BELOW {
        0 => 0,
        n => n.ilog2() / RUNS_MERGED.ilog2() + 1,
    }
}

fn key(run: u64, entry: u128) -> [u8; 24] {
    let mut key = [0; 24];
    let (high, low) = key.split_at_mut(8);
    high.copy_from_slice(&run.to_be_bytes());
    low.copy_from_slice(&entry.to_be_bytes());
    key
}

fn decoded(chunk: &[u8]) -> impl Iterator<Item = u128> {
    let (entries, _) = chunk.as_chunks::<ENTRY_BYTES>();
    entries.iter().map(|entry| u128::from_be_bytes(*entry))
}

/// Adds entries, in any order.
pub(super) fn add(txn: &WriteTransaction, mut entries: Vec<u128>) -> Result<(), redb::Error> {
    entries.sort_unstable();
    write_run(txn, entries)?;
    while let Some(runs) = mergeable(txn)? {
        let merged = take_runs(txn, &runs)?;
        write_run(txn, merged)?;
    }
    Ok(())
}

/// Writes a run of sorted entries.
fn write_run(txn: &WriteTransaction, mut entries: Vec<u128>) -> Result<(), redb::Error> {
    // An item that is a whole transaction has the envelope's digest.
    entries.dedup();
    if entries.is_empty() {
        return Ok(());
    }
    let mut runs = txn.open_table(RUNS)?;
    let run = runs.last()?.map_or(0, |(number, _)| number.value()).saturating_add(1);
    runs.insert(run, u64::try_from(entries.len()).unwrap_or(u64::MAX))?;
    let mut chunks = txn.open_table(CHUNKS)?;
    let mut end = chunks.upper_bound_mut(Bound::<&[u8; 24]>::Unbounded)?;
    let mut bytes = Vec::with_capacity(CHUNK_ENTRIES * ENTRY_BYTES);
    for chunk in entries.chunks(CHUNK_ENTRIES) {
        let Some(first) = chunk.first() else { continue };
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|entry| entry.to_be_bytes()));
        end.insert_before(&key(run, *first), bytes.as_slice())?;
    }
    end.close()?;
    Ok(())
}

/// Runs that shall become one, if there are any.
fn mergeable(txn: &WriteTransaction) -> Result<Option<Vec<u64>>, redb::Error> {
    let mut runs = Vec::new();
    for run in txn.open_table(RUNS)?.iter()? {
        let (number, entries) = run?;
        runs.push((entries.value(), number.value()));
    }
    runs.sort_unstable();
    let same = runs.chunk_by(|(a, _), (b, _)| class(*a) == class(*b));
    let chosen = same.filter_map(|same| same.get(..RUNS_MERGED)).find(|chosen| {
        let sum = chosen.iter().fold(0u64, |sum, (entries, _)| sum.saturating_add(*entries));
        sum <= MERGED_MAX
    });
    Ok(chosen.map(|chosen| chosen.iter().map(|(_, number)| *number).collect()))
}

/// Removes runs and gives their entries, sorted.
fn take_runs(txn: &WriteTransaction, numbers: &[u64]) -> Result<Vec<u128>, redb::Error> {
    let mut runs = txn.open_table(RUNS)?;
    let mut chunks = txn.open_table(CHUNKS)?;
    let mut entries = Vec::new();
    for run in numbers {
        runs.remove(run)?;
        let (first, last) = (key(*run, 0), key(*run, u128::MAX));
        chunks.retain_in::<&[u8; 24], _>(&first..=&last, |_, chunk| {
            entries.extend(decoded(chunk));
            false
        })?;
    }
    // Made of a few sorted stretches, which a stable sort takes advantage of.
    entries.sort();
    Ok(entries)
}

/// The packed places of what may be named by `hash`, the latest first: a hash that begins alike may be another.
pub(super) fn find(txn: &ReadTransaction, hash: &Digest) -> Result<Vec<u64>, redb::Error> {
    let (first, last) = (entry(hash, 0), entry(hash, u64::MAX));
    let chunks = txn.open_table(CHUNKS)?;
    let mut places = Vec::new();
    for run in txn.open_table(RUNS)?.iter()? {
        let run = run?.0.value();
        let (lowest, highest) = (key(run, 0), key(run, last));
        for chunk in chunks.range::<&[u8; 24]>(&lowest..=&highest)?.rev() {
            let chunk = chunk?.1;
            let (entries, _) = chunk.value().as_chunks::<ENTRY_BYTES>();
            let from = entries.partition_point(|entry| *entry < first.to_be_bytes());
            let found = entries.iter().skip(from).take_while(|entry| **entry <= last.to_be_bytes());
            places.extend(found.filter_map(|entry| entry.last_chunk().map(|p| u64::from_be_bytes(*p))));
            if from > 0 {
                break;
            }
        }
    }
    places.sort_unstable_by(|a, b| b.cmp(a));
    Ok(places)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::read_model::tables::create_tables;
    use eroam_domain::codec::Digest;
    use proptest::prelude::*;
    use redb::backends::InMemoryBackend;
    use redb::{Database, ReadableDatabase as _, ReadableTableMetadata as _};
    use std::collections::BTreeMap;

    fn database() -> Database {
        let database = Database::builder().create_with_backend(InMemoryBackend::new()).unwrap();
        create_tables(&database, Digest::ZERO).unwrap();
        database
    }

    fn add_all(database: &Database, entries: Vec<u128>) {
        let txn = database.begin_write().unwrap();
        add(&txn, entries).unwrap();
        txn.commit().unwrap();
    }

    fn runs(database: &Database) -> u64 {
        database.begin_read().unwrap().open_table(RUNS).unwrap().len().unwrap()
    }

    /// A hash that begins with `n`.
    fn hash(n: u64) -> Digest {
        let mut hash = Digest::of(&n.to_be_bytes());
        hash.0[..8].copy_from_slice(&n.to_be_bytes());
        hash
    }

    #[test]
    fn the_classes_are_eight_times_as_large_each() {
        let sizes = [1, 4095, 4096, 32_767, 32_768, 262_143, 262_144, 2_097_151, 2_097_152];
        assert_eq!(sizes.map(class), [0, 0, 1, 1, 2, 2, 3, 3, 4]);
    }

    #[test]
    fn many_small_runs_become_few() {
        let database = database();
        for n in 0..200 {
            add_all(&database, vec![entry(&hash(n * 7 % 200), n)]);
        }
        assert!(runs(&database) < 8, "{} runs", runs(&database));
        let txn = database.begin_read().unwrap();
        for n in 0..200 {
            assert_eq!(find(&txn, &hash(n * 7 % 200)).unwrap(), [n]);
        }
        assert!(find(&txn, &hash(1_000)).unwrap().is_empty());
    }

    #[test]
    fn large_runs_are_left_alone() {
        let database = database();
        let size = MERGED_MAX / 8 + 1;
        for run in 0..9u64 {
            let txn = database.begin_write().unwrap();
            txn.open_table(RUNS).unwrap().insert(run, size).unwrap();
            txn.commit().unwrap();
        }
        assert_eq!(mergeable(&database.begin_write().unwrap()).unwrap(), None);
    }

    #[test]
    fn a_hash_that_names_more_than_a_chunk_holds_has_all_its_places_the_latest_first() {
        let database = database();
        let places = || (0..3 * CHUNK_ENTRIES as u64).chain(5_000..5_010);
        let others = (0..100).map(|n| entry(&hash(n), 1));
        add_all(&database, places().map(|p| entry(&hash(50), p)).chain(others).collect());
        let found = find(&database.begin_read().unwrap(), &hash(50)).unwrap();
        assert_eq!(
            found,
            places().collect::<std::collections::BTreeSet<_>>().into_iter().rev().collect::<Vec<_>>()
        );
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(12))]
        #[test]
        fn everything_that_was_added_is_found(
            runs in proptest::collection::vec(proptest::collection::vec((0u64..300, any::<u64>()), 0..700), 1..20)
        ) {
            let database = database();
            let mut expected: BTreeMap<u64, std::collections::BTreeSet<u64>> = BTreeMap::new();
            for run in &runs {
                add_all(&database, run.iter().map(|(h, p)| entry(&hash(*h), *p)).collect());
                for (h, p) in run {
                    expected.entry(*h).or_default().insert(*p);
                }
            }
            let txn = database.begin_read().unwrap();
            for h in 0..300 {
                let mut found = find(&txn, &hash(h)).unwrap();
                found.dedup();
                let wanted: Vec<u64> = expected.get(&h).into_iter().flatten().rev().copied().collect();
                prop_assert_eq!(found, wanted);
            }
        }
    }
}
