//! Verbs a server can do, as small traits; a fake for each that can be told to fail; one suite for each.
//!
//! Traits here have two implementations or more, or the agent could not be tested without them. Their methods block:
//! containers, links and layers are made by system calls, and the agent runs each on a thread of a bounded pool. Each
//! `ensure` may be called any number of times: it makes true what is not.
//!
//! *Invariant:* knows nothing of stores, sockets or plans.

pub mod build;
pub mod content;
pub mod fake;
pub mod image;
pub mod network;
pub mod runtime;
pub mod suite;

pub use build::{Builder, Layers, WayOut};
pub use content::{Content, Uploads};
pub use image::{Commit, Images};
pub use network::Network;
pub use runtime::Runtime;

/// An error of a driver: a sentence, and whether trying again may help.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct DriverError {
    /// One sentence in lower case, causes included.
    pub message: String,
    /// The same call may work later without anything else being changed.
    pub retryable: bool,
}

impl DriverError {
    /// Trying again may help.
    pub fn retryable(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: true }
    }
    /// Trying again will not help.
    pub fn fatal(message: impl Into<String>) -> Self {
        Self { message: message.into(), retryable: false }
    }
}

/// Shorthand.
pub type Result<T, E = DriverError> = std::result::Result<T, E>;
