//! Watching: every change below a prefix once and in order, or "start over".

use crate::{
    BoxFuture, Entry, Result, Revision, StoreError,
    log::{After, Log},
};
use std::sync::{Arc, Weak};
use tokio::sync::watch::Receiver;

/// What a watcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// Forget everything: this is all there is below the prefix. Ordinary: first event of a watch from 0, and whenever a
    /// watcher is too far behind.
    StartOver {
        /// The revision this is from.
        revision: Revision,
        /// Ordered by key.
        entries: Vec<Entry>,
    },
    /// One commit's changes below the prefix. Never empty.
    Changed {
        /// The commit's revision.
        revision: Revision,
        /// Keys that have a new value, ordered by key.
        puts: Vec<Entry>,
        /// Keys that are no more, ordered.
        deletes: Vec<String>,
    },
}

impl Event {
    /// Where a watch that saw this event stands: give it to [`crate::Store::watch`] to go on from here.
    pub const fn revision(&self) -> Revision {
        match self {
            Self::StartOver { revision, .. } | Self::Changed { revision, .. } => *revision,
        }
    }
}

/// Where a watcher gets everything below a prefix when it has to start over.
pub(crate) trait Source: Send + Sync {
    /// Everything below a prefix at one revision.
    fn snapshot(self: Arc<Self>, prefix: String) -> BoxFuture<'static, Result<(Revision, Vec<Entry>)>>;
}

/// A watch from [`crate::Store::watch`]. Holds no place in any queue: one that is not read costs nothing and starts over
/// later.
pub struct Watch {
    prefix: String,
    /// Everything up to here has been told. None: start over.
    told: Option<Revision>,
    log: Arc<Log>,
    moved: Receiver<()>,
    /// Weak, so that a forgotten watch does not keep the store open.
    source: Weak<dyn Source>,
}

impl Watch {
    pub(crate) fn new(prefix: &str, told: Option<Revision>, log: &Arc<Log>, source: Weak<dyn Source>) -> Self {
        Self { prefix: prefix.to_owned(), told, log: Arc::clone(log), moved: log.listen(), source }
    }

    /// The next event; waits for one. [`StoreError::Closed`] when the store is gone. Nothing is lost if the future is
    /// dropped before it is ready.
    pub async fn next(&mut self) -> Result<Event> {
        loop {
            let Some(told) = self.told else { return self.start_over().await };
            self.moved.mark_unchanged();
            match self.log.after(told) {
                After::Change(change) => {
                    self.told = Some(change.revision);
                    if let Some(event) = change.below(&self.prefix) {
                        return Ok(event);
                    }
                }
                After::Nothing => self.moved.changed().await.map_err(|_| StoreError::Closed)?,
                After::Forgotten => self.told = None,
                After::Closed => return Err(StoreError::Closed),
            }
        }
    }

    async fn start_over(&mut self) -> Result<Event> {
        let source = self.source.upgrade().ok_or(StoreError::Closed)?;
        let (revision, entries) = source.snapshot(self.prefix.clone()).await?;
        self.told = Some(revision);
        Ok(Event::StartOver { revision, entries })
    }
}
