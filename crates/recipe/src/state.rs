//! A stage that is being built: the configuration so far, and what the next instruction does to it.
//!
//! The environment of a base image is known only once it has been pulled. So the evaluation is a state that is given the base's
//! configuration, and then one instruction after the other.

mod files;
mod metadata;
mod run;

use crate::{
    config::Config,
    effect::Effect,
    error::{Error, Problem},
    expand::{self, TOGETHER_MAX},
    instruction::{Instruction, Verb},
    parse, path,
    plan::{Plan, Scope, Stage, StageId},
};
use std::{collections::BTreeMap, sync::Arc};

/// What runs commands when no `SHELL` says otherwise.
pub const SHELL: [&str; 2] = ["/bin/sh", "-c"];

/// Where programs are looked for when the base does not say.
pub const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A stage that is being built.
#[derive(Clone, Debug)]
pub struct StageState {
    scope: Arc<Scope>,
    stage: StageId,
    config: Config,
    author: Option<String>,
    /// Variables of the configuration, for looking up.
    variables: BTreeMap<String, String>,
    /// Arguments of the build, declared in this stage or in one it is based on.
    arguments: BTreeMap<String, Option<String>>,
    /// `CMD` was set here, and not below: an `ENTRYPOINT` leaves it alone.
    has_cmd: bool,
    instructions: Vec<Instruction>,
    spent: usize,
}

impl StageState {
    /// Begins a stage on an image with this configuration, or on nothing, with the default one. What its `ONBUILD` says is
    /// understood, and becomes the first instructions.
    pub fn begin(plan: &Plan, stage: &Stage, base: Config) -> Result<Self, Error> {
        let mut state = Self {
            scope: Arc::clone(&plan.scope),
            stage: stage.id,
            config: base,
            author: None,
            variables: BTreeMap::new(),
            arguments: BTreeMap::new(),
            has_cmd: false,
            instructions: Vec::new(),
            spent: 0,
        };
        state.settle(plan, stage)?;
        Ok(state)
    }

    /// Begins a stage on another, which is complete.
    pub fn begin_on(plan: &Plan, stage: &Stage, base: &Self) -> Result<Self, Error> {
        let mut state = base.clone();
        (state.stage, state.has_cmd) = (stage.id, false);
        state.settle(plan, stage)?;
        Ok(state)
    }

    /// Takes over from the base: its triggers become instructions, and what it lacks is filled in.
    fn settle(&mut self, plan: &Plan, stage: &Stage) -> Result<(), Error> {
        let place = self.scope.at(stage.line);
        self.instructions.clear();
        for text in std::mem::take(&mut self.config.on_build) {
            let verb = parse::trigger(&text).map_err(|problem| place.problem(problem))?;
            self.available(plan, &verb).map_err(|problem| place.problem(problem))?;
            self.instructions.push(Instruction { first: stage.line, last: stage.line, text: format!("ONBUILD {text}"), verb });
        }
        self.instructions.extend(stage.instructions.iter().cloned());
        if self.config.variable("PATH").is_none() {
            self.config.set_variable("PATH", PATH);
        }
        self.config.working_dir = path::clean(&path::from_directory("/", &self.config.working_dir));
        self.variables.clear();
        for entry in &self.config.env {
            let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
            self.variables.insert(name.to_owned(), value.to_owned());
        }
        Ok(())
    }

    /// Refuses a trigger that copies from a stage that is not built before this one.
    fn available(&self, plan: &Plan, verb: &Verb) -> Result<(), Problem> {
        let needs = plan.stage(self.stage).map(|stage| &stage.needs);
        for origin in self.origins(verb)? {
            if let crate::effect::Origin::Stage(id) = origin
                && !needs.is_some_and(|needs| needs.contains(&id))
            {
                return Err(Problem::TriggerStage { name: self.scope.names.shown(id) });
            }
        }
        Ok(())
    }

    /// What there is to do, in order: the base's triggers, then the stage's own instructions.
    pub fn instructions(&self) -> Vec<Instruction> {
        self.instructions.clone()
    }

    /// What the instruction does. The configuration is as after it.
    pub fn step(&mut self, instruction: &Instruction) -> Result<Effect, Error> {
        let place = self.scope.at(instruction.first);
        self.effect(&instruction.verb).map_err(|problem| place.problem(problem))
    }

    fn effect(&mut self, verb: &Verb) -> Result<Effect, Problem> {
        match verb {
            Verb::Run(running) => self.run(running),
            Verb::Copy(copying) => self.copy(copying),
            Verb::Add(adding) => self.add(adding),
            Verb::Workdir(path) => self.workdir(path),
            other => self.metadata(other).map(|()| Effect::Metadata),
        }
    }

    /// The configuration as it is now, as the image's JSON holds it.
    pub const fn config(&self) -> &Config {
        &self.config
    }

    /// Who made it, if anyone says so; the image's JSON holds it beside the configuration.
    pub fn author(&self) -> Option<&str> {
        self.author.as_deref()
    }

    /// A variable: of the image, else of the build. As the reference has it, `ENV` always wins over `ARG`.
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).or_else(|| self.arguments.get(name).and_then(Option::as_ref)).cloned()
    }

    /// Expands a text, and counts what it costs.
    fn expand(&mut self, text: &str) -> Result<String, Problem> {
        let expanded = expand::word(text, self.scope.escape, &|name| self.variable(name))?;
        self.spend(expanded.len())?;
        Ok(expanded)
    }

    /// Expands a text that means nothing when it is empty.
    fn expand_some(&mut self, instruction: &'static str, text: &str) -> Result<String, Problem> {
        let expanded = self.expand(text)?;
        if expanded.is_empty() { Err(Problem::EmptyValue { instruction, text: text.to_owned() }) } else { Ok(expanded) }
    }

    fn expand_optional(&mut self, text: Option<&String>) -> Result<Option<String>, Problem> {
        let expanded = text.map(|text| self.expand(text)).transpose()?;
        Ok(expanded.filter(|text| !text.is_empty()))
    }

    fn spend(&mut self, bytes: usize) -> Result<(), Problem> {
        self.spent = self.spent.saturating_add(bytes);
        if self.spent > TOGETHER_MAX { Err(Problem::TogetherTooLong { max: TOGETHER_MAX }) } else { Ok(()) }
    }
}
