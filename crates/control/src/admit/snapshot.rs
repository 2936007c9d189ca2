//! Snapshots of containers: their names, and going back to one.

use super::container;
use crate::{commits, proxy};
use api::{Error, Name, Result, Snapshot, Target, Timestamp, image::ImageRecord, spec::ContainerSpec};
use std::sync::Arc;

/// Longest name: it is part of an image's tag, and of lists.
const LONGEST: usize = 64;

/// A name typed for a new snapshot, or the first free one of `snap0`, `snap1`….
pub fn name(snapshot: &Snapshot, container: &Name, asked: Option<&str>) -> Result<String> {
    let taken = |name: &str| snapshot.images.contains_key(&commits::snapshot_name(container, name));
    let Some(asked) = asked else {
        let free = (0..).map(|number: u32| format!("snap{number}")).find(|name| !taken(name));
        return free.ok_or_else(|| Error::failed("all names are taken"));
    };
    let fits = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    if asked.is_empty() || asked.len() > LONGEST || !asked.chars().all(fits) || asked.starts_with(['.', '-']) {
        let rule = format!("use 1 to {LONGEST} of a-z, A-Z, 0-9, '.', '_' and '-', beginning with a letter, digit or '_'");
        return Err(Error::usage(format!("{asked:?} is not a snapshot name: {rule}")));
    }
    if taken(asked) {
        return Err(Error::conflict(format!("{container} has a snapshot {asked} already"))
            .hint(format!("choose another name, or: roost snapshot delete {container} {asked}")));
    }
    Ok(asked.to_owned())
}

/// The snapshots of a container, oldest first.
pub fn of<'a>(snapshot: &'a Snapshot, container: &Name) -> Vec<&'a Arc<ImageRecord>> {
    let own = |record: &&Arc<ImageRecord>| {
        record.is_ours() && record.snapshot().is_some() && record.made_of() == Some(container.as_str())
    };
    let mut all: Vec<_> = snapshot.images.values().filter(own).collect();
    all.sort_by_key(|record| record.created);
    all
}

/// One of them; else an error with those that are nearest to it.
pub fn find<'a>(snapshot: &'a Snapshot, container: &Name, name: &str) -> Result<&'a Arc<ImageRecord>> {
    let all = of(snapshot, container);
    if let Some(found) = all.iter().find(|record| record.snapshot() == Some(name)) {
        return Ok(found);
    }
    if all.is_empty() && !snapshot.containers.contains_key(container) {
        return Err(proxy::no_container(snapshot, &Target { server: None, name: container.clone(), slot: None }));
    }
    let mut known: Vec<&str> = all.iter().filter_map(|record| record.snapshot()).collect();
    known.sort_by_key(|known| std::cmp::Reverse(alike(known, name)));
    known.truncate(3);
    let error = Error::not_found(format!("{container} has no snapshot {name}"));
    Err(match known.as_slice() {
        [] => error.hint(format!("it has none; make one: roost snapshot {container}")),
        known => error.hint(format!("did you mean {}?", known.join(", "))),
    })
}

/// Letters that begin both.
fn alike(one: &str, other: &str) -> usize {
    one.chars().zip(other.chars()).take_while(|(a, b)| a == b).count()
}

/// The container as it was: made again of the snapshot's image, with its name, address and place. Its present instance goes
/// first, as if it had been removed: it was placed before this one was made.
pub fn restored(snapshot: &Snapshot, spec: &ContainerSpec, image: &ImageRecord, now: Timestamp) -> Result<ContainerSpec> {
    let placement = snapshot.container_plans.get(&spec.name).and_then(|plan| plan.placement.as_ref());
    if let Some(server) = placement.map(|placement| &placement.server).or(spec.server.as_ref()) {
        container::present(snapshot, server)?;
        if snapshot.servers.get(server).is_some_and(|server| server.draining) {
            return Err(Error::not_placed(format!("server {server} is drained, and would not take {} back", spec.name))
                .hint(format!("first: roost undrain {server}")));
        }
    }
    let mut fresh = ContainerSpec { template: commits::with_image(&spec.template, image), ..spec.clone() };
    if let Some(placement) = placement {
        fresh.server = Some(placement.server.clone());
        fresh.address = Some(placement.address);
        fresh.created = now.max(Timestamp(placement.placed.0 + 1));
    }
    Ok(fresh)
}
