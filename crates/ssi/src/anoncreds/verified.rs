//! What a presentation proved, by type.

use super::object_id::ObjectId;
use super::proof_request::Comparison;
use super::timestamp::Timestamp;
use std::collections::BTreeMap;

/// A value that an issuer signed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenValue {
    /// The value.
    pub raw: String,
    /// By which of the [credentials](VerifiedPresentation::credentials).
    pub credential: usize,
}

/// A comparison that holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProvenPredicate {
    /// Of which attribute.
    pub name: String,
    /// How.
    pub comparison: Comparison,
    /// With what.
    pub bound: i32,
    /// By which of the [credentials](VerifiedPresentation::credentials).
    pub credential: usize,
}

/// A credential that was shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedCredential {
    /// What it is.
    pub schema_id: ObjectId,
    /// Under which key it is signed.
    pub cred_def_id: ObjectId,
    /// By whom.
    pub issuer_id: ObjectId,
    /// In which registry and list it is not revoked; `None` when it cannot be revoked.
    pub not_revoked_in: Option<(ObjectId, Timestamp)>,
}

/// What a presentation proved. Only [`verify`](super::verifier::verify) makes one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifiedPresentation {
    pub(super) revealed: BTreeMap<String, BTreeMap<String, ProvenValue>>,
    pub(super) unrevealed: BTreeMap<String, usize>,
    pub(super) predicates: BTreeMap<String, ProvenPredicate>,
    pub(super) self_attested: BTreeMap<String, String>,
    pub(super) credentials: Vec<VerifiedCredential>,
}

impl VerifiedPresentation {
    /// The proven values: by referent, then by the name that was asked for.
    #[must_use]
    pub const fn revealed(&self) -> &BTreeMap<String, BTreeMap<String, ProvenValue>> {
        &self.revealed
    }

    /// The proven value of one attribute of a referent.
    #[must_use]
    pub fn value(&self, referent: &str, name: &str) -> Option<&str> {
        self.revealed.get(referent)?.get(name).map(|value| value.raw.as_str())
    }

    /// Referents whose attribute a credential has, without showing it.
    #[must_use]
    pub const fn unrevealed(&self) -> &BTreeMap<String, usize> {
        &self.unrevealed
    }

    /// The proven comparisons by referent.
    #[must_use]
    pub const fn predicates(&self) -> &BTreeMap<String, ProvenPredicate> {
        &self.predicates
    }

    /// What the holder merely says: nobody signed it.
    #[must_use]
    pub const fn self_attested(&self) -> &BTreeMap<String, String> {
        &self.self_attested
    }

    /// The credentials that were shown.
    #[must_use]
    pub fn credentials(&self) -> &[VerifiedCredential] {
        &self.credentials
    }
}
