//! Secrets in the form an app wants them: as characters, or as bytes written in hex or base64.

/// How a generated secret is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it comes.
    Characters,
    /// Two hex digits for each byte.
    Hex,
    /// Base64 with padding (RFC 4648, section 4).
    Base64,
}

impl Form {
    /// Generates a secret. The characters that come are the bytes that are written.
    pub fn generate(self, length: usize, secrets: &mut dyn FnMut(usize) -> String) -> String {
        let raw = secrets(length);
        match self {
            Self::Characters => raw,
            Self::Hex => hex::encode(raw),
            Self::Base64 => base64(raw.as_bytes()),
        }
    }
}

/// The alphabet of base64, by value.
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let bits = (0..3).fold(0_u32, |bits, index| bits << 8 | u32::from(group.get(index).copied().unwrap_or_default()));
        for index in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * index) & 63) as usize];
            out.push(if index <= group.len() { char::from(digit) } else { '=' });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_as_in_the_standard() {
        // RFC 4648, section 10.
        for (plain, encoded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(plain.as_bytes()), encoded);
        }
    }

    #[test]
    fn a_form_counts_bytes() {
        let mut secrets = |length: usize| "a".repeat(length);
        assert_eq!(Form::Characters.generate(3, &mut secrets), "aaa");
        assert_eq!(Form::Hex.generate(3, &mut secrets), "616161");
        assert_eq!(Form::Base64.generate(3, &mut secrets), "YWFh");
    }
}
