//! What is wrong, in sentences: with a file of the catalogue, or with a request.

use crate::app::Engine;
use api::{Error, Kind};
use std::fmt;

/// One thing that is wrong with a file, and what would be right.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
#[error("{file}{}: {says}", place(*line))]
pub struct Complaint {
    /// `apps/wordpress.toml`.
    pub file: String,
    /// Where in it, from 1; 0 when it is the whole file.
    pub line: usize,
    /// `ports`, `settings.WORDPRESS_DB_HOST.value`; empty when it is the whole file.
    pub field: String,
    /// The sentence, without the file.
    pub says: String,
}

fn place(line: usize) -> String {
    if line == 0 { String::new() } else { format!(", line {line}") }
}

/// Everything that is wrong with one file or several. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Complaint>);

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, complaint) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{complaint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl From<Problems> for Error {
    fn from(problems: Problems) -> Self {
        let mut lines = problems.0.iter().map(ToString::to_string);
        let first = lines.next().unwrap_or_else(|| "the catalogue is wrong".to_owned());
        Self { details: lines.collect(), ..Self::usage(first) }
    }
}

/// Why an app cannot be made as asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The catalogue has no such app.
    #[error("there is no app {id}")]
    UnknownApp {
        /// As typed.
        id: String,
        /// Apps that may have been meant, the nearest first.
        near: Vec<String>,
    },
    /// The app has no such setting.
    #[error("{app} has no setting {setting}")]
    UnknownSetting {
        /// The app.
        app: String,
        /// As typed.
        setting: String,
        /// The one that was probably meant.
        near: Option<String>,
    },
    /// Settings that must be given are not.
    #[error("{app} must be told {}: give each with -s, as in -s {}=…", list(settings), first(settings))]
    MissingSettings {
        /// The app.
        app: String,
        /// All that are missing, with what they are.
        settings: Vec<String>,
        /// What they are, in the same order, where the catalogue says it.
        about: Vec<String>,
    },
    /// A value no environment variable can have.
    #[error("the value of {setting} cannot be one: at most {most} bytes, none of them 0")]
    BadValue {
        /// Which setting.
        setting: String,
        /// Most bytes a value has.
        most: usize,
    },
    /// A setting needs the address, and there is none.
    #[error("{app} must know the address people reach it at: give it with -u, as in -u {app}.example.org")]
    MissingUrl {
        /// The app.
        app: String,
    },
    /// The address is none.
    #[error("{url:?} is not an address: write a name, as in blog.example.org, or a URL, as in https://example.org/blog")]
    BadUrl {
        /// As typed.
        url: String,
    },
    /// It needs a database, and there is none.
    #[error("{app} needs a database: {}", engines(possible))]
    MissingDatabase {
        /// The app.
        app: String,
        /// What it can use, the preferred first.
        possible: Vec<Engine>,
    },
    /// It cannot use this kind of database.
    #[error("{app} cannot use {engine}: {}", engines(possible))]
    WrongEngine {
        /// The app.
        app: String,
        /// What it was given.
        engine: Engine,
        /// What it can use; nothing when it uses no database.
        possible: Vec<Engine>,
    },
    /// Another app that must run beside it was not named.
    #[error("{app} needs {need} beside it, and was not told where that is")]
    MissingNeed {
        /// The app.
        app: String,
        /// What it needs.
        need: String,
    },
}

impl From<Problem> for Error {
    fn from(problem: Problem) -> Self {
        let kind = if matches!(problem, Problem::UnknownApp { .. }) { Kind::NotFound } else { Kind::Usage };
        let error = Self::new(kind, problem.to_string());
        match problem {
            Problem::UnknownApp { near, .. } if !near.is_empty() => error.hint(format!("did you mean {}?", near.join(", "))),
            Problem::UnknownApp { .. } => error.hint("see: roost apps"),
            Problem::UnknownSetting { near: Some(near), .. } => error.hint(format!("did you mean {near}?")),
            Problem::MissingSettings { about, .. } => Self { details: about, ..error },
            _ => error,
        }
    }
}

/// `a`, `a and b`, `a, b and c`.
pub fn list<T: AsRef<str>>(words: &[T]) -> String {
    joined(words, "and")
}

/// `a`, `a or b`, `a, b or c`.
pub fn choice<T: AsRef<str>>(words: &[T]) -> String {
    joined(words, "or")
}

fn joined<T: AsRef<str>>(words: &[T], last: &str) -> String {
    let words: Vec<&str> = words.iter().map(AsRef::as_ref).collect();
    match words.as_slice() {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., end] => format!("{} {last} {end}", most.join(", ")),
    }
}

fn first(words: &[String]) -> &str {
    words.first().map_or("", String::as_str)
}

fn engines(possible: &[Engine]) -> String {
    let words: Vec<&str> = possible.iter().map(|engine| engine.as_str()).collect();
    if words.is_empty() { "it uses no database".to_owned() } else { choice(&words) }
}
