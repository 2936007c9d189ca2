//! The conformance suite: one function per law of the contract. Every store must pass all of them.

mod committing;
mod watching;

use crate::{BoxFuture, Event, Store, StoreError, Watch};
use std::{fmt, time::Duration};

/// How long a law waits for something that must come. Generous: machines that run tests are busy.
const PATIENCE: Duration = Duration::from_secs(30);

/// A law does not hold: a sentence saying how.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Broken(String);

impl From<StoreError> for Broken {
    fn from(error: StoreError) -> Self {
        Self(format!("unexpected error: {error}"))
    }
}

type Outcome<T = ()> = Result<T, Broken>;
type Law = fn(Box<dyn Store>) -> BoxFuture<'static, Outcome>;

/// The laws by name.
const LAWS: &[(&str, Law)] = &[
    ("a commit is seen by every later read", |s| Box::pin(committing::read_your_writes(s))),
    ("every successful commit raises the revision by one", |s| Box::pin(committing::revisions_rise_by_one(s))),
    ("a commit is refused unless all guards hold", |s| Box::pin(committing::guards(s))),
    ("of commits under one guard exactly one is done", |s| Box::pin(committing::one_of_many(s))),
    ("a commit is done whole or not at all", |s| Box::pin(committing::all_or_nothing(s))),
    ("of several writes to a key the last counts", |s| Box::pin(committing::last_write_counts(s))),
    ("a prefix covers what begins with it and nothing else", |s| Box::pin(committing::prefixes(s))),
    ("a deposed leader cannot commit", |s| Box::pin(committing::fencing(s))),
    ("what is over a limit is refused, what is at it is taken", |s| Box::pin(committing::limits(s))),
    ("a watch from 0 starts with everything", |s| Box::pin(watching::from_zero(s))),
    ("a watch from an old revision gets what came since", |s| Box::pin(watching::from_an_old_revision(s))),
    ("a watch from another history starts over", |s| Box::pin(watching::from_another_history(s))),
    ("a watcher sees its prefix only", |s| Box::pin(watching::its_prefix_only(s))),
    ("watchers see every commit once and in order", |s| Box::pin(watching::in_order(s))),
    ("a watcher that is behind ends where the store is", |s| Box::pin(watching::behind(s))),
    ("a watch that was given up while waiting loses nothing", |s| Box::pin(watching::given_up(s))),
    ("watches end with the store", |s| Box::pin(watching::end_with_the_store(s))),
];

/// Puts stores to the test, a fresh and empty one for each law. Panics with the law's name if one does not hold.
pub async fn run(make: impl AsyncFn() -> Box<dyn Store>) {
    for (name, law) in LAWS {
        if let Err(broken) = law(make().await).await {
            panic!("the law \"{name}\" does not hold: {broken}");
        }
    }
}

/// `found` must be `expected`.
fn same<T: PartialEq + fmt::Debug>(what: &str, found: &T, expected: &T) -> Outcome {
    if found == expected { Ok(()) } else { Err(Broken(format!("{what}: found {found:?}, expected {expected:?}"))) }
}

/// The next event, which must come.
async fn next(watch: &mut Watch) -> Outcome<Event> {
    let event = tokio::time::timeout(PATIENCE, watch.next()).await;
    Ok(event.map_err(|_| Broken(format!("no event within {PATIENCE:?}")))??)
}
