//! What agent and shim tell each other: the order to start, the state while it runs, the record of how it ended.

use crate::{Error, Result, paths::PodPaths};
use api::{Name, Timestamp, spec::ContainerKind};
use driver::runtime::PodRun;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{fs, io::Write as _, path::Path};

/// Largest file of ours that is read back.
const FILE_MAX: u64 = 16 << 20;

/// All a shim needs to run a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// What to run.
    pub pod: PodRun,
    /// Where.
    pub paths: PodPaths,
    /// Cgroup below which the pod's own is made, without a leading slash.
    pub cgroup_parent: String,
}

/// Kind of a pod's containers: they are all of one.
pub fn kind_of(pod: &PodRun) -> ContainerKind {
    pod.containers.first().map_or(ContainerKind::App, |c| c.kind)
}

/// What a shim says of its pod while it runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// When its first program started.
    pub started: Timestamp,
    /// Each container, in the pod's order.
    pub containers: Vec<RunningContainer>,
}

/// One container while its pod runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningContainer {
    /// Its name in the pod.
    pub name: Name,
    /// Main process in the server's numbering, while it lives.
    pub pid: Option<i32>,
    /// How it ended.
    pub exit_code: Option<i32>,
}

/// How a run ended. Written once, by rename, before anybody can see that it has ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    /// When it began; none if it never did.
    pub started: Option<Timestamp>,
    /// When it ended.
    pub ended: Timestamp,
    /// Exit code of the first container.
    pub exit_code: i32,
    /// Why, when there is more to say than the code.
    pub message: Option<String>,
}

/// First message of a shim, one line: it runs, or why not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Started {
    /// All containers run.
    Running(Running),
    /// None runs; everything was taken back.
    Failed(Refusal),
}

/// Why a program could not be started.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// 127: no such program; 126: it cannot be run as it was asked for, now or later; 125: something before that, which may pass (the
    /// shell's and docker's numbers).
    pub code: i32,
    /// A sentence.
    pub message: String,
}

impl Refusal {
    /// Something went wrong before the program came into play.
    pub fn before(message: impl Into<String>) -> Self {
        Self { code: 125, message: message.into() }
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let code = if matches!(error, Error::Text(_)) { 126 } else { 125 };
        Self { code, message: error.to_string() }
    }
}

/// Writes a value as JSON so that a reader sees the old file or the new one, never half.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<()> {
    let text = serde_json::to_vec(value).map_err(|e| Error::text(format!("cannot encode {}: {e}", path.display())))?;
    write_file(path, &text)
}

/// Replaces a file's content by rename.
pub fn write_file(path: &Path, content: &[u8]) -> Result<()> {
    let new = path.with_extension(format!("new{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::create(&new)?;
        file.write_all(content)?;
        fs::rename(&new, path)
    };
    write().map_err(|e| {
        let _ = fs::remove_file(&new);
        Error::io("write", path, e)
    })
}

/// Reads JSON back; none if there is no such file.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>> {
    use std::io::Read as _;
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io("open", path, error)),
    };
    let mut text = Vec::new();
    file.take(FILE_MAX).read_to_end(&mut text).map_err(|e| Error::io("read", path, e))?;
    serde_json::from_slice(&text).map(Some).map_err(|e| Error::text(format!("{} is damaged: {e}", path.display())))
}
