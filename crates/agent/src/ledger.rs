//! The ledger: what this server was last told, and what it remembers of its pods, on disk.
//!
//! `assignment.json` holds the last assignment, `pods/<id>.json` a [`Record`] each. Files change by rename. They are safe
//! against the death of the agent, which they are for; what a power cut takes with it, the manager tells again.
//!
//! *Invariant:* an older generation, and different content under the same one, is refused.

use api::{
    assignment::Assignment,
    name::{InstanceId, Name},
    quantity::Span,
    spec::{ContainerKind, Limits, default_grace},
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Version of the files in the ledger. A newer one is refused.
pub const VERSION: u32 = 1;

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file system said no.
    #[error("ledger {path}: {source}")]
    Io {
        /// Which file or directory.
        path: PathBuf,
        /// What it said.
        source: io::Error,
    },
    /// Written by a newer agent.
    #[error("ledger {path} has version {found}, this agent knows up to {VERSION}: use the newer agent")]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
}

/// Why an assignment is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is older than the one this server lives by.
    #[error("assignment of generation {offered} refused: this server already has generation {held}")]
    Older {
        /// What was offered.
        offered: u64,
        /// What is held.
        held: u64,
    },
    /// Same number, other content.
    #[error("assignment of generation {0} refused: it differs from what this server was told under the same generation")]
    Different(u64),
    /// Meant for somebody else.
    #[error("assignment for server {offered} refused: this is server {own}")]
    Stranger {
        /// Whom it is for.
        offered: Name,
        /// Who this is.
        own: Name,
    },
    /// It is not complete in itself.
    #[error("assignment refused: {0} refers to template {1:?}, which is not in it")]
    NoTemplate(String, String),
    /// It could not be written down, so it is not acted on.
    #[error("assignment not taken: {0}")]
    Unwritten(String),
}

/// What is remembered of a pod, beside what the drivers can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What people call it.
    pub display: String,
    /// Which runtime has it.
    pub kind: ContainerKind,
    /// Time it may take to stop.
    pub grace: Span,
    /// `PodAssignment::restarts` when it was last started; None when nobody knows, and then nothing asked for counts as new.
    pub asked: Option<u32>,
    /// Starts so far.
    pub starts: u32,
    /// Its checks passed when they last changed: an adopted pod stays in names and routes.
    pub healthy: bool,
    /// Stopped on purpose.
    pub halted: bool,
    /// A start was begun and is not known to have worked.
    pub starting: bool,
    /// Failed for good.
    pub failed: Option<Failure>,
    /// Limits it is held to, of each container; None when nobody knows, and then what is told counts as held.
    #[serde(default)]
    pub limits: Option<Vec<Limits>>,
}

impl Record {
    /// Of a pod nothing has been done about yet.
    pub const fn new(display: String, kind: ContainerKind) -> Self {
        let grace = default_grace();
        Self {
            display,
            kind,
            grace,
            asked: None,
            starts: 0,
            healthy: false,
            halted: false,
            starting: false,
            failed: None,
            limits: None,
        }
    }
}

/// Why a pod failed for good.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// A sentence.
    pub message: String,
    /// Last lines of its output.
    pub last_lines: Vec<String>,
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    version: u32,
    content: T,
}

/// The ledger's directory. Writing is blocking work.
#[derive(Clone, Debug)]
pub struct Ledger {
    directory: PathBuf,
}

impl Ledger {
    /// Opens the ledger, making its directories.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LedgerError> {
        let ledger = Self { directory: directory.into() };
        let pods = ledger.pods();
        fs::create_dir_all(&pods).map_err(|source| LedgerError::Io { path: pods, source })?;
        Ok(ledger)
    }

    /// The last assignment. A file that cannot be read, as a power cut leaves it, counts as none.
    pub fn assignment(&self) -> Result<Option<Assignment>, LedgerError> {
        load(&self.assignment_path())
    }

    /// Everything remembered of pods.
    pub fn records(&self) -> Result<BTreeMap<InstanceId, Record>, LedgerError> {
        let mut records = BTreeMap::new();
        let directory = self.pods();
        for entry in fs::read_dir(&directory).map_err(|source| LedgerError::Io { path: directory.clone(), source })?.flatten() {
            let name = entry.file_name();
            let id = name.to_str().and_then(|name| name.strip_suffix(".json")).and_then(|id| id.parse().ok());
            if let Some(id) = id
                && let Some(record) = load(&entry.path())?
            {
                records.insert(id, record);
            }
        }
        Ok(records)
    }

    /// Writes the assignment down: before it is acted on.
    pub fn write_assignment(&self, told: &Assignment) -> Result<(), LedgerError> {
        store(&self.assignment_path(), told)
    }

    /// Remembers a pod.
    pub fn write_record(&self, id: InstanceId, record: &Record) -> Result<(), LedgerError> {
        store(&self.record_path(id), record)
    }

    /// Forgets a pod.
    pub fn forget(&self, id: InstanceId) -> Result<(), LedgerError> {
        remove(self.record_path(id))
    }

    /// Forgets the assignment: this server is no longer told anything.
    pub fn forget_assignment(&self) -> Result<(), LedgerError> {
        remove(self.assignment_path())
    }

    fn assignment_path(&self) -> PathBuf {
        self.directory.join("assignment.json")
    }

    fn pods(&self) -> PathBuf {
        self.directory.join("pods")
    }

    fn record_path(&self, id: InstanceId) -> PathBuf {
        self.pods().join(format!("{id}.json"))
    }
}

/// May `offered` take the place of what is held? `Ok(false)`: it is the same. Pure.
pub fn admit(own: &Name, held: Option<&Arc<Assignment>>, offered: &Assignment) -> Result<bool, Refused> {
    if offered.server != *own {
        return Err(Refused::Stranger { offered: offered.server.clone(), own: own.clone() });
    }
    if let Some((_, pod)) = offered.pods.iter().find(|(_, pod)| !offered.templates.contains_key(&pod.template)) {
        return Err(Refused::NoTemplate(pod.display.clone(), pod.template.clone()));
    }
    match held {
        None => Ok(true),
        Some(held) if offered.generation > held.generation => Ok(true),
        Some(held) if offered.generation < held.generation => {
            Err(Refused::Older { offered: offered.generation, held: held.generation })
        }
        Some(held) if **held == *offered => Ok(false),
        Some(_) => Err(Refused::Different(offered.generation)),
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, LedgerError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(LedgerError::Io { path: path.to_owned(), source }),
    };
    if let Ok(VersionOnly { version: found }) = serde_json::from_slice(&bytes)
        && found > VERSION
    {
        return Err(LedgerError::Newer { path: path.to_owned(), found });
    }
    let parsed = serde_json::from_slice::<Versioned<T>>(&bytes);
    Ok(parsed
        .inspect_err(|error| tracing::warn!(path = %path.display(), %error, "unreadable ledger file is ignored"))
        .ok()
        .map(|v| v.content))
}

fn store<T: Serialize>(path: &Path, content: T) -> Result<(), LedgerError> {
    let failed = |source: io::Error| LedgerError::Io { path: path.to_owned(), source };
    let bytes = serde_json::to_vec(&Versioned { version: VERSION, content }).map_err(|error| failed(error.into()))?;
    let fresh = path.with_extension("new");
    fs::write(&fresh, bytes).map_err(failed)?;
    fs::rename(&fresh, path).map_err(failed)
}

fn remove(path: PathBuf) -> Result<(), LedgerError> {
    match fs::remove_file(&path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => Err(LedgerError::Io { path, source }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn what_was_written_is_there_for_the_next_agent() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        assert_eq!(ledger.assignment().unwrap(), None);
        let mut told = testing::assignment(4);
        told.pods.insert(InstanceId(0x2a), testing::pod("c1", 5));
        ledger.write_assignment(&told).unwrap();
        let record = Record { starts: 2, ..Record::new("c1".to_owned(), ContainerKind::App) };
        ledger.write_record(InstanceId(0x2a), &record).unwrap();
        let next = Ledger::open(directory.path()).unwrap();
        assert_eq!(next.assignment().unwrap(), Some(told));
        assert_eq!(next.records().unwrap(), BTreeMap::from([(InstanceId(0x2a), record)]));
        next.forget(InstanceId(0x2a)).unwrap();
        next.forget(InstanceId(0x2a)).unwrap();
        next.forget_assignment().unwrap();
        assert!(next.records().unwrap().is_empty() && next.assignment().unwrap().is_none());
    }

    #[test]
    fn a_torn_file_counts_as_none_and_a_newer_one_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(directory.path()).unwrap();
        fs::write(ledger.assignment_path(), b"{\"version\":1,\"assi").unwrap();
        assert_eq!(ledger.assignment().unwrap(), None);
        fs::write(ledger.assignment_path(), b"{\"version\":2,\"else\":1}").unwrap();
        let error = ledger.assignment().unwrap_err().to_string();
        assert!(error.ends_with("has version 2, this agent knows up to 1: use the newer agent"), "{error}");
    }

    #[test]
    fn older_and_different_assignments_are_refused_and_the_same_is_nothing_new() {
        let own = testing::name("s1");
        let held = Arc::new(testing::assignment(5));
        let mut different = testing::assignment(5);
        different.pods.insert(InstanceId(1), testing::pod("c1", 5));
        assert_eq!(admit(&own, None, &held), Ok(true));
        assert_eq!(admit(&own, Some(&held), &testing::assignment(6)), Ok(true));
        assert_eq!(admit(&own, Some(&held), &testing::assignment(5)), Ok(false));
        assert_eq!(admit(&own, Some(&held), &different), Err(Refused::Different(5)));
        assert_eq!(admit(&own, Some(&held), &testing::assignment(4)), Err(Refused::Older { offered: 4, held: 5 }));
        assert!(matches!(admit(&testing::name("s2"), None, &held), Err(Refused::Stranger { .. })));
        different.templates.clear();
        assert!(matches!(admit(&own, None, &different), Err(Refused::NoTemplate(..))));
    }
}
