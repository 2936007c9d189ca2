//! What has been built: layers by the key of all they depend on, and directories of `--mount=type=cache`.

use crate::{
    error::{Error, Result, about},
    work,
};
use api::Timestamp;
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A key: hexadecimal digits.
pub type Key = String;

/// The key of a list of texts. No two lists have the same.
pub fn key(parts: &[&str]) -> Key {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    hex::encode(hash.finalize())
}

/// What a step has become.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// The image whose layers end with the step's: digest of its manifest.
    pub image: String,
    /// When it was made.
    pub created: Timestamp,
}

/// The cache of one server.
pub struct Cache {
    steps: PathBuf,
    reads: PathBuf,
    mounts: PathBuf,
    next: AtomicU64,
}

impl Cache {
    /// Makes what is missing.
    pub fn open(state: &Path) -> Result<Self> {
        let [steps, reads, mounts] = ["steps", "reads", "mounts"].map(|name| state.join(name));
        for directory in [&steps, &reads, &mounts] {
            work::make(directory)?;
        }
        Ok(Self { steps, reads, mounts, next: AtomicU64::new(0) })
    }

    /// What a step became, if it is known. Whether its image is still here, the caller finds out.
    pub fn get(&self, key: &Key) -> Option<Entry> {
        fs::read(self.steps.join(key)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok())
    }

    /// Notes what a step became. That it cannot be noted costs no more than doing it again.
    pub fn put(&self, key: &Key, entry: &Entry) {
        let written = serde_json::to_vec(entry).map_err(io::Error::other);
        if let Err(error) = written.and_then(|bytes| self.write((&self.steps, key), &bytes)) {
            tracing::warn!(%error, "a step of a build will be done again");
        }
    }

    /// Digest of files that were looked at before.
    pub fn read(&self, key: &Key) -> Option<String> {
        fs::read_to_string(self.reads.join(key)).ok()
    }

    /// Notes the digest of files.
    pub fn put_read(&self, key: &Key, digest: &str) {
        if let Err(error) = self.write((&self.reads, key), digest.as_bytes()) {
            tracing::warn!(%error, "files of a build will be looked at again");
        }
    }

    /// Whole or not at all.
    fn write(&self, (directory, key): (&Path, &Key), bytes: &[u8]) -> io::Result<()> {
        let temporary = directory.join(format!("new-{}", self.next.fetch_add(1, Ordering::Relaxed)));
        fs::write(&temporary, bytes)?;
        fs::rename(&temporary, directory.join(key))
    }

    /// Where the directories of a cache mount lie.
    pub fn mount(&self, id: &str) -> Result<PathBuf> {
        let directory = self.mounts.join(key(&[id]));
        work::make(&directory)?;
        Ok(directory)
    }

    /// Forgets everything that no build is using. Gives the bytes that went.
    pub fn clear(&self) -> Result<u64> {
        let mut freed = 0;
        let listed = |directory: &Path| fs::read_dir(directory).map_err(Error::io(about("list", directory)));
        for entry in listed(&self.steps)?.chain(listed(&self.reads)?).flatten() {
            match fs::remove_file(entry.path()) {
                // Half made a moment ago and whole now, or another was quicker.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                other => other.map_err(Error::io(about("remove", &entry.path())))?,
            }
        }
        for cache in listed(&self.mounts)?.flatten() {
            for entry in listed(&cache.path())?.flatten().filter(|entry| entry.path().is_dir()) {
                // Somebody's while it is locked.
                let Some(_held) = try_lock(&lock_of(&entry.path()))? else { continue };
                freed += usage(&entry.path());
                work::clear(&entry.path())?;
            }
        }
        Ok(freed)
    }
}

/// The file that says whether a cache directory is in use.
pub fn lock_of(directory: &Path) -> PathBuf {
    directory.with_extension("lock")
}

/// Takes a lock for oneself, if nobody has it.
pub fn try_lock(path: &Path) -> Result<Option<Flock<File>>> {
    lock(path, FlockArg::LockExclusiveNonblock)
}

/// Takes a lock together with others, if nobody has it for themselves.
pub fn try_share(path: &Path) -> Result<Option<Flock<File>>> {
    lock(path, FlockArg::LockSharedNonblock)
}

fn lock(path: &Path, how: FlockArg) -> Result<Option<Flock<File>>> {
    let file = File::options().create(true).truncate(false).write(true).open(path).map_err(Error::io(about("open", path)))?;
    match Flock::lock(file, how) {
        Ok(held) => Ok(Some(held)),
        Err((_, nix::errno::Errno::EWOULDBLOCK)) => Ok(None),
        Err((_, error)) => Err(Error::errno(about("lock", path))(error)),
    }
}

/// Bytes on disk, as far as they can be counted.
fn usage(path: &Path) -> u64 {
    // What stat counts blocks in (stat(2), st_blocks).
    const UNIT: u64 = 512;
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let meta = entry.metadata().ok()?;
            Some(if meta.is_dir() { usage(&entry.path()) } else { meta.blocks() * UNIT / meta.nlink().max(1) })
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_tell_lists_apart() {
        assert_ne!(key(&["a", "bc"]), key(&["ab", "c"]));
        assert_ne!(key(&["a"]), key(&["a", ""]));
        assert_eq!(key(&["a", "b"]), key(&["a", "b"]));
    }

    #[test]
    fn what_is_kept_is_found_until_it_is_cleared() {
        let state = tempfile::tempdir().unwrap();
        let cache = Cache::open(state.path()).unwrap();
        let (own, entry) = (key(&["a"]), Entry { image: "sha256:aa".to_owned(), created: Timestamp(7) });
        assert_eq!(cache.get(&own), None);
        cache.put(&own, &entry);
        assert_eq!(Cache::open(state.path()).unwrap().get(&own), Some(entry));
        let (free, used) = (cache.mount("free").unwrap().join("0"), cache.mount("used").unwrap().join("0"));
        for directory in [&free, &used] {
            work::make(directory).unwrap();
            fs::write(directory.join("file"), vec![1; 10_000]).unwrap();
        }
        let held = try_share(&lock_of(&used)).unwrap();
        assert!(held.is_some() && cache.clear().unwrap() >= 10_000);
        assert!(cache.get(&own).is_none() && !free.exists() && used.exists());
    }
}
