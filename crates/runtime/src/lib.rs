//! Runs pods: OCI containers through libcontainer, system containers through LXC, both behind [`driver::Runtime`].
//!
//! Each pod has a **shim**, a small process of our own binary that is the parent of its containers, writes their logs and
//! records how they ended. It does not need the agent: an agent that starts again finds shims by their sockets.
//!
//! *Invariants:* everything of a pod lies in the directories of [`Options`] and in its cgroup, and is gone after
//! `remove`; mounts of a root exist only in the container's own mount namespace and end with its last process; an exit is
//! on disk before anybody can see that the pod has ended.

mod caps;
mod cgroup;
mod create;
mod engine;
mod enter;
mod error;
mod exec;
pub mod exec_helper;
mod fds;
mod idmap;
mod inspect;
mod launch;
mod limits;
mod lxc;
mod oci;
mod paths;
mod program;
mod record;
mod rootfs;
mod seccomp;
pub mod shim;
mod spec;
mod sys;
mod user;
mod watcher;

pub use error::{Error, Result};
pub use inspect::Inspector;
pub use lxc::Lxc;
pub use oci::Oci;

use std::{ffi::OsString, path::PathBuf};

/// Where a runtime keeps things and how it starts its shims.
#[derive(Clone, Debug)]
pub struct Options {
    /// Lost at reboot: sockets, bundles. Usually `/run/roost/pods`.
    pub run_dir: PathBuf,
    /// Kept: writable layers, exit records. Usually `/var/lib/roost/pods`. On a file system that overlay can write to.
    pub state_dir: PathBuf,
    /// Kept until a pod is removed: what containers wrote.
    pub log_dir: PathBuf,
    /// Cgroup below which each pod has its own: `roost`.
    pub cgroup_parent: String,
    /// Program and first arguments that end in [`shim::main`], as `["/usr/bin/roost", "shim"]`.
    pub shim: Vec<OsString>,
}

/// Removes the cgroup all pods lie in, once they are removed: the last thing before the server is as it was.
pub fn remove_cgroup_parent(parent: &str) -> Result<()> {
    cgroup::Shape::detect()?.remove(parent)
}
