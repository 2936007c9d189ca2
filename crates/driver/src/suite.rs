//! What every implementation of a driver's trait must do, as functions that implementations call in their tests.
//!
//! An error says which promise was broken.

use crate::{
    Images, Network, Runtime,
    image::Upper,
    runtime::{PodRun, PodState},
};
use api::{
    dataplane::{Dataplane, PodLink},
    image::{COMMIT_LABEL, ConfigChange},
    quantity::Span,
};

/// Whether the suite passed, or the promise that was broken.
pub type Verdict = Result<(), String>;

fn promise(kept: bool, what: &str) -> Verdict {
    if kept { Ok(()) } else { Err(format!("broken promise: {what}")) }
}

fn works<T>(result: crate::Result<T>, what: &str) -> Result<T, String> {
    result.map_err(|error| format!("{what}: {error}"))
}

/// A pod is made, kept, frozen, stopped, started again with its own files, and removed. `pod` must run until it is stopped.
pub fn runtime(runtime: &dyn Runtime, pod: &PodRun) -> Verdict {
    let find = || works(runtime.observe(), "observe").map(|all| all.into_iter().find(|status| status.id == pod.id));
    promise(find()?.is_none(), "a pod that was never made is not observed")?;
    works(runtime.remove(pod.id), "remove of nothing")?;
    let made = works(runtime.prepare(pod), "prepare")?;
    promise(made.state == PodState::Stopped && made.exit_code.is_none(), "what is prepared has not run")?;
    promise(find()?.as_ref() == Some(&made), "what is prepared is observed so")?;
    let first = works(runtime.ensure(pod), "ensure")?;
    promise(first.state == PodState::Running && first.pid.is_some(), "ensure makes it run")?;
    let second = works(runtime.ensure(pod), "ensure again")?;
    promise(second.pid == first.pid, "ensure leaves a pod that runs alone")?;
    promise(works(runtime.prepare(pod), "prepare of what runs")?.pid == first.pid, "prepare leaves a pod that runs alone")?;
    promise(find()?.is_some_and(|status| status.pid == first.pid), "what runs is observed")?;
    works(runtime.freeze(pod.id, true), "freeze")?;
    promise(find()?.is_some_and(|status| status.state == PodState::Frozen), "what is frozen is observed so")?;
    works(runtime.freeze(pod.id, false), "thaw")?;
    let stopped = works(runtime.stop(pod.id, Span::seconds(1)), "stop")?;
    promise(stopped.state == PodState::Stopped && stopped.exit_code.is_some(), "stop says how it ended")?;
    works(runtime.stop(pod.id, Span::seconds(1)), "stop again")?;
    promise(find()?.is_some_and(|status| status.state == PodState::Stopped), "what is stopped is observed so")?;
    let third = works(runtime.ensure(pod), "ensure after stop")?;
    promise(third.state == PodState::Running && third.pid != first.pid, "ensure starts a stopped pod again")?;
    works(runtime.remove(pod.id), "remove of what runs")?;
    promise(find()?.is_none(), "what is removed is gone")
}

/// A dataplane and a link are made, found as they are, and removed.
pub fn network(network: &dyn Network, dataplane: &Dataplane, link: &PodLink) -> Verdict {
    let links = || works(network.observe_pods(), "observe_pods").map(|ids| ids.into_iter().filter(|id| *id == link.id).count());
    works(network.ensure(dataplane), "ensure")?;
    works(network.ensure(dataplane), "ensure again")?;
    works(network.remove_pod(link.id), "remove_pod of nothing")?;
    promise(links()? == 0, "a pod without link is not observed")?;
    let first = works(network.ensure_pod(link), "ensure_pod")?;
    let second = works(network.ensure_pod(link), "ensure_pod again")?;
    promise(first == second, "ensure_pod finds what it made")?;
    promise(links()? == 1, "a link is observed once")?;
    promise(works(network.connections(link.id), "connections")? == 0, "a new pod has no connections")?;
    works(network.traffic(link.id), "traffic")?;
    works(network.remove_pod(link.id), "remove_pod")?;
    promise(links()? == 0, "what is removed is gone")
}

/// An image is made of one that is here and of what a container changed: found, always the same, whole, and with its base
/// untouched. `upper` holds something; `base` has no label of ours.
pub fn commit(images: &dyn Images, base: &str, upper: &Upper) -> Verdict {
    let labelled =
        |name: &str| ConfigChange { labels: [(COMMIT_LABEL.to_owned(), name.to_owned())].into(), ..Default::default() };
    let commit = |base: &str, upper, change: &ConfigChange| works(images.commit(base, upper, change, &|_| {}), "commit");
    let absent = format!("sha256:{:064x}", 0);
    promise(images.commit(&absent, Some(upper), &ConfigChange::default(), &|_| {}).is_err(), "what is not here is no base")?;
    let before = works(images.find(base), "find")?.ok_or("the base is not here")?;
    let made = commit(base, Some(upper), &labelled("c1"))?;
    promise(works(images.find(&made.digest), "find")?.as_ref() == Some(&made), "what was made is found")?;
    promise(made.config.labels.get(COMMIT_LABEL).is_some_and(|name| name == "c1"), "labels are added")?;
    promise(made.layers.len() == before.layers.len() + 1, "what was changed is one more layer")?;
    promise(commit(base, Some(upper), &labelled("c1"))? == made, "the same change gives the same image")?;
    promise(commit(base, Some(upper), &labelled("c2"))?.digest != made.digest, "another configuration gives another image")?;
    promise(commit(base, None, &ConfigChange::default())?.layers == before.layers, "no change adds no layer")?;
    let next = commit(&made.digest, None, &ConfigChange::default())?;
    promise(!next.config.labels.contains_key(COMMIT_LABEL), "how an image came to be is not inherited")?;
    promise(works(images.find(base), "find")? == Some(before), "the base stays as it is")
}
