//! A content store of values.

use super::{Faults, lock};
use crate::{
    Commit, Content, DriverError, Images, Result, Uploads,
    image::{BlobSource, Progress, Swept, Upper},
};
use api::{
    Bytes,
    image::{ConfigChange, ImageConfig, ImageProgress, LocalImage, ORIGIN_LABELS},
    registry::{Code, HeldManifest, Refusal, Runs},
    view::{ArchiveFormat, BootstrapRequest, PullRequest, PushRequest},
};
use std::{
    collections::BTreeMap,
    fs::File,
    hash::{DefaultHasher, Hash, Hasher},
    io::{Read, Seek, Write},
    sync::Mutex,
};

/// Has what it was given. The content of an image is its configuration as JSON.
#[derive(Default)]
pub struct FakeImages {
    /// Calls, failures, delays: verbs are the trait's.
    pub faults: Faults,
    state: Mutex<BTreeMap<String, LocalImage>>,
    uploads: Mutex<BTreeMap<String, Vec<u8>>>,
    held: Mutex<BTreeMap<String, Vec<u8>>>,
}

impl FakeImages {
    /// Nothing there.
    pub fn new() -> Self {
        Self::default()
    }

    /// An image is here.
    pub fn add(&self, digest: &str, config: ImageConfig) -> LocalImage {
        let layers = vec![format!("/layers/{}", digest.trim_start_matches("sha256:")).into()];
        let image = LocalImage { digest: digest.to_owned(), config, layers, size: Bytes(1_000), index: None };
        lock(&self.state).insert(digest.to_owned(), image.clone());
        image
    }

    /// An image from whatever identifies it.
    fn make(&self, what: impl Hash, progress: Progress<'_>) -> LocalImage {
        progress(ImageProgress::Working { message: "unpacking".to_owned() });
        let mut hasher = DefaultHasher::new();
        what.hash(&mut hasher);
        let config = ImageConfig { command: vec!["serve".to_owned()], ..ImageConfig::default() };
        self.add(&format!("sha256:{:064x}", hasher.finish()), config)
    }
}

impl Commit for FakeImages {
    fn commit(&self, base: &str, upper: Option<&Upper>, change: &ConfigChange, progress: Progress<'_>) -> Result<LocalImage> {
        self.faults.enter("commit", base)?;
        let below = lock(&self.state).get(base).cloned();
        let below = below.ok_or_else(|| DriverError::fatal(format!("{base} is not here")))?;
        let names = upper.map(names).transpose()?.unwrap_or_default();
        progress(ImageProgress::Working { message: "reading what was changed".to_owned() });
        let mut config = change.execution.clone().unwrap_or_else(|| below.config.clone());
        config.labels.retain(|key, _| !ORIGIN_LABELS.contains(&key.as_str()));
        config.labels.extend(change.labels.clone());
        let mut hasher = DefaultHasher::new();
        (base, &names, serde_json::to_string(&config).unwrap_or_default()).hash(&mut hasher);
        let digest = format!("sha256:{:064x}", hasher.finish());
        let made = self.add(&digest, config);
        let layers = if names.is_empty() { below.layers } else { [below.layers, made.layers].concat() };
        let made = LocalImage { layers, ..made };
        lock(&self.state).insert(digest, made.clone());
        Ok(made)
    }
}

/// Names in a container's writable layer, in order.
fn names(upper: &Upper) -> Result<Vec<std::ffi::OsString>> {
    let unreadable = |e: std::io::Error| DriverError::retryable(format!("{}: {e}", upper.path.display()));
    let entries = std::fs::read_dir(&upper.path).map_err(unreadable)?;
    let mut names: Vec<_> = entries.map(|entry| entry.map(|e| e.file_name())).collect::<Result<_, _>>().map_err(unreadable)?;
    names.sort();
    Ok(names)
}

impl Images for FakeImages {
    fn list(&self) -> Result<Vec<LocalImage>> {
        self.faults.enter("list", "")?;
        Ok(lock(&self.state).values().cloned().collect())
    }

    fn find(&self, digest: &str) -> Result<Option<LocalImage>> {
        self.faults.enter("find", digest)?;
        Ok(lock(&self.state).get(digest).cloned())
    }

    fn ensure(&self, digest: &str, source: &dyn BlobSource, progress: Progress<'_>) -> Result<LocalImage> {
        self.faults.enter("ensure", digest)?;
        if let Some(image) = lock(&self.state).get(digest).cloned() {
            return Ok(image);
        }
        let mut content = Vec::new();
        source.open(digest)?.read_to_end(&mut content).map_err(|e| DriverError::retryable(format!("{digest}: {e}")))?;
        progress(ImageProgress::Fetching { what: digest.to_owned(), done: content.len() as u64, total: content.len() as u64 });
        let config = serde_json::from_slice(&content).map_err(|e| DriverError::retryable(format!("{digest}: {e}")))?;
        Ok(self.add(digest, config))
    }

    fn import(&self, archive: &mut dyn Read, name: &str, progress: Progress<'_>) -> Result<LocalImage> {
        self.faults.enter("import", name)?;
        let mut content = Vec::new();
        archive.read_to_end(&mut content).map_err(|e| DriverError::fatal(format!("archive {name} cannot be read: {e}")))?;
        if content.is_empty() {
            return Err(DriverError::fatal(format!("archive {name} is empty")));
        }
        Ok(self.make(content, progress))
    }

    fn pull(&self, request: &PullRequest, progress: Progress<'_>) -> Result<LocalImage> {
        self.faults.enter("pull", &request.image)?;
        Ok(self.make(&request.image, progress))
    }

    fn bootstrap(&self, request: &BootstrapRequest, progress: Progress<'_>) -> Result<LocalImage> {
        self.faults.enter("bootstrap", format!("{}/{}", request.distribution, request.release))?;
        Ok(self.make((&request.distribution, &request.release, &request.include), progress))
    }

    fn prune(&self, keep: &[String]) -> Result<Swept> {
        self.faults.enter("prune", keep.len())?;
        let mut state = lock(&self.state);
        let before = state.len();
        state.retain(|digest, _| keep.contains(digest));
        let freed = (before - state.len()) as u64 * 1_000;
        Ok(Swept::new(move || Ok(freed)))
    }

    fn blob(&self, digest: &str) -> Result<File> {
        self.faults.enter("blob", digest)?;
        let image = lock(&self.state).get(digest).cloned().ok_or_else(|| DriverError::fatal(format!("{digest} is not here")))?;
        let content = serde_json::to_vec(&image.config).map_err(|e| DriverError::fatal(e.to_string()))?;
        unnamed(&content).map_err(|e| DriverError::fatal(format!("{digest}: {e}")))
    }
}

/// Takes any digest for the right one.
impl Uploads for FakeImages {
    fn begin(&self) -> Result<String, Refusal> {
        self.asked("begin", "")?;
        let mut uploads = lock(&self.uploads);
        let name = uploads.len().to_string();
        uploads.insert(name.clone(), Vec::new());
        Ok(name)
    }

    fn received(&self, upload: &str) -> Result<u64, Refusal> {
        lock(&self.uploads).get(upload).map(|bytes| bytes.len() as u64).ok_or_else(unknown)
    }

    fn append(&self, upload: &str, at: Option<u64>, bytes: &mut dyn Read) -> Result<u64, Refusal> {
        self.asked("append", upload)?;
        let mut uploads = lock(&self.uploads);
        let here = uploads.get_mut(upload).ok_or_else(unknown)?;
        if at.is_some_and(|at| at != here.len() as u64) {
            return Err(Refusal::new(Code::BlobUploadInvalid, format!("the next byte is {}", here.len())));
        }
        bytes.read_to_end(here).map_err(|e| Refusal::new(Code::BlobUploadInvalid, e.to_string()))?;
        Ok(here.len() as u64)
    }

    fn finish(&self, upload: &str, digest: &str) -> Result<(), Refusal> {
        let bytes = lock(&self.uploads).remove(upload).ok_or_else(unknown)?;
        lock(&self.held).insert(digest.to_owned(), bytes);
        Ok(())
    }

    fn cancel(&self, upload: &str) -> Result<(), Refusal> {
        lock(&self.uploads).remove(upload).map(drop).ok_or_else(unknown)
    }
}

/// Manifests are not looked into: nothing of them runs.
impl Content for FakeImages {
    fn hold(&self, manifest: &[u8], media_type: &str) -> Result<HeldManifest, Refusal> {
        self.asked("hold", media_type)?;
        let mut hasher = DefaultHasher::new();
        manifest.hash(&mut hasher);
        let digest = format!("sha256:{:064x}", hasher.finish());
        lock(&self.held).insert(digest.clone(), manifest.to_vec());
        Ok(HeldManifest {
            digest,
            media_type: media_type.to_owned(),
            size: manifest.len() as u64,
            artifact_type: None,
            subject: None,
            annotations: BTreeMap::new(),
            manifests: Vec::new(),
            runs: Runs::Nothing("it is a fake".to_owned()),
        })
    }

    fn held(&self) -> Vec<String> {
        lock(&self.held).keys().cloned().collect()
    }

    fn size(&self, digest: &str) -> Option<u64> {
        lock(&self.held).get(digest).map(|bytes| bytes.len() as u64)
    }

    fn discard(&self, digest: &str) -> Result<(), Refusal> {
        lock(&self.held).remove(digest);
        Ok(())
    }

    fn export(&self, digest: &str, name: &str, _: ArchiveFormat, to: &mut dyn Write) -> Result<()> {
        self.faults.enter("export", digest)?;
        to.write_all(name.as_bytes()).map_err(|e| DriverError::fatal(e.to_string()))
    }

    fn push(&self, request: &PushRequest, _: Progress<'_>) -> Result<String> {
        self.faults.enter("push", &request.to)?;
        Ok(request.image.clone())
    }
}

impl FakeImages {
    fn asked(&self, verb: &str, argument: &str) -> Result<(), Refusal> {
        self.faults.enter(verb, argument).map_err(|error| Refusal::new(Code::Unknown, error.message))
    }
}

fn unknown() -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "there is no such upload")
}

/// A file with this content and no name any more.
fn unnamed(content: &[u8]) -> std::io::Result<File> {
    let unique = u64::from_le_bytes(base::env::random_bytes());
    let path = std::env::temp_dir().join(format!("fake-blob-{unique:x}"));
    let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
    std::fs::remove_file(&path)?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}
