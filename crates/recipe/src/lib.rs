//! What `roost build` reads, as a plan of steps: Dockerfiles and Flockport recipes, `.dockerignore`, variables, stages.
//!
//! *Invariant:* nothing here opens a file, a socket or a clock. Text and options go in, values come out; the executor does
//! what the values say. What a Dockerfile means is what Docker's reference says.

mod config;
mod dockerfile;
mod duration;
pub mod effect;
pub mod error;
pub mod expand;
pub mod glob;
mod ignore;
pub mod instruction;
mod kind;
mod mode;
mod mount;
mod parse;
mod path;
mod plan;
mod platform;
mod port;
mod print;
mod signal;
mod state;
mod suggest;
mod text;

pub use config::{Config, Health};
pub use dockerfile::{Dockerfile, Section, parse};
pub use effect::Effect;
pub use error::{Error, Place, Problem};
pub use ignore::Ignore;
pub use instruction::Instruction;
pub use kind::Kind;
pub use mode::Mode;
pub use mount::Sharing;
pub use parse::from::Opening;
pub use plan::{Base, Options, Plan, Stage, StageId};
pub use platform::Platform;
pub use state::StageState;
pub use text::heredoc::Heredoc;
