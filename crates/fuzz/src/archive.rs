//! Tar archives: each is walked in bounded steps, gives the same however it comes, and no name that is taken leads out of it.

use image::{
    name::{self, Role},
    tarball::{BLOCK, Entry, Kind, TarError, Walker},
};
use std::{
    io::{Cursor, Read, Write as _},
    path::{Component, Path},
};

/// As it is, and with check sums that are right: what is behind them would else be hardly ever reached.
pub fn holds(bytes: &[u8]) {
    walked(bytes);
    let repaired = with_check_sums(bytes);
    if repaired != bytes {
        walked(&repaired);
    }
}

/// Offset and length of the check sum, and where ustar headers have their magic (POSIX.1-2017, pax, "ustar Interchange Format").
const CHECK_SUM: (usize, usize) = (148, 8);
const MAGIC: (usize, &[u8]) = (257, b"ustar");

fn with_check_sums(bytes: &[u8]) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for block in bytes.chunks_exact_mut(BLOCK).filter(|block| block[MAGIC.0..].starts_with(MAGIC.1)) {
        let field = CHECK_SUM.0..CHECK_SUM.0 + CHECK_SUM.1;
        block[field.clone()].fill(b' ');
        let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
        // Six octal digits hold any sum of 512 bytes. Writing to memory that is long enough cannot fail.
        let _ = write!(Cursor::new(&mut block[field]), "{sum:06o}\0 ");
    }
    bytes
}

/// An entry, its data, its header blocks and its padding.
type Walked = (Entry, Vec<u8>, Vec<u8>, u64);

fn walked(bytes: &[u8]) {
    let whole = walk(bytes, bytes.len());
    let in_bits = walk(OneByOne(bytes), bytes.len());
    match (&whole, &in_bits) {
        (Ok(whole), Ok(in_bits)) => same(whole, in_bits),
        (Err(_), Err(_)) => {}
        _ => panic!("an archive is taken in one piece and not byte by byte, or the other way round"),
    }
    match whole {
        Ok(entries) => {
            entries.iter().for_each(entry_holds);
            skipping_changes_nothing(bytes, &entries);
            put_together_it_is_the_same(&entries);
        }
        Err(error) => crate::sentence(&error),
    }
}

fn walk(archive: impl Read, size: usize) -> Result<Vec<Walked>, TarError> {
    let mut walker = Walker::new(archive);
    let mut entries = Vec::new();
    while let Some(entry) = walker.advance()? {
        let blocks = walker.blocks().to_vec();
        let padding = walker.padding();
        let mut data = Vec::new();
        walker.read_to_end(&mut data).map_err(TarError::Read)?;
        assert_eq!(data.len() as u64, entry.stored, "data of another length than was said");
        entries.push((entry, data, blocks, padding));
        assert!(entries.len() <= size / BLOCK, "more entries than blocks");
    }
    Ok(entries)
}

/// Entries have no equality of their own: a file that says `stored` otherwise is not the same, and one with another name is not.
fn same(left: &[Walked], right: &[Walked]) {
    assert_eq!(left.len(), right.len());
    for ((left, left_data, ..), (right, right_data, ..)) in left.iter().zip(right) {
        assert_eq!(format!("{left:?}"), format!("{right:?}"));
        assert_eq!(left_data, right_data);
    }
}

fn entry_holds((entry, ..): &Walked) {
    assert_eq!(entry.mode & !0o7777, 0, "mode {:o}", entry.mode);
    assert!(entry.mtime.1 < 1_000_000_000, "{} nanoseconds", entry.mtime.1);
    assert!(entry.kind == Kind::File || entry.stored == 0, "{:?} with data", entry.kind);
    pieces_hold(entry);
    let clean = match name::clean(&entry.path) {
        Ok(clean) => clean,
        Err(why) => return crate::sentence(&why),
    };
    let path = String::from_utf8_lossy(&clean);
    assert!(Path::new(&*path).components().all(|part| matches!(part, Component::Normal(_))), "{path:?} climbs out");
    assert_eq!(name::clean(&clean).as_ref(), Ok(&clean), "cleaned twice is something else");
    let (_, last) = name::split(&clean);
    match name::role(last) {
        Ok(Role::Whiteout(hidden)) => assert!(!matches!(hidden, b"" | b"." | b"..") && !hidden.contains(&b'/')),
        Ok(_) => {}
        Err(why) => crate::sentence(&why),
    }
}

fn pieces_hold(entry: &Entry) {
    let mut end = 0;
    for (offset, length) in &entry.pieces {
        assert!(*offset >= end, "pieces overlap");
        end = offset + length;
    }
    assert!(end <= entry.size, "pieces reach beyond the file");
    if !entry.pieces.is_empty() {
        assert_eq!(entry.pieces.iter().map(|(_, length)| length).sum::<u64>(), entry.stored);
    }
}

fn skipping_changes_nothing(bytes: &[u8], entries: &[Walked]) {
    let mut walker = Walker::new(bytes);
    for (entry, ..) in entries {
        match walker.advance() {
            Ok(Some(found)) => assert_eq!(format!("{found:?}"), format!("{entry:?}")),
            other => panic!("without reading data, an entry is missing: {other:?}"),
        }
    }
    assert!(matches!(walker.advance(), Ok(None)), "without reading data, there is more");
}

/// Header blocks, data and padding of each entry are the archive again: images are made from them (`bootstrap`).
fn put_together_it_is_the_same(entries: &[Walked]) {
    let mut again = Vec::new();
    for (_, data, blocks, padding) in entries {
        again.extend_from_slice(blocks);
        again.extend_from_slice(data);
        again.resize(again.len() + usize::try_from(*padding).unwrap_or_default(), 0);
    }
    match walk(&again[..], again.len()) {
        Ok(found) => same(&found, entries),
        Err(error) => panic!("an archive put together from its own blocks is refused: {error}"),
    }
}

/// A reader that is never in a hurry.
struct OneByOne<'a>(&'a [u8]);

impl Read for OneByOne<'_> {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        let most = into.len().min(1);
        self.0.read(&mut into[..most])
    }
}
