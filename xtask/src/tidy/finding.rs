//! One thing that is against a rule.

use std::fmt;

/// Printed as `path:line: sentence`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// Below the root of the workspace.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// One sentence: what is wrong, and what would be right.
    pub sentence: String,
    /// Which rule, and of what: `file-lines`, `function-lines/Store::read`. With the path, the name of the sin in the ratchet.
    pub rule: String,
    /// How bad: lines, parameters… or 1.
    pub number: usize,
}

impl Finding {
    /// A sin without degrees.
    pub fn new(path: &str, line: usize, rule: impl Into<String>, sentence: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, sentence: sentence.into(), rule: rule.into(), number: 1 }
    }

    /// How bad it is.
    pub const fn measured(mut self, number: usize) -> Self {
        self.number = number;
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.sentence)
    }
}
