//! Names and numbers of stages.

use crate::dockerfile::Dockerfile;
use serde::{Deserialize, Serialize};
use std::fmt;

/// A stage: which `FROM` of the file, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct StageId(pub usize);

impl fmt::Display for StageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// All names of a file, by number.
#[derive(Clone, Debug)]
pub struct Names(Vec<Option<String>>);

impl Names {
    pub fn of(file: &Dockerfile) -> Self {
        Self(file.sections.iter().map(|section| section.opening.name.clone()).collect())
    }

    /// How many stages there are.
    pub const fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that have a name.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.0.iter().flatten().map(String::as_str)
    }

    /// What a stage is called: by its name, or its number.
    pub fn shown(&self, id: StageId) -> String {
        self.0.get(id.0).cloned().flatten().unwrap_or_else(|| id.to_string())
    }

    /// A stage by name, in capital or small letters.
    pub fn by_name(&self, name: &str) -> Option<StageId> {
        self.0.iter().position(|own| own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(name))).map(StageId)
    }

    /// A stage by name or number.
    pub fn find(&self, name: &str) -> Option<StageId> {
        let number = || name.parse::<usize>().ok().filter(|number| *number < self.count()).map(StageId);
        self.by_name(name).or_else(number)
    }
}
