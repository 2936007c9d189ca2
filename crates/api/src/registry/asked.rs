//! What a path of the registry asks for. Names have slashes in them, so the last words decide. Pure.

use super::{Code, Refusal, is_repository, is_tag};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// `/v2/`: whether this is a registry, and who asks.
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags {
        /// Of which repository.
        name: String,
    },
    /// `/v2/<name>/manifests/<reference>`
    Manifest {
        /// In which repository.
        name: String,
        /// Which.
        reference: Reference,
    },
    /// `/v2/<name>/blobs/<digest>`
    Blob {
        /// In which repository; content is shared by all.
        name: String,
        /// Which.
        digest: String,
    },
    /// `/v2/<name>/blobs/uploads/`
    Uploads {
        /// For which repository.
        name: String,
    },
    /// `/v2/<name>/blobs/uploads/<upload>`
    Upload {
        /// For which repository.
        name: String,
        /// Which.
        upload: String,
    },
    /// `/v2/<name>/referrers/<digest>`
    Referrers {
        /// In which repository.
        name: String,
        /// To what.
        digest: String,
    },
}

/// A tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reference {
    /// A name that leads to a manifest.
    Tag(String),
    /// The manifest itself.
    Digest(String),
}

impl Asked {
    /// From the path.
    pub fn parse(path: &str) -> Result<Self, Refusal> {
        let unknown = || Refusal::new(Code::Unsupported, format!("there is no {path} in the registry"));
        if path == "/v2" || path == "/v2/" {
            return Ok(Self::Base);
        }
        let rest = path.strip_prefix("/v2/").ok_or_else(unknown)?;
        let words: Vec<&str> = rest.split('/').collect();
        let name = |words: &[&str]| repository(&words.join("/"));
        Ok(match words.as_slice() {
            ["_catalog"] => Self::Catalog,
            [before @ .., "tags", "list"] => Self::Tags { name: name(before)? },
            [before @ .., "manifests", reference] => {
                Self::Manifest { name: name(before)?, reference: Reference::parse(reference)? }
            }
            [before @ .., "blobs", "uploads"] | [before @ .., "blobs", "uploads", ""] => Self::Uploads { name: name(before)? },
            [before @ .., "blobs", "uploads", upload] => Self::Upload { name: name(before)?, upload: word(upload, unknown)? },
            [before @ .., "blobs", one] => Self::Blob { name: name(before)?, digest: digest(one)? },
            [before @ .., "referrers", one] => Self::Referrers { name: name(before)?, digest: digest(one)? },
            _ => return Err(unknown()),
        })
    }
}

impl Reference {
    /// From a path's last word.
    pub fn parse(text: &str) -> Result<Self, Refusal> {
        if text.contains(':') || text.contains('%') {
            return digest(text).map(Self::Digest);
        }
        if is_tag(text) {
            return Ok(Self::Tag(text.to_owned()));
        }
        Err(Refusal::new(Code::ManifestInvalid, format!("{text:?} is neither a tag nor a digest")))
    }
}

fn word(text: &str, unknown: impl Fn() -> Refusal) -> Result<String, Refusal> {
    if text.bytes().all(|b| b.is_ascii_alphanumeric()) { Ok(text.to_owned()) } else { Err(unknown()) }
}

fn repository(name: &str) -> Result<String, Refusal> {
    if is_repository(name) {
        return Ok(name.to_owned());
    }
    let why = "use lower-case letters and digits, with . _ - between them, in parts between slashes, at most 255 characters";
    Err(Refusal::new(Code::NameInvalid, format!("{name:?} is not the name of a repository: {why}")))
}

/// A digest as it stands in a path; the colon may be escaped.
pub fn digest(text: &str) -> Result<String, Refusal> {
    let text = text.replace("%3A", ":").replace("%3a", ":");
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
        return Ok(text);
    }
    Err(Refusal::new(Code::DigestInvalid, format!("{text:?} is not a digest: sha256: and 64 hexadecimal digits are")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_words_decide() {
        let digest = format!("sha256:{}", "0".repeat(64));
        let parse = |path: &str| Asked::parse(path).map_err(|refusal| refusal.code);
        assert_eq!(parse("/v2/"), Ok(Asked::Base));
        assert_eq!(parse("/v2/_catalog"), Ok(Asked::Catalog));
        let name = "team/blobs/web".to_owned();
        assert_eq!(parse("/v2/team/blobs/web/tags/list"), Ok(Asked::Tags { name: name.clone() }));
        let reference = Reference::Tag("1.0".to_owned());
        assert_eq!(parse("/v2/team/blobs/web/manifests/1.0"), Ok(Asked::Manifest { name: name.clone(), reference }));
        let reference = Reference::Digest(digest.clone());
        assert_eq!(parse(&format!("/v2/web/manifests/{digest}")), Ok(Asked::Manifest { name: "web".to_owned(), reference }));
        assert_eq!(parse("/v2/team/blobs/web/blobs/uploads/"), Ok(Asked::Uploads { name: name.clone() }));
        let upload = "00ff".to_owned();
        assert_eq!(parse("/v2/team/blobs/web/blobs/uploads/00ff"), Ok(Asked::Upload { name: name.clone(), upload }));
        assert_eq!(parse(&format!("/v2/team/blobs/web/blobs/{digest}")), Ok(Asked::Blob { name, digest: digest.clone() }));
        let referrers = Asked::Referrers { name: "web".to_owned(), digest };
        assert_eq!(parse(&format!("/v2/web/referrers/sha256%3A{}", "0".repeat(64))), Ok(referrers));
        assert_eq!(parse("/v2/Web/tags/list"), Err(Code::NameInvalid));
        assert_eq!(parse("/v2//tags/list"), Err(Code::NameInvalid));
        assert_eq!(parse("/v2/web/blobs/sha256:00"), Err(Code::DigestInvalid));
        assert_eq!(parse("/v2/web/manifests/sha512:00"), Err(Code::DigestInvalid));
        assert_eq!(parse("/v2/web/manifests/.x"), Err(Code::ManifestInvalid));
        assert_eq!(parse("/v2/web/blobs/uploads/../x"), Err(Code::Unsupported));
        let says = Asked::parse("/v2/a\u{1b}[2J").unwrap_err().message;
        assert_eq!(says, "there is no /v2/a\\u{1b}[2J in the registry");
        for long in [format!("/v2/{}", "x".repeat(9_000)), format!("/v2/web/manifests/{}", "x".repeat(9_000))] {
            assert!(Asked::parse(&long).unwrap_err().message.len() < 700);
        }
        for other in ["/", "/v1/x", "/v2/web", "/v3/"] {
            assert_eq!(parse(other), Err(Code::Unsupported), "{other}");
        }
    }
}
