//! Published ports: who has one already.

use api::{
    Name, Snapshot,
    spec::{ContainerSpec, PodTemplate, Protocol, PublishedPort},
};

/// Where somebody wants ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach<'a> {
    /// On every server: a job.
    Everywhere,
    /// On the server of a lone container; none while it is not chosen.
    On(Option<&'a Name>),
}

impl Reach<'_> {
    fn meets(self, place: Option<&Name>) -> bool {
        match self {
            Self::Everywhere => true,
            Self::On(server) => place.is_some() && place == server,
        }
    }
}

/// Complaints about ports that `who` would publish and somebody else has: a sentence each, empty when all are free.
///
/// A job needs its ports on every server. A lone container needs them on its own; while that is not chosen yet, only the jobs' stand
/// against it, for the planner will find it a server where they are free.
pub fn port_conflicts(snapshot: &Snapshot, template: &PodTemplate, who: &Name, reach: Reach<'_>) -> Vec<String> {
    let mut out = Vec::new();
    for port in &template.publish {
        for (other, spec) in snapshot.jobs.iter().filter(|(other, _)| *other != who) {
            if publishes(&spec.template, port) {
                out.push(format!("port {} is taken on every server by job {other}: choose another", show(port)));
            }
        }
        for (other, spec) in snapshot.containers.iter().filter(|(other, _)| *other != who) {
            let place = place(snapshot, spec);
            if reach.meets(place) && publishes(&spec.template, port) {
                let on = place.map_or_else(String::new, |server| format!(" on {server}"));
                out.push(format!("port {} is taken{on} by container {other}: choose another", show(port)));
            }
        }
    }
    out
}

fn publishes(template: &PodTemplate, port: &PublishedPort) -> bool {
    template.publish.iter().any(|other| (other.host, other.protocol) == (port.host, port.protocol))
}

/// Where a container is, or will be.
fn place<'a>(snapshot: &'a Snapshot, spec: &'a ContainerSpec) -> Option<&'a Name> {
    let placed = snapshot.container_plans.get(&spec.name).and_then(|plan| plan.placement.as_ref());
    placed.map(|placement| &placement.server).or(spec.server.as_ref())
}

fn show(port: &PublishedPort) -> String {
    match port.protocol {
        Protocol::Tcp => port.host.to_string(),
        Protocol::Udp => format!("{}/udp", port.host),
    }
}
