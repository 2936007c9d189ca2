//! The kernel's network state as a value: computed purely from an assignment, made true by the `net` driver.

use crate::{assignment::Route, name::InstanceId};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// Everything of ours in one server's kernel, except the pods' own links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dataplane {
    /// The bridge its pods are attached to.
    pub bridge: Bridge,
    /// The tunnel to other servers. None while there are none.
    pub overlay: Option<Overlay>,
    /// The cluster's whole range: what is inside is never masqueraded.
    pub range: ipnet::Ipv4Net,
    /// Published ports.
    pub routes: Vec<Route>,
}

/// The bridge of a server's pods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bridge {
    /// Interface name.
    pub name: String,
    /// Its address: gateway and DNS server.
    pub address: Ipv4Addr,
    /// The subnet.
    pub subnet: ipnet::Ipv4Net,
}

/// The VXLAN device and what is known through it: static neighbours and forwarding entries, so nothing is flooded.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overlay {
    /// Interface name.
    pub name: String,
    /// Network identifier.
    pub vni: u32,
    /// UDP port (RFC 7348: 4789).
    pub port: u16,
    /// Own underlay address.
    pub local: IpAddr,
    /// Own tunnel address: the network address of the own subnet.
    pub address: Ipv4Addr,
    /// Own link address.
    pub mac: [u8; 6],
    /// Own number, for connection marks.
    pub number: u16,
    /// Other servers.
    pub remotes: Vec<Remote>,
}

/// Another server's end of the tunnel.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Remote {
    /// Its number: mark and routing table for answers to connections that came in through it.
    pub number: u16,
    /// Its underlay address.
    pub underlay: IpAddr,
    /// Its tunnel address.
    pub address: Ipv4Addr,
    /// Its link address.
    pub mac: [u8; 6],
    /// Its containers.
    pub subnet: ipnet::Ipv4Net,
}

/// A pod's own network: a namespace with `lo` and `eth0`, whose other end is on the bridge.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodLink {
    /// Whose.
    pub id: InstanceId,
    /// Its address.
    pub address: Ipv4Addr,
    /// Prefix length of the server's subnet.
    pub prefix: u8,
    /// Default route.
    pub gateway: Ipv4Addr,
    /// Bridge to attach to.
    pub bridge: String,
}

/// Link address of server `number`'s tunnel end: locally administered (IEEE 802, bit 1 of the first octet), and the same everywhere by
/// computation, so that nobody has to learn it.
pub const fn tunnel_mac(number: u16) -> [u8; 6] {
    let [high, low] = number.to_be_bytes();
    [0x02, 0x52, 0x53, 0x54, high, low]
}

/// Bytes that VXLAN over IPv4 adds to a packet: outer IPv4 20, UDP 8, VXLAN 8, inner Ethernet 14 (RFC 7348, section 5).
pub const VXLAN_OVERHEAD_V4: u32 = 50;
/// The same over IPv6, whose header has 40 bytes.
pub const VXLAN_OVERHEAD_V6: u32 = 70;
/// UDP port of VXLAN (RFC 7348).
pub const VXLAN_PORT: u16 = 4789;
/// The bridge's interface name.
pub const BRIDGE: &str = "roost0";
/// The tunnel's interface name.
pub const TUNNEL: &str = "roost-vx";
