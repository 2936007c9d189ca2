//! Names: what answers is there, what is there answers, and everything else is asked of others. And where instances are put.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use api::view::JobView;
use lab::{Client, Lab, OUTSIDE, Requests, eventually};
use nix::sys::signal::Signal;
use std::{
    collections::{BTreeMap, BTreeSet},
    net::{Ipv4Addr, TcpStream, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
/// How long a connection to a neighbour may take.
const CONNECT: Duration = Duration::from_secs(5);
/// Ends at once when told to.
const HTTPD: [&str; 4] = ["--", "/bin/sh", "-c", "trap 'exit 0' TERM; httpd -f -p 80 -h /www & wait"];

fn addresses(job: &JobView) -> BTreeSet<Ipv4Addr> {
    job.instances.iter().filter_map(|one| one.address).collect()
}

#[test]
fn every_name_is_answered_on_every_server() {
    let lab = Lab::with_tiny(3);
    lab.ok(&[&["addjob", "tiny", "3", "--name", "web", "-s", "spread", "--health-tcp", "80"][..], &HTTPD].concat());
    lab.ok(&["run", "-d", "--stop-timeout", "300ms", "s3:alone", "tiny", "--", "/bin/sleep", "600"]);
    let (job, alone) = (lab.job("web"), lab.container("alone").address.unwrap());
    for server in lab.servers() {
        eventually(SOON, "the job's name", || {
            lab.dig(&server, "web.internal").into_iter().collect::<BTreeSet<_>>() == addresses(&job)
        });
        for one in &job.instances {
            let name = format!("web-{}.web.internal", one.slot);
            eventually(SOON, &name, || lab.dig(&server, &name) == [one.address.unwrap()]);
        }
        eventually(SOON, "the container's name", || lab.dig(&server, "alone.internal") == [alone]);
        for nobody in ["web-4.web.internal", "web-0.web.internal", "nobody.internal"] {
            assert!(lab.dig(&server, nobody).is_empty(), "{nobody}");
        }
    }
    // In turn: the first answer is not always the same.
    let firsts: BTreeSet<_> = (0..20).filter_map(|_| lab.dig("s1", "web.internal").first().copied()).collect();
    assert_eq!(firsts.len(), 3, "{firsts:?}");
    // From inside of a container as well, by its own resolver.
    let out = lab.ok(&["exec", "alone", "--", "/bin/nslookup", "web.internal"]);
    assert!(addresses(&job).iter().all(|address| out.stdout.contains(&address.to_string())), "{out}");
    lab.ok(&["rename", "alone", "other"]);
    eventually(SOON, "the new name", || lab.dig("s1", "other.internal") == [alone] && lab.dig("s1", "alone.internal").is_empty());
    lab.ok(&["stop", "other"]);
    eventually(SOON, "no name of what is stopped", || lab.dig("s2", "other.internal").is_empty());
}

#[test]
fn an_answered_address_accepts_while_a_job_is_scaled_up_and_down() {
    let lab = Lab::with_tiny(2);
    let add = ["addjob", "tiny", "2", "--name", "web", "--stop-timeout", "5s", "--health-tcp", "80"];
    lab.ok(&[&add[..], &HTTPD].concat());
    eventually(SOON, "two addresses", || lab.dig("s1", "web.internal").len() == 2);
    let resolver = lab.resolver("s1");
    let asking = Requests::each(&lab.place("s1"), move |number| {
        let found = Client::resolve(resolver, "web.internal").map_err(|error| format!("no answer: {error}"))?;
        if found.is_empty() {
            return Err("no address of a job that always runs".to_owned());
        }
        // One at a time, for the answer is a second old otherwise when the machine is busy.
        let address = found[usize::try_from(number).unwrap_or(0) % found.len()];
        let asked = base::env::instant();
        let met = TcpStream::connect_timeout(&(address, 80).into(), CONNECT);
        met.map_err(|error| format!("{address} of {found:?} after {:?}: {error}", asked.elapsed()))?;
        Ok(Some(found.len().to_string()))
    });
    for count in ["6", "2", "5", "1", "3"] {
        lab.ok(&["scalejob", "web", count]);
        eventually(SOON, "as many names", || lab.dig("s1", "web.internal").len().to_string() == count);
    }
    asking.stop().none_lost(50);
}

#[test]
fn an_instance_has_no_name_before_it_is_healthy() {
    let lab = Lab::with_tiny(1);
    let script = "while ! test -e /go; do sleep 0.05; done; exec httpd -f -p 80 -h /www";
    let add = ["addjob", "tiny", "1", "--name", "late", "--detach", "--stop-timeout", "300ms", "--health-tcp", "80"];
    lab.ok(&[&add[..], &["--", "/bin/sh", "-c", script]].concat());
    eventually(SOON, "it runs", || lab.job("late").instances.iter().any(|one| one.pid.is_some()));
    let started = base::env::instant();
    while started.elapsed() < Duration::from_secs(1) {
        assert!(lab.dig("s1", "late.internal").is_empty());
    }
    eventually(SOON, "told to go on", || lab.roost(&["exec", "late/1", "--", "/bin/touch", "/go"]).code == 0);
    eventually(SOON, "its name", || lab.dig("s1", "late.internal").len() == 1);
}

/// Answers every question for an address with this one, as the resolver of a real network would, until told to stop.
const FOREIGN: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

fn answer_all(socket: &UdpSocket, done: &AtomicBool) {
    let mut buffer = [0; 512];
    while !done.load(Ordering::Relaxed) {
        let Ok((count, from)) = socket.recv_from(&mut buffer) else { continue };
        // The question, up to its type and class: a header with one answer, itself, and a record that points back to it.
        let name = buffer[12..count].iter().position(|byte| *byte == 0).unwrap();
        let mut reply = buffer[..12 + name + 5].to_vec();
        reply[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
        reply.extend_from_slice(&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4]);
        reply.extend_from_slice(&FOREIGN.octets());
        let _ = socket.send_to(&reply, from);
    }
}

#[test]
fn other_names_are_asked_of_the_servers_own_resolver() {
    let lab = Lab::with_tiny(2);
    let file = lab.files().join("resolv.conf");
    std::fs::write(&file, "nameserver 10.200.0.254\n").unwrap();
    // Only this server sees this file; its agent reads it when it begins.
    lab.inside("s1", &["mount", "--bind", &file.display().to_string(), "/etc/resolv.conf"]).run().must(0);
    lab.own("s1", "agent").unwrap().signal(Signal::SIGKILL);
    let socket = lab.place(OUTSIDE).run(|| UdpSocket::bind("10.200.0.254:53").unwrap());
    socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| answer_all(&socket, &done));
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually(SOON, "an answer of the other resolver", || {
                let out = lab
                    .inside("s1", &["dig", &format!("@{}", lab.resolver("s1")), "+short", "+time=2", "+tries=1", "example.org"])
                    .run();
                out.text() == FOREIGN.to_string()
            });
            assert!(lab.dig("s1", "nobody.internal").is_empty(), "own names are never asked of others");
        }));
        done.store(true, Ordering::Relaxed);
        found.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

#[test]
fn names_of_others_are_not_made_up() {
    let lab = Lab::with_tiny(1);
    let resolver = format!("@{}", lab.resolver("s1"));
    // Nobody to ask is in a sandbox: that is said, and never an address made up or a name said not to be.
    let out = lab.inside("s1", &["dig", &resolver, "+time=5", "+tries=1", "example.org"]).run();
    assert!(!out.stdout.contains("NXDOMAIN") && !out.stdout.contains("ANSWER: 1"), "{out}");
    let out = lab.inside("s1", &["dig", &resolver, "nobody.internal"]).run().must(0);
    assert!(out.stdout.contains("NXDOMAIN"), "{out}");
}

fn counts(job: &JobView) -> BTreeMap<String, usize> {
    let servers = job.instances.iter().filter_map(|one| one.server.as_ref()).map(ToString::to_string);
    servers.fold(BTreeMap::new(), |mut all, server| {
        *all.entry(server).or_default() += 1;
        all
    })
}

#[test]
fn instances_are_put_where_they_were_asked_to_be() {
    let lab = Lab::with_tiny(3);
    let add = |name: &str, count: &str, more: &[&str]| {
        let sleep = ["--", "/bin/sh", "-c", "trap 'exit 0' TERM; sleep 600 & wait"];
        lab.ok(&[&["addjob", "tiny", count, "--name", name, "--memory", "16M"], more, &sleep].concat());
        let found = counts(&lab.job(name));
        assert_eq!(found.values().sum::<usize>().to_string(), count);
        found
    };
    assert!(add("spread", "6", &["-s", "spread"]).values().all(|count| *count == 2));
    let packed = add("packed", "4", &["-s", "binpack"]);
    assert_eq!(packed.len(), 1, "{packed:?}");
    let resource = add("resource", "6", &[]);
    assert!(resource.len() >= 2, "{resource:?}");
    // At most one on a server; the fourth waits and says why, and the others are there.
    assert!(add("limited", "3", &["-r", "1"]).values().all(|count| *count == 1));
    let out = lab.refused(&["scalejob", "limited", "4"], 6);
    assert!(out.stderr.contains("1 per server") || out.stderr.contains("per server"), "{out}");
    // Jobs of one group are together.
    let (first, second) = (add("db", "1", &["-g", "pair"]), add("cache", "2", &["-g", "pair"]));
    assert!(first.len() == 1 && second.keys().eq(first.keys()), "{first:?} {second:?}");
    // Only where the label is.
    lab.ok(&["server", "set", "s3", "disk=ssd"]);
    assert_eq!(add("labelled", "3", &["--require", "disk=ssd"]).into_keys().collect::<Vec<_>>(), ["s3"]);
    let out = lab.refused(&["addjob", "tiny", "1", "--name", "nowhere", "--require", "disk=tape", "--", "/bin/sleep", "600"], 6);
    assert!(out.stderr.contains("3 servers") && out.stderr.contains("disk"), "{out}");
    // Never beside the other.
    let apart = add("apart", "2", &["--avoid", "labelled"]);
    assert!(!apart.contains_key("s3"), "{apart:?}");
    assert_eq!(add("on", "2", &["--on", "s2"]).into_keys().collect::<Vec<_>>(), ["s2"]);
}
