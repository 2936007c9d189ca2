//! What is wrong with a command line, in a sentence of ours: the parser's own words are for programmers.

use crate::say;
use api::Error;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use std::process::ExitCode;

/// Says what the parser has to say (help is an answer, everything else a usage error), and gives the exit code.
pub fn say(error: &clap::Error) -> ExitCode {
    match sentence(error) {
        Some(ours) => {
            say::error(&ours);
            ExitCode::from(ours.kind.exit_code())
        }
        None => {
            let _ = error.print();
            ExitCode::from(if error.use_stderr() { 2 } else { 0 })
        }
    }
}

/// The parser's error as one of ours; None for what it says best itself.
fn sentence(error: &clap::Error) -> Option<Error> {
    let argument = text(error, ContextKind::InvalidArg).unwrap_or_default();
    Some(match error.kind() {
        ErrorKind::InvalidSubcommand => unknown("command", &text(error, ContextKind::InvalidSubcommand)?, error),
        ErrorKind::UnknownArgument if argument.starts_with('-') => unknown("flag", &argument, error),
        ErrorKind::UnknownArgument => {
            Error::usage(format!("{argument:?} is one word too many")).hint("put a command with words of its own behind --")
        }
        ErrorKind::ValueValidation => {
            let why = std::error::Error::source(error)?.to_string();
            Error::usage(if argument.starts_with('-') { format!("{}: {why}", flag(&argument)) } else { why })
        }
        ErrorKind::InvalidValue => match text(error, ContextKind::InvalidValue).filter(|value| !value.is_empty()) {
            Some(value) => {
                Error::usage(format!("{value:?} is no value of {}: use one of {}", flag(&argument), all(error)?.join(", ")))
            }
            None => Error::usage(format!("{} needs a value", flag(&argument))),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing = error.get(ContextKind::InvalidArg).map(strings)?;
            Error::usage(format!("{} is missing", missing.join(" and "))).hint(format!("see: {}", help(error)))
        }
        _ => return None,
    })
}

/// An unknown word with the nearest known ones. A flag's neighbours are its own command's.
fn unknown(what: &str, word: &str, error: &clap::Error) -> Error {
    let near: Vec<_> = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg]
        .into_iter()
        .filter_map(|kind| error.get(kind))
        .flat_map(strings)
        .map(|text| flag(&text).to_owned())
        .rev()
        .collect();
    let error_of_ours = Error::usage(format!("there is no {what} {word}"));
    if near.is_empty() {
        error_of_ours.hint(format!("see: {}", help(error)))
    } else {
        error_of_ours.hint(format!("did you mean {}?", near.join(", ")))
    }
}

/// `--memory <SIZE>` without its value.
fn flag(argument: &str) -> &str {
    argument.split(' ').next().unwrap_or(argument)
}

/// `roost job --help` for the command that the error is about.
fn help(error: &clap::Error) -> String {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let words =
        usage.split_whitespace().skip_while(|word| *word != "roost").take_while(|word| !word.starts_with(['-', '<', '[']));
    let command = words.collect::<Vec<_>>().join(" ");
    if command.is_empty() { "roost --help".to_owned() } else { format!("{command} --help") }
}

fn text(error: &clap::Error, kind: ContextKind) -> Option<String> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn all(error: &clap::Error) -> Option<Vec<String>> {
    error.get(ContextKind::ValidValue).map(strings)
}

fn strings(value: &ContextValue) -> Vec<String> {
    match value {
        ContextValue::String(text) => vec![text.clone()],
        ContextValue::Strings(all) => all.clone(),
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(line: &str) -> String {
        let error = crate::definition().try_get_matches_from(line.split(' ')).unwrap_err();
        let error = sentence(&error).unwrap();
        assert_eq!(error.kind, api::Kind::Usage);
        [error.message].into_iter().chain(error.hint).collect::<Vec<_>>().join(" | ")
    }

    #[test]
    fn one_sentence_each() {
        insta::assert_snapshot!(said("roost lst"), @"");
        insta::assert_snapshot!(said("roost qqqq"), @"");
        insta::assert_snapshot!(said("roost job ad web 3"), @"");
        insta::assert_snapshot!(said("roost run web --memry 4M"), @"");
        insta::assert_snapshot!(said("roost run web --memory 12X"), @"");
        insta::assert_snapshot!(said("roost run web --memory"), @"");
        insta::assert_snapshot!(said("roost ls -o xml"), @"");
        insta::assert_snapshot!(said("roost publish web 80."), @"");
        insta::assert_snapshot!(said("roost image import a b"), @"");
        insta::assert_snapshot!(said("roost job add web"), @"");
        insta::assert_snapshot!(said("roost rename web Web"), @"");
    }
}
