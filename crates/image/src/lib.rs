//! Images on one server: a content store that verifies everything on its way in, the ways in (other servers, archives,
//! registries, pushes, and the distribution's packages), and the ways out.
//!
//! *Invariants:* content appears complete, by rename, or not at all. Whatever an archive holds is unpacked by a confined
//! process ([`unpack`]) that can name nothing outside the layer's directory. Memory does not grow with the size of images.
//!
//! What reads strangers' bytes and touches nothing else is public ([`tarball`], [`name`], [`compression`], [`manifest`],
//! [`reference`]), so that its laws can be tried from outside: `fuzz` does.

mod apt;
mod bootstrap;
mod commit;
pub mod compression;
mod content;
pub mod digest;
mod error;
mod export;
mod fetch;
mod held;
mod helper;
mod import;
mod layer;
mod layout;
pub mod manifest;
pub mod name;
mod prune;
mod pull;
mod push;
mod store;
pub mod tarball;
pub mod unpack;
mod uploads;

pub use error::Error;
pub use pull::reference;
pub use store::{ContentStore, Options};
