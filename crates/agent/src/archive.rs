//! `cp`: parts of a container's root file system as tar, out and in. Blocking.
//!
//! What is in a container is written by strangers, so no path leads out of its root (`base::root`).

mod pack;
mod unpack;

pub use pack::{Source, pack};
pub use unpack::unpack;

use api::error::{Error, Result};
use base::root::relative;
use nix::{errno::Errno, fcntl::OFlag};
use std::{os::fd::OwnedFd, path::Path};

/// Directories below each other that are followed.
const DEPTH_MAX: usize = 256;

/// Users and groups a container with a map of its own has.
const MAPPED: u32 = 65_536;
/// Nobody, as everywhere in Linux.
const NOBODY: u32 = 65_534;

/// A container's root file system.
pub struct Root {
    directory: base::root::Root,
    /// Who root inside is here.
    first: u32,
}

impl Root {
    /// As the host sees it.
    pub fn open(directory: &Path) -> Result<Self> {
        base::root::Root::open(directory)
            .map(|directory| Self { directory, first: 0 })
            .map_err(|errno| Error::failed(format!("root file system of the container: {}", errno.desc())))
    }

    /// Root inside is this user here, and all others follow.
    pub fn mapped(self, first: u32) -> Self {
        Self { first, ..self }
    }

    /// Who a user or group inside is here.
    fn outside(&self, inside: u64) -> u32 {
        let inside = u32::try_from(inside).unwrap_or(0);
        if self.first > 0 && inside >= MAPPED { self.first + NOBODY } else { self.first + inside }
    }

    /// A directory in it.
    fn directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.directory.open_in(path, OFlag::O_PATH | OFlag::O_DIRECTORY)
    }
}

/// Who a user or group here is inside, where root inside is `first`.
fn inside_of(first: u32, outside: u32) -> u32 {
    match outside.checked_sub(first) {
        Some(inside) if first == 0 || inside < MAPPED => inside,
        _ => NOBODY,
    }
}

fn failure(what: &Path, errno: Errno) -> Error {
    let path = Path::new("/").join(what);
    match errno {
        Errno::ENOENT => Error::not_found(format!("{} does not exist in the container", path.display())),
        Errno::ENOTDIR => Error::usage(format!("{} is not a directory in the container", path.display())),
        other => Error::failed(format!("{} in the container: {}", path.display(), other.desc())),
    }
}

#[cfg(test)]
mod tests;
