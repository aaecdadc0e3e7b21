//! Which status lists a verifier accepts.
//!
//! The holder chooses the list that it proves against, and a revoked holder still has the lists from before. An
//! interval alone does not help: with `{to: now}` every old list passes. So the verifier looks up the newest list of
//! each registry and accepts no other.

use super::object_id::ObjectId;
use super::timestamp::Timestamp;
use std::collections::BTreeMap;

/// Which status list of a registry is accepted. There is one answer that is safe.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Freshness {
    /// The list of this timestamp: the newest that the verifier knows.
    Exactly(Timestamp),
}

/// The accepted list of each registry. A credential of any other registry is refused.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct FreshnessPolicy(pub(super) BTreeMap<ObjectId, Freshness>);

impl FreshnessPolicy {
    /// No revocable credential is accepted.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts a list of a registry.
    #[must_use]
    pub fn with(mut self, registry_id: ObjectId, freshness: Freshness) -> Self {
        self.0.insert(registry_id, freshness);
        self
    }

    /// The interval to ask for: from the oldest of the accepted lists to now, and at least a second. ACA-Py 1.7.0 takes
    /// an interval that ends where it begins for one that begins at no time, so that any old list would do.
    #[must_use]
    pub fn interval(&self, now: Timestamp) -> super::Interval {
        let from = self.0.values().map(|Freshness::Exactly(timestamp)| *timestamp).min();
        let after = from.and_then(|from| Timestamp::new(from.seconds().checked_add(1)?).ok());
        super::Interval { from, to: Some(after.map_or(now, |after| after.max(now))) }
    }
}
