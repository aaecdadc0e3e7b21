//! Serves routes over HTTP on threads of its own, so that the rest of the process need not be asynchronous.
//!
//! What it deliberately does not do: TLS. Who serves others than this machine puts a proxy before it.

use axum::Router;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;

/// So long a request may usually take once the server is told to stop.
pub const STOP_WITHIN: Duration = Duration::from_secs(5);

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address cannot be had.
    #[error("cannot listen at {address}: choose another port, or stop the program that uses it")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// No threads.
    #[error("no thread can be started for the server")]
    Thread(#[source] io::Error),
}

/// An address that is taken: whoever connects waits until somebody serves.
pub struct Bound {
    address: SocketAddr,
    listener: TcpListener,
}

impl Bound {
    /// Takes an address; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`ServeError::Listen`].
    pub fn take(listen: SocketAddr) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self { address, listener })
    }

    /// Which.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves at an address; port 0 takes any that is free. `name` is what its threads and its log lines are called, and
    /// `stop_within` so long requests that are under way may still take once it is told to stop: zero waits for nobody.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(
        name: &'static str,
        listen: SocketAddr,
        router: Router,
        stop_within: Duration,
    ) -> Result<Self, ServeError> {
        Self::serve(name, Bound::take(listen)?, router, stop_within)
    }

    /// As [`Server::start`], at an address that was taken.
    ///
    /// # Errors
    /// [`ServeError::Thread`].
    pub fn serve(
        name: &'static str,
        bound: Bound,
        router: Router,
        stop_within: Duration,
    ) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(ServeError::Thread)?;
        Self::run(name, bound, router, stop_within, runtime)
    }

    /// As [`Server::start`], with a thread for everything: for a server that one process may have a thousand of, and whose
    /// requests are handled at once.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start_small(
        name: &'static str,
        listen: SocketAddr,
        router: Router,
        stop_within: Duration,
    ) -> Result<Self, ServeError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .thread_name(name)
            .enable_all()
            .build()
            .map_err(ServeError::Thread)?;
        Self::run(name, Bound::take(listen)?, router, stop_within, runtime)
    }

    fn run(
        name: &'static str,
        bound: Bound,
        router: Router,
        stop_within: Duration,
        runtime: Runtime,
    ) -> Result<Self, ServeError> {
        let Bound { address, listener } = bound;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(serve(name, listener, router, stopped, stop_within));
            runtime.shutdown_timeout(stop_within);
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(run);
        let thread = thread.map_err(ServeError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: requests that are under way have the time that was given at the start.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

async fn serve(
    name: &'static str,
    listener: TcpListener,
    router: Router,
    stopped: oneshot::Receiver<()>,
    stop_within: Duration,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(name, %error, "server.listen");
            return;
        }
    };
    let (end, ended) = oneshot::channel::<()>();
    let serving = axum::serve(listener, router).with_graceful_shutdown(async move {
        let _ = ended.await;
    });
    let serving = tokio::spawn(async move { serving.await });
    // Told to, or forgotten.
    let _ = stopped.await;
    drop(end);
    if tokio::time::timeout(stop_within, serving).await.is_err() {
        tracing::info!(name, "server.stopped_with_requests_under_way");
    }
}
