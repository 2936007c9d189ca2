//! Addresses: which one of its server's subnet a new instance gets.

use api::{InstanceId, server::ServerSpec};
use ipnet::Ipv4Net;
use std::{collections::HashSet, net::Ipv4Addr};

/// Addresses of a subnet that instances may have: all but the network's, the gateway's (the first) and the broadcast.
pub(crate) fn usable(subnet: Ipv4Net) -> u32 {
    let all = u32::from(subnet.broadcast()) - u32::from(subnet.network());
    all.saturating_sub(2)
}

/// May an instance on this server have this address?
pub(crate) fn is_usable(server: &ServerSpec, address: Ipv4Addr) -> bool {
    let subnet = server.subnet;
    subnet.contains(&address) && address != subnet.network() && address != subnet.broadcast() && address != server.gateway()
}

/// The address for a new instance: the search begins at a place that moves on with every instance made, so that an
/// address just given back is not handed out again until the subnet has been gone round.
pub(crate) fn choose(server: &ServerSpec, id: InstanceId, taken: &HashSet<Ipv4Addr>) -> Option<Ipv4Addr> {
    let size = usable(server.subnet);
    if size == 0 {
        return None;
    }
    let first = u32::from(server.gateway()) + 1;
    let start = u32::try_from(id.0.saturating_sub(1) % u64::from(size)).unwrap_or(0);
    let turn = (start..size).chain(0..start);
    turn.map(|offset| Ipv4Addr::from(first + offset)).find(|address| !taken.contains(address))
}
