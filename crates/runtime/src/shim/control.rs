//! What is said on a pod's socket: one request a line, one answer a line, both JSON.

use crate::record::Running;
use api::Name;
use serde::{Deserialize, Serialize};

/// Longest line.
pub const LINE_MAX: usize = 4096;

/// Asked of a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// How is it?
    Status,
    /// Signal every container's main process.
    Signal(i32),
    /// Ask all to stop; kill what is left after so many milliseconds.
    Stop(u64),
    /// From the answer on, this connection carries a container's raw output, and input if it has a terminal.
    Attach(Option<Name>),
    /// Columns and rows of a container's terminal.
    Resize(Option<Name>, u16, u16),
}

/// Answered by a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a status request.
    Running(Running),
    /// Begun or done.
    Done,
    /// No, because.
    Refused(String),
}
