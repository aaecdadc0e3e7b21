//! Tails files: large, public, and named by their hash, so that it does not matter who keeps them.
//!
//! ```text
//! GET /tails/hash/<hash>    the file
//! PUT /tails/hash/<hash>    the file as the body, or as the one part of a form (multipart/form-data); with the secret
//! ```
//! `<hash>` is SHA-256 in base58; a file with another hash is refused. The secret is a bearer, or the password in the
//! URL for software that knows no other way, as ACA-Py's `--tails-server-upload-url`.

use super::answer::{Freshness, Problem};
use super::secret::Secret;
use crate::whole_file;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path as InPath, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use eroam_domain::codec::Digest;
use eroam_ledger::registry::REGISTRY_SIZE_MAX;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::Semaphore;

/// The longest tails file in bytes: the version, and a point of 128 bytes for each of 0 to twice the size of a registry.
pub const TAILS_BYTES_MAX: usize = 2 + 128 * (2 * REGISTRY_SIZE_MAX as usize + 1);
/// What a form may have around its file, in bytes.
const FORM_BYTES_MAX: usize = 4096;
/// So many files are in memory at a time.
const AT_A_TIME: usize = 8;

#[derive(Clone)]
struct Tails {
    directory: Arc<PathBuf>,
    secret: Option<Secret>,
    places: Arc<Semaphore>,
}

/// The routes of tails files in a directory, which is made if need be. Without a secret nobody can add one.
///
/// # Errors
/// If there is no such directory and none can be made.
pub fn router(directory: &Path, secret: Option<Secret>) -> io::Result<Router> {
    fs::create_dir_all(directory)?;
    let tails = Tails {
        directory: Arc::new(directory.to_owned()),
        secret,
        places: Arc::new(Semaphore::new(AT_A_TIME)),
    };
    Ok(Router::new().route("/tails/hash/{hash}", get(fetch).put(store)).with_state(tails))
}

/// The digest that a file's name spells, in the one spelling.
fn digest(hash: &str) -> Result<Digest, Problem> {
    let read = || {
        let bytes = bs58::decode(hash).into_vec().ok().filter(|_| hash.len() <= 64)?;
        let digest: [u8; 32] = bytes.try_into().ok()?;
        (bs58::encode(digest).into_string() == hash).then_some(Digest(digest))
    };
    read().ok_or_else(|| Problem::bad("the name of a tails file is its SHA-256 in base58", hash))
}

async fn fetch(State(tails): State<Tails>, InPath(hash): InPath<String>) -> Result<Response, Problem> {
    digest(&hash)?;
    let busy = |_| Problem::unavailable("too many requests at a time: ask again", &hash);
    let _place = tails.places.clone().try_acquire_owned().map_err(busy)?;
    let file = tails.directory.join(&hash);
    let read = tokio::task::spawn_blocking(move || fs::read(file)).await;
    match read.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(bytes) => {
            let headers =
                [(CONTENT_TYPE, "application/octet-stream"), (CACHE_CONTROL, Freshness::Immutable.header())];
            Ok((headers, bytes).into_response())
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            Err(Problem::missing("there is no such tails file", &hash))
        }
        Err(error) => Err(Problem::unavailable(format!("the tails file cannot be read: {error}"), &hash)),
    }
}

async fn store(
    State(tails): State<Tails>,
    InPath(hash): InPath<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if !tails.secret.as_ref().is_some_and(|secret| secret.is_shown(&headers)) {
        return Err(Problem::unauthorized(&hash));
    }
    let expected = digest(&hash)?;
    let busy = |_| Problem::unavailable("too many requests at a time: ask again", &hash);
    let _place = tails.places.clone().try_acquire_owned().map_err(busy)?;
    let too_large = || {
        let error = format!("a tails file is whole and has at most {TAILS_BYTES_MAX} bytes");
        Problem::new(StatusCode::PAYLOAD_TOO_LARGE, error, &hash)
    };
    let body = to_bytes(body, TAILS_BYTES_MAX + FORM_BYTES_MAX).await.map_err(|_| too_large())?;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let bytes = match boundary(content_type) {
        None => &body[..],
        Some(boundary) => file_of_form(&body, boundary).ok_or_else(|| {
            Problem::bad("a form with a tails file has exactly one part, which is the file", &hash)
        })?,
    };
    if bytes.len() > TAILS_BYTES_MAX {
        return Err(too_large());
    }
    if Digest::of(bytes) != expected {
        let found = bs58::encode(Digest::of(bytes).0).into_string();
        return Err(Problem::bad(format!("the file's hash is {found}, not its name"), &hash));
    }
    let range = body.slice_ref(bytes);
    let name = hash.clone();
    let written = tokio::task::spawn_blocking(move || keep(&tails.directory, &name, &range)).await;
    match written.unwrap_or_else(|error| Err(io::Error::other(error))) {
        Ok(()) => Ok(StatusCode::OK.into_response()),
        Err(error) => Err(Problem::unavailable(format!("the tails file cannot be kept: {error}"), &hash)),
    }
}

/// Keeps a file under its hash, in a directory that is made if need be.
///
/// # Errors
/// The file system's.
pub fn keep(directory: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    // The name is its hash: what is there is the same.
    if directory.join(name).is_file() {
        return Ok(());
    }
    fs::create_dir_all(directory)?;
    whole_file::write(directory, name, bytes)
}

/// What separates the parts of a form; `None` if the body is none.
fn boundary(content_type: &str) -> Option<&str> {
    let (kind, parameters) = content_type.split_once(';')?;
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    parameters.split(';').find_map(|parameter| {
        let (name, value) = parameter.trim().split_once('=')?;
        name.eq_ignore_ascii_case("boundary").then(|| value.trim_matches('"'))
    })
}

/// The contents of the only part of a form.
fn file_of_form<'a>(body: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let rest = body.strip_prefix(format!("--{boundary}\r\n").as_bytes())?;
    let end = format!("\r\n--{boundary}--");
    let rest = rest.strip_suffix(b"\r\n").unwrap_or(rest).strip_suffix(end.as_bytes())?;
    let head = rest.windows(4).take(FORM_BYTES_MAX).position(|bytes| bytes == b"\r\n\r\n")?;
    rest.get(head + 4..)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_with_one_part_is_read() {
        let body =
            b"--x1\r\nContent-Disposition: form-data; name=\"tails\"\r\n\r\n\r\n\r\na--x1\r\n--x1--\r\n";
        assert_eq!(file_of_form(body, "x1"), Some(b"\r\n\r\na--x1".as_slice()));
        assert_eq!(file_of_form(&body[..body.len() - 2], "x1"), Some(b"\r\n\r\na--x1".as_slice()));
        for cut in [0, 3, 10, 60, body.len() - 5] {
            assert_eq!(file_of_form(&body[..cut], "x1"), None, "{cut}");
        }
        assert_eq!(boundary("multipart/form-data; boundary=\"x1\""), Some("x1"));
        assert_eq!(boundary("Multipart/Form-Data; charset=utf-8; Boundary=x1"), Some("x1"));
        assert_eq!(boundary("application/octet-stream"), None);
    }

    #[test]
    fn names_are_hashes_in_one_spelling() {
        let good = bs58::encode([7; 32]).into_string();
        assert_eq!(digest(&good).unwrap(), Digest([7; 32]));
        for bad in ["", "..", "../x", &good[1..], &format!("1{good}"), &good.replace(&good[..1], "0")] {
            assert!(digest(bad).is_err(), "{bad}");
        }
    }
}
