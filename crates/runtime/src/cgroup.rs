//! Control groups, v1 (also hybrid) and v2: where a pod's are, what they say, and how they end.

use crate::{Error, Result, sys};
use api::{Bytes, report::InstanceStats};
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// Tries to remove a cgroup: the kernel lets go of it a moment after its last process.
const REMOVE_TRIES: u32 = 2_000;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(1);
/// Rounds of killing until nothing is left.
const KILL_ROUNDS: u32 = 10_000;
/// Depth of cgroups below ours that are followed: a system container makes its own.
const DEPTH_MAX: u32 = 16;
/// Hierarchies that a container sees of itself on v1, read-only: what language runtimes look at to size themselves.
const SHOWN_V1: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "pids"];

/// Cgroups of this server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Every controller in a hierarchy of its own, or several together; perhaps a v2 hierarchy beside them.
    V1 {
        /// Mounted hierarchies: mount point and its controllers.
        mounts: Vec<(PathBuf, Vec<String>)>,
        /// A v2 hierarchy that is mounted as well.
        unified: Option<PathBuf>,
        /// Swap can be limited.
        swap: bool,
    },
    /// One hierarchy.
    V2 {
        /// Where.
        mount: PathBuf,
    },
}

impl Shape {
    /// As mounted now in our mount namespace.
    pub fn detect() -> Result<Self> {
        let path = Path::new("/proc/self/mountinfo");
        let text = fs::read_to_string(path).map_err(|e| Error::io("read", path, e))?;
        let mut shape = Self::parse(&text)?;
        let memory = shape.hierarchy("memory");
        if let (Self::V1 { swap, .. }, Some(memory)) = (&mut shape, memory) {
            *swap = memory.join("memory.memsw.limit_in_bytes").exists();
        }
        Ok(shape)
    }

    /// From the text of `/proc/self/mountinfo` (proc_pid_mountinfo(5)).
    pub fn parse(mountinfo: &str) -> Result<Self> {
        let (mut mounts, mut unified) = (Vec::new(), None);
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let Some(point) = left.split(' ').nth(4).map(PathBuf::from) else { continue };
            let mut right = right.split(' ');
            match (right.next(), right.nth(1)) {
                (Some("cgroup"), Some(options)) => mounts.push((point, controllers(options))),
                (Some("cgroup2"), _) if unified.is_none() => unified = Some(point),
                _ => {}
            }
        }
        // A hierarchy mounted in two places counts once, at the first.
        let mut seen = Vec::new();
        mounts.retain(|(_, controllers)| {
            !controllers.is_empty() && !seen.contains(controllers) && {
                seen.push(controllers.clone());
                true
            }
        });
        match (mounts.iter().any(|(_, c)| c.iter().any(|c| c == "pids")), unified) {
            (true, unified) => Ok(Self::V1 { mounts, unified, swap: false }),
            (false, Some(mount)) => Ok(Self::V2 { mount }),
            (false, None) => Err(Error::text("no cgroups are mounted: mount cgroup2 on /sys/fs/cgroup")),
        }
    }

    /// `v1`, `v2` or `hybrid`.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::V1 { unified: None, .. } => "v1",
            Self::V1 { .. } => "hybrid",
            Self::V2 { .. } => "v2",
        }
    }

    /// Can memory and swap be limited together?
    pub const fn counts_swap(&self) -> bool {
        matches!(self, Self::V2 { .. } | Self::V1 { swap: true, .. })
    }

    /// Mount point of the hierarchy with this controller.
    pub fn hierarchy(&self, controller: &str) -> Option<PathBuf> {
        match self {
            Self::V1 { mounts, .. } => {
                mounts.iter().find(|(_, all)| all.iter().any(|c| c == controller)).map(|(point, _)| point.clone())
            }
            Self::V2 { mount } => Some(mount.clone()),
        }
    }

    fn roots(&self) -> Vec<&Path> {
        match self {
            Self::V1 { mounts, unified, .. } => {
                mounts.iter().map(|(point, _)| point).chain(unified).map(PathBuf::as_path).collect()
            }
            Self::V2 { mount } => vec![mount],
        }
    }

    /// A cgroup in every hierarchy, whether it exists or not.
    pub fn directories(&self, path: &str) -> Vec<PathBuf> {
        self.roots().into_iter().map(|root| root.join(path)).collect()
    }

    /// Makes the cgroup that pods have in common, where it is missing. The library makes it as well, but refuses when another pod that
    /// begins at the same time makes it first (v2).
    pub fn share(&self, path: &str) -> Result<()> {
        let Self::V2 { mount } = self else { return Ok(()) };
        let shared = mount.join(path);
        fs::create_dir_all(&shared).map_err(|e| Error::io("create", &shared, e))
    }

    /// What of its cgroup a container sees: directory here and mount point inside.
    pub fn shown(&self, path: &str) -> Vec<(PathBuf, String)> {
        match self {
            Self::V1 { .. } => {
                SHOWN_V1.iter().filter_map(|c| Some((self.hierarchy(c)?.join(path), format!("/sys/fs/cgroup/{c}")))).collect()
            }
            Self::V2 { mount } => vec![(mount.join(path), "/sys/fs/cgroup".to_owned())],
        }
    }

    fn file(&self, controller: &str, path: &str, file: &str) -> Option<PathBuf> {
        self.hierarchy(controller).map(|root| root.join(path).join(file))
    }

    fn number(&self, controller: &str, path: &str, file: &str) -> u64 {
        let text = self.file(controller, path, file).and_then(|f| fs::read_to_string(f).ok());
        text.and_then(|t| t.trim().parse().ok()).unwrap_or(0)
    }

    /// A value out of a file of `key value` lines.
    fn keyed(&self, controller: &str, path: &str, (file, key): (&str, &str)) -> u64 {
        let text = self.file(controller, path, file).and_then(|f| fs::read_to_string(f).ok()).unwrap_or_default();
        keyed(&text, key)
    }

    /// Processes of this cgroup and those below that were killed because memory ran out.
    pub fn oom_kills(&self, path: &str) -> u64 {
        match self {
            Self::V1 { .. } => self.keyed("memory", path, ("memory.oom_control", "oom_kill")),
            Self::V2 { .. } => self.keyed("memory", path, ("memory.events", "oom_kill")),
        }
    }

    /// Use of resources, network aside.
    pub fn stats(&self, path: &str) -> InstanceStats {
        let (used, reclaimable, cpu_micros) = match self {
            Self::V1 { .. } => (
                self.number("memory", path, "memory.usage_in_bytes"),
                self.keyed("memory", path, ("memory.stat", "total_inactive_file")),
                self.number("cpuacct", path, "cpuacct.usage") / 1000,
            ),
            Self::V2 { .. } => (
                self.number("memory", path, "memory.current"),
                self.keyed("memory", path, ("memory.stat", "inactive_file")),
                self.keyed("cpu", path, ("cpu.stat", "usage_usec")),
            ),
        };
        let pids = u32::try_from(self.number("pids", path, "pids.current")).unwrap_or(u32::MAX);
        InstanceStats { memory: Bytes(used.saturating_sub(reclaimable)), cpu_micros, pids, ..InstanceStats::default() }
    }

    /// Whether the cgroup is held still.
    pub fn is_frozen(&self, path: &str) -> bool {
        match self {
            Self::V1 { .. } => {
                let text = self.file("freezer", path, "freezer.state").and_then(|f| fs::read_to_string(f).ok());
                text.is_some_and(|t| t.trim() != "THAWED")
            }
            Self::V2 { .. } => self.number("", path, "cgroup.freeze") == 1,
        }
    }

    /// Holds all processes below still, or lets them go on.
    pub fn freeze(&self, path: &str, frozen: bool) -> Result<()> {
        let (file, value) = match self {
            Self::V1 { .. } => ("freezer.state", if frozen { "FROZEN" } else { "THAWED" }),
            Self::V2 { .. } => ("cgroup.freeze", if frozen { "1" } else { "0" }),
        };
        let file = self.file("freezer", path, file).ok_or_else(|| Error::text("the freezer cgroup is not mounted"))?;
        fs::write(&file, value).map_err(|e| Error::io("write", &file, e))?;
        for _ in 0..KILL_ROUNDS {
            if self.settled(path, frozen) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::text("not all processes stood still in time; some wait for a disk that does not answer"))
    }

    /// Has the kernel done what was asked of the freezer?
    fn settled(&self, path: &str, frozen: bool) -> bool {
        match self {
            Self::V1 { .. } => {
                let text = self.file("freezer", path, "freezer.state").and_then(|f| fs::read_to_string(f).ok());
                text.is_none_or(|t| t.trim() == if frozen { "FROZEN" } else { "THAWED" })
            }
            Self::V2 { .. } => self.keyed("", path, ("cgroup.events", "frozen")) == u64::from(frozen),
        }
    }

    /// Processes in the cgroup and below, in our numbering.
    pub fn processes(&self, path: &str) -> Vec<i32> {
        let mut all = Vec::new();
        for directory in self.directories(path) {
            collect(&directory, DEPTH_MAX, &mut all);
        }
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Kills every process in the cgroup and below, also those they start meanwhile, and waits until none is left.
    pub fn kill(&self, path: &str) -> Result<()> {
        for _ in 0..KILL_ROUNDS {
            let all = self.processes(path);
            if all.is_empty() {
                return Ok(());
            }
            for pid in all {
                if let Ok(process) = sys::pidfd(pid) {
                    use std::os::fd::AsFd as _;
                    let _ = sys::pidfd_signal(process.as_fd(), libc::SIGKILL);
                }
            }
            if self.is_frozen(path) {
                let _ = self.freeze(path, false);
            }
            std::thread::sleep(PAUSE);
        }
        Err(Error::text(format!("processes in cgroup {path} survived being killed")))
    }

    /// Removes the cgroup and those below in every hierarchy. Nothing there is fine.
    pub fn remove(&self, path: &str) -> Result<()> {
        self.directories(path).iter().try_for_each(|directory| remove_tree(directory, DEPTH_MAX))
    }

    /// Puts the calling process, of one thread, into the cgroup, through files opened beforehand. Why not `cgroup.procs` where that can be
    /// avoided, see [`crate::enter`].
    pub fn entrances(&self, path: &str) -> Result<Vec<fs::File>> {
        let files: Vec<PathBuf> = match self {
            Self::V1 { mounts, unified, .. } => {
                let own = mounts.iter().map(|(root, _)| root.join(path).join("tasks"));
                own.chain(unified.iter().map(|root| root.join(path).join("cgroup.procs"))).collect()
            }
            Self::V2 { mount } => vec![mount.join(path).join("cgroup.procs")],
        };
        let mut all = Vec::new();
        for file in files {
            match fs::OpenOptions::new().write(true).open(&file) {
                Ok(open) => all.push(open),
                // Not every hierarchy need have it: LXC and the library use those with controllers.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => return Err(Error::io("open", &file, error)),
            }
        }
        Ok(all)
    }
}

/// Controllers among the mount options of a v1 hierarchy.
fn controllers(options: &str) -> Vec<String> {
    const NOT: [&str; 7] = ["rw", "ro", "none", "xattr", "clone_children", "noprefix", "release_agent"];
    options.split(',').filter(|o| !NOT.contains(o) && !o.starts_with("release_agent=")).map(str::to_owned).collect()
}

fn keyed(text: &str, key: &str) -> u64 {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok()).unwrap_or(0)
}

fn children(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

fn collect(directory: &Path, depth: u32, all: &mut Vec<i32>) {
    let text = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    // 0 is a process outside our numbering, which cannot be one of ours.
    all.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()).filter(|pid| *pid > 0));
    if depth > 0 {
        children(directory).iter().for_each(|child| collect(child, depth - 1, all));
    }
}

fn remove_tree(directory: &Path, depth: u32) -> Result<()> {
    if depth > 0 {
        for child in children(directory) {
            remove_tree(&child, depth - 1)?;
        }
    }
    let mut last = None;
    for _ in 0..REMOVE_TRIES {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => last = Some(error),
        }
        std::thread::sleep(PAUSE);
    }
    Err(Error::io("remove the cgroup", directory, last.unwrap_or_else(std::io::Error::last_os_error)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_told_apart_by_what_is_mounted() {
        let v2 = "30 24 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n";
        assert_eq!(Shape::parse(v2).unwrap().name(), "v2");
        let v1 = "31 30 0:27 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
                  32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n";
        let shape = Shape::parse(v1).unwrap();
        assert_eq!(shape.name(), "v1");
        assert_eq!(shape.hierarchy("cpuacct"), Some(PathBuf::from("/sys/fs/cgroup/cpu,cpuacct")));
        let hybrid = format!("{v1}33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n");
        assert_eq!(Shape::parse(&hybrid).unwrap().name(), "hybrid");
        assert!(Shape::parse("").is_err());
    }

    #[test]
    fn a_hierarchy_in_two_places_counts_once() {
        let twice = "31 30 0:27 / /a/pids rw - cgroup cgroup rw,pids\n32 30 0:27 / /b/pids rw - cgroup cgroup rw,pids\n";
        assert_eq!(Shape::parse(twice).unwrap().directories("x"), [PathBuf::from("/a/pids/x")]);
    }

    #[test]
    fn what_pods_share_is_made_by_several_at_once() {
        let top = tempfile::tempdir().unwrap();
        let shape = Shape::V2 { mount: top.path().to_owned() };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8).map(|_| scope.spawn(|| shape.share("roost/builds"))).collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        assert!(top.path().join("roost/builds").is_dir());
    }

    #[test]
    fn keyed_values_are_whole_words() {
        assert_eq!(keyed("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
        assert_eq!(keyed("", "oom_kill"), 0);
    }
}
