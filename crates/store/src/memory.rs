//! A store that forgets: for tests and simulation, with the same semantics as the durable ones.

use crate::{
    BoxFuture, Commit, Entry, Result, Revision, Store, Watch,
    commit::Prepared,
    log::{Change, Log},
    watch::Source,
};
use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

/// A store in memory. Dropping it ends its watches.
pub struct Memory {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    log: Arc<Log>,
}

#[derive(Default)]
struct State {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
}

impl State {
    fn below(&self, prefix: &str) -> (Revision, Vec<Entry>) {
        let from = self.entries.range::<str, _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded));
        (self.revision, from.map(|(_, entry)| entry).take_while(|entry| entry.key.starts_with(prefix)).cloned().collect())
    }

    fn apply(&mut self, commit: Prepared) -> Result<Change> {
        commit.check(|key| Result::Ok(self.entries.get(key).map_or(0, |entry| entry.revision)))?;
        self.revision += 1;
        let mut change = Change { revision: self.revision, puts: Vec::new(), deletes: Vec::new() };
        for (key, value) in commit.writes {
            if let Some(value) = value {
                let entry = Entry { key: key.clone(), value, revision: self.revision };
                self.entries.insert(key, entry.clone());
                change.puts.push(entry);
            } else if self.entries.remove(&key).is_some() {
                change.deletes.push(key);
            }
        }
        Ok(change)
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, commit: Commit) -> Result<Revision> {
        let prepared = commit.prepare()?;
        // The lock is held until the change is in the log, so that changes arrive there in order.
        let mut state = self.state();
        let change = state.apply(prepared)?;
        let revision = change.revision;
        self.log.push(change);
        drop(state);
        Ok(revision)
    }
}

impl Source for Shared {
    fn snapshot(self: Arc<Self>, prefix: String) -> BoxFuture<'static, Result<(Revision, Vec<Entry>)>> {
        Box::pin(async move { Ok(self.state().below(&prefix)) })
    }
}

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self { shared: Arc::new(Shared { state: Mutex::default(), log: Arc::new(Log::new(0)) }) }
    }
}

impl Default for Memory {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        self.shared.log.close();
    }
}

impl Store for Memory {
    fn read(&self, prefix: &str) -> BoxFuture<'_, Result<(Revision, Vec<Entry>)>> {
        Arc::clone(&self.shared).snapshot(prefix.to_owned())
    }

    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>> {
        let key = key.to_owned();
        Box::pin(async move { Ok(self.shared.state().entries.get(&key).cloned()) })
    }

    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision>> {
        Box::pin(async move { self.shared.commit(commit) })
    }

    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch>> {
        let source: Weak<Shared> = Arc::downgrade(&self.shared);
        let told = (from > 0 && from <= self.shared.state().revision).then_some(from);
        let watch = Watch::new(prefix, told, &self.shared.log, source);
        Box::pin(async move { Ok(watch) })
    }
}
