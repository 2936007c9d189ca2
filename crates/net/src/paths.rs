//! Ways to other servers as sets of values: what is wanted, and what has to change. Pure.

use crate::rules::{MARK_BASE, MARK_MASK, mark};
use api::dataplane::Overlay;
use ipnet::Ipv4Net;
use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv4Addr},
};

/// Number in `rtm_protocol` and `FRA_PROTOCOL` that says a route or policy rule is ours ("R"; iproute2's `rt_protos` has it free).
pub const PROTOCOL: u8 = 82;
/// The main routing table (`RT_TABLE_MAIN`).
pub const MAIN_TABLE: u32 = 254;
/// Table 10000 + n leads back through server n.
pub const RETURN_TABLES: u32 = 10_000;
/// Our policy rules' priorities: before the main table's (32766), behind the local table's (0).
const PRIORITY_SKIP: u32 = 5252;
const PRIORITY_RETURN: u32 = 5253;
const PRIORITY_END: u32 = 5254;

/// A static neighbour on the tunnel: `(tunnel address, link address)`.
pub type Neighbour = (Ipv4Addr, [u8; 6]);
/// A forwarding entry of the tunnel: `(link address, underlay address)`.
pub type Forwarding = ([u8; 6], IpAddr);

/// A route through the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Path {
    /// Routing table.
    pub table: u32,
    /// Where to.
    pub to: Ipv4Net,
    /// Tunnel address of the server it goes through.
    pub via: Ipv4Addr,
}

/// A policy routing rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Policy {
    /// Lower is asked first.
    pub priority: u32,
    /// Mark and which of its bits count.
    pub mark: Option<(u32, u32)>,
    /// Holds for packets without that mark.
    pub invert: bool,
    /// What to do.
    pub action: PolicyAction,
}

/// What a policy rule does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyAction {
    /// Look into this table.
    Table(u32),
    /// Go on at this priority.
    Goto(u32),
    /// Nothing: a place to go to.
    Nop,
}

/// Everything that leads to other servers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Paths {
    /// On the tunnel.
    pub neighbours: BTreeSet<Neighbour>,
    /// On the tunnel.
    pub forwarding: BTreeSet<Forwarding>,
    /// Through the tunnel.
    pub routes: BTreeSet<Path>,
    /// Replies to connections that came in through another server.
    pub policies: BTreeSet<Policy>,
}

impl Paths {
    /// What an overlay needs; without one, nothing.
    pub fn wanted(overlay: Option<&Overlay>) -> Self {
        let Some(overlay) = overlay.filter(|overlay| !overlay.remotes.is_empty()) else { return Self::default() };
        let mut paths = Self { policies: BTreeSet::from([skip(), end()]), ..Self::default() };
        for remote in &overlay.remotes {
            let table = RETURN_TABLES + u32::from(remote.number);
            paths.neighbours.insert((remote.address, remote.mac));
            paths.forwarding.insert((remote.mac, remote.underlay));
            paths.routes.insert(Path { table: MAIN_TABLE, to: remote.subnet.trunc(), via: remote.address });
            paths.routes.insert(Path { table, to: Ipv4Net::default(), via: remote.address });
            paths.policies.insert(Policy {
                priority: PRIORITY_RETURN,
                mark: Some((mark(remote.number), u32::MAX)),
                invert: false,
                action: PolicyAction::Table(table),
            });
        }
        paths
    }
}

/// Packets without a mark of ours pass over the rules of all the servers at once, however many there are.
const fn skip() -> Policy {
    Policy { priority: PRIORITY_SKIP, mark: Some((MARK_BASE, MARK_MASK)), invert: true, action: PolicyAction::Goto(PRIORITY_END) }
}

/// Where they go on.
const fn end() -> Policy {
    Policy { priority: PRIORITY_END, mark: None, invert: false, action: PolicyAction::Nop }
}

/// What leads from one set to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference<T> {
    /// To be taken away, first.
    pub remove: Vec<T>,
    /// To be added.
    pub add: Vec<T>,
}

/// What leads from `seen` to `wanted`.
pub fn difference<T: Ord + Copy>(seen: &BTreeSet<T>, wanted: &BTreeSet<T>) -> Difference<T> {
    Difference { remove: seen.difference(wanted).copied().collect(), add: wanted.difference(seen).copied().collect() }
}

/// MTU of a device whose packets travel in VXLAN over an underlay with `underlay` bytes.
pub fn tunnel_mtu(underlay: u32, local: IpAddr) -> u32 {
    let overhead = if local.is_ipv4() { api::dataplane::VXLAN_OVERHEAD_V4 } else { api::dataplane::VXLAN_OVERHEAD_V6 };
    // The longest IPv4 packet has 65535 bytes (RFC 791), the outer one included.
    underlay.min(65_535).saturating_sub(overhead)
}

/// `rp_filter` for bridge and tunnel, given `net.ipv4.conf.all.rp_filter`. The kernel takes the greater of the two. Clients'
/// packets come through the tunnel though the way to the client is another, which the strict check (1) would drop, so it
/// is overruled by the loose one (2). Where `all` does not ask for a check there is none: a server without a default
/// route must still answer clients behind another server, and sources are checked by our own rules.
pub const fn reverse_path_filter(all: u8) -> u8 {
    if all == 1 { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::dataplane::{Remote, tunnel_mac};
    use proptest::prelude::*;

    fn remote(number: u16) -> Remote {
        let low = (number % 250) as u8;
        Remote {
            number,
            underlay: IpAddr::V4(Ipv4Addr::new(192, 168, 0, low)),
            address: Ipv4Addr::new(10, 88, low, 0),
            mac: tunnel_mac(number),
            subnet: format!("10.88.{low}.0/24").parse().unwrap(),
        }
    }

    fn overlay(remotes: Vec<Remote>) -> Overlay {
        Overlay {
            name: "roost-vx".into(),
            vni: 7,
            port: 4789,
            local: [192, 168, 0, 1].into(),
            address: [10, 88, 1, 0].into(),
            mac: tunnel_mac(1),
            number: 1,
            remotes,
        }
    }

    #[test]
    fn one_remote_needs_one_of_each_and_a_way_back() {
        insta::assert_debug_snapshot!(Paths::wanted(Some(&overlay(vec![remote(2)]))), @r"
        Paths {
            neighbours: {
                (
                    10.88.2.0,
                    [
                        2,
                        82,
                        83,
                        84,
                        0,
                        2,
                    ],
                ),
            },
            forwarding: {
                (
                    [
                        2,
                        82,
                        83,
                        84,
                        0,
                        2,
                    ],
                    192.168.0.2,
                ),
            },
            routes: {
                Path {
                    table: 254,
                    to: 10.88.2.0/24,
                    via: 10.88.2.0,
                },
                Path {
                    table: 10002,
                    to: 0.0.0.0/0,
                    via: 10.88.2.0,
                },
            },
            policies: {
                Policy {
                    priority: 5252,
                    mark: Some(
                        (
                            1381171200,
                            4294901760,
                        ),
                    ),
                    invert: true,
                    action: Goto(
                        5254,
                    ),
                },
                Policy {
                    priority: 5253,
                    mark: Some(
                        (
                            1381171202,
                            4294967295,
                        ),
                    ),
                    invert: false,
                    action: Table(
                        10002,
                    ),
                },
                Policy {
                    priority: 5254,
                    mark: None,
                    invert: false,
                    action: Nop,
                },
            },
        }
        ");
        assert_eq!(Paths::wanted(None), Paths::default());
        assert_eq!(Paths::wanted(Some(&overlay(vec![]))), Paths::default());
    }

    #[test]
    fn a_tunnel_packet_fits_into_the_underlay() {
        for (underlay, local, mtu) in
            [(1500, "10.0.0.1", 1450), (9000, "10.0.0.1", 8950), (1500, "fd00::1", 1430), (65_536, "127.0.0.1", 65_485)]
        {
            assert_eq!(tunnel_mtu(underlay, local.parse().unwrap()), mtu);
        }
    }

    #[test]
    fn only_the_strict_check_is_overruled() {
        assert_eq!([0, 1, 2].map(reverse_path_filter), [0, 2, 0]);
    }

    proptest! {
        #[test]
        fn the_difference_applied_to_what_was_seen_gives_what_is_wanted(seen: Vec<u16>, wanted: Vec<u16>) {
            let paths = |numbers: &[u16]| Paths::wanted(Some(&overlay(numbers.iter().map(|n| remote(*n)).collect())));
            let (seen, wanted) = (paths(&seen), paths(&wanted));
            let change = difference(&seen.policies, &wanted.policies);
            let mut after = seen.policies.clone();
            for old in &change.remove {
                prop_assert!(after.remove(old));
            }
            for new in &change.add {
                prop_assert!(after.insert(*new));
            }
            prop_assert_eq!(&after, &wanted.policies);
            let routes = difference(&seen.routes, &wanted.routes);
            let kept: BTreeSet<_> = seen.routes.iter().filter(|r| !routes.remove.contains(r)).copied().collect();
            prop_assert_eq!(kept.union(&routes.add.iter().copied().collect()).copied().collect::<BTreeSet<_>>(), wanted.routes);
            let again = difference(&after, &wanted.policies);
            prop_assert!(again.remove.is_empty() && again.add.is_empty());
        }
    }
}
