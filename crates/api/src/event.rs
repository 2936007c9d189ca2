//! Events: what happened, for people (`roost events`). Never an input to a decision.

use crate::quantity::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// Number of the event since the control plane started, from 1.
    pub sequence: u64,
    /// When.
    pub at: Timestamp,
    /// To what kind of thing.
    pub noun: Noun,
    /// To which one: `s2`, `web`, `web/3`.
    pub name: String,
    /// What, in words: `lost: no sign for 1.8 s`.
    pub message: String,
}

/// Kinds of things events are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Noun {
    /// The cluster.
    Cluster,
    /// A server.
    Server,
    /// A job.
    Job,
    /// A container or instance.
    Container,
    /// An image.
    Image,
}
