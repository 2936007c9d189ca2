//! The one thread that writes: takes what is queued and makes it durable in one transaction.

use super::{
    Shared,
    file::{self, ENTRIES, NUMBERS, REVISION},
};
use crate::{
    Entry, Result, Revision, StoreError,
    commit::Prepared,
    log::{Change, Log},
};
use redb::{Database, ReadableTable, Table};
use std::{
    sync::Arc,
    thread::{Builder, JoinHandle},
};
use tokio::sync::{mpsc, oneshot};

/// Most commits in one transaction: enough to share a flush among, few enough that the first does not wait long.
const MAX_BATCH: usize = 256;
/// A transaction takes no further commit once it has this many bytes: 16 MiB.
const MAX_BATCH_BYTES: usize = 16 << 20;

/// A commit that waits for the writer.
pub(super) struct Queued {
    pub(super) commit: Prepared,
    /// Whoever waits may have gone; the commit is done all the same.
    pub(super) reply: oneshot::Sender<Result<Revision>>,
}

/// Starts the thread. It ends when the queue's senders are gone and the queue is empty.
pub(super) fn start(shared: Arc<Shared>, queue: mpsc::Receiver<Queued>) -> Result<JoinHandle<()>> {
    let path = shared.path.clone();
    let thread = Builder::new().name("store-writer".to_owned()).spawn(move || write_all(&shared, queue));
    thread.map_err(|e| StoreError::Io { path, cause: format!("cannot start the writer thread: {e}") })
}

/// Closes the log however the writer ends, so that no watcher waits for ever.
struct CloseAtEnd<'a>(&'a Log);

impl Drop for CloseAtEnd<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn write_all(shared: &Shared, mut queue: mpsc::Receiver<Queued>) {
    let _close = CloseAtEnd(&shared.log);
    while let Some(first) = queue.blocking_recv() {
        let (commits, replies): (Vec<_>, Vec<_>) = gather(first, &mut queue).into_iter().map(|q| (q.commit, q.reply)).unzip();
        match write(&shared.database, commits) {
            Ok(outcomes) => answer(&shared.log, outcomes, replies),
            Err(e) => {
                let error = shared.failed(e);
                tracing::error!(%error, commits = replies.len(), "commits failed");
                replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
            }
        }
    }
}

/// What is queued now, within the bounds of a batch.
fn gather(first: Queued, queue: &mut mpsc::Receiver<Queued>) -> Vec<Queued> {
    let mut bytes = first.commit.bytes;
    let mut batch = vec![first];
    while batch.len() < MAX_BATCH && bytes < MAX_BATCH_BYTES {
        let Ok(next) = queue.try_recv() else { break };
        bytes += next.commit.bytes;
        batch.push(next);
    }
    batch
}

/// Watchers first: who is told of its own commit finds it in every watch.
fn answer(log: &Log, outcomes: Vec<Result<Change>>, replies: Vec<oneshot::Sender<Result<Revision>>>) {
    for (outcome, reply) in outcomes.into_iter().zip(replies) {
        let told = outcome.map(|change| {
            let revision = change.revision;
            log.push(change);
            revision
        });
        drop(reply.send(told));
    }
}

/// Does a batch: durable when this returns. The outcomes are in the order of the commits; an error is of the whole batch.
fn write(database: &Database, commits: Vec<Prepared>) -> Result<Vec<Result<Change>>, redb::Error> {
    let transaction = database.begin_write()?;
    let mut outcomes = Vec::with_capacity(commits.len());
    let before;
    let mut revision;
    {
        let mut entries = transaction.open_table(ENTRIES)?;
        let mut numbers = transaction.open_table(NUMBERS)?;
        before = file::number(&numbers, REVISION)?;
        revision = before;
        for commit in commits {
            let outcome = apply(&mut entries, commit, revision + 1)?;
            revision += u64::from(outcome.is_ok());
            outcomes.push(outcome);
        }
        numbers.insert(REVISION, revision)?;
    }
    if revision > before {
        transaction.commit()?;
    } else {
        transaction.abort()?;
    }
    Ok(outcomes)
}

/// Refused or failed.
enum Not {
    Refused(StoreError),
    Failed(redb::Error),
}

impl From<StoreError> for Not {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<redb::StorageError> for Not {
    fn from(error: redb::StorageError) -> Self {
        Self::Failed(error.into())
    }
}

/// Does one commit within the transaction, or refuses it, having written nothing.
fn apply(
    entries: &mut Table<'_, &str, (u64, &[u8])>,
    commit: Prepared,
    revision: Revision,
) -> Result<Result<Change>, redb::Error> {
    let last_change = |key: &str| Ok::<_, Not>(entries.get(key)?.map_or(0, |found| found.value().0));
    match commit.check(last_change) {
        Ok(()) => {}
        Err(Not::Refused(error)) => return Ok(Err(error)),
        Err(Not::Failed(error)) => return Err(error),
    }
    let mut change = Change { revision, puts: Vec::new(), deletes: Vec::new() };
    for (key, value) in commit.writes {
        if let Some(value) = value {
            entries.insert(key.as_str(), (revision, value.as_ref()))?;
            change.puts.push(Entry { key, value, revision });
        } else if entries.remove(key.as_str())?.is_some() {
            change.deletes.push(key);
        }
    }
    Ok(Ok(change))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commit, MAX_VALUE, State};

    #[test]
    fn each_commit_of_a_batch_meets_what_those_before_it_left() {
        let directory = tempfile::tempdir().unwrap();
        let opened = file::open(&directory.path().join("store")).unwrap();
        let batch = [
            Commit::new().if_absent("a").put("a", "1").put("b", "1"),
            Commit::new().if_absent("a").put("a", "2").put("c", "2"),
            Commit::new().if_unchanged("a", 1).delete("b"),
            Commit::new().if_exists("a").if_exists("b").delete("a"),
            Commit::new().if_absent("b").if_unchanged("a", 1).put("a", "3"),
        ];
        let outcomes = write(&opened.database, batch.map(|c| c.prepare().unwrap()).into()).unwrap();
        let revisions: Vec<_> = outcomes.into_iter().map(|outcome| outcome.map(|change| change.revision)).collect();
        let refused = |key: &str, expected, found| Err(StoreError::Refused { key: key.to_owned(), expected, found });
        let expected =
            [Ok(1), refused("a", State::Absent, State::At(1)), Ok(2), refused("b", State::Present, State::Absent), Ok(3)];
        assert_eq!(revisions, expected);
        let (revision, entries) = file::below(&opened.database, "").unwrap();
        let found: Vec<_> = entries.iter().map(|e| (e.key.as_str(), e.value.as_ref(), e.revision)).collect();
        assert_eq!((revision, found), (3, vec![("a", &b"3"[..], 3)]));
    }

    fn queued(commit: Commit) -> Queued {
        Queued { commit: commit.prepare().unwrap(), reply: oneshot::channel().0 }
    }

    #[test]
    fn a_batch_is_bounded_in_number_and_in_bytes() {
        let (send, mut queue) = mpsc::channel(MAX_BATCH + 10);
        for _ in 0..MAX_BATCH + 10 {
            send.try_send(queued(Commit::new())).map_err(|_| "full").unwrap();
        }
        assert_eq!(gather(queued(Commit::new()), &mut queue).len(), MAX_BATCH);
        assert_eq!(gather(queued(Commit::new()), &mut queue).len(), 12);
        for _ in 0..5 {
            send.try_send(queued(Commit::new().put("k", vec![0; MAX_VALUE]))).map_err(|_| "full").unwrap();
        }
        assert_eq!(gather(queued(Commit::new()), &mut queue).len(), 1 + MAX_BATCH_BYTES / MAX_VALUE);
    }
}
