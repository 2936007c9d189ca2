//! Layers as they come over the network: whatever the compression, what is handed on stays within the limit.

use image::{
    compression::{Compression, Decoder, bounded},
    tarball::Walker,
};
use std::io::{self, Read};

/// Most bytes that may come out; small, so that it is reached.
const LIMIT: u64 = 4 << 20;
/// Bytes that are handed on at once.
const PIECE: usize = 64 << 10;
/// Most that zstd may need beside the pieces: its longest window, which libFuzzer's limit of memory watches.
const ENTRIES: usize = LIMIT as usize / 512 + 1;

/// Unpacks as far as is allowed, and walks through what came out.
pub fn holds(bytes: &[u8]) {
    let compression = match Compression::sniff(bytes) {
        Ok(compression) => compression,
        Err(error) => return crate::sentence(&error),
    };
    let Ok(decoder) = Decoder::new(bytes, compression) else { return };
    let mut stream = Bounded { decoder, compressed: bytes.len() as u64, handed_on: 0 };
    let mut walker = Walker::new(&mut stream);
    let mut entries = 0;
    while let Ok(Some(_)) = walker.advance() {
        entries += 1;
        assert!(entries <= ENTRIES, "more entries than blocks");
    }
    drain(&mut stream);
    assert!(stream.handed_on <= LIMIT + PIECE as u64, "{} bytes came out", stream.handed_on);
}

/// What follows the end marker counts too: it is part of the digest.
fn drain(stream: &mut impl Read) {
    let mut piece = vec![0; PIECE];
    while matches!(stream.read(&mut piece), Ok(1..)) {}
}

/// The stream, checked as layers are on their way to the confined process.
struct Bounded<R: io::BufRead> {
    decoder: Decoder<R>,
    compressed: u64,
    handed_on: u64,
}

impl<R: io::BufRead> Read for Bounded<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        bounded(self.handed_on, self.compressed, LIMIT).map_err(io::Error::other)?;
        let most = into.len().min(PIECE);
        let n = self.decoder.read(&mut into[..most])?;
        self.handed_on += n as u64;
        Ok(n)
    }
}
