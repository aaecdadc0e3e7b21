//! A node for the programs of its own organisation, over HTTP on the loopback interface.
//!
//! ```text
//! GET  /node/v1/genesis    the genesis, as JSON
//! POST /node/v1/state      keys of the state -> their values, without proofs
//! POST /node/v1/submit     signed envelopes -> their receipts, when they are decided
//! ```
//! Bodies are canonical bytes ([`eroam_domain::codec`]). Reading needs no secret, since members see everything; what is
//! submitted carries a member's signature. There is no TLS here, and nothing keeps a stranger from asking without end:
//! whoever listens elsewhere than on the loopback interface puts a proxy before it.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use borsh::{BorshDeserialize, BorshSerialize};
use eroam_chain::client::Client;
use eroam_domain::codec::{Digest, from_bytes, to_bytes};
use eroam_domain::time::UnixMillis;
use eroam_ledger::port::{LedgerError, LedgerPort as _};
use eroam_ledger::reject::Item;
use eroam_ledger::state::StateView as _;
use eroam_ledger::tx::SignedEnvelope;

/// Where the genesis is.
pub(super) const GENESIS: &str = "/node/v1/genesis";
/// Where values are looked up.
pub(super) const STATE: &str = "/node/v1/state";
/// Where envelopes are submitted.
pub(super) const SUBMIT: &str = "/node/v1/submit";
/// The longest request in bytes.
const REQUEST_BYTES_MAX: usize = 16 << 20;
/// So many keys are looked up at a time.
pub const KEYS_MAX: usize = 4_096;

/// Values of the state.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Values {
    /// The time of the latest block.
    pub(super) time: UnixMillis,
    /// In the order of the keys.
    pub(super) values: Vec<Option<Vec<u8>>>,
}

/// Envelopes.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Submission {
    /// As [`eroam_ledger::port::LedgerPort::submit`] takes it.
    pub(super) at: UnixMillis,
    /// Their bytes.
    pub(super) envelopes: Vec<Vec<u8>>,
}

/// Digest, height and outcomes of an envelope.
pub(super) type Decided = (Digest, Option<u64>, Vec<Item>);

/// What became of them.
#[derive(BorshSerialize, BorshDeserialize)]
pub(super) struct Answered {
    /// The time of the latest block.
    pub(super) time: UnixMillis,
    /// Of each, in their order; or why nothing can be said.
    pub(super) decided: Result<Vec<Decided>, String>,
}

/// The routes of a node, see the module.
pub fn router(client: Client) -> Router {
    Router::new()
        .route(GENESIS, get(genesis))
        .route(STATE, post(state))
        .route(SUBMIT, post(submit))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(client)
}

async fn genesis(State(client): State<Client>) -> Response {
    ([("content-type", "application/json")], client.genesis().to_json()).into_response()
}

fn bad(what: impl ToString) -> Response {
    (StatusCode::BAD_REQUEST, what.to_string()).into_response()
}

fn unavailable(what: impl ToString) -> Response {
    (StatusCode::SERVICE_UNAVAILABLE, what.to_string()).into_response()
}

/// Handles a request on a thread that may wait.
async fn waiting(work: impl FnOnce() -> Response + Send + 'static) -> Response {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| unavailable("the node failed"))
}

async fn state(State(client): State<Client>, body: Bytes) -> Response {
    let keys: Vec<Vec<u8>> = match from_bytes(&body) {
        Ok(keys) => keys,
        Err(why) => return bad(why),
    };
    if keys.len() > KEYS_MAX {
        return bad(format!("{} keys, at most {KEYS_MAX} are looked up at a time", keys.len()));
    }
    waiting(move || {
        let values: Result<Vec<_>, _> =
            keys.iter().map(|key| Ok(client.get(key)?.map(std::borrow::Cow::into_owned))).collect();
        match values {
            Ok(values) => to_bytes(&Values { time: client.time(), values }).into_response(),
            Err::<_, eroam_ledger::state::StateError>(error) => unavailable(error),
        }
    })
    .await
}

async fn submit(State(client): State<Client>, body: Bytes) -> Response {
    let Submission { at, envelopes } = match from_bytes(&body) {
        Ok(submission) => submission,
        Err(why) => return bad(why),
    };
    let envelopes: Result<Vec<_>, _> = envelopes.into_iter().map(SignedEnvelope::decode).collect();
    let envelopes = match envelopes {
        Ok(envelopes) => envelopes,
        Err(why) => return bad(why),
    };
    waiting(move || {
        let mut submitting = client.clone();
        let decided = match submitting.submit(at, envelopes) {
            Ok(receipts) => Ok(receipts.into_iter().map(|r| (r.envelope, r.height, r.items)).collect()),
            Err(LedgerError::Stopped(reason)) => Err(reason),
            Err(error) => Err(error.to_string()),
        };
        to_bytes(&Answered { time: client.time(), decided }).into_response()
    })
    .await
}
