//! What the ledger says, for agents that have no node: looked up over HTTP from anybody's resolver, and believed only
//! with its proof.
//!
//! Objects that never change are kept for good; what changes (status lists, keys) is looked up again when it is older
//! than the caller allows. A resolver cannot lie. It could be behind, and so hide what was revoked since: an answer that
//! is more than [`STALENESS_MAX`] behind the ledger is refused, as far as that can be found out
//! ([`super::staleness`] says how far that is).

use super::staleness::{STALENESS_MAX, Stale, Staleness};
use crate::clock::{is_younger, now};
use crate::http_client::answered_within;
use crate::registry::objects::{self, ObjectError};
use borsh::BorshDeserialize;
use eroam_domain::codec::{Digest, from_bytes};
use eroam_domain::ids::{CredentialDefinitionId, ObjectIdError, PartyId, RevocationRegistryId, SchemaId};
use eroam_domain::time::UnixMillis;
use eroam_ledger::registry::{
    DefinitionRecord, RegistryRecord, RegistryWindow, RevocationList, SchemaRecord,
};
use eroam_ledger::state::{StateError, StateKey, StateView};
use eroam_ledger::voucher::VoucherKey;
use eroam_light::document::{Document, DocumentError, FILE_BYTES_MAX, Verified};
use eroam_light::trust::Trust;
use eroam_ssi::anoncreds::{
    AnonCredsError, CredentialDefinition, KnownObjects, ObjectId, RevocationRegistryDefinition, Schema,
    StatusList,
};
use eroam_ssi::did::VerificationKey;
use std::borrow::Cow;
use std::collections::HashMap;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long a resolver may take.
const ANSWERS_WITHIN: Duration = Duration::from_secs(20);

/// Why something is not known.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Nobody answers.
    #[error(
        "the resolver at {url} cannot be asked for {item}: try again later, or use another one ({reason})"
    )]
    Unreachable {
        /// Who.
        url: String,
        /// What was asked for.
        item: String,
        /// What the transport said.
        reason: String,
    },
    /// The answer proves nothing.
    #[error("the resolver at {url} does not prove {item}: ask another one")]
    Unproved {
        /// Who.
        url: String,
        /// What was asked for.
        item: String,
        /// Why.
        #[source]
        source: Box<DocumentError>,
    },
    /// The answer is no document, or proves something else.
    #[error("the resolver at {url} answers something else than {item}")]
    Other {
        /// Who.
        url: String,
        /// What was asked for.
        item: String,
    },
    /// The answer is proved by a block of long ago.
    #[error(
        "the resolver at {url} is out of date and may hide what was revoked: use another one, or try again later"
    )]
    Stale {
        /// Who.
        url: String,
        /// How that shows.
        source: Stale,
    },
    /// The answer is proved by a block that is yet to come.
    #[error("the clock of this device is wrong, or that of the network's nodes: set it and try again")]
    Clock {
        /// How that shows.
        source: Stale,
    },
    /// It is proved that there is none.
    #[error("the ledger has no {0}")]
    None(String),
    /// The id is not one of an eroam network.
    #[error("{0}")]
    Id(#[from] ObjectIdError),
    /// What the ledger has cannot be used.
    #[error("what the ledger has under {item} cannot be used")]
    Object {
        /// Which.
        item: String,
        /// Why.
        #[source]
        source: ObjectError,
    },
    /// What the ledger has is not AnonCreds.
    #[error("what the ledger has under {item} is not AnonCreds")]
    AnonCreds {
        /// Which.
        item: String,
        /// Why.
        #[source]
        source: AnonCredsError,
    },
}

#[derive(Default)]
struct Kept {
    schemas: HashMap<ObjectId, Arc<Schema>>,
    definitions: HashMap<ObjectId, Arc<CredentialDefinition>>,
    registries: HashMap<ObjectId, Arc<RevocationRegistryDefinition>>,
    lists: HashMap<ObjectId, (Arc<StatusList>, UnixMillis)>,
    voucher_keys: HashMap<PartyId, Arc<Vec<VoucherKey>>>,
    /// Entries that never change once they are there, by key.
    lasting: HashMap<Vec<u8>, Arc<[u8]>>,
}

/// The ledger as seen through a resolver.
pub struct Catalogue {
    url: String,
    trust: Trust,
    http: ureq::Agent,
    kept: Mutex<Kept>,
    staleness: Staleness,
}

impl Catalogue {
    /// The ledger of the network that is trusted, through the resolver at `url`.
    #[must_use]
    pub fn new(url: &str, trust: Trust) -> Self {
        let http = answering_within(ANSWERS_WITHIN);
        let staleness = Staleness::new(trust.time());
        Self { url: url.trim_end_matches('/').to_owned(), trust, http, kept: Mutex::default(), staleness }
    }

    /// Refuses answers that are further behind the ledger than so, at most [`STALENESS_MAX`].
    #[must_use]
    pub fn stale_after(self, max: Duration) -> Self {
        Self { staleness: self.staleness.at_most(max.min(STALENESS_MAX)), ..self }
    }

    /// Refuses answers by blocks below this one, which was proved in an earlier run or by another resolver.
    #[must_use]
    pub fn from_height(self, height: u64) -> Self {
        self.staleness.know(height);
        self
    }

    /// The highest block by which anything was proved, 0 for none.
    #[must_use]
    pub fn height(&self) -> u64 {
        self.staleness.height()
    }

    /// Waits for the resolver no longer than so.
    #[must_use]
    pub fn patient_for(self, within: Duration) -> Self {
        Self { http: answering_within(within.min(ANSWERS_WITHIN)), ..self }
    }

    /// Where the resolver is.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The network.
    #[must_use]
    pub const fn network(&self) -> Digest {
        self.trust.network()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the state has under a key, proved.
    ///
    /// # Errors
    /// [`CatalogueError`]; [`CatalogueError::None`] if it is proved that there is nothing.
    pub fn entry<T: BorshDeserialize>(&self, key: &StateKey, item: &str) -> Result<T, CatalogueError> {
        let other = || CatalogueError::Other { url: self.url.clone(), item: item.to_owned() };
        from_bytes(&self.value(key, item)?).map_err(|_| other())
    }

    /// As [`Catalogue::entry`], for what never changes once it is there: it is looked up once.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn lasting<T: BorshDeserialize>(&self, key: &StateKey, item: &str) -> Result<T, CatalogueError> {
        let other = || CatalogueError::Other { url: self.url.clone(), item: item.to_owned() };
        let bytes = key.to_bytes();
        let known = self.kept().lasting.get(&bytes).cloned();
        let value = match known {
            Some(value) => value,
            None => {
                let value: Arc<[u8]> = self.value(key, item)?.into();
                self.kept().lasting.insert(bytes, Arc::clone(&value));
                value
            }
        };
        from_bytes(&value).map_err(|_| other())
    }

    fn value(&self, key: &StateKey, item: &str) -> Result<Vec<u8>, CatalogueError> {
        self.proved(&key.to_bytes(), item)?.ok_or_else(|| CatalogueError::None(item.to_owned()))
    }

    /// What the state has under canonical key bytes, or that it has nothing, proved.
    fn proved(&self, key: &[u8], item: &str) -> Result<Option<Vec<u8>>, CatalogueError> {
        let asked = self.staleness.ask(Instant::now());
        let text = self.proof_of(key, item)?;
        let other = || CatalogueError::Other { url: self.url.clone(), item: item.to_owned() };
        let unproved = |error| {
            let (url, item, source) = (self.url.clone(), item.to_owned(), Box::new(error));
            CatalogueError::Unproved { url, item, source }
        };
        let document = Document::decode(text.as_bytes()).map_err(unproved)?;
        let Verified::State(entry) = document.verify(&self.trust).map_err(unproved)? else {
            return Err(other());
        };
        if entry.key() != key {
            return Err(other());
        }
        self.staleness.check(asked, entry.header().header(), now()).map_err(|source| match source {
            Stale::YetToCome { .. } => CatalogueError::Clock { source },
            source => CatalogueError::Stale { url: self.url.clone(), source },
        })?;
        Ok(entry.value().map(<[u8]>::to_vec))
    }

    /// The text of the proof of an entry, as `eroam verify` reads it. It is not checked here.
    ///
    /// # Errors
    /// [`CatalogueError::Unreachable`], [`CatalogueError::Other`].
    pub fn proof(&self, key: &StateKey, item: &str) -> Result<String, CatalogueError> {
        self.proof_of(&key.to_bytes(), item)
    }

    fn proof_of(&self, key: &[u8], item: &str) -> Result<String, CatalogueError> {
        let unreachable = |reason: String| CatalogueError::Unreachable {
            url: self.url.clone(),
            item: item.to_owned(),
            reason,
        };
        let hex = crate::ledger::keys::hex(key);
        let asked = self.http.get(format!("{}/registry/v1/entry", self.url)).query("key", hex);
        let mut answer = asked.call().map_err(|error| unreachable(error.to_string()))?;
        let limit = u64::try_from(2 * FILE_BYTES_MAX).unwrap_or(u64::MAX);
        let text = answer.body_mut().with_config().limit(limit).read_to_string();
        let text = text.map_err(|error| unreachable(error.to_string()))?;
        // The proof is the last member and is taken as it was written.
        let proof = text.split_once("\"proof\":").and_then(|(_, proof)| proof.strip_suffix('}'));
        let other = || CatalogueError::Other { url: self.url.clone(), item: item.to_owned() };
        Ok(format!("{}\n", proof.ok_or_else(other)?))
    }

    fn object<Id, Record, T>(
        &self,
        id: &ObjectId,
        key: impl FnOnce(Id) -> StateKey,
        json: impl FnOnce(&Id, &Record) -> Result<serde_json::Value, ObjectError>,
        read: impl FnOnce(&[u8]) -> Result<T, AnonCredsError>,
    ) -> Result<Arc<T>, CatalogueError>
    where
        Id: FromStr<Err = ObjectIdError> + Clone,
        Record: BorshDeserialize,
    {
        let item = id.as_str();
        let parsed: Id = item.parse()?;
        let record: Record = self.entry(&key(parsed.clone()), item)?;
        let value = json(&parsed, &record)
            .map_err(|source| CatalogueError::Object { item: item.to_owned(), source })?;
        read(value.to_string().as_bytes())
            .map(Arc::new)
            .map_err(|source| CatalogueError::AnonCreds { item: item.to_owned(), source })
    }

    /// A schema.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn schema(&self, id: &ObjectId) -> Result<Arc<Schema>, CatalogueError> {
        if let Some(known) = self.kept().schemas.get(id) {
            return Ok(Arc::clone(known));
        }
        let found = self.object::<SchemaId, SchemaRecord, _>(
            id,
            StateKey::Schema,
            objects::schema_json,
            Schema::from_json,
        )?;
        self.kept().schemas.insert(id.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// A credential definition.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn definition(&self, id: &ObjectId) -> Result<Arc<CredentialDefinition>, CatalogueError> {
        if let Some(known) = self.kept().definitions.get(id) {
            return Ok(Arc::clone(known));
        }
        let found = self.object::<CredentialDefinitionId, DefinitionRecord, _>(
            id,
            StateKey::CredentialDefinition,
            objects::definition_json,
            CredentialDefinition::from_json,
        )?;
        self.kept().definitions.insert(id.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// A revocation registry.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn registry(&self, id: &ObjectId) -> Result<Arc<RevocationRegistryDefinition>, CatalogueError> {
        if let Some(known) = self.kept().registries.get(id) {
            return Ok(Arc::clone(known));
        }
        let found = self.object::<RevocationRegistryId, RegistryRecord, _>(
            id,
            StateKey::RevocationRegistry,
            objects::registry_json,
            RevocationRegistryDefinition::from_json,
        )?;
        self.kept().registries.insert(id.clone(), Arc::clone(&found));
        Ok(found)
    }

    /// The newest status list of a registry, looked up at most `age` ago.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn newest_list(&self, id: &ObjectId, age: Duration) -> Result<Arc<StatusList>, CatalogueError> {
        if let Some((known, at)) = self.kept().lists.get(id)
            && is_younger(*at, age)
        {
            return Ok(Arc::clone(known));
        }
        let item = id.as_str();
        let parsed: RevocationRegistryId = item.parse()?;
        let asked_at = now();
        let registry: RegistryRecord = self.entry(&StateKey::RevocationRegistry(parsed.clone()), item)?;
        let list: RevocationList = self.entry(&StateKey::RevocationList(parsed.clone()), item)?;
        let known = self.kept().lists.get(id).map(|(list, _)| Arc::clone(list));
        let list = match known {
            // An old answer must not replace a newer one.
            Some(known) if known.timestamp().seconds() >= seconds(&list) => known,
            _ => {
                let value = objects::status_list_json(&parsed, &registry, &list)
                    .map_err(|source| CatalogueError::Object { item: item.to_owned(), source })?;
                let list = StatusList::from_json(value.to_string().as_bytes())
                    .map_err(|source| CatalogueError::AnonCreds { item: item.to_owned(), source })?;
                Arc::new(list)
            }
        };
        self.kept().lists.insert(id.clone(), (Arc::clone(&list), asked_at));
        Ok(list)
    }

    /// When the credentials of a registry count; `None` if it is proved that the ledger does not say. Looked up once.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn registry_window(&self, id: &ObjectId) -> Result<Option<RegistryWindow>, CatalogueError> {
        let parsed: RevocationRegistryId = id.as_str().parse()?;
        let item = format!("window of {}", id.as_str());
        match self.lasting(&StateKey::RegistryWindow(parsed), &item) {
            Ok(window) => Ok(Some(window)),
            Err(CatalogueError::None(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The key that a home utility signs vouchers with.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn voucher_key(&self, emsp: PartyId, number: u32) -> Result<VerificationKey, CatalogueError> {
        let item = format!("voucher key {number} of {emsp}");
        let at = usize::try_from(number).unwrap_or(usize::MAX);
        let known = self.kept().voucher_keys.get(&emsp).map(Arc::clone);
        let keys = match known.filter(|keys| keys.len() > at) {
            Some(keys) => keys,
            None => {
                let keys: Arc<Vec<VoucherKey>> = Arc::new(self.entry(&StateKey::VoucherKeys(emsp), &item)?);
                self.kept().voucher_keys.insert(emsp, Arc::clone(&keys));
                keys
            }
        };
        let key = keys.get(at).and_then(|key| VerificationKey::from_bytes(&key.public.0).ok());
        key.ok_or(CatalogueError::None(item))
    }

    /// Whether a home utility has revoked the key with which it signed vouchers: looked up anew.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn is_voucher_key_revoked(&self, emsp: PartyId, number: u32) -> Result<bool, CatalogueError> {
        let item = format!("voucher key {number} of {emsp}");
        let keys: Vec<VoucherKey> = self.entry(&StateKey::VoucherKeys(emsp), &item)?;
        let key = usize::try_from(number).ok().and_then(|at| keys.get(at));
        Ok(key.ok_or(CatalogueError::None(item))?.is_revoked())
    }

    /// Everything that a proof about a contract of this definition is made or checked with.
    ///
    /// # Errors
    /// [`CatalogueError`].
    pub fn known(
        &self,
        cred_def: &ObjectId,
        registry: Option<&ObjectId>,
        age: Duration,
    ) -> Result<KnownObjects, CatalogueError> {
        let mut known = KnownObjects::new();
        let definition = self.definition(cred_def)?;
        known.add_schema(definition.schema_id().clone(), self.schema(definition.schema_id())?);
        known.add_credential_definition(cred_def.clone(), definition);
        if let Some(registry) = registry {
            known.add_registry(registry.clone(), self.registry(registry)?);
            known.add_status_list(self.newest_list(registry, age)?);
        }
        Ok(known)
    }
}

fn answering_within(within: Duration) -> ureq::Agent {
    ureq::Agent::new_with_config(answered_within(within).build())
}

/// So that the ledger's own queries can be asked of it: each value is looked up with its proof.
impl StateView for Catalogue {
    fn get(&self, key: &[u8]) -> Result<Option<Cow<'_, [u8]>>, StateError> {
        let item = format!("state key {}", crate::ledger::keys::hex(key));
        let proved = self.proved(key, &item).map_err(|error| StateError::Storage(Box::new(error)))?;
        Ok(proved.map(Cow::Owned))
    }
}

fn seconds(list: &RevocationList) -> u64 {
    u64::try_from(list.time.get().div_euclid(1_000)).unwrap_or(0)
}
