//! Everything over real sockets: loopback TCP and Unix sockets, servers and clients in one process.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "helpers of tests, too, may stop a test")]

mod harness;
mod identity;
mod limits;
mod streams;
mod tunnel;
mod unix;
