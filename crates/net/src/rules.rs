//! The server's packet rules as a value, and that value as an nftables transaction. Pure.
//!
//! Rules are written in nft's own language rather than in its JSON: a golden file of them can be read, and the `dnat` to a
//! map of address and port together, on which the spreading rests, has no type in the JSON bindings.
//!
//! *The host's firewall is respected*: everything here is in one table of our own. A base chain can drop what another table
//! accepts, but never accept what another one drops, and nothing of others is touched. See [`crate::problems`].

use api::{
    dataplane::{Dataplane, TUNNEL},
    spec::Protocol,
};
use ipnet::Ipv4Net;
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, SocketAddrV4},
};

/// Upper half of our connection marks ("RS"); the lower half is the number of the server a connection came in through.
pub const MARK_BASE: u32 = 0x5253_0000;
/// Which bits of a mark say that it is ours.
pub const MARK_MASK: u32 = 0xffff_0000;

/// Connections to a published port by protocol and port.
type Routes = BTreeMap<(Proto, u16), Vec<SocketAddrV4>>;

/// Everything the table is made from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    fixed: Fixed,
    /// Underlay addresses of other servers.
    peers: BTreeSet<Ipv4Addr>,
    /// Underlay address and subnet of each other server.
    homes: BTreeSet<(Ipv4Addr, Ipv4Net)>,
    /// Mark by link address of the server that a connection came in through.
    entries: BTreeMap<[u8; 6], u32>,
    routes: Routes,
}

/// What changes only when the server's own place in the cluster does.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fixed {
    bridge: String,
    tunnel: String,
    tunnel_port: u16,
    gateway: Ipv4Addr,
    subnet: Ipv4Net,
    range: Ipv4Net,
    control_ports: Vec<u16>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Proto {
    Tcp,
    Udp,
}

impl Proto {
    const fn text(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

impl Ruleset {
    /// What a server's rules shall be. `control_ports` are the TCP ports of managers and agents, closed to pods.
    pub fn new(dataplane: &Dataplane, control_ports: &[u16]) -> Self {
        let overlay = dataplane.overlay.as_ref();
        let remotes = overlay.map(|overlay| &overlay.remotes[..]).unwrap_or_default();
        let fixed = Fixed {
            bridge: dataplane.bridge.name.clone(),
            tunnel: overlay.map_or_else(|| TUNNEL.to_owned(), |overlay| overlay.name.clone()),
            tunnel_port: overlay.map_or(api::dataplane::VXLAN_PORT, |overlay| overlay.port),
            gateway: dataplane.bridge.address,
            subnet: dataplane.bridge.subnet.trunc(),
            range: dataplane.range.trunc(),
            control_ports: control_ports.to_vec(),
        };
        let v4 = |address: IpAddr| match address {
            IpAddr::V4(address) => Some(address),
            // Pods have no IPv6, so they cannot reach it.
            IpAddr::V6(_) => None,
        };
        Self {
            fixed,
            peers: remotes.iter().filter_map(|remote| v4(remote.underlay)).collect(),
            homes: remotes.iter().filter_map(|remote| Some((v4(remote.underlay)?, remote.subnet.trunc()))).collect(),
            entries: remotes.iter().map(|remote| (remote.mac, mark(remote.number))).collect(),
            routes: dataplane
                .routes
                .iter()
                .map(|route| {
                    let protocol = if route.protocol == Protocol::Udp { Proto::Udp } else { Proto::Tcp };
                    ((protocol, route.port), route.targets.clone())
                })
                .collect(),
        }
    }

    /// UDP targets that `self` has and `next` has not: their flows must be forgotten, or they would go there for ever.
    pub fn udp_targets_gone(&self, next: &Self) -> Vec<SocketAddrV4> {
        let targets = |ruleset: &Self| -> BTreeSet<(u16, SocketAddrV4)> {
            let udp = ruleset.routes.iter().filter(|((protocol, _), _)| *protocol == Proto::Udp);
            udp.flat_map(|((_, port), targets)| targets.iter().map(|target| (*port, *target))).collect()
        };
        let gone: BTreeSet<_> = targets(self).difference(&targets(next)).map(|(_, target)| *target).collect();
        gone.into_iter().collect()
    }
}

/// Mark of connections that came in through server `number`.
pub const fn mark(number: u16) -> u32 {
    MARK_BASE | number as u32
}

/// The transaction that puts the whole table in place of whatever was there. Connections live on: they are in the kernel's
/// connection table, not in the rules.
pub fn render_whole(rules: &Ruleset) -> String {
    let mut out = String::from("add table inet roost\ndelete table inet roost\n");
    out += &render_table(&rules.fixed);
    for (set, elements) in elements(rules) {
        change_set(&mut out, set, &BTreeSet::new(), &elements);
    }
    for (key, targets) in &rules.routes {
        change_route(&mut out, *key, None, Some(targets));
    }
    out
}

/// The transaction that leads from `old` to `new`, with the changed parts only; None if they are equal.
pub fn render_changes(old: &Ruleset, new: &Ruleset) -> Option<String> {
    if old == new {
        return None;
    }
    if old.fixed != new.fixed {
        return Some(render_whole(new));
    }
    let mut out = String::new();
    for ((set, before), (_, after)) in elements(old).iter().zip(&elements(new)) {
        change_set(&mut out, set, before, after);
    }
    let keys: BTreeSet<_> = old.routes.keys().chain(new.routes.keys()).collect();
    for key in keys {
        change_route(&mut out, *key, old.routes.get(key), new.routes.get(key));
    }
    Some(out)
}

/// Elements of each set that follows the other servers.
fn elements(rules: &Ruleset) -> [(&'static str, BTreeSet<String>); 3] {
    let text = |mac: &[u8; 6]| mac.map(|byte| format!("{byte:02x}")).join(":");
    [
        ("peers", rules.peers.iter().map(Ipv4Addr::to_string).collect()),
        ("homes", rules.homes.iter().map(|(underlay, subnet)| format!("{underlay} . {subnet}")).collect()),
        ("entries", rules.entries.iter().map(|(mac, mark)| format!("{} : {mark:#x}", text(mac))).collect()),
    ]
}

fn change_set(out: &mut String, set: &str, old: &BTreeSet<String>, new: &BTreeSet<String>) {
    for (verb, from, but) in [("delete", old, new), ("add", new, old)] {
        let elements: Vec<_> = from.difference(but).map(String::as_str).collect();
        if !elements.is_empty() {
            let _ = writeln!(out, "{verb} element inet roost {set} {{ {} }}", elements.join(", "));
        }
    }
}

/// A route's state in the table: not there, refused (no targets), or a chain of its own that the map leads to.
fn change_route(
    out: &mut String,
    (protocol, port): (Proto, u16),
    old: Option<&Vec<SocketAddrV4>>,
    new: Option<&Vec<SocketAddrV4>>,
) {
    if old == new {
        return;
    }
    let protocol = protocol.text();
    let chain = format!("{protocol}-{port}");
    let (refused, served) =
        (|t: Option<&Vec<_>>| t.is_some_and(Vec::is_empty), |t: Option<&Vec<_>>| t.is_some_and(|t| !t.is_empty()));
    let mut line = |text: String| out.push_str(&(text + "\n"));
    if refused(old) {
        line(format!("delete element inet roost refused {{ {protocol} . {port} }}"));
    }
    if served(old) && !served(new) {
        line(format!("delete element inet roost routes {{ {protocol} . {port} }}"));
    }
    if served(old) {
        line(format!("flush chain inet roost {chain}"));
    } else if served(new) {
        line(format!("add chain inet roost {chain}"));
    }
    if let Some(targets) = new.filter(|targets| !targets.is_empty()) {
        line(format!("add rule inet roost {chain} meta l4proto {protocol} {}", spread(targets)));
        if !served(old) {
            line(format!("add element inet roost routes {{ {protocol} . {port} : goto {chain} }}"));
        }
    } else if served(old) {
        line(format!("delete chain inet roost {chain}"));
    }
    if refused(new) {
        line(format!("add element inet roost refused {{ {protocol} . {port} }}"));
    }
}

/// Targets in turn, one connection each.
fn spread(targets: &[SocketAddrV4]) -> String {
    if let [only] = targets {
        return format!("dnat ip to {}:{}", only.ip(), only.port());
    }
    let turns: Vec<_> = targets.iter().enumerate().map(|(i, t)| format!("{i} : {} . {}", t.ip(), t.port())).collect();
    format!("dnat ip addr . port to numgen inc mod {} map {{ {} }}", targets.len(), turns.join(", "))
}

/// Closes ports to what comes from there.
fn drop_ports(from: &str, ports: &[u16]) -> String {
    match ports.iter().map(u16::to_string).collect::<Vec<_>>().join(", ").as_str() {
        "" => String::new(),
        ports => format!("\n    {from} tcp dport {{ {ports} }} drop"),
    }
}

/// Leads published ports to pods, but never questions to the bridge's own DNS server.
fn to_routes(gateway: &std::net::Ipv4Addr) -> String {
    format!(
        "ip daddr {gateway} meta l4proto {{ tcp, udp }} th dport 53 accept
    meta nfproto ipv4 fib daddr type local meta l4proto . th dport vmap @routes"
    )
}

/// The table without elements of sets and without routes.
///
/// What each chain is for: `guard` drops what can only be forged. `remember` notes through which server a connection from
/// outside came in, and marks answers so that policy routing sends them back that way; `forget` takes the mark off again
/// before the tunnel wraps the packet, or the wrapped one would be routed into the tunnel too. `arrive` and `depart` lead published
/// ports to pods; questions to the bridge's own DNS server are never led away. `leave` hides addresses that an answer would
/// not find back to: 127.0.0.1; a pod's from a pod on the same bridge; a server's from its own pod when the way leads through
/// us (it would not take a packet with its own address from outside); a pod's, and a build's, from the world. `protect` and `pass`
/// keep pods and builds from managers, agents and the tunnel itself, and everybody from builds.
fn render_table(fixed: &Fixed) -> String {
    let Fixed { bridge, tunnel, tunnel_port, gateway, subnet, range, control_ports } = fixed;
    let ours = format!("{{ \"{bridge}\", \"{tunnel}\" }}");
    let control = |from: &str| drop_ports(from, control_ports);
    let input_control = control(&format!("iifname \"{bridge}\"")) + &control(&format!("iifname \"{tunnel}\" ip saddr {range}"));
    let forward_control = control(&format!("iifname \"{bridge}\" ip daddr @peers"));
    let (ways, way_range) = (crate::ways::PREFIX, crate::ways::RANGE);
    let [way_input, way_forward] = ["", " ip daddr @peers"].map(|to| control(&format!("iifname \"{ways}*\"{to}")));
    let to_routes = to_routes(gateway);
    format!(
        r#"table inet roost {{
  map routes {{ type inet_proto . inet_service : verdict; }}
  set refused {{ type inet_proto . inet_service; }}
  set peers {{ type ipv4_addr; }}
  set homes {{ type ipv4_addr . ipv4_addr; flags interval; }}
  map entries {{ type ether_addr : mark; }}
  chain guard {{
    type filter hook prerouting priority raw; policy accept;
    iifname "{bridge}" meta nfproto ipv6 drop
    iifname "{bridge}" ip saddr != {subnet} drop
    iifname {ours} ip saddr 127.0.0.0/8 drop
    iifname {ours} ip daddr 127.0.0.0/8 drop
    iifname "{ways}*" meta nfproto ipv6 drop
    iifname "{ways}*" ip saddr != {way_range} drop
    iifname "{ways}*" ip daddr 127.0.0.0/8 drop
  }}
  chain remember {{
    type filter hook prerouting priority mangle; policy accept;
    iifname "{tunnel}" ip saddr != {range} ct state new ct mark set ether saddr map @entries
    iifname "{bridge}" ct direction reply ct mark & {MARK_MASK:#x} == {MARK_BASE:#x} meta mark set ct mark
  }}
  chain arrive {{
    type nat hook prerouting priority dstnat; policy accept;
    {to_routes}
  }}
  chain depart {{
    type nat hook output priority -100; policy accept;
    {to_routes}
  }}
  chain leave {{
    type nat hook postrouting priority srcnat; policy accept;
    oifname {ours} ip saddr 127.0.0.0/8 masquerade
    oifname "{bridge}" ip saddr {subnet} ct status dnat masquerade
    oifname "{tunnel}" ct status dnat ip saddr . ip daddr @homes masquerade
    oifname != {ours} ip saddr {subnet} ip daddr != {range} masquerade
    oifname != "{ways}*" ip saddr {way_range} masquerade
  }}
  chain forget {{
    type filter hook postrouting priority mangle; policy accept;
    oifname "{tunnel}" meta mark & {MARK_MASK:#x} == {MARK_BASE:#x} meta mark set 0
  }}
  chain refuse {{
    meta l4proto tcp reject with tcp reset
    reject with icmpx port-unreachable
  }}
  chain protect {{
    type filter hook input priority filter; policy accept;{input_control}
    iifname {ours} udp dport {tunnel_port} drop
    ct state new meta l4proto . th dport @refused jump refuse{way_input}
  }}
  chain pass {{
    type filter hook forward priority filter; policy accept;{forward_control}
    iifname "{bridge}" ip daddr @peers udp dport {tunnel_port} drop{way_forward}
    oifname "{ways}*" ct state new drop
  }}
}}
"#
    )
}

#[cfg(test)]
mod tests;
