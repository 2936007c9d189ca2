//! What can go wrong with images, as sentences, and which of it may pass by itself.

use api::error::{printable, sentence};
use driver::DriverError;
use std::{io, path::Path};

/// Why an image is not there.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file system that holds the store is full.
    #[error("no space left on the file system of {0}")]
    NoSpace(String),
    /// The content is at fault: trying again with the same content will not help.
    #[error("{0}")]
    Content(String),
    /// What was asked for is at fault.
    #[error("{0}")]
    Request(String),
    /// Somebody else did not answer, or broke off: trying again may help.
    #[error("{0}")]
    Elsewhere(String),
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done, with the path.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The content is at fault. The sentence may quote it.
    pub fn content(message: impl Into<String>) -> Self {
        Self::Content(sentence(message))
    }

    /// What was asked for is at fault.
    pub fn request(message: impl Into<String>) -> Self {
        Self::Request(sentence(message))
    }
}

/// Whether the error means that a file system, or somebody's share of it, is full.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Turns an error of a call on `path` into a sentence: `doing`, the path, the reason.
pub fn on<'a>(doing: &'a str, path: &'a Path) -> impl Fn(io::Error) -> Error + 'a {
    move |source| match is_full(&source) {
        true => Error::NoSpace(path.display().to_string()),
        false => Error::Io { what: format!("cannot {doing} {}", path.display()), source },
    }
}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        let retryable = matches!(error, Error::NoSpace(_) | Error::Elsewhere(_) | Error::Io { .. });
        Self { message: printable(error.to_string()), retryable }
    }
}
