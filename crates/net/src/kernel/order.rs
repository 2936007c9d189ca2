//! Orders to the kernel, made from our values.

use crate::{
    error::{Error, Result},
    netlink::Request,
    paths::{Forwarding, MAIN_TABLE, Neighbour, PROTOCOL, Path, Policy, PolicyAction},
};
use ipnet::Ipv4Net;
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE},
    packet_route::{
        AddressFamily, RouteNetlinkMessage,
        address::{AddressAttribute, AddressMessage},
        link::{InfoData, InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage},
        neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourFlags, NeighbourMessage, NeighbourState},
        route::{RouteAddress, RouteAttribute, RouteFlags, RouteMessage, RouteProtocol, RouteScope, RouteType},
        rule::{RuleAction, RuleAttribute, RuleFlags, RuleMessage},
    },
};
use std::net::{IpAddr, Ipv4Addr};

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Make it be there.
    Add,
    /// Make it not be there.
    Remove,
}

impl Change {
    const fn verb(self) -> &'static str {
        match self {
            Self::Add => "add",
            Self::Remove => "remove",
        }
    }

    /// Error numbers that mean that it was so already.
    const fn forgiven(self) -> &'static [i32] {
        match self {
            Self::Add => &[libc::EEXIST],
            Self::Remove => &[libc::ENOENT, libc::ESRCH, libc::EADDRNOTAVAIL, libc::ENODEV],
        }
    }

    const fn flags(self) -> u16 {
        match self {
            Self::Add => NLM_F_CREATE | NLM_F_REPLACE,
            Self::Remove => 0,
        }
    }

    fn request(self, what: &str, message: RouteNetlinkMessage) -> Request {
        Request { what: format!("{} {what}", self.verb()), message, flags: self.flags(), forgiven: self.forgiven() }
    }
}

/// A static neighbour on link `index`.
pub fn neighbour_request(change: Change, index: u32, (address, mac): Neighbour) -> Request {
    let mut message = neighbour_message(index, mac);
    message.header.family = AddressFamily::Inet;
    message.attributes.push(NeighbourAttribute::Destination(NeighbourAddress::Inet(address)));
    change.request(&format!("neighbour {address}"), neighbour_order(change, message))
}

/// A forwarding entry on VXLAN link `index`.
pub fn forwarding_request(change: Change, index: u32, (mac, underlay): Forwarding) -> Request {
    let mut message = neighbour_message(index, mac);
    message.header.family = AddressFamily::Bridge;
    message.header.flags = NeighbourFlags::Own;
    let to = match underlay {
        IpAddr::V4(address) => NeighbourAddress::Inet(address),
        IpAddr::V6(address) => NeighbourAddress::Inet6(address),
    };
    message.attributes.push(NeighbourAttribute::Destination(to));
    change.request(&format!("forwarding entry for {underlay}"), neighbour_order(change, message))
}

fn neighbour_message(index: u32, mac: [u8; 6]) -> NeighbourMessage {
    let mut message = NeighbourMessage::default();
    message.header.ifindex = index;
    message.header.state = NeighbourState::Permanent;
    message.attributes.push(NeighbourAttribute::LinkLayerAddress(mac.to_vec()));
    message
}

fn neighbour_order(change: Change, message: NeighbourMessage) -> RouteNetlinkMessage {
    match change {
        Change::Add => RouteNetlinkMessage::NewNeighbour(message),
        Change::Remove => RouteNetlinkMessage::DelNeighbour(message),
    }
}

/// A route out of link `index`; `onlink`, since the way to the gateway is the link itself.
pub fn path_request(change: Change, index: u32, path: Path) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.destination_prefix_length = path.to.prefix_len();
    // Tables above 255 are told by the attribute alone (`RT_TABLE_UNSPEC` in the header).
    message.header.table = u8::try_from(path.table).unwrap_or(0);
    message.header.protocol = RouteProtocol::Other(PROTOCOL);
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.header.flags = RouteFlags::Onlink;
    message.attributes.push(RouteAttribute::Table(path.table));
    if path.to.prefix_len() > 0 {
        message.attributes.push(RouteAttribute::Destination(RouteAddress::Inet(path.to.network())));
    }
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(path.via)));
    message.attributes.push(RouteAttribute::Oif(index));
    let order = match change {
        Change::Add => RouteNetlinkMessage::NewRoute(message),
        Change::Remove => RouteNetlinkMessage::DelRoute(message),
    };
    change.request(&format!("route to {} in table {}", path.to, path.table), order)
}

/// A policy rule.
pub fn policy_request(change: Change, policy: Policy) -> Request {
    let mut message = RuleMessage::default();
    message.header.family = AddressFamily::Inet;
    message.attributes.push(RuleAttribute::Priority(policy.priority));
    message.attributes.push(RuleAttribute::Protocol(RouteProtocol::Other(PROTOCOL)));
    if let Some((mark, mask)) = policy.mark {
        message.attributes.push(RuleAttribute::FwMark(mark));
        message.attributes.push(RuleAttribute::FwMask(mask));
    }
    if policy.invert {
        message.header.flags = RuleFlags::Invert;
    }
    match policy.action {
        PolicyAction::Table(table) => {
            message.header.action = RuleAction::ToTable;
            message.attributes.push(RuleAttribute::Table(table));
        }
        PolicyAction::Goto(priority) => {
            message.header.action = RuleAction::Goto;
            message.attributes.push(RuleAttribute::Goto(priority));
        }
        PolicyAction::Nop => message.header.action = RuleAction::Nop,
    }
    let order = match change {
        Change::Add => RouteNetlinkMessage::NewRule(message),
        Change::Remove => RouteNetlinkMessage::DelRule(message),
    };
    // Without "exclusive" the kernel adds a second equal rule; with it, an equal one is `EEXIST`.
    let flags = if change == Change::Add { NLM_F_CREATE | NLM_F_EXCL } else { 0 };
    Request { flags, ..change.request(&format!("policy rule {}", policy.priority), order) }
}

/// An IPv4 address on link `index`.
pub fn address_request(change: Change, index: u32, address: Ipv4Addr, prefix: u8) -> Request {
    let mut message = AddressMessage::default();
    message.header.family = AddressFamily::Inet;
    message.header.prefix_len = prefix;
    message.header.index = index;
    message.attributes.push(AddressAttribute::Local(address.into()));
    message.attributes.push(AddressAttribute::Address(address.into()));
    if let (true, Ok(net)) = (prefix < 31, Ipv4Net::new(address, prefix)) {
        message.attributes.push(AddressAttribute::Broadcast(net.broadcast()));
    }
    let order = match change {
        Change::Add => RouteNetlinkMessage::NewAddress(message),
        Change::Remove => RouteNetlinkMessage::DelAddress(message),
    };
    change.request(&format!("address {address}/{prefix}"), order)
}

/// The default route through `gateway`, reached over link `index`.
pub fn default_route_request(index: u32, gateway: Ipv4Addr) -> Request {
    let mut message = RouteMessage::default();
    message.header.address_family = AddressFamily::Inet;
    message.header.table = MAIN_TABLE as u8;
    message.header.protocol = RouteProtocol::Boot;
    message.header.scope = RouteScope::Universe;
    message.header.kind = RouteType::Unicast;
    message.attributes.push(RouteAttribute::Gateway(RouteAddress::Inet(gateway)));
    message.attributes.push(RouteAttribute::Oif(index));
    Change::Add.request(&format!("default route through {gateway}"), RouteNetlinkMessage::NewRoute(message))
}

/// Removes a link.
pub fn remove_link_request(name: &str) -> Request {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    Change::Remove.request(&format!("link {name}"), RouteNetlinkMessage::DelLink(message))
}

/// Changes a link that is there, or makes one.
pub fn link_request(what: String, message: LinkMessage, flags: u16) -> Request {
    let order = if flags == 0 { RouteNetlinkMessage::SetLink(message) } else { RouteNetlinkMessage::NewLink(message) };
    Request { what, message: order, flags, forgiven: &[] }
}

/// The message that makes a link of a kind.
pub fn new_link(name: &str, kind: InfoKind, data: Option<InfoData>) -> LinkMessage {
    let mut message = LinkMessage::default();
    message.attributes.push(LinkAttribute::IfName(name.to_owned()));
    let info = std::iter::once(LinkInfo::Kind(kind)).chain(data.map(LinkInfo::Data));
    message.attributes.push(LinkAttribute::LinkInfo(info.collect()));
    message
}

/// Switches a link on, in a message that may say more.
pub fn switch_on(message: &mut LinkMessage) {
    message.header.flags = LinkFlags::Up;
    message.header.change_mask = LinkFlags::Up;
}

/// Checks that the kernel would take this for a link's name (`dev_valid_name`), and nft for a quoted one.
pub fn check_interface(name: &str) -> Result<()> {
    let fine = (1..=15).contains(&name.len())
        && name != "."
        && name != ".."
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'));
    if fine { Ok(()) } else { Err(Error::BadInterface(name.to_owned())) }
}
