//! Archives that builds add, in every form that Dockerfiles may: unpacked by the confined process, which is given plain tar.

use crate::{
    compression::{Compression, Decoder, bounded},
    error::{Error, Result, on},
    helper::Helper,
    layer::read_full,
    store::ContentStore,
    tarball::Walker,
    unpack::{Outcome, Reason},
};
use std::{
    cell::Cell,
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
};

/// Bytes handed on at once.
const PIECE: usize = 256 << 10;
/// Most memory that unpacking xz may take, in KiB: `xz -9` needs 65 MiB.
const XZ_MEMORY: u32 = 128 << 10;

/// Whether a file is an archive: its first header must be one.
pub fn is_archive(file: &mut dyn Read) -> bool {
    let read = Cell::new(0);
    let Ok(plain) = plain(file, (&read, "the file")) else { return false };
    matches!(Walker::new(plain).advance(), Ok(Some(_)))
}

/// The archive as it was before it was compressed; `count` is what has been read of it so far.
fn plain<'a>(archive: &'a mut dyn Read, (count, what): (&'a Cell<u64>, &str)) -> Result<Box<dyn Read + 'a>> {
    let mut raw = BufReader::with_capacity(PIECE, Counted { inner: archive, count });
    let head = raw.fill_buf().map_err(|error| Error::Elsewhere(format!("reading {what}: {error}")))?;
    if head.starts_with(b"\xfd7zXZ\0") {
        return Ok(Box::new(lzma_rust2::XzReader::new_mem_limit(raw, true, XZ_MEMORY)));
    }
    if head.starts_with(b"BZh") {
        return Ok(Box::new(bzip2::bufread::MultiBzDecoder::new(raw)));
    }
    let compression = Compression::sniff(head)?;
    Ok(Box::new(Decoder::new(raw, compression).map_err(on("read", Path::new(what)))?))
}

/// Unpacks an archive into a directory.
pub fn unpack(store: &ContentStore, archive: &mut dyn Read, into: &Path, what: &str) -> Result<()> {
    let silent = |_| {};
    let work = store.work(&silent)?;
    let (limit, by_disk) = work.room()?;
    let count = Cell::new(0);
    let mut plain = plain(archive, (&count, what))?;
    let mut helper = Helper::start(work.unpack_command(), into, limit)?;
    let (mut piece, mut unpacked) = (vec![0; PIECE], 0u64);
    loop {
        let n = match read_full(&mut plain, &mut piece) {
            Ok(0) => break,
            Ok(n) => n,
            Err(error) => return Err(Error::content(format!("{what} cannot be read to its end: {error}"))),
        };
        unpacked += n as u64;
        bounded(unpacked, count.get(), u64::MAX)?;
        if !helper.feed(piece.get(..n).unwrap_or_default())? {
            break;
        }
    }
    match helper.finish()? {
        Outcome::Done(_) => Ok(()),
        Outcome::Failed { reason: Reason::Full, .. } => Err(work.no_space()),
        Outcome::Failed { reason: Reason::Limit, .. } if by_disk => Err(work.no_space()),
        Outcome::Failed { message, reason: Reason::Call } => {
            Err(Error::Io { what: format!("unpacking {what}"), source: io::Error::other(message) })
        }
        Outcome::Failed { message, .. } => Err(Error::content(format!("{what}: {message}"))),
    }
}

/// Counts what is read.
struct Counted<'a> {
    inner: &'a mut dyn Read,
    count: &'a Cell<u64>,
}

impl Read for Counted<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(into)?;
        self.count.set(self.count.get() + n as u64);
        Ok(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write as _;

    fn archive() -> Vec<u8> {
        let mut tar = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_size(5);
        tar.append_data(&mut header, "file", &b"bytes"[..]).unwrap();
        tar.into_inner().unwrap()
    }

    fn is(mut bytes: &[u8]) -> bool {
        is_archive(&mut bytes)
    }

    #[test]
    fn archives_are_told_from_other_files_in_every_form() {
        let plain = archive();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        bzip2.write_all(&plain).unwrap();
        let forms = [plain.clone(), gzip.finish().unwrap(), bzip2.finish().unwrap(), zstd::encode_all(&plain[..], 1).unwrap()];
        for (index, form) in forms.iter().enumerate() {
            assert!(is(form), "form {index}");
        }
        let mut text = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        text.write_all(b"no archive").unwrap();
        for other in [&b""[..], b"text", b"BZh9 and more", b"\xfd7zXZ\0", b"PK\x03\x04", &text.finish().unwrap(), &[0; 2048]] {
            assert!(!is(other), "{}", other.escape_ascii());
        }
    }
}
