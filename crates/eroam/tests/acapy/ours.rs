//! Our side: a ledger with its registry over HTTP, an issuer, an agent, a wallet.

use crate::world::World;
use eroam::agent::{Agent, AgentError, new_id};
use eroam::clock::{in_time, now};
use eroam_domain::time::UnixMillis;
use eroam_ssi::anoncreds::issuer::{self, CredentialDefinitionSecret, NewRegistry, Place, RegistrySecret};
use eroam_ssi::anoncreds::*;
use eroam_ssi::didcomm::MessageId;
use eroam_ssi::protocol::did_exchange::Connection;
use eroam_ssi::protocol::issue_credential::{self, Holder, Issuer, Offer, Preview};
use eroam_ssi::protocol::present_proof::{self, Prover, Request, Verifier};
use eroam_ssi::protocol::{Formatted, find_format};
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

/// So long an answer of the other side may take.
pub(crate) const WITHIN: Duration = Duration::from_secs(150);

pub(crate) fn deadline() -> UnixMillis {
    in_time(WITHIN)
}

pub(crate) fn formatted(format: &str, content: Vec<u8>) -> Vec<Formatted> {
    vec![Formatted { format: format.to_owned(), content }]
}

/// Today as predicates compare it.
pub(crate) const TODAY: i32 = 20_261_122;

pub(crate) const VALUES: [(&str, &str); 8] = [
    ("customer id", "C-4711"),
    ("name", "a driver"),
    ("contract", "PT-LUZ-C00004711"),
    ("limit_day", "80"),
    ("allowed_zones", "A,B"),
    ("tariff", "std"),
    ("issued", "20261121"),
    ("Expiry", "20301231"),
];

fn id(text: impl ToString) -> ObjectId {
    ObjectId::new(text.to_string()).unwrap()
}

pub(crate) fn set(indexes: &[u32], size: u32) -> BTreeSet<RevocationIndex> {
    indexes.iter().map(|index| RevocationIndex::new(*index, size).unwrap()).collect()
}

/// The keys of the tests of `ssi`, under names of this network.
fn vector(name: &str) -> Vec<u8> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    std::fs::read(root.join("../ssi/tests/vectors/anoncreds/driver").join(name)).unwrap()
}

/// A revocation registry with what only its issuer has.
pub(crate) struct Registry {
    pub(crate) id: ObjectId,
    pub(crate) definition: RevocationRegistryDefinition,
    secret: RegistrySecret,
    pub(crate) tails: Tails,
    pub(crate) list: StatusList,
    next: u32,
}

/// An issuer whose objects are on the ledger.
pub(crate) struct OurIssuer {
    pub(crate) schema_id: ObjectId,
    pub(crate) cred_def_id: ObjectId,
    pub(crate) schema: Schema,
    pub(crate) definition: CredentialDefinition,
    secret: CredentialDefinitionSecret,
    key_correctness: KeyCorrectnessProof,
    pub(crate) registry: Registry,
}

impl OurIssuer {
    /// Publishes a schema, a definition and a registry. `tag` tells several apart.
    pub(crate) fn publish(world: &World, tag: &str) -> Self {
        let with = |bytes: Vec<u8>, changes: &[(&str, String)]| {
            let mut value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
            for (name, text) in changes {
                value[*name] = text.as_str().into();
            }
            value
        };
        let did = world.did.to_string();
        let schema =
            with(vector("schema.json"), &[("issuerId", did.clone()), ("name", format!("driver {tag}"))]);
        let (schema_id, schema) = world.publish("schema", schema);
        let definition = [("issuerId", did), ("schemaId", schema_id.clone()), ("tag", tag.to_owned())];
        let (cred_def_id, definition) =
            world.publish("credential-definition", with(vector("definition.json"), &definition));
        let definition = CredentialDefinition::from_json(definition.to_string().as_bytes()).unwrap();
        let new = NewRegistry {
            issuer_id: definition.issuer_id().clone(),
            cred_def_id: id(&cred_def_id),
            tag: "1".to_owned(),
            size: 20,
            tails_location: "http://127.0.0.1:9/none".to_owned(),
        };
        let mut tails = Vec::new();
        let (made, secret) = issuer::new_registry(&definition, new, &mut tails).unwrap();
        let location = world.put_tails(&made, &tails);
        let mut value: serde_json::Value = serde_json::from_slice(&made.to_json()).unwrap();
        value["value"]["tailsLocation"] = location.into();
        let (registry_id, made) = world.publish("revocation-registry", value);
        let made = RevocationRegistryDefinition::from_json(made.to_string().as_bytes()).unwrap();
        let now = Timestamp::from(now());
        let list = issuer::first_status_list(&definition, id(&registry_id), &made, &secret, now).unwrap();
        let list = world.publish_list(&list);
        Self {
            schema_id: id(schema_id),
            cred_def_id: id(cred_def_id),
            schema: Schema::from_json(schema.to_string().as_bytes()).unwrap(),
            secret: CredentialDefinitionSecret::import_secret(&vector("secret.json")).unwrap(),
            key_correctness: KeyCorrectnessProof::from_json(&vector("key_correctness.json")).unwrap(),
            definition,
            registry: Registry {
                id: id(registry_id),
                tails: Tails::open(tails, &made).unwrap(),
                definition: made,
                secret,
                list,
                next: 1,
            },
        }
    }

    /// Publishes the list in which one more is revoked.
    pub(crate) fn revoke(&mut self, world: &World, index: u32) {
        let Registry { secret, list, definition, .. } = &self.registry;
        let revoked = set(&[index], definition.size());
        let next = Timestamp::from(now()).max(Timestamp::new(list.timestamp().seconds() + 1).unwrap());
        let next = issuer::next_status_list(&self.definition, secret, list, &BTreeSet::new(), &revoked, next);
        self.registry.list = world.publish_list(&next.unwrap().0);
    }

    fn offer(&self) -> CredentialOffer {
        issuer::offer(self.schema_id.clone(), self.cred_def_id.clone(), &self.key_correctness).unwrap()
    }

    /// The credential for a request, and the index that it can be revoked at.
    fn issue(&mut self, offer: &CredentialOffer, request: &CredentialRequest) -> (Credential, u32) {
        let index = self.registry.next;
        self.registry.next += 1;
        let Registry { definition, secret, list, .. } = &self.registry;
        let place = Place {
            registry: definition,
            secret,
            list,
            index: RevocationIndex::new(index, definition.size()).unwrap(),
        };
        let values = AttributeValues::new(VALUES).unwrap();
        let made =
            issuer::issue(&self.definition, &self.secret, offer, request, &values, Some(place)).unwrap();
        (made, index)
    }

    /// Issues to a wallet of ours without any messages.
    pub(crate) fn issue_to(&mut self, link_secret: &LinkSecret) -> (HeldCredential, WitnessState) {
        let offer = self.offer();
        let (request, pending) =
            holder::request(&offer, &self.cred_def_id, &self.definition, link_secret).unwrap();
        let (credential, _) = self.issue(&offer, &request);
        let registry = &self.registry;
        let values = AttributeValues::new(VALUES).unwrap();
        let held =
            pending.accept(credential, link_secret, &self.definition, Some(&registry.definition), &values);
        let held = held.unwrap();
        let index = held.revocation_index().unwrap();
        let witness =
            WitnessState::create(&registry.definition, index, &registry.list, &registry.tails).unwrap();
        (held, witness)
    }

    /// Issues over a connection; gives the index of the credential.
    pub(crate) fn issue_over(&mut self, agent: &Agent, connection: &Connection) -> u32 {
        let offer = self.offer();
        let preview = VALUES.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
        let message = Offer {
            comment: None,
            preview: Preview::new(preview).unwrap(),
            offers: formatted(issue_credential::ANONCREDS_OFFER, offer.to_json()),
        };
        let (issuer, effects) = Issuer::offer(connection.channel(), &message, new_id(), deadline()).unwrap();
        send_issuing(agent, connection, &effects);
        let thread = issuer.unfinished().unwrap().thread().clone();
        let request = agent.receive_from(connection, Some(&thread), WITHIN).unwrap();
        let (issuer, effects) = agent.drive(connection, &request, issuer.handle(&request, now())).unwrap();
        let [issue_credential::Effect::Requested(requests)] = &effects[..] else { panic!("{effects:?}") };
        let request = find_format(requests, issue_credential::ANONCREDS_REQUEST).unwrap();
        let request = CredentialRequest::from_json(request).unwrap();
        let (credential, index) = self.issue(&offer, &request);
        let credential = formatted(issue_credential::ANONCREDS_CREDENTIAL, credential.to_json());
        let (issuer, effects) = issuer.issue(&credential, new_id(), now()).unwrap();
        send_issuing(agent, connection, &effects);
        let ack = agent.receive_from(connection, Some(&thread), WITHIN).unwrap();
        let (issuer, _) = issuer.handle(&ack, now()).unwrap();
        assert_eq!(issuer.name(), "done");
        index
    }

    pub(crate) fn objects(&self) -> KnownObjects {
        let mut objects = KnownObjects::new();
        objects.add_schema(self.schema_id.clone(), self.schema.clone());
        objects.add_credential_definition(self.cred_def_id.clone(), self.definition.clone());
        objects.add_registry(self.registry.id.clone(), self.registry.definition.clone());
        objects.add_status_list(self.registry.list.clone());
        objects
    }

    pub(crate) fn fresh(&self) -> FreshnessPolicy {
        let newest = Freshness::Exactly(self.registry.list.timestamp());
        FreshnessPolicy::new().with(self.registry.id.clone(), newest)
    }

    /// Zones and tariff shown, the contract not expired at `expiry`, and not revoked.
    pub(crate) fn request(&self, expiry: i32) -> ProofRequest {
        let ours = || Restriction::cred_def(&self.cred_def_id);
        ProofRequest::builder("charge", "1.0")
            .group("zones", ["allowed_zones", "tariff"], ours())
            // The holder there compares names as they are written.
            .predicate("valid", "Expiry", Comparison::AtLeast, expiry, ours())
            .non_revoked(self.fresh().interval(Timestamp::from(in_time(Duration::from_secs(5)))))
            .build()
            .unwrap()
    }

    /// Asks over a connection; what comes is verified, or the other side's refusal is given.
    pub(crate) fn ask(
        &self,
        agent: &Agent,
        connection: &Connection,
        request: &ProofRequest,
    ) -> Result<VerifiedPresentation, String> {
        let asked = Request {
            comment: None,
            will_confirm: true,
            requests: formatted(present_proof::ANONCREDS_REQUEST, request.to_json()),
        };
        let (verifier, effects) =
            Verifier::request(connection.channel(), &asked, new_id(), deadline()).unwrap();
        send_proving(agent, connection, &effects);
        let thread = verifier.unfinished().unwrap().thread().clone();
        let came = agent.receive_from(connection, Some(&thread), WITHIN).unwrap();
        let (verifier, effects) = verifier.handle(&came, now()).unwrap();
        let shown = match &effects[..] {
            [present_proof::Effect::Presented(shown)] => shown,
            [present_proof::Effect::Abandoned(why)] => return Err(format!("the prover gave up: {why:?}")),
            other => panic!("{other:?}"),
        };
        let shown = find_format(shown, present_proof::ANONCREDS_PROOF).unwrap();
        let verified = Presentation::from_json(shown).map_err(|error| error.to_string()).and_then(|shown| {
            verifier::verify(&shown, request, &self.objects(), &self.fresh())
                .map_err(|error| error.to_string())
        });
        match &verified {
            Ok(proof) => {
                let (verifier, effects) = verifier.conclude(proof.clone(), new_id(), now()).unwrap();
                assert_eq!(verifier.name(), "concluded");
                send_proving(agent, connection, &effects);
            }
            Err(_) => {
                let (_, effects) = verifier.reject("not convinced", new_id()).unwrap();
                send_proving(agent, connection, &effects);
            }
        }
        verified
    }
}

pub(crate) fn send_issuing(agent: &Agent, connection: &Connection, effects: &[issue_credential::Effect]) {
    for effect in effects {
        if let issue_credential::Effect::Send(message) = effect {
            agent.send(connection, message).unwrap();
        }
    }
}

pub(crate) fn send_proving(agent: &Agent, connection: &Connection, effects: &[present_proof::Effect]) {
    for effect in effects {
        if let present_proof::Effect::Send(message) = effect {
            agent.send(connection, message).unwrap();
        }
    }
}

/// What a wallet of ours shows to whoever asks over a connection.
pub(crate) struct Wallet<'a> {
    pub(crate) link_secret: &'a LinkSecret,
    pub(crate) held: &'a HeldCredential,
    pub(crate) witness: &'a WitnessState,
    pub(crate) objects: &'a KnownObjects,
}

impl Wallet<'_> {
    pub(crate) fn show(&self, request: &ProofRequest) -> Result<Presentation, PresentError> {
        let selection = Selection::choose(request, [(self.held, Some(self.witness))], self.objects)?;
        prepared::prepare(request, &selection, self.link_secret, self.objects)?.answer(request)
    }

    /// Answers the next request with what `make` makes of it.
    pub(crate) fn answer(
        &self,
        agent: &Agent,
        connection: &Connection,
        make: impl FnOnce(&ProofRequest) -> Vec<u8>,
    ) -> (Prover, MessageId) {
        let asked = agent
            .receive("request for a presentation", WITHIN, |incoming| {
                incoming.channel() == connection.channel()
                    && incoming.message().kind().name() == "request-presentation"
            })
            .unwrap();
        let (prover, effects) = Prover::requested(&asked, now(), deadline()).unwrap();
        let [present_proof::Effect::Requested(request)] = &effects[..] else { panic!("{effects:?}") };
        let request = find_format(&request.requests, present_proof::ANONCREDS_REQUEST).unwrap();
        let request = ProofRequest::from_json(request).unwrap();
        let shown = formatted(present_proof::ANONCREDS_PROOF, make(&request));
        let (prover, effects) = prover.present(&shown, new_id(), now()).unwrap();
        send_proving(agent, connection, &effects);
        (prover, asked.message().thread().clone())
    }
}

/// Takes the next credential that is offered over a connection. Its objects are looked up in the registry.
pub(crate) fn take_credential(
    world: &World,
    agent: &Agent,
    connection: &Connection,
    link_secret: &LinkSecret,
) -> HeldCredential {
    let offered = agent
        .receive("offer", WITHIN, |incoming| {
            incoming.channel() == connection.channel()
                && incoming.message().kind().name() == "offer-credential"
        })
        .unwrap();
    let (taking, effects) = Holder::offered(&offered, now(), deadline()).unwrap();
    let [issue_credential::Effect::Offered(offer)] = &effects[..] else { panic!("{effects:?}") };
    let consented = AttributeValues::new(offer.preview.attributes()).unwrap();
    let offer =
        CredentialOffer::from_json(find_format(&offer.offers, issue_credential::ANONCREDS_OFFER).unwrap());
    let offer = offer.unwrap();
    let cred_def_id = offer.cred_def_id().clone();
    let definition = CredentialDefinition::from_json(&world.object(cred_def_id.as_str())).unwrap();
    let (request, pending) = holder::request(&offer, &cred_def_id, &definition, link_secret).unwrap();
    let request = formatted(issue_credential::ANONCREDS_REQUEST, request.to_json());
    let (taking, effects) = taking.request(&request, new_id(), now()).unwrap();
    send_issuing(agent, connection, &effects);
    let thread = offered.message().thread().clone();
    let issued = agent.receive_from(connection, Some(&thread), WITHIN).unwrap();
    let (taking, effects) = taking.handle(&issued, now()).unwrap();
    let [issue_credential::Effect::Issued(issued)] = &effects[..] else { panic!("{effects:?}") };
    let credential = find_format(issued, issue_credential::ANONCREDS_CREDENTIAL).unwrap();
    let credential = Credential::from_json(credential).unwrap();
    let registry = credential
        .registry_id()
        .map(|id| RevocationRegistryDefinition::from_json(&world.object(id.as_str())).unwrap());
    let held = pending.accept(credential, link_secret, &definition, registry.as_ref(), &consented).unwrap();
    let (_, effects) = taking.accept(new_id()).unwrap();
    send_issuing(agent, connection, &effects);
    held
}

pub(crate) fn is_silence<T>(result: &Result<T, AgentError>) -> bool {
    matches!(result, Err(AgentError::Silence { .. }))
}
