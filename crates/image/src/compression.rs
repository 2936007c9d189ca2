//! Compressed streams: told apart by their first bytes, and bounded in what they may become.

use crate::error::{Error, Result};
use std::io::{self, BufRead, Read};

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Plain,
    /// RFC 1952.
    Gzip,
    /// RFC 8878.
    Zstd,
}

/// First bytes of formats that are known and not taken, with their names.
const OTHERS: [(&[u8], &str); 4] = [(b"\xfd7zXZ\0", "xz"), (b"BZh", "bzip2"), (b"PK\x03\x04", "zip"), (b"hsqs", "squashfs")];

impl Compression {
    /// From the first bytes (at least six, when there are so many).
    pub fn sniff(head: &[u8]) -> Result<Self> {
        if head.starts_with(&[0x1f, 0x8b]) {
            return Ok(Self::Gzip);
        }
        if head.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Ok(Self::Zstd);
        }
        match OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
            Some((_, name)) => {
                Err(Error::content(format!("the archive is in {name} form: give it as tar, plain or compressed by gzip or zstd")))
            }
            None => Ok(Self::Plain),
        }
    }

    /// Media type of a layer in this form (OCI image specification, layer).
    pub const fn layer_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

/// A stream as it was before it was compressed.
pub enum Decoder<R: BufRead> {
    /// Was not.
    Plain(R),
    /// Any number of members.
    Gzip(Box<flate2::bufread::MultiGzDecoder<R>>),
    /// Any number of frames; windows of at most 128 MiB (the format's recommended limit is 8, `--ultra` writes more).
    Zstd(zstd::stream::read::Decoder<'static, R>),
}

impl<R: BufRead> Decoder<R> {
    /// Of a stream that has been sniffed.
    pub fn new(reader: R, compression: Compression) -> io::Result<Self> {
        Ok(match compression {
            Compression::Plain => Self::Plain(reader),
            Compression::Gzip => Self::Gzip(Box::new(flate2::bufread::MultiGzDecoder::new(reader))),
            Compression::Zstd => Self::Zstd(zstd::stream::read::Decoder::with_buffer(reader)?),
        })
    }

    /// The compressed stream.
    pub fn get_ref(&self) -> &R {
        match self {
            Self::Plain(reader) => reader,
            Self::Gzip(decoder) => decoder.get_ref(),
            Self::Zstd(decoder) => decoder.get_ref(),
        }
    }

    /// The compressed stream, as far as it has been read.
    pub fn into_inner(self) -> R {
        match self {
            Self::Plain(reader) => reader,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl<R: BufRead> Read for Decoder<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(reader) => reader.read(into),
            Self::Gzip(decoder) => decoder.read(into),
            Self::Zstd(decoder) => decoder.read(into),
        }
    }
}

/// Below this many unpacked bytes no ratio is suspicious.
const SMALL: u64 = 1 << 30;
/// Beyond that, most unpacked bytes for each compressed byte. File systems compress 2 to 10 times; gzip cannot exceed 1,032.
const MAX_RATIO: u64 = 200;

/// Refuses what unpacks to more than `limit`, or to far more than it was.
pub fn bounded(unpacked: u64, compressed: u64, limit: u64) -> Result<()> {
    if unpacked > limit {
        let limit = api::Bytes(limit);
        return Err(Error::content(format!(
            "the archive unpacks to more than {limit}, the most that is allowed or fits on the disk"
        )));
    }
    if unpacked > SMALL && unpacked / MAX_RATIO > compressed {
        let (from, to) = (api::Bytes(compressed), api::Bytes(unpacked));
        return Err(Error::content(format!("the archive is a decompression bomb: {from} became {to} and more was to come")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_are_told_apart() {
        assert_eq!(Compression::sniff(&[0x1f, 0x8b, 8]).unwrap(), Compression::Gzip);
        assert_eq!(Compression::sniff(&[0x28, 0xb5, 0x2f, 0xfd, 0]).unwrap(), Compression::Zstd);
        assert_eq!(Compression::sniff(b"bin/").unwrap(), Compression::Plain);
        assert!(Compression::sniff(b"\xfd7zXZ\0\0").unwrap_err().to_string().contains("xz"));
    }

    #[test]
    fn bombs_are_refused_and_base_systems_are_not() {
        assert!(bounded(500 << 20, 1000, 64 << 30).is_ok(), "a small file of zeros");
        assert!(bounded(2 << 30, 200 << 20, 64 << 30).is_ok(), "a big base system");
        assert!(bounded(2 << 30, 2 << 20, 64 << 30).unwrap_err().to_string().contains("bomb"));
        assert!(bounded(2 << 30, 1 << 30, 1 << 30).unwrap_err().to_string().contains("more than 1G"));
    }
}
