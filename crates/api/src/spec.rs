//! Specs: what a person asked for. Written by the API only.

use crate::{
    name::Name,
    quantity::{Bytes, Cpu, Span, Timestamp},
    system::SystemRules,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::Ipv4Addr, sync::Arc};

/// Application (OCI) or system (LXC) container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ContainerKind {
    /// One program in an OCI container.
    #[default]
    App,
    /// A whole system with its own init, in LXC.
    System,
}

/// Transport protocol of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    #[default]
    Tcp,
    /// UDP.
    Udp,
}

/// The pod that is placed: 1..n containers that share network, IPC and volumes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PodTemplate {
    /// At least one; the first gives the pod its default health and logs.
    pub containers: Vec<ContainerTemplate>,
    /// Ports of the server (single container) or of every server (job) that lead to the pod.
    #[serde(default)]
    pub publish: Vec<PublishedPort>,
    /// How long a stop may take before the kill.
    #[serde(default = "default_grace")]
    pub stop_grace: Span,
    /// How long an instance that is out of names and routes waits for its last connections before it is stopped.
    #[serde(default = "default_drain")]
    pub drain_timeout: Span,
    /// How long a new instance may take to become healthy.
    #[serde(default = "default_healthy")]
    pub healthy_deadline: Span,
    /// Free labels, for `--filter label=`.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Docker's default of ten seconds, which users expect.
pub const fn default_grace() -> Span {
    Span::seconds(10)
}
/// Longest wait for connections of a drained instance.
pub const fn default_drain() -> Span {
    Span::seconds(10)
}
/// Longest wait for a new instance to become healthy.
pub const fn default_healthy() -> Span {
    Span::seconds(30)
}

impl PodTemplate {
    /// Memory that the pod reserves: the sum over its containers.
    pub fn memory(&self) -> Bytes {
        Bytes(self.containers.iter().filter_map(|c| c.limits.memory).map(|b| b.0).sum())
    }
    /// Processor time that the pod reserves: the sum over its containers.
    pub fn cpu(&self) -> Cpu {
        Cpu(self.containers.iter().filter_map(|c| c.limits.cpu).map(|c| c.0).sum())
    }
}

/// One container of a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerTemplate {
    /// Unique in the pod. `main` for a pod of one.
    pub name: Name,
    /// Image, resolved to a digest by admission.
    pub image: ImageRef,
    /// Application or system container.
    #[serde(default)]
    pub kind: ContainerKind,
    /// Replaces the image's entrypoint, when given.
    #[serde(default)]
    pub entrypoint: Option<Vec<String>>,
    /// Replaces the image's command, when given.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Added to the image's environment.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// `uid`, `name` or `uid:gid` as in the image; replaces the image's user.
    #[serde(default)]
    pub user: Option<String>,
    /// Replaces the image's working directory.
    #[serde(default)]
    pub workdir: Option<String>,
    /// Host directories or named volumes mounted into the container.
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// What the container may use, and what it reserves for placement.
    #[serde(default)]
    pub limits: Limits,
    /// How its health is found out. None: healthy when running.
    #[serde(default)]
    pub health: Option<HealthCheck>,
    /// What happens when its program ends.
    #[serde(default)]
    pub restart: Restart,
    /// Root in the container is an unprivileged user outside.
    #[serde(default)]
    pub user_namespace: bool,
    /// Root file system is read-only.
    #[serde(default)]
    pub read_only: bool,
    /// A terminal instead of three pipes.
    #[serde(default)]
    pub terminal: bool,
    /// Keep standard input open.
    #[serde(default)]
    pub stdin: bool,
    /// Somebody waits for it: its first output is kept for them.
    #[serde(default)]
    pub foreground: Option<Foreground>,
    /// For system containers. Left out when nothing was said, so that older templates keep their digests.
    #[serde(default, skip_serializing_if = "SystemRules::is_default")]
    pub system: SystemRules,
}

/// Who makes a container in the foreground connects to its program as soon as it runs, and gets all it says from the first byte on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Foreground {
    /// Columns and rows of their terminal, if it is to be the program's.
    #[serde(default)]
    pub size: Option<(u16, u16)>,
}

/// An image by the name a person typed and, once admitted, the digest of its manifest.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct ImageRef {
    /// As typed: `web`, `debian/bookworm`, `127.0.0.1:5000/nginx:1.29`.
    pub name: String,
    /// `sha256:<64 hex digits>` of the manifest. Admission always fills it in.
    #[serde(default)]
    pub digest: Option<String>,
}

/// A directory or volume inside the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Mount {
    /// Absolute path on the server, or a volume's name: letters, digits and `._-`.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// Cannot be written.
    #[serde(default)]
    pub read_only: bool,
}

/// Limits, which are also the reservation used for placement.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limits {
    /// Hard memory limit.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// Processor quota.
    #[serde(default)]
    pub cpu: Option<Cpu>,
    /// Largest number of processes and threads. Default [`DEFAULT_PIDS`].
    #[serde(default)]
    pub pids: Option<u32>,
}

/// Processes and threads a container may have when nothing is said: stops a fork bomb, lets a database live.
pub const DEFAULT_PIDS: u32 = 4096;

/// How health is found out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct HealthCheck {
    /// What is tried.
    pub probe: Probe,
    /// Time between two tries once healthy. While starting, tries are made every [`HealthCheck::STARTING_INTERVAL`].
    #[serde(default = "HealthCheck::default_interval")]
    pub interval: Span,
    /// Time one try may take.
    #[serde(default = "HealthCheck::default_timeout")]
    pub timeout: Span,
    /// So many failures in a row make it unhealthy.
    #[serde(default = "HealthCheck::default_retries")]
    pub retries: u32,
    /// Failures in this time after the start do not count.
    #[serde(default)]
    pub start_period: Span,
}

impl HealthCheck {
    /// Tries while an instance has never been healthy come this often, so that a fast start is seen fast.
    pub const STARTING_INTERVAL: Span = Span::millis(50);
    /// Time between tries when nothing is said.
    pub const fn default_interval() -> Span {
        Span::seconds(5)
    }
    /// Time one try may take when nothing is said.
    pub const fn default_timeout() -> Span {
        Span::seconds(3)
    }
    /// Failures in a row when nothing is said.
    pub const fn default_retries() -> u32 {
        3
    }
    /// A check with every default.
    pub const fn new(probe: Probe) -> Self {
        Self {
            probe,
            interval: Self::default_interval(),
            timeout: Self::default_timeout(),
            retries: Self::default_retries(),
            start_period: Span(0),
        }
    }
}

/// What a check tries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// A command in the container; healthy when it exits 0.
    Command(Vec<String>),
    /// A TCP connection to this port.
    Tcp(u16),
    /// An HTTP GET; healthy on status 200 to 399.
    Http {
        /// Port to connect to.
        port: u16,
        /// Path, beginning with `/`.
        path: String,
        /// Host header; the instance's address when absent.
        #[serde(default)]
        host: Option<String>,
    },
}

/// What happens when a container's program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, Default, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// Nothing: it stays ended.
    #[default]
    No,
    /// Started again after a non-zero exit, with back-off.
    OnFailure,
    /// Started again always, with back-off.
    Always,
}

/// A port of a server that leads to a port of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub struct PublishedPort {
    /// Port on the server.
    pub host: u16,
    /// Port in the pod.
    pub container: u16,
    /// TCP or UDP.
    #[serde(default)]
    pub protocol: Protocol,
}

/// A container of a user: a pod of one that keeps its name, place, address and files until it is removed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerSpec {
    /// Unique among containers and jobs.
    pub name: Name,
    /// What runs.
    pub template: Arc<PodTemplate>,
    /// Asked-for place; the planner chooses when absent.
    #[serde(default)]
    pub server: Option<Name>,
    /// Asked-for address; the planner chooses when absent.
    #[serde(default)]
    pub address: Option<Ipv4Addr>,
    /// Containers and jobs it does not share a server with.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub avoid: Vec<Name>,
    /// Host names that lead to its server, for what it publishes there: `blog.example.org`. In no domain of the cluster's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
    /// Wanted state.
    pub power: Power,
    /// Counts the restarts asked for; the agent restarts when it last started under a smaller one.
    #[serde(default)]
    pub restarts: u32,
    /// Removed as soon as its program ends (`run --rm`).
    #[serde(default)]
    pub remove_on_exit: bool,
    /// When it was made.
    pub created: Timestamp,
}

/// What state a user wants a container in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Running.
    On,
    /// All its processes held still.
    Frozen,
    /// Stopped, files kept.
    Off,
}

/// Asks for N instances of a pod template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobSpec {
    /// Unique among containers and jobs.
    pub name: Name,
    /// How many instances; slots are numbered from 1.
    pub count: u32,
    /// What each instance is. Replaced by an upgrade.
    pub template: Arc<PodTemplate>,
    /// Counts the templates this job has had, from 1.
    pub revision: u32,
    /// Earlier templates, newest last, at most [`JobSpec::HISTORY_MAX`]; what `rollback` goes back to.
    #[serde(default)]
    pub history: Vec<JobRevision>,
    /// Where instances may and should go.
    #[serde(default)]
    pub placement: PlacementRules,
    /// How an upgrade proceeds.
    #[serde(default)]
    pub update: UpdateRules,
    /// When it was made.
    pub created: Timestamp,
}

impl JobSpec {
    /// Earlier templates that are kept.
    pub const HISTORY_MAX: usize = 10;
    /// Most instances of one job.
    pub const COUNT_MAX: u32 = 100_000;
}

/// A template that a job had.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRevision {
    /// Its number.
    pub revision: u32,
    /// What it was.
    pub template: Arc<PodTemplate>,
    /// When it was replaced.
    pub until: Timestamp,
}

/// Where instances may and should go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PlacementRules {
    /// How to choose among servers that fit.
    #[serde(default)]
    pub strategy: Strategy,
    /// Jobs with the same group share one server.
    #[serde(default)]
    pub group: Option<Name>,
    /// At most so many instances on one server.
    #[serde(default)]
    pub per_server: Option<u32>,
    /// Server labels that must have this value.
    #[serde(default)]
    pub require: BTreeMap<String, String>,
    /// Jobs and containers none of whose instances may share a server with this one.
    #[serde(default)]
    pub avoid: Vec<Name>,
    /// Only these servers, when not empty.
    #[serde(default)]
    pub servers: Vec<Name>,
}

/// How to choose among servers that fit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The server with the largest free share of memory and processor, then the fewest instances.
    #[default]
    Resource,
    /// The fewest instances of this job, then as `resource`.
    Spread,
    /// The fullest server that still fits, so that as few as possible are used.
    Binpack,
}

/// How an upgrade proceeds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpdateRules {
    /// Wait between two batches.
    #[serde(default)]
    pub interval: Span,
    /// Instances replaced at a time; a quarter of the job, at least one, when absent.
    #[serde(default)]
    pub parallel: Option<u32>,
}

impl Default for UpdateRules {
    fn default() -> Self {
        Self { interval: Span(0), parallel: None }
    }
}

/// The cluster as a whole. One per store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterSpec {
    /// Name shown to people.
    pub name: Name,
    /// Names of containers end in this, without the dot: `internal`.
    pub domain: String,
    /// Every server's container subnet is cut out of this.
    pub range: ipnet::Ipv4Net,
    /// Prefix length of a server's subnet.
    pub server_prefix: u8,
    /// VXLAN network identifier (RFC 7348).
    pub vni: u32,
    /// When it was made.
    pub created: Timestamp,
}

/// Fewer distinct ports, images and names would be a limit of somebody's hardware; these are ours.
pub mod limits {
    /// Containers in one pod.
    pub const CONTAINERS_PER_POD: usize = 16;
    /// Ports one pod publishes.
    pub const PORTS_PER_POD: usize = 64;
    /// Characters of one environment value.
    pub const ENV_VALUE: usize = 128 * 1024;
    /// Environment entries of one container.
    pub const ENV_ENTRIES: usize = 1024;
    /// Bytes of an API request's JSON body.
    pub const REQUEST_BODY: usize = 4 * 1024 * 1024;
}
