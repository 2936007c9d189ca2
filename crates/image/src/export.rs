//! Writes an image as an archive: an OCI image layout with everything as it is kept, or a docker archive with plain layers.

use crate::{
    compression::{Compression, Decoder},
    digest::Digest,
    error::{Error, Result, on},
    held::read,
    layer::read_full,
    manifest::{self, Configuration, Descriptor, Document, INDEX_TYPE, MANIFEST_TYPE, MAX_CONFIG, MAX_MANIFEST, Manifest},
    store::{ContentStore, Work},
};
use api::view::ArchiveFormat;
use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write},
};
use tar::{Builder, EntryType, Header};

/// Annotation that names an image in a layout (OCI image specification, annotations).
const REF_NAME: &str = "org.opencontainers.image.ref.name";
/// Nothing is nested deeper: an index, its manifests, their layers.
const NESTING_MAX: usize = 4;
const PIECE: usize = 256 << 10;

/// Writes it.
pub fn export(store: &ContentStore, (digest, name): (&Digest, &str), format: ArchiveFormat, to: &mut dyn Write) -> Result<()> {
    let work = store.work(&|_| {})?;
    let mut tar = Builder::new(to);
    match format {
        ArchiveFormat::Oci => layout(&work, (digest, name), &mut tar)?,
        ArchiveFormat::DockerArchive => docker(&work, (digest, name), &mut tar)?,
    }
    tar.into_inner().and_then(Write::flush).map_err(written)
}

fn written(error: io::Error) -> Error {
    Error::Elsewhere(format!("the archive cannot be written: {error}"))
}

/// The manifest, everything it names, and what that names. None when some of it is not here.
fn everything(work: &Work<'_>, digest: &Digest) -> Result<Option<Vec<Digest>>> {
    let mut all = BTreeSet::from([digest.clone()]);
    let mut level = vec![digest.clone()];
    for _ in 0..NESTING_MAX {
        let mut next = Vec::new();
        for digest in level {
            if work.blob(&digest).is_none() {
                return Ok(None);
            }
            let document = Document::parse(&read(work.store, &digest, MAX_MANIFEST)?, "the manifest")?;
            let inner: BTreeSet<&Digest> = document.manifests.iter().map(|inner| &inner.digest).collect();
            for descriptor in document.descriptors() {
                if work.blob(&descriptor.digest).is_none() {
                    return Ok(None);
                }
                all.insert(descriptor.digest.clone());
            }
            next.extend(inner.into_iter().cloned());
        }
        level = next;
    }
    Ok(Some(all.into_iter().collect()))
}

/// The digest with everything it names; of an index some of whose images are not here, this machine's image.
pub fn complete(work: &Work<'_>, digest: &Digest) -> Result<(Digest, Vec<Digest>)> {
    work.blob(digest).ok_or_else(|| missing(digest))?;
    if let Some(all) = everything(work, digest)? {
        return Ok((digest.clone(), all));
    }
    let document = Document::parse(&read(work.store, digest, MAX_MANIFEST)?, "the index")?;
    let chosen = manifest::choose(&document.manifests, "the image").map_err(|_| missing(digest))?.digest.clone();
    let all = everything(work, &chosen)?.ok_or_else(|| missing(&chosen))?;
    Ok((chosen, all))
}

fn missing(digest: &Digest) -> Error {
    Error::request(format!("{digest} is not complete in this server's image store"))
}

fn layout(work: &Work<'_>, (digest, name): (&Digest, &str), tar: &mut Builder<&mut dyn Write>) -> Result<()> {
    let chosen = complete(work, digest)?;
    let (digest, blobs) = (&chosen.0, chosen.1);
    let bytes = read(work.store, digest, MAX_MANIFEST)?;
    let mut top = Descriptor::new(&media_type(&bytes)?, digest.clone(), bytes.len() as u64);
    top.annotations.insert(REF_NAME.to_owned(), name.to_owned());
    let index = Document { manifests: vec![top], ..Document::new(INDEX_TYPE) };
    put(tar, "oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    put(tar, "index.json", &manifest::write(&index)?)?;
    for blob in blobs {
        let path = work.blob(&blob).ok_or_else(|| missing(&blob))?;
        let file = File::open(&path).map_err(on("open", &path))?;
        let size = file.metadata().map_err(on("read", &path))?.len();
        stream(tar, &format!("blobs/sha256/{}", blob.hex()), size, file)?;
    }
    Ok(())
}

/// What a manifest is, by its own word, else by what it holds.
pub fn media_type(bytes: &[u8]) -> Result<String> {
    let document = Document::parse(bytes, "the manifest")?;
    let guess = if document.config.is_some() { MANIFEST_TYPE } else { INDEX_TYPE };
    Ok(document.media_type.unwrap_or_else(|| guess.to_owned()))
}

fn docker(work: &Work<'_>, (digest, name): (&Digest, &str), tar: &mut Builder<&mut dyn Write>) -> Result<()> {
    let here = |digest: &Digest| work.blob(digest).ok_or_else(|| missing(digest));
    here(digest)?;
    let mut document = Document::parse(&read(work.store, digest, MAX_MANIFEST)?, "the manifest")?;
    if !document.manifests.is_empty() {
        let chosen = manifest::choose(&document.manifests, "the image")?.digest.clone();
        here(&chosen)?;
        document = Document::parse(&read(work.store, &chosen, MAX_MANIFEST)?, "the manifest")?;
    }
    let Manifest { config, layers } = document.manifest("the image")?;
    here(&config.digest)?;
    let bytes = read(work.store, &config.digest, MAX_CONFIG)?;
    let diff_ids = Configuration::parse(&bytes, layers.len())?.rootfs.diff_ids;
    let names: Vec<String> = diff_ids.iter().map(|diff_id| format!("{}.tar", diff_id.hex())).collect();
    let configuration = format!("{}.json", config.digest.hex());
    let list = serde_json::json!([{"Config": configuration, "RepoTags": [name], "Layers": names}]);
    put(tar, "manifest.json", &manifest::write(&list)?)?;
    put(tar, &configuration, &bytes)?;
    let mut done = BTreeSet::new();
    for (layer, name) in layers.iter().zip(&names) {
        if done.insert(name) {
            here(&layer.digest)?;
            // Twice: the archive wants to know the size before the content, and a disk may have no room for the whole.
            let size = io::copy(&mut plain(work, &layer.digest)?, &mut io::sink()).map_err(written)?;
            stream(tar, name, size, plain(work, &layer.digest)?)?;
        }
    }
    Ok(())
}

fn plain(work: &Work<'_>, blob: &Digest) -> Result<impl Read + use<>> {
    let path = work.blob(blob).ok_or_else(|| missing(blob))?;
    let mut reader = BufReader::with_capacity(PIECE, File::open(&path).map_err(on("open", &path))?);
    let compression = Compression::sniff(reader.fill_buf().map_err(on("read", &path))?)?;
    Decoder::new(reader, compression).map_err(on("read", &path))
}

fn header(size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Regular);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header
}

fn put(tar: &mut Builder<&mut dyn Write>, name: &str, bytes: &[u8]) -> Result<()> {
    tar.append_data(&mut header(bytes.len() as u64), name, bytes).map_err(written)
}

fn stream(tar: &mut Builder<&mut dyn Write>, name: &str, size: u64, from: impl Read) -> Result<()> {
    tar.append_data(&mut header(size), name, Pieces(from.take(size))).map_err(written)
}

/// Hands on big pieces even when what it reads gives small ones.
struct Pieces<R>(R);

impl<R: Read> Read for Pieces<R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        read_full(&mut self.0, into)
    }
}
