//! The confined process that unpacks one layer: archives come from strangers, so the code that follows their paths runs
//! where nothing but the layer's own directory can be named.
//!
//! `main` is what the helper process runs; the rest of the crate only starts it and reads its answer. The tar bytes come on
//! standard input, uncompressed; the outcome is one line of JSON ([`Outcome`]) on standard output.
//!
//! Trusted extended attributes need CAP_SYS_ADMIN, which the process must not have: it only says which directories are
//! opaque, and the parent marks them, resolving each path strictly inside the layer and through no link.

mod confine;
mod extract;
mod place;

use crate::tarball::TarError;
use serde::{Deserialize, Serialize};
use std::{
    ffi::OsString,
    io::{self, BufReader, Write as _},
    path::Path,
    process::ExitCode,
};

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Unpacked.
    Done(Summary),
    /// Refused, or failed.
    Failed {
        /// Sentence.
        message: String,
        /// What kind of failure it is.
        reason: Reason,
    },
}

/// What kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The disk is full.
    Full,
    /// It is more than may be unpacked.
    Limit,
    /// The archive is at fault.
    Archive,
    /// A system call failed.
    Call,
}

/// About a layer that has been unpacked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Directories that hide those of lower layers, from the layer's root, in hexadecimal (names need not be UTF-8).
    pub opaque: Vec<String>,
    /// It holds an init: a whole system.
    pub init: bool,
    /// Entries.
    pub entries: u64,
    /// Whether the archive had an end marker.
    pub marked_end: bool,
}

/// Why unpacking stopped.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The archive cannot be read.
    #[error(transparent)]
    Archive(#[from] TarError),
    /// The archive holds something that is not taken.
    #[error("{0}")]
    Refused(String),
    /// The archive holds more than may be unpacked.
    #[error("the archive unpacks to more than is allowed: {0} is too much")]
    Limit(String),
    /// A system call failed.
    #[error("cannot {what}: {source}")]
    Call {
        /// What was being done.
        what: String,
        /// Why not.
        source: io::Error,
    },
}

impl Failure {
    fn reason(&self) -> Reason {
        match self {
            Self::Call { source, .. } if crate::error::is_full(source) => Reason::Full,
            Self::Call { .. } | Self::Archive(TarError::Read(_)) => Reason::Call,
            Self::Limit(_) => Reason::Limit,
            Self::Archive(_) | Self::Refused(_) => Reason::Archive,
        }
    }
}

const BUFFER: usize = 256 << 10;

/// Runs the helper: `args` are the directory to unpack into (absolute, empty) and the most bytes all files may have.
/// The process is confined for good: it must be one of its own.
pub fn main(args: Vec<OsString>) -> ExitCode {
    let outcome = match run(&args) {
        Ok(summary) => Outcome::Done(summary),
        Err(failure) => Outcome::Failed { message: failure.to_string(), reason: failure.reason() },
    };
    let line = serde_json::to_string(&outcome).unwrap_or_default();
    match writeln!(io::stdout(), "{line}") {
        Ok(()) if matches!(outcome, Outcome::Done(_)) => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    }
}

fn run(args: &[OsString]) -> Result<Summary, Failure> {
    let [dir, limit] = args else {
        return Err(Failure::Refused(format!("unpack takes a directory and a number of bytes, not {} arguments", args.len())));
    };
    let limit = limit.to_str().and_then(|l| l.parse().ok());
    let limit = limit.ok_or_else(|| Failure::Refused("the second argument of unpack is a number of bytes".to_owned()))?;
    confine::enter(Path::new(dir), limit)?;
    let input = BufReader::with_capacity(BUFFER, io::stdin().lock());
    extract::extract(input, limit)
}
