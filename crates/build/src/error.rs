//! Why a build failed, each a sentence that says where.

use driver::DriverError;
use nix::errno::Errno;
use std::{io, path::Path};

/// Lines of a command's output that are shown when it fails.
pub const LAST_LINES: usize = 20;

/// Why a build failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file is wrong.
    #[error("{0}")]
    Recipe(#[from] recipe::Error),
    /// An image is not there.
    #[error("{place}: no image {name}, and it cannot be pulled: {why}")]
    NoImage {
        /// Which line of which file.
        place: String,
        /// Its name.
        name: String,
        /// Why it cannot be pulled.
        why: String,
    },
    /// Something that a step names is wrong or is not there.
    #[error("{place}: {sentence}")]
    Step {
        /// Which line of which file.
        place: String,
        /// What is wrong.
        sentence: String,
        /// It is the file's fault.
        usage: bool,
    },
    /// A command ended with another code than 0.
    #[error("{place}: {command} {how}")]
    Command {
        /// Which line of which file.
        place: String,
        /// As it is written, on one line.
        command: String,
        /// How it ended.
        how: String,
        /// The last lines it said.
        last: Vec<String>,
    },
    /// A driver could not.
    #[error("{}", .0.message)]
    Driver(#[from] DriverError),
    /// The request is wrong.
    #[error("{}", .0.message)]
    Request(#[from] api::Error),
    /// The system could not.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// What it said.
        source: io::Error,
    },
    /// What is wrong in a step whose place is not known yet.
    #[error("{0}")]
    Wrong(String),
    /// Nobody waits for it any more, or another stage failed.
    #[error("the build was given up")]
    GivenUp,
}

/// Shorthand.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// The system could not.
    pub fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// The same, for system calls.
    pub fn errno(what: impl Into<String>) -> impl FnOnce(Errno) -> Self {
        let what = what.into();
        move |error| Self::Io { what, source: error.into() }
    }

    /// Says where, unless that is said.
    pub fn at(self, place: &str) -> Self {
        let step = |sentence: String, usage| Self::Step { place: place.to_owned(), sentence, usage };
        match self {
            Self::Wrong(sentence) => step(sentence, true),
            Self::Driver(error) => step(error.message, false),
            Self::Io { .. } => step(self.to_string(), false),
            other => other,
        }
    }
}

/// A path for messages about files.
pub fn about(doing: &str, path: &Path) -> String {
    format!("cannot {doing} {}", path.display())
}

impl From<Error> for api::Error {
    fn from(error: Error) -> Self {
        let sentence = error.to_string();
        match error {
            Error::Recipe(error) => error.into(),
            Error::Request(error) => error,
            Error::NoImage { .. } => Self::not_found(sentence),
            Error::Step { usage: true, .. } | Error::Wrong(_) => Self::usage(sentence),
            Error::Command { last, .. } => Self { details: last, ..Self::failed(sentence) },
            Error::Step { .. } | Error::Driver(_) | Error::Io { .. } | Error::GivenUp => Self::failed(sentence),
        }
    }
}

impl From<Error> for DriverError {
    fn from(error: Error) -> Self {
        match error {
            Error::Driver(error) => error,
            other => Self::retryable(other.to_string()),
        }
    }
}
