//! From what a user typed to the agent that has it.

use crate::{Control, agents};
use api::{
    Error, Name, Result, Snapshot, Target,
    plan::{Placement, Wanted},
    server::ServerSpec,
};
use wire::client::Client;

/// The placement a target means: a lone container, else an instance by slot, or the only instance of a job.
pub fn resolve<'a>(snapshot: &'a Snapshot, target: &Target) -> Result<(&'a Name, &'a Placement)> {
    if let Some(server) = &target.server
        && !snapshot.servers.contains_key(server)
    {
        return Err(crate::admit::container::no_server(snapshot, server));
    }
    // A container may be the base of a job of its name: alone, the name means the container.
    let slot = target.slot.or(snapshot.containers.contains_key(&target.name).then_some(0));
    let of_name = snapshot
        .placements()
        .filter(|(owner, placement)| **owner == target.name && slot.is_none_or(|slot| placement.slot == slot));
    let mut found: Vec<_> =
        of_name.filter(|(_, placement)| target.server.as_ref().is_none_or(|server| placement.server == *server)).collect();
    // During a replacement a slot has two instances: the one that serves is meant, else the newest.
    found.sort_by_key(|(_, p)| (p.slot, p.wanted != Wanted::Run, !snapshot.serves(p), std::cmp::Reverse(p.id)));
    found.dedup_by_key(|(_, p)| p.slot);
    match found.as_slice() {
        [one] => Ok(*one),
        [] => Err(no_container(snapshot, target)),
        several => {
            let names: Vec<_> = several.iter().take(10).map(|(owner, p)| format!("{owner}/{}", p.slot)).collect();
            Err(Error::usage(format!("{target} has {} instances: say which", several.len()))
                .hint(format!("one of {}", names.join(", "))))
        }
    }
}

/// The error for a container that is not there, with the nearest known ones.
pub fn no_container(snapshot: &Snapshot, target: &Target) -> Error {
    if let (Some(slot), Some(job)) = (target.slot, snapshot.jobs.get(&target.name)) {
        let mut placements = snapshot.job_plans.get(&target.name).into_iter().flat_map(|plan| &plan.placements);
        if let (Some(server), Some(there)) = (&target.server, placements.find(|placement| placement.slot == slot)) {
            return Error::not_found(format!("{}/{slot} is on {}, not on {server}", target.name, there.server));
        }
        return Error::not_found(format!("job {} has no instance {slot} placed", target.name))
            .detail(format!("it asks for {}", job.count))
            .hint(format!("see: roost why {target}"));
    }
    if let (Some(slot), Some(spec)) = (target.slot, snapshot.containers.get(&target.name)) {
        let name = &spec.name;
        return Error::not_found(format!("{name} is a container, not a job: it has no instance {slot}"))
            .hint(format!("see: roost show {name}"));
    }
    if let Some(spec) = snapshot.containers.get(&target.name) {
        let plan = snapshot.container_plans.get(&target.name).and_then(|plan| plan.placement.as_ref());
        return match (plan, &target.server) {
            (Some(placement), Some(server)) if placement.server != *server => {
                Error::not_found(format!("container {} is on {}, not on {server}", spec.name, placement.server))
            }
            _ => Error::not_placed(format!("container {} has no place yet", spec.name))
                .hint(format!("see: roost why {}", spec.name)),
        };
    }
    let start = target.name.as_str().chars().next();
    let near: Vec<_> = snapshot
        .containers
        .keys()
        .chain(snapshot.jobs.keys())
        .filter(|name| name.as_str().chars().next() == start)
        .take(5)
        .map(Name::as_str)
        .collect();
    let error = Error::not_found(format!("no container {target}"));
    if near.is_empty() { error.hint("see: roost ls") } else { error.hint(format!("did you mean {}?", near.join(", "))) }
}

/// The agent of a server.
pub fn agent(control: &Control, snapshot: &Snapshot, server: &Name) -> Result<Client> {
    let spec = snapshot.servers.get(server).ok_or_else(|| crate::admit::container::no_server(snapshot, server))?;
    control.agents.client(spec).map_err(|error| agents::explain(server, error))
}

/// A server for an operation that any could do: the asked one, else this manager's own.
pub fn pick<'a>(control: &Control, snapshot: &'a Snapshot, asked: Option<&Name>) -> Result<&'a ServerSpec> {
    let name = asked.unwrap_or(&control.server);
    crate::admit::container::present(snapshot, name)?;
    snapshot.servers.get(name).map(AsRef::as_ref).ok_or_else(|| crate::admit::container::no_server(snapshot, name))
}
