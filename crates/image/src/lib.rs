//! Images on one server: a content store that verifies everything on its way in, the ways in (other servers, archives,
//! registries, pushes, and the distribution's packages), and the ways out.
//!
//! *Invariants:* content appears complete, by rename, or not at all. Whatever an archive holds is unpacked by a confined
//! process ([`unpack`]) that can name nothing outside the layer's directory. Memory does not grow with the size of images.

mod apt;
mod bootstrap;
mod commit;
mod compression;
mod content;
mod digest;
mod error;
mod export;
mod fetch;
mod held;
mod helper;
mod import;
mod layer;
mod layout;
mod manifest;
mod name;
mod prune;
mod pull;
mod push;
mod store;
mod tarball;
pub mod unpack;
mod uploads;

pub use error::Error;
pub use store::{ContentStore, Options};
