//! The words of a recipe that a Dockerfile does not have.

use crate::{
    error::Problem,
    parse::{Text, command, unknown},
    port, suggest,
    text::words,
};
use api::spec::{ContainerKind, Limits, Probe};

/// The words of a recipe.
pub const WORDS: [&str; 12] =
    ["CHECK", "COPY", "ENV", "FROM", "LIMIT", "NEEDS", "PORT", "RUN", "SERVICE", "START", "TYPE", "VOLUME"];

/// What a recipe says instead of a Dockerfile's word.
const INSTEAD: [(&str, &str); 5] = [
    ("CMD", "START"),
    ("ENTRYPOINT", "START"),
    ("EXPOSE", "PORT"),
    ("HEALTHCHECK", "CHECK command"),
    ("ADD", "COPY, or RUN with a program that fetches or unpacks"),
];

/// The refusal of a word.
pub fn refused(word: &str) -> Problem {
    let instead = INSTEAD.iter().find(|(own, _)| word.eq_ignore_ascii_case(own));
    instead.map_or_else(|| unknown(word, &WORDS), |(_, instead)| Problem::DockerWord { word: word.to_owned(), instead })
}

/// What is checked; the port of an HTTP check may be missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Check {
    Done(Probe),
    /// On the first port.
    HttpPath(String),
}

pub fn check(text: &Text<'_>) -> Result<Check, Problem> {
    const EXAMPLE: &str = "CHECK tcp 80, CHECK http /path or CHECK command program";
    text.no_flags("CHECK")?;
    let rest = text.rest("CHECK", EXAMPLE)?;
    let wrong = || Problem::RecipeWords { word: "CHECK", text: rest.to_owned(), example: EXAMPLE };
    let (kind, rest) = words::first_field(rest).ok_or_else(wrong)?;
    let fields = words::fields(rest);
    match (kind.to_ascii_lowercase().as_str(), fields.as_slice()) {
        ("tcp", [port]) => number(port).map(|port| Check::Done(Probe::Tcp(port))),
        ("http", [path]) if path.starts_with('/') => Ok(Check::HttpPath(path.clone())),
        ("http", [port, path]) if path.starts_with('/') => {
            let port = number(port)?;
            Ok(Check::Done(Probe::Http { port, path: path.clone(), host: None }))
        }
        ("command", [_, ..]) => Ok(Check::Done(Probe::Command(argv(&command::command_line(rest)?)))),
        ("tcp" | "http", _) => Err(wrong()),
        (other, _) => {
            let hint = suggest::hint(other, "there are", &["tcp", "http", "command"]);
            Err(Problem::UnknownValue { what: "CHECK", value: kind.to_owned(), hint })
        }
    }
}

fn argv(line: &crate::instruction::CommandLine) -> Vec<String> {
    match line {
        crate::instruction::CommandLine::Exec(words) => words.clone(),
        crate::instruction::CommandLine::Shell(text) => {
            crate::state::SHELL.map(str::to_owned).into_iter().chain([text.clone()]).collect()
        }
    }
}

fn number(text: &str) -> Result<u16, Problem> {
    port::number(text).ok_or_else(|| Problem::Port { word: text.to_owned() })
}

pub fn service(text: &Text<'_>) -> Result<super::Service, Problem> {
    const EXAMPLE: &str = "SERVICE name port, as in SERVICE mysql 3306";
    text.no_flags("SERVICE")?;
    match words::fields(text.rest("SERVICE", EXAMPLE)?).as_slice() {
        [name, port] => Ok(super::Service { name: self::name("service", name)?, port: number(port)? }),
        _ => Err(Problem::RecipeWords { word: "SERVICE", text: text.split.rest.clone(), example: EXAMPLE }),
    }
}

fn name(what: &str, text: &str) -> Result<api::Name, Problem> {
    api::Name::parse(what, text).map_err(|error| Problem::Value { sentence: error.message })
}

pub fn needs(text: &Text<'_>) -> Result<Vec<api::Name>, Problem> {
    text.no_flags("NEEDS")?;
    words::fields(text.rest("NEEDS", "NEEDS mysql")?).iter().map(|one| name("app or database", one)).collect()
}

/// Adds to the limits what a line says.
pub fn limit(text: &Text<'_>, limits: &mut Limits) -> Result<(), Problem> {
    const EXAMPLE: &str = "LIMIT memory 512M, LIMIT cpu 0.5 or LIMIT pids 100";
    text.no_flags("LIMIT")?;
    let fields = words::fields(text.rest("LIMIT", EXAMPLE)?);
    let wrong = || Problem::RecipeWords { word: "LIMIT", text: text.split.rest.clone(), example: EXAMPLE };
    let value = |error: api::Error| Problem::Value { sentence: error.message };
    for pair in fields.chunks(2) {
        let [name, amount] = pair else { return Err(wrong()) };
        let twice = match name.to_ascii_lowercase().as_str() {
            "memory" => limits.memory.replace(amount.parse().map_err(value)?).is_some(),
            "cpu" => limits.cpu.replace(amount.parse().map_err(value)?).is_some(),
            "pids" => {
                let pids = amount.parse::<u32>().ok().filter(|pids| *pids > 0).ok_or_else(wrong)?;
                limits.pids.replace(pids).is_some()
            }
            other => {
                let hint = suggest::hint(other, "there are", &["memory", "cpu", "pids"]);
                return Err(Problem::UnknownValue { what: "LIMIT", value: name.clone(), hint });
            }
        };
        if twice {
            return Err(Problem::LimitTwice { name: name.clone() });
        }
    }
    Ok(())
}

pub fn kind(text: &Text<'_>) -> Result<ContainerKind, Problem> {
    text.no_flags("TYPE")?;
    let word = text.rest("TYPE", "TYPE app or TYPE system")?;
    match word.to_ascii_lowercase().as_str() {
        "app" => Ok(ContainerKind::App),
        "system" => Ok(ContainerKind::System),
        other => {
            let hint = suggest::hint(other, "there are", &["app", "system"]);
            Err(Problem::UnknownValue { what: "TYPE", value: word.to_owned(), hint })
        }
    }
}
