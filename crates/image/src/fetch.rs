//! Makes an image be here from a place that has its blobs: another server, a registry, an unpacked OCI layout.

use crate::{
    digest::Digest,
    error::{Error, Result, on},
    layer::{self, Keep, Wanted},
    manifest::{self, Configuration, Descriptor, Document, MAX_CONFIG, MAX_MANIFEST},
    store::{ContentStore, Part, Turn, Work},
};
use api::image::LocalImage;
use base::backoff::Backoff;
use driver::image::{BlobSource, Progress};
use std::{
    fs::File,
    io::{self, Read, Seek as _, SeekFrom},
    path::PathBuf,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

/// Layers fetched at a time.
const PARALLEL: usize = 4;
/// Times one transfer that breaks off is taken up again without having got any further.
const MAX_TRIES: u32 = 6;
/// Further than that counts.
const PROGRESS: u64 = 1 << 20;

/// Where blobs come from.
pub trait Source: Sync {
    /// Opens one from this byte on.
    fn open(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>>;

    /// The file it is in, if it is on this server's disk already.
    fn file(&self, _digest: &Digest) -> Option<PathBuf> {
        None
    }
}

/// Another server.
struct Remote<'a>(&'a dyn BlobSource);

impl Source for Remote<'_> {
    fn open(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>> {
        let mut reader = self.0.open(digest.as_str()).map_err(|e| match e.retryable {
            true => Error::Elsewhere(e.message),
            false => Error::Request(e.message),
        })?;
        let skipped = io::copy(&mut (&mut reader).take(offset), &mut io::sink());
        match skipped.map_err(|e| Error::Elsewhere(format!("reading {digest} again: {e}")))? {
            n if n == offset => Ok(reader),
            _ => Err(Error::Elsewhere(format!("reading {digest} again: it ended sooner than before"))),
        }
    }
}

/// Makes the image with this manifest be here.
pub fn ensure(store: &ContentStore, digest: &Digest, source: &dyn BlobSource, progress: Progress<'_>) -> Result<LocalImage> {
    let _busy = match store.turn(digest) {
        Turn::Here(image) => return Ok(*image),
        Turn::Ours(busy) => busy,
    };
    let work = store.work(progress)?;
    let source = Here { work: &work, elsewhere: &Remote(source) };
    let manifest = small(&source, digest, MAX_MANIFEST, "the manifest")?;
    image(&work, &manifest, &source)
}

/// The store itself, and another place for what it lacks: blobs may be here that were pushed, or came with another image.
pub struct Here<'a> {
    /// Keeps what was found here.
    pub work: &'a Work<'a>,
    /// Where the rest is.
    pub elsewhere: &'a dyn Source,
}

impl Source for Here<'_> {
    fn open(&self, digest: &Digest, offset: u64) -> Result<Box<dyn Read + Send>> {
        let Some(path) = self.work.blob(digest) else { return self.elsewhere.open(digest, offset) };
        let mut file = File::open(&path).map_err(on("open", &path))?;
        file.seek(SeekFrom::Start(offset)).map_err(on("read", &path))?;
        Ok(Box::new(file))
    }

    fn file(&self, digest: &Digest) -> Option<PathBuf> {
        self.work.blob(digest).or_else(|| self.elsewhere.file(digest))
    }
}

/// Makes the image be here from its manifest, which is known to be right. The caller has the turn.
pub fn image(work: &Work<'_>, bytes: &[u8], source: &dyn Source) -> Result<LocalImage> {
    let manifest = Document::parse(bytes, "the manifest")?.manifest("the manifest")?;
    let config = small(source, &manifest.config.digest, MAX_CONFIG, "the configuration")?;
    let configuration = Configuration::parse(&config, manifest.layers.len())?;
    configuration.fits("the image")?;
    let diff_ids = configuration.rootfs.diff_ids;
    let _turns = work.store.layer_turns(&diff_ids);
    let jobs: Vec<(&Descriptor, &Digest)> = manifest.layers.iter().zip(&diff_ids).collect();
    let parts = each(&jobs, work, |(descriptor, diff_id)| layer(work, descriptor, diff_id, source))?;
    work.commit(bytes, &config, parts)
}

fn layer(work: &Work<'_>, descriptor: &Descriptor, diff_id: &Digest, source: &dyn Source) -> Result<Part> {
    let digest = &descriptor.digest;
    if let Some(present) = work.present(digest, diff_id) {
        return Ok(Part::Present(present));
    }
    let what = format!("layer {digest}");
    let wanted = Wanted { what: &what, digest: Some(digest), size: Some(descriptor.size), diff_id: Some(diff_id) };
    let layer = match source.file(digest) {
        Some(path) => {
            let file = File::open(&path).map_err(on("open", &path))?;
            layer::take_in(work, file, &wanted, Keep::InPlace(path))
        }
        None => layer::take_in(work, Resuming::open(source, digest, descriptor.size)?, &wanted, Keep::AsItCame),
    };
    layer.map(|layer| Part::New(Box::new(layer)))
}

/// A small blob, verified, in memory.
pub fn small(source: &dyn Source, digest: &Digest, most: u64, what: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let reader = Resuming::open(source, digest, 0)?;
    reader.take(most + 1).read_to_end(&mut bytes).map_err(|e| Error::Elsewhere(format!("reading {what} {digest}: {e}")))?;
    if bytes.len() as u64 > most {
        return Err(Error::content(format!("{what} {digest} has more than {most} bytes, the most that is taken")));
    }
    if Digest::of(&bytes) != *digest {
        return Err(Error::content(format!("{what} is damaged: its content has another digest than {digest}")));
    }
    Ok(bytes)
}

/// Does each job, [`PARALLEL`] at a time. The first error stops the others and is the answer.
pub fn each<J: Sync, T: Send>(jobs: &[J], work: &Work<'_>, run: impl Fn(&J) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::with_capacity(jobs.len()));
    let failed = Mutex::new(None);
    let worker = || {
        while let Some((index, job)) = {
            let i = next.fetch_add(1, Ordering::Relaxed);
            jobs.get(i).map(|j| (i, j))
        } {
            if work.cancelled() {
                return;
            }
            match run(job) {
                Ok(value) => done.lock().unwrap_or_else(PoisonError::into_inner).push((index, value)),
                Err(error) => {
                    failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                    work.cancel();
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 1..PARALLEL.min(jobs.len()) {
            scope.spawn(worker);
        }
        worker();
    });
    if let Some(error) = failed.into_inner().unwrap_or_else(PoisonError::into_inner) {
        return Err(error);
    }
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    Ok(done.into_iter().map(|(_, value)| value).collect())
}

/// A transfer that is taken up again where it broke off, a bounded number of times.
struct Resuming<'a> {
    source: &'a dyn Source,
    digest: &'a Digest,
    /// Known size; 0 when it is not.
    size: u64,
    done: u64,
    /// How far it was when it broke off last.
    broken: u64,
    reader: Box<dyn Read + Send>,
    backoff: Backoff,
}

impl<'a> Resuming<'a> {
    fn open(source: &'a dyn Source, digest: &'a Digest, size: u64) -> Result<Self> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(2));
        loop {
            match source.open(digest, 0) {
                Ok(reader) => return Ok(Self { source, digest, size, done: 0, broken: 0, reader, backoff }),
                Err(Error::Elsewhere(_)) if backoff.tries() < MAX_TRIES => std::thread::sleep(backoff.pause()),
                Err(error) => return Err(error),
            }
        }
    }

    fn again(&mut self, why: &io::Error) -> io::Result<()> {
        if self.done >= self.broken + PROGRESS {
            self.backoff.reset();
            self.broken = self.done;
        }
        loop {
            if self.backoff.tries() >= MAX_TRIES {
                return Err(io::Error::new(why.kind(), why.to_string()));
            }
            tracing::debug!(digest = %self.digest, done = self.done, %why, "transfer broke off, taking it up again");
            std::thread::sleep(self.backoff.pause());
            match self.source.open(self.digest, self.done) {
                Ok(reader) => {
                    self.reader = reader;
                    return Ok(());
                }
                Err(Error::Elsewhere(_)) => {}
                Err(error) => return Err(io::Error::other(error.to_string())),
            }
        }
    }
}

impl Read for Resuming<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            let error = match self.reader.read(into) {
                Ok(0) if self.done < self.size && !into.is_empty() => io::Error::from(io::ErrorKind::UnexpectedEof),
                Ok(n) => {
                    self.done += n as u64;
                    return Ok(n);
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => e,
            };
            match self.again(&error) {
                Ok(()) => {}
                // Ending too soon, time and again, is for the reader to judge: it knows what it wanted.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(0),
                Err(e) => return Err(e),
            }
        }
    }
}

/// Digest of the manifest for this machine, found from a manifest or through indexes.
pub fn resolve(start: Descriptor, open: &dyn Fn(&Digest) -> Result<Vec<u8>>, what: &str) -> Result<(Digest, Vec<u8>)> {
    /// Deepest nesting of indexes followed.
    const MAX_NESTING: usize = 4;
    let mut digest = start.digest;
    for _ in 0..MAX_NESTING {
        let bytes = open(&digest)?;
        let document = Document::parse(&bytes, what)?;
        if document.manifests.is_empty() {
            return Ok((digest, bytes));
        }
        digest = manifest::choose(&document.manifests, what)?.digest.clone();
    }
    Err(Error::content(format!("{what} has indexes within indexes more than {MAX_NESTING} deep")))
}
