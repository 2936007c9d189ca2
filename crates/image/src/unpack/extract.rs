//! Makes the files of one layer from its archive.

use super::{
    Failure, Summary,
    place::{Places, failed, kind, look, os, remove},
};
use crate::{
    name::{self, Role},
    tarball::{Entry, Kind, TarError, Walker},
};
use nix::{
    errno::Errno,
    fcntl::{AtFlags, OFlag, openat},
    sys::{
        stat::{FchmodatFlags, Mode, SFlag, UtimensatFlags, fchmodat, mkdirat, mknodat, utimensat},
        time::TimeSpec,
    },
    unistd::{Gid, Uid, fchownat, linkat, symlinkat},
};
use std::{
    collections::BTreeSet,
    ffi::CString,
    fs::File,
    io::{self, Read, Seek as _, SeekFrom, Write as _},
    os::fd::BorrowedFd,
};

/// Most entries of one layer. A whole distribution has about 500,000.
const MAX_ENTRIES: u64 = 2_000_000;
/// Names of an init, any of which makes a tree a whole system.
const INITS: [&[u8]; 5] = [b"sbin/init", b"usr/sbin/init", b"bin/init", b"lib/systemd/systemd", b"usr/lib/systemd/systemd"];
/// Character devices every container is given by its runtime (OCI runtime specification, "Default Devices", and the
/// console): an archive of a root file system may list them, and they are passed over. No other device is taken.
const STANDARD_DEVICES: [(&[u8], (u32, u32)); 8] = [
    (b"dev/null", (1, 3)),
    (b"dev/zero", (1, 5)),
    (b"dev/full", (1, 7)),
    (b"dev/random", (1, 8)),
    (b"dev/urandom", (1, 9)),
    (b"dev/tty", (5, 0)),
    (b"dev/console", (5, 1)),
    (b"dev/ptmx", (5, 2)),
];

struct Extraction {
    places: Places,
    /// Bytes that may still be unpacked.
    left: u64,
    summary: Summary,
    opaque: BTreeSet<Vec<u8>>,
    /// Times of directories, set last: making what is in them changes them. And their attributes, which what is made in them
    /// would inherit.
    later: Vec<Later>,
    buffer: Vec<u8>,
}

/// What is left to do about a directory.
struct Later {
    path: Vec<u8>,
    mtime: (i64, u32),
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Later {
    fn of(path: &[u8], entry: &Entry) -> Self {
        Self { path: path.to_vec(), mtime: entry.mtime, xattrs: entry.xattrs.clone() }
    }
}

/// Unpacks the archive into the root of the process; `limit` bounds the bytes of all files together, holes included.
pub fn extract(input: impl Read, limit: u64) -> Result<Summary, Failure> {
    let mut walker = Walker::new(input);
    let mut work = Extraction {
        places: Places::new()?,
        left: limit,
        summary: Summary::default(),
        opaque: BTreeSet::new(),
        later: Vec::new(),
        buffer: vec![0; 256 << 10],
    };
    while let Some(entry) = walker.advance()? {
        work.summary.entries += 1;
        if work.summary.entries > MAX_ENTRIES {
            return Err(Failure::Refused(format!("the archive has more than {MAX_ENTRIES} entries")));
        }
        work.entry(&entry, &mut walker)?;
    }
    work.summary.marked_end = walker.marked_end();
    // What follows the end marker counts in the digest only.
    io::copy(&mut walker.into_inner(), &mut io::sink()).map_err(|e| Failure::Archive(TarError::Read(e)))?;
    work.finish()
}

impl Extraction {
    fn entry(&mut self, entry: &Entry, data: &mut impl Read) -> Result<(), Failure> {
        let path = name::clean(&entry.path).map_err(Failure::Refused)?;
        let (dir, last) = name::split(&path);
        if path.is_empty() {
            return self.root(entry);
        }
        match name::role(last).map_err(Failure::Refused)? {
            Role::Ordinary => {}
            Role::Bookkeeping => return Ok(()),
            Role::Opaque => {
                self.places.directory(dir)?;
                self.opaque.insert(dir.to_vec());
                return Ok(());
            }
            Role::Whiteout(hidden) => return self.whiteout(dir, hidden),
        }
        if matches!(entry.kind, Kind::Character | Kind::Block) {
            return self.device(entry, &path);
        }
        self.make_room(entry, &path)?;
        self.make(entry, &path, data)?;
        self.note_init(&path, entry.kind);
        Ok(())
    }

    fn root(&mut self, entry: &Entry) -> Result<(), Failure> {
        if entry.kind != Kind::Directory {
            return Err(Failure::Refused("the archive's root is no directory".to_owned()));
        }
        attributes(self.places.root(), b".", entry)?;
        self.later.push(Later::of(b"", entry));
        Ok(())
    }

    /// Hides a name of lower layers. What this layer itself has under that name stays (OCI image specification, layer:
    /// whiteouts apply to lower layers only).
    fn whiteout(&mut self, dir: &[u8], hidden: &[u8]) -> Result<(), Failure> {
        let parent = self.places.directory(dir)?;
        match look(parent, hidden)? {
            None => {
                let device = nix::sys::stat::makedev(0, 0);
                mknodat(parent, os(hidden), SFlag::S_IFCHR, Mode::empty(), device).map_err(failed("hide", hidden))
            }
            Some(stat) if kind(&stat) == SFlag::S_IFDIR => {
                self.opaque.insert(join(dir, hidden));
                Ok(())
            }
            Some(_) => Ok(()),
        }
    }

    fn device(&mut self, entry: &Entry, path: &[u8]) -> Result<(), Failure> {
        if entry.kind == Kind::Character
            && STANDARD_DEVICES.iter().any(|(known, device)| *known == path && *device == entry.device)
        {
            return Ok(());
        }
        if entry.kind == Kind::Character && entry.device == (0, 0) {
            let (dir, last) = name::split(path);
            return self.whiteout(dir, last);
        }
        let (major, minor) = entry.device;
        let shown = path.escape_ascii();
        Err(Failure::Refused(format!(
            "the archive holds the device node {shown} ({major}, {minor}): images may not bring devices"
        )))
    }

    /// Clears the name of what an earlier entry, or a whiteout, left there. A directory over a directory stays.
    fn make_room(&mut self, entry: &Entry, path: &[u8]) -> Result<(), Failure> {
        let (dir, last) = name::split(path);
        let parent = self.places.directory(dir)?;
        let Some(stat) = look(parent, last)? else { return Ok(()) };
        let was = kind(&stat);
        if was == SFlag::S_IFDIR && entry.kind == Kind::Directory {
            return Ok(());
        }
        remove(parent, last)?;
        self.places.forget();
        if was == SFlag::S_IFCHR && entry.kind == Kind::Directory {
            self.opaque.insert(path.to_vec());
        }
        Ok(())
    }

    fn make(&mut self, entry: &Entry, path: &[u8], data: &mut impl Read) -> Result<(), Failure> {
        let (dir, last) = name::split(path);
        match entry.kind {
            Kind::File => return self.file(entry, path, data),
            Kind::Hardlink => return self.hard_link(entry, path),
            Kind::Directory => {
                let parent = self.places.directory(dir)?;
                match mkdirat(parent, os(last), Mode::from_bits_truncate(0o700)) {
                    Ok(()) | Err(nix::Error::EEXIST) => {}
                    Err(e) => return Err(failed("make directory", path)(e)),
                }
                self.later.push(Later::of(path, entry));
            }
            Kind::Symlink => {
                if entry.link.is_empty() || entry.link.contains(&0) {
                    return Err(Failure::Refused(format!("the symbolic link {} has no usable target", path.escape_ascii())));
                }
                let parent = self.places.directory(dir)?;
                symlinkat(os(&entry.link), parent, os(last)).map_err(failed("make symbolic link", path))?;
            }
            Kind::Fifo | Kind::Character | Kind::Block => {
                let parent = self.places.directory(dir)?;
                mknodat(parent, os(last), SFlag::S_IFIFO, Mode::from_bits_truncate(0o600), 0)
                    .map_err(failed("make pipe", path))?;
            }
        }
        let parent = self.places.directory(dir)?;
        attributes(parent, last, entry)?;
        if entry.kind == Kind::Directory { Ok(()) } else { set_time(parent, last, entry.mtime) }
    }

    fn file(&mut self, entry: &Entry, path: &[u8], data: &mut impl Read) -> Result<(), Failure> {
        let shown = path.escape_ascii();
        let left = self.left.checked_sub(entry.size);
        self.left = left.ok_or_else(|| Failure::Limit(shown.to_string()))?;
        let (dir, last) = name::split(path);
        let mut buffer = std::mem::take(&mut self.buffer);
        let parent = self.places.directory(dir)?;
        let flags = OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let opened = openat(parent, os(last), flags, Mode::from_bits_truncate(0o600)).map_err(failed("make file", path))?;
        fill(&mut File::from(opened), entry, data, &mut buffer)?;
        attributes(parent, last, entry)?;
        set_time(parent, last, entry.mtime)?;
        self.buffer = buffer;
        Ok(())
    }

    fn hard_link(&mut self, entry: &Entry, path: &[u8]) -> Result<(), Failure> {
        let target = name::clean(&entry.link).map_err(Failure::Refused)?;
        let (target_dir, target_last) = name::split(&target);
        let from = self.places.directory(target_dir)?;
        let is_file =
            look(from, target_last)?.is_some_and(|s| matches!(kind(&s), SFlag::S_IFREG | SFlag::S_IFLNK | SFlag::S_IFIFO));
        if target.is_empty() || !is_file {
            let (shown, to) = (path.escape_ascii(), target.escape_ascii());
            return Err(Failure::Refused(format!("the hard link {shown} leads to {to}, which is no file of the archive")));
        }
        let from = from.try_clone_to_owned().map_err(|source| Failure::Call { what: "link".to_owned(), source })?;
        let (dir, last) = name::split(path);
        let parent = self.places.directory(dir)?;
        linkat(&from, os(target_last), parent, os(last), AtFlags::empty()).map_err(failed("make hard link", path))
    }

    fn note_init(&mut self, path: &[u8], kind: Kind) {
        self.summary.init |= matches!(kind, Kind::File | Kind::Symlink | Kind::Hardlink) && INITS.contains(&path);
    }

    fn finish(mut self) -> Result<Summary, Failure> {
        while let Some(Later { path, mtime, xattrs }) = self.later.pop() {
            let (dir, last) = name::split(&path);
            let last = if path.is_empty() { b"." } else { last };
            // A later entry may have taken its place, or that of a directory above.
            let Some(parent) = self.places.existing(dir) else { continue };
            if look(parent, last)?.is_some_and(|s| kind(&s) == SFlag::S_IFDIR) {
                set_attributes(parent, last, &xattrs)?;
                set_time(parent, last, mtime)?;
            }
        }
        self.summary.opaque = self.opaque.iter().map(hex::encode).collect();
        Ok(self.summary)
    }
}

fn join(dir: &[u8], last: &[u8]) -> Vec<u8> {
    if dir.is_empty() { last.to_vec() } else { [dir, b"/", last].concat() }
}

fn fill(file: &mut File, entry: &Entry, data: &mut impl Read, buffer: &mut [u8]) -> Result<(), Failure> {
    let call = |source| Failure::Call { what: format!("write {}", entry.path.escape_ascii()), source };
    if entry.pieces.is_empty() && entry.size == entry.stored {
        return copy(file, entry, data, buffer);
    }
    for (offset, length) in &entry.pieces {
        file.seek(SeekFrom::Start(*offset)).map_err(call)?;
        copy(file, entry, &mut data.take(*length), buffer)?;
    }
    file.set_len(entry.size).map_err(call)
}

fn copy(file: &mut File, entry: &Entry, data: &mut impl Read, buffer: &mut [u8]) -> Result<(), Failure> {
    loop {
        let n = match data.read(buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(Failure::Refused(format!("archive is truncated: it ends within {}", entry.path.escape_ascii())));
            }
            Err(e) => return Err(Failure::Archive(TarError::Read(e))),
        };
        let piece = buffer.get(..n).unwrap_or_default();
        file.write_all(piece).map_err(|source| Failure::Call { what: format!("write {}", entry.path.escape_ascii()), source })?;
    }
}

/// Owner, then mode, then attributes with file capabilities among them: each clears the next when changed after it.
fn attributes(dir: BorrowedFd<'_>, name: &[u8], entry: &Entry) -> Result<(), Failure> {
    let id = |id: u64| {
        let bad = || Failure::Refused(format!("{} belongs to {id}, which is no user or group", entry.path.escape_ascii()));
        u32::try_from(id).ok().filter(|id| *id != u32::MAX).ok_or_else(bad)
    };
    let (uid, gid) = (Uid::from_raw(id(entry.uid)?), Gid::from_raw(id(entry.gid)?));
    let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
    fchownat(dir, os(name), Some(uid), Some(gid), flags).map_err(failed("give an owner to", &entry.path))?;
    if entry.kind == Kind::Symlink {
        return Ok(());
    }
    let mode = Mode::from_bits_truncate(entry.mode);
    fchmodat(dir, os(name), mode, FchmodatFlags::FollowSymlink).map_err(failed("set the mode of", &entry.path))?;
    if entry.kind == Kind::File { set_attributes(dir, name, &entry.xattrs) } else { Ok(()) }
}

/// A file system without attributes of a sort keeps none of them.
fn set_attributes(dir: BorrowedFd<'_>, name: &[u8], xattrs: &[(Vec<u8>, Vec<u8>)]) -> Result<(), Failure> {
    use std::os::fd::AsRawFd as _;
    if xattrs.is_empty() {
        return Ok(());
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(dir, os(name), flags, Mode::empty()).map_err(failed("open", name))?;
    for (key, value) in xattrs {
        let bad = || Failure::Refused(format!("{} has an attribute with a zero byte in its name", name.escape_ascii()));
        let key = CString::new(key.as_slice()).map_err(|_| bad())?;
        // SAFETY: key and value outlive the call; the length is the value's.
        let done = unsafe { libc::fsetxattr(file.as_raw_fd(), key.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
        match Errno::result(done) {
            Ok(_) | Err(Errno::ENOTSUP) => {}
            Err(error) => return Err(failed("set the attributes of", name)(error)),
        }
    }
    Ok(())
}

fn set_time(dir: BorrowedFd<'_>, name: &[u8], (seconds, nanos): (i64, u32)) -> Result<(), Failure> {
    let time = TimeSpec::new(seconds, i64::from(nanos));
    utimensat(dir, os(name), &time, &time, UtimensatFlags::NoFollowSymlink).map_err(failed("set the time of", name))
}
