//! Credentials as they travel from issuer to holder.

use super::encoding::{checked_name, encode};
use super::error::AnonCredsError;
use super::limits::{ATTRIBUTES_MAX, CREDENTIAL_BYTES_MAX, VALUE_BYTES_MAX};
use super::members::{Members, message};
use super::object_id::ObjectId;
use super::shape::{ACCUMULATOR, Part, SIGNATURE, SIGNATURE_PROOF, WITNESS, is_encoded};
use super::status_list::Accumulator;
use anoncreds_clsignatures as cl;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::fmt;

/// A value as people read it and as it is signed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct AttributeValue {
    pub(super) raw: String,
    pub(super) encoded: String,
}

impl AttributeValue {
    pub(super) fn new(raw: &str) -> Self {
        Self { raw: raw.to_owned(), encoded: encode(raw) }
    }

    pub(super) fn read(value: Value) -> Result<Self, AnonCredsError> {
        let mut value = Members::of(value, "")?;
        let (raw, encoded) = (value.text("raw", VALUE_BYTES_MAX)?, value.text("encoded", 80)?);
        if !is_encoded(&encoded) {
            return Err(AnonCredsError::field(
                "encoded",
                "not an encoded attribute in canonical decimal form",
            ));
        }
        Ok(Self { raw, encoded })
    }

    /// Whether the signed number is that of the value. An issuer may sign others; here they are not used.
    pub(super) fn is_consistent(&self) -> bool {
        self.encoded == encode(&self.raw)
    }

    pub(super) fn to_value(&self) -> Value {
        json!({ "raw": self.raw, "encoded": self.encoded })
    }
}

/// What a revocable credential carries besides its signature.
#[derive(Clone)]
pub(super) struct Revocable {
    pub(super) registry_id: ObjectId,
    pub(super) accumulator: Accumulator,
    pub(super) witness: Part<cl::Witness>,
}

/// A signed credential. What a holder made its own is a [`HeldCredential`](super::HeldCredential).
#[derive(Clone)]
pub struct Credential {
    pub(super) schema_id: ObjectId,
    pub(super) cred_def_id: ObjectId,
    /// By the names that the issuer wrote.
    pub(super) values: BTreeMap<String, AttributeValue>,
    pub(super) signature: Part<cl::CredentialSignature>,
    pub(super) proof: Part<cl::SignatureCorrectnessProof>,
    pub(super) revocable: Option<Revocable>,
}

impl Credential {
    /// What it is.
    #[must_use]
    pub const fn schema_id(&self) -> &ObjectId {
        &self.schema_id
    }

    /// Under which key it is signed.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.cred_def_id
    }

    /// In which registry it can be revoked.
    #[must_use]
    pub fn registry_id(&self) -> Option<&ObjectId> {
        self.revocable.as_ref().map(|revocable| &revocable.registry_id)
    }

    /// Names and raw values.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.values.iter().map(|(name, value)| (name.as_str(), value.raw.as_str()))
    }

    pub(super) fn from_value(value: Value) -> Result<Self, AnonCredsError> {
        let mut credential = Members::of(value, "credential")?;
        let values = values(credential.map("values")?).map_err(|error| error.within("values"))?;
        let signature: Part<cl::CredentialSignature> =
            Part::read(&SIGNATURE, credential.take("signature")?, "signature")?;
        let name = "signature_correctness_proof";
        let proof = Part::read(&SIGNATURE_PROOF, credential.take(name)?, name)?;
        let parts = (
            credential.optional_id("rev_reg_id")?,
            credential.optional("rev_reg"),
            credential.optional("witness"),
            signature.parsed.extract_index(),
        );
        let revocable = match parts {
            (None, None, None, None) => None,
            (Some(registry_id), Some(accumulator), Some(witness), Some(_)) => Some(Revocable {
                registry_id,
                accumulator: Part::read(&ACCUMULATOR, accumulator, "rev_reg")?,
                witness: Part::read(&WITNESS, witness, "witness")?,
            }),
            // The library skips what is missing and takes the credential without its revocation.
            _ => return Err(AnonCredsError::Revocation("only a part of it is in the credential")),
        };
        Ok(Self {
            schema_id: credential.id("schema_id")?,
            cred_def_id: credential.id("cred_def_id")?,
            values,
            signature,
            proof,
            revocable,
        })
    }

    pub(super) fn to_value(&self) -> Value {
        let values: Map<String, Value> =
            self.values.iter().map(|(name, value)| (name.clone(), value.to_value())).collect();
        json!({
            "schema_id": self.schema_id.as_str(),
            "cred_def_id": self.cred_def_id.as_str(),
            "rev_reg_id": self.registry_id().map(ObjectId::as_str),
            "values": values,
            "signature": self.signature.value,
            "signature_correctness_proof": self.proof.value,
            "rev_reg": self.revocable.as_ref().map(|revocable| &revocable.accumulator.value),
            "witness": self.revocable.as_ref().map(|revocable| &revocable.witness.value),
        })
    }
}

fn values(map: Map<String, Value>) -> Result<BTreeMap<String, AttributeValue>, AnonCredsError> {
    if map.is_empty() || map.len() > ATTRIBUTES_MAX {
        return Err(AnonCredsError::Count {
            what: "attributes",
            found: map.len(),
            min: 1,
            max: ATTRIBUTES_MAX,
        });
    }
    let mut normal = BTreeMap::new();
    let mut values = BTreeMap::new();
    for (name, value) in map {
        let value = AttributeValue::read(value).map_err(|error| error.within(&name))?;
        if normal.insert(checked_name(&name)?, ()).is_some() {
            return Err(AnonCredsError::field(name, "twice"));
        }
        values.insert(name, value);
    }
    Ok(values)
}

impl fmt::Debug for Credential {
    /// The ids: values and signature are the holder's.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credential").field("cred_def_id", &self.cred_def_id).finish_non_exhaustive()
    }
}

message!(Credential, CREDENTIAL_BYTES_MAX);

/// The library's values for a credential's values, in normal form of the names.
pub(super) fn library_values<'a>(
    values: impl IntoIterator<Item = (String, &'a str)>,
    link_secret: Option<&cl::LinkSecret>,
) -> Result<cl::CredentialValues, AnonCredsError> {
    let build = || {
        let mut builder = cl::CredentialValuesBuilder::new()?;
        for (name, encoded) in values {
            builder.add_dec_known(&name, encoded)?;
        }
        if let Some(secret) = link_secret {
            builder.add_value_hidden(super::encoding::LINK_SECRET, secret.as_ref())?;
        }
        builder.finalize()
    };
    build().map_err(AnonCredsError::library("the values"))
}
