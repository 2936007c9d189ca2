//! Where everything of one sandbox lies: its directory, its files, its lock, the names of its control groups and links.

use crate::error::{Result, SandboxError};
use nix::fcntl::{Flock, FlockArg};
use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

/// Servers that fit on the underlay: 10.200.0.1 to .250; .254 is the switch.
pub const MAX_SERVERS: u16 = 250;
/// How long one command waits for another to end its work on the same sandbox.
const LOCK_WAIT: Duration = Duration::from_secs(60);
/// Where servers have something of their own, so that a binary there would be hidden.
const HIDDEN: [&str; 5] = ["/run", "/proc", "/sys", "/dev/shm", "/var/lib/roost"];

/// Which sandbox, where, and made of which binary.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its name: several can be up at once, with the same addresses.
    pub name: String,
    /// The directory that sandboxes live in; made if it is missing, removed with the last sandbox.
    pub base_dir: PathBuf,
    /// The `roost` binary, which servers see at the same path.
    pub binary: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            name: "default".to_owned(),
            base_dir: DEFAULT_BASE.into(),
            binary: std::env::current_exe().unwrap_or_else(|_| "roost".into()),
        }
    }
}

/// The base directory when nobody says another.
const DEFAULT_BASE: &str = "/var/lib/roost-sandbox";

/// Paths and names of one sandbox. Nothing here touches the disk, [`Layout::lock`] excepted.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The sandbox's name.
    pub name: String,
    /// The directory of all sandboxes.
    pub base: PathBuf,
    /// The directory of this one.
    pub dir: PathBuf,
    /// Its control group, relative to the root of each hierarchy.
    pub cgroup: String,
}

impl Layout {
    /// The layout of a sandbox of this name, if it is a name.
    pub fn new(name: &str, base: &Path) -> Result<Self> {
        api::name::Name::parse("sandbox", name).map_err(SandboxError::Name)?;
        let base = std::path::absolute(base).map_err(SandboxError::io(format!("find {}", base.display())))?;
        let dir = base.join(name);
        Ok(Self { name: name.to_owned(), cgroup: cgroup_name(name, &base), base, dir })
    }

    /// The directory of one server.
    pub fn server(&self, server: &str) -> PathBuf {
        self.dir.join(server)
    }

    /// The state file.
    pub fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    /// The control group of a member (a server, or `switch`), relative to the root of each hierarchy.
    pub fn group(&self, member: &str) -> String {
        format!("{}/{member}", self.cgroup)
    }

    fn lock_file(&self) -> PathBuf {
        // Beside the directory, so that the directory can go while the lock is held.
        self.base.join(format!(".{}.lock", self.name))
    }

    /// Takes the sandbox for this command alone; makes the base directory.
    pub fn lock(&self) -> Result<Lock> {
        let deadline = base::env::instant() + LOCK_WAIT;
        loop {
            if let Some(lock) = self.try_lock()? {
                return Ok(lock);
            }
            if base::env::instant() >= deadline {
                return Err(SandboxError::Busy(self.name.clone()));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn try_lock(&self) -> Result<Option<Lock>> {
        let path = self.lock_file();
        fs::create_dir_all(&self.base).map_err(SandboxError::io(format!("make {}", self.base.display())))?;
        let file = match fs::File::options().create(true).truncate(false).write(true).open(&path) {
            Ok(file) => file,
            // The last sandbox went down meanwhile and took the base directory along: make it again.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(SandboxError::io(format!("open {}", path.display()))(error)),
        };
        let Ok(file) = Flock::lock(file, FlockArg::LockExclusiveNonblock) else { return Ok(None) };
        // Whoever held it before us may have removed the file: then the lock is on nothing.
        let same = match (file.metadata(), fs::metadata(&path)) {
            (Ok(held), Ok(named)) => held.ino() == named.ino() && held.dev() == named.dev(),
            _ => false,
        };
        Ok(same.then_some(Lock { file, path }))
    }
}

/// A sandbox held by this command; let go when dropped.
pub struct Lock {
    file: Flock<fs::File>,
    path: PathBuf,
}

impl Lock {
    /// Lets go and removes the lock file: the sandbox is no more.
    pub fn remove(self) -> Result<()> {
        let removed = fs::remove_file(&self.path);
        drop(self.file);
        removed.map_err(SandboxError::io(format!("remove {}", self.path.display())))
    }
}

/// Sandboxes of one name in different base directories must not share a control group; the usual directory needs no mark.
fn cgroup_name(name: &str, base: &Path) -> String {
    if base == Path::new(DEFAULT_BASE) {
        return format!("roost-sandbox/{name}");
    }
    // FNV-1a, 32 bits: http://www.isthe.com/chongo/tech/comp/fnv/
    let hash = base
        .as_os_str()
        .as_encoded_bytes()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    format!("roost-sandbox/{name}@{hash:08x}")
}

/// Refuses a binary that servers would not see at its path.
pub fn check_binary(binary: &Path) -> Result<PathBuf> {
    let real = fs::canonicalize(binary).map_err(SandboxError::io(format!("find the binary {}", binary.display())))?;
    if HIDDEN.iter().any(|hidden| real.starts_with(hidden)) {
        return Err(SandboxError::Hidden(real));
    }
    Ok(real)
}

/// The address of the server with this index (from 1) on the underlay.
pub fn address(index: u16) -> Ipv4Addr {
    Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 200, 0, 0)) + u32::from(index))
}

/// The hardware address of that server: the same after every start, so that the neighbours' caches stay right.
/// Locally administered (second bit of the first byte, IEEE 802).
pub fn hardware_address(index: u16) -> String {
    let [high, low] = index.to_be_bytes();
    format!("02:52:53:00:{high:02x}:{low:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_name_elsewhere_has_another_control_group() {
        let usual = Layout::new("a", Path::new(DEFAULT_BASE)).unwrap();
        let other = Layout::new("a", Path::new("/tmp/x")).unwrap();
        assert_eq!(usual.cgroup, "roost-sandbox/a");
        assert_ne!(usual.cgroup, other.cgroup);
        assert_eq!(usual.group("s1"), "roost-sandbox/a/s1");
    }

    #[test]
    fn a_name_that_climbs_out_is_refused() {
        for name in ["../x", "a/b", "", "."] {
            assert!(matches!(Layout::new(name, Path::new("/tmp")), Err(SandboxError::Name(_))), "{name}");
        }
    }

    #[test]
    fn addresses_follow_the_index() {
        assert_eq!(address(1).to_string(), "10.200.0.1");
        assert_eq!(hardware_address(250), "02:52:53:00:00:fa");
    }

    #[test]
    fn the_lock_excludes_and_survives_the_removal_of_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new("a", &dir.path().join("base")).unwrap();
        let held = layout.lock().unwrap();
        assert!(layout.try_lock().unwrap().is_none());
        held.remove().unwrap();
        drop(layout.lock().unwrap());
        assert!(layout.try_lock().unwrap().is_some());
    }

    #[test]
    fn a_binary_that_servers_cannot_see_is_refused() {
        assert!(matches!(check_binary(Path::new("/proc/self/stat")), Err(SandboxError::Hidden(_))));
        assert!(check_binary(Path::new("/bin/true")).is_ok());
    }
}
