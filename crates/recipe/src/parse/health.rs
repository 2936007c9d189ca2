//! `HEALTHCHECK`.

use super::{
    Text,
    command::command_line,
    flags::{Flags, Takes},
};
use crate::{
    duration,
    error::Problem,
    instruction::{CommandLine, Healthcheck, Times, Verb},
    suggest,
    text::words,
};

/// Shortest span that means anything to Docker.
const SHORTEST: u64 = 1_000_000;

const EXAMPLE: &str = "HEALTHCHECK CMD and a command, or HEALTHCHECK NONE";

const FLAGS: [(&str, Takes); 5] = [
    ("interval", Takes::Text),
    ("timeout", Takes::Text),
    ("start-period", Takes::Text),
    ("start-interval", Takes::Text),
    ("retries", Takes::Text),
];

pub fn healthcheck(text: &Text<'_>) -> Result<Verb, Problem> {
    let rest = text.rest("HEALTHCHECK", EXAMPLE)?;
    let (word, rest) = words::first_field(rest).unwrap_or((rest, ""));
    let check = match word.to_ascii_uppercase().as_str() {
        "NONE" if !rest.is_empty() => Err(Problem::HealthcheckNone { rest: rest.to_owned() }),
        "NONE" => text.flags("HEALTHCHECK NONE", &[]).map(|_| Healthcheck::None),
        "CMD" if rest.is_empty() => Err(Problem::Nothing { instruction: "HEALTHCHECK CMD", example: EXAMPLE }),
        "CMD" => {
            let (line, times) = (command_line(rest)?, times(&text.flags("HEALTHCHECK", &FLAGS)?)?);
            match &line {
                CommandLine::Exec(words) if words.is_empty() => {
                    Err(Problem::Nothing { instruction: "HEALTHCHECK CMD", example: EXAMPLE })
                }
                _ => Ok(Healthcheck::Command { line, times }),
            }
        }
        _ => {
            let hint = suggest::hint(word, "there are", &["CMD", "NONE"]);
            Err(Problem::UnknownValue { what: "HEALTHCHECK", value: word.to_owned(), hint })
        }
    };
    check.map(Verb::Healthcheck)
}

fn times(flags: &Flags) -> Result<Times, Problem> {
    let span = |flag: &'static str| match flags.text(flag) {
        None => Ok(0),
        Some(text) => match duration::nanoseconds(&text) {
            None => Err(Problem::Duration { flag, text }),
            Some(span) if span > 0 && span < SHORTEST => Err(Problem::ShortDuration { flag, text }),
            Some(span) => Ok(span),
        },
    };
    let retries = flags.text("retries").map_or(Ok(0), |text| text.parse().map_err(|_| Problem::Retries { text }))?;
    Ok(Times {
        interval: span("interval")?,
        timeout: span("timeout")?,
        start_period: span("start-period")?,
        start_interval: span("start-interval")?,
        retries,
    })
}
