//! A case: a folder below `crates/lab/dockerfiles` with a Dockerfile, the context it is built from, and `case.toml`.

use crate::make::Made;
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// What `case.toml` says. All of it may be absent but the first.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    /// The folder's name.
    #[serde(skip)]
    pub name: String,
    /// Where it is.
    #[serde(skip)]
    pub folder: PathBuf,
    /// What it is about, in one sentence.
    pub about: String,
    /// The file, relative to the folder.
    #[serde(default = "dockerfile")]
    pub file: String,
    /// The same said in words that buildah knows, where it does not know those of `file`.
    pub peer: Option<String>,
    /// Stage to build.
    pub target: Option<String>,
    /// Build arguments, `NAME=value`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Secrets: what is in them, by id.
    #[serde(default)]
    pub secrets: BTreeMap<String, String>,
    /// Files are fetched: `WEB` is an argument, the address of a web server with `page.txt`.
    #[serde(default)]
    pub web: bool,
    /// It is about layers: buildah makes one for each instruction.
    #[serde(default)]
    pub layers: bool,
    /// Images that are built first, by both.
    #[serde(default)]
    pub before: Vec<Before>,
    /// Files of the context that cannot lie in a repository.
    #[serde(default)]
    pub make: Vec<Made>,
    /// Builds after the first, in order.
    #[serde(default)]
    pub then: Vec<Then>,
    /// When it must not be built.
    pub refused: Option<Refused>,
}

fn dockerfile() -> String {
    "Dockerfile".to_owned()
}

/// An image built before the case itself, from the same context.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Before {
    /// The image's name.
    pub name: String,
    /// The file, relative to the folder.
    pub file: String,
}

/// The build once more, with something changed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Then {
    /// What is changed, in words.
    pub what: String,
    /// Build arguments from now on.
    pub args: Option<Vec<String>>,
    /// Files that are made, or made anew.
    #[serde(default)]
    pub make: Vec<Made>,
    /// Builds without the cache.
    #[serde(default)]
    pub no_cache: bool,
    /// Files with random content that are as they were: what makes them was not done again.
    #[serde(default)]
    pub kept: Vec<String>,
    /// Files with random content that are others now.
    #[serde(default)]
    pub fresh: Vec<String>,
}

/// How a case is refused by ours.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refused {
    /// The exit code.
    pub code: i32,
    /// The sentence, after `error: `; `…` is whatever it is.
    pub says: String,
}

impl Case {
    /// Every case, in the order of their names.
    pub fn all(folder: &Path) -> Vec<Self> {
        let mut folders: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        folders.retain(|path| path.is_dir());
        folders.sort();
        folders.iter().map(|folder| Self::read(folder)).collect()
    }

    fn read(folder: &Path) -> Self {
        let file = folder.join("case.toml");
        let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let mut case: Self = toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        case.name = folder.file_name().unwrap().to_string_lossy().into_owned();
        case.folder = folder.to_owned();
        case
    }

    /// Paths of the image whose content is random.
    pub fn random(&self) -> BTreeSet<String> {
        self.then.iter().flat_map(|then| then.kept.iter().chain(&then.fresh).cloned()).collect()
    }
}
