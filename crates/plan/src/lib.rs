//! Everything the cluster decides, as functions of values: where instances go, how an upgrade proceeds, which addresses,
//! names and routes follow, and why.
//!
//! *Invariant:* nothing here reads a clock, draws a random number, opens a socket or keeps anything between two calls. The
//! same snapshot, time and seed give the same proposal, and planning its result again at that time gives nothing.
//!
//! [`propose`] is the one door for changes. [`names`], [`routes`] and [`assignment`] cut what servers are told out of a
//! finished plan. [`why`] explains it. [`check`] reads it with other eyes and shares no code with the rest.

mod address;
mod assignment;
mod check;
mod container;
mod copies;
mod fleet;
mod job;
pub mod liveness;
mod look;
mod names;
mod ports;
mod proposal;
mod propose;
mod routes;
mod schedule;
mod subnet;
mod template;
mod why;

#[cfg(test)]
mod tests;

pub use assignment::{assignment, assignments, informed};
pub use check::check;
pub use copies::{COPIES, ImageCopy, copied, next_copy};
pub use names::names;
pub use ports::{Reach, port_conflicts};
pub use proposal::{Note, Proposal, apply};
pub use propose::propose;
pub use routes::routes;
pub use subnet::next_subnet;
pub use template::{effective_revision, template_digest, template_of};
pub use why::why;
