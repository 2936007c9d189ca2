//! Out: a file or directory of a container as tar.

use super::{DEPTH_MAX, Root, failure, inside_of, relative};
use api::error::Result;
use nix::{
    dir::Dir,
    fcntl::{AtFlags, OFlag, openat, readlinkat},
    sys::stat::{FileStat, Mode, SFlag, fstat, fstatat},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read, Write},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};
use tar::{Builder, EntryType, Header};

/// What is to be packed, found.
pub struct Source {
    parent: OwnedFd,
    name: OsString,
    label: PathBuf,
    first: u32,
}

impl Source {
    /// Finds what a person means by `path`. A link at its end is taken as a link, unless a slash or `/.` follows.
    pub fn find(root: &Root, path: &str) -> Result<Self> {
        let through = path.ends_with('/') || path.ends_with("/.");
        let path = relative(path);
        let label = path.file_name().map(PathBuf::from).unwrap_or_default();
        let (parent, name) = match path.file_name() {
            Some(name) if !through => (path.parent().unwrap_or_else(|| Path::new("")), name),
            _ => (path.as_path(), OsStr::new(".")),
        };
        let parent = root.directory(parent).map_err(|errno| failure(&path, errno))?;
        fstatat(&parent, name, AtFlags::AT_SYMLINK_NOFOLLOW).map_err(|errno| failure(&path, errno))?;
        Ok(Self { parent, name: name.to_owned(), label, first: root.first })
    }
}

/// Writes it as tar; entries begin with its own name. The whole root begins with `./`.
pub fn pack(source: &Source, out: impl Write) -> io::Result<()> {
    let mut out = Out { tar: Builder::new(out), first: source.first };
    entry(&mut out, (source.parent.as_fd(), &source.name), &source.label, 0)?;
    out.tar.into_inner()?.flush()
}

/// The archive being written, and who root inside is here.
struct Out<W: Write> {
    tar: Builder<W>,
    first: u32,
}

fn entry<W: Write>(out: &mut Out<W>, (parent, name): (BorrowedFd<'_>, &OsStr), label: &Path, depth: usize) -> io::Result<()> {
    let stat = match fstatat(parent, name, AtFlags::AT_SYMLINK_NOFOLLOW) {
        // Gone since its directory was read.
        Err(nix::errno::Errno::ENOENT) if depth > 0 => return Ok(()),
        stat => stat?,
    };
    match kind(&stat) {
        SFlag::S_IFDIR => directory(out, openat(parent, name, OFlag::O_DIRECTORY | flags(), Mode::empty())?, label, depth),
        SFlag::S_IFREG => file(out, openat(parent, name, flags(), Mode::empty())?, label),
        SFlag::S_IFLNK => {
            let target = readlinkat(parent, name)?;
            out.tar.append_link(&mut header(out.first, &stat, EntryType::Symlink, 0), label, Path::new(&target))
        }
        SFlag::S_IFIFO => out.tar.append_data(&mut header(out.first, &stat, EntryType::Fifo, 0), label, io::empty()),
        // Devices mean nothing elsewhere, and sockets cannot be kept.
        _ => Ok(()),
    }
}

fn flags() -> OFlag {
    OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC
}

fn kind(stat: &FileStat) -> SFlag {
    SFlag::from_bits_truncate(stat.st_mode & SFlag::S_IFMT.bits())
}

fn directory<W: Write>(out: &mut Out<W>, fd: OwnedFd, label: &Path, depth: usize) -> io::Result<()> {
    if depth >= DEPTH_MAX {
        return Err(io::Error::other(format!("{} is nested deeper than {DEPTH_MAX} directories", label.display())));
    }
    let mut name = if label.as_os_str().is_empty() { OsString::from(".") } else { label.as_os_str().to_owned() };
    name.push("/");
    out.tar.append_data(&mut header(out.first, &fstat(&fd)?, EntryType::Directory, 0), Path::new(&name), io::empty())?;
    let mut names = Vec::new();
    for item in Dir::from_fd(fd.try_clone()?)?.iter() {
        let item = item?;
        let name = item.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push(OsStr::from_bytes(name).to_owned());
        }
    }
    names.sort();
    names.iter().try_for_each(|name| entry(out, (fd.as_fd(), name), &label.join(name), depth + 1))
}

/// A file that grows or shrinks meanwhile is cut or filled with zeros to the length it had.
fn file<W: Write>(out: &mut Out<W>, fd: OwnedFd, label: &Path) -> io::Result<()> {
    let stat = fstat(&fd)?;
    if kind(&stat) != SFlag::S_IFREG {
        return Ok(());
    }
    let size = u64::try_from(stat.st_size).unwrap_or(0);
    let content = File::from(fd).take(size).chain(io::repeat(0)).take(size);
    out.tar.append_data(&mut header(out.first, &stat, EntryType::Regular, size), label, content)
}

fn header(first: u32, stat: &FileStat, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(stat.st_mode & 0o7777);
    header.set_uid(inside_of(first, stat.st_uid).into());
    header.set_gid(inside_of(first, stat.st_gid).into());
    header.set_mtime(u64::try_from(stat.st_mtime).unwrap_or(0));
    header.set_size(size);
    header
}
