//! Building images: what a builder needs of a content store and of the network, and what the agent needs of a builder.

use crate::{
    Result,
    image::{BlobSource, Progress, Upper},
};
use api::{InstanceId, image::LocalImage};
use std::{io::Read, net::Ipv4Addr, path::Path, path::PathBuf};

/// Images layer by layer.
pub trait Layers: Send + Sync {
    /// An image of the layers of `below` (a manifest's digest), or of none, and what is in `upper` as one more, also when
    /// nothing is. Its configuration says nothing yet.
    fn stack(&self, below: Option<&str>, upper: &Upper, progress: Progress<'_>) -> Result<LocalImage>;

    /// An image of the layers of `image` with this configuration (OCI image specification), which names the same layers.
    fn configure(&self, image: &str, configuration: &[u8], progress: Progress<'_>) -> Result<LocalImage>;

    /// Whether a file is an archive, plain or compressed, by its beginning.
    fn is_archive(&self, file: &mut dyn Read) -> bool;

    /// Unpacks an archive, plain or compressed (gzip, bzip2, xz, zstd), into an empty directory: by the confined process, so
    /// that nothing in it leads outside. `what` is for messages.
    fn unpack(&self, archive: &mut dyn Read, into: &Path, what: &str) -> Result<()>;
}

/// Networks for programs that need the world and that nobody needs to reach.
pub trait WayOut: Send + Sync {
    /// Makes a namespace; with a way out of it if it is to be `connected`. Constant work. Gives its path and its address.
    fn open(&self, id: InstanceId, connected: bool) -> Result<Way>;

    /// Removes it. Nothing there is fine.
    fn close(&self, id: InstanceId) -> Result<()>;

    /// Removes all there are.
    fn close_all(&self) -> Result<()>;
}

/// A network namespace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Where it is held.
    pub path: PathBuf,
    /// Its own address.
    pub address: Ipv4Addr,
}

/// Whoever asked has gone, or the server ends: nothing has to be finished.
pub type GivenUp<'a> = &'a (dyn Fn() -> bool + Send + Sync);

/// Builds images.
pub trait Builder: Send + Sync {
    /// Builds what the archive asks for ([`api::build`]). Images of the cluster that are not here come from `source`. A build
    /// that fails leaves nothing but what the cache keeps.
    fn build(
        &self,
        archive: &mut (dyn Read + Send),
        source: &dyn BlobSource,
        progress: Progress<'_>,
        given_up: GivenUp<'_>,
    ) -> api::Result<LocalImage>;

    /// Copies the directory that these layers, lowest first, have at a path into an empty one: what is in it, and what it is like
    /// itself (owner, permissions, attributes, time). Links on the way lead within the layers. Nothing where there is no directory.
    fn copy_out(&self, layers: &[PathBuf], path: &str, into: &Path) -> Result<()>;

    /// Forgets what earlier builds left for later ones. Gives the bytes that went.
    fn prune(&self) -> Result<u64>;
}
