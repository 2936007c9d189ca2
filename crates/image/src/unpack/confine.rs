//! Gives up everything the process does not need: other files, the network, capabilities, and growth without bound.

use super::Failure;
use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, setrlimit},
        signal::{SigHandler, Signal, signal},
    },
    unistd::{chdir, chroot, pivot_root},
};
use std::{io, path::Path};

/// Capabilities kept (capability.h): to give files their owners (CHOWN), write in directories whose mode forbids it
/// (DAC_OVERRIDE), set modes and times of files given away (FOWNER), keep set-group-id bits (FSETID), set file
/// capabilities (SETFCAP). Not MKNOD: whiteouts (device 0/0) need none since Linux 5.8, and so the kernel refuses all others.
const KEEP: [u32; 5] = [0, 1, 3, 4, 31];
/// Capability numbers the kernel may know; more than it does today, and unknown ones are passed over.
const MOST_CAPABILITIES: u32 = 64;
/// Open files: parents of the entry being made, and little else.
const MOST_FILES: u64 = 64;
/// Address space: buffers, and the list of directories whose times are set at the end.
const MOST_MEMORY: u64 = 1 << 30;

/// Makes `dir` the root of everything this process can name, for good.
pub fn enter(dir: &Path, most_file_size: u64) -> Result<(), Failure> {
    close_others();
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(call("ask to end with the parent"))?;
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWIPC | CloneFlags::CLONE_NEWUTS)
        .map_err(call("leave the machine's namespaces (unpacking needs root)"))?;
    root(dir)?;
    limits(most_file_size).map_err(call("set limits"))?;
    drop_capabilities()?;
    prctl::set_no_new_privs().map_err(call("give up new privileges"))
}

fn root(dir: &Path) -> Result<(), Failure> {
    let none = None::<&str>;
    mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).map_err(call("make mounts private"))?;
    mount(Some(dir), dir, none, MsFlags::MS_BIND, none).map_err(call("bind the layer's directory"))?;
    let shut = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(none, dir, none, shut, none).map_err(call("shut the layer's directory"))?;
    chdir(dir).map_err(call("enter the layer's directory"))?;
    match pivot_root(".", ".") {
        Ok(()) => umount2(".", MntFlags::MNT_DETACH).map_err(call("leave the machine's root"))?,
        // The machine runs from its initial ramdisk, whose root cannot be exchanged, only covered.
        Err(nix::Error::EINVAL) => {
            mount(Some("."), "/", none, MsFlags::MS_MOVE, none).map_err(call("cover the machine's root"))?;
            chroot(".").map_err(call("leave the machine's root"))?;
        }
        Err(e) => return Err(call("exchange the machine's root")(e)),
    }
    chdir("/").map_err(call("enter the new root"))
}

fn limits(most_file_size: u64) -> nix::Result<()> {
    // Growing past the limit is to be an error, not a signal.
    // SAFETY: ignoring a signal installs no handler.
    unsafe { signal(Signal::SIGXFSZ, SigHandler::SigIgn) }?;
    setrlimit(Resource::RLIMIT_FSIZE, most_file_size, most_file_size)?;
    setrlimit(Resource::RLIMIT_NOFILE, MOST_FILES, MOST_FILES)?;
    setrlimit(Resource::RLIMIT_AS, MOST_MEMORY, MOST_MEMORY)?;
    setrlimit(Resource::RLIMIT_CORE, 0, 0)
}

/// Closes all but the three standard descriptors: one inherited by mistake would name something outside.
fn close_others() {
    // SAFETY: nothing in this process, which has only begun, uses another descriptor.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
}

#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Clone, Copy)]
struct CapData {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Of the capset system call: two words of 32 (capability.h, `_LINUX_CAPABILITY_VERSION_3`).
const CAP_VERSION: u32 = 0x2008_0522;

fn drop_capabilities() -> Result<(), Failure> {
    for cap in (0..MOST_CAPABILITIES).filter(|c| !KEEP.contains(c)) {
        // SAFETY: takes numbers only. EINVAL: the kernel knows no such capability.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, cap, 0, 0, 0) };
    }
    let word = KEEP.iter().fold(0u32, |word, cap| word | 1 << cap);
    let header = CapHeader { version: CAP_VERSION, pid: 0 };
    let low = CapData { effective: word, permitted: word, inheritable: 0 };
    let high = CapData { effective: 0, permitted: 0, inheritable: 0 };
    let data = [low, high];
    // SAFETY: header and data have the form of version 3 and outlive the call.
    let done = unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) };
    if done == 0 {
        Ok(())
    } else {
        Err(Failure::Call { what: "give up capabilities".to_owned(), source: io::Error::last_os_error() })
    }
}

fn call(what: &str) -> impl Fn(nix::Error) -> Failure + '_ {
    move |e| Failure::Call { what: what.to_owned(), source: e.into() }
}
