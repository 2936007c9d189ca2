//! Recent changes, kept in memory for watchers: bounded, so that a watcher who is too far behind has to start over.

use crate::{Entry, Event, Revision};
use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};
use tokio::sync::watch;

/// Most changes kept: some seconds of the busiest cluster.
pub(crate) const KEPT_CHANGES: usize = 4_096;
/// Most bytes kept, so that what is idle stays small: 8 MiB.
pub(crate) const KEPT_BYTES: usize = 8 << 20;

/// What one commit changed, both ordered by key.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) revision: Revision,
    pub(crate) puts: Vec<Entry>,
    pub(crate) deletes: Vec<String>,
}

impl Change {
    fn size(&self) -> usize {
        let puts = self.puts.iter().map(|entry| entry.key.len() + entry.value.len() + size_of::<Entry>());
        let deletes = self.deletes.iter().map(|key| key.len() + size_of::<String>());
        size_of::<Self>() + puts.sum::<usize>() + deletes.sum::<usize>()
    }

    /// The part below a prefix; None if there is none.
    pub(crate) fn below(&self, prefix: &str) -> Option<Event> {
        let puts: Vec<_> = self.puts.iter().filter(|entry| entry.key.starts_with(prefix)).cloned().collect();
        let deletes: Vec<_> = self.deletes.iter().filter(|key| key.starts_with(prefix)).cloned().collect();
        let touched = !(puts.is_empty() && deletes.is_empty());
        touched.then_some(Event::Changed { revision: self.revision, puts, deletes })
    }
}

/// What follows a revision.
pub(crate) enum After {
    /// This change is the next.
    Change(Arc<Change>),
    /// Nothing yet.
    Nothing,
    /// The next change is forgotten.
    Forgotten,
    /// Nothing, and there will be nothing more.
    Closed,
}

struct Ring {
    changes: VecDeque<Arc<Change>>,
    /// Revision of the newest change that is forgotten: everything after it is in `changes`, without gaps.
    forgotten: Revision,
    bytes: usize,
    closed: bool,
}

/// The ring of recent changes and the signal that it moved.
pub(crate) struct Log {
    ring: Mutex<Ring>,
    moved: watch::Sender<()>,
}

impl Log {
    /// Knows nothing of what came up to `revision`.
    pub(crate) fn new(revision: Revision) -> Self {
        let ring = Ring { changes: VecDeque::new(), forgotten: revision, bytes: 0, closed: false };
        Self { ring: Mutex::new(ring), moved: watch::Sender::new(()) }
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends the change of the next revision. The newest is always kept, whatever its size.
    pub(crate) fn push(&self, change: Change) {
        let mut ring = self.ring();
        ring.bytes += change.size();
        ring.changes.push_back(Arc::new(change));
        while ring.changes.len() > 1 && (ring.changes.len() > KEPT_CHANGES || ring.bytes > KEPT_BYTES) {
            if let Some(oldest) = ring.changes.pop_front() {
                ring.bytes -= oldest.size();
                ring.forgotten = oldest.revision;
            }
        }
        drop(ring);
        self.moved.send_replace(());
    }

    /// No more changes will come: watchers end when they have seen what is here.
    pub(crate) fn close(&self) {
        self.ring().closed = true;
        self.moved.send_replace(());
    }

    /// What follows `revision`. A revision that this log has not reached yet has nothing after it.
    pub(crate) fn after(&self, revision: Revision) -> After {
        let ring = self.ring();
        let Some(index) = revision.checked_sub(ring.forgotten) else { return After::Forgotten };
        match usize::try_from(index).ok().and_then(|index| ring.changes.get(index)) {
            Some(change) => After::Change(Arc::clone(change)),
            None if ring.closed => After::Closed,
            None => After::Nothing,
        }
    }

    /// Tells when something was pushed, or the log closed.
    pub(crate) fn listen(&self) -> watch::Receiver<()> {
        self.moved.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn change(revision: Revision, size: usize) -> Change {
        let entry = Entry { key: "k".to_owned(), value: Bytes::from(vec![0; size]), revision };
        Change { revision, puts: vec![entry], deletes: Vec::new() }
    }

    fn next(log: &Log, revision: Revision) -> Option<Revision> {
        match log.after(revision) {
            After::Change(change) => Some(change.revision),
            After::Nothing | After::Forgotten | After::Closed => None,
        }
    }

    #[test]
    fn forgets_the_oldest_by_number() {
        let log = Log::new(10);
        for revision in 11..=10 + KEPT_CHANGES as u64 + 3 {
            log.push(change(revision, 1));
        }
        assert!(matches!(log.after(12), After::Forgotten));
        assert_eq!(next(&log, 13), Some(14));
        assert_eq!(next(&log, 10 + KEPT_CHANGES as u64 + 2), Some(10 + KEPT_CHANGES as u64 + 3));
        assert!(matches!(log.after(10 + KEPT_CHANGES as u64 + 3), After::Nothing));
    }

    #[test]
    fn forgets_the_oldest_by_bytes_but_keeps_the_newest() {
        let log = Log::new(0);
        log.push(change(1, 100));
        log.push(change(2, KEPT_BYTES + 1));
        assert!(matches!(log.after(0), After::Forgotten));
        assert_eq!(next(&log, 1), Some(2));
        log.push(change(3, 1));
        assert!(matches!(log.after(1), After::Forgotten));
        assert_eq!(next(&log, 2), Some(3));
    }

    #[test]
    fn what_is_there_is_seen_before_the_end() {
        let log = Log::new(0);
        log.push(change(1, 1));
        log.close();
        assert_eq!(next(&log, 0), Some(1));
        assert!(matches!(log.after(1), After::Closed));
    }
}
