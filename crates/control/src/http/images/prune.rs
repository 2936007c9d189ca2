//! What nothing needs goes: content on every server, and, when asked for, names nothing is made from.

use super::{Answer, Lines, ask_at};
use crate::{
    Control, admit,
    http::write::{Decision, change},
    world::World,
};
use api::{Bytes, Error, Result, Timestamp, key, quantity::Span, registry::ManifestRecord, spec::PodTemplate, view::Pruned};
use axum::{
    Json,
    extract::{Query, State},
};
use futures_util::future::join_all;
use schemars::JsonSchema;
use serde::Deserialize;
use std::{collections::BTreeSet, sync::Arc, time::Duration};
use tokio::{
    sync::{OwnedRwLockWriteGuard, oneshot},
    time::timeout,
};

/// A manifest without a tag stays so long: whoever pushed it may be about to push the index that names it.
const UNTAGGED: Span = Span::seconds(3600);

/// A server may take so long to end copies that are on their way to it, and to put out of sight what nothing needs.
const SWEPT: Duration = Duration::from_secs(30);

/// So long the answer waits for disks: a minute less than a client waits for an answer ([`wire::client::ANSWER_TIMEOUT`]).
const GONE: Duration = Duration::from_secs(240);

/// How much is to go.
#[derive(Deserialize, JsonSchema)]
pub struct Pruning {
    /// Also names of images that nothing is made from.
    #[serde(default)]
    all: bool,
    /// Only say what would be done.
    #[serde(default)]
    dry_run: bool,
}

/// Digests of everything that must stay: what a name leads to, what was pushed, what containers and jobs are made from or could
/// be rolled back to.
pub fn keep(world: &World) -> BTreeSet<String> {
    let snapshot = &world.snapshot;
    let named = snapshot.images.values().flat_map(|record| record.index.iter().chain([&record.digest]).cloned());
    let pushed = world.manifests.values().map(|record| record.held.digest.clone());
    let lone = snapshot.containers.values().map(|spec| &spec.template);
    let jobs = snapshot.jobs.values();
    let jobs = jobs.flat_map(|job| std::iter::once(&job.template).chain(job.history.iter().map(|old| &old.template)));
    let used = lone.chain(jobs).flat_map(|template| digests(template));
    named.chain(pushed).chain(used).collect()
}

fn digests(template: &PodTemplate) -> impl Iterator<Item = String> + '_ {
    template.containers.iter().filter_map(|container| container.image.digest.clone())
}

/// `POST /v1/images/prune?all=`
pub async fn prune(State(control): State<Control>, Query(asked): Query<Pruning>) -> Answer<Pruned> {
    let coming = || Error::conflict("images are on their way: try again when they are here");
    let alone = Arc::clone(&control.coming).try_write_owned().map_err(|_| coming())?;
    let changed = change(&control, asked.dry_run, |world| Ok(names(world, asked.all)));
    let changed = changed.await?;
    let names = if changed.unchanged { 0 } else { changed.summary.len() };
    if asked.dry_run {
        return Ok(Json(Pruned { names, freed: Bytes(0) }));
    }
    // On its own, so that nothing is named again before every server is done with what was unneeded, though nobody listens.
    let (sender, receiver) = oneshot::channel();
    let own = control.clone();
    control.scope.job(async move {
        let _ = sender.send(everywhere(&own, alone).await);
    });
    let freed = receiver.await.map_err(|_| Error::unreachable("the manager is being stopped; what it began goes on"))?;
    Ok(Json(Pruned { names, freed }))
}

/// Has all servers remove what is not needed, at once. Images may come again as soon as it is out of sight on each.
async fn everywhere(control: &Control, alone: OwnedRwLockWriteGuard<()>) -> Bytes {
    let world = control.world.now();
    let keep: Vec<String> = keep(&world).into_iter().collect();
    let sweeping = world.snapshot.reports.keys().map(|server| {
        let asked = ask_at(control, (&world.snapshot, server), "prune", &keep);
        async move { (server, timeout(SWEPT, asked).await.unwrap_or_else(|_| Err(Error::unreachable("it does not answer")))) }
    });
    let swept: Vec<(_, Result<Lines<u64>>)> = join_all(sweeping).await;
    drop(alone);
    // An answer begins when nothing else is in sight; its one line is the number of bytes that went.
    let leaving = swept.into_iter().map(|(server, left)| async move {
        let freed = match left {
            Ok(mut left) => {
                let late = |_| Some(Err(Error::unreachable("it is still at it")));
                let line = timeout(GONE, left.next()).await.unwrap_or_else(late);
                line.unwrap_or_else(|| Err(Error::unreachable("it went away")))
            }
            Err(error) => Err(error),
        };
        freed.unwrap_or_else(|error| {
            tracing::warn!(%server, %error, "content is not known to be gone");
            0
        })
    });
    Bytes(join_all(leaving).await.into_iter().sum())
}

/// Names and manifests that go.
fn names(world: &World, all: bool) -> Decision {
    let snapshot = &world.snapshot;
    let (mut decision, mut gone) = (Decision::default(), BTreeSet::new());
    let unused = snapshot.images.values().filter(|record| {
        all && !record.is_ours() && !in_use(world, &record.digest) && admit::image::user(snapshot, record).is_none()
    });
    for record in unused {
        decision = decision.delete(world, format!("{}{}", key::IMAGES, record.name));
        decision.summary.push(format!("delete image {}", record.name));
        gone.insert(record.name.as_str());
    }
    let now = Timestamp(base::env::now_millis());
    let left = snapshot.images.values().filter(|record| !gone.contains(record.name.as_str()));
    let mut needed: BTreeSet<&str> = left.flat_map(|record| [record.digest.as_str(), record.target()]).collect();
    // What an index that stays consists of stays, and so does what is about something that stays.
    for _ in 0..3 {
        let stays = |record: &&Arc<ManifestRecord>, needed: &BTreeSet<&str>| {
            let held = &record.held;
            needed.contains(held.digest.as_str()) || held.subject.as_deref().is_some_and(|subject| needed.contains(subject))
        };
        let more: Vec<&Arc<ManifestRecord>> = world.manifests.values().filter(|record| stays(record, &needed)).collect();
        needed.extend(more.iter().flat_map(|r| r.held.manifests.iter().map(String::as_str).chain([r.held.digest.as_str()])));
    }
    for (name, record) in &world.manifests {
        let fresh = record.pushed.after(UNTAGGED) > now;
        let digest = record.held.digest.as_str();
        if !needed.contains(digest) && !in_use(world, digest) && (all || !fresh) {
            decision = decision.delete(world, format!("{}{name}", key::REGISTRY_MANIFESTS));
            decision.summary.push(format!("delete manifest {name}"));
        }
    }
    Decision { unchanged: decision.writes.is_empty(), ..decision }
}

/// Something is made from it, or could be rolled back to it.
fn in_use(world: &World, digest: &str) -> bool {
    let snapshot = &world.snapshot;
    let lone = snapshot.containers.values().any(|spec| digests(&spec.template).any(|used| used == digest));
    lone || snapshot.jobs.values().any(|job| {
        let old = job.history.iter().any(|old| digests(&old.template).any(|used| used == digest));
        old || digests(&job.template).any(|used| used == digest)
    })
}
