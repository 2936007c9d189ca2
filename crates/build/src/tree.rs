//! Trees of files: listed, hashed, and copied with all that belongs to them: owners, permissions, times, attributes, links, holes.

use crate::{
    error::{Error, Result, about},
    root::{Ids, Root, is_directory, kind, look_at},
};
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::{
        stat::{FileStat, Mode, SFlag, UtimensatFlags, fchmod, fstat, futimens, mkdirat, mknodat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, UnlinkatFlags, Whence, fchown, fchownat, linkat, lseek, symlinkat, unlinkat},
};
use recipe::Ignore;
use sha2::{Digest as _, Sha256};
use std::{
    collections::HashMap,
    ffi::{CString, OsStr, OsString},
    fs::File,
    io::{self, Read as _, Seek as _, SeekFrom},
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
};

/// Deepest nesting of directories.
const DEEPEST: usize = 250;
const READ: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);
/// Permission bits.
const PERMISSIONS: u32 = 0o7777;
/// Longest list of names of attributes, and longest value (XATTR_LIST_MAX, XATTR_SIZE_MAX in limits.h).
const LONGEST: usize = 64 << 10;

/// Names in a directory, in order of their bytes.
pub fn names(directory: BorrowedFd<'_>, shown: &Path) -> Result<Vec<OsString>> {
    let listed = || -> nix::Result<Vec<OsString>> {
        let mut listing = Dir::openat(directory, ".", READ | OFlag::O_DIRECTORY, Mode::empty())?;
        let mut names = Vec::new();
        for entry in listing.iter() {
            let name = OsString::from_vec(entry?.file_name().to_bytes().to_vec());
            if name != "." && name != ".." {
                names.push(name);
            }
        }
        names.sort_unstable();
        Ok(names)
    };
    listed().map_err(Error::errno(about("list", shown)))
}

fn open_at(directory: BorrowedFd<'_>, name: &OsStr, kind: OFlag, shown: &Path) -> Result<OwnedFd> {
    openat(directory, name, READ | kind, Mode::empty()).map_err(Error::errno(about("open", shown)))
}

fn too_deep(shown: &Path) -> Error {
    Error::Wrong(format!("{} lies more than {DEEPEST} directories deep", shown.display()))
}

/// Takes a tree into a digest: names, kinds, permissions and content; not times, and owners only if they count.
pub struct Hashing<'a> {
    hash: Sha256,
    ignore: &'a Ignore,
    owners: bool,
}

impl<'a> Hashing<'a> {
    /// Without what is ignored, seen from the directory that is copied.
    pub fn new(ignore: &'a Ignore, owners: bool) -> Self {
        Self { hash: Sha256::new(), ignore, owners }
    }

    /// The digest.
    pub fn finish(self) -> String {
        hex::encode(self.hash.finalize())
    }

    fn text(&mut self, text: &[u8]) {
        self.hash.update((text.len() as u64).to_be_bytes());
        self.hash.update(text);
    }

    /// A file or a whole directory, under this name. The last link of the path is followed.
    pub fn add(&mut self, root: &Root, path: &Path) -> Result<()> {
        let opened = root.open_in(path, OFlag::O_RDONLY | OFlag::O_NONBLOCK).map_err(Error::errno(about("open", path)))?;
        let stat = fstat(&opened).map_err(Error::errno(about("look at", path)))?;
        self.text(path.as_os_str().as_bytes());
        if is_directory(&stat) { self.directory(opened.as_fd(), Path::new(""), &stat, 0) } else { self.file(opened, path, &stat) }
    }

    fn facts(&mut self, stat: &FileStat) {
        self.hash.update(stat.st_mode.to_be_bytes());
        if self.owners {
            self.hash.update(stat.st_uid.to_be_bytes());
            self.hash.update(stat.st_gid.to_be_bytes());
        }
    }

    fn attributes(&mut self, file: BorrowedFd<'_>, shown: &Path) -> Result<()> {
        for (name, value) in attributes(file).map_err(Error::io(about("read the attributes of", shown)))? {
            self.text(name.to_bytes());
            self.text(&value);
        }
        Ok(())
    }

    fn directory(&mut self, directory: BorrowedFd<'_>, path: &Path, stat: &FileStat, depth: usize) -> Result<()> {
        if depth > DEEPEST {
            return Err(too_deep(path));
        }
        self.facts(stat);
        self.attributes(directory, path)?;
        for name in names(directory, path)? {
            let inner = path.join(&name);
            if self.ignore.ignores(&inner.to_string_lossy()) && !is_kept_below(self.ignore, directory, &name) {
                continue;
            }
            let Some(stat) = look_at(directory, &name).map_err(Error::errno(about("look at", &inner)))? else { continue };
            self.text(name.as_bytes());
            match kind(&stat) {
                SFlag::S_IFDIR => {
                    let opened = open_at(directory, &name, OFlag::O_DIRECTORY, &inner)?;
                    self.directory(opened.as_fd(), &inner, &stat, depth + 1)?;
                }
                SFlag::S_IFREG => self.file(open_at(directory, &name, OFlag::empty(), &inner)?, &inner, &stat)?,
                SFlag::S_IFLNK => {
                    let link = readlinkat(directory, name.as_os_str()).map_err(Error::errno(about("read", &inner)))?;
                    self.text(link.as_bytes());
                    self.facts(&stat);
                }
                _ => self.facts(&stat),
            }
        }
        self.text(b"..");
        Ok(())
    }

    fn file(&mut self, file: OwnedFd, shown: &Path, stat: &FileStat) -> Result<()> {
        self.facts(stat);
        self.attributes(file.as_fd(), shown)?;
        self.hash.update(stat.st_size.to_be_bytes());
        let mut file = File::from(file);
        io::copy(&mut file, &mut Sink(&mut self.hash)).map_err(Error::io(about("read", shown))).map(drop)
    }
}

struct Sink<'a>(&'a mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A directory that is ignored may have files in it that are not.
fn is_kept_below(ignore: &Ignore, directory: BorrowedFd<'_>, name: &OsStr) -> bool {
    let directory = matches!(look_at(directory, name), Ok(Some(stat)) if is_directory(&stat));
    directory && !ignore.prunes(&name.to_string_lossy())
}

/// Attributes that belong to a file wherever it is: the rest is about where it was.
fn attributes(file: BorrowedFd<'_>) -> io::Result<Vec<(CString, Vec<u8>)>> {
    let mut list = vec![0u8; LONGEST];
    // SAFETY: the buffer outlives the call, which writes at most its length.
    let length = unsafe { libc::flistxattr(file.as_raw_fd(), list.as_mut_ptr().cast(), list.len()) };
    match Errno::result(length) {
        Ok(length) => list.truncate(usize::try_from(length).unwrap_or_default()),
        Err(Errno::ENOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    }
    let mut found = Vec::new();
    for name in list.split(|byte| *byte == 0) {
        let moves = name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
            || name == b"security.capability"
            || name.starts_with(b"system.posix_acl_");
        if !moves {
            continue;
        }
        let name = CString::new(name).map_err(io::Error::other)?;
        let mut value = vec![0u8; LONGEST];
        // SAFETY: name and buffer outlive the call, which writes at most the buffer's length.
        let length = unsafe { libc::fgetxattr(file.as_raw_fd(), name.as_ptr(), value.as_mut_ptr().cast(), value.len()) };
        match Errno::result(length) {
            Ok(length) => value.truncate(usize::try_from(length).unwrap_or_default()),
            Err(Errno::ENODATA) => continue,
            Err(error) => return Err(error.into()),
        }
        found.push((name, value));
    }
    found.sort();
    Ok(found)
}

fn set_attributes(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> io::Result<()> {
    for (name, value) in attributes(from)? {
        // SAFETY: name and value outlive the call; the length is the value's.
        let done = unsafe { libc::fsetxattr(to.as_raw_fd(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
        match Errno::result(done) {
            Ok(_) | Err(Errno::ENOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// What becomes of copied files.
pub struct Copying<'a> {
    /// What is left out, seen from the directory that is copied.
    pub ignore: &'a Ignore,
    /// Whose they are; as they were when absent.
    pub owner: Option<Ids>,
    /// Their permissions; as they were when absent.
    pub mode: Option<&'a recipe::Mode>,
}

/// Copies into one root.
pub struct Copier<'a> {
    to: &'a Root,
    how: Copying<'a>,
    /// First copy of each file that has several names.
    links: HashMap<(u64, u64), PathBuf>,
}

impl<'a> Copier<'a> {
    /// Nothing copied yet.
    pub fn new(to: &'a Root, how: Copying<'a>) -> Self {
        Self { to, how, links: HashMap::new() }
    }

    /// Whose new directories are.
    pub fn owner(&self) -> Ids {
        self.how.owner.unwrap_or_default()
    }

    /// Copies what is in a directory into another, which is made if it is missing: then it is like the first one.
    pub fn content(&mut self, from: BorrowedFd<'_>, to: &Path) -> Result<()> {
        let there = self.to.look(to)?;
        match &there {
            Some(stat) if !is_directory(stat) => return Err(Error::Wrong(format!("/{} is not a directory", to.display()))),
            _ => drop(self.to.make_directories(to, self.owner())?),
        }
        self.entries(from, (Path::new(""), to), (0, false))?;
        if there.is_none() { self.finish_directory(from, to) } else { Ok(()) }
    }

    /// Makes a directory like another, without what is in it; its parent is there. One that is there stays as it is.
    pub fn like(&mut self, from: BorrowedFd<'_>, to: &Path) -> Result<()> {
        if self.to.look(to)?.is_some_and(|stat| is_directory(&stat)) {
            return Ok(());
        }
        self.make(to)?;
        self.finish_directory(from, to)
    }

    /// `unmade`: the directory is ignored itself, and made only when something in it is not.
    fn entries(&mut self, from: BorrowedFd<'_>, (seen, to): (&Path, &Path), (depth, unmade): (usize, bool)) -> Result<()> {
        if depth > DEEPEST {
            return Err(too_deep(seen));
        }
        for name in names(from, seen)? {
            let (seen, to) = (seen.join(&name), to.join(&name));
            let ignored = self.how.ignore.ignores(&seen.to_string_lossy());
            if ignored && !is_kept_below(self.how.ignore, from, &name) {
                continue;
            }
            let Some(stat) = look_at(from, &name).map_err(Error::errno(about("look at", &seen)))? else { continue };
            if unmade && !ignored {
                self.to.make_directories(to.parent().unwrap_or(Path::new("")), self.owner())?;
            }
            if !is_directory(&stat) {
                self.one(from, &name, &to)?;
                continue;
            }
            let opened = open_at(from, &name, OFlag::O_DIRECTORY, &seen)?;
            if !ignored {
                self.make(&to)?;
            }
            self.entries(opened.as_fd(), (&seen, &to), (depth + 1, ignored))?;
            if !ignored {
                self.finish_directory(opened.as_fd(), &to)?;
            }
        }
        Ok(())
    }

    /// Makes a directory whose parent is there; one that is there, also through a link, stays.
    fn make(&self, to: &Path) -> Result<()> {
        match self.to.look(to)? {
            Some(stat) if is_directory(&stat) => return Ok(()),
            Some(_) => return Err(Error::Wrong(format!("/{} is a file, and a directory is to be copied there", to.display()))),
            None => {}
        }
        let (parent, name) = self.to.parent(to)?;
        self.clear(&parent, name, to)?;
        mkdirat(&parent, name, Mode::from_bits_truncate(0o700)).map_err(Error::errno(about("make", to)))
    }

    /// Takes away a file or link that is in the way.
    fn clear(&self, parent: &OwnedFd, name: &OsStr, shown: &Path) -> Result<()> {
        match unlinkat(parent, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(Errno::EISDIR) => {
                Err(Error::Wrong(format!("/{} is a directory, and a file is to be copied there", shown.display())))
            }
            Err(error) => Err(Error::errno(about("replace", shown))(error)),
        }
    }

    /// Makes a directory that is there like another: owner, permissions, attributes, time.
    pub fn finish_directory(&self, from: BorrowedFd<'_>, to: &Path) -> Result<()> {
        let stat = fstat(from).map_err(Error::errno(about("look at", to)))?;
        let made = self.to.directory(to).map_err(Error::errno(about("open", to)))?;
        self.finish((from, &stat), made.as_fd(), to)
    }

    /// Owner, permissions, attributes, times, in this order: each is changed by the one before.
    fn finish(&self, (from, stat): (BorrowedFd<'_>, &FileStat), to: BorrowedFd<'_>, shown: &Path) -> Result<()> {
        let (uid, gid) = self.ids(stat);
        fchown(to, Some(uid), Some(gid)).map_err(Error::errno(about("give an owner to", shown)))?;
        let mode = Mode::from_bits_truncate(self.mode(stat));
        fchmod(to, mode).map_err(Error::errno(about("set the mode of", shown)))?;
        set_attributes(from, to).map_err(Error::io(about("set the attributes of", shown)))?;
        let time = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        futimens(to, &time, &time).map_err(Error::errno(about("set the time of", shown)))
    }

    fn ids(&self, stat: &FileStat) -> (Uid, Gid) {
        let ids = self.how.owner.unwrap_or(Ids { uid: stat.st_uid, gid: stat.st_gid });
        (Uid::from_raw(ids.uid), Gid::from_raw(ids.gid))
    }

    fn mode(&self, stat: &FileStat) -> u32 {
        let had = stat.st_mode & PERMISSIONS;
        self.how.mode.map_or(had, |mode| mode.apply(had, is_directory(stat)))
    }

    /// Copies one name that is no directory to a path whose parents are there.
    fn one(&mut self, from: BorrowedFd<'_>, name: &OsStr, to: &Path) -> Result<()> {
        let Some(stat) = look_at(from, name).map_err(Error::errno(about("look at", to)))? else { return Ok(()) };
        match kind(&stat) {
            SFlag::S_IFREG => self.file(open_at(from, name, OFlag::empty(), to)?, to),
            SFlag::S_IFLNK => {
                let link = readlinkat(from, name).map_err(Error::errno(about("read", to)))?;
                if self.linked(&stat, to)? { Ok(()) } else { self.symlink(&link, &stat, to) }
            }
            SFlag::S_IFIFO => self.pipe(&stat, to),
            // Sockets belong to programs that run, and images may not bring devices.
            _ => Ok(()),
        }
    }

    fn symlink(&self, link: &OsStr, stat: &FileStat, to: &Path) -> Result<()> {
        let (parent, name) = self.to.parent(to)?;
        self.clear(&parent, name, to)?;
        symlinkat(link, &parent, name).map_err(Error::errno(about("make the link", to)))?;
        self.finish_name(&parent, name, stat, to)
    }

    fn pipe(&self, stat: &FileStat, to: &Path) -> Result<()> {
        let (parent, name) = self.to.parent(to)?;
        self.clear(&parent, name, to)?;
        let mode = Mode::from_bits_truncate(self.mode(stat));
        mknodat(&parent, name, SFlag::S_IFIFO, mode, 0).map_err(Error::errno(about("make the pipe", to)))?;
        self.finish_name(&parent, name, stat, to)
    }

    fn finish_name(&self, parent: &OwnedFd, name: &OsStr, stat: &FileStat, shown: &Path) -> Result<()> {
        let (uid, gid) = self.ids(stat);
        fchownat(parent, name, Some(uid), Some(gid), AtFlags::AT_SYMLINK_NOFOLLOW)
            .map_err(Error::errno(about("give an owner to", shown)))?;
        let time = TimeSpec::new(stat.st_mtime, stat.st_mtime_nsec);
        utimensat(parent, name, &time, &time, UtimensatFlags::NoFollowSymlink)
            .map_err(Error::errno(about("set the time of", shown)))
    }

    /// A further name of something that has been copied.
    fn linked(&mut self, stat: &FileStat, to: &Path) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&(stat.st_dev, stat.st_ino)) else {
            self.links.insert((stat.st_dev, stat.st_ino), to.to_owned());
            return Ok(false);
        };
        if first == to {
            return Ok(true);
        }
        let ((from, old), (parent, new)) = (self.to.parent(first)?, self.to.parent(to)?);
        self.clear(&parent, new, to)?;
        linkat(&from, old, &parent, new, AtFlags::empty()).map_err(Error::errno(about("link", to)))?;
        Ok(true)
    }

    /// Copies an open file to a path whose parent is there.
    pub fn file(&mut self, from: OwnedFd, to: &Path) -> Result<()> {
        let stat = fstat(&from).map_err(Error::errno(about("look at", to)))?;
        if kind(&stat) != SFlag::S_IFREG {
            return Err(Error::Wrong(format!("what is to be copied to /{} is no file", to.display())));
        }
        if self.linked(&stat, to)? {
            return Ok(());
        }
        let (parent, name) = self.to.parent(to)?;
        self.clear(&parent, name, to)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let made = openat(&parent, name, flags, Mode::from_bits_truncate(0o600)).map_err(Error::errno(about("make", to)))?;
        let (mut from, mut made) = (File::from(from), File::from(made));
        data(&mut from, &mut made, stat.st_size).map_err(Error::io(about("write", to)))?;
        self.finish((from.as_fd(), &stat), made.as_fd(), to)
    }
}

/// Copies what a file holds, its holes as holes.
fn data(from: &mut File, to: &mut File, size: i64) -> io::Result<()> {
    let mut at = 0;
    while at < size {
        let begin = match lseek(&*from, at, Whence::SeekData) {
            Ok(begin) => begin,
            Err(Errno::ENXIO) => break,
            // A file system that knows nothing of holes.
            Err(_) => at,
        };
        let end = lseek(&*from, begin, Whence::SeekHole).unwrap_or(size).min(size);
        from.seek(SeekFrom::Start(begin.cast_unsigned()))?;
        to.seek(SeekFrom::Start(begin.cast_unsigned()))?;
        let length = (end - begin).cast_unsigned();
        if io::copy(&mut (&mut *from).take(length), to)? < length {
            break;
        }
        at = end;
    }
    to.set_len(size.cast_unsigned())
}

#[cfg(test)]
mod tests;
