//! Published objects by id: what holders and verifiers look up, wherever it came from.

use super::credential_definition::CredentialDefinition;
use super::object_id::ObjectId;
use super::registry::RevocationRegistryDefinition;
use super::schema::Schema;
use super::status_list::StatusList;
use super::timestamp::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What the caller knows of the published objects. Whoever needs a network to find them finds them before.
pub trait Objects {
    /// A schema.
    fn schema(&self, id: &ObjectId) -> Option<Arc<Schema>>;
    /// A credential definition.
    fn credential_definition(&self, id: &ObjectId) -> Option<Arc<CredentialDefinition>>;
    /// The definition of a revocation registry.
    fn registry(&self, id: &ObjectId) -> Option<Arc<RevocationRegistryDefinition>>;
    /// A registry's status list of exactly this timestamp.
    fn status_list(&self, registry_id: &ObjectId, timestamp: Timestamp) -> Option<Arc<StatusList>>;
}

/// Objects in memory.
#[derive(Clone, Debug, Default)]
pub struct KnownObjects {
    schemas: BTreeMap<ObjectId, Arc<Schema>>,
    definitions: BTreeMap<ObjectId, Arc<CredentialDefinition>>,
    registries: BTreeMap<ObjectId, Arc<RevocationRegistryDefinition>>,
    lists: BTreeMap<(ObjectId, Timestamp), Arc<StatusList>>,
}

impl KnownObjects {
    /// None.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a schema.
    pub fn add_schema(&mut self, id: ObjectId, schema: impl Into<Arc<Schema>>) {
        self.schemas.insert(id, schema.into());
    }

    /// Adds a credential definition.
    pub fn add_credential_definition(
        &mut self,
        id: ObjectId,
        definition: impl Into<Arc<CredentialDefinition>>,
    ) {
        self.definitions.insert(id, definition.into());
    }

    /// Adds the definition of a registry.
    pub fn add_registry(&mut self, id: ObjectId, registry: impl Into<Arc<RevocationRegistryDefinition>>) {
        self.registries.insert(id, registry.into());
    }

    /// Adds a status list.
    pub fn add_status_list(&mut self, list: impl Into<Arc<StatusList>>) {
        let list = list.into();
        self.lists.insert((list.registry_id().clone(), list.timestamp()), list);
    }
}

impl Objects for KnownObjects {
    fn schema(&self, id: &ObjectId) -> Option<Arc<Schema>> {
        self.schemas.get(id).cloned()
    }

    fn credential_definition(&self, id: &ObjectId) -> Option<Arc<CredentialDefinition>> {
        self.definitions.get(id).cloned()
    }

    fn registry(&self, id: &ObjectId) -> Option<Arc<RevocationRegistryDefinition>> {
        self.registries.get(id).cloned()
    }

    fn status_list(&self, registry_id: &ObjectId, timestamp: Timestamp) -> Option<Arc<StatusList>> {
        self.lists.get(&(registry_id.clone(), timestamp)).cloned()
    }
}
