//! Which keys a table has, so that what is not there need not be looked for in the database.

use super::text;
use crate::database::Database;
use crate::rows::Value;
use eroam_gateway::ports::StoreError;
use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};

/// A hash of every key of a table, up to a limit. Two keys with one hash cost a look into the database, nothing else.
/// A look costs 30 to 100 µs, and most of what a gateway asks for is new: every session, every report, every booking.
pub(super) struct KnownKeys {
    hashing: RandomState,
    /// `None`: there are too many, look each one up.
    hashes: Option<HashSet<u64>>,
    limit: usize,
}

/// About 40 MiB.
const LIMIT: usize = 2_000_000;
/// Keys that are read at a time.
const PAGE: i64 = 10_000;

impl KnownKeys {
    /// Reads all keys of `columns` text columns (one or two) in their order. `sql` gives a page of those after the key
    /// in its first parameters, with as many rows as its last parameter says.
    pub(super) fn load(
        database: &mut Database,
        table: &str,
        columns: usize,
        sql: &'static str,
    ) -> Result<Self, StoreError> {
        let mut known = Self { hashing: RandomState::new(), hashes: Some(HashSet::new()), limit: LIMIT };
        let mut last = vec![String::new(); columns];
        while known.hashes.is_some() {
            let from = last.iter().cloned().map(Value::Text).chain([Value::Int(PAGE)]).collect();
            let rows = database.rows(sql, from)?;
            for row in &rows {
                for (index, key) in last.iter_mut().enumerate() {
                    *key = text(database, table, row, index)?;
                }
                known.add(last.first().map_or("", String::as_str), last.get(1).map_or("", String::as_str));
            }
            if rows.is_empty() {
                break;
            }
        }
        Ok(known)
    }

    /// Notes a key.
    pub(super) fn add(&mut self, first: &str, second: &str) {
        let hash = self.hashing.hash_one((first, second));
        if let Some(hashes) = &mut self.hashes {
            hashes.insert(hash);
            if hashes.len() > self.limit {
                self.hashes = None;
            }
        }
    }

    /// Whether the key may be there; `false` is certain.
    pub(super) fn may_have(&self, first: &str, second: &str) -> bool {
        self.hashes.as_ref().is_none_or(|hashes| hashes.contains(&self.hashing.hash_one((first, second))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beyond_its_limit_every_key_may_be_there() {
        let mut known = KnownKeys { hashing: RandomState::new(), hashes: Some(HashSet::new()), limit: 2 };
        known.add("a", "");
        known.add("b", "");
        assert!(known.may_have("a", "") && !known.may_have("c", ""));
        known.add("d", "");
        assert!(known.may_have("c", ""));
    }
}
