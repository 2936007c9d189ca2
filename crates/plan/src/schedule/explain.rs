//! Why nothing fits, in words and with counts. Looks at every server, so only when nothing was found.

use super::{
    Slot, View,
    fit::{Reason, fit},
};
use crate::fleet::Closed;
use api::{Bytes, Cpu, spec::Protocol};

/// A reason with the servers it holds for.
struct Count<'v> {
    reason: Reason<'v>,
    servers: Vec<usize>,
}

/// `3 servers: not enough memory (largest free: 11.2G on s3; each instance asks for 64G)`, `1: draining`: the most frequent
/// first. A server that fits is not counted.
pub(crate) fn explain(view: View<'_, '_>, slot: &Slot) -> Vec<String> {
    if view.fleet.hosts.is_empty() {
        return vec!["the cluster has no servers".to_owned()];
    }
    let mut counts = counts(view, slot);
    counts.sort_by_key(|count| std::cmp::Reverse(count.servers.len()));
    let mut lines = Vec::new();
    for count in &counts {
        let number = count.servers.len();
        let unit = match (lines.is_empty(), number) {
            (true, 1) => " server",
            (true, _) => " servers",
            (false, _) => "",
        };
        lines.push(format!("{number}{unit}: {}", words(view, count)));
    }
    lines
}

/// The lines of [`explain`] as one clause.
pub(crate) fn summary(lines: &[String]) -> String {
    lines.join("; ")
}

fn counts<'v>(view: View<'v, '_>, slot: &Slot) -> Vec<Count<'v>> {
    let mut counts: Vec<Count<'_>> = Vec::new();
    for server in 0..view.fleet.hosts.len() {
        let Err(reason) = fit(view, server, slot) else { continue };
        match counts.iter_mut().find(|count| count.reason == reason) {
            Some(count) => count.servers.push(server),
            None => counts.push(Count { reason, servers: vec![server] }),
        }
    }
    counts
}

fn words(view: View<'_, '_>, count: &Count<'_>) -> String {
    let hosts = &view.fleet.hosts;
    match count.reason {
        Reason::Closed(Closed::Lost) => "lost".to_owned(),
        Reason::Closed(Closed::Away) => "agent away".to_owned(),
        Reason::Closed(Closed::Unknown) => "not heard of yet".to_owned(),
        Reason::Closed(Closed::Draining) => "draining".to_owned(),
        Reason::NotListed => "not among the servers asked for".to_owned(),
        Reason::Label(key, value) => format!("without label {key}={value}"),
        Reason::Group(anchor) => {
            let group = view.request.rules.group.as_ref().map_or("", |group| group.as_str());
            format!("group {group} is on {}", hosts[anchor].spec.name)
        }
        Reason::Avoid(enemy) => format!("{enemy} is there, which {} must not meet", view.request.who),
        Reason::PerServer(most) => format!("at most {most} per server"),
        Reason::Port(port, protocol) => taken_port(view, count.servers[0], (port, protocol)),
        Reason::AddressOutside => format!("address {} is not one of its subnet's", asked_address(view)),
        Reason::AddressTaken => format!("address {} is taken", asked_address(view)),
        Reason::NoAddress => "no address free".to_owned(),
        Reason::Memory | Reason::Cpu => shortage(view, count),
    }
}

fn asked_address(view: View<'_, '_>) -> String {
    view.request.address.map_or_else(String::new, |address| address.to_string())
}

fn taken_port(view: View<'_, '_>, server: usize, port: (u16, Protocol)) -> String {
    let owner = view.fleet.port_owner(server, port).unwrap_or("another");
    format!("port {} taken by {owner}", port.0)
}

fn shortage(view: View<'_, '_>, count: &Count<'_>) -> String {
    let hosts = &view.fleet.hosts;
    let who = if view.request.lone { "it asks" } else { "each instance asks" };
    // The first of equals, so that the text is the same for the same state.
    let largest = |free: &dyn Fn(usize) -> u64| {
        count.servers.iter().copied().min_by_key(|server| std::cmp::Reverse(free(*server))).unwrap_or(count.servers[0])
    };
    if count.reason == Reason::Memory {
        let server = largest(&|server| hosts[server].memory_free());
        let (free, name) = (Bytes(hosts[server].memory_free()), &hosts[server].spec.name);
        return format!("not enough memory (largest free: {free} on {name}; {who} for {})", Bytes(view.request.room.memory));
    }
    let server = largest(&|server| u64::from(hosts[server].cpu_free()));
    let (free, name) = (Cpu(hosts[server].cpu_free()), &hosts[server].spec.name);
    format!("not enough cpu (largest free: {free} on {name}; {who} for {})", Cpu(view.request.room.cpu))
}
