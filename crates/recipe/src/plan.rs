//! Which stages have to be built, from what, and in which order.

mod graph;
mod names;
mod scope;

pub use names::StageId;
pub use scope::PROXIES;
pub(crate) use scope::Scope;

use crate::{
    dockerfile::{Dockerfile, Section},
    effect::Origin,
    error::{Error, Problem},
    instruction::{Instruction, Verb},
    mount, parse,
    platform::Platform,
    suggest,
};
use graph::{Edge, Graph};
use names::Names;
use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

/// What a build is asked for.
#[derive(Clone, Debug)]
pub struct Options {
    /// The stage to build, by name or number; the last when nothing is said.
    pub target: Option<String>,
    /// `--build-arg`.
    pub build_args: BTreeMap<String, String>,
    /// What the image shall run on.
    pub platform: Platform,
    /// What the builder runs on.
    pub build_platform: Platform,
    /// `ONBUILD` triggers of base images, by normalised name, as far as they are known. They may need further stages: when an
    /// image turns out to have some, plan again with them.
    pub triggers: BTreeMap<String, Vec<String>>,
}

impl Options {
    /// The last stage, for the platform it is built on, without arguments.
    pub fn new(platform: Platform) -> Self {
        let build_platform = platform.clone();
        Self { target: None, build_args: BTreeMap::new(), platform, build_platform, triggers: BTreeMap::new() }
    }
}

/// What a stage begins from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// An image, by its normalised name.
    Image(String),
    /// Another stage of the plan.
    Stage(StageId),
    /// Nothing.
    Scratch,
}

/// A stage that has to be built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Which.
    pub id: StageId,
    /// Its name, if it has one.
    pub name: Option<String>,
    /// Line of its `FROM`.
    pub line: u32,
    /// What it begins from.
    pub base: Base,
    /// What it runs on.
    pub platform: Platform,
    /// Stages that have to be complete first: its base, and those it copies or mounts from.
    pub needs: BTreeSet<StageId>,
    /// Images it copies or mounts from.
    pub images: BTreeSet<String>,
    /// What it does, its base's triggers not included; see [`crate::StageState::instructions`].
    pub instructions: Vec<Instruction>,
}

/// The stages of a build, each after those it needs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// In an order in which they can be built one after the other; the target is the last.
    pub stages: Vec<Stage>,
    /// What the image is made of.
    pub target: StageId,
    /// Build arguments that nothing in the file asks for.
    pub unused: Vec<String>,
    pub(crate) scope: Arc<Scope>,
}

impl Plan {
    /// Decides what has to be built.
    pub fn of(file: &Dockerfile, options: &Options) -> Result<Self, Error> {
        let names = Names::of(file);
        let target = target(file, &names, options)?;
        let scope = Scope::of(file, options, names, target)?;
        let mut stages = Vec::new();
        let mut graph = Graph::default();
        for (section, index) in file.sections.iter().zip(0..) {
            let stage =
                draft(&scope, section, StageId(index), &stages).map_err(|problem| file.at(section.first).problem(problem))?;
            let edges = edges(&scope, &stage, options)?;
            stages.push(connected(stage, &edges));
            graph.add(edges);
        }
        graph.check(file)?;
        let needed = graph.reachable(target);
        stages.retain(|stage| needed.contains(&stage.id));
        let unused = scope.unused(file);
        Ok(Self { stages, target, unused, scope: Arc::new(scope) })
    }

    /// A stage of the plan.
    pub fn stage(&self, id: StageId) -> Option<&Stage> {
        self.stages.iter().find(|stage| stage.id == id)
    }

    /// Stages that are not complete, but everything they need is: those can be built side by side.
    pub fn ready(&self, complete: &BTreeSet<StageId>) -> Vec<StageId> {
        let ready = |stage: &&Stage| !complete.contains(&stage.id) && stage.needs.is_subset(complete);
        self.stages.iter().filter(ready).map(|stage| stage.id).collect()
    }

    /// Images the plan begins or copies from, with their platforms: a stage can choose that of its base; others have the image's.
    pub fn images(&self) -> BTreeSet<(String, Platform)> {
        let mut images = BTreeSet::new();
        for stage in &self.stages {
            if let Base::Image(name) = &stage.base {
                images.insert((name.clone(), stage.platform.clone()));
            }
            images.extend(stage.images.iter().map(|name| (name.clone(), self.scope.platform.clone())));
        }
        images
    }

    /// The stage whose name is nearest to that of an image, for when there is no such image.
    pub fn nearest_stage(&self, image: &str) -> Option<&str> {
        suggest::nearest(image.strip_suffix(":latest").unwrap_or(image), self.scope.names.all())
    }
}

/// Which stage is asked for.
fn target(file: &Dockerfile, names: &Names, options: &Options) -> Result<StageId, Error> {
    let last = StageId(file.sections.len().saturating_sub(1));
    let Some(name) = options.target.as_deref().filter(|name| !name.is_empty()) else { return Ok(last) };
    names.find(name).ok_or_else(|| {
        let all: Vec<&str> = names.all().collect();
        let hint = if all.is_empty() { ": no stage has a name".to_owned() } else { suggest::hint(name, "there are", &all) };
        crate::Place::Whole(file.kind).problem(Problem::NoTarget { name: name.to_owned(), hint })
    })
}

/// A stage with its base, but without what it copies from.
fn draft(scope: &Scope, section: &Section, id: StageId, above: &[Stage]) -> Result<Stage, Problem> {
    let base = scope.base(&section.opening.base, id)?;
    let platform = match (&section.opening.platform, &base) {
        (_, Base::Stage(of)) => above.get(of.0).map_or_else(|| scope.platform.clone(), |stage| stage.platform.clone()),
        (Some(text), _) => scope.asked_platform(text)?,
        (None, _) => scope.platform.clone(),
    };
    let name = section.opening.name.clone();
    let instructions = section.instructions.clone();
    Ok(Stage { id, name, line: section.first, base, platform, needs: BTreeSet::new(), images: BTreeSet::new(), instructions })
}

/// Everything a stage is made from, with the lines that say so.
fn edges(scope: &Scope, stage: &Stage, options: &Options) -> Result<Vec<Edge>, Error> {
    let mut edges = Vec::new();
    if let Base::Stage(base) = stage.base {
        edges.push(Edge { of: stage.id, origin: Origin::Stage(base), line: stage.line });
    }
    for (verb, line) in verbs(scope, stage, options)? {
        let from = |what, name: &str| {
            let origin = scope.origin(what, name);
            origin.map(|origin| Edge { of: stage.id, origin, line }).map_err(|problem| scope.at(line).problem(problem))
        };
        match &verb {
            Verb::Copy(copying) => edges.extend(copying.from.as_deref().map(|name| from("COPY --from", name)).transpose()?),
            Verb::Run(running) => {
                for text in &running.mounts {
                    let name = mount::from(text).map_err(|problem| scope.at(line).problem(problem))?;
                    edges.extend(name.map(|name| from("RUN --mount from", &name)).transpose()?);
                }
            }
            _ => {}
        }
    }
    Ok(edges)
}

/// What a stage does, with what the triggers of its base do, as far as they are known.
fn verbs(scope: &Scope, stage: &Stage, options: &Options) -> Result<Vec<(Verb, u32)>, Error> {
    let triggers = match &stage.base {
        Base::Image(name) => options.triggers.get(name).cloned().unwrap_or_default(),
        Base::Stage(base) => scope.triggers(*base),
        Base::Scratch => Vec::new(),
    };
    let triggers = triggers.iter().map(|text| parse::trigger(text).map(|verb| (verb, stage.line)));
    let triggers = triggers.collect::<Result<Vec<_>, _>>().map_err(|problem| scope.at(stage.line).problem(problem))?;
    Ok(triggers.into_iter().chain(stage.instructions.iter().map(|one| (one.verb.clone(), one.first))).collect())
}

/// The stage, knowing what it needs.
fn connected(mut stage: Stage, edges: &[Edge]) -> Stage {
    for edge in edges {
        match &edge.origin {
            Origin::Stage(id) => drop(stage.needs.insert(*id)),
            Origin::Image(name) => drop(stage.images.insert(name.clone())),
            Origin::Context | Origin::Scratch => {}
        }
    }
    stage
}
