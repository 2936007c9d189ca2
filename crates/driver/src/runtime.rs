//! Running pods.

use crate::{Result, image::Upper};
use api::{
    InstanceId, Name,
    quantity::{Span, Timestamp},
    report::InstanceStats,
    spec::{ContainerKind, Limits},
    stream::ExecRequest,
    system::SystemRules,
};
use serde::{Deserialize, Serialize};
use std::{fs::File, net::Ipv4Addr, os::unix::net::UnixStream, path::PathBuf};

/// Everything needed to run one pod, nothing left to choose: computed purely by the agent from template, image and links.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRun {
    /// Whose.
    pub id: InstanceId,
    /// Host name inside.
    pub hostname: String,
    /// Network namespace to run in, made by [`crate::Network`].
    pub netns: PathBuf,
    /// Its address, for `/etc/hosts`.
    pub address: Ipv4Addr,
    /// Content of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// One or more, all of the same kind.
    pub containers: Vec<ContainerRun>,
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerRun {
    /// Unique in the pod.
    pub name: Name,
    /// Application or system.
    pub kind: ContainerKind,
    /// Unpacked layers, lowest first, read-only. At least one.
    pub layers: Vec<PathBuf>,
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Whole environment, `KEY=value`.
    pub env: Vec<String>,
    /// As the image or template says: `""`, `1000`, `www-data`, `1000:1000`. Names are looked up in the container's files.
    pub user: String,
    /// Working directory; made if absent.
    pub workdir: String,
    /// Host directories mounted inside, in order.
    pub mounts: Vec<MountRun>,
    /// Enforced by cgroups.
    pub limits: Limits,
    /// Signal that asks it to stop, by number.
    pub stop_signal: i32,
    /// Root inside is an unprivileged user outside.
    pub user_namespace: bool,
    /// Root file system is read-only.
    pub read_only: bool,
    /// A terminal instead of pipes.
    pub terminal: bool,
    /// Columns and rows of the terminal until somebody says another size.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
    /// Standard input is a pipe that stays open, whoever comes and goes.
    #[serde(default)]
    pub stdin: bool,
    /// Somebody is about to come for all it says: its output is not read before they have, within limits.
    #[serde(default)]
    pub awaited: bool,
    /// For system containers.
    #[serde(default)]
    pub system: SystemRules,
}

/// A host directory or file inside a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRun {
    /// On the host.
    pub source: PathBuf,
    /// In the container, absolute.
    pub target: String,
    /// Cannot be written.
    pub read_only: bool,
}

/// What the runtime sees of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodStatus {
    /// Whose.
    pub id: InstanceId,
    /// Where it stands.
    pub state: PodState,
    /// Main process of the first container in the server's numbering, while it runs.
    pub pid: Option<u32>,
    /// When the current or last run began.
    pub started: Option<Timestamp>,
    /// Exit code of the first container's last run; 128 + signal number when killed by one.
    pub exit_code: Option<i32>,
    /// A sentence: killed for want of memory, could not be started because….
    pub message: Option<String>,
}

/// Where a pod stands in the runtime.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PodState {
    /// Its programs run.
    Running,
    /// Held still.
    Frozen,
    /// Not running; files kept.
    Stopped,
}

/// A command running in a container, with the host's ends of its streams. Dropping `stdin` closes it.
pub struct ExecHandle {
    /// Write end of standard input; with a terminal, its controlling end (read and write).
    pub stdin: Option<File>,
    /// Read end of standard output; None with a terminal.
    pub stdout: Option<File>,
    /// Read end of standard error; None with a terminal.
    pub stderr: Option<File>,
    /// Blocks until the command ended: its exit code, or 128 + signal number.
    pub wait: Box<dyn FnOnce() -> Result<i32> + Send>,
    /// Process id of the command in the server's numbering, for signals.
    pub pid: u32,
}

/// Where and what a runtime can.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeInfo {
    /// `oci` or `lxc`.
    pub name: String,
    /// Kind of containers it runs.
    pub kind: ContainerKind,
    /// `v1`, `v2` or `hybrid`.
    pub cgroups: String,
    /// None: it works here. Else why not, in words.
    pub unavailable: Option<String>,
}

/// Called from any thread when something about a pod has changed: look at it again.
pub type PodChanged = Box<dyn Fn(InstanceId) + Send + Sync>;

/// Runs pods of one kind. A pod outlives the process that started it; a new process finds all of them again by `observe`.
pub trait Runtime: Adjust + Send + Sync {
    /// Where and what it can.
    fn info(&self) -> RuntimeInfo;

    /// Every pod of this runtime on the server, running or stopped, from what is really there. Adopts what a former
    /// process started. `changed` (set once, at start) is called whenever a pod ends or is found ended.
    fn observe(&self) -> Result<Vec<PodStatus>>;

    /// Makes the pod run. One that runs is left alone; one that is stopped is started again with its files as they were.
    fn ensure(&self, pod: &PodRun) -> Result<PodStatus>;

    /// Asks it to stop, kills it after `grace`, and waits until all its processes are gone. Files are kept.
    fn stop(&self, id: InstanceId, grace: Span) -> Result<PodStatus>;

    /// Removes what is left: processes (killed), cgroups, mounts, files. Nothing there is fine.
    fn remove(&self, id: InstanceId) -> Result<()>;

    /// Holds all processes still, or lets them go on.
    fn freeze(&self, id: InstanceId, frozen: bool) -> Result<()>;

    /// Sends a signal to the main process of each container.
    fn signal(&self, id: InstanceId, signal: i32) -> Result<()>;

    /// Runs a command in a container, with the container's own limits, capabilities and user.
    fn exec(&self, id: InstanceId, request: &ExecRequest) -> Result<ExecHandle>;
}

/// Makes or changes a pod without starting it anew. Apart from [`Runtime`], which it is a part of, since it is of another kind.
pub trait Adjust {
    /// Gives a pod that never ran its files, so that they can be looked at and changed: it is as after a stop, without an exit code.
    /// One that is there already is left alone.
    fn prepare(&self, pod: &PodRun) -> Result<PodStatus>;

    /// Holds each of these containers to other limits from now on, also in later runs of the same files. A limit below what is
    /// in use, which the kernel does not take, is an error that may pass.
    fn limit(&self, id: InstanceId, limits: &[(Name, Limits)]) -> Result<()>;
}

/// A connection to a container's program. It ends with the program, or when dropped; the program does not notice either.
pub struct Console {
    /// Frames of [`api::stream`] both ways, the last one the exit code. What a slow reader leaves too long is left out, and said to be.
    pub stream: UnixStream,
    /// It has a terminal.
    pub terminal: bool,
    /// It hears what is sent.
    pub input: bool,
    /// What the log held when the connection began: the stream goes on from there, byte by byte.
    pub logged: LogPosition,
}

/// A place in a container's log, across rotations: a file, and how far into it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPosition {
    /// Inode of the file.
    pub inode: u64,
    /// Bytes from its beginning.
    pub offset: u64,
}

/// What can be read of a pod, and said to its programs, without changing it. Apart from [`Runtime`], since every runtime here shares it.
pub trait Inspect: Send + Sync {
    /// Use of resources.
    fn stats(&self, id: InstanceId) -> Result<InstanceStats>;

    /// The directory that holds `<container>.log` (lines of [`api::stream::LogLine`]) and its rotated predecessors
    /// `<container>.log.1` (newer) and `.2`.
    fn log_directory(&self, id: InstanceId) -> PathBuf;

    /// The root file system of a container as seen from the host, for `cp`: a directory, even while it is stopped.
    fn root_directory(&self, id: InstanceId, container: Option<&Name>) -> Result<PathBuf>;

    /// Connects to the program of a container that runs. `whole`: who asks is the one that is awaited, and reads as fast as they can.
    fn attach(&self, id: InstanceId, container: Option<&Name>, whole: bool) -> Result<Console>;

    /// What a container has changed of its image's files. None while it has never been started.
    fn writable_layer(&self, id: InstanceId, container: Option<&Name>) -> Result<Option<Upper>>;

    /// Who in that directory is root inside: 0, or the first user of a user namespace, whom all others follow.
    fn first_owner(&self, id: InstanceId, container: Option<&Name>) -> Result<u32>;
}
