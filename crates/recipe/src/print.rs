//! Instructions as text again: one line each, heredocs below. What is read from it is the same.

use crate::{
    dockerfile::{Dockerfile, Section},
    duration,
    instruction::{Adding, Argument, CommandLine, Copying, Files, Healthcheck, Network, Pair, Running, Times, Verb},
    text::{heredoc::Heredoc, lines::ESCAPE},
};
use std::fmt::{self, Write as _};

impl fmt::Display for Dockerfile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in [("syntax", &self.syntax), ("check", &self.check)] {
            if let Some(value) = value {
                writeln!(f, "# {name}={value}")?;
            }
        }
        if self.escape != ESCAPE {
            writeln!(f, "# escape={}", self.escape)?;
        }
        for global in &self.globals {
            writeln!(f, "{}", shown(&global.verb, self.escape))?;
        }
        for section in &self.sections {
            writeln!(f, "{}", opening(section, self.escape))?;
            for instruction in &section.instructions {
                writeln!(f, "{}", shown(&instruction.verb, self.escape))?;
            }
        }
        Ok(())
    }
}

fn opening(section: &Section, escape: char) -> String {
    let opening = &section.opening;
    let mut line = Line::new("FROM", escape);
    line.option("platform", opening.platform.as_ref());
    line.rest(&opening.base);
    if let Some(name) = &opening.name {
        line.word("AS");
        line.word(name);
    }
    line.text
}

/// An instruction as text.
pub fn shown(verb: &Verb, escape: char) -> String {
    let simple = |name: &str, words: &[String]| {
        let mut line = Line::new(name, escape);
        line.rest(&words.join(" "));
        line.text
    };
    match verb {
        Verb::Add(adding) => add(adding, escape),
        Verb::Arg(arguments) => simple("ARG", &arguments.iter().map(argument).collect::<Vec<_>>()),
        Verb::Cmd(line) => simple("CMD", &[command(line)]),
        Verb::Copy(copying) => copy(copying, escape),
        Verb::Entrypoint(line) => simple("ENTRYPOINT", &[command(line)]),
        Verb::Env(pairs) => simple("ENV", &pairs.iter().map(pair).collect::<Vec<_>>()),
        Verb::Expose(words) => simple("EXPOSE", words),
        Verb::Healthcheck(check) => healthcheck(check, escape),
        Verb::Label(pairs) => simple("LABEL", &pairs.iter().map(pair).collect::<Vec<_>>()),
        Verb::Maintainer(text) => simple("MAINTAINER", std::slice::from_ref(text)),
        Verb::Onbuild(text) => simple("ONBUILD", std::slice::from_ref(text)),
        Verb::Run(running) => run(running, escape),
        Verb::Shell(words) => simple("SHELL", &[list(words)]),
        Verb::StopSignal(text) => simple("STOPSIGNAL", std::slice::from_ref(text)),
        Verb::User(text) => simple("USER", std::slice::from_ref(text)),
        Verb::Volume(paths) => simple("VOLUME", &[list(paths)]),
        Verb::Workdir(text) => simple("WORKDIR", std::slice::from_ref(text)),
    }
}

/// A line that is being written.
struct Line {
    text: String,
    escape: char,
}

impl Line {
    fn new(name: &str, escape: char) -> Self {
        Self { text: name.to_owned(), escape }
    }

    fn word(&mut self, word: &str) {
        self.text.push(' ');
        self.text.push_str(word);
    }

    /// What follows the flags. If it looks like one, `--` says that it is none.
    fn rest(&mut self, text: &str) {
        if text.starts_with("--") {
            self.word("--");
        }
        self.word(text);
    }

    /// `--name=value`, quoted if it must be.
    fn flag(&mut self, name: &str, value: &str) {
        let mut quoted = String::new();
        let special = |c: char| matches!(c, '"' | '\'') || c.is_whitespace() || c == self.escape;
        for c in value.chars() {
            if special(c) {
                quoted.push(self.escape);
            }
            quoted.push(c);
        }
        self.word(&format!("--{name}={quoted}"));
    }

    fn option(&mut self, name: &str, value: Option<&String>) {
        if let Some(value) = value {
            self.flag(name, value);
        }
    }

    fn switch(&mut self, name: &str, on: Option<bool>) {
        if let Some(on) = on {
            self.flag(name, if on { "true" } else { "false" });
        }
    }

    fn heredocs(&mut self, heredocs: &[Heredoc]) {
        for heredoc in heredocs {
            // Writing to a text cannot fail.
            let _ = write!(self.text, "\n{}{}", heredoc.content, heredoc.name);
        }
    }
}

/// Words as a JSON list.
fn list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| serde_json::Value::from(word.as_str()).to_string()).collect();
    format!("[{}]", words.join(", "))
}

fn command(line: &CommandLine) -> String {
    match line {
        CommandLine::Exec(words) => list(words),
        CommandLine::Shell(text) => text.clone(),
    }
}

fn argument(argument: &Argument) -> String {
    argument.default.as_ref().map_or_else(|| argument.name.clone(), |default| format!("{}={default}", argument.name))
}

/// The second blank is for a name that ends in the escape character, which would take the first to itself.
fn pair(pair: &Pair) -> String {
    format!("{}{}{}", pair.name, if pair.legacy { "  " } else { "=" }, pair.value)
}

fn run(running: &Running, escape: char) -> String {
    let mut line = Line::new("RUN", escape);
    running.mounts.iter().for_each(|mount| line.flag("mount", mount));
    match running.network {
        Network::Default => {}
        Network::None => line.flag("network", "none"),
        Network::Host => line.flag("network", "host"),
    }
    line.rest(&command(&running.line));
    line.heredocs(&running.heredocs);
    line.text
}

fn copy(copying: &Copying, escape: char) -> String {
    let mut line = Line::new("COPY", escape);
    line.option("from", copying.from.as_ref());
    line.switch("parents", copying.parents.then_some(true));
    files(line, &copying.files)
}

fn add(adding: &Adding, escape: char) -> String {
    let mut line = Line::new("ADD", escape);
    line.option("checksum", adding.checksum.as_ref());
    line.switch("keep-git-dir", adding.keep_git_dir);
    line.switch("unpack", adding.unpack);
    files(line, &adding.files)
}

/// As words if they are some, else as a JSON list. Heredocs need words, and sources beside them are words already.
fn files(mut line: Line, files: &Files) -> String {
    line.option("chown", files.owner.as_ref());
    line.option("chmod", files.mode.as_ref());
    line.switch("link", files.link.then_some(true));
    files.excludes.iter().for_each(|pattern| line.flag("exclude", pattern));
    let all: Vec<String> = files.sources.iter().chain([&files.to]).cloned().collect();
    let words = !files.inline.is_empty() || all.iter().all(|word| is_word(word));
    if words {
        // Heredocs first, so that no quote in a source surrounds them.
        let words: Vec<String> = files.inline.iter().map(announce).chain(all).collect();
        line.rest(&words.join(" "));
    } else {
        line.word(&list(&all));
    }
    line.heredocs(&files.inline);
    line.text
}

fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !text.contains(|c: char| c.is_whitespace() || c.is_control() || matches!(c, '"' | '<'))
        && !text.starts_with('[')
}

/// `<<name`, with quotes or escapes where the name needs them.
fn announce(heredoc: &Heredoc) -> String {
    let mut word = String::from(if heredoc.chomp { "<<-" } else { "<<" });
    let name: String =
        heredoc.name.chars().flat_map(|c| matches!(c, '"' | '\'' | '\\').then_some('\\').into_iter().chain([c])).collect();
    word.push_str(&name);
    if !heredoc.expand {
        word.push_str("\"\"");
    }
    word
}

fn healthcheck(check: &Healthcheck, escape: char) -> String {
    let Healthcheck::Command { line: command_line, times } = check else { return "HEALTHCHECK NONE".to_owned() };
    let mut line = Line::new("HEALTHCHECK", escape);
    let Times { interval, timeout, start_period, start_interval, retries } = *times;
    let spans =
        [("interval", interval), ("timeout", timeout), ("start-period", start_period), ("start-interval", start_interval)];
    for (name, span) in spans {
        if span > 0 {
            line.flag(name, &duration::written(span));
        }
    }
    if retries > 0 {
        line.flag("retries", &retries.to_string());
    }
    line.word("CMD");
    line.word(&command(command_line));
    line.text
}
