//! Networks for programs that need the world and that nobody needs to reach: commands of builds. Each is a namespace with a pair of
//! links of its own; constant rules of the table hide its address behind the server's.
//!
//! They are numbered by slots, and what a slot is called and which addresses it has follows from its number.

use crate::{
    KernelNetwork,
    error::{Error, Result},
    kernel::order::{Change, address_request, default_route_request, link_request, new_link, remove_link_request, switch_on},
    links::{address_mac, without_ipv6},
    namespace::{self, Namespace},
    netlink::{Netlink, Request},
};
use api::InstanceId;
use driver::{WayOut, build::Way};
use rtnetlink::{
    packet_core::{NLM_F_CREATE, NLM_F_EXCL},
    packet_route::link::{InfoData, InfoKind, InfoVeth, LinkAttribute, LinkMessage},
};
use std::{
    collections::BTreeMap,
    fs, io,
    net::Ipv4Addr,
    os::fd::AsRawFd as _,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

/// The server's ends begin so.
pub const PREFIX: &str = "rb";
/// Addresses of all of them: link-local (RFC 3927), so that they are nobody's elsewhere.
pub const RANGE: &str = "169.254.192.0/20";
const FIRST: u32 = u32::from_be_bytes([169, 254, 192, 0]);
/// Each has four addresses: both ends, and two that name the net.
const EACH: u32 = 4;
const PREFIX_LENGTH: u8 = 30;
/// As many as the range has room for.
const MOST: u32 = 4096 / EACH;
const INSIDE: &str = "eth0";
const LOOPBACK: u32 = 1;
/// Ethernet's usual MTU (RFC 894), when the bridge is not there to go by.
const USUAL_MTU: u32 = 1500;

/// Which slot is whose.
#[derive(Default)]
pub struct Slots(Mutex<BTreeMap<u32, InstanceId>>);

impl Slots {
    fn take(&self, id: InstanceId) -> Result<u32> {
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let free = (0..MOST).find(|slot| !taken.contains_key(slot));
        let slot =
            free.ok_or_else(|| Error::kernel("find a free network for a build", io::Error::from_raw_os_error(libc::EBUSY)))?;
        taken.insert(slot, id);
        Ok(slot)
    }

    fn of(&self, id: InstanceId) -> Option<u32> {
        let taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        taken.iter().find(|(_, owner)| **owner == id).map(|(slot, _)| *slot)
    }

    fn free(&self, slot: u32) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&slot);
    }
}

fn outside_address(slot: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + slot * EACH + 1)
}

fn inside_address(slot: u32) -> Ipv4Addr {
    Ipv4Addr::from(FIRST + slot * EACH + 2)
}

fn link_name(slot: u32) -> String {
    format!("{PREFIX}{slot}")
}

/// The slot a link belongs to.
fn slot_of(name: &str) -> Option<u32> {
    let slot = name.strip_prefix(PREFIX)?.parse().ok()?;
    (slot < MOST && link_name(slot) == name).then_some(slot)
}

impl KernelNetwork {
    /// Beside the pods' directory: what is in that is pods.
    fn way_path(&self, slot: u32) -> PathBuf {
        self.options.netns_dir.with_file_name("ways").join(slot.to_string())
    }

    fn open_slot(&self, slot: u32, connected: bool) -> Result<Way> {
        self.close_slot(slot)?;
        let path = self.way_path(slot);
        let namespace = namespace::ensure(&path, &self.mother)?;
        namespace.netlink.batch(vec![up("lo", LOOPBACK)])?;
        if connected {
            self.connect(slot, &namespace)?;
        }
        let address = if connected { inside_address(slot) } else { Ipv4Addr::LOCALHOST };
        Ok(Way { path, address })
    }

    fn connect(&self, slot: u32, namespace: &Namespace) -> Result<()> {
        let mtu = self.state().mtu.unwrap_or(USUAL_MTU);
        self.netlink.batch(vec![pair(slot, namespace, mtu)])?;
        let (outside, inside) = (index(&self.netlink, &link_name(slot))?, index(&namespace.netlink, INSIDE)?);
        self.netlink.batch(vec![
            without_ipv6(&link_name(slot), outside),
            up(&link_name(slot), outside),
            address_request(Change::Add, outside, outside_address(slot), PREFIX_LENGTH),
        ])?;
        namespace.netlink.batch(vec![
            without_ipv6(INSIDE, inside),
            up(INSIDE, inside),
            address_request(Change::Add, inside, inside_address(slot), PREFIX_LENGTH),
            default_route_request(inside, outside_address(slot)),
        ])
    }

    fn close_slot(&self, slot: u32) -> Result<()> {
        self.netlink.batch(vec![remove_link_request(&link_name(slot))])?;
        namespace::remove(&self.way_path(slot))
    }

    /// Removes every way there is, also such as a former process made.
    pub(crate) fn clear_ways(&self) -> Result<()> {
        let links = self.netlink.links()?;
        let mut slots: Vec<u32> = links.iter().filter_map(|link| slot_of(&link.name)).collect();
        if let Some(files) = self.way_path(0).parent().and_then(|directory| fs::read_dir(directory).ok()) {
            slots.extend(files.flatten().filter_map(|file| file.file_name().to_str()?.parse::<u32>().ok()));
        }
        slots.sort_unstable();
        slots.dedup();
        slots.into_iter().try_for_each(|slot| self.close_slot(slot))
    }
}

impl WayOut for KernelNetwork {
    fn open(&self, id: InstanceId, connected: bool) -> driver::Result<Way> {
        let slot = self.slots.take(id)?;
        let opened = self.open_slot(slot, connected);
        if opened.is_err() {
            // What is told is why it could not be opened; what is left goes with the next of its number.
            let _ = self.close_slot(slot);
            self.slots.free(slot);
        }
        Ok(opened?)
    }

    fn close(&self, id: InstanceId) -> driver::Result<()> {
        let Some(slot) = self.slots.of(id) else { return Ok(()) };
        self.close_slot(slot)?;
        self.slots.free(slot);
        Ok(())
    }

    fn close_all(&self) -> driver::Result<()> {
        Ok(self.clear_ways()?)
    }
}

fn index(netlink: &Netlink, name: &str) -> Result<u32> {
    let gone = || Error::kernel(format!("look for link {name}"), io::Error::from_raw_os_error(libc::ENODEV));
    Ok(netlink.link(name)?.ok_or_else(gone)?.index)
}

fn up(name: &str, index: u32) -> Request {
    let mut message = LinkMessage::default();
    message.header.index = index;
    switch_on(&mut message);
    link_request(format!("switch on {name}"), message, 0)
}

/// Both links in one message, the far one made in the namespace.
fn pair(slot: u32, namespace: &Namespace, mtu: u32) -> Request {
    let mut peer = LinkMessage::default();
    peer.attributes.push(LinkAttribute::IfName(INSIDE.to_owned()));
    peer.attributes.push(LinkAttribute::Address(address_mac(inside_address(slot)).to_vec()));
    peer.attributes.push(LinkAttribute::Mtu(mtu));
    peer.attributes.push(LinkAttribute::NetNsFd(namespace.file.as_raw_fd()));
    let name = link_name(slot);
    let mut message = new_link(&name, InfoKind::Veth, Some(InfoData::Veth(InfoVeth::Peer(peer))));
    message.attributes.push(LinkAttribute::Mtu(mtu));
    link_request(format!("add link {name}"), message, NLM_F_CREATE | NLM_F_EXCL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_have_nets_of_their_own_within_the_range() {
        let range: ipnet::Ipv4Net = RANGE.parse().unwrap();
        let mut nets = std::collections::BTreeSet::new();
        for slot in 0..MOST {
            let (outside, inside) = (outside_address(slot), inside_address(slot));
            assert!(range.contains(&outside) && range.contains(&inside));
            let net = ipnet::Ipv4Net::new(outside, PREFIX_LENGTH).unwrap();
            assert!(net.hosts().eq([outside, inside]));
            assert!(nets.insert(net.trunc()), "{slot}");
        }
    }

    #[test]
    fn names_tell_the_slot() {
        assert_eq!(slot_of(&link_name(MOST - 1)), Some(MOST - 1));
        for foreign in ["rb", "rb01", "rbx", "rv1", "rb1024", "rb-1"] {
            assert_eq!(slot_of(foreign), None, "{foreign}");
        }
    }

    #[test]
    fn a_slot_is_used_again() {
        let slots = Slots::default();
        assert_eq!((slots.take(InstanceId(7)).unwrap(), slots.take(InstanceId(8)).unwrap()), (0, 1));
        assert_eq!(slots.of(InstanceId(8)), Some(1));
        slots.free(0);
        assert_eq!(slots.take(InstanceId(9)).unwrap(), 0);
    }
}
