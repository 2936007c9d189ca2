//! Patterns of paths: Go's `filepath.Match`, and the same with `**`, which `.dockerignore`, `--exclude` and `--parents` know.

use crate::error::Problem;

/// Most bytes of a pattern: the longest path Linux knows.
const PATTERN_MAX: usize = 4096;

/// A pattern, understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern(Vec<Token>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Token {
    /// This character.
    Is(char),
    /// `?`: one character that is no slash.
    One,
    /// `*`: any characters that are no slashes.
    Any,
    /// `**` at the end: any characters.
    Deep,
    /// `**/` is either nothing, or the next token, which this one precedes.
    Perhaps,
    /// Anything up to a slash.
    Directories,
    /// `[a-z]`, `[^a-z]`: one of these, or none of these, and no slash.
    Class(bool, Vec<(char, char)>),
}

impl Token {
    fn takes(&self, c: char) -> bool {
        match self {
            Self::Is(own) => *own == c,
            Self::One | Self::Any => c != '/',
            Self::Deep | Self::Directories => true,
            Self::Perhaps => false,
            Self::Class(wanted, ranges) => c != '/' && ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) == *wanted,
        }
    }
}

impl Pattern {
    /// A pattern in which `**` is no more than `*`, for sources of `COPY` and `ADD`.
    pub fn flat(text: &str) -> Result<Self, Problem> {
        Self::parse(text, false)
    }

    /// A pattern in which `**` reaches over slashes.
    pub fn deep(text: &str) -> Result<Self, Problem> {
        Self::parse(text, true)
    }

    fn parse(text: &str, deep: bool) -> Result<Self, Problem> {
        let wrong = |why| Problem::Pattern { pattern: text.to_owned(), why };
        if text.len() > PATTERN_MAX {
            let pattern = text.chars().take(40).chain(['…']).collect();
            return Err(Problem::Pattern { pattern, why: "it has more than 4096 bytes, as no path has" });
        }
        let mut tokens = Vec::new();
        let mut letters = text.chars().peekable();
        while let Some(c) = letters.next() {
            let token = match c {
                '*' if deep && letters.next_if_eq(&'*').is_some() => {
                    let slash = letters.next_if_eq(&'/').is_some();
                    match letters.peek() {
                        None => Token::Deep,
                        // `**.txt` at the very beginning takes any name with this end, as in Docker, if only plain letters follow.
                        Some(_) if !slash && tokens.is_empty() && !text[2..].contains(['*', '?', '[', ']', '\\']) => Token::Deep,
                        Some(_) => {
                            tokens.push(Token::Perhaps);
                            Token::Directories
                        }
                    }
                }
                '*' => Token::Any,
                '?' => Token::One,
                '[' => class(&mut letters).map_err(wrong)?,
                '\\' => Token::Is(letters.next().ok_or_else(|| wrong("a \\ at the end escapes nothing"))?),
                c => Token::Is(c),
            };
            tokens.push(token);
        }
        Ok(Self(tokens))
    }

    /// Whether the whole path matches.
    pub fn matches(&self, path: &str) -> bool {
        let mut walk = Walk::new(&self.0);
        path.chars().all(|c| walk.step(c)) && walk.is_complete()
    }

    /// Whether the path matches, or a directory above it does.
    pub fn matches_or_above(&self, path: &str) -> bool {
        let mut walk = Walk::new(&self.0);
        for c in path.chars() {
            if c == '/' && walk.is_complete() {
                return true;
            }
            if !walk.step(c) {
                return false;
            }
        }
        walk.is_complete()
    }
}

/// A match that is going on: the places in the pattern where it may be. Takes at most as many steps as the pattern has characters
/// times the path's.
struct Walk<'a> {
    tokens: &'a [Token],
    at: Vec<usize>,
    next: Vec<usize>,
    /// For each place, the last turn in which it was reached.
    reached: Vec<usize>,
    turn: usize,
}

impl<'a> Walk<'a> {
    fn new(tokens: &'a [Token]) -> Self {
        let mut walk = Self { tokens, at: Vec::new(), next: Vec::new(), reached: vec![0; tokens.len() + 1], turn: 1 };
        walk.reach(0);
        walk.turn_over();
        walk
    }

    fn reach(&mut self, place: usize) {
        if self.reached.get(place).is_some_and(|turn| *turn != self.turn) {
            self.reached[place] = self.turn;
            self.next.push(place);
        }
    }

    /// What may be empty, is: the places behind it are reached too.
    fn turn_over(&mut self) {
        let mut index = 0;
        while let Some(place) = self.next.get(index).copied() {
            match self.tokens.get(place) {
                Some(Token::Any | Token::Deep) => self.reach(place + 1),
                Some(Token::Perhaps) => {
                    self.reach(place + 1);
                    self.reach(place + 2);
                }
                _ => {}
            }
            index += 1;
        }
        std::mem::swap(&mut self.at, &mut self.next);
        self.next.clear();
        self.turn += 1;
    }

    /// Takes a character. False when nothing can match any more.
    fn step(&mut self, c: char) -> bool {
        let (at, tokens) = (std::mem::take(&mut self.at), self.tokens);
        for place in &at {
            let Some(token) = tokens.get(*place).filter(|token| token.takes(c)) else { continue };
            let stays = matches!(token, Token::Any | Token::Deep | Token::Directories);
            if stays {
                self.reach(*place);
            }
            if !stays || (*token == Token::Directories && c == '/') {
                self.reach(*place + 1);
            }
        }
        self.at = at;
        self.turn_over();
        !self.at.is_empty()
    }

    fn is_complete(&self) -> bool {
        self.reached.last().is_some_and(|turn| *turn + 1 == self.turn)
    }
}

/// Behind a `[`.
fn class(letters: &mut std::iter::Peekable<std::str::Chars<'_>>) -> Result<Token, &'static str> {
    const OPEN: &str = "a [ is not closed";
    let wanted = letters.next_if_eq(&'^').is_none();
    let mut ranges = Vec::new();
    let letter = |letters: &mut std::iter::Peekable<std::str::Chars<'_>>| match letters.next() {
        Some('\\') => letters.next().ok_or(OPEN),
        Some('-' | ']') => Err("a class begins or ends with - or ]: write \\- or \\]"),
        other => other.ok_or(OPEN),
    };
    loop {
        if !ranges.is_empty() && letters.next_if_eq(&']').is_some() {
            return Ok(Token::Class(wanted, ranges));
        }
        let low = letter(letters)?;
        let high = if letters.next_if_eq(&'-').is_some() { letter(letters)? } else { low };
        ranges.push((low, high));
    }
}

/// Whether a source of `COPY` or `ADD` means this path, both below the same root: Go's `filepath.Match`. False for what is no
/// pattern.
pub fn matches(pattern: &str, path: &str) -> bool {
    Pattern::flat(pattern).is_ok_and(|pattern| pattern.matches(path))
}

/// Whether a text has anything in it that makes it a pattern.
pub fn is_pattern(text: &str) -> bool {
    let mut letters = text.chars();
    while let Some(c) = letters.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                letters.next();
            }
            _ => {}
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn as_go_matches() {
        for (pattern, path, expected) in [
            ("*.png", "a.png", true),
            ("*.png", "a/b.png", false),
            ("index.?s", "index.js", true),
            ("index.?s", "index.s", false),
            ("arr[[]0].txt", "arr[0].txt", true),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("[^a-c]x", "/x", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a*/b", "axx/b", true),
            ("*", "", true),
            ("", "", true),
            ("**/b", "a/b", true),
            ("**/b", "x/a/b", false),
            ("a*b*c", "aXbYbZc", true),
            ("[]a]", "]", false),
            (r"[\]a]", "]", true),
            (r"[x\-]", "-", true),
            ("[a", "a", false),
            ("[-x]", "x", false),
            ("a**", "abc", true),
            ("[x-]", "x", false),
            ("a\\", "a", false),
        ] {
            assert_eq!(matches(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn two_stars_reach_over_slashes() {
        for (pattern, path, expected) in [
            ("**", "a/b/c", true),
            ("**/*.go", "a.go", true),
            ("**/*.go", "x/y/a.go", true),
            ("a/**", "a/b/c", true),
            ("a/**", "a", false),
            ("a/**/z", "a/z", true),
            ("a/**/z", "a/b/c/z", true),
            ("a/**/z", "a/bz", false),
            ("**/foo", "xfoo", false),
            ("**foo", "xfoo", true),
            ("**.txt", "a/b.txt", true),
            ("**foo*", "xfoo1", false),
            ("a/**b", "a/x/b", true),
            ("a/**b", "a/b", true),
            ("**/a/**/b", "x/a/y/b", true),
        ] {
            assert_eq!(Pattern::deep(pattern).unwrap().matches(path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn a_directory_above_matches_too() {
        let above = |pattern: &str, path: &str| Pattern::deep(pattern).unwrap().matches_or_above(path);
        assert!(above("a", "a/b/c") && above("a/b", "a/b/c") && above("*/b", "a/b/c") && above("**/b", "x/a/b/c"));
        assert!(!above("b", "a/b/c") && !above("a/b/c/d", "a/b/c") && !above("a", "ab/c"));
    }

    #[test]
    fn patterns_are_noticed() {
        assert!(is_pattern("a*") && is_pattern("[x]") && is_pattern("?"));
        assert!(!is_pattern("a/b.c") && !is_pattern(r"a\*"));
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let path = "a".repeat(10_000);
        assert!(!matches(&"*a".repeat(100), &format!("{path}b")));
    }

    proptest! {
        #[test]
        fn no_pattern_panics(pattern in r"[a-c*?/\[\]\\^-]{0,16}", path in "[a-c/]{0,12}") {
            let _ = (Pattern::flat(&pattern).map(|p| p.matches(&path)), Pattern::deep(&pattern).map(|p| p.matches(&path)));
        }

        #[test]
        fn plain_paths_match_themselves(path in "[a-c/.]{0,12}", other in "[a-c/.]{0,12}") {
            prop_assert!(matches(&path, &path));
            prop_assert_eq!(matches(&path, &other), path == other);
        }
    }
}
