//! The registry over HTTP: what is published is resolved again, with proofs that need nothing but the genesis, and
//! nobody publishes who should not.

mod support;

use ed25519_dalek::SigningKey;
use eroam::consortium::{Seed, founders};
use eroam::ledger::{Ledger, LedgerSetup};
use eroam::registry::{self, Kind, Publisher, REGISTRY_LANE, Secret};
use eroam::server::{STOP_WITHIN, Server};
use eroam_domain::codec::{ShortText, from_bytes};
use eroam_domain::ids::{CredentialDefinitionId, EroamDid, PartyId, RevocationRegistryId, SchemaId};
use eroam_ledger::genesis::Genesis;
use eroam_ledger::registry::{DidDocument, DidService, RevocationList};
use eroam_ledger::state::StateKey;
use eroam_ledger::tx::PublicKey;
use eroam_light::document::{Document, Verified};
use eroam_light::trust::Trust;
use eroam_ssi::anoncreds::issuer::{self, NewRegistry, RegistrySecret};
use eroam_ssi::anoncreds::{
    CredentialDefinition, ObjectId, RevocationIndex, RevocationRegistryDefinition, StatusList, Timestamp,
};
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{command, eroam, files, tempdir};

const SEED: Seed = Seed(1);
const SECRET: &str = "only-the-issuer-knows-this";
/// How many credentials the registries have room for.
const SIZE: u32 = 12;

fn party() -> PartyId {
    "DE-RHN".parse().unwrap()
}

/// The key that the issuer's DID begins with.
fn did_key() -> SigningKey {
    SigningKey::from_bytes(&[41; 32])
}

fn genesis() -> Genesis {
    let founders = founders::founders();
    let parties: Vec<PartyId> = founders.iter().map(|founder| founder.party).collect();
    let consensus = LedgerSetup::default().consensus(SEED, &parties);
    founders::genesis(&founders, consensus, |party| PublicKey::of(&SEED.signing_key(party)))
}

fn open(directory: &Path) -> Ledger {
    let setup = LedgerSetup { directory: Some(directory.join("ledger")), ..LedgerSetup::default() };
    Ledger::open(SEED, &genesis(), &setup).unwrap()
}

fn document() -> DidDocument {
    let service = DidService {
        id: ShortText::new("didcomm-0").unwrap(),
        kind: ShortText::new("did-communication").unwrap(),
        endpoint: ShortText::new("https://agent.example/inbox").unwrap(),
    };
    DidDocument { keys: vec![PublicKey::of(&did_key())], services: vec![service] }
}

fn publisher(ledger: &Ledger) -> Publisher {
    let key = SEED.signing_key(party());
    Publisher::new(ledger.client().clone(), party(), key, REGISTRY_LANE).unwrap()
}

/// An answer.
struct Answer {
    status: u16,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    fn ok(self) -> Value {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Fails unless it is this status, with an error that says so.
    fn refused(&self, status: u16, text: &str, what: &str) {
        assert_eq!(self.status, status, "{what}: {}", String::from_utf8_lossy(&self.body));
        let body = self.json();
        let error = body["error"].as_str().unwrap();
        assert!(error.contains(text), "{what}: `{text}` is not in `{error}`");
        assert!(body["item"].is_string(), "{what}");
        assert_eq!(self.header("cache-control"), "no-store", "{what}");
    }
}

fn answer(sent: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Answer {
    let mut response = sent.unwrap();
    let headers = response.headers().iter();
    let headers =
        headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
    let status = response.status().as_u16();
    Answer { status, headers, body: response.body_mut().read_to_vec().unwrap() }
}

/// Somebody who asks.
struct Http {
    agent: ureq::Agent,
    base: String,
}

impl Http {
    fn of(address: impl std::fmt::Display) -> Self {
        let config = ureq::Agent::config_builder().http_status_as_error(false);
        // Whoever is refused before the body was read has the connection closed: it must not be used again.
        let config = config.max_idle_connections(0).build();
        Self { agent: config.into(), base: format!("http://{address}") }
    }

    fn get(&self, path: &str, query: &[(&str, &str)]) -> Answer {
        let mut request = self.agent.get(format!("{}{path}", self.base));
        for (name, value) in query {
            request = request.query(name, value);
        }
        answer(request.call())
    }

    fn object(&self, id: &str) -> Answer {
        self.get("/registry/v1/object", &[("id", id)])
    }

    fn list(&self, id: &str, at: Option<u64>) -> Answer {
        match at {
            None => self.get("/registry/v1/status-list", &[("id", id)]),
            Some(at) => self.get("/registry/v1/status-list", &[("id", id), ("at", &at.to_string())]),
        }
    }

    fn post(&self, body: &[u8], authorization: Option<&str>) -> Answer {
        let mut request = self.agent.post(format!("{}/registry/v1/publish", self.base));
        if let Some(value) = authorization {
            request = request.header("Authorization", value);
        }
        answer(request.send(body))
    }

    fn publish(&self, kind: &str, value: &Value) -> Answer {
        let body = json!({ "kind": kind, "value": value }).to_string();
        self.post(body.as_bytes(), Some(&format!("Bearer {SECRET}")))
    }

    fn put(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut request = self.agent.put(format!("{}{path}", self.base));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        answer(request.send(body))
    }
}

/// A ledger with an issuer's DID, and its registry on a free port.
struct Place {
    http: Http,
    publisher: Publisher,
    did: EroamDid,
    // In this order: the server, the ledger, its directory.
    _server: Server,
    _ledger: Ledger,
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempdir();
        let ledger = open(directory.path());
        let publisher = publisher(&ledger);
        let did = publisher.did_of(&did_key());
        publisher.publish_did(did, document(), &did_key()).unwrap();
        let server = serve(&ledger, directory.path(), &publisher);
        let http = Http::of(server.address());
        Self { http, publisher, did, _server: server, _ledger: ledger, directory }
    }
}

fn serve(ledger: &Ledger, directory: &Path, publisher: &Publisher) -> Server {
    let secret = Secret::new(SECRET).unwrap();
    let publishing = Some((publisher.clone(), secret));
    let router = registry::router(ledger.client().clone(), &directory.join("tails"), publishing).unwrap();
    Server::start("registry", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), router, STOP_WITHIN).unwrap()
}

/// What an issuer has: keys that were made once, under the ids of this ledger.
struct Issuer {
    schema: Value,
    schema_id: String,
    definition: Value,
    definition_id: String,
    registry: RevocationRegistryDefinition,
    registry_id: String,
    secret: RegistrySecret,
    tails: Vec<u8>,
}

fn vector(name: &str) -> Value {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../ssi/tests/vectors/anoncreds/driver");
    support::json(&PathBuf::from(directory).join(name))
}

fn id(text: &str) -> ObjectId {
    ObjectId::new(text).unwrap()
}

impl Issuer {
    fn new(did: EroamDid) -> Self {
        let mut schema = vector("schema.json");
        schema["issuerId"] = did.to_string().into();
        let (schema_id, _) = registry::objects::publish_schema(schema.to_string().as_bytes()).unwrap();
        let mut definition = vector("definition.json");
        definition["issuerId"] = did.to_string().into();
        definition["schemaId"] = schema_id.to_string().into();
        let json = definition.to_string();
        let (definition_id, _) = registry::objects::publish_definition(json.as_bytes()).unwrap();
        let parsed = CredentialDefinition::from_json(json.as_bytes()).unwrap();
        let new = NewRegistry {
            issuer_id: id(&did.to_string()),
            cred_def_id: id(&definition_id.to_string()),
            tag: "2026 a".to_owned(),
            size: SIZE,
            tails_location: "https://issuer.example/tails".to_owned(),
        };
        let mut tails = Vec::new();
        let (registry, secret) = issuer::new_registry(&parsed, new, &mut tails).unwrap();
        let (registry_id, _) = registry::objects::read_registry(&registry.to_json()).unwrap();
        Self {
            schema,
            schema_id: schema_id.to_string(),
            definition,
            definition_id: definition_id.to_string(),
            registry,
            registry_id: registry_id.to_string(),
            secret,
            tails,
        }
    }

    fn keys(&self) -> CredentialDefinition {
        CredentialDefinition::from_json(self.definition.to_string().as_bytes()).unwrap()
    }

    fn registry_json(&self) -> Value {
        serde_json::from_slice(&self.registry.to_json()).unwrap()
    }

    fn first_list(&self) -> Value {
        let now = Timestamp::new(1_795_000_000).unwrap();
        let id = id(&self.registry_id);
        let list = issuer::first_status_list(&self.keys(), id, &self.registry, &self.secret, now).unwrap();
        serde_json::from_slice(&list.to_json()).unwrap()
    }

    /// The list after another that was published.
    fn next_list(&self, list: &Value, restored: &[u32], revoked: &[u32]) -> Value {
        let list = StatusList::from_json(list.to_string().as_bytes()).unwrap();
        let set = |indexes: &[u32]| {
            indexes.iter().map(|index| RevocationIndex::new(*index, SIZE).unwrap()).collect::<BTreeSet<_>>()
        };
        let now = Timestamp::new(list.timestamp().seconds() + 1).unwrap();
        let (restored, revoked) = (set(restored), set(revoked));
        let next = issuer::next_status_list(&self.keys(), &self.secret, &list, &restored, &revoked, now);
        serde_json::from_slice(&next.unwrap().0.to_json()).unwrap()
    }

    /// Everything but a list.
    fn publish(&self, http: &Http) {
        http.publish("schema", &self.schema).ok();
        http.publish("credential-definition", &self.definition).ok();
        http.publish("revocation-registry", &self.registry_json()).ok();
    }
}

/// The indexes that are set in a list.
fn revoked(list: &Value) -> Vec<usize> {
    let bits = list["revocationList"].as_array().unwrap();
    assert_eq!(bits.len(), SIZE as usize);
    (0..bits.len()).filter(|index| bits[*index] == 1).collect()
}

fn hash(bytes: &[u8]) -> String {
    bs58::encode(eroam_domain::codec::Digest::of(bytes).0).into_string()
}

#[test]
fn what_is_published_is_resolved_as_it_was() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    let table = [
        ("schema", &issuer.schema, &issuer.schema_id),
        ("credential-definition", &issuer.definition, &issuer.definition_id),
        ("revocation-registry", &issuer.registry_json(), &issuer.registry_id),
    ];
    for (kind, value, id) in table {
        place.http.object(id).refused(404, "no such object", kind);
        let published = place.http.publish(kind, value).ok();
        assert_eq!((&published["id"], &published["value"]), (&json!(id), value), "{kind}");
        let answer = place.http.object(id);
        assert!(answer.header("cache-control").contains("immutable"), "{kind}");
        assert_eq!(answer.header("content-type"), "application/json", "{kind}");
        assert_eq!(answer.ok(), *value, "{kind}");
    }
    place.http.list(&issuer.registry_id, None).refused(404, "no list", "before the first");
    let mut list = issuer.first_list();
    let published = place.http.publish("status-list", &list).ok();
    assert_eq!(published["id"], issuer.registry_id.as_str());
    assert!(
        published["value"]["timestamp"].as_u64() > list["timestamp"].as_u64(),
        "the ledger's time counts"
    );
    list["timestamp"] = published["value"]["timestamp"].clone();
    let answer = place.http.list(&issuer.registry_id, None);
    assert_eq!(answer.header("cache-control"), "no-store");
    assert_eq!(answer.ok(), list);
    assert_eq!(published["value"], list);
}

#[test]
fn a_registry_is_published_with_the_window_in_which_its_credentials_count() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    let bearer = format!("Bearer {SECRET}");
    let post = |kind: &str, value: &Value, window: Value| {
        let body = json!({ "kind": kind, "value": value, "window": window }).to_string();
        place.http.post(body.as_bytes(), Some(&bearer))
    };
    let day = |number: i64| number * 86_400_000;
    let window = |from: i64, until: i64| json!({ "from": day(from), "until": day(until) });
    post("schema", &issuer.schema, window(1, 2)).refused(400, "only a revocation registry", "a schema");
    place.http.publish("schema", &issuer.schema).ok();
    place.http.publish("credential-definition", &issuer.definition).ok();
    let registry = issuer.registry_json();
    post("revocation-registry", &registry, window(2, 2)).refused(409, "window", "without a day");
    post("revocation-registry", &registry, json!({ "from": day(1) })).refused(400, "until", "half a window");
    // Whoever lost the answer asks again; another window is another registry.
    for _ in 0..2 {
        assert_eq!(post("revocation-registry", &registry, window(20_000, 20_500)).ok()["value"], registry);
    }
    post("revocation-registry", &registry, window(20_000, 20_501)).refused(409, "", "another window");
    place.http.publish("revocation-registry", &registry).refused(409, "", "no window");
    let id: RevocationRegistryId = issuer.registry_id.parse().unwrap();
    let found = eroam_ledger::query::registry_window(place.publisher.client(), &id).unwrap().unwrap();
    assert_eq!((found.from.get(), found.until.get()), (day(20_000), day(20_500)));
}

#[test]
fn a_did_is_resolved_to_a_document_that_agents_read() {
    let place = Place::new();
    let did = place.did.to_string();
    let answer = place.http.get("/registry/v1/did", &[("id", &did)]);
    assert_eq!(answer.header("cache-control"), "no-store");
    let json = answer.ok();
    let read = eroam_ssi::did::Document::from_json(json.to_string().as_bytes()).unwrap();
    let read = eroam_ssi::did::accept(place.did, read).unwrap();
    assert_eq!(read.target().unwrap().endpoint().as_str(), "https://agent.example/inbox");
    assert_eq!(json["verificationMethod"][0]["id"], format!("{did}#key-1"));
    // The next version has another key first; the same once more changes nothing.
    let next =
        DidDocument { keys: vec![PublicKey::of(&SigningKey::from_bytes(&[42; 32]))], services: vec![] };
    for _ in 0..2 {
        let key = SigningKey::from_bytes(&[42; 32]);
        let record = place.publisher.publish_did(place.did, next.clone(), &key).unwrap();
        assert_eq!(record.version, 2);
    }
    let json = place.http.get("/registry/v1/did", &[("id", &did)]).ok();
    let read = eroam_ssi::did::Document::from_json(json.to_string().as_bytes()).unwrap();
    assert_eq!(read.keys().next().unwrap().1.as_bytes(), &next.keys[0].0);
    assert!(read.target().is_none());
}

/// Checks an answer with a proof by the genesis alone: the value, and what the state has.
fn proved(answer: Answer, trust: &Trust) -> (Value, StateKey, Vec<u8>) {
    #[derive(serde::Deserialize)]
    struct WithProof<'a> {
        value: Value,
        #[serde(borrow)]
        proof: &'a RawValue,
    }
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(answer.header("cache-control"), "no-store");
    let WithProof { value, proof } = serde_json::from_slice(&answer.body).unwrap();
    let text = format!("{}\n", proof.get());
    let verified = Document::decode(text.as_bytes()).unwrap().verify(trust).unwrap();
    let Verified::State(entry) = verified else { panic!("no proof of the state") };
    // Another digit of what is proved is noticed, and so is a network that is not the trusted one.
    for field in ["value", "proof", "certificate", "key"] {
        let (before, after) = text.split_once(&format!("\"{field}\": \"")).unwrap();
        let (digit, rest) = after.split_at(1);
        let digit = if digit == "0" { "1" } else { "0" };
        let altered = format!("{before}\"{field}\": \"{digit}{rest}");
        let altered = Document::decode(altered.as_bytes()).and_then(|document| document.verify(trust));
        assert!(altered.is_err(), "{field}");
    }
    let other = Genesis { name: ShortText::new("another").unwrap(), ..genesis() };
    let other = Trust::from_genesis(&other).unwrap();
    assert!(Document::decode(text.as_bytes()).unwrap().verify(&other).is_err());
    (value, from_bytes(entry.key()).unwrap(), entry.value().unwrap().to_vec())
}

#[test]
fn proofs_hold_with_the_genesis_alone() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    issuer.publish(&place.http);
    let first = place.http.publish("status-list", &issuer.first_list()).ok()["value"].clone();
    let second = issuer.next_list(&first, &[], &[3, 5]);
    let second = place.http.publish("status-list", &second).ok()["value"].clone();
    let trust = Trust::from_genesis(&genesis()).unwrap();
    let ask = |path: &str, id: &str| place.http.get(path, &[("id", id), ("proof", "true")]);

    let (value, key, bytes) = proved(ask("/registry/v1/object", &issuer.schema_id), &trust);
    let id: SchemaId = issuer.schema_id.parse().unwrap();
    assert_eq!((&value, &key), (&issuer.schema, &StateKey::Schema(id.clone())));
    assert_eq!(registry::objects::schema_json(&id, &from_bytes(&bytes).unwrap()).unwrap(), value);

    let (value, key, bytes) = proved(ask("/registry/v1/object", &issuer.definition_id), &trust);
    let id: CredentialDefinitionId = issuer.definition_id.parse().unwrap();
    assert_eq!((&value, &key), (&issuer.definition, &StateKey::CredentialDefinition(id.clone())));
    assert_eq!(registry::objects::definition_json(&id, &from_bytes(&bytes).unwrap()).unwrap(), value);

    let (value, key, bytes) = proved(ask("/registry/v1/object", &issuer.registry_id), &trust);
    let id: RevocationRegistryId = issuer.registry_id.parse().unwrap();
    let record = from_bytes(&bytes).unwrap();
    assert_eq!((&value, &key), (&issuer.registry_json(), &StateKey::RevocationRegistry(id.clone())));
    assert_eq!(registry::objects::registry_json(&id, &record).unwrap(), value);

    let (value, key, bytes) = proved(ask("/registry/v1/status-list", &issuer.registry_id), &trust);
    let list: RevocationList = from_bytes(&bytes).unwrap();
    assert_eq!((&value, &key), (&second, &StateKey::RevocationList(id.clone())));
    assert_eq!(registry::objects::status_list_json(&id, &record, &list).unwrap(), value);

    let (value, key, bytes) = proved(ask("/registry/v1/did", &place.did.to_string()), &trust);
    assert_eq!(key, StateKey::Did(place.did));
    assert_eq!(registry::objects::did_document(&place.did, &from_bytes(&bytes).unwrap()).unwrap(), value);

    // The newest list also when its time is named; of an older one there is no proof.
    let at = |seconds: u64| {
        let query = [("id", issuer.registry_id.as_str()), ("at", &seconds.to_string()), ("proof", "true")];
        place.http.get("/registry/v1/status-list", &query)
    };
    let newest = second["timestamp"].as_u64().unwrap();
    assert_eq!(proved(at(newest), &trust).0, second);
    at(newest - 1).refused(400, "only the newest list is proved", "an older list");
    // What was answered is, as a file, what the program checks offline.
    let directory = tempdir();
    let whole = ask("/registry/v1/object", &issuer.schema_id);
    let whole: BTreeMap<String, Box<RawValue>> = serde_json::from_slice(&whole.body).unwrap();
    let proof = support::file(directory.path(), "proof.json", format!("{}\n", whole["proof"].get()));
    let trusted = support::file(directory.path(), "genesis.json", genesis().to_json());
    let [proof, trusted] = [proof, trusted].map(|path| path.display().to_string());
    let checked = eroam(["verify", &proof, "--trust", &trusted, "--json"]).expect(0).json();
    assert_eq!((&checked["verified"], &checked["present"]), (&json!(true), &json!(true)));
    // Of what is not there nothing is proved.
    let none = issuer.schema_id.replace("/1.0", "/9.9");
    ask("/registry/v1/object", &none).refused(404, "no such object", "absent");
}

#[test]
fn the_network_is_named() {
    let place = Place::new();
    let told = place.http.get("/registry/v1/network", &[]).ok();
    assert_eq!(told["network"], genesis().network().to_string());
    assert_eq!(told["name"], "eroam demonstration");
    assert!(told["height"].as_u64().unwrap() > 0);
    assert!(told["unix_seconds"].as_i64().unwrap() > 1_700_000_000);
    assert!(told["time"].as_str().unwrap().starts_with("20"));
}

#[test]
fn bad_questions_are_told_what_is_wrong() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    issuer.publish(&place.http);
    place.http.publish("status-list", &issuer.first_list()).ok();
    let did = place.did.to_string();
    let (object, list, of_did) = ("/registry/v1/object", "/registry/v1/status-list", "/registry/v1/did");
    let registry = issuer.registry_id.as_str();
    let other_network = did.replacen(&did[10..14], "0000", 1);
    let long = "a".repeat(3000);
    let upper = did.to_uppercase();
    type Question<'a> = (&'a str, &'a [(&'a str, &'a str)], u16, &'a str);
    let table: &[Question<'_>] = &[
        (object, &[], 400, "missing field `id`"),
        (object, &[("id", "")], 400, "no id of a schema"),
        (object, &[("id", &did)], 400, "no id of a schema"),
        (object, &[("id", "did:sov:x/anoncreds/v1/schema/a/1")], 400, "no id of a schema"),
        (object, &[("id", &issuer.schema_id), ("id", "x")], 400, "duplicate field"),
        (object, &[("id", &issuer.schema_id), ("at", "1")], 400, "unknown field"),
        (object, &[("id", &issuer.schema_id), ("proof", "yes")], 400, "true"),
        (object, &[("id", &long)], 400, "at most 2048"),
        (object, &[("id", &format!("{did}/anoncreds/v1/schema/none/1.0"))], 404, "no such object"),
        (list, &[("id", &issuer.schema_id)], 400, "is no id of a revocation registry"),
        (list, &[("id", registry), ("at", "-1")], 400, "invalid digit"),
        (list, &[("id", registry), ("at", "now")], 400, "invalid digit"),
        (list, &[("id", registry), ("at", "18446744073709551615")], 400, "up to the year 9999"),
        (list, &[("id", registry), ("at", "1")], 404, "no list at that time"),
        (list, &[("id", &registry.replace("2026", "2027"))], 404, "no such object"),
        (of_did, &[("id", "did:key:z6Mk")], 400, "is no DID"),
        (of_did, &[("id", &upper)], 400, "is no DID"),
        (of_did, &[("id", &other_network)], 404, "no such object"),
        ("/registry/v1/nothing", &[], 404, "there is nothing here"),
        ("/registry/v1/publish", &[], 405, "another method"),
        ("/tails/hash/nothing", &[], 400, "SHA-256 in base58"),
        ("/tails/hash/..%2F..%2Fledger", &[], 400, "SHA-256 in base58"),
    ];
    for (path, query, status, text) in table {
        place.http.get(path, query).refused(*status, text, &format!("{path} {query:?}"));
    }
}

#[test]
fn bad_publications_are_told_what_is_wrong() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    // Before what it builds on is there.
    place.http.publish("credential-definition", &issuer.definition).refused(409, "schema", "no schema");
    place.http.publish("status-list", &issuer.first_list()).refused(409, "registry", "no registry");
    issuer.publish(&place.http);
    let with = |value: &Value, pointer: &str, to: Value| {
        let mut value = value.clone();
        *value.pointer_mut(pointer).unwrap() = to;
        value
    };
    let (schema, definition) = (&issuer.schema, &issuer.definition);
    let (registry, list) = (&issuer.registry_json(), &issuer.first_list());
    let stranger = EroamDid::derive(genesis().network(), &[9; 32]).to_string();
    let table = [
        ("schema", json!(null), 400, "schema"),
        ("schema", with(schema, "/attrNames", json!(["a", "A"])), 400, "a name twice"),
        ("schema", with(schema, "/attrNames", json!(["größe"])), 400, "printable ASCII"),
        ("schema", with(schema, "/issuerId", json!("did:sov:x")), 400, "issuerId of the schema"),
        ("schema", with(schema, "/version", json!("1.0.0-a-very-long-one")), 400, "version of the schema"),
        ("schema", with(schema, "/issuerId", json!(stranger)), 409, "DID"),
        ("credential-definition", schema.clone(), 400, "credential definition"),
        ("credential-definition", with(definition, "/schemaId", json!("x")), 400, "schemaId"),
        ("credential-definition", with(definition, "/value/primary/n", json!("15")), 400, "modulus"),
        ("revocation-registry", with(registry, "/value/maxCredNum", json!(40_000)), 400, "at most 32768"),
        ("revocation-registry", with(registry, "/value/tailsHash", json!("x")), 400, "SHA-256"),
        ("revocation-registry", with(registry, "/credDefId", json!("x")), 400, "credDefId"),
        ("status-list", with(list, "/revocationList/3", json!(1)), 400, "expected 0"),
        ("status-list", with(list, "/revocationList/3", json!(2)), 400, "neither 0 nor 1"),
        ("status-list", with(list, "/revocationList", json!([0, 0, 0])), 400, "size of the status list is 3"),
        ("status-list", with(list, "/issuerId", json!(stranger)), 400, "issuerId of the status list"),
        ("status-list", with(list, "/revRegDefId", json!("x")), 400, "revRegDefId"),
        ("status-list", with(list, "/currentAccumulator", json!("x")), 400, "currentAccumulator"),
        ("status-list", json!([]), 400, "a JSON object is expected"),
        ("did", json!({}), 400, "by its key"),
        ("tails", json!({}), 400, "unknown variant"),
    ];
    for (kind, value, status, text) in table {
        place.http.publish(kind, &value).refused(status, text, &format!("{kind} {text}"));
    }
    let bearer = format!("Bearer {SECRET}");
    place.http.post(b"{}", Some(&bearer)).refused(400, "missing field", "an empty object");
    place.http.post(b"no JSON", Some(&bearer)).refused(400, "expected", "no JSON");
    let large = vec![b' '; registry::publisher::PUBLISH_BYTES_MAX + 1];
    place.http.post(&large, Some(&bearer)).refused(413, "at most 262144 bytes", "a large one");
    place.http.list(&issuer.registry_id, None).refused(404, "no list", "nothing was published");
}

#[test]
fn nobody_publishes_without_the_secret() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    let body = json!({ "kind": "schema", "value": issuer.schema }).to_string();
    let tails = format!("/tails/hash/{}", hash(&issuer.tails));
    let wrong = format!("Bearer {SECRET}x");
    let half = format!("Bearer {}", &SECRET[..10]);
    for header in
        [None, Some("Bearer"), Some("Bearer "), Some(SECRET), Some(&wrong), Some(&half), Some("Basic eA==")]
    {
        let answer = place.http.post(body.as_bytes(), header);
        answer.refused(401, "the secret is missing or wrong", &format!("{header:?}"));
        assert_eq!(answer.header("www-authenticate"), "Bearer");
        let headers: Vec<(&str, &str)> = header.map(|value| ("Authorization", value)).into_iter().collect();
        place.http.put(&tails, &headers, &issuer.tails).refused(401, "the secret", &format!("{header:?}"));
    }
    place.http.object(&issuer.schema_id).refused(404, "no such object", "the schema");
    place.http.get(&tails, &[]).refused(404, "no such tails file", "the file");
    // A registry that only resolves has nowhere to publish at all.
    let reading = registry::router(
        place.publisher.client().here().unwrap().clone(),
        &place.directory.path().join("t"),
        None,
    );
    let reading =
        Server::start("registry", SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), reading.unwrap(), STOP_WITHIN)
            .unwrap();
    let http = Http::of(reading.address());
    http.publish("schema", &issuer.schema).refused(404, "there is nothing here", "no publisher");
    let bearer = format!("Bearer {SECRET}");
    let headers = [("Authorization", bearer.as_str())];
    http.put(&tails, &headers, &issuer.tails).refused(401, "the secret", "no publisher");
}

#[test]
fn publishing_the_same_again_changes_nothing() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    issuer.publish(&place.http);
    let list = place.http.publish("status-list", &issuer.first_list()).ok();
    let height = place.publisher.client().here().unwrap().latest().height;
    issuer.publish(&place.http);
    assert_eq!(place.http.publish("status-list", &issuer.first_list()).ok(), list);
    let registered = place.publisher.publish_did(place.did, document(), &did_key()).unwrap();
    assert_eq!((registered.version, place.publisher.client().here().unwrap().latest().height), (1, height));
    // Other content under the same id is refused.
    let mut schema = issuer.schema.clone();
    schema["attrNames"] = json!(["another"]);
    place.http.publish("schema", &schema).refused(409, "the ledger refuses it", "a schema");
    let mut registry = issuer.registry_json();
    registry["value"]["tailsLocation"] = json!("https://elsewhere.example");
    place.http.publish("revocation-registry", &registry).refused(409, "the ledger refuses it", "a registry");
    assert_eq!(place.http.object(&issuer.schema_id).ok(), issuer.schema);
}

#[test]
fn many_publish_at_once_and_each_takes_a_sequence_of_its_own() {
    let place = Place::new();
    let schema = |number: usize| json!({ "issuerId": place.did, "name": "many", "version": number.to_string(), "attrNames": ["a"] });
    std::thread::scope(|scope| {
        for number in 0..8 {
            let (http, schema) = (Http::of(&place.http.base["http://".len()..]), schema(number));
            scope.spawn(move || http.publish("schema", &schema).ok());
        }
    });
    for number in 0..8 {
        let id = format!("{}/anoncreds/v1/schema/many/{number}", place.did);
        assert_eq!(place.http.object(&id).ok(), schema(number));
    }
}

#[test]
fn each_time_has_its_list() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    issuer.publish(&place.http);
    let mut lists = vec![place.http.publish("status-list", &issuer.first_list()).ok()["value"].clone()];
    for (restored, revoked) in [(&[][..], &[3, 5][..]), (&[3], &[11]), (&[], &[1])] {
        let next = issuer.next_list(lists.last().unwrap(), restored, revoked);
        // Without a timestamp, as ACA-Py sends it.
        let mut sent = next.clone();
        sent.as_object_mut().unwrap().remove("timestamp");
        if !restored.is_empty() {
            // Nobody said that a revoked credential shall be valid again: it may as well be an old list.
            place.http.publish("status-list", &sent).refused(
                409,
                "makes 1 revoked credentials valid again",
                "status-list",
            );
        }
        let body =
            json!({ "kind": "status-list", "value": sent, "reinstate": !restored.is_empty() }).to_string();
        let published =
            place.http.post(body.as_bytes(), Some(&format!("Bearer {SECRET}"))).ok()["value"].clone();
        assert_eq!(published["currentAccumulator"], next["currentAccumulator"]);
        lists.push(published);
    }
    let seen: Vec<_> = lists.iter().map(revoked).collect();
    assert_eq!(seen, [vec![], vec![3, 5], vec![5, 11], vec![1, 5, 11]]);
    let times: Vec<u64> = lists.iter().map(|list| list["timestamp"].as_u64().unwrap()).collect();
    assert!(times.is_sorted_by(|a, b| a < b), "{times:?}");
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
    assert!(times.iter().all(|time| *time <= now), "a list of {times:?} is yet to hold at {now}");
    for (index, list) in lists.iter().enumerate() {
        assert_eq!(place.http.list(&issuer.registry_id, Some(times[index])).ok(), *list, "{index}");
        let until = times.get(index + 1).map_or(times[index] + 1000, |next| next - 1);
        assert_eq!(place.http.list(&issuer.registry_id, Some(until)).ok(), *list, "{index}");
    }
    assert_eq!(place.http.list(&issuer.registry_id, None).ok(), lists[3]);
    place.http.list(&issuer.registry_id, Some(times[0] - 1)).refused(404, "no list", "before the first");
}

#[test]
fn tails_files_are_what_their_names_say() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    let (tails, name) = (&issuer.tails, hash(&issuer.tails));
    assert_eq!(name, issuer.registry.tails_hash());
    let path = format!("/tails/hash/{name}");
    let bearer = format!("Bearer {SECRET}");
    let headers = [("Authorization", bearer.as_str())];
    for bit in [0, 7, tails.len() * 4, tails.len() * 8 - 1] {
        let mut other = tails.clone();
        other[bit / 8] ^= 1 << (bit % 8);
        place.http.put(&path, &headers, &other).refused(400, "not its name", &format!("bit {bit}"));
    }
    for cut in [0, 1, tails.len() - 1] {
        place.http.put(&path, &headers, &tails[..cut]).refused(400, "not its name", &format!("{cut} bytes"));
    }
    let large = vec![0; registry::tails::TAILS_BYTES_MAX + 1];
    place.http.put(&path, &headers, &large).refused(413, "at most 8388738 bytes", "a large one");
    place.http.put("/tails/hash/abc", &headers, tails).refused(400, "SHA-256 in base58", "another name");
    place.http.get(&path, &[]).refused(404, "no such tails file", "nothing was kept");
    let kept = || files(&place.directory.path().join("tails"));
    assert_eq!(kept(), BTreeMap::new());
    // Twice: the second time it is there.
    for _ in 0..2 {
        assert_eq!(place.http.put(&path, &headers, tails).status, 200);
    }
    let answer = place.http.get(&path, &[]);
    assert!(answer.header("cache-control").contains("immutable"));
    assert_eq!(&answer.body, tails);
    // As ACA-Py sends it: a form, with the secret in the URL.
    std::fs::remove_file(place.directory.path().join("tails").join(&name)).unwrap();
    let boundary = "8f2e4c0d";
    let form = [
        format!(
            "--{boundary}\r\nContent-Type: application/octet-stream\r\n\
             Content-Disposition: form-data; name=\"tails\"; filename=\"{name}\"\r\n\r\n"
        )
        .as_bytes(),
        tails,
        format!("\r\n--{boundary}--\r\n").as_bytes(),
    ]
    .concat();
    use base64::Engine as _;
    let user = base64::engine::general_purpose::STANDARD.encode(format!("eroam:{SECRET}"));
    let (basic, kind) = (format!("Basic {user}"), format!("multipart/form-data; boundary={boundary}"));
    let headers = [("Authorization", basic.as_str()), ("Content-Type", kind.as_str())];
    place.http.put(&path, &headers, &form[..form.len() - 9]).refused(400, "exactly one part", "cut");
    assert_eq!(place.http.put(&path, &headers, &form).status, 200);
    assert_eq!(kept(), BTreeMap::from([(name, tails.clone())]));
}

#[test]
fn a_program_publishes_without_http_and_only_with_its_own_key() {
    let place = Place::new();
    let issuer = Issuer::new(place.did);
    let published =
        place.publisher.publish(Kind::Schema, issuer.schema.to_string().as_bytes(), false).unwrap();
    assert_eq!((published.id.as_str(), &published.value), (issuer.schema_id.as_str(), &issuer.schema));
    let stranger = Publisher::new(
        place.publisher.client().here().unwrap().clone(),
        "ES-SLV".parse().unwrap(),
        SEED.signing_key(party()),
        REGISTRY_LANE,
    );
    assert!(stranger.err().unwrap().to_string().contains("not one that signs for ES-SLV"));
}

/// The program serving a registry.
struct Serving {
    child: Child,
    address: String,
}

impl Serving {
    fn start(data: &Path, secret: &Path) -> Self {
        let mut child = command()
            .args(["registry", "serve", "--listen", "127.0.0.1:0", "--publish-as", "DE-RHN"])
            .arg("--data")
            .arg(data)
            .arg("--secret-file")
            .arg(secret)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().rsplit_once("http://").unwrap_or_else(|| panic!("{line}")).1.to_owned();
        Self { child, address }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_killed_registry_has_everything_when_it_is_started_again() {
    let directory = tempdir();
    let (data, secret) = (directory.path(), support::file(directory.path(), "secret", format!("{SECRET}\n")));
    let did = {
        let ledger = open(data);
        let publisher = publisher(&ledger);
        let did = publisher.did_of(&did_key());
        publisher.publish_did(did, document(), &did_key()).unwrap();
        did
    };
    let issuer = Issuer::new(did);
    let name = hash(&issuer.tails);
    let bearer = format!("Bearer {SECRET}");
    let mut lists = Vec::new();
    {
        let mut serving = Serving::start(data, &secret);
        let http = Http::of(&serving.address);
        issuer.publish(&http);
        lists.push(http.publish("status-list", &issuer.first_list()).ok()["value"].clone());
        let headers = [("Authorization", bearer.as_str())];
        assert_eq!(http.put(&format!("/tails/hash/{name}"), &headers, &issuer.tails).status, 200);
        let next = issuer.next_list(&lists[0], &[], &[7]);
        lists.push(http.publish("status-list", &next).ok()["value"].clone());
        // Answered is kept: it is killed at once.
        serving.child.kill().unwrap();
    }
    let mut serving = Serving::start(data, &secret);
    let http = Http::of(&serving.address);
    assert_eq!(http.object(&issuer.schema_id).ok(), issuer.schema);
    assert_eq!(http.object(&issuer.definition_id).ok(), issuer.definition);
    assert_eq!(http.object(&issuer.registry_id).ok(), issuer.registry_json());
    for list in &lists {
        assert_eq!(http.list(&issuer.registry_id, list["timestamp"].as_u64()).ok(), *list);
    }
    assert_eq!(http.get(&format!("/tails/hash/{name}"), &[]).body, issuer.tails);
    let last = http.publish("status-list", &issuer.next_list(&lists[1], &[], &[8])).ok();
    assert_eq!(revoked(&last["value"]), [7, 8]);

    // Nobody else gets at the ledger meanwhile.
    let path = data.display().to_string();
    let second = eroam(["registry", "serve", "--listen", "127.0.0.1:0", "--data", &path]).expect(1);
    assert!(second.stderr.contains("in use by another process"), "{second:?}");
    // Told to stop, it does, and well.
    let told = Command::new("kill").args(["-TERM", &serving.child.id().to_string()]).status().unwrap();
    assert!(told.success());
    assert_eq!(serving.child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_registry_that_cannot_be_served_says_why() {
    let directory = tempdir();
    let data = directory.path().display().to_string();
    drop(open(directory.path()));
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().to_string();
    let secret = support::file(directory.path(), "secret", SECRET).display().to_string();
    let short = support::file(directory.path(), "short", "abc").display().to_string();
    std::fs::create_dir(directory.path().join("empty")).unwrap();
    let [none, empty] = ["none", "empty"].map(|name| format!("{data}/{name}"));
    let any = "127.0.0.1:0";
    let publish = |party: &'static str, secret: &str| {
        ["--publish-as", party, "--secret-file", secret].map(str::to_owned).to_vec()
    };
    let table: Vec<(&str, &str, Vec<String>, i32, &str)> = vec![
        (&none, any, vec![], 1, "none is no directory"),
        (&empty, any, vec![], 1, "holds no ledger"),
        (&data, &port, vec![], 1, "cannot listen at 127.0.0.1"),
        (&data, "nowhere", vec![], 2, "invalid value 'nowhere'"),
        (&data, any, vec!["--seed".to_owned(), "2".to_owned()], 1, "name theirs with --seed"),
        (&data, any, vec!["--publish-as".to_owned(), "DE-RHN".to_owned()], 2, "--secret-file"),
        (&data, any, publish("DE-RHN", &none), 1, "the secret cannot be read from"),
        (&data, any, publish("DE-RHN", &short), 1, "a secret of 3 bytes, 16 to 512"),
        (&data, any, publish("DE-XYZ", &secret), 1, "DE-XYZ is no member of this network"),
        (&data, "0.0.0.0:0", publish("DE-RHN", &secret), 1, "no address of the loopback interface"),
    ];
    for (data, listen, more, code, text) in table {
        let args = ["registry", "serve", "--data", data, "--listen", listen].map(str::to_owned);
        let ended = eroam(args.into_iter().chain(more)).expect(code);
        assert!(ended.stderr.contains(text), "`{text}` is not in {ended:?}");
    }
}
