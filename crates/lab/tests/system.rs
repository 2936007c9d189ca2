//! System containers: a whole Debian with its own init, as users of LXC know it.

#![allow(clippy::unwrap_used, reason = "what helps a test fails the test")]

use lab::{Lab, Process, eventually};
use nix::sys::signal::Signal;
use std::{os::unix::fs::MetadataExt as _, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(60);
/// A base system from packages, the first time.
const MADE: Duration = Duration::from_secs(600);
/// The first user and group that root inside may be outside.
const MAPPED: u32 = 100_000;

fn exec(lab: &Lab, name: &str, command: &[&str]) -> lab::Output {
    lab.roost(&[&["exec", name, "--"], command].concat())
}

/// The init of the only system container on a server, as the machine numbers it.
fn init(lab: &Lab, server: &str) -> Process {
    let mut all = lab.processes(server);
    all.retain(|process| process.argv.first().is_some_and(|program| program.ends_with("/init")));
    all.pop().unwrap()
}

fn owner(process: &Process) -> u32 {
    std::fs::metadata(format!("/proc/{}", process.pid)).unwrap().uid()
}

fn running(lab: &Lab, name: &str) {
    eventually(SOON, "the system is up", || exec(lab, name, &["systemctl", "is-system-running"]).text() == "running");
}

#[test]
fn a_whole_debian_is_made_lives_and_shuts_down() {
    let lab = Lab::up(2);
    let words = ["create", "s2:c1", "debian/bookworm", "--type", "system", "--memory", "300M", "--pids", "200"];
    let made = lab.typed(&words).limit(MADE).run().must(0);
    assert!(made.stderr.contains("making it from packages"), "{made}");
    let events = lab.ok(&["events"]).stdout;
    assert!(events.contains("copied to s1"), "its instances on other servers would wait for it: {events}");
    lab.ok(&["start", "c1"]);
    assert_eq!(exec(&lab, "c1", &["cat", "/proc/1/comm"]).must(0).text(), "systemd");
    // A start is done when the system is up: nobody has to wait and ask again.
    assert_eq!(exec(&lab, "c1", &["systemctl", "is-system-running"]).must(0).text(), "running");
    is_somebody(&lab);
    root_inside_is_not_root_outside(&lab);
    limits_hold_and_change(&lab);
    survives_its_agent(&lab);
    keeps_its_address(&lab);
    shuts_down(&lab);
    lab.ok(&["rm", "c1"]);
    assert!(lab.containers().is_empty());
}

fn is_somebody(lab: &Lab) {
    assert_eq!(exec(lab, "c1", &["hostname"]).must(0).text(), "c1");
    let address = lab.container("c1").address.unwrap();
    for server in ["s1", "s2"] {
        eventually(SOON, "its name leads to it", || lab.dig(server, "c1.internal") == [address]);
    }
    let shown = exec(lab, "c1", &["ip", "-4", "-o", "addr", "show", "eth0"]).must(0);
    assert!(shown.stdout.contains(&format!(" {address}/")), "{shown}");
    exec(lab, "c1", &["ping", "-c", "1", "-W", "5", &lab.resolver("s2").to_string()]).must(0);
    exec(lab, "c1", &["sh", "-c", "exit 7"]).must(7);
    exec(lab, "c1", &["/bin/nothing"]).must(127);
    let out = lab.ok(&["exec", "-w", "/usr/lib", "-e", "A=1 2", "c1", "--", "sh", "-c", "pwd; echo $A"]);
    assert_eq!(out.stdout, "/usr/lib\n1 2\n");
    let log = lab.ok(&["logs", "c1"]);
    assert!(log.stdout.contains("Welcome to ") && log.stdout.contains("Reached target"), "the console is its log: {log}");
}

fn root_inside_is_not_root_outside(lab: &Lab) {
    assert_eq!(exec(lab, "c1", &["id", "-u"]).must(0).text(), "0");
    let init = init(lab, "s2");
    assert_eq!(owner(&init), MAPPED);
    let mut inside = lab.processes("s2");
    let numbers = |pid: i32| std::fs::read_link(format!("/proc/{pid}/ns/user")).unwrap_or_default();
    inside.retain(|process| numbers(process.pid) == numbers(init.pid));
    assert!(inside.len() > 3 && inside.iter().all(|process| owner(process) >= MAPPED), "{inside:?}");
    // Not even its own network is its own to change.
    assert_ne!(exec(lab, "c1", &["ip", "addr", "flush", "dev", "eth0"]).code, 0);
}

fn limits_hold_and_change(lab: &Lab) {
    let started = lab.container("c1").started;
    let take = |size: &str| exec(lab, "c1", &["dd", "if=/dev/zero", "of=/dev/null", &format!("bs={size}"), "count=1"]).code;
    assert_eq!(take("150M"), 0);
    lab.ok(&["set", "c1", "--memory", "120M"]);
    assert_eq!(take("150M"), 137, "killed for want of memory");
    lab.ok(&["set", "c1", "--memory", "400M", "--cpu", "1"]);
    assert_eq!(take("250M"), 0);
    let many = "for i in $(seq 300); do sleep 20 & done; echo never";
    let out = exec(lab, "c1", &["sh", "-c", many]);
    assert!(out.code != 0 && !out.stdout.contains("never"), "{out}");
    assert_eq!(lab.container("c1").started, started, "nothing was restarted");
    let out = lab.refused(&["set", "c1", "--memory", "4096G"], 6);
    assert!(out.stderr.contains("cannot place c1"), "{out}");
    lab.refused(&["set", "c1"], 2);
}

fn survives_its_agent(lab: &Lab) {
    let before = init(lab, "s2");
    let agent = lab.own("s2", "agent").unwrap();
    agent.signal(Signal::SIGKILL);
    eventually(SOON, "another agent", || lab.own("s2", "agent").is_some_and(|other| other.pid != agent.pid));
    eventually(SOON, "commands again", || exec(lab, "c1", &["true"]).code == 0);
    assert_eq!((init(lab, "s2").pid, before.alive()), (before.pid, true));
}

fn keeps_its_address(lab: &Lab) {
    let before = lab.container("c1");
    exec(lab, "c1", &["touch", "/root/kept"]).must(0);
    lab.ok(&["restart", "c1", "--timeout", "60s"]);
    running(lab, "c1");
    let after = lab.container("c1");
    assert!(after.address == before.address && after.started > before.started);
    exec(lab, "c1", &["test", "-e", "/root/kept"]).must(0);
    lab.ok(&["freeze", "c1"]);
    assert_eq!(lab.container("c1").state, "frozen");
    lab.ok(&["unfreeze", "c1"]);
    // By its own hand: another init in the same container, with the same network.
    let first = init(lab, "s2");
    exec(lab, "c1", &["systemctl", "reboot"]);
    eventually(SOON, "another init", || !first.alive() && exec(lab, "c1", &["true"]).code == 0);
    running(lab, "c1");
    let shown = exec(lab, "c1", &["hostname", "-I"]).must(0);
    assert!(shown.stdout.contains(&before.address.unwrap().to_string()), "{shown}");
}

fn shuts_down(lab: &Lab) {
    let begin = base::env::instant();
    lab.ok(&["stop", "c1"]);
    assert!(begin.elapsed() < Duration::from_secs(30));
    let stopped = lab.container("c1");
    assert_eq!((stopped.state.as_str(), stopped.exit_code), ("stopped", Some(0)));
    let log = lab.ok(&["logs", "c1", "--tail", "40"]);
    assert!(log.stdout.contains("Reached target") && log.stdout.contains("Halting system"), "{log}");
}

#[test]
fn privileged_ones_and_what_is_refused() {
    let lab = Lab::with_tiny(2);
    let sleep = ["--", "/bin/sleep", "600"];
    let create = |words: &[&str]| lab.roost(&[&["create"], words, &sleep].concat());
    create(&["s2:trusted", "tiny", "--type", "system", "--privileged", "--lxc", "lxc.prlimit.nofile=1000"]).must(0);
    lab.ok(&["start", "trusted"]);
    let main = lab.container("trusted").pid.unwrap();
    let inside = lab.processes("s2").into_iter().find(|p| p.argv.first().is_some_and(|a| a == "/bin/sleep")).unwrap();
    assert_eq!(owner(&inside), 0);
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", inside.pid)).unwrap();
    assert!(limits.lines().any(|line| line.starts_with("Max open files") && line.contains("1000")), "{main} {limits}");
    for (words, said) in [
        (["--type", "system", "--lxc", "lxc.net.0.type=phys"], "lxc.net.0.type cannot be set: its network is the cluster's"),
        (["--type", "system", "--lxc", "lxc.rootfs.path=/"], "lxc.rootfs.path cannot be set"),
        (["--type", "system", "--lxc", "lxc.cap.drop=a\nlxc.x=b"], "cannot hold a line feed"),
        (["--type", "app", "--lxc", "lxc.cap.drop=sys_time"], "are for system containers"),
    ] {
        let out = create(&[&["c2", "tiny"], &words[..]].concat()).must(2);
        assert!(out.stderr.contains(said), "{out}");
    }
    let out = lab.roost(&["create", "c3", "debian/bookworm", "--dry-run"]).must(2);
    assert!(out.stdout.contains("make image debian/bookworm from packages"), "{out}");
    // Limits of an application container change as well.
    lab.ok(&["run", "-d", "s2:app", "tiny", "--memory", "64M", "--", "/bin/sleep", "600"]);
    lab.ok(&["set", "app", "--memory", "none", "--pids", "5"]);
    let out = lab.roost(&["exec", "app", "--", "/bin/sh", "-c", "for i in 1 2 3 4 5 6 7 8; do /bin/sleep 9 & done; echo never"]);
    assert!(out.code != 0 && !out.stdout.contains("never"), "{out}");
}

#[test]
fn they_come_up_in_order_when_their_server_does() {
    let lab = Lab::with_tiny(2);
    for (name, order, delay) in [("s2:last", "9", "0"), ("s2:first", "1", "3s"), ("s2:second", "5", "0")] {
        let words = ["create", name, "tiny", "--type", "system", "--autostart-order", order, "--autostart-delay", delay];
        lab.ok(&[&words[..], &["--", "/bin/sleep", "600"]].concat());
        lab.ok(&["start", name]);
    }
    let before = lab.container("first").started;
    lab.sandbox(&["kill", "s2"]).run().must(0);
    lab.sandbox(&["start", "s2"]).run().must(0);
    let all = || lab.containers().iter().all(|one| one.state == "running" && one.started > before);
    eventually(SOON, "all run again", all);
    let at = |name: &str| lab.container(name).started.unwrap();
    assert!(at("second").since(at("first")) >= api::Span::seconds(3), "{:?} {:?}", at("first"), at("second"));
    assert!(at("second") <= at("last"));
}
