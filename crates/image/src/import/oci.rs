//! An OCI image layout (OCI image specification, layout) from an archive.

use super::spool::Files;
use crate::{
    digest::Digest,
    error::{Error, Result, on},
    fetch::{self, Here, Source},
    manifest::{self, Document, MAX_MANIFEST},
    store::{Turn, Work},
};
use api::image::LocalImage;
use std::{
    fs::File,
    io::{Read, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

struct Layout<'a> {
    files: &'a Files,
    what: &'a str,
}

impl Layout<'_> {
    fn path(&self, digest: &Digest) -> Result<&Path> {
        let missing = || Error::content(format!("{} is incomplete: it lacks the blob {digest}", self.what));
        self.files.get(&format!("blobs/sha256/{}", digest.hex())).ok_or_else(missing)
    }
}

impl Source for Layout<'_> {
    fn open(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>> {
        let path = self.path(digest)?;
        let mut file = File::open(path).map_err(on("open", path))?;
        file.seek(SeekFrom::Start(offset)).map_err(on("read", path))?;
        Ok(Box::new(file))
    }

    fn file(&self, digest: &Digest) -> Option<PathBuf> {
        self.path(digest).ok().map(Path::to_path_buf)
    }
}

/// The image of this layout for this machine.
pub fn image(work: &Work<'_>, files: &Files, index: &Path, what: &str) -> Result<LocalImage> {
    let layout = Layout { files, what };
    let named = format!("index.json of {what}");
    let index = Document::parse(&Files::read(index, MAX_MANIFEST, &named)?, &named)?;
    let start = manifest::choose(&index.manifests, &named)?.clone();
    let open = |digest: &Digest| fetch::small(&layout, digest, MAX_MANIFEST, &format!("a manifest of {what}"));
    let (digest, bytes) = fetch::resolve(start, &open, &named)?;
    let _busy = match work.store.turn(&digest) {
        Turn::Here(image) => return Ok(*image),
        Turn::Ours(busy) => busy,
    };
    fetch::image(work, &bytes, &Here { work, elsewhere: &layout })
}
