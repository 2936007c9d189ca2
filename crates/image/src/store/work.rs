//! Images being made: whose turn it is, what work under way counts on, and the commit.

use super::ContentStore;
use crate::{
    compression::Compression,
    digest::Digest,
    error::{Error, Result, on},
    helper,
    layer::Layer,
    layout::{MarkedLayer, Marker, Staging, this_boot},
    manifest::{self, Configuration, Descriptor, Document},
};
use api::image::LocalImage;
use driver::image::Progress;
use std::{
    ffi::OsString,
    fs,
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Whose turn it is to make an image be here.
pub(crate) enum Turn<'a> {
    /// Nobody's: it is.
    Here(Box<LocalImage>),
    /// The caller's, while this lives.
    Ours(Busy<'a>),
}

/// What somebody has the right to make. A configuration may claim any digest for a layer, that of a manifest too: these are two things.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Making {
    /// With this manifest.
    Image(Digest),
    /// That unpacks to this.
    Layer(Digest),
}

/// The right to make one image, or to take in one layer.
pub(crate) struct Busy<'a> {
    pub(super) store: &'a ContentStore,
    pub(super) making: Making,
}

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.store.state().busy.remove(&self.making);
        self.store.free.notify_all();
    }
}

/// Something being made: its staging directory, and what it counts on.
pub(crate) struct Work<'a> {
    pub(crate) store: &'a ContentStore,
    pub(crate) staging: Staging,
    pub(crate) progress: Progress<'a>,
    pinned: Mutex<Vec<Digest>>,
    cancel: AtomicBool,
}

impl Drop for Work<'_> {
    fn drop(&mut self) {
        let pinned = std::mem::take(&mut *self.pinned.lock().unwrap_or_else(PoisonError::into_inner));
        let mut state = self.store.state();
        for digest in pinned {
            if let Some(count) = state.pins.get_mut(&digest) {
                *count -= 1;
                if *count == 0 {
                    state.pins.remove(&digest);
                }
            }
        }
    }
}

/// A layer of an image to be committed.
#[derive(Debug)]
pub(crate) enum Part {
    /// In the store already, and pinned.
    Present(MarkedLayer),
    /// In the staging directory.
    New(Box<Layer>),
}

impl Part {
    fn marked(&self) -> MarkedLayer {
        match self {
            Self::Present(layer) => layer.clone(),
            Self::New(layer) => MarkedLayer { digest: layer.digest.clone(), diff_id: layer.diff_id.clone(), size: layer.size },
        }
    }
}

impl<'a> Work<'a> {
    /// Begins it.
    pub(super) fn new(store: &'a ContentStore, staging: Staging, progress: Progress<'a>) -> Self {
        Self { store, staging, progress, pinned: Mutex::default(), cancel: AtomicBool::new(false) }
    }

    /// Others that work on the same should stop.
    pub(crate) fn cancel(&self) {
        self.cancel.store(true, Ordering::Relaxed);
    }

    pub(crate) fn cancelled(&self) -> bool {
        self.cancel.load(Ordering::Relaxed)
    }

    pub(crate) fn unpack_command(&self) -> &[OsString] {
        &self.store.options.unpack
    }

    /// Most bytes a layer may unpack to now, and whether the disk, rather than the option, is what limits it.
    pub(crate) fn room(&self) -> Result<(u64, bool)> {
        let dir = &self.store.layout.dir;
        let stat = nix::sys::statvfs::statvfs(dir).map_err(|e| on("ask for the free space of", dir)(e.into()))?;
        let free = stat.blocks_available().saturating_mul(stat.fragment_size());
        let most = self.store.options.max_unpacked.0;
        Ok(if free < most { (free, true) } else { (most, false) })
    }

    pub(crate) fn no_space(&self) -> Error {
        Error::NoSpace(self.store.layout.dir.display().to_string())
    }

    /// The layer, if blob and content are both here; they then stay at least until this work ends.
    pub(crate) fn present(&self, blob: &Digest, diff_id: &Digest) -> Option<MarkedLayer> {
        let layout = &self.store.layout;
        let mut state = self.store.state();
        let size = fs::metadata(layout.blob(blob)).ok()?.len();
        if !layout.layer(diff_id).is_dir() {
            return None;
        }
        for digest in [blob, diff_id] {
            *state.pins.entry(digest.clone()).or_default() += 1;
            self.pinned.lock().unwrap_or_else(PoisonError::into_inner).push(digest.clone());
        }
        Some(MarkedLayer { digest: blob.clone(), diff_id: diff_id.clone(), size })
    }

    /// The file of a blob that is in the store; it then stays at least until this work ends.
    pub(crate) fn blob(&self, blob: &Digest) -> Option<PathBuf> {
        let mut state = self.store.state();
        let path = self.store.layout.blob(blob);
        path.is_file().then(|| {
            *state.pins.entry(blob.clone()).or_default() += 1;
            self.pinned.lock().unwrap_or_else(PoisonError::into_inner).push(blob.clone());
            path
        })
    }

    /// Writes configuration and manifest for these layers and commits the image.
    pub(crate) fn compose(&self, config: &[u8], described: Vec<Descriptor>, parts: Vec<Part>) -> Result<LocalImage> {
        let descriptor = Descriptor::new(manifest::CONFIG_TYPE, Digest::of(config), config.len() as u64);
        let manifest = Document::write(descriptor, described)?;
        let digest = Digest::of(&manifest);
        match self.store.turn(&digest) {
            Turn::Here(image) => Ok(*image),
            Turn::Ours(_busy) => self.commit(&manifest, config, parts),
        }
    }

    /// Puts everything in place, the marker last.
    pub(crate) fn commit(&self, manifest: &[u8], config: &[u8], parts: Vec<Part>) -> Result<LocalImage> {
        let layout = &self.store.layout;
        let summary = Configuration::parse(config, parts.len())?.summary();
        let layers: Vec<MarkedLayer> = parts.iter().map(Part::marked).collect();
        let mut marker = Marker::new(Digest::of(manifest), Digest::of(config), layers, summary);
        let mut moves = vec![
            (self.staging.quick_file(manifest)?, layout.blob(&marker.manifest)),
            (self.staging.quick_file(config)?, layout.blob(&marker.configuration)),
        ];
        for part in parts {
            if let Part::New(layer) = part {
                moves.push((layer.blob, layout.blob(&layer.digest)));
                moves.push((layer.dir, layout.layer(&layer.diff_id)));
            }
        }
        let mut state = self.store.state();
        for (from, to) in moves {
            if !to.exists() {
                fs::rename(&from, &to).map_err(on("put in place", &to))?;
            }
        }
        let opaque = |l: &MarkedLayer| helper::is_opaque(&layout.layer(&l.diff_id).join("fs"));
        marker.lowest = marker.layers.iter().rposition(opaque).unwrap_or_default();
        marker.boot = Some(this_boot());
        layout.mark(&marker, &self.staging)?;
        let image = self.store.local(&marker);
        state.images.insert(marker.manifest.clone(), marker.clone());
        drop(state);
        self.store.settle(marker);
        Ok(image)
    }
}

/// A layer of our own making, for a manifest.
pub(crate) fn describe(compression: Compression, digest: &Digest, size: u64) -> Descriptor {
    Descriptor::new(compression.layer_type(), digest.clone(), size)
}
