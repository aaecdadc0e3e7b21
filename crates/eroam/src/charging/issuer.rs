//! An issuer of AnonCreds credentials whose objects are on the ledger.

use super::ChargingError;
use crate::clock::now;
use crate::registry::{Kind, Publisher, tails};
use eroam_domain::ids::EroamDid;
use eroam_ssi::anoncreds::issuer::{
    self, CredentialDefinitionSecret, NewCredentialDefinition, NewRegistry, Place, RegistrySecret,
};
use eroam_ssi::anoncreds::{
    AttributeValues, Credential, CredentialDefinition, CredentialOffer, CredentialRequest,
    KeyCorrectnessProof, ObjectId, RevocationIndex, RevocationRegistryDefinition, Schema, StatusList,
    Timestamp,
};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Where an issuer's key comes from.
pub enum IssuerKey<'a> {
    /// It is made now, which takes from a third of a second to half a minute.
    New,
    /// It was made before: the definition, its secret and the proof of its correctness, as JSON.
    Given {
        /// The credential definition, of the same attributes.
        definition: &'a [u8],
        /// Its secret.
        secret: &'a [u8],
        /// The proof that offers carry.
        correctness: &'a [u8],
    },
}

/// What an issuer issues.
#[derive(Clone, Copy, Debug)]
pub struct Kinds<'a> {
    /// The schema's name.
    pub schema: &'a str,
    /// Its attributes.
    pub attributes: &'a [&'a str],
    /// How many credentials its registry has room for.
    pub registry: u32,
}

/// Where tails files are put, and where others find them.
#[derive(Clone, Copy, Debug)]
pub struct TailsPlace<'a> {
    /// The directory that is served.
    pub directory: &'a Path,
    /// The URL of the server, without `/tails`.
    pub url: &'a str,
}

struct Registry {
    list: StatusList,
    next: u32,
}

/// An issuer.
pub struct Issuer {
    publisher: Publisher,
    schema_id: ObjectId,
    cred_def_id: ObjectId,
    registry_id: ObjectId,
    definition: CredentialDefinition,
    secret: CredentialDefinitionSecret,
    correctness: KeyCorrectnessProof,
    registry: RevocationRegistryDefinition,
    registry_secret: RegistrySecret,
    state: Mutex<Registry>,
}

fn id(text: &str) -> Result<ObjectId, ChargingError> {
    Ok(ObjectId::new(text.to_owned())?)
}

impl Issuer {
    /// Publishes a schema, a definition, a registry and its first list under a DID of the publisher's member.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn publish(
        publisher: Publisher,
        did: EroamDid,
        kinds: Kinds<'_>,
        key: IssuerKey<'_>,
        tails_place: TailsPlace<'_>,
    ) -> Result<Self, ChargingError> {
        let issuer_id = id(&did.to_string())?;
        let schema = Schema::new(issuer_id.clone(), kinds.schema, "1.0", kinds.attributes.iter().copied())?;
        let published = publisher.publish(Kind::Schema, &schema.to_json(), false)?;
        let schema_id = id(&published.id)?;
        let made = match key {
            IssuerKey::New => {
                issuer::new_credential_definition(issuer_id.clone(), schema_id.clone(), &schema, "1", true)?
            }
            IssuerKey::Given { definition, secret, correctness } => {
                let changes = [("issuerId", issuer_id.as_str()), ("schemaId", schema_id.as_str())];
                NewCredentialDefinition {
                    definition: CredentialDefinition::from_json(&with(definition, &changes)?)?,
                    secret: CredentialDefinitionSecret::import_secret(secret)?,
                    key_correctness: KeyCorrectnessProof::from_json(correctness)?,
                }
            }
        };
        let NewCredentialDefinition { definition, secret, key_correctness } = made;
        let published = publisher.publish(Kind::CredentialDefinition, &definition.to_json(), false)?;
        let cred_def_id = id(&published.id)?;
        let new = NewRegistry {
            issuer_id,
            cred_def_id: cred_def_id.clone(),
            tag: "1".to_owned(),
            size: kinds.registry,
            tails_location: "https://eroam.example/tails".to_owned(),
        };
        let mut file = Vec::new();
        let (registry, registry_secret) = issuer::new_registry(&definition, new, &mut file)?;
        // Where it is follows from its hash, which is known now.
        let hash = registry.tails_hash();
        tails::keep(tails_place.directory, hash, &file)
            .map_err(|error| ChargingError::unexpected("the tails file", error))?;
        let location = format!("{}/tails/hash/{hash}", tails_place.url);
        let registry = at_location(&registry.to_json(), &location)?;
        let published = publisher.publish(Kind::RevocationRegistry, &registry.to_json(), false)?;
        let registry_id = id(&published.id)?;
        let at = Timestamp::from(now());
        let list =
            issuer::first_status_list(&definition, registry_id.clone(), &registry, &registry_secret, at)?;
        let list = publish_list(&publisher, &list)?;
        Ok(Self {
            publisher,
            schema_id,
            cred_def_id,
            registry_id,
            definition,
            secret,
            correctness: key_correctness,
            registry,
            registry_secret,
            state: Mutex::new(Registry { list, next: 1 }),
        })
    }

    /// The credential definition's id.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.cred_def_id
    }

    /// The revocation registry's id.
    #[must_use]
    pub const fn registry_id(&self) -> &ObjectId {
        &self.registry_id
    }

    /// Offers a credential.
    ///
    /// # Errors
    /// [`ChargingError::AnonCreds`].
    pub fn offer(&self) -> Result<CredentialOffer, ChargingError> {
        Ok(issuer::offer(self.schema_id.clone(), self.cred_def_id.clone(), &self.correctness)?)
    }

    /// The credential for a request, and the place at which it can be revoked.
    ///
    /// # Errors
    /// [`ChargingError::AnonCreds`], among them that the registry is full.
    pub fn issue(
        &self,
        offer: &CredentialOffer,
        request: &CredentialRequest,
        values: &AttributeValues,
    ) -> Result<(Credential, RevocationIndex), ChargingError> {
        let (index, list) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let index = RevocationIndex::new(state.next, self.registry.size())?;
            state.next += 1;
            (index, state.list.clone())
        };
        let place = Place { registry: &self.registry, secret: &self.registry_secret, list: &list, index };
        let made = issuer::issue(&self.definition, &self.secret, offer, request, values, Some(place))?;
        Ok((made, index))
    }

    /// Revokes a credential: publishes the list that says so.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn revoke(&self, index: RevocationIndex) -> Result<(), ChargingError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let later = Timestamp::new(state.list.timestamp().seconds() + 1)?;
        let at = Timestamp::from(now()).max(later);
        let (next, _) = issuer::next_status_list(
            &self.definition,
            &self.registry_secret,
            &state.list,
            &BTreeSet::new(),
            &BTreeSet::from([index]),
            at,
        )?;
        state.list = publish_list(&self.publisher, &next)?;
        Ok(())
    }
}

fn publish_list(publisher: &Publisher, list: &StatusList) -> Result<StatusList, ChargingError> {
    let published = publisher.publish(Kind::StatusList, &list.to_json(), false)?;
    Ok(StatusList::from_json(published.value.to_string().as_bytes())?)
}

/// JSON with some texts replaced.
fn with(json: &[u8], changes: &[(&str, &str)]) -> Result<Vec<u8>, ChargingError> {
    let mut value: Value = serde_json::from_slice(json)
        .map_err(|error| ChargingError::unexpected("a key that was made before", error))?;
    if let Some(members) = value.as_object_mut() {
        for (name, text) in changes {
            members.insert((*name).to_owned(), (*text).into());
        }
    }
    Ok(value.to_string().into_bytes())
}

fn at_location(json: &[u8], location: &str) -> Result<RevocationRegistryDefinition, ChargingError> {
    let mut value: Value =
        serde_json::from_slice(json).map_err(|error| ChargingError::unexpected("a registry", error))?;
    if let Some(members) = value.get_mut("value").and_then(Value::as_object_mut) {
        members.insert("tailsLocation".to_owned(), location.into());
    }
    Ok(RevocationRegistryDefinition::from_json(value.to_string().as_bytes())?)
}
