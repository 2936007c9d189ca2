//! Containers reach each other and are reached: across servers, through published ports, with the client's own address.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use lab::{Client, Lab, OUTSIDE, eventually};
use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

/// A web server that writes down who asks.
const HTTPD: [&str; 8] = ["--", "/bin/httpd", "-f", "-vv", "-p", "80", "-h", "/www"];

fn run(lab: &Lab, name: &str, more: &[&str]) {
    lab.ok(&[&["run", "-d", "--stop-timeout", "300ms", "--health-tcp", "80"], more, &[name, "tiny"], &HTTPD].concat());
}

fn get(lab: &Lab, from: &str, to: SocketAddr) -> Result<String, String> {
    lab.place(from).run(|| Client::get(to).map_err(|error| error.to_string()))
}

#[test]
fn pods_reach_each_other_with_packets_of_full_size() {
    let lab = Lab::with_tiny(3);
    for server in lab.servers() {
        run(&lab, &format!("{server}:on-{server}"), &[]);
        let big = "dd if=/dev/zero bs=1024 count=8192 2>/dev/null | tr '\\0' x > /www/big";
        lab.ok(&["exec", &format!("on-{server}"), "--", "/bin/sh", "-c", big]);
    }
    for from in lab.servers() {
        for to in lab.servers().iter().filter(|to| **to != from) {
            let address = lab.container(&format!("on-{to}")).address.unwrap().to_string();
            let script = format!("wget -q -O - http://{address}/big | wc -c");
            let fetch = ["exec", &format!("on-{from}"), "--", "/bin/sh", "-c", &script];
            assert_eq!(lab.ok(&fetch).text(), (8192 * 1024).to_string(), "{from} to {to}");
            // The largest packet that must get through whole: the link's own size less the headers of IP and ICMP.
            let mtu: u32 =
                lab.ok(&["exec", &format!("on-{from}"), "--", "/bin/cat", "/sys/class/net/eth0/mtu"]).text().parse().unwrap();
            let size = (mtu - 28).to_string();
            let out = lab.roost(&["exec", &format!("on-{from}"), "--", "/bin/ping", "-c", "1", "-W", "5", "-s", &size, &address]);
            assert!(out.code == 0 || out.stderr.contains("permission"), "{out}");
        }
    }
}

#[test]
fn a_published_port_shows_the_clients_own_address() {
    let lab = Lab::with_tiny(2);
    for (server, name, port) in [("s1", "near", "8081:80"), ("s2", "far", "8082:80")] {
        run(&lab, &format!("{server}:{name}"), &["-p", port]);
    }
    let client = lab.inside(OUTSIDE, &["ip", "-oneline", "-4", "route", "get", "10.200.0.1"]).run().must(0);
    let client = client.stdout.split(" src ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    for (server, name, port) in [("s1", "near", 8081), ("s2", "far", 8082)] {
        assert_eq!(get(&lab, OUTSIDE, (lab.address(server), port).into()).unwrap(), "tiny\n");
        eventually(SOON, "the client in the log", || {
            let out = lab.ok(&["logs", name]);
            (out.stdout + &out.stderr).contains(&client)
        });
    }
}

#[test]
fn a_jobs_port_is_on_every_server_and_leads_to_every_instance() {
    let lab = Lab::with_tiny(3);
    let job =
        ["addjob", "tiny", "2", "--name", "web", "--stop-timeout", "1s", "--health-tcp", "80", "-r", "1", "-p", "8080:80", "--"];
    let script = "hostname > /www/index.html; exec httpd -f -vv -p 80 -h /www";
    lab.ok(&[&job[..], &["/bin/sh", "-c", script]].concat());
    let client = lab.inside(OUTSIDE, &["ip", "-oneline", "-4", "route", "get", "10.200.0.1"]).run().must(0);
    let client = client.stdout.split(" src ").nth(1).and_then(|rest| rest.split(' ').next()).unwrap().to_owned();
    for server in lab.servers() {
        let mut seen = std::collections::BTreeSet::new();
        eventually(SOON, "pages of both instances", || {
            seen.extend(get(&lab, OUTSIDE, (lab.address(&server), 8080).into()));
            seen.len() == 2
        });
    }
    // Also where the port's server is not the instance's.
    for instance in ["web/1", "web/2"] {
        let out = lab.ok(&["logs", instance]);
        let log = out.stdout + &out.stderr;
        let peers: std::collections::BTreeSet<&str> = log.split(['[', ' ', '\n']).filter(|word| word.contains(&client)).collect();
        assert!(!peers.is_empty(), "{instance} was asked by {client}: {log}");
        assert!(!log.contains("10.0.") || log.lines().all(|line| !line.contains(":10.0.")), "{log}");
    }
    lab.ok(&["deljob", "web"]);
    for server in lab.servers() {
        eventually(SOON, "the port is closed", || get(&lab, OUTSIDE, (lab.address(&server), 8080).into()).is_err());
    }
}

#[test]
fn ports_come_and_go_one_by_one() {
    let lab = Lab::with_tiny(2);
    run(&lab, "s2:two", &["-p", "8001:80", "-p", "8002:80"]);
    let open = |port: u16| get(&lab, OUTSIDE, (lab.address("s2"), port).into()).is_ok();
    assert!(open(8001) && open(8002));
    lab.ok(&["unpub", "two", "8001:80"]);
    eventually(SOON, "one is closed", || !open(8001));
    assert!(open(8002));
    lab.ok(&["pub", "s2:two", "8003:80"]);
    eventually(SOON, "another is open", || open(8003));
    assert!(open(8002) && !open(8001));
    let listed = lab.ok(&["listpubs"]).stdout;
    assert!(listed.contains("8002") && listed.contains("8003") && !listed.contains("8001"), "{listed}");
    lab.refused(&["pub", "two", "8002:81"], 2);
    run(&lab, "s2:other", &[]);
    lab.refused(&["pub", "other", "8002:80"], 4);
    lab.ok(&["stop", "two"]);
    eventually(SOON, "a stopped container's ports are closed", || !open(8002));
    lab.ok(&["start", "two"]);
    eventually(SOON, "and open again", || open(8002) && open(8003));
    lab.ok(&["rm", "-f", "two"]);
    eventually(SOON, "a removed container's ports are closed", || !open(8002) && !open(8003));
}

#[test]
fn a_server_reaches_its_own_published_ports() {
    let lab = Lab::with_tiny(2);
    run(&lab, "s1:own", &["-p", "8080:80"]);
    for to in [Ipv4Addr::LOCALHOST, lab.address("s1")] {
        assert_eq!(get(&lab, "s1", (to, 8080).into()).unwrap(), "tiny\n", "{to}");
    }
    assert_eq!(get(&lab, "s2", (lab.address("s1"), 8080).into()).unwrap(), "tiny\n");
}
