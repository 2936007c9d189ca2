//! Instructions that are one text or a list of texts.

use super::{Text, is_plain, trigger};
use crate::{error::Problem, instruction::Verb, port, signal, text::words};

/// A JSON list, or words between blanks.
pub fn list(rest: &str) -> Result<Vec<String>, Problem> {
    Ok(words::exec_form(rest)?.unwrap_or_else(|| words::fields(rest)))
}

fn one(instruction: &'static str, example: &'static str, text: &Text<'_>) -> Result<String, Problem> {
    text.no_flags(instruction)?;
    text.rest(instruction, example).map(str::to_owned)
}

pub fn user(text: &Text<'_>) -> Result<Verb, Problem> {
    one("USER", "USER name, USER 1000 or USER 1000:1000", text).map(Verb::User)
}

pub fn workdir(text: &Text<'_>) -> Result<Verb, Problem> {
    one("WORKDIR", "WORKDIR /app", text).map(Verb::Workdir)
}

pub fn maintainer(text: &Text<'_>) -> Result<Verb, Problem> {
    one("MAINTAINER", "MAINTAINER name", text).map(Verb::Maintainer)
}

pub fn stop_signal(text: &Text<'_>) -> Result<Verb, Problem> {
    let name = one("STOPSIGNAL", "STOPSIGNAL SIGTERM", text)?;
    if is_plain(&name) {
        signal::check(&name)?;
    }
    Ok(Verb::StopSignal(name))
}

pub fn expose(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("EXPOSE")?;
    let ports = words::fields(text.rest("EXPOSE", "EXPOSE 80, or EXPOSE 53/udp 8000-8010")?);
    for port in ports.iter().filter(|port| is_plain(port)) {
        port::exposed(port)?;
    }
    Ok(Verb::Expose(ports))
}

pub fn volume(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("VOLUME")?;
    let example = "VOLUME /var/lib/data";
    let paths = list(text.rest("VOLUME", example)?)?;
    if paths.is_empty() || paths.iter().any(|path| path.trim().is_empty()) {
        return Err(Problem::Nothing { instruction: "VOLUME", example });
    }
    Ok(Verb::Volume(paths.iter().map(|path| path.trim().to_owned()).collect()))
}

pub fn onbuild(text: &Text<'_>) -> Result<Verb, Problem> {
    text.no_flags("ONBUILD")?;
    let mut expression = text.rest("ONBUILD", "ONBUILD and an instruction")?.to_owned();
    for heredoc in text.heredocs {
        expression.push_str(&format!("\n{}{}", heredoc.content, heredoc.name));
    }
    trigger(&expression)?;
    Ok(Verb::Onbuild(expression))
}
