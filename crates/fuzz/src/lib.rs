//! What always holds of everything that reads text or bytes of strangers, for any input: one module for each, and one binary
//! that tries it. `make fuzz` runs them; CONTRIBUTING.md says how.
//!
//! *Invariant:* a law is a function of the bytes alone, and a broken one is a panic. That nothing overflows, recurses without
//! end, takes more than 512 MiB or 10 seconds, is watched by the build's profile and by libFuzzer, and needs no words here.

pub mod archive;
pub mod catalogue;
pub mod dockerfile;
pub mod dockerignore;
pub mod layer;
pub mod manifest;
pub mod recipe;
pub mod reference;
pub mod seeds;

/// The bytes as text, as whoever reads a file takes them.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// A refusal is one sentence, on one line, and holds nothing that a terminal would act on.
fn sentence(says: &impl std::fmt::Display) {
    let says = says.to_string();
    assert!(!says.trim().is_empty(), "a refusal says nothing");
    assert!(!says.contains(char::is_control), "a refusal has control characters in it: {says:?}");
    assert!(says.chars().count() <= LONGEST_SENTENCE, "a refusal has {} characters: {says}", says.chars().count());
}

/// Most characters of a refusal: those of a sentence (`api::error::sentence`), and where it is about.
const LONGEST_SENTENCE: usize = 1024;
