//! A new image out of one that is here and of what a container changed.
//!
//! The writable layer is read as one stream in tar form, sorted, and taken in like a layer that came from elsewhere: hashed,
//! compressed, and unpacked by the confined process. So what runs here is what others unpack, and nothing is trusted that a
//! container wrote. Memory grows with the entries of one directory and with files of several names, not with size.

pub mod archive;
mod attributes;
mod config;
pub mod layers;
mod sparse;
mod walk;
mod write;

use crate::{
    digest::Digest,
    error::{Error, Result, on},
    layer::{self, Keep, Layer, Wanted},
    layout::Marker,
    manifest::{Descriptor, Document, MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST},
    store::{ContentStore, Part, Work, describe},
};
use api::image::{ConfigChange, ImageProgress, LocalImage};
use driver::image::{Progress, Upper};
use std::{
    fs::{self, File},
    io::{self, BufWriter, Read as _},
    path::Path,
};

/// Bytes handed to the reading side at once.
const PIECE: usize = 256 << 10;
/// What the changes are called in messages and progress.
const WHAT: &str = "what the container changed";

/// Makes the image.
pub fn commit(
    store: &ContentStore,
    base: &Digest,
    (upper, change): (Option<&Upper>, &ConfigChange),
    progress: Progress<'_>,
) -> Result<LocalImage> {
    let work = store.work(progress)?;
    let marker = store.marker(base).ok_or_else(|| Error::request(format!("{base} is not in this server's image store")))?;
    let mut parts = kept(&work, &marker)?;
    let mut layers = described(store, base)?;
    let changed = match upper {
        Some(upper) if !is_empty(&upper.path)? => Some(read(&work, upper)?),
        _ => None,
    };
    let before = blob(store, &marker.configuration, MAX_CONFIG)?;
    let Some(config) = config::changed(&before, changed.as_ref().map(|layer| &layer.diff_id), change)? else {
        return Ok(store.local(&marker));
    };
    if let Some(layer) = changed {
        if layers.len() >= MAX_LAYERS {
            return Err(Error::request(format!("{base} has {MAX_LAYERS} layers, the most an image can have")));
        }
        layers.push(describe(layer.compression, &layer.digest, layer.size));
        parts.push(Part::New(Box::new(layer)));
    }
    work.compose(&config, layers, parts)
}

/// The base's layers, which then stay until the work ends.
fn kept(work: &Work<'_>, marker: &Marker) -> Result<Vec<Part>> {
    let present = marker.layers.iter().map(|l| work.present(&l.digest, &l.diff_id).map(Part::Present));
    let gone = || Error::Elsewhere(format!("{} was just removed from this server's image store", marker.manifest));
    present.collect::<Option<_>>().ok_or_else(gone)
}

/// The base's layers as its manifest describes them, in OCI's words.
fn described(store: &ContentStore, base: &Digest) -> Result<Vec<Descriptor>> {
    let what = format!("the manifest {base}");
    let manifest = Document::parse(&blob(store, base, MAX_MANIFEST)?, &what)?.manifest(&what)?;
    Ok(manifest.layers.into_iter().map(oci).collect())
}

/// Docker's names of the same forms.
fn oci(mut layer: Descriptor) -> Descriptor {
    if let Some(form) = layer.media_type.strip_prefix("application/vnd.docker.image.rootfs.diff.tar") {
        layer.media_type = match form {
            "" => "application/vnd.oci.image.layer.v1.tar".to_owned(),
            form => format!("application/vnd.oci.image.layer.v1.tar+{}", form.trim_start_matches('.')),
        };
    }
    layer
}

fn blob(store: &ContentStore, digest: &Digest, most: u64) -> Result<Vec<u8>> {
    let path = store.layout().blob(digest);
    let mut bytes = Vec::new();
    let read = File::open(&path).and_then(|file| file.take(most).read_to_end(&mut bytes));
    read.map_err(on("read", &path)).map(|_| bytes)
}

fn is_empty(dir: &Path) -> Result<bool> {
    match fs::read_dir(dir) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(on("list", dir)(error)),
    }
}

/// Takes the writable layer in: a thread writes it as an archive, this one reads that.
fn read(work: &Work<'_>, upper: &Upper) -> Result<Layer> {
    let root = File::open(&upper.path).map_err(on("open", &upper.path))?;
    let (archive, into) = io::pipe().map_err(|source| Error::Io { what: "cannot make a pipe".to_owned(), source })?;
    let (written, taken) = std::thread::scope(|scope| {
        let writer = scope.spawn(|| walk::archive(&root, upper.ids, BufWriter::with_capacity(PIECE, into)));
        let taken = layer::take_in(work, archive, &Wanted { what: WHAT, ..Wanted::default() }, Keep::Compressed);
        let crashed = || Error::Io { what: format!("reading {WHAT}"), source: io::Error::other("the reading thread panicked") };
        (writer.join().unwrap_or_else(|_| Err(crashed())), taken)
    });
    match (written, taken) {
        (Ok(left_out), Ok(layer)) => {
            tell(work.progress, left_out);
            Ok(layer)
        }
        // The writer could not go on because nobody read: why not is the reason for both.
        (Err(Error::Io { source, .. }), Err(error)) if source.kind() == io::ErrorKind::BrokenPipe => Err(error),
        (Err(error), _) | (Ok(_), Err(error)) => Err(error),
    }
}

fn tell(progress: Progress<'_>, left_out: u64) {
    if left_out > 0 {
        let message = format!("{left_out} sockets, device nodes and reserved names were left out");
        progress(ImageProgress::Working { message });
    }
}
