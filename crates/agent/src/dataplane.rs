//! The kernel's network state of this server, computed from what it was told. Pure.

use api::{
    assignment::{Assignment, NetworkAssignment, Peer},
    dataplane::{BRIDGE, Bridge, Dataplane, Overlay, PodLink, Remote, TUNNEL, VXLAN_PORT, tunnel_mac},
    name::InstanceId,
};
use ipnet::Ipv4Net;
use std::net::Ipv4Addr;

/// Everything of ours in the kernel but the pods' own links.
pub fn dataplane(told: &Assignment) -> Dataplane {
    let network = &told.network;
    Dataplane { bridge: bridge(network), overlay: overlay(network), range: network.range, routes: told.routes.to_vec() }
}

/// The bridge of the server's pods.
pub fn bridge(network: &NetworkAssignment) -> Bridge {
    Bridge { name: BRIDGE.to_owned(), address: gateway(network.subnet), subnet: network.subnet }
}

/// The link of one pod.
pub fn pod_link(id: InstanceId, address: Ipv4Addr, network: &NetworkAssignment) -> PodLink {
    PodLink { id, address, prefix: network.subnet.prefix_len(), gateway: gateway(network.subnet), bridge: BRIDGE.to_owned() }
}

/// First host address of a server's subnet: the bridge's, as in [`api::server::ServerSpec::gateway`].
pub fn gateway(subnet: Ipv4Net) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(subnet.network()).saturating_add(1))
}

fn overlay(network: &NetworkAssignment) -> Option<Overlay> {
    if network.peers.is_empty() {
        return None;
    }
    let mut remotes: Vec<Remote> = network.peers.iter().map(remote).collect();
    remotes.sort();
    Some(Overlay {
        name: TUNNEL.to_owned(),
        vni: network.vni,
        port: VXLAN_PORT,
        local: network.underlay,
        address: network.subnet.network(),
        mac: tunnel_mac(network.number),
        number: network.number,
        remotes,
    })
}

fn remote(peer: &Peer) -> Remote {
    Remote {
        number: peer.number,
        underlay: peer.underlay,
        address: peer.subnet.network(),
        mac: tunnel_mac(peer.number),
        subnet: peer.subnet,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;
    use api::{assignment::Route, spec::Protocol};
    use std::sync::Arc;

    #[test]
    fn alone_there_is_a_bridge_and_no_tunnel() {
        let plane = dataplane(&testing::assignment(1));
        assert_eq!(plane.bridge.address, Ipv4Addr::new(10, 70, 1, 1));
        assert_eq!(plane.overlay, None);
        assert_eq!(plane.range, "10.70.0.0/16".parse().unwrap());
    }

    #[test]
    fn peers_become_remotes_in_order_of_number_with_computed_addresses() {
        let mut told = testing::assignment(1);
        told.network.peers = vec![testing::peer(3), testing::peer(2)];
        let overlay = dataplane(&told).overlay.unwrap();
        assert_eq!(overlay.address, Ipv4Addr::new(10, 70, 1, 0));
        assert_eq!(overlay.mac, tunnel_mac(1));
        assert_eq!(overlay.port, 4789);
        let seen: Vec<_> = overlay.remotes.iter().map(|r| (r.number, r.address, r.mac)).collect();
        assert_eq!(seen, [(2, Ipv4Addr::new(10, 70, 2, 0), tunnel_mac(2)), (3, Ipv4Addr::new(10, 70, 3, 0), tunnel_mac(3))]);
    }

    #[test]
    fn routes_are_taken_over_as_they_are() {
        let mut told = testing::assignment(1);
        let route = Route { port: 8080, protocol: Protocol::Tcp, targets: vec!["10.70.1.2:80".parse().unwrap()] };
        told.routes = Arc::new(vec![route.clone()]);
        assert_eq!(dataplane(&told).routes, [route]);
    }

    #[test]
    fn a_pods_link_leads_to_the_bridge() {
        let link = pod_link(InstanceId(7), Ipv4Addr::new(10, 70, 1, 9), &testing::assignment(1).network);
        assert_eq!((link.prefix, link.gateway, link.bridge.as_str()), (24, Ipv4Addr::new(10, 70, 1, 1), "roost0"));
    }
}
