//! A content store as registries see it: uploads that come in pieces, and manifests of whatever kind.

use crate::{Result, image::Progress};
use api::{
    registry::{HeldManifest, Refusal},
    view::{ArchiveFormat, PushRequest},
};
use std::io::{Read, Write};

/// Blobs on their way in. An upload outlives connections and processes; one that nobody touches for an hour goes.
pub trait Uploads: Send + Sync {
    /// Begins one; gives its name.
    fn begin(&self) -> Result<String, Refusal>;

    /// Bytes of it that have come.
    fn received(&self, upload: &str) -> Result<u64, Refusal>;

    /// Takes more. `at` is where it must begin, if whoever sends it says so. What came before a reader fails stays. Gives the
    /// bytes that have come in all.
    fn append(&self, upload: &str, at: Option<u64>, bytes: &mut dyn Read) -> Result<u64, Refusal>;

    /// It is whole, and is content if it has this digest; else it is gone. Content that no manifest needs stays for an hour.
    fn finish(&self, upload: &str, digest: &str) -> Result<(), Refusal>;

    /// Forgets it.
    fn cancel(&self, upload: &str) -> Result<(), Refusal>;
}

/// Manifests that are kept as they came, and the ways out.
pub trait Content: Uploads {
    /// Keeps a manifest or index, and what it names, which must be here.
    fn hold(&self, manifest: &[u8], media_type: &str) -> Result<HeldManifest, Refusal>;

    /// Digests of all that is kept so.
    fn held(&self) -> Vec<String>;

    /// Bytes of a blob, if it is here; who asks has an hour to make use of it.
    fn size(&self, digest: &str) -> Option<u64>;

    /// Removes a blob, unless a manifest needs it.
    fn discard(&self, digest: &str) -> Result<(), Refusal>;

    /// Writes an image as an archive that names it `name`.
    fn export(&self, digest: &str, name: &str, format: ArchiveFormat, to: &mut dyn Write) -> Result<()>;

    /// Pushes an image to a registry. Gives the digest it has there.
    fn push(&self, request: &PushRequest, progress: Progress<'_>) -> Result<String>;
}
