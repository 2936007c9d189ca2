//! Supervised tasks: the only place that spawns. A component that ends takes its whole scope down, and says so.

use std::{future::Future, sync::Arc, time::Duration};
use tokio::sync::{Mutex, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A scope of tasks that live and end together. Cheap to clone.
#[derive(Clone)]
pub struct Scope {
    tracker: TaskTracker,
    stop: CancellationToken,
    failure: Arc<Mutex<Option<String>>>,
}

impl Default for Scope {
    fn default() -> Self {
        Self::new()
    }
}

impl Scope {
    /// An empty scope.
    pub fn new() -> Self {
        Self { tracker: TaskTracker::new(), stop: CancellationToken::new(), failure: Arc::default() }
    }

    /// Starts a component that lives as long as the scope. If it ends before, for whatever reason, the scope ends.
    pub fn component<F>(&self, name: &'static str, future: F)
    where
        F: Future<Output = Result<(), String>> + Send + 'static,
    {
        let scope = self.clone();
        self.launch(async move {
            let stop = scope.stop.clone();
            tokio::select! {
                // First: a component that watches the stop itself may end in the same moment, which is no failure.
                biased;
                () = stop.cancelled() => {}
                ended = future => {
                    let why = match ended {
                        Ok(()) => format!("{name} ended"),
                        Err(why) => format!("{name}: {why}"),
                    };
                    tracing::error!(component = name, why, "component ended");
                    scope.failure.lock().await.get_or_insert(why);
                    scope.stop.cancel();
                }
            }
        });
    }

    /// Starts a job of bounded length (a connection, a request) that may end by itself and is cut off when the scope ends.
    pub fn job<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.launch(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = future => {}
            }
        });
    }

    /// Starts a job that watches [`Scope::stopping`] itself and may take `grace` longer to end well; then it is cut off.
    pub fn graceful<F>(&self, grace: Duration, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let stop = self.stop.clone();
        self.launch(async move {
            let cut = async {
                stop.cancelled().await;
                tokio::time::sleep(grace).await;
            };
            tokio::select! {
                () = cut => {}
                () = future => {}
            }
        });
    }

    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    fn launch<F>(&self, future: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tracker.spawn(future);
    }

    /// Runs blocking work on the blocking pool and hands its result back.
    #[allow(clippy::disallowed_methods, reason = "this is the door")]
    pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
        tokio::task::spawn_blocking(work).await.map_err(|e| format!("blocking task: {e}"))
    }

    /// Asks everything in the scope to end.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    /// Resolves when the scope has been asked to end.
    pub async fn stopping(&self) {
        self.stop.cancelled().await;
    }

    /// Waits until everything has ended; the first component that ended by itself is the error.
    pub async fn ended(self) -> Result<(), String> {
        self.stop.cancelled().await;
        self.tracker.close();
        self.tracker.wait().await;
        self.failure.lock().await.take().map_or(Ok(()), Err)
    }
}

/// A signal without content: "look again". Any number of wakes before the next look become one.
#[derive(Clone)]
pub struct Signal(watch::Sender<u64>);

impl Default for Signal {
    fn default() -> Self {
        Self::new()
    }
}

impl Signal {
    /// A signal nobody waits for yet.
    pub fn new() -> Self {
        Self(watch::Sender::new(0))
    }
    /// Look again.
    pub fn wake(&self) {
        self.0.send_modify(|n| *n = n.wrapping_add(1));
    }
    /// A receiver; it has seen everything up to now.
    pub fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_component_that_ends_ends_the_scope_and_is_named() {
        let scope = Scope::new();
        scope.component("steady", std::future::pending());
        scope.component("frail", async { Err("broke".to_owned()) });
        assert_eq!(scope.ended().await, Err("frail: broke".to_owned()));
    }

    #[tokio::test]
    async fn stop_is_not_a_failure() {
        let scope = Scope::new();
        scope.component("steady", std::future::pending());
        scope.stop();
        assert_eq!(scope.ended().await, Ok(()));
    }
}
