//! The filters: may this go there, and if not, why not.

use super::{Slot, View};
use crate::{address::is_usable, fleet::Closed};
use api::{
    Name,
    spec::{Protocol, PublishedPort},
};

/// Why a server does not take an instance. In the order in which they are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason<'r> {
    Closed(Closed),
    /// Not among the servers asked for.
    NotListed,
    /// It lacks a label.
    Label(&'r str, &'r str),
    /// Its group is on that server.
    Group(usize),
    /// This one is there.
    Avoid(&'r Name),
    /// So many are there.
    PerServer(u32),
    /// Somebody has the port.
    Port(u16, Protocol),
    /// The address asked for is not one of its subnet's.
    AddressOutside,
    /// The address asked for is somebody's.
    AddressTaken,
    /// Its subnet is full.
    NoAddress,
    Memory,
    Cpu,
}

/// May the request go to this server?
pub(crate) fn fit<'v>(view: View<'v, '_>, server: usize, slot: &Slot) -> Result<(), Reason<'v>> {
    view.fleet.note_look();
    let host = &view.fleet.hosts[server];
    if let Some(closed) = host.closed {
        return Err(Reason::Closed(closed));
    }
    rules(view, server, slot)?;
    network(view, server)?;
    let room = view.request.room;
    match host.has_room(room) {
        true => Ok(()),
        false if room.memory > host.memory_free() => Err(Reason::Memory),
        false => Err(Reason::Cpu),
    }
}

fn rules<'v>(view: View<'v, '_>, server: usize, slot: &Slot) -> Result<(), Reason<'v>> {
    let (fleet, request) = (view.fleet, view.request);
    if request.listed.as_ref().is_some_and(|listed| !listed.contains(&server)) {
        return Err(Reason::NotListed);
    }
    let carries = |(key, value): &(&String, &String)| fleet.hosts[server].spec.labels.get(*key) == Some(*value);
    if let Some((key, value)) = request.rules.require.iter().find(|label| !carries(label)) {
        return Err(Reason::Label(key, value));
    }
    if let Some(anchor) = request.anchor.filter(|anchor| *anchor != server) {
        return Err(Reason::Group(anchor));
    }
    if let Some(enemy) = fleet.holders.enemies(request.who).iter().find(|enemy| fleet.holders.is_on(enemy, server)) {
        return Err(Reason::Avoid(enemy));
    }
    match request.rules.per_server {
        Some(most) if view.crowd_beside(server, slot) >= most => Err(Reason::PerServer(most)),
        _ => Ok(()),
    }
}

fn network<'v>(view: View<'v, '_>, server: usize) -> Result<(), Reason<'v>> {
    let (fleet, request) = (view.fleet, view.request);
    let taken = |port: &&PublishedPort| fleet.port_owner(server, (port.host, port.protocol)).is_some();
    if let Some(port) = request.ports.iter().find(taken) {
        return Err(Reason::Port(port.host, port.protocol));
    }
    let host = &fleet.hosts[server];
    match request.address {
        Some(address) if !is_usable(host.spec, address) => Err(Reason::AddressOutside),
        Some(address) if host.addresses.is_taken(address) => Err(Reason::AddressTaken),
        None if !request.instead && host.addresses.left() == 0 => Err(Reason::NoAddress),
        _ => Ok(()),
    }
}
