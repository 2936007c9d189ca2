//! Laws of commits and reads.

use super::{Broken, Outcome, same};
use crate::{Commit, Entry, MAX_GUARDS, MAX_KEY, MAX_VALUE, MAX_WRITES, State, Store, StoreError};
use bytes::Bytes;
use futures_util::future::join_all;

/// Committing this must be refused because of `key`.
async fn refused(store: &dyn Store, commit: Commit, key: &str) -> Outcome<(State, State)> {
    match store.commit(commit.clone()).await {
        Err(StoreError::Refused { key: found, expected, found: state }) => {
            same("key of the refusal", &found.as_str(), &key)?;
            Ok((expected, state))
        }
        other => Err(Broken(format!("{commit:?} must be refused, but: {other:?}"))),
    }
}

async fn keys(store: &dyn Store, prefix: &str) -> Outcome<Vec<String>> {
    Ok(store.read(prefix).await?.1.into_iter().map(|entry| entry.key).collect())
}

pub(super) async fn read_your_writes(store: Box<dyn Store>) -> Outcome {
    same("an empty store", &store.read("").await?, &(0, Vec::new()))?;
    same("a key that was never there", &store.get("a").await?, &None)?;
    for n in 1..=20u64 {
        let value = Bytes::from(format!("value {n}"));
        let revision = store.commit(Commit::new().put("a", value.clone())).await?;
        let entry = Entry { key: "a".to_owned(), value, revision };
        same("get after put", &store.get("a").await?.as_ref(), &Some(&entry))?;
        same("read after put", &store.read("a").await?, &(revision, vec![entry]))?;
    }
    let revision = store.commit(Commit::new().delete("a")).await?;
    same("get after delete", &store.get("a").await?, &None)?;
    same("read after delete", &store.read("").await?, &(revision, Vec::new()))
}

pub(super) async fn revisions_rise_by_one(store: Box<dyn Store>) -> Outcome {
    same("first", &store.commit(Commit::new().put("a", "1")).await?, &1)?;
    same("several writes", &store.commit(Commit::new().put("b", "1").put("c", "1").delete("a")).await?, &2)?;
    same("delete of what is not there", &store.commit(Commit::new().delete("nothing")).await?, &3)?;
    same("no writes at all", &store.commit(Commit::new()).await?, &4)?;
    refused(store.as_ref(), Commit::new().if_absent("b").put("b", "2"), "b").await?;
    same("after a refusal", &store.read("").await?.0, &4)?;
    let mut revisions = join_all((0..100).map(|n| store.commit(Commit::new().put(format!("n/{n}"), "1")))).await;
    revisions.sort_by_key(|revision| revision.clone().unwrap_or(0));
    same("of concurrent commits", &revisions, &(5..105).map(Ok).collect())
}

pub(super) async fn guards(store: Box<dyn Store>) -> Outcome {
    let store = store.as_ref();
    let first = store.commit(Commit::new().if_absent("a").if_unchanged("a", 0).put("a", "1")).await?;
    let outcome = refused(store, Commit::new().if_absent("a"), "a").await?;
    same("absent, but it is there", &outcome, &(State::Absent, State::At(first)))?;
    let outcome = refused(store, Commit::new().if_exists("b"), "b").await?;
    same("exists, but it is not there", &outcome, &(State::Present, State::Absent))?;
    let outcome = refused(store, Commit::new().if_unchanged("a", 0), "a").await?;
    same("unchanged since absent, but it is there", &outcome, &(State::Absent, State::At(first)))?;
    let outcome = refused(store, Commit::new().if_unchanged("b", first), "b").await?;
    same("unchanged, but it is not there", &outcome, &(State::At(first), State::Absent))?;

    let second = store.commit(Commit::new().if_exists("a").if_unchanged("a", first).if_absent("b").put("a", "2")).await?;
    let outcome = refused(store, Commit::new().if_exists("a").if_unchanged("a", first).put("a", "3"), "a").await?;
    same("unchanged, but it was", &outcome, &(State::At(first), State::At(second)))?;
    // A key that went and came back is another.
    store.commit(Commit::new().delete("a")).await?;
    let fourth = store.commit(Commit::new().if_absent("a").put("a", "2")).await?;
    refused(store, Commit::new().if_unchanged("a", second), "a").await?;
    store.commit(Commit::new().put("other", "1")).await?;
    store.commit(Commit::new().if_unchanged("a", fourth)).await?;
    Ok(())
}

pub(super) async fn one_of_many(store: Box<dyn Store>) -> Outcome {
    let mut revision = store.commit(Commit::new().put("counter", "0")).await?;
    for round in 0..20 {
        let tries = (0..10).map(|n| {
            let commit = Commit::new().if_unchanged("counter", revision).put("counter", format!("{round}"));
            store.commit(commit.put(format!("try/{round}/{n}"), "1"))
        });
        let done: Vec<_> = join_all(tries).await.into_iter().filter_map(Result::ok).collect();
        same("commits that were done", &done, &vec![revision + 1])?;
        same("traces they left", &keys(store.as_ref(), &format!("try/{round}/")).await?.len(), &1)?;
        revision += 1;
    }
    Ok(())
}

pub(super) async fn all_or_nothing(store: Box<dyn Store>) -> Outcome {
    store.commit(Commit::new().put("a", "1").put("b", "1")).await?;
    let before = store.read("").await?;
    let all = Commit::new().put("a", "2").delete("b").put("c", "2");
    refused(store.as_ref(), all.clone().if_exists("a").if_exists("nothing"), "nothing").await?;
    same("after a refusal", &store.read("").await?, &before)?;
    let revision = store.commit(all.if_exists("a").if_absent("nothing")).await?;
    let entry = |key: &str| Entry { key: key.to_owned(), value: Bytes::from("2"), revision };
    same("after a commit", &store.read("").await?, &(revision, vec![entry("a"), entry("c")]))
}

pub(super) async fn last_write_counts(store: Box<dyn Store>) -> Outcome {
    let revision = store.commit(Commit::new().put("a", "1").delete("a").put("a", "2").put("b", "1").delete("b")).await?;
    let entry = Entry { key: "a".to_owned(), value: Bytes::from("2"), revision };
    same("what is left", &store.read("").await?, &(revision, vec![entry]))
}

pub(super) async fn prefixes(store: Box<dyn Store>) -> Outcome {
    let store = store.as_ref();
    let all = ["job", "job-x", "job/", "job/a", "job/a/b", "job/é", "job/\u{10ffff}", "job0", "jobs/a", "k", "é"];
    let mut commit = Commit::new();
    for key in all.iter().rev() {
        commit = commit.put(*key, "");
    }
    store.commit(commit).await?;
    for prefix in
        ["", "j", "job", "job/", "job/a", "job/a/", "job/é", "job/\u{10ffff}", "jobs", "jobs/", "k", "l", "é", "\u{10ffff}"]
    {
        let mut expected: Vec<_> = all.iter().filter(|key| key.starts_with(prefix)).map(ToString::to_string).collect();
        expected.sort_unstable();
        same(&format!("below `{prefix}`"), &keys(store, prefix).await?, &expected)?;
    }
    Ok(())
}

pub(super) async fn fencing(store: Box<dyn Store>) -> Outcome {
    let first = store.commit(Commit::new().if_absent("leader").put("leader", "one")).await?;
    store.commit(Commit::new().if_unchanged("leader", first).put("plan", "of one")).await?;
    let second = store.commit(Commit::new().if_unchanged("leader", first).put("leader", "two")).await?;
    // The first leader has not heard yet.
    let late = Commit::new().if_unchanged("leader", first).put("plan", "of one, too late");
    let outcome = refused(store.as_ref(), late, "leader").await?;
    same("the refusal", &outcome, &(State::At(first), State::At(second)))?;
    store.commit(Commit::new().if_unchanged("leader", second).put("plan", "of two")).await?;
    // Being elected again is another term, even with the same words.
    let third = store.commit(Commit::new().if_unchanged("leader", second).put("leader", "one")).await?;
    refused(store.as_ref(), Commit::new().if_unchanged("leader", first).put("plan", "of one, much too late"), "leader").await?;
    same("terms", &(first < second && second < third), &true)?;
    same("the plan", &store.get("plan").await?.map(|entry| entry.value), &Some(Bytes::from("of two")))
}

pub(super) async fn limits(store: Box<dyn Store>) -> Outcome {
    let key = "k".repeat(MAX_KEY);
    let value = Bytes::from(vec![7; MAX_VALUE]);
    let most =
        (1..MAX_WRITES).fold(Commit::new(), |commit, n| commit.put(format!("many/{n}"), "").if_absent(format!("many/{n}")));
    store.commit(most.clone().put(key.clone(), value.clone())).await?;
    same("the largest value", &store.get(&key).await?.map(|entry| entry.value), &Some(value))?;
    let before = keys(store.as_ref(), "").await?;

    let over = |what, limit: usize| Err(StoreError::TooLarge { what, found: limit + 1, limit });
    let long = || format!("{key}k");
    same("a long key", &store.commit(Commit::new().put(long(), "")).await, &over("key in bytes", MAX_KEY))?;
    same("a long key to delete", &store.commit(Commit::new().delete(long())).await, &over("key in bytes", MAX_KEY))?;
    same("a long key in a guard", &store.commit(Commit::new().if_absent(long())).await, &over("key in bytes", MAX_KEY))?;
    let large = Commit::new().put("ok", "").put("large", vec![0; MAX_VALUE + 1]);
    same("a large value", &store.commit(large).await, &over("value in bytes", MAX_VALUE))?;
    let many = (0..=MAX_WRITES).fold(Commit::new(), |commit, n| commit.delete(format!("many/{n}")));
    same("many writes", &store.commit(many).await, &over("number of writes", MAX_WRITES))?;
    let many = (0..=MAX_GUARDS).fold(Commit::new().put("ok", ""), |commit, _| commit.if_absent("nothing"));
    same("many guards", &store.commit(many).await, &over("number of guards", MAX_GUARDS))?;
    same("an empty key", &store.commit(Commit::new().put("", "")).await, &Err(StoreError::EmptyKey))?;
    same("what was there before", &keys(store.as_ref(), "").await?, &before)?;
    same("the revision", &store.read("nothing").await?.0, &1)
}
