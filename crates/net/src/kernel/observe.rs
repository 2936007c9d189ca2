//! Questions to the kernel, answered in terms of our values.

use crate::{
    error::Result,
    netlink::Netlink,
    paths::{Forwarding, Neighbour, PROTOCOL, Path, Policy, PolicyAction},
};
use ipnet::Ipv4Net;
use rtnetlink::packet_route::{
    AddressFamily, RouteNetlinkMessage,
    address::{AddressAttribute, AddressMessage},
    link::{InfoData, InfoVxlan, LinkAttribute, LinkExtentMask, LinkFlags, LinkInfo, LinkMessage},
    neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState},
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteProtocol},
    rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
};
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

/// What we need to know of a link.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Link {
    /// Number in its namespace.
    pub index: u32,
    /// Name.
    pub name: String,
    /// Link address.
    pub mac: Vec<u8>,
    /// Longest packet in bytes.
    pub mtu: u32,
    /// Switched on.
    pub up: bool,
    /// Bridge it is attached to.
    pub master: Option<u32>,
    /// `bridge`, `vxlan`, `veth`…
    pub kind: String,
    /// For a VXLAN device.
    pub vxlan: Vxlan,
    /// Bytes received and sent by this end.
    pub bytes: (u64, u64),
}

/// What cannot be changed of a VXLAN device once it is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vxlan {
    /// Network identifier.
    pub vni: u32,
    /// UDP port.
    pub port: u16,
    /// Underlay address.
    pub local: Option<IpAddr>,
    /// Learns addresses from traffic: ours does not.
    pub learning: bool,
}

impl Netlink {
    /// The link with this name.
    pub fn link(&self, name: &str) -> Result<Option<Link>> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::IfName(name.to_owned()));
        ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        self.ask_link(&format!("look for link {name}"), ask)
    }

    /// The link with this name, counters included.
    pub fn link_with_counters(&self, name: &str) -> Result<Option<Link>> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::IfName(name.to_owned()));
        self.ask_link(&format!("look for link {name}"), ask)
    }

    /// The link with this number.
    pub fn link_by_index(&self, index: u32) -> Result<Option<Link>> {
        let mut ask = LinkMessage::default();
        ask.header.index = index;
        self.ask_link(&format!("look for link number {index}"), ask)
    }

    fn ask_link(&self, what: &str, ask: LinkMessage) -> Result<Option<Link>> {
        Ok(match self.get(what, RouteNetlinkMessage::GetLink(ask))? {
            Some(RouteNetlinkMessage::NewLink(message)) => Some(read_link(message)),
            _ => None,
        })
    }

    /// All links.
    pub fn links(&self) -> Result<Vec<Link>> {
        let mut ask = LinkMessage::default();
        ask.attributes.push(LinkAttribute::ExtMask(vec![LinkExtentMask::SkipStats]));
        let found = self.dump("list links", RouteNetlinkMessage::GetLink(ask))?;
        Ok(found
            .into_iter()
            .filter_map(|m| if let RouteNetlinkMessage::NewLink(m) = m { Some(read_link(m)) } else { None })
            .collect())
    }

    /// All addresses as `(link number, address, prefix length)`.
    pub fn addresses(&self) -> Result<Vec<(u32, IpAddr, u8)>> {
        let found = self.dump("list addresses", RouteNetlinkMessage::GetAddress(AddressMessage::default()))?;
        Ok(found
            .into_iter()
            .filter_map(|m| if let RouteNetlinkMessage::NewAddress(m) = m { read_address(&m) } else { None })
            .collect())
    }

    /// Number of the link that packets to `to` leave by, if there is a way.
    pub fn way_out(&self, to: Ipv4Addr) -> Result<Option<u32>> {
        let mut ask = RouteMessage::default();
        ask.header.address_family = AddressFamily::Inet;
        ask.header.destination_prefix_length = 32;
        ask.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(to)));
        let Some(RouteNetlinkMessage::NewRoute(answer)) = self.get("look for a route", RouteNetlinkMessage::GetRoute(ask))?
        else {
            return Ok(None);
        };
        Ok(answer.attributes.iter().find_map(|a| if let RouteAttribute::Oif(index) = a { Some(*index) } else { None }))
    }

    /// Permanent IPv4 neighbours of a link.
    pub fn neighbours(&self, index: u32) -> Result<BTreeSet<Neighbour>> {
        let mut ask = NeighbourMessage::default();
        ask.header.family = AddressFamily::Inet;
        ask.attributes.push(NeighbourAttribute::IfIndex(index));
        Ok(self.read_neighbours(index, ask)?.into_iter().filter_map(|(mac, to)| v4(to?).map(|to| (to, mac))).collect())
    }

    /// Forwarding entries of a VXLAN link.
    pub fn forwarding(&self, index: u32) -> Result<BTreeSet<Forwarding>> {
        let mut ask = NeighbourMessage::default();
        ask.header.family = AddressFamily::Bridge;
        ask.header.ifindex = index;
        Ok(self.read_neighbours(index, ask)?.into_iter().filter_map(|(mac, to)| Some((mac, to?))).collect())
    }

    fn read_neighbours(&self, index: u32, ask: NeighbourMessage) -> Result<Vec<([u8; 6], Option<IpAddr>)>> {
        let found = self.dump("list neighbours", RouteNetlinkMessage::GetNeighbour(ask))?;
        let ours = found.into_iter().filter_map(|message| match message {
            RouteNetlinkMessage::NewNeighbour(m) if m.header.ifindex == index && m.header.state == NeighbourState::Permanent => {
                Some(m)
            }
            _ => None,
        });
        Ok(ours.filter_map(|message| read_neighbour(&message)).collect())
    }

    /// IPv4 routes of ours that lead out of a link.
    pub fn paths(&self, index: u32) -> Result<BTreeSet<Path>> {
        let mut ask = RouteMessage::default();
        ask.header.address_family = AddressFamily::Inet;
        ask.header.protocol = RouteProtocol::Other(PROTOCOL);
        let found = self.dump("list routes", RouteNetlinkMessage::GetRoute(ask))?;
        Ok(found
            .into_iter()
            .filter_map(|m| if let RouteNetlinkMessage::NewRoute(m) = m { read_path(&m, index) } else { None })
            .collect())
    }

    /// IPv4 policy rules of ours.
    pub fn policies(&self) -> Result<BTreeSet<Policy>> {
        let mut ask = RuleMessage::default();
        ask.header.family = AddressFamily::Inet;
        let found = self.dump("list policy rules", RouteNetlinkMessage::GetRule(ask))?;
        Ok(found
            .into_iter()
            .filter_map(|m| if let RouteNetlinkMessage::NewRule(m) = m { read_policy(&m) } else { None })
            .collect())
    }
}

fn v4(address: IpAddr) -> Option<Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(address) } else { None }
}

fn read_link(message: LinkMessage) -> Link {
    let mut link = Link { index: message.header.index, up: message.header.flags.contains(LinkFlags::Up), ..Link::default() };
    for attribute in message.attributes {
        match attribute {
            LinkAttribute::IfName(name) => link.name = name,
            LinkAttribute::Address(mac) => link.mac = mac,
            LinkAttribute::Mtu(mtu) => link.mtu = mtu,
            LinkAttribute::Controller(index) => link.master = Some(index),
            LinkAttribute::Stats64(stats) => link.bytes = (stats.rx_bytes, stats.tx_bytes),
            LinkAttribute::LinkInfo(infos) => read_info(&mut link, infos),
            _ => {}
        }
    }
    link
}

fn read_info(link: &mut Link, infos: Vec<LinkInfo>) {
    for info in infos {
        match info {
            LinkInfo::Kind(kind) => link.kind = kind.to_string(),
            LinkInfo::Data(InfoData::Vxlan(settings)) => {
                for setting in settings {
                    match setting {
                        InfoVxlan::Id(vni) => link.vxlan.vni = vni,
                        InfoVxlan::Port(port) => link.vxlan.port = port,
                        InfoVxlan::Local(address) => link.vxlan.local = Some(address.into()),
                        InfoVxlan::Local6(address) => link.vxlan.local = Some(address.into()),
                        InfoVxlan::Learning(learning) => link.vxlan.learning = learning,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
}

fn read_address(message: &AddressMessage) -> Option<(u32, IpAddr, u8)> {
    let of = |local: bool| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Local(address) if local => Some(*address),
            AddressAttribute::Address(address) if !local => Some(*address),
            _ => None,
        })
    };
    Some((message.header.index, of(true).or_else(|| of(false))?, message.header.prefix_len))
}

fn read_neighbour(message: &NeighbourMessage) -> Option<([u8; 6], Option<IpAddr>)> {
    let (mut mac, mut to) = (None, None);
    for attribute in &message.attributes {
        match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => mac = <[u8; 6]>::try_from(&bytes[..]).ok(),
            NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => to = Some(IpAddr::V4(*address)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => to = Some(IpAddr::V6(*address)),
            // In the bridge family the packet library leaves the address as bytes.
            NeighbourAttribute::Destination(NeighbourAddress::Other(bytes)) => to = address_from_bytes(bytes),
            _ => {}
        }
    }
    Some((mac?, to))
}

fn address_from_bytes(bytes: &[u8]) -> Option<IpAddr> {
    <[u8; 4]>::try_from(bytes).map(IpAddr::from).or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

fn read_path(message: &RouteMessage, index: u32) -> Option<Path> {
    if message.header.protocol != RouteProtocol::Other(PROTOCOL) {
        return None;
    }
    let (mut out, mut table, mut to, mut via) = (None, u32::from(message.header.table), Ipv4Addr::UNSPECIFIED, None);
    for attribute in &message.attributes {
        match attribute {
            RouteAttribute::Oif(link) => out = Some(*link),
            RouteAttribute::Table(number) => table = *number,
            RouteAttribute::Destination(RouteAddress::Inet(address)) => to = *address,
            RouteAttribute::Gateway(RouteAddress::Inet(address)) => via = Some(*address),
            _ => {}
        }
    }
    let to = Ipv4Net::new(to, message.header.destination_prefix_length).ok()?;
    (out == Some(index)).then_some(Path { table, to, via: via? })
}

fn read_policy(message: &RuleMessage) -> Option<Policy> {
    let (mut priority, mut mark, mut mask, mut table, mut goto, mut ours) =
        (0, None, u32::MAX, u32::from(message.header.table), 0, false);
    for attribute in &message.attributes {
        match attribute {
            RuleAttribute::Priority(number) => priority = *number,
            RuleAttribute::FwMark(number) => mark = Some(*number),
            RuleAttribute::FwMask(number) => mask = *number,
            RuleAttribute::Table(number) => table = *number,
            RuleAttribute::Goto(number) => goto = *number,
            RuleAttribute::Protocol(protocol) => ours = *protocol == RouteProtocol::Other(PROTOCOL),
            _ => {}
        }
    }
    let action = match message.header.action {
        RuleAction::ToTable => PolicyAction::Table(table),
        RuleAction::Goto => PolicyAction::Goto(goto),
        _ => PolicyAction::Nop,
    };
    let invert = message.header.flags.contains(RuleFlags::Invert);
    ours.then_some(Policy { priority, mark: mark.map(|mark| (mark, mask)), invert, action })
}
