//! Images on one server: a content store that verifies everything on its way in, and the ways in: other servers, archives,
//! registries, and the distribution's packages.
//!
//! *Invariants:* content appears complete, by rename, or not at all. Whatever an archive holds is unpacked by a confined
//! process ([`unpack`]) that can name nothing outside the layer's directory. Memory does not grow with the size of images.

mod apt;
mod bootstrap;
mod commit;
mod compression;
mod digest;
mod error;
mod fetch;
mod helper;
mod import;
mod layer;
mod layout;
mod manifest;
mod name;
mod prune;
mod pull;
mod store;
mod tarball;
pub mod unpack;

pub use error::Error;
pub use store::{ContentStore, Options};
