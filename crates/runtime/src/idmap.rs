//! User namespaces: root inside is an unprivileged user outside.

use crate::{Error, Result, sys};
use std::os::fd::OwnedFd;

/// First user and group outside. The usual beginning of `/etc/subuid`.
pub const FIRST: u32 = 100_000;
/// So many: every number a distribution's packages use.
pub const COUNT: u32 = 65_536;

/// A user namespace with our map, held by nothing but the descriptor: mounts take their shift from it.
pub fn namespace() -> Result<OwnedFd> {
    let (told, tell) = sys::pipe()?;
    let (wait, hold) = sys::pipe()?;
    // SAFETY: the child makes only system calls before it ends.
    match unsafe { libc::fork() } {
        -1 => Err(Error::errno("fork")),
        0 => {
            drop((told, hold));
            // SAFETY: plain calls in a process of one thread; `_exit` runs nothing of the parent's.
            unsafe {
                let made = libc::unshare(libc::CLONE_NEWUSER) == 0;
                let _ = nix::unistd::write(&tell, &[u8::from(made)]);
                drop(tell);
                let _ = sys::read_some(&wait, &mut [0]);
                libc::_exit(0)
            }
        }
        child => {
            drop((tell, wait));
            let space = mapped(child, &told);
            drop(hold);
            // SAFETY: our own child.
            unsafe { libc::waitpid(child, std::ptr::null_mut(), 0) };
            space
        }
    }
}

/// Writes the maps of the child and opens its namespace.
fn mapped(child: i32, told: &OwnedFd) -> Result<OwnedFd> {
    let mut byte = [0];
    if sys::read_some(told, &mut byte).unwrap_or(0) != 1 || byte[0] != 1 {
        return Err(Error::text("this server's kernel does not let us make user namespaces (see user.max_user_namespaces)"));
    }
    for file in ["uid_map", "gid_map"] {
        let path = std::path::PathBuf::from(format!("/proc/{child}/{file}"));
        std::fs::write(&path, format!("0 {FIRST} {COUNT}\n")).map_err(|e| Error::io("write", &path, e))?;
    }
    let path = std::path::PathBuf::from(format!("/proc/{child}/ns/user"));
    std::fs::File::open(&path).map(Into::into).map_err(|e| Error::io("open", &path, e))
}
