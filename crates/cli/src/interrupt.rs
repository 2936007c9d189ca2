//! Signals that ask a command to end, for commands with something to tidy up first.

use api::{Error, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Ctrl-C, a polite kill, and a terminal that is gone. As long as it exists none of them ends the program by itself.
pub struct Interrupt(Vec<Signal>);

impl Interrupt {
    /// Hears them from now on.
    pub fn listen() -> Result<Self> {
        let all = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
        let heard: std::io::Result<Vec<Signal>> = all.into_iter().map(signal).collect();
        heard.map(Self).map_err(|error| Error::failed(format!("cannot listen for signals: {error}")))
    }

    /// Waits for one.
    pub async fn wait(&mut self) {
        std::future::poll_fn(|cx| match self.0.iter_mut().any(|one| one.poll_recv(cx).is_ready()) {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        })
        .await;
    }

    /// Whether one has come.
    pub async fn came(&mut self) -> bool {
        tokio::select! {
            biased;
            () = self.wait() => true,
            () = std::future::ready(()) => false,
        }
    }
}
