//! Reads a tar stream entry by entry, in bounded memory: POSIX ustar and pax, GNU long names and GNU sparse files.
//!
//! Used on both sides of the confinement. Everything an archive can claim is bounded before it is believed: the length of
//! names and of pax records, the number of sparse pieces. It says where in the archive something is wrong.

use std::io::{self, Read};
use tar::{EntryType, Header};

mod extension;

/// Size of a tar block (POSIX.1-2017, pax, "ustar Interchange Format").
pub const BLOCK: usize = 512;
/// Longest name or link target taken; Linux itself takes 4,096 bytes (PATH_MAX).
const MAX_NAME: u64 = 64 << 10;
/// Longest pax record block taken: room for a name and some attributes.
const MAX_PAX: u64 = 1 << 20;
/// Most blocks with pieces of one sparse file; each holds 21 pieces.
const MAX_SPARSE_BLOCKS: usize = 4096;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// It ends before it should.
    #[error("archive is truncated: it ends at byte {0}")]
    Truncated(u64),
    /// It is not a tar archive, or a damaged one.
    #[error("archive is damaged at byte {at}: {why}")]
    Damaged {
        /// Position.
        at: u64,
        /// Reason.
        why: String,
    },
    /// It could not be read.
    #[error("cannot read the archive: {0}")]
    Read(io::Error),
}

/// Kind of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link to [`Entry::link`].
    Symlink,
    /// Another name of [`Entry::link`], a path in the archive.
    Hardlink,
    /// Named pipe.
    Fifo,
    /// Character device.
    Character,
    /// Block device.
    Block,
}

/// One entry. Its data is read from the [`Walker`].
#[derive(Clone, Debug)]
pub struct Entry {
    /// Path as written in the archive.
    pub path: Vec<u8>,
    /// Target of a link.
    pub link: Vec<u8>,
    /// What it is.
    pub kind: Kind,
    /// Bytes of data in the archive.
    pub stored: u64,
    /// Bytes of the file: more than `stored` when sparse.
    pub size: u64,
    /// Pieces of a sparse file: offset and length. Empty for others.
    pub pieces: Vec<(u64, u64)>,
    /// Permission bits, set-user-id and sticky included.
    pub mode: u32,
    /// Owner.
    pub uid: u64,
    /// Group.
    pub gid: u64,
    /// Modification time: seconds and nanoseconds since 1970.
    pub mtime: (i64, u32),
    /// Device numbers.
    pub device: (u32, u32),
    /// Extended attributes, those that are taken: file capabilities, access control lists, users' own.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Walks through an archive.
pub struct Walker<R> {
    reader: R,
    position: u64,
    /// Data of the current entry not yet read.
    data: u64,
    /// Padding after it.
    padding: u64,
    /// Header blocks of the current entry, extensions included, as they came.
    blocks: Vec<u8>,
    marked_end: bool,
}

impl<R: Read> Walker<R> {
    /// At the beginning.
    pub const fn new(reader: R) -> Self {
        Self { reader, position: 0, data: 0, padding: 0, blocks: Vec::new(), marked_end: false }
    }

    /// Header blocks of the current entry, as they came.
    pub fn blocks(&self) -> &[u8] {
        &self.blocks
    }

    /// Bytes of padding after the current entry's data.
    pub const fn padding(&self) -> u64 {
        self.padding
    }

    /// Whether the archive's end marker (a block of zeros) has been seen. Without one it may have been cut between entries.
    pub const fn marked_end(&self) -> bool {
        self.marked_end
    }

    /// The reader underneath.
    pub fn into_inner(self) -> R {
        self.reader
    }

    /// The next entry, or nothing at the end. What is left of the current one is skipped.
    pub fn advance(&mut self) -> Result<Option<Entry>, TarError> {
        self.skip_rest()?;
        self.blocks.clear();
        let mut extension = extension::Extension::default();
        loop {
            let Some(header) = self.header(&extension)? else { return Ok(None) };
            let (limit, kind) = match header.entry_type() {
                EntryType::GNULongName | EntryType::GNULongLink => (MAX_NAME, header.entry_type()),
                EntryType::XHeader | EntryType::XGlobalHeader => (MAX_PAX, header.entry_type()),
                _ => return self.entry(&header, extension).map(Some),
            };
            let text = self.extension_data(&header, limit)?;
            extension.take(kind, text).map_err(|why| self.damaged(why))?;
        }
    }

    fn skip_rest(&mut self) -> Result<(), TarError> {
        let rest = self.data + self.padding;
        let skipped = io::copy(&mut (&mut self.reader).take(rest), &mut io::sink()).map_err(read_error(self.position))?;
        self.position += skipped;
        let whole = skipped >= self.data;
        (self.data, self.padding) = (0, 0);
        // Some tools leave out the padding after the last entry (and the end marker); Go's archive/tar takes that too.
        if whole { Ok(()) } else { Err(TarError::Truncated(self.position)) }
    }

    fn header(&mut self, extension: &extension::Extension) -> Result<Option<Header>, TarError> {
        let mut header = Header::new_old();
        if !self.block(header.as_mut_bytes())? {
            return if extension.is_empty() { Ok(None) } else { Err(TarError::Truncated(self.position)) };
        }
        if header.as_bytes().iter().all(|b| *b == 0) {
            self.marked_end = true;
            return Ok(None);
        }
        let sum: u32 = header.as_bytes().iter().map(|b| u32::from(*b)).sum();
        let field: u32 = header.as_bytes().iter().skip(148).take(8).map(|b| u32::from(*b)).sum();
        if header.cksum().ok() != Some(sum - field + 8 * u32::from(b' ')) {
            return Err(self.damaged("this is no tar header (its check sum is wrong)"));
        }
        self.blocks.extend_from_slice(header.as_bytes());
        Ok(Some(header))
    }

    /// Fills one block; false at the very end.
    fn block(&mut self, block: &mut [u8; BLOCK]) -> Result<bool, TarError> {
        let mut filled = 0;
        while let Some(rest) = block.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(TarError::Truncated(self.position)),
                Ok(n) => {
                    filled += n;
                    self.position += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(read_error(self.position)(e)),
            }
        }
        Ok(true)
    }

    fn extension_data(&mut self, header: &Header, limit: u64) -> Result<Vec<u8>, TarError> {
        let size = header.entry_size().map_err(|e| self.damaged(e.to_string()))?;
        if size > limit {
            return Err(self.damaged(format!("a name or record of {size} bytes is too long (at most {limit})")));
        }
        (self.data, self.padding) = (size, padding(size));
        let mut text = Vec::new();
        self.read_to_end(&mut text).map_err(read_error(self.position))?;
        self.blocks.extend_from_slice(&text);
        let pad = usize::try_from(self.padding).unwrap_or_default();
        self.blocks.resize(self.blocks.len() + pad, 0);
        self.skip_rest()?;
        Ok(text)
    }

    fn entry(&mut self, header: &Header, extension: extension::Extension) -> Result<Entry, TarError> {
        let mut entry = extension::entry(header, extension).map_err(|why| self.damaged(why))?;
        if header.entry_type().is_gnu_sparse() {
            self.sparse(header, &mut entry)?;
        }
        (self.data, self.padding) = (entry.stored, padding(entry.stored));
        Ok(entry)
    }

    fn sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<(), TarError> {
        let Some(gnu) = header.as_gnu() else { return Err(self.damaged("a sparse file without GNU header")) };
        let mut map = extension::SparseMap::default();
        map.add(&gnu.sparse).map_err(|why| self.damaged(why))?;
        let mut more = gnu.is_extended();
        for _ in 0..MAX_SPARSE_BLOCKS {
            if !more {
                break;
            }
            let mut next = tar::GnuExtSparseHeader::new();
            if !self.block(next.as_mut_bytes())? {
                return Err(TarError::Truncated(self.position));
            }
            self.blocks.extend_from_slice(next.as_bytes());
            map.add(next.sparse()).map_err(|why| self.damaged(why))?;
            more = next.is_extended();
        }
        let real = gnu.real_size().map_err(|e| self.damaged(e.to_string()))?;
        if more || map.end > real || map.stored != entry.stored {
            return Err(self.damaged("the pieces of a sparse file do not add up"));
        }
        (entry.size, entry.pieces) = (real, map.pieces);
        Ok(())
    }

    fn damaged(&self, why: impl Into<String>) -> TarError {
        TarError::Damaged { at: self.position, why: api::error::sentence(why) }
    }
}

/// Data of the current entry.
impl<R: Read> Read for Walker<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.data).unwrap_or(usize::MAX).min(into.len());
        if most == 0 {
            return Ok(0);
        }
        let n = self.reader.read(into.get_mut(..most).unwrap_or_default())?;
        if n == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.data -= n as u64;
        self.position += n as u64;
        Ok(n)
    }
}

fn read_error(at: u64) -> impl Fn(io::Error) -> TarError {
    move |e| if e.kind() == io::ErrorKind::UnexpectedEof { TarError::Truncated(at) } else { TarError::Read(e) }
}

/// Bytes that fill the last block of so much data.
pub const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

#[cfg(test)]
mod tests;
