//! Both stores keep the contract, and cannot be told apart.

#![allow(clippy::unwrap_used, reason = "a test")]

use store::{Commit, Event, MAX_VALUE, Store, embedded::Embedded, memory::Memory};

/// A store in a fresh file; the directory goes with the store.
struct Fresh {
    directory: tempfile::TempDir,
}

impl Fresh {
    fn new() -> Self {
        Self { directory: tempfile::tempdir().unwrap() }
    }

    fn open(&self) -> Embedded {
        Embedded::open(&self.directory.path().join("store")).unwrap()
    }
}

#[tokio::test]
async fn memory_keeps_the_contract() {
    store::suite::run(async || Box::new(Memory::new()) as Box<dyn Store>).await;
}

#[tokio::test]
async fn embedded_keeps_the_contract() {
    let directory = tempfile::tempdir().unwrap();
    let made = std::cell::Cell::new(0);
    store::suite::run(async || {
        made.set(made.get() + 1);
        Box::new(Embedded::open(&directory.path().join(made.get().to_string())).unwrap()) as Box<dyn Store>
    })
    .await;
}

async fn too_far_behind(store: &dyn Store) {
    let from = store.commit(Commit::new().put("a", "1")).await.unwrap();
    let mut watch = store.watch("a", from).await.unwrap();
    for n in 0..3u8 {
        store.commit(Commit::new().put("large", vec![n; MAX_VALUE])).await.unwrap();
    }
    store.commit(Commit::new().put("a", "2")).await.unwrap();
    let event = watch.next().await.unwrap();
    let Event::StartOver { revision: 5, entries } = event else { panic!("{event:?}") };
    assert_eq!(entries.iter().map(|e| (e.key.as_str(), e.value.as_ref(), e.revision)).collect::<Vec<_>>(), [("a", &b"2"[..], 5)]);
    store.commit(Commit::new().delete("a")).await.unwrap();
    let event = watch.next().await.unwrap();
    assert_eq!(event, Event::Changed { revision: 6, puts: vec![], deletes: vec!["a".into()] });
}

#[tokio::test]
async fn a_watcher_of_either_that_is_too_far_behind_starts_over() {
    too_far_behind(&Memory::new()).await;
    too_far_behind(&Fresh::new().open()).await;
}

mod alike {
    //! Random histories of batches of concurrent commits, refusals and restarts.

    use super::Fresh;
    use futures_util::future::join_all;
    use proptest::prelude::*;
    use store::{
        Commit, Entry, Event, Guard, Result, Revision, Store, StoreError, Watch, Write, embedded::Embedded, memory::Memory,
    };

    /// Keys that are prefixes of each other, and differ in more than ASCII.
    const KEYS: [&str; 6] = ["a", "a/", "a/x", "a/é", "ab", "b"];

    /// A guard whose revision is taken relative to what the key has when the batch begins: 0 is true, others are not.
    #[derive(Clone, Debug)]
    enum Assume {
        Unchanged { key: usize, off_by: Revision },
        Absent(usize),
        Exists(usize),
    }

    /// Which key gets what; None deletes.
    type Writes = Vec<(usize, Option<u8>)>;

    #[derive(Clone, Debug)]
    enum Step {
        Commits(Vec<(Vec<Assume>, Writes)>),
        Reopen,
    }

    fn assume() -> impl Strategy<Value = Assume> {
        let key = 0..KEYS.len();
        prop_oneof![
            4 => (key.clone(), prop_oneof![3 => Just(0u64), 1 => 1..3u64]).prop_map(|(key, off_by)| Assume::Unchanged { key, off_by }),
            1 => key.clone().prop_map(Assume::Absent),
            1 => key.prop_map(Assume::Exists),
        ]
    }

    fn step() -> impl Strategy<Value = Step> {
        let guards = prop::collection::vec(assume(), 0..3);
        let writes = prop::collection::vec((0..KEYS.len(), any::<Option<u8>>()), 0..4);
        prop_oneof![
            6 => prop::collection::vec((guards, writes), 1..5).prop_map(Step::Commits),
            1 => Just(Step::Reopen),
        ]
    }

    fn commit(guards: &[Assume], writes: &[(usize, Option<u8>)], seen: &[Entry]) -> Commit {
        let revision = |key: usize| seen.iter().find(|e| e.key == KEYS[key]).map_or(0, |e| e.revision);
        let guards = guards.iter().map(|guard| match *guard {
            Assume::Unchanged { key, off_by } => Guard::Unchanged { key: KEYS[key].into(), revision: revision(key) + off_by },
            Assume::Absent(key) => Guard::Absent(KEYS[key].into()),
            Assume::Exists(key) => Guard::Exists(KEYS[key].into()),
        });
        let writes = writes.iter().map(|&(key, value)| match value {
            Some(value) => Write::Put { key: KEYS[key].into(), value: vec![value].into() },
            None => Write::Delete { key: KEYS[key].into() },
        });
        Commit { guards: guards.collect(), writes: writes.collect() }
    }

    async fn all(store: &dyn Store, commits: &[Commit]) -> Vec<Result<Revision>> {
        join_all(commits.iter().map(|c| store.commit(c.clone()))).await
    }

    /// Everything that touches a prefix up to a revision. A marker commit makes the end visible to the watcher.
    async fn events(watch: &mut Watch, until: Revision) -> Vec<Event> {
        let mut events = Vec::new();
        while events.last().is_none_or(|e: &Event| e.revision() < until) {
            events.push(watch.next().await.unwrap());
        }
        events
    }

    struct Pair {
        memory: Memory,
        embedded: Option<Embedded>,
        fresh: Fresh,
    }

    impl Pair {
        fn embedded(&self) -> &Embedded {
            self.embedded.as_ref().unwrap()
        }

        async fn commits(&self, commits: &[Commit]) -> Result<(), TestCaseError> {
            let from = self.memory.read("").await.unwrap().0;
            // From 0 when nothing was committed yet: both start over.
            let mut watches = (self.memory.watch("a/", from).await.unwrap(), self.embedded().watch("a/", from).await.unwrap());
            let outcomes = (all(&self.memory, commits).await, all(self.embedded(), commits).await);
            prop_assert_eq!(&outcomes.0, &outcomes.1);
            let failed = outcomes.0.iter().any(|o| !matches!(o, Ok(_) | Err(StoreError::Refused { .. })));
            prop_assert!(!failed, "{:?}", outcomes.0);
            let mark = Commit::new().put("a/mark", "");
            let until = self.memory.commit(mark.clone()).await.unwrap();
            prop_assert_eq!(self.embedded().commit(mark).await, Ok(until));
            let heard = (events(&mut watches.0, until).await, events(&mut watches.1, until).await);
            // A start over takes whatever is there when it is read.
            prop_assert_eq!(heard.0, heard.1);
            Ok(())
        }

        fn reopen(&mut self) {
            let history = self.embedded().history();
            self.embedded = None;
            self.embedded = Some(self.fresh.open());
            assert_eq!(self.embedded().history(), history);
        }

        async fn compare(&self) -> Result<(), TestCaseError> {
            for prefix in ["", "a", "a/", "c"] {
                prop_assert_eq!(self.memory.read(prefix).await, self.embedded().read(prefix).await);
            }
            for key in KEYS {
                prop_assert_eq!(self.memory.get(key).await, self.embedded().get(key).await);
            }
            Ok(())
        }
    }

    async fn history(steps: Vec<Step>) -> Result<(), TestCaseError> {
        let fresh = Fresh::new();
        let mut pair = Pair { memory: Memory::new(), embedded: Some(fresh.open()), fresh };
        for step in steps {
            match step {
                Step::Commits(commits) => {
                    let seen = pair.memory.read("").await.unwrap().1;
                    let commits: Vec<_> = commits.iter().map(|(guards, writes)| commit(guards, writes, &seen)).collect();
                    pair.commits(&commits).await?;
                }
                Step::Reopen => pair.reopen(),
            }
            pair.compare().await?;
        }
        Ok(())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn memory_and_embedded_cannot_be_told_apart(steps in prop::collection::vec(step(), 1..12)) {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(history(steps))?;
        }
    }
}
