//! Requests for credentials: the holder's secret, blinded.

use super::encoding::LINK_SECRET;
use super::error::AnonCredsError;
use super::limits::{CREDENTIAL_REQUEST_BYTES_MAX, LABEL_BYTES_MAX};
use super::members::{Members, message};
use super::nonce::Nonce;
use super::object_id::ObjectId;
use super::shape::{BLINDED_SECRETS, BLINDED_SECRETS_PROOF, Part};
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};
use std::fmt;

/// What the holder adds to the credential's context besides its blinded secret. One of the two, never both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Context {
    /// Random text.
    Entropy(String),
    /// The holder's DID, in older requests.
    ProverDid(String),
}

/// A holder's request for an offered credential.
#[derive(Clone)]
pub struct CredentialRequest {
    pub(super) context: Context,
    pub(super) cred_def_id: ObjectId,
    pub(super) blinded: Part<cl::BlindedCredentialSecrets>,
    pub(super) proof: Part<cl::BlindedCredentialSecretsCorrectnessProof>,
    pub(super) nonce: Nonce,
}

impl CredentialRequest {
    /// Under which key.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.cred_def_id
    }

    /// What goes into the credential's context.
    pub(super) fn context(&self) -> &str {
        match &self.context {
            Context::Entropy(text) | Context::ProverDid(text) => text,
        }
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut request = Members::of(value, "request")?;
        let entropy = request.optional("entropy").map(|text| super::members::text(text, LABEL_BYTES_MAX));
        let did = request.optional("prover_did").map(|text| super::members::text(text, LABEL_BYTES_MAX));
        let context = match (entropy.transpose()?, did.transpose()?) {
            (Some(entropy), None) => Context::Entropy(entropy),
            (None, Some(did)) => Context::ProverDid(did),
            _ => return Err(AnonCredsError::field("entropy", "not exactly one of entropy and prover_did")),
        };
        let blinded = Part::read(&BLINDED_SECRETS, request.take("blinded_ms")?, "blinded_ms")?;
        let name = "blinded_ms_correctness_proof";
        let proof = Part::read(&BLINDED_SECRETS_PROOF, request.take(name)?, name)?;
        // The library looks answers up by these names and panics when one is missing.
        let only = |value: &Value, list: &str| match value.get(list) {
            Some(Value::Array(names)) => names.len() == 1 && names.iter().all(|name| name == LINK_SECRET),
            Some(Value::Object(map)) => map.len() == 1 && map.contains_key(LINK_SECRET),
            _ => false,
        };
        let empty = |value: &Value, list: &str| {
            value.get(list).and_then(Value::as_object).is_some_and(|m| m.is_empty())
        };
        if !only(&blinded.value, "hidden_attributes") || !empty(&blinded.value, "committed_attributes") {
            return Err(AnonCredsError::field("blinded_ms", "blinds something else than the link secret"));
        }
        if !only(&proof.value, "m_caps") || !empty(&proof.value, "r_caps") {
            return Err(AnonCredsError::field(name, "proves something else than the link secret"));
        }
        Ok(Self {
            context,
            cred_def_id: request.id("cred_def_id")?,
            blinded,
            proof,
            nonce: Nonce::from_value(request.take("nonce")?)?,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let (name, text) = match &self.context {
            Context::Entropy(text) => ("entropy", text),
            Context::ProverDid(text) => ("prover_did", text),
        };
        json!({
            name: text,
            "cred_def_id": self.cred_def_id.as_str(),
            "blinded_ms": self.blinded.value,
            "blinded_ms_correctness_proof": self.proof.value,
            "nonce": self.nonce.to_value(),
        })
    }
}

impl fmt::Debug for CredentialRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CredentialRequest").field("cred_def_id", &self.cred_def_id).finish_non_exhaustive()
    }
}

message!(CredentialRequest, CREDENTIAL_REQUEST_BYTES_MAX);
