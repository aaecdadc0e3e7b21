//! Issuers with keys that were made once (`vectors/anoncreds`), registries and credentials for the tests.
#![allow(dead_code, reason = "each test file uses a part")]

use eroam_ssi::anoncreds::issuer::{self, CredentialDefinitionSecret, NewRegistry, Place, RegistrySecret};
use eroam_ssi::anoncreds::*;
use std::collections::BTreeSet;
use std::path::PathBuf;

pub(crate) fn id(text: &str) -> ObjectId {
    ObjectId::new(text).unwrap()
}

pub(crate) fn at(seconds: u64) -> Timestamp {
    Timestamp::new(seconds).unwrap()
}

/// The instant of the first list.
pub(crate) const START: u64 = 1_795_000_000;

pub(crate) struct Issuer {
    pub(crate) schema_id: ObjectId,
    pub(crate) cred_def_id: ObjectId,
    pub(crate) schema: Schema,
    pub(crate) definition: CredentialDefinition,
    pub(crate) secret: CredentialDefinitionSecret,
    pub(crate) key_correctness: KeyCorrectnessProof,
}

const DRIVER: [&str; 8] =
    ["customer id", "name", "contract", "limit_day", "allowed_zones", "tariff", "issued", "Expiry"];

impl Issuer {
    /// An emsp's driver credential, revocable.
    pub(crate) fn driver() -> Self {
        Self::read("driver", "did:eroam:emsp", &DRIVER, true)
    }

    /// A club's membership, not revocable.
    pub(crate) fn member() -> Self {
        Self::read("member", "did:eroam:club", &["level", "since"], false)
    }

    fn read(kind: &str, issuer: &str, attributes: &[&str], revocable: bool) -> Self {
        let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/anoncreds").join(kind);
        let (schema_id, cred_def_id) =
            (id(&format!("{issuer}/schema/{kind}")), id(&format!("{issuer}/def/{kind}")));
        if std::env::var_os("EROAM_MAKE_ANONCREDS_KEYS").is_some() {
            let schema = Schema::new(id(issuer), kind, "1.0", attributes.to_vec()).unwrap();
            let new =
                issuer::new_credential_definition(id(issuer), schema_id.clone(), &schema, "1", revocable);
            let new = new.unwrap();
            std::fs::create_dir_all(&directory).unwrap();
            let write = |name: &str, bytes: &[u8]| std::fs::write(directory.join(name), bytes).unwrap();
            write("schema.json", &schema.to_json());
            write("definition.json", &new.definition.to_json());
            write("secret.json", &new.secret.export_secret().unwrap());
            write("key_correctness.json", &new.key_correctness.to_json());
        }
        let read = |name: &str| std::fs::read(directory.join(name)).unwrap();
        Self {
            schema: Schema::from_json(&read("schema.json")).unwrap(),
            definition: CredentialDefinition::from_json(&read("definition.json")).unwrap(),
            secret: CredentialDefinitionSecret::import_secret(&read("secret.json")).unwrap(),
            key_correctness: KeyCorrectnessProof::from_json(&read("key_correctness.json")).unwrap(),
            schema_id,
            cred_def_id,
        }
    }

    pub(crate) fn offer(&self) -> CredentialOffer {
        issuer::offer(self.schema_id.clone(), self.cred_def_id.clone(), &self.key_correctness).unwrap()
    }

    pub(crate) fn registry(&self, size: u32) -> Registry {
        let new = NewRegistry {
            issuer_id: self.definition.issuer_id().clone(),
            cred_def_id: self.cred_def_id.clone(),
            tag: "0".to_owned(),
            size,
            tails_location: "https://emsp.example/tails".to_owned(),
        };
        let mut tails = Vec::new();
        let (definition, secret) = issuer::new_registry(&self.definition, new, &mut tails).unwrap();
        let registry_id = id(&format!("{}/reg/0", self.cred_def_id));
        let list =
            issuer::first_status_list(&self.definition, registry_id.clone(), &definition, &secret, at(START));
        Registry { id: registry_id, list: list.unwrap(), definition, secret, tails }
    }
}

pub(crate) struct Registry {
    pub(crate) id: ObjectId,
    pub(crate) definition: RevocationRegistryDefinition,
    pub(crate) secret: RegistrySecret,
    pub(crate) tails: Vec<u8>,
    pub(crate) list: StatusList,
}

impl Registry {
    pub(crate) fn tails(&self) -> Tails {
        Tails::open(self.tails.clone(), &self.definition).unwrap()
    }

    pub(crate) fn index(&self, index: u32) -> RevocationIndex {
        RevocationIndex::new(index, self.definition.size()).unwrap()
    }

    /// Moves to the next list, a minute later.
    pub(crate) fn change(&mut self, issuer: &Issuer, restored: &[u32], revoked: &[u32]) -> StatusDelta {
        let set = |of: &[u32]| of.iter().map(|index| self.index(*index)).collect::<BTreeSet<_>>();
        let now = at(self.list.timestamp().seconds() + 60);
        let (restored, revoked) = (set(restored), set(revoked));
        let next =
            issuer::next_status_list(&issuer.definition, &self.secret, &self.list, &restored, &revoked, now);
        let (list, delta) = next.unwrap();
        self.list = list;
        delta
    }

    pub(crate) fn witness(&self, index: u32) -> WitnessState {
        WitnessState::create(&self.definition, self.index(index), &self.list, &self.tails()).unwrap()
    }

    pub(crate) fn fresh(&self) -> FreshnessPolicy {
        FreshnessPolicy::new().with(self.id.clone(), Freshness::Exactly(self.list.timestamp()))
    }
}

pub(crate) fn driver_values() -> AttributeValues {
    AttributeValues::new([
        ("customer id", "C-4711"),
        ("name", "Ada"),
        ("contract", "DE*EMS*C1"),
        ("limit_day", "80"),
        ("allowed_zones", "A,B"),
        ("tariff", "std"),
        ("issued", "20261121"),
        ("Expiry", "20301231"),
    ])
    .unwrap()
}

pub(crate) fn member_values() -> AttributeValues {
    AttributeValues::new([("level", "gold"), ("since", "-5")]).unwrap()
}

/// Offer, request, credential, through their JSON.
pub(crate) fn hold(
    issuer: &Issuer,
    values: &AttributeValues,
    place: Option<(&Registry, u32)>,
    link_secret: &LinkSecret,
) -> HeldCredential {
    let offer = CredentialOffer::from_json(&issuer.offer().to_json()).unwrap();
    let (request, pending) =
        holder::request(&offer, &issuer.cred_def_id, &issuer.definition, link_secret).unwrap();
    let request = CredentialRequest::from_json(&request.to_json()).unwrap();
    let registry = place.map(|(registry, _)| &registry.definition);
    let place = place.map(|(registry, index)| Place {
        registry: &registry.definition,
        secret: &registry.secret,
        list: &registry.list,
        index: registry.index(index),
    });
    let credential =
        issuer::issue(&issuer.definition, &issuer.secret, &offer, &request, values, place).unwrap();
    let credential = Credential::from_json(&credential.to_json()).unwrap();
    let pending = PendingCredential::import_secret(&pending.export_secret().unwrap()).unwrap();
    let held = pending.accept(credential, link_secret, &issuer.definition, registry, values).unwrap();
    HeldCredential::import_secret(&held.export_secret()).unwrap()
}

/// Two issuers, a registry, a holder with both credentials.
pub(crate) struct World {
    pub(crate) driver: Issuer,
    pub(crate) member: Issuer,
    pub(crate) registry: Registry,
    pub(crate) link_secret: LinkSecret,
    pub(crate) licence: HeldCredential,
    pub(crate) membership: HeldCredential,
}

/// The place of the holder's credential.
pub(crate) const INDEX: u32 = 3;

impl World {
    pub(crate) fn new() -> Self {
        let (driver, member, link_secret) =
            (Issuer::driver(), Issuer::member(), LinkSecret::random().unwrap());
        let registry = driver.registry(12);
        let licence = hold(&driver, &driver_values(), Some((&registry, INDEX)), &link_secret);
        let membership = hold(&member, &member_values(), None, &link_secret);
        Self { driver, member, registry, link_secret, licence, membership }
    }

    pub(crate) fn objects(&self) -> KnownObjects {
        let mut objects = KnownObjects::new();
        for issuer in [&self.driver, &self.member] {
            objects.add_schema(issuer.schema_id.clone(), issuer.schema.clone());
            objects.add_credential_definition(issuer.cred_def_id.clone(), issuer.definition.clone());
        }
        objects.add_registry(self.registry.id.clone(), self.registry.definition.clone());
        objects.add_status_list(self.registry.list.clone());
        objects
    }

    /// The interval that SSI.md demands.
    pub(crate) fn interval(&self) -> Interval {
        self.registry.fresh().interval(at(START + 100_000))
    }

    pub(crate) fn of_driver(&self) -> Restriction {
        Restriction::cred_def(&self.driver.cred_def_id)
    }

    pub(crate) fn of_member(&self) -> Restriction {
        Restriction::cred_def(&self.member.cred_def_id)
    }

    /// Zones and tariff shown, expiry compared, and not revoked.
    pub(crate) fn request(&self) -> ProofRequest {
        ProofRequest::builder("charge", "1.0")
            .group("zones", ["allowed_zones", "tariff"], self.of_driver())
            .predicate("valid", "expiry", Comparison::AtLeast, 20_261_122, self.of_driver())
            .non_revoked(self.interval())
            .build()
            .unwrap()
    }

    pub(crate) fn present(&self, request: &ProofRequest, witness: &WitnessState) -> Presentation {
        let held = [(&self.licence, Some(witness)), (&self.membership, None)];
        let selection = Selection::choose(request, held, &self.objects()).unwrap();
        let prepared = prepared::prepare(request, &selection, &self.link_secret, &self.objects()).unwrap();
        prepared.answer(request).unwrap()
    }

    pub(crate) fn verify(
        &self,
        presentation: &Presentation,
        request: &ProofRequest,
    ) -> Result<VerifiedPresentation, VerifyError> {
        verifier::verify(presentation, request, &self.objects(), &self.registry.fresh())
    }
}
