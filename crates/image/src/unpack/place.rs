//! Where entries go: directories opened beneath the root, never through a link that leads out.

use super::Failure;
use crate::name;
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, OpenHow, ResolveFlag, open, openat2},
    sys::stat::{FileStat, Mode, SFlag, fstatat, mkdirat},
    unistd::{UnlinkatFlags, unlinkat},
};
use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
};

/// Deepest nesting that is removed when an entry takes the place of a directory.
const MAX_DEPTH: u32 = 1024;

/// Directories whose mode is known though an archive left them out: all others are 0755.
const KNOWN_MODES: [(&[u8], u32); 3] = [(b"tmp", 0o1777), (b"var/tmp", 0o1777), (b"root", 0o700)];

/// The root, and the directory used last.
pub struct Places {
    root: OwnedFd,
    last: Option<(Vec<u8>, OwnedFd)>,
}

/// Bytes as a file name.
pub fn os(name: &[u8]) -> &OsStr {
    OsStr::from_bytes(name)
}

impl Places {
    /// The root of the confined process.
    pub fn new() -> Result<Self, Failure> {
        let root = open("/", OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty());
        Ok(Self { root: root.map_err(failed("open", b"/"))?, last: None })
    }

    /// The root.
    pub fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// Something was replaced: what was known about directories may be wrong.
    pub fn forget(&mut self) {
        self.last = None;
    }

    /// The directory at a clean path; it and its parents are made when missing.
    pub fn directory(&mut self, path: &[u8]) -> Result<BorrowedFd<'_>, Failure> {
        if path.is_empty() {
            return Ok(self.root.as_fd());
        }
        if self.last.as_ref().is_none_or(|(known, _)| known != path) {
            let opened = self.open_or_make(path)?;
            self.last = Some((path.to_vec(), opened));
        }
        Ok(self.last.as_ref().map_or(self.root.as_fd(), |(_, fd)| fd.as_fd()))
    }

    /// The directory at a clean path, if there is one.
    pub fn existing(&mut self, path: &[u8]) -> Option<BorrowedFd<'_>> {
        if self.open(path).is_err() {
            return None;
        }
        self.directory(path).ok()
    }

    fn open_or_make(&self, path: &[u8]) -> Result<OwnedFd, Failure> {
        match self.open(path) {
            Err(Errno::ENOENT) => {}
            other => return other.map_err(|e| refused(path, e)),
        }
        let mut end = 0;
        for part in path.split(|b| *b == b'/') {
            end += part.len();
            let prefix = path.get(..end).unwrap_or(path);
            self.make_missing(prefix)?;
            end += 1;
        }
        self.open(path).map_err(|e| refused(path, e))
    }

    fn make_missing(&self, path: &[u8]) -> Result<(), Failure> {
        match self.open(path) {
            Ok(_) => return Ok(()),
            Err(Errno::ENOENT) => {}
            Err(e) => return Err(refused(path, e)),
        }
        let (dir, last) = name::split(path);
        let parent = self.open(dir).map_err(|e| refused(dir, e))?;
        mkdirat(&parent, os(last), Mode::from_bits_truncate(0o755)).map_err(failed("make directory", path))?;
        let known = KNOWN_MODES.iter().find(|(known, _)| *known == path);
        let mode = known.map_or(0o755, |(_, mode)| *mode);
        let made = self.open(path).map_err(|e| refused(path, e))?;
        nix::sys::stat::fchmod(&made, Mode::from_bits_truncate(mode)).map_err(failed("set the mode of", path))
    }

    /// Follows symbolic links only while they stay beneath the root: an absolute one, or one that climbs out, fails (EXDEV).
    fn open(&self, path: &[u8]) -> nix::Result<OwnedFd> {
        let path = if path.is_empty() { b"." } else { path };
        let how = OpenHow::new()
            .flags(OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        openat2(&self.root, os(path), how)
    }
}

/// What is there, if anything; links are not followed.
pub fn look(dir: BorrowedFd<'_>, name: &[u8]) -> Result<Option<FileStat>, Failure> {
    match fstatat(dir, os(name), AtFlags::AT_SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::ENOENT) => Ok(None),
        Err(e) => Err(failed("look at", name)(e)),
    }
}

/// The kind of what is there.
pub fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

/// Removes what is there, and all that is in it.
pub fn remove(dir: BorrowedFd<'_>, name: &[u8]) -> Result<(), Failure> {
    remove_to(dir, name, 0)
}

fn remove_to(dir: BorrowedFd<'_>, name: &[u8], depth: u32) -> Result<(), Failure> {
    match unlinkat(dir, os(name), UnlinkatFlags::NoRemoveDir) {
        Err(Errno::EISDIR) if depth < MAX_DEPTH => {}
        other => return other.map_err(failed("replace", name)),
    }
    let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut inside = Dir::openat(dir, os(name), flags, Mode::empty()).map_err(failed("replace", name))?;
    let mut names = Vec::new();
    for entry in inside.iter() {
        let entry = entry.map_err(failed("replace", name))?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_bytes().to_vec());
        }
    }
    for child in &names {
        remove_to(inside.as_fd(), child, depth + 1)?;
    }
    unlinkat(dir, os(name), UnlinkatFlags::RemoveDir).map_err(failed("replace", name))
}

/// An error of a call as a failure that names the entry.
pub fn failed<'a>(doing: &'a str, path: &'a [u8]) -> impl Fn(Errno) -> Failure + 'a {
    move |e| Failure::Call { what: format!("{doing} {}", path.escape_ascii()), source: e.into() }
}

/// Why a directory of the archive cannot be entered.
fn refused(path: &[u8], error: Errno) -> Failure {
    let shown = path.escape_ascii();
    match error {
        Errno::EXDEV => Failure::Refused(format!("the archive climbs out through a symbolic link: {shown} leads outside")),
        Errno::ELOOP => Failure::Refused(format!("the symbolic links of {shown} go round in a circle")),
        Errno::ENOTDIR => Failure::Refused(format!("entries lie below {shown}, which is no directory")),
        Errno::ENAMETOOLONG => Failure::Refused(format!("the name {shown} is too long")),
        error => failed("enter directory", path)(error),
    }
}
