//! Builds images: carries out what `recipe` decides, step by step, each step a layer.
//!
//! A stage is a chain of layers in the content store. `COPY`, `ADD` and `WORKDIR` write into an overlay of the chain so far and
//! a fresh directory, mounted in a mount namespace of the thread that does it ([`view`]); `RUN` runs in a container like any
//! other ([`run`]). What the fresh directory then holds is the next layer. A layer is kept under a key of all it depends on
//! ([`cache`]), so that a step that has been done is not done again.
//!
//! `--link` is taken and changes nothing: a layer of ours is known by all that lies below it anyhow.
//!
//! *Invariants:* every path of a file or an archive is resolved by the kernel inside the root it belongs to ([`root`]). All a build
//! makes on the way lies in its own directory ([`work`]) and ends with it; what a killed process left is removed by the next.

mod archive;
mod bases;
mod cache;
mod config;
mod copy;
mod databases;
mod error;
mod executor;
mod fetch;
mod inputs;
mod mounts;
mod output;
mod root;
mod run;
mod select;
mod stage;
mod stubs;
mod tree;
mod view;
mod work;

pub use error::{Error, Result};

use crate::{cache::Cache, work::Area};
use api::image::LocalImage;
use driver::{
    Images, Layers, Runtime, WayOut,
    build::GivenUp,
    image::{BlobSource, Progress},
    runtime::Inspect,
};
use std::{
    io::Read,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Where a builder keeps things.
#[derive(Clone, Debug)]
pub struct Options {
    /// Kept: the cache, and what is being built. On the file system of the image store, which overlays can write to.
    pub state_dir: PathBuf,
    /// Network namespace for commands, in a sandbox: its servers have no way out. Usually each has one of its own.
    pub network: Option<PathBuf>,
}

/// What a builder works with.
#[derive(Clone)]
pub struct Tools {
    /// Runs commands. Its pods are nobody else's.
    pub runtime: Arc<dyn Runtime>,
    /// Eyes on them.
    pub inspect: Arc<dyn Inspect>,
    /// Networks for them.
    pub ways: Arc<dyn WayOut>,
    /// Base images.
    pub images: Arc<dyn Images>,
    /// New ones.
    pub layers: Arc<dyn Layers>,
}

/// Builds images on this server.
pub struct Builder {
    options: Options,
    tools: Tools,
    area: Area,
    cache: Cache,
}

impl Builder {
    /// Opens the cache, and removes what a former process left unfinished: containers, networks, mounts, directories.
    pub fn new(options: Options, tools: Tools) -> Result<Self> {
        for pod in tools.runtime.observe()? {
            tools.runtime.remove(pod.id)?;
        }
        tools.ways.close_all()?;
        let area = Area::open(&options.state_dir)?;
        let cache = Cache::open(&options.state_dir)?;
        Ok(Self { options, tools, area, cache })
    }
}

impl driver::Builder for Builder {
    fn build(
        &self,
        archive: &mut (dyn Read + Send),
        source: &dyn BlobSource,
        progress: Progress<'_>,
        given_up: GivenUp<'_>,
    ) -> api::Result<LocalImage> {
        let built = executor::build(self, archive, source, (progress, given_up));
        built.map_err(api::Error::from)
    }

    fn copy_out(&self, layers: &[PathBuf], path: &str, into: &Path) -> driver::Result<()> {
        Ok(copy::out((layers, path), into, &self.area.begin()?)?)
    }

    fn prune(&self) -> driver::Result<u64> {
        Ok(self.cache.clear()?)
    }
}
