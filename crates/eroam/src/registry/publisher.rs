//! Publishes in a member's name: for the organisation's own issuing software, on its own machine.
//!
//! ```text
//! POST /registry/v1/publish    Authorization: Bearer <secret>
//!   {"kind": "schema" | "credential-definition" | "revocation-registry" | "status-list", "value": {..}}
//!   200 {"id": "..", "value": {..}}     as it is on the ledger, a status list with its timestamp
//! ```
//! A revocation registry may have a `"window": {"from": 1767225600000, "until": 1798761600000}`, in milliseconds since 1970, in which
//! alone its credentials count. Those of one without a window end only by being revoked: no station takes one for a contract.
//!
//! What the ledger has already, with the same content, is answered as if it were new: whoever lost an answer asks
//! again. A status list has the time of its block in whole seconds, and at least a second more than the last one: it is
//! named by that. A list in which a revoked credential is valid again is refused unless the request says
//! `"reinstate": true`: an old list, sent once more by software that lost its place, would undo what came since.

use super::answer::{Freshness, Problem, json_text};
use super::objects::{self, Kind, ObjectError};
use super::secret::Secret;
use crate::clock;
use crate::node::Node;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::post;
use ed25519_dalek::SigningKey;
use eroam_domain::ids::{EroamDid, PartyId, SchemaId};
use eroam_domain::quantity::DurationMs;
use eroam_domain::time::UnixMillis;
use eroam_ledger::port::{LedgerError, LedgerPort as _};
use eroam_ledger::query;
use eroam_ledger::registry::{
    DidDocument, DidRecord, Mandate, RegistryTx, RegistryWindow, RevocationChange, RevocationList,
};
use eroam_ledger::reject::{ItemOutcome, RejectCode};
use eroam_ledger::state::StateError;
use eroam_ledger::tx::{Envelope, PublicKey, Tx, VERSION};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The lane of a member's envelopes that only this uses: two senders on one lane would take each other's sequences.
pub const REGISTRY_LANE: u16 = 2;
/// The longest request in bytes.
pub const PUBLISH_BYTES_MAX: usize = 256 * 1024;
/// So long after its signing an envelope is worthless.
const VALID_FOR: DurationMs = DurationMs::from_millis(600_000);
/// A status list is of whole seconds.
const SECOND_MS: i64 = 1000;

/// Why something is not published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// It is not what it should be.
    #[error("nothing is published")]
    Object(#[from] ObjectError),
    /// The ledger says no.
    #[error("the ledger refuses it: {0}")]
    Refused(RejectCode),
    /// The ledger does not answer. It may still be published: ask again.
    #[error("the ledger failed")]
    Ledger(#[from] LedgerError),
    /// The ledger's state cannot be read.
    #[error("the ledger's state cannot be read")]
    State(#[from] StateError),
    /// Nobody by that name.
    #[error("{0} is no member of this network")]
    NotAMember(PartyId),
    /// Another key signs for the member now.
    #[error("the key is not one that signs for {0}")]
    NotItsKey(PartyId),
    /// A list makes revoked credentials valid again, and nobody said that it shall.
    #[error(
        "the list makes {0} revoked credentials valid again: if that is what you want, say \"reinstate\": true; if it is \
         an old list, begin from the newest one"
    )]
    Reinstates(usize),
    /// The ledger's time is at the end of time.
    #[error("the ledger's time is beyond the year 9999")]
    Time,
}

/// Something that is on the ledger.
#[derive(Clone, Debug, PartialEq)]
pub struct Published {
    /// Its id; of a status list, the registry's.
    pub id: String,
    /// As the ledger has it.
    pub value: Value,
}

struct Inner {
    client: Node,
    member: PartyId,
    key: SigningKey,
    lane: u16,
    /// One at a time: each takes the next sequence.
    turn: Mutex<()>,
}

/// Signs as a member and submits. Cheap to clone; must not be used from a thread of an asynchronous runtime.
#[derive(Clone)]
pub struct Publisher(Arc<Inner>);

impl Publisher {
    /// A publisher on a lane of the member that nobody else uses, as [`REGISTRY_LANE`].
    ///
    /// # Errors
    /// [`PublishError::NotAMember`], [`PublishError::NotItsKey`], [`PublishError::State`].
    pub fn new(
        node: impl Into<Node>,
        member: PartyId,
        key: SigningKey,
        lane: u16,
    ) -> Result<Self, PublishError> {
        let client = node.into();
        let publisher = Self(Arc::new(Inner { client, member, key, lane, turn: Mutex::new(()) }));
        publisher.key_number()?;
        Ok(publisher)
    }

    /// In whose name.
    #[must_use]
    pub fn member(&self) -> PartyId {
        self.0.member
    }

    /// The ledger.
    #[must_use]
    pub fn client(&self) -> &Node {
        &self.0.client
    }

    /// The DID on this network that begins with a key.
    #[must_use]
    pub fn did_of(&self, first: &SigningKey) -> EroamDid {
        EroamDid::derive(self.0.client.network(), &PublicKey::of(first).0)
    }

    /// Publishes a document of a DID in its next version, signed with the document's first key. The first version of
    /// a DID is of the key of which the DID is made, [`Self::did_of`].
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish_did(
        &self,
        did: EroamDid,
        document: DidDocument,
        first: &SigningKey,
    ) -> Result<DidRecord, PublishError> {
        let _turn = self.turn();
        let (client, member) = (&self.0.client, self.0.member);
        let known = query::did(client, did)?;
        let version = match known {
            Some(known) if known.member == member && known.document == document => return Ok(known),
            Some(known) => known.version.saturating_add(1),
            None => 1,
        };
        let tx = RegistryTx::publish_did(client.network(), member, did, version, document.clone(), first);
        self.submit(self.now(), tx)?;
        Ok(DidRecord { member, version, document })
    }

    /// Publishes an object from its AnonCreds JSON. A status list need not have a timestamp; if it has one, it is
    /// replaced. A DID's document is not published like this. The second list within a second waits for the next one.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish(&self, kind: Kind, json: &[u8], reinstate: bool) -> Result<Published, PublishError> {
        let _turn = self.turn();
        let client = &self.0.client;
        let not_same = PublishError::Refused(RejectCode::ObjectExists);
        match kind {
            Kind::Schema => {
                let (id, tx) = objects::publish_schema(json)?;
                let RegistryTx::PublishSchema { schema, .. } = &tx else { return Err(not_same) };
                let published = Published { id: id.to_string(), value: objects::schema_json(&id, schema)? };
                match query::schema(client, &id)? {
                    Some(known) if known == *schema => {}
                    Some(_) => return Err(not_same),
                    None => self.submit(self.now(), tx)?,
                }
                Ok(published)
            }
            Kind::CredentialDefinition => {
                let (id, tx) = objects::publish_definition(json)?;
                let RegistryTx::PublishCredentialDefinition { definition, .. } = &tx else {
                    return Err(not_same);
                };
                let value = objects::definition_json(&id, definition)?;
                let published = Published { id: id.to_string(), value };
                match query::credential_definition(client, &id)? {
                    Some(known) if known == *definition => {}
                    Some(_) => return Err(not_same),
                    None => self.submit(self.now(), tx)?,
                }
                Ok(published)
            }
            Kind::RevocationRegistry => self.publish_registry(json, None),
            Kind::StatusList => self.publish_list(json, reinstate),
            Kind::Did => {
                let (item, field) = (Kind::Did, "kind");
                let rule = "a DID's document is published by its key, not like this".to_owned();
                Err(ObjectError::Text { item, field, rule }.into())
            }
        }
    }

    /// Publishes a revocation registry from its AnonCreds JSON, whose credentials end with its window: those of one without
    /// are no contracts at our stations.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn publish_dated_registry(
        &self,
        json: &[u8],
        window: RegistryWindow,
    ) -> Result<Published, PublishError> {
        let _turn = self.turn();
        self.publish_registry(json, Some(window))
    }

    /// Under the turn.
    fn publish_registry(
        &self,
        json: &[u8],
        window: Option<RegistryWindow>,
    ) -> Result<Published, PublishError> {
        let client = &self.0.client;
        let (id, registry) = objects::read_registry(json)?;
        let published = Published { id: id.to_string(), value: objects::registry_json(&id, &registry)? };
        match query::revocation_registry(client, &id)? {
            Some(known) if known == registry && query::registry_window(client, &id)? == window => {}
            Some(_) => return Err(PublishError::Refused(RejectCode::ObjectExists)),
            None => {
                let tx = match window {
                    Some(window) => RegistryTx::PublishDatedRegistry { id, registry, window },
                    None => RegistryTx::PublishRevocationRegistry { id, registry },
                };
                self.submit(self.now(), tx)?;
            }
        }
        Ok(published)
    }

    /// Lets an issuer issue credentials of a schema in the member's name; an earlier mandate is replaced.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn grant_mandate(
        &self,
        agent: PartyId,
        schema: SchemaId,
        mandate: Mandate,
    ) -> Result<(), PublishError> {
        let _turn = self.turn();
        self.submit(self.now(), RegistryTx::GrantMandate { agent, schema, mandate })
    }

    /// Ends a mandate at once.
    ///
    /// # Errors
    /// [`PublishError`], among them that there is none.
    pub fn revoke_mandate(&self, agent: PartyId, schema: SchemaId) -> Result<(), PublishError> {
        let _turn = self.turn();
        self.submit(self.now(), RegistryTx::RevokeMandate { agent, schema })
    }

    /// The newest status list of a registry, if it has one.
    ///
    /// # Errors
    /// [`PublishError`].
    pub fn newest_list(&self, registry: &str) -> Result<Option<Value>, PublishError> {
        let client = &self.0.client;
        let unknown = PublishError::Refused(RejectCode::UnknownRevocationRegistry);
        let Ok(id) = registry.parse() else { return Err(unknown) };
        let record = query::revocation_registry(client, &id)?.ok_or(unknown)?;
        let list = query::revocation_list(client, &id)?;
        Ok(list.map(|list| objects::status_list_json(&id, &record, &list)).transpose()?)
    }

    fn publish_list(&self, json: &[u8], reinstate: bool) -> Result<Published, PublishError> {
        let client = &self.0.client;
        // Read once with some time to know of which registry it is, and then with its own.
        let provisional = with_timestamp(json, 0)?;
        let id = objects::registry_of_list(&provisional)?;
        let registry = query::revocation_registry(client, &id)?;
        let registry = registry.ok_or(PublishError::Refused(RejectCode::UnknownRevocationRegistry))?;
        let current = query::revocation_list(client, &id)?;
        let now = self.now();
        let next = current.as_ref().map_or(0, |list| list.time.get().div_euclid(SECOND_MS).saturating_add(1));
        let seconds = now.get().div_euclid(SECOND_MS).max(next);
        let json = with_timestamp(json, u64::try_from(seconds).map_err(|_| PublishError::Time)?)?;
        let tx = objects::update_revocation(current.as_ref(), &registry, &json)?;
        let RegistryTx::UpdateRevocation { change, .. } = &tx else { return Err(PublishError::Time) };
        if !reinstate && !change.reinstated.is_empty() {
            return Err(PublishError::Reinstates(change.reinstated.len()));
        }
        if let Some(list) = current.filter(|list| is_the_same(list, change)) {
            let value = objects::status_list_json(&id, &registry, &list)?;
            return Ok(Published { id: id.to_string(), value });
        }
        let at = now.max(change.time);
        wait_for(change.time);
        self.submit(at, tx)?;
        // Under the turn nobody else of this process publishes the next one.
        let list = query::revocation_list(client, &id)?;
        let list = list.ok_or(PublishError::Refused(RejectCode::UnknownRevocationRegistry))?;
        let value = objects::status_list_json(&id, &registry, &list)?;
        Ok(Published { id: id.to_string(), value })
    }

    fn turn(&self) -> std::sync::MutexGuard<'_, ()> {
        self.0.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine's time, or the ledger's, if that is ahead.
    fn now(&self) -> UnixMillis {
        clock::now().max(self.0.client.time())
    }

    /// The number of the member's key.
    fn key_number(&self) -> Result<u32, PublishError> {
        let member = self.0.member;
        let known = query::member(&self.0.client, member)?.ok_or(PublishError::NotAMember(member))?;
        let own = PublicKey::of(&self.0.key);
        let number = known.keys.iter().position(|key| key.public == own && !key.replaced);
        number.and_then(|number| u32::try_from(number).ok()).ok_or(PublishError::NotItsKey(member))
    }

    /// Submits one transaction in the next sequence. Under the turn.
    fn submit(&self, at: UnixMillis, tx: RegistryTx) -> Result<(), PublishError> {
        let Inner { client, member, key, lane, .. } = &*self.0;
        let mut client = client.clone();
        let envelope = Envelope {
            version: VERSION,
            network: client.network(),
            member: *member,
            key: self.key_number()?,
            lane: *lane,
            sequence: query::next_sequence(&client, *member, *lane)?,
            expires_at: at.checked_add(VALID_FOR).ok_or(PublishError::Time)?,
            tx: Tx::Registry(tx),
        };
        let receipts = client.submit(at, vec![envelope.sign(key)])?;
        for item in receipts.iter().flat_map(|receipt| &receipt.items) {
            if let ItemOutcome::Rejected(code) = item.outcome {
                return Err(PublishError::Refused(code));
            }
        }
        Ok(())
    }
}

/// A second list within a second would hold from a time that is yet to come: until then, whoever asks for the list of
/// now would be given the one before. Where the ledger's time is ahead for good, as of replayed years, nobody waits.
fn wait_for(time: UnixMillis) {
    let ahead = time.get().saturating_sub(clock::now().get());
    if (1..=SECOND_MS).contains(&ahead) {
        std::thread::sleep(Duration::from_millis(ahead.unsigned_abs()));
    }
}

/// The list with another timestamp.
fn with_timestamp(json: &[u8], seconds: u64) -> Result<Vec<u8>, ObjectError> {
    let (item, field) = (Kind::StatusList, "value");
    let mut value: serde_json::Map<String, Value> = serde_json::from_slice(json).map_err(|error| {
        let rule = format!("a JSON object is expected: {error}");
        ObjectError::Text { item, field, rule }
    })?;
    value.insert("timestamp".to_owned(), seconds.into());
    Ok(Value::Object(value).to_string().into_bytes())
}

/// Whether a change leads from a list to itself.
fn is_the_same(list: &RevocationList, change: &RevocationChange) -> bool {
    change.revoked.is_empty() && change.reinstated.is_empty() && list.accumulator == change.accumulator
}

#[derive(Clone)]
struct Api {
    publisher: Publisher,
    secret: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Request<'a> {
    kind: Kind,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(default)]
    reinstate: bool,
    #[serde(default)]
    window: Option<RequestedWindow>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestedWindow {
    from: UnixMillis,
    until: UnixMillis,
}

/// The routes of the publisher, see the module.
pub fn router(publisher: Publisher, secret: Secret) -> Router {
    Router::new().route("/registry/v1/publish", post(publish)).with_state(Api { publisher, secret })
}

async fn publish(State(api): State<Api>, headers: HeaderMap, body: Body) -> Result<Response, Problem> {
    let item = "publish";
    if !api.secret.is_shown(&headers) {
        return Err(Problem::unauthorized(item));
    }
    let body = to_bytes(body, PUBLISH_BYTES_MAX).await.map_err(|_| {
        let error = format!("a request is whole and has at most {PUBLISH_BYTES_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, item)
    })?;
    let done = tokio::task::spawn_blocking(move || {
        let request: Request<'_> =
            serde_json::from_slice(&body).map_err(|error| Problem::bad(error.to_string(), item))?;
        let kind = request.kind;
        let json = request.value.get().as_bytes();
        let published = match (kind, request.window) {
            (Kind::RevocationRegistry, Some(RequestedWindow { from, until })) => {
                api.publisher.publish_dated_registry(json, RegistryWindow { from, until })
            }
            (_, Some(_)) => {
                return Err(Problem::bad("only a revocation registry has a window".to_owned(), item));
            }
            (_, None) => api.publisher.publish(kind, json, request.reinstate),
        };
        let published = published.map_err(|error| Problem::publish(&error, &kind.to_string()))?;
        tracing::info!(kind = %kind, "registry.published");
        Ok(json!({ "id": published.id, "value": published.value }).to_string())
    });
    let text = done.await.map_err(|_| Problem::unavailable("the publisher failed", item))??;
    Ok(json_text(text, Freshness::Newest))
}
