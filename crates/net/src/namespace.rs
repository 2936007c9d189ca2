//! Network namespaces that outlive who made them: each is held by a bind mount on a file.

use crate::{
    error::{Error, Result},
    netlink::Netlink,
    sysctl,
};
use nix::{
    errno::Errno,
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, setns, unshare},
    sys::statfs::{NSFS_MAGIC, fstatfs},
};
use std::{
    collections::BTreeSet,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    thread,
};

/// A namespace and a socket in it.
pub struct Namespace {
    /// Keeps it, and names it to the kernel.
    pub file: File,
    /// Speaks to the kernel inside it.
    pub netlink: Netlink,
    /// It was made just now.
    pub new: bool,
}

/// Buckets of a pod's own table of TCP sockets. The kernel lists a namespace's sockets by walking its whole table, which by default is
/// that of the machine with a quarter of a million buckets: tens of milliseconds. This many are walked in a tenth of one,
/// take 128 KiB, and serve tens of thousands of connections.
const SOCKET_BUCKETS: &str = "16384";
/// The last group that `ping_group_range` takes (icmp(7)).
const GROUPS_MAX: u32 = 2_147_483_647;

/// A namespace that others are made from: only there is it said how large their tables are.
pub struct Mother {
    file: Option<File>,
    /// Directories that hold namespaces and have been seen to be mounts of their own. Locked while one is made one: a second mount
    /// would hide the namespaces that are mounted on the first.
    held: Mutex<BTreeSet<PathBuf>>,
}

impl Mother {
    /// Makes one. A kernel before 6.1 has no such setting; then pods share the machine's table.
    pub fn new() -> Result<Self> {
        let failed = |e: io::Error| Error::kernel("make a network namespace", e);
        on_own_thread(|| {
            unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed(e.into()))?;
            if fs::write("/proc/sys/net/ipv4/tcp_child_ehash_entries", SOCKET_BUCKETS).is_err() {
                return Ok(Self { file: None, held: Mutex::default() });
            }
            let file = File::open("/proc/thread-self/ns/net").map_err(failed)?;
            Ok(Self { file: Some(file), held: Mutex::default() })
        })
    }
}

/// The namespace held at `path`, made if it is not there.
pub fn ensure(path: &Path, mother: &Mother) -> Result<Namespace> {
    if let Some(file) = open(path)? {
        let netlink = inside(&file, Netlink::open)?;
        return Ok(Namespace { file, netlink, new: false });
    }
    let netlink = create(path, mother)?;
    let file = open(path)?.ok_or_else(|| Error::kernel(format!("open {}", path.display()), io::Error::from(Errno::ENOENT)))?;
    Ok(Namespace { file, netlink, new: true })
}

/// The namespace held at `path`; None if there is no file, or only a plain one whose mount is gone.
pub fn open(path: &Path) -> Result<Option<File>> {
    let failed = |e: io::Error| Error::kernel(format!("open {}", path.display()), e);
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let kind = fstatfs(&file).map_err(|e| failed(e.into()))?.filesystem_type();
    Ok((kind == NSFS_MAGIC).then_some(file))
}

/// Makes a namespace and holds it at `path`.
fn create(path: &Path, mother: &Mother) -> Result<Netlink> {
    let failed = |e: io::Error| Error::kernel(format!("make a network namespace at {}", path.display()), e);
    if let Some(directory) = path.parent() {
        let mut held = mother.held.lock().unwrap_or_else(PoisonError::into_inner);
        if !held.contains(directory) {
            fs::create_dir_all(directory).and_then(|()| hold(directory)).map_err(failed)?;
            held.insert(directory.to_owned());
        }
    }
    File::create(path).map_err(failed)?;
    let made = on_own_thread(|| {
        if let Some(mother) = &mother.file {
            setns(mother, CloneFlags::CLONE_NEWNET).map_err(|e| failed(e.into()))?;
        }
        unshare(CloneFlags::CLONE_NEWNET).map_err(|e| failed(e.into()))?;
        // Programs that are not root may listen on port 80 in a namespace that is theirs alone, as in docker (ip-sysctl, kernel docs).
        sysctl::ensure("net/ipv4/ip_unprivileged_port_start", 0)?;
        // And root of a user namespace, who holds no power over the network, may ping, as in docker.
        sysctl::ensure_range("net/ipv4/ping_group_range", (0, GROUPS_MAX))?;
        let netlink = Netlink::open()?;
        mount(Some("/proc/thread-self/ns/net"), path, None::<&str>, MsFlags::MS_BIND, None::<&str>)
            .map_err(|e| failed(e.into()))?;
        Ok(netlink)
    });
    if made.is_err() {
        // Best effort: the error that is told is the first.
        let _ = fs::remove_file(path);
    }
    made
}

/// Makes the directory a mount of its own, so that who starts a container can let go of all the namespaces in it at once: else each start
/// reads and copies the mounts of all pods there are. One with something in it stays as it is.
fn hold(directory: &Path) -> io::Result<()> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let held = mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| Path::new(point) == directory));
    if held || fs::read_dir(directory)?.next().is_some() {
        return Ok(());
    }
    mount(Some(directory), directory, None::<&str>, MsFlags::MS_BIND, None::<&str>)?;
    Ok(mount(None::<&str>, directory, None::<&str>, MsFlags::MS_PRIVATE, None::<&str>)?)
}

/// Lets go of the namespace held at `path`. Nothing there is fine.
pub fn remove(path: &Path) -> Result<()> {
    let failed = |e: io::Error| Error::kernel(format!("remove {}", path.display()), e);
    match umount2(path, MntFlags::MNT_DETACH) {
        Ok(()) | Err(Errno::EINVAL | Errno::ENOENT) => {}
        Err(e) => return Err(failed(e.into())),
    }
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(failed(e)),
        _ => Ok(()),
    }
}

/// Runs `work` on a thread that has entered the namespace.
pub fn inside<T: Send>(namespace: &File, work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    on_own_thread(|| {
        setns(namespace, CloneFlags::CLONE_NEWNET).map_err(|e| Error::kernel("enter a network namespace", e))?;
        work()
    })
}

/// Runs `work` on a thread of its own, which may change its namespace without harm to anybody.
fn on_own_thread<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    thread::scope(|scope| {
        let thread = thread::Builder::new().name("netns".into()).spawn_scoped(scope, work);
        let ended = thread.map_err(|e| Error::kernel("start a thread", e))?.join();
        ended.unwrap_or_else(|_| Err(Error::kernel("work in a network namespace", io::Error::other("the thread panicked"))))
    })
}
