//! What could have been in the standard library: clock and randomness behind one door, supervised tasks, the reconcile
//! loop, back-off, the undo stack, names of signals, and directories that no path leads out of.
//!
//! *Invariant:* knows nothing of containers, servers or the API. Under 1,500 lines for ever.

pub mod backoff;
pub mod env;
pub mod reconcile;
pub mod root;
pub mod signals;
pub mod supervise;
pub mod undo;
