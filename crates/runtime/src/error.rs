//! The crate's error: a sentence with its cause, turned into the driver's error at the border.

use std::path::{Path, PathBuf};

/// Why something about a container failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file, directory or mount.
    #[error("cannot {verb} {}: {cause}", path.display())]
    Io {
        /// What was tried.
        verb: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// A system call without a path.
    #[error("{what}: {cause}")]
    Call {
        /// What was tried.
        what: &'static str,
        /// What the kernel said.
        cause: std::io::Error,
    },
    /// A sentence about something that may be otherwise later.
    #[error("{0}")]
    Later(String),
    /// Anything else, a sentence.
    #[error("{0}")]
    Text(String),
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An operation on a path failed.
    pub fn io(verb: &'static str, path: &Path, cause: impl Into<std::io::Error>) -> Self {
        Self::Io { verb, path: path.to_owned(), cause: cause.into() }
    }
    /// A system call failed.
    pub fn call(what: &'static str, cause: impl Into<std::io::Error>) -> Self {
        Self::Call { what, cause: cause.into() }
    }
    /// A system call has just failed with `errno`.
    pub fn errno(what: &'static str) -> Self {
        Self::Call { what, cause: std::io::Error::last_os_error() }
    }
    /// A sentence.
    pub fn text(sentence: impl Into<String>) -> Self {
        Self::Text(sentence.into())
    }
}

impl From<Error> for driver::DriverError {
    /// Whatever the kernel refused may be granted later (memory, processes, a device that is busy); a malformed thing will not heal.
    fn from(error: Error) -> Self {
        match error {
            Error::Text(sentence) => Self::fatal(sentence),
            other => Self::retryable(other.to_string()),
        }
    }
}
