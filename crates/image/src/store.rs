//! The store itself: what is complete, in memory, as the markers on disk say, and what must stay.

mod work;

pub(crate) use work::{Busy, Part, Turn, Work, describe};

use crate::{
    apt, bootstrap, commit,
    digest::Digest,
    error::{Error, Result, on},
    fetch,
    held::Held,
    import,
    layout::{Layout, Marker, Staging},
    prune, pull, uploads,
};
use api::{
    Bytes,
    image::{ConfigChange, LocalImage},
    view::{BootstrapRequest, PullRequest},
};
use driver::{
    Commit, Images,
    image::{BlobSource, Progress, Swept, Upper},
};
use nix::fcntl::Flock;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};
use work::Making;

/// How a store is set up.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is: `/var/lib/roost/images`. On a file system with extended attributes.
    pub dir: PathBuf,
    /// Program and first arguments of the confined process: one that ends in [`crate::unpack::main`] with the further
    /// arguments it is given.
    pub unpack: Vec<OsString>,
    /// Where package sources are configured, laid out like `/etc/apt`; that one when absent.
    pub apt_sources: Option<PathBuf>,
    /// Program that makes base systems: `mmdebstrap`.
    pub mmdebstrap: OsString,
    /// Network namespace to make base systems in, where package sources can be reached; the caller's own when absent.
    pub network: Option<PathBuf>,
    /// Most bytes one layer may unpack to; less when the disk has less.
    pub max_unpacked: Bytes,
}

impl Options {
    /// A store in `dir` with the helper `unpack`, and defaults for the rest.
    pub fn new(dir: impl Into<PathBuf>, unpack: Vec<OsString>) -> Self {
        Self {
            dir: dir.into(),
            unpack,
            apt_sources: None,
            mmdebstrap: "mmdebstrap".into(),
            network: None,
            max_unpacked: Bytes(64 << 30),
        }
    }
}

/// Images on this server. One process at a time has a store open.
pub struct ContentStore {
    layout: Layout,
    options: Options,
    state: Mutex<State>,
    /// Something stopped being made.
    free: Condvar,
    uploads: uploads::Table,
    /// Markers that hold for this run of the kernel only are being made to last.
    settling: Arc<Mutex<()>>,
    _lock: Flock<File>,
}

#[derive(Default)]
struct State {
    images: BTreeMap<Digest, Marker>,
    /// What is being made be here.
    busy: BTreeSet<Making>,
    /// Blobs and layers that work under way found here and counts on.
    pins: BTreeMap<Digest, usize>,
    /// Manifests that are kept as they came.
    held: BTreeMap<Digest, Held>,
    /// When what nobody needs was looked for last (`base::env::now_millis`).
    swept: u64,
}

impl State {
    /// Names of blobs and layers that stay.
    fn needed(&self) -> BTreeSet<String> {
        let images = self.images.values().flat_map(|m| m.blobs().chain(m.layers.iter().map(|l| &l.diff_id)));
        let held = self.held.values().flat_map(Held::blobs);
        images.chain(held).chain(self.pins.keys()).map(|d| d.hex().to_owned()).collect()
    }

    /// These, and the manifests that kept indexes among them consist of.
    fn with_parts(&self, keep: &BTreeSet<Digest>) -> BTreeSet<Digest> {
        let mut all = keep.clone();
        let mut next: Vec<&Digest> = keep.iter().collect();
        while let Some(held) = next.pop().and_then(|digest| self.held.get(digest)) {
            next.extend(held.references.iter().filter(|inner| all.insert((*inner).clone())));
        }
        all
    }
}

/// Takes off the disk what nobody sees any more, on a thread: whoever opens a store has more urgent things to do.
fn discard_later(layout: Layout, swept: Staging) {
    let work = move || {
        drop(swept);
        if let Err(error) = layout.empty_old() {
            tracing::warn!(%error, "what an earlier process left half made stays until the store is opened again");
        }
    };
    if let Err(error) = std::thread::Builder::new().name("discard".to_owned()).spawn(work) {
        tracing::warn!(%error, "what nobody needs stays on the disk until the store is opened again");
    }
}

impl ContentStore {
    /// Opens the store, or makes an empty one. What an earlier process left half made is removed meanwhile.
    pub fn open(options: Options) -> driver::Result<Self> {
        let (layout, lock) = Layout::open(&options.dir)?;
        let images = layout.markers()?.into_iter().map(|m| (m.manifest.clone(), m)).collect();
        let held = Held::all(&layout)?.into_iter().map(|held| (held.digest.clone(), held)).collect();
        let state = State { images, held, swept: base::env::now_millis(), ..State::default() };
        let swept = prune::sweep(&layout, &state.needed())?;
        if !(swept.is_empty()? && layout.is_tidy()?) {
            discard_later(layout.clone(), swept);
        }
        let store = Self {
            layout,
            options,
            state: Mutex::new(state),
            free: Condvar::new(),
            uploads: uploads::Table::default(),
            settling: Arc::default(),
            _lock: lock,
        };
        let unsettled: Vec<Marker> = store.state().images.values().filter(|m| m.boot.is_some()).cloned().collect();
        unsettled.into_iter().for_each(|marker| store.settle(marker));
        Ok(store)
    }

    pub(crate) const fn layout(&self) -> &Layout {
        &self.layout
    }

    pub(crate) const fn uploads(&self) -> &uploads::Table {
        &self.uploads
    }

    /// Digests of manifests that are kept as they came.
    pub(crate) fn held_digests(&self) -> Vec<Digest> {
        self.state().held.keys().cloned().collect()
    }

    /// Keeps a manifest: `put` puts it in place while nothing can be swept.
    pub(crate) fn hold_with<E>(&self, held: Held, put: impl FnOnce(&Held) -> Result<(), E>) -> Result<(), E> {
        let mut state = self.state();
        put(&held)?;
        state.held.insert(held.digest.clone(), held);
        Ok(())
    }

    /// Puts a blob in place that a manifest is to follow for.
    pub(crate) fn put_blob(&self, digest: &Digest, put: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let _state = self.state();
        self.layout.arrives(digest)?;
        put(&self.layout.blob(digest))
    }

    /// Bytes of a blob, if it is here.
    pub(crate) fn blob_size(&self, digest: &Digest) -> Option<u64> {
        fs::metadata(self.layout.blob(digest)).ok().map(|meta| meta.len())
    }

    /// The same, and it stays for a while: who asks is about to name it in a manifest.
    pub(crate) fn counted_on(&self, digest: &Digest) -> Option<u64> {
        let state = self.state();
        let size = self.blob_size(digest)?;
        if !state.held.values().any(|held| held.references.contains(digest))
            && let Err(error) = self.layout.arrives(digest)
        {
            tracing::warn!(%digest, %error, "a blob may go before its manifest comes");
        }
        Some(size)
    }

    /// Removes a blob that no manifest and no work under way needs; None when one does.
    pub(crate) fn remove_blob(&self, digest: &Digest) -> Result<Option<()>> {
        let state = self.state();
        if state.needed().contains(digest.hex()) {
            return Ok(None);
        }
        let path = self.layout.blob(digest);
        self.layout.settled(digest);
        match fs::remove_file(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(Some(())),
            other => other.map(Some).map_err(on("remove", &path)),
        }
    }

    /// Removes what nobody needs, once an hour.
    pub(crate) fn sweep_when_due(&self) -> Result<()> {
        let trash = {
            let mut state = self.state();
            let now = base::env::now_millis();
            if now.saturating_sub(state.swept) < u64::try_from(prune::AN_HOUR.as_millis()).unwrap_or(u64::MAX) {
                return Ok(());
            }
            state.swept = now;
            prune::sweep(&self.layout, &state.needed())?
        };
        prune::discard(&self.layout, trash).map(drop)
    }

    /// Makes a marker last, once its content is on the disk: on a thread, since that takes as long as the disk does. Until
    /// then the marker holds for this run of the kernel, which has the content in memory.
    fn settle(&self, marker: Marker) {
        let (layout, settling) = (self.layout.clone(), Arc::clone(&self.settling));
        let work = move || {
            // One at a time: the second finds little left to write.
            let _one = settling.lock().unwrap_or_else(PoisonError::into_inner);
            let settled = layout.sync().and_then(|()| layout.settle(&marker));
            if let Err(error) = settled {
                tracing::warn!(manifest = %marker.manifest, %error, "an image may have to be fetched again after a power failure");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("settle".to_owned()).spawn(work) {
            tracing::warn!(%error, "an image may have to be fetched again after a power failure");
        }
    }

    pub(crate) const fn options(&self) -> &Options {
        &self.options
    }

    pub(crate) fn apt_dir(&self) -> PathBuf {
        self.options.apt_sources.clone().unwrap_or_else(|| apt::DEFAULT_DIR.into())
    }

    /// An error as callers see it: of a full disk they need to know whose it is, not which file came last.
    fn told(&self, error: Error) -> driver::DriverError {
        match error {
            Error::NoSpace(_) => Error::NoSpace(self.layout.dir.display().to_string()).into(),
            other => other.into(),
        }
    }

    /// A panic of a caller's progress function leaves nothing half changed: the state is changed last.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of an image that is here.
    pub(crate) fn marker(&self, digest: &Digest) -> Option<Marker> {
        self.state().images.get(digest).cloned()
    }

    /// Begins to make something.
    pub(crate) fn work<'a>(&'a self, progress: Progress<'a>) -> Result<Work<'a>> {
        let staging = self.layout.staging()?;
        Ok(Work::new(self, staging, progress))
    }

    /// The image if it is here; else the caller is the one who makes it be, until the turn is dropped.
    pub(crate) fn turn(&self, digest: &Digest) -> Turn<'_> {
        let mut state = self.state();
        loop {
            if let Some(marker) = state.images.get(digest) {
                return Turn::Here(Box::new(self.local(marker)));
            }
            let making = Making::Image(digest.clone());
            if state.busy.insert(making.clone()) {
                return Turn::Ours(Busy { store: self, making });
            }
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The caller is the one who takes in these layers, those that are here excepted, until the turns are dropped: images that have
    /// one in common and come at once bring it once. Taken in order, so that no two wait for each other.
    pub(crate) fn layer_turns<'d>(&self, diff_ids: impl IntoIterator<Item = &'d Digest>) -> Vec<Busy<'_>> {
        let ordered: BTreeSet<&Digest> = diff_ids.into_iter().collect();
        ordered.into_iter().filter_map(|diff_id| self.layer_turn(diff_id)).collect()
    }

    fn layer_turn(&self, diff_id: &Digest) -> Option<Busy<'_>> {
        let mut state = self.state();
        loop {
            if self.layout.layer(diff_id).is_dir() {
                return None;
            }
            let making = Making::Layer(diff_id.clone());
            if state.busy.insert(making.clone()) {
                return Some(Busy { store: self, making });
            }
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An image that is here, as callers know it.
    pub(crate) fn local(&self, marker: &Marker) -> LocalImage {
        let mut layers: Vec<PathBuf> = Vec::new();
        // Overlay refuses one directory twice. Of a layer that occurs twice, what the upper one does is what remains.
        for layer in marker.layers.iter().skip(marker.lowest).rev() {
            let path = self.layout.layer(&layer.diff_id).join("fs");
            if !layers.contains(&path) {
                layers.push(path);
            }
        }
        layers.reverse();
        LocalImage {
            digest: marker.manifest.to_string(),
            config: marker.config.clone(),
            layers,
            size: Bytes(marker.layers.iter().map(|l| l.size).sum()),
            index: None,
        }
    }
}

impl Commit for ContentStore {
    fn commit(
        &self,
        base: &str,
        upper: Option<&Upper>,
        change: &ConfigChange,
        progress: Progress<'_>,
    ) -> driver::Result<LocalImage> {
        commit::commit(self, &base.parse()?, (upper, change), progress).map_err(|e| self.told(e))
    }
}

impl driver::Layers for ContentStore {
    fn stack(&self, below: Option<&str>, upper: &Upper, progress: Progress<'_>) -> driver::Result<LocalImage> {
        let below = below.map(str::parse).transpose()?;
        commit::layers::stack(self, below.as_ref(), upper, progress).map_err(|e| self.told(e))
    }

    fn configure(&self, image: &str, configuration: &[u8], progress: Progress<'_>) -> driver::Result<LocalImage> {
        commit::layers::configure(self, &image.parse()?, configuration, progress).map_err(|e| self.told(e))
    }

    fn is_archive(&self, file: &mut dyn Read) -> bool {
        commit::archive::is_archive(file)
    }

    fn unpack(&self, archive: &mut dyn Read, into: &Path, what: &str) -> driver::Result<()> {
        commit::archive::unpack(self, archive, into, what).map_err(|e| self.told(e))
    }
}

impl Images for ContentStore {
    fn list(&self) -> driver::Result<Vec<LocalImage>> {
        Ok(self.state().images.values().map(|m| self.local(m)).collect())
    }

    fn find(&self, digest: &str) -> driver::Result<Option<LocalImage>> {
        let digest: Digest = digest.parse()?;
        Ok(self.state().images.get(&digest).map(|m| self.local(m)))
    }

    fn ensure(&self, digest: &str, source: &dyn BlobSource, progress: Progress<'_>) -> driver::Result<LocalImage> {
        fetch::ensure(self, &digest.parse()?, source, progress).map_err(|e| self.told(e))
    }

    fn import(&self, archive: &mut dyn Read, name: &str, progress: Progress<'_>) -> driver::Result<LocalImage> {
        import::import(self, archive, name, progress).map_err(|e| self.told(e))
    }

    fn pull(&self, request: &PullRequest, progress: Progress<'_>) -> driver::Result<LocalImage> {
        pull::pull(self, request, progress).map_err(|e| self.told(e))
    }

    fn bootstrap(&self, request: &BootstrapRequest, progress: Progress<'_>) -> driver::Result<LocalImage> {
        bootstrap::bootstrap(self, request, progress).map_err(|e| self.told(e))
    }

    fn prune(&self, keep: &[String]) -> driver::Result<Swept> {
        let keep: BTreeSet<Digest> = keep.iter().map(|d| d.parse()).collect::<Result<_>>()?;
        let swept = {
            let mut state = self.state();
            let keep = state.with_parts(&keep);
            let gone: Vec<Digest> = state.images.keys().filter(|d| !keep.contains(d)).cloned().collect();
            for digest in gone {
                let path = self.layout.marker(&digest);
                fs::remove_file(&path).map_err(on("remove", &path))?;
                state.images.remove(&digest);
            }
            let gone: Vec<Digest> = state.held.keys().filter(|d| !keep.contains(d)).cloned().collect();
            for digest in gone {
                let path = self.layout.held(&digest);
                fs::remove_file(&path).map_err(on("remove", &path))?;
                state.held.remove(&digest);
            }
            prune::sweep(&self.layout, &state.needed())?
        };
        let layout = self.layout.clone();
        Ok(Swept::new(move || Ok(prune::discard(&layout, swept)?)))
    }

    fn blob(&self, digest: &str) -> driver::Result<File> {
        let path = self.layout.blob(&digest.parse()?);
        match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                Err(Error::request(format!("{digest} is not in this server's image store")).into())
            }
            other => Ok(other.map_err(on("open", &path))?),
        }
    }
}
