//! What a server shows to its pods and to the world beside packets: so far, names.
//!
//! *Invariant:* knows nothing of stores or plans; what it answers is told to it as a value.

pub mod dns;
