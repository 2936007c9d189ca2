//! The store as its callers see it, with the real confined process. Needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

mod bed;
mod bootstrap;
mod commit;
mod content;
mod cut;
mod evil;
mod forms;
mod life;
mod registry;
