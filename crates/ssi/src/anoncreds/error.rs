//! Why data of AnonCreds is not taken.

use crate::json::JsonError;

/// Why an object of AnonCreds is not read, not built or not signed.
#[derive(Debug, thiserror::Error)]
pub enum AnonCredsError {
    /// Not the JSON that is read.
    #[error("not read as JSON")]
    Json(#[from] JsonError),
    /// A member breaks a rule of its type.
    #[error("{field}: {rule}")]
    Field {
        /// Where it stands, as `credential.values.expiry`.
        field: String,
        /// What it breaks.
        rule: &'static str,
    },
    /// A proof of non-revocation that is not linked to its credential: the format before 2023, in which anybody's
    /// unrevoked credential would serve for a revoked one.
    #[error("{field}: a proof of non-revocation that is not linked to the credential")]
    LegacyRevocation {
        /// Where it stands.
        field: String,
    },
    /// More or fewer than the format holds.
    #[error("{what}: {found}, from {min} to {max} are allowed")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// The fewest.
        min: usize,
        /// The most.
        max: usize,
    },
    /// Two objects that do not belong together.
    #[error("{what} is {found:?} where {expected:?} belongs")]
    Mismatch {
        /// What differs.
        what: &'static str,
        /// What would fit.
        expected: String,
        /// What is there.
        found: String,
    },
    /// An index that no credential of the registry has.
    #[error("index {index} of a registry that uses 1 to {last}")]
    Index {
        /// The index.
        index: u32,
        /// The last that is used.
        last: u32,
    },
    /// The index is already in the state that it was to be brought into, or is named twice.
    #[error("index {index} cannot be {action} in this list")]
    Transition {
        /// The index.
        index: u32,
        /// `revoked` or `restored`.
        action: &'static str,
    },
    /// The credential definition has no revocation, or it has and nothing was said about it.
    #[error("revocation: {0}")]
    Revocation(&'static str),
    /// The bytes of a tails file are not those that the registry's definition names.
    #[error("tails: {0}")]
    Tails(&'static str),
    /// Tails could not be written.
    #[error("tails not written")]
    TailsNotWritten(#[source] std::io::Error),
    /// The cryptographic library refuses: a proof inside the object does not hold, or its numbers fit no key.
    #[error("{doing}: {reason}")]
    Library {
        /// What it was asked.
        doing: &'static str,
        /// What it says.
        reason: String,
    },
}

impl AnonCredsError {
    /// A member that breaks a rule; who reads the object around it puts its own name before.
    pub(super) fn field(field: impl Into<String>, rule: &'static str) -> Self {
        Self::Field { field: field.into(), rule }
    }

    /// The same error, seen from the object around.
    pub(super) fn within(self, outer: &str) -> Self {
        let prefix =
            |field: String| if field.is_empty() { outer.to_owned() } else { format!("{outer}.{field}") };
        match self {
            Self::Field { field, rule } => Self::Field { field: prefix(field), rule },
            Self::LegacyRevocation { field } => Self::LegacyRevocation { field: prefix(field) },
            other => other,
        }
    }

    /// Wraps what the library says.
    pub(super) fn library(doing: &'static str) -> impl FnOnce(anoncreds_clsignatures::Error) -> Self {
        move |error| Self::Library { doing, reason: error.to_string() }
    }

    /// Checks that two things that must be the same are.
    pub(super) fn same(what: &'static str, expected: &str, found: &str) -> Result<(), Self> {
        if expected == found {
            return Ok(());
        }
        Err(Self::Mismatch { what, expected: expected.to_owned(), found: found.to_owned() })
    }
}
