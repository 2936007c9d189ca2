//! In: a tar into a directory of a container.

use super::{Root, failure, relative};
use api::error::{Error, Result};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::{
        stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmod, fchmodat, mkdirat, mknodat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, UnlinkatFlags, fchown, fchownat, linkat, symlinkat, unlinkat},
};
use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io::{self, Read},
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};
use tar::{Archive, Entry, EntryType};

/// Puts every entry below the directory `path`, which must exist. An entry that would lead out is refused, and so is a
/// device. What was extracted before an error stays.
pub fn unpack(root: &Root, path: &str, archive: impl Read) -> Result<()> {
    let base = relative(path);
    root.directory(&base).map_err(|errno| failure(&base, errno))?;
    let mut archive = Archive::new(archive);
    let broken = |error: io::Error| Error::usage(format!("the archive cannot be read: {error}"));
    for entry in archive.entries().map_err(broken)? {
        let mut entry = entry.map_err(broken)?;
        let name = entry.path().map_err(broken)?.into_owned();
        let Some(name) = inside(&name)? else { continue };
        place(root, &base, &name, &mut entry)?;
    }
    Ok(())
}

/// The entry's path below the target; None for the target itself.
fn inside(name: &Path) -> Result<Option<PathBuf>> {
    if name.components().any(|part| part == Component::ParentDir) {
        return Err(Error::usage(format!(
            "the archive holds {:?}, which leads out of its directory",
            name.display().to_string()
        )));
    }
    let clean = relative(&name.to_string_lossy());
    Ok((!clean.as_os_str().is_empty()).then_some(clean))
}

fn place(root: &Root, base: &Path, name: &Path, entry: &mut Entry<'_, impl Read>) -> Result<()> {
    let whole = base.join(name);
    let last = whole.file_name().map(OsStr::to_owned).unwrap_or_default();
    let parent = parents(root, whole.parent().unwrap_or(base)).map_err(|errno| failure(&whole, errno))?;
    let kind = entry.header().entry_type();
    let meta = Meta::of(root, entry)?;
    if kind != EntryType::Directory {
        match unlinkat(&parent, last.as_os_str(), UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => {}
            Err(errno) => return Err(failure(&whole, errno)),
        }
    }
    let at = Place { parent, last };
    let done = match kind {
        EntryType::Directory => at.directory(&meta),
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => return at.file(&meta, entry, &whole),
        EntryType::Symlink => at.symlink(&meta, &link(entry)?),
        EntryType::Link => at.hardlink(root, base, &link(entry)?)?,
        EntryType::Fifo => at.fifo(&meta),
        EntryType::Char | EntryType::Block => {
            return Err(Error::usage(format!(
                "the archive holds {:?}, a device: devices are not copied",
                name.display().to_string()
            )));
        }
        _ => Ok(()),
    };
    done.map_err(|errno| failure(&whole, errno))
}

fn link(entry: &Entry<'_, impl Read>) -> Result<PathBuf> {
    let target = entry.link_name().ok().flatten().map(|target| target.into_owned());
    target.ok_or_else(|| Error::usage("the archive holds a link that leads nowhere"))
}

/// The directory at `path`, made where it is missing.
fn parents(root: &Root, path: &Path) -> nix::Result<OwnedFd> {
    match root.directory(path) {
        Err(Errno::ENOENT) => {}
        found => return found,
    }
    let mut walked = PathBuf::new();
    for part in path.components() {
        let parent = root.directory(&walked)?;
        match mkdirat(&parent, part.as_os_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) if root.first > 0 => {
                let owner = (Some(Uid::from_raw(root.first)), Some(Gid::from_raw(root.first)));
                fchownat(&parent, part.as_os_str(), owner.0, owner.1, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            }
            Ok(()) | Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
        }
        walked.push(part);
    }
    root.directory(path)
}

struct Meta {
    mode: Mode,
    uid: Uid,
    gid: Gid,
    modified: TimeSpec,
}

impl Meta {
    fn of(root: &Root, entry: &Entry<'_, impl Read>) -> Result<Self> {
        let header = entry.header();
        let broken = |error: io::Error| Error::usage(format!("the archive has a malformed header: {error}"));
        Ok(Self {
            mode: Mode::from_bits_truncate(header.mode().map_err(broken)? & 0o7777),
            uid: Uid::from_raw(root.outside(header.uid().map_err(broken)?)),
            gid: Gid::from_raw(root.outside(header.gid().map_err(broken)?)),
            modified: TimeSpec::new(i64::try_from(header.mtime().map_err(broken)?).unwrap_or(0), 0),
        })
    }
}

struct Place {
    parent: OwnedFd,
    last: OsString,
}

impl Place {
    fn directory(&self, meta: &Meta) -> nix::Result<()> {
        match mkdirat(&self.parent, self.last.as_os_str(), Mode::from_bits_truncate(0o755)) {
            Ok(()) => {}
            // A link to a directory stays: what follows goes where it leads, inside the root.
            Err(Errno::EEXIST) => return Ok(()),
            Err(errno) => return Err(errno),
        }
        self.own(meta)?;
        fchmodat(&self.parent, self.last.as_os_str(), meta.mode, FchmodatFlags::FollowSymlink)
    }

    fn file(&self, meta: &Meta, entry: &mut Entry<'_, impl Read>, whole: &Path) -> Result<()> {
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.parent, self.last.as_os_str(), flags, Mode::from_bits_truncate(0o600));
        let mut file = File::from(fd.map_err(|errno| failure(whole, errno))?);
        io::copy(entry, &mut file).map_err(|error| Error::failed(format!("/{}: {error}", whole.display())))?;
        let sealed = fchown(&file, Some(meta.uid), Some(meta.gid)).and_then(|()| fchmod(&file, meta.mode));
        sealed.and_then(|()| self.date(meta)).map_err(|errno| failure(whole, errno))
    }

    fn symlink(&self, meta: &Meta, target: &Path) -> nix::Result<()> {
        symlinkat(target, &self.parent, self.last.as_os_str())?;
        self.own(meta)?;
        self.date(meta)
    }

    /// To an entry of the same archive, so below the same directory.
    fn hardlink(&self, root: &Root, base: &Path, target: &Path) -> Result<nix::Result<()>> {
        let Some(target) = inside(target)? else { return Ok(Err(Errno::EISDIR)) };
        let whole = base.join(target);
        let last = whole.file_name().unwrap_or_default();
        let from = root.directory(whole.parent().unwrap_or(base)).map_err(|errno| failure(&whole, errno))?;
        Ok(linkat(&from, last, &self.parent, self.last.as_os_str(), AtFlags::empty()))
    }

    fn fifo(&self, meta: &Meta) -> nix::Result<()> {
        mknodat(&self.parent, self.last.as_os_str(), SFlag::S_IFIFO, meta.mode, 0)?;
        self.own(meta)
    }

    fn own(&self, meta: &Meta) -> nix::Result<()> {
        fchownat(&self.parent, self.last.as_os_str(), Some(meta.uid), Some(meta.gid), AtFlags::AT_SYMLINK_NOFOLLOW)
    }

    fn date(&self, meta: &Meta) -> nix::Result<()> {
        let (last, at) = (self.last.as_os_str(), &meta.modified);
        utimensat(&self.parent, last, at, at, UtimensatFlags::NoFollowSymlink)
    }
}
