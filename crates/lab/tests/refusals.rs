//! Wrong input: one clear sentence each, the right exit code, and nothing changed.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use api::{
    Name,
    image::ImageRecord,
    server::{Liveness, ServerSpec},
    view::{ContainerView, JobView},
};
use insta::assert_snapshot;
use lab::{Lab, OUTSIDE, Root, eventually};
use std::{io::Write, path::PathBuf, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
/// What is refused is refused at once, not when something timed out.
const QUICK: Duration = Duration::from_secs(10);

/// Everything a refused command could have changed.
#[derive(Debug, PartialEq)]
struct State {
    containers: Vec<ContainerView>,
    jobs: Vec<JobView>,
    images: Vec<ImageRecord>,
    servers: Vec<ServerSpec>,
}

fn state(lab: &Lab) -> State {
    State {
        containers: lab.containers(),
        jobs: lab.get(&["listjobs"]),
        images: lab.get(&["image", "list"]),
        servers: lab.server_views().into_iter().map(|server| server.spec).collect(),
    }
}

/// What a command says that must be refused with this exit code, having changed nothing.
#[track_caller]
fn no(lab: &Lab, line: &str, code: i32) -> String {
    let words: Vec<&str> = line.split(' ').collect();
    let before = state(lab);
    let out = lab.roost(&words).must(code);
    assert_eq!(state(lab), before, "it changed something\n{out}");
    assert!(out.took < QUICK, "too slow\n{out}");
    assert_eq!(out.stdout, "");
    without_figures(out.stderr)
}

/// What is free differs from machine to machine.
fn without_figures(text: String) -> String {
    match text.split_once("largest free: ").and_then(|(head, rest)| Some((head, rest.split_once(" on ")?.1))) {
        Some((head, tail)) => format!("{head}largest free: … on {tail}"),
        None => text,
    }
}

/// Two servers with the image `tiny` and a container `web` on s1 whose port is published as 8080.
fn with_web() -> Lab {
    let lab = Lab::with_tiny(2);
    lab.ok(&["run", "-d", "s1:web", "tiny", "-p", "8080:80", "--", "/bin/httpd", "-f", "-p", "80", "-h", "/www"]);
    lab
}

#[test]
fn containers() {
    let lab = with_web();
    assert_snapshot!(no(&lab, "run -d web tiny", 4), @r"
    error: there is a container web already
      see: roost show web
    ");
    assert_snapshot!(no(&lab, "run -d c1 tiny -p 8080:80 --server s1", 4), @"error: port 8080 is taken on s1 by container web: choose another");
    assert_snapshot!(no(&lab, "run -d Bad_Name tiny", 2), @r#"error: "Bad_Name" is not a container name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"#);
    assert_snapshot!(no(&lab, "run -d web/0 tiny", 2), @r#"error: "web/0" is not a container name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"#);
    assert_snapshot!(no(&lab, "run -d c1 tiny --memory 12X", 2), @r#"error: --memory: "12X" is not a size: write a number and K, M, G or T, as in 512M"#);
    assert_snapshot!(no(&lab, "run -d c1 tiny --memory 1K", 2), @"error: memory 1K of container main is too small: at least 4M");
    assert_snapshot!(no(&lab, "run -d c1 tiny --cpu x", 2), @r#"error: --cpu: "x" is not a number of cores: write cores, as in 0.5 or 2"#);
    assert_snapshot!(no(&lab, "run -d c1 tiny --pids 0", 2), @"error: container main may have 0 processes: at least 1");
    assert_snapshot!(no(&lab, "run -d c1 tiny --network other", 3), @r"
    error: no network other
      leave --network out: every container is in the cluster's own network
    ");
    assert_snapshot!(no(&lab, "run -d c1 tiny --ip 10.9.9.9 --server s1", 2), @"error: address 10.9.9.9 is outside the subnet: use one of 10.0.1.0/24 on s1");
    assert_snapshot!(no(&lab, "run -d c1 tiny --ip 10.9.9.9", 2), @"error: address 10.9.9.9 is outside the subnet: use one of 10.0.1.0/24 on s1, 10.0.2.0/24 on s2");
    assert_snapshot!(no(&lab, "run -d c1 tiny --ip 10.0.1.1 --server s1", 2), @"error: address 10.0.1.1 is the network's own: use another of 10.0.1.0/24");
    assert_snapshot!(no(&lab, "run -d c1 tiny --ip 10.0.1.2 --server s1", 4), @"error: address 10.0.1.2 is taken by web");
    assert_snapshot!(no(&lab, "run -d c1 tiny --server s4", 3), @"error: no server s4 (did you mean s1, s2?)");
    assert_snapshot!(no(&lab, "run -d c1 tiny -p 80.", 2), @r#"error: --publish: "80." is not a port: leave out the full stop, as in 80"#);
    assert_snapshot!(no(&lab, "run -d c1 tiny -p 1:1 -p 1:2", 2), @"error: port 1 is published twice");
    assert_snapshot!(no(&lab, "run -d c1 tiny -v x:y", 2), @r#"error: --volume: "x:y" is not a mount: both paths begin with /"#);
    assert_snapshot!(no(&lab, "kill -s SIGNO c1", 2), @r#"error: --signal: "SIGNO" is not a signal: use a name, as in SIGTERM, or 1 to 64"#);
    assert_snapshot!(no(&lab, "run -d c1 tiny --health-http x", 2), @r#"error: "x" is not an HTTP check: write a port and a path, as in 80/health"#);
    assert_snapshot!(no(&lab, "exec s4:web -- sh", 3), @"error: no server s4 (did you mean s1, s2?)");
    assert_snapshot!(no(&lab, "exec s2:web -- sh", 3), @"error: container web is on s1, not on s2");
    assert_snapshot!(no(&lab, "exec wbe -- sh", 3), @"error: no container wbe (did you mean web?)");
    assert_snapshot!(no(&lab, "exec web -- /bin/nothing", 127), @r#"roost: program "/bin/nothing" does not exist in the container, or the interpreter it asks for does not"#);
    assert_snapshot!(no(&lab, "stop web/0", 2), @r#"error: "0" is not an instance number: instances count from 1, as in web/1"#);
    assert_snapshot!(no(&lab, "stop web/1", 3), @r"
    error: web is a container, not a job: it has no instance 1
      see: roost show web
    ");
    assert_snapshot!(no(&lab, "rm web", 4), @r"
    error: container web is running
      stop it first, or: roost rm -f web
    ");
    assert_snapshot!(no(&lab, "rename web web", 4), @r"
    error: there is a container web already
      see: roost show web
    ");
    assert_snapshot!(no(&lab, "kill web -s 99", 2), @r#"error: --signal: "99" is not a signal: use a name, as in SIGTERM, or 1 to 64"#);
    assert_snapshot!(no(&lab, "publish nobody 80", 3), @r"
    error: no container nobody
      see: roost ls
    ");
    assert_snapshot!(no(&lab, "unpublish web 99", 3), @"error: port 99 does not lead to web");
    assert_snapshot!(no(&lab, "cp web:/nothing /tmp/nothing", 3), @"error: /nothing does not exist in the container");
    assert_snapshot!(no(&lab, "cp /nothing web:/tmp", 3), @"error: there is no /nothing on this machine");
    assert_snapshot!(no(&lab, "cp /nothing /tmp", 2), @"error: neither side is in a container: write container:/path for one of them");
    assert_snapshot!(no(&lab, "show nobody", 3), @r"
    error: nothing here is named nobody
      see: roost ls
    ");
    assert_snapshot!(no(&lab, "why nobody", 3), @r"
    error: no container, job or server nobody
      see: roost ls
    ");
}

#[test]
fn stopped_containers_run_no_commands() {
    let lab = Lab::with_tiny(1);
    lab.ok(&["create", "off", "tiny", "--", "/bin/sleep", "600"]);
    eventually(SOON, "it has its place", || lab.container("off").server.is_some());
    assert_snapshot!(no(&lab, "exec off -- /bin/true", 4), @r"
    error: container off is stopped
      start it: roost start off
    ");
    assert_snapshot!(no(&lab, "attach off", 4), @r"
    error: container off is stopped
      start it: roost start off
    ");
}

#[test]
fn what_cannot_be_started_says_why_at_once() {
    let lab = Lab::with_tiny(1);
    let said = |line: &str, code| {
        let words: Vec<&str> = line.split(' ').collect();
        let out = lab.roost(&words).must(code);
        assert!(out.took < QUICK, "{out}");
        out.stderr
    };
    assert_snapshot!(said("run -d a tiny -- /nothing", 6), @r#"
    error: a failed: container main could not be started: program "/nothing" does not exist in the container, or the interpreter it asks for does not
      see: roost why a
    "#);
    assert_snapshot!(said("run -d b tiny -v /nothing:/there", 6), @r"
    error: b failed: container main could not be started: /nothing does not exist on this server, to be mounted on /there
      see: roost why b
    ");
    assert_snapshot!(said("run -d c tiny --user nobody-here", 6), @r#"
    error: c failed: container main could not be started: there is no user "nobody-here" in the container's /etc/passwd
      see: roost why c
    "#);
}

#[test]
fn jobs() {
    let lab = with_web();
    let httpd = ["--", "/bin/httpd", "-f", "-p", "80", "-h", "/www"];
    lab.ok(&[&["addjob", "tiny", "2", "--name", "front", "-p", "9000:80", "--stop-timeout", "0"], &httpd[..]].concat());
    assert_snapshot!(no(&lab, "addjob tiny 4 --name big --memory 64G", 6), @r"
    error: cannot place 4 of 4 instances of big
      2 servers: not enough memory (largest free: … on s1; each instance asks for 64G)
      ask for less, or add a server: roost server add
    ");
    assert_snapshot!(no(&lab, "addjob tiny -1", 2), @"error: -1 is not a number of instances: use 0 to 100000");
    assert_snapshot!(no(&lab, "addjob tiny 1000000", 2), @"error: 1000000 is not a number of instances: use 0 to 100000");
    assert_snapshot!(no(&lab, "addjob tiny x", 2), @r#"error: "x" is no value of COUNT: invalid digit found in string"#);
    assert_snapshot!(no(&lab, "addjob tiny 3 --name front", 4), @r"
    error: there is a job front already
      see: roost job show front
    ");
    assert_snapshot!(no(&lab, "addjob tiny 3 --name web", 4), @r"
    error: there is a container web already
      see: roost show web
    ");
    assert_snapshot!(no(&lab, "addjob tiny 2 --name other -p 9000:80", 4), @"error: port 9000 is taken on every server by job front: choose another");
    assert_snapshot!(no(&lab, "addjob tiny 2 --name other -p 8080:80 -r 1", 4), @"error: port 8080 is taken on s1 by container web: choose another");
    assert_snapshot!(no(&lab, "addjob tiny 9 --name other -r 1", 6), @r"
    error: cannot place 7 of 9 instances of other
      2 servers: at most 1 per server
      ask for less, or add a server: roost server add
    ");
    assert_snapshot!(no(&lab, "addjob tiny 1 --name other --on s4", 3), @"error: no server s4 (did you mean s1, s2?)");
    assert_snapshot!(no(&lab, "addjob tiny 1 --name other --require disk=ssd", 6), @r"
    error: cannot place 1 of 1 instances of other
      2 servers: without label disk=ssd
      ask for less, or add a server: roost server add
    ");
    assert_snapshot!(no(&lab, "scalejob front x", 2), @r#"error: "x" is not a number of instances: write a number, +2 or -2"#);
    assert_snapshot!(no(&lab, "scalejob front -9", 2), @"error: -7 is not a number of instances: use 0 to 100000");
    assert_snapshot!(no(&lab, "scalejob fornt 3", 3), @"error: no job fornt (did you mean front?)");
    assert_snapshot!(no(&lab, "upgradejob nojob", 3), @"error: no job nojob (did you mean front?)");
    assert_snapshot!(no(&lab, "upgradejob front -i x", 2), @r#"error: --interval: "x" is not a duration: write seconds, or a number and ms, s, m, h or d, as in 20s"#);
    assert_snapshot!(no(&lab, "rollbackjob front", 3), @"error: job front has no earlier revision to go back to");
    assert_snapshot!(no(&lab, "rollbackjob front 7", 3), @r"
    error: job front has no revision 7
      it has had no other
    ");
    assert_snapshot!(no(&lab, "deljob nojob", 3), @"error: no job nojob (did you mean front?)");
    assert_snapshot!(no(&lab, "stop front/1", 2), @r"
    error: front/1 belongs to job front, which would only replace it
      change the job: roost job scale front <count>, or roost job delete front
    ");
    assert_snapshot!(no(&lab, "exec front/7 -- /bin/true", 3), @r"
    error: job front has no instance 7 placed
      it asks for 2
      see: roost why front/7
    ");
    assert_snapshot!(no(&lab, "exec front -- /bin/true", 2), @r"
    error: front has 2 instances: say which
      one of front/1, front/2
    ");
}

#[test]
fn images_and_bases_that_are_not_there() {
    let lab = with_web();
    let registry = "10.200.0.254:5000";
    assert_snapshot!(no(&lab, &format!("run -d c1 {registry}/nothing"), 3), @r"
    error: no image 10.200.0.254:5000/nothing in this cluster
      and it cannot be pulled: registry 10.200.0.254:5000 does not answer: connection refused
      see: roost image list
    ");
    assert_snapshot!(no(&lab, &format!("addjob {registry}/nothing 3"), 3), @r"
    error: no container and no image 10.200.0.254:5000/nothing in this cluster
      and it cannot be pulled: registry 10.200.0.254:5000 does not answer: connection refused
      see: roost image list
    ");
    assert_snapshot!(no(&lab, &format!("image pull {registry}/nothing"), 1), @"error: registry 10.200.0.254:5000 does not answer: connection refused");
    assert_snapshot!(no(&lab, "image pull bad!name", 2), @r#"error: "bad!name" is not an image name: '!' cannot be part of one"#);
    assert_snapshot!(no(&lab, "image show nothing", 3), @r"
    error: no image nothing in this cluster
      see: roost image list
    ");
    assert_snapshot!(no(&lab, "image delete nothing", 3), @r"
    error: no image nothing in this cluster
      see: roost image list
    ");
    assert_snapshot!(no(&lab, "image delete tiny", 4), @"error: image tiny:latest is used by container web");
    assert_snapshot!(no(&lab, "image import /nothing", 3), @"error: there is no /nothing on this machine");
    // Without a name of a registry it is looked for in the well-known one, which is out of reach here: only the first line is ours.
    let out = lab.refused(&["run", "-d", "c1", "nothing"], 3);
    assert_eq!(out.stderr.lines().next(), Some("error: no image nothing in this cluster"));
}

#[test]
fn servers_and_subnets() {
    let lab = with_web();
    assert_snapshot!(no(&lab, "drain s9", 3), @"error: no server s9 (did you mean s1, s2?)");
    assert_snapshot!(no(&lab, "server delete s9", 3), @"error: no server s9 (did you mean s1, s2?)");
    assert_snapshot!(no(&lab, "server delete s1", 4), @"error: server s1 is the cluster's manager and cannot leave it");
    assert_snapshot!(no(&lab, "ls s9:", 3), @"error: no server s9 (did you mean s1, s2?)");
    assert_snapshot!(no(&lab, "setsubnet s2 10.0.1.0/24", 4), @"error: subnet 10.0.1.0/24 overlaps 10.0.1.0/24 of server s1");
    assert_snapshot!(no(&lab, "setsubnet s2 10.0.1.128/25", 4), @"error: subnet 10.0.1.128/25 overlaps 10.0.1.0/24 of server s1");
    assert_snapshot!(no(&lab, "setsubnet s2 10.0.9.5/24", 2), @"error: 10.0.9.5/24 is not a subnet for containers: use a network address and a prefix of 8 to 29");
    assert_snapshot!(no(&lab, "setsubnet s2 192.168.0.0/24", 2), @"error: subnet 192.168.0.0/24 is outside the cluster's range 10.0.0.0/16");
    assert_snapshot!(no(&lab, "setsubnet s2 junk", 2), @r#"error: "junk" is not a subnet: write an address and a prefix, as in 10.0.4.0/24"#);
    assert_snapshot!(no(&lab, "setsubnet s1 10.0.9.0/24", 4), @r"
    error: server s1 has containers with addresses of 10.0.1.0/24
      move or remove them first
    ");
    assert_snapshot!(no(&lab, "setsubnet s9 10.0.9.0/24", 3), @"error: no server s9 (did you mean s1, s2?)");
}

#[test]
fn words_that_are_none() {
    let lab = Lab::up(1);
    assert_snapshot!(no(&lab, "lst", 2), @"error: there is no command lst (did you mean ls, stop?)");
    assert_snapshot!(no(&lab, "adjob web 3", 2), @"error: there is no command adjob (did you mean addjob?)");
    assert_snapshot!(no(&lab, "job lst", 2), @"error: there is no command lst (did you mean list?)");
    assert_snapshot!(no(&lab, "run -d c1 tiny --memry 4M", 2), @"error: there is no flag --memry (did you mean --memory?)");
    assert_snapshot!(no(&lab, "ls -o xml", 2), @r#"error: "xml" is no value of --output: use one of table, wide, json, yaml, name, csv"#);
    assert_snapshot!(no(&lab, "ls --filter nope=1", 2), @"error: no column nope: use one of name, kind, image, server, address, state, health, cpu, memory, up, ports, pid, restarts, exit, revision, id, message");
    assert_snapshot!(no(&lab, "ls --filter nope", 2), @r#"error: --filter: "nope" is not of the form key=value"#);
    assert_snapshot!(no(&lab, "ls --sort nope", 2), @"error: no column nope: use one of name, kind, image, server, address, state, health, cpu, memory, up, ports, pid, restarts, exit, revision, id, message");
    assert_snapshot!(no(&lab, "addjob tiny", 2), @r"
    error: COUNT is missing
      see: roost job add --help
    ");
    assert_snapshot!(no(&lab, "image import a b", 2), @r#"
    error: "b" is one word too many
      see: roost image import --help
    "#);
}

#[test]
fn without_a_daemon_it_says_how_to_start_one() {
    let lab = Lab::up(1);
    let out = lab.typed(&["ls"]).env("ROOST_SOCKET", "/nowhere/api.sock").run().must(8);
    assert_snapshot!(out.stderr, @r"
    error: roost is not running here: nobody listens on /nowhere/api.sock
      start it: roost up -d
    ");
}

#[test]
fn a_server_that_is_down() {
    let lab = with_web();
    lab.ok(&["run", "-d", "s2:far", "tiny", "--", "/bin/sleep", "600"]);
    lab.sandbox(&["kill", "s2"]).run().must(0);
    let lost = || lab.server_views().iter().any(|server| server.liveness == Liveness::Lost);
    eventually(SOON, "s2 is seen to be down", lost);
    assert_snapshot!(no(&lab, "run -d c1 tiny --server s2", 6), @r"
    error: server s2 is down
      see: roost server list
    ");
    assert_snapshot!(no(&lab, "create s2:c1 tiny", 6), @r"
    error: server s2 is down
      see: roost server list
    ");
    assert_snapshot!(no(&lab, "exec far -- /bin/true", 8), @"error: server s2 does not answer, and far is on it");
    assert_snapshot!(no(&lab, "logs far", 8), @"error: server s2 does not answer, and far is on it");
    assert_snapshot!(no(&lab, "image pull 127.0.0.1:5000/x --server s2", 6), @r"
    error: server s2 is down
      see: roost server list
    ");
}

#[test]
fn tokens_that_are_wrong_used_up_expired_or_damaged() {
    let lab = Lab::up(2);
    let join = |token: &str, code| lab.typed_on("s2", &["join", token, "--name", "s2"]).run().must(code).stderr;
    let token = |words: &[&str]| lab.ok(&[&["token", "create"], words].concat()).text().to_owned();
    let once = token(&[]);
    assert_snapshot!(join(&once, 4), @r"
    error: this machine is server s2 of a cluster already
      leave it first: roost leave
    ");
    lab.typed_on("s2", &["leave", "-y"]).run().must(0);
    join(&once, 0);
    lab.typed_on("s2", &["leave", "-y"]).run().must(0);
    let servers = || lab.server_views().len();
    assert_eq!(servers(), 1);
    assert_snapshot!(join(&once, 5), @r"
    error: the join token is not known here, or was used already
      make a new one: roost token create
    ");
    assert_snapshot!(join(&token(&["--valid", "1ms"]), 5), @r"
    error: the join token is expired
      make a new one: roost token create
    ");
    let revoked = token(&[]);
    let id = lab.json(&["token", "list"])[0]["id"].as_str().map(str::to_owned);
    lab.json(&["token", "list"]).as_array().into_iter().flatten().for_each(|token| {
        lab.ok(&["token", "revoke", token["id"].as_str().unwrap_or_default()]);
    });
    assert!(id.is_some());
    assert_snapshot!(join(&revoked, 5), @r"
    error: the join token is not known here, or was used already
      make a new one: roost token create
    ");
    assert_snapshot!(join(&revoked[..revoked.len() - 3], 2), @"error: the join token is damaged: copy the whole word that `roost token create` printed");
    assert_snapshot!(join("junk", 2), @"error: that is not a join token: one begins with roost-1-, as `roost token create` prints it");
    assert_snapshot!(no(&lab, "token revoke nothing", 3), @r"
    error: no token nothing
      see: roost token list
    ");
    assert_snapshot!(no(&lab, "token create --uses 0", 2), @"error: a token for 0 servers cannot be made: use 1 to 10000");
    assert_eq!(servers(), 1);
    // A server that was refused is none: nothing of it runs, and its own commands say so.
    assert!(lab.own("s2", "agent").is_none());
    let ls = lab.typed_on("s2", &["ls"]).env("ROOST_SOCKET", api::path::SOCKET);
    assert_snapshot!(ls.run().must(8).stderr, @r"
    error: roost is not running here: nobody listens on /run/roost/api.sock
      start it: roost up -d
    ");
}

/// An identity of s2 from the cluster's own authority that ended the moment it was made.
fn expired(lab: &Lab) -> wire::identity::Identity {
    let own = wire::identity::Identity::load(&lab.server_dir("s1").join("lib/authority")).unwrap();
    let authority = wire::authority::Authority::from_pem(&own.certificate, &own.key).unwrap();
    let subject = wire::identity::Subject::Server(Name::parse("server", "s2").unwrap());
    authority.issue(&subject, Duration::ZERO, &[]).unwrap()
}

#[test]
fn an_expired_certificate_cannot_act() {
    let lab = Lab::with_tiny(2);
    let old = expired(&lab);
    let file = |name: &str, text: &str| -> String {
        let path = lab.files().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (file("certificate.pem", &old.certificate), file("key.pem", &old.key));
    let url = "https://10.200.0.1:7443/v1/containers";
    let curl = ["curl", "-sS", "--insecure", "--max-time", "5", "--cert", &certificate, "--key", &key, url];
    // Certificates count in whole seconds.
    eventually(SOON, "it is refused", || lab.inside(OUTSIDE, &curl).run().stderr.contains("certificate expired"));
    // The same on the server itself, whose agent has nothing else any more.
    old.save(&lab.server_dir("s2").join("lib/identity")).unwrap();
    lab.sandbox(&["kill", "s2"]).run().must(0);
    lab.sandbox(&["start", "s2"]).run().must(0);
    let said = || lab.typed_on("s2", &["run", "-d", "c1", "tiny"]).run();
    eventually(SOON, "it says that its certificate has expired", || said().stderr.contains("expired"));
    let out = said().must(5);
    assert!(
        out.stderr.starts_with("error: the certificate of this server expired on ") && out.stderr.lines().count() == 1,
        "{out}"
    );
    assert!(lab.containers().is_empty());
    eventually(SOON, "it does not count as there", || {
        lab.server_views().iter().any(|server| server.spec.name.as_str() == "s2" && server.liveness != Liveness::Alive)
    });
}

/// A tar entry whose name and link are written as they stand, which no careful library does.
fn raw(kind: tar::EntryType, (name, link): (&str, &str), content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(content.len() as u64);
    let old = header.as_old_mut();
    old.name[..name.len()].copy_from_slice(name.as_bytes());
    old.linkname[..link.len()].copy_from_slice(link.as_bytes());
    header.set_cksum();
    let mut builder = tar::Builder::new(Vec::new());
    builder.append(&header, content).unwrap();
    builder.into_inner().unwrap()
}

/// Two archives as one: the end of the first left out.
fn joined(first: Vec<u8>, second: &[u8]) -> Vec<u8> {
    let mut all = first;
    all.truncate(all.len() - 1024);
    all.extend_from_slice(second);
    all
}

fn written(lab: &Lab, name: &str, bytes: &[u8]) -> String {
    let path: PathBuf = lab.files().join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

#[test]
fn archives_that_are_cut_off_or_climb_out() {
    let lab = Lab::up(2);
    let before = state(&lab);
    let store = lab.server_dir("s1").join("lib/images");
    let files = || walk(&store);
    let there = files();
    let import = |name: &str, bytes: &[u8]| {
        let out = lab.roost(&["image", "import", &written(&lab, name, bytes), "--name", "evil"]);
        assert!(out.code != 0 && out.took < QUICK, "{out}");
        assert_eq!(files(), there, "something is left\n{out}");
        out.stderr.replace(&lab.files().display().to_string(), "…")
    };
    let tiny = Root::tiny().bytes();
    let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    zipped.write_all(&tiny).unwrap();
    let zipped = zipped.finish().unwrap();
    let (file, symlink, hard) = (tar::EntryType::Regular, tar::EntryType::Symlink, tar::EntryType::Link);
    let through = joined(raw(symlink, ("out", "/tmp"), b""), &raw(file, ("out/roost-evil", ""), b"x"));
    assert_snapshot!(import("cut.tar", &tiny[..tiny.len() / 2]), @"error: evil:latest: archive is truncated: it ends within bin/busybox");
    assert_snapshot!(import("cut.tar.gz", &zipped[..zipped.len() / 2]), @"error: evil:latest: archive is truncated: its compressed data ends too soon");
    assert_snapshot!(import("empty.tar", b""), @"error: evil:latest is empty");
    assert_snapshot!(import("junk.tar", &[b'x'; 4096]), @"error: evil:latest is no tar archive (nor one compressed by gzip or zstd)");
    assert_snapshot!(import("up.tar", &raw(file, ("../../../../tmp/roost-evil", ""), b"x")), @"error: evil:latest: entry ../../../../tmp/roost-evil climbs out of the archive with '..'");
    assert_snapshot!(import("through.tar", &through), @"error: evil:latest: the archive climbs out through a symbolic link: out leads outside");
    assert_snapshot!(import("grab.tar", &raw(hard, ("grab", "/etc/passwd"), b"")), @"error: evil:latest: the hard link grab leads to etc/passwd, which is no file of the archive");
    assert_snapshot!(import("device.tar", &raw(tar::EntryType::Block, ("disk", ""), b"")), @"error: evil:latest is no tar archive (nor one compressed by gzip or zstd)");
    assert!(!std::path::Path::new("/tmp/roost-evil").exists());
    assert_eq!(state(&lab), before);
}

/// Every file below a folder.
fn walk(folder: &std::path::Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut all: Vec<_> = entries
        .flat_map(|entry| {
            let path = entry.path();
            if path.is_dir() && !path.is_symlink() { [vec![path.clone()], walk(&path)].concat() } else { vec![path] }
        })
        .collect();
    all.sort();
    all
}

#[test]
fn a_full_disk() {
    let lab = Lab::up(2);
    let images = "/var/lib/roost/images";
    let mount = |server: &str| {
        let script = format!(
            "mount -t tmpfs -o size=1m none {images} && mkdir {images}/blobs {images}/images {images}/layers {images}/staging && touch {images}/lock"
        );
        lab.inside(server, &["/bin/sh", "-c", &script]).run().must(0);
    };
    let used = |server: &str| lab.inside(server, &["du", "-sk", images]).run().must(0).stdout;
    // What cannot be compressed, so that an archive of two megabytes needs two.
    let noise: Vec<u8> = std::iter::repeat_with(base::env::random_bytes::<32>).take(64 * 1024).flatten().collect();
    let archive = written(&lab, "big.tar", &Root::tiny().file("noise", &noise).bytes());
    // Taking it in on a full server, and fetching it from another onto one.
    mount("s2");
    let before = (state(&lab), used("s2"));
    let out = lab.refused(&["image", "import", &archive, "--name", "big", "--server", "s2"], 1);
    assert_snapshot!(out.stderr, @"error: no space left on the file system of /var/lib/roost/images");
    assert_eq!((state(&lab), used("s2")), before);
    lab.ok(&["image", "import", &archive, "--name", "big", "--server", "s1"]);
    let out = lab.refused(&["run", "-d", "--timeout", "20s", "s2:c1", "big", "--", "/bin/sleep", "600"], 6);
    assert!(out.stderr.contains("\n  so far: ") && out.stderr.contains("no space left"), "{out}");
    lab.ok(&["rm", "-f", "c1"]);
    // With room again it works.
    lab.inside("s2", &["umount", images]).run().must(0);
    lab.ok(&["run", "-d", "s2:c2", "big", "--", "/bin/sleep", "600"]);
}

/// What `curl` gets from outside, with the status in front.
fn ask(lab: &Lab, words: &[&str]) -> lab::Output {
    let curl = ["curl", "-sS", "--insecure", "--max-time", "15", "-w", "\n%{http_code}"];
    lab.inside(OUTSIDE, &[&curl[..], words].concat()).run()
}

#[test]
fn without_credentials() {
    let lab = with_web();
    let before = state(&lab);
    for path in ["v1/containers", "v1/servers", "v1/tokens", "metrics", "v1/openapi.json", "nothing"] {
        let out = ask(&lab, &[&format!("https://10.200.0.1:7443/{path}")]).must(0);
        insta::allow_duplicates!(assert_snapshot!(out.stdout, @r#"
        {"kind":"not_allowed","message":"a certificate of this cluster is needed","hint":"join first, or use root's socket on a server"}
        403
        "#));
    }
    let out = ask(&lab, &["-X", "DELETE", "https://10.200.0.1:7443/v1/containers/web?force=true"]).must(0);
    assert!(out.stdout.ends_with("\n403"), "{out}");
    for server in ["10.200.0.1", "10.200.0.2"] {
        let out = ask(&lab, &[&format!("https://{server}:7444/v1/stats")]).must(0);
        insta::allow_duplicates!(assert_snapshot!(out.stdout, @r#"
        {"kind":"not_allowed","message":"somebody without a certificate may not speak with agents: ask the manager"}
        403
        "#));
        for port in [7443, 7444].into_iter().filter(|port| *port == 7444 || server.ends_with(".1")) {
            let out = ask(&lab, &[&format!("http://{server}:{port}/v1/containers")]);
            assert!(out.code != 0 && out.took < Duration::from_secs(5), "plain HTTP must be hung up on\n{out}");
        }
    }
    assert_eq!(state(&lab), before);
}

/// Kibibytes of memory a process has.
fn resident(pid: i32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches("kB").trim().parse().unwrap()
}

#[test]
fn a_hundred_megabytes_of_body() {
    let lab = Lab::up(1);
    let body = lab.files().join("body");
    std::fs::File::create(&body).unwrap().set_len(100 << 20).unwrap();
    let data = format!("@{}", body.display());
    let socket = lab.socket("s1").display().to_string();
    let manager = lab.own("s1", "manager").unwrap().pid;
    let (before, state_before) = (resident(manager), state(&lab));
    let ours = ["--unix-socket", socket.as_str()];
    let json = ["-H", "content-type: application/json", "--data-binary", data.as_str()];
    for path in ["v1/containers", "v1/jobs", "v1/tokens", "v1/images/pull"] {
        let url = format!("http://roost/{path}");
        let out = ask(&lab, &[&ours[..], &json[..], &[url.as_str()]].concat());
        assert!(out.stdout.ends_with("\n413") && out.stdout.contains("at most 4 MiB are accepted"), "{out}");
        assert!(out.took < Duration::from_secs(10), "{out}");
    }
    let join = ask(&lab, &[&json[..], &["https://10.200.0.1:7443/v1/join"]].concat());
    assert!(join.stdout.ends_with("\n413"), "{join}");
    let grown = resident(manager).saturating_sub(before);
    assert!(grown < 32 * 1024, "the manager has {grown} KiB more than before");
    assert_eq!(state(&lab), state_before);
}
