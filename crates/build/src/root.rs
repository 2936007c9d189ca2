//! The root file system of a stage: what steps look at and change in it. No path leads out of it (`base::root`).

use crate::error::{Error, Result, about};
pub use base::root::relative;
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat},
    unistd::{Gid, Uid, fchown},
};
use std::{
    ffi::OsString,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
};

/// Most links that are followed in one path (path_resolution(7)).
const LINKS_MAX: u32 = 40;

/// Who owns what is made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

/// The kind of a file.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT
}

/// Is it a directory?
pub fn is_directory(stat: &FileStat) -> bool {
    kind(stat) == SFlag::S_IFDIR
}

/// A directory that is `/` to every path.
pub struct Root(base::root::Root);

impl Root {
    /// Opens it.
    pub fn open(path: &Path) -> Result<Self> {
        base::root::Root::open(path).map(Self).map_err(Error::errno(about("open", path)))
    }

    /// Opens something in it; links are followed, within it.
    pub fn open_in(&self, path: &Path, flags: OFlag) -> nix::Result<OwnedFd> {
        self.0.open_in(path, flags)
    }

    /// A directory in it, to be listed.
    pub fn directory(&self, path: &Path) -> nix::Result<OwnedFd> {
        self.open_in(path, OFlag::O_RDONLY | OFlag::O_DIRECTORY)
    }

    /// What a path leads to; None when nothing is there.
    pub fn look(&self, path: &Path) -> Result<Option<FileStat>> {
        match self.open_in(path, OFlag::O_PATH) {
            Ok(found) => fstat(&found).map(Some).map_err(Error::errno(about("look at", path))),
            Err(Errno::ENOENT | Errno::ENOTDIR) => Ok(None),
            Err(error) => Err(Error::errno(about("look at", path))(error)),
        }
    }

    /// Where a path leads to once every link in it is followed; what is not there is taken as it is written.
    pub fn resolve(&self, path: &Path) -> Result<PathBuf> {
        let mut rest: Vec<OsString> = path.iter().rev().map(OsString::from).collect();
        let (mut so_far, mut links) = (PathBuf::new(), 0);
        while let Some(part) = rest.pop() {
            if part == ".." {
                so_far.pop();
                continue;
            }
            let next = so_far.join(&part);
            match self.link(&next) {
                None => so_far = next,
                Some(_) if links == LINKS_MAX => {
                    return Err(Error::Wrong(format!("the links of /{} go round in a circle", path.display())));
                }
                Some(target) => {
                    links += 1;
                    if target.is_absolute() {
                        so_far = PathBuf::new();
                    }
                    let parts = target.components().rev().filter_map(|part| match part {
                        Component::Normal(part) => Some(part.to_owned()),
                        Component::ParentDir => Some("..".into()),
                        _ => None,
                    });
                    rest.extend(parts);
                }
            }
        }
        Ok(so_far)
    }

    /// What a link says; None for what is none. Links before the last part are the caller's to have resolved.
    fn link(&self, path: &Path) -> Option<PathBuf> {
        let parent = self.open_in(path.parent()?, OFlag::O_PATH | OFlag::O_DIRECTORY).ok()?;
        readlinkat(&parent, path.file_name()?).ok().map(PathBuf::from)
    }

    /// The directory a path lies in, and its name there.
    pub fn parent<'a>(&self, path: &'a Path) -> Result<(OwnedFd, &'a std::ffi::OsStr)> {
        let name = path.file_name().ok_or_else(|| Error::Wrong("the root itself cannot be replaced".to_owned()))?;
        let parent = path.parent().unwrap_or(Path::new(""));
        let opened = self.open_in(parent, OFlag::O_PATH | OFlag::O_DIRECTORY);
        Ok((opened.map_err(Error::errno(about("open", parent)))?, name))
    }

    /// Makes a directory and those above it, as far as they are missing. New ones get this owner.
    pub fn make_directories(&self, path: &Path, owner: Ids) -> Result<OwnedFd> {
        let mut so_far = PathBuf::new();
        for part in path.iter() {
            let next = so_far.join(part);
            match self.directory(&next) {
                Ok(_) => {}
                Err(Errno::ENOENT) => {
                    let parent = self.directory(&so_far).map_err(Error::errno(about("open", &so_far)))?;
                    make_directory(parent.as_fd(), part, owner).map_err(|error| match error {
                        Errno::EEXIST => Error::Wrong(format!("/{} is a link that leads nowhere", next.display())),
                        error => Error::errno(about("make", &next))(error),
                    })?;
                }
                Err(Errno::ENOTDIR) => return Err(Error::Wrong(format!("/{} is not a directory", next.display()))),
                Err(error) => return Err(Error::errno(about("open", &next))(error)),
            }
            so_far = next;
        }
        self.directory(path).map_err(Error::errno(about("open", path)))
    }
}

/// Permissions of directories nobody says anything about.
const DIRECTORY: u32 = 0o755;

fn make_directory(parent: BorrowedFd<'_>, name: &std::ffi::OsStr, owner: Ids) -> nix::Result<()> {
    mkdirat(parent, name, Mode::from_bits_truncate(DIRECTORY))?;
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let made = nix::fcntl::openat(parent, name, flags, Mode::empty())?;
    fchown(&made, Some(Uid::from_raw(owner.uid)), Some(Gid::from_raw(owner.gid)))?;
    // The process's mask may have taken some away.
    fchmod(&made, Mode::from_bits_truncate(DIRECTORY))
}

/// What a name in an open directory is; links are not followed.
pub fn look_at(directory: BorrowedFd<'_>, name: &std::ffi::OsStr) -> nix::Result<Option<FileStat>> {
    match fstatat(directory, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    fn own() -> Ids {
        Ids { uid: nix::unistd::geteuid().as_raw(), gid: nix::unistd::getegid().as_raw() }
    }

    #[test]
    fn links_lead_nowhere_else() {
        let top = tempfile::tempdir().unwrap();
        fs::write(top.path().join("secret"), "x").unwrap();
        let inside = top.path().join("root");
        fs::create_dir_all(inside.join("etc")).unwrap();
        symlink("/secret", inside.join("absolute")).unwrap();
        symlink("../../../secret", inside.join("etc/climbing")).unwrap();
        symlink("/etc", inside.join("conf")).unwrap();
        fs::write(inside.join("etc/hosts"), "h").unwrap();
        let root = Root::open(&inside).unwrap();
        assert!(root.look(Path::new("absolute")).unwrap().is_none());
        assert!(root.look(Path::new("etc/climbing")).unwrap().is_none());
        assert!(root.look(Path::new("conf/hosts")).unwrap().is_some());
        root.make_directories(Path::new("conf/a/b"), own()).unwrap();
        assert!(inside.join("etc/a/b").is_dir());
        let says = |path: &str| root.make_directories(Path::new(path), own()).unwrap_err().to_string();
        assert_eq!(says("etc/hosts/x"), "/etc/hosts is not a directory");
        assert_eq!(says("absolute/x"), "/absolute is a link that leads nowhere");
        assert!(!top.path().join("secret/x").exists());
    }

    #[test]
    fn where_paths_lead_to() {
        let top = tempfile::tempdir().unwrap();
        fs::create_dir_all(top.path().join("usr/lib")).unwrap();
        for (link, to) in [("lib", "usr/lib"), ("usr/up", "../../.."), ("resolv", "/run/x/resolv"), ("a", "b"), ("b", "a")] {
            symlink(to, top.path().join(link)).unwrap();
        }
        let root = Root::open(top.path()).unwrap();
        let leads = |path: &str| root.resolve(Path::new(path)).unwrap();
        assert_eq!(leads("lib/x/y"), Path::new("usr/lib/x/y"));
        assert_eq!(leads("usr/up/etc"), Path::new("etc"));
        assert_eq!(leads("resolv"), Path::new("run/x/resolv"));
        assert!(root.resolve(Path::new("a/c")).unwrap_err().to_string().contains("circle"));
    }
}
