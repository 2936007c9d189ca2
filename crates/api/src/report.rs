//! Reports: what a server says it is. Written by its agent only; soft state, sent whole on every new session.

use crate::{
    name::{InstanceId, Name},
    quantity::{Bytes, Timestamp},
    spec::Limits,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// All an agent says about its server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Report {
    /// Who speaks.
    pub server: Name,
    /// Generation of the assignment that this report answers to: everything in it has been begun.
    pub generation: u64,
    /// Generation whose names and routes this server lives by: the latest that the kernel and the DNS server have.
    #[serde(default)]
    pub applied: u64,
    /// Every instance present on the server, also those being removed. What is absent is gone.
    pub instances: BTreeMap<InstanceId, InstanceReport>,
    /// Image manifests whose content is here, by digest.
    #[serde(default)]
    pub images: Vec<String>,
    /// Use of the server.
    #[serde(default)]
    pub usage: ServerUsage,
    /// Things that went wrong outside any instance, each a sentence.
    #[serde(default)]
    pub problems: Vec<String>,
}

/// What a server uses.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ServerUsage {
    /// Memory in use by everything on the machine.
    pub memory: Bytes,
    /// Processor time in use, in thousandths of a core.
    pub cpu_milli: u32,
    /// Free space below the state directory.
    pub disk_free: Bytes,
}

/// One instance as its agent sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceReport {
    /// Where it stands.
    pub phase: Phase,
    /// Whether its checks pass. `Healthy` for one without checks as soon as it runs.
    pub health: Health,
    /// A sentence about the phase or health: the error of a failed start, the last failed check.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Last lines of output, with `Failed` and while checks fail.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub last_lines: Vec<String>,
    /// Main process of the first container, in the server's own process numbering.
    #[serde(default)]
    pub pid: Option<u32>,
    /// When the current run began.
    #[serde(default)]
    pub started: Option<Timestamp>,
    /// Exit code of the last run that ended; 128 + signal number when killed by one.
    #[serde(default)]
    pub exit_code: Option<i32>,
    /// Starts after the first.
    #[serde(default)]
    pub restarts: u32,
    /// Limits in force while it runs, of each container in the pod's order. Empty when nobody knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub limits: Vec<Limits>,
}

impl InstanceReport {
    /// May names and routes lead here?
    pub fn serves(&self) -> bool {
        self.phase == Phase::Running && self.health == Health::Healthy
    }
}

/// Where an instance stands on its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// Known, waiting for its turn.
    Pending,
    /// Its image is being fetched.
    Pulling,
    /// Its root file system, network and processes are being made.
    Starting,
    /// Its program runs.
    Running,
    /// All its processes are held still.
    Frozen,
    /// Its program ended and will be started again after a pause.
    BackOff,
    /// It is being stopped.
    Stopping,
    /// Stopped or ended; files kept.
    Exited,
    /// It could not be started, or kept ending. The planner replaces it (job) or it stays (container).
    Failed,
}

/// Whether checks pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// Not decided yet.
    Starting,
    /// Checks pass, or there are none and it runs.
    Healthy,
    /// So many failures in a row.
    Unhealthy,
}

/// Use of one instance. Asked for by `stats` and `top`, never part of a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct InstanceStats {
    /// Memory charged to the pod, without reclaimable page cache.
    pub memory: Bytes,
    /// Processor time used since the start, in microseconds.
    pub cpu_micros: u64,
    /// Processes and threads.
    pub pids: u32,
    /// Bytes received and sent on its network interface.
    pub received: Bytes,
    /// Bytes sent.
    pub sent: Bytes,
}
