//! Content of images on one server.

use crate::Result;
use api::image::{ConfigChange, ImageProgress, LocalImage};
use api::view::{BootstrapRequest, PullRequest};
use std::{io::Read, path::PathBuf};

/// Gets one blob by digest from somewhere: another server, usually. The reader's content is verified by who reads it.
pub trait BlobSource: Send + Sync {
    /// Opens it. An error says who was asked and what they said.
    fn open(&self, digest: &str) -> Result<Box<dyn Read + Send>>;
}

/// Where progress goes.
pub type Progress<'a> = &'a (dyn Fn(ImageProgress) + Send + Sync);

/// What a container has changed: the writable layer of its overlay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upper {
    /// The directory.
    pub path: PathBuf,
    /// Users and groups in it are shifted, for root inside is another user outside.
    pub ids: Option<IdRange>,
}

/// Users and groups outside that are `0..count` inside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdRange {
    /// Who root inside is.
    pub first: u32,
    /// So many.
    pub count: u32,
}

/// Content that is out of sight and still on the disk. What is dropped is removed as well.
pub struct Swept(Box<dyn FnOnce() -> Result<u64> + Send>);

impl Swept {
    /// `remove` says how many bytes went.
    pub fn new(remove: impl FnOnce() -> Result<u64> + Send + 'static) -> Self {
        Self(Box::new(remove))
    }

    /// Takes it off the disk, for as long as the disk needs; others may bring images meanwhile. Says how many bytes went.
    pub fn discard(self) -> Result<u64> {
        (self.0)()
    }
}

/// Makes images of what is here. Apart from [`Images`] by who calls it: commits and builds.
pub trait Commit: Send + Sync {
    /// Makes a new image of the image `base` (a manifest's digest), which is here, and what a container on it changed, as
    /// one more layer. Nothing changed (`None`, or an empty directory): an image of the same layers. Nobody should write
    /// to `upper` meanwhile; what comes and goes under way is taken as it is met, and nothing breaks.
    fn commit(&self, base: &str, upper: Option<&Upper>, change: &ConfigChange, progress: Progress<'_>) -> Result<LocalImage>;
}

/// A server's content store. Everything in it is addressed by digest and verified on its way in.
///
/// A failed or interrupted call leaves nothing that is visible: content appears by rename, complete.
pub trait Images: Commit {
    /// Manifests whose content is here, complete and unpacked.
    fn list(&self) -> Result<Vec<LocalImage>>;

    /// The image, if it is here.
    fn find(&self, digest: &str) -> Result<Option<LocalImage>>;

    /// Makes it be here: what is missing comes from `source`. Two calls at once for the same digest do the work once.
    fn ensure(&self, digest: &str, source: &dyn BlobSource, progress: Progress<'_>) -> Result<LocalImage>;

    /// Takes in an archive: OCI layout, docker archive or root file system, each as tar, plain or compressed by gzip or zstd.
    /// `name` is only for messages. A root file system becomes an image of one layer.
    fn import(&self, archive: &mut dyn Read, name: &str, progress: Progress<'_>) -> Result<LocalImage>;

    /// Pulls from a registry.
    fn pull(&self, request: &PullRequest, progress: Progress<'_>) -> Result<LocalImage>;

    /// Makes a base system from the distribution's packages, with this machine's own package sources.
    fn bootstrap(&self, request: &BootstrapRequest, progress: Progress<'_>) -> Result<LocalImage>;

    /// Takes manifests that are not in `keep`, and content that no manifest left needs, out of sight.
    fn prune(&self, keep: &[String]) -> Result<Swept>;

    /// Opens a blob for another server: manifest, configuration or compressed layer.
    fn blob(&self, digest: &str) -> Result<std::fs::File>;
}
