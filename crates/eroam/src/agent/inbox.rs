//! The HTTP server of an agent.

use super::mail::{Full, Mail};
use super::{Keys, lock};
use crate::clock::now;
use crate::server::{ServeError, Server};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::routing::post;
use eroam_domain::quantity::DurationMs;
use eroam_ssi::didcomm::envelope::ENVELOPE_BYTES_MAX;
use eroam_ssi::didcomm::{Channel, MEDIA_TYPE, MEDIA_TYPE_OLD, Replay, ReplayWindow, unpack};
use eroam_ssi::protocol::Incoming;
use eroam_ssi::protocol::did_exchange::Connection;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long an envelope may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// A message that comes again within this time is dropped.
const REPLAY_SPAN: DurationMs = DurationMs::from_millis(3_600_000);
/// So many messages of a connection are remembered, and so many connections.
const REPLAY_IDS_MAX: usize = 1024;
const REPLAY_CHANNELS_MAX: usize = 10_000;

/// What the server and the agent share.
pub(super) struct Shared {
    pub(super) keys: Mutex<Keys>,
    /// Whom the agent knows. Taken after `mail`, where both are.
    pub(super) connections: Mutex<HashMap<Channel, Connection>>,
    seen: Mutex<ReplayWindow>,
    mail: Mutex<Mail>,
    /// Told of when there is more mail.
    came: Condvar,
    closed: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        let seen = ReplayWindow::new(REPLAY_SPAN, REPLAY_IDS_MAX, REPLAY_CHANNELS_MAX);
        Self {
            keys: Mutex::default(),
            connections: Mutex::default(),
            seen: Mutex::new(seen),
            mail: Mutex::default(),
            came: Condvar::new(),
            closed: AtomicBool::new(false),
        }
    }
}

impl Shared {
    /// What has come. Several threads may look for theirs.
    pub(super) fn mail(&self) -> MutexGuard<'_, Mail> {
        lock(&self.mail)
    }

    /// Waits for more mail, at most so long.
    pub(super) fn wait<'a>(&self, mail: MutexGuard<'a, Mail>, within: Duration) -> MutexGuard<'a, Mail> {
        self.came.wait_timeout(mail, within).unwrap_or_else(PoisonError::into_inner).0
    }

    /// There is something for somebody who waits.
    pub(super) fn notify(&self) {
        self.came.notify_all();
    }

    /// Throws away what has come over a channel.
    pub(super) fn forget(&self, channel: &Channel) {
        self.mail().forget(channel);
        lock(&self.seen).forget(channel);
    }

    /// Takes no more mail, or takes it again.
    pub(super) fn close(&self, closed: bool) {
        // Under the lock, so that nobody begins to wait between the change and the notice.
        let mail = self.mail();
        self.closed.store(closed, Ordering::Release);
        drop(mail);
        self.notify();
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }
}

/// A server, until it is dropped.
pub(super) struct Inbox {
    server: Server,
}

impl Inbox {
    /// Listens. Whoever is in the middle of sending when it ends is not waited for.
    pub(super) fn start(address: SocketAddr, shared: &Arc<Shared>) -> Result<Self, ServeError> {
        let router = Router::new().route("/", post(deliver)).with_state(Arc::clone(shared));
        let server = Server::start_small("agent inbox", address, router, Duration::ZERO)?;
        Ok(Self { server })
    }

    /// Where it listens.
    pub(super) const fn address(&self) -> SocketAddr {
        self.server.address()
    }
}

/// Takes an envelope. Refusals say what is wrong with it and nothing about our keys.
async fn deliver(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Body) -> (StatusCode, String) {
    if shared.is_closed() {
        return (StatusCode::SERVICE_UNAVAILABLE, "nobody is there: try again later".to_owned());
    }
    let media = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let media = media.split(';').next().unwrap_or_default().trim();
    if ![MEDIA_TYPE, MEDIA_TYPE_OLD].contains(&media) {
        let text = format!("an envelope is sent as {MEDIA_TYPE}");
        return (StatusCode::UNSUPPORTED_MEDIA_TYPE, text);
    }
    let refused = |reason: String| {
        tracing::debug!(reason, "agent.refused");
        (StatusCode::BAD_REQUEST, reason)
    };
    // One more than is taken, so that a larger one is refused for its size.
    let body = to_bytes(body, ENVELOPE_BYTES_MAX.saturating_add(1));
    let body = match tokio::time::timeout(ARRIVES_WITHIN, body).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) => return refused(format!("the envelope does not arrive whole: {error}")),
        Err(_) => return (StatusCode::REQUEST_TIMEOUT, "the envelope does not arrive in time".to_owned()),
    };
    let opened = {
        let keys = lock(&shared.keys);
        unpack(&body, |key| keys.get(key).map(Arc::as_ref))
    };
    let incoming = match opened {
        Err(error) => return refused(error.to_string()),
        Ok(opened) => match Incoming::read(&opened) {
            Err(error) => return refused(error.to_string()),
            Ok(incoming) => incoming,
        },
    };
    match lock(&shared.seen).check(incoming.channel(), incoming.message().id(), now()) {
        Replay::New => {}
        // Whoever sends again because an answer got lost is told that it came.
        Replay::Before(_) => return (StatusCode::ACCEPTED, String::new()),
        Replay::Full => {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many connections: try again later".to_owned());
        }
    }
    let channel = incoming.channel();
    let put = {
        let mut mail = shared.mail();
        let known = lock(&shared.connections);
        mail.put(incoming, |channel| known.contains_key(channel), Instant::now())
    };
    match put {
        Ok(forgotten) => {
            shared.notify();
            let mut seen = lock(&shared.seen);
            forgotten.iter().for_each(|channel| seen.forget(channel));
            (StatusCode::ACCEPTED, String::new())
        }
        Err(Full) => {
            // It may come again.
            lock(&shared.seen).forget(&channel);
            (StatusCode::SERVICE_UNAVAILABLE, "too many messages wait: try again later".to_owned())
        }
    }
}
