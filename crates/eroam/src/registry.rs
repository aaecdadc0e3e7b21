//! The ledger's registry over HTTP, for software that issues and verifies credentials: its own, and that of others.
//!
//! ```text
//! verifiers, wallets ── GET  /registry/v1/..  ──► resolver ──► any node's state, with proofs if wanted
//! own issuer         ── POST /registry/v1/publish ► publisher ─► an envelope signed as the member
//!                    ── PUT  /tails/hash/..   ──► tails     ──► files, beside the ledger
//! ```
//! The resolver is for anybody. The publisher signs as the organisation for whoever knows the secret: it belongs on the
//! loopback interface. There is no TLS here; who serves others puts a proxy before it.

mod answer;
pub mod objects;
pub mod publisher;
pub mod resolver;
mod secret;
pub mod tails;

pub use objects::{Kind, ObjectError};
pub use publisher::{PublishError, Published, Publisher, REGISTRY_LANE};
pub use secret::{SECRET_BYTES_MAX, SECRET_BYTES_MIN, Secret, SecretError};

use answer::Problem;
use axum::Router;
use axum::http::{StatusCode, Uri};
use eroam_chain::client::Client;
use std::io;
use std::path::Path;

/// Everything: the resolver, tails files from a directory, and, with a secret, the publisher and the storing of tails.
///
/// # Errors
/// If the directory of tails files cannot be made.
pub fn router(client: Client, tails: &Path, publishing: Option<(Publisher, Secret)>) -> io::Result<Router> {
    let secret = publishing.as_ref().map(|(_, secret)| secret.clone());
    let mut router = resolver::router(client).merge(tails::router(tails, secret)?);
    if let Some((publisher, secret)) = publishing {
        router = router.merge(publisher::router(publisher, secret));
    }
    let nothing = |uri: Uri| async move { Problem::missing("there is nothing here", uri.path()) };
    let other = |uri: Uri| async move {
        Problem::new(StatusCode::METHOD_NOT_ALLOWED, "another method is expected here", uri.path())
    };
    Ok(router.fallback(nothing).method_not_allowed_fallback(other))
}
