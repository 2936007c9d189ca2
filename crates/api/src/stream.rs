//! The stream that `exec`, `attach` and `run -it` speak after the HTTP upgrade, and the log line of `logs`.
//!
//! A frame is one byte of kind, four bytes of length (big endian), and so many bytes. At most [`FRAME_MAX`] bytes a frame. Shims speak it
//! with their agent too.

use crate::quantity::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Value of the HTTP `Upgrade` header.
pub const PROTOCOL: &str = "roost-stream/1";
/// Longest payload of one frame.
pub const FRAME_MAX: usize = 64 * 1024;

/// Kinds of frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameKind {
    /// Client to server: bytes for standard input. An empty one closes it.
    Stdin = 0,
    /// Server to client: bytes of standard output (or of the terminal).
    Stdout = 1,
    /// Server to client: bytes of standard error.
    Stderr = 2,
    /// Client to server: the terminal's size, columns and rows as two big-endian u16.
    Resize = 3,
    /// Server to client, last: exit code as big-endian i32, then a sentence if there is more to say.
    Exit = 4,
    /// Server to client, last: JSON of [`crate::Error`].
    Error = 5,
    /// Client to server: a signal number, one byte.
    Signal = 6,
    /// Server to client, of `attach`: so many bytes of output (big-endian u64) are left out here, since the client did not read them in
    /// time. The log has their lines.
    Missed = 7,
    /// Server to client, of `attach`, first: what one is connected to. One byte, [`OPENED_TERMINAL`] and [`OPENED_INPUT`].
    Opened = 8,
}

/// In [`FrameKind::Opened`]: the program has a terminal.
pub const OPENED_TERMINAL: u8 = 1;
/// In [`FrameKind::Opened`]: what is sent reaches the program.
pub const OPENED_INPUT: u8 = 2;

impl FrameKind {
    /// The kind with this number.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        Some(match byte {
            0 => Self::Stdin,
            1 => Self::Stdout,
            2 => Self::Stderr,
            3 => Self::Resize,
            4 => Self::Exit,
            5 => Self::Error,
            6 => Self::Signal,
            7 => Self::Missed,
            8 => Self::Opened,
            _ => return None,
        })
    }
}

/// What to run in a container that runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ExecRequest {
    /// Which container of the pod; the first when absent.
    #[serde(default)]
    pub container: Option<crate::Name>,
    /// Program and arguments.
    pub command: Vec<String>,
    /// Added to the container's environment.
    #[serde(default)]
    pub env: Vec<String>,
    /// Instead of the container's user.
    #[serde(default)]
    pub user: Option<String>,
    /// Instead of the container's directory.
    #[serde(default)]
    pub workdir: Option<String>,
    /// With a terminal of this size (columns, rows).
    #[serde(default)]
    pub terminal: Option<(u16, u16)>,
    /// Standard input will be sent.
    #[serde(default)]
    pub stdin: bool,
}

/// Which part of the files of a container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ArchiveQuery {
    /// Absolute path in the container: of what is to be packed, or of the directory to unpack into.
    pub path: String,
    /// Which container of the pod; the first when absent.
    #[serde(default)]
    pub container: Option<crate::Name>,
}

/// How to be connected to a program that runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AttachRequest {
    /// Which container of the pod; the first when absent.
    #[serde(default)]
    pub container: Option<crate::Name>,
    /// All it has said, from the first byte on; else from the line on that it is just saying.
    #[serde(default)]
    pub whole: bool,
}

/// Which log lines to send.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogQuery {
    /// Go on with new lines until its program has ended for good.
    #[serde(default)]
    pub follow: bool,
    /// Only lines at or after this time.
    #[serde(default)]
    pub since: Option<Timestamp>,
    /// Only the last so many of those.
    #[serde(default)]
    pub tail: Option<usize>,
    /// Which container of the pod; the first when absent.
    #[serde(default)]
    pub container: Option<crate::Name>,
}

/// One line of a container's output. The stored form is one JSON object a line as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// When it was read from the container.
    #[serde(rename = "t")]
    pub at: Timestamp,
    /// From standard error?
    #[serde(rename = "e", default, skip_serializing_if = "std::ops::Not::not")]
    pub stderr: bool,
    /// The line without its line feed; invalid UTF-8 replaced.
    #[serde(rename = "m")]
    pub message: String,
}
