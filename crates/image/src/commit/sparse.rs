//! Which parts of a file have data.

use nix::{
    errno::Errno,
    unistd::{Whence, lseek},
};
use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
};

/// Holes shorter than this are written as zeros, so that how a file system places small files makes no other archive.
const SHORTEST: u64 = 64 << 10;
/// Most pieces of one file, well below what readers take; a file with more is written whole.
const MOST: usize = 50_000;

/// Offset and length of each piece with data, in order; None for a file without a hole worth it.
pub fn pieces(file: &File, size: u64) -> io::Result<Option<Vec<(u64, u64)>>> {
    if size < SHORTEST {
        return Ok(None);
    }
    let mut found: Vec<(u64, u64)> = Vec::new();
    let mut at = 0;
    while at < size {
        let Some(start) = seek(file, at, Whence::SeekData)?.filter(|start| *start < size) else { break };
        let end = seek(file, start, Whence::SeekHole)?.unwrap_or(size).min(size);
        match found.last_mut() {
            Some((offset, length)) if start - (*offset + *length) < SHORTEST => *length = end - *offset,
            None if start < SHORTEST => found.push((0, end)),
            _ => found.push((start, end - start)),
        }
        if found.len() > MOST || end <= start {
            return Ok(None);
        }
        at = end;
    }
    let holes = size - found.iter().map(|(_, length)| length).sum::<u64>();
    Ok((holes >= SHORTEST).then_some(found))
}

/// None: there is nothing of the kind from here to the end, or the file system cannot tell.
fn seek(file: &File, from: u64, what: Whence) -> io::Result<Option<u64>> {
    let from = i64::try_from(from).map_err(io::Error::other)?;
    match lseek(file, from, what) {
        Ok(at) => Ok(u64::try_from(at).ok()),
        Err(Errno::ENXIO) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The pieces of a file, one after the other. What is missing by now is zeros.
pub struct Pieces<'a> {
    /// The file.
    pub file: &'a File,
    /// What is left of them.
    pub pieces: &'a [(u64, u64)],
    /// Read of the first.
    pub done: u64,
}

impl Read for Pieces<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while let Some((offset, length)) = self.pieces.first().copied() {
            let left = usize::try_from(length - self.done).unwrap_or(usize::MAX).min(into.len());
            if left == 0 && length > self.done {
                return Ok(0);
            }
            if left > 0 {
                self.file.seek(SeekFrom::Start(offset + self.done))?;
                let Some(into) = into.get_mut(..left) else { return Ok(0) };
                let mut count = self.file.read(into)?;
                if count == 0 {
                    into.fill(0);
                    count = into.len();
                }
                self.done += count as u64;
                return Ok(count);
            }
            (self.pieces, self.done) = (self.pieces.get(1..).unwrap_or_default(), 0);
        }
        Ok(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    #[test]
    fn holes_are_found_and_small_ones_are_not() {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(b"begin").unwrap();
        file.seek(SeekFrom::Start(1 << 20)).unwrap();
        file.write_all(b"middle").unwrap();
        file.set_len(4 << 20).unwrap();
        let size = 4 << 20;
        let found = pieces(&file, size).unwrap().unwrap();
        assert_eq!(found.len(), 2, "{found:?}");
        let mut read = Vec::new();
        Pieces { file: &file, pieces: &found, done: 0 }.read_to_end(&mut read).unwrap();
        assert_eq!(read.len() as u64, found.iter().map(|(_, length)| length).sum::<u64>());
        assert!(read.starts_with(b"begin") && read.windows(6).any(|w| w == b"middle"));
        let mut whole = tempfile::tempfile().unwrap();
        whole.write_all(&vec![7; 1 << 20]).unwrap();
        assert_eq!(pieces(&whole, 1 << 20).unwrap(), None);
        let empty = tempfile::tempfile().unwrap();
        empty.set_len(1 << 30).unwrap();
        assert_eq!(pieces(&empty, 1 << 30).unwrap(), Some(Vec::new()), "nothing but a hole");
    }
}
