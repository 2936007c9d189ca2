//! Text to logical lines and words: what both languages share before a word of theirs is understood.

pub mod heredoc;
pub mod lines;
pub mod words;
