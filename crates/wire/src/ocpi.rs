//! OCPI objects: tariffs and charge detail records, from JSON to the domain and back.
//!
//! Written is always OCPI 2.2.1. Read are 2.2.1, its successor 2.3.0 as far as names differ, and its predecessor
//! 2.1.1, normalised to the meaning of 2.2.1. Real peers leave out required fields, invent others and write numbers
//! with too many digits; a reader that refuses them all reads nothing. So a reader takes what it can understand,
//! and reports everything else in [`Findings`]: nothing is dropped in silence, and the caller decides whether a
//! finding is tolerable. What would leave a price, a time or an amount of energy unknown is an error.
//!
//! What it deliberately does not do: sessions, locations, tokens, commands, the HTTP envelope.
//!
//! Source: OCPI 2.2.1 mod_tariffs, mod_cdrs and types; OCPI 2.1.1 and 2.3.0 for the differences.

pub mod cdr;
pub mod datetime;
mod findings;
mod json;
pub mod number;
pub mod tariff;

pub use findings::{Deviation, DeviationKind, FINDINGS_MAX, Findings};

/// The greatest length of a document in bytes (the largest real tariff seen has 160 kB).
pub const DOCUMENT_MAX: usize = 4 * 1024 * 1024;

/// Whose shape a document has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum OcpiVersion {
    V2_1_1,
    V2_2_1,
    V2_3_0,
}

impl std::fmt::Display for OcpiVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::V2_1_1 => "2.1.1",
            Self::V2_2_1 => "2.2.1",
            Self::V2_3_0 => "2.3.0",
        })
    }
}

/// Why a document could not be read or written. Paths are JSON paths, `$.elements[2].restrictions.min_kwh`.
#[derive(Debug, thiserror::Error)]
pub enum OcpiError {
    /// Not JSON, or an object with the same field twice.
    #[error("{path}: this is no valid JSON: send one JSON object, each field once")]
    Json {
        /// Where.
        path: String,
        /// What the parser says.
        #[source]
        source: serde_json::Error,
    },
    /// Longer than any honest document.
    #[error("the document has {found} bytes: at most {DOCUMENT_MAX} are read")]
    TooLong {
        /// Its length.
        found: usize,
    },
    /// A field that cannot be done without.
    #[error("{path}: it is missing: add {expected}")]
    Missing {
        /// Where.
        path: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A value that cannot be understood.
    #[error("{path}: {expected} is expected, found {found}: {remedy}")]
    Field {
        /// Where.
        path: String,
        /// What should be there.
        expected: String,
        /// What is there, shortened; never an identifier of a driver.
        found: String,
        /// What to do about it.
        remedy: &'static str,
    },
    /// A tariff whose parts contradict each other.
    #[error("{path}: the tariff contradicts itself: correct it at its operator")]
    Tariff {
        /// Where.
        path: String,
        /// What contradicts what.
        #[source]
        source: eroam_domain::tariff::TariffError,
    },
    /// So many oddities that it is no honest document.
    #[error(
        "the document has more than {FINDINGS_MAX} unknown, missing or odd fields: is it an OCPI object at all?"
    )]
    TooManyFindings,
    /// Read, but not with the meaning that its author gave it.
    #[error("{path}: {what} may change the price: use it only if its author agrees to how it was read")]
    NotFaithful {
        /// Where.
        path: String,
        /// What is odd there.
        what: String,
    },
}
