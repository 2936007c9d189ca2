//! The workspace as it lies on the disk: packages, their manifests, their sources.

use super::{Failure, Finding, Result, modules, source::Source};
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};
use toml::Table;

/// Deepest nesting of directories that is looked into.
const MAX_DEPTH: usize = 16;
/// Directories of a package that hold sources.
const SOURCE_DIRECTORIES: [&str; 4] = ["src", "tests", "benches", "examples"];

/// A package of the workspace.
pub struct Package {
    /// Its name, as others import it.
    pub name: String,
    /// `crates/api`.
    pub directory: String,
    /// `crates/api/Cargo.toml`.
    pub manifest_path: String,
    /// Its text, to find lines in.
    pub manifest_text: String,
    /// The same, parsed.
    pub manifest: Table,
}

/// Everything the rules look at. All paths are below the root.
pub struct House {
    /// By directory.
    pub packages: Vec<Package>,
    /// Sources that can be parsed, by path.
    pub sources: BTreeMap<String, Source>,
    /// Those that cannot.
    pub unreadable: Vec<Finding>,
    /// `Cargo.toml` of the workspace.
    pub workspace: Table,
    /// Its text.
    pub workspace_text: String,
    /// `ARCHITECTURE.md`; None: there is none.
    pub architecture: Option<String>,
    /// `docs/dependencies.md`; None: there is none.
    pub dependencies: Option<String>,
}

impl House {
    /// Reads the workspace at this root.
    pub fn read(root: &Path) -> Result<Self> {
        let workspace_text = text(&root.join("Cargo.toml"))?;
        let mut house = Self {
            packages: packages(root)?,
            sources: BTreeMap::new(),
            unreadable: Vec::new(),
            workspace: table(&root.join("Cargo.toml"), &workspace_text)?,
            workspace_text,
            architecture: optional(&root.join("ARCHITECTURE.md"))?,
            dependencies: optional(&root.join("docs/dependencies.md"))?,
        };
        house.read_sources(root)?;
        modules::mark_tests(&mut house);
        Ok(house)
    }

    fn read_sources(&mut self, root: &Path) -> Result<()> {
        let mut paths = Vec::new();
        for package in &self.packages {
            for directory in SOURCE_DIRECTORIES {
                rust_files(&root.join(&package.directory).join(directory), MAX_DEPTH, &mut paths)?;
            }
        }
        for path in paths {
            let name = relative(root, &path);
            match Source::parse(&name, text(&path)?) {
                Ok(source) => drop(self.sources.insert(name, source)),
                Err(finding) => self.unreadable.push(finding),
            }
        }
        Ok(())
    }

    /// Sources of a package, `src` and below.
    pub fn sources_of<'a>(&'a self, package: &Package) -> impl Iterator<Item = (&'a String, &'a Source)> {
        let prefix = format!("{}/src/", package.directory);
        self.sources.iter().filter(move |(path, _)| path.starts_with(&prefix))
    }
}

fn packages(root: &Path) -> Result<Vec<Package>> {
    let mut directories = entries(&root.join("crates"))?;
    directories.push(root.join("xtask"));
    directories.retain(|directory| directory.join("Cargo.toml").is_file());
    directories.iter().map(|directory| package(root, directory)).collect()
}

fn package(root: &Path, directory: &Path) -> Result<Package> {
    let path = directory.join("Cargo.toml");
    let manifest_text = text(&path)?;
    let manifest = table(&path, &manifest_text)?;
    let name = manifest.get("package").and_then(|package| package.get("name")).and_then(toml::Value::as_str);
    let name = name.ok_or_else(|| Failure::new(&path, "has no package name"))?.to_owned();
    Ok(Package { name, directory: relative(root, directory), manifest_path: relative(root, &path), manifest_text, manifest })
}

fn rust_files(directory: &Path, depth: usize, found: &mut Vec<PathBuf>) -> Result<()> {
    if depth == 0 || !directory.is_dir() {
        return Ok(());
    }
    for path in entries(directory)? {
        if path.is_dir() {
            rust_files(&path, depth - 1, found)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    Ok(())
}

/// What is in a directory, ordered.
fn entries(directory: &Path) -> Result<Vec<PathBuf>> {
    let failed = |e| Failure::new(directory, e);
    let mut paths = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        paths.push(entry.map_err(failed)?.path());
    }
    paths.sort();
    Ok(paths)
}

fn text(path: &Path) -> Result<String> {
    fs::read_to_string(path).map_err(|e| Failure::new(path, e))
}

fn optional(path: &Path) -> Result<Option<String>> {
    if path.exists() { text(path).map(Some) } else { Ok(None) }
}

fn table(path: &Path, text: &str) -> Result<Table> {
    text.parse().map_err(|e: toml::de::Error| Failure::new(path, e.message()))
}

fn relative(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}
