//! The state of the cluster: versioned keys, guarded commits, watches. One contract, one conformance [`suite`].
//!
//! A store is a map from keys to bytes with one [`Revision`] for the whole, raised by exactly one with every commit.
//! Whoever decides something reads at a revision, thinks, and commits under [`Guard`]s that say what the thought rested
//! on; the commit is refused if that has moved. Leadership is a key: the leader guards each of its commits with the
//! revision at which it wrote that key, so a deposed leader cannot commit anything (fencing).
//!
//! * [`memory`]: for tests and simulation. Forgets.
//! * [`embedded`]: one manager, one file, durable.
//!
//! *Invariant:* knows keys and bytes, nothing of what they mean. Values are never interpreted, and never logged.

mod commit;
pub mod embedded;
mod error;
mod log;
pub mod memory;
pub mod suite;
mod watch;

pub use commit::{Commit, Entry, Guard, MAX_COMMIT_BYTES, MAX_GUARDS, MAX_KEY, MAX_VALUE, MAX_WRITES, Revision, Write};
pub use error::{Result, State, StoreError};
pub use futures_util::future::BoxFuture;
pub use watch::{Event, Watch};

/// The contract. Object-safe; shared as `Arc<dyn Store>`.
///
/// Laws, each a function in [`suite`]: a commit that was acknowledged is seen by every later read; revisions rise by
/// exactly one; a commit is done whole or not at all; watchers see every change once and in order, or are told to start
/// over.
pub trait Store: Send + Sync {
    /// Everything below a prefix, ordered by key, with the revision it is from. `""` is everything. A prefix is plain
    /// text: `job/` does not cover `jobs/x`, and `job` covers both.
    fn read(&self, prefix: &str) -> BoxFuture<'_, Result<(Revision, Vec<Entry>)>>;

    /// One key, or None.
    fn get(&self, key: &str) -> BoxFuture<'_, Result<Option<Entry>>>;

    /// All writes if all guards hold, else nothing. Durable when it returns; the revision is that of this commit. A
    /// future dropped before it is ready may or may not have committed, and so may one that failed with
    /// [`StoreError::Io`]. Commits in flight at the same time may be done in any order.
    fn commit(&self, commit: Commit) -> BoxFuture<'_, Result<Revision>>;

    /// Changes below a prefix that are newer than `from`. The first event is [`Event::StartOver`] if `from` is 0, or so
    /// old that the changes since are forgotten, or newer than this store (it is of another history).
    fn watch(&self, prefix: &str, from: Revision) -> BoxFuture<'_, Result<Watch>>;
}
