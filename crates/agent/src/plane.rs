//! Keeps the kernel's network as the assignment says: at once when that changes, and verified now and then.

use crate::{dataplane, engine::Inner};
use api::dataplane::Dataplane;
use base::{
    reconcile::{self, Outcome},
    supervise::Scope,
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;

/// The network is made true again this often, in case somebody else changed it.
const VERIFY: Duration = Duration::from_secs(30);

/// Looks for ever.
pub async fn run(inner: Arc<Inner>) -> Result<(), String> {
    reconcile::run(&inner.network, VERIFY, || look(Arc::clone(&inner))).await
}

async fn look(inner: Arc<Inner>) -> Outcome {
    let Some((generation, wanted)) = wanted(&inner) else { return Outcome::Settled };
    let done = match wanted {
        Some(wanted) => ensure(&inner, wanted).await,
        None => Ok(()),
    };
    match done {
        Ok(()) => {
            inner.lock().current = generation;
            inner.dirty.wake();
            Outcome::Settled
        }
        Err(why) => {
            tracing::warn!(why, "network");
            inner.problem("network", Some(format!("network: {why}")));
            Outcome::Failed
        }
    }
}

/// The generation this server is told of, and what has to be made for it: nothing when it is what was made lately.
fn wanted(inner: &Inner) -> Option<(u64, Option<Dataplane>)> {
    let state = inner.lock();
    let told = state.told.as_ref()?;
    let wanted = dataplane::dataplane(told);
    let fresh = |(made, at): &(Dataplane, Instant)| *made == wanted && base::env::timer().saturating_duration_since(*at) < VERIFY;
    Some((told.generation, (!state.applied.as_ref().is_some_and(fresh)).then_some(wanted)))
}

async fn ensure(inner: &Arc<Inner>, wanted: Dataplane) -> Result<(), String> {
    let now = base::env::timer();
    let network = Arc::clone(&inner.drivers.network);
    let verify = inner.lock().applied.as_ref().is_none_or(|(_, at)| now.saturating_duration_since(*at) >= VERIFY);
    let (made, result) = Scope::blocking(move || {
        let result = network.ensure(&wanted);
        let problems = if verify { Some(network.problems()) } else { None };
        (wanted, result.map(|()| problems))
    })
    .await?;
    let problems = result.map_err(|error| error.message)?;
    inner.lock().applied = Some((made, now));
    inner.problem("network", None);
    if let Some(problems) = problems {
        inner.problem("firewall", Some(problems.join("; ")).filter(|text| !text.is_empty()));
    }
    inner.kick_all();
    Ok(())
}
