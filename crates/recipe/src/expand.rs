//! Variables in texts, as Docker expands them: `$x`, `${x}`, and with `:-` `-` `:+` `+` `:?` `?` `#` `##` `%` `%%` `/` `//`.
//!
//! Quotes and escapes are resolved on the way: nothing is special between single quotes; between double quotes only `$`, and the
//! escape character before `"`, `$` and itself. A variable's value is never looked at again.

mod pattern;
mod scan;

use pattern::Pattern;
use scan::{Output, Scanner};
use thiserror::Error as ThisError;

/// Most bytes one text may expand to. Longer ones come from files that double a variable line by line.
pub const EXPANDED_MAX: usize = 1024 * 1024;

/// Most bytes all texts of a stage, and of those it is based on, may expand to; also those before the first stage.
pub const TOGETHER_MAX: usize = 4 * 1024 * 1024;

/// Most `${…}` within each other.
const DEPTH_MAX: usize = 32;

/// What stands in the way of an expansion.
#[derive(Clone, Debug, PartialEq, Eq, ThisError)]
#[allow(missing_docs, reason = "each is its sentence")]
pub enum ExpandError {
    #[error("{text} has an open {quote}: close it, or write {escape}{quote} if it is meant")]
    OpenQuote { text: String, quote: char, escape: char },
    #[error("{text} has an open ${{: add }}")]
    OpenBrace { text: String },
    #[error("{text} has a ${{ without a name: write ${{name}}, or {escape}$ if a dollar is meant")]
    NoName { text: String, escape: char },
    #[error("{text} has {modifier} after a variable's name, which means nothing: there are :- - :+ + :? ? # ## % %% / //")]
    Modifier { text: String, modifier: String },
    #[error("{text} lacks the second /: write ${{name/pattern/replacement}}")]
    NoReplacement { text: String },
    #[error("{text} has \\{letter} in a pattern: only \\*, \\?, \\\\, \\}} and \\/ are possible")]
    PatternEscape { text: String, letter: String },
    #[error("{name}: {message}")]
    Demanded { name: String, message: String },
    #[error("{text} is nested deeper than {max}")]
    TooDeep { text: String, max: usize },
    #[error("a text expands to more than {max} bytes: does a variable contain itself again and again?")]
    TooLong { max: usize },
    #[error("a pattern of {pattern} characters is looked for in {value}, which is too much: make one of them shorter")]
    TooMuch { pattern: usize, value: usize },
}

/// Looks a variable up; nothing when it is not set.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Expands a text to one text.
pub fn word(text: &str, escape: char, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    let mut scanner = Scanner::new(text, escape, lookup);
    scanner.all().map(|output| output.text)
}

/// Expands a text and splits it at blanks that are not quoted, also those that came with a value.
pub fn words(text: &str, escape: char, lookup: Lookup<'_>) -> Result<Vec<String>, ExpandError> {
    let mut scanner = Scanner::new(text, escape, lookup);
    scanner.all().map(Output::words)
}

/// Expands the text of a heredoc: quotes are nothing special in it, and a backslash always escapes.
pub fn heredoc(text: &str, lookup: Lookup<'_>) -> Result<String, ExpandError> {
    let mut scanner = Scanner::new(text, '\\', lookup).without_quotes();
    scanner.all().map(|output| output.text)
}

#[cfg(test)]
mod tests;
