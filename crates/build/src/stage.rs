//! One stage: a chain of layers, each under a key of all it depends on.

use crate::{
    Builder,
    archive::Received,
    bases::Bases,
    cache::{Entry, Key, key},
    config,
    copy::{self, Putting},
    error::{Error, Result},
    fetch::{self, Fetched},
    run,
    work::Work,
};
use api::{
    Timestamp,
    image::{ImageProgress, LocalImage},
};
use driver::{
    build::GivenUp,
    image::{Progress, Upper},
};
use recipe::{Base, Effect, Kind, Place, Plan, Stage, StageId, StageState, effect::Origin};
use serde_json::Value;
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

/// Longest text of a step that is shown.
const SHOWN: usize = 200;

/// What all stages of a build share.
pub struct Site<'a> {
    /// Tools, cache, options.
    pub builder: &'a Builder,
    /// The build's directory.
    pub work: &'a Work,
    /// What was asked for, and the context.
    pub received: &'a Received,
    /// The file's language.
    pub kind: Kind,
    /// What is built.
    pub plan: &'a Plan,
    /// Images it begins or copies from.
    pub bases: &'a Bases,
    /// Where progress goes.
    pub progress: Progress<'a>,
    /// Nobody waits any more.
    pub given_up: GivenUp<'a>,
    /// A stage has failed: the others stop.
    pub failed: AtomicBool,
    /// Stages that are complete.
    pub complete: Mutex<BTreeMap<StageId, Arc<Built>>>,
}

/// A stage that is complete.
#[derive(Clone, Debug)]
pub struct Built {
    /// As its last step left it.
    pub state: StageState,
    /// Its layers.
    pub chain: Chain,
}

/// Layers so far.
#[derive(Clone, Debug, Default)]
pub struct Chain {
    /// An image of them; none while there are none.
    pub image: Option<LocalImage>,
    /// Of all they depend on.
    pub key: Key,
    /// When the uppermost was made by a build.
    pub made: Option<Timestamp>,
    /// When the base was.
    pub base_created: Option<String>,
    /// Lines about how they were made.
    pub history: Vec<Value>,
}

impl Chain {
    /// Directories of them, lowest first.
    pub fn layers(&self) -> &[PathBuf] {
        self.image.as_ref().map_or(&[], |image| &image.layers)
    }

    /// When the image was made, for its configuration.
    pub fn created(&self) -> Option<String> {
        self.made.map(|made| made.to_string()).or_else(|| self.base_created.clone())
    }
}

/// A step, as it is told about.
struct Step<'a> {
    number: u32,
    of: u32,
    /// As it is written.
    text: &'a str,
    /// Before the text, in files of several stages.
    prefix: &'a str,
    place: &'a str,
}

impl Site<'_> {
    /// Refuses to go on when nobody waits any more.
    pub fn still_wanted(&self) -> Result<()> {
        if self.failed.load(Ordering::Relaxed) || (self.given_up)() { Err(Error::GivenUp) } else { Ok(()) }
    }

    /// A stage that is complete.
    pub fn complete(&self, id: StageId) -> Result<Arc<Built>> {
        let complete = self.complete.lock().unwrap_or_else(PoisonError::into_inner);
        complete.get(&id).cloned().ok_or_else(|| Error::Wrong(format!("stage {id} is not built yet")))
    }

    /// What a stage is called: by its name, or its number.
    pub fn shown(&self, id: StageId) -> String {
        self.plan.stage(id).and_then(|stage| stage.name.clone()).unwrap_or_else(|| id.to_string())
    }

    /// Layers of where files come from; none for the context.
    pub fn layers_of(&self, origin: &Origin) -> Result<Vec<PathBuf>> {
        Ok(match origin {
            Origin::Context | Origin::Scratch => Vec::new(),
            Origin::Stage(id) => self.complete(*id)?.chain.layers().to_vec(),
            Origin::Image(name) => self.bases.get(name)?.image.layers.clone(),
        })
    }

    fn place(&self, line: u32) -> String {
        Place::Line(self.kind, line).to_string()
    }

    fn tell(&self, step: &Step<'_>, cached: bool) {
        let text = format!("{}{}", step.prefix, one_line(step.text));
        (self.progress)(ImageProgress::Step { number: step.number, of: step.of, text, cached });
    }

    /// Builds a stage. Its steps are numbered from `first`.
    pub fn build(&self, stage: &Stage, (first, of): (u32, u32)) -> Result<Built> {
        let several = self.plan.stages.len() > 1;
        let prefix = if several { format!("[{}] ", self.shown(stage.id)) } else { String::new() };
        let place = self.place(stage.line);
        let (mut state, mut chain, from) = self.begin(stage).map_err(|error| error.at(&place))?;
        self.tell(&Step { number: first, of, text: &from, prefix: &prefix, place: &place }, true);
        for (instruction, number) in state.instructions().iter().zip(first + 1..) {
            self.still_wanted()?;
            let place = self.place(instruction.first);
            let effect = state.step(instruction)?;
            let step = Step { number, of, text: &instruction.text, prefix: &prefix, place: &place };
            self.step(&mut chain, &effect, &step).map_err(|error| error.at(&place))?;
        }
        Ok(Built { state, chain })
    }

    fn begin(&self, stage: &Stage) -> Result<(StageState, Chain, String)> {
        match &stage.base {
            Base::Scratch => {
                let state = StageState::begin(self.plan, stage, recipe::Config::default())?;
                Ok((state, Chain { key: key(&["scratch"]), ..Chain::default() }, "FROM scratch".to_owned()))
            }
            Base::Image(name) => {
                let base = self.bases.get(name)?;
                let state = StageState::begin(self.plan, stage, base.known.config.clone())?;
                let chain = Chain {
                    key: key(&["image", &base.image.digest]),
                    image: Some(base.image.clone()),
                    made: None,
                    base_created: base.known.created.clone(),
                    history: base.known.history.clone(),
                };
                Ok((state, chain, format!("FROM {name}")))
            }
            Base::Stage(id) => {
                let built = self.complete(*id)?;
                let state = StageState::begin_on(self.plan, stage, &built.state)?;
                Ok((state, built.chain.clone(), format!("FROM {}", self.shown(*id))))
            }
        }
    }

    fn step(&self, chain: &mut Chain, effect: &Effect, step: &Step<'_>) -> Result<()> {
        let Some(text) = effect.cache_text() else {
            self.tell(step, false);
            chain.history.push(config::line(step.text, chain.made, true));
            return Ok(());
        };
        let work = self.work.inner()?;
        let mut fetched = match effect {
            // What is not known before is fetched before, to find out whether it is another.
            Effect::Add(added) if fetch::decides(added) => fetch::all(self, added, &work)?,
            _ => Vec::new(),
        };
        let inputs = self.inputs((effect, &text), &fetched, &work)?;
        let parts: Vec<&str> = [chain.key.as_str(), text.as_str()].into_iter().chain(inputs.iter().map(String::as_str)).collect();
        let own = key(&parts);
        let (image, made, cached) = match self.known(&own)? {
            Some((image, made)) => (image, made, true),
            None => {
                self.tell(step, false);
                if let Effect::Add(added) = effect
                    && !fetch::decides(added)
                {
                    fetched = fetch::all(self, added, &work)?;
                }
                let image = self.carry_out(chain, (effect, &fetched), (step, &work))?;
                let made = Timestamp(base::env::now_millis());
                self.builder.cache.put(&own, &Entry { image: image.digest.clone(), created: made });
                (image, made, false)
            }
        };
        if cached {
            self.tell(step, true);
        }
        chain.history.push(config::line(step.text, Some(made), false));
        (chain.key, chain.image, chain.made) = (own, Some(image), Some(made));
        Ok(())
    }

    /// What a step became earlier, if it is still here.
    fn known(&self, key: &Key) -> Result<Option<(LocalImage, Timestamp)>> {
        if self.received.request.no_cache {
            return Ok(None);
        }
        let Some(entry) = self.builder.cache.get(key) else { return Ok(None) };
        Ok(self.builder.tools.images.find(&entry.image)?.map(|image| (image, entry.created)))
    }

    fn carry_out(
        &self,
        chain: &Chain,
        (effect, fetched): (&Effect, &[Fetched]),
        (step, work): (&Step<'_>, &Work),
    ) -> Result<LocalImage> {
        let stack = |upper: &Upper| {
            let below = chain.image.as_ref().map(|image| image.digest.as_str());
            Ok(self.builder.tools.layers.stack(below, upper, self.progress)?)
        };
        let layers = chain.layers();
        if let Effect::Run(run) = effect {
            let tell = |line: &str| {
                (self.progress)(ImageProgress::Output { number: step.number, line: line.to_owned() });
            };
            let command = run::Command { run, layers, place: step.place, text: step.text, tell: &tell };
            return run::run(self, &command, stack);
        }
        let upper = match effect {
            Effect::Copy(copied) => {
                let from = self.layers_of(&copied.from)?;
                let from = copy::origin(self, &copied.from, &from)?;
                copy::put(self, layers, (&from, &Putting::copied(copied, work)?), work)?
            }
            Effect::Add(added) => {
                let from = copy::origin(self, &Origin::Context, &[])?;
                copy::put(self, layers, (&from, &Putting::added(added, fetched, work)?), work)?
            }
            Effect::Workdir(workdir) => copy::workdir(layers, workdir, work)?,
            Effect::Run(_) | Effect::Metadata => return Err(Error::Wrong("a step without files has no layer".to_owned())),
        };
        stack(&upper)
    }
}

/// A text on one line, cut if it is long.
pub fn one_line(text: &str) -> String {
    let words = text.lines().map(|line| line.trim().trim_end_matches('\\').trim_end()).filter(|line| !line.is_empty());
    let line = words.collect::<Vec<_>>().join(" ");
    if line.chars().count() <= SHOWN { line } else { line.chars().take(SHOWN - 1).chain(['…']).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_are_shown_on_one_line() {
        assert_eq!(one_line("RUN a \\\n    && b\n"), "RUN a && b");
        assert_eq!(one_line(&"x".repeat(1000)).chars().count(), SHOWN);
    }
}
