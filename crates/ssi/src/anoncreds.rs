//! AnonCreds v1: credentials of which a holder shows what it wants to, unlinkably.
//!
//! ```text
//! issuer ── offer ──► holder           registry: Schema, CredentialDefinition, RevocationRegistryDefinition,
//!        ◄─ request ──                           StatusList, StatusDelta (published; looked up through Objects)
//!        ── credential ──►
//! verifier ── proof request ──► holder: prepare (without the nonce), finalize (with it)
//!          ◄─ presentation ──
//! ```
//! The cryptography is `anoncreds-clsignatures`, the library of the reference implementation (anoncreds-rs); the data
//! model, its checks and what the protocol demands besides are here. JSON is the reference's, byte limits and
//! canonical forms are checked before anything reaches the library (`shape`).
//!
//! Nothing here fetches, stores or asks the time. Functions take and give values, share no state and scale over
//! threads; a parsed [`PublicKey`] is cheap to clone.
//!
//! Four rules that the reference leaves to its user, or does not have:
//! - A proof is judged only after its numbers were found in their ranges and its challenge over its commitments
//!   (`shape`, `challenge`): the library checks neither, and without them anybody makes presentations from public keys.
//! - A revoked holder still has old status lists, and the presentation's timestamp is the holder's choice. So who
//!   verifies states the newest list of each registry ([`Freshness`]), asks for lists from then on, and no other is
//!   accepted.
//! - A raw value is what people read, a number is what is signed: the two are compared, by the holder on receiving
//!   and by the verifier on reading.
//! - The library logs its inputs, secrets among them, at the level `trace`: nobody may turn that on for it.
//!
//! Not done: registries in which nothing is issued at first, on-demand issuance, W3C formats.
//!
//! Source: AnonCreds v1.0 specification; anoncreds-rs 0.2.

mod challenge;
mod credential;
mod credential_definition;
mod credential_offer;
mod credential_request;
mod encoding;
mod error;
mod freshness;
pub mod holder;
pub mod issuer;
mod issuer_key;
pub mod limits;
mod link_secret;
mod members;
mod nonce;
mod object_id;
mod objects;
pub mod prepared;
mod presentation;
mod proof_request;
mod registry;
mod restriction;
mod schema;
mod selection;
mod shape;
mod status_list;
mod tails;
mod timestamp;
mod verified;
pub mod verifier;
mod verify_error;
mod witness;

pub use credential::Credential;
pub use credential_definition::{CredentialDefinition, PublicKey};
pub use credential_offer::{CredentialOffer, KeyCorrectnessProof};
pub use credential_request::CredentialRequest;
pub use encoding::{AttributeValues, encode, normalise};
pub use error::AnonCredsError;
pub use freshness::{Freshness, FreshnessPolicy};
pub use holder::{HeldCredential, PendingCredential};
pub use link_secret::LinkSecret;
pub use nonce::Nonce;
pub use object_id::ObjectId;
pub use objects::{KnownObjects, Objects};
pub use prepared::Prepared;
pub use presentation::Presentation;
pub use proof_request::{
    Comparison, Interval, Names, ProofRequest, ProofRequestBuilder, RequestedAttribute, RequestedPredicate,
};
pub use registry::{RevocationIndex, RevocationRegistryDefinition};
pub use restriction::{Restriction, Tag};
pub use schema::Schema;
pub use selection::{Chosen, PresentError, Selection};
pub use status_list::{StatusDelta, StatusList};
pub use tails::Tails;
pub use timestamp::Timestamp;
pub use verified::{ProvenPredicate, ProvenValue, VerifiedCredential, VerifiedPresentation};
pub use verify_error::VerifyError;
pub use witness::WitnessState;
