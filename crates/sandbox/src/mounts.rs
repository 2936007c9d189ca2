//! The file system as a server sees it: the machine's, with the places of its own laid over it.

use crate::cgroup::Hierarchy;
use api::path::OUTER_NETWORK;
use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::stat::Mode,
};
use std::{
    fs,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::fs::{PermissionsExt, symlink},
    },
    path::{Path, PathBuf},
};

/// Where hierarchies are mounted (file-hierarchy(7)).
const CGROUP: &str = "/sys/fs/cgroup";

/// A mount to make.
struct Plan<'a> {
    source: &'a str,
    target: &'a Path,
    kind: Option<&'a str>,
    flags: MsFlags,
    data: Option<&'a str>,
}

impl<'a> Plan<'a> {
    /// A fresh file system of this kind.
    fn fresh(kind: &'a str, target: &'a str) -> Self {
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        Self { source: kind, target: Path::new(target), kind: Some(kind), flags, data: None }
    }

    fn make(self) -> Result<(), String> {
        let failed = |e| format!("mount {} on {}: {e}", self.kind.unwrap_or("a directory"), self.target.display());
        mount(Some(self.source), self.target, self.kind, self.flags, self.data).map_err(failed)
    }
}

/// Lays a server's own places over the machine's, in a mount namespace of its own; `hierarchies` and the network namespace
/// `outer` are the machine's.
pub fn arrange(dir: &Path, hierarchies: &[Hierarchy], outer: &OwnedFd) -> Result<(), String> {
    let links = links_in(Path::new(CGROUP));
    // Opened first: their paths are hidden by what comes.
    let (lib, run) = (open(&dir.join("lib"))?, open(&dir.join("run"))?);
    let private =
        Plan { source: "none", target: Path::new("/"), kind: None, flags: MsFlags::MS_REC | MsFlags::MS_PRIVATE, data: None };
    private.make()?;
    own_var_lib()?;
    bind(&lib, api::path::STATE_DIR)?;
    bind(&run, "/run")?;
    fs::write(OUTER_NETWORK, "").map_err(|e| format!("make {OUTER_NETWORK}: {e}"))?;
    bind(outer, OUTER_NETWORK)?;
    fs::create_dir_all("/run/lock").map_err(|e| format!("make /run/lock: {e}"))?;
    fs::set_permissions("/run/lock", fs::Permissions::from_mode(0o1777)).map_err(|e| format!("open up /run/lock: {e}"))?;
    Plan { data: Some("mode=1777"), ..Plan::fresh("tmpfs", "/dev/shm") }.make()?;
    Plan::fresh("proc", "/proc").make()?;
    Plan::fresh("sysfs", "/sys").make()?;
    hierarchies_again(hierarchies)?;
    links.iter().for_each(|(from, to)| drop(symlink(to, from)));
    Ok(())
}

/// A throw-away layer over `/var/lib`: the mount point of the disk then belongs to this server, so that it need not exist on
/// the machine, and nothing the machine removes (an empty `/var/lib/roost`) unmounts the disk of a running server.
fn own_var_lib() -> Result<(), String> {
    Plan { data: Some("mode=755"), ..Plan::fresh("tmpfs", "/run") }.make()?;
    let disk = format!("/run/upper/{}", api::path::STATE_DIR.trim_start_matches("/var/lib/"));
    for made in [disk.as_str(), "/run/work"] {
        fs::create_dir_all(made).map_err(|e| format!("make {made}: {e}"))?;
    }
    let data = "lowerdir=/var/lib,upperdir=/run/upper,workdir=/run/work";
    Plan { flags: MsFlags::empty(), data: Some(data), ..Plan::fresh("overlay", "/var/lib") }.make()?;
    // The layer keeps its own hold on the file system below.
    umount2("/run", MntFlags::MNT_DETACH).map_err(|e| format!("unmount /run: {e}"))
}

/// Every hierarchy of the machine, seen from this server's group as its root.
fn hierarchies_again(hierarchies: &[Hierarchy]) -> Result<(), String> {
    if !hierarchies.iter().any(|hierarchy| hierarchy.mount == Path::new(CGROUP)) {
        Plan { data: Some("mode=755"), ..Plan::fresh("tmpfs", CGROUP) }.make()?;
    }
    for hierarchy in hierarchies.iter().filter(|hierarchy| hierarchy.mount.starts_with(CGROUP)) {
        fs::create_dir_all(&hierarchy.mount).map_err(|e| format!("make {}: {e}", hierarchy.mount.display()))?;
        mount_hierarchy(hierarchy)?;
    }
    Ok(())
}

fn mount_hierarchy(hierarchy: &Hierarchy) -> Result<(), String> {
    // A named hierarchy without controllers is asked for with `none` (kernel documentation, cgroup-v1/cgroups, 2.1).
    let options = hierarchy.options.as_ref().map(|o| if o.starts_with("name=") { format!("none,{o}") } else { o.clone() });
    let kind = if hierarchy.is_unified() { "cgroup2" } else { "cgroup" };
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    Plan { source: kind, target: &hierarchy.mount, kind: Some(kind), flags, data: options.as_deref() }.make()
}

/// Short names of hierarchies (`cpu` for `cpu,cpuacct`), which programs look for.
fn links_in(dir: &Path) -> Vec<(PathBuf, PathBuf)> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter_map(|path| fs::read_link(&path).ok().map(|to| (path, to))).collect()
}

fn open(path: &Path) -> Result<OwnedFd, String> {
    nix::fcntl::open(path, OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|e| format!("open {}: {e}", path.display()))
}

fn bind(from: &OwnedFd, to: &str) -> Result<(), String> {
    let source = format!("/proc/self/fd/{}", from.as_raw_fd());
    Plan { source: &source, target: Path::new(to), kind: None, flags: MsFlags::MS_BIND, data: None }.make()
}
