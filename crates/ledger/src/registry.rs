//! What a verifier needs to check a credential: DIDs, schemas, credential definitions, revocation registries and their
//! updates, and who may issue in whose name. Nothing about a holder: not who has a credential, nor what it says.
//!
//! Objects are public and never change, but for a DID's document (a new version) and a registry's list (by differences,
//! so that an update of a registry of ten thousand costs what it changes). The keys and accumulators are the text of
//! their AnonCreds JSON: the ledger keeps them for whoever verifies, who must be able to read them or refuse them.
//!
//! Checks, in order.
//! - `PublishDid`: the document has 1 to 8 usable keys, none twice, and at most 4 services with ids of their own
//!   (`BadDid`); the first version of a DID is of this network and begins with the document's first key (`BadDid`); later
//!   ones are its owner's (`NotDidOwner`); the version follows the latest (`WrongDidVersion`); the document's first key
//!   signed it (`BadDidProof`).
//! - All below: the object's DID is registered (`UnknownDid`), by the sender (`NotDidOwner`).
//! - `PublishSchema`: there are 1 to 125 attributes with names of their own (`BadSchema`); it is new (`ObjectExists`).
//! - `PublishCredentialDefinition`: the sender is provider, operator or issuer (`WrongRole`); the id names the schema
//!   (`WrongObjectId`), which is published (`UnknownSchema`); it is new (`ObjectExists`).
//! - `PublishRevocationRegistry`: the id names the definition (`WrongObjectId`), which is published
//!   (`UnknownCredentialDefinition`) by the same DID (`NotDidOwner`) with revocation (`NotRevocable`); its size is from 2
//!   to 32,768 (`BadRegistrySize`); it is new (`ObjectExists`).
//! - `PublishDatedRegistry`: its window ends after it begins, at most twenty years later (`BadRegistryWindow`); then as
//!   `PublishRevocationRegistry`.
//! - `UpdateRevocation`: the registry is published (`UnknownRevocationRegistry`); the version follows
//!   (`WrongRevocationVersion`); the time is of whole seconds, later than the last and within ten minutes of the
//!   block's (`BadRevocationTime`); the indexes ascend, are above 0 and below the size, and change their state; the first
//!   update changes none (`BadRevocationIndexes`).
//! - `GrantMandate`: the sender is provider or operator, the agent an issuer (`WrongRole`, `UnknownParty`); it ends after
//!   it begins (`BadMandatePeriod`) and in the future (`InThePast`); the schema is published (`UnknownSchema`).
//! - `RevokeMandate`: there is such a mandate (`UnknownMandate`).
//!
//! Source: AnonCreds v1.0, section 4 (objects of the registry); paper B, section 3.

use crate::membership::{Roles, member};
use crate::reject::{Refusal, RejectCode};
use crate::state::{Overlay, StateKey};
use crate::tx::PublicKey;
use borsh::{BorshDeserialize, BorshSerialize};
use ed25519_dalek::{Signer as _, SigningKey};
use eroam_domain::codec::{Digest, ShortText, to_bytes};
use eroam_domain::ids::{CredentialDefinitionId, EroamDid, IdHash, PartyId, RevocationRegistryId, SchemaId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;

/// The greatest number of keys in a DID's document.
pub const DID_KEYS_MAX: usize = 8;
/// The greatest number of services in a DID's document.
pub const DID_SERVICES_MAX: usize = 4;
/// The greatest number of attributes of a schema, as AnonCreds has it.
pub const ATTRIBUTES_MAX: usize = 125;
/// The greatest size in bytes of an attribute's name.
pub const ATTRIBUTE_BYTES_MAX: usize = 256;
/// The greatest size in bytes of a credential definition's public keys as JSON.
pub const DEFINITION_BYTES_MAX: usize = 160 * 1024;
/// The greatest size in bytes of a revocation registry's public keys as JSON.
pub const REGISTRY_KEYS_BYTES_MAX: usize = 4 * 1024;
/// The greatest number of credentials of a revocation registry.
pub const REGISTRY_SIZE_MAX: u32 = 32_768;
/// The greatest number of credentials that one update changes.
pub const REVOCATION_CHANGES_MAX: usize = 4_096;
/// The greatest size in bytes of an accumulator as text.
pub const ACCUMULATOR_BYTES_MAX: usize = 1024;
/// The longest window of a revocation registry: twenty years.
pub const REGISTRY_WINDOW_MAX: DurationMs = DurationMs::from_millis(7_305 * 86_400_000);
/// So far an update's time may be from its block's.
pub const REVOCATION_DRIFT_MAX: DurationMs = DurationMs::from_millis(600_000);

/// Where messages for a DID are sent.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DidService {
    /// Its name within the document, without `#`.
    pub id: ShortText<32>,
    /// Its type, as `did-communication`.
    pub kind: ShortText<64>,
    /// Its URL.
    pub endpoint: ShortText<256>,
}

/// What resolving a DID gives.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DidDocument {
    /// Ed25519 keys, the first of which signs and receives messages. From 1 to [`DID_KEYS_MAX`].
    pub keys: Vec<PublicKey>,
    /// At most [`DID_SERVICES_MAX`].
    pub services: Vec<DidService>,
}

/// A DID as the ledger knows it.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DidRecord {
    /// Whose it is, for good.
    pub member: PartyId,
    /// From 1.
    pub version: u32,
    /// The document in this version.
    pub document: DidDocument,
}

/// A schema's attributes.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct SchemaRecord {
    /// Their names, in the order in which they were published.
    pub attributes: Vec<ShortText<ATTRIBUTE_BYTES_MAX>>,
}

/// An issuer's public keys for credentials of a schema.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct DefinitionRecord {
    /// The schema.
    pub schema: SchemaId,
    /// Whether its credentials can be revoked.
    pub revocable: bool,
    /// The JSON text of an AnonCreds credential definition's `value`.
    pub value: ShortText<DEFINITION_BYTES_MAX>,
}

/// A revocation registry.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RegistryRecord {
    /// Of which credentials.
    pub definition: CredentialDefinitionId,
    /// How many credentials it has room for, with index 0, which none has.
    pub size: u32,
    /// SHA-256 of the tails file in base58.
    pub tails_hash: ShortText<64>,
    /// Where the tails file is.
    pub tails_location: ShortText<256>,
    /// The JSON text of an AnonCreds registry definition's `publicKeys`.
    pub public_keys: ShortText<REGISTRY_KEYS_BYTES_MAX>,
}

/// When the credentials of a revocation registry count: they end with it at the latest. Whoever sees a proof sees its
/// registry, so this says when all of its crowd end and nothing about one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RegistryWindow {
    /// Its credentials count from here on.
    pub from: UnixMillis,
    /// They count before this time.
    pub until: UnixMillis,
}

impl RegistryWindow {
    /// Whether it ends after it begins, and lasts no longer than [`REGISTRY_WINDOW_MAX`].
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.until.since(self.from).is_some_and(|lasts| !lasts.is_zero() && lasts <= REGISTRY_WINDOW_MAX)
    }

    /// Whether credentials of the registry count at `instant`.
    #[must_use]
    pub fn contains(&self, instant: UnixMillis) -> bool {
        self.from <= instant && instant < self.until
    }
}

/// The newest list of a revocation registry.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RevocationList {
    /// From 1.
    pub version: u32,
    /// Since when it holds, in whole seconds.
    pub time: UnixMillis,
    /// The accumulator's text.
    pub accumulator: ShortText<ACCUMULATOR_BYTES_MAX>,
    /// A bit for each index, the lowest of each byte first; set if it is revoked.
    pub revoked: Vec<u8>,
}

/// One update of a registry's list: what it takes to get from a list to the one before.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RevocationChange {
    /// Since when it holds, in whole seconds.
    pub time: UnixMillis,
    /// The accumulator's text from then on.
    pub accumulator: ShortText<ACCUMULATOR_BYTES_MAX>,
    /// Newly revoked, ascending.
    pub revoked: Vec<u32>,
    /// Valid again, ascending.
    pub reinstated: Vec<u32>,
}

/// That an issuer acts in another member's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Mandate {
    /// Credentials count from here on.
    pub from: UnixMillis,
    /// They count before this time.
    pub until: UnixMillis,
}

/// Transactions about credentials.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub enum RegistryTx {
    /// Registers a DID of the sender, or publishes the next version of its document.
    PublishDid {
        /// The DID.
        did: EroamDid,
        /// From 1, without gaps.
        version: u32,
        /// Its document.
        document: DidDocument,
        /// The document's first key's signature over [`did_digest`].
        proof: [u8; 64],
    },
    /// Publishes a schema.
    PublishSchema {
        /// Its id.
        id: SchemaId,
        /// Its attributes.
        schema: SchemaRecord,
    },
    /// Publishes a credential definition.
    PublishCredentialDefinition {
        /// Its id.
        id: CredentialDefinitionId,
        /// Its keys.
        definition: DefinitionRecord,
    },
    /// Publishes a revocation registry. It has no list before the first update.
    PublishRevocationRegistry {
        /// Its id.
        id: RevocationRegistryId,
        /// Its keys and its size.
        registry: RegistryRecord,
    },
    /// Publishes the next list of a revocation registry.
    UpdateRevocation {
        /// The registry.
        id: RevocationRegistryId,
        /// From 1, without gaps.
        version: u32,
        /// What changes.
        change: RevocationChange,
    },
    /// Lets an issuer issue credentials of a schema in the sender's name. Replaces an earlier mandate.
    GrantMandate {
        /// The issuer.
        agent: PartyId,
        /// The schema.
        schema: SchemaId,
        /// When.
        mandate: Mandate,
    },
    /// Ends a mandate at once.
    RevokeMandate {
        /// The issuer.
        agent: PartyId,
        /// The schema.
        schema: SchemaId,
    },
    /// Publishes a revocation registry whose credentials end with its window. It has no list before the first update.
    PublishDatedRegistry {
        /// Its id.
        id: RevocationRegistryId,
        /// Its keys and its size.
        registry: RegistryRecord,
        /// When its credentials count.
        window: RegistryWindow,
    },
}

/// What the first key of a DID's document signs.
#[must_use]
pub fn did_digest(
    network: Digest,
    member: PartyId,
    did: &EroamDid,
    version: u32,
    document: &DidDocument,
) -> Digest {
    Digest::of_parts("eroam/did/1", &[&network.0, &to_bytes(&(member, did, version, document))])
}

impl RegistryTx {
    /// Publishes a DID's document, signed with its first key.
    #[must_use]
    pub fn publish_did(
        network: Digest,
        member: PartyId,
        did: EroamDid,
        version: u32,
        document: DidDocument,
        first: &SigningKey,
    ) -> Self {
        let proof = first.sign(&did_digest(network, member, &did, version, &document).0).to_bytes();
        Self::PublishDid { did, version, document, proof }
    }
}

impl DidDocument {
    fn is_sound(&self) -> bool {
        let keys = 1..=DID_KEYS_MAX;
        keys.contains(&self.keys.len())
            && self.services.len() <= DID_SERVICES_MAX
            && self.keys.iter().all(PublicKey::is_usable)
            && are_distinct(&self.keys)
            && are_distinct(&self.services.iter().map(|service| &service.id).collect::<Vec<_>>())
    }
}

/// For short lists.
fn are_distinct<T: PartialEq>(items: &[T]) -> bool {
    items.iter().enumerate().all(|(index, item)| !items.iter().take(index).any(|other| other == item))
}

impl RevocationList {
    /// Whether the credential with this index is revoked; `None` if the registry has no such index.
    #[must_use]
    pub fn is_revoked(&self, index: u32) -> Option<bool> {
        let (byte, bit) = place(index);
        self.revoked.get(byte).map(|bits| bits & bit != 0)
    }

    /// The list as it was before `last`, its latest change; `before` are the version's own time and accumulator.
    #[must_use]
    pub fn before(mut self, last: &RevocationChange, before: &RevocationChange) -> Self {
        self.flip(&last.revoked);
        self.flip(&last.reinstated);
        self.version = self.version.saturating_sub(1);
        self.time = before.time;
        self.accumulator = before.accumulator.clone();
        self
    }

    fn flip(&mut self, indexes: &[u32]) {
        for index in indexes {
            let (byte, bit) = place(*index);
            if let Some(bits) = self.revoked.get_mut(byte) {
                *bits ^= bit;
            }
        }
    }
}

/// An index's byte in a list, and its bit there.
fn place(index: u32) -> (usize, u8) {
    (usize::try_from(index / 8).unwrap_or(usize::MAX), 1 << (index % 8))
}

/// The record of a DID of the sender.
fn own_did(state: &Overlay<'_>, sender: PartyId, did: EroamDid) -> Result<DidRecord, Refusal> {
    let record: DidRecord = state.read(&StateKey::Did(did))?.ok_or(RejectCode::UnknownDid)?;
    if record.member == sender { Ok(record) } else { Err(RejectCode::NotDidOwner.into()) }
}

fn require_new(state: &Overlay<'_>, key: &StateKey) -> Result<(), Refusal> {
    if state.contains(key)? { Err(RejectCode::ObjectExists.into()) } else { Ok(()) }
}

fn require_schema(state: &Overlay<'_>, id: &SchemaId) -> Result<(), Refusal> {
    if state.contains(&StateKey::Schema(id.clone()))? {
        Ok(())
    } else {
        Err(RejectCode::UnknownSchema.into())
    }
}

/// Fails unless `sender` has one of the roles.
fn require_any(state: &Overlay<'_>, sender: PartyId, roles: &[Roles]) -> Result<(), Refusal> {
    let sender = member(state, sender)?.ok_or(RejectCode::UnknownMember)?;
    let has = roles.iter().any(|role| sender.roles.contains(*role));
    if has { Ok(()) } else { Err(RejectCode::WrongRole.into()) }
}

/// What [`apply`] reads and writes, but for the sender's own member and lane.
pub(crate) fn reads(keys: &mut Vec<StateKey>, sender: PartyId, tx: &RegistryTx) {
    match tx {
        RegistryTx::PublishDid { did, .. } => keys.push(StateKey::Did(*did)),
        RegistryTx::PublishSchema { id, .. } => {
            keys.extend([StateKey::Did(id.did), StateKey::Schema(id.clone())]);
        }
        RegistryTx::PublishCredentialDefinition { id, definition } => keys.extend([
            StateKey::Did(id.did),
            StateKey::Schema(definition.schema.clone()),
            StateKey::CredentialDefinition(id.clone()),
        ]),
        RegistryTx::PublishRevocationRegistry { id, registry } => keys.extend([
            StateKey::Did(id.did),
            StateKey::CredentialDefinition(registry.definition.clone()),
            StateKey::RevocationRegistry(id.clone()),
        ]),
        RegistryTx::PublishDatedRegistry { id, registry, .. } => keys.extend([
            StateKey::Did(id.did),
            StateKey::CredentialDefinition(registry.definition.clone()),
            StateKey::RevocationRegistry(id.clone()),
            StateKey::RegistryWindow(id.clone()),
        ]),
        RegistryTx::UpdateRevocation { id, version, .. } => keys.extend([
            StateKey::Did(id.did),
            StateKey::RevocationRegistry(id.clone()),
            StateKey::RevocationList(id.clone()),
            StateKey::RevocationChange(id.clone(), *version),
        ]),
        RegistryTx::GrantMandate { agent, schema, .. } => keys.extend([
            StateKey::Member(*agent),
            StateKey::Schema(schema.clone()),
            StateKey::Mandate(sender, *agent, schema.clone()),
        ]),
        RegistryTx::RevokeMandate { agent, schema } => {
            keys.push(StateKey::Mandate(sender, *agent, schema.clone()));
        }
    }
}

pub(crate) fn apply(
    state: &mut Overlay<'_>,
    network: Digest,
    now: UnixMillis,
    sender: PartyId,
    tx: &RegistryTx,
) -> Result<(), Refusal> {
    match tx {
        RegistryTx::PublishDid { did, version, document, proof } => {
            publish_did(state, network, sender, *did, *version, document, proof)
        }
        RegistryTx::PublishSchema { id, schema } => {
            own_did(state, sender, id.did)?;
            let attributes = &schema.attributes;
            if !(1..=ATTRIBUTES_MAX).contains(&attributes.len()) || !are_distinct(attributes) {
                return Err(RejectCode::BadSchema.into());
            }
            let key = StateKey::Schema(id.clone());
            require_new(state, &key)?;
            state.write(&key, schema);
            Ok(())
        }
        RegistryTx::PublishCredentialDefinition { id, definition } => {
            own_did(state, sender, id.did)?;
            require_any(state, sender, &[Roles::EMSP, Roles::CPO, Roles::ISSUER])?;
            if id.schema != IdHash::of(&definition.schema) {
                return Err(RejectCode::WrongObjectId.into());
            }
            require_schema(state, &definition.schema)?;
            let key = StateKey::CredentialDefinition(id.clone());
            require_new(state, &key)?;
            state.write(&key, definition);
            Ok(())
        }
        RegistryTx::PublishRevocationRegistry { id, registry } => {
            publish_registry(state, sender, id, registry)
        }
        RegistryTx::PublishDatedRegistry { id, registry, window } => {
            own_did(state, sender, id.did)?;
            if !window.is_sound() {
                return Err(RejectCode::BadRegistryWindow.into());
            }
            publish_registry(state, sender, id, registry)?;
            state.write(&StateKey::RegistryWindow(id.clone()), window);
            Ok(())
        }
        RegistryTx::UpdateRevocation { id, version, change } => {
            update_revocation(state, now, sender, id, *version, change)
        }
        RegistryTx::GrantMandate { agent, schema, mandate } => {
            require_any(state, sender, &[Roles::EMSP, Roles::CPO])?;
            let issuer = member(state, *agent)?.ok_or(RejectCode::UnknownParty)?;
            if !issuer.roles.contains(Roles::ISSUER) {
                return Err(RejectCode::WrongRole.into());
            }
            if mandate.from >= mandate.until {
                return Err(RejectCode::BadMandatePeriod.into());
            }
            if mandate.until <= now {
                return Err(RejectCode::InThePast.into());
            }
            require_schema(state, schema)?;
            state.write(&StateKey::Mandate(sender, *agent, schema.clone()), mandate);
            Ok(())
        }
        RegistryTx::RevokeMandate { agent, schema } => {
            let key = StateKey::Mandate(sender, *agent, schema.clone());
            if !state.contains(&key)? {
                return Err(RejectCode::UnknownMandate.into());
            }
            state.remove(&key);
            Ok(())
        }
    }
}

fn publish_did(
    state: &mut Overlay<'_>,
    network: Digest,
    sender: PartyId,
    did: EroamDid,
    version: u32,
    document: &DidDocument,
    proof: &[u8; 64],
) -> Result<(), Refusal> {
    let first = document.keys.first().filter(|_| document.is_sound()).ok_or(RejectCode::BadDid)?;
    let key = StateKey::Did(did);
    let known: Option<DidRecord> = state.read(&key)?;
    let latest = match known {
        // With an imported state come DIDs that name the network before this one.
        None if did.is_of(network) && did.begins_with(&first.0) => 0,
        None => return Err(RejectCode::BadDid.into()),
        Some(known) if known.member == sender => known.version,
        Some(_) => return Err(RejectCode::NotDidOwner.into()),
    };
    if latest.checked_add(1) != Some(version) {
        return Err(RejectCode::WrongDidVersion.into());
    }
    if !first.verifies(&did_digest(network, sender, &did, version, document).0, proof) {
        return Err(RejectCode::BadDidProof.into());
    }
    state.write(&key, &DidRecord { member: sender, version, document: document.clone() });
    Ok(())
}

fn publish_registry(
    state: &mut Overlay<'_>,
    sender: PartyId,
    id: &RevocationRegistryId,
    registry: &RegistryRecord,
) -> Result<(), Refusal> {
    own_did(state, sender, id.did)?;
    if id.credential_definition != IdHash::of(&registry.definition) {
        return Err(RejectCode::WrongObjectId.into());
    }
    let definition: DefinitionRecord = state
        .read(&StateKey::CredentialDefinition(registry.definition.clone()))?
        .ok_or(RejectCode::UnknownCredentialDefinition)?;
    if registry.definition.did != id.did {
        return Err(RejectCode::NotDidOwner.into());
    }
    if !definition.revocable {
        return Err(RejectCode::NotRevocable.into());
    }
    if !(2..=REGISTRY_SIZE_MAX).contains(&registry.size) {
        return Err(RejectCode::BadRegistrySize.into());
    }
    let key = StateKey::RevocationRegistry(id.clone());
    require_new(state, &key)?;
    state.write(&key, registry);
    Ok(())
}

fn update_revocation(
    state: &mut Overlay<'_>,
    now: UnixMillis,
    sender: PartyId,
    id: &RevocationRegistryId,
    version: u32,
    change: &RevocationChange,
) -> Result<(), Refusal> {
    own_did(state, sender, id.did)?;
    let registry: RegistryRecord = state
        .read(&StateKey::RevocationRegistry(id.clone()))?
        .ok_or(RejectCode::UnknownRevocationRegistry)?;
    let key = StateKey::RevocationList(id.clone());
    let list: Option<RevocationList> = state.read(&key)?;
    let latest = list.as_ref().map_or(0, |list| list.version);
    if latest.checked_add(1) != Some(version) {
        return Err(RejectCode::WrongRevocationVersion.into());
    }
    let is_later = list.as_ref().is_none_or(|list| change.time > list.time);
    let drift = change.time.get().abs_diff(now.get());
    let is_near = drift <= REVOCATION_DRIFT_MAX.millis();
    if change.time.get().rem_euclid(1000) != 0 || !is_later || !is_near {
        return Err(RejectCode::BadRevocationTime.into());
    }
    let mut list = list.unwrap_or_else(|| RevocationList {
        version,
        time: change.time,
        accumulator: change.accumulator.clone(),
        revoked: vec![0; usize::try_from(registry.size.div_ceil(8)).unwrap_or(0)],
    });
    let count = change.revoked.len().saturating_add(change.reinstated.len());
    let are_in_order = |indexes: &[u32]| indexes.is_sorted_by(|a, b| a < b);
    let are_now = |indexes: &[u32], revoked| {
        indexes
            .iter()
            .all(|index| *index > 0 && *index < registry.size && list.is_revoked(*index) == Some(revoked))
    };
    let fits = count <= if latest == 0 { 0 } else { REVOCATION_CHANGES_MAX }
        && are_in_order(&change.revoked)
        && are_in_order(&change.reinstated)
        && are_now(&change.revoked, false)
        && are_now(&change.reinstated, true);
    if !fits {
        return Err(RejectCode::BadRevocationIndexes.into());
    }
    list.flip(&change.revoked);
    list.flip(&change.reinstated);
    list.version = version;
    list.time = change.time;
    list.accumulator = change.accumulator.clone();
    state.write(&key, &list);
    state.write(&StateKey::RevocationChange(id.clone(), version), change);
    Ok(())
}
