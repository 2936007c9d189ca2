//! Patterns of the shell in `${x#…}`, `${x%…}` and `${x/…/…}`: `*` is any text, `?` any character, `\` takes their meaning away.

use super::ExpandError;

/// Most steps a match may take: characters of the pattern times characters of the value.
const STEPS_MAX: usize = 1 << 24;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Token {
    Is(char),
    One,
    Any,
}

impl Token {
    /// Like Docker, no wildcard reaches over the end of a line.
    const fn takes(self, c: char) -> bool {
        match self {
            Self::Is(own) => own == c,
            Self::One | Self::Any => c != '\n',
        }
    }
}

/// A pattern, understood.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Token>);

impl Pattern {
    /// Understands a pattern, or says which letter it escapes in vain.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Vec::new();
        let mut letters = text.chars();
        while let Some(c) = letters.next() {
            tokens.push(match c {
                '*' => Token::Any,
                '?' => Token::One,
                '\\' => match letters.next() {
                    Some(c @ ('*' | '?' | '\\' | '}' | '/')) => Token::Is(c),
                    other => return Err(other.map(String::from).unwrap_or_default()),
                },
                c => Token::Is(c),
            });
        }
        Ok(Self(tokens))
    }

    /// The value without what matches at its beginning.
    pub fn without_prefix(&self, value: &str, longest: bool) -> Result<String, ExpandError> {
        let letters: Vec<char> = value.chars().collect();
        let end = self.ends(&letters, longest)?.first().copied().flatten();
        Ok(letters.into_iter().skip(end.unwrap_or_default()).collect())
    }

    /// The value without what matches at its end.
    pub fn without_suffix(&self, value: &str, longest: bool) -> Result<String, ExpandError> {
        let backwards = Self(self.0.iter().rev().copied().collect());
        let turned: String = value.chars().rev().collect();
        Ok(backwards.without_prefix(&turned, longest)?.chars().rev().collect())
    }

    /// The value with its first match, or all, replaced by this text.
    pub fn replace(&self, value: &str, replacement: &str, all: bool) -> Result<String, ExpandError> {
        let letters: Vec<char> = value.chars().collect();
        let ends = self.ends(&letters, true)?;
        let (mut result, mut at, mut last_end) = (String::new(), 0, None);
        while let Some(end) = ends.get(at) {
            // An empty match right behind another counts for nothing.
            let matched = end.filter(|end| *end > at || last_end != Some(at));
            if let Some(end) = matched {
                result.push_str(replacement);
                if !all {
                    result.extend(letters.get(end..).unwrap_or_default());
                    return Ok(result);
                }
                last_end = Some(end);
                if end > at {
                    at = end;
                    continue;
                }
            }
            result.extend(letters.get(at));
            at += 1;
        }
        Ok(result)
    }

    /// For each place in the value, and its end, where the shortest or longest match that begins there ends.
    fn ends(&self, letters: &[char], longest: bool) -> Result<Vec<Option<usize>>, ExpandError> {
        let tokens = &self.0;
        if (tokens.len() + 1).saturating_mul(letters.len() + 1) > STEPS_MAX {
            return Err(ExpandError::TooMuch { pattern: tokens.len(), value: letters.len() });
        }
        let better = |one: Option<usize>, other: Option<usize>| match (one, other) {
            (Some(one), Some(other)) => Some(if longest { one.max(other) } else { one.min(other) }),
            (one, other) => one.or(other),
        };
        let mut ends = vec![None; letters.len() + 1];
        // `next[j]`: where a match of the pattern from its token j on ends, that begins at the place to the right.
        let mut next: Vec<Option<usize>> = vec![None; tokens.len() + 1];
        for at in (0..=letters.len()).rev() {
            let letter = letters.get(at).copied();
            let mut here: Vec<Option<usize>> = vec![None; tokens.len() + 1];
            here[tokens.len()] = Some(at);
            for (j, token) in tokens.iter().enumerate().rev() {
                let taken = letter.is_some_and(|c| token.takes(c));
                here[j] = match token {
                    Token::Any => better(here[j + 1], next[j].filter(|_| taken)),
                    _ => next[j + 1].filter(|_| taken),
                };
            }
            ends[at] = here.first().copied().flatten();
            next = here;
        }
        Ok(ends)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::parse(text).unwrap()
    }

    #[test]
    fn shortest_and_longest() {
        let path = "/a/b/c.tar.gz";
        assert_eq!(pattern("*/").without_prefix(path, false).unwrap(), "a/b/c.tar.gz");
        assert_eq!(pattern("*/").without_prefix(path, true).unwrap(), "c.tar.gz");
        assert_eq!(pattern(".*").without_suffix(path, false).unwrap(), "/a/b/c.tar");
        assert_eq!(pattern(".*").without_suffix(path, true).unwrap(), "/a/b/c");
        assert_eq!(pattern("x*").without_prefix(path, true).unwrap(), path);
        assert_eq!(pattern("").without_suffix(path, true).unwrap(), path);
        assert_eq!(pattern("\\*?").without_prefix("*ab", true).unwrap(), "b");
        assert_eq!(pattern("*").without_prefix("a\nb", true).unwrap(), "\nb");
    }

    #[test]
    fn replacing() {
        let replaced = |p: &str, value: &str, all| pattern(p).replace(value, "-", all).unwrap();
        assert_eq!(replaced("a?", "abacad", false), "-acad");
        assert_eq!(replaced("a?", "abacad", true), "---");
        assert_eq!(replaced("b*", "abacad", true), "a-");
        assert_eq!(replaced("", "ab", false), "-ab");
        assert_eq!(replaced("", "ab", true), "-a-b-");
        assert_eq!(replaced("*", "ab", true), "-");
        assert_eq!(replaced("x", "ab", true), "ab");
        assert_eq!(replaced("", "", true), "-");
    }

    #[test]
    fn no_match_takes_for_ever() {
        let value = "a".repeat(100_000);
        assert!(pattern(&"a*".repeat(50)).replace(&value, "", true).is_ok());
        assert!(pattern(&"*a".repeat(500)).replace(&value, "", true).is_err());
    }
}
