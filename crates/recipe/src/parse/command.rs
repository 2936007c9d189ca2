//! `RUN`, `CMD`, `ENTRYPOINT` and `SHELL`: commands in their two forms.

use super::{Text, flags::Takes};
use crate::{
    error::Problem,
    instruction::{CommandLine, Network, Running, Verb},
    mount, suggest,
    text::words,
};

/// A JSON list, or text for the shell.
pub fn command_line(rest: &str) -> Result<CommandLine, Problem> {
    Ok(words::exec_form(rest)?.map_or_else(|| CommandLine::Shell(rest.to_owned()), CommandLine::Exec))
}

pub fn run(text: &Text<'_>) -> Result<Verb, Problem> {
    let flags = text.flags("RUN", &[("mount", Takes::Texts), ("network", Takes::Text), ("security", Takes::Text)])?;
    let line = command_line(text.rest("RUN", "RUN and a command")?)?;
    if matches!(&line, CommandLine::Exec(words) if words.first().is_none_or(String::is_empty)) {
        return Err(Problem::Nothing { instruction: "RUN", example: "RUN [\"program\", \"word\"]" });
    }
    if let Some(security) = flags.text("security") {
        sandboxed(security)?;
    }
    let mounts: Vec<String> = flags.texts("mount").map(str::to_owned).collect();
    for mount in &mounts {
        mount::check(mount)?;
    }
    let network = flags.text("network").map_or(Ok(Network::Default), network)?;
    Ok(Verb::Run(Running { line, heredocs: text.heredocs.to_vec(), mounts, network }))
}

fn network(value: String) -> Result<Network, Problem> {
    match value.as_str() {
        "default" => Ok(Network::Default),
        "none" => Ok(Network::None),
        "host" => Ok(Network::Host),
        _ => {
            let hint = suggest::hint(&value, "there are", &["default", "none", "host"]);
            Err(Problem::UnknownValue { what: "--network", value, hint })
        }
    }
}

fn sandboxed(value: String) -> Result<(), Problem> {
    match value.as_str() {
        "sandbox" => Ok(()),
        "insecure" => Err(Problem::Insecure),
        _ => {
            let hint = suggest::hint(&value, "there is", &["sandbox"]);
            Err(Problem::UnknownValue { what: "--security", value, hint })
        }
    }
}

pub fn cmd(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("CMD")?;
    command_line(text.rest("CMD", "CMD [\"program\", \"word\"], or CMD [] for no command")?).map(Verb::Cmd)
}

pub fn entrypoint(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("ENTRYPOINT")?;
    command_line(text.rest("ENTRYPOINT", "ENTRYPOINT [\"program\"], or ENTRYPOINT [] for none")?).map(Verb::Entrypoint)
}

pub fn shell(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("SHELL")?;
    let example = "SHELL [\"/bin/bash\", \"-c\"]";
    match words::exec_form(text.rest("SHELL", example)?)? {
        Some(words) if words.is_empty() => Err(Problem::Nothing { instruction: "SHELL", example }),
        Some(words) => Ok(Verb::Shell(words)),
        None => Err(Problem::ShellForm),
    }
}
