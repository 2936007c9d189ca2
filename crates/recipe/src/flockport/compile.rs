//! A recipe's lines to the instructions of a Dockerfile.

use super::{
    Recipe, Service, label,
    words::{self, Check},
};
use crate::{
    dockerfile::Dockerfile,
    error::{Error, Problem},
    instruction::{CommandLine, Healthcheck, Instruction, Pair, Times, Verb},
    parse::{Parsed, Text, command, files, from, pairs, simple},
    port, print,
    text::{lines::Line, words::split},
};
use api::{
    Bytes, Name,
    spec::{ContainerKind, Limits, Probe},
};
use std::collections::BTreeMap;

/// Words that stand at most once.
const ONCE: [&str; 3] = ["START", "CHECK", "TYPE"];

pub struct Compiler {
    build: Dockerfile,
    kind: ContainerKind,
    check: Option<(Check, u32)>,
    services: Vec<Service>,
    limits: Limits,
    needs: Vec<Name>,
    first_port: Option<u16>,
    /// Where words stand that may stand only once.
    seen: BTreeMap<&'static str, u32>,
    /// Number of the last line.
    last: u32,
}

impl Compiler {
    pub fn new(build: Dockerfile) -> Self {
        let (limits, services, needs) = (Limits::default(), Vec::new(), Vec::new());
        Self {
            build,
            kind: ContainerKind::App,
            check: None,
            services,
            limits,
            needs,
            first_port: None,
            seen: BTreeMap::new(),
            last: 0,
        }
    }

    pub fn line(&mut self, line: Line) -> Result<(), Error> {
        let place = self.build.at(line.first);
        self.last = line.last;
        for verb in self.understood(&line).map_err(|problem| place.problem(problem))? {
            self.build.take(line.clone(), verb)?;
        }
        Ok(())
    }

    /// The instructions that a line is; none, when it goes into a label.
    fn understood(&mut self, line: &Line) -> Result<Vec<Parsed>, Problem> {
        let text = Text { split: split(&line.text, self.build.escape), heredocs: &line.heredocs, escape: self.build.escape };
        let name = text.split.name.to_ascii_uppercase();
        self.once(&name, line.first)?;
        let verb = match name.as_str() {
            "FROM" => return self.from(&text).map(|from| vec![from]),
            "ENV" => pairs::env(&text)?,
            "COPY" => files::copy(&text)?,
            "RUN" => command::run(&text)?,
            "VOLUME" => simple::volume(&text)?,
            "PORT" => self.port(&text)?,
            "START" => return start(&text),
            word => {
                match word {
                    "CHECK" => self.check = Some((words::check(&text)?, line.first)),
                    "SERVICE" => self.service(words::service(&text)?)?,
                    "LIMIT" => words::limit(&text, &mut self.limits)?,
                    "NEEDS" => self.need(words::needs(&text)?),
                    "TYPE" => self.kind = words::kind(&text)?,
                    _ => return Err(words::refused(&text.split.name)),
                }
                return self.inside(&name).map(|()| Vec::new());
            }
        };
        Ok(vec![Parsed::Verb(verb)])
    }

    fn once(&mut self, name: &str, line: u32) -> Result<(), Problem> {
        let Some(word) = ONCE.into_iter().find(|word| *word == name) else { return Ok(()) };
        match self.seen.insert(word, line) {
            Some(first) => Err(Problem::Twice { word, line: first }),
            None => Ok(()),
        }
    }

    /// Nothing stands before FROM.
    fn inside(&self, word: &str) -> Result<(), Problem> {
        if self.build.sections.is_empty() { Err(Problem::RecipeBeforeFrom { word: word.to_owned() }) } else { Ok(()) }
    }

    fn from(&self, text: &Text<'_>) -> Result<Parsed, Problem> {
        if let Some(section) = self.build.sections.first() {
            return Err(Problem::SecondFrom { line: section.first });
        }
        let opening = from::from(text)?;
        if opening.name.is_some() { Err(Problem::NoStages) } else { Ok(Parsed::From(opening)) }
    }

    fn port(&mut self, text: &Text<'_>) -> Result<Verb, Problem> {
        text.rest("PORT", "PORT 80, or PORT 53/udp")?;
        let verb = simple::expose(text)?;
        if let Verb::Expose(words) = &verb
            && self.first_port.is_none()
        {
            self.first_port = words.first().and_then(|word| port::exposed(word).ok()).map(|ports| *ports.numbers.start());
        }
        Ok(verb)
    }

    fn service(&mut self, service: Service) -> Result<(), Problem> {
        if self.services.iter().any(|other| other.name == service.name) {
            return Err(Problem::ServiceTwice { name: service.name.to_string() });
        }
        self.services.push(service);
        Ok(())
    }

    fn need(&mut self, names: Vec<Name>) {
        for name in names {
            if !self.needs.contains(&name) {
                self.needs.push(name);
            }
        }
    }

    /// The recipe as a whole.
    pub fn finish(mut self) -> Result<Recipe, Error> {
        if let Some(line) = self.seen.get("START")
            && self.kind == ContainerKind::System
        {
            return Err(self.build.at(*line).problem(Problem::StartOfSystem));
        }
        let check = self.probe()?;
        let mut verbs = Vec::new();
        if let Some(Probe::Command(words)) = &check {
            let line = CommandLine::Exec(words.clone());
            verbs.push(Verb::Healthcheck(Healthcheck::Command { line, times: Times::default() }));
        }
        verbs.push(Verb::Label(self.labels(check.as_ref())));
        let (last, escape) = (self.last, self.build.escape);
        let instruction = |verb: Verb| Instruction { first: last, last, text: print::shown(&verb, escape), verb };
        if let Some(section) = self.build.sections.last_mut() {
            section.instructions.extend(verbs.into_iter().map(instruction));
        }
        let Self { build, kind, services, limits, needs, .. } = self;
        Ok(Recipe { build: build.checked()?, kind, check, services, limits, needs })
    }

    /// What images have no field for. The kind is always said, for the base's label would be inherited.
    fn labels(&self, check: Option<&Probe>) -> Vec<Pair> {
        let services: Vec<String> = self.services.iter().map(|service| format!("{} {}", service.name, service.port)).collect();
        let labels = [
            (label::KIND, if self.kind == ContainerKind::System { "system" } else { "app" }.to_owned()),
            (label::CHECK, check.map(shown).unwrap_or_default()),
            (label::SERVICES, services.join(", ")),
            (label::LIMITS, limits(&self.limits)),
            (label::NEEDS, self.needs.iter().map(Name::as_str).collect::<Vec<_>>().join(" ")),
        ];
        let said = labels.into_iter().filter(|(_, value)| !value.is_empty());
        said.map(|(name, value)| Pair { name: name.to_owned(), value: quoted(&value, self.build.escape), legacy: false })
            .collect()
    }

    fn probe(&mut self) -> Result<Option<Probe>, Error> {
        match self.check.take() {
            None => Ok(None),
            Some((Check::Done(probe), _)) => Ok(Some(probe)),
            Some((Check::HttpPath(path), line)) => {
                let text = format!("http {path}");
                let port = self.first_port.ok_or_else(|| self.build.at(line).problem(Problem::CheckPort { text }))?;
                Ok(Some(Probe::Http { port, path, host: None }))
            }
        }
    }
}

/// What runs, whatever the base would have run.
fn start(text: &Text<'_>) -> Result<Vec<Parsed>, Problem> {
    text.no_flags("START")?;
    let line = command::command_line(text.rest("START", "START and a command")?)?;
    Ok(vec![Parsed::Verb(Verb::Entrypoint(CommandLine::Exec(Vec::new()))), Parsed::Verb(Verb::Cmd(line))])
}

fn shown(probe: &Probe) -> String {
    match probe {
        Probe::Command(words) => format!("command {}", serde_json::Value::from(words.as_slice())),
        Probe::Tcp(port) => format!("tcp {port}"),
        Probe::Http { port, path, .. } => format!("http {port} {path}"),
    }
}

fn limits(limits: &Limits) -> String {
    // In whole units if that is exact, else in bytes.
    let exact =
        |memory: Bytes| memory.to_string().parse().ok().filter(|read: &Bytes| *read == memory).map(|_| memory.to_string());
    let memory = limits.memory.map(|memory| format!("memory {}", exact(memory).unwrap_or_else(|| memory.0.to_string())));
    let cpu = limits.cpu.map(|cpu| format!("cpu {cpu}"));
    let pids = limits.pids.map(|pids| format!("pids {pids}"));
    [memory, cpu, pids].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A value that means itself where variables are expanded.
fn quoted(value: &str, escape: char) -> String {
    let special = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '$') || c == escape;
    value.chars().flat_map(|c| special(c).then_some(escape).into_iter().chain([c])).collect()
}
