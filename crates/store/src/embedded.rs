//! The store of a lone manager: one file, pure Rust underneath (redb), nothing to set up.
//!
//! One thread writes. It takes whatever commits are queued and makes them durable together (group commit), so that many
//! clients share the cost of one flush; each is still checked on its own against the state the ones before it left.
//! Readers never wait for the writer.

mod file;
mod writer;

use crate::{BoxFuture, Commit, Entry, Result, Revision, Store, StoreError, Watch, log::Log, watch::Source};
use base::supervise::Scope;
use redb::Database;
use std::{
    path::Path,
    sync::{Arc, Weak},
    thread::JoinHandle,
};
use tokio::sync::{mpsc, oneshot};
use writer::Queued;

/// The newest format of the file this version reads and writes. An older one is converted when it is opened, once there is
/// one; a newer one is refused.
pub const FILE_FORMAT: u64 = 1;
/// Most commits that wait for the writer; further ones wait for a place in the queue.
pub const MAX_QUEUED: usize = 1_024;

/// A durable store in a file. Reads and watches need a tokio runtime around them.
///
/// Dropping it waits for the commits that are queued, ends its watches, and closes the file.
pub struct Embedded {
    shared: Arc<Shared>,
    history: u64,
    /// None only while being dropped.
    queue: Option<mpsc::Sender<Queued>>,
    writer: Option<JoinHandle<()>>,
}

/// What readers, watchers and the writer share.
struct Shared {
    database: Database,
    path: String,
    log: Arc<Log>,
}

impl Shared {
    fn failed(&self, error: impl Into<redb::Error>) -> StoreError {
        StoreError::Io { path: self.path.clone(), cause: error.into().to_string() }
    }

    async fn blocking<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T> {
        Scope::blocking(move || work(&self.database).map_err(|e| self.failed(e))).await.map_err(|_| StoreError::Closed)?
    }
}

impl Source for Shared {
    fn snapshot(self: Arc<Self>, prefix: String) -> BoxFuture<'static, Result<(Revision, Vec<Entry>)>> {
        Box::pin(self.blocking(move |database| file::below(database, &prefix)))
    }
}

impl Embedded {
    /// Opens the store in this file, or makes it. Its directory must be there; the file is readable by its owner only.
    ///
    /// Errors: [`StoreError::Format`] if a newer version wrote it, [`StoreError::Io`] if another process has it open, if it
    /// is not a store, or if the disk fails.
    pub fn open(path: &Path) -> Result<Self> {
        let opened = file::open(path)?;
        let log = Arc::new(Log::new(opened.revision));
        let shared = Arc::new(Shared { database: opened.database, path: path.display().to_string(), log });
        let (queue, queued) = mpsc::channel(MAX_QUEUED);
        let writer = writer::start(Arc::clone(&shared), queued)?;
        Ok(Self { shared, history: opened.history, queue: Some(queue), writer: Some(writer) })
    }

    /// A random number this store was given when it was made: revisions of different histories mean nothing to each other.
    pub const fn history(&self) -> u64 {
        self.history
    }

    async fn enqueue(&self, commit: Commit) -> Result<Revision> {
        let prepared = commit.prepare()?;
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or(StoreError::Closed)?;
        queue.send(Queued { commit: prepared, reply }).await.map_err(|_| StoreError::Closed)?;
        answer.await.map_err(|_| StoreError::Closed)?
    }
}

impl Store for Embedded {
    fn read(&self, prefix: &str) -> BoxFuture<'_, Result<(Revision, Vec<Entry>)>> {
        Arc::clone(&self.shared).snapshot(prefix.to_owned())
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let key = key.to_owned();
        Box::pin(Arc::clone(&self.shared).blocking(move |database| file::get(database, key)))
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(self.enqueue(commit))
    }

    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch>> {
        let prefix = prefix.to_owned();
        Box::pin(async move {
            // The file's revision, not the log's: a reader may have seen a commit that is on its way into the log.
            let revision = Arc::clone(&self.shared).blocking(file::revision).await?;
            let source: Weak<Shared> = Arc::downgrade(&self.shared);
            Ok(Watch::new(&prefix, (from > 0 && from <= revision).then_some(from), &self.shared.log, source))
        })
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        // Without senders the writer ends when the queue is empty. A writer that panicked has been noticed by everybody.
        self.queue = None;
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
    }
}

#[cfg(test)]
mod tests;
