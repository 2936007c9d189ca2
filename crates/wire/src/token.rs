//! The one word a person carries from a manager to a server that is to join.
//!
//! `roost-1-` and base32 of: address family (4 or 6), address, port, length and bytes of the authority's fingerprint, secret,
//! and the first four bytes of the SHA-256 of all that, so that a damaged token is told from a refused one.

use api::{Error, Result};
use base::env;
use sha2::{Digest as _, Sha256};
use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

const PREFIX: &str = "roost-1-";
const CHECKSUM: usize = 4;
const FINGERPRINT: usize = 32;
/// Longest token text read; a real one has about 130 characters.
const TEXT_MAX: usize = 1024;
/// RFC 4648, section 6, in lower case: no two signs look alike, and the whole is one word to a terminal.
const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Where to join, whom to trust there, and the secret that is accepted.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    /// The manager's API.
    pub address: SocketAddr,
    /// SHA-256 of the authority's certificate, hex: [`crate::identity::Authority::fingerprint`].
    pub authority: String,
    /// What the manager knows the token by; it keeps only a hash.
    pub secret: String,
}

/// A fresh secret for a token: 160 random bits, base32.
pub fn secret() -> String {
    encode(&env::random_bytes::<20>())
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("address", &self.address).field("authority", &self.authority).finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = Vec::new();
        match self.address.ip() {
            IpAddr::V4(ip) => {
                bytes.push(4);
                bytes.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                bytes.push(6);
                bytes.extend(ip.octets());
            }
        }
        bytes.extend(self.address.port().to_be_bytes());
        let fingerprint = hex::decode(&self.authority).unwrap_or_default();
        bytes.push(u8::try_from(fingerprint.len()).unwrap_or(0));
        bytes.extend(fingerprint);
        bytes.extend(self.secret.as_bytes());
        bytes.extend(checksum(&bytes));
        write!(f, "{PREFIX}{}", encode(&bytes))
    }
}

impl FromStr for JoinToken {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let text = text.trim();
        let word = text.strip_prefix(PREFIX).ok_or_else(|| {
            Error::usage(format!("that is not a join token: one begins with {PREFIX}, as `roost token create` prints it"))
        })?;
        let damaged = || Error::usage("the join token is damaged: copy the whole word that `roost token create` printed");
        let bytes = Some(word).filter(|word| word.len() <= TEXT_MAX).and_then(decode).ok_or_else(damaged)?;
        let (payload, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or_else(damaged)?;
        if checksum(payload) != *sum {
            return Err(damaged());
        }
        parse(payload).ok_or_else(damaged)
    }
}

fn parse(payload: &[u8]) -> Option<JoinToken> {
    let (family, rest) = payload.split_first()?;
    let (ip, rest) = match family {
        4 => rest.split_first_chunk::<4>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        6 => rest.split_first_chunk::<16>().map(|(ip, rest)| (IpAddr::from(*ip), rest))?,
        _ => return None,
    };
    let (port, rest) = rest.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first()?;
    let (fingerprint, secret) = rest.split_first_chunk::<FINGERPRINT>().filter(|_| usize::from(*length) == FINGERPRINT)?;
    let secret = String::from_utf8(secret.to_vec()).ok().filter(|secret| !secret.is_empty())?;
    Some(JoinToken { address: SocketAddr::new(ip, u16::from_be_bytes(*port)), authority: hex::encode(fingerprint), secret })
}

fn checksum(bytes: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::digest(bytes);
    std::array::from_fn(|i| digest[i])
}

fn encode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let bits = chunk.iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte)) << (8 * (5 - chunk.len()));
        let signs = (chunk.len() * 8).div_ceil(5);
        text.extend((0..signs).map(|i| char::from(ALPHABET[(bits >> (35 - 5 * i) & 31) as usize])));
    }
    text
}

fn decode(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() * 5 / 8);
    for chunk in text.as_bytes().chunks(8) {
        let mut bits = 0u64;
        for sign in chunk {
            bits = bits << 5 | ALPHABET.iter().position(|known| *known == sign.to_ascii_lowercase())? as u64;
        }
        let whole = chunk.len() * 5 / 8;
        bits <<= 40 - 5 * chunk.len();
        bytes.extend((0..whole).map(|i| (bits >> (32 - 8 * i)) as u8));
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::Kind;
    use proptest::prelude::*;

    fn token() -> JoinToken {
        JoinToken { address: ([10, 0, 0, 1], 7443).into(), authority: "ab".repeat(32), secret: secret() }
    }

    #[test]
    fn is_one_word() {
        let text = token().to_string();
        assert!(text.starts_with("roost-1-") && text.len() < 140, "{text}");
        assert!(text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'), "{text}");
        assert_eq!(secret().len(), 32);
        assert_ne!(secret(), secret());
        assert!(!format!("{:?}", token()).contains(&token().secret));
    }

    #[test]
    fn base32_as_in_the_standard() {
        // RFC 4648, section 10.
        for (plain, text) in
            [("", ""), ("f", "my"), ("fo", "mzxq"), ("foo", "mzxw6"), ("foob", "mzxw6yq"), ("foobar", "mzxw6ytboi")]
        {
            assert_eq!(encode(plain.as_bytes()), text);
            assert_eq!(decode(text).unwrap(), plain.as_bytes());
        }
    }

    #[test]
    fn wrong_text_is_refused_in_one_sentence() {
        let other = "roost-2-aaaa".parse::<JoinToken>().unwrap_err();
        assert_eq!(other.kind, Kind::Usage);
        assert_eq!(other.message, "that is not a join token: one begins with roost-1-, as `roost token create` prints it");
        let damaged = "the join token is damaged: copy the whole word that `roost token create` printed";
        let long = format!("roost-1-{}", "a".repeat(5000));
        for text in ["roost-1-", "roost-1-a", "roost-1-!!", "roost-1-é", &long] {
            let error = text.parse::<JoinToken>().unwrap_err();
            assert_eq!((error.kind, error.message.as_str()), (Kind::Usage, damaged));
        }
        let bad = JoinToken { authority: "short".to_owned(), ..token() };
        assert_eq!(bad.to_string().parse::<JoinToken>().unwrap_err().message, damaged);
    }

    proptest! {
        #[test]
        fn comes_back_as_it_was(ip: IpAddr, port: u16, authority: [u8; 32], secret in ".{1,100}") {
            let token = JoinToken { address: SocketAddr::new(ip, port), authority: hex::encode(authority), secret };
            prop_assert_eq!(token.to_string().parse::<JoinToken>().unwrap(), token.clone());
            prop_assert_eq!(format!(" {token}\n").parse::<JoinToken>().unwrap(), token);
        }

        #[test]
        fn one_wrong_or_missing_sign_is_noticed(at in 8usize..100, sign in 1usize..32) {
            let mut text = token().to_string().into_bytes();
            let old = ALPHABET.iter().position(|known| *known == text[at]).unwrap();
            let cut = String::from_utf8(text[..at].to_vec()).unwrap();
            text[at] = ALPHABET[(old + sign) % 32];
            prop_assert!(String::from_utf8(text).unwrap().parse::<JoinToken>().is_err());
            prop_assert!(cut.parse::<JoinToken>().is_err());
        }

        #[test]
        fn nothing_panics(text in "(roost-1-)?.{0,200}") {
            let _ = text.parse::<JoinToken>();
        }
    }
}
