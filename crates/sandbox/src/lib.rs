//! A real cluster of several servers on one machine: each server is an init process in namespaces of its own, on an underlay
//! network that touches nothing of the machine's, with faults on demand.
//!
//! *For:* users who want to see a cluster without machines, and Roost's own tests.
//! *Invariant:* a sandbox is found again from its directory and its control groups alone, so [`Sandbox::down`] leaves nothing
//! behind even when whoever made it was killed half way.
//!
//! What a server has of its own: process numbers, mounts, network, host name, IPC, a control group tree that looks like the
//! root, `/proc`, `/sys`, `/run`, `/dev/shm`, `/var/lib/roost` (its disk: stays over [`Sandbox::kill`]) and a throw-away copy of
//! the rest of `/var/lib`. Everything else (`/usr`, `/tmp`, `/etc`, …) it shares with the machine.
//!
//! The binary named in [`Options`] must call [`init_main`], [`exec_main`] and [`relay_main`] for its subcommands `sandbox-init`,
//! `sandbox-exec` and `sandbox-relay`, before it starts any thread.

mod cgroup;
mod create;
mod down;
mod error;
mod exec;
mod faults;
mod init;
mod layout;
mod mounts;
mod network;
mod offload;
mod power;
mod process;
mod relay;
mod spawn;
mod state;

pub use create::Sandbox;
pub use error::{Result, SandboxError};
pub use exec::exec_main;
pub use init::init_main;
pub use layout::{MAX_SERVERS, Options};
pub use relay::relay_main;
pub use state::{Info, ServerInfo, ServerState};

/// The pseudo server that is not in the cluster: the machine's own mounts and processes, with a network of only the underlay.
pub const OUTSIDE: &str = "outside";
/// Subcommand of the binary that leads to [`init_main`].
pub const INIT_COMMAND: &str = "sandbox-init";
/// Subcommand of the binary that leads to [`exec_main`].
pub const EXEC_COMMAND: &str = "sandbox-exec";
/// Subcommand of the binary that leads to [`relay_main`].
pub const RELAY_COMMAND: &str = "sandbox-relay";
