//! Values of the ledger's state that were looked up beforehand, in one request: for whoever must not wait for a node while it
//! holds a lock.

use super::Node;
use eroam_ledger::state::{StateError, StateKey, StateView};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What was looked up, and nothing else: any other key is [`StateError::NotLoaded`]. Each value is of the time at which it
/// was looked up.
#[derive(Debug, Default)]
pub struct LookedUp(BTreeMap<Vec<u8>, Option<Vec<u8>>>);

impl LookedUp {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks up what is not there yet, in one request; none if nothing is missing.
    ///
    /// # Errors
    /// [`StateError`]; what was looked up before stays.
    pub fn look_up(
        &mut self,
        node: &Node,
        keys: impl IntoIterator<Item = StateKey>,
    ) -> Result<(), StateError> {
        let keys = keys.into_iter().map(|key| key.to_bytes());
        let missing: Vec<Vec<u8>> = keys.filter(|key| !self.0.contains_key(key)).collect();
        if missing.is_empty() {
            return Ok(());
        }
        let values = node.values(&missing)?;
        self.0.extend(missing.into_iter().zip(values));
        Ok(())
    }
}

impl StateView for LookedUp {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        let value = self.0.get(key).ok_or_else(|| StateError::NotLoaded(key.to_vec()))?;
        Ok(value.as_deref().map(Cow::Borrowed))
    }
}
