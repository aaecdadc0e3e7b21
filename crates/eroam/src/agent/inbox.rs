//! The HTTP server of an agent.

use super::{AgentError, Keys, lock, now};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header::CONTENT_TYPE};
use axum::routing::post;
use eroam_domain::quantity::DurationMs;
use eroam_ssi::didcomm::envelope::ENVELOPE_BYTES_MAX;
use eroam_ssi::didcomm::{MEDIA_TYPE, MEDIA_TYPE_OLD, Replay, ReplayWindow, unpack};
use eroam_ssi::protocol::Incoming;
use std::io;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// So long an envelope may take to arrive.
const ARRIVES_WITHIN: Duration = Duration::from_secs(10);
/// Messages that wait to be taken; more are refused until some were.
const WAITING_MAX: usize = 1024;
/// A message that comes again within this time is dropped.
const REPLAY_SPAN: DurationMs = DurationMs::from_millis(3_600_000);
/// So many messages of a connection are remembered, and so many connections.
const REPLAY_IDS_MAX: usize = 1024;
const REPLAY_CHANNELS_MAX: usize = 10_000;

/// What the server and the agent share.
pub(super) struct Shared {
    pub(super) keys: Mutex<Keys>,
    seen: Mutex<ReplayWindow>,
}

impl Default for Shared {
    fn default() -> Self {
        let seen = ReplayWindow::new(REPLAY_SPAN, REPLAY_IDS_MAX, REPLAY_CHANNELS_MAX);
        Self { keys: Mutex::default(), seen: Mutex::new(seen) }
    }
}

/// A server on a thread of its own, until it is dropped.
pub(super) struct Inbox {
    messages: Mutex<Receiver<Incoming>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Door {
    shared: Arc<Shared>,
    messages: SyncSender<Incoming>,
}

impl Inbox {
    /// Listens; gives the address with the port that it has.
    pub(super) fn start(address: SocketAddr, shared: &Arc<Shared>) -> io::Result<(Self, SocketAddr)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind(address))?;
        let address = listener.local_addr()?;
        let (messages, received) = sync_channel(WAITING_MAX);
        let (stop, stopped) = oneshot::channel::<()>();
        let door = Door { shared: Arc::clone(shared), messages };
        let router = Router::new().route("/", post(deliver)).with_state(door);
        let thread = std::thread::Builder::new().name("agent inbox".to_owned()).spawn(move || {
            runtime.block_on(async {
                let serving = async { axum::serve(listener, router).await };
                tokio::select! {
                    Err(error) = serving => tracing::error!(%error, "agent.inbox"),
                    // Also when the agent is gone without a word.
                    _ = stopped => {}
                }
            });
            // Whoever is in the middle of sending is not waited for.
            runtime.shutdown_background();
        })?;
        let inbox = Self { messages: Mutex::new(received), stop: Some(stop), thread: Some(thread) };
        Ok((inbox, address))
    }

    /// What has come.
    pub(super) fn take(&self) -> Vec<Incoming> {
        lock(&self.messages).try_iter().collect()
    }

    /// The next message, if one comes in time.
    pub(super) fn wait(&self, within: Duration) -> Result<Option<Incoming>, AgentError> {
        match lock(&self.messages).recv_timeout(within) {
            Ok(incoming) => Ok(Some(incoming)),
            Err(RecvTimeoutError::Timeout) => Ok(None),
            Err(RecvTimeoutError::Disconnected) => Err(AgentError::Stopped),
        }
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It says itself why it failed.
            let _ = thread.join();
        }
    }
}

/// Takes an envelope. Refusals say what is wrong with it and nothing about our keys.
async fn deliver(State(door): State<Door>, headers: HeaderMap, body: Body) -> (StatusCode, String) {
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
        let keys = lock(&door.shared.keys);
        unpack(&body, |key| keys.get(key).map(Arc::as_ref))
    };
    let incoming = match opened {
        Err(error) => return refused(error.to_string()),
        Ok(opened) => match Incoming::read(&opened) {
            Err(error) => return refused(error.to_string()),
            Ok(incoming) => incoming,
        },
    };
    match lock(&door.shared.seen).check(incoming.channel(), incoming.message().id(), now()) {
        Replay::New => {}
        // Whoever sends again because an answer got lost is told that it came.
        Replay::Before(_) => return (StatusCode::ACCEPTED, String::new()),
        Replay::Full => {
            return (StatusCode::SERVICE_UNAVAILABLE, "too many connections: try again later".to_owned());
        }
    }
    match door.messages.try_send(incoming) {
        Ok(()) => (StatusCode::ACCEPTED, String::new()),
        Err(TrySendError::Full(incoming)) => {
            lock(&door.shared.seen).forget(&incoming.channel());
            (StatusCode::SERVICE_UNAVAILABLE, "too many messages wait: try again later".to_owned())
        }
        Err(TrySendError::Disconnected(_)) => {
            (StatusCode::SERVICE_UNAVAILABLE, "the agent has stopped".to_owned())
        }
    }
}
