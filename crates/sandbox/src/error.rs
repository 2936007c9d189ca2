//! What can go wrong with a sandbox, each as one sentence.

use std::{io, path::PathBuf};

/// Shorthand of this crate.
pub type Result<T, E = SandboxError> = std::result::Result<T, E>;

/// Why a sandbox could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The name is not one.
    #[error("{0}")]
    Name(api::error::Error),
    /// Too few or too many servers.
    #[error("a sandbox has 1 to {most} servers, not {asked}")]
    Count {
        /// How many were asked for.
        asked: u16,
        /// How many fit on the underlay.
        most: u16,
    },
    /// There is one of that name.
    #[error("sandbox \"{0}\" exists already (whole, or left by a crash): take it down first")]
    Exists(String),
    /// There is none of that name.
    #[error("there is no sandbox \"{name}\" in {base}")]
    NoSandbox {
        /// The name asked for.
        name: String,
        /// Where it was looked for.
        base: PathBuf,
    },
    /// The sandbox has no such server.
    #[error("sandbox \"{sandbox}\" has no server \"{server}\", it has {known}")]
    NoServer {
        /// The sandbox.
        sandbox: String,
        /// The name asked for.
        server: String,
        /// The names there are.
        known: String,
    },
    /// Only a server that is up can do this.
    #[error("server \"{0}\" is powered off: start it first")]
    Off(String),
    /// Only a server that is off can be started.
    #[error("server \"{0}\" is up already")]
    On(String),
    /// Its switch or its state is gone.
    #[error("sandbox \"{name}\" is broken ({why}): take it down and make it anew")]
    Broken {
        /// The sandbox.
        name: String,
        /// What is missing.
        why: String,
    },
    /// Another command works on it and does not end.
    #[error("sandbox \"{0}\" is held by another command that does not end")]
    Busy(String),
    /// Servers could not reach the binary.
    #[error("servers cannot see the binary {0}: put it outside of /run, /proc, /sys, /dev/shm and /var/lib/roost")]
    Hidden(PathBuf),
    /// A line break would end the argument in the boot file.
    #[error("an argument of a boot command cannot hold a line break")]
    BootArgument,
    /// The loss of a slow link.
    #[error("a loss of {0} percent is not between 0 and 100")]
    Loss(f32),
    /// A tool said no.
    #[error("`{command}` failed: {said}")]
    Tool {
        /// Program and arguments.
        command: String,
        /// Its last words.
        said: String,
    },
    /// A process of the sandbox did not come up.
    #[error("{what} did not start: {why}")]
    Start {
        /// Which one.
        what: String,
        /// Its own words.
        why: String,
    },
    /// Something stayed that had to go.
    #[error("{what} is still there after {seconds} seconds")]
    Stays {
        /// What stayed.
        what: String,
        /// How long was waited.
        seconds: u64,
    },
    /// The operating system said no.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// Its answer.
        source: io::Error,
    },
}

impl SandboxError {
    /// Wraps an operating system error with what was tried; for `map_err`.
    pub(crate) fn io<E: Into<io::Error>>(what: impl Into<String>) -> impl FnOnce(E) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source: source.into() }
    }
}

impl From<SandboxError> for api::error::Error {
    fn from(error: SandboxError) -> Self {
        use api::error::Kind;
        let kind = match &error {
            SandboxError::Name(inner) => return inner.clone(),
            SandboxError::Count { .. } | SandboxError::BootArgument | SandboxError::Loss(_) | SandboxError::Hidden(_) => {
                Kind::Usage
            }
            SandboxError::NoSandbox { .. } | SandboxError::NoServer { .. } => Kind::NotFound,
            SandboxError::Exists(_) | SandboxError::On(_) | SandboxError::Busy(_) => Kind::Conflict,
            SandboxError::Off(_) | SandboxError::Broken { .. } => Kind::Unreachable,
            _ => Kind::Failed,
        };
        Self::new(kind, error.to_string())
    }
}
