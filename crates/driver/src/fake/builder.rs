//! A builder of values.

use super::Faults;
use crate::{
    Builder, Result,
    build::GivenUp,
    image::{BlobSource, Progress},
};
use api::{
    Bytes, Error,
    build::{BLOCK, BuildRequest, member_size},
    image::{ImageConfig, ImageProgress, LocalImage},
};
use std::{
    io::Read,
    path::{Path, PathBuf},
};

/// Each line of the file is a step, and the image is labelled with the file.
#[derive(Default)]
pub struct FakeBuilder {
    /// Calls, failures, delays: verbs are the trait's.
    pub faults: Faults,
}

impl Builder for FakeBuilder {
    fn build(
        &self,
        archive: &mut (dyn Read + Send),
        _: &dyn BlobSource,
        progress: Progress<'_>,
        given_up: GivenUp<'_>,
    ) -> api::Result<LocalImage> {
        let broken = |error: std::io::Error| Error::failed(format!("the build did not arrive: {error}"));
        let mut header = [0; BLOCK];
        archive.read_exact(&mut header).map_err(broken)?;
        let mut content = vec![0; usize::try_from(member_size(&header)?).unwrap_or_default()];
        archive.read_exact(&mut content).map_err(broken)?;
        let request: BuildRequest =
            serde_json::from_slice(&content).map_err(|error| Error::usage(format!("build.json: {error}")))?;
        self.faults.enter("build", &request.name).map_err(|error| Error::failed(error.message))?;
        let of = u32::try_from(request.text.lines().count()).unwrap_or(u32::MAX);
        for (text, number) in request.text.lines().zip(1..) {
            if given_up() {
                self.faults.enter("given up", &request.name).map_err(|error| Error::failed(error.message))?;
                return Err(Error::failed("the build was given up"));
            }
            progress(ImageProgress::Step { number, of, text: text.to_owned(), cached: false });
        }
        let labels = [("file".to_owned(), request.text)].into();
        let config = ImageConfig { labels, ..ImageConfig::default() };
        let digest = format!("sha256:{:064x}", content.len());
        Ok(LocalImage { digest, config, layers: vec!["/layers/built".into()], size: Bytes(1), index: None })
    }

    fn copy_out(&self, _: &[PathBuf], path: &str, _: &Path) -> Result<()> {
        self.faults.enter("copy out", path)
    }

    fn prune(&self) -> Result<u64> {
        self.faults.enter("prune builds", "")?;
        Ok(0)
    }
}
