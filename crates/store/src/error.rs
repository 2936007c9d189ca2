//! What can go wrong with a store, in sentences.

use crate::Revision;
use std::fmt;

/// Shorthand.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// An error of a store. Only [`StoreError::Refused`] is worth another try, after reading and thinking again.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// A guard did not hold: the world has moved since it was read. Nothing was written.
    #[error("commit refused: key `{key}` is {found}, expected {expected}")]
    Refused {
        /// The key of the first guard that did not hold.
        key: String,
        /// What the guard wanted.
        expected: State,
        /// What is there.
        found: State,
    },
    /// The commit is over a limit. Nothing was written.
    #[error("commit refused: {what} of {found} is over the limit of {limit}")]
    TooLarge {
        /// What is too large: `value in bytes`, `number of writes`…
        what: &'static str,
        /// How large it is.
        found: usize,
        /// How large it may be.
        limit: usize,
    },
    /// A key is the empty text. Nothing was written.
    #[error("commit refused: a key is empty; a key has 1 to {} bytes", crate::MAX_KEY)]
    EmptyKey,
    /// The file was written by a newer version.
    #[error(
        "store {path}: has format {found}, but this version reads formats up to {known}; run the version that wrote it or a newer one"
    )]
    Format {
        /// The file.
        path: String,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u64,
    },
    /// The disk, or the file on it. A commit that fails so may or may not have been written, and further calls fail until the
    /// store is opened again.
    #[error("store {path}: {cause}")]
    Io {
        /// The file.
        path: String,
        /// What it said.
        cause: String,
    },
    /// The store was closed, or its writer died; it must be opened again.
    #[error("the store is closed")]
    Closed,
}

/// What a guard wants of a key, or what it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// The key is not there.
    Absent,
    /// The key is there, at whatever revision.
    Present,
    /// The key is there and was last changed by this revision.
    At(Revision),
}

impl State {
    /// What a revision means in a guard: 0 is "not there".
    pub(crate) const fn of(revision: Revision) -> Self {
        if revision == 0 { Self::Absent } else { Self::At(revision) }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("absent"),
            Self::Present => f.write_str("present"),
            Self::At(revision) => write!(f, "at revision {revision}"),
        }
    }
}
