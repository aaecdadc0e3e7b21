//! An issuer of AnonCreds credentials whose objects are on the ledger.
//!
//! Its secrets are kept before anything of them is published, and a place in a registry is taken before the credential
//! that has it is made: whatever a crash interrupts is finished, or a place stays unused. Status lists are the ledger's.
//!
//! A registry takes credentials for a while, and all of them end with its window ([`Term`]): the next one is opened before
//! the last place of one is taken and before its days are over.

mod registry;
mod term;

pub use registry::{CredentialPlace, TakenPlace};
pub use term::Term;

use super::ChargingError;
use super::state::{AgentState, Changes};
use crate::clock::now;
use crate::registry::{Kind, Publisher, tails};
use eroam_domain::ids::EroamDid;
use eroam_domain::time::UnixMillis;
use eroam_ledger::registry::RegistryWindow;
use eroam_ssi::anoncreds::issuer::{
    self, CredentialDefinitionSecret, NewCredentialDefinition, NewRegistry, RegistrySecret,
};
use eroam_ssi::anoncreds::{
    AttributeValues, Credential, CredentialDefinition, CredentialOffer, CredentialRequest,
    KeyCorrectnessProof, ObjectId, RevocationIndex, RevocationRegistryDefinition, Schema, StatusList,
    Timestamp,
};
use registry::IssuerRegistry;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    /// How many credentials each of its registries has room for, with index 0, which none has.
    pub registry: u32,
    /// For how long they are issued.
    pub term: Term,
}

/// Where tails files are put, and where others find them.
#[derive(Clone, Copy, Debug)]
pub struct TailsPlace<'a> {
    /// The directory that is served.
    pub directory: &'a Path,
    /// The URL of the server, without `/tails`.
    pub url: &'a str,
}

/// Records of issuers' keys, by the schema's name.
const ISSUER: &str = "issuer";
/// Records of issuers' registries, by the schema's name and the registry's number.
const REGISTRY: &str = "issuer's registry";
/// Records of the next free places, as [`REGISTRY`].
const NEXT_PLACE: &str = "issuer's next place";

/// An issuer's key: JSON, of which the secret and the rest are kept together.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    definition: String,
    secret: String,
    correctness: String,
}

/// One of its registries, as JSON, and when its credentials count.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeptRegistry {
    definition: String,
    secret: String,
    from: UnixMillis,
    until: UnixMillis,
}

fn text(bytes: &[u8]) -> Result<String, ChargingError> {
    let text = std::str::from_utf8(bytes).map(ToOwned::to_owned);
    text.map_err(|error| ChargingError::unexpected("an issuer's object", error))
}

/// An issuer.
pub struct Issuer {
    publisher: Publisher,
    issuer_id: ObjectId,
    schema_id: ObjectId,
    cred_def_id: ObjectId,
    definition: CredentialDefinition,
    secret: CredentialDefinitionSecret,
    correctness: KeyCorrectnessProof,
    term: Term,
    /// Of the next registry.
    size: u32,
    tails_directory: PathBuf,
    tails_url: String,
    kept: AgentState,
    name: String,
    /// By their numbers, from 1.
    registries: Mutex<Vec<Arc<IssuerRegistry>>>,
    /// One registry is opened at a time.
    opening: Mutex<()>,
}

fn id(text: &str) -> Result<ObjectId, ChargingError> {
    Ok(ObjectId::new(text.to_owned())?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
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
                    definition: text(&made.definition.to_json())?,
                    secret: text(&made.secret.export_secret()?)?,
                    correctness: text(&made.key_correctness.to_json())?,
                };
                kept.write(Changes::new().put(ISSUER, kinds.schema, &parts))?;
                parts
            }
        };
        let published = publisher.publish(Kind::CredentialDefinition, parts.definition.as_bytes(), false)?;
        let issuer = Self {
            publisher,
            issuer_id,
            schema_id,
            cred_def_id: id(&published.id)?,
            definition: CredentialDefinition::from_json(parts.definition.as_bytes())?,
            secret: CredentialDefinitionSecret::import_secret(parts.secret.as_bytes())?,
            correctness: KeyCorrectnessProof::from_json(parts.correctness.as_bytes())?,
            term: kinds.term,
            size: kinds.registry,
            tails_directory: tails_place.directory.to_owned(),
            tails_url: tails_place.url.to_owned(),
            kept,
            name: kinds.schema.to_owned(),
            registries: Mutex::default(),
            opening: Mutex::default(),
        };
        while let Some(kept) = issuer.kept_registry(issuer.next_number())? {
            issuer.publish_registry(&kept)?;
        }
        issuer.open_next_if(|issuer| issuer.taking(now()).is_none())?;
        Ok(issuer)
    }

    /// The credential definition's id.
    #[must_use]
    pub const fn cred_def_id(&self) -> &ObjectId {
        &self.cred_def_id
    }

    /// The schema of its credentials.
    #[must_use]
    pub const fn schema_id(&self) -> &ObjectId {
        &self.schema_id
    }

    /// The ids of its revocation registries, the first one first.
    #[must_use]
    pub fn registry_ids(&self) -> Vec<ObjectId> {
        lock(&self.registries).iter().map(|registry| registry.id.clone()).collect()
    }

    /// Offers a credential.
    ///
    /// # Errors
    /// [`ChargingError::AnonCreds`].
    pub fn offer(&self) -> Result<CredentialOffer, ChargingError> {
        Ok(issuer::offer(self.schema_id.clone(), self.cred_def_id.clone(), &self.correctness)?)
    }

    /// A place for a credential that lasts its days, in the first registry that has one: opens another if none has.
    ///
    /// # Errors
    /// [`ChargingError`], among them that another registry cannot be published.
    pub fn take_place(&self) -> Result<TakenPlace, ChargingError> {
        loop {
            let Some(registry) = self.taking(now()) else {
                self.open_next_if(|issuer| issuer.taking(now()).is_none())?;
                continue;
            };
            let key = self.key(registry.number);
            let taken =
                registry.take(|next| Ok(self.kept.write(Changes::new().put(NEXT_PLACE, &key, &next))?))?;
            // Between the look and the grip others may have taken the last one.
            if let Some(taken) = taken {
                return Ok(taken);
            }
        }
    }

    /// Opens the next registry ahead of its time, so that nobody waits for it: when a tenth of the places is left where new
    /// credentials are put, or of the days in which they are.
    ///
    /// # Errors
    /// [`ChargingError`]; it is tried again by whoever comes next.
    pub fn prepare_next(&self) -> Result<(), ChargingError> {
        self.open_next_if(|issuer| {
            let at = now();
            let takes = |registry: &Arc<IssuerRegistry>| issuer.term.takes(registry.window, at);
            let registries = lock(&issuer.registries);
            let places = registries.iter().filter(|registry| takes(registry)).map(|registry| registry.left());
            let left = places.fold(0u32, u32::saturating_add);
            let newest = registries.last();
            left <= (issuer.size / 10).max(1)
                || newest.is_none_or(|newest| issuer.term.needs_next(newest.window, at))
        })
    }

    /// The credential for a request at a place.
    ///
    /// # Errors
    /// [`ChargingError::AnonCreds`].
    pub fn issue(
        &self,
        place: TakenPlace,
        offer: &CredentialOffer,
        request: &CredentialRequest,
        values: &AttributeValues,
    ) -> Result<Credential, ChargingError> {
        let made = place
            .used(|place| issuer::issue(&self.definition, &self.secret, offer, request, values, Some(place)));
        Ok(made?)
    }

    /// Revokes credentials: publishes the lists that say so. Of those that they say already, nothing is published.
    ///
    /// # Errors
    /// [`ChargingError`].
    pub fn revoke(&self, places: impl IntoIterator<Item = CredentialPlace>) -> Result<(), ChargingError> {
        let mut of_registries: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for CredentialPlace { registry, index } in places {
            of_registries.entry(registry).or_default().push(index);
        }
        for (number, indexes) in of_registries {
            let registry = self.registry(number)?;
            let size = registry.definition.size();
            let indexes = indexes.into_iter().map(|index| RevocationIndex::new(index, size));
            let indexes: BTreeSet<RevocationIndex> = indexes.collect::<Result<_, _>>()?;
            registry.change_list(|list| self.list_without(&registry.secret, list, indexes))?;
        }
        Ok(())
    }

    /// Publishes the list in which `indexes` are revoked; `None` if they are already.
    fn list_without(
        &self,
        secret: &RegistrySecret,
        list: &StatusList,
        mut indexes: BTreeSet<RevocationIndex>,
    ) -> Result<Option<StatusList>, ChargingError> {
        indexes.retain(|index| !list.is_revoked(*index));
        if indexes.is_empty() {
            return Ok(None);
        }
        let later = Timestamp::new(list.timestamp().seconds() + 1)?;
        let at = Timestamp::from(now()).max(later);
        let none = BTreeSet::new();
        let next = issuer::next_status_list(&self.definition, secret, list, &none, &indexes, at);
        publish_list(&self.publisher, &next?.0).map(Some)
    }

    /// Whether a credential was revoked.
    ///
    /// # Errors
    /// [`ChargingError`] for a place that there is not.
    pub fn is_revoked(&self, place: CredentialPlace) -> Result<bool, ChargingError> {
        let registry = self.registry(place.registry)?;
        let index = RevocationIndex::new(place.index, registry.definition.size())?;
        Ok(registry.list().is_revoked(index))
    }

    fn registry(&self, number: u32) -> Result<Arc<IssuerRegistry>, ChargingError> {
        let registries = lock(&self.registries);
        let found = registries.iter().find(|registry| registry.number == number);
        found.cloned().ok_or_else(|| ChargingError::unexpected("the registry of a credential", number))
    }

    /// The first registry into which a credential can be put at `at`.
    fn taking(&self, at: UnixMillis) -> Option<Arc<IssuerRegistry>> {
        let registries = lock(&self.registries);
        let takes =
            |registry: &&Arc<IssuerRegistry>| self.term.takes(registry.window, at) && registry.left() > 0;
        registries.iter().find(takes).cloned()
    }

    fn next_number(&self) -> u32 {
        lock(&self.registries).last().map_or(1, |last| last.number.saturating_add(1))
    }

    fn key(&self, number: u32) -> String {
        format!("{} {number}", self.name)
    }

    fn kept_registry(&self, number: u32) -> Result<Option<KeptRegistry>, ChargingError> {
        Ok(self.kept.get::<KeptRegistry>(REGISTRY, &self.key(number))?)
    }

    /// Opens another registry if it `is_needed` when it is this one's turn.
    fn open_next_if(&self, is_needed: impl FnOnce(&Self) -> bool) -> Result<(), ChargingError> {
        let _turn = lock(&self.opening);
        if !is_needed(self) {
            return Ok(());
        }
        // One that was made and could not be published is published first.
        let number = self.next_number();
        let kept = match self.kept_registry(number)? {
            Some(kept) => kept,
            None => {
                let kept = self.make_registry(number)?;
                self.kept.write(Changes::new().put(REGISTRY, &self.key(number), &kept))?;
                kept
            }
        };
        self.publish_registry(&kept)
    }

    /// Makes a registry, whose tails file is in its place when this returns.
    fn make_registry(&self, number: u32) -> Result<KeptRegistry, ChargingError> {
        let window = self.term.window(now());
        let window = window.ok_or_else(|| ChargingError::unexpected("the machine's clock", now()))?;
        let new = NewRegistry {
            issuer_id: self.issuer_id.clone(),
            cred_def_id: self.cred_def_id.clone(),
            tag: number.to_string(),
            size: self.size,
            tails_location: "https://eroam.example/tails".to_owned(),
        };
        let mut file = Vec::new();
        let (registry, secret) = issuer::new_registry(&self.definition, new, &mut file)?;
        // Where it is follows from its hash, which is known now.
        let hash = registry.tails_hash();
        tails::keep(&self.tails_directory, hash, &file)
            .map_err(|error| ChargingError::unexpected("the tails file", error))?;
        let location = format!("{}/tails/hash/{hash}", self.tails_url);
        let registry = at_location(&registry.to_json(), &location)?;
        Ok(KeptRegistry {
            definition: text(&registry.to_json())?,
            secret: text(&secret.export_secret()?)?,
            from: window.from,
            until: window.until,
        })
    }

    /// Publishes the next registry and its first list, unless the ledger has them, and takes it into use.
    fn publish_registry(&self, kept: &KeptRegistry) -> Result<(), ChargingError> {
        let window = RegistryWindow { from: kept.from, until: kept.until };
        let published = self.publisher.publish_dated_registry(kept.definition.as_bytes(), window)?;
        let registry_id = id(&published.id)?;
        let definition = RevocationRegistryDefinition::from_json(kept.definition.as_bytes())?;
        let secret = RegistrySecret::import_secret(kept.secret.as_bytes())?;
        let list = match self.publisher.newest_list(&published.id)? {
            Some(list) => StatusList::from_json(list.to_string().as_bytes())?,
            None => {
                let (id, at) = (registry_id.clone(), Timestamp::from(now()));
                let first = issuer::first_status_list(&self.definition, id, &definition, &secret, at)?;
                publish_list(&self.publisher, &first)?
            }
        };
        let number = self.next_number();
        let next = self.kept.get::<u32>(NEXT_PLACE, &self.key(number))?.unwrap_or(1);
        let opened = IssuerRegistry::new((number, registry_id), definition, secret, window, (list, next));
        lock(&self.registries).push(Arc::new(opened));
        Ok(())
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
