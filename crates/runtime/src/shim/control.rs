//! What is said on a pod's socket: one request a line, one answer a line, both JSON.

use crate::record::Running;
use api::Name;
use driver::runtime::LogPosition;
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
    /// From the answer on, this connection carries frames of [`api::stream`] from and to a container's program.
    Console {
        /// Which; the first when absent.
        container: Option<Name>,
        /// It is the one that is awaited: all output there is waits for it, for a while.
        whole: bool,
    },
}

/// Answered by a shim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// To a status request.
    Running(Running),
    /// Begun or done.
    Done,
    /// The console is open.
    Opened(Opened),
    /// No, because.
    Refused(String),
}

/// What a console leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opened {
    /// A terminal.
    pub terminal: bool,
    /// A program that hears what is sent.
    pub input: bool,
    /// What the log holds; frames begin with the line that is not finished yet.
    pub logged: LogPosition,
}
