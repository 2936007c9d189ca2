//! What `roost build` sends: a tar archive whose first member says what is asked for; what follows below `context/` is the folder
//! that files are copied from.

use crate::{
    error::{Error, Result},
    spec::ContainerKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Name of the first member.
pub const MEMBER: &str = "build.json";
/// Members of the context begin so.
pub const CONTEXT: &str = "context/";
/// Most bytes of the first member: a file, secrets, and a line for each image of the cluster.
pub const MEMBER_MAX: u64 = 32 << 20;
/// What archives are made of (POSIX pax, ustar interchange format).
pub const BLOCK: usize = 512;

/// What is to be built.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BuildRequest {
    /// Name of the image.
    pub name: String,
    /// Name of the file, which says its language: `Recipe` and `*.recipe` are recipes, all else is a Dockerfile.
    pub file: String,
    /// What is in it.
    pub text: String,
    /// The stage to build; the last when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Arguments of the build.
    #[serde(default)]
    pub build_args: BTreeMap<String, String>,
    /// Do every step again.
    #[serde(default)]
    pub no_cache: bool,
    /// What steps may read and nobody else: by name.
    #[serde(default)]
    pub secrets: BTreeMap<String, Secret>,
    /// An app or a system; as the file says when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<ContainerKind>,
    /// Digests of the cluster's images by name. The manager fills it in.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
}

/// Bytes nobody is to see, in base64 (RFC 4648).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// Bytes that fill the last block of so much data.
pub const fn padding(size: u64) -> u64 {
    size.wrapping_neg() % BLOCK as u64
}

/// The first member, whole: header, content (a [`BuildRequest`] as JSON), padding.
pub fn member(content: &[u8]) -> Result<Vec<u8>> {
    let size = content.len() as u64;
    if size > MEMBER_MAX {
        return Err(Error::usage(format!(
            "the build's file, arguments and secrets have {size} bytes, and may have {MEMBER_MAX}"
        )));
    }
    let mut bytes = header(size).to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len() + usize::try_from(padding(size)).unwrap_or_default(), 0);
    Ok(bytes)
}

/// Where fields of a header begin (POSIX, ustar).
mod field {
    pub const MODE: usize = 100;
    pub const SIZE: usize = 124;
    pub const TIME: usize = 136;
    pub const SUM: usize = 148;
    pub const KIND: usize = 156;
    pub const MAGIC: usize = 257;
}

fn header(size: u64) -> [u8; BLOCK] {
    let mut block = [0u8; BLOCK];
    let mut put = |at: usize, bytes: &[u8]| block[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, MEMBER.as_bytes());
    put(field::MODE, b"0000600");
    put(field::MODE + 8, b"0000000");
    put(field::MODE + 16, b"0000000");
    put(field::SIZE, format!("{size:011o}").as_bytes());
    put(field::TIME, b"00000000000");
    put(field::SUM, b"        ");
    put(field::KIND, b"0");
    put(field::MAGIC, b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[field::SUM..field::SUM + 7].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    block
}

/// Bytes of the first member, by its header.
pub fn member_size(header: &[u8; BLOCK]) -> Result<u64> {
    let wrong = |why: &str| Error::usage(format!("what was sent is no build: {why}"));
    let name = header.split(|byte| *byte == 0).next().unwrap_or_default();
    if name != MEMBER.as_bytes() {
        return Err(wrong(&format!("its first member is not {MEMBER}")));
    }
    let digits = std::str::from_utf8(&header[field::SIZE..field::SIZE + 11]).unwrap_or_default();
    let size = u64::from_str_radix(digits.trim_matches(['\0', ' ']), 8).map_err(|_| wrong("its first member has no size"))?;
    if size > MEMBER_MAX {
        return Err(wrong(&format!("its first member has {size} bytes, and may have {MEMBER_MAX}")));
    }
    Ok(size)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_read_back() {
        let request = BuildRequest {
            name: "web".to_owned(),
            text: "FROM scratch\n".repeat(100),
            secrets: [("key".to_owned(), Secret("c2VjcmV0".to_owned()))].into(),
            ..BuildRequest::default()
        };
        let bytes = member(&serde_json::to_vec(&request).unwrap()).unwrap();
        assert_eq!(bytes.len() % BLOCK, 0);
        let size = member_size(bytes[..BLOCK].try_into().unwrap()).unwrap();
        let end = BLOCK + usize::try_from(size).unwrap();
        assert_eq!(serde_json::from_slice::<BuildRequest>(&bytes[BLOCK..end]).unwrap(), request);
        let sum: u32 = bytes[..148].iter().chain(&bytes[156..BLOCK]).map(|b| u32::from(*b)).sum::<u32>() + 8 * 32;
        assert_eq!(u32::from_str_radix(std::str::from_utf8(&bytes[148..154]).unwrap(), 8).unwrap(), sum);
        assert!(!format!("{request:?}").contains("c2VjcmV0"), "a secret is never shown");
    }

    #[test]
    fn what_is_no_build_is_refused() {
        let mut block = [0u8; BLOCK];
        assert_eq!(member_size(&block).unwrap_err().message, "what was sent is no build: its first member is not build.json");
        block[..10].copy_from_slice(MEMBER.as_bytes());
        assert_eq!(member_size(&block).unwrap_err().message, "what was sent is no build: its first member has no size");
    }
}
