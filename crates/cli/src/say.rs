//! Talk, as opposed to data: goes to standard error.

use api::Error;
use std::io::{IsTerminal, Write};

/// An error: what failed, why, what to do next.
pub fn error(error: &Error) {
    let mut out = std::io::stderr().lock();
    let _ = write!(out, "{}: {}", paint("error", "31"), lines(error));
}

/// The sentence, with the nearest known words beside it, then facts and hint, a line each.
fn lines(error: &Error) -> String {
    let near = error.hint.as_deref().filter(|hint| hint.starts_with("did you mean "));
    let mut text = match near {
        Some(near) => format!("{} ({near})\n", error.message),
        None => format!("{}\n", error.message),
    };
    let hint = error.hint.iter().filter(|_| near.is_none());
    text.extend(error.details.iter().chain(hint).map(|line| format!("  {line}\n")));
    text
}

/// Something was done.
pub fn done(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{} {line}", paint("✓", "32"));
}

/// Something to know.
pub fn note(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// Colour never carries meaning alone, and is absent without a terminal or with `NO_COLOR` set.
fn paint(text: &str, colour: &str) -> String {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty()) || !std::io::stderr().is_terminal();
    if plain { text.to_owned() } else { format!("\u{1b}[{colour}m{text}\u{1b}[0m") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_as_people_see_them() {
        let near = Error::not_found("no server s4").hint("did you mean s1, s2?");
        assert_eq!(lines(&near), "no server s4 (did you mean s1, s2?)\n");
        let told = Error::failed("it broke").detail("a fact").hint("see: roost ls");
        assert_eq!(lines(&told), "it broke\n  a fact\n  see: roost ls\n");
    }
}
