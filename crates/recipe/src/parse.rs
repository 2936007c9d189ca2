//! A logical line to an instruction: which word it is, and who understands the rest.

pub mod command;
pub mod files;
pub mod flags;
pub mod from;
pub mod health;
pub mod pairs;
pub mod simple;

use crate::{
    error::Problem,
    instruction::Verb,
    suggest,
    text::{
        heredoc::Heredoc,
        lines::{self, Line},
        words::{self, Split},
    },
};
use flags::{Flags, Takes};
use from::Opening;

/// The words of a Dockerfile.
pub const WORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

/// What a line of a Dockerfile is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a stage.
    From(Opening),
    /// An instruction of the stage.
    Verb(Verb),
}

/// A line for those who understand one instruction.
#[derive(Clone, Debug)]
pub struct Text<'a> {
    /// Name, flags, rest.
    pub split: Split,
    /// Text below it.
    pub heredocs: &'a [Heredoc],
    /// What escapes.
    pub escape: char,
}

impl Text<'_> {
    /// Refuses flags, for instructions that have none.
    pub fn no_flags(&self, instruction: &'static str) -> Result<(), Problem> {
        self.flags(instruction, &[]).map(|_| ())
    }

    /// The instruction's flags.
    pub fn flags(&self, instruction: &'static str, known: &[(&'static str, Takes)]) -> Result<Flags, Problem> {
        Flags::read(instruction, &self.split.flags, known)
    }

    /// What follows the flags, which must not be nothing.
    pub fn rest(&self, instruction: &'static str, example: &'static str) -> Result<&str, Problem> {
        if self.split.rest.is_empty() { Err(Problem::Nothing { instruction, example }) } else { Ok(&self.split.rest) }
    }
}

/// Understands a line of a Dockerfile.
pub fn line(line: &Line, escape: char) -> Result<Parsed, Problem> {
    let text = Text { split: words::split(&line.text, escape), heredocs: &line.heredocs, escape };
    let name = text.split.name.to_ascii_uppercase();
    let verb = match name.as_str() {
        "FROM" => return from::from(&text).map(Parsed::From),
        "ADD" => files::add(&text)?,
        "ARG" => pairs::arg(&text)?,
        "CMD" => command::cmd(&text)?,
        "COPY" => files::copy(&text)?,
        "ENTRYPOINT" => command::entrypoint(&text)?,
        "ENV" => pairs::env(&text)?,
        "EXPOSE" => simple::expose(&text)?,
        "HEALTHCHECK" => health::healthcheck(&text)?,
        "LABEL" => pairs::label(&text)?,
        "MAINTAINER" => simple::maintainer(&text)?,
        "ONBUILD" => simple::onbuild(&text)?,
        "RUN" => command::run(&text)?,
        "SHELL" => command::shell(&text)?,
        "STOPSIGNAL" => simple::stop_signal(&text)?,
        "USER" => simple::user(&text)?,
        "VOLUME" => simple::volume(&text)?,
        "WORKDIR" => simple::workdir(&text)?,
        _ => return Err(unknown(&text.split.name, &WORDS)),
    };
    Ok(Parsed::Verb(verb))
}

/// What is not possible behind `ONBUILD`.
const NO_TRIGGERS: [&str; 3] = ["FROM", "MAINTAINER", "ONBUILD"];

/// Understands the text of an `ONBUILD`, which must be one instruction, and none of some.
pub fn trigger(text: &str) -> Result<Verb, Problem> {
    let refused = |problem: Problem| Problem::Trigger { text: text.to_owned(), problem: Box::new(problem) };
    let read = lines::read(crate::Kind::Dockerfile, text).map_err(|error| refused(error.problem))?;
    let [one] = read.lines.as_slice() else { return Err(refused(Problem::OneTrigger)) };
    // Before it is understood, so that nothing is nested.
    let name = words::split(&one.text, read.escape).name;
    if let Some(word) = NO_TRIGGERS.into_iter().find(|word| name.eq_ignore_ascii_case(word)) {
        return Err(refused(Problem::NoTrigger { word }));
    }
    match line(one, read.escape).map_err(refused)? {
        Parsed::Verb(verb) => Ok(verb),
        Parsed::From(_) => Err(refused(Problem::NoTrigger { word: "FROM" })),
    }
}

/// The refusal of a word that is none of these.
pub fn unknown(word: &str, words: &[&str]) -> Problem {
    Problem::UnknownInstruction { word: word.to_owned(), hint: suggest::hint(word, "there are", words) }
}

/// Whether a text means itself: no variables, quotes or escapes. Only then can it be judged before it is expanded.
pub fn is_plain(text: &str) -> bool {
    !text.contains(['$', '"', '\'', '\\', '`'])
}
