//! Platforms: `linux/amd64`, `linux/arm/v7`, and the variables that stand for them.

use crate::error::Problem;
use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};

/// What an image runs on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    pub os: String,
    /// As image configurations name it: `amd64`, `arm64`.
    pub architecture: String,
    /// `v7`, or empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub variant: String,
}

/// Architectures that may stand alone, without `linux/`.
const ARCHITECTURES: [&str; 10] = ["386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x", "wasm"];

/// Systems that may stand alone, and are none we build for.
const SYSTEMS: [&str; 6] = ["windows", "darwin", "macos", "freebsd", "openbsd", "netbsd"];

impl Platform {
    /// Linux on this architecture.
    pub fn linux(architecture: &str) -> Self {
        let (architecture, variant) = normal(architecture, "");
        Self { os: "linux".to_owned(), architecture, variant }
    }

    /// The variables of this platform, named with a prefix: `TARGET`, `BUILD`.
    pub fn variables(&self, prefix: &str) -> [(String, String); 4] {
        [
            (format!("{prefix}PLATFORM"), self.to_string()),
            (format!("{prefix}OS"), self.os.clone()),
            (format!("{prefix}ARCH"), self.architecture.clone()),
            (format!("{prefix}VARIANT"), self.variant.clone()),
        ]
    }
}

impl FromStr for Platform {
    type Err = Problem;

    fn from_str(text: &str) -> Result<Self, Problem> {
        let wrong = || Problem::Platform { text: text.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        let word = |part: &&str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c));
        if !parts.iter().all(word) {
            return Err(wrong());
        }
        let (os, architecture, variant) = match parts.as_slice() {
            [one] if one.eq_ignore_ascii_case("linux") => return Err(wrong()),
            [one] if SYSTEMS.contains(&one.to_ascii_lowercase().as_str()) => (*one, "", ""),
            [one] => ("linux", *one, ""),
            [os, architecture] => (*os, *architecture, ""),
            [os, architecture, variant] => (*os, *architecture, *variant),
            _ => return Err(wrong()),
        };
        if !os.eq_ignore_ascii_case("linux") {
            return Err(Problem::NotLinux { text: text.to_owned() });
        }
        let (architecture, variant) = normal(architecture, variant);
        if parts.len() == 1 && !ARCHITECTURES.contains(&architecture.as_str()) {
            return Err(wrong());
        }
        Ok(Self { os: "linux".to_owned(), architecture, variant })
    }
}

/// The one name of an architecture that has several.
fn normal(architecture: &str, variant: &str) -> (String, String) {
    let (architecture, variant) = (architecture.to_ascii_lowercase(), variant.to_ascii_lowercase());
    let (architecture, variant) = match (architecture.as_str(), variant.as_str()) {
        ("i386", _) => ("386", ""),
        ("x86_64" | "x86-64" | "amd64", "v1") => ("amd64", ""),
        ("x86_64" | "x86-64", variant) => ("amd64", variant),
        ("aarch64" | "arm64", "8" | "v8" | "v8.0") => ("arm64", ""),
        ("aarch64", variant) => ("arm64", variant),
        ("armhf", _) => ("arm", "v7"),
        ("armel", _) => ("arm", "v6"),
        ("arm", "" | "7") => ("arm", "v7"),
        ("arm", "5") => ("arm", "v5"),
        ("arm", "6") => ("arm", "v6"),
        ("arm", "8") => ("arm", "v8"),
        other => other,
    };
    (architecture.to_owned(), variant.to_owned())
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        if self.variant.is_empty() { Ok(()) } else { write!(f, "/{}", self.variant) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_spellings() {
        let normal =
            |text: &str| text.parse::<Platform>().map(|platform| platform.to_string()).unwrap_or_else(|error| error.to_string());
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("LINUX/x86_64", "linux/amd64"),
            ("arm64", "linux/arm64"),
            ("linux/aarch64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/arm/6", "linux/arm/v6"),
            ("linux/future", "linux/future"),
            ("windows/amd64", "\"windows/amd64\" is a platform Roost does not build for: use linux/…"),
            ("windows", "\"windows\" is a platform Roost does not build for: use linux/…"),
            ("linux", "\"linux\" is no platform: write it like linux/amd64 or linux/arm64"),
            ("abacus", "\"abacus\" is no platform: write it like linux/amd64 or linux/arm64"),
            ("linux//x", "\"linux//x\" is no platform: write it like linux/amd64 or linux/arm64"),
            ("", "\"\" is no platform: write it like linux/amd64 or linux/arm64"),
            ("a/b/c/d", "\"a/b/c/d\" is no platform: write it like linux/amd64 or linux/arm64"),
        ] {
            assert_eq!(normal(text), expected, "{text}");
        }
        assert_eq!(Platform::linux("aarch64").to_string(), "linux/arm64");
    }
}
