//! What a container cannot do, whoever it is inside: each try is refused by the kernel, and the server is as it was.
//!
//! All of it once on this machine's control groups, and once on v2 in a virtual machine with Debian's stock kernel.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use lab::{Lab, Output, Root, Vm, eventually, eventually_some};
use std::{sync::OnceLock, time::Duration};

/// Longer than anything takes on a loaded machine.
const SOON: Duration = Duration::from_secs(20);

/// One server with the image `tiny`: a test's own, or in the virtual machine, where making one takes long, one for all.
enum Bed {
    Own(Lab),
    Shared(&'static Lab),
}

impl std::ops::Deref for Bed {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        match self {
            Self::Own(lab) => lab,
            Self::Shared(lab) => lab,
        }
    }
}

fn bed() -> Bed {
    static ONE: OnceLock<Lab> = OnceLock::new();
    match std::env::var_os(lab::INSIDE) {
        Some(_) => Bed::Shared(ONE.get_or_init(|| Lab::with_tiny(1))),
        None => Bed::Own(Lab::with_tiny(1)),
    }
}

/// A container that sleeps.
struct Jail {
    bed: Bed,
    name: &'static str,
}

impl std::ops::Deref for Jail {
    type Target = Lab;

    fn deref(&self) -> &Lab {
        &self.bed
    }
}

/// A container of this name, with these flags.
fn jail(name: &'static str, flags: &[&str]) -> Jail {
    let bed = bed();
    bed.ok(&[&["run", "-d", name, "tiny"], flags, &["--", "/bin/sleep", "600"]].concat());
    Jail { bed, name }
}

/// A line of shell in the container, whatever comes of it.
fn tries(jail: &Jail, script: &str) -> Output {
    jail.roost(&["exec", jail.name, "--", "/bin/sh", "-c", script])
}

/// A line of shell in the container that must fail for this reason.
#[track_caller]
fn cannot(jail: &Jail, script: &str, why: &str) {
    let out = tries(jail, script);
    assert!(out.code != 0 && out.stderr.contains(why), "{why:?} was expected\n{out}");
}

#[test]
fn no_other_processes_are_seen_or_reached() {
    let lab = jail("seen", &[]);
    let ps = tries(&lab, "ps -o pid,args").must(0);
    let seen: Vec<&str> = ps.stdout.lines().skip(1).map(str::trim).collect();
    assert!(seen.len() <= 3 && seen[0] == "1 /bin/sleep 600", "{ps}");
    let pids = tries(&lab, "ls /proc | grep -c '^[0-9]'").must(0);
    assert!(pids.text().parse::<u32>().unwrap() <= 5, "{pids}");
    // The process itself, as the server numbers it, is none in there.
    let pid = lab.processes("s1").into_iter().find(|process| process.argv.starts_with(&["/bin/sleep".into()])).unwrap().pid;
    cannot(&lab, &format!("kill -0 {pid}"), "No such process");
    // Namespaces of its own, none shared with the server.
    for kind in ["pid", "mnt", "uts", "ipc", "net"] {
        let inside = tries(&lab, &format!("ls -l /proc/self/ns/{kind}")).must(0);
        let server = lab.inside("s1", &["readlink", &format!("/proc/self/ns/{kind}")]).run().must(0);
        assert!(!inside.stdout.contains(server.text()), "{kind}: {inside}");
    }
}

#[test]
fn nothing_is_mounted_or_unmounted() {
    let lab = jail("mounts", &[]);
    for script in ["mount -t tmpfs none /tmp", "mount -o bind /bin /srv", "mount -o remount,rw /proc/sys"] {
        cannot(&lab, script, "permission denied");
    }
    for script in ["umount /proc", "umount /proc/sys", "umount -l /dev"] {
        cannot(&lab, script, "Operation not permitted");
    }
    // Nor by way of a user namespace, where it would be root.
    for flags in ["-U", "-m", "-Um", "-n"] {
        cannot(&lab, &format!("/bin/busybox unshare {flags} /bin/true"), "Operation not permitted");
    }
    for node in ["b 8 0", "c 1 1"] {
        cannot(&lab, &format!("mknod /tmp/node {node}"), "Operation not permitted");
    }
    let devices = tries(&lab, "ls /dev").must(0);
    // `core` and `kcore` are links to `/proc/kcore`, which is hidden.
    let known = [
        "console", "core", "fd", "full", "kcore", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
        "tty", "urandom", "zero",
    ];
    assert!(devices.stdout.lines().all(|name| known.contains(&name)), "{devices}");
}

#[test]
fn the_kernel_takes_no_orders() {
    let lab = jail("orders", &[]);
    cannot(&lab, "echo junk > /tmp/x.ko; /bin/busybox insmod /tmp/x.ko", "Operation not permitted");
    cannot(&lab, "/bin/busybox rmmod overlay", "Operation not permitted");
    cannot(&lab, "hostname other", "Operation not permitted");
    cannot(&lab, "/bin/busybox swapoff -a; /bin/busybox swapon /bin/sh", "Operation not permitted");
    cannot(&lab, "/bin/busybox dmesg", "Operation not permitted");
    cannot(&lab, "/bin/busybox chroot / /bin/busybox nsenter -t 1 -m /bin/true", "Operation not permitted");
    let clock = |text: &Output| text.text().parse::<u64>().unwrap();
    let before = clock(&lab.inside("s1", &["date", "+%s"]).run().must(0));
    cannot(
        &lab,
        "date -s 2020-01-01 > /dev/null; /bin/busybox test $(date +%Y) = 2020 || { echo unmoved >&2; false; }",
        "unmoved",
    );
    assert!(clock(&lab.inside("s1", &["date", "+%s"]).run().must(0)) >= before);
}

#[test]
fn sysctls_cannot_be_written() {
    let lab = jail("sysctls", &[]);
    let all = [
        "kernel/panic",
        "kernel/core_pattern",
        "kernel/hostname",
        "kernel/pid_max",
        "vm/swappiness",
        "vm/drop_caches",
        "fs/file-max",
        "net/ipv4/ip_forward",
        "net/core/somaxconn",
        "kernel/shmmax",
    ];
    for name in all {
        let path = format!("/proc/sys/{name}");
        let before = std::fs::read(&path).ok();
        let out = tries(&lab, &format!("echo 1 > {path}"));
        assert!(out.code != 0 && (out.stderr.contains("Read-only") || out.stderr.contains("ermission denied")), "{out}");
        assert_eq!(std::fs::read(&path).ok(), before, "{path}");
    }
    for path in [
        "/proc/sysrq-trigger",
        "/proc/irq/default_smp_affinity",
        "/sys/kernel/mm/ksm/run",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/cgroup.procs",
    ] {
        assert!(tries(&lab, &format!("echo 1 > {path}")).code != 0, "{path}");
    }
    // What tells about the server is empty.
    for path in ["/proc/kcore", "/proc/keys", "/proc/timer_list", "/sys/firmware", "/proc/acpi"] {
        let out = tries(&lab, &format!("if test -d {path}; then ls {path}; else head -c 1 {path}; fi 2>/dev/null"));
        assert_eq!(out.stdout, "", "{path}: {out}");
    }
}

#[test]
fn capabilities_are_few_and_cannot_grow() {
    let lab = jail("capable", &[]);
    let status = tries(&lab, "cat /proc/self/status").must(0);
    let field = |name: &str| {
        let line = status.stdout.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name}\n{status}")).trim().to_owned()
    };
    // Numbers of <linux/capability.h>: net_admin, sys_module, sys_rawio, sys_ptrace, sys_admin, sys_boot, sys_time, mac_admin, syslog, bpf.
    let bounding = u64::from_str_radix(&field("CapBnd"), 16).unwrap();
    for capability in [12, 16, 17, 19, 21, 22, 25, 33, 34, 39] {
        assert_eq!(bounding & (1 << capability), 0, "capability {capability} in {bounding:x}");
    }
    assert_eq!(field("CapEff"), field("CapBnd"));
    assert_eq!((field("NoNewPrivs").as_str(), field("Seccomp").as_str()), ("1", "2"));
    // The same for the first process as for commands beside it.
    let first = tries(&lab, "cat /proc/1/status").must(0);
    assert!(first.stdout.contains(&format!("CapBnd:\t{}", field("CapBnd"))) && first.stdout.contains("Seccomp:\t2"), "{first}");
}

#[test]
fn the_control_plane_is_out_of_reach() {
    let lab = Lab::with_tiny(2);
    for server in lab.servers() {
        let name = format!("on-{server}");
        let web = format!("{server}:{name}");
        lab.ok(&["run", "-d", &web, "tiny", "-p", "8080:80", "--", "/bin/httpd", "-f", "-p", "80", "-h", "/www"]);
    }
    // All at once, since what is dropped answers only by its absence.
    let reached = |from: &str, addresses: &[&str], ports: &str| -> Vec<String> {
        let script = format!(
            "for a in {}; do for p in {ports}; do (nc -w 2 $a $p < /dev/null > /dev/null 2>&1 && echo $a:$p) & done; done; wait",
            addresses.join(" ")
        );
        lab.ok(&["exec", from, "--", "/bin/sh", "-c", &script]).stdout.lines().map(str::to_owned).collect()
    };
    let underlay = ["10.200.0.1", "10.200.0.2"];
    let gateways = ["10.0.1.1", "10.0.2.1", "10.0.1.0", "10.0.2.0"];
    for from in ["on-s1", "on-s2"] {
        // It is not the network that is broken: what is published is reached the same way.
        eventually(SOON, "published ports are reached", || reached(from, &underlay, "8080").len() == underlay.len());
        let none: [String; 0] = [];
        assert_eq!(reached(from, &[&underlay[..], &gateways[..]].concat(), "7443 7444"), none, "from {from}");
    }
    // The servers themselves do reach each other there.
    let server = lab.inside("s2", &["curl", "-sk", "--max-time", "5", "https://10.200.0.1:7443/v1/version"]).run().must(0);
    assert!(server.stdout.contains("not_allowed"), "{server}");
    // And nothing inside to speak with it: no socket, no key, no file of Roost.
    let find = "/bin/busybox find / -xdev -type s -o -xdev -name '*.pem' -o -xdev -name '*roost*' -o -xdev -name 'identity*'";
    for name in ["on-s1", "on-s2"] {
        let out = lab.ok(&["exec", name, "--", "/bin/sh", "-c", find]);
        assert_eq!(out.stdout, "", "{out}");
        let env = lab.ok(&["exec", name, "--", "/bin/env"]);
        assert!(!env.stdout.to_lowercase().contains("roost"), "{env}");
    }
}

#[test]
fn a_mount_of_the_server_s_own_state_is_the_only_way_to_it() {
    let lab = jail("below", &[]);
    // The root file system of the container is all there is above it.
    let out = tries(&lab, "cd /; cd ../../..; ls").must(0);
    let mut expected: Vec<&str> = vec!["bin", "dev", "etc", "proc", "srv", "sys", "tmp", "www"];
    let mut found: Vec<&str> = out.stdout.lines().collect();
    found.sort_unstable();
    expected.sort_unstable();
    assert_eq!(found, expected);
    let out = tries(&lab, "ls /proc/1/root/ && ls /proc/1/cwd/").must(0);
    assert!(!out.stdout.contains("var"), "{out}");
}

#[test]
fn memory_ends_at_the_limit() {
    let lab = bed();
    let greedy = ["--", "/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=64M", "count=1"];
    let out = lab.roost(&[&["run", "greedy", "tiny", "--memory", "16M"], &greedy[..]].concat()).must(137);
    let sentence = "killed for want of memory: it reached its limit of 16M";
    assert!(out.stderr.contains(sentence), "{out}");
    assert!(lab.ok(&["why", "greedy"]).stdout.contains(sentence));
    let view = lab.container("greedy");
    assert_eq!((view.exit_code, view.message.is_some_and(|message| message.contains(sentence))), (Some(137), true));
    // The same with room for it, so that it is the limit that killed.
    lab.roost(&[&["run", "fed", "tiny", "--memory", "128M"], &greedy[..]].concat()).must(0);
}

#[test]
fn a_command_beside_counts_against_the_limits_as_well() {
    let lab = jail("beside", &["--memory", "16M", "--pids", "8"]);
    let out = tries(&lab, "dd if=/dev/zero of=/dev/null bs=64M count=1");
    assert!(out.code != 0, "{out}");
    cannot(&lab, "for n in 1 2 3 4 5 6 7 8 9; do sleep 5 & done", "can't fork");
}

#[test]
fn processes_end_at_the_limit() {
    let lab = bed();
    let script = "for n in $(seq 20); do sleep 60 & done; echo all";
    let out = lab.roost(&["run", "many", "tiny", "--pids", "8", "--", "/bin/sh", "-c", script]);
    assert!(out.code != 0 && out.stderr.contains("can't fork") && !out.stdout.contains("all"), "{out}");
    lab.ok(&["rm", "-f", "many"]);
    let script = "for n in $(seq 20); do true & done; wait; echo all";
    let out = lab.ok(&["run", "few", "tiny", "--pids", "64", "--", "/bin/sh", "-c", script]);
    assert!(out.stdout.contains("all"), "{out}");
}

/// Time on the processor a container has had, microseconds.
fn used(lab: &Lab, name: &str) -> Option<(u64, u64)> {
    let stats = lab.json(&["stats", name]);
    Some((stats[0]["cpu_micros"].as_u64()?, stats[0]["at"].as_u64()?))
}

#[test]
fn processor_time_is_rationed() {
    let lab = bed();
    let busy = ["--", "/bin/sh", "-c", "while :; do :; done"];
    lab.ok(&[&["run", "-d", "busy", "tiny", "--cpu", "0.2"], &busy[..]].concat());
    let (before, began) = eventually_some(SOON, "its use is known", || used(&lab, "busy"));
    let window = 2_000;
    let (after, ended) =
        eventually_some(SOON, "two seconds have gone", || used(&lab, "busy").filter(|(_, at)| at - began >= window));
    #[allow(clippy::cast_precision_loss)]
    let share = (after - before) as f64 / ((ended - began) as f64 * 1000.0);
    // A period of the quota may begin or end in the window; less than the quota only says how loaded the machine is.
    assert!(share < 0.26 && share > 0.01, "{share:.3} of a core instead of 0.2");
}

#[test]
fn the_disk_of_others_is_not_written() {
    let lab = bed();
    lab.import("marked", Root::tiny().file("etc/marker", "from the image\n"));
    for name in ["one", "two"] {
        lab.ok(&["run", "-d", name, "marked", "--", "/bin/sleep", "600"]);
    }
    let sh = |name: &str, script: &str| lab.roost(&["exec", name, "--", "/bin/sh", "-c", script]);
    sh("one", "echo changed > /etc/marker; rm /bin/httpd; echo x > /new").must(0);
    assert_eq!(sh("two", "cat /etc/marker; ls /bin/httpd; ls /new").stdout, "from the image\n/bin/httpd\n");
    lab.ok(&["run", "-d", "--read-only", "fixed", "marked", "--", "/bin/sleep", "600"]);
    assert!(sh("fixed", "echo x > /new").stderr.contains("Read-only file system"));
}

#[test]
fn all_of_it_holds_on_cgroups_v2_as_well() {
    if std::env::var_os(lab::INSIDE).is_some() {
        // In there this very test says where it is, for the one outside.
        assert_eq!(bed().server_views()[0].spec.facts.cgroups, "v2");
        println!("in there the control groups are v2");
        return;
    }
    let own = std::env::current_exe().unwrap();
    let out = Vm::new()
        .run(&[own.as_os_str(), "--test-threads=2".as_ref(), "--show-output".as_ref(), "--color=never".as_ref()])
        .must(0);
    assert!(out.stdout.contains("in there the control groups are v2"), "{out}");
    let here = std::process::Command::new(own).arg("--list").output().unwrap();
    let listed = String::from_utf8(here.stdout).unwrap().lines().filter(|line| line.ends_with(": test")).count();
    assert!(out.stdout.contains(&format!("test result: ok. {listed} passed; 0 failed; 0 ignored")), "{out}");
    eprintln!("{listed} tests on cgroups v2 in {:?}", out.took);
}
