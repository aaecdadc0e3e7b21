//! Definitions of revocation registries, and the indices of their credentials.

use super::error::AnonCredsError;
use super::limits::{LABEL_BYTES_MAX, REGISTRY_BYTES_MAX, REGISTRY_SIZE_MAX};
use super::members::{Members, message};
use super::object_id::ObjectId;
use super::shape::{ACCUMULATOR_KEY, Part};
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt;

/// A registry of `maxCredNum` places, of which the indices 1 to `maxCredNum` - 1 are used: the status list has a bit
/// for 0, which the cryptography does not use, and none for `maxCredNum`.
#[derive(Clone)]
pub struct RevocationRegistryDefinition {
    issuer_id: ObjectId,
    cred_def_id: ObjectId,
    tag: String,
    key: Part<cl::RevocationKeyPublic>,
    size: u32,
    tails_hash: String,
    tails_location: String,
}

/// What a registry's definition says besides its key.
pub(super) struct RegistryFacts {
    pub(super) issuer_id: ObjectId,
    pub(super) cred_def_id: ObjectId,
    pub(super) tag: String,
    pub(super) size: u32,
    pub(super) tails_hash: String,
    pub(super) tails_location: String,
}

impl RevocationRegistryDefinition {
    pub(super) fn new(
        facts: RegistryFacts,
        key: Part<cl::RevocationKeyPublic>,
    ) -> Result<Self, AnonCredsError> {
        let RegistryFacts { issuer_id, cred_def_id, tag, size, tails_hash, tails_location } = facts;
        check_size(size)?;
        if tag.len() > LABEL_BYTES_MAX || tails_location.len() > 2048 {
            return Err(AnonCredsError::field("tag", "or tails location: too long"));
        }
        if bs58::decode(&tails_hash).into_vec().map(|hash| hash.len()) != Ok(32) {
            return Err(AnonCredsError::field("value.tailsHash", "not a SHA-256 in base58"));
        }
        Ok(Self { issuer_id, cred_def_id, tag, key, size, tails_hash, tails_location })
    }

    /// Who revokes.
    #[must_use]
    pub const fn issuer_id(&self) -> &ObjectId {
        &self.issuer_id
    }

    /// Whose credentials are revoked.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.cred_def_id
    }

    /// Which of the issuer's registries.
    #[must_use]
    pub fn tag(&self) -> &str {
        &self.tag
    }

    /// `maxCredNum`.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// The SHA-256 of the tails file in base58.
    #[must_use]
    pub fn tails_hash(&self) -> &str {
        &self.tails_hash
    }

    /// Where the tails file is said to be. Nothing here fetches it.
    #[must_use]
    pub fn tails_location(&self) -> &str {
        &self.tails_location
    }

    /// How many bytes the tails file has.
    #[must_use]
    pub fn tails_bytes(&self) -> usize {
        super::tails::length(self.size)
    }

    pub(super) const fn key(&self) -> &cl::RevocationKeyPublic {
        &self.key.parsed
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut definition = Members::of(value, "registry")?;
        AnonCredsError::same("revocDefType", "CL_ACCUM", &definition.text("revocDefType", LABEL_BYTES_MAX)?)?;
        let mut value = definition.members("value")?;
        let size = u32::try_from(value.number("maxCredNum")?)
            .map_err(|_| AnonCredsError::field("value.maxCredNum", "too many"))?;
        let key = value.members("publicKeys")?.take("accumKey")?;
        let facts = RegistryFacts {
            issuer_id: definition.id("issuerId")?,
            cred_def_id: definition.id("credDefId")?,
            tag: definition.text("tag", LABEL_BYTES_MAX)?,
            size,
            tails_hash: value.text("tailsHash", 64)?,
            tails_location: value.text("tailsLocation", 2048)?,
        };
        Self::new(facts, Part::read(&ACCUMULATOR_KEY, key, "value.publicKeys.accumKey")?)
    }

    pub(super) fn to_value(&self) -> Value {
        json!({
            "issuerId": self.issuer_id.as_str(),
            "revocDefType": "CL_ACCUM",
            "credDefId": self.cred_def_id.as_str(),
            "tag": self.tag,
            "value": {
                "publicKeys": { "accumKey": self.key.value },
                "maxCredNum": self.size,
                "tailsLocation": self.tails_location,
                "tailsHash": self.tails_hash,
            },
        })
    }
}

impl fmt::Debug for RevocationRegistryDefinition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationRegistryDefinition")
            .field("cred_def_id", &self.cred_def_id)
            .field("tag", &self.tag)
            .field("size", &self.size)
            .field("tails_hash", &self.tails_hash)
            .finish_non_exhaustive()
    }
}

message!(RevocationRegistryDefinition, REGISTRY_BYTES_MAX);

/// Checks `maxCredNum`: with fewer than 2 places there is no usable index.
pub(super) fn check_size(size: u32) -> Result<(), AnonCredsError> {
    if (2..=REGISTRY_SIZE_MAX).contains(&size) {
        return Ok(());
    }
    let found = usize::try_from(size).unwrap_or(usize::MAX);
    Err(AnonCredsError::Count { what: "maxCredNum", found, min: 2, max: REGISTRY_SIZE_MAX as usize })
}

/// A credential's place in its registry: never 0, and within the status list.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RevocationIndex(u32);

impl RevocationIndex {
    /// An index of a registry of `size` places.
    ///
    /// # Errors
    /// [`AnonCredsError::Index`] for 0 and from `size` on.
    pub fn new(index: u32, size: u32) -> Result<Self, AnonCredsError> {
        let last = size.saturating_sub(1);
        (1..=last).contains(&index).then_some(Self(index)).ok_or(AnonCredsError::Index { index, last })
    }

    /// The lowest index of a registry that is not taken; `None` when it is full.
    #[must_use]
    pub fn lowest_free(registry: &RevocationRegistryDefinition, taken: &BTreeSet<Self>) -> Option<Self> {
        (1..registry.size).map(Self).find(|index| !taken.contains(index))
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}
