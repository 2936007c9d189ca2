//! The one error that crosses crate and process boundaries on its way to a person.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Shorthand used throughout the house.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Most characters of a sentence; longer ones, which quote long words, lose their middle.
const SENTENCE_MAX: usize = 600;

/// A sentence that quotes somebody else's text: [`printable`], and without its middle if it is too long.
pub fn sentence(text: impl Into<String>) -> String {
    let sentence = printable(text);
    let length = sentence.chars().count();
    if length <= SENTENCE_MAX {
        return sentence;
    }
    let half = SENTENCE_MAX / 2;
    let (head, tail) = (sentence.chars().take(half), sentence.chars().skip(length - half));
    head.chain(['…']).chain(tail).collect()
}

/// Text that is shown to a person and quotes somebody else's: what a terminal would act on, and what would begin another line,
/// is written as an escape, as in `\u{1b}`.
pub fn printable(text: impl Into<String>) -> String {
    let text = text.into();
    if !text.contains(char::is_control) {
        return text;
    }
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

/// What kind of "no" this is. Each kind has one exit code and one HTTP status, and both are part of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It was tried and failed.
    Failed,
    /// The request itself is wrong: bad syntax, a bad value, an impossible combination.
    Usage,
    /// Something named does not exist.
    NotFound,
    /// It exists already, or changed meanwhile.
    Conflict,
    /// Who asks may not.
    NotAllowed,
    /// Not placed, or not healthy in time.
    NotPlaced,
    /// A change failed and was taken back.
    RolledBack,
    /// The control plane, or the server asked for, does not answer.
    Unreachable,
}

impl Kind {
    /// The exit code of `roost` (COMMANDS.md, "Exit codes").
    pub const fn exit_code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::NotFound => 3,
            Self::Conflict => 4,
            Self::NotAllowed => 5,
            Self::NotPlaced => 6,
            Self::RolledBack => 7,
            Self::Unreachable => 8,
        }
    }

    /// The HTTP status (RFC 9110, section 15).
    pub const fn http_status(self) -> u16 {
        match self {
            Self::Failed => 500,
            Self::Usage => 400,
            Self::NotFound => 404,
            Self::Conflict => 409,
            Self::NotAllowed => 403,
            Self::NotPlaced => 422,
            Self::RolledBack => 424,
            Self::Unreachable => 503,
        }
    }
}

/// An error for a person: a kind, one sentence, details in words, and what to do next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Error {
    /// Decides exit code and HTTP status.
    pub kind: Kind,
    /// One sentence, lower case, without a full stop: what was wrong, where, what would be right.
    pub message: String,
    /// Further lines, each one fact: counts of reasons, causes, last log lines.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
    /// The next thing to do, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}

impl Error {
    /// An error of this kind with this sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), details: Vec::new(), hint: None }
    }
    /// It was tried and failed.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Failed, message)
    }
    /// The request is wrong.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }
    /// Something named does not exist.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(Kind::NotFound, message)
    }
    /// It exists already, or changed meanwhile.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(Kind::Conflict, message)
    }
    /// Who asks may not.
    pub fn not_allowed(message: impl Into<String>) -> Self {
        Self::new(Kind::NotAllowed, message)
    }
    /// Nothing could be placed, or was not healthy in time.
    pub fn not_placed(message: impl Into<String>) -> Self {
        Self::new(Kind::NotPlaced, message)
    }
    /// Somebody does not answer.
    pub fn unreachable(message: impl Into<String>) -> Self {
        Self::new(Kind::Unreachable, message)
    }
    /// Adds a line of detail.
    #[must_use]
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
    /// Says what to do next.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
    /// Walks a source chain once, so that each cause becomes one detail line.
    pub fn from_chain(kind: Kind, message: impl Into<String>, source: &dyn std::error::Error) -> Self {
        let mut error = Self::new(kind, message).detail(source.to_string());
        let mut next = source.source();
        while let Some(cause) = next {
            error.details.push(cause.to_string());
            next = cause.source();
        }
        error
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_sentence_keeps_its_ends() {
        let whole = format!("begin{}end", "é".repeat(SENTENCE_MAX - 8));
        assert_eq!(sentence(whole.clone()), whole);
        let cut = sentence(format!("begin{}end", "\0".repeat(4 << 20)));
        assert!(cut.starts_with("begin") && cut.ends_with("end") && cut.chars().count() == SENTENCE_MAX + 1, "{cut}");
    }

    #[test]
    fn nothing_that_is_shown_moves_the_cursor() {
        assert_eq!(sentence("a\nb"), "a\\nb");
        assert_eq!(printable("größe: 1 – ♥"), "größe: 1 – ♥");
        assert_eq!(printable("a\nb\tc\r\u{1b}[2Jd\u{9b}e\0"), "a\\nb\\tc\\r\\u{1b}[2Jd\\u{9b}e\\u{0}");
    }
}
