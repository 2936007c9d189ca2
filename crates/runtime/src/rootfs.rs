//! A container's root: an overlay of its image's layers and a writable layer of its own.

use crate::{
    Error, Result, idmap,
    paths::ContainerPaths,
    sys::{self, MountChange},
};
use nix::{
    fcntl::OFlag,
    mount::{MntFlags, MsFlags, umount2},
};
use std::{
    fs,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::fs::{chown, symlink},
    },
    path::{Component, Path, PathBuf},
};

/// Layers one image may have: the kernel's own limit for lower directories (`OVL_MAX_STACK`).
const LAYERS_MAX: usize = 500;

/// What a root is made of.
pub struct Root<'a> {
    /// Lowest first.
    pub layers: &'a [PathBuf],
    /// Where its directories lie.
    pub paths: &'a ContainerPaths,
    /// Owners are shifted by this user namespace.
    pub shifted: Option<BorrowedFd<'a>>,
}

impl Root<'_> {
    /// Mounts it on `target`. Changes the working directory of the calling thread, so that options stay short however
    /// many layers there are.
    pub fn mount(&self, target: &Path) -> Result<()> {
        self.mount_flagged(target, MsFlags::MS_NODEV)
    }

    /// As [`Root::mount`], for a whole system, which brings and makes device nodes; which of them work, its cgroup says.
    pub fn mount_with_devices(&self, target: &Path) -> Result<()> {
        self.mount_flagged(target, MsFlags::empty())
    }

    fn mount_flagged(&self, target: &Path, flags: MsFlags) -> Result<()> {
        if self.layers.is_empty() || self.layers.len() > LAYERS_MAX {
            return Err(Error::text(format!("an image has 1 to {LAYERS_MAX} layers, this one has {}", self.layers.len())));
        }
        let short = self.paths.layers();
        let _ = fs::remove_dir_all(&short);
        for directory in [&short, &self.paths.upper(), &self.paths.work(), &target.to_owned()] {
            fs::create_dir_all(directory).map_err(|e| Error::io("create", directory, e))?;
        }
        self.own_writable_layer()?;
        let names: Vec<String> = (0..self.layers.len()).map(|n| n.to_string()).collect();
        for (name, layer) in names.iter().zip(self.layers) {
            self.place(layer, &short.join(name))?;
        }
        let result = self.overlay(&names, target, flags);
        if self.shifted.is_some() {
            // The overlay holds copies of its own.
            for name in &names {
                let _ = umount2(&short.join(name), MntFlags::MNT_DETACH);
            }
        }
        result
    }

    fn overlay(&self, names: &[String], target: &Path, flags: MsFlags) -> Result<()> {
        let short = &self.paths.layers();
        nix::unistd::chdir(short).map_err(|e| Error::io("enter", short, e))?;
        // The uppermost comes first.
        let lower = names.iter().rev().cloned().collect::<Vec<_>>().join(":");
        let (upper, work) = (self.paths.upper(), self.paths.work());
        // Whatever the kernel's default: the writable layer is to be complete by itself, for it becomes a layer of images.
        let whole = "redirect_dir=off,metacopy=off";
        let options = format!("lowerdir={lower},upperdir={},workdir={},{whole}", upper.display(), work.display());
        let mounted = nix::mount::mount(Some("overlay"), target, Some("overlay"), flags, Some(options.as_str()));
        let back = nix::unistd::chdir("/");
        mounted.map_err(|e| Error::io("mount the root on", target, e))?;
        back.map_err(|e| Error::io("enter", Path::new("/"), e))
    }

    /// In a user namespace, root inside owns the top directory.
    fn own_writable_layer(&self) -> Result<()> {
        let owner = if self.shifted.is_some() { idmap::FIRST } else { 0 };
        for directory in [self.paths.upper(), self.paths.work()] {
            chown(&directory, Some(owner), Some(owner)).map_err(|e| Error::io("change the owner of", &directory, e))?;
        }
        Ok(())
    }

    /// A layer under a short name.
    fn place(&self, layer: &Path, at: &Path) -> Result<()> {
        match self.shifted {
            None => symlink(layer, at).map_err(|e| Error::io("link", at, e)),
            Some(space) => {
                fs::create_dir(at).map_err(|e| Error::io("create", at, e))?;
                shift(layer, at, space)
            }
        }
    }
}

/// Mounts `source` on `target` with owners shifted.
fn shift(source: &Path, target: &Path, space: BorrowedFd<'_>) -> Result<()> {
    let mount = sys::clone_mount(source, false)?;
    let change = MountChange { set: 0, shifted_by: Some(space) };
    sys::change_mount(mount.as_fd(), &change).map_err(|e| Error::text(format!("{}: {e}", source.display())))?;
    sys::attach_mount(mount.as_fd(), target)
}

/// A place that root inside a user namespace may reach, in our private mount namespace only: our own directories are closed
/// to everybody but root outside, and the mounts of the container are made from inside.
pub struct Stage {
    copies: Vec<(OwnedFd, bool)>,
}

/// Directories every distribution has (Filesystem Hierarchy Standard 3.0), none of which the making of a container needs.
const STAGES: [&str; 4] = ["/mnt", "/media", "/opt", "/srv"];

impl Stage {
    /// Nothing on it yet.
    pub const fn new() -> Self {
        Self { copies: Vec::new() }
    }

    /// Takes a copy of a mount, or of a directory or file as one. Gives its number.
    pub fn copy(&mut self, source: &Path) -> Result<usize> {
        self.copies.push((sys::clone_mount(source, true)?, source.is_dir()));
        Ok(self.copies.len() - 1)
    }

    /// As [`Stage::copy`], with owners shifted where the file system can: root inside then owns what root owns outside.
    pub fn copy_shifted(&mut self, source: &Path, space: BorrowedFd<'_>) -> Result<usize> {
        let change = MountChange { set: 0, shifted_by: Some(space) };
        match sys::clone_mount(source, false) {
            Ok(mount) if sys::change_mount(mount.as_fd(), &change).is_ok() => {
                self.copies.push((mount, source.is_dir()));
                Ok(self.copies.len() - 1)
            }
            _ => self.copy(source),
        }
    }

    /// Puts everything up, in a place that hides nothing of `needed`. Gives the place of each by its number.
    pub fn set_up(self, needed: &Path) -> Result<Vec<PathBuf>> {
        let free = STAGES.iter().map(Path::new).find(|stage| stage.is_dir() && !needed.starts_with(stage));
        let base =
            free.ok_or_else(|| Error::text(format!("a user namespace needs one of the directories {}", STAGES.join(", "))))?;
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        nix::mount::mount(Some("tmpfs"), base, Some("tmpfs"), flags, Some("mode=755,size=64k"))
            .map_err(|e| Error::io("mount on", base, e))?;
        let mut places = Vec::new();
        for (number, (mount, directory)) in self.copies.iter().enumerate() {
            let place = base.join(number.to_string());
            let made = if *directory { fs::create_dir(&place) } else { fs::write(&place, "") };
            made.map_err(|e| Error::io("create", &place, e))?;
            sys::attach_mount(mount.as_fd(), &place)?;
            places.push(place);
        }
        Ok(places)
    }
}

/// Makes a directory and those above it below `root`, following links as the container would.
pub fn make_directory(root: BorrowedFd<'_>, path: &Path, owner: u32) -> Result<()> {
    let mut so_far = PathBuf::from("/");
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        let parent = sys::open_in_root(root, &so_far, OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        let name = sys::c_path(Path::new(name))?;
        // SAFETY: descriptor and name live through the call.
        if unsafe { libc::mkdirat(parent.as_raw_fd(), name.as_ptr(), 0o755) } == 0 {
            // SAFETY: as above.
            unsafe { libc::fchownat(parent.as_raw_fd(), name.as_ptr(), owner, owner, libc::AT_SYMLINK_NOFOLLOW) };
        }
        so_far.push(part);
    }
    sys::open_in_root(root, &so_far, OFlag::O_PATH | OFlag::O_DIRECTORY)
        .map(drop)
        .map_err(|_| Error::text(format!("working directory {} is not a directory in the container", path.display())))
}

/// Takes away a link in the way of a file that is to be mounted: what it leads to may be anything, or not there yet.
pub fn without_link(root: BorrowedFd<'_>, path: &Path) -> Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(()) };
    let Ok(directory) = sys::open_in_root(root, directory, OFlag::O_PATH | OFlag::O_DIRECTORY) else { return Ok(()) };
    let place = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name);
    match fs::symlink_metadata(&place) {
        Ok(found) if found.is_symlink() => fs::remove_file(&place).map_err(|e| Error::io("remove the link", path, e)),
        _ => Ok(()),
    }
}

/// A mount namespace of our own, so that what we mount ends with the container's last process.
pub fn private_mounts() -> Result<()> {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).map_err(|e| Error::call("make a mount namespace", e))?;
    let flags = MsFlags::MS_REC | MsFlags::MS_SLAVE;
    nix::mount::mount(None::<&str>, "/", None::<&str>, flags, None::<&str>).map_err(|e| Error::call("make mounts private", e))
}

/// Lets go of the namespaces of all pods that are mounted beside this one's, in our mount namespace only: what makes a container reads
/// its mounts many times, and copies them. That they cannot be let go of costs no more than that.
pub fn let_go_of_namespaces(netns: &Path) {
    if let Some(directory) = netns.parent() {
        let _ = nix::mount::umount2(directory, nix::mount::MntFlags::MNT_DETACH);
    }
}

/// Mount points at or below `directory`, deepest first.
pub fn mounts_below(directory: &Path) -> Vec<PathBuf> {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let mut all: Vec<PathBuf> = text
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .map(|point| PathBuf::from(unescape(point)))
        .filter(|point| point.starts_with(directory))
        .collect();
    all.reverse();
    all
}

/// The kernel writes blank, tab, line feed and backslash as octal numbers.
fn unescape(text: &str) -> String {
    text.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\")
}

/// Takes off every mount at or below `directory` in our mount namespace.
pub fn unmount_below(directory: &Path) -> Result<()> {
    for point in mounts_below(directory) {
        umount2(&point, MntFlags::MNT_DETACH).map_err(|e| Error::io("unmount", &point, e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_made_inside_even_through_links() {
        let top = tempfile::tempdir().unwrap();
        let root = top.path().join("root");
        fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("link")).unwrap();
        symlink("../../..", root.join("out")).unwrap();
        let directory = sys::open_directory(&root).unwrap();
        make_directory(directory.as_fd(), Path::new("/link/a/b"), 0).unwrap();
        assert!(root.join("real/a/b").is_dir());
        make_directory(directory.as_fd(), Path::new("/out/etc-x/y"), 0).unwrap();
        assert!(root.join("etc-x/y").is_dir(), "a link out of the root ends at the root");
    }

    #[test]
    fn a_link_in_the_way_goes_and_a_file_stays() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir(top.path().join("etc")).unwrap();
        symlink("../run/systemd/resolve/stub-resolv.conf", top.path().join("etc/resolv.conf")).unwrap();
        fs::write(top.path().join("etc/hosts"), "").unwrap();
        let directory = sys::open_directory(top.path()).unwrap();
        for file in ["/etc/resolv.conf", "/etc/hosts", "/etc/none", "/none/none"] {
            without_link(directory.as_fd(), Path::new(file)).unwrap();
        }
        assert!(!top.path().join("etc/resolv.conf").is_symlink() && top.path().join("etc/hosts").is_file());
    }

    #[test]
    fn a_file_in_the_way_is_said() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("file"), "").unwrap();
        let directory = sys::open_directory(root.path()).unwrap();
        assert!(make_directory(directory.as_fd(), Path::new("/file"), 0).is_err());
    }
}
