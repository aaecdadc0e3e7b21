//! What a holder keeps to show that its credential is not revoked.
//!
//! Made once from a status list and the tails (all of them are read), then carried along by changes, which cost one
//! point each. It tells by its timestamp for which list it stands: a verifier accepts only the newest.

use super::error::AnonCredsError;
use super::limits::{REGISTRY_SIZE_MAX, STATUS_VALUES_MAX};
use super::members::Members;
use super::object_id::ObjectId;
use super::registry::{RevocationIndex, RevocationRegistryDefinition, check_size};
use super::shape::{ACCUMULATOR, Part, WITNESS};
use super::status_list::{Accumulator, StatusDelta, StatusList};
use super::tails::Tails;
use super::timestamp::Timestamp;
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};
use std::collections::{BTreeSet, HashSet};
use std::fmt;

/// Bytes of a stored witness.
const BYTES_MAX: usize = 8 * REGISTRY_SIZE_MAX as usize + 16 * 1024;

/// The state of one credential in its registry, for one status list.
#[derive(Clone)]
pub struct WitnessState {
    registry_id: ObjectId,
    index: RevocationIndex,
    size: u32,
    revoked: BTreeSet<u32>,
    accumulator: Accumulator,
    timestamp: Timestamp,
    witness: cl::Witness,
}

impl WitnessState {
    /// The state for a status list. Reads the tails of all credentials that are not revoked: 0.03 s for 10,000.
    ///
    /// # Errors
    /// [`AnonCredsError`] when list, tails and registry do not belong together or the index is outside.
    pub fn create(
        registry: &RevocationRegistryDefinition,
        index: RevocationIndex,
        list: &StatusList,
        tails: &Tails,
    ) -> Result<Self, AnonCredsError> {
        tails.belongs_to(registry)?;
        RevocationIndex::new(index.get(), registry.size())?;
        if list.size() != registry.size() {
            return Err(AnonCredsError::Mismatch {
                what: "the status list's length",
                expected: registry.size().to_string(),
                found: list.size().to_string(),
            });
        }
        let accumulator = list.accumulator().clone();
        let revoked: HashSet<u32> = list.revoked().iter().copied().collect();
        let all =
            cl::RevocationRegistryDelta::from_parts(None, &accumulator.parsed, &HashSet::new(), &revoked);
        let witness = cl::Witness::new(index.get(), registry.size(), true, &all, tails)
            .map_err(AnonCredsError::library("a witness"))?;
        Ok(Self {
            registry_id: list.registry_id().clone(),
            index,
            size: registry.size(),
            revoked: list.revoked().clone(),
            accumulator,
            timestamp: list.timestamp(),
            witness,
        })
    }

    /// Follows a change, at the cost of a point for each index in it.
    ///
    /// # Errors
    /// [`AnonCredsError`] when the change does not follow this state; the state is then as before.
    pub fn apply(
        &mut self,
        delta: &StatusDelta,
        registry: &RevocationRegistryDefinition,
        tails: &Tails,
    ) -> Result<(), AnonCredsError> {
        delta.follows(&self.registry_id, &self.accumulator, self.timestamp)?;
        let numbers = |set: &BTreeSet<RevocationIndex>| set.iter().map(|index| index.get()).collect();
        let (restored, revoked): (BTreeSet<u32>, BTreeSet<u32>) =
            (numbers(delta.restored()), numbers(delta.revoked()));
        // A change that revokes what is revoked would take the same point away twice.
        let known = restored.is_subset(&self.revoked) && revoked.is_disjoint(&self.revoked);
        let last = restored.last().max(revoked.last()).copied().unwrap_or(0);
        if !known || last >= self.size {
            return Err(AnonCredsError::Revocation("the change does not fit the list before"));
        }
        self.step(&restored, &revoked, delta.accumulator().clone(), delta.timestamp(), registry, tails)
    }

    /// Moves to another list of the same registry, at the cost of a point for each index that differs.
    ///
    /// # Errors
    /// [`AnonCredsError`] when it is a list of another registry; the state is then as before.
    pub fn move_to(
        &mut self,
        list: &StatusList,
        registry: &RevocationRegistryDefinition,
        tails: &Tails,
    ) -> Result<(), AnonCredsError> {
        AnonCredsError::same("registry", self.registry_id.as_str(), list.registry_id().as_str())?;
        AnonCredsError::same("the list's length", &self.size.to_string(), &list.size().to_string())?;
        let restored = self.revoked.difference(list.revoked()).copied().collect();
        let revoked = list.revoked().difference(&self.revoked).copied().collect();
        self.step(&restored, &revoked, list.accumulator().clone(), list.timestamp(), registry, tails)
    }

    fn step(
        &mut self,
        restored: &BTreeSet<u32>,
        revoked: &BTreeSet<u32>,
        accumulator: Accumulator,
        timestamp: Timestamp,
        registry: &RevocationRegistryDefinition,
        tails: &Tails,
    ) -> Result<(), AnonCredsError> {
        tails.belongs_to(registry)?;
        AnonCredsError::same("the registry's size", &self.size.to_string(), &registry.size().to_string())?;
        let set = |numbers: &BTreeSet<u32>| numbers.iter().copied().collect::<HashSet<u32>>();
        let change = cl::RevocationRegistryDelta::from_parts(
            Some(&self.accumulator.parsed),
            &accumulator.parsed,
            &set(restored),
            &set(revoked),
        );
        let mut witness = self.witness.clone();
        witness
            .update(self.index.get(), self.size, &change, tails)
            .map_err(AnonCredsError::library("a witness"))?;
        self.witness = witness;
        self.revoked = self.revoked.difference(restored).chain(revoked).copied().collect();
        (self.accumulator, self.timestamp) = (accumulator, timestamp);
        Ok(())
    }

    /// In which registry.
    #[must_use]
    pub const fn registry_id(&self) -> &ObjectId {
        &self.registry_id
    }

    /// At which place.
    #[must_use]
    pub const fn index(&self) -> RevocationIndex {
        self.index
    }

    /// For which list.
    #[must_use]
    pub const fn timestamp(&self) -> Timestamp {
        self.timestamp
    }

    /// Whether the credential is revoked in that list: then there is nothing to show.
    #[must_use]
    pub fn is_revoked(&self) -> bool {
        self.revoked.contains(&self.index.get())
    }

    pub(super) const fn accumulator(&self) -> &cl::RevocationRegistry {
        &self.accumulator.parsed
    }

    pub(super) const fn witness(&self) -> &cl::Witness {
        &self.witness
    }

    /// Writes the state for the wallet's file. It names the credential's index, which a presentation hides.
    ///
    /// # Errors
    /// [`AnonCredsError::Field`] if the library cannot write its part.
    pub fn to_json(&self) -> Result<Vec<u8>, AnonCredsError> {
        let witness = Part::made(self.witness.clone(), "witness")?.value;
        let value = json!({
            "rev_reg_id": self.registry_id.as_str(),
            "index": self.index.get(),
            "size": self.size,
            "revoked": self.revoked,
            "rev_reg": self.accumulator.value,
            "timestamp": self.timestamp.seconds(),
            "witness": witness,
        });
        Ok(value.to_string().into_bytes())
    }

    /// Reads what [`WitnessState::to_json`] wrote.
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn from_json(bytes: &[u8]) -> Result<Self, AnonCredsError> {
        let mut state =
            Members::of(crate::json::list(bytes, BYTES_MAX, STATUS_VALUES_MAX)?, "witness state")?;
        let number = |value: &Value| value.as_u64().and_then(|number| u32::try_from(number).ok());
        let mut small =
            |name: &str| number(&state.take(name)?).ok_or_else(|| AnonCredsError::field(name, "not a u32"));
        let (index, size) = (small("index")?, small("size")?);
        check_size(size)?;
        let mut revoked = BTreeSet::new();
        for index in state.list("revoked")? {
            let index = number(&index).filter(|index| (1..size).contains(index));
            revoked.insert(index.ok_or_else(|| AnonCredsError::field("revoked", "not an index"))?);
        }
        Ok(Self {
            registry_id: state.id("rev_reg_id")?,
            index: RevocationIndex::new(index, size)?,
            size,
            revoked,
            accumulator: Part::read(&ACCUMULATOR, state.take("rev_reg")?, "rev_reg")?,
            timestamp: Timestamp::new(state.number("timestamp")?)?,
            witness: Part::read(&WITNESS, state.take("witness")?, "witness")?.parsed,
        })
    }
}

impl fmt::Debug for WitnessState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WitnessState")
            .field("registry_id", &self.registry_id)
            .field("timestamp", &self.timestamp)
            .field("revoked", &self.is_revoked())
            .finish_non_exhaustive()
    }
}
