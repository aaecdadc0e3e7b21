//! Offers: the issuer proves that its key is well formed and gives a nonce for the holder's request.

use super::error::AnonCredsError;
use super::limits::OFFER_BYTES_MAX;
use super::members::{Members, message};
use super::nonce::Nonce;
use super::object_id::ObjectId;
use super::shape::{KEY_CORRECTNESS, Part};
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};

/// The issuer's proof that its public key is well formed: with a malformed one it could recognise its holders.
#[derive(Clone)]
pub struct KeyCorrectnessProof(pub(super) Part<cl::CredentialKeyCorrectnessProof>);

impl KeyCorrectnessProof {
    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        Part::read(&KEY_CORRECTNESS, value, "key_correctness_proof").map(Self)
    }

    pub(super) fn to_value(&self) -> Value {
        self.0.value.clone()
    }
}

impl std::fmt::Debug for KeyCorrectnessProof {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyCorrectnessProof")
    }
}

message!(KeyCorrectnessProof, OFFER_BYTES_MAX);

/// An offer of a credential.
#[derive(Clone, Debug)]
pub struct CredentialOffer {
    pub(super) schema_id: ObjectId,
    pub(super) cred_def_id: ObjectId,
    pub(super) key_correctness: KeyCorrectnessProof,
    pub(super) nonce: Nonce,
}

impl CredentialOffer {
    /// What would be issued.
    #[must_use]
    pub const fn schema_id(&self) -> &ObjectId {
        &self.schema_id
    }

    /// Under which key.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.cred_def_id
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut offer = Members::of(value, "offer")?;
        Ok(Self {
            schema_id: offer.id("schema_id")?,
            cred_def_id: offer.id("cred_def_id")?,
            key_correctness: KeyCorrectnessProof::from_value(offer.take("key_correctness_proof")?)?,
            nonce: Nonce::from_value(offer.take("nonce")?)?,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        json!({
            "schema_id": self.schema_id.as_str(),
            "cred_def_id": self.cred_def_id.as_str(),
            "key_correctness_proof": self.key_correctness.to_value(),
            "nonce": self.nonce.to_value(),
        })
    }
}

message!(CredentialOffer, OFFER_BYTES_MAX);
