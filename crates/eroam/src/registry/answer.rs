//! How requests are answered: JSON, and what a cache may do with it.

use super::objects::ObjectError;
use super::publisher::PublishError;
use crate::causes::chain;
use axum::Json;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use eroam_ledger::port::LedgerError;
use eroam_ledger::state::StateError;
use serde_json::json;

/// Why there is no answer.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    error: String,
    item: String,
}

/// The beginning of what was asked for.
fn beginning(item: &str) -> String {
    item.chars().take(200).collect()
}

impl Problem {
    pub(super) fn new(status: StatusCode, error: impl Into<String>, item: &str) -> Self {
        Self { status, error: error.into(), item: beginning(item) }
    }

    pub(super) fn bad(error: impl Into<String>, item: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, error, item)
    }

    pub(super) fn missing(error: impl Into<String>, item: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, error, item)
    }

    pub(super) fn unavailable(error: impl Into<String>, item: &str) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, error, item)
    }

    pub(super) fn unauthorized(item: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "the secret is missing or wrong", item)
    }

    /// An object on the ledger that nobody can use is as good as none.
    pub(super) fn unusable(error: &ObjectError, item: &str) -> Self {
        Self::missing(format!("what the ledger has cannot be used: {}", chain(error)), item)
    }

    pub(super) fn ledger(error: &LedgerError, item: &str) -> Self {
        tracing::warn!(error = %chain(error), "registry.ledger");
        Self::unavailable(chain(error), item)
    }

    pub(super) fn state(error: &StateError, item: &str) -> Self {
        tracing::warn!(error = %chain(error), "registry.state");
        Self::unavailable(chain(error), item)
    }

    pub(super) fn publish(error: &PublishError, item: &str) -> Self {
        let status = match error {
            PublishError::Object(_) => StatusCode::BAD_REQUEST,
            PublishError::Refused(_) | PublishError::Reinstates(_) => StatusCode::CONFLICT,
            _ => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, chain(error), item)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        tracing::debug!(status = self.status.as_u16(), error = %self.error, "registry.problem");
        let body = Json(json!({ "error": self.error, "item": self.item }));
        let mut response = (self.status, [(CACHE_CONTROL, "no-store")], body).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response.headers_mut().insert(axum::http::header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

/// What a cache may do.
#[derive(Clone, Copy, Debug)]
pub(super) enum Freshness {
    /// It never changes.
    Immutable,
    /// The next one may be another.
    Newest,
}

impl Freshness {
    pub(super) const fn header(self) -> &'static str {
        match self {
            Self::Immutable => "public, max-age=31536000, immutable",
            Self::Newest => "no-store",
        }
    }
}

/// JSON that was written already.
pub(super) fn json_text(text: String, freshness: Freshness) -> Response {
    ([(CONTENT_TYPE, "application/json"), (CACHE_CONTROL, freshness.header())], text).into_response()
}
