//! The server's own links: bridge and tunnel, and the ways through the tunnel.

use crate::{
    error::{Error, Result},
    kernel::{
        observe::{Link, Vxlan},
        order::{
            Change, address_request, check_interface, forwarding_request, link_request, neighbour_request, new_link,
            path_request, policy_request, remove_link_request, switch_on,
        },
    },
    netlink::{Netlink, Request},
    paths::{Difference, Paths, difference, reverse_path_filter, tunnel_mtu},
    sysctl,
};
use api::dataplane::{Bridge, Dataplane, Overlay, TUNNEL};
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::link::{
        AfSpecInet6, AfSpecUnspec, In6AddrGenMode, InfoBridge, InfoData, InfoKind, InfoVxlan, LinkAttribute, LinkMessage,
    },
};
use std::net::{IpAddr, Ipv4Addr};

/// An address outside (RFC 5737, TEST-NET-2), to find out by which interface the server speaks to the world.
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// Ethernet's usual MTU (RFC 894), assumed while the server has no way to anywhere.
const USUAL_MTU: u32 = 1500;
/// Every IPv4 host passes packets of 576 bytes (RFC 791); a pod shall too.
const LEAST_MTU: u32 = 576;

/// Makes bridge, tunnel, ways and settings equal to the value. Says how many changes that took.
pub fn ensure(netlink: &Netlink, dataplane: &Dataplane) -> Result<usize> {
    let overlay = dataplane.overlay.as_ref();
    check_interface(&dataplane.bridge.name)?;
    let mtu = wanted_mtu(netlink, overlay)?;
    let mut changes = usize::from(sysctl::ensure("net/ipv4/ip_forward", 1)?);
    changes += ensure_bridge(netlink, &dataplane.bridge, mtu)?;
    changes += match overlay {
        Some(overlay) => ensure_tunnel(netlink, overlay, mtu)?,
        None => remove_tunnel(netlink)?,
    };
    for name in std::iter::once(&dataplane.bridge.name).chain(overlay.map(|overlay| &overlay.name)) {
        changes += ensure_settings(name)?;
    }
    Ok(changes + ensure_paths(netlink, overlay)?)
}

/// MTU of bridge, tunnel and pods: that of the underlay less the tunnel's overhead. A server alone reckons with a tunnel
/// too, so that its pods need not be changed when a second one joins.
fn wanted_mtu(netlink: &Netlink, overlay: Option<&Overlay>) -> Result<u32> {
    let (underlay, local) = match overlay {
        Some(overlay) => (underlay_mtu(netlink, overlay.local)?, overlay.local),
        None => (outward_mtu(netlink)?, IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
    };
    let mtu = tunnel_mtu(underlay, local);
    if mtu < LEAST_MTU { Err(Error::NarrowUnderlay { local, mtu: underlay }) } else { Ok(mtu) }
}

fn underlay_mtu(netlink: &Netlink, local: IpAddr) -> Result<u32> {
    let (index, _, _) =
        netlink.addresses()?.into_iter().find(|(_, address, _)| *address == local).ok_or(Error::NoUnderlay(local))?;
    Ok(netlink.link_by_index(index)?.ok_or(Error::NoUnderlay(local))?.mtu)
}

fn outward_mtu(netlink: &Netlink) -> Result<u32> {
    let Some(index) = netlink.way_out(OUTSIDE)? else { return Ok(USUAL_MTU) };
    Ok(netlink.link_by_index(index)?.map_or(USUAL_MTU, |link| link.mtu))
}

/// The bridge's link address, from its address: without a fixed one it would change as pods come and go, and pods would
/// send to the old one for a while.
pub fn address_mac(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x52, a, b, c, d]
}

fn ensure_bridge(netlink: &Netlink, bridge: &Bridge, mtu: u32) -> Result<usize> {
    let mac = address_mac(bridge.address);
    let mut changes = 0;
    if netlink.link(&bridge.name)?.is_none() {
        let mut message =
            new_link(&bridge.name, InfoKind::Bridge, Some(InfoData::Bridge(vec![InfoBridge::MulticastSnooping(false)])));
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
        message.attributes.push(LinkAttribute::Mtu(mtu));
        netlink.batch(vec![link_request(format!("add bridge {}", bridge.name), message, NLM_F_CREATE | NLM_F_EXCL)])?;
        changes += 1;
    }
    let link = netlink.link(&bridge.name)?.ok_or_else(|| Error::NoBridge(bridge.name.clone()))?;
    let (settings, count) = link_repairs(&link, mac, mtu);
    let addresses = address_repairs(netlink, &link, bridge.address, bridge.subnet.prefix_len())?;
    changes += count + addresses.len();
    netlink.batch(settings.into_iter().chain(addresses).collect())?;
    Ok(changes)
}

/// Requests that give a link of ours its link address and MTU and switch it on without IPv6 addresses; none if all is so.
fn link_repairs(link: &Link, mac: [u8; 6], mtu: u32) -> (Vec<Request>, usize) {
    let mut message = LinkMessage::default();
    message.header.index = link.index;
    if link.mac != mac {
        message.attributes.push(LinkAttribute::Address(mac.to_vec()));
    }
    if link.mtu != mtu {
        message.attributes.push(LinkAttribute::Mtu(mtu));
    }
    let mut requests = Vec::new();
    if !link.up {
        requests.push(without_ipv6(&link.name, link.index));
        switch_on(&mut message);
    }
    if !link.up || !message.attributes.is_empty() {
        requests.push(link_request(format!("set link {}", link.name), message, 0));
    }
    let changes = usize::from(!requests.is_empty());
    (requests, changes)
}

/// No IPv6 link-local address: pods speak IPv4 to each other, and every address is a way in.
pub fn without_ipv6(name: &str, index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let mode = AfSpecInet6::AddrGenMode(In6AddrGenMode::None);
    message.attributes.push(LinkAttribute::AfSpecUnspec(vec![AfSpecUnspec::Inet6(vec![mode])]));
    // A kernel without IPv6 does not know the family.
    Request {
        forgiven: &[libc::EAFNOSUPPORT, libc::EINVAL, libc::EOPNOTSUPP],
        ..link_request(format!("set link {name}"), message, 0)
    }
}

fn address_repairs(netlink: &Netlink, link: &Link, address: Ipv4Addr, prefix: u8) -> Result<Vec<Request>> {
    let there = netlink.addresses()?.into_iter().filter_map(|(index, seen, length)| match seen {
        IpAddr::V4(seen) if index == link.index => Some((seen, length)),
        _ => None,
    });
    let there = there.collect();
    let Difference { remove, add } = difference(&there, &[(address, prefix)].into());
    let gone = remove.into_iter().map(|(address, prefix)| address_request(Change::Remove, link.index, address, prefix));
    let new = add.into_iter().map(|(address, prefix)| address_request(Change::Add, link.index, address, prefix));
    Ok(gone.chain(new).collect())
}

fn ensure_tunnel(netlink: &Netlink, overlay: &Overlay, mtu: u32) -> Result<usize> {
    check_interface(&overlay.name)?;
    let wanted = Vxlan { vni: overlay.vni, port: overlay.port, local: Some(overlay.local), learning: false };
    let mut changes = 0;
    let mut link = netlink.link(&overlay.name)?;
    if link.as_ref().is_some_and(|link| link.vxlan != wanted) {
        netlink.batch(vec![remove_link_request(&overlay.name)])?;
        link = None;
    }
    if link.is_none() {
        netlink.batch(vec![new_tunnel(overlay, mtu)])?;
        changes += 1;
    }
    let link = netlink.link(&overlay.name)?.ok_or_else(|| Error::NoBridge(overlay.name.clone()))?;
    let (settings, count) = link_repairs(&link, overlay.mac, mtu);
    let addresses = address_repairs(netlink, &link, overlay.address, 32)?;
    changes += count + addresses.len();
    netlink.batch(settings.into_iter().chain(addresses).collect())?;
    Ok(changes)
}

fn new_tunnel(overlay: &Overlay, mtu: u32) -> Request {
    let local = match overlay.local {
        IpAddr::V4(address) => InfoVxlan::Local(address),
        IpAddr::V6(address) => InfoVxlan::Local6(address),
    };
    let settings = vec![InfoVxlan::Id(overlay.vni), local, InfoVxlan::Port(overlay.port), InfoVxlan::Learning(false)];
    let mut message = new_link(&overlay.name, InfoKind::Vxlan, Some(InfoData::Vxlan(settings)));
    message.attributes.push(LinkAttribute::Address(overlay.mac.to_vec()));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    link_request(format!("add tunnel {}", overlay.name), message, NLM_F_CREATE | NLM_F_EXCL)
}

fn remove_tunnel(netlink: &Netlink) -> Result<usize> {
    if netlink.link(TUNNEL)?.is_none() {
        return Ok(0);
    }
    netlink.batch(vec![remove_link_request(TUNNEL)])?;
    Ok(1)
}

/// Reverse path check, and `route_localnet`, without which a connection of the server to its own 127.0.0.1 cannot be led to a
/// pod. What comes from pods or tunnel with such an address is dropped by our rules before it is looked at.
fn ensure_settings(name: &str) -> Result<usize> {
    let filter = reverse_path_filter(sysctl::read("net/ipv4/conf/all/rp_filter")?);
    let set = |setting: &str, value| sysctl::ensure(&format!("net/ipv4/conf/{name}/{setting}"), value).map(usize::from);
    Ok(set("rp_filter", filter)? + set("route_localnet", 1)? + set("forwarding", 1)?)
}

fn ensure_paths(netlink: &Netlink, overlay: Option<&Overlay>) -> Result<usize> {
    let wanted = Paths::wanted(overlay);
    let mut requests = changes(&netlink.policies()?, &wanted.policies, policy_request);
    if let Some(overlay) = overlay {
        let index = netlink.link(&overlay.name)?.ok_or_else(|| Error::NoBridge(overlay.name.clone()))?.index;
        requests.extend(changes(&netlink.forwarding(index)?, &wanted.forwarding, |c, v| forwarding_request(c, index, v)));
        requests.extend(changes(&netlink.neighbours(index)?, &wanted.neighbours, |c, v| neighbour_request(c, index, v)));
        requests.extend(changes(&netlink.paths(index)?, &wanted.routes, |c, v| path_request(c, index, v)));
    }
    let count = requests.len();
    netlink.batch(requests)?;
    Ok(count)
}

type Set<T> = std::collections::BTreeSet<T>;

fn changes<T: Ord + Copy>(seen: &Set<T>, wanted: &Set<T>, request: impl Fn(Change, T) -> Request) -> Vec<Request> {
    let Difference { remove, add } = difference(seen, wanted);
    let gone = remove.into_iter().map(|value| request(Change::Remove, value));
    gone.chain(add.into_iter().map(|value| request(Change::Add, value))).collect()
}

/// Removes bridge, tunnel and policy rules; routes and neighbours go with their link.
pub fn clear(netlink: &Netlink) -> Result<()> {
    let policies = netlink.policies()?.into_iter().map(|policy| policy_request(Change::Remove, policy));
    let links = [TUNNEL, api::dataplane::BRIDGE].map(remove_link_request);
    netlink.batch(policies.chain(links).collect())
}
