//! Laws of watches.

use super::{Broken, Outcome, PATIENCE, next, same};
use crate::{Commit, Entry, Event, Revision, Store, StoreError, Watch};
use bytes::Bytes;
use futures_util::future::{join, join_all, try_join_all};
use std::{collections::BTreeMap, time::Duration};

fn entry(key: &str, value: &str, revision: Revision) -> Entry {
    Entry { key: key.to_owned(), value: Bytes::copy_from_slice(value.as_bytes()), revision }
}

fn put(key: &str, value: &str, revision: Revision) -> Event {
    Event::Changed { revision, puts: vec![entry(key, value, revision)], deletes: Vec::new() }
}

/// What a watcher believes, from what it was told.
#[derive(Default)]
struct Belief {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
}

impl Belief {
    fn hear(&mut self, event: Event) {
        self.revision = event.revision();
        match event {
            Event::StartOver { entries, .. } => self.entries = entries.into_iter().map(|e| (e.key.clone(), e)).collect(),
            Event::Changed { puts, deletes, .. } => {
                self.entries.extend(puts.into_iter().map(|e| (e.key.clone(), e)));
                self.entries.retain(|key, _| !deletes.contains(key));
            }
        }
    }

    fn into_read(self) -> (Revision, Vec<Entry>) {
        (self.revision, self.entries.into_values().collect())
    }
}

pub(super) async fn from_zero(store: Box<dyn Store>) -> Outcome {
    let mut early = store.watch("a/", 0).await?;
    same("of an empty store", &next(&mut early).await?, &Event::StartOver { revision: 0, entries: Vec::new() })?;
    store.commit(Commit::new().put("a/1", "x").put("b/1", "x")).await?;
    same("then", &next(&mut early).await?, &put("a/1", "x", 1))?;
    store.commit(Commit::new().put("b/2", "x")).await?;
    let mut late = store.watch("a/", 0).await?;
    let all = Event::StartOver { revision: 2, entries: vec![entry("a/1", "x", 1)] };
    same("of a store with something in it", &next(&mut late).await?, &all)?;
    store.commit(Commit::new().put("a/2", "y").delete("a/1")).await?;
    let changed = Event::Changed { revision: 3, puts: vec![entry("a/2", "y", 3)], deletes: vec!["a/1".to_owned()] };
    same("the late one", &next(&mut late).await?, &changed)?;
    same("the early one", &next(&mut early).await?, &changed)
}

pub(super) async fn from_an_old_revision(store: Box<dyn Store>) -> Outcome {
    for n in 1..=10 {
        store.commit(Commit::new().put("a", format!("{n}"))).await?;
    }
    for from in 1..=10 {
        let mut watch = store.watch("", from).await?;
        for n in from + 1..=10 {
            same(&format!("from {from}"), &next(&mut watch).await?, &put("a", &n.to_string(), n))?;
        }
    }
    let mut newest = store.watch("a", 10).await?;
    store.commit(Commit::new().put("a", "11")).await?;
    same("from the newest", &next(&mut newest).await?, &put("a", "11", 11))
}

pub(super) async fn from_another_history(store: Box<dyn Store>) -> Outcome {
    store.commit(Commit::new().put("a", "1")).await?;
    for from in [2, 1_000_000, Revision::MAX] {
        let mut watch = store.watch("", from).await?;
        let all = Event::StartOver { revision: 1, entries: vec![entry("a", "1", 1)] };
        same(&format!("from {from}"), &next(&mut watch).await?, &all)?;
    }
    Ok(())
}

pub(super) async fn its_prefix_only(store: Box<dyn Store>) -> Outcome {
    let from = store.commit(Commit::new().put("job/a", "1").put("jobs/a", "1")).await?;
    let mut watch = store.watch("job/", from).await?;
    store.commit(Commit::new().put("job", "2").put("jobs/a", "2").delete("job/nothing")).await?;
    store.commit(Commit::new()).await?;
    let revision = store.commit(Commit::new().put("jobs/a", "3").delete("job/a").put("job/b", "3").put("a", "3")).await?;
    let puts = vec![entry("job/b", "3", revision)];
    let changed = Event::Changed { revision, puts, deletes: vec!["job/a".to_owned()] };
    same("first event", &next(&mut watch).await?, &changed)
}

/// Every commit's own revision, from many clients at once.
async fn busy_clients(store: &dyn Store) -> Outcome<Vec<Revision>> {
    let clients = (0..8).map(async |client| {
        let mut revisions = Vec::new();
        for n in 0..25 {
            let commit = Commit::new().put(format!("n/{client}/{n}"), "").put("n/last", format!("{client}/{n}"));
            revisions.push(store.commit(if n % 5 == 4 { commit.if_absent("n/last") } else { commit }).await);
        }
        revisions
    });
    Ok(join_all(clients).await.into_iter().flatten().filter_map(Result::ok).collect())
}

async fn heard(mut watch: Watch, until: Revision) -> Outcome<Vec<Revision>> {
    let mut revisions = Vec::new();
    while revisions.last() != Some(&until) {
        match next(&mut watch).await? {
            Event::Changed { revision, .. } => revisions.push(revision),
            Event::StartOver { revision, .. } => return Err(Broken(format!("start over at {revision}, though not far behind"))),
        }
    }
    Ok(revisions)
}

pub(super) async fn in_order(store: Box<dyn Store>) -> Outcome {
    let from = store.commit(Commit::new().put("n/last", "")).await?;
    // A fifth of the commits is refused, so that refusals among the others are seen to leave no gap.
    let until = from + 8 * 20;
    let mut watches = Vec::new();
    for prefix in ["", "n/", "n/last"] {
        watches.push(heard(store.watch(prefix, from).await?, until));
    }
    let (done, heard) = join(busy_clients(store.as_ref()), try_join_all(watches)).await;
    let mut done = done?;
    done.sort_unstable();
    let expected: Vec<_> = (from + 1..=until).collect();
    same("revisions the clients were told", &done, &expected)?;
    for revisions in heard? {
        same("revisions a watcher saw", &revisions, &expected)?;
    }
    Ok(())
}

pub(super) async fn behind(store: Box<dyn Store>) -> Outcome {
    let mut belief = Belief::default();
    let mut watch = store.watch("a", 0).await?;
    belief.hear(next(&mut watch).await?);
    for n in 0..20 {
        store.commit(Commit::new().put(format!("a/{}", n % 7), vec![n; 1 << 20]).delete(format!("a/{}", n % 5))).await?;
    }
    let expected = store.read("a").await?;
    while belief.revision < expected.0 {
        belief.hear(next(&mut watch).await?);
    }
    same("what it believes", &belief.into_read(), &expected)
}

pub(super) async fn given_up(store: Box<dyn Store>) -> Outcome {
    let mut watch = store.watch("", 0).await?;
    next(&mut watch).await?;
    for n in 1..=10u64 {
        let early = tokio::time::timeout(Duration::from_millis(1), watch.next()).await;
        same("before there is anything", &early.is_err(), &true)?;
        store.commit(Commit::new().put("a", format!("{n}"))).await?;
        same("afterwards", &next(&mut watch).await?, &put("a", &n.to_string(), n))?;
    }
    Ok(())
}

pub(super) async fn end_with_the_store(store: Box<dyn Store>) -> Outcome {
    let mut fresh = store.watch("", 0).await?;
    store.commit(Commit::new().put("a", "1")).await?;
    let mut waiting = store.watch("", 1).await?;
    let (ended, ()) = join(tokio::time::timeout(PATIENCE, waiting.next()), async { drop(store) }).await;
    same("one that waits", &ended.map_err(|_| ()), &Ok(Err(StoreError::Closed)))?;
    same("one that was never read", &fresh.next().await, &Err(StoreError::Closed))
}
