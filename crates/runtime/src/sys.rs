//! System calls that the libraries at hand do not wrap, each as one small function.

use crate::{Error, Result};
use nix::fcntl::OFlag;
use std::{
    ffi::CString,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::Path,
};

/// A path as the kernel wants it.
pub fn c_path(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Error::text(format!("{path:?} contains a zero byte")))
}

/// Turns the result of a raw call into a number or the error.
fn check(what: &'static str, result: libc::c_long) -> Result<i32> {
    if result < 0 { Err(Error::errno(what)) } else { Ok(i32::try_from(result).unwrap_or(i32::MAX)) }
}

fn check_fd(what: &'static str, result: libc::c_long) -> Result<OwnedFd> {
    // SAFETY: the kernel has just made this descriptor for us.
    check(what, result).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Opens below `root` as if `root` were `/`: no link leads out.
pub fn open_in_root(root: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd> {
    base::root::open_in(root, path, flags).map_err(|errno| Error::io("open in the container", path, errno))
}

/// Opens a directory for use as a root.
pub fn open_directory(path: &Path) -> Result<OwnedFd> {
    let text = c_path(path)?;
    // SAFETY: the path lives through the call.
    let fd = unsafe { libc::open(text.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) };
    if fd < 0 {
        return Err(Error::io("open", path, std::io::Error::last_os_error()));
    }
    // SAFETY: the kernel has just made this descriptor for us.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor of a process that stays its own even when the number is used again.
pub fn pidfd(pid: i32) -> Result<OwnedFd> {
    // SAFETY: plain numbers.
    check_fd("open the process", unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) })
}

/// Sends a signal through such a descriptor.
pub fn pidfd_signal(process: BorrowedFd<'_>, signal: i32) -> Result<()> {
    // SAFETY: no information structure is passed.
    let result = unsafe {
        libc::syscall(libc::SYS_pidfd_send_signal, process.as_raw_fd(), signal, std::ptr::null::<libc::siginfo_t>(), 0)
    };
    check("send a signal", result).map(drop)
}

/// Joins namespaces of a process.
pub fn join_namespaces(process: BorrowedFd<'_>, kinds: i32) -> Result<()> {
    // SAFETY: plain numbers.
    check("join the container's namespaces", unsafe { libc::setns(process.as_raw_fd(), kinds) }.into()).map(drop)
}

/// Joins a network namespace.
pub fn join_network(path: &Path) -> Result<()> {
    let file = std::fs::File::open(path).map_err(|e| Error::io("open the network namespace", path, e))?;
    // SAFETY: plain numbers.
    check("join the pod's network namespace", unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) }.into()).map(drop)
}

/// A detached copy of a mount (`open_tree(2)`).
pub fn clone_mount(source: &Path, recursive: bool) -> Result<OwnedFd> {
    let path = c_path(source)?;
    let deep = if recursive { libc::AT_RECURSIVE as u32 } else { 0 };
    let flags = libc::OPEN_TREE_CLONE | libc::OPEN_TREE_CLOEXEC | deep;
    // SAFETY: the path lives through the call.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, libc::AT_FDCWD, path.as_ptr(), flags) };
    if result < 0 {
        return Err(Error::io("copy the mount of", source, std::io::Error::last_os_error()));
    }
    check_fd("open_tree", result)
}

/// Attributes to set on a mount.
#[derive(Default)]
pub struct MountChange<'a> {
    /// `MOUNT_ATTR_*` to switch on.
    pub set: u64,
    /// Shifts owners by the maps of this user namespace.
    pub shifted_by: Option<BorrowedFd<'a>>,
}

/// Sets attributes of a whole tree of mounts (`mount_setattr(2)`).
pub fn change_mount(mount: BorrowedFd<'_>, change: &MountChange<'_>) -> Result<()> {
    // SAFETY: all-zero is a valid mount_attr.
    let mut attr: libc::mount_attr = unsafe { std::mem::zeroed() };
    attr.attr_set = change.set;
    if let Some(space) = &change.shifted_by {
        attr.attr_set |= libc::MOUNT_ATTR_IDMAP;
        attr.userns_fd = u64::from(space.as_raw_fd().cast_unsigned());
    }
    // SAFETY: pointers live through the call, the size is that of the structure.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | libc::AT_RECURSIVE,
            &raw const attr,
            std::mem::size_of::<libc::mount_attr>(),
        )
    };
    check("change a mount", result).map(drop)
}

/// Attaches a detached mount (`move_mount(2)`).
pub fn attach_mount(mount: BorrowedFd<'_>, target: &Path) -> Result<()> {
    let path = c_path(target)?;
    // SAFETY: pointers live through the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_move_mount,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::MOVE_MOUNT_F_EMPTY_PATH,
        )
    };
    if result < 0 {
        return Err(Error::io("mount on", target, std::io::Error::last_os_error()));
    }
    Ok(())
}

/// Whether the descriptor is readable or hung up within so many milliseconds (negative: for ever).
pub fn wait_readable(fd: BorrowedFd<'_>, millis: i32) -> Result<bool> {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    loop {
        // SAFETY: one entry, which lives through the call.
        match unsafe { libc::poll(&raw mut poll, 1, millis) } {
            0 => return Ok(false),
            n if n > 0 => return Ok(true),
            _ if std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted => {}
            _ => return Err(Error::errno("poll")),
        }
    }
}

/// A pipe whose ends do not survive `execve`.
pub fn pipe() -> Result<(OwnedFd, OwnedFd)> {
    nix::unistd::pipe2(OFlag::O_CLOEXEC).map_err(|e| Error::call("make a pipe", e))
}

/// Reads what is there; 0 is the end.
pub fn read_some(fd: impl AsFd, buffer: &mut [u8]) -> std::io::Result<usize> {
    loop {
        match nix::unistd::read(fd.as_fd(), buffer) {
            Err(nix::Error::EINTR) => {}
            other => return other.map_err(Into::into),
        }
    }
}

/// The status of a child that ended, as a shell counts: its code, or 128 and the signal's number.
pub const fn exit_code(status: i32) -> i32 {
    if libc::WIFEXITED(status) { libc::WEXITSTATUS(status) } else { 128 + libc::WTERMSIG(status) }
}

/// Gives every signal its default action and lets all of them through: a program must not inherit what a shim ignores.
/// By raw calls, since the C library hides two signals of its own, which whoever started us may have ignored.
pub fn reset_signals() {
    // Handler, flags, restorer and mask, all zero: the default action (`struct sigaction` of the kernel).
    let default = [0_u64; 4];
    const MASK_BYTES: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the structure lives through the call; an error only concerns signals that cannot be changed.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null_mut::<u64>(), MASK_BYTES) };
    }
    // SAFETY: the mask lives through the call.
    unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_SETMASK, default.as_ptr(), std::ptr::null_mut::<u64>(), MASK_BYTES)
    };
}
