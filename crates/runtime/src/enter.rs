//! Entering cgroups without waiting for the kernel.
//!
//! Who writes a process's number into `cgroup.procs` takes a lock over all processes of the machine, and the first to do so in a while
//! waits for an RCU grace period before: 7 to 30 ms on an idle machine, as long as everything else of a container's start. A process of
//! one thread that writes 0 into `tasks`, and so moves itself, takes no such lock (kernel/cgroup/cgroup.c, `cgroup_procs_write_start`;
//! Linux 5.5 and newer, and right before). Only v1 has `tasks` for processes: on v2 the library does as it always does.

use crate::{Error, Result, cgroup::Shape};
use nix::mount::{MsFlags, mount};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// Controllers the library knows of (OCI runtime specification, "Control groups").
const CONTROLLERS: [&str; 12] =
    ["blkio", "cpu", "cpuacct", "cpuset", "devices", "freezer", "hugetlb", "memory", "net_cls", "net_prio", "perf_event", "pids"];
/// Files of a cpuset that must say something before a process can enter (cgroup-v1/cpusets.rst).
const CPUSET: [&str; 2] = ["cpuset.cpus", "cpuset.mems"];

/// The calling process in the cgroups of a container.
#[derive(Default)]
pub struct Entered {
    /// Where to go when it leaves.
    above: Vec<PathBuf>,
}

impl Entered {
    /// Makes the cgroup at `path` in each hierarchy and enters it; what the calling process starts from now on is born there. The library
    /// then does the same once more, and to no purpose: in our mount namespace, which must be private, it finds the file `stand_in`
    /// where the kernel's would be.
    pub fn enter(shape: &Shape, path: &str, stand_in: &Path) -> Result<Self> {
        let mut entered = Self::default();
        let Shape::V1 { mounts, .. } = shape else { return Ok(entered) };
        fs::write(stand_in, "").map_err(|e| Error::io("write", stand_in, e))?;
        for (hierarchy, controllers) in mounts {
            if !controllers.iter().any(|controller| CONTROLLERS.contains(&controller.as_str())) {
                continue;
            }
            let directory = hierarchy.join(path);
            fs::create_dir_all(&directory).map_err(|e| Error::io("create", &directory, e))?;
            if controllers.iter().any(|controller| controller == "cpuset") {
                CPUSET.iter().try_for_each(|file| inherit(hierarchy, path, file))?;
            }
            move_to(&directory)?;
            let covered = directory.join("cgroup.procs");
            mount(Some(stand_in), &covered, None::<&str>, MsFlags::MS_BIND, None::<&str>)
                .map_err(|e| Error::io("mount a file on", &covered, e))?;
            entered.above.extend(directory.parent().map(Path::to_owned));
        }
        Ok(entered)
    }

    /// Leaves them, so that the calling process counts against no limit of the container.
    pub fn leave(self) -> Result<()> {
        self.above.iter().try_for_each(|directory| move_to(directory))
    }
}

fn move_to(directory: &Path) -> Result<()> {
    let tasks = directory.join("tasks");
    fs::write(&tasks, "0").map_err(|e| Error::io("enter", &tasks, e))
}

/// Fills the file in every cgroup from the hierarchy's root down to `path`, where it is empty, with what is above.
fn inherit(hierarchy: &Path, path: &str, file: &str) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).map_err(|e| Error::io("read", path, e));
    let mut directory = hierarchy.to_owned();
    let mut above = read(&directory.join(file))?;
    for part in Path::new(path) {
        directory.push(part);
        let own = directory.join(file);
        let text = read(&own)?;
        if text.trim().is_empty() {
            fs::write(&own, above.trim()).map_err(|e| Error::io("write", &own, e))?;
        } else {
            above = text;
        }
    }
    Ok(())
}
