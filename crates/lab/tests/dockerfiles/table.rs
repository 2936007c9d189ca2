//! The table of differences that are right: `crates/lab/dockerfiles/README.md` has a row for each.
//!
//! `| case | where | roost | buildah | why |`: cases separated by commas, or `all`; what the two make of it as the test prints it,
//! or `…` for whatever it is. A row that nothing needs fails the test, like a difference that has no row.

use crate::compare::Difference;
use std::{collections::BTreeSet, path::Path};

/// A row.
#[derive(Debug, PartialEq, Eq)]
struct Row {
    cases: Vec<String>,
    at: String,
    roost: String,
    buildah: String,
    why: String,
}

/// The rows, and which of them were needed.
pub struct Table {
    rows: Vec<Row>,
    needed: BTreeSet<usize>,
}

/// Whether a text is what a pattern says, in which one `…` stands for whatever it is.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('…') {
        Some((head, tail)) => text.len() >= head.len() + tail.len() && text.starts_with(head) && text.ends_with(tail),
        None => pattern == text,
    }
}

fn cell(text: &str) -> String {
    text.trim().trim_matches('`').replace("\\|", "|")
}

impl Table {
    /// Reads the table.
    pub fn read(file: &Path) -> Self {
        let text = std::fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        Self::of(&text)
    }

    fn of(text: &str) -> Self {
        let lines = text.lines().filter(|line| line.starts_with('|')).skip(2);
        let row = |line: &str| {
            let hidden = line.replace("\\|", "\u{1}");
            let cells: Vec<String> =
                hidden.trim_matches('|').split('|').map(|text| cell(&text.replace('\u{1}', "\\|"))).collect();
            let [cases, at, roost, buildah, why] =
                <[String; 5]>::try_from(cells).unwrap_or_else(|_| panic!("no row of five: {line}"));
            assert!(!why.is_empty(), "a difference without a reason: {line}");
            Row { cases: cases.split(',').map(|case| case.trim().to_owned()).collect(), at, roost, buildah, why }
        };
        Self { rows: lines.map(row).collect(), needed: BTreeSet::new() }
    }

    /// Why a difference is right, if it is.
    pub fn why(&mut self, case: &str, found: &Difference) -> Option<&str> {
        let fits = |row: &&Row| {
            row.cases.iter().any(|one| one == "all" || one == case)
                && matches(&row.at, &found.at)
                && matches(&row.roost, &found.roost)
                && matches(&row.buildah, &found.buildah)
        };
        let (number, row) = self.rows.iter().enumerate().find(|(_, row)| fits(row))?;
        self.needed.insert(number);
        Some(&row.why)
    }

    /// Rows for differences that were not found.
    pub fn idle(&self) -> Vec<String> {
        let rows = self.rows.iter().enumerate().filter(|(number, _)| !self.needed.contains(number));
        rows.map(|(_, row)| format!("{} {}: nothing differs there (any more): remove the row", row.cases.join(", "), row.at))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(at: &str, roost: &str) -> Difference {
        Difference { at: at.to_owned(), roost: roost.to_owned(), buildah: "x|y".to_owned() }
    }

    #[test]
    fn rows_are_found_and_missed() {
        let text = "# T\n\n| case | where | roost | buildah | why |\n|---|---|---|---|---|\n| a, b | `/x mode` | 1 | `x\\|y` | so |\n| all | /…/z | … | … | no |\n";
        let mut table = Table::of(text);
        assert_eq!(table.why("a", &difference("/x mode", "1")), Some("so"));
        assert_eq!(table.why("c", &difference("/x mode", "1")), None);
        assert_eq!(table.why("a", &difference("/x mode", "2")), None);
        assert_eq!(table.idle(), ["all /…/z: nothing differs there (any more): remove the row"]);
        assert_eq!(table.why("c", &difference("/y/z", "2")), Some("no"));
        assert_eq!(table.idle(), Vec::<String>::new());
    }
}
