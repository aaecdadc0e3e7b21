//! What a holder does with an offer: ask for the credential, check what comes, keep it.

use super::credential::{Credential, library_values};
use super::credential_definition::CredentialDefinition;
use super::credential_offer::CredentialOffer;
use super::credential_request::{Context, CredentialRequest};
use super::encoding::{AttributeValues, LINK_SECRET, normalise};
use super::error::AnonCredsError;
use super::issuer::{export, import, wipe};
use super::limits::CREDENTIAL_BYTES_MAX;
use super::link_secret::LinkSecret;
use super::members::Members;
use super::nonce::Nonce;
use super::object_id::ObjectId;
use super::registry::{RevocationIndex, RevocationRegistryDefinition};
use super::restriction::Facts;
use super::schema::Schema;
use super::shape::{BLINDING, Part};
use anoncreds_clsignatures as cl;
use serde_json::{Value, json};
use std::fmt;
use zeroize::Zeroizing;

/// A request that was sent: what is needed to take the blinding off the credential that comes.
pub struct PendingCredential {
    schema_id: ObjectId,
    cred_def_id: ObjectId,
    nonce: Nonce,
    blinding: cl::CredentialSecretsBlindingFactors,
}

/// Asks for an offered credential. Checks the issuer's proof that its key is well formed.
///
/// # Errors
/// [`AnonCredsError`]: the definition is not the offered one, or that proof does not hold.
pub fn request(
    offer: &CredentialOffer,
    cred_def_id: &ObjectId,
    definition: &CredentialDefinition,
    link_secret: &LinkSecret,
) -> Result<(CredentialRequest, PendingCredential), AnonCredsError> {
    AnonCredsError::same("offered definition", cred_def_id.as_str(), offer.cred_def_id.as_str())?;
    AnonCredsError::same("offered schema", definition.schema_id().as_str(), offer.schema_id.as_str())?;
    if !proves_all(offer, definition) {
        return Err(AnonCredsError::field(
            "key_correctness_proof",
            "not about exactly the definition's attributes",
        ));
    }
    let hidden = library_values([], Some(&link_secret.number()?))?;
    let blinded = cl::Prover::blind_credential_secrets(
        definition.public_key().key(),
        &offer.key_correctness.0.parsed,
        &hidden,
        offer.nonce.number(),
    );
    let (blinded, blinding, proof) = blinded.map_err(AnonCredsError::library("the offer"))?;
    let nonce = Nonce::random()?;
    let request = CredentialRequest {
        context: Context::Entropy(Nonce::random()?.as_decimal().to_owned()),
        cred_def_id: offer.cred_def_id.clone(),
        blinded: Part::made(blinded, "blinded_ms")?,
        proof: Part::made(proof, "blinded_ms_correctness_proof")?,
        nonce: nonce.clone(),
    };
    let (schema_id, cred_def_id) = (offer.schema_id.clone(), offer.cred_def_id.clone());
    Ok((request, PendingCredential { schema_id, cred_def_id, nonce, blinding }))
}

/// Whether the issuer proves the form of its key for each attribute and the link secret, once: the library lets the
/// link secret's be missing, and a base of another form would make holders recognisable.
fn proves_all(offer: &CredentialOffer, definition: &CredentialDefinition) -> bool {
    let pairs = offer.key_correctness.0.value.get("xr_cap").and_then(Value::as_array);
    let proved = pairs.into_iter().flatten().filter_map(|pair| pair.get(0).and_then(Value::as_str));
    let mut proved: Vec<&str> = proved.collect();
    proved.sort_unstable();
    let mut names: Vec<&str> = definition.public_key().attributes().iter().map(String::as_str).collect();
    names.push(LINK_SECRET);
    names.sort_unstable();
    proved == names
}

impl PendingCredential {
    /// Takes the credential that came for the request, if it is what the holder agreed to: the offered definition,
    /// exactly the `expected` values, numbers that are those of the values, and a signature (and a place in the
    /// registry) that hold.
    ///
    /// # Errors
    /// [`AnonCredsError`], with the first of these that is not so.
    pub fn accept(
        &self,
        credential: Credential,
        link_secret: &LinkSecret,
        definition: &CredentialDefinition,
        registry: Option<&RevocationRegistryDefinition>,
        expected: &AttributeValues,
    ) -> Result<HeldCredential, AnonCredsError> {
        let mut credential = credential;
        AnonCredsError::same(
            "issued definition",
            self.cred_def_id.as_str(),
            credential.cred_def_id.as_str(),
        )?;
        AnonCredsError::same("issued schema", self.schema_id.as_str(), credential.schema_id.as_str())?;
        AnonCredsError::same(
            "the definition's schema",
            self.schema_id.as_str(),
            definition.schema_id().as_str(),
        )?;
        let expected = expected.normal();
        if expected.len() != credential.values.len() {
            return Err(AnonCredsError::field("values", "not those that were agreed to"));
        }
        for (name, value) in &credential.values {
            if expected.get(&normalise(name)).is_none_or(|agreed| *agreed != value.raw) {
                return Err(AnonCredsError::field(
                    format!("values.{name}"),
                    "not the value that was agreed to",
                ));
            }
            if !value.is_consistent() {
                return Err(AnonCredsError::field(
                    format!("values.{name}"),
                    "another number than the value's",
                ));
            }
        }
        let (key, accumulator, witness) = match (definition.is_revocable(), &credential.revocable, registry) {
            (false, None, None) => (None, None, None),
            (true, Some(revocable), Some(registry)) => {
                let cred_def_id = self.cred_def_id.as_str();
                AnonCredsError::same(
                    "the registry's definition",
                    cred_def_id,
                    registry.cred_def_id().as_str(),
                )?;
                let index = credential.signature.parsed.extract_index().unwrap_or(0);
                RevocationIndex::new(index, registry.size())?;
                (Some(registry.key()), Some(&revocable.accumulator.parsed), Some(&revocable.witness.parsed))
            }
            _ => return Err(AnonCredsError::Revocation("definition, credential and registry do not agree")),
        };
        let values = credential.values.iter().map(|(name, value)| (normalise(name), value.encoded.as_str()));
        let values = library_values(values, Some(&link_secret.number()?))?;
        let mut signature = credential.signature.parsed.clone();
        cl::Prover::process_credential_signature(
            &mut signature,
            &values,
            &credential.proof.parsed,
            &self.blinding,
            definition.public_key().key(),
            self.nonce.number(),
            key,
            accumulator,
            witness,
        )
        .map_err(AnonCredsError::library("the credential's signature"))?;
        credential.signature = Part::made(signature, "signature")?;
        Ok(HeldCredential(credential))
    }

    /// The pending request for the wallet's encrypted file.
    ///
    /// # Errors
    /// [`AnonCredsError::Library`].
    pub fn export_secret(&self) -> Result<Zeroizing<Vec<u8>>, AnonCredsError> {
        let blinding = serde_json::to_value(&self.blinding).map_err(|error| AnonCredsError::Library {
            doing: "a pending request",
            reason: error.to_string(),
        })?;
        let mut value = json!({
            "schema_id": self.schema_id.as_str(),
            "cred_def_id": self.cred_def_id.as_str(),
            "nonce": self.nonce.to_value(),
            "link_secret_blinding_data": blinding,
        });
        let bytes = export(&value);
        wipe(&mut value);
        bytes
    }

    /// Reads what [`PendingCredential::export_secret`] wrote.
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn import_secret(bytes: &[u8]) -> Result<Self, AnonCredsError> {
        let mut pending = Members::of(crate::json::value(bytes, CREDENTIAL_BYTES_MAX)?, "pending request")?;
        let mut blinding = pending.take("link_secret_blinding_data")?;
        let text = Zeroizing::new(blinding.to_string());
        wipe(&mut blinding);
        Ok(Self {
            schema_id: pending.id("schema_id")?,
            cred_def_id: pending.id("cred_def_id")?,
            nonce: Nonce::from_value(pending.take("nonce")?)?,
            blinding: import(&BLINDING, text.as_bytes(), "link_secret_blinding_data")?,
        })
    }
}

impl fmt::Debug for PendingCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PendingCredential").field("cred_def_id", &self.cred_def_id).finish_non_exhaustive()
    }
}

/// A credential that its holder checked and can show.
#[derive(Clone)]
pub struct HeldCredential(Credential);

impl HeldCredential {
    /// What it is.
    #[must_use]
    pub const fn schema_id(&self) -> &ObjectId {
        &self.0.schema_id
    }

    /// Under which key it is signed.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.0.cred_def_id
    }

    /// In which registry it can be revoked.
    #[must_use]
    pub fn registry_id(&self) -> Option<&ObjectId> {
        self.0.registry_id()
    }

    /// At which place it can be revoked.
    #[must_use]
    pub fn revocation_index(&self) -> Option<RevocationIndex> {
        RevocationIndex::new(self.0.signature.parsed.extract_index()?, u32::MAX).ok()
    }

    /// Names and raw values.
    pub fn values(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.values()
    }

    pub(super) const fn credential(&self) -> &Credential {
        &self.0
    }

    /// The value under a name, compared in normal form.
    pub(super) fn value(&self, name: &str) -> Option<&super::credential::AttributeValue> {
        let name = normalise(name);
        self.0.values.iter().find(|(found, _)| normalise(found) == name).map(|(_, value)| value)
    }

    /// Whether restrictions admit this credential.
    pub(super) fn fulfils(
        &self,
        restriction: &super::restriction::Restriction,
        schema: &Schema,
        definition: &CredentialDefinition,
    ) -> bool {
        restriction.admits(&Facts {
            schema_id: &self.0.schema_id,
            schema_issuer_id: schema.issuer_id(),
            schema_name: schema.name(),
            schema_version: schema.version(),
            issuer_id: definition.issuer_id(),
            cred_def_id: &self.0.cred_def_id,
            registry_id: self.registry_id(),
            has: &|name| definition.public_key().attributes().contains(name),
            value: &|name| self.value(name).map(|value| value.raw.clone()),
        })
    }

    /// Writes the credential for the wallet's encrypted file, in the reference's form. The signature in it is enough,
    /// with the link secret, to show the credential.
    #[must_use]
    pub fn export_secret(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(self.0.to_json())
    }

    /// Reads what [`HeldCredential::export_secret`] wrote; its signature is not checked again.
    ///
    /// # Errors
    /// [`AnonCredsError`].
    pub fn import_secret(bytes: &[u8]) -> Result<Self, AnonCredsError> {
        let value: Value = crate::json::value(bytes, CREDENTIAL_BYTES_MAX)?;
        Credential::from_value(value).map(Self)
    }
}

impl fmt::Debug for HeldCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldCredential").field("cred_def_id", &self.0.cred_def_id).finish_non_exhaustive()
    }
}
