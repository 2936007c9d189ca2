//! Takes in one layer in one pass: the bytes as they come are hashed and kept, what they unpack to is hashed and handed to
//! the confined process.

use crate::{
    compression::{Compression, Decoder, bounded},
    digest::{Digest, HashWriter, Hasher},
    error::{Error, Result, on},
    helper::{Helper, mark_opaque},
    store::Work,
    unpack::{Outcome, Reason, Summary},
};
use api::image::ImageProgress;
use driver::image::Progress;
use std::{
    fs::File,
    io::{self, BufRead as _, BufReader, Read, Write as _},
    path::{Path, PathBuf},
};

/// Pieces that are read, hashed and handed on.
const PIECE: usize = 256 << 10;
/// Bytes between two lines of progress.
const PROGRESS_STEP: u64 = 4 << 20;
/// Level for archives that came uncompressed: the fastest that still halves a base system.
const ZSTD_LEVEL: i32 = 1;

/// What is known about a layer before it comes.
#[derive(Clone, Copy, Default)]
pub struct Wanted<'a> {
    /// What it is called in messages and progress.
    pub what: &'a str,
    /// Of the bytes as they come.
    pub digest: Option<&'a Digest>,
    /// Their number.
    pub size: Option<u64>,
    /// Of the uncompressed archive.
    pub diff_id: Option<&'a Digest>,
}

/// What becomes the blob.
pub enum Keep {
    /// The bytes as they come.
    AsItCame,
    /// They are in this file already.
    InPlace(PathBuf),
    /// They come uncompressed and are compressed.
    Compressed,
}

/// A layer in the staging directory, verified.
#[derive(Debug)]
pub struct Layer {
    /// Of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Of the uncompressed archive.
    pub diff_id: Digest,
    /// How the blob is compressed.
    pub compression: Compression,
    /// The blob.
    pub blob: PathBuf,
    /// The directory with `fs` in it.
    pub dir: PathBuf,
    /// About its content.
    pub summary: Summary,
}

/// Takes in a layer.
pub fn take_in(work: &Work<'_>, input: impl Read, wanted: &Wanted<'_>, keep: Keep) -> Result<Layer> {
    let (copy, blob) = match &keep {
        Keep::AsItCame => work.staging.create().map(|(path, file)| (Some(file), path))?,
        Keep::InPlace(path) => (None, path.clone()),
        Keep::Compressed => (None, work.staging.path()),
    };
    let most = wanted.size.map_or(u64::MAX, |size| size.saturating_add(1));
    let meter = Meter { inner: input.take(most), copy, hash: Hasher::default(), failed: None, work, wanted, told: 0 };
    let mut raw = BufReader::with_capacity(PIECE, meter);
    let head = raw.fill_buf().map(<[u8]>::to_vec);
    let compression = match head {
        Ok(head) => Compression::sniff(&head)?,
        Err(e) => return Err(raw.into_inner().failure(e)),
    };
    let mut pass = Pass::start(work, matches!(keep, Keep::Compressed).then_some(blob.as_path()))?;
    let mut decoder = Decoder::new(raw, compression).map_err(on("read", Path::new(wanted.what)))?;
    let stop = pass.pump(&mut decoder);
    let mut meter = decoder.into_inner().into_inner();
    let judged = pass.judge(stop, &mut meter);
    let (diff_id, recompressed, summary, dir) = judged?;
    let (size, digest) = match recompressed {
        Some((size, digest)) => (size, digest),
        None => (meter.hash.bytes(), meter.hash.finish()),
    };
    let compression = if matches!(keep, Keep::Compressed) { Compression::Zstd } else { compression };
    mark_opaque(&dir.join("fs"), &summary)?;
    Ok(Layer { digest, size, diff_id, compression, blob, dir, summary })
}

/// Reads the source: hashes, copies, counts, tells, and remembers why it failed.
struct Meter<'a, R> {
    inner: io::Take<R>,
    copy: Option<File>,
    hash: Hasher,
    failed: Option<Error>,
    work: &'a Work<'a>,
    wanted: &'a Wanted<'a>,
    told: u64,
}

impl<R: Read> Meter<'_, R> {
    fn fill(&mut self, into: &mut [u8]) -> Result<usize> {
        let what = self.wanted.what;
        let n = read_full(&mut self.inner, into).map_err(|e| Error::Elsewhere(format!("reading {what}: {e}")))?;
        if self.work.cancelled() {
            return Err(Error::Elsewhere(format!("reading {what} was given up because another layer failed")));
        }
        let piece = into.get(..n).unwrap_or_default();
        self.hash.update(piece);
        if let Some(copy) = &mut self.copy {
            copy.write_all(piece).map_err(on("write to", &self.work.staging.dir))?;
        }
        if self.hash.bytes() >= self.told + PROGRESS_STEP || n == 0 && self.hash.bytes() > self.told {
            self.told = self.hash.bytes();
            tell(self.work.progress, what, self.told, self.wanted.size.unwrap_or_default());
        }
        Ok(n)
    }

    /// Reads what is left, for the digest.
    fn drain(&mut self) -> Result<()> {
        let mut piece = vec![0; PIECE];
        while self.fill(&mut piece)? > 0 {}
        Ok(())
    }

    fn failure(self, error: io::Error) -> Error {
        self.failed.unwrap_or_else(|| Error::Elsewhere(error.to_string()))
    }

    /// Whether all of it came, unchanged.
    fn verify(&self) -> Result<()> {
        let (what, came) = (self.wanted.what, self.hash.bytes());
        match self.wanted.size {
            Some(size) if came < size => return Err(Error::content(format!("{what} is truncated: {came} of {size} bytes came"))),
            Some(size) if came > size => {
                return Err(Error::content(format!("{what} is damaged: it has more than its {size} bytes")));
            }
            _ => {}
        }
        match self.wanted.digest {
            Some(wanted) if self.hash.peek() != *wanted => {
                Err(Error::content(format!("{what} is damaged: its content has another digest than {wanted}")))
            }
            _ => Ok(()),
        }
    }
}

impl<R: Read> Read for Meter<'_, R> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        self.fill(into).map_err(|e| {
            let text = e.to_string();
            self.failed.get_or_insert(e);
            io::Error::other(text)
        })
    }
}

/// Tells how far a transfer is.
pub fn tell(progress: Progress<'_>, what: &str, done: u64, total: u64) {
    progress(ImageProgress::Fetching { what: what.to_owned(), done, total });
}

/// Fills the buffer unless the end comes first.
pub fn read_full(from: &mut (impl Read + ?Sized), into: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = into.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

type Encoder = zstd::stream::write::Encoder<'static, HashWriter<File>>;

/// The unpacked side of one pass.
struct Pass<'a> {
    work: &'a Work<'a>,
    helper: Helper,
    encoder: Option<Encoder>,
    hash: Hasher,
    dir: PathBuf,
    limit: u64,
    by_disk: bool,
}

/// Why pumping stopped.
enum Stop {
    /// The archive is at its end.
    End,
    /// It cannot be decompressed.
    Undecodable(io::Error),
    /// The helper stopped reading.
    Helper,
    /// It must not go on.
    Refused(Error),
}

type Judged = (Digest, Option<(u64, Digest)>, Summary, PathBuf);

impl<'a> Pass<'a> {
    fn start(work: &'a Work<'a>, compress_to: Option<&Path>) -> Result<Self> {
        let dir = work.staging.layer()?;
        let encoder = compress_to.map(encoder).transpose()?;
        let (limit, by_disk) = work.room()?;
        let helper = Helper::start(work.unpack_command(), &dir.join("fs"), limit)?;
        Ok(Self { work, helper, encoder, hash: Hasher::default(), dir, limit, by_disk })
    }

    fn pump<R: Read>(&mut self, decoder: &mut Decoder<BufReader<Meter<'_, R>>>) -> Stop {
        let mut piece = vec![0; PIECE];
        loop {
            let n = match read_full(decoder, &mut piece) {
                Ok(0) => return Stop::End,
                Ok(n) => n,
                Err(e) => return Stop::Undecodable(e),
            };
            match self.hand_on(piece.get(..n).unwrap_or_default(), decoder.compressed()) {
                Ok(true) => {}
                Ok(false) => return Stop::Helper,
                Err(e) => return Stop::Refused(e),
            }
        }
    }

    fn hand_on(&mut self, piece: &[u8], compressed: u64) -> Result<bool> {
        self.hash.update(piece);
        if let Err(error) = bounded(self.hash.bytes(), compressed, self.limit.saturating_add(ARCHIVE_OVERHEAD)) {
            let full = self.by_disk && self.hash.bytes() > self.limit;
            return Err(if full { self.work.no_space() } else { error });
        }
        if let Some(encoder) = &mut self.encoder {
            encoder.write_all(piece).map_err(on("write to", &self.work.staging.dir))?;
        }
        self.helper.feed(piece)
    }

    /// What came of it: of several reasons for a failure, the one that explains the others.
    fn judge<R: Read>(self, stop: Stop, meter: &mut Meter<'_, R>) -> Result<Judged> {
        if let Some(error) = meter.failed.take() {
            return Err(error);
        }
        let what = meter.wanted.what;
        if let Stop::Refused(error) = stop {
            return Err(error);
        }
        let outcome = match &stop {
            Stop::Undecodable(e) if e.kind() == io::ErrorKind::UnexpectedEof => {
                Err(Error::content(format!("{what}: archive is truncated: its compressed data ends too soon")))
            }
            Stop::Undecodable(e) => Err(Error::content(format!("{what} is damaged: it cannot be decompressed: {e}"))),
            _ => self.helper.finish().and_then(|outcome| accept(outcome, what, self.by_disk, self.work)),
        };
        // Bytes that are not those that were promised explain whatever else went wrong with them.
        if outcome.is_ok() || matches!(&outcome, Err(Error::Content(_))) && meter.wanted.digest.is_some() {
            meter.drain()?;
            meter.verify()?;
        }
        let summary = outcome?;
        let diff_id = self.hash.finish();
        if let Some(wanted) = meter.wanted.diff_id.filter(|wanted| **wanted != diff_id) {
            return Err(Error::content(format!(
                "{what} is not what the image's configuration says: it unpacks to {diff_id}, not to {wanted}"
            )));
        }
        let blob = self.encoder.map(|e| finish_encoder(e, self.work)).transpose()?;
        Ok((diff_id, blob, summary, self.dir))
    }
}

/// What headers and padding of an archive may add to the bytes of its files before it counts as too much.
const ARCHIVE_OVERHEAD: u64 = 256 << 20;

fn encoder(path: &Path) -> Result<Encoder> {
    let file = File::create_new(path).map_err(on("create", path))?;
    let mut encoder = Encoder::new(HashWriter::new(file), ZSTD_LEVEL).map_err(on("compress to", path))?;
    encoder.include_checksum(true).map_err(on("compress to", path))?;
    Ok(encoder)
}

fn finish_encoder(encoder: Encoder, work: &Work<'_>) -> Result<(u64, Digest)> {
    let writer = encoder.finish().map_err(on("write to", &work.staging.dir))?;
    Ok((writer.hash.bytes(), writer.hash.finish()))
}

fn accept(outcome: Outcome, what: &str, by_disk: bool, work: &Work<'_>) -> Result<Summary> {
    match outcome {
        Outcome::Done(summary) => Ok(summary),
        Outcome::Failed { reason: Reason::Full, .. } => Err(work.no_space()),
        Outcome::Failed { reason: Reason::Limit, .. } if by_disk => Err(work.no_space()),
        Outcome::Failed { message, reason: Reason::Call } => {
            Err(Error::Io { what: format!("unpacking {what}"), source: io::Error::other(message) })
        }
        Outcome::Failed { message, .. } => Err(Error::content(format!("{what}: {message}"))),
    }
}

impl<R: Read> Decoder<BufReader<Meter<'_, R>>> {
    /// Compressed bytes read so far.
    fn compressed(&self) -> u64 {
        self.get_ref().get_ref().hash.bytes()
    }
}
