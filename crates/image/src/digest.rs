//! Digests: the one algorithm we store under, and readers and writers that compute it on the way.

use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{fmt, io, str::FromStr};

/// `sha256:` and 64 lower-case hexadecimal digits (OCI image specification, descriptor, "Digests").
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

const PREFIX: &str = "sha256:";
const HEX_LEN: usize = 64;

impl Digest {
    /// Only the hexadecimal digits: safe as a file name.
    pub fn hex(&self) -> &str {
        self.0.get(PREFIX.len()..).unwrap_or_default()
    }

    /// With the algorithm.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Of bytes in memory.
    pub fn of(bytes: &[u8]) -> Self {
        let mut hash = Hasher::default();
        hash.update(bytes);
        hash.finish()
    }
}

impl FromStr for Digest {
    type Err = Error;
    fn from_str(text: &str) -> Result<Self> {
        let hex = text.strip_prefix(PREFIX).unwrap_or_default();
        if hex.len() == HEX_LEN && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Ok(Self(text.to_owned()));
        }
        let shown: String = text.chars().take(100).collect();
        Err(Error::content(format!("{shown:?} is not a digest: sha256: and 64 hexadecimal digits are")))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A running digest with the number of bytes.
#[derive(Clone, Default)]
pub struct Hasher {
    hash: Sha256,
    bytes: u64,
}

impl Hasher {
    /// Takes in more.
    pub fn update(&mut self, bytes: &[u8]) {
        self.hash.update(bytes);
        self.bytes += bytes.len() as u64;
    }

    /// Bytes so far.
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The digest of all that went in so far.
    pub fn peek(&self) -> Digest {
        self.clone().finish()
    }

    /// The digest of all that went in.
    pub fn finish(self) -> Digest {
        Digest(format!("{PREFIX}{}", hex::encode(self.hash.finalize())))
    }
}

/// A writer that computes the digest of what passes.
pub struct HashWriter<W> {
    /// Where it goes.
    pub inner: W,
    /// Of what went there.
    pub hash: Hasher,
}

impl<W: io::Write> HashWriter<W> {
    /// Nothing has passed yet.
    pub fn new(inner: W) -> Self {
        Self { inner, hash: Hasher::default() }
    }
}

impl<W: io::Write> io::Write for HashWriter<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.inner.write(bytes)?;
        self.hash.update(bytes.get(..n).unwrap_or_default());
        Ok(n)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answer_and_form() {
        // FIPS 180-2, appendix B.1.
        let abc = Digest::of(b"abc");
        assert_eq!(abc.hex(), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(abc.as_str().parse::<Digest>().unwrap(), abc);
        for bad in ["", "sha256:", "sha512:00", "sha256:../../../etc/passwd", &abc.as_str().to_uppercase(), abc.hex()] {
            assert!(bad.parse::<Digest>().is_err(), "{bad}");
        }
    }
}
