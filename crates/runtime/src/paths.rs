//! Where everything of a pod lies. The only place that knows names of files.

use api::{InstanceId, Name};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Directories of one pod.
///
/// `run` is lost at reboot: socket, bundle, mount points. `state` is kept over stop and start: what was asked for, how the
/// last run ended, the writable layers. `log` holds what the containers wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPaths {
    /// Below [`crate::Options::run_dir`].
    pub run: PathBuf,
    /// Below [`crate::Options::state_dir`].
    pub state: PathBuf,
    /// Below [`crate::Options::log_dir`].
    pub log: PathBuf,
}

/// Name of the control socket in the run directory.
pub const SOCKET: &str = "control.sock";

impl PodPaths {
    /// The directories of this pod.
    pub fn new(options: &crate::Options, id: InstanceId) -> Self {
        let name = id.to_string();
        Self { run: options.run_dir.join(&name), state: options.state_dir.join(&name), log: options.log_dir.join(&name) }
    }

    /// What the shim is told.
    pub fn order(&self) -> PathBuf {
        self.run.join("shim.json")
    }

    /// What was asked for last.
    pub fn pod(&self) -> PathBuf {
        self.state.join("pod.json")
    }

    /// How the last run ended.
    pub fn exit(&self) -> PathBuf {
        self.state.join("exit.json")
    }

    /// Log of a container.
    pub fn log_file(&self, container: &Name) -> PathBuf {
        self.log.join(format!("{container}.log"))
    }

    /// Paths of one of its containers.
    pub fn container(&self, name: &Name) -> ContainerPaths {
        ContainerPaths { run: self.run.join("c").join(name.as_str()), state: self.state.join("c").join(name.as_str()) }
    }
}

/// FNV-1a with 64 bits (RFC 9923).
fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Directories of one container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPaths {
    run: PathBuf,
    state: PathBuf,
}

impl ContainerPaths {
    /// Holds `config.json`.
    pub fn bundle(&self) -> PathBuf {
        self.run.join("bundle")
    }

    /// Mount point of the root, in the container's own mount namespace.
    pub fn root(&self) -> PathBuf {
        self.run.join("root")
    }

    /// Mount point of the root in the server's mount namespace, while the container is stopped and somebody looks.
    pub fn view(&self) -> PathBuf {
        self.run.join("view")
    }

    /// Short links to layers, and mount points of layers and volumes with shifted owners.
    pub fn layers(&self) -> PathBuf {
        self.run.join("layers")
    }

    /// The writable layer.
    pub fn upper(&self) -> PathBuf {
        self.state.join("upper")
    }

    /// What the overlay file system needs beside the writable layer.
    pub fn work(&self) -> PathBuf {
        self.state.join("work")
    }

    /// Generated `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf`.
    pub fn etc(&self, file: &str) -> PathBuf {
        self.state.join("etc").join(file)
    }

    /// State of the library that makes containers.
    pub fn library(&self) -> PathBuf {
        self.run.join("oci")
    }

    /// What the library writes to instead of the kernel's `cgroup.procs`.
    pub fn stand_in(&self) -> PathBuf {
        self.run.join("cgroup.procs")
    }

    /// Mount point of a `/sys` that shows the pod's network.
    pub fn system(&self) -> PathBuf {
        self.run.join("sys")
    }

    /// Configuration and log of LXC.
    pub fn lxc(&self) -> PathBuf {
        self.run.join("lxc")
    }

    /// What LXC calls the container: one name for each in a network namespace, where its socket is, and the same for ever. LXC's own
    /// place for this is a directory that root inside may enter, which ours are not.
    pub fn lxc_name(&self) -> String {
        format!("roost-{:016x}", fingerprint(self.run.as_os_str().as_encoded_bytes()))
    }
}

/// Names of directory entries that are instance ids.
pub fn ids_in(directory: &Path) -> std::io::Result<Vec<InstanceId>> {
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut ids: Vec<InstanceId> = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    ids.sort_unstable();
    Ok(ids)
}
