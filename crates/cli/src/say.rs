//! Talk, as opposed to data: goes to standard error.

use api::Error;
use std::io::{IsTerminal, Write};

/// An error: what failed, why, what to do next.
pub fn error(error: &Error) {
    let mut out = std::io::stderr().lock();
    let _ = writeln!(out, "{}: {}", paint("error", "31"), error.message);
    for line in &error.details {
        let _ = writeln!(out, "  {line}");
    }
    if let Some(hint) = &error.hint {
        let _ = writeln!(out, "  {hint}");
    }
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
