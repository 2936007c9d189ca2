//! Which files the module tree reaches: a file it does not reach is forgotten, and one that only test modules reach is a test.

use super::{
    Finding,
    house::{House, Package},
    source::is_for_tests,
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};
use syn::{Attribute, Expr, Item, Lit, Meta};
use toml::Value;

/// Files that are reached, and whether by test modules only.
type Reached = BTreeMap<String, bool>;

/// Marks files that only test modules lead to.
pub fn mark_tests(house: &mut House) {
    let tests: Vec<_> = house.packages.iter().flat_map(|package| reach(house, package)).filter(|(_, test)| *test).collect();
    for (path, _) in tests {
        if let Some(source) = house.sources.get_mut(&path) {
            source.test = true;
        }
    }
}

/// Files below `src` that no `mod` leads to.
pub fn forgotten(house: &House) -> Vec<Finding> {
    let mut findings = Vec::new();
    for package in &house.packages {
        let reached = reach(house, package);
        let forgotten = house.sources_of(package).map(|(path, _)| path).filter(|path| !reached.contains_key(*path));
        let says = "no `mod` leads to this file, so it is not compiled: declare it or delete it";
        findings.extend(forgotten.map(|path| Finding::new(path, 1, "forgotten", says)));
    }
    findings
}

fn reach(house: &House, package: &Package) -> Reached {
    let mut reached = Reached::new();
    let roots = roots(house, package);
    let mut waiting: Vec<_> = roots.iter().map(|root| (root.clone(), false)).collect();
    while let Some((path, test)) = waiting.pop() {
        let Some(source) = house.sources.get(&path) else { continue };
        // Again only if it was known as a test and is found not to be one.
        if reached.get(&path).is_some_and(|before| !before || test) {
            continue;
        }
        reached.insert(path.clone(), test);
        let place = Place::of(&path, roots.contains(&path));
        declared(&source.syntax.items, &place, test, &mut waiting);
    }
    reached
}

/// Files that are compiled without being declared.
fn roots(house: &House, package: &Package) -> Vec<String> {
    let src = format!("{}/src", package.directory);
    let named = named_roots(&package.manifest).map(|path| format!("{}/{path}", package.directory));
    let is_root = |path: &str| {
        let Some(below) = path.strip_prefix(&src) else { return false };
        let bin = below.strip_prefix("/bin/");
        matches!(below, "/lib.rs" | "/main.rs")
            || bin.is_some_and(|name| !name.contains('/') || (name.ends_with("/main.rs") && name.matches('/').count() == 1))
    };
    house.sources.keys().filter(|path| is_root(path)).cloned().chain(named).collect()
}

/// `path` of `[lib]` and each `[[bin]]`.
fn named_roots(manifest: &toml::Table) -> impl Iterator<Item = &str> {
    let binaries = manifest.get("bin").and_then(Value::as_array).into_iter().flatten();
    binaries.chain(manifest.get("lib")).filter_map(|target| target.get("path")?.as_str())
}

/// Where the modules a file declares are looked for.
struct Place {
    /// `#[path]` is relative to this.
    file: PathBuf,
    /// Everything else.
    children: PathBuf,
}

impl Place {
    fn of(path: &str, root: bool) -> Self {
        let path = Path::new(path);
        let file = path.parent().unwrap_or(Path::new("")).to_owned();
        let owns_directory = root || path.file_name().is_some_and(|name| name == "mod.rs");
        let children = if owns_directory { file.clone() } else { path.with_extension("") };
        Self { file, children }
    }
}

fn declared(items: &[Item], place: &Place, test: bool, found: &mut Vec<(String, bool)>) {
    for item in items {
        let Item::Mod(module) = item else { continue };
        let test = test || is_for_tests(&module.attrs);
        let children = place.children.join(module.ident.to_string());
        if let Some((_, items)) = &module.content {
            declared(items, &Place { file: children.clone(), children }, test, found);
        } else if let Some(path) = path_attribute(&module.attrs) {
            found.push((place.file.join(path).display().to_string(), test));
        } else {
            found.push((children.with_extension("rs").display().to_string(), test));
            found.push((children.join("mod.rs").display().to_string(), test));
        }
    }
}

/// The text of `#[path = "…"]`.
fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}
