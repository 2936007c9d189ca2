//! What precedes or completes a tar header: GNU long names, pax records, maps of sparse files.

use super::{Entry, Kind};
use tar::{EntryType, GnuSparseHeader, Header};

/// Pax keys of extended attributes begin so (the form GNU tar, star and Go's archive/tar share).
const XATTR: &[u8] = b"SCHILY.xattr.";
/// Attributes that are taken, by name: file capabilities and access control lists (acl(5)). Users' own are taken as well.
const TAKEN: [&[u8]; 3] = [b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default"];
/// What overlays note beside files in user namespaces: none of an archive's business.
const OVERLAY: &[u8] = b"user.overlay.";

/// What extension headers said about the entry to come.
#[derive(Default)]
pub struct Extension {
    seen: bool,
    path: Option<Vec<u8>>,
    link: Option<Vec<u8>>,
    size: Option<u64>,
    uid: Option<u64>,
    gid: Option<u64>,
    mtime: Option<(i64, u32)>,
    xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Extension {
    /// Nothing was said.
    pub const fn is_empty(&self) -> bool {
        !self.seen
    }

    /// Takes in the data of one extension header.
    pub fn take(&mut self, kind: EntryType, mut text: Vec<u8>) -> Result<(), String> {
        match kind {
            // Comments and defaults for the whole archive; none in use concerns us.
            EntryType::XGlobalHeader => return Ok(()),
            EntryType::XHeader => records(&text, |key, value| self.record(key, value))?,
            long => {
                while text.last() == Some(&0) {
                    text.pop();
                }
                if long == EntryType::GNULongName { self.path = Some(text) } else { self.link = Some(text) }
            }
        }
        self.seen = true;
        Ok(())
    }

    fn record(&mut self, key: &[u8], value: &[u8]) -> Result<(), String> {
        let bad = || format!("pax record {} has the value {}", key.escape_ascii(), value.escape_ascii());
        match key {
            b"path" => self.path = Some(value.to_vec()),
            b"linkpath" => self.link = Some(value.to_vec()),
            b"size" => self.size = Some(number(value).ok_or_else(bad)?),
            b"uid" => self.uid = Some(number(value).ok_or_else(bad)?),
            b"gid" => self.gid = Some(number(value).ok_or_else(bad)?),
            b"mtime" => self.mtime = Some(time(value).ok_or_else(bad)?),
            sparse if sparse.starts_with(b"GNU.sparse.") => {
                return Err("sparse files in pax form are not supported: make the archive without --sparse".to_owned());
            }
            _ => {
                let name = key.strip_prefix(XATTR).filter(|name| is_taken(name));
                self.xattrs.extend(name.map(|name| (name.to_vec(), value.to_vec())));
            }
        }
        Ok(())
    }
}

fn is_taken(name: &[u8]) -> bool {
    TAKEN.contains(&name) || name.starts_with(b"user.") && !name.starts_with(OVERLAY) && !name.contains(&0)
}

/// Calls `each` for every record: decimal length of the whole, space, key, `=`, value, newline.
fn records(mut text: &[u8], mut each: impl FnMut(&[u8], &[u8]) -> Result<(), String>) -> Result<(), String> {
    let bad = || "a pax record is malformed".to_owned();
    while !text.is_empty() {
        let space = text.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let length = number(text.get(..space).unwrap_or_default()).and_then(|n| usize::try_from(n).ok()).ok_or_else(bad)?;
        let record = text.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        let (key, value) = record.split_at(equals);
        each(key, value.get(1..).unwrap_or_default())?;
        text = text.get(length..).unwrap_or_default();
    }
    Ok(())
}

fn number(text: &[u8]) -> Option<u64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// `-1.5`, `1700000000`, `1700000000.123456789`: seconds with at most nine digits taken of the fraction.
fn time(text: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(text).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let seconds: i64 = whole.parse().ok()?;
    let nanos: u32 = format!("{:0<9}", fraction.get(..fraction.len().min(9))?).parse().ok()?;
    match (whole.starts_with('-'), nanos) {
        (true, 1..) => Some((seconds.checked_sub(1)?, 1_000_000_000 - nanos)),
        _ => Some((seconds, nanos)),
    }
}

/// Header and extension as an entry.
pub fn entry(header: &Header, extension: Extension) -> Result<Entry, String> {
    let said = |e: std::io::Error| e.to_string();
    let path = extension.path.unwrap_or_else(|| header.path_bytes().into_owned());
    let link = extension.link.or_else(|| header.link_name_bytes().map(|l| l.into_owned())).unwrap_or_default();
    let kind = kind(header, &path)?;
    let old = header.as_old();
    let claimed = extension.size.map_or_else(|| field(&old.size, header.entry_size()), Ok)?;
    // Only files have data, whatever the field says (as in Go's archive/tar, which most images were written with).
    let stored = if kind == Kind::File { claimed } else { 0 };
    let device = match kind {
        Kind::Character | Kind::Block => {
            (header.device_major().map_err(said)?.unwrap_or_default(), header.device_minor().map_err(said)?.unwrap_or_default())
        }
        _ => (0, 0),
    };
    Ok(Entry {
        path,
        link,
        kind,
        stored,
        size: stored,
        pieces: Vec::new(),
        mode: field(&old.mode, header.mode())? & 0o7777,
        uid: extension.uid.map_or_else(|| field(&old.uid, header.uid()), Ok)?,
        gid: extension.gid.map_or_else(|| field(&old.gid, header.gid()), Ok)?,
        mtime: extension.mtime.map_or_else(|| field(&old.mtime, header.mtime()).map(|t| (t.cast_signed(), 0)), Ok)?,
        device,
        xattrs: extension.xattrs,
    })
}

/// A number of the header; a blank one is zero.
fn field<T: Default>(raw: &[u8], read: std::io::Result<T>) -> Result<T, String> {
    if raw.iter().all(|b| matches!(b, 0 | b' ')) { Ok(T::default()) } else { read.map_err(|e| e.to_string()) }
}

fn kind(header: &Header, path: &[u8]) -> Result<Kind, String> {
    Ok(match header.entry_type() {
        // Before ustar a directory was a file whose name ends in a slash.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Link => Kind::Hardlink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => Kind::Character,
        EntryType::Block => Kind::Block,
        other => return Err(format!("entry {} has the unknown type {:?}", path.escape_ascii(), char::from(other.as_byte()))),
    })
}

/// Pieces of a sparse file, in order, without overlap.
#[derive(Default)]
pub struct SparseMap {
    /// Offset and length of each.
    pub pieces: Vec<(u64, u64)>,
    /// Where the last ends.
    pub end: u64,
    /// Bytes of all.
    pub stored: u64,
}

impl SparseMap {
    /// Takes in pieces.
    pub fn add(&mut self, pieces: &[GnuSparseHeader]) -> Result<(), String> {
        for piece in pieces.iter().filter(|p| !p.is_empty()) {
            let (offset, length) = (piece.offset().map_err(|e| e.to_string())?, piece.length().map_err(|e| e.to_string())?);
            let end = offset.checked_add(length).filter(|_| offset >= self.end).ok_or("pieces of a sparse file overlap")?;
            self.end = end;
            self.stored += length;
            self.pieces.push((offset, length));
        }
        Ok(())
    }
}
