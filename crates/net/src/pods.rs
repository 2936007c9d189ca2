//! Pods' own networks: a namespace with `lo` and `eth0`, whose other end is on the bridge.

use crate::{
    connections,
    error::{Error, Result},
    kernel::order::{Change, address_request, default_route_request, link_request, new_link, remove_link_request, switch_on},
    links::{address_mac, without_ipv6},
    namespace::{self, Mother, Namespace},
    netlink::{Netlink, Request},
};
use api::{InstanceId, dataplane::PodLink};
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::{
        RouteNetlinkMessage,
        link::{InfoBridgePort, InfoData, InfoKind, InfoPortData, InfoPortKind, InfoVeth, LinkAttribute, LinkInfo, LinkMessage},
    },
};
use std::{
    collections::BTreeSet,
    fs, io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
};

/// The pod's end of its link.
const INSIDE: &str = "eth0";
/// The loopback link's number in every namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

/// Where namespaces are held, and the socket of the server's own.
pub struct Pods<'a> {
    /// One file per pod.
    pub directory: &'a Path,
    /// In the server's namespace.
    pub netlink: &'a Netlink,
    /// What new namespaces are made from.
    pub mother: &'a Mother,
}

impl Pods<'_> {
    fn path(&self, id: InstanceId) -> PathBuf {
        self.directory.join(id.to_string())
    }

    /// Makes a pod's namespace and link, or puts right what differs. A handful of messages, whatever else is there.
    pub fn ensure(&self, pod: &PodLink) -> Result<PathBuf> {
        let bridge = self.netlink.link(&pod.bridge)?.ok_or_else(|| Error::NoBridge(pod.bridge.clone()))?;
        let path = self.path(pod.id);
        let namespace = namespace::ensure(&path, self.mother)?;
        let host = host_link(pod.id);
        let whole = !namespace.new && self.netlink.link(&host)?.is_some() && namespace.netlink.link(INSIDE)?.is_some();
        if !whole {
            self.connect(&namespace, pod, bridge.mtu)?;
        }
        self.netlink.batch(attach(&host, self.index(&host)?, bridge.index, bridge.mtu))?;
        let index = namespace.netlink.link(INSIDE)?.ok_or(Error::NoPod(pod.id))?.index;
        namespace.netlink.batch(furnish(pod, index, bridge.mtu))?;
        Ok(path)
    }

    fn index(&self, host: &str) -> Result<u32> {
        let gone = || Error::kernel(format!("look for link {host}"), io::Error::from_raw_os_error(libc::ENODEV));
        Ok(self.netlink.link(host)?.ok_or_else(gone)?.index)
    }

    /// Makes the pair of links. What is left of a former pair is removed first.
    fn connect(&self, namespace: &Namespace, pod: &PodLink, mtu: u32) -> Result<()> {
        let host = host_link(pod.id);
        match self.netlink.batch(vec![pair(&host, namespace, pod, mtu)]) {
            Err(Error::Kernel { source, .. }) if source.raw_os_error() == Some(libc::EEXIST) => {}
            done => return done,
        }
        namespace.netlink.batch(vec![remove_link_request(INSIDE)])?;
        self.netlink.batch(vec![remove_link_request(&host), pair(&host, namespace, pod, mtu)])
    }

    /// Removes a pod's link and lets go of its namespace.
    pub fn remove(&self, id: InstanceId) -> Result<()> {
        self.netlink.batch(vec![remove_link_request(&host_link(id))])?;
        namespace::remove(&self.path(id))
    }

    /// Pods with a namespace or link here.
    pub fn observe(&self) -> Result<BTreeSet<InstanceId>> {
        let mut found: BTreeSet<_> = self.netlink.links()?.iter().filter_map(|link| parse_host_link(&link.name)).collect();
        let failed = |e| Error::kernel(format!("list {}", self.directory.display()), e);
        match fs::read_dir(self.directory) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            entries => {
                for entry in entries.map_err(failed)? {
                    found.extend(entry.map_err(failed)?.file_name().to_str().and_then(|name| name.parse::<InstanceId>().ok()));
                }
            }
        }
        Ok(found)
    }

    /// Gives both ends of every pod's link this MTU.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        for id in self.observe()? {
            let host = host_link(id);
            if let Some(link) = self.netlink.link(&host)?.filter(|link| link.mtu != mtu) {
                self.netlink.batch(vec![mtu_request(&host, link.index, mtu)])?;
            }
            let Some(file) = namespace::open(&self.path(id))? else { continue };
            let netlink = namespace::inside(&file, Netlink::open)?;
            if let Some(link) = netlink.link(INSIDE)?.filter(|link| link.mtu != mtu) {
                netlink.batch(vec![mtu_request(INSIDE, link.index, mtu)])?;
            }
        }
        Ok(())
    }

    /// Established TCP connections to the pod.
    pub fn connections(&self, id: InstanceId) -> Result<u32> {
        let file = namespace::open(&self.path(id))?.ok_or(Error::NoPod(id))?;
        namespace::inside(&file, connections::count)
    }

    /// Bytes received and sent by the pod: the host's end sees them the other way round.
    pub fn traffic(&self, id: InstanceId) -> Result<(u64, u64)> {
        let link = self.netlink.link_with_counters(&host_link(id))?.ok_or(Error::NoPod(id))?;
        let (from_pod, to_pod) = link.bytes;
        Ok((to_pod, from_pod))
    }

    /// Removes every pod's network.
    pub fn clear(&self) -> Result<()> {
        let mut first = Ok(());
        for id in self.observe()? {
            first = first.and(self.remove(id));
        }
        first
    }
}

/// Name of the host's end: `rv` and the id in hex. A name has room for 15 bytes (`IFNAMSIZ`); an id of more than 13 hex
/// digits is written in base 36 behind `rw`, where the greatest takes 13.
pub fn host_link(id: InstanceId) -> String {
    let hex = id.to_string();
    if hex.len() <= 13 { format!("rv{hex}") } else { format!("rw{}", base36(id.0)) }
}

/// The pod a link belongs to.
pub fn parse_host_link(name: &str) -> Option<InstanceId> {
    let id = match name.split_at_checked(2)? {
        ("rv", hex) => InstanceId(u64::from_str_radix(hex, 16).ok()?),
        ("rw", text) => InstanceId(u64::from_str_radix(text, 36).ok()?),
        _ => return None,
    };
    (host_link(id) == name).then_some(id)
}

fn base36(mut number: u64) -> String {
    let mut digits = Vec::new();
    while number > 0 {
        digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
        number /= 36;
    }
    digits.iter().rev().collect()
}

/// Makes the pair in one message: the host's end here, the other as `eth0` in the pod's namespace. Its link address comes
/// from the address, so that neighbours who remember a former pod with the same address are not misled.
fn pair(host: &str, namespace: &Namespace, pod: &PodLink, mtu: u32) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(INSIDE.to_owned()));
    peer.attributes.push(LinkAttribute::Address(address_mac(pod.address).to_vec()));
    peer.attributes.push(LinkAttribute::Mtu(mtu));
    peer.attributes.push(LinkAttribute::NetNsFd(namespace.file.as_raw_fd()));
    let mut message = new_link(host, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    link_request(format!("add link {host}"), message, NLM_F_CREATE | NLM_F_EXCL)
}

/// Puts the host's end on the bridge and switches it on.
fn attach(host: &str, index: u32, bridge: u32, mtu: u32) -> Vec<Request> {
    let mut message = LinkMessage::default();
    message.header.index = index;
    switch_on(&mut message);
    message.attributes.push(LinkAttribute::Controller(bridge));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    vec![without_ipv6(host, index), link_request(format!("attach link {host}"), message, 0), hairpin(host, index)]
}

/// Lets the bridge send a packet back to where it came from: a pod that reaches itself through a published port, where the kernel
/// filters bridged packets (`br_netfilter`, which Docker and Kubernetes load) and so leads them astray within the bridge.
fn hairpin(host: &str, index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    let port = vec![
        LinkInfo::PortKind(InfoPortKind::Bridge),
        LinkInfo::PortData(InfoPortData::BridgePort(vec![InfoBridgePort::HairpinMode(true)])),
    ];
    message.attributes.push(LinkAttribute::LinkInfo(port));
    let message = RouteNetlinkMessage::NewLink(message);
    Request { what: format!("set bridge port {host}"), message, flags: 0, forgiven: &[] }
}

/// Switches on what is inside, with address and default route. Each is put in place of what was there.
fn furnish(pod: &PodLink, index: u32, mtu: u32) -> Vec<Request> {
    let mut loopback = LinkMessage::default();
    loopback.header.index = LOOPBACK;
    switch_on(&mut loopback);
    let mut inside = LinkMessage::default();
    inside.header.index = index;
    switch_on(&mut inside);
    inside.attributes.push(LinkAttribute::Address(address_mac(pod.address).to_vec()));
    inside.attributes.push(LinkAttribute::Mtu(mtu));
    vec![
        link_request("switch on lo".into(), loopback, 0),
        without_ipv6(INSIDE, index),
        link_request(format!("switch on {INSIDE}"), inside, 0),
        address_request(Change::Add, index, pod.address, pod.prefix),
        default_route_request(index, pod.gateway),
    ]
}

fn mtu_request(name: &str, index: u32, mtu: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    message.attributes.push(LinkAttribute::Mtu(mtu));
    link_request(format!("set MTU of {name}"), message, 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn link_names_fit_and_tell_the_pod() {
        for (id, name) in [(0, "rv0"), (0x1a2b, "rv1a2b"), ((1 << 52) - 1, "rvfffffffffffff"), (u64::MAX, "rw3w5e11264sgsf")] {
            assert_eq!(host_link(InstanceId(id)), name);
        }
        for foreign in ["rv", "rvx", "rv01", "rw1", "roost0", "eth0", "r", "rvFF", "rv+1"] {
            assert_eq!(parse_host_link(foreign), None, "{foreign}");
        }
    }

    proptest! {
        #[test]
        fn every_id_has_a_name_of_its_own(id: u64) {
            let name = host_link(InstanceId(id));
            prop_assert!(name.len() <= 15);
            prop_assert_eq!(parse_host_link(&name), Some(InstanceId(id)));
        }
    }
}
