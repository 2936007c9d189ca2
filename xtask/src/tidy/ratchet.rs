//! Old sins. `xtask/ratchet.txt` lists them; they are let pass as long as they are exactly as bad as listed. One that grew is
//! found again, and one that shrank must be lowered in the list, so that it cannot grow back.

use super::{Failure, Finding, Result};
use std::{
    collections::{BTreeMap, btree_map::Entry},
    fmt::Write as _,
    fs,
    path::Path,
};

const FILE: &str = "xtask/ratchet.txt";
const HEADER: &str = "# Old sins, each with how bad it is: path, rule, number. The list may only shrink.\n\
    # `cargo xtask tidy --accept` lowers and removes entries; `--accept --grow` adds, which needs a reason in its commit.\n";

/// Path and rule.
type Sin = (String, String);

/// The list.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ratchet {
    /// How bad each is, and the line it stands on.
    listed: BTreeMap<Sin, (usize, usize)>,
}

impl Ratchet {
    /// Reads the list; without a file it is empty.
    pub fn read(root: &Path) -> Result<Self> {
        let path = root.join(FILE);
        if !path.exists() {
            return Ok(Self::default());
        }
        let text = fs::read_to_string(&path).map_err(|e| Failure::new(&path, e))?;
        Self::parse(&text).map_err(|cause| Failure::new(&path, cause))
    }

    fn parse(text: &str) -> std::result::Result<Self, String> {
        let mut listed = BTreeMap::new();
        for (index, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            let wrong = || format!("line {} is not `path rule number`, once for each: {line}", index + 1);
            let [path, rule, number] = line.split_whitespace().collect::<Vec<_>>()[..] else { return Err(wrong()) };
            let number = number.parse().map_err(|_| wrong())?;
            match listed.entry((path.to_owned(), rule.to_owned())) {
                Entry::Vacant(free) => drop(free.insert((number, index + 1))),
                Entry::Occupied(_) => return Err(wrong()),
            }
        }
        Ok(Self { listed })
    }

    /// The list that lets pass exactly these.
    pub fn of(findings: &[Finding]) -> Self {
        Self { listed: sins(findings).into_iter().map(|(sin, number)| (sin, (number, 0))).collect() }
    }

    /// This list, lowered to what is left of each entry.
    pub fn lowered(&self, findings: &[Finding]) -> Self {
        let left = sins(findings);
        let lower = |(sin, (listed, line)): (&Sin, &(usize, usize))| Some((sin.clone(), (*left.get(sin)?.min(listed), *line)));
        Self { listed: self.listed.iter().filter_map(lower).collect() }
    }

    /// Writes the list, and reads it again so that it knows its lines.
    pub fn write(&self, root: &Path) -> Result<Self> {
        let mut text = HEADER.to_owned();
        for ((path, rule), (number, _)) in &self.listed {
            // Writing to a string does not fail.
            let _ = writeln!(text, "{path} {rule} {number}");
        }
        let path = root.join(FILE);
        fs::write(&path, text).map_err(|e| Failure::new(&path, e))?;
        Self::read(root)
    }

    /// What is left: sins that are not listed or have grown, and entries that must be lowered.
    pub fn judge(&self, findings: Vec<Finding>) -> Vec<Finding> {
        let found = sins(&findings);
        let listed = |finding: &Finding| self.listed.get(&sin(finding)).map(|(number, _)| *number);
        let excess = |finding: Finding| match listed(&finding) {
            None => Some(finding),
            Some(listed) if found[&sin(&finding)] > listed => {
                let sentence = format!("{} (it has grown: {FILE} lists {listed})", finding.sentence);
                Some(Finding { sentence, ..finding })
            }
            Some(_) => None,
        };
        let mut left: Vec<_> = findings.into_iter().filter_map(excess).collect();
        left.extend(self.listed.iter().filter_map(|(sin, (listed, line))| slack(sin, *listed, found.get(sin).copied(), *line)));
        left
    }
}

fn slack((path, rule): &Sin, listed: usize, found: Option<usize>, line: usize) -> Option<Finding> {
    let sentence = match found {
        None => format!("`{rule}` of {path} is gone: remove this entry (cargo xtask tidy --accept)"),
        Some(found) if found < listed => {
            format!("`{rule}` of {path} has shrunk from {listed} to {found}: lower this entry (cargo xtask tidy --accept)")
        }
        Some(_) => return None,
    };
    Some(Finding::new(FILE, line, "ratchet", sentence))
}

fn sin(finding: &Finding) -> Sin {
    (finding.path.clone(), finding.rule.clone())
}

/// How bad each sin is. Several findings of one rule in one file are one sin.
fn sins(findings: &[Finding]) -> BTreeMap<Sin, usize> {
    let mut sins = BTreeMap::new();
    for finding in findings {
        *sins.entry(sin(finding)).or_insert(0) += finding.number;
    }
    sins
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(rule: &str, number: usize) -> Finding {
        Finding::new("a.rs", 7, rule, "is bad").measured(number)
    }

    fn judge(list: &str, findings: &[Finding]) -> Vec<String> {
        Ratchet::parse(list).unwrap().judge(findings.to_vec()).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_is_as_bad_as_listed_passes() {
        assert_eq!(judge("# c\n\na.rs file-lines 700\n", &[finding("file-lines", 700)]), [""; 0]);
        assert_eq!(judge("a.rs banned/dbg 2\n", &[finding("banned/dbg", 1), finding("banned/dbg", 1)]), [""; 0]);
    }

    #[test]
    fn what_is_not_listed_or_has_grown_does_not() {
        assert_eq!(judge("", &[finding("file-lines", 700)]), ["a.rs:7: is bad"]);
        let grown = "a.rs:7: is bad (it has grown: xtask/ratchet.txt lists 699)";
        assert_eq!(judge("a.rs file-lines 699\n", &[finding("file-lines", 700)]), [grown]);
        assert_eq!(judge("a.rs file-lines 1\nb.rs x 1\n", &[finding("file-lines", 2)]).len(), 2);
    }

    #[test]
    fn what_has_shrunk_must_be_lowered() {
        let shrunk =
            "xtask/ratchet.txt:2: `file-lines` of a.rs has shrunk from 800 to 700: lower this entry (cargo xtask tidy --accept)";
        assert_eq!(judge("#\na.rs file-lines 800\n", &[finding("file-lines", 700)]), [shrunk]);
        let gone = "xtask/ratchet.txt:1: `file-lines` of a.rs is gone: remove this entry (cargo xtask tidy --accept)";
        assert_eq!(judge("a.rs file-lines 800\n", &[]), [gone]);
    }

    #[test]
    fn accepting_lowers_and_removes_but_adds_nothing() {
        let before = Ratchet::parse("a.rs shrunk 9\na.rs gone 9\na.rs grown 9\n").unwrap();
        let now = [finding("shrunk", 8), finding("grown", 10), finding("new", 1)];
        let after = before.lowered(&now);
        let numbers: Vec<_> = after.listed.iter().map(|((_, rule), (number, _))| (rule.as_str(), *number)).collect();
        assert_eq!(numbers, [("grown", 9), ("shrunk", 8)]);
        assert_eq!(after.judge(now.to_vec()).len(), 2);
        assert_eq!(Ratchet::of(&now).judge(now.to_vec()), []);
    }

    #[test]
    fn a_list_that_is_not_understood_is_refused() {
        for wrong in ["a.rs file-lines", "a.rs file-lines many", "a.rs b 1 2", "a.rs b 1\na.rs b 2"] {
            assert!(Ratchet::parse(wrong).unwrap_err().contains("is not `path rule number`"), "{wrong}");
        }
    }
}
