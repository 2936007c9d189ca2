//! What `roost build` reads, as a plan of steps: Dockerfiles and Flockport recipes, `.dockerignore`, variables, stages.
//!
//! *Invariant:* nothing here opens a file, a socket or a clock. Text and options go in, values come out; the executor does
//! what the values say. What a Dockerfile means is what Docker's reference says, apart from what is listed below.
//!
//! The way through: [`read`] a file, [`Plan::of`] what was read, then for each stage of the plan, in order or side by side,
//! [`StageState::begin`] with the configuration of its base and [`StageState::step`] for each of its instructions. Each
//! [`Effect`] says what to do, and [`Effect::cache_text`] names it for the cache.
//!
//! ```
//! use recipe::{Base, Config, Effect, Kind, Options, Plan, Platform, StageId, StageState};
//! use std::collections::BTreeMap;
//!
//! fn build(name: &str, text: &str) -> Result<Config, recipe::Error> {
//!     let recipe = recipe::read(Kind::of_file(name), text)?;
//!     let plan = Plan::of(&recipe.build, &Options::new(Platform::linux("amd64")))?;
//!     let mut complete: BTreeMap<StageId, StageState> = BTreeMap::new();
//!     for stage in &plan.stages {
//!         let mut state = match &stage.base {
//!             Base::Image(_) => StageState::begin(&plan, stage, Config::default())?, // pull it, and take its configuration
//!             Base::Scratch => StageState::begin(&plan, stage, Config::default())?,
//!             Base::Stage(id) => StageState::begin_on(&plan, stage, &complete[id])?,
//!         };
//!         for instruction in state.instructions() {
//!             match state.step(&instruction)? {
//!                 Effect::Run(run) => println!("{:?}", run.argv), // run it, and keep what has changed as a layer
//!                 effect => println!("{:?}", effect.cache_text()),
//!             }
//!         }
//!         complete.insert(stage.id, state);
//!     }
//!     Ok(complete[&plan.target].config().clone())
//! }
//!
//! let config = build("Dockerfile", "FROM debian AS a\nRUN make\nFROM a\nENV A=b\nCMD [\"/a\"]")?;
//! assert_eq!(config.cmd, ["/a"]);
//! # Ok::<(), recipe::Error>(())
//! ```
//!
//! # Where we differ from Docker
//!
//! Refused here, and not there, because it is a mistake more often than meant:
//! * two stages of one name, a stage called `scratch`
//! * sources of `COPY`, `ADD` and bind mounts that climb out of the context; Docker cuts the `..` off
//! * sources of `COPY` and `ADD`, and `WORKDIR`, that are empty once expanded; Docker copies the whole context
//! * several sources and a destination that is not clearly a directory; Docker's reference demands it, BuildKit does not check
//! * `RUN []`, commands that are not there at all, port 0, flags before `HEALTHCHECK NONE`, NUL bytes
//! * keys that a type of mount has no use for, a key twice; heredocs of `COPY` whose name has a slash or a blank
//!
//! Not there: `--mount=type=ssh`, `--security=insecure`, `--device`; other systems than Linux; named contexts;
//! `SOURCE_DATE_EPOCH` and what else begins with `BUILDKIT_`; `?ref=` in URLs of repositories; checksums other than SHA-256.
//! `# syntax=` and `# check=` are kept, and nothing follows from them.
//!
//! Another meaning:
//! * `ENV` wins over `ARG` wherever they stand, as the reference says; in BuildKit the later one wins
//! * names of stages are the same in capital and small letters in `FROM` too
//! * a heredoc that begins with `#!` is run as it is, not by the shell
//! * heredocs are found in lines whose `${…}` only the shell understands; BuildKit overlooks them
//! * heredocs are looked for behind the flags; in BuildKit an odd quote in a flag hides them
//! * image names are Roost's: nothing is put before them
//!
//! Limits Docker does not have: bytes of a file, stages, instructions, variables, and what texts may expand to.

mod config;
mod dockerfile;
mod duration;
pub mod effect;
pub mod error;
pub mod expand;
pub mod flockport;
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
pub use flockport::{Recipe, Service, parse_recipe, read};
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

#[cfg(test)]
mod tests;
