//! Admission of lone containers.

use super::{image, place};
use api::{Error, Name, Result, Snapshot, Timestamp, server::Liveness, spec::ContainerSpec, validate, view::LimitsRequest};
use std::sync::Arc;

/// Checks a new container and fills in what was left open.
pub fn create(snapshot: &Snapshot, mut spec: ContainerSpec, now: Timestamp) -> Result<ContainerSpec> {
    validate::check(validate::pod(&spec.template))?;
    free(snapshot, &spec.name)?;
    let mut template = spec.template.as_ref().clone();
    image::resolve(snapshot, &mut template)?;
    spec.template = Arc::new(template);
    spec.created = now;
    if let Some(server) = &spec.server {
        present(snapshot, server)?;
    }
    address(snapshot, &spec)?;
    hosts(snapshot, &spec)?;
    let server = spec.server.as_ref();
    if let Some(first) = plan::port_conflicts(snapshot, &spec.template, &spec.name, plan::Reach::On(server)).into_iter().next() {
        return Err(Error::conflict(first));
    }
    let mut trial = snapshot.clone();
    trial.containers.insert(spec.name.clone(), Arc::new(spec.clone()));
    place(&trial, &spec.name, now)?;
    Ok(spec)
}

/// The container with other limits. Where it is there must be room for them.
pub fn limits(snapshot: &Snapshot, spec: &ContainerSpec, asked: &LimitsRequest, now: Timestamp) -> Result<ContainerSpec> {
    let mut template = spec.template.as_ref().clone();
    if let Some(first) = template.containers.first_mut() {
        first.limits = asked.applied_to(&first.limits);
    }
    validate::check(validate::pod(&template))?;
    let fresh = ContainerSpec { template: Arc::new(template), ..spec.clone() };
    // As if it were placed anew with them, where it is.
    let mut trial = snapshot.clone();
    let placement = trial.container_plans.remove(&spec.name).and_then(|plan| plan.placement.clone());
    if let Some(placement) = placement {
        let there =
            ContainerSpec { server: Some(placement.server), address: Some(placement.address), created: now, ..fresh.clone() };
        trial.containers.insert(spec.name.clone(), Arc::new(there));
        place(&trial, &spec.name, now)?;
    }
    Ok(fresh)
}

/// No container or job has this name, and none that is going away still holds it.
pub fn free(snapshot: &Snapshot, name: &Name) -> Result<()> {
    if snapshot.containers.contains_key(name) {
        return Err(Error::conflict(format!("there is a container {name} already")).hint(format!("see: roost show {name}")));
    }
    if snapshot.jobs.contains_key(name) {
        return Err(Error::conflict(format!("there is a job {name} already")).hint(format!("see: roost job show {name}")));
    }
    if snapshot.container_plans.contains_key(name) || snapshot.job_plans.contains_key(name) {
        return Err(Error::conflict(format!("{name} is still being removed")).hint("try again in a moment"));
    }
    Ok(())
}

/// A server of this name exists and answers.
pub fn present(snapshot: &Snapshot, server: &Name) -> Result<()> {
    if !snapshot.servers.contains_key(server) {
        return Err(no_server(snapshot, server));
    }
    match snapshot.liveness(server) {
        Liveness::Alive => Ok(()),
        Liveness::Lost => Err(Error::not_placed(format!("server {server} is down")).hint("see: roost server list")),
        Liveness::AgentAway | Liveness::Unknown => {
            Err(Error::not_placed(format!("the agent of server {server} does not answer")).hint("see: roost server list"))
        }
    }
}

/// The error for a server that is not there, with the ones that are.
pub fn no_server(snapshot: &Snapshot, server: &Name) -> Error {
    let known: Vec<_> = snapshot.servers.keys().map(Name::as_str).collect();
    Error::not_found(format!("no server {server}")).hint(format!("did you mean {}?", known.join(", ")))
}

/// Host names are names, outside the cluster's domain, and lead nowhere yet.
fn hosts(snapshot: &Snapshot, spec: &ContainerSpec) -> Result<()> {
    let domain = snapshot.cluster.as_ref().map_or("", |cluster| cluster.domain.as_str());
    validate::check(validate::hosts(&spec.hosts, domain))?;
    let others = || snapshot.containers.values().filter(|other| other.name != spec.name);
    match spec.hosts.iter().find_map(|host| Some((host, others().find(|other| other.hosts.contains(host))?))) {
        Some((host, other)) => Err(Error::conflict(format!("host name {host} leads to container {} already", other.name))),
        None => Ok(()),
    }
}

/// An address asked for lies in a server's subnet, in the asked server's if one was asked for, and is free.
fn address(snapshot: &Snapshot, spec: &ContainerSpec) -> Result<()> {
    let Some(address) = spec.address else { return Ok(()) };
    let mut homes = snapshot.servers.values().filter(|server| server.subnet.contains(&address));
    let fits = |server: &&Arc<api::server::ServerSpec>| spec.server.as_ref().is_none_or(|name| *name == server.name);
    let Some(home) = homes.find(fits) else {
        let subnets = match spec.server.as_ref().and_then(|name| snapshot.servers.get(name)) {
            Some(server) => format!("{} on {}", server.subnet, server.name),
            None => snapshot.servers.values().map(|s| format!("{} on {}", s.subnet, s.name)).collect::<Vec<_>>().join(", "),
        };
        return Err(Error::usage(format!("address {address} is outside the subnet: use one of {subnets}")));
    };
    let edge = [home.subnet.network(), home.gateway(), home.subnet.broadcast()];
    if edge.contains(&address) {
        return Err(Error::usage(format!("address {address} is the network's own: use another of {}", home.subnet)));
    }
    match snapshot.placements().find(|(_, placement)| placement.address == address) {
        Some((owner, _)) => Err(Error::conflict(format!("address {address} is taken by {owner}"))),
        None => Ok(()),
    }
}
