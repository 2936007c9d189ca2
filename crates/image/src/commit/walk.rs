//! Reads a container's writable layer as an archive: names in order, so that the same files give the same bytes.
//!
//! The container may go on writing meanwhile. So each name is opened without following links and looked at again once open,
//! and what has gone by then is left out.

use super::{
    attributes::{self, Attributes},
    sparse::{self, Pieces},
    write::{Archive, Meta},
};
use crate::{
    error::{Error, Result},
    name::{self, Role},
};
use driver::image::IdRange;
use nix::{
    dir::Dir,
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
};
use std::{
    collections::HashMap,
    ffi::OsStr,
    fs::File,
    io::{self, Write},
    os::{
        fd::{AsFd as _, BorrowedFd, OwnedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
};
use tar::EntryType;

/// Deepest nesting of directories: each level holds a file descriptor.
const DEEPEST: usize = 250;
const OPEN: OFlag = OFlag::O_RDONLY.union(OFlag::O_NOFOLLOW).union(OFlag::O_NONBLOCK).union(OFlag::O_CLOEXEC);

/// Writes everything below `root`. Says how many names had to be left out.
pub fn archive(root: &File, ids: Option<IdRange>, out: impl Write) -> Result<u64> {
    let mut walk = Walk { out: Archive::new(out), ids, links: HashMap::new(), left_out: 0 };
    walk.directory(root.as_fd(), (b"", 0))?;
    walk.out.finish().map_err(|source| Error::Io { what: "handing on what was read".to_owned(), source })?;
    Ok(walk.left_out)
}

struct Walk<W> {
    out: Archive<W>,
    ids: Option<IdRange>,
    /// First name of each file that has several, by its number.
    links: HashMap<u64, Vec<u8>>,
    left_out: u64,
}

/// A name in an open directory.
struct Place<'a> {
    dir: BorrowedFd<'a>,
    name: &'a OsStr,
    /// From the root.
    path: Vec<u8>,
    depth: usize,
}

impl Place<'_> {
    fn failed(&self, doing: &str) -> impl Fn(io::Error) -> Error {
        let what = format!("cannot {doing} {} of the container", self.path.escape_ascii());
        move |source| Error::Io { what: what.clone(), source }
    }

    /// None when it is not there any more, or something else.
    fn open(&self, kind: OFlag) -> Result<Option<OwnedFd>> {
        match openat(self.dir, self.name, OPEN | kind, Mode::empty()) {
            Ok(opened) => Ok(Some(opened)),
            Err(Errno::ENOENT | Errno::ENOTDIR | Errno::ELOOP | Errno::ENXIO) => Ok(None),
            Err(error) => Err(self.failed("open")(error.into())),
        }
    }
}

impl<W: Write> Walk<W> {
    fn directory(&mut self, dir: BorrowedFd<'_>, (path, depth): (&[u8], usize)) -> Result<()> {
        let shown = path.escape_ascii();
        if depth > DEEPEST {
            return Err(Error::request(format!("the container has directories more than {DEEPEST} deep at {shown}")));
        }
        let listed = names(dir).map_err(|source| Error::Io { what: format!("cannot list /{shown} of the container"), source })?;
        for name in &listed {
            let path = if path.is_empty() { name.clone() } else { [path, b"/", name].concat() };
            self.entry(&Place { dir, name: OsStr::from_bytes(name), path, depth })?;
        }
        Ok(())
    }

    fn entry(&mut self, place: &Place<'_>) -> Result<()> {
        let stat = match fstatat(place.dir, place.name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::ENOENT) => return Ok(()),
            Err(error) => return Err(place.failed("look at")(error.into())),
        };
        // A name that means something else in layers.
        if !matches!(name::role(place.name.as_bytes()), Ok(Role::Ordinary)) {
            self.left_out += 1;
            return Ok(());
        }
        let kind = SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT;
        match kind {
            SFlag::S_IFCHR if stat.st_rdev == 0 => self.whiteout(place),
            SFlag::S_IFDIR => self.below(place),
            SFlag::S_IFREG | SFlag::S_IFLNK | SFlag::S_IFIFO if self.linked(place, &stat)? => Ok(()),
            SFlag::S_IFREG => self.file(place),
            SFlag::S_IFLNK => self.symlink(place, &stat),
            SFlag::S_IFIFO => self.plain(place, EntryType::Fifo, &meta(place.path.clone(), &stat, self.ids)),
            // Sockets belong to programs that run, and images may not bring devices.
            _ => {
                self.left_out += 1;
                Ok(())
            }
        }
    }

    fn plain(&mut self, place: &Place<'_>, kind: EntryType, meta: &Meta) -> Result<()> {
        self.out.plain(kind, meta).map_err(place.failed("hand on"))
    }

    /// Hides the name in lower layers.
    fn whiteout(&mut self, place: &Place<'_>) -> Result<()> {
        let (dir, last) = name::split(&place.path);
        let hidden = [b".wh.", last].concat();
        let path = if dir.is_empty() { hidden } else { [dir, b"/", &hidden].concat() };
        self.plain(place, EntryType::Regular, &Meta { path, ..Meta::default() })
    }

    fn below(&mut self, place: &Place<'_>) -> Result<()> {
        let Some(opened) = place.open(OFlag::O_DIRECTORY)? else { return Ok(()) };
        let stat = fstat(&opened).map_err(|e| place.failed("look at")(e.into()))?;
        let found = self.attributes(place, opened.as_fd())?;
        let path = [&place.path[..], b"/"].concat();
        let meta = Meta { xattrs: found.kept, ..meta(path.clone(), &stat, self.ids) };
        self.plain(place, EntryType::Directory, &meta)?;
        if found.opaque {
            let path = [&path[..], b".wh..wh..opq"].concat();
            self.plain(place, EntryType::Regular, &Meta { path, ..Meta::default() })?;
        }
        self.directory(opened.as_fd(), (&place.path, place.depth + 1))
    }

    /// A further name of a file that has been written.
    fn linked(&mut self, place: &Place<'_>, stat: &FileStat) -> Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let Some(first) = self.links.get(&stat.st_ino).cloned() else { return Ok(false) };
        let meta = Meta { link: first, ..meta(place.path.clone(), stat, self.ids) };
        self.plain(place, EntryType::Link, &meta).map(|()| true)
    }

    fn file(&mut self, place: &Place<'_>) -> Result<()> {
        let Some(opened) = place.open(OFlag::empty())? else { return Ok(()) };
        let stat = fstat(&opened).map_err(|e| place.failed("look at")(e.into()))?;
        if SFlag::from_bits_truncate(stat.st_mode) & SFlag::S_IFMT != SFlag::S_IFREG {
            return Ok(());
        }
        let found = self.attributes(place, opened.as_fd())?;
        if found.whiteout && stat.st_size == 0 {
            return self.whiteout(place);
        }
        self.remember(place, &stat);
        let meta = Meta { xattrs: found.kept, ..meta(place.path.clone(), &stat, self.ids) };
        let (file, size) = (File::from(opened), u64::try_from(stat.st_size).unwrap_or_default());
        let pieces = sparse::pieces(&file, size).map_err(place.failed("look for holes in"))?;
        match pieces {
            Some(pieces) => {
                let data = Pieces { file: &file, pieces: &pieces, done: 0 };
                self.out.sparse(&meta, (&pieces, size), data)
            }
            None => {
                let whole = [(0, size)];
                self.out.file(&meta, size, Pieces { file: &file, pieces: &whole, done: 0 })
            }
        }
        .map_err(place.failed("read"))
    }

    fn symlink(&mut self, place: &Place<'_>, stat: &FileStat) -> Result<()> {
        let link = match readlinkat(place.dir, place.name) {
            Ok(link) => link.into_vec(),
            Err(Errno::ENOENT | Errno::EINVAL) => return Ok(()),
            Err(error) => return Err(place.failed("read the link")(error.into())),
        };
        self.remember(place, stat);
        self.plain(place, EntryType::Symlink, &Meta { link, ..meta(place.path.clone(), stat, self.ids) })
    }

    fn remember(&mut self, place: &Place<'_>, stat: &FileStat) {
        if stat.st_nlink > 1 {
            self.links.entry(stat.st_ino).or_insert_with(|| place.path.clone());
        }
    }

    fn attributes(&self, place: &Place<'_>, file: BorrowedFd<'_>) -> Result<Attributes> {
        let found = attributes::read(file, self.ids).map_err(place.failed("read the attributes of"))?;
        match found.incomplete {
            None => Ok(found),
            Some(why) => Err(Error::request(format!(
                "{} of the container is only part of a file (overlay's {why}): turn that feature of the kernel's overlay off",
                place.path.escape_ascii()
            ))),
        }
    }
}

fn meta(path: Vec<u8>, stat: &FileStat, ids: Option<IdRange>) -> Meta {
    Meta {
        path,
        mode: stat.st_mode & 0o7777,
        uid: attributes::id(stat.st_uid, ids),
        gid: attributes::id(stat.st_gid, ids),
        mtime: (stat.st_mtime, u32::try_from(stat.st_mtime_nsec).unwrap_or_default()),
        ..Meta::default()
    }
}

/// Names in a directory, in order of their bytes.
fn names(dir: BorrowedFd<'_>) -> io::Result<Vec<Vec<u8>>> {
    let mut listing = Dir::openat(dir, ".", OPEN | OFlag::O_DIRECTORY, Mode::empty())?;
    let mut names = Vec::new();
    for entry in listing.iter() {
        let name = entry?.file_name().to_bytes().to_vec();
        if name != b"." && name != b".." {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}
