//! The rules of the house, checked: who may import whom, sizes, banned text, forgotten files, documents that lag behind.
//!
//! Each rule is a function from the [`house::House`] to [`finding::Finding`]s. The [`ratchet`] then takes out old sins that
//! are listed, which may only shrink.

mod banned;
mod documents;
mod finding;
mod house;
mod imports;
mod modules;
mod ratchet;
mod sizes;
mod source;
mod stats;
#[cfg(test)]
mod tests;

use finding::Finding;
use house::House;
use ratchet::Ratchet;
use stats::Stats;
use std::{fmt, path::Path};

/// What to do with old sins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Nothing is written.
    Check,
    /// The ratchet is lowered where it can be.
    Accept,
    /// The ratchet becomes what was found.
    AcceptGrowth,
}

/// A file that must be read or written, and cannot be.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {cause}")]
pub struct Failure {
    path: String,
    cause: String,
}

impl Failure {
    fn new(path: &Path, cause: impl fmt::Display) -> Self {
        Self { path: path.display().to_string(), cause: cause.to_string() }
    }
}

/// Shorthand.
type Result<T> = std::result::Result<T, Failure>;

/// What was found, and how large the house is.
pub struct Report {
    /// Ordered by path and line. Empty: all is well.
    pub findings: Vec<Finding>,
    stats: Stats,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(f, "{}", self.stats)
    }
}

/// Checks the workspace at this root.
pub fn run(root: &Path, mode: Mode) -> Result<Report> {
    let house = House::read(root)?;
    let sizes = sizes::measure(&house);
    let mut findings = sizes.findings;
    findings.extend(house.unreadable.iter().cloned());
    findings.extend(banned::check(&house));
    findings.extend(modules::forgotten(&house));
    findings.extend(imports::check(&house));
    findings.extend(documents::check(&house));
    let ratchet = Ratchet::read(root)?;
    let mut judged = match mode {
        Mode::Check => ratchet.judge(findings),
        Mode::Accept => ratchet.lowered(&findings).write(root)?.judge(findings),
        Mode::AcceptGrowth => Ratchet::of(&findings).write(root)?.judge(findings),
    };
    judged.sort();
    Ok(Report { findings: judged, stats: sizes.stats })
}
