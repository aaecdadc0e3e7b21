//! Values of the latest finalized state that were read lately, so that a gateway's questions do not each go to the
//! database. Every block replaces the values that it changed.

use crate::state::{StateOperation, state_key};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The bytes of keys and values that are kept at most; then all are forgotten, which needs no bookkeeping.
const BYTES_MAX: usize = 64 << 20;
/// What an entry costs besides its bytes.
const ENTRY_BYTES: usize = 96;

#[derive(Default)]
struct Inner {
    values: HashMap<Vec<u8>, Option<Bytes>>,
    bytes: usize,
    /// Counts the blocks that were applied.
    generation: u64,
}

impl Inner {
    fn set(&mut self, key: Vec<u8>, value: Option<Bytes>) {
        let size = |value: &Option<Bytes>| value.as_ref().map_or(0, Bytes::len);
        let key_size = key.len() + ENTRY_BYTES;
        if self.bytes > BYTES_MAX {
            self.values.clear();
            self.bytes = 0;
        }
        self.bytes += key_size + size(&value);
        if let Some(old) = self.values.insert(key, value) {
            self.bytes = self.bytes.saturating_sub(key_size + size(&old));
        }
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Cache(Mutex<Inner>);

impl Cache {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is kept under `key` (`Ok(None)`: there is no such entry), or the generation to give with a value that was
    /// fetched.
    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Bytes>, u64> {
        let inner = self.lock();
        inner.values.get(key).cloned().ok_or(inner.generation)
    }

    /// Keeps a fetched value, unless a block was applied since: the value may be older.
    pub(crate) fn fetched(&self, key: Vec<u8>, value: Option<Bytes>, generation: u64) {
        let mut inner = self.lock();
        if inner.generation == generation {
            inner.set(key, value);
        }
    }

    /// Takes over a block's changes to entries that are kept.
    pub(crate) fn apply(&self, operations: &[StateOperation]) {
        let mut inner = self.lock();
        inner.generation += 1;
        for operation in operations {
            let (key, value) = match operation {
                StateOperation::Update(update) => (state_key(&update.key), Some(update.value.clone())),
                StateOperation::Delete(key) => (state_key(key), None),
                StateOperation::CommitFloor(..) => continue,
            };
            if inner.values.contains_key(key) {
                inner.set(key.to_vec(), value);
            }
        }
    }
}
