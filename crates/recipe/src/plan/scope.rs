//! What all stages of a build share: names of stages, arguments before the first `FROM`, arguments that were passed.

use super::{Base, Options, StageId, names::Names};
use crate::{
    dockerfile::Dockerfile,
    effect::Origin,
    error::{Error, Place, Problem},
    expand::{self, TOGETHER_MAX},
    instruction::{Argument, Instruction, Verb},
    kind::Kind,
    parse::from::SCRATCH,
    platform::Platform,
    suggest,
};
use std::collections::{BTreeMap, BTreeSet};

/// Arguments that need not be declared: they reach commands as variables, and are not part of what a step is.
pub const PROXIES: [&str; 10] = [
    "HTTP_PROXY",
    "http_proxy",
    "HTTPS_PROXY",
    "https_proxy",
    "FTP_PROXY",
    "ftp_proxy",
    "NO_PROXY",
    "no_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// What all stages share.
#[derive(Clone, Debug)]
pub struct Scope {
    pub kind: Kind,
    pub escape: char,
    pub names: Names,
    /// What stages run on that say nothing else.
    pub platform: Platform,
    /// Arguments that were passed.
    pub passed: BTreeMap<String, String>,
    /// Arguments before the first `FROM`, and those of the platforms.
    pub globals: BTreeMap<String, String>,
    /// `ONBUILD` of each section.
    triggers: Vec<Vec<String>>,
}

impl Scope {
    /// Expands the arguments before the first `FROM`.
    pub fn of(file: &Dockerfile, options: &Options, names: Names, target: StageId) -> Result<Self, Error> {
        let mut globals: BTreeMap<String, String> = BTreeMap::new();
        globals.extend(options.platform.variables("TARGET"));
        globals.extend(options.build_platform.variables("BUILD"));
        let stage = file.sections.get(target.0).and_then(|section| section.opening.name.clone());
        globals.insert("TARGETSTAGE".to_owned(), stage.unwrap_or_else(|| "default".to_owned()));
        for (name, value) in &mut globals {
            if let Some(passed) = options.build_args.get(name) {
                value.clone_from(passed);
            }
        }
        let triggers = file.sections.iter().map(|section| section.instructions.iter().filter_map(trigger).collect()).collect();
        let (platform, passed) = (options.platform.clone(), options.build_args.clone());
        let mut scope = Self { kind: file.kind, escape: file.escape, names, platform, passed, globals, triggers };
        let mut size = 0;
        for (argument, line) in declared(&file.globals) {
            size += scope.declare(argument).map_err(|problem| file.at(line).problem(problem))?;
            if size > TOGETHER_MAX {
                return Err(file.at(line).problem(Problem::TogetherTooLong { max: TOGETHER_MAX }));
            }
        }
        Ok(scope)
    }

    /// A place in the file.
    pub const fn at(&self, line: u32) -> Place {
        Place::Line(self.kind, line)
    }

    /// Sets an argument. Returns how long its value is.
    fn declare(&mut self, argument: &Argument) -> Result<usize, Problem> {
        let value = match (self.passed.get(&argument.name), &argument.default) {
            (Some(passed), _) => Some(passed.clone()),
            (None, Some(default)) => Some(self.expand(default)?),
            (None, None) => None,
        };
        let size = value.as_ref().map_or(0, String::len);
        if let Some(value) = value {
            self.globals.insert(argument.name.clone(), value);
        }
        Ok(size)
    }

    /// Expands what stands before or in a `FROM`.
    fn expand(&self, text: &str) -> Result<String, Problem> {
        Ok(expand::word(text, self.escape, &|name| self.globals.get(name).cloned())?)
    }

    /// What a `FROM` begins from: a stage above, nothing, or an image.
    pub fn base(&self, text: &str, of: StageId) -> Result<Base, Problem> {
        let name = self.expand(text)?;
        if name.is_empty() {
            return Err(Problem::EmptyBase { text: text.to_owned() });
        }
        match self.names.by_name(&name).filter(|id| *id < of) {
            Some(stage) => Ok(Base::Stage(stage)),
            None if name == SCRATCH => Ok(Base::Scratch),
            None => {
                let image = api::image::normalise(&name);
                image.map(Base::Image).map_err(|error| Problem::BaseName { text: text.to_owned(), why: error.message })
            }
        }
    }

    /// The platform a `FROM` asks for.
    pub fn asked_platform(&self, text: &str) -> Result<Platform, Problem> {
        self.expand(text)?.parse()
    }

    /// What `--from` means: a stage by number or name, nothing, or an image.
    pub fn origin(&self, what: &'static str, name: &str) -> Result<Origin, Problem> {
        if !name.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
            let count = self.names.count();
            let stage = self.names.find(name).ok_or_else(|| Problem::StageNumber { what, number: name.to_owned(), count });
            return stage.map(Origin::Stage);
        }
        match self.names.by_name(name) {
            Some(stage) => Ok(Origin::Stage(stage)),
            None if name == SCRATCH => Ok(Origin::Scratch),
            None => api::image::normalise(name).map(Origin::Image).map_err(|error| {
                let near = suggest::nearest(name, self.names.all());
                let hint = near.map_or_else(|| format!(": {}", error.message), |near| format!(": did you mean {near}?"));
                Problem::UnknownFrom { what, name: name.to_owned(), hint }
            }),
        }
    }

    /// `ONBUILD` of a stage.
    pub fn triggers(&self, stage: StageId) -> Vec<String> {
        self.triggers.get(stage.0).cloned().unwrap_or_default()
    }

    /// Arguments that were passed, and nobody asks for.
    pub fn unused(&self, file: &Dockerfile) -> Vec<String> {
        let sections = file.sections.iter().flat_map(|section| declared(&section.instructions));
        let known: BTreeSet<&str> = declared(&file.globals).chain(sections).map(|(argument, _)| argument.name.as_str()).collect();
        let asked = |name: &str| known.contains(name) || PROXIES.contains(&name) || self.globals.contains_key(name);
        self.passed.keys().filter(|name| !asked(name)).cloned().collect()
    }
}

fn trigger(instruction: &Instruction) -> Option<String> {
    if let Verb::Onbuild(text) = &instruction.verb { Some(text.clone()) } else { None }
}

/// Arguments, with the lines that declare them.
fn declared(instructions: &[Instruction]) -> impl Iterator<Item = (&Argument, u32)> {
    instructions.iter().flat_map(|one| {
        let list = if let Verb::Arg(list) = &one.verb { list.as_slice() } else { &[] };
        list.iter().map(|argument| (argument, one.first))
    })
}
