//! The reconcile loop: woken by time or by a signal, never by the signal's content; never two at once.

use crate::{backoff::Backoff, supervise::Signal};
use std::{future::Future, time::Duration};

/// What one look came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Everything is as it should be, or will be without us. Look again at the next wake or period.
    Settled,
    /// Look again after this time at the latest.
    Again(Duration),
    /// It failed and was logged: look again after a pause that grows.
    Failed,
}

/// Looks for ever: at once, then after each wake, and at least every `period`.
pub async fn run<F, Fut>(signal: &Signal, period: Duration, mut look: F) -> Result<(), String>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Outcome>,
{
    let mut wakes = signal.listen();
    let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5).min(period));
    loop {
        wakes.mark_unchanged();
        let pause = match look().await {
            Outcome::Settled => {
                backoff.reset();
                period
            }
            Outcome::Again(after) => {
                backoff.reset();
                after.min(period)
            }
            Outcome::Failed => backoff.pause(),
        };
        tokio::select! {
            changed = wakes.changed() => changed.map_err(|_| "signal dropped".to_owned())?,
            () = tokio::time::sleep(pause) => {}
        }
    }
}
