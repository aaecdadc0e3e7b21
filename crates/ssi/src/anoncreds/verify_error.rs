//! Why a presentation is not accepted.

use super::error::AnonCredsError;
use super::object_id::ObjectId;
use super::timestamp::Timestamp;

/// Why a presentation is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Identifiers and parts of the proof are not as many.
    #[error("{identifiers} identifiers for {proofs} proofs")]
    Lengths {
        /// Identifiers.
        identifiers: usize,
        /// Parts of the proof.
        proofs: usize,
    },
    /// An answer names a credential that is not there.
    #[error("{referent:?} is answered by credential {index}, which is not there")]
    NoSuchCredential {
        /// The referent.
        referent: String,
        /// The credential's number.
        index: usize,
    },
    /// A part of the proof that answers nothing.
    #[error("credential {index} answers nothing")]
    UnusedCredential {
        /// The credential's number.
        index: usize,
    },
    /// A referent without an answer.
    #[error("{referent:?} is not answered")]
    Unanswered {
        /// The referent.
        referent: String,
    },
    /// A referent with two answers.
    #[error("{referent:?} is answered twice")]
    AnsweredTwice {
        /// The referent.
        referent: String,
    },
    /// An answer to what was not asked, or not so (a group for a single attribute).
    #[error("{referent:?} was not asked so")]
    NotAsked {
        /// The referent.
        referent: String,
    },
    /// A mere statement where a credential was demanded.
    #[error("{referent:?} is only stated, a credential was asked for")]
    SelfAttested {
        /// The referent.
        referent: String,
    },
    /// The names shown are not those asked for.
    #[error("{referent:?} shows other attributes than asked")]
    Names {
        /// The referent.
        referent: String,
    },
    /// The credential's schema has no such attribute.
    #[error("{referent:?} names an attribute that its credential has not")]
    NoAttribute {
        /// The referent.
        referent: String,
    },
    /// An object that the verifier does not know.
    #[error("unknown {what} {id}")]
    Unknown {
        /// What.
        what: &'static str,
        /// Its id.
        id: ObjectId,
    },
    /// Objects that do not belong together.
    #[error("the objects of credential {index} do not belong together")]
    Objects {
        /// The credential's number.
        index: usize,
        /// What differs.
        #[source]
        source: AnonCredsError,
    },
    /// The credential is not one that was asked for: of another issuer, kind or value.
    #[error("the credential for {referent:?} is not one that was asked for")]
    Restriction {
        /// The referent.
        referent: String,
    },
    /// The value shown is not the one whose number is shown.
    #[error("{referent:?}: the number shown is not that of the value")]
    RawValue {
        /// The referent.
        referent: String,
    },
    /// The number shown is not the proven one.
    #[error("{referent:?}: the number shown is not the proven one")]
    ProvenValue {
        /// The referent.
        referent: String,
    },
    /// The proof shows attributes that were not asked for, or not all that were.
    #[error("credential {index} proves other attributes than are shown")]
    Revealed {
        /// The credential's number.
        index: usize,
    },
    /// The comparison is not in the proof.
    #[error("{referent:?} is not proved")]
    Predicate {
        /// The referent.
        referent: String,
    },
    /// The proof has comparisons that were not asked for.
    #[error("credential {index} proves comparisons that were not asked for")]
    ExtraPredicate {
        /// The credential's number.
        index: usize,
    },
    /// A list or a proof of non-revocation for a credential that cannot be revoked.
    #[error("credential {index} cannot be revoked, yet a list is named for it")]
    NotRevocable {
        /// The credential's number.
        index: usize,
    },
    /// The request did not ask for non-revocation.
    #[error("non-revocation of credential {index} was not asked for")]
    NonRevocationNotAsked {
        /// The credential's number.
        index: usize,
    },
    /// No list is named, or there is no proof for it.
    #[error("credential {index} does not prove that it is not revoked")]
    NonRevocationMissing {
        /// The credential's number.
        index: usize,
    },
    /// The policy says nothing about the registry.
    #[error("no accepted list of registry {registry_id}")]
    NoFreshness {
        /// The registry.
        registry_id: ObjectId,
    },
    /// A list that is not the accepted one: a revoked holder would use an old one.
    #[error("list {found} of registry {registry_id}, accepted is {expected}")]
    Stale {
        /// The registry.
        registry_id: ObjectId,
        /// The accepted list.
        expected: Timestamp,
        /// The named list.
        found: Timestamp,
    },
    /// The accepted list lies outside the interval that was asked for.
    #[error("list {found} of registry {registry_id} lies outside the asked interval")]
    OutsideInterval {
        /// The registry.
        registry_id: ObjectId,
        /// The list.
        found: Timestamp,
    },
    /// The challenge is not over the commitments: a forgery, not an accident.
    #[error("the challenge is not over the commitments")]
    Commitments,
    /// The proof does not hold: another nonce, changed numbers, a witness of another list.
    #[error("the proof does not hold")]
    ProofRejected,
    /// The library cannot compute with the proof.
    #[error("the proof cannot be computed")]
    Library(#[source] AnonCredsError),
}
