//! Images as the cluster knows them. The content itself is found by digest in each server's content store.

use crate::{
    error::{Error, Result, sentence},
    quantity::{Bytes, Timestamp},
    spec::ContainerKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A name that leads to a manifest. One per name and tag, in the cluster's store; written by the API.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageRecord {
    /// Normalised reference, always with a tag: `web:latest`, `debian/bookworm:latest`, `127.0.0.1:5000/nginx:1.29`.
    pub name: String,
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// Bytes of all its layers as stored.
    pub size: Bytes,
    /// What its configuration says, as far as admission and people need it.
    pub config: ImageConfig,
    /// When it came.
    pub created: Timestamp,
    /// `sha256:…` of the index it was chosen from: what the name leads to for others. Absent when it was none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
    /// Why no server can run it, when none can: it is for other machines, or no image at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable: Option<String>,
}

impl ImageRecord {
    /// What the name leads to for others: the index if there is one, else the manifest.
    pub fn target(&self) -> &str {
        self.index.as_deref().unwrap_or(&self.digest)
    }
}

/// What an image says about how to run it (OCI image configuration, the parts we use).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ImageConfig {
    /// Whether it holds a system with its own init.
    #[serde(default)]
    pub kind: ContainerKind,
    /// Program and first arguments.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Further arguments.
    #[serde(default)]
    pub command: Vec<String>,
    /// Environment, in order, `KEY=value`.
    #[serde(default)]
    pub env: Vec<String>,
    /// User to run as.
    #[serde(default)]
    pub user: String,
    /// Directory to run in.
    #[serde(default)]
    pub workdir: String,
    /// Ports it says it listens on: `80/tcp`.
    #[serde(default)]
    pub exposed: Vec<String>,
    /// Directories it wants kept.
    #[serde(default)]
    pub volumes: Vec<String>,
    /// Signal that asks it to stop; `SIGTERM` when empty.
    #[serde(default)]
    pub stop_signal: String,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// `amd64`, `arm64`: as in the image configuration.
    #[serde(default)]
    pub architecture: String,
}

/// An image on one server, complete, unpacked and ready to be run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalImage {
    /// `sha256:…` of the manifest.
    pub digest: String,
    /// How to run it.
    pub config: ImageConfig,
    /// Unpacked layers, lowest first: absolute paths of directories to be overlaid, never written to.
    pub layers: Vec<std::path::PathBuf>,
    /// Bytes of the layers as stored.
    pub size: Bytes,
    /// `sha256:…` of the index that led to it, known only to whoever has just followed it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index: Option<String>,
}

/// Label of an image that came of a container: the container's name.
pub const COMMIT_LABEL: &str = "roost.commit";
/// Label of an image that is a snapshot of a container: the snapshot's name.
pub const SNAPSHOT_LABEL: &str = "roost.snapshot";
/// Labels that begin so tell how one image came to be; images made of it do not inherit them.
pub const ORIGIN_LABELS: [&str; 2] = [COMMIT_LABEL, SNAPSHOT_LABEL];

impl ImageRecord {
    /// The container it was made of, if it was.
    pub fn made_of(&self) -> Option<&str> {
        self.config.labels.get(COMMIT_LABEL).map(String::as_str)
    }

    /// Its name as a snapshot, if it is one. A container that was put back to one lives on the same content under another name.
    pub fn snapshot(&self) -> Option<&str> {
        self.config.labels.get(SNAPSHOT_LABEL).filter(|_| self.name.starts_with(SNAPSHOTS)).map(String::as_str)
    }

    /// Made for a snapshot, a clone or a job, and named by us: lists leave it out unless all is asked for.
    pub fn is_ours(&self) -> bool {
        self.snapshot().is_some() || self.name.starts_with(COMMITS) && self.made_of().is_some()
    }
}

/// Names of snapshots begin so: `snapshot/c1:before`.
pub const SNAPSHOTS: &str = "snapshot/";
/// Names of images made for clones and jobs begin so: `commit/c1:0123456789ab`.
pub const COMMITS: &str = "commit/";

/// What a new image says otherwise than the image it is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigChange {
    /// Replaces how it is run, whole; as before when absent.
    #[serde(default)]
    pub execution: Option<ImageConfig>,
    /// Labels added or replaced.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Lines of history, oldest first. The last is about the new layer, the ones before changed no files. One is invented
    /// when there is none.
    #[serde(default)]
    pub history: Vec<HistoryLine>,
}

/// A line of an image's history (OCI image specification, configuration, `history`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryLine {
    /// What did it: a line of a recipe.
    #[serde(default)]
    pub created_by: String,
    /// Free text.
    #[serde(default)]
    pub comment: String,
    /// When. Left out, the same files and the same change always give the same digest.
    #[serde(default)]
    pub created: Option<Timestamp>,
}

/// Most characters of an image's name, tag and digest included.
const LONGEST: usize = 255;

/// Normalises a reference a person typed: adds `:latest` when it has neither tag nor digest. Refuses what cannot be one.
pub fn normalise(text: &str) -> Result<String> {
    let bad = |why: &str| Err(Error::usage(sentence(format!("{text:?} is not an image name: {why}"))));
    if text.is_empty() || text.len() > LONGEST {
        return bad(&format!("use 1 to {LONGEST} characters"));
    }
    if let Some(c) = text.chars().find(|c| !(c.is_ascii_alphanumeric() || "._-/:@".contains(*c))) {
        return bad(&format!("{c:?} cannot be part of one"));
    }
    let (path, digest) = text.split_once('@').map_or((text, None), |(path, digest)| (path, Some(digest)));
    if digest.is_some_and(|digest| !is_digest(digest)) {
        return bad("what follows the @ is a digest, as in sha256:0123abcd…");
    }
    let last = path.rsplit('/').next().unwrap_or_default();
    if path.split('/').any(|part| part.is_empty() || part.starts_with(['.', '-', ':'])) {
        return bad("each part between slashes begins with a letter or digit");
    }
    if let Some((_, tag)) = last.split_once(':')
        && (tag.is_empty() || tag.len() > 128 || tag.contains(':'))
    {
        return bad("a tag has 1 to 128 characters");
    }
    if digest.is_some() || last.contains(':') {
        return Ok(text.to_owned());
    }
    match format!("{text}:latest") {
        name if name.len() > LONGEST => bad(&format!("with :latest after it, it has more than {LONGEST} characters")),
        name => Ok(name),
    }
}

/// Whether a text has the form of a digest (OCI image specification, descriptor, "Digests"), of whatever algorithm and length.
fn is_digest(text: &str) -> bool {
    let made_of =
        |part: &str, more: &str| !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c));
    text.split_once(':').is_some_and(|(algorithm, encoded)| made_of(algorithm, "._-") && made_of(encoded, "_-"))
}

/// Progress of a long image operation: one line of NDJSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", tag = "step")]
pub enum ImageProgress {
    /// Bytes of a layer, or of the upload, that have arrived; `total` is 0 when unknown.
    Fetching {
        /// Layer digest, or what is being fetched.
        what: String,
        /// Arrived.
        done: u64,
        /// Of so many.
        total: u64,
    },
    /// Something else is being done: `unpacking`, `bootstrapping`, with a line about it.
    Working {
        /// One line.
        message: String,
    },
    /// A step of a build begins, or is there already.
    Step {
        /// Which, from 1.
        number: u32,
        /// Of so many.
        of: u32,
        /// As it is written.
        text: String,
        /// Nothing had to be done.
        cached: bool,
    },
    /// A step of a build says something.
    Output {
        /// Which, from 1.
        number: u32,
        /// One line.
        line: String,
    },
    /// The end: it is there.
    Done {
        /// The record now in the cluster's store.
        image: Box<ImageRecord>,
    },
    /// The end: it is in another registry.
    Pushed {
        /// What its name leads to there.
        digest: String,
    },
    /// The end: it failed, and nothing was left.
    Failed {
        /// Why.
        error: Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_normalised() {
        let name = |text: &str| normalise(text).ok();
        assert_eq!(name("web").as_deref(), Some("web:latest"));
        assert_eq!(name("debian/bookworm").as_deref(), Some("debian/bookworm:latest"));
        assert_eq!(name("127.0.0.1:5000/nginx").as_deref(), Some("127.0.0.1:5000/nginx:latest"));
        assert_eq!(name("127.0.0.1:5000/nginx:1.29").as_deref(), Some("127.0.0.1:5000/nginx:1.29"));
        assert_eq!(name("web@sha256:00").as_deref(), Some("web@sha256:00"));
        for bad in ["", "a b", "../x", "/x", "x//y", "x:", "x:a:b", "-x", "x/;rm"] {
            assert_eq!(name(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_follows_the_at_has_the_form_of_a_digest() {
        for bad in ["x@", "x@y", "x@sha256:", "x@:00", "x@sha256:.io/", "x@sha256:00@sha256:00", "x@sha256:../y"] {
            assert!(normalise(bad).unwrap_err().message.contains("digest"), "{bad}");
        }
    }

    #[test]
    fn what_was_normalised_is_taken_as_it_is() {
        for length in [1, 247, 248, 249, 254, 255, 256] {
            let text = "a".repeat(length);
            match normalise(&text) {
                Ok(name) => assert_eq!(normalise(&name), Ok(name)),
                Err(error) => assert!(length > 248, "{error}"),
            }
        }
    }
}
