//! What is stored, and what a commit is made of: guards and writes, checked against limits before anything is queued.

use crate::{Result, State, StoreError};
use bytes::Bytes;
use std::collections::BTreeMap;

/// Revision of the whole store. Every successful commit raises it by exactly one; 0 is the empty store.
pub type Revision = u64;

/// Most bytes in a key.
pub const MAX_KEY: usize = 512;
/// Most bytes in a value: 8 MiB.
pub const MAX_VALUE: usize = 8 << 20;
/// Most writes in a commit.
pub const MAX_WRITES: usize = 10_000;
/// Most guards in a commit: each write may have its own.
pub const MAX_GUARDS: usize = MAX_WRITES;
/// Most bytes in the keys and values of a commit, so that what waits in the queue fits into memory: 64 MiB.
pub const MAX_COMMIT_BYTES: usize = 64 << 20;

/// A key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// 1 to [`MAX_KEY`] bytes.
    pub key: String,
    /// Up to [`MAX_VALUE`] bytes, meaning nothing to the store.
    pub value: Bytes,
    /// The commit that last wrote this key.
    pub revision: Revision,
}

/// What a commit rests on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key was last changed by this revision; 0: the key is not there.
    Unchanged {
        /// Which key.
        key: String,
        /// [`Entry::revision`] as it was read.
        revision: Revision,
    },
    /// The key is not there.
    Absent(String),
    /// The key is there, changed or not.
    Exists(String),
}

impl Guard {
    /// The key it is about.
    pub fn key(&self) -> &str {
        match self {
            Self::Unchanged { key, .. } | Self::Absent(key) | Self::Exists(key) => key,
        }
    }

    const fn expected(&self) -> State {
        match self {
            Self::Unchanged { revision, .. } => State::of(*revision),
            Self::Absent(_) => State::Absent,
            Self::Exists(_) => State::Present,
        }
    }

    /// Holds the guard, if the key was last changed by `found` (0: not there)?
    fn check(&self, found: Revision) -> Result<()> {
        let (expected, found) = (self.expected(), State::of(found));
        let holds = match expected {
            State::Present => found != State::Absent,
            exact => found == exact,
        };
        if holds { Ok(()) } else { Err(StoreError::Refused { key: self.key().to_owned(), expected, found }) }
    }
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// The key has this value from now on.
    Put {
        /// Which key.
        key: String,
        /// Its value.
        value: Bytes,
    },
    /// The key is no more. Nothing happens if it was not there.
    Delete {
        /// Which key.
        key: String,
    },
}

impl Write {
    fn size(&self) -> (usize, usize) {
        match self {
            Self::Put { key, value } => (key.len(), value.len()),
            Self::Delete { key } => (key.len(), 0),
        }
    }
}

/// Writes that are done together, if all guards hold. Of several writes to one key the last counts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commit {
    /// All must hold. At most [`MAX_GUARDS`].
    pub guards: Vec<Guard>,
    /// At most [`MAX_WRITES`].
    pub writes: Vec<Write>,
}

impl Commit {
    /// Nothing yet.
    pub const fn new() -> Self {
        Self { guards: Vec::new(), writes: Vec::new() }
    }

    /// … and this key gets this value.
    #[must_use]
    pub fn put(mut self, key: impl Into<String>, value: impl Into<Bytes>) -> Self {
        self.writes.push(Write::Put { key: key.into(), value: value.into() });
        self
    }

    /// … and this key is deleted.
    #[must_use]
    pub fn delete(mut self, key: impl Into<String>) -> Self {
        self.writes.push(Write::Delete { key: key.into() });
        self
    }

    /// … if this key was last changed by `revision`; 0: if it is not there.
    #[must_use]
    pub fn if_unchanged(mut self, key: impl Into<String>, revision: Revision) -> Self {
        self.guards.push(Guard::Unchanged { key: key.into(), revision });
        self
    }

    /// … if this key is not there.
    #[must_use]
    pub fn if_absent(mut self, key: impl Into<String>) -> Self {
        self.guards.push(Guard::Absent(key.into()));
        self
    }

    /// … if this key is there.
    #[must_use]
    pub fn if_exists(mut self, key: impl Into<String>) -> Self {
        self.guards.push(Guard::Exists(key.into()));
        self
    }

    /// Checks the limits, and orders the writes by key.
    pub(crate) fn prepare(self) -> Result<Prepared> {
        let bytes = self.check_limits()?;
        let writes = self.writes.into_iter().map(|write| match write {
            Write::Put { key, value } => (key, Some(value)),
            Write::Delete { key } => (key, None),
        });
        Ok(Prepared { guards: self.guards, writes: writes.collect(), bytes })
    }

    fn check_limits(&self) -> Result<usize> {
        within("number of guards", self.guards.len(), MAX_GUARDS)?;
        within("number of writes", self.writes.len(), MAX_WRITES)?;
        for guard in &self.guards {
            check_key(guard.key().len())?;
        }
        let mut bytes = 0;
        for (key, value) in self.writes.iter().map(Write::size) {
            check_key(key)?;
            within("value in bytes", value, MAX_VALUE)?;
            bytes += key + value;
        }
        within("commit in bytes", bytes, MAX_COMMIT_BYTES)?;
        Ok(bytes)
    }
}

fn check_key(length: usize) -> Result<()> {
    if length == 0 { Err(StoreError::EmptyKey) } else { within("key in bytes", length, MAX_KEY) }
}

const fn within(what: &'static str, found: usize, limit: usize) -> Result<()> {
    if found <= limit { Ok(()) } else { Err(StoreError::TooLarge { what, found, limit }) }
}

/// A commit within the limits: one write per key, None deletes.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) guards: Vec<Guard>,
    pub(crate) writes: BTreeMap<String, Option<Bytes>>,
    /// Size of keys and values.
    pub(crate) bytes: usize,
}

impl Prepared {
    /// The first guard that does not hold is the error. `last_change` says when a key was last changed, 0 if it is not there.
    pub(crate) fn check<E: From<StoreError>>(&self, last_change: impl Fn(&str) -> Result<Revision, E>) -> Result<(), E> {
        self.guards.iter().try_for_each(|guard| Ok(guard.check(last_change(guard.key())?)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_sentence() {
        let refused = |guard: Guard, found| guard.check(found).unwrap_err().to_string();
        assert_eq!(
            refused(Guard::Unchanged { key: "job/web".into(), revision: 7 }, 9),
            "commit refused: key `job/web` is at revision 9, expected at revision 7"
        );
        assert_eq!(refused(Guard::Absent("a".into()), 3), "commit refused: key `a` is at revision 3, expected absent");
        assert_eq!(refused(Guard::Exists("a".into()), 0), "commit refused: key `a` is absent, expected present");
        let large = Commit::new().put("k", vec![0; MAX_VALUE + 1]).prepare().unwrap_err();
        assert_eq!(large.to_string(), "commit refused: value in bytes of 8388609 is over the limit of 8388608");
    }

    #[test]
    fn of_several_writes_to_a_key_the_last_counts() {
        let prepared = Commit::new().put("b", "1").delete("b").delete("a").put("a", "2").prepare().unwrap();
        let writes: Vec<_> = prepared.writes.into_iter().collect();
        assert_eq!(writes, [("a".to_owned(), Some(Bytes::from("2"))), ("b".to_owned(), None)]);
    }

    #[test]
    fn the_whole_commit_has_a_limit_too() {
        let value = Bytes::from(vec![0; MAX_VALUE]);
        let most = (0..9).fold(Commit::new(), |commit, n| commit.put(format!("k{n}"), value.clone()));
        let over = most.prepare().unwrap_err();
        assert_eq!(over, StoreError::TooLarge { what: "commit in bytes", found: 9 * (MAX_VALUE + 2), limit: MAX_COMMIT_BYTES });
    }
}
