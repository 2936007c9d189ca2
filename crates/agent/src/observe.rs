//! Looking at what is really there: at the start, whenever a runtime says that something changed, and now and then.

use crate::{
    changes::ChangedReceiver,
    engine::Inner,
    health,
    ledger::Record,
    state::{Pod, State},
};
use api::{name::InstanceId, quantity::Timestamp, spec::ContainerKind};
use base::{backoff::Backoff, supervise::Scope};
use driver::runtime::PodStatus;
use std::{collections::BTreeMap, sync::Arc, time::Duration};
use tokio::time::Instant;

/// Looks are at most so far apart: a net below lost calls, never needed when all is well.
const PERIOD: Duration = Duration::from_secs(10);
/// Looks are at least so far apart, so that a hundred ends are a few looks.
const PAUSE: Duration = Duration::from_millis(5);

type Observed = BTreeMap<InstanceId, (ContainerKind, PodStatus)>;

/// The first look, repeated until it works: without it the agent would take what runs for absent.
pub async fn first(inner: &Arc<Inner>) -> Result<(), String> {
    let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
    loop {
        match everything(inner).await {
            Ok(()) => return Ok(()),
            Err(why) => tracing::error!(why, "cannot see what runs here yet"),
        }
        tokio::time::sleep(backoff.pause()).await;
    }
}

async fn everything(inner: &Arc<Inner>) -> Result<(), String> {
    let images = Arc::clone(&inner.drivers.images);
    let images = Scope::blocking(move || images.list()).await?.map_err(|e| format!("images: {e}"))?;
    let network = Arc::clone(&inner.drivers.network);
    let links = Scope::blocking(move || network.observe_pods()).await?.map_err(|e| format!("network: {e}"))?;
    let observed = observe(inner).await?;
    let mut state = inner.lock();
    state.images = images.into_iter().map(|image| (image.digest.clone(), Arc::new(image))).collect();
    for id in links {
        state.pods.entry(id).or_insert_with(|| Pod::new(Record::new(id.to_string(), ContainerKind::App))).linked = true;
    }
    drop(state);
    apply(inner, observed, None);
    Ok(())
}

async fn observe(inner: &Arc<Inner>) -> Result<Observed, String> {
    let mut observed = Observed::new();
    for (kind, runtime) in inner.runtimes.clone() {
        let pods = Scope::blocking(move || runtime.observe()).await?.map_err(|e| format!("{kind:?} containers: {e}"))?;
        observed.extend(pods.into_iter().map(|status| (status.id, (kind, status))));
    }
    Ok(observed)
}

/// Looks for ever.
pub async fn run(inner: Arc<Inner>, changed: ChangedReceiver) -> Result<(), String> {
    let mut wakes = changed.listen();
    let mut again = !changed.take().is_empty();
    loop {
        if !again {
            tokio::select! {
                woken = wakes.changed() => woken.map_err(|_| "nobody can say any more that a pod changed".to_owned())?,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
        changed.take();
        let epochs = inner.lock().epochs();
        again = match observe(&inner).await {
            Ok(observed) => {
                inner.problem("observe", None);
                apply(&inner, observed, Some(&epochs))
            }
            Err(why) => {
                inner.problem("observe", Some(why));
                true
            }
        };
        tokio::time::sleep(if again { PAUSE * 4 } else { PAUSE }).await;
    }
}

/// Takes what was seen, except about pods that were being changed meanwhile: true when there were such.
fn apply(inner: &Arc<Inner>, mut observed: Observed, epochs: Option<&BTreeMap<InstanceId, u64>>) -> bool {
    let now = base::env::timer();
    let mut state = inner.lock();
    for (id, (kind, _)) in &observed {
        state.pods.entry(*id).or_insert_with(|| Pod::new(Record::new(id.to_string(), *kind))).record.kind = *kind;
    }
    let stale = |id: &InstanceId, pod: &Pod| {
        pod.acting || epochs.is_some_and(|epochs| epochs.get(id).copied().unwrap_or(pod.epoch) != pod.epoch)
    };
    let ids: Vec<InstanceId> = state.pods.iter().filter(|(id, pod)| !stale(id, pod)).map(|(id, _)| *id).collect();
    let skipped = ids.len() < state.pods.len();
    let mut touched = Vec::new();
    for id in ids {
        let status = observed.remove(&id).map(|(_, status)| status);
        if let Some(begun) = update(&mut state, id, status, now) {
            touched.push((id, begun));
        }
    }
    state.expect();
    drop(state);
    for (id, (run, checks)) in touched {
        inner.start_checks(id, run, checks);
        inner.dirty.wake();
        if epochs.is_some() {
            inner.kick(id);
        }
    }
    skipped
}

/// One pod as it was seen. When that is news: the number of its run and how many checks begin.
fn update(state: &mut State, id: InstanceId, status: Option<PodStatus>, now: Instant) -> Option<(u64, usize)> {
    let checks = state.told(id).map(|told| health_of(&told, state, id)).unwrap_or_default();
    let pod = state.pods.get_mut(&id).filter(|pod| pod.seen != status)?;
    let (was, started) = (pod.is_up(), status.as_ref().and_then(|status| status.started));
    pod.saw(status, now);
    if was || !pod.is_up() {
        return Some((pod.run, 0));
    }
    pod.adopt();
    let count = checks.len();
    let age = started.map_or(Duration::ZERO, |started| Timestamp(base::env::now_millis()).since(started).duration());
    pod.begin(checks, now, age);
    Some((pod.run, count))
}

fn health_of(told: &crate::steps::Told<'_>, state: &State, id: InstanceId) -> Vec<health::Tracker> {
    let healthy = state.pods.get(&id).is_some_and(|pod| pod.remembered_healthy());
    health::trackers(told.template, healthy)
}
