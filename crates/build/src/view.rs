//! Layers as the files they are together: overlays, mounted where nobody else sees them, or in a build's own directory.

use crate::error::{Error, Result, about};
use nix::{
    mount::{MsFlags, mount},
    sched::{CloneFlags, unshare},
};
use std::{
    fs, io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

/// What is written goes here.
pub struct Writable<'a> {
    /// What is new and what has changed.
    pub upper: &'a Path,
    /// What the overlay needs beside it, on the same file system.
    pub work: &'a Path,
}

/// Runs `work` on a thread with a mount namespace of its own: what it mounts goes when it ends, however that comes about.
pub fn apart<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_a_thread(|| {
        unshare(CloneFlags::CLONE_FS | CloneFlags::CLONE_NEWNS).map_err(Error::errno("make a mount namespace"))?;
        let flags = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
        mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(Error::errno("make mounts private"))?;
        work()
    })
}

/// Runs `work` on a thread with a working directory of its own.
pub fn aside<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_a_thread(|| {
        unshare(CloneFlags::CLONE_FS).map_err(Error::errno("leave the working directory"))?;
        work()
    })
}

fn on_a_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name("build".to_owned()).spawn_scoped(scope, work);
        let ended = thread.map_err(Error::io("start a thread"))?.join();
        ended.unwrap_or_else(|_| Err(Error::io("build")(io::Error::other("the thread panicked"))))
    })
}

/// Mounts layers, lowest first, on `target`; read-only when nothing is writable. Changes the working directory of the thread,
/// so that options stay short however many layers there are. `scratch` is an empty directory for the purpose.
pub fn overlay(layers: &[PathBuf], writable: Option<&Writable<'_>>, (target, scratch): (&Path, &Path)) -> Result<()> {
    let failed = |path: &Path| Error::io(about("make", path));
    // An overlay that cannot be written to needs two layers; empty ones below change nothing.
    let empty = [scratch.join("empty"), scratch.join("nothing")];
    for directory in &empty {
        fs::create_dir(directory).map_err(failed(directory))?;
    }
    let mut names = Vec::new();
    for (number, layer) in empty.iter().chain(layers).enumerate() {
        let name = number.to_string();
        symlink(layer, scratch.join(&name)).map_err(failed(&scratch.join(&name)))?;
        names.push(name);
    }
    names.reverse();
    let lower = names.join(":");
    nix::unistd::chdir(scratch).map_err(Error::errno(about("enter", scratch)))?;
    // What is written is to be complete by itself, for it becomes a layer.
    let options = match writable {
        Some(Writable { upper, work }) => {
            format!("lowerdir={lower},upperdir={},workdir={},redirect_dir=off,metacopy=off", upper.display(), work.display())
        }
        None => format!("lowerdir={lower}"),
    };
    let mounted = mount(Some("overlay"), target, Some("overlay"), MsFlags::MS_NODEV | MsFlags::MS_NOSUID, Some(options.as_str()));
    let back = nix::unistd::chdir("/");
    mounted.map_err(Error::errno(about("mount layers on", target)))?;
    back.map_err(Error::errno("enter /"))
}
