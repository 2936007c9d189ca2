//! Golden files of the rules, and the laws of changes.

use super::*;
use api::{
    assignment::Route,
    dataplane::{Bridge, Overlay, Remote, tunnel_mac},
};
use proptest::prelude::*;

fn route(protocol: Protocol, port: u16, targets: &[&str]) -> Route {
    Route { port, protocol, targets: targets.iter().map(|t| t.parse().unwrap()).collect() }
}

fn remote(number: u16) -> Remote {
    let low = number as u8;
    Remote {
        number,
        underlay: [192, 168, 0, low].into(),
        address: [10, 88, low, 0].into(),
        mac: tunnel_mac(number),
        subnet: format!("10.88.{low}.0/24").parse().unwrap(),
    }
}

fn dataplane(remotes: Vec<Remote>, routes: Vec<Route>) -> Dataplane {
    Dataplane {
        bridge: Bridge { name: "roost0".into(), address: [10, 88, 1, 1].into(), subnet: "10.88.1.0/24".parse().unwrap() },
        overlay: Some(Overlay {
            name: "roost-vx".into(),
            vni: 7,
            port: 4789,
            local: [192, 168, 0, 1].into(),
            address: [10, 88, 1, 0].into(),
            mac: tunnel_mac(1),
            number: 1,
            remotes,
        }),
        range: "10.88.0.0/16".parse().unwrap(),
        routes,
    }
}

fn ruleset(remotes: Vec<Remote>, routes: Vec<Route>) -> Ruleset {
    Ruleset::new(&dataplane(remotes, routes), &[7443, 7444])
}

#[test]
fn the_whole_table() {
    let routes = vec![
        route(Protocol::Tcp, 8080, &["10.88.1.2:80", "10.88.2.2:81"]),
        route(Protocol::Udp, 5353, &["10.88.1.3:53"]),
        route(Protocol::Tcp, 9000, &[]),
    ];
    insta::assert_snapshot!(render_whole(&ruleset(vec![remote(2), remote(3)], routes)));
}

#[test]
fn a_change_says_what_changed_and_nothing_else() {
    let old = ruleset(
        vec![remote(2)],
        vec![
            route(Protocol::Tcp, 1, &["10.88.1.2:80"]),
            route(Protocol::Tcp, 2, &["10.88.1.2:80"]),
            route(Protocol::Tcp, 3, &[]),
            route(Protocol::Tcp, 4, &["10.88.1.2:80"]),
            route(Protocol::Tcp, 5, &["10.88.1.2:80"]),
            route(Protocol::Tcp, 6, &[]),
        ],
    );
    let new = ruleset(
        vec![remote(3)],
        vec![
            route(Protocol::Tcp, 1, &["10.88.1.2:80"]),
            route(Protocol::Tcp, 2, &["10.88.1.2:80", "10.88.3.9:80"]),
            route(Protocol::Tcp, 3, &["10.88.1.2:80"]),
            route(Protocol::Tcp, 4, &[]),
            route(Protocol::Udp, 7, &["10.88.1.2:53"]),
        ],
    );
    insta::assert_snapshot!(render_changes(&old, &new).unwrap(), @r"
    delete element inet roost peers { 192.168.0.2 }
    add element inet roost peers { 192.168.0.3 }
    delete element inet roost homes { 192.168.0.2 . 10.88.2.0/24 }
    add element inet roost homes { 192.168.0.3 . 10.88.3.0/24 }
    delete element inet roost entries { 02:52:53:54:00:02 : 0x52530002 }
    add element inet roost entries { 02:52:53:54:00:03 : 0x52530003 }
    flush chain inet roost tcp-2
    add rule inet roost tcp-2 meta l4proto tcp dnat ip addr . port to numgen inc mod 2 map { 0 : 10.88.1.2 . 80, 1 : 10.88.3.9 . 80 }
    delete element inet roost refused { tcp . 3 }
    add chain inet roost tcp-3
    add rule inet roost tcp-3 meta l4proto tcp dnat ip to 10.88.1.2:80
    add element inet roost routes { tcp . 3 : goto tcp-3 }
    delete element inet roost routes { tcp . 4 }
    flush chain inet roost tcp-4
    delete chain inet roost tcp-4
    add element inet roost refused { tcp . 4 }
    delete element inet roost routes { tcp . 5 }
    flush chain inet roost tcp-5
    delete chain inet roost tcp-5
    delete element inet roost refused { tcp . 6 }
    add chain inet roost udp-7
    add rule inet roost udp-7 meta l4proto udp dnat ip to 10.88.1.2:53
    add element inet roost routes { udp . 7 : goto udp-7 }
    ");
    assert_eq!(render_changes(&new, &new), None);
}

#[test]
fn another_place_in_the_cluster_makes_a_new_table() {
    let old = ruleset(vec![remote(2)], vec![]);
    let mut moved = dataplane(vec![remote(2)], vec![]);
    moved.bridge.subnet = "10.88.9.0/24".parse().unwrap();
    let moved = Ruleset::new(&moved, &[7443, 7444]);
    assert_eq!(render_changes(&old, &moved), Some(render_whole(&moved)));
}

#[test]
fn only_udp_targets_that_left_are_forgotten() {
    let old = ruleset(
        vec![],
        vec![route(Protocol::Udp, 53, &["10.88.1.2:53", "10.88.1.3:53"]), route(Protocol::Tcp, 53, &["10.88.1.4:53"])],
    );
    let new = ruleset(vec![], vec![route(Protocol::Udp, 53, &["10.88.1.3:53"])]);
    assert_eq!(old.udp_targets_gone(&new), ["10.88.1.2:53".parse().unwrap()]);
    assert_eq!(new.udp_targets_gone(&old), []);
}

fn any_routes() -> impl Strategy<Value = Vec<Route>> {
    let targets = proptest::collection::vec((0u8..4, 80u16..82), 0..4);
    proptest::collection::vec((1u16..40, any::<bool>(), targets), 0..30).prop_map(|routes| {
        let target = |(host, port): (u8, u16)| SocketAddrV4::new([10, 88, 1, host].into(), port);
        let protocol = |udp| if udp { Protocol::Udp } else { Protocol::Tcp };
        routes
            .into_iter()
            .map(|(port, udp, targets)| Route {
                port,
                protocol: protocol(udp),
                targets: targets.into_iter().map(target).collect(),
            })
            .collect()
    })
}

proptest! {
    #[test]
    fn a_change_has_no_line_about_a_route_that_stays(old in any_routes(), extra in 100u16..200) {
        let before = ruleset(vec![], old.clone());
        let mut routes = old;
        routes.push(route(Protocol::Tcp, extra, &["10.88.1.2:80"]));
        let text = render_changes(&before, &ruleset(vec![], routes)).unwrap();
        prop_assert_eq!(text.lines().count(), 3);
        prop_assert!(text.lines().all(|line| line.contains(&format!("tcp-{extra}"))), "{}", text);
    }
}
