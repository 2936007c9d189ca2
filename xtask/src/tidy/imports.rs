//! Who may import whom: the table in `ARCHITECTURE.md` against the manifests.
//!
//! The table stands below the heading `## The import table` and has rows `| crate | purpose | may import |`: the crate's name
//! in backticks in the first cell, the names it may import in backticks in the last, or `–` for none. Dependencies of tests
//! are free.

use super::{
    Finding,
    house::{House, Package},
};
use std::collections::{BTreeMap, BTreeSet};
use toml::{Table, Value};

const DOCUMENT: &str = "ARCHITECTURE.md";
const HEADING: &str = "## The import table";

/// A row of the table.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    line: usize,
    may: BTreeSet<String>,
}

/// Compares table and manifests, both ways.
pub fn check(house: &House) -> Vec<Finding> {
    let Some(document) = &house.architecture else {
        let says = format!("is missing: it has the import table, below `{HEADING}`");
        return vec![Finding::new(DOCUMENT, 1, "import-table", says)];
    };
    let (rows, mut findings) = table(document);
    let names: BTreeSet<&str> = house.packages.iter().map(|package| package.name.as_str()).collect();
    for (name, row) in &rows {
        for unknown in std::iter::once(name).chain(&row.may).filter(|name| !names.contains(name.as_str())) {
            let says = format!("the import table names `{unknown}`, but there is no such crate");
            findings.push(Finding::new(DOCUMENT, row.line, format!("import-table/{unknown}"), says));
        }
    }
    findings.extend(house.packages.iter().flat_map(|package| edges(package, rows.get(&package.name), &names)));
    findings
}

/// Edges of a package that the table does not have.
fn edges(package: &Package, row: Option<&Row>, names: &BTreeSet<&str>) -> Vec<Finding> {
    let imports: Vec<_> = imports(&package.manifest).into_iter().filter(|(_, name)| names.contains(name.as_str())).collect();
    let Some(row) = row else {
        // The workshop imports nothing of the house, and then needs no row.
        let workshop = package.directory == "xtask" && imports.is_empty();
        let says = format!("the crate `{}` is not in the import table of {DOCUMENT}: add a row", package.name);
        let missing = Finding::new(&package.manifest_path, 1, "import-table", says);
        return if workshop { Vec::new() } else { vec![missing] };
    };
    let forbidden = imports.into_iter().filter(|(_, name)| !row.may.contains(name));
    let finding = |(key, name): (String, String)| {
        let says = format!("`{}` may not import `{name}`: the import table of {DOCUMENT} has no such edge", package.name);
        Finding::new(&package.manifest_path, line_of(&package.manifest_text, &key), format!("import/{name}"), says)
    };
    forbidden.map(finding).collect()
}

/// Dependencies that are compiled into the package or its build script: the key in the manifest, and the package it names.
fn imports(manifest: &Table) -> Vec<(String, String)> {
    let platforms =
        manifest.get("target").and_then(Value::as_table).into_iter().flat_map(Table::values).filter_map(Value::as_table);
    let tables = std::iter::once(manifest).chain(platforms);
    let dependencies = tables.flat_map(|table| [table.get("dependencies"), table.get("build-dependencies")]);
    let entries = dependencies.flatten().filter_map(Value::as_table).flatten();
    entries.map(|(key, value)| (key.clone(), value.get("package").and_then(Value::as_str).unwrap_or(key).to_owned())).collect()
}

/// The line of a manifest that sets this key; 1 if it is written in a way this does not know.
pub fn line_of(text: &str, key: &str) -> usize {
    let sets = |line: &str| line.strip_prefix(key).is_some_and(|rest| rest.starts_with(['.', ' ', '=']));
    text.lines().position(sets).map_or(1, |index| index + 1)
}

/// Rows by crate, and what is wrong with the table itself.
fn table(document: &str) -> (BTreeMap<String, Row>, Vec<Finding>) {
    let (mut rows, mut findings) = (BTreeMap::new(), Vec::new());
    let mut complain = |line, says: String| findings.push(Finding::new(DOCUMENT, line, "import-table", says));
    let lines = document.lines().enumerate().map(|(index, line)| (index + 1, line.trim()));
    let section = lines.skip_while(|(_, line)| *line != HEADING).skip(1).take_while(|(_, line)| !line.starts_with("## "));
    // The first two are the header and the ruler.
    for (line, text) in section.filter(|(_, line)| line.starts_with('|')).skip(2) {
        match row(line, text) {
            Ok((name, row)) => {
                if rows.insert(name.clone(), row).is_some() {
                    complain(line, format!("the import table has two rows for `{name}`"));
                }
            }
            Err(says) => complain(line, says),
        }
    }
    if rows.is_empty() {
        complain(1, format!("has no table below `{HEADING}`"));
    }
    (rows, findings)
}

fn row(line: usize, text: &str) -> Result<(String, Row), String> {
    let cells: Vec<_> = text.trim_matches('|').split('|').map(str::trim).collect();
    let [first, _, last] = cells.as_slice() else {
        return Err(format!("a row of the import table has {} cells instead of 3: crate, purpose, may import", cells.len()));
    };
    let names = ticked(first);
    let [name] = names.as_slice() else {
        return Err("the first cell of a row of the import table is not one name in backticks".to_owned());
    };
    let may: BTreeSet<_> = ticked(last).into_iter().collect();
    if may.is_empty() && *last != "–" {
        return Err(format!("the last cell of the row of `{name}` is neither names in backticks nor –"));
    }
    Ok((name.clone(), Row { line, may }))
}

/// What stands in backticks.
pub fn ticked(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_from_their_section_only() {
        let document = "# A\n\n| `x` | no | – |\n\n## The import table\nWords.\n\n| crate | purpose | may import |\n|---|---|---|\n\
            | `api` | values | – |\n| `store` | keys, `x` | `api`, `base` |\n\n## Next\n| `y` | no | – |\n| `z` | no | – |\n| `w` | no | – |\n";
        let (rows, findings) = table(document);
        assert_eq!(findings, []);
        let may = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let expected = [("api", Row { line: 10, may: may(&[]) }), ("store", Row { line: 11, may: may(&["api", "base"]) })];
        assert_eq!(rows, expected.map(|(name, row)| (name.to_owned(), row)).into());
    }

    #[test]
    fn a_row_that_is_not_understood_is_found() {
        let says = |text| row(1, text).unwrap_err();
        assert_eq!(says("| `a` | b |"), "a row of the import table has 2 cells instead of 3: crate, purpose, may import");
        assert_eq!(says("| a | b | – |"), "the first cell of a row of the import table is not one name in backticks");
        assert_eq!(says("| `a` | b | all but cli |"), "the last cell of the row of `a` is neither names in backticks nor –");
        assert_eq!(table("# A\n").1[0].sentence, "has no table below `## The import table`");
    }

    #[test]
    fn imports_are_found_wherever_they_are_written() {
        let manifest = "[dependencies]\na.workspace = true\nb = { package = \"c\", path = \"../c\" }\n[dev-dependencies]\nd = \"1\"\n\
            [build-dependencies]\ne = \"1\"\n[target.'cfg(unix)'.dependencies]\nf = \"1\"\n";
        let found: BTreeSet<_> = imports(&manifest.parse().unwrap()).into_iter().map(|(_, name)| name).collect();
        assert_eq!(found, ["a", "c", "e", "f"].map(str::to_owned).into());
        assert_eq!((line_of(manifest, "b"), line_of(manifest, "f"), line_of(manifest, "none")), (3, 9, 1));
    }
}
