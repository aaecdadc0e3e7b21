//! Reads the registry for anybody who verifies: plain HTTP, or with a proof that needs no trust in who answers.
//!
//! ```text
//! GET /registry/v1/object?id=..             a schema, a credential definition or a revocation registry
//! GET /registry/v1/status-list?id=..        the newest list of a registry
//! GET /registry/v1/status-list?id=..&at=..  the list that held at a time, in seconds since 1970
//! GET /registry/v1/did?id=..                the document of a DID
//! GET /registry/v1/entry?key=..             any entry of the state by its key in hexadecimal, always with a proof
//! GET /registry/v1/network                  which network, and how far it is
//! ```
//! With `proof=true` the answer is `{"value": .., "proof": ..}`. The proof is the text of an `eroam-state/1` document
//! without its last line feed, as `eroam verify` and `eroam_light::document` read it, and what it proves is where the
//! value was made of. A status list is proved only as the newest one.

use super::answer::{Freshness, Problem, json_text};
use super::objects::{self, ObjectError};
use axum::Router;
use axum::extract::{Query, State};
use axum::http::Uri;
use axum::response::Response;
use axum::routing::get;
use borsh::BorshDeserialize;
use eroam_chain::client::{Certified, Client};
use eroam_domain::codec::from_bytes;
use eroam_domain::ids::{CredentialDefinitionId, EroamDid, RevocationRegistryId, SchemaId};
use eroam_domain::time::UnixMillis;
use eroam_ledger::port::LedgerPort as _;
use eroam_ledger::query;
use eroam_ledger::registry::{DefinitionRecord, DidRecord, RegistryRecord, RevocationList, SchemaRecord};
use eroam_ledger::state::{StateKey, StateView as _};
use eroam_light::document::Document;
use eroam_light::state::StateProof;
use eroam_light::trust::FinalityProof;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The longest query in bytes: the longest id, percent-encoded twice, fits.
pub const QUERY_BYTES_MAX: usize = 2048;
/// So many requests are answered at a time; each waits for the ledger on a thread of its own.
const AT_A_TIME: usize = 32;

/// What answers.
#[derive(Clone)]
struct Resolver {
    client: Client,
    places: Arc<Semaphore>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfObject {
    id: String,
    #[serde(default)]
    proof: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfList {
    id: String,
    at: Option<u64>,
    #[serde(default)]
    proof: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct OfEntry {
    key: String,
}

/// The routes of the resolver, see the module.
pub fn router(client: Client) -> Router {
    Router::new()
        .route("/registry/v1/object", get(object))
        .route("/registry/v1/status-list", get(status_list))
        .route("/registry/v1/did", get(did))
        .route("/registry/v1/entry", get(entry))
        .route("/registry/v1/network", get(network))
        .with_state(Resolver { client, places: Arc::new(Semaphore::new(AT_A_TIME)) })
}

/// What is asked for.
fn asked<T: DeserializeOwned>(uri: &Uri) -> Result<T, Problem> {
    let query = uri.query().unwrap_or_default();
    if query.len() > QUERY_BYTES_MAX {
        let error = format!("a query of {} bytes, at most {QUERY_BYTES_MAX} are read", query.len());
        return Err(Problem::bad(error, uri.path()));
    }
    let read = Query::try_from_uri(uri).map(|Query(asked)| asked);
    read.map_err(|error| Problem::bad(error.body_text(), uri.path()))
}

/// What was found, and what proves it.
struct Found {
    value: Value,
    proof: Option<Document>,
    freshness: Freshness,
}

impl Found {
    fn answer(self) -> Response {
        match self.proof {
            None => json_text(self.value.to_string(), self.freshness),
            Some(document) => {
                // The proof's text as it is: read as JSON and written again, it would be another.
                let proof = document.encode();
                let text = format!("{{\"value\":{},\"proof\":{}}}", self.value, proof.trim_end());
                json_text(text, Freshness::Newest)
            }
        }
    }
}

impl Resolver {
    /// Reads the ledger on a thread that may wait.
    async fn read(
        self,
        item: String,
        read: impl FnOnce(&Client, &str) -> Result<Found, Problem> + Send + 'static,
    ) -> Result<Response, Problem> {
        let busy = || Problem::unavailable("too many requests at a time: ask again", &item);
        let place = self.places.clone().try_acquire_owned().map_err(|_| busy())?;
        let asked_for = item.clone();
        let done = tokio::task::spawn_blocking(move || {
            let _place = place;
            read(&self.client, &asked_for).map(Found::answer)
        });
        done.await.map_err(|_| Problem::unavailable("the resolver failed", &item))?
    }
}

/// What the state has under a key, with what proves it if that is wanted.
fn look_up<T: BorshDeserialize>(
    client: &Client,
    key: &StateKey,
    is_proved: bool,
    item: &str,
) -> Result<(T, Option<Document>), Problem> {
    let key = key.to_bytes();
    let (bytes, proof) = if is_proved {
        let proof = prove(client, key, item)?;
        let Some(value) = proof.value.clone() else { return Err(none(item)) };
        (value, Some(Document::State(proof)))
    } else {
        let value = client.get(&key).map_err(|error| Problem::state(&error, item))?;
        (value.ok_or_else(|| none(item))?.into_owned(), None)
    };
    let record = from_bytes(&bytes)
        .map_err(|reason| Problem::unavailable(format!("the ledger's state is damaged: {reason}"), item))?;
    Ok((record, proof))
}

/// What the latest state has under a key, or that it has nothing, with what proves it.
fn prove(client: &Client, key: Vec<u8>, item: &str) -> Result<StateProof, Problem> {
    let (header, value, proof) = client.prove(&key).map_err(|error| Problem::ledger(&error, item))?;
    let certified = client.certified(header.height).map_err(|error| Problem::ledger(&error, item))?;
    let certified = certified
        .ok_or_else(|| Problem::unavailable("nothing proves the latest block final yet: ask again", item))?;
    let Certified { descendants, certificate } = certified;
    let network = client.network();
    let finality = FinalityProof { network, header, descendants, certificate: certificate.to_vec() };
    Ok(StateProof { finality, key, value: value.map(|bytes| bytes.to_vec()), proof: proof.to_vec() })
}

fn none(item: &str) -> Problem {
    Problem::missing("the ledger has no such object", item)
}

fn usable(value: Result<Value, ObjectError>, item: &str) -> Result<Value, Problem> {
    value.map_err(|error| Problem::unusable(&error, item))
}

async fn object(State(resolver): State<Resolver>, uri: Uri) -> Result<Response, Problem> {
    let OfObject { id, proof } = asked(&uri)?;
    let freshness = Freshness::Immutable;
    resolver
        .read(id, move |client, item| {
            if let Ok(id) = item.parse::<SchemaId>() {
                let (record, proof) =
                    look_up::<SchemaRecord>(client, &StateKey::Schema(id.clone()), proof, item)?;
                let value = usable(objects::schema_json(&id, &record), item)?;
                return Ok(Found { value, proof, freshness });
            }
            if let Ok(id) = item.parse::<CredentialDefinitionId>() {
                let key = StateKey::CredentialDefinition(id.clone());
                let (record, proof) = look_up::<DefinitionRecord>(client, &key, proof, item)?;
                let value = usable(objects::definition_json(&id, &record), item)?;
                return Ok(Found { value, proof, freshness });
            }
            if let Ok(id) = item.parse::<RevocationRegistryId>() {
                let key = StateKey::RevocationRegistry(id.clone());
                let (record, proof) = look_up::<RegistryRecord>(client, &key, proof, item)?;
                let value = usable(objects::registry_json(&id, &record), item)?;
                return Ok(Found { value, proof, freshness });
            }
            let error = "this is no id of a schema, a credential definition or a revocation registry of an eroam \
                         network, in its one spelling";
            Err(Problem::bad(error, item))
        })
        .await
}

async fn status_list(State(resolver): State<Resolver>, uri: Uri) -> Result<Response, Problem> {
    let OfList { id, at, proof } = asked(&uri)?;
    resolver.read(id, move |client, item| list_at(client, item, at, proof)).await
}

fn list_at(client: &Client, item: &str, at: Option<u64>, is_proved: bool) -> Result<Found, Problem> {
    let id: RevocationRegistryId = item
        .parse()
        .map_err(|error: eroam_domain::ids::ObjectIdError| Problem::bad(error.to_string(), item))?;
    let instant = at.map(|seconds| {
        let ms = seconds.checked_mul(1000).and_then(|ms| i64::try_from(ms).ok()).and_then(UnixMillis::new);
        ms.ok_or_else(|| Problem::bad("`at` is seconds since 1970, up to the year 9999", item))
    });
    let instant = instant.transpose()?;
    let key = StateKey::RevocationRegistry(id.clone());
    let (registry, _) = look_up::<RegistryRecord>(client, &key, false, item)?;
    let no_list = || Problem::missing("the registry has no list at that time", item);
    let (list, proof) = if is_proved {
        let key = StateKey::RevocationList(id.clone());
        let (list, proof) = look_up::<RevocationList>(client, &key, true, item)?;
        if instant.is_some_and(|instant| instant < list.time) {
            let newest = list.time.get().div_euclid(1000);
            let error = format!(
                "only the newest list is proved, which holds since {newest}: leave `at` out, or leave `proof` out"
            );
            return Err(Problem::bad(error, item));
        }
        (list, proof)
    } else {
        let list = match instant {
            None => query::revocation_list(client, &id),
            Some(instant) => query::revocation_list_at(client, &id, instant),
        };
        (list.map_err(|error| Problem::state(&error, item))?.ok_or_else(no_list)?, None)
    };
    let value = usable(objects::status_list_json(&id, &registry, &list), item)?;
    Ok(Found { value, proof, freshness: Freshness::Newest })
}

async fn did(State(resolver): State<Resolver>, uri: Uri) -> Result<Response, Problem> {
    let OfObject { id, proof } = asked(&uri)?;
    resolver
        .read(id, move |client, item| {
            let did: EroamDid = item
                .parse()
                .map_err(|error: eroam_domain::ids::ObjectIdError| Problem::bad(error.to_string(), item))?;
            let (record, proof) = look_up::<DidRecord>(client, &StateKey::Did(did), proof, item)?;
            let value = usable(objects::did_document(&did, &record), item)?;
            Ok(Found { value, proof, freshness: Freshness::Newest })
        })
        .await
}

async fn entry(State(resolver): State<Resolver>, uri: Uri) -> Result<Response, Problem> {
    let OfEntry { key } = asked(&uri)?;
    resolver
        .read(key, |client, item| {
            let wrong = || Problem::bad("`key` is a key of the state in hexadecimal", item);
            let bytes = from_hex(item).ok_or_else(wrong)?;
            // Only what could be a key is looked for.
            from_bytes::<StateKey>(&bytes).map_err(|_| wrong())?;
            let proof = prove(client, bytes, item)?;
            let value = json!(proof.value.as_deref().map(crate::ledger::keys::hex));
            Ok(Found { value, proof: Some(Document::State(proof)), freshness: Freshness::Newest })
        })
        .await
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2);
    let pairs = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok());
    (text.len().is_multiple_of(2) && text.bytes().all(|digit| digit.is_ascii_hexdigit()))
        .then(|| pairs.collect())
        .flatten()
}

async fn network(State(resolver): State<Resolver>) -> Result<Response, Problem> {
    resolver
        .read("network".to_owned(), |client, _| {
            let latest = client.latest();
            let value = json!({
                "network": client.network(),
                "name": client.genesis().name.as_str(),
                "height": latest.height,
                "time": latest.time.to_string(),
                "unix_seconds": latest.time.get().div_euclid(1000),
            });
            Ok(Found { value, proof: None, freshness: Freshness::Newest })
        })
        .await
}
