//! An issuer of AnonCreds credentials whose objects are on the ledger.
//!
//! Its secrets are kept before anything of them is published, and a place in the registry is taken before the credential
//! that has it is made: whatever a crash interrupts is finished, or a place stays unused. The status list is the ledger's.

use super::ChargingError;
use super::state::{AgentState, Changes};
use crate::clock::now;
use crate::registry::{Kind, Publisher, objects, tails};
use eroam_domain::ids::EroamDid;
use eroam_ssi::anoncreds::issuer::{
    self, CredentialDefinitionSecret, NewCredentialDefinition, NewRegistry, Place, RegistrySecret,
};
use eroam_ssi::anoncreds::{
    AttributeValues, Credential, CredentialDefinition, CredentialOffer, CredentialRequest,
    KeyCorrectnessProof, ObjectId, RevocationIndex, RevocationRegistryDefinition, Schema, StatusList,
    Timestamp,
};
use serde::{Deserialize, Serialize};
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

/// Records of issuers' secrets, by the schema's name.
const ISSUER: &str = "issuer";
/// Records of the next free places, by the schema's name.
const NEXT_PLACE: &str = "issuer's next place";

/// What an issuer is made of: JSON, of which the secrets and the rest are kept together.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    definition: String,
    secret: String,
    correctness: String,
    registry: String,
    registry_secret: String,
}

impl Kept {
    fn text(bytes: &[u8]) -> Result<String, ChargingError> {
        let text = std::str::from_utf8(bytes).map(ToOwned::to_owned);
        text.map_err(|error| ChargingError::unexpected("an issuer's object", error))
    }
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
    kept: AgentState,
    name: String,
    state: Mutex<Registry>,
}

fn id(text: &str) -> Result<ObjectId, ChargingError> {
    Ok(ObjectId::new(text.to_owned())?)
}

impl Issuer {
    /// The issuer that `kept` knows, or a new one; publishes a schema, a definition, a registry and its first list under
    /// a DID of the publisher's member, as far as they are not on the ledger yet.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn open(
        publisher: Publisher,
        did: EroamDid,
        kinds: Kinds<'_>,
        key: IssuerKey<'_>,
        tails_place: TailsPlace<'_>,
        kept: AgentState,
    ) -> Result<Self, ChargingError> {
        let issuer_id = id(&did.to_string())?;
        let schema = Schema::new(issuer_id.clone(), kinds.schema, "1.0", kinds.attributes.iter().copied())?;
        let published = publisher.publish(Kind::Schema, &schema.to_json(), false)?;
        let schema_id = id(&published.id)?;
        let parts = match kept.get::<Kept>(ISSUER, kinds.schema)? {
            Some(parts) => parts,
            None => {
                let made = make(&issuer_id, &schema_id, &schema, key)?;
                let parts = Kept {
                    definition: Kept::text(&made.definition.to_json())?,
                    secret: Kept::text(&made.secret.export_secret()?)?,
                    correctness: Kept::text(&made.key_correctness.to_json())?,
                    registry: String::new(),
                    registry_secret: String::new(),
                };
                let parts = with_registry(parts, issuer_id, kinds.registry, tails_place)?;
                kept.write(Changes::new().put(ISSUER, kinds.schema, &parts))?;
                parts
            }
        };
        let definition = CredentialDefinition::from_json(parts.definition.as_bytes())?;
        let published = publisher.publish(Kind::CredentialDefinition, parts.definition.as_bytes(), false)?;
        let cred_def_id = id(&published.id)?;
        let registry = RevocationRegistryDefinition::from_json(parts.registry.as_bytes())?;
        let registry_secret = RegistrySecret::import_secret(parts.registry_secret.as_bytes())?;
        let published = publisher.publish(Kind::RevocationRegistry, parts.registry.as_bytes(), false)?;
        let registry_id = id(&published.id)?;
        let list = match publisher.newest_list(&published.id)? {
            Some(list) => StatusList::from_json(list.to_string().as_bytes())?,
            None => {
                let at = Timestamp::from(now());
                let id = registry_id.clone();
                let first = issuer::first_status_list(&definition, id, &registry, &registry_secret, at)?;
                publish_list(&publisher, &first)?
            }
        };
        let next = kept.get::<u32>(NEXT_PLACE, kinds.schema)?.unwrap_or(1);
        Ok(Self {
            publisher,
            schema_id,
            cred_def_id,
            registry_id,
            definition,
            secret: CredentialDefinitionSecret::import_secret(parts.secret.as_bytes())?,
            correctness: KeyCorrectnessProof::from_json(parts.correctness.as_bytes())?,
            registry,
            registry_secret,
            kept,
            name: kinds.schema.to_owned(),
            state: Mutex::new(Registry { list, next }),
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

    /// The schema of its credentials.
    #[must_use]
    pub const fn schema_id(&self) -> &ObjectId {
        &self.schema_id
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
            // Before the credential is there: no two have the same place, whatever happens next.
            self.kept.write(Changes::new().put(NEXT_PLACE, &self.name, &(state.next + 1)))?;
            state.next += 1;
            (index, state.list.clone())
        };
        let place = Place { registry: &self.registry, secret: &self.registry_secret, list: &list, index };
        let made = issuer::issue(&self.definition, &self.secret, offer, request, values, Some(place))?;
        Ok((made, index))
    }

    /// Revokes credentials: publishes the list that says so. Of those that it says already, nothing is published.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn revoke(&self, places: impl IntoIterator<Item = u32>) -> Result<(), ChargingError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let size = self.registry.size();
        let places = places.into_iter().map(|place| RevocationIndex::new(place, size));
        let places: BTreeSet<RevocationIndex> = places.collect::<Result<_, _>>()?;
        let places: BTreeSet<_> = places.into_iter().filter(|place| !state.list.is_revoked(*place)).collect();
        if places.is_empty() {
            return Ok(());
        }
        let later = Timestamp::new(state.list.timestamp().seconds() + 1)?;
        let at = Timestamp::from(now()).max(later);
        let none = BTreeSet::new();
        let next = issuer::next_status_list(
            &self.definition,
            &self.registry_secret,
            &state.list,
            &none,
            &places,
            at,
        );
        state.list = publish_list(&self.publisher, &next?.0)?;
        Ok(())
    }

    /// Whether a credential was revoked.
    ///
    /// # Errors
    /// [`ChargingError::AnonCreds`] for a place that the registry does not have.
    pub fn is_revoked(&self, place: u32) -> Result<bool, ChargingError> {
        let place = RevocationIndex::new(place, self.registry.size())?;
        Ok(self.state.lock().unwrap_or_else(PoisonError::into_inner).list.is_revoked(place))
    }
}

/// A key of an issuer under its own ids.
fn make(
    issuer_id: &ObjectId,
    schema_id: &ObjectId,
    schema: &Schema,
    key: IssuerKey<'_>,
) -> Result<NewCredentialDefinition, ChargingError> {
    match key {
        IssuerKey::New => {
            Ok(issuer::new_credential_definition(issuer_id.clone(), schema_id.clone(), schema, "1", true)?)
        }
        IssuerKey::Given { definition, secret, correctness } => {
            let changes = [("issuerId", issuer_id.as_str()), ("schemaId", schema_id.as_str())];
            Ok(NewCredentialDefinition {
                definition: CredentialDefinition::from_json(&with(definition, &changes)?)?,
                secret: CredentialDefinitionSecret::import_secret(secret)?,
                key_correctness: KeyCorrectnessProof::from_json(correctness)?,
            })
        }
    }
}

/// Makes the registry of a definition, whose tails file is in its place when this returns.
fn with_registry(
    parts: Kept,
    issuer_id: ObjectId,
    size: u32,
    tails_place: TailsPlace<'_>,
) -> Result<Kept, ChargingError> {
    let definition = CredentialDefinition::from_json(parts.definition.as_bytes())?;
    let (cred_def_id, _) = objects::publish_definition(parts.definition.as_bytes())
        .map_err(|error| ChargingError::unexpected("a credential definition", error))?;
    let new = NewRegistry {
        issuer_id,
        cred_def_id: id(&cred_def_id.to_string())?,
        tag: "1".to_owned(),
        size,
        tails_location: "https://eroam.example/tails".to_owned(),
    };
    let mut file = Vec::new();
    let (registry, secret) = issuer::new_registry(&definition, new, &mut file)?;
    // Where it is follows from its hash, which is known now.
    let hash = registry.tails_hash();
    tails::keep(tails_place.directory, hash, &file)
        .map_err(|error| ChargingError::unexpected("the tails file", error))?;
    let location = format!("{}/tails/hash/{hash}", tails_place.url);
    let registry = at_location(&registry.to_json(), &location)?;
    let registry = Kept::text(&registry.to_json())?;
    Ok(Kept { registry, registry_secret: Kept::text(&secret.export_secret()?)?, ..parts })
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
