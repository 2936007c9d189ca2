//! The program shims are run from: our own binary, seen through a read-only mount that nobody else can reach.
//!
//! Inside a container, `/proc/<pid>/exe` of a process that has just entered leads to our binary on the server. Through an
//! ordinary mount root inside could write to it once nobody runs it (CVE-2019-5736); through this one it never can.

use crate::{
    Error, Result,
    sys::{self, MountChange},
};
use std::{
    ffi::OsString,
    os::{
        fd::{AsFd as _, AsRawFd as _, OwnedFd},
        unix::process::CommandExt as _,
    },
    path::Path,
    process::Command,
};

/// Program and first arguments of a shim.
pub struct ShimProgram {
    name: OsString,
    first: Vec<OsString>,
    /// Where the kernel lets us; else the program is run by its name.
    sealed: Option<OwnedFd>,
}

impl ShimProgram {
    /// From what is configured.
    pub fn new(configured: &[OsString]) -> Result<Self> {
        let (name, first) = configured.split_first().ok_or_else(|| Error::text("no program is configured as shim"))?;
        let sealed = seal(Path::new(name)).inspect_err(|error| tracing::warn!(%error, "the shim's program is not sealed")).ok();
        Ok(Self { name: name.clone(), first: first.to_vec(), sealed })
    }

    /// Ready for more arguments.
    pub fn command(&self) -> Command {
        let mut command = match &self.sealed {
            Some(file) => Command::new(format!("/proc/self/fd/{}", file.as_raw_fd())),
            None => Command::new(&self.name),
        };
        command.arg0(&self.name).args(&self.first);
        command
    }
}

/// A read-only mount of one file, attached nowhere.
fn seal(program: &Path) -> Result<OwnedFd> {
    let program = program.canonicalize().map_err(|e| Error::io("find", program, e))?;
    let mount = sys::clone_mount(&program, false)?;
    sys::change_mount(mount.as_fd(), &MountChange { set: libc::MOUNT_ATTR_RDONLY, shifted_by: None })?;
    Ok(mount)
}
