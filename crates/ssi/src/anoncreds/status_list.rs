//! Status lists, and what changed between two of them.
//!
//! A list of 10,000 credentials is 20 kB of JSON, so a ledger carries the changes: the indices that were revoked and
//! restored, and the accumulators before and after. Who applies a change checks that it follows the list at hand, so
//! that a lost or repeated one is noticed and not computed with.

use super::error::AnonCredsError;
use super::limits::{STATUS_DELTA_BYTES_MAX, STATUS_LIST_BYTES_MAX, STATUS_VALUES_MAX};
use super::members::{Members, message};
use super::object_id::ObjectId;
use super::registry::{RevocationIndex, RevocationRegistryDefinition, check_size};
use super::shape::{ACCUMULATOR, Part};
use super::timestamp::Timestamp;
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// The accumulator of a list.
pub(super) type Accumulator = Part<cl::RevocationRegistry>;

fn accumulator(value: Value, name: &str) -> Result<Accumulator, AnonCredsError> {
    Part::read(&ACCUMULATOR, json!({ "accum": value }), name)
}

/// Which credentials of a registry are revoked at an instant.
#[derive(Clone)]
pub struct StatusList {
    registry_id: ObjectId,
    issuer_id: ObjectId,
    size: u32,
    revoked: BTreeSet<u32>,
    accumulator: Accumulator,
    timestamp: Timestamp,
}

impl StatusList {
    /// A list in which nothing is revoked.
    pub(super) fn empty(
        registry_id: ObjectId,
        registry: &RevocationRegistryDefinition,
        accumulator: cl::RevocationRegistry,
        timestamp: Timestamp,
    ) -> Result<Self, AnonCredsError> {
        let accumulator = Part::made(accumulator, "currentAccumulator")?;
        let (issuer_id, size) = (registry.issuer_id().clone(), registry.size());
        Ok(Self { registry_id, issuer_id, size, revoked: BTreeSet::new(), accumulator, timestamp })
    }

    /// Of which registry.
    #[must_use]
    pub const fn registry_id(&self) -> &ObjectId {
        &self.registry_id
    }

    /// When it was made: it is named by this.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// `maxCredNum` of its registry.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Whether a credential is revoked.
    #[must_use]
    pub fn is_revoked(&self, index: RevocationIndex) -> bool {
        self.revoked.contains(&index.get())
    }

    /// How many credentials are revoked.
    #[must_use]
    pub fn revoked_count(&self) -> usize {
        self.revoked.len()
    }

    pub(super) const fn revoked(&self) -> &BTreeSet<u32> {
        &self.revoked
    }

    pub(super) const fn accumulator(&self) -> &Accumulator {
        &self.accumulator
    }

    /// The list after a change.
    pub(super) fn changed(
        &self,
        restored: &BTreeSet<RevocationIndex>,
        revoked: &BTreeSet<RevocationIndex>,
        accumulator: Accumulator,
        timestamp: Timestamp,
    ) -> Result<Self, AnonCredsError> {
        let mut list = Self { accumulator, timestamp, ..self.clone() };
        for index in restored.iter().chain(revoked) {
            RevocationIndex::new(index.get(), self.size)?;
        }
        for index in restored.iter().map(|index| index.get()) {
            if !list.revoked.remove(&index) {
                return Err(AnonCredsError::Transition { index, action: "restored" });
            }
        }
        for index in revoked.iter().map(|index| index.get()) {
            // An index in both sets would be restored and revoked at once.
            if self.revoked.contains(&index) || !list.revoked.insert(index) {
                return Err(AnonCredsError::Transition { index, action: "revoked" });
            }
        }
        Ok(list)
    }

    /// The list that a change leads to.
    ///
    /// # Errors
    /// [`AnonCredsError::Mismatch`] when the change is of another registry or does not follow this list,
    /// [`AnonCredsError::Transition`] when it revokes what is revoked.
    pub fn apply(&self, delta: &StatusDelta) -> Result<Self, AnonCredsError> {
        delta.follows(&self.registry_id, &self.accumulator, self.timestamp)?;
        self.changed(&delta.restored, &delta.revoked, delta.accumulator.clone(), delta.timestamp)
    }

    /// The list that several changes lead to, in their order.
    ///
    /// # Errors
    /// As [`StatusList::apply`].
    pub fn rebuild<'a>(
        first: &Self,
        deltas: impl IntoIterator<Item = &'a StatusDelta>,
    ) -> Result<Self, AnonCredsError> {
        deltas.into_iter().try_fold(first.clone(), |list, delta| list.apply(delta))
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut list = Members::of(value, "status list")?;
        let bits = list.list("revocationList")?;
        let size = u32::try_from(bits.len()).unwrap_or(u32::MAX);
        check_size(size)?;
        let mut revoked = BTreeSet::new();
        for (index, bit) in (0_u32..).zip(&bits) {
            match bit.as_u64() {
                Some(0) => {}
                Some(1) => drop(revoked.insert(index)),
                _ => return Err(AnonCredsError::field("revocationList", "neither 0 nor 1")),
            }
        }
        // Nobody holds index 0; lists of registries that start with nothing issued set its bit.
        revoked.remove(&0);
        Ok(Self {
            registry_id: list.id("revRegDefId")?,
            issuer_id: list.id("issuerId")?,
            size,
            revoked,
            accumulator: accumulator(list.take("currentAccumulator")?, "currentAccumulator")?,
            timestamp: Timestamp::new(list.number("timestamp")?)?,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let bits: Vec<u8> = (0..self.size).map(|index| u8::from(self.revoked.contains(&index))).collect();
        json!({
            "revRegDefId": self.registry_id.as_str(),
            "issuerId": self.issuer_id.as_str(),
            "revocationList": bits,
            "currentAccumulator": self.accumulator.value.get("accum"),
            "timestamp": self.timestamp.seconds(),
        })
    }
}

impl PartialEq for StatusList {
    fn eq(&self, other: &Self) -> bool {
        self.to_value() == other.to_value()
    }
}

impl Eq for StatusList {}

impl fmt::Debug for StatusList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusList")
            .field("registry_id", &self.registry_id)
            .field("timestamp", &self.timestamp)
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

message!(StatusList, STATUS_LIST_BYTES_MAX, STATUS_VALUES_MAX);

/// The change from one status list to the next.
#[derive(Clone)]
pub struct StatusDelta {
    registry_id: ObjectId,
    previous: Timestamp,
    timestamp: Timestamp,
    previous_accumulator: Accumulator,
    accumulator: Accumulator,
    restored: BTreeSet<RevocationIndex>,
    revoked: BTreeSet<RevocationIndex>,
}

impl StatusDelta {
    /// What leads from one list to another of the same registry.
    ///
    /// # Errors
    /// [`AnonCredsError`] when they are of different registries, or the second is not the later.
    pub fn between(before: &StatusList, after: &StatusList) -> Result<Self, AnonCredsError> {
        AnonCredsError::same("registry", before.registry_id.as_str(), after.registry_id.as_str())?;
        if after.timestamp <= before.timestamp || after.size != before.size {
            return Err(AnonCredsError::field(
                "timestamp",
                "not later than the list before, or of another size",
            ));
        }
        let difference = |a: &BTreeSet<u32>, b: &BTreeSet<u32>| {
            let indices = a.difference(b).map(|index| RevocationIndex::new(*index, before.size));
            indices.collect::<Result<BTreeSet<_>, AnonCredsError>>()
        };
        Ok(Self {
            registry_id: before.registry_id.clone(),
            previous: before.timestamp,
            timestamp: after.timestamp,
            previous_accumulator: before.accumulator.clone(),
            accumulator: after.accumulator.clone(),
            restored: difference(&before.revoked, &after.revoked)?,
            revoked: difference(&after.revoked, &before.revoked)?,
        })
    }

    /// Of which registry.
    #[must_use]
    pub const fn registry_id(&self) -> &ObjectId {
        &self.registry_id
    }

    /// The list that it follows.
    #[must_use]
    pub const fn previous(&self) -> Timestamp {
        self.previous
    }

    /// The list that it leads to.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// The indices that are no longer revoked.
    #[must_use]
    pub const fn restored(&self) -> &BTreeSet<RevocationIndex> {
        &self.restored
    }

    /// The indices that are revoked now.
    #[must_use]
    pub const fn revoked(&self) -> &BTreeSet<RevocationIndex> {
        &self.revoked
    }

    pub(super) const fn accumulator(&self) -> &Accumulator {
        &self.accumulator
    }

    /// Checks that this follows the state of somebody who stands at `accumulator` and `timestamp`.
    pub(super) fn follows(
        &self,
        registry_id: &ObjectId,
        accumulator: &Accumulator,
        timestamp: Timestamp,
    ) -> Result<(), AnonCredsError> {
        AnonCredsError::same("registry", registry_id.as_str(), self.registry_id.as_str())?;
        AnonCredsError::same("previous list", &timestamp.to_string(), &self.previous.to_string())?;
        // One point has many representations; equality is the library's.
        if accumulator.parsed == self.previous_accumulator.parsed {
            return Ok(());
        }
        let text = |part: &Accumulator| part.value.to_string();
        AnonCredsError::same("previous accumulator", &text(accumulator), &text(&self.previous_accumulator))
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut delta = Members::of(value, "status delta")?;
        let mut indices = |name: &str| {
            let mut set = BTreeSet::new();
            for index in delta.list(name)? {
                let index = index.as_u64().and_then(|index| u32::try_from(index).ok());
                let index = index.ok_or_else(|| AnonCredsError::field(name, "not an index"))?;
                // The size is the list's, against which it is checked when it is applied.
                if !set.insert(RevocationIndex::new(index, super::limits::REGISTRY_SIZE_MAX)?) {
                    return Err(AnonCredsError::field(name, "an index twice"));
                }
            }
            Ok(set)
        };
        let (restored, revoked) = (indices("issued")?, indices("revoked")?);
        Ok(Self {
            registry_id: delta.id("revRegDefId")?,
            previous: Timestamp::new(delta.number("previousTimestamp")?)?,
            timestamp: Timestamp::new(delta.number("timestamp")?)?,
            previous_accumulator: accumulator(delta.take("previousAccumulator")?, "previousAccumulator")?,
            accumulator: accumulator(delta.take("currentAccumulator")?, "currentAccumulator")?,
            restored,
            revoked,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let numbers =
            |set: &BTreeSet<RevocationIndex>| set.iter().map(|index| index.get()).collect::<Vec<_>>();
        json!({
            "revRegDefId": self.registry_id.as_str(),
            "previousTimestamp": self.previous.seconds(),
            "timestamp": self.timestamp.seconds(),
            "previousAccumulator": self.previous_accumulator.value.get("accum"),
            "currentAccumulator": self.accumulator.value.get("accum"),
            "issued": numbers(&self.restored),
            "revoked": numbers(&self.revoked),
        })
    }
}

impl fmt::Debug for StatusDelta {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StatusDelta")
            .field("registry_id", &self.registry_id)
            .field("previous", &self.previous)
            .field("timestamp", &self.timestamp)
            .field("restored", &self.restored.len())
            .field("revoked", &self.revoked.len())
            .finish_non_exhaustive()
    }
}

message!(StatusDelta, STATUS_DELTA_BYTES_MAX, STATUS_VALUES_MAX);
