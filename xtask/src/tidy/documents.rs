//! Documents that must keep up: each dependency is argued for in `docs/dependencies.md`.

use super::{
    Finding,
    house::House,
    imports::{line_of, ticked},
};
use std::collections::BTreeSet;
use toml::Value;

const DOCUMENT: &str = "docs/dependencies.md";

/// Compares the workspace's external dependencies with the rows of the document, both ways.
pub fn check(house: &House) -> Vec<Finding> {
    let Some(document) = &house.dependencies else {
        return vec![Finding::new(DOCUMENT, 1, "dependency", "is missing: it says of each dependency why it and not another")];
    };
    let used = external(&house.workspace);
    let rows = rows(document);
    let argued: BTreeSet<&str> = rows.iter().map(|(_, name)| name.as_str()).collect();
    let unargued = used.iter().filter(|name| !argued.contains(*name)).map(|name| {
        let says = format!("the dependency `{name}` has no row in {DOCUMENT}: say why it and not another, and its licence");
        Finding::new("Cargo.toml", line_of(&house.workspace_text, name), format!("dependency/{name}"), says)
    });
    let stale = rows.iter().filter(|(_, name)| !used.contains(name.as_str())).map(|(line, name)| {
        let says = format!("`{name}` is no dependency of the workspace: remove the row");
        Finding::new(DOCUMENT, *line, format!("dependency/{name}"), says)
    });
    unargued.chain(stale).collect()
}

/// Names in `[workspace.dependencies]` that are not our own.
fn external(workspace: &toml::Table) -> BTreeSet<&str> {
    let dependencies = workspace.get("workspace").and_then(|workspace| workspace.get("dependencies")).and_then(Value::as_table);
    let outside = dependencies.into_iter().flatten().filter(|(_, value)| value.get("path").is_none());
    outside.map(|(name, _)| name.as_str()).collect()
}

/// Names in the first cell of each row, with their lines.
fn rows(document: &str) -> Vec<(usize, String)> {
    let rows = document.lines().enumerate().filter(|(_, line)| line.starts_with('|'));
    let first = |line: &str| line.split('|').nth(1).map(ticked).unwrap_or_default();
    rows.flat_map(|(index, line)| first(line).into_iter().map(move |name| (index + 1, name))).collect()
}
