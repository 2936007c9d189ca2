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
            Error::usage(format!("{argument:?} is one word too many")).hint(format!("see: {}", help(error)))
        }
        ErrorKind::ValueValidation => Error::usage(invalid(flag(&argument), error)?),
        ErrorKind::InvalidValue => match text(error, ContextKind::InvalidValue).filter(|value| !value.is_empty()) {
            Some(value) => {
                Error::usage(format!("{value:?} is no value of {}: use one of {}", flag(&argument), all(error)?.join(", ")))
            }
            None => Error::usage(format!("{} needs a value", flag(&argument))),
        },
        ErrorKind::MissingRequiredArgument => {
            let missing = error.get(ContextKind::InvalidArg).map(strings)?;
            let missing: Vec<_> = missing.iter().map(|name| name.trim_end_matches("...").trim_matches(['<', '>'])).collect();
            Error::usage(format!("{} is missing", missing.join(" and "))).hint(format!("see: {}", help(error)))
        }
        _ => return None,
    })
}

/// A value that its own type refused. Types of ours name the value in their sentence, numbers do not.
fn invalid(argument: &str, error: &clap::Error) -> Option<String> {
    let why = std::error::Error::source(error)?.to_string();
    let value = format!("{:?}", text(error, ContextKind::InvalidValue).unwrap_or_default());
    Some(match (why.contains(&value), argument.starts_with('-')) {
        (true, true) => format!("{argument}: {why}"),
        (true, false) => why,
        (false, _) => format!("{value} is no value of {}: {why}", argument.trim_matches(['<', '>'])),
    })
}

/// An unknown word with the nearest known ones. A flag's neighbours are its own command's.
fn unknown(what: &str, word: &str, error: &clap::Error) -> Error {
    let known = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg].into_iter().filter_map(|kind| error.get(kind));
    let mut near: Vec<_> = known.flat_map(strings).map(|text| name(&command(error), flag(&text))).rev().collect();
    near.dedup();
    if what == "command" && command(error).len() <= 1 {
        let flat: Vec<_> = crate::flat::words().into_iter().filter(|known| distance(known, word) <= NEAR).collect();
        near = if flat.is_empty() { near } else { flat };
    }
    let error_of_ours = Error::usage(format!("there is no {what} {word}"));
    if near.is_empty() {
        error_of_ours.hint(format!("see: {}", help(error)))
    } else {
        error_of_ours.hint(format!("did you mean {}?", near.join(", ")))
    }
}

/// What a command below one is called, if the word is short for it.
fn name(above: &[String], word: &str) -> String {
    let all = crate::definition();
    let above = above.iter().skip(1).try_fold(&all, |command, word| command.find_subcommand(word));
    let command = above.and_then(|command| command.find_subcommand(word));
    command.map_or(word, |command| command.get_name()).to_owned()
}

/// Letters that may be wrong in a flat command for it to be meant.
const NEAR: usize = 1;

/// Letters to be added, left out or replaced to make one word of the other (Levenshtein's distance).
fn distance(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut corner = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let replaced = corner + usize::from(x != y);
            corner = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(corner + 1);
        }
    }
    row.last().copied().unwrap_or_default()
}

/// `--memory <SIZE>` without its value.
fn flag(argument: &str) -> &str {
    argument.split(' ').next().unwrap_or(argument)
}

/// The words of the command that the error is about: the program, and `job add`.
fn command(error: &clap::Error) -> Vec<String> {
    let usage = error.get(ContextKind::Usage).map(ToString::to_string).unwrap_or_default();
    let words =
        usage.split_whitespace().skip_while(|word| *word == "Usage:").take_while(|word| !word.starts_with(['-', '<', '[']));
    words.map(str::to_owned).collect()
}

/// What to type to learn how it is done: `roost job add --help`.
fn help(error: &clap::Error) -> String {
    let words = command(error);
    if words.is_empty() { "roost --help".to_owned() } else { format!("{} --help", words.join(" ")) }
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
        let table = [
            ("roost lst", "there is no command lst | did you mean ls, stop?"),
            ("roost qqqq", "there is no command qqqq | see: roost --help"),
            ("roost adjob web 3", "there is no command adjob | did you mean addjob?"),
            ("roost job ad web 3", "there is no command ad | did you mean add?"),
            ("roost run web --memry 4M", "there is no flag --memry | did you mean --memory?"),
            ("roost run web --memory 12X", r#"--memory: "12X" is not a size: write a number and K, M, G or T, as in 512M"#),
            ("roost run web --memory", "--memory needs a value"),
            ("roost run web --pids x", r#""x" is no value of --pids: invalid digit found in string"#),
            ("roost ls -o xml", r#""xml" is no value of --output: use one of table, wide, json, yaml, name, csv"#),
            ("roost publish web 80.", r#""80." is not a port: leave out the full stop, as in 80"#),
            ("roost image import a b", r#""b" is one word too many | see: roost image import --help"#),
            ("roost job add web", "COUNT is missing | see: roost job add --help"),
            (
                "roost rename web Web",
                r#""Web" is not a valid name: use 1 to 63 of a-z, 0-9 and -, beginning and ending with a letter or digit"#,
            ),
        ];
        table.iter().for_each(|(line, expected)| assert_eq!(said(line), *expected, "{line}"));
    }

    #[test]
    fn distances_count_letters() {
        for (a, b, letters) in [("addjob", "addjob", 0), ("adjob", "addjob", 1), ("ls", "", 2), ("kitten", "sitting", 3)] {
            assert_eq!((distance(a, b), distance(b, a)), (letters, letters));
        }
    }
}
