//! Renders a container as an OCI runtime configuration. Pure.
//!
//! <https://github.com/opencontainers/runtime-spec/blob/main/config.md>. Two things that a configuration can hold are done
//! by us at the last step before the program (`launch.rs`): the system call filter and the terminal.

use crate::{
    caps,
    cgroup::Shape,
    idmap,
    limits::{CPU_PERIOD, quota},
    user::User,
};
use api::spec::DEFAULT_PIDS;
use driver::runtime::{ContainerRun, MountRun};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Where `PATH` points when the image says nothing (docker's default).
pub const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Open files a program may have, unless our own limit is lower: what docker's packages set.
const FILES: u64 = 1 << 20;

/// Size of `/dev/shm`, as in docker.
const SHM: &str = "size=67108864";

/// Hidden from containers: moby, `oci/defaults.go`.
const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
];

/// Shown read-only: moby, `oci/defaults.go`, and the directory that holds the cgroup mounts.
const READ_ONLY: [&str; 6] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger", "/sys/fs/cgroup"];

/// Character devices a container may use: null, zero, full, random, urandom, tty, ptmx, and its own terminals.
const DEVICES: [(i64, Option<i64>); 8] =
    [(1, Some(3)), (1, Some(5)), (1, Some(7)), (1, Some(8)), (1, Some(9)), (5, Some(0)), (5, Some(2)), (136, None)];

/// All that the configuration of one container depends on.
pub struct Facts<'a> {
    /// Host name inside.
    pub hostname: &'a str,
    /// The container.
    pub container: &'a ContainerRun,
    /// Root file system, mounted.
    pub root: &'a Path,
    /// Process whose IPC and UTS namespaces are shared: the first container of the pod.
    pub leader: Option<i32>,
    /// Generated files for `/etc`, as source and target.
    pub etc: &'a [(PathBuf, &'static str)],
    /// Mounts, with their real sources.
    pub mounts: &'a [MountRun],
    /// As looked up in the container.
    pub user: &'a User,
    /// Its cgroup, as a path from the root of each hierarchy.
    pub cgroup: &'a str,
    /// Cgroups of this server.
    pub shape: &'a Shape,
    /// Our own hard limit of open files, which we cannot exceed.
    pub files_hard: u64,
    /// Our own adjustment for the kernel's choice of victim when memory runs out.
    pub oom_score: i32,
}

/// The configuration.
pub fn render(facts: &Facts<'_>) -> Value {
    json!({
        "ociVersion": "1.0.2",
        "hostname": facts.hostname,
        "root": { "path": facts.root, "readonly": facts.container.read_only },
        "process": process(facts),
        "mounts": mounts(facts),
        "linux": linux(facts),
    })
}

/// The container's environment with what every program may rely on.
pub fn environment(env: &[String], user: &User, hostname: &str, terminal: bool) -> Vec<String> {
    let mut all = env.to_vec();
    let mut default = |key: &str, entry: String| {
        if !all.iter().any(|e| e.split_once('=').is_some_and(|(k, _)| k == key)) {
            all.push(entry);
        }
    };
    default("PATH", DEFAULT_PATH.to_owned());
    default("HOME", format!("HOME={}", user.home));
    default("HOSTNAME", format!("HOSTNAME={hostname}"));
    if terminal {
        default("TERM", "TERM=xterm".to_owned());
    }
    all
}

fn process(facts: &Facts<'_>) -> Value {
    let capabilities: Vec<&str> = caps::DEFAULT.iter().map(|(name, _)| *name).collect();
    let files = facts.files_hard.min(FILES);
    let workdir = if facts.container.workdir.is_empty() { "/" } else { &facts.container.workdir };
    let mut process = json!({
        "terminal": false,
        "user": { "uid": facts.user.uid, "gid": facts.user.gid, "additionalGids": facts.user.groups },
        "args": facts.container.argv,
        "env": environment(&facts.container.env, facts.user, facts.hostname, facts.container.terminal),
        "cwd": workdir,
        "noNewPrivileges": true,
        "capabilities": {
            "bounding": capabilities, "effective": capabilities, "permitted": capabilities, "inheritable": [], "ambient": [],
        },
        "rlimits": [{ "type": "RLIMIT_NOFILE", "soft": files, "hard": files }],
    });
    if facts.oom_score < 0 {
        process["oomScoreAdj"] = json!(0);
    }
    process
}

fn mount(target: &str, kind: &str, source: &str, options: &[&str]) -> Value {
    json!({ "destination": target, "type": kind, "source": source, "options": options })
}

/// A bind mount. Devices and set-user-id programs on it have no effect.
fn bind(source: &Path, target: &str, read_only: bool) -> Value {
    let mode = if read_only { "ro" } else { "rw" };
    json!({ "destination": target, "type": "bind", "source": source, "options": ["rbind", "rprivate", "nosuid", "nodev", mode] })
}

fn mounts(facts: &Facts<'_>) -> Vec<Value> {
    let mut all = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount("/dev/pts", "devpts", "devpts", &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", SHM]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        system(facts.container.user_namespace),
        mount("/sys/fs/cgroup", "tmpfs", "tmpfs", &["nosuid", "noexec", "nodev", "mode=755", "size=64k"]),
    ];
    for (source, target) in facts.shape.shown(facts.cgroup) {
        let options = ["bind", "ro", "nosuid", "noexec", "nodev"];
        all.push(json!({ "destination": target, "type": "bind", "source": source, "options": options }));
    }
    all.extend(facts.etc.iter().map(|(source, target)| bind(source, target, false)));
    all.extend(facts.mounts.iter().map(|m| bind(&m.source, &m.target, m.read_only)));
    all
}

/// `/sys`. In a user namespace that does not own the network namespace a new one may not be mounted: show ours.
fn system(user_namespace: bool) -> Value {
    if user_namespace {
        mount("/sys", "bind", "/sys", &["rbind", "rprivate", "nosuid", "noexec", "nodev", "ro"])
    } else {
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"])
    }
}

fn linux(facts: &Facts<'_>) -> Value {
    let masked: Vec<&str> = MASKED.to_vec();
    let mut linux = json!({
        "cgroupsPath": format!("/{}", facts.cgroup),
        "namespaces": namespaces(facts),
        "resources": resources(facts),
        "maskedPaths": masked,
        "readonlyPaths": READ_ONLY,
        "rootfsPropagation": "private",
    });
    if facts.container.user_namespace {
        let map = json!([{ "containerID": 0, "hostID": idmap::FIRST, "size": idmap::COUNT }]);
        linux["uidMappings"] = map.clone();
        linux["gidMappings"] = map;
    }
    linux
}

/// Not the network: the maker is in it already, since from inside a new user namespace it could not be entered.
fn namespaces(facts: &Facts<'_>) -> Vec<Value> {
    let shared = |kind: &str, file: &str| match facts.leader {
        Some(pid) => json!({ "type": kind, "path": format!("/proc/{pid}/ns/{file}") }),
        None => json!({ "type": kind }),
    };
    let mut all = vec![
        json!({ "type": "pid" }),
        json!({ "type": "mount" }),
        json!({ "type": "cgroup" }),
        shared("ipc", "ipc"),
        shared("uts", "uts"),
    ];
    if facts.container.user_namespace {
        all.push(shared("user", "user"));
    }
    all
}

fn resources(facts: &Facts<'_>) -> Value {
    let limits = &facts.container.limits;
    let mut devices = vec![json!({ "allow": false, "access": "rwm" })];
    devices.extend(DEVICES.iter().map(|(major, minor)| {
        let mut rule = json!({ "allow": true, "type": "c", "major": major, "access": "rw" });
        if let Some(minor) = minor {
            rule["minor"] = json!(minor);
        }
        rule
    }));
    let mut resources = json!({
        "devices": devices,
        "pids": { "limit": limits.pids.unwrap_or(DEFAULT_PIDS) },
    });
    if let Some(memory) = limits.memory {
        let bytes = i64::try_from(memory.0).unwrap_or(i64::MAX);
        resources["memory"] = json!({ "limit": bytes });
        if facts.shape.counts_swap() {
            // Memory and swap together: no swap beyond the limit.
            resources["memory"]["swap"] = json!(bytes);
        }
    }
    if let Some(quota) = quota(limits) {
        resources["cpu"] = json!({ "quota": quota, "period": CPU_PERIOD });
    }
    resources
}

/// `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a pod, by the name of the file.
pub fn etc_files(pod: &driver::runtime::PodRun) -> [(&'static str, String); 3] {
    let (address, hostname) = (pod.address, &pod.hostname);
    let short = hostname.split('.').next().unwrap_or(hostname);
    let names = if short == hostname { hostname.clone() } else { format!("{hostname} {short}") };
    [
        ("hosts", format!("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n{address}\t{names}\n")),
        ("hostname", format!("{hostname}\n")),
        ("resolv.conf", pod.resolv_conf.clone()),
    ]
}

#[cfg(test)]
mod tests;
