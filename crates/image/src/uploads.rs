//! Blobs that are pushed, in pieces: each in a file below `uploads`, hashed while it grows.
//!
//! What has come stays when a connection breaks or the process ends. Nothing of it is content before its digest is right.

use crate::{
    digest::{Digest, Hasher},
    error::{Error, Result, on},
    held::failed,
    layer::read_full,
    layout::Layout,
    prune::AN_HOUR,
};
use api::registry::{Code, Refusal};
use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// Uploads that are remembered at once: 50 clients that push six layers each leave room.
const UPLOADS_MAX: usize = 1024;
/// Largest blob that is taken.
const BLOB_MAX: u64 = 64 << 30;
/// Pieces that are read, hashed and written.
const PIECE: usize = 256 << 10;
/// Bytes in the name of an upload: nobody guesses one.
const NAME: usize = 16;

/// Every upload that somebody has touched since the process began.
#[derive(Default)]
pub struct Table(Mutex<BTreeMap<String, Arc<Mutex<Upload>>>>);

/// One blob on its way in.
pub struct Upload {
    path: PathBuf,
    hash: Hasher,
    /// Finished or cancelled: whoever waited for it finds it gone.
    ended: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn unknown() -> Refusal {
    Refusal::new(Code::BlobUploadUnknown, "there is no such upload: it was finished, cancelled, or left alone for an hour")
}

impl Table {
    /// Begins one.
    pub fn begin(&self, layout: &Layout) -> Result<String, Refusal> {
        let mut table = lock(&self.0);
        self.expire(&mut table, layout).map_err(failed)?;
        if table.len() >= UPLOADS_MAX {
            let message = format!("{UPLOADS_MAX} uploads are under way: try again when some of them are done");
            return Err(Refusal::new(Code::Toomanyrequests, message));
        }
        let name = hex::encode(base::env::random_bytes::<NAME>());
        let path = layout.upload(&name);
        let options = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path);
        options.map_err(|e| failed(on("create", &path)(e)))?;
        let upload = Upload { path, hash: Hasher::default(), ended: false };
        table.insert(name.clone(), Arc::new(Mutex::new(upload)));
        Ok(name)
    }

    /// Forgets those that nobody has touched for an hour.
    fn expire(&self, table: &mut BTreeMap<String, Arc<Mutex<Upload>>>, layout: &Layout) -> Result<()> {
        let dir = layout.dir.join("uploads");
        for entry in fs::read_dir(&dir).map_err(on("list", &dir))? {
            let entry = entry.map_err(on("list", &dir))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let busy = table.get(&name).is_some_and(|upload| Arc::strong_count(upload) > 1);
            if !busy && crate::prune::age(&entry.path()).is_some_and(|age| age > AN_HOUR) {
                table.remove(&name);
                fs::remove_file(entry.path()).map_err(on("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// The upload of this name, read from the disk when the process was another one when it began.
    fn find(&self, layout: &Layout, name: &str) -> Result<Arc<Mutex<Upload>>, Refusal> {
        if name.len() != 2 * NAME || !name.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)) {
            return Err(unknown());
        }
        let mut table = lock(&self.0);
        if let Some(upload) = table.get(name) {
            return Ok(Arc::clone(upload));
        }
        let upload = Arc::new(Mutex::new(Upload::again(layout.upload(name)).map_err(failed)?.ok_or_else(unknown)?));
        table.insert(name.to_owned(), Arc::clone(&upload));
        Ok(upload)
    }

    /// Does something with one that is there.
    pub fn with<T>(
        &self,
        layout: &Layout,
        name: &str,
        work: impl FnOnce(&mut Upload) -> Result<T, Refusal>,
    ) -> Result<T, Refusal> {
        let upload = self.find(layout, name)?;
        let mut upload = lock(&upload);
        let done = if upload.ended { Err(unknown()) } else { work(&mut upload) };
        if upload.ended {
            lock(&self.0).remove(name);
        }
        done
    }
}

impl Upload {
    /// Takes up one that an earlier process began.
    fn again(path: PathBuf) -> Result<Option<Self>> {
        let mut file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other.map_err(on("open", &path))?,
        };
        let (mut hash, mut piece) = (Hasher::default(), vec![0; PIECE]);
        loop {
            match read_full(&mut file, &mut piece).map_err(on("read", &path))? {
                0 => break,
                n => hash.update(piece.get(..n).unwrap_or_default()),
            }
        }
        Ok(Some(Self { path, hash, ended: false }))
    }

    /// Bytes that have come.
    pub const fn received(&self) -> u64 {
        self.hash.bytes()
    }

    /// Takes more.
    pub fn append(&mut self, at: Option<u64>, bytes: &mut dyn Read) -> Result<u64, Refusal> {
        let here = self.received();
        if let Some(at) = at.filter(|at| *at != here) {
            let message = format!("the piece begins at byte {at}, but the next one is {here}");
            return Err(Refusal::new(Code::BlobUploadInvalid, message));
        }
        let mut file = self.open()?;
        let mut piece = vec![0; PIECE];
        loop {
            let n = match bytes.read(&mut piece) {
                Ok(0) => return Ok(self.received()),
                Ok(n) => n,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => {
                    let here = self.received();
                    return Err(Refusal::new(Code::BlobUploadInvalid, format!("the piece broke off at byte {here}: {e}")));
                }
            };
            if self.received() + n as u64 > BLOB_MAX {
                self.cancel()?;
                return Err(Refusal::new(Code::SizeInvalid, format!("a blob has at most {} GiB", BLOB_MAX >> 30)));
            }
            self.write(&mut file, piece.get(..n).unwrap_or_default()).map_err(failed)?;
        }
    }

    fn open(&self) -> Result<File, Refusal> {
        OpenOptions::new().append(true).open(&self.path).map_err(|e| failed(on("open", &self.path)(e)))
    }

    fn write(&mut self, file: &mut File, piece: &[u8]) -> Result<()> {
        if let Err(error) = file.write_all(piece) {
            // What is in the file and what was hashed must stay the same.
            file.set_len(self.received()).map_err(on("write to", &self.path))?;
            return Err(on("write to", &self.path)(error));
        }
        self.hash.update(piece);
        Ok(())
    }

    /// Whether it is what it should be; gone if not. It is on its disk then, and `place` moves it away.
    pub fn finish(&mut self, wanted: &Digest, place: impl FnOnce(&PathBuf) -> Result<()>) -> Result<(), Refusal> {
        let actual = self.hash.peek();
        if actual != *wanted {
            let bytes = self.received();
            self.cancel()?;
            let message = format!("the {bytes} bytes that came have another digest than {wanted}: {actual}");
            return Err(Refusal::new(Code::DigestInvalid, message));
        }
        self.open()?.sync_all().map_err(|e| failed(on("write out", &self.path)(e)))?;
        place(&self.path).map_err(failed)?;
        self.ended = true;
        Ok(())
    }

    /// Forgets it.
    pub fn cancel(&mut self) -> Result<(), Refusal> {
        self.ended = true;
        fs::remove_file(&self.path).map_err(|e| failed(on("remove", &self.path)(e)))
    }
}

/// The digest of an upload that is to be finished.
pub fn wanted(text: &str) -> Result<Digest, Refusal> {
    text.parse().map_err(|error: Error| Refusal::new(Code::DigestInvalid, error.to_string()))
}
