//! Pushes to a registry (OCI distribution specification, "Pushing"): only what it lacks, manifests last.

use crate::{
    digest::Digest,
    error::{Error, Result, on},
    export,
    fetch::each,
    held::read,
    layer::tell,
    manifest::{Descriptor, Document, MAX_MANIFEST},
    pull::{Registry, reference, runtime},
    store::{ContentStore, Work},
};
use api::{image::ImageProgress, view::PushRequest};
use driver::image::Progress;
use futures_util::{StreamExt as _, stream};
use std::{
    fs::File,
    io::Read as _,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// Pieces that are read and sent.
const PIECE: usize = 256 << 10;
/// Bytes between two lines of progress.
const PROGRESS_STEP: u64 = 4 << 20;
/// Deepest nesting of indexes.
const NESTING_MAX: usize = 3;

/// Pushes an image that is here. An index goes with all its images, or, when some of them are not here, only this machine's
/// image goes. Gives the digest the tag leads to there.
pub fn push(store: &ContentStore, request: &PushRequest, progress: Progress<'_>) -> Result<String> {
    let to = reference(&request.to)?;
    if to.digest().is_some() {
        return Err(Error::request(format!("{} names a digest: an image is pushed to a tag", request.to)));
    }
    let runtime = runtime()?;
    let registry = Registry::new(to, (request.insecure, request.login.as_ref()), runtime.handle().clone())?;
    let work = store.work(progress)?;
    let named: Digest = request.image.parse()?;
    let (digest, _) = export::complete(&work, &named)?;
    if digest != named {
        progress(ImageProgress::Working { message: "other machines' images are not here: pushing ours".to_owned() });
    }
    registry.may_push()?;
    tree(&work, &registry, &digest, 0)?;
    let bytes = read(store, &digest, MAX_MANIFEST)?;
    registry.put_manifest(&registry.reference, &bytes, &export::media_type(&bytes)?)?;
    Ok(digest.to_string())
}

/// Pushes what a manifest names; inner manifests by their digests.
fn tree(work: &Work<'_>, registry: &Registry, digest: &Digest, depth: usize) -> Result<()> {
    if depth > NESTING_MAX {
        return Err(Error::content(format!("the image has indexes within indexes more than {NESTING_MAX} deep")));
    }
    let document = Document::parse(&read(work.store, digest, MAX_MANIFEST)?, "the manifest")?;
    for inner in &document.manifests {
        tree(work, registry, &inner.digest, depth + 1)?;
        let bytes = read(work.store, &inner.digest, MAX_MANIFEST)?;
        let by_digest = registry.reference.clone_with_digest(inner.digest.to_string());
        registry.put_manifest(&by_digest, &bytes, &export::media_type(&bytes)?)?;
    }
    let blobs: Vec<&Descriptor> = document.layers.iter().chain(&document.config).collect();
    each(&blobs, work, |descriptor| blob(work, registry, descriptor)).map(drop)
}

fn blob(work: &Work<'_>, registry: &Registry, descriptor: &Descriptor) -> Result<()> {
    let digest = &descriptor.digest;
    if registry.has(digest)? {
        return Ok(());
    }
    let missing = || Error::request(format!("{digest} is not in this server's image store"));
    let path = work.blob(digest).ok_or_else(missing)?;
    let file = File::open(&path).map_err(on("open", &path))?;
    let size = file.metadata().map_err(on("read", &path))?.len();
    let sent = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&sent);
    let pieces = stream::unfold(file, move |mut file| {
        let counter = Arc::clone(&counter);
        async move {
            let mut piece = vec![0; PIECE];
            match file.read(&mut piece) {
                Ok(0) => None,
                Ok(n) => {
                    piece.truncate(n);
                    counter.fetch_add(n as u64, Ordering::Relaxed);
                    Some((Ok(bytes::Bytes::from(piece)), file))
                }
                Err(error) => Some((Err(oci_client::errors::OciDistributionError::IoError(error)), file)),
            }
        }
    });
    let what = format!("layer {digest}");
    let mut told = 0;
    registry.put_blob(digest, (pieces.boxed(), size), || {
        let now = sent.load(Ordering::Relaxed);
        if now >= told + PROGRESS_STEP || now == size {
            told = now;
            tell(work.progress, &what, now, size);
        }
        !work.cancelled()
    })
}
