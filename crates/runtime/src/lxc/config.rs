//! Renders a system container as a configuration for LXC (lxc.container.conf(5)). Pure.

use crate::{
    Error, Result,
    cgroup::Shape,
    idmap,
    limits::{CPU_PERIOD, quota},
    spec::DEFAULT_PATH,
};
use api::spec::DEFAULT_PIDS;
use driver::runtime::{ContainerRun, MountRun};
use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
};

/// Where LXC keeps what its configurations share.
const SHARED: &str = "/usr/share/lxc/config";
/// What root of a whole system never has: kernel modules, clocks, raw devices, labels. LXC's own list, which it clears where users
/// are mapped; but systemd takes what it still holds for a promise that it works.
const WITHOUT: &str = "mac_admin mac_override sys_time sys_module sys_rawio";

/// All that the configuration depends on.
pub struct Facts<'a> {
    /// Host name inside.
    pub hostname: &'a str,
    /// The container.
    pub container: &'a ContainerRun,
    /// Root file system, mounted.
    pub root: &'a Path,
    /// Network namespace.
    pub netns: &'a Path,
    /// Generated files for `/etc`, as source and target.
    pub etc: &'a [(PathBuf, &'static str)],
    /// Host directories inside, where they lie now.
    pub mounts: &'a [MountRun],
    /// A `/sys` to be shown instead of one of its own.
    pub sys: Option<&'a Path>,
    /// Terminal that its console leads to. None: the first program has `lxc-start`'s own streams.
    pub console: Option<&'a Path>,
    /// Where an init says that it is up: a socket of the network namespace.
    pub ready: Option<&'a str>,
    /// User of the first program.
    pub uid: u32,
    /// Its group.
    pub gid: u32,
    /// Path of the container's cgroup below the root of each hierarchy.
    pub cgroup: &'a str,
    /// Cgroups of this server.
    pub shape: &'a Shape,
}

/// The configuration's text. Refuses what would begin a new line: each line is a command to LXC.
pub fn render(facts: &Facts<'_>) -> Result<String> {
    let mut text = String::new();
    for (key, value) in lines(facts) {
        if value.contains(['\n', '\r', '\0']) {
            return Err(Error::text(format!("{key} cannot hold a line feed: {value:?}")));
        }
        let _ = writeln!(text, "{key} = {value}");
    }
    Ok(text)
}

fn lines<'a>(facts: &Facts<'a>) -> Vec<(&'a str, String)> {
    let container = facts.container;
    let mut all: Vec<(&'a str, String)> = trust(facts);
    all.extend([
        ("lxc.arch", std::env::consts::ARCH.to_owned()),
        ("lxc.uts.name", facts.hostname.to_owned()),
        ("lxc.rootfs.path", format!("dir:{}", facts.root.display())),
        ("lxc.net.0.type", "none".to_owned()),
        ("lxc.namespace.share.net", facts.netns.display().to_string()),
        ("lxc.apparmor.profile", "unconfined".to_owned()),
        ("lxc.console.path", facts.console.map_or_else(|| "none".to_owned(), |path| path.display().to_string())),
        // The console is the only terminal.
        ("lxc.tty.max", "0".to_owned()),
        ("lxc.autodev", "1".to_owned()),
        ("lxc.init.uid", facts.uid.to_string()),
        ("lxc.init.gid", facts.gid.to_string()),
        ("lxc.signal.halt", container.stop_signal.to_string()),
        // The outer cgroup holds the limits, the inner one is all the container sees.
        ("lxc.cgroup.relative", "0".to_owned()),
        ("lxc.cgroup.dir.monitor", format!("{}-keeper", facts.cgroup)),
        ("lxc.cgroup.dir.container", facts.cgroup.to_owned()),
        ("lxc.cgroup.dir.container.inner", "inner".to_owned()),
    ]);
    if !container.env.iter().any(|e| e.starts_with("PATH=")) {
        all.push(("lxc.environment", DEFAULT_PATH.to_owned()));
    }
    if facts.console.is_some() {
        // Busybox's init otherwise speaks to the streams it was started with, which are not the console but lxc-start's own.
        all.push(("lxc.environment", "CONSOLE=/dev/console".to_owned()));
    }
    // sd_notify(3): a name without a file begins with @.
    all.extend(facts.ready.map(|name| ("lxc.environment", format!("NOTIFY_SOCKET=@{name}"))));
    all.extend(container.env.iter().map(|entry| ("lxc.environment", entry.clone())));
    all.extend(limits(facts));
    all.extend(facts.etc.iter().map(|(source, target)| ("lxc.mount.entry", mount(source, target, "file", false))));
    all.extend(facts.mounts.iter().map(|m| {
        let kind = if m.source.is_file() { "file" } else { "dir" };
        ("lxc.mount.entry", mount(&m.source, &m.target, kind, m.read_only))
    }));
    if container.read_only {
        all.push(("lxc.rootfs.options", "ro".to_owned()));
    }
    // Asked for in so many words, and so the last to speak. What Roost relies on was refused when it was asked for.
    all.extend(container.system.lxc.iter().map(|(key, value)| (key.as_str(), value.clone())));
    all
}

/// How far the container is trusted: whose root it is, what it sees of the kernel.
fn trust(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let nesting = facts.container.system.nesting;
    let mut all = vec![("lxc.include", format!("{SHARED}/common.conf"))];
    if facts.container.user_namespace {
        all.push(("lxc.include", format!("{SHARED}/userns.conf")));
        all.push(("lxc.cap.drop", WITHOUT.to_owned()));
        all.extend(["u", "g"].map(|kind| ("lxc.idmap", format!("{kind} 0 {} {}", idmap::FIRST, idmap::COUNT))));
    }
    if nesting {
        all.push(("lxc.include", format!("{SHARED}/nesting.conf")));
    }
    if let Some(sys) = facts.sys {
        // A /sys of its own may only be mounted by the owner of the network.
        let proc = if nesting { "proc:rw" } else { "proc:mixed" };
        all.push(("lxc.mount.auto", String::new()));
        all.push(("lxc.mount.auto", format!("{proc} cgroup:mixed")));
        // Its files are root's outside, so that root inside can change none; a nested system must be able to mount its own.
        let options = if nesting { "rbind,nosuid,nodev,noexec" } else { "rbind,ro,nosuid,nodev,noexec" };
        all.push(("lxc.mount.entry", format!("{} sys none {options} 0 0", escape(&sys.display().to_string()))));
    }
    all
}

/// Blanks as fstab(5) wants them.
fn escape(text: &str) -> String {
    text.replace('\\', "\\134").replace(' ', "\\040").replace('\t', "\\011")
}

/// A line as in fstab(5); the target is relative to the root.
fn mount(source: &Path, target: &str, kind: &str, read_only: bool) -> String {
    let mode = if read_only { ",ro" } else { "" };
    let source = source.display().to_string();
    format!("{} {} none bind,create={kind}{mode} 0 0", escape(&source), escape(target.trim_start_matches('/')))
}

fn limits(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let limits = &facts.container.limits;
    let pids = limits.pids.unwrap_or(DEFAULT_PIDS).to_string();
    let quota = quota(limits);
    let mut all = Vec::new();
    match facts.shape {
        Shape::V1 { swap, .. } => {
            all.push(("lxc.cgroup.pids.max", pids));
            if let Some(memory) = limits.memory {
                all.push(("lxc.cgroup.memory.limit_in_bytes", memory.0.to_string()));
                if *swap {
                    all.push(("lxc.cgroup.memory.memsw.limit_in_bytes", memory.0.to_string()));
                }
            }
            if let Some(quota) = quota {
                all.push(("lxc.cgroup.cpu.cfs_period_us", CPU_PERIOD.to_string()));
                all.push(("lxc.cgroup.cpu.cfs_quota_us", quota.to_string()));
            }
        }
        Shape::V2 { .. } => {
            all.push(("lxc.cgroup2.pids.max", pids));
            if let Some(memory) = limits.memory {
                all.push(("lxc.cgroup2.memory.max", memory.0.to_string()));
                all.push(("lxc.cgroup2.memory.swap.max", "0".to_owned()));
            }
            if let Some(quota) = quota {
                all.push(("lxc.cgroup2.cpu.max", format!("{quota} {CPU_PERIOD}")));
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::{
        Bytes, Cpu, Name,
        spec::{ContainerKind, Limits},
    };
    use driver::runtime::MountRun;

    fn container() -> ContainerRun {
        ContainerRun {
            name: Name::parse("container", "main").unwrap(),
            kind: ContainerKind::System,
            layers: vec!["/layers/a".into()],
            argv: vec!["/sbin/init".to_owned()],
            env: vec!["LANG=C".to_owned()],
            user: String::new(),
            workdir: "/".to_owned(),
            mounts: vec![MountRun { source: "/srv/my data".into(), target: "/data".to_owned(), read_only: true }],
            limits: Limits { memory: Some(Bytes(256 << 20)), cpu: Some(Cpu(500)), pids: Some(200) },
            stop_signal: 37,
            user_namespace: false,
            read_only: false,
            terminal: false,
            size: None,
            stdin: false,
            awaited: false,
            system: api::system::SystemRules::default(),
        }
    }

    fn rendered(container: &ContainerRun, shape: &Shape) -> Result<String> {
        render(&Facts {
            hostname: "sys-1",
            container,
            root: Path::new("/run/roost/pods/7/c/main/root"),
            netns: Path::new("/run/netns/roost-7"),
            etc: &[(PathBuf::from("/var/lib/roost/pods/7/c/main/etc/hosts"), "/etc/hosts")],
            mounts: &container.mounts,
            sys: container.user_namespace.then_some(Path::new("/mnt/1")),
            console: container.user_namespace.then_some(Path::new("/dev/pts/7")),
            ready: container.user_namespace.then_some("roost-1"),
            uid: 0,
            gid: 0,
            cgroup: "roost/7/main",
            shape,
        })
    }

    #[test]
    fn on_v1_and_on_v2() {
        let on = |shape: &Shape| rendered(&container(), shape).unwrap().replace(std::env::consts::ARCH, "ARCH");
        insta::assert_snapshot!("v1", on(&Shape::V1 { mounts: Vec::new(), unified: None, swap: true }));
        insta::assert_snapshot!("v2", on(&Shape::V2 { mount: "/sys/fs/cgroup".into() }));
    }

    #[test]
    fn an_unprivileged_one_with_nesting_and_keys_of_its_own() {
        let lxc = vec![("lxc.prlimit.nofile".to_owned(), "1024".to_owned())];
        let system = api::system::SystemRules { nesting: true, lxc, ..Default::default() };
        let mapped = ContainerRun { user_namespace: true, system, ..container() };
        let text = rendered(&mapped, &Shape::V2 { mount: "/sys/fs/cgroup".into() }).unwrap();
        insta::assert_snapshot!("unprivileged", text.replace(std::env::consts::ARCH, "ARCH"));
    }

    #[test]
    fn a_variable_cannot_smuggle_in_a_setting() {
        let evil = ContainerRun { env: vec!["A=b\nlxc.hook.pre-start = /bin/evil".to_owned()], ..container() };
        let error = rendered(&evil, &Shape::V2 { mount: "/sys/fs/cgroup".into() }).unwrap_err().to_string();
        assert!(error.contains("cannot hold a line feed"), "{error}");
    }
}
