//! `.dockerignore`: what of the context is as good as not there. Also `--exclude`, which speaks the same language.

use crate::{
    error::{Error, Place, Problem},
    glob::Pattern,
    path,
};

/// Most patterns: each path is compared with each.
const PATTERNS_MAX: usize = 10_000;

/// Patterns, the last that matches decides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    rules: Vec<Rule>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Rule {
    pattern: Pattern,
    /// `!`: not ignored after all.
    keeps: bool,
}

impl Ignore {
    /// Reads a `.dockerignore`. Lines that begin with `#` are comments, `!` takes back, slashes at either end mean nothing.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Self::default();
        for (line, number) in text.lines().zip(1..) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            let rule = rule(line.trim()).map_err(|problem| Place::Ignore(number).problem(problem))?;
            ignore.rules.push(rule);
            if ignore.rules.len() > PATTERNS_MAX {
                return Err(Place::Ignore(number).problem(Problem::TooManyPatterns { max: PATTERNS_MAX }));
            }
        }
        Ok(ignore)
    }

    /// The patterns of `--exclude`, each as a line of a `.dockerignore`.
    pub fn of(patterns: &[String]) -> Result<Self, Problem> {
        patterns.iter().map(|pattern| rule(pattern.trim())).collect::<Result<_, _>>().map(|rules| Self { rules })
    }

    /// Whether a path below the context's root is ignored: because it matches, or a directory above it does. The root never is.
    pub fn ignores(&self, path: &str) -> bool {
        let path = path::clean(path.trim_start_matches('/'));
        if path == "." {
            return false;
        }
        let mut ignored = false;
        for rule in &self.rules {
            // A pattern that would change nothing need not be asked.
            if rule.keeps == ignored && rule.pattern.matches_or_above(&path) {
                ignored = !rule.keeps;
            }
        }
        ignored
    }

    /// Whether nothing below this directory can be wanted, so that nobody has to look into it.
    pub fn prunes(&self, directory: &str) -> bool {
        !self.rules.iter().any(|rule| rule.keeps) && self.ignores(directory)
    }
}

fn rule(line: &str) -> Result<Rule, Problem> {
    let (keeps, pattern) = line.strip_prefix('!').map_or((false, line), |rest| (true, rest.trim()));
    if pattern.is_empty() {
        return Err(Problem::Pattern { pattern: line.to_owned(), why: "nothing follows the !" });
    }
    let cleaned = path::clean(pattern);
    let relative = cleaned.strip_prefix('/').filter(|rest| !rest.is_empty()).unwrap_or(&cleaned);
    Ok(Rule { pattern: Pattern::deep(relative)?, keeps })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ignored(text: &str, paths: &[&str]) -> String {
        let ignore = Ignore::parse(text).unwrap();
        paths.iter().copied().filter(|path| ignore.ignores(path)).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_last_match_wins() {
        let paths = ["README.md", "README-secret.md", "a.md", "docs/b.md", "x/y/node_modules/z", "node_modules/z", "src/main.rs"];
        assert_eq!(ignored("*.md\n!README.md", &paths), "README-secret.md a.md");
        assert_eq!(ignored("*.md\n!README*.md\nREADME-secret.md", &paths), "README-secret.md a.md");
        assert_eq!(ignored("*.md\nREADME-secret.md\n!README*.md", &paths), "a.md");
        assert_eq!(ignored("**/*.md", &paths), "README.md README-secret.md a.md docs/b.md");
        assert_eq!(ignored("**/node_modules", &paths), "x/y/node_modules/z node_modules/z");
        assert_eq!(ignored("*/*.md", &paths), "docs/b.md");
        assert_eq!(ignored("*\n!src", &["a", "b/c", "src", "src/main.rs"]), "a b/c");
    }

    #[test]
    fn spellings() {
        for text in ["docs", "/docs", "docs/", "/docs/", "./docs", "  docs  ", "x/../docs", "\u{feff}docs", "# c\n\ndocs\r\n"] {
            assert_eq!(ignored(text, &["docs", "docs/a", "a/docs", "docsx"]), "docs docs/a", "{text:?}");
        }
        assert_eq!(ignored(" #x\n!  y", &["#x", "y"]), "#x");
        assert_eq!(ignored("**", &[".", "", "a", "a/b"]), "a a/b");
        assert_eq!(ignored("/\n.\n../a", &["a", "b"]), "");
    }

    #[test]
    fn whole_directories() {
        let ignore = Ignore::parse("a\nb/*").unwrap();
        assert!(ignore.prunes("a") && ignore.prunes("a/x") && !ignore.prunes("b"));
        let ignore = Ignore::parse("a\n!a/keep").unwrap();
        assert!(ignore.ignores("a") && !ignore.ignores("a/keep") && !ignore.prunes("a"));
    }

    #[test]
    fn refusals() {
        let says = |text: &str| Ignore::parse(text).unwrap_err().to_string();
        assert_eq!(says("a\n!"), ".dockerignore line 2: ! is no pattern: nothing follows the !");
        assert_eq!(says("[a"), ".dockerignore line 1: [a is no pattern: a [ is not closed");
        assert_eq!(says("[\u{1b}[2J"), ".dockerignore line 1: [\\u{1b}[2J is no pattern: a [ is not closed");
        assert_eq!(says(&"a\n".repeat(10_001)), ".dockerignore line 10001: there are more than 10000 patterns");
    }

    proptest! {
        #[test]
        fn what_is_below_an_ignored_directory_is_ignored(pattern in "[a-c*?/]{1,6}", path in "[a-c]{1,2}(/[a-c]{1,2}){0,3}") {
            if let Ok(ignore) = Ignore::parse(&pattern) && ignore.ignores(&path) {
                let below = format!("{path}/x");
                prop_assert!(ignore.ignores(&below));
            }
        }

        #[test]
        fn no_text_panics(text in "[a-c*?/!#\\\\\\[\n .]{0,40}", path in "[a-c/.]{0,12}") {
            let _ = Ignore::parse(&text).map(|ignore| (ignore.ignores(&path), ignore.prunes(&path)));
        }
    }
}
