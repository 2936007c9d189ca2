//! The values every other crate speaks in: specs, plans, assignments, reports, names, quantities and errors.
//!
//! *Invariant:* nothing here reads a clock, opens a socket or holds a lock. Each field has exactly one writer: **specs**
//! are written by the API, **plans** by the planner, **assignments** are cut from both by the control plane, **reports**
//! are written by the agent they describe.

pub mod app;
pub mod assignment;
pub mod build;
pub mod dataplane;
pub mod error;
pub mod event;
pub mod image;
pub mod key;
pub mod name;
pub mod path;
pub mod plan;
pub mod quantity;
pub mod registry;
pub mod report;
pub mod server;
pub mod snapshot;
pub mod spec;
pub mod stream;
pub mod system;
pub mod validate;
pub mod view;

pub use error::{Error, Kind, Result};
pub use name::{InstanceId, Name, Target};
pub use quantity::{Bytes, Cpu, Span, Timestamp};
pub use snapshot::Snapshot;

/// Version of every stored and transmitted format in this crate. A store written by a newer version is refused.
pub const FORMAT_VERSION: u32 = 1;
