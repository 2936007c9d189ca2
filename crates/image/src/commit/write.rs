//! Writes a tar archive: ustar headers, pax records for what does not fit them, GNU's form for sparse files, which every
//! reader of layers takes and ours keeps sparse.

use std::io::{self, Read, Write};
use tar::{EntryType, GnuExtSparseHeader, GnuSparseHeader, Header};

/// Longest name that fits a header.
const SHORT: usize = 100;
/// Zeros for padding, and for files that shrank under us.
const ZEROS: [u8; 512] = [0; 512];

/// One entry, without its data.
#[derive(Clone, Debug, Default)]
pub struct Meta {
    /// Path in the archive; a directory's ends in a slash.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time: seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Extended attributes, in order.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A tar archive in the making.
pub struct Archive<W> {
    out: W,
}

impl<W: Write> Archive<W> {
    /// Nothing in it.
    pub const fn new(out: W) -> Self {
        Self { out }
    }

    /// An entry without data.
    pub fn plain(&mut self, kind: EntryType, meta: &Meta) -> io::Result<()> {
        self.records(meta)?;
        self.header(Header::new_ustar(), kind, (meta, 0))
    }

    /// A file of `size` bytes. One that is shorter by now is filled with zeros.
    pub fn file(&mut self, meta: &Meta, size: u64, data: impl Read) -> io::Result<()> {
        self.records(meta)?;
        self.header(Header::new_ustar(), EntryType::Regular, (meta, size))?;
        self.data(data, size)?;
        self.pad(size)
    }

    /// A file with holes: its pieces with data (offset and length, in order), and its whole size. `data` is all of them.
    pub fn sparse(&mut self, meta: &Meta, (pieces, size): (&[(u64, u64)], u64), data: impl Read) -> io::Result<()> {
        let stored = pieces.iter().map(|(_, length)| length).sum();
        self.records(meta)?;
        let mut header = Header::new_gnu();
        // An empty piece at the end says where a file ends that ends in a hole.
        let end = pieces.last().map_or(0, |(offset, length)| offset + length);
        let all: Vec<(u64, u64)> = pieces.iter().copied().chain((end < size).then_some((size, 0))).collect();
        let gnu = header.as_gnu_mut().ok_or_else(|| io::Error::other("a header without GNU form"))?;
        let (first, rest) = all.split_at(all.len().min(gnu.sparse.len()));
        describe(&mut gnu.sparse, first);
        gnu.set_real_size(size);
        gnu.set_is_extended(!rest.is_empty());
        self.header(header, EntryType::GNUSparse, (meta, stored))?;
        let mut rest = rest;
        while !rest.is_empty() {
            let mut block = GnuExtSparseHeader::new();
            let (now, later) = rest.split_at(rest.len().min(block.sparse.len()));
            describe(&mut block.sparse, now);
            block.set_is_extended(!later.is_empty());
            self.out.write_all(block.as_bytes())?;
            rest = later;
        }
        self.data(data, stored)?;
        self.pad(stored)
    }

    /// The end marker.
    pub fn finish(mut self) -> io::Result<()> {
        self.out.write_all(&ZEROS)?;
        self.out.write_all(&ZEROS)?;
        self.out.flush()
    }

    fn header(&mut self, mut header: Header, kind: EntryType, (meta, size): (&Meta, u64)) -> io::Result<()> {
        header.set_entry_type(kind);
        header.set_size(size);
        header.set_mode(meta.mode);
        header.set_uid(meta.uid.into());
        header.set_gid(meta.gid.into());
        header.set_mtime(u64::try_from(meta.mtime.0).unwrap_or_default());
        let old = header.as_old_mut();
        fill(&mut old.name, &meta.path);
        fill(&mut old.linkname, &meta.link);
        header.set_cksum();
        self.out.write_all(header.as_bytes())
    }

    /// What a header has no room for.
    fn records(&mut self, meta: &Meta) -> io::Result<()> {
        let mut text = Vec::new();
        if meta.path.len() > SHORT {
            record(&mut text, b"path", &meta.path);
        }
        if meta.link.len() > SHORT {
            record(&mut text, b"linkpath", &meta.link);
        }
        if meta.mtime.0 < 0 || meta.mtime.1 > 0 {
            record(&mut text, b"mtime", time(meta.mtime).as_bytes());
        }
        for (name, value) in &meta.xattrs {
            record(&mut text, &[b"SCHILY.xattr.", &name[..]].concat(), value);
        }
        if text.is_empty() {
            return Ok(());
        }
        let own = Meta { path: b"PaxHeaders/x".to_vec(), mode: 0o644, ..Meta::default() };
        let size = text.len() as u64;
        self.header(Header::new_ustar(), EntryType::XHeader, (&own, size))?;
        self.out.write_all(&text)?;
        self.pad(size)
    }

    fn data(&mut self, data: impl Read, size: u64) -> io::Result<()> {
        let mut left = size - io::copy(&mut data.take(size), &mut self.out)?;
        while left > 0 {
            let now = left.min(ZEROS.len() as u64);
            io::copy(&mut (&ZEROS[..]).take(now), &mut self.out)?;
            left -= now;
        }
        Ok(())
    }

    fn pad(&mut self, size: u64) -> io::Result<()> {
        io::copy(&mut (&ZEROS[..]).take(crate::tarball::padding(size)), &mut self.out).map(drop)
    }
}

fn describe(fields: &mut [GnuSparseHeader], pieces: &[(u64, u64)]) {
    for (field, (offset, length)) in fields.iter_mut().zip(pieces) {
        field.set_offset(*offset);
        field.set_length(*length);
    }
}

/// As much as fits; the pax record has all of it then.
fn fill(field: &mut [u8; SHORT], text: &[u8]) {
    for (to, from) in field.iter_mut().zip(text) {
        *to = *from;
    }
}

/// A record is preceded by its own length, which counts its own digits.
fn record(text: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length != rest + length.to_string().len() {
        length = rest + length.to_string().len();
    }
    text.extend_from_slice(format!("{length} ").as_bytes());
    text.extend_from_slice(key);
    text.push(b'=');
    text.extend_from_slice(value);
    text.push(b'\n');
}

fn time((seconds, nanos): (i64, u32)) -> String {
    if seconds < 0 && nanos > 0 {
        return format!("-{}.{:09}", -(seconds + 1), 1_000_000_000 - nanos);
    }
    format!("{seconds}.{nanos:09}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tarball::{Entry, Kind, Walker};
    use proptest::prelude::*;

    fn written(write: impl FnOnce(&mut Archive<&mut Vec<u8>>) -> io::Result<()>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut archive = Archive::new(&mut bytes);
        write(&mut archive).unwrap();
        archive.finish().unwrap();
        bytes
    }

    fn only(bytes: &[u8]) -> (Entry, Vec<u8>) {
        let mut walker = Walker::new(bytes);
        let entry = walker.advance().unwrap().unwrap();
        let mut data = Vec::new();
        walker.read_to_end(&mut data).unwrap();
        assert!(walker.advance().unwrap().is_none());
        assert!(walker.marked_end());
        (entry, data)
    }

    #[test]
    fn a_file_that_shrank_keeps_its_size() {
        let meta = Meta { path: b"log".to_vec(), mode: 0o640, uid: 7, ..Meta::default() };
        let (entry, data) = only(&written(|archive| archive.file(&meta, 600, &b"short"[..])));
        assert_eq!((entry.kind, entry.size, entry.mode, entry.uid), (Kind::File, 600, 0o640, 7));
        assert_eq!((&data[..5], data.len()), (&b"short"[..], 600));
    }

    #[test]
    fn sparse_files_of_many_pieces_are_read_back() {
        for count in [0u64, 1, 3, 4, 5, 24, 25, 26, 100] {
            let pieces: Vec<(u64, u64)> = (0..count).map(|n| (n * 1_000_000, 10)).collect();
            let data = vec![b'x'; usize::try_from(count * 10).unwrap()];
            let meta = Meta { path: b"disk".to_vec(), ..Meta::default() };
            let size = 20_000_000_000;
            let (mut entry, read) = only(&written(|archive| archive.sparse(&meta, (&pieces, size), &data[..])));
            entry.pieces.retain(|(_, length)| *length > 0);
            assert_eq!((entry.size, entry.pieces, read), (size, pieces, data), "{count} pieces");
        }
    }

    proptest! {
        #[test]
        fn whatever_an_entry_says_is_read_back(
            path in proptest::collection::vec(1u8..255, 1..300),
            link in proptest::collection::vec(1u8..255, 1..300),
            seconds in -5_000_000_000i64..5_000_000_000, nanos in 0u32..1_000_000_000,
            ids in (0u32..u32::MAX, 0u32..u32::MAX),
            value in proptest::collection::vec(0u8..255, 0..200),
        ) {
            let path: Vec<u8> = path.into_iter().filter(|b| *b != b'/').chain([b'p']).collect();
            let meta = Meta {
                path, link, mode: 0o4711, uid: ids.0, gid: ids.1, mtime: (seconds, nanos),
                xattrs: vec![(b"security.capability".to_vec(), value)],
            };
            let (entry, _) = only(&written(|archive| archive.plain(EntryType::Symlink, &meta)));
            prop_assert_eq!((entry.path, entry.link, entry.mode), (meta.path, meta.link, meta.mode));
            prop_assert_eq!((entry.uid, entry.gid), (u64::from(meta.uid), u64::from(meta.gid)));
            prop_assert_eq!(entry.mtime, meta.mtime);
            prop_assert_eq!(entry.xattrs, meta.xattrs);
        }
    }
}
