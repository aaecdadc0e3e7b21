//! Ids of schemas, credential definitions, registries and issuers.

use super::error::AnonCredsError;
use super::limits::ID_BYTES_MAX;
use std::fmt;

/// The id of an object or of who made it: an opaque string, of which nothing is derived here. Most are URIs; the
/// ledger's are made and resolved elsewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ObjectId(String);

impl ObjectId {
    /// An id of 1 to [`ID_BYTES_MAX`] bytes without control characters.
    ///
    /// # Errors
    /// [`AnonCredsError::Field`] for any other.
    pub fn new(id: impl Into<String>) -> Result<Self, AnonCredsError> {
        let id = id.into();
        if id.is_empty() || id.len() > ID_BYTES_MAX || id.chars().any(char::is_control) {
            return Err(AnonCredsError::field("id", "not 1 to 512 bytes without control characters"));
        }
        Ok(Self(id))
    }

    /// The id as it is written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this is an unqualified identifier of Indy's (base58 of 16 bytes): restrictions named `*_did` mean only
    /// these.
    pub(super) fn is_legacy(&self) -> bool {
        (21..=22).contains(&self.0.len()) && bs58::decode(&self.0).into_vec().is_ok()
    }
}

impl TryFrom<String> for ObjectId {
    type Error = AnonCredsError;

    fn try_from(id: String) -> Result<Self, AnonCredsError> {
        Self::new(id)
    }
}

impl From<ObjectId> for String {
    fn from(id: ObjectId) -> Self {
        id.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}
