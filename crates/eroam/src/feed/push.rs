//! The push interface: samples over HTTP, on the organisation's own machine or behind its proxy.
//!
//! ```text
//! POST /v1/load            Authorization: Bearer <secret>
//!   {"samples": [{"time": "2026-01-01T05:00:00Z", "kw": 12345.6}, ..]}
//!   200 {"new": 1, "repeated": 0, "contradicting": 0, "refused": [{"index": 3, "reason": ".."}]}
//! GET  /v1/load/status     how the feed is doing, the same secret
//! ```
//! 200 says that what is not under `refused` is durable. The same samples may be sent again, so whoever lost an answer
//! asks again. 422 says that none of them can be used, 413 that there are too many.

use super::inbox::{Inbox, Row, Taken};
use super::runner::lock;
use super::status::read_status;
use crate::causes::chain;
use crate::registry::Secret;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use eroam_domain::time::UnixMillis;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

/// The longest request in bytes: a year of hours.
pub const PUSH_BYTES_MAX: usize = 2 << 20;
/// So much is read before a request is refused as too long: whoever is cut off while sending never reads why.
const READ_BYTES_MAX: usize = 8 * PUSH_BYTES_MAX;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Samples {
    samples: Vec<Row>,
}

#[derive(Clone)]
struct Desk {
    inbox: Arc<Mutex<Inbox>>,
    directory: Arc<PathBuf>,
    secret: Secret,
    now: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
}

/// The routes, see the module. `now` is the time at which a request comes.
pub fn router(
    inbox: Arc<Mutex<Inbox>>,
    directory: PathBuf,
    secret: Secret,
    now: Arc<dyn Fn() -> UnixMillis + Send + Sync>,
) -> Router {
    let desk = Desk { inbox, directory: Arc::new(directory), secret, now };
    Router::new()
        .route("/v1/load", post(load))
        .route("/v1/load/status", get(status))
        .layer(DefaultBodyLimit::max(READ_BYTES_MAX))
        .with_state(desk)
}

fn problem(status: StatusCode, what: impl Into<String>) -> Response {
    (status, Json(json!({ "error": what.into() }))).into_response()
}

/// What a request without the secret is answered.
fn stranger() -> Response {
    problem(StatusCode::UNAUTHORIZED, "show the feed's secret: Authorization: Bearer <secret>")
}

async fn load(State(desk): State<Desk>, headers: HeaderMap, body: Bytes) -> Response {
    if !desk.secret.is_shown(&headers) {
        return stranger();
    }
    if body.len() > PUSH_BYTES_MAX {
        let what =
            format!("{} bytes, and at most {PUSH_BYTES_MAX} are taken at once: send fewer", body.len());
        return problem(StatusCode::PAYLOAD_TOO_LARGE, what);
    }
    let rows = match serde_json::from_slice::<Samples>(&body) {
        Ok(samples) => samples.samples,
        Err(error) => {
            let what = format!(
                "the body is none of {{\"samples\": [{{\"time\": \"2026-01-01T05:00:00Z\", \"kw\": 12345.6}}]}}: {error}"
            );
            return problem(StatusCode::BAD_REQUEST, what);
        }
    };
    // The disk is waited for, so not on this thread.
    let taken = tokio::task::spawn_blocking(move || lock(&desk.inbox).push(&rows, (desk.now)()));
    match taken.await {
        Ok(Ok(taken)) => {
            let none = taken.new + taken.repeated + taken.contradicting == 0 && !taken.refused.is_empty();
            let status = if none { StatusCode::UNPROCESSABLE_ENTITY } else { StatusCode::OK };
            (status, Json::<Taken>(taken)).into_response()
        }
        Ok(Err(error)) => problem(StatusCode::SERVICE_UNAVAILABLE, chain(&error)),
        Err(_) => problem(StatusCode::INTERNAL_SERVER_ERROR, "the feed failed"),
    }
}

async fn status(State(desk): State<Desk>, headers: HeaderMap) -> Response {
    if !desk.secret.is_shown(&headers) {
        return stranger();
    }
    match tokio::task::spawn_blocking(move || read_status(&desk.directory)).await {
        Ok(Ok(status)) => Json(status).into_response(),
        _ => problem(StatusCode::NOT_FOUND, "nothing was forecast yet: ask again in a minute"),
    }
}
