//! Waiting for the signals that end a program.

/// The signals that end a program.
#[cfg(unix)]
pub(super) struct Told {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Told {
    pub(super) fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    pub(super) async fn wait(mut self) {
        std::future::poll_fn(|context| {
            let interrupt = self.interrupt.poll_recv(context).is_ready();
            let is_told = interrupt || self.terminate.poll_recv(context).is_ready();
            if is_told { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
    }
}

/// The signals that end a program.
#[cfg(not(unix))]
pub(super) struct Told;

#[cfg(not(unix))]
impl Told {
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self)
    }

    pub(super) async fn wait(self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}
