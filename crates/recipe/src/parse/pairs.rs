//! `ENV`, `LABEL` and `ARG`: names and values.

use super::Text;
use crate::{
    error::Problem,
    instruction::{Argument, Pair, Verb},
    text::words,
};

pub fn env(text: &Text<'_>) -> Result<Verb, Problem> {
    pairs("ENV", "ENV NAME=value", text).map(Verb::Env)
}

pub fn label(text: &Text<'_>) -> Result<Verb, Problem> {
    pairs("LABEL", "LABEL name=value", text).map(Verb::Label)
}

/// `A=b C="d e"`, or `A everything else` if the first word has no `=`.
fn pairs(instruction: &'static str, example: &'static str, text: &Text<'_>) -> Result<Vec<Pair>, Problem> {
    text.no_flags(instruction)?;
    let rest = text.rest(instruction, example)?;
    let words = words::quoted(rest, text.escape);
    if words.first().is_none_or(|word| !word.contains('=')) {
        let (name, value) =
            words::first_field(rest).ok_or_else(|| Problem::NoValue { instruction, name: rest.to_owned(), example })?;
        return Ok(vec![Pair { name: name.to_owned(), value: value.to_owned(), legacy: true }]);
    }
    let pair = |word: String| match word.split_once('=') {
        None => Err(Problem::NoEquals { instruction, word }),
        Some(("", _)) => Err(Problem::NoName { instruction, word }),
        Some((name, value)) => Ok(Pair { name: name.to_owned(), value: value.to_owned(), legacy: false }),
    };
    words.into_iter().map(pair).collect()
}

pub fn arg(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("ARG")?;
    let rest = text.rest("ARG", "ARG name, or ARG name=default")?;
    let argument = |word: String| match word.split_once('=') {
        None => Ok(Argument { name: word, default: None }),
        Some(("", _)) => Err(Problem::NoName { instruction: "ARG", word }),
        Some((name, value)) => Ok(Argument { name: name.to_owned(), default: Some(value.to_owned()) }),
    };
    words::quoted(rest, text.escape).into_iter().map(argument).collect::<Result<_, _>>().map(Verb::Arg)
}
