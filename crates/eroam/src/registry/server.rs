//! Serves routes over HTTP on threads of its own, so that the rest of the process need not be asynchronous.

use axum::Router;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// So long a request may take once the server is told to stop.
const STOP_WITHIN: Duration = Duration::from_secs(5);

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

/// A running server. Dropping it stops it.
pub struct Server {
    address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves at an address; port 0 takes any that is free.
    ///
    /// # Errors
    /// [`ServeError`].
    pub fn start(listen: SocketAddr, router: Router) -> Result<Self, ServeError> {
        let failed = |source| ServeError::Listen { address: listen, source };
        let listener = TcpListener::bind(listen).map_err(failed)?;
        listener.set_nonblocking(true).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("registry")
            .enable_all()
            .build()
            .map_err(ServeError::Thread)?;
        let (stop, stopped) = oneshot::channel();
        let run = move || {
            runtime.block_on(serve(listener, router, stopped));
            runtime.shutdown_timeout(STOP_WITHIN);
        };
        let thread = std::thread::Builder::new().name("registry".to_owned()).spawn(run);
        let thread = thread.map_err(ServeError::Thread)?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops it: requests that are under way have a few seconds.
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

async fn serve(listener: TcpListener, router: Router, stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "registry.listen");
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
    if tokio::time::timeout(STOP_WITHIN, serving).await.is_err() {
        tracing::info!("registry.stopped_with_requests_under_way");
    }
}
