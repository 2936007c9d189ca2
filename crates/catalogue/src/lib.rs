//! The app store's catalogue: one readable file for each app, read and checked, searched, and turned into what is run.
//!
//! *Invariant:* nothing here touches a file, a clock or a socket. The catalogue is compiled in, a user's own files are
//! handed in as text, and secrets come from whoever asks. What [`parse`] has let through can be instantiated: each reference
//! leads somewhere, and none in a circle.
//!
//! The way of an app: `apps/<id>.toml` → [`parse`] → [`App`] → [`Catalogue`], which knows that what it needs is there →
//! [`instantiate`] with a [`Request`] → [`Instance`]: image, environment, ports, volumes, check.

mod address;
mod app;
mod catalogue;
mod fields;
mod instance;
mod line;
mod near;
mod packages;
mod parse;
mod problem;
mod relations;
mod resolve;
mod search;
mod secret;
mod text;

#[cfg(test)]
mod tests;

pub use address::Address;
pub use app::{App, Check, Database, Engine, Port, Serves, Setting, Source};
pub use catalogue::Catalogue;
pub use instance::{DatabaseAccess, Instance, Request, instantiate};
pub use packages::Packages;
pub use parse::{file_name, parse};
pub use problem::{Complaint, Problem, Problems};
pub use search::Found;
pub use secret::Form;
pub use text::{DatabasePart, Reference, Text, UrlPart};
