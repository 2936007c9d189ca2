//! How the parts of a cluster speak with each other: mTLS identity, join tokens, client and server plumbing over Unix
//! sockets and TCP, NDJSON watches, `exec` streams, and heartbeats.
//!
//! *Invariant:* nothing here knows what a request means. Every queue, wait and message has a named limit, and every error
//! is an [`api::Error`] that a person can read.

pub mod authority;
pub mod client;
pub mod frames;
pub mod heartbeat;
pub mod identity;
pub mod server;
pub mod token;

mod io;
mod tls;

pub use io::Upgraded;
