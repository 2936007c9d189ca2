//! The plan: what we decided, complete, so that executing leaves nothing to choose. Written by the planner only.

use crate::{
    name::{InstanceId, Name},
    quantity::{Span, Timestamp},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::Ipv4Addr;

/// One instance in its place. Everything but `wanted` stays as it is for the instance's life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Never used again.
    pub id: InstanceId,
    /// From 1 in a job; 0 for a lone container.
    pub slot: u32,
    /// Where it runs.
    pub server: Name,
    /// Its address, inside that server's subnet, unique in the cluster while the placement exists.
    pub address: Ipv4Addr,
    /// Which template of the job (`JobSpec::revision`); 0 for a lone container.
    pub revision: u32,
    /// What the agent shall make of it. Moves forward only: `Run` → `Drain` → `Stop`.
    pub wanted: Wanted,
    /// When it was placed; the healthy deadline counts from here.
    pub placed: Timestamp,
    /// Why it is here and not elsewhere, in words.
    pub reason: String,
}

/// What the agent shall make of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// Running (a lone container: whatever its spec's `power` says).
    Run,
    /// Out of names and routes; still running for its last connections, then stopped by the agent itself.
    Drain,
    /// Stopped now and removed. The placement goes once the agent says it is gone, or its server is lost.
    Stop,
}

/// A job's part of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobPlan {
    /// Old and new instances. At most one per slot is `Run` in steady state; two during a replacement.
    pub placements: Vec<Placement>,
    /// Slots that have no running placement, and why.
    #[serde(default)]
    pub waiting: Vec<Waiting>,
    /// The upgrade under way or last ended.
    #[serde(default)]
    pub rollout: Option<Rollout>,
    /// Slots whose instances failed lately, for back-off.
    #[serde(default)]
    pub failures: Vec<SlotFailures>,
}

/// A slot that could not be placed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// From 1.
    pub slot: u32,
    /// With counts: `3 servers: not enough memory (largest free: 11.2G on s3)`.
    pub reasons: Vec<String>,
}

/// Failures of a slot's instances in a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotFailures {
    /// From 1.
    pub slot: u32,
    /// In a row, without one becoming healthy between.
    pub count: u32,
    /// The last one.
    pub last: Timestamp,
}

/// An upgrade or rollback on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Rollout {
    /// The revision it goes to.
    pub to: u32,
    /// The revision it came from, and goes back to when it fails.
    pub from: u32,
    /// Where it stands.
    pub state: RolloutState,
    /// When it began.
    pub started: Timestamp,
    /// When the last batch was begun.
    pub last_batch: Timestamp,
    /// Why it failed, with the last log lines if there are any.
    #[serde(default)]
    pub message: Option<String>,
}

/// Where an upgrade stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RolloutState {
    /// Instances are being replaced.
    Running,
    /// Every slot runs the new revision, healthy.
    Done,
    /// It failed; the old revision is being brought back.
    RollingBack,
    /// It failed, and every slot runs the old revision again.
    RolledBack,
}

/// A lone container's part of the plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerPlan {
    /// None while it waits for a place.
    pub placement: Option<Placement>,
    /// Why it waits.
    #[serde(default)]
    pub waiting: Vec<String>,
}

/// Pause before a failed slot is tried again: 0.25 s doubling to 30 s, so a broken image does not keep a cluster busy.
pub fn retry_pause(failures: u32) -> Span {
    Span(250u64.saturating_mul(1 << failures.saturating_sub(1).min(7)).min(30_000))
}
