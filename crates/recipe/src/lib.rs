//! What `roost build` reads, as a plan of steps: Dockerfiles and Flockport recipes, `.dockerignore`, variables, stages.
//!
//! *Invariant:* nothing here opens a file, a socket or a clock. Text and options go in, values come out; the executor does
//! what the values say. What a Dockerfile means is what Docker's reference says.

pub mod error;
pub mod expand;
pub mod glob;
mod ignore;
mod kind;
mod path;
mod suggest;
pub mod text;

pub use error::{Error, Place, Problem};
pub use ignore::Ignore;
pub use kind::Kind;
pub use text::heredoc::Heredoc;
