//! Drivers of one home utility whose contracts are alike: the same tier and zones, one definition, one registry.

use super::LinkageError;
use crate::charging::provider::{CONTRACT_ATTRIBUTES, CONTRACT_SCHEMA};
use eroam_domain::codec::Digest;
use eroam_domain::ids::{ContractId, EroamDid, IdHash, PartyId};
use eroam_ssi::anoncreds::issuer::{
    self, CredentialDefinitionSecret, NewCredentialDefinition, NewRegistry, Place, RegistrySecret,
};
use eroam_ssi::anoncreds::{
    AttributeValues, CredentialDefinition, Freshness, FreshnessPolicy, HeldCredential, KeyCorrectnessProof,
    KnownObjects, LinkSecret, ObjectId, Prepared, ProofRequest, RevocationIndex,
    RevocationRegistryDefinition, Schema, Selection, StatusList, Tails, Timestamp, WitnessState, holder,
    prepared,
};
use eroam_wallet::visit::ContractKind;
use serde_json::Value;
use std::path::Path;

/// Places in the registry beyond the drivers'; the first is never used.
const ROOM: usize = 2;
/// The smallest registry.
const PLACES_MIN: usize = 64;

/// A driver.
pub(super) struct Driver {
    pub(super) contract: ContractId,
    credential: HeldCredential,
    witness: WitnessState,
    link_secret: LinkSecret,
}

/// The drivers of one home utility, and what everybody may know of their contracts.
pub(super) struct Crowd {
    pub(super) kind: ContractKind,
    pub(super) definition_id: ObjectId,
    pub(super) drivers: Vec<Driver>,
    pub(super) objects: KnownObjects,
    list_at: Timestamp,
    registry_id: ObjectId,
}

struct Issuing {
    schema_id: ObjectId,
    definition_id: ObjectId,
    made: NewCredentialDefinition,
    registry: RevocationRegistryDefinition,
    registry_secret: RegistrySecret,
    list: StatusList,
    tails: Tails,
}

impl Crowd {
    /// Issues a contract to each driver. The key is made, which takes up to half a minute, or read from a directory as
    /// `eroam simulate --issuer-keys` does.
    pub(super) fn enrol(
        emsp: PartyId,
        network: Digest,
        drivers: usize,
        keys: Option<&Path>,
        at: Timestamp,
    ) -> Result<Self, LinkageError> {
        let did = EroamDid::derive(network, &Digest::of(b"linkage").0);
        let issuer_id = ObjectId::new(did.to_string())?;
        let schema_id = ObjectId::new(format!("{did}/anoncreds/v1/schema/contract/1.0"))?;
        let definition = format!("{did}/anoncreds/v1/credential-definition/{}/1", IdHash::of(&schema_id));
        let definition_id = ObjectId::new(definition.clone())?;
        let registry = format!("{did}/anoncreds/v1/revocation-registry/{}/1", IdHash::of(&definition));
        let registry_id = ObjectId::new(registry.clone())?;
        let kind = ContractKind {
            emsp,
            definition: definition.parse().map_err(LinkageError::of("an object of the contracts"))?,
            registry: registry.parse().map_err(LinkageError::of("an object of the contracts"))?,
        };
        let schema = Schema::new(issuer_id.clone(), CONTRACT_SCHEMA, "1.0", CONTRACT_ATTRIBUTES)?;
        let made = match keys {
            None => {
                issuer::new_credential_definition(issuer_id.clone(), schema_id.clone(), &schema, "1", true)?
            }
            Some(directory) => read_keys(directory, &issuer_id, &schema_id)?,
        };
        let new = NewRegistry {
            issuer_id,
            cred_def_id: definition_id.clone(),
            tag: "1".to_owned(),
            size: u32::try_from((drivers + ROOM).max(PLACES_MIN))
                .map_err(LinkageError::of("an object of the contracts"))?,
            tails_location: "https://eroam.example/tails".to_owned(),
        };
        let mut file = Vec::new();
        let (registry, registry_secret) = issuer::new_registry(&made.definition, new, &mut file)?;
        let list = issuer::first_status_list(
            &made.definition,
            registry_id.clone(),
            &registry,
            &registry_secret,
            at,
        )?;
        let tails = Tails::open(file, &registry)?;
        let issuing = Issuing {
            schema_id,
            definition_id: definition_id.clone(),
            made,
            registry,
            registry_secret,
            list,
            tails,
        };
        let enrolled = (1..=drivers).map(|number| issuing.driver(emsp, number));
        let enrolled = enrolled.collect::<Result<Vec<_>, _>>()?;
        let mut objects = KnownObjects::new();
        objects.add_schema(issuing.schema_id, schema);
        objects.add_credential_definition(definition_id.clone(), issuing.made.definition);
        objects.add_registry(registry_id.clone(), issuing.registry);
        objects.add_status_list(issuing.list);
        Ok(Self { kind, definition_id, drivers: enrolled, objects, list_at: at, registry_id })
    }

    /// When the newest list was published, which everybody's proofs are made against.
    pub(super) const fn list_at(&self) -> Timestamp {
        self.list_at
    }

    /// That list and no other.
    pub(super) fn freshness(&self) -> FreshnessPolicy {
        FreshnessPolicy::new().with(self.registry_id.clone(), Freshness::Exactly(self.list_at))
    }

    /// A driver's proof, before its nonce is known, as the wallet makes it.
    pub(super) fn prepare(&self, driver: &Driver, request: &ProofRequest) -> Result<Prepared, LinkageError> {
        let Driver { credential, witness, link_secret, .. } = driver;
        let selection = Selection::choose(request, [(credential, Some(witness))], &self.objects)?;
        Ok(prepared::prepare(request, &selection, link_secret, &self.objects)?)
    }
}

impl Issuing {
    fn driver(&self, emsp: PartyId, number: usize) -> Result<Driver, LinkageError> {
        let text = format!("{}-{}-C{number:08}", emsp.country(), emsp.id());
        let contract: ContractId = text.parse().map_err(LinkageError::of("a contract's id"))?;
        let values = [
            format!("K{number:08}"),
            emsp.to_string(),
            contract.to_string(),
            "standard".to_owned(),
            "100".to_owned(),
            "*".to_owned(),
            "20261101".to_owned(),
            "20361101".to_owned(),
        ];
        let values = CONTRACT_ATTRIBUTES.iter().zip(&values).map(|(name, value)| (*name, value.as_str()));
        let values = AttributeValues::new(values)?;
        let NewCredentialDefinition { definition, secret, key_correctness } = &self.made;
        let link_secret = LinkSecret::random()?;
        let offer = issuer::offer(self.schema_id.clone(), self.definition_id.clone(), key_correctness)?;
        let (request, pending) = holder::request(&offer, &self.definition_id, definition, &link_secret)?;
        let place = u32::try_from(number).map_err(LinkageError::of("a place in the registry"))?;
        let index = RevocationIndex::new(place, self.registry.size())?;
        let place =
            Place { registry: &self.registry, secret: &self.registry_secret, list: &self.list, index };
        let issued = issuer::issue(definition, secret, &offer, &request, &values, Some(place))?;
        let credential = pending.accept(issued, &link_secret, definition, Some(&self.registry), &values)?;
        let witness = WitnessState::create(&self.registry, index, &self.list, &self.tails)?;
        Ok(Driver { contract, credential, witness, link_secret })
    }
}

fn read_keys(
    directory: &Path,
    issuer_id: &ObjectId,
    schema_id: &ObjectId,
) -> Result<NewCredentialDefinition, LinkageError> {
    let read = |name: &str| {
        std::fs::read(directory.join(name)).map_err(LinkageError::of("a file of the issuer's keys"))
    };
    let mut definition: Value = serde_json::from_slice(&read("definition.json")?)
        .map_err(LinkageError::of("a file of the issuer's keys"))?;
    if let Some(members) = definition.as_object_mut() {
        members.insert("issuerId".to_owned(), issuer_id.as_str().into());
        members.insert("schemaId".to_owned(), schema_id.as_str().into());
    }
    let definition: CredentialDefinition =
        CredentialDefinition::from_json(definition.to_string().as_bytes())?;
    Ok(NewCredentialDefinition {
        definition,
        secret: CredentialDefinitionSecret::import_secret(&read("secret.json")?)?,
        key_correctness: KeyCorrectnessProof::from_json(&read("key_correctness.json")?)?,
    })
}
