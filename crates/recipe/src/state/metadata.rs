//! Instructions that change nothing but the configuration, and `WORKDIR`.

use super::{SHELL, StageState};
use crate::{
    config::Health,
    effect::{Effect, Workdir},
    error::Problem,
    expand,
    instruction::{Argument, CommandLine, Healthcheck, Pair, Times, Verb},
    path, port, signal,
};
use api::spec::limits::{ENV_ENTRIES, ENV_VALUE};

/// What one port counts for, in bytes.
const PORT_COST: usize = 16;

impl StageState {
    pub(super) fn metadata(&mut self, verb: &Verb) -> Result<(), Problem> {
        match verb {
            Verb::Env(pairs) => self.env(pairs)?,
            Verb::Label(pairs) => {
                let labels = self.pairs(pairs)?;
                self.config.labels.extend(labels);
            }
            Verb::Arg(arguments) => arguments.iter().try_for_each(|argument| self.arg(argument))?,
            Verb::Maintainer(name) => self.author = Some(name.clone()),
            Verb::Cmd(line) => (self.config.cmd, self.has_cmd) = (self.argv(line), true),
            Verb::Entrypoint(line) => {
                self.config.entrypoint = self.argv(line);
                if !self.has_cmd {
                    self.config.cmd.clear();
                }
            }
            Verb::Shell(words) => self.config.shell.clone_from(words),
            Verb::Expose(words) => self.expose(words)?,
            Verb::Volume(paths) => {
                for path in paths {
                    let path = self.expand_some("VOLUME", path)?;
                    self.config.volumes.insert(path);
                }
            }
            Verb::User(name) => self.config.user = self.expand(name)?,
            Verb::StopSignal(name) => {
                let name = self.expand_some("STOPSIGNAL", name)?;
                signal::check(&name)?;
                self.config.stop_signal = name;
            }
            Verb::Healthcheck(check) => self.config.healthcheck = Some(health(check)),
            Verb::Onbuild(text) => self.config.on_build.push(text.clone()),
            Verb::Run(_) | Verb::Copy(_) | Verb::Add(_) | Verb::Workdir(_) => {}
        }
        Ok(())
    }

    /// Words as they are, or the shell with the text.
    pub(super) fn argv(&self, line: &CommandLine) -> Vec<String> {
        match line {
            CommandLine::Exec(words) => words.clone(),
            CommandLine::Shell(text) => self.in_shell(text),
        }
    }

    pub(super) fn in_shell(&self, text: &str) -> Vec<String> {
        let default = || SHELL.map(str::to_owned).to_vec();
        let mut argv = if self.config.shell.is_empty() { default() } else { self.config.shell.clone() };
        argv.push(text.to_owned());
        argv
    }

    /// All names and values of a line, expanded before the first of them is set.
    fn pairs(&mut self, pairs: &[Pair]) -> Result<Vec<(String, String)>, Problem> {
        let expand = |pair: &Pair| Ok((self.expand(&pair.name)?, self.expand(&pair.value)?));
        pairs.iter().map(expand).collect()
    }

    fn env(&mut self, pairs: &[Pair]) -> Result<(), Problem> {
        for (name, value) in self.pairs(pairs)? {
            if name.is_empty() {
                return Err(Problem::NoName { instruction: "ENV", word: format!("={value}") });
            }
            if value.len() > ENV_VALUE {
                return Err(Problem::TooLong { what: "ENV", size: value.len(), max: ENV_VALUE });
            }
            self.config.set_variable(&name, &value);
            self.variables.insert(name, value);
        }
        if self.config.env.len() > ENV_ENTRIES { Err(Problem::TooManyVariables { max: ENV_ENTRIES }) } else { Ok(()) }
    }

    /// What was passed wins over the default, and that over what stands before the first `FROM`.
    fn arg(&mut self, argument: &Argument) -> Result<(), Problem> {
        let name = &argument.name;
        let value = match (self.scope.passed.get(name), &argument.default) {
            (Some(passed), _) => Some(passed.clone()),
            (None, Some(default)) => Some(self.expand(default)?),
            (None, None) => self.scope.globals.get(name).cloned(),
        };
        if let Some(size) = value.as_ref().map(String::len).filter(|size| *size > ENV_VALUE) {
            return Err(Problem::TooLong { what: "ARG", size, max: ENV_VALUE });
        }
        // Declared again without a value, it keeps the one it has.
        let old = self.arguments.remove(name).flatten();
        self.arguments.insert(name.clone(), value.or(old));
        if self.arguments.len() > ENV_ENTRIES { Err(Problem::TooManyVariables { max: ENV_ENTRIES }) } else { Ok(()) }
    }

    fn expose(&mut self, words: &[String]) -> Result<(), Problem> {
        for word in words {
            let expanded = expand::words(word, self.scope.escape, &|name| self.variable(name))?;
            for word in expanded {
                let ports = port::exposed(&word)?;
                // A range is short to write and long to hold.
                self.spend(ports.numbers.len() * PORT_COST)?;
                self.config.exposed_ports.extend(ports.each());
            }
        }
        Ok(())
    }

    /// Relative to the directory so far. The root is always there, and need not be made.
    pub(super) fn workdir(&mut self, path: &str) -> Result<Effect, Problem> {
        let path = self.expand_some("WORKDIR", path)?;
        let path = path::clean(&path::from_directory(&self.config.working_dir, &path));
        self.config.working_dir.clone_from(&path);
        let made = Workdir { path, owner: self.config.user.clone() };
        Ok(if made.path == "/" { Effect::Metadata } else { Effect::Workdir(made) })
    }
}

fn health(check: &Healthcheck) -> Health {
    match check {
        Healthcheck::None => Health { test: vec!["NONE".to_owned()], ..Health::default() },
        Healthcheck::Command { line, times } => {
            let test = match line {
                CommandLine::Exec(words) => std::iter::once("CMD".to_owned()).chain(words.iter().cloned()).collect(),
                CommandLine::Shell(text) => vec!["CMD-SHELL".to_owned(), text.clone()],
            };
            let Times { interval, timeout, start_period, start_interval, retries } = *times;
            Health { test, interval, timeout, start_period, start_interval, retries }
        }
    }
}
