//! Control groups of a sandbox, in every hierarchy the machine has: `roost-sandbox/<sandbox>/<server>`.
//!
//! *Invariant:* nothing outside of `roost-sandbox` is written, but for controllers switched on for it on a pure v2 machine.

use crate::{
    error::{Result, SandboxError},
    process::{self, wait_until},
};
use nix::sys::signal::Signal;
use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

/// How long killed processes and emptied groups may take to go.
const GONE: Duration = Duration::from_secs(10);
/// Controllers that a pure v2 machine hands down to servers, if it has them.
const CONTROLLERS: [&str; 6] = ["cpu", "cpuset", "io", "memory", "pids", "hugetlb"];
/// How often a group is made anew that another sandbox's end removed meanwhile.
const MAKE_TRIES: u32 = 8;

/// One mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    /// Where it is mounted.
    pub mount: PathBuf,
    /// Mount options that name it (`cpu,cpuacct`, `name=systemd`); none for the v2 hierarchy.
    pub options: Option<String>,
}

impl Hierarchy {
    fn is_cpuset(&self) -> bool {
        self.options.as_ref().is_some_and(|options| options.split(',').any(|option| option == "cpuset"))
    }

    /// Whether this is the unified (v2) hierarchy.
    pub fn is_unified(&self) -> bool {
        self.options.is_none()
    }
}

/// The hierarchies this process sees.
pub fn hierarchies() -> Result<Vec<Hierarchy>> {
    let text = fs::read_to_string("/proc/self/mountinfo").map_err(SandboxError::io("read /proc/self/mountinfo"))?;
    Ok(parse(&text))
}

/// Hierarchies in a mount table (proc(5), `mountinfo`), each once, whole ones only.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    let mut found: Vec<Hierarchy> = Vec::new();
    for hierarchy in mountinfo.lines().filter_map(parse_line) {
        if !found.iter().any(|known| known.options == hierarchy.options) {
            found.push(hierarchy);
        }
    }
    found
}

fn parse_line(line: &str) -> Option<Hierarchy> {
    let (mount, filesystem) = line.split_once(" - ")?;
    let mut mount = mount.split(' ').skip(3);
    let (root, point) = (mount.next()?, mount.next()?);
    let mut filesystem = filesystem.split(' ');
    let (kind, options) = (filesystem.next()?, filesystem.nth(1)?);
    let options = match kind {
        "cgroup2" => None,
        "cgroup" => Some(identifying(options)),
        _ => return None,
    };
    (root == "/").then(|| Hierarchy { mount: point.into(), options })
}

/// The options that say which hierarchy it is, without those that say how it is mounted.
fn identifying(options: &str) -> String {
    const HOW: [&str; 7] = ["rw", "ro", "xattr", "clone_children", "noprefix", "none", "cpuset_v2_mode"];
    let names = |option: &&str| !HOW.contains(option) && !option.starts_with("release_agent=");
    options.split(',').filter(names).collect::<Vec<_>>().join(",")
}

/// The groups of one sandbox.
pub struct Groups {
    hierarchies: Vec<Hierarchy>,
}

impl Groups {
    /// With the hierarchies this process sees.
    pub fn find() -> Result<Self> {
        Ok(Self { hierarchies: hierarchies()? })
    }

    /// Makes a group in every hierarchy; their directories.
    pub fn make(&self, group: &str) -> Result<Vec<PathBuf>> {
        self.hierarchies.iter().map(|hierarchy| make(hierarchy, group)).collect()
    }

    /// The directory of a group in the v2 hierarchy, if the machine has one.
    pub fn unified(&self, group: &str) -> Option<PathBuf> {
        self.hierarchies.iter().find(|h| h.is_unified()).map(|h| h.mount.join(group))
    }

    fn directories(&self, group: &str) -> impl Iterator<Item = PathBuf> {
        self.hierarchies.iter().map(move |h| h.mount.join(group)).filter(|dir| dir.is_dir())
    }

    /// Whether the group is there in any hierarchy.
    pub fn exists(&self, group: &str) -> bool {
        self.directories(group).next().is_some()
    }

    fn members(&self, group: &str) -> Vec<i32> {
        let mut pids: Vec<i32> = self.directories(group).flat_map(|dir| tree(&dir)).flat_map(|dir| members(&dir)).collect();
        pids.sort_unstable();
        pids.dedup();
        pids
    }

    /// Lets frozen processes run, for in a v1 freezer not even a kill gets through.
    pub fn thaw(&self, group: &str) {
        for dir in self.directories(group).flat_map(|dir| tree(&dir)) {
            let state = dir.join("freezer.state");
            if fs::read_to_string(&state).is_ok_and(|now| now.trim() != "THAWED") {
                let _ = fs::write(state, "THAWED");
            }
        }
    }

    /// Waits until no process is left in the group or below.
    pub fn wait_empty(&self, group: &str) -> bool {
        wait_until(GONE, || {
            self.thaw(group);
            self.members(group).is_empty()
        })
    }

    /// Kills every process in the group and below, again and again until none is left.
    pub fn kill(&self, group: &str) -> Result<()> {
        let empty = wait_until(GONE, || {
            let members = self.members(group);
            members.iter().for_each(|pid| kill_member(*pid, group));
            self.thaw(group);
            members.is_empty()
        });
        if empty { Ok(()) } else { Err(stays(group)) }
    }

    /// Removes the group and everything below from every hierarchy.
    pub fn remove(&self, group: &str) -> Result<()> {
        let gone = wait_until(GONE, || {
            self.directories(group).for_each(|dir| tree(&dir).iter().rev().for_each(|dir| drop(fs::remove_dir(dir))));
            !self.exists(group)
        });
        // The groups above are shared with other sandboxes: they go with the last one.
        for dir in self.hierarchies.iter().map(|h| h.mount.join(group)) {
            let above = dir.ancestors().skip(1).take(Path::new(group).components().count().saturating_sub(1));
            above.take_while(|dir| fs::remove_dir(dir).is_ok()).for_each(drop);
        }
        if gone { Ok(()) } else { Err(stays(group)) }
    }
}

fn stays(group: &str) -> SandboxError {
    SandboxError::Stays { what: format!("control group {group}"), seconds: GONE.as_secs() }
}

fn make(hierarchy: &Hierarchy, group: &str) -> Result<PathBuf> {
    let dir = hierarchy.mount.join(group);
    let mut last = io::Error::other("not tried");
    for _ in 0..MAKE_TRIES {
        match make_levels(hierarchy, group) {
            Ok(()) => return Ok(dir),
            Err(error) => last = error,
        }
    }
    Err(SandboxError::io(format!("make control group {}", dir.display()))(last))
}

fn make_levels(hierarchy: &Hierarchy, group: &str) -> io::Result<()> {
    let mut above = hierarchy.mount.clone();
    for level in Path::new(group) {
        if hierarchy.is_unified() {
            hand_down(&above);
        }
        let dir = above.join(level);
        match fs::create_dir(&dir) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        if hierarchy.is_cpuset() {
            fill_cpuset(&above, &dir)?;
        }
        above = dir;
    }
    Ok(())
}

/// Switches on, for the groups below, the controllers this group has. One that cannot be is left off: limits on it then say so.
pub fn hand_down(dir: &Path) {
    let has = fs::read_to_string(dir.join("cgroup.controllers")).unwrap_or_default();
    let on = fs::read_to_string(dir.join("cgroup.subtree_control")).unwrap_or_default();
    let listed = |list: &str, name: &str| list.split_ascii_whitespace().any(|word| word == name);
    for controller in CONTROLLERS.iter().filter(|name| listed(&has, name) && !listed(&on, name)) {
        let _ = fs::write(dir.join("cgroup.subtree_control"), format!("+{controller}"));
    }
}

/// A v1 cpuset group takes no process before it has CPUs and memory nodes (kernel documentation, cgroup-v1/cpusets, 1.6).
fn fill_cpuset(above: &Path, dir: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(dir.join(file))?.trim().is_empty() {
            fs::write(dir.join(file), fs::read_to_string(above.join(file))?.trim())?;
        }
    }
    fs::write(dir.join("cgroup.clone_children"), "1")
}

/// A group and all below it, from the top.
fn tree(top: &Path) -> Vec<PathBuf> {
    let mut found = vec![top.to_owned()];
    let mut next = 0;
    while let Some(dir) = found.get(next) {
        let below = fs::read_dir(dir).into_iter().flatten().flatten();
        let below: Vec<PathBuf> = below.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect();
        found.extend(below);
        next += 1;
    }
    found
}

/// Processes right in this group. Zero is one that this process cannot see.
fn members(dir: &Path) -> Vec<i32> {
    let text = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
    text.lines().filter_map(|line| line.trim().parse().ok()).filter(|pid| *pid > 0).collect()
}

/// Kills a process if, with a handle of it in hand, it is still in the group: its number may be used anew.
fn kill_member(pid: i32, group: &str) {
    let Some(handle) = process::pidfd(pid) else { return };
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if groups.lines().any(|line| is_within(line, group)) {
        process::send(&handle, Signal::SIGKILL);
    }
}

/// Whether a line of `/proc/<pid>/cgroup` (cgroups(7)) is this group or below it.
fn is_within(line: &str, group: &str) -> bool {
    let path = line.splitn(3, ':').nth(2).unwrap_or_default().trim_start_matches('/');
    path.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
50 31 0:29 /docker/1 /mnt/a rw - cgroup cgroup rw,cpu,cpuacct
51 31 0:38 / /mnt/b rw - cgroup2 none rw,nsdelegate";

    #[test]
    fn each_hierarchy_once_and_whole() {
        let found: Vec<_> = parse(HYBRID).into_iter().map(|h| (h.mount.display().to_string(), h.options)).collect();
        let expected = [
            ("/sys/fs/cgroup/cpu,cpuacct".to_owned(), Some("cpu,cpuacct".to_owned())),
            ("/sys/fs/cgroup/systemd".to_owned(), Some("name=systemd".to_owned())),
            ("/sys/fs/cgroup/unified".to_owned(), None),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn only_the_group_itself_and_what_is_below() {
        assert!(is_within("0::/roost-sandbox/a", "roost-sandbox/a"));
        assert!(is_within("4:cpu,cpuacct:/roost-sandbox/a/s1/x", "roost-sandbox/a"));
        assert!(!is_within("0::/roost-sandbox/ab", "roost-sandbox/a"));
        assert!(!is_within("0::/", "roost-sandbox/a"));
    }

    #[test]
    fn makes_kills_and_removes() {
        let groups = Groups::find().unwrap();
        let group = format!("roost-sandbox/unit-{}/a/b", std::process::id());
        let dirs = groups.make(&group).unwrap();
        assert!(!dirs.is_empty() && groups.exists(&group));
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        for dir in &dirs {
            fs::write(dir.join("cgroup.procs"), child.id().to_string()).unwrap();
        }
        assert_eq!(groups.members(&group), [child.id() as i32]);
        groups.kill(&group).unwrap();
        assert!(!child.wait().unwrap().success());
        groups.remove(&group).unwrap();
        let sandbox = format!("roost-sandbox/unit-{}", std::process::id());
        assert!(!groups.exists(&sandbox));
    }
}
