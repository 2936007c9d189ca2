//! What the API answers, and what it is asked: the stable JSON contract behind every list and every `-o json`.

use crate::{
    name::{InstanceId, Name},
    plan::{Rollout, Wanted},
    quantity::{Bytes, Cpu, Span, Timestamp},
    registry::Access,
    report::{Health, InstanceStats, Phase},
    server::{Liveness, ServerFacts, ServerSpec},
    spec::{ContainerKind, ContainerSpec, JobSpec, Limits, PodTemplate, PublishedPort},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    sync::Arc,
};

/// Who answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Version {
    /// Of the binary.
    pub version: String,
    /// Of what is stored and transmitted: [`crate::FORMAT_VERSION`].
    pub format: u32,
    /// The cluster's name.
    pub cluster: Name,
    /// Names end in this.
    pub domain: String,
}

/// A server asks to join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinRequest {
    /// The token a person was given (the secret part).
    pub secret: String,
    /// Name it would like.
    pub name: Name,
    /// Address other servers reach it at; the one it connects from when absent.
    pub address: Option<IpAddr>,
    /// Subnet it would like; the next free one when absent.
    pub subnet: Option<ipnet::Ipv4Net>,
    /// Certificate signing request, PEM.
    pub csr: String,
    /// What it has.
    pub facts: ServerFacts,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// It may.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JoinAnswer {
    /// The server as recorded.
    pub server: ServerSpec,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The cluster's authority, PEM.
    pub authority: String,
}

/// A token. The secret is shown once, when it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Token {
    /// First characters of the hash of the secret.
    pub id: String,
    /// The whole token (address, fingerprint of the authority, secret), only in the answer to its making.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Until when it may be used.
    pub expires: Timestamp,
    /// How often it may still be used.
    pub uses_left: u32,
    /// What it allows at the registry, when it is for that; servers do not join with it then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub registry: Option<Access>,
}

/// A server in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerView {
    /// As recorded.
    #[serde(flatten)]
    pub spec: ServerSpec,
    /// Whether it is there.
    pub liveness: Liveness,
    /// Instances placed on it.
    pub instances: u32,
    /// Reserved by them.
    pub reserved_memory: Bytes,
    /// Reserved by them, thousandths of a core.
    pub reserved_cpu: u32,
    /// In use.
    pub usage: crate::report::ServerUsage,
    /// What its agent complains about.
    pub problems: Vec<String>,
}

/// A container or instance in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerView {
    /// `web/3` or `c1`.
    pub name: String,
    /// The instance, once placed.
    pub id: Option<InstanceId>,
    /// Its job, if it is an instance of one.
    pub job: Option<Name>,
    /// From 1; 0 for a lone container.
    pub slot: u32,
    /// Application or system.
    pub kind: ContainerKind,
    /// Image as typed.
    pub image: String,
    /// Image by digest.
    pub digest: Option<String>,
    /// Where it is.
    pub server: Option<Name>,
    /// Its address.
    pub address: Option<Ipv4Addr>,
    /// In words: `running`, `waiting`, `pulling`, …, `unknown` when its server does not answer.
    pub state: String,
    /// Where its agent says it stands.
    pub phase: Option<Phase>,
    /// What the plan wants of it.
    pub wanted: Option<Wanted>,
    /// Whether checks pass.
    pub health: Option<Health>,
    /// Sentence about state or health.
    pub message: Option<String>,
    /// Last lines of output after a failure.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// Main process on its server.
    pub pid: Option<u32>,
    /// When the current run began.
    pub started: Option<Timestamp>,
    /// Exit code of the last run that ended.
    pub exit_code: Option<i32>,
    /// Starts after the first.
    pub restarts: u32,
    /// The job's revision it runs; 0 for a lone container.
    pub revision: u32,
    /// Published ports.
    pub publish: Vec<PublishedPort>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it may use.
    #[serde(default)]
    pub limits: Limits,
    /// What its server holds it to now; nothing while it does not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits_in_force: Option<Limits>,
}

/// A job in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobView {
    /// As asked for.
    #[serde(flatten)]
    pub spec: JobSpec,
    /// Instances that are healthy, on the current revision.
    pub healthy: u32,
    /// Instances that run.
    pub running: u32,
    /// Slots that wait for a place, and why.
    pub waiting: Vec<crate::plan::Waiting>,
    /// The upgrade under way or last ended.
    pub rollout: Option<Rollout>,
    /// Every instance.
    pub instances: Vec<ContainerView>,
    /// It has been deleted and its last instances are going.
    pub deleting: bool,
}

/// Make a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerRequest {
    /// As in [`ContainerSpec`]; admission fills in digests and defaults.
    pub spec: ContainerSpec,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Change what a container may use, without restarting it. What is absent stays as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LimitsRequest {
    /// Memory.
    #[serde(default)]
    pub memory: Option<Bytes>,
    /// Processor time.
    #[serde(default)]
    pub cpu: Option<Cpu>,
    /// Processes and threads.
    #[serde(default)]
    pub pids: Option<u32>,
    /// Limits to take away.
    #[serde(default)]
    pub without: Vec<LimitName>,
}

/// One of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitName {
    /// Memory.
    Memory,
    /// Processor time.
    Cpu,
    /// Processes and threads: back to the default.
    Pids,
}

impl LimitsRequest {
    /// What the limits are after this change.
    pub fn applied_to(&self, before: &Limits) -> Limits {
        let kept = |name| !self.without.contains(&name);
        Limits {
            memory: self.memory.or(before.memory.filter(|_| kept(LimitName::Memory))),
            cpu: self.cpu.or(before.cpu.filter(|_| kept(LimitName::Cpu))),
            pids: self.pids.or(before.pids.filter(|_| kept(LimitName::Pids))),
        }
    }
}

/// Make a job. `base` may be a container, whose template is taken, or an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct JobRequest {
    /// A container or an image.
    pub base: String,
    /// Name of the job; the base's last part when absent.
    #[serde(default)]
    pub name: Option<Name>,
    /// As typed, so that `-1` gets a sentence.
    pub count: i64,
    /// Changes to the base's template; its image is ignored.
    pub template: Option<PodTemplate>,
    /// Where instances go.
    #[serde(default)]
    pub placement: crate::spec::PlacementRules,
    /// How upgrades proceed.
    #[serde(default)]
    pub update: crate::spec::UpdateRules,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Scale a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ScaleRequest {
    /// The number, or the difference.
    pub count: i64,
    /// `count` is a difference.
    #[serde(default)]
    pub relative: bool,
    /// New group.
    #[serde(default)]
    pub group: Option<Name>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Upgrade a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UpgradeRequest {
    /// New image; the base looked at afresh when absent.
    #[serde(default)]
    pub image: Option<String>,
    /// Wait between batches.
    #[serde(default)]
    pub interval: Option<Span>,
    /// Instances at a time.
    #[serde(default)]
    pub parallel: Option<u32>,
    /// Environment added or replaced.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Replaces the command.
    #[serde(default)]
    pub command: Option<Vec<String>>,
    /// Replaces the limits.
    #[serde(default)]
    pub limits: Option<crate::spec::Limits>,
    /// Go back to this revision instead (0: the one before).
    #[serde(default)]
    pub rollback: Option<u32>,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// What a change answers: what was written, and at which revision, so that a watcher can begin there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Changed {
    /// Revision of the commit; 0 for a dry run or when nothing changed.
    pub revision: u64,
    /// Nothing had to be changed.
    pub unchanged: bool,
    /// What was, or would be, done, a line each.
    pub summary: Vec<String>,
}

/// Use of one instance with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatsView {
    /// `web/3` or `c1`.
    pub name: String,
    /// Where.
    pub server: Name,
    /// Use.
    #[serde(flatten)]
    pub stats: InstanceStats,
    /// Memory limit, if any.
    pub memory_limit: Option<Bytes>,
    /// When it was read.
    pub at: Timestamp,
}

/// Whether names and routes have arrived everywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Settled {
    /// Living servers that do not have them yet. Waited for in vain, for as long as a server may be slow.
    pub behind: Vec<Name>,
}

/// Why something is as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Why {
    /// One sentence.
    pub answer: String,
    /// Facts it rests on, a line each.
    pub facts: Vec<String>,
    /// What would change it.
    pub fix: Option<String>,
}

/// A pull from a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PullRequest {
    /// Reference as typed.
    pub image: String,
    /// On which server; the manager's own when absent.
    #[serde(default)]
    pub server: Option<Name>,
    /// The registry speaks plain HTTP. Loopback registries always may.
    #[serde(default)]
    pub insecure: bool,
    /// Who asks there; nobody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// A push of an image of the cluster to a registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PushRequest {
    /// Name in the cluster; its digest when it goes to an agent.
    pub image: String,
    /// Reference in the registry.
    pub to: String,
    /// The registry speaks plain HTTP. Loopback registries always may.
    #[serde(default)]
    pub insecure: bool,
    /// Who asks there; nobody when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub login: Option<Login>,
}

/// Name and password at a registry.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Login {
    /// Name.
    pub user: String,
    /// Password or token.
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Login").field("user", &self.user).finish_non_exhaustive()
    }
}

/// How an image leaves as an archive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ArchiveFormat {
    /// An OCI image layout.
    #[default]
    Oci,
    /// As `docker save` writes it.
    DockerArchive,
}

/// What is to go from, or went from, content stores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pruned {
    /// Names.
    pub names: usize,
    /// Bytes on all servers' disks.
    pub freed: Bytes,
}

/// A base system from the distribution's packages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BootstrapRequest {
    /// `debian` or `ubuntu`.
    pub distribution: String,
    /// `bookworm`.
    pub release: String,
    /// Further packages.
    #[serde(default)]
    pub include: Vec<String>,
    /// Name of the image; `<distribution>/<release>` when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Program to run. A whole system when absent: systemd as its init unless another is among the packages.
    #[serde(default)]
    pub command: Vec<String>,
    /// On which server.
    #[serde(default)]
    pub server: Option<Name>,
}

/// Make an image of a container as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CommitRequest {
    /// Name of the image.
    pub image: String,
    /// Hold the container still while it is read.
    #[serde(default = "yes")]
    pub pause: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Make a container out of another as it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CloneRequest {
    /// Name of the new one.
    pub name: Name,
    /// Where it goes; chosen when absent.
    #[serde(default)]
    pub server: Option<Name>,
    /// Start it.
    #[serde(default)]
    pub start: bool,
    /// Hold the container still while it is read.
    #[serde(default = "yes")]
    pub pause: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// Keep a container's files as they are now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SnapshotRequest {
    /// Name of the snapshot; `snap0`, `snap1`… when absent.
    #[serde(default)]
    pub name: Option<String>,
    /// Hold the container still while it is read.
    #[serde(default = "yes")]
    pub pause: bool,
    /// Only say what would be done.
    #[serde(default)]
    pub dry_run: bool,
}

/// To an agent: make an image of a container of one of its instances.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitOrder {
    /// Which container; the first when absent.
    #[serde(default)]
    pub container: Option<Name>,
    /// Hold the whole instance still meanwhile.
    pub pause: bool,
    /// What the image says otherwise than the one the container was made of.
    pub change: crate::image::ConfigChange,
}

const fn yes() -> bool {
    true
}

/// The shared template pointer used by requests and specs alike.
pub type SharedTemplate = Arc<PodTemplate>;
