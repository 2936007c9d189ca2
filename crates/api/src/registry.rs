//! The registry inside: what it keeps, what it answers when it says no (OCI distribution specification 1.1).

pub mod asked;

use crate::{
    error::sentence,
    image::ImageConfig,
    quantity::{Bytes, Timestamp},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt};

/// Largest manifest or index that is taken: the least the specification asks of a registry.
pub const MANIFEST_MAX: usize = 4 << 20;

/// The specification's error codes, those we use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Code {
    /// No such blob.
    BlobUnknown,
    /// A piece does not follow what is there.
    BlobUploadInvalid,
    /// No such upload.
    BlobUploadUnknown,
    /// Content and digest differ, or it is no digest.
    DigestInvalid,
    /// A manifest names content that is not here.
    ManifestBlobUnknown,
    /// Not a manifest.
    ManifestInvalid,
    /// No such manifest or tag.
    ManifestUnknown,
    /// Not a name.
    NameInvalid,
    /// No such repository.
    NameUnknown,
    /// Too much.
    SizeInvalid,
    /// Not a number of entries. Of the distribution project's registry, not of the specification.
    PaginationNumberInvalid,
    /// Who asks has to say who they are.
    Unauthorized,
    /// Who asks may not.
    Denied,
    /// Not here.
    Unsupported,
    /// Too often, or too many at once.
    Toomanyrequests,
    /// It was tried and failed. Not of the specification, which leaves further codes to registries.
    Unknown,
}

impl Code {
    /// The HTTP status it goes with.
    pub const fn status(self) -> u16 {
        match self {
            Self::BlobUnknown
            | Self::BlobUploadUnknown
            | Self::ManifestBlobUnknown
            | Self::ManifestUnknown
            | Self::NameUnknown => 404,
            Self::BlobUploadInvalid => 416,
            Self::DigestInvalid | Self::ManifestInvalid | Self::NameInvalid | Self::PaginationNumberInvalid => 400,
            Self::SizeInvalid => 413,
            Self::Unauthorized => 401,
            Self::Denied => 403,
            Self::Unsupported => 405,
            Self::Toomanyrequests => 429,
            Self::Unknown => 500,
        }
    }
}

/// A "no" of the registry: one code, one sentence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// Which.
    pub code: Code,
    /// One sentence.
    pub message: String,
}

impl Refusal {
    /// With this code and sentence, which may quote what a client sent.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: sentence(message) }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Refusal {}

/// The body of an answer that is a "no".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusals {
    /// One, with us.
    pub errors: Vec<Refusal>,
}

/// A manifest or index that a content store keeps as it came.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldManifest {
    /// `sha256:…`
    pub digest: String,
    /// As it was pushed.
    pub media_type: String,
    /// Bytes of the manifest itself.
    pub size: u64,
    /// What kind of thing it describes: its own word, else the type of its configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The manifest that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// As written in it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Manifests it consists of, when it is an index.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub manifests: Vec<String>,
    /// What servers run of it.
    pub runs: Runs,
}

/// Whether servers can run something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Runs {
    /// This image.
    Image {
        /// Of its manifest; another one than asked for when that was an index.
        digest: String,
        /// Bytes of its layers.
        size: Bytes,
        /// How to run it.
        config: Box<ImageConfig>,
    },
    /// Nothing, and why: one sentence.
    Nothing(String),
}

/// A manifest in a repository of the registry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestRecord {
    /// What it is.
    pub held: HeldManifest,
    /// When it was pushed.
    pub pushed: Timestamp,
}

/// What everybody may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistrySettings {
    /// Pulls need no token.
    #[serde(default)]
    pub anonymous_pull: bool,
}

/// What a token of the registry allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    /// To pull.
    #[default]
    Pull,
    /// To pull, push and delete.
    Push,
}

/// The registry, shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RegistryView {
    /// Where it answers, with TLS of the cluster's authority: `10.0.0.1:7445`.
    pub address: String,
    /// Where it answers on the manager itself, without TLS: `127.0.0.1:7445`.
    pub loopback: String,
    /// Certificate of the cluster's authority, PEM, for clients that check who answers.
    pub authority: String,
    /// What everybody may do.
    pub settings: RegistrySettings,
    /// Names in it.
    pub repositories: usize,
}

/// Whether a text is the name of a repository (specification, "Pulling manifests": `<name>`), at most 255 characters.
pub fn is_repository(name: &str) -> bool {
    let component = |part: &str| {
        let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
        ends(part.bytes().next())
            && ends(part.bytes().last())
            && part.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(is_separator)
    };
    !name.is_empty() && name.len() <= 255 && name.split('/').all(component)
}

/// Between letters and digits of a name: nothing, a dot, one or two underscores, dashes.
fn is_separator(text: &str) -> bool {
    matches!(text, "" | "." | "_" | "__") || text.bytes().all(|b| b == b'-')
}

/// Whether a text is a tag: a letter, digit or underscore, then up to 127 of these, dots and dashes.
pub fn is_tag(tag: &str) -> bool {
    let word = |c: u8| c.is_ascii_alphanumeric() || c == b'_';
    tag.len() <= 128 && tag.bytes().next().is_some_and(word) && tag.bytes().all(|c| word(c) || c == b'.' || c == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_tags_as_the_specification_has_them() {
        for good in ["web", "a", "team/web", "a.b/c_d/e__f/g---h", "debian/bookworm", "0/1"] {
            assert!(is_repository(good), "{good}");
        }
        for bad in ["", "/", "Web", "a//b", "a/", "/a", "-a", "a-", "a..b", "a___b", "a._b", "a:b", "a b", "../x"] {
            assert!(!is_repository(bad), "{bad}");
        }
        assert!(!is_repository(&"a".repeat(256)));
        for good in ["latest", "1.0", "_x", "A-b_c.d"] {
            assert!(is_tag(good), "{good}");
        }
        for bad in ["", ".x", "-x", "a/b", "a:b", "sha256:00", "a b"] {
            assert!(!is_tag(bad), "{bad}");
        }
        assert!(is_tag(&"a".repeat(128)) && !is_tag(&"a".repeat(129)));
    }

    #[test]
    fn codes_are_spelled_as_in_the_specification() {
        let refusals = Refusals { errors: vec![Refusal::new(Code::BlobUploadUnknown, "no such upload")] };
        let text = serde_json::to_string(&refusals).unwrap();
        assert_eq!(text, r#"{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN","message":"no such upload"}]}"#);
        assert_eq!(serde_json::to_string(&Code::Toomanyrequests).unwrap(), r#""TOOMANYREQUESTS""#);
    }
}
