//! A source file: its text, its syntax, and which part of it is tests.

use super::Finding;
use syn::{Attribute, Item, Meta, spanned::Spanned as _};

/// A file that can be parsed.
pub struct Source {
    /// As it is on the disk.
    pub text: String,
    /// The same, parsed; spans know their lines.
    pub syntax: syn::File,
    /// The whole file is for tests: by its place, or because only test modules lead to it.
    pub test: bool,
}

impl Source {
    /// Parses; what cannot be parsed is a finding.
    pub fn parse(path: &str, text: String) -> Result<Self, Finding> {
        match syn::parse_file(&text) {
            Ok(syntax) => Ok(Self { text, syntax, test: lies_among_tests(path) }),
            Err(e) => Err(Finding::new(path, e.span().start().line, "syntax", format!("cannot be parsed: {e}"))),
        }
    }

    /// Lines before the tests at the end of the file.
    pub fn lines(&self) -> usize {
        let tests = self.syntax.items.iter().find_map(|item| match item {
            Item::Mod(module) if module.content.is_some() && is_for_tests(&module.attrs) => Some(module.span().start().line),
            _ => None,
        });
        tests.map_or_else(|| self.text.lines().count(), |line| line - 1)
    }
}

/// Places whose files are tests: everything but `src`, and `tests` within it.
fn lies_among_tests(path: &str) -> bool {
    let mut parts = path.split('/').skip_while(|part| *part != "src").peekable();
    parts.peek().is_none() || parts.any(|part| part == "tests" || part == "tests.rs")
}

/// Is what carries these attributes there in tests only?
pub fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => {
            let condition: String = list.tokens.to_string().split_whitespace().collect();
            condition == "test" || condition.starts_with("all(test,")
        }
        // `#[test]`, `#[tokio::test]`.
        other => other.path().segments.last().is_some_and(|segment| segment.ident == "test"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tests_do_not_count() {
        let text = "//! M.\n\nfn a() {}\n\n#[cfg(test)]\nmod tests {\n    fn b() {}\n}\n";
        assert_eq!(Source::parse("crates/a/src/lib.rs", text.to_owned()).unwrap().lines(), 4);
        let outside = "//! M.\n\nfn a() {}\n\n#[cfg(test)]\nmod tests;\n";
        assert_eq!(Source::parse("crates/a/src/lib.rs", outside.to_owned()).unwrap().lines(), 6);
    }

    #[test]
    fn tests_are_known_by_their_place() {
        for path in ["crates/a/tests/b.rs", "crates/a/src/b/tests.rs", "crates/a/src/tests/b.rs", "crates/a/benches/b.rs"] {
            assert!(lies_among_tests(path), "{path}");
        }
        for path in ["crates/a/src/lib.rs", "crates/tests/src/lib.rs", "crates/a/src/contests.rs", "xtask/src/main.rs"] {
            assert!(!lies_among_tests(path), "{path}");
        }
    }

    #[test]
    fn tests_are_known_by_their_attributes() {
        let is = |text: &str| is_for_tests(&syn::parse_str::<syn::ItemFn>(&format!("{text} fn f() {{}}")).unwrap().attrs);
        for text in ["#[test]", "#[tokio::test]", "#[cfg(test)]", "#[cfg(all(test, unix))]", "#[must_use] #[test]"] {
            assert!(is(text), "{text}");
        }
        for text in ["", "#[cfg(unix)]", "#[cfg(any(test, unix))]", "#[cfg(not(test))]", "#[testing]"] {
            assert!(!is(text), "{text}");
        }
    }
}
