//! Servers as network namespaces on this kernel: what is promised about packets is tried with packets. Needs root.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod lab;

use api::InstanceId;
use driver::{Network, WayOut, build::Way};
use lab::{Lab, dataplane, pod, reply_with_peer, route, say};
use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    time::Duration,
};

const PATIENCE: Duration = Duration::from_secs(5);
const TCP: api::spec::Protocol = api::spec::Protocol::Tcp;
const UDP: api::spec::Protocol = api::spec::Protocol::Udp;

#[test]
fn pods_of_different_servers_reach_each_other_with_whole_packets() {
    let lab = Lab::new(2);
    for number in [1, 2] {
        lab.server(number).network(move |net| {
            net.ensure(&dataplane(number, 2, vec![])).unwrap();
            net.ensure_pod(&pod(number, 2)).unwrap();
            net.ensure_pod(&pod(number, 3)).unwrap();
        });
    }
    let ping = |to: &str, size: &str| lab.server(1).pod_command(2, &["ping", "-c", "1", "-W", "2", "-M", "do", "-s", size, to]);
    ping("10.88.1.3", "56").unwrap();
    ping("10.88.2.2", "56").unwrap();
    // 1450 less 20 for IP and 8 for ICMP fits exactly; one more does not.
    ping("10.88.2.3", "1422").unwrap();
    assert!(ping("10.88.2.3", "1423").is_err());
    lab.server(1).command(&["ping", "-c", "1", "-W", "2", "10.88.2.2"]).unwrap();
    let received = lab.server(2).pod(2, || {
        let listener = TcpListener::bind("0.0.0.0:80").unwrap();
        std::thread::spawn(move || std::io::copy(&mut listener.accept().unwrap().0, &mut std::io::sink()).unwrap())
    });
    lab.server(1).pod(2, || {
        let mut stream = TcpStream::connect_timeout(&"10.88.2.2:80".parse().unwrap(), PATIENCE).unwrap();
        std::io::copy(&mut std::io::Read::take(std::io::repeat(7), 8 << 20), &mut stream).unwrap();
    });
    assert_eq!(received.join().unwrap(), 8 << 20);
}

#[test]
fn a_published_port_leads_to_pods_here_and_there_and_keeps_the_clients_address() {
    let lab = Lab::new(2);
    let routes = || {
        vec![
            route(TCP, 8080, &["10.88.1.2:80", "10.88.2.2:80"]),
            route(UDP, 8080, &["10.88.1.2:80", "10.88.2.2:80"]),
            route(TCP, 9, &[]),
            route(UDP, 9, &[]),
        ]
    };
    for number in [1, 2] {
        lab.server(number).network(move |net| {
            net.ensure(&dataplane(number, 2, routes())).unwrap();
            net.ensure_pod(&pod(number, 2)).unwrap();
        });
        lab.server(number).pod(2, move || reply_with_peer(80, number));
    }
    let both = |answers: Vec<String>, peers: [&str; 2]| {
        let mut answers: Vec<_> = answers.into_iter().collect();
        answers.sort();
        assert_eq!(
            answers,
            [format!("1 {}", peers[0]), format!("1 {}", peers[0]), format!("2 {}", peers[1]), format!("2 {}", peers[1])]
        );
    };
    let four = |protocol, to: &'static str| move || (0..4).map(|_| say(protocol, to)).collect::<Vec<_>>();
    for protocol in [TCP, UDP] {
        // From outside, through either server: the client's own address.
        for server in ["10.200.0.1:8080", "10.200.0.2:8080"] {
            both(lab.client().inside(four(protocol, server)), ["10.200.0.100"; 2]);
        }
        // From the server itself.
        both(lab.server(1).inside(four(protocol, "127.0.0.1:8080")), ["10.88.1.1", "10.88.1.0"]);
        both(lab.server(1).inside(four(protocol, "10.200.0.1:8080")), ["10.200.0.1"; 2]);
        // From a pod, one of the targets being itself: the bridge's address where the way back would not pass us.
        both(lab.server(1).pod(2, four(protocol, "10.200.0.1:8080")), ["10.88.1.1", "10.88.1.2"]);
        both(lab.server(1).pod(2, four(protocol, "10.88.1.1:8080")), ["10.88.1.1", "10.88.1.2"]);
        // Through another server: it sees this one, and shows itself where the way leads back here.
        both(lab.server(1).pod(2, four(protocol, "10.200.0.2:8080")), ["10.88.2.0", "10.200.0.1"]);
        both(lab.server(1).inside(four(protocol, "10.200.0.2:8080")), ["10.88.2.0", "10.200.0.1"]);
    }
    lab.client().inside(|| {
        let refused = TcpStream::connect_timeout(&"10.200.0.1:9".parse().unwrap(), PATIENCE).unwrap_err();
        assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect("10.200.0.1:9").unwrap();
        socket.send(b"?").unwrap();
        assert_eq!(socket.recv(&mut [0; 9]).unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    });
}

#[test]
fn pods_speak_to_the_world_with_their_servers_address() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        net.ensure_pod(&pod(1, 2)).unwrap();
    });
    lab.client().inside(|| reply_with_peer(80, 9));
    assert_eq!(lab.server(1).pod(2, || say(TCP, "10.200.0.100:80")), "9 10.200.0.1");
}

#[test]
fn a_builds_command_reaches_the_world_and_nobody_reaches_it() {
    let lab = Lab::new(2);
    for number in [1, 2] {
        lab.server(number).network(move |net| {
            net.ensure(&dataplane(number, 2, vec![])).unwrap();
            net.ensure_pod(&pod(number, 2)).unwrap();
        });
        lab.server(number).inside(move || [7443, 7444, 7500].map(|port| reply_with_peer(port, number)));
    }
    lab.client().inside(|| reply_with_peer(80, 9));
    let before = lab.server(1).inside(lab::everything);
    let server = lab.server(1);
    let way = |id, connected| server.network(move |net| WayOut::open(net, InstanceId(id), connected).unwrap());
    let within = |way: &Way, to: &'static str| {
        let path = way.path.clone();
        server.inside(move || lab::in_namespace(&std::fs::File::open(&path).unwrap(), || say_within(to)))
    };
    let (one, two, none) = (way(1, true), way(2, true), way(3, false));
    assert_eq!(within(&one, "10.200.0.100:80").as_deref(), Some("9 10.200.0.1"), "the world sees the server's address");
    assert_eq!(within(&two, "10.200.0.2:7500").as_deref(), Some("2 10.200.0.1"));
    for closed in ["10.88.1.1:7443", "10.200.0.1:7444", "10.200.0.2:7443", "10.88.2.1:7444"] {
        assert_eq!(within(&one, closed), None, "a build reached {closed}");
    }
    assert_eq!(within(&none, "10.200.0.100:80"), None);
    // A listener inside is for nobody outside.
    let path = two.path.clone();
    server.inside(move || lab::in_namespace(&std::fs::File::open(&path).unwrap(), || reply_with_peer(90, 5)));
    let address = SocketAddr::from((two.address, 90));
    let reach = move || TcpStream::connect_timeout(&address, Duration::from_millis(400)).is_ok();
    assert!(!server.pod(2, reach) && !lab.client().inside(reach));
    server.network(|net| [1, 2, 3].map(|id| WayOut::close(net, InstanceId(id)).unwrap()));
    assert_eq!(server.inside(lab::everything), before, "nothing is left");
    // What a killed process left goes with the next.
    way(4, true);
    server.network(|net| WayOut::close_all(net).unwrap());
    assert_eq!(server.inside(lab::everything), before);
}

/// What a server says, if it is reached.
fn say_within(to: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&to.parse().unwrap(), Duration::from_millis(400)).ok()?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut stream, &mut text).ok()?;
    Some(text)
}

#[test]
fn pods_do_not_reach_managers_and_agents_of_any_server() {
    let lab = Lab::new(2);
    for number in [1, 2] {
        lab.server(number).network(move |net| {
            net.ensure(&dataplane(number, 2, vec![])).unwrap();
            net.ensure_pod(&pod(number, 2)).unwrap();
        });
        lab.server(number).inside(move || {
            for port in [7443, 7444, 7500] {
                reply_with_peer(port, number);
            }
        });
    }
    let reach =
        |to: String| move || TcpStream::connect_timeout(&to.parse::<SocketAddr>().unwrap(), Duration::from_millis(400)).is_ok();
    for address in ["10.88.1.1", "10.200.0.1", "10.88.2.1", "10.88.2.0", "10.200.0.2", "127.0.0.1"] {
        for port in [7443, 7444] {
            assert!(!lab.server(1).pod(2, reach(format!("{address}:{port}"))), "a pod reached {address}:{port}");
        }
    }
    for address in ["10.88.1.1", "10.200.0.1", "10.88.2.1", "10.200.0.2"] {
        assert!(lab.server(1).pod(2, reach(format!("{address}:7500"))), "a pod could not reach {address}:7500");
        assert!(lab.server(1).inside(reach(format!("{address}:7500"))));
    }
    assert!(lab.server(1).inside(reach("10.200.0.2:7443".into())));
    assert!(lab.client().inside(reach("10.200.0.2:7443".into())));
}

#[test]
fn a_pod_cannot_take_an_address_that_is_not_of_its_subnet() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        net.ensure_pod(&pod(1, 2)).unwrap();
    });
    lab.client().inside(|| reply_with_peer(80, 9));
    let from = |address: &'static str| {
        lab.server(1).pod_command(2, &["ip", "address", "replace", &format!("{address}/32"), "dev", "eth0"]).unwrap();
        lab.server(1).pod_command(2, &["ping", "-c", "1", "-W", "1", "-I", address, "10.88.1.1"]).is_ok()
    };
    assert!(from("10.88.1.77"));
    assert!(!from("10.200.0.100"));
    assert!(!from("10.88.9.9"));
}

#[test]
fn a_second_look_changes_nothing_and_damage_is_repaired() {
    let lab = Lab::new(3);
    lab.server(1).network(|net| {
        let wanted = dataplane(1, 3, vec![route(TCP, 80, &["10.88.1.2:80"])]);
        let first = net.apply(&wanted).unwrap();
        assert!(first.links > 5 && first.rules, "{first:?}");
        assert_eq!(net.apply(&wanted).unwrap(), net::Applied::default());
        for damage in [
            "ip neighbour del 10.88.2.0 dev roost-vx",
            "bridge fdb del 02:52:53:54:00:02 dev roost-vx dst 10.200.0.2",
            "ip route del 10.88.3.0/24",
            "ip rule del fwmark 0x52530002",
            "ip link set roost0 down",
            "ip address del 10.88.1.1/24 dev roost0",
            "ip link set roost-vx mtu 1400",
            "ip link del roost0",
            "ip link del roost-vx",
        ] {
            lab::run(&damage.split(' ').collect::<Vec<_>>()).unwrap();
            let repaired = net.apply(&wanted).unwrap();
            assert!(repaired.links > 0 && !repaired.rules, "{damage}: {repaired:?}");
            assert_eq!(net.apply(&wanted).unwrap(), net::Applied::default(), "{damage}");
        }
        let listing = || lab::run(&["nft", "list", "table", "inet", "roost"]);
        let whole = listing().unwrap();
        for damage in ["nft flush ruleset", "nft delete table inet roost", "nft flush chain inet roost protect"] {
            lab::run(&damage.split(' ').collect::<Vec<_>>()).unwrap();
            assert_ne!(listing().ok().as_ref(), Some(&whole));
            assert!(net.apply(&wanted).unwrap().rules);
            assert_eq!(listing().unwrap(), whole);
        }
        // A server that left leaves nothing.
        net.apply(&dataplane(1, 2, vec![])).unwrap();
        for list in [
            "ip neighbour show dev roost-vx",
            "bridge fdb show dev roost-vx",
            "ip route show table all",
            "ip rule",
            "nft list table inet roost",
        ] {
            let text = lab::run(&list.split(' ').collect::<Vec<_>>()).unwrap();
            assert!(!text.contains("10.88.3.") && !text.contains("00:03") && !text.contains("10003"), "{list}: {text}");
        }
    });
}

#[test]
fn changes_in_steps_give_the_same_rules_as_all_at_once() {
    let lab = Lab::new(3);
    lab.server(1).network(|net| {
        let sets: [&[&str]; 4] = [&[], &["10.88.1.2:80"], &["10.88.1.2:80", "10.88.2.2:81"], &["10.88.1.9:80"]];
        let states = (0..12usize).map(|step| {
            let routes = (0..6usize).filter(|i| (step * 7 + i) % 5 != 0);
            let routes = routes.map(|i| route(if i % 2 == 0 { TCP } else { UDP }, 100 + i as u16, sets[(step + i) % 4]));
            dataplane(1, 1 + (step % 3) as u16, routes.collect())
        });
        let listing = || {
            let mut parsed: serde_json::Value =
                serde_json::from_str(&lab::run(&["nft", "-j", "list", "table", "inet", "roost"]).unwrap()).unwrap();
            let mut objects: Vec<_> = parsed["nftables"].as_array_mut().unwrap().iter_mut().map(lab::canonical).collect();
            objects.sort();
            objects
        };
        for (step, state) in states.enumerate() {
            net.apply(&state).unwrap();
            let in_steps = listing();
            lab::run(&["nft", "delete", "table", "inet", "roost"]).unwrap();
            net.apply(&state).unwrap();
            assert_eq!(in_steps, listing(), "step {step}");
        }
    });
}

#[test]
fn connections_and_bytes_are_counted() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        net.ensure_pod(&pod(1, 2)).unwrap();
    });
    let id = pod(1, 2).id;
    let listener = lab.server(1).pod(2, || TcpListener::bind("0.0.0.0:80").unwrap());
    let stream = lab.server(1).inside(|| TcpStream::connect_timeout(&"10.88.1.2:80".parse().unwrap(), PATIENCE).unwrap());
    let mut accepted = listener.accept().unwrap().0;
    assert_eq!(lab.server(1).network(move |net| net.connections(id).unwrap()), 1);
    let before = lab.server(1).network(move |net| net.traffic(id).unwrap());
    std::io::Write::write_all(&mut accepted, &[1; 50_000]).unwrap();
    let mut received = vec![0; 50_000];
    std::io::Read::read_exact(&mut &stream, &mut received).unwrap();
    let after = lab.server(1).network(move |net| net.traffic(id).unwrap());
    assert!(after.1 - before.1 >= 50_000 && after.0 > before.0 && after.0 - before.0 < 50_000, "{before:?} {after:?}");
    drop((accepted, stream));
    let deadline = std::time::Duration::from_millis(20);
    assert!((0..100).any(|_| {
        std::thread::sleep(deadline);
        lab.server(1).network(move |net| net.connections(id).unwrap()) == 0
    }));
}

#[test]
fn udp_flows_leave_a_target_that_left() {
    let lab = Lab::new(1);
    let with = |targets: &'static [&'static str]| dataplane(1, 1, vec![route(UDP, 53, targets)]);
    lab.server(1).network(move |net| {
        net.ensure(&with(&["10.88.1.2:53"])).unwrap();
        for host in [2, 3] {
            net.ensure_pod(&pod(1, host)).unwrap();
        }
    });
    for host in [2, 3] {
        lab.server(1).pod(host, move || reply_with_peer(53, host));
    }
    let socket = lab.client().inside(|| {
        let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.connect("10.200.0.1:53").unwrap();
        socket
    });
    let ask = || {
        let mut buffer = [0; 64];
        socket.send(b"?").unwrap();
        let length = socket.recv(&mut buffer).unwrap();
        String::from_utf8_lossy(&buffer[..length]).into_owned()
    };
    assert_eq!(ask(), "2 10.200.0.100");
    lab.server(1).network(move |net| net.ensure(&with(&["10.88.1.3:53"])).unwrap());
    assert_eq!(ask(), "3 10.200.0.100");
}

#[test]
fn pods_follow_the_underlays_mtu() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        net.ensure_pod(&pod(1, 2)).unwrap();
        lab::run(&["ip", "link", "set", "eth0", "mtu", "1400"]).unwrap();
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
    });
    let inside = lab.server(1).pod_command(2, &["ip", "link", "show", "eth0"]).unwrap();
    assert!(inside.contains("mtu 1350"), "{inside}");
}

#[test]
fn a_pod_is_repaired_and_removed_without_a_trace() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        let link = pod(1, 2);
        let path = net.ensure_pod(&link).unwrap();
        let state = || {
            let file = std::fs::File::open(&path).unwrap();
            let inside =
                lab::in_namespace(&file, || lab::run(&["ip", "-br", "address"]).unwrap() + &lab::run(&["ip", "route"]).unwrap());
            let outside = lab::run(&["ip", "-br", "link", "show", "master", "roost0"]).unwrap();
            let words =
                |text: String| text.split_whitespace().map(|w| w.split('@').next().unwrap().to_owned()).collect::<Vec<_>>();
            (words(inside), words(outside).into_iter().take(2).collect::<Vec<_>>())
        };
        // The kernel reports a link's carrier a moment after it is there.
        let wait = || std::thread::sleep(Duration::from_millis(20));
        let becomes = |good: &dyn Fn() -> bool| (0..100).any(|_| good() || (wait(), false).1);
        assert!(becomes(&|| state().0.contains(&"UP".to_owned())));
        let good = state();
        let name = net::host_link(link.id);
        for damage in [
            vec!["ip", "link", "del", &name],
            vec!["ip", "link", "set", &name, "nomaster"],
            vec!["ip", "link", "set", &name, "down"],
        ] {
            lab::run(&damage).unwrap();
            assert_ne!(state(), good);
            net.ensure_pod(&link).unwrap();
            assert!(becomes(&|| state() == good), "{damage:?}: {:?}", state());
        }
        // The machine restarted: a plain file is left where a namespace was held.
        lab::run(&["umount", path.to_str().unwrap()]).unwrap();
        net.ensure_pod(&link).unwrap();
        assert!(becomes(&|| state() == good));
        assert_eq!(net.observe_pods().unwrap(), [link.id]);
        net.remove_pod(link.id).unwrap();
        net.remove_pod(link.id).unwrap();
        assert_eq!(net.observe_pods().unwrap(), []);
        assert!(!path.exists());
        assert!(net.connections(link.id).is_err());
    });
}

#[test]
fn a_hundred_pods_come_and_go_and_clear_leaves_nothing() {
    let lab = Lab::new(2);
    lab.server(1).network(|net| {
        let before = lab::everything();
        net.ensure(&dataplane(1, 2, vec![route(TCP, 80, &["10.88.1.2:80"])])).unwrap();
        let took = |what: &str, work: &mut dyn FnMut(u16)| {
            let mut each: Vec<_> = (2..102u16)
                .map(|host| {
                    let start = base::env::instant();
                    work(host);
                    start.elapsed()
                })
                .collect();
            each.sort();
            eprintln!("{what}: min {:?} median {:?} max {:?}", each[0], each[50], each[99]);
        };
        took("ensure_pod", &mut |host| drop(net.ensure_pod(&pod(1, host)).unwrap()));
        took("ensure_pod again", &mut |host| drop(net.ensure_pod(&pod(1, host)).unwrap()));
        took("ensure, one route changed", &mut |host| {
            net.ensure(&dataplane(1, 2, vec![route(TCP, 80, &[&format!("10.88.1.{host}:80")])])).unwrap()
        });
        took("ensure, nothing changed", &mut |_| {
            net.ensure(&dataplane(1, 2, vec![route(TCP, 80, &["10.88.1.101:80"])])).unwrap()
        });
        took("connections", &mut |host| assert_eq!(net.connections(pod(1, host).id).unwrap(), 0));
        assert_eq!(net.observe_pods().unwrap().len(), 100);
        took("remove_pod", &mut |host| {
            if host < 52 {
                net.remove_pod(pod(1, host).id).unwrap();
            }
        });
        assert_eq!(net.observe_pods().unwrap().len(), 50);
        net.clear().unwrap();
        assert_eq!(net.observe_pods().unwrap(), []);
        assert_eq!(lab::everything(), before);
        net.clear().unwrap();
    });
}

#[test]
fn what_stands_in_the_way_is_told_and_left_alone() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        assert_eq!(net.problems(), Vec::<String>::new());
        lab::run(&["nft", "add", "table", "ip", "filter"]).unwrap();
        lab::run(&["nft", "add", "chain", "ip", "filter", "FORWARD", "{ type filter hook forward priority 0; policy drop; }"])
            .unwrap();
        net.ensure(&dataplane(1, 1, vec![])).unwrap();
        let problems = net.problems();
        assert!(problems.len() == 1 && problems[0].contains("table ip filter, chain FORWARD"), "{problems:?}");
        lab::run(&["nft", "add", "rule", "ip", "filter", "FORWARD", "iifname", "roost0", "accept"]).unwrap();
        assert_eq!(net.problems(), Vec::<String>::new());
        net.clear().unwrap();
        assert!(lab::run(&["nft", "list", "ruleset"]).unwrap().contains("policy drop"));
    });
}

#[test]
fn what_cannot_be_is_said_in_a_sentence() {
    let lab = Lab::new(1);
    lab.server(1).network(|net| {
        let mut wrong = dataplane(1, 1, vec![]);
        wrong.overlay.as_mut().unwrap().local = Ipv4Addr::new(10, 9, 9, 9).into();
        let error = net.ensure(&wrong).unwrap_err();
        assert!(
            error.retryable && error.message == "no interface of this server has the address 10.9.9.9 that its tunnel shall use",
            "{error}"
        );
        let error = net.ensure_pod(&pod(1, 2)).unwrap_err();
        assert!(error.retryable && error.message.starts_with("bridge roost0 is not there"), "{error}");
        wrong.bridge.name = "a\"b".into();
        assert!(!net.ensure(&wrong).unwrap_err().retryable);
    });
}
