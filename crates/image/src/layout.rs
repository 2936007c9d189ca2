//! Where things are in the store's directory, and how they get there: from a staging directory, by rename.
//!
//! `blobs/sha256/<hex>`: manifests, configurations and compressed layers, as they came. `layers/<hex of the diff id>/fs`:
//! unpacked layers. `images/<hex of the manifest>.json`: markers, written last. `staging/`: what is being made.
//! `old/`: staging directories of earlier processes, on their way off the disk. `held/<hex>.json`: manifests kept as they came. `uploads/<name>`: blobs on their way in.
//! `arrived/<hex>`: empty, as old as the last time somebody counted on a blob that no manifest needs yet. `lock`: held by the
//! process that has the store open.

use crate::{
    digest::Digest,
    error::{Error, Result, on},
};
use api::image::ImageConfig;
use nix::{
    errno::Errno,
    fcntl::{AT_FDCWD, Flock, FlockArg, RenameFlags, renameat2},
};
use serde::{Deserialize, Serialize};
use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions},
    io::{ErrorKind, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Version of [`Marker`].
const FORMAT: u32 = 1;

/// Paths in the store's directory.
#[derive(Clone, Debug)]
pub struct Layout {
    /// The store's directory, absolute.
    pub dir: PathBuf,
}

/// Says that an image is complete. Written when all its content is in place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    /// Version of this format.
    pub format: u32,
    /// Of the manifest.
    pub manifest: Digest,
    /// Of the configuration.
    pub configuration: Digest,
    /// Lowest first, as in the manifest.
    pub layers: Vec<MarkedLayer>,
    /// Layers below this one are hidden by it entirely.
    pub lowest: usize,
    /// How to run it.
    pub config: ImageConfig,
    /// Written before its content was sure to be on the disk: it holds for this run of the kernel only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
}

/// A layer of a marker.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarkedLayer {
    /// Of the blob.
    pub digest: Digest,
    /// Of the uncompressed archive: where it is unpacked.
    pub diff_id: Digest,
    /// Bytes of the blob.
    pub size: u64,
}

impl Marker {
    /// A marker of the current version.
    pub const fn new(manifest: Digest, configuration: Digest, layers: Vec<MarkedLayer>, config: ImageConfig) -> Self {
        Self { format: FORMAT, manifest, configuration, layers, lowest: 0, config, boot: None }
    }

    /// Every blob it needs.
    pub fn blobs(&self) -> impl Iterator<Item = &Digest> {
        [&self.manifest, &self.configuration].into_iter().chain(self.layers.iter().map(|l| &l.digest))
    }
}

impl Layout {
    /// Makes the directories, takes the lock, and removes what an earlier process left half made.
    pub fn open(dir: &Path) -> Result<(Self, Flock<File>)> {
        make_dir(dir)?;
        let dir = fs::canonicalize(dir).map_err(on("find", dir))?;
        let layout = Self { dir };
        let path = layout.dir.join("lock");
        let file =
            OpenOptions::new().create(true).write(true).truncate(false).mode(0o600).open(&path).map_err(on("open", &path))?;
        let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock)
            .map_err(|_| Error::request(format!("the image store {} is in use by another process", layout.dir.display())))?;
        for part in ["blobs/sha256", "layers", "images", "staging", "held", "uploads", "arrived", "old"] {
            make_dir(&layout.dir.join(part))?;
        }
        layout.put_aside()?;
        Ok((layout, lock))
    }

    /// What an earlier process left half made is out of the way at once: who opens a store does not wait for the disk.
    fn put_aside(&self) -> Result<()> {
        let staging = self.dir.join("staging");
        if is_empty(&staging)? {
            return Ok(());
        }
        let name = format!("{}-{}", std::process::id(), base::env::now_millis());
        fs::rename(&staging, self.dir.join("old").join(name)).map_err(on("put aside", &staging))?;
        make_dir(&staging)
    }

    /// Nothing is left of what was put aside.
    pub fn is_tidy(&self) -> Result<bool> {
        is_empty(&self.dir.join("old"))
    }

    /// Removes what was put aside.
    pub fn empty_old(&self) -> Result<()> {
        let old = self.dir.join("old");
        for entry in fs::read_dir(&old).map_err(on("list", &old))?.flatten() {
            empty(&entry.path())?;
        }
        Ok(())
    }

    /// A blob's file.
    pub fn blob(&self, digest: &Digest) -> PathBuf {
        self.dir.join("blobs/sha256").join(digest.hex())
    }

    /// An unpacked layer; its files are in `fs` below.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.dir.join("layers").join(diff_id.hex())
    }

    /// An image's marker.
    pub fn marker(&self, manifest: &Digest) -> PathBuf {
        self.dir.join("images").join(format!("{}.json", manifest.hex()))
    }

    /// The marker of a manifest that is kept as it came.
    pub fn held(&self, manifest: &Digest) -> PathBuf {
        self.dir.join("held").join(format!("{}.json", manifest.hex()))
    }

    /// The file of an upload whose name is known to be one.
    pub fn upload(&self, name: &str) -> PathBuf {
        self.dir.join("uploads").join(name)
    }

    /// Where it is noted that a blob has come for a manifest that is to follow.
    pub fn arrived(&self, hex: &str) -> PathBuf {
        self.dir.join("arrived").join(hex)
    }

    /// Notes that somebody counts on a blob from now on for a while.
    pub fn arrives(&self, digest: &Digest) -> Result<()> {
        let path = self.arrived(digest.hex());
        File::create(&path).and_then(|file| file.set_modified(crate::prune::now())).map_err(on("write", &path))
    }

    /// A manifest needs the blob: it stays without being noted.
    pub fn settled(&self, digest: &Digest) {
        // Usually there is nothing to remove; if it cannot be removed it only stays for an hour.
        let _ = fs::remove_file(self.arrived(digest.hex()));
    }

    /// Everything the marker promises is there.
    fn complete(&self, marker: &Marker) -> bool {
        marker.format == FORMAT
            && marker.boot.as_ref().is_none_or(|boot| *boot == this_boot())
            && marker.blobs().all(|d| self.blob(d).is_file())
            && marker.layers.iter().all(|l| self.layer(&l.diff_id).join("fs").is_dir())
    }

    /// The markers of all images that are complete. One that is not, or cannot be read, is removed.
    pub fn markers(&self) -> Result<Vec<Marker>> {
        let dir = self.dir.join("images");
        let mut found = Vec::new();
        for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
            let path = entry.map_err(on("list", &dir))?.path();
            let bytes = fs::read(&path).map_err(on("read", &path))?;
            match serde_json::from_slice::<Marker>(&bytes) {
                Ok(marker) if self.complete(&marker) && self.marker(&marker.manifest) == path => found.push(marker),
                _ => {
                    tracing::warn!(path = %path.display(), "an image is incomplete and is forgotten");
                    fs::remove_file(&path).map_err(on("remove", &path))?;
                }
            }
        }
        Ok(found)
    }

    /// Writes a marker, whole or not at all.
    pub fn mark(&self, marker: &Marker, staging: &Staging) -> Result<()> {
        let bytes = crate::manifest::write(marker)?;
        // One that holds for this run of the kernel only need not survive it.
        let temporary = if marker.boot.is_some() { staging.quick_file(&bytes)? } else { staging.file(&bytes)? };
        let path = self.marker(&marker.manifest);
        fs::rename(&temporary, &path).map_err(on("write", &path))
    }

    /// The content of a marker is on the disk: it holds from now on, if it is still there.
    pub fn settle(&self, marker: &Marker) -> Result<()> {
        let path = self.marker(&marker.manifest);
        let settled = Marker { boot: None, ..marker.clone() };
        let staging = self.staging()?;
        let fresh = staging.file(&crate::manifest::write(&settled)?)?;
        // Exchanged, not renamed: an image that was removed meanwhile must not come back.
        match renameat2(AT_FDCWD, &fresh, AT_FDCWD, &path, RenameFlags::RENAME_EXCHANGE) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(e) => Err(on("write", &path)(e.into())),
        }
    }

    /// A new staging directory.
    pub fn staging(&self) -> Result<Staging> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let name = format!("{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let dir = self.dir.join("staging").join(name);
        make_dir(&dir)?;
        Ok(Staging { dir, next: AtomicU64::new(0) })
    }

    /// Makes all that was written so far survive a power failure, before a marker promises it.
    pub fn sync(&self) -> Result<()> {
        let dir = File::open(&self.dir).map_err(on("open", &self.dir))?;
        nix::unistd::syncfs(&dir).map_err(|e| on("write out", &self.dir)(e.into()))
    }
}

/// Which run of the kernel this is (random(4), `boot_id`); empty, and so no run at all, when it cannot be told.
pub fn this_boot() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

/// Removes what is left in a directory, and it. What an earlier process had started is being ended by the kernel and may
/// make a last file meanwhile: then it is tried again.
fn empty(dir: &Path) -> Result<()> {
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(50);
    for _ in 0..TRIES {
        match fs::remove_dir_all(dir) {
            Err(e) if e.kind() == ErrorKind::DirectoryNotEmpty => std::thread::sleep(PAUSE),
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
            other => return other.map_err(on("empty", dir)),
        }
    }
    fs::remove_dir_all(dir).map_err(on("empty", dir))
}

fn is_empty(dir: &Path) -> Result<bool> {
    Ok(fs::read_dir(dir).map_err(on("list", dir))?.next().is_none())
}

fn make_dir(path: &Path) -> Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(on("make directory", path))
}

/// A directory for what one call makes. Removed with everything still in it when dropped.
#[derive(Debug)]
pub struct Staging {
    /// The directory.
    pub dir: PathBuf,
    next: AtomicU64,
}

impl Staging {
    /// Nothing is in it.
    pub fn is_empty(&self) -> Result<bool> {
        is_empty(&self.dir)
    }

    /// A path in it that is not in use.
    pub fn path(&self) -> PathBuf {
        self.dir.join(self.next.fetch_add(1, Ordering::Relaxed).to_string())
    }

    /// A new file.
    pub fn create(&self) -> Result<(PathBuf, File)> {
        let path = self.path();
        let file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).map_err(on("create", &path))?;
        Ok((path, file))
    }

    /// A new file with this content, on its disk.
    pub fn file(&self, bytes: &[u8]) -> Result<PathBuf> {
        let (path, mut file) = self.create()?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(on("write", &path))?;
        Ok(path)
    }

    /// A new file with this content, on its disk when the kernel gets round to it.
    pub fn quick_file(&self, bytes: &[u8]) -> Result<PathBuf> {
        let (path, mut file) = self.create()?;
        file.write_all(bytes).map_err(on("write", &path))?;
        Ok(path)
    }

    /// A new directory for a layer, with an empty `fs` in it: the layer's root, readable by all as a root directory is.
    pub fn layer(&self) -> Result<PathBuf> {
        let path = self.path();
        let root = path.join("fs");
        make_dir(&root)?;
        fs::set_permissions(&root, Permissions::from_mode(0o755)).map_err(on("open up", &root))?;
        Ok(path)
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            tracing::warn!(path = %self.dir.display(), %error, "staging directory stays until the store is opened again");
        }
    }
}
