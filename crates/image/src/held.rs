//! Manifests and indexes that are kept as they came: pushed ones, and the indexes images were chosen from.
//!
//! `held/<hex of the manifest>.json` says that one is kept, and which content with it. Written when all of that is in place.

use crate::{
    digest::Digest,
    error::{Error, on},
    layout::{Layout, Staging},
    manifest::{self, Configuration, Descriptor, Document, MAX_CONFIG, MAX_MANIFEST},
    store::ContentStore,
};
use api::{
    Bytes,
    registry::{Code, HeldManifest, Refusal, Runs},
};
use serde::{Deserialize, Serialize};
use std::{fs, io::Read as _};

/// Version of [`Held`].
const FORMAT: u32 = 1;

/// Says that a manifest is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Version of this format.
    format: u32,
    /// Of the manifest.
    pub digest: Digest,
    /// Content that stays as long as it does.
    pub references: Vec<Digest>,
}

/// A refusal because of an error of ours.
pub fn failed(error: Error) -> Refusal {
    let code = match &error {
        Error::NoSpace(_) => Code::SizeInvalid,
        _ => Code::Unknown,
    };
    Refusal::new(code, error.to_string())
}

/// Keeps a manifest that was pushed.
pub fn hold(store: &ContentStore, bytes: &[u8], media_type: &str) -> Result<HeldManifest, Refusal> {
    if bytes.len() as u64 > MAX_MANIFEST {
        return Err(Refusal::new(Code::SizeInvalid, format!("the manifest has more than {MAX_MANIFEST} bytes")));
    }
    let invalid = |error: Error| Refusal::new(Code::ManifestInvalid, error.to_string());
    let document = Document::parse(bytes, "the manifest").map_err(invalid)?;
    if let Some(inner) = document.media_type.as_deref().filter(|inner| *inner != media_type) {
        return Err(Refusal::new(
            Code::ManifestInvalid,
            format!("the manifest says it is {inner}, its request that it is {media_type}"),
        ));
    }
    keep(store, bytes, document.descriptors().collect())?;
    Ok(describe(store, bytes, document, media_type))
}

/// Keeps the index an image was chosen from, and what is here of what it names.
pub fn hold_index(store: &ContentStore, bytes: &[u8]) -> Result<(), Error> {
    let document = Document::parse(bytes, "the index")?;
    let here = document.descriptors().filter(|descriptor| store.blob_size(&descriptor.digest).is_some()).collect();
    keep(store, bytes, here).map_err(|refusal| Error::content(refusal.message))
}

/// Puts manifest and marker in place, if all it names is here.
fn keep(store: &ContentStore, bytes: &[u8], named: Vec<&Descriptor>) -> Result<(), Refusal> {
    let layout = store.layout();
    let staging = layout.staging().map_err(failed)?;
    let staged = staging.file(bytes).map_err(failed)?;
    let references: Vec<Digest> = named.iter().map(|descriptor| descriptor.digest.clone()).collect();
    let held = Held { format: FORMAT, digest: Digest::of(bytes), references };
    store.hold_with(held, |held| {
        for descriptor in &named {
            require(layout, descriptor)?;
        }
        let blob = layout.blob(&held.digest);
        fs::rename(&staged, &blob).map_err(|e| failed(on("put in place", &blob)(e)))?;
        held.write(layout, &staging).map_err(failed)?;
        for digest in &held.references {
            layout.settled(digest);
        }
        Ok(())
    })
}

fn require(layout: &Layout, descriptor: &Descriptor) -> Result<(), Refusal> {
    let digest = &descriptor.digest;
    let missing = || Refusal::new(Code::ManifestBlobUnknown, format!("the manifest names {digest}, which was not pushed"));
    match fs::metadata(layout.blob(digest)).map_err(|_| missing())?.len() {
        size if size == descriptor.size => Ok(()),
        size => Err(Refusal::new(
            Code::ManifestInvalid,
            format!("the manifest says that {digest} has {} bytes, but it has {size}", descriptor.size),
        )),
    }
}

impl Held {
    fn write(&self, layout: &Layout, staging: &Staging) -> Result<(), Error> {
        let path = layout.held(&self.digest);
        fs::rename(staging.file(&manifest::write(self)?)?, &path).map_err(on("write", &path))
    }

    /// Every one that is complete. One that is not, or cannot be read, is removed.
    pub fn all(layout: &Layout) -> Result<Vec<Self>, Error> {
        let dir = layout.dir.join("held");
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
            let path = entry.map_err(on("list", &dir))?.path();
            let bytes = fs::read(&path).map_err(on("read", &path))?;
            match serde_json::from_slice::<Self>(&bytes) {
                Ok(held) if held.format == FORMAT && held.blobs().all(|d| layout.blob(d).is_file()) => found.push(held),
                _ => {
                    tracing::warn!(path = %path.display(), "a manifest is incomplete and is forgotten");
                    fs::remove_file(&path).map_err(on("remove", &path))?;
                }
            }
        }
        Ok(found)
    }

    /// Everything that stays because of it.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        std::iter::once(&self.digest).chain(&self.references)
    }
}

fn describe(store: &ContentStore, bytes: &[u8], document: Document, media_type: &str) -> HeldManifest {
    let configured = document.config.as_ref().map(|config| config.media_type.clone());
    HeldManifest {
        digest: Digest::of(bytes).to_string(),
        media_type: media_type.to_owned(),
        size: bytes.len() as u64,
        artifact_type: document.artifact_type.clone().or(configured).filter(|kind| !kind.is_empty()),
        subject: document.subject.as_ref().map(|subject| subject.digest.to_string()),
        annotations: document.annotations.clone(),
        manifests: document.manifests.iter().map(|inner| inner.digest.to_string()).collect(),
        runs: runs(store, &Digest::of(bytes), document).unwrap_or_else(|error| Runs::Nothing(error.to_string())),
    }
}

/// What this machine would run of a manifest that is here.
fn runs(store: &ContentStore, digest: &Digest, document: Document) -> Result<Runs, Error> {
    if !document.manifests.is_empty() {
        let chosen = manifest::choose(&document.manifests, "it")?.digest.clone();
        let inner = Document::parse(&read(store, &chosen, MAX_MANIFEST)?, "its manifest")?;
        if !inner.manifests.is_empty() {
            return Err(Error::content("it is an index of indexes, of which nothing is run"));
        }
        return runs(store, &chosen, inner);
    }
    let media_type = document.config.as_ref().map(|config| config.media_type.clone()).unwrap_or_default();
    if !manifest::CONFIG_TYPES.contains(&media_type.as_str()) {
        let kind = document.artifact_type.unwrap_or(media_type);
        return Err(Error::content(format!("it is no image, but of type {kind:?}")));
    }
    let manifest = document.manifest("it")?;
    let config = Configuration::parse(&read(store, &manifest.config.digest, MAX_CONFIG)?, manifest.layers.len())?;
    config.fits("it")?;
    let size = Bytes(manifest.layers.iter().map(|layer| layer.size).sum());
    Ok(Runs::Image { digest: digest.to_string(), size, config: Box::new(config.summary()) })
}

/// A small blob that is here.
pub fn read(store: &ContentStore, digest: &Digest, most: u64) -> Result<Vec<u8>, Error> {
    let path = store.layout().blob(digest);
    let file = fs::File::open(&path).map_err(|_| Error::request(format!("{digest} is not in this server's image store")))?;
    let mut bytes = Vec::new();
    file.take(most + 1).read_to_end(&mut bytes).map_err(on("read", &path))?;
    match bytes.len() as u64 > most {
        true => Err(Error::content(format!("{digest} has more than {most} bytes"))),
        false => Ok(bytes),
    }
}
